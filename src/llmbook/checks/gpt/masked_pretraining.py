"""Check of exercise 13.24, pre-training by filling gaps."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    expect_shape,
    to_tensor,
)

Z = 1.96
# Quantile 97.5% of Student's t by degrees of freedom, and quantile 95% for the one-sided mistake.
T = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 6: 2.44691, 8: 2.30600}
T_ONE_SIDED = {2: 2.91999, 3: 2.35336, 4: 2.13185}


def masked_pretraining(
    mean_pool: Callable[..., Any] | None = None,
    accuracy_interval: Callable[..., Any] | None = None,
    gain_interval: Callable[..., Any] | None = None,
    *,
    without_agreement: Any = None,
) -> Result:
    """Check what a classifier of reviews and its comparison are made of; pass any subset.

    Parameters
    ----------
    mean_pool
        Called as ``mean_pool(states, padding)`` with states of shape (batch, n, d) and a bool
        tensor of shape (batch, n), ``True`` at padding. Returns (batch, d); zeros where a review
        has no words.
    accuracy_interval
        Called as ``accuracy_interval(correct, n)`` with two integers. Returns the two ends of
        Wilson's 95% interval, each between 0 and 1.
    gain_interval
        Called as ``gain_interval(with_it, without)`` with two lists of as many accuracies, of the
        same runs. Returns three numbers: the mean difference, and the ends of its 95% interval.
    without_agreement
        ``"a"``, ``"b"`` or ``"c"``.
    """
    session = Session("masked_pretraining")
    _mean_pool(session, mean_pool)
    _accuracy_interval(session, accuracy_interval)
    _gain_interval(session, gain_interval)
    session.choice(
        "(e) without agreement",
        without_agreement,
        "b",
        {
            "a": "Grammar and vocabulary are still learned. But do they tell a review of praise "
            "from one of blame? Measure it.",
            "c": "The coins teach nothing wrong: they make the two sides alike, and the labeled "
            "reviews can still tell them apart. Measure it.",
        },
    )
    return session.result()


# --- (a) The mean over the words ------------------------------------------------------------------


def _mean_pool(session: Session, function: Any) -> None:
    def compare(states: Tensor, padding: Tensor) -> None:
        words = [row[~hidden] for row, hidden in zip(states, padding, strict=True)]
        expected = torch.stack(
            [w.mean(0) if len(w) else states.new_zeros(w.shape[1]) for w in words]
        )
        real = ~padding[..., None]
        n, d = states.shape[1:]
        total, blank = states.masked_fill(~real, 0).sum(1), states.masked_fill(real, 0).sum(1)
        got = session.call(function, states, padding)
        expect_close(
            got,
            expected,
            inputs={"states": states, "padding": padding},
            mistakes=[
                Mistake(
                    "The padding counts as if it were words.",
                    lambda: states.mean(1),
                ),
                Mistake(
                    "The sum leaves the padding out, but is divided by the length with padding.",
                    lambda: total / n,
                ),
                Mistake(
                    "That is the mean over the padding: `padding` is `True` where there is *no* "
                    "word.",
                    lambda: blank / (~real).sum(1).clamp(min=1),
                ),
                Mistake(
                    "That is the sum over the words, not their mean.",
                    lambda: total,
                ),
                Mistake(
                    "The sum is divided by one more than the number of words. That avoids 0/0, but "
                    "changes every other mean as well.",
                    lambda: total / (real.sum(1) + 1),
                ),
                Mistake(
                    "The sum over the words is divided by the number of entries, which is d times "
                    "the number of words.",
                    lambda: total / (d * real.sum(1)).clamp(min=1),
                ),
                Mistake(
                    "The words of all reviews are pooled together, or their number is counted over "
                    "the whole batch. Each review has a mean of its own.",
                    lambda: total / real.sum(),
                ),
                Mistake(
                    "The words of all reviews are pooled together, or their number is counted over "
                    "the whole batch. Each review has a mean of its own.",
                    lambda: total.sum(0) / real.sum(),
                ),
                Mistake(
                    "That is the largest value of each feature, not the mean.",
                    lambda: states.masked_fill(~real, -math.inf).amax(1),
                ),
                Mistake("That is the state of the first token alone.", lambda: states[:, 0]),
                Mistake("That is the state of the last token alone.", lambda: states[:, -1]),
                Mistake(
                    "The mean runs over the features of each token. It should run over the tokens "
                    "of each review.",
                    lambda: states.mean(2),
                ),
            ],
            properties={
                "each feature lies between its least and its largest value": lambda out: all(
                    bool((row >= w.amin(0) - 1e-4).all() and (row <= w.amax(0) + 1e-4).all())
                    for row, w in zip(out, words, strict=True)
                    if len(w)
                ),
            },
        )

    def padding_after(lengths: Sequence[int], n: int) -> Tensor:
        return torch.arange(n) >= torch.tensor(lengths)[:, None]

    @session.test("(a) reviews of different lengths")
    def _() -> None:
        first = torch.tensor([[1.0, 10.0], [3.0, 20.0], [5.0, 90.0], [7.0, 40.0]])
        compare(torch.stack([first, 2 * first]), padding_after([3, 2], 4))
        compare(torch.randn(5, 7, 4), padding_after([7, 3, 1, 5, 2], 7))

    @session.test("(a) padding before and among the words, and none at all")
    def _() -> None:
        padding = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0]]).bool()
        compare(torch.randn(3, 5, 4), padding)
        compare(torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
        compare(torch.randn(1, 1, 3), torch.zeros(1, 1, dtype=torch.bool))

    @session.test("(a) a review without words")
    def _() -> None:
        states, padding = torch.randn(3, 4, 2), padding_after([2, 0, 4], 4)
        got = to_tensor(session.call(function, states, padding))
        expect_shape(got, (3, 2))
        if got[1].isnan().any():
            raise Failure(
                "A review without words gives NaN, which is 0/0: what should it be divided by?"
            )
        compare(states, padding)

    @session.test("(a) what stands at padding must not count")
    def _() -> None:
        for value in (math.nan, math.inf, -1e30):
            states, padding = torch.randn(2, 5, 3), padding_after([3, 4], 5)
            states[padding] = value
            got = to_tensor(session.call(function, states, padding))
            expect_shape(got, (2, 3))
            if not got.isfinite().all() or got.abs().max() > 1e6:
                raise Failure(
                    f"With {value} at padding, the output holds "
                    f"{got[~(got.abs() < 1e6)][0].item()}. Where it is multiplied by 0, note that "
                    "0 · ∞ and 0 · NaN are NaN: replace it instead."
                )
            compare(states, padding)

    @session.test("(a) float64, and other memory layouts")
    def _() -> None:
        compare(torch.randn(2, 4, 3, dtype=torch.float64), padding_after([4, 2], 4))
        compare(torch.randn(4, 2, 3).transpose(0, 1), padding_after([1, 3], 4))


# --- (b) The interval of an accuracy --------------------------------------------------------------


def _numbers(value: Any, what: str, n: int) -> Tensor:
    tensor = to_tensor(value)
    if tensor.numel() != n:
        raise Failure(f"Return {what}; got {tensor.numel()} number{'s' * (tensor.numel() != 1)}.")
    if tensor.is_complex():
        raise Failure("The output holds complex numbers; real ones are expected.")
    return tensor.reshape(n).double()


def _accuracy_interval(session: Session, function: Any) -> None:
    def wilson(share: float, n: int, z: float) -> list[float]:
        # n (p̂ - p)² = z² p (1 - p), as a polynomial in p.
        roots = np.roots([n + z**2, -(2 * n * share + z**2), n * share**2])
        return sorted(float(root.real) for root in roots)

    def exact(correct: int, n: int) -> list[float]:
        p = np.linspace(0, 1, 2001)
        terms = np.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])
        at_least, at_most = terms[correct:].sum(0), terms[: correct + 1].sum(0)
        return [float(np.interp(0.025, at_least, p)), float(np.interp(-0.025, -at_most, p))]

    def compare(correct: int, n: int) -> None:
        share = correct / n
        low, high = wilson(share, n, Z)
        spread = math.sqrt(share * (1 - share) / n)
        more, much = n + Z**2, (correct + Z**2 / 2) / (n + Z**2)
        wider = Z * math.sqrt(much * (1 - much) / more)
        got = _numbers(
            session.call(function, correct, n), "two numbers, the ends of the interval", 2
        )
        expect_close(
            got,
            torch.tensor([low, high], dtype=torch.float64),
            inputs={"correct": correct, "n": n},
            mistakes=[
                Mistake("The ends are swapped: the lower one comes first.", lambda: [high, low]),
                Mistake(
                    "Those are percentages; return shares, from 0 to 1.",
                    lambda: [100 * low, 100 * high],
                ),
                Mistake(
                    "Those are numbers of reviews; return shares, from 0 to 1.",
                    lambda: [n * low, n * high],
                ),
                Mistake(
                    "That is the interval of Wald, whose error is computed from the share that was "
                    "observed. In Wilson's, √(p (1 − p) / n) holds the unknown p: solve for it.",
                    lambda: [share - Z * spread, share + Z * spread],
                ),
                Mistake(
                    "That is the interval of Wald, whose error is computed from the share that was "
                    "observed, cut off at 0 and 1. Wilson's needs no cut: solve for p.",
                    lambda: [max(0, share - Z * spread), min(1, share + Z * spread)],
                ),
                Mistake(
                    "The middle is right, but the half width misses a factor. After squaring, what "
                    "is the coefficient of p²? It divides both.",
                    lambda: [
                        (low + high) / 2 + side * (high - low) / 2 * (1 + Z**2 / n)
                        for side in (-1, 1)
                    ],
                ),
                Mistake(
                    "That is the interval of Agresti and Coull, which has Wilson's middle, but "
                    "is wider.",
                    lambda: [much - wider, much + wider],
                ),
                Mistake(
                    "The middle is right, but the ends are those of a normal approximation around "
                    "it: solve the equation for p.",
                    lambda: [much - Z * spread, much + Z * spread],
                ),
                Mistake(
                    "That is one standard error to each side; the statement gives z.",
                    lambda: wilson(share, n, 1),
                ),
                Mistake(
                    "That is an interval of 90%: z is the quantile of one side only.",
                    lambda: wilson(share, n, 1.645),
                ),
                Mistake(
                    "z is rounded to 2; the statement gives it more exactly.",
                    lambda: wilson(share, n, 2),
                ),
                Mistake(
                    "Both ends are too large by the same factor. After squaring, what is the "
                    "coefficient of p²?",
                    lambda: [low * (1 + Z**2 / n), high * (1 + Z**2 / n)],
                ),
                Mistake(
                    "That is the interval of Clopper and Pearson, from the binomial distribution "
                    "itself. Wilson's comes from the equation in the statement.",
                    lambda: exact(correct, n),
                ),
                Mistake(
                    "That is the middle and the half width; return the two ends.",
                    lambda: [(low + high) / 2, (high - low) / 2],
                ),
                Mistake(
                    "That is the share and one half width; return the two ends.",
                    lambda: [share, Z * spread],
                ),
            ],
            properties={
                "the ends lie between 0 and 1": lambda out: bool(
                    (out >= -1e-9).all() and (out <= 1 + 1e-9).all()
                ),
                "the first end is not above the second": lambda out: bool(out[0] <= out[1]),
                "the share that was observed lies inside": lambda out: bool(
                    out[0] <= share + 1e-9 and share <= out[1] + 1e-9
                ),
            },
            rtol=0,
            atol=6e-5,
        )

    @session.test("(b) 9 of 10")
    def _() -> None:
        compare(9, 10)

    @session.test("(b) all right, and all wrong")
    def _() -> None:
        compare(12, 12)
        compare(0, 8)

    @session.test("(b) larger tests")
    def _() -> None:
        for correct, n in ((87, 100), (441, 600), (24_001, 25_000)):
            compare(correct, n)


# --- (c) The interval of a gain -------------------------------------------------------------------


def _gain_interval(session: Session, function: Any) -> None:
    def compare(with_it: list[float], without: list[float]) -> None:
        n = len(with_it)
        gains = [a - b for a, b in zip(with_it, without, strict=True)]
        mean, deviation = statistics.fmean(gains), statistics.stdev(gains)
        population = statistics.pstdev(gains)

        def around(half: float) -> list[float]:
            return [mean, mean - half, mean + half]

        half = T[n - 1] * deviation / math.sqrt(n)
        apart = math.sqrt((statistics.variance(with_it) + statistics.variance(without)) / n)
        got = _numbers(
            session.call(function, with_it, without),
            "three numbers, the mean and the ends of its interval",
            3,
        )
        expect_close(
            got,
            torch.tensor(around(half), dtype=torch.float64),
            inputs={"with_it": with_it, "without": without},
            mistakes=[
                Mistake(
                    "The sign is wrong: the gain is `with_it - without`.",
                    lambda: [-mean, -mean - half, -mean + half],
                ),
                Mistake("The ends are swapped.", lambda: [mean, mean + half, mean - half]),
                Mistake(
                    "The mean stands between the ends; return it first.",
                    lambda: [mean - half, mean, mean + half],
                ),
                Mistake(
                    "Those are percentage points; keep the unit of the accuracies.",
                    lambda: [100 * value for value in around(half)],
                ),
                Mistake(
                    f"That is the quantile of the normal distribution. The spread of {n} runs is "
                    "itself uncertain; Student's t allows for that.",
                    lambda: around(1.96 * deviation / math.sqrt(n)),
                ),
                Mistake(
                    "The standard deviation is divided by n; of a sample it is divided by n − 1.",
                    lambda: around(T[n - 1] * population / math.sqrt(n)),
                ),
                Mistake(
                    "The standard deviation is divided by n, and the quantile is that of the "
                    "normal distribution, not of Student's t.",
                    lambda: around(1.96 * population / math.sqrt(n)),
                ),
                Mistake(
                    "That is where a single further run may lie. The mean of n runs is less "
                    "uncertain than one: what is its standard error?",
                    lambda: around(T[n - 1] * deviation),
                ),
                Mistake(
                    "The standard deviation is divided by n, where the standard error of a mean "
                    "needs another power of n.",
                    lambda: around(T[n - 1] * deviation / n),
                ),
                Mistake(
                    "That is the mean and one standard error; multiply it by the quantile.",
                    lambda: around(deviation / math.sqrt(n)),
                ),
                Mistake(
                    "That is the mean and one standard deviation.",
                    lambda: around(deviation),
                ),
                Mistake(
                    "That treats the two lists as unrelated. They are pairs, of the same runs: "
                    "take the differences first, then their spread.",
                    lambda: around(T[2 * n - 2] * apart),
                ),
                Mistake(
                    "That treats the two lists as unrelated. They are pairs, of the same runs: "
                    "take the differences first, then their spread.",
                    lambda: around(1.96 * apart),
                ),
                Mistake(
                    "That is t with n degrees of freedom; one is used up by the mean.",
                    lambda: around(T[n] * deviation / math.sqrt(n)),
                ),
                Mistake(
                    "That is t with n − 2 degrees of freedom; only one is used up, by the mean.",
                    lambda: around(T[n - 2] * deviation / math.sqrt(n)),
                ),
                Mistake(
                    "That is an interval of 90%: half of what is left out lies on each side.",
                    lambda: around(T_ONE_SIDED[n - 1] * deviation / math.sqrt(n)),
                ),
            ],
            properties={
                "the first number is the mean of the differences": lambda out: math.isclose(
                    float(out[0]), mean, abs_tol=1e-6
                ),
                "the ends lie as far above as below the mean": lambda out: math.isclose(
                    float(out[2] - out[0]), float(out[0] - out[1]), abs_tol=1e-6
                ),
            },
            rtol=0,
            atol=2e-3 * half,
        )

    @session.test("(c) three runs")
    def _() -> None:
        compare([0.81, 0.78, 0.86], [0.62, 0.66, 0.7])

    @session.test("(c) five runs, of which one loses")
    def _() -> None:
        compare([0.905, 0.912, 0.894, 0.921, 0.88], [0.91, 0.884, 0.874, 0.889, 0.866])

    @session.test("(c) differences that are nearly the same")
    def _() -> None:
        compare([0.75, 0.625, 0.875, 0.5], [0.5, 0.375, 0.625, 0.22])
