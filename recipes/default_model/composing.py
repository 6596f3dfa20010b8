"""Made-up music to render: drum loops, bass lines, chords, melodies and whole arrangements.

Everything comes from a torch.Generator: tempo, key, mode, metre, swing, instruments, rhythms and
the small unevenness of a player. Programmes are General MIDI's, counted from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from recipes.default_model.grooves import (
    CRASH,
    FLOOR_TOM,
    GROOVES,
    HIGH_TOM,
    KICK,
    MIDDLE_TOM,
    SNARE,
    VELOCITIES,
    Groove,
)
from vampnet.training.random_choices import Dice

DRUM_CHANNEL = 9  # General MIDI's, counted from 0
KINDS = {  # parts of a piece and how often it is drawn
    ("drums",): 22,
    ("drums", "bass"): 13,
    ("bass",): 4,
    ("chords",): 13,
    ("melody",): 4,
    ("chords", "melody"): 8,
    ("drums", "bass", "chords"): 14,
    ("drums", "bass", "chords", "melody"): 22,
}
MODES = {  # semitones above the tonic
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
}
PROGRESSIONS = (  # degrees of the scale, one a bar
    (0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 4, 3), (1, 4, 0, 0), (0, 5, 1, 4),
    (0, 6, 5, 6), (0, 3, 0, 4), (0, 2, 3, 4), (0, 0, 3, 3), (0, 6, 3, 0), (3, 0, 4, 5),
    (0,), (0, 3), (0, 6), (0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4),
)  # fmt: skip
BASSES = tuple(range(32, 40)) + (38, 38, 43, 58)
PIANOS, MALLETS, ORGANS, GUITARS = (0, 1, 2, 4, 5, 7), (8, 9, 11, 12, 13), (16, 17, 18, 19), (
    24, 25, 26, 27, 28, 29, 30)  # fmt: skip
PADS = (48, 49, 50, 51, 52, 54, 61, 88, 89, 90, 91, 92, 93, 94, 95)
LEADS = (22, 40, 41, 42, 56, 57, 60, 64, 65, 66, 68, 71, 73, 74, 75, 80, 81, 82, 84, 87, 104, 105)


@dataclass(frozen=True)
class Note:
    """A note of a channel (0..15): start and length in seconds, MIDI pitch and velocity."""

    start_s: float
    length_s: float
    pitch: int
    velocity: int
    channel: int


@dataclass(frozen=True)
class Score:
    """A piece to render: its notes, each channel's programme, effect levels (MIDI 0..127)."""

    name: str
    bpm: float
    seconds: float
    notes: tuple[Note, ...]
    programs: dict[int, int]
    reverb: int = 40
    chorus: int = 0


