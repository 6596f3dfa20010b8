"""Timing of requests: counted work, an unchanged pipeline, the output of the commands."""

from __future__ import annotations

import copy
import math
import multiprocessing
import re
import sys
import threading
from types import SimpleNamespace

import full_size  # noqa: E402
import pytest
import torch
from reference import reference_logits  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode

from vampnet import checkpoints, cli
from vampnet.codec import DAC
from vampnet.evaluation import roofline, timing
from vampnet.model import VampNet, VampNetConfig
from vampnet.model.cuda_graphs import GraphedForward
from vampnet.pipeline import Pipeline
from vampnet.system import device

SIZES = {"n_layers": 2, "n_heads": 2, "embedding_dim": 32, "vocab_size": 16, "latent_dim": 4}


def tiny() -> Pipeline:
    torch.manual_seed(0)
    rates = {"encoder_rates": [2, 4], "decoder_rates": [4, 2], "encoder_dim": 2, "decoder_dim": 8}
    codec = DAC(**rates, n_codebooks=6, codebook_size=16, codebook_dim=4, sample_rate=8000).eval()
    models = [VampNet(VampNetConfig(n, k, **SIZES)).eval() for n, k in ((4, 0), (6, 4))]
    for model in models:
        model.codebooks.copy_(codec.codebooks[: model.config.n_codebooks].detach())
    return Pipeline(codec, *models, name="tiny")


def onednn_formulas() -> dict:
    """Operation counts for the linear layers that torch's counter does not know."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return {}

    def linear(rows, weight, *_, **__) -> int:  # shapes
        return 2 * math.prod(rows) * weight[0]

    return {torch.ops.mkldnn._linear_pointwise: linear}


@torch.no_grad()
def test_counted_operations_equal_those_of_torch() -> None:
    model = tiny().coarse
    with FlopCounterMode(display=False, custom_mapping=onednn_formulas()) as counted:
        reference_logits(model, torch.zeros(3, 4, 40, dtype=torch.int64))
    classifier = 2 * 3 * 40 * model.classifier.weight.numel()
    assert roofline.pass_operations(model.config, (3, 40)) + classifier == counted.get_total_flops()


@torch.no_grad()
def test_counted_bytes_are_weights_and_activations_of_the_layers() -> None:
    model = tiny().coarse
    weights = sum(w.numel() for name, w in model.layers.named_parameters() if "norm" not in name)
    frames = model.config.n_layers * 4 * 3 * 40 * model.config.embedding_dim
    assert roofline.bytes_moved(model, (3, 40)) == 4 * (weights + frames)
    model.layers.to(torch.bfloat16)
    assert roofline.bytes_moved(model, (3, 40)) == 2 * (weights + frames)


@torch.no_grad()
def test_codec_operations_equal_those_of_its_convolutions() -> None:
    pipeline = tiny()
    for network in ("fast_network", "decoding_network"):
        setattr(pipeline.codec, network, full_size.plain_network)
    measured = timing.time_stages(pipeline, timing.BenchRequest(seconds=0.5, repeats=1))
    audio = torch.zeros(1, 1, pipeline.codec.hop_length * 100)
    with FlopCounterMode(display=False) as counted:
        pipeline.codec.encoder(audio)
    wanted = counted.get_total_flops() / 100 * (0.5 * 8000 / pipeline.codec.hop_length)
    assert wanted < measured.codec_operations["encode"] < 2 * wanted  # plus the quantiser


@pytest.mark.slow
def test_stages_sum_to_the_total_and_the_pipeline_is_unchanged() -> None:
    pipeline = tiny()
    request = timing.BenchRequest(seconds=0.5, channels=2, takes=2, repeats=2)
    measured = timing.time_stages(pipeline, request)
    assert set(measured.seconds) == set(timing.STAGES)
    for run in range(2):
        parts = sum(measured.seconds[s][run] for s in timing.STAGES if s != "total")
        assert abs(parts - measured.seconds["total"][run]) < 1e-6
    steps = pipeline.sampling_for(request.preset).steps
    assert len(measured.passes["coarse"]) >= steps and measured.passes["fine"]
    assert all(work > 0 for work in measured.codec_operations.values())
    assert "encode" not in vars(pipeline.codec) and "hidden" not in vars(pipeline.coarse)


def test_recorded_passes_are_timed_and_kept() -> None:
    pipeline = tiny()
    forward = GraphedForward(
        pipeline.coarse.hidden, lambda run, codes, pool: SimpleNamespace(replay=run)
    )
    pipeline.coarse.hidden = forward
    timing.time_stages(pipeline, timing.BenchRequest(seconds=0.5, repeats=2))
    assert pipeline.coarse.hidden is forward
    assert forward.graphs


def test_the_command_prints_and_writes_the_same_table(tmp_path, monkeypatch, capsys) -> None:
    pipeline = tiny()
    checkpoints.save_folder(tmp_path / "tiny", pipeline.codec, pipeline.coarse, pipeline.c2f)
    monkeypatch.setattr(device, "GEMM_SIZE", 64)
    monkeypatch.setattr(device, "COPY_BYTES", 2**12)
    line = ["bench", "--model", str(tmp_path / "tiny"), "--seconds", "0.3", "--steps", "2"]
    file = tmp_path / "figures.md"
    assert cli.main([*line, "--repeats", "1", "--write", str(file)]) == 0
    output = capsys.readouterr().out
    assert file.read_text(encoding="utf-8") == output
    for word in ("| coarse |", "| total |", "Real-time factor", "GFLOP/s", "peak memory"):
        assert word in output
    for stage in ("Coarse", "Fine", "Encode", "Decode"):
        assert re.search(rf"^{stage}: .* \d+ % of the time", output, re.MULTILINE)
    assert cli.main([*line, "--repeats", "0"]) == 1
    assert "repeats is 0" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["default", "full-size"])
def test_a_missing_device_is_reported_in_one_line(model: str, capsys) -> None:
    assert cli.main(["bench", "--model", model, "--device", "toaster"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_full_size_comparison_reports_every_target(monkeypatch, capsys) -> None:
    pipeline = tiny()

    def parts():
        return copy.deepcopy((pipeline.codec, pipeline.coarse, pipeline.c2f))

    class InThread(threading.Thread):
        """A thread instead of a process, which would load full-size parts."""

        def __init__(self, target, args, daemon):
            path, device, _, asked = args
            super().__init__(target=target, args=(path, device, False, asked), daemon=daemon)

    threads = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=InThread)
    monkeypatch.setattr(timing, "full_size_parts", parts)
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: threads)
    line = ["full_size.py", "--runs", "1", "--steps", "1", "--seconds", "0.3"]
    monkeypatch.setattr(sys, "argv", line)
    full_size.main()
    output = capsys.readouterr().out
    for _, _, path, target in full_size.TARGETS:
        if path != full_size.REDUCED["cuda"]:
            assert path in output and (target is None or f"{target:g} x" in output)
    found = re.findall(r"(?:logits|audio) ([\d.]+e[+-]\d+)", output)
    assert len(found) == 2 and all(float(difference) < 1e-4 for difference in found)
