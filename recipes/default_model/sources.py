"""The music in Debian packages that may be trained on: authors, licences, held-out files."""

from __future__ import annotations

import fnmatch
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recipes.default_model import packages
from recipes.default_model.packages import LicenceStatement
from vampnet.system.errors import UserError

TRAIN, HELD_OUT, LOOPS, LEFT_OUT = "train", "heldout", "heldout_loops", "left out"
TEST = "test"  # for final figures only; settings are tuned on HELD_OUT
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Source:
    """The music of a package.

    Attributes:
        package, title: names of package and game.
        files: a pattern of paths below the root, or inside ``archive``.
        read_licence: returns the licence statement of a file, if any.
        archive: a zip file with the music, "" = none.
        in_source: path in the source package, as in its copyright file ({} = path in the archive,
            {name} = file name).
        artists, left_out, splits: artist, reason of omission and split by pattern of the file name;
            the first match counts.
    """

    package: str
    title: str
    files: str
    read_licence: Callable[[Path, Source, str], LicenceStatement | None]
    archive: str = ""
    in_source: str = ""
    artists: Pairs = ()
    left_out: Pairs = ()
    splits: Pairs = ()


@dataclass(frozen=True)
class Item:
    """A file of a package with its author, licence and use.

    Attributes:
        source, path, version: the package and the file in it.
        artist, licence: as stated by the package.
        stated_in: the file that states them.
        split: one of TRAIN, HELD_OUT, LOOPS, TEST, LEFT_OUT.
        why: the reason, for LEFT_OUT.
    """

    source: Source
    path: str
    version: str
    artist: str
    licence: str
    stated_in: str
    split: str
    why: str = ""

    @property
    def name(self) -> str:
        """Package and file name, a unique pair."""
        return f"{self.source.package}/{PurePosixPath(self.path).name}"

    def data(self, root: Path) -> bytes:
        """Return the file's bytes."""
        if not self.source.archive:
            return (root / self.path).read_bytes()
        with zipfile.ZipFile(root / self.source.archive) as archive:
            return archive.read(self.path)


def _first(pairs: Pairs, name: str, otherwise: str) -> str:
    return next((v for pattern, v in pairs if fnmatch.fnmatchcase(name, pattern)), otherwise)


# Licence statements ------------------------------------------------------------------------------


def licence_in_copyright(root: Path, source: Source, path: str) -> LicenceStatement | None:
    """Read the statement in the package's machine-readable copyright file."""
    text = (packages.documents(root, source.package) / "copyright").read_text("utf-8", "replace")
    in_source = source.in_source.format(path, name=PurePosixPath(path).name)
    return packages.licence_of(text, in_source)


def licence_in_album(root: Path, source: Source, path: str) -> LicenceStatement | None:
    """Read the statement in an album's ``license.txt``; None for a track that it excepts."""
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
    where = f"{file.parent.name}/license.txt"
    return LicenceStatement("CC-BY-SA-3.0+", (holder[1].strip(),), where)


def licence_in_readme(root: Path, source: Source, path: str) -> LicenceStatement | None:
    """Read the statement in the README, whose licence text is in the copyright file."""
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
    return LicenceStatement("CC-BY-SA-3.0", (holder[1],), "README and copyright")


# The table ---------------------------------------------------------------------------------------

