"""The fast path against the plain one, and what int8 does to logits."""

from __future__ import annotations

import copy

import pytest
import torch
from precisions import compare_precisions  # noqa: E402
from reference import Reference, reference_logits  # noqa: E402

from vampnet.model import VampNet, VampNetConfig, matmul, precision
from vampnet.model.precision import (
    Int8Linear,
    PackedLinear,
    attention_bfloat16,
    can_pack,
    choose_precision,
    optimize_layers,
)
from vampnet.model.sampling import Sampling, _sample_all_positions, _sample_masked, generate

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def small(conditioning: int = 0, tied: float = 8.0) -> VampNet:
    torch.manual_seed(5)
    config = VampNetConfig(
        n_codebooks=4,
        n_conditioning_codebooks=conditioning,
        n_layers=2,
        n_heads=2,
        embedding_dim=32,
        vocab_size=48,
        latent_dim=8,
        dropout=0.0,
        embedding_kernel=3,
        tied_head_scale=tied,
    )
    model = VampNet(config).eval()
    model.codebooks.normal_()
    return model


def fast(model: VampNet, wanted: str = "float32") -> VampNet:
    made = copy.deepcopy(model)
    optimize_layers(made, wanted)
    return made


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("conditioning, tied", [(0, 0.0), (0, 8.0), (1, 8.0)])
@torch.no_grad()
def test_fast_logits_are_the_plain_ones(device: str, conditioning: int, tied: float) -> None:
    model = small(conditioning, tied).to(device)
    codes = torch.randint(49, (2, 4, 40), generator=torch.Generator().manual_seed(1)).to(device)
    want = reference_logits(model, codes)
    quick = fast(model)
    torch.testing.assert_close(quick(codes), want, atol=1e-4, rtol=0)
    hidden = quick.hidden(codes)
    for p in range(want.shape[1]):
        found = quick.classify(hidden[:, 3:9], p)
        torch.testing.assert_close(found, want[:, p, 3:9], atol=1e-4, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(steps=6),
        Sampling(steps=6, temperature=0.7, top_p=0.9),
        Sampling(steps=6, temperature=0.8, typical_mass=0.5, typical_min_tokens=4),
        Sampling(steps=6, sample_cutoff=0.5),
    ],
)
def test_same_seed_same_tokens_on_both_paths(device: str, sampling: Sampling) -> None:
    model = small(1).to(device)
    rng = torch.Generator().manual_seed(2)
    codes = torch.randint(48, (4, 4, 50), generator=rng).to(device)
    mask = (torch.rand(codes.shape, generator=rng) < 0.7).to(device)
    made = [
        generate(either, codes, mask, sampling, [torch.Generator().manual_seed(s) for s in (1, 2)])
        for either in (Reference(model), fast(model))
    ]
    assert torch.equal(made[0], made[1])


@torch.no_grad()
def test_both_sampling_functions_agree_on_both_paths() -> None:
    model, rng = small(), torch.Generator().manual_seed(3)
    codes = torch.randint(49, (2, 4, 30), generator=rng)
    open_, uniform = codes == 48, torch.rand(codes.shape, generator=rng)
    open_[:, 2] = True
    found = [
        how(either, either.hidden(codes), open_, uniform, Sampling(), False)
        for either in (Reference(model), fast(model))
        for how in (_sample_masked, _sample_all_positions)
    ]
    for token, log_p in found[1:]:
        assert torch.equal(token, found[0][0])
        torch.testing.assert_close(log_p, found[0][1])


def test_the_bias_follows_its_weights() -> None:
    model, codes = small(), torch.zeros(1, 4, 20, dtype=torch.int64)
    with torch.no_grad():
        before = model(codes)
        model.relative_bias.weight.add_(torch.randn(32, 2))
        assert not torch.allclose(model(codes), before)
        torch.testing.assert_close(model(codes), reference_logits(model, codes))


@torch.no_grad()
def test_an_int8_layer_is_near_and_rows_are_independent() -> None:
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(64, 96), torch.randn(2, 40, 64)
    quick = Int8Linear(linear)
    want, found = linear(x), quick(x)
    assert (found - want).square().mean() < (0.02**2) * want.square().mean()
    x[1] *= 100  # a loud item in the batch changes nothing
    assert torch.equal(quick(x)[0], found[0])
    assert torch.equal(quick(x[:1, :3])[0], found[0, :3])
    assert torch.isfinite(quick(torch.zeros(1, 4, 64))).all()


@pytest.mark.parametrize("rows", [1, 16, 17, 575, 1300])
@torch.inference_mode()
def test_both_int8_products_sum_the_same_whole_numbers(rows: int, monkeypatch) -> None:
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(96, 160), 3 * torch.randn(rows, 96)
    packed = Int8Linear(linear)
    if packed.packed is None:
        pytest.skip("this machine's torch has no packed int8 products")
    monkeypatch.setattr(precision, "_can_pack_int8", lambda weight: False)
    plain = Int8Linear(linear)
    torch.testing.assert_close(packed(x), plain(x), atol=1e-5, rtol=1e-6)
    reduced = Int8Linear(linear, torch.bfloat16)(x)
    assert reduced.dtype == torch.bfloat16
    torch.testing.assert_close(reduced.float(), plain(x), atol=0.02, rtol=0.02)
    assert torch.equal(copy.deepcopy(packed)(x), packed(x))


