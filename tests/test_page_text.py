"""What the publishing step does to the text of a page."""

from xml.etree import ElementTree

import pytest

import page_text


def test_faults_of_the_theme_are_mended() -> None:
    text = """<main id="main-content" class="bd-main" role="main">
<button title="A &amp; B" data-x="a > b"> <svg></svg> </button>
<button title="Print" type="submit">.pdf</button>
<button title="Toggle primary sidebar"><svg></svg></button>
<button title="Search" aria-label="Search it"><svg></svg></button>
<div id="jb-print-docs-body" class="onlyprint"><h1> {title} </h1>
<div id="print-main-content"><div id="jb-print-toc"><div>
<h2> Contents </h2></div><nav><h2>kept</h2></nav></div></div></div>
<article><h1>kept</h1></article>"""
    assert page_text.mended(text.replace("{title}", "A <em>title</em>")) == (
        """<main id="main-content" class="bd-main">
<button title="A &amp; B" data-x="a > b" aria-label="A &amp; B" type="button"> <svg></svg> </button>
<button title="Print" type="submit">.pdf</button>
<button title="Show or hide the contents of the book" aria-label="Show or hide the contents of the \
book" type="button"><svg></svg></button>
<button title="Search" aria-label="Search it" type="button"><svg></svg></button>
<div id="jb-print-docs-body" class="onlyprint"><p class="print-title">A <em>title</em></p>
<div id="print-main-content"><div id="jb-print-toc"><div>
<p class="print-contents">Contents</p></div><nav><h2>kept</h2></nav></div></div></div>
<article><h1>kept</h1></article>"""
    )
    assert '<div id="jb-print-docs-body" class="onlyprint">\n<div' in page_text.mended(
        text.replace("{title}", "")
    )


def test_words_are_what_selectors_name() -> None:
    page = '<div class="one two" id="three" data-theme="dark" title="not this" hidden><br/></div>'
    assert page_text.words(page) == {
        *(
            "div",
            "class",
            "one",
            "two",
            "id",
            "three",
            "data-theme",
            "dark",
            "title",
            "hidden",
            "br",
        )
    }


def test_formulas_are_part_of_names() -> None:
    formula = (
        '<math xmlns="http://www.w3.org/1998/Math/MathML"><semantics><mrow><mn>4</mn><msup><mi>d'
        '</mi><mn>2</mn></msup></mrow><annotation encoding="application/x-tex">4d^2</annotation>'
        "</semantics></math>"
    )
    named = page_text.mended(
        f'<h2>It has {formula} weights</h2><a href="#">no formula</a><p>{formula}</p>'
    )
    assert named.count("aria-label") == 1
    assert '<h2>It has <math aria-label="4 d squared" xmlns' in named


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("<mfrac><mi>d</mi><mi>h</mi></mfrac>", "d over h"),
        ("<msubsup><mi>x</mi><mi>t</mi><mi>n</mi></msubsup>", "x sub t to the power n"),
        (
            "<mrow><mi>K</mi><mo>\u2061</mo><msup><mi>Q</mi><mo>⊤</mo></msup></mrow>",
            "K Q transposed",
        ),
        ("<mover><mi>x</mi><mo>ˉ</mo></mover>", "x ˉ"),
    ],
)
def test_words_for_formulas(formula: str, words: str) -> None:
    assert page_text.spoken(ElementTree.fromstring(formula)) == words


def test_landmarks_hold_something_and_the_sidebar_says_where_one_is() -> None:
    assert page_text.mended('<header id="top">\n</header><footer>By</footer>') == (
        '<header id="top" role="none">\n</header><footer>By</footer>'
    )
    link = '<a class="current reference internal" href="#">Here</a>'
    assert page_text.mended(link) == link.replace("<a", '<a aria-current="page"')
