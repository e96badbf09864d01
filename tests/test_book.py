"""The book's build, on small books in temporary directories: what is rebuilt when, what fails."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

import outputs

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "tests/template"

FRONT_MATTER = """\
---
jupytext:
  text_representation: {extension: .md, format_name: myst, format_version: 0.13}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
"""

EXERCISE = """
## TITLE

```{exercise-start}
:label: LABEL
```
Statement.
```{exercise-end}
```

:::{dropdown} Hint 1
A hint.
:::

```{code-cell} ipython3
:tags: [your-turn]

answer = None
```

```{code-cell} ipython3
check.NAME(answer)
```

```{solution-start} LABEL
:label: LABEL-solution
```
```{code-cell} ipython3
check.NAME(1)
```
```{solution-end}
```
"""

# In place of the modules that load PyTorch, Matplotlib and Plotly, which would take most of the
# time of these tests.
LIGHT = {
    "checks/engine": "class CheckFailedError(Exception): ...\nclass Result: ...\nstrict = None\n",
    "_myst_nb": "class FigureRenderer:\n    mime_priority_overrides = []\n"
    "    handle_mime = staticmethod(lambda *arguments: None)\n",
}


class Book:
    """A book in ``root``, with the real extensions and settings and a package of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = ""
        shutil.copytree(ROOT / "book/_ext", root / "book/_ext")
        shutil.copytree(ROOT / "src/llmbook", root / "src/llmbook")
        shutil.rmtree(root / "src/llmbook/checks")
        # Of the settings, all but what is slow and not under test: mathematics, site, bibliography.
        real = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
        keep = "only_build_toc_files", "exclude_patterns", "execute", "parse"
        config = {name: real[name] for name in keep}
        settings = real["sphinx"]["config"]
        extensions = str(root / "book/_ext")
        config["sphinx"] = {
            "extra_extensions": ["sphinx_exercise"],
            "local_extensions": {"exercises": extensions, "outputs": extensions},
            "config": {name: settings[name] for name in settings if name.startswith("nb_")},
        }
        self.write("_config.yml", yaml.safe_dump(config))
        self.write("requirements-dev.txt", "pinned==1.0\n")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text("utf-8")
        assert old in text
        self.write(path, text.replace(old, new))

    def build(self) -> bool:
        """Build as ``make book`` does; say whether it succeeded."""
        root = self.root
        command = [Path(sys.executable).with_name("jupyter-book"), "build", "book"]
        command += ["--config", root / "_config.yml", "--toc", root / "_toc.yml"]
        command += ["--path-output", root, "-W", "--keep-going"]
        done = subprocess.run(
            command,
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root / "src"), "TQDM_DISABLE": "1"},
            capture_output=True,
            text=True,
        )
        # Without the colors, which part words from numbers.
        self.log = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
        return done.returncode == 0

    def page(self, docname: str) -> str:
        return (self.root / f"_build/html/{docname}.html").read_text("utf-8")

    def executed(self) -> list[str]:
        """Return the pages executed since the last call: each writes its name when it runs."""
        path = self.root / "book/part/executed.txt"
        names = sorted(path.read_text().split()) if path.exists() else []
        path.unlink(missing_ok=True)
        return names


def exercise(label: str, title: str) -> str:
    name = label.replace("-", "_")
    return EXERCISE.replace("LABEL", label).replace("TITLE", title).replace("NAME", name)


def entry(page: str, number: int, **fields: object) -> dict[str, object]:
    defaults = {"kind": "theory", "stars": 1, "minutes": 5, "needs": []}
    return {"source": f"1.{number}", "page": page, **defaults, **fields}


