"""Debian packages of music: unpacking them, and reading the licence statement of each file.

Licences are never guessed: a file without a statement in the package is refused.
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
# Names in copyright files -> SPDX names.
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
ADDRESS = re.compile(r"<?\S+@[\w.-]+>?")  # of a holder, which the attribution omits
ALLOWED = frozenset(LICENCES.values())


@dataclass(frozen=True)
class LicenceStatement:
    """The licence of a file as stated in its package.

    Attributes:
        licence: an SPDX name of ``LICENCES``, or another name as stated.
        holders: of the copyright.
        where: the file with the statement.
    """

    licence: str
    holders: tuple[str, ...]
    where: str


def members(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Iterate over the members of an ``ar`` archive, the format of Debian packages.

    Yields:
        Name and content.

    Raises:
        UserError: for other or damaged files.
    """
    if data[:8] != AR_MAGIC:
        raise UserError(f"{name} is not a Debian package")
    at = 8
    while at + AR_HEAD <= len(data):
        head = data[at : at + AR_HEAD]
        try:
            size = int(head[48:58])
        except ValueError:
            raise UserError(f"{name} is damaged at byte {at}") from None
        at += AR_HEAD
        if at + size > len(data):
            raise UserError(f"{name} is truncated: {len(data)} bytes, {at + size} expected")
        yield head[:16].decode("ascii", "replace").rstrip(" /"), data[at : at + size]
        at += size + size % 2


def unpack(package: str | Path, target: str | Path) -> None:
    """Unpack the regular files of a ``.deb`` below ``target``, without links and devices.

    Raises:
        UserError: where it is not a package, or its compression needs ``dpkg-deb``, which is
            missing.
    """
    package, target = Path(package), Path(target)
    found = [m for m in members(package.read_bytes(), package.name) if m[0].startswith(DATA)]
    if not found:
        raise UserError(f"{package.name} has no {DATA}")
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
    """Return the folder of a package's documents in an unpacked tree.

    Raises:
        UserError: where it has no copyright file.
    """
    folder = root / "usr/share/doc" / package
    if not (folder / "copyright").is_file():
        raise UserError(f"no copyright file of {package}; get it with: apt-get download {package}")
    return folder


def version(root: Path, package: str) -> str:
    """Return the version of an unpacked package, from the first line of its changelog.

    Raises:
        UserError: where there is none.
    """
    folder = documents(root, package)
    for name in ("changelog.Debian.gz", "changelog.gz"):
        if (folder / name).is_file():
            with gzip.open(folder / name, "rt", encoding="utf-8", errors="replace") as file:
                found = re.search(r"\(([^)]+)\)", file.readline())
            if found:
                return found[1]
    raise UserError(f"no changelog of {package} has its version")


# Copyright files ---------------------------------------------------------------------------------


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Fields of each paragraph of a machine-readable copyright file, by lower-case name."""
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
    """The SPDX name of a licence, by its name or, for BSD, by its text."""
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


def licence_of(copyright_text: str, path: str) -> LicenceStatement | None:
    """Return the statement of a machine-readable copyright file on a path, if any.

    The last paragraph with a matching pattern counts. Source: Debian's copyright format 1.0.

    Args:
        copyright_text: content of the copyright file.
        path: a path in the source package.
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
    return LicenceStatement(_named(licence, text or texts.get(licence, "")), names, where)
