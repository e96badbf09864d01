"""What the site carries from npm, and where its launch buttons lead."""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from sphinx.config import Config
from sphinx.writers.html import HTMLWriter
from sphinx.writers.html5 import HTML5Translator

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


def test_cells_below_an_empty_corner_head_their_rows() -> None:
    group = nodes.tgroup("", nodes.colspec(), nodes.colspec(), cols=2)
    for part, texts in [(nodes.thead, ["", "width"]), (nodes.tbody, ["GPT-2", "768"])]:
        row = nodes.row("", *(nodes.entry("", nodes.paragraph("", text)) for text in texts))
        group += part("", row)
    document = new_document("", get_default_settings(HTMLWriter))
    document += nodes.table("", group)
    builder = SimpleNamespace(config=Config(), highlighter=None, current_docname="page")
    translator = HTML5Translator(document, builder)
    for name in ("visit_entry", "depart_entry"):
        setattr(translator, name, partial(getattr(website, name), translator))
    document.walkabout(translator)
    cells = re.findall(r"<(t[hd])\b[^>]*>(?:<p>)?(.*?)(?:</p>)?</\1>", "".join(translator.body))
    assert cells == [("td", ""), ("th", "width"), ("th", "GPT-2"), ("td", "768")]