def two_pages(root: Path) -> Book:
    """Return a book whose page alpha prints an area of llmbook.shapes, and beta only a check."""
    book = Book(root)
    book.write("src/llmbook/checks/__init__.py", "")
    for name, text in LIGHT.items():
        book.write(f"src/llmbook/{name}.py", text)
    book.write("src/llmbook/checks/part/__init__.py", "")
    for name in "first_task", "second_task":
        book.write(
            f"src/llmbook/checks/part/{name}.py", f"def {name}(answer):\n    return 'verdict 1'\n"
        )
    book.write("src/llmbook/units.py", "SIDE = 3\n")
    book.write("src/llmbook/shapes.py", "from llmbook import units\n\nAREA = units.SIDE**2\n")
    entries = {
        "first-task": entry("part/alpha", 1),
        "second-task": entry("part/beta", 2, needs=["first-task"]),
    }
    book.write("book/exercises.yml", yaml.safe_dump(entries))
    book.write("book/index.md", "# Book\n")
    shutil.copytree(ROOT / "book/exercises", root / "book/exercises")
    shutil.copy(ROOT / "book/errata.md", root / "book")
    for name, body in {
        "alpha": "from llmbook.shapes import AREA\nprint('area', AREA)",
        "beta": "print('beta as it was')",
    }.items():
        book.write(
            f"book/part/{name}.md",
            f"{FRONT_MATTER}\n# Page {name}\n\n```{{code-cell}} ipython3\n"
            f"from llmbook import check\nopen('executed.txt', 'a').write('{name} ')\n{body}\n```\n",
        )
    with (root / "book/part/alpha.md").open("a") as page:
        page.write(exercise("first-task", "The first $x^2$ task"))
        page.write("\n```{erratum} 1.1\nThe source says 7 in {ref}`second-task`.\n```\n")
    with (root / "book/part/beta.md").open("a") as page:
        page.write(exercise("second-task", "Second task"))
    book.write(
        "_toc.yml",
        "format: jb-book\nroot: index\nparts:\n"
        "- caption: Part one\n  chapters: [{file: part/alpha}, {file: part/beta}]\n"
        "- caption: Back matter\n  chapters: [{file: exercises/index}, {file: errata}]\n",
    )
    return book


