"""A model from a folder of music: pack, codec, tokens, coarse, coarse-to-fine, weights.

Every stage leaves its result in the work folder and is skipped or resumed when it is run again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from vampnet import checkpoints
from vampnet.codec import Codec, SpectralCodec
from vampnet.model import VampNet, VampNetConfig
from vampnet.system.errors import UserError
from vampnet.training import datapack, provenance
from vampnet.training.codebook_fitting import fit_quantizers, fitting_step
from vampnet.training.data import MANIFEST, Pack, pack
from vampnet.training.decoder import CodecWindows, DecoderTraining, train_decoder
from vampnet.training.encoding import encode, of_others, tokens_of
from vampnet.training.masked import MaskedTraining, initialize, train_masked
from vampnet.training.provenance import passed_on
from vampnet.training.tokens import Tokens, check_windows

Log = Callable[[object], None]
Parts = tuple[Codec, VampNet | None, VampNet | None]  # codec, coarse, coarse-to-fine
USUAL = ""  # no base was asked for: the default is taken where one is needed

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


# Of the minutes of a timed training; the rest is for reading, saving and measuring.
SHARES = {"decoder": 0.42, "coarse": 0.32, "c2f": 0.2}


@dataclass(frozen=True)
class Recipe:
    """How a model like the embedded default is made on a CPU; docs/training.md tells what was run.

    frame_step: every how many frames at most the quantisers are fitted to; iterations: of k-means.
    """

    decoder: DecoderTraining = DecoderTraining(steps=5000, learning_rate=1.5e-3)
    coarse: MaskedTraining = MaskedTraining(steps=3400)
    c2f: MaskedTraining = MaskedTraining(steps=2600, batch=10)
    frame_step: int = 10
    iterations: int = 15


# What an accelerator takes: larger batches and longer windows, reports and states less often.
_RARELY = {"report_every": 1000, "save_every": 10_000}
LARGE = Recipe(
    decoder=DecoderTraining(batch=48, learning_rate=2e-3, warmup=300, **_RARELY),
    coarse=MaskedTraining(batch=64, frames=144, learning_rate=1e-3, **_RARELY),
    c2f=MaskedTraining(batch=48, frames=144, learning_rate=1e-3, **_RARELY),
)


def plan(
    steps: int | None = None,
    decoder_steps: int | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    **masked: float,
) -> Recipe:
    """The usual recipe with other numbers: of steps, and fields of both MaskedTraining plans.

    minutes: of wall time for everything, in place of steps. On a CUDA device batches are larger.
    Raises ValueError for a number below 1 where one is counted, or one not above 0.
    """
    counts = {"steps": steps, "decoder_steps": decoder_steps, "minutes": minutes, **masked}
    for name, value in counts.items():
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{name} is {value}; it must be above 0, and not without end")
    recipe = LARGE if device.startswith("cuda") else Recipe()
    changes: dict = dict(masked)
    if steps is not None:
        changes |= {"steps": steps, "warmup": min(recipe.coarse.warmup, max(1, steps // 10))}
    decoder = replace(recipe.decoder, steps=decoder_steps) if decoder_steps else recipe.decoder
    coarse, c2f = replace(recipe.coarse, **changes), replace(recipe.c2f, **changes)
    if minutes is not None:
        decoder, coarse, c2f = (
            replace(stage, minutes=minutes * share)
            for stage, share in zip((decoder, coarse, c2f), SHARES.values(), strict=True)
        )
    return replace(recipe, decoder=decoder, coarse=coarse, c2f=c2f)


def new_codec(pieces: Pack, recipe: Recipe) -> SpectralCodec:
    """A spectral codec with quantisers fitted to the pieces and an untrained decoder.

    Raises ValueError, naming the minutes it takes, where the pieces are too short together.
    """
    codec = SpectralCodec(sample_rate=pieces.rate_hz).eval()
    rows, frame_s = codec.vocab_size, codec.hop_length / pieces.rate_hz
    n_frames = sum(-(-len(sound) // codec.hop_length) for _, sound in pieces.pieces)
    if n_frames < rows:
        least = math.ceil(10 * rows * frame_s / 60) / 10
        raise UserError(
            f"there are {n_frames * frame_s / 60:.1f} minutes of music to train on; a codec of its "
            f"own takes {least:.1f} minutes and more, or go on from a model (without --base none)"
        )
    step = fitting_step(n_frames, rows, recipe.frame_step)
    with torch.no_grad():
        levels = [_levels(codec, pieces.samples(i)) for i in range(len(pieces.pieces))]
        rng = torch.Generator().manual_seed(0)
        fit_quantizers(codec, levels, step, recipe.iterations, rng)
    return codec


def _levels(codec: SpectralCodec, samples: Tensor) -> Tensor:
    samples = torch.nn.functional.pad(samples, (0, -len(samples) % codec.hop_length))
    return codec.analysis(samples[None])[0]


def train(
    music: str | Path,
    work: str | Path,
    recipe: Recipe,
    *,
    base: str | Path | None = USUAL,
    held_out: tuple[str, ...] = (),
    licence: str = "",
    device: str = "cpu",
    log: Log | None = None,
) -> Path:
    """Train on a folder of audio files; returns ``work/model``, which ``from_pretrained`` reads.

    music: audio files, or a set made by ``data.pack`` or ``recipes.default_model prepare``, which
    is used as it is; or a data pack, one file (``datapack``), whose codec is taken, its decoder
    trained on, and whose masked models start from nothing. base: the model to start from
    otherwise, whose codec is kept (fine-tuning); USUAL = "default"; None = all from nothing, with a
    codec of its own.
    licence: of the weights; "" = the base's, or that of the base of a data pack's codec. Raises
    ValueError where there is nothing to train on, for a base or held-out words that would mean
    nothing for this music, and where ``work`` holds a run that was begun with something else.
    """
    music, work, log = Path(music), Path(work), log or (lambda line: None)
    carried = music.is_file()
    _check_told(music, base, held_out)
    start = None if carried or base is None else provenance.start_of(base or "default")
    passed = provenance.start_in(music) if carried else start  # whose terms go on with the weights
    provenance.check(work, provenance.origin(music, start, held_out), log)
    if carried:
        (codec, coarse, c2f), tokens, heldout = _carried(music, work, recipe, device, log)
    else:
        (codec, coarse, c2f), tokens, heldout = _gathered(
            music, work, recipe, start, held_out, device, log
        )
    if coarse is not None or not isinstance(codec, SpectralCodec):
        recipe = _without_decoder(recipe)
    codec, models = codec.cpu(), []
    for name, model, config, plan in (
        ("coarse", coarse, COARSE, recipe.coarse),
        ("c2f", c2f, FINE, recipe.c2f),
    ):
        log(f"training {name}")
        model = model or _new_model(config, codec, plan)
        models.append(train_masked(model.to(device), tokens, heldout, plan, work / name, log).cpu())
    digest = hashlib.sha256((work / "train.tokens").read_bytes()).hexdigest()
    metadata = {**provenance.terms(licence, passed), "training_tokens_sha256": digest}
    made = _save(work / "model", (codec, models[0], models[1]), metadata, recipe)
    credit = _credit(music)
    if passed:
        credit = passed_on(passed.name, passed.licence, passed.credit, credit)
    if credit:
        (made / checkpoints.ATTRIBUTION).write_text(credit, encoding="utf-8")
    return made


def _save(folder: Path, parts: Parts, metadata: dict, recipe: Recipe) -> Path:
    try:
        return checkpoints.save_folder(folder, *parts, metadata=metadata, dtype=torch.float16)
    except checkpoints.CheckpointError as error:
        raise UserError(
            f"the trained weights cannot be kept: {error}; the likely reason is a learning rate "
            f"that is too high ({recipe.coarse.learning_rate:g}): take another WORK and a lower "
            "--learning-rate"
        ) from None


def _check_told(music: Path, base: str | Path | None, held_out: tuple[str, ...]) -> None:
    """ValueError for a base or held-out words that this music leaves without a meaning."""
    carried = music.is_file()
    if carried and base != USUAL:
        raise UserError(
            f"the base '{base or 'none'}' means nothing for the data pack '{music}', which brings "
            "its codec and whose models start from nothing; leave out --base"
        )
    if held_out and (carried or (music / MANIFEST).is_file()):
        raise UserError(
            f"the held-out words {', '.join(held_out)} mean nothing for '{music}', which tells by "
            "itself what is held out; leave out --held-out"
        )


def _credit(music: Path) -> str:
    """Who made the music, where a prepared set or a data pack tells it."""
    if music.is_file():
        return datapack.credit(music)
    notes = music / checkpoints.ATTRIBUTION
    return notes.read_text(encoding="utf-8") if notes.is_file() else ""


def _without_decoder(recipe: Recipe) -> Recipe:
    """The decoder's share of the minutes for the masked models, where they alone are trained."""
    share = 1 + recipe.decoder.minutes / max(1e-9, recipe.coarse.minutes + recipe.c2f.minutes)
    coarse, c2f = (replace(p, minutes=p.minutes * share) for p in (recipe.coarse, recipe.c2f))
    return replace(recipe, coarse=coarse, c2f=c2f)


