"""The private folder: what a crash left behind goes, what another server uses stays."""

from __future__ import annotations

import os
import time

from harp_app.jobs.storage import ABANDONED_S, PREFIX, Storage


def test_a_folder_left_behind_is_removed_and_one_in_use_is_not(tmp_path):
    old, fresh, other = (tmp_path / name for name in (f"{PREFIX}old", f"{PREFIX}new", "else"))
    for folder in (old, fresh, other):
        folder.mkdir()
        (folder / "take.wav").write_bytes(b"x")
    then = time.time() - ABANDONED_S - 60
    for folder in (old, other):
        os.utime(folder, (then, then))
    storage = Storage(parent=tmp_path)
    storage.close()
    assert not old.exists() and fresh.is_dir() and other.is_dir()
    assert not storage.root.exists()