def test_what_is_rebuilt_when(tmp_path):
    book = two_pages(tmp_path)
    assert book.build(), book.log
    assert book.executed() == ["alpha", "beta"]
    alpha = book.page("part/alpha")

    # The anatomy of an exercise.
    assert 'aria-label="difficulty 1 of 4"' in alpha
    assert re.search(r'<section id="first-task">.*?<h2>The first', alpha, re.DOTALL)
    solution = re.search(r"<details[^>]*>(?=\s*<summary[^>]*>\s*<span[^>]*>Solution)", alpha)
    assert solution
    assert 'id="first-task-solution"' in solution[0]
    assert " open" not in solution[0]
    assert 'Theory</span> · <span aria-label="difficulty 1 of 4"' in alpha
    assert re.search(
        r'do first: <a[^>]*href="alpha.html#first-task"><span[^>]*>The first <span class="math',
        book.page("part/beta"),
    )
    errata = book.page("errata")
    assert re.search(r'href="part/alpha.html#erratum-1-1"><span>Erratum 1.1<', errata)
    assert re.search(r'says 7 in <a[^>]*href="part/beta.html#second-task">', errata)
    assert 'data-label="first-task"></span></p>' in alpha
    assert '<div class="exercise admonition" data-label="first-task">' in alpha
    index = book.page("exercises/index")
    row = re.search(r'<tr data-label="second-task"([^>]*)>(.*?)</tr>', index, re.DOTALL)
    assert row
    assert row[1].split() == [
        'data-part="part-one"',
        'data-kind="theory"',
        'data-stars="1"',
        'data-minutes="5"',
        'data-source="1.2"',
        'data-page="part/beta"',
    ]
    assert re.search(r'<th scope="row"><a[^>]*href="../part/beta.html#second-task">', row[2])
    assert '<th scope="col" class="stars" data-sort="stars">Difficulty</th>' in index
    assert '<option value="part-one">Part one</option>' in index
    assert '<a href="?part=part-one#find-an-exercise">Part one</a>' in index
    assert ">2 exercises</span>" in index
    script = (book.root / "_build/html/_static/exercises.js").read_text("utf-8")
    assert '{"part/alpha":["first-task"],"part/beta":["second-task"]}' in script

    # Nothing changed: nothing is executed, not even read.
    assert book.build(), book.log
    assert "no targets are out of date" in book.log
    assert book.executed() == []

    # A module that alpha reaches over another.
    book.edit("src/llmbook/units.py", "3", "4")
    assert book.build(), book.log
    assert book.executed() == ["alpha"]
    assert "area 16" in book.page("part/alpha")

    # The check of beta; and alpha's edit taken back finds the old outputs.
    book.edit("src/llmbook/checks/part/second_task.py", "verdict 1", "verdict 2")
    book.edit("src/llmbook/units.py", "4", "3")
    assert book.build(), book.log
    assert book.executed() == ["beta"]
    assert "verdict 2" in book.page("part/beta")
    assert "area 9" in book.page("part/alpha")

    # The catalogue and a title: the page, links to it, indexes and errata, all without executing.
    book.edit("book/exercises.yml", "stars: 1", "stars: 2")
    book.edit("book/part/beta.md", "Second task", "Second task, renamed")
    assert book.build(), book.log
    assert book.executed() == []
    assert "difficulty 2 of 4" in book.page("part/alpha")
    assert "difficulty 2 of 4" in book.page("exercises/index")
    for docname in "exercises/index", "errata":
        assert "Second task, renamed" in book.page(docname)

    # The title of a page and the caption of its part: every page, for they are in its sidebar.
    book.edit("book/part/beta.md", "# Page beta", "# Page beta, renamed")
    book.edit("_toc.yml", "Part one", "The first part")
    assert book.build(), book.log
    assert book.executed() == []
    for docname in "index", "part/alpha", "errata":
        assert "Page beta, renamed" in book.page(docname)
        assert "The first part" in book.page(docname)
    # The order of the parts.
    book.edit(
        "_toc.yml",
        "{file: exercises/index}, {file: errata}",
        "{file: errata}, {file: exercises/index}",
    )
    assert book.build(), book.log
    assert re.search("errata.html.*exercises/index.html", book.page("part/alpha"), re.DOTALL)

    # An extension and a style sheet: all pages anew, again without executing.
    book.edit("book/_ext/exercises.py", "do first: ", "after: ")
    book.write("book/_static/new.css", "p { color: black; }")
    assert book.build(), book.log
    assert book.executed() == []
    assert "after: <a" in book.page("part/beta")
    assert "new.css" in book.page("errata")

    # The pins.
    book.write("requirements-dev.txt", "pinned==1.1\n")
    assert book.build(), book.log
    assert book.executed() == ["alpha", "beta"]

    # A failing cell fails the build, and still fails it when nothing has changed since.
    book.edit("book/part/beta.md", "print('beta as it was')", "1 / 0")
    for _ in range(2):
        assert not book.build()
        assert "ZeroDivisionError" in book.log
        assert book.executed() == ["beta"]
    book.edit("book/part/beta.md", "1 / 0", "print('beta as it was')")
    assert book.build(), book.log
    assert book.executed() == []

    # A page that goes takes with it all that was written for it, and nothing else.
    out = book.root / "_build/html"
    book.write("_build/html/part/beta/solution-second-task.html", "as solutions.py writes it")
    book.write("_build/html/part/beta/solution-second-task.0123.js", "the same")
    book.write("_build/html/part/alpha/solution-first-task.html", "of a page that stays")
    book.write("_build/html/_sources/part/beta.ipynb", "as Jupyter Book writes it")
    before = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    book.edit("_toc.yml", ", {file: part/beta}", "")
    book.edit("book/part/alpha.md", " in {ref}`second-task`", "")
    entries = {"first-task": entry("part/alpha", 1)}
    book.write("book/exercises.yml", yaml.safe_dump(entries))
    assert book.build(), book.log
    after = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    gone = {name for name in before - after if not name.startswith("_static/")}
    assert gone == {
        "part/beta.html",
        "part/beta/solution-second-task.html",
        "part/beta/solution-second-task.0123.js",
        "_sources/part/beta.md",
        "_sources/part/beta.ipynb",
    }
    assert not (out / "part/beta").exists()


