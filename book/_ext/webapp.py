"""What makes the site an app that is read offline: its manifest, the page shown without network.

Links in the footer lead to what can be taken along. The service worker, the list of files that it
keeps and the archive are made when the site is published (``tools/offline_files.py``).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

MANIFEST = "site.webmanifest"
ARCHIVE = "llm-workbook.zip"
OFFLINE_PAGE = "offline"
ICON = "icons/icon.svg"
MARK = Path(__file__).parents[1] / "_static" / "favicon.svg"
COLOR = "#14365c"  # the tile of the mark

OFFLINE_TITLE = "You are offline"
OFFLINE_BODY = """\
<section id="you-are-offline">
<h1>You are offline</h1>
<p>The page that you asked for is not kept in this browser, and the network cannot be reached.
Binder, Colab and live cells need the network, too.</p>
<p data-offline-again></p>
<h2>Pages that can be read now</h2>
<p>Every page that you have visited is kept, and the whole book if you have saved it: each page has
a button for that at its foot.</p>
<ul data-offline-pages></ul>
</section>
"""
FOOTER = """\
<div class="take-along" data-save-book>
<p>Take the book along: <a href="{archive}" download>the whole site as an archive</a>, which opens
without a server.</p>
</div>
"""


def manifest(name: str) -> dict[str, Any]:
    """Return the web app manifest; addresses in it are relative to the root, where it lies."""
    icons = [
        {"src": ICON, "sizes": "any", "type": "image/svg+xml"},
        {"src": "icons/icon-192.png", "sizes": "192x192", "type": "image/png"},
        {"src": "icons/icon-512.png", "sizes": "512x512", "type": "image/png"},
        {
            "src": "icons/icon-maskable-512.png",
            "sizes": "512x512",
            "type": "image/png",
            "purpose": "maskable",
        },
    ]
    return {
        "name": name,
        "short_name": name.removeprefix("The "),
        "description": "Exercises from attention to alignment, every one solved and checked.",
        "id": "./",
        "start_url": "./index.html",
        "scope": "./",
        "display": "standalone",
        "lang": "en",
        "categories": ["books", "education"],
        "background_color": "#ffffff",
        "theme_color": COLOR,
        "icons": icons,
    }


def add_to_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    address = context["pathto"]
    context["metatags"] = (
        context.get("metatags", "")
        + f'\n    <link rel="manifest" href="{address(MANIFEST, 1)}" />'
        + f'\n    <meta name="theme-color" content="{COLOR}" />'
    )
    footer = FOOTER.format(archive=address(ARCHIVE, 1))
    context["theme_extra_footer"] = (context.get("theme_extra_footer") or "") + footer


def add_offline_page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    yield OFFLINE_PAGE, {"title": OFFLINE_TITLE, "body": OFFLINE_BODY}, "page.html"


def write_manifest(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        text = json.dumps(manifest(app.config.project), indent=1)
        Path(app.outdir, MANIFEST).write_text(text + "\n", encoding="utf-8")
        Path(app.outdir, ICON).parent.mkdir(exist_ok=True)
        shutil.copyfile(MARK, Path(app.outdir, ICON))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", add_to_page, priority=700)
    app.connect("html-collect-pages", add_offline_page)
    app.connect("build-finished", write_manifest)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
