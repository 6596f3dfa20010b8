"""What a run was begun with: a work folder goes on from the same weights and music, or not at all.

``run.json`` in the work folder tells it; what may change from run to run (steps, minutes, rates,
windows) does not stand there.
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
from vampnet.system.atomic_file import whole_path
from vampnet.system.errors import UserError
from vampnet.training import datapack
from vampnet.training.data import MANIFEST, music_files, packed_names

RUN = "run.json"
UNSTATED = "unstated"  # a licence that nobody told
FROM_NOTHING = {"name": "none", "sha256": ""}
_TOLD = ("name", "licence", "credit", "facts")  # of a Start, in a data pack
# what a run keeps and would go on from; music that is only packed can be packed again
_KEPT = (f"codec/{CONFIG}", "train.tokens", "codec/state.pt", "coarse/state.pt", "c2f/state.pt")
_PACKED = f"pack/{MANIFEST}"


@dataclass(frozen=True)
class Start:
    """A model to go on from: its name, its parts, its licence, its attribution ("" = none told).

    parts: None where only the terms are known. facts: what its metadata tells of how it came about.
    """

    name: str
    parts: checkpoints.Parts | None
    licence: str
    credit: str
    facts: dict[str, Any]

    def told(self) -> dict[str, Any]:
        """All but the parts, as JSON values, for :func:`start_in`."""
        told = (self.name, self.licence, self.credit, self.facts)
        return dict(zip(_TOLD, told, strict=True))


def start_of(base: str | Path) -> Start:
    """The model of a name or folder. Raises CheckpointError where there is none."""
    parts = checkpoints.load_folder(checkpoints.resolve(base))
    return replace(told_of(base), parts=parts)


def told_of(base: str | Path) -> Start:
    """The terms of a model whose codec at least loads, without its parts."""
    folder = checkpoints.resolve(base)
    known = str(base) in checkpoints.models()
    told = checkpoints.metadata_of(folder)
    notes = folder / ATTRIBUTION
    return Start(
        str(base) if known else folder.resolve().name,
        None,
        told.get("licence", UNSTATED),
        notes.read_text(encoding="utf-8") if notes.is_file() else "",
        {key: told[key] for key in ("training_tokens_sha256", "base") if key in told},
    )


def start_in(file: Path) -> Start | None:
    """The terms of the model whose codec a data pack holds; None where it does not tell them.

    Raises ValueError where the file is no data pack.
    """
    told = datapack.base(file)
    if told is None:
        return None
    if not isinstance(told, dict) or not told.keys() >= set(_TOLD):
        raise UserError(f"{file} is no data pack: {datapack.BASE} does not tell {_TOLD}")
    name, licence, credit, facts = (told[key] for key in _TOLD)
    return Start(name, None, licence, credit, facts)


def terms(licence: str, start: Start | None) -> dict[str, Any]:
    """Metadata: the licence that was stated, or else the base's; beside it the base and its own."""
    if start is None:
        return {"licence": licence or UNSTATED}
    base = {"name": start.name, "licence": start.licence, **start.facts}
    return {"licence": licence or start.licence, "base": base}


def origin(music: Path, start: Start | None, held_out: Sequence[str]) -> dict[str, Any]:
    """The facts that decide codes and starting weights, as JSON values, wherever the folders lie.

    The base's name is told in errors, its weights are compared. Raises ValueError where there is
    no music.
    """
    base = (
        {"name": start.name, "sha256": _digest(start.parts)}
        if start and start.parts
        else FROM_NOTHING
    )
    return {"base": base, "music": _music(music), "held-out words": sorted(held_out)}


def check(work: Path, now: dict[str, Any], log: Callable[[object], None]) -> None:
    """Note what a run begins with, or see that it is what the work folder's run began with.

    Where nothing is fitted or trained yet, the run begins again and its music is packed again. A
    folder of an earlier version, which noted nothing, is taken up as far as nothing speaks against
    it. Both are logged. Raises ValueError that names what differs.
    """
    file, packed = work / RUN, work / _PACKED
    begun = any((work / name).is_file() for name in _KEPT)
    if begun or packed.is_file():
        if file.is_file():
            told = " and ".join(_differences(_read(file), now))
            if not told:
                return
            if begun:
                raise UserError(f"'{work}' holds a run from {told}; take another folder")
            log(f"'{work}' was begun with {told}; nothing is trained yet, so it begins again")
            if "files" in now["music"]:  # a set lies elsewhere, and may lie here
                packed.unlink(missing_ok=True)
        else:
            _check_names(work, now["music"])
            log(f"'{work}' does not tell what its run began with; taken to be this music and base")
    work.mkdir(parents=True, exist_ok=True)
    with whole_path(file) as part:
        part.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")


def _music(music: Path) -> dict[str, Any]:
    """A data pack's or a set's hash; of a folder of audio files each one's size and time."""
    for file in (music, music / MANIFEST):
        if file.is_file():
            return {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    if not music.is_dir():
        raise UserError(f"there is no music at '{music}': no folder and no data pack")
    files = {}
    for file in music_files(music):
        facts = file.stat()
        files[file.relative_to(music).as_posix()] = [facts.st_size, int(facts.st_mtime)]
    return {"files": files}


def _digest(parts: checkpoints.Parts) -> str:
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
    """In words, what the run began with and does not have now."""
    found = []
    if then["base"]["sha256"] != now["base"]["sha256"]:
        names = then["base"]["name"], now["base"]["name"]
        other = "of the same name" if names[0] == names[1] else f"and not '{names[1]}'"
        found.append(f"the base '{names[0]}' {other}")
    if then["music"] != now["music"]:
        files, ours = then["music"].get("files", {}), now["music"].get("files", {})
        changed = sorted(n for n in {*files, *ours} if files.get(n) != ours.get(n))
        told = f" (differing files: {len(changed)}, first '{changed[0]}')" if files and ours else ""
        found.append(f"other music{told}")
    if then["held-out words"] != now["held-out words"]:
        words = [", ".join(each["held-out words"]) or "none" for each in (then, now)]
        found.append(f"the held-out words {words[0]} and not {words[1]}")
    return found


def _check_names(work: Path, music: dict[str, Any]) -> None:
    """Every packed piece must be one of the music's files."""
    manifest = work / "pack" / MANIFEST
    if "files" not in music or not manifest.is_file():
        return
    for name in packed_names(manifest.parent):
        if name not in music["files"]:
            raise UserError(
                f"'{work}' holds a run from other music (it has '{name}'); take another folder"
            )


def passed_on(name: str, licence: str, base: str, music: str) -> str:
    """The text for weights that go on from those of a model: its attribution, then the music's.

    name, licence: the model's; base: its text, "" where it has none; music: "" likewise.
    """
    if not base:
        return music
    head = f"# Trained on from '{name}'\n\nThese weights were made from those of the model '{name}'"
    head += f" (licence: {licence}) by further training. Its attribution:\n\n"
    tail = f"\n# What it was trained on further\n\n{music}" if music else ""
    return head + base.rstrip() + "\n" + tail
