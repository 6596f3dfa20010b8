"""A really started server around a pipeline that does nothing but take its time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from harp_app import server
from harp_app.jobs.model_cache import Models
from vampnet import checkpoints
from vampnet.pipeline import Pipeline, Vamp
from vampnet.presets import Preset
from vampnet.prompt import Prompt
from vampnet.prompt.beats import beat_grid

RATE_HZ = 44100


@dataclass(repr=False)
class FakePipeline(Pipeline):
    """`vamp` sleeps `step_s` in each of the sampling's steps, then returns its input, quieter.

    The seed and the prompt's period shift the sound a little, so that results differ.
    """

    step_s: float = 0.0
    calls: list[dict[str, Any]] = field(default_factory=list)
    steps_done: int = 0
    started: threading.Event = field(default_factory=threading.Event)

    name = "fake"
    codec = SimpleNamespace(
        sample_rate=RATE_HZ, hop_length=768, n_codebooks=4, codebooks=torch.zeros(1)
    )
    recommended = checkpoints.recommended_of("default")

    def vamp(
        self, audio, prompt, sampling, seed, *, takes=1, bpm=None, beat_offset_s=0.0, beats=None,
        on_step=None,
    ):  # fmt: skip
        self.calls.append({"prompt": prompt, "sampling": sampling, "seed": seed, "bpm": bpm})
        self.started.set()
        for step in range(sampling.steps):
            time.sleep(self.step_s)
            self.steps_done += 1
            if on_step is not None:
                on_step(step + 1, sampling.steps)
        made = [audio[:, 0].roll(seed % 97 + take + prompt.period, -1) for take in range(takes)]
        if prompt.needs_beats and beats is None:
            beats = beat_grid(bpm or 120.0, audio.shape[-1] / RATE_HZ)
        return Vamp(torch.stack(made), torch.zeros(1), torch.ones(1), beats, seed)


FAKE_PRESETS: Mapping[str, Preset] = {
    "loop-variation": Preset(
        "loop-variation", "a loop", Prompt(period=7, loop=True), {"steps": 24}
    ),
    "compress": Preset("compress", "fewer", Prompt(compression=3), {"steps": 24}),
    "beat-variation": Preset("beat-variation", "beats", Prompt(beat_ms=75), {"steps": 24}),
}


@dataclass
class Running:
    """A server at work: its address, what it is built of, the pipeline behind it, its loadings."""

    address: str
    endpoint: server.Endpoint
    pipeline: Any
    loads: list[str]


@contextlib.contextmanager
def running(pipeline: Any, presets=FAKE_PRESETS, models=None, **options: Any) -> Iterator[Running]:
    """Serve on a free port of 127.0.0.1 in a thread; stop it at the end."""
    chosen = server.Options(**{"port": 0, **options})
    listener = server.bind(chosen.host, chosen.port)
    loads: list[str] = []
    known = Models(models, load=lambda place, device: loads.append(place) or pipeline)
    endpoint = server.build(chosen, known, presets)
    ready, found = threading.Event(), []
    thread = threading.Thread(
        target=server.run, args=(endpoint, chosen, listener, ready.set, found.append), daemon=True
    )
    thread.start()
    assert ready.wait(20), "the server did not start"
    address = f"http://127.0.0.1:{listener.getsockname()[1]}{chosen.prefix}"
    try:
        yield Running(address, endpoint, pipeline, loads)
    finally:
        found[0].should_exit = True
        thread.join(15)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"


def wait_for(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Look every few milliseconds until it is so."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
