"""Print, as Markdown, what a narrower precision does to a model's answers on unheard music.

    PYTHONPATH=. python benchmarks/precisions.py MUSIC [--model default] [--precision int8]

Tokens of clips are hidden at random; each stage guesses them in float32 and in the other precision.
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

HEAD = ["stage", "masked", "float32, nats", "other, nats", "likeliest token equal", "logits' error"]


@dataclass(frozen=True)
class Change:
    """Cross-entropies in nats, share of equal likeliest tokens, RMS of errors and of logits."""

    wide: float
    narrow: float
    agree: float
    error: float
    deviation: float


@torch.inference_mode()
def change(wide: VampNet, narrow: VampNet, codes: Tensor, mask: Tensor) -> Change:
    """Both models on the same hidden tokens. codes: int64 (B, N, T); mask: bool, True = hidden."""
    first, sums = wide.n_conditioning_codebooks, torch.zeros(5, dtype=torch.float64)
    for item, hidden in zip(codes.split(1), mask.split(1), strict=True):
        at, seen = hidden[:, first:], item.masked_fill(hidden, wide.mask_token)
        wanted, *scores = item[:, first:][at], wide(seen)[at], narrow(seen)[at]
        losses = [F.cross_entropy(s, wanted, reduction="sum") for s in scores]
        equal = (scores[0].argmax(-1) == scores[1].argmax(-1)).sum()
        centred = scores[0] - scores[0].mean(-1, keepdim=True)
        error = (scores[1] - scores[0]).square().mean(-1).sum()
        sums += torch.stack([*losses, equal, error, centred.square().mean(-1).sum()]).double()
    wide_loss, narrow_loss, agree, error, spread = (sums / int(mask[:, first:].sum())).tolist()
    return Change(wide_loss, narrow_loss, agree, error**0.5, spread**0.5)


def main() -> None:
    """Encode clips, hide tokens, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("music")
    parser.add_argument("--model", default="default")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    wide = Pipeline.from_pretrained(args.model, precision="float32", keep_weights=False)
    narrow = Pipeline.from_pretrained(args.model, precision=args.precision, keep_weights=False)
    clips = cut_clips(args.music, wide.codec.sample_rate, args.clips, args.seconds)
    codes = encoded(wide.codec, clips)
    rows = []
    stages = (("coarse", wide.coarse, narrow.coarse), ("fine", wide.c2f, narrow.c2f))
    for name, *models in stages:
        if models[0] is None or models[1] is None:
            continue
        heard = codes[:, : models[0].config.n_codebooks]
        for ratio in RATIOS:
            rng = torch.Generator().manual_seed(0)
            mask = random_token_mask(heard, ratio, models[0].n_conditioning_codebooks, rng)
            c = change(models[0], models[1], heard, mask)
            told = f"{c.error:.3f} of {c.deviation:.2f}"
            figures = [f"{c.wide:.4f}", f"{c.narrow:.4f}", f"{100 * c.agree:.1f} %", told]
            rows.append([name, f"{100 * ratio:.0f} %", *figures])
    print(f"{len(codes)} clips of {args.seconds:g} s; other: {args.precision}\n")
    print("\n".join(markdown_table(HEAD, rows)))


if __name__ == "__main__":
    main()
