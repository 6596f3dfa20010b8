"""The one path of a request: a file and control values in, varied files and labels out."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harp_app import controls
from harp_app.jobs.cancellation import Asking
from harp_app.jobs.model_cache import Models
from harp_app.jobs.storage import renew
from vampnet.audio import Limits
from vampnet.audio.region import Region
from vampnet.presets import Preset
from vampnet.prompt import Prompt
from vampnet.prompt.time_ranges import clipped

if TYPE_CHECKING:
    from vampnet.pipeline import Vamp

log = logging.getLogger(__name__)

# HARP reads these, in exactly this spelling, and refuses to send any other back to the DAW.
HARP_EXTENSIONS = (".wav", ".bwf", ".aiff", ".aif", ".flac", ".ogg", ".mp3")
_EXTENSION_OF_CONTAINER = {"AIFF": ".aiff", "FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3"}
MAX_TAKES = 4
MEBI = 1024 * 1024
MAX_FILE_MB = 256.0
ENDPOINT_LIMITS = Limits(max_duration_s=600.0, max_decoded_mib=1024)

# ARGB with an alpha below 128, so that the number fits a signed 32-bit integer.
COLOR_SETTINGS, COLOR_RANGE, COLOR_BEAT, COLOR_KEPT = (
    0x60808080,
    0x60E07030,
    0x603080E0,
    0x6040B060,
)


@dataclass(frozen=True)
class Mark:
    """A label over the result: ``t`` and ``duration`` in seconds, ``color`` ARGB.

    amplitude: height over the waveform (0 = middle); None = in the strip above it.
    """

    t: float
    label: str
    duration: float = 0.0
    description: str = ""
    color: int = 0
    amplitude: float | None = None


@dataclass(frozen=True)
class Answer:
    """The files (one a take), the marks on them, and the settings that made them."""

    files: tuple[Path, ...]
    marks: tuple[Mark, ...]
    settings: controls.Settings


class Turn(Protocol):
    """What a request needs of its job: see ``harp_app.jobs.queue.Job``."""

    def check(self) -> None:
        """Raise where the job was asked to stop."""
        ...

    def on_step(self, done: int, total: int) -> None:
        """Hear how many of the steps are done; raise like :meth:`check`."""
        ...


@dataclass(frozen=True)
class Processor:
    """All that requests share: models, presets, limits, how many takes, where files go.

    new_folder: makes a fresh private folder for one answer. limits, max_file_mb (MiB): what a clip
    may be; looked at in its size and header, before it is decoded.
    """

    models: Models
    presets: Mapping[str, Preset]
    new_folder: Callable[[], Path]
    limits: Limits = ENDPOINT_LIMITS
    max_file_mb: float = MAX_FILE_MB
    takes: int = 1

    def __post_init__(self) -> None:
        check_takes(self.takes)

    @property
    def controls(self) -> tuple[controls.Control, ...]:
        """The table of controls, in HARP's order."""
        return controls.table(self.presets, self.models.names)

    def __call__(self, path: str | None, values: Sequence[Any], job: Turn) -> Answer:
        """Vary the clip at ``path`` as the control values say.

        Raises ValueError, written for the user, for anything that cannot be done, and what
        ``job.check`` raises when the job is stopped.
        """
        settings = controls.read(values, self.controls, self.presets)
        if not path:
            raise ValueError("No clip arrived; choose one first.")
        self.check_file(path)
        region = Region.read(path, self.limits)
        settings = within(settings, region.duration_s)
        job.check()
        pipeline = self.models.get(settings.model)
        rate_hz = pipeline.codec.sample_rate
        job.check()
        with Asking(job.check):
            audio, gain = region.to_model(rate_hz, mono=not settings.stereo)
            vamp = pipeline.vamp(
                audio,
                settings.prompt,
                settings.sampling,
                settings.seed,
                takes=self.takes,
                bpm=settings.bpm,
                on_step=job.on_step,
            )
        files = self._write(path, region, vamp, rate_hz, settings, job, gain)
        return Answer(files, marks(settings, vamp, region.duration_s), settings)

    def check_file(self, path: str) -> None:
        """Count the age of a clip from now on; ValueError where it is gone or too large a file."""
        renew(path)
        seen_mb = Path(path).stat().st_size / MEBI
        if seen_mb > self.max_file_mb:
            allowed = f"at most {self.max_file_mb:g} MB are allowed"
            raise ValueError(f"The file is {seen_mb:.1f} MB; {allowed}.")

    def _write(
        self,
        path: str,
        region: Region,
        vamp: Vamp,
        rate_hz: int,
        settings: controls.Settings,
        job: Turn,
        gain: float,
    ) -> tuple[Path, ...]:
        folder = self.new_folder()
        files = []
        for number, audio in enumerate(vamp.audio, start=1):
            with Asking(job.check):
                varied = region.like(
                    audio,
                    rate_hz,
                    ranges_s=settings.ranges_s,
                    match_loudness=settings.match_loudness,
                    gain=gain,
                )
            take = f"-take{number}" if self.takes > 1 else ""
            name = f"{ascii_stem(path)}-vamp-{settings.seed}{take}"
            file = folder / (name + extension(path, region))
            varied.write(file, job.check)
            files.append(file)
        return tuple(files)


