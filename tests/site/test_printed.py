"""One page of the built site as a document, as `make pdf` prints them all."""

import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from built import ROOT, SITE
from pypdf import PdfReader

PAGE = "gpt/tokens-and-perplexity"
HINTS = "article details:not(.solution) > div p"


@pytest.fixture(scope="module", params=[True, False], ids=["with answers", "without answers"])
def answers(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="module")
def document(
    answers: bool, site: str, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> PdfReader:
    """Print in another process: two Playwrights do not live in one."""
    output = tmp_path_factory.mktemp("printed") / "book.pdf"
    without = [] if answers else ["--no-solutions", "--no-hints"]
    command = [sys.executable, ROOT / "tools/pdf.py", *without, "--output", output, PAGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return PdfReader(output)


def squeezed(text: str) -> str:
    """Leave out spaces, which paper has elsewhere, and take ligatures apart."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def phrases(file: Path, selector: str) -> list[str]:
    """Return how the paragraphs begin that do so with some words."""
    page = BeautifulSoup(file.read_text("utf-8"), "html.parser")
    found = [squeezed(next(p.stripped_strings, ""))[:30] for p in page.select(selector)]
    return [phrase for phrase in found if len(phrase) == 30]


def test_hints_and_solutions_are_printed_or_not(document: PdfReader, answers: bool) -> None:
    text = squeezed("".join(sheet.extract_text() for sheet in document.pages))
    [statement, *_] = phrases(SITE / f"{PAGE}.html", "article .exercise p")
    assert statement in text
    hints = phrases(SITE / f"{PAGE}.html", HINTS)
    solutions = [
        phrase
        for file in (SITE / PAGE).glob("solution-*.html")
        for phrase in phrases(file, "article p")
    ]
    for there in (hints, solutions):
        assert there
        assert {phrase in text for phrase in there} == {answers}


def test_cover_and_numbers(document: PdfReader, answers: bool) -> None:
    kind = "With solutions" if answers else "Without solutions"
    assert document.pages[0].extract_text() == f"The LLM Workbook\n{kind}"
    assert document.metadata.author == "The LLM Workbook contributors"
    for number, sheet in enumerate(document.pages[1:], start=2):
        assert sheet.extract_text().split()[-1] == str(number)


def test_contents_say_and_lead_to_where_headings_are(document: PdfReader) -> None:
    contents = document.pages[1]
    lines = re.findall(r"^(.+?) (\d+)$", contents.extract_text(), re.MULTILINE)
    assert [title.partition(":")[0] for title, _ in lines] == [
        "Tokens and perplexity",
        "Exercise 11.4",
        "Exercise 11.3",
    ]
    goals = [annotation.get_object()["/Dest"] for annotation in contents["/Annots"]]
    for (title, number), goal in zip(lines, goals, strict=True):
        sheet = document.pages[int(number) - 1]
        assert goal[0].get_object() == sheet
        assert squeezed(title.rpartition(":")[2]) in squeezed(sheet.extract_text())


def test_bookmarks_are_the_headings(document: PdfReader) -> None:
    contents, part, [page, headings] = document.outline
    titles = [goal.title for goal in (contents, part, page, *headings)]
    assert titles == [
        "Contents",
        "Building a GPT",
        "Tokens and perplexity",
        "Byte-pair encoding",
        "Perplexity",
    ]
