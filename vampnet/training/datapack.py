"""A training set in one small file, to copy to a machine with an accelerator.

It has bit-packed codes for the masked models, clips of audio, as Opus, for the codec's decoder, the
codec and the terms of its model, and the attribution. Ten hours of codes are about 30 MiB.
"""

from __future__ import annotations

import json
import math
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vampnet import audio, checkpoints
from vampnet.checkpoints.folders import ATTRIBUTION
from vampnet.codec import Codec
from vampnet.system.atomic_file import atomic_path
from vampnet.system.errors import UserError
from vampnet.training.data import FULL_SCALE, Pack
from vampnet.training.tokens import Tokens

INDEX, CODEC, BASE = "pack.json", "codec", "base.json"
MAX_MIB = 60.0
CLIP_S = 20.0
CLIP_FORMAT, CLIP_HZ = audio.AudioFormat("OGG", "OPUS"), 48000  # about 60 kbit/s
Log = Callable[[str], None]


@dataclass(frozen=True)
class DataPackContents:
    """The content of a data pack.

    Attributes:
        codec: the codec.
        tokens, heldout: the training and the held-out set.
        clips, clip_tokens: audio and codes of the same windows.
    """

    codec: Codec
    tokens: Tokens
    heldout: Tokens | None
    clips: Pack
    clip_tokens: Tokens


def pack_bits(codes: Tensor, bits: int) -> bytes:
    """Pack codes, int (N, T) below 2**bits, into bits, codebook by codebook."""
    shifts = np.arange(bits, dtype=np.uint16)
    rows = [
        np.packbits(((row[:, None] >> shifts) & 1).astype(np.uint8).ravel())
        for row in codes.numpy().astype(np.uint16)
    ]
    return b"".join(row.tobytes() for row in rows)


def unpack_bits(data: bytes, bits: int, n_codebooks: int, n_frames: int) -> Tensor:
    """Unpack the result of :func:`pack_bits` to int16 (N, T).

    Raises:
        UserError: where the length is not as expected.
    """
    each = math.ceil(bits * n_frames / 8)
    if len(data) != each * n_codebooks:
        raise UserError(f"the codes are {len(data)} bytes; {each * n_codebooks} expected")
    weights = (1 << np.arange(bits)).astype(np.int32)
    codes = np.empty((n_codebooks, n_frames), np.int16)
    for n, row in enumerate(np.frombuffer(data, np.uint8).reshape(n_codebooks, each)):
        codes[n] = np.unpackbits(row, count=bits * n_frames).reshape(n_frames, bits) @ weights
    return torch.from_numpy(codes)


def write(
    pieces: Pack,
    tokens: dict[str, Tokens],
    codec: Codec,
    target: str | Path,
    *,
    attribution: str = "",
    base: dict[str, Any] | None = None,
    max_mib: float = MAX_MIB,
    log: Log | None = None,
) -> Path:
    """Write a data pack with as many clips as fit into ``max_mib`` MiB, and return ``target``.

    Args:
        pieces: those of ``tokens["train"]``, in the same order.
        tokens: codes by split, "train" and "heldout".
        codec: the codec.
        target: the file to write.
        attribution: of the music.
        base: terms of the codec's model, for :func:`read_base`.
        max_mib: largest size of the file.
        log: gets a line with size and duration.

    Raises:
        UserError: where not even one clip fits.
        OSError: where the disk is full.
    """
    bits = max(1, math.ceil(math.log2(codec.vocab_size)))
    index: dict = {"rate_hz": pieces.rate_hz, "bits": bits, "splits": {}, "clips": []}
    target = Path(target)
    with atomic_path(target) as part, zipfile.ZipFile(part, "w") as archive:
        index["splits"] = _write_tokens(archive, tokens, bits)
        _write_codec(archive, codec)
        archive.writestr(ATTRIBUTION, attribution)
        if base is not None:
            archive.writestr(BASE, json.dumps(base))
        used = sum(entry.file_size for entry in archive.infolist()) + 2**17  # index, headers
        clips = _clips(pieces, tokens["train"], codec.hop_length)
        index["clips"] = _write_clips(archive, clips, max_mib * 2**20 - used)
        if not index["clips"]:
            raise UserError(f"{max_mib} MiB have no space for audio after codes and codec")
        archive.writestr(INDEX, json.dumps(index))
    if log:
        minutes = sum(n for _, _, n in index["clips"]) * codec.hop_length / pieces.rate_hz / 60
        log(f"{target.stat().st_size / 2**20:.1f} MiB, {minutes:.0f} minutes of audio in clips")
    return target


