"""Recorded passes: when a shape is recorded, kept and given up, and that nothing changes by it."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from vampnet.model import Sampling, VampNet, VampNetConfig, cuda_graphs, generate
from vampnet.model.cuda_graphs import RecordedPass


class Tape:
    """Stands for a device's graph: on playing, it computes what was recorded."""

    made: list[tuple[int, ...]] = []

    def __init__(self, run, codes: Tensor, pool: object):
        Tape.made.append(tuple(codes.shape))
        self.run, self.shape, self.played = run, codes.shape, 0

    def play(self, codes: Tensor) -> Tensor:
        assert codes.shape == self.shape
        self.played += 1
        return self.run(codes)


@pytest.fixture(autouse=True)
def _fresh_tapes() -> None:
    Tape.made = []


def double(codes: Tensor) -> Tensor:
    return codes.float() * 2


def codes_of(n_frames: int, n_items: int = 1) -> Tensor:
    return torch.arange(n_items * 4 * n_frames).view(n_items, 4, n_frames)


@torch.inference_mode()
def test_a_shape_is_recorded_when_it_has_come_twice() -> None:
    recorded = RecordedPass(double, Tape)
    for n_items, n_frames in ((1, 5), (2, 5), (1, 5), (1, 5), (1, 7), (2, 5), (1, 5), (2, 5)):
        codes = codes_of(n_frames, n_items)
        assert torch.equal(recorded(codes), double(codes))
    assert Tape.made == [(1, 4, 5), (2, 4, 5)]


@torch.inference_mode()
def test_a_recording_keeps_what_its_pass_read() -> None:
    model = small()
    model.hidden = RecordedPass(model.hidden, Tape, reads=model.kept)
    for n_frames in (5, 5, 5, 7):
        model.hidden(codes_of(n_frames))
    (recording,) = model.hidden.recordings.values()
    assert [tuple(kept.shape) for kept in recording.reads] == [(1, 2, 5, 5)]
    assert [tuple(kept.shape) for kept in model.kept()] == [(1, 2, 7, 7)]


@torch.inference_mode()
def test_the_shape_not_used_for_longest_is_given_up() -> None:
    recorded = RecordedPass(double, Tape)
    for n_frames in range(1, cuda_graphs.KEPT + 2):
        for _ in range(3):
            recorded(codes_of(n_frames))
        recorded(codes_of(1))
    assert len(recorded.recordings) == cuda_graphs.KEPT
    shapes = {shape[-1] for _, shape in recorded.recordings}
    assert 1 in shapes and 2 not in shapes


@torch.inference_mode()
def test_shapes_that_come_once_give_up_no_recording() -> None:
    recorded = RecordedPass(double, Tape)
    for n_frames in (5, 5, 5, *range(10, 10 + 2 * cuda_graphs.REMEMBERED)):
        recorded(codes_of(n_frames))
    assert len(recorded.recordings) == 1 and len(recorded.seen) == cuda_graphs.REMEMBERED


@torch.inference_mode()
def test_a_pass_that_was_stopped_is_not_counted() -> None:
    """What it would have set up, a recording must not."""

    class Stopped(Exception):
        pass

    def stops(codes: Tensor) -> Tensor:
        raise Stopped

    recorded, codes = RecordedPass(stops, Tape), codes_of(5)
    for _ in range(3):
        with pytest.raises(Stopped):
            recorded(codes)
    recorded.run = double
    assert torch.equal(recorded(codes), double(codes)) and not Tape.made


@torch.inference_mode()
def test_without_recordings_passes_are_only_paced() -> None:
    asked: list[str] = []
    recorded = RecordedPass(double, None, lambda device: asked.append(device.type))
    for _ in range(4):
        assert torch.equal(recorded(codes_of(5)), double(codes_of(5)))
    assert asked == ["cpu"] * 4 and not recorded.recordings


def test_gradients_are_never_recorded() -> None:
    recorded = RecordedPass(double, Tape)
    for _ in range(3):
        recorded(codes_of(3))
    assert not Tape.made and not recorded.recordings


@torch.inference_mode()
def test_what_cannot_be_recorded_runs_as_before_after_one_warning() -> None:
    def fails(run, codes: Tensor, pool: object) -> object:
        raise RuntimeError("operation not permitted when stream is capturing")

    recorded, codes = RecordedPass(double, fails), codes_of(5)
    for _ in range(cuda_graphs.EAGER):
        recorded(codes)
    with pytest.warns(RuntimeWarning, match="unrecorded: operation not permitted"):
        assert torch.equal(recorded(codes), double(codes))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(recorded(codes), double(codes))


@torch.inference_mode()
def test_the_host_is_one_pass_ahead_and_no_more() -> None:
    passes = {"asked for": 0, "waited for": 0}

    class Event:
        def __init__(self, device: torch.device):
            self.behind = passes["asked for"]

        def synchronize(self) -> None:
            passes["waited for"] = self.behind

    def run(codes: Tensor) -> Tensor:
        passes["asked for"] += 1
        return codes.float()

    recorded = RecordedPass(run, Tape, Event)
    for number in range(5):
        recorded(codes_of(4))
        assert passes == {"asked for": number + 1, "waited for": max(0, number - 1)}


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
def test_a_recording_outlives_those_that_are_given_up(device: str) -> None:
    model = small().to(device)
    asked = [codes_of(n).remainder(48).to(device) for n in range(20, 22 + cuda_graphs.KEPT)]
    want = [model.hidden(codes) for codes in asked]
    record = cuda_graphs.CudaRecording if device == "cuda" else Tape
    model.hidden = RecordedPass(model.hidden, record, reads=model.kept)
    for _ in range(2):
        for codes, found in zip(asked, want, strict=True):
            for _ in range(3):
                torch.testing.assert_close(model.hidden(codes), found)
    assert (
        isinstance(model.hidden, RecordedPass) and len(model.hidden.recordings) == cuda_graphs.KEPT
    )


@pytest.mark.parametrize("device", DEVICES)
def test_a_recorded_model_gives_the_same_tokens(device: str) -> None:
    """On a CUDA device by its own graphs, two lengths in turn; elsewhere by the stand-in."""
    model = small().to(device)
    want = filled(model, device)
    record = cuda_graphs.CudaRecording if device == "cuda" else Tape
    model.hidden = RecordedPass(model.hidden, record)
    for _ in range(2):
        assert torch.equal(filled(model, device), want)
        with torch.inference_mode():
            model.hidden(torch.zeros(1, 4, 33, dtype=torch.int64, device=device))
    assert isinstance(model.hidden, RecordedPass) and model.hidden.record is record
    assert len(model.hidden.recordings) == 1 and model.hidden.seen
