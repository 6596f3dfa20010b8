"""``python -m harp_app``: serve the endpoint with the default options."""

from __future__ import annotations

import argparse
import logging
import sys

from harp_app import check_installed
from vampnet.system.allocator import keep_freed_memory
from vampnet.system.errors import UserError


def main() -> int:
    """Serve; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m harp_app", description=__doc__, argument_default=argparse.SUPPRESS
    )
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--secret", help="a word; the address is then http://HOST:PORT/WORD")
    parser.add_argument("--takes", type=int, help="output tracks, 1 to 4")
    parser.add_argument("--models", help="a folder of model folders to choose from")
    parser.add_argument("--device")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    keep_freed_memory()
    try:
        check_installed()
        from harp_app.server import serve

        serve(**vars(chosen))
    except (UserError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
