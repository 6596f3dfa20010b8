"""Training: masks, tokens, and loops that learn, resume and log."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace

import pytest
import torch
from conftest import chord
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from vampnet.model import VampNet, VampNetConfig
from vampnet.training import loop
from vampnet.training.decoder import DecoderTraining, train_decoder
from vampnet.training.loop import TrainingPlan, rate_at, run
from vampnet.training.masked import MaskedTraining, initialize, report, train_masked
from vampnet.training.masking import mask_ratio, training_mask
from vampnet.training.tokens import Tokens, check_windows

pytestmark = pytest.mark.training


def song(n_frames: int = 400, seed: int = 0) -> torch.Tensor:
    """Codes that follow each other by a rule: easy to learn, int64 (4, T)."""
    start = torch.randint(16, (4, 1), generator=torch.Generator().manual_seed(seed))
    return (start + torch.arange(n_frames)[None] * torch.tensor([[1], [2], [3], [5]])) % 16


def small_model(dropout: float = 0.0) -> VampNet:
    torch.manual_seed(0)
    config = VampNetConfig(
        n_codebooks=4, n_layers=1, n_heads=2, embedding_dim=32, vocab_size=16, dropout=dropout
    )
    model = VampNet(config)
    initialize(model, torch.randn(4, 16, 8, generator=torch.Generator().manual_seed(1)))
    return model


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n_frames=st.integers(4, 90), conditioning=st.integers(0, 3))
def test_every_item_has_masked_tokens_but_none_in_the_conditioning(
    seed: int, n_frames: int, conditioning: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    mask = training_mask(5, 4, conditioning, n_frames, rng)
    assert mask.shape == (5, 4, n_frames) and mask.dtype == torch.bool
    assert mask.flatten(1).any(-1).all()
    assert not mask[:, :conditioning].any()


def test_the_mask_ratio_is_the_cosine_of_a_uniform_number() -> None:
    ratio = mask_ratio(20_000, torch.Generator().manual_seed(0))
    # the mean of cos over a quarter circle is 2 / pi
    assert float(ratio.mean()) == pytest.approx(0.6366, abs=0.01)
    assert float((ratio > 0.7071).float().mean()) == pytest.approx(0.5, abs=0.02)


def test_windows_never_cross_pieces_and_files_keep_them(tmp_path) -> None:
    pieces = [torch.full((4, n), i) for i, n in enumerate((30, 12, 50))]
    tokens = Tokens.join(pieces)
    tokens.save(tmp_path / "t.safetensors")
    again = Tokens.load(tmp_path / "t.safetensors")
    windows = again.windows(200, 12, torch.Generator().manual_seed(0))
    assert windows.shape == (200, 4, 12)
    assert (windows == windows[:, :1, :1]).all()
    assert set(windows[:, 0, 0].tolist()) == {0, 1, 2}
    with pytest.raises(ValueError, match="longest piece only 50.*--frames"):
        again.windows(1, 51, torch.Generator())


def test_pieces_without_a_window_are_counted() -> None:
    tokens, logged = Tokens.join([song(n) for n in (10, 20, 30, 40)]), []
    check_windows(tokens, {"decoder": 25, "coarse": 40, "c2f": 40}, 0.5, logged.append)
    line = "{} of 4 pieces are shorter than a window of {} frames ({} s) and are not used by {}"
    assert logged == [line.format(2, 25, 12.5, "decoder"), line.format(3, 40, 20.0, "coarse, c2f")]
    check_windows(tokens, {"coarse": 10}, 0.5, logged.append)
    assert len(logged) == 2
    with pytest.raises(ValueError, match="longest piece only 40"):
        check_windows(tokens, {"coarse": 41}, 0.5, logged.append)


def test_a_complete_plan_is_only_logged(tmp_path) -> None:
    model, lines = torch.nn.Linear(2, 1), []
    plan = TrainingPlan(2, 1, 1, 0.1, 1, 0.0)
    for _ in range(2):
        run(
            model, lambda rng: model(torch.ones(2)).sum().square(), plan, tmp_path, log=lines.append
        )
    assert [line.get("step") for line in lines] == [2, None]
    assert lines[1] == {"done": "already at step 2 of 2"}
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def test_files_have_normal_permissions_and_appear_complete(tmp_path, monkeypatch) -> None:
    tokens, file = Tokens.join([song()]), tmp_path / "t.tokens"
    (tmp_path / "plain").touch()
    tokens.save(file)
    assert file.stat().st_mode == (tmp_path / "plain").stat().st_mode
    before = file.read_bytes()

    def full(tensors, path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: no space left")

    monkeypatch.setattr("vampnet.training.tokens.save_file", full)
    with pytest.raises(OSError, match="t.tokens cannot be written: .*no space left"):
        tokens.save(file)
    assert file.read_bytes() == before and len(list(tmp_path.iterdir())) == 2
    for damaged in (before[: len(before) // 2], b"x" * 99, b""):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="t.tokens is damaged"):
            Tokens.load(file)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_model_learns_and_the_log_has_its_losses(tmp_path, monkeypatch, bfloat16: bool) -> None:
    monkeypatch.setattr(loop, "has_bfloat16_products", lambda device: bfloat16)
    tokens = Tokens.join([song(seed=seed) for seed in range(4)])
    plan = MaskedTraining(
        steps=160, batch=8, frames=32, learning_rate=5e-3, warmup=5, report_every=80, save_every=80
    )
    model = small_model()
    seen = set()
    model.classifier.register_forward_hook(lambda layer, given, made: seen.add(made.dtype))
    before = report(model, tokens, 32)
    train_masked(model, tokens, tokens, plan, tmp_path)
    assert seen == {torch.float32} | ({torch.bfloat16} if bfloat16 else set())
    after = report(model, tokens, 32)
    assert after["0.5"]["loss"] < before["0.5"]["loss"] - 1.0
    assert after["0.5"]["top1"] > before["0.5"]["top1"] + 20
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [80, 160]
    assert lines[-1]["heldout"]["0.5"] == after["0.5"]


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("stop", [None, signal.SIGINT, signal.SIGTERM])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, stop, dropout) -> None:
    tokens = Tokens.join([song()])
    plan = MaskedTraining(steps=6, batch=2, frames=16, warmup=2, report_every=100, save_every=3)
    model = small_model(dropout)
    torch.rand(3)  # a training has its own generators
    before = torch.get_rng_state()
    whole = train_masked(model, tokens, None, plan, tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before)
    original, calls, handlers = tokens.windows, [], signal.getsignal(signal.SIGINT)

    class Broken(Exception):
        pass

    def windows(*arguments):
        calls.append(1)
        if len(calls) == 5 and stop:
            signal.raise_signal(stop)  # within a step
        elif len(calls) == 5:
            raise Broken  # only the state of the third step is saved
        return original(*arguments)

    tokens.windows = windows  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt if stop else Broken):
        train_masked(small_model(dropout), tokens, None, plan, tmp_path / "b")
    tokens.windows = original  # type: ignore[method-assign]
    assert torch.load(tmp_path / "b" / "state.pt")["step"] == (5 if stop else 3)
    assert signal.getsignal(signal.SIGINT) is handlers
    model = small_model(dropout)
    torch.rand(7)  # other code's random numbers do not matter
    resumed = train_masked(model, tokens, None, plan, tmp_path / "b")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.usefixtures("default_signals")
def test_a_second_stop_does_not_wait_and_one_in_the_last_report_is_not_lost(tmp_path) -> None:
    model, plan = torch.nn.Linear(2, 1), TrainingPlan(2, 1, 1, 0.1, 1, 0.0)

    def loss(rng: torch.Generator) -> torch.Tensor:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one was kept back")

    with pytest.raises(KeyboardInterrupt):
        run(model, loss, plan, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(
            model,
            lambda rng: model(torch.rand(4, 2, generator=rng)).square().mean(),
            plan,
            tmp_path / "b",
            lambda: signal.raise_signal(signal.SIGINT) or {},
        )


@pytest.mark.usefixtures("default_signals")
def test_a_signal_that_was_ignored_stays_ignored(tmp_path) -> None:
    """As with ``nohup`` and background jobs: the training runs to its end."""
    model, calls = torch.nn.Linear(2, 1), []

    def loss(rng: torch.Generator) -> torch.Tensor:
        calls.append(signal.raise_signal(signal.SIGINT))
        return model(torch.rand(4, 2, generator=rng)).square().mean()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run(model, loss, TrainingPlan(3, 1, 1, 0.1, 1, 0.0), tmp_path)
    assert len(calls) == 3 and signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_failed_measurement_loses_no_training(tmp_path) -> None:
    plan = MaskedTraining(steps=2, batch=2, frames=16, warmup=1, report_every=1)
    lines: list[dict] = []
    short = Tokens.join([song(5), song(12)])
    train_masked(small_model(), Tokens.join([song()]), short, plan, tmp_path / "a", lines.append)
    assert "longest piece has 12 frames, a window 16" in lines[0]["heldout"]
    assert [line["step"] for line in lines[1:]] == [1, 2] and "heldout" not in lines[-1]

    def figures() -> dict:
        raise ValueError("cannot be measured")

    model = torch.nn.Linear(2, 1)
    plan = TrainingPlan(9, 1, 1, 0.1, 1, 0.0, save_every=3, report_every=3)
    with pytest.raises(ValueError, match="cannot be measured"):
        run(model, lambda rng: model(torch.ones(2)).sum(), plan, tmp_path / "b", figures)
    assert torch.load(tmp_path / "b" / "state.pt")["step"] == 3


def test_a_state_is_never_older_than_two_minutes(tmp_path, monkeypatch) -> None:
    model, now = torch.nn.Linear(2, 1), [0.0]
    ages = []

    def loss(rng: torch.Generator) -> torch.Tensor:
        state = tmp_path / "state.pt"
        ages.append(now[0] - (torch.load(state)["seconds"] if state.exists() else 0.0))
        now[0] += 7.0
        return model(torch.ones(2)).sum().square()

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    plan = TrainingPlan(60, 1, 1, 0.1, 1, 0.0, save_every=10**4, report_every=10**4)
    run(model, loss, plan, tmp_path)
    assert max(ages) <= 120 and now[0] == 7.0 * 60


@pytest.mark.parametrize("damage", [b"", b"hello\n", bytes(range(256)) * 40, None])
def test_a_damaged_state_is_named_with_what_to_do(tmp_path, damage) -> None:
    model, plan = torch.nn.Linear(2, 1), TrainingPlan(2, 1, 1, 0.1, 1, 0.0)

    def again(model: torch.nn.Module, plan: TrainingPlan) -> None:
        run(model, lambda rng: model(torch.ones(2)).sum().square(), plan, tmp_path)

    again(model, plan)
    state = tmp_path / "state.pt"
    before = state.read_bytes()
    state.write_bytes(before[: len(before) // 2] if damage is None else damage)
    with pytest.raises(ValueError, match="state.pt is damaged; delete it and run again"):
        again(model, plan)
    state.write_bytes(before)
    with pytest.raises(ValueError, match="state.pt is damaged or of another model .*; delete it"):
        again(torch.nn.Linear(3, 1), plan)
    torch.save({"step": 3}, state)
    with pytest.raises(ValueError, match="state.pt is damaged or of another model .*; delete it"):
        again(model, plan)


def test_the_rate_warms_up_then_decays_to_zero() -> None:
    plan = MaskedTraining(steps=100, warmup=10, learning_rate=1.0)
    rates = [rate_at(step, plan) for step in range(100)]
    assert rates[9] == 1.0 and rates[0] == pytest.approx(0.1)
    assert all(a >= b for a, b in zip(rates[9:], rates[10:], strict=False))
    assert rates[-1] < 0.01


def test_the_decoder_learns(tiny_codec, tmp_path) -> None:
    audio = chord(8.0)[None]

    def windows(n_items: int, n_frames: int, rng: torch.Generator):
        starts = torch.randint(0, 400, (n_items,), generator=rng)
        cut = torch.cat([audio[..., s * 768 : (s + n_frames) * 768] for s in starts.tolist()])
        return cut, tiny_codec.encode(cut)

    saved = {k: v.clone() for k, v in tiny_codec.state_dict().items()}
    losses: list[dict] = []
    plan = DecoderTraining(
        steps=30, batch=2, frames=24, learning_rate=3e-2, warmup=5, report_every=10, save_every=30
    )
    try:
        train_decoder(tiny_codec, windows, plan, tmp_path, losses.append)
    finally:
        tiny_codec.load_state_dict(saved)
    assert losses[-1]["loss"] < 0.7 * losses[0]["loss"]
