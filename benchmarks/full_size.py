"""A request at full size with random weights: reference implementation against optimized ones.

    PYTHONPATH=. python benchmarks/full_size.py [--runs 5] [--steps 2] [--device cuda]

Complete requests (mono, file to file) alternate between the reference, the optimized path in
float32 and in int8 (on a CUDA device: bfloat16); the medians of each stage are compared. Each path
runs in its own process, so that they do not share a heap; the optimized ones keep freed memory as
the commands do, the reference does so only with ``--kept``. The coarse stage consists of passes of
equal work, so only ``--steps`` of them run and the stage is scaled to 24. Later passes have fewer
masked positions, which only the optimized path exploits, so its ratios are slightly underestimated.
The fine stage runs its 2 passes. About 10 minutes on 2 cores; 9 GB of memory. A CUDA device runs
all 24 passes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, cast

import torch
from reference import Reference, reference_logits
from torch import Tensor, nn

from vampnet.evaluation import timing
from vampnet.model import VampNet
from vampnet.pipeline import Pipeline, optimize_for_inference
from vampnet.presets import Preset
from vampnet.prompt import Prompt
from vampnet.system import device
from vampnet.system.allocator import keep_freed_memory

STEPS = 24  # of the reported coarse stage
PERIOD = 7  # every 7th frame is kept
FRAMES = 574  # of the comparison of logits
REDUCED = {"cpu": "int8", "cuda": "bfloat16"}  # chosen by "auto" at full size
TARGETS = (  # part, stage, path, minimum speed-up over the reference
    ("coarse stage", "coarse", "float32", 1.6),
    ("coarse stage", "coarse", "int8", None),
    ("codec encode", "encode", "float32", None),
    ("codec decode", "decode", "float32", 1.5),
    ("fine stage", "fine", "float32", None),
    ("total request", "total", "float32", None),
    ("total request", "total", "int8", 3.0),
    ("coarse stage", "coarse", "bfloat16", None),
    ("codec decode", "decode", "bfloat16", None),
    ("total request", "total", "bfloat16", 5.0),
)


def plain_network(network: nn.Module, x: Tensor) -> Tensor:
    """Run a network unoptimized; replaces a codec's ``fast_network``."""
    return network(x)


def pipeline(path: str, device: str) -> Pipeline:
    """Build the pipeline of a path: "reference", or a precision; weights are the same for all."""
    codec, *models = timing.full_size_parts()
    rng = torch.Generator().manual_seed(1)
    for name, parameter in codec.named_parameters():
        if name.endswith("alpha"):  # trained weights are not all ones
            parameter.data.uniform_(0.3, 3.0, generator=rng)
    for part in (codec, *models):
        part.to(device)
    if path == "reference":
        cast(Any, codec).fast_network = cast(Any, codec).decoding_network = plain_network
        models = [cast(VampNet, Reference(model)) for model in models]
    else:
        for model in models:
            optimize_for_inference(model, device, path)
    return Pipeline(codec, models[0], models[1])


def serve(path: str, device: str, keep: bool, asked: Connection) -> None:
    """Serve requests of :func:`ask` in the process of a path, until it receives None."""
    if keep:
        keep_freed_memory()
    made = pipeline(path, device)
    while request := asked.recv():
        if isinstance(request, timing.BenchRequest):
            asked.send(timing.time_stages(made, request).seconds)
        else:
            asked.send(answers(made))


@torch.inference_mode()
def answers(made: Pipeline) -> list[Any]:
    """Compute logits of the coarse model and audio of the codec for fixed random tokens."""
    rng = torch.Generator().manual_seed(2)
    codec, coarse = made.codec, cast(Any, made.coarse)
    device = codec.codebooks.device
    shape = (1, coarse.config.n_codebooks, FRAMES)
    codes = torch.randint(coarse.mask_token + 1, shape, generator=rng).to(device)
    plain = isinstance(coarse, Reference)
    logits = reference_logits(coarse.model, codes) if plain else coarse(codes)
    codes = torch.randint(codec.vocab_size, (1, codec.n_codebooks, FRAMES), generator=rng)
    audio = codec.decode(codes.to(device), FRAMES * codec.hop_length)
    return [logits.cpu().numpy(), audio.cpu().numpy()]


@contextmanager
def workers(device: str, kept: bool) -> Iterator[dict[str, Connection]]:
    """Start one process per path and yield the pipe to each."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, Connection] = {}
    for path in ("reference", "float32", REDUCED[torch.device(device).type]):
        found[path], theirs = context.Pipe()
        keep = kept or path != "reference"
        context.Process(target=serve, args=(path, device, keep, theirs), daemon=True).start()
    try:
        yield found
    finally:
        for asked in found.values():
            asked.send(None)


def ask(worker: Connection, request: object) -> Any:
    """Send a request and wait for the reply, so that one process computes at a time."""
    worker.send(request)
    return worker.recv()


def measured(
    made: dict[str, Connection], steps: int, seconds: float, runs: int
) -> dict[str, dict[str, list[float]]]:
    """Time every stage by path, in seconds, with coarse stage and total scaled to 24 steps."""
    preset = Preset("period", "", Prompt(period=PERIOD), {"steps": steps})
    times = {path: {stage: [] for stage in timing.STAGES} for path in made}
    request = timing.BenchRequest(seconds, preset=preset, repeats=1, first=0)
    for run in range(runs + 1):
        for path, worker in made.items():
            found = {name: t[0] for name, t in ask(worker, request).items()}
            more_s = found["coarse"] * (STEPS / steps - 1)
            found["coarse"] += more_s
            found["total"] += more_s
            for stage, value in found.items() if run else ():  # the first run is a warm-up
                times[path][stage].append(value)
    return times


def main() -> None:
    """Run the paths alternately and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, help="coarse passes that are run (2; CUDA: 24)")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda (cpu)")
    parser.add_argument("--kept", action="store_true", help="the reference keeps freed memory, too")
    options = parser.parse_args()
    steps = options.steps or (2 if options.device == "cpu" else STEPS)
    with workers(options.device, options.kept) as made:
        times = measured(made, steps, options.seconds, options.runs)
        pairs = zip(*(ask(made[path], "answers") for path in ("reference", "float32")), strict=True)
        logits, audio = (abs(plain - quick).max() for plain, quick in pairs)
    print(
        f"{device.description(options.device)}; torch {torch.__version__}. Full size, "
        f"{options.seconds:g} s mono, {STEPS} + 2 steps; {steps} coarse passes run, counted as "
        f"{STEPS}; medians of {options.runs} runs in turn.\n"
    )
    print(
        "| part | path | reference s | s | ratio | target |\n| --- | --- | --- | --- | --- | --- |"
    )
    for name, stage, path, target in TARGETS:
        if path not in times:
            continue
        plain_s = statistics.median(times["reference"][stage])
        found_s = statistics.median(times[path][stage])
        wanted = f"{target:g} x" if target else ""
        row = f"{plain_s:.2f} | {found_s:.2f} | {plain_s / found_s:.2f} x | {wanted}"
        print(f"| {name} | {path} | {row} |")
    wanted = " (target of both: at most 1e-4)" if options.device == "cpu" else ""
    print(
        f"\nLargest difference, float32 against reference: logits {logits:.1e}, audio "
        f"{audio:.1e}{wanted}."
    )


if __name__ == "__main__":
    main()
