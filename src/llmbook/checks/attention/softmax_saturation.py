"""Check of exercise 13.28, softmax turning one-hot without the scale."""

import math
from collections.abc import Callable
from functools import partial
from statistics import NormalDist
from typing import Any

import torch

from llmbook.checks.engine import Failure, Mistake, Result, Session, to_tensor
from llmbook.checks.scalars import expect_scalar


def softmax_saturation(
    smallest_max_weight: Callable[[float, int], Any] | None = None,
    *,
    gap_exponent: float | None = None,
    gap_for_99: float | None = None,
    d_for_99: float | None = None,
    stays_saturated: bool | None = None,
    keys_may_grow: str | None = None,
) -> Result:
    """Check the pieces of the proof that unscaled attention saturates.

    Parameters
    ----------
    smallest_max_weight
        ``smallest_max_weight(gap, m)`` returns the smallest value that the largest of m softmax
        weights can have, when all that is known of the scores is that the largest exceeds the
        second largest by ``gap``. ``gap`` is a float from 0 to 1,000, ``m`` an integer, at least 2.
    gap_exponent
        The power of d_k with which the typical gap grows, for a fixed number of keys.
    gap_for_99
        The smallest gap that guarantees the largest of m = 16 weights to be at least 0.99.
    d_for_99
        With m = 2 keys and normally distributed scores (the limit of the central limit theorem):
        from which d_k on is the larger weight at least 0.99 with probability at least 90 %? Two
        digits suffice.
    stays_saturated
        True or False: for one draw of a query and two keys that goes on forever, component after
        component, the larger weight is, with probability one, above 0.99 from some d_k on.
    keys_may_grow
        The number of keys grows with d_k (normal components). Which is the fastest of "not at all",
        "polynomially" and "exponentially" with which the softmax still turns one-hot?
    """
    session = Session("softmax_saturation", smallest_max_weight)

    for gap, m in ((1.0, 4), (0.5, 16), (3.0, 2), (0.0, 5), (8.0, 1000), (1000.0, 7)):

        @session.test(f"gap {gap:g}, {m} keys")
        def _(gap: float = gap, m: int = m) -> None:
            try:
                got = session.call(smallest_max_weight, gap, m)
            except Failure as failure:
                if gap > 700 and "OverflowError" in str(failure):
                    raise Failure(f"{failure}\n{OVERFLOW}") from None
                raise
            if gap > 700 and to_tensor(got).isnan().any():
                raise Failure(f"Your function returns NaN, from ∞/∞.\n{OVERFLOW}")
            # The scores that leave least to the largest weight; the softmax is PyTorch's.
            exact = torch.tensor([gap] + [0.0] * (m - 1), dtype=torch.float64).softmax(0)[0].item()

            def constant() -> Any:
                first, second = (session.call(smallest_max_weight, x, m) for x in (0.0, 20.0))
                same = torch.equal(to_tensor(first), to_tensor(second))
                return to_tensor(first).squeeze() if same else exact

            expect_scalar(
                got,
                exact,
                inputs={"gap": gap, "m": m},
                mistakes=[
                    Mistake("The gap has no effect in your answer.", constant),
                    *_mistakes(gap, m, exact),
                ],
                properties={
                    "a weight lies between 0 and 1": lambda out: bool((out >= 0) & (out <= 1)),
                    "the largest of m weights is at least 1/m": lambda out: bool(
                        out >= (1 - 1e-6) / m
                    ),
                },
                rtol=1e-5,
                atol=1e-8,
            )

    session.number(
        "power with which the gap grows",
        gap_exponent,
        0.5,
        mistakes={
            "That is how the variance of the scores grows. The gap is a difference of scores: it "
            "has their unit.": 1.0,
            "The gap does grow: the scores spread out as d_k grows, and it spreads with them.": 0.0,
            "Too fast: the gap cannot outgrow the scores. How does their spread grow?": 2.0,
        },
    )
    odds = 0.99 / 0.01
    session.number(
        "gap that guarantees 0.99 among 16 keys",
        gap_for_99,
        math.log(odds * 15),
        mistakes={
            "That guarantees 0.99 against a single rival; here there may be 15, all at the second "
            "largest score.": math.log(odds),
            "You count 16 rivals; the largest is none of them.": math.log(odds * 16),
            "That is a decimal logarithm; softmax uses e.": math.log10(odds * 15),
            "That gap guarantees that the *rest* is 0.99 at most; you swapped 0.99 and 0.01.": -(
                math.log(odds / 15)
            ),
            "You divided by the number of rivals where you should multiply, or vice versa: "
            "more rivals need a larger gap.": math.log(odds / 15),
            "That is e to the gap; take the logarithm.": odds * 15,
        },
    )
    # The gap is |N(0, 2 d_k)|; a normal number exceeds `tenth` in size with probability 90 %.
    normal = NormalDist()
    tenth = normal.inv_cdf(0.55)
    root = math.log(odds) / tenth
    session.number(
        "width from which two keys saturate",
        d_for_99,
        root**2 / 2,
        rtol=2e-2,
        mistakes={
            "The variance of a *difference* of two scores is not that of one score.": root**2,
            "The difference of the scores has a variance, and you used it as a standard deviation "
            "(or forgot to square).": root / 2,
            "That is the standard deviation the difference needs; which d_k gives it?": root,
            "You want the gap to be large with probability 90 %; that is the d_k at which it is "
            "small with probability 90 %.": (math.log(odds) / normal.inv_cdf(0.95)) ** 2 / 2,
            "Either of the two keys may win: the gap is the size of the difference, on both sides "
            "of zero.": (math.log(odds) / normal.inv_cdf(0.6)) ** 2 / 2,
            "Which quantile did you use? The 90 % belong to the gap being *larger*, and the gap "
            "is the size of the difference, on both sides of zero.": (
                math.log(odds) / normal.inv_cdf(0.9)
            )
            ** 2
            / 2,
            "That is the width at which the *typical* (median) gap suffices; it should do in 90 % "
            "of all draws.": (math.log(odds) / normal.inv_cdf(0.75)) ** 2 / 2,
        },
    )
    session.choice(
        "one draw that goes on forever",
        stays_saturated,
        False,
        {
            True: "Follow the difference of two scores as components are appended one by one: it "
            "is a random walk. What do you know about its visits to zero?"
        },
    )
    session.choice(
        "how fast the number of keys may grow",
        keys_may_grow,
        "polynomially",
        {
            "not at all": "More keys do crowd the top, but how closely? The gap between the two "
            "largest of m normal numbers shrinks only with a power of the logarithm of m.",
            "exponentially": "The gap between the two largest of m normal numbers shrinks with the "
            "logarithm of m. If that logarithm grows as fast as d_k, does the factor in front "
            "still win?",
        },
    )
    return session.result()


