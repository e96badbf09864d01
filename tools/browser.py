"""The Chromium that the tests of the site drive, and that prints the book."""

import os
import shutil
from pathlib import Path

# For a machine without a screen, without Chromium's own talk to other hosts.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find() -> str | None:
    """Path of a Chromium: $LLMBOOK_CHROMIUM, the system's, or the one Playwright fetched; or None.

    Raises
    ------
    FileNotFoundError
        If LLMBOOK_CHROMIUM names a file that does not exist.
    """
    if named := os.environ.get("LLMBOOK_CHROMIUM"):
        if not Path(named).is_file():
            raise FileNotFoundError(f"LLMBOOK_CHROMIUM names {named!r}, which is not a file")
        return named
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None
