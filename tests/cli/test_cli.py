"""The command `vampnet`: output files, one-line errors, exit codes and cleanup."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from places import ROOT
from vamp_command import QUICK, RATE, refused, sound

import vampnet
from vampnet import cli
from vampnet.model import Sampling
from vampnet.pipeline import Pipeline
from vampnet.prompt import Prompt

# Output files ------------------------------------------------------------------------------------


def test_a_variation_has_the_format_of_the_input(vamp, clip, tmp_path):
    out = tmp_path / "out.wav"
    code, output, progress = vamp(clip, out, "--seed", 7)
    assert code == cli.OK
    ours, theirs = soundfile.info(out), soundfile.info(clip)
    for name in ("frames", "samplerate", "channels", "format", "subtype"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert "seed 7" in output and str(out) in output
    assert progress.split()[0] == "0" and "100 %" in progress
    assert {path.name for path in tmp_path.iterdir()} == {"in.wav", "out.wav"}


def test_the_printed_random_seed_reproduces_the_variation(vamp, clip, tmp_path):
    _, output, _ = vamp(clip, tmp_path / "a.wav")
    seed = re.search(r"seed (\d+)", output)
    assert seed
    vamp(clip, tmp_path / "b.wav", "--seed", seed[1])
    vamp(clip, tmp_path / "c.wav", "--seed", int(seed[1]) + 1)
    a, b, c = ((tmp_path / f"{name}.wav").read_bytes() for name in "abc")
    assert a == b != c


def test_takes_are_numbered_files_that_differ(vamp, clip, tmp_path):
    code, output, _ = vamp(clip, tmp_path / "out.flac", "--takes", 3, "--seed", 1)
    assert code == cli.OK
    made = [tmp_path / f"out-{n}.flac" for n in (1, 2, 3)]
    assert len({path.read_bytes() for path in made}) == 3 and not (tmp_path / "out.flac").exists()
    assert all(str(path) in output for path in made)
    assert soundfile.info(made[0]).format == "FLAC"


def test_samples_outside_the_ranges_equal_the_input(vamp, clip, tmp_path):
    code, _, _ = vamp(clip, tmp_path / "out.wav", "--ranges", "0.1-0.2, 0.3-0.35")
    assert code == cli.OK
    before, _ = soundfile.read(clip, dtype="int32")
    after, _ = soundfile.read(tmp_path / "out.wav", dtype="int32")
    seconds = np.arange(len(before)) / RATE
    inside = ((seconds >= 0.1) & (seconds < 0.2)) | ((seconds >= 0.3) & (seconds < 0.35))
    assert (before[~inside] == after[~inside]).all() and (before[inside] != after[inside]).any()


@pytest.mark.parametrize(
    ("options", "start_s", "end_s"),
    [
        (("--ranges", "bar 1", "--bpm", 400, "--beat-offset-s", -0.4), 0, 0.2),
        (("--ranges", "bar 1", "--bpm", 400, "--beat-offset-s", -0.3), 0, 0.3),
        (("--ranges", "bar 1", "--bpm", 400, "--beat-offset-s", -0.06), 0, 0.5),
        (("--ranges", "0.3-0.54"), 0.3, 0.5),
    ],
)
def test_ranges_in_bars_follow_tempo_and_offset_and_end_with_the_file(
    vamp, clip, tmp_path, options, start_s, end_s
):
    assert vamp(clip, tmp_path / "out.wav", *options)[0] == cli.OK
    before, after = (soundfile.read(path)[0] for path in (clip, tmp_path / "out.wav"))
    changed = np.flatnonzero((before != after).any(1)) / RATE
    assert changed[0] == pytest.approx(start_s, abs=1e-2)
    assert changed[-1] == pytest.approx(end_s, abs=1e-2)


def test_mono_keeps_the_channels_and_the_picture_is_written(vamp, clip, tmp_path):
    picture = tmp_path / "out.png"
    options = ("--mono", "--no-match-loudness", "--beat-ms", 50, "--bpm", 120, "--picture", picture)
    code, output, _ = vamp(clip, tmp_path / "out.wav", *options)
    assert code == cli.OK and str(picture) in output
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000
    assert soundfile.info(tmp_path / "out.wav").channels == 2


def test_options_override_a_preset_of_the_user(vamp, clip, tmp_path, monkeypatch):
    text = 'name = "mine"\ndescription = "Mine."\n[prompt]\nperiod = 3\n[sampling]\nsteps = 5\n'
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.toml").write_text(text)
    seen = {}
    made = Pipeline.vamp

    def spy(self, audio, prompt, sampling, seed, **more):
        seen.update(prompt=prompt, sampling=sampling, seed=seed, **more)
        return made(self, audio, prompt, sampling, seed, **more)

    monkeypatch.setattr(Pipeline, "vamp", spy)
    own = ("--presets-dir", tmp_path / "own", "--preset", "mine")
    over = ("--period-phase", "random", "--codebooks-kept", "all", "--loop", "--top-p", "0.9")
    tempo = ("--bpm", "90", "--beat-offset-s", "-0.25", "--ranges", "0-0.25", "--seed", "2")
    assert vamp(clip, tmp_path / "out.wav", *own, *over, *tempo)[0] == cli.OK
    prompt = Prompt(period=3, period_phase=None, loop=True, ranges_s=((0.0, 0.25),))
    assert seen["prompt"] == prompt
    assert seen["sampling"] == Sampling(steps=2, fine_steps=1, top_p=0.9)
    assert (seen["bpm"], seen["beat_offset_s"], seen["seed"], seen["takes"]) == (90, -0.25, 2, 1)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((RATE // 4, 2)),
        np.full((RATE // 4, 1), 0.5),
        np.full((1, 2), 0.25),
        sound(0.1),
        np.clip(30 * sound(0.25), -1, 1),
    ],
    ids=["silence", "DC", "one sample", "0.1 s", "clipped"],
)
def test_unusual_audio_keeps_its_shape_and_stays_finite(vamp, tmp_path, samples):
    soundfile.write(tmp_path / "in.wav", samples, RATE)
    assert vamp(tmp_path / "in.wav", tmp_path / "out.wav")[0] == cli.OK
    made, _ = soundfile.read(tmp_path / "out.wav", always_2d=True)
    assert made.shape == samples.shape and np.isfinite(made).all()
    assert np.abs(made).max() <= 1.0 and (samples.any() or not made.any())


# Errors ------------------------------------------------------------------------------------------


def write_nan(path: Path) -> None:
    samples = sound().astype("float32")
    samples[100] = np.nan
    soundfile.write(path, samples, RATE, subtype="FLOAT")


def write_infinite(path: Path) -> None:
    samples = sound().astype("float32")
    samples[7, 1] = np.inf
    soundfile.write(path, samples, RATE, subtype="FLOAT")


def write_truncated(path: Path) -> None:
    soundfile.write(path, sound(), RATE)
    path.write_bytes(path.read_bytes()[:5000])


BAD_INPUTS = {
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "zero samples": (lambda path: soundfile.write(path, np.zeros((0, 2)), RATE), "0 samples"),
    "not audio": (lambda path: path.write_bytes(bytes(range(256)) * 40), "not audio"),
    "text renamed": (lambda path: path.write_text("la la la\n" * 100), "not audio"),
    "truncated": (write_truncated, "cut off"),
    "NaN": (write_nan, "NaN"),
    "infinite": (write_infinite, "infinite"),
    "384 kHz": (lambda path: soundfile.write(path, sound(0.1), 384000), "384000 Hz"),
    "missing": (lambda path: None, "does not exist"),
    "a folder": (lambda path: path.mkdir(), "is a folder"),
}


@pytest.mark.parametrize("make, reason", BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_an_unusable_input_is_refused_in_one_line(vamp, tmp_path, make, reason):
    bad = tmp_path / "bad.wav"
    make(bad)
    line = refused(vamp, tmp_path, bad, tmp_path / "out.wav")
    assert reason in line and "bad.wav" in line and str(tmp_path) not in line


BAD_VALUES = {
    "unknown preset": (("--preset", "nothing"), "loop-variation"),
    "period": (("--period", "-1"), "period"),
    "dropout": (("--dropout", "1.5"), "0 to 1"),
    "steps": (("--steps", "0"), "steps is 0; allowed is 1 to 1000"),
    "temperature": (("--temperature", "nan"), "temperature"),
    "prefix": (("--prefix-s", "inf"), "prefix_s"),
    "top p": (("--top-p", "2"), "top_p"),
    "takes": (("--takes", "0"), "1 to 32"),
    "seed": (("--seed", "-3"), "seed is -3"),
    "BPM 0": (("--bpm", "0"), "20 to 400"),
    "offset beyond": (("--bpm", "120", "--beat-offset-s", "1e308"), "-86400 to 86400"),
    "offset not a number": (("--bpm", "120", "--beat-offset-s", "nan"), "-86400 to 86400"),
    "offset without a tempo": (("--beat-offset-s", "0.1"), "--bpm"),
    "range outside": (("--ranges", "0.2-3"), "0.500 s long"),
    "range reversed": (("--ranges", "0.3-0.1"), "ends before it starts"),
    "range unreadable": (("--ranges", "the chorus"), "the chorus"),
    "bars without a tempo": (("--ranges", "bar 1"), "tempo"),
    "device": (("--device", "toaster"), "toaster"),
    "no model": (("--model", "nothing"), "default"),
    "no folder of presets": (("--presets-dir", "nowhere"), "nowhere"),
    "picture": (("--picture", "out.txt"), ".png"),
    "empty model name": (("--model", ""), "the model is ''; a name"),
    "empty range": (("--ranges", "0.1-0.1"), "has no length"),
    "codebooks beyond": (("--codebooks-kept", "99"), "codebooks_kept is 99; allowed is 0 to"),
}


@pytest.mark.parametrize("options, reason", BAD_VALUES.values(), ids=BAD_VALUES)
def test_an_invalid_option_is_refused_in_one_line(vamp, clip, tmp_path, options, reason):
    assert reason in refused(vamp, tmp_path, clip, tmp_path / "out.wav", *options)


def test_a_damaged_checkpoint_folder_is_refused(vamp, clip, tmp_path, tiny):
    empty, cut = tmp_path / "empty", tmp_path / "cut"
    empty.mkdir(), cut.mkdir()
    for file in tiny.iterdir():
        (cut / file.name).write_bytes(file.read_bytes())
    (cut / "coarse.safetensors").write_bytes(b"no weights")
    out = tmp_path / "out.wav"
    assert "not a model folder" in refused(vamp, tmp_path, clip, out, "--model", empty)
    assert "coarse.safetensors" in refused(vamp, tmp_path, clip, out, "--model", cut)


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["sing"],
        ["vamp"],
        ["vamp", "in.wav"],
        ["vamp", "in.wav", "out.wav", "--perio", "3"],
        ["vamp", "in.wav", "out.wav", "--period", "often"],
        ["vamp", "in.wav", "out.wav", "--period-phase", "0.5"],
        ["serve", "--port", "http"],
    ],
)
def test_an_invalid_command_line_exits_with_2(line, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(line)
    assert ended.value.code == 2 and "usage: vampnet" in capsys.readouterr().err


# As a process ------------------------------------------------------------------------------------


def process(*args: object, **more) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "vampnet", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **more,
    )


def test_help_imports_no_heavy_module(capsys):
    code = (
        "import sys, vampnet.cli as c\n"
        "try: c.main(sys.argv[1:])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert not {'torch', 'numpy', 'gradio', 'matplotlib'} & set(sys.modules)\n"
    )
    for line in (["--help"], ["vamp", "--help"], ["serve", "--help"], ["--version"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *line], capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"vampnet {vampnet.__version__}"


@pytest.mark.slow
def test_the_process_returns_the_exit_code(tmp_path):
    command = process("vamp", tmp_path / "none.wav", tmp_path / "out.wav")
    out, err = command.communicate(timeout=120)
    assert (command.returncode, out) == (1, "")
    assert err == "vampnet: 'none.wav' does not exist; an audio file is needed\n"


@pytest.mark.slow
@pytest.mark.usefixtures("default_signals")
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_exits_with_130_and_leaves_no_files(clip, tmp_path, tiny):
    line = ("vamp", clip, tmp_path / "out.wav", "--model", tiny, "--steps", 1000, "--dropout", 1)
    command = process(*line, "--picture", tmp_path / "out.png")
    assert command.stderr and command.stderr.readline() == "0 %\n"
    command.send_signal(signal.SIGINT)
    start = time.monotonic()
    out, err = command.communicate(timeout=120)
    assert (command.returncode, out) == (130, "") and time.monotonic() - start < 60
    assert "Traceback" not in err and err.endswith("vampnet: stopped; nothing was written\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.slow
@pytest.mark.usefixtures("default_signals")
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_ignored_interrupt_does_not_stop_the_command(clip, tmp_path, tiny):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup does; the process inherits it
    command = process("vamp", clip, tmp_path / "out.wav", "--model", tiny, "--steps", 20)
    assert command.stderr and command.stderr.readline() == "0 %\n"
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=120)
    assert command.returncode == 0 and (tmp_path / "out.wav").exists()


def test_the_bundled_model_varies_a_clip(clip, tmp_path, capsys):
    line = ["vamp", str(clip), str(tmp_path / "out.wav"), *QUICK, "--preset", "compress"]
    assert cli.main(line) == cli.OK, capsys.readouterr().err
    before, after = (soundfile.read(path)[0] for path in (clip, tmp_path / "out.wav"))
    assert before.shape == after.shape and not np.allclose(before, after)
