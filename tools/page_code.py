"""Functions and classes of a page, for the benchmarks and experiments that run what readers see.

::

    page = definitions("attention/efficient-attention", "flash_attention")
    page.flash_attention(q, k, v)

Only what the names need is executed: the imports, top-level definitions and assignments that they
use, in the order of the page. Cells for the reader's answer are left out.
"""

import ast
import builtins
import linecache
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import jupytext

ROOT = Path(__file__).resolve().parent.parent


def definitions(page: str, *names: str, root: Path = ROOT) -> SimpleNamespace:
    """Return the named top-level functions, classes and constants of book/<page>.md.

    The namespace also holds, as ``source``, the code that was executed.

    Raises
    ------
    ValueError
        If the page does not exist, or does not define one of `names` exactly once.
    """
    path = root / "book" / f"{page}.md"
    if not path.is_file():
        raise ValueError(f"page must be one of the book, like 'attention/multi-head', got {page!r}")
    code = "\n\n".join(_cells(path))
    imports, defined = _statements(code)
    needed: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        nodes = defined.get(name, [])
        if name in names and len(nodes) != 1:
            raise ValueError(f"{page} must define {name} exactly once, but does {len(nodes)} times")
        if name in needed or not nodes:
            continue
        needed.add(name)
        todo += [used for node in nodes for used in _names(node)]
    body = sorted(
        {id(n): n for name in needed for n in defined[name]}.values(), key=lambda n: n.lineno
    )
    used = {name for node in body for name in _names(node)}
    imports = [
        node
        for node in imports
        if {a.asname or a.name.partition(".")[0] for a in node.names} & used
    ]
    # Tracebacks and inspect.getsource find the lines here.
    filename = f"<page {page}>"
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    scope: dict[str, object] = {"__name__": f"page {page}"}
    program = ast.Module([*imports, *body], [])
    exec(compile(program, filename, "exec"), scope)
    return SimpleNamespace(source=ast.unparse(program), **{name: scope[name] for name in names})


def _cells(path: Path) -> Iterator[str]:
    for cell in jupytext.read(path).cells:
        answer = "your-turn" in cell.metadata.get("tags", [])
        magic = cell.source.lstrip().startswith("%%")  # no Python: such a cell defines nothing
        if cell.cell_type == "code" and not answer and not magic:
            yield cell.source


def _statements(code: str) -> tuple[list[ast.Import | ast.ImportFrom], dict[str, list[ast.stmt]]]:
    """Return the imports at the top level, and what defines each top-level name."""
    imports: list[ast.Import | ast.ImportFrom] = []
    defined: dict[str, list[ast.stmt]] = {}
    for node in ast.parse(code).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.append(node)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for part in ast.walk(target):
                    if isinstance(part, ast.Name):
                        defined.setdefault(part.id, []).append(node)
    return imports, defined


def _names(node: ast.AST) -> set[str]:
    """Return the names that the code of a definition uses, its own parameters among them."""
    used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    local = {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
    stored = {
        part.id
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }
    return (
        used
        - local
        - (set() if isinstance(node, ast.Assign | ast.AnnAssign) else stored)
        - set(dir(builtins))
    )
