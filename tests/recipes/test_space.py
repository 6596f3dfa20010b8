"""The Space's template: it starts without the Hub's library, and its GPU calls cross processes."""

from __future__ import annotations

import importlib
import pickle
import sys
import types

import pytest
import torch
from conftest import tone
from places import ROOT

from harp_app.protocol import endpoint
from vampnet.model.sampling import Sampling
from vampnet.prompt import Prompt

SPACE = ROOT / "recipes" / "space"


@pytest.fixture
def space(monkeypatch):
    """The app, imported again with a stub of the Hub's library that pickles what crosses."""
    calls = []

    def gpu(duration):
        def lend(function):
            def call(*args):
                calls.append(args)
                return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(args)))))

            return call

        return lend

    reports = []
    zero = types.ModuleType("spaces.zero")
    zero.startup = lambda: reports.append("started")  # pyright: ignore
    hub = types.ModuleType("spaces")
    hub.GPU, hub.zero, hub.calls, hub.reports = gpu, zero, calls, reports  # pyright: ignore
    monkeypatch.setitem(sys.modules, "spaces", hub)
    monkeypatch.setitem(sys.modules, "spaces.zero", zero)
    monkeypatch.delitem(sys.modules, "recipes.space.app", raising=False)
    app = importlib.import_module("recipes.space.app")
    monkeypatch.setattr(app, "GPU", "cpu")
    yield app
    sys.modules.pop("recipes.space.app", None)


def test_each_variation_is_one_call_that_crosses_processes(space, tiny, capsys):
    pipeline = space.load(str(tiny), "cpu")
    clip = tone(0.5, pipeline.codec.sample_rate)[None] * 0.2
    few = Sampling(steps=2, fine_steps=1)
    steps = []
    warm = pipeline.vamp(clip, Prompt(period=4), few, 3, on_step=lambda *done: steps.append(done))
    assert steps and not space.spaces.calls
    space.started("Ready")
    assert capsys.readouterr().out == "Ready\n" and space.spaces.reports == ["started"]
    space.started("again")
    assert len(space.spaces.reports) == 1
    lent = pipeline.vamp(clip, Prompt(period=4), few, 3, on_step=lambda *done: None)
    assert len(space.spaces.calls) == 1 and torch.equal(lent.audio, warm.audio)


def test_without_the_hubs_library_it_is_an_ordinary_server(monkeypatch):
    monkeypatch.setitem(sys.modules, "spaces", None)
    monkeypatch.delitem(sys.modules, "recipes.space.app", raising=False)
    app = importlib.import_module("recipes.space.app")
    seen = {}
    monkeypatch.setattr(app, "serve", lambda **options: seen.update(options))
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    app.main()
    assert seen["host"] == "0.0.0.0" and "load" not in seen
    sys.modules.pop("recipes.space.app", None)


def test_its_front_matter_has_the_cards_structured_tags():
    head = (SPACE / "README.md").read_text().split("---")[1]
    tags = endpoint.card(endpoint.find_harp())["tags"]
    for tag in [tag for tag in tags if ":" in tag] + list(endpoint.INFERRED_TAGS):
        assert f'"{tag}"' in head
