"""Time of importing llmbook beside importing PyTorch, and of every check on the pages.

    python benchmarks/package.py

The checks are timed where the reader calls them: every cell of a notebook that is one call of a
check, on the untouched answer and on the solution, with the rest of the page executed around it.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

ROOT = Path(__file__).resolve().parent.parent
IMPORTS = {
    "python alone": "pass",
    "import torch": "import torch",
    "import torch, llmbook.check": "import torch; from llmbook import check; dir(check)",
    "import torch, llmbook.figures": "import torch, llmbook.figures",
}


def import_seconds(code: str, repeats: int = 5) -> float:
    """Median wall-clock seconds of a new interpreter that runs ``code``."""

    def once() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    once()  # fills the caches of the file system
    return statistics.median(once() for _ in range(repeats))


def check_seconds(path: Path) -> dict[str, list[float]]:
    """Run a notebook in this process; seconds of each cell that is a call of a check, by check."""
    shell = InteractiveShell()
    seconds: dict[str, list[float]] = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        start = time.perf_counter()
        with capture_output():
            shell.run_cell(cell.source).raise_error()
        if cell.source.startswith("check."):
            name = cell.source.removeprefix("check.").split("(")[0]
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Print both tables."""
    os.environ["MPLBACKEND"] = "agg"
    print(f"{'import':<46} seconds")
    for name, code in IMPORTS.items():
        print(f"{name:<46} {import_seconds(code):7.2f}")
    print(f"\n{'check (slowest of its calls on the page)':<46} seconds")
    for path in sorted((ROOT / "notebooks").glob("*/*.ipynb")):
        for name, seconds in check_seconds(path).items():
            print(f"{name:<46} {max(seconds):7.3f}")


if __name__ == "__main__":
    main()
