"""The paper's findings as statistical relations: does each hold, fail, or is it open?

A relation holds where the whole interval of its difference is on the expected side, fails where the
whole interval is on the other side, and is open otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from vampnet.evaluation.embeddings import MusicnnEmbedding
from vampnet.evaluation.experiments import PERIODS, PROMPT_KINDS
from vampnet.evaluation.intervals import Estimate
from vampnet.evaluation.scores import FRECHET, Scores

Verdict = Literal["holds", "open", "fails"]
NEAR = 0.15  # share of the gain from 1 step to 12 that counts as close
AMONG_THE_LOWEST = 3
PLAIN = MusicnnEmbedding.name  # always measured, so claims name only the others


@dataclass(frozen=True)
class Relation:
    """A claim with its result.

    Attributes:
        claim: the claim in words.
        verdict: "holds", "open" or "fails".
        figures: the numbers behind the verdict.
    """

    claim: str
    verdict: Verdict
    figures: str


def relations(scores: Scores) -> list[Relation]:
    """Test every relation whose settings were measured; those of distances by each network."""
    by_network: list[Callable[[Scores, str], list[Relation]]] = [
        _steps,
        _against_noise,
        _near_beats,
    ]
    found = [*_periods(scores), *_bitrates(scores), *_beats(scores)]
    return found + [
        r for name in scores.networks for test in by_network for r in test(scores, name)
    ]


def above(difference: Estimate) -> Verdict:
    """Test whether the whole interval of a difference is above 0 ("fails": below 0)."""
    if math.isnan(difference.half):
        return "open"
    if difference.low > 0:
        return "holds"
    return "fails" if difference.high < 0 else "open"


def within(difference: Estimate, near: float) -> Verdict:
    """Test whether the whole interval of a difference is within -near..near."""
    if math.isnan(difference.half):
        return "open"
    if max(abs(difference.low), abs(difference.high)) <= near:
        return "holds"
    return "fails" if difference.low > near or difference.high < -near else "open"


def _every(verdicts: Sequence[str]) -> Verdict:
    """Combine verdicts: holds where all hold, fails where any fails."""
    return "fails" if "fails" in verdicts else "open" if "open" in verdicts else "holds"


def _text(difference: Estimate) -> str:
    return f"{difference.value:.3g} (±{difference.half:.2g})"


def _distance(embedding: str) -> str:
    return "Frechet distance" if embedding == PLAIN else f"Frechet distance by {embedding}"


def _steps(scores: Scores, embedding: str) -> list[Relation]:
    frechet, distance = FRECHET + embedding, _distance(embedding)
    if not (scores.n_clips("1 steps") and scores.n_clips("12 steps")):
        return []
    gain = scores.difference("1 steps", "12 steps", frechet)
    found = [
        Relation(f"{distance}: 1 step clearly worse than 12", above(gain),
                 f"1 minus 12 steps: {_text(gain)}")
    ]  # fmt: skip
    if scores.n_clips("36 steps"):
        rest = scores.difference("12 steps", "36 steps", frechet)
        near = NEAR * gain.value
        text = f"12 minus 36 steps: {_text(rest)}; "
        # "Close" is relative to the gain of 12 steps, so it needs a gain that is clear.
        text += f"close is ±{near:.2g}" if gain.low > 0 else "the gain is not clear"
        verdict = within(rest, near) if gain.low > 0 else "open"
        found.append(Relation(f"{distance}: 12 steps close to 36", verdict, text))
    return found


def _against_noise(scores: Scores, embedding: str) -> list[Relation]:
    frechet, found = FRECHET + embedding, []
    for noise in [name for name in scores.made if name.endswith(": random")]:
        prompt = noise.removesuffix(": random")
        if not scores.n_clips(prompt):
            continue
        gain = scores.difference(noise, prompt, frechet)
        claim = f"{_distance(embedding)}: {prompt} far below random tokens under the same mask"
        found.append(Relation(claim, above(gain), f"random minus model: {_text(gain)}"))
    return found


def _periods(scores: Scores) -> list[Relation]:
    names = [f"periodic {p}" for p in PERIODS]
    if not all(map(scores.n_clips, names)):
        return []
    steps = [scores.difference(b, a, "mel") for a, b in zip(names[:-1], names[1:], strict=True)]
    verdict = _every([above(step) for step in steps])
    means = " < ".join(f"{scores.estimate(name, 'mel').value:.3f}" for name in names)
    return [Relation("Mel error: periodic 8 < 16 < 32", verdict, means)]


def _bitrates(scores: Scores) -> list[Relation]:
    """Test along lines: more codebooks of the same frames, or more frames of the same codebooks.

    Settings of different lines are not compared: they differ in what the bits are spent on.
    """
    lines = _lines([n for n in scores.made if n.startswith("every ") and scores.n_clips(n)])
    rate = {n: scores.estimate(n, "bits_per_s").value for line in lines for n in line}
    drops = []
    for line in lines:
        ordered = sorted(line, key=lambda n: rate[n])
        drops += [
            scores.difference(a, b, "mel") for a, b in zip(ordered[:-1], ordered[1:], strict=True)
        ]
    if len(drops) < 2:
        return []
    low, high = min(rate, key=lambda n: rate[n]), max(rate, key=lambda n: rate[n])
    verdicts = [above(drop) for drop in drops]
    text = (
        f"from {rate[low]:.0f} to {rate[high]:.0f} bit/s it falls by "
        f"{_text(scores.difference(low, high, 'mel'))}; it falls clearly in "
        f"{verdicts.count('holds')} of {len(drops)} steps, rises clearly in "
        f"{verdicts.count('fails')}"
    )
    claim = "Mel error falls with bitrate, by more frames and by more codebooks"
    return [Relation(claim, _every(verdicts), text)]


def _lines(names: list[str]) -> list[list[str]]:
    """Group settings such as "every 4. frame, 2 codebooks" by equal frames and equal codebooks."""
    lines: dict[str, list[str]] = {}
    for name in names:
        for part in name.removesuffix("s").split(", "):
            lines.setdefault(part, []).append(name)
    return [line for line in lines.values() if len(line) > 1]


def _prompts(scores: Scores) -> tuple[str | None, list[str]]:
    """The beat-driven prompt (None where too few prompts were measured) and all prompts."""
    names = [n for n in scores.made if n.startswith(PROMPT_KINDS) and ":" not in n]
    beat = next((n for n in names if n.startswith("beat")), None)
    return (beat if len(names) >= 3 else None), names


def _beats(scores: Scores) -> list[Relation]:
    beat, names = _prompts(scores)
    if beat is None:
        return []
    others = [n for n in names if n != beat]
    best = max(others, key=lambda n: scores.estimate(n, "beat_f").value)
    lead = scores.difference(beat, best, "beat_f")
    text = f"ahead of the best other ({best}): {_text(lead)}"
    verdict = _every([above(scores.difference(beat, n, "beat_f")) for n in others])
    return [Relation("Beat F-measure: beat-driven keeps beats best", verdict, text)]


def _near_beats(scores: Scores, embedding: str) -> list[Relation]:
    (beat, names), frechet = _prompts(scores), FRECHET + embedding
    if beat is None or len(names) <= AMONG_THE_LOWEST:
        return []
    others = [n for n in names if n != beat]
    own = scores.estimate(beat, frechet).value
    place = 1 + sum(scores.estimate(n, frechet).value < own for n in others)
    sides = [above(scores.difference(n, beat, frechet)) for n in others]
    higher, lower = sides.count("holds"), sides.count("fails")
    # Prompts that are not clearly higher may be lower: at most 2 of them may remain.
    verdict: Verdict = "holds" if len(others) - higher < AMONG_THE_LOWEST else "open"
    verdict = "fails" if lower >= AMONG_THE_LOWEST else verdict
    text = f"place {place} of {len(names)}; clearly below {higher}, above {lower} of the others"
    claim = f"{_distance(embedding)} of beat-driven is among the lowest"
    return [Relation(f"{claim} {AMONG_THE_LOWEST}", verdict, text)]
