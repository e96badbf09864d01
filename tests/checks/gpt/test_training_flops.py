"""The check of exercise 13.13 takes any right answer and names each known mistake."""

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

D, CONTEXT = 2e12, 4096
PRODUCTS = 40 * (4 * 5120**2 + 3 * 5120 * 13824) + 32000 * 5120
SCORES = 40 * 2 * CONTEXT * 5120  # multiply-adds per token
EXACT = 6 * (PRODUCTS + SCORES) * D
RULE = 6 * 13e9 * D
RIGHT = {
    "flop": RULE,
    "pf_days": RULE / 1e15 / 86400,
    "exact": EXACT,
    "shortfall": 100 * (EXACT - RULE) / EXACT,
    "recomputed": 8 * 13e9 * D,
    "mfu": 0.375,
}


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        {"flop": 1.56e23, "pf_days": 1806, "exact": 1.74e23, "shortfall": 10.5, "mfu": 3 / 8},
        {name: np.float64(value) for name, value in RIGHT.items()},
        {"flop": 6 * 13 * 10**9 * 2 * 10**12, "mfu": Fraction(3, 8), "recomputed": 208 * 10**21},
        {"flop": sp.Integer(156) * sp.Integer(10) ** 21, "mfu": torch.tensor(0.375)},
        # the same with the exact number of parameters in the rule
        {"flop": 6 * 13_015_864_320 * D, "shortfall": 10.42, "recomputed": 8 * 13.016e9 * D},
        {"pf_days": 1.81e3},
    ],
)
def test_right_answers_pass(answer):
    result = check.training_flops(**answer)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(answer)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"flop": RULE / 3}, "forward pass alone"),
        ({"flop": RULE * 2 / 3}, "backward pass alone"),
        ({"flop": RULE / 2}, "Half as much"),
        ({"flop": 2 * RULE}, "Twice as much"),
        ({"flop": RULE / 6}, "parameters times tokens"),
        ({"flop": RULE * 4 / 3}, "part (d)"),
        ({"flop": EXACT}, "exact count of part (c), or near it"),
        ({"flop": 6 * PRODUCTS * D}, "without the scores"),
        ({"flop": RULE * 1000}, "1,000 too much"),
        ({"flop": RULE / 1000}, "1,000 too little"),
        ({"flop": RULE / 1e6}, "million too little"),
        ({"flop": RULE * 1e6}, "million too much"),
        ({"flop": RULE / D}, "multiply by 2 trillion"),
        ({"flop": 6 * 13e9 * 20 * 13e9}, "20 tokens per parameter"),
        ({"flop": 1.6e23}, "three digits"),
        ({"flop": 7e20}, "not a mistake known here"),
        ({"pf_days": RULE / 1e15 / 3600}, "petaflop/s-hours"),
        ({"pf_days": RULE / 1e15}, "petaflop/s-seconds"),
        ({"pf_days": RULE / 1e15 / 24}, "count its seconds"),
        ({"pf_days": RULE / 1e12 / 86400}, "teraflop/s"),
        ({"pf_days": RULE / 1e18 / 86400}, "exaflop/s"),
        ({"pf_days": EXACT / 1e15 / 86400}, "take the rule"),
        ({"pf_days": RULE / 3e15 / 86400}, "forward pass alone"),
        ({"pf_days": 1850}, "three digits"),
        ({"exact": EXACT / 3}, "forward pass alone"),
        ({"exact": EXACT * 2 / 3}, "backward pass alone"),
        ({"exact": EXACT * 4 / 3}, "part (d)"),
        ({"exact": 6 * PRODUCTS * D}, "are missing"),
        ({"exact": 6 * (PRODUCTS + SCORES / 2) * D}, "Half of the attention"),
        ({"exact": 6 * (PRODUCTS + SCORES / 4) * D}, "A quarter of the attention"),
        ({"exact": 6 * (PRODUCTS + 32000 * 5120 + SCORES) * D}, "embedding table"),
        ({"exact": 6 * (PRODUCTS - 32000 * 5120 + SCORES) * D}, "output matrix is missing"),
        ({"exact": (6 * PRODUCTS + 2 * SCORES) * D}, "forward only"),
        ({"exact": 6 * (PRODUCTS - 40 * 5120 * 13824 + SCORES) * D}, "two are counted"),
        ({"exact": 6 * (PRODUCTS + 2 * SCORES) * D}, "Twice as much attention"),
        ({"exact": 6 * 13_015_864_320 * D}, "rule of thumb"),
        ({"exact": RULE}, "rule of thumb"),
        ({"exact": EXACT / 2}, "multiply-add is two"),
        ({"exact": EXACT / D * CONTEXT}, "one text"),
        ({"exact": EXACT / D}, "one token"),
        ({"exact": EXACT * CONTEXT}, "instead of every text"),
        ({"exact": 6 * (PRODUCTS + CONTEXT * SCORES) * D}, "divide it by 4,096"),
        ({"exact": 1.75e23}, "three digits"),
        ({"shortfall": 100 * (EXACT - RULE) / RULE}, "percent of the rule"),
        ({"shortfall": 5.06}, "unmasked half"),
        ({"shortfall": 1.15}, "too much, not too little"),
        ({"shortfall": -1.15}, "leaves attention out"),
        ({"shortfall": 0.105}, "percentage is asked"),
        ({"shortfall": -10.5}, "sign"),
        ({"shortfall": 89.5}, "give what is missing"),
        ({"shortfall": 111.8}, "give what is missing"),
        ({"shortfall": 11.0}, "three digits"),
        ({"recomputed": RULE}, "without recomputation"),
        ({"recomputed": 2 * RULE}, "training step twice"),
        ({"recomputed": RULE * 5 / 3}, "as much as a backward pass"),
        ({"recomputed": RULE * 7 / 6}, "Half a forward pass"),
        ({"recomputed": RULE / 3}, "second forward pass alone"),
        ({"recomputed": EXACT * 4 / 3}, "take the rule"),
        ({"mfu": 0.5}, "hardware's utilization"),
        ({"mfu": 2 / 3}, "upside down"),
        ({"mfu": 0.25}, "is a quarter of what"),
        ({"mfu": 0.75}, "half of their peak besides"),
        ({"mfu": 0.28125}, "twice"),
        ({"mfu": 1 / 6}, "share of the forward passes"),
        ({"mfu": 37.5}, "percentage"),
        ({"mfu": 0.38}, "not to three digits"),
    ],
)
def test_wrong_answers_are_named(answer, named):
    result = check.training_flops(**answer)
    assert result.status == "failed"
    assert named in result.messages, result


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("rubbish", ["1e23", [1e23, 2], {}, float("inf"), 3j, object(), True])
def test_rubbish_fails_without_an_exception(name, rubbish):
    result = check.training_flops(**{name: rubbish})
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("answer", [{}, {"flop": None, "mfu": ...}])
def test_not_attempted(answer):
    assert check.training_flops(**answer).status == "not attempted"


def test_the_answer_is_not_leaked():
    messages = check.training_flops(**dict.fromkeys(RIGHT, 3.3)).messages
    for right in ("1.56", "1.74", "2.08", "1805", "1806", "10.5", "0.375", "3/8"):
        assert right not in messages
