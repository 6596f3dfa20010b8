"""The optimisation loop that every training shares: schedule, clipping, resuming, logging."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vampnet.precision import has_bfloat16_products

SAVE_EVERY_S = 120.0  # where a plan is one of minutes


@dataclass(frozen=True)
class Plan:
    """How long and how fast: steps, windows a step, frames a window, peak learning rate.

    The rate climbs for ``warmup`` steps and then falls to nothing as a cosine over the rest.
    ``save_every`` and ``report_every`` are in steps. With ``minutes`` above 0 the time decides and
    not ``steps``: the rate falls with the clock, and the state is saved every few minutes too.
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

    seconds: trained so far; they count where the plan is one of minutes.
    """
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    if plan.minutes:
        progress = seconds / (60 * plan.minutes)
    else:
        progress = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


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
    when the loss is no longer a number; the last saved state is untouched then.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = _optimizer(model, plan)
    rng = torch.Generator().manual_seed(plan.seed)
    step, seconds = _resume(folder / "state.pt", model, optimizer, rng)
    device = next(model.parameters()).device
    narrow = has_bfloat16_products(device)
    model.train()
    began, saved, losses = time.monotonic() - seconds, seconds, []
    while not _over(step, seconds, plan):
        rate = rate_at(step, plan, seconds)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
            loss = loss_of(rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        optimizer.step()
        losses.append(float(loss.detach()))  # the one wait for the device
        if not math.isfinite(losses[-1]):
            raise RuntimeError(f"the loss is {losses[-1]} at step {step}; lower the learning rate")
        step, seconds = step + 1, time.monotonic() - began
        over = _over(step, seconds, plan)
        if step % plan.report_every == 0 or over:
            line = {"step": step, "seconds": round(seconds, 1), "learning_rate": rate}
            line |= {"loss": round(sum(losses) / len(losses), 4)} | (figures() if figures else {})
            losses = []
            _tell(line, folder, log)
        late = plan.minutes > 0 and seconds - saved >= SAVE_EVERY_S
        if step % plan.save_every == 0 or over or late:
            _save(folder / "state.pt", model, optimizer, rng, step, seconds)
            saved = seconds
    model.eval()


def _over(step: int, seconds: float, plan: Plan) -> bool:
    return seconds >= 60 * plan.minutes if plan.minutes else step >= plan.steps


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


def _resume(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, rng: torch.Generator
) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True, map_location="cpu")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    rng.set_state(state["rng"])
    return int(state["step"]), float(state.get("seconds", 0.0))


def _save(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rng: torch.Generator,
    step: int,
    seconds: float,
) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": rng.get_state(),
        "step": step,
        "seconds": seconds,
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)  # a stop in the middle of writing leaves the old state
