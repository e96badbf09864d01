"""`llmbook.figures.show`, and the HTML that the site makes of what it publishes."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import plotly.offline
import pytest
from bs4 import BeautifulSoup
from plotly.subplots import make_subplots

from llmbook import figures
from llmbook._myst_nb import THEMES, WIDTHS, FigureRenderer, plotly_html, svg_size, themed_svg

ROOT = Path(__file__).resolve().parents[1]

plt.switch_backend("Agg")


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    yield
    plt.close("all")


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Collect what a notebook would be sent."""
    import IPython
    import IPython.display

    sent: list[tuple[dict[str, Any], dict[str, Any]]] = []
    monkeypatch.setattr(IPython, "get_ipython", object)
    monkeypatch.setattr(
        IPython.display, "display", lambda data, metadata, raw: sent.append((data, metadata))
    )
    return sent


def line(**labels: str) -> plt.Figure:
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3], [1, 4, 9])
    axes.set(**({"xlabel": "Length (tokens)", "ylabel": "Loss (nats)"} | labels))
    return figure


def scatter(**layout: Any) -> go.Figure:
    titles = {"xaxis_title": "Length (tokens)", "yaxis_title": "Loss (nats)"}
    return go.Figure(go.Scatter(x=np.arange(3), y=[1, np.nan, 3]), titles | layout)


# -- What is published ----------------------------------------------------------------------------


def test_matplotlib_is_published_as_svg_with_its_text_and_closed(published: list[Any]) -> None:
    figure = line()
    figures.show(figure, alt="  The loss\n   grows. ")
    [(data, metadata)] = published
    assert data.keys() == {"image/svg+xml", "text/plain"}
    assert data["text/plain"] == "The loss grows."
    assert metadata == {"image/svg+xml": {"alt": "The loss grows."}}
    assert not plt.fignum_exists(figure.number)


def test_svg_is_the_same_in_another_process() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests'); import hashlib, test_figures as t;"
        "print(hashlib.sha256(t.figures.matplotlib_svg(t.line()).encode()).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    }
    assert len(hashes) == 1
    assert re.fullmatch(r"[0-9a-f]{64}\n", hashes.pop())


def test_plotly_is_published_as_plain_json_with_its_text(published: list[Any]) -> None:
    figure = scatter(title="kept")
    figures.show(figure, alt="The loss grows.")
    [(data, metadata)] = published
    assert data.keys() == {"application/vnd.plotly.v1+json", "text/plain"}
    assert data["text/plain"] == "The loss grows."
    assert not metadata
    content = data["application/vnd.plotly.v1+json"]
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["data"][0]["x"] == [0, 1, 2]  # numbers, not base64
    assert content["data"][0]["y"] == [1, None, 3]
    assert content["layout"]["meta"] == {"alt": "The loss grows."}
    assert content["layout"]["title"]["text"] == "kept"
    assert content["layout"]["template"]["layout"]["colorway"] == list(figures.PALETTE)
    assert figure.layout.meta is None  # the author's figure is left alone


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.array([[True, False]]),
    ],
)
def test_plotly_arrays_become_lists(values: np.ndarray) -> None:
    figure = go.Figure(go.Heatmap(z=values))
    assert figures.plotly_json(figure, "x")["data"][0]["z"] == values.tolist()


def test_plotly_keeps_the_meta_of_the_author() -> None:
    assert figures.plotly_json(scatter(meta={"a": 1}), "x")["layout"]["meta"] == {
        "a": 1,
        "alt": "x",
    }
    with pytest.raises(ValueError, match="meta must be a dict"):
        figures.plotly_json(scatter(meta=[1]), "x")


