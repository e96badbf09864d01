"""Exercises on the page: header and badges from the catalogue, solutions to open, titles as links.

Sphinx-exercise supplies the directives; this extension decides how they look, keeps pages fresh
when the catalogue or a title changes, and warns (the build fails on warnings) about an exercise
that is not complete. The index pages, the errata, the quizzes and the addresses of exercises that
moved are extensions of their own, loaded from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import docname_join, logging
from sphinx.util.nodes import make_refnode
from sphinx_design.shared import create_component, is_component
from sphinx_exercise.directive import ExerciseDirective, ExerciseStartDirective
from sphinx_exercise.nodes import exercise_node, is_exercise_node, solution_node

import catalogue
import toc

logger = logging.getLogger(__name__)

MAX_HINTS = 3
# Statement, hints, then cells to fill in and their checks by turns, solution.
STEPS_IN_ORDER = re.compile(r"EH+(Y+C+)+S")


@dataclass(frozen=True)
class PageRecord:
    """What other pages need to know of a page."""

    titles: dict[str, nodes.inline]  # the link text of each exercise and solution, by label
    references: frozenset[str]  # labels and (with a slash before) pages that it links to


# -- Reading the catalogue ------------------------------------------------------------------------


def catalogue_path(env: BuildEnvironment) -> Path:
    return Path(env.srcdir) / "exercises.yml"


def reread_when_entries_change(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> set[str]:
    """Load the catalogue; return the pages whose badges have changed."""
    before: dict[str, catalogue.Exercise] = getattr(env, "catalogue", {})
    try:
        now = catalogue.load(catalogue_path(env))
    except (OSError, ValueError) as error:
        raise ExtensionError(str(error)) from error
    env.catalogue = now
    edited = {label for label in before | now if before.get(label) != now.get(label)}
    return {
        page
        for entries in (before, now)
        for label in edited & entries.keys()
        for page in (entries[label].page, *entries[label].was)
    }


# -- Dressing -------------------------------------------------------------------------------------


class _ByLabel:
    """The catalogue numbers the exercise, and its section carries its anchor."""

    def run(self) -> list[nodes.Node]:
        self.options["nonumber"] = None
        return super().run()  # type: ignore[misc]  # of the directive that this is mixed into

    def duplicate_labels(self, label: str) -> bool:
        """Stop here: sphinx-exercise would go on without the exercise and stumble over its end."""
        if other := self.env.sphinx_exercise_registry.get(label):
            raise ExtensionError(
                f"{self.get_location()}: exercise {label!r} stands on {other['docname']} already, "
                "expected a label of its own"
            )
        return False

    def add_name(self, node: nodes.Element) -> None:
        """Name the node, but do not claim the label as an id: the title's own id may equal it."""
        label = self.options.pop("name")
        node["ids"] = []
        node["names"].append(label)
        self.state.document.nameids[label] = label


class Exercise(_ByLabel, ExerciseDirective):
    pass


class ExerciseStart(_ByLabel, ExerciseStartDirective):
    pass


class difficulty(nodes.inline):  # noqa: N801 (docutils' way to name nodes)
    """Stars that are read aloud as "difficulty 2 of 4"."""


def visit_difficulty(self: Any, node: difficulty) -> None:
    spoken = f"difficulty {node['stars']} of {catalogue.MAX_STARS}"
    attributes = {"role": "img", "aria-label": spoken, "title": spoken}
    self.body.append(self.starttag(node, "span", "", **attributes))


def depart_difficulty(self: Any, node: difficulty) -> None:
    self.body.append("</span>")


class progress_place(nodes.Inline, nodes.Element):  # noqa: N801
    """Room for the boxes with which a reader marks an exercise; a script puts them there."""


def visit_progress_place(self: Any, node: progress_place) -> None:
    self.body.append(f'<span class="exercise-progress" data-label="{node["label"]}"></span>')
    raise nodes.SkipNode


