"""Validate codec tokens: integer dtype, 0 <= code <= largest.

A code out of range would select a row of another codebook, without an error.
"""

from __future__ import annotations

import torch
from torch import Tensor


def check_codes(codes: Tensor, largest: int, look: bool = True, note: str = "") -> None:
    """Check tokens.

    Args:
        codes: any shape.
        largest: the largest valid code.
        look: check the values too, which synchronises with an accelerator.
        note: appended to the message about a value.

    Raises:
        ValueError: for codes that are not integers or outside 0..``largest``.
    """
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise ValueError(f"codes are {codes.dtype}; they must be whole numbers (torch.int64)")
    if not look or not codes.numel():
        return
    low, high = (int(end) for end in codes.aminmax())
    if low < 0 or high > largest:
        raise ValueError(f"codes run from {low} to {high}, must be within 0..{largest}{note}")