def test_colab_draws_plotly_itself(published: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setattr(go.Figure, "show", lambda self, renderer: shown.append(renderer))
    figures.show(scatter(), alt="x")
    assert shown == ["colab"]
    assert not published


def test_a_plain_script_prints_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    figures.show(line(), alt="The loss grows.")
    figures.show(scatter(), alt="It really does.")
    assert capsys.readouterr().out == "The loss grows.\nIt really does.\n"


# -- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("alt", ["", "  \n", None, 3])
def test_alt_is_required(alt: Any) -> None:
    with pytest.raises(ValueError, match="alt must say"):
        figures.show(line(), alt=alt)


@pytest.mark.parametrize("thing", [3, "figure", None])
def test_only_figures_are_shown(thing: Any) -> None:
    with pytest.raises(ValueError, match="fig must be a Matplotlib or a Plotly figure"):
        figures.show(thing, alt="x")


def test_an_axes_is_no_figure() -> None:
    with pytest.raises(ValueError, match=r"as \.figure"):
        figures.show(line().axes[0], alt="x")


@pytest.mark.parametrize("axis", ["x", "y"])
def test_matplotlib_axis_without_label(axis: str) -> None:
    with pytest.raises(ValueError, match=f"on: the {axis} axis of axes 1$"):
        figures.show(line(**{f"{axis}label": ""}), alt="x")


def test_matplotlib_names_the_panel_without_label() -> None:
    figure, (left, right) = plt.subplots(1, 2)
    for axes in (left, right):
        axes.plot([1])
        axes.set(xlabel="x", ylabel="y")
    right.set(xlabel="", title="Entropy")
    with pytest.raises(ValueError, match=r"on: the x axis of axes 2 \('Entropy'\)$"):
        figures.show(figure, alt="x")


def test_matplotlib_shared_axes_need_one_label(published: list[Any]) -> None:
    figure, grid = plt.subplots(2, 2, sharex=True, sharey=True)
    for axes in grid.flat:
        axes.plot([1, 2])
    grid[1, 0].set(xlabel="x", ylabel="y")
    figures.show(figure, alt="x")
    assert published


def test_matplotlib_labels_of_the_whole_figure_count(published: list[Any]) -> None:
    figure, grid = plt.subplots(1, 2)
    for axes in grid:
        axes.plot([1, 2])
    figure.supxlabel("x")
    figure.supylabel("y")
    figures.show(figure, alt="x")
    assert published


def test_matplotlib_twin_needs_its_own_label() -> None:
    figure = line()
    figure.axes[0].twinx().plot([1, 2], [3, 4])
    with pytest.raises(ValueError, match=r"on: the y axis of axes 2$"):
        figures.show(figure, alt="x")


def test_matplotlib_color_bar_needs_a_label(published: list[Any]) -> None:
    figure, axes = plt.subplots()
    axes.set(xlabel="Key", ylabel="Query")
    bar = figure.colorbar(axes.imshow(np.eye(3)))
    with pytest.raises(ValueError, match=r"on: the color bar \(axes 2\)$"):
        figures.show(figure, alt="x")
    bar.set_label("Weight")
    figures.show(figure, alt="x")
    assert published


def test_matplotlib_axes_without_data_or_axis_need_no_label(published: list[Any]) -> None:
    figure, (_empty, drawing) = plt.subplots(1, 2)
    drawing.plot([1, 2])
    drawing.axis("off")
    figures.show(figure, alt="x")
    assert published


@pytest.mark.parametrize("axis", ["xaxis", "yaxis"])
def test_plotly_axis_without_label(axis: str) -> None:
    with pytest.raises(ValueError, match=f"on: {axis}$"):
        figures.show(scatter(**{f"{axis}_title": None}), alt="x")


def test_plotly_shared_axes_need_one_label(published: list[Any]) -> None:
    figure = make_subplots(2, 1, shared_xaxes=True)
    for row in (1, 2):
        figure.add_scatter(y=[1, 2], row=row, col=1)
    figure.update_yaxes(title="y")
    with pytest.raises(ValueError, match=r"on: xaxis, xaxis2$"):
        figures.show(figure, alt="x")
    figure.update_xaxes(title="x", row=2)
    figures.show(figure, alt="x")
    assert published


def test_plotly_color_bar_needs_a_label(published: list[Any]) -> None:
    figure = go.Figure(go.Heatmap(z=np.eye(2)), {"xaxis_title": "Key", "yaxis_title": "Query"})
    with pytest.raises(ValueError, match=r"on: the color bar of a heatmap$"):
        figures.show(figure, alt="x")
    figure.update_traces(colorbar_title="Weight")
    figures.show(figure, alt="x")
    assert published


def test_plotly_trace_that_the_site_cannot_draw() -> None:
    with pytest.raises(ValueError, match="traces of type scattergl; the site's Plotly draws bar"):
        figures.show(go.Figure(go.Scattergl(y=[1])), alt="x")


def test_plotly_text_in_tex() -> None:
    with pytest.raises(ValueError, match=r"TeX in a text \(\$d_k\$\)"):
        figures.show(scatter(xaxis_title="$d_k$"), alt="x")


def test_plotly_text_with_prices(published: list[Any]) -> None:
    figures.show(scatter(title="From $2 to $5"), alt="x")
    assert published


# -- Colors ---------------------------------------------------------------------------------------


def luminance(color: str) -> float:
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_the_one_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


# White, the sheet in Jupyter, and the theme's dark page and dark panel.
@pytest.mark.parametrize("background", ["#ffffff", figures.PAPER, "#121212", "#222832"])
@pytest.mark.parametrize("color", figures.PALETTE)
def test_palette_is_seen_in_light_and_dark(color: str, background: str) -> None:
    assert contrast(color, background) >= 3


def test_palette_has_no_color_twice_or_theme_color() -> None:
    for one, other in itertools.combinations([*figures.PALETTE, figures.INK, figures.PAPER], 2):
        assert one != other


# -- On the page ----------------------------------------------------------------------------------


def test_svg_is_a_picture_in_the_colors_of_each_theme() -> None:
    svg = figures.matplotlib_svg(line())
    light, dark = (themed_svg(svg, theme) for theme in ("light", "dark"))
    assert light != dark
    for picture, theme in ((light, "light"), (dark, "dark")):
        assert picture.startswith("<svg")
        assert "<metadata" not in picture
        assert figures.INK not in picture
        assert figures.PAPER not in picture
        assert set(THEMES[theme].values()) <= set(re.findall("#[0-9a-f]{6}", picture))
    assert svg_size(svg) == (538, 336)


def test_theme_colors_of_pictures_are_those_of_the_page() -> None:
    """The site's own tests compare them with a page in a browser."""
    for colors in THEMES.values():
        assert contrast(colors[figures.INK], colors[figures.PAPER]) >= 7


def test_svg_must_be_whole() -> None:
    with pytest.raises(ValueError, match="viewBox"):
        svg_size("<svg><g/></svg>")


def page_of(figure: go.Figure, alt: str = "x") -> BeautifulSoup:
    return BeautifulSoup(plotly_html(figures.plotly_json(figure, alt), "figure-1-0"), "html.parser")


def test_plotly_on_the_page_has_its_size_its_text_and_its_data() -> None:
    # The text could end the script, or smuggle in an element of its own.
    figure = scatter(title="</script><b>bold</b>", height=300)
    tree = page_of(figure, alt='5 < 6 & "quoted"')
    [plot] = tree.select("figure.plotly-figure > .plotly-plot[role=img]")
    assert plot["aria-label"] == '5 < 6 & "quoted"'
    assert plot.get_text() == '5 < 6 & "quoted"'
    assert "height: 300px" in plot["style"]
    [script] = tree.select("script")
    assert json.loads(script.string) == figures.plotly_json(figure, '5 < 6 & "quoted"')


def test_plotly_has_a_picture_for_each_theme_and_width() -> None:
    content = figures.plotly_json(scatter(height=300), '5 < "6"')
    addresses = {(t, w): f"../_images/{t}-{w}.svg" for t in THEMES for w in WIDTHS}
    tree = BeautifulSoup(plotly_html(content, "figure-1-0", addresses), "html.parser")
    pictures = tree.select(".plotly-plot > picture")
    assert len(pictures) == 2
    assert not tree.select(".plotly-plot > p")
    for picture, theme in zip(pictures, THEMES, strict=True):
        [source], [image] = picture.select("source"), picture.select("img")
        assert image["class"] == [f"only-{theme}"]
        assert (image["src"], source["srcset"]) == (
            f"../_images/{theme}-wide.svg",
            f"../_images/{theme}-narrow.svg",
        )
        assert (image["width"], source["width"]) == (str(WIDTHS["wide"]), str(WIDTHS["narrow"]))
        assert (image["height"], source["height"]) == ("300", "300")
        assert image["alt"] == '5 < "6"'
        assert image["loading"] == "lazy"


def test_plotly_has_the_height_of_the_template_by_default() -> None:
    [plot] = page_of(scatter()).select(".plotly-plot")
    assert plot["style"] == f"height: {figures.TEMPLATE.layout.height}px"


def test_plotly_controls_become_the_browsers_own() -> None:
    steps = [{"label": str(d), "method": "skip"} for d in (1, 4, 16)]
    tree = page_of(
        scatter(
            sliders=[{"active": 1, "steps": steps, "currentvalue": {"prefix": "d<sub>k</sub> = "}}],
            updatemenus=[{"name": "Scale", "buttons": [{"label": "linear"}, {"label": "log"}]}],
        )
    )
    [slider] = tree.select("input[type=range]")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "2", "1")
    assert slider["aria-valuetext"] == "dk = 4"
    assert json.loads(slider["data-labels"])[2] == "d<sub>k</sub> = 16"
    [label] = tree.select(f"label[for={slider['id']}]")
    assert label.decode_contents() == "d<sub>k</sub> = 4"
    [menu] = tree.select("select")
    assert [option.get_text() for option in menu.select("option")] == ["linear", "log"]
    assert tree.select_one(f"label[for={menu['id']}]").get_text() == "Scale"


