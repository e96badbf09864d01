"""Errata of the sources: an ``erratum`` on the page that shows it, all of them in ``errata-list``.

The argument of ``erratum`` is the source number of an exercise of the same page. The first erratum
of a number is "Erratum 13.4", the next "Erratum 13.4 (2)": adding one never renumbers another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

import exercises

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """An erratum as the list shows it."""

    label: str  # of the exercise
    number: int  # 1 for the first of its exercise
    title: str
    anchor: str
    body: nodes.container


class erratum(nodes.admonition):  # noqa: N801 (docutils' way to name nodes)
    """An erratum on its page; looks like any admonition."""


class errata_list(nodes.General, nodes.Element):  # noqa: N801
    """Stands where all errata go, once all pages are read."""


class Erratum(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        source = self.arguments[0]
        here = {
            e.source: e.label for e in self.env.catalogue.values() if e.page == self.env.docname
        }
        if source not in here:
            known = ", ".join(here) or "none"
            raise self.error(
                f"erratum {source!r}: expected the source number of an exercise of this page "
                f"({known})"
            )
        counts = self.env.temp_data.setdefault("errata", {})
        number = counts[source] = counts.get(source, 0) + 1
        suffix = f"-{number}" if number > 1 else ""
        node = erratum(
            ids=[f"erratum-{source.replace('.', '-')}{suffix}"],
            classes=["attention", "erratum"],
            label=here[source],
            number=number,
        )
        node += nodes.title("", f"Erratum {source}" + (f" ({number})" if number > 1 else ""))
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


class ErrataList(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return [errata_list()]


def _records(env: BuildEnvironment) -> dict[str, list[Record]]:
    if not hasattr(env, "errata"):
        env.errata = {}
    return env.errata


def _lists(env: BuildEnvironment) -> set[str]:
    if not hasattr(env, "errata_lists"):
        env.errata_lists = set()
    return env.errata_lists


def record_page(app: Sphinx, doctree: nodes.document) -> None:
    docname = app.env.docname
    _records(app.env)[docname] = [
        Record(
            node["label"],
            node["number"],
            node[0].astext(),
            node["ids"][0],
            exercises.detach(nodes.container("", *(n.deepcopy() for n in node.children[1:]))),
        )
        for node in doctree.findall(erratum)
    ]
    if next(doctree.findall(errata_list), None):
        _lists(app.env).add(docname)


def purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _records(env).pop(docname, None)
    _lists(env).discard(docname)


def merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    _records(env).update({name: _records(other)[name] for name in docnames})
    _lists(env).update(_lists(other) & docnames)


def rewrite_list_when_errata_change(app: Sphinx, env: BuildEnvironment) -> set[str]:
    """Return the pages that list errata if one changed, or a title that it may link to."""
    before = getattr(env, "errata_shown", None)
    env.errata_shown = (
        {
            name: [(e.label, e.title, e.anchor, e.body.pformat()) for e in page]
            for name, page in _records(env).items()
            if page
        },
        exercises.link_texts(env),
    )
    return set() if env.errata_shown == before else _lists(env)


class FillErrataList(SphinxPostTransform):
    default_priority = 3  # before references are resolved, as the errata hold some

    def run(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(errata_list)):
            node.replace_self(self.definitions())

    def definitions(self) -> nodes.Node:
        entries = [(docname, e) for docname, page in _records(self.env).items() for e in page]
        if not entries:
            return nodes.paragraph("", "None so far.")
        catalogue = self.env.catalogue
        entries.sort(key=lambda entry: (catalogue[entry[1].label].source_key, entry[1].number))
        listing = nodes.definition_list(classes=["errata"])
        here = self.env.docname
        for docname, entry in entries:
            text = nodes.inline("", entry.title)
            term = nodes.term(
                "",
                "",
                make_refnode(self.app.builder, here, docname, entry.anchor, text),
                nodes.Text(" · "),
                exercises.link(entry.label, here),
            )
            body = entry.body.deepcopy()
            for reference in body.findall(addnodes.pending_xref):
                reference["refdoc"] = here  # links are relative to the page they stand on
            listing += nodes.definition_list_item("", term, nodes.definition("", *body.children))
        return listing


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(
        erratum,
        html=(
            lambda self, node: self.visit_admonition(node),
            lambda self, node: self.depart_admonition(node),
        ),
    )
    app.add_node(errata_list)
    app.add_directive("erratum", Erratum)
    app.add_directive("errata-list", ErrataList)
    app.add_post_transform(FillErrataList)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("doctree-read", record_page)
    app.connect("env-updated", rewrite_list_when_errata_change)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
