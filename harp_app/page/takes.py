"""The variations on the page, and the progress of the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from harp_app.jobs.queue import Job
from harp_app.page import pictures
from harp_app.page.playable import playable
from harp_app.process import Answer, Processor
from vampnet.audio.region import Region

MOST_TAKES = 8  # kept on the page to compare
NO_TAKE = (
    '<div class="screen sound empty"><p>The variation appears here.<br>'
    "Its length, rate and loudness are the clip's.</p></div>"
)


@dataclass(frozen=True)
class Take:
    """A variation: its file for the DAW, one that browsers play, its picture as HTML."""

    name: str
    file: str
    playable: str
    picture: str


def make_takes(answer: Answer, takes: Sequence[Take], processor: Processor) -> list[Take]:
    """Return an answer's takes, numbered on from those that are there."""
    last = int(takes[-1].name.rpartition(" ")[2]) if takes else 0
    return [
        _take(f"Take {last + place}", str(file), answer, processor)
        for place, file in enumerate(answer.files, start=1)
    ]


def _take(name: str, file: str, answer: Answer, processor: Processor) -> Take:
    region = Region.read(file, processor.limits)
    note = f'<p class="facts">{escape(answer.settings.describe())}</p>'
    picture = pictures.sound(region.samples, region.sample_rate, answer.places) + note
    return Take(name, file, playable(file, region, processor.new_folder), picture)


def named(takes: Sequence[Take], name: str | None) -> Take | None:
    """Return the take of this name, None where there is none."""
    return next((take for take in takes if take.name == name), None)


def progress(job: Job, has_turn: bool, elapsed_s: float) -> str:
    """Return the bar and the words of a job's progress.

    has_turn: it runs, or ran. elapsed_s: seconds since it was asked for.
    """
    done, total = job.progress
    share = 100 * done / total if total else 0
    text = "Getting ready" if has_turn else "Waiting for the machine"
    if total:
        text = f"Step {done} of {total}" if done < total else "Writing the sound"
    return (
        f'<div class="progress{"" if total else " unsure"}" role="progressbar" aria-valuemin="0" '
        f'aria-valuemax="{total}" aria-valuenow="{done}"><i style="width:{share:.1f}%"></i></div>'
        f'<p class="note" role="status"><span>{text}</span><span>{elapsed_s:.0f} s</span></p>'
    )
