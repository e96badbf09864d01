"""Rewrite the MyST of a page as Markdown that a bare Jupyter or Colab shows well.

``load_book`` reads what surrounds a page (catalogue, bibliography, every label that can be linked);
``PageConverter`` turns the Markdown between the code cells into plain Markdown. A directive or role
that is not known here is an error: nothing passes through as markup.
"""

from __future__ import annotations

import html
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from urllib.parse import quote

import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from pybtex.database import BibliographyData, Entry
from pybtex.database import parse_file as parse_bibliography
from pybtex.plugin import find_plugin
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import quiz  # noqa: E402
from catalogue import MAX_STARS, Exercise, load  # noqa: E402

ADMONITIONS = {
    "attention": "Attention",
    "caution": "Caution",
    "danger": "Danger",
    "error": "Error",
    "hint": "Hint",
    "important": "Important",
    "note": "Note",
    "seealso": "See also",
    "tip": "Tip",
    "warning": "Warning",
}
# Ends the section of the solution; becomes a heading, since nothing else ends a closed section.
LOOK_DEEPER = re.compile(r"\*\*Look deeper\.\*\*\s*")


class PageError(ValueError):
    """Something on a page that can not become a notebook."""

    def __init__(self, page: str, line: int, message: str) -> None:
        super().__init__(f"book/{page}.md:{line}: {message}")


# ---------------------------------------------------------------- the book around a page


@dataclass(frozen=True)
class Label:
    """What a reference leads to, and the text that it shows."""

    page: str
    text: str


@dataclass(frozen=True)
class Book:
    """What the conversion of one page must know of all the others."""

    root: Path
    url: str  # of the repository
    branch: str
    parser: MarkdownIt
    pages: dict[str, str]  # name, such as attention/self-attention, to text
    catalogue: dict[str, Exercise]
    bibliography: BibliographyData
    labels: dict[str, Label] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    anchors: dict[tuple[str, int], list[str]] = field(default_factory=dict)  # by page and line

    @cached_property
    def notebooks(self) -> list[str]:
        """The pages with code cells, in the order of the table of contents."""
        return [name for name, text in self.pages.items() if _has_code_cell(self.parser, text)]

    def notebook_path(self, page: str) -> Path:
        return self.root / "notebooks" / f"{page}.ipynb"


def load_book(root: Path) -> Book:
    """Read configuration, catalogue, bibliography and every page under ``root``."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    toc = parse_toc_yaml(root / "_toc.yml")
    bibliography = BibliographyData()
    for name in config.get("bibtex_bibfiles", []):
        bibliography.add_entries(parse_bibliography(str(root / "book" / name)).entries.items())
    pages = {}
    for name in toc:
        path = root / "book" / f"{name}.md"
        if path.exists():  # index pages are written by an extension as the site is built
            pages[str(name)] = path.read_text(encoding="utf-8")
    book = Book(
        root=root,
        url=config["repository"]["url"].rstrip("/"),
        branch=config["repository"]["branch"],
        parser=create_md_parser(
            MdParserConfig(enable_extensions=set(config["parse"]["myst_enable_extensions"])),
            RendererHTML,
        ),
        pages=pages,
        catalogue=load(root / "book" / "exercises.yml"),
        bibliography=bibliography,
    )
    for page in pages:
        _index(book, page)
    return book


def _has_code_cell(parser: MarkdownIt, text: str) -> bool:
    return any(t.type == "fence" and t.info.startswith("{code-cell}") for t in parser.parse(text))


def _index(book: Book, page: str) -> None:
    """Enter the title, every label and the anchors of the headings of a page in ``book``."""
    heading, heading_line, equations = "", 0, 0
    targets: list[str] = []

    def add(label: str, line: int, text: str) -> None:
        if label.lower() in book.labels:
            raise PageError(page, line, f"label {label!r} is given twice, expected once")
        book.labels[label.lower()] = Label(page, text)

    def add_to_heading(label: str, line: int) -> None:
        add(label, line, heading)
        book.anchors.setdefault((page, heading_line), []).append(label)

    def walk(text: str, first: int) -> None:
        nonlocal heading, heading_line, equations
        tokens = book.parser.parse(text)
        for token, following in zip_longest(tokens, tokens[1:]):
            if not token.map:
                continue
            line = first + token.map[0]
            if token.type == "heading_open":
                heading, heading_line = following.content, line
                book.titles.setdefault(page, heading)
                for target in targets:
                    add_to_heading(target, line)
                targets.clear()
            elif token.type == "myst_target":
                targets.append(token.content)
            elif targets:
                raise PageError(page, line, f"target {targets[0]!r} expects a heading next")
            elif token.type == "amsmath" and token.meta["numbered"] != "*":
                equations += 1
            elif token.type == "math_block_label":
                equations += 1
                add(token.info, line, f"({equations})")
            elif token.type in ("fence", "colon_fence") and token.info.startswith("{"):
                directive = Directive.of(token, first)
                label = directive.label
                if directive.name == "math" and label:
                    equations += 1
                    add(label, line, f"({equations})")
                elif directive.name == "solution-start" and label:
                    add(label, line, solution_title(book, directive.argument))
                elif directive.name in ("figure", "image") and label:
                    caption = directive.body.strip().split("\n\n")[0]
                    add(label, line, " ".join(caption.split()) or heading)
                elif label:
                    add_to_heading(label, line)
                if directive.name not in ("code-cell", "code-block", "math", "quiz"):
                    walk(directive.body, directive.body_line)

    walk(book.pages[page], 1)


def anchor(label: str) -> str:
    """Return an anchor; a heading's own id changes with its words, and with its formulas."""
    return f'<a id="{html.escape(label.lower())}"></a>' if label else ""


