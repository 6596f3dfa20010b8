"""The endpoint for the DAW: HARP's protocol, the region in place, the page in the browser."""

from __future__ import annotations

from vampnet.system.optional import require


def check_installed() -> None:
    """Check, before anything else of this package is imported, that its packages are installed.

    Raises:
        UserError: names the missing ones and the extra ``serve``.
    """
    require("gradio", "fastapi", "uvicorn", "PIL", extra="serve", purpose="the endpoint")
