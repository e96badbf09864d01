"""How the site shows figures: an entry point that MyST-NB loads when it builds the book.

Nothing here imports Sphinx or MyST-NB at module level, so that the package installs without them.
"""

import hashlib
import html
import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from llmbook.figures import INK, PAPER, PLOTLY_MIME, SVG_MIME, TEMPLATE

# A picture of its own for each of the themes, in the colors that book.css gives their pages.
THEMES = {
    "light": {INK: "#222832", PAPER: "#ffffff"},
    "dark": {INK: "#ced6dd", PAPER: "#121212"},
}
PX_PER_PT = 96 / 72
# In pixels: as wide as the text on a screen, and on a phone, where it is drawn for that width.
WIDTHS = {"wide": 720, "narrow": 344}
NARROW = "(max-width: 480px)"


class FigureRenderer:
    """Render what :func:`llmbook.figures.show` publishes (MyST-NB's mime renderer protocol)."""

    mime_priority_overrides: ClassVar[list[tuple[str, str, int | None]]] = [
        ("html", PLOTLY_MIME, 1)
    ]

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: bool) -> list[Any] | None:
        """Return the figure as raw HTML, or None for what is not ours."""
        if inline or data.mime_type not in (SVG_MIME, PLOTLY_MIME):
            return None
        from docutils import nodes  # type: ignore[import-untyped]

        if data.mime_type == PLOTLY_MIME:
            key = f"figure-{data.cell_index}-{data.output_index}"
            markup = plotly_html(data.content, key)
            # With what book/_ext/plotly_pictures.py needs to put pictures in.
            return [nodes.raw("", markup, format="html", figure=data.content, key=key)]
        alt = data.output_metadata.get(SVG_MIME, {}).get("alt")
        if alt is None:  # somebody else's SVG: MyST-NB knows what to do
            return None
        width, height = svg_size(data.string)
        pictures = []
        for theme in THEMES:
            svg = themed_svg(data.string, theme).encode()
            # Named by its content: a picture that has not changed stays in the browser's cache.
            name = hashlib.sha256(svg).hexdigest()[:16] + ".svg"
            uri = renderer.write_file(["figures", name], svg, exists_ok=True)
            pictures.append(
                nodes.image(
                    uri=uri,
                    alt=alt,
                    classes=[f"only-{theme}"],
                    width=str(width),
                    height=str(height),
                )
            )
        return [nodes.container("", *pictures, classes=["matplotlib-figure"])]


def themed_svg(svg: str, theme: str) -> str:
    """Return Matplotlib's SVG in the colors of a theme, without what no browser needs."""
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    for stand_in, color in THEMES[theme].items():
        svg = svg.replace(stand_in, color)
    return svg + "\n"


def svg_size(svg: str) -> tuple[int, int]:
    """Return width and height of Matplotlib's SVG in pixels.

    Raises
    ------
    ValueError
        If the picture has no viewBox that starts at 0 0.
    """
    view_box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    if view_box is None:
        raise ValueError("svg must have a viewBox that starts at 0 0, as Matplotlib writes it")
    width, height = (round(float(points) * PX_PER_PT) for points in view_box.groups())
    return width, height


def figure_height(figure: dict[str, Any]) -> int:
    """Return the height of a Plotly figure in pixels."""
    return int(figure["layout"].get("height", TEMPLATE.layout.height))


def plotly_html(
    figure: dict[str, Any], key: str, pictures: Mapping[tuple[str, str], str] | None = None
) -> str:
    """Return the place where figures.js draws a Plotly figure, at its final size.

    Sliders and menus become the browser's own controls, which work by keyboard, by touch and with a
    screen reader. Until the figure is drawn, where no script runs, and on paper, its picture stands
    there, or without `pictures`, the addresses for each theme and each of `WIDTHS`, its text.
    """
    layout = figure["layout"]
    alt = html.escape(layout["meta"]["alt"])
    height = figure_height(figure)
    menus = [_menu_html(m, f"{key}-menu-{n}") for n, m in enumerate(layout.get("updatemenus", []))]
    sliders = [
        _slider_html(s, f"{key}-slider-{n}") for n, s in enumerate(layout.get("sliders", []))
    ]
    if pictures:
        stand_in = "".join(
            f'<picture><source media="{NARROW}" srcset="{pictures[theme, "narrow"]}" '
            f'width="{WIDTHS["narrow"]}" height="{height}">'
            f'<img class="only-{theme}" src="{pictures[theme, "wide"]}" alt="{alt}" loading="lazy" '
            f'width="{WIDTHS["wide"]}" height="{height}"></picture>'
            for theme in THEMES
        )
    else:
        stand_in = f"<p>{alt}</p>"
    # "<" cannot end the script element early when it is written as an escape.
    data = json.dumps(figure, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<figure class="plotly-figure" data-ink="{INK}" data-paper="{PAPER}">'
        f'<div class="plotly-plot" role="img" aria-label="{alt}" '
        f'style="height: {height}px">{stand_in}</div>'
        f"{''.join(menus + sliders)}"
        f'<script type="application/json">{data}</script>'
        "</figure>"
    )


def _slider_html(slider: dict[str, Any], key: str) -> str:
    steps = slider["steps"]
    active = slider.get("active", 0)
    current = slider.get("currentvalue", {})
    around = current.get("prefix", ""), current.get("suffix", "")
    labels = [_rich_text(step["label"].join(around)) for step in steps]
    spoken = html.escape(re.sub(r"<[^>]*>", "", labels[active]))
    return (
        f'<div class="plotly-control"><label for="{key}">{labels[active]}</label>'
        f'<input type="range" id="{key}" min="0" max="{len(steps) - 1}" value="{active}" '
        f'aria-valuetext="{spoken}" data-labels="{html.escape(json.dumps(labels))}" '
        'autocomplete="off" disabled></div>'
    )


def _menu_html(menu: dict[str, Any], key: str) -> str:
    active = menu.get("active", 0)
    name = html.escape(menu.get("name", "Show"))
    options = "".join(
        f'<option value="{n}"{" selected" if n == active else ""}>'
        f"{html.escape(button['label'])}</option>"
        for n, button in enumerate(menu["buttons"])
    )
    return (
        f'<div class="plotly-control"><label for="{key}">{name}</label>'
        f'<select id="{key}" autocomplete="off" disabled>{options}</select></div>'
    )


def _rich_text(text: str) -> str:
    """Escape all but the tags that Plotly knows in its texts."""
    return re.sub(r"&lt;(/?(?:b|i|em|sub|sup))&gt;", r"<\1>", html.escape(text, quote=False))
