"""A region of a DAW: its file, what the model hears of it, and the variation in its place.

What comes back has the input's sample rate, channels, sample count, container, bit depth and
loudness, aligned to the sample. Where nothing was regenerated it is the original, bit for bit in
the file's own sample format. Knows nothing of HARP; usable by itself.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vampnet.audio.content import DEFAULT_LIMITS, Limits
from vampnet.audio.files import read_native
from vampnet.audio.limiter import BLOCK, CEILING, limited
from vampnet.audio.loudness import loudest_audible, loudness_lufs, normalize
from vampnet.audio.resampling import all_finite, resample
from vampnet.audio.sample_format import (
    AudioFormat,
    float_to_native,
    format_for,
    native_to_float,
)
from vampnet.audio.writing import check_format, write_native
from vampnet.system.errors import UserError

_CEILING_8_BIT = 126 / 128
# The original fades into the variation within this time after an edge, and back before the next.
EDGE_MS = 10.0
_LOUDNESS_ROUNDS = 6  # at most so often is the gain corrected by the loudness that came out
_LOUDNESS_ERROR_LU = 0.1
_FLATTEST = 0.1  # LU that 1 dB more into the limiter brings, at least, when a gain is sought
_LIMITER_DRIVE_DB = 12.0  # more than this is not pushed into the limiter to reach a loudness
_CLIPS_DB = (0.0, 3.0, 6.0)  # how far peaks are clipped in the place of a loud master, in turn
_LOUD_MASTER_LUFS = -10.0
_RANGES_DB = 3.0  # at most so far from the whole's gain does the level of the ranges take theirs

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Region:
    """Audio as it lies in a file: native samples (S, C), rate in Hz, how the file was written."""

    native: np.ndarray
    sample_rate: int
    format: AudioFormat

    @classmethod
    def read(cls, path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Region:
        """Read a region's file.

        AudioError where it is not audio, outside `limits` or of a format that cannot be written.
        """
        region = cls(*read_native(path, limits))
        check_format(path, region.format)
        return region

    @property
    def n_samples(self) -> int:
        """S, the samples of each channel."""
        return self.native.shape[0]

    @property
    def n_channels(self) -> int:
        """C, the channels."""
        return self.native.shape[1]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate

    @property
    def samples(self) -> Tensor:
        """The samples as float32 (C, S), full scale 1.0; made anew at each call."""
        return native_to_float(self.native)

    @cached_property
    def _loudest(self) -> float:
        return loudest_audible(self.samples)

    def _audible(self, start: int = 0, end: int | None = None) -> Tensor:
        """The samples from start to end, (C, n), without spikes that no converter plays."""
        samples = native_to_float(self.native[start:end])
        return (
            samples if self._loudest == math.inf else samples.clamp_(-self._loudest, self._loudest)
        )

    @cached_property
    def loudness_lufs(self) -> float:
        """Integrated loudness in LUFS (RMS below 0.4 s), spikes cut; -inf for silence."""
        return loudness_lufs(self._audible(), self.sample_rate)

    @cached_property
    def channel_rms(self) -> tuple[float, ...]:
        """The RMS of each channel, full scale 1.0, spikes cut."""
        powers = (row.square().mean(dtype=torch.float64) for row in self._audible())
        return tuple(math.sqrt(float(power)) for power in powers)

    def to_model(self, rate_hz: int, mono: bool = False) -> tuple[Tensor, float]:
        """Resample the region and normalise its loudness for a model.

        Args:
            rate_hz: sample rate of the model.
            mono: one item, the mean of the channels.

        Returns:
            float32 (C, 1, S'), one item per channel, S' = ceil(S * rate_hz / sample_rate), at -24
            LUFS with one gain for all channels, peaks <= 1; and that gain (a factor), which
            :meth:`like` needs where the loudness is not matched.
        """
        heard = resample(self._model_input(mono), self.sample_rate, rate_hz)
        same = rate_hz == self.sample_rate and not mono
        known = self.loudness_lufs if same else None
        samples, gain = normalize(heard, rate_hz, loudness=known)
        return samples.unsqueeze(1), gain

    def like(
        self,
        audio: Tensor,
        audio_rate_hz: int,
        ranges_s: Sequence[tuple[float, float]] = (),
        match_loudness: bool = True,
        gain: float = 1.0,
    ) -> Region:
        """The region with generated `audio` (C or 1, S') at `audio_rate_hz` in its place.

        One generated channel goes into every channel, each at the level it had beside the others.
        `ranges_s`: only these (start, end) seconds are replaced, with crossfades inside them; none
        = all. `match_loudness`: bring the generated audio as a whole to this region's loudness,
        then within 3 dB of that gain the ranges to the loudness they had, a silent channel to
        silence; otherwise only undo `gain`, the factor of `to_model`. Peaks of what is replaced
        stay <= -0.1 dBFS. ValueError for a wrong shape, NaN, ranges outside the region.
        """
        spans = self.spans(ranges_s)
        if audio.ndim != 2 or audio.shape[0] not in (1, self.n_channels) or not audio.shape[1]:
            allowed = f"(1 or {self.n_channels}, at least 1)"
            raise UserError(f"generated audio has shape {tuple(audio.shape)}; allowed: {allowed}")
        if not all_finite(audio):
            raise UserError("generated audio holds NaN or infinite samples; none are allowed")
        made = resample(audio.detach().float(), audio_rate_hz, self.sample_rate, self.n_samples)
        balance = torch.tensor(self._balance(made.shape[0], match_loudness)).unsqueeze(1)
        made = made.cpu()
        made = made * balance if (balance != 1).any() or len(balance) > len(made) else made
        if match_loudness:
            return self._replaced(self._at_own_loudness(made, spans), spans)
        clip_db = _CLIPS_DB[-1] if self._is_loud_master else 0.0
        out = limited(made, 1 / gain, self.sample_rate, torch.empty_like(made), clip_db)
        return self._replaced(out, spans)

    def spans(self, ranges_s: Sequence[tuple[float, float]] = ()) -> Spans:
        """Ranges in seconds as sorted, merged (start, end) sample numbers; none = the whole region.

        An end may lie up to one sample behind the region's. ValueError for a range that is empty,
        reversed, not finite or outside the region.
        """
        found: list[tuple[int, int]] = []
        for start_s, end_s in sorted(ranges_s):
            last_s = self.duration_s + 1 / self.sample_rate
            if not 0 <= start_s < end_s <= last_s:
                raise UserError(
                    f"range {start_s:g}-{end_s:g} s is not allowed; a range starts before it ends"
                    f" and lies within the region, 0-{self.duration_s:g} s"
                )
            start, end = round(start_s * self.sample_rate), round(end_s * self.sample_rate)
            start, end = min(start, self.n_samples - 1), min(max(end, start + 1), self.n_samples)
            if found and start <= found[-1][1]:
                start, end = found[-1][0], max(end, found.pop()[1])
            found.append((start, end))
        return tuple(found) or ((0, self.n_samples),)

    def write(
        self, path: str | os.PathLike[str], check: Callable[[], object] = lambda: None
    ) -> None:
        """Write the region as its file was written: container, bit depth, loop and tempo chunks.

        Only where the name's suffix stands for another container is it written as that one.
        AudioError where it cannot be written; then nothing is left behind. What `check` raises,
        called every second or so of sound, ends the writing.
        """
        form, native = format_for(path, self.format), self.native
        if form.subtype != self.format.subtype:
            native = float_to_native(self.samples, form.subtype)
        write_native(path, native, self.sample_rate, form, check)

    def _model_input(self, mono: bool) -> Tensor:
        """The channels (C, S), or their mean (1, S)."""
        return self._audible().mean(0, keepdim=True) if mono else self._audible()

    def _balance(self, made_channels: int, silent_stays: bool) -> list[float]:
        """A factor for each channel: its share of the level if one fills them, 0 for silence."""
        rms = self.channel_rms
        mean = math.sqrt(sum(value**2 for value in rms) / len(rms))
        if mean == 0:
            return [0.0 if silent_stays else 1.0] * len(rms)
        if made_channels == 1:
            return [value / mean for value in rms]
        return [0.0 if silent_stays and value == 0 else 1.0 for value in rms]

    def _at_own_loudness(self, made: Tensor, spans: Spans) -> Tensor:
        """`made` (C, S) so that in this region's place it has its loudness, then that of the spans.

        The whole comes first, so that a span that was made softer or louder than what was there
        stays so beyond 3 dB. A span that was silent has no level to keep.
        """
        loudness = loudness_lufs(made, self.sample_rate)
        if loudness == -math.inf or self.loudness_lufs == -math.inf:
            return torch.zeros_like(made)
        gain_db, whole = self.loudness_lufs - loudness, ((0, self.n_samples),)
        most_db, out = gain_db + _LIMITER_DRIVE_DB, torch.empty_like(made)
        gain_db = self._reach(made, out, whole, gain_db, (-math.inf, most_db))
        if spans != whole:
            bounds_db = gain_db - _RANGES_DB, min(gain_db + _RANGES_DB, most_db)
            self._reach(made, out, spans, gain_db, bounds_db)
        return out

    @property
    def _is_loud_master(self) -> bool:
        """Whether it is so loud that its own peaks were clipped."""
        return self.loudness_lufs > _LOUD_MASTER_LUFS

    def _reach(
        self,
        made: Tensor,
        out: Tensor,
        spans: Spans,
        gain_db: float,
        bounds_db: tuple[float, float],
    ) -> float:
        """Put `made` in `out`, limited, so loud that the spans have the loudness they had.

        What the limiter takes, and what the original adds at the edges, is made up for. In the
        place of a loud master, peaks are clipped as far as the limiter alone leaves it too soft.
        Returns the gain in dB, within the bounds.
        """
        wanted = self._own_loudness(spans)
        if wanted == -math.inf:
            return gain_db
        found_db = gain_db
        for clip_db in _CLIPS_DB if self._is_loud_master else _CLIPS_DB[:1]:
            found_db, missing = self._sought(made, out, spans, wanted, gain_db, bounds_db, clip_db)
            if missing < _LOUDNESS_ERROR_LU:
                break
        return found_db

    def _sought(
        self,
        made: Tensor,
        out: Tensor,
        spans: Spans,
        wanted: float,
        gain_db: float,
        bounds_db: tuple[float, float],
        clip_db: float,
    ) -> tuple[float, float]:
        """Seek the gain by secants, for at a limiter 1 dB brings less than 1 LU.

        Returns it in dB, and how many LU the spans then lack of what is wanted.
        """
        last = None
        for left in reversed(range(_LOUDNESS_ROUNDS)):
            limited(made, 10 ** (gain_db / 20), self.sample_rate, out, clip_db)
            missing = wanted - self._loudness_in_place(out, spans)
            slope = (last[1] - missing) / (gain_db - last[0]) if last else 1.0
            next_db = gain_db + missing / min(1.0, max(_FLATTEST, slope))
            next_db = min(max(next_db, bounds_db[0]), bounds_db[1])
            if abs(missing) < _LOUDNESS_ERROR_LU or next_db == gain_db or not left:
                break
            last, gain_db = (gain_db, missing), next_db
        return gain_db, missing

    def _own_loudness(self, spans: Spans) -> float:
        """The loudness of this region's own sound in the spans."""
        if spans == ((0, self.n_samples),):
            return self.loudness_lufs
        own = [self._audible(start, end) for start, end in spans]
        return loudness_lufs(_joined(own), self.sample_rate)

    def _loudness_in_place(self, made: Tensor, spans: Spans) -> float:
        """The spans' loudness with `made` (C, S) in their place; `made` stays as it was."""
        edges = [edge for start, end in spans for edge in self._edges(made, start, end)]
        own = [made[:, first:last].clone() for first, last, _ in edges]
        for first, last, mixed in edges:
            made[:, first:last] = mixed
        loudness = loudness_lufs(
            _joined([made[:, start:end] for start, end in spans]), self.sample_rate
        )
        for (first, last, _), before in zip(edges, own, strict=True):
            made[:, first:last] = before
        return loudness

    def _edges(self, made: Tensor, start: int, end: int) -> list[tuple[int, int, Tensor]]:
        """Both ends of a replaced span: first and last sample, and (C, n) that fades there.

        From the original into `made` (C, S), and back before the span's end.
        """
        n = max(1, min(round(EDGE_MS * self.sample_rate / 1000), (end - start) // 4))
        kept = 0.5 + 0.5 * torch.cos(math.pi * torch.arange(n) / n)
        found = []
        for first, weight in ((start, kept), (end - n, kept.flip(0))):
            there = native_to_float(self.native[first : first + n])
            there = there.clamp_(-CEILING, CEILING).mul_(weight)
            mixed = there.addcmul_(made[:, first : first + n], 1 - weight)
            found.append((first, first + n, mixed))
        return found

    def _replaced(self, made: Tensor, spans: Spans) -> Region:
        """This region with `made` (C, S) inside the spans."""
        native, subtype, bits = self.native.copy(), self.format.subtype, self.format.valid_bits
        ceiling = _CEILING_8_BIT if subtype in ("PCM_U8", "PCM_S8") else CEILING
        for start, end in spans:
            for first in range(start, end, BLOCK):
                last = min(first + BLOCK, end)
                held = made[:, first:last].clamp(-ceiling, ceiling)
                native[first:last] = float_to_native(held, subtype, bits)
            for first, last, mixed in self._edges(made, start, end):
                native[first:last] = float_to_native(mixed.clamp_(-ceiling, ceiling), subtype, bits)
        return replace(self, native=native)


def _joined(pieces: list[Tensor]) -> Tensor:
    """Pieces (C, n) one after the other; no copy of a single one."""
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)
