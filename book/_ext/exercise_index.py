"""The index pages: the exercises by part, by source number, by kind and difficulty.

``exercise-index`` takes one of these as its argument. Tables are built from the catalogue; titles
of exercises and pages are links that Sphinx fills in, so nothing is typed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import catalogue
from exercises import catalogue_path, link, stars

Exercise = catalogue.Exercise


class header_cell(nodes.entry):  # noqa: N801 (docutils' way to name nodes)
    """A table's ``th`` that says whether it heads its row or its column."""


def visit_header_cell(self: Any, node: header_cell) -> None:
    node.parent.column += 1  # the row's counter, which docutils keeps for its own cells
    self.body.append(self.starttag(node, "th", "", scope=node["scope"]))


def depart_header_cell(self: Any, node: header_cell) -> None:
    self.body.append("</th>\n")


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


# Each column: its width in percent and what it shows of an exercise; a column that would say the
# same in every row of a table is left out of it.
COLUMNS: dict[str, tuple[int, Callable[[Exercise, str], nodes.Node]]] = {
    "Exercise": (40, lambda exercise, docname: link(exercise.label, docname)),
    "Source": (8, lambda exercise, docname: nodes.Text(exercise.source)),
    "Kind": (14, lambda exercise, docname: nodes.Text(exercise.kind.capitalize())),
    "Difficulty": (10, lambda exercise, docname: stars(exercise)),
    "Minutes": (8, lambda exercise, docname: nodes.Text(str(exercise.minutes))),
    "Page": (20, lambda exercise, docname: _page_link(exercise.page, docname)),
}


class Group(NamedTuple):
    title: str
    exercises: list[Exercise]


def table(exercises: list[Exercise], columns: list[str], docname: str) -> nodes.table:
    def cell(content: nodes.Node, scope: str = "") -> nodes.entry:
        line = nodes.paragraph("", "", content)
        return header_cell("", line, scope=scope) if scope else nodes.entry("", line)

    head = nodes.row("", *(cell(nodes.Text(name), "col") for name in columns))
    body = [
        nodes.row(
            "",
            *(
                cell(COLUMNS[name][1](exercise, docname), "row" if name == "Exercise" else "")
                for name in columns
            ),
        )
        for exercise in exercises
    ]
    group = nodes.tgroup("", cols=len(columns))
    group += [nodes.colspec(colwidth=COLUMNS[name][0]) for name in columns]
    group += nodes.thead("", head)
    group += nodes.tbody("", *body)
    return nodes.table("", group, classes=["exercise-index"])


def _parts(app: Sphinx) -> Iterator[tuple[str, list[str]]]:
    """Yield the caption of each part of _toc.yml and the pages in it, in order."""
    site_map = app.config.external_site_map

    def pages(tree: Any) -> Iterator[str]:
        for item in tree.items:
            yield str(item)
            if item in site_map:
                for subtree in site_map[item].subtrees:
                    yield from pages(subtree)

    for tree in site_map.root.subtrees:
        yield tree.caption or "", list(pages(tree))


def by_part(app: Sphinx, exercises: list[Exercise]) -> Iterator[Group]:
    for caption, pages in _parts(app):
        yield Group(caption, [e for page in pages for e in exercises if e.page == page])


def by_source(app: Sphinx, exercises: list[Exercise]) -> Iterator[Group]:
    ordered = sorted(exercises, key=lambda exercise: exercise.source_key)
    for chapter in dict.fromkeys(exercise.source_key[0] for exercise in ordered):
        yield Group(f"Chapter {chapter}", [e for e in ordered if e.source_key[0] == chapter])


def by_kind(app: Sphinx, exercises: list[Exercise]) -> Iterator[Group]:
    ordered = sorted(exercises, key=lambda exercise: (exercise.stars, exercise.source_key))
    for kind in catalogue.KINDS:
        yield Group(kind.capitalize(), [e for e in ordered if e.kind == kind])


# Each order: how it groups the exercises, and the columns that its tables show.
ORDERS: dict[str, tuple[Callable[[Sphinx, list[Exercise]], Iterator[Group]], list[str]]] = {
    "by-part": (by_part, ["Exercise", "Source", "Kind", "Difficulty", "Minutes", "Page"]),
    "by-source": (by_source, ["Source", "Exercise", "Kind", "Difficulty", "Minutes", "Page"]),
    "by-kind": (by_kind, ["Exercise", "Difficulty", "Source", "Minutes", "Page"]),
}


class ExerciseIndex(SphinxDirective):
    """A section with a table for each group of exercises."""

    required_arguments = 1
    option_spec = {}  # noqa: RUF012 (docutils' way)

    def run(self) -> list[nodes.Node]:
        order = directives.choice(self.arguments[0], tuple(ORDERS))
        group_by, columns = ORDERS[order]
        self.env.note_dependency(str(catalogue_path(self.env)))
        toc = Path(self.config.external_toc_path)
        self.env.note_dependency(str(toc if toc.is_absolute() else Path(self.env.srcdir) / toc))
        sections: list[nodes.Node] = []
        for title, exercises in group_by(self.env.app, list(self.env.catalogue.values())):
            if exercises:
                section = nodes.section(ids=[nodes.make_id(title)])
                section += nodes.title(title, title)
                section += table(exercises, columns, self.env.docname)
                sections.append(section)
        return sections


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(header_cell, html=(visit_header_cell, depart_header_cell))
    app.add_directive("exercise-index", ExerciseIndex)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
