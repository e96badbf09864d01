"""What the publishing step leaves: few requests, a policy that holds, buttons that work."""

import gzip
import re
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from built import ROOT, SITE, pages

import publish
import serve

PAGE = "attention/self-attention.html"
FIRST_VISIT = 300 * 1024  # bytes, without Plotly


def get(address: str, **headers: str) -> Any:
    return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=10)


# -- Files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", pages())
def test_one_style_sheet_and_one_script(site: str, path: str) -> None:
    page = (SITE / path).read_text("utf-8")
    assert len(re.findall(r'<link rel="stylesheet"', page)) == 1
    scripts = [tag for tag in re.findall(r"<script\b[^>]*>", page) if "application/" not in tag]
    assert [("src=" in tag, "defer" in tag) for tag in scripts] == [(False, False), (True, True)]
    assert not re.search(r'<i class="fa|\son[a-z]+="', page)


@pytest.mark.parametrize("path", pages())
def test_images_are_sized(site: str, path: str) -> None:
    """Those of a page, and those of solutions that scripts put into it."""
    scripts = (SITE / path).with_suffix("").glob("solution-*.js")
    texts = [file.read_text("utf-8") for file in [SITE / path, *scripts]]
    tags = re.findall(r"<img\b[^>]*>", " ".join(texts))
    assert [tag for tag in tags if not ("width=" in tag and "height=" in tag)] == []


def test_style_sheet_names_only_files_that_are_there(site: str) -> None:
    [style] = (SITE / "assets").glob("site.*.css")
    named = set(re.findall(r"url\(([^)\"':]+)\)", style.read_text("utf-8")))
    assert len(named) > 5
    assert {name for name in named if not (SITE / "assets" / name).is_file()} == set()


def test_host_compresses_and_says_how_long(site: str) -> None:
    [script] = (SITE / "assets").glob("site.*.js")
    for path, kept in [(PAGE, "no-cache"), (f"assets/{script.name}", "immutable")]:
        answer = get(site + path, **{"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert kept in answer.headers["Cache-Control"]
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(answer.read()) == (SITE / path).read_bytes()
        assert get(site + path).read() == (SITE / path).read_bytes()


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/assets/a.js", True),
        ("/part/_images/0123456789abcdef.svg", True),
        ("/part/page/solution-a.0123456789.js", True),
        ("/data/exercises.js", False),
        ("/part/page.html", False),
        ("/part/assets/page.html", False),
        ("/part/1234567890.html", False),
    ],
)
def test_what_is_named_by_its_content(path: str, kept: bool) -> None:
    assert bool(serve.NAMED_BY_CONTENT.search(path)) == kept


@pytest.mark.parametrize("header", ["", "identity", "gzip;q=0, br; q=0.0"])
def test_nothing_is_compressed_for_who_cannot_read_it(site: str, header: str) -> None:
    answer = get(site + "index.html", **{"Accept-Encoding": header})
    assert answer.headers["Content-Encoding"] is None
    assert answer.read() == (SITE / "index.html").read_bytes()


def test_names_say_what_is_in_the_files(site: str) -> None:
    assets = sorted((SITE / "assets").iterdir())
    assert len(assets) > 10
    for file in assets:
        assert publish.digest(file.read_bytes()) in file.name.split(".")
    others = [*(SITE / "_images").iterdir(), *SITE.rglob("solution-*.js")]
    assert len(others) > 10
    for file in others:
        assert serve.NAMED_BY_CONTENT.search(f"/{file.relative_to(SITE).as_posix()}")


def test_hosts_are_told_the_same_as_make_serve_does() -> None:
    told = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert f'location ~ "{serve.NAMED_BY_CONTENT.pattern}"' in told
    for folder in ("assets", "_images"):
        assert f"/{folder}/*\n  Cache-Control: public, max-age=31536000, immutable" in told
    assert told.count("nosniff") == 4  # of every file, by each host


# -- In a browser ---------------------------------------------------------------------------------


def test_first_visit_is_light(page: Any, site: str) -> None:
    weights: dict[str, int] = {}

    def note(request: Any) -> None:
        weights[request.url] = request.sizes()["responseBodySize"]

    page.on("requestfinished", note)
    page.goto(PAGE, wait_until="networkidle")
    assert len([url for url in weights if url.endswith((".css", ".js"))]) == 2
    assert not [url for url in weights if "plotly" in url]
    assert 20 * 1024 < sum(weights.values()) < FIRST_VISIT


