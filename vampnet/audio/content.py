"""What a reader of one container finds in a file: the sound for a decoder, and all beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Chunks = tuple[tuple[bytes, bytes], ...]  # (name, content) of each


class Flaw(ValueError):
    """Why a file cannot be read, as words that follow its name: "is cut off: ..."."""


@dataclass(frozen=True)
class Limits:
    """What a file may be, checked before it is decoded; decoded size counts 4 bytes a sample."""

    max_duration_s: float = 3600.0
    max_channels: int = 8
    min_rate_hz: int = 8000
    max_rate_hz: int = 192000
    max_decoded_mib: int = 2048

    def check(self, frames: int, channels: int, rate_hz: int) -> None:
        """Flaw where a sound of `frames` samples in each channel is outside these limits."""
        if not 1 <= channels <= self.max_channels:
            allowed = f"1 to {self.max_channels} are allowed"
            raise Flaw(f"has {channels} channels; {allowed}")
        if not self.min_rate_hz <= rate_hz <= self.max_rate_hz:
            allowed = f"{self.min_rate_hz} to {self.max_rate_hz} Hz are allowed"
            raise Flaw(f"has a sample rate of {rate_hz} Hz; {allowed}")
        if frames > self.max_duration_s * rate_hz:
            allowed = f"{self.max_duration_s:g} s are allowed"
            raise Flaw(f"is {frames / rate_hz:.1f} s long; {allowed}")
        size = frames * channels * 4 / 2**20
        if size > self.max_decoded_mib:
            raise Flaw(f"decodes to {size:.1f} MiB; {self.max_decoded_mib} MiB are allowed")


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Part:
    """One stretch of sound: a file object and how soundfile is to open it."""

    file: Any  # soundfile takes more than its types say
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    """What lies in a file.

    container: in soundfile's words, or "BW64"; "" where soundfile knows it.
    parts: the sound; more than one where sounds were joined end to end.
    endian: in soundfile's words, None where soundfile knows it.
    leading, trailing: bytes in front of the container and behind it (tags), verbatim.
    before, chunks: the chunks on either side of the sound that a copy keeps; for FLAC the metadata
        blocks, for Ogg the comments, in `chunks`.
    bit_rate: of an MP3, mode in soundfile's words and mean in kbit/s.
    md5: of the decoded sound, where the file says it.
    """

    container: str
    parts: tuple[Part, ...]
    endian: str | None = None
    leading: bytes = b""
    before: Chunks = ()
    chunks: Chunks = ()
    trailing: bytes = b""
    bit_rate: tuple[str, float] | None = None
    md5: bytes = b""
