"""The check of exercise 11.1 takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

L, D, V, FF = 24, 2048, 32_000, 5504
TABLE = V * D
PACKED = L * (4 * D * D + 3 * D * FF)
TOTAL = PACKED + TABLE + 49 * D
REST = 2 * (TOTAL - PACKED)
GROUPED = (PACKED * 4.5 / 8 + REST) / 1e9
RIGHT = {
    "embedding": TABLE,
    "attention": 4 * D * D,
    "mlp": 3 * D * FF,
    "final_norm": D,
    "total": TOTAL,
    "fp16_gb": 2.56,
    "int4_gb": 0.64,
    "grouped_int4_gb": GROUPED,
    "bytes_mixed": 16,
    "bytes_fp32": 16,
    "bytes_fp32_gradients": 18,
    "bytes_all_16": 8,
    "training_gb": 20.48,
    "fits_24_gb": True,
}


def test_all_right_answers_pass():
    assert TOTAL == 1_279_887_360
    assert check.model_budget(**RIGHT).passed


@pytest.mark.parametrize(
    "numbers",
    [
        {
            "embedding": float(TABLE),
            "attention": np.int64(4 * D * D),
            "mlp": torch.tensor(3 * D * FF),
        },
        {"final_norm": sp.Integer(D), "total": Fraction(TOTAL)},
        {"fp16_gb": 2.5598, "int4_gb": np.float32(0.63994), "grouped_int4_gb": 0.814},
        {"bytes_mixed": 16.0, "bytes_fp32": torch.tensor(16), "bytes_all_16": sp.Integer(8)},
        {"training_gb": 20.5, "fits_24_gb": np.True_},
    ],
)
def test_right_formats_pass(numbers):
    result = check.model_budget(**numbers)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"embedding": 2 * TABLE}, "counted once"),
        ({"embedding": V}, "number of vectors"),
        ({"embedding": 65.536}, "not in millions"),
        ({"attention": 3 * D * D}, "output projection is missing"),
        ({"attention": D * D}, "one of the four"),
        ({"attention": 4 * D * D // 16}, "one head"),
        ({"attention": 64 * D * D}, "full width d; the heads share it"),
        ({"attention": 49 * D * D}, "for queries, keys and values"),
        ({"attention": L * 4 * D * D}, "all layers"),
        ({"attention": 4 * D * D + 4 * D}, "no biases"),
        ({"mlp": 2 * D * FF}, "three matrices; you count two"),
        ({"mlp": D * FF}, "one of the three"),
        ({"mlp": 8 * D * D}, "two matrices and width 4 d"),
        ({"mlp": 12 * D * D}, "three matrices of width 4 d"),
        ({"mlp": L * 3 * D * FF}, "all layers"),
        ({"mlp": 3 * D * FF + 2 * FF + D}, "no biases"),
        ({"final_norm": 2 * D}, "no shift"),
        ({"final_norm": 49 * D}, "all norms"),
        ({"final_norm": 1}, "each of the d features"),
        ({"total": TOTAL + TABLE}, "counted once"),
        ({"total": TOTAL - TABLE}, "token embedding is missing"),
        ({"total": TOTAL - 48 * D}, "Only the last norm"),
        ({"total": TOTAL - 24 * D}, "you count one"),
        ({"total": TOTAL - 49 * D}, "normalizations are missing"),
        ({"total": TOTAL - D}, "last norm is missing"),
        ({"total": TOTAL + 49 * D}, "no shift"),
        ({"total": TOTAL - L * D * FF}, "three matrices; you count two"),
        ({"total": TOTAL - L * D * FF - 48 * D}, "And each layer has two norms"),
        ({"total": TABLE + D + 4 * D * D + 3 * D * FF + 2 * D}, "one layer"),
        ({"total": TOTAL - L * D * D}, "output projections"),
        ({"total": 12 * L * D * D + TABLE}, "rule of thumb"),
        ({"total": 1.28e9}, "If you rounded"),
        ({"fp16_gb": 5.12}, "32 bits"),
        ({"fp16_gb": 1.28}, "one byte a weight"),
        ({"fp16_gb": 20.48}, "gigabits"),
        ({"fp16_gb": 2 * (TOTAL + TABLE) / 1e9}, "tied to the embedding"),
        ({"fp16_gb": 2.384}, "prefixes are mixed up"),
        ({"fp16_gb": 2560}, "unit prefix"),
        ({"fp16_gb": 2.6}, "not to three digits"),
        ({"fp16_gb": 2.5}, "not to three digits"),
        ({"int4_gb": 0.65}, "not to three digits"),
        ({"int4_gb": 0.6}, "not to three digits"),
        ({"training_gb": 20}, "not to three digits"),
        ({"training_gb": 21}, "not to three digits"),
        ({"grouped_int4_gb": 0.81}, "not to three digits"),
        ({"grouped_int4_gb": (PACKED * 4.25 / 8 + REST) / 1e9}, "you count 8"),
        ({"fits_24_gb": False}, "Compare the state of (i)"),
        ({"fits_24_gb": "yes"}, "Choose one of"),
        ({"int4_gb": 5.12}, "4 bytes a weight, or gigabits"),
        ({"int4_gb": 1.28}, "8 bits"),
        ({"int4_gb": 0.32}, "2 bits"),
        ({"int4_gb": (TOTAL + TABLE) / 2e9}, "tied to the embedding"),
        ({"int4_gb": 0.596}, "prefixes are mixed up"),
        ({"grouped_int4_gb": (PACKED / 2 + REST) / 1e9}, "scales are missing"),
        ({"grouped_int4_gb": TOTAL * 4.5 / 8e9}, "with 4 bits, and scales"),
        ({"grouped_int4_gb": (PACKED * 4.5 / 8 + REST / 4) / 1e9}, "count them with 4 bits."),
        ({"grouped_int4_gb": PACKED * 4.5 / 8e9}, "norms are missing"),
        ({"grouped_int4_gb": (PACKED * 8 / 8 + REST) / 1e9}, "not 16 bytes"),
        ({"grouped_int4_gb": (PACKED * 5 / 8 + REST) / 1e9}, "you count 32"),
        ({"grouped_int4_gb": (PACKED * 20 / 8 + REST) / 1e9}, "not for each"),
        ({"grouped_int4_gb": GROUPED * 1e9 / 2**30}, "prefixes are mixed up"),
        ({"bytes_mixed": 12}, "Four bytes are missing"),
        ({"bytes_mixed": 14}, "gradients are missing"),
        ({"bytes_mixed": 8}, "two moments only"),
        ({"bytes_mixed": 4}, "what does the optimizer keep"),
        ({"bytes_mixed": 18}, "accounting (iii)"),
        ({"bytes_mixed": 20}, "both a 16-bit and a 32-bit gradient"),
        ({"bytes_mixed": 128}, "in bits"),
        ({"bytes_mixed": 10}, "One of the moments"),
        ({"bytes_fp32": 8}, "add them"),
        ({"bytes_fp32": 12}, "Adam keeps two"),
        ({"bytes_fp32": 18}, "no 16-bit copy"),
        ({"bytes_fp32": 20}, "one copy of the weights"),
        ({"bytes_fp32": 4}, "weights alone"),
        ({"bytes_fp32_gradients": 16}, "as in (i)"),
        ({"bytes_fp32_gradients": 20}, "not kept beside"),
        ({"bytes_fp32_gradients": 14}, "Four bytes are missing"),
        ({"bytes_all_16": 12}, "here all is in 16"),
        ({"bytes_all_16": 6}, "Adam keeps two"),
        ({"bytes_all_16": 4}, "what does the optimizer keep"),
        ({"bytes_all_16": 16}, "accounting (i) or (ii)"),
        ({"training_gb": 15.36}, "12 bytes a parameter"),
        ({"training_gb": 23.04}, "18 bytes a parameter"),
        ({"training_gb": 25.6}, "20 bytes a parameter"),
        ({"training_gb": 10.24}, "8 bytes a parameter"),
        ({"training_gb": 17.92}, "14 bytes a parameter"),
        ({"training_gb": 2.56}, "weights alone"),
        ({"training_gb": 16 * (TOTAL + TABLE) / 1e9}, "tied to the embedding"),
        ({"training_gb": 19.07}, "prefixes are mixed up"),
    ],
)
def test_mistakes_are_named(answer, named):
    result = check.model_budget(**answer)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("rubbish", [[64], {}, math.nan, 3 + 0j, object(), math.inf, "2 GB"])
def test_rubbish_fails_without_an_exception(name, rubbish):
    result = check.model_budget(**{name: rubbish})
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("answer", [{}, dict.fromkeys(RIGHT, ...), dict.fromkeys(RIGHT)])
def test_not_attempted(answer):
    assert check.model_budget(**answer).status == "not attempted"


def test_the_answer_is_not_leaked():
    messages = check.model_budget(*[7] * 14).messages
    for right in ("655", "1677", "338", "2048", "1279", "1.28", "2.56", "0.64", "0.81", "20.4"):
        assert right not in messages
