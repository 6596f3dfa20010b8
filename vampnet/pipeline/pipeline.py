"""The pipeline: audio in, a variation of it out.

The command, the endpoint and the benchmarks all call :meth:`Pipeline.vary_region`, directly or
through :meth:`Pipeline.vary_file` and :meth:`Pipeline.vary`; :meth:`Pipeline.vamp` is the exact
layer under them (``vampnet.pipeline.vamp_pipeline``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vampnet import checkpoints
from vampnet.audio import Region
from vampnet.audio.arrays import from_array, to_array
from vampnet.model import Sampling
from vampnet.model.precision import choose_precision
from vampnet.model.windowed_generation import StepCallback
from vampnet.pipeline.arguments import checked_seed, take_files, whole_number
from vampnet.pipeline.results import Variation
from vampnet.pipeline.vamp_pipeline import VampPipeline, optimize_for_inference
from vampnet.presets import DEFAULT_PRESET, Preset, preset_of
from vampnet.prompt import Prompt
from vampnet.prompt.beats import Beats
from vampnet.prompt.time_ranges import clipped
from vampnet.system.device import choose_device


class Pipeline(VampPipeline):
    """A model that varies files, regions and arrays; see :meth:`from_pretrained`."""

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "default",
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        keep_weights: bool = True,
    ) -> Pipeline:
        """Load a model.

        Args:
            name_or_folder: "default" (the model in the package), "original" (once pulled), a folder
                of this project's or the original VampNet's files.
            device: "auto" (CUDA, else Apple's MPS, else the CPU) or a torch device.
            precision: of the transformer's layers: "float32", "int8" (CPU), "bfloat16" or "auto".
            keep_weights: keep the float32 weights as well as those of ``precision``, so that the
                models can be saved and trained; False saves that memory (servers, the command).

        Raises:
            UserError: for a model that cannot be loaded, an unknown precision, and a device that
                this machine does not have.
        """
        device = choose_device(device)
        folder = checkpoints.resolve(name_or_folder)
        parts = checkpoints.load_folder(folder, device)
        choose_precision(parts.coarse, precision, device)  # fail early
        pipeline = cls(
            parts.codec, parts.coarse, parts.c2f, folder.resolve().name, precision=precision,
            recommended=parts.recommended,
        )  # fmt: skip
        if not keep_weights:
            for model in filter(None, (pipeline.coarse, pipeline.c2f)):
                optimize_for_inference(model, device, precision)
            pipeline.precision = None
        return pipeline

    def save(self, folder: str | Path) -> Path:
        """Write a folder that :meth:`from_pretrained` reads, and return it.

        Raises:
            OSError: where the disk is full.
        """
        metadata = {"saved_from": self.name}
        return checkpoints.save_folder(
            folder, self.codec, self.coarse, self.c2f, metadata=metadata, sampling=self.recommended
        )

    def vary_file(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        preset: str | Preset = DEFAULT_PRESET,
        **options: Any,
    ) -> Variation:
        """Write a variation of an audio file, in the file's own format.

        Args:
            source: a file that libsndfile reads.
            target: the file to write; with more takes ``NAME-1.EXT``, ``NAME-2.EXT``, ... A file
                that exists is replaced once the new one is complete.
            preset, options: see :meth:`vary_region`.

        Raises:
            UserError: for a source that is not audio, a target that cannot be written, and the
                mistakes of :meth:`vary_region`.
        """
        targets = take_files(target, whole_number("takes", options.get("takes", 1), least=1))
        found = self.vary_region(Region.read(source), preset, **options)
        for region, path in zip(found.regions, targets, strict=True):
            region.write(path)
        return replace(found, files=tuple(targets))

    def vary(
        self, audio: Any, sample_rate: int, preset: str | Preset = DEFAULT_PRESET, **options: Any
    ) -> Variation:
        """Vary samples in memory.

        Args:
            audio: floats, full scale 1.0, as numpy array or torch tensor of shape (S,), (C, S) or
                (B, C, S); the items of a batch are varied one by one, with the same seed.
            sample_rate: Hz.
            preset, options: see :meth:`vary_region`.

        Returns:
            A :class:`Variation` whose ``audio`` has the kind, dtype, device and shape of the input
            (a first axis of takes where there is more than one) at the same rate.

        Raises:
            UserError: for samples of another type or shape, and the mistakes of
                :meth:`vary_region`.
        """
        items = from_array(audio, sample_rate)
        options["seed"] = checked_seed(options.get("seed"))
        found = [self.vary_region(item, preset, **options) for item in items]

        def to_audio(stacked: torch.Tensor) -> Any:
            return to_array(stacked.unflatten(0, (len(items), -1)).transpose(0, 1), audio)

        return replace(
            found[0],
            to_audio=to_audio,
            regions=tuple(region for one in found for region in one.regions),
            **({} if audio.ndim < 3 else {
                "codes": torch.stack([one.codes for one in found]),
                "mask": torch.stack([one.mask for one in found]),
                "beats": tuple(one.beats for one in found),
            }),
        )  # fmt: skip

    def vary_region(
        self,
        region: Region,
        preset: str | Preset = DEFAULT_PRESET,
        *,
        prompt: Prompt | Mapping[str, Any] | None = None,
        sampling: Sampling | Mapping[str, Any] | None = None,
        seed: int | None = None,
        takes: int = 1,
        bpm: float | None = None,
        beat_offset_s: float = 0.0,
        beats: Beats | None = None,
        mono: bool = False,
        match_loudness: bool = True,
        on_step: StepCallback | None = None,
    ) -> Variation:
        """Vary a region: same rate, channels, length and file format, another sound.

        Args:
            region: what to vary.
            preset: a preset or its name.
            prompt, sampling: fields that take the place of the preset's, or a whole ``Prompt`` or
                ``Sampling``. Sampling: these > the preset's > the model's > the family's.
            seed: the same seed gives the same result on the same machine; None = random.
            takes: independent variations from one batch.
            bpm, beat_offset_s: a beat grid (beats per minute, time of a downbeat in seconds) in
                place of the beat tracker.
            beats: beats that were tracked before.
            mono: one variation of the mean of the channels, for all channels.
            match_loudness: as loud as the region, not as generated.
            on_step: called as ``on_step(done, total)``; what it raises ends the call.

        Raises:
            UserError: for values out of range, ranges outside the region, an unknown preset.
        """
        chosen, seed = preset_of(preset), checked_seed(seed)
        kept = prompt if isinstance(prompt, Prompt) else replace(chosen.prompt, **(prompt or {}))
        kept = replace(kept, ranges_s=clipped(kept.ranges_s, region.duration_s, bpm))
        used = self.sampling_for(chosen, sampling)
        rate_hz = self.codec.sample_rate
        audio, gain = region.to_model(rate_hz, mono)
        vamp = self.vamp(
            audio, kept, used, seed, takes=takes, bpm=bpm, beat_offset_s=beat_offset_s,
            beats=beats, on_step=on_step,
        )  # fmt: skip
        regions = tuple(
            region.like(take, rate_hz, kept.ranges_s, match_loudness, gain) for take in vamp.audio
        )
        return Variation(regions, vamp.codes, vamp.mask, vamp.beats, seed, chosen.name, kept, used)

    def sampling_for(
        self, preset: Preset, sampling: Sampling | Mapping[str, Any] | None = None
    ) -> Sampling:
        """Return the sampling of a preset on this model: explicit > preset > model > family."""
        if isinstance(sampling, Sampling):
            return sampling
        return self.recommended.resolve(preset.profile, preset.sampling, sampling or {})
