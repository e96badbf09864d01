"""How the site is found from outside: addresses, cards, icons, a map, a feed of changes.

What needs the site's address takes it from ``html_baseurl`` (``html: baseurl`` in ``_config.yml``).
Without one nothing names a host: no canonical address, no picture on cards, no map, no feed.
"""

from __future__ import annotations

import posixpath
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from datetime import date
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import jinja2
from docutils import nodes
from markdown_it import MarkdownIt
from PIL import Image, PngImagePlugin
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util import logging

import mark
import toc
from front import duration

logger = logging.getLogger(__name__)

CHANGES = "CHANGES.md"  # beside _config.yml; the page `changes` includes it
CHANGES_PAGE = "changes"
NOT_FOUND = "404.html"  # whole by itself, since a host shows it in the place of pages at any depth
TEMPLATE = Path(__file__).parents[1] / "_templates" / NOT_FOUND
LONGEST = 160  # of a description, which search engines cut there
DRAWING = "1"  # of cards; a new number has all of them drawn again
ICONS = {  # what browsers, phones and launchers ask for: size and whether the square is full
    "icons/icon-192.png": (192, False),
    "icons/icon-512.png": (512, False),
    "icons/icon-maskable-512.png": (512, True),
    "icons/apple-touch-icon.png": (180, True),
}


# -- Addresses ------------------------------------------------------------------------------------


def site_address(config: Any) -> str:
    """Return the address of the site's root with a slash at the end, or an empty string."""
    address: str = config.html_baseurl
    if not address:
        return ""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ExtensionError(
            f"html: baseurl in _config.yml is {address!r}, expected an address such as "
            "https://example.org/book/ or nothing"
        )
    return address.rstrip("/") + "/"


def page_address(site: str, docname: str) -> str:
    """Return a page's one address: the front page's is the site's own."""
    return site + ("" if docname == "index" else quote(f"{docname}.html"))


# -- Descriptions and cards -----------------------------------------------------------------------


