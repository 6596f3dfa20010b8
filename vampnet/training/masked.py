"""Training of the masked models: coarse and coarse-to-fine from one loop.

Source: arXiv 2307.04686, section 4.1 (AdamW, warm-up, loss on masked tokens only).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vampnet.model import VampNet
from vampnet.model.transformer import TransformerLayer
from vampnet.training.loop import TrainingPlan, run
from vampnet.training.masking import training_mask
from vampnet.training.tokens import Tokens

TOP_K = 25  # of the reported top-k accuracy
REPORT_RATIOS = (0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class MaskedTraining(TrainingPlan):
    """Settings of a masked model's training; see ``TrainingPlan``."""

    steps: int = 3400
    batch: int = 16
    frames: int = 72
    learning_rate: float = 7e-4
    warmup: int = 300
    weight_decay: float = 0.05


def initialize(model: VampNet, codebooks: Tensor, std: float = 0.02) -> None:
    """Initialise a model: small normal matrices, residual outputs scaled by depth, decaying bias.

    Embeddings have unit variance; at a tenth of that the norms amplify every update and training
    stalls at learning rates above 3e-4.

    Args:
        model: initialised in place.
        codebooks: float (at least N, V, latent_dim), the codec's; the first N are copied.
        std: standard deviation of the matrices.
    """
    c = model.config
    shrink = (2 * c.n_layers) ** -0.5
    with torch.no_grad():
        model.codebooks.copy_(codebooks[: c.n_codebooks])
        model.mask_rows.mul_(c.latent_dim**-0.5)
        nn.init.normal_(model.embedding.weight, std=(c.n_codebooks * c.embedding_kernel) ** -0.5)
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=std)
        for layer in model.layers:
            assert isinstance(layer, TransformerLayer)
            layer.attention.output.weight.mul_(shrink)
            layer.feed_forward.down.weight.mul_(shrink)
        model.classifier.bias.zero_()
    decay_bias(model)


def decay_bias(model: VampNet, slope: float = 0.5) -> None:
    """Initialise the position bias as a decay with distance, with another slope for each head.

    Bucket b on either side gets -slope * 2**(-h) * b for head h, so that an untrained model attends
    to near frames first.
    """
    n_buckets, n_heads = model.relative_bias.weight.shape
    rank = torch.arange(n_buckets) % (n_buckets // 2)
    steep = slope * 2.0 ** -torch.arange(n_heads)
    with torch.no_grad():
        model.relative_bias.weight.copy_(-rank[:, None] * steep[None])


def masked_loss(model: VampNet, codes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy of the masked tokens.

    Args:
        model: the model.
        codes: int64 (B, N, T), on any device.
        mask: bool (B, N, T), on any device, True = masked; with M masked positions.

    Returns:
        The mean in nats, a scalar; the logits, float (M, V); the targets, int64 (M,).
    """
    first = model.config.n_conditioning_codebooks
    codes, mask = codes.to(model.codebooks.device), mask.to(model.codebooks.device)
    logits = model(codes.masked_fill(mask, model.mask_token))[mask[:, first:]]
    target = codes[:, first:][mask[:, first:]]
    return F.cross_entropy(logits.float(), target), logits, target


@torch.no_grad()
def report(model: VampNet, tokens: Tokens, frames: int, windows: int = 16) -> dict[str, dict]:
    """Measure masked cross-entropy (nats) and accuracy (%) by mask ratio, on fixed windows.

    Args:
        model: the model; its training mode is restored.
        tokens: the held-out set.
        frames: frames per window.
        windows: how many.

    Returns:
        By mask ratio: "loss", "top1" and "top25".
    """
    rng = torch.Generator().manual_seed(1234)
    codes = tokens.windows(windows, frames, rng)[:, : model.config.n_codebooks]
    was_training = model.training
    model.eval()
    found = {}
    for ratio in REPORT_RATIOS:
        mask = torch.rand(codes.shape, generator=rng) < ratio
        mask[:, : model.config.n_conditioning_codebooks] = False
        sums = torch.zeros(3, dtype=torch.float64)
        for i in range(0, windows, 4):
            loss, logits, target = masked_loss(model, codes[i : i + 4], mask[i : i + 4])
            best = logits.topk(min(TOP_K, logits.shape[-1]), dim=-1).indices == target[:, None]
            hits = torch.stack([loss * len(target), best[:, 0].sum(), best.any(-1).sum()])
            sums += hits.cpu().double()  # not every device has float64
        n = int(mask.sum())
        found[str(ratio)] = {
            "loss": round(float(sums[0]) / n, 4),
            "top1": round(100 * float(sums[1]) / n, 2),
            f"top{TOP_K}": round(100 * float(sums[2]) / n, 2),
        }
    model.train(was_training)
    return found


def train_masked(
    model: VampNet,
    train: Tokens,
    heldout: Tokens | None,
    plan: MaskedTraining,
    folder: str | Path,
    log: Callable[[dict], None] | None = None,
) -> VampNet:
    """Train ``model`` in place, resuming from ``folder/state.pt``; see ``loop.run``.

    The log has masked loss and accuracy by mask ratio of ``heldout``, unless its pieces are all
    shorter than a window, which is logged instead.

    Args:
        model: the model.
        train, heldout: codes with at least the model's codebooks.
        plan: steps and rates.
        folder, log: see ``loop.run``.
    """
    c = model.config
    if heldout and heldout.longest < plan.frames:
        if log:
            lengths = f"the longest piece has {heldout.longest} frames, a window {plan.frames}"
            log({"heldout": f"not measured: {lengths}"})
        heldout = None

    def loss(rng: torch.Generator) -> Tensor:
        codes = train.windows(plan.batch, plan.frames, rng)[:, : c.n_codebooks]
        mask = training_mask(
            plan.batch, c.n_codebooks, c.n_conditioning_codebooks, plan.frames, rng
        )
        return masked_loss(model, codes, mask)[0]

    def figures() -> dict:
        return {"heldout": report(model, heldout, plan.frames)} if heldout else {}

    run(model, loss, plan, folder, figures, log)
    return model
