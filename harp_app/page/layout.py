"""The browser page: the same endpoint for people, for trying it without a DAW.

Its jobs go through the same processor and queue as HARP's. Its handlers have no API names: only
HARP's three are open to the world.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from harp_app.jobs.queue import Cancelled, Job, Jobs
from harp_app.jobs.storage import renew
from harp_app.page import sliders
from harp_app.page.preview import NOTHING_YET, Clip, ClipFeatures, meant, open_clip, show_mask
from harp_app.page.takes import MOST_TAKES, NO_TAKE, Take, make_takes, named, progress
from harp_app.page.theme import HEADER
from harp_app.process import Processor
from harp_app.protocol.endpoint import CARD, Harp, as_it_is, component, mount_endpoint, tracks
from harp_app.protocol.errors import message_of
from harp_app.settings import read
from vampnet.presets import Preset

DEMO_CLIP = Path(__file__).parents[2] / "docs" / "demo" / "loop.flac"  # in a checkout
LOOK_S = 0.1  # between two looks at a job's progress
# In the browser: an error message is cleared once a value changes.
FORGET = """(shown) => shown.includes('role="alert"') ? "" : {__type__: "update"}"""
STAY_OPEN = "stay open"  # stands for an answer that is never given
KEEP_STATE_S = 3600  # a page's takes are forgotten when nobody made one for so long


def build(harp: Harp, jobs: Jobs, processor: Processor) -> gr.Blocks:
    """Return the page, HARP's endpoint in it."""
    with gr.Blocks(title=CARD["name"], analytics_enabled=False) as blocks:
        with gr.Column(visible=False):  # what HARP reads; people have their own controls below
            clip, outputs = tracks(processor.takes)
            inputs = [component(control) for control in processor.controls]
            mount_endpoint(harp, jobs, processor, clip, inputs, outputs)
        _Page(blocks, jobs, processor)
    return blocks


