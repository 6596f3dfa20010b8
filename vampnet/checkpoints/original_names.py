"""Conversion of the original VampNet's and DAC's weights to our names and layouts.

Nothing here opens a file: the functions map one dict of names and tensors to another. The caller,
which has the model's names and shapes, checks for missing and unknown weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vampnet.system.errors import UserError

# The original's names of the transformer's parts and ours, replaced in this order. The original's
# norm_2 belongs to a branch that is never built.
VAMPNET_NAMES = (
    ("embedding.special.MASK", "mask_rows"),
    ("embedding.out_proj.", "embedding."),
    ("transformer.layers.0.self_attn.relative_attention_bias.", "relative_bias."),
    ("transformer.", ""),
    (".norm_3.", ".norm_2."),
    (".self_attn.w_qs.", ".attention.query."),
    (".self_attn.w_ks.", ".attention.key."),
    (".self_attn.w_vs.", ".attention.value."),
    (".self_attn.fc.", ".attention.output."),
    (".feed_forward.w_1.", ".feed_forward.up."),
    (".feed_forward.w_2.", ".feed_forward.down."),
    ("classifier.layers.0.", "classifier."),
)
VAMPNET_KWARGS = (
    "n_codebooks",
    "n_conditioning_codebooks",
    "n_layers",
    "n_heads",
    "embedding_dim",
    "vocab_size",
    "latent_dim",
    "dropout",
)
CODEC_WORDS = {"block", "layer", "model", "mrf_blocks", "quantizers"}  # containers
CODEC_KWARGS = (
    "encoder_dim",
    "encoder_rates",
    "latent_dim",
    "decoder_dim",
    "decoder_rates",
    "n_codebooks",
    "codebook_size",
    "codebook_dim",
    "sample_rate",
)

DEFAULT_VOCAB_SIZE = 1024  # the original's, for a file without the value

State = dict[str, Tensor]


def is_adapters_only(content: Mapping[str, Any]) -> bool:
    """Return whether a file has low-rank adapters only, not a complete model."""
    return "state_dict" not in content


def read_codec(content: Mapping[str, Any]) -> tuple[str, dict[str, Any], State]:
    """Read the content of a codec file.

    Returns:
        Family ("lac" or "dac"), constructor arguments and weights.

    Raises:
        UserError: for any other content.
    """
    state, kwargs = _split(content)
    if any(name.startswith("transformer.") for name in state):
        raise UserError("this is a VampNet model, not a codec")
    family = "lac" if any(".mrf_blocks." in name for name in state) else "dac"
    sizes = {name: kwargs[name] for name in CODEC_KWARGS if name in kwargs}
    return family, sizes, codec_state(state)


def read_vampnet(content: Mapping[str, Any]) -> tuple[dict[str, Any], State, State]:
    """Read the content of a coarse or c2f file.

    Returns:
        Constructor arguments, weights and low-rank adapters.

    Raises:
        UserError: for any other content.
    """
    state, kwargs = _split(content)
    if any(name.startswith("quantizer.") for name in state):
        raise UserError("this is a codec, not a VampNet model")
    sizes = {name: kwargs[name] for name in VAMPNET_KWARGS if name in kwargs}
    return sizes, *vampnet_state(state, sizes.get("vocab_size", DEFAULT_VOCAB_SIZE))


def read_adapters(content: Mapping[str, Any]) -> State:
    """Return low-rank adapters under our names; UserError when there are other weights."""
    state = _tensors(content)
    others = [name for name in state if not is_adapter(name)]
    if others or not state:
        raise UserError(f"this must have LoRA adapters only; it has {others[:4]}")
    return _renamed(state, vampnet_name)


def is_adapter(name: str) -> bool:
    """Return whether a weight belongs to a low-rank adapter."""
    return name.endswith((".lora_A", ".lora_B"))


def vampnet_name(name: str) -> str:
    """Return our name of a weight or adapter of the transformer; unknown names do not change."""
    for theirs, ours in VAMPNET_NAMES:
        name = name.replace(theirs, ours)
    return name


def codec_name(name: str) -> str:
    """Return our name of a codec's weight."""
    return ".".join(word for word in name.split(".") if word not in CODEC_WORDS)


