"""Figures that read in light and dark, say what they show, and come out the same every time.

::

    from llmbook.figures import show

    figure, axes = plt.subplots()
    ...
    show(figure, alt="Largest attention weight against d_k: it rises from 0.4 to 1.")

Importing this module sets Matplotlib's defaults (``matplotlib.rcParams``), so that
``plt.subplots()`` draws in the book's style without further calls; `show` does the same for Plotly
with a template. Both draw text and axes in `INK` on `PAPER`; the book's pages replace these two by
the colors of the reader's theme. Use both names wherever a figure needs "the text color" or "the
background", and the colors of `PALETTE`, which read on either, for data.
"""

import base64
import io
import json
import re
import sys
from typing import Any

import matplotlib
import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]
from cycler import cycler
from matplotlib.figure import Figure
from plotly.utils import PlotlyJSONEncoder  # type: ignore[import-untyped]

# Deliberately odd values, which no author picks by accident: pages search for them in the SVG.
INK = "#1b1c1d"
PAPER = "#fdfefe"

# At least 3:1 against white and against the dark theme's backgrounds (WCAG 1.4.11), and the first
# five chosen for the largest smallest distance (Oklab) under normal vision and simulated
# protanopia, deuteranopia and tritanopia (Machado et al., 2009).
BLUE, ORANGE, TEAL, PURPLE, OCHRE, GRAY = PALETTE = (
    "#1294f2",
    "#d47e33",
    "#20816f",
    "#b46bac",
    "#8d6d02",
    "#858585",
)

PLOTLY_MIME = "application/vnd.plotly.v1+json"
SVG_MIME = "image/svg+xml"

# What the site's Plotly draws: its bundle is made of these traces. When a figure needs another one
# of plotly.js-cartesian-dist-min, its name is added here.
PLOTLY_TRACES = frozenset({"bar", "heatmap", "scatter"})

MATPLOTLIB_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": PAPER,
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": "medium",
    "boxplot.boxprops.color": INK,
    "boxplot.capprops.color": INK,
    "boxplot.flierprops.color": INK,
    "boxplot.flierprops.markeredgecolor": INK,
    "boxplot.whiskerprops.color": INK,
    "errorbar.capsize": 2.5,
    "figure.constrained_layout.use": True,
    "figure.edgecolor": PAPER,
    "figure.facecolor": PAPER,
    # Small enough that its text can still be read when a phone shows it at 60 %.
    "figure.figsize": (5.6, 3.5),
    "font.size": 11,
    "grid.alpha": 0.2,
    "grid.color": INK,
    "hatch.color": INK,
    "image.cmap": "viridis",
    "legend.edgecolor": INK,
    "legend.framealpha": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "patch.edgecolor": INK,
    "savefig.edgecolor": PAPER,
    "savefig.facecolor": PAPER,
    # Paths instead of text: the same picture on every machine, whatever fonts it has.
    "svg.fonttype": "path",
    "svg.hashsalt": "llmbook",
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelcolor": INK,
    "ytick.color": INK,
    "ytick.labelcolor": INK,
}

_AXIS = {
    "automargin": True,
    "gridcolor": "rgba(128, 128, 128, 0.25)",
    "linecolor": INK,
    "showline": True,
    "tickcolor": INK,
    "ticks": "outside",
    "title": {"standoff": 8},
    "zeroline": False,
}
TEMPLATE = go.layout.Template(
    layout={
        "colorway": PALETTE,
        "colorscale": {"sequential": "Viridis", "sequentialminus": "Viridis", "diverging": "RdBu"},
        "coloraxis": {"colorbar": {"outlinewidth": 0, "ticks": "outside"}},
        "font": {"color": INK, "size": 14},
        "height": 420,
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 56, "r": 16, "t": 48, "b": 48},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "title": {"font": {"size": 16}, "x": 0, "xref": "paper"},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    },
    data={
        kind: [{"colorscale": "Viridis", "colorbar": {"outlinewidth": 0, "ticks": "outside"}}]
        for kind in ("contour", "heatmap", "histogram2d", "histogram2dcontour")
    },
)

matplotlib.rcParams.update(MATPLOTLIB_STYLE)


