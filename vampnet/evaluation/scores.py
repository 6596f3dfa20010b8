"""From results to figures with intervals: means over clips, distances between sets, differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from vampnet.evaluation.embeddings import LevelEmbedding
from vampnet.evaluation.frechet import (
    LEAST_REAL,
    Axes,
    bandwidth,
    frechet_at_infinity,
    kernel_distance,
)
from vampnet.evaluation.intervals import Estimate, jackknife
from vampnet.evaluation.runs import Job, Result

FRECHET, KERNEL = "frechet:", "kernel:"  # before an embedding's name: a measure of a set
SPLITS = 40  # random halves of the real music that tell the floor
NOTHING = Estimate(math.nan, math.nan)


class Scores:
    """Figures of settings, by the setting's and the measure's name.

    A measure is one of `compare`'s (a mean over clips), or "frechet:" or "kernel:" and the name of
    an embedding (a distance between what was made and the real music).
    """

    def __init__(self, results: Mapping[Job, Result]):
        self.made: dict[str, dict[int, list[Result]]] = {}
        self.real: dict[int, dict[str, Tensor]] = {}
        self._real_names: set[str] = set()
        for job, result in results.items():
            if job.setting.source == "real":
                self.real[job.clip.number] = result.points
                self._real_names.add(job.setting.name)
            takes = self.made.setdefault(job.setting.name, {})
            takes.setdefault(job.clip.number, []).append(result)
        self._told: dict[tuple[str, str], Estimate] = {}  # tables, plots and relations ask the same
        self.embeddings = tuple(next(iter(self.real.values()), {}))
        self.networks = tuple(name for name in self.embeddings if name != LevelEmbedding.name)
        every = {name: self._all_real(name) for name in self.embeddings}
        self._axes = {name: Axes.of(points) for name, points in every.items()}
        self.n_axes = {name: axes.directions.shape[1] for name, axes in self._axes.items()}
        self._width = {name: bandwidth(points) for name, points in every.items()}

    def _all_real(self, embedding: str) -> Tensor:
        return torch.cat([points[embedding] for points in self.real.values()])

    def estimate(self, setting: str, measure: str) -> Estimate:
        """A setting's figure with its interval; nan where it was not measured."""
        clips = self._measured(setting, measure)
        if not clips:
            return NOTHING
        if (setting, measure) not in self._told:
            if ":" in measure and setting in self._real_names:
                told = self.floor(measure)
            else:
                figure = self._figure(setting, measure, clips)
                told = jackknife(self._varied(clips, measure), figure)
            self._told[setting, measure] = told
        return self._told[setting, measure]

    def difference(self, first: str, second: str, measure: str) -> Estimate:
        """``first`` minus ``second`` on the clips that both have, with its interval.

        Distances hold both against the same real clips, in the same draws: what both have alike
        adds nothing.
        """
        clips = sorted({*self._measured(first, measure)} & {*self._measured(second, measure)})
        if not clips:
            return NOTHING
        one, other = (self._figure(name, measure, clips) for name in (first, second))
        varied = self._varied(clips, measure)
        return jackknife(varied, lambda some: one(some) - other(some))

    def floor(self, measure: str) -> Estimate:
        """What the real music scores against its other half: the least that can be told apart.

        The interval covers 95 % of random halves.
        """
        kind, _, embedding = measure.partition(":")
        order = sorted(self.real)
        axes = self._axes[embedding]
        seen = [axes(self.real[c][embedding]) for c in order]
        found = []
        for seed in range(SPLITS):
            if kind + ":" == FRECHET:
                found.append(frechet_at_infinity(seen, range(len(order)), seen, 1, seed))
                continue
            mixed = torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))
            one, other = ([order[i] for i in half] for half in mixed.chunk(2))
            made = [(c, self.real[c][embedding]) for c in one]
            found.append(self._kernel(embedding, made, set(other)))
        values = torch.tensor(found)
        return Estimate(float(values.mean()), 1.96 * float(values.std()))

    def n_clips(self, setting: str) -> int:
        """How many clips a setting was run on."""
        return len(self.made.get(setting, ()))

    def _measured(self, setting: str, measure: str) -> list[int]:
        """Clips with a number for this measure, in order."""
        takes = self.made.get(setting, {})
        if ":" in measure:
            return sorted(takes) if len(takes) > 1 else []
        return sorted(c for c, results in takes.items() if not math.isnan(_mean(results, measure)))

    def _varied(self, clips: Sequence[int], measure: str) -> Sequence[int]:
        """What a jackknife leaves out in turn: ``clips``; of a distance, every clip, for the real
        music that it is taken to is a draw as well."""
        return sorted(self.real) if ":" in measure else clips

    def _figure(
        self, setting: str, measure: str, clips: Sequence[int]
    ) -> Callable[[Sequence[int]], float]:
        """A setting's figure on ``clips`` as a function of the clips that are not left out.

        A distance is to the real music of all that are not; nan where too few are.
        """
        takes = self.made[setting]
        kind, colon, embedding = measure.partition(":")
        if not colon:
            return lambda some: sum(_mean(takes[c], measure) for c in some) / len(some)
        distance = self._frechet if kind + colon == FRECHET else self._kernel

        def figure(some: Sequence[int]) -> float:
            left = set(some)
            made = [(c, r.points[embedding]) for c in clips if c in left for r in takes[c]]
            if len(left) < LEAST_REAL or len({c for c, _ in made}) < 2:
                return math.nan
            return distance(embedding, made, left)

        return figure

    def _frechet(self, embedding: str, made: list, left: set[int]) -> float:
        axes, order = self._axes[embedding], sorted(self.real)
        place = {c: i for i, c in enumerate(order)}  # draws go by it, and not by the clip's number
        return frechet_at_infinity(
            [axes(points) for _, points in made],
            [place[c] for c, _ in made],
            [axes(self.real[c][embedding]) for c in order],
            without=[place[c] for c in order if c not in left],
        )

    def _kernel(self, embedding: str, made: list, left: set[int]) -> float:
        real = [(c, points[embedding]) for c, points in self.real.items() if c in left]
        places = [torch.cat([torch.full((len(p),), c) for c, p in some]) for some in (made, real)]
        points = [torch.cat([p for _, p in some]) for some in (made, real)]
        return kernel_distance(points[0], places[0], points[1], places[1], self._width[embedding])


def _mean(results: Sequence[Result], measure: str) -> float:
    """Mean over the takes that have the measure; nan where none has."""
    values = [r.figures.get(measure, math.nan) for r in results]
    values = [v for v in values if v is not None and not math.isnan(v)]
    return sum(values) / len(values) if values else math.nan
