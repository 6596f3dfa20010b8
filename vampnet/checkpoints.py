"""Weight files: our folders (safetensors + JSON) and the original VampNet's .pth files.

A folder of ours holds `config.json` (format, families and sizes, licence and provenance) beside
`codec.safetensors`, `coarse.safetensors` and, optionally, `c2f.safetensors`, stored as float16 or
float32 and loaded as float32. The original's folder holds `codec.pth`, `coarse.pth`, `c2f.pth` and
`loras/NAME/{coarse,c2f}.pth`. Nothing that is read can run code, every name and every shape is
accounted for, and what does not fit raises CheckpointError, a ValueError.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vampnet import download, lora, original
from vampnet.codec import FAMILIES, Codec
from vampnet.model import VampNet, VampNetConfig
from vampnet.part_file import whole_path

FORMAT = "vampnet"
VERSION = 1
CONFIG = "config.json"
STAGES = ("coarse", "c2f")
BUILT_IN = Path(__file__).with_name("weights")  # models that travel inside the package
SHOWN = 4  # names listed in an error

Module = TypeVar("Module", bound=nn.Module)
Result = TypeVar("Result")
State = dict[str, Tensor]


class CheckpointError(ValueError):
    """A weight file or folder that cannot be used, with the file and the reason."""


@dataclass(frozen=True)
class Parts:
    """What a model folder holds, in evaluation mode; `c2f` is None where the folder has none."""

    codec: Codec
    coarse: VampNet
    c2f: VampNet | None
    config: dict[str, Any]


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
    return Parts(codec, coarse, c2f, config)


def save_folder(
    folder: str | Path,
    codec: Codec,
    coarse: VampNet | None = None,
    c2f: VampNet | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write the parts given as a folder of ours, the config last, and return it.

    metadata: plain JSON values: licence, attribution, hash of the training data. dtype: float32 or
    float16 (half the size; rounds the weights). Raises CheckpointError where float16 overflows,
    OSError where the disk takes no more.
    """
    if dtype not in (torch.float32, torch.float16):
        raise ValueError(f"dtype is {dtype}; it must be torch.float32 or torch.float16")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("codec", codec), ("coarse", coarse), ("c2f", c2f)):
        if part is None:
            continue
        state = part.state_dict()
        if isinstance(part, VampNet):
            del state["codebooks"]  # the codec's; copied in again at load
        state = {key: _stored(f"{name} {key}", value, dtype) for key, value in state.items()}
        with whole_path(folder / f"{name}.safetensors") as part_of_file:
            save_file(state, part_of_file)
    config = json.dumps(_describe(codec, coarse, c2f, dict(metadata or {})), indent=2)
    with whole_path(folder / CONFIG) as part_of_file:
        part_of_file.write_text(config + "\n", encoding="utf-8")
    return folder


