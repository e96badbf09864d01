"""Print the published site as one PDF: cover, contents with page numbers, every page, bookmarks.

    python tools/pdf.py [--no-solutions] [--no-hints] [--output FILE] [PAGE ...]

Chromium prints each page by itself; pypdf puts them together, numbers the pages, and turns links
from one page of the site to another into links inside the document. The contents are printed twice,
since their page numbers are known only once all else is printed.
"""

from __future__ import annotations

import argparse
import functools
import html
import io
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import yaml
from playwright.sync_api import sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    Fit,
    FloatObject,
    NameObject,
    NullObject,
    TextStringObject,
)
from sphinx_external_toc.parsing import parse_toc_yaml

import browser
from serve import Handler

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import toc  # noqa: E402

SITE = ROOT / "_build" / "site"
OUTPUT = ROOT / "_build" / "llm-workbook.pdf"
PAPER = {
    "format": "A4",
    "margin": {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"},
    "scale": 0.8,  # a little smaller than on the screen: about 11 points
    "print_background": True,
    "outline": True,
    "tagged": True,
}
NUMBER_SIZE, NUMBER_HEIGHT, DIGIT = 9, 28, 0.556  # of page numbers, in points; width of a digit
FONT = "/LlmPageNumber"
AT = "at-heading-of-"  # before the id of a section: the id of a mark in its heading
DUMMY = "000"  # in the contents, until the numbers are known

# Pictures that come late come now. A link to every id, out
# of sight, has Chromium write down where it is. A section may begin on the page before its heading,
# so that the heading speaks for it.
PREPARE = """
async ({ solutions }) => {
  if (solutions) await window.llmbook?.solutions?.();
  const article = document.querySelector("article") ?? document.body;
  for (const image of article.querySelectorAll("img")) image.loading = "eager";
  await document.fonts.ready;
  const pictures = [...article.querySelectorAll("img")].filter((image) => image.checkVisibility());
  await Promise.all(pictures.map((image) => image.decode().catch(() => {})));
  for (const heading of article.querySelectorAll("section[id] > :is(h1, h2, h3, h4)")) {
    const mark = document.createElement("span");
    mark.id = `at-heading-of-${heading.parentElement.id}`;
    heading.prepend(mark);
  }
  const nowhere = document.createElement("div");
  nowhere.style.cssText = "position: absolute; width: 1px; height: 1px; overflow: hidden";
  for (const { id } of article.querySelectorAll("[id]")) {
    const link = document.createElement("a");
    link.href = `${location.pathname}#${encodeURIComponent(id)}`;
    nowhere.append(link);
  }
  article.append(nowhere);
  const text = (heading) => {
    const copy = heading.cloneNode(true);
    for (const part of copy.querySelectorAll(".headerlink, [id^=at-heading-of-]")) part.remove();
    return copy.innerHTML.trim();
  };
  const sections = [...article.querySelectorAll("section > h2")].map((heading) => ({
    id: heading.parentElement.id, title: text(heading),
    exercise: heading.parentElement.querySelector(":scope > .admonition > .admonition-title")
      ?.textContent.trim() ?? "",
  }));
  return { title: text(article.querySelector("h1")), sections };
}
"""
# Lines of code wrap, since nobody can scroll on paper, and long listings go on on the next sheet.
PAGE_STYLE = """
@media print {
  /* The page's title and not what stands for it: only headings make bookmarks. */
  #jb-print-docs-body { display: none !important; }
  article h1:first-of-type { display: block !important; }
  article pre { break-inside: auto !important; overflow: visible !important;
    overflow-wrap: anywhere; white-space: pre-wrap !important; }
  article :is(.cell, .cell_input, .cell_output, .highlight, [class*="highlight-"]) {
    break-inside: auto !important; display: block !important; }
  article :is(h1, h2, h3, h4, summary) { break-after: avoid; }
  .offline-bar { display: none !important; }
}
"""
CONTENTS_STYLE = """
@media print {
  body.pdf-front { display: block; font-size: 11pt; }
  .pdf-cover { break-after: page; padding-top: 35vh; text-align: center; }
  .pdf-cover h1 { font-size: 34pt; margin: 0 0 6mm; }
  .pdf-contents h2 { font-size: 13pt; margin: 6mm 0 2mm; break-after: avoid; }
  .pdf-contents ol { list-style: none; margin: 0; padding: 0; }
  .pdf-contents ol ol { margin-left: 6mm; }
  .pdf-contents a { color: inherit; display: flex; gap: 3mm; text-decoration: none; }
  .pdf-contents a > span:first-child { flex: 1; }
  .pdf-contents a > span:last-child { font-variant-numeric: tabular-nums; width: 12mm;
    text-align: right; }
}
"""


@dataclass
class Section:
    id: str
    title: str  # HTML
    exercise: str  # such as "Exercise 13.19"; empty where the section has none


@dataclass
class Printed:
    """A page of the site, printed."""

    path: str  # below the site's root, such as attention/positions.html
    title: str  # HTML
    reader: PdfReader
    sections: list[Section] = field(default_factory=list)
    first: int = 0  # its first page in the document, from 0


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve the site while it is being printed; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


# -- Printing -------------------------------------------------------------------------------------


def print_page(tab: Any, root: str, path: str, solutions: bool) -> Printed:
    """Print one page of the site."""
    tab.goto(root + path, wait_until="load")
    tab.add_style_tag(content=PAGE_STYLE)
    found = tab.evaluate(PREPARE, {"solutions": solutions})
    reader = PdfReader(io.BytesIO(tab.pdf(**PAPER)))
    return Printed(path, found["title"], reader, [Section(**s) for s in found["sections"]])


def contents(
    name: str, below: str, groups: list[tuple[str, list[Printed]]], number: dict[str, int]
) -> str:
    """Return the cover and the contents as HTML; addresses without a number get a dummy."""

    def line(address: str, text: str) -> str:
        page = number.get(address, DUMMY)
        return f'<a href="{html.escape(address)}"><span>{text}</span><span>{page}</span></a>'

    listing = []
    for caption, pages in groups:
        if not pages:
            continue
        listing.append(f"<h2>{html.escape(caption)}</h2><ol>" if caption else "<ol>")
        for page in pages:
            lines = "".join(
                f"<li>{line(f'{page.path}#{s.id}', ': '.join(filter(None, [s.exercise, s.title])))}"
                for s in page.sections
            )
            listing.append(f"<li>{line(page.path, f'<b>{page.title}</b>')}<ol>{lines}</ol>")
        listing.append("</ol>")
    return (
        f'<div class="pdf-cover"><h1>{html.escape(name)}</h1><p>{html.escape(below)}</p></div>'
        f'<div class="pdf-contents"><h1>Contents</h1>{"".join(listing)}</div>'
    )


def print_contents(tab: Any, root: str, body: str) -> PdfReader:
    """Print cover and contents, with the site's own style sheet."""
    tab.goto(f"{root}index.html", wait_until="load")
    tab.evaluate(
        """async ([body, style]) => {
          document.documentElement.dataset.theme = "light";
          document.body.className = "pdf-front";
          document.body.innerHTML = body;
          const sheet = document.createElement("style");
          sheet.textContent = style;
          document.head.append(sheet);
          await document.fonts.ready;
        }""",
        [body, CONTENTS_STYLE],
    )
    return PdfReader(io.BytesIO(tab.pdf(**{**PAPER, "outline": False})))


# -- Putting together -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A place in the document."""

    page: int  # from 0
    left: float
    top: float


def places(printed: list[Printed]) -> dict[str, Place]:
    """Map the addresses of pages and of all that has an id to where they are."""
    found: dict[str, Place] = {}
    for page in printed:
        found[page.path] = Place(page.first, 0, float(page.reader.pages[0].mediabox.top))
        for name, goal in page.reader.named_destinations.items():
            number = page.reader.get_destination_page_number(goal)
            if number is None or number < 0:
                continue
            id_ = unquote(str(name).lstrip("/"))
            place = Place(page.first + number, float(goal.left or 0), float(goal.top or 0))
            found[f"{page.path}#{id_}"] = place
    return found | {
        address.replace(f"#{AT}", "#", 1): place
        for address, place in found.items()
        if f"#{AT}" in address
    }


def address_below(root: str, here: str, annotation: DictionaryObject) -> str | None:
    """Return the address of the site that a link leads to, below its root; None for others."""
    action = annotation.get("/A")
    goal = annotation.get("/Dest")
    if action is not None:
        action = action.get_object()
        if action.get("/S") == "/URI":
            uri = str(action["/URI"])
            if not uri.startswith(root):
                return None
            path, fragment = urldefrag(uri[len(root) :])
            path = unquote(path) or "index.html"
            return f"{path}#{unquote(fragment)}" if fragment else path
        goal = action.get("/D") if action.get("/S") == "/GoTo" else None
    if goal is None or isinstance(goal.get_object(), list):
        return None
    return f"{here}#{unquote(str(goal.get_object()).lstrip('/'))}"


def direct_links(
    writer: PdfWriter, root: str, here: str, index: int, known: dict[str, Place], online: str
) -> list[str]:
    """Have the links of a page lead to places of the document; return those that have none.

    These lead to the page on the web, or nowhere without an address of the book (`online`).
    """
    page, lost, kept = writer.pages[index], [], ArrayObject()
    for reference in page.get("/Annots", ArrayObject()):
        annotation = reference.get_object()
        address = address_below(root, here, annotation)
        if annotation.get("/Subtype") != "/Link" or address is None:
            kept.append(reference)
            continue
        target, _, fragment = address.partition("#")
        target = target.partition("?")[0]  # a filtered view is in the document as a whole
        place = known.get(f"{target}#{fragment}") or known.get(target)
        if place is None:
            lost.append(address)
            if online:
                uri = TextStringObject(online + address)
                annotation[NameObject("/A")] = DictionaryObject(
                    {NameObject("/S"): NameObject("/URI"), NameObject("/URI"): uri}
                )
                annotation.pop("/Dest", None)
                kept.append(reference)
            continue
        annotation.pop("/A", None)
        annotation[NameObject("/Dest")] = ArrayObject(
            [
                writer.pages[place.page].indirect_reference,
                NameObject("/XYZ"),
                FloatObject(place.left),
                FloatObject(place.top),
                NullObject(),
            ]
        )
        kept.append(reference)
    if kept:
        page[NameObject("/Annots")] = kept
    return lost


def number_page(writer: PdfWriter, index: int, font: Any) -> None:
    """Write the number of a page at its foot."""
    page = writer.pages[index]
    text = str(index + 1)
    width = float(page.mediabox.width)
    left = (width - DIGIT * NUMBER_SIZE * len(text)) / 2
    before, after = DecodedStreamObject(), DecodedStreamObject()
    before.set_data(b"q\n")
    after.set_data(
        f"\nQ\nq BT {FONT} {NUMBER_SIZE} Tf 0.35 g {left:.2f} {NUMBER_HEIGHT} Td ({text}) Tj ET Q"
        "\n".encode()
    )
    old = page.raw_get("/Contents")
    inside = old.get_object()
    page[NameObject("/Contents")] = ArrayObject(
        [
            writer._add_object(before),
            *(inside if isinstance(inside, ArrayObject) else [old]),
            writer._add_object(after),
        ]
    )
    resources = page["/Resources"].get_object()
    assert isinstance(resources, DictionaryObject)
    fonts = resources.setdefault(NameObject("/Font"), DictionaryObject()).get_object()
    fonts[NameObject(FONT)] = font


def add_outline(writer: PdfWriter, page: Printed, parent: Any) -> None:
    """Add the headings of a page as bookmarks below `parent`."""

    def add(entries: list[Any], above: Any) -> None:
        last = above
        for entry in entries:
            if isinstance(entry, list):
                add(entry, last)
                continue
            number = page.reader.get_destination_page_number(entry)
            if number is None:
                continue
            fit = Fit.xyz(left=entry.left, top=entry.top)
            last = writer.add_outline_item(
                title=str(entry.title), page_number=page.first + number, parent=above, fit=fit
            )

    add(page.reader.outline, parent)


def put_together(
    front: PdfReader,
    groups: list[tuple[str, list[Printed]]],
    root: str,
    name: str,
    author: str,
    online: str,
) -> tuple[PdfWriter, list[str]]:
    """Return the document, and the addresses of the site that it links to but does not have."""
    writer = PdfWriter()
    printed = [page for _, pages in groups for page in pages]
    for reader in (front, *(page.reader for page in printed)):
        for sheet in reader.pages:
            writer.add_page(sheet)
    known = places(printed)
    origin = ["index.html"] * len(front.pages)
    origin += [page.path for page in printed for _ in page.reader.pages]
    font = writer._add_object(
        DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
    )
    lost: set[str] = set()
    known["index.html"] = Place(1, 0, float(front.pages[0].mediabox.top))  # the contents
    for index, here in enumerate(origin):
        lost.update(direct_links(writer, root, here, index, known, online))
        if index:
            number_page(writer, index, font)
        # The structure trees of the single documents are not part of this one.
        writer.pages[index].pop("/StructParents", None)
    writer.add_outline_item(title="Contents", page_number=1)
    for caption, pages in groups:
        if pages:
            above = (
                writer.add_outline_item(title=caption, page_number=pages[0].first)
                if caption
                else None
            )
            for page in pages:
                add_outline(writer, page, above)
    writer.page_mode = "/UseOutlines"
    writer.root_object[NameObject("/Lang")] = TextStringObject("en")
    writer.add_metadata({"/Title": name, "/Author": author})
    writer.compress_identical_objects()
    return writer, sorted(lost)


def make(
    output: Path,
    site: Path = SITE,
    solutions: bool = True,
    hints: bool = True,
    only: Sequence[str] = (),
) -> list[str]:
    """Print the site into `output`; return addresses that the document links to but lacks.

    Raises
    ------
    FileNotFoundError
        Says what is missing: the browser, or which pages, from the book or from the site.
    """
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    name, online = config["title"], config.get("html", {}).get("baseurl", "")
    online = online.rstrip("/") + "/" if online else ""
    book = toc.parts(parse_toc_yaml(ROOT / "_toc.yml"))
    unknown = set(only).difference(*(pages for _, pages in book))
    if unknown:
        raise FileNotFoundError(f"_toc.yml has no page {', '.join(sorted(unknown))}")
    chromium = browser.find()
    if chromium is None:
        raise FileNotFoundError("no Chromium was found; LLMBOOK_CHROMIUM can name one")
    wanted = [
        (caption, [f"{p}.html" for p in pages if not only or p in only]) for caption, pages in book
    ]
    missing = [p for _, pages in wanted for p in pages if not (site / p).is_file()]
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} not in {site}: run `make book`")
    with served(site) as root, sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=chromium, args=browser.FLAGS)
        context = chrome.new_context(color_scheme="light", service_workers="block")
        choice = json.dumps({"hints": hints, "solutions": solutions})
        context.add_init_script(f"localStorage.setItem('llmbook-print', {json.dumps(choice)})")
        groups = []
        for caption, paths in wanted:
            pages = []
            for path in paths:
                tab = context.new_page()  # a new one, so that memory is given back
                pages.append(print_page(tab, root, path, solutions))
                tab.close()
                print(f"  {path}: {len(pages[-1].reader.pages)} pages", flush=True)
            groups.append((caption, pages))
        below = "With solutions" if solutions else "Without solutions"
        tab = context.new_page()
        front = print_contents(tab, root, contents(name, below, groups, {}))
        first = len(front.pages)
        for _, pages in groups:
            for page in pages:
                page.first = first
                first += len(page.reader.pages)
        known = places([page for _, pages in groups for page in pages])
        numbers = {address: place.page + 1 for address, place in known.items()}
        again = print_contents(tab, root, contents(name, below, groups, numbers))
        if len(again.pages) != len(front.pages):
            raise RuntimeError("the contents have grown while their numbers were filled in")
        chrome.close()
        writer, lost = put_together(again, groups, root, name, config["author"], online)
    output.parent.mkdir(parents=True, exist_ok=True)
    writer.write(str(output))
    return lost


def main() -> None:
    """Print the book."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--no-solutions", dest="solutions", action="store_false")
    parser.add_argument("--no-hints", dest="hints", action="store_false")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("pages", nargs="*", help="such as attention/positions; default: all")
    given = parser.parse_args()
    started = time.perf_counter()
    try:
        lost = make(given.output, SITE, given.solutions, given.hints, given.pages)
    except FileNotFoundError as error:
        sys.exit(f"pdf: {error}")
    for address in lost:
        print(f"  not in the document: {address}")
    size = given.output.stat().st_size / 1e6
    print(f"{given.output}: {size:.1f} MB, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
