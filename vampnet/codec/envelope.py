"""Sharp attacks: a band's sound brought to a level envelope that is finer than its windows.

Phase restored from magnitudes spreads an attack over the whole window. The decoder therefore gives
the level of short blocks too, and around a rise whatever is louder is brought down to that level
(temporal noise shaping in spirit: Herre and Johnston, AES 1996). Held notes are left alone.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

LEVEL_FLOOR = 1e-5  # root mean square below which blocks count as silent
RISE_DB = (9.0, 15.0)  # over LOOK_S: from where a rise is an attack in part, and altogether
LOOK_S = 0.012
BEFORE_S, AFTER_S = 0.03, 0.015  # of an attack, where the sound is scaled
GAIN = (-2.5, 0.0)  # log10 factors allowed: raising soft attacks too costs onsets


def block_levels(wave: Tensor, size: int) -> Tensor:
    """log10 root mean square of each block: float (B, S) to (B, S / size); S a multiple of it."""
    power = wave.square().unflatten(-1, (-1, size)).mean(-1)
    return 0.5 * (power + LEVEL_FLOOR**2).log10()


def attacks(levels: Tensor, size: int, rate_hz: int) -> Tensor:
    """How much each block belongs to an attack, 0..1: float (B, blocks) to the same shape.

    levels: as :func:`block_levels` gives; size: of a block in samples.
    """
    look = max(1, round(LOOK_S * rate_hz / size))
    past = F.pad(levels[:, None], (look, 0), mode="replicate")[:, 0, : levels.shape[1]]
    low, high = RISE_DB
    rise = ((20 * (levels - past) - low) / (high - low)).clamp(0, 1)
    before = look + round(BEFORE_S * rate_hz / size)
    after = round(AFTER_S * rate_hz / size)
    return F.max_pool1d(F.pad(rise[:, None], (after, before)), before + after + 1, 1)[:, 0]


def shape_attacks(wave: Tensor, levels: Tensor, rate_hz: int) -> Tensor:
    """Bring a band's sound down to block levels around attacks.

    wave: float (B, S); levels: float (B, blocks), as :func:`block_levels` gives. Returns (B, S).
    """
    size = wave.shape[-1] // levels.shape[-1]
    share = attacks(levels, size, rate_hz)
    gain = (share * (levels - block_levels(wave, size))).clamp(*GAIN)
    return wave * 10.0 ** F.interpolate(gain[:, None], scale_factor=size, mode="linear")[:, 0]


def reach(hop: int, rate_hz: int) -> int:
    """Frames on each side that :func:`shape_attacks` looks at."""
    return 1 + -(-round((LOOK_S + max(BEFORE_S, AFTER_S)) * rate_hz) // hop)