def shorten(text: str, longest: int = LONGEST) -> str:
    """Cut a text after its last whole sentence that fits, or else after a word.

    >>> shorten("One thing. Another thing.", 15)
    'One thing.'
    >>> shorten("One very long sentence that goes on", 20)
    'One very long…'
    """
    text = mark.one_line(text)
    if len(text) <= longest:
        return text
    sentences = [m.end() for m in re.finditer(r"[.!?](?=\s)", text[: longest + 1])]
    # A very short first sentence says too little.
    if sentences and sentences[-1] >= longest // 2:
        return text[: sentences[-1]]
    return text[: longest - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"


def description(doctree: nodes.document | None, title: str, book: str) -> str:
    """Take a page's first paragraph, without its citations, for its description."""
    if doctree is not None:
        for section in doctree.findall(nodes.section):
            for child in section.children:
                if isinstance(child, nodes.paragraph) and len(child.astext()) > 40:
                    return shorten(_plain(child))
            break
    return title if title == book else shorten(f"{title}, a page of {book}.")


def _plain(paragraph: nodes.paragraph) -> str:
    copy = paragraph.deepcopy()
    for cited in list(
        copy.findall(lambda n: "bibtex-citation" in getattr(n, "attributes", {}).get("classes", []))
    ):
        cited.parent.remove(cited)
    text = re.sub(r"\s+([.,:;)])", r"\1", mark.one_line(copy.astext()))
    return text[:-1] + "." if text.endswith(":") else text


def card_text(app: Sphinx, docname: str) -> tuple[str, str]:
    """Return the two lines of a page's card: its title, and its part and size."""
    env = app.env
    title = env.titles[docname].astext()
    exercises = list(getattr(env, "catalogue", {}).values())
    here = [e for e in exercises if e.page == docname]
    if docname == app.config.root_doc:
        title, here = "From attention to alignment", exercises
    site_map = getattr(app.config, "external_site_map", None)
    book = toc.parts(site_map) if site_map else []
    words = [caption for caption, pages in book if docname in pages]
    if here:
        count = len(here)
        words += [f"{count} exercise{'s' * (count > 1)}", duration(sum(e.minutes for e in here))]
    return mark.one_line(title), " · ".join(filter(None, words))


def card_file(docname: str) -> str:
    return f"cards/{docname}.png"


def draw_cards(app: Sphinx) -> None:
    """Draw the cards whose words have changed; a card's file holds the words it was drawn for."""
    wanted = set()
    for docname in app.env.found_docs:
        title, below = card_text(app, docname)
        path = Path(app.outdir, card_file(docname))
        wanted.add(path)
        words = "\n".join([DRAWING, app.config.html_title, title, below])
        if path.is_file():
            with Image.open(path) as drawn:
                if drawn.info.get("Description") == words:
                    continue
        path.parent.mkdir(parents=True, exist_ok=True)
        info = PngImagePlugin.PngInfo()
        info.add_itxt("Description", words)
        mark.card(app.config.html_title, title, below).save(path, optimize=True, pnginfo=info)
    for path in Path(app.outdir, "cards").rglob("*.png"):
        if path not in wanted:
            path.unlink()


def draw_icons(app: Sphinx) -> None:
    newest = max(mark.SOURCE.stat().st_mtime, Path(mark.__file__).stat().st_mtime)
    for name, (size, full) in ICONS.items():
        path = Path(app.outdir, name)
        if not path.is_file() or path.stat().st_mtime < newest:
            path.parent.mkdir(parents=True, exist_ok=True)
            mark.icon(size, full=full).save(path, optimize=True)


# -- What each page says of itself ----------------------------------------------------------------


def describe_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    site, book = site_address(app.config), app.config.html_title
    is_front = pagename == app.config.root_doc
    # A solution's own page repeats what is on the page of its exercise, which is the one to find.
    docname = posixpath.dirname(pagename) if "solution" in context else pagename
    is_page = docname in app.env.found_docs
    context["book_mark"], context["book_title"] = mark.inline("book-mark", 36), book
    context["pageurl"] = page_address(site, docname) if site and is_page else None
    if is_front:
        context["docstitle"] = ""  # the page's title is the book's; once is enough
    title = mark.one_line(unescape(re.sub(r"<[^>]*>", "", context.get("title") or book)))
    words = description(doctree, title, book)
    named = [("description", words)]
    properties = [
        ("og:site_name", book),
        ("og:type", "website" if is_front else "article"),
        ("og:title", title),
        ("og:description", words),
    ]
    if site and is_page:
        heading, below = card_text(app, docname)
        properties += [
            ("og:url", page_address(site, docname)),
            ("og:image", site + quote(card_file(docname))),
            ("og:image:width", str(mark.CARD[0])),
            ("og:image:height", str(mark.CARD[1])),
            ("og:image:alt", ", ".join(filter(None, [book, heading, below]))),
        ]
        named.append(("twitter:card", "summary_large_image"))
    tags = [f'<meta name="{name}" content="{escape(text)}" />' for name, text in named]
    tags += [f'<meta property="{name}" content="{escape(text)}" />' for name, text in properties]
    icon = context["pathto"]("icons/apple-touch-icon.png", 1)
    tags.append(f'<link rel="apple-touch-icon" href="{icon}" />')
    if site and has_feed(app):
        feed = context["pathto"]("feed.xml", 1)
        kind = 'rel="alternate" type="application/atom+xml"'
        tags.append(f'<link {kind} title="Changes of {escape(book)}" href="{feed}" />')
    context["metatags"] = context.get("metatags", "") + "\n    " + "\n    ".join(tags)


# -- The map of the site --------------------------------------------------------------------------


def last_changes(folder: Path) -> dict[str, str]:
    """Map the files below a folder to the days of their last commits.

    Empty where the history does not tell: without a repository, or in a shallow one, in which all
    files seem to come with its first commit.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-c", "core.quotePath=false", *arguments]
        return subprocess.run(
            command, cwd=folder, capture_output=True, encoding="utf-8", check=True
        ).stdout

    try:
        if git("rev-parse", "--is-shallow-repository").strip() != "false":
            return {}
        commits = git("log", "--format=%x00%cs", "--name-only", "--relative", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return {}
    days: dict[str, str] = {}
    for commit in commits.split("\0")[1:]:  # the last one first
        day, *files = commit.split("\n")
        for file in filter(None, files):
            days.setdefault(file, day)
    return days


def site_map(site: str, pages: dict[str, str | None]) -> str:
    """Write the map of the site: each page's address and, where known, its last change."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">',
    ]
    for docname, day in pages.items():
        changed = f"<lastmod>{day}</lastmod>" if day else ""
        lines.append(f"<url><loc>{escape(page_address(site, docname))}</loc>{changed}</url>")
    return "\n".join([*lines, "</urlset>", ""])


# -- The feed of changes --------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """An entry of CHANGES.md."""

    day: str
    title: str
    text: str  # Markdown


