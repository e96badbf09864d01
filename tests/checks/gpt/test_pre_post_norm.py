"""The check of exercise 13.31 takes any right answer and names each known mistake."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmbook import check


def norm(x, epsilon=1e-5):
    return F.layer_norm(x, x.shape[-1:], eps=epsilon)


def by_hand(x, correction=0, epsilon=1e-5, inside=True, center=True):
    if center:
        x = x - x.mean(-1, keepdim=True)
    variance = (x**2).sum(-1, keepdim=True) / (x.shape[-1] - correction)
    return x / ((variance + epsilon).sqrt() if inside else variance.sqrt() + epsilon)


def pre_short(x, f, g):
    x = x + f(norm(x))
    return x + g(norm(x))


def post_short(x, f, g):
    x = norm(x + f(x))
    return norm(x + g(x))


def pre_by_hand(x, f, g):
    for layer in (f, g):
        x = x + layer(by_hand(x))
    return x


def post_by_hand(x, f, g):
    for layer in (f, g):
        x = by_hand(x + layer(x))
    return x


def pre_module(x, f, g):
    ln = nn.LayerNorm(x.shape[-1], elementwise_affine=False, dtype=x.dtype)
    u = x.add(f(ln(x)))
    return torch.add(g(ln(u)), u)


def post_module(x, f, g):
    ln = nn.LayerNorm(x.shape[-1], dtype=x.dtype)  # its gain is one and its bias zero
    return ln(ln(x + f(x)) + g(ln(x + f(x))))


def pre_in_place(x, f, g):
    x += f(norm(x))
    x += g(norm(x))
    return x


def pre_float32(x, f, g):
    """A norm whose parameters are in PyTorch's default type."""
    ln = nn.LayerNorm(x.shape[-1])
    x = x + f(ln(x))
    return x + g(ln(x))


def post_float32(x, f, g):
    ln = nn.LayerNorm(x.shape[-1])
    x = ln(x + f(x))
    return ln(x + g(x)).tolist()


def pre_float64(x, f, g):
    return pre_by_hand(x.double(), f, g).detach().numpy()


def post_float64(x, f, g):
    return post_by_hand(x.double(), f, g)


def post_rows(x, f, g):
    """Every vector on its own."""
    rows = [norm(u + g(u)) for u in (norm(r + f(r)) for r in x.reshape(-1, x.shape[-1]))]
    return torch.stack(rows).view(x.shape)


PRE = [pre_short, pre_by_hand, pre_module, pre_in_place, pre_float32, pre_float64]
POST = [post_short, post_by_hand, post_module, post_rows, post_float32, post_float64]
X, WF, WG = [1.0, 2.0, 6.0], np.diag([1.0, 0, 0]), [[0, 2.0, 0], [0, 0, 0], [1, 0, 0]]
REST = {
    "example": (X, WF, WG),
    "agree": "C",
    "rms_after_24_blocks": 7,
    "pre_exponent": -0.5,
    "post_exponent": 0,
}


@pytest.mark.parametrize(("pre", "post"), [*zip(PRE, POST, strict=True)])
def test_right_blocks_pass(pre, post):
    result = check.pre_post_norm(pre, post, **REST)
    assert result.passed, result


@pytest.mark.parametrize(
    "rest",
    [
        {"agree": "(c)"},
        {"rms_after_24_blocks": torch.tensor(49.0).sqrt()},
        {"pre_exponent": Fraction(-1, 2), "post_exponent": np.float32(0)},
        {"example": [torch.tensor(X), torch.eye(3).roll(1, 0), torch.randn(3, 3)]},
        {"example": (np.arange(5.0), np.outer(range(5), [1, -2, 0, 0, 1]), np.eye(5)[::-1])},
    ],
)
def test_right_answers_of_other_forms_pass(rest):
    result = check.pre_post_norm(**rest)
    assert result.status == "not attempted" or "✗" not in repr(result)
    assert not [o for o in result.outcomes if o.status == "failed"], result
    assert len([o for o in result.outcomes if o.status == "passed"]) == len(rest)


def wrong_pre(norm=norm, swap=False):
    def block(x, f, g):
        f, g = (g, f) if swap else (f, g)
        x = x + f(norm(x))
        return x + g(norm(x))

    return block


def wrong_post(norm=norm, swap=False):
    def block(x, f, g):
        f, g = (g, f) if swap else (f, g)
        x = norm(x + f(x))
        return norm(x + g(x))

    return block


NORMS = {
    "divided by d − 1": lambda x: by_hand(x, correction=1),
    "mean is not subtracted": lambda x: by_hand(x, center=False),
    "under the root, beside": lambda x: by_hand(x, inside=False),
    "ε is missing": lambda x: by_hand(x, epsilon=0.0),
    "over all dimensions": lambda x: F.layer_norm(x, x.shape),
    "ε is 1e-06 here": lambda x: by_hand(x, epsilon=1e-6),
    "squares of x": lambda x: (
        (x - x.mean(-1, keepdim=True)) / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    ),
    "over the wrong dimension": lambda x: norm(x.movedim(0, -1)).movedim(-1, 0),
}


