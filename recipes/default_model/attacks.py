"""Add an envelope to a model's codec: tokens, masked models and spectra stay as they are.

Trained on excerpts of a prepared set, on synthetic hits and notes, and on hits over music.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recipes.default_model.exercises import drum_hits, held_notes
from vampnet import checkpoints
from vampnet.codec import SpectralCodec
from vampnet.system.errors import UserError
from vampnet.training.data import FULL_SCALE, Pack
from vampnet.training.envelope import EnvelopeTraining, Examples, train_envelope

BLOCKS = (4, 8, 8)  # a frame in each band: 4.4 ms below 1 kHz, 2.2 ms above
EXERCISES = 12  # of each kind
HITS_S, NOTES_S = 30.0, 10.0
MUSIC_GAIN, HITS_GAIN = 0.4, 0.8  # of hits over music
Log = Callable[[object], None]


def with_envelope(codec: SpectralCodec, blocks: tuple[int, ...] = BLOCKS) -> SpectralCodec:
    """The same codec with an envelope that is yet to be trained."""
    made = SpectralCodec(**{**codec.kwargs, "envelope_blocks": blocks})
    made.load_state_dict(codec.state_dict(), strict=False)
    return made.eval()


def _stored(sound: Tensor) -> np.ndarray:
    return (sound * FULL_SCALE).round().numpy().astype(np.int16)


def examples_of(music: Pack, seconds: float, seed: int) -> Pack:
    """Beginnings of the pieces, ``seconds`` long at most, and exercises after them."""
    rng = torch.Generator().manual_seed(seed)
    rate, length = music.rate_hz, int(seconds * music.rate_hz)
    pieces = [(name, np.asarray(sound[:length])) for name, sound in music.pieces]
    chosen = torch.randint(len(pieces), (EXERCISES,), generator=rng).tolist()
    for number, piece in enumerate(chosen):
        hits = drum_hits(rng, HITS_S, rate)
        over = pieces[piece][1][: len(hits)].astype(np.float32) / FULL_SCALE
        mixed = MUSIC_GAIN * torch.from_numpy(over) + HITS_GAIN * hits[: len(over)]
        pieces.append((f"hits/{number}", _stored(hits)))
        pieces.append((f"hits over music/{number}", _stored(mixed.clamp(-1, 1))))
        pieces.append((f"notes/{number}", _stored(held_notes(rng, NOTES_S, rate))))
    return Pack(pieces, rate)


def add_envelope(
    music: str | Path,
    work: str | Path,
    *,
    model: str | Path = "default",
    minutes: float = 10.0,
    seconds: float = 8.0,
    seed: int = 0,
    log: Log | None = None,
) -> Path:
    """Train an envelope for ``model``; return ``work/model``. Resumes from ``work/state.pt``.

    music: a set that ``prepare`` wrote. minutes: of training. seconds: of each piece. Raises
    ValueError for a model whose codec is not of the spectral family, and for a set without music.
    """
    log = log or (lambda line: None)
    base = checkpoints.load_folder(checkpoints.resolve(model))
    if not isinstance(base.codec, SpectralCodec):
        raise UserError(f"the codec of '{model}' is {base.codec.family}; it must be spectral")
    train = Pack.load(music, "train")
    if not train.pieces:
        raise UserError(f"'{music}' has no music to train on")
    codec = with_envelope(base.codec)
    pack = examples_of(train, seconds, seed)
    log("computing what the decoder gives")
    depths = (codec.n_codebooks, len(codec.coarse_sizes))
    examples = [Examples(codec, pack, n) for n in depths]
    plan = EnvelopeTraining(minutes=minutes, seed=seed)
    train_envelope(codec, examples, plan, work, log)
    heard = hashlib.sha256(b"".join(np.ascontiguousarray(s).tobytes() for _, s in pack.pieces))
    metadata = {**base.config.get("metadata", {}), "envelope_trained_on_sha256": heard.hexdigest()}
    return checkpoints.save_folder(
        Path(work) / "model",
        codec,
        base.coarse,
        base.c2f,
        metadata=metadata,
        sampling=base.recommended,
        dtype=torch.float16,
    )
