"""Model folders: ours (safetensors + JSON) and those of the original VampNet's .pth files.

Our folder has `config.json` (format, families and sizes, licence and provenance),
`codec.safetensors`, `coarse.safetensors` and, optionally, `c2f.safetensors`, stored as float16 or
float32 and loaded as float32. The original's folder has `codec.pth`, `coarse.pth`, `c2f.pth` and
`loras/NAME/{coarse,c2f}.pth`. Invalid files raise CheckpointError, a ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch

from vampnet.checkpoints import download, original_names
from vampnet.checkpoints.weight_files import (
    CheckpointError,
    State,
    load_state,
    prefix_errors,
    read_safetensors,
    read_torch,
)
from vampnet.codec import FAMILIES, Codec
from vampnet.model import VampNet, VampNetConfig, lora
from vampnet.model.recommended import FAMILY, RecommendedSampling

FORMAT = "vampnet"
VERSION = 1
CONFIG = "config.json"
ATTRIBUTION = "ATTRIBUTION.md"  # next to the weights: the authors of the training music
STAGES = ("coarse", "c2f")
BUILT_IN = Path(__file__).parents[1] / "weights"  # models inside the package

Result = TypeVar("Result")


@dataclass(frozen=True)
class ModelParts:
    """The models of a folder, in evaluation mode, and its config.

    Attributes:
        codec, coarse: the models.
        c2f: None where the folder has none.
        config: content of ``config.json``.
        recommended: sampling settings of the models.
    """

    codec: Codec
    coarse: VampNet
    c2f: VampNet | None
    config: dict[str, Any]
    recommended: RecommendedSampling = FAMILY


# Folders -----------------------------------------------------------------------------------------


def models() -> dict[str, Path]:
    """Return the folders by name that :func:`resolve` knows: inside the package, and downloaded."""
    inside = {file.parent.name: file.parent for file in sorted(BUILT_IN.glob(f"*/{CONFIG}"))}
    return inside | {n: at for n, at in download.installed_models().items() if n not in inside}


def resolve(name_or_folder: str | Path) -> Path:
    """Return the folder of a model.

    Args:
        name_or_folder: "default" or another name of :func:`models`, or a folder.

    Raises:
        CheckpointError: for an unknown name; lists the known ones.
    """
    known = models()
    if not isinstance(name_or_folder, str | PathLike):
        raise CheckpointError(f"the model is {name_or_folder!r}; give a name or a folder")
    if str(name_or_folder) in known:
        return known[str(name_or_folder)]
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return folder
    names = ", ".join(known) or "none"
    hint = "; `vampnet models pull` fetches it" if str(name_or_folder) in download.SOURCES else ""
    name = repr(str(name_or_folder))
    raise CheckpointError(f"no model {name}: give a folder or one of: {names}{hint}")


def load_folder(folder: str | Path, device: str | torch.device = "cpu") -> ModelParts:
    """Load codec, coarse and (where present) coarse-to-fine model of our or the original's folder.

    In `loras/NAME` of an original folder, the files there take precedence over the main ones: a
    complete checkpoint replaces its model, adapters are merged into it.

    Args:
        folder: a model folder.
        device: where the models are moved to.

    Raises:
        CheckpointError: for missing or invalid files.
    """
    folder = Path(folder)
    codec = load_codec(folder)
    coarse = _load_stage(folder, "coarse", codec)
    if coarse is None:
        raise CheckpointError(f"{folder} has no coarse model (coarse.safetensors or .pth)")
    c2f = _load_stage(folder, "c2f", codec)
    if (folder / CONFIG).is_file():
        config = _read_config(folder)
    else:
        config = describe(codec, coarse, c2f, {"source": "original .pth files"})
    for part in (codec, coarse, c2f):
        if part is not None:
            part.to(device)
    return ModelParts(codec, coarse, c2f, config, recommended_of(folder))


# Single files ------------------------------------------------------------------------------------


def load_codec(path: str | Path) -> Codec:
    """Load a codec from a model folder, a `codec.safetensors`, or a LAC or DAC .pth file.

    Raises:
        CheckpointError: for missing or invalid files.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        path = path.parent
    if path.is_dir() and not (path / CONFIG).is_file():
        found = find_file(path, "codec.pth")
        if found is None:
            raise CheckpointError(f"{path} is not a model folder: no {CONFIG}, no codec.pth")
        path = found
    if not path.is_dir():
        family, kwargs, state = prefix_errors(path, original_names.read_codec, read_torch(path))
        return load_state(_build(FAMILIES[family], kwargs, path), state, path)
    entry = _entry(path, "codec")
    if not isinstance(entry.get("family"), str) or entry["family"] not in FAMILIES:
        raise CheckpointError(
            f"{path / CONFIG}: codec family {entry.get('family')!r} is not one of {list(FAMILIES)}"
        )
    kwargs = entry.get("kwargs", {})
    codec = _build(FAMILIES[entry["family"]], kwargs, path / CONFIG)
    weights = path / "codec.safetensors"
    return load_state(codec, read_safetensors(weights), weights)


