"""Pages become notebooks: what tools/notebooks.py writes, refuses, executes and keeps."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

import notebooks

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
---
jupytext:
  text_representation: {extension: .md, format_name: myst, format_version: 0.13}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
"""
CONFIG = """\
repository:
  url: https://git.example/workbook
  branch: trunk
parse:
  myst_enable_extensions: [colon_fence, deflist, dollarmath, amsmath, attrs_inline]
bibtex_bibfiles: [references.bib]
"""
TOC = """\
format: jb-book
root: index
chapters:
  - file: part/one
  - file: part/two
  - file: made/at-build-time
"""
EXERCISES = """\
first:
  {source: "1.1", page: part/one, kind: numerical, stars: 1, minutes: 10, needs: []}
second:
  {source: "1.2", page: part/two, kind: theory, stars: 3, minutes: 45, needs: [first]}
"""
REFERENCES = r"""
@article{one2001, author = {M{\"u}ller, Ada}, title = {Alone}, journal = {J}, year = {2001},
  doi = {10.1/x}}
@article{two2002, author = {Bee, Bo and Cee, Ci}, title = {Pair}, journal = {J}, year = {2002},
  eprint = {2002.00002}}
@article{three2003, author = {Dee, D. and Eff, E. and Gee, G.}, title = {Trio}, journal = {J},
  year = {2003}}
"""
TWO = f"""{HEADER}
# Page two

```{{code-cell}} ipython3
1 + 1
```

## Second: $x^2$ and `y`

```{{exercise-start}}
:label: second
```
Task.
```{{exercise-end}}
```

(plain-target)=
## Plain heading, with comma

```{{math}}
:label: far-equation
a = b
```
"""
EXERCISE = """\
# Page one

```{code-cell} ipython3
total = 1 + 1
```

## First

```{exercise-start}
:label: first
```
Add.
```{exercise-end}
```

```{code-cell} ipython3
:tags: [your-turn]

answer = ...
```

```{solution-start} first
:label: first-solution
```
The derivation.

```{code-cell} ipython3
---
tags: [x]
llmbook: {rtol: 1e-4, why: "it trains"}
---
print(total)
```

More.
```{solution-end}
```

**Look deeper.** Beyond.
"""


