"""Layers for inference: fused projections, packed weights, int8 or bfloat16 where they are fast.

float32: the weight is converted once to oneDNN's blocked layout, in place of the plain one; about
an eighth faster than converting it at every call.

int8: each weight row and each frame's activations have their own scale (symmetric, 127 steps), so
that a frame's result does not depend on other frames or items; sums are exact in int32. Where the
processor has bfloat16 products, attention, its inputs and those of the gate are bfloat16.
Source: Dettmers et al., "LLM.int8()", arXiv 2208.07339, section 2.1 (vector-wise quantisation).

bfloat16: only the transformer's layers; the embedding stays float32. On an accelerator the
classifier is float16, whose resolution is eight times finer: in float32 it would take as long as a
tenth of the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vampnet.model.matmul import onednn_has, rows_independent, with_two_rows
from vampnet.system.errors import UserError

PRECISIONS = ("auto", "float32", "int8", "bfloat16")
INT8_MIN_PARAMETERS = 1_000_000  # "auto" takes int8 from here on; smaller models gain nothing
INT8_MAX = 127  # of a symmetric int8 scale
MIN_ROWS = 17  # the int8 product does not accept fewer rows on every device
MIN_SCALE = 1e-12
ZERO_POINT = 128  # of an unsigned byte that represents a signed one
BFLOAT16_OUTPUT_LAYERS = ("fused", "up")  # in int8 mode: their outputs go to attention and gate
HEADS_AT_ONCE = 4  # in bfloat16 attention: their scores for 10 s are 2.6 MB
PACKED_ROWS = 512  # frames the packed layout is optimised for; others work and are as fast


class Int8Linear(nn.Module):
    """A linear layer with int8 weights and activations, inference only; returns ``out_dtype``.

    Where oneDNN supports it, the weight is packed and its scale is applied inside the product.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear, out_dtype: torch.dtype = torch.float32):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp(min=MIN_SCALE) / INT8_MAX
        steps = (weight / scale[:, None]).round().to(torch.int8)
        self.register_buffer("scale", scale)
        self.bias = linear.bias
        self.out_dtype = out_dtype
        self.packed: Tensor | None = None
        if _can_pack_int8(steps):
            rows = [PACKED_ROWS, steps.shape[1]]
            self.packed = torch.ops.onednn.qlinear_prepack(steps, rows)
            self.register_buffer("zeros", torch.zeros(len(steps), dtype=torch.int64))
        else:
            self.register_buffer("weight", steps)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (..., in) to ``out_dtype`` (..., out)."""
        rows = x.reshape(-1, x.shape[-1]).float()
        scale = rows.abs().amax(1, keepdim=True).clamp(min=MIN_SCALE) / INT8_MAX
        y = self._product((rows / scale).round_().to(torch.int8))
        y = y.mul_(scale.to(y.dtype))
        if self.bias is not None:
            y = y + self.bias
        return y.to(self.out_dtype).view(*x.shape[:-1], -1)

    def _product(self, steps: Tensor) -> Tensor:
        """Product of int8 (M, in) with the weights and their scales: float (M, out)."""
        if self.packed is not None:
            # oneDNN's fast kernels are unsigned
            shifted = steps.view(torch.uint8).bitwise_xor_(ZERO_POINT)
            layer = (self.packed, self.scale, self.zeros, None, 1.0, 0, self.out_dtype)
            product = torch.ops.onednn.qlinear_pointwise
            return product(shifted, 1.0, ZERO_POINT, *layer, "none", [], "")
        n_rows = len(steps)
        if n_rows < MIN_ROWS:
            steps = nn.functional.pad(steps, (0, 0, 0, MIN_ROWS - n_rows))
        total = torch._int_mm(steps, self.weight.t())[:n_rows]  # pyright: ignore
        return total.float().mul_(self.scale)

    def __deepcopy__(self, memo: object) -> Int8Linear:
        """Return the layer itself: it is immutable, and oneDNN's layout cannot be copied."""
        return self


def attention_bfloat16(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention in bfloat16 on a CPU: a few heads at a time, whose scores stay in the cache.

    Products are summed in float32; scores and probabilities are rounded to bfloat16.

    Args:
        q, k, v: bfloat16 (B, heads, T, width).
        bias: bfloat16 (1, heads, T, T), added to the scaled scores.

    Returns:
        bfloat16 (B, heads, T, width).
    """
    q, k, v = (part.contiguous() for part in (q, k, v))
    y = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format)
    y = y.transpose(1, 2)
    scale = q.shape[-1] ** -0.5
    for item in range(len(q)):
        for first in range(0, q.shape[1], HEADS_AT_ONCE):
            at = slice(first, first + HEADS_AT_ONCE)
            keys = k[item, at].transpose(1, 2)
            scores = torch.baddbmm(bias[0, at], q[item, at], keys, alpha=scale)
            y[item, at] = torch.bmm(scores.softmax(-1), v[item, at])
    return y


def attention_cuda(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention by the memory-efficient kernel (arXiv 2112.05682) of a CUDA device.

    torch might select cuDNN's kernel, which makes a new plan for each length; that takes longer
    than a request.

    Args:
        q, k, v: (B, heads, T, width).
        bias: (1, heads, T, T), added to the scaled scores.

    Returns:
        (B, heads, T, width).
    """
    if q.shape[-1] % 8:  # the kernel does not support this width
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    biases = bias.expand(len(q), -1, -1, -1)
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, biases, False)[0]