def load_vampnet(path: str | Path, codec: Codec, *, adapters: str | Path | None = None) -> VampNet:
    """Load a masked model from our `{coarse,c2f}.safetensors` or the original's .pth file.

    Low-rank adapters are merged into the weights: added once, as the original does, even if a file
    was saved with merged adapters (files do not record that).

    Args:
        path: the weight file.
        codec: provides the codebook vectors.
        adapters: a file of the original with low-rank adapters only, to merge too.

    Raises:
        CheckpointError: for missing or invalid files, and a codec of other sizes.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        kwargs = _entry(path.parent, path.stem)
        state, own = read_safetensors(path), {}
    else:
        kwargs, state, own = prefix_errors(path, original_names.read_vampnet, read_torch(path))
    config = _build(VampNetConfig, kwargs, path)
    _check_codec(config, codec, path)
    with torch.device("meta"):  # skips the random initialisation
        model = _build(VampNet, {"config": config}, path)
    state["codebooks"] = codec.codebooks[: config.n_codebooks].detach().clone()
    load_state(model, state, path)
    if own:
        _merge_adapters(model, own, path)
    if adapters is not None:
        path = Path(adapters)
        bare = prefix_errors(path, original_names.read_adapters, read_torch(path))
        _merge_adapters(model, bare, path)
    return model


# Reading -----------------------------------------------------------------------------------------


def _load_stage(folder: Path, stage: str, codec: Codec) -> VampNet | None:
    path = folder / f"{stage}.safetensors"
    adapters: Path | None = None
    if (folder / CONFIG).is_file():
        if _read_config(folder).get(stage) is None:
            return None
    else:
        found = find_file(folder, f"{stage}.pth")
        if found is None:
            return None
        path = found
        if path.parent.parent.name == "loras" and original_names.is_adapters_only(read_torch(path)):
            path, adapters = path.parents[2] / path.name, path
    model = load_vampnet(path, codec, adapters=adapters)
    conditioning = model.config.n_conditioning_codebooks
    if (stage == "coarse") != (conditioning == 0):
        kind = "a coarse-to-fine" if conditioning else "a coarse"
        raise CheckpointError(
            f"{path} is {kind} model ({conditioning} conditioning codebooks), not a {stage} one"
        )
    return model


def recommended_of(name_or_folder: str | Path) -> RecommendedSampling:
    """Return the recommended sampling of a model, without loading its weights.

    Raises:
        CheckpointError: for an unknown model or a config that cannot be read.
    """
    folder = resolve(name_or_folder)
    config = _read_config(folder) if (folder / CONFIG).is_file() else {}
    try:
        return RecommendedSampling.from_config(config.get("sampling"))
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from None


def is_model_folder(folder: Path) -> bool:
    """Return whether a folder has a model: ours, the original's or one of its ``loras``."""
    return (folder / CONFIG).is_file() or find_file(folder, "codec.pth") is not None


def find_file(folder: Path, name: str) -> Path | None:
    """Return a file in the folder or, for `loras/NAME`, otherwise in the main folder."""
    folder = folder.resolve()
    candidates = [folder, folder.parents[1]] if folder.parent.name == "loras" else [folder]
    return next((c / name for c in candidates if (c / name).is_file()), None)


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return the metadata of a model folder's config; empty for an original folder."""
    return _read_config(folder).get("metadata", {}) if (folder / CONFIG).is_file() else {}


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not the config of a {FORMAT} model")
    if config.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has format version {config.get('version')}; this program reads {VERSION}"
        )
    if not isinstance(config.get("metadata", {}), dict):
        raise CheckpointError(f"{path}: metadata is {config['metadata']!r}; it must be an object")
    return config


def _entry(folder: Path, name: str) -> dict[str, Any]:
    entry = _read_config(folder).get(name)
    if not isinstance(entry, dict):
        raise CheckpointError(f"{folder / CONFIG} has no entry {name!r}")
    return entry


# Weights into modules ----------------------------------------------------------------------------


def _merge_adapters(model: VampNet, adapters: State, path: Path) -> None:
    prefix_errors(path, lora.apply, model, prefix_errors(path, lora.config_from_state, adapters))
    prefix_errors(path, lora.load, model, adapters)
    lora.merge(model)


def _check_codec(config: VampNetConfig, codec: Codec, path: Path) -> None:
    n_codebooks, vocab_size, latent_dim = codec.codebooks.shape
    wanted = (config.n_codebooks, config.vocab_size, config.latent_dim)
    if n_codebooks < wanted[0] or (vocab_size, latent_dim) != wanted[1:]:
        raise CheckpointError(
            f"{path} needs {wanted[0]} codebooks of {wanted[1]} x {wanted[2]}; "
            f"the codec has {n_codebooks} of {vocab_size} x {latent_dim}"
        )


def _build(make: Callable[..., Result], kwargs: Any, path: Path) -> Result:
    try:
        return make(**kwargs)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: invalid sizes: {error}") from error


def describe(
    codec: Codec, coarse: VampNet | None, c2f: VampNet | None, metadata: dict[str, Any]
) -> dict[str, Any]:
    """Return the content of ``config.json`` for these models."""
    config: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    config["codec"] = {"family": codec.family, "kwargs": codec.kwargs}
    for stage, model in zip(STAGES, (coarse, c2f), strict=True):
        if model is not None:
            config[stage] = asdict(model.config)
    return {**config, "metadata": metadata}
