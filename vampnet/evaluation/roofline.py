"""Roofline of a request: operations and bytes of each stage, compared with the machine's rates."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import torch

from vampnet.model import VampNet, VampNetConfig
from vampnet.model.precision import Int8Linear
from vampnet.pipeline import Pipeline
from vampnet.system import device as machine

if TYPE_CHECKING:
    from vampnet.evaluation.timing import Timing

Shape = tuple[int, int]  # items, frames
MODELS = ("coarse", "fine")
BYTES = {"float32": (4, 4), "int8": (1, 4), "bfloat16": (2, 2)}  # bytes per weight, per activation


def precision_of(model: VampNet) -> str:
    """Precision of the model's linear layers: "int8", "bfloat16" or "float32"."""
    if any(isinstance(m, Int8Linear) for m in model.modules()):
        return "int8"
    bf16 = any(p.dtype == torch.bfloat16 for p in model.parameters())
    return "bfloat16" if bf16 else "float32"


def pass_operations(config: VampNetConfig, shape: Shape) -> int:
    """Count multiplications and additions of a forward pass, without the classifier.

    Args:
        config: of the model.
        shape: (items, frames).
    """
    items, frames = shape
    width = config.embedding_dim
    linear = 20 * width**2  # 4 projections and a feed-forward of 6 widths, 2 operations per weight
    attention = 4 * frames * width
    embedding = 2 * config.n_codebooks * config.latent_dim * width * config.embedding_kernel
    return items * frames * (config.n_layers * (linear + attention) + embedding)


def bytes_moved(model: VampNet, shape: Shape) -> int:
    """Count the bytes that a forward pass must move at least.

    Each layer reads its weights once, and reads and writes its activations on both residual
    branches; intermediate results may stay in the cache.

    Args:
        model: the model.
        shape: (items, frames).
    """
    (items, frames), c = shape, model.config
    of_weight, of_value = BYTES[precision_of(model)]
    weights = 10 * c.embedding_dim**2 * of_weight
    return c.n_layers * (weights + 4 * items * frames * c.embedding_dim * of_value)


def roofline_report(pipeline: Pipeline, timing: Timing, limits: machine.MachineRates) -> str:
    """Compare the stages of models and codec with the machine's roofline.

    Args:
        pipeline: the model.
        timing: measured times and work.
        limits: measured rates of the machine.

    Returns:
        One paragraph per stage.
    """
    found = [
        f"Machine: {limits.float32 / 1e9:.0f} GFLOP/s float32, {limits.bfloat16 / 1e9:.0f} "
        f"bfloat16 and {limits.int8 / 1e9:.0f} Gop/s int8 in matrix products of {limits.size}, "
        f"{limits.bandwidth / 1e9:.1f} GB/s copying.",
    ]
    for stage, model in zip(MODELS, (pipeline.coarse, pipeline.c2f), strict=True):
        passes = timing.passes[stage]
        if model is None or not passes:
            continue
        precision = precision_of(model)
        work = sum(pass_operations(model.config, shape) for shape in passes)
        bytes_ = sum(bytes_moved(model, shape) for shape in passes)
        products_s, memory_s = work / getattr(limits, precision), bytes_ / limits.bandwidth
        share = max(products_s, memory_s) / statistics.median(timing.seconds[stage])
        found.append(
            f"{stage.capitalize()}: {len(passes)} passes of {work / len(passes) / 1e9:.1f} GFLOP "
            f"in {precision}; operations need {products_s:.2f} s, moving {bytes_ / 1e9:.1f} GB "
            f"needs {memory_s:.2f} s: {100 * share:.0f} % of the time."
        )
    for stage, work in timing.codec_operations.items():
        least_s = work / limits.float32
        share = least_s / statistics.median(timing.seconds[stage])
        found.append(
            f"{stage.capitalize()}: {work / 1e9:.1f} GFLOP in matrix products and convolutions, "
            f"which alone need {least_s:.2f} s: {100 * share:.0f} % of the time."
        )
    return "\n\n".join(found)