def test_policy_keeps_requests_on_the_site(page: Any) -> None:
    page.goto(PAGE)
    stopped = page.evaluate(
        """async () => {
          const stopped = [];
          addEventListener("securitypolicyviolation", (e) => stopped.push(e.effectiveDirective));
          await fetch("https://example.org/").catch(() => {});
          const wait = (element) => new Promise((done) => {
            element.onload = element.onerror = done;
            document.head.append(element);
          });
          const script = document.createElement("script");
          script.src = "https://example.org/x.js";
          await wait(script);
          const image = new Image();
          image.src = "https://example.org/x.png";
          await wait(image);
          document.body.insertAdjacentHTML("beforeend", "<b onclick='window.ran = true'></b>");
          document.body.lastElementChild.click();
          await new Promise((done) => setTimeout(done, 100));
          return { stopped, ran: window.ran };
        }"""
    )
    directives = {"connect-src", "script-src-elem", "img-src", "script-src-attr"}
    assert set(stopped["stopped"]) == directives
    assert stopped.get("ran") is None


@pytest.mark.parametrize(("system", "other"), [("light", "dark"), ("dark", "light")])
def test_theme_is_there_before_the_first_paint(
    browser: Any, site: str, system: str, other: str
) -> None:
    context = browser.new_context(service_workers="block", base_url=site, color_scheme=system)
    page = context.new_page()
    # The merged script never comes: what is seen is what the head did.
    page.route("**/assets/site.*.js", lambda route: route.abort())
    page.goto(PAGE)
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == system
    page.evaluate(f"localStorage.setItem('mode', '{other}')")
    page.reload()
    assert page.evaluate(theme) == other
    context.close()


def test_theme_is_light_without_scripts(visit: Callable[..., Any]) -> None:
    page = visit(PAGE, java_script_enabled=False, color_scheme="dark")
    assert page.locator("html").get_attribute("data-theme") == "light"


def test_print_and_full_screen_buttons(page: Any) -> None:
    page.goto("bibliography.html")  # without boxes that the reader would be asked about
    page.evaluate(
        """() => {
          window.did = [];
          window.print = () => did.push("print");
          Element.prototype.requestFullscreen = async () => did.push("full screen");
        }"""
    )
    page.click(".dropdown-download-buttons > button")
    page.click("[data-action=print]")
    page.click("[data-action=fullscreen]")
    assert page.evaluate("did") == ["print", "full screen"]