def test_moved_exercise_is_found_at_its_old_addresses(tmp_path):
    book = two_pages(tmp_path)
    text = (tmp_path / "book/part/alpha.md").read_text("utf-8")
    task = exercise("first-task", "The first $x^2$ task")
    book.write("book/part/alpha.md", text[: text.index(task)])
    with (tmp_path / "book/part/beta.md").open("a") as page:
        page.write(task)
    entries = {
        "second-task": entry("part/beta", 2),
        "first-task": entry("part/beta", 1),
    }
    book.write("book/exercises.yml", yaml.safe_dump(entries, sort_keys=False))
    assert book.build(), book.log
    assert "moved-exercise" not in book.page("part/alpha")

    # Only the catalogue changes: pages that are there still, and one that is not.
    entries["first-task"]["was"] = ["part/alpha", "old/page"]
    book.write("book/exercises.yml", yaml.safe_dump(entries, sort_keys=False))
    assert book.build(), book.log
    for docname, address in {"part/alpha": "beta.html", "old/page": "../part/beta.html"}.items():
        page = BeautifulSoup(book.page(docname), "html.parser")
        old = page.find(id="first-task")
        assert old["class"] == ["moved-exercise"]
        assert page.find(id="first-task-solution") in old.descendants
        assert old.get_text().startswith("Exercise 1.1, The first ")
        assert old.get_text().endswith(", is now on the page Page beta.")
        links = [a["href"] for a in old.select("a")]
        assert links == [f"{address}#first-task", address]
        assert page.select("article section > *")[-1] is old
    assert "moved-exercise" not in book.page("part/beta")

    # Its title changes: what is said at the old addresses does, too.
    book.edit("book/part/beta.md", "The first $x^2$", "The very first")
    assert book.build(), book.log
    for docname in "part/alpha", "old/page":
        assert "The very first task" in book.page(docname)

    # An old address that something else on the page has taken.
    book.edit("book/part/alpha.md", "# Page alpha", "# Page alpha\n\n(first-task)=\n## Other\n")
    assert not book.build()
    assert "'first-task' stood here before, but the page has 'first-task' still" in book.log


def test_exercise_may_move_to_a_page_that_is_read_before_its_old_one(tmp_path):
    book = two_pages(tmp_path)
    assert book.build(), book.log
    task = exercise("second-task", "Second task")
    book.edit("book/part/beta.md", task, "")
    with (tmp_path / "book/part/alpha.md").open("a") as page:
        page.write(task)
    moved = entry("part/alpha", 2, needs=["first-task"], was=["part/beta"])
    entries = {"first-task": entry("part/alpha", 1), "second-task": moved}
    book.write("book/exercises.yml", yaml.safe_dump(entries))
    assert book.build(), book.log
    assert '<section id="second-task">' in book.page("part/alpha")
    assert "moved-exercise" in book.page("part/beta")


def test_label_that_stands_twice_is_refused(tmp_path):
    book = two_pages(tmp_path)
    with (tmp_path / "book/part/beta.md").open("a") as page:
        page.write(exercise("first-task", "The same again"))
    lines = (tmp_path / "book/part/beta.md").read_text("utf-8").splitlines()
    line = lines.index(":label: first-task") + 1
    assert not book.build()
    assert (
        f"part/beta.md:{line}: exercise 'first-task' stands on part/alpha already, "
        "expected a label of its own"
    ) in book.log
    assert "unknown node type" not in book.log


