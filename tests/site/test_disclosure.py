"""Closed solutions come and open for whoever wants them, and for nobody else."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from built import SITE

PAGE = "attention/self-attention.html"
SOLUTION = "attention-by-hand-solution"
BOX = f"document.getElementById('{SOLUTION}')"
IS_OPEN = f"{BOX}.open"
IS_THERE = f"!{BOX}.querySelector('a[data-solution]')"
WAITING = "document.querySelectorAll('a[data-solution]').length"
NONE_WAITING = f"{WAITING} === 0"
# Other scripts of the site are not told apart by their names, so the markup says which they are.
SCRIPTS = re.compile(r"/solution-[^/]*\.js$")


@pytest.fixture
def context(new_context: Callable[..., Any]) -> Any:
    return new_context(permissions=["clipboard-read", "clipboard-write"])


def solution_with(text: str) -> tuple[str, str]:
    """Return the page and the label of a solution whose markup has a text."""
    for path in sorted(SITE.rglob("solution-*.html")):
        if text in path.read_text(encoding="utf-8"):
            folder = path.parent.relative_to(SITE).as_posix()
            return f"{folder}.html", path.stem.removeprefix("solution-")
    raise AssertionError(f"no solution has {text}")


def summary(page: Any, anchor: str = SOLUTION) -> Any:
    return page.locator(f"#{anchor} > summary")


def expect(page: Any, condition: str) -> None:
    """Wait for something to become true; Playwright's timeout is the failure."""
    page.wait_for_function(f"() => {condition}")


# -- Coming ---------------------------------------------------------------------------------------


def test_nothing_comes_unasked(page: Any) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(PAGE, wait_until="load")
    page.wait_for_timeout(1000)
    assert page.evaluate(IS_OPEN) is False
    assert page.evaluate(WAITING) == page.locator("details.solution").count() > 3
    assert requests
    assert not [url for url in requests if SCRIPTS.search(url)]


def test_opening_brings_the_solution(page: Any) -> None:
    page.goto(PAGE)
    summary(page).click()
    expect(page, IS_THERE)
    assert page.evaluate(IS_OPEN)
    box = page.locator(f"#{SOLUTION}")
    assert box.locator(".katex").count()
    assert len(box.inner_text()) > 500


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_it_opens_by_keyboard(page: Any, key: str) -> None:
    page.goto(PAGE)
    summary(page).focus()
    page.keyboard.press(key)
    expect(page, f"{IS_OPEN} && {IS_THERE}")
    assert page.evaluate(f"document.activeElement === {BOX}.querySelector('summary')")


@pytest.mark.parametrize("sign", ["wheel", "press", "key"])
def test_first_sign_of_a_reader_brings_all_and_opens_none(page: Any, sign: str) -> None:
    page.goto(PAGE)
    if sign == "wheel":
        page.mouse.wheel(0, 300)
    elif sign == "press":
        page.locator("article h1").click()
    else:
        page.keyboard.press("Tab")
    expect(page, NONE_WAITING)
    assert page.locator("details.solution").count() > 3
    assert page.locator("details.solution[open]").count() == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert {i for i in ids if ids.count(i) > 1} == set()


def test_a_page_that_moves_by_itself_brings_none(page: Any) -> None:
    page.goto(PAGE)
    page.evaluate("scrollTo(0, 300)")
    page.mouse.move(300, 300)
    page.wait_for_timeout(500)
    assert page.evaluate(WAITING) == page.locator("details.solution").count()


def test_who_saves_data_gets_what_they_open(page: Any) -> None:
    page.add_init_script(
        "Object.defineProperty(navigator, 'connection', { value: { saveData: true } })"
    )
    page.goto(PAGE)
    summary(page).click()
    expect(page, IS_THERE)
    page.wait_for_timeout(500)
    assert page.evaluate(WAITING) == page.locator("details.solution").count() - 1


@pytest.mark.parametrize(
    ("key", "brings"), [("Control+c", False), ("Control+f", True), ("F3", True)]
)
def test_who_saves_data_gets_all_to_find_and_not_to_copy(page: Any, key: str, brings: bool) -> None:
    page.add_init_script(
        "Object.defineProperty(navigator, 'connection', { value: { saveData: true } })"
    )
    page.goto(PAGE)
    count = page.evaluate(WAITING)
    page.keyboard.press(key)
    if brings:
        expect(page, NONE_WAITING)
    else:
        page.wait_for_timeout(500)
        assert page.evaluate(WAITING) == count


def test_solution_of_an_older_edition_is_not_to_be_had(page: Any) -> None:
    page.route(SCRIPTS, lambda route: route.fulfill(status=404))
    page.goto(PAGE)
    summary(page).click()
    said = page.locator(f"#{SOLUTION} [role=status]")
    said.get_by_text("This page is of an older edition: reload it.").wait_for()


