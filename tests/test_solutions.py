"""Solutions beside their page: what is written, where links lead, what a later build removes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup

import solutions

ROOT = Path(__file__).parents[1]

CONF = f"""
project = "The book"
extensions = ["sphinx_design", "solutions"]
html_theme = "sphinx_book_theme"
templates_path = [{str(ROOT / "book/_templates")!r}]
html_context = {{"default_mode": "auto"}}
root_doc = "index"
"""
INDEX = """
The book
========

.. toctree::

   part/page

See :ref:`a remark <remark>`, and :ref:`the solution <first-task-solution>`.
"""
PAGE = """
Page <one>
==========

.. _first-task:

The first task & more
---------------------

.. dropdown:: Hint 1

   A hint stays.

.. dropdown:: Solution to Exercise 1.1
   :class-container: solution
   :name: first-task-solution

   The answer is “42” < 43 & </script>, see :ref:`second-task`, :ref:`a remark <remark>`,
   :doc:`/index` and https://example.org/a.

   .. _remark:

   .. admonition:: Remark

      Worth a link.

   .. image:: dot.svg
      :alt: A dot

   .. code-block:: python

      '<a href="not-a-link.html" src="x">'

.. _second-task:

The second task
---------------

.. dropdown:: Solution to Exercise 1.2
   :class-container: solution
   :name: second-task-solution

   Nothing but text.
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("book")
    (source / "part").mkdir()
    (source / "conf.py").write_text(CONF, encoding="utf-8")
    (source / "index.rst").write_text(INDEX, encoding="utf-8")
    (source / "part/page.rst").write_text(PAGE, encoding="utf-8")
    (source / "part/dot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    build(source)
    return source


def build(source: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", source, source / "_build"]
    path = os.pathsep.join([str(ROOT / "book/_ext"), *sys.path])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def tree(source: Path, path: str) -> BeautifulSoup:
    return BeautifulSoup((source / "_build" / path).read_text("utf-8"), "html.parser")


def fragment(source: Path, link: BeautifulSoup) -> tuple[str, BeautifulSoup]:
    """Return label and markup that the script behind a link hands over."""
    text = (source / "_build/part" / link["data-script"]).read_text("utf-8")
    call = re.fullmatch(r"llmbook\.solution\((.*)\);\n", text, re.DOTALL)
    assert call
    label, markup = json.loads(f"[{call[1]}]")
    return label, BeautifulSoup(markup, "html.parser")


def test_page_keeps_a_closed_box_with_a_link(source: Path) -> None:
    page = tree(source, "part/page.html")
    box = page.find(id="first-task-solution")
    assert box.name == "details"
    assert not box.has_attr("open")
    assert box.summary.get_text(strip=True) == "Solution to Exercise 1.1"
    link = box.select_one(".sd-summary-content > .solution-link > a")
    assert link["href"] == "page/solution-first-task.html"
    assert link["data-solution"] == "first-task"
    assert "42" not in box.get_text()
    assert "A hint stays." in page.get_text()
    assert len(page.select("a[data-solution]")) == 2


def test_anchors_in_a_solution_are_on_the_page_and_unique(source: Path) -> None:
    page = tree(source, "part/page.html")
    assert page.find(id="remark").find_parent("details")["id"] == "first-task-solution"
    names = [element["id"] for element in page.select("[id]")]
    assert len(names) == len(set(names))
    index = tree(source, "index.html")
    links = {a["href"] for a in index.select("article a.internal")}
    assert {"part/page.html#remark", "part/page.html#first-task-solution"} <= links


def test_script_hands_over_the_markup_with_links_of_the_page(source: Path) -> None:
    link = tree(source, "part/page.html").select_one("a[data-solution=first-task]")
    label, body = fragment(source, link)
    assert label == "first-task"
    assert "The answer is “42” < 43 & </script>" in body.get_text()
    assert body.find(id="remark")
    links = {a["href"] for a in body.select("a")}
    assert links >= {"#second-task", "#remark", "../index.html", "https://example.org/a"}
    assert body.img["src"] == "../_images/dot.svg"


def test_page_of_the_solution_has_links_from_its_own_place(source: Path) -> None:
    page = tree(source, "part/page/solution-first-task.html")
    assert page.title.get_text().startswith("Solution to Exercise 1.1: The first task & more")
    assert page.h1.get_text() == "Solution to Exercise 1.1: The first task & more"
    article = page.article
    links = {a["href"] for a in article.select("a")}
    assert links >= {
        "../page.html#second-task",
        "#remark",
        "../../index.html",
        "https://example.org/a",
        "../page.html#first-task",
    }
    assert article.img["src"] == "../../_images/dot.svg"
    assert article.find(id="remark")
    assert article.find(id="first-task-solution")
    assert """'<a href="not-a-link.html" src="x">'""" in article.get_text()
    back = [a["href"] for a in page.select(".solution-way-back nav a")]
    assert back == ["../../index.html", "../page.html", "../page.html#first-task"]
    # The same look and scripts as any page; nothing that is not there.
    styles = [link["href"] for link in page.select("link[rel=stylesheet]")]
    assert any("styles/theme.css" in style for style in styles)
    assert page.select("script[src*=pydata-sphinx-theme]")
    for name in [*styles, *(s["src"] for s in page.select("script[src]")), *links]:
        path = name.partition("#")[0].partition("?")[0]
        if path and "://" not in path:
            assert (source / "_build/part/page" / path).is_file(), name


def test_later_build_replaces_what_changed_and_removes_what_is_gone(source: Path) -> None:
    folder = source / "_build/part/page"
    before = {file.name for file in folder.iterdir()}
    assert len(before) == 4
    text = PAGE.replace("“42”", "“43”").partition(".. dropdown:: Solution to Exercise 1.2")[0]
    (source / "part/page.rst").write_text(text, encoding="utf-8")
    try:
        build(source)
        after = {file.name for file in folder.iterdir()}
        assert "solution-first-task.html" in after
        assert len(after) == 2
        assert {n for n in after & before if n.endswith(".js")} == set()
        link = tree(source, "part/page.html").select_one("a[data-solution=first-task]")
        assert "“43”" in fragment(source, link)[1].get_text()
    finally:
        (source / "part/page.rst").write_text(PAGE, encoding="utf-8")
        build(source)
    assert {file.name for file in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("other.html#x", "../other.html#x"),
        ("../_images/a.svg", "../../_images/a.svg"),
        ("#own", "#own"),
        ("#elsewhere", "../page.html#elsewhere"),
        ("mailto:a@example.org", "mailto:a@example.org"),
        ("https://example.org/?a=1&amp;b=2", "https://example.org/?a=1&amp;b=2"),
        ("//example.org/a", "//example.org/a"),
        ("data:image/png;base64,AA==", "data:image/png;base64,AA=="),
    ],
)
def test_one_folder_down(address: str, expected: str) -> None:
    markup = '<p id="own">href="text.html" <a class="x" href="{0}">a</a><img alt="" src="{0}"></p>'
    moved = solutions.one_folder_down(markup.format(address), "part/page")
    assert moved == markup.format(expected)


def test_one_folder_down_knows_sets_of_images() -> None:
    markup = '<source media="(width < 600px)" srcset="{}a.svg, {}b.svg 2x,{}c.svg 3x">'
    moved = solutions.one_folder_down(markup.format(*["../_images/"] * 3), "part/page")
    assert moved == markup.format(*["../../_images/"] * 3)


def test_controls_are_nothing_to_link_to() -> None:
    markup = '<p id="a">id="text"</p><input type="range" id="b"><div class="x" id="c"></div>'
    assert list(solutions.ids(markup)) == ["a", "c"]


def test_script_is_named_by_its_content() -> None:
    def name(markup: str) -> str:
        return solutions.Solution("t", "t-solution", "Solution", None, markup).script_file("a/b")

    assert re.fullmatch(r"a/b/solution-t\.[0-9a-f]{10}\.js", name("<p>1</p>"))
    assert name("<p>1</p>") == name("<p>1</p>")
    assert name("<p>1</p>") != name("<p>2</p>")


def test_other_builders_write_no_pages(tmp_path: Path) -> None:
    app = SimpleNamespace(builder=SimpleNamespace(name="text"), outdir=str(tmp_path))
    solutions.write_solutions(app, "part/page", "page.html", {}, object())
    assert not list(tmp_path.iterdir())
