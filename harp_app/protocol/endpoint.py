"""HARP's wire protocol on gradio: the endpoints ``controls``, ``process`` and ``cancel``.

The real pyharp is used when it can be imported and carries our process function, else
``harp_app/protocol/wire.py``; the wire is the same. With both, three things are put right here:
nothing but the job queue makes anyone wait, ``cancel`` stops jobs (in the middleware), and a file
goes back as it was written.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context
from gradio.data_classes import FileData

from harp_app.controls import Control
from harp_app.jobs.queue import CANCELLED, Cancelled, Job, Jobs
from harp_app.jobs.storage import renew
from harp_app.labels import Mark
from harp_app.process import Answer, Processor
from harp_app.protocol import wire
from harp_app.protocol.errors import message_of
from harp_app.protocol.values import check_number, count_values

# Under these keys the middleware leaves, in the ASGI scope, the job of a POST and whose it is.
SCOPE_JOB, SCOPE_CLIENT = "vampnet.job", "vampnet.client"

CARD: dict[str, Any] = {
    "name": "VampNet",
    "description": (
        "Variations of a clip by masked acoustic token modelling: part of the clip is kept as a "
        "prompt, the rest is regenerated."
    ),
    "author": "H. Flores Garcia, P. Seetharaman, R. Kumar, B. Pardo",
    # Structured tags, by which newer HARPs group models; older ones show them as they are.
    "tags": [
        "category:generation",
        "subcategory:infilling",
        "subcategory:continuation",
        "subcategory:editing",
        "sample-rate:44100",
        "channels:stereo",
        "variation",
        "loops",
        "inpainting",
        "music",
    ],
}
INFERRED_TAGS = ("input:audio", "output:audio", "output:labels")  # newer pyharps add them
FIRST_TAGS = 4  # of a card: the category and its subcategories, which stand before those inferred


@dataclass(frozen=True)
class Harp:
    """The names of pyharp in use. source: whose they are, and why. infers: it adds tags itself."""

    source: str
    ModelCard: Callable[..., Any]
    build_endpoint: Callable[..., dict[str, Any]]
    AudioLabel: Callable[..., Any]
    LabelList: Callable[..., Any]
    infers: bool = False


def find_harp() -> Harp:
    """Return the real pyharp (TEAMuP-dev, 0.3 or later) when it can be imported, else our own.

    Its import may fail in any way (it imports torchaudio); none of them is an error here.
    """
    try:
        import pyharp  # pyright: ignore[reportMissingImports]

        problem = _unfit(pyharp)
        if problem is None:
            found = (pyharp.ModelCard, pyharp.build_endpoint, pyharp.AudioLabel, pyharp.LabelList)
            return Harp("the installed pyharp", *found, infers=hasattr(pyharp, "validate_tag"))
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "pyharp"
        problem = "pyharp is not installed" if missing else f"pyharp fails at import: {error!r}"
    source = f"the built-in protocol, because {problem}"
    return Harp(source, wire.ModelCard, wire.build_endpoint, wire.AudioLabel, wire.LabelList)


def _unfit(pyharp: Any) -> str | None:
    """Why a module called pyharp is not the one; None when it is.

    The package of that name on the public index is about atmospheric radiation.
    """
    needed = ("ModelCard", "build_endpoint", "AudioLabel", "LabelList")
    missing = [name for name in needed if not hasattr(pyharp, name)]
    if missing:
        return f"the module pyharp has no {', '.join(missing)}: it is another package"
    card = [f.name for f in fields(pyharp.ModelCard)]
    if card != [f.name for f in fields(wire.ModelCard)]:
        return f"the installed pyharp is of another version (its card has {', '.join(card)})"
    parameters = inspect.signature(pyharp.build_endpoint).parameters
    if "input_components" not in parameters:
        return "the installed pyharp is older than 0.3"
    if "timeout_s" in parameters:
        return "the installed pyharp runs jobs in processes of its own, which no job here fits into"
    if not _carries(pyharp):
        return "the installed pyharp wraps the process function, so that it gets no request"
    return None


def _carries(pyharp: Any) -> bool:
    """Try whether ``build_endpoint`` hands the process function on as it is."""

    async def process(request: gr.Request, clip: Any) -> Any: ...

    with gr.Blocks(analytics_enabled=False) as blocks:
        audio = [gr.Audio(type="filepath") for _ in range(2)]
        card = pyharp.ModelCard("name", "description", "author", [])
        pyharp.build_endpoint(card, audio[:1], audio[1:], process)
    functions = [f.fn for f in blocks.fns.values() if f.api_name == "process"]
    return functions == [process]


def card(harp: Harp) -> dict[str, Any]:
    """Return the fields of our card, its tags with those that ``harp`` does not add itself."""
    tags = CARD["tags"]
    inferred = () if harp.infers else INFERRED_TAGS
    return {**CARD, "tags": [*tags[:FIRST_TAGS], *inferred, *tags[FIRST_TAGS:]]}


def component(control: Control) -> Any:
    """Return the gradio component of one control, inside an open ``gr.Blocks``."""
    shared: dict[str, Any] = {
        "label": control.label,
        "info": control.info,
        "value": control.default,
    }
    if control.kind == "slider":
        return gr.Slider(control.minimum, control.maximum, step=control.step, **shared)
    if control.kind == "dropdown":
        return gr.Dropdown(list(control.choices), **shared)
    if control.kind == "toggle":
        return gr.Checkbox(**shared)
    return gr.Textbox(max_lines=1, **shared)


def tracks(takes: int) -> tuple[Any, list[Any]]:
    """Return the input track and the outputs: ``takes`` tracks and the labels."""
    clip = _track("Clip", "The region to vary. Duplicate it first: the DAW's file is replaced.")
    names = [("Variation", "")]
    if takes > 1:
        names = [(f"Variation {n}", f"Take {n} of {takes}. ") for n in range(1, takes + 1)]
    outputs: list[Any] = [
        _track(name, f"{take}The same length, rate and format as the clip.") for name, take in names
    ]
    labels = gr.JSON(label="Labels")
    labels.info = "What was kept, and at the bottom the seed and all settings of the result."
    return clip, [*outputs, labels]


def _track(label: str, info: str) -> gr.Audio:
    """An audio component that sends files as they are.

    ``gr.Audio`` converts what browsers cannot play (AIFF) where ffmpeg is installed. It is not
    subclassed, because gradio writes a stub file beside the source of every subclass.
    """
    track: Any = gr.Audio(label=label, type="filepath")
    track.info, track.is_harp_required = info, True
    track.postprocess = as_it_is
    return track


def as_it_is(path: str | None) -> FileData | None:
    """Return a file for the other side, unconverted; None stays None."""
    return None if path is None else FileData(path=path, orig_name=Path(path).name)


def mount_endpoint(
    harp: Harp,
    jobs: Jobs,
    processor: Processor,
    clip: Any,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
) -> dict[str, Any]:
    """Add HARP's three API names to the open ``gr.Blocks``; return ``build_endpoint``'s buttons.

    clip, inputs, outputs: the components, the controls in the table's order.
    """
    blocks = Context.root_block
    assert blocks is not None, "no gr.Blocks is open"
    made = harp.build_endpoint(
        model_card=harp.ModelCard(**card(harp)),
        input_components=[clip, *inputs],
        output_components=list(outputs),
        process_fn=_process_handler(harp, jobs, processor),
    )
    count_values(blocks)
    for function in blocks.fns.values():
        if function.api_name in ("controls", "process", "cancel"):
            # Waiting happens in our own queue; what waits there must not hold up the others.
            function.concurrency_limit = None
        if function.api_name == "process":
            function.preprocess = False  # values are checked here, in words that name the control
        if function.api_name == "cancel":
            function.fn, function.cancels = _answer_cancel, []
            function.is_cancel_function = False
    return made


def _process_handler(harp: Harp, jobs: Jobs, processor: Processor) -> Callable[..., Any]:
    async def process(request: gr.Request, clip: Any, *values: Any) -> tuple[Any, ...]:
        job = job_of(request, jobs)
        path = clip.get("path") if isinstance(clip, dict) else None
        try:
            if path:
                renew(path)  # it may have to wait
                if cancel := jobs.cancels.of_job(job.client, _address(request), path):
                    job.stop(CANCELLED, cancel)
            check_number(values)
            answer: Answer = await jobs.run(job, lambda job: processor(path, values, job))
        except Cancelled as end:
            raise gr.Error(str(end), print_exception=False) from None
        except Exception as error:
            text = message_of(error, job.id, f"job of {job.client}")
            raise gr.Error(text, print_exception=False) from None
        return (*(str(file) for file in answer.files), label_list(harp, answer.marks))

    return process


def job_of(request: gr.Request, jobs: Jobs) -> Job:
    """Return the job that the middleware gave this request, or a new one (without middleware)."""
    scope = getattr(request.request, "scope", None) or {}
    job = scope.get(SCOPE_JOB)
    if job is None:
        job = jobs.arrive(_address(request))
    if request.session_hash:
        jobs.name_stream(request.session_hash, job)
    return job


async def _answer_cancel() -> None:
    """The middleware has stopped the jobs when the request arrived; this answers it."""


def _address(request: gr.Request) -> str:
    client = getattr(request.request, "client", None)
    return client.host if client else "?"


def label_list(harp: Harp, marks: Sequence[Mark]) -> dict[str, Any]:
    """Return the marks as HARP's labels, in JSON's own types."""
    found = harp.LabelList()
    for mark in marks:
        found.labels.append(
            harp.AudioLabel(
                t=mark.t,
                label=mark.label,
                duration=mark.duration,
                description=mark.description,
                color=mark.color,
                amplitude=mark.amplitude,
            )
        )
    return {"meta": found.meta, "labels": [vars(label) for label in found.labels]}