def visit_exercise(self: Any, node: nodes.Element) -> None:
    self.body.append(
        self.starttag(node, "div", CLASS="admonition", **{"data-label": node["label"]})
    )


def depart_exercise(self: Any, node: nodes.Element) -> None:
    self.body.append("</div>\n")


def stars(exercise: catalogue.Exercise) -> difficulty:
    text = "★" * exercise.stars + "☆" * (catalogue.MAX_STARS - exercise.stars)
    return difficulty("", text, stars=exercise.stars, classes=["difficulty"])


def link(label: str, docname: str) -> addnodes.pending_xref:
    """Link to an exercise; its text becomes the exercise's title."""
    return addnodes.pending_xref(
        "",
        nodes.inline("", label),
        refdomain="std",
        reftype="ref",
        reftarget=label,
        refexplicit=False,
        refdoc=docname,
        refwarn=True,
    )


def badges(exercise: catalogue.Exercise, docname: str) -> nodes.paragraph:
    line = nodes.paragraph(classes=["exercise-badges"])
    line += nodes.inline("", exercise.kind.capitalize(), classes=["kind"])
    line += nodes.Text(" · ")
    line += stars(exercise)
    line += nodes.Text(" · ")
    line += nodes.inline("", f"{exercise.minutes} minutes", classes=["minutes"])
    for position, label in enumerate(exercise.needs):
        line += nodes.Text(", " if position else " · do first: ")
        line += link(label, docname)
    line += nodes.Text(" ")
    line += progress_place(label=exercise.label)
    return line


class DressExercises(SphinxTransform):
    """Give each exercise its header, badges and anchor, and make each solution a dropdown."""

    default_priority = 12  # just after sphinx-exercise has gathered what its gates enclose

    def apply(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(is_exercise_node)):
            exercise = self.env.catalogue.get(node["label"])
            if exercise is None:
                _warn(self.env, f"exercise {node['label']!r} has no entry in exercises.yml")
                continue
            statement = node[-1].children
            node.clear()
            node += nodes.title("", f"Exercise {exercise.source}")
            node += badges(exercise, self.env.docname)
            node += statement
            if _in_own_section(node):
                # A link to the exercise should show its title, so the anchor is the section's; its
                # own id, which would change with every edit of the title, comes second.
                label, section = node["label"], node.parent
                if self.document.ids.setdefault(label, section) is not section:
                    _warn(self.env, f"another part of the page has the id {label!r}")
                section["ids"] = [label, *(i for i in section["ids"] if i != label)]
        for node in list(self.document.findall(solution_node)):
            node.replace_self(self.dropdown(node))

    def dropdown(self, node: solution_node) -> nodes.container:
        exercise = self.env.catalogue.get(node["target_label"])
        title = nodes.rubric("", f"Solution to Exercise {exercise.source if exercise else '?'}")
        title["ids"] = node["ids"]
        component = create_component(
            "dropdown",
            opened=False,
            type="dropdown",
            has_title=True,
            icon=None,
            chevron=None,
            container_classes=["sd-mb-3", "solution"],
            title_classes=[],
            body_classes=[],
            children=[title, *node[-1].children],
        )
        component["target_label"] = node["target_label"]
        component["label"] = node["label"]
        return component


# -- Checking -------------------------------------------------------------------------------------


def _warn(env: BuildEnvironment, message: str, docname: str | None = None) -> None:
    logger.warning(message, location=docname or env.docname, type="workbook", subtype="exercise")


def _in_own_section(node: nodes.Element) -> bool:
    section = node.parent
    return (
        isinstance(section, nodes.section)
        and isinstance(section.parent, nodes.section)
        and isinstance(section.parent.parent, nodes.document)
        and sum(is_exercise_node(child) for child in section.children) == 1
    )


def is_solution(node: nodes.Node, label: str | None = None) -> bool:
    """Say whether a node is the dropdown of a solution, of a certain exercise if one is given."""
    is_one = is_component(node, "dropdown") and "target_label" in node
    return is_one and label in (None, node["target_label"])


