"""The site by keyboard alone: every stop is seen and left again, and an exercise is gone through.

What a quiz, the search and the live cells do with single keys is tested beside them.
"""

from collections.abc import Callable
from typing import Any

import pytest
from built import ROOT

PAGE = "attention/self-attention.html"
EXERCISE = "fixed-state-bottleneck"
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"

# Where the focus is, and what is wrong with it there.
STOP = r"""
() => {
  const e = document.activeElement;
  if (!e || e === document.body || e === document.documentElement) return null;
  const faults = [];
  const style = getComputedStyle(e.closest(".cm-editor") ?? e); // an editor has a frame

  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = () => {
    for (let at = e.parentElement; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((channels(color)[3] ?? 1) > 0.5) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const [light, dark] = [style.outlineColor, behind()].map(luminance).sort((a, b) => b - a);
  if (style.outlineStyle !== "solid" || parseFloat(style.outlineWidth) < 2) {
    faults.push(`its outline is ${style.outlineStyle} ${style.outlineWidth}`);
  } else if ((light + 0.05) / (dark + 0.05) < 3) {
    faults.push(`its outline is ${style.outlineColor} on ${behind()}`);
  }
  if (!e.checkVisibility({ opacityProperty: true, visibilityProperty: true })) {
    faults.push("it is not visible");
  }

  // Some point of it is on the screen and under nothing else.
  const spots = [...e.getClientRects()].flatMap(({ left, right, top, bottom }) => [
    [(left + right) / 2, (top + bottom) / 2],
    [left + 2, top + 2], [right - 2, top + 2], [left + 2, bottom - 2], [right - 2, bottom - 2],
  ]);
  const hit = ([x, y]) => {
    const found = document.elementFromPoint(x, y);
    return found && (e.contains(found) || found.contains(e));
  };
  if (!spots.some(hit)) faults.push("nothing of it can be seen");

  if (e.tabIndex > 0) faults.push(`its tabindex is ${e.tabIndex}`);
  window.stops ??= [];
  const name = e.outerHTML.replace(/\s+/g, " ").slice(0, 110);
  const again = window.stops.indexOf(e);
  if (again < 0) window.stops.push(e);
  return { name, again: again >= 0, faults: faults.map((fault) => `${name}: ${fault}`) };
}
"""
# What a keyboard must reach; of a group of choices, one.
MISSED = """
() => {
  const able = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  const seen = new Set(window.stops);
  const groups = new Set(window.stops.map((e) => e.type === "radio" && e.name));
  return [...document.querySelectorAll(able)]
    .filter((e) => !seen.has(e) && !e.disabled && e.tabIndex >= 0 && !e.closest("[inert]"))
    .filter((e) => e.checkVisibility({ visibilityProperty: true }))
    .filter((e) => !(e.type === "radio" && groups.has(e.name)))
    .map((e) => e.outerHTML.slice(0, 110));
}
"""
IN_ORDER = """
() => window.stops.slice(1).filter((e, n) =>
  !(window.stops[n].compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING))
  .map((e) => e.outerHTML.slice(0, 110))
"""
FOCUSED = "(e) => e === document.activeElement"


def go(page: Any, wanted: str, key: str = "Tab", most: int = 80) -> None:
    """Press a key until the focus is on what a selector names; look at each stop."""
    passed = []
    for _ in range(most):
        page.keyboard.press(key)
        stop = page.evaluate(STOP)
        assert stop, f"the focus left the page before it came to {wanted}: {passed}"
        assert not stop["faults"]
        if page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
            return
        passed.append(stop["name"])
    raise AssertionError(f"{most} times {key} did not lead to {wanted}: {passed}")


