"""The check of exercise 15.5 takes any right answer and names each known mistake."""

from datetime import timedelta
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

FLOP = 6 * 70e9 * 1.4e12
HOURS = FLOP / (4096 * 989e12 * 0.5) / 3600
WEEK = FLOP / (989e12 * 7 * 86400)  # GPUs at their peak
LLAMA = 6 * 65.3e9 * 380 / 312e12
LLAMA_DAYS = 1.4e12 / (2048 * 380) / 86400
RIGHT = {
    "flop": FLOP,
    "hours": HOURS,
    "days": HOURS / 24,
    "gpus_for_a_week": 2875,
    "llama_mfu": LLAMA,
    "llama_days": LLAMA_DAYS,
}


def formula(n_parameters, n_tokens, n_gpus, peak, mfu, effective=1.0):
    return 6 * n_parameters * n_tokens / (n_gpus * peak * mfu * effective) / 86400


def step_by_step(n_parameters, n_tokens, n_gpus, peak, mfu, effective=1.0):
    forward, backward = 2 * n_parameters, 4 * n_parameters
    tokens_per_second = n_gpus * (peak * mfu) / (forward + backward)
    duration = timedelta(seconds=n_tokens / tokens_per_second)
    return duration / timedelta(days=1) / effective


def in_numpy(n_parameters, n_tokens, n_gpus, peak, mfu, effective=1):
    return np.divide(n_parameters * n_tokens, np.prod([n_gpus, peak, mfu, effective]) * 14400)


def in_sympy(*arguments, **options):
    exact = [sp.nsimplify(a) for a in arguments]
    return formula(*exact, **{name: sp.nsimplify(a) for name, a in options.items()})


def as_tensor(*arguments, **options):
    return torch.tensor([formula(*arguments, **options)], dtype=torch.float64)


@pytest.mark.parametrize("training_days", [formula, step_by_step, in_numpy, in_sympy, as_tensor])
def test_right_functions_pass(training_days):
    result = check.training_time(training_days, **RIGHT)
    assert result.passed, result


@pytest.mark.parametrize(
    "answer",
    [
        {"flop": 5.88e23, "hours": 80.6, "days": 3.36, "gpus_for_a_week": 2875.0},
        {"flop": 588 * 10**21, "llama_mfu": 0.477},
        # the data sheet's 989.4 TFLOP/s
        {"hours": HOURS * 989 / 989.4, "days": HOURS / 24 * 989 / 989.4},
        {"days": Fraction(336, 100), "gpus_for_a_week": np.int64(2875)},
        {"llama_days": 20.8},
        {"hours": torch.tensor(80.64), "llama_mfu": sp.Float(0.48)},
    ],
)
def test_right_numbers_pass(answer):
    result = check.training_time(**answer)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(answer)


FUNCTIONS = {
    "seconds": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, m, effective) * 86400,
        "sec",
    ),
    "hours": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, m, effective) * 24,
        "in hours",
    ),
    "minutes": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, m, effective) * 1440,
        "in minutes",
    ),
    "no mfu": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, 1, effective),
        "utilization has no effect",
    ),
    "mfu multiplied": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, 1 / m, effective),
        "multiply by the utilization",
    ),
    "no effective": (lambda n, d, g, p, m, effective=1: formula(n, d, g, p, m), "no effect"),
    "effective multiplied": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, m, 1 / effective),
        "multiply by `effective`",
    ),
    "one gpu": (
        lambda n, d, g, p, m, effective=1: formula(n, d, 1, p, m, effective),
        "number of GPUs has no effect",
    ),
    "gpus multiplied": (
        lambda n, d, g, p, m, effective=1: formula(n, d, 1 / g, p, m, effective),
        "multiply by the number of GPUs",
    ),
    "forward": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, m, effective) / 3,
        "forward pass",
    ),
    "half": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, m, effective) / 2,
        "Half as much",
    ),
    "no six": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, m, effective) / 6,
        "Parameters times tokens",
    ),
    "eight": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, m, effective) * 4 / 3,
        "forward pass twice",
    ),
    "mfu in percent": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, m / 100, effective),
        "not as a percentage",
    ),
    "rounded": (
        lambda n, d, g, p, m, effective=1: round(formula(n, d, g, p, m, effective), 2),
        "is rounded",
    ),
    "teraflops": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p * 1e12, m, effective),
        "not in TFLOP/s",
    ),
    "built-in peak": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, 989e12, m, effective),
        "use `peak`",
    ),
    "built-in gpus": (
        lambda n, d, g, p, m, effective=1: formula(n, d, 4096, p, m, effective),
        "use `n_gpus`",
    ),
    "built-in mfu": (
        lambda n, d, g, p, m, effective=1: formula(n, d, g, p, 0.5, effective),
        "use `mfu`",
    ),
}


