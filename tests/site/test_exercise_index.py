"""The table of all exercises: search, filters and order, all of it in the address."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from built import ROOT, SITE
from docutils.nodes import make_id

import catalogue

INDEX = "exercises/index.html"
PHONE = {"width": 360, "height": 740}
WIDE = {"width": 1920, "height": 1080}
IDS = re.compile(r'\sid="([^"]+)"')

Exercise = catalogue.Exercise
CATALOGUE = catalogue.load(ROOT / "book/exercises.yml")
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
PART = {
    chapter["file"]: make_id(part["caption"])
    for part in TOC["parts"]
    for chapter in part["chapters"]
}
EXERCISES = sorted(CATALOGUE.values(), key=lambda e: list(PART).index(e.page))
ALL = [e.label for e in EXERCISES]

SHOWN = """
() => [...document.querySelectorAll(".exercise-index tbody tr")]
  .filter((row) => row.checkVisibility()).map((row) => row.dataset.label)
"""


def labels(wanted: Callable[[Exercise], bool]) -> list[str]:
    """Return the exercises that are like that; some are, and some are not."""
    found = [e.label for e in EXERCISES if wanted(e)]
    assert 0 < len(found) < len(ALL)
    return found


def open_index(page: Any, query: str = "") -> list[str]:
    page.goto(INDEX + query)
    page.locator('[name^="done:"]').first.wait_for(state="attached")
    shown: list[str] = page.evaluate(SHOWN)
    return shown


def query(page: Any) -> str:
    address: str = page.evaluate("location.search")
    return address


# -- The table ------------------------------------------------------------------------------------


def test_every_exercise_is_there_and_its_link_leads_to_it(site: str) -> None:
    text = (SITE / INDEX).read_text("utf-8")
    links = re.findall(r'<th scope="row"><a [^>]*href="\.\./([^"#]+)#([^"]+)"', text)
    assert links == [(f"{e.page}.html", e.label) for e in EXERCISES]
    for path in {path for path, _ in links}:
        ids = set(IDS.findall((SITE / path).read_text("utf-8")))
        assert {label for p, label in links if p == path} <= ids


def test_plain_table_without_scripts(visit: Callable[..., Any]) -> None:
    page = visit(INDEX, java_script_enabled=False, viewport=WIDE)
    rows = page.locator(".exercise-index tbody tr")
    assert rows.count() == len(ALL)
    assert rows.last.is_visible()
    assert page.locator("form.exercise-filter").is_hidden()
    assert page.locator(".exercise-index .marks").first.is_hidden()
    for column in "Exercise", "Source", "Kind", "Difficulty", "Minutes", "Page":
        assert page.get_by_role("columnheader", name=column, exact=True).is_visible()


def test_all_are_shown_at_first_and_told(page: Any) -> None:
    assert open_index(page) == ALL
    assert query(page) == ""
    minutes = sum(e.minutes for e in EXERCISES)
    hours = f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    found = page.locator(".found")
    assert found.text_content() == f"{len(ALL)} of {len(ALL)} exercises, {hours} in all"
    assert found.get_attribute("role") == "status"


def test_what_was_said_is_not_said_again(page: Any) -> None:
    open_index(page)
    page.evaluate("""() => {
      window.said = 0;
      const found = document.querySelector(".found");
      new MutationObserver(() => (said += 1)).observe(found, { childList: true });
    }""")
    page.get_by_role("searchbox").last.press_sequentially("zzz")
    assert "No exercise" in page.locator(".found").text_content()
    assert page.evaluate("said") == 1


# -- Filters --------------------------------------------------------------------------------------

FILTERS: dict[str, Callable[[Exercise], bool]] = {
    "?part=attention": lambda e: PART[e.page] == "attention",
    "?kind=theory": lambda e: e.kind == "theory",
    "?kind=theory&kind=design": lambda e: e.kind in ("theory", "design"),
    "?stars=3": lambda e: e.stars == 3,
    "?stars=1&stars=4": lambda e: e.stars in (1, 4),
    "?minutes=30": lambda e: e.minutes <= 30,
    "?source=13.19": lambda e: e.source == "13.19",
    "?source=13.1": lambda e: e.source == "13.1",
    "?source=13": lambda e: e.source.startswith("13."),
    "?source=13.": lambda e: e.source.startswith("13."),
    "?source=35.3": lambda e: e.source == "35.03",
    "?q=attention-variance": lambda e: e.label == "attention-variance",
    "?q=13.19": lambda e: "13.19" in e.source,
    "?kind=theory&stars=2&part=attention": lambda e: (
        (e.kind, e.stars, PART[e.page]) == ("theory", 2, "attention")
    ),
}


@pytest.mark.parametrize("address", FILTERS)
def test_shared_address_shows_the_same_view(page: Any, address: str) -> None:
    if address == "?source=35.3" and not any(e.source == "35.03" for e in EXERCISES):
        pytest.skip("the book has no exercise 35.03 yet")
    expected = labels(FILTERS[address])
    assert open_index(page, address) == expected
    assert page.locator(".found").text_content().startswith(f"{len(expected)} of {len(ALL)} ")
    assert query(page) == address


def test_each_field_filters_and_writes_the_address(page: Any) -> None:
    open_index(page)
    page.locator("form [name=part]").select_option(label="Attention")
    assert page.evaluate(SHOWN) == labels(FILTERS["?part=attention"])
    assert query(page) == "?part=attention"
    page.locator("form [name=part]").select_option("")
    page.get_by_role("checkbox", name="Theory", exact=True).check()
    assert page.evaluate(SHOWN) == labels(FILTERS["?kind=theory"])
    page.get_by_role("checkbox", name="Theory", exact=True).uncheck()
    page.get_by_role("checkbox", name="difficulty 3 of 4").check()
    assert page.evaluate(SHOWN) == labels(FILTERS["?stars=3"])
    assert query(page) == "?stars=3"
    page.get_by_role("button", name="Clear all").click()
    page.wait_for_function("() => location.search === ''")
    assert page.evaluate(SHOWN) == ALL
    page.locator("form [name=minutes]").select_option("30")
    assert page.evaluate(SHOWN) == labels(FILTERS["?minutes=30"])
    page.locator("form [name=minutes]").select_option("")
    page.locator("form [name=source]").fill("13.19")
    assert page.evaluate(SHOWN) == labels(FILTERS["?source=13.19"])
    page.wait_for_function("() => location.search === '?source=13.19'")


def test_search_as_you_type(page: Any) -> None:
    open_index(page)
    counts = []
    page.get_by_role("searchbox", name="Search").focus()
    for letter in "SELF-att":
        page.keyboard.type(letter)
        counts.append(len(page.evaluate(SHOWN)))
    assert counts == sorted(counts, reverse=True)
    assert 0 < counts[-1] < len(ALL)
    titles = page.locator(".exercise-index tbody tr:not([hidden])").all_text_contents()
    assert all("self" in t.lower() for t in titles)
    # All words must be there, in any order, from any column.
    one = CATALOGUE["attention-by-hand"]
    page.keyboard.press("Control+a")
    page.keyboard.type("numerical hand  ATTENTION")
    assert one.label in page.evaluate(SHOWN)
    assert len(page.evaluate(SHOWN)) < 5
    page.keyboard.type(" xyzzy")
    assert page.evaluate(SHOWN) == []
    assert "No exercise" in page.locator(".found").text_content()


def test_formulas_in_titles_are_found_by_what_one_types(page: Any) -> None:
    assert open_index(page, "?q=d_k") == ["attention-variance"]


def test_back_and_forward_go_through_the_views(page: Any) -> None:
    open_index(page)
    page.locator("form [name=part]").select_option("attention")
    page.get_by_role("checkbox", name="Theory", exact=True).check()
    page.get_by_role("searchbox", name="Search").press_sequentially("scale", delay=20)
    page.wait_for_function("() => location.search.includes('q=scale')")
    views = [page.evaluate(SHOWN)]
    # A word is one step, however many letters it has: its first letter and its last share it.
    page.go_back()
    page.wait_for_function("() => !location.search.includes('q=')")
    assert page.get_by_role("searchbox", name="Search").input_value() == ""
    page.go_back()
    page.wait_for_function("() => location.search === '?part=attention'")
    assert page.evaluate(SHOWN) == labels(FILTERS["?part=attention"])
    assert not page.get_by_role("checkbox", name="Theory", exact=True).is_checked()
    page.go_back()
    page.wait_for_function("() => location.search === ''")
    assert page.evaluate(SHOWN) == ALL
    assert page.locator("form [name=part]").input_value() == ""
    for _ in range(3):
        page.go_forward()
    page.wait_for_function("() => location.search.includes('q=scale')")
    assert page.evaluate(SHOWN) == views[0]


def test_unknown_values_in_the_address_are_left_out(page: Any) -> None:
    assert open_index(page, "?part=nowhere&kind=none&sort=random&minutes=1&other=2") == ALL


# -- Order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "addresses", "key"),
    [
        ("Source", ["source", "-source"], lambda e: e.source_key),
        ("Difficulty", ["stars", "-stars"], lambda e: e.stars),
        ("Minutes", ["minutes", "-minutes"], lambda e: e.minutes),
        ("Kind", ["kind"], lambda e: catalogue.KINDS.index(e.kind)),
    ],
)
def test_headings_sort(
    page: Any, heading: str, addresses: list[str], key: Callable[[Exercise], Any]
) -> None:
    open_index(page)
    cell = page.get_by_role("columnheader", name=heading)
    button = cell.get_by_role("button")
    for n, address in enumerate(addresses):
        button.focus()
        page.keyboard.press("Enter")
        expected = sorted(EXERCISES, key=key, reverse=bool(n))
        assert page.evaluate(SHOWN) == [e.label for e in expected]
        assert query(page) == f"?sort={address}"
        assert cell.get_attribute("aria-sort") == ("descending" if n else "ascending")
        assert page.locator("[aria-sort]").count() == 1
        assert page.locator("form [name=sort]").input_value() == address
        assert button.evaluate("(e) => e === document.activeElement")
        order = page.locator("form [name=sort] option:checked").text_content()
        assert page.locator(".found").text_content().endswith(f" in all. {order}.")
    button.click()
    assert page.evaluate(SHOWN) == ALL
    assert page.locator("[aria-sort]").count() == 0


def test_titles_sort_as_in_a_dictionary(page: Any) -> None:
    open_index(page, "?sort=title")
    titles = page.locator(".exercise-index tbody th").all_inner_texts()
    letters = [re.sub(r"[^a-z ]", "", t.lower())[:8] for t in titles]
    assert letters == sorted(letters)
    assert len(set(letters)) > len(letters) / 2


# -- Progress -------------------------------------------------------------------------------------


def test_filter_by_progress_and_mark_in_the_table(page: Any) -> None:
    open_index(page, "?progress=open")
    first, second, third = EXERCISES[:3]
    page.get_by_role("checkbox", name=f"Done: exercise {first.source}", exact=True).check()
    # The row stays as long as the reader is in it, so that the keyboard does not lose its place.
    assert page.evaluate(SHOWN)[0] == first.label
    page.get_by_role("searchbox", name="Search").focus()
    page.wait_for_function(f"() => document.querySelector('[data-label={first.label}]').hidden")
    assert page.evaluate(SHOWN) == ALL[1:]
    name = f"Come back later: exercise {third.source}"
    page.get_by_role("checkbox", name=name, exact=True).check()
    page.locator("form [name=progress]").select_option("done")
    assert page.evaluate(SHOWN) == [first.label]
    page.locator("form [name=progress]").select_option("later")
    assert page.evaluate(SHOWN) == [third.label]
    page.locator("form [name=progress]").select_option("")
    page.locator("form [name=sort]").select_option("later")
    assert page.evaluate(SHOWN)[:3] == [third.label, first.label, second.label]


def test_part_in_the_picture_filters_the_table(page: Any) -> None:
    open_index(page, "?q=nothing-like-it")
    page.locator(".progress-panel li a").nth(1).click()
    page.wait_for_function("() => location.search.startsWith('?part=')")
    slug = PART[next(e.page for e in EXERCISES if PART[e.page] != PART[EXERCISES[0].page])]
    assert query(page) == f"?part={slug}"
    assert page.evaluate(SHOWN) == labels(lambda e: PART[e.page] == slug)
    assert page.get_by_role("searchbox", name="Search").input_value() == ""
    # The focus goes along, but to no field: a phone would open its keyboard.
    assert page.evaluate("document.activeElement.className") == "found"
    top, bottom = page.locator(".found").evaluate(
        "(e) => { const { top, bottom } = e.getBoundingClientRect(); return [top, bottom] }"
    )
    assert 0 <= top < bottom <= page.viewport_size["height"]


# -- Keyboard, phone, files -----------------------------------------------------------------------


def test_tab_goes_through_fields_in_order(page: Any) -> None:
    open_index(page)
    page.get_by_role("searchbox", name="Search").focus()
    names = []
    for _ in range(30):
        names.append(page.evaluate("document.activeElement.name || document.activeElement.type"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", names
        if names[-1] == "reset":
            break
        page.keyboard.press("Tab")
    assert list(dict.fromkeys(names)) == [
        *("q", "source", "part", "minutes", "progress", "sort", "kind", "stars", "reset")
    ]
    page.get_by_role("searchbox", name="Search").focus()
    page.keyboard.type("attention")
    page.keyboard.press("Enter")  # sends nothing
    page.wait_for_function("() => location.search === '?q=attention'")
    assert len(page.evaluate(SHOWN)) > 1


def test_fits_a_phone(page: Any) -> None:
    page.set_viewport_size(PHONE)
    open_index(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    table = page.locator(".pst-scrollable-table-container").first
    assert table.evaluate("(e) => e.scrollWidth <= e.clientWidth + 1")
    page.locator("form [name=part]").select_option("attention")
    assert page.evaluate(SHOWN) == labels(FILTERS["?part=attention"])  # no card of a hidden row
    for target in page.locator(".mark-box, .exercise-filter fieldset label").all():
        if target.is_visible():
            size = target.bounding_box()
            assert min(size["width"], size["height"]) >= 24


def test_works_from_a_folder_of_files(context: Any) -> None:
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto((SITE / INDEX).as_uri() + "?kind=theory")
    page.locator('[name^="done:"]').first.wait_for(state="attached")
    assert page.evaluate(SHOWN) == labels(FILTERS["?kind=theory"])
    page.locator("form [name=part]").select_option("attention")
    expected = labels(lambda e: e.kind == "theory" and PART[e.page] == "attention")
    assert page.evaluate(SHOWN) == expected
    assert not errors
