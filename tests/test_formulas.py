"""Formulas are rendered while the book is built, and a wrong one stops the build."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docutils import nodes
from sphinx.errors import ExtensionError

import formulas


@pytest.fixture(autouse=True)
def _server() -> Iterator[None]:
    if not (formulas.NODE_MODULES / "katex").is_dir():
        pytest.fail("katex is missing from node_modules: run `npm ci` (make book does)")
    formulas.render.cache_clear()
    yield
    process = formulas.server.process
    formulas.server.stop()
    assert process is None or process.returncode == 0


class Translator:
    """As much of Sphinx's HTML writer as a formula needs."""

    def __init__(self) -> None:
        self.body: list[str] = []
        config = SimpleNamespace(math_numfig=False, numfig=False)
        self.builder = SimpleNamespace(current_docname="attention/page", config=config)

    def starttag(self, node: nodes.Node, tag: str, suffix: str, **attributes: str) -> str:
        return f"<{tag}>"

    def add_permalink_ref(self, node: nodes.Node, title: str) -> None:
        self.body.append("#")


def write(visit: Any, node: nodes.Element) -> str:
    translator = Translator()
    with pytest.raises(nodes.SkipNode):
        visit(translator, node)
    return "".join(translator.body)


def test_a_formula_in_the_text() -> None:
    latex = r"q^\top k / \sqrt{d_k}"
    markup = write(formulas.visit_inline, nodes.math(latex, latex))
    assert markup.startswith('<span><span class="katex"><span class="katex-mathml"><math')
    assert markup.endswith("</span>")


@pytest.mark.parametrize("number", [7, None])
def test_a_formula_of_its_own(number: int | None) -> None:
    markup = write(formulas.visit_block, nodes.math_block("x", "x", number=number))
    assert '<span class="katex-display">' in markup
    assert ('<span class="eqno">(7)#</span>' in markup) == (number is not None)


@pytest.mark.parametrize("name", ["align", "gather", "equation"])
def test_equations_are_numbered_by_sphinx_alone(name: str) -> None:
    body = "a = b" if name == "equation" else r"a = b \\ c = d"
    markup = formulas.render(rf"\begin{{{name}}} {body} \end{{{name}}}", True)
    assert "eqn-num" not in markup
    assert formulas.render(r"\begin{aligned} a &= b \end{aligned}", True)


@pytest.mark.parametrize(
    ("latex", "reason"),
    [
        (r"\frac{1}{", "Unexpected end of input"),
        (r"\nosuchcommand x", "Undefined control sequence"),
        ("x $ y", "Can't use function"),
        ("é", "unicodeTextInMathMode"),
    ],
)
def test_a_formula_that_katex_cannot_read_says_where_it_stands(latex: str, reason: str) -> None:
    node = nodes.math(latex, latex)
    node.line = 12
    with pytest.raises(ExtensionError) as error:
        formulas.visit_inline(Translator(), node)
    message = str(error.value)
    assert message.startswith("attention/page:12: ")
    assert reason in message
    assert repr(latex) in message


def test_the_process_survives_a_wrong_formula_and_odd_characters() -> None:
    with pytest.raises(ValueError, match="Undefined"):
        formulas.render(r"\wrong", False)
    process = formulas.server.process
    assert "naïve – 日本" in formulas.render(r"\text{naïve – 日本}", False)
    assert formulas.server.process is process


def test_a_process_that_dies_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formulas, "RENDER_LINES", "process.exit(3)")
    with pytest.raises(ExtensionError, match=r"Node\.js ended with status 3"):
        formulas.render("x", False)
    formulas.server.process = None


def test_node_is_the_program_itself() -> None:
    node = Path(formulas.node_program())
    assert node.read_bytes()[:2] != b"#!"
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True)
    assert version.stdout.startswith("v")


def test_missing_node_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formulas.shutil, "which", lambda *args, **kwargs: None)
    with pytest.raises(ExtensionError, match=r"Node\.js renders the formulas and is missing"):
        formulas.node_program()


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(formulas, "NODE_MODULES", tmp_path)
    with pytest.raises(ExtensionError, match="katex is missing from node_modules"):
        formulas.package("katex")
