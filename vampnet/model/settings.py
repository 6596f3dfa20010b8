"""Settings of iterative parallel decoding."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from vampnet.system.errors import UserError
from vampnet.system.settings_table import setting

MAX_STEPS = 1000
MIN_TEMPERATURE = 1e-20  # below, only the argmax can be sampled, and a quotient may overflow


@dataclass(frozen=True)
class Sampling:
    """How the masked positions are sampled.

    Attributes:
        steps: passes of the coarse model.
        fine_steps: passes of the coarse-to-fine model.
        temperature: of the token distribution; 0 (and values below 1e-20) takes the argmax.
        mask_temperature: scale of the annealed Gumbel noise in the confidence; larger = more
            random order.
        typical_mass: probability mass kept by typical filtering, 0..1; 0 = off.
        typical_min_tokens: tokens that typical filtering keeps at least.
        top_p: probability mass of nucleus sampling, 0..1; 0 = off.
        sample_cutoff: share of the passes that sample, 0..1; later ones take the argmax. The last
            pass keeps every token it samples (a quarter of the positions with 6 passes), so with
            few passes a cutoff removes the worst samples.
        by_codebook: unmask every position of a codebook before any of the next one, which refines
            it, as SoundStorm does (arXiv 2305.09636, section 3.3); otherwise the most confident
            tokens of all codebooks come first.
        mean_pull: how far a sampled token is moved towards the expected vector, 0..1; see
            ``logit_filters.pull_to_mean``.
    """

    steps: int = setting(24, "N", "passes of the coarse model; more: slower, often cleaner")
    fine_steps: int = setting(2, "N", "passes of the coarse-to-fine model")
    temperature: float = setting(
        1.0, "X", "below 1 tamer, above 1 wilder; 0 = the most probable token"
    )
    mask_temperature: float = setting(
        10.5, "X", "how random the order is in which tokens are fixed"
    )
    typical_mass: float = setting(0.0, "SHARE", "0 to 1: mass of typical filtering; 0 = off")
    typical_min_tokens: int = setting(64, "N", "least number of tokens after typical filtering")
    top_p: float = setting(
        0.0, "SHARE", "0 to 1: only the most probable tokens of this mass; 0 = off"
    )
    sample_cutoff: float = setting(
        1.0, "SHARE", "0 to 1: passes after this share take the most probable token"
    )
    by_codebook: bool = setting(
        False, "", "one codebook after the other, each refining those before"
    )
    mean_pull: float = setting(
        0.0, "SHARE", "0 to 1: steadier, tokens are nearer to the expected sound"
    )

    def __post_init__(self) -> None:
        check_setting("steps", self.steps, 1, MAX_STEPS)
        check_setting("fine_steps", self.fine_steps, 1, MAX_STEPS)
        check_setting("temperature", self.temperature, 0.0, 100.0)
        check_setting("mask_temperature", self.mask_temperature, 0.0, 1000.0)
        check_setting("typical_mass", self.typical_mass, 0.0, 1.0)
        check_setting("typical_min_tokens", self.typical_min_tokens, 1, 1_000_000)
        check_setting("top_p", self.top_p, 0.0, 1.0)
        check_setting("sample_cutoff", self.sample_cutoff, 0.0, 1.0)
        check_setting("mean_pull", self.mean_pull, 0.0, 1.0)
        if not isinstance(self.by_codebook, bool):
            raise UserError(f"by_codebook is {self.by_codebook!r}; it must be True or False")
        if self.temperature < MIN_TEMPERATURE:
            object.__setattr__(self, "temperature", 0.0)


def check_setting(name: str, value: Any, low: float, high: float) -> None:
    """Raise UserError for a value of another type than ``low`` or outside ``low`` to ``high``."""
    whole = isinstance(low, int)
    kind: Any = Integral if whole else Real
    if isinstance(value, bool) or not isinstance(value, kind):
        words = "whole number" if whole else "number"
        raise UserError(f"{name} is {value!r}; it must be a {words} from {low} to {high}")
    if not low <= value <= high:
        raise UserError(f"{name} is {value}; allowed is {low} to {high}")