def vampnet_state(state: Mapping[str, Tensor], vocab_size: Any) -> tuple[State, State]:
    """Return a transformer's weights under our names, and its low-rank adapters separately.

    Raises:
        UserError: when the classifier's size is not a multiple of `vocab_size`, or when two weights
            would get the same name.
    """
    named = _renamed(fold_weight_norm(state), vampnet_name)
    adapters = {name: named.pop(name) for name in list(named) if is_adapter(name)}
    for name in ("classifier.weight", "classifier.bias"):
        if name in named:
            # original: channel v * P + c, a convolution of width 1; ours: row c * V + v, a matrix
            rows = named[name].flatten(1) if name.endswith("weight") else named[name]
            if not isinstance(vocab_size, int) or vocab_size < 1 or len(rows) % vocab_size:
                text = f"{name} has {len(rows)} rows, not a multiple of {vocab_size} codes"
                raise UserError(text)
            named[name] = rows.unflatten(0, (vocab_size, -1)).transpose(0, 1).flatten(0, 1)
    return named, adapters


def codec_state(state: Mapping[str, Tensor]) -> State:
    """Return a LAC's or DAC's weights under our names, without the names of containers.

    Raises:
        UserError: when two weights would get the same name.
    """
    return _renamed(fold_weight_norm(state), codec_name)


def fold_weight_norm(state: Mapping[str, Tensor]) -> State:
    """Fold weight norm: replace each pair weight_g, weight_v of torch's old form by the weight.

    The norm is over all dimensions but the first, which in a transposed convolution is the input
    channel (Salimans & Kingma 2016, arXiv 1602.07868). A single one of a pair is kept.

    Raises:
        UserError: when the shapes of the two do not match.
    """
    result: State = {}
    for name, value in state.items():
        stem, _, last = name.rpartition(".")
        direction, length = state.get(f"{stem}.weight_v"), state.get(f"{stem}.weight_g")
        if last not in ("weight_g", "weight_v") or direction is None or length is None:
            result[name] = value
        elif last == "weight_v":
            norm = torch.linalg.vector_norm(direction.float().flatten(1), dim=1)
            norm = norm.view(-1, *[1] * (direction.ndim - 1))
            if length.shape != norm.shape:
                found, allowed = tuple(length.shape), tuple(norm.shape)
                raise UserError(f"{stem}.weight_g has shape {found}; it must be {allowed}")
            result[f"{stem}.weight"] = direction.float() * (length.float() / norm)
    return result


def _renamed(state: Mapping[str, Tensor], rename: Callable[[str], str]) -> State:
    result: State = {}
    for name, value in state.items():
        if rename(name) in result:
            raise UserError(f"{name} occurs twice, under another name too")
        result[rename(name)] = value
    return result


def _split(content: Mapping[str, Any]) -> tuple[State, dict[str, Any]]:
    """Weights and constructor arguments."""
    metadata = content.get("metadata")
    kwargs = metadata.get("kwargs") if isinstance(metadata, dict) else None
    if "state_dict" not in content or not isinstance(kwargs, dict):
        raise UserError(
            f"this has {list(content)[:4]}; it must have state_dict and metadata with kwargs"
        )
    return _tensors(content["state_dict"]), kwargs


def _tensors(state: Any) -> State:
    fits = isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    )
    if not fits:
        raise UserError("the weights are not a dict of names and tensors")
    for name, value in state.items():
        plain = value.layout is torch.strided and not (value.is_meta or value.is_quantized)
        if not plain or value.is_complex():
            raise UserError(f"{name} is not a plain tensor of real numbers")
    return dict(state)
