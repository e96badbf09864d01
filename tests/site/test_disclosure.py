"""Closed solutions open for whoever was sent into them: by a link, by a search, by the printer."""

from collections.abc import Iterator
from typing import Any

import pytest

PAGE = "attention/self-attention.html"
SOLUTION = "attention-by-hand-solution"
IS_OPEN = f"document.getElementById('{SOLUTION}').open"
ALL_OPEN = "[...document.querySelectorAll('details')].every((box) => box.open)"


@pytest.fixture
def page(browser: Any, site: str) -> Iterator[Any]:
    context = browser.new_context(base_url=site)
    yield context.new_page()
    context.close()


def expect_open(page: Any) -> None:
    """Wait for the solution to open; Playwright's timeout is the failure."""
    page.wait_for_function(IS_OPEN)


def test_closed_at_first(page: Any) -> None:
    page.goto(PAGE)
    assert page.evaluate(IS_OPEN) is False


def test_link_from_elsewhere_opens(page: Any) -> None:
    page.goto(f"{PAGE}#{SOLUTION}")
    expect_open(page)


def test_link_on_the_page_opens_each_time(page: Any) -> None:
    page.goto(PAGE)
    link = f'<a id=there href="#{SOLUTION}">there</a>'
    page.evaluate(f"document.querySelector('article h1').innerHTML += '{link}'")
    for _ in range(2):
        page.click("#there")
        expect_open(page)
        page.evaluate(f"{IS_OPEN} = false")


def test_search_hit_inside_opens(page: Any) -> None:
    page.goto(PAGE)
    page.evaluate("localStorage.setItem('sphinx_highlight_terms', 'Solution')")
    page.reload()
    expect_open(page)


def test_print_opens_all_and_closes_them_again(page: Any) -> None:
    page.goto(PAGE)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(ALL_OPEN)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(IS_OPEN) is False
