"""Addresses, descriptions, icons and cards, the map of the site and the feed of changes."""

import os
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from docutils import nodes
from sphinx.errors import ExtensionError

import discovery
import mark

ROOT = Path(__file__).parents[1]
SITE = "https://example.org/book/"
CHANGES = """\
# Changes

## 2026-03-02: New & *old*

See the [page](book/part/page.md#place), or [elsewhere](https://example.com/book/a.md).

## 2026-01-31: First

All of it.
"""


def test_the_books_changes_are_in_order_and_lead_to_pages() -> None:
    text = (ROOT / "CHANGES.md").read_text(encoding="utf-8")
    assert discovery.read_changes(text)
    for page in re.findall(r"\]\((book/[^)#]+)", text):
        assert (ROOT / page).is_file()


def test_the_sites_address_is_the_repositorys_pages() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    owner, name = config["repository"]["url"].split("/")[-2:]
    assert config["html"]["baseurl"] == f"https://{owner}.github.io/{name}/"


@pytest.mark.parametrize(
    ("given", "site"),
    [("", ""), (None, ""), (SITE, SITE), (SITE[:-1], SITE), ("http://localhost:8000", None)],
)
def test_an_address_ends_in_a_slash(given: str | None, site: str | None) -> None:
    found = discovery.site_address(SimpleNamespace(html_baseurl=given))
    assert found == (given + "/" if site is None else site)


@pytest.mark.parametrize("given", ["example.org/book", "ftp://example.org/", SITE + "?page=1"])
def test_what_is_no_address_is_named(given: str) -> None:
    with pytest.raises(ExtensionError, match=re.escape(repr(given))):
        discovery.site_address(SimpleNamespace(html_baseurl=given))


def test_each_page_has_one_address() -> None:
    assert discovery.page_address(SITE, "index") == SITE
    assert discovery.page_address(SITE, "part/page") == SITE + "part/page.html"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Short  enough.", "Short enough."),
        ("One sentence of words. Another one that is cut.", "One sentence of words."),
        (
            "Yes. And then a sentence that goes on and on, far",
            "Yes. And then a sentence that goes on…",
        ),
    ],
)
def test_descriptions_end_where_one_would_pause(text: str, short: str) -> None:
    assert discovery.shorten(text, 40) == short


def test_a_description_is_the_first_paragraph_without_citations() -> None:
    paragraph = nodes.paragraph("", "What a page is about, in one sentence")
    paragraph += nodes.Text(" ")
    paragraph += nodes.inline("", "[Somebody, 2020]", classes=["bibtex-citation"])
    paragraph += nodes.Text(", as everybody knows:")
    section = nodes.section("", nodes.title("", "Title"), nodes.paragraph("", "By us"), paragraph)
    document = nodes.container("", section)
    assert discovery.description(document, "Title", "Book") == (
        "What a page is about, in one sentence, as everybody knows."
    )
    assert discovery.description(None, "Search", "Book") == "Search, a page of Book."
    assert len(paragraph.children) == 4, "the page itself must stay as it is"


# -- Pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True])
def test_icons_show_the_mark(full: bool) -> None:
    image = mark.icon(192, full=full)
    assert image.size == (192, 192)
    corner, colors = image.getpixel((0, 0)), {c[:3] for _, c in image.getcolors(1 << 16)}
    assert (corner[3] == 255) == full
    for color in (mark.TILE, mark.NODE, mark.PAPER):
        assert tuple(bytes.fromhex(color[1:])) in colors
    if full:  # launchers cut out a circle of 80 %: what matters is in it
        tile = tuple(bytes.fromhex(mark.TILE[1:]))
        for x in range(192):
            for y in range(192):
                if (x - 95.5) ** 2 + (y - 95.5) ** 2 > (0.4 * 192) ** 2:
                    assert image.getpixel((x, y))[:3] == tile


def test_a_mark_with_other_shapes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mark.svg"
    file.write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path/></svg>')
    monkeypatch.setattr(mark, "SOURCE", file)
    with pytest.raises(ValueError, match=r"mark\.svg: expected rect, line or circle"):
        mark.icon(16)


@pytest.mark.parametrize("title", ["Short", "A title of many words " * 6])
def test_cards_are_small_and_nothing_runs_out(title: str) -> None:
    image = mark.card("Book", title, "Part · 3 exercises · 1 h").convert("RGB")
    assert image.size == (1200, 630)
    tile = tuple(bytes.fromhex(mark.TILE[1:]))
    edges = [(x, y) for x in range(1200) for y in (0, 629)]
    edges += [(x, y) for x in (0, 1199) for y in range(630)]
    assert {image.getpixel(place) for place in edges} == {tile}


