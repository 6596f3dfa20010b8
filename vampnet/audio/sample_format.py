"""How a file stores samples: its container and bit depth, and samples as they lie in it.

Inside the library audio is float32 (C, S), full scale 1.0. Where bits matter (a region of which
only a part is replaced) samples stay *native*: an array (S, C) of int32 (integer formats, the value
in the upper bits), float32 or float64, which goes back into the same format unchanged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

_RIFF = ("WAV", "WAVEX", "RF64")
_BY_SUFFIX = {
    ".wav": _RIFF,
    ".wave": _RIFF,
    ".bwf": _RIFF,
    ".rf64": ("RF64",),
    ".w64": ("W64",),
    ".aif": ("AIFF",),
    ".aiff": ("AIFF",),
    ".aifc": ("AIFF",),
    ".caf": ("CAF",),
    ".flac": ("FLAC",),
    ".ogg": ("OGG",),
    ".oga": ("OGG",),
    ".opus": ("OGG",),
    ".mp3": ("MP3",),
}
SUFFIXES = tuple(_BY_SUFFIX)  # of names that ask for a container
_DEFAULT_SUBTYPE = "PCM_24"
LARGEST_SAMPLE = 1e6  # of full scale 1.0; what is larger is no sound and overflows in sums
ONE_BYTE = ("PCM_S8", "PCM_U8", "ULAW", "ALAW")  # subtypes with one byte a sample


@dataclass(frozen=True)
class AudioFormat:
    """How a file was written, so that it can be written like that again.

    container, subtype, endian: soundfile's words ("WAV", "WAVEX", "RF64", "AIFF", "FLAC", "OGG",
        "MP3", ...; "PCM_16", "PCM_24", "FLOAT", ...; "FILE", "LITTLE", "BIG").
    chunks: (name, content) of the loop, tempo and marker chunks, verbatim.
    extensible: the start of an extensible wav header, with its valid bits and speakers.
    """

    container: str = "WAV"
    subtype: str = _DEFAULT_SUBTYPE
    endian: str = "FILE"
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    extensible: bytes = b""

    @property
    def lossless(self) -> bool:
        """Whether samples come back from a file of this format exactly as they went in."""
        return self.subtype.startswith(("PCM_", "ALAC_", "FLOAT", "DOUBLE"))


def format_for(path: str | os.PathLike[str], form: AudioFormat | None) -> AudioFormat:
    """The format to write under this name: `form`, unless the suffix asks for another container.

    Then the bit depth is kept where that container has it. A name without a known suffix asks for
    nothing, and gets wav where `form` is None.
    """
    suffix = Path(path).suffix.lower()
    wanted = _BY_SUFFIX.get(suffix)
    if wanted is None or (form is not None and form.container in wanted):
        return form or AudioFormat()
    subtypes = [form.subtype] if form is not None and form.lossless else []
    subtypes += ["OPUS"] if suffix == ".opus" else [_DEFAULT_SUBTYPE]
    fits = [subtype for subtype in subtypes if soundfile.check_format(wanted[0], subtype)]
    subtype = fits[0] if fits else soundfile.default_subtype(wanted[0]) or _DEFAULT_SUBTYPE
    if form is not None and form.container in _RIFF and wanted[0] in _RIFF:
        return AudioFormat(wanted[0], subtype, "FILE", form.chunks, form.extensible)
    return AudioFormat(wanted[0], subtype)


def written_endian(form: AudioFormat) -> str:
    """The byte order to write, in soundfile's words.

    A little-endian aiff file of more than 16 bits gets a compression type from libsndfile that
    others do not know.
    """
    unknown = form.container == "AIFF" and form.endian == "LITTLE" and form.subtype != "PCM_16"
    return "FILE" if unknown else form.endian


def native_dtype(subtype: str) -> str:
    """The native array type of a subtype: double float64, float and lossy float32, else int32."""
    if subtype == "DOUBLE":
        return "float64"
    decoded = subtype in ("FLOAT", "VORBIS", "OPUS") or subtype.startswith("MPEG")
    return "float32" if decoded else "int32"


def flaw(native: np.ndarray, sample_rate: int) -> str | None:
    """What is wrong with native samples (S, C): NaN, infinite or beyond all sound; None = nothing.

    Told as "NaN or infinite samples (how many, where); what is allowed".
    """
    if native.dtype == np.int32 or (
        native.max() <= LARGEST_SAMPLE and native.min() >= -LARGEST_SAMPLE
    ):
        return None
    sizes = np.abs(native).max(axis=1)
    bad = np.flatnonzero(~(sizes <= LARGEST_SAMPLE))
    where = f"{len(bad)} of {len(native)}, first at {bad[0] / sample_rate:.3f} s"
    if np.isfinite(sizes).all():
        allowed = f"at most {LARGEST_SAMPLE:g} times full scale is allowed"
        return f"samples of up to {sizes.max():.3g} times full scale ({where}); {allowed}"
    return f"NaN or infinite samples ({where}); none are allowed"


def native_to_float(native: np.ndarray) -> Tensor:
    """Native samples (S, C) as float32 (C, S), full scale 1.0."""
    out = np.empty(native.shape[::-1], np.float32)
    scale = np.float64(2.0**-31 if native.dtype == np.int32 else 1.0)
    for channel in range(len(out)):
        np.multiply(native[:, channel], scale, out=out[channel], casting="same_kind")
    return torch.from_numpy(out)


def float_to_native(samples: Tensor, subtype: str) -> np.ndarray:
    """Float (C, S) as native (S, C), rounded to the subtype's bits, clipped to its range."""
    values = samples.detach().cpu().numpy()
    dtype = native_dtype(subtype)
    if dtype != "int32":
        return np.ascontiguousarray(values.T, dtype=dtype)
    bits = _bits(subtype)
    half = 2.0 ** (bits - 1)
    out = np.empty(values.shape[::-1], np.int32)
    for channel, row in enumerate(values):
        levels = np.clip(np.rint(row.astype(np.float64) * half), -half, half - 1)
        out[:, channel] = levels.astype(np.int64) << (32 - bits)
    return out


def _bits(subtype: str) -> int:
    """Bits of a sample of an integer subtype; the companded and adaptive ones decode to 16."""
    digits = subtype.removeprefix("PCM_").removeprefix("ALAC_").strip("SU")
    return int(digits) if digits.isdigit() else 16
