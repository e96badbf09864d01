"""What readers ask of the browser: no motion, their own colors, larger text, paper."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from built import SITE, pages
from test_pages import DRAWN, OPEN_EVERYTHING, SET_THEME, TOO_WIDE

# Three kinds of pages: one to find one's way, one to read and solve, one to search in.
KINDS = ["index.html", "attention/self-attention.html", "exercises/index.html"]
FIGURES = "attention/positions.html"
DESKTOP = {"width": 1280, "height": 900}
NARROW = {"width": 320, "height": 256}  # a screen of 1280 pixels, magnified four times

# Text that stands out too little from what is behind it. On paper nothing is behind it but what
# insists on being printed.
FAINT = r"""
(paper) => {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const over = (top, ground) => {
    const alpha = top[3] ?? 1;
    return ground.map((c, n) => alpha * top[n] + (1 - alpha) * c);
  };
  const grounds = new Map();
  const ground = (e) => {
    if (!e) {
      const probe = document.createElement("div");
      probe.style.color = paper ? "white" : "Canvas";
      document.body.append(probe);
      const found = channels(getComputedStyle(probe).color).slice(0, 3);
      probe.remove();
      return found;
    }
    if (grounds.has(e)) return grounds.get(e);
    const style = getComputedStyle(e);
    const printed = !paper || style.printColorAdjust === "exact";
    const below = ground(e.parentElement);
    grounds.set(e, printed ? over(channels(style.backgroundColor), below) : below);
    return grounds.get(e);
  };
  const faint = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim()) continue;
    if (e.closest("script, style, noscript, .katex-mathml, [disabled], .visually-hidden")) continue;
    if (!e.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const style = getComputedStyle(e);
    const color = e.closest("svg") ? style.fill : style.color;
    if (color === "none") continue;
    const behind = ground(e);
    const [light, dark] = [over(channels(color), behind), behind]
      .map(luminance).sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    const least = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if (ratio < least) {
      const seen = `${ratio.toFixed(2)}: ${color} on ${behind.map(Math.round)}`;
      faint.set(e.outerHTML.slice(0, 120), seen);
    }
  }
  return [...faint].map((pair) => pair.join(" has "));
}
"""
# Text that is cut off by the box it is in. A formula in a line cannot be broken; who finds one cut
# off has the page enlarged, and not only its text.
CUT = """
() => {
  const leftOut = ".katex, .math, svg, .visually-hidden, dialog:not([open])";
  const hides = (overflow) => /hidden|clip/.test(overflow);
  const sticksOut = (box) => [...box.querySelectorAll("*")].some((e) => {
    if (e.matches(leftOut) || e.closest(leftOut)) return false;
    if (e.getBoundingClientRect().right <= box.getBoundingClientRect().right + 1) return false;
    for (let at = e.parentElement; at !== box; at = at.parentElement) {
      if (/auto|scroll/.test(getComputedStyle(at).overflowX)) return false;
    }
    return true;
  });
  return [...document.querySelectorAll("body *")].filter((e) => {
    if (e.closest(leftOut) || !e.textContent.trim() || !e.checkVisibility()) return false;
    const { overflowX, overflowY, clipPath } = getComputedStyle(e);
    if (clipPath !== "none" || e.clientHeight < 2) return false; // for screen readers
    return (hides(overflowX) && e.scrollWidth > e.clientWidth + 1 && sticksOut(e))
      || (hides(overflowY) && e.scrollHeight > e.clientHeight + 1);
  }).map((e) => e.outerHTML.slice(0, 160));
}
"""
# WCAG 1.4.12.
SPACED = """
* { letter-spacing: 0.12em !important; word-spacing: 0.16em !important; }
* { line-height: 1.5 !important; }
p { margin-bottom: 2em !important; }
"""
MOVING = """
() => {
  const moves = (style) => style.scrollBehavior === "smooth" ||
    `${style.transitionDuration}, ${style.animationDuration}`.split(", ")
      .some((time) => parseFloat(time) > 0.01);
  return [...document.querySelectorAll("*")]
    .filter((e) => [null, "::before", "::after"].some((part) => moves(getComputedStyle(e, part))))
    .map((e) => e.outerHTML.slice(0, 100));
}
"""


def open_everything(page: Any) -> None:
    page.evaluate(OPEN_EVERYTHING)
    page.wait_for_function(DRAWN)


# -- Motion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*KINDS, FIGURES])
def test_nothing_moves_where_nothing_should(visit: Callable[..., Any], path: str) -> None:
    assert visit(path, reduced_motion="no-preference").evaluate(MOVING), "the check finds nothing"
    page = visit(path)
    open_everything(page)
    assert page.evaluate(MOVING) == []
    page.keyboard.press("Control+k")
    page.locator("dialog.search-dialog").wait_for()
    page.locator(".theme-switch-button").first.evaluate("(e) => e.click()")
    assert page.evaluate(MOVING) == []
    # What shows how far something is scrolled moves with the finger only.
    by_clock = "document.getAnimations().filter((a) => a.timeline instanceof DocumentTimeline)"
    assert page.evaluate(f"{by_clock}.length") == 0


NOTE_ANIMATIONS = """
() => {
  window.animated = [];
  Plotly.animate = async (plot, frames, options) => { window.animated.push(options); };
}
"""


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_figures_move_only_where_they_may(
    visit: Callable[..., Any], site: str, motion: str
) -> None:
    """A figure whose slider plays an animation, made of one whose slider changes it at once."""
    page = visit("offline.html", reduced_motion=motion)
    path = _with_slider()
    body = re.sub(r'"method":"\w+"', '"method":"animate"', (SITE / path).read_text("utf-8"))
    page.route(f"**/{path}", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto(path)
    open_everything(page)
    page.evaluate(NOTE_ANIMATIONS)
    page.locator(".plotly-control input").first.focus()
    page.keyboard.press("End")
    page.wait_for_function("() => window.animated.length > 0")
    durations = page.evaluate(
        "() => window.animated.flatMap((o) => [o.frame?.duration, o.transition?.duration])"
    )
    assert (set(durations) == {0}) == (motion == "reduce")


# -- Colors of the reader's own -------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", [*KINDS, FIGURES])
def test_forced_colors(visit: Callable[..., Any], path: str, theme: str, scheme: str) -> None:
    page = visit(path, forced_colors="active", color_scheme=scheme)
    page.evaluate(SET_THEME, theme)
    open_everything(page)
    assert page.evaluate("matchMedia('(forced-colors: active)').matches")
    assert page.evaluate(FAINT, False) == []
    # Pictures keep their colors, and so they bring the ground that these were chosen for.
    papers = page.evaluate(
        """() => [...document.querySelectorAll(".matplotlib-figure, .plotly-figure, svg.plane")]
          .map((e) => getComputedStyle(e).backgroundColor)"""
    )
    paper = {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}[theme]
    assert set(papers) <= {paper}
    # The place where one is has more than a color.
    here = page.locator(".bd-links .current > a.current, .bd-links .current.active > a").first
    border = here.evaluate("(e) => getComputedStyle(e).borderLeftStyle")
    assert border == "solid"


# -- Size and spacing of text ---------------------------------------------------------------------


@pytest.mark.parametrize("path", [*KINDS, FIGURES])
@pytest.mark.parametrize("way", ["narrow", "large", "spaced", "spaced and narrow"])
def test_text_as_large_as_the_reader_wants(visit: Callable[..., Any], path: str, way: str) -> None:
    page = visit(path, viewport=NARROW if "narrow" in way else DESKTOP)
    if way == "large":
        page.evaluate("document.documentElement.style.fontSize = '200%'")
    if "spaced" in way:
        page.evaluate(
            "(text) => document.head.append(Object.assign(document.createElement('style'),"
            " { textContent: text }))",
            SPACED,
        )
    open_everything(page)
    page.wait_for_timeout(200)  # figures follow the width
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate(CUT) == []


def test_sticky_header_leaves_room_on_a_small_screen(visit: Callable[..., Any]) -> None:
    page = visit(KINDS[1], viewport=NARROW)
    page.evaluate("scrollTo(0, 600)")
    fixed = """
    () => {
      let covered = 0;
      for (let y = 1; y < innerHeight; y += 4) {
        let e = document.elementFromPoint(innerWidth / 2, y);
        while (e && !/sticky|fixed/.test(getComputedStyle(e).position)) e = e.parentElement;
        if (e) covered += 4;
      }
      return covered / innerHeight;
    }
    """
    assert page.evaluate(fixed) < 0.3


# -- Paper ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["dark", "auto"])
@pytest.mark.parametrize("path", [*KINDS, FIGURES])
def test_print_from_the_dark_is_dark_on_white(
    visit: Callable[..., Any], path: str, mode: str
) -> None:
    page = visit(path, color_scheme="dark")
    page.evaluate("(mode) => localStorage.setItem('mode', mode)", mode)
    page.reload(wait_until="load")
    open_everything(page)
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.emulate_media(media="print")
    page.wait_for_function(f"() => {theme} === 'light'")
    assert page.evaluate(FAINT, True) == []
    page.emulate_media(media="screen")
    page.wait_for_function(f"() => {theme} === 'dark'")
    # A printer says so by events, a browser's copy of the page for the printer by nothing else.
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(theme) == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(theme) == "dark"


COLORS_OF_WORDS = """
(() => [...new Set([...document.querySelectorAll(
  ".plotly-figure:has([data-used]) :is(.xtick text, .ytick text, .gtitle, .legendtext)")]
  .map((e) => getComputedStyle(e).fill))])
"""


def test_figure_that_the_reader_set_is_printed_in_the_colors_of_paper(
    visit: Callable[..., Any],
) -> None:
    page = visit(_with_slider(), color_scheme="dark")
    open_everything(page)
    slider = page.locator(".plotly-control input").first
    slider.focus()
    page.keyboard.press("End")
    assert page.evaluate(COLORS_OF_WORDS) == ["rgb(206, 214, 221)"]
    page.emulate_media(media="print")
    page.wait_for_function(f"() => {COLORS_OF_WORDS.strip()}().join() === 'rgb(34, 40, 50)'")


def _with_slider() -> str:
    for path in pages():
        if re.search(r'<input type="range"[^>]*data-labels', (SITE / path).read_text("utf-8")):
            return path
    raise AssertionError("no page has a figure with a slider")
