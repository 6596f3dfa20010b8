"""How long each stage of a request takes, beside what the machine could do at most.

One request is what a DAW's is: a file is read, brought to the model, varied and written back. The
limit is the work over the machine's measured rate of matrix products, or the bytes of a pass over
its bandwidth, whichever takes longer. Stands above the endpoint in the layers, because it times the
endpoint's region.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vampnet.audio import Audio, AudioFormat, Region, write
from vampnet.codec.lac import LAC
from vampnet.model import VampNet, VampNetConfig
from vampnet.model.precision import Int8Linear
from vampnet.pipeline import Pipeline, make_ready
from vampnet.presets import Preset, presets
from vampnet.system import device as machine

FULL_SIZE = "full-size"
LAC_SIZES = {  # the published codec's
    "encoder_rates": (2, 6, 8, 8),
    "decoder_rates": (6, 4, 4, 2, 2, 2),
    "n_codebooks": 14,
}
FINE = VampNetConfig(n_codebooks=14, n_conditioning_codebooks=4, n_layers=16)
Shape = tuple[int, int]  # items, frames

MODELS = ("coarse", "fine")
STAGES = ("read", "encode", "mask", "coarse", "fine", "decode", "write", "whole")
RATE_HZ = 44_100  # of the region
BYTES = {"float32": (4, 4), "int8": (1, 4), "bfloat16": (2, 2)}  # of a weight, of a frame's value
TONES_HZ = (110.0, 220.0, 330.5, 441.0)


@dataclass(frozen=True)
class Request:
    """What is timed: a region of noise and tones, varied ``repeats`` times after ``first`` ones."""

    seconds: float = 10.0
    channels: int = 1
    takes: int = 1
    preset: Preset = field(default_factory=lambda: presets()["loop-variation"])
    repeats: int = 5
    first: int = 1


@dataclass(frozen=True)
class Timing:
    """Seconds of each stage (wall clock), all threads' seconds of the whole, and the work done.

    passes: (items, frames) of each pass of a request, by model. codec_operations: multiplications
    and additions of encoding and decoding, counted in the request before the timed ones.
    """

    seconds: dict[str, list[float]]
    processor_s: list[float]
    passes: dict[str, list[Shape]]
    codec_operations: dict[str, int]


def full_size_parts() -> tuple[LAC, VampNet, VampNet]:
    """Codec, coarse and fine model of the published sizes, random weights (fixed seed), plain."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        codec, models = LAC(**LAC_SIZES), (VampNet(VampNetConfig()), VampNet(FINE))
        for model in models:
            model.codebooks.copy_(codec.codebooks[: model.config.n_codebooks])
    return codec.eval(), models[0].eval(), models[1].eval()


def full_size(device: str = "cpu", precision: str = "auto") -> Pipeline:
    """The published sizes, made ready: as fast as with the real weights."""
    machine.check_device(device)
    codec, *models = full_size_parts()
    for model in models:
        make_ready(model.to(device), device, precision)
    return Pipeline(codec.to(device), *models, name=FULL_SIZE)


def precision_of(model: VampNet) -> str:
    """What the model's linear layers compute in: "int8", "bfloat16" or "float32"."""
    if any(isinstance(m, Int8Linear) for m in model.modules()):
        return "int8"
    narrow = any(p.dtype == torch.bfloat16 for p in model.parameters())
    return "bfloat16" if narrow else "float32"


def operations(config: VampNetConfig, shape: Shape) -> int:
    """Multiplications and additions of one pass over (items, frames), without the classifier."""
    items, frames = shape
    width = config.embedding_dim
    linear = 20 * width**2  # 4 projections and a feed-forward of 6 widths, 2 operations a weight
    attention = 4 * frames * width
    embedding = 2 * config.n_codebooks * config.latent_dim * width * config.embedding_kernel
    return items * frames * (config.n_layers * (linear + attention) + embedding)


def moved(model: VampNet, shape: Shape) -> int:
    """Bytes that one pass over (items, frames) must move at least.

    Each layer reads its weights once, and its frames are read and written on both branches; what
    lies between could stay in the cache.
    """
    (items, frames), c = shape, model.config
    of_weight, of_value = BYTES[precision_of(model)]
    weights = 10 * c.embedding_dim**2 * of_weight
    return c.n_layers * (weights + 4 * items * frames * c.embedding_dim * of_value)


