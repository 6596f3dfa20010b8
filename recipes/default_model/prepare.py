"""The training set of the embedded default, rebuilt from Debian packages.

Music is selected file by file by the licence that its package states (``sources``); composed music
and Freedoom's MIDI are rendered in addition. The manifest lists every file, including omitted ones.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from recipes.default_model import composing, rendering, sources
from recipes.default_model.attribution import attribution
from recipes.default_model.packages import unpack
from vampnet.checkpoints.folders import ATTRIBUTION
from vampnet.system.atomic_file import atomic_path
from vampnet.system.errors import UserError
from vampnet.training.data import MANIFEST, level, read_piece, store

RATE_HZ = 44100
TABLE = "training-data.csv"
COLUMNS = (
    "name", "split", "seconds", "package", "version", "artist", "licence", "stated_in", "sha256",
    "why",
)  # fmt: skip
PIECES_PER_CALL = 12  # rendered in one call
LONGEST_FREEDOOM_S = 58.0
COMPOSER = (
    "made up by vampnet/training/composing.py, played by the soundfont MuseScore_General of "
    "S. Christian Collins, Michael Cowgill and Frank Wen"
)

Log = Callable[[str], None]


@dataclass(frozen=True)
class Rendering:
    """What to render.

    Attributes:
        minutes: of composed music.
        freedoom_minutes: of Freedoom's music. Where both are 0, neither package is needed.
        seed: of the composed music.
        soundfont: a file to use in place of the package's.
        more: also use the packages of ``sources.MORE``: further kinds of music, a test split.
    """

    minutes: float = 90.0
    freedoom_minutes: float = 60.0
    seed: int = 20261121
    soundfont: Path | None = None
    more: bool = False


def prepare(
    packages: str | Path, target: str | Path, plan: Rendering | None = None, log: Log | None = None
) -> Path:
    """Write the training set to ``target``, a folder that ``Pack.load`` and ``train`` read.

    It has the samples, the manifest, its table as ``training-data.csv`` and ``ATTRIBUTION.md``.

    Args:
        packages: a folder with the ``.deb`` files of ``sources.PACKAGES``, or with their contents.
        target: the folder to write.
        plan: what to render; None = the defaults.
        log: gets lines of text.

    Returns:
        ``target``.

    Raises:
        UserError: where a package is missing or does not state its licence.
    """
    plan, log, target = plan or Rendering(), log or (lambda line: None), Path(target)
    for name in ("minutes", "freedoom_minutes"):
        if not 0 <= getattr(plan, name) < math.inf:
            raise UserError(f"{name} is {getattr(plan, name)}; it must be 0 or above, and finite")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vampnet-") as folder:
        root = _root(Path(packages), Path(folder), log)
        chosen = sources.MUSIC + (sources.MORE if plan.more else ())
        wanted = [item for source in chosen for item in sources.items(root, source)]
        versions = {}
        if plan.minutes or plan.freedoom_minutes:
            versions = sources.check_rendering(root)
        entries = [_store(root, item, number, target, log) for number, item in enumerate(wanted)]
        for name, samples, facts in _rendered(root, plan, versions, log):
            stored = f"{len(entries):05d}.npy"
            store(level(samples, RATE_HZ), target / stored)
            seconds = round(len(samples) / RATE_HZ, 3)
            entries.append(
                {"name": name, "split": sources.TRAIN, "seconds": seconds, "file": stored} | facts
            )
    _write(entries, target)
    return target


def _root(packages: Path, folder: Path, log: Log) -> Path:
    """The unpacked tree: ``packages`` itself, or ``folder``, to which its packages are unpacked."""
    if (packages / "usr").is_dir():
        return packages
    files = sorted(packages.glob("*.deb")) if packages.is_dir() else []
    if not files:
        names = " ".join(sources.PACKAGES)
        raise UserError(
            f"'{packages}' has neither Debian packages (*.deb) nor a folder usr; on Debian: "
            f"apt-get download {names}"
        )
    for file in files:
        log(f"unpacking {file.name}")
        unpack(file, folder)
    return folder


def _store(root: Path, item: sources.Item, number: int, target: Path, log: Log) -> dict:
    """Store a file's audio, unless it is omitted; returns its entry in the manifest."""
    data = item.data(root)
    entry = {
        "name": item.name,
        "split": item.split,
        "seconds": 0.0,
        "package": item.source.package,
        "version": item.version,
        "artist": item.artist,
        "licence": item.licence,
        "stated_in": item.stated_in,
        "sha256": hashlib.sha256(data).hexdigest(),
        "why": item.why,
    }
    if item.split == sources.LEFT_OUT:
        log(f"left out: {item.name} ({item.why})")
        return entry
    with tempfile.TemporaryDirectory(prefix="vampnet-") as folder:
        file = Path(folder, "piece").with_suffix(PurePosixPath(item.path).suffix)
        file.write_bytes(data)
        piece = read_piece(file, RATE_HZ)
    stored = f"{number:05d}.npy"
    store(piece, target / stored)
    return entry | {"file": stored, "seconds": round(len(piece) / RATE_HZ, 3)}


