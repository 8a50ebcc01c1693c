"""Runs a TensorRT plan and the torch model that it was built from on the same data.

Exit codes: 0 they agree, 1 they do not, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys

import torch

import cuready.runtime as rt
from cuready.errors import CureadyError
from data import spirals
from model import load_trained


def largest_difference(plan: str, checkpoint: str, count: int) -> float:
    """The largest difference of any logit over ``count`` held-out points."""
    x, _ = spirals(count, seed=3).tensors
    with torch.no_grad():
        expected = load_trained(checkpoint)(x)
    context = rt.Runtime().load(plan).create_context()
    logits = torch.from_numpy(context.run({"x": x.numpy()})["logits"])
    if logits.shape != expected.shape:
        raise ValueError(
            f"{plan} is not this network: its logits are {tuple(logits.shape)}, "
            f"those of {checkpoint} are {tuple(expected.shape)}"
        )
    return (logits - expected).abs().max().item()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plan", default="runs/model.plan")
    parser.add_argument("--checkpoint", default="runs/best.pt")
    parser.add_argument("--count", type=int, default=32, help="points; at most the plan's batch")
    # TF32 products have 10 bits of mantissa; logits here are below 100.
    parser.add_argument("--tolerance", type=float, default=0.05)
    options = parser.parse_args()
    try:
        difference = largest_difference(options.plan, options.checkpoint, options.count)
    except (CureadyError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    agree = difference <= options.tolerance
    print(f"largest difference {difference:.2g}: {'they agree' if agree else 'they do not agree'}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
