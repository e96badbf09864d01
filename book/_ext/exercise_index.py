"""The page of all exercises: one table to search and filter, and the reader's progress by part.

``exercise-index`` is the table with the form above it, ``exercise-progress`` the picture of what is
done. Without JavaScript the table reads as it stands, and the form, which would do nothing, is
hidden. Everything comes from the catalogue; titles of exercises and pages are links that Sphinx
fills in, so nothing is typed twice. The scripts of the site read the ``data-`` attributes, and
``_static/exercises.js``, which tells them the exercises of every page.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import catalogue
import toc
from elements import element, html_element
from exercises import catalogue_path, link, stars

Exercise = catalogue.Exercise

MINUTES = (20, 30, 45, 60, 90)  # what the form offers as "at most"
SCRIPT = "_static/exercises.js"


class Part(NamedTuple):
    """A part of the book that has exercises, in the order of its pages."""

    name: str
    exercises: list[Exercise]

    @property
    def slug(self) -> str:
        return nodes.make_id(self.name)


def parts(app: Sphinx, exercises: dict[str, Exercise]) -> list[Part]:
    """Return the parts of _toc.yml that have exercises.

    Raises
    ------
    ValueError
        Names two parts that an address could not tell apart.
    """
    found: dict[str, Part] = {}
    for caption, pages in toc.parts(app.config.external_site_map):
        here = [e for page in pages for e in exercises.values() if e.page == page]
        if not here:
            continue
        part = Part(caption or "Exercises", here)
        if other := found.get(part.slug):
            raise ValueError(
                f"_toc.yml has the parts {other.name!r} and {part.name!r}, which are both "
                f"{part.slug!r} in addresses; expected captions that differ in letters or digits"
            )
        found[part.slug] = part
    return list(found.values())


def _page_link(page: str, docname: str) -> addnodes.pending_xref:
    return addnodes.pending_xref(
        "",
        nodes.inline("", page),
        refdomain="std",
        reftype="doc",
        reftarget=f"/{page}",
        refexplicit=False,
        refdoc=docname,
        refwarn=True,
    )


# -- The table ------------------------------------------------------------------------------------

# Each column: its heading, its class, and the order that its heading sorts by. The last two are
# filled by the script, and hidden without it.
COLUMNS = [
    ("Exercise", "title", "title"),
    ("Source", "source", "source"),
    ("Kind", "kind", "kind"),
    ("Difficulty", "stars", "stars"),
    ("Minutes", "minutes", "minutes"),
    ("Page", "page", None),
    ("Done", "marks", "done"),
    ("Later", "marks", "later"),
]


def row(exercise: Exercise, part: Part, docname: str) -> html_element:
    return element(
        "tr",
        element("th", link(exercise.label, docname), scope="row"),
        element("td", exercise.source, class_="source"),
        element("td", exercise.kind.capitalize(), class_="kind"),
        element("td", stars(exercise), class_="stars"),
        element("td", str(exercise.minutes), class_="minutes"),
        element(
            "td",
            _page_link(exercise.page, docname),
            element("span", part.name, class_="part"),
            class_="page",
        ),
        element("td", class_="marks", data_mark="done"),
        element("td", class_="marks", data_mark="later"),
        data_label=exercise.label,
        data_part=part.slug,
        data_kind=exercise.kind,
        data_stars=exercise.stars,
        data_minutes=exercise.minutes,
        data_source=exercise.source,
        data_page=exercise.page,
    )


def table(book: list[Part], docname: str) -> html_element:
    head = [
        element(
            "th",
            name,
            scope="col",
            class_=class_,
            **({"data_sort": order} if order else {}),
        )
        for name, class_, order in COLUMNS
    ]
    rows = [row(exercise, part, docname) for part in book for exercise in part.exercises]
    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", *head)),
            element("tbody", *rows),
            class_="exercise-index table",
            aria_label="All exercises",
        ),
        class_="pst-scrollable-table-container",
    )


# -- The form -------------------------------------------------------------------------------------


def _choice(name: str, title: str, options: dict[str, str]) -> html_element:
    return element(
        "label",
        element("span", title),
        element("select", *(element("option", o, value=v) for v, o in options.items()), name=name),
    )


def _boxes(name: str, title: str, values: dict[str, str | nodes.Node]) -> html_element:
    return element(
        "fieldset",
        element("legend", title),
        *(
            element(
                "label",
                element("input", type="checkbox", name=name, value=value),
                element("span", text),
            )
            for value, text in values.items()
        ),
    )


def form(book: list[Part]) -> html_element:
    """Return what filters and sorts the table; its names and values are those in the address."""
    some = {exercise.stars: exercise for part in book for exercise in part.exercises}
    kinds = {exercise.kind for part in book for exercise in part.exercises}
    return element(
        "form",
        element(
            "label",
            element("span", "Search"),
            element("input", type="search", name="q", placeholder="a word of the title, a page …"),
            class_="search",
        ),
        element(
            "label",
            element("span", "Source number"),
            element("input", type="text", name="source", placeholder="13.19, or 13", size=8),
        ),
        _choice("part", "Part", {"": "All parts"} | {part.slug: part.name for part in book}),
        _choice("minutes", "Time", {"": "Any"} | {str(m): f"At most {m} minutes" for m in MINUTES}),
        _choice(
            "progress",
            "Progress",
            {"": "Any", "open": "Not done", "done": "Done", "later": "To come back to"},
        ),
        _choice(
            "sort",
            "Order",
            {
                "": "As in the book",
                "title": "Title, A to Z",
                "-title": "Title, Z to A",
                "source": "Source number, low to high",
                "-source": "Source number, high to low",
                "kind": "Kind",
                "stars": "Easiest first",
                "-stars": "Hardest first",
                "minutes": "Shortest first",
                "-minutes": "Longest first",
                "done": "Done first",
                "-done": "Not done first",
                "later": "To come back to first",
            },
        ),
        _boxes("kind", "Kind", {k: k.capitalize() for k in catalogue.KINDS if k in kinds}),
        _boxes("stars", "Difficulty", {str(n): stars(some[n]) for n in sorted(some)}),
        element("button", "Clear all", type="reset", class_="plain-button"),
        element("p", role="status", class_="found"),
        class_="exercise-filter",
        role="search",
        aria_label="Exercises",
        autocomplete="off",
    )


# -- Progress -------------------------------------------------------------------------------------


def progress(book: list[Part]) -> html_element:
    """Return the picture of progress by part, and what keeps and erases it."""
    bars = [
        element(
            "li",
            element("a", part.name, href=f"?part={part.slug}#find-an-exercise"),
            element("span", f"{len(part.exercises)} exercises", class_="count"),
            element("span", class_="bar", aria_hidden="true"),
            data_part=part.slug,
        )
        for part in book
    ]
    tools = element(
        "div",
        element("button", "Save to a file", type="button", class_="plain-button", data_do="export"),
        element(
            "button", "Load from a file …", type="button", class_="plain-button", data_do="import"
        ),
        element("button", "Erase …", type="button", class_="plain-button", data_do="reset"),
        class_="progress-tools",
    )
    question = element(
        "dialog",
        element("p", "Erase all marks that this browser keeps?", id="erase-question"),
        element("p", "This cannot be undone. Save them to a file first if in doubt."),
        element(
            "form",
            element(
                "button",
                "Keep them",
                type="submit",
                value="",
                class_="plain-button",
                autofocus=None,
            ),
            element("button", "Erase", type="submit", value="erase", class_="plain-button"),
            method="dialog",
        ),
        class_="plain-dialog",
        aria_labelledby="erase-question",
    )
    return element(
        "div",
        element("p", class_="total"),
        element("ul", *bars, class_="parts"),
        element(
            "p",
            element("span", element("b", data_state="done"), " done"),
            element("span", element("b", data_state="later"), " to come back to"),
            element("span", element("b", data_state="open"), " open"),
            class_="legend",
            aria_hidden="true",
        ),
        tools,
        element("p", role="status", class_="message"),
        question,
        class_="progress-panel",
    )


class _FromCatalogue(SphinxDirective):
    option_spec: dict[str, Any] = {}  # noqa: RUF012 (docutils' way)

    def book(self) -> list[Part]:
        """Return the parts, and have the page read again when they change."""
        self.env.note_dependency(str(catalogue_path(self.env)))
        self.env.note_dependency(str(Path(self.env.srcdir, self.config.external_toc_path)))
        try:
            return parts(self.env.app, self.env.catalogue)
        except ValueError as error:
            raise self.error(str(error)) from error


class ExerciseIndex(_FromCatalogue):
    """All exercises in one table, with a form to search and filter them."""

    def run(self) -> list[nodes.Node]:
        book = self.book()
        return [form(book), table(book, self.env.docname)]


class ExerciseProgress(_FromCatalogue):
    """The reader's progress by part."""

    def run(self) -> list[nodes.Node]:
        return [progress(self.book())]


def write_script(app: Sphinx, exception: Exception | None) -> None:
    """Tell the scripts which exercises each page has."""
    if exception is not None or app.builder.format != "html":
        return
    pages = {
        page: [exercise.label for exercise in exercises]
        for page, exercises in catalogue.by_page(app.env.catalogue)
        if page in app.env.found_docs
    }
    text = f"window.llmbookExercises = {json.dumps(pages, separators=(',', ':'))};\n"
    path = Path(app.outdir, SCRIPT)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("elements")
    app.add_directive("exercise-index", ExerciseIndex)
    app.add_directive("exercise-progress", ExerciseProgress)
    app.connect("build-finished", write_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
