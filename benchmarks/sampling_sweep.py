"""Compare sampling settings on the same music, masks and seeds, at several numbers of steps.

    python benchmarks/sampling_sweep.py MUSIC OUT --way sample_cutoff=0.8
    python benchmarks/sampling_sweep.py MUSIC OUT --steps 6 12 --way temperature=0.6,top_p=0.9

--way overrides fields of the recommended ``Sampling``, which is always included. Prints a Markdown
table for each prompt: every measure, then its difference from the recommended settings with as many
steps, with half of its 95 % interval (jackknife over clips); * = significant. The recommended rows
are compared with --against steps. MUSIC: a folder of held-out music. OUT: a folder for cached
results, so that a later run computes only what is new.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

import torch

from vampnet.evaluation.clips import cut_clips
from vampnet.evaluation.experiments import Experiment, Setting
from vampnet.evaluation.intervals import Estimate
from vampnet.evaluation.report import markdown_table
from vampnet.evaluation.runs import EvaluationRunner, model_hash, run_all, trials_of
from vampnet.evaluation.scores import FRECHET, KERNEL, Scores
from vampnet.evaluation.suite import SAMPLING_PRESET
from vampnet.model import Sampling
from vampnet.pipeline import Pipeline
from vampnet.presets import presets
from vampnet.prompt import Prompt

PLAIN = "as the presets"
MEASURES = (  # name, heading, digits
    ("mel", "mel error ↓", 3),
    ("chroma", "chroma ↑", 3),
    ("onsets", "onsets ↑", 3),
    (FRECHET + "musicnn", "Frechet, musicnn ↓", 1),
    (KERNEL + "musicnn", "kernel, musicnn ↓", 1),
    (FRECHET + "levels", "Frechet, full band ↓", 2),
)


def way(text: str, plain: Sampling) -> Sampling:
    """Override fields of ``plain``, given as "temperature=0.6,mask_temperature=1"."""
    values = {}
    kinds = {field.name: type(field.default) for field in fields(Sampling)}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in kinds:
            raise ValueError(f"'{name}' is not a field of Sampling; allowed: {', '.join(kinds)}")
        values[name] = kinds[name](value)
    return replace(plain, **values)


def settings(
    ways: dict[str, Sampling], steps: list[int], period: int, n_coarse: int
) -> list[Setting]:
    """List all sampling settings at all numbers of steps, with the paper's periodic prompt."""
    prompt = Prompt(period=period, codebooks_kept=n_coarse)
    return [
        Setting(_name(text, n, period), "vamp", prompt, replace(sampling, steps=n))
        for n in steps
        for text, sampling in ways.items()
    ]


def _name(text: str, steps: int, period: int) -> str:
    return f"{text}, {steps} steps, periodic {period}"


def table(
    scores: Scores, ways: list[str], steps: list[int], period: int, against: int
) -> list[str]:
    """Format the Markdown table of a prompt, one string per line."""
    heads = ["steps", "way", *(head for _, head, _ in MEASURES)]
    rows = []
    for n in steps:
        for text in ways:
            base = _name(PLAIN, against if text == PLAIN else n, period)
            row = [str(n), text if text == PLAIN else f"`{text}`"]
            for measure, _, digits in MEASURES:
                row.append(_cell(scores, _name(text, n, period), base, measure, digits))
            rows.append(row)
    return markdown_table(heads, rows)


def _cell(scores: Scores, name: str, base: str, measure: str, digits: int) -> str:
    value = scores.estimate(name, measure).value
    if name == base or not scores.n_clips(base):
        return f"{value:.{digits}f}"
    difference: Estimate = scores.difference(name, base, measure)
    clear = "*" if abs(difference.value) > difference.half else ""
    return (
        f"{value:.{digits}f} ({difference.value:+.{digits}f} ± {difference.half:.{digits}f}{clear})"
    )


def main() -> None:
    """Run what is not cached and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("music", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--way", action="append", default=[], metavar="FIELD=VALUE,...")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 6, 8, 12, 24])
    parser.add_argument("--periods", type=int, nargs="+", default=[16, 7])
    parser.add_argument("--against", type=int, default=12)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = Pipeline.from_pretrained(options.model, keep_weights=False)
    plain = pipeline.sampling_for(presets()[SAMPLING_PRESET])
    ways = {PLAIN: plain, **{text: way(text, plain) for text in options.way}}
    n_coarse = pipeline.coarse.config.n_codebooks
    clips = cut_clips(options.music, pipeline.codec.sample_rate, options.clips, options.seconds)
    asked = [Setting("real music", "real")]
    for period in options.periods:
        asked += settings(ways, options.steps, period, n_coarse)
    runner = EvaluationRunner(pipeline, model_hash(options.model), options.out)
    trials = trials_of([Experiment("ways", "", "", tuple(asked))], clips, options.seeds)
    scores = Scores(run_all(runner, trials, 1))
    for period in options.periods:
        print(f"\nperiodic {period}, {len(clips)} clips of {options.seconds:g} s\n")
        print("\n".join(table(scores, list(ways), options.steps, period, options.against)))


if __name__ == "__main__":
    main()
