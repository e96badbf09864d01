"""Check of exercise 13.3, the variance of the dot product."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmbook.checks.engine import Mistake, Result, Session
from llmbook.checks.scalars import expect_scalar

# Distributions on small integers, value -> probability: the score is then an integer, and its
# distribution is found exactly by convolution, without any formula for its variance.
SIGN = {-1: 0.5, 1: 0.5}  # mean 0, variance 1
SPARSE = {-2: 0.125, 0: 0.75, 2: 0.125}  # mean 0, variance 1, long tails
SKEWED = {-1: 0.75, 3: 0.25}  # mean 0, variance 3
NARROW = {-1: 0.125, 0: 0.75, 1: 0.125}  # mean 0, variance 1/4
SHIFTED = {0: 0.25, 1: 0.5, 4: 0.25}  # mean 3/2, variance 9/4
NEGATIVE = {-2: 0.25, 0: 0.75}  # mean -1/2, variance 3/4
# Mean -3/4, variance 27/16. With NEGATIVE, the unsquared means of "both means" would cancel.
LOW = {-3: 0.25, 0: 0.75}


def attention_variance(
    score_variance: Callable[..., Any] | None = None,
    score_variance_correlated: Callable[..., Any] | None = None,
    *,
    uncorrelated_is_enough: bool | None = None,
    one_white_side_is_enough: bool | None = None,
) -> Result:
    """Check formulas for the variance of the score q·k, and two claims about what they assume.

    Parameters
    ----------
    score_variance
        ``score_variance(d_k, var_q, var_k, mean_q, mean_k)`` returns Var(q·k), a number, when all
        2·d_k components are independent, those of q have mean ``mean_q`` and variance ``var_q``,
        and those of k have ``mean_k`` and ``var_k``.
    score_variance_correlated
        ``score_variance_correlated(mean_q, cov_q, mean_k, cov_k)`` returns Var(q·k), a number, when
        the vectors q and k are independent of each other, with mean vectors of shape (d_k,) and
        covariance matrices of shape (d_k, d_k), all float64 tensors.
    uncorrelated_is_enough
        True or False: if all 2·d_k components have mean 0 and variance 1 and any two of them are
        uncorrelated, then Var(q·k) = d_k.
    one_white_side_is_enough
        True or False: if the vectors q and k are independent of each other, all components have
        mean 0 and variance 1, and those of k are uncorrelated while those of q may be correlated
        in any way, then Var(q·k) = d_k.
    """
    session = Session("attention_variance", score_variance)

    def independent(name: str, d_k: int, q: Mapping[int, float], k: Mapping[int, float]) -> None:
        @session.test(name)
        def _() -> None:
            (mean_q, var_q), (mean_k, var_k) = _moments(q), _moments(k)
            mean, exact = _score_moments(d_k, q, k)
            expect_scalar(
                session.call(score_variance, d_k, var_q, var_k, mean_q, mean_k),
                exact,
                inputs={
                    "d_k": d_k, "var_q": var_q, "var_k": var_k, "mean_q": mean_q, "mean_k": mean_k
                },
                mistakes=_mistakes(d_k, var_q, var_k, mean_q, mean_k, mean, exact),
                properties={"a variance is not negative": lambda out: bool(out >= 0)},
            )  # fmt: skip

    independent("mean 0 and variance 1", 5, SIGN, SPARSE)
    independent("many components", 256, SPARSE, SIGN)
    independent("other variances", 6, SKEWED, NARROW)
    independent("a mean on the side of the keys", 7, SKEWED, SHIFTED)
    independent("a mean on the side of the queries", 7, NEGATIVE, NARROW)
    independent("both means", 12, SHIFTED, LOW)
    independent("a single component", 1, SHIFTED, SKEWED)

    def correlated(name: str, q: Tensor, k: Tensor) -> None:
        @session.test(name)
        def _() -> None:
            # Each row of q is as likely as any other, and so is each row of k: all pairs are.
            scores = q @ k.T
            given = (q.mean(0), _covariance(q), k.mean(0), _covariance(k))
            exact = float(scores.var(correction=0))
            expect_scalar(
                session.call(score_variance_correlated, *given),
                exact,
                inputs=dict(zip(("mean_q", "cov_q", "mean_k", "cov_k"), given, strict=True)),
                mistakes=_mistakes_correlated(*given, float(scores.mean()), exact),
                properties={"a variance is not negative": lambda out: bool(out >= 0)},
            )

    shift = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    for name, q, k in (
        (
            "uncorrelated, mean 0",
            corners * torch.tensor([1, 2, 0.5]),
            corners * torch.tensor([2, 3, 1]),
        ),
        ("correlated, mean 0", _points(5, 3, 1), _points(6, 3, 2)),
        ("correlated, the keys with a mean", _points(5, 3, 3), _points(6, 3, 4) + shift),
        ("correlated, both with means", _points(7, 3, 5) + shift.flip(0), _points(5, 3, 6) + shift),
        ("a single component", _points(4, 1, 7) + 0.5, _points(5, 1, 8) - 1.5),
        ("32 components", _points(20, 32, 9) + 0.3, _points(24, 32, 10) - 0.2),
    ):
        correlated(f"matrices: {name}", q, k)

    session.choice(
        "is it enough that all are uncorrelated?",
        uncorrelated_is_enough,
        False,
        {
            True: "That is less than independence. What counts are the products `q_i * k_i`: they "
            "can be correlated although the components are not, and the variance of one product "
            "needs more than a correlation of zero, too. Try components that share a random sign, "
            "or a random size."
        },
    )
    session.choice(
        "is it enough that one side is uncorrelated?",
        one_white_side_is_enough,
        True,
        {
            False: "Look again at the covariance of two different products: with q and k "
            "independent of each other it factors into one factor from q and one from k. How many "
            "of the two have to vanish?"
        },
    )
    return session.result()


def _points(rows: int, d_k: int, seed: int) -> Tensor:
    """Points with mean 0 and correlated components, shape (rows, d_k)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, d_k, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(d_k, d_k, generator=generator, dtype=torch.float64)
    return x - x.mean(0)


