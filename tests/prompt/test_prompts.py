"""Laws of the prompts, and the masks the original made (tests/golden, described there)."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from places import GOLDEN

from vampnet.model import Sampling
from vampnet.prompt import Prompt

RATE_HZ = 44100 / 768
MASKS = np.load(GOLDEN / "masks.npz")
BEATS = np.load(GOLDEN / "beat_onset_masks.npz")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def masked(prompt: Prompt, n_frames: int = 50, n_codebooks: int = 14, **given_times) -> np.ndarray:
    """The prompt's mask as the fixtures hold it: int (N, T), 1 = generate."""
    return prompt.mask(n_frames, n_codebooks, RATE_HZ, **given_times)[0].int().numpy()


def same(prompt: Prompt, key: str, **given_times) -> None:
    wanted = np.broadcast_to(MASKS[key], (14, 50))
    np.testing.assert_array_equal(masked(prompt, **given_times), wanted, err_msg=key)


# --- the original's masks ---------------------------------------------------------------------


@pytest.mark.golden
def test_periodic_masks_of_odd_width_are_the_originals():
    for period, width in [(7, 1), (7, 3), (13, 5), (1, 1), (2, 1), (0, 1), (49, 9), (60, 3)]:
        same(Prompt(period=period, period_width=width), f"periodic_p{period}_w{width}")


@pytest.mark.golden
def test_even_widths_keep_what_they_say_where_the_original_kept_one_more():
    for period, width in [(7, 2), (3, 4), (5, 6)]:
        ours = masked(Prompt(period=period, period_width=width))[0]
        original = MASKS[f"periodic_p{period}_w{width}"]
        assert (ours >= original).all()
    kept = np.flatnonzero(masked(Prompt(period=7, period_width=2))[0] == 0)
    assert kept[:4].tolist() == [0, 1, 7, 8]
    assert np.flatnonzero(MASKS["periodic_p7_w2"] == 0)[:5].tolist() == [0, 1, 6, 7, 8]


@pytest.mark.golden
def test_prefix_and_suffix_are_the_originals_inpaint():
    for prefix, suffix in [(0, 0), (5, 0), (0, 6), (10, 12), (50, 0), (30, 30)]:
        prompt = Prompt(prefix_s=prefix / RATE_HZ, suffix_s=suffix / RATE_HZ)
        same(prompt, f"inpaint_pre{prefix}_suf{suffix}")


@pytest.mark.golden
def test_codebook_masks_are_the_originals():
    for n in (0, 1, 3, 4, 9, 14):
        same(Prompt(period=7, codebooks_kept=n), f"codebook_mask_p7_val{n}")
    for n in (0, 1, 4):
        same(Prompt(compression=n), f"codebook_unmask_full_n{n}")


@pytest.mark.golden
def test_union_of_prompts_is_the_originals_mask_and():
    seven, five = (masked(Prompt(period=p)) for p in (7, 5))
    np.testing.assert_array_equal(np.minimum(seven, five)[0], MASKS["mask_and_p7_p5"])
    np.testing.assert_array_equal(np.maximum(seven, five)[0], MASKS["mask_or_p7_p5"])


@pytest.mark.golden
def test_masked_tokens_are_the_originals():
    mask = masked(Prompt(period=7, codebooks_kept=3)).astype(bool)
    tokens = np.where(mask, 1024, MASKS["apply_tokens_in"])
    np.testing.assert_array_equal(tokens, MASKS["apply_tokens_out"])


@pytest.mark.golden
def test_whole_masks_are_the_originals_where_nothing_is_drawn():
    for case in (0, 1, 3):
        args = json.loads(str(MASKS[f"build_mask_{case}_args"]))
        prompt = Prompt(
            period=args.get("periodic_prompt", 7),
            period_width=args.get("periodic_prompt_width", 1),
            period_phase=args["roll"],
            codebooks_kept=args.get("upper_codebook_mask", 3),
        )
        same(prompt, f"build_mask_{case}")


