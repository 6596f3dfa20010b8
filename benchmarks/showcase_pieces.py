"""Pieces for benchmarks/showcase.py: selection, credits, and their audio files.

Nothing is selected by hand: of several excerpts per file, those with strong attacks and clear
harmony are taken, each from a different file and few per artist.
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

EXCERPTS_PER_FILE = 4
CHORD = 3  # pitch classes whose share of the energy measures harmony
VORBIS_LEVEL = 1.0  # of soundfile's compression: about 64 kbit/s in stereo
HEADROOM_DB = 2.0  # at low bitrates Vorbis raises peaks by about a decibel
SERIAL = 1  # of the Ogg stream, otherwise derived from the clock


@dataclass(frozen=True)
class Credit:
    """Credit of a piece.

    Attributes:
        title: of the piece.
        artist: name, with a web address in parentheses where known.
        licence: identifier.
        link: address of the licence.
        source: file and package it comes from, as Markdown.
    """

    title: str
    artist: str
    licence: str
    link: str
    source: str

    def line(self) -> str:
        """Format as one line of Markdown."""
        licence = f"[{self.licence}]({self.link})" if self.link else self.licence
        artist = re.sub(r"(.+) \((http[^)]+)\)", r"[\1](\2)", self.artist)
        return f"{artist}, \u201c{self.title}\u201d, {licence}; from {self.source}"

    @property
    def name(self) -> str:
        """The artist's name without an address."""
        return self.artist.partition(" (http")[0]


@dataclass(frozen=True, eq=False)
class Piece:
    """An excerpt.

    Attributes:
        stem: name of the file without suffix.
        credit: artist and licence.
        start_s: start in the file, in seconds.
        region: the audio.
    """

    stem: str
    credit: Credit
    start_s: float
    region: Region

    def place(self) -> str:
        """Position in the file, such as "0:28 to 0:33"."""
        ends = (self.start_s, self.start_s + self.region.duration_s)
        return " to ".join(f"{int(t // 60)}:{int(t % 60):02d}" for t in ends)


def credits(folder: Path, manifest: Path) -> dict[Path, Credit]:
    """Find the audio files of a folder that are in the manifest.

    The title is the file's tag; where several files share it, it is unreliable and the file's name
    is used.

    Args:
        folder: searched recursively.
        manifest: CSV file with name, artist, licence, package and version.

    Returns:
        Credits by file.
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
    """Choose the excerpts with the strongest attacks and clearest harmony.

    Args:
        credit_of: credits by file.
        n: number of excerpts, each from a different file.
        seconds: length of an excerpt.

    Returns:
        The excerpts, in the order of their files.

    Raises:
        ValueError: there are fewer than ``n`` files.
    """
    files = sorted(credit_of)
    if len(files) < n:
        raise ValueError(
            f"{len(files)} files of the folder have a licence; at least {n} are needed"
        )
    headers = [audio.probe(path) for path in files]
    lengths = [header.frames / header.sample_rate for header in headers]
    found, attacks, harmony = [], [], []
    for file, start_s in sorted(excerpt_starts(lengths, EXCERPTS_PER_FILE * len(files), seconds)):
        rate_hz = headers[file].sample_rate
        start, frames = int(start_s * rate_hz), int(seconds * rate_hz)
        mono = audio.read(files[file], start=start, frames=frames).samples.mean(0)
        found.append((file, start))
        attacks.append(float(onset_envelope(mono, rate_hz).mean()))
        harmony.append(float(chroma(mono, rate_hz).topk(CHORD, dim=0).values.sum(0).mean()))
    artists = [credit_of[files[file]].artist for file, _ in found]
    # The minimum of both ranks, so that neither compensates for the other.
    scores = [min(pair) for pair in zip(_ranks(attacks), _ranks(harmony), strict=True)]
    chosen = best([file for file, _ in found], artists, scores, n)
    return [
        _piece(files[found[i][0]], credit_of[files[found[i][0]]], found[i][1], seconds)
        for i in chosen
    ]


def _ranks(values: Sequence[float]) -> list[float]:
    """Normalized rank (0 to 1) of each value; equal values share their mean rank."""
    ordered = sorted(values)
    return [
        (ordered.index(v) + len(values) - 1 - ordered[::-1].index(v)) / 2 / len(values)
        for v in values
    ]


def best(
    files: Sequence[int], artists: Sequence[str], scores: Sequence[float], n: int
) -> list[int]:
    """Select excerpts of high score: one per file, artists in rotation.

    Args:
        files: index of the file of each excerpt.
        artists: artist of each excerpt.
        scores: score of each excerpt.
        n: number to select at most.

    Returns:
        Indices of the selected excerpts, in the order of their files.
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
    """Write a small Ogg Vorbis file, 2 dB softer, with its credit; equal audio, equal files."""
    samples = (region.samples * 10 ** (-HEADROOM_DB / 20)).T.contiguous().numpy()
    kind = {"format": "OGG", "subtype": "VORBIS", "compression_level": VORBIS_LEVEL}
    rate_hz, channels = region.sample_rate, region.n_channels
    with soundfile.SoundFile(path, "w", rate_hz, channels, **kind) as file:
        file.title, file.artist = f"{credit.title} ({what})", credit.name
        file.license = f"{credit.licence} {credit.link}".strip()
        file.comment = f"excerpt, {what}; from {credit.source.replace('`', '')}"
        file.write(samples)
    path.write_bytes(with_fixed_serial(path.read_bytes()))


def with_fixed_serial(ogg: bytes) -> bytes:
    """Set the serial number of an Ogg stream to a constant and recompute the checksums.

    Source: RFC 3533, section 6.
    """
    made, at = bytearray(ogg), 0
    while at < len(made):
        if made[at : at + 4] != b"OggS":
            raise ValueError(f"no Ogg page at byte {at}; every page starts with 'OggS'")
        n_segments = made[at + 26]
        end = at + 27 + n_segments + sum(made[at + 27 : at + 27 + n_segments])
        made[at + 14 : at + 18] = SERIAL.to_bytes(4, "little")
        made[at + 22 : at + 26] = bytes(4)
        made[at + 22 : at + 26] = _checksum(bytes(made[at:end])).to_bytes(4, "little")
        at = end
    return bytes(made)


_MIRRORED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def _checksum(page: bytes) -> int:
    """Ogg's CRC-32 (initial value 0, most significant bit first) by zlib's reflected one."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
