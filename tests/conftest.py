"""Shared fixtures: signals, golden fixtures, small models, a started endpoint, a browser.

Tests that use the fixture ``site`` (a started endpoint) or call ``running`` are marked ``e2e``,
those that use ``browser`` are marked ``browser``.
"""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from places import ROOT

os.environ["VAMPNET_MODELS"] = str(ROOT / "no-models")  # ignore the user's downloads
TINY_SIZES = {  # of a DAC or LAC
    "encoder_dim": 2,
    "encoder_rates": [2, 4],
    "decoder_dim": 8,
    "decoder_rates": [4, 2],
    "n_codebooks": 6,
    "codebook_size": 16,
    "codebook_dim": 4,
    "sample_rate": 8000,
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that need a started endpoint or a browser."""
    for item in items:
        needs = {*getattr(item, "fixturenames", ())}
        function = getattr(item, "function", None)
        if code := getattr(function, "__code__", None):
            needs |= {"running"} & {*code.co_names}
        if needs & {"site", "client", "running"}:
            item.add_marker("e2e")
        if "browser" in needs:
            item.add_marker("browser")


def tone(
    duration_s: float = 1.0,
    sample_rate: int = 44100,
    channels: int = 1,
    frequency_hz: float = 440.0,
    amplitude: float = 0.5,
) -> torch.Tensor:
    """A sine, float32 (channels, samples), a fifth higher in each further channel."""
    time_s = torch.arange(round(duration_s * sample_rate), dtype=torch.float64) / sample_rate
    pitches = [frequency_hz * 1.5**channel for channel in range(channels)]
    rows = [amplitude * torch.sin(2 * math.pi * pitch * time_s) for pitch in pitches]
    return torch.stack(rows).float()


def noise(
    duration_s: float = 1.0,
    sample_rate: int = 44100,
    channels: int = 1,
    amplitude: float = 0.1,
    seed: int = 0,
) -> torch.Tensor:
    """Gaussian noise of the given RMS, float32 (channels, samples), reproducible by seed."""
    rng = torch.Generator().manual_seed(seed)
    return amplitude * torch.randn(channels, round(duration_s * sample_rate), generator=rng)


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Restore the default handlers of terminating signals, which a parent (nohup) may ignore.

    Processes started by a test inherit ignored signals.
    """
    usual = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL}
    usual |= {"SIGHUP": signal.SIG_DFL}
    numbers = {getattr(signal, name): how for name, how in usual.items() if hasattr(signal, name)}
    before = {number: signal.signal(number, how) for number, how in numbers.items()}
    yield
    for number, how in before.items():
        signal.signal(number, how)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of fixtures computed by the original code; skips the test where it is missing."""
    folder = Path(os.environ.get("VAMPNET_GOLDEN", ROOT / "tests" / "golden"))
    if not folder.is_dir():
        pytest.skip(f"no golden fixtures in {folder} (VAMPNET_GOLDEN names another folder)")
    return folder


def chord(duration_s: float = 2.0, sample_rate: int = 44100, seed: int = 0) -> torch.Tensor:
    """Synthetic music: plucked chords on a beat over soft noise, float32 (1, samples)."""
    rng = torch.Generator().manual_seed(seed)
    n_samples = round(duration_s * sample_rate)
    time_s = torch.arange(n_samples) / sample_rate
    out = 0.002 * torch.randn(n_samples, generator=rng)
    for beat in range(int(duration_s * 2) + 1):
        since = time_s - beat / 2
        envelope = torch.where(since >= 0, torch.exp(-since.clamp(min=0) * 6), torch.zeros(()))
        root = 110.0 * 2 ** (float(torch.randint(0, 24, (), generator=rng)) / 12)
        for step in (0, 4, 7):
            out += 0.08 * envelope * torch.sin(2 * math.pi * root * 2 ** (step / 12) * time_s)
    return out[None]


@pytest.fixture(scope="session")
def tiny_codec():
    """A small spectral codec, its codebooks fitted to half a minute of chords."""
    from vampnet.codec import SpectralCodec
    from vampnet.training.codebook_fitting import fit_quantizers

    torch.manual_seed(0)
    codec = SpectralCodec(
        vocab_size=32,
        coarse_sizes=(2, 3, 4, 5),
        fine_sizes=(3,) * 10,
        dim=16,
        blocks=1,
        iterations=4,
    )
    pieces = [codec.analysis(chord(4.0, seed=seed)[:, : 768 * 229])[0] for seed in range(8)]
    fit_quantizers(codec, pieces, 2, 4, torch.Generator().manual_seed(0))
    return codec.eval()


@pytest.fixture(scope="session")
def tiny_pipeline(tiny_codec):
    """A pipeline of the tiny codec and random models with a context of 64 frames."""
    from vampnet.model import VampNet, VampNetConfig
    from vampnet.pipeline import Pipeline
    from vampnet.training.masked import initialize

    torch.manual_seed(1)
    models = []
    for n_codebooks, n_conditioning in ((4, 0), (14, 4)):
        config = VampNetConfig(
            n_codebooks=n_codebooks,
            n_conditioning_codebooks=n_conditioning,
            n_layers=2,
            n_heads=2,
            embedding_dim=32,
            vocab_size=32,
            latent_dim=16,
            dropout=0.0,
            window_frames=64,
        )
        model = VampNet(config).eval()
        initialize(model, tiny_codec.codebooks, std=0.2)
        models.append(model)
    return Pipeline(tiny_codec, models[0], models[1], "tiny")


def vggish_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights of a small VGGish with 8 dimensions, under the published names."""
    from vampnet.evaluation.vggish import VGGish

    rng = torch.Generator().manual_seed(seed)
    state = VGGish((2, 3, 4, 4, 5, 5), (7, 6, 8)).state_dict()
    return {name: torch.randn(value.shape, generator=rng) * 0.3 for name, value in state.items()}


