"""Quizzes in a browser: what they say of right and wrong choices, to whom, and without scripts."""

from collections.abc import Callable
from typing import Any

import pytest
from built import page_with

QUIZ = 'class="quiz"'


@pytest.fixture
def page(visit: Callable[..., Any]) -> Any:
    page = visit(page_with(QUIZ))
    page.locator(".quiz-question > button").first.wait_for(state="attached")
    return page


def question(page: Any, kind: str) -> Any:
    return page.locator(f".quiz-question:has(input[type={kind}])").first


def explanation(page: Any, choice: Any) -> str:
    """The text of a choice's explanation, from the dropdown with all answers."""
    text: str = page.locator(f"#{choice.get_attribute('data-explanation')}").text_content()
    assert len(text.split()) > 4
    return " ".join(text.split())


def said(question: Any) -> str:
    return " ".join(question.locator(".quiz-feedback").text_content().split())


def test_wrong_choice_is_explained_and_the_right_one_not_given_away(page: Any) -> None:
    here = question(page, "radio")
    wrong = here.locator("input:not([data-right])").first
    right = here.locator("input[data-right]")
    wrong.check()
    here.locator(":scope > button").click()
    assert said(here).startswith("Not right.")
    assert explanation(page, wrong) in said(here)
    assert explanation(page, right) not in here.text_content()
    assert here.locator("[data-verdict]").count() == 1
    assert here.locator("[data-verdict=wrong] input").get_attribute("id") == wrong.get_attribute(
        "id"
    )


def test_right_choice_is_confirmed_with_all_explanations(page: Any) -> None:
    here = question(page, "radio")
    right = here.locator("input[data-right]")
    right.check()
    here.locator(":scope > button").click()
    assert said(here).startswith("Right.")
    assert explanation(page, right) in said(here)
    others = " ".join(here.locator(".quiz-others").text_content().split())
    for choice in here.locator("input:not([data-right])").all():
        assert explanation(page, choice) in others


def test_works_by_keyboard_says_so_and_keeps_the_focus(page: Any) -> None:
    here = question(page, "radio")
    feedback = here.locator(".quiz-feedback")
    assert feedback.get_attribute("role") == "status"
    assert feedback.get_attribute("aria-live") == "polite"
    assert said(here) == ""
    here.locator("input").first.focus()
    page.keyboard.press("Space")
    assert here.locator("input").first.is_checked()
    page.keyboard.press("ArrowDown")
    assert here.locator("input").nth(1).is_checked()
    page.keyboard.press("Tab")
    button = here.locator(":scope > button")
    focused = "e => e === document.activeElement"
    assert button.evaluate(focused)
    page.keyboard.press("Enter")
    assert "right" in said(here).lower()
    assert button.text_content() == "Try again"
    assert button.evaluate(focused)
    page.keyboard.press("Enter")
    assert button.text_content() == "Check"
    assert button.evaluate(focused)
    assert here.locator("input:checked").count() == 0
    assert here.locator("[data-verdict]").count() == 0
    assert here.locator(".quiz-others").text_content() == ""
    assert said(here) == "Choose again."


def test_another_choice_takes_back_what_was_said(page: Any) -> None:
    here = question(page, "radio")
    here.locator("input:not([data-right])").first.check()
    here.locator(":scope > button").click()
    here.locator("input[data-right]").check()
    assert said(here) == ""
    assert here.locator("[data-verdict]").count() == 0
    here.locator(":scope > button").click()
    assert said(here).startswith("Right.")


def test_nothing_chosen_is_no_answer(page: Any) -> None:
    here = question(page, "radio")
    here.locator(":scope > button").click()
    assert said(here) == "Choose an answer first."
    assert here.locator(":scope > button").text_content() == "Check"


def test_several_right_choices(page: Any) -> None:
    here = question(page, "checkbox")
    button = here.locator(":scope > button")
    right = here.locator("input[data-right]")
    wrong = here.locator("input:not([data-right])").first
    assert right.count() > 1
    right.first.check()
    button.click()
    assert said(here).startswith("Right so far, but not all of it.")
    assert explanation(page, right.nth(1)) not in here.text_content()
    wrong.check()
    button.click()
    assert said(here).startswith("Some are wrong, and some are missing.")
    for choice in right.all():
        choice.check()
    button.click()
    assert said(here).startswith("All the right ones, but not only those.")
    wrong.uncheck()
    button.click()
    assert said(here).startswith("Right.")
    for choice in right.all():
        assert explanation(page, choice) in said(here)


def test_explanations_are_copied_without_their_ids(page: Any) -> None:
    for here in page.locator(".quiz-question").all():
        for choice in here.locator("input").all():
            choice.check()
        here.locator(":scope > button").click()
    doubled = page.evaluate(
        "() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);"
        " return ids.filter((id, n) => ids.indexOf(id) !== n) }"
    )
    assert doubled == []


def test_controls_are_large_and_named(page: Any) -> None:
    here = question(page, "radio")
    assert here.locator("legend").text_content().strip()
    for label in here.locator("label").all():
        assert label.bounding_box()["height"] >= 24
        name = label.text_content()
        assert here.get_by_label(name, exact=True).count() == 1
    assert here.locator(":scope > button").bounding_box()["height"] >= 24


def test_answers_are_read_without_scripts(visit: Callable[..., Any]) -> None:
    page = visit(page_with(QUIZ), java_script_enabled=False)
    quiz = page.locator(".quiz").first
    assert quiz.locator("button").count() == 0
    answers = quiz.locator("details.quiz-answers")
    item = answers.locator("li").first
    assert not item.is_visible()
    answers.locator("summary").click()
    assert item.is_visible()
    assert answers.locator("li").count() == quiz.locator("input").count()
