"""The pipeline: windows that keep each frame once, and the laws of a variation."""

from __future__ import annotations

import copy
import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from conftest import chord
from hypothesis import given, settings
from hypothesis import strategies as st

from vampnet import checkpoints
from vampnet.codec.dac import DAC
from vampnet.evaluation.artifacts import click_db
from vampnet.model import Sampling, VampNet, VampNetConfig
from vampnet.model.windows import split_windows
from vampnet.pipeline import Pipeline
from vampnet.prompt import Prompt

FAST = Sampling(steps=3, fine_steps=1)
HOP = 768


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 3000), window=st.integers(8, 600), loop=st.booleans())
def test_windows_keep_each_frame_once_and_fit_the_model(n: int, window: int, loop: bool) -> None:
    first, second = split_windows(n, window, loop)
    kept = torch.cat([w.kept(n) for w in first + second])
    assert sorted(kept.tolist()) == list(range(n))
    for w in first + second:
        assert w.length <= window
        assert w.start <= w.keep_from < w.keep_to <= w.start + w.length
        assert loop or (w.start >= 0 and w.start + w.length <= n)


@given(n=st.integers(100, 3000), loop=st.booleans())
def test_second_windows_have_complete_context_on_both_sides(n: int, loop: bool) -> None:
    for w in split_windows(n, 64, loop)[1]:
        at_start, at_end = w.keep_from == 0 and not loop, w.keep_to == n and not loop
        assert at_start or w.start < w.keep_from
        assert at_end or w.keep_to < w.start + w.length


def vary(pipeline: Pipeline, audio: torch.Tensor, seed: int = 1, **options) -> torch.Tensor:
    prompt = options.pop("prompt", Prompt(period=5))
    sampling = options.pop("sampling", FAST)
    return pipeline.vamp(audio, prompt, sampling, seed, **options).audio


def test_same_seed_same_sound_another_seed_another(tiny_pipeline) -> None:
    audio = chord(2.0)[None]
    first = vary(tiny_pipeline, audio, 7)
    assert torch.equal(first, vary(tiny_pipeline, audio, 7))
    assert not torch.equal(first, vary(tiny_pipeline, audio, 8))


@pytest.mark.parametrize("n_samples", [1, 767, 768, 769, 12345, 200_001])
def test_length_is_kept_to_the_sample(tiny_pipeline, n_samples: int) -> None:
    out = vary(tiny_pipeline, chord(5.0)[None, :, :n_samples])
    assert out.shape == (1, 1, n_samples)
    assert torch.isfinite(out).all()


def test_equal_channels_stay_equal_and_others_differ(tiny_pipeline) -> None:
    one, other = chord(1.5, seed=1), chord(1.5, seed=2)
    same = vary(tiny_pipeline, torch.stack([one, one]))
    assert torch.equal(same[:, 0], same[:, 1])
    mixed = vary(tiny_pipeline, torch.stack([one, other, one]))
    torch.testing.assert_close(mixed[:, 0], mixed[:, 2], atol=5e-3, rtol=0.0)  # rounding
    assert not torch.equal(mixed[:, 0], mixed[:, 1])


def test_a_take_does_not_depend_on_how_many_there_are(tiny_pipeline) -> None:
    audio = chord(2.5)[None]
    three = tiny_pipeline.vamp(audio, Prompt(period=5), FAST, 1, takes=3)
    one = tiny_pipeline.vamp(audio, Prompt(period=5), FAST, 1)
    assert three.audio.shape[0] == 3
    assert torch.equal(three.codes[:1], one.codes)
    torch.testing.assert_close(three.audio[:1], one.audio, atol=1e-4, rtol=1e-4)
    assert not torch.equal(three.codes[0], three.codes[1])


def test_codes_have_every_channel_of_every_take(tiny_pipeline) -> None:
    one, other = chord(0.5)[None], 0.1 * torch.randn(1, 1, 22050)
    for audio in (torch.cat([one, one]), torch.cat([one, other])):
        vamp = tiny_pipeline.vamp(audio, Prompt(period=5), FAST, 1, takes=3)
        assert vamp.codes.shape[:2] == (6, 14)
        assert torch.equal(vamp.codes[0], vamp.codes[1]) == torch.equal(audio[0], audio[1])


