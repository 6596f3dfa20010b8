"""The coarse step at full size, random weights: plain path, fast float32 path, int8.

    python benchmarks/full_size.py [--frames 574] [--runs 5]

Prints a Markdown table of one pass each (median seconds), of the runs taken in turn.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from reference import Reference

from vampnet.model import VampNet, VampNetConfig
from vampnet.precision import prepare
from vampnet.sampling import MaskedModel, Sampling, generate


def main() -> None:
    """Time one pass of each path and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=574)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = VampNet(VampNetConfig()).eval()
    model.codebooks.normal_()
    codes = torch.randint(1024, (1, 4, options.frames))
    mask = torch.ones_like(codes, dtype=torch.bool)
    mask[..., ::7] = False
    paths: dict[str, MaskedModel] = {"plain": Reference(model)}
    for precision in ("float32", "int8"):
        made = copy.deepcopy(model)
        prepare(made, precision)
        paths[precision] = made
    times: dict[str, list[float]] = {name: [] for name in paths}
    for run in range(options.runs + 1):
        for name, path in paths.items():
            rng = [torch.Generator().manual_seed(1)]
            start = time.perf_counter()
            generate(path, codes, mask, Sampling(steps=2), rng, steps=2)
            if run:
                times[name].append((time.perf_counter() - start) / 2)
    plain_s = statistics.median(times["plain"])
    print("| path | s a pass | against plain |\n| --- | --- | --- |")
    for name, values in times.items():
        found_s = statistics.median(values)
        print(f"| {name} | {found_s:.2f} | {plain_s / found_s:.2f} x |")


if __name__ == "__main__":
    main()
