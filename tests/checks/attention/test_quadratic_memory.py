"""The check of exercise 13.9 takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check
from llmbook.attention import standard_attention
from llmbook.measure import peak_bytes

# --- Right answers --------------------------------------------------------------------------------


def formula(n, n_heads=1, batch=1, bytes_per_number=2):
    return batch * n_heads * n**2 * bytes_per_number


def of_a_real_tensor(n, n_heads=1, batch=1, bytes_per_number=2):
    dtype = {1: torch.int8, 2: torch.bfloat16, 4: torch.float32}[bytes_per_number]
    return torch.empty(batch, n_heads, n, n, dtype=dtype, device="meta").nbytes


def row_by_row(n, n_heads=1, batch=1, bytes_per_number=2):
    one_row = sum(bytes_per_number for _ in range(min(n, 1000))) / min(n, 1000) * n
    return one_row * n * n_heads * batch


def in_numpy(n, n_heads=1, batch=1, bytes_per_number=2):
    return np.prod([batch, n_heads, n, n, bytes_per_number], dtype=np.int64)


def in_float32(n, n_heads=1, batch=1, bytes_per_number=2):
    return torch.tensor([batch, n_heads, n, n, bytes_per_number], dtype=torch.float32).prod()


def symbolic(n, n_heads=1, batch=1, bytes_per_number=2):
    return sp.Integer(n) ** 2 * n_heads * batch * bytes_per_number


@pytest.mark.parametrize(
    "function", [formula, of_a_real_tensor, row_by_row, in_numpy, in_float32, symbolic]
)
def test_right_functions_pass(function):
    result = check.quadratic_memory(function)
    assert [o.status for o in result.outcomes[:5]] == ["passed"] * 5, result


RIGHT = {
    "layer_gb": 1099.511627776,
    "longest_n": 25_000,
    "kept_gb": 137.438953472,
    "equals_cache": 2048,
    "alive_forward": 2,
    "alive_training": 3,
    "limit": "b",
}


def test_everything_right_passes():
    result = check.quadratic_memory(formula, **RIGHT)
    assert result.passed, result
    assert len(result.outcomes) == 12


@pytest.mark.parametrize(
    "numbers",
    [
        {"layer_gb": 1100, "kept_gb": 137},
        {"layer_gb": np.float32(1099.5), "kept_gb": Fraction(2**37, 10**9)},
        {"longest_n": math.sqrt(80e9 / 128), "equals_cache": sp.Integer(2048)},
        {"longest_n": torch.tensor(24_999.0), "equals_cache": 2049},
        {"longest_n": 24_999.6},
        {"alive_forward": 2.06, "alive_training": np.float64(3.125)},
        {"limit": " (B) "},
    ],
)
def test_other_formats_pass(numbers):
    result = check.quadratic_memory(**numbers)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


def test_the_matrices_counted_are_those_that_are_measured():
    """The two counts are facts about `standard_attention`: take them from it."""
    n = 768
    q, k, v = torch.ones(3, n, 16)
    forward = peak_bytes(lambda: standard_attention(q, k, v)) / (4 * n**2)
    inputs = [x.clone().requires_grad_() for x in (q, k, v)]
    step = peak_bytes(lambda: torch.autograd.grad(standard_attention(*inputs).sum(), inputs))
    result = check.quadratic_memory(alive_forward=forward, alive_training=step / (4 * n**2))
    assert sum(o.status == "passed" for o in result.outcomes) == 2, result


# --- Wrong answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda n, n_heads=1, batch=1, bytes_per_number=2: 2 * n, "grows linearly"),
        (lambda n, n_heads=1, **o: n * n * n_heads, "give the answer in bytes"),
        (lambda n, n_heads=1, **o: formula(n, 1, **o), "number of heads has no effect"),
        (lambda n, batch=1, **o: formula(n, **o), "batch size has no effect"),
        (lambda n, n_heads=1, batch=1, **o: formula(n, **o), "number of heads has no effect"),
        (lambda n, bytes_per_number=2, **o: formula(n, **o), "`bytes_per_number` has no effect"),
        (lambda n, bytes_per_number=4, **o: formula(n, bytes_per_number=4, **o), "with 4 bytes"),
        (lambda *n, **o: 8 * formula(*n, **o), "in bits"),
        (lambda *n, **o: 2 * formula(*n, **o), "twice as much"),
        (lambda *n, **o: formula(*n, **o) / 2, "half as much"),
        (lambda n, **o: formula(n, **o) * (n + 1) / (2 * n), "under the diagonal, with it"),
        (lambda n, **o: formula(n, **o) * (n - 1) / (2 * n), "under the diagonal, without it"),
        (
            lambda n, n_heads=1, **o: formula(n, n_heads, **o) / n_heads**2,
            "do not divide the n tokens",
        ),
        (lambda n, n_heads=1, **o: formula(n * n_heads, **o), "square the number of heads"),
        (lambda n, batch=1, **o: formula(n * batch, **o), "square the batch size"),
        (
            lambda n, n_heads=1, batch=1, bytes_per_number=2: (
                n * n * (n_heads + batch - (n_heads == 1 or batch == 1)) * bytes_per_number
            ),
            "multiplied, not added",
        ),
        (lambda n, **o: formula(n, **o) * n, "cube"),
        (lambda n, **o: formula(n, **o) * 32, "number of layers"),
        (lambda n, **o: formula(n, **o) * 128, "width of a head"),
        (
            lambda n, n_heads=1, batch=1, bytes_per_number=2: (
                (n ^ 2) * n_heads * batch * bytes_per_number
            ),
            "exclusive or",
        ),
        (
            lambda n, n_heads=1, batch=1, bytes_per_number=2: (
                batch * n_heads * n ^ 2 * bytes_per_number
            ),
            "exclusive or",
        ),
        (lambda n, heads=1, batch=1, bytes_per_number=2: formula(n, heads), "are called `n_heads`"),
        (lambda n, **o: formula(n, **o) / 1e9, "without a prefix"),
        (lambda n, **o: formula(n, **o) / 2**20, "without a prefix"),
        (lambda n, **o: -formula(n, **o), "negative"),
        (lambda n, **o: formula(n, **o) + 2 * n * 64, "too much"),
        (lambda n, **o: formula(n, **o) * 0.9, "too little"),
        (lambda n: 2 * n * n, "raised TypeError"),
        (lambda n, **o: "98", "should return one finite number"),
        (lambda n, **o: [98], "should return one finite number"),
        (lambda n, **o: torch.ones(2), "should return one finite number"),
        (lambda n, **o: math.inf, "should return one finite number"),
        (lambda n, **o: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_wrong_functions_are_named(function, named):
    result = check.quadratic_memory(function)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"layer_gb": 34.36}, "one head"),
        ({"layer_gb": 274.9}, "key and value heads"),
        ({"layer_gb": 2199}, "twice as much"),
        ({"layer_gb": 549.8}, "half as much"),
        ({"layer_gb": 35184}, "all 32 layers"),
        ({"layer_gb": 0.00839}, "linearly"),
        ({"layer_gb": 1048.576}, "128,000"),
        ({"layer_gb": 140737}, "width of a head"),
        ({"layer_gb": 1024}, "prefixes are mixed up"),
        ({"layer_gb": 1.0995e12}, "unit prefix"),
        ({"layer_gb": 8796}, "bits or bytes"),
        ({"longest_n": 25_001}, "a little more than 80 GB"),
        ({"longest_n": 35355}, "one of the two matrices"),
        ({"longest_n": 141421}, "one head"),
        ({"longest_n": 200000}, "one head and one"),
        ({"longest_n": 50000}, "key and value heads"),
        ({"longest_n": 17678}, "4 bytes"),
        ({"longest_n": 4419}, "all layers"),
        ({"longest_n": 25905}, "80 GiB"),
        ({"longest_n": 625_000_000}, "square root"),
        ({"kept_gb": 4.295}, "one layer, or one head"),
        ({"kept_gb": 0.1342}, "one head of one layer"),
        ({"kept_gb": 274.9}, "derivative of a softmax"),
        ({"kept_gb": 412.3}, "Three matrices"),
        ({"kept_gb": 68.72}, "half as much"),
        ({"kept_gb": 34.36}, "key and value heads"),
        ({"kept_gb": 131.072}, "8,000 tokens"),
        ({"kept_gb": 128}, "prefixes are mixed up"),
        ({"equals_cache": 64}, "one layer with one layer"),
        ({"equals_cache": 1024}, "half as long"),
        ({"equals_cache": 8192}, "mixed up"),
        ({"equals_cache": 65536}, "one head"),
        ({"equals_cache": 262144}, "counted for one head"),
        ({"equals_cache": 4194304}, "square of the length"),
        ({"alive_forward": 1}, "One is not enough"),
        ({"alive_forward": 3}, "with the backward pass"),
        ({"alive_forward": 2.5}, "linear in n"),
        ({"alive_forward": 8}, "leaves bytes"),
        ({"alive_forward": 4.1}, "divided by 2 bytes"),
        ({"alive_forward": 5}, "until the quotient settles"),
        ({"alive_training": 2.5}, "until the quotient settles"),
        ({"alive_training": 2}, "forward pass alone"),
        ({"alive_training": 1}, "the question is about the peak"),
        ({"alive_training": 3.5}, "linear in n"),
        ({"alive_training": 4}, "linear in n"),
        ({"alive_training": 12}, "leaves bytes"),
        ({"alive_training": 6}, "divided by 2 bytes"),
        ({"limit": "a"}, "holds no n × n matrix"),
        ({"limit": "c"}, "do the sum"),
        ({"limit": "d"}, "has to be in memory"),
        ({"limit": "e"}, "Choose one of"),
    ],
)
def test_wrong_numbers_are_named(answer, named):
    result = check.quadratic_memory(**answer)
    assert result.status == "failed"
    assert named in result.messages


def test_a_million_tokens_tell_the_mistakes_apart():
    """There n is no power of two, so that n²/2²⁰ is not n; and each number has 2 bytes."""
    outcomes = check.quadratic_memory(lambda n, **o: formula(n, **o) / 2**20).outcomes
    assert "without a prefix" in outcomes[4].message
    causal = check.quadratic_memory(lambda n, **o: formula(n, **o) * (n + 1) / (2 * n)).outcomes
    assert "causal mask" in causal[4].message


# --- No answer, no sense, no leak -----------------------------------------------------------------


def placeholder(n, n_heads=1, batch=1, bytes_per_number=2): ...


@pytest.mark.parametrize("answer", [{}, {"score_matrix_bytes": placeholder}, dict.fromkeys(RIGHT)])
def test_not_attempted(answer):
    assert check.quadratic_memory(**answer).status == "not attempted"


@pytest.mark.parametrize("name", [name for name in RIGHT if name != "limit"])
@pytest.mark.parametrize("rubbish", ["64", [64], {}, math.nan, 3 + 0j, object(), math.inf])
def test_rubbish_fails_without_an_exception(name, rubbish):
    assert check.quadratic_memory(**{name: rubbish}).status == "failed"


@pytest.mark.parametrize("rubbish", [3, "bytes", [], torch.ones(2), lambda: 1])
def test_rubbish_functions_fail_without_an_exception(rubbish):
    result = check.quadratic_memory(rubbish, limit=rubbish)
    assert result.status == "failed"
    assert "itself broke" not in result.messages


def test_the_answer_is_not_leaked():
    wrong = dict.fromkeys(RIGHT, 3.7)
    messages = check.quadratic_memory(lambda n, **o: 5 * n + 3, **wrong).messages
    for right in ("1,099", "1099", "25,000", "25000", "137", "2,048", "2048", "98", "n²·", "n * n"):
        assert right not in messages
