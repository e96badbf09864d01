"""The check of exercise 13.29 takes any right count and names each known mistake."""

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from llmbook import check

with FlopCounterMode(display=False):  # its first use imports a good deal: not inside a check
    torch.ones(2, 2) @ torch.ones(2, 2)


def formula(n_layers, d_model, d_ff, vocab_size, context):
    weights = 2 * (n_layers * (4 * d_model**2 + 2 * d_model * d_ff) + d_model * vocab_size)
    return weights, 4 * n_layers * d_model * context


def layer_by_layer(n_layers, d_model, d_ff, vocab_size, context):
    weights = attention = 0
    for _ in range(n_layers):
        for rows, columns in [(d_model, d_model)] * 4 + [(d_model, d_ff), (d_ff, d_model)]:
            weights += 2 * rows * columns
        for _ in range(context):
            attention += 2 * d_model + 2 * d_model
    return [weights + 2 * vocab_size * d_model, attention]


def counted_by_pytorch(n_layers, d_model, d_ff, vocab_size, context):
    with torch.device("meta"):
        x, keys = torch.empty(1, d_model), torch.empty(context, d_model)
        sizes = [(d_model, d_model)] * 4 + [(d_model, d_ff)]
        layers = [nn.Linear(*size) for size in sizes]
        down, head = nn.Linear(d_ff, d_model), nn.Linear(d_model, vocab_size)
        with FlopCounterMode(display=False) as counter:
            [layer(x) for layer in layers], down(torch.empty(1, d_ff))
        block = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            head(x)
        top = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            (x @ keys.T) @ keys
    return n_layers * block + top, n_layers * counter.get_total_flops()


def as_array(*sizes):
    return np.array(formula(*sizes), dtype=np.float64)


def as_tensor(*sizes):
    return torch.tensor(formula(*sizes))


def as_sympy(*sizes):
    return tuple(map(sp.Integer, formula(*sizes)))


@pytest.mark.parametrize(
    "token_flops",
    [formula, layer_by_layer, counted_by_pytorch, as_array, as_tensor, as_sympy],
)
def test_right_counts_pass(token_flops):
    result = check.inference_flops(token_flops, crossover=25204, middle_ratio=2, first_ratio=1)
    assert result.passed, result


@pytest.mark.parametrize(
    "numbers",
    [
        {"crossover": 25204.0, "middle_ratio": 2.0, "first_ratio": np.float32(1)},
        {"crossover": 25200},
        {"crossover": Fraction(50408, 2), "first_ratio": torch.tensor(1)},
        {"crossover": sp.Integer(25205), "middle_ratio": torch.tensor([2.0])},
        {"crossover": 25.2e3},
    ],
)
def test_right_numbers_pass(numbers):
    result = check.inference_flops(**numbers)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


# Each: what the mistake returns, from the right weights and attention, and what names it.
def changed(change):
    return lambda L, d, f, V, n: change(*formula(L, d, f, V, n), L, d, f, V, n)


