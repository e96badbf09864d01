"""The check of exercise 13.4 takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

ANGLES = 2 * math.pi * np.arange(100) / 100
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
POSITIONS = np.arange(100.0)


def parabola(scale):
    """Score scale · (i·j − j²/2): largest at j = i, without a circle."""
    queries = np.stack([POSITIONS, np.ones(100)], axis=1)
    keys = scale * np.stack([POSITIONS, -(POSITIONS**2) / 2], axis=1)
    return queries, keys


@pytest.mark.parametrize(
    "numbers",
    [
        {"d_k": 64, "d_k_64": 8, "max_rank": 8, "error": math.sqrt(0.92)},
        {"d_k": 64.0, "d_k_64": np.int64(8), "max_rank": torch.tensor(8), "error": 0.96},
        {"d_k": Fraction(512, 8), "d_k_64": sp.Integer(8), "error": sp.sqrt(sp.Rational(23, 25))},
        {"max_rank": 8, "error": np.float32(0.959)},
        {"cost": "b"},
        {"cost": " B "},
        {"cost": "(b)"},
    ],
)
def test_right_numbers_pass(numbers):
    result = check.head_dimension(**numbers)
    assert result.status != "failed"
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


@pytest.mark.parametrize(
    ("q", "k"),
    [
        (5000 * CIRCLE, CIRCLE),
        (torch.tensor(70 * CIRCLE), torch.tensor(70 * CIRCLE).float()),
        ((1e4 * CIRCLE).tolist(), CIRCLE.tolist()),
        (-5000 * CIRCLE, -CIRCLE),
        (5000 * CIRCLE[np.random.default_rng(0).permutation(100)],) * 2,
        parabola(20.0),
        (torch.tensor(5000 * CIRCLE, requires_grad=True), CIRCLE),
        # keys of unequal length, as long as each wins its own row
        (1e5 * CIRCLE, CIRCLE * (1 + 1e-5 * np.sin(ANGLES))[:, None]),
    ],
    ids=["circle", "tensors", "lists", "mirrored", "shuffled", "parabola", "grad", "uneven"],
)
def test_right_constructions_pass(q, k):
    result = check.head_dimension(64, 8, 8, math.sqrt(0.92), q, k, "b")
    assert result.passed, result


def test_the_exact_length_passes():
    # Two neighbors share the last 0.01, and the others a little: 0.98999999.
    scale = math.log(198) / (1 - math.cos(2 * math.pi / 100))
    points = math.sqrt(scale * math.sqrt(2)) * CIRCLE
    assert check.head_dimension(q=points, k=points).status != "failed"
    assert check.head_dimension(q=0.99 * points, k=points).status == "failed"


def test_sparse_points_pass():
    points = torch.tensor(100 * CIRCLE).to_sparse()
    assert check.head_dimension(q=points, k=points).status != "failed"


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
        ({"error": 0.92}, "squared error"),
        ({"error": 0.2828}, "keeps, not what it misses"),
        ({"error": 0.08}, "share (squared)"),
        ({"error": math.sqrt(92)}, "absolute error"),
        ({"error": 92}, "how many singular values"),
        ({"error": 1}, "spectral norm"),
        ({"error": 0}, "full rank"),
        ({"error": 0.717}, "squares that add up"),
        ({"error": 0.996}, "1,024 tokens"),
        ({"error": 0.992}, "d_model for the number of tokens"),
        ({"error": 0.935}, "number of heads for the number of tokens"),
        ({"error": 0.99}, "two dimensions of (d)"),
        ({"error": 0.6}, "as wide as with 8 heads"),
        ({"error": 95.92}, "percentage"),
        ({"error": 0.95}, "not to three digits"),
        ({"error": 0.85}, "not a mistake known here"),
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


BOTH_ENDS = np.linspace(0, 2 * np.pi, 100)
LINE = np.stack([POSITIONS, np.zeros(100)], axis=1)


@pytest.mark.parametrize(
    ("q", "k", "named"),
    [
        (np.ones((100, 2)), np.ones((100, 2)), "in the same way"),
        (np.zeros((100, 2)), CIRCLE, "in the same way"),
        (np.ones((100, 2)), 5000 * CIRCLE, "in the same way"),
        (
            2000 * np.stack([np.cos(BOTH_ENDS), np.sin(BOTH_ENDS)], axis=1),
            np.stack([np.cos(BOTH_ENDS), np.sin(BOTH_ENDS)], axis=1),
            "Keys 0 and 99 are the same point",
        ),
        (10 * CIRCLE, 10 * CIRCLE, "sharpens"),
        (-5000 * CIRCLE, CIRCLE, "sign"),
        (LINE + 1, LINE + 1, "differ in length"),
        (np.random.default_rng(0).normal(size=(100, 2)),) * 2 + ("differ in length",),
        (5000 * CIRCLE, CIRCLE[::-1], "arrange points"),
        (CIRCLE.T, CIRCLE, "`q` is transposed"),
        (CIRCLE, CIRCLE.T, "`k` is transposed"),
        (np.eye(100), np.eye(100), "should be (100, 2)"),
        (CIRCLE[None], CIRCLE, "should be (100, 2)"),
        (CIRCLE * np.nan, CIRCLE, "NaN"),
        (CIRCLE + np.inf, CIRCLE, "infinite"),
        (CIRCLE * 1j, CIRCLE, "complex"),
        (1e200 * CIRCLE, 1e200 * CIRCLE, "overflow"),
        (60 * CIRCLE, 60 * CIRCLE, "on itself is 0.98"),
        (CIRCLE, None, "`k` is still to come"),
        (..., CIRCLE, "`q` is still to come"),
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
    [{}, {"d_k": ..., "cost": ...}, {"q": ..., "k": None}, {"q": ..., "k": ...}],
)
def test_not_attempted(answer):
    assert check.head_dimension(**answer).status == "not attempted"


def test_the_answer_is_not_leaked():
    messages = check.head_dimension(3, 3, 3, 3, LINE + 1, LINE + 1, "z").messages
    for right in ("0.959", "64 dimensions", "cos", "curve", "circle", "23/25"):
        assert right not in messages
