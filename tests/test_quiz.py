"""Quizzes: what the directive accepts and refuses, what it puts on the page, and the book's own."""

import re
from pathlib import Path

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

import catalogue
import quiz

ROOT = Path(__file__).parents[1]
QUIZZES = {
    (match[1], path.relative_to(ROOT / "book").with_suffix("").as_posix()): match[2]
    for path in sorted((ROOT / "book").rglob("*.md"))
    for match in re.finditer(
        r"^```\{quiz\} (\S+)\n(.*?)\n```$", path.read_text("utf-8"), re.S | re.M
    )
}

CONTENT = """\
- question: What is $x^2$ for
    $x = 2$?
  choices:
    - right: Four, `2 * 2`.
      why: Since *two* times two is.
    - wrong: >-
        Note: two.
      why: That is $x$.
- question: Which are even?
  choices:
    - right: 2
      why: Half of it is 1.
    - wrong: 3
      why: Half of it is 1.5.
    - right: 4
      why: Half of it is 2.
"""
CONF = """
extensions = ["myst_parser", "sphinx_design", "quiz"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
html_math_renderer = "mathjax"

def add_catalogue(app, env, names):
    import catalogue
    env.catalogue = {
        name: catalogue.Exercise(name, "1.1", page, "conceptual", 1, 10, ())
        for name, page in (("here", "index"), ("there", "other"))
    }

def setup(app):
    app.connect("env-before-read-docs", add_catalogue)
"""


# -- Reading --------------------------------------------------------------------------------------


def test_reads_questions_choices_and_lines() -> None:
    one, several = quiz.read(CONTENT)
    assert (one.number, one.text) == (1, quiz.Text("What is $x^2$ for $x = 2$?", 0))
    assert not one.several
    assert one.instruction == "Choose one."
    right, wrong = one.choices
    assert right == quiz.Choice(
        "A", True, quiz.Text("Four, `2 * 2`.", 3), quiz.Text("Since *two* times two is.", 4)
    )
    assert wrong.text == quiz.Text("Note: two.", 6)
    assert wrong.verdict == "B is wrong."
    assert several.several
    assert several.instruction == "Choose all that are right."
    assert [choice.text.text for choice in several.choices] == ["2", "3", "4"]


def test_one_right_choice_may_hide_among_checkboxes() -> None:
    content = CONTENT.replace("  choices", "  several: true\n  choices", 1)
    assert quiz.read(content)[0].several


CHOICES = "- question: Q\n  choices:\n"
WRONG = {
    "nothing": ("", 0, "expected a list of questions"),
    "not YAML": ("- question: Q\n  choices: [\n", 2, "not YAML"),
    "control character": ("- question: Q\n  choices: \x07", 1, "not YAML: special characters"),
    "no list": ("question: Q", 0, "expected a list of questions"),
    "no entry": ("- Q", 0, "expected an entry with question"),
    "no question": ("- choices: []", 0, "expected the text of a question"),
    "no choices": ("- question: Q", 0, "expected a list of choices"),
    "unknown": ("- question: Q\n  answer: A", 1, "'answer' is unknown"),
    "twice": ("- question: Q\n  question: A", 1, "'question' is given twice"),
    "one choice": (f"{CHOICES}    - {{right: A, why: B}}", 0, "1 choices, expected 2 to 6"),
    "both": (f"{CHOICES}    - {{right: A, wrong: A, why: B}}\n    - x", 2, "either"),
    "neither": (f"{CHOICES}    - {{why: B}}\n    - x", 2, "either"),
    "no reason": (f"{CHOICES}    - {{right: A}}\n    - x", 2, "'why'"),
    "empty reason": (f"{CHOICES}    - right: A\n      why: ''\n    - x", 3, "'why'"),
    "paragraphs": (
        f"{CHOICES}    - right: |\n        A\n\n        B\n      why: C\n    - x",
        3,
        "par",
    ),
    "all right": (f"{CHOICES}    - {{right: A, why: B}}\n    - {{right: C, why: D}}", 0, "2 of 2"),
    "none right": (f"{CHOICES}    - {{wrong: A, why: B}}\n    - {{wrong: C, why: D}}", 0, "0 of 2"),
    "same": (f"{CHOICES}    - {{right: A, why: B}}\n    - {{wrong: A, why: D}}", 0, "the same"),
    "several": ("- question: Q\n  several: 2", 1, "'several' is true"),
}


