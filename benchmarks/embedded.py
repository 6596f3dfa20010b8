"""What the embedded default does to held-out music: codec figures, then vamps beside two baselines.

    python benchmarks/embedded.py FOLDER [--model default] [--pieces 20] [--seconds 10]

FOLDER holds audio files that no model was trained on. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vampnet import audio
from vampnet.beats import track
from vampnet.evaluation.baselines import hold_last, random_tokens
from vampnet.evaluation.mel import mel_error
from vampnet.evaluation.musical import (
    BEAT_TOLERANCE_S,
    chroma_correlation,
    f_measure,
    onset_correlation,
)
from vampnet.loudness import normalize
from vampnet.pipeline import Pipeline
from vampnet.presets import presets

PRESETS = ("small-variation", "medium-variation", "beat-variation", "compress", "fill-middle")
SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff"}


def clips(folder: Path, rate_hz: int, pieces: int, seconds: float) -> list[Tensor]:
    """One excerpt a file, a third into it, mono at -24 LUFS: float (1, 1, S) each."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        piece = audio.read(path)
        mono = audio.resample(piece.samples.mean(0, keepdim=True), piece.sample_rate, rate_hz)
        n = int(seconds * rate_hz)
        start = mono.shape[-1] // 3
        if mono.shape[-1] >= start + n:
            found.append(normalize(mono[:, start : start + n], rate_hz)[0][None])
        if len(found) == pieces:
            break
    if not found:
        raise SystemExit(f"no audio of {seconds:g} s in {folder}")
    return found


def figures(original: Tensor, beats_s: Sequence[float], made: Tensor, rate_hz: int) -> list[float]:
    """Mel error, chroma and onset correlation, beat F-measure of one clip."""
    a, b = original[0, 0], made[0, 0]
    return [
        mel_error(a, b, rate_hz),
        chroma_correlation(a, b, rate_hz),
        onset_correlation(a, b, rate_hz),
        f_measure(beats_s, track(b, rate_hz).times_s, BEAT_TOLERANCE_S),
    ]


def row(name: str, values: list[list[float]]) -> None:
    """One line of the table: the mean over the clips."""
    means = torch.tensor(values).mean(0).tolist()
    print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in means) + " |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--pieces", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    pipeline = Pipeline.load(options.model)
    codec, rate_hz = pipeline.codec, pipeline.codec.sample_rate
    pieces = clips(options.folder, rate_hz, options.pieces, options.seconds)
    n = pieces[0].shape[-1]
    coded = [codec.encode(p) for p in pieces]
    beats = [track(p[0, 0], rate_hz).times_s for p in pieces]
    print(f"{len(pieces)} clips of {options.seconds:g} s\n")
    print("| what | mel error | chroma | onsets | beat F |\n| --- | --- | --- | --- | --- |")
    n_coarse = pipeline.coarse.config.n_codebooks
    for depth in (codec.n_codebooks, n_coarse):
        made = [codec.decode(c[:, :depth], n) for c in coded]
        scores = [figures(p, b, m, rate_hz) for p, b, m in zip(pieces, beats, made, strict=True)]
        row(f"codec, {depth} codebooks", scores)
    known = presets()
    for name in PRESETS:
        runs: dict[str, list[list[float]]] = {"model": [], "hold": [], "random": []}
        for piece, heard, codes in zip(pieces, beats, coded, strict=True):
            vamp = pipeline.vamp(piece, known[name].prompt, known[name].sampling, seed=1)
            mask = vamp.mask[None]
            noise = random_tokens(codes, mask, codec.vocab_size, torch.Generator().manual_seed(1))
            held = hold_last(codes, mask)
            made = {
                "model": vamp.audio,
                "hold": codec.decode(held, n),
                "random": codec.decode(noise, n),
            }
            for kind, sound in made.items():
                runs[kind].append(figures(piece, heard, sound, rate_hz))
        for kind, scores in runs.items():
            row(f"{name}: {kind}", scores)


if __name__ == "__main__":
    main()
