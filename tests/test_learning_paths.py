"""The paths of the front page, from the catalogue, and the figure's numbers."""

import math
import re
from pathlib import Path

import pytest

import catalogue
import front

ROOT = Path(__file__).parents[1]


def exercise(label: str, page: str = "part/page", needs: tuple[str, ...] = ()) -> object:
    return catalogue.Exercise(label, "1.1", page, "theory", 1, 25, needs)


EXERCISES = {
    e.label: e
    for e in (
        exercise("first"),
        exercise("second", needs=("first",)),
        exercise("third", "other/page", needs=("second", "fourth")),
        exercise("fourth", needs=("first",)),
    )
}


def load(tmp_path: Path, text: str) -> list[front.LearningPath]:
    file = tmp_path / "paths.yml"
    file.write_text(text, encoding="utf-8")
    return front.load(file, EXERCISES)


def path(fields: str) -> str:
    return f"one:\n  goal: Do it\n  able: Do all of it.\n  {fields}\n"


def test_what_an_exercise_needs_comes_before_it_and_once(tmp_path: Path) -> None:
    [found] = load(tmp_path, path("exercises: [third, second]"))
    assert [e.label for e in found.exercises] == ["first", "second", "fourth", "third"]
    assert found.minutes == 100
    assert found.size == "4 exercises · 1 h 40 min"


def test_pages_are_patterns_and_may_be_still_to_come(tmp_path: Path) -> None:
    [found] = load(tmp_path, path("pages: [other/*, later/*]"))
    assert found.exercises[-1].label == "third"
    assert load(tmp_path, path("pages: [later/*]")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (path("exercises: [fifth]"), "one: no exercise is called 'fifth'"),
        (path("exercise: [first]"), "one: expected goal, able, exercises or pages"),
        ("one: {goal: Do it, exercises: [first]}", "one: expected goal, able"),
        ("- one", "expected a mapping of names to paths"),
        ("one: [", "paths.yml: not valid YAML"),
        (path("exercises:"), "one: exercises is None, expected a list of texts"),
        (path("exercises: first"), "one: exercises is 'first', expected a list of texts"),
        (path("pages: [1]"), "one: pages is [1], expected a list of texts"),
        ("one: {goal: 5, able: All of it., pages: []}", "one: goal is 5, expected a text"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("minutes", "words"), [(5, "5 min"), (60, "1 h"), (61, "1 h 1 min"), (600, "10 h")]
)
def test_minutes_are_written_as_people_say_them(minutes: int, words: str) -> None:
    assert front.duration(minutes) == words


def test_the_books_paths_keep_the_order_of_needs() -> None:
    exercises = catalogue.load(ROOT / "book/exercises.yml")
    paths = front.load(ROOT / "book/paths.yml", exercises)
    assert len(paths) >= 6
    for found in paths:
        labels = [e.label for e in found.exercises]
        assert len(set(labels)) == len(labels)
        for position, e in enumerate(found.exercises):
            assert set(e.needs) <= set(labels[:position])


def test_every_exercise_of_the_book_is_on_a_path_or_on_a_page_with_one() -> None:
    exercises = catalogue.load(ROOT / "book/exercises.yml")
    paths = front.load(ROOT / "book/paths.yml", exercises)
    pages = {e.page for found in paths for e in found.exercises}
    assert pages == {e.page for e in exercises.values()}


def test_the_figures_weights_are_attention() -> None:
    torch = pytest.importorskip("torch")
    query = (1.2, -0.4)
    keys = torch.tensor(list(front.WORDS.values()), dtype=torch.float64)
    wanted = torch.softmax(keys @ torch.tensor(query, dtype=torch.float64) / math.sqrt(2), 0)
    assert list(front.weights(query).values()) == pytest.approx(wanted.tolist())
    assert list(front.weights((0, 0)).values()) == pytest.approx([0.2] * 5)


def test_the_drawing_shows_the_weights_of_its_first_query() -> None:
    angle = math.radians(front.DIRECTION)
    weights = front.weights((front.LENGTH * math.cos(angle), front.LENGTH * math.sin(angle)))
    markup = front.drawing()
    assert re.findall(r"<td>(\d+%)</td>", markup) == [front.percent(w) for w in weights.values()]
    widths = [float(w) for w in re.findall(r'stroke-width="([\d.]+)"', markup)]
    assert widths == pytest.approx([8 * w for w in weights.values()], abs=0.005)
    assert " style=" not in markup  # the content-security policy may forbid it
