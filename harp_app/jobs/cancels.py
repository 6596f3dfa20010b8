"""Cancel requests: which jobs they mean, and how long the error of a cancelled job is held back.

HARP shows an error window for a job that ends while its own cancel call is still at work; a job's
end therefore waits until that call was answered and read. A cancel during an upload finds no job
yet: it is remembered, and stops the job that is posted for that upload.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

MARGIN_S = 0.3  # after the answer to a cancel was read
LONGEST_HOLD_S = 5.0  # a client may cancel and never read the answer
JUST_NOW_S = 2.0  # an upload that ended so long before a cancel still waits for its job's POST
REMEMBERED = 1000  # clients, and paths of uploads


class Cancel:
    """One cancel request. client: whose jobs it stops. number: its place in the order of arrival.

    answered: set some time after the client has read the answer.
    """

    def __init__(self, client: str, number: int) -> None:
        self.client = client
        self.number = number
        self.time_s = time.monotonic()
        self.answered = asyncio.Event()

    def means(self, client: str, arrived: int) -> bool:
        """Return True for a job that this request stops."""
        return client == self.client and arrived < self.number

    def release_after(self, delay_s: float) -> None:
        """Set ``answered`` in ``delay_s`` seconds; needs a running event loop."""
        asyncio.get_running_loop().call_later(delay_s, self.answered.set)


@dataclass
class Upload:
    """An upload. number: its place in the order of arrival. ended_s: monotonic; None = going on."""

    number: int
    ended_s: float | None = None


@dataclass
class Cancels:
    """The last cancel of each client, and the uploads whose job was not posted yet."""

    _last: OrderedDict[str, Cancel] = field(default_factory=OrderedDict)
    _uploads: OrderedDict[tuple[str, str], list[Upload]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, cancel: Cancel) -> None:
        """Remember a cancel for what is still being uploaded."""
        with self._lock:
            self._last[cancel.client] = cancel
            self._last.move_to_end(cancel.client)
            while len(self._last) > REMEMBERED:
                self._last.popitem(last=False)

    def uploaded(self, address: str, path: str, upload: Upload) -> None:
        """Note that ``upload`` from this network address made the file at ``path``."""
        upload.ended_s = time.monotonic()
        with self._lock:
            self._uploads.setdefault((address, path), []).append(upload)
            self._uploads.move_to_end((address, path))
            while len(self._uploads) > REMEMBERED:
                self._uploads.popitem(last=False)

    def of_job(self, client: str, address: str, path: str) -> Cancel | None:
        """Return the cancel that came while the clip of a job, posted now, was being uploaded.

        Each upload counts for one job: HARP uploads for every job, the same content to the same
        path, while others may use an upload again and again.
        """
        with self._lock:
            waiting = self._uploads.get((address, path))
            if not waiting:
                return None
            upload = waiting.pop(0)
            if not waiting:
                del self._uploads[address, path]
            cancel = self._last.get(client)
        if cancel is None or upload.ended_s is None:
            return None
        meant = upload.number < cancel.number and upload.ended_s > cancel.time_s - JUST_NOW_S
        return cancel if meant else None