def _write_tokens(archive: zipfile.ZipFile, tokens: dict[str, Tokens], bits: int) -> dict:
    """Write the codes of each split; returns their entries in the index."""
    splits = {}
    for split, found in tokens.items():
        archive.writestr(f"{split}.codes", pack_bits(found.codes, bits))
        splits[split] = {"n_codebooks": len(found.codes), "starts": found.starts.tolist()}
    return splits


def _write_codec(archive: zipfile.ZipFile, codec: Codec) -> None:
    with tempfile.TemporaryDirectory(prefix="vampnet-") as folder:
        checkpoints.save_folder(Path(folder, CODEC), codec, dtype=torch.float16)
        for file in sorted(Path(folder, CODEC).iterdir()):
            archive.write(file, f"{CODEC}/{file.name}")


def _write_clips(
    archive: zipfile.ZipFile, clips: Iterator[tuple[str, bytes, list[int]]], free: float
) -> list[list[int]]:
    """Write clips until ``free`` bytes are used; returns their entries in the index."""
    entries = []
    for name, clip, entry in clips:
        if len(clip) > free:
            break
        free -= len(clip) + 200
        archive.writestr(name, clip)
        entries.append(entry)
    return entries


def _clips(pieces: Pack, tokens: Tokens, hop: int) -> Iterator[tuple[str, bytes, list[int]]]:
    """All clips of the set in random order: name, Opus data, [piece, first frame, frames]."""
    length = round(CLIP_S * pieces.rate_hz / hop)
    clips = []
    for piece, n_frames in enumerate(tokens.starts.diff().tolist()):
        parts = max(1, n_frames // length)
        clips += [[piece, i * length, min(length, n_frames)] for i in range(parts)]
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(0)).tolist()
    with tempfile.TemporaryDirectory(prefix="vampnet-") as folder:
        for number, which in enumerate(order):
            piece, first, n_frames = clips[which]
            samples = pieces.cut(piece, first * hop, n_frames * hop)[None]
            file = Path(folder, "clip.ogg")
            samples = audio.resample(samples, pieces.rate_hz, CLIP_HZ)
            audio.write(file, audio.Audio(samples, CLIP_HZ, CLIP_FORMAT))
            yield f"clips/{number:05d}.ogg", file.read_bytes(), [piece, first, n_frames]


def read(file: str | Path) -> DataPackContents:
    """Read a data pack. Raises UserError where the file is not one."""
    try:
        with zipfile.ZipFile(file) as archive:
            index = json.loads(archive.read(INDEX))
            splits = {name: _tokens(archive, name, index) for name in index["splits"]}
            with tempfile.TemporaryDirectory(prefix="vampnet-") as folder:
                names = [n for n in archive.namelist() if n.startswith((CODEC + "/", "clips/"))]
                archive.extractall(folder, names)
                codec = checkpoints.load_codec(Path(folder, CODEC))
                clips, clip_tokens = _read_clips(Path(folder), index, splits["train"], codec)
    except (zipfile.BadZipFile, KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(f"{file} is not a data pack: {error}") from None
    return DataPackContents(codec, splits["train"], splits.get("heldout"), clips, clip_tokens)


def read_attribution(file: str | Path) -> str:
    """Return the attribution in a data pack, for the weights trained on it."""
    with zipfile.ZipFile(file) as archive:
        return archive.read(ATTRIBUTION).decode("utf-8")


def read_base(file: str | Path) -> dict[str, Any] | None:
    """Return the terms of the codec's model, as passed to :func:`write`; None where there are none.

    Raises:
        UserError: where the file is not a data pack.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return json.loads(archive.read(BASE)) if BASE in archive.namelist() else None
    except (zipfile.BadZipFile, ValueError) as error:
        raise UserError(f"{file} is not a data pack: {error}") from None


def _tokens(archive: zipfile.ZipFile, split: str, index: dict) -> Tokens:
    facts = index["splits"][split]
    starts = torch.tensor(facts["starts"])
    data = archive.read(f"{split}.codes")
    return Tokens(unpack_bits(data, index["bits"], facts["n_codebooks"], int(starts[-1])), starts)


def _read_clips(folder: Path, index: dict, tokens: Tokens, codec: Codec) -> tuple[Pack, Tokens]:
    sounds, codes = [], []
    for number, (piece, first, n_frames) in enumerate(index["clips"]):
        sound = audio.read(folder / f"clips/{number:05d}.ogg")
        n_samples = n_frames * codec.hop_length
        samples = audio.resample(sound.samples, CLIP_HZ, index["rate_hz"], n_samples)[0]
        levels = (samples.clamp(-1, 1) * FULL_SCALE).round().numpy().astype(np.int16)
        sounds.append((f"clip {number}", levels))
        start = int(tokens.starts[piece]) + first
        codes.append(tokens.codes[:, start : start + n_frames])
    return Pack(sounds, index["rate_hz"]), Tokens.join(codes)
