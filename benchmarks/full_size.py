"""A request at full size, random weights: the reference path against the fast one, in one run.

    PYTHONPATH=. python benchmarks/full_size.py [--runs 5] [--steps 2] [--seconds 10]

Whole requests (mono, file to file) run in turn on the reference path, the fast path in float32 and
in int8; each stage's median is compared. The coarse stage is a sum of passes of equal work, so
``--steps`` of them are run and the stage counts as 24; fewer holes stay open in the later ones,
which only the fast path gains from, so its ratios are rather told too small. The fine stage runs
its 2 passes. About 6 minutes on 2 cores; 9 GB of memory.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from typing import Any, cast

import torch
from reference import Reference, reference_logits
from torch import Tensor, nn

from vampnet import bench
from vampnet.model import VampNet
from vampnet.pipeline import Pipeline
from vampnet.precision import prepare
from vampnet.presets import Preset
from vampnet.prompts import Prompt
from vampnet.sampling import Sampling

STEPS = 24  # of the coarse stage that is told
PERIOD = 7  # every 7th frame is kept
FRAMES = 574  # of the comparison of logits
BARS = (  # what, stage, path, at least so many times as fast as the reference
    ("coarse stage", "coarse", "float32", 1.6),
    ("coarse stage", "coarse", "int8", None),
    ("codec encode", "encode", "float32", None),
    ("codec decode", "decode", "float32", 1.5),
    ("fine stage", "fine", "float32", None),
    ("whole request", "whole", "float32", None),
    ("whole request", "whole", "int8", 3.0),
)


def plain_network(network: nn.Module, x: Tensor) -> Tensor:
    """In place of a codec's ``fast_network``: the layers as written."""
    return network(x)


def paths() -> dict[str, Pipeline]:
    """The same weights behind the reference path and the two fast ones."""
    codec, *models = bench.full_size_parts()
    for name, parameter in codec.named_parameters():
        if name.endswith("alpha"):  # ones are no one's weights
            parameter.data.uniform_(0.3, 3.0)
    plain = copy.deepcopy(codec)
    cast(Any, plain).fast_network = plain_network
    coarse, fine = (cast(VampNet, Reference(model)) for model in models)
    made = {"reference": Pipeline(plain, coarse, fine)}
    for precision in ("float32", "int8"):
        coarse, fine = copy.deepcopy(models)
        for model in (coarse, fine):
            prepare(model, precision)
        made[precision] = Pipeline(codec, coarse, fine)
    return made


@torch.inference_mode()
def differences(made: dict[str, Pipeline]) -> str:
    """How far logits and audio of the float32 path lie from the reference's."""
    plain, quick = made["reference"], made["float32"]
    rng = torch.Generator().manual_seed(2)
    codes = torch.randint(1025, (1, 4, FRAMES), generator=rng)
    logits = quick.coarse(codes) - reference_logits(cast(Any, plain.coarse).model, codes)
    codes = torch.randint(1024, (1, 14, FRAMES), generator=rng)
    n_samples = FRAMES * plain.codec.hop_length
    audio = quick.codec.decode(codes, n_samples) - plain.codec.decode(codes, n_samples)
    return (
        f"Largest difference, float32 against reference: logits {float(logits.abs().max()):.1e}, "
        f"audio {float(audio.abs().max()):.1e} (both: at most 1e-4 is the bar)."
    )


def measured(
    made: dict[str, Pipeline], steps: int, seconds: float, runs: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds of every stage by path, the coarse stage and the whole brought to 24 steps."""
    preset = Preset("period", "", Prompt(period=PERIOD), Sampling(steps=steps))
    times = {path: {stage: [] for stage in bench.STAGES} for path in made}
    for run in range(runs + 1):
        request = bench.Request(seconds, preset=preset, repeats=1, first=0)
        for path, pipeline in made.items():
            found = {name: t[0] for name, t in bench.measure(pipeline, request).seconds.items()}
            more_s = found["coarse"] * (STEPS / steps - 1)
            found["coarse"] += more_s
            found["whole"] += more_s
            for stage, value in found.items() if run else ():  # the first one warms up
                times[path][stage].append(value)
    return times


def main() -> None:
    """Run the paths in turn and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="coarse passes that are run")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    made = paths()
    times = measured(made, options.steps, options.seconds, options.runs)
    print(
        f"{bench.machine()}; torch {torch.__version__}. Full size, {options.seconds:g} s mono, "
        f"{STEPS} + 2 steps; {options.steps} coarse passes run, counted as {STEPS}; medians of "
        f"{options.runs} runs in turn.\n"
    )
    print("| part | path | reference s | s | ratio | bar |\n| --- | --- | --- | --- | --- | --- |")
    for name, stage, path, bar in BARS:
        plain_s = statistics.median(times["reference"][stage])
        found_s = statistics.median(times[path][stage])
        wanted = f"{bar:g} x" if bar else ""
        row = f"{plain_s:.2f} | {found_s:.2f} | {plain_s / found_s:.2f} x | {wanted}"
        print(f"| {name} | {path} | {row} |")
    print("\n" + differences(made))


if __name__ == "__main__":
    main()
