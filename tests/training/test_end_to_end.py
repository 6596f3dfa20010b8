"""From a folder of audio files to a working model, by the command."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import soundfile
import torch
from conftest import chord
from pretend_device import NAME, moved, pretend_device

from vampnet import checkpoints, cli
from vampnet.codec import SpectralCodec
from vampnet.model import Sampling
from vampnet.pipeline import Pipeline
from vampnet.prompt import Prompt
from vampnet.training import codebook_fitting, end_to_end, provenance
from vampnet.training.data import FULL_SCALE, MANIFEST, Pack, pack, store
from vampnet.training.settings import Recipe, make_recipe
from vampnet.training.tokens import Tokens

pytestmark = pytest.mark.training


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
    logged: list[str] = []
    pack(music, tmp_path, 44100, ("other artist",), logged.append)
    train, heldout = Pack.load(tmp_path, "train"), Pack.load(tmp_path, "heldout")
    assert [name for name, _ in train.pieces] == ["a.wav", "b.flac", "sub/c.wav"]
    assert [name for name, _ in heldout.pieces] == ["other artist/d.wav"]
    assert len(logged) == 1 and "broken.wav" in logged[0]
    whole = train.samples(0)
    assert whole.shape == (4 * 44100,) and 0.01 < float(whole.abs().max()) <= 1.0
    assert torch.equal(train.cut(0, 1000, 500), whole[1000:1500])
    assert (train.cut(0, len(whole) - 10, 30)[10:] == 0).all()


def test_a_set_is_encoded_on_the_device_of_the_codec() -> None:
    sounds = [(chord(s)[0].numpy() * FULL_SCALE).astype(np.int16) for s in (0.3, 0.2)]
    pieces = Pack([("a", sounds[0]), ("b", sounds[1])], 44100)
    codec = SpectralCodec(vocab_size=32, dim=16, blocks=1).eval()
    with torch.inference_mode():
        want = end_to_end.encode(pieces, codec)
    with pretend_device():
        moved(codec)
        assert codec.codebooks.device.type == NAME
        got = end_to_end.encode(pieces, codec)
    assert got.codes.device.type == "cpu" and torch.equal(got.codes, want.codes)
    assert torch.equal(got.starts, want.starts)


def test_windows_that_no_piece_has_are_named(tiny_codec) -> None:
    pieces = Pack([("a", np.zeros(9 * 768, np.int16))], 44100)
    windows = end_to_end.CodecWindows(pieces, tiny_codec, end_to_end.encode(pieces, tiny_codec))
    assert windows(2, 9, torch.Generator())[1].shape == (2, 14, 9)
    with pytest.raises(ValueError, match="a window has 10 frames but the longest piece only 9"):
        windows(2, 10, torch.Generator())


def test_a_model_trained_from_random_weights_generates(music, tmp_path, monkeypatch) -> None:
    small = dict(n_layers=1, n_heads=2, embedding_dim=32, vocab_size=32, window_frames=64)
    monkeypatch.setattr(end_to_end, "COARSE", dataclasses.replace(end_to_end.COARSE, **small))
    monkeypatch.setattr(end_to_end, "FINE", dataclasses.replace(end_to_end.FINE, **small))

    class Small(SpectralCodec):
        def __init__(self, **kwargs) -> None:
            sizes = dict(vocab_size=32, dim=16, blocks=1, iterations=2)
            super().__init__(**{**sizes, **kwargs})

    monkeypatch.setattr(end_to_end, "SpectralCodec", Small)
    plan = make_recipe(steps=3, decoder_steps=2, batch=2, frames=16)
    plan = dataclasses.replace(plan, decoder=dataclasses.replace(plan.decoder, frames=16, batch=2))
    made = end_to_end.train(music, tmp_path, plan, base=None, licence="CC0")
    pipeline = Pipeline.from_pretrained(made)
    vamp = pipeline.vamp(chord(1.0)[None], Prompt(period=5), Sampling(steps=2), 1)
    assert vamp.audio.shape == (1, 1, 44100) and torch.isfinite(vamp.audio).all()
    metadata = checkpoints.load_folder(made).config["metadata"]
    assert metadata["licence"] == "CC0" and len(metadata["training_tokens_sha256"]) == 64
    work = tmp_path / "from a set"
    set_ = tmp_path / "pack"
    for name in ("codec", "coarse", "c2f"):  # all done: only written
        shutil.copytree(tmp_path / name, work / name)
    again = end_to_end.train(set_, work, plan, base=None, licence="CC0")
    assert not (work / "pack").exists()
    for name, value in Pipeline.from_pretrained(again).coarse.state_dict().items():
        assert torch.equal(value, pipeline.coarse.state_dict()[name])


def test_the_command_fine_tunes_a_model(tiny_pipeline, music, tmp_path, capsys) -> None:
    base, work = tmp_path / "base", tmp_path / "work"
    terms = {"licence": "CC BY 4.0", "training_tokens_sha256": "ab", "other": 1}
    models = tiny_pipeline.codec, tiny_pipeline.coarse, tiny_pipeline.c2f
    checkpoints.save_folder(base, *models, metadata=terms)
    (base / "ATTRIBUTION.md").write_text("by a musician")
    line = ["train", str(music), str(work), "--base", str(base), "--batch", "2", "--frames", "16"]
    line += ["--held-out", " other artist,"]
    assert cli.main([*line, "--steps", "2"]) == 0
    logged = capsys.readouterr()
    assert "--model" in logged.out and "training c2f" in logged.err
    made = Pipeline.from_pretrained(work / "model")
    assert torch.equal(made.codec.codebooks.half(), tiny_pipeline.codec.codebooks.half())
    moved = made.coarse.classifier.weight - tiny_pipeline.coarse.classifier.weight
    assert float(moved.detach().abs().max()) > 1e-4
    metadata = checkpoints.load_folder(work / "model").config["metadata"]
    origins = {"name": "base", "licence": "CC BY 4.0", "training_tokens_sha256": "ab"}
    assert metadata["licence"] == "CC BY 4.0" and metadata["base"] == origins
    assert "by a musician" in (work / "model" / "ATTRIBUTION.md").read_text()

    # the same command resumes, with its own licence; without the record too, which is logged
    assert cli.main([*line, "--steps", "3", "--licence", "mine"]) == 0
    metadata = checkpoints.load_folder(work / "model").config["metadata"]
    assert metadata["licence"] == "mine" and metadata["base"] == origins
    assert "has no record" not in capsys.readouterr().err
    (work / provenance.RUN).unlink()
    assert cli.main([*line, "--steps", "3"]) == 0
    assert "has no record of its music and base" in capsys.readouterr().err
    # another base is refused, by the record or by the codes
    before = (work / "model" / "coarse.safetensors").read_bytes()
    line[line.index(str(base))] = "default"
    assert cli.main([*line, "--steps", "4"]) == 1
    error = "has a run with the base 'base' instead of 'default'; use another work folder"
    assert error in capsys.readouterr().err
    (work / provenance.RUN).unlink()
    assert cli.main([*line, "--steps", "4"]) == 1
    assert "different music or a different codec" in capsys.readouterr().err
    assert (work / "model" / "coarse.safetensors").read_bytes() == before


def test_a_run_is_resumed_with_the_same_base_and_music_only(tiny_pipeline, tmp_path) -> None:
    music, work, logged = tmp_path / "music", tmp_path / "work", []
    (music / "sub").mkdir(parents=True)
    for name in ("a.wav", "sub/b.wav"):
        (music / name).write_text(name)
    parts = checkpoints.ModelParts(tiny_pipeline.codec, tiny_pipeline.coarse, None, {})
    start = provenance.Provenance("tiny", parts, "", "", {})
    trained = checkpoints.ModelParts(tiny_pipeline.codec, copy.deepcopy(parts.coarse), None, {})
    with torch.no_grad():
        next(trained.coarse.parameters()).add_(1e-3)

    def check(where=music, base: provenance.Provenance | None = start, words=("b",)) -> None:
        provenance.check_run(work, provenance.run_origin(where, base, words), logged.append)

    check(words=())  # before anything is trained, anything may change
    check()
    (work / "train.tokens").touch()
    check()
    check(shutil.copytree(music, tmp_path / "elsewhere"))
    check(base=dataclasses.replace(start, name="renamed"))
    for reason, changes in {
        "the base 'tiny' instead of 'none'": {"base": None},
        "the base 'tiny' of the same name": {"base": dataclasses.replace(start, parts=trained)},
        "the held-out words b instead of none": {"words": ()},
        "the base 'tiny' instead of 'none' and the held": {"base": None, "words": ("a",)},
    }.items():
        with pytest.raises(ValueError, match=f"'.*work' has a run with {reason}.*use another"):
            check(**changes)
    (music / "sub/b.wav").write_text("longer than before")
    with pytest.raises(ValueError, match="other music .differing files: 1, first 'sub/b.wav'"):
        check()
    (tmp_path / "elsewhere" / "c.flac").touch()
    with pytest.raises(ValueError, match="other music .differing files: 1, first 'c.flac'"):
        check(tmp_path / "elsewhere")
    for place in (tmp_path / "elsewhere" / MANIFEST, tmp_path / "a.pack"):
        place.write_text("{}")
        with pytest.raises(ValueError, match="a run with other music; use"):
            check(place.parent if place.name == MANIFEST else place)
    with pytest.raises(ValueError, match="no music at '.*nowhere'"):
        check(tmp_path / "nowhere")
    assert not logged


def test_a_folder_without_a_record_is_resumed_unless_its_music_differs(
    tiny_pipeline, tmp_path
) -> None:
    music, work, logged = tmp_path / "music", tmp_path / "work", []
    for folder, names in ((music, "ab"), (work / "pack", "abc")):
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.wav").touch()
    manifest = {"pieces": [{"name": "a.wav"}]}
    (work / "pack" / MANIFEST).write_text(json.dumps(manifest))
    provenance.check_run(work, provenance.run_origin(music, None, ()), logged.append)
    assert "has no record" in logged[0] and (work / provenance.RUN).is_file()
    (work / provenance.RUN).unlink()
    manifest["pieces"].append({"name": "c.wav"})
    (work / "pack" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="with other music .it has 'c.wav'"):
        provenance.check_run(work, provenance.run_origin(music, None, ()), logged.append)

    base, set_ = tmp_path / "base", tmp_path / "set"
    checkpoints.save_folder(base, tiny_pipeline.codec, tiny_pipeline.coarse, tiny_pipeline.c2f)
    set_.mkdir()
    store(chord(0.5)[0], set_ / "a.npy")
    entry = {"name": "a", "file": "a.npy", "split": "train"}
    (set_ / MANIFEST).write_text(json.dumps({"rate_hz": 44100, "pieces": [entry]}))
    codes = end_to_end.encode(Pack.load(set_, "train"), tiny_pipeline.codec).codes.long()
    (tmp_path / "old").mkdir()
    Tokens.join([codes[:, :20], codes[:, 20:]]).save(tmp_path / "old" / "train.tokens")
    plan = make_recipe(steps=1, frames=8, batch=1)
    with pytest.raises(ValueError, match="train.tokens' was made from different music"):
        end_to_end.train(set_, tmp_path / "old", plan, base=base)


def test_windows_too_long_for_the_music_are_refused_before_training(
    tiny_codec, music, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(end_to_end, "new_codec", lambda pieces, plan: copy.deepcopy(tiny_codec))
    plan = make_recipe(frames=4000, decoder_steps=1)
    with pytest.raises(ValueError, match="window has 4000 frames.*--frames"):
        end_to_end.train(music, tmp_path, plan, base=None)
    assert not (tmp_path / "codec" / "state.pt").exists()


def test_options_that_do_not_apply_are_refused(music, tmp_path, capsys) -> None:
    set_, file, work = tmp_path / "set", tmp_path / "a.pack", tmp_path / "work"
    pack(music, set_, 8000)
    file.write_text("no pack")
    for where, option, value in (
        (file, "--base", "default"),
        (file, "--base", "none"),
        (file, "--held-out", "b"),
        (set_, "--held-out", "b"),
    ):
        assert cli.main(["train", str(where), str(work), option, value]) == 1
        logged = capsys.readouterr().err
        assert f"omit {option}" in logged and value in logged and "not apply" in logged
    assert not work.exists()


def test_few_frames_are_all_used_and_too_few_are_an_error(tiny_codec, monkeypatch) -> None:
    assert codebook_fitting.fitting_step(41_000, 1024, 10) == 10  # enough frames
    assert (
        codebook_fitting.fitting_step(8310, 1024, 10) == 2
        and codebook_fitting.fitting_step(1024, 1024, 10) == 1
    )
    monkeypatch.setattr(end_to_end, "SpectralCodec", small_codec)
    steps: list[int] = []
    fit = end_to_end.fit_quantizers
    monkeypatch.setattr(end_to_end, "fit_quantizers", lambda *a: (steps.append(a[2]), fit(*a)))
    # 115 frames: every tenth are too few for 32 rows
    end_to_end.new_codec(chords(2.0), Recipe())
    assert steps == [1]
    with pytest.raises(ValueError, match="there are 0.0 minutes of music.* at least 0.1 minutes"):
        end_to_end.new_codec(chords(0.5), Recipe())


def chords(seconds: float) -> Pack:
    return Pack([("a", (chord(seconds)[0].numpy() * FULL_SCALE).astype(np.int16))], 44100)


def small_codec(**kwargs) -> SpectralCodec:
    return SpectralCodec(**{"vocab_size": 32, "dim": 16, "blocks": 1, "iterations": 2, **kwargs})


def test_music_can_be_added_while_nothing_is_trained_yet(music, tmp_path, monkeypatch) -> None:
    """Too little music is packed and then refused; adding some must not need another folder."""
    some, work, logged = tmp_path / "some", tmp_path / "work", []
    some.mkdir()
    shutil.copy(music / "a.wav", some)

    def too_little(pieces, plan) -> None:
        raise ValueError(f"{len(pieces.pieces)} pieces")

    monkeypatch.setattr(end_to_end, "new_codec", too_little)
    for n_pieces, name in ((1, "b.flac"), (2, "sub/c.wav")):
        for _ in range(2):
            with pytest.raises(ValueError, match=f"^{n_pieces} pieces"):
                end_to_end.train(some, work, make_recipe(), base=None, log=logged.append)
        shutil.copy(music / name, some)
    restarts = [line for line in logged if "restarts" in line]
    assert len(restarts) == 1
    assert "other music (differing files: 1, first 'b.flac')" in restarts[0]
    checkpoints.save_folder(work / "codec", small_codec())
    with pytest.raises(ValueError, match="has a run with other music"):
        end_to_end.train(some, work, make_recipe(), base=None)


def test_weights_that_overflow_name_the_learning_rate(tiny_pipeline, music, tmp_path) -> None:
    base = tmp_path / "base"
    coarse = copy.deepcopy(tiny_pipeline.coarse)
    checkpoints.save_folder(base, tiny_pipeline.codec, coarse, tiny_pipeline.c2f)
    plan = make_recipe(steps=1, batch=1, frames=16, learning_rate=1e6)
    with pytest.raises(ValueError, match="float16.*likely reason is a learning rate.*1e.06"):
        end_to_end.train(music, tmp_path / "work", plan, base=base)


def test_minutes_go_to_the_stages_that_run(tiny_pipeline, music, tmp_path, monkeypatch) -> None:
    base, minutes = tmp_path / "base", []
    checkpoints.save_folder(base, tiny_pipeline.codec, tiny_pipeline.coarse, tiny_pipeline.c2f)

    def trained(model, tokens, heldout, plan, folder, log):
        minutes.append(plan.minutes)
        return model

    monkeypatch.setattr(end_to_end, "train_masked", trained)
    whole = make_recipe(minutes=10.0)
    end_to_end.train(music, tmp_path / "work", whole, base=base)
    stages = (whole.decoder, whole.coarse, whole.c2f)
    assert sum(minutes) == pytest.approx(sum(stage.minutes for stage in stages))
    assert minutes[0] / minutes[1] == pytest.approx(whole.coarse.minutes / whole.c2f.minutes)
    minutes.clear()
    end_to_end.train(music, tmp_path / "work", make_recipe(steps=3), base=base)
    assert minutes == [0.0, 0.0]  # steps stay steps


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"batch": -1},
        {"learning_rate": 0.0},
        {"minutes": math.inf},
        {"minutes": math.nan},
    ],
)
def test_invalid_settings_are_named(change: dict) -> None:
    (name, value), *_ = change.items()
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        make_recipe(**change)


def test_an_interrupted_command_says_how_to_resume(monkeypatch, capsys) -> None:
    def stopped(*arguments, **options) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(end_to_end, "train", stopped)
    assert cli.main(["train", "music", "work"]) == 130
    assert "run the same command again to resume" in capsys.readouterr().err