def test_copy_button_copies_the_code_clean(context: Any, site: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(PAGE)
    code = page.locator(".cell_input .highlight pre").first
    wanted = code.text_content().rstrip()
    code.evaluate(
        "pre => pre.insertAdjacentHTML('afterbegin', "
        '\'<span class="linenos">1</span><span class="gp">&gt;&gt;&gt; </span>\')'
    )
    button = page.locator(".cell_input .highlight .copybtn").first
    assert button.get_attribute("aria-label") == "Copy the code"
    page.locator("details.solution summary").first.press("Enter")
    of_output = page.locator(".cell_output .copybtn").first
    of_output.wait_for()
    assert of_output.get_attribute("aria-label") == "Copy the output"
    button.focus()
    page.keyboard.press("Enter")
    page.locator("[role=status]", has_text="Copied").wait_for(state="attached")
    assert page.evaluate("navigator.clipboard.readText()") == wanted
    box = button.bounding_box()
    assert min(box["width"], box["height"]) >= 24
    assert button.evaluate("b => getComputedStyle(b).outlineStyle") == "solid"


def test_copy_button_works_without_the_clipboard_interface(context: Any, site: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(PAGE)
    page.evaluate(
        "window.reader = navigator.clipboard;"
        "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
    )
    code = page.locator(".cell_input .highlight pre").nth(1)
    button = page.locator(".cell_input .highlight .copybtn").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    page.locator("[role=status]", has_text="Copied").wait_for(state="attached")
    assert page.evaluate("reader.readText()") == code.text_content().rstrip()


def test_icons_are_seen(page: Any) -> None:
    page.goto(PAGE)
    for icon in page.locator(".article-header-buttons svg.fa-icon:visible").all():
        box = icon.bounding_box()
        assert min(box["width"], box["height"]) >= 10
        assert icon.evaluate("i => getComputedStyle(i).fill") != "none"
    assert page.locator(".article-header-buttons svg.fa-icon:visible").count() >= 4


def test_menus_of_the_theme_open_by_keyboard(page: Any) -> None:
    page.goto(PAGE)
    button = page.locator(".dropdown-download-buttons > button")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    assert page.locator(".dropdown-download-buttons .dropdown-menu").is_visible()
    page.keyboard.press("Escape")
    assert button.get_attribute("aria-expanded") == "false"


def test_menus_are_walked_by_arrow_keys_and_close_behind_the_reader(page: Any) -> None:
    page.goto(PAGE)
    button = page.locator(".dropdown-download-buttons > button")
    entries = page.locator(".dropdown-download-buttons .dropdown-item")
    active = "e => e === document.activeElement"
    button.focus()
    for key, n in [("ArrowDown", 0), ("ArrowDown", 1), ("ArrowUp", 0), ("ArrowUp", 0)]:
        page.keyboard.press(key)
        assert entries.nth(n).evaluate(active)
    page.locator("article h1").click()
    assert button.get_attribute("aria-expanded") == "false"
    button.focus()
    page.keyboard.press("ArrowUp")
    assert entries.last.evaluate(active)
    page.keyboard.press("Tab")
    assert button.get_attribute("aria-expanded") == "false"
    assert not entries.last.evaluate(active)


def test_button_leads_back_to_the_top_while_one_scrolls_up(page: Any) -> None:
    page.set_viewport_size({"width": 1000, "height": 900})  # the theme has none on a wide screen
    page.goto(PAGE)
    button = page.locator("#pst-back-to-top")
    page.mouse.move(600, 500)
    page.mouse.wheel(0, 3000)
    page.wait_for_function("scrollY > 2000")
    assert not button.is_visible()
    page.mouse.wheel(0, -500)
    button.click()
    page.wait_for_function("scrollY === 0")
    button.wait_for(state="hidden")


def test_keyboard_reaches_code_that_is_wider_than_its_place(page: Any) -> None:
    page.goto(PAGE)
    code = page.locator(".cell_input pre").first
    code.scroll_into_view_if_needed()
    assert code.evaluate("e => e.scrollWidth <= e.clientWidth && e.tabIndex < 0")
    page.set_viewport_size({"width": 200, "height": 800})
    code.scroll_into_view_if_needed()
    reached = "e => e.scrollWidth > e.clientWidth && e.tabIndex === 0"
    page.wait_for_function(reached, arg=code.element_handle())
    # With the name of a group a screen reader does not read all of it when the focus comes.
    assert code.evaluate("e => [e.role, e.ariaLabel]") == ["group", "Code"]
    page.set_viewport_size({"width": 1280, "height": 800})
    page.wait_for_function("e => !e.role && !e.ariaLabel", arg=code.element_handle())


def test_formulas_are_read_in_names(page: Any) -> None:
    page.goto(f"{PAGE}#attention-variance")
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    named: dict[str, set[str]] = {}
    for node in tree:
        name = node.get("name", {}).get("value", "")
        if name.startswith("Why the scores are divided by"):
            named.setdefault(node["role"]["value"], set()).add(name)
    assert (
        named["heading"]
        == named["link"]
        == {"Why the scores are divided by square root of d sub k"}
    )


def test_rare_letters_are_in_the_fonts_made_for_them(page: Any) -> None:
    """A letter that such a font lacks would be one of the system's."""
    rare = ".katex-html :is(.mathbb, .amsrm, .mathcal)"
    tools = page.context.new_cdp_session(page)
    tools.send("DOM.enable")
    tools.send("CSS.enable")
    letters = 0
    for path in pages():
        if not re.search(
            r'class="m\w+ (?:mathbb|amsrm|mathcal)"', (SITE / path).read_text("utf-8")
        ):
            continue
        page.goto(path)
        page.evaluate(
            """async () => {
              const all = new CSSStyleSheet();
              all.replaceSync("* { content-visibility: visible !important }");
              document.adoptedStyleSheets.push(all);
              for (const details of document.querySelectorAll("details")) details.open = true;
              await document.fonts.ready;
            }"""
        )
        root = tools.send("DOM.getDocument")["root"]["nodeId"]
        found = tools.send("DOM.querySelectorAll", {"nodeId": root, "selector": rare})
        for node in found["nodeIds"]:
            used = tools.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
            assert all(font["isCustomFont"] for font in used), (path, used)
            letters += sum(font["glyphCount"] for font in used)
    assert letters > 10


def test_formulas_are_in_their_fonts(page: Any) -> None:
    page.goto(PAGE)
    loaded = page.evaluate(
        """async () => {
          await document.fonts.ready;
          return [...document.fonts].filter((f) => f.status === "loaded").map((f) => f.family);
        }"""
    )
    assert {"KaTeX_Main", "KaTeX_Math"} <= {family.strip('"') for family in loaded}
