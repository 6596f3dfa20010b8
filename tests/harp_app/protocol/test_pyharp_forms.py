"""Which builds of pyharp are used: the released form is, forms that cannot carry a job are not.

The forms are those of its development after 0.3.0: a card with other fields, a worker process
with `timeout_s`, tags that must not be given by hand, a hidden control box.
"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass

import pytest
from fake_endpoint import FakePipeline, running
from harp_client import HarpClient
from sound_files import clip

from harp_app.protocol import endpoint as protocol
from harp_app.protocol import wire


def form(monkeypatch, build_endpoint, card=wire.ModelCard, **more) -> None:
    module = types.ModuleType("pyharp")
    names = {"AudioLabel": wire.AudioLabel, "LabelList": wire.LabelList, "ModelCard": card}
    for name, value in {**names, "build_endpoint": build_endpoint, **more}.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "pyharp", module)


def released(model_card, input_components, output_components, process_fn):
    return wire.build_endpoint(model_card, input_components, output_components, process_fn)


def with_worker(model_card, input_components, output_components, process_fn, timeout_s=900):
    return wire.build_endpoint(model_card, input_components, output_components, process_fn)


def wrapping(model_card, input_components, output_components, process_fn, show_controls=False):
    def wrapped(*args):
        return process_fn(*args)

    return wire.build_endpoint(model_card, input_components, output_components, wrapped)


def refuses_inferred_tags(model_card, input_components, output_components, process_fn):
    assert not [tag for tag in model_card.tags if tag.startswith(("input:", "output:"))]
    return wire.build_endpoint(model_card, input_components, output_components, process_fn)


@dataclass
class LaterCard:
    """A card whose fields stand in another order."""

    name: str
    author: str
    description: str
    tags: list


def broken(model_card, input_components, output_components, process_fn):
    raise ValueError("of another gradio")


@pytest.mark.parametrize(
    ("build", "more", "why"),
    [
        (with_worker, {}, "processes of its own"),
        (wrapping, {}, "wraps the process function"),
        (released, {"card": LaterCard}, "of another version"),
        (broken, {}, "fails at import"),
    ],
)
def test_a_pyharp_that_cannot_carry_a_job_gives_way_to_our_wire(
    monkeypatch, tmp_path, build, more, why
):
    form(monkeypatch, build, **more)
    assert why in protocol.find_harp().source
    with running(FakePipeline()) as site:
        client = HarpClient(site.address)
        client.load()
        assert len(client.process(clip(tmp_path))[0]) == 1


@pytest.mark.parametrize("build", [released, refuses_inferred_tags])
def test_a_pyharp_that_carries_it_is_used(monkeypatch, tmp_path, build):
    own = {"validate_tag": str} if build is refuses_inferred_tags else {}
    form(monkeypatch, build, **own)
    assert protocol.find_harp().source == "the installed pyharp"
    with running(FakePipeline()) as site:
        client = HarpClient(site.address)
        tags = client.load()["card"]["tags"]
        assert ("input:audio" in tags) is (build is released)
        assert len(client.process(clip(tmp_path))[0]) == 1


def test_the_tags_group_the_endpoint_in_newer_harps(client):
    tags = client.load()["card"]["tags"]
    assert tags[:4] == [
        "category:generation",
        "subcategory:infilling",
        "subcategory:continuation",
        "subcategory:editing",
    ]
    assert {"input:audio", "output:audio", "output:labels", "sample-rate:44100"} < set(tags)
    assert len(tags) == len(set(tags))
