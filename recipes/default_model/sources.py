"""Which music of which Debian package may be trained on, by whom it is, and what is held out."""

from __future__ import annotations

import fnmatch
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recipes.default_model import packages
from recipes.default_model.packages import Words
from vampnet.system.errors import UserError

TRAIN, HELD_OUT, LOOPS, LEFT_OUT = "train", "heldout", "heldout_loops", "left out"
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Source:
    """A package's music: where its files lie and what is known of them.

    files: a pattern of paths below the root, or inside ``archive``, a zip file. in_source: the path
    in the source package that its copyright file speaks of ({} = path in the archive, {name} = file
    name). artists, left_out (with the reason) and splits go by file name, the first that fits.
    """

    package: str
    title: str
    files: str
    told_by: Callable[[Path, Source, str], Words | None]
    archive: str = ""
    in_source: str = ""
    artists: Pairs = ()
    left_out: Pairs = ()
    splits: Pairs = ()


@dataclass(frozen=True)
class Item:
    """A file of a package: its name, who made it, under which licence, and what it is used for.

    split: one of TRAIN, HELD_OUT, LOOPS, LEFT_OUT; why: for what is left out.
    """

    source: Source
    path: str
    version: str
    artist: str
    licence: str
    told_by: str
    split: str
    why: str = ""

    @property
    def name(self) -> str:
        """Package and file name, which are unique together."""
        return f"{self.source.package}/{PurePosixPath(self.path).name}"

    def data(self, root: Path) -> bytes:
        """The file's bytes."""
        if not self.source.archive:
            return (root / self.path).read_bytes()
        with zipfile.ZipFile(root / self.source.archive) as archive:
            return archive.read(self.path)


def _first(pairs: Pairs, name: str, otherwise: str) -> str:
    return next((v for pattern, v in pairs if fnmatch.fnmatchcase(name, pattern)), otherwise)


# Who tells the licence ---------------------------------------------------------------------------


def by_copyright(root: Path, source: Source, path: str) -> Words | None:
    """The package's machine-readable copyright file."""
    text = (packages.documents(root, source.package) / "copyright").read_text("utf-8", "replace")
    told = source.in_source.format(path, name=PurePosixPath(path).name)
    return packages.licence_of(text, told)


def by_album(root: Path, source: Source, path: str) -> Words | None:
    """The ``license.txt`` beside an album's tracks; it tells nothing of a track it excepts."""
    file = (root / path).with_name("license.txt")
    if not file.is_file():
        return None
    text = file.read_text("utf-8", "replace")
    if re.search(rf"except\W+{re.escape(PurePosixPath(path).stem)}\b", text, re.IGNORECASE):
        return None
    granted = re.search(
        r"is licensed and available under:\s*CC-BY-SA-3\.0 \(or, .* any later", text
    )
    holder = re.search(r"Copyright \(C\) [\d-]+ (.+)", text)
    if not granted or not holder:
        return None
    return Words("CC-BY-SA-3.0+", (holder[1].strip(),), f"{file.parent.name}/license.txt")


def by_readme(root: Path, source: Source, path: str) -> Words | None:
    """The README that names the licence whose text the copyright file has."""
    folder = packages.documents(root, source.package)
    if not (folder / "README").is_file():
        return None
    readme = " ".join((folder / "README").read_text("utf-8", "replace").split())
    text = " ".join((folder / "copyright").read_text("utf-8", "replace").split())
    named = re.search(r"released under the same BY-SA 3\.0 license", readme)
    whole = "CREATIVE COMMONS PUBLIC LICENSE" in text and "Attribution, ShareAlike" in text
    holder = re.search(r"Thanks to (.+?) for providing these tunes", readme)
    if not (named and whole and holder and holder[1] in text):
        return None
    return Words("CC-BY-SA-3.0", (holder[1],), "README and copyright")


# The table ---------------------------------------------------------------------------------------

