"""A device that is not there: the processor computes for it, but it is as strict as an accelerator.

Inside :func:`pretend_device`, tensors that lie on it mix with no others, and each place is noted
where the host waits for it: on a real one until all work before is done.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from places import ROOT
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
OPS = torch.ops.aten
READS = (OPS.item, OPS._local_scalar_dense, OPS.is_nonzero, OPS.equal, OPS.nonzero)
COPIES = (OPS.to, OPS._to_copy, OPS.copy_)
PICKS = (OPS.index, OPS.index_put_)  # by a mask: so many as its values say
VAMPNET = ROOT / "vampnet"


class Absent:
    """The device's module: there is none, for those who look for accelerators by themselves."""

    def is_available(self) -> bool:
        return False

    def is_initialized(self) -> bool:
        return False

    def device_count(self) -> int:
        return 0

    def current_device(self) -> int:
        return 0

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return []

    def _is_in_bad_fork(self) -> bool:
        return False


class There(Tensor):
    """A tensor on the pretended device; ``here`` holds its values."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        assert here.dtype not in (torch.float64, torch.complex128), "not every device has these"
        made = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=torch.device(NAME, 0),
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{op} outside pretend_device()")


class Strict(TorchDispatchMode):
    """Computes, keeps the tensors of the two devices apart and notes in ``waits`` what waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _tensors((args, kwargs))
        there = [isinstance(x, There) for x in given]
        kwargs = dict(kwargs or {})
        asked = kwargs.pop("device", None)
        if op is OPS.to.device:
            op, asked, args = OPS.to.dtype, args[1], (args[0], *(args[2:] or [args[0].dtype]))
        target = NAME if asked is None and any(there) else torch.device(asked or "cpu").type
        kind = op.overloadpacket
        if kind in COPIES:
            waits = len({*there, target == NAME}) > 1
        else:
            waits = any(there) and (kind in READS or kind in PICKS and _by_mask(args[1]))
            # a number that was made a tensor is welcome on any device
            assert all(there) or not any(there) or _numbers(given), f"{op} mixes devices"
        if waits:
            self.waits.append(_place(op))
        found = op(*_here(args), **_here(kwargs))
        if op._schema.is_mutable:
            return args[0]
        if target != NAME:
            return found
        return tree_map(lambda x: There(x) if isinstance(x, Tensor) else x, found)


def _tensors(given: Any) -> list[Tensor]:
    return [x for x in tree_flatten(given)[0] if isinstance(x, Tensor)]


def _numbers(given: list[Tensor]) -> bool:
    return all(isinstance(x, There) or not x.dim() for x in given)


def _by_mask(indices: Any) -> bool:
    return any(x.dtype == torch.bool for x in _tensors(indices))


def _here(given: Any) -> Any:
    return tree_map(lambda x: x.here if isinstance(x, There) else x, given)


def _place(op: Any) -> str:
    """The line of the project that asks for an operation."""
    ours = [f for f in traceback.extract_stack() if VAMPNET in Path(f.filename).parents]
    return f"{Path(ours[-1].filename).name}: {ours[-1].line} ({op})" if ours else str(op)


@contextmanager
def pretend_device() -> Iterator[Strict]:
    """The device exists here; the mode tells who waited for it."""
    if not hasattr(torch, NAME):
        _setup_privateuseone_for_python_backend(NAME, Absent())
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # else `to` leaves There's be
    try:
        with torch.inference_mode(), Strict() as mode:
            yield mode
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def moved(module: nn.Module) -> nn.Module:
    """The module with all its tensors on the device, in place."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                there = There(weight.detach())
                part._parameters[name] = nn.Parameter(there, requires_grad=False)
        for name, tensor in part._buffers.items():
            part._buffers[name] = None if tensor is None else There(tensor)
    return module