def report(model: str, request: Request, device: str = "cpu", precision: str = "auto") -> str:
    """Markdown: the machine, what was timed, a table of the stages, the distance from the limit.

    model: "default", a folder, or "full-size". Raises ValueError for what cannot be loaded.
    """
    device = machine.choose_device(device)
    start = time.perf_counter()
    if model == FULL_SIZE:
        pipeline = full_size(device, precision)
    else:
        pipeline = Pipeline.from_pretrained(
            model, device=device, precision=precision, keep_weights=False
        )
    load_s = time.perf_counter() - start
    timing = measure(pipeline, request)
    peak = machine.peak_bytes()  # before the machine's own measurement takes memory
    held = ""
    if torch.device(device).type == "cuda":
        most = torch.cuda.max_memory_allocated(device) / 2**20
        held = f" On the device: at most {most:.0f} MiB."
    preset = request.preset
    sampling = pipeline.sampling_for(preset)
    head = [
        f"{machine.description(device)}; {date.today().isoformat()}; torch {torch.__version__}.",
        f"Model {pipeline.name} ({precision_of(pipeline.coarse)}), {request.seconds:g} s, "
        f"{request.channels} channels, {request.takes} takes, preset {preset.name}, "
        f"{sampling.steps} + {sampling.fine_steps} steps, "
        f"{request.repeats} requests after a first one.",
    ]
    limit = distance(pipeline, timing, machine.limits(device))
    return "\n\n".join([*head, table(timing, request.seconds, load_s, peak) + held, limit])


def sound(seconds: float, channels: int) -> Audio:
    """Chords of decaying tones with some noise, the same each time: 16 bits at 44.1 kHz."""
    t = torch.arange(max(1, round(seconds * RATE_HZ))) / RATE_HZ
    rng = torch.Generator().manual_seed(0)
    tones = [
        torch.sin(2 * torch.pi * hz * t) * torch.exp(-6 * (t * hz / 110 % 1)) for hz in TONES_HZ
    ]
    noise = 0.02 * torch.randn((channels, len(t)), generator=rng)
    return Audio(0.1 * torch.stack(tones).sum(0) + noise, RATE_HZ, AudioFormat("WAV", "PCM_16"))


def measure(pipeline: Pipeline, request: Request) -> Timing:
    """Time the request's repeats after those that warm up; each stage as it ran within the whole.

    "mask" is what lies between encoding and the first pass (beats, onsets, the mask), "read" and
    "write" are the region's.
    """
    with tempfile.TemporaryDirectory(prefix="vampnet-bench-") as folder:
        source = Path(folder, "in.wav")
        write(source, sound(request.seconds, request.channels))
        return _measure(pipeline, source, Path(folder, "out.wav"), request)


def _measure(pipeline: Pipeline, source: Path, target: Path, request: Request) -> Timing:
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    processor_s: list[float] = []
    passes: dict[str, list[Shape]] = {}
    codec: dict[str, int] = {}
    for run in range(request.first + request.repeats):
        marks: list[tuple[str, float]] = []
        timed, passes = run >= request.first, {model: [] for model in MODELS}
        before = time.process_time()
        with _watched(pipeline, marks, passes, None if timed else codec):
            _request(pipeline, source, target, request, marks)
        if not timed:
            continue
        processor_s.append(time.process_time() - before)
        for stage, value in _between(marks).items():
            seconds[stage].append(value)
    return Timing(seconds, processor_s, passes, codec)


def _request(
    pipeline: Pipeline,
    source: Path,
    target: Path,
    request: Request,
    marks: list[tuple[str, float]],
) -> None:
    marks.append(("read", time.perf_counter()))
    region = Region.read(source)
    made = pipeline.vary_region(region, request.preset, seed=1, takes=request.takes)
    for take in made.regions:
        take.write(target)
    marks.append(("end", time.perf_counter()))


def _between(marks: list[tuple[str, float]]) -> dict[str, float]:
    """Seconds from the first mark of each stage to the first of the next one, and in all."""
    first: dict[str, float] = {}
    for stage, at in marks:
        first.setdefault(stage, at)
    names = list(first)
    found = {
        name: first[after] - first[name] for name, after in zip(names, names[1:], strict=False)
    }
    return {**dict.fromkeys(STAGES, 0.0), **found, "whole": first["end"] - first["read"]}


