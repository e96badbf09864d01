"""Solutions apart from their page, which is a fraction of its size without them.

What a solution's dropdown holds is written beside the page twice: as a page to read without
scripts, ``<page>/solution-<label>.html``, and as a script that hands the markup to solutions.js,
which puts it into the dropdown. A script, and not HTML, because a page that was opened from a file
may load nothing else. Its name says what is in it, so that browsers may keep it for ever.

In the dropdown stays a link to the page, with the ids of all that one can link to in the solution:
such a link leads to the solution whether or not it is there yet.
"""

from __future__ import annotations

import hashlib
import html
import json
import posixpath
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_design.dropdown import dropdown_main
from sphinx_design.shared import is_component

ANCHOR_END = "-solution"
TAG = re.compile(r'<[a-zA-Z](?:[^<>"]|"[^"]*")*>')
ID = re.compile(r'(?<=\sid=")[^"]*')
ADDRESS = re.compile(r'(?<=\s)(href|src|srcset|poster)="([^"]*)"')
CANDIDATE = re.compile(r"(^\s*|,\s*)([^\s,]+)")  # of a srcset: what stands before it, its address
# A label speaks for its control; nobody links to one.
CONTROLS = ("<input", "<select", "<textarea", "<button")


@dataclass(frozen=True)
class Solution:
    """What is written for one solution."""

    label: str  # of the exercise
    anchor: str
    name: str  # such as "Solution to Exercise 13.19"
    exercise: nodes.Element | None  # the title of the exercise, as it stands on the page
    markup: str  # links as they must be on the page of the exercise

    def file(self, docname: str, suffix: str) -> str:
        """Return where it is written, below the site's root."""
        return f"{docname}/solution-{self.label}{suffix}"

    def script(self) -> str:
        """Return the fragment as a script."""
        label, markup = (json.dumps(text, ensure_ascii=False) for text in (self.label, self.markup))
        return f"llmbook.solution({label}, {markup});\n"

    def script_file(self, docname: str) -> str:
        digest = hashlib.sha256(self.script().encode()).hexdigest()[:10]
        return self.file(docname, f".{digest}.js")


# -- Taking it out of the page --------------------------------------------------------------------


class solution_body(nodes.Element):  # noqa: N801 (docutils' way to name nodes)
    """What a solution's dropdown holds."""


class SetSolutionsApart(SphinxPostTransform):
    """Wrap what solutions hold, once sphinx-design has made its dropdowns."""

    default_priority = 210
    builders = ("html",)

    def run(self, **kwargs: Any) -> None:
        for box in list(self.document.findall(dropdown_main)):
            if "solution" not in box["classes"] or not box["ids"]:
                continue
            summary, body = box.children
            if not is_component(body, "dropdown-body"):
                raise TypeError(f"expected the body of a dropdown, got {body!r}")
            anchor = box["ids"][0]
            apart = solution_body("", *body.children)
            apart["anchor"] = anchor
            apart["label"] = anchor.removesuffix(ANCHOR_END)
            apart["name"] = next(
                part.astext() for part in summary if "sd-summary-text" in part["classes"]
            )
            body.children = []
            body += apart


def visit_solution_body(self: Any, node: solution_body) -> None:
    node["start"] = len(self.body)


def depart_solution_body(self: Any, node: solution_body) -> None:
    markup = "".join(self.body[node["start"] :])
    del self.body[node["start"] :]
    section = node.parent
    while section is not None and not isinstance(section, nodes.section):
        section = section.parent
    title = section.next_node(nodes.title) if section is not None else None
    solution = Solution(node["label"], node["anchor"], node["name"], title, markup)
    docname = self.builder.current_docname
    _waiting(self.builder).setdefault(docname, []).append(solution)
    self.body.append(stand_in(solution, docname))


def _waiting(builder: Any) -> dict[str, list[Solution]]:
    """Return the solutions of each page that is being written."""
    if not hasattr(builder, "solutions_waiting"):
        builder.solutions_waiting = {}
    return builder.solutions_waiting


def ids(markup: str) -> Iterator[str]:
    """Yield the ids that markup declares, but those of controls."""
    for tag in TAG.findall(markup):
        if not tag.startswith(CONTROLS):
            yield from ID.findall(tag)


def stand_in(solution: Solution, docname: str) -> str:
    """Return what stands in the dropdown until the solution is there."""
    here = posixpath.dirname(docname) or "."
    page, script = (
        html.escape(posixpath.relpath(file, here))
        for file in (solution.file(docname, ".html"), solution.script_file(docname))
    )
    anchors = "".join(f'<span id="{name}"></span>' for name in ids(solution.markup))
    return (
        f'<p class="solution-link sd-card-text">{anchors}<a href="{page}" '
        f'data-solution="{html.escape(solution.label)}" data-script="{script}">'
        f"{html.escape(solution.name)}, on a page of its own</a></p>\n"
    )


# -- Writing it beside the page -------------------------------------------------------------------


def one_folder_down(markup: str, docname: str) -> str:
    """Return markup of a page with its links as they must be in the folder of the page's name."""
    page = posixpath.basename(docname) + ".html"
    own = set(ids(markup))

    def moved(value: str) -> str:
        url = urlsplit(html.unescape(value))
        if url.scheme or url.netloc or url.path.startswith("/"):
            return value
        if url.path:
            return f"../{value}"
        return value if url.fragment in own else f"../{page}{value}"

    def address(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name == "srcset":
            value = CANDIDATE.sub(lambda found: found[1] + moved(found[2]), value)
        else:
            value = moved(value)
        return f'{name}="{value}"'

    return TAG.sub(lambda tag: ADDRESS.sub(address, tag[0]), markup)


def write_solutions(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Write the solutions of a page that is about to be written, and remove those it had before."""
    builder = app.builder
    if builder.name != "html":
        return
    solutions = _waiting(builder).pop(pagename, [])
    if doctree is None and not solutions:
        return
    folder = Path(app.outdir, pagename)
    written = set()
    for solution in solutions:
        script = Path(app.outdir, solution.script_file(pagename))
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(solution.script(), encoding="utf-8")
        page = solution.file(pagename, "")
        exercise = ""
        plain = solution.name
        if solution.exercise is not None:
            title = nodes.inline("", "", *(c.deepcopy() for c in solution.exercise.children))
            exercise = one_folder_down(builder.render_partial(title)["fragment"], pagename)
            plain = f"{solution.name}: {solution.exercise.astext()}"
        builder.handle_page(
            page,
            {
                "title": html.escape(plain),
                "solution": solution,
                "exercise": exercise,
                "exercise_page": f"../{posixpath.basename(pagename)}.html",
                "page_title": context.get("title", ""),
                "body": one_folder_down(solution.markup, pagename),
                "parents": [],
                "meta": {},
                "page_source_suffix": "",
            },
            "solution.html",
        )
        written |= {script, Path(app.outdir, page + ".html")}
    for file in {*folder.glob("solution-*.html"), *folder.glob("solution-*.js")} - written:
        file.unlink()
    with suppress(OSError):  # not there, or not empty
        folder.rmdir()


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(solution_body, html=(visit_solution_body, depart_solution_body))
    app.add_post_transform(SetSolutionsApart)
    # After all others, which may still want to change the page.
    app.connect("html-page-context", write_solutions, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
