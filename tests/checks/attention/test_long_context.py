"""The check of exercise 11.25 (a) and (b) takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check


def powers(d, base):
    return [base ** (-2 * i / d) for i in range(d // 2)]


def with_torch(d, base, factor, method):
    exponents = torch.arange(0, d, 2) / d
    if method == "ntk":
        return (base * factor ** (d / (d - 2))) ** -exponents
    return base**-exponents / factor


def pair_by_pair(d, base, factor, method):
    plain = powers(d, base)
    if method == "interpolation":
        return [w / factor for w in plain]
    return [w / factor ** (i / (d // 2 - 1)) for i, w in enumerate(plain)]


def in_numpy(d, base, factor, method):
    base = {"ntk": base * factor ** ((d / 2) / (d / 2 - 1)), "interpolation": base}[method]
    angles = 1 / np.power(base, np.arange(0, d, 2, dtype=np.float32) / d)
    return angles if method == "ntk" else np.float32(angles / factor)


@pytest.mark.parametrize("frequencies", [with_torch, pair_by_pair, in_numpy])
def test_right_frequencies_pass(frequencies):
    result = check.long_context(scaled_frequencies=frequencies)
    assert result.status != "failed", result
    assert sum(outcome.status == "passed" for outcome in result.outcomes) == 7


def by_method(interpolation=None, ntk=None):
    """Return a function that is wrong for one method and right for the other."""

    def frequencies(d, base, factor, method):
        wrong = {"interpolation": interpolation, "ntk": ntk}[method]
        return torch.tensor(
            pair_by_pair(d, base, factor, method) if wrong is None else wrong(d, base, factor)
        )

    return frequencies


def scaled(change):
    """Frequencies with the base that `change` makes of d, base and factor."""
    return lambda d, base, factor: powers(d, change(d, base, factor))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda d, b, s: [w * s for w in powers(d, b)], "multiplied"),
        (lambda d, b, s: [w / s**2 for w in powers(d, b)], "divides twice"),
        (lambda d, b, s: powers(d, b), "unchanged"),
        (scaled(lambda d, b, s: b * s ** (d / (d - 2))), 'what `"ntk"` should return'),
        (scaled(lambda d, b, s: b * s), "changes the base"),
        (scaled(lambda d, b, s: b / s), "divides the base"),
        (lambda d, b, s: [s / w for w in powers(d, b)], "wavelengths or their like"),
        (lambda d, b, s: [2 * math.pi * s / w for w in powers(d, b)], "periods"),
        (lambda d, b, s: [w / s / (2 * math.pi) for w in powers(d, b)], "take radians"),
        (lambda d, b, s: [w / s for w in powers(d, b)][::-1], "order is reversed"),
        (lambda d, b, s: [math.sqrt(w) / s for w in powers(d, b)], "exponent is half"),
        (lambda d, b, s: [w / s for w in powers(d, b)] * 2, "each stands there twice"),
        (lambda d, b, s: b / s, "one number"),
        (lambda d, b, s: [w - s for w in powers(d, b)], "frequencies are positive"),
        (lambda d, b, s: [w / s for w in powers(d, b)][1:], "shape"),
        (lambda d, b, s: [w / s for w in powers(d + 2, b ** ((d + 2) / d))][1:], "count from 0"),
        (lambda d, b, s: [w / s for w in powers(d, 10_000)], "`base` has no effect"),
        (lambda d, b, s: [1 / w / s for w in powers(d, b)], "sign of the exponent"),
    ],
)
def test_wrong_interpolation_is_named(wrong, named):
    result = check.long_context(scaled_frequencies=by_method(interpolation=wrong))
    assert result.status == "failed"
    assert named in result.messages
    assert all(outcome.status == "passed" for outcome in result.outcomes if "ntk" in outcome.name)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (scaled(lambda d, b, s: b * s), "scales the base by the factor itself"),
        (scaled(lambda d, b, s: b * s ** ((d - 2) / d)), "upside down"),
        (scaled(lambda d, b, s: b / s ** (d / (d - 2))), "gets smaller"),
        (scaled(lambda d, b, s: b / s), "gets smaller"),
        (lambda d, b, s: [w / s for w in powers(d, b)], "leaves the fastest"),
        (
            lambda d, b, s: [w / s for w in powers(d, b * s ** (d / (d - 2)))],
            "does both",
        ),
        (
            lambda d, b, s: [w * s for w in powers(d, b * s ** (d / (d - 2)))],
            "also multiplied",
        ),
        (lambda d, b, s: [w * s for w in powers(d, b)], "makes the angles grow"),
        (scaled(lambda d, b, s: b * s ** (d / (2 * (d - 1)))), "i counts pairs"),
        (scaled(lambda d, b, s: b * s ** (d / (d - 1))), "mixed up"),
        (scaled(lambda d, b, s: b * s**2), "square of the factor"),
        (lambda d, b, s: powers(d, b), "unchanged"),
        (scaled(lambda d, b, s: 10_000 * s ** (d / (d - 2))), "`base` has no effect"),
        (
            lambda d, b, s: [
                (b * s ** (d / (d - 2))) ** (-2 * i / d) for i in range(1, d // 2 + 1)
            ],
            "count from 0",
        ),
        (lambda d, b, s: b * s ** (d / (d - 2)), "not the new base"),
        (scaled(lambda d, b, s: b + s), "exactly `factor` times as slow"),
        (
            lambda d, b, s: [
                w / (s ** (i / (d // 2 - 1)) + 1e-2) for i, w in enumerate(powers(d, b))
            ],
            "fastest pair is as fast as before",
        ),
    ],
)
def test_wrong_ntk_is_named(wrong, named):
    result = check.long_context(scaled_frequencies=by_method(ntk=wrong))
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_named(dtype):
    result = check.long_context(scaled_frequencies=lambda *given: with_torch(*given).to(dtype))
    assert result.status == "failed"
    assert "too few digits" in result.messages


@pytest.mark.parametrize(
    "numbers",
    [
        {"unfinished_pairs": 18, "layers_needed": 33},
        {"unfinished_pairs": 18.0, "layers_needed": np.int64(33)},
        {"unfinished_pairs": torch.tensor(18), "layers_needed": Fraction(33)},
        {"layers_needed": sp.ceiling(sp.Rational(131071, 4095))},
    ],
)
def test_right_counts_pass(numbers):
    result = check.long_context(**numbers)
    assert result.status != "failed"
    assert sum(outcome.status == "passed" for outcome in result.outcomes) == len(numbers)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"unfinished_pairs": 46}, "do complete"),
        ({"unfinished_pairs": 36}, "components"),
        ({"unfinished_pairs": 92}, "belong to finished pairs"),
        ({"unfinished_pairs": 6}, "2π"),
        ({"unfinished_pairs": 14}, "half a turn"),
        ({"unfinished_pairs": 17}, "Off by one"),
        ({"unfinished_pairs": 19}, "Off by one"),
        ({"unfinished_pairs": 0}, "1 / 10,000"),
        ({"unfinished_pairs": 45}, "last pair that completes"),
        ({"unfinished_pairs": 25}, "not a mistake known here"),
        ({"layers_needed": 32}, "how far *back*"),
        ({"layers_needed": 1}, "attention is full"),
        ({"layers_needed": 34}, "One too many"),
        ({"layers_needed": 31}, "Too few"),
        ({"layers_needed": 131071 / 4095}, "whole layers"),
        ({"layers_needed": 131072 / 4095}, "whole layers"),
    ],
)
def test_wrong_counts_are_named(answer, named):
    result = check.long_context(**answer)
    assert result.status == "failed"
    assert named in result.messages


def step_by_step(layers, window):
    seen = {0}
    for _ in range(layers):
        earliest = min(seen)
        seen.update(range(earliest - window + 1, earliest))
    return len(seen)


@pytest.mark.parametrize(
    "field",
    [
        lambda layers, window: layers * (window - 1) + 1,
        step_by_step,
        lambda layers, window: torch.tensor([layers * window - layers + 1.0]),
        lambda layers, window: np.array(1 + layers * window - layers),
    ],
)
def test_right_fields_pass(field):
    result = check.long_context(receptive_field=field)
    assert result.status != "failed", result
    assert sum(outcome.status == "passed" for outcome in result.outcomes) == 5


FIELD_MISTAKES = [
    (lambda layers, window: layers * window, "share a position"),
    (lambda layers, window: layers * window + 1, "does not count the position itself"),
    (lambda layers, window: layers * (window - 1), "count the own position too"),
    (lambda layers, window: window, "layers has no effect"),
    (lambda layers, window: window**layers, "do not multiply"),
    (lambda layers, window: (layers - 1) * (window - 1) + 1, "One layer is missing"),
    (lambda layers, window: (layers + 1) * (window - 1) + 1, "One layer too many"),
    (lambda layers, window: 2 * layers * (window - 1) + 1, "causal"),
    (lambda layers, window: window + layers - 1, "more than one position"),
    (lambda layers, window: window * (layers - 1) + 1, "interchanged"),
    (lambda layers, window: torch.zeros(layers, window), "one number"),
    (lambda layers, window: layers * window**2, "not right"),
]


@pytest.mark.parametrize(("field", "named"), FIELD_MISTAKES)
def test_wrong_fields_are_named_and_get_one_name(field, named):
    result = check.long_context(receptive_field=field)
    assert result.status == "failed"
    assert named in result.messages
    assert [text for _, text in FIELD_MISTAKES[:10] if text in result.messages] == [
        text for _, text in FIELD_MISTAKES[:10] if text == named
    ]


@pytest.mark.parametrize("name", ["unfinished_pairs", "layers_needed"])
@pytest.mark.parametrize("rubbish", ["18", [18], {}, math.nan, 3 + 0j, object(), math.inf])
def test_rubbish_numbers_fail_without_an_exception(name, rubbish):
    assert check.long_context(**{name: rubbish}).status == "failed"


@pytest.mark.parametrize("name", ["scaled_frequencies", "receptive_field"])
@pytest.mark.parametrize(
    "rubbish", [3, "text", lambda *a: "text", lambda *a: object(), lambda: 1, lambda *a: []]
)
def test_rubbish_functions_fail_without_an_exception(name, rubbish):
    result = check.long_context(**{name: rubbish})
    assert result.status == "failed"
    assert "itself broke" not in result.messages


def untouched(*arguments): ...  # your code


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"unfinished_pairs": ..., "layers_needed": None},
        {"scaled_frequencies": untouched, "receptive_field": untouched},
    ],
)
def test_not_attempted(answer):
    assert check.long_context(**answer).status == "not attempted"


def test_the_answer_is_not_leaked():
    messages = check.long_context(
        scaled_frequencies=lambda d, base, factor, method: torch.zeros(d // 2),
        unfinished_pairs=25,
        receptive_field=lambda layers, window: 7,
        layers_needed=50,
    ).messages
    for right in ("18", "33", "131041", "131,041", "d - 2", "d − 2", "window - 1", "W − 1"):
        assert right not in messages
