"""The files below a folder: links are followed once, and pipes and devices are omitted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vampnet.system.file_tree import files_below
from vampnet.training.data import music_files


def names(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in files_below(folder)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("music/b.wav", "music/sub/a.wav", "elsewhere/deep/c.w64", "elsewhere/d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_linked_folders_are_visited_once_and_cycles_end(tree: Path) -> None:
    music = tree / "music"
    assert names(music) == ["b.wav", "sub/a.wav"]
    try:
        (music / "aa").symlink_to("sub")  # the folder itself is there, too
        (music / "more").symlink_to(tree / "elsewhere")
        (music / "zz").symlink_to(tree / "elsewhere" / "deep")
        (music / "sub" / "up").symlink_to("..")
        (music / "sub" / "top").symlink_to("../..")  # holds the folder itself
        (tree / "elsewhere" / "back").symlink_to(music)
        (music / "single.wav").symlink_to("b.wav")
    except OSError:
        pytest.skip("no symbolic links here")
    found = ["b.wav", "more/d.txt", "more/deep/c.w64", "single.wav", "sub/a.wav"]
    assert names(music) == found
    listed = [file.relative_to(music).as_posix() for file in music_files(music)]
    assert listed == [name for name in found if not name.endswith("txt")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_broken_links_are_not_listed(tree: Path) -> None:
    music = tree / "music"
    os.mkfifo(music / "pipe.wav")
    (music / "link to pipe.wav").symlink_to("pipe.wav")
    (music / "nowhere.wav").symlink_to("gone.wav")
    (music / "folder.wav").mkdir()
    assert names(music) == ["b.wav", "sub/a.wav"]
    assert files_below(tree / "no such folder") == []
