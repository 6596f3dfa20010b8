"""Freed memory that the process keeps."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vampnet.system import allocator

# page faults of making, again and again, what was freed before, two tensors of 12 MB: the median
# of a round, for now and then the system takes pages back
PROBE = """
import resource, statistics, torch
from vampnet.system.allocator import keep_freed_memory
torch.set_num_threads(1)
print(keep_freed_memory())
def pages():
    x = torch.zeros(3_000_000); y = x + 1; del x, y
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3): pages()
seen = [pages() for _ in range(11)]
print(round(statistics.median(after - before for before, after in zip(seen, seen[1:]))))
"""


def probe(**environment: str) -> list[str]:
    tuned = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "LD_PRELOAD"))}
    command = [sys.executable, "-c", PROBE]
    done = subprocess.run(
        command, env={**tuned, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.skipif(not allocator._is_glibc(), reason="another C library")
def test_new_tensors_reuse_the_pages_of_freed_ones() -> None:
    kept, faults = probe()
    assert kept == "True" and int(faults) < 50
    kept, faults = probe(MALLOC_TRIM_THRESHOLD_="1000000")  # the user's own tuning stays
    assert kept == "False" and int(faults) > 1000


def test_another_c_library_is_left_alone(monkeypatch) -> None:
    monkeypatch.setattr(allocator, "_is_glibc", lambda: False)
    assert allocator.keep_freed_memory() is False
