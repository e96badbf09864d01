"""What the site's search knows: every exercise part by part, every other section of a page.

While a page is read, its texts are noted; after the build they are written into two scripts that a
page loads when its reader opens the search: first statements, hints and the text around them, then
what is three times as long, solutions and what follows them. A hint gets an anchor of its own, so
that a hit in it can be linked to. Sphinx's own index is not built: it knows neither exercises nor
what is in a dropdown.
"""

from __future__ import annotations

import ast
import builtins
import json
import keyword
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util import docname_join
from sphinx_exercise.nodes import is_exercise_node

import toc
from exercises import is_hint, is_solution

# The kinds of entries, as site/scripts/finder.js knows them; hint n is HINT + n. REST is what
# stands in an exercise's section beside its statement, hints and solution.
SECTION, STATEMENT, SOLUTION, REST, HINT = 0, 1, 2, 3, 3

# Each script: its file, the variable it sets, and whether an entry goes there.
SCRIPTS = [
    ("search-index.js", "llmbookSearchIndex", lambda kind: kind not in (SOLUTION, REST)),
    ("search-solutions.js", "llmbookSearchSolutions", lambda kind: kind in (SOLUTION, REST)),
]

# -- Texts ----------------------------------------------------------------------------------------

_LINK = "\0"  # stands around what a link without a text of its own leads to, until titles are known
_SYMBOLS = dict(
    re.findall(
        r"(\S+)=(\S+)",
        """
    alpha=α beta=β gamma=γ delta=δ epsilon=ε varepsilon=ε zeta=ζ eta=η theta=θ kappa=κ lambda=λ mu=μ
    nu=ν xi=ξ pi=π rho=ρ sigma=σ tau=τ phi=φ varphi=φ chi=χ psi=ψ omega=ω Gamma=Γ Delta=Δ Theta=Θ
    Lambda=Λ Pi=Π Sigma=Σ Phi=Φ Psi=Ψ Omega=Ω cdot=· times=× odot=⊙ otimes=⊗ oplus=⊕ pm=± to=→
    rightarrow=→ mapsto=↦ iff=⇔ le=≤ leq=≤ ge=≥ geq=≥ ne=≠ neq=≠ ll=≪ gg=≫ approx=≈ sim=∼ equiv=≡
    propto=∝ in=∈ cup=∪ cap=∩ sum=∑ prod=∏ infty=∞ partial=∂ nabla=∇ ell=ℓ circ=° top=ᵀ dots=…
    ldots=… cdots=… mid=| lfloor=⌊ rfloor=⌋ lceil=⌈ rceil=⌉ langle=⟨ rangle=⟩ log=log ln=ln exp=exp
    min=min max=max arg=arg lim=lim sin=sin cos=cos tanh=tanh Pr=Pr
        """,
    )
)


def _group(text: str) -> str:
    return text if re.fullmatch(r"[\w√.]*", text) else f"({text})"


# What is replaced again and again, from the inside out, until only plain text is left.
_INNERMOST = [
    (re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}"), lambda m: f"{m[1]}/{_group(m[2])}"),
    (re.compile(r"\\sqrt ?\{([^{}]*)\}"), lambda m: f"√{_group(m[1])}"),
    (re.compile(r"(?<=[_^])\{([^{}]*)\}"), lambda m: _group(m[1])),
    (re.compile(r"\\(?![dt]?frac|sqrt)[a-zA-Z]+\*? ?\{([^{}]*)\}"), lambda m: m[1]),
    (re.compile(r"(?<!frac)(?<!\})\{([^{}]*)\}"), lambda m: m[1]),
]


def plain_formula(latex: str) -> str:
    r"""Return a formula in the text as one would type it.

    >>> plain_formula(r"\operatorname{softmax}(QK^\top / \sqrt{d_k})")
    'softmax(QKᵀ / √d_k)'
    """
    text = re.sub(r"\\(?:begin|end)\{\w*\*?\}", "", latex)
    text = re.sub(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])", "", text)
    text = re.sub(r"\\\\|\\[!,;:> ]|&|~", " ", text)
    text = re.sub(r"\\([{}])", lambda m: "\1\2"["{}".index(m[1])], text)  # braces that are seen
    before = ""
    while text != before:
        before = text
        for pattern, plain in _INNERMOST:
            text = pattern.sub(plain, text)
    text = re.sub(r"\\sqrt *", "√", text)
    text = re.sub(r"\\([a-zA-Z]+)\*?", lambda m: _SYMBOLS.get(m[1], ""), text)
    text = re.sub(r"\\(.)", r"\1", text).replace("^ᵀ", "ᵀ")
    text = re.sub(r"[{}]", "", text).replace("\1", "{").replace("\2", "}")
    return re.sub(r"(?<=\() | (?=[),])", "", " ".join(text.split()))


