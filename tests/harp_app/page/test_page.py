"""The page: what it promises without a browser, then driven in headless Chromium."""

from __future__ import annotations

import base64
import datetime
import gc
import http.client
import io
import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import soundfile
from browser_visit import Visit
from fake_endpoint import FakePipeline, running
from gradio import state_holder
from places import ROOT
from sound_files import knocks as clip

from harp_app.jobs.queue import Job
from vampnet.presets import presets

PRESETS = presets()


def sampling_of(preset):
    return FakePipeline.recommended.resolve(preset.profile, preset.sampling)


SLOW_STEP_S = 0.1


# -- without a browser


def test_only_harps_names_are_open(tmp_path):
    with running(FakePipeline()) as site:
        blocks = json.loads(get(site.address, "/config"))
        named = {d["api_name"] for d in blocks["dependencies"] if d["api_visibility"] == "public"}
        assert named == {"controls", "process", "cancel"}
        info = json.loads(get(site.address, "/gradio_api/info"))
        assert {name.strip("/") for name in info["named_endpoints"]} == named
        assert not info["unnamed_endpoints"]


def get(address: str, path: str) -> bytes:
    there = urlsplit(address)
    connection = http.client.HTTPConnection(there.hostname or "", there.port or 80, timeout=10)
    connection.request("GET", there.path + path)
    try:
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_job_of_the_page_is_stopped_by_no_other_client(site):
    job: Job = site.endpoint.jobs.arrive("page abc")
    assert site.endpoint.jobs.cancel("127.0.0.1", site.endpoint.jobs.next_number()) == 0
    assert not job.stopped
    site.endpoint.jobs.forget(job)


# -- in a browser


@pytest.fixture(scope="module")
def site():
    with running(FakePipeline(), PRESETS) as made:
        yield made


@pytest.fixture
def visit(browser, site):
    site.pipeline.step_s, site.pipeline.steps_done = 0.0, 0
    site.pipeline.started.clear()
    made = Visit(browser, site.address)
    yield made
    made.context.close()
    assert not made.foreign, "the page fetched something from elsewhere"
    assert not made.complaints


@pytest.mark.browser
def test_a_preset_moves_the_sliders_and_the_mask_follows(visit, site, tmp_path):
    visit.open(clip(tmp_path))
    picture = lambda: visit.page.get_attribute("#mask img", "src")  # noqa: E731
    first_preset, other = presets()["loop-variation"], presets()["beat-variation"]
    assert visit.slider("prompt-period") == first_preset.prompt.period
    assert first_preset.prompt.codebooks_kept is None  # all: the slider's end
    assert visit.slider("prompt-codebooks_kept") == 14
    kept = re.search(r"(\d+)% kept", visit.text("#mask"))
    assert kept and abs(int(kept[1]) - 100 / first_preset.prompt.period) < 2
    first = picture()
    visit.choose("beat-variation")
    visit.wait(
        lambda: visit.slider("prompt-beat_ms") == other.prompt.beat_ms, "the preset's sliders"
    )
    assert visit.slider("prompt-period") == other.prompt.period
    assert visit.slider("sampling-steps") == sampling_of(other).steps
    visit.wait(lambda: visit.page.locator("#mask .beat").count() > 0, "beats over the mask")
    assert "BPM detected" in visit.text("#mask") and "slice after each beat" in visit.text("#about")
    beats = picture()
    assert beats != first
    visit.set_slider("bpm", 90)
    visit.wait(lambda: "90.0 BPM set" in visit.text("#mask"), "the tempo that was set")
    visit.set_slider("prompt-beat_ms", 300)
    visit.wait(lambda: picture() not in (first, beats), "the slider's mask")
    visit.page.fill("#ranges textarea, #ranges input", "5-6")
    visit.wait(lambda: "lies outside the clip" in visit.text("#mask"), "a word on the range")
    assert not site.pipeline.calls  # all of it without the model


