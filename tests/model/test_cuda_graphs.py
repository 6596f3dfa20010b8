"""CUDA graphs of a forward pass: when a shape is captured and evicted; results do not change."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from vampnet.model import Sampling, VampNet, VampNetConfig, cuda_graphs, generate
from vampnet.model.cuda_graphs import GraphedForward


class FakeGraph:
    """Replaces a device's graph: a replay calls the captured function."""

    captured: list[tuple[int, ...]] = []

    def __init__(self, run, codes: Tensor, pool: object):
        FakeGraph.captured.append(tuple(codes.shape))
        self.run, self.shape, self.n_replays = run, codes.shape, 0

    def replay(self, codes: Tensor) -> Tensor:
        assert codes.shape == self.shape
        self.n_replays += 1
        return self.run(codes)


@pytest.fixture(autouse=True)
def _reset_fake_graphs() -> None:
    FakeGraph.captured = []


def double(codes: Tensor) -> Tensor:
    return codes.float() * 2


def codes_of(n_frames: int, n_items: int = 1) -> Tensor:
    return torch.arange(n_items * 4 * n_frames).view(n_items, 4, n_frames)


@torch.inference_mode()
def test_a_shape_is_captured_after_two_eager_calls() -> None:
    forward = GraphedForward(double, FakeGraph)
    for n_items, n_frames in ((1, 5), (2, 5), (1, 5), (1, 5), (1, 7), (2, 5), (1, 5), (2, 5)):
        codes = codes_of(n_frames, n_items)
        assert torch.equal(forward(codes), double(codes))
    assert FakeGraph.captured == [(1, 4, 5), (2, 4, 5)]


@torch.inference_mode()
def test_a_graph_keeps_the_tensors_its_pass_read() -> None:
    model = small()
    model.hidden = GraphedForward(model.hidden, FakeGraph, referenced=model.cached_tensors)
    for n_frames in (5, 5, 5, 7):
        model.hidden(codes_of(n_frames))
    (graph,) = model.hidden.graphs.values()
    assert [tuple(kept.shape) for kept in graph.referenced] == [(1, 2, 5, 5)]
    assert [tuple(kept.shape) for kept in model.cached_tensors()] == [(1, 2, 7, 7)]


@torch.inference_mode()
def test_the_least_recently_used_graph_is_evicted() -> None:
    forward = GraphedForward(double, FakeGraph)
    for n_frames in range(1, cuda_graphs.MAX_GRAPHS + 2):
        for _ in range(3):
            forward(codes_of(n_frames))
        forward(codes_of(1))
    assert len(forward.graphs) == cuda_graphs.MAX_GRAPHS
    shapes = {shape[-1] for _, shape in forward.graphs}
    assert 1 in shapes and 2 not in shapes


@torch.inference_mode()
def test_shapes_that_occur_once_evict_no_graph() -> None:
    forward = GraphedForward(double, FakeGraph)
    for n_frames in (5, 5, 5, *range(10, 10 + 2 * cuda_graphs.MAX_COUNTED_SHAPES)):
        forward(codes_of(n_frames))
    assert len(forward.graphs) == 1 and len(forward.eager_calls) == cuda_graphs.MAX_COUNTED_SHAPES


@torch.inference_mode()
def test_a_pass_that_was_stopped_is_not_counted() -> None:
    """An interrupted pass has initialised nothing, so it must not count towards the capture."""

    class Stopped(Exception):
        pass

    def stops(codes: Tensor) -> Tensor:
        raise Stopped

    forward, codes = GraphedForward(stops, FakeGraph), codes_of(5)
    for _ in range(3):
        with pytest.raises(Stopped):
            forward(codes)
    forward.run = double
    assert torch.equal(forward(codes), double(codes)) and not FakeGraph.captured