def solution_title(book: Book, label: str) -> str:
    exercise = book.catalogue.get(label)
    return f"Solution to Exercise {exercise.source if exercise else label}"


# ---------------------------------------------------------------- one page


@dataclass(frozen=True)
class Directive:
    """A fence whose info string starts with a name in braces."""

    name: str
    argument: str
    options: dict[str, str]
    body: str
    line: int
    body_line: int

    @property
    def label(self) -> str:
        return self.options.get("label") or self.options.get("name") or ""

    @classmethod
    def of(cls, token: Token, first: int) -> Directive:
        """Parse the fence ``token`` of a text whose first line is line ``first`` of its page."""
        assert token.map is not None
        match = re.fullmatch(r"\{([^}]*)\}\s*(.*)", token.info.strip(), re.DOTALL)
        assert match is not None
        lines = token.content.splitlines()
        options: dict[str, str] = {}
        start = 0
        if lines and lines[0].strip() == "---" and "---" in lines[1:]:
            end = lines.index("---", 1)
            found = yaml.safe_load("\n".join(lines[1:end])) or {}
            options = {str(key): str(value) for key, value in found.items()}
            start = end + 1
        else:
            while start < len(lines) and (
                option := re.fullmatch(r":([\w-]+):(?:\s+(.*))?", lines[start].rstrip())
            ):
                options[option[1]] = (option[2] or "").strip()
                start += 1
        line = first + token.map[0]
        body = "\n".join(lines[start:])
        return cls(match[1], match[2].strip(), options, body, line, line + 1 + start)


class _Lines(list[str]):
    """Lines of Markdown: blocks stand between single blank lines, verbatim lines stay."""

    def blank(self) -> None:
        if self and self[-1].strip():
            self.append("")

    def block(self, lines: Sequence[str], prefix: str = "") -> None:
        """Add a block of its own; ``prefix`` is the list or quotation that it stands in."""
        if not lines:
            return
        rest = re.sub(r"[^>\s]", " ", prefix)
        self.blank()
        for start, line in zip([prefix, *[rest] * (len(lines) - 1)], lines, strict=True):
            self.append(start + line if line else start.rstrip())
        self.append("")


# Where a cell ends, and where a solution starts and ends, among the lines of Markdown.
BREAK, OPEN, CLOSE = "\0", "\0open", "\0close"

