"""The exact layer of the pipeline: tensors at the codec's rate, a seed, no defaults.

Encode, build the mask from the prompt, generate the coarse codebooks, then the fine ones, decode.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vampnet.audio import all_finite
from vampnet.codec import Codec
from vampnet.codec.circular import decode_circular, encode_circular
from vampnet.model import Sampling, VampNet
from vampnet.model.cuda_graphs import CapturedGraph, GraphedForward
from vampnet.model.precision import choose_precision, optimize_layers
from vampnet.model.recommended import FAMILY, RecommendedSampling
from vampnet.model.sampling import NOT_FINITE
from vampnet.model.windowed_generation import StepCallback, generate_windowed
from vampnet.pipeline.arguments import (
    check_audio,
    check_codebooks,
    check_types,
    whole_number,
)
from vampnet.pipeline.results import Vamp
from vampnet.prompt import Prompt
from vampnet.prompt.beats import Beats, beat_grid, onsets, track
from vampnet.system.errors import UserError
from vampnet.system.random_streams import random_stream

if TYPE_CHECKING:
    from typing_extensions import Self


def optimize_for_inference(
    model: VampNet, device: str | torch.device, precision: str = "auto"
) -> None:
    """Optimise a model for inference on the device it is on, in place.

    Args:
        model: it can no longer be saved or trained; see ``precision.optimize_layers``.
        device: the model's device.
        precision: "float32", "int8", "bfloat16" or "auto".
    """
    optimize_layers(model, choose_precision(model, precision, device))
    kind = torch.device(device).type
    if kind != "cpu":
        capture = CapturedGraph if kind == "cuda" else None
        model.hidden = GraphedForward(model.hidden, capture, referenced=model.cached_tensors)


class VampPipeline:
    """Codec, coarse and coarse-to-fine model, and their recommended sampling."""

    def __init__(
        self,
        codec: Codec,
        coarse: VampNet,
        c2f: VampNet | None = None,
        name: str = "",
        *,
        recommended: RecommendedSampling = FAMILY,
        precision: str | None = None,
    ):
        """Make a pipeline of models.

        Args:
            codec: the codec.
            coarse: the coarse model.
            c2f: the coarse-to-fine model; None = only the coarse codebooks are decoded.
            name: shown in ``repr`` and stored by ``save``.
            recommended: sampling settings of the models.
            precision: None runs the models as they are; a name (see :meth:`from_pretrained`) runs
                copies in that precision, made at the first use and again after the weights have
                changed, so that the models themselves can be saved and trained.

        Raises:
            UserError: where the coarse-to-fine model is not conditioned on exactly the coarse
                model's codebooks.
        """
        if c2f is not None and c2f.n_conditioning_codebooks != coarse.config.n_codebooks:
            raise UserError(
                f"the coarse model makes {coarse.config.n_codebooks} codebooks, the coarse-to-fine "
                f"one is conditioned on {c2f.n_conditioning_codebooks}; they must be as many"
            )
        self.codec, self.coarse, self.c2f, self.name = codec, coarse, c2f, name
        self.recommended, self.precision = recommended, precision
        self._optimized: tuple[tuple, VampNet, VampNet | None] | None = None

    def __repr__(self) -> str:
        """Name and device."""
        return f"Pipeline({self.name!r}, device={str(self.device)!r})"

    @property
    def device(self) -> torch.device:
        """The device of codec and models."""
        return self.codec.codebooks.device

    def to(self, device: str | torch.device) -> Self:
        """Move codec and models to a device, in place; returns itself."""
        for part in filter(None, (self.codec, self.coarse, self.c2f)):
            part.to(device)
        return self

    @property
    def frame_rate_hz(self) -> float:
        """Token frames per second."""
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
        beats: Beats | None = None,
        on_step: StepCallback | None = None,
    ) -> Vamp:
        """Vary ``audio``; the same seed gives the same result on the same machine.

        Args:
            audio: float32 (C, 1, S) at the codec's rate, one item per channel, about -24 LUFS.
                Channels share mask and noise, so equal channels stay equal.
            prompt, sampling, seed: what is kept, how the rest is sampled, the seed of the noise.
            takes: independent variations from one batch.
            bpm, beat_offset_s, beats: see :meth:`beats`.
            on_step: called as ``on_step(done, total)`` at least once per sampling step; what it
                raises ends the call.

        Raises:
            UserError: for arguments of another type, audio of another shape or not finite, and a
                prompt that keeps more codebooks than the codec has.
            RuntimeError: where weights are damaged.
        """
        check_types(audio, prompt, sampling, bpm, beat_offset_s)
        check_audio(audio)
        check_codebooks(prompt, self.codec.n_codebooks)
        takes, seed = whole_number("takes", takes, least=1), whole_number("seed", seed)
        n_channels, _, n_samples = audio.shape
        if beats is None and (bpm is not None or prompt.needs_beats):
            beats = self.beats(audio, bpm, beat_offset_s)
        onsets_s = onsets(audio[:, 0], self.codec.sample_rate) if prompt.needs_onsets else None
        inputs = audio.to(self.device)
        if n_channels > 1 and torch.equal(audio[1:], audio[:-1]):
            inputs = inputs[:1]
        codes = self._encode(inputs, prompt.loop)
        mask = self.mask(codes.shape[-1], prompt, seed, beats=beats, onsets_s=onsets_s)
        codes = self._fill(codes, mask, prompt.loop, sampling, seed, takes, on_step)
        decoded = self._decode(codes, n_samples, prompt.loop).cpu()
        if not all_finite(decoded):
            raise RuntimeError(NOT_FINITE)
        decoded = decoded.view(takes, -1, n_samples).expand(takes, n_channels, n_samples)
        codes = codes.unflatten(0, (takes, -1)).expand(-1, n_channels, -1, -1).flatten(0, 1)
        audio, codes, mask = _contiguous_cpu(decoded, codes, mask[: codes.shape[1]])
        return Vamp(audio, codes, mask, beats, seed)

    def n_frames(self, n_samples: int, sample_rate: int) -> int:
        """Return the number of frames T of ``n_samples`` samples at ``sample_rate`` Hz."""
        at_codec_rate = math.ceil(n_samples * self.codec.sample_rate / sample_rate)
        return math.ceil(at_codec_rate / self.codec.hop_length)

    def beats(self, audio: Tensor, bpm: float | None = None, beat_offset_s: float = 0.0) -> Beats:
        """Return the beats of audio (C, 1, S) at the codec's rate: a grid of bpm, or tracked."""
        rate_hz = self.codec.sample_rate
        if bpm is not None:
            return beat_grid(bpm, audio.shape[-1] / rate_hz, beat_offset_s)
        return track(audio[:, 0], rate_hz)

    def mask(
        self,
        n_frames: int,
        prompt: Prompt,
        seed: int,
        *,
        beats: Beats | None = None,
        onsets_s: tuple[float, ...] | None = None,
    ) -> Tensor:
        """Return the mask of a prompt, bool (N, T), True = generate, N all codebooks of the codec.

        Masks are built only here: a preview shows the mask that is used.

        Args:
            n_frames: T.
            prompt: what is kept.
            seed: of the random part of the mask.
            beats: required where ``prompt.needs_beats``.
            onsets_s: seconds; required where ``prompt.needs_onsets``.

        Raises:
            UserError: where beats or onsets are required and missing.
        """
        return prompt.mask(
            n_frames,
            self.codec.n_codebooks,
            self.frame_rate_hz,
            beats_s=beats.times_s if beats else None,
            downbeats_s=beats.downbeats_s if beats else None,
            onsets_s=onsets_s,
            rng=random_stream(seed, -1),
        )[0]

    def _encode(self, audio: Tensor, loop: bool) -> Tensor:
        """Codes, int64 (C, N, T), of float (C, 1, S)."""
        return encode_circular(self.codec, audio) if loop else self.codec.encode(audio)

    def _decode(self, codes: Tensor, n_samples: int, loop: bool) -> Tensor:
        """Audio, float (B, 1, S), of codes (B, N, T)."""
        if loop:
            return decode_circular(self.codec, codes, n_samples)
        return self.codec.decode(codes, n_samples)

    def _fill(
        self,
        codes: Tensor,
        mask: Tensor,
        loop: bool,
        sampling: Sampling,
        seed: int,
        takes: int,
        on_step: StepCallback | None,
    ) -> Tensor:
        """Both stages. codes: (C, N, T); mask: (N, T) on the CPU. Returns (takes * C, N', T)."""
        coarse, c2f = self._inference_models()
        return generate_windowed(
            coarse, c2f, codes, mask, sampling, seed, takes=takes, loop=loop, on_step=on_step
        )

    def _inference_models(self) -> tuple[VampNet, VampNet | None]:
        """The models to run: as they are, or copies of the current weights in ``precision``."""
        if self.precision is None:
            return self.coarse, self.c2f
        models = [model for model in (self.coarse, self.c2f) if model is not None]
        state = tuple((p.data_ptr(), p._version) for model in models for p in model.parameters())
        if self._optimized is None or self._optimized[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                copies = [copy.deepcopy(model).eval() for model in models]
                for model in copies:
                    optimize_for_inference(model, self.device, self.precision)
            self._optimized = (state, copies[0], copies[1] if len(copies) > 1 else None)
        return self._optimized[1:]


def _contiguous_cpu(*tensors: Tensor) -> list[Tensor]:
    """Contiguous copies outside of inference mode, on the CPU."""
    with torch.inference_mode(False):
        return [torch.empty(t.shape, dtype=t.dtype).copy_(t) for t in tensors]