def test_incomplete_exercises_fail_the_build(tmp_path):
    book = two_pages(tmp_path)
    path = "book/part/alpha.md"
    book.edit(path, "print('area', AREA)", "import sys; print('stray warning', file=sys.stderr)")
    book.edit(path, ":tags: [your-turn]\n\n", "")
    book.edit(path, ":::{dropdown} Hint 1", ":::{dropdown} Help")
    book.edit(path, "check.first_task(answer)", "pass")
    book.edit(path, "check.first_task(1)", "pass")
    path = "book/part/beta.md"
    task = exercise("second-task", "Second task")
    unsolved = exercise("third-task", "Third task").partition("```{solution-start}")[0]
    # Of a complete exercise, the hint after the cells that it should help with.
    hint = ":::{dropdown} Hint 1\nA hint.\n:::\n"
    late = exercise("fourth-task", "Fourth task").replace(hint, "")
    late = late.replace("```{solution-start}", f"{hint}\n```{{solution-start}}")
    deep = exercise("fifth-task", "Fifth task").replace("## Fifth", "### Fifth")
    stranger = exercise("strange-task", "Not in the catalogue")
    extra = "".join([unsolved, late, deep, stranger])
    extra += "\n## Orphan\n\n```{solution-start} no-task\n:label: no-task-solution\n```\n"
    extra += "Text.\n```{solution-end}\n```\n"
    book.edit(path, task, f"{task}{extra}\n```{{erratum}} 1.1\nOn another page.\n```\n")
    entries = {
        "first-task": entry("part/alpha", 1),
        "second-task": entry("part/alpha", 2),
        "third-task": entry("part/beta", 3),
        "fourth-task": entry("part/beta", 4),
        "fifth-task": entry("part/beta", 5),
        "missing-task": entry("part/beta", 6),
        "stray-task": entry("part/gamma", 7),
    }
    book.write("book/exercises.yml", yaml.safe_dump(entries))
    assert not book.build()
    for message in [
        "stderr was found in the cell outputs",
        "exercise 'first-task' has no code cell tagged your-turn",
        "exercise 'first-task' has 0 dropdowns titled Hint, expected 1 to 3",
        "exercise 'first-task' has no cell before the solution that calls check.first_task(...)",
        "exercise 'first-task' has no cell inside the solution that calls check.first_task(...)",
        "exercise 'second-task' stands here, but exercises.yml says part/alpha",
        "exercise 'second-task' of exercises.yml is not on its page",
        "exercise 'third-task' has 0 solutions, expected one",
        "exercise 'fourth-task' is out of order",
        "exercise 'fifth-task' expected directly below a second-level heading of its own",
        "exercise 'strange-task' has no entry in exercises.yml",
        "exercise 'missing-task' of exercises.yml is not on its page",
        "solution of 'no-task' stands in a section without that exercise",
        "names the page 'part/gamma', which is not in _toc.yml",
        "erratum '1.1': expected the source number of an exercise of this page",
    ]:
        assert message in book.log, f"no warning that says {message!r}:\n{book.log}"

    # A catalogue that cannot be read stops the build at once and says why.
    book.edit("book/exercises.yml", "stars: 1", "stars: 9")
    assert not book.build()
    assert "exercises.yml: fifth-task: stars is 9, expected 1 to 4" in book.log


