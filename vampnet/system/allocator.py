"""Allocator settings of the process: keep freed memory for the next tensors.

A forward pass allocates and frees tensors of 3 to 30 MB. By default glibc returns such memory to
the system at once, which then clears every page again at the next allocation: a twentieth of the
time of a request (docs/benchmarks.md).
"""

from __future__ import annotations

import ctypes
import os

KEPT_BYTES = 512 << 20  # freed memory at the end of the heap that is not returned
FROM_HEAP_BYTES = 256 << 20  # larger blocks are mapped separately
# mallopt's parameters, from malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> bool:
    """Make glibc keep up to ``KEPT_BYTES`` of freed memory, in one heap for all threads.

    This affects the whole process, so commands call it and the library does not.

    Returns:
        False, without effect, with another C library or where the environment configures the
        allocator already.
    """
    tuned = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")) for name in os.environ)
    if tuned or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wanted = ((_MMAP_THRESHOLD, FROM_HEAP_BYTES), (_TRIM_THRESHOLD, KEPT_BYTES), (_ARENA_MAX, 1))
    return all(mallopt(name, value) == 1 for name, value in wanted)


def _is_glibc() -> bool:
    try:
        return str(os.confstr("CS_GNU_LIBC_VERSION")).startswith("glibc")
    except (AttributeError, OSError, ValueError):  # not available on this system
        return False
