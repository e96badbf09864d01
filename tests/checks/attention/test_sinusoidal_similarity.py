"""The check of exercise 35.03 takes any right table and names each known mistake."""

import math
import re
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch

from llmbook import check


def run(encoding=None, **answers):
    return check.sinusoidal_similarity(encoding, **answers)


# --- Right answers, structurally different --------------------------------------------------------


def refuse_odd(d):
    if d % 2:
        raise ValueError(f"d_model must be even, got {d}")


def stacked_in_float64(n, d_model, base=10_000):
    refuse_odd(d_model)
    w = base ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angles = torch.arange(n)[:, None] * w
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def assigned_in_float32(n, d_model, base=10_000):
    assert d_model % 2 == 0
    position = torch.arange(n).unsqueeze(1)
    factor = torch.exp(torch.arange(0, d_model, 2) * (-math.log(base) / d_model))
    table = torch.zeros(n, d_model)
    table[:, 0::2] = torch.sin(position * factor)
    table[:, 1::2] = torch.cos(position * factor)
    return table


def entry_by_entry(n, d_model, base=10_000):
    refuse_odd(d_model)
    return [
        [
            (math.cos if j % 2 else math.sin)(p / base ** (2 * (j // 2) / d_model))
            for j in range(d_model)
        ]
        for p in range(n)
    ]


def numpy_with_a_phase(n, d_model, base=10_000):
    refuse_odd(d_model)
    j = np.arange(d_model)
    angles = np.outer(np.arange(n), 1 / np.power(float(base), 2 * (j // 2) / d_model))
    return np.sin(angles + np.pi / 2 * (j % 2))


def complex_exponentials(n, d_model, base=10_000):
    refuse_odd(d_model)
    w = torch.as_tensor(float(base)) ** (-torch.arange(d_model // 2) * 2 / d_model)
    turning = torch.polar(torch.ones(n, d_model // 2), torch.outer(torch.arange(n).float(), w))
    return torch.view_as_real(turning).flip(-1).reshape(n, d_model)


RIGHT = [
    stacked_in_float64,
    assigned_in_float32,
    entry_by_entry,
    numpy_with_a_phase,
    complex_exponentials,
]


@pytest.mark.parametrize("encoding", RIGHT)
def test_right_tables_pass(encoding):
    result = run(encoding)
    assert not result.messages
    assert result.headline.endswith("(7 of 12 tests passed, the others not attempted)")


def test_the_precision_of_far_positions_is_noted():
    assert "7 digits" in run(assigned_in_float32).notes[0]
    assert not run(stacked_in_float64).notes


def test_an_assert_passes_with_a_note():
    assert "exercise asks for a ValueError" in run(assigned_in_float32).notes[1]


def test_the_losses_are_those_of_the_limit():
    def s(distance):
        return float(mpmath.ci(distance) - mpmath.ci(distance / 10_000)) / math.log(10_000)

    assert (s(10) - s(1000)) / 2 == pytest.approx(0.25, rel=2.5e-2)  # asked, and what passes
    assert s(1000) - s(10_000) == pytest.approx(0.2243, abs=1e-4)


ANSWERS = {
    "largest": [256, 256.0001, torch.tensor(256.0)],
    "first_rise": [44, np.int64(44), torch.tensor(44)],
    "first_negative": [91, 91.0],
    "loss_per_decade": [0.25, Fraction(1, 4), 0.2456, math.log(10) / math.log(10_000)],
    "verdict": ["b", "(b)", " B."],
}


@pytest.mark.parametrize(("name", "given"), [(n, g) for n, gs in ANSWERS.items() for g in gs])
def test_right_answers_pass_in_any_format(name, given):
    result = run(**{name: given})
    assert [outcome.status for outcome in result.outcomes].count("passed") == 1
    assert not result.messages


def test_everything_right_passes():
    assert run(stacked_in_float64, **{name: values[0] for name, values in ANSWERS.items()}).passed


# --- Wrong tables ---------------------------------------------------------------------------------


def interleaved(angles):
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def encoding(
    start=lambda p: p,
    frequencies=lambda i, d, base: base ** (-2 * i / d),
    layout=interleaved,
    odd=refuse_odd,
):
    """Build a right function; each test breaks one piece of it."""

    def learner(n, d_model, base=10_000):
        odd(d_model)
        i = torch.arange(d_model // 2, dtype=torch.float64)
        p = torch.arange(n, dtype=torch.float64)
        return layout(start(p)[:, None] * frequencies(i, d_model, float(base)))

    return learner


def own_frequency(factor):
    def learner(n, d_model, base=10_000):
        refuse_odd(d_model)
        j = torch.arange(d_model, dtype=torch.float64)
        angles = torch.arange(n)[:, None] * base ** (-factor * j / d_model)
        return torch.where(j % 2 == 0, angles.sin(), angles.cos())

    return learner


def halves(a):
    return torch.cat([a.sin(), a.cos()], dim=-1)


def in_half_precision(dtype):
    def learner(n, d_model, base=10_000):
        return stacked_in_float64(n, d_model, base).to(dtype)

    return learner


def integers(n, d_model, base=10_000):
    table = torch.zeros(n, d_model, dtype=torch.long)
    table[:, 0::2] = stacked_in_float64(n, d_model, base)[:, 0::2].long()
    return table


def unreturned(n, d_model, base=10_000):
    stacked_in_float64(n, d_model, base)


MISTAKES = [
    ("concatenated halves", encoding(layout=halves)),
    ("changed places", encoding(layout=lambda a: interleaved(a).unflatten(-1, (-1, 2)).flip(-1).flatten(-2))),  # noqa: E501
    ("All cosines come first", encoding(layout=lambda a: torch.cat([a.cos(), a.sin()], -1))),
    ("Every column is a sine", encoding(layout=lambda a: a.repeat_interleave(2, -1).sin())),
    ("Every column is a cosine", encoding(layout=lambda a: a.repeat_interleave(2, -1).cos())),
    ("sign of the angle", encoding(start=torch.neg)),
    ("These are the angles", encoding(layout=lambda a: a.repeat_interleave(2, -1))),
    ("Positions start at 1", encoding(start=lambda p: p + 1)),
    ("divided by n", encoding(start=lambda p: p / len(p))),
    ("counted backward", encoding(start=lambda p: p.flip(0))),
    ("half of what it should be", encoding(frequencies=lambda i, d, b: b ** (-i / d))),
    ("counted twice", encoding(frequencies=lambda i, d, b: b ** (-4 * i / d))),
    ("sign of the exponent", encoding(frequencies=lambda i, d, b: b ** (2 * i / d))),
    ("one pair too few", encoding(frequencies=lambda i, d, b: b ** (-i / max(d // 2 - 1, 1)))),
    ("Pairs are counted from 1", encoding(frequencies=lambda i, d, b: b ** (-2 * (i + 1) / d))),
    ("powers of e", encoding(frequencies=lambda i, d, b: torch.exp(-2 * i / d))),
    ("A decimal logarithm", encoding(frequencies=lambda i, d, b: torch.exp(-2 * i / d * math.log10(b)))),  # noqa: E501
    ("taken for degrees", encoding(start=torch.deg2rad)),
    ("multiplied by 2π", encoding(start=lambda p: 2 * math.pi * p)),
    ("frequency of the first one", encoding(frequencies=lambda i, d, b: torch.ones_like(i))),
    ("`base` has no effect", encoding(frequencies=lambda i, d, b: 1e4 ** (-2 * i / d))),
    ("Each column has a frequency of its own: ", own_frequency(1)),
    ("the exponents go up to 2", own_frequency(2)),
    ("is transposed", lambda n, d_model, base=1e4: stacked_in_float64(n, d_model, base).T),
    ("length 1 in front", lambda n, d_model, base=1e4: stacked_in_float64(n, d_model, base)[None]),
    ("two or three digits", in_half_precision(torch.float16)),
    ("two or three digits", in_half_precision(torch.bfloat16)),
    ("Near positions are right", encoding(start=lambda p: p.half().double())),
    ("Near positions are right", encoding(start=lambda p: p.bfloat16().double())),
    ("whole numbers only", integers),
    ("is odd, so the last sine has no cosine", encoding(odd=lambda d: None)),
    ("is a `return` missing", unreturned),
    ("Return one table", lambda n, d_model, base=1e4: (stacked_in_float64(n, d_model, base), 1)),
    ("raised TypeError", lambda n, d_model: stacked_in_float64(n, d_model)),
]  # fmt: skip


@pytest.mark.parametrize(("named", "answer"), MISTAKES, ids=[named for named, _ in MISTAKES])
def test_mistakes_are_named(named, answer):
    result = run(answer)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (
            encoding(start=lambda p: p + 1, layout=halves),
            ["Positions start at 1", "concatenated halves"],
        ),
        (
            encoding(frequencies=lambda i, d, b: b ** (-i / d), layout=halves),
            ["half of what it should be", "concatenated halves"],
        ),
        (
            encoding(frequencies=lambda i, d, b: b ** (2 * i / d), start=lambda p: p + 1),
            ["sign of the exponent", "Positions start at 1"],
        ),
        (
            encoding(
                frequencies=lambda i, d, b: b ** (-i / max(d // 2 - 1, 1)),
                layout=halves,
            ),
            ["one pair too few", "concatenated halves"],
        ),
    ],
)
def test_two_mistakes_at_once_are_both_named(answer, named):
    messages = run(answer).messages
    assert all(part in messages for part in named)


def test_an_unknown_mistake_is_shown_with_its_input():
    messages = run(encoding(layout=lambda a: 2 * interleaved(a))).messages
    assert "Violated: row 0 holds sin 0 and cos 0 in turn" in messages
    assert "n = 5, d_model = 6" in messages


@pytest.mark.parametrize(
    ("name", "given", "named"),
    [
        ("largest", 512, "one for each component"),
        ("largest", 16, "length of a row"),
        ("largest", 1, "largest value of s"),
        ("first_rise", 43, "last distance before the rise"),
        ("first_rise", 45, "one too many: distances are counted from 0"),
        ("first_rise", 0.526, "a whole number of positions"),
        ("first_negative", -0.027, "a whole number of positions"),
        ("first_negative", 92, "one too many: distances are counted from 0"),
        ("first_rise", 6, "at width 64"),
        ("first_rise", 12, "at width 128"),
        ("first_rise", 7, "full turn of the fastest pair"),
        ("first_negative", 90, "one too few: the last distance before it"),
        ("first_negative", 474, "at width 32"),
        ("first_negative", 2, "fastest pair alone"),
        ("loss_per_decade", 0.109, "each factor e"),
        ("loss_per_decade", 0.5, "two factors of 10"),
        ("loss_per_decade", -0.25, "positive number"),
        ("loss_per_decade", 25, "percentage"),
        ("loss_per_decade", 0.64, "not their difference"),
        ("loss_per_decade", 0.22, "near the base the law bends"),
        ("loss_per_decade", 0.24, "loses this much from 10 to 100"),
        ("loss_per_decade", 0.26, "loses this much from 100 to 1,000"),
        ("verdict", "a", "one by one"),
        ("verdict", "c", "from 3 to 7"),
        ("verdict", "d", "15 to 20"),
        ("verdict", "e", "Choose one of"),
    ],
)
def test_wrong_answers_are_diagnosed(name, given, named):
    result = run(**{name: given})
    assert result.status == "failed"
    assert named in result.messages


# The distances of the right answers, and those named as another width's, counted here.
@pytest.mark.parametrize(
    ("width", "rise", "negative"),
    [
        (4, 4, 22),
        (16, 4, 91),
        (32, 5, 474),
        (64, 6, 725),
        (128, 12, 1707),
        (256, 25, None),
        (512, 44, 3284),
        (1024, 69, None),
    ],
)
def test_the_distances_are_those_of_the_encoding(width, rise, negative):
    table = stacked_in_float64(3300, width)
    s = table @ table[0] / (width / 2)
    assert int((s.diff() > 0).nonzero()[0]) + 1 == rise
    if negative:
        assert int((s < 0).nonzero()[0]) == negative


# --- No answer, no sense, no leak -----------------------------------------------------------------


def placeholder(n, d_model, base=10_000): ...  # your code


@pytest.mark.parametrize("nothing", [None, ..., placeholder])
def test_an_untouched_answer_is_not_attempted(nothing):
    result = run(nothing, **dict.fromkeys(ANSWERS))
    assert result.status == "not attempted"
    assert not result.notes


@pytest.mark.parametrize(
    "rubbish",
    [
        3,
        "table",
        torch.zeros(5, 6),
        lambda: 0,
        lambda n, d_model, base=1: "table",
        lambda n, d_model, base=1: [[1], [2, 3]],
        lambda n, d_model, base=1: torch.zeros(0),
        lambda n, d_model, base=1: torch.full((n, d_model), math.nan),
        lambda n, d_model, base=1: stacked_in_float64(n, d_model) * 1j,
    ],
)
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_rubbish_fails_without_an_exception(rubbish):
    result = run(
        rubbish, largest="256", first_rise=[44], first_negative=math.nan, verdict=b"b",
        loss_per_decade={},
    )  # fmt: skip
    assert {outcome.status for outcome in result.outcomes} == {"failed"}
    assert "broke" not in result.messages


def test_the_answer_is_not_leaked():
    messages = run(
        encoding(layout=lambda a: 2 * interleaved(a)),
        largest=3, first_rise=1000, first_negative=1000, loss_per_decade=7, verdict="z",
    ).messages  # fmt: skip
    assert messages.count("not a mistake known here") == 4
    for answer in ("256", "44", "91", "0.25", "0.8415", "0.5403"):
        assert not re.search(rf"\b{re.escape(answer)}\b", messages)
