"""Mutated sound files of every container: each is read whole or refused in one line.

``python tests/helpers/mutated_files.py [COUNT] [SEED]`` runs 5,000 by default and prints what
happened to them, by container and by answer.
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import made_files

from vampnet import audio
from vampnet.audio import AudioError, Limits

MAX_S = 2.0
LIMITS = Limits(max_duration_s=600.0, max_decoded_mib=1024)


@dataclass(frozen=True)
class Outcome:
    """What reading one mutated file came to: "whole", "refused", or what is wrong."""

    kind: str
    how: str
    text: str
    took_s: float

    @property
    def bad(self) -> bool:
        return self.text not in ("whole", "refused") or self.took_s > MAX_S


def flip(rng: random.Random, raw: bytearray) -> None:
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)


def flip_header(rng: random.Random, raw: bytearray) -> None:
    for _ in range(rng.choice([1, 1, 2, 3])):
        raw[rng.randrange(min(len(raw), 160))] = rng.choice(
            [0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)]
        )


def number(rng: random.Random, raw: bytearray) -> None:
    place = rng.randrange(max(1, min(len(raw) - 4, 400)) // 2) * 2
    value = rng.choice(
        [0, 1, 2**31 - 1, 2**32 - 1, len(raw), rng.randrange(2**32), rng.randrange(999)]
    )
    raw[place : place + 4] = struct.pack(rng.choice("<>") + "I", value)


def cut(rng: random.Random, raw: bytearray) -> None:
    n = rng.choice([rng.randrange(1, len(raw)), rng.randrange(1, min(len(raw), 300))])
    del raw[len(raw) - n :]


def delete(rng: random.Random, raw: bytearray) -> None:
    start = rng.randrange(len(raw))
    del raw[start : start + rng.choice([1, 2, 4, 100, 1000])]


def insert(rng: random.Random, raw: bytearray) -> None:
    start = rng.randrange(len(raw))
    raw[start:start] = rng.choice(
        [rng.randbytes(rng.choice([1, 2, 7, 200])), b"\0" * rng.choice([1, 64])]
    )


def repeat(rng: random.Random, raw: bytearray) -> None:
    start = rng.randrange(len(raw))
    raw[start:start] = raw[start : start + rng.choice([4, 16, 300])]


def zeros(rng: random.Random, raw: bytearray) -> None:
    start = rng.randrange(len(raw))
    end = min(len(raw), start + rng.choice([1, 4, 64]))
    raw[start:end] = bytes(end - start)


MUTATIONS = (flip, flip_header, number, cut, delete, insert, repeat, zeros)


def answer(path: Path, n_values: int) -> str:
    try:
        sound, _, form = audio.read_native(path, LIMITS)
    except AudioError as error:
        text = str(error)
        if "\n" in text or len(text) > 250:
            return f"refused in more than a line: {text!r}"
        return "refused"
    except BaseException as error:  # noqa: BLE001 - any is a finding
        return f"crashed: {type(error).__name__}: {error}"
    width = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}.get(form.subtype, 1)
    there = sound.size * width if form.lossless or form.subtype in ("ULAW", "ALAW") else len(sound)
    return "whole" if there >= n_values else f"shortened: {there} of {n_values}, {form}"


def run(count: int, seed: int, folder: Path) -> list[Outcome]:
    """Read `count` mutated files, made in a folder."""
    rng, seeds, found = random.Random(seed), made_files.all_kinds(folder), []
    for number_of_file in range(count):
        kind = list(seeds)[number_of_file % len(seeds)]
        raw, n_values = seeds[kind]
        mutated = bytearray(raw)
        mutation = rng.choice(MUTATIONS)
        mutation(rng, mutated)
        path = folder / "mutated"
        path.write_bytes(mutated)
        start = time.monotonic()
        text = answer(path, n_values)
        outcome = Outcome(kind, mutation.__name__, text, time.monotonic() - start)
        if outcome.bad:
            (folder / f"bad-{number_of_file}-{kind}").write_bytes(mutated)
        found.append(outcome)
    return found


if __name__ == "__main__":
    count, seed = (int(word) for word in (sys.argv[1:] + ["5000", "1"][len(sys.argv) - 1 :])[:2])
    place = Path(tempfile.mkdtemp())
    outcomes = run(count, seed, place)
    for outcome in outcomes:
        if outcome.bad:
            print(outcome.kind, outcome.how, outcome.text, f"{outcome.took_s:.2f} s")
    print(Counter(outcome.text.split(":")[0] for outcome in outcomes))
    print(f"slowest {max(outcome.took_s for outcome in outcomes):.3f} s; files in {place}")
