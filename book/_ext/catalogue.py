"""The catalogue of exercises, ``book/exercises.yml``, read strictly.

Badges, index pages, tests and tools all read it through :func:`load`. Plain Python and PyYAML:
no Sphinx, so that a tool may import it without the book's dependencies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

KINDS = ("conceptual", "numerical", "implementation", "theory", "design", "experiment")
MAX_STARS = 4

_SLUG = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_LABEL = re.compile(rf"(?![0-9]){_SLUG}")  # its underscored form names a function
_PAGE = re.compile(rf"{_SLUG}(?:/{_SLUG})+")
# One spelling a number: two digits after 35, plain digits after every other chapter.
_SOURCE = re.compile(r"35\.\d\d|(?!35\.)[1-9]\d*\.[1-9]\d*")


@dataclass(frozen=True)
class Exercise:
    """One entry of the catalogue; CONTRIBUTING.md explains the fields."""

    label: str
    source: str
    page: str
    kind: str
    stars: int
    minutes: int
    needs: tuple[str, ...]
    was: tuple[str, ...] = ()

    @property
    def source_key(self) -> tuple[int, int]:
        """Sorts 13.2 before 13.11."""
        chapter, number = self.source.split(".")
        return int(chapter), int(number)


def check_name(label: str) -> str:
    """Name of the check of an exercise: its label with underscores."""
    return label.replace("-", "_")


def load(path: str | Path) -> dict[str, Exercise]:
    """Read and validate a catalogue.

    Returns
    -------
    dict
        The exercises by label, in the order of the file.

    Raises
    ------
    ValueError
        Names the entry and the field, what came and what was expected.
    """
    with open(path, encoding="utf-8") as file:
        try:
            data = yaml.load(file, Loader=_UniqueKeyLoader)
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a mapping of labels to entries, got {data!r}")
    try:
        exercises = {label: _exercise(label, entry) for label, entry in data.items()}
        _check_sources(exercises)
        _check_needs(exercises)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return exercises


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, where YAML's default keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # not hashable: the safe loader says so
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is given twice, expected once", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _exercise(label: Any, entry: Any) -> Exercise:
    if not (isinstance(label, str) and _LABEL.fullmatch(label)):
        raise ValueError(f"label {label!r}: expected lower-case words joined by hyphens")
    if not isinstance(entry, dict):
        raise ValueError(f"{label}: expected a mapping of fields, got {entry!r}")
    own = [field for field in fields(Exercise) if field.name != "label"]
    expected = [field.name for field in own]
    for name in entry:
        if name not in expected:
            raise ValueError(f"{label}: unknown field {name!r}, expected {', '.join(expected)}")
    for field in own:
        if field.name not in entry and field.default is MISSING:
            raise ValueError(f"{label}: field {field.name!r} is missing")

    def require(name: str, valid: bool, expectation: str) -> None:
        if not valid:
            raise ValueError(f"{label}: {name} is {entry[name]!r}, expected {expectation}")

    source, page, stars, minutes = (entry[k] for k in ("source", "page", "stars", "minutes"))
    needs, was = entry["needs"], entry.get("was", [])
    require(
        "source",
        isinstance(source, str) and _SOURCE.fullmatch(source) is not None,
        'a quoted number such as "13.2", or with two digits in chapter 35: "35.03"',
    )
    require(
        "page",
        isinstance(page, str) and _PAGE.fullmatch(page) is not None,
        "a page below book/ without its suffix, such as attention/self-attention",
    )
    require("kind", entry["kind"] in KINDS, f"one of {', '.join(KINDS)}")
    # type() and not isinstance: True is an int.
    require("stars", type(stars) is int and 1 <= stars <= MAX_STARS, f"1 to {MAX_STARS}")
    require("minutes", type(minutes) is int and minutes > 0, "a positive whole number")
    require(
        "needs",
        isinstance(needs, list) and all(isinstance(need, str) for need in needs),
        "a list of labels",
    )
    require("needs", len(set(needs)) == len(needs), "each label once")
    require(
        "was",
        isinstance(was, list)
        and all(isinstance(old, str) and _PAGE.fullmatch(old) is not None for old in was),
        "a list of pages, such as [attention/self-attention]",
    )
    require("was", len(set(was)) == len(was), "each page once")
    require("was", page not in was, "pages other than the one where the exercise is now")
    return Exercise(label, source, page, entry["kind"], stars, minutes, tuple(needs), tuple(was))


def _check_sources(exercises: dict[str, Exercise]) -> None:
    first: dict[str, str] = {}
    for exercise in exercises.values():
        other = first.setdefault(exercise.source, exercise.label)
        if other != exercise.label:
            raise ValueError(
                f"{exercise.label}: source is {exercise.source!r}, which {other} has already; "
                "expected one entry a source number"
            )


def _check_needs(exercises: dict[str, Exercise]) -> None:
    for exercise in exercises.values():
        for need in exercise.needs:
            if need not in exercises:
                raise ValueError(
                    f"{exercise.label}: needs is {need!r}, expected the label of an entry"
                )
    done: set[str] = set()

    def visit(label: str, path: tuple[str, ...]) -> None:
        if label in path:
            cycle = " -> ".join((*path[path.index(label) :], label))
            raise ValueError(f"{label}: needs is a cycle, {cycle}; expected an order to do them in")
        if label not in done:
            for need in exercises[label].needs:
                visit(need, (*path, label))
            done.add(label)

    for label in exercises:
        visit(label, ())


def by_page(exercises: dict[str, Exercise]) -> Iterator[tuple[str, list[Exercise]]]:
    """Yield each page with its exercises, both in the order of the catalogue."""
    pages: dict[str, list[Exercise]] = {}
    for exercise in exercises.values():
        pages.setdefault(exercise.page, []).append(exercise)
    yield from pages.items()
