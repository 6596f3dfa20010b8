"""The examples: sheets of pitch and level, claims judged by intervals, a complete page."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace

import pytest
import soundfile
import torch
from conftest import chord, noise, tone

from vampnet.evaluation import spectrograms
from vampnet.evaluation.mel_distance import mel_error
from vampnet.evaluation.musical import extract_features
from vampnet.evaluation.preset_checks import (
    Claim,
    ClipMeasures,
    between,
    claims,
    distance,
    judge,
    levels,
    measure_presets,
)
from vampnet.presets import presets

showcase = pytest.importorskip("showcase", reason="needs the checkout")
import showcase_page  # noqa: E402
import showcase_pieces  # noqa: E402

RATE = 44100


@pytest.mark.parametrize("frequency_hz", [60.0, 220.0, 1000.0, 9000.0])
def test_a_sheet_shows_a_tone_in_its_row_at_its_level(frequency_hz):
    found = spectrograms.log_frequency_spectrogram(
        tone(1.0, frequency_hz=frequency_hz, amplitude=0.5)[0], RATE
    )
    assert found.shape == (spectrograms.ROWS, spectrograms.COLUMNS)
    column = found[:, spectrograms.COLUMNS // 2]
    octaves = math.log2(spectrograms.HIGHEST_HZ / spectrograms.LOWEST_HZ)
    row = math.log2(frequency_hz / spectrograms.LOWEST_HZ) / octaves * spectrograms.ROWS
    assert abs(int(column.argmax()) + 0.5 - row) <= 1
    assert float(column.max()) == pytest.approx(-6.0, abs=1.5)


def test_a_sheet_shows_when_an_attack_is():
    click = torch.zeros(RATE)
    click[RATE // 2] = 1.0
    top = spectrograms.log_frequency_spectrogram(click, RATE)[-20:].mean(0)
    assert abs(int(top.argmax()) - spectrograms.COLUMNS // 2) <= 2


def test_a_sheet_is_small_and_takes_one_length_only(tmp_path):
    sounds = [(f"sound {i}", noise(2.0, amplitude=0.1 * i)[0]) for i in range(1, 6)]
    spectrograms.save_spectrograms(tmp_path / "a.png", sounds, RATE, "noise")
    assert 20_000 < (tmp_path / "a.png").stat().st_size < 180_000
    with pytest.raises(ValueError, match="one length"):
        spectrograms.save_spectrograms(
            tmp_path / "b.png", [*sounds, ("short", sounds[0][1][:-1])], RATE, ""
        )


def test_distance_is_the_mel_error_and_may_look_at_a_part():
    first, second = chord(2.0)[0], chord(2.0)[0].clone()
    second[RATE:] = noise(2.0)[0][RATE:]
    seen = levels(first, RATE), levels(second, RATE)
    assert distance(*seen, RATE) == pytest.approx(mel_error(first, second, RATE), rel=1e-4)
    assert distance(*seen, RATE, [(0.0, 0.9)]) == 0.0
    assert distance(*seen, RATE, [(1.2, 2.0)]) > distance(*seen, RATE) > 0
    assert math.isnan(distance(*seen, RATE, []))


def test_between_leaves_a_margin_around_each_time():
    assert between([1.0, 1.1, 2.0], 3.0, 0.25) == [(0.0, 0.75), (1.35, 1.75), (2.25, 3.0)]


def test_a_clip_is_compared_with_input_take_and_other_preset():
    sound, other = chord(3.0, seed=1)[0], chord(3.0, seed=2)[0]
    made = {"same": [sound, sound], "other": [other, sound]}
    found = measure_presets(extract_features(sound, RATE, False), made, {"codec": sound})
    assert found.figures["same"]["mel"] == found.figures["codec"]["mel"] == 0
    assert found.takes["same"] == 0.0 < found.takes["other"]
    assert found.figures["other"]["mel"] == pytest.approx(found.takes["other"], rel=1e-4)
    assert found.pairs == {("same", "other"): found.takes["other"]}
    assert found.figures["other"]["peak_dbfs"] <= 0.0
    assert math.isnan(found.figures["other"]["on_beats"])
    found = measure_presets(extract_features(sound, RATE, False), made, {}, [0.5, 1.5])
    assert found.figures["same"]["on_beats"] == 0.0 < found.figures["other"]["off_beats"]


def test_claims_refer_to_existing_presets():
    every = claims(list(presets()))
    assert {"small-variation", "beat-variation", "continue"} <= {c.less[0] for c in every}
    few = claims(["small-variation", "medium-variation"])
    assert [c.text for c in few] == ["small-variation is nearer to the input than medium-variation"]
    assert claims(["mine"]) == []


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [((0.2, 0.3, 0.25), "holds"), ((-0.2, -0.3, -0.25), "fails"), ((0.3, -0.3, 0.1), "open")],
)
def test_a_claim_is_judged_by_its_interval(gaps, verdict):
    clips = [ClipMeasures({"a": {"mel": 0.5}, "b": {"mel": 0.5 + gap}}, {}, {}) for gap in gaps]
    clips.append(ClipMeasures({"a": {"mel": math.nan}, "b": {"mel": 9.0}}, {}, {}))
    judged = judge(Claim("a before b", ("a", "mel"), ("b", "mel")), clips)
    assert judged.verdict == verdict and judged.figures.startswith("0.500 < ")


def test_the_best_places_are_taken_by_turns():
    files, artists = [0, 0, 1, 2, 3], ["a", "a", "a", "a", "b"]
    scores = [0.9, 1.0, 0.8, 0.7, 0.1]
    assert showcase_pieces.best(files, artists, scores, 2) == [1, 4]
    assert showcase_pieces.best(files, artists, scores, 3) == [1, 2, 4]
    assert len(showcase_pieces.best(files, artists, scores, 9)) == 4  # a file once


def test_an_ogg_file_is_equal_however_often_it_is_made(tmp_path):
    made = []
    for name in ("a.ogg", "b.ogg"):
        soundfile.write(tmp_path / name, chord(0.5)[0].numpy(), RATE, format="OGG")
        made.append(showcase_pieces.with_fixed_serial((tmp_path / name).read_bytes()))
        (tmp_path / name).write_bytes(made[-1])
    assert made[0] == made[1]
    assert soundfile.read(tmp_path / "a.ogg")[0].shape == (RATE // 2,)  # checksums are right
    with pytest.raises(ValueError, match="OggS"):
        showcase_pieces.with_fixed_serial(b"RIFF" * 20)


@pytest.mark.slow
def test_the_command_makes_sounds_pictures_and_page(tmp_path, tiny_pipeline, monkeypatch, capsys):
    """Twice: the second run keeps what was written by hand, and every file stays as it was."""
    music, out = tmp_path / "music", tmp_path / "out"
    music.mkdir()
    rows = ["name,licence,artist,package,version"]
    for i in range(4):
        soundfile.write(music / f"p{i}.ogg", chord(4.0, seed=i)[0].numpy(), RATE, format="OGG")
        rows.append(f"set/p{i}.ogg,CC-BY-4.0,A{i % 2} (http://a{i % 2}.org),set,1")
    (tmp_path / "who.csv").write_text("\n".join(rows), encoding="utf-8")
    monkeypatch.setattr(showcase.Pipeline, "from_pretrained", lambda model: tiny_pipeline)
    quick = {n: _quick(p) for n, p in presets().items() if n in ("small-variation", "compress")}
    monkeypatch.setattr(showcase, "presets", lambda: quick)
    words = shlex.split("--presets small-variation --pieces 2 --seconds 1.5 --clips 1")
    words += ["--clip-seconds", "3", "--credits", str(tmp_path / "who.csv"), str(music), str(out)]
    showcase.main(words)
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    page = (out / "README.md").read_text(encoding="utf-8")
    (out / "README.md").write_text(page.replace(showcase_page.NOT_YET, "Too dull."), "utf-8")
    showcase.main(words)
    again = {path.name: path.read_bytes() for path in out.iterdir()}
    assert again.pop("README.md").decode() == page.replace(showcase_page.NOT_YET, "Too dull.")
    assert again == {name: data for name, data in first.items() if name != "README.md"}
    assert sorted(name.partition("-")[2] for name in again if name.endswith(".ogg")) == [
        f"{what}.ogg" for what in ("codec", "input", "small-variation") for _ in range(2)
    ]
    assert all(abs(soundfile.read(path)[0]).max() < 1 for path in out.glob("*.ogg"))
    assert {path.name for path in showcase_page.linked_files(out / "README.md")} == set(again)
    for text in ("[A0](http://a0.org)", "CC-BY-4.0", "MUSIC", " compress |", "Two pieces"):
        assert text in page
    assert str(tmp_path / "music") not in page and "two takes" in capsys.readouterr().out


def _quick(preset):
    return replace(preset, sampling={"steps": 1, "fine_steps": 1})
