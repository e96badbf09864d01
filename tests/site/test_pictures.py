"""Pictures of figures stand there first, without scripts and on paper, in the page's colors."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from built import page_with

from llmbook._myst_nb import THEMES, WIDTHS
from llmbook.figures import INK, PAPER

PLACES = ".plotly-plot"
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
OPEN = "() => document.querySelectorAll('details').forEach((box) => { box.open = true; })"
# The picture that is seen, and that has come.
SHOWN = """
(place) => [...place.querySelectorAll("img")]
  .filter((image) => image.checkVisibility() && image.complete && image.naturalWidth > 0)
  .map((image) => ({ kind: image.className, src: image.currentSrc, width: image.naturalWidth }))
"""
WORDS = """
(svg) => [...svg.querySelectorAll("text")].map((text) => text.textContent.trim()).filter(Boolean)
"""


@pytest.fixture(scope="module", params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def page(browser: Any, theme: str) -> Iterator[Any]:
    """A page in a theme, in a browser that has nothing from before."""
    # What a service worker fetches, no test can stop.
    context = browser.new_context(
        viewport=DESKTOP, reduced_motion="reduce", color_scheme=theme, service_workers="block"
    )
    yield context.new_page()
    context.close()


def rgb(color: str) -> str:
    return f"rgb({', '.join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5))})"


def near(page: Any) -> Any:
    """Bring the first Plotly figure of the page to the screen."""
    place = page.locator(PLACES).first
    place.scroll_into_view_if_needed()
    return place


def expect_picture(page: Any, place: Any, kind: str) -> dict[str, Any]:
    page.wait_for_function(f"(place) => ({SHOWN})(place).length", arg=place.element_handle())
    [shown] = place.evaluate(SHOWN)
    assert shown["kind"] == kind
    return shown


def without_plotly(page: Any) -> None:
    """Let Plotly's script never come."""
    page.route(re.compile(r"plotly[^/]*\.js"), lambda route: None)


# -- The colors -----------------------------------------------------------------------------------


def test_pictures_have_the_colors_of_the_page(site: str, page: Any, theme: str) -> None:
    page.goto(site + page_with("matplotlib-figure"))
    page.evaluate(OPEN)
    colors = page.evaluate(
        """() => [...document.querySelectorAll(".matplotlib-figure")].map((figure) => {
          let ground = figure;
          while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)")
            ground = ground.parentElement;
          return [getComputedStyle(figure).color, getComputedStyle(ground).backgroundColor];
        })"""
    )
    assert colors
    assert all(c == [rgb(THEMES[theme][name]) for name in (INK, PAPER)] for c in colors), colors


def test_matplotlib_figure_is_shown_in_the_theme_that_the_reader_chooses(
    site: str, page: Any, theme: str
) -> None:
    page.goto(site + page_with("matplotlib-figure"))
    page.evaluate(OPEN)
    place = page.locator(".matplotlib-figure").first
    place.scroll_into_view_if_needed()
    first = expect_picture(page, place, f"only-{theme}")
    other = {"light": "dark", "dark": "light"}[theme]
    page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", other)
    assert expect_picture(page, place, f"only-{other}")["src"] != first["src"]


# -- Before Plotly is there ------------------------------------------------------------------------


def test_picture_stands_there_until_plotly_is_there(site: str, page: Any, theme: str) -> None:
    without_plotly(page)
    page.goto(site + page_with('class="plotly-figure"'))
    page.evaluate(OPEN)
    place = near(page)
    shown = expect_picture(page, place, f"only-{theme}")
    assert shown["width"] == WIDTHS["wide"]
    box, image = place.bounding_box(), place.locator(f".only-{theme}").bounding_box()
    assert image == box
    assert place.locator(f".only-{theme}").get_attribute("alt") == place.get_attribute("aria-label")


def test_picture_on_a_phone_is_drawn_for_it(site: str, page: Any, theme: str) -> None:
    without_plotly(page)
    page.set_viewport_size(PHONE)
    page.goto(site + page_with('class="plotly-figure"'))
    page.evaluate(OPEN)
    place = near(page)
    assert expect_picture(page, place, f"only-{theme}")["width"] == WIDTHS["narrow"]
    assert place.bounding_box()["width"] <= PHONE["width"]