def read_changes(text: str) -> list[Change]:
    """Read the entries of CHANGES.md, newest first.

    Raises
    ------
    ValueError
        Names the heading or the date that is not as it should be.
    """
    changes = []
    for entry in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = entry.partition("\n")
        found = re.fullmatch(r"(\d{4}-\d\d-\d\d): (\S.*)", heading.strip())
        if found is None:
            raise ValueError(f"heading {heading!r}: expected a day and a title, 2026-01-31: A page")
        date.fromisoformat(found[1])
        if not body.strip():
            raise ValueError(f"change {heading!r}: expected a text below the heading")
        changes.append(Change(found[1], found[2], body.strip()))
    if not changes:
        raise ValueError("expected a heading with a day and a title, ## 2026-01-31: A page")
    days = [change.day for change in changes]
    if days != sorted(days, reverse=True):
        raise ValueError(f"expected the newest change first, got {', '.join(days)}")
    return changes


def change_anchors(doctree: nodes.document) -> list[str]:
    """Return the anchors of the changes on their page, in order."""
    below = [n for n in doctree.findall(nodes.section) if isinstance(n.parent, nodes.section)]
    return [n["ids"][0] for n in below if isinstance(n.parent.parent, nodes.document)]


def feed(site: str, book: str, author: str, changes: list[Change], anchors: list[str]) -> str:
    """Write the changes as an Atom feed (RFC 4287).

    An entry is known by its day and its number on that day: it stays the same when its title is
    corrected and when another comes on top.
    """
    if len(anchors) != len(changes):
        raise ValueError(f"{len(changes)} changes, but {len(anchors)} headings on their page")
    markdown = MarkdownIt("commonmark")
    host, page = urlsplit(site).netloc, page_address(site, CHANGES_PAGE)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en">',
        f"<title>Changes of {escape(book)}</title>",
        f"<id>{escape(site)}</id>",
        f'<link href="{escape(page)}" />',
        f'<link rel="self" type="application/atom+xml" href="{escape(site)}feed.xml" />',
        f"<updated>{changes[0].day}T00:00:00Z</updated>",
        f"<author><name>{escape(author)}</name></author>",
    ]
    left = Counter(change.day for change in changes)
    for change, anchor in zip(changes, anchors, strict=True):
        number = left[change.day]
        left[change.day] -= 1
        # Links are written for who reads the file in the repository.
        text = re.sub(
            r"\]\(book/([^)#\s]+)\.md(#[^)\s]*)?\)",
            lambda m: f"]({page_address(site, m[1])}{m[2] or ''})",
            change.text,
        )
        lines += [
            "<entry>",
            f"<title>{escape(change.title)}</title>",
            f"<id>tag:{host},{change.day}:{number}</id>",
            f'<link href="{escape(f"{page}#{anchor}")}" />',
            f"<updated>{change.day}T00:00:00Z</updated>",
            f'<content type="html">{escape(markdown.render(text))}</content>',
            "</entry>",
        ]
    return "\n".join([*lines, "</feed>", ""])


def has_feed(app: Sphinx) -> bool:
    return CHANGES_PAGE in app.env.found_docs


def write_files(app: Sphinx, exception: Exception | None) -> None:
    """Write what is one file for the whole site."""
    if exception is not None or app.builder.format != "html":
        return
    env: BuildEnvironment = app.env
    draw_icons(app)
    draw_cards(app)
    out = Path(app.outdir)
    site = site_address(app.config)
    files = {
        "robots.txt": "User-agent: *\nAllow: /\n",
        NOT_FOUND: jinja2.Template(TEMPLATE.read_text(encoding="utf-8")).render(
            root=urlsplit(site).path or "/",
            project=escape(app.config.project),
            mark=mark.inline("mark", 48),
        ),
    }
    if site:
        files["robots.txt"] += f"Sitemap: {site}sitemap.xml\n"
        days = last_changes(Path(app.srcdir))
        pages = {
            name: days.get(Path(env.doc2path(name, base=False)).as_posix())
            for name in sorted(env.found_docs, key=lambda name: (name != "index", name))
        }
        files["sitemap.xml"] = site_map(site, pages)
        if has_feed(app):
            path = Path(app.srcdir).parent / CHANGES
            anchors = change_anchors(env.get_doctree(CHANGES_PAGE))
            try:
                changes = read_changes(path.read_text(encoding="utf-8"))
                text = feed(site, app.config.html_title, app.config.author, changes, anchors)
            except ValueError as error:
                raise ExtensionError(f"{path.name}: {error}") from error
            files["feed.xml"] = text
    for name in ("sitemap.xml", "feed.xml"):
        if name not in files:
            (out / name).unlink(missing_ok=True)
    for name, text in files.items():
        (out / name).write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", describe_page)
    app.connect("build-finished", write_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
