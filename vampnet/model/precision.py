"""Layers for inference: fused projections, packed weights, int8 or bfloat16 where it is fast.

float32: the weight is laid out once in the blocks that the processor's products read (oneDNN), in
place of the plain one; about an eighth faster than laying it out at every call.

int8: each weight row and each frame's activations get a scale of their own (symmetric, 127 steps),
so that a frame's result depends on no other frame or item; products are summed exactly in int32.
Where the processor multiplies bfloat16, attention and what enters it and the gate are bfloat16.
Source: Dettmers et al., "LLM.int8()", arXiv 2208.07339, section 2.1 (vector-wise quantisation).

bfloat16: the transformer's layers alone; what enters them stays float32. On an accelerator the
classifier is float16, whose steps are eight times finer: in float32 it would take as long as a
tenth of the layers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vampnet.model.products import at_least_two_rows, onednn_offers, rows_independent
from vampnet.system.errors import UserError

PRECISIONS = ("auto", "float32", "int8", "bfloat16")
INT8_FROM = 1_000_000  # parameters from which "auto" takes int8: below, nothing is gained
STEPS = 127  # of a symmetric int8 scale
MIN_ROWS = 17  # fewer rows than this are not taken by the int8 product on every device
TINY = 1e-12
ZERO = 128  # of an unsigned byte that stands for a signed one
NARROW = ("fused", "up")  # layers that give bfloat16 in int8 mode: attention and gate read it
HEADS_AT_ONCE = 4  # in attention by itself: their scores of 10 s are 2.6 MB
PACKED_ROWS = 512  # frames that the packed layout is chosen for; others are right and as fast


class Int8Linear(nn.Module):
    """A linear layer with int8 weights and activations, inference only; gives ``out_dtype``.

    Where oneDNN can, the weight lies packed and its scale is applied inside the product.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear, out_dtype: torch.dtype = torch.float32):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp(min=TINY) / STEPS
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
        """float (..., in) to ``out_dtype`` (..., out)."""
        rows = x.reshape(-1, x.shape[-1]).float()
        scale = rows.abs().amax(1, keepdim=True).clamp(min=TINY) / STEPS
        made = self._product((rows / scale).round_().to(torch.int8))
        made = made.mul_(scale.to(made.dtype))
        if self.bias is not None:
            made = made + self.bias
        return made.to(self.out_dtype).view(*x.shape[:-1], -1)

    def _product(self, steps: Tensor) -> Tensor:
        """int8 (M, in) times the weights and their scales: float (M, out)."""
        if self.packed is not None:
            shifted = steps.view(torch.uint8).bitwise_xor_(ZERO)  # oneDNN's fast ones are unsigned
            layer = (self.packed, self.scale, self.zeros, None, 1.0, 0, self.out_dtype)
            return torch.ops.onednn.qlinear_pointwise(shifted, 1.0, ZERO, *layer, "none", [], "")
        n_rows = len(steps)
        if n_rows < MIN_ROWS:
            steps = nn.functional.pad(steps, (0, 0, 0, MIN_ROWS - n_rows))
        total = torch._int_mm(steps, self.weight.t())[:n_rows]  # pyright: ignore
        return total.float().mul_(self.scale)

    def __deepcopy__(self, memo: object) -> Int8Linear:
        """Itself: nothing changes it, and oneDNN's blocks cannot be copied."""
        return self


def attend_narrow(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention in bfloat16 on a CPU: a few heads at a time, whose scores stay in the cache.

    q, k, v: bfloat16 (B, heads, T, width); bias: bfloat16 (1, heads, T, T). Returns bfloat16 like
    q. Products are summed in float32, scores and probabilities are rounded to bfloat16.
    """
    q, k, v = (part.contiguous() for part in (q, k, v))
    made = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format)
    made = made.transpose(1, 2)
    scale = q.shape[-1] ** -0.5
    for item in range(len(q)):
        for first in range(0, q.shape[1], HEADS_AT_ONCE):
            at = slice(first, first + HEADS_AT_ONCE)
            keys = k[item, at].transpose(1, 2)
            scores = torch.baddbmm(bias[0, at], q[item, at], keys, alpha=scale)
            made[item, at] = torch.bmm(scores.softmax(-1), v[item, at])
    return made


def attend_on_cuda(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention by the memory-efficient kernel (arXiv 2112.05682) of a CUDA device.

    q, k, v: (B, heads, T, width); bias: (1, heads, T, T). The library might choose cuDNN's, which
    plans anew for each length: longer than a request takes.
    """
    if q.shape[-1] % 8:  # it takes no such width
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    wide = bias.expand(len(q), -1, -1, -1)
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, wide, False)[0]


