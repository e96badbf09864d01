"""What the site needs beyond Jupyter Book: local assets, links to notebooks."""

import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from formulas import package
from plotly_pictures import plotly_bundle

ROOT = Path(__file__).resolve().parents[2]


def copy_vendored(app: Sphinx) -> None:
    """Put what pages load from npm packages under ``_static/vendor``.

    Not in ``book/_static``: Jupyter Book loads every script and style sheet there on every page.
    """
    vendor = Path(app.outdir, "_static", "vendor")
    katex_source, katex_target = package("katex") / "dist", vendor / "katex"
    (katex_target / "fonts").mkdir(parents=True, exist_ok=True)
    for font in sorted((katex_source / "fonts").glob("*.woff2")):
        shutil.copyfile(font, katex_target / "fonts" / font.name)
    css = (katex_source / "katex.min.css").read_text(encoding="utf-8")
    # Every browser since 2016 reads WOFF2; the two older formats stay out.
    css = re.sub(r',\s*url\([^)]*\.(?:woff|ttf)\)\s*format\("[^"]*"\)', "", css)
    (katex_target / "katex.min.css").write_text(css, encoding="utf-8")
    shutil.rmtree(vendor / "plotly", ignore_errors=True)
    (vendor / "plotly").mkdir()
    shutil.copyfile(plotly_bundle(), vendor / "plotly" / "plotly.min.js")


def link_notebooks(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Let the launch buttons open the page's generated notebook; no code, no buttons."""
    buttons = context.get("header_buttons", [])
    has_code = doctree is not None and any(
        node.get("nb_element") == "cell_code" for node in doctree.findall(nodes.container)
    )
    for group in [b for b in buttons if b.get("label") == "launch-buttons"]:
        if not has_code:
            buttons.remove(group)
        for button in group["buttons"]:
            button["url"] = button["url"].replace(f"{pagename}.md", f"notebooks/{pagename}.ipynb")


def offer_notebooks(app: Sphinx, exception: Exception | None) -> None:
    """Let the download button give the same notebook, not MyST-NB's copy with raw directives."""
    if exception is None:
        for copy in Path(app.outdir, "_sources").rglob("*.ipynb"):
            generated = ROOT / "notebooks" / copy.relative_to(Path(app.outdir, "_sources"))
            if generated.is_file():
                shutil.copyfile(generated, copy)


def plain_bibliography(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Take back the roles that docutils gives a bibliography: its own markup breaks their rules."""
    if body := context.get("body"):
        context["body"] = re.sub(
            r' role="list"(?= class="citation-list")'
            r'|(?<=<div class="citation")( id="[^"]*")? role="doc-biblioentry"',
            lambda match: match[1] or "",
            body,
        )


def visit_entry(self: Any, node: nodes.entry) -> None:
    """Begin a cell of a table; an empty one is no heading, and below an empty corner are headings.

    Markdown has no other way to say that the cells of the first column name their rows.
    """
    column, group = node.parent.column, node.parent.parent.parent
    in_head = isinstance(node.parent.parent, nodes.thead)
    HTML5Translator.visit_entry(self, node)
    if node.astext().strip() or any(node.findall(nodes.image)):
        scope = "col" if in_head else "row"
        self.body[-1] = re.sub(r"^<th\b", f'<th scope="{scope}"', self.body[-1])
        return
    node.clear()
    self.body[-1] = re.sub(r"^<th\b", "<td", self.body[-1])
    self.context[-1] = "</td>\n"
    if column == 0 and in_head:
        group.stubs[0] = True


def depart_entry(self: Any, node: nodes.entry) -> None:
    HTML5Translator.depart_entry(self, node)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handlers; launch links after the theme's own, which has priority 501."""
    app.add_node(nodes.entry, override=True, html=(visit_entry, depart_entry))
    app.connect("builder-inited", copy_vendored)
    app.connect("html-page-context", link_notebooks, priority=600)
    app.connect("html-page-context", plain_bibliography)
    app.connect("build-finished", offer_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
