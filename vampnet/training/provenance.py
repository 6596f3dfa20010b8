"""Provenance of a training run: a work folder is resumed with the same base and music only.

``run.json`` in the work folder records both; options that may change from run to run (steps,
minutes, rates, windows) are not recorded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vampnet import checkpoints
from vampnet.checkpoints.folders import ATTRIBUTION, CONFIG
from vampnet.system.atomic_file import atomic_path
from vampnet.system.errors import UserError
from vampnet.training import datapack
from vampnet.training.data import MANIFEST, music_files, packed_names

RUN = "run.json"
UNSTATED = "unstated"  # licence of a model that does not state one
FROM_NOTHING = {"name": "none", "sha256": ""}
_JSON_FIELDS = ("name", "licence", "credit", "facts")  # of a Provenance, in a data pack
# results that a run resumes from; music that is only packed can be packed again
_RESULTS = (f"codec/{CONFIG}", "train.tokens", "codec/state.pt", "coarse/state.pt", "c2f/state.pt")
_PACKED = f"pack/{MANIFEST}"


@dataclass(frozen=True)
class Provenance:
    """The base model of a training and the terms of its use.

    Attributes:
        name: of the model.
        parts: its models; None where only the terms are known.
        licence: of its weights.
        credit: its attribution text, "" = none.
        facts: entries of its metadata on its own training.
    """

    name: str
    parts: checkpoints.ModelParts | None
    licence: str
    credit: str
    facts: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return all but the parts, as JSON values, for :func:`provenance_in_datapack`."""
        return {name: getattr(self, name) for name in _JSON_FIELDS}


def load_base(base: str | Path) -> Provenance:
    """Load the model of a name or folder. Raises CheckpointError where there is none."""
    parts = checkpoints.load_folder(checkpoints.resolve(base))
    return replace(provenance_of(base), parts=parts)


def provenance_of(base: str | Path) -> Provenance:
    """Return the terms of a model, without its parts; CheckpointError where there is none."""
    folder = checkpoints.resolve(base)
    known = str(base) in checkpoints.models()
    metadata = checkpoints.read_metadata(folder)
    notes = folder / ATTRIBUTION
    return Provenance(
        str(base) if known else folder.resolve().name,
        None,
        metadata.get("licence", UNSTATED),
        notes.read_text(encoding="utf-8") if notes.is_file() else "",
        {key: metadata[key] for key in ("training_tokens_sha256", "base") if key in metadata},
    )


def provenance_in_datapack(file: Path) -> Provenance | None:
    """Return the terms of the model whose codec a data pack has; None where it has no terms.

    Raises:
        UserError: where the file is not a data pack.
    """
    content = datapack.read_base(file)
    if content is None:
        return None
    if not isinstance(content, dict) or not content.keys() >= set(_JSON_FIELDS):
        raise UserError(f"{file} is not a data pack: {datapack.BASE} lacks one of {_JSON_FIELDS}")
    name, licence, credit, facts = (content[key] for key in _JSON_FIELDS)
    return Provenance(name, None, licence, credit, facts)


def licence_metadata(licence: str, start: Provenance | None) -> dict[str, Any]:
    """Return metadata for the trained weights: their licence, and the base with its licence.

    Args:
        licence: as stated by the user; "" = the base's.
        start: the base; None = trained from random weights.
    """
    if start is None:
        return {"licence": licence or UNSTATED}
    base = {"name": start.name, "licence": start.licence, **start.facts}
    return {"licence": licence or start.licence, "base": base}


def run_origin(music: Path, start: Provenance | None, held_out: Sequence[str]) -> dict[str, Any]:
    """Return what determines codes and initial weights, as JSON values, independent of paths.

    Runs are compared by the hash of the base's weights; its name is for messages.

    Args:
        music: a folder of audio files, a prepared set or a data pack.
        start: the base; None = random weights.
        held_out: the held-out words.

    Raises:
        UserError: where no music is found.
    """
    base = (
        {"name": start.name, "sha256": _digest(start.parts)}
        if start and start.parts
        else FROM_NOTHING
    )
    return {"base": base, "music": _music(music), "held-out words": sorted(held_out)}