@pytest.mark.parametrize("window_frames", [1, 7, -600, 64.0, True])
def test_a_window_without_kept_frames_is_refused(window_frames) -> None:
    with pytest.raises(ValueError, match=f"window_frames is {window_frames}"):
        VampNetConfig(window_frames=window_frames)


@pytest.mark.parametrize("seed", [np.int64(5), torch.tensor(5)])
def test_a_seed_counts_by_its_value(tiny_pipeline, seed) -> None:
    prompt, audio = Prompt(period=4, dropout=0.5, period_phase=None), chord(0.5)[None]
    want, found = (tiny_pipeline.vamp(audio, prompt, FAST, s) for s in (5, seed))
    assert torch.equal(found.mask, want.mask) and torch.equal(found.codes, want.codes)
    with pytest.raises(ValueError, match="seed is 5.0"):
        tiny_pipeline.vamp(audio, prompt, FAST, 5.0)


@pytest.mark.parametrize("name", ["codebooks_kept", "compression"])
def test_more_codebooks_than_the_codec_has_are_refused(tiny_pipeline, name) -> None:
    for kept in (14, 15):
        prompt = Prompt(period=3, **{name: kept})
        if kept == tiny_pipeline.codec.n_codebooks:
            vary(tiny_pipeline, chord(0.2)[None], prompt=prompt)
            continue
        with pytest.raises(ValueError, match=f"{name} is 15; allowed is 0 to 14, the codec's"):
            vary(tiny_pipeline, chord(0.2)[None], prompt=prompt)


def test_stages_that_do_not_fit_are_refused(tiny_pipeline) -> None:
    deaf = VampNet(VampNetConfig(14, 3, n_layers=1, n_heads=2, embedding_dim=32))
    with pytest.raises(ValueError, match="makes 4 codebooks, .* conditioned on 3"):
        Pipeline(tiny_pipeline.codec, tiny_pipeline.coarse, deaf)


def test_a_codebook_that_no_model_predicts_is_not_decoded(tiny_pipeline) -> None:
    fine = VampNet(dataclasses.replace(tiny_pipeline.c2f.config, n_codebooks=9)).eval()
    fine.codebooks.copy_(tiny_pipeline.codec.codebooks[:9])
    pipeline = Pipeline(tiny_pipeline.codec, tiny_pipeline.coarse, fine)
    assert pipeline.vamp(chord(0.5)[None], Prompt(), FAST, 1).codes.shape[1] == 9


@pytest.mark.parametrize("n_frames", [40, 200])
@pytest.mark.parametrize("loop", [False, True])
def test_kept_tokens_are_kept_and_an_empty_mask_is_a_round_trip(
    tiny_pipeline, n_frames: int, loop: bool
) -> None:
    audio, codec = chord(4.0)[None, :, : n_frames * HOP], tiny_pipeline.codec
    codes = codec.encode(audio)
    if loop:  # its ends are context of each other
        codes = codec.encode(audio.repeat(1, 1, 3))[..., n_frames : 2 * n_frames]
    vamp = tiny_pipeline.vamp(audio, Prompt(period=6, loop=loop), FAST, 3)
    assert torch.equal(vamp.codes[0][~vamp.mask], codes[0][~vamp.mask])
    assert not torch.equal(vamp.codes, codes)
    everything = Prompt(compression=tiny_pipeline.codec.n_codebooks, loop=loop)
    kept = tiny_pipeline.vamp(audio, everything, FAST, 3)
    assert not kept.mask.any()
    assert torch.equal(kept.codes, codes)
    if not loop:
        torch.testing.assert_close(kept.audio, codec.decode(codes, audio.shape[-1]))


