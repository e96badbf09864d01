"""The extension that renders formulas at build time."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT
from docutils import nodes
from sphinx.errors import ExtensionError
from sphinxcontrib import katex

import website


@pytest.fixture(scope="module", autouse=True)
def _configured() -> Any:
    """Use the very settings of the book, and stop the server that renders."""
    if not (ROOT / "node_modules" / "katex").is_dir():
        pytest.fail("katex is missing from node_modules: run `npm ci` (make book does)")
    config = SimpleNamespace()
    website.configure(None, config)
    katex.KaTeXServer.katex_path = config.katex_js_path
    yield
    if katex.KaTeXServer.katex_server:
        process = katex.KaTeXServer.katex_server.process
        process.terminate()
        assert process.wait(timeout=10) is not None


class Translator:
    """As much of Sphinx's HTML writer as a formula needs."""

    def __init__(self) -> None:
        self.body: list[str] = []
        self.builder = SimpleNamespace(
            current_docname="attention/page", config=SimpleNamespace(katex_prerender=True)
        )

    def starttag(self, node: nodes.Node, tag: str, suffix: str, **attributes: str) -> str:
        return f"<{tag}>"


def render(latex: str) -> str:
    node = nodes.math(latex, latex)
    node.line = 12
    translator = Translator()
    with pytest.raises(nodes.SkipNode):
        website.strict(katex.html_visit_math)(translator, node)
    return "".join(translator.body)


def test_a_formula_becomes_html_and_mathml() -> None:
    markup = render(r"q^\top k / \sqrt{d_k}")
    assert 'class="katex"' in markup
    assert "<math" in markup


@pytest.mark.parametrize("latex", [r"\frac{1}{", r"\nosuchcommand x", "x $ y", "é"])
def test_a_formula_that_katex_cannot_read_says_where_it_stands(latex: str) -> None:
    with pytest.raises(ExtensionError, match=r"^attention/page:12: ") as error:
        render(latex)
    assert repr(latex) in str(error.value)


def test_node_is_the_program_itself() -> None:
    node = website._node()
    assert node.read_bytes()[:2] != b"#!"
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True)
    assert version.stdout.startswith("v")


def test_missing_node_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *args, **kwargs: None)
    with pytest.raises(ExtensionError, match=r"Node\.js renders the formulas and is missing"):
        website._node()


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(website, "NODE_MODULES", tmp_path)
    with pytest.raises(ExtensionError, match="katex is missing from node_modules"):
        website.configure(None, SimpleNamespace())


def test_vendored_styles_name_only_files_that_are_there(tmp_path: Path) -> None:
    website.copy_vendored(SimpleNamespace(outdir=str(tmp_path)))
    css = tmp_path / "_static/vendor/katex/katex.min.css"
    fonts = set(website.re.findall(r"url\(([^)]*)\)", css.read_text(encoding="utf-8")))
    assert len(fonts) >= 20
    assert {font.rpartition(".")[2] for font in fonts} == {"woff2"}
    assert all((css.parent / font).is_file() for font in fonts)
    assert (tmp_path / "_static/vendor/plotly/plotly-cartesian.min.js").stat().st_size > 1_000_000


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