def show(fig: Figure | go.Figure, alt: str) -> None:
    """Publish a figure, with the text that stands for it where it cannot be seen.

    A Matplotlib figure is published as SVG and closed; a Plotly figure as its JSON, with the book's
    template under whatever the figure sets itself. Both carry `alt` as their plain text. In a plain
    script, where nothing can display a figure, the alternative text is printed.

    Parameters
    ----------
    fig : matplotlib.figure.Figure or plotly.graph_objects.Figure
        Every axis of an axes that shows data must have a label, units included, and every color
        scale too.
    alt : str
        What the figure shows, not that it is a figure: "Entropy falls from 2.1 to 0 nats as d_k …".

    Raises
    ------
    ValueError
        If `alt` is empty, an axis has no label, `fig` is of another type, or a Plotly figure has a
        trace or a text that the site cannot draw.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt must say what the figure shows, got {alt!r}")
    alt = " ".join(alt.split())
    if isinstance(fig, Figure):
        _require_labels(_unlabeled_matplotlib(fig))
        _publish({SVG_MIME: matplotlib_svg(fig), "text/plain": alt}, {SVG_MIME: {"alt": alt}})
        _close(fig)
    elif isinstance(fig, go.Figure):
        _require_drawable(fig)
        _require_labels(_unlabeled_plotly(fig))
        if "google.colab" in sys.modules:  # Colab does not know Plotly's own type
            go.Figure(fig).update_layout(template=TEMPLATE).show(renderer="colab")
        else:
            _publish({PLOTLY_MIME: plotly_json(fig, alt), "text/plain": alt}, {})
    else:
        raise ValueError(
            f"fig must be a Matplotlib or a Plotly figure, got {type(fig).__module__}."
            f"{type(fig).__qualname__} (an axes has its figure as .figure)"
        )


def matplotlib_svg(fig: Figure) -> str:
    """Return the figure as SVG, byte for byte the same each time it is drawn."""
    buffer = io.StringIO()
    with matplotlib.rc_context({k: v for k, v in MATPLOTLIB_STYLE.items() if k.startswith("svg.")}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def plotly_json(fig: go.Figure, alt: str) -> dict[str, Any]:
    """Return the figure as plain JSON values, numbers in full, `alt` under ``layout.meta``."""
    figure = go.Figure(fig).update_layout(template=TEMPLATE)
    meta = figure.layout.meta
    if meta is not None and not isinstance(meta, dict):
        raise ValueError(f"fig.layout.meta must be a dict or None, got {type(meta).__qualname__}")
    figure.layout.meta = {**(meta or {}), "alt": alt}
    plain: dict[str, Any] = json.loads(
        json.dumps(_lists(figure.to_plotly_json()), cls=PlotlyJSONEncoder)
    )
    return plain


def _lists(value: Any) -> Any:
    """Turn the base64 arrays that Plotly makes of NumPy's into lists, which compare and diff."""
    if isinstance(value, dict):
        if value.keys() >= {"dtype", "bdata"}:
            array = np.frombuffer(base64.b64decode(value["bdata"]), dtype=np.dtype(value["dtype"]))
            if "shape" in value:
                array = array.reshape([int(n) for n in str(value["shape"]).split(",")])
            return array.tolist()
        return {key: _lists(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_lists(item) for item in value]
    return value


def _publish(data: dict[str, Any], metadata: dict[str, Any]) -> None:
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(data["text/plain"])
    else:
        display(data, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]


def _close(fig: Figure) -> None:
    # A figure that pyplot made would be shown a second time at the end of the cell.
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(fig)


def _require_labels(missing: list[str]) -> None:
    if missing:
        raise ValueError(f"fig needs a label, with its unit, on: {', '.join(missing)}")


def _unlabeled_matplotlib(fig: Figure) -> list[str]:
    missing = []
    axes: list[Any] = fig.axes
    for number, ax in enumerate(axes, start=1):
        name = f"axes {number}" + (f" ({ax.get_title()!r})" if ax.get_title() else "")
        if ax.get_label() == "<colorbar>":
            if not (ax.get_xlabel() or ax.get_ylabel()):
                missing.append(f"the color bar ({name})")
            continue
        drawn = ax.get_visible() and getattr(ax, "_axis3don", ax.axison)
        if not (drawn and ax.has_data()) or ax.name == "polar":
            continue
        overall = {"x": fig.get_supxlabel(), "y": fig.get_supylabel()}
        for which, axis in ax._axis_map.items():  # x and y, and z in three dimensions
            shared = ax._shared_axes[which].get_siblings(ax)
            labels = [overall.get(which, "")]
            labels += [other._axis_map[which].get_label_text() for other in shared]
            if axis.get_visible() and len(axis.get_ticklocs()) and not any(labels):
                missing.append(f"the {which} axis of {name}")
    return missing


def _require_drawable(fig: go.Figure) -> None:
    unknown = sorted({trace.type for trace in fig.data} - PLOTLY_TRACES)
    if unknown:
        raise ValueError(
            f"fig has traces of type {', '.join(unknown)}; the site's Plotly draws "
            f"{', '.join(sorted(PLOTLY_TRACES))}"
        )
    tex = re.search(r"\$[^$\"]*[\\\\_^{][^$\"]*\$", fig.to_json())
    if tex:
        raise ValueError(
            f"fig has TeX in a text ({tex[0]}), which Plotly cannot draw without MathJax; "
            "it reads HTML: d<sub>k</sub>"
        )


def _unlabeled_plotly(fig: go.Figure) -> list[str]:
    layout = fig.to_plotly_json()["layout"]

    def titled(thing: dict[str, Any]) -> bool:
        return bool((thing.get("title") or {}).get("text"))

    missing = []
    for trace in (trace.to_plotly_json() for trace in fig.data):
        if trace["type"] in ("pie", "scatterternary", "image"):
            continue
        for which in ("x", "y"):
            key = f"{which}axis" + trace.get(f"{which}axis", which)[1:]
            axis = layout.get(key, {})
            # Axes that are zoomed together need one label between them.
            group = axis.get("matches", key[0] + key[5:])
            shared = [
                other
                for name, other in layout.items()
                if name.startswith(f"{which}axis")
                and other.get("matches", name[0] + name[5:]) == group
            ]
            if axis.get("visible", True) and not any(map(titled, [axis, *shared])):
                missing.append(key)
        scale = trace
        colored = trace["type"] in ("contour", "heatmap", "histogram2d", "histogram2dcontour")
        if "coloraxis" in trace:
            scale = layout.get(trace["coloraxis"], {})
        if (
            colored
            and trace.get("showscale", True)
            and scale.get("showscale", True)
            and not titled(scale.get("colorbar", {}))
        ):
            missing.append(f"the color bar of a {trace['type']}")
    return list(dict.fromkeys(missing))