class Output:
    """As much of MyST-NB's MimeData as the renderer looks at."""

    def __init__(self, mime_type: str, content: Any, **metadata: Any) -> None:
        self.mime_type = mime_type
        self.content = self.string = content
        self.output_metadata = metadata
        self.cell_index, self.output_index = 3, 1


class Renderer:
    """As much of MyST-NB's renderer as ours asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write_file(self, path: list[str], content: bytes, exists_ok: bool) -> str:
        assert exists_ok
        self.folder.joinpath(path[-1]).write_bytes(content)
        return "/".join(path)


def test_renderer_takes_its_own_outputs_and_leaves_the_rest(tmp_path: Path) -> None:
    pytest.importorskip("docutils")
    svg = figures.matplotlib_svg(line())
    still = Output(figures.SVG_MIME, svg, **{figures.SVG_MIME: {"alt": "x"}})
    plotly = Output(figures.PLOTLY_MIME, figures.plotly_json(scatter(), "x"))
    renderer = Renderer(tmp_path)
    [box] = FigureRenderer.handle_mime(renderer, still, inline=False)
    assert [picture["classes"] for picture in box] == [["only-light"], ["only-dark"]]
    assert [picture["alt"] for picture in box] == ["x", "x"]
    assert {picture["uri"] for picture in box} == {f"figures/{f.name}" for f in tmp_path.iterdir()}
    [node] = FigureRenderer.handle_mime(renderer, plotly, inline=False)
    assert node["format"] == "html"
    assert node.astext() == plotly_html(node["figure"], node["key"])
    assert [FigureRenderer.handle_mime(renderer, o, inline=True) for o in (still, plotly)] == [
        None
    ] * 2
    others = [Output(figures.SVG_MIME, svg), Output("text/plain", "x"), Output("image/png", b"")]
    assert [FigureRenderer.handle_mime(None, o, inline=False) for o in others] == [None] * 3


# -- Around it ------------------------------------------------------------------------------------


def imported(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


def test_the_package_does_not_import_the_plotting_libraries() -> None:
    assert not imported("llmbook") & {"matplotlib", "plotly"}


def test_the_renderer_does_not_import_what_builds_the_book() -> None:
    assert not imported("llmbook._myst_nb") & {"docutils", "sphinx", "myst_nb"}


def test_site_and_package_have_the_same_plotly() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    bundle = packages["node_modules/plotly.js-cartesian-dist-min"]["version"]
    assert bundle == plotly.offline.get_plotlyjs_version()


def test_the_site_draws_what_show_lets_through(tmp_path: Path) -> None:
    if not (ROOT / "node_modules/plotly.js-cartesian-dist-min").is_dir():
        pytest.skip("node_modules is not installed: `make book` does")
    import plotly_pictures

    bundle = plotly_pictures.plotly_bundle(tmp_path).read_text(encoding="utf-8")
    traces = re.findall(r'moduleType:"trace",name:"(\w+)"', bundle)
    assert set(traces) == figures.PLOTLY_TRACES
    assert len(bundle) < 1_100_000  # the ready-made one has 1.5 million
