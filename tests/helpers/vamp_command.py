"""Helpers for tests of the command `vampnet vamp`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from vampnet import cli

RATE = 44100
QUICK = ("--steps", "2", "--fine-steps", "1")


def sound(duration_s: float = 0.5, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Noise of about -20 dBFS within full scale, float (samples, channels)."""
    shape = (round(duration_s * RATE), channels)
    return np.clip(0.1 * np.random.default_rng(seed).standard_normal(shape), -1, 1)


def files(folder: Path) -> dict[str, bytes]:
    """Contents of all files below a folder, including hidden ones."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def refused(vamp, folder: Path, *args) -> str:
    """Assert that a command fails in one line without changing the folder; return the line."""
    before = files(folder)
    code, out, err = vamp(*args)
    assert (code, out) == (cli.FAILED, "")
    lines = [line for line in err.splitlines() if not re.fullmatch(r"\d+ %", line)]
    assert len(lines) == 1 and lines[0].startswith("vampnet: "), err
    assert files(folder) == before
    return lines[0]
