"""The fonts of the site with no more letters than its pages have."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable
from pathlib import Path

# Formulas in these two fonts stand on every page that has any.
MATH_FONTS = ("KaTeX_Main-Regular.woff2", "KaTeX_Math-Italic.woff2")
# The other fonts for letters have a few of them on a few pages, in elements of these classes.
RARE = re.compile(
    r'\bclass="(?:[^"]* )?(amsrm|math(?:bb|cal|frak|scr|sf|tt))(?: [^"]*)?"[^<>]*>([^<]*)'
)
RARE_CLASSES = {"amsrm", *(f"math{kind}" for kind in ("bb", "cal", "frak", "scr", "sf", "tt"))}


def subset(
    font: Path,
    letters: set[str],
    layout_features: Iterable[str] = (),
    hinting: bool = False,
) -> bytes:
    """Return a font with some of its letters, as WOFF; raises OSError where there is none."""
    from fontTools import subset as subsetting

    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it wonders about old fonts' dates
    options = subsetting.Options(
        flavor="woff", layout_features=list(layout_features), name_IDs=[], hinting=hinting
    )
    with subsetting.load_font(font, options) as whole:
        tool = subsetting.Subsetter(options)
        tool.populate(text="".join(letters))
        tool.subset(whole)
        # The same bytes each time, so that the name stays as well.
        whole["head"].modified = whole["head"].created
        whole.recalcTimestamp = False
        target = io.BytesIO()
        subsetting.save_font(whole, target, options)
    return target.getvalue()


def font_classes(style: str) -> dict[str, set[str]]:
    """Return the classes that the rules of a style sheet give each of KaTeX's fonts to.

    >>> font_classes(".katex .mathbb,.katex .amsrm{font-family:KaTeX_AMS}")["KaTeX_AMS"] == {
    ...     "mathbb", "amsrm"
    ... }
    True
    """
    found: dict[str, set[str]] = {}
    for selectors, family in re.findall(r"([^{}]*)\{[^{}]*?\bfont[^:;]*:[^;}]*?(KaTeX_\w+)", style):
        if "@font-face" not in selectors:
            ends = (re.split(r"[\s.>]", selector)[-1] for selector in selectors.split(","))
            found.setdefault(family, set()).update(ends)
    return found
