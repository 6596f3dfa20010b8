"""What several tests need: test signals and the place of the golden fixtures."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


def tone(
    duration_s: float = 1.0,
    sample_rate: int = 44100,
    channels: int = 1,
    frequency_hz: float = 440.0,
    amplitude: float = 0.5,
) -> torch.Tensor:
    """A sine (channels, samples) float32, a fifth higher in each further channel."""
    time_s = torch.arange(round(duration_s * sample_rate), dtype=torch.float64) / sample_rate
    pitches = [frequency_hz * 1.5**channel for channel in range(channels)]
    rows = [amplitude * torch.sin(2 * math.pi * pitch * time_s) for pitch in pitches]
    return torch.stack(rows).float()


def noise(
    duration_s: float = 1.0,
    sample_rate: int = 44100,
    channels: int = 1,
    amplitude: float = 0.1,
    seed: int = 0,
) -> torch.Tensor:
    """Gaussian noise (channels, samples) float32 of the given RMS, the same for the same seed."""
    rng = torch.Generator().manual_seed(seed)
    return amplitude * torch.randn(channels, round(duration_s * sample_rate), generator=rng)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of fixtures made by the original code; the test skips where there is none."""
    folder = Path(os.environ.get("VAMPNET_GOLDEN", ROOT / "tests" / "golden"))
    if not folder.is_dir():
        pytest.skip(f"no golden fixtures in {folder} (VAMPNET_GOLDEN names another folder)")
    return folder
