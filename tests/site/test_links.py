"""Links of the built site: every inner one leads somewhere, launch buttons open the right notebook.

Read from the HTML, without a browser.
"""

import html
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup
from built import ROOT, SITE, pages

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
REPOSITORY, BRANCH = CONFIG["repository"]["url"], CONFIG["repository"]["branch"]
BASE = CONFIG["html"].get("baseurl") or ""
OWNER_AND_NAME = urlsplit(REPOSITORY).path.strip("/")

pytestmark = pytest.mark.usefixtures("site")
every_page = pytest.mark.parametrize("path", pages())


@cache
def tree(path: str) -> BeautifulSoup:
    return BeautifulSoup((SITE / path).read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """Free the trees, some millions of objects, before other tests run in this process."""
    yield
    tree.cache_clear()


@cache
def anchors(path: str) -> frozenset[str]:
    return frozenset(element["id"] for element in tree(path).select("[id]"))


def inside(address: str) -> bool:
    """Tell whether an address is one of the site, by its path or as a whole."""
    url = urlsplit(address)
    return not (url.scheme or url.netloc) or bool(BASE and address.startswith(BASE))


def leads_somewhere(address: str, path: str) -> bool:
    """Tell whether a page's link to an address within the site finds a file and a place in it."""
    if BASE and address.startswith(BASE):
        address, path = address.removeprefix(BASE) or "./", "index.html"
    url = urlsplit(address)
    target = path
    if url.path:
        target = normpath((PurePosixPath(path).parent / unquote(url.path)).as_posix())
        if url.path.endswith("/"):
            target = normpath(f"{target}/index.html")
    if not (SITE / target).is_file():
        return False
    anchor = unquote(url.fragment)
    return not anchor or not target.endswith(".html") or anchor in anchors(target)


def dead(addresses: Iterable[str], path: str) -> list[str]:
    return [a for a in addresses if inside(a) and not leads_somewhere(a, path)]


def addresses(page: BeautifulSoup) -> set[str]:
    """Return what the elements of a page lead to, load, or name to other sites."""
    found = {
        element[attribute]
        for attribute in ("href", "src", "action", "poster", "data-script")
        for element in page.select(f"[{attribute}]")
    }
    for element in page.select("[srcset]"):
        found |= {candidate.split()[0] for candidate in element["srcset"].split(",")}
    cards = page.select("meta[property='og:url'], meta[property='og:image']")
    return found | {element["content"] for element in cards}


def data(path: str) -> Any:
    """Return the value that a script of the site sets."""
    text = (SITE / path).read_text(encoding="utf-8")
    return json.loads(text[text.index("=") + 1 :].strip().removesuffix(";"))


@every_page
def test_inner_links_lead_somewhere(path: str) -> None:
    assert not dead(addresses(tree(path)), path)


def test_dead_links_are_noticed() -> None:
    for link in ("nowhere.html", "#nowhere", "glossary.html#nowhere", f"{BASE}nowhere.html"):
        assert dead([link], "index.html") == [link]
    for link in ("index.html", "", "./", "glossary.html#glossary", BASE, "llm-workbook.zip"):
        assert not dead([link], "index.html")
    assert not dead(["https://example.org/"], "index.html")


@every_page
def test_scripts_find_what_the_page_names(path: str) -> None:
    script = tree(path).select_one("script[data-assets]")
    where = normpath((PurePosixPath(path).parent / script["src"]).as_posix())
    names = json.loads(script["data-assets"])
    assert names
    assert not dead(names.values(), where)


@every_page
def test_links_of_solutions_that_come_later_lead_somewhere(path: str) -> None:
    """They are in a script, and count from the page that they come into."""
    for link in tree(path).select("a[data-script]"):
        label = link["data-solution"]
        script = SITE / normpath((PurePosixPath(path).parent / link["data-script"]).as_posix())
        call = script.read_text(encoding="utf-8").strip()
        found, markup = json.loads(f"[{call.removeprefix('llmbook.solution(').removesuffix(');')}]")
        assert found == label
        solution = BeautifulSoup(markup, "html.parser")
        assert not dead(addresses(solution), path)
        # The stand-ins of its anchors are there before it.
        controls = "input, select, button, textarea"
        theirs = {e["id"] for e in solution.select("[id]") if e.name not in controls}
        assert theirs <= anchors(path)


def test_every_exercise_has_its_addresses() -> None:
    """page#label and page#label-solution stay valid, and so does the page of the solution."""
    rows = tree("exercises/index.html").select("tr[data-label]")
    assert len(rows) > 40
    for row in rows:
        label, page = row["data-label"], row["data-page"]
        assert {label, f"{label}-solution"} <= anchors(f"{page}.html")
        assert f"{label}-solution" in anchors(f"{page}/solution-{label}.html")
        back = tree(f"{page}/solution-{label}.html").select_one("link[rel=canonical]")
        assert back is None or back["href"] == f"{BASE}{page}.html"


@every_page
def test_labels_name_exercises(path: str) -> None:
    """Scripts look for them: marks, counts, answers."""
    known = {row["data-label"] for row in tree("exercises/index.html").select("tr[data-label]")}
    page = tree(path)
    named = {e[name] for name in ("data-label", "data-solution") for e in page.select(f"[{name}]")}
    for element in page.select("[data-exercises]"):
        named.update(element["data-exercises"].split())
    assert named <= known


@pytest.mark.parametrize("name", ["search-index", "search-solutions"])
def test_answers_of_the_search_lead_somewhere(name: str) -> None:
    found = [
        f"{page}.html#{anchor}" if anchor else f"{page}.html"
        for page, _, rows in data(f"data/{name}.js")
        for _, anchor, *_ in rows
    ]
    assert len(found) > 40
    assert not dead(found, "index.html")


def test_exercises_of_the_list_are_on_their_pages() -> None:
    found = [f"{p}.html#{e}" for p, labels in data("data/exercises.js").items() for e in labels]
    assert len(found) > 40
    assert not dead(found, "index.html")


@pytest.mark.parametrize("name", ["sitemap.xml", "feed.xml", "robots.txt"])
def test_addresses_for_machines_lead_somewhere(name: str) -> None:
    if not BASE:
        pytest.skip("the site has no address of its own")
    text = html.unescape(html.unescape((SITE / name).read_text(encoding="utf-8")))
    found = re.findall(rf"{re.escape(BASE)}[^\s<>\"']*", text)
    assert found
    assert not dead(found, "index.html")


def test_sitemap_names_every_page_that_is_its_own_canonical() -> None:
    text = (SITE / "sitemap.xml").read_text(encoding="utf-8")
    listed = {a.removesuffix("/") for a in re.findall("<loc>([^<]*)</loc>", text)}
    own = set()
    for path in pages():
        page = tree(path)
        canonical = page.select_one("link[rel=canonical]")
        hidden = page.select_one("meta[name=robots][content*=noindex]")
        if canonical and canonical["href"].removeprefix(BASE) == path and not hidden:
            own.add(canonical["href"])
    assert own - listed <= {f"{BASE}index.html"}


def test_manifest_names_what_is_there() -> None:
    manifest = json.loads((SITE / "site.webmanifest").read_text(encoding="utf-8"))
    icons = [icon["src"] for icon in manifest["icons"]]
    assert not dead([manifest["start_url"], manifest["scope"], *icons], "site.webmanifest")


def test_list_for_reading_offline_is_that_of_the_site() -> None:
    listed = json.loads((SITE / "offline.json").read_text(encoding="utf-8"))
    sizes = dict(listed["files"])
    # A solution's own page is for those without scripts; the others read it on its exercise's page.
    assert {path for path in pages() if "/solution-" not in path} <= sizes.keys()
    assert set(listed["start"]) <= sizes.keys()
    there = {path: SITE / path for path in sizes}
    assert [path for path, file in there.items() if not file.is_file()] == []
    assert sizes == {path: file.stat().st_size for path, file in there.items()}


def test_style_sheets_find_their_files() -> None:
    sheets = sorted(SITE.glob("assets/*.css"))
    assert sheets
    for sheet in sheets:
        named = re.findall(r"""url\(["']?([^"')]+)""", sheet.read_text(encoding="utf-8"))
        assert not dead(named, f"assets/{sheet.name}")


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
