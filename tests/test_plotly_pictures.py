"""The pictures that stand for Plotly figures: drawn once, kept, put in place. Needs no browser."""

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import plotly.graph_objects as go
import pytest
from docutils import nodes
from docutils.utils import new_document
from sphinx.errors import ExtensionError

import plotly_pictures
from llmbook import figures
from llmbook._myst_nb import THEMES, WIDTHS, plotly_html
from plotly_pictures import Painter, PlacePictures, plotly_bundle, tidy

ALL = {(theme, size) for theme in THEMES for size in WIDTHS}


def content(**layout: Any) -> dict[str, Any]:
    titles = {"xaxis_title": "Length (tokens)", "yaxis_title": "Loss (nats)"}
    return figures.plotly_json(go.Figure(go.Scatter(y=[1, 2]), titles | layout), "It grows.")


class Chalk:
    """A session that says what it was given."""

    def __init__(self) -> None:
        self.drawn: list[tuple[dict[str, Any], int, int]] = []
        self.closed = 0

    def draw(self, figure: dict[str, Any], width: int, height: int) -> str:
        self.drawn.append((figure, width, height))
        number = len(self.drawn)
        return f'<svg width="{width}" height="{height}"><text>{number}</text></svg>'

    def close(self) -> None:
        self.closed += 1


def starting(sessions: list[Chalk]) -> Any:
    def start() -> Chalk:
        sessions.append(Chalk())
        return sessions[-1]

    return start


@pytest.fixture
def painter(tmp_path: Path) -> Any:
    sessions: list[Chalk] = []
    painter = Painter(tmp_path / "pictures", "bundle", starting(sessions))
    painter.sessions = sessions
    return painter


# -- What is drawn, and kept ----------------------------------------------------------------------


def test_each_theme_and_width_is_drawn_in_its_colors(painter: Any) -> None:
    found = painter.pictures(content(height=300))
    assert found.keys() == ALL
    [session] = painter.sessions
    assert [(width, height) for _, width, height in session.drawn] == [
        (width, 300) for _ in THEMES for width in WIDTHS.values()
    ]
    for (figure, _, _), (theme, _) in zip(session.drawn, found, strict=True):
        text = json.dumps(figure)
        assert figures.INK not in text
        assert figures.PAPER not in text
        assert figure["layout"]["template"]["layout"]["font"]["color"] == THEMES[theme][figures.INK]


def test_what_was_drawn_is_kept(painter: Any, tmp_path: Path) -> None:
    first = painter.pictures(content())
    assert painter.pictures(content()) == first
    assert len(painter.sessions[0].drawn) == len(ALL)
    later = Painter(tmp_path / "pictures", "bundle", pytest.fail)
    assert later.pictures(content()) == first


@pytest.mark.parametrize("change", ["figure", "height", "bundle"])
def test_what_changed_is_drawn_anew(painter: Any, tmp_path: Path, change: str) -> None:
    first = painter.pictures(content())
    if change == "bundle":
        painter.drawn_by = "another"
    new = {"figure": content(title="New"), "height": content(height=700)}.get(change, content())
    second = painter.pictures(new)
    assert len(painter.sessions) == 1
    assert len(painter.sessions[0].drawn) == 2 * len(ALL)
    assert not set(first.values()) & set(second.values())


def test_one_session_draws_all_and_is_closed_at_the_end(painter: Any) -> None:
    for number in range(3):
        painter.pictures(content(title=str(number)))
    painter.close()
    painter.close()
    [session] = painter.sessions
    assert session.closed == 1


def test_no_session_is_started_for_nothing(painter: Any) -> None:
    painter.close()
    assert not painter.sessions


def test_half_a_picture_is_not_kept(painter: Any, tmp_path: Path) -> None:
    painter.start = lambda: SimpleNamespace(draw=lambda *_: "<svg><g>", close=None)
    with pytest.raises(ValueError, match="one whole picture"):
        painter.pictures(content())
    assert not list(tmp_path.glob("**/*.svg"))


def test_tidy_takes_the_picture_alone_in_one_order() -> None:
    assert tidy('<?xml version="1.0"?>\n<svg>x</svg>\n ') == "<svg>x</svg>\n"
    one = '<svg><g style="" class="b" x="1 &lt; 2"/><text>a="b" c="a"</text></svg>'
    other = '<svg><g x="1 &lt; 2" class="b"/><text>a="b" c="a"</text></svg>'
    assert tidy(one) == tidy(other)
    assert '<g class="b" x="1 &lt; 2"/>' in tidy(one)
    assert '<text>a="b" c="a"</text>' in tidy(one)


