"""README.md and docs/: commands and Python code run, links resolve, settings are documented."""

from __future__ import annotations

import dataclasses
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest
import soundfile
from places import ROOT

import vampnet
from vampnet import cli
from vampnet.model import Sampling
from vampnet.presets import presets
from vampnet.prompt import Prompt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

README = ROOT / "README.md"
CLIP_S = 1.0
QUICK = ["--steps", "2", "--fine-steps", "1"]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES += [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/**/*.md"))]

pytestmark = pytest.mark.skipif(not README.is_file(), reason="needs the checkout")


def blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8") if README.is_file() else ""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def lines(first_word: str, language: str = "sh") -> list[str]:
    """Command lines of the README that start with a word, without comments."""
    found = "".join(blocks(language)).splitlines()
    return [line.partition("#")[0].strip() for line in found if line.startswith(first_word + " ")]


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """A folder with the files that the README mentions, cut to a second."""
    sound, rate = soundfile.read(ROOT / "docs" / "demo" / "loop.flac")
    (tmp_path / "docs" / "demo").mkdir(parents=True)
    for name in ("loop.wav", "docs/demo/loop.flac"):
        soundfile.write(tmp_path / name, sound[: round(CLIP_S * rate)], rate)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_make_command_is_a_target_of_the_makefile():
    text = "".join(p.read_text(encoding="utf-8") for p in (README, ROOT / "CONTRIBUTING.md"))
    made = lines("make")
    named = {*re.findall(r"`make (\w+)`", text), *(line.split()[1] for line in made)}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def is_training(line: str) -> bool:
    return "WORK" in line


@pytest.mark.parametrize("line", [line for line in lines("vampnet") if not is_training(line)])
def test_every_command_runs(line, workplace, monkeypatch, capsys):
    monkeypatch.setattr("harp_app.server.serve", lambda **options: None)
    words = shlex.split(line)[1:]
    before = {path.name for path in workplace.iterdir()}
    assert cli.main(words + (QUICK if words[0] == "vamp" else [])) == cli.OK, capsys.readouterr()
    made = {path.name for path in workplace.iterdir()} - before
    assert bool(made) == (words[0] in ("vamp", "convert"))


@pytest.mark.slow
@pytest.mark.training
def test_the_training_commands_run(workplace, music, capsys):
    (workplace / "MUSIC").symlink_to(music, target_is_directory=True)
    quick = {"train": ["--steps", "2", "--batch", "2", "--frames", "16"], "vamp": QUICK}
    for line in filter(is_training, lines("vampnet")):
        words = shlex.split(line)[1:]
        assert cli.main(words + quick[words[0]]) == cli.OK, capsys.readouterr()
    assert (workplace / "out.wav").is_file()


def test_extras_that_the_pages_name_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pages = [ROOT / name for name in PAGES] + [ROOT / "Makefile", ROOT / "Dockerfile"]
    for page in pages:
        for names in re.findall(r'(?:vampnet-harp|["\s]\.)\[([\w,-]+)\]', page.read_text("utf-8")):
            for name in names.split(","):
                assert name in project["optional-dependencies"], f"{page.name}: {name}"


def test_the_python_code_runs(workplace):
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    ours, theirs = soundfile.info("variation.wav"), soundfile.info("loop.wav")
    for name in ("frames", "samplerate", "channels", "format", "subtype"):
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "#")):
            assert (path.parent / target.partition("#")[0]).exists(), f"{page}: {target}"


def test_the_presets_page_documents_every_preset_and_setting():
    text = (ROOT / "docs" / "presets.md").read_text(encoding="utf-8")
    for name in presets():
        assert f"`{name}`" in text, name
    for made in (Prompt, Sampling):
        for field in dataclasses.fields(made):
            assert f"`{field.name}`" in text, field.name


def test_the_page_of_the_architecture_fits_the_folders():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for package in ("vampnet", "harp_app"):
        for path in (ROOT / package).iterdir():
            if path.is_dir() and not path.name.startswith("__"):
                assert f"`{path.name}`" in text, f"{package}/{path.name} is not described"
    homes = (ROOT, ROOT / "vampnet", ROOT / "harp_app")
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert any((home / name).is_file() for home in homes), f"{name} does not exist"


def test_the_reference_names_what_exists():
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)
    assert named
    for name in named:
        module, _, member = name.rpartition(".")
        assert hasattr(importlib.import_module(module), member), name
    public = {name.rpartition(".")[2] for name in named}
    assert set(vampnet.__all__) - public == {"__version__"}
