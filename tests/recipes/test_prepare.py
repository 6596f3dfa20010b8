"""From Debian packages to a training set: licences file by file, splits, attribution."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import soundfile
import torch
from conftest import chord

from recipes.default_model import packages, prepare, rendering, sources
from recipes.default_model.__main__ import main
from vampnet.training.data import Pack

UFO = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: The Team
License: GPL-2+

Files:
 base/music/van_one.ogg
 base/music/David01.ogg
Copyright:
 Someone
 Another
License: CC-BY-3.0

License: CC-BY-3.0
 The words of the licence.
"""
SONIC = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2016 The Author
License: MIT

Files: etc/samples/bd_one.flac etc/samples/loop_one.flac
Copyright: 2013 Somebody <some.body@example.org>
License: CC0
"""
ALBUM = """Soundtrack - Copyright (C) 2021-2022 A. Musician

For all tracks *except* track3:
'Soundtrack' is licensed and available under:
CC-BY-SA-3.0 (or, at your discretion, any later version)
"""
README = "Thanks to M. Writer for providing these tunes! released under the same BY-SA 3.0 license"
WHOLE_LICENCE = "Copyright M. Writer. CREATIVE COMMONS PUBLIC LICENSE Attribution, ShareAlike."
HYPER = UFO.replace("base/music/van_one.ogg", "music/song.ogg")


def _sound(suffix: str, seed: int) -> bytes:
    stored = io.BytesIO()
    kind = {"ogg": "OGG", "opus": "OGG", "flac": "FLAC"}[suffix]
    subtype = {"opus": "OPUS", "ogg": "VORBIS"}.get(suffix)
    rate = 48000 if suffix == "opus" else 22050
    soundfile.write(
        stored, chord(1.0, rate, seed=seed).numpy().T, rate, format=kind, subtype=subtype
    )
    return stored.getvalue()


def _archive() -> bytes:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        for seed, name in enumerate(("van_one", "David01", "gpl")):
            archive.writestr(f"music/{name}.ogg", _sound("ogg", seed))
    return stored.getvalue()


def _contents() -> dict[str, dict[str, bytes]]:
    """Package -> path -> bytes, small imitations of the real ones."""
    albums = "games/warzone2100/music/albums"
    return {
        "warzone2100-music": {
            f"{albums}/new/track4.opus": _sound("opus", 5),
            f"{albums}/new/track3.opus": _sound("opus", 6),
            f"{albums}/new/menu_new.opus": _sound("opus", 7),
            f"{albums}/new/license.txt": ALBUM.encode(),
            f"{albums}/original/track1.opus": _sound("opus", 8),
            "doc/warzone2100-music/copyright": b"Files: *\nLicense: GPL-2+\n",
        },
        "ufoai-music": {
            "games/ufoai/base/0music.pk3": _archive(),
            "doc/ufoai-music/copyright": UFO.encode(),
        },
        "singularity-music": {
            "games/singularity/music/lose/a tune.ogg": _sound("ogg", 9),
            "doc/singularity-music/copyright": WHOLE_LICENCE.encode(),
            "doc/singularity-music/README": README.encode(),
        },
        "hyperrogue-music": {
            "hyperrogue/music/song.ogg": _sound("ogg", 10),
            "doc/hyperrogue-music/copyright": HYPER.encode(),
        },
        "sonic-pi-samples": {
            "sonic-pi/samples/bd_one.flac": _sound("flac", 11),
            "sonic-pi/samples/loop_one.flac": _sound("flac", 12),
            "sonic-pi/samples/new_one.flac": _sound("flac", 13),
            "doc/sonic-pi-samples/copyright": SONIC.encode(),
        },
    }


def _deb(files: dict[str, bytes], compression: str = "xz", escape: str = "") -> bytes:
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode=f"w:{compression}") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(f"./usr/share/{path}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        if escape:
            archive.addfile(tarfile.TarInfo(escape))
    out = packages.AR_MAGIC
    for name, content in (
        ("debian-binary", b"2.0\n"),
        (f"data.tar.{compression}", stored.getvalue()),
    ):
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        out += head + content + b"\n" * (len(content) % 2)
    return out


@pytest.fixture(scope="module")
def debs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("debs")
    for i, (package, files) in enumerate(_contents().items()):
        log = gzip.compress(f"{package} (1.{i}-1) unstable; urgency=low\n".encode())
        files = files | {f"doc/{package}/changelog.Debian.gz": log}
        (folder / f"{package}_1.{i}-1_all.deb").write_bytes(_deb(files, ("xz", "gz")[i % 2]))
    return folder


NOTHING_RENDERED = prepare.Rendering(minutes=0, freedoom_minutes=0)


def test_only_files_with_a_stated_free_licence_are_used(debs, tmp_path) -> None:
    logged: list[str] = []
    out = prepare.prepare(debs, tmp_path / "set", NOTHING_RENDERED, logged.append)
    with (out / prepare.TABLE).open(encoding="utf-8", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    split = {name.split("/")[1]: row["split"] for name, row in rows.items()}
    assert split == {
        "menu_new.opus": "left out", "track3.opus": "left out", "track4.opus": "train",
        "track1.opus": "left out", "David01.ogg": "train", "gpl.ogg": "left out",
        "van_one.ogg": "heldout", "a tune.ogg": "train", "song.ogg": "heldout",
        "bd_one.flac": "train", "loop_one.flac": "heldout_loops", "new_one.flac": "train",
    }  # fmt: skip
    assert rows["ufoai-music/gpl.ogg"]["why"] == "licence GPL-2+"
    david = rows["ufoai-music/David01.ogg"]
    assert david["licence"] == "CC-BY-3.0" and david["version"] == "1.1-1"
    assert david["artist"] == "David Reeves (Destructavator)" and len(david["sha256"]) == 64
    assert rows["warzone2100-music/track4.opus"]["artist"] == "A. Musician"
    assert rows["singularity-music/a tune.ogg"]["licence"] == "CC-BY-SA-3.0"
    assert rows["sonic-pi-samples/new_one.flac"]["licence"] == "MIT"
    assert "other files" in rows["sonic-pi-samples/new_one.flac"]["stated_in"]
    assert sum("left out" in line for line in logged) == 4


def test_more_kinds_have_a_test_split_and_licences_of_their_own(tmp_path) -> None:
    karts = "usr/share/games/supertuxkart/data/music"
    copyrights = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: data/music/*
Copyright: Several
License: GPL-3+

Files: data/music/bay.ogg data/music/xeon6.ogg data/music/bay_fast.ogg
Copyright: A. Driver
License: CC-BY-SA-3.0
"""
    names = ("bay", "bay_fast", "farm", "xeon6")
    files = {f"{karts}/{name}.ogg": b"OggS" for name in names}
    files["usr/share/doc/supertuxkart-data/copyright"] = copyrights.encode()
    history = gzip.compress(b"supertuxkart (1.4-2) unstable; urgency=low\n")
    files["usr/share/doc/supertuxkart-data/changelog.Debian.gz"] = history
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    source = next(s for s in sources.MORE if s.package == "supertuxkart-data")
    found = {item.name.split("/")[1]: item for item in sources.items(tmp_path, source)}
    splits = {name: item.split for name, item in found.items()}
    assert splits == {
        "bay.ogg": "train", "bay_fast.ogg": "left out", "farm.ogg": "left out", "xeon6.ogg": "test",
    }  # fmt: skip
    assert found["farm.ogg"].why == "licence GPL-3+"
    assert found["bay.ogg"].artist == "A. Driver"


