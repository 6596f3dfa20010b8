"""Training a model from a folder of music: pack, codec, tokens, coarse, coarse-to-fine, weights.

Every stage writes its result to the work folder and is skipped or resumed when it is run again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
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
from vampnet.training.decoder import CodecWindows, train_decoder
from vampnet.training.encoding import different_source_error, encode, encode_or_load
from vampnet.training.masked import MaskedTraining, initialize, train_masked
from vampnet.training.provenance import combined_attribution
from vampnet.training.settings import COARSE, FINE, Recipe
from vampnet.training.tokens import Tokens, check_windows

Log = Callable[[object], None]
CodecAndModels = tuple[Codec, VampNet | None, VampNet | None]  # codec, coarse, coarse-to-fine
DEFAULT_BASE = ""  # not stated by the user: "default" where a base is needed


def new_codec(pieces: Pack, recipe: Recipe) -> SpectralCodec:
    """Make a spectral codec with quantisers fitted to the pieces and an untrained decoder.

    Args:
        pieces: the training set.
        recipe: ``frame_step`` and ``iterations`` are used.

    Raises:
        UserError: where the set is too short; names the minutes that are needed.
    """
    codec = SpectralCodec(sample_rate=pieces.rate_hz).eval()
    rows, frame_s = codec.vocab_size, codec.hop_length / pieces.rate_hz
    n_frames = sum(-(-len(sound) // codec.hop_length) for _, sound in pieces.pieces)
    if n_frames < rows:
        least = math.ceil(10 * rows * frame_s / 60) / 10
        raise UserError(
            f"there are {n_frames * frame_s / 60:.1f} minutes of music; a new codec needs at least "
            f"{least:.1f} minutes; use more music, or fine-tune a model (without --base none)"
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
    base: str | Path | None = DEFAULT_BASE,
    held_out: tuple[str, ...] = (),
    licence: str = "",
    device: str = "cpu",
    log: Log | None = None,
) -> Path:
    """Train on a folder of audio files; returns ``work/model``, which ``from_pretrained`` reads.

    Args:
        music: a folder of audio files, or a set made by ``data.pack`` or ``recipes.default_model
            prepare``; or a data pack, one file (``datapack``), whose codec is used, with further
            training of its decoder, and whose masked models start from random weights.
        work: the work folder.
        recipe: settings of all stages.
        base: the model to fine-tune, whose codec is kept; DEFAULT_BASE = "default"; None = random
            weights and a new codec. Not allowed for a data pack.
        held_out: see ``data.pack``; not allowed for a prepared set or a data pack.
        licence: of the weights; "" = that of the base, or of the model of a data pack's codec.
        device, log: where the training runs; gets the lines of the log.

    Raises:
        UserError: where there is nothing to train on, for arguments that do not apply to this
            music, and where ``work`` has a run with another base or music.
    """
    music, work, log = Path(music), Path(work), log or (lambda line: None)
    _check_arguments(music, base, held_out)
    is_datapack = music.is_file()
    start = None if is_datapack or base is None else provenance.load_base(base or "default")
    # the model whose terms apply to the new weights
    terms_of = provenance.provenance_in_datapack(music) if is_datapack else start
    provenance.check_run(work, provenance.run_origin(music, start, held_out), log)
    if is_datapack:
        parts, tokens, heldout = _from_datapack(music, work, recipe, device, log)
    else:
        parts, tokens, heldout = _from_audio(music, work, recipe, start, held_out, device, log)
    if parts[1] is not None or not isinstance(parts[0], SpectralCodec):
        recipe = _without_decoder(recipe)
    trained = _train_models(parts, tokens, heldout, work, recipe, device, log)
    return _write_model(work, trained, recipe, licence, terms_of, _credit(music))


def _write_model(
    work: Path,
    trained: CodecAndModels,
    recipe: Recipe,
    licence: str,
    terms_of: provenance.Provenance | None,
    credit: str,
) -> Path:
    """Write ``work/model`` with licence and attribution; credit: that of the music."""
    digest = hashlib.sha256((work / "train.tokens").read_bytes()).hexdigest()
    terms = provenance.licence_metadata(licence, terms_of)
    metadata = {**terms, "training_tokens_sha256": digest}
    folder = _save(work / "model", trained, metadata, recipe)
    if terms_of:
        credit = combined_attribution(terms_of.name, terms_of.licence, terms_of.credit, credit)
    if credit:
        (folder / checkpoints.ATTRIBUTION).write_text(credit, encoding="utf-8")
    return folder


def _train_models(
    parts: CodecAndModels,
    tokens: Tokens,
    heldout: Tokens | None,
    work: Path,
    recipe: Recipe,
    device: str,
    log: Log,
) -> CodecAndModels:
    """Train the coarse and the coarse-to-fine model, new ones where there are none yet."""
    codec, coarse, c2f = parts
    codec, models = codec.cpu(), []
    for name, model, config, plan in (
        ("coarse", coarse, COARSE, recipe.coarse),
        ("c2f", c2f, FINE, recipe.c2f),
    ):
        log(f"training {name}")
        model = model or _new_model(config, codec, plan)
        models.append(train_masked(model.to(device), tokens, heldout, plan, work / name, log).cpu())
    return codec, models[0], models[1]


def _save(folder: Path, parts: CodecAndModels, metadata: dict, recipe: Recipe) -> Path:
    try:
        return checkpoints.save_folder(folder, *parts, metadata=metadata, dtype=torch.float16)
    except checkpoints.CheckpointError as error:
        raise UserError(
            f"the trained weights cannot be stored: {error}; the likely reason is a learning rate "
            f"that is too high ({recipe.coarse.learning_rate:g}): use another WORK and a lower "
            "--learning-rate"
        ) from None


def _check_arguments(music: Path, base: str | Path | None, held_out: tuple[str, ...]) -> None:
    """Raise UserError for a base or held-out words that do not apply to this music."""
    is_datapack = music.is_file()
    if is_datapack and base != DEFAULT_BASE:
        raise UserError(
            f"the base '{base or 'none'}' does not apply to the data pack '{music}', which has its "
            "own codec and starts from random weights; omit --base"
        )
    if held_out and (is_datapack or (music / MANIFEST).is_file()):
        raise UserError(
            f"the held-out words {', '.join(held_out)} do not apply to '{music}', which defines "
            "what is held out; omit --held-out"
        )


def _credit(music: Path) -> str:
    """Attribution of the music, where a prepared set or a data pack has one."""
    if music.is_file():
        return datapack.read_attribution(music)
    notes = music / checkpoints.ATTRIBUTION
    return notes.read_text(encoding="utf-8") if notes.is_file() else ""


def _without_decoder(recipe: Recipe) -> Recipe:
    """Give the decoder's minutes to the masked models, where the decoder is not trained."""
    share = 1 + recipe.decoder.minutes / max(1e-9, recipe.coarse.minutes + recipe.c2f.minutes)
    coarse, c2f = (replace(p, minutes=p.minutes * share) for p in (recipe.coarse, recipe.c2f))
    return replace(recipe, coarse=coarse, c2f=c2f)


