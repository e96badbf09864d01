"""Images in a small book: sized from their files, in solutions too; one without text is named."""

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

import pictures

CONF = """
extensions = ["sphinx_design", "pictures", "solutions"]
html_theme = "basic"
templates_path = ["templates"]
"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 25.4"><path d="M0 0h9"/></svg>'


def build(folder: Path, body: str) -> tuple[str, str, str]:
    """Build a page; return its HTML, the script of its solution if it has one, and the warnings."""
    Image.new("RGB", (64, 48)).save(folder / "photo#2.png")
    (folder / "drawing.svg").write_text(SVG, encoding="utf-8")
    (folder / "templates").mkdir()
    (folder / "templates/solution.html").write_text("{{ body }}", encoding="utf-8")
    (folder / "conf.py").write_text(CONF, encoding="utf-8")
    (folder / "index.rst").write_text(f"Page\n====\n\n{body}", encoding="utf-8")
    out, warnings = folder / "out", io.StringIO()
    with patch_docutils(), docutils_namespace():
        paths = (folder, folder, out, out / "d")
        app = Sphinx(*map(str, paths), "html", None, None, warnings)
        app.build()
    scripts = [file.read_text("utf-8") for file in out.glob("index/solution-*.js")]
    return (out / "index.html").read_text("utf-8"), "".join(scripts), warnings.getvalue()


def images(markup: str) -> list[dict[str, str]]:
    return [
        dict(re.findall(r'([\w-]+)="([^"]*)"', tag)) for tag in re.findall("<img[^>]*>", markup)
    ]


def test_images_get_the_size_of_their_files(tmp_path: Path) -> None:
    body = """
.. image:: photo#2.png
   :alt: A photo
   :align: right

.. image:: drawing.svg
   :alt: A drawing

.. dropdown:: Solution to Exercise 1.1
   :class-container: solution
   :name: first-task-solution

   .. image:: photo#2.png
      :alt: The photo again
"""
    page, script, warnings = build(tmp_path, body)
    assert not warnings
    photo, drawing = images(page)
    assert (photo["width"], photo["height"], photo["alt"]) == ("64", "48", "A photo")
    assert (photo["src"], photo["class"]) == ("_images/photo%232.png", "align-right")
    assert (drawing["width"], drawing["height"]) == ("40", "25")
    [_, markup] = json.loads(f"[{script.partition('(')[2].rpartition(')')[0]}]")
    [again] = images(markup)
    assert (again["width"], again["height"], again["loading"]) == ("64", "48", "lazy")


def test_other_sizes_and_other_sites_stay_as_they_are(tmp_path: Path) -> None:
    body = """
.. image:: photo#2.png
   :alt: Half as wide as the text
   :width: 50%

.. image:: photo#2.png
   :alt: As drawn
   :width: 32
   :height: 24

.. image:: https://example.org/a.png
   :alt: Elsewhere
   :width: 10
   :height: 10
"""
    page, _, warnings = build(tmp_path, body)
    assert not warnings
    half, drawn, elsewhere = images(page)
    assert "50%" in half["style"]
    assert (drawn["width"], drawn["height"]) == ("32", "24")
    assert elsewhere["src"] == "https://example.org/a.png"


@pytest.mark.parametrize("size", ["", "\n   :width: 10\n   :height: 10"])
def test_an_image_without_text_is_named(tmp_path: Path, size: str) -> None:
    _, _, warnings = build(tmp_path, f".. image:: photo#2.png{size}\n")
    assert "index.rst:4: WARNING: image photo#2.png needs alt" in warnings


@pytest.mark.parametrize(
    ("root", "size"),
    [
        ('<svg width="12px" height=".6" viewBox="0 0 1 1">', (12, 1)),
        ('<svg width="12pt" height="9pt" viewBox="0,0,\n32,24">', (32, 24)),
        ('<svg width="100%">', None),
        ("<html>", None),
    ],
)
def test_drawings_say_their_size_or_not(
    tmp_path: Path, root: str, size: tuple[int, int] | None
) -> None:
    file = tmp_path / "drawing.svg"
    file.write_text(root, encoding="utf-8")
    assert pictures.image_size(file) == size


def test_what_is_no_image_has_no_size(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_text("no image")
    assert pictures.image_size(file) is None
