"""Pictures of Plotly figures, which stand in their places until, and unless, a script draws them.

Chromium draws them while the book is built, one session for all, with the bundle that draws the
figures of the site: one picture for each theme, and each for wide and for narrow screens. They are
kept in ``_build/pictures`` by what they were drawn from. Where there is no Chromium, the text of a
figure stands in its place, as the build's log notes.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.osutil import relative_uri

from formulas import node_program, package
from llmbook._myst_nb import THEMES, WIDTHS, figure_height, plotly_html
from llmbook.figures import PLOTLY_TRACES

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
BUNDLER = ROOT / "tools" / "plotly.mjs"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

TAG = re.compile(r'<([a-zA-Z]+)((?:\s[\w:-]+="[^"]*")+)')
ATTRIBUTE = re.compile(r'\s[\w:-]+="[^"]*"')

# As site/scripts/figures.js draws it, without the controls. Plotly names parts of a picture by
# chance; with chance begun anew for each, the same figure gives the same picture.
DRAW = """
async ({ data, layout: { sliders, updatemenus, ...layout }, width, height }) => {
  let state = 1;
  Math.random = () => (state = (state * 16807) % 2147483647) / 2147483647;
  layout.font = { ...layout.font, family: "system-ui, sans-serif" };
  const figure = { data, layout: { ...layout, width, height } };
  return Plotly.toImage(figure, { format: "svg", width, height, imageDataOnly: true });
}
"""


class Session(Protocol):
    """What draws."""

    def draw(self, figure: dict[str, Any], width: int, height: int) -> str: ...

    def close(self) -> None: ...


def plotly_bundle(cache: Path = ROOT / "_build" / "plotly") -> Path:
    """Return plotly.js with the traces of the figures, made when it is not there."""
    packages = [package("plotly.js-cartesian-dist-min"), package("esbuild")]
    traces = sorted(PLOTLY_TRACES)
    sources = [BUNDLER, *(folder / "package.json" for folder in packages)]
    inputs = [source.read_bytes() for source in sources] + [json.dumps(traces).encode()]
    bundle = cache / f"{hashlib.sha256(b''.join(inputs)).hexdigest()[:16]}.js"
    if not bundle.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        part = bundle.with_suffix(".part")
        command = [node_program(), str(BUNDLER), str(part), *traces]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ExtensionError(f"the site's Plotly cannot be made:\n{done.stderr}")
        part.replace(bundle)
    return bundle


def find_chromium() -> str | None:
    """Return the path of the Chromium that the tests use too, or None."""
    try:
        import browser  # in tools/, which is on the path in `make`

        return browser.find()
    except ModuleNotFoundError:
        return None


class ChromiumSession:
    """A page in Chromium with Plotly; in a thread of its own, where no event loop is in the way."""

    def __init__(self, chromium: str, bundle: Path) -> None:
        self.thread = ThreadPoolExecutor(1, "plotly-pictures")
        try:
            self.thread.submit(self._open, chromium, bundle).result()
        except BaseException:
            self.close()
            raise

    def _open(self, chromium: str, bundle: Path) -> None:
        from playwright.sync_api import sync_playwright

        self.playwright = sync_playwright().start()
        self.browser = self.playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        context = self.browser.new_context(offline=True)
        self.page = context.new_page()
        self.page.set_content("<!doctype html><html><body></body></html>")
        self.page.add_script_tag(content=bundle.read_text(encoding="utf-8"))

    def draw(self, figure: dict[str, Any], width: int, height: int) -> str:
        given = {"data": figure["data"], "layout": figure["layout"], "width": width}
        task = self.thread.submit(self.page.evaluate, DRAW, given | {"height": height})
        return task.result()

    def _close(self) -> None:
        for name, end in (("browser", "close"), ("playwright", "stop")):
            if thing := self.__dict__.pop(name, None):
                getattr(thing, end)()

    def close(self) -> None:
        self.thread.submit(self._close).result()
        self.thread.shutdown()


def open_chromium() -> Session | None:
    """Return a session in Chromium; None, with a note, where there is none or it does not start."""
    chromium = find_chromium()
    why = "no Chromium was found; LLMBOOK_CHROMIUM can name one"
    if chromium is not None:
        bundle = plotly_bundle()
        try:
            return ChromiumSession(chromium, bundle)
        except Exception as error:
            why = f"{chromium} does not start: {str(error).strip().splitlines()[0]}"
    logger.info("Plotly figures get no pictures, their text stands in their places: %s", why)
    return None


def tidy(svg: str) -> str:
    """Return Plotly's SVG alone, with the attributes of each element in one order.

    Plotly sets them in an order that depends on what it has drawn before.
    """
    start = svg.find("<svg")
    if start < 0 or not svg.rstrip().endswith("</svg>"):
        raise ValueError(f"svg must be one whole picture, got {svg[:80]!r}")

    def in_order(tag: re.Match[str]) -> str:
        kept = (a for a in ATTRIBUTE.findall(tag[2]) if a != ' style=""')
        return f"<{tag[1]}{''.join(sorted(kept))}"

    return TAG.sub(in_order, svg[start:].strip()) + "\n"


class Painter:
    """Draws what has not been drawn before; asks for a session only then, and once."""

    def __init__(self, cache: Path, drawn_by: str, start: Callable[[], Session | None]) -> None:
        self.cache = cache
        self.drawn_by = drawn_by
        self.start = start
        self.session: Session | None = None
        self.started = False

    def pictures(self, figure: dict[str, Any]) -> dict[tuple[str, str], bytes] | None:
        """Return the SVG of each theme and width; None where nothing can draw."""
        height = figure_height(figure)
        found = {}
        for theme, colors in THEMES.items():
            themed = json.dumps({"data": figure["data"], "layout": figure["layout"]})
            for stand_in, color in colors.items():
                themed = themed.replace(stand_in, color)
            for size, width in WIDTHS.items():
                key = json.dumps([self.drawn_by, DRAW, themed, width, height]).encode()
                file = self.cache / f"{hashlib.sha256(key).hexdigest()}.svg"
                if not file.is_file():
                    if not self.started:
                        self.session, self.started = self.start(), True
                    if self.session is None:
                        return None
                    svg = tidy(self.session.draw(json.loads(themed), width, height))
                    self.cache.mkdir(parents=True, exist_ok=True)
                    part = file.with_suffix(".part")
                    part.write_text(svg, encoding="utf-8")
                    part.replace(file)
                found[theme, size] = file.read_bytes()
        return found

    def close(self) -> None:
        if self.session is not None:
            self.session.close()
        self.session, self.started = None, False


class PlacePictures(SphinxPostTransform):
    """Put the pictures of Plotly figures, which `llmbook._myst_nb` left as raw nodes, in place."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        builder = self.app.builder
        folder = Path(builder.outdir, builder.imagedir)
        above = relative_uri(builder.get_target_uri(self.env.docname), builder.imagedir)
        for node in [n for n in self.document.findall(nodes.raw) if "figure" in n]:
            figure, key = node["figure"], node["key"]
            try:
                drawn = builder.plotly_painter.pictures(figure)
            except Exception as error:
                logger.warning("Plotly cannot draw %s: %s", key, error, location=node)
                continue
            if drawn is None:
                continue
            addresses = {}
            for which, svg in drawn.items():
                # Named by its content: a picture that has not changed stays in the browser's cache.
                name = hashlib.sha256(svg).hexdigest()[:16] + ".svg"
                folder.mkdir(parents=True, exist_ok=True)
                if not (folder / name).is_file():
                    (folder / name).write_bytes(svg)
                addresses[which] = posixpath.join(above, name)
            node.replace_self(nodes.raw("", plotly_html(figure, key, addresses), format="html"))


def say_what_draws(app: Sphinx, config: Config) -> None:
    """Have all pages written anew when the pictures change, or a Chromium comes."""
    bundle = plotly_bundle().stem
    config.plotly_pictures = f"{bundle} {find_chromium() is not None} {DRAW} {THEMES} {WIDTHS}"


def give_painter(app: Sphinx) -> None:
    cache = Path(app.outdir).parent / "pictures"
    app.builder.plotly_painter = Painter(cache, plotly_bundle().stem, open_chromium)


def put_away(app: Sphinx, exception: Exception | None) -> None:
    if painter := getattr(app.builder, "plotly_painter", None):
        painter.close()


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("plotly_pictures", "", "html", [str])
    app.connect("config-inited", say_what_draws)
    app.connect("builder-inited", give_painter)
    app.connect("build-finished", put_away)
    app.add_post_transform(PlacePictures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
