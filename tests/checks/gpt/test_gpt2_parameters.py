"""The check of exercise 35.01 takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

L, D, V, T = 12, 768, 50_257, 1024
RULE = 12 * L * D**2 + V * D
EXACT, XL = 124_439_808, 1_557_611_200
XL_RULE = 12 * 48 * 1600**2 + V * 1600
ERROR, XL_ERROR = 100 * (RULE / EXACT - 1), 100 * (XL_RULE / XL - 1)
RIGHT = {
    "rule": RULE,
    "error_percent": ERROR,
    "positions": T * D,
    "biases": 9 * L * D,
    "norms": 50 * D,
    "exact": EXACT,
    "xl_exact": XL,
    "xl_error_percent": XL_ERROR,
    "old_vocabulary": 40_478,
}


def test_all_right_answers_pass():
    assert check.gpt2_parameters(**RIGHT).passed


@pytest.mark.parametrize(
    "numbers",
    [
        {"rule": 123.5e6, "error_percent": -0.73},
        {"positions": np.int64(T * D), "biases": torch.tensor(82_944), "norms": 38_400.0},
        {"exact": sp.Integer(EXACT), "xl_exact": float(XL), "xl_error_percent": -0.17},
        {"error_percent": Fraction(RULE - EXACT, EXACT) * 100},
        {"old_vocabulary": V - (EXACT - 117e6) / D},
        {"old_vocabulary": V - (XL - 1542e6) / 1600},
        {"old_vocabulary": V - (774_030_080 - 762e6) / 1280},
        {"old_vocabulary": V - (354_823_168 - 345e6) / 1024},
    ],
)
def test_right_formats_pass(numbers):
    result = check.gpt2_parameters(**numbers)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"rule": RULE + V * D}, "twice; the head is tied"),
        ({"rule": 12 * L * D**2}, "blocks only"),
        ({"rule": 12 * D**2 + V * D}, "L is another"),
        ({"rule": 12 * L * D + V * D}, "d is squared"),
        ({"rule": 12 * L * D ^ 2 + V * D}, "no power in Python"),
        ({"rule": EXACT}, "(a) asks for the rule"),
        ({"rule": V * D}, "The blocks are missing"),
        ({"rule": 123.5}, "not in millions"),
        ({"error_percent": -ERROR}, "the sign is not"),
        ({"error_percent": -0.7}, "not to two digits"),
        ({"error_percent": -0.74}, "not to two digits"),
        ({"error_percent": -0.0073}, "is a fraction"),
        ({"error_percent": -0.38}, "rounded 124 million"),
        ({"error_percent": 30.29}, "2 V d; the head is tied"),
        ({"error_percent": -31.75}, "blocks alone"),
        ({"error_percent": 99.27}, "subtract the 100"),
        ({"positions": T}, "each has a vector"),
        ({"positions": V * D}, "table of token vectors"),
        ({"positions": L * T * D}, "not in each"),
        ({"positions": 0}, "learned positions"),
        ({"positions": 512 * D}, "as in GPT-1"),
        ({"positions": T * 64}, "wide as a head"),
        ({"biases": L * 4 * D}, "attention alone"),
        ({"biases": L * 5 * D}, "MLP alone"),
        ({"biases": 9 * D}, "one layer"),
        ({"biases": L * 6 * D}, "d_ff outputs"),
        ({"biases": L * 12 * D}, "the last one has d"),
        ({"biases": L * 8 * D}, "output projection of attention"),
        ({"biases": 9 * L * D + V}, "head has no bias"),
        ({"biases": 9 * L * D + 25 * D}, "shifts of the LayerNorms"),
        ({"biases": 9 * L * D + 50 * D}, "parameters of the LayerNorms"),
        ({"biases": L * (3 * D * 12 + 6 * D)}, "One bias vector a head"),
        ({"norms": 25 * D}, "one of the two"),
        ({"norms": 48 * D}, "after all blocks, is missing"),
        ({"norms": 26 * D}, "two LayerNorms; you count one"),
        ({"norms": 24 * D}, "one LayerNorm a block"),
        ({"norms": 2 * D}, "parameters of its own"),
        ({"norms": 25}, "vectors of width d"),
        ({"exact": EXACT + V * D}, "`state_dict()` does that"),
        ({"exact": RULE}, "That is the rule"),
        ({"exact": EXACT + L * T * T}, "causal masks"),
        ({"exact": EXACT - T * D}, "positions are missing"),
        ({"exact": EXACT - 9 * L * D}, "biases are missing"),
        ({"exact": EXACT - 50 * D}, "normalizations are missing"),
        ({"exact": RULE + T * D}, "Only the positions are added"),
        ({"exact": RULE + 9 * L * D}, "Only the biases are added"),
        ({"exact": RULE + 50 * D}, "Only the normalizations are added"),
        ({"exact": EXACT - 2 * D}, "last LayerNorm"),
        ({"exact": EXACT - 25 * D}, "scale and a shift"),
        ({"exact": EXACT - 5 * L * D}, "biases of the MLP"),
        ({"exact": EXACT - 4 * L * D}, "biases of attention"),
        ({"exact": EXACT - 2 * L * D}, "one norm, or one bias for all three"),
        ({"exact": EXACT - 3 * L * D}, "d_ff outputs"),
        ({"exact": EXACT + V}, "head has no bias"),
        ({"exact": EXACT - V * D}, "token vectors is missing"),
        ({"exact": 117e6}, "too low"),
        ({"exact": 124.4e6}, "If you rounded"),
        ({"xl_exact": XL + V * 1600}, "counted beside the embedding"),
        ({"xl_exact": XL - T * 1600}, "positions are missing"),
        ({"xl_exact": XL - 48 * 9 * 1600}, "biases are missing"),
        ({"xl_exact": XL - 97 * 2 * 1600}, "normalizations are missing"),
        ({"xl_exact": XL_RULE}, "That is the rule"),
        ({"xl_exact": XL - 2 * 48 * 1600}, "one norm, or one bias for all three"),
        ({"xl_exact": XL - 3 * 48 * 1600}, "d_ff outputs"),
        ({"xl_exact": XL - 3200}, "last LayerNorm"),
        ({"xl_exact": 1542e6}, "too low"),
        ({"xl_exact": 1558e6}, "If you rounded"),
        ({"xl_error_percent": -XL_ERROR}, "the sign is not"),
        ({"xl_error_percent": 4.99}, "2 V d; the head is tied"),
        ({"xl_error_percent": -5.33}, "blocks alone"),
        ({"xl_error_percent": ERROR}, "GPT-2 small"),
        ({"xl_error_percent": -0.2}, "not to two digits"),
        ({"xl_error_percent": XL_ERROR / 100}, "is a fraction"),
        ({"xl_error_percent": 99.83}, "subtract the 100"),
        ({"old_vocabulary": 40_000}, "Close, but not to three digits"),
        ({"old_vocabulary": 41_000}, "Close, but not to three digits"),
        ({"old_vocabulary": 9_398}, "how many tokens are missing"),
        ({"old_vocabulary": 9_757}, "how many tokens are missing"),
        ({"old_vocabulary": 9_687}, "how many tokens are missing"),
        ({"old_vocabulary": 50_257}, "released counts come out"),
        ({"old_vocabulary": 59_944}, "the paper's counts are lower"),
        ({"old_vocabulary": 7_439_808}, "how many rows"),
    ],
)
def test_mistakes_are_named(answer, named):
    result = check.gpt2_parameters(**answer)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("rubbish", [[64], {}, math.nan, 3 + 0j, object(), math.inf, "much", True])
def test_rubbish_fails_without_an_exception(name, rubbish):
    result = check.gpt2_parameters(**{name: rubbish})
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("answer", [{}, dict.fromkeys(RIGHT, ...), dict.fromkeys(RIGHT)])
def test_not_attempted(answer):
    assert check.gpt2_parameters(**answer).status == "not attempted"


def test_the_answer_is_not_leaked():
    messages = check.gpt2_parameters(*[7] * 9).messages
    for right in ("123", "124", "1557", "786", "829", "384", "404", "0.73", "0.17"):
        assert right not in messages