@pytest.mark.golden
def test_the_whole_mask_with_draws_agrees_in_all_that_is_not_drawn():
    original = MASKS["build_mask_2"]
    args = json.loads(str(MASKS["build_mask_2_args"]))
    ours = masked(
        Prompt(
            period=5,
            period_phase=args["roll"],
            prefix_s=0.1,
            suffix_s=0.2,
            compression=2,
            codebooks_kept=6,
        )
    )
    np.testing.assert_array_equal(ours[:2], original[:2])
    np.testing.assert_array_equal(ours[6:], original[6:])
    # A frame we keep was kept in all of codebooks 2-5 there, or lost in all of them by dropout.
    frames = original[2:6, ours[2] == 0]
    assert ((frames == 0).all(axis=0) | (frames == 1).all(axis=0)).all()


@pytest.mark.golden
def test_dropout_draws_without_replacement_where_the_original_hit_a_frame_twice():
    same(Prompt(period=7), "dropout_seed3_p0.0")
    drawn = MASKS["dropout_seed2_p0.9_indices"]
    assert len(set(drawn.tolist())) < len(drawn)  # the original asked for 45 frames and got fewer
    kept = 50 - masked(Prompt(period=1, dropout=0.9), rng=rng())[0].sum()
    assert kept == 5


def beats_masked(prompt: Prompt, beats=None) -> np.ndarray:
    beats = BEATS["beats"] if beats is None else beats
    times = {"beats_s": beats.tolist(), "downbeats_s": BEATS["downbeats"].tolist()}
    return masked(prompt, n_frames=173, **times)[0]


@pytest.mark.golden
def test_beat_masks_are_the_originals():
    np.testing.assert_array_equal(beats_masked(Prompt(beat_ms=100)), BEATS["beat_mask_1"])
    both = Prompt(beat_ms=50, beat_before_ms=50)
    np.testing.assert_array_equal(beats_masked(both), BEATS["beat_mask_2"])
    # 20 ms are 1.15 frames. The original rounds that up to 2; two frames there is 35 ms here.
    np.testing.assert_array_equal(beats_masked(Prompt(beat_ms=35)), BEATS["beat_mask_0"])
    downbeats = Prompt(beat_ms=35, downbeats_only=True)
    np.testing.assert_array_equal(beats_masked(downbeats), BEATS["beat_mask_3"])
    # The original's inverted mask that skips downbeats: the other beats, turned round.
    upbeats = np.setdiff1d(BEATS["beats"], BEATS["downbeats"])
    inverted = 1 - beats_masked(Prompt(beat_ms=35), beats=upbeats)
    np.testing.assert_array_equal(inverted, BEATS["beat_mask_4"])


@pytest.mark.golden
def test_twenty_ms_are_the_nearest_whole_number_of_frames():
    ours, original = beats_masked(Prompt(beat_ms=20)), BEATS["beat_mask_0"]
    assert (ours == 0).sum() == len(BEATS["beats"])
    assert (original == 0).sum() == 2 * len(BEATS["beats"])


@pytest.mark.golden
def test_every_second_beat_counts_all_beats_where_the_original_counted_upbeats_apart():
    kept = np.flatnonzero(beats_masked(Prompt(beat_ms=35, beat_every=2)) == 0)
    assert kept.tolist() == [18, 19, 77, 78, 135, 136]
    apart = np.flatnonzero(BEATS["beat_mask_5"] == 0)
    assert apart.tolist() == [18, 19, 48, 49, 106, 107]


@pytest.mark.golden
def test_onset_masks_are_the_originals_and_an_early_onset_is_not_lost():
    onsets = (BEATS["onset_frames"] / RATE_HZ).tolist()
    for width in (1, 2, 5):
        ours = masked(Prompt(onset_ms=1000 * width / RATE_HZ), onsets_s=onsets)[0]
        wanted = BEATS[f"onset_mask_w{width}"].copy()
        for frame in BEATS["onset_frames"]:
            if frame < width:  # a negative slice start: the original kept nothing
                wanted[: frame + width] = 0
        np.testing.assert_array_equal(ours, wanted)


