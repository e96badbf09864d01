"""A real browser and the built site, served on a free port."""

import os
import threading
from collections.abc import Callable, Iterator
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


@pytest.fixture
def new_context(browser: Any, site: str) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a window with nothing from before, with Playwright's options."""
    contexts, errors = [], []
    usual = {
        "base_url": site,
        "color_scheme": "light",
        "reduced_motion": "reduce",
        "service_workers": "block",  # what one fetches, no test can stop
        "viewport": {"width": 1280, "height": 900},
    }

    def new(**options: Any) -> Any:
        context = browser.new_context(**usual | options)
        context.on("weberror", lambda event: errors.append(str(event.error)))
        contexts.append(context)
        return context

    yield new
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def context(new_context: Callable[..., Any]) -> Any:
    return new_context()


@pytest.fixture
def page(context: Any) -> Any:
    return context.new_page()


@pytest.fixture
def visit(new_context: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that opens a page of the site in a window of its own."""

    def visit(path: str, **options: Any) -> Any:
        page = new_context(**options).new_page()
        page.goto(path, wait_until="load")
        return page

    return visit
