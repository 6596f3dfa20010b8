"""Model folders: ours (safetensors + JSON) and those of the original VampNet's .pth files.

A folder of ours holds `config.json` (format, families and sizes, licence and provenance) beside
`codec.safetensors`, `coarse.safetensors` and, optionally, `c2f.safetensors`, stored as float16 or
float32 and loaded as float32. The original's folder holds `codec.pth`, `coarse.pth`, `c2f.pth` and
`loras/NAME/{coarse,c2f}.pth`. What does not fit raises CheckpointError, a ValueError.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file

from vampnet.checkpoints import download, original_names
from vampnet.checkpoints.weight_files import (
    CheckpointError,
    State,
    fill,
    named,
    read_safetensors,
    read_torch,
    stored,
)
from vampnet.codec import FAMILIES, Codec
from vampnet.model import VampNet, VampNetConfig, lora
from vampnet.model.recommended import FAMILY, RecommendedSampling
from vampnet.system.atomic_file import whole_path
from vampnet.system.errors import UserError
from vampnet.system.hashes import sha256

FORMAT = "vampnet"
VERSION = 1
CONFIG = "config.json"
ATTRIBUTION = "ATTRIBUTION.md"  # beside the weights: whose music they were trained on
STAGES = ("coarse", "c2f")
BUILT_IN = Path(__file__).parents[1] / "weights"  # models that travel inside the package

Result = TypeVar("Result")


@dataclass(frozen=True)
class Parts:
    """What a model folder holds, in evaluation mode; `c2f` is None where the folder has none."""

    codec: Codec
    coarse: VampNet
    c2f: VampNet | None
    config: dict[str, Any]
    recommended: RecommendedSampling = FAMILY


# Folders -----------------------------------------------------------------------------------------


def models() -> dict[str, Path]:
    """Names that :func:`resolve` knows, with their folders: inside the package, and pulled."""
    inside = {file.parent.name: file.parent for file in sorted(BUILT_IN.glob(f"*/{CONFIG}"))}
    return inside | {n: at for n, at in download.found().items() if n not in inside}


def resolve(name_or_folder: str | Path) -> Path:
    """The folder of a model: "default" or another known name, or a folder as it stands.

    Raises CheckpointError, listing the known names, where there is neither.
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


def load_folder(folder: str | Path, device: str | torch.device = "cpu") -> Parts:
    """Codec, coarse and (where present) coarse-to-fine model of a folder of ours or the original's.

    In `loras/NAME` of an original folder, the files found there stand in for the main ones: a
    complete checkpoint replaces its model, bare adapters are merged into it.
    """
    folder = Path(folder)
    codec = load_codec(folder)
    coarse = _load_stage(folder, "coarse", codec)
    if coarse is None:
        raise CheckpointError(f"{folder}: there is no coarse model (coarse.safetensors or .pth)")
    c2f = _load_stage(folder, "c2f", codec)
    if (folder / CONFIG).is_file():
        config = _read_config(folder)
    else:
        config = _describe(codec, coarse, c2f, {"source": "original .pth files"})
    for part in (codec, coarse, c2f):
        if part is not None:
            part.to(device)
    return Parts(codec, coarse, c2f, config, recommended_of(folder))


