"""A simulated accelerator: the CPU computes, but devices must not be mixed.

Inside :func:`pretend_device`, operations on tensors of both devices fail, and every point where the
host would synchronize with the device is recorded.
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
PICKS = (OPS.index, OPS.index_put_)  # by a boolean mask: the size depends on its values
VAMPNET = ROOT / "vampnet"


class NoBackend:
    """The device's backend module, which reports that no such accelerator is available."""

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


class DeviceTensor(Tensor):
    """A tensor on the simulated device; ``host`` holds its values."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> DeviceTensor:
        assert host.dtype not in (torch.float64, torch.complex128), "not every device has these"
        made = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=torch.device(NAME, 0),
        )
        made.host = host
        return made

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{op} outside pretend_device()")


class StrictDevices(TorchDispatchMode):
    """Dispatch mode that forbids mixing devices and records synchronizations in ``waits``."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _tensors((args, kwargs))
        on_device = [isinstance(x, DeviceTensor) for x in given]
        kwargs = dict(kwargs or {})
        asked = kwargs.pop("device", None)
        if op is OPS.to.device:
            op, asked, args = OPS.to.dtype, args[1], (args[0], *(args[2:] or [args[0].dtype]))
        target = NAME if asked is None and any(on_device) else torch.device(asked or "cpu").type
        kind = op.overloadpacket
        if kind in COPIES:
            waits = len({*on_device, target == NAME}) > 1
        else:
            waits = any(on_device) and (kind in READS or kind in PICKS and _by_mask(args[1]))
            # 0-dimensional CPU tensors may be mixed with any device
            assert all(on_device) or not any(on_device) or _numbers(given), f"{op} mixes devices"
        if waits:
            self.waits.append(_caller(op))
        found = op(*_on_host(args), **_on_host(kwargs))
        if op._schema.is_mutable:
            return args[0]
        if target != NAME:
            return found
        return tree_map(lambda x: DeviceTensor(x) if isinstance(x, Tensor) else x, found)


def _tensors(given: Any) -> list[Tensor]:
    return [x for x in tree_flatten(given)[0] if isinstance(x, Tensor)]


def _numbers(given: list[Tensor]) -> bool:
    return all(isinstance(x, DeviceTensor) or not x.dim() for x in given)


def _by_mask(indices: Any) -> bool:
    return any(x.dtype == torch.bool for x in _tensors(indices))


def _on_host(given: Any) -> Any:
    return tree_map(lambda x: x.host if isinstance(x, DeviceTensor) else x, given)


def _caller(op: Any) -> str:
    """The line of the project that called an operation."""
    ours = [f for f in traceback.extract_stack() if VAMPNET in Path(f.filename).parents]
    return f"{Path(ours[-1].filename).name}: {ours[-1].line} ({op})" if ours else str(op)


@contextmanager
def pretend_device() -> Iterator[StrictDevices]:
    """Make the device available; the yielded mode records synchronizations."""
    if not hasattr(torch, NAME):
        _setup_privateuseone_for_python_backend(NAME, NoBackend())
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # else `to` keeps tensors
    try:
        with torch.inference_mode(), StrictDevices() as mode:
            yield mode
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def moved(module: nn.Module) -> nn.Module:
    """Move a module to the simulated device, in place."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                on_device = DeviceTensor(weight.detach())
                part._parameters[name] = nn.Parameter(on_device, requires_grad=False)
        for name, tensor in part._buffers.items():
            part._buffers[name] = None if tensor is None else DeviceTensor(tensor)
    return module
