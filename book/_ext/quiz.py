"""Quizzes: questions with choices, and an explanation for every choice, right or wrong.

The argument of ``quiz`` is the label of an exercise of the same page; its content is YAML, one
entry a question::

    ```{quiz} label-of-the-exercise
    - question: What does the softmax of a row sum to?
      choices:
        - right: To 1.
          why: Each entry is divided by the sum of the row.
        - wrong: To the number of tokens.
          why: That is the sum over *all* rows.
    ```

A question with one right choice is answered by radio buttons; one with more, or with
``several: true``, by checkboxes. Every text is one paragraph of Markdown. On the page the answers
stand in a dropdown; ``site/scripts/quiz.js`` takes the explanations from there for its feedback.
``read`` is also what the notebooks are generated with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx_design.shared import create_component

from elements import element

LETTERS = "ABCDEF"
TITLE = "Quiz"
ANSWERS = "All answers of the quiz, with reasons"
CHOOSE_ONE, CHOOSE_ALL = "Choose one.", "Choose all that are right."


class QuizError(ValueError):
    """A quiz that is not complete; ``line`` counts from 0 at the first line of the content."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Text:
    """One paragraph of Markdown and the line of the content where it starts."""

    text: str
    line: int


@dataclass(frozen=True)
class Choice:
    letter: str
    right: bool
    text: Text
    why: Text

    @property
    def verdict(self) -> str:
        return f"{self.letter} is {'right' if self.right else 'wrong'}."


@dataclass(frozen=True)
class Question:
    number: int
    text: Text
    choices: tuple[Choice, ...]
    several: bool  # any number of choices may be taken

    @property
    def instruction(self) -> str:
        return CHOOSE_ALL if self.several else CHOOSE_ONE


# -- Reading --------------------------------------------------------------------------------------


