"""From a folder of audio files to pieces for training: mono, one rate, one level."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vampnet import audio
from vampnet.loudness import normalize

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".caf")
MANIFEST = "manifest.json"
FULL_SCALE = 32767.0  # of the 16-bit samples on disk
HELD_OUT_EVERY = 10  # without names given, every tenth file is held out


class Pack:
    """Pieces on disk, 16-bit, mapped into memory: ``pieces`` (name, samples), ``rate_hz``."""

    def __init__(self, pieces: list[tuple[str, np.ndarray]], rate_hz: int):
        self.pieces, self.rate_hz = pieces, rate_hz

    @classmethod
    def load(cls, folder: str | Path, split: str) -> Pack:
        """The pieces of ``split`` ("train" or "heldout") that :func:`pack` wrote.

        Raises ValueError where there are none.
        """
        folder = Path(folder)
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        entries = [e for e in manifest["pieces"] if e["split"] == split]
        pieces = [(e["name"], np.load(folder / e["file"], mmap_mode="r")) for e in entries]
        return cls(pieces, manifest["rate_hz"])

    def samples(self, index: int) -> Tensor:
        """A whole piece, float (S,), full scale 1."""
        return torch.from_numpy(self.pieces[index][1].astype(np.float32)) / FULL_SCALE

    def cut(self, index: int, start: int, length: int) -> Tensor:
        """``length`` samples from ``start`` on, float (length,), zeros behind the end."""
        found = self.pieces[index][1][start : start + length].astype(np.float32)
        return torch.from_numpy(np.pad(found, (0, length - len(found)))) / FULL_SCALE


def pack(
    source: str | Path,
    target: str | Path,
    rate_hz: int,
    held_out: Sequence[str] = (),
    log: Callable[[str], None] | None = None,
) -> Path:
    """Read every audio file below ``source`` into ``target``: mono mean, ``rate_hz``, -24 LUFS.

    held_out: files whose path contains one of these words are never trained on; with no words,
    every tenth file. Files that cannot be read are named to ``log`` and left out. Writes a manifest
    with each file's SHA-256 and length. Raises ValueError where nothing can be read.
    """
    source, target = Path(source), Path(target)
    files = sorted(f for f in source.rglob("*") if f.suffix.lower() in SUFFIXES)
    target.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, file in enumerate(files):
        name = file.relative_to(source).as_posix()
        try:
            mono = read_piece(file, rate_hz)
        except ValueError as error:
            if log:
                log(f"left out: {error}")
            continue
        words = any(word in name for word in held_out)
        tenth = not held_out and number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        stored = f"{number:05d}.npy"
        store(mono, target / stored)
        entries.append(
            {
                "name": name,
                "file": stored,
                "split": "heldout" if words or tenth else "train",
                "seconds": round(len(mono) / rate_hz, 3),
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            }
        )
    if not any(e["split"] == "train" for e in entries):
        raise ValueError(f"{source} holds {len(entries)} readable audio files to train on; need 1")
    manifest = {"rate_hz": rate_hz, "pieces": entries}
    (target / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return target


def read_piece(file: Path, rate_hz: int) -> Tensor:
    """A file as a piece, float (S,): mono mean, ``rate_hz``, -24 LUFS. ValueError if unreadable."""
    sound = audio.read(file)
    mono = audio.resample(sound.samples.mean(0, keepdim=True), sound.sample_rate, rate_hz)
    return level(mono[0], rate_hz)


def level(samples: Tensor, rate_hz: int) -> Tensor:
    """Float (S,) at -24 LUFS, or below where a peak would pass full scale."""
    return normalize(samples[None], rate_hz)[0][0]


def store(samples: Tensor, file: Path) -> None:
    """Write a piece, float (S,), as 16-bit samples."""
    np.save(file, np.round(samples.numpy() * FULL_SCALE).astype(np.int16))
