"""Everything that uses names gradio does not publish: why its version is pinned to a minor one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import gradio as gr

# Between two looks at the queue, which otherwise wakes every millisecond: a call waits half of it
# on average, an idle server takes next to nothing. Progress goes another way (log events).
QUEUE_LOOK_S, PROGRESS_LOOK_S = 0.04, 1.0
_MANIFEST = 'href="/manifest.json"'


def keep_files_in(root: Path) -> None:
    """Have gradio put its files into ``root``; it reads the environment only at its import."""
    os.environ["GRADIO_TEMP_DIR"] = str(root)
    for name, module in list(sys.modules.items()):
        if name.startswith("gradio.") and "DEFAULT_TEMP_DIR" in vars(module):
            vars(module)["DEFAULT_TEMP_DIR"] = str(root)


def calm_queue(blocks: gr.Blocks) -> None:
    """Have the queue of ``blocks`` look for work less often."""
    blocks._queue.sleep_when_free = QUEUE_LOOK_S
    blocks._queue.progress_update_sleep_when_free = PROGRESS_LOOK_S


def link_manifest_beside_page() -> None:
    """Have the page find its manifest beside itself: gradio links it at the root of the host."""
    from gradio import routes

    loader: Any = routes.templates.env.loader
    read = loader.get_source
    if getattr(read, "moves_links", False):  # done before
        return

    def get_source(environment: Any, template: str) -> tuple[str, Any, Any]:
        source, *rest = read(environment, template)
        return (source.replace(_MANIFEST, _MANIFEST.replace('"/', '"./')), *rest)

    get_source.moves_links = True  # pyright: ignore[reportFunctionMemberAccess]
    loader.get_source = get_source


def forget_file(blocks: gr.Blocks, path: str) -> None:
    """Drop a file that was deleted from what gradio would delete at its end."""
    for files in blocks.temp_file_sets:
        files.discard(path)


def forget_session(blocks: gr.Blocks, stream: str) -> None:
    """Drop what gradio keeps of a call whose stream has ended.

    It takes each of HARP's calls for a visitor of the page and would keep a copy of the page's
    state, some 100 KB, for the next 10,000 of them.
    """
    holder: Any = getattr(blocks, "state_holder", None)
    for place in (getattr(holder, "session_data", {}), getattr(holder, "time_last_used", {})):
        place.pop(stream, None)
    blocks._queue.pending_event_ids_session.pop(stream, None)
    blocks._queue.pending_messages_per_session.pop(stream, None)
