"""What browsers play: most files as they are, for any other a WAV beside it of the same sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vampnet.audio import Audio, AudioFormat, stored_bits, write
from vampnet.audio.region import Region

WHOLE = ("FLAC", "MP3", "OGG")  # containers of which browsers play all that is in them
WAVES = ("WAV", "WAVEX")
# Not double, nor any ADPCM: Chromium has no decoder for them.
WAVE_SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "ULAW", "ALAW")


def is_playable(form: AudioFormat) -> bool:
    """Whether browsers play files of this format."""
    if form.container in WHOLE:
        return True
    known = form.container in WAVES and form.subtype in WAVE_SUBTYPES and form.endian != "BIG"
    return known and form.valid_bits == stored_bits(form.subtype)  # browsers want all bits


def playable(path: str, region: Region, new_folder: Callable[[], Path]) -> str:
    """Return the file to play for the one at ``path``, whose content is ``region``.

    That is itself, or a WAV of its name in a fresh folder.
    """
    if is_playable(region.format):
        return path
    beside = new_folder() / f"{Path(path).stem}.wav"
    write(beside, Audio(region.samples, region.sample_rate, None))
    return str(beside)
