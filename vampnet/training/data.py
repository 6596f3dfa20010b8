"""From a folder of audio files to pieces for training: mono, one rate, one loudness."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vampnet import audio
from vampnet.audio.loudness import normalize
from vampnet.system.atomic_file import atomic_path
from vampnet.system.errors import UserError
from vampnet.system.file_tree import files_below
from vampnet.system.hashes import sha256

SILENT_DBFS = -80.0  # pieces with a lower peak are omitted
MANIFEST = "manifest.json"
FULL_SCALE = 32767.0  # of the 16-bit samples on disk
# Unsupported audio formats; a folder of such files must not be treated as empty.
UNREAD = (
    ".m4a",
    ".mp4",
    ".aac",
    ".wma",
    ".ape",
    ".wv",
    ".mpc",
    ".mka",
    ".webm",
    ".dsf",
    ".amr",
    ".ac3",
)
HELD_OUT_EVERY = 10  # without names given, every tenth piece is held out


class Pack:
    """Pieces on disk, 16-bit, memory-mapped.

    Attributes:
        pieces: name and samples, int16 (S,), of each.
        rate_hz: sample rate.
    """

    def __init__(self, pieces: list[tuple[str, np.ndarray]], rate_hz: int):
        self.pieces, self.rate_hz = pieces, rate_hz

    @classmethod
    def load(cls, folder: str | Path, split: str) -> Pack:
        """Read the pieces of ``split`` ("train" or "heldout") that :func:`pack` wrote, if any.

        Raises:
            UserError: where the manifest or a piece is damaged or missing.
        """
        folder = Path(folder)
        with _damaged_manifest_error(folder / MANIFEST) as path:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            entries = [e for e in manifest["pieces"] if e["split"] == split]
            files = [(e["name"], folder / e["file"]) for e in entries]
            rate_hz = int(manifest["rate_hz"])
        return cls([(name, _load_samples(file)) for name, file in files], rate_hz)

    def samples(self, index: int) -> Tensor:
        """Return a whole piece, float (S,), full scale 1."""
        return torch.from_numpy(self.pieces[index][1].astype(np.float32)) / FULL_SCALE

    def cut(self, index: int, start: int, length: int) -> Tensor:
        """Return ``length`` samples from ``start`` on, float (length,), zero-padded."""
        found = self.pieces[index][1][start : start + length].astype(np.float32)
        return torch.from_numpy(np.pad(found, (0, length - len(found)))) / FULL_SCALE


def packed_names(folder: Path) -> list[str]:
    """Return the names of the pieces in a folder that :func:`pack` wrote.

    Raises:
        UserError: where the manifest is damaged.
    """
    with _damaged_manifest_error(folder / MANIFEST) as path:
        return [entry["name"] for entry in json.loads(path.read_text(encoding="utf-8"))["pieces"]]


@contextmanager
def _damaged_manifest_error(manifest: Path) -> Iterator[Path]:
    try:
        yield manifest
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{manifest} is damaged; delete it and run again") from None


def _load_samples(file: Path) -> np.ndarray:
    """The samples of a piece, int16 (S,), memory-mapped."""
    try:
        found = np.load(file, mmap_mode="r")
    except PermissionError:
        raise
    except (OSError, ValueError, EOFError, SyntaxError, TypeError):
        found = None
    if found is None or found.ndim != 1 or found.dtype != np.int16:
        raise UserError(
            f"{file} is damaged or missing; delete {file.parent} and run the command that wrote it"
        )
    return found


def music_files(folder: Path) -> list[Path]:
    """Return every audio file below a folder, following links, sorted by path."""
    return [file for file in files_below(folder) if file.suffix.lower() in audio.SUFFIXES]


def unread_files(folder: Path) -> list[Path]:
    """Return every file below a folder with a suffix of unsupported audio, sorted by path."""
    return [file for file in files_below(folder) if file.suffix.lower() in UNREAD]


def pack(
    source: str | Path,
    target: str | Path,
    rate_hz: int,
    held_out: Sequence[str] = (),
    log: Callable[[str], None] | None = None,
) -> Path:
    """Read every audio file below ``source`` into ``target``: mono mean, ``rate_hz``, -24 LUFS.

    Files that cannot be read (such as .m4a) or are silent are omitted and logged. So are further
    copies of a file: otherwise one might be in the training set and another held out. The manifest
    has each file's SHA-256 and length.

    Args:
        source: a folder of audio files.
        target: the folder to write.
        rate_hz: sample rate of the pieces.
        held_out: files whose path contains one of these words are held out; without words, every
            tenth piece.
        log: gets a line per omitted file.

    Raises:
        UserError: where no piece is left for training, and for a word that no path contains.
    """
    source, target, log = Path(source), Path(target), log or (lambda line: None)
    for file in unread_files(source):
        name, kind = file.relative_to(source).as_posix(), file.suffix.lower()
        log(f"left out: {name} is a {kind} file, which is not read; wav, aiff, flac, ogg, mp3 are")
    copies = _copies(source)
    _check_words(source, [name for names in copies.values() for name in names], held_out)
    target.mkdir(parents=True, exist_ok=True)
    entries = _pack_pieces(source, copies, target, rate_hz, held_out, log)
    _check_splits(source, entries, held_out, log)
    with atomic_path(target / MANIFEST) as part:
        manifest = {"rate_hz": rate_hz, "pieces": entries}
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return target


def _pack_pieces(
    source: Path,
    copies: dict[str, list[str]],
    target: Path,
    rate_hz: int,
    held_out: Sequence[str],
    log: Callable[[str], None],
) -> list[dict]:
    """Write the samples of each readable file; returns the entries of the manifest."""
    entries: list[dict] = []
    for number, (digest, names) in enumerate(copies.items()):
        for name in names[1:]:
            log(f"left out: {name} is the same as {names[0]}")
        try:
            mono = _checked_not_silent(_read_mono(source / names[0], rate_hz), names[0])
        except ValueError as error:
            log(f"left out: {error}")
            continue
        words = any(word in name for word in held_out for name in names)
        tenth = not held_out and len(entries) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        stored = f"{number:05d}.npy"
        store(level(mono, rate_hz), target / stored)
        entries.append(
            {
                "name": names[0],
                "file": stored,
                "split": "heldout" if words or tenth else "train",
                "seconds": round(len(mono) / rate_hz, 3),
                "sha256": digest,
            }
        )
    return entries


def _copies(source: Path) -> dict[str, list[str]]:
    """The names of the audio files below a folder by SHA-256; copies share an entry."""
    found: dict[str, list[str]] = {}
    for file in music_files(source):
        name = file.relative_to(source).as_posix()
        try:
            digest = sha256(file)
        except OSError:
            digest = name  # reading it as audio will raise the reason
        found.setdefault(digest, []).append(name)
    return found


def _check_words(source: Path, names: Sequence[str], held_out: Sequence[str]) -> None:
    for word in held_out:
        if not any(word in name for name in names):
            raise UserError(f"no audio file of {source} has the held-out word '{word}' in its path")


def _check_splits(
    source: Path, entries: Sequence[dict], held_out: Sequence[str], log: Callable[[str], None]
) -> None:
    splits = [entry["split"] for entry in entries]
    if not entries:
        raise UserError(f"{source} has 0 readable audio files that are not silent; need 1")
    if "train" not in splits:
        words = ", ".join(held_out)
        raise UserError(
            f"all {len(entries)} readable audio files of {source} are held out ({words}); "
            "at least 1 is needed for training"
        )
    if "heldout" not in splits:
        log(f"none of {len(entries)} pieces is held out, so nothing is measured")


def read_piece(file: Path, rate_hz: int) -> Tensor:
    """Read a file as a piece, float (S,): mono mean, ``rate_hz``, -24 LUFS.

    Raises:
        ValueError: where it cannot be read.
    """
    return level(_read_mono(file, rate_hz), rate_hz)


def _checked_not_silent(samples: Tensor, name: str) -> Tensor:
    if not (samples.abs() >= 10 ** (SILENT_DBFS / 20)).any():
        raise UserError(f"{name} is silent: no sample is above {SILENT_DBFS:g} dBFS")
    return samples


def _read_mono(file: Path, rate_hz: int) -> Tensor:
    sound = audio.read(file)
    return audio.resample(sound.samples.mean(0, keepdim=True), sound.sample_rate, rate_hz)[0]


def level(samples: Tensor, rate_hz: int) -> Tensor:
    """Normalise float (S,) to -24 LUFS, or less where a peak would exceed full scale."""
    return normalize(samples[None], rate_hz)[0][0]


def store(samples: Tensor, file: Path) -> None:
    """Write a piece, float (S,), as 16-bit samples. Raises OSError where the disk is full."""
    with atomic_path(file) as part, part.open("wb") as stream:
        np.save(stream, np.round(samples.numpy() * FULL_SCALE).astype(np.int16))