class PackedLinear(nn.Module):
    """A float32 linear layer whose weight lies in oneDNN's blocks; an x86 CPU, inference only."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """float (..., in) to float (..., out)."""
        return at_least_two_rows(
            lambda rows: torch.ops.mkldnn._linear_pointwise(
                rows, self.packed, self.bias, "none", [], ""
            ),
            x,
        )

    def __deepcopy__(self, memo: object) -> PackedLinear:
        """Itself: nothing changes it, and oneDNN's blocks cannot be copied."""
        return self


def can_pack(linear: nn.Linear) -> bool:
    """Whether :class:`PackedLinear` can stand for the layer here."""
    return rows_independent(linear.weight.device, linear.weight.dtype)


def choose_precision(model: nn.Module, wanted: str, device: str | torch.device) -> str:
    """What "auto" means for this model and device: int8, bfloat16 or float32.

    A CPU gains by int8 if it has dot products of it (VNNI), a CUDA device by bfloat16 if it
    computes in it. docs/benchmarks.md tells what they do to the embedded model's answers (next to
    nothing). Raises ValueError for a name not in PRECISIONS.
    """
    if wanted not in PRECISIONS:
        raise UserError(f"precision is {wanted!r}; allowed is one of {', '.join(PRECISIONS)}")
    if wanted != "auto":
        return wanted
    kind = torch.device(device).type
    if kind == "cuda" and has_bfloat16_products(device):
        return "bfloat16"
    made_for_it = kind == "cpu" and _has_int8_products()
    size = sum(p.numel() for p in model.parameters())
    return "int8" if made_for_it and size >= INT8_FROM else "float32"


def prepare(model: nn.Module, precision: str) -> None:
    """Make `model` ready for inference, in place; its weights can no longer be saved or trained.

    Layers that offer ``fuse()`` join their projections. The linear layers inside ``layers`` become
    int8 with "int8", else packed where they can be: the model stays on the device it lies on. With
    "bfloat16" all of ``layers`` computes in it, and the classifier of an accelerator in float16.
    Embeddings and the last norm stay as they are.
    """
    for module in list(model.modules()):
        fuse = getattr(module, "fuse", None)
        if callable(fuse):
            fuse()
    layers = model.get_submodule("layers")
    devices = {p.device.type for p in layers.parameters()}
    on_cpu = devices <= {"cpu"}
    if "cuda" in devices:
        _attend_by(attend_on_cuda, model)
    if precision == "bfloat16":
        layers.to(torch.bfloat16)
        if not on_cpu:
            model.get_submodule("classifier").to(torch.float16)
        return
    narrow = precision == "int8" and on_cpu and has_bfloat16_products("cpu")
    if narrow:
        model.bias_dtype = torch.bfloat16  # pyright: ignore[reportArgumentType]
        _attend_by(attend_narrow, model)
    for name, module in list(layers.named_modules()):
        if not isinstance(module, nn.Linear):
            continue
        if precision == "int8":
            into_layer = narrow and name.rpartition(".")[2] in NARROW
            made = Int8Linear(module, torch.bfloat16 if into_layer else torch.float32)
        elif can_pack(module):
            made = PackedLinear(module)
        else:
            continue
        parent, _, last = name.rpartition(".")
        setattr(layers.get_submodule(parent), last, made)


def _attend_by(attend: Callable[..., Tensor], model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "attend"):
            module.attend = attend  # pyright: ignore[reportArgumentType]


def _has_int8_products() -> bool:
    return _processor_has("_is_vnni_supported")


def has_bfloat16_products(device: str | torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32 (a CPU: AVX-512 BF16)."""
    kind = torch.device(device).type
    if kind == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and _processor_has("_is_avx512_bf16_supported")


def _processor_has(check: str) -> bool:
    """What a check of ``torch.cpu`` says; False where this torch has no such check."""
    asked = getattr(torch.cpu, check, None)
    return bool(asked and asked())


def _can_pack_int8(weight: Tensor) -> bool:
    """Whether oneDNN's int8 product can stand for ``torch._int_mm`` here."""
    offered = onednn_offers(torch.ops.onednn, "qlinear_prepack", "qlinear_pointwise")
    return weight.device.type == "cpu" and offered and _has_int8_products()
