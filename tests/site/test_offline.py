"""Without network: what is kept can be read, what is not is said, and the archive opens."""

import json
import re
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from built import SITE

from serve import Handler, Preview

ARCHIVE = SITE / "llm-workbook.zip"
LISTING = SITE / "offline.json"
CONTROLLED = "() => navigator.serviceWorker.controller !== null"
KEPT = """
async (path) => {
  const cache = await caches.open("llmbook");
  return (await cache.match(new URL(path, document.baseURI))) !== undefined;
}
"""


def listing() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(LISTING.read_text(encoding="utf-8"))
    return found


def chapters() -> list[str]:
    """Two pages in folders, which the front page does not load."""
    paths = [path for path, _ in listing()["files"]]
    return [p for p in paths if re.fullmatch(r"\w[\w-]*/[\w-]+\.html", p)][:2]


@pytest.fixture
def context(browser: Any, site: str) -> Iterator[Any]:
    context = browser.new_context(base_url=site)
    yield context
    context.set_offline(False)
    context.close()


@pytest.fixture
def page(context: Any) -> Any:
    """The front page, once the service worker is there."""
    page = context.new_page()
    page.goto("index.html")
    page.wait_for_function(CONTROLLED)
    return page


def test_visited_page_is_read_again_offline_with_its_style(page: Any, context: Any) -> None:
    visited, _ = chapters()
    page.goto(visited)
    title = page.locator("article h1").first.text_content()
    font = "getComputedStyle(document.querySelector('article h1')).fontSize"
    size = page.evaluate(font)
    page.wait_for_function(KEPT, arg=page.url)
    failed: list[str] = []
    context.set_offline(True)
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(f"{visited}?from=here#top")
    assert page.locator("article h1").first.text_content() == title
    assert page.evaluate(font) == size
    assert not failed


def test_search_that_was_used_works_offline(page: Any, context: Any) -> None:
    visited, _ = chapters()
    page.goto(visited)
    page.goto("search.html?q=attention")
    page.locator(".search-page ol a").first.wait_for()
    for path in ("search.html", "data/search-index.js", "data/search-solutions.js"):
        page.wait_for_function(KEPT, arg=path)
    page.goto(visited)
    title = page.locator("article h1").first.evaluate("(e) => e.firstChild.textContent").strip()
    context.set_offline(True)
    page.reload()
    page.keyboard.press("Control+k")
    box = page.locator("dialog.search-dialog")
    box.get_by_role("searchbox").fill(title)
    answer = box.locator("ol a").first
    answer.wait_for()
    assert answer.evaluate("(e) => e.href").split("?")[0].endswith(visited)
    page.goto(f"search.html?q={title}")
    answer = page.locator(".search-page ol a").first
    answer.wait_for()
    assert visited in answer.evaluate("(e) => e.href")


def test_page_is_the_same_whatever_is_asked_of_it(page: Any, context: Any) -> None:
    page.goto("exercises/index.html?stars=2")
    page.wait_for_function(KEPT, arg="exercises/index.html")
    context.set_offline(True)
    for query in ("?stars=1", "", "?done=yes#x"):
        page.goto(f"exercises/index.html{query}")
        assert page.locator("table.exercise-index").count() == 1


def test_page_that_is_not_kept_says_so_and_leads_on(page: Any, context: Any) -> None:
    visited, other = chapters()
    page.goto(visited)
    page.wait_for_function(KEPT, arg=page.url)
    visited_title = page.locator("article h1").first.text_content()
    context.set_offline(True)
    page.goto(other)
    assert page.locator("article h1").first.text_content().startswith("You are offline")
    again = page.locator("[data-offline-again] a")
    assert again.evaluate("e => e.href").endswith("/" + other)
    kept = page.locator("[data-offline-pages] a")
    kept.first.wait_for()
    addresses = kept.evaluate_all("links => links.map((link) => link.href)")
    assert any(address.endswith("/" + visited) for address in addresses)
    assert not any(address.endswith("/" + other) for address in addresses)
    page.locator(f"[data-offline-pages] a[href$='{visited}']").click()
    assert page.locator("article h1").first.text_content() == visited_title
    page.go_back()
    context.set_offline(False)
    again.click()
    page.wait_for_url(f"**/{other}")
    assert not page.locator("article h1").first.text_content().startswith("You are offline")


@pytest.mark.parametrize(
    "asked", ["https://elsewhere.example/", "//elsewhere.example/", "javascript:0"]
)
def test_offline_page_leads_only_to_this_site(page: Any, asked: str) -> None:
    page.goto(f"offline.html?page={asked}")
    page.locator("[data-offline-pages] a").first.wait_for()  # its script has run
    assert page.locator("[data-offline-again] a").count() == 0


