"""Single weight files: reading safetensors and the original's .pth, loading them into modules.

Reading never runs code from a file, every name and shape is checked, and a mismatch raises
CheckpointError, a ValueError, that begins with the file's name.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vampnet.system.errors import UserError

SHOWN = 4  # names listed in an error

Module = TypeVar("Module", bound=nn.Module)
Result = TypeVar("Result")
State = dict[str, Tensor]


class CheckpointError(UserError):
    """A weight file or folder that cannot be used; the text has the file and the reason."""


def read_torch(path: Path) -> dict[str, Any]:
    """Read the dict of a torch.save file without running code in it; CheckpointError if invalid."""
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
        raise CheckpointError(f"{path}: no such file") from error
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a plain weight file: it has objects other than tensors, or is damaged"
        ) from error
    except Exception as error:  # untrusted bytes: zip, pickle and torch raise all kinds
        raise CheckpointError(
            f"{path} cannot be read: it is damaged or not a weight file"
        ) from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise CheckpointError(f"{path} has a {kind}, not a dict of state_dict and metadata")
    return content


def read_safetensors(path: Path) -> State:
    """Read the tensors of a safetensors file by name; CheckpointError if invalid."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def prefix_errors(path: Path, function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function; its errors become CheckpointErrors that begin with the file's name."""
    try:
        return function(*arguments)
    except (ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def load_state(module: Module, state: State, path: Path) -> Module:
    """Load `state` into `module` as float32, after checking every name and shape.

    Returns:
        The module, in evaluation mode.

    Raises:
        CheckpointError: for missing or unknown names, and another shape or kind of numbers.
    """
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
            raise CheckpointError(f"{path}: {name} has {state[name].dtype}, not {own.dtype}")
    plain = {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
    module.load_state_dict(plain, assign=True)
    return module.eval()


def to_storage(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor as it is written to a file: on the CPU, floating point as ``dtype``.

    Raises:
        CheckpointError: for values that overflow in ``dtype``, and NaN.
    """
    value = value.detach().cpu()
    if not value.is_floating_point():
        return value.contiguous()
    stored = value.to(dtype).contiguous()
    if not bool(stored.isfinite().all()):
        raise CheckpointError(f"{name} has values that {dtype} cannot store, or NaN")
    return stored.clone() if stored.data_ptr() == value.data_ptr() else stored
