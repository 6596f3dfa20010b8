"""Sharp attacks: the audio of a band is attenuated to a level envelope finer than its windows.

Phase estimated from magnitudes spreads an attack over the whole window. The decoder therefore also
predicts the level of short blocks. Around an attack, blocks that exceed that level are attenuated
to it (the aim of temporal noise shaping: Herre and Johnston, AES 1996). Sustained notes are
unchanged.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

LEVEL_FLOOR = 1e-5  # RMS amplitude that is added (in power) to the levels
RISE_DB = (9.0, 15.0)  # rise of the level over LOOK_S: start and full degree of an attack
LOOK_S = 0.012
BEFORE_S, AFTER_S = 0.03, 0.015  # the audio is scaled from this before an attack to this after it
GAIN = (-2.5, 0.0)  # limits of the gain, log10; amplifying soft attacks lowers the onset scores


def block_levels(wave: Tensor, size: int) -> Tensor:
    """Return log10 RMS levels of blocks.

    Args:
        wave: float (B, S), S a multiple of ``size``.
        size: samples per block.

    Returns:
        float (B, S / size).
    """
    power = wave.square().unflatten(-1, (-1, size)).mean(-1)
    return 0.5 * (power + LEVEL_FLOOR**2).log10()


def attacks(levels: Tensor, size: int, rate_hz: int) -> Tensor:
    """Return the degree, 0..1, to which each block belongs to an attack.

    Args:
        levels: float (B, blocks), as :func:`block_levels` returns.
        size: samples per block.
        rate_hz: sample rate.

    Returns:
        float (B, blocks).
    """
    look = max(1, round(LOOK_S * rate_hz / size))
    past = F.pad(levels[:, None], (look, 0), mode="replicate")[:, 0, : levels.shape[1]]
    low, high = RISE_DB
    rise = ((20 * (levels - past) - low) / (high - low)).clamp(0, 1)
    before = look + round(BEFORE_S * rate_hz / size)
    after = round(AFTER_S * rate_hz / size)
    return F.max_pool1d(F.pad(rise[:, None], (after, before)), before + after + 1, 1)[:, 0]


def shape_attacks(wave: Tensor, levels: Tensor, rate_hz: int) -> Tensor:
    """Attenuate the audio of a band to block levels around attacks.

    Args:
        wave: float (B, S).
        levels: float (B, blocks), as :func:`block_levels` returns; S is a multiple of blocks.
        rate_hz: sample rate.

    Returns:
        float (B, S).
    """
    size = wave.shape[-1] // levels.shape[-1]
    share = attacks(levels, size, rate_hz)
    gain = (share * (levels - block_levels(wave, size))).clamp(*GAIN)
    return wave * 10.0 ** F.interpolate(gain[:, None], scale_factor=size, mode="linear")[:, 0]


def reach(hop: int, rate_hz: int) -> int:
    """Return the frames on each side that :func:`shape_attacks` depends on."""
    return 1 + -(-round((LOOK_S + max(BEFORE_S, AFTER_S)) * rate_hz) // hop)
