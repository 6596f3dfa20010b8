"""Print, as Markdown, how well a model's stages predict masked tokens of held-out music.

    PYTHONPATH=. python benchmarks/token_accuracy.py MUSIC [--model default] [--clips 20]

For comparison: the codebooks' entropy, and a predictor that interpolates between neighbours.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from vampnet.codec import Codec
from vampnet.evaluation.clips import MusicClip, cut_clips
from vampnet.evaluation.token_prediction import (
    PredictionScore,
    codebook_usage,
    random_token_mask,
    score_neighbour_baseline,
    score_predictions,
)
from vampnet.model import VampNet
from vampnet.pipeline import Pipeline

ALL_CLIPS = 1_000_000  # more than any folder gives: all of its music
RATIOS = (0.25, 0.5, 0.75, 0.95)


def main() -> None:
    """Encode clips, mask tokens, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("music")
    parser.add_argument("--model", default="default")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    pipeline = Pipeline.from_pretrained(args.model, precision="float32", keep_weights=False)
    codec = pipeline.codec
    all_codes = encoded(codec, cut_clips(args.music, codec.sample_rate, ALL_CLIPS, args.seconds))
    codes = encoded(codec, cut_clips(args.music, codec.sample_rate, args.clips, args.seconds))
    minutes = len(all_codes) * args.seconds / 60
    print(
        f"Codebooks: {minutes:.0f} minutes; predictions: {len(codes)} clips of {args.seconds:g} s\n"
    )
    used = codebook_usage(all_codes, codec.vocab_size)
    _row("codebook", [str(n + 1) for n in range(len(used))], head=True)
    _row("entropy, nats", [f"{u.entropy:.2f}" for u in used])
    _row("perplexity", [f"{u.perplexity:.0f}" for u in used])
    _row("unused tokens", [str(u.unused) for u in used])
    for name, model in (("Coarse", pipeline.coarse), ("Coarse-to-fine", pipeline.c2f)):
        if model is not None:
            first = model.config.n_conditioning_codebooks
            entropy = [u.entropy for u in used[first : model.config.n_codebooks]]
            _stage(name, model, codes[:, : model.config.n_codebooks], codec.codebooks, entropy)


def encoded(codec: Codec, clips: list[MusicClip]) -> Tensor:
    """Encode clips of equal length as tokens int64 (B, N, T)."""
    return torch.cat([codec.encode(clip.sound[None, None]) for clip in clips])


def _stage(name: str, model: VampNet, codes: Tensor, rows: Tensor, entropy: list[float]) -> None:
    first = model.config.n_conditioning_codebooks
    books = [f"codebook {first + p + 1}" for p in range(model.config.n_predicted_codebooks)]
    print(f"\n{name}: cross-entropy in nats / top-25 accuracy in %\n")
    _row("masked", ["all", *books], head=True)
    mean = sum(entropy) / len(entropy)
    _row("unigram", [f"{value:.2f}" for value in (mean, *entropy)])
    for ratio in RATIOS:
        mask = random_token_mask(codes, ratio, first, torch.Generator().manual_seed(0))
        _row(f"{ratio:g}, model", _cells(score_predictions(model, codes, mask)))
        near = score_neighbour_baseline(codes[:, first:], mask[:, first:], rows[first:])
        _row(f"{ratio:g}, neighbours' mean", _cells(near))


def _cells(found: list[PredictionScore]) -> list[str]:
    n = len(found)
    mean = PredictionScore(
        sum(g.cross_entropy for g in found) / n, sum(g.top_k_accuracy for g in found) / n
    )
    return [f"{g.cross_entropy:.2f} / {100 * g.top_k_accuracy:.0f}" for g in (mean, *found)]


def _row(name: str, cells: list[str], head: bool = False) -> None:
    print(f"| {name} | {' | '.join(cells)} |")
    if head:
        print("|" + " --- |" * (len(cells) + 1))


if __name__ == "__main__":
    main()
