"""Algorithmic composition: drum loops, bass lines, chords, melodies and complete arrangements.

All parameters are random, from a torch.Generator: tempo, key, mode, metre, swing, instruments,
rhythms and small deviations in time and velocity. Programs are General MIDI's, counted from 0.
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
from vampnet.training.random_choice import RandomChoice

DRUM_CHANNEL = 9  # General MIDI's, counted from 0
KINDS = {  # parts of a piece -> relative frequency
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
PROGRESSIONS = (  # degrees of the scale, one per bar
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
    """A note: start and length in seconds, MIDI pitch, velocity and channel (0..15)."""

    start_s: float
    length_s: float
    pitch: int
    velocity: int
    channel: int


@dataclass(frozen=True)
class Score:
    """A piece to render: its notes, each channel's program, effect levels (MIDI 0..127)."""

    name: str
    bpm: float
    seconds: float
    notes: tuple[Note, ...]
    programs: dict[int, int]
    reverb: int = 40
    chorus: int = 0


@dataclass
class Song:
    """The state that all parts of a piece share. Times are in the groove's steps."""

    rand: RandomChoice
    groove: Groove
    n_bars: int
    bpm: float
    swing: float  # position of an off-beat step between its neighbours: 0.5 = straight
    tonic: int  # semitones above C
    scale: tuple[int, ...]
    progression: tuple[int, ...]
    looseness_s: float  # largest deviation in time
    notes: list[Note] = field(default_factory=list)

    @property
    def bar(self) -> int:
        """Steps per bar."""
        return self.groove.steps_per_bar

    @property
    def beat(self) -> int:
        """Steps per beat."""
        return self.groove.steps_per_beat

    def degree(self, bar: int) -> int:
        """Return the chord of a bar, as a degree of the scale."""
        return self.progression[bar % len(self.progression)]

    def pitch(self, degree: int, base: int) -> int:
        """Return the MIDI pitch of a degree of the scale, in any octave, from C ``base``."""
        return base + self.tonic + 12 * (degree // 7) + self.scale[degree % 7]

    def seconds(self, step: float) -> float:
        """Return the time of a step in seconds, with swing."""
        pair, within = divmod(step, 2.0)
        if within < 1.0:
            within *= 2 * self.swing
        else:
            within = 2 * self.swing + (within - 1.0) * 2 * (1 - self.swing)
        return (2.0 * pair + within) * 60.0 / self.bpm / self.beat

    def play(self, step: float, length: float, pitch: int, velocity: float, channel: int) -> None:
        """Add a note at a step, with a random deviation in time and velocity.

        Args:
            step, length: in steps.
            pitch, velocity, channel: MIDI.
        """
        late = self.looseness_s * (self.rand.uniform(-1, 1) + self.rand.uniform(-1, 1)) / 2
        force = velocity * self.rand.uniform(0.9, 1.08)
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
    """Compose a random piece of whole bars.

    Args:
        rng: a CPU generator.
        name: first part of the piece's name.
        longest_s: longest duration in seconds; the piece has four bars at least if they fit.
    """
    rand = RandomChoice(rng)
    groove = rand.choice(GROOVES)
    bpm = rand.uniform(*groove.bpm)
    bar_s = groove.steps_per_bar / groove.steps_per_beat * 60.0 / bpm
    n_bars = max(1, min(16, 4 * int(longest_s / bar_s / 4) or int(longest_s / bar_s)))
    song = Song(
        rand,
        groove,
        n_bars,
        bpm,
        rand.choice((0.5, 0.5, 0.54, 0.58, 0.62, 0.66)) if groove.swings else 0.5,
        rand.integer(0, 11),
        MODES[rand.choice(list(MODES))],
        rand.choice(PROGRESSIONS),
        rand.choice((0.0, 0.004, 0.01, 0.018)),
    )
    programs: dict[int, int] = {}
    kind = rand.weighted_choice(KINDS)
    for part in kind:
        _PARTS[part](song, programs)
    seconds = n_bars * bar_s
    notes = tuple(sorted(song.notes, key=lambda n: n.start_s))
    reverb, chorus = rand.choice((0, 20, 40, 70, 100)), rand.choice((0, 0, 30, 60))
    label = f"{name} {'+'.join(kind)}, {groove.name}, {bpm:.1f} BPM"
    return Score(label, bpm, seconds, notes, programs, reverb, chorus)


# The parts ---------------------------------------------------------------------------------------


def _drums(song: Song, programs: dict[int, int]) -> None:
    """The groove with fills; some of its drums may be omitted for the whole piece."""
    rand = song.rand
    programs[DRUM_CHANNEL] = rand.choice(song.groove.kits)
    playing = [d for d in song.groove.parts if rand.bernoulli(0.9)] or list(song.groove.parts)
    phrase, fills = rand.choice((4, 4, 8)), rand.bernoulli(0.6)
    for bar in range(song.n_bars):
        first = bar * song.bar
        fill_at = song.bar
        if fills and bar % phrase == phrase - 1:
            fill_at = song.bar - rand.choice((1, 1, 2)) * song.beat
            _fill(song, first + fill_at, first + song.bar)
        for drum in playing:
            hits = song.groove.hits(drum)
            for step in range(fill_at):
                mark = hits[(first + step) % len(hits)]
                if mark == "." or (mark == "?" and rand.bernoulli(0.5)):
                    continue
                song.play(first + step, 0.9, drum, VELOCITIES[mark], DRUM_CHANNEL)
        if fills and bar and bar % phrase == 0:
            song.play(first, 4, CRASH, 104, DRUM_CHANNEL)


def _fill(song: Song, first: int, end: int) -> None:
    drums = (SNARE, HIGH_TOM, MIDDLE_TOM, FLOOR_TOM)
    for step in range(first, end):
        if song.rand.bernoulli(0.75):
            drum = drums[min(3, 4 * (step - first) // (end - first))]
            song.play(step, 0.9, song.rand.choice((drum, SNARE)), 92, DRUM_CHANNEL)
    song.play(first, 0.9, KICK, 100, DRUM_CHANNEL)


def _rhythm(song: Song, density: float) -> list[tuple[int, int]]:
    """A bar of (step, length): more probable on beats, never empty, without overlaps."""
    rand = song.rand
    starts = [
        s for s in range(song.bar) if rand.bernoulli(density * (1.8 if s % song.beat == 0 else 0.7))
    ]
    starts = sorted({0, *starts}) if rand.bernoulli(0.8) or not starts else starts
    ends = [*starts[1:], song.bar]
    return [
        (s, min(e - s, rand.choice((1, 2, 3, song.beat))))
        for s, e in zip(starts, ends, strict=True)
    ]


def _bass(song: Song, programs: dict[int, int]) -> None:
    rand = song.rand
    programs[1] = rand.choice(BASSES)
    style = rand.choice(("riff", "riff", "eighths", "octaves", "root and fifth", "walking", "long"))
    riff = [(s, n, rand.choice((0, 0, 0, 2, 4, 7, 6))) for s, n in _rhythm(song, 0.3)]
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
            tones = [0, 2, 4, rand.choice((leap - 1, leap + 1, 5))]
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
    """Pitches of a chord near those of the previous chord."""
    centre = sum(before) / len(before) if before else 62.0
    pitches = []
    for i in range(n_tones):
        pitch = song.pitch(degree + 2 * i, 48)
        pitches.append(pitch + 12 * round((centre - pitch) / 12))
    return sorted(set(pitches))


def _chords(song: Song, programs: dict[int, int]) -> None:
    """One or two instruments that play the harmony, each in its own style."""
    rand = song.rand
    styles: dict[Callable[[Song, int, list[int], int], None], tuple[int, ...]] = {
        _sustain: PADS + ORGANS,
        _strum: GUITARS,
        _comp: PIANOS + ORGANS + GUITARS,
        _arpeggio: PIANOS + MALLETS + GUITARS + (46, 80, 81, 88, 90, 99),
    }
    for channel in (2, 3) if rand.bernoulli(0.35) else (2,):
        style = rand.choice(list(styles))
        programs[channel] = rand.choice(styles[style])
        n_tones, voices = rand.choice((3, 3, 3, 4, 5)), []
        shape = rand.integer(0, 2**20)  # the same figure in every bar
        for bar in range(song.n_bars):
            voices = _voicing(song, song.degree(bar), n_tones, voices)
            figure = replace(song, rand=RandomChoice(torch.Generator().manual_seed(shape)))
            style(figure, bar * song.bar, voices, channel)


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
    kind = song.rand.integer(0, 2)
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
    rand = song.rand
    notes = voices + [voices[0] + 12] if rand.bernoulli(0.5) else voices
    notes = rand.choice((notes, notes[::-1], notes + notes[-2:0:-1]))
    every = rand.choice((1, 2)) if song.beat == 4 else 1
    rests = rand.choice((0.0, 0.0, 0.2))
    for i, step in enumerate(range(0, song.bar, every)):
        if not rand.bernoulli(rests):
            accent = 96 if step % song.beat == 0 else 78
            length = every * rand.choice((0.5, 0.95))
            song.play(first + step, length, notes[i % len(notes)], accent, channel)


def _melody(song: Song, programs: dict[int, int]) -> None:
    """Two motifs as A A B A over the chords; on strong beats tones of the chord."""
    rand = song.rand
    programs[4] = rand.choice(LEADS + PIANOS + MALLETS)
    rhythms = [_rhythm(song, 0.28), _rhythm(song, 0.28)]
    steps = [[rand.choice((-2, -1, -1, 0, 1, 1, 2, 3)) for _ in r] for r in rhythms]
    base = rand.choice((60, 60, 72))
    for bar in range(song.n_bars):
        motif = 1 if bar % 4 == 2 else 0
        root, degree = song.degree(bar), song.degree(bar) + rand.choice((0, 2, 4))
        for (step, length), move in zip(rhythms[motif], steps[motif], strict=True):
            degree = min(root + 9, max(root - 4, degree + move))
            if step % song.beat == 0 and (degree - root) % 7 not in (0, 2, 4):
                degree += rand.choice((-1, 1))
            pitch = song.pitch(degree, base)
            song.play(bar * song.bar + step, 0.95 * length, pitch, rand.uniform(84, 108), 4)


_PARTS: dict[str, Callable[[Song, dict[int, int]], None]] = {
    "drums": _drums,
    "bass": _bass,
    "chords": _chords,
    "melody": _melody,
}
