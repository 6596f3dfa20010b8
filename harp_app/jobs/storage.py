"""The private folder of uploads and results: swept every few minutes, removed at exit."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vampnet.system.errors import UserError

log = logging.getLogger(__name__)

GONE = "Choose the clip again: it is no longer on the server."
PREFIX = "vampnet-harp-"
KEEP_S = 3600.0  # age at which a file is deleted
ABANDONED_S = 24 * 3600.0  # age at which a folder that a crash left behind is deleted


class Storage:
    """A folder that only this user can read (mode 700), with a sweeper thread.

    keep_s: seconds that a file stays unused. parent: where the folder is made; None = the system's
    place for temporary files. on_delete: called with each path that was deleted.
    """

    def __init__(self, keep_s: float = KEEP_S, parent: Path | None = None) -> None:
        self.keep_s = keep_s
        self.on_delete: Callable[[str], None] | None = None
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
        self._closing = threading.Event()
        self._remove_abandoned()
        self._sweeper = threading.Thread(target=self._sweep_often, name="sweeper", daemon=True)
        self._sweeper.start()

    def new_folder(self) -> Path:
        """Make an empty folder of a name that nobody can guess."""
        folder = self.root / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder

    def sweep(self) -> int:
        """Delete what is older than ``keep_s``; return the number of files deleted."""
        oldest = time.time() - self.keep_s
        count = 0
        for folder, _, names in os.walk(self.root, topdown=False):
            for name in names:
                count += self._delete_if_older(Path(folder, name), oldest)
            if Path(folder) != self.root:
                _remove_if_empty_and_older(Path(folder), oldest)
        _touch(self.root)
        if count:
            log.info("deleted %d files older than %.0f s", count, self.keep_s)
        return count

    def close(self) -> None:
        """Stop the sweeper and delete the folder with all that is in it."""
        self._closing.set()
        self._sweeper.join(timeout=5)
        shutil.rmtree(self.root, ignore_errors=True)

    def _sweep_often(self) -> None:
        while not self._closing.wait(min(300.0, self.keep_s / 4)):
            self.sweep()

    def _delete_if_older(self, path: Path, oldest: float) -> bool:
        try:
            if path.stat().st_mtime > oldest:
                return False
            path.unlink()
        except OSError:  # gone already, or still open (Windows): next time
            return False
        if self.on_delete is not None:
            self.on_delete(str(path))
        return True

    def _remove_abandoned(self) -> None:
        for folder in self.root.parent.glob(PREFIX + "*"):
            try:
                mine = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
                if mine and folder.stat().st_mtime < time.time() - ABANDONED_S:
                    shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                continue


def renew(path: str | Path) -> None:
    """Have the age of a clip count from now on. Raises ValueError where it is gone."""
    try:
        os.utime(path)
    except FileNotFoundError:
        raise UserError(GONE) from None
    except OSError:  # somebody else's: then no sweep of ours will take it
        pass


def _remove_if_empty_and_older(folder: Path, oldest: float) -> None:
    try:
        if folder.stat().st_mtime < oldest:
            folder.rmdir()
    except OSError:  # not empty, or gone
        pass


def _touch(folder: Path) -> None:
    try:
        os.utime(folder)
    except OSError:
        pass