@torch.inference_mode()
def test_without_graphs_passes_are_only_paced() -> None:
    asked: list[str] = []
    forward = GraphedForward(double, None, lambda device: asked.append(device.type))
    for _ in range(4):
        assert torch.equal(forward(codes_of(5)), double(codes_of(5)))
    assert asked == ["cpu"] * 4 and not forward.graphs


def test_passes_with_gradients_are_never_captured() -> None:
    forward = GraphedForward(double, FakeGraph)
    for _ in range(3):
        forward(codes_of(3))
    assert not FakeGraph.captured and not forward.graphs


@torch.inference_mode()
def test_a_failed_capture_runs_eagerly_after_one_warning() -> None:
    def fails(run, codes: Tensor, pool: object) -> object:
        raise RuntimeError("operation not permitted when stream is capturing")

    forward, codes = GraphedForward(double, fails), codes_of(5)
    for _ in range(cuda_graphs.EAGER_CALLS):
        forward(codes)
    with pytest.warns(RuntimeWarning, match="run eagerly: operation not permitted"):
        assert torch.equal(forward(codes), double(codes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(forward(codes), double(codes))


@torch.inference_mode()
def test_the_host_is_one_pass_ahead_and_no_more() -> None:
    passes = {"queued": 0, "waited for": 0}

    class Event:
        def __init__(self, device: torch.device):
            self.queued_before = passes["queued"]

        def synchronize(self) -> None:
            passes["waited for"] = self.queued_before

    def run(codes: Tensor) -> Tensor:
        passes["queued"] += 1
        return codes.float()

    forward = GraphedForward(run, FakeGraph, Event)
    for number in range(5):
        forward(codes_of(4))
        assert passes == {"queued": number + 1, "waited for": max(0, number - 1)}


def small() -> VampNet:
    torch.manual_seed(0)
    config = VampNetConfig(n_layers=2, n_heads=2, embedding_dim=32, vocab_size=48, dropout=0.0)
    model = VampNet(config).eval()
    model.codebooks.normal_()
    return model


def filled(model: VampNet, device: str) -> Tensor:
    codes = torch.zeros(2, 4, 40, dtype=torch.int64, device=device)
    rng = [torch.Generator().manual_seed(1)]
    return generate(model, codes, torch.ones_like(codes, dtype=torch.bool), Sampling(steps=6), rng)


DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


@pytest.mark.parametrize("device", DEVICES)
@torch.inference_mode()
def test_a_graph_stays_valid_after_others_are_evicted(device: str) -> None:
    model = small().to(device)
    asked = [codes_of(n).remainder(48).to(device) for n in range(20, 22 + cuda_graphs.MAX_GRAPHS)]
    want = [model.hidden(codes) for codes in asked]
    record = cuda_graphs.CapturedGraph if device == "cuda" else FakeGraph
    model.hidden = GraphedForward(model.hidden, record, referenced=model.cached_tensors)
    for _ in range(2):
        for codes, found in zip(asked, want, strict=True):
            for _ in range(3):
                torch.testing.assert_close(model.hidden(codes), found)
    assert isinstance(model.hidden, GraphedForward)
    assert len(model.hidden.graphs) == cuda_graphs.MAX_GRAPHS


@pytest.mark.parametrize("device", DEVICES)
def test_a_graphed_model_gives_the_same_tokens(device: str) -> None:
    """With real graphs on a CUDA device, two lengths alternating; elsewhere with the fake."""
    model = small().to(device)
    want = filled(model, device)
    record = cuda_graphs.CapturedGraph if device == "cuda" else FakeGraph
    model.hidden = GraphedForward(model.hidden, record)
    for _ in range(2):
        assert torch.equal(filled(model, device), want)
        with torch.inference_mode():
            model.hidden(torch.zeros(1, 4, 33, dtype=torch.int64, device=device))
    assert isinstance(model.hidden, GraphedForward) and model.hidden.capture is record
    assert len(model.hidden.graphs) == 1 and model.hidden.eager_calls
