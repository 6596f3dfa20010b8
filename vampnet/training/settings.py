"""Settings of a training: sizes of the models, steps and rates of all stages."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vampnet.model import VampNetConfig
from vampnet.system.errors import UserError
from vampnet.training.decoder import DecoderTraining
from vampnet.training.masked import MaskedTraining

COARSE = VampNetConfig(
    n_codebooks=4,
    n_layers=6,
    n_heads=5,
    embedding_dim=320,
    latent_dim=16,
    dropout=0.0,
    embedding_kernel=7,
    tied_head_scale=8.0,
    window_frames=640,
)
FINE = replace(
    COARSE,
    n_codebooks=14,
    n_conditioning_codebooks=4,
    n_layers=4,
    n_heads=4,
    embedding_dim=256,
)


# Shares of the minutes of a timed training; the rest is for reading, saving and measuring.
SHARES = {"decoder": 0.42, "coarse": 0.32, "c2f": 0.2}


@dataclass(frozen=True)
class Recipe:
    """Settings of all stages; the defaults are for a model like the embedded one, on a CPU.

    Attributes:
        decoder, coarse, c2f: training of the codec's decoder and of the masked models.
        frame_step: the quantisers are fitted to every ``frame_step``-th frame at most.
        iterations: of k-means.
    """

    decoder: DecoderTraining = DecoderTraining(steps=5000, learning_rate=1.5e-3)
    coarse: MaskedTraining = MaskedTraining(steps=3400)
    c2f: MaskedTraining = MaskedTraining(steps=2600, batch=10)
    frame_step: int = 10
    iterations: int = 15


# For accelerators: larger batches, longer windows, less frequent reports and states.
_RARELY = {"report_every": 1000, "save_every": 10_000}
LARGE = Recipe(
    decoder=DecoderTraining(batch=48, learning_rate=2e-3, warmup=300, **_RARELY),
    coarse=MaskedTraining(batch=64, frames=144, learning_rate=1e-3, **_RARELY),
    c2f=MaskedTraining(batch=48, frames=144, learning_rate=1e-3, **_RARELY),
)


def make_recipe(
    steps: int | None = None,
    decoder_steps: int | None = None,
    minutes: float | None = None,
    device: str = "cpu",
    **masked: float,
) -> Recipe:
    """Return the default recipe for a device, with changes.

    Args:
        steps: of both masked models.
        decoder_steps: of the codec's decoder.
        minutes: wall time of the whole training, in place of steps.
        device: CUDA devices get larger batches.
        masked: fields of both MaskedTraining plans.

    Raises:
        UserError: for a number that is not positive and finite.
    """
    counts = {"steps": steps, "decoder_steps": decoder_steps, "minutes": minutes, **masked}
    for name, value in counts.items():
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{name} is {value}; it must be above 0 and finite")
    recipe = LARGE if device.startswith("cuda") else Recipe()
    changes: dict = dict(masked)
    if steps is not None:
        changes |= {"steps": steps, "warmup": min(recipe.coarse.warmup, max(1, steps // 10))}
    decoder = replace(recipe.decoder, steps=decoder_steps) if decoder_steps else recipe.decoder
    coarse, c2f = replace(recipe.coarse, **changes), replace(recipe.c2f, **changes)
    if minutes is not None:
        decoder, coarse, c2f = (
            replace(stage, minutes=minutes * share)
            for stage, share in zip((decoder, coarse, c2f), SHARES.values(), strict=True)
        )
    return replace(recipe, decoder=decoder, coarse=coarse, c2f=c2f)