def test_the_set_is_ready_for_training_and_names_the_authors(debs, tmp_path) -> None:
    out = prepare.prepare(debs, tmp_path, NOTHING_RENDERED)
    train, heldout = Pack.load(out, "train"), Pack.load(out, "heldout")
    assert len(train.pieces) == 5 and len(heldout.pieces) == 2 and train.rate_hz == 44100
    for i in range(5):
        assert abs(len(train.samples(i)) - 44100) < 2 and 0.01 < float(train.samples(i).abs().max())
    text = (out / prepare.ATTRIBUTION).read_text(encoding="utf-8")
    for word in ("A. Musician", "CC-BY-SA-3.0+", "`a tune.ogg`", "Somebody", "Left out", "GPL-2+"):
        assert word in text
    assert text.index("`David01.ogg`") < text.index("Held out") < text.index("`van_one.ogg`")


def test_an_unpacked_tree_gives_the_same_set(debs, tmp_path) -> None:
    for file in sorted(debs.glob("*.deb")):
        packages.unpack(file, tmp_path / "tree")
    made = [
        json.loads(
            (
                prepare.prepare(source, tmp_path / name, NOTHING_RENDERED) / "manifest.json"
            ).read_text()
        )
        for source, name in ((debs, "a"), (tmp_path / "tree", "b"))
    ]
    assert made[0] == made[1]