# -- Map and feed ---------------------------------------------------------------------------------


def git(folder: Path, *arguments: str, day: str = "2026-01-31") -> None:
    names = {
        f"GIT_{who}_{what}": "a@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    dates = {f"GIT_{who}_DATE": f"{day}T12:00:00+0000" for who in ("AUTHOR", "COMMITTER")}
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    subprocess.run(
        command, cwd=folder, env=os.environ | names | dates, check=True, capture_output=True
    )


def test_days_are_those_of_the_last_commits(tmp_path: Path) -> None:
    book = tmp_path / "here/book"
    (book / "part").mkdir(parents=True)
    assert discovery.last_changes(book) == {}  # no repository
    git(tmp_path / "here", "init")
    for day, files in {
        "2026-01-31": ["book/index.md", "book/part/é.md", "elsewhere.md"],
        "2026-02-28": ["book/part/é.md", "elsewhere.md"],
        "2026-03-01": ["elsewhere.md"],
    }.items():
        for file in files:
            (tmp_path / "here" / file).write_text(day)
        git(tmp_path / "here", "add", ".")
        git(tmp_path / "here", "commit", "-m", "Change", day=day)
    (book / "new.md").write_text("not committed")
    days = {"index.md": "2026-01-31", "part/é.md": "2026-02-28"}
    assert discovery.last_changes(book) == days
    # A copy without the past would call all of its files new.
    git(tmp_path, "clone", "--depth", "1", f"file://{tmp_path}/here", "shallow")
    assert discovery.last_changes(tmp_path / "shallow/book") == {}


def test_cards_of_two_pages_are_two_files() -> None:
    assert discovery.card_file("a/b-c") != discovery.card_file("a-b/c")


def test_the_map_lists_addresses_and_days() -> None:
    text = discovery.site_map(SITE, {"index": None, "part/page": "2026-01-31"})
    root = ET.fromstring(text.encode())
    space = {"s": "http://www.sitemaps.org/schemas/sitemap/0.9"}
    assert [e.text for e in root.findall("s:url/s:loc", space)] == [SITE, SITE + "part/page.html"]
    assert [e.text for e in root.findall("s:url/s:lastmod", space)] == ["2026-01-31"]


def test_the_feed_has_an_entry_a_change() -> None:
    changes = discovery.read_changes(CHANGES)
    text = discovery.feed(SITE, "Book", "Us", changes, ["new", "first"])
    root = ET.fromstring(text.encode())
    space = {"a": "http://www.w3.org/2005/Atom"}
    entries = root.findall("a:entry", space)

    def texts(name: str) -> list[str]:
        return [entry.find(f"a:{name}", space).text for entry in entries]

    assert texts("title") == ["New & *old*", "First"]
    assert texts("id") == ["tag:example.org,2026-03-02:1", "tag:example.org,2026-01-31:1"]
    assert texts("updated") == ["2026-03-02T00:00:00Z", "2026-01-31T00:00:00Z"]
    assert root.find("a:updated", space).text == texts("updated")[0]
    links = [entry.find("a:link", space).get("href") for entry in entries]
    assert links == [f"{SITE}changes.html#new", f"{SITE}changes.html#first"]
    content = texts("content")[0]
    assert f'<a href="{SITE}part/page.html#place">page</a>' in content
    assert '<a href="https://example.com/book/a.md">' in content


def test_an_entry_keeps_its_id_when_its_title_is_corrected_and_one_comes_on_top() -> None:
    def ids(text: str) -> list[str]:
        changes = discovery.read_changes(text)
        return re.findall(
            "<id>(tag:[^<]*)", discovery.feed(SITE, "Book", "Us", changes, ["a"] * len(changes))
        )

    edited = CHANGES.replace("First", "The first").replace(
        "## 2026-03-02", "## 2026-03-02: Another\n\nMore.\n\n## 2026-03-02"
    )
    assert ids(edited) == ["tag:example.org,2026-03-02:2", *ids(CHANGES)]


def test_changes_and_the_headings_of_their_page_are_as_many() -> None:
    with pytest.raises(ValueError, match="2 changes, but 1 headings on their page"):
        discovery.feed(SITE, "Book", "Us", discovery.read_changes(CHANGES), ["new"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("## ", "### ", "expected a heading with a day"),
        ("2026-03-02: New", "March: New", "expected a day and a title"),
        ("2026-03-02", "2025-03-02", "expected the newest change first"),
        ("2026-03-02", "2026-02-30", "day"),
        ("All of it.", "", "expected a text below the heading"),
    ],
)
def test_a_mistake_in_the_changes_is_named(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        discovery.read_changes(CHANGES.replace(old, new))
