"""Iterative parallel decoding: golden traces of the original, and its laws."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vampnet import checkpoints
from vampnet.model import sampling
from vampnet.model.logit_filters import pull_to_mean, top_p_filter, typical_filter
from vampnet.model.mask_schedule import next_mask_counts, remask, schedule, scheduled_mask_counts
from vampnet.model.sampling import Sampling, generate, sample_tokens

GREEDY = Sampling(temperature=1.0, mask_temperature=0.0, sample_cutoff=0.0)


class Toy:
    """Logits that depend on the tokens around, without weights: a model for laws."""

    mask_token = 16

    def __init__(self, n_codebooks: int = 3, predicted: int = 2):
        self.n_conditioning_codebooks = n_codebooks - predicted
        rng = torch.Generator().manual_seed(3)
        self.table = torch.randn(17, 16, generator=rng)
        self.codebooks = torch.randn(n_codebooks, 16, 5, generator=rng)
        self.seen: list[torch.Tensor] = []
        self.n_classified = 0

    def hidden(self, codes: torch.Tensor) -> torch.Tensor:
        self.seen.append(codes.clone())
        around = self.table[codes].mean(1)
        return around + around.roll(1, 1) - around.roll(-1, 1)

    def classify(self, hidden: torch.Tensor, codebook: int | None = None) -> torch.Tensor:
        self.n_classified += 1
        if codebook is None:
            n_predicted = len(self.codebooks) - self.n_conditioning_codebooks
            return torch.stack([hidden * (p + 1) for p in range(n_predicted)], dim=-2)
        return hidden * (codebook + 1)


def streams(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.golden
def test_filters_are_the_originals_and_typical_filtering_really_filters(golden) -> None:
    data = np.load(golden / "sampling.npz")
    logits = torch.tensor(data["logits"])
    seen = 0
    for name in data.files:
        wanted = torch.tensor(data[name])
        if match := re.match(r"probs_top_p([\d.]+)_temp([\d.]+)$", name):
            top_p, temperature = map(float, match.groups())
            found = (top_p_filter(logits, top_p) / temperature).softmax(-1)
            torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
            seen += 1
        elif match := re.match(r"typical_filter_mass([\d.]+)_min(\d+)$", name):
            found = typical_filter(logits, float(match[1]), int(match[2]))
            assert torch.equal(found, wanted)
            assert torch.isinf(found).any()
            seen += 1
    assert seen >= 10


@pytest.mark.golden
def test_remasked_positions_are_the_originals(golden) -> None:
    data = np.load(golden / "random_topk.npz")
    for j in range(3):
        noise = torch.tensor(data[f"noise_{j}"])
        temperature = torch.tensor(data[f"temperature_{j}"])[:, None]
        confidence = torch.tensor(data[f"probs_{j}"]).log() + temperature * noise
        found = remask(confidence, torch.tensor(data[f"num_to_mask_{j}"])[:, 0])
        assert torch.equal(found, torch.tensor(data[f"mask_{j}"]).bool())


@pytest.mark.golden
def test_schedule_is_the_originals_for_one_item(golden) -> None:
    data = np.load(golden / "gamma.npz")
    for r, gamma in zip(data["r"], data["gamma"], strict=True):
        assert schedule(float(r)) == pytest.approx(float(gamma), abs=1e-6)
    seen = 0
    for name in data.files:
        match = re.match(r"masked_after_step_N(\d+)_steps(\d+)_batch(\d+)", name)
        if not match:
            continue
        start, steps, batch = map(int, match.groups())
        now, counts = torch.tensor([start]), []
        wanted = scheduled_mask_counts(steps, now)
        for step in range(steps):
            now = next_mask_counts(wanted[step], now, step + 1 == steps)
            counts.append(int(now))
        # the original sums over the batch, so with two items its count lags; ours is per item
        assert (counts == data[name].tolist()) == (batch == 1)
        seen += 1
    assert seen >= 2


@pytest.mark.golden
@pytest.mark.parametrize("stage", ["coarse", "c2f"])
def test_greedy_generation_is_the_originals_token_for_token(golden, stage: str) -> None:
    data = np.load(golden / "generate_greedy.npz")
    codec = checkpoints.load_codec(golden / "codec.pth")
    model = checkpoints.load_vampnet(golden / f"{stage}.pth", codec)
    codes = torch.tensor(data[f"gen_{stage}_codes"]).long()
    mask = torch.tensor(data[f"gen_{stage}_mask"]).bool()
    steps = int(data[f"gen_{stage}_steps"])
    trace = []

    class Watched:
        mask_token = model.mask_token
        n_conditioning_codebooks = model.n_conditioning_codebooks
        codebooks = model.codebooks
        classify = staticmethod(model.classify)

        def hidden(self, codes: torch.Tensor) -> torch.Tensor:
            trace.append(codes.clone())
            return model.hidden(codes)

    found = generate(Watched(), codes, mask, GREEDY, streams(0), steps=steps)
    assert torch.equal(torch.stack(trace), torch.tensor(data[f"gen_{stage}_trace"]).long())
    assert torch.equal(found, torch.tensor(data[f"gen_{stage}_out"]).long())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 9), share=st.floats(0, 1))
def test_kept_tokens_stay_and_masked_ones_are_filled(seed: int, steps: int, share: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    codes = torch.randint(16, (2, 3, 13), generator=rng)
    mask = torch.rand(codes.shape, generator=rng) < share
    found = generate(Toy(), codes, mask, Sampling(steps=steps), streams(seed, seed + 1))
    assert torch.equal(found[~mask], codes[~mask])
    assert torch.equal(found[:, :1], codes[:, :1])  # conditioning codebooks are never touched
    assert int(found.max()) < 16 and int(found.min()) >= 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_an_item_does_not_depend_on_its_batch(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    codes = torch.randint(16, (3, 3, 11), generator=rng)
    mask = torch.rand(codes.shape, generator=rng) < torch.tensor([0.2, 0.6, 1.0])[:, None, None]
    together = generate(Toy(), codes, mask, Sampling(steps=5), streams(1, 2, 3))
    for i in range(3):
        alone = generate(
            Toy(), codes[i : i + 1], mask[i : i + 1], Sampling(steps=5), streams(i + 1)
        )
        assert torch.equal(alone[0], together[i])


def test_items_of_a_group_share_their_noise_and_groups_do_not() -> None:
    codes = torch.zeros(4, 3, 40, dtype=torch.long)
    mask = torch.ones_like(codes, dtype=torch.bool)
    found = generate(Toy(), codes, mask, Sampling(steps=4), streams(1, 2))
    assert torch.equal(found[0], found[1]) and torch.equal(found[2], found[3])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 9},
        {"temperature": 0.3},
        {"temperature": 0.0},
        {"mask_temperature": 0.0},
        {"typical_mass": 0.2, "typical_min_tokens": 1},
        {"top_p": 0.2},
        {"sample_cutoff": 0.0},
        {"by_codebook": True},
        {"mean_pull": 0.5},
    ],
)
def test_every_setting_moves_the_result(change: dict) -> None:
    codes = torch.zeros(1, 3, 60, dtype=torch.long)
    mask = torch.ones_like(codes, dtype=torch.bool)
    plain = generate(Toy(), codes, mask, Sampling(steps=5), streams(1))
    moved = generate(Toy(), codes, mask, Sampling(**{"steps": 5, **change}), streams(1))
    assert not torch.equal(plain, moved)


@pytest.mark.parametrize(("cutoff", "steps"), [(0.75, 4), (0.8, 6), (0.5, 2), (1.0, 4)])
def test_passes_after_the_cutoff_take_the_argmax(cutoff: float, steps: int) -> None:
    codes = torch.zeros(2, 2, 80, dtype=torch.long)
    mask, toy = torch.ones_like(codes, dtype=torch.bool), Toy(n_codebooks=2)
    sampling = Sampling(steps=steps, sample_cutoff=cutoff)
    found = generate(toy, codes, mask, sampling, streams(1, 2))
    for step in range(steps):
        seen = toy.seen[step]
        after = toy.seen[step + 1] if step + 1 < steps else found
        closed = (seen == toy.mask_token) & (after != toy.mask_token)
        logits = [toy.classify(toy.hidden(seen), p) for p in range(2)]
        argmax = torch.stack(logits, 1).argmax(-1)
        greedy = torch.equal(found[closed], argmax[closed])
        assert greedy == (step / steps >= cutoff)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 12))
def test_codebook_order_fills_a_codebook_before_the_next(seed: int, steps: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    codes = torch.randint(16, (2, 4, 17), generator=rng)
    mask = torch.rand(codes.shape, generator=rng) < torch.rand(2, 4, 1, generator=rng)
    toy = Toy(n_codebooks=4, predicted=3)
    way = Sampling(steps=steps, by_codebook=True)
    found = generate(toy, codes, mask, way, streams(seed, seed + 1))
    assert torch.equal(found[~mask], codes[~mask]) and int(found.max()) < 16
    hidden_at_all = toy.seen[0] == toy.mask_token
    for seen in toy.seen[1:]:
        open_, closed = seen == toy.mask_token, hidden_at_all & (seen != toy.mask_token)
        for p in range(1, 4):
            begun = closed[:, p].any(-1)
            assert not (begun & open_[:, 1:p].flatten(1).any(-1)).any()


def test_codebooks_that_are_not_due_need_not_be_sampled(monkeypatch) -> None:
    codes = torch.zeros(2, 4, 40, dtype=torch.long)
    mask = torch.ones_like(codes, dtype=torch.bool)
    mask[0, 1, :20] = False  # the items' codebooks fill up at different times
    made, classified = [], []
    for all_of_them in (False, True):
        toy = Toy(n_codebooks=4, predicted=3)
        if all_of_them:
            monkeypatch.setattr(sampling, "n_codebooks_due", lambda masked, n_open: masked.shape[1])
        way = Sampling(steps=6, by_codebook=True)
        made.append(generate(toy, codes, mask, way, streams(1, 2)))
        classified.append(toy.n_classified)
    assert torch.equal(*made) and classified[0] < classified[1]


@pytest.mark.parametrize("greedy, pull", [(False, 0.0), (True, 0.0), (False, 0.5), (True, 1.0)])
def test_sampling_all_positions_gives_the_same_tokens(greedy: bool, pull: float) -> None:
    rng = torch.Generator().manual_seed(2)
    toy, codes = Toy(), torch.randint(16, (3, 3, 40), generator=rng)
    masked = torch.rand(3, 2, 40, generator=rng) < 0.6
    uniform = torch.rand(3, 2, 40, generator=rng)
    way = Sampling(
        temperature=0.7, typical_mass=0.9, typical_min_tokens=4, top_p=0.95, mean_pull=pull
    )
    hidden = toy.hidden(codes)
    picked = sampling._sample_masked(toy, hidden, masked, uniform, way, greedy)
    everywhere = sampling._sample_all_positions(toy, hidden, masked, uniform, way, greedy)
    assert torch.equal(picked[0], everywhere[0])
    torch.testing.assert_close(picked[1], everywhere[1])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), sharp=st.floats(0.1, 8.0), pull=st.floats(0.0, 1.0))
def test_a_token_pulled_to_the_mean_risks_less_the_further_it_goes(
    seed: int, sharp: float, pull: float
) -> None:
    rng = torch.Generator().manual_seed(seed)
    vectors = torch.randn(12, 3, generator=rng, dtype=torch.float64)
    logits = sharp * torch.randn(40, 12, generator=rng, dtype=torch.float64)
    token = torch.randint(12, (40,), generator=rng)
    # expected squared distance of each code to what is really there
    risk = logits.softmax(-1) @ torch.cdist(vectors, vectors).square()

    def taken(share: float) -> torch.Tensor:
        return risk.gather(-1, pull_to_mean(token, logits, vectors, share)[:, None])[:, 0]

    assert torch.equal(pull_to_mean(token, logits, vectors, 0.0), token)
    torch.testing.assert_close(taken(1.0), risk.amin(-1))
    assert (taken(pull) <= risk.gather(-1, token[:, None])[:, 0] + 1e-9).all()


def test_tokens_are_sampled_with_their_probabilities() -> None:
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    uniform = torch.linspace(0, 1, 10001)[:-1]
    token, log_p = sample_tokens(p.log().expand(10000, 4), uniform, Sampling(), greedy=False)
    share = torch.bincount(token, minlength=4) / 10000
    torch.testing.assert_close(share, p, atol=2e-3, rtol=0)
    torch.testing.assert_close(log_p.exp(), p[token])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("token", [0, -1])
@pytest.mark.parametrize(
    "filters", [{}, {"typical_mass": 0.2, "typical_min_tokens": 1}, {"top_p": 0.5}], ids=str
)
def test_logits_that_are_not_finite_are_an_error(bad: float, token: int, filters: dict) -> None:
    class Broken(Toy):
        def classify(self, hidden: torch.Tensor, codebook: int | None = None) -> torch.Tensor:
            logits = super().classify(hidden, codebook)
            logits[..., token] = bad
            return logits

    codes = torch.zeros(1, 3, 8, dtype=torch.long)
    how = Sampling(steps=2, **filters)
    with pytest.raises(RuntimeError, match="not finite numbers"):
        generate(Broken(), codes, torch.ones_like(codes).bool(), how, streams(1))


def test_progress_reaches_the_end_and_can_stop_it() -> None:
    codes = torch.zeros(1, 3, 8, dtype=torch.long)
    mask = torch.ones_like(codes, dtype=torch.bool)
    calls: list[tuple[int, int]] = []
    generate(Toy(), codes, mask, Sampling(steps=4), streams(1), lambda d, t: calls.append((d, t)))
    assert calls == [(i, 4) for i in range(5)]

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Stop

    toy = Toy()
    with pytest.raises(Stop):
        generate(toy, codes, mask, Sampling(steps=4), streams(1), stop)
    assert len(toy.seen) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("steps", value) for value in (0, 2.5, 4.0, "a", True, None, 10**400)),
        *(("temperature", value) for value in (-1.0, None, "1", math.nan)),
        *(("top_p", value) for value in (1.5, True, [1])),
        *(("by_codebook", value) for value in ("no", 1, None)),
    ],
)
def test_values_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{name} is {value!r}")):
        Sampling(**{name: value})


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 1e-30])
def test_a_temperature_too_small_to_divide_by_takes_the_argmax(temperature: float) -> None:
    codes = torch.zeros(1, 3, 20, dtype=torch.long)
    mask = torch.ones_like(codes, dtype=torch.bool)
    cold, least = (
        generate(Toy(), codes, mask, Sampling(steps=3, temperature=t), streams(1))
        for t in (0.0, temperature)
    )
    assert torch.equal(cold, least)


def test_masked_positions_need_no_valid_code_and_return_int64() -> None:
    mask = torch.ones(1, 3, 8, dtype=torch.bool)
    for codes in (torch.full((1, 3, 8), -1), torch.full((1, 3, 8), 16, dtype=torch.uint8)):
        found = generate(Toy(predicted=3), codes, mask, Sampling(steps=2), streams(1))
        assert found.dtype == torch.int64 and int(found.min()) >= 0 and int(found.max()) < 16


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rng": []}, "rng is "),
        ({"rng": torch.Generator()}, "rng is "),
        ({"rng": [1]}, "rng is "),
        ({"rng": streams(1, 2)}, "2 generators do not fit"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": -1}, "steps is -1"),
        ({"steps": 1.0}, "steps is 1.0"),
        ({"mask": torch.ones(1, 3, 8).long()}, "mask is torch.int64"),
        ({"mask": torch.ones(1, 3, 7).bool()}, "need one shape"),
        ({"codes": torch.zeros(1, 3, 8)}, "codes are torch.float32"),
        ({"codes": torch.full((1, 3, 8), 17)}, "17, must be within 0..16"),
        ({"codes": torch.full((1, 3, 8), -1)}, "codes run from -1"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(change: dict, words: str) -> None:
    mask = torch.zeros(1, 3, 8, dtype=torch.bool)
    mask[..., ::2] = True
    given = {"codes": torch.zeros(1, 3, 8, dtype=torch.long), "mask": mask, "rng": streams(1)}
    toy = Toy()
    with pytest.raises(ValueError, match=words):
        generate(toy, sampling=Sampling(steps=2), **{**given, **change})
    assert not toy.seen
