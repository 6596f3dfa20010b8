"""Time of each stage of a request, compared with the machine's roofline.

A request is that of a DAW: a file is read, resampled for the model, varied and written back. The
roofline is the operations over the measured rate of matrix products, or the bytes of a pass over
the memory bandwidth, whichever takes longer.
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
from vampnet.evaluation.roofline import MODELS, Shape, precision_of, roofline_report
from vampnet.model import VampNet, VampNetConfig
from vampnet.pipeline import Pipeline, optimize_for_inference
from vampnet.presets import Preset, presets
from vampnet.system import device as machine

FULL_SIZE = "full-size"
LAC_SIZES = {  # the published codec's
    "encoder_rates": (2, 6, 8, 8),
    "decoder_rates": (6, 4, 4, 2, 2, 2),
    "n_codebooks": 14,
}
FINE_CONFIG = VampNetConfig(n_codebooks=14, n_conditioning_codebooks=4, n_layers=16)

STAGES = ("read", "encode", "mask", "coarse", "fine", "decode", "write", "total")
RATE_HZ = 44_100  # of the region
TONES_HZ = (110.0, 220.0, 330.5, 441.0)


@dataclass(frozen=True)
class BenchRequest:
    """The timed request: a synthetic region that is varied.

    Attributes:
        seconds: length of the region.
        channels: of the region.
        takes: variations per request.
        preset: prompt and sampling.
        repeats: timed requests.
        first: untimed requests before them (warm-up).
    """

    seconds: float = 10.0
    channels: int = 1
    takes: int = 1
    preset: Preset = field(default_factory=lambda: presets()["loop-variation"])
    repeats: int = 5
    first: int = 1


@dataclass(frozen=True)
class Timing:
    """Measured times and work.

    Attributes:
        seconds: wall-clock seconds of each timed request, by stage.
        processor_s: CPU seconds of each timed request, all threads together.
        passes: (items, frames) of each forward pass of a request, by model.
        codec_operations: multiplications and additions of encoding and decoding, counted during
            the warm-up.
    """

    seconds: dict[str, list[float]]
    processor_s: list[float]
    passes: dict[str, list[Shape]]
    codec_operations: dict[str, int]


def full_size_parts() -> tuple[LAC, VampNet, VampNet]:
    """Codec, coarse and coarse-to-fine model of the published sizes with random weights."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        codec, models = LAC(**LAC_SIZES), (VampNet(VampNetConfig()), VampNet(FINE_CONFIG))
        for model in models:
            model.codebooks.copy_(codec.codebooks[: model.config.n_codebooks])
    return codec.eval(), models[0].eval(), models[1].eval()


def full_size(device: str = "cpu", precision: str = "auto") -> Pipeline:
    """Pipeline of the published sizes with random weights, optimized as for inference.

    Args:
        device: torch device.
        precision: of the linear layers.
    """
    machine.check_device(device)
    codec, *models = full_size_parts()
    for model in models:
        optimize_for_inference(model.to(device), device, precision)
    return Pipeline(codec.to(device), *models, name=FULL_SIZE)


