"""Weigh a site's pages: what a browser is sent on a first visit, and for a second page.

All that leaves the server counts, with headers and with what a service worker fetches, and what
comes from other hosts. The browser and the pages are the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from serve import Handler

PHONE = {"viewport": {"width": 412, "height": 823}, "device_scale_factor": 1.75, "is_mobile": True}
QUIET = 0.7  # seconds without a byte after which a page has all that it asks for by itself
LONGEST = 30  # seconds to wait for that
# Through the page, as far as lazy images and figures that wait for the reader are concerned; a
# script's scrolling is no sign of a reader.
TO_THE_END = """
async () => {
  const frame = () => new Promise(requestAnimationFrame);
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight / 2) {
    scrollTo(0, y);
    for (let n = 0; n < 3; n++) await frame();
  }
}
"""


class CountingHandler(Handler):
    """Serves as the site's host should, and tells the server what it has sent."""

    server: CountingServer

    def setup(self) -> None:
        """Count what is written."""
        super().setup()
        write, self.written = self.wfile.write, 0

        def counting(data: Any) -> int:
            self.written += len(data)
            return write(data)

        self.wfile.write = counting  # type: ignore[method-assign]

    def handle_one_request(self) -> None:
        """Answer, and note the path and the bytes."""
        before, self.raw_requestline = self.written, b""
        super().handle_one_request()
        if self.raw_requestline:
            self.server.sent.append((self.path, self.written - before))


class CountingServer(ThreadingHTTPServer):
    """A host of a folder that knows what it has sent."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(CountingHandler, directory=str(folder)))
        self.folder = folder
        self.sent: list[tuple[str, int]] = []

    @property
    def address(self) -> str:
        """Return the site's address, with a slash at the end."""
        return f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def counted(folder: Path) -> Iterator[CountingServer]:
    """Serve a folder on a free port.

    Raises
    ------
    FileNotFoundError
        If the folder has no front page.
    """
    if not (folder / "index.html").is_file():
        raise FileNotFoundError(f"there is no site in {folder}: run `make book` first")
    with CountingServer(folder) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@dataclass
class Load:
    """What a browser was sent for a page."""

    requests: list[tuple[str, int]] = field(default_factory=list)  # path or address, and bytes
    failed: list[str] = field(default_factory=list)  # addresses on other hosts

    @property
    def plotly(self) -> int:
        """Return the bytes of the library for figures."""
        return sum(size for path, size in self.requests if "plotly" in path)

    @property
    def bytes(self) -> int:
        """Return all bytes but Plotly's."""
        return sum(size for _, size in self.requests) - self.plotly


def load(server: CountingServer, context: Any, path: str, scroll: bool = False) -> Load:
    """Load a page in a browser's context, wait until nothing more comes, and say what came."""
    result, start = Load(), len(server.sent)
    page = context.new_page()

    def foreign(request: Any) -> bool:
        return urlsplit(request.url).scheme.startswith("http") and not request.url.startswith(
            server.address
        )

    def finished(request: Any) -> None:
        if foreign(request):
            sizes = request.sizes()
            size = sizes["responseBodySize"] + sizes["responseHeadersSize"]
            result.requests.append((request.url, size))

    page.on("requestfinished", finished)
    page.on("requestfailed", lambda r: result.failed.append(r.url) if foreign(r) else None)
    page.goto(server.address + path, wait_until="load")
    _wait(server, page)
    if scroll:
        page.evaluate(TO_THE_END)
        _wait(server, page)
    page.close()
    result.requests += server.sent[start:]
    return result


def _wait(server: CountingServer, page: Any) -> None:
    end = time.monotonic() + LONGEST
    seen, since = len(server.sent), time.monotonic()
    while time.monotonic() < end and time.monotonic() - since < QUIET:
        page.wait_for_timeout(100)
        if len(server.sent) != seen:
            seen, since = len(server.sent), time.monotonic()


@dataclass
class Weight:
    """What a page weighs."""

    first: Load  # on a first visit, read to its end
    second: Load | None  # after another page


def weigh(
    server: CountingServer, browser: Any, path: str, before: str | None, to_the_end: bool = True
) -> Weight:
    """Weigh a page for who comes first, and for who comes from the page `before`, if there is one.

    Both read it to its end, or only what is on the first screen, but open nothing.
    """
    first, second = browser.new_context(**PHONE), browser.new_context(**PHONE)
    try:
        weight = Weight(load(server, first, path, to_the_end), None)
        if before is not None:
            load(server, second, before)
            weight.second = load(server, second, path, to_the_end)
        return weight
    finally:
        first.close()
        second.close()