MISTAKES = {
    "swapped": (changed(lambda w, a, *s: (a, w)), "wrong order"),
    "multiply-adds": (changed(lambda w, a, *s: (w / 2, a / 2)), "multiply-adds"),
    "total first": (changed(lambda w, a, *s: (w + a, a)), "first number is the total"),
    "half weights": (changed(lambda w, a, *s: (w / 2, a)), "weights are counted as multiply-adds"),
    "no head": (
        changed(lambda w, a, L, d, f, V, n: (w - 2 * V * d, a)),
        "output matrix is missing",
    ),
    "embedding": (changed(lambda w, a, L, d, f, V, n: (w + 2 * V * d, a)), "embedding table"),
    "no cache": (changed(lambda w, a, L, d, f, V, n: (w * n, a)), "are cached"),
    "one layer": (
        lambda L, d, f, V, n: (formula(1, d, f, V, n)[0], formula(L, d, f, V, n)[1]),
        "One layer is counted",
    ),
    "head per layer": (
        changed(lambda w, a, L, d, f, V, n: (w + 2 * (L - 1) * V * d, a)),
        "in every layer",
    ),
    "three matrices": (
        changed(lambda w, a, L, d, f, V, n: (w - 2 * L * d * d, a)),
        "output projection",
    ),
    "one projection": (changed(lambda w, a, L, d, f, V, n: (w - 6 * L * d * d, a)), "has four"),
    "no projections": (
        changed(lambda w, a, L, d, f, V, n: (w - 8 * L * d * d, a)),
        "projections of attention are missing",
    ),
    "no mlp": (changed(lambda w, a, L, d, f, V, n: (w - 4 * L * d * f, a)), "MLP is missing"),
    "half mlp": (changed(lambda w, a, L, d, f, V, n: (w - 2 * L * d * f, a)), "up and down"),
    "gated mlp": (changed(lambda w, a, L, d, f, V, n: (w + 2 * L * d * f, a)), "gated one"),
    "wide mlp": (lambda L, d, f, V, n: formula(L, d, 4 * d, V, n), "no effect"),
    "training": (changed(lambda w, a, *s: (3 * w, a)), "backward pass"),
    "biases": (
        changed(lambda w, a, L, d, f, V, n: (w + L * (5 * d + f), a)),
        "Biases or normalizations",
    ),
    "half attention": (changed(lambda w, a, *s: (w, a / 2)), "half as large"),
    "quarter attention": (changed(lambda w, a, *s: (w, a / 4)), "a quarter as large"),
    "square": (changed(lambda w, a, L, d, f, V, n: (w, a * n)), "square of the context"),
    "triangle": (changed(lambda w, a, L, d, f, V, n: (w, a * (n + 1) / 2)), "with those before"),
    "mean": (changed(lambda w, a, L, d, f, V, n: (w, a * (n + 1) / 2 / n)), "mean over"),
    "without itself": (changed(lambda w, a, L, d, f, V, n: (w, a * (n - 1) / n)), "includes it"),
    "one more": (changed(lambda w, a, L, d, f, V, n: (w, a * (n + 1) / n)), "already"),
    "attention of a layer": (changed(lambda w, a, L, *s: (w, a / L)), "in one layer"),
    "wide keys": (changed(lambda w, a, L, d, *s: (w, a * d)), "twice over"),
    "narrow keys": (changed(lambda w, a, L, d, *s: (w, a / d)), "width of the keys"),
    "no context": (changed(lambda w, a, L, d, f, V, n: (w, a / n)), "no context"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_counts_are_named(mistake):
    wrong, named = MISTAKES[mistake]
    result = check.inference_flops(wrong)
    assert result.status == "failed"
    assert named in result.messages, result
    assert "itself broke" not in result.messages


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"crossover": 50408}, "keys alone"),
        ({"crossover": 12602}, "one side is counted in multiply-adds"),
        ({"crossover": 25705}, "embedding table"),
        ({"crossover": 24704}, "output matrix"),
        ({"crossover": 24576}, "6 d_model"),
        ({"crossover": 19700}, "two matrices in the MLP"),
        ({"crossover": 25204 * 32}, "one layer"),
        ({"crossover": 25204 / 32}, "attention of all layers"),
        ({"crossover": 25000}, "three digits"),
        ({"crossover": 4096}, "not a mistake known here"),
        ({"middle_ratio": 1}, "gradient of the weights alone"),
        ({"middle_ratio": 3}, "whole training step"),
        ({"middle_ratio": 0.5}, "forward over backward"),
        ({"middle_ratio": 0}, "requires_grad"),
        ({"first_ratio": 2}, "nobody asks for"),
        ({"first_ratio": 3}, "three products"),
        ({"first_ratio": 0}, "still need"),
    ],
)
def test_wrong_numbers_are_named(answer, named):
    result = check.inference_flops(**answer)
    assert result.status == "failed"
    assert named in result.messages, result


@pytest.mark.parametrize(
    "rubbish",
    [
        lambda *s: 7,
        lambda *s: "many",
        lambda *s: (1, 2, 3),
        lambda *s: {"weights": 1, "attention": 2},
        lambda *s: (float("nan"), 1),
        lambda *s: 1 / 0,
        lambda L, d: (1, 2),
        lambda *s: ("a", "b"),
        42,
        "formula",
    ],
)
def test_rubbish_fails_without_an_exception(rubbish):
    result = check.inference_flops(rubbish)
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("name", ["crossover", "middle_ratio", "first_ratio"])
@pytest.mark.parametrize("rubbish", ["2", [2, 1], {}, float("nan"), 2j, object()])
def test_rubbish_numbers_fail_without_an_exception(name, rubbish):
    result = check.inference_flops(**{name: rubbish})
    assert result.status == "failed"
    assert "itself broke" not in result.messages


def test_not_attempted():
    def placeholder(n_layers, d_model, d_ff, vocab_size, context): ...  # your code

    assert check.inference_flops(placeholder).status == "not attempted"
    assert check.inference_flops(crossover=None, first_ratio=...).status == "not attempted"


def test_the_answer_is_not_leaked():
    result = check.inference_flops(lambda *s: (1, 2), crossover=7, middle_ratio=9, first_ratio=9)
    for right in ("25,204", "25204", "2.52", "4 d", "d_model * context"):
        assert right not in result.messages