def report(model: str, request: BenchRequest, device: str = "cpu", precision: str = "auto") -> str:
    """Time a request and format the result as Markdown.

    Args:
        model: "default", a folder, or "full-size".
        request: what is timed.
        device: torch device, or "auto".
        precision: of the linear layers.

    Returns:
        The machine, the request, a table of the stages and a comparison with the roofline.

    Raises:
        UserError: the model cannot be loaded, or the device is missing.
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
    timing = time_stages(pipeline, request)
    peak = machine.peak_bytes()  # before measuring the machine itself takes memory
    held = ""
    if torch.device(device).type == "cuda":
        most = torch.cuda.max_memory_allocated(device) / 2**20
        held = f" Peak memory of the device: {most:.0f} MiB."
    preset = request.preset
    sampling = pipeline.sampling_for(preset)
    head = [
        f"{machine.description(device)}; {date.today().isoformat()}; torch {torch.__version__}.",
        f"Model {pipeline.name} ({precision_of(pipeline.coarse)}), {request.seconds:g} s, "
        f"{request.channels} channels, {request.takes} takes, preset {preset.name}, "
        f"{sampling.steps} + {sampling.fine_steps} steps, "
        f"{request.repeats} requests after a warm-up.",
    ]
    limit = roofline_report(pipeline, timing, machine.measure_rates(device))
    return "\n\n".join([*head, timing_table(timing, request.seconds, load_s, peak) + held, limit])


def synthetic_signal(seconds: float, channels: int) -> Audio:
    """Synthesize a deterministic test signal: decaying tones with noise, 16 bits at 44.1 kHz.

    Args:
        seconds: length.
        channels: number of channels.
    """
    t = torch.arange(max(1, round(seconds * RATE_HZ))) / RATE_HZ
    rng = torch.Generator().manual_seed(0)
    tones = [
        torch.sin(2 * torch.pi * hz * t) * torch.exp(-6 * (t * hz / 110 % 1)) for hz in TONES_HZ
    ]
    noise = 0.02 * torch.randn((channels, len(t)), generator=rng)
    return Audio(0.1 * torch.stack(tones).sum(0) + noise, RATE_HZ, AudioFormat("WAV", "PCM_16"))


def time_stages(pipeline: Pipeline, request: BenchRequest) -> Timing:
    """Time the stages of a request.

    "mask" lies between encoding and the first forward pass (beats, onsets, the mask); "read" and
    "write" are those of the region.

    Args:
        pipeline: the model.
        request: what is timed.
    """
    with tempfile.TemporaryDirectory(prefix="vampnet-bench-") as folder:
        source = Path(folder, "in.wav")
        write(source, synthetic_signal(request.seconds, request.channels))
        return _measure(pipeline, source, Path(folder, "out.wav"), request)


def _measure(pipeline: Pipeline, source: Path, target: Path, request: BenchRequest) -> Timing:
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
    processor_s: list[float] = []
    passes: dict[str, list[Shape]] = {}
    codec: dict[str, int] = {}
    for run in range(request.first + request.repeats):
        marks: list[tuple[str, float]] = []
        timed, passes = run >= request.first, {model: [] for model in MODELS}
        before = time.process_time()
        device = pipeline.codec.codebooks.device
        recorder = _Recorder(device, marks, passes, None if timed else codec)
        with _instrumented(pipeline, recorder):
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
    request: BenchRequest,
    marks: list[tuple[str, float]],
) -> None:
    marks.append(("read", time.perf_counter()))
    region = Region.read(source)
    made = pipeline.vary_region(region, request.preset, seed=1, takes=request.takes)
    for take in made.regions:
        take.write(target)
    marks.append(("end", time.perf_counter()))


def _between(marks: list[tuple[str, float]]) -> dict[str, float]:
    """Seconds from the first mark of each stage to the first of the next one, and in total."""
    first: dict[str, float] = {}
    for stage, at in marks:
        first.setdefault(stage, at)
    names = list(first)
    found = {
        name: first[after] - first[name] for name, after in zip(names, names[1:], strict=False)
    }
    return {**dict.fromkeys(STAGES, 0.0), **found, "total": first["end"] - first["read"]}


class _Recorder:
    """Records when stages begin and the work of one request.

    ``codec_operations`` receives the counts, which take time; None = not counted.
    """

    def __init__(
        self,
        device: torch.device,
        marks: list[tuple[str, float]],
        passes: dict[str, list[Shape]],
        codec_operations: dict[str, int] | None,
    ):
        self.device, self.marks, self.passes = device, marks, passes
        self.codec_operations = codec_operations

    def begin(self, stage: str) -> None:
        machine.wait(self.device)
        self.marks.append((stage, time.perf_counter()))

    def codec_call(self, call: Callable[..., Tensor], stage: str, after: str) -> Callable:
        """Wrap a method of the codec; ``after`` is the stage that follows it."""

        def called(*given: Any) -> Tensor:
            self.begin(stage)
            if self.codec_operations is None:
                made = call(*given)
            else:
                with FlopCounterMode(display=False) as counted:
                    made = call(*given)
                self.codec_operations[stage] = counted.get_total_flops()
            self.begin(after)
            return made

        return called

    def model_call(self, model: VampNet, stage: str) -> Callable[[Tensor], Tensor]:
        """Wrap the forward pass of a model."""
        call = model.hidden

        def called(codes: Tensor) -> Tensor:
            if not self.passes[stage]:
                self.begin(stage)
            self.passes[stage].append((codes.shape[0], codes.shape[-1]))
            return call(codes)

        return called


@contextmanager
def _instrumented(pipeline: Pipeline, recorder: _Recorder) -> Iterator[None]:
    """Record the calls of codec and models within the block."""
    codec = pipeline.codec
    wrapped: list[tuple[Any, str, Callable[..., Tensor]]] = [
        (codec, "encode", recorder.codec_call(codec.encode, "encode", "mask")),
        (codec, "decode", recorder.codec_call(codec.decode, "decode", "write")),
        (pipeline.coarse, "hidden", recorder.model_call(pipeline.coarse, "coarse")),
    ]
    if pipeline.c2f is not None:
        wrapped.append((pipeline.c2f, "hidden", recorder.model_call(pipeline.c2f, "fine")))
    originals = [(owner, name, vars(owner).get(name)) for owner, name, _ in wrapped]
    for owner, name, call in wrapped:
        setattr(owner, name, call)  # on the instance, shadowing the method of its class
    try:
        yield
    finally:
        for owner, name, own in originals:
            delattr(owner, name)
            if own is not None:  # such as a recorded CUDA graph
                setattr(owner, name, own)


def timing_table(timing: Timing, duration_s: float, load_s: float, peak: int) -> str:
    """Format a Markdown table with median, fastest and slowest time of each stage.

    Args:
        timing: measured times.
        duration_s: length of the region in seconds.
        load_s: seconds of loading the model.
        peak: peak memory in bytes.
    """
    lines = ["| stage | median s | fastest | slowest |", "| --- | --- | --- | --- |"]
    lines.append(f"| load (once) | {load_s:.2f} | | |")
    for stage, values in timing.seconds.items():
        found = statistics.median(values)
        lines.append(f"| {stage} | {found:.3f} | {min(values):.3f} | {max(values):.3f} |")
    total_s = statistics.median(timing.seconds["total"])
    busy_s = statistics.median(timing.processor_s)
    lines += [
        "",
        f"Real-time factor {total_s / duration_s:.2f} (below 1 is faster than real time); "
        f"CPU time of all threads {busy_s:.2f} s; peak memory {peak / 2**20:.0f} MiB.",
    ]
    return "\n".join(lines)
