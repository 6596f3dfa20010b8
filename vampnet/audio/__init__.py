"""Audio: files of every common format, regions of a DAW, loudness, resampling, mel bands."""

from __future__ import annotations

from vampnet.audio.content import DEFAULT_LIMITS, Limits
from vampnet.audio.files import (
    Audio,
    AudioError,
    Probe,
    probe,
    read,
    read_native,
)
from vampnet.audio.loudness import TARGET_LUFS, loudness_lufs, normalize
from vampnet.audio.region import Region
from vampnet.audio.resampling import all_finite, fit, resample
from vampnet.audio.sample_format import (
    SUFFIXES,
    AudioFormat,
    float_to_native,
    format_for,
    native_to_float,
    stored_bits,
)
from vampnet.audio.writing import check_writable, write, write_native

__all__ = [
    "DEFAULT_LIMITS",
    "SUFFIXES",
    "TARGET_LUFS",
    "Audio",
    "AudioError",
    "AudioFormat",
    "Limits",
    "Probe",
    "Region",
    "all_finite",
    "check_writable",
    "fit",
    "float_to_native",
    "format_for",
    "loudness_lufs",
    "native_to_float",
    "normalize",
    "probe",
    "read",
    "read_native",
    "resample",
    "stored_bits",
    "write",
    "write_native",
]
