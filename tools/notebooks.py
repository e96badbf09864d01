"""Turn the pages of the book into the notebooks that Colab and Binder open.

    python tools/notebooks.py [--all] [--check] [PAGE ...]

Every page of ``_toc.yml`` that has code cells, ``book/<part>/<page>.md``, becomes
``notebooks/<part>/<page>.ipynb``. MyST is rewritten as Markdown that a bare Jupyter or Colab
shows well, and a directive or role that is not known here is an error: nothing passes through
as markup. What has changed is then executed, and text, HTML and Plotly outputs are stored.
Images are left out: they bloat the history and no test compares them.

A solution becomes a section under a heading of its own. JupyterLab and Notebook 7 keep it closed by
``jp-MarkdownHeadingCollapsed`` in the heading's metadata, Colab by ``collapsed_sections`` in the
notebook's: text, code and outputs open together with one click.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jupytext.myst
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets.config import Config

from plain_markdown import BREAK, CLOSE, OPEN, Book, PageConverter, PageError, load_book

ROOT = Path(__file__).resolve().parents[1]


CELL_TIMEOUT = 60  # seconds
# Everything that would change from one machine to the next stays out.
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}
COLAB_CELL = """\
# Installs the book's helper package on Colab; elsewhere it does nothing.
import sys

if "google.colab" in sys.modules:
    %pip install -q "llmbook @ git+{url}@{branch}"\
"""
# Ends the section of the solution where something other than the look deeper follows.
AFTER_SOLUTION = "### Remarks"


# ---------------------------------------------------------------- the notebook


def generate(book: Book, page: str) -> tuple[NotebookNode, list[int]]:
    """Build the notebook of a page, not executed, and the page's line of every cell."""
    text = book.pages[page]
    converter = PageConverter(book, page)
    if not text.startswith("---\n"):
        raise PageError(page, 1, "no front matter; expected the jupytext and kernelspec header")
    try:
        parsed = jupytext.myst.myst_to_notebook(text, add_source_map=True)
    except jupytext.myst.MystMetadataParsingError as error:
        raise PageError(page, 1, str(error)) from None
    cells: list[NotebookNode] = []
    lines: list[int] = []
    seen: dict[str, int] = {}
    collapsed: list[str] = []
    closing = False  # a solution has ended: a heading must follow, or it would swallow the rest

    def add(kind: str, source: str, line: int, metadata: dict[str, object]) -> NotebookNode:
        # Ids from content, not position: an edit changes the id of one cell.
        count = seen[kind + source] = seen.get(kind + source, 0) + 1
        digest = hashlib.sha256(f"{page}\0{kind}\0{source}\0{count}".encode()).hexdigest()
        new = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
        cells.append(new(source=source, metadata=metadata, id=digest[:12]))
        lines.append(line)
        return cells[-1]

    def add_markdown(source: str, line: int, metadata: dict[str, object]) -> None:
        nonlocal closing
        if closing and not re.match(r"#{1,3} ", source):
            source = f"{AFTER_SOLUTION}\n\n{source}"
        closing = False
        notes = converter.footnotes(source)
        source = "\n".join([source, "", *notes]) if notes else source
        converter.require_plain(source, line)
        add("markdown", source, line, metadata)

    add(
        "code",
        COLAB_CELL.format(url=book.url, branch=book.branch),
        1,
        {"tags": ["colab-setup"]},
    )
    for cell, start in zip(parsed.cells, parsed.metadata["source_map"], strict=True):
        line = start + 1
        if cell.cell_type == "code":
            line = start  # of the fence: jupytext counts from its first line within
            if closing:
                add_markdown(AFTER_SOLUTION, line, {})
            add("code", cell.source, line, _code_metadata(cell.metadata, page, line))
            continue
        if cell.cell_type != "markdown":
            raise PageError(page, line, f"a {cell.cell_type} cell; expected Markdown or code")
        while not text.split("\n")[line - 1].strip():
            line += 1
        converted = converter.markdown(cell.source, line)
        for piece in _pieces(converted):
            if piece.startswith(OPEN):
                heading = add("markdown", piece.removeprefix(OPEN), line, {})
                heading.metadata.update({"id": heading.id, "jp-MarkdownHeadingCollapsed": True})
                collapsed.append(heading.id)
            elif piece == CLOSE:
                closing = True
            else:
                add_markdown(piece, line, dict(cell.metadata))
    if converter.solution is not None:
        start = converter.solution
        raise PageError(page, start.line, f"the solution of {start.argument!r} never ends")
    if converter.cited:
        add("markdown", converter.references(), lines[-1], {})
    metadata: dict[str, object] = dict(NOTEBOOK_METADATA)
    if collapsed:
        metadata["colab"] = {"collapsed_sections": collapsed}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return notebook, lines


def _pieces(lines: Sequence[str]) -> Iterator[str]:
    """Split converted lines into the Markdown of cells, OPEN with its heading, and CLOSE."""
    piece: list[str] = []
    for line in (*lines, BREAK):
        if not line.startswith(BREAK):
            piece.append(line)
            continue
        if text := "\n".join(piece).strip("\n"):
            yield text
        piece.clear()
        if line != BREAK:
            yield line


def _code_metadata(metadata: NotebookNode, page: str, line: int) -> dict[str, object]:
    kept = dict(metadata)
    rtol = kept.get("llmbook", {}).get("rtol")
    if rtol is not None:  # YAML 1.1 reads 1e-4 as a string
        try:
            kept["llmbook"] = {**kept["llmbook"], "rtol": float(rtol)}
        except ValueError:
            raise PageError(page, line, f"rtol is {rtol!r}, expected a number") from None
    return kept