class PackedLinear(nn.Module):
    """A float32 linear layer with the weight in oneDNN's blocked layout; x86, inference only."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map float (..., in) to float (..., out)."""
        return with_two_rows(
            lambda rows: torch.ops.mkldnn._linear_pointwise(
                rows, self.packed, self.bias, "none", [], ""
            ),
            x,
        )

    def __deepcopy__(self, memo: object) -> PackedLinear:
        """Return the layer itself: it is immutable, and oneDNN's layout cannot be copied."""
        return self


def can_pack(linear: nn.Linear) -> bool:
    """Return whether :class:`PackedLinear` can replace the layer on this machine."""
    return rows_independent(linear.weight.device, linear.weight.dtype)


def choose_precision(model: nn.Module, wanted: str, device: str | torch.device) -> str:
    """Return the precision to use; "auto" becomes int8, bfloat16 or float32.

    A CPU gains from int8 if it has int8 dot products (VNNI), a CUDA device from bfloat16 if it has
    native support. Their effect on the embedded model's output is negligible
    (docs/benchmarks.md).

    Args:
        model: its number of parameters decides whether int8 pays.
        wanted: one of PRECISIONS.
        device: where the model will run.

    Raises:
        UserError: for a name that is not in PRECISIONS.
    """
    if wanted not in PRECISIONS:
        raise UserError(f"precision is {wanted!r}; allowed is one of {', '.join(PRECISIONS)}")
    if wanted != "auto":
        return wanted
    kind = torch.device(device).type
    if kind == "cuda" and has_bfloat16_products(device):
        return "bfloat16"
    has_int8 = kind == "cpu" and _has_int8_products()
    size = sum(p.numel() for p in model.parameters())
    return "int8" if has_int8 and size >= INT8_MIN_PARAMETERS else "float32"


def optimize_layers(model: nn.Module, precision: str) -> None:
    """Optimise a model for inference, in place; its weights can no longer be saved or trained.

    Layers with a ``fuse()`` method fuse their projections. The linear layers inside ``layers``
    become int8 with "int8", otherwise packed where possible. With "bfloat16" all of ``layers``
    computes in it, and the classifier of an accelerator in float16. Embeddings and the final norm
    do not change. The model must stay on its device.

    Args:
        model: a ``VampNet``.
        precision: "float32", "int8" or "bfloat16"; see :func:`choose_precision`.
    """
    for module in list(model.modules()):
        fuse = getattr(module, "fuse", None)
        if callable(fuse):
            fuse()
    layers = model.get_submodule("layers")
    devices = {p.device.type for p in layers.parameters()}
    on_cpu = devices <= {"cpu"}
    if "cuda" in devices:
        _set_attention(attention_cuda, model)
    if precision == "bfloat16":
        layers.to(torch.bfloat16)
        if not on_cpu:
            model.get_submodule("classifier").to(torch.float16)
        return
    bfloat16_attention = precision == "int8" and on_cpu and has_bfloat16_products("cpu")
    if bfloat16_attention:
        model.bias_dtype = torch.bfloat16  # pyright: ignore[reportArgumentType]
        _set_attention(attention_bfloat16, model)
    _replace_linears(layers, precision, BFLOAT16_OUTPUT_LAYERS if bfloat16_attention else ())


def _replace_linears(layers: nn.Module, precision: str, bfloat16_outputs: Sequence[str]) -> None:
    """Replace the linear layers by int8 or packed ones; the named ones return bfloat16."""
    for name, module in list(layers.named_modules()):
        if not isinstance(module, nn.Linear):
            continue
        if precision == "int8":
            to_bfloat16 = name.rpartition(".")[2] in bfloat16_outputs
            replacement = Int8Linear(module, torch.bfloat16 if to_bfloat16 else torch.float32)
        elif can_pack(module):
            replacement = PackedLinear(module)
        else:
            continue
        parent, _, last = name.rpartition(".")
        setattr(layers.get_submodule(parent), last, replacement)


def _set_attention(attention_fn: Callable[..., Tensor], model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "attention_fn"):
            module.attention_fn = attention_fn  # pyright: ignore[reportArgumentType]


def _has_int8_products() -> bool:
    return _processor_has("_is_vnni_supported")


def has_bfloat16_products(device: str | torch.device) -> bool:
    """Return whether bfloat16 products are faster than float32 ones (on a CPU: AVX-512 BF16)."""
    kind = torch.device(device).type
    if kind == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and _processor_has("_is_avx512_bf16_supported")


def _processor_has(check: str) -> bool:
    """Result of a check of ``torch.cpu``; False where this torch does not have the check."""
    function = getattr(torch.cpu, check, None)
    return bool(function and function())


def _can_pack_int8(weight: Tensor) -> bool:
    """Whether oneDNN's int8 product can replace ``torch._int_mm`` on this machine."""
    available = onednn_has(torch.ops.onednn, "qlinear_prepack", "qlinear_pointwise")
    return weight.device.type == "cpu" and available and _has_int8_products()
