"""Matrix products whose rows do not depend on the other rows, so that a seed is reproducible.

A library may split a product along the summed dimension, by the number of rows and threads; then
the rounding of an item depends on its batch. MKL's float32 products do so from 448 rows on
(x86, torch 2.13), and bfloat16 ones with AMX when more than 256 values are summed. oneDNN's float32
products of two or more rows never do; where oneDNN is missing, items are computed one by one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """A linear layer that uses :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map float (..., in) to float (..., out)."""
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``; for inference with independent rows where possible.

    Args:
        x: float (..., in).
        weight: float (out, in).
        bias: float (out,) or None.

    Returns:
        float (..., out).
    """
    needs_graph = torch.is_grad_enabled() or torch.compiler.is_compiling()
    if needs_graph or x.dtype != weight.dtype or not rows_independent(x.device, x.dtype):
        return F.linear(x, weight, bias)
    return with_two_rows(
        lambda rows: torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], ""), x
    )


def with_two_rows(product: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply ``product`` to float (..., in), never to one row, which oneDNN sums differently."""
    rows = x.reshape(-1, x.shape[-1])
    n_rows = len(rows)
    if n_rows == 1:
        rows = rows.expand(2, -1).contiguous()
    made = product(rows)
    return made[:n_rows].view(*x.shape[:-1], made.shape[-1])


def rows_independent(device: torch.device | str, dtype: torch.dtype) -> bool:
    """Return whether a row of a product depends neither on the other rows nor on the threads."""
    if torch.device(device).type != "cpu" or dtype != torch.float32:
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return onednn_has(torch.ops.mkldnn, "_reorder_linear_weight", "_linear_pointwise")


def onednn_has(space: object, *operators: str) -> bool:
    """Return whether this torch build has oneDNN and its operators of these names."""
    return torch.backends.mkldnn.is_available() and all(hasattr(space, o) for o in operators)


def batch_slices(x: Tensor, dtype: torch.dtype) -> list[slice]:
    """Return the slices of a batch to compute at once: on a CPU all, where rows are independent.

    Accelerators compute the whole batch at once too: there an item may depend on its batch.

    Args:
        x: any tensor (B, ...).
        dtype: the number format of the products.
    """
    if x.device.type != "cpu" or rows_independent(x.device, dtype):
        return [slice(None)]
    return [slice(i, i + 1) for i in range(len(x))]
