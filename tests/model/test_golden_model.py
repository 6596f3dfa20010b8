"""The masked models against the original's own outputs (tests/golden, described there)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from places import GOLDEN
from torch import Tensor

from vampnet import checkpoints
from vampnet.checkpoints import original_names
from vampnet.codec import Codec
from vampnet.model import VampNet, lora
from vampnet.model.vampnet import relative_bucket

LOGITS = 1e-4  # absolute, on values up to about 5

pytestmark = pytest.mark.golden


@pytest.fixture(scope="module")
def codec() -> Codec:
    return checkpoints.load_codec(GOLDEN / "codec.pth")


@pytest.fixture(scope="module")
def models(codec) -> dict[str, VampNet]:
    coarse = GOLDEN / "coarse.pth"
    delta = GOLDEN / "coarse_lora_delta.pth"
    return {
        "coarse": checkpoints.load_vampnet(coarse, codec),
        "c2f": checkpoints.load_vampnet(GOLDEN / "c2f.pth", codec),
        "lora_full": checkpoints.load_vampnet(GOLDEN / "loras/tiny/coarse.pth", codec),
        "lora_delta": checkpoints.load_vampnet(coarse, codec, adapters=delta),
    }


def arrays(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def flat(logits: Tensor) -> Tensor:
    """Our (B, P, T, V) as the original's (B, V, T * P), position t * P + c."""
    return logits.permute(0, 3, 2, 1).flatten(2)


@torch.no_grad()
def stream(model: VampNet, codes: Tensor) -> list[Tensor]:
    """The residual stream after each layer."""
    found: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda module, given, out: found.append(out))
        for layer in model.layers
    ]
    model(codes)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("case", ["coarse_T16", "c2f_T6", "lora_full_T5", "lora_delta_T5"])
@torch.no_grad()
def test_every_stage_of_a_forward_pass(models, case):
    want, model = arrays(f"forward_{case}"), models[case.rpartition("_")[0]]
    codes = want["tokens"].long()
    last = codes[-1:]
    assert torch.equal(model.latents(last), want["latents"])
    embedded = model.embedding(model.latents(last))
    torch.testing.assert_close(embedded, want["embedding"], atol=1e-5, rtol=0)
    for ours, theirs in zip(stream(model, last), want["layer_outputs"], strict=True):
        torch.testing.assert_close(ours, theirs, atol=LOGITS, rtol=0)
    logits = flat(model(codes))
    torch.testing.assert_close(logits[-1:], want["logits"], atol=LOGITS, rtol=0)
    assert torch.equal(logits.argmax(1), want["argmax"].long())
    torch.testing.assert_close(logits.mean((1, 2)), want["logits_mean"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", ["coarse_T200", "c2f_T120"])
@torch.no_grad()
def test_long_passes(models, case):
    want, model = arrays(f"forward_{case}"), models[case.rpartition("_")[0]]
    logits = flat(model(want["tokens"].long()))
    stride = int(want["vocab_stride"])
    found = logits[-1:, ::stride][:, :, want["positions"]]
    torch.testing.assert_close(found, want["logits_at"], atol=LOGITS, rtol=0)
    assert torch.equal(logits.argmax(1), want["argmax"].long())


def test_relative_buckets_are_exact(models):
    want = arrays("relative_buckets")
    assert torch.equal(relative_bucket(want["relative_position"]), want["bucket"].long())
    frame = torch.arange(200)
    assert torch.equal(relative_bucket(frame[None] - frame[:, None]), want["matrix_200"].long())
    model = models["coarse"]
    assert torch.equal(model.relative_bias.weight, want["bias_table"])
    assert torch.equal(model.position_bias(200)[0, :, [0, 50, 199]], want["bias_rows"])


@torch.no_grad()
def test_adapters_unmerged_give_the_same(codec):
    model = checkpoints.load_vampnet(GOLDEN / "coarse.pth", codec)
    want = arrays("forward_lora_delta_T5")
    codes = want["tokens"][-1:].long()
    plain = flat(model(codes))
    content = torch.load(GOLDEN / "coarse_lora_delta.pth", weights_only=True)
    adapters = original_names.read_adapters(content)
    lora.apply(model, lora.config_from_state(adapters))
    lora.load(model, adapters)
    unmerged = flat(model(codes))
    torch.testing.assert_close(unmerged, want["logits"], atol=LOGITS, rtol=0)
    assert (unmerged - plain).abs().max() > 100 * LOGITS
