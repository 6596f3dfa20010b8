"""Scores with intervals from results: means over clips, distances between sets, differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from vampnet.evaluation.embeddings import LevelEmbedding
from vampnet.evaluation.frechet import (
    MIN_REAL_CLIPS,
    PrincipalAxes,
    bandwidth,
    frechet_at_infinity,
    kernel_distance,
)
from vampnet.evaluation.intervals import Estimate, jackknife
from vampnet.evaluation.runs import Result, Trial

FRECHET, KERNEL = "frechet:", "kernel:"  # prefixes of an embedding's name: measures of sets
SPLITS = 40  # random halves of the real music that determine the noise floor
MISSING = Estimate(math.nan, math.nan)


class Scores:
    """Scores of settings, by the names of setting and measure.

    A measure is one of `compare`'s (a mean over clips), or "frechet:" or "kernel:" followed by the
    name of an embedding (a distance between generated audio and real music).
    """

    def __init__(self, results: Mapping[Trial, Result]):
        self.made: dict[str, dict[int, list[Result]]] = {}
        self.real: dict[int, dict[str, Tensor]] = {}
        self._real_names: set[str] = set()
        for trial, result in results.items():
            if trial.setting.source == "real":
                self.real[trial.clip.number] = result.points
                self._real_names.add(trial.setting.name)
            takes = self.made.setdefault(trial.setting.name, {})
            takes.setdefault(trial.clip.number, []).append(result)
        self._cache: dict[tuple[str, str], Estimate] = {}  # shared by tables, plots and relations
        self.embeddings = tuple(next(iter(self.real.values()), {}))
        self.networks = tuple(name for name in self.embeddings if name != LevelEmbedding.name)
        every = {name: self._all_real(name) for name in self.embeddings}
        self._axes = {name: PrincipalAxes.of(points) for name, points in every.items()}
        self.n_axes = {name: axes.directions.shape[1] for name, axes in self._axes.items()}
        self._width = {name: bandwidth(points) for name, points in every.items()}

    def _all_real(self, embedding: str) -> Tensor:
        return torch.cat([points[embedding] for points in self.real.values()])

    def estimate(self, setting: str, measure: str) -> Estimate:
        """Estimate a measure of a setting with its interval; nan where it was not measured."""
        clips = self._measured(setting, measure)
        if not clips:
            return MISSING
        if (setting, measure) not in self._cache:
            if ":" in measure and setting in self._real_names:
                found = self.floor(measure)
            else:
                figure = self._figure(setting, measure, clips)
                found = jackknife(self._varied(clips, measure), figure)
            self._cache[setting, measure] = found
        return self._cache[setting, measure]

    def difference(self, first: str, second: str, measure: str) -> Estimate:
        """Estimate ``first`` minus ``second`` on the clips that both have.

        Distances compare both with the same real clips in the same resamples, so that common
        variation cancels.
        """
        clips = sorted({*self._measured(first, measure)} & {*self._measured(second, measure)})
        if not clips:
            return MISSING
        one, other = (self._figure(name, measure, clips) for name in (first, second))
        varied = self._varied(clips, measure)
        return jackknife(varied, lambda some: one(some) - other(some))

    def floor(self, measure: str) -> Estimate:
        """Noise floor of a distance: one half of the real music compared with the other half.

        The interval covers 95 % of random halves.
        """
        kind, _, embedding = measure.partition(":")
        order = sorted(self.real)
        axes = self._axes[embedding]
        projected = [axes(self.real[c][embedding]) for c in order]
        found = []
        for seed in range(SPLITS):
            if kind + ":" == FRECHET:
                found.append(frechet_at_infinity(projected, range(len(order)), projected, 1, seed))
                continue
            mixed = torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))
            one, other = ([order[i] for i in half] for half in mixed.chunk(2))
            made = [(c, self.real[c][embedding]) for c in one]
            found.append(self._kernel(embedding, made, set(other)))
        values = torch.tensor(found)
        return Estimate(float(values.mean()), 1.96 * float(values.std()))

    def n_clips(self, setting: str) -> int:
        """Number of clips that a setting was run on."""
        return len(self.made.get(setting, ()))

    def _measured(self, setting: str, measure: str) -> list[int]:
        """Clips whose measure is not nan, in order."""
        takes = self.made.get(setting, {})
        if ":" in measure:
            return sorted(takes) if len(takes) > 1 else []
        return sorted(c for c, results in takes.items() if not math.isnan(_mean(results, measure)))

    def _varied(self, clips: Sequence[int], measure: str) -> Sequence[int]:
        """Clips that a jackknife leaves out: ``clips``, or all clips for a distance, because the
        real music that it is compared with is a sample as well."""
        return sorted(self.real) if ":" in measure else clips

    def _figure(
        self, setting: str, measure: str, clips: Sequence[int]
    ) -> Callable[[Sequence[int]], float]:
        """A setting's measure on ``clips`` as a function of the clips that are not left out.

        A distance is taken to the real music of all remaining clips; nan where too few remain.
        """
        takes = self.made[setting]
        kind, colon, embedding = measure.partition(":")
        if not colon:
            return lambda some: sum(_mean(takes[c], measure) for c in some) / len(some)
        distance = self._frechet if kind + colon == FRECHET else self._kernel

        def figure(some: Sequence[int]) -> float:
            left = set(some)
            made = [(c, r.points[embedding]) for c in clips if c in left for r in takes[c]]
            if len(left) < MIN_REAL_CLIPS or len({c for c, _ in made}) < 2:
                return math.nan
            return distance(embedding, made, left)

        return figure

    def _frechet(self, embedding: str, made: list, left: set[int]) -> float:
        axes, order = self._axes[embedding], sorted(self.real)
        place = {
            c: i for i, c in enumerate(order)
        }  # resamples use this index, not the clip's number
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
    """Mean over the takes whose measure is not nan; nan where there are none."""
    values = [r.figures.get(measure, math.nan) for r in results]
    values = [v for v in values if v is not None and not math.isnan(v)]
    return sum(values) / len(values) if values else math.nan