def execute(notebook: NotebookNode) -> NotebookNode:
    """Run a copy of a generated notebook and return it with the outputs that are stored.

    The kernel starts in an empty folder, since Jupyter, Binder and Colab each start theirs in
    another one.

    Raises
    ------
    RuntimeError
        A cell failed; the message has the index of the cell and the traceback.
    """
    notebook = nbformat.from_dict(notebook)
    index = 0

    def note(cell: NotebookNode, cell_index: int) -> None:
        nonlocal index
        index = cell_index

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as sockets:
        config = Config()
        if os.name == "posix":  # TCP ports are picked before they are bound: kernels may collide
            config.ConnectionFileMixin.transport = "ipc"
            config.ConnectionFileMixin.ip = f"{sockets}/kernel"
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name=notebook.metadata.kernelspec.name,
            record_timing=False,
            coalesce_streams=True,
            on_cell_execute=note,
            resources={"metadata": {"path": folder}},
            config=config,
        )
        try:
            client.execute(env={**os.environ, "TQDM_DISABLE": "1"})
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            message = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
            raise CellFailedError(index, message) from None
    notebook.metadata.language_info = NOTEBOOK_METADATA["language_info"]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_without_images, cell.outputs) if output]
    return notebook


class CellFailedError(RuntimeError):
    """A cell of a notebook raised an error, ran too long or took the kernel down."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


def _without_images(output: NotebookNode) -> NotebookNode | None:
    if "data" not in output:
        return output
    output.data = {key: value for key, value in output.data.items() if key[:6] != "image/"}
    for key in [key for key in output.get("metadata", {}) if key[:6] == "image/"]:
        del output.metadata[key]
    return output if output.data else None


def source_of(notebook: NotebookNode) -> str:
    """Return what of a notebook comes from its page: everything but the outputs."""
    bare = nbformat.from_dict(notebook)
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(bare)


def is_fresh(notebook: NotebookNode, path: Path) -> bool:
    """Whether the file holds exactly this generated notebook, executed."""
    try:
        stored = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        counts = [cell.execution_count for cell in stored.cells if cell.cell_type == "code"]
        executed = counts == list(range(1, len(counts) + 1))
        return executed and source_of(stored) == source_of(notebook)
    except (FileNotFoundError, ValueError, AttributeError, KeyError):
        return False


def write(notebook: NotebookNode, path: Path) -> None:
    """Write beside and rename, so that an interrupted run leaves a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(nbformat.writes(notebook).rstrip("\n") + "\n", encoding="utf-8")
    temporary.replace(path)


def orphans(book: Book) -> list[Path]:
    """Notebooks that no page makes any more."""
    wanted = {book.notebook_path(page) for page in book.notebooks}
    found = (book.root / "notebooks").rglob("*.ipynb")
    return sorted(p for p in found if p not in wanted and ".ipynb_checkpoints" not in p.parts)


# ---------------------------------------------------------------- the command


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--all", action="store_true", help="execute unchanged notebooks too")
    parser.add_argument(
        "--check", action="store_true", help="execute nothing; fail where a notebook is stale"
    )
    parser.add_argument("pages", nargs="*", help="such as attention/self-attention; default: all")
    options = parser.parse_args(arguments)
    generated: dict[str, tuple[NotebookNode, list[int]]] = {}
    failed = False
    try:
        book = load_book(root)
        pages = _selected(book, options.pages)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for page in pages:
        try:
            generated[page] = generate(book, page)
        except ValueError as error:
            failed = True
            print(error, file=sys.stderr)
    pages = list(generated)
    gone = [] if options.pages else orphans(book)
    stale = [page for page in pages if not is_fresh(generated[page][0], book.notebook_path(page))]
    if options.check:
        for page in stale:
            state = "stale" if book.notebook_path(page).exists() else "missing"
            print(f"notebooks/{page}.ipynb is {state}: run make notebooks", file=sys.stderr)
        for path in gone:
            print(f"{path.relative_to(root)} has no page: run make notebooks", file=sys.stderr)
        return 1 if failed or stale or gone else 0
    for path in gone:
        path.unlink()
        print(f"{path.relative_to(root)} removed: it has no page")
    for page in pages if options.all else stale:
        notebook, lines = generated[page]
        start = time.perf_counter()
        try:
            write(execute(notebook), book.notebook_path(page))
        except CellFailedError as error:
            failed = True
            print(
                f"book/{page}.md:{lines[error.index]}: cell {error.index + 1} failed, "
                f"notebooks/{page}.ipynb is left as it was\n{error}",
                file=sys.stderr,
            )
        else:
            print(f"notebooks/{page}.ipynb  {time.perf_counter() - start:.1f} s", flush=True)
    return 1 if failed else 0


def _selected(book: Book, names: Sequence[str]) -> list[str]:
    pages = book.notebooks
    selected = [re.sub(r"^(?:.*/)?(?:book|notebooks)/|\.(?:md|ipynb)$", "", n) for n in names]
    for name, page in zip(names, selected, strict=True):
        if page not in pages:
            raise ValueError(f"page {name!r} is unknown, expected one of {', '.join(pages)}")
    return selected or pages


if __name__ == "__main__":
    sys.exit(main())