MUSIC = (
    Source(
        "warzone2100-music",
        "Warzone 2100",
        "usr/share/games/warzone2100/music/albums/*/*.opus",
        licence_in_album,
        left_out=(("menu*", "an arrangement of the game's menu theme, which is under the GPL"),),
    ),
    Source(
        "ufoai-music",
        "UFO: Alien Invasion",
        "music/*.ogg",
        licence_in_copyright,
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
        licence_in_readme,
    ),
    Source(
        "hyperrogue-music",
        "HyperRogue",
        "usr/share/hyperrogue/music/*.ogg",
        licence_in_copyright,
        in_source="music/{name}",
        splits=(("*", HELD_OUT),),
    ),
    Source(
        "sonic-pi-samples",
        "Sonic Pi",
        "usr/share/sonic-pi/samples/*.flac",
        licence_in_copyright,
        in_source="etc/samples/{name}",
        splits=(("loop_*", LOOPS),),
    ),
)
# Further kinds of music, not used for the shipped masked models: ``prepare --more``.
MORE = (
    Source(  # orchestral, folk and choral
        "0ad-data",
        "0 A.D.",
        "audio/music/*.ogg",
        licence_in_copyright,
        archive="usr/share/games/0ad/mods/public/public.zip",
        in_source="binaries/data/mods/public/{}",
    ),
    Source(  # pop, rock, funk and folk
        "supertuxkart-data",
        "SuperTuxKart",
        "usr/share/games/supertuxkart/data/music/*.ogg",
        licence_in_copyright,
        in_source="data/music/{name}",
        left_out=(("*_fast", "a faster copy of another track"), ("farm_f", "a faster copy")),
        splits=(
            ("Boom_boom_boom", HELD_OUT),
            *((name, TEST) for name in ("hacienda", "menutheme", "subsea", "win_theme")),
            *((name, TEST) for name in ("kart_grand_prix", "lose_theme", "race_win_theme")),
            *((name, TEST) for name in ("xeon6", "SkyVibe-*")),
        ),
    ),
    Source(  # acoustic and orchestral
        "unknown-horizons",
        "Unknown Horizons",
        "usr/share/unknown-horizons/content/audio/music/**/*.ogg",
        licence_in_copyright,
        in_source="content/audio/music/{name}",
        splits=(("*", HELD_OUT),),
    ),
    Source(  # orchestral
        "flare-game",
        "Flare",
        "usr/share/games/flare/mods/fantasycore/music/*.ogg",
        licence_in_copyright,
        in_source="mods/fantasycore/music/{name}",
        left_out=(("wind_ambient", "no music"),),
        splits=(("*", TEST),),
    ),
    Source(  # percussion, flutes and drones
        "lugaru-data",
        "Lugaru HD",
        "usr/share/games/lugaru/Sounds/Music*.ogg",
        licence_in_copyright,
        in_source="Data/Sounds/{name}",
        splits=(("*", TEST),),
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
    """Iterate over every file of a source in an unpacked tree, including omitted ones.

    Raises:
        UserError: where the package is missing or has no music at the expected path.
    """
    number, paths = packages.version(root, source.package), _paths(root, source)
    if not paths:
        raise UserError(
            f"{source.package} {number} has no music at {source.archive or source.files}"
        )
    for path in paths:
        name = PurePosixPath(path).stem
        statement = source.read_licence(root, source, path)
        split, why = _first(source.splits, name, TRAIN), _first(source.left_out, name, "")
        if statement is None:
            why = "the package states no free licence for this file"
        elif statement.licence not in packages.ALLOWED:
            why = f"licence {statement.licence}"
        artist = _first(source.artists, name, " or ".join(statement.holders) if statement else "")
        licence = statement.licence if statement else "not stated"
        stated_in = statement.where if statement else ""
        split = LEFT_OUT if why else split
        yield Item(source, path, number, artist, licence, stated_in, split, why)


def check_rendering(root: Path) -> dict[str, str]:
    """Return the versions of soundfont and Freedoom in an unpacked tree.

    Raises:
        UserError: where a package is missing or does not state the expected licence.
    """
    text = (packages.documents(root, SOUNDFONT) / "copyright").read_text("utf-8", "replace")
    if SOUNDFONT_TERMS not in text or "Permission is hereby granted, free of charge" not in text:
        raise UserError(f"the copyright file of {SOUNDFONT} does not state the licence MIT")
    text = (packages.documents(root, FREEDOOM) / "copyright").read_text("utf-8", "replace")
    statement = packages.licence_of(text, "musics/d_runnin.mid")
    if statement is None or statement.licence != "BSD-3-Clause":
        text = f"the copyright file of {FREEDOOM} does not state the licence BSD-3-Clause"
        raise UserError(text)
    return {name: packages.version(root, name) for name in (SOUNDFONT, FREEDOOM)}
