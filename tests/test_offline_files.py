"""What the last step of publishing adds: file list, service worker, archive."""

import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import offline_files
import webapp

PAGE = """<!DOCTYPE html><html><head>
<link rel="manifest" href="site.webmanifest" /><link rel="icon" href="assets/mark.1.svg">
<link rel="stylesheet" href="assets/site.1.css">
<link rel="preload" href="assets/font.1.woff2" as="font" crossorigin>
<script defer src="assets/site.1.js"></script></head><body>NAME</body></html>"""
SITE = {
    "index.html": PAGE.replace("NAME", "front"),
    "offline.html": PAGE.replace("NAME", "offline"),
    "part/one.html": "<head></head>one",
    "part/one/solution-first.html": "<head></head>solution",
    "part/one/solution-first.0123456789.js": "solution",
    "assets/mark.1.svg": "<svg/>",
    "assets/site.1.css": "p {}",
    "assets/site.1.js": "1",
    "assets/font.1.woff2": "font",
    "assets/search.1.js": "search",
    "data/exercises.js": "exercises",
    "data/search-index.js": "index",
    "search.html": "<head></head>search",
    "cards/one.png": "card",
    "site.webmanifest": "{}",
    "_sources/part/one.ipynb": "{}",
    "feed.xml": "<feed/>",
    "objects.inv": "",
    ".nojekyll": "",
}
START = [
    "index.html",
    "site.webmanifest",
    "assets/mark.1.svg",
    "assets/site.1.css",
    "assets/font.1.woff2",
    "assets/site.1.js",
    "offline.html",
]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for path, text in SITE.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def complete(site: Path) -> dict[str, bytes]:
    """Complete the site as it lies there; return what was written."""
    written: dict[str, bytes] = {}

    def write(path: str, data: bytes) -> None:
        written[path] = data
        (site / path).write_bytes(data)

    paths = [p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()]
    offline_files.complete(site, paths, write)
    return written


def test_list_has_what_readers_need_with_sizes(site: Path) -> None:
    listing = json.loads(complete(site)["offline.json"])
    sizes = dict(listing["files"])
    left_out = {
        "_sources/part/one.ipynb",
        "feed.xml",
        "objects.inv",
        ".nojekyll",
        "cards/one.png",
        "part/one/solution-first.html",
    }
    assert sizes.keys() == SITE.keys() - left_out
    assert all(size == len(SITE[path].encode()) for path, size in sizes.items())
    assert listing["bytes"] == sum(sizes.values())
    assert listing["start"] == START


def test_worker_knows_its_release(site: Path) -> None:
    written = complete(site)
    worker = written["service-worker.js"].decode()
    release = json.loads(re.search(r"^const RELEASE = (.*);$", worker, re.M)[1])
    listing = json.loads(written["offline.json"])
    assert release == {"version": listing["version"], "start": START}
    assert complete(site) == written  # nothing of its own is among the files
    (site / "part/one.html").write_text("<head></head>two")
    assert complete(site)["service-worker.js"] != written["service-worker.js"]


def test_archive_is_the_site_in_a_folder(site: Path) -> None:
    written = complete(site)
    with zipfile.ZipFile(site / "llm-workbook.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        front = archive.read("llm-workbook/index.html").decode()
    assert all(name.startswith("llm-workbook/") for name in names)
    inside = {name.removeprefix("llm-workbook/") for name in names}
    assert inside == SITE.keys() - {"site.webmanifest", "feed.xml", ".nojekyll", "cards/one.png"}
    assert "preload" not in front
    assert "manifest" not in front
    assert 'href="assets/site.1.css"' in front
    assert 'src="assets/site.1.js"' in front
    # It is taken as it is while the site is the same, and has the same bytes when made anew.
    (site / "llm-workbook.zip").unlink()
    assert complete(site)["llm-workbook.zip"] == written["llm-workbook.zip"]
    (site / "part/one.html").write_text("<head></head>two")
    assert complete(site)["llm-workbook.zip"] != written["llm-workbook.zip"]


def test_site_without_offline_page_is_refused(site: Path) -> None:
    (site / "offline.html").unlink()
    with pytest.raises(ValueError, match=r"no page offline\.html"):
        complete(site)


def test_manifest_names_icons_of_the_sizes_that_launchers_want() -> None:
    manifest = webapp.manifest("The LLM Workbook")
    assert manifest["name"] == "The LLM Workbook"
    assert manifest["short_name"] == "LLM Workbook"
    assert {icon["sizes"] for icon in manifest["icons"]} == {"any", "192x192", "512x512"}
    assert any(icon.get("purpose") == "maskable" for icon in manifest["icons"])
    assert all(not icon["src"].startswith("/") for icon in manifest["icons"])


def test_only_a_site_has_a_manifest(tmp_path: Path) -> None:
    for name, files in {"text": [], "html": ["icons", "site.webmanifest"]}.items():
        config, builder = SimpleNamespace(project="The book"), SimpleNamespace(format=name)
        webapp.write_manifest(
            SimpleNamespace(config=config, builder=builder, outdir=tmp_path), None
        )
        assert sorted(path.name for path in tmp_path.iterdir()) == files
