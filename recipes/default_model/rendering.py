"""From notes to sound: standard MIDI through the program ``fluidsynth`` and a soundfont.

Loading a soundfont takes longer than rendering a minute of music, so many pieces are laid end to
end in one MIDI file and the sound is cut apart afterwards. Needs the optional package ``mido``.
"""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recipes.default_model.composing import Score
from vampnet import audio
from vampnet.system.errors import UserError
from vampnet.system.optional import require

TICKS_PER_BEAT = 480
TICKS_PER_S = 960  # at MIDI's own tempo, 120 BPM; times are told in seconds here
GAP_S = 2.0  # of rest after a piece, so that nothing of it rings into the next
RESET_S = 0.05  # before a piece: programmes and controllers
GAIN = 0.5
SOUNDFONTS = (
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
    "/usr/share/sounds/sf3/MuseScore_General.sf3",
    "/usr/share/sounds/sf3/default-GM.sf3",
)
VOLUME, PAN, EXPRESSION, REVERB, CHORUS = 7, 10, 11, 91, 93
SOUND_OFF, CONTROLLERS_OFF = 120, 121


@dataclass(frozen=True)
class Take:
    """MIDI messages of a piece, (second, message) in order, and how long its sound lasts."""

    name: str
    seconds: float
    messages: tuple[tuple[float, Any], ...]


def _mido() -> Any:
    require("mido", extra="train", purpose="rendered music")
    import mido

    return mido


def take_of_score(score: Score) -> Take:
    """The messages of a composed piece."""
    message = _mido().Message
    found: list[tuple[float, Any]] = []
    for channel, program in score.programs.items():
        found += [
            (0.0, message("program_change", channel=channel, program=program)),
            (0.0, message("control_change", channel=channel, control=REVERB, value=score.reverb)),
            (0.0, message("control_change", channel=channel, control=CHORUS, value=score.chorus)),
        ]
    for n in score.notes:
        on = message("note_on", channel=n.channel, note=n.pitch, velocity=n.velocity)
        off = message("note_off", channel=n.channel, note=n.pitch)
        found += [(n.start_s, on), (min(n.start_s + n.length_s, score.seconds), off)]
    # at equal times a note ends before the next one of its pitch begins
    found.sort(key=lambda m: (m[0], m[1].type == "note_on"))
    return Take(score.name, score.seconds, tuple(found))


def take_of_midi(name: str, data: bytes, longest_s: float) -> Take:
    """The first ``longest_s`` of a standard MIDI file; ValueError where it is none."""
    mido = _mido()
    try:
        file = mido.MidiFile(file=io.BytesIO(data), clip=True)
        now, found = 0.0, []
        for message in file:
            now += message.time
            if now >= longest_s:
                break
            if not message.is_meta and message.type != "sysex":
                found.append((now, message.copy(time=0)))
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"{name} is no MIDI file that can be read: {error}") from None
    sounding = [t for t, m in found if m.type == "note_on" and m.velocity]
    if not sounding:
        raise UserError(f"{name} has no notes")
    return Take(name, min(longest_s, now), tuple(found))


def wad_music(file: str | Path) -> dict[str, bytes]:
    """The MIDI lumps of a WAD file (names that begin with D_), by name.

    Raises ValueError where the file is no WAD. Format: a head of 12 bytes, and a directory of 16
    bytes an entry: offset, size, name.
    """
    data = Path(file).read_bytes()
    if len(data) < 12 or data[:4] not in (b"IWAD", b"PWAD"):
        raise UserError(f"{file} is no WAD file")
    count, directory = struct.unpack("<ii", data[4:12])
    lumps = {}
    for entry in range(directory, directory + 16 * count, 16):
        start, size, raw = struct.unpack("<ii8s", data[entry : entry + 16])
        name = raw.rstrip(b"\0").decode("ascii", "replace")
        if name.startswith("D_") and data[start : start + 4] == b"MThd":
            lumps[name] = data[start : start + size]
    return lumps