@pytest.mark.browser
def test_vary_at_once_after_a_preset_takes_that_preset(visit, site, tmp_path):
    visit.open(clip(tmp_path))
    far = {"offline": False, "latency": 300, "downloadThroughput": -1, "uploadThroughput": -1}
    visit.context.new_cdp_session(visit.page).send("Network.emulateNetworkConditions", far)
    for name in ("beat-variation", "loop-variation"):
        visit.choose(name)
        visit.take()
        assert site.pipeline.calls[-1]["prompt"] == PRESETS[name].prompt
        assert site.pipeline.calls[-1]["sampling"] == sampling_of(PRESETS[name])
    visit.set_slider("prompt-period", 0)
    visit.take()
    assert site.pipeline.calls[-1]["prompt"].period == 0


@pytest.mark.browser
def test_vary_shows_progress_then_the_take_and_its_file(visit, site, tmp_path):
    path = clip(tmp_path, "My Loop #1.wav")
    visit.open(path)
    site.pipeline.step_s = SLOW_STEP_S
    visit.page.fill("#seed textarea, #seed input", "42")
    visit.page.click("#vary")
    seen = set()

    def there() -> bool:
        for bar in visit.page.locator("#status .progress").all():
            seen.add(bar.get_attribute("aria-valuenow", timeout=2000))
        return visit.page.locator("#take-picture .sound:not(.empty)").count() > 0

    try:
        visit.wait(there, "the take")
    except Exception as error:  # the bar went away while it was looked at
        if "Timeout" not in type(error).__name__:
            raise
    visit.page.wait_for_selector("#take-picture .sound:not(.empty)")
    assert len(seen) >= 5, f"steps seen: {sorted(seen, key=str)}"
    assert site.pipeline.calls[-1]["seed"] == 42
    note = visit.text("#take-picture .facts")
    assert "preset loop-variation" in note and "seed 42" in note and "n-th frame" not in note
    with visit.page.expect_download() as download:
        visit.page.click("#download")
    assert download.value.suggested_filename.startswith("My-Loop")
    content = Path(download.value.path()).read_bytes()
    before, after = soundfile.info(path), soundfile.info(io.BytesIO(content))
    for field in ("frames", "samplerate", "channels", "format", "subtype"):
        assert getattr(before, field) == getattr(after, field)
    playing = "document.querySelector('#take-player audio').duration"
    visit.wait(lambda: abs((visit.page.evaluate(playing) or 0) - 2.0) < 0.05, "the player")


@pytest.mark.browser
def test_cancel_ends_the_job_and_the_next_one_starts(visit, site, tmp_path):
    visit.open(clip(tmp_path))
    site.pipeline.step_s = SLOW_STEP_S
    visit.set_slider("sampling-steps", 64)
    visit.page.click("#vary")
    visit.page.wait_for_selector("#status .progress:not(.unsure)")
    done = site.pipeline.steps_done
    visit.page.click("#cancel")
    visit.wait(lambda: "The job was cancelled." in visit.text("#status"), "the word of its end")
    assert site.pipeline.steps_done < done + 20
    assert visit.page.locator("#take-picture .empty").count() == 1
    site.pipeline.step_s = 0.0
    visit.take()


@pytest.mark.browser
def test_takes_are_compared_and_one_becomes_the_clip(visit, tmp_path):
    visit.open(clip(tmp_path, "beat.aiff", subtype="PCM_16"))
    visit.take()
    visit.take()
    second = visit.text("#take-picture .facts")
    for player in ("#clip-input", "#take-player"):  # no browser plays AIFF
        sound = f"document.querySelector('{player} audio')"
        assert visit.page.evaluate(f"{sound}.currentSrc").endswith(".wav")
        visit.wait(lambda s=sound: visit.page.evaluate(f"{s}.duration") == 2.0, "its length")
    visit.page.click("#takes label:has-text('Take 1')")
    visit.wait(lambda: visit.text("#take-picture .facts") != second, "the first take")
    with visit.page.expect_download() as download:
        visit.page.click("#download")
    assert download.value.suggested_filename.endswith(".aiff")
    visit.page.click("#reuse")
    name = "document.querySelector('#clip-input audio')?.currentSrc ?? ''"
    visit.wait(lambda: "-vamp-" in visit.page.evaluate(name), "the take as the clip")
    visit.wait(lambda: visit.page.evaluate(name).endswith(".wav"), "a sound that is played")
    assert "AIFF" in visit.text("#clip-picture")  # and yet it is the take itself
    visit.page.wait_for_selector("#mask .mask:not(.empty)")


