"""The whole: audio in, a variation of it out.

Encode, mask as the prompt says, fill the coarse codebooks, fill the fine ones, decode. Music longer
than a model's window is done in two batched passes: every other window first, each with context on
both sides, then the ones between, which hear their finished neighbours. So no window starts cold.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import torch
from torch import Tensor

from vampnet import checkpoints
from vampnet.audio import all_finite
from vampnet.codec import Codec
from vampnet.model import VampNet
from vampnet.model.cuda_graphs import CudaRecording, RecordedPass
from vampnet.model.precision import choose_precision, prepare
from vampnet.model.sampling import NOT_FINITE, Sampling, generate
from vampnet.model.windows import Stretch, batches, needed, stretches
from vampnet.prompt import Prompt
from vampnet.prompt.beats import Beats, beat_grid, onsets, track
from vampnet.system.device import check_device

COARSE_WINDOW = 575  # frames (10 s) the published coarse model was trained on
FINE_WINDOW = 173  # frames (3 s) the published coarse-to-fine model was trained on
LOOP_CONTEXT = 16  # frames (0.28 s) of a loop's other end with which each end becomes sound

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Vamp:
    """A variation: audio float (takes, C, S), codes int64 (takes * C, N, T), mask bool (N, T).

    N: the codebooks that are heard; without a coarse-to-fine model they are the coarse ones.
    """

    audio: Tensor
    codes: Tensor
    mask: Tensor
    beats: Beats | None
    seed: int


def _stream(seed: int, *place: int) -> torch.Generator:
    """An independent generator for each place (stage, pass, take, window) of a seed."""
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def mask_draws(seed: int) -> torch.Generator:
    """The generator from which a seed's mask is drawn; with it `Prompt.mask` is known before."""
    return _stream(seed, -1)


@dataclass(frozen=True)
class _Pass:
    """One model over some windows: ``holes`` bool (N, T), what this stage fills."""

    model: VampNet
    holes: Tensor
    batches: list[list[Stretch]]
    steps: int
    place: tuple[int, int]


class _Counter:
    """Adds the steps of many calls up to one progress."""

    def __init__(self, total: int, on_step: Progress | None):
        self.done, self.total, self.on_step = 0, total, on_step

    def of(self, steps: int) -> Progress:
        base = self.done
        self.done += steps

        def report(done: int, _: int) -> None:
            if self.on_step:
                self.on_step(base + done, self.total)

        return report


def _played_on(x: Tensor, before: int, after: int) -> Tensor:
    """A loop (..., n) with what is heard before and after it when it is played on and on."""
    n = x.shape[-1]
    if max(before, after) > n:
        return x[..., torch.arange(-before, n + after, device=x.device) % n]
    return torch.cat([x[..., n - before :], x, x[..., :after]], -1)


def make_ready(model: VampNet, device: str | torch.device, precision: str = "auto") -> None:
    """Make a model that lies on ``device`` as fast there as it gets, in place; see `prepare`."""
    prepare(model, choose_precision(model, precision, device))
    kind = torch.device(device).type
    if kind != "cpu":
        record = CudaRecording if kind == "cuda" else None
        model.hidden = RecordedPass(model.hidden, record, reads=model.kept)


