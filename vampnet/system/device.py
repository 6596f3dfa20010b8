"""What a machine is and what it can do: its devices, its name, its rates, its memory."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import _int_mm  # pyright: ignore[reportPrivateImportUsage]

from vampnet.system.errors import UserError

GEMM_SIZE = 2048  # rows and columns of the matrices that give the machine's rate
ACCELERATOR_GEMM_SIZE = 8192  # likewise where a smaller product would not fill the device
COPY_BYTES = 2**28
TRIES = 5  # of which the fastest counts as the machine's rate


@dataclass(frozen=True)
class Limits:
    """What the machine reached: products by number format (operations a second), bytes a second.

    size: rows and columns of the products' matrices.
    """

    size: int
    float32: float
    bfloat16: float
    int8: float
    bandwidth: float


def choose_device(name: str | torch.device = "auto") -> str:
    """Return a device's name; "auto" is CUDA, else Apple's MPS, else the CPU.

    Raises ValueError where torch cannot use the device on this machine.
    """
    if isinstance(name, str) and name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    check_device(name)
    return str(name)


def check_device(name: str | torch.device) -> None:
    """ValueError where torch cannot use the device of this name."""
    try:
        torch.empty(1, device=torch.device(name)).cpu()  # as it is, None would be any device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        raise UserError(f"device '{name}' cannot be used on this machine; cpu can") from None


def description(device: str = "cpu") -> str:
    """The processor's name, its cores and threads; the accelerator's name where one is used."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        pass  # not Linux, or a processor without a name
    found = f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if torch.device(device).type == "cuda":
        found += f", {torch.cuda.get_device_name(device)}"
    return found


def limits(device: str = "cpu") -> Limits:
    """Measure the machine: the fastest of some products and copies."""
    size = GEMM_SIZE if torch.device(device).type == "cpu" else ACCELERATOR_GEMM_SIZE
    a = torch.randn(size, size, device=device)
    narrow = a.bfloat16()
    whole = torch.randint(-127, 127, (size, size), device=device).to(torch.int8)
    whole_products = torch.device(device).type in ("cpu", "cuda")  # others have none
    work = 2 * size**3
    source = torch.ones(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)

    def fastest(call: Callable[[], object]) -> float:
        return min(seconds(call, device) for _ in range(TRIES + 1))

    return Limits(
        size,
        work / fastest(lambda: a @ a),
        work / fastest(lambda: narrow @ narrow),
        work / fastest(lambda: _int_mm(whole, whole.t())) if whole_products else 0.0,
        2 * COPY_BYTES / fastest(lambda: target.copy_(source)),
    )


def peak_bytes() -> int:
    """The most memory this process has held; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def seconds(call: Callable[[], object], device: str | torch.device) -> float:
    """How long a call takes, its work on the device included."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def wait(device: str | torch.device) -> None:
    """Until an accelerator has done what it was given; a CPU leaves nothing undone."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()
