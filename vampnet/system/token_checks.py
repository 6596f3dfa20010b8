"""What codes must be, told where they enter: beyond a table's rows lie another codebook's."""

from __future__ import annotations

import torch
from torch import Tensor


def check_codes(codes: Tensor, largest: int, look: bool = True, note: str = "") -> None:
    """ValueError for codes that are no whole numbers or lie outside 0..``largest``.

    codes: any shape. look: at the values too; an accelerator is waited for then. note: ends the
    sentence about them.
    """
    if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
        raise ValueError(f"codes are {codes.dtype}; they must be whole numbers (torch.int64)")
    if not look or not codes.numel():
        return
    low, high = (int(end) for end in codes.aminmax())
    if low < 0 or high > largest:
        raise ValueError(f"codes run from {low} to {high}, must be within 0..{largest}{note}")