INLINE = re.compile(
    r"""
      (?P<escape> \\. )
    | \{(?P<role>[A-Za-z][\w:.+-]*)\}(?P<ticks>`+)(?P<content>.+?)(?<!`)(?P=ticks)(?!`)
    | (?P<code> (?<!`)(?P<fence>`+)(?!`) .+? (?<!`)(?P=fence)(?!`) )
    | (?P<comment> <!--.*?--> )
    | (?P<math> \$\$.+?\$\$ | \$(?=\S)(?:\\.|[^$\\])+?(?<=\S)\$ )
    | (?P<tag> <[A-Za-z/][^<>]*> )
    | \[\^(?P<footnote>[^\]\s]+)\]
    | (?P<bang>!?)\[(?P<text>(?:\\.|[^\[\]\\]|\[[^\[\]]*\])*)\]
      \((?P<target><[^<>\n]*>|(?:[^\s()<>]|\([^\s()]*\))*)(?P<title>\s+"[^"]*")?\)
    | (?<=[])`])(?P<attributes>\{\s*(?:(?:[.\#][\w-]+|[\w-]+=(?:"[^"]*"|[\w.%-]+))\s*)+\})
    """,
    re.VERBOSE | re.DOTALL,
)


class PageConverter:
    """Rewrites the Markdown of one page; remembers what it cites and its footnotes."""

    def __init__(self, book: Book, page: str) -> None:
        self.book = book
        self.page = page
        self.cited: dict[str, Entry] = {}
        self.notes: dict[str, str] = {}  # footnotes, in Markdown
        self.numbers: dict[str, int] = {}  # footnotes, in the order of the references
        self.errata: Counter[str] = Counter()  # by source number, as on the site
        self.solution: Directive | None = None  # the start of the solution that is open
        self.directives: dict[str, Callable[[Directive, bool], list[str]]] = {
            "exercise-start": self._exercise,
            "exercise-end": lambda directive, quoted: [],
            "solution-start": self._solution_start,
            "solution-end": self._solution_end,
            "dropdown": self._dropdown,
            "erratum": self._admonition,
            "admonition": self._admonition,
            "figure": self._figure,
            "image": self._figure,
            "math": self._math,
            "code-block": self._code_block,
            "quiz": self._quiz,
            **dict.fromkeys(ADMONITIONS, self._admonition),
        }
        self.roles: dict[str, Callable[[str, int], str]] = {
            "cite": lambda content, line: self._cite(content, line, textual=False),
            "cite:p": lambda content, line: self._cite(content, line, textual=False),
            "cite:t": lambda content, line: self._cite(content, line, textual=True),
            "ref": self._reference,
            "numref": self._reference,
            "eq": self._reference,
            "doc": self._document,
            "math": lambda content, line: f"${content}$",
            "sub": lambda content, line: f"<sub>{html.escape(content)}</sub>",
            "sup": lambda content, line: f"<sup>{html.escape(content)}</sup>",
        }
        self._collect_footnotes()

    def error(self, line: int, message: str) -> PageError:
        return PageError(self.page, line, message)

    # ------------------------------------------------------------ blocks

    def markdown(self, text: str, first: int, quoted: bool = False) -> list[str]:
        """Convert ``text``, which starts on line ``first`` of the page.

        ``quoted`` says that the result will stand in a block quotation, whose markers must not
        end up within a formula.
        """
        source = text.splitlines()
        out = _Lines()
        position = 0
        paragraph: list[str] = []

        def flush() -> None:
            if paragraph:
                joined = "\n".join(paragraph)
                converted = self.inline(joined, first + position - len(paragraph))
                if self.solution is None and LOOK_DEEPER.match(converted):
                    out.block(["### Look deeper"])
                    converted = LOOK_DEEPER.sub("", converted, count=1)
                if converted.strip():
                    out.extend(converted.split("\n"))
                paragraph.clear()

        def take_text(end: int) -> None:
            nonlocal position
            while position < end:
                if source[position].strip():
                    paragraph.append(source[position])
                else:
                    flush()
                    out.blank()
                position += 1
            flush()

        for token in self.book.parser.parse(text):
            if token.map is None or token.map[0] < position:
                continue
            start, end = token.map
            if token.type == "amsmath":  # its map lacks the last line
                end = start + token.content.count("\n") + 1
            if token.type == "heading_open" and self.solution is not None:
                raise self.error(first + start, "a heading inside a solution; expected none")
            if token.type == "heading_open":
                anchors = map(anchor, self.book.anchors.get((self.page, first + start), ()))
                at = re.match(r"\s*(#+\s+)?", source[start]).end()  # type: ignore[union-attr]
                source[start] = source[start][:at] + "".join(anchors) + source[start][at:]
            if token.type == "heading_open" and token.tag in ("h1", "h2") and token.level == 0:
                take_text(start)
                out.block([BREAK])
                continue
            if token.type == "dd_open":
                take_text(start)
                source[start] = re.sub(r"^(\s*):", r"\1 ", source[start])
                continue
            if token.type == "dt_open":
                take_text(start)
                indent, term = re.fullmatch(r"(\s*)(.*)", source[start]).groups()  # type: ignore[union-attr]
                source[start] = f"{indent}- **{term}:**"
                continue
            block = self._block(token, source[start:end], first, quoted)
            if block is None:
                continue
            take_text(start)
            if token.type in ("code_block", "fence") and block == source[start:end]:
                out.extend(block)
            else:
                prefix = re.match(r"[\s>]*(?:(?:[-+*]|\d+[.)])\s+)?[\s>]*", source[start])
                assert prefix is not None
                out.block(block, prefix[0] if token.level else "")
            position = end
        take_text(len(source))
        while out and not out[-1].strip():
            out.pop()
        while out and not out[0].strip():
            out.pop(0)
        return list(out)

    def _block(self, token: Token, source: list[str], first: int, quoted: bool) -> list[str] | None:
        """Convert a block that is not running text; None leaves it as text."""
        assert token.map is not None
        line = first + token.map[0]
        match token.type:
            case "code_block":
                return source
            case "fence" | "colon_fence" if token.info.lstrip().startswith("{"):
                return self._directive(Directive.of(token, first), quoted)
            case "fence":
                return source
            case "colon_fence":
                raise self.error(line, f"a colon fence without a directive: {source[0]!r}")
            case "myst_target" | "myst_line_comment" | "front_matter":
                return []
            case "footnote_reference_open":
                return []  # shown at the end of the cell that refers to it
            case "html_block":
                text = re.sub(r"<!--.*?-->", "", "\n".join(source), flags=re.DOTALL)
                return text.strip("\n").split("\n") if text.strip() else []
            case "math_block":
                return display(token.content, one_line=quoted)
            case "math_block_label":
                return self._labeled(token.info, token.content, quoted)
            case "amsmath":
                return display(token.content, one_line=quoted)
        return None

    def _directive(self, directive: Directive, quoted: bool) -> list[str]:
        if directive.name == "code-cell":
            raise self.error(directive.line, "{code-cell} is nested; expected at the root level")
        handler = self.directives.get(directive.name)
        if handler is None:
            raise self.error(
                directive.line,
                f"unknown directive {{{directive.name}}}; tools/notebooks.py knows "
                + ", ".join(sorted(self.directives)),
            )
        return handler(directive, quoted)

    def _exercise(self, directive: Directive, quoted: bool) -> list[str]:
        label = directive.options.get("label", "")
        exercise = self.book.catalogue.get(label)
        if exercise is None or exercise.page != self.page:
            raise self.error(
                directive.line, f"exercise {label!r} is not in the catalogue for this page"
            )
        parts = [
            f"**Exercise {exercise.source}**",
            exercise.kind,
            "★" * exercise.stars + "☆" * (MAX_STARS - exercise.stars),
            f"about {exercise.minutes} min",
        ]
        if exercise.needs:
            needs = (self._link(need, directive.line) for need in exercise.needs)
            parts.append("do first: " + ", ".join(needs))
        return [" · ".join(parts)]

    def _solution_start(self, directive: Directive, quoted: bool) -> list[str]:
        if self.solution is not None:
            raise self.error(
                directive.line, f"the solution of {self.solution.argument!r} is still open"
            )
        if directive.argument not in self.book.catalogue:
            raise self.error(directive.line, f"solution of unknown exercise {directive.argument!r}")
        self.solution = directive
        title = solution_title(self.book, directive.argument)
        return [f"{OPEN}### {anchor(directive.label)}{title}"]

    def _solution_end(self, directive: Directive, quoted: bool) -> list[str]:
        if self.solution is None:
            raise self.error(directive.line, "{solution-end} without {solution-start}")
        self.solution = None
        return [CLOSE]

    def _dropdown(self, directive: Directive, quoted: bool) -> list[str]:
        summary = _summary(self.inline(directive.argument or "Details", directive.line))
        body = self.markdown(directive.body, directive.body_line, quoted)
        # Without the blank lines the Markdown inside would be taken for HTML.
        return ["<details>", f"<summary>{summary}</summary>", "", *body, "", "</details>"]

    def _admonition(self, directive: Directive, quoted: bool) -> list[str]:
        text, line = directive.body, directive.body_line
        if directive.name == "erratum":
            self.errata[directive.argument] += 1
            number = self.errata[directive.argument]
            title = f"Erratum {directive.argument}" + (f" ({number})" if number > 1 else "")
        elif directive.name == "admonition":
            title = self.inline(directive.argument, directive.line)
        else:  # no argument: what stands there is the first line of the text
            title = ADMONITIONS[directive.name]
            if directive.argument:
                text, line = f"{directive.argument}\n{text}", line - 1
        body = self.markdown(text, line, quoted=True)
        return [f"> {line}" if line else ">" for line in (f"**{title}**", "", *body)]

    def _figure(self, directive: Directive, quoted: bool) -> list[str]:
        target = self._file(directive.argument, directive.line)
        lines = [f"{anchor(directive.label)}![{directive.options.get('alt', '')}]({target})"]
        caption = self.markdown(directive.body, directive.body_line, quoted)
        return [*lines, "", *caption] if caption else lines

    def _math(self, directive: Directive, quoted: bool) -> list[str]:
        text = "\n".join(part for part in (directive.argument, directive.body) if part)
        return self._labeled(directive.label, text, quoted)

    def _labeled(self, label: str, formula: str, quoted: bool) -> list[str]:
        if not label:
            return display(formula, one_line=quoted)
        number = self.book.labels[label.lower()].text
        return [anchor(label), "", *display(formula, one_line=quoted, number=number)]

    def _code_block(self, directive: Directive, quoted: bool) -> list[str]:
        ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", directive.body)), default=0))
        return [f"{ticks}{directive.argument}", *directive.body.strip("\n").split("\n"), ticks]

    def _quiz(self, directive: Directive, quoted: bool) -> list[str]:
        """Write the questions, and the answers to open below them."""
        exercise = self.book.catalogue.get(directive.argument)
        if exercise is None or exercise.page != self.page:
            raise self.error(
                directive.line, f"quiz of {directive.argument!r}, which is no exercise of this page"
            )
        try:
            questions = quiz.read(directive.body)
        except quiz.QuizError as error:
            raise self.error(directive.body_line + error.line, str(error)) from None

        def text(part: quiz.Text) -> str:
            return self.inline(part.text, directive.body_line + part.line)

        asked = [f"**{quiz.TITLE}**", ""]
        answers = ["<details>", f"<summary>{quiz.ANSWERS}</summary>", ""]
        for question in questions:
            asked += [f"**{question.number}.** {text(question.text)} *{question.instruction}*", ""]
            answers += [f"**Question {question.number}**", ""]
            for choice in question.choices:
                asked.append(f"- **{choice.letter}.** {text(choice.text)}")
                answers.append(f"- **{choice.verdict}** {text(choice.why)}")
            asked.append("")
            answers.append("")
        return [*asked, *answers, "</details>"]

    # ------------------------------------------------------------ text

    def inline(self, text: str, line: int) -> str:
        """Convert running text that starts on line ``line``; code and formulas stay."""

        def replace(match: re.Match[str]) -> str:
            here = line + text.count("\n", 0, match.start())
            if match["role"]:
                role = self.roles.get(match["role"])
                if role is None:
                    raise self.error(
                        here,
                        f"unknown role {{{match['role']}}}; tools/notebooks.py knows "
                        + ", ".join(sorted(self.roles)),
                    )
                return role(" ".join(match["content"].split()), here)
            if match["attributes"] and text[match.start() - 1] == "]":
                raise self.error(here, f"a span with attributes, {match[0]}; expected plain text")
            if match["comment"] or match["attributes"]:
                return ""
            if match["math"]:  # a line break could put a quotation mark into the formula
                return " ".join(match[0].split("\n"))
            if match["footnote"]:
                return f"<sup>{self._note_number(match['footnote'], here)}</sup>"
            if match["target"] is not None:
                return self._markdown_link(match, here)
            return match[0]

        return INLINE.sub(replace, text)

    def _markdown_link(self, match: re.Match[str], line: int) -> str:
        target, title = match["target"].strip("<>"), match["title"] or ""
        if match["bang"]:
            return f"![{match['text']}]({self._file(target, line)}{title})"
        text = self.inline(match["text"], line)
        if re.match(r"(https?|mailto):", target):
            return f"[{text or target}]({match['target']}{title})"
        path, _, label = target.partition("#")
        if label:
            return self._link(label, line, text)
        if path.lower() in self.book.labels:
            return self._link(path, line, text)
        name = normpath(str(PurePosixPath(self.page).parent / path)).removesuffix(".md")
        if path and name in self.book.pages:
            return self._page_link(name, text)
        return f"[{text or path}]({self._file(path, line)}{title})"

    def _cite(self, content: str, line: int, textual: bool) -> str:
        citations = []
        for key in (part.strip() for part in content.split(",")):
            entry = self.book.bibliography.entries.get(key)
            if entry is None:
                raise self.error(line, f"citation of {key!r}, which the bibliography lacks")
            self.cited[key] = entry
            year = entry.fields.get("year", "n.d.")
            joint = f"{_authors(entry)} ({year})" if textual else f"{_authors(entry)}, {year}"
            url = _url(entry)
            citations.append(f"[{joint}]({url})" if url else joint)
        return ", ".join(citations) if textual else f"[{'; '.join(citations)}]"

    def _reference(self, content: str, line: int) -> str:
        text, label = _titled(content)
        return self._link(label, line, text)

    def _link(self, label: str, line: int, text: str = "") -> str:
        found = self.book.labels.get(label.lower())
        if found is None:
            raise self.error(line, f"reference to {label!r}, a label that no page has")
        return f"[{text or found.text}]({self._address(found.page, label)})"

    def _document(self, content: str, line: int) -> str:
        text, target = _titled(content)
        below = (
            PurePosixPath(target.lstrip("/"))
            if target.startswith("/")
            else (PurePosixPath(self.page).parent / target)
        )
        name = normpath(str(below))
        if name not in self.book.pages:
            raise self.error(line, f"link to {target!r}, a page that _toc.yml or book/ lacks")
        return self._page_link(name, text)

    def _page_link(self, page: str, text: str) -> str:
        return f"[{text or self.book.titles.get(page, page)}]({self._address(page)})"

    def _address(self, page: str, label: str = "") -> str:
        """Where a page, or a label on it, is for a reader of this page's notebook."""
        fragment = f"#{quote(label.lower())}" if label else ""
        if page == self.page and label:
            return fragment
        if page not in self.book.notebooks:
            return f"{self.book.url}/blob/{self.book.branch}/book/{page}.md"
        return relpath(f"{page}.ipynb", str(PurePosixPath(self.page).parent)) + fragment

    def _file(self, target: str, line: int) -> str:
        """Return the address of a file in the repository, where Colab too can reach it."""
        if re.match(r"https?:", target):
            return target
        below = (
            target.lstrip("/")
            if target.startswith("/")
            else str(PurePosixPath(self.page).parent / target)
        )
        path = normpath(f"book/{below}")
        if not target or not (self.book.root / path).is_file():
            raise self.error(line, f"link to {target!r}, which is no page, label or file")
        return f"{self.book.url}/raw/{self.book.branch}/{quote(path)}"

    # ------------------------------------------------------------ footnotes, references

    def _collect_footnotes(self) -> None:
        lines = self.book.pages[self.page].splitlines()
        for token in self.book.parser.parse(self.book.pages[self.page]):
            if token.type == "footnote_reference_open" and token.map:
                start, end = token.map
                text = [re.sub(r"^\s*\[\^[^\]]+\]:\s*", "", lines[start])]
                text += [line.removeprefix("    ") for line in lines[start + 1 : end]]
                note = self.inline("\n".join(text).strip(), start + 1)
                self.notes[token.meta["label"]] = note

    def _note_number(self, label: str, line: int) -> int:
        if label not in self.notes:
            raise self.error(line, f"footnote {label!r} has no text")
        return self.numbers.setdefault(label, len(self.numbers) + 1)

    def footnotes(self, text: str) -> list[str]:
        """Return the notes that ``text``, converted, refers to."""
        lines = _Lines()
        for label, number in self.numbers.items():
            if f"<sup>{number}</sup>" in text:
                lines.block(f"<sup>{number}</sup> {self.notes[label]}".split("\n"))
        return lines[:-1]

    def references(self) -> str:
        """List what the page cites, for the last cell of its notebook."""
        style = find_plugin("pybtex.style.formatting", "unsrt")()
        backend = find_plugin("pybtex.backends", "markdown")()
        lines = ["## References", ""]
        for entry in style.format_entries(self.cited.values()):
            lines.append("- " + " ".join(entry.text.render(backend).split()))
        return "\n".join(lines)

    def require_plain(self, text: str, line: int) -> None:
        """Refuse Markdown in which MyST is left: the same parser as the site's looks for it."""
        for token in self.book.parser.parse(text):
            for part in (token, *(token.children or ())):
                if part.type in (
                    "amsmath",
                    "colon_fence",
                    "dl_open",
                    "footnote_ref",
                    "math_block_label",
                    "math_inline_double",
                    "myst_block_break",
                    "myst_role",
                    "myst_target",
                    "substitution_block",
                    "substitution_inline",
                ) or (part.type == "fence" and part.info.lstrip().startswith("{")):
                    what = part.content.strip().split("\n")[0] or part.info or part.meta
                    raise self.error(
                        line, f"{part.type} {what!r} in the cell that starts here was not converted"
                    )


