"""Files, regions and arrays through one call: shapes, rates, types, precedence of settings."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import soundfile
import torch
from conftest import chord, tone
from vamp_command import RATE, sound

import vampnet
from vampnet import checkpoints
from vampnet.model import Sampling
from vampnet.model.recommended import FAMILY, RecommendedSampling
from vampnet.presets import Preset, presets
from vampnet.prompt import Prompt

QUICK = {"sampling": {"steps": 2, "fine_steps": 1}}


@pytest.fixture(scope="module")
def pipe(tiny):
    return vampnet.Pipeline.from_pretrained(tiny, device="cpu")


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("shape", [(3001,), (1, 3001), (2, 3001), (3, 2, 3001)])
@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.float32, torch.float64])
def test_the_result_has_the_form_of_the_input(pipe, rate, shape, kind):
    rng = np.random.default_rng(0)
    audio = 0.1 * rng.standard_normal(shape)
    audio = (
        torch.from_numpy(audio).to(kind) if isinstance(kind, torch.dtype) else audio.astype(kind)
    )
    made = pipe.vary(audio, rate, seed=3, **QUICK).audio
    assert type(made) is type(audio) and made.dtype == audio.dtype and made.shape == audio.shape
    assert np.isfinite(np.asarray(made)).all() and not np.array_equal(made, audio)


def test_an_item_does_not_depend_on_its_batch(pipe):
    items = torch.stack([chord(0.5, 8000, seed)[0] for seed in range(3)])[:, None]
    batch = pipe.vary(items, 8000, seed=5, **QUICK)
    assert len(batch.codes) == len(batch.mask) == len(batch.beats) == 3
    for item, made in zip(items, batch.audio, strict=True):
        assert torch.equal(pipe.vary(item, 8000, seed=5, **QUICK).audio, made)


def test_takes_come_first_and_differ(pipe):
    made = pipe.vary(tone(0.5, 8000, 2), 8000, seed=1, takes=3, preset="dream", **QUICK)
    assert made.audio.shape == (3, 2, 4000) and len(made.regions) == 3
    assert not torch.equal(made.audio[0], made.audio[1])


def test_tensors_are_plain_and_results_compare_by_identity(pipe):
    made = pipe.vary(tone(0.5, 8000), 8000, seed=1, **QUICK)
    for tensor in (made.audio, made.codes, made.mask):
        assert tensor.is_contiguous() and not tensor.is_inference()
    assert made == made and made != pipe.vary(tone(0.5, 8000), 8000, seed=1, **QUICK)
    assert hash(made) and len(repr(made)) < 120 and len(repr(pipe)) < 80
    made.audio.requires_grad_(True)


def test_a_file_comes_back_in_its_format(pipe, tmp_path):
    soundfile.write(tmp_path / "in.aiff", sound(), RATE, subtype="PCM_24")
    made = pipe.vary_file(tmp_path / "in.aiff", tmp_path / "out.aiff", seed=2, takes=2, **QUICK)
    assert [file.name for file in made.files] == ["out-1.aiff", "out-2.aiff"]
    for file in made.files:
        found = soundfile.info(str(file))
        assert (found.samplerate, found.frames, found.subtype) == (RATE, len(sound()), "PCM_24")


def test_command_and_python_give_the_same_file(tiny, vamp, clip, tmp_path):
    code, _, err = vamp(clip, tmp_path / "a.wav", "--seed", 7, "--preset", "small-variation")
    assert code == 0, err
    pipe = vampnet.Pipeline.from_pretrained(tiny)
    steps = {"steps": 2, "fine_steps": 1}
    from vamp_command import QUICK as options

    assert options == ("--steps", "2", "--fine-steps", "1") or list(options)
    pipe.vary_file(clip, tmp_path / "b.wav", "small-variation", seed=7, sampling=steps)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_loaded_model_can_be_trained_saved_and_used_again(tiny, tmp_path):
    pipe = vampnet.Pipeline.from_pretrained(tiny, device="cpu", precision="int8")
    audio = tone(0.5, 8000)
    before = pipe.vary(audio, 8000, seed=1, preset="dream", **QUICK)
    logits = pipe.coarse(before.codes[:, : pipe.coarse.config.n_codebooks])
    logits.square().mean().backward()
    with torch.no_grad():
        for p in pipe.coarse.parameters():
            if p.grad is not None:
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    after = pipe.vary(audio, 8000, seed=1, preset="dream", **QUICK)
    assert not torch.equal(before.codes, after.codes)  # the copies in int8 follow the weights
    again = vampnet.Pipeline.from_pretrained(pipe.save(tmp_path / "saved"), precision="int8")
    assert torch.equal(again.vary(audio, 8000, seed=1, preset="dream", **QUICK).codes, after.codes)


def test_explicit_settings_precede_preset_model_and_family(pipe):
    plain = vampnet.Pipeline(pipe.codec, pipe.coarse, pipe.c2f)
    preset = Preset("mine", "one line", Prompt(period=3), {"temperature": 0.7}, "sparse")
    assert plain.recommended is FAMILY
    assert plain.sampling_for(preset) == Sampling(temperature=0.7)
    tuned = copy.copy(plain)
    tuned.recommended = RecommendedSampling(
        Sampling(steps=9, temperature=0.5, top_p=0.9), {"sparse": {"top_p": 0.8}}, "model"
    )
    assert tuned.sampling_for(preset) == Sampling(steps=9, temperature=0.7, top_p=0.8)
    assert tuned.sampling_for(preset, {"steps": 3}).steps == 3
    assert tuned.sampling_for(preset, Sampling()) == Sampling()


def test_the_original_files_get_the_settings_of_their_authors(golden, tmp_path):
    for name in ("codec.pth", "coarse.pth", "c2f.pth"):
        (tmp_path / name).symlink_to(golden / name)
    found = vampnet.Pipeline.from_pretrained(tmp_path)
    for preset in presets().values():
        used = found.sampling_for(preset)
        assert (used.temperature, used.mask_temperature, used.fine_steps) == (1.0, 10.5, 2)
        assert 24 <= used.steps <= 36 and used.mean_pull == 0 and not used.by_codebook


def test_a_model_keeps_its_recommended_sampling(tiny, tmp_path):
    pipe = vampnet.Pipeline.from_pretrained(tiny)
    pipe.recommended = RecommendedSampling(Sampling(steps=5), {"gaps": {"top_p": 0.5}}, "model")
    folder = pipe.save(tmp_path / "a")
    checkpoints.convert(folder, tmp_path / "b")
    for place in (folder, tmp_path / "b"):
        found = checkpoints.recommended_of(place)
        assert found == pipe.recommended and found.resolve("gaps").top_p == 0.5
    config = json.loads((folder / "config.json").read_text())
    config["sampling"]["default"]["stepz"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(vampnet.checkpoints.CheckpointError, match="stepz"):
        vampnet.Pipeline.from_pretrained(folder)


@pytest.mark.parametrize(
    ("audio", "options", "words"),
    [
        ([0.0, 1.0], {}, "audio is list; a numpy array or tensor is needed"),
        (np.zeros(10, np.int16), {}, "floats with full scale 1.0"),
        (np.zeros((100, 2)), {}, "Channels come before samples: transpose it"),
        (np.zeros((1, 0)), {}, "allowed is"),
        (np.zeros((1, 1, 1, 9)), {}, "allowed is"),
        (np.full(10, np.nan), {}, "NaN"),
        (np.zeros(10), {"sample_rate": 10}, "allowed is 1000 to 768000 Hz"),
        (np.zeros(10), {"preset": "no-such"}, "no preset 'no-such'"),
        (np.zeros(10), {"seed": -1}, "seed is -1"),
        (np.zeros(10), {"takes": 0}, "takes is 0"),
        (np.zeros(10), {"sampling": {"stepz": 1}}, "no sampling setting 'stepz'"),
        (np.zeros(10), {"sampling": {"steps": 0}}, "steps is 0"),
        (np.zeros(8000), {"prompt": {"ranges_s": ((5.0, 6.0),)}}, "outside the clip"),
    ],
)
def test_mistakes_are_named(pipe, audio, options, words):
    with pytest.raises(ValueError, match=words):
        pipe.vary(audio, **{"sample_rate": 8000, **options})
