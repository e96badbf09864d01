"""Fonts with the letters that the site has."""

import io
from pathlib import Path

from fontTools.ttLib import TTFont

import fonts

ROOT = Path(__file__).resolve().parents[1]


def test_subset_keeps_the_letters_that_are_wanted() -> None:
    font = ROOT / "node_modules/katex/dist/fonts/KaTeX_Main-Regular.ttf"
    some = fonts.subset(font, {"A", "\N{GREEK CAPITAL LETTER GAMMA}", "\N{SNOWMAN}"})
    with TTFont(io.BytesIO(some)) as subset:
        assert subset.flavor == "woff"
        assert set(subset.getBestCmap()) == {ord("A"), 0x393}
    assert len(some) < font.stat().st_size / 10
    assert some == fonts.subset(font, {"\N{GREEK CAPITAL LETTER GAMMA}", "A"})


def test_font_classes_are_those_that_rules_end_in() -> None:
    style = (
        "@font-face{font-family:KaTeX_AMS;src:url(x)}.katex{font:1em/1.2 KaTeX_Main,serif}"
        ".katex .mathbb,.katex .amsrm{color:red;font-family:KaTeX_AMS}"
        ".katex .delim-size1>span{font-family:KaTeX_Size1}"
    )
    assert fonts.font_classes(style) == {
        "KaTeX_Main": {"katex"},
        "KaTeX_AMS": {"mathbb", "amsrm"},
        "KaTeX_Size1": {"span"},
    }
