"""Every page of the built site in a real browser: private, quiet, accessible, fit for a phone.

A page is loaded once; the tests ask what was seen.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from built import ROOT, page_with, pages

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}

# All that a reader can open is open, and what comes with scrolling has come and is laid out.
OPEN_EVERYTHING = """
async () => {
  const all = new CSSStyleSheet();
  all.replaceSync("* { content-visibility: visible !important }");
  document.adoptedStyleSheets.push(all);
  await window.llmbook.solutions();
  for (const details of document.querySelectorAll("details")) details.open = true;
  for (const figure of document.querySelectorAll(".plotly-figure")) {
    figure.scrollIntoView();
    // The browser tells who is near the screen at the end of a frame, after these callbacks.
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
  }
  scrollTo(0, 0);
}
"""
DRAWN = """
() => [...document.querySelectorAll(".plotly-figure")].every(
  (figure) => figure.querySelector("svg.main-svg") &&
    !figure.querySelector(".plotly-control :disabled"))
"""
# Of the words of code, the first of each kind: they are half of what a page consists of, and
# axe-core looks at everything. What they say, and where they stand, does not change.
THIN_CODE = """
() => {
  const seen = new Set();
  for (const pre of document.querySelectorAll("pre")) {
    const ground = getComputedStyle(pre).backgroundColor;
    for (const word of pre.querySelectorAll("span:not(:has(*))")) {
      const kind = `${ground} ${word.parentElement.className} ${word.className}`;
      if (seen.has(kind)) word.replaceWith(word.textContent);
      else seen.add(kind);
    }
    pre.normalize();
  }
}
"""
# All rules of WCAG 2.2 AA, also those that axe-core tries out, and what it calls good practice. The
# theme changes nothing but colors, and the width leaves those as they are.
AXE_RUN = """
async (asked) => {
  const wcag = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
  const practice = axe.getRules(["best-practice"]).filter((r) => !r.tags.includes("experimental"));
  const colors = new Set(["color-contrast", "link-in-text-block"]);
  const rules = [...axe.getRules(wcag), ...practice].map(({ ruleId }) => ruleId);
  const values = rules
    .filter((rule) => asked === "all" || colors.has(rule) === (asked === "colors"));
  const run = { resultTypes: ["violations"], runOnly: { type: "rule", values } };
  const { violations } = await axe.run(document, run);
  // It reads no MathML, which screen readers do: a heading that is a formula is not empty.
  const formula = (id, { target }) =>
    id === "empty-table-header" && document.querySelector(`${target} math`);
  return violations.flatMap(({ id, nodes }) => nodes.filter((node) => !formula(id, node)).map(
    (node) => `${id}: ${node.html.slice(0, 200)}`
      + ` (${node.failureSummary.split("\\n").slice(1).join(" ").trim().slice(0, 200)})`));
}
"""
# The new colors are there two frames later.
SET_THEME = """
async (theme) => {
  document.documentElement.dataset.theme = theme;
  for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
}
"""
# A figure is named, and so is every picture, but one that says in passing what a text says.
FIGURES_WITHOUT_NAME = """
() => [...document.querySelectorAll(".bd-article :is(figure, img, figure svg)")]
  .filter((e) => !e.closest("[aria-hidden=true], [aria-label]:not(article), [alt]:not([alt=''])"))
  .filter((e) => !e.querySelector(
    ":scope > figcaption, :scope > img[alt]:not([alt='']), :scope > [role=img][aria-label]"))
  .map((e) => e.outerHTML.slice(0, 200))
"""
# What sticks out to the right, leaving aside what scrolls by itself.
TOO_WIDE = """
() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("body *")]
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && e.checkVisibility())
    .filter((e) => {
      for (let p = e.parentElement; p; p = p.parentElement)
        if (getComputedStyle(p).overflowX !== "visible") return false;
      return true;
    })
    .map((e) => e.outerHTML.slice(0, 160)).concat("the page scrolls sideways")