def _windows(recipe: Recipe) -> dict[str, int]:
    return {"coarse": recipe.coarse.frames, "c2f": recipe.c2f.frames}


def _frame_s(codec: Codec) -> float:
    return codec.hop_length / codec.sample_rate


def _carried(
    file: Path, work: Path, recipe: Recipe, device: str, log: Log
) -> tuple[Parts, Tokens, Tokens | None]:
    """Codec, its decoder trained, and tokens of a data pack."""
    material = datapack.read(file)
    codec = material.codec
    check_windows(material.tokens, _windows(recipe), _frame_s(codec), log)
    path = work / "train.tokens"
    if path.is_file() and not torch.equal(Tokens.load(path).codes, material.tokens.codes):
        raise of_others(path)
    material.tokens.save(path)
    if isinstance(codec, SpectralCodec):
        _train_decoder(codec.to(device), material.clips, material.clip_tokens, recipe, work, log)
    return (codec, None, None), material.tokens, material.heldout


def _gathered(
    music: Path,
    work: Path,
    recipe: Recipe,
    start: provenance.Start | None,
    held_out: tuple[str, ...],
    device: str,
    log: Log,
) -> tuple[Parts, Tokens, Tokens | None]:
    """Codec, models to go on from, and tokens of a folder of audio files or of a prepared set."""
    codec, coarse, c2f = None, None, None
    if start and start.parts:
        codec, coarse, c2f = start.parts.codec, start.parts.coarse, start.parts.c2f
    folder = music if (music / MANIFEST).is_file() else work / "pack"
    if not (folder / MANIFEST).is_file():
        pack(music, folder, codec.sample_rate if codec else 44100, held_out, log)
    pieces, others = Pack.load(folder, "train"), Pack.load(folder, "heldout")
    fitted = None if codec else _fitted(pieces, work, recipe, log)
    codec = codec or fitted
    assert codec is not None
    tokens = tokens_of(pieces, codec, work / "train.tokens")
    windows = ({"decoder": recipe.decoder.frames} if fitted else {}) | _windows(recipe)
    check_windows(tokens, windows, _frame_s(codec), log)
    if fitted:
        _train_decoder(fitted.to(device), pieces, tokens, recipe, work, log)
    heldout = tokens_of(others, codec, work / "heldout.tokens") if others.pieces else None
    return (codec, coarse, c2f), tokens, heldout


