"""Accelerators: no tensor is on another device, no synchronisation in the sampling loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pretend_device import NAME, moved, pretend_device
from torch import Tensor

from vampnet import checkpoints
from vampnet.codec import DAC, LAC, Codec, fast_network
from vampnet.codec.fast_network import FastNetwork, Float16Network
from vampnet.codec.spectral import SpectralCodec
from vampnet.evaluation.clips import MusicClip
from vampnet.evaluation.runs import EvaluationRunner
from vampnet.model import Sampling, VampNet, VampNetConfig, generate
from vampnet.model.precision import attention_cuda, optimize_layers
from vampnet.pipeline import Pipeline, Vamp, optimize_for_inference
from vampnet.prompt import Prompt
from vampnet.training import decoder, masked
from vampnet.training.decoder import DecoderTraining, train_decoder
from vampnet.training.masked import MaskedTraining, train_masked
from vampnet.training.tokens import Tokens

SIZES = {"n_layers": 2, "n_heads": 2, "embedding_dim": 32, "vocab_size": 48, "dropout": 0.0}
RATES = {"encoder_rates": (2, 4), "decoder_rates": (4, 2), "encoder_dim": 8, "decoder_dim": 32}


def model(conditioning: int = 0) -> VampNet:
    torch.manual_seed(3)
    made = VampNet(VampNetConfig(n_conditioning_codebooks=conditioning, **SIZES)).eval()
    made.codebooks.normal_()
    return made


def filled(model: VampNet, device: str, sampling: Sampling) -> Tensor:
    codes = torch.arange(2 * 4 * 40).view(2, 4, 40).remainder(48).to(device)
    mask = torch.arange(40).remainder(5).bool().expand(2, 4, 40).to(device)
    return generate(model, codes, mask, sampling, [torch.Generator().manual_seed(1)]).cpu()


@pytest.mark.parametrize("conditioning", [0, 1])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"by_codebook": True, "mean_pull": 0.5},
        {"top_p": 0.8, "temperature": 0.7},
        {"typical_mass": 0.2, "typical_min_tokens": 4, "sample_cutoff": 0.5},
    ],
)
def test_an_accelerator_gives_the_same_tokens_and_waits_no_longer_for_more_steps(
    conditioning: int, options: dict
) -> None:
    waits = []
    for steps in (2, 9):
        sampling = Sampling(steps=steps, **options)
        want = filled(model(conditioning), "cpu", sampling)
        with pretend_device() as device:
            got = filled(moved(model(conditioning)), NAME, sampling)
        assert torch.equal(got, want)
        waits.append(device.waits)
    assert waits[0] == waits[1]
    ours = [s for s in waits[0] if s.startswith(("sampling.py", "mask_schedule.py"))]
    assert len(ours) == 4, ours  # mask count read, schedule and noise sent; the check at the end


@pytest.mark.parametrize("width", [16, 12])
def test_attention_on_cuda_accepts_the_tensors_of_a_layer(width: int) -> None:
    """Without values, for the kernel is CUDA's: strided parts of a projection, one bias for all."""
    parts = torch.empty(3, 37, 3 * 2 * width, device="meta").chunk(3, dim=-1)
    q, k, v = (part.view(3, 37, 2, width).transpose(1, 2) for part in parts)
    bias = torch.empty(1, 2, 37, 48, device="meta")[..., :37]
    made = attention_cuda(q, k, v, bias)
    assert made.shape == q.shape
    assert made.transpose(1, 2).reshape(3, 37, 2 * width).shape == (3, 37, 2 * width)


def test_rows_of_the_position_bias_are_aligned_for_the_kernels() -> None:
    want = model().position_bias(37)
    with pretend_device():
        bias = moved(model())._bias(37, torch.float32)
        assert all(step % 16 == 0 for step in bias.stride()[:-1]) and bias.stride(-1) == 1
        assert torch.equal(bias.cpu(), want)


