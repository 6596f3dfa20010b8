"""mkdocs hook: links from a page to files of the repository outside docs/ become plain text."""

from __future__ import annotations

import posixpath
import re
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?!https?:|mailto:|#)[^)\s]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Keep the text of links that lead outside the site and add the file's path."""
    folder = posixpath.dirname(page.file.src_uri)

    def replaced(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2].partition("#")[0]))
        if not target.startswith("../"):
            return link[0]
        path = target.removeprefix("../")
        return link[1] if path in link[1] else f"{link[1]} (`{path}`)"

    return LINK.sub(replaced, markdown)
