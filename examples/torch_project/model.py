"""The network: a small multilayer perceptron with batch normalisation."""

from __future__ import annotations

from os import PathLike
from typing import Any

import torch
from torch import nn

from data import FEATURES


class SpiralNet(nn.Module):
    """(batch, 16) features → (batch, 2) logits."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def load_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """What ``train.py`` saved. A checkpoint is data: nothing in it may run."""
    # The restricted reader of torch 1.13 knows no floats, and an optimizer's state has some.
    restricted = not torch.__version__.startswith("1.")
    return torch.load(path, map_location="cpu", weights_only=restricted)


def load_trained(path: str) -> SpiralNet:
    """The network of a checkpoint, on the CPU and in evaluation mode."""
    state = load_checkpoint(path)
    model = SpiralNet(state["width"])
    model.load_state_dict(state["model"])
    return model.eval()
