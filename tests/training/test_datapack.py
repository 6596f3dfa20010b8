"""A training set in one file, and timed training from it."""

from __future__ import annotations

import dataclasses
import json
import time
import zipfile
from types import SimpleNamespace

import pytest
import torch
from conftest import chord

from recipes.default_model.__main__ import main
from vampnet import cli
from vampnet.codec import SpectralCodec
from vampnet.pipeline import Pipeline
from vampnet.training import datapack, end_to_end, loop
from vampnet.training.data import FULL_SCALE, MANIFEST, Pack, store
from vampnet.training.loop import TrainingPlan, rate_at, run
from vampnet.training.settings import Recipe, make_recipe
from vampnet.training.tokens import Tokens


@pytest.fixture(scope="module")
def codec() -> SpectralCodec:
    torch.manual_seed(0)
    return SpectralCodec(vocab_size=32, dim=16, blocks=1, iterations=2).eval()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A set as `recipes.default_model prepare` writes it: two pieces to train on, one held out."""
    folder = tmp_path_factory.mktemp("set")
    entries = []
    for seed, split in enumerate(("train", "train", "heldout")):
        store(chord(3.0 + seed, 44100, seed=seed)[0], folder / f"{seed}.npy")
        entries.append({"name": f"piece {seed}", "file": f"{seed}.npy", "split": split})
    (folder / MANIFEST).write_text(json.dumps({"rate_hz": 44100, "pieces": entries}))
    (folder / "ATTRIBUTION.md").write_text("by somebody")
    return folder


@pytest.fixture(scope="module")
def tokens(prepared, codec) -> dict[str, Tokens]:
    return {s: end_to_end.encode(Pack.load(prepared, s), codec) for s in ("train", "heldout")}


@pytest.mark.parametrize(("bits", "n_frames"), [(1, 9), (5, 8), (10, 1001)])
def test_codes_come_back_from_their_bits(bits: int, n_frames: int) -> None:
    codes = torch.randint(2**bits, (3, n_frames), generator=torch.Generator().manual_seed(0))
    data = datapack.pack_bits(codes.to(torch.int16), bits)
    assert len(data) == 3 * -(-bits * n_frames // 8)
    assert torch.equal(datapack.unpack_bits(data, bits, 3, n_frames).long(), codes)
    with pytest.raises(ValueError, match="bytes"):
        datapack.unpack_bits(data + b"x", bits, 3, n_frames)


def test_a_pack_has_codes_codec_and_matching_clips(prepared, codec, tokens, tmp_path) -> None:
    pieces = Pack.load(prepared, "train")
    file = datapack.write(pieces, tokens, codec, tmp_path / "a.pack", attribution="by somebody")
    found = datapack.read(file)
    assert torch.equal(found.tokens.codes, tokens["train"].codes)
    assert torch.equal(found.tokens.starts, tokens["train"].starts)
    assert found.heldout is not None
    assert torch.equal(found.heldout.codes, tokens["heldout"].codes)
    assert len(found.clips.pieces) == 2 and zipfile.ZipFile(file).read("ATTRIBUTION.md")
    assert torch.equal(found.codec.codebooks, codec.codebooks.half().float())
    for i, (_, sound) in enumerate(found.clips.pieces):  # the longer piece may come first
        n_frames = int(found.clip_tokens.starts.diff()[i])
        assert len(sound) == n_frames * codec.hop_length
        which = int(n_frames == int(tokens["train"].starts.diff()[1]))
        original = pieces.cut(which, 0, len(sound))
        inner = slice(4410, 3 * 44100 - 4410)
        decoded = torch.from_numpy(sound.astype("float32"))[inner] / FULL_SCALE
        match = torch.nn.functional.cosine_similarity(decoded, original[inner], dim=0)
        assert match > 0.9  # the same samples at the same time


def test_a_pack_keeps_its_size(prepared, codec, tokens, tmp_path) -> None:
    pieces = Pack.load(prepared, "train")
    whole = datapack.write(pieces, tokens, codec, tmp_path / "a.pack").stat().st_size
    limit = (whole - 2000) / 2**20 + 2**17 / 2**20
    less = datapack.write(pieces, tokens, codec, tmp_path / "b.pack", max_mib=limit)
    assert less.stat().st_size <= limit * 2**20 and len(datapack.read(less).clips.pieces) == 1
    with pytest.raises(ValueError, match="no space for audio"):
        datapack.write(pieces, tokens, codec, tmp_path / "c.pack", max_mib=0.01)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.pack", "b.pack"]
    (tmp_path / "c.pack").write_text("no pack")
    with pytest.raises(ValueError, match="c.pack is not a data pack"):
        datapack.read(tmp_path / "c.pack")


def test_the_time_of_a_timed_plan_continues_after_a_stop(tmp_path, monkeypatch) -> None:
    model, now = torch.nn.Linear(2, 1), [100.0]

    def loss(rng: torch.Generator) -> torch.Tensor:
        now[0] += 1.0
        return model(torch.rand(4, 2, generator=rng)).square().mean()

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    plan = TrainingPlan(10**9, 1, 1, 0.1, 1, 0.0, save_every=1, report_every=10**9, minutes=20 / 60)
    lines: list[dict] = []
    run(model, loss, plan, tmp_path, log=lines.append)
    assert lines[-1]["step"] == lines[-1]["seconds"] == 20 and lines[-1]["learning_rate"] < 0.02
    now[0] += 1000.0  # stopped meanwhile
    run(model, loss, plan, tmp_path, log=lines.append)  # its time is over
    assert lines[1:] == [{"done": "already at minute 0.3 of 0.3"}]
    run(model, loss, dataclasses.replace(plan, minutes=30 / 60), tmp_path, log=lines.append)
    assert lines[-1]["step"] == lines[-1]["seconds"] == 30


def test_the_rate_of_a_timed_plan_depends_on_time_alone() -> None:
    plan = TrainingPlan(10, 1, 1, 1.0, 300, 0.0, minutes=2.0)
    rates = [rate_at(7, plan, 0.1 * tenth) for tenth in range(1201)]
    assert rates == [rate_at(10**6, plan, 0.1 * tenth) for tenth in range(1201)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1.0) and top == pytest.approx(60, abs=1)  # 6 s of 120
    assert all(0 <= b - a < 0.02 for a, b in zip(rates[:top], rates[1:], strict=False))
    assert all(0 <= a - b < 0.002 for a, b in zip(rates[top:], rates[top + 1 :], strict=False))
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


def test_minutes_are_shared_among_the_stages() -> None:
    made = make_recipe(minutes=25.0, device="cuda")
    times = [stage.minutes for stage in (made.decoder, made.coarse, made.c2f)]
    assert 0.9 * 25 < sum(times) < 25 and made.coarse.batch > make_recipe().coarse.batch
    with pytest.raises(ValueError, match="minutes is 0"):
        make_recipe(minutes=0.0)


def test_one_command_trains_from_a_pack(prepared, codec, tokens, tmp_path, monkeypatch) -> None:
    """The recipe for an accelerator, in small and on the CPU: train, stop, take up, play."""
    small = dict(n_layers=1, n_heads=2, embedding_dim=32, vocab_size=32, window_frames=64)
    monkeypatch.setattr(end_to_end, "COARSE", dataclasses.replace(end_to_end.COARSE, **small))
    monkeypatch.setattr(end_to_end, "FINE", dataclasses.replace(end_to_end.FINE, **small))
    tiny = Recipe(
        dataclasses.replace(Recipe().decoder, batch=2, frames=24),
        dataclasses.replace(Recipe().coarse, batch=2, frames=16),
        dataclasses.replace(Recipe().c2f, batch=2, frames=16),
    )
    monkeypatch.setattr(end_to_end, "Recipe", lambda: tiny)
    pieces = Pack.load(prepared, "train")
    file = datapack.write(pieces, tokens, codec, tmp_path / "a.pack", attribution="by somebody")
    line = ["train", str(file), str(tmp_path / "work"), "--minutes", "0.02", "--device", "cpu"]
    assert cli.main([*line, "--licence", "CC-BY-SA-4.0"]) == 0
    for stage in ("codec", "coarse", "c2f"):
        assert (tmp_path / "work" / stage / "state.pt").is_file()
    made = Pipeline.from_pretrained(tmp_path / "work" / "model")
    assert torch.equal(made.codec.codebooks, codec.codebooks.half().float())
    assert (tmp_path / "work/model/ATTRIBUTION.md").read_text() == "by somebody"
    began = time.monotonic()
    assert cli.main(line) == 0  # all done: only written
    assert time.monotonic() - began < 20


def test_a_pack_is_not_mixed_with_other_codes_nor_used_with_too_long_windows(
    prepared, codec, tokens, tmp_path
) -> None:
    file = datapack.write(Pack.load(prepared, "train"), tokens, codec, tmp_path / "a.pack")
    with pytest.raises(ValueError, match="a window has 4000 frames"):
        end_to_end.train(file, tmp_path / "work", make_recipe(frames=4000, decoder_steps=1))
    assert not (tmp_path / "work" / "codec").exists()
    found = tokens["train"]
    Tokens((found.codes + 1) % 32, found.starts).save(tmp_path / "work" / "train.tokens")
    before = (tmp_path / "work" / "train.tokens").read_bytes()
    with pytest.raises(ValueError, match="train.tokens' was made from different music"):
        end_to_end.train(file, tmp_path / "work", make_recipe(frames=16, decoder_steps=1))
    assert (tmp_path / "work" / "train.tokens").read_bytes() == before


def test_a_pack_keeps_the_terms_of_its_codecs_model(
    prepared, codec, tokens, tmp_path, monkeypatch
) -> None:
    from vampnet import checkpoints

    small = dict(n_layers=1, n_heads=2, embedding_dim=32, vocab_size=32, window_frames=64)
    monkeypatch.setattr(end_to_end, "COARSE", dataclasses.replace(end_to_end.COARSE, **small))
    monkeypatch.setattr(end_to_end, "FINE", dataclasses.replace(end_to_end.FINE, **small))
    terms = {"licence": "CC BY 4.0", "training_tokens_sha256": "ab"}
    base = checkpoints.save_folder(tmp_path / "theirs", codec, metadata=terms)
    (base / "ATTRIBUTION.md").write_text("by a musician")
    file = end_to_end.write_datapack(prepared, tmp_path / "a.pack", base=base)
    plan = make_recipe(steps=1, decoder_steps=1, batch=1, frames=16)
    plan = dataclasses.replace(plan, decoder=dataclasses.replace(plan.decoder, frames=24, batch=1))
    for licence, stated in (("", "CC BY 4.0"), ("mine", "mine")):
        made = end_to_end.train(file, tmp_path / "work", plan, licence=licence)
        metadata = checkpoints.load_folder(made).config["metadata"]
        assert metadata["licence"] == stated
        origins = {"name": "theirs", "licence": "CC BY 4.0", "training_tokens_sha256": "ab"}
        assert metadata["base"] == origins
        credit = (made / "ATTRIBUTION.md").read_text()
        assert (
            credit.index("'theirs'") < credit.index("by a musician") < credit.index("by somebody")
        )
    older = datapack.write(Pack.load(prepared, "train"), tokens, codec, tmp_path / "b.pack")
    assert datapack.read_base(older) is None  # of a version without terms


def test_the_command_packs_a_prepared_set(prepared, codec, tmp_path, capsys) -> None:
    from vampnet import checkpoints

    checkpoints.save_folder(tmp_path / "model", codec)
    line = ["pack", str(prepared), str(tmp_path / "a.pack"), "--model", str(tmp_path / "model")]
    assert main(line) == 0
    assert "vampnet train" in capsys.readouterr().out
    assert datapack.read(tmp_path / "a.pack").tokens.n_frames > 0
    (tmp_path / "a.pack").write_text("mine")
    assert main(line) == 1 and "a.pack' is there already; --force" in capsys.readouterr().err
    assert (tmp_path / "a.pack").read_text() == "mine"
    assert main([*line, "--force"]) == 0 and datapack.read(tmp_path / "a.pack").tokens
    capsys.readouterr()
    for size in ("nan", "0"):
        assert main([*line, "--force", "--max-mib", size]) == 1
        assert "must be above 0" in capsys.readouterr().err
    assert main(["pack", str(tmp_path), str(tmp_path / "b.pack")]) == 1
    assert "recipes.default_model prepare" in capsys.readouterr().err
