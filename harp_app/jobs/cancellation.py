"""Stopping a job in the middle of a pass: every torch operation asks first whether to go on.

A sampling step of a long region takes seconds on a CPU, and the codec has no steps at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode


class Asking(TorchFunctionMode):
    """``with Asking(check):`` torch calls of this thread call ``check()`` first.

    What ``check`` raises ends whatever was being computed. Other threads do not notice.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Ask, then do what was called."""
        self._check()
        return func(*args, **(kwargs or {}))