def _is_output(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_output"


_UNREAD = (
    nodes.comment,
    nodes.image,
    nodes.literal_block,
    nodes.math_block,
    nodes.raw,
    nodes.system_message,
    addnodes.index,
)
_UNREAD_CLASSES = {"exercise-badges", "exercise-filter", "exercise-index", "progress-panel"}


def _pieces(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.Text):
        yield node.astext()
    elif isinstance(node, nodes.math):
        yield plain_formula(node.astext())
    elif isinstance(node, addnodes.pending_xref):
        domain, kind = node.get("refdomain"), node.get("reftype")
        if domain == "cite":
            return
        if node.get("refexplicit") or kind not in ("ref", "numref", "doc", "myst"):
            for child in node.children:
                yield from _pieces(child)
        else:
            target = node["reftarget"]
            if kind == "doc":
                target = "/" + docname_join(node.get("refdoc", ""), target)
            yield f"{_LINK}{target}{_LINK}"
    elif isinstance(node, _UNREAD) or _is_output(node) or _UNREAD_CLASSES & {*node["classes"]}:
        return
    else:
        for child in node.children:
            yield from _pieces(child)
        if not isinstance(node, nodes.Inline):
            yield " "


def text_of(parts: Iterable[nodes.Node]) -> str:
    """Return what a reader would read of some nodes: no code, no outputs, no citations."""
    text = " ".join("".join(piece for part in parts for piece in _pieces(part)).split())
    return re.sub(r" (?=[.,;:)])", "", text)


# -- Names in code --------------------------------------------------------------------------------

_COMMON = {*dir(builtins), *keyword.kwlist, "self", "cls"}
_PLOTTING = ("matplotlib", "plotly", "plt", "go")
_TELLING = re.compile(
    r"_\w|[A-Z]|\d"
)  # against "row", "loss" or "total", which the text has anyway


def _parse(code: str) -> ast.Module:
    try:
        return ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", code))
    except SyntaxError:
        return ast.Module([], [])


def _imported(codes: Iterable[str]) -> set[str]:
    """Return the names that imports give to modules and what is in them."""
    return {
        alias.asname or alias.name.partition(".")[0]
        for code in codes
        for node in ast.walk(_parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def _names(code: str, imported: set[str]) -> Iterator[str]:
    inner: set[ast.AST] = set()  # parts of a dotted name already given
    for node in ast.walk(_parse(code)):
        if isinstance(node, ast.Attribute):
            value: ast.expr = node
            names: list[str] = []
            while isinstance(value, ast.Attribute):
                names.insert(0, value.attr)
                value = value.value
                inner.add(value)
            if node in inner:
                continue
            if isinstance(value, ast.Name) and value.id in imported:
                yield ".".join([value.id, *names])
            else:
                yield from filter(_TELLING.search, names)
        elif isinstance(node, ast.Name) and node not in inner:
            if node.id in imported or _TELLING.search(node.id):
                yield node.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg | ast.keyword):
            if node.arg and _TELLING.search(node.arg):
                yield node.arg
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def _code(part: nodes.Node) -> Iterator[str]:
    for block in part.findall(nodes.literal_block):
        parent: nodes.Node | None = block
        while parent is not None and not _is_output(parent):
            parent = parent.parent
        if parent is None:
            yield block.astext()


def names_in(parts: Iterable[nodes.Node], imported: set[str], known: str = "") -> str:
    """Return the names in code that one may look for, each once, without those known already."""
    names = [name for part in parts for code in _code(part) for name in _names(code, imported)]
    unwanted = {*_COMMON, *known.split()}
    return " ".join(
        name
        for name in dict.fromkeys(names)
        if len(name) > 1
        and name not in unwanted
        and not name.startswith("__")
        and name.partition(".")[0] not in _PLOTTING
    )


# -- Collecting -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """What a search can find: a part of an exercise or another section."""

    kind: int
    anchor: str
    title: str
    text: str
    names: str


@dataclass
class Page:
    """A page's title and entries."""

    title: str
    entries: list[Entry] = field(default_factory=list)


def _exercise(section: nodes.section) -> nodes.Element | None:
    found = [child for child in section.children if is_exercise_node(child)]
    return found[0] if len(found) == 1 else None


def anchor_hints(doctree: nodes.document) -> None:
    """Give hint n of each exercise the anchor ``<label>-hint-<n>``."""
    for section in doctree.findall(nodes.section):
        exercise = _exercise(section)
        if exercise is None:
            continue
        for number, hint in enumerate(filter(is_hint, section.children), start=1):
            anchor = f"{exercise['label']}-hint-{number}"
            if doctree.ids.setdefault(anchor, hint[0]) is hint[0] and not hint[0]["ids"]:
                hint[0]["ids"] = [anchor]  # which the dropdown takes over


def _of_exercise(
    section: nodes.section, exercise: nodes.Element, imported: set[str]
) -> Iterator[Entry]:
    label = exercise["label"]
    statement = [child for child in exercise.children if not isinstance(child, nodes.title)]
    closed, rest = [], []
    for child in section.children:
        if is_hint(child) or is_solution(child, label):
            closed.append(child)
        elif child is not exercise and not isinstance(child, nodes.title | nodes.section):
            rest.append(child)
    title = text_of(section.next_node(nodes.title).children)
    names = names_in([*statement, *rest], imported)
    yield Entry(STATEMENT, label, title, text_of(statement), names)
    hints = 0
    for child in closed:
        hints += is_hint(child)
        kind = HINT + hints if is_hint(child) else SOLUTION
        anchor = (child[0]["ids"] or [label])[0]
        body = child.children[1:]
        yield Entry(kind, anchor, "", text_of(body), names_in(body, imported, known=names))
    if text := text_of(rest):
        yield Entry(REST, label, "", text, "")


def entries_of(doctree: nodes.document) -> Iterator[Entry]:
    """Yield what can be found on a page, in its order."""
    imported = _imported(_code(doctree))
    for section in doctree.findall(nodes.section):
        exercise = _exercise(section)
        if exercise is not None:
            yield from _of_exercise(section, exercise, imported)
            continue
        rest = [n for n in section.children if not isinstance(n, nodes.title | nodes.section)]
        text, names = text_of(rest), names_in(rest, imported)
        if text or names:
            top = isinstance(section.parent, nodes.document)
            title = section.next_node(nodes.title)
            heading = text_of(title.children) if title is not None else ""
            yield Entry(SECTION, "" if top else section["ids"][0], heading, text, names)


def record_page(app: Sphinx, doctree: nodes.document) -> None:
    anchor_hints(doctree)
    heading = doctree.next_node(nodes.title)
    title = text_of(heading.children) if heading is not None else app.env.docname
    _pages(app.env)[app.env.docname] = Page(title, list(entries_of(doctree)))


def _pages(env: BuildEnvironment) -> dict[str, Page]:
    if not hasattr(env, "search_pages"):
        env.search_pages = {}
    return env.search_pages


def purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _pages(env).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    _pages(env).update({n: page for n, page in _pages(other).items() if n in docnames})


# -- Writing --------------------------------------------------------------------------------------


def index_scripts(pages: dict[str, Page], sources: dict[str, str]) -> dict[str, str]:
    """Return the index as scripts: they load from a file as well, where a request does not.

    Parameters
    ----------
    pages
        The pages by name, in the order of the book.
    sources
        The source number of each exercise, by its label.

    Returns
    -------
    dict
        The text of each script by the name of its file. It holds a list of pages: name, title and
        entries, each of these a list of kind, anchor, title, text, names and source number, cut
        off after the last that is not empty.
    """
    titles = {f"/{name}": page.title for name, page in pages.items()}
    titles |= {
        entry.anchor: entry.title
        for page in pages.values()
        for entry in page.entries
        if entry.kind == STATEMENT
    }
    titles |= {f"{label}-solution": f"Solution to Exercise {sources[label]}" for label in sources}

    def linked(text: str) -> str:
        return re.sub(f"{_LINK}([^{_LINK}]*){_LINK}", lambda m: titles.get(m[1], ""), text)

    def row(entry: Entry) -> list[int | str]:
        source = sources.get(entry.anchor, "") if entry.kind == STATEMENT else ""
        row: list[int | str]
        row = [entry.kind, entry.anchor, entry.title, linked(entry.text), entry.names, source]
        while not row[-1]:
            row.pop()
        return row

    scripts = {}
    for file, variable, belongs in SCRIPTS:
        data = [
            [name, page.title, [row(entry) for entry in page.entries if belongs(entry.kind)]]
            for name, page in pages.items()
        ]
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        scripts[file] = f"window.{variable}={text};\n"
    return scripts


def write_index(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    env = app.env
    pages = {name: _pages(env)[name] for name in toc.in_order(env)}
    sources = {label: exercise.source for label, exercise in env.catalogue.items()}
    for file, script in index_scripts(pages, sources).items():
        path = Path(app.outdir, "_static", file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script, encoding="utf-8")


def list_pages(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Tell the search page which pages there are: all it can offer without scripts."""
    if pagename == "search":
        pages = _pages(app.env)
        context["book_pages"] = [(name, pages[name].title) for name in toc.in_order(app.env)]


def replace_the_search_of_sphinx(app: Sphinx, config: Config) -> None:
    """Keep the page, from this book's own template, but not the index."""
    config.html_additional_pages = {**config.html_additional_pages, "search": "search.html"}


def stop_indexing(app: Sphinx) -> None:
    app.builder.search = False


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", replace_the_search_of_sphinx)
    app.connect("builder-inited", stop_indexing)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    # After exercises.py, which checks the page, and before anything is written.
    app.connect("doctree-read", record_page, priority=600)
    app.connect("html-page-context", list_pages)
    app.connect("build-finished", write_index)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
