"""Where commands write: files that appear whole or not at all, and lines beside the result."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

HIDDEN = ".vampnet-"  # start of the names of folders that are gone at the end


def say(line: object) -> None:
    """A line on standard error, where it disturbs no pipe."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def appearing(targets: Sequence[Path]) -> Iterator[list[Path]]:
    """Places to write to; what lies there moves to the targets at the end, or is deleted."""
    whole = [target.resolve() for target in targets]
    with ExitStack() as stack:
        hidden = {
            folder: Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix=HIDDEN, dir=folder))
            )
            for folder in {target.parent for target in whole}
        }
        places = [hidden[target.parent] / target.name for target in whole]
        yield places
        for place, target in zip(places, whole, strict=True):
            os.replace(place, target)