def make_clap(folder, fusion: bool = False, seed: int = 0):
    """Save a small random CLAP in a folder; return the model and its feature extractor."""
    transformers = pytest.importorskip("transformers")
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 8, "vocab_size": 20, "max_position_embeddings": 16}
    audio = {"patch_embeds_hidden_size": 8, "hidden_size": 16, "depths": [1, 1]}
    audio |= {"num_attention_heads": [2, 2], "num_hidden_layers": 2, "window_size": 4}
    if fusion:
        audio |= {"enable_fusion": True, "fusion_type": "aff_2d"}
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=12)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.ClapModel(config).eval()
    model.save_pretrained(folder)
    extractor = transformers.ClapFeatureExtractor(truncation="fusion" if fusion else "rand_trunc")
    extractor.save_pretrained(folder)
    return model, extractor


@pytest.fixture(scope="session")
def tiny_clap(tmp_path_factory):
    """A small CLAP: its folder, the network and the feature extractor."""
    folder = tmp_path_factory.mktemp("clap") / "tiny"
    return folder, *make_clap(folder)


def real_pyharp() -> bool:
    """Whether the endpoint uses the installed pyharp."""
    from harp_app.protocol import endpoint as protocol

    return protocol.find_harp().source == "the installed pyharp"


@pytest.fixture(
    scope="module",
    params=[
        "built-in",
        pytest.param(
            "pyharp",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("pyharp") is None,
                reason="the real pyharp is not installed (see README)",
            ),
        ),
    ],
)
def harp(request):
    """The implementation of the protocol: built-in, or pyharp where it is installed."""
    from harp_app.protocol import endpoint as protocol

    patch = pytest.MonkeyPatch()
    if request.param == "built-in":
        patch.setitem(sys.modules, "pyharp", None)
    elif not real_pyharp():
        pytest.skip(f"pyharp is not usable: {protocol.find_harp().source}")
    yield request.param
    patch.undo()


@pytest.fixture(scope="module")
def site(harp):
    """A started endpoint with a fake pipeline that takes no time."""
    from fake_endpoint import FakePipeline, running

    with running(FakePipeline(), waiting=3) as made:
        yield made


@pytest.fixture
def client(site):
    """A HARP client with that endpoint loaded; waits at the end until no job runs or waits."""
    from fake_endpoint import wait_for
    from harp_client import HarpClient

    site.pipeline.step_s, site.pipeline.steps_done = 0.0, 0
    site.pipeline.started.clear()
    made = HarpClient(site.address)
    made.load()
    yield made
    made.cancel()
    wait_for(lambda: site.endpoint.jobs.counts() == (0, 0))


@pytest.fixture
def slow(site, client):
    """The client, with a fake pipeline that takes 24 x 50 ms."""
    site.pipeline.step_s = 0.05
    return client


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """Folder of a tiny model with random weights."""
    from vampnet import checkpoints
    from vampnet.codec import DAC
    from vampnet.model import VampNet, VampNetConfig

    def model(n_codebooks: int, n_conditioning: int) -> VampNet:
        sizes = {"n_layers": 1, "n_heads": 2, "embedding_dim": 8, "vocab_size": 16, "latent_dim": 4}
        return VampNet(VampNetConfig(n_codebooks, n_conditioning, **sizes)).eval()

    torch.manual_seed(3)
    codec = DAC(**TINY_SIZES).eval()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return checkpoints.save_folder(folder, codec, model(4, 0), model(6, 4))


@pytest.fixture
def clip(tmp_path) -> Path:
    """A short stereo file with 24 bits."""
    from vamp_command import RATE, sound

    path = tmp_path / "in.wav"
    soundfile.write(path, sound(), RATE, subtype="PCM_24")
    return path


@pytest.fixture
def vamp(tiny, tmp_path, capsys):
    """Run ``vampnet vamp`` in this process; returns exit code, standard output and error."""
    from vamp_command import QUICK

    from vampnet import cli

    def run(*args) -> tuple[int, str, str]:
        code = cli.main(["vamp", *QUICK, "--model", str(tiny), *map(str, args)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture(scope="session")
def music(tmp_path_factory) -> Path:
    """A folder of three short pieces and a text file."""
    folder = tmp_path_factory.mktemp("music")
    for seed in range(3):
        soundfile.write(folder / f"piece {seed}.wav", chord(7.0, seed=seed)[0].numpy(), 44100)
    (folder / "readme.txt").write_text("not audio")
    return folder


@pytest.fixture(scope="session")
def small(music):
    """Clips and a few short experiments for the tiny model."""
    from vampnet.evaluation import experiments as table
    from vampnet.evaluation.clips import cut_clips
    from vampnet.model import Sampling
    from vampnet.presets import presets

    every = table.experiments(4, 14, Sampling(steps=2, fine_steps=1), presets())
    anchors, prompts = every["anchors"], every["prompts"]
    few = [
        replace(anchors, settings=(anchors.settings[0], anchors.settings[-1]), share=1.0),
        replace(prompts, settings=(prompts.settings[2],), share=0.5),
    ]
    return cut_clips(music, 44100, 4, 3.0), few


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; skips the test where it is missing."""
    from browser_visit import find_browser, started_browser

    if not find_browser():
        pytest.skip("no browser: install Chromium (Debian's package is called chromium)")
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with started_browser() as started:
        yield started
