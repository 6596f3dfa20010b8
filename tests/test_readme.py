"""What README.md and docs/ promise: commands and Python lines run, links lead somewhere."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import soundfile
from places import ROOT

from vampnet import cli
from vampnet.model import Sampling
from vampnet.presets import presets
from vampnet.prompt import Prompt

README = ROOT / "README.md"
CLIP_S = 1.0
QUICK = ["--steps", "2", "--fine-steps", "1"]

pytestmark = pytest.mark.skipif(not README.is_file(), reason="needs the checkout")


def blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8") if README.is_file() else ""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def lines(first_word: str, language: str = "sh") -> list[str]:
    """Command lines of the README that begin with this word, without their comments."""
    found = "".join(blocks(language)).splitlines()
    return [line.partition("#")[0].strip() for line in found if line.startswith(first_word + " ")]


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """A folder with the files that the README speaks of, cut to a second."""
    sound, rate = soundfile.read(ROOT / "docs" / "demo" / "loop.flac")
    (tmp_path / "docs" / "demo").mkdir(parents=True)
    for name in ("loop.wav", "docs/demo/loop.flac"):
        soundfile.write(tmp_path / name, sound[: round(CLIP_S * rate)], rate)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_commands_are_serve_and_test():
    made = lines("make")
    assert made == ["make serve", "make test", "make demo"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE) for line in made)


@pytest.mark.parametrize("line", lines("vampnet"))
def test_a_command_runs(line, workplace, monkeypatch, capsys):
    monkeypatch.setattr("harp_app.server.serve", lambda **options: None)
    words = shlex.split(line)[1:]
    before = {path.name for path in workplace.iterdir()}
    assert cli.main(words + (QUICK if words[0] == "vamp" else [])) == cli.OK, capsys.readouterr()
    made = {path.name for path in workplace.iterdir()} - before
    assert bool(made) == (words[0] in ("vamp", "convert"))


def test_the_python_lines_run(workplace):
    (code,) = blocks("python")
    exec(compile(code.replace("steps=24", "steps=2"), "README.md", "exec"), {})
    ours, theirs = soundfile.info("variation.wav"), soundfile.info("loop.wav")
    for name in ("frames", "samplerate", "channels", "format", "subtype"):
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))])
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "#")):
            assert (path.parent / target.partition("#")[0]).exists(), f"{page}: {target}"


def test_the_page_of_presets_names_every_preset_and_setting():
    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    for name in presets():
        assert f"`{name}`" in text, name
    for made in (Prompt, Sampling):
        for field in dataclasses.fields(made):
            assert f"`{field.name}`" in text, field.name


def test_the_page_of_the_house_names_every_file():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for package in ("vampnet", "harp_app"):
        for path in (ROOT / package).iterdir():
            if path.name.startswith("__") or path.suffix not in (".py", ""):
                continue
            assert path.name in text, f"{package}/{path.name} is not in docs/architecture.md"
