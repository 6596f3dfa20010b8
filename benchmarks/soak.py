"""Soak test: many short jobs, random cancels and disconnects; memory, threads, files stay bounded.

    python benchmarks/soak.py --jobs 500            (a fake pipeline that only sleeps)
    python benchmarks/soak.py --jobs 100 --real     (the embedded model)

Prints a line every tenth of the jobs, then the latency of cancels and of `controls`. Needs /proc.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

from fake_endpoint import FAKE_PRESETS, FakePipeline, Running, running  # noqa: E402
from harp_client import HarpClient, HarpError  # noqa: E402

STEP_S = 0.004


def figures(site: Running) -> dict[str, float]:
    """Resident memory in MB, threads, open files, files in the private folder."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    rss_kb = next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
    files = sum(len(names) for _, _, names in os.walk(site.endpoint.storage.root))
    return {
        "rss_mb": rss_kb / 1024,
        "threads": threading.active_count(),
        "open_files": len(os.listdir("/proc/self/fd")),
        "temp_files": files,
    }


def one_job(site: Running, clip: Path, rng: random.Random, times: dict[str, list[float]]) -> str:
    """Run, cancel or abandon a job; return how it ended."""
    client = HarpClient(site.address)
    start = time.monotonic()
    client.load()
    times["controls"].append(time.monotonic() - start)
    kind = rng.choice(["finish", "finish", "cancel", "disconnect"])
    event = client.start(client.upload(clip), client.values())
    if kind == "disconnect":
        connection, response = client.request("GET", f"/gradio_api/call/process/{event}")
        time.sleep(rng.uniform(0, 0.1))
        response.close()
        connection.close()
        return "disconnected"
    if kind == "cancel":
        timer = threading.Timer(rng.uniform(0, 0.1), client.cancel)
        timer.start()
    try:
        files, _ = client.outcome(event)
        client.download(files[0])
        return "finished"
    except HarpError as error:
        return error.text
    finally:
        if kind == "cancel":
            timer.join()


def cancel_latency(site: Running, clip: Path, times: dict[str, list[float]]) -> None:
    """Measure the time from a cancel to the end of the job in HARP, and to an idle server."""
    client = HarpClient(site.address)
    client.load()
    jobs = site.endpoint.jobs
    event = client.start(client.upload(clip), client.values(steps=64))
    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(lambda: _error(client, event))
        while jobs.counts()[0] == 0:
            time.sleep(0.001)
        time.sleep(0.1)
        start = time.monotonic()
        client.cancel()
        end.result()
        times["cancel_reported"].append(time.monotonic() - start)
        while jobs.counts()[0]:
            time.sleep(0.001)
        times["cancel_free"].append(time.monotonic() - start)


def _error(client: HarpClient, event: str) -> str:
    try:
        client.outcome(event)
        return "finished"
    except HarpError as error:
        return error.text


def soak(site: Running, n_jobs: int, clients: int, seconds: float) -> None:
    """Run the jobs; print resource usage after every tenth of them."""
    rng = random.Random(0)
    times: dict[str, list[float]] = {"controls": [], "cancel_reported": [], "cancel_free": []}
    ends: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(clients) as pool:
        clip = Path(folder, "clip.wav")
        sound = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * 44100), 2))
        soundfile.write(clip, sound, 44100)
        start = time.monotonic()
        for tenth in range(10):
            seeds = [rng.random() for _ in range(n_jobs // 10)]
            for end in pool.map(lambda s: one_job(site, clip, random.Random(s), times), seeds):
                ends[end] = ends.get(end, 0) + 1
            row = "  ".join(f"{name} {value:.0f}" for name, value in figures(site).items())
            print(f"{(tenth + 1) * 10:3d} %  {time.monotonic() - start:6.1f} s  {row}", flush=True)
        for _ in range(10):
            cancel_latency(site, clip, times)
        while any(site.endpoint.jobs.counts()):
            time.sleep(0.05)
        time.sleep(site.endpoint.storage.keep_s * 1.5)
        print(f"at rest            {figures(site)}")
    print(f"ends: {ends}")
    for name, values in times.items():
        print(f"{name}: median {statistics.median(values):.3f} s, worst {max(values):.3f} s")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of the clip")
    parser.add_argument("--real", action="store_true", help="with the embedded model")
    chosen = parser.parse_args()
    pipeline, presets = FakePipeline(step_s=STEP_S), FAKE_PRESETS
    if chosen.real:
        from vampnet.pipeline import Pipeline
        from vampnet.presets import presets as shipped

        pipeline, presets = Pipeline.from_pretrained("default"), shipped()
    start = time.monotonic()
    with running(pipeline, presets, keep_s=4.0) as site:
        print(f"ready after {time.monotonic() - start:.1f} s, {os.cpu_count()} cores")
        soak(site, chosen.jobs, chosen.clients, chosen.seconds)


if __name__ == "__main__":
    main()