def test_pictures_are_fetched_when_they_are_near_and_in_one_theme(
    site: str, page: Any, theme: str
) -> None:
    without_plotly(page)
    fetched: list[str] = []
    page.on("request", lambda r: fetched.append(r.url.rpartition("/")[2]))
    path = page_with('class="plotly-figure"')
    page.goto(site + path)
    page.evaluate(OPEN)
    near(page)
    page.wait_for_timeout(300)
    other = {"light": "dark", "dark": "light"}[theme]
    for kind, expected in ((theme, True), (other, False)):
        names = page.eval_on_selector_all(
            f"{PLACES} img.only-{kind}", "(images) => images.map((i) => i.src.split('/').at(-1))"
        )
        assert names
        assert bool(set(names) & set(fetched)) == expected


def test_figure_takes_the_place_of_its_picture_and_nothing_moves(
    site: str, page: Any, theme: str
) -> None:
    waiting: list[Any] = []
    page.route(re.compile(r"plotly[^/]*\.js"), lambda route: waiting.append(route))
    page.goto(site + page_with('class="plotly-figure"'))
    page.evaluate(OPEN)
    place = near(page)
    source = expect_picture(page, place, f"only-{theme}")["src"]
    figure = page.locator(".plotly-figure").first
    before = figure.bounding_box()
    for _ in range(50):
        if waiting:
            break
        page.wait_for_timeout(100)
    [route] = waiting
    route.continue_()
    page.locator(".plotly-drawn").first.wait_for()
    assert figure.bounding_box() == before
    assert not place.evaluate(SHOWN)
    # The picture says what the figure says.
    drawn = place.locator("svg.main-svg").evaluate_all(f"(all) => all.flatMap({WORDS})")
    pictured = page.evaluate(
        f"""async (address) => {{
          const text = await (await fetch(address)).text();
          return ({WORDS})(new DOMParser().parseFromString(text, "image/svg+xml"));
        }}""",
        source,
    )
    assert len(drawn) > 5
    words = re.compile(r"[A-Za-z]{3}")  # how many ticks there are depends on the width
    assert {w for w in drawn if words.search(w)} == {w for w in pictured if words.search(w)}


# -- Without scripts, and on paper -----------------------------------------------------------------


def test_figures_are_pictures_without_scripts(visit: Callable[..., Any]) -> None:
    page = visit(page_with('class="plotly-figure"'), java_script_enabled=False, viewport=DESKTOP)
    places = page.locator(PLACES)
    assert places.count()
    for place in places.all():
        light, dark = place.locator(".only-light"), place.locator(".only-dark")
        assert light.is_visible() or place.locator("xpath=ancestor::details[not(@open)]").count()
        assert not dark.is_visible()
        assert light.get_attribute("alt") == place.get_attribute("aria-label")
        assert len(light.get_attribute("alt")) > 10


def test_light_matplotlib_figure_is_printed(site: str, page: Any, theme: str) -> None:
    page.goto(site + page_with("matplotlib-figure"))
    page.evaluate(OPEN)
    place = page.locator(".matplotlib-figure").first
    place.scroll_into_view_if_needed()
    expect_picture(page, place, f"only-{theme}")
    page.emulate_media(media="print")
    expect_picture(page, place, "only-light")


def test_matplotlib_figure_is_no_link_and_has_no_frame(site: str, page: Any, theme: str) -> None:
    """The theme frames pictures in the dark; and a link to a picture is a stop of the tab key."""
    page.goto(site + page_with("matplotlib-figure"))
    page.evaluate(OPEN)
    image = page.locator(f".matplotlib-figure img.only-{theme}").first
    assert image.evaluate("(e) => e.closest('a')") is None
    style = image.evaluate("(e) => [getComputedStyle(e).padding, getComputedStyle(e).background]")
    assert style[0] == "0px"
    assert style[1].startswith("rgba(0, 0, 0, 0)")


def test_light_picture_is_printed(site: str, page: Any, theme: str) -> None:
    page.goto(site + page_with('class="plotly-figure"'))
    page.evaluate(OPEN)
    place = near(page)
    page.locator(".plotly-drawn").first.wait_for()
    page.emulate_media(media="print")
    expect_picture(page, place, "only-light")
    assert not place.locator(".plotly-drawing").is_visible()
    page.emulate_media(media="screen")
    assert place.locator(".plotly-drawing").is_visible()


def test_figure_that_the_reader_set_is_printed_as_it_was_set(site: str, page: Any) -> None:
    page.goto(site + page_with('<input type="range"'))
    page.evaluate(OPEN)
    figure = page.locator('.plotly-figure:has(input[type="range"])').first
    figure.scroll_into_view_if_needed()
    slider = figure.locator("input[type=range]:enabled").first
    slider.focus()
    page.keyboard.press("ArrowRight" if slider.input_value() == "0" else "ArrowLeft")
    page.emulate_media(media="print")
    assert figure.locator(".plotly-drawing").is_visible()
    assert not figure.locator(PLACES).evaluate(SHOWN)
