"""The optimisation loop of all trainings: schedule, clipping, resuming, logging."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vampnet.model.precision import has_bfloat16_products
from vampnet.system.atomic_file import atomic_path
from vampnet.system.errors import UserError

SAVE_EVERY_S = 120.0  # at the latest, however long a step takes
WARMUP_SHARE = 0.05  # of the time, where the duration is given in minutes
REASON_CHARACTERS = 120  # of torch's message, which may list every weight


@dataclass(frozen=True)
class TrainingPlan:
    """Duration and learning rate of a training.

    Attributes:
        steps: optimiser steps.
        batch: windows per step.
        frames: frames per window.
        learning_rate: the peak rate.
        warmup: steps of linear warm-up; a cosine decay to 0 follows.
        weight_decay: of matrices.
        clip: largest norm of the gradients.
        seed: of batches, masks and dropout.
        save_every, report_every: in steps; the state is also saved every two minutes.
        minutes: above 0, the duration, in place of ``steps``; the rate follows the time then.
    """

    steps: int
    batch: int
    frames: int
    learning_rate: float
    warmup: int
    weight_decay: float
    clip: float = 1.0
    seed: int = 0
    save_every: int = 250
    report_every: int = 250
    minutes: float = 0.0


def rate_at(step: int, plan: TrainingPlan, seconds: float = 0.0) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine decay to zero.

    Args:
        step: counted from 0; not used where the plan has ``minutes``.
        plan: the plan.
        seconds: trained so far; used only where the plan has ``minutes``, so that warm-up and decay
            are complete on slow and fast machines.
    """
    if plan.minutes:
        done = seconds / (60 * plan.minutes)
        warmed, progress = done / WARMUP_SHARE, (done - WARMUP_SHARE) / (1 - WARMUP_SHARE)
    else:
        warmed = (step + 1) / plan.warmup if step < plan.warmup else 1.0
        progress = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    if warmed < 1:
        return plan.learning_rate * warmed
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))