def _covariance(points: Tensor) -> Tensor:
    centered = points - points.mean(0)
    return centered.T @ centered / len(points)


def _moments(pmf: Mapping[int, float]) -> tuple[float, float]:
    mean = sum(p * value for value, p in pmf.items())
    return mean, sum(p * (value - mean) ** 2 for value, p in pmf.items())


def _score_moments(d_k: int, q: Mapping[int, float], k: Mapping[int, float]) -> tuple[float, float]:
    """Mean and variance of q·k for independent integer components, by convolution."""
    reach = max(abs(a * b) for a in q for b in k)
    product = np.zeros(2 * reach + 1)
    for a, p_a in q.items():
        for b, p_b in k.items():
            product[reach + a * b] += p_a * p_b
    total = np.ones(1)
    for _ in range(d_k):
        total = np.convolve(total, product)
    values = np.arange(total.size) - reach * d_k
    mean = float(total @ values)
    return mean, float(total @ (values - mean) ** 2)


NO_EFFECT = (
    "{} no effect in your answer. Write a component as its mean plus a fluctuation and multiply "
    "out: a mean on one side passes on the fluctuation of the other."
)
NO_MEAN_Q = NO_EFFECT.format("`mean_q` has")
NO_MEAN_K = NO_EFFECT.format("`mean_k` has")
NO_MEANS = NO_EFFECT.format("The means have")
CROSSED = (
    "The means are paired with the wrong variances: what is multiplied by the mean of q is the "
    "fluctuation of k, and vice versa."
)
RAW = "That is E[(q·k)²]. The variance is smaller by the square of the mean of q·k."
SCALED = (
    "That is the variance of one product, or of the score after the scaling; find that of the "
    "whole, unscaled sum."
)
UNCORRELATED = (
    "Only the variances enter, the correlations do not (or not everywhere). Two products "
    "`q_i * k_i` and `q_j * k_j` are correlated when both sides are, or when one side is and the "
    "other has a mean."
)
TRACES = "The traces are multiplied; what comes out is one trace, of a product."
ENTRIES = (
    "You add up all entries of the matrix product. Write the covariance of the products "
    "`q_i * k_i` and `q_j * k_j`, sum over i and j, and compare the indices."
)
NO_PRODUCT = (
    "The product of the two fluctuations is missing: the terms with a mean are right, but they are "
    "not all."
)
DEVIATION = "That is the standard deviation of the score; give its variance."


