"""Devices: selection, description, measured rates, peak memory, timing."""

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

GEMM_SIZE = 2048  # rows and columns of the matrices that measure the rate
ACCELERATOR_GEMM_SIZE = 8192  # likewise where a smaller product would not occupy the device
COPY_BYTES = 2**28
TRIES = 5  # of which the fastest counts


@dataclass(frozen=True)
class MachineRates:
    """Measured rates of a machine.

    Attributes:
        size: rows and columns of the products' matrices.
        float32, bfloat16, int8: operations per second of matrix products; 0 = not supported.
        bandwidth: bytes per second of copies.
    """

    size: int
    float32: float
    bfloat16: float
    int8: float
    bandwidth: float


def choose_device(name: str | torch.device = "auto") -> str:
    """Return a device's name; "auto" is CUDA, else Apple's MPS, else the CPU.

    Raises:
        UserError: where torch cannot use the device on this machine.
    """
    if isinstance(name, str) and name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    check_device(name)
    return str(name)


def check_device(name: str | torch.device) -> None:
    """Raise UserError where torch cannot use the device of this name."""
    try:
        torch.empty(1, device=torch.device(name)).cpu()  # device=None is the default
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        raise UserError(f"device '{name}' cannot be used on this machine; cpu can") from None


def description(device: str = "cpu") -> str:
    """Return the processor's name, cores and threads, and the accelerator's name if it is used."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        pass  # not Linux, or an unnamed processor
    found = f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    if torch.device(device).type == "cuda":
        found += f", {torch.cuda.get_device_name(device)}"
    return found


def measure_rates(device: str = "cpu") -> MachineRates:
    """Measure the machine: the fastest of several products and copies."""
    size = GEMM_SIZE if torch.device(device).type == "cpu" else ACCELERATOR_GEMM_SIZE
    a = torch.randn(size, size, device=device)
    a_bfloat16 = a.bfloat16()
    a_int8 = torch.randint(-127, 127, (size, size), device=device).to(torch.int8)
    has_int8 = torch.device(device).type in ("cpu", "cuda")  # not implemented on others
    work = 2 * size**3
    source = torch.ones(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)

    def fastest(call: Callable[[], object]) -> float:
        return min(seconds(call, device) for _ in range(TRIES + 1))

    return MachineRates(
        size,
        work / fastest(lambda: a @ a),
        work / fastest(lambda: a_bfloat16 @ a_bfloat16),
        work / fastest(lambda: _int_mm(a_int8, a_int8.t())) if has_int8 else 0.0,
        2 * COPY_BYTES / fastest(lambda: target.copy_(source)),
    )


def peak_bytes() -> int:
    """Return the peak memory of this process in bytes; 0 where it is not available (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def seconds(call: Callable[[], object], device: str | torch.device) -> float:
    """Return how many seconds a call takes, including its work on the device."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def wait(device: str | torch.device) -> None:
    """Wait until an accelerator has finished all queued work; returns at once on a CPU."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()
