"""Print, as Markdown, the effect of a lower precision on a model's predictions on held-out music.

    PYTHONPATH=. python benchmarks/precisions.py MUSIC [--model default] [--precision int8]

Tokens of clips are masked at random; each stage predicts them in both precisions.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from token_accuracy import RATIOS, encoded
from torch import Tensor

from vampnet.evaluation.clips import cut_clips
from vampnet.evaluation.report import markdown_table
from vampnet.evaluation.token_prediction import random_token_mask
from vampnet.model import VampNet
from vampnet.pipeline import Pipeline

HEAD = ["stage", "masked", "float32, nats", "lower, nats", "equal argmax", "error of logits"]


@dataclass(frozen=True)
class PrecisionLoss:
    """Effect of a lower precision.

    Attributes:
        reference: cross-entropy in float32, in nats.
        lower: cross-entropy in the lower precision, in nats.
        agree: share of tokens with equal argmax, 0 to 1.
        error: RMS error of the logits.
        deviation: RMS of the centred logits.
    """

    reference: float
    lower: float
    agree: float
    error: float
    deviation: float


@torch.inference_mode()
def compare_precisions(
    reference: VampNet, lower: VampNet, codes: Tensor, mask: Tensor
) -> PrecisionLoss:
    """Compare two models on the same masked tokens.

    Args:
        reference: the model in float32.
        lower: the model in the lower precision.
        codes: tokens, int64 (B, N, T).
        mask: bool (B, N, T), True = masked.
    """
    first, sums = reference.n_conditioning_codebooks, torch.zeros(5, dtype=torch.float64)
    for item, masked in zip(codes.split(1), mask.split(1), strict=True):
        at, seen = masked[:, first:], item.masked_fill(masked, reference.mask_token)
        wanted, *scores = item[:, first:][at], reference(seen)[at], lower(seen)[at]
        losses = [F.cross_entropy(s, wanted, reduction="sum") for s in scores]
        equal = (scores[0].argmax(-1) == scores[1].argmax(-1)).sum()
        centred = scores[0] - scores[0].mean(-1, keepdim=True)
        error = (scores[1] - scores[0]).square().mean(-1).sum()
        sums += torch.stack([*losses, equal, error, centred.square().mean(-1).sum()]).double()
    reference_loss, lower_loss, agree, error, spread = (sums / int(mask[:, first:].sum())).tolist()
    return PrecisionLoss(reference_loss, lower_loss, agree, error**0.5, spread**0.5)


def main() -> None:
    """Encode clips, mask tokens, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("music")
    parser.add_argument("--model", default="default")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    reference = Pipeline.from_pretrained(args.model, precision="float32", keep_weights=False)
    lower = Pipeline.from_pretrained(args.model, precision=args.precision, keep_weights=False)
    clips = cut_clips(args.music, reference.codec.sample_rate, args.clips, args.seconds)
    codes = encoded(reference.codec, clips)
    rows = []
    stages = (("coarse", reference.coarse, lower.coarse), ("fine", reference.c2f, lower.c2f))
    for name, *models in stages:
        if models[0] is None or models[1] is None:
            continue
        tokens = codes[:, : models[0].config.n_codebooks]
        for ratio in RATIOS:
            rng = torch.Generator().manual_seed(0)
            mask = random_token_mask(tokens, ratio, models[0].n_conditioning_codebooks, rng)
            c = compare_precisions(models[0], models[1], tokens, mask)
            error = f"{c.error:.3f} of {c.deviation:.2f}"
            figures = [f"{c.reference:.4f}", f"{c.lower:.4f}", f"{100 * c.agree:.1f} %", error]
            rows.append([name, f"{100 * ratio:.0f} %", *figures])
    print(f"{len(codes)} clips of {args.seconds:g} s; lower: {args.precision}\n")
    print("\n".join(markdown_table(HEAD, rows)))


if __name__ == "__main__":
    main()
