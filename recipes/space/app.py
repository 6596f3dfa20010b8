"""The endpoint as a Hugging Face Space: on a CPU, on a GPU of its own, or on ZeroGPU.

ZeroGPU lends a GPU to single functions, which run in a process that is forked for them. There the
models stay on the CPU in this process, which also prepares and writes files, and each variation is
one call of :func:`vary_on_gpu`; its process loads the models onto the GPU when it is first used.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

try:  # before anything that may touch CUDA
    import spaces  # pyright: ignore[reportMissingImports]
except ImportError:  # not on a Space, or on one without its library
    spaces = None

# Only the Hub's proxy reaches a Space; its header identifies each visitor.
os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")

import torch  # noqa: E402

from harp_app.server import serve  # noqa: E402
from vampnet.pipeline import Pipeline  # noqa: E402

GPU = "cuda"
LONGEST_S = 60  # seconds for which a GPU is asked
PORT = 7860

_serving = threading.Event()
_on_gpu: dict[str, Pipeline] = {}  # in the process that has the GPU


def _vary(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name not in _on_gpu:
        _on_gpu[name] = Pipeline.from_pretrained(name, device=GPU, keep_weights=False)
    made = _on_gpu[name].vamp(*args, **kwargs)
    parts = {field.name: getattr(made, field.name) for field in fields(made)}
    return replace(made, **{name: p.cpu() for name, p in parts.items() if torch.is_tensor(p)})


vary_on_gpu: Callable[..., Any] = spaces.GPU(duration=LONGEST_S)(_vary) if spaces else _vary


def load(name: str, device: str) -> Pipeline:
    """Return a pipeline on ``device`` that borrows a GPU for each variation.

    Before the server answers it uses its own device: no GPU is lent for warming up. Steps are not
    reported from the GPU's process, and what runs there runs to its end when it is cancelled.
    """
    pipeline = Pipeline.from_pretrained(name, device=device, keep_weights=False)
    here = pipeline.vamp

    def vamp(*args: Any, **kwargs: Any) -> Any:
        if not _serving.is_set():
            return here(*args, **kwargs)
        kwargs = {key: value for key, value in kwargs.items() if not callable(value)}
        return vary_on_gpu(name, args, kwargs)

    pipeline.vamp = vamp
    return pipeline


def on_zero_gpu() -> bool:
    """Return True where GPUs are lent to functions."""
    return spaces is not None and os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "true")


def started(line: str) -> None:
    """Print a line of the server; with the first one ZeroGPU learns what may ask for a GPU.

    Its library does that when gradio starts a server of its own, which ours is not.
    """
    if not _serving.is_set():
        _serving.set()
        report = getattr(importlib.import_module("spaces.zero"), "startup", None)
        if report is not None:
            report()
    print(line, flush=True)


def main() -> None:
    """Serve until the Space is stopped."""
    logging.basicConfig(level=logging.INFO)
    if on_zero_gpu():
        serve(host="0.0.0.0", port=PORT, device="cpu", load=load, say=started)
    else:
        device = GPU if torch.cuda.is_available() else "cpu"
        serve(host="0.0.0.0", port=PORT, device=device)


if __name__ == "__main__":
    main()
