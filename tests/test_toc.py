"""The parts of the book and the order of its pages."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from sphinx_external_toc.parsing import parse_toc_yaml

import catalogue
import exercise_index
import toc

ROOT = Path(__file__).parents[1]


def test_parts_have_captions_and_pages(tmp_path: Path) -> None:
    file = tmp_path / "_toc.yml"
    file.write_text(
        "format: jb-book\nroot: index\nparts:\n  - caption: A\n    chapters:\n      - file: x/one\n"
        "        sections:\n          - file: x/below\n  - chapters:\n      - file: two\n"
    )
    assert toc.parts(parse_toc_yaml(file)) == [("A", ["x/one", "x/below"]), ("", ["two"])]


def test_the_front_page_of_the_book_is_in_no_part() -> None:
    pages = [page for _, pages in toc.parts(parse_toc_yaml(ROOT / "_toc.yml")) for page in pages]
    assert "attention/self-attention" in pages
    assert "index" not in pages


def test_pages_are_in_the_order_of_a_reader() -> None:
    env = SimpleNamespace(
        config=SimpleNamespace(root_doc="index"),
        toctree_includes={"index": ["two", "gone", "one"], "two": ["two/b", "two/a", "index"]},
        all_docs=dict.fromkeys(["index", "lost", "one", "two", "two/a", "two/b"]),
    )
    assert toc.in_order(env) == ["index", "two", "two/b", "two/a", "one", "lost"]


def test_parts_that_an_address_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "_toc.yml"
    file.write_text(
        "format: jb-book\nroot: index\nparts:\n  - caption: GPT & co\n    chapters:\n"
        "      - file: part/one\n  - caption: GPT, co\n    chapters:\n      - file: part/two\n"
        "  - caption: GPT (co)\n    chapters:\n      - file: without\n"
    )
    app = SimpleNamespace(config=SimpleNamespace(external_site_map=parse_toc_yaml(file)))
    one, two = (
        catalogue.Exercise(f"task-{page}", "1.1", f"part/{page}", "theory", 1, 5, ())
        for page in ("one", "two")
    )
    [part] = exercise_index.parts(app, {one.label: one})
    assert (part.name, part.slug, part.exercises) == ("GPT & co", "gpt-co", [one])
    with pytest.raises(ValueError, match=r"'GPT & co' and 'GPT, co'"):
        exercise_index.parts(app, {one.label: one, two.label: two})
