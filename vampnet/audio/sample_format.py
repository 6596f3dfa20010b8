"""How a file stores samples: its container and bit depth, and samples as they lie in it.

Inside the library audio is float32 (C, S), full scale 1.0. Where bits matter (a region of which
only a part is replaced) samples stay *native*: an array (S, C) of int32 (integer formats, the value
in the upper bits), float32 or float64, which goes back into the same format unchanged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from vampnet.audio import aiff, wav
from vampnet.audio.content import Chunks

_RIFF = wav.CONTAINERS
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
LARGEST_SAMPLE = 1e6  # of full scale 1.0; larger values are not audio and overflow in sums


@dataclass(frozen=True)
class AudioFormat:
    """How a file was written, so that it can be written like that again.

    container, subtype, endian: soundfile's words ("WAV", "WAVEX", "RF64", "AIFF", "FLAC", "OGG",
        "MP3", ...; "PCM_16", "PCM_24", "FLOAT", ...; "FILE", "LITTLE", "BIG"), and "BW64".
    chunks: (name, content) of each chunk behind the sound, verbatim; of FLAC the metadata blocks,
        of Ogg the comments.
    before: the chunks in front of the sound where they are others than a plain file has, the
        header (`fmt `, `COMM`) among them.
    leading, trailing: tags in front of the container and behind it, verbatim.
    bit_rate: of an MP3, ("CONSTANT", "AVERAGE" or "VARIABLE", mean kbit/s).
    """

    container: str = "WAV"
    subtype: str = _DEFAULT_SUBTYPE
    endian: str = "FILE"
    chunks: Chunks = ()
    before: Chunks = ()
    leading: bytes = b""
    trailing: bytes = b""
    bit_rate: tuple[str, float] | None = None

    def __repr__(self) -> str:
        """Short: tags and chunks by their number of bytes."""
        beside = sum(len(data) for _, data in (*self.chunks, *self.before))
        beside += len(self.leading) + len(self.trailing)
        return f"AudioFormat({self.container}, {self.subtype}, {self.endian}, +{beside} bytes)"

    @property
    def valid_bits(self) -> int:
        """Bits of a sample that count: fewer than it takes in the file where its header says so."""
        stored = stored_bits(self.subtype)
        found = (aiff if self.container == "AIFF" else wav).valid_bits(self.before)
        return min(found, stored) if found else stored

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
        return replace(form, container=wanted[0], subtype=subtype, endian="FILE")
    return AudioFormat(wanted[0], subtype)


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


def float_to_native(samples: Tensor, subtype: str, bits: int | None = None) -> np.ndarray:
    """Float (C, S) as native (S, C), rounded to `bits` (the subtype's), clipped to its range."""
    values = samples.detach().cpu().numpy()
    dtype = native_dtype(subtype)
    if dtype != "int32":
        return np.ascontiguousarray(values.T, dtype=dtype)
    bits = bits or stored_bits(subtype)
    half = 2.0 ** (bits - 1)
    out = np.empty(values.shape[::-1], np.int32)
    for channel, row in enumerate(values):
        levels = np.clip(np.rint(row.astype(np.float64) * half), -half, half - 1)
        out[:, channel] = levels.astype(np.int64) << (32 - bits)
    return out


def stored_bits(subtype: str) -> int:
    """Bits of a sample of an integer subtype; the companded and adaptive ones decode to 16."""
    digits = subtype.removeprefix("PCM_").removeprefix("ALAC_").strip("SU")
    return int(digits) if digits.isdigit() else 16
