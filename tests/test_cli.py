"""The command: what it writes, what it refuses in one line, and that it leaves nothing behind."""

from __future__ import annotations

import argparse
import dataclasses
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
import torch

import vampnet
from harp_app import controls
from harp_app.server import Options
from vampnet import checkpoints, cli, options, picture
from vampnet.codec import DAC
from vampnet.model import VampNet, VampNetConfig
from vampnet.pipeline import Pipeline
from vampnet.prompts import Prompt
from vampnet.sampling import Sampling

ROOT = Path(__file__).resolve().parent.parent
RATE = 44100
QUICK = ("--steps", "2", "--fine-steps", "1")
TINY_CODEC = {
    "encoder_dim": 2,
    "encoder_rates": [2, 4],
    "decoder_dim": 8,
    "decoder_rates": [4, 2],
    "n_codebooks": 6,
    "codebook_size": 16,
    "codebook_dim": 4,
    "sample_rate": 8000,
}


def tiny_model(n_codebooks: int, n_conditioning: int) -> VampNet:
    sizes = {"n_layers": 1, "n_heads": 2, "embedding_dim": 8, "vocab_size": 16, "latent_dim": 4}
    return VampNet(VampNetConfig(n_codebooks, n_conditioning, **sizes)).eval()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A folder with a model of random weights that costs next to nothing to run."""
    torch.manual_seed(3)
    codec = DAC(**TINY_CODEC).eval()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return checkpoints.save_folder(folder, codec, tiny_model(4, 0), tiny_model(6, 4))


def sound(duration_s: float = 0.5, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Noise (samples, channels) of about -20 dBFS, never beyond full scale."""
    shape = (round(duration_s * RATE), channels)
    return np.clip(0.1 * np.random.default_rng(seed).standard_normal(shape), -1, 1)


@pytest.fixture
def clip(tmp_path) -> Path:
    path = tmp_path / "in.wav"
    soundfile.write(path, sound(), RATE, subtype="PCM_24")
    return path


