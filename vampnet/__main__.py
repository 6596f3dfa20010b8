"""``python -m vampnet``: the command, where no script of its name is on the path."""

from __future__ import annotations

import sys

from vampnet.cli import main

sys.exit(main())
