"""The check of exercise 35.02 takes any right answer and names each known mistake."""

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

FLOP = 6 * 7e9 * 1e12
PEAK = FLOP / 312e12 / 3600
AT_40 = PEAK / 0.4
DAYS = AT_40 / 256 / 24
LLAMA = 6 * 6.74e9 * 1e12 / 312e12 / 3600 / 82_432
RIGHT = {
    "flop": FLOP,
    "hours_at_peak": PEAK,
    "hours_at_40": AT_40,
    "days_on_256": DAYS,
    "llama_mfu": LLAMA,
    "fewer": "c",
}


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        {"flop": 4.2e22, "hours_at_peak": 37_400, "hours_at_40": 93_500, "days_on_256": 15.2},
        {"flop": 42 * 10**21, "hours_at_peak": sp.Rational(42 * 10**21, 312 * 36 * 10**14)},
        {"hours_at_40": np.float32(93483), "days_on_256": torch.tensor(15.2157)},
        {"days_on_256": Fraction(93483, 6144), "llama_mfu": 0.437},
        {"llama_mfu": 0.44, "fewer": "(C)"},
    ],
)
def test_right_answers_pass(answer):
    result = check.gpu_hours(**answer)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(answer)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"flop": FLOP / 3}, "forward pass alone"),
        ({"flop": FLOP / 2}, "Half as much"),
        ({"flop": FLOP * 2}, "Twice as much"),
        ({"flop": FLOP / 6}, "parameters times tokens"),
        ({"flop": FLOP * 4 / 3}, "computed twice"),
        ({"flop": FLOP * 1000}, "1,000 too much"),
        ({"flop": FLOP / 1000}, "1,000 too little"),
        ({"flop": 6 * 7e9 * 20 * 7e9}, "20 tokens per parameter"),
        ({"flop": 4.3e22}, "three digits"),
        ({"hours_at_peak": PEAK * 3600}, "That is seconds"),
        ({"hours_at_peak": PEAK * 60}, "That is minutes"),
        ({"hours_at_peak": PEAK / 24}, "That is days"),
        ({"hours_at_peak": PEAK / 3600}, "3,600 twice"),
        ({"hours_at_peak": PEAK / 2}, "structured sparsity"),
        ({"hours_at_peak": PEAK / 6}, "Only a sixth"),
        ({"hours_at_peak": PEAK / 3}, "Only a third"),
        ({"hours_at_peak": PEAK * 16}, "without Tensor Cores"),
        ({"hours_at_peak": PEAK * 2}, "TF32"),
        ({"hours_at_peak": PEAK * 312 / 989}, "H100"),
        ({"hours_at_peak": PEAK * 1000}, "1,000 too much"),
        ({"hours_at_peak": PEAK / 1000}, "1,000 too little"),
        ({"hours_at_peak": 37_000}, "three digits"),
        ({"hours_at_peak": 5}, "not a mistake known here"),
        ({"hours_at_40": PEAK * 0.4}, "You multiplied by the utilization"),
        ({"hours_at_40": PEAK}, "at the peak of (b)"),
        ({"hours_at_40": PEAK / 40}, "as a share, 40% is 0.40"),
        ({"hours_at_40": PEAK * 1.4}, "adds 40%"),
        ({"hours_at_40": PEAK * 1.6}, "adds 60%"),
        ({"hours_at_40": PEAK / 0.6}, "at 60%"),
        ({"hours_at_40": AT_40 * 3600}, "That is seconds"),
        ({"hours_at_40": AT_40 / 2}, "structured sparsity"),
        ({"days_on_256": DAYS * 24}, "That is hours"),
        ({"days_on_256": DAYS * 0.4}, "at the peak"),
        ({"days_on_256": DAYS * 0.16}, "You multiplied"),
        ({"days_on_256": DAYS * 256}, "one GPU"),
        ({"days_on_256": DAYS / 24}, "24 twice"),
        ({"days_on_256": DAYS / 4}, "1,024"),
        ({"days_on_256": DAYS * 32}, "divides by 8"),
        ({"days_on_256": 15}, "three digits"),
        ({"llama_mfu": 1 / LLAMA}, "upside down"),
        ({"llama_mfu": LLAMA * 7 / 6.74}, "7 billion"),
        ({"llama_mfu": LLAMA / 3}, "forward pass alone"),
        ({"llama_mfu": LLAMA / 2}, "Half as much"),
        ({"llama_mfu": 1 - LLAMA}, "time lost"),
        ({"llama_mfu": LLAMA / 6}, "how many operations"),
        ({"llama_mfu": LLAMA / 0.4}, "belong above"),
        ({"llama_mfu": AT_40 / 82_432}, "with 7 billion parameters"),
        ({"llama_mfu": LLAMA * 2}, "factor 2 in it"),
        ({"llama_mfu": LLAMA / 3600}, "hours or seconds"),
        ({"llama_mfu": LLAMA * 3600}, "seconds or hours"),
        ({"llama_mfu": 43.7}, "percentage"),
        ({"fewer": "a"}, "half the hours each"),
        ({"fewer": "b"}, "same operations"),
        ({"fewer": "d"}, "executes more operations"),
        ({"fewer": "e"}, "Choose one of"),
    ],
)
def test_wrong_answers_are_named(answer, named):
    result = check.gpu_hours(**answer)
    assert result.status == "failed"
    assert named in result.messages, result


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("rubbish", ["12 h", [1, 2], {}, float("nan"), 3j, object(), True])
def test_rubbish_fails_without_an_exception(name, rubbish):
    result = check.gpu_hours(**{name: rubbish})
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("answer", [{}, {"flop": None, "fewer": ...}])
def test_not_attempted(answer):
    assert check.gpu_hours(**answer).status == "not attempted"


def test_the_answer_is_not_leaked():
    messages = check.gpu_hours(**dict.fromkeys(RIGHT, 3.3)).messages
    for right in ("4.2", "37,39", "37393", "93,48", "93483", "15.2", "0.43", "higher"):
        assert right not in messages