def test_whole_book_is_saved_read_offline_and_removed(page: Any, context: Any, site: str) -> None:
    box = page.locator(".save-book")
    box.locator("summary").click()
    save = box.get_by_role("button", name=re.compile(r"Save the whole book \(\d+\.\d MB\)"))
    save.click()
    status = box.locator("[role=status]")
    page.wait_for_function(
        "(status) => status.textContent.startsWith('The whole book is kept')",
        arg=status.element_handle(),
        timeout=60_000,
    )
    assert box.locator("progress").get_attribute("max") is not None
    assert box.get_by_role("button", name="Remove").is_visible()
    assert not save.is_visible()
    files = [path for path, _ in listing()["files"]]
    kept = page.evaluate(
        """async (files) => {
          const cache = await caches.open("llmbook");
          const match = (file) => cache.match(new URL(file, document.baseURI));
          const found = await Promise.all(files.map(match));
          return files.filter((_, n) => found[n]);
        }""",
        files,
    )
    assert kept == files
    assert len(files) > 5
    context.set_offline(True)
    for path in chapters():
        page.goto(path)
        assert not page.locator("article h1").first.text_content().startswith("You are offline")
    context.set_offline(False)
    page.goto("index.html")
    box.locator("summary").click()
    box.get_by_role("button", name="Remove").click()
    page.wait_for_function(
        "(status) => status.textContent.includes('no longer kept')", arg=status.element_handle()
    )
    assert not page.evaluate(KEPT, site + chapters()[1])
    assert page.evaluate(KEPT, site + "offline.html")


def test_saving_that_fails_says_why_and_goes_on_later(page: Any, context: Any) -> None:
    box = page.locator(".save-book")
    box.locator("summary").click()
    save = box.get_by_role("button", name=re.compile("Save the whole book"))
    save.wait_for()
    context.set_offline(True)
    save.click()
    status = box.locator("[role=status]")
    page.wait_for_function(
        "(status) => status.textContent.startsWith('Stopped at')", arg=status.element_handle()
    )
    assert "you are offline" in status.text_content()
    context.set_offline(False)
    save.click()
    page.wait_for_function(
        "(status) => status.textContent.startsWith('The whole book is kept')",
        arg=status.element_handle(),
        timeout=60_000,
    )


def test_offline_is_announced_and_what_needs_the_network_is_named(page: Any, context: Any) -> None:
    bar = page.locator(".offline-bar [role=status]")
    assert bar.text_content() == ""
    page.evaluate(
        """() => document.querySelector("article, main").insertAdjacentHTML("afterbegin",
          `<a id="binder" href="https://mybinder.org/v2/x">Binder</a>
           <a id="far" href="https://elsewhere.example/">far</a>
           <a id="near" href="#near">near</a>`)"""
    )
    context.set_offline(True)
    page.wait_for_function(
        "(e) => e.textContent.startsWith('You are offline')", arg=bar.element_handle()
    )
    assert "Binder, Colab and live cells need the network" in bar.text_content()
    here = page.url
    for name, what in [("binder", "Binder"), ("far", "elsewhere.example")]:
        page.locator(f"#{name}").click()
        assert bar.text_content().startswith(f"You are offline. {what} needs the network")
        assert page.url == here
    page.locator("#near").click()
    assert page.url.endswith("#near")
    page.get_by_role("button", name="Close").click()
    assert bar.text_content() == ""
    # Who has read it does not want to read it on each page, until the network has been there again.
    page.reload()
    assert bar.text_content() == ""
    context.set_offline(False)
    page.wait_for_function("() => !Object.keys(sessionStorage).some((k) => k.endsWith('-quiet'))")
    context.set_offline(True)
    page.wait_for_function(
        "(e) => e.textContent.startsWith('You are offline')", arg=bar.element_handle()
    )