# --- laws ---------------------------------------------------------------------------------------


def prompts(**fixed) -> st.SearchStrategy[Prompt]:
    amounts = st.sampled_from([0.0, 0.02, 0.1, 0.5])
    milliseconds = st.sampled_from([0.0, 20.0, 75.0])
    values = {
        "period": st.integers(0, 20),
        "period_width": st.integers(1, 6),
        "period_phase": st.one_of(st.none(), st.integers(0, 30)),
        "codebooks_kept": st.one_of(st.none(), st.integers(0, 15)),
        "compression": st.integers(0, 15),
        "prefix_s": amounts,
        "suffix_s": amounts,
        "beat_ms": milliseconds,
        "beat_before_ms": milliseconds,
        "beat_every": st.integers(1, 4),
        "downbeats_only": st.booleans(),
        "onset_ms": milliseconds,
        "dropout": st.sampled_from([0.0, 0.2, 1.0]),
    }
    values.update({name: st.just(value) for name, value in fixed.items()})
    return st.builds(Prompt, **values)


TIMES = {
    "beats_s": (0.01, 0.4, 0.8, 1.2),
    "downbeats_s": (0.01, 0.8),
    "onsets_s": (0.0, 0.5, 1.3),
}
frames = st.integers(1, 90)
fast = settings(max_examples=60, deadline=None)


@fast
@given(prompts(), frames, st.integers(1, 14), st.integers(1, 3))
def test_a_mask_is_boolean_of_the_asked_shape_and_the_same_for_each_item(prompt, t, n, batch):
    mask = prompt.mask(t, n, RATE_HZ, rng=rng(), batch=batch, **TIMES)
    assert mask.dtype == torch.bool and mask.shape == (batch, n, t)
    assert (mask == mask[:1]).all()
    assert (mask == prompt.mask(t, n, RATE_HZ, rng=rng(), batch=batch, **TIMES)).all()
    assert not mask[:, : prompt.compression].any()


@fast
@given(prompts(dropout=0.0, period_phase=3), frames)
def test_what_is_kept_is_the_union_of_what_each_prompt_keeps(prompt, t):
    def mask(**values) -> torch.Tensor:
        return dataclasses.replace(prompt, **values).mask(t, 4, RATE_HZ, **TIMES)

    parts = [
        {"prefix_s": 0.0, "suffix_s": 0.0, "beat_ms": 0.0, "beat_before_ms": 0.0, "onset_ms": 0.0},
        {"period": 0, "beat_ms": 0.0, "beat_before_ms": 0.0, "onset_ms": 0.0},
        {"period": 0, "prefix_s": 0.0, "suffix_s": 0.0, "onset_ms": 0.0},
        {"period": 0, "prefix_s": 0.0, "suffix_s": 0.0, "beat_ms": 0.0, "beat_before_ms": 0.0},
    ]
    union = torch.stack([mask(**part) for part in parts]).all(dim=0)
    assert (mask() == union).all()


@fast
@given(prompts(dropout=0.0, codebooks_kept=None, compression=0, period_phase=0), frames, st.data())
def test_dropout_gives_up_its_share_of_the_kept_frames(prompt, t, data):
    share = data.draw(st.floats(0, 1))
    before = prompt.mask(t, 2, RATE_HZ, **TIMES)
    dropping = dataclasses.replace(prompt, dropout=share)
    after = dropping.mask(t, 2, RATE_HZ, rng=rng(1), **TIMES)
    n_kept = int((~before[0, 0]).sum())
    n_dropped = int((after & ~before)[0, 0].sum())
    assert n_dropped == math.floor(share * n_kept + 0.5)
    assert not (before & ~after).any()


