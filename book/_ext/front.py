"""The front page: paths through the exercises by goal, and a figure of attention to play with.

``learning-paths`` shows the paths of ``paths.yml`` as cards, each with a link to its place on the
page named by the option ``lists``; without that option it lists each path's exercises in order.
What an exercise needs comes before it, and the minutes are summed, from the catalogue.
``attention-figure`` is drawn here for its first position and moved by ``site/scripts/front.js``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

import catalogue
from elements import element
from exercises import catalogue_path, link, stars

FIELDS = {"goal", "able", "exercises", "pages"}


# -- Paths ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LearningPath:
    """A goal and the exercises that lead there, in an order to do them in."""

    name: str
    goal: str
    able: str
    exercises: tuple[catalogue.Exercise, ...]

    @property
    def minutes(self) -> int:
        return sum(exercise.minutes for exercise in self.exercises)

    @property
    def size(self) -> str:
        """Say how much it is: "6 exercises · 2 h 40 min"."""
        count = len(self.exercises)
        return f"{count} exercise{'s' * (count > 1)} · {duration(self.minutes)}"


def duration(minutes: int) -> str:
    """Write minutes as people say them.

    >>> duration(45), duration(120), duration(160)
    ('45 min', '2 h', '2 h 40 min')
    """
    hours, rest = divmod(minutes, 60)
    return " ".join([f"{hours} h"] * (hours > 0) + [f"{rest} min"] * (rest > 0))


def load(path: Path, exercises: dict[str, catalogue.Exercise]) -> list[LearningPath]:
    """Read the paths that have exercises.

    Raises
    ------
    ValueError
        Names the path and the field, what came and what was expected.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a mapping of names to paths, got {data!r}")
    paths = []
    for name, entry in data.items():
        if not isinstance(entry, dict) or not {"goal", "able"} <= entry.keys() <= FIELDS:
            raise ValueError(f"{path}: {name}: expected goal, able, exercises or pages")
        for field, value in entry.items():
            several = field in ("exercises", "pages")
            texts = value if several else [value]
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                expected = "a list of texts" if several else "a text"
                raise ValueError(f"{path}: {name}: {field} is {value!r}, expected {expected}")
        wanted = list(entry.get("exercises", []))
        for label in wanted:
            if label not in exercises:
                raise ValueError(f"{path}: {name}: no exercise is called {label!r}")
        for pattern in entry.get("pages", []):
            wanted += [e.label for e in exercises.values() if fnmatchcase(e.page, pattern)]
        if wanted:
            ordered = tuple(in_order(wanted, exercises))
            paths.append(LearningPath(name, entry["goal"], entry["able"], ordered))
    return paths


def in_order(
    wanted: list[str], exercises: dict[str, catalogue.Exercise]
) -> Iterator[catalogue.Exercise]:
    """Yield the exercises and all that they need, each once and after what it needs."""
    done: set[str] = set()

    def visit(label: str) -> Iterator[catalogue.Exercise]:
        if label not in done:
            done.add(label)
            for need in exercises[label].needs:
                yield from visit(need)
            yield exercises[label]

    for label in wanted:
        yield from visit(label)


class LearningPaths(SphinxDirective):
    option_spec = {"lists": directives.unchanged_required}  # noqa: RUF012 (docutils' way)

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / "paths.yml"
        self.env.note_dependency(str(path))
        self.env.note_dependency(str(catalogue_path(self.env)))
        try:
            paths = load(path, self.env.catalogue)
        except (OSError, ValueError) as error:
            raise self.error(str(error)) from error
        if "lists" in self.options:
            return [element("ul", *map(self.card, paths), class_="path-cards")]
        return [self.listing(path) for path in paths]

    def card(self, path: LearningPath) -> nodes.Node:
        goal = addnodes.pending_xref(
            "",
            nodes.inline("", path.goal),
            reftype="learning-path",
            reftarget=path.name,
            refdoc=self.env.docname,
            lists=self.options["lists"],
        )
        size = nodes.paragraph("", path.size, classes=["path-size"])
        size += element("span", class_="path-progress")  # where a script says how far one is
        return element(
            "li",
            nodes.paragraph("", "", goal, classes=["path-goal"]),
            nodes.paragraph("", path.able),
            size,
            class_="path-card",
            data_exercises=" ".join(e.label for e in path.exercises),
        )

    def listing(self, path: LearningPath) -> nodes.section:
        section = nodes.section(ids=[path.name], names=[path.name])
        section += nodes.title(path.goal, path.goal)
        section += nodes.paragraph("", path.able)
        section += nodes.paragraph("", path.size, classes=["path-size"])
        steps = nodes.enumerated_list(enumtype="arabic", prefix="", suffix=".", classes=["path"])
        for exercise in path.exercises:
            line = nodes.paragraph("", "", link(exercise.label, self.env.docname))
            line += nodes.Text(f" · {exercise.kind} · ")
            line += stars(exercise)
            line += nodes.Text(f" · {exercise.minutes} minutes")
            steps += nodes.list_item("", line)
        section += steps
        return section


