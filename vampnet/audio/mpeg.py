"""MP3 files: their frames, counted by their headers, and the header that says how many there are.

A decoder takes the length from a header in the first frame (Xing or Info; VBRI it skips). Where
there is none, or a wrong one, it guesses, and loses sound; and it ends where a second file starts
that was joined to the first. So it gets each of the joined sounds behind a header that is right.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from vampnet.audio import tags
from vampnet.audio.content import Content, Flaw, Limits, Part
from vampnet.audio.mpeg_frames import FrameHeader, header, is_free
from vampnet.audio.spliced import Spliced
from vampnet.audio.xing import Xing, read_xing, trusted, xing_frame

_SEARCHED = 1 << 16  # bytes in which the first frame is sought
_MODES = {2: "AVERAGE", 9: "AVERAGE"}  # by the method in a LAME tag
_BUDGET = 1000  # frames between two looks at the limits
_MARKS, _VBRI = (b"Xing", b"Info"), b"VBRI"


@dataclass
class _Sound:
    """One of the sounds of a file: its length header and its frames, as runs (start, end)."""

    first: FrameHeader
    xing: Xing | None = None
    xing_bytes: bytes = b""
    n_frames: int = 0
    n_bytes: int = 0
    runs: list[list[int]] = field(default_factory=list)
    kbits: set[int] = field(default_factory=set)

    def add(self, place: int, frame: FrameHeader) -> None:
        """Count the frame at a place."""
        self.n_frames += 1
        self.kbits.add(frame.kbits)
        self.add_run(place, place + frame.size)

    def add_run(self, start: int, end: int) -> None:
        """Frames from start to end that are counted already."""
        self.n_bytes += end - start
        if self.runs and self.runs[-1][1] == start:
            self.runs[-1][1] = end
        else:
            self.runs.append([start, end])


class _Walk:
    """All frames of a file; see :func:`find`."""

    def __init__(self, data: mmap.mmap, file: BinaryIO, place: int, end: int, limits: Limits):
        self.data, self.file, self.end, self.limits = data, file, end, limits
        self.known: dict[bytes, FrameHeader | None] = {}
        self.sounds: list[_Sound] = []
        self.place, self.cut, self.counted = (
            place,
            0,
            0,
        )  # counted: frames of all but the last sound

    def at(self, place: int) -> FrameHeader | None:
        """The header of the frame there."""
        head = self.data[place : place + 4]
        try:
            return self.known[head]
        except KeyError:
            if len(self.known) > 4096:
                self.known.clear()
            return self.known.setdefault(head, header(head))

    def run(self) -> None:
        """Walk to the last frame. Flaw for what is damaged, joined of two kinds, or too long."""
        while self.place < self.end:
            frame = self.at(self.place)
            if frame is None:
                if not self._skip():
                    return
                continue
            if self.place + frame.size > self.end:
                self.cut = self.end - self.place
                return
            self._take(frame)
            while self.place < self.end and self._frames(self.sounds[-1], _BUDGET):
                self._check(frame)

    def _frames(self, sound: _Sound, most: int) -> bool:
        """Count frames up to the first that is of another kind, a header or none; whether all were.

        This runs for every frame of a file: what it needs is at hand.
        """
        data, at, end, kind = self.data, self.at, self.end, sound.first.kind
        mark, place = 4 + sound.first.side_bytes, self.place
        for _ in range(most):
            frame = at(place)
            if frame is None or frame.kind != kind or place + frame.size > end:
                break
            if (
                data[place + mark : place + mark + 4] in _MARKS
                or data[place + 36 : place + 40] == _VBRI
            ):
                break
            sound.n_frames += 1
            sound.kbits.add(frame.kbits)
            place += frame.size
        else:
            most = 0
        if place > self.place:
            sound.add_run(self.place, place)
            self.place = place
        return not most

    def _check(self, frame: FrameHeader) -> None:
        self.limits.check(
            (self.counted + self.sounds[-1].n_frames) * frame.samples, frame.channels, frame.rate_hz
        )

    def _take(self, frame: FrameHeader) -> None:
        if self.sounds and frame.kind != self.sounds[-1].first.kind:
            raise Flaw("holds joined MP3s of different kinds; export it as one")
        head = self.data[self.place : self.place + 64]
        xing = read_xing(head, frame.side_bytes) if any(mark in head for mark in _MARKS) else None
        vbri = head[36:40] == _VBRI
        if xing or vbri:
            if self.sounds:
                self._check(frame)
                self.counted += self.sounds[-1].n_frames
            own = self.data[self.place : self.place + frame.size]
            xing = read_xing(own, frame.side_bytes) if xing else None
            self.sounds.append(_Sound(frame, xing, own if xing else b""))
        else:
            if not self.sounds:
                self.sounds.append(_Sound(frame))
            self.sounds[-1].add(self.place, frame)
        self.place += frame.size

    def _skip(self) -> bool:
        """Go over tags and padding between frames. False where no frame follows any more."""
        start = self.place
        length = tags.length_at(self.file, start)
        if not length and self.data[start : start + 3] == b"TAG":
            length = 128
        if start + length > self.end:
            raise Flaw("is cut off: it ends inside a tag between its sounds")
        if length:
            self.place += length
            return self.place < self.end
        there = start
        while there < self.end and self.data[there] == 0:
            there += 1
        if there > start:
            self.place = there
            return there < self.end
        following = first_frame(self.data, start + 1, self.end)
        if following is None:
            return False
        seconds = sum(s.n_frames * s.first.samples for s in self.sounds)
        at_s = seconds / self.sounds[-1].first.rate_hz
        raise Flaw(f"is damaged: {following - start} bytes at {at_s:.2f} s are no MP3 frame")


def first_frame(data: mmap.mmap | bytes, place: int, end: int) -> int | None:
    """Where in the next bytes the first frame is, with another of its kind behind it."""
    last = min(end, place + _SEARCHED)
    while 0 <= (place := data.find(b"\xff", place, last)) < last:
        frame = header(data[place : place + 4])
        if frame is not None:
            after = place + frame.size
            second = header(data[after : after + 4])
            if second is not None and second.kind == frame.kind:
                return place
            if after == end:
                return place
        place += 1
    return None


def find(file: BinaryIO, size: int, base: int, limits: Limits) -> Content | None:
    """The sound of an MP3 file whose tags end at `base`, and all beside it; None for no MP3."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = tags.trailing(file, size, base)
        first = first_frame(data, base, end)
        if first is None:
            if is_free(data[base : base + 4]):
                raise Flaw("is MP3 of a free bit rate, which is not read; export it with another")
            return None
        file.seek(base)
        if file.read(first - base).strip(b"\0"):
            front = f"{first - base} bytes before its first MP3 frame are neither sound nor tags"
            raise Flaw(f"is damaged: {front}")
        walk = _Walk(data, file, first, end, limits)
        walk.run()
        if not any(sound.n_frames for sound in walk.sounds):
            raise Flaw("holds no sound (0 samples); at least 1 sample is needed")
        walk._check(walk.sounds[-1].first)
        stop = walk.place
    _check_whole(walk, end - stop)
    leading = tags.content(file, 0, first)
    return Content(
        "MP3",
        tuple(Part(_for_decoder(file, sound)) for sound in walk.sounds if sound.n_frames),
        leading=leading if base else b"",
        trailing=tags.content(file, end, size),
        bit_rate=_bit_rate(walk.sounds),
    )


