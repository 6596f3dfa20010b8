"""A training set in one small file, to carry to a machine with an accelerator.

Codes for the masked models, as few bits each as they need; clips of audio, as Opus, for the
codec's decoder; the codec and the terms of its model; the attribution. About 30 MiB hold ten hours
of codes.
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
from vampnet.system.atomic_file import whole_path
from vampnet.system.errors import UserError
from vampnet.training.data import FULL_SCALE, Pack
from vampnet.training.tokens import Tokens

INDEX, CODEC, BASE = "pack.json", "codec", "base.json"
MAX_MIB = 60.0
CLIP_S = 20.0
CLIP_FORMAT, CLIP_HZ = audio.AudioFormat("OGG", "OPUS"), 48000  # about 60 kbit/s
Log = Callable[[str], None]


@dataclass(frozen=True)
class Material:
    """What a training needs: the codec, codes to learn and to be measured on, clips with codes."""

    codec: Codec
    tokens: Tokens
    heldout: Tokens | None
    clips: Pack
    clip_tokens: Tokens


def squeeze(codes: Tensor, bits: int) -> bytes:
    """Codes, int (N, T) below 2**bits, as one string of bits, codebook by codebook."""
    shifts = np.arange(bits, dtype=np.uint16)
    rows = [
        np.packbits(((row[:, None] >> shifts) & 1).astype(np.uint8).ravel())
        for row in codes.numpy().astype(np.uint16)
    ]
    return b"".join(row.tobytes() for row in rows)


def unsqueeze(data: bytes, bits: int, n_codebooks: int, n_frames: int) -> Tensor:
    """The reverse of :func:`squeeze`: int16 (N, T). ValueError where the length is another."""
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
    """Write the data pack, at most ``max_mib`` MiB: everything but as many clips as there is room.

    pieces: those of ``tokens["train"]``, in the same order; tokens: by split; attribution: of the
    music; base: what :func:`base` shall give back. Raises ValueError where not even a clip finds
    room, OSError where the disk takes no more.
    """
    bits = max(1, math.ceil(math.log2(codec.vocab_size)))
    index: dict = {"rate_hz": pieces.rate_hz, "bits": bits, "splits": {}, "clips": []}
    room = max_mib * 2**20
    target = Path(target)
    with (
        whole_path(target) as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive,
    ):
        for split, found in tokens.items():
            archive.writestr(f"{split}.codes", squeeze(found.codes, bits))
            starts = found.starts.tolist()
            index["splits"][split] = {"n_codebooks": len(found.codes), "starts": starts}
        with tempfile.TemporaryDirectory(prefix="vampnet-") as folder:
            checkpoints.save_folder(Path(folder, CODEC), codec, dtype=torch.float16)
            for file in sorted(Path(folder, CODEC).iterdir()):
                archive.write(file, f"{CODEC}/{file.name}")
        archive.writestr(ATTRIBUTION, attribution)
        if base is not None:
            archive.writestr(BASE, json.dumps(base))
        room -= sum(entry.file_size for entry in archive.infolist()) + 2**17  # lists, heads
        for name, sound, place in _clips(pieces, tokens["train"], codec.hop_length):
            if len(sound) > room:
                break
            room -= len(sound) + 200
            archive.writestr(name, sound)
            index["clips"].append(place)
        if not index["clips"]:
            raise UserError(f"{max_mib} MiB hold no audio beside codes and codec; allow more")
        archive.writestr(INDEX, json.dumps(index))
    if log:
        minutes = sum(n for _, _, n in index["clips"]) * codec.hop_length / pieces.rate_hz / 60
        log(f"{target.stat().st_size / 2**20:.1f} MiB, {minutes:.0f} minutes of audio in clips")
    return target


def _clips(pieces: Pack, tokens: Tokens, hop: int) -> Iterator[tuple[str, bytes, list[int]]]:
    """Clips all over the set, in a random order: name, Opus, [piece, first frame, frames]."""
    length = round(CLIP_S * pieces.rate_hz / hop)
    places = []
    for piece, n_frames in enumerate(tokens.starts.diff().tolist()):
        parts = max(1, n_frames // length)
        places += [[piece, i * length, min(length, n_frames)] for i in range(parts)]
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0)).tolist()
    with tempfile.TemporaryDirectory(prefix="vampnet-") as folder:
        for number, which in enumerate(order):
            piece, first, n_frames = places[which]
            samples = pieces.cut(piece, first * hop, n_frames * hop)[None]
            file = Path(folder, "clip.ogg")
            samples = audio.resample(samples, pieces.rate_hz, CLIP_HZ)
            audio.write(file, audio.Audio(samples, CLIP_HZ, CLIP_FORMAT))
            yield f"clips/{number:05d}.ogg", file.read_bytes(), [piece, first, n_frames]


def read(file: str | Path) -> Material:
    """What :func:`write` wrote. ValueError where the file is no data pack."""
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
        raise UserError(f"{file} is no data pack: {error}") from None
    return Material(codec, splits["train"], splits.get("heldout"), clips, clip_tokens)


def credit(file: str | Path) -> str:
    """The attribution in a data pack, which goes with the weights trained on it."""
    with zipfile.ZipFile(file) as archive:
        return archive.read(ATTRIBUTION).decode("utf-8")


def base(file: str | Path) -> dict[str, Any] | None:
    """What a data pack tells of the model whose codec it holds; None where it tells nothing.

    Raises ValueError where the file is no data pack.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return json.loads(archive.read(BASE)) if BASE in archive.namelist() else None
    except (zipfile.BadZipFile, ValueError) as error:
        raise UserError(f"{file} is no data pack: {error}") from None


def _tokens(archive: zipfile.ZipFile, split: str, index: dict) -> Tokens:
    facts = index["splits"][split]
    starts = torch.tensor(facts["starts"])
    data = archive.read(f"{split}.codes")
    return Tokens(unsqueeze(data, index["bits"], facts["n_codebooks"], int(starts[-1])), starts)


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
