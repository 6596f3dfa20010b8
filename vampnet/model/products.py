"""Matrix products whose rows depend on nothing beside them: the law that makes seeds repeat.

A product of many rows may be cut along the summed dimension, by the number of rows and of threads;
then the rounding of an item depends on its batch. MKL's float32 products do so from 448 rows on
(x86, torch 2.13), and bfloat16 ones with AMX when more than 256 values are summed. oneDNN's float32
products of two rows and more never do; where they are missing, items are computed one by one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """A linear layer that computes by :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """float (..., in) to float (..., out)."""
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``; for inference with the rows independent of each other if possible.

    Args:
        x: float (..., in).
        weight: float (out, in).
        bias: float (out,) or None.

    Returns:
        float (..., out).
    """
    lasting = torch.is_grad_enabled() or torch.compiler.is_compiling()
    if lasting or x.dtype != weight.dtype or not rows_independent(x.device, x.dtype):
        return F.linear(x, weight, bias)
    return at_least_two_rows(
        lambda rows: torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], ""), x
    )


def at_least_two_rows(product: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``product`` of float (..., in), never of one row: oneDNN sums that one in another order."""
    rows = x.reshape(-1, x.shape[-1])
    n_rows = len(rows)
    if n_rows == 1:
        rows = rows.expand(2, -1).contiguous()
    made = product(rows)
    return made[:n_rows].view(*x.shape[:-1], made.shape[-1])


def rows_independent(device: torch.device | str, dtype: torch.dtype) -> bool:
    """Whether a row of a product here never depends on the other rows, nor on the threads."""
    if torch.device(device).type != "cpu" or dtype != torch.float32:
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return onednn_offers(torch.ops.mkldnn, "_reorder_linear_weight", "_linear_pointwise")


def onednn_offers(space: object, *operators: str) -> bool:
    """Whether this torch has oneDNN and its operators of these names."""
    return torch.backends.mkldnn.is_available() and all(hasattr(space, o) for o in operators)


def items_of(x: Tensor, dtype: torch.dtype) -> list[slice]:
    """Which items of a batch are computed together: on a CPU all where rows are independent.

    Accelerators compute the whole batch at once, too: there an item may depend on its batch.
    """
    if x.device.type != "cpu" or rows_independent(x.device, dtype):
        return [slice(None)]
    return [slice(i, i + 1) for i in range(len(x))]
