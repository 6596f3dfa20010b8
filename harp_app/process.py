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
from vampnet.prompt.beats import Beats
from vampnet.prompt.time_ranges import clipped
from vampnet.system.errors import UserError

if TYPE_CHECKING:
    from vampnet.pipeline import Variation

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

    def __call__(
        self, path: str | None, values: Sequence[Any], job: Turn, beats: Beats | None = None
    ) -> Answer:
        """Vary the clip at ``path`` as the control values say.

        beats: of the clip, where they were tracked before; a tempo goes before them.

        Raises ValueError, written for the user, for anything that cannot be done, and what
        ``job.check`` raises when the job is stopped.
        """
        settings = controls.read(values, self.controls, self.presets)
        if not path:
            raise UserError("No clip arrived; choose one first.")
        self.check_file(path)
        region = Region.read(path, self.limits)
        job.check()
        pipeline = self.models.get(settings.model)
        job.check()
        with Asking(job.check):
            made = pipeline.vary_region(
                region,
                settings.preset,
                seed=settings.seed,
                takes=self.takes,
                bpm=settings.bpm,
                beats=beats if settings.bpm is None else None,
                mono=not settings.stereo,
                match_loudness=settings.match_loudness,
                on_step=job.on_step,
            )
        settings = replace(settings, preset=replace(settings.preset, prompt=made.prompt))
        files = self._write(path, made, job)
        return Answer(files, marks(settings, made, region.duration_s), settings)

    def check_file(self, path: str) -> None:
        """Count the age of a clip from now on; ValueError where it is gone or too large a file."""
        renew(path)
        seen_mb = Path(path).stat().st_size / MEBI
        if seen_mb > self.max_file_mb:
            allowed = f"at most {self.max_file_mb:g} MB are allowed"
            raise UserError(f"The file is {seen_mb:.1f} MB; {allowed}.")

    def _write(self, path: str, made: Variation, job: Turn) -> tuple[Path, ...]:
        folder = self.new_folder()
        files = []
        for number, region in enumerate(made.regions, start=1):
            take = f"-take{number}" if self.takes > 1 else ""
            file = folder / f"{ascii_stem(path)}-vamp-{made.seed}{take}{extension(path, region)}"
            region.write(file, job.check)
            files.append(file)
        return tuple(files)


def check_takes(takes: int) -> None:
    """Raise ValueError for another number of takes than an answer may have."""
    if not 1 <= takes <= MAX_TAKES:
        raise UserError(f"takes is {takes}; allowed is 1 to {MAX_TAKES}")


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
    prompt = replace(settings.prompt, ranges_s=ranges_s)
    return replace(settings, preset=replace(settings.preset, prompt=prompt))


def marks(settings: controls.Settings, made: Variation, duration_s: float) -> tuple[Mark, ...]:
    """Return the labels of an answer: settings and seed, ranges made anew, what was kept.

    The first one lets the take be had again.
    """
    prompt = settings.prompt
    left = _left(prompt)
    found = [Mark(0.0, f"seed {made.seed}", duration_s, settings.describe(), COLOR_SETTINGS)]
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
    if made.beats is not None and prompt.needs_beats:
        found += _beat_marks(prompt, made, duration_s)
    return tuple(found)


def _left(prompt: Prompt) -> str | None:
    """What dropout leaves of the kept places, as words behind "kept"; None for nothing."""
    if prompt.dropout == 1 or prompt.codebooks_kept == 0:
        return None
    return f", {100 * (1 - prompt.dropout):.3g} % of it" if prompt.dropout else ""


def _beat_marks(prompt: Prompt, made: Variation, duration_s: float) -> list[Mark]:
    assert made.beats is not None
    downbeats = set(made.beats.downbeats_s)
    beats_s = sorted(downbeats) if prompt.downbeats_only else made.beats.times_s
    tempo = f" at {made.beats.bpm:.1f} BPM" if made.beats.bpm else ""
    found = []
    for beat_s in beats_s[:: prompt.beat_every]:
        start_s = max(0.0, beat_s - prompt.beat_before_ms / 1000)
        end_s = min(duration_s, beat_s + prompt.beat_ms / 1000)
        if end_s > start_s:
            label, beat = ("bar", "downbeat") if beat_s in downbeats else ("beat", "beat")
            text = f"kept around the {beat}{tempo}{_left(prompt)}"
            found.append(Mark(start_s, label, end_s - start_s, text, COLOR_BEAT))
    return found
