"""Atomic writes: a file appears complete or not at all, and write errors are not lost.

Encoders do not report a write that fails in their last flush, or report it as another error. A full
disk must neither count as success nor replace an existing file.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

if TYPE_CHECKING:
    from typing_extensions import Buffer


class PartFile(FileIO):
    """A new file for an encoder to write to; keeps the first error, which encoders ignore."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self._error: BaseException | None = None

    def write(self, data: Buffer, /) -> int:
        """Write all bytes, or those before the first error; returns how many were written."""
        left = whole = memoryview(data)
        try:
            while left and self._error is None:
                left = left[super().write(left) or 0 :]
        except BaseException as error:  # Ctrl-C too: the encoder's C code would discard it
            self._error = error
        return len(whole) - len(left)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Seek to a byte; returns the new position."""
        try:
            return super().seek(offset, whence)
        except BaseException as error:
            self._error = self._error or error
            return self.tell()

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self._error is not None:
            raise self._error


@contextmanager
def atomic_file(target: Path) -> Iterator[PartFile]:
    """Open a file that replaces `target` at the end and gets its mode.

    On any error the temporary file is removed and `target` is unchanged.

    Args:
        target: an absolute path, not a link.

    Raises:
        OSError: the first error of a write, even where the encoder ignored it.
    """
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with PartFile(part) as file:  # closing may report a full network disk, too
            try:
                yield file
            finally:
                file.check()
        with suppress(FileNotFoundError):
            shutil.copymode(target, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path, for writers that open files by name; it is renamed to ``path``.

    On any error it is deleted and ``path`` is unchanged. The file gets the usual permissions of a
    new file, where safetensors would allow the owner only.

    Raises:
        OSError: naming ``path``, where it cannot be written, whatever error the writer raises.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        part.touch()
        mode = stat.S_IMODE(part.stat().st_mode)
        yield part
        part.chmod(mode)
        os.replace(part, path)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