OVERFLOW = (
    "`e^1000` overflows: divide numerator and denominator by it, so that no exponent is positive."
)


def _mistakes(gap: float, m: int, right: float) -> list[Mistake]:
    rest = math.exp(-gap)
    values = (
        (
            "That is the *largest* value it can have, with one rival only at the second largest "
            "score. Where do the others have to be to leave the winner least?",
            1 / (1 + rest),
        ),
        ("You count m rivals; the largest is none of them.", 1 / (1 + m * rest)),
        (
            "A right lower bound, but not the smallest value: no scores reach it (it is below 1/m "
            "for small gaps). Do not approximate; write the softmax out for the worst scores.",
            1 - (m - 1) * rest,
        ),
        (
            "A right lower bound, but not the smallest value: cut off at 1/m or not, no scores "
            "reach it. Do not approximate; write the softmax out for the worst scores.",
            max(1 / m, 1 - (m - 1) * rest),
        ),
        (
            "A right lower bound, but not the smallest value: no scores reach it. Do not "
            "approximate; write the softmax out for the worst scores.",
            math.exp(-(m - 1) * rest),
        ),
        (
            "The sign of the gap is reversed: a larger gap has to give a larger weight.",
            1 / (1 + (m - 1) * math.exp(min(gap, 700.0))),
        ),
        ("That is the weight that is left for all the others together.", 1 - right),
        ("That is the weight of one of the others.", (1 - right) / (m - 1)),
        ("That is the odds of the winner against the rest, not its weight.",
         math.exp(min(gap, 700.0)) / (m - 1)),
        ("That is the weight with m - 2 rivals; how many are there besides the winner?",
         1 / (1 + (m - 2) * rest)),
    )  # fmt: skip
    return [
        Mistake(message, partial(torch.tensor, value, dtype=torch.float64))
        for message, value in values
        if not math.isclose(value, right, rel_tol=1e-4)
    ]
