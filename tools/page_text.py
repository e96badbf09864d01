"""The text of a page, read and mended as text: to parse 40 MB of pages would take a minute."""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree

# The attributes of a tag: a value may hold anything but its quote.
INSIDE = r"""(?:[^<>"']|"[^"]*"|'[^']*')*"""
# What is not to be changed; and comments, which hide what stands in them.
VERBATIM = re.compile(r"<!--.*?-->|<(pre|script|style|textarea)\b.*?</\1>", re.DOTALL)
BLANK = re.compile(r"\s*\n\s*")
TAG = re.compile(rf"<([a-zA-Z][^\s<>/]*)({INSIDE})>")
ATTRIBUTE = re.compile(r"""([^\s"'=<>/]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]+)))?""")
# Their values name nothing that a style sheet could ask for.
WORDLESS = frozenset(
    ("alt", "aria-label", "content", "d", "href", "points", "src", "style", "title", "transform")
)
# Faults of the theme's HTML, see `mended`.
BUTTON = re.compile(rf"<button\b({INSIDE})>(.*?)</button>", re.DOTALL)
MAIN_ROLE = re.compile(r'(<main\b[^<>]*?)\srole="main"')
ON_PAPER = re.compile(r'<div id="jb-print-docs-body"(?:(?!<nav\b|</div>\s*</div>).)*', re.DOTALL)
ON_PAPER_HEADINGS = re.compile(r"<h([12])>\s*(.*?)\s*</h\1>", re.DOTALL)
EMPTY_LANDMARK = re.compile(r"<(header|footer)\b([^<>]*)>(?=\s*</\1>)")
THIS_PAGE = re.compile(r'<a(?= class="current reference internal" href="#")')
# Elements whose text is their name or that of a control, and the formulas in it.
NAMING = re.compile(
    r"<(a|button|h[1-6]|label|legend|summary|th)\b[^<>]*>(?:(?!</\1>).)*?<math\b.*?</\1>",
    re.DOTALL,
)
FORMULA = re.compile(r"<math\b.*?</math>", re.DOTALL)
# What the theme calls by its place on a wide screen.
TITLES = {
    'title="Toggle primary sidebar"': 'title="Show or hide the contents of the book"',
    'title="Toggle secondary sidebar"': 'title="Show or hide the contents of this page"',
}
POWERS = {"2": "squared", "3": "cubed", "⊤": "transposed", "′": "prime"}


def attributes(inside: str) -> dict[str, str]:
    """Return the attributes in a tag, after its name; those without a value have an empty one.

    >>> attributes(' alt="a > b" src=x.svg width="3" hidden')
    {'alt': 'a > b', 'src': 'x.svg', 'width': '3', 'hidden': ''}
    """
    return {name: html.unescape("".join(value)) for name, *value in ATTRIBUTE.findall(inside)}


def words(text: str) -> set[str]:
    """Return the tags, attributes, classes and ids of HTML: all that a style sheet can ask for."""
    found: set[str] = set()
    for name, inside in set(TAG.findall(text)):
        found.add(name)
        for attribute, *value in ATTRIBUTE.findall(inside):
            found.add(attribute)
            if attribute not in WORDLESS:
                found.update("".join(value).split())
    # KaTeX's numbers and the like: no selector has them.
    return {word for word in found if not word[:1].isdigit() and len(word) < 80}


def without_comments(text: str) -> str:
    """Return HTML without comments, leaving alone what is verbatim."""
    return VERBATIM.sub(lambda match: match[0] if match[1] else "", text)


def spoken(element: ElementTree.Element) -> str:
    """Return the words for a formula in MathML, short as in a heading.

    >>> spoken(ElementTree.fromstring("<msqrt><msub><mi>d</mi><mi>k</mi></msub></msqrt>"))
    'square root of d sub k'
    """
    parts = [spoken(child) for child in element if not child.tag.endswith("annotation")]
    kind = element.tag.rpartition("}")[2]
    if kind == "mfrac":
        return " over ".join(parts)
    if kind == "msqrt":
        return f"square root of {' '.join(parts)}"
    if kind in ("msup", "msubsup"):
        parts[-1] = POWERS.get(parts[-1]) or f"to the power {parts[-1]}"
    if kind in ("msub", "msubsup"):
        parts.insert(1, "sub")
    return " ".join(filter(None, parts)) or (element.text or "").strip(" \u200b\u2061")


def mended(text: str) -> str:
    """Return HTML with what the theme's templates leave to wish for put right.

    A button that only has a tooltip gets it as its name, in a reader's words, and one without a
    type sends no form. What only stands on paper, the page's title once more and that of its
    contents, are no headings. Headers and footers without content are no landmarks. The sidebar
    says which page is this one. Browsers leave MathML out of the names of links, headings and
    fields: formulas have words there.

    >>> mended('<button title="Full screen"><svg></svg></button>')
    '<button title="Full screen" aria-label="Full screen" type="button"><svg></svg></button>'
    """

    def button(match: re.Match[str]) -> str:
        given = attributes(match[1])
        added = ""
        if (
            "title" in given
            and "aria-label" not in given
            and not re.sub(r"<[^<>]*>", "", match[2]).strip()
        ):
            added += f' aria-label="{html.escape(given["title"])}"'
        if "type" not in given:
            added += ' type="button"'
        return f"<button{match[1]}{added}>{match[2]}</button>"

    def heading(match: re.Match[str]) -> str:
        kind = "title" if match[1] == "1" else "contents"
        return f'<p class="print-{kind}">{match[2]}</p>' if match[2] else ""

    def formula(match: re.Match[str]) -> str:
        name = html.escape(spoken(ElementTree.fromstring(match[0])))
        return f'<math aria-label="{name}"{match[0].removeprefix("<math")}'

    for theirs, ours in TITLES.items():
        text = text.replace(theirs, ours)
    text = BUTTON.sub(button, text)
    text = EMPTY_LANDMARK.sub(r'<\1\2 role="none">', text)  # the theme's scripts ask for their size
    text = THIS_PAGE.sub('<a aria-current="page"', text)
    text = NAMING.sub(lambda match: FORMULA.sub(formula, match[0]), text)
    text = MAIN_ROLE.sub(r"\1", text)
    return ON_PAPER.sub(lambda match: ON_PAPER_HEADINGS.sub(heading, match[0]), text)


def squeeze(text: str) -> str:
    """Return HTML without blank lines, leaving alone what is verbatim."""
    parts: list[str] = []
    end = 0
    for match in VERBATIM.finditer(text):
        parts += [BLANK.sub("\n", text[end : match.start()]), match[0]]
        end = match.end()
    parts.append(BLANK.sub("\n", text[end:]))
    return "".join(parts).lstrip()
