"""Artefacts: clicks, changes outside the ranges, edges of masks."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import noise, tone

from vampnet.evaluation.artifacts import click_db, mask_transitions, outside_error

RATE = 44100


def test_a_click_is_detected_at_its_position_only():
    sound = 0.1 * tone(2.0)[0] + 0.001 * noise(2.0)[0]
    quiet = click_db(sound, [22050, 44100], RATE)
    torn = sound.clone()
    torn[44100:] += 0.2
    assert abs(quiet) < 6 and click_db(torn, [44100], RATE) > 30
    assert abs(click_db(torn, [22050], RATE) - click_db(sound, [22050], RATE)) < 1e-6
    assert math.isnan(click_db(sound, [3], RATE))


def test_a_change_outside_the_ranges_is_detected():
    before = noise(0.1, channels=2)
    after = before.clone()
    after[:, 1000:2000] = 0
    assert outside_error(before, after, [(1000, 2000)]) == 0
    after[1, 999] += 0.25
    assert outside_error(before, after, [(1000, 2000)]) == pytest.approx(0.25)


def test_mask_transitions_ignore_short_runs():
    mask = torch.ones(2, 200, dtype=torch.bool)
    mask[:, :50] = False  # a prefix
    mask[:, 100:200:7] = False  # single frames
    mask[0, 60] = False  # one codebook of a frame
    assert mask_transitions(mask, 5) == [50] or mask_transitions(mask, 5)[0] == 50
    assert mask_transitions(torch.ones(2, 50, dtype=torch.bool), 5) == []
