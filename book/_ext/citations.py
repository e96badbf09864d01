"""Links back from the bibliography: each entry names the pages that cite it and leads there.

Sphinxcontrib-bibtex knows where each work is cited, but links back within one page only.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

import toc

Places = dict[str, list[str]]  # the anchors of citations by page, pages in the order of the book


def places(env: BuildEnvironment, key: str) -> Places:
    """Return where a work is cited."""
    domain: Any = env.get_domain("cite")
    cited: Places = {}
    for reference in domain.citation_refs:
        if key in {target.key for target in reference.targets}:
            cited.setdefault(reference.docname, []).append(reference.citation_ref_id)
    return {name: cited[name] for name in toc.in_order(env) if name in cited}


def all_places(env: BuildEnvironment) -> dict[str, Any]:
    """Return all that the links back show, to see whether it has changed."""
    domain: Any = env.get_domain("cite")
    keys = {target.key for reference in domain.citation_refs for target in reference.targets}
    pages = {reference.docname for reference in domain.citation_refs}
    titles = {name: env.titles[name].astext() for name in pages}
    return {"places": {key: list(places(env, key).items()) for key in sorted(keys)}, **titles}


def rewrite_bibliographies(app: Sphinx, env: BuildEnvironment) -> set[str]:
    """Return the pages with a bibliography if a citation has come, gone or moved."""
    before = getattr(env, "cited_places", None)
    env.cited_places = all_places(env)
    if env.cited_places == before:
        return set()
    return {key.docname for key in env.get_domain("cite").bibliographies}


class LinkBack(SphinxPostTransform):
    """Add a line to each entry: the pages, and a number for each further place on the same page."""

    default_priority = 6  # just after sphinxcontrib-bibtex has made the entries

    def run(self, **kwargs: Any) -> None:
        domain: Any = self.env.get_domain("cite")
        here = self.env.docname
        keys = {
            citation.citation_id: citation.key
            for citation in domain.citations
            if citation.bibliography_key.docname == here
        }
        for node in list(self.document.findall(nodes.citation)):
            key = next((keys[i] for i in node["ids"] if i in keys), None)
            if key is None:
                continue
            if line := self.line(key, here):
                node += line

    def line(self, key: str, here: str) -> nodes.paragraph | None:
        cited = places(self.env, key)
        if not cited:
            return None
        line = nodes.paragraph("", "Cited in ", classes=["cited-in"])
        for position, (docname, anchors) in enumerate(cited.items()):
            if position:
                line += nodes.Text(", ")
            title = self.env.titles[docname].astext()
            for number, anchor in enumerate(anchors, start=1):
                name = "page-title" if number == 1 else "number"
                text = nodes.inline("", title if number == 1 else str(number), classes=[name])
                hover = f"{title}, citation {number} of {len(anchors)}"
                if number > 1:
                    line += nodes.Text(" ")
                line += make_refnode(self.app.builder, here, docname, anchor, text, hover)
        return line


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinxcontrib.bibtex")
    app.add_post_transform(LinkBack)
    app.connect("env-updated", rewrite_bibliographies)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