def _new_model(config: VampNetConfig, codec: Codec, plan: MaskedTraining) -> VampNet:
    torch.manual_seed(plan.seed)
    model = VampNet(config)
    initialize(model, codec.codebooks)
    return model


def _fitted(pieces: Pack, work: Path, recipe: Recipe, log: Log) -> SpectralCodec:
    """A codec whose decoder is to be trained, or the one in the work folder."""
    folder = work / "codec"
    if (folder / checkpoints.CONFIG).is_file():
        return cast(SpectralCodec, checkpoints.load_codec(folder))
    log("fitting the codec's quantisers")
    codec = new_codec(pieces, recipe)
    checkpoints.save_folder(folder, codec)
    return codec


def _train_decoder(
    codec: SpectralCodec, pieces: Pack, tokens: Tokens, recipe: Recipe, work: Path, log: Log
) -> None:
    log("training the codec's decoder")
    windows = CodecWindows(pieces, codec, tokens)
    train_decoder(codec, windows, recipe.decoder, work / "codec", log)


def pack_up(
    music: str | Path,
    target: str | Path,
    *,
    base: str | Path = "default",
    max_mib: float = datapack.MAX_MIB,
    log: Log | None = None,
) -> Path:
    """A prepared set as a data pack for :func:`train`, with the codec of ``base`` and its terms.

    max_mib: the largest file. Raises ValueError where ``music`` is no set of ``data.pack`` or
    ``recipes.default_model prepare``, and for a size that is no number above 0.
    """
    if not max_mib > 0:
        raise UserError(f"max_mib is {max_mib}; it must be above 0")
    music, log = Path(music), log or (lambda line: None)
    if not (music / MANIFEST).is_file():
        raise UserError(
            f"'{music}' has no {MANIFEST}; make it one with: recipes.default_model prepare"
        )
    codec = checkpoints.load_codec(checkpoints.resolve(base))
    sets = {split: Pack.load(music, split) for split in ("train", "heldout")}
    log("encoding")
    tokens = {split: encode(found, codec) for split, found in sets.items() if found.pieces}
    return datapack.write(
        sets["train"],
        tokens,
        codec,
        target,
        attribution=_credit(music),
        base=provenance.told_of(base).told(),
        max_mib=max_mib,
        log=log,
    )
