"""What HARP 3.0.1's window makes of a card: how wide each control is, and what text is cut.

From HARP's layout and JUCE's text fitting: each kind of control has an equal share of the window,
whatever their number; a text that is too wide is squashed to 70 %, then cut. Lengths in pixels.
"""

from __future__ import annotations

import math
from typing import Any

WIDTH = 800  # HARP's own; its media clipboard comes on top
WIDER_FONT = 1.07  # Verdana and DejaVu Sans against the font measured here
SQUASHED = 0.7
LABEL, CHOICE = 15, 16  # heights of the fonts
# Advances of Arial's (Liberation Sans') characters 32 to 126, in 2048ths of an em.
_ADVANCES = (
    "569 569 727 1139 1139 1821 1366 391 682 682 797 1196 569 682 569 569 1139 1139 1139 1139 1139 "
    "1139 1139 1139 1139 1139 569 569 1196 1196 1196 1139 2079 1366 1366 1479 1479 1366 1251 1593 "
    "1479 569 1024 1366 1139 1706 1479 1593 1366 1593 1479 1366 1251 1479 1366 1933 1366 1366 1251 "
    "569 569 569 961 1139 682 1139 1139 1024 1139 1139 569 1139 1139 455 455 1024 455 1706 1139 "
    "1139 1139 1139 682 1024 569 1139 1024 1479 1024 1024 1024 684 532 684 1196"
)
ADVANCE = {chr(32 + place): int(text) for place, text in enumerate(_ADVANCES.split())}
LINE = 2288  # ascent and descent together, in the same unit
# Least and greatest width of a control of each kind; the room that its margins take of a text.
KINDS = {
    "slider": (20, math.inf),
    "toggle": (40, math.inf),
    "dropdown": (40, math.inf),
    "text_box": (80, 180),
}


def text_width(text: str, height: float = LABEL, font: float = WIDER_FONT) -> float:
    """Width of a line of text, not squashed."""
    return font * height * sum(ADVANCE.get(c, 1139) for c in text) / LINE


def shown(text: str, width: float, height: float = LABEL, font: float = WIDER_FONT) -> str:
    """What is left of a line of text in `width`: all of it, or its beginning and three dots."""
    if SQUASHED * text_width(text, height, font) < width:
        return text
    dots = text_width("...", height, font)
    for end in range(len(text), 0, -1):
        if SQUASHED * text_width(text[:end], height, font) + dots <= width:
            return text[:end] + "..."
    return "..."


def control_widths(inputs: list[dict[str, Any]], width: float = WIDTH) -> dict[str, int]:
    """Width of each control, by label."""
    present = {c["type"] for c in inputs} & set(KINDS)
    share = (width - 4 - 8 * len(present - {"slider"})) / len(present)
    found = {}
    for kind in present:
        labels = [c["label"] for c in inputs if c["type"] == kind]
        least, most = KINDS[kind]
        found |= dict.fromkeys(labels, int(min(max(share / len(labels) - 8, least), most)))
    return found


def values_of(slider: dict[str, Any]) -> list[str]:
    """What a slider's box shows at its ends, one step from them and where it starts."""
    places = next(n for n in range(8) if round(slider["step"] * 10**n, 6) % 1 == 0)
    low, high, step = slider["minimum"], slider["maximum"], slider["step"]
    return [
        f"{value:.{places}f}" for value in (low, low + step, high - step, high, slider["value"])
    ]


def lines_of_hover(text: str, width: float = WIDTH) -> int:
    """How many lines, squashed at most as labels are, a text under the pointer takes."""
    return math.ceil(SQUASHED * text_width(text, LABEL) * 1.05 / ((width - 8) / 2 - 10))


def cut(
    card: dict[str, Any], inputs: list[dict[str, Any]], width: float = WIDTH, longest: int = 6
) -> list[str]:
    """Everything of a card and its controls that cannot be read.

    Labels, values, author and description have to be whole; of a closed menu the first `longest`
    characters of each choice, and no two choices may look alike.
    """
    found = []
    widths = control_widths(inputs, width)
    for control in (c for c in inputs if c["type"] in KINDS):
        label, room = control["label"], widths[control["label"]] - 10
        texts = [(label, room, LABEL)]
        if control["type"] == "slider":
            texts += [(value, min(80, room + 10) - 10, LABEL) for value in values_of(control)]
            if room + 10 < 36:
                found.append(f"{label}: no knob in {room + 10} px")
        if control["type"] == "dropdown":
            closed = [shown(choice, room - 30, CHOICE) for choice, _ in control["choices"]]
            if len(set(closed)) < len(closed):
                found.append(f"{label}: some look alike: {closed}")
            for (choice, _), seen in zip(control["choices"], closed, strict=True):
                if not seen.startswith(choice[:longest]):
                    found.append(f"{label}: {seen} of {choice}")
        found += [f"{label}: {shown(t, r, h)}" for t, r, h in texts if shown(t, r, h) != t]
        if lines_of_hover(control["info"], width) > 2 or len(control["info"]) > 180:
            found.append(f"{label}: {len(control['info'])} characters under the pointer")
        if not control["info"].startswith(f"{label}: "):
            found.append(f"{label}: the text under the pointer does not name it")
    name = int(text_width(card["name"], 22) * 1.04 + 10)
    author = f"by {card['author']}"
    if shown(author, int((width - 12) / 2) - name - 10) != author:
        found.append(f"author: {shown(author, int((width - 12) / 2) - name - 10)}")
    if shown(card["description"], width - 14) != card["description"]:
        found.append("description")
    return found


def label_boxes(labels: list[dict[str, Any]], total_s: float) -> list[tuple[float, float, float]]:
    """Left, right and height (amplitude; 2 = the strip above) of each label over a track."""
    track = WIDTH - 60
    boxes = []
    for label in labels:
        width = max(0.1 * track, min(0.2 * track, text_width(label["label"], 16) + 4))
        left = (label["t"] + label["duration"] / 2) / total_s * track - width / 2
        left = min(max(0.0, left), track - width)
        at = 2.0 if label["amplitude"] is None else label["amplitude"]
        boxes.append((left, left + width, at))
    return boxes