MUSIC = (
    Source(
        "warzone2100-music",
        "Warzone 2100",
        "usr/share/games/warzone2100/music/albums/*/*.opus",
        by_album,
        left_out=(("menu*", "an arrangement of the game's menu theme, which is under the GPL"),),
    ),
    Source(
        "ufoai-music",
        "UFO: Alien Invasion",
        "music/*.ogg",
        by_copyright,
        archive="usr/share/games/ufoai/base/0music.pk3",
        in_source="base/{}",
        artists=(
            ("Crystan-*", 'Christian "Crystan" Hoffmann'),
            ("Marine*", '"Marine" Baklund'),
            ("*-Slippycurb*", "Slippycurb"),
            ("David0*", "David Reeves (Destructavator)"),
            ("azrael1*", "azrael1322"),
            ("karlmacklin_*", "Karl Macklin"),
            ("van_*", 'Manuel "Vanethian" Marino'),
        ),
        splits=(("van_*", HELD_OUT),),
    ),
    Source(
        "singularity-music",
        "Endgame: Singularity",
        "usr/share/games/singularity/music/**/*.ogg",
        by_readme,
    ),
    Source(
        "hyperrogue-music",
        "HyperRogue",
        "usr/share/hyperrogue/music/*.ogg",
        by_copyright,
        in_source="music/{name}",
        splits=(("*", HELD_OUT),),
    ),
    Source(
        "sonic-pi-samples",
        "Sonic Pi",
        "usr/share/sonic-pi/samples/*.flac",
        by_copyright,
        in_source="etc/samples/{name}",
        splits=(("loop_*", LOOPS),),
    ),
)
FREEDOOM, FREEDOOM_WADS = "freedoom", "usr/share/games/doom/freedoom[12].wad"
SOUNDFONT, SOUNDFONT_TERMS = "musescore-general-soundfont-small", "MuseScore_General SoundFont (MIT"
PACKAGES = (*(s.package for s in MUSIC), FREEDOOM, SOUNDFONT)


def _paths(root: Path, source: Source) -> list[str]:
    if source.archive:
        if not (root / source.archive).is_file():
            return []
        with zipfile.ZipFile(root / source.archive) as archive:
            names = sorted(archive.namelist())
        return [n for n in names if fnmatch.fnmatchcase(n, source.files)]
    return sorted(f.relative_to(root).as_posix() for f in root.glob(source.files) if f.is_file())


def items(root: Path, source: Source) -> Iterator[Item]:
    """Every file of a source in an unpacked tree, those that are left out too.

    Raises ValueError where the package is not there or has no music where it should be.
    """
    number, paths = packages.version(root, source.package), _paths(root, source)
    if not paths:
        raise UserError(
            f"{source.package} {number} has no music at {source.archive or source.files}"
        )
    for path in paths:
        name = PurePosixPath(path).stem
        words = source.told_by(root, source, path)
        split, why = _first(source.splits, name, TRAIN), _first(source.left_out, name, "")
        if words is None:
            why = "the package tells no free licence of this file"
        elif words.licence not in packages.ALLOWED:
            why = f"licence {words.licence}"
        artist = _first(source.artists, name, " or ".join(words.holders) if words else "")
        licence = words.licence if words else "none told"
        told_by = words.where if words else ""
        yield Item(source, path, number, artist, licence, told_by, LEFT_OUT if why else split, why)


def check_rendering(root: Path) -> dict[str, str]:
    """Versions of soundfont and Freedoom in a tree; ValueError where their terms are not told."""
    text = (packages.documents(root, SOUNDFONT) / "copyright").read_text("utf-8", "replace")
    if SOUNDFONT_TERMS not in text or "Permission is hereby granted, free of charge" not in text:
        raise UserError(f"the copyright file of {SOUNDFONT} does not tell the licence MIT")
    text = (packages.documents(root, FREEDOOM) / "copyright").read_text("utf-8", "replace")
    words = packages.licence_of(text, "musics/d_runnin.mid")
    if words is None or words.licence != "BSD-3-Clause":
        raise UserError(f"the copyright file of {FREEDOOM} does not tell the licence BSD-3-Clause")
    return {name: packages.version(root, name) for name in (SOUNDFONT, FREEDOOM)}