@pytest.fixture
def book_root(tmp_path: Path) -> Path:
    """Write a small book, whose page one each test may replace."""
    files = {
        "_config.yml": CONFIG,
        "_toc.yml": TOC,
        "book/exercises.yml": EXERCISES,
        "book/references.bib": REFERENCES,
        "book/index.md": "# Home\n",
        "book/part/one.md": f"{HEADER}\n{EXERCISE}",
        "book/part/two.md": TWO,
        "book/part/figure.svg": "<svg/>",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def generate(root: Path, body: str | None = None) -> nbformat.NotebookNode:
    if body is not None:
        (root / "book/part/one.md").write_text(f"{HEADER}\n{body}", encoding="utf-8")
    return notebooks.generate(notebooks.load_book(root), "part/one")[0]


def convert(root: Path, body: str) -> str:
    """Markdown of a page that consists of a title and ``body``."""
    cells = generate(root, f"# Page one\n\n{body}\n").cells
    sources = [cell.source for cell in cells if cell.cell_type == "markdown"]
    return "\n\n".join(s for s in sources if not s.startswith("## References")).removeprefix(
        "# Page one\n\n"
    )


def sources(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells]


# ---------------------------------------------------------------- Markdown


CONSTRUCTS = {
    "paragraph": ("Plain *text*,\nas it is.", "Plain *text*,\nas it is."),
    "hint": (
        ":::{dropdown} Hint 1: `f` of $x_i$ **now**\n:open:\n\nUse $x < 1$.\n\n"
        "- {ref}`second`\n:::",
        "<details>\n<summary>Hint 1: <code>f</code> of $x_i$ <b>now</b></summary>\n\n"
        "Use $x < 1$.\n\n- [Second: $x^2$ and `y`](two.ipynb#second)\n\n</details>",
    ),
    "nested dropdown": (
        "::::{dropdown} A\n:::{note}\nB\n:::\n::::",
        "<details>\n<summary>A</summary>\n\n> **Note**\n>\n> B\n\n</details>",
    ),
    "quiz": (
        "```{quiz} first\n"
        "- question: What is $x$, by {ref}`second`?\n"
        "  choices:\n"
        "    - right: One.\n"
        "      why: It *is*,\n"
        "        {cite:t}`three2003` say.\n"
        "    - wrong: '`[]`'\n"
        "      why: No.\n"
        "- question: Which?\n"
        "  several: true\n"
        "  choices:\n"
        "    - {wrong: A, why: B.}\n"
        "    - {right: C, why: D.}\n"
        "```\n\nText.",
        "**Quiz**\n\n"
        "**1.** What is $x$, by [Second: $x^2$ and `y`](two.ipynb#second)? *Choose one.*\n\n"
        "- **A.** One.\n- **B.** `[]`\n\n"
        "**2.** Which? *Choose all that are right.*\n\n"
        "- **A.** A\n- **B.** C\n\n"
        "<details>\n<summary>All answers of the quiz, with reasons</summary>\n\n"
        "**Question 1**\n\n"
        "- **A is right.** It *is*, Dee et al. (2003) say.\n- **B is wrong.** No.\n\n"
        "**Question 2**\n\n"
        "- **A is wrong.** B.\n- **B is right.** D.\n\n"
        "</details>\n\nText.",
    ),
    "note": ("```{note}\nOne.\n\nTwo.\n```", "> **Note**\n>\n> One.\n>\n> Two."),
    "note, first line": (":::{tip} Short.\n:::", "> **Tip**\n>\n> Short."),
    "admonition": (
        ":::{admonition} Mind $x$\n:class: tip\nText.\n:::",
        "> **Mind $x$**\n>\n> Text.",
    ),
    "errata": (
        "```{erratum} 1.1\nWrong.\n```\n\n```{erratum} 1.1\nAgain.\n```",
        "> **Erratum 1.1**\n>\n> Wrong.\n\n> **Erratum 1.1 (2)**\n>\n> Again.",
    ),
    "formula in a note": (
        ":::{note}\nSee\n\n$$\na\n> b\n$$\n\nand $a +\nb$.\n:::",
        "> **Note**\n>\n> See\n>\n> $$a > b$$\n>\n> and $a + b$.",
    ),
    "note in a list": (
        "- item\n\n  :::{note}\n  Text.\n  :::\n\n- last",
        "- item\n\n  > **Note**\n  >\n  > Text.\n\n- last",
    ),
    "figure": (
        "```{figure} figure.svg\n:alt: A square\n:name: square\n\nThe *caption*.\n```\n\n"
        "See {ref}`square`.",
        '<a id="square"></a>![A square](https://git.example/workbook/raw/trunk/book/part/figure.svg)'
        "\n\n"
        "The *caption*.\n\nSee [The *caption*.](#square).",
    ),
    "image": (
        "![A square](figure.svg){width=300px} and ![far](https://a.example/b.png)",
        "![A square](https://git.example/workbook/raw/trunk/book/part/figure.svg) and "
        "![far](https://a.example/b.png)",
    ),
    "formula": ("$$\na = b\n$$", "$$\na = b\n$$"),
    "math directive": (
        "```{math}\n:label: e\na &= b \\\\\nc &= d\n```\n\nBy {eq}`e`.",
        '<a id="e"></a>\n\n'
        "$$\n\\begin{aligned}\na &= b \\\\\nc &= d\n\\end{aligned} \\tag{1}\n$$\n\nBy [(1)](#e).",
    ),
    "labeled formulas": (
        "$$\na\n$$ (e1)\n\n$$\nb\n$$ (e2)\n\n{eq}`e2` after [](#e1)",
        '<a id="e1"></a>\n\n$$\na \\tag{1}\n$$\n\n<a id="e2"></a>\n\n$$\nb \\tag{2}\n$$\n\n'
        "[(2)](#e2) after [(1)](#e1)",
    ),
    "environment": (
        "\\begin{align*}\na &= b \\\\\nc &= d\n\\end{align*}\n\nText.",
        "$$\n\\begin{aligned}\na &= b \\\\\nc &= d\n\\end{aligned}\n$$\n\nText.",
    ),
    "equation environment": ("\\begin{equation*}\na\n\\end{equation*}", "$$\na\n$$"),
    "citations": (
        "As {cite}`one2001,two2002` and {cite:t}`three2003` say.",
        "As [[Müller, 2001](https://doi.org/10.1/x); "
        "[Bee and Cee, 2002](https://arxiv.org/abs/2002.00002)] and Dee et al. (2003) say.",
    ),
    "reference with text": ("{ref}`that one <second>`", "[that one](two.ipynb#second)"),
    "reference to a title": (
        "{ref}`second` and {numref}`plain-target`",
        "[Second: $x^2$ and `y`](two.ipynb#second) and "
        "[Plain heading, with comma](two.ipynb#plain-target)",
    ),
    "links to labels": (
        "[](#second), [it *is*](#second) and [](plain-target)",
        "[Second: $x^2$ and `y`](two.ipynb#second), [it *is*](two.ipynb#second) and "
        "[Plain heading, with comma](two.ipynb#plain-target)",
    ),
    "equation of another page": ("{eq}`far-equation`", "[(1)](two.ipynb#far-equation)"),
    "pages": (
        "{doc}`two`, {doc}`/part/two`, {doc}`Second <two>`, [](two.md), [t](two.md#second)",
        "[Page two](two.ipynb), [Page two](two.ipynb), [Second](two.ipynb), "
        "[Page two](two.ipynb), [t](two.ipynb#second)",
    ),
    "page without a notebook": (
        "{doc}`/index`",
        "[Home](https://git.example/workbook/blob/trunk/book/index.md)",
    ),
    "file": (
        "[the file](figure.svg)",
        "[the file](https://git.example/workbook/raw/trunk/book/part/figure.svg)",
    ),
    "outer link": (
        '[a `[b]`](https://a.example/b_(c) "T") <https://a.example>',
        '[a `[b]`](https://a.example/b_(c) "T") <https://a.example>',
    ),
    "footnotes": (
        "One[^b] and two[^a].\n\n[^a]: Note *a*,\n    continued.\n\n"
        "[^b]: Note b, {cite:t}`one2001`.",
        "One<sup>1</sup> and two<sup>2</sup>.\n\n"
        "<sup>1</sup> Note b, [Müller (2001)](https://doi.org/10.1/x).\n\n"
        "<sup>2</sup> Note *a*,\ncontinued.",
    ),
    "target": (
        "(spot)=\n## Title\n\nSee {ref}`spot`.",
        '## <a id="spot"></a>Title\n\nSee [Title](#spot).',
    ),
    "comments": (
        "a <!-- gone -->b\n\n% gone\n\n<!-- gone\n\nstill -->\n\nc",
        "a b\n\nc",
    ),
    "definition list": (
        "Term `t`\n: What it is,\n  at length.",
        "- **Term `t`:**\n  What it is,\n  at length.",
    ),
    "small roles": ("{math}`x^2` H{sub}`2`O {sup}`a`", "$x^2$ H<sub>2</sub>O <sup>a</sup>"),
    "code-block": ("```{code-block} bash\nmake {x}\n```", "```bash\nmake {x}\n```"),
    "table": (
        "| a | b |\n|---|---|\n| {math}`x` | `{ref}` |",
        "| a | b |\n|---|---|\n| $x$ | `{ref}` |",
    ),
    "escapes": (
        r"\{ref\}\`x\` costs \$1 or \$2 {eq} `x`",
        r"\{ref\}\`x\` costs \$1 or \$2 {eq} `x`",
    ),
}


@pytest.mark.parametrize(("myst", "markdown"), CONSTRUCTS.values(), ids=CONSTRUCTS.keys())
def test_construct(book_root: Path, myst: str, markdown: str) -> None:
    code = "\n\n```{code-cell} ipython3\n1\n```"
    assert convert(book_root, myst + code) == markdown


CODE = {
    "fence": "```python\nx = 1  # {ref}`no` [](#no) <!-- kept --> $a\n\n\n% kept\n(kept)=\n```",
    "tilde fence": "~~~\n```{nothing}\n:::{nothing}\n~~~",
    "fence in a list": "- item\n\n  ```python\n  {ref}`no`  \n\n\n  x[^y]\n  ```",
    "indented": "Text.\n\n    {ref}`no` <!-- kept -->\n\n\n    [^y]",
    "span": "`{ref}` and ``{cite}`no` <!-- kept -->`` and `[](#no)` and `$x\n$`",
    "formula": r"$f_{\mathrm{ref}}[^2](x)\,{a}$ and $[a](b)$",
    "HTML": '<span title="{ref}`no`">[^1]</span>'.replace("[^1]", "text"),
}


@pytest.mark.parametrize("text", CODE.values(), ids=CODE.keys())
def test_code_and_formulas_are_not_touched(book_root: Path, text: str) -> None:
    assert convert(book_root, text + "\n\n```{code-cell} ipython3\n1\n```") == text


def test_code_inside_directives_is_not_touched(book_root: Path) -> None:
    code = "```python\nx = {ref}`no`  \n\n\n  # <!-- kept -->\n```"
    body = f"::::{{dropdown}} A\n{code}\n::::\n\n::::{{note}}\n{code}\n::::\n"
    result = convert(book_root, body + "\n```{code-cell} ipython3\n1\n```")
    quoted = "\n".join(f"> {line}" if line else ">" for line in code.split("\n"))
    assert f"\n\n{code}\n\n</details>" in result
    assert result.endswith(quoted)


def test_code_cells_are_not_touched(book_root: Path) -> None:
    code = 'text = "{ref}`no` <!-- kept --> (kept)= ```"  \n\n\n% kept\nx = 1'
    notebook = generate(book_root, f"# One\n\n````{{code-cell}} ipython3\n{code}\n````\n")
    assert notebook.cells[-1].source == code


WRONG = {
    "unknown directive": ("Text.\n\n:::{cards} A\n:::", 11, "unknown directive {cards}"),
    "quiz of another page": ("```{quiz} second\n- question: Q\n```", 9, "'second'"),
    "incomplete quiz": (
        "```{quiz} first\n- question: Q\n  choices:\n    - right: A\n    - x\n```",
        12,
        "'why'",
    ),
    "unknown role in a quiz": (
        "```{quiz} first\n- question: Q\n  choices:\n    - {right: A, why: B}\n"
        "    - wrong: '{index}`x`'\n      why: C\n```",
        13,
        "unknown role {index}",
    ),
    "unknown nested directive": (
        ":::::{note}\n:class: x\n\n- a\n\n  :::{cards}\n  :::\n:::::",
        14,
        "unknown directive {cards}",
    ),
    "unknown role": ("Text,\nmore {index}`text`.", 10, "unknown role {index}"),
    "unknown role in a hint": (":::{dropdown} A\n:open:\n\nOf\n{index}`x`.\n:::", 13, "{index}"),
    "unknown role in a table": ("| a |\n|---|\n| {index}`x` |", 11, "unknown role {index}"),
    "unknown label": ("{ref}`nowhere`", 9, "'nowhere'"),
    "unknown label in a link": ("[x](#nowhere)", 9, "'nowhere'"),
    "unknown page": ("{doc}`nowhere`", 9, "'nowhere'"),
    "unknown file": ("[x](nowhere.pdf)", 9, "'nowhere.pdf'"),
    "unknown citation": ("{cite}`one2001,nobody`", 9, "'nobody'"),
    "footnote without text": ("x[^no]", 9, "footnote 'no'"),
    "exercise of another page": ("```{exercise-start}\n:label: third\n```", 9, "'third'"),
    "label given twice": ("(dup)=\n## A\n\n(dup)=\n## B", 13, "'dup' is given twice"),
    "colon fence": ("::: note\nx\n:::", 9, "colon fence"),
    "span": ("A [span]{.red} of text.", 9, "a span"),
    "nested code cell": ("- a\n\n  ```{code-cell} ipython3\n  1\n  ```", 11, "{code-cell}"),
    "target without heading": ("(spot)=\nText.", 10, "'spot'"),
    "heading in a solution": (
        "```{solution-start} first\n```\n\n### A\n\n```{solution-end}\n```",
        12,
        "heading inside a solution",
    ),
    "solution not closed": ("```{solution-start} first\n```\n\nText.", 9, "never ends"),
    "solution not opened": ("```{solution-end}\n```", 9, "{solution-end} without"),
    "solution of nothing": ("```{solution-start} third\n```", 9, "'third'"),
}


@pytest.mark.parametrize(("body", "line", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_known_is_an_error(book_root: Path, body: str, line: int, message: str) -> None:
    with pytest.raises(ValueError, match=r"^book/part/one\.md:") as caught:
        generate(book_root, f"# Page one\n\n{body}\n")
    assert str(caught.value).startswith(f"book/part/one.md:{line}: ")
    assert message in str(caught.value)


# ---------------------------------------------------------------- cells


def test_an_exercise_becomes_readable_cells(book_root: Path) -> None:
    notebook = generate(book_root)
    assert sources(notebook)[1:] == [
        "# Page one",
        "total = 1 + 1",
        '## <a id="first"></a>First\n\n**Exercise 1.1** · numerical · ★☆☆☆ · about 10 min\n\nAdd.',
        "answer = ...",
        '### <a id="first-solution"></a>Solution to Exercise 1.1',
        "The derivation.",
        "print(total)",
        "More.",
        "### Look deeper\n\nBeyond.",
    ]
    nbformat.validate(notebook)


def test_badges_link_to_what_to_do_first(book_root: Path) -> None:
    notebook, _ = notebooks.generate(notebooks.load_book(book_root), "part/two")
    line = "**Exercise 1.2** · theory · ★★★☆ · about 45 min · do first: [First](one.ipynb#first)"
    assert any(line in cell.source for cell in notebook.cells)


def test_solutions_start_closed_in_jupyter_and_colab(book_root: Path) -> None:
    notebook = generate(book_root)
    closed = [c for c in notebook.cells if c.metadata.get("jp-MarkdownHeadingCollapsed")]
    assert [re.sub("<.*>", "", c.source) for c in closed] == ["### Solution to Exercise 1.1"]
    assert notebook.metadata.colab.collapsed_sections == [c.metadata.id for c in closed]
    # The section ends where a heading of the same or a higher level follows.
    after = notebook.cells[notebook.cells.index(closed[0]) + 1 :]
    assert not any(cell.source.startswith("#") for cell in after[:3])
    assert after[3].source.startswith("### ")


@pytest.mark.parametrize(
    "follows", ["Text.", "```{code-cell} ipython3\n2\n```", "```{erratum} 1.1\nx\n```"]
)
def test_nothing_after_a_solution_is_closed_with_it(book_root: Path, follows: str) -> None:
    body = EXERCISE.replace("**Look deeper.**", f"{follows}\n\n**Look deeper.**")
    cells = sources(generate(book_root, body))
    after = cells[cells.index("More.") + 1 :]
    assert after[0].startswith("### Remarks")
    assert "### Look deeper\n\nBeyond." in after[-1]


def test_cell_metadata_is_kept_and_the_tolerance_is_a_number(book_root: Path) -> None:
    notebook = generate(book_root)
    metadata = {cell.source: cell.metadata for cell in notebook.cells}
    assert metadata["answer = ..."] == {"tags": ["your-turn"]}
    assert metadata["print(total)"] == {
        "tags": ["x"],
        "llmbook": {"rtol": 1e-4, "why": "it trains"},
    }
    with pytest.raises(ValueError, match="rtol is 'tiny', expected a number"):
        generate(book_root, EXERCISE.replace("1e-4", "tiny"))


def test_colab_cell_installs_there_and_does_nothing_elsewhere(
    book_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from IPython.core.inputtransformer2 import TransformerManager

    cell = generate(book_root).cells[0]
    assert cell.metadata.tags == ["colab-setup"]
    code = TransformerManager().transform_cell(cell.source)
    ran: list[tuple[str, str]] = []

    class Shell:
        def run_line_magic(self, name: str, line: str) -> None:
            ran.append((name, line))

    exec(code, {"get_ipython": Shell})
    assert ran == []
    monkeypatch.setitem(sys.modules, "google.colab", object())
    exec(code, {"get_ipython": Shell})
    assert ran == [("pip", 'install -q "llmbook @ git+https://git.example/workbook@trunk"')]


def test_references_close_the_notebook(book_root: Path) -> None:
    body = "# One\n\n{cite}`two2002` {cite}`one2001`\n\n```{code-cell} ipython3\n1\n```"
    last = generate(book_root, body).cells[-1].source
    assert last.startswith("## References\n\n- ")
    assert "Pair" in last
    assert "https://doi.org/10.1/x" in last
    assert "## References" not in "".join(sources(generate(book_root, EXERCISE)))


def test_notebook_metadata_does_not_depend_on_the_machine(book_root: Path) -> None:
    metadata = generate(book_root).metadata
    assert set(metadata) == {"kernelspec", "language_info", "colab"}
    assert metadata.kernelspec.name == "python3"
    assert "version" not in metadata.language_info


def test_generating_twice_gives_the_same_bytes_and_distinct_ids(book_root: Path) -> None:
    body = EXERCISE + "\n```{code-cell} ipython3\ntotal = 1 + 1\n```\n"
    first, second = generate(book_root, body), generate(book_root, body)
    assert nbformat.writes(first) == nbformat.writes(second)
    ids = [cell.id for cell in first.cells]
    assert len(set(ids)) == len(ids)


def test_an_edit_changes_the_id_of_its_cell_only(book_root: Path) -> None:
    before = {cell.id for cell in generate(book_root).cells}
    after = {cell.id for cell in generate(book_root, EXERCISE.replace("Add.", "Sum.")).cells}
    assert len(before - after) == len(after - before) == 1


# ---------------------------------------------------------------- the command

SHOWS = """
# Page one

## First

```{exercise-start}
:label: first
```

```{code-cell} ipython3
import os

import matplotlib.pyplot as plt
from IPython.display import HTML, display

figure = plt.figure()
display(figure)
plt.close(figure)
display({"application/vnd.plotly.v1+json": {"data": []}, "text/plain": "a plot"}, raw=True)
display({"image/png": "aGk="}, raw=True)
HTML("<b>bold</b>")
```

```{code-cell} ipython3
print(os.environ["TQDM_DISABLE"], os.listdir())
print("second line")
```
"""


def test_a_run_writes_once_checks_and_removes(
    book_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (book_root / "book/part/one.md").write_text(f"{HEADER}{SHOWS}", encoding="utf-8")
    one, orphan = (book_root / f"notebooks/part/{name}.ipynb" for name in ("one", "gone"))
    orphan.parent.mkdir(parents=True)
    orphan.write_text("{}")
    book = ["part/one"]

    assert notebooks.main(["--check"], book_root) == 1
    message = capsys.readouterr().err
    assert "notebooks/part/one.ipynb is missing" in message
    assert "notebooks/part/two.ipynb is missing" in message
    assert "notebooks/part/gone.ipynb has no page" in message
    assert not one.exists()

    assert notebooks.main([], book_root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"[\d.]+ s$", "s", line) for line in lines] == [
        "notebooks/part/gone.ipynb removed: it has no page",
        "notebooks/part/one.ipynb  s",
        "notebooks/part/two.ipynb  s",
    ]
    assert notebooks.main(["--check"], book_root) == 0
    assert not orphan.exists()
    assert sorted(p.name for p in one.parent.iterdir()) == ["one.ipynb", "two.ipynb"]

    text = one.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    stored = nbformat.reads(text, as_version=4)
    nbformat.validate(stored)
    assert str(book_root) not in text
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3]
    assert all("execution" not in cell.metadata for cell in code)
    data = [output.get("data") for output in code[1].outputs]
    assert data == [
        {"text/plain": "<Figure size 640x480 with 0 Axes>"},
        {"application/vnd.plotly.v1+json": {"data": []}, "text/plain": "a plot"},
        {"text/html": "<b>bold</b>", "text/plain": "<IPython.core.display.HTML object>"},
    ]
    assert [output.text for output in code[2].outputs] == ["1 []\nsecond line\n"]

    # Nothing has changed, so nothing runs; --all runs, and gives the same bytes.
    assert notebooks.main([], book_root) == 0
    assert capsys.readouterr().out == ""
    assert notebooks.main(["--all", *book], book_root) == 0
    assert one.read_text(encoding="utf-8") == text

    # An edited page is stale, and a cell that fails leaves the notebook as it was.
    page = book_root / "book/part/one.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n```{code-cell}\n1 / 0\n```\n")
    capsys.readouterr()
    assert notebooks.main(["--check"], book_root) == 1
    assert capsys.readouterr().err == "notebooks/part/one.ipynb is stale: run make notebooks\n"
    assert notebooks.main([], book_root) == 1
    message = capsys.readouterr().err
    failing = 1 + page.read_text(encoding="utf-8").split("\n").index("```{code-cell}")
    assert f"book/part/one.md:{failing}: cell 6 failed" in message
    assert "ZeroDivisionError" in message
    assert one.read_text(encoding="utf-8") == text
    assert sorted(p.name for p in one.parent.iterdir()) == ["one.ipynb", "two.ipynb"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "not JSON",
        lambda text: json.dumps({"cells": []}),
        lambda text: text.replace('"execution_count": 2', '"execution_count": null', 1),
        lambda text: text.replace("total = 1 + 1", "total = 1 + 2", 1),
    ],
    ids=["not JSON", "not a notebook", "not executed", "edited by hand"],
)
def test_a_damaged_notebook_is_stale(book_root: Path, damage) -> None:
    notebook = generate(book_root)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
    path = book_root / "one.ipynb"
    notebooks.write(notebook, path)
    assert notebooks.is_fresh(generate(book_root), path)
    damaged = damage(path.read_text(encoding="utf-8"))
    assert damaged != path.read_text(encoding="utf-8")
    path.write_text(damaged, encoding="utf-8")
    assert not notebooks.is_fresh(generate(book_root), path)


def test_a_change_elsewhere_that_shows_on_a_page_makes_its_notebook_stale(book_root: Path) -> None:
    before = generate(book_root)
    assert notebooks.source_of(before) == notebooks.source_of(generate(book_root))
    catalogue = book_root / "book/exercises.yml"
    catalogue.write_text(catalogue.read_text().replace("minutes: 10", "minutes: 11"))
    assert notebooks.source_of(before) != notebooks.source_of(generate(book_root))


def test_a_slow_cell_is_stopped(book_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebooks, "CELL_TIMEOUT", 1)
    notebook = generate(book_root, "# One\n\n```{code-cell} ipython3\nwhile True:\n    pass\n```")
    with pytest.raises(notebooks.CellFailedError, match="timed out") as caught:
        notebooks.execute(notebook)
    assert caught.value.index == 2


def test_an_unknown_page_is_named(book_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert notebooks.main(["part/three"], book_root) == 1
    assert "'part/three' is unknown, expected one of part/one, part/two" in capsys.readouterr().err
    assert notebooks.main(["--check", "book/part/two.md"], book_root) == 1
    assert "two.ipynb" in capsys.readouterr().err


def test_a_conversion_error_is_a_message(
    book_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = book_root / "book/part/one.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n{index}`x`\n")
    assert notebooks.main(["--check"], book_root) == 1
    message = capsys.readouterr().err
    assert re.match(r"book/part/one\.md:\d+: unknown role", message)
    assert "part/two.ipynb is missing" in message  # one bad page does not hide the others


def test_notebooks_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    status = notebooks.main(["--check"], ROOT)
    assert status == 0, capsys.readouterr().err
