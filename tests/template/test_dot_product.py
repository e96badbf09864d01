"""Tests of the template's check; a real one imports ``from llmbook import check`` instead."""

import pytest
import torch
from dot_product import dot_product


def by_loop(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    "answer",
    [lambda a, b: (a * b).sum(), torch.inner, lambda a, b: torch.einsum("i,i->", a, b), by_loop],
)
def test_right_answers_pass(answer):
    result = dot_product(answer)
    assert result.passed, repr(result)


@pytest.mark.parametrize(
    ("answer", "diagnosis"),
    [
        (lambda a, b: a * b, "add them up"),
        (torch.outer, "outer product"),
        (lambda a, b: (a + b).sum(), "not added"),
        (lambda a, b: torch.zeros(()), "three entries"),
    ],
)
def test_mistakes_are_named(answer, diagnosis):
    result = dot_product(answer)
    assert result.status == "failed"
    assert diagnosis in repr(result)


def test_placeholder_is_not_attempted():
    assert dot_product(...).status == "not attempted"
