"""A real browser and the built site, served on a free port."""

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from built import SITE

from browser import FLAGS, find
from serve import Handler


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Return the address of the built site."""
    if not (SITE / "index.html").is_file():
        pytest.fail("there is no site in _build/site: run `make book` first")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a Chromium; skip without one, but fail in continuous integration."""
    try:
        path = find()
    except FileNotFoundError as error:
        pytest.fail(str(error))
    if path is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing(
            "no Chromium: set LLMBOOK_CHROMIUM, install chromium, or run "
            "`playwright install chromium`"
        )
    return path


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    """Return a headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()
