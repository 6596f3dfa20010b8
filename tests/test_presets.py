"""The shipped presets keep the promises of their names; broken files are reported by line."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vampnet.presets as module
from vampnet.model.recommended import PROFILES
from vampnet.presets import Preset, PresetError, load_preset, preset, presets
from vampnet.prompt import Prompt

SHIPPED = presets()
RATE_HZ = 44100 / 768
GOOD = 'name = "mine"\ndescription = "A sentence."\n'


def written(folder, text: str, name: str = "mine.toml"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def generated(preset: Preset, seconds: float = 8.0) -> torch.Tensor:
    """The mask of a preset for 4 codebooks, beats every half second: bool (4, T)."""
    beats = tuple(i / 2 for i in range(int(seconds * 2)))
    rng = torch.Generator().manual_seed(0)
    return preset.prompt.mask(
        round(seconds * RATE_HZ), 4, RATE_HZ, beats_s=beats, downbeats_s=beats[::4], rng=rng
    )[0]


def kept_share(preset: Preset) -> float:
    return 1 - generated(preset).float().mean().item()


def test_every_shipped_file_is_a_preset_of_its_name():
    assert {path.stem for path in module.shipped_folder().glob("*.toml")} == set(SHIPPED)


@pytest.mark.parametrize("preset", SHIPPED.values(), ids=lambda preset: preset.name)
def test_a_shipped_preset_has_a_plain_description_and_generates_something(preset):
    assert preset.description.endswith(".") and 20 < len(preset.description) < 100
    for term in ("mask", "token", "codebook", "codec", "prompt", "TOML"):
        assert term not in preset.description
    assert 0 <= kept_share(preset) < 1
    assert preset.name.startswith("beat-") <= preset.prompt.needs_beats


def test_small_variations_keep_more_than_large_ones():
    for name in ("{}-variation", "beat-{}"):
        shares = [kept_share(SHIPPED[name.format(size)]) for size in SIZES]
        assert shares[0] > shares[1] > shares[2] > 0


SIZES = ("small", "medium", "large")


def test_names_differ_in_what_a_closed_menu_shows():
    assert len({name[:6] for name in SHIPPED}) == len(SHIPPED)


def test_menus_begin_with_what_is_near_the_original(tmp_path):
    written(tmp_path, GOOD.replace("mine", "a-first"))
    names = list(presets(tmp_path))
    assert names[0] == "loop-variation" and names[-2:] == ["dream", "a-first"]
    for form in ("{}-variation", "beat-{}"):
        places = [names.index(form.format(size)) for size in SIZES]
        assert places == sorted(places)


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_former_names_are_still_understood(tmp_path, size):
    former = f"{size}-variation-beat"
    assert preset(former) == SHIPPED[f"beat-{size}"]
    written(tmp_path, GOOD.replace("mine", former))
    assert preset(former, tmp_path).description == "A sentence."
    with pytest.raises(ValueError, match="no preset 'tiny-variation-beat'; there are loop-var"):
        preset("tiny-variation-beat")


@pytest.mark.parametrize(
    ("name", "keeps_start", "keeps_end"),
    [("continue", True, False), ("lead-in", False, True), ("fill-middle", True, True)],
)
def test_presets_of_gaps_keep_the_ends_that_they_promise(name, keeps_start, keeps_end):
    mask, second = generated(SHIPPED[name]), round(0.9 * RATE_HZ)
    start, middle, end = mask[:, :second], mask[:, 2 * second : -2 * second], mask[:, -second:]
    assert middle.all()
    assert start.any() != keeps_start and end.any() != keeps_end
    assert start.all() != keeps_start and end.all() != keeps_end


def test_compress_keeps_a_codebook_of_every_frame():
    assert not generated(SHIPPED["compress"])[0].any()


def test_beat_variations_keep_every_beat():
    mask = generated(SHIPPED["beat-variation"])
    on_beats = [math.ceil(beat * RATE_HZ / 2) for beat in range(16)]
    assert not mask[:, on_beats].any() and mask.float().mean() > 0.5


def test_only_dream_keeps_nothing():
    assert {n for n, preset in SHIPPED.items() if kept_share(preset) == 0} == {"dream"}


def test_loop_variation_loops():
    assert SHIPPED["loop-variation"].prompt.loop


def test_presets_of_the_user_override_shipped_ones(tmp_path):
    written(tmp_path, GOOD + "[prompt]\nperiod = 3\n")
    written(tmp_path, 'name = "dream"\ndescription = "My own."\n', "whatever.toml")
    written(tmp_path, "not a preset", "notes.txt")
    found = presets(tmp_path)
    assert set(found) == set(SHIPPED) | {"mine"}
    assert found["mine"].prompt == Prompt(period=3) and found["mine"].sampling == {}
    assert found["dream"].description == "My own."
    assert presets() == SHIPPED


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        presets(tmp_path / "missing")


def test_two_files_with_one_name_are_refused(tmp_path):
    written(tmp_path, GOOD, "a.toml")
    written(tmp_path, GOOD, "b.toml")
    with pytest.raises(PresetError, match=r"b\.toml, line 1: the name 'mine' is taken"):
        presets(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "name is missing"),
        ('name = "mine"\n', 1, "description is missing"),
        ('name = 3\ndescription = "x"\n', 1, "name must be one line of text, not 3"),
        ('name = "x"\ndescription = """a\nb"""\n', 2, "description must be one line of text"),
        (f'name = "{"x" * 61}"\ndescription = "d"\n', 1, "name has 61 characters"),
        (GOOD + "period = 7\n", 3, "unknown 'period'; allowed: description, name, prompt"),
        (GOOD + "[promt]\nperiod = 7\n", 3, "unknown 'promt'"),
        (GOOD + "prompt = 7\n", 3, "prompt must be a table"),
        (GOOD + "\n[prompt]\nperoid = 7\n", 5, "unknown 'peroid' in [prompt]; allowed: period"),
        (GOOD + "[prompt]\nperiod = 7.5\n", 4, "period must be a whole number, not 7.5"),
        (GOOD + "[prompt]\nperiod = '7'\n", 4, "period must be a number, not '7'"),
        (GOOD + "[prompt]\nperiod = -1\n", 4, "period must be a whole number from 0 up, not -1"),
        (GOOD + "[prompt]\n# period\n\ndropout = 1.5\n", 6, "dropout must be a number from 0 to 1"),
        (GOOD + "[prompt]\nloop = 1\n", 4, "loop must be true or false, not 1"),
        (GOOD + "[prompt]\nbeat_ms = nan\n", 4, "beat_ms must be a number from 0 up, not nan"),
        (GOOD + "[prompt]\nperiod_phase = 'any'\n", 4, "must be a number or 'random', not 'any'"),
        (GOOD + "[prompt]\nranges_s = [[3, 2]]\n", 4, "a range's end"),
        (GOOD + "[prompt]\nranges_s = [\n[1, 2],\n]\nperiod = -1\n", 7, "period must be"),
        (GOOD + "prompt.period = -1\n", 3, "period must be"),
        (GOOD + "prompt = {loop = true, period = -1}\n", 3, "period must be"),
        (GOOD + "[sampling]\nprofile = 'loud'\n", 4, "profile is 'loud'; allowed is one of"),
        (GOOD + "[sampling]\nsteps = 0\n", 4, "steps is 0; allowed is 1 to"),
        (GOOD + "[sampling]\nsteps = 2.5\n", 4, "steps must be a whole number, not 2.5"),
        (GOOD + "[sampling]\nsteps = true\n", 4, "steps must be a number, not True"),
        (GOOD + "[sampling]\nby_codebook = 'false'\n", 4, "must be true or false, not 'false'"),
        (GOOD + "[sampling]\ntemperature = nan\n", 4, "temperature is nan"),
        (GOOD + "[sampling]\n\n\ntemprature = 1\n", 6, "unknown 'temprature' in [sampling]"),
        (GOOD + "[prompt]\nperiod 7\n", 4, "not TOML: "),
        (GOOD + "[prompt]\nperiod = 7\nperiod = 8\n", 5, "not TOML: "),
        (GOOD + '[prompt]\nx = "open', 4, "not TOML: "),
        (b'name = "m"\ndescription = "\xff"\n', 2, "not text in UTF-8"),
    ],
)
def test_a_broken_file_is_reported_with_line_and_reason(tmp_path, text, line, words):
    path = written(tmp_path, text)
    with pytest.raises(PresetError) as error:
        presets(tmp_path)
    message = str(error.value)
    assert message.startswith(f"{path}, line {line}: ") and words in message
    assert "\n" not in message


def test_windows_line_ends_byte_order_marks_and_random_phase_are_read(tmp_path):
    text = "\ufeff" + (GOOD + "[prompt]\nperiod = 9\nperiod_phase = 'random'\n").replace(
        "\n", "\r\n"
    )
    prompt = load_preset(written(tmp_path, text)).prompt
    assert prompt == Prompt(period=9, period_phase=None)


def toml(value) -> str:
    if value is None:
        return '"random"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return str(value)


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        Prompt,
        period=st.integers(0, 20),
        period_phase=st.one_of(st.none(), st.integers(0, 9)),
        compression=st.integers(0, 14),
        prefix_s=st.floats(0, 100),
        beat_ms=st.floats(0, 1000),
        downbeats_only=st.booleans(),
        dropout=st.floats(0, 1),
        ranges_s=st.sampled_from([(), ((2.0, 3.5), (6.0, math.inf))]),
        loop=st.booleans(),
    ),
    st.fixed_dictionaries(
        {"steps": st.integers(1, 100)}, optional={"temperature": st.floats(0.1, 5)}
    ),
    st.sampled_from(["", *PROFILES]),
)
def test_a_written_preset_reads_back_equal(tmp_path_factory, prompt, sampling, profile):
    lines = [GOOD, "[prompt]"]
    for field in dataclasses.fields(prompt):
        value = getattr(prompt, field.name)
        if not (field.name == "codebooks_kept" and value is None):
            lines.append(f"{field.name} = {toml(value)}")
    lines += ["[sampling]", f'profile = "{profile}"']
    lines += [f"{name} = {toml(value)}" for name, value in sampling.items()]
    path = written(tmp_path_factory.mktemp("presets"), "\n".join(lines))
    assert load_preset(path) == Preset("mine", "A sentence.", prompt, sampling, profile)


def test_presets_are_read_from_the_wheels_folder_where_it_exists(tmp_path, monkeypatch):
    (tmp_path / "vampnet" / "_presets").mkdir(parents=True)
    written(tmp_path / "vampnet" / "_presets", GOOD)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "vampnet" / "presets.py"))
    assert set(presets()) == {"mine"}
    (tmp_path / "vampnet" / "_presets" / "mine.toml").unlink()
    (tmp_path / "vampnet" / "_presets").rmdir()
    with pytest.raises(ValueError, match="shipped presets are missing"):
        presets()
