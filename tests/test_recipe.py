"""From a folder of audio files to a model that plays, by the command."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import soundfile
import torch
from conftest import chord
from pretend_device import NAME, moved, pretend_device

from vampnet import checkpoints, cli
from vampnet.codec import SpectralCodec
from vampnet.pipeline import Pipeline
from vampnet.prompts import Prompt
from vampnet.sampling import Sampling
from vampnet.training import recipe
from vampnet.training.data import FULL_SCALE, Pack, pack


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Four short files of chords, a text file, and one that only looks like audio."""
    folder = tmp_path_factory.mktemp("music")
    for seed, name in enumerate(("a.wav", "b.flac", "sub/c.wav", "other artist/d.wav")):
        (folder / name).parent.mkdir(exist_ok=True)
        sound = np.repeat(chord(4.0, 22050, seed=seed).numpy().T, 2, axis=1)
        soundfile.write(folder / name, sound, 22050)
    (folder / "notes.txt").write_text("no music")
    (folder / "broken.wav").write_text("no music either")
    return folder


def test_a_pack_is_mono_at_one_rate_and_keeps_the_held_out_apart(music, tmp_path) -> None:
    said: list[str] = []
    pack(music, tmp_path, 44100, ("other artist",), said.append)
    train, heldout = Pack.load(tmp_path, "train"), Pack.load(tmp_path, "heldout")
    assert [name for name, _ in train.pieces] == ["a.wav", "b.flac", "sub/c.wav"]
    assert [name for name, _ in heldout.pieces] == ["other artist/d.wav"]
    assert len(said) == 1 and "broken.wav" in said[0]
    whole = train.samples(0)
    assert whole.shape == (4 * 44100,) and 0.01 < float(whole.abs().max()) <= 1.0
    assert torch.equal(train.cut(0, 1000, 500), whole[1000:1500])
    assert (train.cut(0, len(whole) - 10, 30)[10:] == 0).all()


def test_a_set_is_encoded_where_the_codec_lies() -> None:
    sounds = [(chord(s)[0].numpy() * FULL_SCALE).astype(np.int16) for s in (0.3, 0.2)]
    pieces = Pack([("a", sounds[0]), ("b", sounds[1])], 44100)
    codec = SpectralCodec(vocab_size=32, dim=16, blocks=1).eval()
    with torch.inference_mode():
        want = recipe.encode(pieces, codec)
    with pretend_device():
        moved(codec)
        assert codec.codebooks.device.type == NAME
        got = recipe.encode(pieces, codec)
    assert got.codes.device.type == "cpu" and torch.equal(got.codes, want.codes)
    assert torch.equal(got.starts, want.starts)


def test_windows_that_no_piece_has_are_named(tiny_codec) -> None:
    pieces = Pack([("a", np.zeros(9 * 768, np.int16))], 44100)
    windows = recipe.CodecWindows(pieces, tiny_codec, recipe.encode(pieces, tiny_codec))
    assert windows(2, 9, torch.Generator())[1].shape == (2, 14, 9)
    with pytest.raises(ValueError, match="a window has 10 frames but the longest piece only 9"):
        windows(2, 10, torch.Generator())


def test_a_folder_without_music_is_named(tmp_path) -> None:
    with pytest.raises(ValueError, match="0 readable audio files"):
        pack(tmp_path, tmp_path / "out", 44100)


def test_a_model_from_nothing_plays(music, tmp_path, monkeypatch) -> None:
    small = dict(n_layers=1, n_heads=2, embedding_dim=32, vocab_size=32, window_frames=64)
    monkeypatch.setattr(recipe, "COARSE", dataclasses.replace(recipe.COARSE, **small))
    monkeypatch.setattr(recipe, "FINE", dataclasses.replace(recipe.FINE, **small))

    class Small(SpectralCodec):
        def __init__(self, **kwargs) -> None:
            sizes = dict(vocab_size=32, dim=16, blocks=1, iterations=2)
            super().__init__(**{**sizes, **kwargs})

    monkeypatch.setattr(recipe, "SpectralCodec", Small)
    plan = recipe.plan(steps=3, decoder_steps=2, batch=2, frames=16)
    plan = dataclasses.replace(plan, decoder=dataclasses.replace(plan.decoder, frames=16, batch=2))
    made = recipe.train(music, tmp_path, plan, base=None, licence="CC0")
    pipeline = Pipeline.load(made)
    vamp = pipeline.vamp(chord(1.0)[None], Prompt(period=5), Sampling(steps=2), 1)
    assert vamp.audio.shape == (1, 1, 44100) and torch.isfinite(vamp.audio).all()
    metadata = checkpoints.load_folder(made).config["metadata"]
    assert metadata["licence"] == "CC0" and len(metadata["training_tokens_sha256"]) == 64
    work = tmp_path / "from a set"
    set_ = tmp_path / "pack"
    for name in ("codec", "coarse", "c2f"):  # all done: only written
        shutil.copytree(tmp_path / name, work / name)
    again = recipe.train(set_, work, plan, base=None, licence="CC0")
    assert not (work / "pack").exists()
    for name, value in Pipeline.load(again).coarse.state_dict().items():
        assert torch.equal(value, pipeline.coarse.state_dict()[name])


def test_the_command_goes_on_from_a_model(tiny_pipeline, music, tmp_path, capsys) -> None:
    base = tmp_path / "base"
    checkpoints.save_folder(base, tiny_pipeline.codec, tiny_pipeline.coarse, tiny_pipeline.c2f)
    line = ["train", str(music), str(tmp_path / "work"), "--base", str(base), "--steps", "2"]
    assert cli.main([*line, "--batch", "2", "--frames", "16", "--held-out", "other artist"]) == 0
    said = capsys.readouterr()
    assert "--model" in said.out and "training c2f" in said.err
    made = Pipeline.load(tmp_path / "work" / "model")
    assert torch.equal(made.codec.codebooks.half(), tiny_pipeline.codec.codebooks.half())
    moved = made.coarse.classifier.weight - tiny_pipeline.coarse.classifier.weight
    assert float(moved.detach().abs().max()) > 1e-4


@pytest.mark.parametrize("change", [{"steps": 0}, {"batch": -1}, {"learning_rate": 0.0}])
def test_a_plan_that_cannot_be_is_named(change: dict) -> None:
    (name, value), *_ = change.items()
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        recipe.plan(**change)


def test_a_stopped_command_says_how_to_go_on(monkeypatch, capsys) -> None:
    def stopped(*arguments, **options) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "train", stopped)
    assert cli.main(["train", "music", "work"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
