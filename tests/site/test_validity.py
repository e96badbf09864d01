"""The site's HTML is valid, as it is published and as the scripts make it.

html-validate says what is wrong; .htmlvalidate.mjs says what it is asked.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from built import NOT_FOUND, ROOT, SITE, page_with, pages
from test_pages import DRAWN, OPEN_EVERYTHING

PROGRAM = ROOT / "node_modules" / "html-validate" / "bin" / "html-validate.mjs"
CONFIG = ROOT / ".htmlvalidate.mjs"
FRAMES = sorted(path.relative_to(SITE).as_posix() for path in SITE.glob("assets/*.html"))

AS_HTML = "() => `<!DOCTYPE html>\\n${document.documentElement.outerHTML}`"


def faults(where: Path, scratch: Path) -> dict[str, list[str]]:
    """Return what html-validate finds in a file, or in those below a folder: rules and places."""
    if not PROGRAM.is_file():
        pytest.fail("html-validate is missing from node_modules: run `npm ci` (make book does)")
    report = scratch / "report.json"  # it ends before a long one has gone through a pipe
    done = subprocess.run(
        ["node", PROGRAM, "--config", CONFIG, "--formatter", f"json={report}", where],
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=ROOT,
    )
    if not report.is_file():
        pytest.fail(f"html-validate has failed: {done.stdout}{done.stderr}")
    return {
        file["filePath"]: [
            f"{m['line']}:{m['column']} {m['ruleId']}: {m['message']} ({m['selector']})"
            for m in file["messages"]
        ]
        for file in json.loads(report.read_text(encoding="utf-8"))
    }


@pytest.fixture(scope="module")
def found(site: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Look at all files at once: a start takes as long as some pages."""
    return faults(SITE, tmp_path_factory.mktemp("validity"))


@pytest.mark.parametrize("path", [*pages(), *FRAMES, NOT_FOUND])
def test_page_is_valid(found: dict[str, list[str]], path: str) -> None:
    told = found.get(str(SITE / path), [])
    assert not told, "\n".join(told)


def open_all(page: Any) -> None:
    page.evaluate(OPEN_EVERYTHING)
    page.wait_for_function(DRAWN)


def search_here(page: Any) -> None:
    page.get_by_role("searchbox").fill("attention")
    page.locator(".search-results mark").first.wait_for()


def search_in_dialog(page: Any) -> None:
    page.keyboard.press("Control+k")
    search_here(page)


def make_live(page: Any) -> None:
    page.locator(".article-header-buttons .live-button").click()
    page.locator(".live-editor").first.wait_for()


@pytest.mark.parametrize(
    ("part", "do"),
    [
        ('id="the-llm-workbook"', open_all),  # the front page
        ('class="exercise-index', open_all),
        ('class="plotly-figure"', open_all),  # with solutions, drawn figures, marks
        ('class="quiz"', open_all),
        ('class="bd-article search-page"', search_here),
        ('id="errata-of-the-sources"', search_in_dialog),
        ('class="cell tag_your-turn', make_live),
    ],
)
def test_page_is_valid_with_what_scripts_add(
    site: str, browser: Any, tmp_path: Path, part: str, do: Callable[[Any], None]
) -> None:
    page = browser.new_page(reduced_motion="reduce")
    page.goto(site + page_with(part))
    do(page)
    made = tmp_path / "made.html"
    made.write_text(page.evaluate(AS_HTML), encoding="utf-8")
    page.close()
    told = faults(made, tmp_path).get(str(made), [])
    assert not told, "\n".join(told)


def test_faults_are_found(tmp_path: Path) -> None:
    """The rules that matter are on."""
    page = tmp_path / "page.html"
    page.write_text(
        """<!DOCTYPE html>
<html lang="en"><head><title>Faulty</title></head><body>
<h1 id="twice" id="again">One</h1><h3 id="twice">A level is left out</h3>
<p>A paragraph has no <div>block</div> in it.</p>
<center nonsense="1">Old</center>
<a href="#" aria-labelledby="nowhere"><a href="#">in a link</a></a>
<button><svg viewBox="0 0 1 1"></svg></button>
<div aria-label="has no role"></div> <img src="picture.png"> <input type="text">
<ul><p>no item</p></ul>
</body></html>
""",
        encoding="utf-8",
    )
    told = {fault.split()[1].rstrip(":") for fault in faults(page, tmp_path)[str(page)]}
    assert told >= {
        "aria-label-misuse",
        "deprecated",
        "element-permitted-content",
        "heading-level",
        "input-missing-label",
        "no-dup-attr",
        "no-dup-id",
        "no-implicit-button-type",
        "no-missing-references",
        "no-unknown-attributes",
        "text-content",
        "wcag/h37",
    }
