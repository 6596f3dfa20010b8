"""Adding an envelope to a model leaves tokens, models and spectra bit-exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recipes.default_model.__main__ import main
from recipes.default_model.attacks import add_envelope, examples_of
from vampnet import checkpoints
from vampnet.training.data import Pack


@pytest.fixture()
def music() -> Pack:
    rng = np.random.default_rng(0)
    return Pack([("a", (3000 * rng.standard_normal(88200)).astype(np.int16))], 44100)


def test_tokens_and_models_are_unchanged(tiny_pipeline, music, tmp_path, monkeypatch) -> None:
    base = checkpoints.save_folder(
        tmp_path / "base",
        tiny_pipeline.codec,
        tiny_pipeline.coarse,
        tiny_pipeline.c2f,
        metadata={"licence": "CC0"},
        dtype=torch.float16,
    )
    monkeypatch.setattr(Pack, "load", classmethod(lambda cls, folder, split: music))
    monkeypatch.setattr("recipes.default_model.attacks.HITS_S", 1.0)
    monkeypatch.setattr("recipes.default_model.attacks.NOTES_S", 1.0)
    made = add_envelope("set", tmp_path / "work", model=base, minutes=0.02)
    before, after = (checkpoints.load_folder(folder) for folder in (base, made))
    sound = torch.randn(1, 1, 768 * 40, generator=torch.Generator().manual_seed(2)) * 0.1
    codes = before.codec.encode(sound)
    assert torch.equal(after.codec.encode(sound), codes)
    old, _ = before.codec.spectra(before.codec.dequantize(codes))
    new, envelopes = after.codec.spectra(after.codec.dequantize(codes))
    assert all(torch.equal(a, b) for a, b in zip(old, new, strict=True)) and len(envelopes) == 3
    for name in ("coarse.safetensors", "c2f.safetensors"):
        assert (made / name).read_bytes() == (base / name).read_bytes()
    assert after.config["metadata"]["licence"] == "CC0"


def test_examples_are_music_and_exercises(music) -> None:
    pack = examples_of(music, 1.0, seed=0)
    assert len(pack.pieces[0][1]) == 44100 and len(pack.pieces) == 1 + 3 * 12
    again = examples_of(music, 1.0, seed=0)
    assert all((a == b).all() for (_, a), (_, b) in zip(pack.pieces, again.pieces, strict=True))


def test_user_errors_name_the_value(tmp_path, capsys) -> None:
    assert main(["envelope", str(tmp_path), str(tmp_path), "--minutes", "0"]) == 1
    assert "--minutes is 0.0; it must be above 0" in capsys.readouterr().err
