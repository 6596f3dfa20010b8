"""Screenshots of the web page for the documentation: light, dark, and on a phone.

    python benchmarks/screenshots.py docs/images

Serves the embedded model, opens the page in headless Chromium (VAMPNET_CHROMIUM names one that is
not on the path; playwright comes with the extra "test"), generates two takes of docs/demo/loop.flac
and writes page-light.png, page-dark.png and page-phone.png into the folder.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

from browser_visit import Visit, find_browser, started_browser  # noqa: E402
from fake_endpoint import running  # noqa: E402

from vampnet.pipeline import Pipeline  # noqa: E402
from vampnet.presets import presets  # noqa: E402

WIDE = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
APPEARANCES: dict[str, dict[str, Any]] = {
    "page-light": {**WIDE, "color_scheme": "light"},
    "page-dark": {**WIDE, "color_scheme": "dark"},
    "page-phone": {**PHONE, "color_scheme": "light", "is_mobile": True, "has_touch": True},
}


def shot(browser: Any, address: str, name: str) -> bytes:
    """Take a screenshot as PNG: a clip, its mask, the second of two takes."""
    options = APPEARANCES[name]
    visit = Visit(browser, address, **options)
    visit.context.set_default_timeout(60_000)
    visit.open(ROOT / "docs" / "demo" / "loop.flac")
    visit.choose("beat-small")
    visit.page.wait_for_selector("#mask .beat")
    for _ in range(2):
        visit.take(timeout_s=120)
    visit.page.mouse.move(0, 0)
    visit.page.wait_for_timeout(700)
    height = visit.page.evaluate("document.documentElement.scrollHeight")
    if name == "page-phone":  # its column of sliders is long
        height = visit.page.locator("#controls").bounding_box()["y"]
    part = {"x": 0, "y": 0, "width": options["viewport"]["width"], "height": height}
    made = visit.page.screenshot(full_page=True, clip=part)
    visit.context.close()
    return made


def main() -> None:
    """Write the screenshots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of the screenshots")
    folder = parser.parse_args().folder
    if not find_browser():
        sys.exit("no browser: install Chromium, or name one by VAMPNET_CHROMIUM")
    folder.mkdir(parents=True, exist_ok=True)
    with running(Pipeline.from_pretrained(), presets()) as site, started_browser() as browser:
        for name in APPEARANCES:
            png = Image.open(io.BytesIO(shot(browser, site.address, name)))
            png.quantize(256).save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