def test_browser_finds_what_is_in_closed_solutions(page: Any) -> None:
    """A link to a text uses the browser's search in the page; it opens what it finds."""
    page.goto(PAGE)
    page.locator("article h1").click()
    expect(page, NONE_WAITING)
    words = page.evaluate(
        f"{BOX}.querySelector('.sd-summary-content p').textContent.trim().match(/^[\\w ,]+/)[0]"
    )
    assert len(words) > 8
    page.evaluate(
        "([words]) => { const link = document.createElement('a'); link.id = 'there';"
        " link.href = '#:~:text=' + encodeURIComponent(words).replace(/-/g, '%2D');"
        " link.textContent = 'there'; document.querySelector('article h1').append(link); }",
        [words],
    )
    page.click("#there")
    expect(page, IS_OPEN)


def test_it_works_from_a_folder_of_files(browser: Any) -> None:
    page = browser.new_page()
    page.goto((SITE / PAGE).as_uri())
    summary(page).click()
    expect(page, f"{IS_OPEN} && {IS_THERE}")
    page.close()


def test_what_cannot_come_says_so_and_may_be_tried_again(page: Any) -> None:
    page.route(SCRIPTS, lambda route: route.abort())
    page.goto(PAGE)
    summary(page).click()
    status = page.locator(f"#{SOLUTION} [role=status]")
    status.wait_for(state="visible")
    assert "could not be loaded" in status.inner_text()
    assert page.locator(f"#{SOLUTION} a[data-solution]").is_visible()
    page.unroute(SCRIPTS)
    summary(page).click()
    assert not page.evaluate(IS_OPEN)
    summary(page).click()
    expect(page, f"{IS_OPEN} && {IS_THERE}")


def test_without_scripts_it_has_a_page_of_its_own(visit: Callable[..., Any]) -> None:
    page = visit(PAGE, java_script_enabled=False)
    summary(page).click()
    page.click(f"#{SOLUTION} .solution-link a")
    assert page.url.endswith(f"/solution-{SOLUTION.removesuffix('-solution')}.html")
    assert page.locator(f"#{SOLUTION} .katex").count()
    assert page.locator(f"#{SOLUTION} h1").is_visible()
    page.click("text=Back to the exercise")
    assert page.url.endswith(f"{PAGE}#{SOLUTION.removesuffix('-solution')}")


def test_page_of_its_own_follows_the_color_mode(page: Any) -> None:
    """The theme's scripts run there, without what they find on other pages."""
    path = f"{PAGE.removesuffix('.html')}/solution-{SOLUTION.removesuffix('-solution')}.html"
    page.goto(path, wait_until="load")
    themes = set()
    for _ in range(3):
        page.locator(".theme-switch-button").click()
        themes.add(page.evaluate("document.documentElement.dataset.theme"))
    assert themes == {"light", "dark"}
    assert page.locator(".highlight button.copybtn").count()
    back = page.locator(".solution-way-back a")
    assert [a.get_attribute("href") for a in back.all()][1:] == [
        f"../{PAGE.rpartition('/')[2]}",
        f"../{PAGE.rpartition('/')[2]}#{SOLUTION.removesuffix('-solution')}",
    ]


# -- What is in it --------------------------------------------------------------------------------


def test_figures_are_drawn_in_a_solution_that_came_late(page: Any) -> None:
    path, label = solution_with('class="plotly-figure"')
    page.goto(path)
    summary(page, f"{label}-solution").click()
    figure = page.locator(f"#{label}-solution .plotly-figure").first
    figure.scroll_into_view_if_needed()
    figure.locator("svg.main-svg").first.wait_for(state="attached")


def test_code_in_a_solution_that_came_late_can_be_copied(page: Any) -> None:
    page.goto(PAGE)
    summary(page).click()
    expect(page, IS_THERE)
    cell = page.locator(f"#{SOLUTION} .cell_input .highlight").first
    code = cell.locator("pre").text_content()
    assert len(code) > 20
    cell.hover()
    cell.locator("button.copybtn").click()
    expect(page, f"{BOX}.querySelector('button.copybtn.success')")
    assert page.evaluate("navigator.clipboard.readText()") == code.rstrip()


# -- Being led into it ----------------------------------------------------------------------------


def test_link_from_elsewhere_opens(page: Any) -> None:
    page.goto(f"{PAGE}#{SOLUTION}")
    expect(page, f"{IS_OPEN} && {IS_THERE}")


