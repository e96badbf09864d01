"""Terms are found as people write them; a small book shows links, links back and what finds it."""

import io
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

import catalogue
import glossary

ROOT = Path(__file__).parents[1]

ENTRIES = [
    glossary.Entry(("attention",), "attention", "A."),
    glossary.Entry(("attention head",), "head", "B."),
    glossary.Entry(("GPT",), "gpt", "C."),
    glossary.Entry(("query",), "query", "D."),
    glossary.Entry(("value (of a token)",), "value", "E."),
    glossary.Entry(("warm-up",), "warm", "F."),
    glossary.Entry(("byte-pair encoding", "BPE"), "bpe", "G."),
    glossary.Entry(("softmax",), "softmax", "H."),
    glossary.Entry(("key",), "key", "I."),
    glossary.Entry(("tokenizer",), "tokenizer", "J."),
]


def found(text: str) -> list[tuple[str, str]]:
    finder = glossary.Finder(ENTRIES)
    return [(text[a:b], e.anchor) for a, b, e in finder.find(text, set(ENTRIES))]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Attention heads attend", [("Attention heads", "head")]),
        ("Attention, then attention again", [("Attention", "attention")]),
        ("an attention\nhead", [("attention\nhead", "head")]),
        ("queries and a query", [("queries", "query")]),
        ("Keys and a key", [("Keys", "key")]),
        ("ſoftmax, a tokenİzer", []),
        ("an attention\N{NO-BREAK SPACE}head", [("attention\N{NO-BREAK SPACE}head", "head")]),
        ("two GPTs, not gpt", [("GPTs", "gpt")]),
        ("a value and values", []),
        ("BPE is byte-pair encoding", [("BPE", "bpe")]),
        ("softmaxes", [("softmaxes", "softmax")]),
        ("self-attention and attention-free, inattention", []),
        ("Warm-up", [("Warm-up", "warm")]),
    ],
)
def test_terms_are_found_as_people_write_them(text: str, terms: list[tuple[str, str]]) -> None:
    assert found(text) == terms


def test_an_empty_glossary_finds_nothing() -> None:
    assert list(glossary.Finder([]).find("attention", set())) == []


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One. Two.", "One."),
        ("A thing, e.g. This one. Two.", "A thing, e.g. This one."),
        ("Only one", "Only one"),
    ],
)
def test_the_tooltip_is_the_first_sentence(text: str, first: str) -> None:
    assert glossary.first_sentence(text) == first


def test_the_books_glossary_is_in_order_and_complete() -> None:
    text = (ROOT / "book/glossary.md").read_text(encoding="utf-8")
    body = re.search(r"```\{glossary\}\n(.*?)\n```", text, re.S)[1]
    exercises = catalogue.load(ROOT / "book/exercises.yml")
    names, firsts = [], []
    for entry in body.split("\n\n"):
        terms = [line for line in entry.split("\n") if not line.startswith(" ")]
        meaning = " ".join(line.strip() for line in entry.split("\n") if line.startswith(" "))
        [label] = re.findall(r"\{ref\}`([^`]+)`", meaning)
        assert label in exercises
        assert not glossary.first_sentence(meaning).startswith("Exercise")
        names += terms
        firsts.append(terms[0].lower())
    assert len(firsts) >= 60
    assert firsts == sorted(firsts)
    assert len({name.lower() for name in names}) == len(names)


# -- A small book ---------------------------------------------------------------------------------

CONF = """
project = html_title = "Small book"
author = "Us"
extensions = ["myst_parser", "sphinx_design", "glossary", "citations", "discovery", "outputs"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
html_math_renderer = "mathjax"
bibtex_bibfiles = ["references.bib"]
html_baseurl = BASE
"""
PAGES = {
    "requirements-dev.txt": "",
    "book/index.md": """\
# Small book

This is a book about softmax and about nothing else at all.

```{toctree}
one
two
words
literature
changes
```
""",
    "book/one.md": """\
# A softmax page

:::{dropdown} A closed box
Here the query comes first.
:::

## About softmax

A `softmax`, $softmax$ and [softmax](https://example.org) are no words; Softmaxes and *queries* are
{cite}`knuth1984texbook`. Another softmax. A temperature of 1 {cite}`knuth1984texbook`.
""",
    "book/two.md": "# Two\n\nAs in {cite}`knuth1984texbook,lamport1994latex`: it has no terms.\n",
    "book/words.md": """\
# Words

```{glossary}
query
  What asks a softmax. It is a vector.

softmax
  Exponentials over their sum, "so to speak". More of it in {doc}`one`.
```
""",
    "book/literature.md": "# Literature\n\n```{bibliography}\n```\n",
    "book/changes.md": '# Changes\n\n```{include} ../CHANGES.md\n:start-after: "-->"\n```\n',
    "CHANGES.md": "# Changes\n\n<!-- below -->\n\n## 2026-01-31: It's here\n\nAll of it.\n",
    "book/references.bib": """\
@book{knuth1984texbook, author = {Donald E. Knuth}, title = {The TeXbook}, year = {1984},
  publisher = {Addison-Wesley}}
@book{lamport1994latex, author = {Leslie Lamport}, title = {LaTeX}, year = {1994},
  publisher = {Addison-Wesley}}
@book{nobody, author = {No Body}, title = {Not cited}, year = {2000}, publisher = {Nowhere}}
""",
}


