"""Hits: each figure says what was done to the attack."""

from __future__ import annotations

import pytest
import torch

from vampnet.evaluation.hits import KINDS, hit, hit_figures, hits

RATE, HOP = 44100, 768


@pytest.mark.parametrize("kind", KINDS)
def test_an_unchanged_hit_has_no_error(kind: str):
    sound, starts = hits(kind, RATE, HOP)
    assert len({start % HOP for start in starts}) == len(starts)
    same = hit_figures(kind, sound, 0.3 * sound, starts, RATE)
    assert same.rise_ms == same.late_ms == same.jitter_ms == 0 and same.before_db < -100


def test_a_shift_is_late_and_a_varying_one_is_jitter():
    sound, starts = hits("snare", RATE, HOP)
    late = hit_figures("snare", sound, sound.roll(441), starts, RATE)
    assert late.late_ms == pytest.approx(10, abs=0.1) and late.jitter_ms < 0.1
    one, moved = hit("snare", RATE), torch.zeros_like(sound)
    for i, start in enumerate(starts):
        place = start + (88 if i % 2 else 0)
        moved[place : place + len(one)] += one
    varied = hit_figures("snare", sound, moved, starts, RATE)
    assert varied.jitter_ms == pytest.approx(1.07, abs=0.1)


def test_a_softer_attack_rises_longer():
    sound, starts = hits("hat", RATE, HOP)
    ramp = torch.ones_like(sound)
    for start in starts:
        ramp[start : start + 441] = torch.linspace(0, 1, 441)
    found = hit_figures("hat", sound, sound * ramp, starts, RATE)
    assert 3 < found.rise_ms < 10 and found.late_ms > 3


def test_energy_before_a_hit_is_measured():
    sound, starts = hits("clap", RATE, HOP)
    echo = sound.clone()
    for start in starts:
        late = sound[start : start + 2205]
        echo[start - 2205 : start] += 0.1 * late
    assert hit_figures("clap", sound, echo, starts, RATE).before_db == pytest.approx(-20, abs=0.1)


def test_an_unknown_hit_is_named():
    with pytest.raises(ValueError, match="'gong'.*kick"):
        hit("gong", RATE)
