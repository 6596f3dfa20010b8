"""Add an envelope to a model's codec; tokens, masked models and spectra are unchanged.

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

BLOCKS = (4, 8, 8)  # per frame, by band: 4.4 ms below 1 kHz, 2.2 ms above
EXERCISES = 12  # of each kind
HITS_S, NOTES_S = 30.0, 10.0
MUSIC_GAIN, HITS_GAIN = 0.4, 0.8  # of hits over music
Log = Callable[[object], None]


def with_envelope(codec: SpectralCodec, blocks: tuple[int, ...] = BLOCKS) -> SpectralCodec:
    """Return a copy of the codec with an untrained envelope of ``blocks`` per frame and band."""
    made = SpectralCodec(**{**codec.kwargs, "envelope_blocks": blocks})
    made.load_state_dict(codec.state_dict(), strict=False)
    return made.eval()


def _to_int16(audio: Tensor) -> np.ndarray:
    return (audio * FULL_SCALE).round().numpy().astype(np.int16)


def examples_of(music: Pack, seconds: float, seed: int) -> Pack:
    """Return training audio: excerpts, synthetic hits and notes, and hits mixed with music.

    Args:
        music: the pieces; the first ``seconds`` of each are used.
        seconds: per piece, at most.
        seed: of the synthetic audio.

    Returns:
        The excerpts, then the synthetic pieces.
    """
    rng = torch.Generator().manual_seed(seed)
    rate, length = music.rate_hz, int(seconds * music.rate_hz)
    pieces = [(name, np.asarray(audio[:length])) for name, audio in music.pieces]
    chosen = torch.randint(len(pieces), (EXERCISES,), generator=rng).tolist()
    for number, piece in enumerate(chosen):
        hits = drum_hits(rng, HITS_S, rate)
        over = pieces[piece][1][: len(hits)].astype(np.float32) / FULL_SCALE
        mixed = MUSIC_GAIN * torch.from_numpy(over) + HITS_GAIN * hits[: len(over)]
        pieces.append((f"hits/{number}", _to_int16(hits)))
        pieces.append((f"hits over music/{number}", _to_int16(mixed.clamp(-1, 1))))
        pieces.append((f"notes/{number}", _to_int16(held_notes(rng, NOTES_S, rate))))
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

    Args:
        music: a set that ``prepare`` wrote.
        work: the folder to write.
        model: a name or folder; its codec is of the spectral family.
        minutes: of training.
        seconds: used of each piece.
        seed: of the synthetic audio and the training.
        log: called with lines and with the training's reports.

    Returns:
        The folder of the new model.

    Raises:
        ValueError: for a codec of another family and for a set without music.
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
    log("computing the decoder's features")
    depths = (codec.n_codebooks, len(codec.coarse_sizes))
    examples = [Examples(codec, pack, n) for n in depths]
    plan = EnvelopeTraining(minutes=minutes, seed=seed)
    train_envelope(codec, examples, plan, work, log)
    audio = hashlib.sha256(b"".join(np.ascontiguousarray(s).tobytes() for _, s in pack.pieces))
    metadata = {**base.config.get("metadata", {}), "envelope_trained_on_sha256": audio.hexdigest()}
    return checkpoints.save_folder(
        Path(work) / "model",
        codec,
        base.coarse,
        base.c2f,
        metadata=metadata,
        sampling=base.recommended,
        dtype=torch.float16,
    )