@pytest.mark.parametrize(("message", "wrong"), NORMS.items())
def test_a_wrong_norm_is_named(message, wrong):
    for keyword, block in (("pre", wrong_pre(wrong)), ("post", wrong_post(wrong))):
        result = check.pre_post_norm(**{f"{keyword}_norm_block": block})
        assert message in result.messages, (keyword, result)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (post_short, "This is the post-norm block"),
        (wrong_pre(swap=True), "`f` comes first"),
        (lambda x, f, g: pre_short(norm(x), f, g), "not a mistake known"),
        (
            lambda x, f, g: (lambda u: norm(u) + g(norm(u)))(norm(x) + f(norm(x))),
            "adds to the normalized x",
        ),
        (lambda x, f, g: g(norm(f(norm(x)))), "residual connections are missing"),
        (lambda x, f, g: norm(pre_short(x, f, g)), "final LN of the model is not part"),
        (lambda x, f, g: x + f(norm(x)) + g(norm(x)), "Both layers start from x"),
        (lambda x, f, g: (lambda u: u + g(u))(x + f(norm(x))), "second layer's input"),
        (lambda x, f, g: x + g(norm(x + f(norm(x)))), "added to x again"),
        (lambda x, f, g: pre_short(x, f, f), "`f` is used twice"),
        (lambda x, f, g: pre_short(x, g, g), "`g` is used twice"),
    ],
)
def test_mistakes_in_pre_norm_are_named(block, message):
    result = check.pre_post_norm(block)
    assert result.outcomes[1].status == "failed"
    if message != "not a mistake known":
        assert message in result.messages, result


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (pre_short, "This is the pre-norm block"),
        (wrong_post(swap=True), "`f` comes first"),
        (lambda x, f, g: (lambda u: u + norm(g(u)))(x + norm(f(x))), "before the addition"),
        (lambda x, f, g: norm(g(norm(f(x)))), "residual connections are missing"),
        (lambda x, f, g: (lambda u: u + g(u))(norm(x + f(x))), "after `g` is not normalized"),
        (lambda x, f, g: (lambda u: norm(u + g(u)))(x + f(x)), "after `f` is not normalized"),
        (lambda x, f, g: norm(x + g(norm(x + f(x)))), "added to x again"),
        (lambda x, f, g: post_short(x, f, f), "`f` is used twice"),
        (lambda x, f, g: post_short(x, g, g), "`g` is used twice"),
        (lambda x, f, g: norm(x + f(x) + g(x)), "Both layers start from x"),
        (lambda x, f, g: norm(norm(x + f(x)) + g(x)), "Both layers start from x"),
    ],
)
def test_mistakes_in_post_norm_are_named(block, message):
    result = check.pre_post_norm(post_norm_block=block)
    assert message in result.messages, result


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"example": (X, np.zeros((3, 3)), np.zeros((3, 3)))}, "Layers that add nothing"),
        ({"example": ([1, 2], [[1, 0], [0, 2]], np.zeros((2, 2)))}, "nothing but a sign"),
        (
            {"example": (np.array([-1, 0, 1]) * 1.5**0.5, WG, 0 * WF)},
            "see (c)",
        ),
        ({"example": (X, np.eye(3), np.eye(3))}, "only in size and by a shift"),
        ({"example": (X, WF)}, "three things"),
        ({"example": 3}, "three things"),
        ({"example": (X, np.eye(2), WG)}, "W_f must be 3 × 3; it is 2 × 2"),
        ({"example": (X, WF, [1.0, 2, 3])}, "W_g must be 3 × 3; it is 3"),
        ({"example": ([1.0], [[1.0]], [[1.0]])}, "single component"),
        ({"example": ([1, 2, float("nan")], WF, WG)}, "not finite"),
        ({"example": ("a", WF, WG)}, "should be"),
        ({"agree": "A"}, "There are such x"),
        ({"agree": "b"}, "no direction"),
        ({"agree": "D"}, "twice as large"),
        ({"agree": "E"}, "Choose one of"),
        ({"rms_after_24_blocks": 5}, "two layers"),
        ({"rms_after_24_blocks": 49}, "take its root"),
        ({"rms_after_24_blocks": 25}, "a variance, and of one layer"),
        ({"rms_after_24_blocks": 48**0.5}, "before the first layer"),
        ({"rms_after_24_blocks": 24**0.5}, "and a block has two layers"),
        ({"rms_after_24_blocks": 48}, "do not add up"),
        ({"rms_after_24_blocks": 1}, "That is post-norm"),
        ({"pre_exponent": 0.5}, "The sign"),
        ({"pre_exponent": -1}, "divides by its root"),
        ({"pre_exponent": 1}, "of the wrong sign"),
        ({"pre_exponent": 0}, "divides by its size"),
        ({"post_exponent": -0.5}, "depend on depth"),
        ({"post_exponent": 0.5}, "nor does the gradient grow"),
        ({"post_exponent": -1}, "undoes the growth"),
    ],
)
def test_other_wrong_answers_are_named(answer, message):
    result = check.pre_post_norm(**answer)
    assert result.status == "failed"
    assert message in result.messages, result


def untouched(x, f, g): ...


def test_not_attempted_is_no_failure():
    assert check.pre_post_norm().status == "not attempted"
    assert check.pre_post_norm(untouched, untouched, example=None).status == "not attempted"


@pytest.mark.parametrize(
    "rubbish",
    [3, "text", lambda x: x, lambda x, f, g: "text", lambda x, f, g: x[..., :1], lambda *a: 1 / 0],
)
def test_rubbish_fails_without_an_exception(rubbish):
    result = check.pre_post_norm(rubbish, rubbish)
    assert result.status == "failed"


def test_no_answer_is_printed():
    wrong = check.pre_post_norm(
        post_short, pre_short, agree="A", rms_after_24_blocks=3, pre_exponent=2, post_exponent=3
    )
    assert "7" not in wrong.messages
    assert "0.5" not in wrong.messages