def walk(page: Any, key: str) -> list[str]:
    """Press a key from one end of the page to the other; return what is wrong on the way."""
    faults: list[str] = []
    for _ in range(2000):
        page.keyboard.press(key)
        stop = page.evaluate(STOP)
        if stop is None or stop["again"]:
            break
        faults += stop["faults"]
    else:
        faults.append("there is no end")
    return faults


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("path", ["index.html", PAGE, "exercises/index.html"])
def test_every_stop_is_seen_and_left_again(
    visit: Callable[..., Any], path: str, viewport: dict[str, int], theme: str
) -> None:
    page = visit(path, viewport=viewport, color_scheme=theme)
    page.evaluate("window.llmbook.solutions()")
    assert walk(page, "Tab") == []
    assert page.evaluate("window.stops.length") > 20
    assert page.evaluate(IN_ORDER) == []
    assert page.evaluate(MISSED) == []
    page.evaluate("() => { window.stops = []; document.activeElement.blur(); }")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert walk(page, "Shift+Tab") == []
    assert page.evaluate(MISSED) == []


def test_what_is_opened_is_gone_through(visit: Callable[..., Any]) -> None:
    page = visit(PAGE, viewport=PHONE)
    page.evaluate("window.llmbook.solutions()")
    page.evaluate("document.querySelectorAll('details').forEach((box) => { box.open = true })")
    page.wait_for_function(  # figures have come where they are near
        "() => !document.querySelector('.plotly-control :disabled')"
        " || (scrollBy(0, 600), scrollY + innerHeight < document.body.scrollHeight - 600"
        " ? false : (scrollTo(0, 0), false))",
        polling=50,
    )
    assert walk(page, "Tab") == []
    assert page.evaluate(IN_ORDER) == []
    assert page.evaluate(MISSED) == []


def test_an_exercise_from_its_first_hint_to_its_mark(visit: Callable[..., Any]) -> None:
    page = visit(PAGE)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main-content"
    assert page.evaluate(STOP)["faults"] == []
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("!!document.activeElement.closest('#main-content')")

    done = f"#{EXERCISE} input[name='done:{EXERCISE}']"
    box = f"#{EXERCISE} details"
    go(page, done)
    for n in (1, 2):
        go(page, f"{box}:not(.solution) > summary")
        assert page.evaluate("document.activeElement.innerText").strip() == f"Hint {n}"
        page.keyboard.press("Enter" if n == 1 else "Space")
        hint = page.locator(f"{box}:not(.solution)").nth(n - 1)
        assert hint.evaluate("(e) => e.open")
        assert hint.locator("summary").evaluate(FOCUSED)

    choice = f"#{EXERCISE} .quiz-question input"
    go(page, choice)
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.checked")
    go(page, f"#{EXERCISE} .quiz-question > button")
    page.keyboard.press("Enter")
    page.wait_for_function(
        f"() => document.querySelector('#{EXERCISE} .quiz-feedback').textContent.trim()"
    )

    solution = f"#{EXERCISE}-solution"
    go(page, f"{solution} > summary")
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => !document.querySelector('{solution} a[data-solution]')")
    assert page.locator(f"{solution} > summary").evaluate(FOCUSED)
    go(page, f"{solution} > .sd-summary-content *", most=1)
    go(page, f"{solution} > summary", "Shift+Tab", most=1)
    page.keyboard.press("Enter")
    assert not page.locator(solution).evaluate("(e) => e.open")

    go(page, done, "Shift+Tab")
    page.keyboard.press("Space")
    assert page.locator(done).is_checked()
    assert page.locator(done).evaluate(FOCUSED)
    page.reload()
    assert page.locator(done).is_checked()


def test_code_is_edited_and_left(visit: Callable[..., Any]) -> None:
    """Escape lets Tab leave the editor, which says so."""
    page = visit(PAGE)
    go(page, ".cell.tag_your-turn > .live-button")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.matches('.cm-content')")
    code = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Escape")
    go(page, ".live-tools button", most=1)
    go(page, ".cm-content", "Shift+Tab", most=1)
    assert page.evaluate("document.activeElement.textContent") == code


