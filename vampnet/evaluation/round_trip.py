"""A codec's round trip of synthetic tones and hits: what the report and the script print."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vampnet.codec import Codec
from vampnet.evaluation.hits import HitFigures, measure_hits
from vampnet.evaluation.tones import ToneFigures, measure_tones

TITLE = "Tones and hits"
QUESTION = """\
Codec round trip of synthetic notes from E1 to C6, chords and pads (worst first), and of drum hits
at 8 places within a frame. *cents*: how far a partial's strongest line moved, at worst; *balance*:
largest change of a partial's level against the mean; *waver*: standard deviation of the level in
blocks of 50 ms beyond the input's; *rise*: 10-90 % attack time beyond the input's; *late*: delay of
the 90 % point, *jitter* its standard deviation; *before*: energy in the 50 ms before a hit against
the 50 ms from it on."""
TONE_HEADS = ["tone", "cents", "balance dB", "waver dB"]
HIT_HEADS = ["hit", "rise ms", "late ms", "jitter ms", "before dB"]
SHOWN = 8  # tones in the table, beside the worst and the mean of each figure


@dataclass(frozen=True)
class RoundTrip:
    """Figures of every tone and of every kind of hit."""

    tones: tuple[ToneFigures, ...]
    hits: tuple[HitFigures, ...]

    def tone_rows(self, shown: int = SHOWN) -> list[list[str]]:
        """The worst of each figure over all tones, the mean, and the ``shown`` worst tones."""
        figures = [(t.cents, t.balance_db, t.waver_db) for t in self.tones]
        rows = [("worst of all", *map(max, zip(*figures, strict=True)))]
        rows.append(("mean", *(sum(column) / len(column) for column in zip(*figures, strict=True))))
        worst = sorted(self.tones, key=lambda t: -t.cents)[:shown]
        rows += [(t.name, t.cents, t.balance_db, t.waver_db) for t in worst]
        return [[name, f"{c:.1f}", f"{b:.1f}", f"{w:.2f}"] for name, c, b, w in rows]

    def hit_rows(self) -> list[list[str]]:
        """A row a kind of hit."""
        return [
            [h.name, f"{h.rise_ms:+.1f}", f"{h.late_ms:+.1f}", f"{h.jitter_ms:.1f}",
             f"{h.before_db:.0f}"]
            for h in self.hits
        ]  # fmt: skip


@torch.inference_mode()
def measure_round_trip(codec: Codec) -> RoundTrip:
    """Encode and decode every tone and hit with all of the codec's codebooks."""
    device = codec.codebooks.device

    def round_trip(sound: Tensor) -> Tensor:
        codes = codec.encode(sound.to(device)[None, None])
        return codec.decode(codes, len(sound))[0, 0].float().cpu()

    rate_hz = codec.sample_rate
    tones = measure_tones(round_trip, rate_hz)
    hits = measure_hits(round_trip, rate_hz, codec.hop_length)
    return RoundTrip(tuple(tones), tuple(hits))
