"""Errors as sentences: what is shown of them, and the lines that carry them to HARP."""

from __future__ import annotations

import pytest

from harp_app.protocol.errors import ErrorLines, message_of, of_payload, plain, sentence
from vampnet.system.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("too long: 900 s > 120 s", "too long: 900 s > 120 s"),
        ("cannot open /tmp/gradio/ab12/x.wav now", "cannot open (file) now"),
        (r"cannot open C:\Users\me\x.wav now", "cannot open (file) now"),
        ("two\nlines\tand\x00more", "two lines and more"),
        ('{"error": "x"}', '"error": "x"'),
        ("see https://example.org/x?y", "see (address)"),
        ("<b>bold</b> & 3 < 4", "bold & 3 < 4"),
        ("wav/aiff/flac or 3/4/5 s", "wav/aiff/flac or 3/4/5 s"),
        ("zu lang f\u00fcr \u00d6", "zu lang f\u00fcr \u00d6"),
        ("", "Press Process again; something went wrong in the server."),
        ("data: x", "'data: x"),
        (":x", "':x"),
        ("Seed is 'Quota'", "Seed is 'Q\u00a0uota'"),
        ("the space is in error", "the space\u00a0is\u00a0in\u00a0error"),
    ],
)
def test_sentences_are_plain(text, expected):
    assert plain(text) == expected


def test_no_sentence_has_the_number_that_means_paused():
    assert "503" not in plain("1503 s and 503503 Hz")


@pytest.mark.parametrize("text", ["x" * 5000, "word " * 100, "f\u00fcr, " * 90, "503" * 100])
def test_sentences_are_cut_where_newer_harps_cut_them(text):
    shown = plain(text)
    assert 150 < len(shown) <= 200 and shown.endswith("\u2026") and " \u2026" not in shown


def test_only_what_is_meant_for_users_is_shown():
    assert sentence(UserError("bpm is 3"), "ab") == "bpm is 3"
    for error in (
        KeyError("secret"),
        RuntimeError("secret"),
        ValueError("operands could not be broadcast, secret"),
        UnicodeDecodeError("a", b"", 0, 1, "s"),
    ):
        shown = sentence(error, "ab12")
        assert "secret" not in shown and "ab12" in shown
    assert "memory" in sentence(MemoryError(), "ab")


def test_what_a_user_wrote_forges_no_log(caplog):
    caplog.set_level("INFO")
    bad = UserError("Seed is '\x1b[2J\n2026-01-01 forged'")
    assert message_of(bad, "ab12", "job") == sentence(bad, "ab12")
    assert message_of(KeyError("secret"), "cd34", "job").endswith("has it as cd34.")
    mistake, broken = caplog.records
    assert mistake.exc_info is None and mistake.levelname == "INFO"
    assert mistake.getMessage().isprintable() and "ab12" in mistake.getMessage()
    assert broken.exc_info and broken.levelname == "ERROR"


def test_payloads_of_all_shapes_become_sentences():
    assert of_payload('{"error": "too long", "visible": true}', "ab") == "too long"
    assert of_payload('"404: Not Found"', "ab") == "404: Not Found"
    for payload in ("null", '{"error": null}', "[1]", '{"error": "Traceback (most"}'):
        assert "ab" in of_payload(payload, "ab")


def test_a_stream_is_rewritten_however_it_is_cut():
    stream = (
        b"event: heartbeat\ndata: null\n\n"
        + 'event: error\ndata: {"error": "f\u00fcr \u00d6"}\n\n'.encode()
    )
    before = stream[: stream.index(b"event: error")]
    text = "f\u00fcr \u00d6"
    expected = before + f"event: error\n{text}\ndata: {text}\n\n".encode()
    for size in (1, 2, 7, 1000):
        lines = ErrorLines("ab")
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert b"".join(lines.feed(p, False) for p in pieces) + lines.feed(b"", True) == expected
        assert lines.told_end and lines.failed
