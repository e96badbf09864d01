"""The text of a page, read and mended as text: to parse 40 MB of pages would take a minute."""

from __future__ import annotations

import html
import re

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


def mended(text: str) -> str:
    """Return HTML with what the theme's templates leave to wish for put right.

    A button that only has a tooltip gets it as its name, and one without a type sends no form. What
    only stands on paper, the page's title once more and that of its contents, are no headings.

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

    text = BUTTON.sub(button, text)
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
