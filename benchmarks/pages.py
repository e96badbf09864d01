"""The site's pages on a phone: Lighthouse's scores and times, and what the network carries.

    python benchmarks/pages.py [--runs N] [--solutions N] [--no-baseline] [PAGE ...]

Every page of the table of contents (or those named, such as gpt/counting) is measured by Lighthouse
with its settings for a phone on a slow network, served with compression; the table has the medians
of some runs. Beside them stands a page as Jupyter Book makes it by default of the same text, code
and figures. What is transferred is counted at the server, for a page that is read to its end: on a
first visit, without Plotly and with all, and by who comes from the front page.

Ends with the names of the pages that miss the targets, and with an exit code of 1. TBT, and a part
of the score with it, is the time of this machine's processor: see the last line of the table.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from playwright.sync_api import sync_playwright

import browser
import weigh

ROOT = Path(__file__).resolve().parent.parent
LIGHTHOUSE = ROOT / "node_modules" / "lighthouse" / "cli" / "index.js"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
MEASURES = {
    "fcp": "firstContentfulPaint",
    "lcp": "largestContentfulPaint",
    "tbt": "totalBlockingTime",
    "cls": "cumulativeLayoutShift",
}
KIB = 1024
ATTEMPTS = 3  # on a busy machine, a browser at times does not answer
# The page that Jupyter Book makes as well; it has figures.
BASELINE = "attention/efficient-attention"
FIGURE = re.compile(r'class="(?:[^"]* )?(?:plotly|matplotlib|attention)-figure\b')
TARGETS = {"figures": 0.95, "none": 0.98, "others": 1.0, "cls": 0.02, "first": 300, "second": 60}


@dataclass
class Row:
    """What was measured of a page: medians, and KiB."""

    page: str
    figures: bool
    scores: dict[str, float]
    times: dict[str, float]  # milliseconds, and the layout shift
    first: float
    plotly: float
    second: float | None  # None for the baseline, a book of one page
    faults: list[str]  # audits that cost a point beside performance
    speed: float  # Lighthouse's index of the machine
    unreached: list[str]  # addresses on other hosts that did not answer

    def misses(self) -> list[str]:
        """Return the targets that the page misses."""
        least = TARGETS["figures" if self.figures else "none"]
        missed = []
        if self.scores["performance"] < least:
            missed.append(f"performance {self.scores['performance']:.2f} < {least}")
        for name in CATEGORIES[1:]:
            if self.scores[name] < TARGETS["others"]:
                missed.append(f"{name} {self.scores[name]:.2f} < 1 ({', '.join(self.faults)})")
        if self.times["cls"] >= TARGETS["cls"]:
            missed.append(f"layout shift {self.times['cls']:.3f} >= {TARGETS['cls']}")
        if self.first > TARGETS["first"]:
            missed.append(f"first visit {self.first:.0f} KiB > {TARGETS['first']}")
        if self.second is not None and self.second > TARGETS["second"]:
            missed.append(f"second page {self.second:.0f} KiB > {TARGETS['second']}")
        return missed


def lighthouse(address: str) -> dict[str, Any]:
    """Measure a page once; return Lighthouse's report.

    Raises
    ------
    RuntimeError
        If it cannot be measured; the message says why.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return attempt(address)
        except RuntimeError as error:
            print(f"once more, since {error}", file=sys.stderr)
    return attempt(address)


