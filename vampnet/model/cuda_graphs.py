"""CUDA graphs of a model's forward pass: one graph per input shape, captured once and replayed.

A forward pass of a small batch is hundreds of short kernels: eagerly, launching them takes longer
than running them. A shape is captured after it has occurred twice, so that a shape that occurs once
has no overhead.

Nothing in a pass or after it synchronises with the device, so the host would soon be a whole
request ahead. It is limited to one pass ahead: enough to keep the device busy, while progress and
cancellation are as accurate as on a CPU.
Source: the CUDA programming guide, "CUDA Graphs".
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

Forward = Callable[[Tensor], Tensor]
Key = tuple[torch.device, tuple[int, ...]]
MAX_GRAPHS = 8  # cached graphs: lengths of windows times sizes of batches
MAX_COUNTED_SHAPES = 64  # shapes whose eager calls are counted
EAGER_CALLS = 2  # calls of a shape before it is captured
_CAPTURE_LOCK = threading.Lock()  # a process can capture one graph at a time


@cache
def _capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream on which a device's graphs are captured."""
    return torch.cuda.Stream(device)


def _clear_cublas_workspaces() -> None:
    """Free the cuBLAS workspaces, which belong to a stream.

    A graph must neither share nor outlive one. Freed before a capture, the workspace is allocated
    again in the graph's own memory pool.
    """
    clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)  # only CUDA builds have it
    if clear is not None:
        clear()


class CapturedGraph:
    """One captured forward pass: fixed kernels and memory; only the input values change."""

    def __init__(self, run: Forward, codes: Tensor, pool: Any):
        """Capture ``run``.

        It runs eagerly once before: libraries initialise themselves per thread, which must not
        happen during the capture. Torch function modes, by which a caller may interrupt a pass, are
        disabled meanwhile, or the device would be left capturing.

        Args:
            run: the forward pass.
            codes: int64, an input of the shape to capture.
            pool: the memory pool shared by the graphs.

        Raises:
            RuntimeError: where an operation cannot be captured.
        """
        with _CAPTURE_LOCK, torch._C.DisableTorchFunction(), torch.cuda.device(codes.device):
            self.codes, self.graph = codes.clone(), torch.cuda.CUDAGraph()
            current, stream = torch.cuda.current_stream(), _capture_stream(codes.device)
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                run(self.codes)
                _clear_cublas_workspaces()
                self.graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                try:
                    self.output = run(self.codes)
                finally:
                    self.graph.capture_end()
                    _clear_cublas_workspaces()
            current.wait_stream(stream)

    def replay(self, codes: Tensor) -> Tensor:
        """Return the output for other codes of the same shape, in a new tensor."""
        self.codes.copy_(codes)
        self.graph.replay()
        return self.output.clone()


def record_event(device: torch.device) -> Any:
    """Record an event after all work queued on a device so far; None on a CPU."""
    if device.type == "cuda":
        event = torch.cuda.Event(blocking=True)  # a thread that waits for it sleeps
        event.record(torch.cuda.current_stream(device))
        return event
    if device.type == "mps":
        event = torch.mps.event.Event()
        event.record()
        return event
    return None


class GraphedForward:
    """A forward pass with a cache of CUDA graphs by shape (least recently used is evicted).

    Calls are serialised. A pass that cannot be captured runs eagerly, after one warning.
    """

    def __init__(
        self,
        run: Forward,
        capture: Callable[..., Any] | None = CapturedGraph,
        record_event: Callable[[torch.device], Any] = record_event,
        referenced: Callable[[], list[Tensor]] = list,
    ):
        """Wrap ``run``.

        Args:
            run: int64 codes to a float tensor, without randomness or data-dependent control flow.
            capture: makes a graph; None where there are none, and calls are only paced.
            record_event: see :func:`record_event`.
            referenced: returns the tensors that the last pass read and ``run`` may free; the graph
                keeps a reference to them.
        """
        self.run, self.capture = run, capture
        self.record_event, self.referenced = record_event, referenced
        self.previous_event: Any = None  # recorded before the last pass was queued
        self.eager_calls: OrderedDict[Key, int] = OrderedDict()
        self.graphs: OrderedDict[Key, Any] = OrderedDict()
        self.pool: Any = None
        self.lock = threading.Lock()

    def __call__(self, codes: Tensor) -> Tensor:
        """Return the output of ``run`` for these codes."""
        if torch.is_grad_enabled():
            return self.run(codes)
        with self.lock:
            self._pace(codes.device)
            shape = codes.device, tuple(codes.shape)
            graph = self.graphs.get(shape) or self._captured(shape, codes)
            if graph is None:
                output = self.run(codes)
                count = self.eager_calls.get(shape, 0) + 1
                _store(self.eager_calls, shape, count, MAX_COUNTED_SHAPES)
                return output
            _store(self.graphs, shape, graph, MAX_GRAPHS)
            return graph.replay(codes)

    def _pace(self, device: torch.device) -> None:
        """Wait until the last pass has started on the device, which stays busy meanwhile."""
        before, self.previous_event = self.previous_event, self.record_event(device)
        if before is not None:
            before.synchronize()

    def _captured(self, shape: Key, codes: Tensor) -> Any:
        """A new graph, in memory shared with the others (they never run at once), or None."""
        if self.capture is None or self.eager_calls.get(shape, 0) < EAGER_CALLS:
            return None
        try:
            if codes.is_cuda and not self.graphs:  # a pool without a graph cannot be shared
                self.pool = torch.cuda.graph_pool_handle()
            with torch.inference_mode(False), torch.no_grad():
                graph = self.capture(self.run, codes, self.pool)
            graph.referenced = self.referenced()
            return graph
        except RuntimeError as error:
            self.capture = None
            self.graphs.clear()
            text = f"no CUDA graphs, passes run eagerly: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=3)
            return None


def _store(cached: OrderedDict[Key, Any], shape: Key, value: Any, capacity: int) -> None:
    cached[shape] = value
    cached.move_to_end(shape)
    while len(cached) > capacity:
        cached.popitem(last=False)
