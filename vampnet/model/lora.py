"""Low-rank adapters laid over a model's linear layers from outside, and merged into them.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685,
section 4.1: the effective weight is W + (alpha / rank) * B @ A. The model knows nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from vampnet.system.errors import UserError

ORIGINAL_TARGETS = (
    "attention.query",
    "attention.value",
    "attention.output",
    "feed_forward.up",
    "feed_forward.down",
)  # the layers that the original VampNet adapts; not the keys


@dataclass(frozen=True)
class LoRAConfig:
    """Which linear layers get an adapter, and how large; the defaults are the original's.

    rank: inner width of an adapter; alpha: its strength, the product is scaled by alpha / rank;
    targets: endings of the names of the linear layers to adapt, on whole name parts.
    """

    rank: int = 8
    alpha: float = 1.0
    targets: tuple[str, ...] = ORIGINAL_TARGETS

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"LoRA rank is {self.rank}; it must be 1 or more")
        if not self.targets:
            raise UserError("LoRA targets are empty; name at least one linear layer")

    @property
    def scale(self) -> float:
        """What the product B @ A is multiplied by."""
        return self.alpha / self.rank


class Adapted(nn.Module):
    """A linear layer with an adapter over it: base(x) + scale * B A x; the base is untouched."""

    def __init__(self, base: nn.Linear, config: LoRAConfig, rng: torch.Generator | None) -> None:
        super().__init__()
        self.base = base
        self.scale = config.scale
        weight = base.weight
        lora_a = torch.zeros(config.rank, base.in_features)
        if rng is not None:
            lora_a.uniform_(-1, 1, generator=rng).div_(math.sqrt(base.in_features))
        self.lora_A = nn.Parameter(lora_a.to(weight))
        self.lora_B = nn.Parameter(weight.new_zeros(base.out_features, config.rank))

    def forward(self, x: Tensor) -> Tensor:
        """float (..., in) to float (..., out)."""
        return self.base(x) + self.scale * linear(linear(x, self.lora_A), self.lora_B)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The base layer itself, with the adapter added to its weight in place."""
        self.base.weight.add_(self.lora_B @ self.lora_A, alpha=self.scale)
        return self.base


def apply(
    model: nn.Module, config: LoRAConfig | None = None, rng: torch.Generator | None = None
) -> None:
    """Lay an adapter over every linear layer of `model` that the config names, in place.

    All adapters start without effect (B = 0). rng (CPU) draws A, as training needs; without it A
    is 0 too, to be filled by :func:`load`. Everything but the adapters is frozen. Raises
    ValueError when a target names no linear layer or the model has adapters already.
    """
    config = config or LoRAConfig()
    if next(_adapted(model), None) is not None:
        raise UserError("the model has LoRA adapters already; merge or remove them first")
    linears = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    for target in config.targets:
        if not any(_names(target, name) for name in linears):
            raise UserError(f"LoRA target {target!r} names none of the linear layers: {linears}")
    model.requires_grad_(False)
    for name in linears:
        if any(_names(target, name) for target in config.targets):
            layer = model.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            _replace(model, name, Adapted(layer, config, rng))


def merge(model: nn.Module) -> None:
    """Add every adapter to the weight below it and take the adapters off, in place.

    The output stays the same to float accuracy; all parameters are trainable again.
    """
    for name, layer in list(_adapted(model)):
        _replace(model, name, layer.merged())
    model.requires_grad_(True)


def remove(model: nn.Module) -> None:
    """Take the adapters off without a trace; all parameters are trainable again."""
    for name, layer in list(_adapted(model)):
        _replace(model, name, layer.base)
    model.requires_grad_(True)


def parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """The adapters' parameters: what fine-tuning trains."""
    for _, layer in _adapted(model):
        yield layer.lora_A
        yield layer.lora_B


def state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The adapters alone: `<layer>.lora_A` (rank, in) and `<layer>.lora_B` (out, rank)."""
    state: dict[str, Tensor] = {}
    for name, layer in _adapted(model):
        state[f"{name}.lora_A"] = layer.lora_A.detach()
        state[f"{name}.lora_B"] = layer.lora_B.detach()
    return state


@torch.no_grad()
def load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fill the adapters of `model` from what :func:`state_dict` gave.

    Raises ValueError, and changes nothing, when a name or a shape does not fit.
    """
    own = state_dict(model)
    strange = sorted(own.keys() ^ state.keys())
    if strange:
        raise UserError(f"LoRA layers do not fit the model; on one side only: {strange[:4]}")
    for name, value in state.items():
        if value.shape != own[name].shape:
            found, allowed = tuple(value.shape), tuple(own[name].shape)
            raise UserError(f"LoRA {name} has shape {found}; it must be {allowed}")
    for name, value in state.items():
        own[name].copy_(value)


def config_of(state: Mapping[str, Tensor], alpha: float = 1.0) -> LoRAConfig:
    """The config under which :func:`load` takes `state`: its rank, and its layers by full name.

    Raises ValueError when there are no adapters or their ranks differ.
    """
    names = [name[: -len(".lora_A")] for name in state if name.endswith(".lora_A")]
    ranks = {state[f"{name}.lora_A"].shape[0] for name in names}
    if len(ranks) != 1:
        raise UserError(f"LoRA adapters have ranks {sorted(ranks)}; all must have the same one")
    return LoRAConfig(rank=ranks.pop(), alpha=alpha, targets=tuple(names))


def _names(target: str, name: str) -> bool:
    return f".{name}".endswith(f".{target}")


def _adapted(model: nn.Module) -> Iterator[tuple[str, Adapted]]:
    for name, layer in model.named_modules():
        if isinstance(layer, Adapted):
            yield name, layer


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)
