"""What finds the site: each page names its address and shows a card, the map lists every page once.

Read from the files, without a browser.
"""

import xml.etree.ElementTree as ET
from functools import cache
from urllib.parse import urljoin

import pytest
import yaml
from bs4 import BeautifulSoup
from built import ROOT, SITE, pages
from PIL import Image

ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["html"]["baseurl"]
OTHERS = {"genindex.html", "search.html", "offline.html"}

pytestmark = pytest.mark.usefixtures("site")


@cache
def head(path: str) -> BeautifulSoup:
    text = (SITE / path).read_text("utf-8")
    return BeautifulSoup(text[: text.index("</head>")], "html.parser")


def canonical(path: str) -> str | None:
    link = head(path).select_one('link[rel="canonical"]')
    return link and link["href"]


def mapped() -> list[str]:
    root = ET.parse(SITE / "sitemap.xml").getroot()
    return [e.text for e in root.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]


def address(path: str) -> str:
    return ADDRESS + ("" if path == "index.html" else path)


def test_the_map_lists_the_canonical_addresses() -> None:
    assert len(mapped()) == len(set(mapped()))
    assert set(mapped()) == {canonical(path) for path in pages()} - {None}
    own = [path for path in pages() if canonical(path) == address(path)]
    assert {address(path) for path in own} == set(mapped())


@pytest.mark.parametrize("path", pages())
def test_a_page_says_what_it_is(path: str) -> None:
    if path in OTHERS:
        return
    assert canonical(path) in mapped()
    described = head(path).select('meta[name="description"]')
    assert len(described) == 1
    assert 20 <= len(described[0]["content"]) <= 165
    said = {m["property"]: m["content"] for m in head(path).select("meta[property]")}
    assert said["og:url"] == canonical(path)
    assert said["og:title"]
    assert said["og:image"].startswith(ADDRESS)
    with Image.open(SITE / said["og:image"].removeprefix(ADDRESS)) as card:
        assert card.size == (int(said["og:image:width"]), int(said["og:image:height"]))


def test_descriptions_and_titles_differ() -> None:
    own = [path for path in pages() if path not in OTHERS and canonical(path) == address(path)]
    assert len(own) >= 10
    for field in ('meta[name="description"]', 'meta[property="og:title"]'):
        texts = [head(path).select_one(field)["content"] for path in own]
        assert len(set(texts)) == len(texts)


def test_robots_name_the_map() -> None:
    assert f"Sitemap: {ADDRESS}sitemap.xml" in (SITE / "robots.txt").read_text("utf-8")


def test_pages_lead_to_the_feed_and_the_feed_to_pages() -> None:
    for path in pages():
        if path not in OTHERS:
            link = head(path).select_one('link[type="application/atom+xml"]')
            assert urljoin(address(path), link["href"]) == f"{ADDRESS}feed.xml"
    atom = "{http://www.w3.org/2005/Atom}"
    root = ET.parse(SITE / "feed.xml").getroot()
    entries = root.findall(f"{atom}entry")
    assert entries
    changes = (SITE / "changes.html").read_text("utf-8")
    for entry in entries:
        page, _, anchor = entry.find(f"{atom}link").get("href").partition("#")
        assert page == f"{ADDRESS}changes.html"
        assert f'id="{anchor}"' in changes


def test_icons_are_there() -> None:
    link = head("index.html").select_one('link[rel="apple-touch-icon"]')
    with Image.open(SITE / link["href"]) as icon:
        assert icon.size == (180, 180)
    for size in (192, 512):
        with Image.open(SITE / f"icons/icon-{size}.png") as icon:
            assert icon.size == (size, size)


@pytest.mark.parametrize("path", pages())
def test_each_term_is_linked_once_and_out_of_the_way(path: str) -> None:
    page = BeautifulSoup((SITE / path).read_text("utf-8"), "html.parser")
    terms = [a["href"] for a in page.select("article a.term")]
    assert len(set(terms)) == len(terms)
    inside = ", ".join(f"{e} a.term" for e in ("h1", "h2", "h3", "a", "code", "pre", "summary"))
    assert not page.select(inside)
    if path.startswith(("attention/", "gpt/")) and path.count("/") == 1:
        assert len(terms) >= 3