def _rendered(
    root: Path, plan: Rendering, versions: dict[str, str], log: Log
) -> Iterator[tuple[str, Tensor, dict]]:
    """Name, samples and manifest fields of each rendered piece."""
    for kind, limit in ((_composed, plan.minutes), (_freedoom_pieces, plan.freedoom_minutes)):
        if not limit:
            continue
        soundfont = plan.soundfont or rendering.find_soundfont(root)
        seconds, batch = 0.0, []
        for take, facts in kind(root, plan, versions):
            if seconds >= 60 * limit:
                break
            seconds += take.seconds
            batch.append((take, facts))
            if len(batch) == PIECES_PER_CALL:
                yield from _sounds(batch, soundfont, log)
                batch = []
        if batch:
            yield from _sounds(batch, soundfont, log)


def _sounds(
    batch: list[tuple[rendering.MidiPiece, dict]], soundfont: Path, log: Log
) -> Iterator[tuple[str, Tensor, dict]]:
    log(f"rendering {batch[0][0].name} and {len(batch) - 1} more")
    takes = [take for take, _ in batch]
    for (take, facts), samples in zip(batch, rendering.render(takes, soundfont), strict=True):
        yield take.name, samples, facts


def _facts(package: str, version: str, artist: str, licence: str, data: bytes) -> dict:
    fields = {"package": package, "version": version, "artist": artist, "licence": licence}
    digest = hashlib.sha256(data).hexdigest()
    return fields | {"stated_in": "copyright", "sha256": digest, "why": ""}


def _composed(
    root: Path, plan: Rendering, versions: dict[str, str]
) -> Iterator[tuple[rendering.MidiPiece, dict]]:
    """An endless sequence of composed pieces; their SHA-256 is that of the MIDI data."""
    rng, number = torch.Generator().manual_seed(plan.seed), 0
    while True:
        take = rendering.score_to_midi(composing.compose(rng, f"composed/{number:04d}"))
        data = rendering.timeline([take])[0]
        version = versions[sources.SOUNDFONT]
        yield take, _facts(sources.SOUNDFONT, version, COMPOSER, "MIT", data)
        number += 1


def _freedoom_pieces(
    root: Path, plan: Rendering, versions: dict[str, str]
) -> Iterator[tuple[rendering.MidiPiece, dict]]:
    """The beginnings of Freedoom's pieces; those in both games occur once."""
    seen = set()
    for wad in sorted(root.glob(sources.FREEDOOM_WADS)):
        for name, data in rendering.read_wad_midi(wad).items():
            facts = _facts(
                sources.FREEDOOM, versions[sources.FREEDOOM], "the contributors to Freedoom",
                "BSD-3-Clause", data,
            )  # fmt: skip
            if facts["sha256"] in seen:
                continue
            seen.add(facts["sha256"])
            yield rendering.read_midi(f"{wad.stem}/{name}", data, LONGEST_FREEDOOM_S), facts


def _write(entries: list[dict], target: Path) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    (target / TABLE).write_text(table.getvalue(), encoding="utf-8")
    (target / ATTRIBUTION).write_text(attribution(entries), encoding="utf-8")
    pieces = [e for e in entries if e["split"] != sources.LEFT_OUT]
    manifest = {"rate_hz": RATE_HZ, "pieces": pieces}
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    with atomic_path(target / MANIFEST) as part:
        part.write_text(text, encoding="utf-8")
