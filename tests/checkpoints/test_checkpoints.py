"""Weight files: what goes out comes in again equal, and what does not fit is refused clearly."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from conftest import TINY_SIZES
from places import GOLDEN
from safetensors.torch import load_file, save_file
from torch import Tensor, package

from vampnet import checkpoints
from vampnet.checkpoints.folders import CheckpointError, ModelParts
from vampnet.codec import DAC, LAC
from vampnet.model import VampNet, VampNetConfig, lora
from vampnet.model.precision import optimize_layers


def tiny_model(n_codebooks: int = 4, n_conditioning: int = 0, **changes) -> VampNet:
    config = VampNetConfig(
        n_codebooks=n_codebooks,
        n_conditioning_codebooks=n_conditioning,
        n_layers=2,
        n_heads=2,
        embedding_dim=8,
        vocab_size=16,
        latent_dim=4,
        **changes,
    )
    return VampNet(config).eval()


def tiny_parts(family: type[DAC] = DAC, **changes) -> ModelParts:
    torch.manual_seed(5)
    codec = family(**TINY_SIZES).eval()
    coarse, c2f = tiny_model(**changes), tiny_model(6, 4)
    for model in (coarse, c2f):
        model.codebooks.copy_(codec.codebooks[: model.config.n_codebooks])
    return ModelParts(codec, coarse, c2f, {})


def saved(folder: Path, **options) -> Path:
    parts = tiny_parts()
    return checkpoints.save_folder(folder, parts.codec, parts.coarse, parts.c2f, **options)


@torch.no_grad()
def logits(parts: ModelParts) -> list[Tensor]:
    rng = torch.Generator().manual_seed(2)
    models = [model for model in (parts.coarse, parts.c2f) if model is not None]
    vocab = parts.coarse.config.vocab_size
    shapes = [(1, model.config.n_codebooks, 7) for model in models]
    return [
        model(torch.randint(0, vocab + 1, shape, generator=rng))
        for model, shape in zip(models, shapes, strict=True)
    ]


def assert_same(one: ModelParts, two: ModelParts) -> None:
    assert all(torch.equal(a, b) for a, b in zip(logits(one), logits(two), strict=True))
    ours, theirs = one.codec.state_dict(), two.codec.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def original_folder(folder: Path) -> Path:
    """A folder as the original lays it out, with two styles of adapters under loras/."""
    (folder / "loras" / "delta").mkdir(parents=True)
    for name in ("codec.pth", "coarse.pth", "c2f.pth"):
        shutil.copy(GOLDEN / name, folder)
    shutil.copy(GOLDEN / "coarse_lora_delta.pth", folder / "loras" / "delta" / "coarse.pth")
    shutil.copytree(GOLDEN / "loras" / "tiny", folder / "loras" / "tiny")
    return folder


def test_original_to_ours_gives_equal_logits(tmp_path):
    folder = original_folder(tmp_path / "theirs")
    theirs = checkpoints.load_folder(folder)
    ours = checkpoints.convert(folder, tmp_path / "ours", metadata={"licence": "CC0-1.0"})
    again = checkpoints.load_folder(ours)
    assert again.c2f is not None
    assert_same(theirs, again)
    metadata = json.loads((ours / "config.json").read_text())["metadata"]
    assert metadata["licence"] == "CC0-1.0"
    assert set(metadata["source_sha256"]) == {"codec.pth", "coarse.pth", "c2f.pth"}
    assert len(metadata["source_sha256"]["c2f.pth"]) == 64
    with pytest.raises(CheckpointError, match="has a model already"):
        checkpoints.convert(folder, ours)


@pytest.mark.parametrize("name", ["tiny", "delta"])
def test_files_in_a_lora_folder_replace_the_main_model(tmp_path, name):
    folder = original_folder(tmp_path)
    main = checkpoints.load_folder(folder)
    tuned = checkpoints.load_folder(folder / "loras" / name)
    assert not torch.equal(logits(main)[0], logits(tuned)[0])
    assert torch.equal(logits(main)[1], logits(tuned)[1])
    ours = checkpoints.convert(folder / "loras" / name, tmp_path / "ours")
    assert_same(tuned, checkpoints.load_folder(ours))


def test_without_c2f(tmp_path):
    for name in ("codec.pth", "coarse.pth"):
        shutil.copy(GOLDEN / name, tmp_path)
    parts = checkpoints.load_folder(tmp_path)
    assert parts.c2f is None
    ours = checkpoints.convert(tmp_path, tmp_path / "ours")
    assert checkpoints.load_folder(ours).c2f is None


@pytest.mark.parametrize("family", [DAC, LAC])
def test_saved_folder_comes_back_equal(tmp_path, family):
    parts = tiny_parts(family, embedding_kernel=7, tied_head_scale=8.0)
    folder = checkpoints.save_folder(
        tmp_path, parts.codec, parts.coarse, parts.c2f, metadata={"data_sha256": "ab"}
    )
    again = checkpoints.load_folder(folder)
    assert_same(parts, again)
    assert again.codec.family == family.family and again.codec.kwargs == parts.codec.kwargs
    assert again.coarse.config == parts.coarse.config
    assert again.config["metadata"] == {"data_sha256": "ab"}
    assert not again.coarse.training and not again.codec.training
    assert not list(folder.glob("*.part"))


def test_half_precision_storage_is_read_as_float32(tmp_path):
    full, half = saved(tmp_path / "full"), saved(tmp_path / "half", dtype=torch.float16)
    sizes = [(folder / "coarse.safetensors").stat().st_size for folder in (full, half)]
    assert sizes[1] < 0.65 * sizes[0]
    parts = checkpoints.load_folder(half)
    assert {value.dtype for value in parts.coarse.state_dict().values()} == {torch.float32}
    for one, two in zip(logits(checkpoints.load_folder(full)), logits(parts), strict=True):
        torch.testing.assert_close(one, two, atol=0.02, rtol=0)
    # What was rounded once is not rounded again: the codebooks fit those in the codec.
    assert torch.equal(parts.coarse.codebooks, parts.codec.codebooks[:4])


def test_a_codec_alone(tmp_path):
    codec = tiny_parts().codec
    folder = checkpoints.save_folder(tmp_path, codec)
    for path in (folder, folder / "codec.safetensors"):
        assert torch.equal(checkpoints.load_codec(path).codebooks, codec.codebooks)
    with pytest.raises(CheckpointError, match="no coarse model"):
        checkpoints.load_folder(folder)


def test_names_and_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.folders, "BUILT_IN", tmp_path)
    saved(tmp_path / "default")
    assert checkpoints.resolve("default") == tmp_path / "default"
    assert checkpoints.resolve(tmp_path) == tmp_path
    with pytest.raises(ValueError, match="no model 'nonsense'.*one of: default"):
        checkpoints.resolve("nonsense")


# What does not fit ------------------------------------------------------------------------------


def content(name: str) -> dict:
    return torch.load(GOLDEN / name, weights_only=True)


def without(name: str, key: str) -> dict:
    found = content(name)
    del found["state_dict"][key]
    return found


def changed(name: str, key: str, value: object) -> dict:
    found = content(name)
    found["state_dict"][key] = value
    return found


def with_kwargs(name: str, **kwargs) -> dict:
    found = content(name)
    found["metadata"]["kwargs"].update(kwargs)
    return found


ADAPTER = "transformer.layers.0.self_attn.w_qs.lora_A"
BAD_MODELS = {
    "missing": (
        lambda: without("coarse.pth", "transformer.layers.1.self_attn.w_ks.weight"),
        r"lacks weights layers\.1\.attention\.key\.weight",
    ),
    "half a weight norm": (
        lambda: without("coarse.pth", "classifier.layers.0.weight_g"),
        r"lacks weights classifier\.weight",
    ),
    "unknown": (
        lambda: changed("coarse.pth", "ctrl_encoder.a.weight", torch.zeros(1)),
        r"unknown weights ctrl_encoder\.a\.weight",
    ),
    "twice": (
        lambda: changed("coarse.pth", "transformer.layers.0.norm_2.weight", torch.zeros(64)),
        "occurs twice",
    ),
    "shape": (
        lambda: changed("coarse.pth", "transformer.norm.weight", torch.zeros(3)),
        r"norm\.weight has shape \(3,\); it must be \(64,\)",
    ),
    "no tensor": (lambda: changed("coarse.pth", "transformer.norm.weight", 3), "names and tensors"),
    "adapters of half the layers": (
        lambda: without("coarse.pth", "transformer.layers.0.self_attn.fc.lora_A"),
        "on one side only",
    ),
    "more layers": (lambda: with_kwargs("coarse.pth", n_layers=3), r"lacks weights layers\.2"),
    "odd heads": (lambda: with_kwargs("coarse.pth", n_heads=5), "invalid sizes"),
    "sizes as text": (lambda: with_kwargs("coarse.pth", n_layers="two"), "invalid sizes"),
    "another vocabulary": (lambda: with_kwargs("coarse.pth", vocab_size=512), "codebooks of 512"),
    "no kwargs": (lambda: {"state_dict": {}, "metadata": {}}, "state_dict and metadata"),
    "bare state": (lambda: content("coarse.pth")["state_dict"], "state_dict and metadata"),
    "a codec": (lambda: content("codec.pth"), "is a codec, not a VampNet"),
    "a list": (lambda: [1, 2], "has a list"),
    "a scalar": (lambda: changed("coarse.pth", ADAPTER, torch.tensor(1.0)), "coarse.pth: "),
    "whole numbers": (
        lambda: changed("coarse.pth", "embedding.special.MASK", torch.zeros(4, 8).long()),
        "has torch.int64",
    ),
    "sparse": (
        lambda: changed("coarse.pth", ADAPTER, torch.zeros(4, 8).to_sparse()),
        "not a plain tensor",
    ),
    "unknown pickle": (lambda: Path("x"), "objects other than tensors"),
}


@pytest.fixture(scope="module")
def codec() -> LAC:
    return checkpoints.load_codec(GOLDEN / "codec.pth")


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_model_files_are_refused(tmp_path, codec, case):
    make, words = BAD_MODELS[case]
    torch.save(make(), tmp_path / "coarse.pth")
    with pytest.raises(CheckpointError, match=words) as seen:
        checkpoints.load_vampnet(tmp_path / "coarse.pth", codec)
    assert str(tmp_path / "coarse.pth") in str(seen.value) and "\n" not in str(seen.value)


def test_bad_codec_files_are_refused(tmp_path):
    cases = [
        (without("codec.pth", "decoder.model.1.block.1.weight_g"), r"lacks weights decoder\.1\.1"),
        (changed("codec.pth", "encoder.block.9.alpha", torch.ones(1)), r"unknown weights encoder"),
        (with_kwargs("codec.pth", encoder_rates=[2, 6, 8, 4]), "same product"),
        (content("coarse.pth"), "is a VampNet model, not a codec"),
    ]
    for found, words in cases:
        torch.save(found, tmp_path / "codec.pth")
        with pytest.raises(CheckpointError, match=words):
            checkpoints.load_codec(tmp_path / "codec.pth")


def test_swapped_stages_are_refused(tmp_path):
    folder = original_folder(tmp_path)
    shutil.copy(GOLDEN / "c2f.pth", folder / "coarse.pth")
    with pytest.raises(CheckpointError, match="coarse-to-fine.*not a coarse one"):
        checkpoints.load_folder(folder)
    shutil.copy(GOLDEN / "coarse.pth", folder / "coarse.pth")
    shutil.copy(GOLDEN / "coarse.pth", folder / "c2f.pth")
    with pytest.raises(CheckpointError, match="a coarse model.*not a c2f one"):
        checkpoints.load_folder(folder)


class Harm:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_reading_runs_no_code_of_the_file(tmp_path, codec):
    trap, path = tmp_path / "touched", tmp_path / "coarse.pth"
    torch.save({"state_dict": {}, "metadata": {"kwargs": {}, "x": Harm(trap)}}, path)
    with pytest.raises(CheckpointError, match="objects other than tensors"):
        checkpoints.load_vampnet(path, codec)
    path.write_bytes(pickle.dumps(Harm(trap), protocol=2))
    with pytest.raises(CheckpointError):
        checkpoints.load_vampnet(path, codec)
    assert not trap.exists()


def test_torch_packages_are_refused(tmp_path, codec):
    path = tmp_path / "coarse.pth"
    with package.PackageExporter(str(path)) as exporter:
        exporter.save_pickle("VampNet", "VampNet.pth", {"state_dict": {}})
    with pytest.raises(CheckpointError, match="torch.package, which runs code"):
        checkpoints.load_vampnet(path, codec)


@pytest.mark.parametrize("keep", [0, 1, 100, 50_000, -1, -4000])
def test_truncated_files_are_refused(tmp_path, codec, keep):
    path = tmp_path / "coarse.pth"
    path.write_bytes((GOLDEN / "coarse.pth").read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.load_vampnet(path, codec)


def test_bare_adapters_that_do_not_fit(tmp_path, codec):
    delta = content("coarse_lora_delta.pth")
    first = next(iter(delta))
    cases = [
        ({**delta, "transformer.norm.weight": torch.zeros(64)}, "LoRA adapters only"),
        ({}, "LoRA adapters only"),
        ({**delta, first: torch.zeros(8, 9)}, "shape"),
        ({first: delta[first]}, "on one side only"),
        ({**delta, "transformer.layers.7.self_attn.fc.lora_A": torch.zeros(8, 64)}, "matches none"),
    ]
    for found, words in cases:
        torch.save(found, tmp_path / "lora.pth")
        with pytest.raises(CheckpointError, match=words):
            checkpoints.load_vampnet(GOLDEN / "coarse.pth", codec, adapters=tmp_path / "lora.pth")


def test_bad_folders_of_ours_are_refused(tmp_path):
    def refused(words: str) -> None:
        with pytest.raises(CheckpointError, match=words):
            checkpoints.load_folder(folder)

    folder = tmp_path / "model"
    folder.mkdir()
    refused("not a model folder")
    saved(folder)
    config = json.loads((folder / "config.json").read_text())
    for change, words in [
        ({"format": "other"}, "not the config"),
        ({"version": 99}, "version 99"),
        ({"codec": {"family": "mp3", "kwargs": {}}}, "'mp3' is not one of"),
        ({"codec": None}, "has no entry 'codec'"),
        ({"codec": {"family": "spectral", "kwargs": {"hop_length": 767}}}, "hop_length is 767"),
        ({"metadata": "x"}, "metadata is 'x'"),
        ({"metadata": None}, "metadata is None"),
        ({"coarse": {**config["coarse"], "n_layers": 3}}, "lacks weights layers.2"),
        ({"coarse": {**config["coarse"], "colour": 3}}, "invalid sizes"),
        ({"c2f": config["coarse"]}, "has shape|lacks|unknown"),
    ]:
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        refused(words)
    for text in ("{", "[" * 200_000):
        (folder / "config.json").write_text(text)
        refused("config.json cannot be read")
    saved(folder)
    path = folder / "coarse.safetensors"
    state = load_file(path)
    save_file({**state, "extra": torch.zeros(2)}, path)
    refused("unknown weights extra")
    path.write_bytes(path.read_bytes()[:-100])
    refused("cannot be read")
    path.unlink()
    refused("no such file")


def test_values_that_cannot_be_stored(tmp_path):
    parts = tiny_parts()
    with torch.no_grad():
        parts.coarse.norm.weight[0] = 1e6
    with pytest.raises(CheckpointError, match="coarse norm.weight.*cannot store"):
        checkpoints.save_folder(tmp_path, parts.codec, parts.coarse, dtype=torch.float16)
    assert not (tmp_path / "config.json").exists()
    with pytest.raises(ValueError, match="must be torch.float32 or"):
        checkpoints.save_folder(tmp_path, parts.codec, dtype=torch.int8)


@pytest.mark.parametrize("stage", ["coarse", "c2f"])
@pytest.mark.parametrize("change", [lambda m: optimize_layers(m, "float32"), lora.apply])
def test_a_model_with_other_layers_is_not_saved(tmp_path, stage, change):
    parts = tiny_parts()
    change(getattr(parts, stage))
    with pytest.raises(CheckpointError, match=f"the {stage} model cannot be saved.*inference"):
        checkpoints.save_folder(tmp_path / "new", parts.codec, parts.coarse, parts.c2f)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", [None, 123, ["default"]])
def test_a_name_that_is_not_a_path_is_refused(name):
    with pytest.raises(CheckpointError, match="the model is "):
        checkpoints.resolve(name)
