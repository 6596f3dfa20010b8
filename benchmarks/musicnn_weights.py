"""Convert the weights in the wheel of the package musicnn to safetensors, without TensorFlow.

    pip download musicnn==0.1.0 --no-deps
    python benchmarks/musicnn_weights.py musicnn-0.1.0-py3-none-any.whl [OUT]

Writes vampnet/weights/musicnn. The index of a TensorFlow checkpoint is a LevelDB table (blocks of
prefix-compressed keys) that maps each array's name to its offset in the data file.
"""

from __future__ import annotations

import math
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

MODEL = "MSD_musicnn"
OUT = Path(__file__).resolve().parent.parent / "vampnet" / "weights" / "musicnn"
FOOTER = 48  # bytes at the end of a table, with the offset of its index
FLOAT = 1  # TensorFlow's number of float32


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Decode a variable-length integer (7 bits per byte); return it and the offset after it."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def entries(table: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of the block of ``size`` bytes at ``start``."""
    if table[start + size]:
        raise ValueError(
            f"compression {table[start + size]} of a table block is not supported; only 0 is"
        )
    n_restarts = struct.unpack_from("<I", table, start + size - 4)[0]
    at, end, key = start, start + size - 4 - 4 * n_restarts, b""
    while at < end:
        shared, at = varint(table, at)
        suffix, at = varint(table, at)
        length, at = varint(table, at)
        key = key[:shared] + table[at : at + suffix]
        yield key, table[at + suffix : at + suffix + length]
        at += suffix + length


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield field numbers and values (int or bytes, by wire type) of a protocol buffer."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(message, at)
        elif kind == 2:
            size, at = varint(message, at)
            value, at = message[at : at + size], at + size
        else:
            value, at = message[at : at + 4], at + 4
        yield tag >> 3, value


def arrays(index: bytes, data: bytes) -> dict[str, Tensor]:
    """Read every float32 array of a checkpoint, by name."""
    at = len(index) - FOOTER
    _, at = varint(index, at)  # handle of the meta index, unused
    _, at = varint(index, at)
    start, at = varint(index, at)
    size, _ = varint(index, at)
    found = {}
    for _, handle in entries(index, start, size):
        block, next_at = varint(handle, 0)
        for key, message in entries(index, block, varint(handle, next_at)[0]):
            entry = dict(fields(message))
            if not key or entry.get(1) != FLOAT:
                continue
            sizes = [dict(fields(d)).get(1, 1) for n, d in fields(entry.get(2, b"")) if n == 2]
            offset = entry.get(4, 0)
            raw = bytearray(data[offset : offset + 4 * math.prod(sizes)])
            found[key.decode()] = torch.frombuffer(raw, dtype=torch.float32).reshape(sizes)
    return found


# Names of the modules, in the order of TensorFlow's convolution layers.
CONVOLUTIONS = ("timbral.0", "timbral.1", "temporal.0", "temporal.1", "temporal.2",
                "middle.0", "middle.1", "middle.2")  # fmt: skip
NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def renamed(old: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the arrays and convert them to torch's layout; matrices become float16."""
    new: dict[str, Tensor] = {}

    def norm(name: str, number: int) -> None:
        source = "batch_normalization" + (f"_{number}" if number else "")
        for ours, theirs in NORM.items():
            new[f"{name}.{ours}"] = old[f"{source}/{theirs}"].clone()

    norm("norm", 0)
    for number, name in enumerate(CONVOLUTIONS):
        source = "conv2d" + (f"_{number}" if number else "")
        kernel = old[f"{source}/kernel"].permute(3, 2, 0, 1)  # out, in, time, frequency
        new[f"{name}.convolution.weight"] = kernel.contiguous()
        new[f"{name}.convolution.bias"] = old[f"{source}/bias"].clone()
        norm(f"{name}.norm", number + 1)
    for name, source in (("dense", "dense"), ("tags", "dense_1")):
        new[f"{name}.weight"] = old[f"{source}/kernel"].T.contiguous()
        new[f"{name}.bias"] = old[f"{source}/bias"].clone()
    norm("pool_norm", len(CONVOLUTIONS) + 1)
    norm("dense_norm", len(CONVOLUTIONS) + 2)
    return {name: value.half() if value.dim() > 1 else value for name, value in new.items()}


def main() -> None:
    """Read the wheel; write the weights and the licence."""
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else OUT
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        folder = f"musicnn/{MODEL}"
        found = arrays(wheel.read(f"{folder}/.index"), wheel.read(f"{folder}/.data-00000-of-00001"))
        licence = wheel.read("musicnn-0.1.0.dist-info/LICENSE.md")
    out.mkdir(parents=True, exist_ok=True)
    save_file(renamed(found), out / "msd_musicnn.safetensors")
    (out / "LICENSE.md").write_bytes(licence)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
