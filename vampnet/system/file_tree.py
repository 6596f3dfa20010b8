"""The files below a folder, following links to folders, each folder once."""

from __future__ import annotations

import os
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """Return every file and link to a file below a folder, sorted by path.

    Pipes, devices and broken links are omitted: opening a pipe would block. A linked folder is
    visited unless the same folder was visited before or it contains ``folder``, as a link to `..`
    does; real folders are visited before links to them.

    Returns:
        Paths; an empty list where the folder does not exist.
    """
    seen: set[Path] = set()
    found: list[Path] = []
    roots, start = [folder], folder.resolve()
    for root in roots:  # grows by the links that are found
        if root != folder and start.is_relative_to(root.resolve()):
            continue
        for here, folders, names in os.walk(root):
            place = Path(here)
            if place.resolve() in seen:
                folders.clear()
                continue
            seen.add(place.resolve())
            found += [place / name for name in names if (place / name).is_file()]
            roots += sorted(place / name for name in folders if (place / name).is_symlink())
    return sorted(found)