def files(folder: Path) -> dict[str, bytes]:
    """Everything under a folder, hidden files included."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def vamp(tiny, tmp_path, capsys):
    """Run ``vampnet vamp`` in this process; returns exit code, standard output and error."""

    def run(*args) -> tuple[int, str, str]:
        code = cli.main(["vamp", *QUICK, "--model", str(tiny), *map(str, args)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def refused(vamp, folder: Path, *args) -> str:
    """The one line with which a command is refused; nothing in the folder may have changed."""
    before = files(folder)
    code, out, err = vamp(*args)
    assert (code, out) == (cli.MISTAKE, "")
    lines = [line for line in err.splitlines() if not re.fullmatch(r"\d+ %", line)]
    assert len(lines) == 1 and lines[0].startswith("vampnet: "), err
    assert files(folder) == before
    return lines[0]


# What it writes ----------------------------------------------------------------------------------


def test_a_variation_is_a_file_like_the_input(vamp, clip, tmp_path):
    out = tmp_path / "out.wav"
    code, said, progress = vamp(clip, out, "--seed", 7)
    assert code == cli.OK
    ours, theirs = soundfile.info(out), soundfile.info(clip)
    for name in ("frames", "samplerate", "channels", "format", "subtype"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert "seed 7" in said and str(out) in said
    assert progress.split()[0] == "0" and "100 %" in progress
    assert {path.name for path in tmp_path.iterdir()} == {"in.wav", "out.wav"}


def test_the_seed_that_was_drawn_makes_the_same_again(vamp, clip, tmp_path):
    _, said, _ = vamp(clip, tmp_path / "a.wav")
    seed = re.search(r"seed (\d+)", said)
    assert seed
    vamp(clip, tmp_path / "b.wav", "--seed", seed[1])
    vamp(clip, tmp_path / "c.wav", "--seed", int(seed[1]) + 1)
    a, b, c = ((tmp_path / f"{name}.wav").read_bytes() for name in "abc")
    assert a == b != c


def test_takes_are_numbered_files_and_differ(vamp, clip, tmp_path):
    code, said, _ = vamp(clip, tmp_path / "out.flac", "--takes", 3, "--seed", 1)
    assert code == cli.OK
    made = [tmp_path / f"out-{n}.flac" for n in (1, 2, 3)]
    assert len({path.read_bytes() for path in made}) == 3 and not (tmp_path / "out.flac").exists()
    assert all(str(path) in said for path in made)
    assert soundfile.info(made[0]).format == "FLAC"


def test_outside_the_ranges_the_file_is_bit_for_bit_the_input(vamp, clip, tmp_path):
    code, _, _ = vamp(clip, tmp_path / "out.wav", "--ranges", "0.1-0.2, 0.3-0.35")
    assert code == cli.OK
    before, _ = soundfile.read(clip, dtype="int32")
    after, _ = soundfile.read(tmp_path / "out.wav", dtype="int32")
    seconds = np.arange(len(before)) / RATE
    inside = ((seconds >= 0.1) & (seconds < 0.2)) | ((seconds >= 0.3) & (seconds < 0.35))
    assert (before[~inside] == after[~inside]).all() and (before[inside] != after[inside]).any()


def test_mono_and_loudness_and_picture(vamp, clip, tmp_path):
    drawn = tmp_path / "out.png"
    options = ("--mono", "--no-match-loudness", "--beat-ms", 50, "--bpm", 120, "--picture", drawn)
    code, said, _ = vamp(clip, tmp_path / "out.wav", *options)
    assert code == cli.OK and str(drawn) in said
    assert drawn.read_bytes().startswith(b"\x89PNG") and drawn.stat().st_size > 10_000
    assert soundfile.info(tmp_path / "out.wav").channels == 2


def test_an_own_preset_and_options_over_it(vamp, clip, tmp_path, monkeypatch):
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
def test_odd_sounds_come_back_as_long_as_they_were(vamp, tmp_path, samples):
    soundfile.write(tmp_path / "in.wav", samples, RATE)
    assert vamp(tmp_path / "in.wav", tmp_path / "out.wav")[0] == cli.OK
    made, _ = soundfile.read(tmp_path / "out.wav", always_2d=True)
    assert made.shape == samples.shape and np.isfinite(made).all()
    assert np.abs(made).max() <= 1.0 and (samples.any() or not made.any())


def test_what_is_there_stays_unless_force(vamp, clip, tmp_path):
    out, drawn = tmp_path / "out.wav", tmp_path / "out.png"
    out.write_bytes(b"mine")
    assert "--force" in refused(vamp, tmp_path, clip, out)
    assert vamp(clip, out, "--force")[0] == cli.OK and out.read_bytes() != b"mine"
    drawn.write_bytes(b"mine")
    refused(vamp, tmp_path, clip, tmp_path / "new.wav", "--picture", drawn)
    (tmp_path / "take-2.wav").write_bytes(b"mine")
    assert "take-2.wav" in refused(vamp, tmp_path, clip, tmp_path / "take.wav", "--takes", 3)


def test_through_a_link_the_name_that_was_given_counts(vamp, clip, tmp_path):
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
def test_a_file_that_is_overwritten_keeps_its_mode(vamp, clip, tmp_path):
    clip.chmod(0o640)
    assert vamp(clip, clip, "--force")[0] == cli.OK
    assert clip.stat().st_mode & 0o777 == 0o640


def test_a_file_that_appears_during_the_work_stays(vamp, clip, tmp_path, monkeypatch):
    made = Pipeline.vamp

    def slow(*args, **more):
        (tmp_path / "out-2.wav").write_bytes(b"theirs")
        return made(*args, **more)

    monkeypatch.setattr(Pipeline, "vamp", slow)
    code, _, err = vamp(clip, tmp_path / "out.wav", "--takes", 2)
    assert code == cli.MISTAKE and "out-2.wav' is there by now; --force" in err
    assert files(tmp_path) == {"in.wav": clip.read_bytes(), "out-2.wav": b"theirs"}
    assert vamp(clip, tmp_path / "out.wav", "--takes", 2, "--force")[0] == cli.OK


# What it refuses ---------------------------------------------------------------------------------


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
def test_a_bad_input_is_refused_in_one_line(vamp, tmp_path, make, reason):
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
    "offset no number": (("--bpm", "120", "--beat-offset-s", "nan"), "-86400 to 86400"),
    "offset without a tempo": (("--beat-offset-s", "0.1"), "--bpm"),
    "range outside": (("--ranges", "0.2-3"), "0-0.5 s"),
    "range reversed": (("--ranges", "0.3-0.1"), "ends before it starts"),
    "range unreadable": (("--ranges", "the chorus"), "the chorus"),
    "bars without a tempo": (("--ranges", "bar 1"), "tempo"),
    "device": (("--device", "toaster"), "toaster"),
    "no model": (("--model", "nothing"), "default"),
    "no folder of presets": (("--presets-dir", "nowhere"), "nowhere"),
    "picture": (("--picture", "out.txt"), ".png"),
}


@pytest.mark.parametrize("options, reason", BAD_VALUES.values(), ids=BAD_VALUES)
def test_a_bad_value_is_refused_in_one_line(vamp, clip, tmp_path, options, reason):
    assert reason in refused(vamp, tmp_path, clip, tmp_path / "out.wav", *options)


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    vamp, clip, tmp_path, monkeypatch
):
    monkeypatch.setattr(Pipeline, "load", lambda *args: pytest.fail("loaded for nothing"))
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


def test_a_link_that_leads_nowhere_is_refused_before_the_work(vamp, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "load", lambda *args: pytest.fail("loaded for nothing"))
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
def test_a_place_that_takes_no_files_is_refused(vamp, clip, tmp_path):
    line = refused(vamp, tmp_path, clip, "/proc/out.wav")
    assert line.startswith("vampnet: cannot write '/proc/out.wav': ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a file system with pipes")
def test_what_is_no_usual_file_is_never_replaced(vamp, clip, tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    assert "pipe.wav" in refused(vamp, tmp_path, clip, tmp_path / "pipe.wav", "--force")
    assert not (tmp_path / "pipe.wav").is_file()


def test_a_bad_checkpoint_folder_is_refused(vamp, clip, tmp_path, tiny):
    empty, cut = tmp_path / "empty", tmp_path / "cut"
    empty.mkdir(), cut.mkdir()
    for file in tiny.iterdir():
        (cut / file.name).write_bytes(file.read_bytes())
    (cut / "coarse.safetensors").write_bytes(b"no weights")
    out = tmp_path / "out.wav"
    assert "no model folder" in refused(vamp, tmp_path, clip, out, "--model", empty)
    assert "coarse.safetensors" in refused(vamp, tmp_path, clip, out, "--model", cut)


def test_a_failure_in_the_middle_leaves_nothing(vamp, clip, tmp_path, monkeypatch):
    out = ("--picture", tmp_path / "out.png", "--takes", 2)
    monkeypatch.setattr(picture, "save", lambda *args: (_ for _ in ()).throw(OSError("disk full")))
    assert "disk full" in refused(vamp, tmp_path, clip, tmp_path / "out.wav", *out)

    def stop(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(picture, "save", stop)
    before = files(tmp_path)
    code, said, err = vamp(clip, tmp_path / "out.wav", *out)
    assert code == cli.STOPPED == 130 and not said and "stopped" in err
    assert files(tmp_path) == before and not list(tmp_path.glob(".vampnet*"))


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
def test_a_wrong_command_line_ends_with_2(line, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(line)
    assert ended.value.code == 2 and "usage: vampnet" in capsys.readouterr().err


# The other commands ------------------------------------------------------------------------------


def test_presets_and_models_are_listed(capsys, tmp_path):
    assert cli.main(["presets"]) == cli.OK
    listed = capsys.readouterr().out
    for name in ("loop-variation", "compress", "beat-variation", "dream"):
        assert re.search(rf"^{name} +\w", listed, re.MULTILINE)
    assert cli.main(["models"]) == cli.OK
    assert re.search(r"^default +[\d.]+ MB", capsys.readouterr().out, re.MULTILINE)
    (tmp_path / "broken.toml").write_text('name = "x"\ndescription = "y"\nloudness = 3\n')
    assert cli.main(["presets", "--presets-dir", str(tmp_path)]) == cli.MISTAKE
    assert "broken.toml, line 3" in capsys.readouterr().err


def test_convert_writes_our_own_format(tiny, tmp_path, capsys, vamp, clip):
    out = tmp_path / "deep" / "copy"
    assert cli.main(["convert", str(tiny), str(out), "--fp16"]) == cli.OK
    assert {path.name for path in out.iterdir()} == {path.name for path in tiny.iterdir()}
    assert (out / "coarse.safetensors").stat().st_size < (
        tiny / "coarse.safetensors"
    ).stat().st_size
    assert vamp(clip, tmp_path / "out.wav", "--model", out)[0] == cli.OK
    before = files(tmp_path)
    for source, target in ((tiny, out), (tmp_path / "none", tmp_path / "new"), (tiny, clip)):
        assert cli.main(["convert", str(source), str(target)]) == cli.MISTAKE
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert files(tmp_path) == before
    assert cli.main(["convert", str(tiny), str(out), "--force"]) == cli.OK


def test_serve_hands_its_options_on(monkeypatch, capsys):
    seen = {}
    monkeypatch.setattr("harp_app.server.serve", lambda **options: seen.update(options))
    line = ["serve", "--port", "0", "--secret", "abcd", "--keep-s", "60"]
    assert cli.main(line) == cli.OK
    assert seen == {"port": 0, "secret": "abcd", "keep_s": 60.0}
    monkeypatch.undo()
    assert cli.main(["serve", "--port", "-1"]) == cli.MISTAKE
    assert "0 to 65535" in capsys.readouterr().err


# The tables of options ---------------------------------------------------------------------------


def kind_of(field: dataclasses.Field) -> str:
    return str(field.type).replace(" | None", "").replace("str | Path", "str")


def test_every_field_is_an_option_of_its_kind():
    tables = ((options.PROMPT, Prompt), (options.SAMPLING, Sampling), (options.SERVE, Options))
    for table, made in tables:
        fields = {f.name: kind_of(f) for f in dataclasses.fields(made) if f.name != "ranges_s"}
        kinds = {o.name: getattr(o.kind, "__name__", "") for o in table}
        kinds = {k: "int" if v.startswith("whole number") else v for k, v in kinds.items()}
        assert kinds == fields
        for option in table:
            assert option.help and bool(option.unit) == (option.kind is not bool)


def test_the_defaults_told_in_help_are_true():
    assert cli.vamp.DEFAULT_PRESET == controls.PREFERRED_PRESET
    assert (cli.vamp.MAX_SEED, cli.vamp.DRAWN_SEEDS) == (controls.MAX_SEED, controls.DRAWN_SEEDS)
    for option in options.SERVE:
        default = getattr(Options(), option.name)
        told = re.search(r"\(([\w.]+)\)$", option.help)
        if told:
            assert str(default).removesuffix(".0") == told[1]


def test_an_option_that_is_not_given_is_absent():
    parser = argparse.ArgumentParser()
    options.add(parser, options.PROMPT)
    assert options.given(parser.parse_args([]), options.PROMPT) == {}
    line = parser.parse_args(["--no-loop", "--codebooks-kept", "all", "--period", "4"])
    found = {"loop": False, "codebooks_kept": None, "period": 4}
    assert options.given(line, options.PROMPT) == found


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


def test_help_comes_without_torch(capsys):
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


def test_the_process_ends_with_the_exit_code(tmp_path):
    command = process("vamp", tmp_path / "none.wav", tmp_path / "out.wav")
    out, err = command.communicate(timeout=120)
    assert (command.returncode, out) == (1, "")
    assert err == "vampnet: 'none.wav' does not exist; an audio file is needed\n"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_stops_with_130_and_leaves_nothing(clip, tmp_path, tiny):
    line = ("vamp", clip, tmp_path / "out.wav", "--model", tiny, "--steps", 1000, "--dropout", 1)
    command = process(*line, "--picture", tmp_path / "out.png")
    assert command.stderr and command.stderr.readline() == "0 %\n"
    command.send_signal(signal.SIGINT)
    start = time.monotonic()
    out, err = command.communicate(timeout=120)
    assert (command.returncode, out) == (130, "") and time.monotonic() - start < 60
    assert "Traceback" not in err and err.endswith("vampnet: stopped; nothing was written\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_that_ends_the_process_leaves_no_hidden_folder(tmp_path, name):
    code = (
        "import os, signal, sys, time, pathlib\n"
        "from vampnet.cli.outputs import appearing, ended_in_order\n"
        "with ended_in_order(), appearing([pathlib.Path('out.wav')]) as places:\n"
        "    places[0].write_bytes(b'half')\n"
        f"    os.kill(os.getpid(), signal.{name})\n"
        "    time.sleep(10)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "KeyboardInterrupt" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_signals_end_commands_in_order_and_are_given_back(monkeypatch, capsys):
    before, seen = signal.getsignal(signal.SIGTERM), []
    run = lambda args: seen.append(signal.getsignal(signal.SIGTERM))  # noqa: E731
    monkeypatch.setattr(cli.vamp, "_vamp", run)
    assert cli.main(["vamp", "in.wav", "out.wav"]) == cli.OK
    assert seen == [signal.default_int_handler] and before == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_model_in_the_package_varies_a_clip(clip, tmp_path, capsys):
    line = ["vamp", str(clip), str(tmp_path / "out.wav"), *QUICK, "--preset", "compress"]
    assert cli.main(line) == cli.OK, capsys.readouterr().err
    before, after = (soundfile.read(path)[0] for path in (clip, tmp_path / "out.wav"))
    assert before.shape == after.shape and not np.allclose(before, after)


# The picture -------------------------------------------------------------------------------------


def test_the_spectrogram_shows_a_tone_at_its_pitch():
    time_s = torch.arange(RATE) / RATE
    level = picture.spectrogram_db(torch.sin(2 * torch.pi * 1000 * time_s)[None], RATE)
    assert level.shape[0] == picture.N_ROWS and level.max() == 0
    assert level.min() >= -picture.RANGE_DB - 1e-3
    row = int(level[:, level.shape[1] // 2].argmax())
    octaves = np.log2(RATE / 2 / picture.LOWEST_HZ)
    assert row / picture.N_ROWS * octaves == pytest.approx(np.log2(1000 / 40), abs=0.1)
    assert (picture.spectrogram_db(torch.zeros(2, 10), RATE) == -picture.RANGE_DB).all()


def test_the_picture_of_a_long_mask_shows_shares():
    mask = torch.ones(4, 70_000, dtype=torch.bool)
    mask[:, ::7] = False
    assert torch.equal(picture.generated_share(mask[:, :900]), mask[:, :900].float())
    share = picture.generated_share(mask)
    assert share.shape == (4, picture.MOST_COLUMNS)
    assert torch.allclose(share, torch.tensor(6 / 7), atol=0.03)