def check_takes(takes: int) -> None:
    """Raise ValueError for another number of takes than an answer may have."""
    if not 1 <= takes <= MAX_TAKES:
        raise ValueError(f"takes is {takes}; allowed is 1 to {MAX_TAKES}")


def extension(path: str | Path, region: Region) -> str:
    """Return the upload's extension where HARP reads it, else that of the file's container."""
    suffix = Path(path).suffix
    if suffix in HARP_EXTENSIONS:
        return suffix
    return _EXTENSION_OF_CONTAINER.get(region.format.container, ".wav")


def ascii_stem(path: str | Path) -> str:
    """Return the file's name without its extension in letters, digits, '-' and '_', at most 40."""
    name = unicodedata.normalize("NFKD", Path(path).stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:40].strip("-") or "clip"


def within(settings: controls.Settings, duration_s: float) -> controls.Settings:
    """Return the settings with their ranges ending with the clip; ValueError for one outside."""
    ranges_s = clipped(settings.ranges_s, duration_s, settings.bpm)
    return replace(settings, prompt=replace(settings.prompt, ranges_s=ranges_s))


def marks(settings: controls.Settings, vamp: Vamp, duration_s: float) -> tuple[Mark, ...]:
    """Return the labels of an answer: settings and seed, ranges made anew, what was kept.

    The first one lets the take be had again.
    """
    prompt = settings.prompt
    left = _left(prompt)
    found = [Mark(0.0, f"seed {vamp.seed}", duration_s, settings.describe(), COLOR_SETTINGS)]
    for start_s, end_s in settings.ranges_s:
        found.append(
            Mark(start_s, "new", min(end_s, duration_s) - start_s, "made anew", COLOR_RANGE)
        )
    if left is None:  # nothing of what follows is
        return tuple(found)
    if prompt.prefix_s:
        kept_s = min(prompt.prefix_s, duration_s)
        found.append(Mark(0.0, "kept" + left, kept_s, "the beginning is kept" + left, COLOR_KEPT))
    if prompt.suffix_s:
        kept_s = min(prompt.suffix_s, duration_s)
        start_s = duration_s - kept_s
        found.append(Mark(start_s, "kept" + left, kept_s, "the end is kept" + left, COLOR_KEPT))
    if vamp.beats is not None and prompt.needs_beats:
        found += _beat_marks(prompt, vamp, duration_s)
    return tuple(found)


def _left(prompt: Prompt) -> str | None:
    """What dropout leaves of the kept places, as words behind "kept"; None for nothing."""
    if prompt.dropout == 1 or prompt.codebooks_kept == 0:
        return None
    return f", {100 * (1 - prompt.dropout):.3g} % of it" if prompt.dropout else ""


def _beat_marks(prompt: Prompt, vamp: Vamp, duration_s: float) -> list[Mark]:
    assert vamp.beats is not None
    downbeats = set(vamp.beats.downbeats_s)
    beats_s = sorted(downbeats) if prompt.downbeats_only else vamp.beats.times_s
    tempo = f" at {vamp.beats.bpm:.1f} BPM" if vamp.beats.bpm else ""
    found = []
    for beat_s in beats_s[:: prompt.beat_every]:
        start_s = max(0.0, beat_s - prompt.beat_before_ms / 1000)
        end_s = min(duration_s, beat_s + prompt.beat_ms / 1000)
        if end_s > start_s:
            label, beat = ("bar", "downbeat") if beat_s in downbeats else ("beat", "beat")
            text = f"kept around the {beat}{tempo}{_left(prompt)}"
            found.append(Mark(start_s, label, end_s - start_s, text, COLOR_BEAT))
    return found