@pytest.mark.browser
def test_a_page_that_lay_open_for_long_knows_its_clip(visit, site, tmp_path, monkeypatch):
    visit.open(clip(tmp_path))
    later = datetime.datetime.now() + datetime.timedelta(hours=3)
    clock = SimpleNamespace(datetime=SimpleNamespace(now=lambda: later))
    monkeypatch.setattr(state_holder, "datetime", clock)
    for holder in [o for o in gc.get_objects() if type(o) is state_holder.StateHolder]:
        holder.delete_all_expired_state()
    before = visit.page.get_attribute("#mask img", "src")
    visit.set_slider("prompt-period", 20)
    visit.wait(lambda: visit.page.get_attribute("#mask img", "src") != before, "the new mask")
    site.endpoint.storage.keep_s, kept = 0.0, site.endpoint.storage.keep_s
    site.endpoint.storage.sweep()
    site.endpoint.storage.keep_s = kept
    visit.page.click("#vary")
    visit.wait(lambda: "no longer on the server" in visit.text("#status"), "a word on the clip")
    assert site.endpoint.jobs.counts() == (0, 0) and not site.endpoint.jobs._live


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_slider_that_has_the_keyboard_is_seen(browser, site, scheme):
    visit = Visit(browser, site.address, color_scheme=scheme)
    visit.page.focus("#prompt-period input[type=number]")
    visit.page.keyboard.press("Tab")
    style = visit.page.evaluate("""() => {
        const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(
            document.querySelector("#prompt-period input[type=range]:focus"));
        return [outlineStyle, outlineWidth, outlineColor];
    }""")
    assert style == ["solid", "2px", "rgb(241, 126, 60)"]
    visit.context.close()


@pytest.mark.browser
def test_errors_are_said_in_words(visit, tmp_path):
    visit.page.click("#vary")
    visit.wait(lambda: "choose one first" in visit.text("#status"), "a word on the missing clip")
    visit.open(clip(tmp_path))
    visit.wait(lambda: not visit.text("#status"), "its end with a clip")
    other, preset = itertools.count(2), itertools.cycle(("beat-variation", "loop-variation"))

    def ended_by(change) -> bool:  # tried until gradio has said its last answer again
        change()
        visit.page.wait_for_timeout(100)
        return not visit.text("#status")

    for change in (
        lambda: visit.page.fill("#seed textarea, #seed input", str(next(other))),
        lambda: visit.set_slider("prompt-period", next(other)),
        lambda: visit.choose(next(preset)),
        lambda: visit.page.fill("#more textarea, #more input", f"steps {next(other)}"),
    ):
        visit.page.fill("#seed textarea, #seed input", "abc")
        visit.page.click("#vary")
        visit.wait(lambda: "Seed is 'abc'" in visit.text("#status"), "a word on the seed")
        visit.wait(lambda change=change: ended_by(change), "its end with a change", 10)
    visit.page.locator("#clip-input .icon-button-wrapper button").last.click()
    (tmp_path / "text.wav").write_text("no sound at all")
    visit.page.set_input_files("#clip-input input[type=file]", str(tmp_path / "text.wav"))
    visit.page.wait_for_selector("#clip-picture .problem")
    assert "text.wav" in visit.text("#clip-picture") and "/" not in visit.text("#clip-picture")


DROP = """([base64, name, type]) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type }));
    const inside = document.querySelector("#clip-input input[type=file]").parentElement;
    inside.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer }));
}"""


