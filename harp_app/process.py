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
from harp_app.labels import Mark, kept_whole, labels, places
from harp_app.settings import Settings, read
from vampnet.audio import Limits
from vampnet.audio.region import Region
from vampnet.presets import Preset
from vampnet.prompt.beats import Beats
from vampnet.prompt.nothing_new import nothing_new
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


@dataclass(frozen=True)
class Answer:
    """The files (one per take) and the settings that made them.

    marks: what HARP shows over each file; places: all that was kept or regenerated alone.
    """

    files: tuple[Path, ...]
    marks: tuple[Mark, ...]
    places: tuple[Mark, ...]
    settings: Settings


class Turn(Protocol):
    """What a request needs of its job: see ``harp_app.jobs.queue.Job``."""

    def check(self) -> None:
        """Raise where the job was asked to stop."""
        ...

    def on_step(self, done: int, total: int) -> None:
        """Take note of how many steps are done; raise like :meth:`check`."""
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
    def all_controls(self) -> tuple[controls.Control, ...]:
        """The table of all controls, which the page shows."""
        return controls.table(self.presets, self.models.names)

    @property
    def controls(self) -> tuple[controls.Control, ...]:
        """The controls of HARP's window, in its order."""
        return controls.in_harp(self.all_controls)

    def __call__(
        self,
        path: str | None,
        values: Sequence[Any],
        job: Turn,
        beats: Beats | None = None,
        table: Sequence[controls.Control] | None = None,
    ) -> Answer:
        """Vary the clip at ``path`` as the control values say.

        beats: of the clip, where they were tracked before; a tempo goes before them. table: the
        controls that the values are of; HARP's by default.

        Raises UserError for anything that cannot be done, and what ``job.check`` raises when the
        job is stopped.
        """
        settings = read(values, self.controls if table is None else table, self.presets)
        if not path:
            raise UserError("No clip arrived; choose one first.")
        self.check_file(path)
        region = Region.read(path, self.limits)
        settings = within(settings, region.duration_s)
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
                beat_offset_s=settings.beat_offset_s,
                beats=beats if settings.bpm is None else None,
                mono=not settings.stereo,
                match_loudness=settings.match_loudness,
                on_step=job.on_step,
            )
        files = self._write(path, made, job)
        marks = labels(settings, made.beats, region.duration_s, self.takes, made.sampling)
        if not made.mask.any():
            text = nothing_new(settings.prompt, region.duration_s)
            marks = kept_whole(marks, text, region.duration_s)
        return Answer(files, marks, places(settings, made.beats, region.duration_s), settings)

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
            take = f"-take{number}of{self.takes}" if self.takes > 1 else ""
            file = folder / f"{ascii_stem(path)}{take}-vamp-{made.seed}{extension(path, region)}"
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


def within(settings: Settings, duration_s: float) -> Settings:
    """Return the settings with their ranges ending with the clip; ValueError for one outside."""
    ranges_s = clipped(
        settings.ranges_s, duration_s, settings.bpm, settings.ranges, settings.beat_offset_s
    )
    prompt = replace(settings.prompt, ranges_s=ranges_s)
    return replace(settings, preset=replace(settings.preset, prompt=prompt))
