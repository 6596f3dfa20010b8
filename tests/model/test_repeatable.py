"""The law that makes seeds repeat: a result depends neither on its batch nor on the threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from conftest import chord
from hypothesis import given, settings
from hypothesis import strategies as st

from vampnet.model import VampNet, matmul
from vampnet.model.logit_filters import pull_to_mean
from vampnet.model.sampling import Sampling, sample_tokens
from vampnet.pipeline import Pipeline
from vampnet.prompt import Prompt

THREADS = (1, 2, 3)
FAST = Sampling(steps=2, fine_steps=1, mean_pull=0.3)


@pytest.fixture(autouse=True)
def same_threads_after() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module", params=["float32", "int8", "bfloat16"])
def shipped(request: pytest.FixtureRequest) -> tuple[str, Pipeline]:
    return request.param, Pipeline.from_pretrained(precision=request.param, keep_weights=False)


def models(pipeline: Pipeline) -> list[VampNet]:
    assert pipeline.c2f is not None
    return [pipeline.coarse, pipeline.c2f]


def tokens(model: VampNet, n_items: int, n_frames: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(n_frames)
    shape = (n_items, model.config.n_codebooks, n_frames)
    codes = torch.randint(model.mask_token, shape, generator=rng)
    return codes.masked_fill(torch.rand(shape, generator=rng) < 0.8, model.mask_token)


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 900),
    width=st.sampled_from([8, 28, 256, 512, 1568, 2560]),
    out=st.sampled_from([8, 256, 1024]),
    threads=st.sampled_from(THREADS),
    seed=st.integers(0, 99),
)
@torch.inference_mode()
def test_a_row_depends_on_no_other_row_nor_on_threads(rows, width, out, threads, seed) -> None:
    if not matmul.rows_independent("cpu", torch.float32):
        pytest.skip("this machine computes items one by one")
    rng = torch.Generator().manual_seed(seed)
    x, weight = (torch.randn(n, width, generator=rng) for n in (900, out))
    bias = torch.randn(out, generator=rng)
    torch.set_num_threads(2)
    want = matmul.linear(x, weight, bias)
    torch.testing.assert_close(want, torch.nn.functional.linear(x, weight, bias), atol=1e-3, rtol=0)
    torch.set_num_threads(threads)
    first = seed % (901 - rows)
    found = matmul.linear(x[first : first + rows], weight, bias)
    assert torch.equal(found, want[first : first + rows])


@pytest.mark.parametrize("n_frames", [1, 168, 320])
@torch.inference_mode()
def test_an_item_of_the_model_that_ships_does_not_depend_on_its_batch(shipped, n_frames) -> None:
    for model in models(shipped[1]):
        codes = tokens(model, 4, n_frames)
        together = model.hidden(codes)
        for part in (slice(0, 1), slice(1, 3), slice(2, 4)):
            alone = model.hidden(codes[part])
            assert torch.equal(together[part], alone)
            logits = model.classify(together, 1)[part]
            assert torch.equal(model.classify(alone[:, :1], 1), logits[:, :1])


@pytest.mark.parametrize("n_frames", [173, 320])
@torch.inference_mode()
def test_the_model_that_ships_does_not_depend_on_the_threads(shipped, n_frames) -> None:
    precision, pipeline = shipped
    if precision == "bfloat16":
        return  # its products are summed as the threads share them: see docs/architecture.md
    for model in models(pipeline):
        codes, found = tokens(model, 2, n_frames), []
        for n_threads in THREADS:
            torch.set_num_threads(n_threads)
            found.append(model.hidden(codes))
        assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.slow
@torch.inference_mode()
def test_a_take_does_not_depend_on_the_others_nor_on_threads(shipped) -> None:
    precision, pipeline = shipped
    audio = torch.stack([chord(2.6, seed=1), chord(2.6, seed=2)])
    prompt = Prompt(period=7)
    want = pipeline.vamp(audio, prompt, FAST, 5, takes=3).codes[:2]
    assert torch.equal(pipeline.vamp(audio, prompt, FAST, 5).codes, want)
    if precision != "bfloat16":
        torch.set_num_threads(3)
        assert torch.equal(pipeline.vamp(audio, prompt, FAST, 5).codes, want)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_p=0.9), Sampling(typical_mass=0.5)])
@torch.inference_mode()
def test_a_choice_depends_on_its_row_alone(sampling: Sampling) -> None:
    rng = torch.Generator().manual_seed(1)
    logits, vectors = torch.randn(700, 1024, generator=rng), torch.randn(1024, 8, generator=rng)
    uniform = torch.rand(700, generator=rng)
    want = sample_tokens(logits, uniform, sampling, False, vectors)
    pulled = pull_to_mean(want[0], logits, vectors, 0.5)
    for n_threads, n_rows in ((1, 1), (2, 3), (3, 100), (3, 699)):
        torch.set_num_threads(n_threads)
        rows = slice(700 - n_rows, 700)
        found = sample_tokens(logits[rows], uniform[rows], sampling, False, vectors)
        assert all(torch.equal(a, b[rows]) for a, b in zip(found, want, strict=True))
        assert torch.equal(pull_to_mean(found[0], logits[rows], vectors, 0.5), pulled[rows])


@torch.inference_mode()
def test_without_independent_rows_items_are_computed_one_by_one(monkeypatch) -> None:
    monkeypatch.setattr(matmul, "rows_independent", lambda device, dtype: False)
    pipeline = Pipeline.from_pretrained(precision="float32", keep_weights=False)
    audio = torch.stack([chord(1.0, seed=1), chord(1.0, seed=2)])
    want = pipeline.vamp(audio, Prompt(period=7), FAST, 5, takes=2).codes[:2]
    assert torch.equal(pipeline.vamp(audio, Prompt(period=7), FAST, 5).codes, want)
