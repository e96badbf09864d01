"""The search in a real browser: what it answers first, how it is used, where an answer leads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from built import ROOT, SITE

HOME = "index.html"
PAGE = "attention/self-attention.html"
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"

# Queries, and where the first answer leads.
FIRST = {
    "13.19": "attention/self-attention.html#scaled-dot-product-attention",
    "exercise 11.2": "attention/multi-head.html#causal-mask",
    "35.3": "attention/positions.html#sinusoidal-similarity",
    "attention by hand": "attention/self-attention.html#attention-by-hand",
    "Perplexity": "gpt/tokens-and-perplexity.html#perplexity",
    "self-attention": "attention/self-attention.html",
    "F.scaled_dot_product_attention": (
        "attention/self-attention.html#scaled-dot-product-attention"
    ),
    "torch.nn.functional.scaled_dot_product_attention": (
        "attention/self-attention.html#scaled-dot-product-attention"
    ),
    "d_k": "attention/self-attention.html#attention-variance",
    "check.causal_mask": "attention/multi-head.html#causal-mask",
    "RMSNorm": "gpt/minimal-gpt.html#rmsnorm-swiglu",
    "do the least harm": (  # words of a hint
        "attention/self-attention.html#scaled-dot-product-attention-hint-3"
    ),
    "eight logical lines": (  # words of a solution
        "attention/self-attention.html#scaled-dot-product-attention-solution"
    ),
    "multihead": "attention/multi-head.html#multi-head-parameters",
    "why divide by sqrt(d)": "attention/self-attention.html#attention-variance",
    "causally masking": "attention/multi-head.html#causal-mask",
    "perplexty": "gpt/tokens-and-perplexity.html#perplexity",
    "scaled dot prodct atention": "attention/self-attention.html#scaled-dot-product-attention",
}
READY = "() => /result|Nothing/.test({status}) && !/still/.test({status})"
MARKED = "() => CSS.highlights.get('search-hit')?.size > 0"
MARKED_TEXT = """
() => [...CSS.highlights.get("search-hit")].map((range) => range.toString().toLowerCase())
"""
AXE_RUN = """
async () => {
  const run = { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"] };
  const { violations } = await axe.run(document, { runOnly: run });
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}
"""


def ready(page: Any, within: str = "dialog.search-dialog") -> None:
    """Wait until the index is there, solutions and all, and the answers with it."""
    status = f"document.querySelector('{within} [role=status]').textContent"
    page.wait_for_function(READY.format(status=status))


def ask(page: Any, query: str) -> Any:
    """Ask in the dialog and return the links of the answers."""
    if not page.locator("dialog.search-dialog[open]").count():
        page.keyboard.press("Control+k")
    box = page.locator("dialog.search-dialog")
    box.get_by_role("searchbox").fill(query)
    page.wait_for_timeout(150)  # it waits for the next letter
    ready(page)
    return box.locator("ol a")


def place(link: Any, site: str) -> str:
    address: str = link.evaluate("(link) => link.href")
    return address.removeprefix(site)


def test_first_answers(page: Any, site: str) -> None:
    page.goto(PAGE)
    page.keyboard.press("Control+k")
    first = {}
    for query in FIRST:
        answers = ask(page, query)
        first[query] = place(answers.first, site) if answers.count() else "nothing"
    assert first == FIRST


def test_nothing_is_loaded_before_the_search_is_opened(page: Any) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(PAGE, wait_until="load")
    page.wait_for_timeout(300)
    assert requests
    assert not [url for url in requests if "search" in url.rpartition("/")[2]]
    ask(page, "13.19")
    names = [url.rpartition("/")[2] for url in requests]
    assert len([name for name in names if "search" in name]) == 3


@pytest.mark.parametrize("path", [HOME, PAGE])
def test_button_opens_and_escape_returns_to_it(page: Any, path: str) -> None:
    page.goto(path)
    button = page.locator(".search-button__button:visible").first
    button.focus()
    page.keyboard.press("Enter")
    field = page.locator("dialog.search-dialog").get_by_role("searchbox")
    assert field.evaluate("(e) => e === document.activeElement")
    field.fill("13.19")
    page.keyboard.press("Escape")
    assert page.locator("dialog.search-dialog[open]").count() == 0
    assert button.evaluate("(e) => e === document.activeElement")


def test_by_keyboard_alone(page: Any, site: str) -> None:
    page.goto(HOME)
    answers = ask(page, "attention")
    assert answers.count() > 3
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert answers.nth(2).evaluate("(e) => e === document.activeElement")
    page.keyboard.press("ArrowUp")
    assert answers.nth(1).evaluate("(e) => e === document.activeElement")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("End")
    field = page.locator("dialog.search-dialog").get_by_role("searchbox")
    assert field.evaluate("(e) => e === document.activeElement")
    page.keyboard.type(" by hand")
    assert field.input_value() == "attention by hand"
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}{FIRST['attention by hand']}")


def test_number_of_answers_is_announced(page: Any) -> None:
    page.goto(HOME)
    answers = ask(page, "online softmax")
    status = page.locator("dialog.search-dialog [role=status]")
    assert status.text_content() == f"{answers.count()} results"
    ask(page, "qqqqqq")
    assert "Nothing found" in status.text_content()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("data/search-solutions.js", r"\d+ results\. The solutions could not be loaded; type to"),
        ("data/search-index.js", r"The search could not be loaded; type to try again\."),
        ("assets/search.*.js", r"The search could not be loaded; type to try again\."),
    ],
)
def test_what_fails_to_load_is_said_and_tried_again(
    page: Any, site: str, script: str, said: str
) -> None:
    pattern = f"{site}{script}"
    page.route(pattern, lambda route: route.abort())
    page.goto(PAGE)
    page.keyboard.press("Control+k")
    box = page.locator("dialog.search-dialog")
    status, field = box.locator("[role=status]"), box.get_by_role("searchbox")
    for query in ("attention", "attention by"):
        field.fill(query)
        page.wait_for_function(
            "([status, said]) => new RegExp(`^${said}`).test(status.textContent)",
            arg=[status.element_handle(), said],
        )
    page.unroute(pattern)
    answers = ask(page, "attention by hand")
    assert status.text_content() == f"{answers.count()} results"
    # However often it was tried, a key is heard once.
    page.keyboard.press("ArrowDown")
    assert answers.first.evaluate("(e) => e === document.activeElement")


@pytest.mark.parametrize("script", ["data/search-solutions.js", "assets/search.*.js"])
def test_page_of_an_older_edition_says_so(page: Any, site: str, script: str) -> None:
    page.route(f"{site}{script}", lambda route: route.fulfill(status=404))
    page.goto(PAGE)
    page.keyboard.press("Control+k")
    page.locator("dialog.search-dialog").get_by_role("searchbox").fill("attention")
    page.wait_for_function(
        "(status) => status.textContent.endsWith('This page is of an older edition: reload it.')",
        arg=page.locator("dialog.search-dialog [role=status]").element_handle(),
    )


def test_dialog_closes_for_a_click_beside_it_only(page: Any) -> None:
    page.goto(HOME)
    ask(page, "attention")
    box = page.locator("dialog.search-dialog")
    inside, field = box.bounding_box(), box.get_by_role("searchbox").bounding_box()
    middle = field["y"] + field["height"] / 2
    beside = 5, inside["y"] + inside["height"] / 2
    # In the margin around the field, and a text selected to beyond the dialog's edge.
    page.mouse.click(inside["x"] + 5, inside["y"] + 5)
    page.mouse.move(field["x"] + 60, middle)
    page.mouse.down()
    page.mouse.move(*beside)
    page.mouse.up()
    assert box.evaluate("(e) => e.open")
    page.mouse.click(*beside)
    assert not box.evaluate("(e) => e.open")


def test_shortcut_on_a_mac_is_the_one_that_deletes_nothing(page: Any) -> None:
    page.add_init_script("Object.defineProperty(navigator, 'platform', { value: 'MacIntel' })")
    page.goto(HOME)
    page.keyboard.press("Control+k")
    assert page.locator("dialog.search-dialog[open]").count() == 0
    page.keyboard.press("Meta+k")
    assert page.locator("dialog.search-dialog[open]").count() == 1


def test_answer_in_a_hint_opens_it_and_is_marked(page: Any, site: str) -> None:
    page.goto(HOME)
    ask(page, "do the least harm").first.click()
    page.wait_for_url(f"{site}{FIRST['do the least harm']}")
    page.wait_for_function(MARKED)
    label = FIRST["do the least harm"].partition("#")[2]
    hint = page.locator(f"#{label}")
    assert hint.evaluate("(e) => e.open")
    assert {"least", "harm"} <= set(page.evaluate(MARKED_TEXT))
    others = page.locator("details:not(.solution)[open]")
    assert others.count() == 1
    page.keyboard.press("Escape")
    assert page.evaluate("CSS.highlights.has('search-hit')") is False


@pytest.mark.parametrize("start", [HOME, PAGE])
def test_answer_in_a_solution_opens_it_and_is_on_the_screen(
    page: Any, site: str, start: str
) -> None:
    page.goto(start)
    ask(page, "eight logical lines").first.click()
    page.wait_for_url(f"{site}{FIRST['eight logical lines']}")
    page.wait_for_function(MARKED)
    assert {"eight", "logical", "lines"} <= set(page.evaluate(MARKED_TEXT))
    assert page.locator("dialog.search-dialog[open]").count() == 0
    page.wait_for_function(
        """() => {
          const [first] = CSS.highlights.get("search-hit");
          const { top, bottom } = first.getBoundingClientRect();
          return bottom > top && top >= 0 && bottom <= innerHeight;
        }"""
    )


def test_formula_and_code_are_marked(page: Any) -> None:
    page.goto(HOME)
    ask(page, "d_k").first.click()
    page.wait_for_function(MARKED)
    in_formula = """
    () => [...CSS.highlights.get("search-hit")].some(
      (range) => range.startContainer.parentElement.closest(".katex"))
    """
    assert page.evaluate(in_formula)


def test_answer_in_a_new_tab_is_marked_there(context: Any, page: Any) -> None:
    page.goto(HOME)
    answers = ask(page, "do the least harm")
    with context.expect_page() as opened:
        answers.first.click(modifiers=["Control"])
    opened.value.wait_for_function(MARKED)


def test_search_page_answers_what_its_address_asks(page: Any, site: str) -> None:
    page.goto("search.html?q=13.19")
    ready(page, ".search-page")
    answers = page.locator(".search-page ol a")
    assert place(answers.first, site) == FIRST["13.19"]
    assert page.locator(".search-pages").is_hidden()
    field = page.locator(".search-page").get_by_role("searchbox")
    field.fill("")
    page.locator(".search-pages").wait_for(state="visible")
    assert page.url == f"{site}search.html"
    field.fill("35.3")
    page.wait_for_url(f"{site}search.html?q=35.3")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}{FIRST['35.3']}")


def test_search_page_works_where_its_address_stays_as_it_is(page: Any) -> None:
    """Browsers refuse to change it in a folder of files, or a hundred times in half a minute."""
    page.add_init_script("history.replaceState = () => { throw new DOMException('no more') }")
    page.goto("search.html?q=13.19")
    ready(page, ".search-page")
    page.locator(".search-page").get_by_role("searchbox").fill("35.3")
    page.wait_for_function(
        "(place) => document.querySelector('.search-page ol a')?.href.endsWith(place)",
        arg=FIRST["35.3"],
    )
    assert page.locator(".search-pages").is_hidden()


def test_search_page_lists_the_pages_without_scripts(visit: Callable[..., Any], site: str) -> None:
    page = visit("search.html", java_script_enabled=False)
    assert page.locator(".search-page noscript p").is_visible()
    assert page.locator(".search-page").get_by_role("searchbox").is_hidden()
    links = page.locator(".search-pages a")
    listed = {place(link, site) for link in links.all()}
    assert {HOME, PAGE, "gpt/minimal-gpt.html"} <= listed
    assert all((SITE / path).is_file() for path in listed)


def test_in_a_folder_of_files(visit: Callable[..., Any]) -> None:
    page = visit((SITE / PAGE).as_uri())
    answers = ask(page, "35.3")
    address = Path(SITE / "attention/positions.html").as_uri() + "#sinusoidal-similarity"
    assert place(answers.first, "") == address


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_dialog_is_accessible_and_fits(page: Any, theme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    page.goto(PAGE)
    page.evaluate("(theme) => { document.documentElement.dataset.theme = theme }", theme)
    answers = ask(page, "attention")
    assert answers.count() > 3
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate(AXE_RUN) == []
    box = page.locator("dialog.search-dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert page.locator("dialog.search-dialog").evaluate("(e) => e.scrollWidth <= e.clientWidth")
    for target in [answers.first, page.locator(".search-form button")]:
        assert target.bounding_box()["height"] >= 24