def build(root: Path, base: str, stop_at: str = "") -> tuple[Callable[[str], str], str, list[str]]:
    """Build the small book; return its files, the warnings and the pages that were written.

    At the page ``stop_at``, somebody interrupts it.
    """
    book, out, warnings, written = root / "book", root / "out", io.StringIO(), []
    (book / "conf.py").write_text(CONF.replace("BASE", repr(base)), encoding="utf-8")
    with patch_docutils(), docutils_namespace():
        app = Sphinx(str(book), str(book), str(out), str(root / "d"), "html", None, None, warnings)

        def note(app: Sphinx, page: str, *rest: object) -> None:
            written.append(page)
            if page == stop_at:
                raise KeyboardInterrupt

        app.connect("html-page-context", note)
        with suppress(KeyboardInterrupt):
            app.build()
    return lambda name: (out / name).read_text("utf-8"), warnings.getvalue(), written


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    for name, text in PAGES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_a_small_book(root: Path) -> None:
    page, warnings, _ = build(root, "https://example.org/small")
    assert not warnings

    # Terms: once a page, in running text only, outside of boxes first.
    one = page("one.html")
    terms = re.findall(r'<a class="term[^"]*" href="([^"]*)" title="([^"]*)">([^<]*)', one)
    assert terms == [
        ("words.html#term-query", "What asks a softmax.", "queries"),
        ("words.html#term-softmax", "Exponentials over their sum, “so to speak”.", "Softmaxes"),
    ] or terms == [
        ("words.html#term-softmax", "Exponentials over their sum, “so to speak”.", "Softmaxes"),
        ("words.html#term-query", "What asks a softmax.", "queries"),
    ]
    assert 'class="term' not in page("two.html")
    assert 'class="term' not in page("words.html")
    assert page("index.html").count('class="term') == 1

    # Links back from the bibliography, in the order of the book.
    literature = page("literature.html")
    knuth, lamport = re.findall(r'<p class="cited-in">(.*?)</p>', literature)
    links = re.findall(r'href="(\w+\.html)#([^"]+)" title="([^"]*)"', knuth)
    assert [(address, title) for address, _, title in links] == [
        ("one.html", "A softmax page, citation 1 of 2"),
        ("one.html", "A softmax page, citation 2 of 2"),
        ("two.html", "Two, citation 1 of 1"),
    ]
    for address, anchor, _ in links:
        assert f'id="{anchor}"' in page(address)
    assert lamport.count("<a ") == 1
    assert "Not cited" not in literature

    # What a page says of itself.
    assert '<link rel="canonical" href="https://example.org/small/" />' in page("index.html")
    assert '<link rel="canonical" href="https://example.org/small/one.html" />' in one
    assert (
        '<meta name="description" content="This is a book about softmax and about nothing else at '
        'all." />' in page("index.html")
    )
    assert "<title>Small book</title>" in page("index.html")
    assert '<meta property="og:image" content="https://example.org/small/cards/one.png" />' in one
    assert 'type="application/atom+xml"' in one

    # What is one file for the whole site.
    addresses = re.findall("<loc>([^<]*)", page("sitemap.xml"))
    names = ("", "changes.html", "literature.html", "one.html", "two.html", "words.html")
    assert addresses == [f"https://example.org/small/{name}" for name in names]
    assert "Sitemap: https://example.org/small/sitemap.xml\n" in page("robots.txt")
    anchor = re.search(r'changes\.html#([^"]+)"', page("feed.xml"))[1]
    assert f'id="{anchor}"' in page("changes.html")
    with Image.open(root / "out/cards/one.png") as card:
        assert card.size == (1200, 630)
        assert "A softmax page" in card.info["Description"]
    for name, (size, _) in {"icons/icon-512.png": (512, True)}.items():
        with Image.open(root / "out" / name) as icon:
            assert icon.size == (size, size)


def test_an_edit_touches_what_shows_it(root: Path) -> None:
    build(root, "https://example.org/small")
    cards = {file: file.stat().st_mtime_ns for file in (root / "out/cards").iterdir()}

    assert set(build(root, "https://example.org/small")[2]) <= {"genindex", "search"}

    words = root / "book/words.md"
    words.write_text(words.read_text("utf-8").replace("What asks", "Who asks"), encoding="utf-8")
    page, warnings, written = build(root, "https://example.org/small")
    assert not warnings
    assert {"index", "one", "two", "words"} <= set(written)
    assert 'title="Who asks a softmax."' in page("one.html")

    two = root / "book/two.md"
    two.write_text("# Two\n\nNothing is cited any more on this page.\n", encoding="utf-8")
    page, warnings, written = build(root, "https://example.org/small")
    assert not warnings
    assert {"two", "literature"} <= set(written)
    assert "one" not in written
    assert "Two" not in re.findall(r'<p class="cited-in">(.*?)</p>', page("literature.html"))[0]
    assert {file: file.stat().st_mtime_ns for file in (root / "out/cards").iterdir()} == cards


def test_what_an_interrupted_build_left_out_is_written_by_the_next(root: Path) -> None:
    build(root, "https://example.org/small")
    words = root / "book/words.md"
    words.write_text(words.read_text("utf-8").replace("Who asks", "Whoever asks"), encoding="utf-8")
    _, _, written = build(root, "https://example.org/small", stop_at="index")
    assert "one" not in written
    page, warnings, _ = build(root, "https://example.org/small")
    assert not warnings
    assert 'title="Whoever asks a softmax."' in page("one.html")
    assert set(build(root, "https://example.org/small")[2]) <= {"genindex", "search"}


def test_without_an_address_no_page_names_a_host(root: Path) -> None:
    page, warnings, _ = build(root, "")
    assert not warnings
    one = page("one.html")
    for tag in ("canonical", "og:image", "og:url", "twitter:card", "application/atom+xml"):
        assert tag not in one
    assert '<meta property="og:title" content="A softmax page" />' in one
    assert page("robots.txt") == "User-agent: *\nAllow: /\n"
    assert not (root / "out/sitemap.xml").exists()
    assert not (root / "out/feed.xml").exists()
