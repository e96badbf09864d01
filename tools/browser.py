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


# The shell opens a page in a third of the time; Lighthouse wants the whole browser of a reader.
WHOLE = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SHELL = ("chromium-headless-shell",)


def find(*, whole: bool = False) -> str | None:
    """Path of a Chromium: $LLMBOOK_CHROMIUM, the system's, or the one Playwright fetched; or None.

    Parameters
    ----------
    whole
        Do not prefer Chromium's headless shell, which has less of the browser around the pages.

    Raises
    ------
    FileNotFoundError
        If LLMBOOK_CHROMIUM names a file that does not exist.
    """
    if named := os.environ.get("LLMBOOK_CHROMIUM"):
        if not Path(named).is_file():
            raise FileNotFoundError(f"LLMBOOK_CHROMIUM names {named!r}, which is not a file")
        return named
    for name in WHOLE if whole else SHELL + WHOLE:
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None
