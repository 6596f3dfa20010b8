"""Output files of commands: atomic, never overwritten by accident, checked before the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from places import ROOT
from vamp_command import files, refused, sound

from vampnet import cli, plot
from vampnet.pipeline import Pipeline


def test_existing_files_are_kept_without_force(vamp, clip, tmp_path):
    out, picture = tmp_path / "out.wav", tmp_path / "out.png"
    out.write_bytes(b"mine")
    assert "--force" in refused(vamp, tmp_path, clip, out)
    assert vamp(clip, out, "--force")[0] == cli.OK and out.read_bytes() != b"mine"
    picture.write_bytes(b"mine")
    refused(vamp, tmp_path, clip, tmp_path / "new.wav", "--picture", picture)
    (tmp_path / "take-2.wav").write_bytes(b"mine")
    assert "take-2.wav" in refused(vamp, tmp_path, clip, tmp_path / "take.wav", "--takes", 3)


def test_the_format_follows_the_name_of_a_link_not_its_target(vamp, clip, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real.flac").write_bytes(b"old")
    for link, target in (("a.wav", "there/real.flac"), ("b.aiff", "there/new.dat")):
        try:
            (tmp_path / link).symlink_to(tmp_path / target)
        except OSError:
            pytest.skip("no symbolic links here")
        assert vamp(clip, tmp_path / link, "--force")[0] == cli.OK
        assert (tmp_path / link).is_symlink()
        assert soundfile.info(tmp_path / target).format == link[2:].upper()[:4]
    assert {path.name for path in (tmp_path / "there").iterdir()} == {"real.flac", "new.dat"}


@pytest.mark.skipif(os.name == "nt", reason="files have no modes here")
def test_an_overwritten_file_keeps_its_mode(vamp, clip, tmp_path):
    clip.chmod(0o640)
    assert vamp(clip, clip, "--force")[0] == cli.OK
    assert clip.stat().st_mode & 0o777 == 0o640


def test_a_file_created_during_the_work_is_kept(vamp, clip, tmp_path, monkeypatch):
    made = Pipeline.vamp

    def slow(*args, **more):
        (tmp_path / "out-2.wav").write_bytes(b"theirs")
        return made(*args, **more)

    monkeypatch.setattr(Pipeline, "vamp", slow)
    code, _, err = vamp(clip, tmp_path / "out.wav", "--takes", 2)
    assert code == cli.FAILED and "out-2.wav' exists by now; --force" in err
    assert files(tmp_path) == {"in.wav": clip.read_bytes(), "out-2.wav": b"theirs"}
    assert vamp(clip, tmp_path / "out.wav", "--takes", 2, "--force")[0] == cli.OK


def test_an_unwritable_output_is_refused_before_the_model_is_loaded(
    vamp, clip, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        Pipeline, "from_pretrained", lambda *args, **more: pytest.fail("the model was loaded")
    )
    (tmp_path / "folder.wav").mkdir()
    for out, reason in (
        (tmp_path / "nowhere" / "out.wav", "folder does not exist"),
        (tmp_path / "folder.wav", "is a folder"),
        ("", "not a file name"),
        ("x" * 300 + ".wav", ""),
    ):
        assert reason in refused(vamp, tmp_path, clip, out)
    soundfile.write(tmp_path / "high.wav", sound(0.1), 192000)
    assert "MP3" in refused(vamp, tmp_path, tmp_path / "high.wav", tmp_path / "out.mp3")
    both = tmp_path / "out.png"
    assert "cannot both" in refused(vamp, tmp_path, clip, both, "--picture", both)


def test_a_suffix_of_an_unknown_format_is_refused(vamp, clip, tmp_path):
    for name in ("c.m4a", "c.wma", "a.b.c"):
        line = refused(vamp, tmp_path, clip, tmp_path / name, "--force")
        assert (
            f"'{Path(name).suffix}' is an unknown format; known: .wav, " in line and ".flac" in line
        )
    (tmp_path / "in.au").write_bytes(clip.read_bytes())
    assert vamp(tmp_path / "in.au", tmp_path / "out.AU")[0] == cli.OK  # as IN is called
    assert vamp(clip, tmp_path / "none")[0] == cli.OK
    assert soundfile.info(tmp_path / "none").format == "WAV"


def test_an_output_that_names_a_folder_is_refused(vamp, clip, tmp_path):
    for line in ((f"{tmp_path}/new/",), (f"{tmp_path}/x.wav/",), ("x.wav", "--picture", "p.png/")):
        assert "a file name is needed" in refused(vamp, tmp_path, clip, *line)


@pytest.mark.parametrize("target", ["in.wav", "in.wav/m", "/proc/m", ""])
def test_a_model_is_not_converted_into_an_unusable_folder(clip, tmp_path, tiny, capsys, target):
    before, place = files(tmp_path), target and str(tmp_path / target)
    assert cli.main(["convert", str(tiny), place]) == cli.FAILED
    line = capsys.readouterr().err
    assert line.startswith(f"vampnet: cannot write '{place}': ")
    assert ".vampnet" not in line and "Errno" not in line and files(tmp_path) == before


def test_an_unwritable_table_is_refused_before_the_benchmark(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "vampnet.evaluation.timing.report", lambda *args: pytest.fail("the benchmark ran")
    )
    line = ["bench", "--write", str(tmp_path / "nowhere" / "b.md")]
    assert cli.main(line) == cli.FAILED
    assert capsys.readouterr().err == "vampnet: cannot write 'b.md': its folder does not exist\n"


def test_a_dangling_link_is_refused_before_the_model_is_loaded(vamp, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(
        Pipeline, "from_pretrained", lambda *args, **more: pytest.fail("the model was loaded")
    )
    try:
        (tmp_path / "out.wav").symlink_to(tmp_path / "nowhere" / "out.wav")
        (tmp_path / "circle.wav").symlink_to(tmp_path / "circle.wav")
    except OSError:
        pytest.skip("no symbolic links here")
    for force in ((), ("--force",)):
        line = refused(vamp, tmp_path, clip, tmp_path / "out.wav", *force)
        assert "folder does not exist" in line
        refused(vamp, tmp_path, clip, tmp_path / "circle.wav", *force)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that takes no files")
def test_a_file_system_that_takes_no_files_is_refused(vamp, clip, tmp_path):
    line = refused(vamp, tmp_path, clip, "/proc/out.wav")
    assert line.startswith("vampnet: cannot write '/proc/out.wav': ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a file system with pipes")
def test_a_pipe_is_never_replaced(vamp, clip, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    assert "pipe.wav" in refused(vamp, tmp_path, clip, tmp_path / "pipe.wav", "--force")
    assert not (tmp_path / "pipe.wav").is_file()


def test_a_failure_while_writing_leaves_no_files(vamp, clip, tmp_path, monkeypatch):
    out = ("--picture", tmp_path / "out.png", "--takes", 2)
    monkeypatch.setattr(plot, "save", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    assert "disk full" in refused(vamp, tmp_path, clip, tmp_path / "out.wav", *out)

    def stop(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(plot, "save", stop)
    before = files(tmp_path)
    code, output, err = vamp(clip, tmp_path / "out.wav", *out)
    assert code == cli.INTERRUPTED == 130 and not output and "stopped" in err
    assert files(tmp_path) == before and not list(tmp_path.glob(".vampnet*"))


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_terminating_signal_leaves_no_temporary_folder(tmp_path, name):
    code = (
        "import os, signal, sys, time, pathlib\n"
        "from vampnet.cli.outputs import atomic_outputs, signals_as_interrupt\n"
        "with signals_as_interrupt(), atomic_outputs([pathlib.Path('out.wav')]) as places:\n"
        "    places[0].write_bytes(b'half')\n"
        f"    os.kill(os.getpid(), signal.{name})\n"
        "    time.sleep(10)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "KeyboardInterrupt" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.usefixtures("default_signals")
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_signal_handlers_are_set_during_a_command_and_restored(monkeypatch, capsys):
    before, seen = signal.getsignal(signal.SIGTERM), []
    run = lambda args: seen.append(signal.getsignal(signal.SIGTERM))  # noqa: E731
    monkeypatch.setattr(cli.vamp, "_vamp", run)
    assert cli.main(["vamp", "in.wav", "out.wav"]) == cli.OK
    assert seen == [signal.default_int_handler] and before == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == before
