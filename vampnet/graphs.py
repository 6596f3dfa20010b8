"""Passes of a model on a CUDA device, recorded as a graph for each shape and played back.

A pass of a small batch is hundreds of short kernels: eagerly it takes longer to launch them than to
run them. A shape is recorded when it comes a second time, so a single pass costs nothing more, and
the first one has set up the libraries that must not be set up during a recording.

Nothing in a pass or behind it waits for the device, so the host would soon be a whole request
ahead. It is held one pass ahead: enough that the device never rests, and progress and cancelling
are as true as on a processor.
Source: the CUDA programming guide, "CUDA Graphs".
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Pass = Callable[[Tensor], Tensor]
Key = tuple[torch.device, tuple[int, ...]]
KEPT = 8  # shapes whose recordings are kept: lengths of windows times sizes of batches


class CudaRecording:
    """One recorded pass: the same kernels on the same memory, whatever codes are put there."""

    def __init__(self, run: Pass, codes: Tensor, pool: Any):
        """Records; nothing is computed yet. RuntimeError where a step cannot be recorded."""
        self.codes, self.graph = codes.clone(), torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(codes.device),
            torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"),
        ):
            self.made = run(self.codes)

    def play(self, codes: Tensor) -> Tensor:
        """The pass on other codes of the same shape; a new tensor."""
        self.codes.copy_(codes)
        self.graph.replay()
        return self.made.clone()


def reached(device: torch.device) -> Any:
    """An event that has come when a CUDA device has done all it was given so far."""
    if device.type != "cuda":
        return None
    return torch.cuda.current_stream(device).record_event()


class RecordedPass:
    """``run`` behind recordings of it by shape; the least recently used one is given up first.

    run: int64 codes to a float tensor, without randomness and without a look at a value.
    Calls are made one after the other. What cannot be recorded runs as it did, after one warning.
    """

    def __init__(
        self,
        run: Pass,
        record: Callable[..., Any] = CudaRecording,
        reached: Callable[[torch.device], Any] = reached,
    ):
        self.run, self.record, self.reached = run, record, reached
        self.before_last: Any = None  # event: what was asked for before the last pass is done
        self.recordings: OrderedDict[Key, Any] = OrderedDict()  # None: seen once
        self.pool: Any = None
        self.works = True
        self.turn = threading.Lock()

    def __call__(self, codes: Tensor) -> Tensor:
        """What ``run`` gives for these codes."""
        if torch.is_grad_enabled():
            return self.run(codes)
        with self.turn:
            self._wait(codes.device)
            if not self.works:
                return self.run(codes)
            shape = codes.device, tuple(codes.shape)
            if shape not in self.recordings:
                self._remember(shape, None)
                return self.run(codes)
            recording = self.recordings[shape] or self._recorded(codes)
            if recording is None:
                return self.run(codes)
            self._remember(shape, recording)
            return recording.play(codes)

    def _wait(self, device: torch.device) -> None:
        """Until the last pass has begun on the device; it has work while this one is asked for."""
        before, self.before_last = self.before_last, self.reached(device)
        if before is not None:
            before.synchronize()

    def _recorded(self, codes: Tensor) -> Any:
        """A new recording, in memory shared with the others: they never play at once."""
        try:
            if self.pool is None and codes.is_cuda:
                self.pool = torch.cuda.graph_pool_handle()
            with torch.inference_mode(False), torch.no_grad():
                return self.record(self.run, codes, self.pool)
        except RuntimeError as error:
            self.works = False
            self.recordings.clear()
            warnings.warn(f"passes run unrecorded: {error}", RuntimeWarning, stacklevel=3)
            return None

    def _remember(self, shape: Key, recording: Any) -> None:
        self.recordings[shape] = recording
        self.recordings.move_to_end(shape)
        while len(self.recordings) > KEPT:
            self.recordings.popitem(last=False)
