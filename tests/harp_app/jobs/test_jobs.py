from __future__ import annotations

import asyncio
import threading
import time

import pytest

from harp_app.jobs.queue import Cancelled, Job, Jobs, QueueFull

STEP_S = 0.01


class Work:
    """Steps of 10 ms; notes how many it did."""

    def __init__(self, steps: int = 500) -> None:
        self.steps, self.done = steps, 0
        self.started, self.ended = threading.Event(), threading.Event()

    def __call__(self, job: Job) -> str:
        self.started.set()
        try:
            for step in range(self.steps):
                time.sleep(STEP_S)
                self.done += 1
                job.on_step(step + 1, self.steps)
        finally:
            self.ended.set()
        return "done"


@pytest.fixture
def jobs():
    made = Jobs(at_once=1, waiting=2)
    yield made
    made.close()


async def begin(jobs: Jobs, work: Work, client: str = "a"):
    job = jobs.arrive(client)
    task = asyncio.create_task(jobs.run(job, work))
    await asyncio.sleep(0.005)
    return job, task


async def until(event: threading.Event, timeout_s: float = 2.0):
    end = time.monotonic() + timeout_s
    while not event.is_set():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


def test_a_job_runs_and_its_result_comes_back(jobs):
    async def scene():
        job, task = await begin(jobs, Work(3))
        assert await task == "done"
        assert job.over and job.progress == (3, 3) and jobs.counts() == (0, 0)

    asyncio.run(scene())


def test_a_running_job_ends_within_a_step_and_the_next_starts(jobs):
    async def scene():
        first, second = Work(), Work(3)
        _, task = await begin(jobs, first)
        await until(first.started)
        start = time.monotonic()
        assert jobs.cancel("a", jobs.next_number()) == 1
        with pytest.raises(Cancelled, match="cancelled"):
            await task
        assert time.monotonic() - start < 0.2
        _, task = await begin(jobs, second)
        assert await task == "done"
        assert first.ended.is_set() and first.done < 100

    asyncio.run(scene())


def test_a_waiting_job_is_cancelled_without_ever_running(jobs):
    async def scene():
        first, second = Work(30), Work()
        _, task1 = await begin(jobs, first, "a")
        _, task2 = await begin(jobs, second, "b")
        assert jobs.counts() == (1, 1)
        assert jobs.cancel("b", jobs.next_number()) == 1
        with pytest.raises(Cancelled):
            await task2
        assert jobs.counts() == (1, 0)
        assert await task1 == "done" and not second.started.is_set()

    asyncio.run(scene())


def test_cancel_means_what_came_before_it_from_the_same_client(jobs):
    async def scene():
        before, _ = jobs.arrive("a"), jobs.arrive("b")
        number = jobs.next_number()
        after = jobs.arrive("a")
        assert jobs.cancel("a", number) == 1
        assert before.stopped and not after.stopped
        with pytest.raises(Cancelled):  # it had arrived, but not yet begun
            await jobs.run(before, Work(1))
        assert await jobs.run(after, Work(1)) == "done"

    asyncio.run(scene())


def test_a_full_queue_refuses_in_words_and_frees_up(jobs):
    async def scene():
        started = [await begin(jobs, Work(20)) for _ in range(3)]
        with pytest.raises(QueueFull, match="2 jobs wait already and 2 may"):
            await jobs.run(jobs.arrive("a"), Work(1))
        assert [await task for _, task in started] == ["done"] * 3
        assert await jobs.run(jobs.arrive("a"), Work(1)) == "done"

    asyncio.run(scene())


def test_what_the_work_raises_comes_through(jobs):
    def fail(job: Job) -> None:
        raise KeyError("x")

    async def scene():
        with pytest.raises(KeyError):
            await jobs.run(jobs.arrive("a"), fail)
        assert jobs.counts() == (0, 0)

    asyncio.run(scene())


def test_a_job_that_nobody_fetches_ends(caplog):
    jobs = Jobs(stream_grace_s=0.05)

    async def scene():
        work = Work()
        with pytest.raises(Cancelled, match="Nobody came"):
            await jobs.run(jobs.arrive("a"), work)
        job = jobs.arrive("a")
        job.fetched = True
        assert await jobs.run(job, Work(20)) == "done"

    asyncio.run(scene())
    jobs.close()


