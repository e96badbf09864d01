"""What the site carries from npm, and where its launch buttons lead."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

import plotly_pictures
import website


def test_vendored_styles_name_only_files_that_are_there(tmp_path: Path) -> None:
    website.copy_vendored(SimpleNamespace(outdir=str(tmp_path)))
    css = tmp_path / "_static/vendor/katex/katex.min.css"
    fonts = set(re.findall(r"url\(([^)]*)\)", css.read_text(encoding="utf-8")))
    assert len(fonts) >= 20
    assert {font.rpartition(".")[2] for font in fonts} == {"woff2"}
    assert all((css.parent / font).is_file() for font in fonts)
    [plotly] = (tmp_path / "_static/vendor/plotly").iterdir()
    assert plotly.read_bytes() == plotly_pictures.plotly_bundle().read_bytes()


@pytest.mark.parametrize("has_code", [True, False])
def test_launch_links_are_for_pages_with_code(has_code: bool) -> None:
    document = nodes.container()
    if has_code:
        document += nodes.container(nb_element="cell_code")
    launch = {
        "label": "launch-buttons",
        "buttons": [{"url": "https://example.org/lab/tree/part/page.md"}],
    }
    other = {"label": "download-buttons", "buttons": [{"url": "part/page.md"}]}
    context = {"header_buttons": [launch, other]}
    website.link_notebooks(None, "part/page", "page.html", context, document)
    assert context["header_buttons"] == ([launch, other] if has_code else [other])
    if has_code:
        [button] = launch["buttons"]
        assert button["url"] == "https://example.org/lab/tree/notebooks/part/page.ipynb"
    assert other["buttons"] == [{"url": "part/page.md"}]


TABLE = """\
Sizes
=====

====== ===== =====
\\      width
====== ===== =====
GPT-2  768   small
====== ===== =====
"""


def test_cells_below_an_empty_corner_head_their_rows(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text("", encoding="utf-8")
    (tmp_path / "index.rst").write_text(TABLE, encoding="utf-8")
    folders = [str(tmp_path / name) for name in ("", "", "out", "doctrees")]
    with patch_docutils(), docutils_namespace():
        app = Sphinx(*folders, "html", status=None, warning=None)
        app.add_node(nodes.entry, True, html=(website.visit_entry, website.depart_entry))
        app.build()
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    cells = re.findall(r"<(t[hd])\b[^>]*>(?:<p>)?(.*?)(?:</p>)?</\1>", page)
    assert cells[:3] == [("td", ""), ("th", "width"), ("td", "")]
    assert cells[3:] == [("th", "GPT-2"), ("td", "768"), ("td", "small")]
