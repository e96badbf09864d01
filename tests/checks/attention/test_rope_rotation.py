"""The check of exercise 13.16 takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check


def nested_lists(m):
    return [[math.cos(m), -math.sin(m)], [math.sin(m), math.cos(m)]]


def exponential(m):
    """The matrix exponential of m times the quarter turn."""
    return torch.linalg.matrix_exp(m * torch.tensor([[0.0, -1.0], [1.0, 0.0]]))


def columns(m):
    """The images of the two unit vectors, by complex multiplication."""
    images = np.array([1, 1j]) * np.exp(1j * m)
    return np.stack([images.real, images.imag])


def powers(m):
    """The turn by one radian, as often as needed."""
    return np.linalg.matrix_power(np.array(nested_lists(1)), m)


def symbolic(m):
    return sp.Matrix([[sp.cos(m), -sp.sin(m)], [sp.sin(m), sp.cos(m)]])


def rounded(m):
    return np.round(nested_lists(m), 3)


RIGHT = [nested_lists, exponential, columns, powers, symbolic, rounded]


@pytest.mark.parametrize("answer", RIGHT)
def test_right_matrices_pass(answer):
    result = check.rope_rotation(answer)
    assert result.status != "failed", result
    assert result.outcomes[0].status == "passed"


@pytest.mark.parametrize(
    "rest",
    [
        {"rotated": (-2.12, -0.71)},
        {"rotated": np.array(nested_lists(3)) @ [2, 1]},
        {"rotated": torch.tensor([[-2.1211], [-0.7078]])},
        {"rotated": sp.Matrix(symbolic(3) * sp.Matrix([2, 1]))},
        {"rotated": complex(-2.1211, -0.7078)},
        {"rotated": (2 + 1j) * np.exp(3j)},
        {"rotated": torch.tensor([2 + 1j]) * np.exp(3j)},
        {"position": -4},
        {"position": torch.tensor(-4.0)},
        {"position": Fraction(-8, 2)},
        {"rows": "b"},
        {"rows": "(B)"},
        {"nearest": 44},
        {"nearest": np.int64(44)},
        {"rotated": (-2.12, -0.71), "position": -4, "rows": "b", "nearest": 44},
    ],
)
def test_other_right_answers_pass(rest):
    result = check.rope_rotation(**rest)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(rest)
    assert check.rope_rotation(nested_lists, **rest).status != "failed"


def of(rows):
    return lambda m: rows(math.cos(m), math.sin(m))


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (of(lambda c, s: [[c, s], [-s, c]]), "clockwise"),
        (lambda m: nested_lists(math.radians(m)), "degrees"),
        (lambda m: nested_lists(m + 1), "Off by one"),
        (lambda m: nested_lists(m - 1), "Off by one"),
        (lambda m: nested_lists(2 * math.pi * m), "Nothing is turned"),
        (lambda m: nested_lists(1), "does not depend on the position"),
        (lambda m: nested_lists(m / 10_000), "ten-thousandth"),
        (of(lambda c, s: [[c, s], [s, c]]), "minus sign is missing"),
        (of(lambda c, s: [[c, -s], [-s, c]]), "minus sign too many"),
        (of(lambda c, s: [[c, s], [s, -c]]), "reflection"),
        (of(lambda c, s: [[-c, s], [s, c]]), "reflection"),
        (of(lambda c, s: [[s, -c], [c, s]]), "exchanged"),
        (of(lambda c, s: [[s, c], [-c, s]]), "exchanged"),
        (of(lambda c, s: [[2 * c, -s], [s, c]]), "both columns have length 1"),
        (of(lambda c, s: [c, -s, s, c]), "should be (2, 2)"),
        (of(lambda c, s: [[c, -s]]), "should be (2, 2)"),
        (lambda m: nested_lists(abs(m)), "clockwise"),
    ],
)
def test_wrong_matrices_are_named(answer, named):
    result = check.rope_rotation(answer)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"rotated": np.array(nested_lists(-3)) @ [2, 1]}, "clockwise"),
        ({"rotated": np.array(nested_lists(math.radians(3))) @ [2, 1]}, "degrees"),
        ({"rotated": np.array(nested_lists(4)) @ [2, 1]}, "Off by one"),
        ({"rotated": np.array(nested_lists(2)) @ [2, 1]}, "Off by one"),
        ({"rotated": (-0.7078, -2.1211)}, "components are exchanged"),
        ({"rotated": (2, 1)}, "Nothing is turned"),
        ({"rotated": (3, 3)}, "leaves the length"),
        ({"rotated": (2.12, 0.71)}, "Both signs"),
        ({"rotated": (-2.1, -0.7)}, "two decimals"),
        ({"rotated": complex(2, 1)}, "Nothing is turned"),
        ({"rotated": 3}, "should be (2,)"),
        ({"position": 4}, "sign is not"),
        ({"position": 10}, "counted forward"),
        ({"position": 21}, "do not multiply"),
        ({"position": -7}, "second rotation alone"),
        ({"position": -10}, "two inverses"),
        ({"position": 2.28}, "not a mistake known here"),
        ({"rows": "a"}, "clockwise"),
        ({"rows": "c"}, "does not fit"),
        ({"rows": "d"}, "does not fit"),
        ({"rows": "e"}, "Choose one of"),
        ({"nearest": 0}, "begins at 1"),
        ({"nearest": 22}, "half a turn"),
        ({"nearest": 6}, "first turn"),
        ({"nearest": 7}, "number of turns"),
        ({"nearest": 19}, "nearer one"),
        ({"nearest": 25}, "nearer one"),
        ({"nearest": 88}, "another one comes nearer"),
        ({"nearest": 63}, "0.17 rad away"),
        ({"nearest": 6.283185307179586}, "whole numbers"),
        ({"nearest": 360}, "degrees"),
        ({"nearest": 710}, "ends at 100"),
    ],
)
def test_other_wrong_answers_are_named(answer, named):
    result = check.rope_rotation(**answer)
    assert result.status == "failed"
    assert named in result.messages


def test_every_other_position_is_told_how_far_off_it_is():
    for m in (m for m in range(1, 101) if m != 44):
        messages = check.rope_rotation(nearest=m).messages
        assert messages
        assert "not a mistake known here" not in messages
        assert "44" not in messages


def test_a_wrong_vector_that_follows_from_a_wrong_matrix():
    def sheared(m):
        return [[math.cos(m), -math.sin(m)], [math.sin(m), 2 * math.cos(m)]]

    result = check.rope_rotation(sheared, rotated=np.array(sheared(3)) @ [2, 1])
    assert "follows from your `rotation_matrix`" in result.messages
    right_matrix = check.rope_rotation(nested_lists, rotated=np.array(sheared(3)) @ [2, 1])
    assert "follows" not in right_matrix.messages


def untouched(m): ...


@pytest.mark.parametrize(
    "answer", [{}, {"rotation_matrix": untouched}, {"rotated": ..., "rows": None}]
)
def test_not_attempted(answer):
    result = check.rope_rotation(**answer)
    assert result.status == "not attempted"
    assert result.notes == ()


@pytest.mark.parametrize("rubbish", ["text", 3, [], {}, object(), torch.eye(3), lambda: 1])
def test_rubbish_fails_without_an_exception(rubbish):
    for name in ("rotation_matrix", "rotated", "position", "rows", "nearest"):
        result = check.rope_rotation(**{name: rubbish})
        assert result.status == "failed"
        assert "itself broke" not in result.messages
    assert check.rope_rotation(lambda m: rubbish).status == "failed"


def test_the_answer_is_not_leaked():
    messages = check.rope_rotation(lambda m: [[3, 1], [4, 1]], (9, 9), 99, "z", 99).messages
    for right in ("-2.12", "0.70", "0.99", "0.14", "-4", "44", "cos"):
        assert right not in messages