# -- Where nothing can draw -----------------------------------------------------------------------


def test_without_chromium_the_text_stays_and_one_note_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    loud = SimpleNamespace(info=lambda text, *args: notes.append(text % args), warning=pytest.fail)
    monkeypatch.setattr(plotly_pictures, "find_chromium", lambda: None)
    monkeypatch.setattr(plotly_pictures, "logger", loud)
    painter = Painter(tmp_path, "bundle", plotly_pictures.open_chromium)
    for title in "ab":
        node = place(tmp_path, painter, content(title=title))
        assert node.astext() == plotly_html(node["figure"], node["key"])
        assert "<p>It grows.</p>" in node.astext()
    [note] = notes
    assert "no Chromium" in note


def test_a_chromium_that_does_not_start_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    loud = SimpleNamespace(info=lambda text, *args: notes.append(text % args))
    monkeypatch.setattr(plotly_pictures, "logger", loud)
    monkeypatch.setattr(plotly_pictures, "find_chromium", lambda: str(tmp_path / "chromium"))
    monkeypatch.setattr(plotly_pictures, "plotly_bundle", lambda: tmp_path / "plotly.js")
    assert plotly_pictures.open_chromium() is None
    [note] = notes
    assert "chromium does not start" in note


# -- On the page ----------------------------------------------------------------------------------


def place(folder: Path, painter: Painter, figure: dict[str, Any], page: str = "part/page") -> Any:
    builder = SimpleNamespace(
        outdir=folder / "html",
        imagedir="_images",
        plotly_painter=painter,
        get_target_uri=lambda name: f"{name}.html",
    )
    document = new_document(page)
    env = SimpleNamespace(docname=page, app=SimpleNamespace(builder=builder))
    document.settings.env = env
    markup = plotly_html(figure, "figure-1-0")
    document += nodes.raw("", markup, format="html", figure=figure, key="figure-1-0")
    document += nodes.raw("", "<hr>", format="html")
    PlacePictures(document).run()
    assert document[1].astext() == "<hr>"
    return document[0]


def test_pictures_are_written_beside_the_page_and_named_by_their_content(
    painter: Any, tmp_path: Path
) -> None:
    node = place(tmp_path, painter, content())
    names = re.findall(r'(?:src|srcset)="\.\./_images/([0-9a-f]{16}\.svg)"', node.astext())
    assert len(set(names)) == len(ALL)
    assert {file.name for file in (tmp_path / "html/_images").iterdir()} == set(names)
    assert "<p>" not in node.astext()
    front = place(tmp_path, painter, content(), "index")
    assert re.findall(r'(?:src|srcset)="_images/([0-9a-f]{16}\.svg)"', front.astext()) == names


def test_a_figure_that_cannot_be_drawn_is_a_warning(
    painter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    loud = SimpleNamespace(warning=lambda text, *args, location: warnings.append(text % args))
    monkeypatch.setattr(plotly_pictures, "logger", loud)
    painter.start = lambda: SimpleNamespace(draw=lambda *_: 1 / 0, close=None)
    node = place(tmp_path, painter, content())
    assert "<p>It grows.</p>" in node.astext()
    assert warnings == ["Plotly cannot draw figure-1-0: division by zero"]


# -- The bundle -----------------------------------------------------------------------------------

needs_node_modules = pytest.mark.skipif(
    not Path(plotly_pictures.ROOT, "node_modules/esbuild").is_dir(),
    reason="node_modules is not installed: `make book` does",
)


@needs_node_modules
def test_bundle_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = plotly_bundle(tmp_path / "plotly")
    assert bundle.read_text(encoding="utf-8").startswith("/*! plotly.js v")
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    assert plotly_bundle(tmp_path / "plotly") == bundle
    assert list(bundle.parent.iterdir()) == [bundle]


@needs_node_modules
def test_bundle_of_unknown_traces_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plotly_pictures, "PLOTLY_TRACES", {"bar", "ribbon"})
    with pytest.raises(ExtensionError, match=r"plotly\.js has no trace ribbon"):
        plotly_bundle(tmp_path)
    assert not list(tmp_path.iterdir())
