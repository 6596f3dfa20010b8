"""The pieces that benchmarks/showcase.py shows: which, whose, and their sounds as files.

Nothing is picked by hand: several places in each file are heard, and those with strong attacks and
clear harmony are taken, each from another file and few of each artist.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from recipes.default_model.attribution import LINKS
from vampnet import audio
from vampnet.audio.region import Region
from vampnet.evaluation.clips import excerpt_starts
from vampnet.evaluation.musical import chroma, onset_envelope

PLACES_A_FILE = 4
CHORD = 3  # pitch classes: where three hold most of the energy there is harmony
VORBIS_LEVEL = 1.0  # of soundfile's compression: about 64 kbit/s in stereo
HEADROOM_DB = 2.0  # at so few bits Vorbis puts peaks a decibel above where they were
SERIAL = 1  # of the Ogg stream, which is drawn from the clock otherwise


@dataclass(frozen=True)
class Credit:
    """Whose a piece is and under which terms; link: of the licence; source: where it was found."""

    title: str
    artist: str
    licence: str
    link: str
    source: str

    def line(self) -> str:
        """As Markdown in a line."""
        licence = f"[{self.licence}]({self.link})" if self.link else self.licence
        artist = re.sub(r"(.+) \((http[^)]+)\)", r"[\1](\2)", self.artist)
        return f"{artist}, \u201c{self.title}\u201d, {licence}; from {self.source}"

    @property
    def name(self) -> str:
        """The artist's name without an address."""
        return self.artist.partition(" (http")[0]


@dataclass(frozen=True, eq=False)
class Piece:
    """An excerpt: the file's name without suffix, credit, start in seconds, the sound itself."""

    stem: str
    credit: Credit
    start_s: float
    region: Region

    def place(self) -> str:
        """Where in its file it lies: "0:28 to 0:33"."""
        ends = (self.start_s, self.start_s + self.region.duration_s)
        return " to ".join(f"{int(t // 60)}:{int(t % 60):02d}" for t in ends)


def credits(folder: Path, manifest: Path) -> dict[Path, Credit]:
    """The audio files of a folder that the manifest tells artist and licence of.

    The title is the file's own tag, unless several files have the same one: then it is wrong
    somewhere, and the file's name stands for it.
    """
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = {Path(row["name"]).name: row for row in csv.DictReader(file)}
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.name in rows):
        with soundfile.SoundFile(path) as sound:
            found[path] = sound.title.strip()
    often = Counter(found.values())
    made = {}
    for path, title in found.items():
        row = rows[path.name]
        own = title if often[title] == 1 and title else path.stem
        source = f"`{path.name}` of Debian's {row['package']} {row['version']}"
        licence = row["licence"]
        artist = row["artist"].replace('"', "'")
        made[path] = Credit(own, artist, licence, LINKS.get(licence, ""), source)
    return made


def choose(credit_of: dict[Path, Credit], n: int, seconds: float) -> list[Piece]:
    """The ``n`` most eventful excerpts of different files, in the files' order.

    Raises ValueError where fewer files have a credit.
    """
    files = sorted(credit_of)
    if len(files) < n:
        raise ValueError(
            f"{len(files)} files of the folder have a licence; at least {n} are needed"
        )
    headers = [audio.probe(path) for path in files]
    lengths = [header.frames / header.sample_rate for header in headers]
    found, attacks, harmony = [], [], []
    for file, start_s in sorted(excerpt_starts(lengths, PLACES_A_FILE * len(files), seconds)):
        rate_hz = headers[file].sample_rate
        start, frames = int(start_s * rate_hz), int(seconds * rate_hz)
        mono = audio.read(files[file], start=start, frames=frames).samples.mean(0)
        found.append((file, start))
        attacks.append(float(onset_envelope(mono, rate_hz).mean()))
        harmony.append(float(chroma(mono, rate_hz).topk(CHORD, dim=0).values.sum(0).mean()))
    artists = [credit_of[files[file]].artist for file, _ in found]
    # Both must be there: neither makes up for the other.
    scores = [min(pair) for pair in zip(_ranks(attacks), _ranks(harmony), strict=True)]
    chosen = best([file for file, _ in found], artists, scores, n)
    return [
        _piece(files[found[i][0]], credit_of[files[found[i][0]]], found[i][1], seconds)
        for i in chosen
    ]


def _ranks(values: Sequence[float]) -> list[float]:
    """The place of each value among all, 0..1; equal values share theirs."""
    ordered = sorted(values)
    return [
        (ordered.index(v) + len(values) - 1 - ordered[::-1].index(v)) / 2 / len(values)
        for v in values
    ]


def best(
    files: Sequence[int], artists: Sequence[str], scores: Sequence[float], n: int
) -> list[int]:
    """Indices of ``n`` excerpts of high score, a file once, an artist as seldom as can be.

    In the files' order. Artists take turns: a second one of an artist comes when the others have
    given as many, or have no file left.
    """
    rest = sorted(range(len(files)), key=lambda i: (-scores[i], i))
    taken: list[int] = []
    while rest and len(taken) < n:
        given = Counter(artists[i] for i in taken)
        first = min(rest, key=lambda i: (given[artists[i]], rest.index(i)))
        taken.append(first)
        rest = [i for i in rest if files[i] != files[first]]
    return sorted(taken, key=lambda i: files[i])


def _piece(path: Path, credit: Credit, start: int, seconds: float) -> Piece:
    header = audio.probe(path)
    frames = int(seconds * header.sample_rate)
    native, rate_hz, form = audio.read_native(path, start=start, frames=frames)
    return Piece(path.stem, credit, start / rate_hz, Region(native, rate_hz, form))


def write_ogg(path: Path, region: Region, credit: Credit, what: str) -> None:
    """A small Ogg Vorbis file, 2 dB softer, its credit inside; equal sounds give equal files."""
    samples = (region.samples * 10 ** (-HEADROOM_DB / 20)).T.contiguous().numpy()
    kind = {"format": "OGG", "subtype": "VORBIS", "compression_level": VORBIS_LEVEL}
    rate_hz, channels = region.sample_rate, region.n_channels
    with soundfile.SoundFile(path, "w", rate_hz, channels, **kind) as file:
        file.title, file.artist = f"{credit.title} ({what})", credit.name
        file.license = f"{credit.licence} {credit.link}".strip()
        file.comment = f"excerpt, {what}; from {credit.source.replace('`', '')}"
        file.write(samples)
    path.write_bytes(settled(path.read_bytes()))


def settled(ogg: bytes) -> bytes:
    """The same Ogg stream under a fixed serial number, its checksums made anew.

    Source: RFC 3533, section 6.
    """
    made, at = bytearray(ogg), 0
    while at < len(made):
        if made[at : at + 4] != b"OggS":
            raise ValueError(f"no Ogg page at byte {at}; every page begins with 'OggS'")
        n_segments = made[at + 26]
        end = at + 27 + n_segments + sum(made[at + 27 : at + 27 + n_segments])
        made[at + 14 : at + 18] = SERIAL.to_bytes(4, "little")
        made[at + 22 : at + 26] = bytes(4)
        made[at + 22 : at + 26] = _checksum(bytes(made[at:end])).to_bytes(4, "little")
        at = end
    return bytes(made)


_MIRRORED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def _checksum(page: bytes) -> int:
    """Ogg's CRC-32 (start 0, most significant bit first) by way of zlib's, its mirror image."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
