"""Links of the built site: every inner one leads somewhere, launch buttons open the right notebook.

Read from the HTML, without a browser.
"""

from functools import cache
from pathlib import Path, PurePosixPath
from posixpath import normpath
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup
from built import ROOT, SITE, pages

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
REPOSITORY, BRANCH = CONFIG["repository"]["url"], CONFIG["repository"]["branch"]
OWNER_AND_NAME = urlsplit(REPOSITORY).path.strip("/")

pytestmark = pytest.mark.usefixtures("site")
every_page = pytest.mark.parametrize("path", pages())


@cache
def tree(path: str) -> BeautifulSoup:
    return BeautifulSoup((SITE / path).read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: str) -> frozenset[str]:
    return frozenset(element["id"] for element in tree(path).select("[id]"))


def addresses(path: str) -> set[str]:
    page = tree(path)
    return {
        element[attribute]
        for attribute in ("href", "src", "action", "poster")
        for element in page.select(f"[{attribute}]")
    }


@every_page
def test_inner_links_lead_somewhere(path: str) -> None:
    dead = []
    for address in addresses(path):
        url = urlsplit(address)
        if url.scheme or url.netloc:
            continue
        target = path
        if url.path:
            target = normpath((PurePosixPath(path).parent / unquote(url.path)).as_posix())
            if not (SITE / target).is_file():
                dead.append(address)
                continue
        anchor = unquote(url.fragment)
        if anchor and target.endswith(".html") and anchor not in anchors(target):
            dead.append(address)
    assert not dead


@every_page
def test_ids_are_unique(path: str) -> None:
    ids = [element["id"] for element in tree(path).select("[id]")]
    assert {i for i in ids if ids.count(i) > 1} == set()


@every_page
def test_only_links_that_a_reader_follows_leave_the_site(path: str) -> None:
    loaded = tree(path).select(
        "script[src], link[href]:not([rel=canonical]), img, iframe, source, object"
    )
    assert loaded
    named = [
        address
        for e in loaded
        for address in (
            *(e[name] for name in ("src", "href", "data") if e.has_attr(name)),
            *(part.split()[0] for part in e.get("srcset", "").split(",") if part.strip()),
        )
    ]
    assert len(named) >= len(loaded)
    assert [address for address in named if urlsplit(address).netloc] == []


def has_code(path: str) -> bool:
    own_page = "/solution-" in path  # of a solution, which is in the notebook of its exercise
    return not own_page and bool(tree(path).select("article .cell_input, a[data-solution]"))


@every_page
def test_launch_buttons_open_the_notebook_of_the_page(path: str) -> None:
    page = tree(path)
    links = [a["href"] for a in page.select(".dropdown-launch-buttons a")]
    if not has_code(path):
        assert not links
        return
    notebook = Path("notebooks", path).with_suffix(".ipynb").as_posix()
    binder, colab = links
    url = urlsplit(binder)
    assert url.netloc == "mybinder.org"
    assert url.path == f"/v2/gh/{OWNER_AND_NAME}/{BRANCH}"
    assert parse_qs(url.query) == {"urlpath": [f"lab/tree/{notebook}"]}
    assert colab == (
        f"https://colab.research.google.com/github/{OWNER_AND_NAME}/blob/{BRANCH}/{notebook}"
    )
    assert (ROOT / notebook).is_file()


@every_page
def test_download_button_gives_the_same_notebook(path: str) -> None:
    links = [a["href"] for a in tree(path).select(".dropdown-download-buttons a[href$='.ipynb']")]
    assert bool(links) == has_code(path)
    for link in links:
        offered = SITE / normpath((PurePosixPath(path).parent / link).as_posix())
        notebook = ROOT / "notebooks" / Path(path).with_suffix(".ipynb")
        assert offered.read_bytes() == notebook.read_bytes()


def test_the_repository_is_named_in_one_place() -> None:
    """Everything else reads it from there; the lockstep of a second place would break."""
    sources = [
        *(ROOT / "book").rglob("*.md"),
        *(ROOT / "book" / "_ext").glob("*.py"),
        *(ROOT / "book" / "_static").iterdir(),
        *(ROOT / "src").rglob("*.py"),
    ]
    assert sources
    assert [s for s in sources if REPOSITORY in s.read_text(encoding="utf-8")] == []
