"""The check of exercise 13.4 takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

ANGLES = 2 * math.pi * np.arange(64) / 64
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
POSITIONS = np.arange(64.0)


def parabola(scale):
    """Score scale · (i·j − j²/2): largest at j = i, without a circle."""
    queries = np.stack([POSITIONS, np.ones(64)], axis=1)
    keys = scale * np.stack([POSITIONS, -(POSITIONS**2) / 2], axis=1)
    return queries, keys


@pytest.mark.parametrize(
    "numbers",
    [
        {"d_k": 64, "d_k_64": 8, "max_rank": 8, "error": math.sqrt(0.875)},
        {"d_k": 64.0, "d_k_64": np.int64(8), "max_rank": torch.tensor(8), "error": 0.94},
        {"d_k": Fraction(512, 8), "d_k_64": sp.Integer(8), "error": sp.sqrt(sp.Rational(7, 8))},
        {"max_rank": 8, "error": np.float32(0.935)},
        {"cost": "b"},
        {"cost": " B "},
    ],
)
def test_right_numbers_pass(numbers):
    result = check.head_dimension(**numbers)
    assert result.status != "failed"
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


@pytest.mark.parametrize(
    ("q", "k"),
    [
        (2000 * CIRCLE, CIRCLE),
        (torch.tensor(45 * CIRCLE), torch.tensor(45 * CIRCLE).float()),
        ((1e4 * CIRCLE).tolist(), CIRCLE.tolist()),
        (-2000 * CIRCLE, -CIRCLE),
        (2000 * CIRCLE[np.random.default_rng(0).permutation(64)],) * 2,
        parabola(20.0),
        (torch.tensor(2000 * CIRCLE, requires_grad=True), CIRCLE),
        # keys of unequal length, as long as each wins its own row
        (1e5 * CIRCLE, CIRCLE * (1 + 1e-5 * np.sin(ANGLES))[:, None]),
    ],
    ids=["circle", "tensors", "lists", "mirrored", "shuffled", "parabola", "grad", "uneven"],
)
def test_right_constructions_pass(q, k):
    result = check.head_dimension(64, 8, 8, math.sqrt(7 / 8), q, k, "b")
    assert result.passed, result


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"d_k": 8}, "number of heads"),
        ({"d_k": 4096}, "multiplies"),
        ({"d_k": 512}, "whole width"),
        ({"d_k": 192}, "Q, K and V together"),
        ({"d_k_64": 64}, "number of heads"),
        ({"d_k_64": 1}, "old heads"),
        ({"d_k_64": 32768}, "multiplies"),
        ({"d_k_64": 512}, "whole width"),
        ({"max_rank": 1024}, "size of the score matrix"),
        ({"max_rank": 512}, "d_model"),
        ({"max_rank": 64}, "bound for 8 heads"),
        ({"max_rank": 16}, "do not add up"),
        ({"max_rank": 7}, "centering"),
        ({"error": 0.875}, "squared error"),
        ({"error": 0.3536}, "keeps, not what it misses"),
        ({"error": 0.125}, "share (squared)"),
        ({"error": math.sqrt(56)}, "absolute error"),
        ({"error": 56}, "how many singular values"),
        ({"error": 1}, "spectral norm"),
        ({"error": 0}, "full rank"),
        ({"error": 1 - math.sqrt(1 / 8)}, "squares that add up"),
        ({"error": 93.54}, "percentage"),
        ({"cost": "a"}, "Part (d) shows otherwise"),
        ({"cost": "c"}, "own softmax"),
        ({"cost": "d"}, "as many parameters"),
        ({"cost": "e"}, "Choose one of"),
    ],
)
def test_wrong_numbers_are_named(answer, named):
    result = check.head_dimension(**answer)
    assert result.status == "failed"
    assert named in result.messages


BOTH_ENDS = np.linspace(0, 2 * np.pi, 64)
LINE = np.stack([POSITIONS, np.zeros(64)], axis=1)


@pytest.mark.parametrize(
    ("q", "k", "named"),
    [
        (np.ones((64, 2)), np.ones((64, 2)), "in the same way"),
        (np.zeros((64, 2)), CIRCLE, "in the same way"),
        (np.ones((64, 2)), 2000 * CIRCLE, "in the same way"),
        (
            2000 * np.stack([np.cos(BOTH_ENDS), np.sin(BOTH_ENDS)], axis=1),
            np.stack([np.cos(BOTH_ENDS), np.sin(BOTH_ENDS)], axis=1),
            "Keys 0 and 63 are the same point",
        ),
        (10 * CIRCLE, 10 * CIRCLE, "sharpens"),
        (-2000 * CIRCLE, CIRCLE, "sign"),
        (LINE + 1, LINE + 1, "differ in length"),
        (np.random.default_rng(0).normal(size=(64, 2)),) * 2 + ("differ in length",),
        (2000 * CIRCLE, CIRCLE[::-1], "arrange points"),
        (CIRCLE.T, CIRCLE, "`q` is transposed"),
        (CIRCLE, CIRCLE.T, "`k` is transposed"),
        (np.eye(64), np.eye(64), "should be (64, 2)"),
        (CIRCLE[None], CIRCLE, "should be (64, 2)"),
        (CIRCLE * np.nan, CIRCLE, "NaN"),
        (CIRCLE + np.inf, CIRCLE, "infinite"),
        (CIRCLE * 1j, CIRCLE, "complex"),
        ("circle", CIRCLE, "should be a tensor"),
        (3, CIRCLE, "shape ()"),
    ],
)
def test_wrong_constructions_are_named(q, k, named):
    result = check.head_dimension(q=q, k=k)
    assert result.status == "failed"
    assert named in result.messages
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("name", ["d_k", "d_k_64", "max_rank", "error"])
@pytest.mark.parametrize("rubbish", ["64", [64], {}, math.nan, 3 + 0j, object(), math.inf])
def test_rubbish_fails_without_an_exception(name, rubbish):
    assert check.head_dimension(**{name: rubbish}).status == "failed"


@pytest.mark.parametrize("rubbish", [[], {}, object(), lambda: 0, torch.ones(2)])
def test_rubbish_points_fail_without_an_exception(rubbish):
    result = check.head_dimension(q=rubbish, k=rubbish, cost=rubbish)
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize(
    "answer",
    [{}, {"d_k": ..., "cost": ...}, {"q": CIRCLE}, {"q": CIRCLE, "k": None}, {"q": ..., "k": ...}],
)
def test_not_attempted(answer):
    assert check.head_dimension(**answer).status == "not attempted"


def test_the_answer_is_not_leaked():
    messages = check.head_dimension(3, 3, 3, 3, LINE + 1, LINE + 1, "z").messages
    for right in ("0.935", "64 dimensions", "cos", "7/8"):
        assert right not in messages
