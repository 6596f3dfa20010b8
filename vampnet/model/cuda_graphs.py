"""Passes of a model on a CUDA device, recorded as a graph for each shape and played back.

A pass of a small batch is hundreds of short kernels: eagerly it takes longer to launch them than to
run them. A shape is recorded when it has come twice, so that what is seen once costs nothing more.

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
from functools import cache
from typing import Any

import torch
from torch import Tensor

Pass = Callable[[Tensor], Tensor]
Key = tuple[torch.device, tuple[int, ...]]
KEPT = 8  # shapes whose recordings are kept: lengths of windows times sizes of batches
REMEMBERED = 64  # shapes whose passes are counted
EAGER = 2  # passes of a shape before it is recorded
_RECORDING = threading.Lock()  # a process can record one graph at a time


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """The stream on which a device's passes are recorded."""
    return torch.cuda.Stream(device)


def _forget_scratch() -> None:
    """The products' scratch memory is a stream's: a recording must neither share nor outlive it.

    Forgotten before a pass is recorded, it is allocated anew in the recording's own pool.
    """
    forget = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)  # only CUDA's torch has it
    if forget is not None:
        forget()


class CudaRecording:
    """One recorded pass: the same kernels on the same memory, whatever codes are put there."""

    def __init__(self, run: Pass, codes: Tensor, pool: Any):
        """Records; RuntimeError where a step cannot be recorded.

        The pass runs once before: libraries set themselves up for each thread, and must not while
        it records. Nobody may interrupt it either, or the device would be left recording.
        """
        with _RECORDING, torch._C.DisableTorchFunction(), torch.cuda.device(codes.device):
            self.codes, self.graph = codes.clone(), torch.cuda.CUDAGraph()
            here, aside = torch.cuda.current_stream(), _aside(codes.device)
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                run(self.codes)
                _forget_scratch()
                self.graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                try:
                    self.made = run(self.codes)
                finally:
                    self.graph.capture_end()
                    _forget_scratch()
            here.wait_stream(aside)

    def play(self, codes: Tensor) -> Tensor:
        """The pass on other codes of the same shape; a new tensor."""
        self.codes.copy_(codes)
        self.graph.replay()
        return self.made.clone()


def reached(device: torch.device) -> Any:
    """An event that has come when a device has done all it was given so far; None on a CPU."""
    if device.type == "cuda":
        event = torch.cuda.Event(blocking=True)  # who waits for it sleeps
        event.record(torch.cuda.current_stream(device))
        return event
    if device.type == "mps":
        event = torch.mps.event.Event()
        event.record()
        return event
    return None


class RecordedPass:
    """``run`` behind recordings of it by shape; the least recently used one is given up first.

    run: int64 codes to a float tensor, without randomness and without a look at a value.
    record: what makes a recording; None where there is none, and passes are only paced. reads:
    tensors that the last pass read and ``run`` may give up; its recording keeps them. Calls are
    made one after the other. What cannot be recorded runs as it did, after one warning.
    """

    def __init__(
        self,
        run: Pass,
        record: Callable[..., Any] | None = CudaRecording,
        reached: Callable[[torch.device], Any] = reached,
        reads: Callable[[], list[Tensor]] = list,
    ):
        self.run, self.record, self.reached, self.reads = run, record, reached, reads
        self.before_last: Any = None  # event: what was asked for before the last pass is done
        self.seen: OrderedDict[Key, int] = OrderedDict()  # passes of a shape that ran eagerly
        self.recordings: OrderedDict[Key, Any] = OrderedDict()
        self.pool: Any = None
        self.turn = threading.Lock()

    def __call__(self, codes: Tensor) -> Tensor:
        """What ``run`` gives for these codes."""
        if torch.is_grad_enabled():
            return self.run(codes)
        with self.turn:
            self._wait(codes.device)
            shape = codes.device, tuple(codes.shape)
            recording = self.recordings.get(shape) or self._recorded(shape, codes)
            if recording is None:
                made = self.run(codes)
                _remember(self.seen, shape, self.seen.get(shape, 0) + 1, REMEMBERED)
                return made
            _remember(self.recordings, shape, recording, KEPT)
            return recording.play(codes)

    def _wait(self, device: torch.device) -> None:
        """Until the last pass has begun on the device; it has work while this one is asked for."""
        before, self.before_last = self.before_last, self.reached(device)
        if before is not None:
            before.synchronize()

    def _recorded(self, shape: Key, codes: Tensor) -> Any:
        """A new recording, in memory shared with the others (they never play at once), or None."""
        if self.record is None or self.seen.get(shape, 0) < EAGER:
            return None
        try:
            if codes.is_cuda and not self.recordings:  # memory of no graph cannot be shared
                self.pool = torch.cuda.graph_pool_handle()
            with torch.inference_mode(False), torch.no_grad():
                made = self.record(self.run, codes, self.pool)
            made.reads = self.reads()
            return made
        except RuntimeError as error:
            self.record = None
            self.recordings.clear()
            warnings.warn(f"passes run unrecorded: {error}", RuntimeWarning, stacklevel=3)
            return None


def _remember(known: OrderedDict[Key, Any], shape: Key, value: Any, most: int) -> None:
    known[shape] = value
    known.move_to_end(shape)
    while len(known) > most:
        known.popitem(last=False)