def check_run(work: Path, now: dict[str, Any], log: Callable[[object], None]) -> None:
    """Record the origin of a new run, or check that it equals that of the work folder's run.

    Where nothing is fitted or trained yet, the run starts again and its music is packed again. A
    folder of an earlier version, without a record, is accepted unless its pieces differ. Both are
    logged.

    Args:
        work: the work folder.
        now: from :func:`run_origin`.
        log: gets the lines.

    Raises:
        UserError: names the differences.
    """
    file, packed = work / RUN, work / _PACKED
    started = any((work / name).is_file() for name in _RESULTS)
    if started or packed.is_file():
        if file.is_file():
            differences = " and ".join(_differences(_read(file), now))
            if not differences:
                return
            if started:
                raise UserError(f"'{work}' has a run with {differences}; use another work folder")
            log(f"'{work}' has a run with {differences}; nothing is trained yet, so it restarts")
            if "files" in now["music"]:  # a prepared set may be this folder and must stay
                packed.unlink(missing_ok=True)
        else:
            _check_names(work, now["music"])
            log(f"'{work}' has no record of its music and base; assuming these")
    work.mkdir(parents=True, exist_ok=True)
    with atomic_path(file) as part:
        part.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")


def _music(music: Path) -> dict[str, Any]:
    """The hash of a data pack or set; for a folder of audio files, size and time of each."""
    for file in (music, music / MANIFEST):
        if file.is_file():
            return {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    if not music.is_dir():
        raise UserError(f"no music at '{music}': not a folder, not a data pack")
    files = {}
    for file in music_files(music):
        facts = file.stat()
        files[file.relative_to(music).as_posix()] = [facts.st_size, int(facts.st_mtime)]
    return {"files": files}


def _digest(parts: checkpoints.ModelParts) -> str:
    found = hashlib.sha256()
    for part in (parts.codec, parts.coarse, parts.c2f):
        for name, value in part.state_dict().items() if part is not None else ():
            found.update(name.encode())
            found.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {name: found[name] for name in ("base", "music", "held-out words")}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} cannot be read: {error!r}") from None


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Texts on what the recorded run has and the new one does not."""
    found = []
    if then["base"]["sha256"] != now["base"]["sha256"]:
        names = then["base"]["name"], now["base"]["name"]
        other = "of the same name" if names[0] == names[1] else f"instead of '{names[1]}'"
        found.append(f"the base '{names[0]}' {other}")
    if then["music"] != now["music"]:
        files, ours = then["music"].get("files", {}), now["music"].get("files", {})
        changed = sorted(n for n in {*files, *ours} if files.get(n) != ours.get(n))
        text = "other music"
        if files and ours:
            text += f" (differing files: {len(changed)}, first '{changed[0]}')"
        found.append(text)
    if then["held-out words"] != now["held-out words"]:
        words = [", ".join(each["held-out words"]) or "none" for each in (then, now)]
        found.append(f"the held-out words {words[0]} instead of {words[1]}")
    return found


def _check_names(work: Path, music: dict[str, Any]) -> None:
    """Raise UserError unless every packed piece is one of the music's files."""
    manifest = work / "pack" / MANIFEST
    if "files" not in music or not manifest.is_file():
        return
    for name in packed_names(manifest.parent):
        if name not in music["files"]:
            raise UserError(
                f"'{work}' has a run with other music (it has '{name}'); use another work folder"
            )


def combined_attribution(name: str, licence: str, base: str, music: str) -> str:
    """Return the attribution of fine-tuned weights: the base model's text, then the music's.

    Args:
        name, licence: of the base model.
        base: its attribution, "" = none.
        music: attribution of the music, "" = none.
    """
    if not base:
        return music
    head = f"# Fine-tuned from '{name}'\n\n"
    head += f"These weights were trained from those of the model '{name}'"
    head += f" (licence: {licence}). Its attribution:\n\n"
    tail = f"\n# Music of the fine-tuning\n\n{music}" if music else ""
    return head + base.rstrip() + "\n" + tail
