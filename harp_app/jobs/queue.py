"""Who may use the machine when: a short queue of jobs that can be cancelled at any moment.

HARP's cancel carries no job id. What it means is known from the order in which requests arrived: it
stops every job of the same client that arrived before it, running or still waiting, and the one
whose clip was being uploaded. A running job notices by calling :meth:`Job.check`, which it does
before every operation on tensors (``cancellation.Asking``).
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from harp_app.jobs.cancels import Cancel, Cancels
from vampnet.system.errors import UserError

log = logging.getLogger(__name__)
Result = TypeVar("Result")

REMEMBERED_STREAMS = 2000  # whose jobs can still be looked up
STREAM_GRACE_S = 30.0  # a client that posts a job and never comes to fetch it is gone
CANCELLED = "The job was cancelled."


class Cancelled(Exception):  # noqa: N818  (an end, not an error)
    """A job was stopped before its end; the text says by what."""


class QueueFull(UserError):
    """So many jobs wait that no more are taken."""


class Job:
    """One request for the machine, from the arrival of its POST on.

    id: short, for the log. client: whose it is; a cancel of that client stops it. arrived: number
    in the order of all arrivals. progress: (steps done, all steps). started_s: when its turn came,
    on the monotonic clock. cancel: the request that stopped it, if one did.
    """

    def __init__(self, client: str, arrived: int) -> None:
        self.id = secrets.token_hex(4)
        self.client = client
        self.arrived = arrived
        self.progress = (0, 0)
        self.started_s: float | None = None
        self._first_step_s = 0.0
        self.over = False
        self.fetched = False  # somebody reads its stream
        self.cancel: Cancel | None = None
        self._reason: str | None = None
        self._on_stop: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def stopped(self) -> bool:
        """True once it was asked to stop."""
        return self._reason is not None

    def stop(self, reason: str, cancel: Cancel | None = None) -> bool:
        """Ask it to stop, from any thread; False when it was over or stopped already."""
        with self._lock:
            if self.over or self._reason is not None:
                return False
            self._reason, self.cancel = reason, cancel
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
        if self.progress[0] == 0:
            self._first_step_s = time.monotonic()
        self.progress = (done, total)
        self.check()

    def time_left_s(self) -> float | None:
        """Return the seconds that the steps still take by the pace so far; None before the 2nd."""
        done, total = self.progress
        if done < 2:
            return None
        return (time.monotonic() - self._first_step_s) / (done - 1) * (total - done)


class Jobs:
    """The queue of one server: at most ``at_once`` jobs run, at most ``waiting`` wait."""

    def __init__(
        self, at_once: int = 1, waiting: int = 8, stream_grace_s: float = STREAM_GRACE_S
    ) -> None:
        """Make an empty queue. Raises UserError for less than one job at once."""
        if at_once < 1 or waiting < 0:
            raise UserError(f"{at_once} jobs at once, {waiting} waiting; at least 1 and 0")
        self.at_once = at_once
        self.waiting = waiting
        self.stream_grace_s = stream_grace_s
        self.cancels = Cancels()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._live: set[Job] = set()  # arrived and not over
        self._queued: dict[Job, None] = {}  # in the order of their turns
        self._running: set[Job] = set()
        self._by_stream: OrderedDict[str, list[Job]] = OrderedDict()
        self._listeners: dict[str, int] = {}  # stream -> how many read it
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

    # -- the streams by which clients learn how jobs end

    def name_stream(self, stream: str, job: Job) -> None:
        """Let ``job`` be found under the id of a stream; one stream may be of several jobs."""
        with self._lock:
            jobs = self._by_stream.setdefault(stream, [])
            jobs[:] = [other for other in jobs if other is not job and not other.over] + [job]
            self._by_stream.move_to_end(stream)
            job.fetched = job.fetched or stream in self._listeners
            while len(self._by_stream) > REMEMBERED_STREAMS:
                _, dropped = self._by_stream.popitem(last=False)
                self._live.difference_update(
                    old for old in dropped if old not in self._queued and old not in self._running
                )

    def of_stream(self, stream: str) -> Job | None:
        """Return the last job whose result this stream carries, or None."""
        return (self._by_stream.get(stream) or [None])[-1]

    def listen(self, stream: str) -> None:
        """Somebody reads this stream from now on: its jobs, later ones too, are fetched."""
        with self._lock:
            self._listeners[stream] = self._listeners.get(stream, 0) + 1
            for job in self._by_stream.get(stream, ()):
                job.fetched = True

    def unlisten(self, stream: str) -> bool:
        """One reader of this stream has left; True when it was the last one.

        A job named for it afterwards waits for a reader as long as any other.
        """
        with self._lock:
            left = self._listeners.get(stream, 0) - 1
            if left > 0:
                self._listeners[stream] = left
                return False
            self._listeners.pop(stream, None)
            return True

    def stop_stream(self, stream: str, reason: str) -> int:
        """Stop the jobs of a stream that nobody reads any more; return how many there were."""
        with self._lock:
            jobs = list(self._by_stream.get(stream, ()))
            idle = [job for job in jobs if job not in self._queued and job not in self._running]
        stopped = sum(job.stop(reason) for job in jobs)
        for job in idle:  # it never asked for a turn, and never will
            self._end(job)
        return stopped

    def forget(self, job: Job, stream: str | None = None) -> None:
        """Drop a job that never started, or whose result was sent."""
        self._end(job)
        if stream is not None:
            with self._lock:
                self._by_stream.pop(stream, None)

    # -- cancelling

    def cancel(self, client: str, before: int) -> int:
        """Stop all jobs of ``client`` that arrived before number ``before``; return how many."""
        return self.carry_out(Cancel(client, before))

    def carry_out(self, cancel: Cancel) -> int:
        """Stop all jobs that ``cancel`` means; return how many. Later ones ask ``cancels``."""
        self.cancels.add(cancel)
        with self._lock:
            meant = [j for j in self._live if cancel.means(j.client, j.arrived)]
        meant.sort(key=lambda job: -job.arrived)  # the last ones first: none moves up meanwhile
        stopped = sum(job.stop(CANCELLED, cancel) for job in meant)
        log.info("a cancel stopped %d of %d jobs", stopped, len(meant))
        return stopped

    # -- running

    def counts(self) -> tuple[int, int]:
        """Return how many jobs run and how many wait."""
        with self._lock:
            return len(self._running), len(self._queued)

    def place(self, job: Job) -> tuple[int, int] | None:
        """Return the place of a waiting job and how many wait; None when it does not wait."""
        with self._lock:
            waiting = list(self._queued)
        # A machine that is free takes the first one in a moment.
        if job not in waiting or len(self._running) < self.at_once:
            return None
        return waiting.index(job) + 1, len(waiting)

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
                    f"Try again in a moment: {len(self._queued)} jobs wait already and "
                    f"{self.waiting} may."
                )
            self._live.add(job)
            self._queued[job] = None
            # The request's context goes along: what lends GPUs reads there who asks.
            context = contextvars.copy_context()
            future = self._pool.submit(context.run, self._carry_out, job, work)
        future.add_done_callback(lambda _: self._release(job))
        return future

    def _carry_out(self, job: Job, work: Callable[[Job], Result]) -> Result:
        with self._lock:
            self._queued.pop(job, None)
            self._running.add(job)
        job.started_s = start = time.monotonic()
        try:
            job.check()
            return work(job)
        finally:
            log.debug("job %s held the machine %.2f s", job.id, time.monotonic() - start)
            self._release(job)

    def _release(self, job: Job) -> None:
        with self._lock:
            self._queued.pop(job, None)
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