def _check_whole(walk: _Walk, rest: int) -> None:
    """Flaw where frames are missing that a header announces, or the end is not a frame."""
    for sound in walk.sounds:
        announced = sound.xing.frames if sound.xing else None
        missing = (announced or 0) - sound.n_frames
        cut = bool(walk.cut) and sound is walk.sounds[-1]
        # Some encoders count the frame of the header itself.
        if missing > 1 or (missing == 1 and (cut or _lacks_bytes(sound))):
            n_samples = missing * sound.first.samples
            raise Flaw(f"is cut off: {n_samples} samples that its header announces are missing")
        if cut and announced:
            raise Flaw("is cut off: its last frame is not whole")
    if rest > walk.cut and not (walk.sounds[-1].xing and walk.sounds[-1].xing.frames):
        raise Flaw(f"is damaged: {rest} bytes at its end are neither MP3 frames nor tags")


def _lacks_bytes(sound: _Sound) -> bool:
    announced = sound.xing.n_bytes if sound.xing else None
    return bool(announced) and announced > len(sound.xing_bytes) + sound.n_bytes


def _for_decoder(file: BinaryIO, sound: _Sound) -> Spliced:
    """The frames of a sound behind a header that says how many they are."""
    frames = [(file, start, end - start) for start, end in sound.runs]
    file.seek(sound.runs[0][0])
    own = sound.xing and trusted(sound.xing_bytes, sound.xing, sound.n_frames, sound.n_bytes)
    head = xing_frame(file.read(4), sound.n_frames, sound.n_bytes, own)
    return Spliced(head, *frames)


def _bit_rate(sounds: list[_Sound]) -> tuple[str, float]:
    """Mode in soundfile's words, mean kbit/s."""
    frames = sum(sound.n_frames for sound in sounds)
    seconds = frames * sounds[0].first.samples / sounds[0].first.rate_hz
    mean = sum(sound.n_bytes for sound in sounds) * 8 / 1000 / seconds
    rates = set[int]().union(*(sound.kbits for sound in sounds))
    if len(rates) == 1:
        return "CONSTANT", float(rates.pop())
    method = sounds[0].xing.method if sounds[0].xing else 0
    return _MODES.get(method, "VARIABLE"), mean


def frames(file: BinaryIO) -> Iterator[tuple[int, FrameHeader]]:
    """Place and header of each frame of an MP3 file as an encoder writes it."""
    place, end = 0, file.seek(0, 2)
    while place < end:
        file.seek(place)
        found = header(file.read(4))
        if found is None:
            return
        yield place, found
        place += found.size
