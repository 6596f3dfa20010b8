"""The files below a folder, in linked folders too, each folder once."""

from __future__ import annotations

import os
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """Every file and link to a file below a folder, by path; none where there is no folder.

    Pipes, devices and links that lead nowhere are left out: opening a pipe waits for ever. A linked
    folder is gone into where the same folder was not seen before, and the folder does not lie in
    it, as it does for a link to `..`; folders that lie there themselves come before links to them.
    """
    seen: set[Path] = set()
    found: list[Path] = []
    roots, home = [folder], folder.resolve()
    for root in roots:  # grows by the links that are met
        if root != folder and home.is_relative_to(root.resolve()):
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
