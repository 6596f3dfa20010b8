"""The commands `presets`, `models`, `convert` and `serve`."""

from __future__ import annotations

import re
import shutil
import sys

from vamp_command import files

from vampnet import cli


def test_presets_and_models_are_listed(capsys, tmp_path):
    assert cli.main(["presets"]) == cli.OK
    listed = capsys.readouterr().out
    for name in ("loop-variation", "compress", "beat-variation", "dream"):
        assert re.search(rf"^{name} +\w", listed, re.MULTILINE)
    assert cli.main(["models"]) == cli.OK
    assert re.search(r"^default +[\d.]+ MB", capsys.readouterr().out, re.MULTILINE)
    (tmp_path / "broken.toml").write_text('name = "x"\ndescription = "y"\nloudness = 3\n')
    assert cli.main(["presets", "--presets-dir", str(tmp_path)]) == cli.FAILED
    assert "broken.toml, line 3" in capsys.readouterr().err


def test_an_unreadable_folder_of_presets_is_reported(tmp_path, monkeypatch, capsys):
    def forbidden(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr("vampnet.presets.os.listdir", forbidden)
    assert cli.main(["presets", "--presets-dir", str(tmp_path)]) == cli.FAILED
    assert f"{tmp_path} cannot be read: Permission denied" in capsys.readouterr().err


def test_a_closed_standard_output_is_not_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["presets"]) == cli.OK


def test_a_converted_model_is_usable_and_never_overwritten_without_force(
    tiny, tmp_path, capsys, vamp, clip
):
    out = tmp_path / "deep" / "copy"
    assert cli.main(["convert", str(tiny), str(out), "--fp16"]) == cli.OK
    assert {path.name for path in out.iterdir()} == {path.name for path in tiny.iterdir()}
    assert (out / "coarse.safetensors").stat().st_size < (
        tiny / "coarse.safetensors"
    ).stat().st_size
    assert vamp(clip, tmp_path / "out.wav", "--model", out)[0] == cli.OK
    before = files(tmp_path)
    for source, target in ((tiny, out), (tmp_path / "none", tmp_path / "new"), (tiny, clip)):
        assert cli.main(["convert", str(source), str(target)]) == cli.FAILED
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert files(tmp_path) == before
    assert cli.main(["convert", str(tiny), str(out), "--force"]) == cli.OK


def test_convert_replaces_every_file_of_a_model_and_nothing_else(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["convert", str(tiny), str(out)]) == cli.OK
    new = files(out)
    for name in ("ATTRIBUTION.md", "LICENSE", "c2f.safetensors", "codec.pth"):
        (out / name).write_text("of the old model")
    assert cli.main(["convert", str(tiny), str(out), "--force"]) == cli.OK
    assert files(out) == new
    (out / "song.wav").write_text("not of a model")
    before = files(out)
    capsys.readouterr()
    assert cli.main(["convert", str(tiny), str(out), "--force"]) == cli.FAILED
    assert "contains more than a model (song.wav)" in capsys.readouterr().err
    assert files(out) == before


def test_a_completely_kept_clip_is_reported(tmp_path, vamp, clip, tiny):
    ends = ("--prefix-s", "20", "--model", tiny)
    code, _, status = vamp(clip, tmp_path / "out.wav", *ends)
    assert code == cli.OK and "nothing was regenerated: the first 20 s are kept" in status


def test_a_folder_as_input_is_refused(tmp_path, vamp):
    code, _, error = vamp(".", tmp_path / "out.wav")
    assert code == cli.FAILED and "'.' is a folder; an audio file is needed" in error


def test_the_error_for_a_training_folder_names_the_model_in_it(tiny, tmp_path, clip, vamp, capsys):
    shutil.copytree(tiny, tmp_path / "work" / "model")
    code, _, error = vamp(clip, tmp_path / "out.wav", "--model", tmp_path / "work")
    assert code == cli.FAILED and f"contains one: {tmp_path / 'work' / 'model'}" in error
    line = ["evaluate", str(tmp_path), str(tmp_path / "out"), "--model", str(tmp_path / "work")]
    assert cli.main(line) == cli.FAILED
    assert f"contains one: {tmp_path / 'work' / 'model'}" in capsys.readouterr().err
    assert vamp(clip, tmp_path / "out.wav", "--model", tmp_path / "work" / "model")[0] == cli.OK


def test_convert_copies_attribution_and_licence(tiny, tmp_path, capsys):
    source = shutil.copytree(tiny, tmp_path / "source")
    for name in ("ATTRIBUTION.md", "LICENSE", "notes.md"):
        (source / name).write_text(name)
    assert cli.main(["convert", str(source), str(tmp_path / "out")]) == cli.OK
    assert "ATTRIBUTION.md" in capsys.readouterr().out
    assert (tmp_path / "out" / "ATTRIBUTION.md").read_text() == "ATTRIBUTION.md"
    assert (tmp_path / "out" / "LICENSE").read_text() == "LICENSE"
    assert not (tmp_path / "out" / "notes.md").exists()


def test_serve_passes_its_options_to_the_server(monkeypatch, capsys):
    seen = {}
    monkeypatch.setattr("harp_app.server.serve", lambda **options: seen.update(options))
    line = ["serve", "--port", "0", "--secret", "abcd", "--keep-s", "60"]
    assert cli.main(line) == cli.OK
    assert seen == {"port": 0, "secret": "abcd", "keep_s": 60.0}
    monkeypatch.undo()
    assert cli.main(["serve", "--port", "-1"]) == cli.FAILED
    assert "0 to 65535" in capsys.readouterr().err
