"""The data set: two interleaved spirals, lifted from the plane to 16 features."""

from __future__ import annotations

import math

import torch
from torch.utils.data import TensorDataset

FEATURES = 16


def spirals(count: int, seed: int) -> TensorDataset:
    """``count`` points, half on each spiral: features (count, 16) float32, labels (count,) int64.

    Features are sines and cosines of the coordinates at several frequencies, so that a small
    network can tell the spirals apart.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    turn = torch.rand(count, generator=generator).sqrt() * 2 * math.pi
    angle = turn + labels * math.pi
    points = torch.stack([turn * angle.cos(), turn * angle.sin()], dim=1)
    points = points + 0.3 * torch.randn(points.shape, generator=generator)
    frequencies = torch.tensor([0.25, 0.5, 1.0, 2.0])
    phases = (points.unsqueeze(2) * frequencies).flatten(1)
    return TensorDataset(torch.cat([phases.sin(), phases.cos()], dim=1), labels)