def attempt(address: str) -> dict[str, Any]:
    """Run Lighthouse; raises a RuntimeError with its message if that fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = ["node", str(LIGHTHOUSE), address, "--quiet", f"--chrome-flags={FLAGS}"]
        command += [f"--only-categories={','.join(CATEGORIES)}"]
        command += ["--output=json", f"--output-path={report}"]
        environment = {**os.environ, "CHROME_PATH": browser.find(whole=True) or ""}
        done = subprocess.run(
            command, env=environment, capture_output=True, encoding="utf-8", check=False
        )
        if done.returncode:
            raise RuntimeError(f"Lighthouse cannot measure {address}:\n{done.stderr.strip()}")
        result: dict[str, Any] = json.loads(report.read_text("utf-8"))
    if error := result.get("runtimeError"):
        raise RuntimeError(f"Lighthouse cannot measure {address}: {error['message']}")
    return result


def faults(report: dict[str, Any]) -> set[str]:
    """Return the audits that cost a page a point, except those of its speed."""
    named = (ref for name in CATEGORIES[1:] for ref in report["categories"][name]["auditRefs"])
    scores = {ref["id"]: report["audits"][ref["id"]]["score"] for ref in named if ref["weight"]}
    return {name for name, score in scores.items() if score is not None and score < 1}


def measure(
    server: weigh.CountingServer, chromium: Any, page: str, before: str | None, runs: int
) -> Row:
    """Measure a page, and weigh it for who comes first and for who comes from another one."""
    path = f"{page}.html"
    # Some figures come with a solution.
    files = [server.folder / path, *(server.folder / page).glob("solution-*.html")]
    loads = weigh.weigh(
        server, chromium, path, before and f"{before}.html", to_the_end="/solution-" not in page
    )
    reports = [lighthouse(server.address + path) for _ in range(runs)]
    metrics = [report["audits"]["metrics"]["details"]["items"][0] for report in reports]
    return Row(
        page=page,
        figures=any(FIGURE.search(file.read_text("utf-8")) for file in files),
        scores={
            name: statistics.median(report["categories"][name]["score"] for report in reports)
            for name in CATEGORIES
        },
        times={
            name: statistics.median(metric[key] for metric in metrics)
            for name, key in MEASURES.items()
        },
        first=loads.first.bytes / KIB,
        plotly=loads.first.plotly / KIB,
        second=None if loads.second is None else loads.second.bytes / KIB,
        faults=sorted(set().union(*map(faults, reports))),
        speed=statistics.median(report["environment"]["benchmarkIndex"] for report in reports),
        unreached=loads.first.failed,
    )


# --- The page as Jupyter Book makes it -----------------------------------------------------------


def default_book(folder: Path) -> Path:
    """Build a book of one page with Jupyter Book's own settings; return the site's folder.

    The text is that of the page's notebook, where exercises and solutions are plain Markdown, and
    the figures are those of the executed page.
    """
    notebook = nbformat.read(ROOT / "notebooks" / f"{BASELINE}.ipynb", as_version=4)
    executed = nbformat.read(ROOT / "_build/jupyter_execute" / f"{BASELINE}.ipynb", as_version=4)
    outputs = {cell.source.strip(): cell.outputs for cell in executed.cells if "outputs" in cell}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = outputs.get(cell.source.strip(), cell.outputs)
    nbformat.write(notebook, folder / "index.ipynb")
    # All else is left as it is by default.
    (folder / "_config.yml").write_text("title: A book\nexecute: {execute_notebooks: 'off'}\n")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    done = subprocess.run(
        ["jupyter-book", "build", str(folder)], capture_output=True, encoding="utf-8", check=False
    )
    site = folder / "_build" / "html"
    if done.returncode or not (site / "index.html").is_file():
        raise RuntimeError(f"Jupyter Book cannot build {BASELINE}:\n{done.stderr.strip()}")
    return site


# --- The table -----------------------------------------------------------------------------------

HEAD = (
    f"{'page':<34}  perf   a11y   best   SEO    FCP s  LCP s  TBT ms     CLS"
    "   first   all told   second KiB"
)


def line(row: Row) -> str:
    """Return a page's line of the table."""
    scores = "   ".join(f"{row.scores[name]:.2f}" for name in CATEGORIES)
    times = row.times
    second = "-" if row.second is None else f"{row.second:.0f}"
    return (
        f"{row.page:<34}  {scores}   {times['fcp'] / 1000:5.2f}  {times['lcp'] / 1000:5.2f}"
        f"  {times['tbt']:6.0f}  {times['cls']:6.4f}"
        f"  {row.first:6.0f}  {row.first + row.plotly:9.0f}  {second:>11}"
    )


def contents() -> Iterator[str]:
    """Yield the pages of the table of contents."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    yield toc["root"]
    for part in toc["parts"]:
        yield from (chapter["file"] for chapter in part["chapters"])


def main() -> int:
    """Print the table and what misses the targets."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="default: the whole contents")
    parser.add_argument("--runs", type=int, default=5, help="of Lighthouse on each page (5)")
    parser.add_argument("--solutions", type=int, default=2, help="pages of one solution (2)")
    parser.add_argument("--no-baseline", action="store_true", help="without Jupyter Book's page")
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "site", help="its folder")
    given = parser.parse_args()
    if given.runs < 1:
        parser.error(f"--runs must be at least 1, got {given.runs}")
    if given.solutions < 0:
        parser.error(f"--solutions must not be negative, got {given.solutions}")
    if not LIGHTHOUSE.is_file():
        parser.error("lighthouse is missing from node_modules: run `npm ci` (make book does)")
    if browser.find(whole=True) is None:
        parser.error("there is no Chromium: `make browser` brings one, or set LLMBOOK_CHROMIUM")
    pages = given.pages or [*contents()]
    for page in pages:
        if not (given.site / f"{page}.html").is_file():
            parser.error(f"PAGE must be one of the site's, such as gpt/counting, got {page!r}")
    if not given.pages:
        solutions = [
            path.relative_to(given.site).with_suffix("").as_posix()
            for path in sorted(given.site.rglob("solution-*.html"), key=lambda p: p.stat().st_size)
        ]
        pages += solutions[max(0, len(solutions) - given.solutions) :]  # the largest

    rows = []
    print(HEAD, flush=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        chromium = playwright.chromium.launch(
            executable_path=browser.find(whole=True), args=FLAGS.split()[1:]
        )
        with weigh.counted(given.site) as server:
            for page in pages:
                before = "index" if page != "index" else pages[-1] if pages[1:] else BASELINE
                rows.append(measure(server, chromium, page, before, given.runs))
                print(line(rows[-1]), flush=True)
        baseline = None
        if not given.no_baseline:
            with weigh.counted(default_book(Path(folder))) as server:
                baseline = measure(server, chromium, "index", None, given.runs)
            baseline.page = "Jupyter Book's default page"
            print(line(baseline))
        chromium.close()
    if baseline and baseline.unreached:
        print(
            f"\nJupyter Book's page is {BASELINE}, without its Plotly figures. It also asked other "
            f"hosts for {len(baseline.unreached)} files, which did not come and are not counted:"
        )
        print(*(f"  {address}" for address in baseline.unreached), sep="\n")
    speed = statistics.median(row.speed for row in rows)
    load = f", {os.getloadavg()[0]:.1f} processes at work" if hasattr(os, "getloadavg") else ""
    print(
        f"\nMedians of {given.runs}. This machine: {speed:.0f} by Lighthouse's index "
        f"(a desk's has 1500 and more){load}."
    )
    missed = {row.page: row.misses() for row in rows if row.misses()}
    for page, what in missed.items():
        print(f"{page} misses: {'; '.join(what)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