def _windows(recipe: Recipe) -> dict[str, int]:
    return {"coarse": recipe.coarse.frames, "c2f": recipe.c2f.frames}


def _frame_s(codec: Codec) -> float:
    return codec.hop_length / codec.sample_rate


def _from_datapack(
    file: Path, work: Path, recipe: Recipe, device: str, log: Log
) -> tuple[CodecAndModels, Tokens, Tokens | None]:
    """Codec, with its decoder trained, and tokens of a data pack."""
    content = datapack.read(file)
    codec = content.codec
    check_windows(content.tokens, _windows(recipe), _frame_s(codec), log)
    path = work / "train.tokens"
    if path.is_file() and not torch.equal(Tokens.load(path).codes, content.tokens.codes):
        raise different_source_error(path)
    content.tokens.save(path)
    if isinstance(codec, SpectralCodec):
        _train_decoder(codec.to(device), content.clips, content.clip_tokens, recipe, work, log)
    return (codec, None, None), content.tokens, content.heldout


def _from_audio(
    music: Path,
    work: Path,
    recipe: Recipe,
    start: provenance.Provenance | None,
    held_out: tuple[str, ...],
    device: str,
    log: Log,
) -> tuple[CodecAndModels, Tokens, Tokens | None]:
    """Codec, models to fine-tune, and tokens of a folder of audio files or of a prepared set."""
    codec, coarse, c2f = None, None, None
    if start and start.parts:
        codec, coarse, c2f = start.parts.codec, start.parts.coarse, start.parts.c2f
    folder = music if (music / MANIFEST).is_file() else work / "pack"
    if not (folder / MANIFEST).is_file():
        pack(music, folder, codec.sample_rate if codec else 44100, held_out, log)
    pieces, others = Pack.load(folder, "train"), Pack.load(folder, "heldout")
    fitted = None if codec else _fit_codec(pieces, work, recipe, log)
    codec = codec or fitted
    assert codec is not None
    tokens = encode_or_load(pieces, codec, work / "train.tokens")
    windows = ({"decoder": recipe.decoder.frames} if fitted else {}) | _windows(recipe)
    check_windows(tokens, windows, _frame_s(codec), log)
    if fitted:
        _train_decoder(fitted.to(device), pieces, tokens, recipe, work, log)
    heldout = encode_or_load(others, codec, work / "heldout.tokens") if others.pieces else None
    return (codec, coarse, c2f), tokens, heldout


def _new_model(config: VampNetConfig, codec: Codec, plan: MaskedTraining) -> VampNet:
    torch.manual_seed(plan.seed)
    model = VampNet(config)
    initialize(model, codec.codebooks)
    return model


def _fit_codec(pieces: Pack, work: Path, recipe: Recipe, log: Log) -> SpectralCodec:
    """A new codec with an untrained decoder, or the one in the work folder."""
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


def write_datapack(
    music: str | Path,
    target: str | Path,
    *,
    base: str | Path = "default",
    max_mib: float = datapack.MAX_MIB,
    log: Log | None = None,
) -> Path:
    """Write a prepared set as a data pack with the codec of ``base``, and return ``target``.

    Args:
        music: a set made by ``data.pack`` or ``recipes.default_model prepare``.
        target: the file to write.
        base: the model whose codec and terms are used.
        max_mib: largest size of the file.
        log: gets lines of text.

    Raises:
        UserError: where ``music`` is not such a set, and for a size that is not above 0.
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
    terms = provenance.provenance_of(base).to_json()
    return datapack.write(
        sets["train"], tokens, codec, target,
        attribution=_credit(music), base=terms, max_mib=max_mib, log=log,
    )  # fmt: skip
