"""Links to exercises stay valid: every address that was ever published still leads somewhere.

Read from the HTML, without a browser; what the script makes of an old address is tried in one.
"""

import re
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any
from urllib.parse import urlsplit

import pytest
from bs4 import BeautifulSoup, Tag
from built import ROOT, SITE

import catalogue

CATALOGUE = catalogue.load(ROOT / "book/exercises.yml")
RECORD = "book/addresses.txt"
ADDRESSES = (ROOT / RECORD).read_text(encoding="utf-8").splitlines()


def test_every_exercise_is_in_the_record() -> None:
    lacking = {f"{e.page}#{label}" for label, e in CATALOGUE.items()} - {*ADDRESSES}
    assert not lacking, (
        f"{RECORD} keeps the addresses that readers may have: add {', '.join(sorted(lacking))}; "
        "the lines of an exercise that moved stay, and its entry in book/exercises.yml names the "
        "old page, `was: [part/page]`"
    )


def test_record_is_sorted_and_without_repetition() -> None:
    assert sorted(set(ADDRESSES)) == ADDRESSES, f"{RECORD}: expected sorted lines, each once"


def place(page: str, anchor: str) -> Tag | None:
    """Return the element of the built site that an address leads to."""
    file = SITE / f"{page}.html"
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    if f'id="{anchor}"' not in text:
        return None
    found = BeautifulSoup(text, "html.parser").find(id=anchor)
    return found if isinstance(found, Tag) else None


def is_exercise(element: Tag, label: str) -> bool:
    return element.select_one(f'.exercise[data-label="{label}"]') is not None


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("address", ADDRESSES)
def test_published_address_leads_to_its_exercise(address: str) -> None:
    page, label = address.split("#")
    assert label in CATALOGUE, f"{RECORD} has {address}: an exercise keeps its label for good"
    advice = (
        f"{RECORD} has {address}, which leads to no exercise: add {page} to `was` in the entry of "
        f"{label} in book/exercises.yml, and build the book"
    )
    element = place(page, label)
    assert element is not None, advice
    assert place(page, f"{label}-solution") is not None, advice
    if is_exercise(element, label):
        return
    assert "moved-exercise" in element.get("class", []), advice
    url = urlsplit(element.a["href"])
    now = normpath((PurePosixPath(page).parent / url.path).as_posix()).removesuffix(".html")
    assert url.fragment == label
    target = place(now, label)
    assert target is not None
    assert is_exercise(target, label), advice


@pytest.mark.parametrize("anchor", ["causal-mask", "causal-mask-solution"])
def test_old_address_leads_on_at_once(browser: Any, site: str, anchor: str) -> None:
    """The build's notice, as tests/test_book.py sees it, on a page that never had the exercise."""
    notice = (
        '<p class="moved-exercise" id="causal-mask"><span id="causal-mask-solution"></span>'
        '<a href="../attention/multi-head.html#causal-mask">The mask</a>.</p></article>'
    )

    def add(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=re.sub("</article>", notice, answer.text(), count=1))

    old = f"{site}gpt/counting.html"
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    page.route(old, add)
    page.goto(f"{site}index.html")
    page.goto(f"{old}#{anchor}")
    page.wait_for_url(f"{site}attention/multi-head.html#{anchor}")
    page.go_back()
    assert page.url == f"{site}index.html"
    page.goto(old)
    page.evaluate("(anchor) => { location.hash = anchor }", anchor)
    page.wait_for_url(f"{site}attention/multi-head.html#{anchor}")
    context.close()
