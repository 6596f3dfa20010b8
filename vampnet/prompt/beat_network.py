"""The neural beat tracker: a small recurrent network and a model of bars that reads its output.

Network and weights are those of BeatNet (Heydari, Cwitkowitz, Duan, "BeatNet: CRNN and Particle
Filtering for Online Joint Beat, Downbeat and Meter Tracking", ISMIR 2021); weights/beats tells
their origin and licence. The beats are found in its output by the bar-pointer model of Boeck,
Krebs and Widmer ("Joint Beat and Downbeat Tracking with Recurrent Neural Networks", ISMIR 2016)
as implemented by madmom-infer, an optional package: without it `available` is False.
"""

from __future__ import annotations

import importlib.util
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.special import expit
from torch import Tensor, nn

SAMPLE_RATE_HZ = 22050
FRAME_RATE_HZ = 50
_HOP = 441
_WINDOW = 1411  # 64 ms
_BANDS_PER_OCTAVE = 24
_LOWEST_HZ, _HIGHEST_HZ = 30, 17000
_N_FEATURES = 272

BEATS_PER_BAR = (3, 4)
SLOWEST_BPM, FASTEST_BPM = 55.0, 215.0

# Frames beside a window of audio that its features hear too.
_CONTEXT_FRAMES = 8
# The bar model's memory grows with the audio: longer audio is read in windows of which the
# overlap's halves are thrown away.
_DECODE_FRAMES = 60 * FRAME_RATE_HZ
_OVERLAP_FRAMES = 16 * FRAME_RATE_HZ
_BLOCK_FRAMES = 500  # of the recurrence, between two calls of torch: who waits may stop it there

WEIGHTS = Path(__file__).parents[1] / "weights" / "beats" / "beatnet.safetensors"


class BeatNetwork(nn.Module):
    """Convolution over frequency, two LSTM layers over time, three classes a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, 2, 10)
        self.linear0 = nn.Linear(2 * ((_N_FEATURES - 9) // 2), 150)
        self.lstm = nn.LSTM(150, 150, num_layers=2, batch_first=True)
        self.linear = nn.Linear(150, 3)

    def embed(self, features: Tensor) -> Tensor:
        """Features float (T, 272) -> what the recurrence reads, float (T, 150), frame by frame."""
        bands = torch.relu(self.conv1(features[:, None, :]))
        return self.linear0(torch.max_pool1d(bands, 2).flatten(1))

    def forward(self, embedded: Tensor) -> Tensor:
        """Float (T, 150) -> probability of beat, downbeat and neither, float (T, 3)."""
        states = embedded
        for layer in range(self.lstm.num_layers):
            states = _recur(states, *(getattr(self.lstm, f"{name}_l{layer}") for name in _LSTM))
        return torch.softmax(self.linear(states), dim=-1)


_LSTM = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _recur(inputs: Tensor, w_in: Tensor, w_state: Tensor, b_in: Tensor, b_state: Tensor) -> Tensor:
    """One LSTM layer over float (T, D), without gradient.

    In numpy: a step is a small matrix by a vector, and torch's LSTM waits for all its threads
    after each step, which takes seconds where the processor is busy with other work (a DAW).
    """
    weight = w_state.detach().numpy()
    width = weight.shape[1]
    state = cell = np.zeros(width, dtype=weight.dtype)
    states = []
    for block in inputs.split(_BLOCK_FRAMES):
        gates = torch.nn.functional.linear(block, w_in, b_in + b_state).detach().numpy()
        for gate in gates:
            total = gate + weight @ state
            opened = expit(total)
            candidate = np.tanh(total[2 * width : 3 * width])
            cell = opened[width : 2 * width] * cell + opened[:width] * candidate
            states.append(state := opened[3 * width :] * np.tanh(cell))
    return torch.from_numpy(np.stack(states))


def available() -> bool:
    """Whether madmom-infer is installed and the weights lie in the package."""
    return importlib.util.find_spec("madmom_infer") is not None and WEIGHTS.is_file()


def load(path: Path = WEIGHTS) -> BeatNetwork:
    """The network with its trained weights, ready to run; OSError if there is no such file."""
    network = BeatNetwork()
    network.load_state_dict(load_file(path))
    return network.eval()


def activations(mono: np.ndarray, network: BeatNetwork) -> np.ndarray:
    """Probability of beat and of downbeat, float (T, 2), of mono audio (S,) at 22050 Hz, S > 0.

    Frame t is centred at t / `FRAME_RATE_HZ` seconds. The network is causal and needs a second
    or two of music before it is sure.
    """
    n_frames = -(-len(mono) // _HOP)
    embedded = []
    with torch.inference_mode():
        for start in range(0, n_frames, _DECODE_FRAMES):
            first = max(0, start - _CONTEXT_FRAMES)
            end = min(n_frames, start + _DECODE_FRAMES)
            piece = mono[first * _HOP : (end + _CONTEXT_FRAMES) * _HOP]
            features = torch.from_numpy(_features(piece))[start - first : end - first]
            embedded.append(network.embed(features))
        return network(torch.cat(embedded))[:, :2].numpy()


def decode(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (T, 2) -> beats float (n, 2): time in seconds, place in the bar from 1."""
    n_frames = len(probabilities)
    if n_frames <= _DECODE_FRAMES:
        return _decode_window(probabilities)
    pieces = []
    step = _DECODE_FRAMES - _OVERLAP_FRAMES
    for start in range(0, n_frames - _OVERLAP_FRAMES, step):
        beats = _decode_window(probabilities[start : start + _DECODE_FRAMES])
        beats[:, 0] += start / FRAME_RATE_HZ
        half_s = _OVERLAP_FRAMES / 2 / FRAME_RATE_HZ
        from_s = 0.0 if start == 0 else start / FRAME_RATE_HZ + half_s
        last = start + _DECODE_FRAMES >= n_frames
        to_s = np.inf if last else (start + _DECODE_FRAMES) / FRAME_RATE_HZ - half_s
        pieces.append(beats[(beats[:, 0] >= from_s) & (beats[:, 0] < to_s)])
    return np.concatenate(pieces)


