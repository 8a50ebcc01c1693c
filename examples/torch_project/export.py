"""Writes a checkpoint's network as ONNX, with a batch size that may vary."""

from __future__ import annotations

import argparse

import torch

from data import FEATURES
from model import load_trained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="runs/best.pt")
    parser.add_argument("--output", default="runs/model.onnx")
    options = parser.parse_args()
    torch.onnx.export(
        load_trained(options.checkpoint),
        (torch.zeros(2, FEATURES),),  # not 1: an exporter may take that for a constant
        options.output,
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "batch"}, "logits": {0: "batch"}},
    )
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