def test_a_loop_is_decoded_with_itself_as_context() -> None:
    """Repeated: equal to the middle of three repetitions, decoded as one."""
    torch.manual_seed(0)
    sizes = {"encoder_dim": 4, "encoder_rates": (2, 4), "decoder_dim": 16, "decoder_rates": (4, 2)}
    codec = DAC(n_codebooks=2, codebook_size=16, codebook_dim=4, **sizes).eval()
    n_samples = 50 * codec.hop_length
    audio = chord(1.0)[None, :, :n_samples]
    small = VampNetConfig(2, n_layers=1, n_heads=1, embedding_dim=8, vocab_size=16, latent_dim=4)
    whole = Pipeline(codec, VampNet(small))
    made = whole.vamp(audio, Prompt(compression=2, loop=True), FAST, 1).audio
    rounds = codec.decode(codec.encode(audio.repeat(1, 1, 3)), 3 * n_samples)
    torch.testing.assert_close(made, rounds[..., n_samples : 2 * n_samples], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("n_samples", [1, 300, HOP, 5 * HOP + 7])
def test_a_loop_may_be_shorter_than_its_context(tiny_pipeline, n_samples: int) -> None:
    audio = chord(1.0)[None, :, :n_samples]
    made = tiny_pipeline.vamp(audio, Prompt(period=4, loop=True), FAST, 1).audio
    assert made.shape == (1, 1, n_samples) and torch.isfinite(made).all()


@pytest.mark.parametrize("n_samples", [40 * HOP, 40 * HOP + 301])
def test_a_loop_s_end_runs_into_its_start(n_samples: int) -> None:
    """Steady tones that fit the loop do not click where it starts again."""
    time_s, length_s = torch.arange(n_samples) / 44100, n_samples / 44100
    audio = sum(0.1 * torch.sin(2 * math.pi * round(hz * length_s) / length_s * time_s)
                for hz in (110.0, 277.0, 659.0))[None, None]  # fmt: skip
    found = []
    for loop in (True, False):
        made = (
            Pipeline.from_pretrained().vamp(audio, Prompt(compression=14, loop=loop), FAST, 1).audio
        )
        found.append(click_db(made[0, 0].roll(n_samples // 2), [n_samples // 2], 44100))
    assert found[0] < 12 < found[1]


def test_ranges_leave_every_token_outside_alone(tiny_pipeline) -> None:
    audio = chord(4.0)[None]
    codes = tiny_pipeline.codec.encode(audio)
    prompt = Prompt(ranges_s=((1.0, 1.5), (3.0, 3.25)))
    vamp = tiny_pipeline.vamp(audio, prompt, FAST, 3)
    frame_s = HOP / 44100
    moved = (vamp.codes != codes).any(1)[0].nonzero()[:, 0] * frame_s
    assert len(moved) > 0
    for time_s in moved.tolist():
        assert 1.0 - frame_s <= time_s <= 1.5 or 3.0 - frame_s <= time_s <= 3.25


def test_a_full_mask_is_unconditional_generation(tiny_pipeline) -> None:
    first = vary(tiny_pipeline, chord(1.5, seed=1)[None], prompt=Prompt())
    other = vary(tiny_pipeline, chord(1.5, seed=2)[None], prompt=Prompt())
    assert torch.equal(first, other)  # independent of the input


def test_progress_counts_to_the_total_and_can_be_stopped(tiny_pipeline) -> None:
    calls: list[tuple[int, int]] = []
    vary(tiny_pipeline, chord(4.0)[None], on_step=lambda done, total: calls.append((done, total)))
    done = [d for d, _ in calls]
    assert done == sorted(done) and calls[-1][0] == calls[-1][1] == calls[0][1]

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done >= 2:
            raise Stop

    with pytest.raises(Stop):
        vary(tiny_pipeline, chord(4.0)[None], on_step=stop)


def test_a_given_tempo_defines_the_beats(tiny_pipeline) -> None:
    prompt = Prompt(beat_ms=75.0)
    vamp = tiny_pipeline.vamp(chord(4.0)[None], prompt, FAST, 1, bpm=120.0, beat_offset_s=0.25)
    assert vamp.beats is not None
    assert vamp.beats.times_s[:3] == pytest.approx((0.25, 0.75, 1.25))
    assert not vamp.mask[:, int(0.26 * 44100 / HOP) + 1].any()


def test_without_a_fine_model_the_coarse_codebooks_are_decoded(tiny_pipeline) -> None:
    coarse_only = Pipeline(tiny_pipeline.codec, tiny_pipeline.coarse)
    vamp = coarse_only.vamp(chord(1.0)[None], Prompt(period=5), FAST, 1)
    assert vamp.codes.shape[1] == 4 and vamp.mask.shape == vamp.codes.shape[1:]
    assert vamp.audio.shape == (1, 1, 44100)


@pytest.mark.parametrize(
    "audio",
    [
        torch.zeros(2, 100),
        torch.zeros(1, 1, 0),
        torch.full((1, 1, 100), float("nan")),
        torch.zeros(1, 1, 100, dtype=torch.float64),
        np.zeros((1, 1, 100), dtype=np.float32),
        [[[0.0]]],
    ],
)
def test_invalid_audio_is_refused(tiny_pipeline, audio: torch.Tensor) -> None:
    with pytest.raises(ValueError):
        vary(tiny_pipeline, audio)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("takes", value) for value in (True, 1.5, "2", None, 0, -1)),
        *(("bpm", value) for value in ("120", True, [120.0])),
        *(("beat_offset_s", value) for value in (None, "0")),
        *(("prompt", value) for value in (None, {"period": 7})),
        *(("sampling", value) for value in (None, {})),
        *(("seed", value) for value in (None, 1.0, True)),
    ],
)
def test_arguments_of_another_kind_are_refused(tiny_pipeline, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} is "):
        vary(tiny_pipeline, torch.zeros(1, 1, 100), **{"bpm": 120.0, name: value})


@pytest.mark.parametrize("options", [{"name_or_folder": 123}, {"device": None}, {"device": []}])
def test_a_pipeline_that_cannot_be_loaded_is_refused(options: dict) -> None:
    (value,) = options.values()
    with pytest.raises(ValueError, match=re.escape(str(value))):
        Pipeline.from_pretrained(**options)


def test_damaged_weights_of_the_codec_end_in_an_error(tiny_pipeline) -> None:
    codec = copy.deepcopy(tiny_pipeline.codec)
    with torch.no_grad():
        codec.decoder.input.weight[0] = math.nan
    damaged = Pipeline(codec, tiny_pipeline.coarse, tiny_pipeline.c2f)
    with pytest.raises(RuntimeError, match="not finite numbers"):
        vary(damaged, chord(0.5)[None])


def test_silence_gives_no_nan(tiny_pipeline) -> None:
    assert torch.isfinite(vary(tiny_pipeline, torch.zeros(2, 1, 30_000))).all()


@pytest.mark.golden
def test_window_edges_follow_the_mask_where_the_original_keeps_them(golden) -> None:
    data = np.load(golden / "interface_chunks.npz")
    codec = checkpoints.load_codec(golden / "codec.pth")
    coarse = checkpoints.load_vampnet(golden / "coarse.pth", codec)
    codes = torch.tensor(data["codes"]).long()
    mask = torch.tensor(data["mask"]).bool().expand_as(codes)
    window = int(data["coarse_chunk"])
    edges = [f for start in range(0, 150, window) for f in (start, min(149, start + window - 1))]
    asked = mask[0, :4, edges]
    assert asked.any()
    kept_there = torch.tensor(data["coarse_masked_tokens"])[0, :, edges] != coarse.mask_token
    assert kept_there.all()  # the original keeps them regardless of the mask

    entering: list[torch.Tensor] = []
    hidden = coarse.hidden
    coarse.hidden = lambda codes: entering.append(codes.clone()) or hidden(codes)
    coarse.config = dataclasses.replace(coarse.config, window_frames=window)
    greedy = Sampling(steps=4, mask_temperature=0.0, sample_cutoff=0.0)
    made = Pipeline(codec, coarse)._fill(codes, mask[0], False, greedy, 0, 1, None)
    assert torch.equal(made[~mask[:, :4]], codes[:, :4][~mask[:, :4]])
    first, _ = split_windows(150, window)
    for i, w in enumerate(first):  # the first call has the first pass, before anything is filled
        seen = entering[0][i] == coarse.mask_token
        assert torch.equal(seen, mask[0, :4, w.start : w.start + w.length])
