"""What the page knows of a clip before the model runs: its picture, its beats, and the mask."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from html import escape

import torch

from harp_app.jobs.storage import renew
from harp_app.page import pictures
from harp_app.page.playable import playable
from harp_app.process import Processor, within
from harp_app.settings import Settings
from vampnet.audio import Limits
from vampnet.audio.region import Region
from vampnet.pipeline import Pipeline
from vampnet.prompt.beats import Beats, beat_grid, onsets

NOTHING_YET = (
    '<div class="screen mask empty"><p>Choose a clip to see which of its places are kept</p></div>'
)


@dataclass(frozen=True)
class Clip:
    """A clip on the page. n_samples: of one channel, at ``sample_rate`` (Hz).

    played: the file in the page's player; another one where browsers do not play the clip itself.
    """

    path: str
    played: str
    n_samples: int
    sample_rate: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


@dataclass(frozen=True)
class ClipFeatures:
    """What was listened for in the clip at ``path``; None = not yet."""

    path: str = ""
    beats: Beats | None = None
    onsets_s: tuple[float, ...] | None = None


def open_clip(path: str, processor: Processor) -> tuple[Clip, str]:
    """Read a clip; return it and its picture.

    Raises ValueError, written for the user, for files that are not audio or exceed the limits.
    """
    processor.check_file(path)
    region = Region.read(path, processor.limits)
    played = playable(path, region, processor.new_folder)
    clip = Clip(path, played, region.n_samples, region.sample_rate)
    return clip, pictures.sound(region.samples, region.sample_rate) + _facts(region)


def meant(path: str | None, clip: Clip | None) -> str | None:
    """Return the file to vary while the page's player has the one at ``path``.

    Raises ValueError, written for the user, where it is gone.
    """
    if not path or clip is None or path != clip.played:
        return path
    renew(clip.played)
    return clip.path


def show_mask(
    clip: Clip, features: ClipFeatures, settings: Settings, pipeline: Pipeline, limits: Limits
) -> tuple[ClipFeatures, str]:
    """Draw the mask that these settings give; return the clip's features and the picture.

    features: of an earlier call, so that nothing is detected twice. Raises UserError for ranges
    outside the clip and for a clip that is gone.
    """
    renew(clip.path)
    renew(clip.played)
    settings = within(settings, clip.duration_s)
    features = _detect(clip, features, settings, pipeline, limits)
    mask, beats, frame_rate_hz = preview_mask(clip, features, settings, pipeline)
    shown = beats if settings.prompt.needs_beats or settings.bpm is not None else None
    picture = pictures.mask(mask, frame_rate_hz, clip.duration_s, shown)
    return features, picture + _legend(mask, settings, shown)


def preview_mask(
    clip: Clip, features: ClipFeatures, settings: Settings, pipeline: Pipeline
) -> tuple[torch.Tensor, Beats | None, float]:
    """Return the mask that the pipeline will use, bool (N, T), its beats and frames a second."""
    beats = features.beats
    if settings.bpm is not None:
        beats = beat_grid(settings.bpm, clip.duration_s, settings.beat_offset_s)
    n_frames = pipeline.n_frames(clip.n_samples, clip.sample_rate)
    mask = pipeline.mask(
        n_frames, settings.prompt, settings.seed, beats=beats, onsets_s=features.onsets_s
    )
    return mask, beats, pipeline.frame_rate_hz


def _detect(
    clip: Clip, features: ClipFeatures, settings: Settings, pipeline: Pipeline, limits: Limits
) -> ClipFeatures:
    """The features known of this clip, and those that the prompt needs besides."""
    if features.path != clip.path:
        features = ClipFeatures(clip.path)
    wants_beats = settings.prompt.needs_beats and settings.bpm is None and features.beats is None
    wants_onsets = settings.prompt.needs_onsets and features.onsets_s is None
    if wants_beats or wants_onsets:
        region = Region.read(clip.path, limits)
        rate_hz = pipeline.codec.sample_rate
        audio = region.to_model(rate_hz, mono=not settings.stereo)[0]
        if wants_beats:
            features = replace(features, beats=pipeline.beats(audio))
        if wants_onsets:
            features = replace(features, onsets_s=onsets(audio[:, 0], rate_hz))
    return features


def _facts(region: Region) -> str:
    channels = {1: "mono", 2: "stereo"}.get(region.n_channels, f"{region.n_channels} channels")
    loudness = region.loudness_lufs
    loud = f"{loudness:.1f} LUFS" if math.isfinite(loudness) else "silent"
    rate = f"{region.sample_rate / 1000:g} kHz"
    bits = region.format.subtype.replace("PCM_", "").replace("_", " ").lower()
    bits = f"{bits} bit" if bits.isdigit() else bits
    facts = (f"{region.duration_s:.2f} s", channels, rate, region.format.container, bits, loud)
    return f'<p class="facts">{" &middot; ".join(escape(fact) for fact in facts)}</p>'


def _legend(mask: torch.Tensor, settings: Settings, beats: Beats | None) -> str:
    new = float(mask.float().mean())
    parts = [
        f'<span><i class="key kept"></i>{1 - new:.0%} kept</span>',
        f'<span><i class="key new"></i>{new:.0%} regenerated</span>',
    ]
    if beats is not None:
        how = "set" if settings.bpm is not None else "detected"
        tempo = f"{beats.bpm:.1f} BPM {how}" if beats.bpm else "no steady beat found"
        parts.append(f'<span><i class="key beat"></i>{tempo}</span>')
    if settings.prompt.dropout or settings.prompt.period_phase is None:
        parts.append("<span>each seed draws its own places</span>")
    return f'<p class="facts legend">{"".join(parts)}</p>'
