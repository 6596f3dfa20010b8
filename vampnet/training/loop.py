"""The optimisation loop that every training shares: schedule, clipping, resuming, logging."""

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
from vampnet.system.atomic_file import whole_path
from vampnet.system.errors import UserError

SAVE_EVERY_S = 120.0  # at the latest, whatever a step takes
WARMUP_SHARE = 0.05  # of the time, where a plan is one of minutes
REASON_CHARACTERS = 120  # of torch's, which may name every weight


@dataclass(frozen=True)
class Plan:
    """How long and how fast: steps, windows a step, frames a window, peak learning rate.

    The rate climbs for ``warmup`` steps and then falls to nothing as a cosine over the rest.
    ``save_every`` and ``report_every`` are in steps; the state is saved every two minutes too.
    With ``minutes`` above 0 the time decides and not ``steps``: the rate goes with the clock.
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


def rate_at(step: int, plan: Plan, seconds: float = 0.0) -> float:
    """Learning rate of a step (0-based): linear warm-up, then half a cosine down to zero.

    seconds: trained so far. Where the plan is one of minutes they alone count, so that neither a
    slow machine nor a fast one misses the climb or the fall.
    """
    if plan.minutes:
        done = seconds / (60 * plan.minutes)
        climbed, progress = done / WARMUP_SHARE, (done - WARMUP_SHARE) / (1 - WARMUP_SHARE)
    else:
        climbed = (step + 1) / plan.warmup if step < plan.warmup else 1.0
        progress = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    if climbed < 1:
        return plan.learning_rate * climbed
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))


def run(
    model: nn.Module,
    loss_of: Callable[[torch.Generator], Tensor],
    plan: Plan,
    folder: str | Path,
    figures: Callable[[], dict] | None = None,
    log: Callable[[dict], None] | None = None,
) -> None:
    """Train ``model`` in place with AdamW; resumes from ``folder/state.pt`` when it is there.

    loss_of(rng) draws a batch and gives its loss; ``rng`` lives on the CPU, the model where it is;
    where that multiplies bfloat16 faster, the loss is taken under bfloat16 autocast. Every
    ``report_every`` steps a line of JSON goes to ``folder/log.jsonl`` (and to ``log``): step,
    seconds, learning rate, mean training loss and what ``figures`` measures. Raises RuntimeError
    when the loss is no longer a number; the last saved state is untouched then. ValueError where
    the state cannot be read. A plan that is done already is told to ``log`` alone. Ctrl-C and
    SIGTERM raise KeyboardInterrupt after the step, whose state is saved.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), _stops() as stops:
        training = _Training(model, plan, device, folder / "state.pt")
        if training.over and log:
            log({"done": training.done})
        model.train()
        saved, losses = training.seconds, []
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
                _tell(training.facts(losses) | (figures() if figures else {}), folder, log)
                losses = []
        model.eval()
        if stops:  # during the last report
            raise KeyboardInterrupt


class _Training:
    """What a stop must not lose: weights, optimiser, chance, steps and seconds."""

    def __init__(self, model: nn.Module, plan: Plan, device: torch.device, path: Path):
        self.model, self.plan, self.device, self.path = model, plan, device, path
        self.optimizer = _optimizer(model, plan)
        self.rng = torch.Generator().manual_seed(plan.seed)
        self.narrow = has_bfloat16_products(device)
        self.step, self.seconds, self.rate = 0, 0.0, 0.0
        torch.manual_seed(plan.seed)  # dropout draws from the global generators
        if path.exists():
            self._resume(_read(path))
        self.began = time.monotonic() - self.seconds

    @property
    def over(self) -> bool:
        """Whether the plan's steps, or its minutes, are done."""
        if self.plan.minutes:
            return self.seconds >= 60 * self.plan.minutes
        return self.step >= self.plan.steps

    @property
    def done(self) -> str:
        """How far it is, of how far it is to go."""
        if self.plan.minutes:
            return f"already at minute {self.seconds / 60:.1f} of {self.plan.minutes:.1f}"
        return f"already at step {self.step} of {self.plan.steps}"

    def one_step(self, loss_of: Callable[[torch.Generator], Tensor]) -> float:
        """Loss, gradients and an update; the loss."""
        self.rate = rate_at(self.step, self.plan, self.seconds)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.narrow):
            loss = loss_of(self.rng)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        self.optimizer.step()
        found = float(loss.detach())  # the one wait for the device
        if not math.isfinite(found):
            raise RuntimeError(f"the loss is {found} at step {self.step}; lower the learning rate")
        self.step, self.seconds = self.step + 1, time.monotonic() - self.began
        return found

    def facts(self, losses: list[float]) -> dict:
        """A line of the log."""
        line = {"step": self.step, "seconds": round(self.seconds, 1), "learning_rate": self.rate}
        return line | {"loss": round(sum(losses) / len(losses), 4)}

    def save(self) -> None:
        """Write the state; a stop in the middle of writing leaves the old one."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.get_state(),
            "chance": _chance(self.device),
            "step": self.step,
            "seconds": self.seconds,
        }
        with whole_path(self.path) as part:
            torch.save(state, part)

    def _resume(self, state: dict) -> None:
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.rng.set_state(state["rng"])
            self.step, self.seconds = int(state["step"]), float(state.get("seconds", 0.0))
            chance = state.get("chance", {})
            if "cpu" in chance:
                torch.set_rng_state(chance["cpu"])
            if "cuda" in chance and self.device.type == "cuda":
                torch.cuda.set_rng_state(chance["cuda"], self.device)
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:REASON_CHARACTERS]
            raise UserError(
                f"{self.path} is damaged or of another model ({reason}); delete it and run again"
            ) from None


def _read(path: Path) -> Any:
    """What a state file holds. Raises ValueError where it is damaged."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except PermissionError:
        raise
    except Exception:  # bytes that are no state: zip, pickle and torch raise all kinds
        raise UserError(f"{path} is damaged; delete it and run again") from None


def _chance(device: torch.device) -> dict[str, Tensor]:
    """The states of the global generators that layers on a device draw from."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


@contextmanager
def _stops() -> Iterator[list[int]]:
    """Signals to stop that came, as a list that fills; a second one is no longer kept back.

    A stop in the middle of a step would leave weights and optimiser out of step with each other.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        came.append(number)
        restore()

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    if threading.current_thread() is threading.main_thread():  # others may not
        for number in (signal.SIGINT, signal.SIGTERM):
            how = signal.getsignal(number)
            if how not in (None, signal.SIG_IGN):  # as a shell does for what it runs behind it
                before[number] = signal.signal(number, note)
    try:
        yield came
    finally:
        restore()


def _tell(line: dict, folder: Path, log: Callable[[dict], None] | None) -> None:
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    if log:
        log(line)


def _optimizer(model: nn.Module, plan: Plan) -> torch.optim.AdamW:
    """AdamW that decays matrices only: norms, biases and gains keep their scale."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": plan.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98))
