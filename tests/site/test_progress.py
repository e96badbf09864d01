"""Marks on exercises: made on the page, kept in the browser, shown everywhere, saved and loaded."""

import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from built import ROOT

import catalogue

CATALOGUE = catalogue.load(ROOT / "book/exercises.yml")
PAGE, EXERCISES = next(catalogue.by_page(CATALOGUE))
FIRST, SECOND = EXERCISES[:2]
HTML = f"{PAGE}.html"
INDEX = "exercises/index.html"

KEPT = "JSON.parse(localStorage.getItem('llmbook'))"
NOTHING_KEPT = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})"
NO_ROOM = "Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError'); }"
DAY = "2026-01-31"
SHIFT = """
() => new Promise((resolve) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const { value, hadRecentInput } of list.getEntries()) sum += hadRecentInput ? 0 : value;
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve(sum), 300);
})
"""


def box(page: Any, exercise: catalogue.Exercise, mark: str = "done") -> Any:
    return page.locator(f'[name="{mark}:{exercise.label}"]')


def keep(page: Any, done: dict[str, str], later: dict[str, str] | None = None) -> None:
    """Have the browser keep marks before a page is opened."""
    record = json.dumps({"version": 1, "done": done, "later": later or {}})
    page.goto("bibliography.html")
    page.evaluate("(record) => localStorage.setItem('llmbook', record)", record)


def wait_for_text(page: Any, selector: str, text: str) -> None:
    found = page.locator(selector, has_text=re.compile(text))
    found.first.wait_for(state="attached")


# -- On the page of the exercise ------------------------------------------------------------------


def test_each_exercise_has_two_boxes_beside_its_badges(page: Any) -> None:
    page.goto(HTML)
    for exercise in EXERCISES:
        for word in "Done", "Come back later":
            name = f"{word}: Exercise {exercise.source}"
            found = page.get_by_role("checkbox", name=name, exact=True)
            assert found.count() == 1
            found.scroll_into_view_if_needed()  # far from the screen nothing is laid out
            assert found.is_visible()
            assert not found.is_checked()
            size = found.locator("xpath=..").bounding_box()
            assert size["height"] >= 24
        statement = page.locator(f'.exercise[data-label="{exercise.label}"]')
        assert statement.locator(".exercise-badges input").count() == 2


def test_marks_are_kept_with_their_day(page: Any) -> None:
    page.goto(HTML)
    before = date.today()
    box(page, FIRST).check()
    box(page, SECOND, "later").check()
    kept = page.evaluate(KEPT)
    assert kept.keys() == {"version", "done", "later"}
    assert kept["version"] == 1
    assert list(kept["done"]) == [FIRST.label]
    assert list(kept["later"]) == [SECOND.label]
    assert before <= date.fromisoformat(kept["done"][FIRST.label]) <= date.today()
    page.reload()
    assert box(page, FIRST).is_checked()
    assert not box(page, FIRST, "later").is_checked()
    assert box(page, SECOND, "later").is_checked()
    box(page, FIRST).uncheck()
    assert page.evaluate(KEPT)["done"] == {}


def test_who_has_done_it_need_not_come_back_but_may(page: Any) -> None:
    page.goto(HTML)
    box(page, FIRST, "later").check()
    box(page, FIRST).check()
    assert not box(page, FIRST, "later").is_checked()
    box(page, FIRST, "later").check()
    assert box(page, FIRST).is_checked()


def test_boxes_work_by_keyboard(page: Any) -> None:
    page.goto(HTML)
    box(page, FIRST).focus()
    page.keyboard.press("Space")
    assert box(page, FIRST).is_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert box(page, FIRST, "later").is_checked()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) != "none"