def test_closing_stops_everything():
    jobs = Jobs()

    async def scene():
        running, waiting = Work(), Work()
        tasks = [(await begin(jobs, work))[1] for work in (running, waiting)]
        await until(running.started)
        jobs.close()
        for task in tasks:
            with pytest.raises(Cancelled, match="shutting down"):
                await task
        await until(running.ended)
        with pytest.raises(Cancelled):
            await jobs.run(jobs.arrive("a"), Work(1))

    asyncio.run(scene())


def test_two_jobs_at_once_when_allowed():
    jobs = Jobs(at_once=2)

    async def scene():
        works = [Work(20), Work(20)]
        tasks = [(await begin(jobs, work))[1] for work in works]
        for work in works:
            await until(work.started)
        assert jobs.counts() == (2, 0)
        await asyncio.gather(*tasks)

    asyncio.run(scene())
    jobs.close()


def test_jobs_are_found_by_their_stream_and_forgotten():
    jobs = Jobs()
    for number in range(2100):
        job = jobs.arrive("a")
        jobs.name_stream(str(number), job)
    assert jobs.of_stream("0") is None and jobs.of_stream("2099") is job
    assert len(jobs._live) <= 2000
    jobs.forget(job, "2099")
    assert jobs.of_stream("2099") is None and job.over
    jobs.close()


@pytest.mark.parametrize(("at_once", "waiting"), [(0, 1), (1, -1)])
def test_a_queue_that_could_do_nothing_is_refused(at_once, waiting):
    with pytest.raises(ValueError, match="at least 1 and 0"):
        Jobs(at_once, waiting)


def test_what_threads_need_is_done_once_in_each():
    made, threads = Jobs(at_once=3), set()
    made.in_every_thread(lambda: threads.add(threading.get_ident()))
    assert len(threads) == 3

    def fails() -> None:
        raise ValueError("no such device")

    with pytest.raises(ValueError, match="no such device"):
        made.in_every_thread(fails)

    async def after() -> int:
        return await made.run(made.arrive("a"), lambda job: threading.get_ident())

    assert asyncio.run(after()) in threads
    made.close()


def test_a_job_is_fetched_by_whoever_reads_its_stream_before_or_after():
    jobs = Jobs(stream_grace_s=0.05)

    async def scene():
        jobs.listen("early")
        early = jobs.arrive("a")
        jobs.name_stream("early", early)
        assert await jobs.run(early, Work(20)) == "done"
        late = jobs.arrive("a")
        jobs.name_stream("late", late)
        task = asyncio.create_task(jobs.run(late, Work(20)))
        await asyncio.sleep(0.02)
        jobs.listen("late")
        assert await task == "done"
        assert jobs.unlisten("early")
        gone = jobs.arrive("a")
        jobs.name_stream("early", gone)
        with pytest.raises(Cancelled, match="Nobody came"):
            await jobs.run(gone, Work())

    asyncio.run(scene())
    jobs.close()


def test_all_jobs_of_a_stream_stop_with_it_and_none_is_kept():
    jobs = Jobs(waiting=3)

    async def scene():
        works = [Work(), Work()]
        tasks = []
        for work in works:
            job, task = await begin(jobs, work)
            jobs.name_stream("page", job)
            tasks.append(task)
        never_run = jobs.arrive("a")
        jobs.name_stream("page", never_run)
        assert jobs.of_stream("page") is never_run
        assert jobs.stop_stream("page", "The page was closed.") == 3
        for task in tasks:
            with pytest.raises(Cancelled, match="page was closed"):
                await task
        assert not jobs._live

    asyncio.run(scene())
    jobs.close()


def test_a_waiting_job_knows_its_place():
    jobs = Jobs(waiting=3)

    async def scene():
        running = await begin(jobs, Work(30))
        waiting = [await begin(jobs, Work(1)) for _ in range(2)]
        assert jobs.place(running[0]) is None
        assert [jobs.place(job) for job, _ in waiting] == [(1, 2), (2, 2)]
        await asyncio.gather(*(task for _, task in [running, *waiting]))

    asyncio.run(scene())
    jobs.close()
