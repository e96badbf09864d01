"""The check of exercise 13.30 takes any right count and names each known mistake."""

import numpy as np
import pytest
import sympy as sp
import torch
from torch import nn

from llmbook import check


def refuse(d, h, g):
    if d % h or h % g:
        raise ValueError("does not fit")


def formula(d, h, bias=False, kv_heads=None):
    g = h if kv_heads is None else kv_heads
    refuse(d, h, g)
    return 2 * d * d + 2 * d * d * g // h + (2 * d + 2 * d * g // h) * bias


def head_by_head(d, h, bias=False, kv_heads=None):
    total = 0
    g = kv_heads or h
    assert d % h == 0, "d must divide into heads"
    assert h % g == 0
    width = d // h
    for _ in range(h):
        total += d * width + width * d
        total += width if bias else 0
    for _ in range(g):
        total += 2 * (d + bool(bias)) * width
    return total + (d if bias else 0)


def real_modules(d, h, bias=False, kv_heads=None):
    refuse(d, h, kv_heads or h)
    width = d // h
    shared = (kv_heads or h) * width
    layers = nn.ModuleList(
        [
            nn.Linear(d, d, bias=bias),
            nn.Linear(d, 2 * shared, bias=bias),
            nn.Linear(d, d, bias=bias),
        ]
    )
    return sum(p.numel() for p in layers.parameters())


