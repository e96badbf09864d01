"""The check of exercise 13.17 takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

L, D, V = 32, 4096, 32_000
BLOCKS, TABLE = 12 * L * D**2, V * D
LLAMA, MISTRAL = 6_738_415_616, 7_241_732_096
SPREAD = 100 * (MISTRAL / LLAMA - 1)
RIGHT = {
    "estimate": BLOCKS + 2 * TABLE,
    "llama2": LLAMA,
    "mistral": MISTRAL,
    "within": "ABC",
    "spread_percent": SPREAD,
}


@pytest.mark.parametrize(
    "estimate",
    [
        BLOCKS + 2 * TABLE,
        BLOCKS + TABLE,
        6.7e9,
        6.57e9,
        LLAMA,
        7e9,
        6.9e9,
        7.05e9,
        6.8e9,
        6.5e9,
        torch.tensor(7e9),
    ],
)
def test_any_defensible_estimate_passes(estimate):
    assert check.parameter_count(**(RIGHT | {"estimate": estimate})).passed


@pytest.mark.parametrize("within", ["abc", "A, B, C", ["A", "B", "C"], {"c", "a", "b"}, ("bca")])
def test_letters_come_in_any_form(within):
    assert check.parameter_count(within=within).status != "failed"


@pytest.mark.parametrize(
    "numbers",
    [
        {"llama2": float(LLAMA), "mistral": np.int64(MISTRAL)},
        {"llama2": torch.tensor(LLAMA), "mistral": sp.Integer(MISTRAL)},
        {"spread_percent": 7.47, "estimate": np.float32(6.7e9)},
        {"spread_percent": Fraction(MISTRAL - LLAMA, LLAMA) * 100},
    ],
)
def test_right_formats_pass(numbers):
    result = check.parameter_count(**numbers)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


KEYS = 2 * L * (D * D - D * 1024)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"estimate": BLOCKS}, "blocks only"),
        ({"estimate": 6.4e9}, "blocks only"),
        ({"estimate": 5.9e9}, "8 key-value heads, with nothing in return"),
        ({"estimate": 7.24e9}, "Right for Mistral 7B"),
        ({"estimate": 8.85e9}, "when a gate is added"),
        ({"estimate": 7.1e9}, "not a mistake known"),
        ({"estimate": BLOCKS / L + 2 * TABLE}, "counts one layer"),
        ({"estimate": BLOCKS / L + TABLE}, "and one matrix of V rows"),
        ({"estimate": 2 * TABLE}, "embedding and head only"),
        ({"estimate": 16 * L * D**2 + 2 * TABLE}, "when a gate is added"),
        ({"estimate": 4 * L * D**2 + 2 * TABLE}, "MLP is missing"),
        ({"estimate": 8 * L * D**2 + 2 * TABLE}, "attention is missing"),
        ({"estimate": 6.7}, "not in billions"),
        ({"llama2": LLAMA - TABLE}, "one is missing"),
        ({"llama2": LLAMA - 2 * TABLE}, "Neither embedding nor head"),
        ({"llama2": LLAMA - 2 * TABLE - D}, "nor the last normalization"),
        ({"llama2": LLAMA - 2 * TABLE - 65 * D}, "nor are the normalizations"),
        ({"llama2": LLAMA - KEYS}, "as many key-value heads as query heads"),
        ({"llama2": MISTRAL}, "changed places"),
        ({"mistral": LLAMA}, "changed places"),
        ({"llama2": LLAMA - L * D * 11008}, "you count two"),
        ({"llama2": LLAMA - L * D * 11008 - TABLE}, "you count two. And embedding"),
        ({"llama2": LLAMA - 65 * D}, "normalizations are missing"),
        ({"llama2": LLAMA - D}, "last normalization"),
        ({"llama2": LLAMA - L * D}, "two normalizations in each block"),
        ({"llama2": LLAMA + 65 * D}, "no shift"),
        ({"llama2": LLAMA + L * (4 * D + 2 * 11008 + D)}, "no biases"),
        ({"llama2": BLOCKS + 2 * TABLE}, "rule of thumb"),
        ({"llama2": 6.738e9}, "If you rounded"),
        ({"mistral": MISTRAL - TABLE}, "one is missing"),
        ({"mistral": MISTRAL - L * D * 14336}, "you count two"),
        ({"mistral": MISTRAL + KEYS}, "Keys and values have 8 heads"),
        ({"mistral": MISTRAL + KEYS / 2}, "full width still"),
        ({"mistral": MISTRAL - KEYS}, "keep their 32 heads"),
        ({"mistral": MISTRAL + 65 * D}, "no shift"),
        ({"within": "BC"}, "A is within 5%"),
        ({"within": "AC"}, "B is within 5%"),
        ({"within": "AB"}, "C is within 5%"),
        ({"within": "ABCD"}, "D is not within 5%: three matrices"),
        ({"within": "ABCE"}, "E is not within 5%: fewer"),
        ({"within": "ABCF"}, "F is not within 5%: fewer"),
        ({"within": ""}, "Judged wrongly: 3 of 6 readings"),
        ({"within": "xyz"}, "Pass the letters"),
        ({"within": 7}, "Pass the letters"),
        ({"spread_percent": -SPREAD}, "the sign is not"),
        ({"spread_percent": 7}, "not to three digits"),
        ({"spread_percent": 6.95}, "percent of Mistral"),
        ({"spread_percent": 107.47}, "subtract the 100"),
        ({"spread_percent": 0.0747}, "is a fraction"),
    ],
)
def test_mistakes_are_named(answer, named):
    result = check.parameter_count(**answer)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    "rubbish", [[64], {}, math.nan, 3 + 0j, object(), "much", True, torch.ones(2)]
)
def test_rubbish_fails_without_an_exception(name, rubbish):
    result = check.parameter_count(**{name: rubbish})
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("answer", [{}, dict.fromkeys(RIGHT, ...), dict.fromkeys(RIGHT)])
def test_not_attempted(answer):
    assert check.parameter_count(**answer).status == "not attempted"


def test_the_answer_is_not_leaked():
    messages = check.parameter_count(7, 7, 7, "def", 7).messages
    for right in ("6.7", "7.2", "6738", "7241", "7.47", "ABC"):
        assert right not in messages
