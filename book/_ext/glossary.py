"""Terms of the glossary are links where a page uses them first, with their meaning as a tooltip.

A term is found whatever its case, in the singular or the plural; one that holds a capital, such as
GPT, only as it is written. The words of a term in parentheses, as in ``head (of a layer)``, keep it
apart from the everyday word, which is never a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_design.shared import is_component

# Where a link would disturb or could not stand.
NOT_INSIDE = (
    nodes.title,
    nodes.rubric,
    nodes.caption,
    nodes.reference,
    nodes.citation,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.image,
    addnodes.pending_xref,
    addnodes.glossary,
    addnodes.download_reference,
)
NOT_IN_CLASSES = {
    "cell_output",
    "exercise-badges",
    "path-card",
    "quiz",  # a choice is pressed as a whole, and its script moves its explanation
    "sd-summary-text",
    "toctree-wrapper",
}
# Pages about terms or lists of links, where a term explains nothing.
LEFT_OUT = ("bibliography", "changes", "genindex", "search")


@dataclass(frozen=True)
class Entry:
    """A meaning and the words for it."""

    names: tuple[str, ...]
    anchor: str
    meaning: str  # the first sentence


def first_sentence(text: str) -> str:
    """Return the text up to the first full stop that ends a sentence.

    >>> first_sentence("A sum, e.g. of two. Another sentence.")
    'A sum, e.g. of two.'
    """
    text = re.sub(r"\s+", " ", text).strip()
    found = re.search(r"(?<!\b[A-Za-z])(?<!e\.g)(?<!i\.e)[.](?=\s+[A-Z(])", text)
    return text[: found.end()] if found else text


def entries(doctree: nodes.document) -> Iterator[Entry]:
    """Yield the entries of a page's glossaries."""
    for glossary in doctree.findall(addnodes.glossary):
        for item in glossary.findall(nodes.definition_list_item):
            terms = [child for child in item.children if isinstance(child, nodes.term)]
            paragraph = item.next_node(nodes.definition).next_node(nodes.paragraph)
            names = tuple(term.astext() for term in terms)
            yield Entry(names, terms[0]["ids"][0], first_sentence(paragraph.astext()))


# -- Finding --------------------------------------------------------------------------------------


class Finder:
    """Finds terms in texts, longer ones before the shorter ones in them, each entry once."""

    def __init__(self, glossary: Iterable[Entry]) -> None:
        self.by_name: dict[str, Entry] = {}
        for entry in glossary:
            for name in entry.names:
                if not name.endswith(")"):
                    self.by_name[_key(name)] = entry
        names = sorted(self.by_name, key=len, reverse=True)
        words = "|".join(_pattern(name) for name in names)
        self.pattern = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])") if names else None

    def find(self, text: str, left: set[Entry]) -> Iterator[tuple[int, int, Entry]]:
        """Yield where terms of entries that are left stand; they are left no longer."""
        for match in self.pattern.finditer(text) if self.pattern else ():
            entry = self.entry(match[0])
            if entry in left:
                left.remove(entry)
                yield match.start(), match.end(), entry

    def entry(self, words: str) -> Entry:
        for name in (words, words.lower()):
            for form in _singulars(re.sub(r"\s+", " ", name)):
                if form in self.by_name:
                    return self.by_name[form]
        raise AssertionError(f"{words!r} was found but is no term")


def _key(name: str) -> str:
    return name if _as_written(name) else name.lower()


def _as_written(name: str) -> bool:
    """Say whether a name has a capital that is part of it, not of the beginning of a sentence."""
    return any(letter.isupper() for letter in name)


def _pattern(name: str) -> str:
    words = [re.escape(word) for word in name.split()]
    if re.search(r"[^aeiou]y$", name):
        words[-1] = f"{words[-1][:-1]}(?:y|ies)"
    else:
        words[-1] += "(?:e?s)?"
    if not _as_written(name):
        # In ASCII, or a case is found that lower() does not give: the long s of old print is an s.
        words = [f"(?ai:{word})" for word in words]
    return r"\s+".join(words)


def _singulars(word: str) -> Iterator[str]:
    yield word
    for ending, instead in (("ies", "y"), ("es", ""), ("s", "")):
        if word.endswith(ending):
            yield word.removesuffix(ending) + instead


def texts(document: nodes.document) -> list[nodes.Text]:
    """Return the pieces of a page's running text, in order; first what is not in a dropdown."""
    found = [
        text
        for paragraph in document.findall(nodes.paragraph)
        if not _kept_out(paragraph, document)
        for text in paragraph.findall(nodes.Text)
        if not _kept_out(text.parent, paragraph)
    ]
    return sorted(found, key=_is_closed)


def _is_closed(node: nodes.Node) -> bool:
    return node is not None and (is_component(node, "dropdown") or _is_closed(node.parent))


def _kept_out(node: nodes.Element, within: nodes.Element) -> bool:
    """Say whether a link must not stand in a node or in what it is in, up to ``within``."""
    while node is not within:
        if _forbids(node):
            return True
        node = node.parent
    return _forbids(within)


def _forbids(node: nodes.Element) -> bool:
    return isinstance(node, NOT_INSIDE) or bool(NOT_IN_CLASSES & set(node["classes"]))


# -- Linking --------------------------------------------------------------------------------------


def _records(env: BuildEnvironment) -> dict[str, list[Entry]]:
    if not hasattr(env, "glossaries"):
        env.glossaries = {}
    return env.glossaries


def record_page(app: Sphinx, doctree: nodes.document) -> None:
    if found := list(entries(doctree)):
        _records(app.env)[app.env.docname] = found


def purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _records(env).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    _records(env).update({n: e for n, e in _records(other).items() if n in docnames})


def rewrite_when_terms_change(app: Sphinx, env: BuildEnvironment) -> set[str]:
    """Return all pages if the glossary has changed: any of them may use the term."""
    before = getattr(env, "glossary_shown", None)
    env.glossary_shown = dict(_records(env))
    return set() if env.glossary_shown == before else set(env.found_docs)


class LinkTerms(SphinxPostTransform):
    """Make a link of the first use of each term on a page."""

    default_priority = 20  # when all other links are links
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        here = self.env.docname
        glossary = {e: page for page, found in _records(self.env).items() for e in found}
        if here in LEFT_OUT or here in _records(self.env):
            return
        finder, left = Finder(glossary), set(glossary)
        for text in texts(self.document):
            parts, end = [], 0
            for start, stop, entry in finder.find(str(text), left):
                if start > end:
                    parts.append(nodes.Text(text[end:start]))
                address = self.app.builder.get_relative_uri(here, glossary[entry])
                uri = f"{address}#{entry.anchor}"
                words, end = text[start:stop], stop
                parts.append(
                    nodes.reference(
                        "",
                        words,
                        internal=True,
                        refuri=uri,
                        reftitle=entry.meaning,
                        classes=["term"],
                    )
                )
            if parts:
                if end < len(text):
                    parts.append(nodes.Text(text[end:]))
                text.parent.replace(text, parts)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_post_transform(LinkTerms)
    app.connect("doctree-read", record_page)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("env-updated", rewrite_when_terms_change)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
