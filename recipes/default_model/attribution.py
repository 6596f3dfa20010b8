"""ATTRIBUTION.md: the authors and licences of the music that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from recipes.default_model import sources

LINKS = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
    "CC-BY-SA-3.0+": "https://creativecommons.org/licenses/by-sa/3.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "MIT": "https://spdx.org/licenses/MIT.html",
    "BSD-3-Clause": "https://spdx.org/licenses/BSD-3-Clause.html",
}
HEAD = """\
# Weights of the embedded default

`codec.safetensors`, `coarse.safetensors`, `c2f.safetensors`: trained for this package, from random
weights.
Licence: **Creative Commons Attribution-ShareAlike 4.0 International** (CC BY-SA 4.0),
<https://creativecommons.org/licenses/by-sa/4.0/>. It does not apply to
the code of the package.

Changes: the music was decoded, resampled to 44.1 kHz, mixed to one channel, set to -24 LUFS and
analysed; the weights are the result of a training on it. Every file came from a Debian package,
whose licence statements were read file by file; each file's SHA-256 is in the manifest,
`docs/training-data.csv`.
"""


def _groups(entries: Iterable[dict]) -> dict[tuple[str, str, str, str], list[dict]]:
    found: dict[tuple[str, str, str, str], list[dict]] = {}
    for e in entries:
        found.setdefault((e["package"], e["version"], e["artist"], e["licence"]), []).append(e)
    return found


def _section(title: str, entries: Sequence[dict]) -> list[str]:
    minutes = sum(e["seconds"] for e in entries) / 60
    lines = [f"## {title}", "", f"{minutes:.1f} minutes, {len(entries)} files.", ""]
    for (package, version, artist, licence), files in _groups(entries).items():
        link = f" <{LINKS[licence]}>" if licence in LINKS else ""
        length = sum(e["seconds"] for e in files) / 60
        names = [e["name"].split("/", 1)[-1] for e in files]
        what = ", ".join(f"`{n}`" for n in names)
        if names[0][:4].isdigit():  # composed pieces have numbers instead of titles
            what = f"{len(names)} pieces, {names[0][:4]} to {names[-1][:4]}"
        by = f"**{artist}**, {licence}{link}: {length:.1f} minutes from `{package}` {version}"
        lines.append(f"- {by}: {what}")
    return [*lines, ""]


def attribution(entries: Sequence[dict]) -> str:
    """Return the text for a manifest's entries: trained on, held out, omitted."""
    kept = [e for e in entries if e["split"] == sources.TRAIN]
    held = [e for e in entries if e["split"] in (sources.HELD_OUT, sources.LOOPS, sources.TEST)]
    lines = [HEAD, *_section("Trained on", kept)]
    if held:
        lines += _section("Held out, used for the published figures", held)
    reasons: dict[tuple[str, str], list[str]] = {}
    for e in entries:
        if e["split"] == sources.LEFT_OUT:
            package, name = e["name"].split("/", 1)
            reasons.setdefault((package, e["why"]), []).append(f"`{name}`")
    if reasons:
        lines += ["## Left out", ""]
        lines += [f"- `{p}`, {why}: {', '.join(names)}" for (p, why), names in reasons.items()]
    return "\n".join(lines).rstrip() + "\n"
