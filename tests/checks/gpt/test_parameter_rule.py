"""The check of exercise 13.12 takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

L, D, V = 24, 1024, 50_257
EXACT = 354_823_168
RULE = 12 * L * D**2 + 2 * 50_000 * D
ERROR = 100 * ((12 * L * D**2 + 2 * V * D) / EXACT - 1)
RIGHT = {
    "mlp_share": 2 / 3,
    "rule": RULE,
    "embedding_percent": 25.3,
    "exact": EXACT,
    "error_percent": ERROR,
    "gpt2_small": "high",
    "llama2_7b": "close",
    "llama3_8b": "low",
    "gemma_2b": "low",
}


def test_all_right_answers_pass():
    assert check.parameter_rule(**RIGHT).passed


@pytest.mark.parametrize(
    "numbers",
    [
        {"mlp_share": 0.667, "rule": 404_389_888},
        {"mlp_share": 0.67},
        {"mlp_share": Fraction(8, 12), "rule": np.float64(4.044e8)},
        {"mlp_share": sp.Rational(2, 3), "exact": torch.tensor(EXACT)},
        {"exact": float(EXACT), "error_percent": 14.1},
        {"exact": np.int64(EXACT), "error_percent": torch.tensor(14.12)},
        {"gpt2_small": " High ", "gemma_2b": "LOW"},
        {"gpt2_small": "too high", "llama2_7b": "within 2 %", "gemma_2b": "Too low."},
        {"llama2_7b": "close (within 2%)"},
    ],
)
def test_right_formats_pass(numbers):
    result = check.parameter_rule(**numbers)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"mlp_share": 1 / 3}, "share of attention"),
        ({"mlp_share": 2}, "units of attention"),
        ({"mlp_share": 0.5}, "both of its matrices"),
        ({"mlp_share": 8 / 11}, "output matrix"),
        ({"mlp_share": 0.75}, "three matrices"),
        ({"mlp_share": 66.7}, "percentage where a fraction"),
        ({"mlp_share": 0.66}, "Close, but not to"),
        ({"rule": RULE - 50_000 * D}, "the rule counts two"),
        ({"rule": 12 * L * D**2}, "blocks only"),
        ({"rule": 2 * 50_000 * D}, "embedding and head only"),
        ({"rule": 12 * D**2 + 2 * 50_000 * D}, "number of layers is not"),
        ({"rule": 12 * L * D + 2 * 50_000 * D}, "d is squared"),
        ({"rule": (12 * L * D) ** 2 + 2 * 50_000 * D}, "only d is squared"),
        ({"rule": 12 * L * D**2 + 2 * L * 50_000 * D}, "for every layer"),
        ({"rule": 12 * L * D**2 + 2 * V * D}, "(b) gives a round one"),
        ({"rule": 12 * L * 1000**2 + 2 * 50_000 * 1000}, "it is 1,024"),
        ({"rule": 12 * L * D ^ 2 + 2 * 50_000 * D}, "no power in Python"),
        ({"rule": 404.4}, "not in millions"),
        ({"rule": 0.4044}, "not in billions"),
        ({"rule": 404_390}, "not in thousands"),
        ({"embedding_percent": 74.7}, "share of the blocks"),
        ({"embedding_percent": 33.9}, "percent of the blocks"),
        ({"embedding_percent": 12.66}, "one of the two matrices; both"),
        ({"embedding_percent": 14.5}, "out of both parts"),
        ({"embedding_percent": 0.253}, "percentage is asked"),
        ({"embedding_percent": 25}, "not to three digits"),
        ({"exact": EXACT + V * D}, "counted beside the embedding"),
        ({"exact": EXACT - 1024 * D}, "positions are missing"),
        ({"exact": EXACT - 49 * 2 * D}, "normalizations are missing"),
        ({"exact": EXACT - L * 9 * D}, "biases of the linear layers"),
        ({"exact": EXACT - L * 9 * D - 49 * 2 * D}, "Biases and normalizations"),
        ({"exact": EXACT - L * 9 * D - 1024 * D}, "Positions and biases"),
        ({"exact": 12 * L * D**2 + V * D}, "weight matrices of the blocks only"),
        ({"exact": 12 * L * D**2 + 2 * V * D}, "rule of thumb"),
        ({"exact": EXACT - 2 * D}, "last normalization"),
        ({"exact": EXACT - 49 * D}, "shift beside its scale"),
        ({"exact": EXACT - L * 5 * D}, "biases of the MLP"),
        ({"exact": EXACT - L * 4 * D}, "biases of attention"),
        ({"exact": EXACT - L * 3 * D}, "d_ff entries"),
        ({"exact": EXACT + V}, "head has no bias"),
        ({"exact": EXACT - V * D}, "once it counts"),
        ({"exact": EXACT - 257 * D}, "vocabulary of (b)"),
        ({"exact": EXACT - L * 2 * D}, "one norm, or one bias for all three"),
        ({"exact": 355e6}, "If you rounded"),
        ({"exact": EXACT / 1e6}, "not in millions"),
        ({"error_percent": -ERROR}, "the sign is not"),
        ({"error_percent": 100 * (1 - EXACT / (12 * L * D**2 + 2 * V * D))}, "of the rule"),
        ({"error_percent": 100 * (RULE / EXACT - 1)}, "GPT-2's own"),
        ({"error_percent": -0.386}, "equally many matrices"),
        ({"error_percent": 14}, "not to three digits"),
        ({"error_percent": 13.97}, "GPT-2's own"),
        ({"error_percent": 114.1}, "subtract the 100"),
        ({"error_percent": 100 * (404_916_224 / (EXACT + V * D) - 1)}, "equally many matrices"),
        ({"error_percent": 0.1412}, "is a fraction"),
        ({"gpt2_small": "low"}, "How often does the rule count"),
        ({"gpt2_small": "close"}, "weighs more here"),
        ({"llama2_7b": "high"}, "how wide"),
        ({"llama2_7b": "low"}, "narrower than 4 d"),
        ({"llama3_8b": "high"}, "Grouped keys take"),
        ({"llama3_8b": "close"}, "It is not 12"),
        ({"gemma_2b": "high"}, "three matrices, and how wide"),
        ({"gemma_2b": "close"}, "do not always cancel"),
        ({"llama2_7b": "too high"}, "how wide"),
        ({"gemma_2b": "too high or too low"}, "Choose one of"),
        ({"gemma_2b": "lower"}, "Choose one of"),
    ],
)
def test_mistakes_are_named(answer, named):
    result = check.parameter_rule(**answer)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("rubbish", [[64], {}, math.nan, 3 + 0j, object(), math.inf, "much", True])
def test_rubbish_fails_without_an_exception(name, rubbish):
    result = check.parameter_rule(**{name: rubbish})
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("answer", [{}, dict.fromkeys(RIGHT, ...), dict.fromkeys(RIGHT)])
def test_not_attempted(answer):
    assert check.parameter_rule(**answer).status == "not attempted"


def test_the_answer_is_not_leaked():
    messages = check.parameter_rule(*[7] * 5, *["z"] * 4).messages
    for right in ("404", "354", "14.1", "25.3", "0.67", "2/3"):
        assert right not in messages
