"""Take the picture of a page that the README shows, from the built site, into .github/page.png."""

import functools
import http.server
import sys
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright

import browser

ROOT = Path(__file__).resolve().parent.parent
PAGE = "attention/self-attention.html"
EXERCISE = "scaled-dot-product-attention"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves without a log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Open the page at the exercise, its first hint open, and save what a reader sees."""
    site = ROOT / "_build" / "site"
    if not (site / PAGE).is_file():
        sys.exit("Run `make book` first.")
    chromium = browser.find()
    if chromium is None:
        sys.exit("No Chromium was found; LLMBOOK_CHROMIUM can name one.")
    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=chromium, args=browser.FLAGS)
        page = chrome.new_page(viewport={"width": 1200, "height": 1500})
        page.goto(f"http://127.0.0.1:{server.server_port}/{PAGE}")
        page.locator(f"#{EXERCISE} details").first.evaluate("hint => hint.open = true")
        page.evaluate(f"document.getElementById('{EXERCISE}').scrollIntoView()")
        page.wait_for_timeout(500)
        page.screenshot(path=ROOT / ".github" / "page.png")
        chrome.close()


if __name__ == "__main__":
    main()
