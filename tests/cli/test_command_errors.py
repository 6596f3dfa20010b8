"""Error messages of the command: one line, neutral where unexpected, tracebacks on demand."""

from __future__ import annotations

import pytest

import vampnet
from vampnet import cli
from vampnet.system.errors import UserError


def fails_with(monkeypatch, error: Exception) -> None:
    def run(args):
        raise error

    monkeypatch.setattr(cli, "GROUPS", (Group(run),))


class Group:
    """A group of one command, `go`."""

    def __init__(self, run):
        self.run = run

    def add(self, command):
        command("go", self.run, "goes")


@pytest.fixture(autouse=True)
def no_debug(monkeypatch):
    monkeypatch.setenv("VAMPNET_DEBUG", "")


def test_a_user_error_is_printed_in_one_line(monkeypatch, capsys):
    fails_with(monkeypatch, UserError("steps is 0; allowed is\n1 to 1000"))
    assert cli.main(["go"]) == 1
    assert capsys.readouterr().err == "vampnet: steps is 0; allowed is 1 to 1000\n"


@pytest.mark.parametrize("error", [ValueError("shape (2, 3)"), RuntimeError("q9"), KeyError("k9")])
def test_an_unexpected_error_is_neutral_and_names_the_debug_variable(monkeypatch, capsys, error):
    fails_with(monkeypatch, error)
    assert cli.main(["go"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "VAMPNET_DEBUG=1" in line and str(error) not in line


@pytest.mark.parametrize("how", [["--debug", "go"], ["go", "--debug"], ["go"]])
def test_debug_shows_the_traceback(monkeypatch, capsys, how):
    fails_with(monkeypatch, ValueError("shapes (2,) (3,)"))
    if "--debug" not in how:
        monkeypatch.setenv("VAMPNET_DEBUG", "1")
    assert cli.main(how) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error and "shapes (2,) (3,)" in error


def test_every_public_error_is_a_user_error():
    assert issubclass(vampnet.UserError, ValueError)
    assert issubclass(vampnet.AudioError, vampnet.UserError)
