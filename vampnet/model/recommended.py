"""Recommended sampling: the settings a model was tuned with, which travel with the model.

A model folder's ``config.json`` holds them under ``sampling``, as transformers' models carry a
``generation_config.json``. Besides the default there are profiles for kinds of prompts that need
other settings; a preset names the profile of its prompt. Models without such an entry, including
the original VampNet's files, take the settings of the paper's authors (:data:`FAMILY`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from vampnet.model import Sampling
from vampnet.system.errors import UserError

# Kinds of prompts, besides the default (something is kept throughout).
PROFILES = {
    "sparse": "little is kept throughout",
    "gaps": "long spans without anything kept",
    "unprompted": "nothing is kept",
}


@dataclass(frozen=True)
class RecommendedSampling:
    """Sampling settings of a model.

    Attributes:
        default: for prompts that keep something throughout.
        profiles: for each kind of prompt in :data:`PROFILES`, the fields that differ.
        source: "model" or "family".
    """

    default: Sampling = field(default_factory=Sampling)
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    source: str = "family"

    def resolve(self, profile: str = "", *overrides: Mapping[str, Any]) -> Sampling:
        """Return the settings of a profile with ``overrides`` on top, the last one winning.

        Args:
            profile: a key of :data:`PROFILES`, or "" for the default.
            overrides: values by field name.

        Raises:
            UserError: for an unknown profile or field, and for a value out of range.
        """
        check_profile(profile)
        merged = dict(self.profiles.get(profile, {}))
        for override in overrides:
            merged |= check_fields(override)
        return replace(self.default, **merged)

    def to_config(self) -> dict[str, Any]:
        """Return the entry for ``config.json``: only what differs from the class's defaults."""
        standard = asdict(Sampling())
        changed = {k: v for k, v in asdict(self.default).items() if v != standard[k]}
        return {"default": changed, "profiles": {k: dict(v) for k, v in self.profiles.items()}}

    @classmethod
    def from_config(cls, entry: object) -> RecommendedSampling:
        """Read the entry of ``config.json``; None gives :data:`FAMILY`.

        Raises:
            UserError: for an entry of another form, an unknown profile or field, and a value out of
                range.
        """
        if entry is None:
            return FAMILY
        if not isinstance(entry, Mapping) or not set(entry) <= {"default", "profiles"}:
            raise UserError(f"sampling is {entry!r:.80}; it holds 'default' and 'profiles'")
        default, profiles = entry.get("default", {}), entry.get("profiles", {})
        if not isinstance(profiles, Mapping):
            raise UserError(f"profiles is {profiles!r:.80}; it must be a table")
        recommended = cls(
            Sampling(**check_fields(default)),
            {check_profile(name): check_fields(values) for name, values in profiles.items()},
            "model",
        )
        for name in recommended.profiles:
            recommended.resolve(name)
        return recommended


def check_profile(name: object) -> str:
    """Return the name of a profile, "" being the default; UserError for any other."""
    if not isinstance(name, str) or (name and name not in PROFILES):
        raise UserError(f"profile is {name!r}; allowed is one of {', '.join(PROFILES)}")
    return name


def check_fields(values: object) -> dict[str, Any]:
    """Return settings by name as a dictionary; UserError for names that Sampling lacks."""
    known = [f.name for f in fields(Sampling)]
    if not isinstance(values, Mapping):
        raise UserError(f"sampling is {values!r:.80}; it must map names to values")
    for name in values:
        if name not in known:
            raise UserError(f"no sampling setting {name!r}; there are {', '.join(known)}")
    return dict(values)


FAMILY = RecommendedSampling()