def save_folder(
    folder: str | Path,
    codec: Codec,
    coarse: VampNet | None = None,
    c2f: VampNet | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    sampling: RecommendedSampling = FAMILY,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write the parts given as a folder of ours, the config last, and return it.

    metadata: plain JSON values: licence, attribution, hash of the training data. sampling: the
    settings that the model is recommended with. dtype: float32 or
    float16 (half the size; rounds the weights). Raises CheckpointError where float16 overflows or
    a model has other weights than its config says, OSError where the disk takes no more.
    """
    if dtype not in (torch.float32, torch.float16):
        raise UserError(f"dtype is {dtype}; it must be torch.float32 or torch.float16")
    for name, model in zip(STAGES, (coarse, c2f), strict=True):
        if model is not None:
            _check_plain(name, model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("codec", codec), ("coarse", coarse), ("c2f", c2f)):
        if part is None:
            continue
        state = part.state_dict()
        if isinstance(part, VampNet):
            del state["codebooks"]  # the codec's; copied in again at load
        state = {key: stored(f"{name} {key}", value, dtype) for key, value in state.items()}
        with whole_path(folder / f"{name}.safetensors") as part_of_file:
            save_file(state, part_of_file)
    described = _describe(codec, coarse, c2f, dict(metadata or {}))
    if sampling.source == "model":
        described["sampling"] = sampling.to_config()
    config = json.dumps(described, indent=2)
    with whole_path(folder / CONFIG) as part_of_file:
        part_of_file.write_text(config + "\n", encoding="utf-8")
    return folder


def convert(
    source: str | Path,
    target: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a folder that :func:`load_folder` reads as a folder of ours.

    The SHA-256 of each .pth file goes into the metadata, beside what `metadata` says (its licence).
    An attribution and a licence that lie beside the weights go with them.
    """
    source, target = Path(source), Path(target)
    if (target / CONFIG).exists():
        raise CheckpointError(f"{target} holds a model already")
    parts = load_folder(source)
    notes = dict(parts.config.get("metadata", {}))
    if not (source / CONFIG).is_file():
        files = [_find(source, f"{name}.pth") for name in ("codec", *STAGES)]
        notes["source_sha256"] = {file.name: sha256(file) for file in files if file is not None}
    notes.update(metadata or {})
    made = save_folder(
        target, parts.codec, parts.coarse, parts.c2f, metadata=notes, dtype=dtype,
        sampling=parts.recommended,
    )  # fmt: skip
    for name in (ATTRIBUTION, "LICENSE"):
        told = _find(source, name)
        if told is not None:
            shutil.copyfile(told, made / name)
    return made


# Single files ------------------------------------------------------------------------------------


def load_codec(path: str | Path) -> Codec:
    """A codec from a model folder, one of our `codec.safetensors`, or a LAC or DAC .pth file."""
    path = Path(path)
    if path.suffix == ".safetensors":
        path = path.parent
    if path.is_dir() and not (path / CONFIG).is_file():
        found = _find(path, "codec.pth")
        if found is None:
            raise CheckpointError(f"{path} is no model folder: it has no {CONFIG} and no codec.pth")
        path = found
    if not path.is_dir():
        family, kwargs, state = named(path, original_names.read_codec, read_torch(path))
        return fill(_build(FAMILIES[family], kwargs, path), state, path)
    entry = _entry(path, "codec")
    if not isinstance(entry.get("family"), str) or entry["family"] not in FAMILIES:
        raise CheckpointError(
            f"{path / CONFIG}: codec family {entry.get('family')!r} is not one of {list(FAMILIES)}"
        )
    kwargs = entry.get("kwargs", {})
    codec = _build(FAMILIES[entry["family"]], kwargs, path / CONFIG)
    return fill(codec, read_safetensors(path / "codec.safetensors"), path / "codec.safetensors")


def load_vampnet(path: str | Path, codec: Codec, *, adapters: str | Path | None = None) -> VampNet:
    """A masked model from our `{coarse,c2f}.safetensors` or the original's .pth file.

    The codec gives the codebook vectors. Low-rank adapters in the file, and those in the file
    `adapters` (the original's bare form), are merged into the weights: added once, as the original
    does, even if a file was saved with its adapters merged already (the file cannot tell).
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        kwargs = _entry(path.parent, path.stem)
        state, own = read_safetensors(path), {}
    else:
        kwargs, state, own = named(path, original_names.read_vampnet, read_torch(path))
    config = _build(VampNetConfig, kwargs, path)
    _check_codec(config, codec, path)
    with torch.device("meta"):  # no time spent on random weights that are replaced at once
        model = _build(VampNet, {"config": config}, path)
    state["codebooks"] = codec.codebooks[: config.n_codebooks].detach().clone()
    fill(model, state, path)
    if own:
        _merge_adapters(model, own, path)
    if adapters is not None:
        path = Path(adapters)
        _merge_adapters(model, named(path, original_names.read_adapters, read_torch(path)), path)
    return model


# Reading -----------------------------------------------------------------------------------------


def _load_stage(folder: Path, stage: str, codec: Codec) -> VampNet | None:
    path = folder / f"{stage}.safetensors"
    adapters: Path | None = None
    if (folder / CONFIG).is_file():
        if _read_config(folder).get(stage) is None:
            return None
    else:
        found = _find(folder, f"{stage}.pth")
        if found is None:
            return None
        path = found
        if path.parent.parent.name == "loras" and original_names.is_bare(read_torch(path)):
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
    """The recommended sampling of a model, without loading its weights.

    Raises CheckpointError for an unknown model or a config that cannot be read.
    """
    folder = resolve(name_or_folder)
    config = _read_config(folder) if (folder / CONFIG).is_file() else {}
    try:
        return RecommendedSampling.from_config(config.get("sampling"))
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from None


def is_model_folder(folder: Path) -> bool:
    """Whether it looks like one: of ours, the original's or one of its ``loras``."""
    return (folder / CONFIG).is_file() or _find(folder, "codec.pth") is not None


def _find(folder: Path, name: str) -> Path | None:
    """The original's file in the folder or, for `loras/NAME`, else in the main folder."""
    folder = folder.resolve()
    places = [folder, folder.parents[1]] if folder.parent.name == "loras" else [folder]
    return next((place / name for place in places if (place / name).is_file()), None)


def metadata_of(folder: Path) -> dict[str, Any]:
    """What the config of a model's folder tells of it; an original folder has none."""
    return _read_config(folder).get("metadata", {}) if (folder / CONFIG).is_file() else {}


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
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
        raise CheckpointError(f"{folder / CONFIG} says nothing of {name!r}")
    return entry


# Weights into modules ----------------------------------------------------------------------------


def _merge_adapters(model: VampNet, adapters: State, path: Path) -> None:
    named(path, lora.apply, model, named(path, lora.config_of, adapters))
    named(path, lora.load, model, adapters)
    lora.merge(model)


def _check_codec(config: VampNetConfig, codec: Codec, path: Path) -> None:
    n_codebooks, vocab_size, latent_dim = codec.codebooks.shape
    wanted = (config.n_codebooks, config.vocab_size, config.latent_dim)
    if n_codebooks < wanted[0] or (vocab_size, latent_dim) != wanted[1:]:
        raise CheckpointError(
            f"{path} wants {wanted[0]} codebooks of {wanted[1]} x {wanted[2]}; "
            f"the codec has {n_codebooks} of {vocab_size} x {latent_dim}"
        )


def _build(make: Callable[..., Result], kwargs: Any, path: Path) -> Result:
    try:
        return make(**kwargs)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: sizes that do not work: {error}") from error


# Writing -----------------------------------------------------------------------------------------


def _check_plain(name: str, model: VampNet) -> None:
    with torch.device("meta"):
        plain = VampNet(model.config).state_dict().keys()
    if model.state_dict().keys() != plain:
        raise CheckpointError(
            f"the {name} model cannot be saved: it was made ready for inference, or has adapters; "
            "save it before, merge them, or use convert on the folder it came from"
        )


def _describe(
    codec: Codec, coarse: VampNet | None, c2f: VampNet | None, metadata: dict[str, Any]
) -> dict[str, Any]:
    config: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    config["codec"] = {"family": codec.family, "kwargs": codec.kwargs}
    for stage, model in zip(STAGES, (coarse, c2f), strict=True):
        if model is not None:
            config[stage] = asdict(model.config)
    return {**config, "metadata": metadata}