def display(formula: str, one_line: bool = False, number: str = "") -> list[str]:
    """Write a displayed formula for MathJax and KaTeX alike, with ``number`` such as ``(1)``."""
    body = formula.strip()
    # Top-level environments are known to MathJax only, and align may not stand within $$.
    if whole := re.fullmatch(r"\\begin\{equation\*?\}(.*)\\end\{equation\*?\}", body, re.DOTALL):
        body = whole[1].strip()
    body = re.sub(r"\\(begin|end)\{(align|gather|alignat)\*?\}", r"\\\1{\2ed}", body)
    if re.search(r"\n\s*\n", body):  # one formula a paragraph
        body = r" \\ ".join(re.split(r"\n\s*\n", body))
    if "\\\\" in body and not body.startswith("\\begin{"):
        body = "\\begin{aligned}\n" + body + "\n\\end{aligned}"
    if number:
        body += rf" \tag{{{number.strip('()')}}}"
    if one_line:
        return [f"$${' '.join(body.split())}$$"]
    return ["$$", *body.split("\n"), "$$"]


def _summary(text: str) -> str:
    """Write a summary as HTML: Markdown does not work there, formulas do."""
    text = re.sub(r"`+\s?(.+?)\s?`+", lambda m: f"<code>{html.escape(m[1])}</code>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\[([^\]]*)\]\(([^)]*)\)", r'<a href="\2">\1</a>', text)


def _titled(content: str) -> tuple[str, str]:
    """Split a role's ``text <target>``."""
    match = re.fullmatch(r"(.*?)\s*<([^<>]+)>", content)
    return (match[1], match[2]) if match else ("", content)


def _authors(entry: Entry) -> str:
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [" ".join(str(name) for name in person.rich_last_names) for person in people]
    if len(names) > 2:
        return f"{names[0]} et al."
    return " and ".join(names) or entry.key


def _url(entry: Entry) -> str:
    if "doi" in entry.fields:
        return f"https://doi.org/{entry.fields['doi']}"
    if "eprint" in entry.fields:
        return f"https://arxiv.org/abs/{entry.fields['eprint']}"
    return entry.fields.get("url", "")