def is_hint(node: nodes.Node) -> bool:
    return (
        is_component(node, "dropdown")
        and not is_solution(node)
        and bool(node.children)
        and node[0].astext().startswith("Hint")
    )


def _is_cell(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def _calls_check(cell: nodes.Element, label: str) -> bool:
    call = rf"\bcheck\.{catalogue.check_name(label)}\("
    return any(re.search(call, block.astext()) for block in cell.findall(nodes.literal_block))


def _step(node: nodes.Node, label: str) -> str:
    """Return the letter of a step of an exercise, empty for what stands between the steps."""
    if is_exercise_node(node):
        return "E"
    if is_solution(node, label):
        return "S"
    if is_hint(node):
        return "H"
    if _is_cell(node):
        if "your-turn" in node["cell_metadata"].get("tags", []):
            return "Y"
        return "C" if _calls_check(node, label) else ""
    return ""


def problems(node: nodes.Element) -> Iterator[str]:
    """Yield what is wrong with an exercise of a page, given its node in the doctree."""
    label = node["label"]
    if not _in_own_section(node):
        yield "expected directly below a second-level heading of its own, which is its title"
        return
    section = node.parent
    steps = "".join(_step(child, label) for child in section.children)
    call = f"check.{catalogue.check_name(label)}(...)"
    complete = True
    for present, problem in [
        (steps.count("S") == 1, f"has {steps.count('S')} solutions, expected one"),
        ("Y" in steps, "has no code cell tagged your-turn"),
        (
            1 <= steps.count("H") <= MAX_HINTS,
            f"has {steps.count('H')} dropdowns titled Hint, expected 1 to {MAX_HINTS}",
        ),
        ("C" in steps.partition("S")[0], f"has no cell before the solution that calls {call}"),
        (
            any(
                _calls_check(cell, label)
                for child in section.children
                if is_solution(child)
                for cell in child.findall(_is_cell)
            ),
            f"has no cell inside the solution that calls {call}",
        ),
    ]:
        if not present:
            complete = False
            yield problem
    if complete and not STEPS_IN_ORDER.fullmatch(steps):
        yield "is out of order, expected statement, hints, your-turn cell, check, solution"


def check_and_record_page(app: Sphinx, doctree: nodes.document) -> None:
    env, docname = app.env, app.env.docname
    titles = {}
    for node in doctree.findall(is_exercise_node):
        label = node["label"]
        exercise = env.catalogue.get(label)
        if exercise is None:
            continue  # warned of above
        if exercise.page != docname:
            _warn(env, f"exercise {label!r} stands here, but exercises.yml says {exercise.page}")
        for problem in problems(node):
            _warn(env, f"exercise {label!r} {problem}")
        if _in_own_section(node):
            titles[label] = inline_copy(node.parent.next_node(nodes.title))
    for node in doctree.findall(is_solution):
        beside = {child.get("label") for child in node.parent.children if is_exercise_node(child)}
        if node["target_label"] not in beside:
            _warn(
                env,
                f"solution of {node['target_label']!r} stands in a section without that exercise",
            )
        titles[node["label"]] = inline_copy(node[0])
    references = set()
    for node in doctree.findall(addnodes.pending_xref):
        if node.get("reftype") == "doc":
            references.add("/" + docname_join(docname, node["reftarget"]))
        elif "reftarget" in node:
            references.add(node["reftarget"])
    _records(env)[docname] = PageRecord(titles, frozenset(references))


def inline_copy(title: nodes.Element) -> nodes.inline:
    """Copy a title's text and mathematics, free of ties to the document."""
    copy = nodes.inline("", "", *(child.deepcopy() for child in title.children))
    return detach(copy)


def detach(node: nodes.Element) -> Any:
    """Cut a copied node loose, so that pickling it does not drag its document along."""
    for element in node.findall(nodes.Element):
        element.document = None
        element["ids"], element["names"] = [], []
    return node


def warn_of_missing(app: Sphinx, env: BuildEnvironment) -> None:
    for page, exercises in catalogue.by_page(env.catalogue):
        if page not in env.found_docs:
            _warn(env, f"exercises.yml names the page {page!r}, which is not in _toc.yml", page)
            continue
        for exercise in exercises:
            if exercise.label not in _records(env)[page].titles:
                _warn(env, f"exercise {exercise.label!r} of exercises.yml is not on its page", page)


# -- Linking --------------------------------------------------------------------------------------


def _records(env: BuildEnvironment) -> dict[str, PageRecord]:
    if not hasattr(env, "exercise_pages"):
        env.exercise_pages = {}
    return env.exercise_pages


def forget_pages_to_read(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Free the labels of all pages that will be read: some may have moved to one that is first."""
    registry = getattr(env, "sphinx_exercise_registry", {})
    for label in [label for label, entry in registry.items() if entry["docname"] in docnames]:
        del registry[label]


def purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _records(env).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    _records(env).update({name: _records(other)[name] for name in docnames})


def recorded_titles(env: BuildEnvironment) -> dict[str, tuple[str, nodes.inline]]:
    """Map each exercise and solution, by label, to its page and its link text."""
    return {
        label: (docname, title)
        for docname, record in _records(env).items()
        for label, title in record.titles.items()
    }


def link_texts(env: BuildEnvironment) -> dict[str, str]:
    """Map what a page can link to, by label or /page, to where it is and what the link says."""
    texts = {f"/{docname}": title.pformat() for docname, title in env.titles.items()}
    for label, (docname, title) in recorded_titles(env).items():
        texts[label] = docname + title.pformat()
    return texts


def rewrite_when_titles_change(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Return the pages with links whose text or place has changed since the last build.

    Every page has links to pages beside its text, in the sidebar and at its foot.
    """
    before: dict[str, str] = getattr(env, "link_texts", {})
    now = link_texts(env) | {"/": str(toc.parts(env.config.external_site_map))}
    env.link_texts = now
    changed = {key for key in before | now if before.get(key) != now.get(key)}
    if any(key.startswith("/") for key in changed):
        return list(env.found_docs)
    return [name for name, record in _records(env).items() if record.references & changed]


class ResolveExerciseReferences(SphinxPostTransform):
    """Give a reference to an exercise its title, mathematics and all, as the link's text."""

    default_priority = 4  # before sphinx-exercise (5) and Sphinx (10) see them

    def run(self, **kwargs: Any) -> None:
        titles = recorded_titles(self.env)
        for node in list(self.document.findall(addnodes.pending_xref)):
            label = node.get("reftarget")
            if (
                label not in titles
                or node.get("refexplicit")
                or node.get("reftype") not in ("ref", "numref", "myst")
            ):
                continue
            docname, title = titles[label]
            text = title.deepcopy()
            text["classes"] = ["std", "std-ref"]
            here = self.env.docname
            if next(text.findall(nodes.math), None):
                self.env.get_domain("math").data["has_equations"][here] = True
            node.replace_self(make_refnode(self.app.builder, here, docname, label, text))


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinx_exercise")
    app.add_directive("exercise", Exercise, override=True)
    app.add_directive("exercise-start", ExerciseStart, override=True)
    app.add_node(difficulty, html=(visit_difficulty, depart_difficulty))
    app.add_node(progress_place, html=(visit_progress_place, None))
    app.add_node(exercise_node, override=True, html=(visit_exercise, depart_exercise))
    app.add_transform(DressExercises)
    app.add_post_transform(ResolveExerciseReferences)
    app.connect("env-get-outdated", reread_when_entries_change)
    app.connect("env-before-read-docs", forget_pages_to_read)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("doctree-read", check_and_record_page)
    app.connect("env-updated", warn_of_missing)
    app.connect("env-updated", rewrite_when_titles_change)
    app.setup_extension("exercise_index")
    app.setup_extension("errata")
    app.setup_extension("moved")
    app.setup_extension("quiz")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
