"""Outputs that cannot be stale.

Myst-nb caches an executed page under a key made of the page's code and its kernelspec. This
extension writes into the kernelspec, as it is read, a digest of all else the outputs depend on:
the modules of the package that the page's code reaches, the pins and the version of Python. So a
changed dependency is another key, and the page is executed; an edit taken back finds its outputs
again. A page whose digest has changed is read again even if its file has not.

Likewise, all pages are read again when these extensions change, and written again when a style
sheet or script does; a build that was interrupted or had warnings (a failing cell is one) never
counts as done; and what was written for a page that the book no longer has is removed.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from myst_nb.core.read import read_myst_markdown_notebook
from sphinx.application import ENV_PICKLE_FILENAME, Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment

PACKAGE = "llmbook"
PINS = "requirements-dev.txt"
ASSET_PINS = "package-lock.json"

_FRONT_MATTER = re.compile(r"---\n(.*?\n)---\n", re.DOTALL)
# Names that load a module, or run code, that no reading of the source can tell.
_DYNAMIC = {"__import__", "import_module", "exec", "eval"}


class Modules:
    """Which files of the package a piece of code depends on, told from its source alone.

    ``check.<name>`` means the one module of that check, although ``llmbook.check`` could load any.
    What cannot be told (magics, ``import llmbook``, dynamic imports) means the whole package.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def everything(self) -> frozenset[Path]:
        return frozenset(p for p in self.root.rglob("*.py") if "__pycache__" not in p.parts)

    @cached_property
    def data(self) -> frozenset[Path]:
        """Files that are not modules: any module may read them, but a record only by its name."""
        files = (p for p in self.root.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyi"))
        return frozenset(p for p in files if "__pycache__" not in p.parts)

    def reached(self, code: str) -> frozenset[Path]:
        """Return the files that running ``code`` can load."""
        names = self._imports(ast_or_none(code), current=PACKAGE)
        files: set[Path] = set()
        todo = list(names or ())
        while names is not None and todo:
            name = todo.pop()
            path = self._path(name)
            if path is None or path in files:
                continue
            files.add(path)
            # Importing a.b runs a first.
            inner = self._imports(ast_or_none(path.read_text("utf-8")), current=name)
            if inner is None:
                names = None
            else:
                todo += [name.rpartition(".")[0], *inner]
        if names is None:
            return self.everything | self.data
        data = {p for p in self.data if p.parent.name != "records" or f'"{p.stem}"' in code}
        return frozenset(files | data)

    def _path(self, name: str) -> Path | None:
        if name.partition(".")[0] != PACKAGE:
            return None
        base = self.root.joinpath(*name.split(".")[1:])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                return path
        return None

    def _imports(self, tree: ast.Module | None, current: str) -> set[str] | None:
        """Return the modules that the code of module ``current`` names, None if it hides some."""
        if tree is None:
            return None
        front = f"{PACKAGE}.check"
        found: set[str] = set()
        fronts: set[str] = set()  # what the code calls llmbook.check
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.partition(".")[0] == PACKAGE:
                        if alias.asname is None:
                            return None
                        found.add(alias.name)
                        if alias.name == front:
                            fronts.add(alias.asname)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node, current)
                if base.partition(".")[0] != PACKAGE:
                    continue
                found.add(base)
                for alias in node.names:
                    if alias.name == "*" and base in (PACKAGE, front):
                        return None
                    found.add(f"{base}.{alias.name}")
                    if base == front:
                        found |= self._checks(alias.name)
                    if f"{base}.{alias.name}" == front:
                        fronts.add(alias.asname or alias.name)
            elif current != front and (
                (isinstance(node, ast.Name) and node.id in _DYNAMIC)
                or (isinstance(node, ast.Attribute) and node.attr == "import_module")
            ):
                return None
        uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in fronts]
        attributes = [
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in fronts
        ]
        if len(uses) != len(attributes):
            return None  # the front is handed on: any check may be meant
        for attribute in attributes:
            found |= self._checks(attribute)
        if current == front:
            # It loads a check only when asked for it by name, which is told where that is done.
            checks = f"{PACKAGE}.checks."
            found = {n for n in found if not n.startswith(checks)} | {f"{checks}engine"}
        return found

    def _base(self, node: ast.ImportFrom, current: str) -> str:
        if node.level == 0:
            return node.module or ""
        path = self._path(current)
        package = current.split(".")
        if path is not None and path.name != "__init__.py":
            package.pop()
        package = package[: len(package) - node.level + 1]
        return ".".join([*package, *([node.module] if node.module else [])])

    def _checks(self, name: str) -> set[str]:
        return {
            f"{PACKAGE}.checks.{path.parent.name}.{name}"
            for path in self.root.glob(f"checks/*/{name}.py")
        }


def ast_or_none(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except SyntaxError:
        return None


def digest(files: Iterable[Path], root: Path, *more: str) -> str:
    """Return a digest of the names and contents of files below ``root``, and of more text."""
    total = hashlib.sha256(json.dumps(more).encode())
    for path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return total.hexdigest()


class Page(NamedTuple):
    """The code of a page and the digest of what it depended on when it was read."""

    code: str
    digest: str


class Fresh:
    """The state of the package and the pins during one build."""

    def __init__(self, srcdir: Path) -> None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"the pages import {PACKAGE}, which is not installed")
        self.modules = Modules(Path(spec.submodule_search_locations[0]))
        self.pins = (srcdir.parent / PINS).read_text("utf-8")

    def digest(self, code: str) -> str:
        files = self.modules.reached(code)
        return digest(files, self.modules.root, self.pins, platform.python_version())


