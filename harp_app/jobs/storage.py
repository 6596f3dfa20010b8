"""The private folder of uploads and results: swept every few minutes, removed at exit."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harp_app.jobs.folder_lock import LOCK, FolderLock
from vampnet.system.errors import UserError

log = logging.getLogger(__name__)

GONE = "Choose the clip again: it is no longer on the server."
PREFIX = "vampnet-harp-"
KEEP_S = 3600.0  # age at which a file is deleted
ABANDONED_S = 24 * 3600.0  # age at which a folder that a crash left behind is deleted
MAX_TOTAL_BYTES = 8192 * 1024 * 1024


class StorageFull(UserError):
    """An upload would make the folder larger than it may be."""


class Storage:
    """A folder that only this user can read (mode 700), with a sweeper thread.

    keep_s: seconds that a file stays unused. parent: where the folder is made; None = the system's
    place for temporary files. max_bytes: of all its files. on_delete: called with each path that
    was deleted.
    """

    def __init__(
        self,
        keep_s: float = KEEP_S,
        parent: Path | None = None,
        max_bytes: int = MAX_TOTAL_BYTES,
    ) -> None:
        self.keep_s = keep_s
        self.max_bytes = max_bytes
        self.on_delete: Callable[[str], None] | None = None
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
        self._in_use = FolderLock.take(self.root)
        self._coming = 0  # bytes of uploads that are under way
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._remove_abandoned()
        self._sweeper = threading.Thread(target=self._sweep_often, name="sweeper", daemon=True)
        self._sweeper.start()

    def new_folder(self) -> Path:
        """Make an empty folder of a name that nobody can guess."""
        folder = self.root / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder

    def used_bytes(self) -> int:
        """Return the size of all files in the folder."""
        total = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                try:
                    total += os.stat(os.path.join(folder, name)).st_size
                except OSError:  # gone in the meantime
                    continue
        return total

    @contextmanager
    def room_for(self, size: int) -> Iterator[None]:
        """Keep ``size`` bytes free for an upload while it comes; StorageFull where they are not."""
        with self._lock:
            free = self.max_bytes - self.used_bytes() - self._coming
            if size > free:
                raise StorageFull(
                    f"Try again later: the server's folder for clips has {max(free, 0) >> 20} MiB "
                    f"left, the upload has {size >> 20} MiB."
                )
            self._coming += size
        try:
            yield
        finally:
            with self._lock:
                self._coming -= size

    def sweep(self) -> int:
        """Delete what is older than ``keep_s``; return the number of files deleted."""
        oldest = time.time() - self.keep_s
        count = 0
        for folder, _, names in os.walk(self.root, topdown=False):
            for name in names:
                if name != LOCK:
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
        if self._in_use is not None:
            self._in_use.release()
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
        """Delete old folders that no process holds.

        Age alone says little: a machine that slept for a day wakes with old folders in use.
        """
        for folder in self.root.parent.glob(PREFIX + "*"):
            try:
                mine = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
                if not mine or folder.stat().st_mtime > time.time() - ABANDONED_S:
                    continue
            except OSError:
                continue
            if (folder / LOCK).exists():
                lock = FolderLock.take(folder)
                if lock is None:
                    continue
                lock.release()
            shutil.rmtree(folder, ignore_errors=True)


def renew(path: str | Path) -> None:
    """Have the age of a clip count from now on. Raises UserError where it is gone."""
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