def _mistakes(
    d_k: int, var_q: float, var_k: float, mean_q: float, mean_k: float, mean: float, exact: float
) -> list[Mistake]:
    white = d_k * var_q * var_k
    raw = d_k * (var_q + mean_q**2) * (var_k + mean_k**2)
    from_q, from_k = d_k * var_k * mean_q**2, d_k * var_q * mean_k**2
    return _that_show(
        exact,
        (
            "The score grows faster than it should: that is the variance if all products were one "
            "and the same number. Independent ones add their variances, not themselves.",
            d_k * exact,
        ),
        (DEVIATION, math.sqrt(exact)),
        # With one component the root of d_k is d_k, which is another mistake below.
        (
            "That is the standard deviation for components of unit variance.",
            math.sqrt(d_k) if d_k > 1 else exact,
        ),
        (SCALED, exact / d_k),
        (
            "The variances of the components have no effect in your answer: it holds for unit "
            "variance only.",
            d_k,
        ),
        (
            "The variances are added; independent factors that are multiplied give something else. "
            "Start from E[q²k²].",
            d_k * (var_q + var_k),
        ),
        (
            "`var_q` and `var_k` are variances already: do not square them.",
            d_k * (var_q * var_k) ** 2,
        ),
        (
            "`var_q` and `var_k` are variances, not standard deviations: take no square root.",
            d_k * math.sqrt(var_q * var_k),
        ),
        *_lost_means(white, from_q, from_k),
        (CROSSED, white + d_k * (var_q * mean_q**2 + var_k * mean_k**2)),
        (
            "The means enter unsquared; a mean of -1 must do the same as a mean of 1.",
            white + d_k * (var_q * mean_k + var_k * mean_q),
        ),
        (RAW, exact + mean**2),
        ("That is d_k times E[q²k²]: subtract the square of the mean of each product.", raw),
        (
            "You subtract the square of the mean of the whole sum from d_k times E[q²k²]; subtract "
            "it product by product (or keep the terms with i ≠ j).",
            raw - mean**2,
        ),
        (NO_PRODUCT, from_q + from_k),
        (
            "The factor d_k multiplies only a part of the terms; every term occurs once per "
            "component.",
            white + (from_q + from_k) / d_k,
        ),
    )


def _mistakes_correlated(
    mean_q: Tensor, cov_q: Tensor, mean_k: Tensor, cov_k: Tensor, mean: float, exact: float
) -> list[Mistake]:
    own_q, own_k = cov_q.diagonal(), cov_k.diagonal()
    white = float((cov_q * cov_k).sum())
    diagonal = float(own_q @ own_k)
    from_q, from_k = float(mean_q @ cov_k @ mean_q), float(mean_k @ cov_q @ mean_k)
    from_diagonals = float(own_k @ mean_q**2 + own_q @ mean_k**2)
    traces, entries = float(own_q.sum() * own_k.sum()), float((cov_q @ cov_k).sum())
    return _that_show(
        exact,
        (DEVIATION, math.sqrt(exact)),
        (SCALED, exact / len(mean_q)),
        (RAW, exact + mean**2),
        *_lost_means(white, from_q, from_k),
        (CROSSED, white + float(mean_q @ cov_q @ mean_q + mean_k @ cov_k @ mean_k)),
        (UNCORRELATED, diagonal + from_diagonals),
        (UNCORRELATED, diagonal + from_q + from_k),
        (UNCORRELATED, white + from_diagonals),
        (UNCORRELATED, diagonal),
        (TRACES, traces + from_q + from_k),
        (TRACES, traces),
        (ENTRIES, entries + from_q + from_k),
        (ENTRIES, entries),
        (
            "The covariances are added; independent factors that are multiplied give something "
            "else.",
            float(own_q.sum() + own_k.sum()),
        ),
        (NO_PRODUCT, from_q + from_k),
    )


def _lost_means(white: float, from_q: float, from_k: float) -> list[tuple[str, float]]:
    """The answers without the term of one mean, or of both; a mean of zero is not to blame."""
    if min(from_q, from_k) < 1e-9:
        return [(NO_MEAN_Q if from_q > from_k else NO_MEAN_K, white)]
    return [(NO_MEANS, white), (NO_MEAN_Q, white + from_k), (NO_MEAN_K, white + from_q)]


def _that_show(exact: float, *mistakes: tuple[str, float]) -> list[Mistake]:
    """Keep the mistakes that change the answer on this input."""
    return [
        Mistake(message, partial(torch.tensor, value, dtype=torch.float64))
        for message, value in mistakes
        if not math.isclose(value, exact, rel_tol=1e-3, abs_tol=1e-3)
    ]
