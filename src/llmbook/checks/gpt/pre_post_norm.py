"""Check of exercise 13.31, pre-norm and post-norm."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    is_placeholder,
    to_tensor,
)

EPSILON = 1e-5
Layer = Callable[[Tensor], Tensor]


def pre_post_norm(
    pre_norm_block: Callable[..., Any] | None = None,
    post_norm_block: Callable[..., Any] | None = None,
    *,
    example: Sequence[Any] | None = None,
    agree: str | None = None,
    rms_after_24_blocks: float | None = None,
    pre_exponent: float | None = None,
    post_exponent: float | None = None,
) -> Result:
    """Check the two blocks, the example that tells them apart, and what depth does to them.

    Parameters
    ----------
    pre_norm_block, post_norm_block
        ``block(x, f, g)`` → (..., d). ``x`` is (..., d); ``f`` and ``g`` are functions from
        (..., d) to (..., d), the first and the second layer of the block. LN has no gain and no
        bias, and ε = 1e-5 is added to the variance.
    example
        (x, W_f, W_g): d numbers and two d × d matrices, d at least 2, such that the post-norm
        output differs from the pre-norm output after a final LN by more than 0.001 somewhere.
    agree
        Letter of the answer to (c).
    rms_after_24_blocks
        Root mean square of the components of x after 24 blocks.
    pre_exponent, post_exponent
        Power of the number of blocks with which the gradient at the last layer goes.
    """
    session = Session("pre_post_norm", pre_norm_block)
    for kind, block, other in (
        ("pre-norm", pre_norm_block, post_norm_block),
        ("post-norm", post_norm_block, pre_norm_block),
    ):
        _test_block(session, kind, block, other)
    _test_example(session, example)
    session.choice(
        "when one layer agrees",
        agree,
        "C",
        {
            "A": "There are such x: when does the inner LN change nothing?",
            "B": "x = 0 has no direction, and LN divides 0 by 0 there. Look for x that LN leaves "
            "as they are.",
            "D": "Take x twice as large: the inner LN hides that from f in one formula, but not in "
            "the other.",
        },
    )
    session.number(
        "root mean square after 24 blocks",
        rms_after_24_blocks,
        49**0.5,
        mistakes={
            "A block has two layers, and both add to x.": 25**0.5,
            "That is the variance; take its root.": 49.0,
            "That is a variance, and of one layer a block.": 25.0,
            "x has variance 1 before the first layer.": 48**0.5,
            "x has variance 1 before the first layer, and a block has two layers.": 24**0.5,
            "That is post-norm. Here no LN stands in the way of x itself: what the layers add "
            "stays in it.": 1.0,
            "Standard deviations of independent summands do not add up; variances do.": 48.0,
        },
    )
    session.number(
        "power of depth, pre-norm",
        pre_exponent,
        -0.5,
        atol=1e-6,
        rtol=1e-3,
        mistakes={
            "The sign: does a larger input make the gradient behind the last LN larger?": 0.5,
            "The *variance* of the stream grows like L. LN divides by its root.": -1.0,
            "That is the growth of the variance of the stream, and of the wrong sign.": 1.0,
            "The stream grows with depth, and the last LN divides by its size.": 0.0,
        },
    )
    session.number(
        "power of depth, post-norm",
        post_exponent,
        0.0,
        atol=1e-6,
        mistakes={
            "In post-norm the input of the last LN is a normalized stream plus one layer. How does "
            "its size depend on depth?": -0.5,
            "The input of the last LN does not shrink with depth, nor does the gradient grow.": 0.5,
            "Nothing there grows with depth: each LN undoes the growth of its block.": -1.0,
        },
    )
    return session.result()


def _norm(x: Tensor, epsilon: float = EPSILON) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=epsilon)


def _layers(d: int, dtype: torch.dtype, scale: float) -> tuple[Layer, Layer]:
    """Two layers that do not commute and are neither linear nor odd."""
    first = torch.randn(d, d, dtype=dtype)
    second = torch.randn(d, d, dtype=dtype)
    return (
        lambda u: scale * ((u @ first.to(u)).tanh() + 0.5),
        lambda u: (u @ second.to(u)).sigmoid(),
    )


def _test_block(session: Session, kind: str, block: Any, other: Any) -> None:
    pre = kind == "pre-norm"
    cases = {
        "one vector": torch.tensor([1.0, 2.0, 6.0]),
        "texts of several tokens": 3 * torch.randn(2, 5, 8) + 1,
        "a batch of vectors": torch.randn(4, 6) - 2,
        "nearly equal components": 1 + 0.004 * torch.randn(2, 6),
    }
    for name, x in cases.items():

        @session.test(f"{kind}: {name}")
        def _(x: Tensor = x) -> None:
            # Where x is nearly constant, and its sum with f(x), ε counts, and float32 loses digits.
            flat = bool(x.std() < 0.1)
            f, g = _layers(x.shape[-1], x.dtype, 0.003 if flat else 1.0)
            exact = x.double()
            if pre:
                u = exact + f(_norm(exact))
                right = u + g(_norm(u))
            else:
                u = _norm(exact + f(exact))
                right = _norm(u + g(u))
            got = session.call(block, x, f, g)
            expect_close(
                got,
                right,
                inputs={"x": x},
                mistakes=_mistakes(pre, exact, f, g),
                properties=None
                if pre
                else {
                    "post-norm returns vectors of mean 0": lambda y: bool((y.mean(-1) < 0.01).all())
                },
                rtol=1e-4,
                atol=3e-4 if flat else 1e-5,
            )


def _mistakes(pre: bool, x: Tensor, f: Layer, g: Layer) -> list[Mistake]:
    def sample_norm(y: Tensor) -> Tensor:
        y = y - y.mean(-1, keepdim=True)
        return y / (y.var(-1, keepdim=True) + EPSILON).sqrt()

    def uncentered(y: Tensor) -> Tensor:
        return F.rms_norm(y, y.shape[-1:], eps=EPSILON)

    def outside(y: Tensor) -> Tensor:
        y = y - y.mean(-1, keepdim=True)
        return y / (y.square().mean(-1, keepdim=True).sqrt() + EPSILON)

    def exact(y: Tensor) -> Tensor:
        return _norm(y, 0.0)

    def everywhere(y: Tensor) -> Tensor:
        return F.layer_norm(y, y.shape, eps=EPSILON)

    def literal(y: Tensor) -> Tensor:
        size = (y.square().mean(-1, keepdim=True) + EPSILON).sqrt()
        return (y - y.mean(-1, keepdim=True)) / size

    def along(axis: int) -> Layer:
        return lambda y: _norm(y.movedim(axis, -1)).movedim(-1, axis)

    def before(norm: Layer, first: Layer = f, second: Layer = g) -> Tensor:
        u = x + first(norm(x))
        return u + second(norm(u))

    def after(norm: Layer, first: Layer = f, second: Layer = g) -> Tensor:
        u = norm(x + first(x))
        return norm(u + second(u))

    def restarted() -> Tensor:
        """The second addition is to x, not to u."""
        return x + g(_norm(u_pre)) if pre else _norm(x + g(u_post))

    form = before if pre else after
    u_pre, u_post = x + f(_norm(x)), _norm(x + f(x))
    wrong = [
        Mistake(
            f"This is the {'post' if pre else 'pre'}-norm block: the two are swapped.",
            lambda: (after if pre else before)(_norm),
        ),
        Mistake("The layers are in the wrong order: `f` comes first.", lambda: form(_norm, g, f)),
        Mistake(
            "The variance is divided by d − 1; LN divides by d (`unbiased=False`).",
            lambda: form(sample_norm),
        ),
        Mistake("The mean is not subtracted in LN.", lambda: form(uncentered)),
        Mistake("ε belongs under the root, beside the variance.", lambda: form(outside)),
        Mistake(
            "The variance is taken as the mean of the squares of x; it is that of the squared "
            "deviations from the mean.",
            lambda: form(literal),
        ),
        Mistake("ε is missing: it is 1e-5, under the root.", lambda: form(exact)),
        *(
            Mistake(
                f"ε is {epsilon:g} here; it should be 1e-5.",
                partial(form, partial(_norm, epsilon=epsilon)),
            )
            for epsilon in (1e-3, 1e-6, 1e-8)
        ),
        Mistake(
            "LN takes mean and variance over all dimensions; each vector has its own.",
            lambda: form(everywhere),
        ),
        *(
            Mistake(
                "LN runs over the wrong dimension; it takes mean and variance over the last one.",
                partial(form, along(axis)),
            )
            for axis in range(x.ndim - 1)
        ),
        Mistake(
            "The second layer's output is added to x again; add it to u, what the first layer has "
            "left.",
            restarted,
        ),
        Mistake("`f` is used twice: the second layer is `g`.", lambda: form(_norm, f, f)),
        Mistake("`g` is used twice: the first layer is `f`.", lambda: form(_norm, g, g)),
    ]
    if pre:
        wrong += [
            Mistake(
                "The block adds to the normalized x. Only the layer gets LN(x); what it returns is "
                "added to x itself.",
                lambda: (lambda u: _norm(u) + g(_norm(u)))(_norm(x) + f(_norm(x))),
            ),
            Mistake("The residual connections are missing.", lambda: g(_norm(f(_norm(x))))),
            Mistake(
                "The final LN of the model is not part of the block.", lambda: _norm(before(_norm))
            ),
            Mistake(
                "Both layers start from x, in parallel: the second one gets what the first one has "
                "added.",
                lambda: x + f(_norm(x)) + g(_norm(x)),
            ),
            Mistake("The second layer's input is not normalized.", lambda: u_pre + g(u_pre)),
        ]
    else:
        wrong += [
            Mistake(
                "LN is applied to what the layer returns, before the addition; post-norm "
                "normalizes the sum.",
                lambda: (lambda u: u + _norm(g(u)))(x + _norm(f(x))),
            ),
            Mistake("The residual connections are missing.", lambda: _norm(g(_norm(f(x))))),
            *(
                Mistake(
                    "Both layers start from x, in parallel: the second one gets u, the normalized "
                    "sum that the first one has left.",
                    parallel,
                )
                for parallel in (lambda: _norm(x + f(x) + g(x)), lambda: _norm(u_post + g(x)))
            ),
            Mistake("The sum after `g` is not normalized.", lambda: u_post + g(u_post)),
            Mistake(
                "The sum after `f` is not normalized.",
                lambda: _norm(x + f(x) + g(x + f(x))),
            ),
        ]
    return wrong


def _test_example(session: Session, example: Any) -> None:
    @session.test("an example that tells them apart")
    def _() -> None:
        if is_placeholder(example):
            session.call(example)  # not attempted
        try:
            parts = list(example)
        except TypeError:
            parts = []
        if len(parts) != 3:
            raise Failure("Pass `example` as three things: x, W_f and W_g.")
        x, w_f, w_g = (
            to_tensor(part, name).double()
            for part, name in zip(parts, ("x", "W_f", "W_g"), strict=True)
        )
        x = x.flatten()
        d = len(x)
        if d < 2:
            raise Failure("x has a single component: LN makes 0 of it, whatever it is. Take more.")
        for name, w in (("W_f", w_f), ("W_g", w_g)):
            if w.shape != (d, d):
                raise Failure(
                    f"x has {d} components, so {name} must be {d} × {d}; it is "
                    f"{' × '.join(map(str, w.shape)) or 'a number'}."
                )
        if not all(part.isfinite().all() for part in (x, w_f, w_g)):
            raise Failure("The example holds numbers that are not finite.")
        u = x + w_f @ _norm(x)
        pre = u + w_g @ _norm(u)
        v = _norm(x + w_f @ x)
        post = _norm(v + w_g @ v)
        if (_norm(pre) - post).abs().max() > 1e-3:
            return
        reasons = [
            "With this example the two outputs agree, once the pre-norm output has been through "
            "the final LN."
        ]
        if not w_f.any() and not w_g.any():
            reasons.append("Layers that add nothing leave LN(x) in both models.")
        elif d == 2:
            reasons.append(
                "With two components LN leaves nothing but a sign: take three or more, or an "
                "example in which the signs differ."
            )
        elif not w_g.any() and (_norm(x) - x).abs().max() < 1e-2:
            reasons.append("Without `g`, and with an x that is normalized: see (c).")
        elif (pre - post).abs().max() > 1e-3:
            reasons.append("Without that LN they differ, but only in size and by a shift.")
        raise Failure(" ".join(reasons))
