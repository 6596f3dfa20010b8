"""Generation over audio of any length: both models, window by window.

Audio longer than a model's context length is generated in two batched passes: every other window
first, each with context on both sides, then the windows between them, whose neighbours are complete
by then. So no window lacks context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vampnet.model import Sampling, generate
from vampnet.model.vampnet import VampNet
from vampnet.model.windows import Window, batch_windows, split_windows, windows_to_fill
from vampnet.system.random_streams import random_stream

COARSE_WINDOW = 575  # frames (10 s): context length of the published coarse model
FINE_WINDOW = 173  # frames (3 s): context length of the published coarse-to-fine model

StepCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class _WindowPass:
    """One model over some windows; masked: bool (N, T), the positions this stage generates."""

    model: VampNet
    masked: Tensor
    batches: list[list[Window]]
    steps: int
    place: tuple[int, int]


class _StepCounter:
    """Adds the steps of many calls up to one progress count."""

    def __init__(self, total: int, on_step: StepCallback | None):
        self.done, self.total, self.on_step = 0, total, on_step

    def callback(self, steps: int) -> StepCallback:
        base = self.done
        self.done += steps

        def report(done: int, _: int) -> None:
            if self.on_step:
                self.on_step(base + done, self.total)

        return report


def generate_windowed(
    coarse: VampNet,
    c2f: VampNet | None,
    codes: Tensor,
    mask: Tensor,
    sampling: Sampling,
    seed: int,
    *,
    takes: int = 1,
    loop: bool = False,
    on_step: StepCallback | None = None,
) -> Tensor:
    """Fill the masked positions with the coarse, then the coarse-to-fine model.

    Args:
        coarse, c2f: the models; c2f may be None.
        codes: int64 (C, N, T) on the models' device.
        mask: bool (N, T) on the CPU, True = generate.
        sampling: settings of both stages.
        seed: every take, stage and window has its own generator derived from it.
        takes: variations generated as one batch.
        loop: windows wrap around the end of the audio.
        on_step: called as ``on_step(done, total)`` at least once per step.

    Returns:
        int64 (takes * C, N', T), N' the codebooks of the last model.
    """
    codes = codes.repeat(takes, 1, 1)
    passes = _passes(coarse, c2f, codes, mask, loop, sampling)
    counter = _StepCounter(sum(p.steps * len(p.batches) for p in passes), on_step)
    unfilled = mask.clone()
    for p in passes:
        n = p.model.config.n_codebooks
        masked = unfilled[:n] & p.masked  # every batch of a pass sees the state before the pass
        for batch in p.batches:
            streams = [
                [random_stream(seed, *p.place, take, w.keep_from) for w in batch]
                for take in range(takes)
            ]
            done = counter.callback(p.steps)
            inputs = codes[:, :n]
            codes[:, :n] = _fill_batch(p, inputs, masked, batch, sampling, streams, done)
            for w in batch:
                kept = w.kept(codes.shape[-1])
                unfilled[:n, kept] &= ~p.masked[:, kept]
    return codes[:, : (c2f or coarse).config.n_codebooks]


def _passes(
    coarse: VampNet,
    c2f: VampNet | None,
    codes: Tensor,
    mask: Tensor,
    loop: bool,
    sampling: Sampling,
) -> list[_WindowPass]:
    """The passes of each model in order: coarse, then fine, two each."""
    stages = [(coarse, COARSE_WINDOW, sampling.steps)]
    if c2f is not None:
        stages.append((c2f, FINE_WINDOW, sampling.fine_steps))
    found = []
    for stage, (model, usual_window, steps) in enumerate(stages):
        masked = mask[: model.config.n_codebooks].clone()
        masked[: model.config.n_conditioning_codebooks] = False
        window = model.config.window_frames or usual_window
        for number, windows in enumerate(split_windows(codes.shape[-1], window, loop)):
            groups = batch_windows(windows_to_fill(windows, masked), len(codes))
            found.append(_WindowPass(model, masked, groups, steps, (stage, number)))
    return found


def _fill_batch(
    p: _WindowPass,
    codes: Tensor,
    masked: Tensor,
    batch: list[Window],
    sampling: Sampling,
    streams: list[list[torch.Generator]],
    on_step: StepCallback,
) -> Tensor:
    """Generate the kept part of each window; returns new codes.

    codes: int64 (items, N, T); masked: bool (N, T) on the CPU; streams[take][window]. The batch is
    ordered by take, window, channel.
    """
    n_frames, takes = codes.shape[-1], len(streams)
    index = torch.stack([w.frames(n_frames) for w in batch])
    inside = masked[:, index].transpose(0, 1).to(codes.device)  # (windows, N, length)
    index = index.to(codes.device)
    n_codebooks, length = codes.shape[1], index.shape[1]
    inputs = codes[:, :, index].unflatten(0, (takes, -1))  # (takes, C, N, windows, length)
    inputs = inputs.permute(0, 3, 1, 2, 4).reshape(-1, n_codebooks, length)
    n_channels = codes.shape[0] // takes
    inside = inside[None, :, None].expand(takes, -1, n_channels, -1, -1)
    inside = inside.reshape(-1, n_codebooks, length)
    rng = [generator for take in streams for generator in take]
    generated = generate(p.model, inputs, inside, sampling, rng, on_step, steps=p.steps)
    generated = generated.view(takes, len(batch), n_channels, n_codebooks, length)
    result = codes.clone()
    for i, w in enumerate(batch):
        kept = slice(w.keep_from - w.start, w.keep_to - w.start)
        result[:, :, index[i, kept]] = generated[:, i, :, :, kept].flatten(0, 1)
    return result