def test_template_builds(tmp_path):
    book = Book(tmp_path)
    shutil.copytree(ROOT / "src/llmbook/checks", tmp_path / "src/llmbook/checks")
    shutil.copy(TEMPLATE / "exercises.yml", tmp_path / "book")
    book.write("book/index.md", "# Book\n")
    book.write("book/template/dot-product.md", (TEMPLATE / "page.md").read_text("utf-8"))
    book.write("src/llmbook/checks/template/__init__.py", "")
    book.write(
        "src/llmbook/checks/template/dot_product.py",
        (TEMPLATE / "dot_product.py").read_text("utf-8"),
    )
    book.write(
        "_toc.yml", "format: jb-book\nroot: index\nchapters: [{file: template/dot-product}]\n"
    )
    assert book.build(), book.log
    page = book.page("template/dot-product")
    before, _, solution = page.partition('id="dot-product-solution"')
    assert "dot_product: not attempted" in before
    assert "dot_product: passed (2 of 2 tests)" in solution


# -- What a page depends on, without a build ------------------------------------------------------


@pytest.fixture
def modules(tmp_path):
    files = {
        "__init__": "from importlib.metadata import version",
        "alone": "import math",
        "user": "from .alone import thing\nfrom . import figures",
        "figures": "",
        "lazy": "from importlib import import_module\nimport_module('x')",
        "check": "from importlib import import_module\nfrom llmbook.checks.engine import Result",
        "checks/__init__": "",
        "checks/engine": "",
        "checks/part/__init__": "",
        "checks/part/one": "from ..engine import Session\nfrom llmbook.alone import thing",
        "checks/part/two": "",
        "py.typed": "",
        "records/__init__": "",
        "records/long.json": "{}",
        "records/longer.json": "{}",
    }
    for name, text in files.items():
        path = tmp_path / (name if "." in name else f"{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return outputs.Modules(tmp_path)


CHECK = ["check", "checks/__init__", "checks/engine"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import torch", None),
        ("from llmbook import alone", ["alone"]),
        ("from llmbook.alone import thing", ["alone"]),
        ("import llmbook.alone as a", ["alone"]),
        ("from llmbook.user import *", ["user", "alone", "figures"]),
        ("def later():\n    from llmbook import alone", ["alone"]),
        ("from llmbook import check", CHECK),
        (
            "from llmbook import check\ncheck.one(1)",
            [*CHECK, "checks/part/__init__", "checks/part/one", "alone"],
        ),
        (
            "from llmbook import check as c\nf = c.two",
            [*CHECK, "checks/part/__init__", "checks/part/two"],
        ),
        ("from llmbook.check import two", [*CHECK, "checks/part/__init__", "checks/part/two"]),
    ],
)
def test_modules_that_code_reaches(modules, code, expected):
    files = {*(f"{name}.py" for name in expected), "__init__.py"} if expected else set()
    reached = {path.relative_to(modules.root).as_posix() for path in modules.reached(code)}
    assert reached == files | {"py.typed"}


def test_a_record_is_read_by_its_name(modules):
    code = 'from llmbook.records import load_record\nload_record("long")'
    reached = {path.relative_to(modules.root).as_posix() for path in modules.reached(code)}
    assert reached == {"__init__.py", "records/__init__.py", "records/long.json", "py.typed"}


@pytest.mark.parametrize(
    "code",
    [
        "import llmbook",
        "import llmbook.alone",
        "from llmbook import *",
        "from llmbook import lazy",
        "from llmbook import check\ngetattr(check, 'one')",
        "from llmbook import check\nhelp(check)",
        "import importlib\nimportlib.import_module('llmbook.alone')",
        "__import__('llmbook')",
        "%timeit 1",
        "exec('import llmbook')",
    ],
)
def test_code_that_hides_what_it_loads_depends_on_everything(modules, code):
    assert modules.reached(code) == modules.everything | modules.data


def test_digest_tells_contents_names_and_more_apart(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for path in files:
        path.write_text("same")
    one = outputs.digest(files, tmp_path, "pins")
    assert one == outputs.digest(reversed(files), tmp_path, "pins")
    assert one != outputs.digest(files, tmp_path, "other pins")
    assert one != outputs.digest(files[:1], tmp_path, "pins")
    files[1].write_text("other")
    assert one != outputs.digest(files, tmp_path, "pins")