class Pipeline:
    """Codec, coarse and coarse-to-fine model, ready to vary music.

    ``c2f`` may be None: then only the coarse codebooks are decoded.
    """

    def __init__(self, codec: Codec, coarse: VampNet, c2f: VampNet | None = None, name: str = ""):
        """ValueError where the fine model hears other codebooks than the coarse one makes."""
        if c2f is not None and c2f.n_conditioning_codebooks != coarse.config.n_codebooks:
            raise ValueError(
                f"the coarse model makes {coarse.config.n_codebooks} codebooks, the coarse-to-fine "
                f"one hears {c2f.n_conditioning_codebooks}; they must be as many"
            )
        self.codec, self.coarse, self.c2f, self.name = codec, coarse, c2f, name

    @classmethod
    def load(
        cls,
        name_or_folder: str | Path = "default",
        device: str | torch.device = "cpu",
        precision: str = "auto",
    ) -> Pipeline:
        """From "default" (the model in the package) or a folder of ours or the original's files.

        precision: "float32", "int8" (linear layers on a CPU), "bfloat16" (layers) or "auto": int8
        where the processor has int8 products, bfloat16 on CUDA, else float32. Layers are fused;
        on CUDA the models' passes are recorded as graphs.
        Raises ``checkpoints.CheckpointError`` (a ValueError) for what cannot be used, and
        ValueError for a device that this machine has not.
        """
        check_device(device)
        folder = checkpoints.resolve(name_or_folder)
        parts = checkpoints.load_folder(folder, device)
        for model in (parts.coarse, parts.c2f):
            if model is not None:
                make_ready(model, device, precision)
        return cls(parts.codec, parts.coarse, parts.c2f, folder.resolve().name)

    @property
    def frame_rate_hz(self) -> float:
        """Token frames a second."""
        return self.codec.sample_rate / self.codec.hop_length

    @torch.inference_mode()
    def vamp(
        self,
        audio: Tensor,
        prompt: Prompt,
        sampling: Sampling,
        seed: int,
        *,
        takes: int = 1,
        bpm: float | None = None,
        beat_offset_s: float = 0.0,
        on_step: Progress | None = None,
    ) -> Vamp:
        """Vary ``audio``; the same seed gives the same result on the same machine.

        audio: float (C, 1, S) at the codec's rate, each channel an item, about -24 LUFS. Channels
        share mask and noise, so equal channels stay equal. takes: independent variations from one
        batch. bpm, beat_offset_s: a beat grid in place of the tracker. ``on_step(done, total)`` is
        called at least once a sampling step; what it raises ends the call. Raises ValueError for
        arguments of another kind, audio of another shape or with values that are not numbers, and a
        prompt that keeps more codebooks than the codec has; RuntimeError where weights are damaged.
        """
        _check_kinds(audio, prompt, sampling, bpm, beat_offset_s)
        _check(audio)
        _check_codebooks(prompt, self.codec.n_codebooks)
        takes, seed = _whole("takes", takes, least=1), _whole("seed", seed)
        n_channels, _, n_samples = audio.shape
        device = self.codec.codebooks.device
        beats, onset_times_s = self._times(audio, prompt, bpm, beat_offset_s)
        heard = audio.to(device)
        if n_channels > 1 and torch.equal(audio[1:], audio[:-1]):
            heard = heard[:1]
        codes = self._encode(heard, prompt.loop)
        mask = prompt.mask(
            codes.shape[-1],
            codes.shape[1],
            self.frame_rate_hz,
            beats_s=beats.times_s if beats else None,
            downbeats_s=beats.downbeats_s if beats else None,
            onsets_s=onset_times_s,
            rng=mask_draws(seed),
        )[0]
        codes = self._fill(codes, mask, prompt.loop, sampling, seed, takes, on_step)
        made = self._decode(codes, n_samples, prompt.loop)
        made = made.cpu()
        if not all_finite(made):
            raise RuntimeError(NOT_FINITE)
        made = made.view(takes, -1, n_samples).expand(takes, n_channels, n_samples)
        codes = codes.unflatten(0, (takes, -1)).expand(-1, n_channels, -1, -1).flatten(0, 1)
        return Vamp(made, codes.cpu(), mask[: codes.shape[1]], beats, seed)

    def _encode(self, audio: Tensor, loop: bool) -> Tensor:
        """Codes of float (C, 1, S); a loop is heard as it is played, end after start after end."""
        if not loop:
            return self.codec.encode(audio)
        hop, around = self.codec.hop_length, self.codec.encode_context
        n_frames = -(-audio.shape[-1] // hop)
        after = (n_frames + around) * hop - audio.shape[-1]
        codes = self.codec.encode(_played_on(audio, around * hop, after))
        return codes[..., around : around + n_frames]

    def _decode(self, codes: Tensor, n_samples: int, loop: bool) -> Tensor:
        """Sound float (B, 1, S) of the codes; a loop's start grows out of what follows its end."""
        if not loop:
            return self.codec.decode(codes, n_samples)
        hop, unit, n_frames = self.codec.hop_length, self.codec.window_multiple, codes.shape[-1]
        before = -(-LOOP_CONTEXT // unit) * unit
        codes = _played_on(codes, before, 1 + LOOP_CONTEXT)
        made = self.codec.decode(codes, (before + n_frames + 1) * hop)[..., before * hop :]
        fade = min(hop, n_samples)
        sound, after = made[..., :n_samples], made[..., n_samples : n_samples + fade]
        rise = torch.linspace(0, math.pi / 2, fade, device=made.device).sin().square()
        sound[..., :fade] = after + (sound[..., :fade] - after) * rise
        return sound

    def _times(
        self, audio: Tensor, prompt: Prompt, bpm: float | None, offset_s: float
    ) -> tuple[Beats | None, tuple[float, ...] | None]:
        """Beats (from the grid, else tracked) and onsets, where the prompt asks for them."""
        rate_hz, heard = self.codec.sample_rate, audio[:, 0]
        beats = None
        if bpm is not None:
            beats = beat_grid(bpm, audio.shape[-1] / rate_hz, offset_s)
        elif prompt.needs_beats:
            beats = track(heard, rate_hz)
        return beats, onsets(heard, rate_hz) if prompt.needs_onsets else None

    def _fill(
        self,
        codes: Tensor,
        mask: Tensor,
        loop: bool,
        sampling: Sampling,
        seed: int,
        takes: int,
        on_step: Progress | None,
    ) -> Tensor:
        """Both stages. codes: (C, N, T); mask: (N, T) on the CPU. Returns (takes * C, N', T)."""
        codes = codes.repeat(takes, 1, 1)
        passes = self._passes(codes, mask, loop, sampling)
        counter = _Counter(sum(p.steps * len(p.batches) for p in passes), on_step)
        still = mask.clone()
        for p in passes:
            n = p.model.config.n_codebooks
            hole = still[:n] & p.holes  # every batch of a pass sees what stood before the pass
            for batch in p.batches:
                streams = [
                    [_stream(seed, *p.place, take, w.keep_from) for w in batch]
                    for take in range(takes)
                ]
                codes[:, :n] = _fill_batch(
                    p.model, codes[:, :n], hole, batch, sampling, p.steps, streams,
                    counter.of(p.steps),
                )  # fmt: skip
                for w in batch:
                    kept = w.kept(codes.shape[-1])
                    still[:n, kept] &= ~p.holes[:, kept]
        return codes[:, : (self.c2f or self.coarse).config.n_codebooks]  # no others are new

    def _passes(self, codes: Tensor, mask: Tensor, loop: bool, sampling: Sampling) -> list[_Pass]:
        """What each model has to fill, in order: coarse, then fine, each in two passes."""
        stages = [(self.coarse, COARSE_WINDOW, sampling.steps)]
        if self.c2f is not None:
            stages.append((self.c2f, FINE_WINDOW, sampling.fine_steps))
        found = []
        for stage, (model, usual_window, steps) in enumerate(stages):
            holes = mask[: model.config.n_codebooks].clone()
            holes[: model.config.n_conditioning_codebooks] = False
            window = model.config.window_frames or usual_window
            for number, windows in enumerate(stretches(codes.shape[-1], window, loop)):
                groups = batches(needed(windows, holes), len(codes))
                found.append(_Pass(model, holes, groups, steps, (stage, number)))
        return found


def _fill_batch(
    model: VampNet,
    codes: Tensor,
    hole: Tensor,
    batch: list[Stretch],
    sampling: Sampling,
    steps: int,
    streams: list[list[torch.Generator]],
    on_step: Progress,
) -> Tensor:
    """Fill the kept part of each window. codes: (items, N, T); hole: (N, T) on the CPU. New codes.

    streams[take][window]; the batch runs take by take, window by window, channel by channel.
    """
    n_frames, takes = codes.shape[-1], len(streams)
    index = torch.stack([w.frames(n_frames) for w in batch])
    holes = hole[:, index].transpose(0, 1).to(codes.device)  # (windows, N, length)
    index = index.to(codes.device)
    n_codebooks, length = codes.shape[1], index.shape[1]
    seen = codes[:, :, index].unflatten(0, (takes, -1))  # (takes, C, N, windows, length)
    seen = seen.permute(0, 3, 1, 2, 4).reshape(-1, n_codebooks, length)
    n_channels = codes.shape[0] // takes
    holes = holes[None, :, None].expand(takes, -1, n_channels, -1, -1)
    holes = holes.reshape(-1, n_codebooks, length)
    rng = [generator for take in streams for generator in take]
    made = generate(model, seen, holes, sampling, rng, on_step, steps=steps)
    made = made.view(takes, len(batch), n_channels, n_codebooks, length)
    result = codes.clone()
    for i, w in enumerate(batch):
        kept = slice(w.keep_from - w.start, w.keep_to - w.start)
        result[:, :, index[i, kept]] = made[:, i, :, :, kept].flatten(0, 1)
    return result


def _whole(name: str, value: object, least: int | None = None) -> int:
    """A whole number of any kind as the one it stands for."""
    try:
        whole = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        whole = None
    if whole is None or (least is not None and whole < least):
        more = "" if least is None else f", at least {least}"
        raise ValueError(f"{name} is {value!r}; it must be a whole number{more}")
    return whole


def _check_kinds(
    audio: object, prompt: object, sampling: object, bpm: object, beat_offset_s: object
) -> None:
    for name, value, kind in (
        ("audio", audio, Tensor),
        ("prompt", prompt, Prompt),
        ("sampling", sampling, Sampling),
    ):
        if not isinstance(value, kind):
            raise ValueError(f"{name} is of {type(value)}; it must be a {kind.__name__}")
    for name, value in (("bpm", 0 if bpm is None else bpm), ("beat_offset_s", beat_offset_s)):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(f"{name} is {value!r}; it must be a number")


def _check(audio: Tensor) -> None:
    if audio.dim() != 3 or audio.shape[1] != 1 or 0 in audio.shape:
        raise ValueError(f"audio has shape {tuple(audio.shape)}; allowed is (channels, 1, samples)")
    if audio.dtype != torch.float32:
        raise ValueError(f"audio is {audio.dtype}; it must be torch.float32")
    if not all_finite(audio):
        raise ValueError("the audio holds values that are not finite numbers (NaN or infinity)")


def _check_codebooks(prompt: Prompt, n_codebooks: int) -> None:
    for name in ("codebooks_kept", "compression"):
        value = getattr(prompt, name)
        if value is not None and value > n_codebooks:
            raise ValueError(f"{name} is {value}; allowed is 0 to {n_codebooks}, the codec's")