def test_sidebar_counts_only_for_who_has_marked(page: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.goto(HTML, wait_until="load")
    assert page.locator(".page-progress").count() == 0
    assert not [url for url in asked if url.endswith("exercises.js")]
    box(page, FIRST).check()
    of_pages = {p: len(e) for p, e in catalogue.by_page(CATALOGUE)}
    page.locator(".page-progress").first.wait_for(state="attached")
    assert page.locator(".bd-docs-nav .page-progress").count() == len(of_pages)
    here = page.locator(".bd-docs-nav a.current .page-progress")
    assert here.locator("[aria-hidden]").text_content() == f"1/{len(EXERCISES)}"
    assert f"(1 of {len(EXERCISES)} exercises done)" in here.text_content()
    shown = page.locator(".bd-docs-nav .page-progress [aria-hidden]").all_text_contents()
    assert shown == [f"{int(p == PAGE)}/{n}" for p, n in of_pages.items()]
    box(page, FIRST).uncheck()
    assert here.is_hidden()


def test_finished_page_is_told_apart(page: Any) -> None:
    keep(page, {e.label: DAY for e in EXERCISES})
    page.goto(HTML)
    page.locator(".bd-docs-nav a.current .page-progress.all-done").wait_for()
    assert page.locator(".page-progress.all-done").count() == 1


def test_contents_of_the_page_show_the_marks(page: Any) -> None:
    page.goto(HTML)
    link = page.locator(f'nav.page-toc a[href="#{FIRST.label}"]')
    sign = "(e) => getComputedStyle(e, '::after').content"
    assert link.evaluate(sign) == "none"
    box(page, FIRST).check()
    assert "✓" in link.evaluate(sign)
    assert page.locator("nav.page-toc a[data-marked]").count() == 1


def test_nothing_moves_when_the_script_comes(page: Any) -> None:
    keep(page, {e.label: DAY for e in EXERCISES})
    for path in HTML, INDEX:
        page.goto(path, wait_until="load")
        page.locator('[name^="done:"]').first.wait_for(state="attached")
        assert page.evaluate(SHIFT) < 0.02


# -- Several tabs ---------------------------------------------------------------------------------


def test_other_tabs_follow(context: Any, page: Any) -> None:
    page.goto(HTML)
    other = context.new_page()
    other.goto(INDEX)
    box(page, FIRST).check()
    other.locator(f'[name="done:{FIRST.label}"]:checked').wait_for()
    wait_for_text(other, ".total", f"^1 of {len(CATALOGUE)} done")
    box(other, SECOND, "later").check()
    page.locator(f'[name="later:{SECOND.label}"]:checked').wait_for()
    kept = page.evaluate(KEPT)
    assert (list(kept["done"]), list(kept["later"])) == ([FIRST.label], [SECOND.label])
    other.evaluate("localStorage.clear()")
    page.locator(f'[name="done:{FIRST.label}"]:not(:checked)').wait_for()


def test_a_tab_that_has_heard_nothing_overwrites_nothing(page: Any) -> None:
    page.goto(HTML)
    # The event goes to other tabs only, so this one does not know.
    record = json.dumps({"version": 1, "done": {SECOND.label: DAY}, "later": {}})
    page.evaluate("(record) => localStorage.setItem('llmbook', record)", record)
    assert not box(page, SECOND).is_checked()
    box(page, FIRST).check()
    assert page.evaluate(KEPT)["done"].keys() == {FIRST.label, SECOND.label}
    assert box(page, SECOND).is_checked()


def test_page_from_the_back_button_reads_anew(page: Any) -> None:
    page.goto(HTML)
    record = json.dumps({"version": 1, "done": {SECOND.label: DAY}, "later": {}})
    page.evaluate("(record) => localStorage.setItem('llmbook', record)", record)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    assert box(page, SECOND).is_checked()


# -- The picture of progress ----------------------------------------------------------------------


def parts() -> dict[str, list[str]]:
    """Return the labels of each part's exercises."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    pages = {p: [e.label for e in exercises] for p, exercises in catalogue.by_page(CATALOGUE)}
    found = {
        part["caption"]: [
            label for chapter in part["chapters"] for label in pages.get(chapter["file"], [])
        ]
        for part in toc["parts"]
    }
    return {caption: labels for caption, labels in found.items() if labels}


def test_progress_by_part_in_words_and_as_a_picture(page: Any) -> None:
    labels, *others = parts().values()
    keep(page, dict.fromkeys(labels[:3], DAY), {labels[4]: DAY})
    page.goto(INDEX)
    assert sum(len(e) for e in parts().values()) == len(CATALOGUE)
    share = 300 // len(CATALOGUE)
    wait_for_text(
        page, ".total", rf"^3 of {len(CATALOGUE)} done \({share}%\), 1 to come back to\.$"
    )
    items = page.locator(".progress-panel li")
    assert items.locator("a").all_text_contents() == list(parts())
    counts = items.locator(".count").all_text_contents()
    assert counts[0] == f"3 of {len(labels)} done, 1 to come back to"
    assert counts[1:] == [f"0 of {len(e)} done" for e in others]
    states = items.first.locator(".bar b").evaluate_all("(bs) => bs.map((b) => b.dataset.state)")
    expected = ["done"] * 3 + ["open", "later"] + ["open"] * len(labels)
    assert states == expected[: len(labels)]
    # Each state looks different, and not by its color alone.
    looks = items.first.locator(".bar b").evaluate_all(
        "(bs) => bs.map((b) => getComputedStyle(b).background)"
    )
    assert len(set(looks)) == 3
    assert "gradient" in looks[4]


# -- To and from a file ---------------------------------------------------------------------------


def test_saved_file_holds_all_and_loads_elsewhere(
    page: Any, visit: Callable[..., Any], tmp_path: Path
) -> None:
    keep(page, {FIRST.label: DAY}, {SECOND.label: DAY})
    page.goto(INDEX)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save to a file").click()
    name = download.value.suggested_filename
    assert re.fullmatch(r"llm-workbook-progress-\d{4}-\d\d-\d\d\.json", name)
    assert name in page.locator(".message").text_content()
    file = tmp_path / name
    download.value.save_as(file)
    assert json.loads(file.read_text("utf-8")) == {
        "version": 1,
        "done": {FIRST.label: DAY},
        "later": {SECOND.label: DAY},
    }

    other = visit(INDEX)
    with other.expect_file_chooser() as chooser:
        other.get_by_role("button", name="Load from a file").click()
    chooser.value.set_files(file)
    wait_for_text(other, ".message", "1 exercise done, 1 to come back to")
    assert box(other, FIRST).is_checked()
    assert other.evaluate(KEPT) == page.evaluate(KEPT)


@pytest.fixture
def load_file(page: Any, tmp_path: Path) -> Callable[[str], str]:
    def load(text: str) -> str:
        file = tmp_path / "mine.json"
        file.write_text(text, encoding="utf-8")
        page.locator(".message").evaluate("(e) => e.replaceChildren()")
        page.locator('.progress-tools input[type="file"]').set_input_files(file)
        page.wait_for_function("() => document.querySelector('.message').textContent")
        message: str = page.locator(".message").text_content()
        return message

    return load


def test_loading_adds_to_what_is_there(page: Any, load_file: Callable[[str], str]) -> None:
    third = EXERCISES[2]
    keep(page, {FIRST.label: "2026-02-01", SECOND.label: "2026-02-01"})
    page.goto(INDEX)
    done = {FIRST.label: "2026-01-01", SECOND.label: "2026-03-01", "of-another-book": DAY}
    message = load_file(json.dumps({"version": 1, "done": done, "later": {third.label: DAY}}))
    assert "3 exercises done, 1 to come back to" in message
    assert "1 exercise of it is not in this book" in message
    kept = page.evaluate(KEPT)
    assert kept["done"] == {
        FIRST.label: "2026-01-01",
        SECOND.label: "2026-02-01",
        "of-another-book": DAY,
    }
    assert kept["later"] == {third.label: DAY}
    wait_for_text(page, ".total", f"^2 of {len(CATALOGUE)} done.*, 1 to come back")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON"),
        ("<html>", "it is not JSON"),
        ("[]", "names no version"),
        ('{"done": {}, "later": {}}', "names no version"),
        ('{"version": "1", "done": {}, "later": {}}', 'version is "1", expected 1'),
        ('{"version": 2, "done": {}, "later": {}}', "newer edition"),
        ('{"version": 1, "done": {}}', "“later” is missing"),
        ('{"version": 1, "done": [], "later": {}}', "“done” is missing, or is no list"),
        ('{"version": 1, "done": {"A b": "2026-01-01"}, "later": {}}', "“A b” in “done”"),
        ('{"version": 1, "done": {"__proto__": "2026-01-01"}, "later": {}}', "“__proto__”"),
        ('{"version": 1, "done": {"a": "soon"}, "later": {}}', 'is "soon", expected one like'),
        ('{"version": 1, "done": {}, "later": {"a": "2026-02-30"}}', 'is "2026-02-30"'),
        ('{"version": 1, "done": {"a": 20260101}, "later": {}}', "is 20260101"),
        (" " * (1 << 21), "larger than such a file can be"),
    ],
)
def test_wrong_file_is_refused_and_says_why(
    page: Any, load_file: Callable[[str], str], text: str, reason: str
) -> None:
    keep(page, {FIRST.label: DAY})
    page.goto(INDEX)
    message = load_file(text)
    assert message.startswith("“mine.json” was not loaded: ")
    assert reason in message
    assert page.evaluate(KEPT) == {"version": 1, "done": {FIRST.label: DAY}, "later": {}}


def test_erasing_asks_first(page: Any) -> None:
    keep(page, {FIRST.label: DAY}, {SECOND.label: DAY})
    page.goto(INDEX)
    before = page.evaluate(KEPT)
    erase = page.locator('[data-do="reset"]')
    question = page.get_by_role("dialog", name="Erase all marks that this browser keeps?")
    for keep_them in (
        lambda: page.keyboard.press("Escape"),
        lambda: page.keyboard.press("Enter"),  # on the first button, which keeps them
        lambda: question.get_by_role("button", name="Keep them").click(),
    ):
        erase.click()
        question.wait_for()
        keep_them()
        question.wait_for(state="hidden")
        assert page.evaluate(KEPT) == before
        assert page.evaluate("document.activeElement.dataset.do") == "reset"
    erase.click()
    question.get_by_role("button", name="Erase").click()
    wait_for_text(page, ".message", "All marks are erased")
    assert page.evaluate(KEPT) == {"version": 1, "done": {}, "later": {}}
    assert not box(page, FIRST).is_checked()
    wait_for_text(page, ".total", f"^0 of {len(CATALOGUE)} done")


# -- Browsers that keep nothing, or something else ------------------------------------------------


@pytest.mark.parametrize("hindrance", [NOTHING_KEPT, NO_ROOM])
def test_without_storage_marks_last_for_the_page_and_a_note_says_so(
    page: Any, hindrance: str
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.add_init_script(hindrance)
    page.goto(HTML)
    box(page, FIRST).check()
    box(page, SECOND).check()
    assert box(page, FIRST).is_checked()
    notes = page.locator(".progress-note:not(:empty)")
    assert notes.count() == 2
    assert notes.first.is_visible()
    assert "does not let the site keep anything" in notes.first.text_content()
    wait_for_text(page, ".bd-docs-nav a.current .page-progress", f"2/{len(EXERCISES)}")
    page.goto(INDEX)
    box(page, FIRST).check()
    wait_for_text(page, ".progress-panel .progress-note", "does not let the site keep anything")
    wait_for_text(page, ".total", f"^1 of {len(CATALOGUE)} done")
    with page.expect_download() as download:  # what is marked can be saved all the same
        page.get_by_role("button", name="Save to a file").click()
    saved = json.loads(download.value.path().read_text("utf-8"))
    assert list(saved["done"]) == [FIRST.label]
    assert not errors


@pytest.mark.parametrize("kept", ["{", '{"version": 1}', '"text"'])
def test_damaged_record_is_told_and_replaced_by_the_next_mark(page: Any, kept: str) -> None:
    page.goto("bibliography.html")
    page.evaluate("(kept) => localStorage.setItem('llmbook', kept)", kept)
    page.goto(INDEX)
    wait_for_text(page, ".progress-panel .progress-note", "cannot be read")
    assert page.evaluate("localStorage.getItem('llmbook')") == kept
    box(page, FIRST).check()
    assert list(page.evaluate(KEPT)["done"]) == [FIRST.label]
    assert page.locator(".progress-panel .progress-note").text_content() == ""


def test_record_of_a_newer_edition_is_left_alone(page: Any) -> None:
    kept = '{"version": 2, "new": true}'
    page.goto("bibliography.html")
    page.evaluate("(kept) => localStorage.setItem('llmbook', kept)", kept)
    page.goto(INDEX)
    box(page, FIRST).check()
    assert box(page, FIRST).is_checked()
    wait_for_text(page, ".progress-panel .progress-note", "newer edition")
    assert page.evaluate("localStorage.getItem('llmbook')") == kept


def test_without_scripts_there_is_nothing_that_would_not_work(visit: Callable[..., Any]) -> None:
    page = visit(HTML, java_script_enabled=False)
    assert page.locator(".exercise-progress").count() == len(EXERCISES)
    assert page.locator(".exercise-progress").first.is_hidden()
    page.goto(INDEX)
    assert page.locator(".progress-panel li").first.is_visible()
    count = page.locator(".progress-panel .count").first.text_content()
    assert count == f"{len(next(iter(parts().values())))} exercises"
    for hidden in ".progress-tools", ".bar", ".legend", ".total":
        assert page.locator(f".progress-panel {hidden}").first.is_hidden()