def _decode_window(probabilities: np.ndarray) -> np.ndarray:
    from madmom_infer.features.downbeats import DBNDownBeatTrackingProcessor

    bars = DBNDownBeatTrackingProcessor(
        beats_per_bar=list(BEATS_PER_BAR),
        min_bpm=SLOWEST_BPM,
        max_bpm=FASTEST_BPM,
        fps=FRAME_RATE_HZ,
    )
    for model in bars.hmms:
        model.viterbi = partial(_likeliest_path, model)
    return np.asarray(bars(probabilities), dtype=np.float64).reshape(-1, 2)


def _likeliest_path(model: Any, observations: np.ndarray) -> tuple[np.ndarray, float]:
    """Viterbi's path through a bar model, int64 (T,), and its log probability.

    What the library's own ``viterbi`` gives, in a fifth of its time: all but a few states (the
    first of each beat) have one way in, so that only for those the ways are compared. By torch,
    each of whose calls may be stopped; the library's could not be for half a minute.
    """
    arrivals, density = model.transition_model, model.observation_model
    sources = torch.from_numpy(arrivals.states.astype(np.int64))
    gains = torch.from_numpy(np.asarray(arrivals.log_probabilities, dtype=np.float64))
    begins = torch.from_numpy(arrivals.pointers.astype(np.int64))
    first, n_ways = begins[:-1], begins.diff()
    several = torch.nonzero(n_ways > 1)[:, 0]
    way = torch.arange(int(n_ways.max()))
    at = (first[several, None] + way).clamp(max=len(sources) - 1)
    closed = way >= n_ways[several, None]
    before, gain = sources[at], gains[at].masked_fill(closed, -torch.inf)
    only, only_gain = sources[first], gains[first]
    levels = torch.from_numpy(np.asarray(density.log_densities(observations), dtype=np.float64))
    levels = levels.masked_fill(levels.isnan(), -torch.inf)  # of what rounding took below 0
    kind = torch.from_numpy(density.pointers.astype(np.int64))
    score = torch.from_numpy(np.log(model.initial_distribution))
    taken = torch.empty((len(levels), len(several)), dtype=torch.int64)
    for frame, level in enumerate(levels):
        best = (score[before] + gain).max(-1)
        score = score[only] + only_gain
        score[several], taken[frame] = best
        score += level[kind]
    state, total = int(score.argmax()), float(score.max())
    if math.isinf(total):
        return np.empty(0, dtype=np.int64), total
    came = before.gather(1, taken.t()).t().numpy()  # (T, several)
    row = np.full(len(only), -1)
    row[several.numpy()] = np.arange(len(several))
    path = np.empty(len(levels), dtype=np.int64)
    for frame in range(len(levels) - 1, -1, -1):
        path[frame] = state
        state = int(only[state]) if row[state] < 0 else int(came[frame, row[state]])
    return path, total


def _features(mono: np.ndarray) -> np.ndarray:
    """Log magnitudes in 24 bands an octave and their rises, float32 (T, 272).

    The front end that the weights were trained with (BeatNet, section 3.1).
    """
    from madmom_infer.audio.signal import FramedSignalProcessor, SignalProcessor
    from madmom_infer.audio.spectrogram import (
        FilteredSpectrogramProcessor,
        LogarithmicSpectrogramProcessor,
        SpectrogramDifferenceProcessor,
    )
    from madmom_infer.audio.stft import ShortTimeFourierTransformProcessor
    from madmom_infer.processors import SequentialProcessor

    bands = FilteredSpectrogramProcessor(
        num_bands=_BANDS_PER_OCTAVE, fmin=_LOWEST_HZ, fmax=_HIGHEST_HZ, norm_filters=True
    )
    rises = SpectrogramDifferenceProcessor(
        diff_ratio=0.5, positive_diffs=True, stack_diffs=np.hstack
    )
    front_end = SequentialProcessor(
        (
            SignalProcessor(num_channels=1, sample_rate=SAMPLE_RATE_HZ),
            FramedSignalProcessor(frame_size=_WINDOW, hop_size=_HOP),
            ShortTimeFourierTransformProcessor(),
            bands,
            LogarithmicSpectrogramProcessor(mul=1, add=1),
            rises,
        )
    )
    return np.asarray(front_end(mono.astype(np.float32)), dtype=np.float32)
