"""The check of exercise 15.27 takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

D, L = 8192, 80
LAYER = 2 * D * (D - 1024)
SAVED = L * LAYER
GROUPED = 68_976_648_192
FULL = GROUPED + SAVED
CACHE = 2 * L * D * 2 * 4096 / 1e9
RIGHT = {
    "per_layer": LAYER,
    "saved": SAVED,
    "attention_percent": 43.75,
    "model_percent": 100 * SAVED / FULL,
    "cache_full_gb": CACHE,
    "cache_grouped_gb": CACHE / 8,
    "texts_full": 15,
    "texts_grouped": 135,
}


def test_all_right_answers_pass():
    assert check.grouped_query_savings(**RIGHT).passed


@pytest.mark.parametrize(
    "numbers",
    [
        {"per_layer": 1.174e8, "saved": 9.395e9, "attention_percent": 43.8},
        {"per_layer": np.int64(LAYER), "saved": torch.tensor(SAVED), "model_percent": 12.0},
        {"attention_percent": sp.Rational(175, 4), "model_percent": Fraction(100 * SAVED, FULL)},
        {"cache_full_gb": 10.7, "cache_grouped_gb": np.float32(1.342)},
        {"texts_full": 15.0, "texts_grouped": np.int64(135)},
    ],
)
def test_right_formats_pass(numbers):
    result = check.grouped_query_savings(**numbers)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


KV_MISTAKES = [
    (LAYER / 2, "keys and values both shrink"),
    (2 * LAYER, "queries and output too"),
    (1.5 * LAYER, "counts the queries too"),
    (2 * D * 1024, "what is left of keys and values"),
    (2 * D * D, "had before"),
    (2 * D * D + 2 * D * 1024, "left of the block"),
    (LAYER / 64, "width of a head"),
]


@pytest.mark.parametrize(("value", "named"), KV_MISTAKES)
def test_mistakes_of_the_saving_are_named(value, named):
    assert named in check.grouped_query_savings(per_layer=value).messages
    assert named in check.grouped_query_savings(saved=L * value).messages


MEMORY = 320e9
TEXT = CACHE * 1e9


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"per_layer": SAVED}, "all layers; the question asks for one"),
        ({"per_layer": 117.4}, "not in millions"),
        ({"saved": LAYER}, "the model has 80"),
        ({"saved": 9.395}, "not in billions"),
        ({"attention_percent": 44}, "not to three digits"),
        ({"attention_percent": 77.8}, "percent of what is left"),
        ({"attention_percent": 87.5}, "keys and values alone"),
        ({"attention_percent": 12.5}, "left of keys and values"),
        ({"attention_percent": 56.25}, "left of the block"),
        ({"attention_percent": 58.3}, "output projection out"),
        ({"attention_percent": 11.99}, "whole model"),
        ({"attention_percent": 13.4}, "the source's figure"),
        ({"attention_percent": 21.9}, "one of the two"),
        ({"attention_percent": 0.4375}, "is a fraction"),
        ({"model_percent": 13.62}, "saved already"),
        ({"model_percent": 13.42}, "70 billion, a round number"),
        ({"model_percent": 43.75}, "percent of the attention blocks"),
        ({"model_percent": 6.0}, "one of the two"),
        ({"model_percent": 14.47}, "rule of thumb"),
        ({"model_percent": 100 * SAVED / (FULL - L * D * 28672)}, "it has three"),
        ({"model_percent": 0.12}, "is a fraction"),
        ({"cache_full_gb": CACHE / 2}, "the cache holds both"),
        ({"cache_full_gb": CACHE * 2}, "four bytes"),
        ({"cache_full_gb": CACHE / L}, "one layer"),
        ({"cache_full_gb": CACHE / 4096}, "one token"),
        ({"cache_full_gb": CACHE / 128}, "width of 128"),
        ({"cache_full_gb": CACHE * 4000 / 4096}, "4,000 tokens"),
        ({"cache_full_gb": CACHE / 8}, "which of the two"),
        ({"cache_full_gb": 10}, "prefixes are mixed up"),
        ({"cache_full_gb": CACHE / 64}, "one key-value head; there are 64"),
        ({"cache_full_gb": 11}, "not to three digits"),
        ({"cache_grouped_gb": CACHE / 64}, "one key-value head; there are 8"),
        ({"cache_grouped_gb": 0.168}, "one key-value head"),
        ({"cache_grouped_gb": 1.3}, "not to three digits"),
        ({"cache_grouped_gb": CACHE}, "which of the two"),
        ({"cache_grouped_gb": CACHE / 16}, "the cache holds both"),
        ({"cache_grouped_gb": 1.25}, "prefixes are mixed up"),
        ({"texts_full": 16}, "One too many"),
        ({"texts_full": (MEMORY - 2 * FULL) / TEXT}, "Texts come whole"),
        ({"texts_full": 15.2}, "Texts come whole"),
        ({"texts_grouped": 135.6}, "Texts come whole"),
        ({"texts_full": 22}, "8-bit weights"),
        ({"texts_grouped": 121}, "model with 64 key-value heads"),
        ({"texts_full": MEMORY // TEXT}, "weights need room"),
        ({"texts_full": MEMORY / TEXT}, "weights need room"),
        ({"texts_full": 0}, "one GPU's memory"),
        ({"texts_full": 17}, "80 GiB"),
        ({"texts_grouped": 136}, "rounded up"),
        ({"texts_grouped": 134}, "70 billion weights"),
        ({"texts_grouped": 120}, "weights shrink"),
        ({"texts_grouped": 32}, "32-bit weights"),
        ({"texts_grouped": 153}, "80 GiB"),
        ({"texts_grouped": 238}, "weights need room"),
    ],
)
def test_mistakes_are_named(answer, named):
    result = check.grouped_query_savings(**answer)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("rubbish", [[64], {}, math.nan, 3 + 0j, object(), math.inf, "9 B", True])
def test_rubbish_fails_without_an_exception(name, rubbish):
    result = check.grouped_query_savings(**{name: rubbish})
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("answer", [{}, dict.fromkeys(RIGHT, ...), dict.fromkeys(RIGHT)])
def test_not_attempted(answer):
    assert check.grouped_query_savings(**answer).status == "not attempted"


def test_the_answer_is_not_leaked():
    messages = check.grouped_query_savings(*[7] * 8).messages
    for right in ("1174", "117,", "9.39", "43.7", "11.9", "10.7", "1.34", "135"):
        assert right not in messages
