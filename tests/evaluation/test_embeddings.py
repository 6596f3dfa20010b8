"""CLAP and VGGish: the published architectures, loaded from small random weights."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import chord, make_clap, noise, vggish_state
from safetensors.torch import load_file, save_file
from torch import nn

from vampnet.checkpoints import download
from vampnet.checkpoints.download import DownloadError
from vampnet.evaluation import clap, vggish
from vampnet.evaluation.clap import ClapEmbedding, windows
from vampnet.evaluation.embeddings import embed, parse_embedding
from vampnet.evaluation.vggish import VGGish, VggishEmbedding

# VGGish ------------------------------------------------------------------------------------------


@pytest.fixture
def vggish_file(tmp_path):
    path = tmp_path / "vggish.safetensors"
    save_file(vggish_state(), path)
    return path


def test_vggish_defaults_to_the_published_widths_and_names():
    with torch.device("meta"):
        state = VGGish().state_dict()
    assert list(state) == [
        *(f"features.{n}.{what}" for n in (0, 3, 6, 8, 11, 13) for what in ("weight", "bias")),
        *(f"embeddings.{n}.{what}" for n in (0, 2, 4) for what in ("weight", "bias")),
    ]
    assert state["embeddings.0.weight"].shape == (4096, 512 * 4 * 6)
    assert state["embeddings.4.weight"].shape == (128, 4096)
    assert sum(value.numel() for value in state.values()) == 72_141_184


def test_vggish_equals_the_published_layers(vggish_file):
    """Compared with a manually built list of layers, with the flattening done explicitly."""
    state, patches = vggish_state(), torch.randn(3, 96, 64)
    layers = nn.Sequential(
        nn.Conv2d(1, 2, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2, 2),
        nn.Conv2d(2, 3, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2, 2),
        nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, 1, 1), nn.ReLU(), nn.Conv2d(5, 5, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
    )  # fmt: skip
    dense = nn.Sequential(
        nn.Linear(5 * 6 * 4, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 8)
    )
    for part, prefix in ((layers, "features."), (dense, "embeddings.")):
        mine = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        part.load_state_dict(mine)
    with torch.no_grad():
        features = layers(patches[:, None])
        assert features.shape == (3, 5, 6, 4)
        rows = [features[:, :, t, f] for t in range(6) for f in range(4)]
        torch.testing.assert_close(
            vggish.load(vggish_file)(patches), dense(torch.cat(rows, 1)), atol=1e-5, rtol=1e-5
        )


@pytest.mark.slow
def test_the_log_mel_patches_of_vggish_equal_kaldis():
    librosa = pytest.importorskip("librosa")
    audio_utils = pytest.importorskip("transformers.audio_utils")
    sound = chord(2.5, vggish.RATE_HZ)[0]
    ours = vggish.log_mel_patches(sound)
    assert ours.shape == (2, 96, 64)
    # librosa centres the window of 400 samples in the FFT of 512.
    padded = np.pad(sound.double().numpy(), 56)
    magnitude = np.abs(
        librosa.stft(padded, n_fft=512, hop_length=160, win_length=400, center=False)
    )
    bands = audio_utils.mel_filter_bank(
        257, 64, 125.0, 7500.0, 16000, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True
    )
    theirs = np.log(magnitude.T @ bands + 0.01)[:192].reshape(2, 96, 64)
    torch.testing.assert_close(ours, torch.from_numpy(theirs).float(), atol=1e-4, rtol=1e-4)
    # Filters that are linear in Hz, as librosa's, differ slightly in shape, not in position.
    near = librosa.filters.mel(
        sr=16000, n_fft=512, n_mels=64, fmin=125, fmax=7500, htk=True, norm=None
    )
    both = torch.from_numpy(near.T), vggish.mel_weights()
    assert F.cosine_similarity(*both, dim=0).min() > 0.9


def test_vggish_loads_from_safetensors_and_torch_files(vggish_file, tmp_path):
    torch.save({**vggish_state(), "pproc.pca_means": torch.zeros(8)}, tmp_path / "v.pth")
    one, other = VggishEmbedding(vggish_file), VggishEmbedding(tmp_path / "v.pth")
    sound = chord(3.0, 16000)[0]
    points = one(sound)
    assert points.shape == (3, one.dims) == (3, 8) and (points < 0).any()  # before any ReLU
    assert torch.equal(points, other(sound)) and torch.equal(points, one(sound))
    assert one.name.startswith("vggish-") and len(one.name) == 15 and one.name != other.name
    assert one(torch.zeros(100)).isfinite().all() and len(one(sound[:500])) == 1
    assert list(embed(chord(1.0)[0], 44100, [one])) == [one.name]


def test_other_files_are_rejected_as_vggish(tmp_path, vggish_file):
    with pytest.raises(ValueError, match="no such file"):
        vggish.load(tmp_path / "absent.pth")
    for name in ("broken.safetensors", "broken.pth"):
        (tmp_path / name).write_bytes(b"x" * 100)
        with pytest.raises(ValueError, match="broken"):
            vggish.load(tmp_path / name)
    other = {"features.0.weight": torch.zeros(4, 1, 3, 3)}
    for state, complaint in (
        (other, "lacks features.3.weight"),
        ({**vggish_state(), "features.3.weight": torch.zeros(3, 2, 5, 5)}, "not \\(3, 2, 3, 3\\)"),
        ({n: v for n, v in vggish_state().items() if n != "embeddings.2.bias"}, "is missing"),
        ({**vggish_state(), "embeddings.6.weight": torch.zeros(1)}, "layer embeddings.6"),
    ):
        save_file(state, tmp_path / "wrong.safetensors")
        with pytest.raises(ValueError, match=complaint):
            vggish.load(tmp_path / "wrong.safetensors")


def test_pickled_code_is_not_executed(tmp_path):
    class Harm:
        def __reduce__(self):
            return (print, ("harm",))

    torch.save({"features.0.weight": Harm()}, tmp_path / "harm.pth")
    with pytest.raises(ValueError, match="not a plain weight file"):
        vggish.load(tmp_path / "harm.pth")


# CLAP --------------------------------------------------------------------------------------------


def theirs(model, extractor, sound):
    """Embedding by transformers of audio of at most a window."""
    features = extractor(sound.numpy(), sampling_rate=48000, return_tensors="pt")
    with torch.inference_mode():
        found = model.get_audio_features(**features)
    return getattr(found, "pooler_output", found)


@pytest.mark.slow
def test_clap_equals_transformers_on_each_window(tiny_clap):
    folder, model, extractor = tiny_clap
    embedding = ClapEmbedding(folder)
    assert (embedding.rate_hz, embedding.dims, embedding.window) == (48000, 12, 480000)
    sound = chord(20.0, 48000)[0]
    points = embedding(sound)
    assert points.shape == (2, 12) and torch.equal(points, embedding(sound))
    for at, point in zip((0, 480000), points, strict=True):
        expected = theirs(model, extractor, sound[at : at + 480000])[0]
        torch.testing.assert_close(point, expected, atol=1e-5, rtol=1e-4)
    short = sound[:100000]  # repeated to a window
    torch.testing.assert_close(
        embedding(short), theirs(model, extractor, short), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(points.norm(dim=1), torch.ones(2))
    assert embedding(torch.zeros(4000)).isfinite().all()
    assert not torch.allclose(points[0], embedding(noise(10.0, 48000)[0])[0], atol=1e-4)


def test_the_windows_of_long_audio_cover_it():
    assert [len(w) for w in windows(torch.zeros(7), 10)] == [7]
    for size, starts in ((10, [0]), (11, [0]), (20, [0, 10]), (15, [0, 5]), (25, [0, 8, 15])):
        found = windows(torch.arange(size), 10)
        assert [int(w[0]) for w in found] == starts and all(len(w) == 10 for w in found), size


@pytest.mark.slow
def test_models_with_fusion_are_deterministic(tmp_path):
    make_clap(tmp_path / "fused", fusion=True)
    embedding, sound = ClapEmbedding(tmp_path / "fused"), chord(20.0, 48000)[0]
    first = embedding(sound)
    assert first.shape == (2, 12)
    for seed in range(3):
        np.random.seed(seed)  # transformers' source of randomness
        assert torch.equal(embedding(sound), first)


def test_the_name_depends_on_the_weights_alone(tiny_clap, tmp_path):
    folder = tiny_clap[0]
    copy = shutil.copytree(folder, tmp_path / "copy")
    make_clap(tmp_path / "other", seed=1)
    name = ClapEmbedding(folder).name
    assert name.startswith("clap-") and len(name) == 13
    assert ClapEmbedding(copy).name == name != ClapEmbedding(tmp_path / "other").name


def test_loading_prints_nothing_and_restores_the_logging_of_transformers(tiny_clap, capfd):
    from transformers.utils import logging as theirs_log

    level, bar = theirs_log.get_verbosity(), theirs_log.is_progress_bar_enabled()
    capfd.readouterr()
    ClapEmbedding(tiny_clap[0])
    assert capfd.readouterr() == ("", "")
    assert (theirs_log.get_verbosity(), theirs_log.is_progress_bar_enabled()) == (level, bar)
    assert logging.getLogger().level == logging.WARNING


def test_other_folders_are_rejected_as_clap(tiny_clap, tmp_path):
    def changed(name: str, change) -> str:
        folder = shutil.copytree(tiny_clap[0], tmp_path / name)
        change(folder)
        return str(folder)

    def rename(folder):
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()

    def lose(folder):
        state = load_file(folder / "model.safetensors")
        del state["audio_projection.linear1.weight"]
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    def stretch(folder):
        path = folder / "preprocessor_config.json"
        config = {**json.loads(path.read_text()), "hop_length": 240}
        path.write_text(json.dumps(config))

    def retype(folder):
        (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))

    (tmp_path / "empty").mkdir()
    for source, complaint in (
        (tmp_path / "empty", "its config.json cannot be read"),
        (changed("bert", retype), "names the model_type 'bert'"),
        (changed("pickle", rename), "weights in a pickle are not read"),
        (changed("lost", lose), "it lacks audio_projection.linear1.weight"),
        (changed("fine", stretch), "a network and a preprocessor_config.json that do not fit"),
        (changed("cut", lambda f: (f / "model.safetensors").write_bytes(b"x")), "cannot be loaded"),
        (changed("deaf", lambda f: (f / "preprocessor_config.json").unlink()), "cannot be loaded"),
    ):
        with pytest.raises(ValueError, match=complaint):
            ClapEmbedding(source)


def test_without_transformers_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r'pip install "vampnet-harp\[clap\]"'):
        ClapEmbedding(tmp_path)


# The hub and the names ---------------------------------------------------------------------------


REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tiny_clap, tmp_path, monkeypatch) -> Iterator[list[str]]:
    """A hub on 127.0.0.1 with the small CLAP and a pickle as o/tiny; the paths it was asked for."""
    library = pytest.importorskip("huggingface_hub")
    files = {path.name: path.read_bytes() for path in tiny_clap[0].iterdir()}
    files["pytorch_model.bin"] = b"a pickle"
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            place, _, name = self.path.partition("?")[0].rpartition("/")
            if place == "/api/models/o/tiny/revision" and name in ("main", REVISION):
                listed = [{"rfilename": n, "size": len(files[n])} for n in files]
                answer = {"_id": "1", "id": "o/tiny", "sha": REVISION, "siblings": listed}
                return self.send(200, json.dumps(answer).encode())
            if place == "/api/models/o/tiny/tree" and name == REVISION:
                listed = [{"type": "file", "path": n, "size": len(files[n])} for n in files]
                return self.send(200, json.dumps([{"oid": "0", **one} for one in listed]).encode())
            if place == f"/o/tiny/resolve/{REVISION}" and name in files:
                return self.send(200, files[name])
            self.send(404, b"not here")

        do_HEAD = do_GET

        def send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(library.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_hub_repository_is_fetched_without_its_pickles(hub, tiny_clap, tmp_path):
    assert parse_embedding("clap=o/tiny").name == ClapEmbedding(tiny_clap[0]).name
    fetched = {path.rpartition("/")[2] for path in hub if "/resolve/" in path}
    assert fetched == {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert not list(tmp_path.rglob("*.bin"))
    with pytest.raises(DownloadError, match="'o/absent' is not a folder, and cannot be"):
        ClapEmbedding("o/absent")


def test_a_hub_name_may_contain_a_revision(tiny_clap, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # which has no folder of that name
    library, asked = pytest.importorskip("huggingface_hub"), []

    def fetch(repository, **options):
        asked.append((repository, options["revision"], options["endpoint"]))
        return str(tiny_clap[0])

    monkeypatch.setattr(library, "snapshot_download", fetch)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1/")
    assert parse_embedding("clap=o/tiny@refs/pr/1").dims == 12
    assert asked == [("o/tiny", "refs/pr/1", "http://127.0.0.1:1")]
    for wrong in ("nothing", "a/b/c", "../x", "/no/such/folder"):
        with pytest.raises(DownloadError, match="neither a folder nor OWNER/NAME"):
            ClapEmbedding(wrong)


def test_an_unreachable_hub_is_reported_in_one_line(monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DownloadError, match="'o/absent' .* downloaded from 127.0.0.1:9: [^\n]+$"):
        download.fetch_repository("o/absent", clap.FILES)


def test_embeddings_are_parsed_from_kind_and_source(vggish_file):
    assert parse_embedding(f"vggish={vggish_file}").dims == 8
    for wrong in ("musicnn", "clap", "clap=", "mert=x", ""):
        with pytest.raises(ValueError, match="allowed are clap=FOLDER or NAME, vggish=FILE"):
            parse_embedding(wrong)