@pytest.mark.browser
@pytest.mark.parametrize("dropped", [False, True])
def test_files_that_browsers_take_for_no_sound_reach_the_server(visit, tmp_path, dropped):
    sound = clip(tmp_path).read_bytes()
    texts = {"notes.txt": b"no sound", "take.bwf": sound, "no extension": sound}
    for name, content in texts.items():
        kind = "text/plain" if name.endswith(".txt") else ""
        if dropped:
            visit.page.evaluate(DROP, [base64.b64encode(content).decode(), name, kind])
        else:
            (tmp_path / name).write_bytes(content)
            visit.page.set_input_files("#clip-input input[type=file]", str(tmp_path / name))
        expected = "notes.txt" if content != sound else "24 bit"
        visit.wait(lambda e=expected: e in visit.text("#clip-picture"), expected)
        visit.page.locator("#clip-input .icon-button-wrapper button").last.click()
        visit.wait(lambda: not visit.text("#clip-picture"), "an empty place")
    assert not visit.page.locator(".toast-body").count()


@pytest.mark.browser
def test_on_a_phone_under_a_secret_word(browser, tmp_path):
    with running(FakePipeline(), PRESETS, secret="s3cret-word") as site:
        size = {"width": 360, "height": 740}
        visit = Visit(browser, site.address, viewport=size, is_mobile=True, has_touch=True)
        visit.open(clip(tmp_path))
        visit.take()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
        for player in ("#clip-input", "#take-player"):  # room for time and volume too
            assert visit.page.locator(f"{player} audio").bounding_box()["width"] > 250
        assert visit.text("#address").endswith("/s3cret-word")
        before = visit.page.evaluate("document.body.classList.contains('dark')")
        visit.page.tap("#theme")
        assert visit.page.evaluate("document.body.classList.contains('dark')") is not before
        assert not visit.foreign and not visit.complaints
        visit.context.close()


ADDRESSES = {
    "http://127.0.0.1:7860/": "http://127.0.0.1:7860",
    "http://localhost:7860/word/": "http://localhost:7860/word",
    "http://192.168.1.20/": "http://192.168.1.20:80",
    "http://myserver:7860/": "http://myserver:7860/#localhost",
    "https://music.example.org/word/": "https://music.example.org:443/word/#localhost",
    "https://vampnet.music.example.org/": "https://vampnet.music.example.org:443",
    "https://user-space.hf.space/": "https://user-space.hf.space",
}


@pytest.mark.browser
def test_the_address_that_is_shown_is_one_that_harp_takes(visit):
    script = (ROOT / "harp_app" / "page" / "page.js").read_text("utf-8")
    found = re.search(r"const forHarp = .*?\n  };\n", script, re.DOTALL)
    assert found
    for seen, shown in ADDRESSES.items():
        assert visit.page.evaluate(f"{found[0]} forHarp(new URL('{seen}'))") == shown
    for shown in ADDRESSES.values():  # by the forms that docs/harp.md lists
        there = urlsplit(shown)
        dots = (there.hostname or "").count(".")
        named = "localhost" in shown or (there.hostname or "").endswith(".hf.space")
        assert named or (there.port and dots == 3)


@pytest.mark.browser
@pytest.mark.parametrize("host", ["127.0.0.1", "myserver"])  # a browser gives one the clipboard
def test_the_address_is_copied(browser, host):
    with running(FakePipeline(), PRESETS, host="0.0.0.0") as site:
        copy_the_address(Visit(browser, site.address.replace("127.0.0.1", host)), host)


def copy_the_address(visit, host):
    page = visit.page
    assert page.evaluate("!!navigator.clipboard") is (host == "127.0.0.1")
    page.evaluate("""() => {
        addEventListener("copy", () => { window.copied = String(getSelection()); });
        const board = navigator.clipboard;
        if (board) board.writeText = async (text) => { window.copied = text; };
    }""")
    shown = visit.text("#address")
    assert host in shown
    page.click("#address")
    visit.wait(lambda: page.evaluate("window.copied") == shown, "the address on the clipboard")
    visit.wait(lambda: visit.text("#address") == "copied", "the word of it")
    visit.wait(lambda: visit.text("#address") == shown, "the address again")
    visit.context.close()