def read(content: str) -> list[Question]:
    """Read the content of a directive.

    Raises
    ------
    QuizError
        If the content is not YAML, lacks a part or has one too many.
    """
    try:
        tree = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        raise QuizError(line, f"the content is not YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:  # a character that YAML does not know
        line = content.count("\n", 0, error.position)
        raise QuizError(line, f"the content is not YAML: {error.reason}") from None
    return [_question(n, node) for n, node in enumerate(_items(tree, "questions", 0), 1)]


def _items(node: yaml.Node | None, what: str, line: int) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise QuizError(node.start_mark.line if node else line, f"expected a list of {what}")
    return node.value


def _fields(node: yaml.Node, known: str) -> dict[str, yaml.Node]:
    line = node.start_mark.line
    if not isinstance(node, yaml.MappingNode):
        raise QuizError(line, f"expected an entry with {known}")
    fields: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = str(key.value)
        if name in fields or name not in re.findall(r"\w+", known):
            what = "given twice" if name in fields else f"unknown, expected {known}"
            raise QuizError(key.start_mark.line, f"{name!r} is {what}")
        fields[name] = value
    return fields


def _text(node: yaml.Node | None, what: str, line: int) -> Text:
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        raise QuizError(node.start_mark.line if node else line, f"expected {what}, one paragraph")
    line = node.start_mark.line + (node.style in ("|", ">"))
    if re.search(r"\n\s*\n", node.value.strip()):
        raise QuizError(line, f"{what} has more than one paragraph")
    return Text(" ".join(node.value.split()), line)


def _question(number: int, node: yaml.Node) -> Question:
    line = node.start_mark.line
    fields = _fields(node, "question, choices, several")
    several = fields.get("several")
    if several is not None and several.value != "true":
        raise QuizError(several.start_mark.line, "'several' is true or left out")
    text = _text(fields.get("question"), "the text of a question", line)
    items = _items(fields.get("choices"), "choices", line)
    if not 2 <= len(items) <= len(LETTERS):
        raise QuizError(line, f"{len(items)} choices, expected 2 to {len(LETTERS)}")
    choices = tuple(map(_choice, LETTERS, items))
    if len({choice.text.text for choice in choices}) < len(choices):
        raise QuizError(line, "two choices say the same")
    right = sum(choice.right for choice in choices)
    if right == 0 or (right == len(choices) and several is None):
        raise QuizError(line, f"{right} of {len(choices)} choices are right")
    return Question(number, text, choices, right > 1 or several is not None)


def _choice(letter: str, node: yaml.Node) -> Choice:
    line = node.start_mark.line
    fields = _fields(node, "right, wrong, why")
    if ("right" in fields) == ("wrong" in fields):
        raise QuizError(line, "a choice is either 'right' or 'wrong'")
    right = "right" in fields
    return Choice(
        letter,
        right,
        _text(fields["right" if right else "wrong"], "the text of a choice", line),
        _text(fields.get("why"), "'why', the explanation of a choice", line),
    )


# -- On the page ----------------------------------------------------------------------------------


class Quiz(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        label = self.arguments[0]
        here = [e.label for e in self.env.catalogue.values() if e.page == self.env.docname]
        seen = self.env.temp_data.setdefault("quizzes", set())
        if label not in here:
            raise self.error(
                f"quiz of {label!r}: expected the label of an exercise of this page "
                f"({', '.join(here) or 'none'})"
            )
        if label in seen:
            raise self.error(f"quiz of {label!r}: the exercise has one already")
        seen.add(label)
        try:
            questions = read("\n".join(self.content))
        except QuizError as error:
            raise self.error(f"quiz of {label!r}, line {self.line(error.line)}: {error}") from None
        name = f"{label}-quiz"
        answers = create_component(
            "dropdown",
            opened=False,
            type="dropdown",
            has_title=True,
            icon=None,
            chevron=None,
            container_classes=["sd-mb-3", "quiz-answers"],
            title_classes=[],
            body_classes=[],
            children=[
                nodes.rubric("", ANSWERS),
                *(part for question in questions for part in self.answers(question, name)),
            ],
        )
        node = element(
            "div",
            nodes.rubric("", TITLE, ids=[f"{name}-title"]),
            *(self.question(question, name) for question in questions),
            answers,
            class_="quiz",
            id=name,
            role="group",
            aria_labelledby=f"{name}-title",
        )
        return [node]

    def line(self, of_content: int) -> int:
        """Return the line of the page; the content starts after the fence and its options."""
        return self.lineno + self.content_offset + of_content + 1

    def inline(self, text: Text) -> list[nodes.Node]:
        children, messages = self.state.inline_text(text.text, self.line(text.line))
        return [*children, *messages]

    def question(self, question: Question, name: str) -> nodes.Node:
        legend = element(
            "legend",
            nodes.strong("", f"{question.number}."),
            " ",
            *self.inline(question.text),
            " ",
            nodes.inline("", question.instruction, classes=["quiz-instruction"]),
        )
        choices = (self.choice(choice, question, name) for choice in question.choices)
        return element("fieldset", legend, *choices, class_="quiz-question")

    def choice(self, choice: Choice, question: Question, name: str) -> nodes.Node:
        explanation = explanation_id(name, question, choice)
        answer = element(
            "input",
            type="checkbox" if question.several else "radio",
            # Radio buttons of one name exclude each other.
            name=f"{explanation}-choice" if question.several else f"{name}-{question.number}",
            id=f"{explanation}-input",
            data_explanation=explanation,
            **({"data_right": None} if choice.right else {}),
        )
        letter = nodes.strong("", f"{choice.letter}.")
        text = element("label", letter, " ", *self.inline(choice.text), for_=f"{explanation}-input")
        return element("div", answer, text, class_="quiz-choice")

    def answers(self, question: Question, name: str) -> Iterator[nodes.Node]:
        yield nodes.paragraph("", "", nodes.strong("", f"Question {question.number}"))
        listing = nodes.bullet_list()
        for choice in question.choices:
            paragraph = nodes.paragraph("", "", nodes.strong("", choice.verdict), nodes.Text(" "))
            paragraph += self.inline(choice.why)
            item = nodes.list_item("", paragraph, ids=[explanation_id(name, question, choice)])
            listing += item
        yield listing


def explanation_id(name: str, question: Question, choice: Choice) -> str:
    return f"{name}-{question.number}-{choice.letter.lower()}"


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("elements")
    app.add_directive("quiz", Quiz)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
