"""What a host shows where there is no page: tools/serve.py does as hosts do."""

import urllib.request
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
import yaml
from built import NOT_FOUND, ROOT, SITE
from test_pages import AXE, AXE_RUN

MISSING = "attention/no-such-page.html"


def test_it_is_no_page_that_was_found(site: str) -> None:
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(site + MISSING)
    assert caught.value.code == 404
    assert b"There is no such page" in caught.value.read()


def test_it_searches_and_leads_on(page: Any) -> None:
    for way in ("All exercises", "The front page"):
        page.goto(MISSING)
        page.get_by_role("link", name=way).click()
        assert page.locator("article h1").count() == 1
    page.goto(MISSING)
    page.get_by_role("searchbox").fill("13.19")
    page.keyboard.press("Enter")
    page.locator(".search-results a").first.wait_for()
    assert "13.19" in page.locator(".search-results a").first.text_content()


def test_it_leads_to_the_site_on_its_host() -> None:
    text = (SITE / NOT_FOUND).read_text("utf-8")
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    assert f'href="{urlsplit(config["html"]["baseurl"]).path}index.html"' in text
    assert "src=" not in text
    assert "<link" not in text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_accessible_and_fits_a_phone(visit: Any, theme: str) -> None:
    page = visit(
        MISSING, color_scheme=theme, viewport={"width": 320, "height": 640}, bypass_csp=True
    )
    page.evaluate(AXE.read_text("utf-8"))
    assert page.evaluate(AXE_RUN, "all") == []
    assert page.evaluate("document.documentElement.scrollWidth") == 320
