"""What to say where a prompt keeps all of a clip: nothing was regenerated, and why."""

from __future__ import annotations

from vampnet.prompt.prompt import Prompt


def nothing_new(prompt: Prompt, duration_s: float) -> str:
    """Return the sentence for a clip of this length (seconds) of which the prompt keeps all."""
    ends = [
        f"the {name} {seconds:g} s"
        for name, seconds in (("first", prompt.prefix_s), ("last", prompt.suffix_s))
        if seconds > 0
    ]
    if not ends:
        return f"nothing was regenerated: what is kept covers all {duration_s:.2f} s of the clip"
    kept = " and ".join(ends)
    return (
        f"nothing was regenerated: {kept} are kept, and the clip is {duration_s:.2f} s long;"
        " keep less, or take a longer clip"
    )
