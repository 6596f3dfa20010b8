"""Beat and onset times in seconds: from a known tempo, or heard in the audio.

`beat_grid` is exact where the tempo is known. `track` listens, with the best tracker at hand:
beat_this (optional, only if its weights are already on this machine), or even grids of bars that
are scored by what is played on each step (`vampnet.prompt.beat_grids`), the default.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vampnet.audio import resample
from vampnet.prompt import beat_grids
from vampnet.system.errors import UserError

TRACKERS = ("auto", "beat_this", "grids", "envelope")
SLOWEST_BPM, FASTEST_BPM = 20.0, 400.0

_RATE_HZ = beat_grids.SAMPLE_RATE_HZ
_ENVELOPE_HOP = 110  # samples, 5 ms
_ENVELOPE_HZ = _RATE_HZ / _ENVELOPE_HOP
_ENVELOPE_WINDOW = 512  # samples, 23 ms
_ENVELOPE_LAG = 2  # frames over which a rise is measured
_SMOOTHING_S = 0.02  # spread of an attack where beats are sought: players are no more exact
_ENVELOPE_BLOCK = 12_000  # frames, a minute: memory stays flat

_SILENCE = 1e-4  # peak, -80 dBFS
_CANCELLED = 0.01  # of the loudest channel's power: less of a mean is what cancelling left
_SHORTEST_S = 0.5  # below this there is no beat to speak of
_WANDERING_S = 30.0  # longer audio may change its tempo
_STEADY_S = 0.020  # beats this near (RMS) to an even grid are put on it
_NEAR_S = 0.03  # how far a beat may be moved to the attack that it belongs to
_MORE_BEATS = 8  # an even grid is carried on by at most so many beats either way


@dataclass(frozen=True)
class Beats:
    """Beats of a region: times in seconds, rising; downbeats are among them; None = no tempo."""

    times_s: tuple[float, ...]
    downbeats_s: tuple[float, ...]
    bpm: float | None


NO_BEATS = Beats((), (), None)


def beat_grid(
    bpm: float, duration_s: float, offset_s: float = 0.0, beats_per_bar: int = 4
) -> Beats:
    """The beats of a known tempo from 0 up to the duration.

    Args:
        bpm: beats a minute, 20 to 400.
        duration_s: seconds, 0 up.
        offset_s: time of a downbeat, anywhere; negative where it lies before the region.
        beats_per_bar: 1 up.

    Raises ValueError for a value outside these.
    """
    if not SLOWEST_BPM <= bpm <= FASTEST_BPM:
        raise UserError(f"bpm must be from {SLOWEST_BPM:g} to {FASTEST_BPM:g}, not {bpm}")
    if not (math.isfinite(duration_s) and duration_s >= 0):
        raise UserError(f"duration_s must be a number from 0 up, not {duration_s}")
    if not math.isfinite(offset_s):
        raise UserError(f"offset_s must be a number of seconds, not {offset_s}")
    if isinstance(beats_per_bar, bool) or beats_per_bar != int(beats_per_bar) or beats_per_bar < 1:
        raise UserError(f"beats_per_bar must be a whole number from 1 up, not {beats_per_bar}")
    period = 60.0 / bpm
    tolerance = 1e-9
    first = math.ceil(-offset_s / period - tolerance)
    end = math.ceil((duration_s - offset_s) / period - tolerance)
    times = {number: max(0.0, offset_s + number * period) for number in range(first, end)}
    downbeats = tuple(time for number, time in times.items() if number % beats_per_bar == 0)
    return Beats(tuple(times.values()), downbeats, float(bpm))


def track(samples: Tensor, sample_rate: int, *, tracker: str = "auto") -> Beats:
    """The beats heard in the audio; none in silence and in less than half a second.

    A steady tempo gives an even grid; a region that loops gives a whole number of beats.

    Args:
        samples: float (C, S) or (S,).
        sample_rate: Hz.
        tracker: one of `TRACKERS`; "auto" takes the best that can run here.

    Raises ValueError for an unknown tracker and for one that cannot run here.
    """
    if tracker not in TRACKERS:
        raise UserError(f"tracker must be one of {', '.join(TRACKERS)}, not {tracker!r}")
    chosen = _choose(tracker)
    mono = _mono(samples, sample_rate)
    if len(mono) < _SHORTEST_S * _RATE_HZ:
        return NO_BEATS
    duration_s = len(mono) / _RATE_HZ
    envelope = onset_envelope(mono)
    if chosen == "beat_this":
        places = _hear_beat_this(mono)
    elif chosen == "grids":
        places = _hear_grids(mono, envelope)
    else:
        places = _hear_envelope(envelope)
    return _settle(places, envelope, duration_s)


def onsets(samples: Tensor, sample_rate: int) -> tuple[float, ...]:
    """Times in seconds where something starts to sound: peaks of the spectral flux.

    samples float (C, S) or (S,), sample_rate in Hz. A peak counts when it is the highest within
    30 ms and stands out from the 200 ms around it (Boeck, Krebs, Schedl, "Evaluating the Online
    Capabilities of Onset Detection Methods", ISMIR 2012).
    """
    mono = _mono(samples, sample_rate)
    envelope = onset_envelope(mono)
    if not len(envelope) or envelope.max() <= 0:
        return ()
    envelope = envelope / envelope.max()
    near, around = round(0.03 * _ENVELOPE_HZ), round(0.1 * _ENVELOPE_HZ)
    padded = np.pad(envelope, near)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * near + 1).max(axis=1)
    width = 2 * around + 1
    mean = np.convolve(np.pad(envelope, around), np.ones(width) / width, mode="valid")
    frames = np.flatnonzero((envelope == highest) & (envelope > mean + 0.06))
    times = frames / _ENVELOPE_HZ
    return tuple(float(time) for time in times if time < len(mono) / _RATE_HZ)


def onset_envelope(mono: np.ndarray) -> np.ndarray:
    """How much the sound rises: mono (S,) at 22050 Hz -> float (K), one value each 110 samples.

    The mean over frequency of the rises of the compressed magnitude within 10 ms. Value k speaks
    of an attack at k / 200.45 seconds, to within 3 ms on clicks, kicks and snares.
    """
    half = _ENVELOPE_WINDOW // 2
    padded = torch.from_numpy(np.pad(mono.astype(np.float32), (half, half)))
    window = torch.hann_window(_ENVELOPE_WINDOW)
    n_frames = len(mono) // _ENVELOPE_HOP + 1 if len(mono) else 0
    blocks = []
    for start in range(0, n_frames, _ENVELOPE_BLOCK):
        first = max(0, start - _ENVELOPE_LAG)
        end = min(n_frames, start + _ENVELOPE_BLOCK)
        piece = padded[first * _ENVELOPE_HOP : (end - 1) * _ENVELOPE_HOP + _ENVELOPE_WINDOW]
        frames = piece.unfold(0, _ENVELOPE_WINDOW, _ENVELOPE_HOP) * window
        level = torch.log1p(torch.fft.rfft(frames).abs())
        if start == 0:  # before the audio there was silence: a sound at 0 s is an attack
            level = torch.cat([torch.zeros(_ENVELOPE_LAG, level.shape[1]), level])
        blocks.append((level[_ENVELOPE_LAG:] - level[:-_ENVELOPE_LAG]).clamp(min=0).mean(dim=1))
    return torch.cat(blocks).double().numpy() if blocks else np.zeros(0)


def _mono(samples: Tensor, sample_rate: int) -> np.ndarray:
    """Float32 (S,) at 22050 Hz with its peak at 1; empty for silence."""
    if samples.ndim not in (1, 2):
        raise UserError(f"samples must be (C, S) or (S,), not of shape {tuple(samples.shape)}")
    audio = samples.detach().float().cpu()
    audio = _mixed(audio) if audio.ndim == 2 else audio
    peak = float(audio.abs().max()) if audio.numel() else 0.0
    if not peak > _SILENCE:
        return np.zeros(0, dtype=np.float32)
    return resample(audio[None] / peak, sample_rate, _RATE_HZ)[0].numpy()


def _mixed(channels: Tensor) -> Tensor:
    """The mean of (C, S); the loudest channel where they cancel each other (one is inverted)."""
    mean, powers = channels.mean(dim=0), channels.square().mean(dim=1)
    if mean.square().mean() < _CANCELLED * powers.max():
        return channels[powers.argmax()]
    return mean


# --- the trackers: each gives beats (n, 2), time in seconds and place in the bar (1 = downbeat) --


def _choose(tracker: str) -> str:
    """The tracker that will run; raises ValueError if the one asked for cannot."""
    cached = _beat_this_weights() is not None
    usable = {"beat_this": cached, "grids": beat_grids.WEIGHTS.is_file()}
    usable["envelope"] = True
    if tracker == "auto":
        return next(name for name in TRACKERS[1:] if usable[name])
    if not usable[tracker]:
        allowed = ", ".join(name for name, can_run in usable.items() if can_run)
        how = '; install with: pip install "vampnet-harp[beats]"' if tracker == "beat_this" else ""
        raise UserError(f"tracker {tracker!r} cannot be used; available: {allowed}{how}")
    return tracker


def _beat_this_weights() -> Path | None:
    """The weights that beat_this has downloaded before; nothing is downloaded here."""
    if importlib.util.find_spec("beat_this") is None:
        return None
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    files = [folder / f"beat_this-{name}.ckpt" for name in ("final0", "small0")]
    return next((file for file in files if file.is_file()), None)


def _hear_beat_this(mono: np.ndarray) -> np.ndarray:
    from beat_this.inference import Audio2Beats  # pyright: ignore[reportMissingImports]

    times, downbeats = Audio2Beats(checkpoint_path=str(_beat_this_weights()))(mono, _RATE_HZ)
    times = np.asarray(times, dtype=np.float64)
    first = np.isin(times, np.asarray(downbeats))
    places = np.ones(len(times))
    for i in range(1, len(times)):
        places[i] = 1 if first[i] else places[i - 1] + 1
    if len(times) and not first[0]:
        places[: int(np.argmax(first)) if first.any() else len(times)] += 1
    return np.stack([times, places], axis=1)


def _hear_grids(mono: np.ndarray, envelope: np.ndarray) -> np.ndarray:
    """Beats of the best even grid of bars; long audio, whose tempo may change, by its attacks."""
    grid = beat_grids.best_grid(mono[: round(_WANDERING_S * _RATE_HZ)])
    if grid is None:
        return _hear_envelope(envelope)
    duration_s = len(mono) / _RATE_HZ
    if duration_s > _WANDERING_S:
        times = _hear_envelope(envelope, grid.period_s * _ENVELOPE_HZ)[:, 0]
        bar_s = grid.period_s * grid.beats_per_bar
        early = times[times < _WANDERING_S]
        off_s = np.abs((early - grid.first_s + bar_s / 2) % bar_s - bar_s / 2)
        first = int(off_s.argmin()) if len(off_s) else 0
        return np.stack([times, (np.arange(len(times)) - first) % grid.beats_per_bar + 1], axis=1)
    first = math.ceil((-_NEAR_S / 2 - grid.first_s) / grid.period_s)
    numbers = np.arange(first, math.ceil((duration_s - grid.first_s) / grid.period_s))
    times = grid.first_s + numbers * grid.period_s
    return np.stack([np.maximum(times, 0), numbers % grid.beats_per_bar + 1], axis=1)


def _hear_envelope(envelope: np.ndarray, period: float | None = None) -> np.ndarray:
    """Beats by dynamic programming over attacks (Ellis, "Beat Tracking by Dynamic Programming",
    2007), without bars: every fourth beat from the strongest place on counts as a downbeat."""
    strength = _smooth(envelope)
    strength = strength / (strength.std() + 1e-9)
    period = period or _period(strength)
    if period is None:
        return np.zeros((0, 2))
    back = np.arange(round(period / 2), round(period * 2) + 1)
    cost = 100 * np.log(back / period) ** 2
    score = strength.copy()
    previous = np.full(len(score), -1)
    for frame in range(back[0], len(score)):
        n = min(len(back), frame - back[0] + 1)
        options = score[frame - back[:n]] - cost[:n]
        best = int(options.argmax())
        if options[best] > 0:
            score[frame] += options[best]
            previous[frame] = frame - back[best]
    tail = max(0, len(score) - round(period))
    frame = tail + int(score[tail:].argmax())
    frames = []
    while frame >= 0:
        frames.append(frame)
        frame = int(previous[frame])
    frames = np.array(frames[::-1])
    first = max(range(min(4, len(frames))), key=lambda i: strength[frames[i::4]].mean())
    times = frames / _ENVELOPE_HZ
    return np.stack([times, (np.arange(len(frames)) - first) % 4 + 1], axis=1)


def _smooth(envelope: np.ndarray) -> np.ndarray:
    """The envelope under a bell curve: attacks that are nearly together count together."""
    spread = _SMOOTHING_S * _ENVELOPE_HZ
    at = np.arange(-round(3 * spread), round(3 * spread) + 1)
    bell = np.exp(-0.5 * (at / spread) ** 2)
    padded = np.pad(envelope, len(at) // 2)
    return np.convolve(padded, bell / bell.sum(), mode="valid")


def _period(strength: np.ndarray) -> float | None:
    """The beat's period in envelope frames: the lag at which attacks recur, near 120 bpm best."""
    centred = strength - strength.mean()
    size = 2 ** math.ceil(math.log2(2 * len(centred)))
    recurrence = np.fft.irfft(np.abs(np.fft.rfft(centred, size)) ** 2)[: len(centred)]
    lags = np.arange(round(60 / 215 * _ENVELOPE_HZ), round(60 / 55 * _ENVELOPE_HZ) + 1)
    lags = lags[2 * lags < len(recurrence)]
    if not len(lags) or recurrence[0] <= 0:
        return None
    comb = recurrence[lags] + 0.5 * recurrence[2 * lags]
    octaves = np.log2(60 * _ENVELOPE_HZ / lags / 120)
    comb = comb * np.exp(-0.5 * (octaves / 0.9) ** 2)
    return float(lags[comb.argmax()]) if comb.max() > 0 else None


# --- from beats heard to beats given ------------------------------------------------------------


def _numbers(times: np.ndarray) -> np.ndarray:
    """Which beat each of two or more times is, from 0; a beat not heard leaves its number out."""
    gaps = np.diff(times)
    return np.concatenate([[0], np.cumsum(np.maximum(1, np.round(gaps / np.median(gaps))))])


def _even(times: np.ndarray) -> tuple[float, float] | None:
    """(period, time of beat 0) of the even grid that the times lie on; None if they do not."""
    if len(times) < 3:
        return None
    numbers = _numbers(times)
    period, start = np.polyfit(numbers, times, 1)
    error = np.sqrt(np.mean((times - start - period * numbers) ** 2))
    return (float(period), float(start)) if error < _STEADY_S and period > 0 else None


def _settle(places: np.ndarray, envelope: np.ndarray, duration_s: float) -> Beats:
    """Beats as heard (n, 2) -> Beats: on an even grid if they are steady, else at the attacks."""
    if not len(places):
        return NO_BEATS
    line = _even(places[:, 0])
    if line is None:
        times = np.array([time + _shift(np.array([time]), envelope) for time in places[:, 0]])
        rising = np.diff(times, prepend=-1.0) > 0.1
        times, bar = np.clip(times[rising], 0, duration_s), places[rising, 1]
        bpm = 60 * _numbers(times)[-1] / (times[-1] - times[0]) if len(times) > 1 else None
        downbeats = tuple(times[bar == 1].tolist())
        return Beats(tuple(times.tolist()), downbeats, bpm if bpm is None else float(bpm))
    period, start = line
    heard = _numbers(places[:, 0])
    start += _shift(start + period * heard, envelope)
    numbers = np.arange(-_MORE_BEATS, int(heard[-1]) + _MORE_BEATS + 1)
    times = start + period * numbers
    inside = (times > -_NEAR_S / 2) & (times < duration_s - _NEAR_S / 2)
    numbers, times = numbers[inside], np.maximum(times[inside], 0)
    firsts = heard[places[:, 1] == 1]
    per_bar = int(places[:, 1].max())
    downbeats = times[(numbers - firsts[0]) % per_bar == 0] if len(firsts) else times[:0]
    return Beats(tuple(times.tolist()), tuple(downbeats.tolist()), 60 / period)


def _shift(times: np.ndarray, envelope: np.ndarray) -> float:
    """Seconds, at most 30 ms, by which all the times move to lie on the attacks near them."""
    shifts = np.arange(-_NEAR_S, _NEAR_S + 1e-9, 0.5 / _ENVELOPE_HZ)
    smooth = np.convolve(envelope, [0.25, 0.5, 0.25], mode="same")
    at = (times[None, :] + shifts[:, None]) * _ENVELOPE_HZ
    heard = np.interp(at, np.arange(len(smooth)), smooth, left=0, right=0).sum(axis=1)
    # Where nothing starts nearby nothing moves.
    heard *= 1 - 0.2 * np.abs(shifts) / _NEAR_S
    return float(shifts[heard.argmax()]) if heard.max() > 0 else 0.0