"""


@dataclass
class Seen:
    """What was seen of one page."""

    path: str
    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)
    unnamed: list[str] = field(default_factory=list)
    too_wide: list[str] = field(default_factory=list)
    drawn: bool = False


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.is_file():
        pytest.fail("axe-core is missing from node_modules: run `npm ci` (make book does)")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce", color_scheme="light")
    yield context
    context.close()


@pytest.fixture(scope="module", params=pages())
def seen(request: pytest.FixtureRequest, site: str, context: Any, axe: str) -> Seen:
    """Load a page, open everything on it, and look at it in light, dark and at phone width."""
    seen = Seen(request.param)
    page = context.new_page()
    page.on("request", lambda r: seen.requests.append(r.url))
    page.on("requestfailed", lambda r: seen.failed.append(f"{r.url}: {r.failure}"))
    page.on(
        "response", lambda r: seen.failed.append(f"{r.url}: {r.status}") if r.status > 399 else None
    )
    page.on(  # the theme logs what it does; that is no warning
        "console",
        lambda m: None if m.type == "log" else seen.console.append(f"{m.type}: {m.text}"),
    )
    page.on("pageerror", lambda e: seen.console.append(str(e)))

    page.goto(site + seen.path, wait_until="load")
    page.evaluate(OPEN_EVERYTHING)
    try:
        page.wait_for_function(DRAWN, timeout=20_000)
        seen.drawn = True
    except Exception as error:
        seen.console.append(f"a Plotly figure was not drawn: {error}")
    seen.unnamed = page.evaluate(FIGURES_WITHOUT_NAME)
    page.evaluate(THIN_CODE)
    page.evaluate(axe)
    seen.faults["light"] = page.evaluate(AXE_RUN, "all")
    # What stands on a solution's own page is looked at on the page of its exercise, too.
    if "/solution-" not in seen.path:
        page.evaluate(SET_THEME, "dark")
        seen.faults["dark"] = page.evaluate(AXE_RUN, "colors")
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(100)  # figures follow the width after a frame or two
    if "/solution-" not in seen.path:
        seen.faults["phone"] = page.evaluate(AXE_RUN, "all but colors")
    seen.too_wide = page.evaluate(TOO_WIDE)
    page.close()
    return seen


def test_no_request_leaves_the_site(seen: Seen, site: str) -> None:
    foreign = [url for url in seen.requests if not url.startswith((site, "data:", "blob:"))]
    assert not foreign


def test_no_request_fails(seen: Seen) -> None:
    assert seen.requests
    assert not seen.failed


def test_nothing_on_the_console(seen: Seen) -> None:
    assert not seen.console


def test_no_accessibility_fault(seen: Seen) -> None:
    assert "light" in seen.faults
    assert not {look: faults for look, faults in seen.faults.items() if faults}


def test_figures_have_names(seen: Seen) -> None:
    assert not seen.unnamed


def test_plotly_figures_are_drawn(seen: Seen) -> None:
    assert seen.drawn


def test_no_sideways_scrolling_on_a_phone(seen: Seen) -> None:
    assert not seen.too_wide


@pytest.fixture
def page(context: Any) -> Iterator[Any]:
    page = context.new_page()
    yield page
    page.close()


def test_theme_button_recolors_figures(site: str, page: Any) -> None:
    page.goto(site + page_with('class="plotly-figure"'))
    page.evaluate(OPEN_EVERYTHING)
    words = page.locator(".plotly-figure").first.locator(".xtick text, .gtitle, .legendtext").first
    words.wait_for(state="attached")
    seen = {}
    for _ in range(3):  # the button goes through light, dark and the system's choice
        page.locator(".theme-switch-button").first.click()
        theme, color = page.evaluate(
            "[document.documentElement.dataset.theme, getComputedStyle(document.body).color]"
        )
        page.wait_for_function(
            "([element, color]) => getComputedStyle(element).fill === color",
            arg=[words.element_handle(), color],
            timeout=10_000,
        )
        seen[theme] = color
    assert seen.keys() == {"light", "dark"}
    assert seen["light"] != seen["dark"]


def test_plotly_is_loaded_only_when_a_figure_comes_near(site: str, page: Any) -> None:
    path = page_with('class="plotly-figure"')
    requests: list[str] = []
    page.on("request", lambda r: requests.append(r.url))
    page.goto(site + path)
    page.wait_for_timeout(300)
    assert not [url for url in requests if "plotly" in url]
    page.evaluate(OPEN_EVERYTHING)
    page.wait_for_function(DRAWN)
    assert len([url for url in requests if re.search(r"plotly[^/]*\.js", url)]) == 1


def test_slider_works_by_keyboard_and_keeps_its_place_in_the_other_theme(
    site: str, page: Any
) -> None:
    page.goto(site + page_with('<input type="range"'))
    page.evaluate(OPEN_EVERYTHING)
    page.wait_for_function(DRAWN)
    slider = page.locator('input[type="range"]').first
    before = slider.get_attribute("aria-valuetext")
    slider.focus()
    page.keyboard.press("ArrowRight" if slider.input_value() == "0" else "ArrowLeft")
    moved = slider.get_attribute("aria-valuetext")
    assert moved != before
    page.evaluate(SET_THEME, "dark")
    assert slider.get_attribute("aria-valuetext") == moved


def test_wide_formula_is_reached_by_keyboard(site: str, page: Any) -> None:
    page.set_viewport_size(PHONE)
    page.goto(site + page_with('class="katex-display"'))
    page.evaluate(OPEN_EVERYTHING)
    formula = page.locator(".katex-display").first
    for width, reached in [("10000px", True), ("1px", False)]:
        formula.evaluate(
            "(e, width) => { e.firstElementChild.style.cssText ="
            " `display: block; width: ${width}; overflow: hidden`;"
            " e.style.padding = width === '1px' ? '1px' : '2px' }",
            width,
        )
        page.wait_for_timeout(200)
        assert formula.evaluate("e => e.tabIndex === 0") == reached
