"""What a reader's network carries, and what moves before a reader's eyes: budgets of every page."""

from collections.abc import Iterator
from typing import Any

import pytest
from built import SITE, pages

import weigh

KIB = 1024
FIRST_VISIT = 300 * KIB  # without Plotly, which few pages need
SECOND_PAGE = 60 * KIB
SHIFT = 0.02
SCREENS = {"phone": {"width": 412, "height": 823}, "desktop": {"width": 1280, "height": 900}}

# The pages that readers read, and of those with one solution, for who has no scripts, the largest.
SOLUTIONS = [path for path in pages() if "/solution-" in path]
READ = [path for path in pages() if path not in SOLUTIONS]
LARGEST = sorted(SOLUTIONS, key=lambda path: (SITE / path).stat().st_size)[-1:]

WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, sources } of list.getEntries()) {
    shifts.push([value, sources.map(({ node }) => (node?.outerHTML ?? "?").slice(0, 120))]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""
# Down to the end and up again, faster than a reader, slow enough for frames.
THROUGH = """
async () => {
  const frame = () => new Promise(requestAnimationFrame);
  for (const step of [innerHeight * 0.8, -innerHeight * 0.8]) {
    for (let before = -1; before !== scrollY; ) {
      before = scrollY;
      scrollBy(0, step);
      for (let n = 0; n < 4; n++) await frame();
    }
  }
}
"""
# What moves while they are opened, a reader asked for.
OPEN_SOLUTIONS = """
async () => {
  await window.llmbook.solutions();
  for (const details of document.querySelectorAll("details.solution")) details.open = true;
  for (let n = 0; n < 6; n++) await new Promise(requestAnimationFrame);
  shifts.length = 0;
}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[weigh.CountingServer]:
    with weigh.counted(SITE) as server:
        yield server


@pytest.mark.parametrize("path", [*READ, *LARGEST])
def test_page_is_light(server: weigh.CountingServer, browser: Any, path: str) -> None:
    front = "index.html"
    before = front if path != front else "glossary.html"
    # The figures of a solution are fetched one by one, as its reader comes to them.
    weight = weigh.weigh(server, browser, path, before, to_the_end=path not in SOLUTIONS)
    assert weight.second is not None
    sent = [name for name, _ in weight.first.requests]
    assert f"/{path}" in sent
    assert len([name for name in sent if "/assets/site." in name and name.endswith(".js")]) == 1
    assert not weight.first.failed
    assert 10 * KIB < weight.first.bytes <= FIRST_VISIT, weight.first.requests
    assert weight.second.bytes <= SECOND_PAGE, weight.second.requests
    assert not weight.second.plotly
    # No solution comes before a reader asks for one, or does anything at all.
    assert not [name for name in sent if "/solution-" in name and name.endswith(".js")]


def test_all_that_is_sent_is_counted(server: weigh.CountingServer, browser: Any) -> None:
    context = browser.new_context(service_workers="block")
    sizes: dict[str, int] = {}

    def note(request: Any) -> None:
        size = request.sizes()
        path = "/" + request.url.removeprefix(server.address)
        sizes[path] = size["responseBodySize"] + size["responseHeadersSize"]

    context.on("requestfinished", note)
    load = weigh.load(server, context, "glossary.html")
    context.close()
    assert dict(load.requests) == pytest.approx(sizes, abs=4)
    assert load.bytes == sum(size for _, size in load.requests)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("path", [*READ, *LARGEST])
def test_nothing_moves(site: str, browser: Any, path: str, screen: str) -> None:
    context = browser.new_context(base_url=site, viewport=SCREENS[screen])
    page = context.new_page()
    page.add_init_script(WATCH_SHIFTS)
    page.goto(path, wait_until="load")
    page.wait_for_timeout(300)  # what scripts and fonts do to a page that is there
    page.evaluate(THROUGH)
    shifts = page.evaluate("shifts")
    context.close()
    assert sum(value for value, _ in shifts) < SHIFT, shifts


@pytest.mark.parametrize("path", [path.partition("/solution-")[0] + ".html" for path in LARGEST])
def test_nothing_moves_in_open_solutions(site: str, browser: Any, path: str) -> None:
    context = browser.new_context(base_url=site, viewport=SCREENS["phone"])
    page = context.new_page()
    page.add_init_script(WATCH_SHIFTS)
    page.goto(path, wait_until="load")
    page.evaluate(OPEN_SOLUTIONS)
    page.evaluate(THROUGH)
    assert page.locator("details.solution[open] .cell").count() > 2
    shifts = page.evaluate("shifts")
    context.close()
    assert sum(value for value, _ in shifts) < SHIFT, shifts


def test_watch_sees_what_moves(site: str, browser: Any) -> None:
    page = browser.new_page()
    page.add_init_script(WATCH_SHIFTS)
    page.goto(site, wait_until="load")
    page.evaluate("document.body.style.paddingTop = '300px'")
    page.wait_for_function("() => shifts.some(([value]) => value > 0.02)")
    page.close()


def test_jump_into_a_long_page_lands_where_it_should(site: str, browser: Any) -> None:
    """Exercises far from the screen have no layout yet, and only a guess for a height."""
    path = max(READ, key=lambda path: (SITE / path).read_text("utf-8").count('class="exercise '))
    context = browser.new_context(base_url=site, viewport=SCREENS["phone"])
    page = context.new_page()
    page.goto(path)
    labels = page.evaluate(
        "[...document.querySelectorAll('section:has(> .exercise)')].map((e) => e.id)"
    )
    assert len(labels) > 3
    for label in (labels[-1], labels[1], labels[-2]):
        page.goto(f"{path}#{label}")
        page.wait_for_timeout(300)
        top = page.locator(f"#{label} > h2").evaluate("e => e.getBoundingClientRect().top")
        assert 0 <= top < 200, label
    context.close()
