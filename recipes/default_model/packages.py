"""Debian packages of music: what is in them, and what their own words say of each file's licence.

Nothing here guesses: a file whose licence the package does not tell is refused.
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vampnet.system.errors import UserError

AR_MAGIC = b"!<arch>\n"
AR_HEAD = 60  # bytes before a member: name 16, time 12, user 6, group 6, mode 8, size 10, end 2
DATA = "data.tar"
# What a copyright file may call a licence -> its usual (SPDX) name here.
LICENCES = {
    "cc0": "CC0-1.0",
    "cc0-1.0": "CC0-1.0",
    "cc-by-3.0": "CC-BY-3.0",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-3.0": "CC-BY-SA-3.0",
    "cc-by-sa-3.0+": "CC-BY-SA-3.0+",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "expat": "MIT",
    "mit": "MIT",
    "bsd-3-clause": "BSD-3-Clause",
    "public-domain": "public domain",
}
ADDRESS = re.compile(r"<?\S+@[\w.-]+>?")  # of a holder; the name is what credit needs
ALLOWED = frozenset(LICENCES.values())


@dataclass(frozen=True)
class Words:
    """What a package says of a file: its licence (one of ``LICENCES``' names, or as it stands
    there), the holders, and where that is written."""

    licence: str
    holders: tuple[str, ...]
    where: str


def members(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """The members of an ``ar`` archive, as Debian's packages are. ValueError for anything else."""
    if data[:8] != AR_MAGIC:
        raise UserError(f"{name} is no Debian package")
    at = 8
    while at + AR_HEAD <= len(data):
        head = data[at : at + AR_HEAD]
        try:
            size = int(head[48:58])
        except ValueError:
            raise UserError(f"{name} is damaged at byte {at}") from None
        at += AR_HEAD
        if at + size > len(data):
            raise UserError(f"{name} ends too early: {len(data)} bytes, {at + size} expected")
        yield head[:16].decode("ascii", "replace").rstrip(" /"), data[at : at + size]
        at += size + size % 2


def unpack(package: str | Path, target: str | Path) -> None:
    """Write the plain files of a ``.deb`` below ``target``; links and devices are left out.

    Raises ValueError where it is no package, or packed in a way that needs ``dpkg-deb``, which is
    not there.
    """
    package, target = Path(package), Path(target)
    found = [m for m in members(package.read_bytes(), package.name) if m[0].startswith(DATA)]
    if not found:
        raise UserError(f"{package.name} holds no {DATA}")
    name, content = found[0]
    if name.endswith(".zst"):
        content = _by_dpkg(package)
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as archive:
            for member in archive:
                place = target / member.name
                if not member.isfile() or not place.resolve().is_relative_to(target.resolve()):
                    continue
                stream = archive.extractfile(member)
                assert stream is not None
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as file:
                    shutil.copyfileobj(stream, file)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{package.name} cannot be unpacked: {error}") from None


def _by_dpkg(package: Path) -> bytes:
    program = shutil.which("dpkg-deb")
    if program is None:
        raise UserError(
            f"{package.name} is packed with zstd; unpack it with `dpkg-deb -x` on a Debian machine"
        )
    done = subprocess.run([program, "--fsys-tarfile", str(package)], capture_output=True)
    if done.returncode:
        raise UserError(f"dpkg-deb cannot unpack {package.name}")
    return done.stdout


def documents(root: Path, package: str) -> Path:
    """The folder of a package's documents in an unpacked tree; ValueError where it is not."""
    folder = root / "usr/share/doc" / package
    if not (folder / "copyright").is_file():
        raise UserError(f"no copyright file of {package}; get it with: apt-get download {package}")
    return folder


def version(root: Path, package: str) -> str:
    """The version of an unpacked package, from the first line of its changelog."""
    folder = documents(root, package)
    for name in ("changelog.Debian.gz", "changelog.gz"):
        if (folder / name).is_file():
            with gzip.open(folder / name, "rt", encoding="utf-8", errors="replace") as file:
                found = re.search(r"\(([^)]+)\)", file.readline())
            if found:
                return found[1]
    raise UserError(f"no changelog of {package} tells its version")


# Copyright files ---------------------------------------------------------------------------------


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Fields of each paragraph of a machine-readable copyright file, names in lower case."""
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        fields: dict[str, str] = {}
        name = ""
        for line in block.split("\n"):
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields:
            yield fields


def _named(licence: str, text: str) -> str:
    """The usual name of a licence; one that only its words tell is known by them."""
    known = LICENCES.get(licence.lower())
    if known:
        return known
    words = " ".join(text.split())
    if (
        words.startswith("Copyright")
        and "Redistribution and use in source and binary forms, with or without" in words
        and "Neither the name of" in words
        and "advertising materials" not in words
    ):
        return "BSD-3-Clause"
    return licence


def licence_of(copyright_text: str, path: str) -> Words | None:
    """What a machine-readable copyright file says of a path in the source package; None = nothing.

    The last paragraph whose pattern fits counts. Source: Debian's copyright format 1.0.
    """
    found, texts = None, {}
    for fields in _paragraphs(copyright_text):
        licence, _, text = fields.get("license", "").partition("\n")
        if "files" in fields:
            fit = [p for p in fields["files"].split() if fnmatch.fnmatchcase(path, p)]
            if fit:
                where = "copyright" + (", for all other files" if fit == ["*"] else "")
                found = (licence.strip(), text, fields.get("copyright", ""), where)
        elif licence:
            texts[licence.strip()] = text
    if found is None:
        return None
    licence, text, holders, where = found
    named = (" ".join(ADDRESS.sub("", line).split()) for line in holders.split("\n"))
    names = tuple(dict.fromkeys(filter(None, named)))
    return Words(_named(licence, text or texts.get(licence, "")), names, where)
