"""A real browser and the built site, served on a free port."""

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from built import SITE

from serve import Handler

# One page at a time on a machine without a screen, without Chromium's own talk to other hosts.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Return the address of the built site."""
    if not (SITE / "index.html").is_file():
        pytest.fail("there is no site in _build/site: run `make book` first")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def _chromium(playwright: Any) -> str | None:
    named = os.environ.get("LLMBOOK_CHROMIUM")
    if named:
        if not Path(named).is_file():
            pytest.fail(f"LLMBOOK_CHROMIUM must be the path of a browser, got {named!r}")
        return named
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return a headless Chromium; skip without one, but fail in continuous integration."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = _chromium(playwright)
        if path is None:
            missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            missing(
                "no Chromium: set LLMBOOK_CHROMIUM, install chromium, or run "
                "`playwright install chromium`"
            )
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
