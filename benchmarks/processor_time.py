"""Run a measurement with the processor's time of this process in place of the wall clock.

    OMP_NUM_THREADS=1 python benchmarks/processor_time.py -m vampnet bench --channels 2

For a machine that has other work to do: with one thread the figures then tell what the work costs,
not how long it waited for its turn.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    """Run the script or module named on the command line, its clock replaced."""
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
