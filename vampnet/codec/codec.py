"""The interface of all codecs: waveform <-> codes, in windows when the audio is long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vampnet.audio import all_finite
from vampnet.system.token_checks import check_codes


class FrameWindow(NamedTuple):
    """A range of frames that is computed at once, and the part of it that is kept."""

    start: int  # first frame read
    stop: int  # one past the last frame read
    keep_from: int  # first frame kept; start <= keep_from
    keep_to: int  # one past the last frame kept; keep_to <= stop


class Codec(nn.Module):
    """Waveform <-> residual codes. A family is a subclass that sets the attributes and three hooks.

    A frame is `hop_length` samples. Long audio is computed window by window; a family states how
    many frames on each side an output frame can depend on, and with that context the results equal
    those of one pass over everything: there are no seams, and memory does not grow with length.
    """

    family: str = ""  # name of the family in checkpoints
    sample_rate: int  # Hz
    hop_length: int  # samples per frame
    n_codebooks: int  # N
    vocab_size: int  # V, entries of each codebook
    encode_context: int = 0  # frames of context that a frame's codes depend on, each side
    decode_context: int = 0  # frames of context that a frame's samples depend on, each side
    max_window: int = 640  # frames computed at once (all items), context included
    window_multiple: int = 1  # windows start at multiples of this many frames

    def __init__(self, **kwargs: Any) -> None:
        """Keep the constructor arguments of the family: a checkpoint's config stores them."""
        super().__init__()
        self.kwargs = kwargs

    @property
    def codebooks(self) -> Tensor:
        """The raw codebook rows, float (N, V, latent_dim): what a VampNet embeds."""
        raise NotImplementedError

    def _encode_window(self, audio: Tensor) -> Tensor:
        """Encode whole frames, float (B, 1, T * hop_length), to codes, int64 (B, N, T)."""
        raise NotImplementedError

    def _decode_window(self, codes: Tensor) -> Tensor:
        """Decode codes, int64 (B, N', T), to audio, float (B, 1, T * hop_length)."""
        raise NotImplementedError

    @torch.no_grad()
    def encode(self, audio: Tensor) -> Tensor:
        """Encode mono waveforms.

        Args:
            audio: float (B, 1, S) at `sample_rate`, full scale 1; zero-padded to a whole frame.

        Returns:
            Codes, int64 (B, N, T), T = ceil(S / hop_length), 0 <= code < V.

        Raises:
            ValueError: for another shape or dtype than the codec's, no samples, NaN or infinity.
        """
        self._check_audio(audio)
        hop = self.hop_length
        n_items, _, n_samples = audio.shape
        n_frames = -(-n_samples // hop)
        codes = torch.empty(
            (n_items, self.n_codebooks, n_frames), dtype=torch.int64, device=audio.device
        )
        for items, window in self._windows(n_items, n_frames, self.encode_context):
            piece = audio[items, :, window.start * hop : window.stop * hop]
            missing = (window.stop - window.start) * hop - piece.shape[-1]
            found = self._encode_window(nn.functional.pad(piece, (0, missing)))
            kept = found[:, :, window.keep_from - window.start : window.keep_to - window.start]
            codes[items, :, window.keep_from : window.keep_to] = kept
        return codes

    @torch.no_grad()
    def decode(self, codes: Tensor, n_samples: int) -> Tensor:
        """Decode codes to waveforms.

        Args:
            codes: integers (B, N', T) with 1 <= N' <= N: the first N' codebooks.
            n_samples: length of the result, 1..T * hop_length.

        Returns:
            float (B, 1, n_samples) at `sample_rate`, aligned with the encoded audio.

        Raises:
            ValueError: for another shape or dtype, or a code outside 0..V-1.
        """
        self._check_codes(codes, n_samples)
        hop = self.hop_length
        n_frames = -(-n_samples // hop)
        codes = codes[:, :, : n_frames + self.decode_context].long()
        audio = torch.empty(
            (codes.shape[0], 1, n_samples), dtype=self.codebooks.dtype, device=codes.device
        )
        for items, window in self._windows(codes.shape[0], codes.shape[2], self.decode_context):
            first, last = window.keep_from * hop, min(window.keep_to * hop, n_samples)
            if first >= last:
                continue  # these frames are context only
            found = self._decode_window(codes[items, :, window.start : window.stop])
            offset = window.start * hop
            audio[items, :, first:last] = found[:, :, first - offset : last - offset]
        return audio

    def _check_audio(self, audio: Tensor) -> None:
        if audio.ndim != 3 or audio.shape[1] != 1 or audio.shape[2] < 1:
            raise ValueError(f"audio has shape {tuple(audio.shape)}, must be (B, 1, S) with S >= 1")
        if audio.dtype != self.codebooks.dtype:
            raise ValueError(f"audio is {audio.dtype}, must be {self.codebooks.dtype}")
        if len(audio) and not all_finite(audio):
            raise ValueError("audio holds values that are not finite numbers (NaN or infinity)")

    def _check_codes(self, codes: Tensor, n_samples: int) -> None:
        if codes.ndim != 3 or not 1 <= codes.shape[1] <= self.n_codebooks or codes.shape[2] < 1:
            raise ValueError(
                f"codes have shape {tuple(codes.shape)}, must be (B, N', T) with "
                f"1 <= N' <= {self.n_codebooks} and T >= 1"
            )
        longest = codes.shape[2] * self.hop_length
        if not isinstance(n_samples, Integral) or not 1 <= n_samples <= longest:
            raise ValueError(f"n_samples is {n_samples}, must be 1..{longest} for these codes")
        check_codes(codes, self.vocab_size - 1, note=" (a mask token cannot be decoded)")

    def _windows(
        self, n_items: int, n_frames: int, context: int
    ) -> Iterator[tuple[slice, FrameWindow]]:
        """The windows over `n_frames`, each for as many items as fit into `max_window` frames."""
        unit = self.window_multiple
        context = -(-context // unit) * unit
        step = max(unit, (self.max_window - 2 * context) // unit * unit)
        if n_frames <= self.max_window:
            step = n_frames
        at_once = max(1, self.max_window // min(n_frames, step + 2 * context))
        for start in range(0, n_frames, step):
            end = min(start + step, n_frames)
            window = FrameWindow(max(0, start - context), min(n_frames, end + context), start, end)
            for first in range(0, n_items, at_once):
                yield slice(first, min(first + at_once, n_items)), window


def check_sizes(sizes: Mapping[str, Any], least: Mapping[str, int]) -> None:
    """Check the constructor arguments of a family that must be integers.

    Args:
        sizes: values by name; names that end in ``_rates`` or ``_sizes`` are lists of integers.
        least: minimum values by name; 1 for others.

    Raises:
        ValueError: for a value that is not an integer, or below the minimum.
    """
    for name, value in sizes.items():
        numbers, smallest = [value], least.get(name, 1)
        if name.endswith(("_rates", "_sizes")):
            numbers = value if isinstance(value, list | tuple) else []
        if not numbers or any(type(n) is not int or n < smallest for n in numbers):
            raise ValueError(
                f"{name} is {value!r}; it must contain only whole numbers, {smallest} or more"
            )