def test_reduced_precision_on_an_accelerator_is_near_float32() -> None:
    codes = torch.randint(49, (2, 4, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want = model()(codes)
    with pretend_device():
        reduced = moved(model())
        optimize_layers(reduced, "bfloat16")
        assert reduced.classifier.weight.dtype == torch.float16
        found = reduced(codes.to(NAME)).cpu()
    assert found.dtype == torch.float32
    assert 0 < (found - want).square().mean().sqrt() < 0.05 * want.std()


def varied(on_device: bool, prompt: Prompt, n_steps: int) -> Vamp:
    """Two takes of two channels through the embedded models."""
    parts = checkpoints.load_folder(checkpoints.resolve("default"), "cpu")
    assert parts.c2f is not None
    models, device = (parts.coarse, parts.c2f), NAME if on_device else "cpu"
    for module in (parts.codec, *models) if on_device else ():
        moved(module)
    for module in models:
        optimize_for_inference(module, device, "float32")
    audio = 0.1 * torch.randn(2, 1, 33_000, generator=torch.Generator().manual_seed(1))
    sampling = Sampling(steps=n_steps, fine_steps=n_steps, by_codebook=True, mean_pull=0.5)
    return Pipeline(parts.codec, *models).vamp(audio, prompt, sampling, 1, takes=2)


@pytest.mark.slow
@pytest.mark.parametrize("loop", [False, True])
def test_a_whole_variation_on_an_accelerator_is_the_processors(loop: bool) -> None:
    waits = []
    for n_steps in (1, 3):
        want = varied(False, Prompt(period=5, loop=loop), n_steps)
        with pretend_device() as device:
            got = varied(True, Prompt(period=5, loop=loop), n_steps)
        assert torch.equal(got.mask, want.mask)
        assert (got.codes == want.codes).float().mean() > 0.98  # products of other layouts round
        waits.append(device.waits)
    assert waits[0] == waits[1]


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("family", [DAC, LAC])
@torch.no_grad()
def test_convolutional_codecs_run_on_an_accelerator(
    family: type[Codec], quick: bool, monkeypatch
) -> None:
    """By the plain layers, as on Apple's devices, and as on CUDA."""
    torch.manual_seed(0)
    codec = family(**RATES, n_codebooks=3, codebook_size=16, codebook_dim=4).eval()
    audio = 0.2 * torch.randn(2, 1, 700)
    codes = codec.encode(audio)
    want = codec.decode(codes, 700)
    with pretend_device():
        moved(codec)
        if quick:
            monkeypatch.setattr(fast_network, "FAST_DEVICES", (NAME,))
        assert torch.equal(codec.encode(audio.to(NAME)).cpu(), codes)
        torch.testing.assert_close(codec.decode(codes.to(NAME), 700).cpu(), want)


@pytest.mark.parametrize("family", [DAC, LAC])
@pytest.mark.parametrize("least", [0.3, 1e-3, 0.0, -40.0])
@torch.no_grad()
def test_float16_convolutions_change_the_sound_inaudibly(family: type[DAC], least: float) -> None:
    torch.manual_seed(0)
    codec = family(**RATES, n_codebooks=3, codebook_size=16, codebook_dim=4).eval()
    for name, parameter in codec.named_parameters():
        if name.endswith("alpha"):
            parameter.uniform_(0.3, 3.0)
            parameter[:, ::8] = least
    codes = torch.randint(16, (2, 3, 60))
    latents = codec.quantizer.decode(codes)
    plain = codec.decoder(latents)
    with pretend_device():
        half = Float16Network(FastNetwork(moved(codec).decoder))(latents.to(NAME)).cpu()
    assert half.dtype == torch.float32 and half.shape == plain.shape
    change = (half - plain).square().mean() / plain.square().mean()
    assert 0 < change < 1e-5  # 50 dB below


@torch.no_grad()
def test_values_beyond_the_range_of_float16_are_decoded_in_float32() -> None:
    torch.manual_seed(0)
    loud = torch.nn.Sequential(torch.nn.Conv1d(2, 2, 3, padding=1), torch.nn.Conv1d(2, 1, 3))
    loud[0].weight.mul_(1e6)
    loud[1].weight.mul_(1e-6)
    x = torch.randn(1, 2, 40)
    exact = FastNetwork(loud)
    assert torch.equal(Float16Network(exact)(x), exact(x))


@pytest.mark.slow
def test_losses_are_computed_on_the_device_of_the_models(monkeypatch, tmp_path: Path) -> None:
    """Everything that training does on a device, except the gradients, which torch computes."""
    parts = checkpoints.load_folder(checkpoints.resolve("default"), "cpu")
    codec, models = parts.codec, (parts.coarse, parts.c2f)
    assert isinstance(codec, SpectralCodec)
    tokens = Tokens(torch.arange(14 * 90).view(14, 90).remainder(97).short(), torch.tensor([0, 90]))
    audio = 0.1 * torch.randn(2, 1, 40 * codec.hop_length)
    losses: list[Tensor] = []

    def first_loss(model, loss_of, plan, folder, figures=None, log=None) -> None:
        rng = torch.Generator().manual_seed(0)
        losses.append(loss_of(rng))
        if figures:
            assert figures()["heldout"]["0.5"]["loss"] > 0

    def batch(n_items: int, n_frames: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        where = codec.codebooks.device
        return audio.to(where), tokens.windows(n_items, n_frames, rng).to(where)

    def step() -> None:
        train_decoder(codec, batch, DecoderTraining(batch=2, frames=40), tmp_path)
        for model in models:
            assert model is not None
            plan = MaskedTraining(batch=2, frames=40)
            train_masked(model.eval(), tokens, tokens, plan, tmp_path)

    for module in (masked, decoder):
        monkeypatch.setattr(module, "run", first_loss)
    with torch.inference_mode():
        step()
    with pretend_device():
        for part in (codec, *models):
            assert part is not None
            moved(part)
        step()
        assert {loss.device.type for loss in losses[3:]} == {NAME}
        there = [float(loss) for loss in losses[3:]]
    assert there == pytest.approx([float(loss) for loss in losses[:3]], rel=1e-4)


def test_an_evaluation_on_the_cpu_takes_the_audio_of_a_device(tmp_path: Path) -> None:
    parts = checkpoints.load_folder(checkpoints.resolve("default"), "cpu")
    clip = MusicClip(0, "noise", 0.1 * torch.randn(33_000), parts.codec.sample_rate)

    def encoded() -> tuple[Tensor, Tensor]:
        runner = EvaluationRunner(Pipeline(parts.codec, parts.coarse), "default", tmp_path)
        codes, _ = runner.encoded_features(clip)
        return codes, runner.decode(codes, 33_000)

    want = encoded()
    with pretend_device():
        moved(parts.codec)
        got = encoded()
    assert torch.equal(got[0], want[0])
    torch.testing.assert_close(got[1], want[1], atol=1e-3, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_request_on_a_cuda_device_is_near_the_processors(tmp_path: Path) -> None:
    audio = 0.1 * torch.randn(2, 1, 44_100, generator=torch.Generator().manual_seed(1))
    sampling = Sampling(steps=4, temperature=0.0, mask_temperature=0.0)
    got, want = (
        Pipeline.from_pretrained(
            "default", device=device, precision="float32", keep_weights=False
        ).vamp(audio, Prompt(period=3), sampling, 1)
        for device in ("cuda", "cpu")
    )
    assert (got.codes == want.codes).float().mean() > 0.8
