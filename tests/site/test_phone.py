"""The site under a thumb: a small screen that is touched."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from built import SITE, page_with

PHONE = {"width": 360, "height": 740}
AXES = """
() => {
  const { xaxis, yaxis } = document.querySelector(".js-plotly-plot")._fullLayout;
  return [xaxis.range, yaxis.range];
}
"""
# What comes right after a link stands in the line in which the link ends.
LONELY = """
() => [...document.querySelectorAll(".cited-in a")].filter((link) => {
  const text = link.nextSibling;
  if (!text?.data?.startsWith(",")) return false;
  const range = document.createRange();
  range.setStart(text, 0);
  range.setEnd(text, 1);
  const end = [...link.getClientRects()].at(-1);
  const comma = range.getBoundingClientRect();
  return comma.left > end.right + 8 || comma.top > end.bottom || comma.bottom < end.top;
}).map((link) => link.textContent)
"""


# Matplotlib draws letters as paths, so many points high and scaled to a hundredth.
LETTERS = re.compile(r"scale\((0\.\d+) -\1\)")


@pytest.fixture
def phone(browser: Any) -> Iterator[Any]:
    """A page on a small phone, without a service worker."""
    context = browser.new_context(
        viewport=PHONE,
        is_mobile=True,
        has_touch=True,
        reduced_motion="reduce",
        service_workers="block",
    )
    yield context.new_page()
    context.close()


def drag(page: Any, x: float, start: float, end: float) -> None:
    """Draw a finger over the screen."""
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: dict[str, float]) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    touch("touchStart", {"x": x, "y": start})
    for n in range(1, 9):
        touch("touchMove", {"x": x, "y": start + (end - start) * n / 8})
        page.wait_for_timeout(16)
    touch("touchEnd")


def test_the_bar_at_the_top_is_one_row_high(site: str, phone: Any) -> None:
    phone.goto(site + page_with("tag_your-turn"))
    phone.locator(".live-button").first.wait_for()
    assert phone.locator(".bd-header-article").bounding_box()["height"] < 60


def test_an_exercise_has_most_of_the_width(site: str, phone: Any) -> None:
    phone.goto(site + page_with('class="exercise admonition"'))
    text = phone.locator(".exercise > section > p, .exercise > p:not(.admonition-title)").first
    assert text.bounding_box()["width"] > 0.8 * PHONE["width"]


def test_a_finger_scrolls_over_a_plot_and_leaves_its_axes(site: str, phone: Any) -> None:
    phone.goto(site + "attention/self-attention/solution-softmax-saturation.html")
    phone.locator(".plotly-figure").first.scroll_into_view_if_needed()
    plot = phone.locator(".js-plotly-plot .main-svg").first
    plot.wait_for()
    plot.evaluate("(svg) => scrollBy(0, svg.getBoundingClientRect().top - 150)")
    axes = phone.evaluate(AXES)
    box = plot.bounding_box()
    x, y = box["x"] + 0.6 * box["width"], box["y"] + 0.4 * box["height"]
    phone.touchscreen.tap(x, y)
    phone.wait_for_timeout(600)  # longer than a second tap may take to make a double one
    assert phone.evaluate(AXES) == axes
    before = phone.evaluate("scrollY")
    drag(phone, x, y, y - 100)
    phone.wait_for_function("(before) => scrollY > before + 50", arg=before)
    assert phone.evaluate(AXES) == axes


def test_a_wide_formula_fades_where_it_goes_on(site: str, phone: Any) -> None:
    phone.goto(site + "attention/self-attention.html")
    formula = phone.locator("#attention-by-hand")
    formula = formula.locator(".katex-display").locator("visible=true").first
    formula.scroll_into_view_if_needed()

    def hidden() -> tuple[float, float]:
        """Return how much fades on the left and on the right."""
        phone.wait_for_timeout(100)
        return tuple(
            formula.evaluate(
                "(e) => ['--hidden-left', '--hidden-right']"
                ".map((name) => parseFloat(getComputedStyle(e).getPropertyValue(name)))"
            )
        )

    phone.wait_for_function("(e) => e.tabIndex === 0", arg=formula.element_handle())
    assert "gradient" in formula.evaluate("(e) => getComputedStyle(e).maskImage")
    assert hidden() == (0, 32)
    formula.evaluate("(e) => e.scrollTo(1000, 0)")
    assert hidden() == (32, 0)
    narrow = phone.locator(".katex-display:not([tabindex])").first
    assert narrow.evaluate("(e) => getComputedStyle(e).maskImage") == "none"


def test_the_places_of_a_citation_wrap_as_text(site: str, phone: Any) -> None:
    phone.goto(site + "bibliography.html")
    assert phone.locator(".cited-in a").count() > 0
    assert phone.evaluate(LONELY) == []


def test_what_a_word_finds_is_said_where_it_is_typed(site: str, phone: Any) -> None:
    phone.goto(site + "exercises/index.html")
    field = phone.locator(".exercise-filter input[name=q]")
    field.tap()
    phone.keyboard.type("rotary")
    found = phone.locator(".exercise-filter .found")
    phone.wait_for_function(
        "(e) => /^\\d+ of \\d+/.test(e.textContent)", arg=found.element_handle()
    )
    below = field.bounding_box()
    assert 0 <= found.bounding_box()["y"] - below["y"] - below["height"] < 40


def test_the_way_back_to_the_top_covers_no_bar(site: str, phone: Any) -> None:
    phone.goto(site + "attention/self-attention.html")
    phone.context.set_offline(True)
    bar = phone.locator(".page-bottom > :visible").first
    bar.wait_for()
    phone.evaluate("scrollTo(0, 3000)")
    phone.wait_for_timeout(200)
    phone.evaluate("scrollTo(0, 2800)")
    button = phone.locator("#pst-back-to-top")
    button.wait_for()
    box = button.bounding_box()
    assert box["y"] + box["height"] <= bar.bounding_box()["y"]
    assert box["x"] > PHONE["width"] / 2


def test_letters_of_figures_can_be_read() -> None:
    """In CSS pixels, in a column as wide as a small phone's; exponents are smaller."""
    column = 328
    heights = {}
    for picture in SITE.glob("_images/*.svg"):
        svg = picture.read_text("utf-8")
        if letters := [float(scale) * 100 for scale in LETTERS.findall(svg)]:
            width = float(re.search(r'viewBox="0 0 ([\d.]+) ', svg)[1])
            heights[picture.name] = min(letters) * column / width
    assert len(heights) > 10
    assert not {name: height for name, height in heights.items() if height < 8}