def link_path(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """Lead from a card to its list."""
    if node["reftype"] != "learning-path":
        return None
    address = app.builder.get_relative_uri(node["refdoc"], node["lists"])
    uri = f"{address}#{node['reftarget']}"
    return nodes.reference("", "", text, internal=True, refuri=uri)


# -- The figure -----------------------------------------------------------------------------------

# Keys placed by hand: animals to the right, vehicles to the left, a plant below.
WORDS: dict[str, tuple[float, float]] = {
    "cat": (2.3, 0.7),
    "dog": (1.6, 1.8),
    "car": (-2.2, 0.9),
    "bus": (-1.3, 1.9),
    "tree": (0.3, -2.2),
}
DIRECTION, LENGTH, LONGEST = 30, 1.5, 3.0  # degrees and length of the first query; the longest
HALF, UNIT = 130, 42  # half the side of the drawing, and the unit of length, in its coordinates


def weights(query: tuple[float, float]) -> dict[str, float]:
    """Attention weights of a query over the words, softmax(q · k / √2).

    >>> weights((0.0, 0.0))["cat"]
    0.2
    """
    exponentials = {
        word: math.exp((query[0] * x + query[1] * y) / math.sqrt(2))
        for word, (x, y) in WORDS.items()
    }
    total = sum(exponentials.values())
    return {word: value / total for word, value in exponentials.items()}


def on_screen(x: float, y: float) -> tuple[str, str]:
    return f"{HALF + UNIT * x:.1f}", f"{HALF - UNIT * y:.1f}"


def percent(weight: float) -> str:
    return f"{100 * weight:.0f}%"


class AttentionFigure(SphinxDirective):
    """A query and five keys in the plane, and the weights and the output that they give.

    The content is the caption.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        plane = nodes.raw("", drawing(), format="html")
        caption = element("figcaption", *self.parse_content_to_nodes())
        return [element("figure", plane, caption, class_="attention-figure")]


def drawing() -> str:
    angle = math.radians(DIRECTION)
    query = LENGTH * math.cos(angle), LENGTH * math.sin(angle)
    weight_of = weights(query)
    mean = tuple(sum(weight_of[word] * WORDS[word][axis] for word in WORDS) for axis in (0, 1))
    (ax, ay), (qx, qy) = on_screen(*mean), on_screen(*query)
    threads, keys, rows = "", "", ""
    for word, (x, y) in WORDS.items():
        kx, ky = on_screen(x, y)
        width = f"{8 * weight_of[word]:.2f}"
        threads += f'<line x1="{kx}" y1="{ky}" x2="{ax}" y2="{ay}" stroke-width="{width}"/>'
        keys += f'<g data-key="{x} {y}"><circle cx="{kx}" cy="{ky}" r="6"/>'
        keys += f'<text x="{kx}" y="{float(ky) - 11:.1f}">{word}</text></g>'
        bar = f"{100 * weight_of[word]:.1f}"
        rows += (
            f'<tr><th scope="row">{word}</th><td><svg class="weight" viewBox="0 0 100 8" '
            f'preserveAspectRatio="none" aria-hidden="true"><rect width="{bar}" height="8"/></svg>'
            f"</td><td>{percent(weight_of[word])}</td></tr>"
        )
    side = 2 * HALF
    return f"""<div class="attention-plane">
<svg class="plane" viewBox="0 0 {side} {side}" width="{side}" height="{side}" role="img"
 aria-label="Five words as points in a plane: cat and dog to the right, car and bus to the left,
 tree below. An arrow from the middle is the query; a diamond, the output, lies nearer to a word the
 more weight it has." data-unit="{UNIT}" data-half="{HALF}">
<circle class="rim" cx="{HALF}" cy="{HALF}" r="{UNIT * LONGEST:.0f}"/>
<g class="threads">{threads}</g><g class="keys">{keys}</g>
<path class="mean" d="M0-8 8 0 0 8-8 0Z" transform="translate({ax} {ay})"/>
<g class="query"><line x1="{HALF}" y1="{HALF}" x2="{qx}" y2="{qy}"/>
<circle cx="{qx}" cy="{qy}" r="12"/></g>
</svg>
<div class="attention-side">
<table class="attention-weights"><caption>Where the attention goes</caption>
<thead class="visually-hidden"><tr><th scope="col">Word</th><td></td><th scope="col">Weight</th>
</tr></thead><tbody>{rows}</tbody></table>
<div class="attention-controls pst-js-only">
<label for="query-direction">Direction of the query</label>
<input id="query-direction" type="range" min="0" max="355" step="5" value="{DIRECTION}"
 aria-valuetext="{DIRECTION} degrees">
<label for="query-length">Length of the query</label>
<input id="query-length" type="range" min="0" max="{LONGEST:g}" step="0.1" value="{LENGTH}"
 aria-valuetext="{LENGTH}">
</div></div></div>
<p class="visually-hidden" role="status"></p>
"""


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("elements")
    app.add_directive("learning-paths", LearningPaths)
    app.add_directive("attention-figure", AttentionFigure)
    app.connect("missing-reference", link_path)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
