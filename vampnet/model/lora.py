"""Low-rank adapters (LoRA) on a model's linear layers, and merging them into the weights.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685,
section 4.1: the effective weight is W + (alpha / rank) * B @ A. The models do not import this file.
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
    """Which linear layers get an adapter, and its size; the defaults are the original's.

    Attributes:
        rank: inner width of an adapter.
        alpha: strength; the product B @ A is scaled by alpha / rank.
        targets: suffixes of the names of the linear layers to adapt, on whole name parts.
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
        """Return the factor of the product B @ A."""
        return self.alpha / self.rank


class LoRALinear(nn.Module):
    """A linear layer with an adapter: base(x) + scale * B A x; the base does not change."""

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
        """Map float (..., in) to float (..., out)."""
        return self.base(x) + self.scale * linear(linear(x, self.lora_A), self.lora_B)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Add the adapter to the base layer's weight, in place, and return the base layer."""
        self.base.weight.add_(self.lora_B @ self.lora_A, alpha=self.scale)
        return self.base


def apply(
    model: nn.Module, config: LoRAConfig | None = None, rng: torch.Generator | None = None
) -> None:
    """Add an adapter to every linear layer of `model` that the config names, in place.

    All adapters start without effect (B = 0). Everything but the adapters is frozen.

    Args:
        model: the model to adapt.
        config: None takes the defaults.
        rng: a CPU generator that initialises A, as training needs; None sets A to 0, to be
            replaced by :func:`load`.

    Raises:
        UserError: when a target matches no linear layer or the model has adapters already.
    """
    config = config or LoRAConfig()
    if next(_lora_layers(model), None) is not None:
        raise UserError("the model has LoRA adapters already; merge or remove them first")
    linears = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    for target in config.targets:
        if not any(_matches(target, name) for name in linears):
            raise UserError(f"LoRA target {target!r} matches none of the linear layers: {linears}")
    model.requires_grad_(False)
    for name in linears:
        if any(_matches(target, name) for target in config.targets):
            layer = model.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            _replace(model, name, LoRALinear(layer, config, rng))


def merge(model: nn.Module) -> None:
    """Merge every adapter into the weight of its layer and remove the adapters, in place.

    The output stays the same to float accuracy; all parameters are trainable again.
    """
    for name, layer in list(_lora_layers(model)):
        _replace(model, name, layer.merged())
    model.requires_grad_(True)


def remove(model: nn.Module) -> None:
    """Remove the adapters without merging them; all parameters are trainable again."""
    for name, layer in list(_lora_layers(model)):
        _replace(model, name, layer.base)
    model.requires_grad_(True)


def parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Iterate over the adapters' parameters: what fine-tuning trains."""
    for _, layer in _lora_layers(model):
        yield layer.lora_A
        yield layer.lora_B


def state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return the adapters only: `<layer>.lora_A` (rank, in) and `<layer>.lora_B` (out, rank)."""
    state: dict[str, Tensor] = {}
    for name, layer in _lora_layers(model):
        state[f"{name}.lora_A"] = layer.lora_A.detach()
        state[f"{name}.lora_B"] = layer.lora_B.detach()
    return state


@torch.no_grad()
def load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the adapters of `model` from a dictionary made by :func:`state_dict`.

    Raises:
        UserError: when a name or a shape does not match; the model is unchanged then.
    """
    own = state_dict(model)
    unmatched = sorted(own.keys() ^ state.keys())
    if unmatched:
        raise UserError(f"LoRA layers do not fit the model; on one side only: {unmatched[:4]}")
    for name, value in state.items():
        if value.shape != own[name].shape:
            found, allowed = tuple(value.shape), tuple(own[name].shape)
            raise UserError(f"LoRA {name} has shape {found}; it must be {allowed}")
    for name, value in state.items():
        own[name].copy_(value)


def config_from_state(state: Mapping[str, Tensor], alpha: float = 1.0) -> LoRAConfig:
    """Return the config that matches a state: its rank, and its layers by full name.

    Args:
        state: adapters as made by :func:`state_dict`.
        alpha: the strength, which a state does not contain.

    Raises:
        UserError: when there are no adapters or their ranks differ.
    """
    names = [name[: -len(".lora_A")] for name in state if name.endswith(".lora_A")]
    ranks = {state[f"{name}.lora_A"].shape[0] for name in names}
    if len(ranks) != 1:
        raise UserError(f"LoRA adapters have ranks {sorted(ranks)}; all must have the same one")
    return LoRAConfig(rank=ranks.pop(), alpha=alpha, targets=tuple(names))


def _matches(target: str, name: str) -> bool:
    return f".{name}".endswith(f".{target}")


def _lora_layers(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    for name, layer in model.named_modules():
        if isinstance(layer, LoRALinear):
            yield name, layer


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)
