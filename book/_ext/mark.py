"""The book's mark: in the page, as icons of a few sizes, and on the card of each page.

``_static/favicon.svg`` is its one source. Icons and cards are drawn with Pillow, in the fonts that
Matplotlib brings.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

SOURCE = Path(__file__).parents[1] / "_static" / "favicon.svg"
SVG = "{http://www.w3.org/2000/svg}"
SHARPNESS = 4  # drawn so many times larger and then reduced, as Pillow's edges are hard
CARD = (1200, 630)  # what social networks ask for
TILE, NODE, PAPER = "#14365c", "#ffb066", "#ffffff"


def inline(css_class: str, size: int) -> str:
    """Return the mark's markup for a page, where the style sheet may color it."""
    opening = f'<svg class="{css_class}" aria-hidden="true" width="{size}" height="{size}" '
    return SOURCE.read_text(encoding="utf-8").strip().replace("<svg ", opening, 1)


def icon(size: int, *, full: bool = False) -> Image.Image:
    """Draw the mark; ``full`` fills the square and keeps the margin that launchers cut away."""
    root = ET.parse(SOURCE).getroot()
    units = float(root.attrib["viewBox"].split()[2])
    large = size * SHARPNESS
    margin = large * 0.14 if full else 0.0
    scale = (large - 2 * margin) / units
    image = Image.new("RGBA", (large, large))
    draw = ImageDraw.Draw(image)

    def place(*values: str) -> list[float]:
        return [margin + scale * float(value) for value in values]

    def disk(x: float, y: float, radius: float, color: str) -> None:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)

    for shape, style in _shapes(root, {}):
        get = shape.attrib.__getitem__
        if shape.tag == f"{SVG}rect":
            if full:
                draw.rectangle((0, 0, large, large), fill=style["fill"])
            else:
                corner = scale * float(get("rx"))
                draw.rounded_rectangle((0, 0, large - 1, large - 1), corner, fill=style["fill"])
        elif shape.tag == f"{SVG}line":
            x1, y1, x2, y2 = place(get("x1"), get("y1"), get("x2"), get("y2"))
            width = scale * float(style["stroke-width"])
            draw.line((x1, y1, x2, y2), fill=style["stroke"], width=round(width))
            for x, y in ((x1, y1), (x2, y2)):
                disk(x, y, width / 2, style["stroke"])
        elif shape.tag == f"{SVG}circle":
            x, y = place(get("cx"), get("cy"))
            disk(x, y, scale * float(get("r")), style["fill"])
        else:
            raise ValueError(f"{SOURCE.name}: expected rect, line or circle, got {shape.tag}")
    return image.resize((size, size), Image.Resampling.LANCZOS)


def _shapes(element: ET.Element, style: dict[str, str]) -> list[tuple[ET.Element, dict[str, str]]]:
    style = style | element.attrib
    if element.tag in (f"{SVG}svg", f"{SVG}g"):
        return [pair for child in element for pair in _shapes(child, style)]
    return [(element, style)]


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", name)), size)


def _lines(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def card(book: str, title: str, below: str) -> Image.Image:
    """Draw what a social network shows of a page: the book, the page's title and a line below."""
    image = Image.new("RGB", CARD, TILE)
    draw = ImageDraw.Draw(image, "RGBA")
    _triangle(draw)
    mark = icon(96)
    image.paste(mark, (80, 64), mark)
    draw.text((200, 112), book, font=_font(40), fill=PAPER, anchor="lm")
    for size in (84, 72, 60, 48):
        lines = _lines(title, _font(size, True), CARD[0] - 160)
        if len(lines) <= 3:
            break
    height = round(1.2 * size)
    top = 350 - height * len(lines) // 2
    for number, line in enumerate(lines):
        draw.text((80, top + number * height), line, font=_font(size, True), fill=PAPER)
    draw.text((80, 548), below, font=_font(34), fill=NODE, anchor="lm")
    # Few colors are enough, and make a small file.
    return image.quantize(64, dither=Image.Dither.NONE)


def _triangle(draw: ImageDraw.ImageDraw) -> None:
    """Draw a causal attention matrix in the background: each row looks most at the recent past."""
    cells, side = 9, 46
    for row in range(cells):
        weights = [1 / (1 + row - column) for column in range(row + 1)]
        for column, weight in enumerate(weights):
            x, y = CARD[0] - 40 - (cells - column) * side, 190 + row * side
            alpha = round(70 * weight / sum(weights) ** 0.5)
            draw.rounded_rectangle(
                (x, y, x + side - 8, y + side - 8), 6, fill=(255, 176, 102, alpha)
            )


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
