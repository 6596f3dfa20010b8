"""The codec at full size, random weights: plain layers against the fast path, one run.

    python benchmarks/reference_codec.py [--family lac] [--seconds 10] [--runs 5]

Prints medians in seconds, their ratio and the largest difference, for encode and for decode. With
--cpu-time it counts processor seconds, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vampnet.bench import LAC_SIZES
from vampnet.codec import DAC, FAMILIES

SIZES = {  # what the published codecs of 44.1 kHz are built from
    "lac": LAC_SIZES,
    "dac": {"encoder_rates": (2, 4, 8, 8), "decoder_rates": (8, 8, 4, 2), "n_codebooks": 9},
}


def full_size(family: str) -> DAC:
    """A full-size codec of random weights that sounds neither silent nor clipped."""
    torch.manual_seed(0)
    codec = FAMILIES[family](**SIZES[family]).eval()
    assert isinstance(codec, DAC)
    for name, parameter in codec.named_parameters():
        if name.endswith("alpha"):
            parameter.data.uniform_(0.3, 3.0)
    return codec


def reference_encode(codec: DAC, audio: Tensor) -> Tensor:
    """The plain path: float (B, 1, T * hop) through the layers as written to (B, width, T)."""
    return codec.encoder(audio)


def reference_decode(codec: DAC, codes: Tensor) -> Tensor:
    """The plain path: codes (B, N, T) through the layers as written to float (B, 1, T * hop)."""
    return codec.decoder(codec.quantizer.decode(codes))


def medians(
    paths: list[Callable[[], Tensor]], runs: int, clock: Callable[[], float]
) -> tuple[list[float], float]:
    """Median seconds of each path, taken in turn, and the largest difference of their results."""
    results = [path() for path in paths]  # also the warm-up
    times: list[list[float]] = [[] for _ in paths]
    for _ in range(runs):
        for path, taken in zip(paths, times, strict=True):
            start = clock()
            path()
            taken.append(clock() - start)
    return [statistics.median(t) for t in times], float((results[0] - results[1]).abs().max())


@torch.no_grad()
def main() -> None:
    """Time both directions and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=sorted(SIZES), default="lac")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    codec = full_size(options.family)
    n_frames = round(options.seconds * codec.sample_rate / codec.hop_length)
    audio = 0.2 * torch.randn(1, 1, n_frames * codec.hop_length)
    codes = torch.randint(codec.vocab_size, (1, codec.n_codebooks, n_frames))
    cases: dict[str, list[Callable[[], Tensor]]] = {
        "encoder": [
            lambda: reference_encode(codec, audio),
            lambda: codec.fast_network(codec.encoder, audio),
        ],
        "decode": [
            lambda: reference_decode(codec, codes),
            lambda: codec.decode(codes, audio.shape[-1]),
        ],
    }
    clock = time.process_time if options.cpu_time else time.perf_counter
    print(f"{options.family}, {n_frames} frames, {torch.get_num_threads()} threads")
    print("| part | plain (s) | fast (s) | ratio | largest difference |")
    print("| --- | --- | --- | --- | --- |")
    for name, paths in cases.items():
        (plain_s, fast_s), error = medians(paths, options.runs, clock)
        print(
            f"| {name} | {plain_s:.2f} | {fast_s:.2f} | {plain_s / fast_s:.2f} | {error:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