@pytest.mark.parametrize("n_heads", [1, 4, 7])
@torch.inference_mode()
def test_bfloat16_attention_is_torch_s_up_to_rounding(n_heads: int) -> None:
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(2, 30, 3 * n_heads * 8, generator=rng)
    q, k, v = (part.view(2, 30, n_heads, 8).transpose(1, 2) for part in x.chunk(3, -1))
    bias = torch.randn(1, n_heads, 30, 30, generator=rng)
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    found = attention_bfloat16(*(part.bfloat16() for part in (q, k, v, bias)))
    assert found.shape == want.shape and found.transpose(1, 2).is_contiguous()
    error = (found - want).square().mean().sqrt()
    assert error < 0.01 * want.square().mean().sqrt()


@torch.no_grad()
def test_int8_without_bfloat16_products_stays_float32_between_the_layers(monkeypatch) -> None:
    codes = torch.randint(49, (2, 4, 40), generator=torch.Generator().manual_seed(1))
    want = reference_logits(small(1), codes)
    for has_them in (True, False):
        monkeypatch.setattr(precision, "has_bfloat16_products", lambda _, it=has_them: it)
        quick = fast(small(1), "int8")
        given = {m.out_dtype for m in quick.modules() if isinstance(m, Int8Linear)}
        reduced = {torch.bfloat16} if has_them else set()
        assert given == {torch.float32} | reduced
        assert (quick(codes) - want).square().mean().sqrt() < 0.05 * want.std()


def test_a_frame_s_values_are_contiguous_in_every_layer() -> None:
    model, codes = small(), torch.zeros(2, 4, 20, dtype=torch.int64)
    given = []
    for part in (*model.layers, model.norm):
        part.register_forward_pre_hook(lambda part, inputs: given.append(inputs[0]))
    model(codes)
    assert [x.is_contiguous() for x in given] == [True] * 3


@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_a_packed_layer_is_the_plain_one_for_any_number_of_rows(bias: bool) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(96, 160, bias=bias)
    if not can_pack(linear):
        pytest.skip("this machine's torch has no packed products")
    quick = PackedLinear(linear)
    for shape in ((1, 96), (1, 1, 96), (2, 7, 96), (1, 575, 96), (3, 640, 96)):
        x = torch.randn(shape)
        torch.testing.assert_close(quick(x), linear(x), atol=1e-5, rtol=0)
    assert torch.equal(copy.deepcopy(quick)(x), quick(x))
    x = torch.randn(96, 33).t()  # rows that are not contiguous
    torch.testing.assert_close(quick(x), linear(x), atol=1e-5, rtol=0)


@torch.no_grad()
def test_layers_stay_plain_where_nothing_can_be_packed(monkeypatch) -> None:
    assert not can_pack(torch.nn.Linear(4, 4, device="meta"))
    assert not can_pack(torch.nn.Linear(4, 4).double())
    monkeypatch.setattr(matmul.platform, "machine", lambda: "arm64")
    model = small()
    codes = torch.randint(49, (1, 4, 21), generator=torch.Generator().manual_seed(1))
    quick = fast(model)
    assert not any(isinstance(m, PackedLinear) for m in quick.modules())
    torch.testing.assert_close(quick(codes), reference_logits(model, codes), atol=1e-4, rtol=0)


@torch.no_grad()
def test_bfloat16_layers_are_near_and_scores_stay_float32() -> None:
    model = small(1)
    codes = torch.randint(49, (2, 4, 40), generator=torch.Generator().manual_seed(1))
    want, quick = reference_logits(model, codes), fast(model, "bfloat16")
    assert {p.dtype for p in quick.layers.parameters()} == {torch.bfloat16}
    found = quick(codes)
    assert found.dtype == torch.float32
    error = (found - want).square().mean().sqrt()
    assert 0 < error < 0.05 * want.std()


@pytest.mark.slow
@torch.no_grad()
def test_a_pass_runs_without_weights_and_compiled() -> None:
    """What an accelerator needs of a pass: one graph, no look at a value, shapes known before."""
    codes = torch.zeros(2, 4, 30, dtype=torch.int64)
    assert small(1).to("meta")(codes.to("meta")).shape == (2, 3, 30, 48)
    model = fast(small(1), "bfloat16")
    compiled = torch.compile(model.hidden, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(codes), model.hidden(codes))


def test_auto_takes_int8_where_the_processor_has_int8_products(monkeypatch) -> None:
    assert choose_precision(small(), "auto", "cpu") == "float32"
    assert choose_precision(small(), "int8", "cpu") == "int8"
    large = VampNet(VampNetConfig(n_layers=1, embedding_dim=320, n_heads=5))
    for made_for_it, wanted in ((True, "int8"), (False, "float32")):
        monkeypatch.setattr(precision, "_has_int8_products", lambda it=made_for_it: it)
        assert choose_precision(large, "auto", "cpu") == wanted
        assert choose_precision(large, "auto", "meta") == "float32"
    assert any(isinstance(m, Int8Linear) for m in fast(small(), "int8").modules())
    with pytest.raises(ValueError, match="precision is 'int4'"):
        choose_precision(small(), "int4", "cpu")


def test_the_effect_of_a_precision_is_measured_on_masked_tokens_only() -> None:
    model, rng = small(1), torch.Generator().manual_seed(1)
    codes = torch.randint(48, (3, 4, 30), generator=rng)
    mask = torch.rand(codes.shape, generator=rng) < 0.5
    mask[:, :1] = False
    same = compare_precisions(model, model, codes, mask)
    assert same.agree == 1.0 and same.error == 0.0 and same.reference == same.lower
    with torch.no_grad():
        logits = model(codes.masked_fill(mask, model.mask_token))[mask[:, 1:]]
    wanted = torch.nn.functional.cross_entropy(logits, codes[:, 1:][mask[:, 1:]])
    assert same.reference == pytest.approx(float(wanted), abs=1e-5)
    other = compare_precisions(model, small(1, tied=0.0), codes, mask)
    assert other.agree < 1.0 and other.error > 0.1