@pytest.mark.parametrize("mistake", FUNCTIONS)
def test_wrong_functions_are_named(mistake):
    wrong, named = FUNCTIONS[mistake]
    result = check.training_time(wrong)
    assert result.status == "failed"
    assert named in result.messages, result
    assert "itself broke" not in result.messages


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
        ({"flop": 6e23}, "three digits"),
        ({"hours": HOURS / 24}, "That is days"),
        ({"days": HOURS}, "That is hours"),
        ({"hours": HOURS * 3600}, "That is seconds"),
        ({"days": HOURS * 60}, "That is minutes"),
        ({"hours": HOURS / 2}, "Half the time"),
        ({"hours": HOURS * 989 / 1979}, "1,979"),
        ({"days": HOURS / 24 / 4}, "You multiplied"),
        ({"hours": HOURS * 989 / 312}, "A100"),
        ({"hours": HOURS * 4096}, "4,096 share"),
        ({"days": HOURS / 24 * 4096 / 4000}, "4,000 GPUs"),
        ({"hours": HOURS / 3}, "forward pass alone"),
        ({"hours": HOURS / 6}, "parameters times tokens"),
        ({"hours": 82}, "rounded on the way"),
        ({"days": 3.4}, "three digits"),
        ({"hours": 5}, "not a mistake known here"),
        ({"gpus_for_a_week": 2874}, "round up"),
        ({"gpus_for_a_week": 2876}, "more than needed"),
        ({"gpus_for_a_week": 2874.5}, "come whole"),
        ({"gpus_for_a_week": -(-WEEK / 0.5 / 0.9 // 1)}, "You keep the 50%"),
        ({"gpus_for_a_week": -(-WEEK / 0.38 // 1)}, "interruptions are missing"),
        ({"gpus_for_a_week": 2329}, "calls for more"),
        ({"gpus_for_a_week": -(-WEEK / 0.9 // 1)}, "reach 38%"),
        ({"gpus_for_a_week": 416}, "You multiplied by the utilization"),
        ({"gpus_for_a_week": -(-WEEK * 7 / 0.38 / 0.9 // 1)}, "one day"),
        ({"gpus_for_a_week": -(-WEEK * 7 / 5 / 0.38 / 0.9 // 1)}, "5 days"),
        ({"gpus_for_a_week": 1967}, "rates of (a)"),
        ({"gpus_for_a_week": WEEK / 0.5}, "rates of (a)"),
        ({"gpus_for_a_week": 984}, "at the peak all the time"),
        ({"gpus_for_a_week": WEEK * 0.38 * 0.9}, "both call for more"),
        ({"gpus_for_a_week": 959}, "forward pass alone"),
        ({"gpus_for_a_week": WEEK / 0.5 / 0.9}, "You keep the 50%"),
        ({"gpus_for_a_week": 2870}, "not exact"),
        ({"gpus_for_a_week": 2880}, "not exact"),
        ({"gpus_for_a_week": 4096}, "not a mistake known here"),
        ({"llama_mfu": 1 / LLAMA}, "upside down"),
        ({"llama_mfu": LLAMA * 312 / 989}, "H100"),
        ({"llama_mfu": LLAMA * 70 / 65.3}, "70 billion"),
        ({"llama_mfu": LLAMA / 3}, "forward pass alone"),
        ({"llama_mfu": LLAMA / 2}, "Half as much"),
        ({"llama_mfu": LLAMA / 6}, "how many operations"),
        ({"llama_mfu": LLAMA / 2048}, "do not divide"),
        ({"llama_mfu": LLAMA * 2048}, "do not multiply"),
        ({"llama_mfu": 1 - LLAMA}, "time lost"),
        ({"llama_mfu": 47.7}, "percentage"),
        ({"llama_days": LLAMA_DAYS * 24}, "That is hours"),
        ({"llama_days": LLAMA_DAYS * 86400}, "That is seconds"),
        ({"llama_days": LLAMA_DAYS * 2048}, "one GPU"),
        ({"llama_days": LLAMA_DAYS / 2}, "4,096 GPUs"),
        ({"llama_days": LLAMA_DAYS * LLAMA}, "at the GPUs' peak"),
        ({"llama_days": LLAMA_DAYS / LLAMA}, "reached already"),
        ({"llama_days": LLAMA_DAYS * 70 / 65.3}, "70 billion"),
        ({"llama_days": 21}, "not to three digits"),
    ],
)
def test_wrong_numbers_are_named(answer, named):
    result = check.training_time(**answer)
    assert result.status == "failed"
    assert named in result.messages, result


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("rubbish", ["3 d", [1, 2], {}, float("nan"), 3j, object(), True])
def test_rubbish_fails_without_an_exception(name, rubbish):
    result = check.training_time(**{name: rubbish})
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize(
    "rubbish",
    [lambda *a, **k: "a week", lambda *a, **k: float("inf"), lambda n, d: 1, 5, lambda *a: [1, 2]],
)
def test_rubbish_functions_fail_without_an_exception(rubbish):
    result = check.training_time(rubbish)
    assert result.status == "failed"
    assert "itself broke" not in result.messages


def test_not_attempted():
    def placeholder(n_parameters, n_tokens, n_gpus, peak, mfu, effective=1.0): ...  # your code

    assert check.training_time(placeholder, flop=None, days=...).status == "not attempted"
    assert check.training_time().status == "not attempted"


def test_the_answer_is_not_leaked():
    wrong = check.training_time(lambda *a, **k: 3.3, **dict.fromkeys(RIGHT, 3.3)).messages
    near = check.training_time(**{name: 1.015 * value for name, value in RIGHT.items()}).messages
    for right in ("5.88", "5.9", "80.6", "3.36", "2,875", "2875", "0.47", "20.8"):
        assert right not in wrong + near.replace("2918", "")