class Redirecting(Handler):
    """A host that leads from x.html to x."""

    def send_head(self) -> BinaryIO | None:  # type: ignore[override]
        path = self.path.partition("?")[0]
        if re.search(r"/[\w-]+/[\w-]+\.html$", path):
            self.send_response(HTTPStatus.PERMANENT_REDIRECT)
            self.send_header("Location", path.removesuffix(".html"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        if (SITE / f"{path[1:]}.html").is_file():
            self.path = f"{path}.html"
        return super().send_head()


def test_book_saved_from_a_host_that_redirects_is_read_offline(context: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Redirecting, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    path = chapters()[0]
    page = context.new_page()
    few = listing() | {"files": [entry for entry in listing()["files"] if entry[0] == path]}
    page.route("**/offline.json", lambda route: route.fulfill(json=few))
    page.goto(f"{address}index.html")
    page.wait_for_function(CONTROLLED)
    box = page.locator(".save-book")
    box.locator("summary").click()
    box.get_by_role("button", name=re.compile("Save the whole book")).click()
    box.get_by_text("The whole book is kept").wait_for()
    context.set_offline(True)
    page.goto(f"{address}{path}")
    assert not page.locator("article h1").first.text_content().startswith("You are offline")
    server.shutdown()


def test_new_release_renews_what_is_kept_and_drops_what_is_gone(
    page: Any, context: Any, site: str
) -> None:
    visited, _ = chapters()
    gone = "assets/gone.0123456789abcdef.css"
    page.evaluate(
        """async ([visited, gone]) => {
          const cache = await caches.open("llmbook");
          await cache.put(new URL(visited, document.baseURI), new Response("<head></head>of old"));
          await cache.put(new URL(gone, document.baseURI), new Response("of old"));
          await (await navigator.serviceWorker.ready).unregister();
        }""",
        [visited, gone],
    )
    page.goto("index.html")  # registers it anew: it is installed and started like a new release
    page.wait_for_function(CONTROLLED)
    page.wait_for_function(
        """async ([visited, gone]) => {
          const cache = await caches.open("llmbook");
          const text = await (await cache.match(new URL(visited, document.baseURI))).text();
          return !text.includes("of old") && text.includes("<h1") && await cache.match(noted());
          function noted() { return new URL("offline-old", document.baseURI) }
        }""",
        arg=[visited, gone],
    )
    # The page that was open then may ask for files of the release before; others do not.
    other = context.new_page()
    other.goto(visited)
    other.reload()
    assert other.evaluate(KEPT, site + gone)
    page.close()
    other.reload()
    other.wait_for_function(f"async (path) => !(await ({KEPT})(path))", arg=site + gone)
    assert other.evaluate(KEPT, site + visited)


def test_site_can_be_installed(page: Any, site: str) -> None:
    address = page.locator('link[rel="manifest"]').evaluate("e => e.href")
    manifest = page.request.get(address).json()
    assert manifest["name"] == "The LLM Workbook"
    assert manifest["display"] == "standalone"
    assert page.request.get(site + manifest["start_url"].removeprefix("./")).ok
    sizes = set()
    for icon in manifest["icons"]:
        answer = page.request.get(site + icon["src"])
        assert answer.ok, icon["src"]
        if icon["type"] == "image/png":
            body = answer.body()
            width, height = (int.from_bytes(body[n : n + 4], "big") for n in (16, 20))
            assert icon["sizes"] == f"{width}x{height}"
            sizes.add(width)
    assert sizes >= {192, 512}


def test_archive_opens_from_a_folder(browser: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    [folder] = tmp_path.iterdir()
    assert not list(folder.rglob("*.zip"))
    context = browser.new_context(offline=True)
    page = context.new_page()
    faults: list[str] = []
    foreign: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
    page.on("requestfailed", lambda request: faults.append(request.url))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else foreign.append(r.url),
    )
    for path in ("index.html", *chapters()):
        page.goto((folder / path).as_uri())
        assert page.locator("article h1").first.is_visible()
        # The style sheet and the script are there, and nothing offers what a folder cannot do.
        color = "getComputedStyle(document.documentElement).getPropertyValue('--pst-color-border')"
        assert page.evaluate(color)
        # All of it can be read: nobody has to be told that there is no network.
        page.locator(".offline-bar").wait_for(state="attached")
        assert page.locator(".offline-bar [role=status]").text_content() == ""
        assert page.locator(".save-book").count() == 0
    assert not faults
    assert not foreign
    context.close()


def test_book_that_is_being_written_is_not_kept(browser: Any) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = browser.new_context(base_url=f"http://127.0.0.1:{server.server_port}/")
        page = context.new_page()
        page.goto("index.html")
        page.wait_for_function(CONTROLLED)
        page.wait_for_function(KEPT, arg="index.html")
        server.RequestHandlerClass = partial(Preview, directory=str(SITE))
        page.reload()
        page.wait_for_function(
            "async () => !(await caches.keys()).length"
            " && !(await navigator.serviceWorker.getRegistrations()).length"
        )
        context.close()
        server.shutdown()
