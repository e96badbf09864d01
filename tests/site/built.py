"""Where the built site is, and which pages it has."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "site"
NOT_FOUND = "404.html"  # what a host shows in the place of any page


def pages() -> list[str]:
    """Return the site's pages, as paths below its root; the front page when nothing is built."""
    found = [path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")]
    others = ("assets/", NOT_FOUND)
    return sorted(p for p in found if not p.startswith(others)) or ["index.html"]


def page_with(element: str) -> str:
    """Return the first page that has a piece of HTML."""
    for path in pages():
        if element in (SITE / path).read_text(encoding="utf-8"):
            return path
    raise AssertionError(f"no page has {element}")