def page_code(text: str) -> str:
    notebook = read_myst_markdown_notebook(text)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def stamp(app: Sphinx, docname: str, content: list[str]) -> None:
    """Write the digest into the kernelspec of a page, keeping the numbers of its lines."""
    match = _FRONT_MATTER.match(content[0])
    metadata = yaml.safe_load(match[1]) if match else None
    if match is None or not (
        isinstance(metadata, dict) and isinstance(metadata.get("kernelspec"), dict)
    ):
        return
    code = page_code(content[0])
    page = Page(code, app.fresh_outputs.digest(code))
    _pages(app.env)[docname] = page
    metadata["kernelspec"]["depends_on"] = page.digest
    blank = "\n" * match[1].count("\n")
    content[0] = f"---\n{json.dumps(metadata)}{blank}---\n{content[0][match.end() :]}"


def reread_when_dependencies_change(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    fresh = app.fresh_outputs.digest
    return [name for name, page in _pages(env).items() if fresh(page.code) != page.digest]


def _pages(env: BuildEnvironment) -> dict[str, Page]:
    if not hasattr(env, "output_pages"):
        env.output_pages = {}
    return env.output_pages


def purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _pages(env).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment) -> None:
    _pages(env).update({n: page for n, page in _pages(other).items() if n in docnames})


def note_machinery(app: Sphinx, config: Config) -> None:
    """Let Sphinx see what makes the pages, as settings that it compares with the last build's."""
    srcdir = Path(app.srcdir)
    app.fresh_outputs = Fresh(srcdir)
    modules = app.fresh_outputs.modules
    renderer = digest(modules.reached(f"from {PACKAGE} import _myst_nb"), modules.root)
    asset_pins = srcdir.parent / ASSET_PINS
    config.book_machinery = digest(
        srcdir.glob("_ext/*.py"),
        srcdir,
        renderer,
        app.fresh_outputs.pins,
        asset_pins.read_text("utf-8") if asset_pins.exists() else "",
    )
    config.book_assets = digest((p for p in srcdir.glob("_static/**/*") if p.is_file()), srcdir)


# -- What does not count as done ------------------------------------------------------------------


def _unfinished(app: Sphinx) -> Path:
    """Return the file that is there from when pages are read until all are written."""
    return Path(app.doctreedir, "unfinished")


def forget_an_unfinished_build(app: Sphinx, config: Config) -> None:
    """Read every page again after a build that was interrupted, wrote no pages or had warnings.

    Sphinx would skip the pages that it has read, written or not, warnings or not, and call the
    build a success. Pages that were executed keep their outputs in the cache; a page that failed
    has none there.
    """
    if _unfinished(app).exists():
        Path(app.doctreedir, ENV_PICKLE_FILENAME).unlink(missing_ok=True)


def begin_to_write(app: Sphinx, env: BuildEnvironment) -> None:
    _unfinished(app).touch()


def count_as_done(app: Sphinx, exception: Exception | None) -> None:
    """Count a build of the site; one that only follows links has noted changes, but writes none."""
    if app.builder.format == "html" and exception is None and not app._warncount:
        _unfinished(app).unlink(missing_ok=True)


# -- What is no longer in the book ----------------------------------------------------------------


def note_page(app: Sphinx, pagename: str, *_: Any) -> None:
    app.pages_written.add(pagename)


def remove_what_is_gone(app: Sphinx, exception: Exception | None) -> None:
    """Remove pages, their solutions and sources that no build writes any more; Sphinx never does.

    A build that writes anything writes all pages that are not documents, such as the search.
    """
    if exception is not None or app.builder.format != "html" or not app.pages_written:
        return
    out, docs = Path(app.outdir), app.env.found_docs
    pages = docs | app.pages_written
    for path in [*out.rglob("*.html"), *out.rglob("solution-*.js")]:
        file = path.relative_to(out)
        of_solution = file.name.startswith("solution-") and file.parent.as_posix() in docs
        if not (file.parts[0].startswith("_") or of_solution or _name(file) in pages):
            _remove(path)
    sources = out / "_sources"
    for path in sources.rglob("*.*"):
        file = Path(str(path.relative_to(sources)).removesuffix(app.config.html_sourcelink_suffix))
        if _name(file) not in docs:
            _remove(path)


def _name(file: Path) -> str:
    return file.with_suffix("").as_posix()


def _remove(path: Path) -> None:
    path.unlink()
    with suppress(OSError):  # not empty
        path.parent.rmdir()


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("book_machinery", "", "env", str)
    app.add_config_value("book_assets", "", "html", str)
    app.pages_written = set()
    app.connect("config-inited", note_machinery)
    app.connect("config-inited", forget_an_unfinished_build)
    app.connect("source-read", stamp)
    app.connect("env-get-outdated", reread_when_dependencies_change)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("env-updated", begin_to_write)
    app.connect("html-page-context", note_page)
    app.connect("build-finished", remove_what_is_gone, priority=100)  # before others write theirs
    app.connect("build-finished", count_as_done, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