def run(
    model: nn.Module,
    loss_of: Callable[[torch.Generator], Tensor],
    plan: TrainingPlan,
    folder: str | Path,
    figures: Callable[[], dict] | None = None,
    log: Callable[[dict], None] | None = None,
) -> None:
    """Train ``model`` in place with AdamW; resumes from ``folder/state.pt`` when it is there.

    Every ``report_every`` steps a line of JSON is written to ``folder/log.jsonl`` and passed to
    ``log``: step, seconds, learning rate, mean training loss and the values of ``figures``. The
    loss is computed under bfloat16 autocast where the device has fast bfloat16 products.

    Args:
        model: on the device to train on.
        loss_of: samples a batch with a CPU generator and returns its loss.
        plan: duration and rates.
        folder: where state and log are written.
        figures: returns values to log.
        log: gets each line of the log.

    Raises:
        RuntimeError: when the loss is not finite; the last saved state is not changed then.
        UserError: where the state cannot be read.
        KeyboardInterrupt: on Ctrl-C and SIGTERM, after the step, whose state is saved.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), _stops() as stops:
        training = _Training(model, plan, device, folder / "state.pt")
        if training.over and log:
            log({"done": training.done})
        model.train()
        for losses in _steps(training, loss_of, stops):
            line = training.log_line(losses) | (figures() if figures else {})
            _write_log(line, folder, log)
        model.eval()
        if stops:  # during the last report
            raise KeyboardInterrupt


def _steps(
    training: _Training, loss_of: Callable[[torch.Generator], Tensor], stops: list[int]
) -> Iterator[list[float]]:
    """Train to the end; yields the losses since the last report whenever one is due."""
    plan, saved = training.plan, training.seconds
    losses: list[float] = []
    while not training.over:
        losses.append(training.one_step(loss_of))
        over = training.over
        late = training.seconds - saved >= SAVE_EVERY_S
        if training.step % plan.save_every == 0 or over or late or stops:
            training.save()
            saved = training.seconds
        if stops:
            raise KeyboardInterrupt
        if training.step % plan.report_every == 0 or over:
            yield losses
            losses = []


class _Training:
    """The state of a training: weights, optimiser, random generators, steps and seconds."""

    def __init__(self, model: nn.Module, plan: TrainingPlan, device: torch.device, path: Path):
        self.model, self.plan, self.device, self.path = model, plan, device, path
        self.optimizer = _optimizer(model, plan)
        self.rng = torch.Generator().manual_seed(plan.seed)
        self.bfloat16 = has_bfloat16_products(device)
        self.step, self.seconds, self.rate = 0, 0.0, 0.0
        torch.manual_seed(plan.seed)  # dropout uses the global generators
        if path.exists():
            self._resume(_read(path))
        self.started = time.monotonic() - self.seconds

    @property
    def over(self) -> bool:
        """Whether the plan's steps, or its minutes, are complete."""
        if self.plan.minutes:
            return self.seconds >= 60 * self.plan.minutes
        return self.step >= self.plan.steps

    @property
    def done(self) -> str:
        """Progress as text."""
        if self.plan.minutes:
            return f"already at minute {self.seconds / 60:.1f} of {self.plan.minutes:.1f}"
        return f"already at step {self.step} of {self.plan.steps}"

    def one_step(self, loss_of: Callable[[torch.Generator], Tensor]) -> float:
        """Take an optimiser step; returns the loss."""
        self.rate = rate_at(self.step, self.plan, self.seconds)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss = loss_of(self.rng)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        self.optimizer.step()
        found = float(loss.detach())  # the only synchronisation with the device
        if not math.isfinite(found):
            raise RuntimeError(f"the loss is {found} at step {self.step}; lower the learning rate")
        self.step, self.seconds = self.step + 1, time.monotonic() - self.started
        return found

    def log_line(self, losses: list[float]) -> dict:
        """Return a line of the log."""
        line = {"step": self.step, "seconds": round(self.seconds, 1), "learning_rate": self.rate}
        return line | {"loss": round(sum(losses) / len(losses), 4)}

    def save(self) -> None:
        """Write the state atomically."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.get_state(),
            "chance": _global_rng_states(self.device),
            "step": self.step,
            "seconds": self.seconds,
        }
        with atomic_path(self.path) as part:
            torch.save(state, part)

    def _resume(self, state: dict) -> None:
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.rng.set_state(state["rng"])
            self.step, self.seconds = int(state["step"]), float(state.get("seconds", 0.0))
            global_states = state.get("chance", {})
            if "cpu" in global_states:
                torch.set_rng_state(global_states["cpu"])
            if "cuda" in global_states and self.device.type == "cuda":
                torch.cuda.set_rng_state(global_states["cuda"], self.device)
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:REASON_CHARACTERS]
            raise UserError(
                f"{self.path} is damaged or of another model ({reason}); delete it and run again"
            ) from None


def _read(path: Path) -> Any:
    """Read a state file; UserError where it is damaged."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except PermissionError:
        raise
    except Exception:  # invalid bytes: zip, pickle and torch raise all kinds
        raise UserError(f"{path} is damaged; delete it and run again") from None


def _global_rng_states(device: torch.device) -> dict[str, Tensor]:
    """The states of the global generators that layers on a device use."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


@contextmanager
def _stops() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in the list that is yielded; a second one takes effect at once.

    An interrupt within a step would leave weights and optimiser inconsistent.
    """
    received: list[int] = []
    before: dict[int, Any] = {}

    def on_signal(number: int, frame: object) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    if threading.current_thread() is threading.main_thread():  # a requirement of signal
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler not in (None, signal.SIG_IGN):  # nohup and background jobs ignore them
                before[number] = signal.signal(number, on_signal)
    try:
        yield received
    finally:
        restore()


def _write_log(line: dict, folder: Path, log: Callable[[dict], None] | None) -> None:
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    if log:
        log(line)


def _optimizer(model: nn.Module, plan: TrainingPlan) -> torch.optim.AdamW:
    """AdamW with weight decay of matrices only, not of norms and biases."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": plan.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98))
