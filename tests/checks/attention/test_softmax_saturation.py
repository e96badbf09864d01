"""The check of exercise 13.28: right bounds and numbers pass, known mistakes are named."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from llmbook import check


def by_formula(gap, m):
    return 1 / (1 + (m - 1) * math.exp(-gap))


def by_softmax(gap, m):
    scores = torch.full((m,), -gap, dtype=torch.float64)
    scores[0] = 0
    return torch.softmax(scores, dim=0).max()


def by_numpy_in_single_precision(gap, m):
    exponentials = np.exp(np.array([0.0] + [-gap] * (m - 1), dtype=np.float32))
    return np.float32(1) / exponentials.sum(keepdims=True)


def by_sigmoid(gap, m):
    return torch.tensor(gap - math.log(m - 1)).sigmoid()


@pytest.mark.parametrize(
    "answer", [by_formula, by_softmax, by_numpy_in_single_precision, by_sigmoid]
)
def test_right_functions_pass(answer):
    result = check.softmax_saturation(answer)
    assert not result.messages
    assert result.headline.endswith("(6 of 11 tests passed, the others not attempted)")


RIGHT = {
    "gap_exponent": [0.5, Fraction(1, 2), torch.tensor(0.5)],
    "gap_for_99": [7.3, 7.30, math.log(99 * 15), math.log(1500), np.float32(7.303)],
    "d_for_99": [669, 668.6, 670, 660, torch.tensor(665)],
    "stays_saturated": [False, np.bool_(False)],
    "keys_may_grow": ["polynomially", " Polynomially"],
}


@pytest.mark.parametrize(("name", "given"), [(n, g) for n, gs in RIGHT.items() for g in gs])
def test_right_answers_pass_in_any_format(name, given):
    result = check.softmax_saturation(**{name: given})
    assert [outcome.status for outcome in result.outcomes].count("passed") == 1
    assert not result.messages


def test_everything_right_passes():
    assert check.softmax_saturation(
        by_formula, **{name: values[0] for name, values in RIGHT.items()}
    ).passed


WRONG_FUNCTIONS = {
    "one rival": (lambda gap, m: 1 / (1 + math.exp(-gap)), "*largest* value"),
    "m rivals": (lambda gap, m: 1 / (1 + m * math.exp(-gap)), "count m rivals"),
    "m - 2 rivals": (lambda gap, m: 1 / (1 + (m - 2) * math.exp(-gap)), "m - 2 rivals"),
    "linear bound": (lambda gap, m: 1 - (m - 1) * math.exp(-gap), "below 1/m"),
    "exponential bound": (lambda gap, m: math.exp(-(m - 1) * math.exp(-gap)), "no scores reach"),
    "sign": (lambda gap, m: 1 / (1 + (m - 1) * math.exp(min(gap, 99))), "is reversed"),
    "the rest": (lambda gap, m: 1 - by_formula(gap, m), "all the others together"),
    "one of the rest": (lambda gap, m: (1 - by_formula(gap, m)) / (m - 1), "one of the others"),
    "no gap": (lambda gap, m: 1 / m, "gap has no effect"),
    "odds": (lambda gap, m: math.exp(min(gap, 99)) / (m - 1), "the odds of the winner"),
    "overflow": (
        lambda gap, m: torch.tensor(gap).exp() / (torch.tensor(gap).exp() + m - 1),
        "`e^1000` overflows",
    ),
    "overflow of floats": (
        lambda gap, m: math.exp(gap) / (math.exp(gap) + m - 1),
        "`e^1000` overflows",
    ),
    "linear bound, cut off": (
        lambda gap, m: max(1 / m, 1 - (m - 1) * math.exp(-gap)),
        "cut off at 1/m or not",
    ),
    "a constant": (lambda gap, m: torch.full((1, 1), 0.3), "gap has no effect"),
    "three digits": (lambda gap, m: round(by_formula(gap, m), 3), "too few digits"),
    "half precision": (lambda gap, m: by_softmax(gap, m).half(), "float32 or better"),
    "out of range": (lambda gap, m: 2 + gap, "a weight lies between 0 and 1"),
}


@pytest.mark.parametrize(("answer", "message"), WRONG_FUNCTIONS.values(), ids=WRONG_FUNCTIONS)
def test_mistakes_in_the_function_are_named(answer, message):
    result = check.softmax_saturation(answer)
    assert result.status == "failed"
    assert message in result.messages


@pytest.mark.parametrize("mistake", ["overflow", "overflow of floats", "linear bound, cut off"])
def test_an_answer_that_uses_the_gap_is_not_told_otherwise(mistake):
    messages = check.softmax_saturation(WRONG_FUNCTIONS[mistake][0]).messages
    assert "no effect" not in messages
    assert "softmax over nothing" not in messages


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("gap_exponent", 1, "how the variance of the scores grows"),
        ("gap_exponent", 0, "The gap does grow"),
        ("gap_exponent", 2, "Too fast"),
        ("gap_for_99", math.log(99), "a single rival"),
        ("gap_for_99", math.log(99 * 16), "count 16 rivals"),
        ("gap_for_99", math.log10(99 * 15), "decimal logarithm"),
        ("gap_for_99", math.log(15 / 99), "swapped 0.99 and 0.01"),
        ("gap_for_99", math.log(99 / 15), "divided by the number of rivals"),
        ("gap_for_99", 1485, "take the logarithm"),
        ("d_for_99", 1337, "variance of a *difference*"),
        ("d_for_99", 18.3, "forgot to square"),
        ("d_for_99", 36.6, "which d_k gives it"),
        ("d_for_99", 3.9, "small with probability 90 %"),
        ("d_for_99", 164.5, "Either of the two keys may win"),
        ("d_for_99", 6.43, "Which quantile"),
        ("d_for_99", 23.2, "*typical* (median) gap"),
        ("stays_saturated", True, "random walk"),
        ("keys_may_grow", "not at all", "power of the logarithm"),
        ("keys_may_grow", "exponentially", "does the factor in front still win"),
        ("keys_may_grow", "sometimes", "Choose one of"),
    ],
)
def test_wrong_answers_are_diagnosed(name, given, message):
    result = check.softmax_saturation(**{name: given})
    assert result.status == "failed"
    assert message in result.messages


@pytest.mark.parametrize("placeholder", [None, ..., lambda gap, m: ..., lambda gap, m: None])
def test_an_untouched_cell_is_not_attempted(placeholder):
    result = check.softmax_saturation(placeholder)
    assert result.status == "not attempted"
    assert not result.messages


@pytest.mark.parametrize(
    "rubbish", [0.5, "half", lambda: 0, lambda gap, m: "half", lambda gap, m: [0.5, 0.5]]
)
def test_rubbish_fails_without_an_exception(rubbish):
    result = check.softmax_saturation(
        rubbish,
        gap_exponent="1/2",
        gap_for_99=[7.3],
        d_for_99=float("nan"),
        stays_saturated="no",
        keys_may_grow=3,
    )
    assert {outcome.status for outcome in result.outcomes} <= {"failed", "passed"}
    assert sum(outcome.status == "failed" for outcome in result.outcomes) >= 10
    assert "broke" not in result.messages


def test_the_answer_is_not_leaked():
    messages = check.softmax_saturation(
        lambda gap, m: 0.987, gap_exponent=3, gap_for_99=5, d_for_99=100, keys_may_grow="?"
    ).messages
    assert messages.count("not a mistake known here") == 3
    for answer in ("0.4753", "0.0990", "0.7490", "7.30", "669", "668", "0.5\n", "exp("):
        assert answer not in messages
