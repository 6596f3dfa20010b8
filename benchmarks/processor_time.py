"""Run a measurement with the CPU time of this process instead of the wall clock.

    OMP_NUM_THREADS=1 python benchmarks/processor_time.py -m vampnet bench --channels 2

For a machine under other load: with one thread, the results are the cost of the work without the
time spent waiting for a core.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    """Run the script or module named on the command line with its clock replaced."""
    time.perf_counter = time.process_time
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
