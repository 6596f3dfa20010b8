"""Music composed from a seed, as MIDI and as audio."""

from __future__ import annotations

import io
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch

from recipes.default_model import rendering
from recipes.default_model.composing import DRUM_CHANNEL, Note, Score, compose
from recipes.default_model.grooves import GROOVES, VELOCITIES

mido = pytest.importorskip("mido", reason="the optional package mido writes the MIDI files")

DRUMS_ON_TWO_AND_FOUR = Score(
    "beat",
    120.0,
    8.0,
    tuple(Note(0.5 * i, 0.2, 38 if i % 2 else 36, 100, DRUM_CHANNEL) for i in range(16)),
    {DRUM_CHANNEL: 0},
)


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("groove", GROOVES, ids=lambda g: g.name)
def test_patterns_fill_whole_bars(groove) -> None:
    assert groove.bpm[0] < groove.bpm[1] and 60 <= groove.bpm[0] and groove.bpm[1] <= 180
    for drum in groove.parts:
        hits = groove.hits(drum)
        assert 35 <= drum <= 81 and len(hits) % groove.steps_per_bar == 0
        assert set(hits) <= {*VELOCITIES, "."} and set(hits) != {"."}


def test_the_same_seed_makes_the_same_piece_and_others_differ() -> None:
    assert compose(_rng(3), "a") == compose(_rng(3), "a")
    rng = _rng(3)
    pieces = [compose(rng, f"p{i}") for i in range(60)]
    assert len({p.notes for p in pieces}) == 60
    assert len({round(p.bpm) for p in pieces}) > 25
    assert len({p.name.split(",")[1] for p in pieces}) > 20


def test_pieces_stay_in_time_and_range() -> None:
    rng = _rng(0)
    for i in range(40):
        piece = compose(rng, str(i), longest_s=20.0)
        assert piece.notes and 0 < piece.seconds <= 20.0
        assert {n.channel for n in piece.notes} <= set(piece.programs)
        for n in piece.notes:
            assert 0 <= n.start_s < piece.seconds + 0.1 and n.length_s > 0
            assert 0 <= n.pitch <= 127 and 1 <= n.velocity <= 127


def test_the_midi_file_has_every_piece_at_its_start() -> None:
    takes = [rendering.score_to_midi(compose(_rng(s), str(s), 8.0)) for s in (1, 2)]
    data, starts = rendering.timeline(takes)
    now, firsts = 0.0, []
    for message in mido.MidiFile(file=io.BytesIO(data)):
        now += message.time
        if message.type == "note_on" and message.velocity:
            firsts.append(now)
    for take, start in zip(takes, starts, strict=True):
        first = next(t for t, m in take.messages if m.type == "note_on")
        assert min(abs(start + first - t) for t in firsts) < 0.003
    assert now == pytest.approx(
        sum(t.seconds + rendering.GAP_S + rendering.RESET_S for t in takes), abs=0.01
    )


def test_midi_is_read_up_to_a_length_and_invalid_data_is_refused() -> None:
    data, _ = rendering.timeline([rendering.score_to_midi(DRUMS_ON_TWO_AND_FOUR)])
    take = rendering.read_midi("song", data, 3.0)
    assert take.seconds == 3.0 and all(t < 3.0 for t, _ in take.messages)
    with pytest.raises(ValueError, match="song is not a readable MIDI file"):
        rendering.read_midi("song", b"MThd rubbish", 3.0)


def test_lumps_of_a_wad_that_are_midi_are_found(tmp_path) -> None:
    lumps = [(b"MAP01", b"level"), (b"D_RUNNIN", b"MThd...."), (b"D_MUS", b"MUS\x1a....")]
    body, directory, at = b"", b"", 12
    for name, content in lumps:
        directory += struct.pack("<ii8s", at, len(content), name)
        body, at = body + content, at + len(content)
    file = tmp_path / "a.wad"
    file.write_bytes(struct.pack("<4sii", b"IWAD", len(lumps), at) + body + directory)
    assert rendering.read_wad_midi(file) == {"D_RUNNIN": b"MThd...."}
    file.write_bytes(b"no wad at all")
    with pytest.raises(ValueError, match="not a WAD"):
        rendering.read_wad_midi(file)


def test_a_missing_fluidsynth_or_soundfont_is_an_error(tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError, match="no soundfont in"):
        rendering.find_soundfont(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="the program fluidsynth"):
        rendering.render([rendering.score_to_midi(DRUMS_ON_TWO_AND_FOUR)], tmp_path / "a.sf2")


def _soundfont() -> Path:
    folder = os.environ.get("VAMPNET_TEST_SOUNDFONT")  # a folder with a soundfont in it
    if shutil.which("fluidsynth") is None:
        pytest.skip("the program fluidsynth is not installed")
    try:
        return rendering.find_soundfont(folder)
    except ValueError:
        pytest.skip(
            "no General-MIDI soundfont is installed (VAMPNET_TEST_SOUNDFONT names a folder)"
        )


def test_rendered_attacks_are_at_the_times_of_the_notes() -> None:
    soundfont = _soundfont()
    quiet = Score("later", 120.0, 2.0, (Note(1.0, 0.5, 60, 100, 0),), {0: 0})
    takes = [rendering.score_to_midi(s) for s in (DRUMS_ON_TWO_AND_FOUR, quiet)]
    beat, later = rendering.render(takes, soundfont)
    assert beat.shape == (8 * 44100,) and later.shape == (2 * 44100,)
    assert 0.05 < float(beat.abs().max()) and float(later[:44000].abs().max()) < 1e-3
    hits = beat.unfold(0, 441, 441).square().mean(-1)  # every 10 ms
    for i in range(15):
        attack, rest = hits[50 * i : 50 * i + 8], hits[50 * i + 40 : 50 * i + 50]
        assert float(attack.max()) > 4 * float(rest.mean())
