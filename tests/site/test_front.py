"""The front page: paths in one screen, a figure to play with, terms and links back in a browser."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from built import ROOT

import catalogue
import front

PERCENT = """
() => [...document.querySelectorAll(".attention-weights td:last-child")]
  .map((cell) => parseInt(cell.textContent))
"""


@pytest.fixture
def page(visit: Callable[..., Any]) -> Any:
    return visit("index.html")


def expected(direction: float, length: float) -> list[int]:
    angle = math.radians(direction)
    weights = front.weights((length * math.cos(angle), length * math.sin(angle)))
    return [round(100 * w) for w in weights.values()]


def test_all_paths_are_on_the_first_screen_and_lead_to_their_lists(page: Any) -> None:
    exercises = catalogue.load(ROOT / "book/exercises.yml")
    paths = front.load(ROOT / "book/paths.yml", exercises)
    cards = page.locator(".path-card")
    assert cards.count() == len(paths)
    for card, path in zip(cards.all(), paths, strict=True):
        box = card.bounding_box()
        assert box["y"] + box["height"] <= 900
        assert path.size in card.text_content()
    page.locator(".path-card a", has_text=paths[1].goal).press("Enter")
    page.wait_for_url(f"**/paths.html#{paths[1].name}")
    steps = page.locator(f"#{paths[1].name} > ol > li a")
    labels = [a.get_attribute("href").partition("#")[2] for a in steps.all()]
    assert labels == [e.label for e in paths[1].exercises]


def test_the_whole_card_can_be_pressed(page: Any) -> None:
    card = page.locator(".path-card").first
    box = card.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 6, box["y"] + box["height"] - 6)
    page.wait_for_url("**/paths.html#*")
    assert page.locator("article h1").text_content().startswith("Paths")


def test_cards_say_how_far_the_reader_is(page: Any) -> None:
    card = page.locator(".path-card").first
    labels = card.get_attribute("data-exercises").split()
    assert "done" not in card.text_content()
    done = dict.fromkeys(labels[:2], "2026-01-31")
    kept = json.dumps({"version": 1, "done": done, "later": {}})
    page.evaluate("(kept) => localStorage.setItem('llmbook', kept)", kept)
    page.reload()
    assert "· 2 done" in card.text_content()


def test_the_figure_is_played_by_keyboard(page: Any) -> None:
    direction, length = page.get_by_label("Direction of the query"), page.get_by_label("Length")
    assert page.evaluate(PERCENT) == expected(front.DIRECTION, front.LENGTH)
    direction.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert direction.get_attribute("aria-valuetext") == "50 degrees"
    assert page.evaluate(PERCENT) == expected(50, front.LENGTH)
    length.focus()
    page.keyboard.press("Home")
    assert page.evaluate(PERCENT) == [20] * 5
    page.keyboard.press("End")
    shares = expected(50, front.LONGEST)
    assert page.evaluate(PERCENT) == shares
    said = page.locator(".attention-figure [role=status]").text_content()
    best = list(front.WORDS)[shares.index(max(shares))]
    assert said.startswith(f"Weights: {best} {max(shares)}%")


def test_the_query_is_turned_by_its_end(page: Any) -> None:
    tip = page.locator(".attention-figure .query circle")
    tip.scroll_into_view_if_needed()
    box = tip.bounding_box()
    assert min(box["width"], box["height"]) >= 24
    plane = page.locator(".attention-figure .plane").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    # To the tree: down, a little to the right.
    x = plane["x"] + plane["width"] / 2
    page.mouse.move(x, plane["y"] + plane["height"] - 40, steps=4)
    page.mouse.up()
    assert page.get_by_label("Direction of the query").input_value() == "270"
    shares = page.evaluate(PERCENT)
    assert shares[list(front.WORDS).index("tree")] == max(shares)


def test_the_figure_tells_its_numbers_without_scripts(visit: Callable[..., Any]) -> None:
    page = visit("index.html", java_script_enabled=False)
    shown = page.locator(".attention-weights td:last-child").all_text_contents()
    assert [int(text.removesuffix("%")) for text in shown] == expected(
        front.DIRECTION, front.LENGTH
    )
    assert not page.get_by_label("Direction of the query").is_visible()


def test_a_term_leads_to_its_meaning(page: Any) -> None:
    page.goto("attention/self-attention.html")
    term = page.locator("a.term").first
    assert term.get_attribute("title").endswith(".")
    term.press("Enter")
    page.wait_for_url("**/glossary.html#term-*")
    anchor = re.search(r"#(.*)", page.url)[1]
    box = page.locator(f'[id="{anchor}"]').bounding_box()
    assert 0 <= box["y"] < 900


def test_a_link_back_opens_on_the_citation(page: Any) -> None:
    page.goto("bibliography.html")
    link = page.locator(".cited-in a", has_text="Self-attention").first
    link.click()
    page.wait_for_url("**/attention/self-attention.html#*")
    anchor = re.search(r"#(.*)", page.url)[1]
    page.wait_for_function(
        """(id) => {
          const place = document.getElementById(id);
          const { top } = place.getBoundingClientRect();
          return place.checkVisibility() && top >= 0 && top < innerHeight;
        }""",
        arg=anchor,
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_mark_stands_out_from_its_tile(page: Any, theme: str) -> None:
    page.evaluate("(theme) => { document.documentElement.dataset.theme = theme }", theme)
    fill = "(e) => getComputedStyle(e).fill"
    mark = page.locator(".sidebar-primary-items__start .book-mark")
    tile, node = (mark.locator(part).evaluate(fill) for part in (".tile", ".node"))
    colors = {"rgb(20, 54, 92)", "rgb(255, 176, 102)"}
    assert {tile, node} == colors
    assert (tile == "rgb(20, 54, 92)") == (theme == "light")
