"""What `vampnet models info` prints of a model."""

from __future__ import annotations

from vampnet import cli


def test_the_recommended_sampling_and_its_source_are_printed(capsys):
    assert cli.main(["models", "info"]) == 0
    printed = capsys.readouterr().out
    assert "recommended by the model" in printed and "licence: CC BY-SA 4.0" in printed
    assert "default: steps 8" in printed and "unprompted: steps 12" in printed


def test_the_original_files_are_recommended_by_their_family(golden, tmp_path, capsys):
    for name in ("codec.pth", "coarse.pth", "c2f.pth"):
        (tmp_path / name).symlink_to(golden / name)
    assert cli.main(["models", "info", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "recommended by the family" in printed and "mask_temperature 10.5" in printed
