"""Who may use the machine when: a short queue of jobs that can be cancelled at any moment.

HARP's cancel carries no id. What it means is known from the order in which requests arrived: it
stops every job of the same client address that arrived before it, running or still waiting. A
running job notices by calling :meth:`Job.check`, which it does before every operation on tensors
(``interrupt.Asking``).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vampnet.system.errors import UserError

log = logging.getLogger(__name__)
Result = TypeVar("Result")

REMEMBERED_JOBS = 2000  # arrived jobs that can still be looked up by their stream
STREAM_GRACE_S = 30.0  # a client that posts a job and never comes to fetch it is gone


class Cancelled(Exception):  # noqa: N818  (an end, not an error)
    """A job was stopped before its end; the text says by what."""


class QueueFull(UserError):
    """So many jobs wait that no more are taken."""


class Job:
    """One request for the machine, from the arrival of its POST on.

    id: short, for the log. client: address it came from. arrived: number in the order of all
    arrivals. progress: (steps done, steps in all), for who shows it.
    """

    def __init__(self, client: str, arrived: int) -> None:
        self.id = secrets.token_hex(4)
        self.client = client
        self.arrived = arrived
        self.progress = (0, 0)
        self.over = False
        self.fetched = False  # somebody reads its stream
        self._reason: str | None = None
        self._on_stop: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def stopped(self) -> bool:
        """True once it was asked to stop."""
        return self._reason is not None

    def stop(self, reason: str) -> bool:
        """Ask it to stop, from any thread; False when it was over or stopped already."""
        with self._lock:
            if self.over or self._reason is not None:
                return False
            self._reason = reason
            calls, self._on_stop = self._on_stop, []
        for call in calls:
            call()
        return True

    def on_stop(self, call: Callable[[], object]) -> None:
        """Have ``call()`` called when the job is stopped, at once if it was stopped before."""
        with self._lock:
            if self._reason is None:
                self._on_stop.append(call)
                return
        call()

    def check(self) -> None:
        """Raise :class:`Cancelled` when the job was asked to stop."""
        if self._reason is not None:
            raise Cancelled(self._reason)

    def on_step(self, done: int, total: int) -> None:
        """Note ``done`` of ``total`` steps and raise :class:`Cancelled` when asked to stop."""
        self.progress = (done, total)
        self.check()


class Jobs:
    """The queue of one server: at most ``at_once`` jobs run, at most ``waiting`` wait."""

    def __init__(
        self, at_once: int = 1, waiting: int = 8, stream_grace_s: float = STREAM_GRACE_S
    ) -> None:
        """Make an empty queue. Raises ValueError for less than one job at once."""
        if at_once < 1 or waiting < 0:
            raise UserError(f"{at_once} jobs at once, {waiting} waiting; at least 1 and 0")
        self.at_once = at_once
        self.waiting = waiting
        self.stream_grace_s = stream_grace_s
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._live: set[Job] = set()  # arrived and not over
        self._queued: set[Job] = set()
        self._running: set[Job] = set()
        self._by_stream: OrderedDict[str, Job] = OrderedDict()
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="job")
        self._closed = False

    def next_number(self) -> int:
        """Return the next number in the order of arrival, for a cancel as for a job."""
        return next(self._numbers)

    def arrive(self, client: str) -> Job:
        """Return a new job of this client; it can be cancelled from now on."""
        job = Job(client, self.next_number())
        with self._lock:
            self._live.add(job)
        return job

    def name_stream(self, stream: str, job: Job) -> None:
        """Let ``job`` be found under the id of the stream that will tell its end."""
        with self._lock:
            self._by_stream[stream] = job
            while len(self._by_stream) > REMEMBERED_JOBS:
                _, oldest = self._by_stream.popitem(last=False)
                if oldest not in self._queued and oldest not in self._running:
                    self._live.discard(oldest)

    def of_stream(self, stream: str) -> Job | None:
        """Return the job whose end this stream tells, or None."""
        return self._by_stream.get(stream)

    def forget(self, job: Job, stream: str | None = None) -> None:
        """Drop a job that never started, or whose end was told."""
        self._end(job)
        if stream is not None:
            with self._lock:
                self._by_stream.pop(stream, None)

    def cancel(self, client: str, before: int) -> int:
        """Stop all jobs of ``client`` that arrived before number ``before``; return how many."""
        with self._lock:
            meant = [job for job in self._live if job.client == client and job.arrived < before]
        meant.sort(key=lambda job: -job.arrived)  # the last ones first: none moves up meanwhile
        stopped = sum(job.stop("The job was cancelled.") for job in meant)
        log.info("cancel from %s stopped %d of %d jobs", client, stopped, len(meant))
        return stopped

    def counts(self) -> tuple[int, int]:
        """Return how many jobs run and how many wait."""
        with self._lock:
            return len(self._running), len(self._queued)

    async def run(self, job: Job, work: Callable[[Job], Result]) -> Result:
        """Wait for a turn, do ``work(job)`` in a thread and return its result.

        Raises Cancelled as soon as the job is stopped (its thread ends at its next check), and
        QueueFull when too many wait. What ``work`` raises comes through.
        """
        loop = asyncio.get_running_loop()
        stopped = loop.create_future()
        try:
            job.check()
            future = self._enqueue(job, work)
            job.on_stop(lambda: loop.call_soon_threadsafe(_settle, stopped))
            job.on_stop(future.cancel)
            watch = loop.call_later(self.stream_grace_s, self._stop_unfetched, job)
            done = asyncio.wrap_future(future)
            try:
                await asyncio.wait({done, stopped}, return_when=asyncio.FIRST_COMPLETED)
                job.check()
                return await done
            finally:
                watch.cancel()
                done.add_done_callback(_retrieve)
        except asyncio.CancelledError:
            job.stop("The job was stopped by the server.")
            raise
        finally:
            self._end(job)

    def close(self) -> None:
        """Stop every job and take no more; threads end at their next check."""
        self._closed = True
        with self._lock:
            live = list(self._live)
        for job in live:
            job.stop("The server is shutting down.")
        self._pool.shutdown(wait=False, cancel_futures=True)

    def in_every_thread(self, call: Callable[[], object]) -> None:
        """Do ``call()`` once in each thread that jobs will run in, before the first job.

        Raises what one of the calls raises.
        """
        together = threading.Barrier(self.at_once)

        def once() -> None:
            together.wait()  # so that no thread takes the call of another
            call()

        for future in [self._pool.submit(once) for _ in range(self.at_once)]:
            future.result()

    def _enqueue(self, job: Job, work: Callable[[Job], Result]) -> Future[Result]:
        with self._lock:
            if self._closed:
                raise Cancelled("The server is shutting down.")
            if len(self._queued) + len(self._running) >= self.waiting + self.at_once:
                raise QueueFull(
                    f"{len(self._queued)} jobs wait already and {self.waiting} may; "
                    "try again in a moment."
                )
            self._live.add(job)
            self._queued.add(job)
            future = self._pool.submit(self._carry_out, job, work)
        future.add_done_callback(lambda _: self._release(job))
        return future

    def _carry_out(self, job: Job, work: Callable[[Job], Result]) -> Result:
        with self._lock:
            self._queued.discard(job)
            self._running.add(job)
        start = time.monotonic()
        try:
            job.check()
            return work(job)
        finally:
            log.debug("job %s held the machine %.2f s", job.id, time.monotonic() - start)
            self._release(job)

    def _release(self, job: Job) -> None:
        with self._lock:
            self._queued.discard(job)
            self._running.discard(job)

    def _end(self, job: Job) -> None:
        with self._lock:
            self._live.discard(job)
        with job._lock:
            job.over = True
            job._on_stop.clear()

    def _stop_unfetched(self, job: Job) -> None:
        if not job.fetched and job.stop("Nobody came to fetch the result."):
            log.info("job %s stopped: its client never came for the result", job.id)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _retrieve(future: asyncio.Future) -> None:
    """Take note of how an abandoned job ended, so that the event loop does not complain."""
    if not future.cancelled() and (error := future.exception()) is not None:
        log.debug("job ended with %s", type(error).__name__)