@dataclass
class Song:
    """What all parts of a piece share. Time is counted in the groove's steps until the end."""

    dice: Dice
    groove: Groove
    n_bars: int
    bpm: float
    swing: float  # where an off-step falls between its neighbours: 0.5 = straight
    tonic: int  # semitones above C
    scale: tuple[int, ...]
    progression: tuple[int, ...]
    looseness_s: float  # how far a player is off
    notes: list[Note] = field(default_factory=list)

    @property
    def bar(self) -> int:
        """Steps in a bar."""
        return self.groove.steps_per_bar

    @property
    def beat(self) -> int:
        """Steps in a beat."""
        return self.groove.steps_per_beat

    def degree(self, bar: int) -> int:
        """The chord of a bar, as a degree of the scale."""
        return self.progression[bar % len(self.progression)]

    def pitch(self, degree: int, base: int) -> int:
        """MIDI pitch of a degree of the scale, octaves up or down included, from C ``base``."""
        return base + self.tonic + 12 * (degree // 7) + self.scale[degree % 7]

    def seconds(self, step: float) -> float:
        """Time of a step, with swing."""
        pair, within = divmod(step, 2.0)
        if within < 1.0:
            within *= 2 * self.swing
        else:
            within = 2 * self.swing + (within - 1.0) * 2 * (1 - self.swing)
        return (2.0 * pair + within) * 60.0 / self.bpm / self.beat

    def play(self, step: float, length: float, pitch: int, velocity: float, channel: int) -> None:
        """Add a note at a step, a little off in time and force as a player is."""
        late = self.looseness_s * (self.dice.between(-1, 1) + self.dice.between(-1, 1)) / 2
        force = velocity * self.dice.between(0.9, 1.08)
        start, end = self.seconds(step), self.seconds(step + length)
        self.notes.append(
            Note(
                max(0.0, start + late),
                max(0.02, end - start),
                min(127, max(0, pitch)),
                min(127, max(1, round(force))),
                channel,
            )
        )


def compose(rng: torch.Generator, name: str, longest_s: float = 40.0) -> Score:
    """A piece of whole bars, at least four where they fit into ``longest_s``, at random."""
    dice = Dice(rng)
    groove = dice.pick(GROOVES)
    bpm = dice.between(*groove.bpm)
    bar_s = groove.steps_per_bar / groove.steps_per_beat * 60.0 / bpm
    n_bars = max(1, min(16, 4 * int(longest_s / bar_s / 4) or int(longest_s / bar_s)))
    song = Song(
        dice,
        groove,
        n_bars,
        bpm,
        dice.pick((0.5, 0.5, 0.54, 0.58, 0.62, 0.66)) if groove.swings else 0.5,
        dice.whole(0, 11),
        MODES[dice.pick(list(MODES))],
        dice.pick(PROGRESSIONS),
        dice.pick((0.0, 0.004, 0.01, 0.018)),
    )
    programs: dict[int, int] = {}
    kind = dice.weighted(KINDS)
    for part in kind:
        _PARTS[part](song, programs)
    seconds = n_bars * bar_s
    notes = tuple(sorted(song.notes, key=lambda n: n.start_s))
    reverb, chorus = dice.pick((0, 20, 40, 70, 100)), dice.pick((0, 0, 30, 60))
    label = f"{name} {'+'.join(kind)}, {groove.name}, {bpm:.1f} BPM"
    return Score(label, bpm, seconds, notes, programs, reverb, chorus)


# The parts ---------------------------------------------------------------------------------------


def _drums(song: Song, programs: dict[int, int]) -> None:
    """The groove with fills; some drums of it may rest for the whole piece."""
    dice = song.dice
    programs[DRUM_CHANNEL] = dice.pick(song.groove.kits)
    playing = [d for d in song.groove.parts if dice.chance(0.9)] or list(song.groove.parts)
    phrase, fills = dice.pick((4, 4, 8)), dice.chance(0.6)
    for bar in range(song.n_bars):
        first = bar * song.bar
        fill_at = song.bar
        if fills and bar % phrase == phrase - 1:
            fill_at = song.bar - dice.pick((1, 1, 2)) * song.beat
            _fill(song, first + fill_at, first + song.bar)
        for drum in playing:
            hits = song.groove.hits(drum)
            for step in range(fill_at):
                mark = hits[(first + step) % len(hits)]
                if mark == "." or (mark == "?" and dice.chance(0.5)):
                    continue
                song.play(first + step, 0.9, drum, VELOCITIES[mark], DRUM_CHANNEL)
        if fills and bar and bar % phrase == 0:
            song.play(first, 4, CRASH, 104, DRUM_CHANNEL)


def _fill(song: Song, first: int, end: int) -> None:
    drums = (SNARE, HIGH_TOM, MIDDLE_TOM, FLOOR_TOM)
    for step in range(first, end):
        if song.dice.chance(0.75):
            drum = drums[min(3, 4 * (step - first) // (end - first))]
            song.play(step, 0.9, song.dice.pick((drum, SNARE)), 92, DRUM_CHANNEL)
    song.play(first, 0.9, KICK, 100, DRUM_CHANNEL)


def _rhythm(song: Song, density: float) -> list[tuple[int, int]]:
    """A bar of (step, length): likelier on beats, never empty, each lasting to the next at most."""
    dice = song.dice
    starts = [
        s for s in range(song.bar) if dice.chance(density * (1.8 if s % song.beat == 0 else 0.7))
    ]
    starts = sorted({0, *starts}) if dice.chance(0.8) or not starts else starts
    ends = [*starts[1:], song.bar]
    return [
        (s, min(e - s, dice.pick((1, 2, 3, song.beat)))) for s, e in zip(starts, ends, strict=True)
    ]


def _bass(song: Song, programs: dict[int, int]) -> None:
    dice = song.dice
    programs[1] = dice.pick(BASSES)
    style = dice.pick(("riff", "riff", "eighths", "octaves", "root and fifth", "walking", "long"))
    riff = [(s, n, dice.pick((0, 0, 0, 2, 4, 7, 6))) for s, n in _rhythm(song, 0.3)]
    half = max(1, song.beat // 2)
    for bar in range(song.n_bars):
        root, line = song.degree(bar), riff
        if style == "eighths":
            line = [(s, half, 0) for s in range(0, song.bar, half)]
        elif style == "octaves":
            line = [(s, half, 7 * (s // half % 2)) for s in range(0, song.bar, half)]
        elif style == "root and fifth":
            line = [(s, song.beat, 4 * (s // song.beat % 2)) for s in range(0, song.bar, song.beat)]
        elif style == "walking":
            leap = song.degree(bar + 1) - root
            tones = [0, 2, 4, dice.pick((leap - 1, leap + 1, 5))]
            beats = range(0, song.bar, song.beat)
            line = [(s, song.beat, tones[i % 4]) for i, s in enumerate(beats)]
        elif style == "long":
            line = [(0, song.bar, 0)]
        for step, length, tone in line:
            accent = 104 if step % song.beat == 0 else 90
            pitch = song.pitch(root + tone, 36)
            low = pitch - 12 if pitch > 50 else pitch
            song.play(bar * song.bar + step, 0.92 * length, low, accent, 1)


def _voicing(song: Song, degree: int, n_tones: int, before: list[int]) -> list[int]:
    """Pitches of a chord near those of the chord before."""
    centre = sum(before) / len(before) if before else 62.0
    pitches = []
    for i in range(n_tones):
        pitch = song.pitch(degree + 2 * i, 48)
        pitches.append(pitch + 12 * round((centre - pitch) / 12))
    return sorted(set(pitches))


def _chords(song: Song, programs: dict[int, int]) -> None:
    """One or two instruments that play the harmony, each in its own way."""
    dice = song.dice
    ways: dict[Callable[[Song, int, list[int], int], None], tuple[int, ...]] = {
        _sustain: PADS + ORGANS,
        _strum: GUITARS,
        _comp: PIANOS + ORGANS + GUITARS,
        _arpeggio: PIANOS + MALLETS + GUITARS + (46, 80, 81, 88, 90, 99),
    }
    for channel in (2, 3) if dice.chance(0.35) else (2,):
        way = dice.pick(list(ways))
        programs[channel] = dice.pick(ways[way])
        n_tones, voices = dice.pick((3, 3, 3, 4, 5)), []
        shape = dice.whole(0, 2**20)  # the same figure in every bar
        for bar in range(song.n_bars):
            voices = _voicing(song, song.degree(bar), n_tones, voices)
            figure = replace(song, dice=Dice(torch.Generator().manual_seed(shape)))
            way(figure, bar * song.bar, voices, channel)


def _sustain(song: Song, first: int, voices: list[int], channel: int) -> None:
    for pitch in voices:
        song.play(first, 0.98 * song.bar, pitch, 78, channel)


def _strum(song: Song, first: int, voices: list[int], channel: int) -> None:
    for step, length in _rhythm(song, 0.4):
        down = step % song.beat == 0
        order = voices if down else voices[::-1]
        for i, pitch in enumerate(order):
            song.play(first + step + 0.12 * i, 0.9 * length, pitch, 92 if down else 74, channel)


def _comp(song: Song, first: int, voices: list[int], channel: int) -> None:
    kind = song.dice.whole(0, 2)
    if kind == 0:  # on every beat
        hits = [(s, song.beat) for s in range(0, song.bar, song.beat)]
    elif kind == 1:  # between the beats
        half = max(1, song.beat // 2)
        hits = [(s + half, 1) for s in range(0, song.bar, song.beat)]
    else:
        hits = _rhythm(song, 0.25)
    for step, length in hits:
        for pitch in voices:
            song.play(first + step, 0.8 * length, pitch, 84, channel)


def _arpeggio(song: Song, first: int, voices: list[int], channel: int) -> None:
    dice = song.dice
    notes = voices + [voices[0] + 12] if dice.chance(0.5) else voices
    notes = dice.pick((notes, notes[::-1], notes + notes[-2:0:-1]))
    every = dice.pick((1, 2)) if song.beat == 4 else 1
    rests = dice.pick((0.0, 0.0, 0.2))
    for i, step in enumerate(range(0, song.bar, every)):
        if not dice.chance(rests):
            accent = 96 if step % song.beat == 0 else 78
            song.play(
                first + step, every * dice.pick((0.5, 0.95)), notes[i % len(notes)], accent, channel
            )


def _melody(song: Song, programs: dict[int, int]) -> None:
    """Two motifs as A A B A over the chords; strong beats take tones of the chord."""
    dice = song.dice
    programs[4] = dice.pick(LEADS + PIANOS + MALLETS)
    rhythms = [_rhythm(song, 0.28), _rhythm(song, 0.28)]
    steps = [[dice.pick((-2, -1, -1, 0, 1, 1, 2, 3)) for _ in r] for r in rhythms]
    base = dice.pick((60, 60, 72))
    for bar in range(song.n_bars):
        motif = 1 if bar % 4 == 2 else 0
        root, degree = song.degree(bar), song.degree(bar) + dice.pick((0, 2, 4))
        for (step, length), move in zip(rhythms[motif], steps[motif], strict=True):
            degree = min(root + 9, max(root - 4, degree + move))
            if step % song.beat == 0 and (degree - root) % 7 not in (0, 2, 4):
                degree += dice.pick((-1, 1))
            pitch = song.pitch(degree, base)
            song.play(bar * song.bar + step, 0.95 * length, pitch, dice.between(84, 108), 4)


_PARTS: dict[str, Callable[[Song, dict[int, int]], None]] = {
    "drums": _drums,
    "bass": _bass,
    "chords": _chords,
    "melody": _melody,
}
