"""The private folder: what a crash left behind goes, what another server uses stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT

from harp_app.jobs.storage import ABANDONED_S, PREFIX, Storage, StorageFull


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


def test_a_folder_in_use_is_not_removed_however_long_its_machine_slept(tmp_path):
    used = Storage(parent=tmp_path)
    (used.root / "take.wav").write_bytes(b"x")
    then = time.time() - ABANDONED_S - 60
    os.utime(used.root, (then, then))
    Storage(parent=tmp_path).close()
    assert (used.root / "take.wav").exists()
    used.close()


def test_the_folder_of_a_process_that_was_killed_is_removed(tmp_path):
    code = (
        "import os, pathlib, sys; from harp_app.jobs.storage import Storage\n"
        "print(Storage(parent=pathlib.Path(sys.argv[1])).root, flush=True); os._exit(1)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout
    left = Path(said.strip())
    assert left.is_dir()
    then = time.time() - ABANDONED_S - 60
    os.utime(left, (then, then))
    Storage(parent=tmp_path).close()
    assert not left.exists()


def test_uploads_under_way_count_as_used(tmp_path):
    storage = Storage(parent=tmp_path, max_bytes=1000)
    (storage.root / "a.wav").write_bytes(b"x" * 400)
    with storage.room_for(500), pytest.raises(StorageFull, match="MiB left"):
        with storage.room_for(101):
            pass
    with storage.room_for(600):
        pass
    storage.close()


def test_a_sweep_spares_the_lock(tmp_path):
    storage = Storage(parent=tmp_path)
    (storage.root / "a.wav").write_bytes(b"x")
    for file in storage.root.iterdir():
        os.utime(file, (1, 1))
    assert storage.sweep() == 1
    os.utime(storage.root, (1, 1))
    Storage(parent=tmp_path).close()
    assert storage.root.is_dir()
    storage.close()