def test_an_invalid_package_is_named(tmp_path, monkeypatch) -> None:
    (tmp_path / "a.deb").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="a.deb is not a Debian package"):
        packages.unpack(tmp_path / "a.deb", tmp_path / "out")
    whole = _deb({"doc/a/copyright": b"x"})
    (tmp_path / "a.deb").write_bytes(whole[:-30])
    with pytest.raises(ValueError, match="is truncated"):
        packages.unpack(tmp_path / "a.deb", tmp_path / "out")
    (tmp_path / "a.deb").write_bytes(whole.replace(b"data.tar.xz ", b"data.tar.zst"))
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="packed with zstd"):
        packages.unpack(tmp_path / "a.deb", tmp_path / "out")
    with pytest.raises(ValueError, match="apt-get download warzone2100-music"):
        prepare.prepare(tmp_path / "nowhere", tmp_path / "set")


def test_a_package_writes_nothing_outside_its_folder(tmp_path) -> None:
    (tmp_path / "a.deb").write_bytes(_deb({"doc/a/copyright": b"x"}, escape="../../outside"))
    packages.unpack(tmp_path / "a.deb", tmp_path / "in" / "out")
    assert (tmp_path / "in/out/usr/share/doc/a/copyright").read_bytes() == b"x"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.deb", "in"]


def test_the_last_matching_paragraph_counts() -> None:
    statement = packages.licence_of(UFO, "base/music/David01.ogg")
    assert statement == packages.LicenceStatement("CC-BY-3.0", ("Someone", "Another"), "copyright")
    rest = packages.licence_of(UFO, "base/music/other.ogg")
    assert rest is not None and rest.licence == "GPL-2+"
    assert packages.licence_of("This package was made by hand.\n", "a.ogg") is None


def test_rendered_music_is_added_with_its_licence(debs, tmp_path, monkeypatch) -> None:
    pytest.importorskip("mido", reason="the optional package mido writes the MIDI files")

    def render(takes, soundfont):
        return [torch.from_numpy(np.random.default_rng(0).normal(size=4410)).float() for _ in takes]

    monkeypatch.setattr(rendering, "render", render)
    monkeypatch.setattr(sources, "check_rendering", lambda root: {sources.SOUNDFONT: "0.2"})
    plan = prepare.Rendering(minutes=1.0, freedoom_minutes=0.0, soundfont=tmp_path / "a.sf2")
    out = prepare.prepare(debs, tmp_path / "set", plan)
    entries = json.loads((out / "manifest.json").read_text())["pieces"]
    made = [e for e in entries if e["name"].startswith("composed/")]
    assert 2 <= len(made) <= 12 and {e["licence"] for e in made} == {"MIT"}
    assert len({e["sha256"] for e in made}) == len(made)
    assert f"{len(made)} pieces, 0000 to" in (out / prepare.ATTRIBUTION).read_text()


def test_the_command_prepares(debs, tmp_path, capsys) -> None:
    line = [
        "prepare",
        str(debs),
        str(tmp_path / "set"),
        "--minutes",
        "0",
        "--freedoom-minutes",
        "0",
    ]
    assert main(line) == 0
    assert "vampnet train" in capsys.readouterr().out
    assert main(["prepare", str(debs), str(tmp_path / "b"), "--minutes", "-1"]) == 1
    assert "minutes is -1" in capsys.readouterr().err
