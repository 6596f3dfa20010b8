"""A model from a folder of music: pack, codec, tokens, coarse, coarse-to-fine, weights.

Every stage leaves its result in the work folder and is skipped or resumed when it is run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from vampnet import checkpoints
from vampnet.codec import Codec, SpectralCodec
from vampnet.model import VampNet, VampNetConfig
from vampnet.training.data import MANIFEST, Pack, pack
from vampnet.training.decoder import DecoderTraining, train_decoder
from vampnet.training.masked import MaskedTraining, initialize, train_masked
from vampnet.training.quantizer import fit_quantizers
from vampnet.training.tokens import Tokens

Log = Callable[[object], None]

COARSE = VampNetConfig(
    n_codebooks=4,
    n_layers=6,
    n_heads=5,
    embedding_dim=320,
    latent_dim=16,
    dropout=0.0,
    embedding_kernel=7,
    tied_head_scale=8.0,
    window_frames=640,
)
FINE = replace(
    COARSE,
    n_codebooks=14,
    n_conditioning_codebooks=4,
    n_layers=4,
    n_heads=4,
    embedding_dim=256,
)


@dataclass(frozen=True)
class Recipe:
    """How the embedded default is made; see docs/training.md for what each stage costs.

    frame_step: every how many frames the quantisers are fitted to; iterations: of k-means.
    """

    decoder: DecoderTraining = DecoderTraining(steps=5000, learning_rate=1.5e-3)
    coarse: MaskedTraining = MaskedTraining(steps=3400)
    c2f: MaskedTraining = MaskedTraining(steps=2600, batch=10)
    frame_step: int = 10
    iterations: int = 15


def plan(steps: int | None = None, decoder_steps: int | None = None, **masked: float) -> Recipe:
    """The usual recipe with other numbers: of steps, and fields of both MaskedTraining plans.

    Raises ValueError for a number below 1 where one is counted, or a rate not above 0.
    """
    counts = {"steps": steps, "decoder_steps": decoder_steps, **masked}
    for name, value in counts.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} is {value}; it must be above 0")
    recipe = Recipe()
    changes: dict = dict(masked)
    if steps is not None:
        changes |= {"steps": steps, "warmup": min(recipe.coarse.warmup, max(1, steps // 10))}
    decoder = replace(recipe.decoder, steps=decoder_steps) if decoder_steps else recipe.decoder
    return replace(
        recipe,
        decoder=decoder,
        coarse=replace(recipe.coarse, **changes),
        c2f=replace(recipe.c2f, **changes),
    )


class CodecWindows:
    """Random windows of audio with their codes, for the decoder's training."""

    def __init__(self, pieces: Pack, codec: Codec, tokens: Tokens):
        self.pieces, self.hop, self.tokens = pieces, codec.hop_length, tokens

    def __call__(self, n_items: int, n_frames: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Audio, float (B, 1, T * hop), and codes, int64 (B, N, T)."""
        room = (self.tokens.starts.diff() - n_frames + 1).clamp(min=0).double()
        sounds, codes = [], []
        for piece in torch.multinomial(room, n_items, replacement=True, generator=rng).tolist():
            start = int(torch.randint(int(room[piece]), (), generator=rng))
            sounds.append(self.pieces.cut(piece, start * self.hop, n_frames * self.hop))
            first = int(self.tokens.starts[piece]) + start
            codes.append(self.tokens.codes[:, first : first + n_frames].long())
        return torch.stack(sounds)[:, None], torch.stack(codes)


def encode(pieces: Pack, codec: Codec) -> Tokens:
    """The codes of every piece of a pack."""
    return Tokens.join(
        [codec.encode(pieces.samples(i)[None, None])[0] for i in range(len(pieces.pieces))]
    )


def new_codec(pieces: Pack, recipe: Recipe) -> SpectralCodec:
    """A spectral codec with quantisers fitted to the pieces and an untrained decoder."""
    codec = SpectralCodec(sample_rate=pieces.rate_hz).eval()
    with torch.no_grad():
        levels = [_levels(codec, pieces.samples(i)) for i in range(len(pieces.pieces))]
        rng = torch.Generator().manual_seed(0)
        fit_quantizers(codec, levels, recipe.frame_step, recipe.iterations, rng)
    return codec


def _levels(codec: SpectralCodec, samples: Tensor) -> Tensor:
    samples = torch.nn.functional.pad(samples, (0, -len(samples) % codec.hop_length))
    return codec.analysis(samples[None])[0]


def train(
    music: str | Path,
    work: str | Path,
    recipe: Recipe,
    *,
    base: str | Path | None = "default",
    held_out: tuple[str, ...] = (),
    licence: str = "unstated",
    log: Log | None = None,
) -> Path:
    """Train on a folder of audio files; returns ``work/model``, a folder ``Pipeline.load`` reads.

    music: audio files, or a set that ``data.pack`` or ``vampnet prepare`` made, which is used as
    it is.

    base: the model to start from, whose codec is kept (fine-tuning); None = all from nothing, with
    a codec of its own. Raises ValueError where the folder has nothing to train on.
    """
    work, log = Path(work), log or (lambda line: None)
    codec, coarse, c2f = _start(base)
    folder = Path(music) if (Path(music) / MANIFEST).is_file() else work / "pack"
    if not (folder / MANIFEST).is_file():
        pack(music, folder, codec.sample_rate if codec else 44100, held_out, log)
    pieces = Pack.load(folder, "train")
    if codec is None:
        codec = _codec(pieces, work, recipe, log)
    tokens = _tokens(pieces, codec, work / "train.tokens")
    others = Pack.load(folder, "heldout")
    heldout = _tokens(others, codec, work / "heldout.tokens") if others.pieces else None
    stages = (("coarse", coarse, COARSE, recipe.coarse), ("c2f", c2f, FINE, recipe.c2f))
    models = []
    for name, model, config, plan in stages:
        if model is None:
            torch.manual_seed(plan.seed)
            model = VampNet(config)
            initialize(model, codec.codebooks)
        log(f"training {name}")
        models.append(train_masked(model, tokens, heldout, plan, work / name, log))
    digest = hashlib.sha256((work / "train.tokens").read_bytes()).hexdigest()
    metadata = {"licence": licence, "training_tokens_sha256": digest}
    return checkpoints.save_folder(
        work / "model", codec, models[0], models[1], metadata=metadata, dtype=torch.float16
    )


def _start(base: str | Path | None) -> tuple[Codec | None, VampNet | None, VampNet | None]:
    if base is None:
        return None, None, None
    parts = checkpoints.load_folder(checkpoints.resolve(base))
    return parts.codec, parts.coarse, parts.c2f


def _codec(pieces: Pack, work: Path, recipe: Recipe, log: Log) -> SpectralCodec:
    """Fit and train a codec, or take up the one in the work folder."""
    folder = work / "codec"
    if (folder / checkpoints.CONFIG).is_file():
        codec = cast(SpectralCodec, checkpoints.load_codec(folder))
    else:
        log("fitting the codec's quantisers")
        codec = new_codec(pieces, recipe)
        checkpoints.save_folder(folder, codec)
    tokens = _tokens(pieces, codec, work / "train.tokens")
    log("training the codec's decoder")
    return train_decoder(codec, CodecWindows(pieces, codec, tokens), recipe.decoder, folder, log)


def _tokens(pieces: Pack, codec: Codec, path: Path) -> Tokens:
    if not path.is_file():
        encode(pieces, codec).save(path)
    return Tokens.load(path)