@fast
@given(prompts(), st.integers(20, 90), st.floats(0, 0.3), st.floats(0.001, 1.0))
def test_outside_the_ranges_all_is_kept_inside_the_other_prompts_apply(prompt, t, start, length):
    duration_s = t / RATE_HZ
    end = min(start + length, duration_s)
    free = prompt.mask(t, 5, RATE_HZ, rng=rng(), **TIMES)
    ranged = dataclasses.replace(prompt, ranges_s=((start, end),))
    mask = ranged.mask(t, 5, RATE_HZ, rng=rng(), **TIMES)
    first, last = math.floor(start * RATE_HZ + 1e-6), math.ceil(end * RATE_HZ - 1e-6)
    assert not mask[..., :first].any() and not mask[..., last:].any()
    assert (mask[..., first:last] == free[..., first:last]).all()


def test_ranges_alone_regenerate_all_that_they_touch():
    prompt = Prompt(ranges_s=((2.0, 3.5), (6, 7.25)))
    mask = prompt.mask(round(8 * RATE_HZ), 4, RATE_HZ)[0]
    new_s = torch.arange(mask.shape[1]) / RATE_HZ
    one = 1 / RATE_HZ
    wanted = ((new_s > 2 - one) & (new_s < 3.5)) | ((new_s > 6 - one) & (new_s < 7.25))
    assert (mask == wanted).all()
    to_the_end = Prompt(ranges_s=((7.0, math.inf),)).mask(459, 4, RATE_HZ)[0, 0]
    assert to_the_end[402:].all() and not to_the_end[:401].any()


@pytest.mark.parametrize(
    ("start_s", "end_s", "frame"),
    [
        (0.0, 1e-9, 0),
        (5 / RATE_HZ, 5 / RATE_HZ + 1e-9, 5),
        (10 / RATE_HZ - 1e-9, math.inf, 9),
        (9.9 / RATE_HZ, 10 / RATE_HZ, 9),
    ],
)
def test_a_range_of_next_to_nothing_regenerates_its_frame(start_s, end_s, frame):
    mask = Prompt(ranges_s=((start_s, end_s),)).mask(10, 2, RATE_HZ)
    assert mask.all(1)[0].nonzero().flatten().tolist() == [frame]


def test_no_prompt_generates_everything():
    assert Prompt().mask(30, 4, RATE_HZ).all()


def test_prompts_say_what_they_need():
    assert Prompt(beat_before_ms=10).needs_beats and not Prompt(beat_every=2).needs_beats
    assert Prompt(onset_ms=10).needs_onsets and not Prompt().needs_onsets


def test_drawn_phase_moves_with_the_seed_and_stays_with_it():
    prompt = Prompt(period=16, period_phase=None)
    masks = [prompt.mask(64, 1, RATE_HZ, rng=rng(seed)) for seed in range(12)]
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 4
    assert all((~mask).sum() == 4 for mask in masks)
    assert (masks[3] == prompt.mask(64, 1, RATE_HZ, rng=rng(3))).all()