def convert(
    source: str | Path,
    target: str | Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> Path:
    """Write a folder that :func:`load_folder` reads as a folder of ours.

    The SHA-256 of each .pth file goes into the metadata, beside what `metadata` says (its licence).
    """
    source, target = Path(source), Path(target)
    if (target / CONFIG).exists() and not overwrite:
        raise CheckpointError(f"{target} holds a model already")
    parts = load_folder(source)
    notes = dict(parts.config.get("metadata", {}))
    if not (source / CONFIG).is_file():
        files = [_find(source, f"{name}.pth") for name in ("codec", *STAGES)]
        notes["source_sha256"] = {
            file.name: download.sha256(file) for file in files if file is not None
        }
    notes.update(metadata or {})
    return save_folder(target, parts.codec, parts.coarse, parts.c2f, metadata=notes, dtype=dtype)


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
        family, kwargs, state = _call(path, original.read_codec, read_torch(path))
        return _fill(_build(FAMILIES[family], kwargs, path), state, path)
    entry = _entry(path, "codec")
    if not isinstance(entry.get("family"), str) or entry["family"] not in FAMILIES:
        raise CheckpointError(
            f"{path / CONFIG}: codec family {entry.get('family')!r} is not one of {list(FAMILIES)}"
        )
    kwargs = entry.get("kwargs", {})
    codec = _build(FAMILIES[entry["family"]], kwargs, path / CONFIG)
    return _fill(codec, _read_safetensors(path / "codec.safetensors"), path / "codec.safetensors")


def load_vampnet(path: str | Path, codec: Codec, *, adapters: str | Path | None = None) -> VampNet:
    """A masked model from our `{coarse,c2f}.safetensors` or the original's .pth file.

    The codec gives the codebook vectors. Low-rank adapters in the file, and those in the file
    `adapters` (the original's bare form), are merged into the weights: added once, as the original
    does, even if a file was saved with its adapters merged already (the file cannot tell).
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        kwargs = _entry(path.parent, path.stem)
        state, own = _read_safetensors(path), {}
    else:
        kwargs, state, own = _call(path, original.read_vampnet, read_torch(path))
    config = _build(VampNetConfig, kwargs, path)
    _check_codec(config, codec, path)
    with torch.device("meta"):  # no time spent on random weights that are replaced at once
        model = _build(VampNet, {"config": config}, path)
    state["codebooks"] = codec.codebooks[: config.n_codebooks].detach().clone()
    _fill(model, state, path)
    if own:
        _merge_adapters(model, own, path)
    if adapters is not None:
        path = Path(adapters)
        _merge_adapters(model, _call(path, original.read_adapters, read_torch(path)), path)
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
        if path.parent.parent.name == "loras" and original.is_bare(read_torch(path)):
            path, adapters = path.parents[2] / path.name, path
    model = load_vampnet(path, codec, adapters=adapters)
    conditioning = model.config.n_conditioning_codebooks
    if (stage == "coarse") != (conditioning == 0):
        kind = "a coarse-to-fine" if conditioning else "a coarse"
        raise CheckpointError(
            f"{path} is {kind} model ({conditioning} conditioning codebooks), not a {stage} one"
        )
    return model


def is_model_folder(folder: Path) -> bool:
    """Whether it looks like one: of ours, the original's or one of its ``loras``."""
    return (folder / CONFIG).is_file() or _find(folder, "codec.pth") is not None


def _find(folder: Path, name: str) -> Path | None:
    """The original's file in the folder or, for `loras/NAME`, else in the main folder."""
    folder = folder.resolve()
    places = [folder, folder.parents[1]] if folder.parent.name == "loras" else [folder]
    return next((place / name for place in places if (place / name).is_file()), None)


def read_torch(path: Path) -> dict[str, Any]:
    """The dict in a torch.save file, read without running any code in it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if any("/.data/extern_modules" in f"/{name}" for name in archive.namelist()):
                    raise CheckpointError(
                        f"{path} is a torch.package, which runs code when opened; "
                        "only plain weight files are read (the original's save with package=False)"
                    )
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is no plain weight file: it holds objects other than tensors, or is damaged"
        ) from error
    except Exception as error:  # bytes from elsewhere: zip, pickle and torch raise all kinds
        raise CheckpointError(f"{path} cannot be read: it is damaged or no weight file") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise CheckpointError(f"{path} holds a {kind}, not a dict of state_dict and metadata")
    return content


def _read_safetensors(path: Path) -> State:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not the config of a {FORMAT} model")
    if config.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has format version {config.get('version')}; this program reads {VERSION}"
        )
    return config


def _entry(folder: Path, name: str) -> dict[str, Any]:
    entry = _read_config(folder).get(name)
    if not isinstance(entry, dict):
        raise CheckpointError(f"{folder / CONFIG} says nothing of {name!r}")
    return entry


# Weights into modules ----------------------------------------------------------------------------


def _merge_adapters(model: VampNet, adapters: State, path: Path) -> None:
    _call(path, lora.apply, model, _call(path, lora.config_of, adapters))
    _call(path, lora.load, model, adapters)
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


def _call(path: Path, function: Callable[..., Result], *arguments: Any) -> Result:
    """The function's result; an error of what the file holds gets its name in front."""
    try:
        return function(*arguments)
    except (ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _fill(module: Module, state: State, path: Path) -> Module:
    """Put `state` into `module` as float32, once every name and shape is seen to fit."""
    expected = module.state_dict()
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    for names, what in ((missing, "lacks"), (unknown, "has the unknown")):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise CheckpointError(f"{path} {what} weights {', '.join(names[:SHOWN])}{more}")
    for name, own in expected.items():
        if state[name].shape != own.shape:
            found, allowed = tuple(state[name].shape), tuple(own.shape)
            raise CheckpointError(f"{path}: {name} has shape {found}; it must be {allowed}")
        if state[name].is_floating_point() != own.is_floating_point():
            raise CheckpointError(f"{path}: {name} holds {state[name].dtype}, not {own.dtype}")
    plain = {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
    module.load_state_dict(plain, assign=True)
    return module.eval()


# Writing -----------------------------------------------------------------------------------------


def _describe(
    codec: Codec, coarse: VampNet | None, c2f: VampNet | None, metadata: dict[str, Any]
) -> dict[str, Any]:
    config: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    config["codec"] = {"family": codec.family, "kwargs": codec.kwargs}
    for stage, model in zip(STAGES, (coarse, c2f), strict=True):
        if model is not None:
            config[stage] = asdict(model.config)
    return {**config, "metadata": metadata}


def _stored(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    value = value.detach().cpu()
    if not value.is_floating_point():
        return value.contiguous()
    stored = value.to(dtype).contiguous()
    if not bool(stored.isfinite().all()):
        raise CheckpointError(f"{name} holds values that {dtype} cannot store, or NaN")
    return stored.clone() if stored.data_ptr() == value.data_ptr() else stored
