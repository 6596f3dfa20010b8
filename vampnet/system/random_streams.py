"""Independent random generators derived from one seed."""

from __future__ import annotations

import hashlib

import torch


def random_stream(seed: int, *place: int) -> torch.Generator:
    """Return a CPU generator derived from a seed and a place (stage, pass, take, window)."""
    digest = hashlib.blake2b(repr((seed, *place)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
