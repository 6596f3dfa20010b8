"""The complete evaluation by its command, on a small model: report, resuming, user errors."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import vggish_state
from safetensors.torch import save_file

from vampnet import checkpoints, cli
from vampnet.cli import evaluate as command
from vampnet.evaluation import experiments as table
from vampnet.evaluation import suite
from vampnet.evaluation.runs import EvaluationRunner, Result
from vampnet.evaluation.suite import EvaluationPlan, evaluate

POINTS = {"musicnn": torch.zeros(2, 3), "levels": torch.zeros(2, 3)}


@pytest.fixture(scope="module")
def tiny_folder(tiny_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    parts = tiny_pipeline.codec, tiny_pipeline.coarse, tiny_pipeline.c2f
    return checkpoints.save_folder(folder, *parts)


@pytest.mark.slow
def test_the_command_writes_a_self_contained_report(
    music, tiny_folder, tmp_path, capsys, monkeypatch
):
    quick, few = (
        table.quick,
        {"anchors": 9, "steps": 2, "bitrates": 3, "prompts": 2, "baselines": 2},
    )
    monkeypatch.setattr(
        table, "quick", lambda e: replace(quick(e), settings=quick(e).settings[: few[e.name]])
    )
    line = ["evaluate", str(music), str(tmp_path), "--model", str(tiny_folder), "--quick",
            "--clips", "4", "--seconds", "3", "--jobs", "2"]  # fmt: skip
    assert cli.main(line) == cli.OK, capsys.readouterr().err
    output = capsys.readouterr()
    assert "Mel error falls with bitrate" in output.err and "report.html" in output.out
    text = (tmp_path / "report.md").read_text()
    for heading in (
        "Sampling steps", "Prompts", "Bitrates", "same masks", "codec and chance", "Tones and hits",
    ):  # fmt: skip
        assert heading in text
    assert "command: vampnet evaluate" in text and "outside the ranges 0 (must be 0)" in text
    assert str(music.parent) not in text  # only the folder's name is shown
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 4 and page.count("data:audio/ogg;base64,") > 6
    assert not re.search(r"(src|href)=['\"](?!data:)", page)  # no external resources
    for name in ("steps", "prompts", "bitrates"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000


def test_the_reported_duration_covers_all_stages(music, tiny_folder, tmp_path, monkeypatch):
    now, stages = [0.0], []
    monkeypatch.setattr(suite, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(EvaluationRunner, "run", lambda self, trial: Result({}, POINTS))

    def slow(name: str, result: object) -> None:
        def slept(*_: object) -> object:
            now[0] += 60.0
            return result

        monkeypatch.setattr(suite, name, slept)

    for name, result in (
        ("relations", []),
        ("save_plots", {}),
        ("check_ranges", None),
        ("examples", []),
        ("measure_round_trip", None),
    ):
        slow(name, result)
    evaluate(
        music, tmp_path, tiny_folder, EvaluationPlan(("steps",), quick=True, clips=4, seconds=3.0),
        in_place=command.in_place, on_trial=lambda *n: stages.append(n), on_stage=stages.append,
    )  # fmt: skip
    assert "took: 5.0 minutes" in (tmp_path / "report.md").read_text()
    assert "5.0 minutes" in (tmp_path / "report.html").read_text()
    assert stages[-6][0] == stages[-6][1]  # the progress bar is complete, then the stages follow
    expected = ["computing distances", "drawing plots", "checking ranges",
                "measuring tones and hits", "writing the report"]  # fmt: skip
    assert stages[-5:] == expected


@pytest.mark.slow
def test_the_report_includes_the_requested_embeddings(
    music, tiny_folder, tiny_clap, tmp_path, capsys, monkeypatch
):
    names = ("real music", "1 steps", "12 steps")
    monkeypatch.setattr(
        table,
        "quick",
        lambda e: replace(e, settings=tuple(s for s in e.settings if s.name in names), share=1.0),
    )
    save_file(vggish_state(), tmp_path / "small.safetensors")
    plain = ["evaluate", str(music), str(tmp_path / "out"), "--model", str(tiny_folder), "--quick",
             "--experiments", "steps", "--clips", "4", "--seconds", "3"]  # fmt: skip
    asked = [f"clap={tiny_clap[0]}", f"vggish={tmp_path / 'small.safetensors'}"]
    line = [*plain, "--embedding", asked[0], "--embedding", asked[1]]
    assert cli.main(line) == cli.OK, capsys.readouterr().err
    status, text = capsys.readouterr().err, (tmp_path / "out" / "report.md").read_text()
    assert (
        status.index("100 %")
        < status.index("computing distances")
        < status.index("writing the report")
    )
    found = re.search(r"embeddings: musicnn, levels, (clap-\w{8}), (vggish-\w{8})\n", text)
    assert found is not None
    clap, vggish = found.groups()
    assert "--embedding clap=tiny --embedding vggish=small.safetensors" in text
    for name in ("musicnn", clap, vggish):
        assert f"Frechet, {name} ↓ | kernel, {name} ↓" in text
    for name in ("", f" by {clap}", f" by {vggish}"):
        assert f"Frechet distance{name}: 1 step clearly worse than 12" in status
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"<em>{clap}</em> is that of an embedding" in page and str(tmp_path) not in page + text

    monkeypatch.setattr(EvaluationRunner, "measure", None)  # everything is cached
    assert cli.main(plain) == cli.OK, capsys.readouterr().err
    text = (tmp_path / "out" / "report.md").read_text()
    assert clap not in text and "Frechet, full band" in text
    assert cli.main([*plain, "--embedding", "mert=x"]) == cli.FAILED
    assert "allowed are clap=FOLDER or NAME, vggish=FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    ["", "--clips 10", "--seconds 1.0", "--seeds 10", "--experiments steps", "--clips 12 --quick"],
)
def test_the_reported_command_is_the_given_one(options):
    parser = ArgumentParser()
    command.add(lambda *_: parser)
    args = parser.parse_args(["folder/music", "some/out", *options.split()])
    assert command._command(args) == f"vampnet evaluate music out {options}".strip()


def test_user_errors_are_reported_before_any_work(music, tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path), str(tmp_path / "out")]) == cli.FAILED
    assert "at least 4" in capsys.readouterr().err
    assert cli.main(["evaluate", str(music), str(tmp_path), "--experiments", "x"]) == cli.FAILED
    assert "no experiment 'x'" in capsys.readouterr().err
    assert cli.main(["evaluate", str(music), str(tmp_path), "--jobs", "0"]) == cli.FAILED
    assert "--jobs is 0; allowed is 1 and up" in capsys.readouterr().err
    assert cli.main(["evaluate", str(music), str(tmp_path), "--clips", "0"]) == cli.FAILED
    assert "clips is 0; allowed is 4 and up" in capsys.readouterr().err
    for wrong in ({"seeds": 0}, {"clips": 3}, {"seconds": 1.0}, {"workers": 0}):
        with pytest.raises(ValueError, match="allowed is"):
            EvaluationPlan(**wrong)
    with pytest.raises(ValueError, match="no experiment"):
        evaluate(music, tmp_path, plan=EvaluationPlan(names=("x",)))
