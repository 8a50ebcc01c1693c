"""Trains the network; every epoch ends with a checkpoint from which training can go on."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from data import spirals
from model import SpiralNet, load_checkpoint


class Trainer:
    """Model, optimizer, schedule, and everything that a checkpoint must hold."""

    def __init__(self, epochs: int, device: torch.device) -> None:
        self.device = device
        self.model = SpiralNet().to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-3)
        self.loss = nn.CrossEntropyLoss()
        self.shuffle = torch.Generator().manual_seed(1)
        self.batches = DataLoader(
            spirals(2048, seed=1), batch_size=64, shuffle=True, generator=self.shuffle
        )
        self.held_out = spirals(512, seed=2)
        self.epochs = epochs
        self.epoch = 0
        self.best = 0.0

    def run(self, folder: Path) -> None:
        """Trains up to ``epochs``, the ones before a resumed checkpoint included."""
        folder.mkdir(parents=True, exist_ok=True)
        while self.epoch < self.epochs:
            loss = self.train_epoch()
            self.epoch += 1
            accuracy = self.accuracy()
            print(f"epoch {self.epoch}: loss {loss:.4f}, accuracy {accuracy:.3f}", flush=True)
            if accuracy > self.best:
                self.best = accuracy
                save(self.state(), folder / "best.pt")
            save(self.state(), folder / "last.pt")

    def train_epoch(self) -> float:
        self.model.train()
        total = 0.0
        for x, label in self.batches:
            loss = self.loss(self.model(x.to(self.device)), label.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / len(self.batches)

    @torch.no_grad()
    def accuracy(self) -> float:
        self.model.eval()
        x, label = self.held_out.tensors
        guess = self.model(x.to(self.device)).argmax(1).cpu()
        return (guess == label).float().mean().item()

    def state(self) -> dict[str, Any]:
        return {
            "width": self.model.width,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "shuffle": self.shuffle.get_state(),  # the order of the batches to come
            "epoch": self.epoch,
            "best": self.best,
        }

    def resume(self, path: Path) -> None:
        state = load_checkpoint(path)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.shuffle.set_state(state["shuffle"])
        self.epoch, self.best = state["epoch"], state["best"]


def save(state: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint whole or not at all: a run may be killed while it writes."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6, help="how many in all")
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="where checkpoints go")
    parser.add_argument("--resume", action="store_true", help="go on from FOLDER/last.pt")
    options = parser.parse_args()
    torch.manual_seed(0)
    trainer = Trainer(options.epochs, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if options.resume:
        try:
            trainer.resume(options.folder / "last.pt")
        except FileNotFoundError as error:
            parser.error(f"--resume: there is no {error.filename}")
    trainer.run(options.folder)


if __name__ == "__main__":
    main()
