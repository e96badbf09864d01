"""Old addresses of exercises: a link to an exercise stays valid when the exercise moves.

Its entry in the catalogue names the pages on which it stood before (``was``). At the end of each of
these, an element with the old ids says where the exercise is now; site/scripts/moved.js goes there
at once. A page that the book no longer has is written for that alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

import catalogue
from exercises import link, link_texts, recorded_titles

logger = logging.getLogger(__name__)

CLASS = "moved-exercise"  # moved.js looks for it
GONE = "This page has moved"


def moved_from(env: BuildEnvironment) -> dict[str, list[catalogue.Exercise]]:
    """Return the exercises that stood on a page before, by page."""
    pages: dict[str, list[catalogue.Exercise]] = {}
    for exercise in env.catalogue.values():
        for page in exercise.was:
            pages.setdefault(page, []).append(exercise)
    return pages


def notice(exercise: catalogue.Exercise, title: nodes.Node, page: nodes.Node) -> nodes.paragraph:
    """Return what stands at an old address; ``title`` and ``page`` are links."""
    ids = [exercise.label, f"{exercise.label}-solution"]
    return nodes.paragraph(
        "",
        "",
        nodes.Text(f"Exercise {exercise.source}, "),
        title,
        nodes.Text(", is now on the page "),
        page,
        nodes.Text("."),
        ids=ids,
        classes=[CLASS],
    )


class AddNotices(SphinxPostTransform):
    """Say at the end of a page what has moved away: only as it is written, so no index has it."""

    default_priority = 3  # before links are resolved

    def run(self, **kwargs: Any) -> None:
        docname = self.env.docname
        exercises = moved_from(self.env).get(docname)
        if not exercises:
            return
        taken = {i for node in self.document.findall(nodes.Element) for i in node["ids"]}
        place = next(self.document.findall(nodes.section), self.document)
        for exercise in exercises:
            page = addnodes.pending_xref(
                "",
                nodes.inline("", exercise.page),
                refdomain="std",
                reftype="doc",
                reftarget=f"/{exercise.page}",
                refexplicit=False,
                refdoc=docname,
                refwarn=True,
            )
            told = notice(exercise, link(exercise.label, docname), page)
            for name in taken.intersection(told["ids"]):
                logger.warning(
                    "exercises.yml says that %r stood here before, but the page has %r still",
                    exercise.label,
                    name,
                    location=docname,
                    type="workbook",
                    subtype="moved",
                )
            place += told


def rewrite_when_others_change(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Return the pages with a notice that says something else than in the last build."""
    texts = link_texts(env)
    before: dict[str, list[str | None]] = getattr(env, "moved_texts", {})
    now = env.moved_texts = {
        page: [texts.get(key) for e in exercises for key in (e.label, f"/{e.page}")]
        for page, exercises in moved_from(env).items()
    }
    return [page for page in now if page in env.found_docs and before.get(page) != now[page]]


def pages_that_are_gone(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each that the book no longer has."""
    builder, titles = app.builder, recorded_titles(app.env)
    for page, exercises in moved_from(app.env).items():
        if page in app.env.found_docs:
            continue
        body = ""
        for exercise in exercises:
            if exercise.label not in titles:
                continue  # warned of by exercises.py
            docname, title = titles[exercise.label]
            heading = nodes.inline("", "", *(c.deepcopy() for c in app.env.titles[docname]))
            told = notice(
                exercise,
                make_refnode(builder, page, docname, exercise.label, title.deepcopy()),
                make_refnode(builder, page, docname, None, heading),
            )
            body += builder.render_partial(told)["fragment"]
        body = f'<section id="moved">\n<h1>{GONE}</h1>\n{body}</section>\n'
        yield page, {"title": GONE, "body": body}, "page.html"


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_post_transform(AddNotices)
    app.connect("env-updated", rewrite_when_others_change)
    app.connect("html-collect-pages", pages_that_are_gone)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
