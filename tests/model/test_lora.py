"""Laws of low-rank adapters: no effect at first, merged = unmerged, removable without a trace."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vampnet.model import VampNet, VampNetConfig, lora

CONFIG = VampNetConfig(
    n_codebooks=4, n_layers=2, n_heads=2, embedding_dim=16, vocab_size=32, latent_dim=4
)


@pytest.fixture
def model() -> VampNet:
    torch.manual_seed(0)
    model = VampNet(CONFIG).eval()
    model.codebooks.normal_()
    return model


@pytest.fixture
def codes() -> torch.Tensor:
    return torch.randint(0, 33, (2, 4, 9), generator=torch.Generator().manual_seed(1))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(model: nn.Module) -> None:
    """Give every B values, as training would."""
    for name, value in lora.state_dict(model).items():
        if name.endswith("lora_B"):
            value.normal_(generator=rng(len(name)))


@torch.no_grad()
def test_fresh_adapters_change_nothing(model, codes):
    before = model(codes)
    lora.apply(model, rng=rng())
    assert torch.equal(model(codes), before)


@pytest.mark.parametrize("rank, alpha", [(8, 1.0), (3, 6.0)])
@torch.no_grad()
def test_merged_equals_unmerged(model, codes, rank, alpha):
    before = model(codes)
    lora.apply(model, lora.LoRAConfig(rank=rank, alpha=alpha), rng())
    trained(model)
    unmerged = model(codes)
    lora.merge(model)
    assert (unmerged - before).abs().max() > 0.05
    assert (model(codes) - unmerged).abs().max() < 1e-5
    assert not lora.state_dict(model)


@torch.no_grad()
def test_merged_weight_is_base_plus_scaled_product(model):
    layer = model.layers[0].attention.query
    base = layer.weight.clone()
    lora.apply(model, lora.LoRAConfig(rank=4, alpha=2.0), rng())
    trained(model)
    state = lora.state_dict(model)
    lora.merge(model)
    a, b = (state[f"layers.0.attention.query.lora_{side}"] for side in "AB")
    torch.testing.assert_close(model.layers[0].attention.query.weight, base + 0.5 * b @ a)


@torch.no_grad()
def test_removed_adapters_leave_no_trace(model, codes):
    before, names = model(codes), list(model.state_dict())
    lora.apply(model, rng=rng())
    trained(model)
    lora.remove(model)
    assert torch.equal(model(codes), before)
    assert list(model.state_dict()) == names


@torch.no_grad()
def test_state_moves_to_another_model(model, codes):
    other = copy.deepcopy(model)
    lora.apply(model, lora.LoRAConfig(rank=5), rng())
    trained(model)
    state = lora.state_dict(model)
    lora.apply(other, lora.config_from_state(state))
    lora.load(other, state)
    assert torch.equal(other(codes), model(codes))


def test_only_adapters_learn(model, codes):
    lora.apply(model, rng=rng())
    model(codes).square().mean().backward()
    learning = [name for name, value in model.named_parameters() if value.grad is not None]
    assert learning and all("lora_" in name for name in learning)
    assert len(list(lora.parameters(model))) == len(learning) == 2 * 2 * 5
    lora.merge(model)
    assert all(value.requires_grad for value in model.parameters())


def test_same_seed_same_adapters(model):
    one, two, three = (copy.deepcopy(model) for _ in range(3))
    for each, seed in ((one, 3), (two, 3), (three, 4)):
        lora.apply(each, rng=rng(seed))
    a, b, c = (
        lora.state_dict(each)["layers.0.attention.query.lora_A"] for each in (one, two, three)
    )
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_what_does_not_fit_is_refused_and_changes_nothing(model):
    with pytest.raises(ValueError, match="attention.key_typo"):
        lora.apply(model, lora.LoRAConfig(targets=("attention.key_typo",)))
    with pytest.raises(ValueError, match="rank is 0"):
        lora.LoRAConfig(rank=0)
    lora.apply(model, rng=rng())
    with pytest.raises(ValueError, match="already"):
        lora.apply(model)
    state = {name: value + 1 for name, value in lora.state_dict(model).items()}
    first = next(iter(state))
    with pytest.raises(ValueError, match="shape"):
        lora.load(model, {**state, first: torch.zeros(3, 3)})
    with pytest.raises(ValueError, match="on one side only"):
        lora.load(model, {name: value for name, value in state.items() if name != first})
    assert not torch.equal(lora.state_dict(model)[first], state[first])
