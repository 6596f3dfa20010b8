"""How the page is dressed: its header, its theme, its style and its script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradio import themes

from harp_app.protocol.endpoint import CARD

HERE = Path(__file__).parent
FONTS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO_FONTS = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
HEADER = f"""
<header id="top">
  <div><h1>{CARD["name"]}</h1><p>{CARD["description"]}</p></div>
  <div class="aside">
    <button type="button" id="theme" aria-label="Light or dark">&#9680;</button>
    <p>In a DAW? Load this address in HARP:
    <button type="button" id="address" title="Copy the address"></button></p>
  </div>
</header>
<p id="lost" class="problem" role="alert" hidden>
  <span></span><button type="button" id="reload">Reload the page</button>
</p>
"""


def theme_options() -> dict[str, Any]:
    """Return theme, style and script, as ``gradio.mount_gradio_app`` takes them."""
    theme = themes.Base(
        primary_hue=themes.colors.orange,
        secondary_hue=themes.colors.teal,
        neutral_hue=themes.colors.stone,
        radius_size=themes.sizes.radius_md,
        font=FONTS,
        font_mono=MONO_FONTS,
    )
    script = (HERE / "page.js").read_text("utf-8")
    return {"theme": theme, "css_paths": [HERE / "page.css"], "head": f"<script>{script}</script>"}
