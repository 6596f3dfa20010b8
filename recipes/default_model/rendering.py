"""From notes to audio: standard MIDI rendered by the program ``fluidsynth`` with a soundfont.

Loading a soundfont takes longer than rendering a minute of music, so many pieces are concatenated
in one MIDI file and the audio is split afterwards. Needs the optional package ``mido``.
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
TICKS_PER_S = 960  # at MIDI's default tempo, 120 BPM; times are in seconds here
GAP_S = 2.0  # silence after a piece, so that its reverb does not reach the next
RESET_S = 0.05  # before a piece, for programs and controllers
GAIN = 0.5
SOUNDFONTS = (
    "/usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
    "/usr/share/sounds/sf3/MuseScore_General.sf3",
    "/usr/share/sounds/sf3/default-GM.sf3",
)
VOLUME, PAN, EXPRESSION, REVERB, CHORUS = 7, 10, 11, 91, 93
SOUND_OFF, CONTROLLERS_OFF = 120, 121


@dataclass(frozen=True)
class MidiPiece:
    """A piece as MIDI.

    Attributes:
        name: of the piece.
        seconds: duration of the audio.
        messages: (time in seconds, message), in order.
    """

    name: str
    seconds: float
    messages: tuple[tuple[float, Any], ...]


def _mido() -> Any:
    require("mido", extra="train", purpose="rendered music")
    import mido

    return mido


def score_to_midi(score: Score) -> MidiPiece:
    """Convert a composed piece to MIDI messages."""
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
    # at equal times, note-off comes before note-on of the same pitch
    found.sort(key=lambda m: (m[0], m[1].type == "note_on"))
    return MidiPiece(score.name, score.seconds, tuple(found))


def read_midi(name: str, data: bytes, longest_s: float) -> MidiPiece:
    """Read the first ``longest_s`` seconds of a standard MIDI file.

    Raises:
        UserError: where the data is not MIDI or has no notes.
    """
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
        raise UserError(f"{name} is not a readable MIDI file: {error}") from None
    sounding = [t for t, m in found if m.type == "note_on" and m.velocity]
    if not sounding:
        raise UserError(f"{name} has no notes")
    return MidiPiece(name, min(longest_s, now), tuple(found))


def read_wad_midi(file: str | Path) -> dict[str, bytes]:
    """Read the MIDI lumps of a WAD file (names that begin with D_), by name.

    Format: a header of 12 bytes, and a directory with 16 bytes per entry: offset, size, name.

    Raises:
        UserError: where the file is not a WAD.
    """
    data = Path(file).read_bytes()
    if len(data) < 12 or data[:4] not in (b"IWAD", b"PWAD"):
        raise UserError(f"{file} is not a WAD file")
    count, directory = struct.unpack("<ii", data[4:12])
    lumps = {}
    for entry in range(directory, directory + 16 * count, 16):
        start, size, raw = struct.unpack("<ii8s", data[entry : entry + 16])
        name = raw.rstrip(b"\0").decode("ascii", "replace")
        if name.startswith("D_") and data[start : start + 4] == b"MThd":
            lumps[name] = data[start : start + size]
    return lumps


def find_soundfont(folder: str | Path | None = None) -> Path:
    """Return a General-MIDI soundfont below ``folder``, or the one that Debian installs.

    Raises:
        UserError: where there is none.
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
    """Messages that silence every channel and reset its program and controllers."""
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


def timeline(pieces: Sequence[MidiPiece]) -> tuple[bytes, list[float]]:
    """Concatenate pieces.

    Returns:
        A MIDI file, and the start of each piece in seconds.
    """
    mido = _mido()
    events: list[tuple[float, Any]] = []
    starts, now = [], 0.0
    for piece in pieces:
        events += _reset(mido.Message, now)
        now += RESET_S
        starts.append(now)
        events += [(now + at, message) for at, message in piece.messages]
        # notes without an end would sound in the next piece
        for channel in range(16):
            quiet = mido.Message("control_change", channel=channel, control=123, value=0)
            events.append((now + piece.seconds, quiet))
        now += piece.seconds + GAP_S
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


def render(
    pieces: Sequence[MidiPiece], soundfont: str | Path, rate_hz: int = 44100
) -> list[Tensor]:
    """Render pieces with one call of fluidsynth.

    Args:
        pieces: the pieces.
        soundfont: a .sf2 or .sf3 file.
        rate_hz: sample rate.

    Returns:
        Mono audio of each piece, float (S,), S = seconds * rate_hz, not normalised.

    Raises:
        UserError: where fluidsynth is missing or fails.
    """
    program = shutil.which("fluidsynth")
    if program is None:
        raise UserError("rendered music needs the program fluidsynth; Debian has a package of it")
    data, starts = timeline(pieces)
    with tempfile.TemporaryDirectory(prefix="vampnet-") as folder:
        midi, sound = Path(folder, "pieces.mid"), Path(folder, "pieces.wav")
        midi.write_bytes(data)
        line = [program, "-n", "-i", "-q", "-T", "wav", "-O", "float", "-F", str(sound)]
        line += ["-r", str(rate_hz), "-g", str(GAIN), str(soundfont), str(midi)]
        done = subprocess.run(line, capture_output=True, text=True, errors="replace")
        if done.returncode or not sound.is_file():
            text = " ".join(done.stderr.split())[-300:]
            raise UserError(f"fluidsynth failed (exit code {done.returncode}): {text}")
        whole = audio.read(sound).samples.mean(0)
    rendered = []
    for piece, start in zip(pieces, starts, strict=True):
        first = round(start * rate_hz)
        rendered.append(whole[first : first + round(piece.seconds * rate_hz)].clone())
        if not torch.any(rendered[-1]):
            text = f"fluidsynth rendered silence for {piece.name}; is {soundfont} damaged?"
            raise UserError(text)
    return rendered