@pytest.mark.parametrize(("content", "line", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_a_quiz_is_refused(content: str, line: int, message: str) -> None:
    with pytest.raises(quiz.QuizError, match=re.escape(message)) as caught:
        quiz.read(content)
    assert caught.value.line == line


# -- On the page ----------------------------------------------------------------------------------


def build(folder: Path, body: str) -> tuple[str, str]:
    """Build a page; return its HTML and the warnings."""
    import io

    (folder / "conf.py").write_text(CONF, encoding="utf-8")
    (folder / "index.md").write_text(f"# Page\n\n{body}\n", encoding="utf-8")
    out, warnings = folder / "out", io.StringIO()
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            str(folder), str(folder), str(out), str(out / "d"), "html", None, None, warnings
        )
        app.build()
    return (out / "index.html").read_text(encoding="utf-8"), warnings.getvalue()


def test_page_has_fieldsets_and_the_answers_below(tmp_path: Path) -> None:
    page, warnings = build(tmp_path, f"```{{quiz}} here\n{CONTENT}```")
    assert not warnings
    assert (
        '<div class="quiz" id="here-quiz" role="group" aria-labelledby="here-quiz-title">' in page
    )
    assert 'id="here-quiz-title"' in page
    legends = re.findall(r"<fieldset[^>]*>\s*<legend>(.*?)</legend>", page, re.S)
    assert [re.sub(r"<[^>]*>", "", text) for text in legends] == [
        r"1. What is \(x^2\) for \(x = 2\)? Choose one.",
        "2. Which are even? Choose all that are right.",
    ]
    inputs = re.findall(
        r'<input type="(\w+)" name="([^"]+)" id="([^"]+)"([^>]*)><label for="(.*?)"', page
    )
    assert [kind for kind, *_ in inputs] == ["radio"] * 2 + ["checkbox"] * 3
    assert [name for _, name, *_ in inputs] == ["here-quiz-1"] * 2 + [
        f"here-quiz-2-{letter}-choice" for letter in "abc"
    ]
    assert all(own == labeled for _, _, own, _, labeled in inputs)
    assert ["data-right" in rest for *_, rest, _ in inputs] == [True, False, True, False, True]
    explanations = [re.search(r'data-explanation="([^"]+)"', rest)[1] for *_, rest, _ in inputs]
    assert explanations == [f"here-quiz-{n}" for n in ("1-a", "1-b", "2-a", "2-b", "2-c")]
    details = re.search(r"<details[^>]*quiz-answers.*?</details>", page, re.S)[0]
    assert "<summary" in details
    assert " open" not in details.split(">", 1)[0]
    assert re.findall(r'<li id="([^"]+)">', details) == explanations
    text = " ".join(re.sub(r"<[^>]*>", "", details).split())
    assert "A is right. Since two times two is." in text
    assert "B is wrong. Half of it is 1.5." in text


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            f"```{{quiz}} there\n{CONTENT}```",
            "expected the label of an exercise of this page (here)",
        ),
        (f"```{{quiz}} here\n{CONTENT}```\n\n" * 2, "the exercise has one already"),
        ("```{quiz} here\n- question: Q\n  choice: A\n```", "line 5: 'choice' is unknown"),
    ],
    ids=["other page", "second", "unknown field"],
)
def test_page_with_a_mistake_warns(tmp_path: Path, body: str, message: str) -> None:
    assert message in build(tmp_path, body)[1]


# -- The book's own -------------------------------------------------------------------------------


def test_book_has_quizzes_for_conceptual_exercises() -> None:
    exercises = catalogue.load(ROOT / "book/exercises.yml")
    conceptual = {
        (e.label, e.page)
        for e in exercises.values()
        if e.kind == "conceptual" and (ROOT / "book" / f"{e.page}.md").is_file()
    }
    assert len(conceptual) >= 4
    assert conceptual - QUIZZES.keys() == set()
    for label, page in QUIZZES:
        assert exercises[label].page == page


@pytest.mark.parametrize("key", QUIZZES, ids=lambda key: key[0])
def test_quizzes_of_the_book_are_whole(key: tuple[str, str]) -> None:
    questions = quiz.read(QUIZZES[key])
    assert 2 <= len(questions) <= 4
    for question in questions:
        # Who always picks the longest choice, or the first, should not pass.
        assert len(question.choices) >= 3
        assert all(len(choice.why.text) >= 20 for choice in question.choices)
        assert all(choice.why.text.endswith(".") for choice in question.choices)
    single = [q for q in questions if not q.several]
    assert len({c.letter for q in single for c in q.choices if c.right}) > 1 or len(single) < 3