def test_search_gives_the_focus_back(visit: Callable[..., Any]) -> None:
    page = visit(PAGE)
    hint = f"#{EXERCISE} details:not(.solution) > summary"
    page.locator(hint).first.focus()
    page.keyboard.press("Control+k")
    field = page.locator("dialog.search-dialog").get_by_role("searchbox")
    assert field.evaluate(FOCUSED)
    page.keyboard.type("softmax")
    results = page.locator("dialog.search-dialog ol a")
    results.first.wait_for()
    page.keyboard.type("es")
    page.evaluate(
        "document.querySelector('dialog.search-dialog ol a').focus()"
    )  # before the answer
    page.wait_for_function("() => document.querySelector('dialog.search-dialog ol mark')")
    page.wait_for_timeout(200)
    assert results.first.evaluate(FOCUSED)
    for _ in range(40):  # it goes round, and never to the page behind
        page.keyboard.press("Tab")
        stop = page.evaluate(STOP)
        assert stop is None or not stop["faults"]
        assert stop is None or page.evaluate("!!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    assert page.locator("dialog.search-dialog[open]").count() == 0
    assert page.locator(hint).first.evaluate(FOCUSED)


def test_theme_is_switched(visit: Callable[..., Any]) -> None:
    page = visit(PAGE)
    go(page, ".theme-switch-button")
    seen = []
    for _ in range(3):
        page.keyboard.press("Enter")
        seen.append(page.evaluate("document.documentElement.dataset.theme"))
        assert page.evaluate(STOP)["faults"] == []
    assert set(seen) == {"light", "dark"}
    assert page.locator(".theme-switch-button").evaluate(FOCUSED)


@pytest.mark.parametrize("which", ["primary", "secondary"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_sidebar_on_a_phone(visit: Callable[..., Any], which: str, theme: str) -> None:
    page = visit(PAGE, viewport=PHONE, color_scheme=theme)
    toggle = f".{which}-toggle"
    dialog = page.locator(f"#pst-{which}-sidebar-modal")
    go(page, toggle)
    page.keyboard.press("Enter")
    dialog.locator("a").first.wait_for(state="visible")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run('dialog[open]').then(({ violations }) => violations)")
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found] == []
    names = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        stop = page.evaluate(STOP)
        if stop is None:
            continue  # the browser's own controls
        assert not stop["faults"]
        assert page.evaluate("!!document.activeElement.closest('dialog')")
        names.add(stop["name"])
    assert len(names) > 5
    page.keyboard.press("Escape")
    assert not dialog.evaluate("(e) => e.open")
    page.wait_for_function(
        "(toggle) => document.activeElement.matches(toggle)", arg=toggle, timeout=5000
    )


def test_button_of_a_sidebar_says_whether_it_is_shown(visit: Callable[..., Any]) -> None:
    page = visit(PAGE)
    go(page, ".primary-toggle")
    for shown in ("false", "true"):
        page.keyboard.press("Enter")
        page.locator(f".primary-toggle[aria-expanded={shown}]").wait_for()
    page.set_viewport_size(PHONE)
    for which in ("primary", "secondary"):
        page.locator(f".{which}-toggle[aria-expanded=false]").wait_for()


def test_menu_of_the_page(visit: Callable[..., Any]) -> None:
    page = visit(PAGE)
    button = ".dropdown-download-buttons > button"
    go(page, button)
    page.keyboard.press("Enter")
    assert page.locator(button).get_attribute("aria-expanded") == "true"
    for key in ("ArrowDown", "ArrowDown", "ArrowUp"):
        go(page, ".dropdown-download-buttons .dropdown-item", key, most=1)
    page.keyboard.press("Escape")
    assert page.locator(button).get_attribute("aria-expanded") == "false"
    assert page.locator(button).evaluate(FOCUSED)


def test_asking_to_print_gives_the_focus_back(visit: Callable[..., Any]) -> None:
    page = visit(PAGE)
    go(page, ".dropdown-download-buttons > button")
    page.keyboard.press("Enter")
    go(page, "[data-action=print]", "ArrowDown", most=5)
    page.keyboard.press("Enter")
    page.locator("dialog.print-choice").wait_for()
    for _ in range(5):  # round, by the browser's own controls
        page.keyboard.press("Tab")
        stop = page.evaluate(STOP)
        assert stop is None or not stop["faults"]
    page.keyboard.press("Escape")
    page.locator("dialog.print-choice").wait_for(state="detached")
    assert page.locator(".dropdown-download-buttons > button").evaluate(FOCUSED)
    assert page.evaluate(STOP)["faults"] == []