def test_an_early_beat_keeps_what_lies_before_it():
    prompt = Prompt(beat_before_ms=100)
    kept = np.flatnonzero(masked(prompt, beats_s=[0.05])[0] == 0)
    assert kept.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"period": -1}, "period must be a whole number from 0 up, not -1"),
        ({"period": 2.5}, "period"),
        ({"period": True}, "period"),
        ({"period_width": 0}, "period_width must be a whole number from 1 up, not 0"),
        ({"period_phase": -1}, "period_phase"),
        ({"codebooks_kept": -1}, "codebooks_kept must be a whole number from 0 up, not -1"),
        ({"compression": None}, "compression"),
        ({"prefix_s": -0.1}, "prefix_s must be a number from 0 up, not -0.1"),
        ({"suffix_s": math.nan}, "suffix_s"),
        ({"beat_ms": math.inf}, "beat_ms"),
        ({"beat_ms": "75"}, "beat_ms must be a number from 0 up, not '75'"),
        ({"beat_every": 0}, "beat_every must be a whole number from 1 up, not 0"),
        ({"downbeats_only": 1}, "downbeats_only must be true or false, not 1"),
        ({"dropout": 1.1}, "dropout must be a number from 0 to 1, not 1.1"),
        ({"ranges_s": 3}, "ranges_s must be pairs"),
        ({"ranges_s": ((1, 2, 3),)}, "ranges_s must be pairs"),
        ({"ranges_s": ((-1, 2),)}, "a range's start must be a number from 0 up, not -1"),
        ({"ranges_s": ((2, 2),)}, "a range's end must be a number of seconds above its start 2"),
        ({"ranges_s": ((1, math.nan),)}, "a range's end"),
        ({"prefix_s": 10**400}, "prefix_s must be a number from 0 up, not 1000"),
        ({"ranges_s": ((0, 10**400),)}, "a range's end"),
        ({"ranges_s": ((10**400, math.inf),)}, "a range's start"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values, words):
    with pytest.raises(ValueError) as error:
        Prompt(**values)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (Prompt(beat_ms=75), "needs beats_s"),
        (Prompt(beat_ms=75, downbeats_only=True), "needs downbeats_s"),
        (Prompt(onset_ms=75), "needs onsets_s"),
        (Prompt(period=3, dropout=0.5), "needs rng"),
        (Prompt(period=3, period_phase=None), "needs rng"),
        (Prompt(ranges_s=((2.0, 3.0),)), "range 2-3 s must lie within the audio, 0-0.871 s"),
        (Prompt(ranges_s=((0.5, 3.0),)), "range 0.5-3 s must lie within the audio"),
    ],
)
def test_what_a_mask_lacks_is_named(prompt, words):
    with pytest.raises(ValueError) as error:
        prompt.mask(50, 4, RATE_HZ)
    assert words in str(error.value)


@pytest.mark.parametrize("bad", [[math.nan], [0.1, math.inf], ["a"], [None], 3, [10**400]])
def test_times_that_are_none_are_refused(bad):
    for name in ("beats", "onsets"):
        given = {"beats_s": [0.1], "onsets_s": [0.1], f"{name}_s": bad}
        with pytest.raises(ValueError, match=f"times of {name} must be finite numbers of seconds"):
            Prompt(beat_ms=75.0, onset_ms=20.0).mask(50, 2, RATE_HZ, **given)


@pytest.mark.parametrize("rate", ["a", None, 0, -1.0, math.nan, math.inf, 10**400, True])
def test_a_frame_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="frame_rate_hz must be "):
        Prompt().mask(50, 2, rate)


def test_sizes_below_one_are_refused():
    for sizes in ((0, 4, RATE_HZ), (4, 0, RATE_HZ), (4, 4, 0.0)):
        with pytest.raises(ValueError):
            Prompt().mask(*sizes)


@pytest.mark.parametrize("name", ["prefix_s", "suffix_s"])
def test_more_seconds_than_there_are_keep_all(name: str) -> None:
    for seconds in (1e308, 100.0):
        assert not Prompt(**{name: seconds}).mask(40, 4, RATE_HZ).any()


def test_numbers_of_other_kinds_are_numbers() -> None:
    plain = Prompt(period=3, prefix_s=0.5).mask(40, 4, 57.5)
    told = Prompt(period=np.int64(3), prefix_s=np.float32(0.5)).mask(40, 4, np.float32(57.5))  # type: ignore
    assert torch.equal(plain, told)
    assert Sampling(steps=np.int64(3)) == Sampling(steps=3)  # type: ignore
    for no_number in (np.float32("inf"), np.float32("nan"), np.float64("inf")):
        with pytest.raises(ValueError, match="prefix_s must be a number from 0 up"):
            Prompt(prefix_s=no_number)