class _Page:
    """The components of the open ``gr.Blocks`` and what happens on them."""

    def __init__(self, blocks: gr.Blocks, jobs: Jobs, processor: Processor) -> None:
        self.blocks = blocks
        self.jobs = jobs
        self.processor = processor
        self.table = processor.all_controls
        self.first = processor.presets[str(self.table[0].default)]
        self.recommended = processor.models.recommended()
        self._lay_out()
        self._connect()

    # -- what is seen

    def _lay_out(self) -> None:
        self.seen_clip = gr.State(None)  # small; it stays as long as the page is open
        self.features = gr.State(ClipFeatures(), time_to_live=KEEP_STATE_S)
        self.takes = gr.State([], time_to_live=KEEP_STATE_S)
        gr.HTML(HEADER)
        with gr.Column(elem_id="desk"):
            with gr.Column(elem_id="clip", elem_classes="card deck"):
                self._lay_out_clip()
            with gr.Column(elem_id="prompt", elem_classes="card"):
                self._lay_out_prompt()
            with gr.Column(elem_id="variation", elem_classes="card deck"):
                self._lay_out_variation()
            with gr.Column(elem_id="controls", elem_classes="card"):
                gr.HTML("<h2>Fine tuning</h2>")
                with gr.Column(elem_id="sliders"):
                    rest = [
                        sliders.component(control, self.first, self.recommended)
                        for control in self.table[1:]
                    ]
                self.values = [self.preset, *rest]

    def _lay_out_clip(self) -> None:
        gr.HTML("<h2>Clip</h2>")
        self.clip = _player(
            label="Drop or record a clip", sources=["upload", "microphone"], elem_id="clip-input"
        )
        # The file to play for a clip that browsers do not play. It goes to the player in a step
        # of its own: there gr.skip() would make another one, which converts files.
        self.instead = gr.Textbox("", visible="hidden")
        self.clip_picture = gr.HTML("", elem_id="clip-picture")
        has_demo = DEMO_CLIP.is_file()
        self.demo = gr.Button(
            "No clip at hand? Take this loop", elem_id="demo", size="sm", visible=has_demo
        )

    def _lay_out_prompt(self) -> None:
        with gr.Column(elem_id="choice"):
            gr.HTML("<h2>What is kept</h2>")
            self.preset = gr.Dropdown(
                list(self.table[0].choices),
                value=self.first.name,
                label="Preset",
                elem_id="preset",
                filterable=False,
            )
            # Changes in the browser together with the sliders.
            self.moved_by = gr.Textbox(self.first.name, visible="hidden")
            self.about = gr.HTML(_about(self.first), elem_id="about")
            self.vary = gr.Button("Vary", variant="primary", elem_id="vary")
            self.cancel = gr.Button("Cancel", variant="stop", elem_id="cancel", visible=False)
            self.status = gr.HTML("", elem_id="status")
        self.mask = gr.HTML(NOTHING_YET, elem_id="mask")

    def _lay_out_variation(self) -> None:
        gr.HTML("<h2>Variation</h2>")
        self.chosen = gr.Radio(
            [], label="Takes", show_label=False, elem_id="takes", visible=False, container=False
        )
        self.take_player = _player(
            label="Variation", interactive=False, elem_id="take-player", visible=False
        )
        self.take_picture = gr.HTML(NO_TAKE, elem_id="take-picture")
        with gr.Row(elem_id="take-actions", visible=False) as self.actions:
            self.download = gr.DownloadButton("Download", elem_id="download", size="sm")
            self.reuse = gr.Button("Use as input again", elem_id="reuse", size="sm")

    # -- what happens

    def _connect(self) -> None:
        moved = [c for c, of in zip(self.values, self.table, strict=True) if of.kind == "slider"]
        preset = [self.moved_by, self.about]
        looked = [self.clip, self.seen_clip]
        opened = [self.seen_clip, self.clip_picture, self.demo, self.instead]
        self._on(self.clip.change, self._on_clip, looked, opened, drawing=True)
        self._on(self.instead.change, self._on_instead, looked, [self.clip])
        self._on(self.preset.change, self._on_preset, [self.preset], [*moved, *preset])
        # One handler for all: while it draws, only the last change of any of them waits.
        self._on(
            partial(gr.on, [self.seen_clip.change, *(value.change for value in self.values)]),
            self._on_look,
            [self.seen_clip, self.features, self.moved_by, *self.values],
            [self.features, self.mask],
            drawing=True,
            trigger_mode="always_last",
        )
        if DEMO_CLIP.is_file():
            self._on(self.demo.click, self._on_demo, [], [self.clip])
        shown = [self.take_picture, self.take_player, self.download]
        self._on(
            self.vary.click,
            self._on_vary,
            [*looked, self.features, self.takes, self.moved_by, *self.values],
            [self.status, self.vary, self.cancel, self.takes, self.chosen, self.actions, *shown],
        )
        # A preset changes sliders too; a text has no input that was pasted.
        touched = [v.change if isinstance(v, gr.Textbox) else v.input for v in self.values]
        touched.append(self.clip.change)
        self._on(partial(gr.on, touched), None, [self.status], [self.status], js=FORGET)
        self._on(self.cancel.click, self._on_cancel, [], [])
        self._on(self.chosen.input, self._on_choice, [self.takes, self.chosen], shown)
        self._on(self.reuse.click, self._on_reuse, [self.takes, self.chosen], [self.clip])
        self._on(self.blocks.load, self._on_open, [], [])

    def _on(
        self,
        event: Callable[..., Any],
        fn: Callable[..., Any] | None,
        inputs: list[Any],
        outputs: list[Any],
        drawing: bool = False,
        **options: Any,
    ) -> Any:
        """Connect a handler that has no API name; those that draw take turns, two at a time."""
        turns: dict[str, Any] = {"concurrency_limit": None}
        if drawing:
            turns = {"concurrency_limit": 2, "concurrency_id": "drawing"}
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        return event(fn, inputs, outputs, **private, **turns, **options)

    def _on_open(self, request: gr.Request) -> None:
        """Keep the visit's stream of answers open.

        Gradio (6.31) closes it when no answer is due and opens it for the next question; a
        question asked just while it closes is never answered, and the page waits for ever.
        """
        queue = self.blocks._queue  # no public way leads there
        queue.pending_event_ids_session[request.session_hash or ""].add(STAY_OPEN)

    def _on_clip(self, path: str | None, seen: Clip | None) -> tuple[Any, ...]:
        if not path:
            return None, "", gr.update(visible=DEMO_CLIP.is_file()), ""
        if seen and path == seen.played:  # it came from the next handler
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        try:
            clip, picture = open_clip(path, self.processor)
        except Exception as error:
            return None, _problem(_told(error)), gr.skip(), ""
        instead = "" if clip.played == path else clip.played
        return clip, picture, gr.update(visible=False), instead

    def _on_instead(self, path: str | None, seen: Clip | None) -> str | None:
        return seen.played if seen and path == seen.path else path

    def _on_look(
        self, clip: Clip | None, features: ClipFeatures, moved_by: str, *values: Any
    ) -> tuple[Any, Any]:
        if clip is None:
            return gr.skip(), NOTHING_YET
        try:
            settings = read(
                self._sent(values, moved_by),
                self.table,
                self.processor.presets,
                draw_seed=lambda: 0,
            )
            pipeline = self.processor.models.get(settings.model)
            return show_mask(clip, features, settings, pipeline, self.processor.limits)
        except Exception as error:
            return gr.skip(), _problem(_told(error))

    def _on_preset(self, name: str) -> list[Any]:
        preset = self.processor.presets[name]
        moved = [
            # The tempo is the clip's, not the preset's.
            gr.skip()
            if control.field == "bpm"
            else sliders.of_preset(control, preset, self.recommended)
            for control in self.table
            if control.kind == "slider"
        ]
        return [*moved, name, _about(preset)]

    def _on_demo(self) -> str:
        place = self.processor.new_folder() / DEMO_CLIP.name
        shutil.copyfile(DEMO_CLIP, place)
        return str(place)

    async def _on_vary(
        self,
        request: gr.Request,
        path: str | None,
        seen: Clip | None,
        features: ClipFeatures,
        takes: list[Take],
        moved_by: str,
        *values: Any,
    ) -> AsyncIterator[dict[Any, Any]]:
        job = self.jobs.arrive(f"page {request.session_hash}")
        self.jobs.name_stream(request.session_hash or "", job)
        yield self._while_running(True, progress(job, False, 0.0))
        start, turn = time.monotonic(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def work(job: Job) -> list[Take]:
            loop.call_soon_threadsafe(turn.set)
            known = features.beats if path == features.path else None
            sent = self._sent(values, moved_by)
            answer = self.processor(path, sent, job, known, self.table)
            return make_takes(answer, takes, self.processor)

        try:
            path = meant(path, seen)
            if path:
                renew(path)  # it may have to wait
            task = asyncio.ensure_future(self.jobs.run(job, work))
            shown = ""
            while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
                shown, before = progress(job, turn.is_set(), time.monotonic() - start), shown
                if shown != before:
                    yield {self.status: shown}
            made = task.result()
        except Cancelled as end:
            yield self._while_running(False, f'<p class="note">{escape(str(end))}</p>')
        except Exception as error:
            yield self._while_running(False, _problem(_told(error, job)))
        else:
            yield self._while_running(False, "") | self._with_takes([*takes, *made], made[0])
        finally:
            job.stop("The page was closed.")  # the one way here with the job at work
            self.jobs.forget(job)

    def _on_cancel(self, request: gr.Request) -> None:
        job = self.jobs.of_stream(request.session_hash or "")
        if job is not None:
            job.stop("The job was cancelled.")

    def _on_choice(self, takes: list[Take], name: str | None) -> tuple[Any, ...]:
        take = named(takes, name)
        if take is None:
            return NO_TAKE, gr.skip(), gr.skip()
        return take.picture, gr.update(value=take.playable), gr.update(value=take.file)

    def _on_reuse(self, takes: list[Take], name: str | None) -> Any:
        take = named(takes, name)
        return gr.skip() if take is None else take.file

    # -- in between

    def _sent(self, values: Sequence[Any], moved_by: str) -> list[Any]:
        return sliders.sent(values, self.table, self.processor.presets, self.recommended, moved_by)

    def _with_takes(self, takes: list[Take], shown: Take) -> dict[Any, Any]:
        takes = takes[-MOST_TAKES:]
        names = [take.name for take in takes]
        return {
            self.takes: takes,
            self.chosen: gr.update(choices=names, value=shown.name, visible=True),
            self.actions: gr.update(visible=True),
            self.take_picture: shown.picture,
            self.take_player: gr.update(value=shown.playable, visible=True),
            self.download: gr.update(value=shown.file),
        }

    def _while_running(self, running: bool, status: str) -> dict[Any, Any]:
        return {
            self.status: status,
            self.vary: gr.update(visible=not running),
            self.cancel: gr.update(visible=running),
        }


def _player(**options: Any) -> gr.Audio:
    """Audio that goes both ways as it is, with the browser's own player."""
    plain = gr.WaveformOptions(show_recording_waveform=False)
    player: Any = gr.Audio(
        type="filepath", waveform_options=plain, buttons=[], show_label=False, **options
    )
    player.postprocess = as_it_is
    return player


def _about(preset: Preset) -> str:
    return f"<p>{escape(preset.description)}</p>"


def _problem(text: str) -> str:
    return f'<p class="problem" role="alert">{escape(text)}</p>'


def _told(error: Exception, job: Job | None = None) -> str:
    """What the user reads of an error; the log has its details."""
    return message_of(error, job.id if job else Job("page", 0).id, "page request")