def test_link_from_elsewhere_into_a_solution_leads_to_the_place(page: Any) -> None:
    path, label = solution_with('id="erratum-')
    markup = (SITE / path).read_text(encoding="utf-8")
    box = re.search(rf'<details[^>]* id="{label}-solution".*?</details>', markup, re.DOTALL)
    anchor = re.search(r'id="(erratum-[^"]*)"', box[0])[1]
    page.goto(f"{path}#{anchor}")
    place = f"document.getElementById('{anchor}')"
    expect(page, f"{place}.matches('.admonition') && {place}.closest('details').open")
    expect(page, f"{place}.getBoundingClientRect().top >= 0")
    expect(page, f"{place}.getBoundingClientRect().top < innerHeight")


def test_link_on_the_page_opens_each_time(page: Any) -> None:
    page.goto(PAGE)
    link = f'<a id=there href="#{SOLUTION}">there</a>'
    page.evaluate(f"document.querySelector('article h1').innerHTML += '{link}'")
    for _ in range(2):
        page.click("#there")
        expect(page, IS_OPEN)
        page.evaluate(f"{IS_OPEN} = false")


# -- On paper -------------------------------------------------------------------------------------

PRINT = "document.querySelector('[data-action=print]').click()"
ALL_ON_PAPER = """
(selector) => {
  const parts = [...document.querySelectorAll(selector)];
  return parts.length > 0 && parts.every((part) => part.checkVisibility());
}
"""
ON_PAPER = """
(selector) => [...document.querySelectorAll(selector)].map((part) => part.checkVisibility())
"""
HINT = ".bd-article details:not(.solution) > div"


def ask_to_print(page: Any, **wanted: bool) -> None:
    """Press the theme's button and answer the question."""
    page.evaluate("void (window.print = () => { window.prints = (window.prints ?? 0) + 1 })")
    page.evaluate(PRINT)
    for kind, want in wanted.items():
        page.locator(f"dialog [name={kind}]").set_checked(want)
    page.locator("dialog button[value=print]").click()
    expect(page, "window.prints === 1")
    expect(page, "!document.querySelector('dialog.print-choice')")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")


def end_of_print(page: Any) -> None:
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.locator(".bd-article details[open]").count() == 0


def test_all_is_printed_if_the_reader_wants_it(page: Any) -> None:
    page.goto(PAGE)
    ask_to_print(page, hints=True, solutions=True)
    assert page.evaluate(NONE_WAITING)
    for part in (HINT, "details.solution > div"):
        page.wait_for_function(ALL_ON_PAPER, arg=part)
    end_of_print(page)


def test_solutions_stay_off_the_paper_and_the_choice_is_kept(page: Any) -> None:
    page.goto(PAGE)
    ask_to_print(page, hints=True, solutions=False)
    for _ in range(2):
        page.wait_for_function(ALL_ON_PAPER, arg=HINT)
        shown = page.evaluate(ON_PAPER, "details.solution")
        assert shown
        assert not any(shown)
        end_of_print(page)
        page.reload()
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")


def test_hints_stay_off_the_paper(page: Any) -> None:
    page.goto(PAGE)
    ask_to_print(page, hints=False, solutions=True)
    shown = page.evaluate(ON_PAPER, ".bd-article details:not(.solution, .solution *)")
    assert shown
    assert not any(shown)
    page.wait_for_function(ALL_ON_PAPER, arg="details.solution > div")
    end_of_print(page)


def test_who_cancels_prints_nothing(page: Any) -> None:
    page.goto(PAGE)
    page.evaluate("void (window.print = () => { window.prints = 1 })")
    page.evaluate(PRINT)
    page.locator("dialog.print-choice").wait_for(state="visible")
    page.keyboard.press("Escape")
    page.wait_for_timeout(200)
    assert page.locator("dialog.print-choice").count() == 0
    assert page.evaluate("window.prints") is None


# -- Links and buttons ----------------------------------------------------------------------------


def test_link_that_is_opened_elsewhere_leaves_the_page_where_it_is(page: Any) -> None:
    page.goto(f"{PAGE}#{SOLUTION}")
    expect(page, f"{IS_OPEN} && {IS_THERE}")
    page.evaluate("scrollTo({ top: document.body.scrollHeight, behavior: 'instant' })")
    page.wait_for_timeout(300)  # what comes near the screen is laid out only now
    before = page.evaluate("scrollY")
    page.evaluate(
        """() => {
          const click = new MouseEvent("click", { bubbles: true, cancelable: true, ctrlKey: true });
          document.querySelector("a[href^='#']").dispatchEvent(click);
        }"""
    )
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") == before


def test_button_for_the_full_screen_is_only_where_there_is_one(page: Any) -> None:
    button = page.locator("[data-action=fullscreen]")
    page.goto(PAGE)
    assert button.count() == 1
    page.add_init_script("delete Element.prototype.requestFullscreen")
    page.reload()
    assert button.count() == 0