def shapes_in_numpy(d, h, bias=False, kv_heads=None):
    g = h if kv_heads is None else kv_heads
    refuse(d, h, g)
    rows = np.array([h, g, g, h]) * (d // h)
    return np.dot(rows, [d + bias] * 3 + [d]) + d * bias


def as_float(d, h, bias=False, kv_heads=None):
    return float(formula(d, h, bias, kv_heads))


def symbolic(d, h, bias=False, kv_heads=None):
    g = h if kv_heads is None else kv_heads
    refuse(d, h, g)
    i = sp.Symbol("i")
    width = sp.Rational(d, h)
    b = int(bias)
    queries = sp.summation((d + b) * width + width * d, (i, 1, h))
    return queries + sp.summation(2 * (d + b) * width, (i, 1, g)) + b * d


def as_tensor(*args, **kwargs):
    return torch.tensor(formula(*args, **kwargs))


@pytest.mark.parametrize(
    "parameters",
    [formula, head_by_head, real_modules, shapes_in_numpy, as_float, symbolic, as_tensor],
)
def test_right_answers_pass(parameters):
    result = check.multi_head_parameters(parameters)
    assert result.passed, result


# Each: the part of the count that the mistake changes, and what names it.
MISTAKES = {
    "no output projection": (lambda d, h, b, g, w: formula(d, h, b, g) - d * d - d * b, "missing"),
    "h layers": (lambda d, h, b, g, w: formula(d, h, b, g) * h, "full width"),
    "full width heads": (lambda d, h, b, g, w: 3 * d * d * h + d * d, "full width"),
    "wide keys and values": (
        lambda d, h, b, g, w: 2 * d * d + 2 * d * d * g + (2 * d + 2 * d * g) * b,
        "Keys and values are counted at the full width",
    ),
    "shared keys and values wide": (
        lambda d, h, b, g, w: (
            formula(d, h, b) if g == h else 2 * d * d + 2 * d * d * g + (2 * d + 2 * d * g) * b
        ),
        "Keys and values are counted at the full width",
    ),
    "output per head": (lambda d, h, b, g, w: 3 * d * d + h * d * d, "its own rows"),
    "divided by h": (lambda d, h, b, g, w: 4 * d * d // h, "one head's share"),
    "square heads": (lambda d, h, b, g, w: h * 4 * w * w, "reads the whole input"),
    "square heads and output": (lambda d, h, b, g, w: h * 3 * w * w + d * d, "whole input"),
    "one head, no output": (lambda d, h, b, g, w: 3 * d * w, "that joins them"),
    "narrow output": (lambda d, h, b, g, w: 3 * d * d + d * w, "joined results of all heads"),
    "one matrix": (lambda d, h, b, g, w: d * d, "one of the four"),
    "two matrices": (lambda d, h, b, g, w: 2 * d * d, "two of the four"),
    "whole block": (lambda d, h, b, g, w: 12 * d * d, "transformer block"),
    "always biased": (lambda d, h, b, g, w: formula(d, h, True, g), "False by default"),
    "always grouped biases": (
        lambda d, h, b, g, w: formula(d, h, b, g) + (2 * d + 2 * g * w) * (not b and g < h),
        "False by default",
    ),
    "always three biases": (lambda d, h, b, g, w: formula(d, h, False, g) + 3 * d, "by default"),
    "three wide biases under grouping": (
        lambda d, h, b, g, w: formula(d, h, False, g) + (4 if g == h else 3) * d * b,
        "one is missing, and those of keys and values shrink",
    ),
    "no biases": (lambda d, h, b, g, w: formula(d, h, False, g), "biases are missing"),
    "three biases": (
        lambda d, h, b, g, w: formula(d, h, b, g) - d * b,
        "the output projection has one too",
    ),
    "output bias only": (lambda d, h, b, g, w: formula(d, h, False, g) + d * b, "one each"),
    "output bias per head": (
        lambda d, h, b, g, w: formula(d, h, b, g) + (h - 1) * d * b,
        "once per head",
    ),
    "biases of one head": (
        lambda d, h, b, g, w: formula(d, h, False, g) + (3 * w + d) * b,
        "for one head only",
    ),
    "bias per head": (lambda d, h, b, g, w: formula(d, h, False, g) + 4 * h * b, "per head"),
    "bias per matrix": (lambda d, h, b, g, w: formula(d, h, False, g) + 4 * b, "per matrix"),
    "wide biases": (
        lambda d, h, b, g, w: formula(d, h, False, g) + 4 * d * h * b,
        "full width `d` in every head",
    ),
    "groups ignored": (lambda d, h, b, g, w: formula(d, h, b), "makes no difference"),
    "queries shrink": (
        lambda d, h, b, g, w: 3 * d * g * w + d * d + (3 * g * w + d) * b,
        "more than keys and values",
    ),
    "output shrinks": (
        lambda d, h, b, g, w: 3 * d * g * w + d * d + (2 * g * w + 2 * d) * b,
        "more than keys and values",
    ),
    "all shrink": (
        lambda d, h, b, g, w: 4 * d * g * w + (3 * g * w + d) * b,
        "more than keys and values",
    ),
    "keys only": (
        lambda d, h, b, g, w: 3 * d * d + d * g * w + (3 * d + g * w) * b,
        "only one of the two",
    ),
    "group size": (
        lambda d, h, b, g, w: formula(d, h, b, h // g if g < h else h),
        "query heads in a group",
    ),
    "wide key biases": (
        lambda d, h, b, g, w: formula(d, h, False, g) + 4 * d * b,
        "shrink with `kv_heads` too",
    ),
}


@pytest.mark.parametrize(("count", "named"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(count, named):
    def parameters(d, h, bias=False, kv_heads=None):
        g = kv_heads or h
        refuse(d, h, g)
        return count(d, h, bias, g, d // h)

    result = check.multi_head_parameters(parameters)
    assert result.status == "failed"
    # The first failed test must already say it: it is what a learner reads.
    first = next(o for o in result.outcomes if o.status == "failed")
    assert named in first.message


def messages_by_test(parameters):
    return {o.name: o.message for o in check.multi_head_parameters(parameters).outcomes}


@pytest.mark.parametrize(
    "count",
    [
        lambda d, h, b, g: 4 * d * d * h + 4 * d * h * b,
        lambda d, h, b, g: 4 * d * d * h + 4 * d * b,
        lambda d, h, b, g: (2 * d * d + 2 * d * d * g // h) * h + 2 * d * (1 + g // h) * b,
    ],
    ids=["all wide", "right biases", "grouped, times h"],
)
def test_heads_of_full_width_are_named_with_and_without_biases(count):
    def parameters(d, h, bias=False, kv_heads=None):
        refuse(d, h, kv_heads or h)
        return count(d, h, bias, kv_heads or h)

    messages = messages_by_test(parameters)
    assert "full width `d`" in messages["seven heads"]
    assert "full width `d`" in messages["with biases"]


def test_full_width_is_named_under_grouping_too():
    def parameters(d, h, bias=False, kv_heads=None):
        refuse(d, h, kv_heads or h)
        return 4 * d * d * h + 4 * d * h * bias

    for name, message in messages_by_test(parameters).items():
        if not name.startswith(("refuses", "one head")):
            assert "full width `d`" in message, name


@pytest.mark.parametrize("wide", [False, True])
def test_a_single_key_head_that_saves_nothing_gets_a_message_that_fits(wide):
    def parameters(d, h, bias=False, kv_heads=None):  # groups of g heads, or keys d wide
        g = kv_heads or h
        refuse(d, h, g)
        if g == h:
            return formula(d, h, bias)
        if wide:
            return 2 * d * d * (1 + g) + (2 * d + 2 * d * g) * bias
        return formula(d, h, bias, h // g)

    message = messages_by_test(parameters)["a single key and value head"]
    assert "`kv_heads=1` leaves your count" in message
    assert "all `d / h` wide" in message


def test_no_two_mistakes_are_confused_by_the_first_layer():
    d, h = 42, 7
    counts = {}
    for name, (count, _) in MISTAKES.items():
        value = count(d, h, False, h, d // h)
        if value != formula(d, h):
            counts.setdefault(value, []).append(name)
    same = [names for names in counts.values() if len(names) > 1]
    assert same == [["divided by h", "square heads"]], same


def test_a_forgotten_return_is_said():
    def parameters(d, h, bias=False, kv_heads=None):
        refuse(d, h, kv_heads or h)
        formula(d, h, bias, kv_heads)

    messages = messages_by_test(parameters)
    assert "is a `return` missing?" in messages["seven heads"]
    assert not messages["refuses heads that do not fit"]


def test_a_wrong_exception_is_shown_with_the_learners_line_and_arguments():
    def parameters(d, h, bias=False, kv_heads=None):
        if d % h:
            raise KeyError("does not fit")
        return formula(d, h, bias, kv_heads)

    message = messages_by_test(parameters)["refuses heads that do not fit"]
    assert "raised KeyError" in message
    assert '`raise KeyError("does not fit")`' in message
    assert "It was called with (10, 3)." in message


def test_a_missing_keyword_is_shown_without_a_line_of_the_check():
    message = messages_by_test(lambda d, h, bias=False: formula(d, h, bias))[
        "grouped keys: 8 query heads share 2 key and value heads"
    ]
    assert "unexpected keyword argument 'kv_heads'" in message
    assert "in line" not in message

    def parameters(d, h, bias=False):
        refuse(d, h, h)
        return formula(d, h, bias)

    message = messages_by_test(parameters)["refuses heads that do not fit"]
    assert "unexpected keyword argument 'kv_heads'" in message
    assert "in line" not in message
    assert "It was called with (24, 6, kv_heads=4)." in message


def test_an_unknown_mistake_says_which_way_it_is_off():
    result = check.multi_head_parameters(lambda d, h, bias=False, kv_heads=None: 7)
    assert "`parameters(42, 7)` returned 7, which is too few" in result.messages
    assert "refuses" in repr(result)


@pytest.mark.parametrize(
    ("d", "h", "g", "named"), [(10, 3, 3, "no whole width"), (24, 6, 4, "share")]
)
def test_heads_that_do_not_fit_must_be_refused(d, h, g, named):
    def parameters(width, heads, bias=False, kv_heads=None):
        if (width, heads, kv_heads or heads) == (d, h, g):
            return 4
        return formula(width, heads, bias, kv_heads)

    result = check.multi_head_parameters(parameters)
    assert [o.status for o in result.outcomes].count("failed") == 1
    assert "should raise ValueError" in result.messages
    assert named in result.messages


@pytest.mark.parametrize("untouched", [None, ..., lambda d, h, bias=False, kv_heads=None: ...])
def test_not_attempted(untouched):
    assert check.multi_head_parameters(untouched).status == "not attempted"


@pytest.mark.parametrize(
    "rubbish",
    [
        5,
        "4d²",
        lambda d, h: 4 * d * d,
        lambda d, h, **rest: "many",
        lambda d, h, **rest: 4 * d * d + 0.5,
        lambda d, h, **rest: float("nan"),
        lambda d, h, **rest: float("inf"),
        lambda d, h, **rest: True,
        lambda d, h, **rest: [4 * d * d, 0],
        lambda d, h, **rest: torch.ones(2, 2),
        lambda d, h, **rest: sp.Symbol("d") ** 2,
    ],
)
def test_rubbish_fails_without_an_exception(rubbish):
    assert check.multi_head_parameters(rubbish).status == "failed"


def test_the_answer_is_not_leaked():
    messages = check.multi_head_parameters(lambda d, h, bias=False, kv_heads=None: 7).messages
    for d, h, bias, g in [(30, 5, False, 5), (40, 8, False, 2), (40, 8, True, 2), (24, 6, 0, 1)]:
        assert str(formula(d, h, bias, g)) not in messages
    assert "4d" not in messages
