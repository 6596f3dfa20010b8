"""How many values a request has: gradio drops surplus ones and fails without words for fewer."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import gradio as gr

from harp_app.settings import older_controls
from vampnet.system.errors import UserError

_n_sent: ContextVar[int | None] = ContextVar("n_sent", default=None)


def count_values(blocks: gr.Blocks) -> None:
    """Have ``process`` called whatever the number of values; :func:`check_number` knows it then.

    HARP keeps the controls of an address that it loaded and sends their values; after an update of
    the endpoint these may be of other controls.
    """
    validate = blocks.validate_inputs

    def count(block_fn: Any, inputs: list[Any]) -> None:
        if block_fn.api_name == "process":
            _n_sent.set(len(inputs) - 1)  # without the clip
            inputs.extend([None] * (len(block_fn.inputs) - len(inputs)))
        validate(block_fn, inputs)

    blocks.validate_inputs = count


def check_number(values: Sequence[Any]) -> None:
    """Raise UserError where a request had another number of values than ``values``."""
    n_sent = _n_sent.get()
    if n_sent is not None and n_sent != len(values):
        raise UserError(older_controls(max(0, n_sent), len(values)))