@contextmanager
def _watched(
    pipeline: Pipeline,
    marks: list[tuple[str, float]],
    passes: dict[str, list[Shape]],
    codec_operations: dict[str, int] | None,
) -> Iterator[None]:
    """Mark when stages begin, and note the work, for the time of one request.

    codec_operations: to count there, which takes time; None = not counted.
    """
    codec, device = pipeline.codec, pipeline.codec.codebooks.device

    def begin(stage: str) -> None:
        machine.wait(device)
        marks.append((stage, time.perf_counter()))

    def coded(call: Callable[..., Tensor], stage: str, after: str) -> Callable[..., Tensor]:
        def called(*given: Any) -> Tensor:
            begin(stage)
            if codec_operations is None:
                made = call(*given)
            else:
                with FlopCounterMode(display=False) as counted:
                    made = call(*given)
                codec_operations[stage] = counted.get_total_flops()
            if after:
                begin(after)
            return made

        return called

    def passed(model: VampNet, stage: str) -> Callable[[Tensor], Tensor]:
        call = model.hidden

        def called(codes: Tensor) -> Tensor:
            if not passes[stage]:
                begin(stage)
            passes[stage].append((codes.shape[0], codes.shape[-1]))
            return call(codes)

        return called

    places: list[tuple[Any, str, Callable[..., Tensor]]] = [
        (codec, "encode", coded(codec.encode, "encode", "mask")),
        (codec, "decode", coded(codec.decode, "decode", "write")),
        (pipeline.coarse, "hidden", passed(pipeline.coarse, "coarse")),
    ]
    if pipeline.c2f is not None:
        places.append((pipeline.c2f, "hidden", passed(pipeline.c2f, "fine")))
    stood = [(owner, name, vars(owner).get(name)) for owner, name, _ in places]
    for owner, name, call in places:
        setattr(owner, name, call)  # on the instance, over the method of its class
    try:
        yield
    finally:
        for owner, name, own in stood:
            delattr(owner, name)
            if own is not None:  # a recorded pass, or another's own
                setattr(owner, name, own)


def table(timing: Timing, duration_s: float, load_s: float, peak: int) -> str:
    """A Markdown table: median, fastest and slowest second of each stage."""
    lines = ["| stage | median s | fastest | slowest |", "| --- | --- | --- | --- |"]
    lines.append(f"| load (once) | {load_s:.2f} | | |")
    for stage, values in timing.seconds.items():
        found = statistics.median(values)
        lines.append(f"| {stage} | {found:.3f} | {min(values):.3f} | {max(values):.3f} |")
    whole_s = statistics.median(timing.seconds["whole"])
    busy_s = statistics.median(timing.processor_s)
    lines += [
        "",
        f"Real-time factor {whole_s / duration_s:.2f} (below 1 is faster than the music); "
        f"all threads together computed {busy_s:.2f} s; peak memory {peak / 2**20:.0f} MiB.",
    ]
    return "\n".join(lines)


def distance(pipeline: Pipeline, timing: Timing, limits: machine.Limits) -> str:
    """Lines that say how far each stage of models and codec is from the machine's limit."""
    found = [
        f"Machine: {limits.float32 / 1e9:.0f} GFLOP/s float32, {limits.bfloat16 / 1e9:.0f} "
        f"bfloat16 and {limits.int8 / 1e9:.0f} Gop/s int8 in matrix products of {limits.size}, "
        f"{limits.bandwidth / 1e9:.1f} GB/s copying.",
    ]
    for stage, model in zip(MODELS, (pipeline.coarse, pipeline.c2f), strict=True):
        passes = timing.passes[stage]
        if model is None or not passes:
            continue
        precision = precision_of(model)
        work = sum(operations(model.config, shape) for shape in passes)
        bytes_ = sum(moved(model, shape) for shape in passes)
        products_s, memory_s = work / getattr(limits, precision), bytes_ / limits.bandwidth
        share = max(products_s, memory_s) / statistics.median(timing.seconds[stage])
        found.append(
            f"{stage.capitalize()}: {len(passes)} passes of {work / len(passes) / 1e9:.1f} GFLOP "
            f"in {precision}; products alone need {products_s:.2f} s, the {bytes_ / 1e9:.1f} GB "
            f"that must move {memory_s:.2f} s: {100 * share:.0f} % of the time."
        )
    for stage, work in timing.codec_operations.items():
        least_s = work / limits.float32
        share = least_s / statistics.median(timing.seconds[stage])
        found.append(
            f"{stage.capitalize()}: {work / 1e9:.1f} GFLOP in products and convolutions, which "
            f"alone need {least_s:.2f} s: {100 * share:.0f} % of the time."
        )
    return "\n\n".join(found)
