"""A file that appears whole or not at all, and in which no failed write is forgotten.

An encoder does not tell of a write that fails in its last flush, or tells of it as something else.
A full disk must not pass for a written file, nor take the place of the one that was there.
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
    """A new file for an encoder to write in; remembers the first error, which encoders ignore."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self._error: BaseException | None = None

    def write(self, data: Buffer, /) -> int:
        """Write all bytes, or those before the first error and none after it; returns how many."""
        left = whole = memoryview(data)
        try:
            while left and self._error is None:
                left = left[super().write(left) or 0 :]
        except BaseException as error:  # Ctrl-C too: raised here it would end in the encoder's C
            self._error = error
        return len(whole) - len(left)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a byte; returns where the file then stands."""
        try:
            return super().seek(offset, whence)
        except BaseException as error:
            self._error = self._error or error
            return self.tell()

    def check(self) -> None:
        """Raise the first error, where there was one."""
        if self._error is not None:
            raise self._error


@contextmanager
def whole(target: Path) -> Iterator[PartFile]:
    """A file to write, which takes the place of `target` (absolute, no link) and its mode.

    Raises the first error of a write, whatever the encoder made of it. On any error nothing is left
    behind and what lay at `target` stays.
    """
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with PartFile(part) as file:  # closing it tells, too, of a disk elsewhere that is full
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
def whole_path(path: Path) -> Iterator[Path]:
    """A place for a writer that opens it by name: it becomes ``path`` once all is done.

    On any error it is deleted, and what lay at ``path`` stays. The file gets the rights of any new
    file: safetensors gives its own to the owner alone. Raises OSError, naming ``path``, where it
    cannot be written, whatever the writer makes of that.
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