def find_soundfont(folder: str | Path | None = None) -> Path:
    """A General-MIDI soundfont below ``folder``, or the one that Debian installs.

    Raises ValueError where there is none.
    """
    if folder is not None:
        found = sorted(f for f in Path(folder).rglob("*") if f.suffix.lower() in (".sf2", ".sf3"))
        found = [f for f in found if f.is_file()]
    else:
        found = [Path(f) for f in SOUNDFONTS if Path(f).is_file()]
    if not found:
        where = folder if folder is not None else ", ".join(SOUNDFONTS)
        raise UserError(
            f"no soundfont in {where}; Debian's musescore-general-soundfont-small has one"
        )
    return found[0]


def _reset(message: Any, at_s: float) -> list[tuple[float, Any]]:
    """Every channel silent, with the first programme and usual controllers."""
    found = []
    values = ((SOUND_OFF, 0), (CONTROLLERS_OFF, 0), (0, 0), (VOLUME, 100), (PAN, 64))
    values += ((EXPRESSION, 127), (REVERB, 40), (CHORUS, 0))
    for channel in range(16):
        for control, value in values:
            kind = dict(channel=channel, control=control, value=value)
            found.append((at_s, message("control_change", **kind)))
        found.append((at_s, message("program_change", channel=channel, program=0)))
        found.append((at_s, message("pitchwheel", channel=channel, pitch=0)))
    return found


def timeline(takes: Sequence[Take]) -> tuple[bytes, list[float]]:
    """One MIDI file with the takes one after another, and the second at which each begins."""
    mido = _mido()
    events: list[tuple[float, Any]] = []
    starts, now = [], 0.0
    for take in takes:
        events += _reset(mido.Message, now)
        now += RESET_S
        starts.append(now)
        events += [(now + at, message) for at, message in take.messages]
        # notes that last on would ring into the next piece
        for channel in range(16):
            quiet = mido.Message("control_change", channel=channel, control=123, value=0)
            events.append((now + take.seconds, quiet))
        now += take.seconds + GAP_S
    track, tick = mido.MidiTrack(), 0
    for at, message in events:
        then = max(tick, round(at * TICKS_PER_S))
        track.append(message.copy(time=then - tick))
        tick = then
    track.append(mido.MetaMessage("end_of_track", time=round(now * TICKS_PER_S) - tick))
    file, stored = mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_BEAT), io.BytesIO()
    file.tracks.append(track)
    file.save(file=stored)
    return stored.getvalue(), starts


def render(takes: Sequence[Take], soundfont: str | Path, rate_hz: int = 44100) -> list[Tensor]:
    """The sound of each take, mono, float (S,), S = seconds * rate_hz; not levelled.

    One call of fluidsynth for all of them. Raises ValueError where fluidsynth is absent or fails.
    """
    program = shutil.which("fluidsynth")
    if program is None:
        raise UserError("rendered music needs the program fluidsynth; Debian has a package of it")
    data, starts = timeline(takes)
    with tempfile.TemporaryDirectory(prefix="vampnet-") as folder:
        midi, sound = Path(folder, "takes.mid"), Path(folder, "takes.wav")
        midi.write_bytes(data)
        line = [program, "-n", "-i", "-q", "-T", "wav", "-O", "float", "-F", str(sound)]
        line += ["-r", str(rate_hz), "-g", str(GAIN), str(soundfont), str(midi)]
        done = subprocess.run(line, capture_output=True, text=True, errors="replace")
        if done.returncode or not sound.is_file():
            said = " ".join(done.stderr.split())[-300:]
            raise UserError(f"fluidsynth gave no sound (exit code {done.returncode}): {said}")
        whole = audio.read(sound).samples.mean(0)
    pieces = []
    for take, start in zip(takes, starts, strict=True):
        first = round(start * rate_hz)
        pieces.append(whole[first : first + round(take.seconds * rate_hz)].clone())
        if not torch.any(pieces[-1]):
            raise UserError(f"fluidsynth rendered silence for {take.name}; is {soundfont} whole?")
    return pieces
