"""Check of exercise 35.03, the sinusoidal encoding and its dot product against distance."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from llmbook import positions
from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    to_tensor,
)

FAR, FAR_WIDTH = 8192, 32
"""The longest table: float32 angles are right to 1e-3 or so there, float16 loses the positions."""

A_VALUE = (
    "Give a distance, a whole number of positions; is this the value that s has there, or a "
    "step of it?"
)


def sinusoidal_similarity(
    encoding: Callable[..., Any] | None = None,
    *,
    largest: float | None = None,
    first_rise: float | None = None,
    first_negative: float | None = None,
    loss_per_decade: float | None = None,
    verdict: str | None = None,
) -> Result:
    """Check the table of sinusoidal encodings and what was read off its dot products.

    Parameters
    ----------
    encoding
        ``encoding(n, d_model, base=10_000)`` returns the encodings of positions 0 … n - 1, shape
        (n, d_model), in float32 or float64: column 2i holds the sine of pair i, column 2i + 1 its
        cosine. It raises ValueError if ``d_model`` is odd. ``base`` is passed by name.
    largest
        The largest dot product that two rows can have, at d_model = 512.
    first_rise
        At d_model = 512, the smallest distance at which the normalized dot product s is larger
        than one position nearer.
    first_negative
        At d_model = 16, the smallest distance at which s is negative.
    loss_per_decade
        What s loses on average with each factor of 10 between the distances 10 and 1,000, in the
        limit of infinite width: a difference of values of s. Two digits.
    verdict
        "a", "b", "c" or "d": which of the four statements holds at every width.
    """
    session = Session("sinusoidal_similarity", encoding)

    def compare(n: int, d: int, atol: float = 1e-4, **options: float) -> Tensor:
        got = _table(session, encoding, n, d, **options)
        _compare(got, n, d, options.get("base", 10_000.0), atol)
        return got

    right: list[str] = []

    @session.test("five positions, width 6")
    def _() -> None:
        compare(5, 6)
        right.append("width 6")

    if right:

        @session.test("base 500")
        def _() -> None:
            compare(7, 4, base=500)

        @session.test("width 2")
        def _() -> None:
            compare(9, 2)

        @session.test("a single position")
        def _() -> None:
            compare(1, 8)

        @session.test("64 positions, width 512")
        def _() -> None:
            compare(64, 512)

        @session.test(f"{FAR:,} positions")
        def _() -> None:
            _compare_far(session, compare(FAR, FAR_WIDTH, atol=5e-3))

        @session.test("an odd width is refused")
        def _() -> None:
            _must_refuse(session, encoding, 4, 7)

    else:  # everything else would only repeat what is said above
        session.note("other widths, bases and far positions are tested once this one is right")

    session.number(
        "largest",
        largest,
        256,
        rtol=1e-4,
        mistakes={
            "That would be one for each component. Take the sine and the cosine of one pair "
            "together: what do their squares add up to?": 512,
            "That is the length of a row; the dot product of a row with itself is its square.": 16,
            "That is the largest value of s; the dot product itself is not normalized.": 1,
        },
    )
    session.number(
        "first_rise",
        first_rise,
        44,
        rtol=0,
        mistakes={
            "That is the last distance before the rise; give the one at which s is larger than "
            "one position nearer.": 43,
            "That is one too many: distances are counted from 0, for a row with itself.": 45,
            A_VALUE: _unless_whole(first_rise),
            **{
                f"That is the answer at width {width}; the exercise asks for 512.": distance
                for width, distance in ((16, 4), (32, 5), (64, 6), (128, 12), (256, 25), (1024, 69))
            },
            "That is a full turn of the fastest pair. It does make a ripple, but does the ripple "
            "win against the fall at this width? Compute every s and compare neighbors.": 7,
        },
    )
    session.number(
        "first_negative",
        first_negative,
        91,
        rtol=0,
        mistakes={
            "That is one too few: the last distance before it, where s is still positive.": 90,
            "That is one too many: distances are counted from 0, for a row with itself.": 92,
            A_VALUE: _unless_whole(first_negative),
            **{
                f"That is the answer at width {width}; the exercise asks for 16.": distance
                for width, distance in ((4, 22), (32, 474), (64, 725), (128, 1707), (512, 3284))
            },
            "That is where the fastest pair alone turns negative; s is the mean over all pairs.": 2,
        },
    )
    session.number(
        "loss_per_decade",
        loss_per_decade,
        0.25,
        rtol=2.5e-2,
        mistakes={
            "That is the loss for each factor e of the distance; take a factor 10.": 1
            / math.log(1e4),
            "The size is right, but give the loss, a positive number.": -0.25,
            "That is the loss over the whole range from 10 to 1,000, which is two factors of 10.": (
                0.5
            ),
            "That is the loss over all distances. How many factors of 10 does the base hold?": 1,
            "That is the factor between the two values, not their difference; and it would not be "
            "the same for every factor 10.": 0.64,
            "That is the loss from 1,000 to 10,000: near the base the law bends. Find what is "
            "lost from 10 to 1,000.": 0.2243,
            **{
                f"Close, but a single factor of 10 holds some ripple: width 512 loses this much "
                f"{between}. Take the limit, and the average over both factors of 10.": loss
                for between, loss in (("from 10 to 100", 0.2416), ("from 100 to 1,000", 0.2616))
            },
        },
    )
    session.choice(
        "verdict",
        verdict,
        "b",
        {
            "a": "Compare neighboring distances one by one, out to some thousands, at the smaller "
            "widths too: how many are larger than the one before?",
            "c": "It holds for the fastest pair taken alone, cos Δ. At width 512, look at the "
            "distances from 3 to 7.",
            "d": "At width 16, print s at the distances from 15 to 20.",
        },
    )
    return session.result()


def _unless_whole(given: Any) -> float:
    """Return a number that is no count as it is, and NaN, which nothing is close to, otherwise."""
    try:
        number = float(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return math.nan
    return math.nan if number.is_integer() else number


# --- The table -----------------------------------------------------------------------------------


def _table(session: Session, encoding: Any, n: int, d: int, **options: float) -> Tensor:
    got = session.call(encoding, n, d, **options)
    if isinstance(got, tuple | list) and any(isinstance(part, Tensor) for part in got):
        raise Failure(f"Return one table; this is a {type(got).__name__} of {len(got)} things.")
    table = to_tensor(got)
    if table.dtype in (torch.int32, torch.int64):
        raise Failure(
            "The table holds whole numbers only: it was made from integers (`arange` without a "
            "floating-point dtype), and sines were cut off as they were written into it."
        )
    return table


def _compare(got: Tensor, n: int, d: int, base: float, atol: float) -> None:
    expect_close(
        got,
        positions.sinusoidal_encoding(torch.arange(n), d, base),
        inputs={"n": n, "d_model": d, "base": base},
        # By the time of the longest table all is right but its precision.
        mistakes=[*(_mistakes(n, d, base) if n < FAR else ()), *_imprecise(got, n, d, base)],
        properties={
            "row 0 holds sin 0 and cos 0 in turn": lambda out: bool(
                torch.allclose(out[0], torch.tensor([0.0, 1.0]).to(out).repeat(d // 2), atol=1e-4)
            ),
            "the squares of each row add up to d/2": lambda out: bool(
                torch.allclose(out.square().sum(1), torch.full((n,), d / 2).to(out), atol=1e-2)
            ),
            "column 0 is the sine of the position": lambda out: bool(
                torch.allclose(out[:, 0], torch.arange(n).to(out).sin(), atol=1e-2)
            ),
        },
        rtol=0,
        atol=atol,
    )


def _compare_far(session: Session, got: Tensor) -> None:
    """The table is right within the rounding of float32 angles; say how far it is from exact."""
    exact = positions.sinusoidal_encoding(torch.arange(FAR), FAR_WIDTH)
    off = float((got.double().cpu() - exact.double()).abs().max())
    if off > 1e-5:
        session.note(
            f"far out, your entries are off by up to {off:.0e}: the angles are computed in "
            "float32, which has 7 digits for the angle, not for its sine; float64 angles cost "
            "next to nothing"
        )


def _must_refuse(session: Session, encoding: Any, n: int, d: int) -> None:
    refused = object()

    @functools.wraps(encoding if callable(encoding) else _must_refuse)
    def attempt(n: int, d: int) -> Any:
        try:
            return encoding(n, d)
        except ValueError:
            return refused
        except AssertionError:
            session.note(
                "an odd width is refused by an `assert`, which vanishes under `python -O`; the "
                "exercise asks for a ValueError"
            )
            return refused

    got = session.call(attempt if callable(encoding) else encoding, n, d)
    if got is not refused:
        raise Failure(
            f"`d_model` = {d} is odd, so the last sine has no cosine: raise ValueError. "
            f"Your function returned a table of shape {tuple(to_tensor(got).shape)}."
        )


# --- Known mistakes -------------------------------------------------------------------------------

STARTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Positions start at 1; the first row should belong to position 0.": lambda p: p + 1,
    "Positions are divided by n: position 1 should be 1.": lambda p: p / len(p),
    "Positions are counted backward.": lambda p: p.flip(0),
}
LAYOUTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "All sines come first, then all cosines (concatenated halves). That only reorders the columns, "
    "and dot products do not notice; but here column 2i is the sine and column 2i + 1 the cosine "
    "of pair i.": lambda a: torch.cat([a.sin(), a.cos()], dim=-1),
    "Sine and cosine have changed places: even columns hold the sine.": lambda a: _interleave(
        a.cos(), a.sin()
    ),
    "All cosines come first, then all sines; column 2i should be the sine and column 2i + 1 the "
    "cosine of pair i.": lambda a: torch.cat([a.cos(), a.sin()], dim=-1),
    "Every column is a sine; the odd ones should be cosines.": lambda a: _interleave(
        a.sin(), a.sin()
    ),
    "Every column is a cosine; the even ones should be sines.": lambda a: _interleave(
        a.cos(), a.cos()
    ),
    "The sign of the angle is reversed.": lambda a: _interleave(-a.sin(), a.cos()),
    "These are the angles; their sines and cosines are missing.": lambda a: _interleave(a, a),
}


def _interleave(even: Tensor, odd: Tensor) -> Tensor:
    return torch.stack([even, odd], dim=-1).flatten(-2)


def _wrong_frequencies(d: int, base: float) -> dict[str, Tensor]:
    """Return message → what the d/2 frequencies then are."""
    i = torch.arange(d // 2, dtype=torch.float64)
    right = base ** (-2 * i / d)
    wrong = {
        "The angles are taken for degrees: the frequencies are in radians per position.": (
            right * math.pi / 180
        ),
        "The angles are multiplied by 2π: the frequencies are in radians per position, not in "
        "turns.": right * 2 * math.pi,
        "Pairs are counted from 1: the first pair should turn by 1 radian per position.": (
            base ** (-2 * (i + 1) / d)
        ),
    }
    if d == 2:  # a single pair: the exponent is 0, and what is wrong with it does not show
        return wrong
    if base != 10_000:
        wrong["The argument `base` has no effect: the table is that of base 10,000."] = (
            10_000.0 ** (-2 * i / d)
        )
    return wrong | {
        "The exponent is half of what it should be: i counts pairs, not columns.": (
            base ** (-i / d)
        ),
        "The 2 of the exponent is counted twice: `arange(0, d_model, 2)` holds 2i already.": (
            base ** (-4 * i / d)
        ),
        "The sign of the exponent is reversed: later pairs turn slower, not faster.": (
            base ** (2 * i / d)
        ),
        "The exponent is divided by one pair too few, so that the last pair turns at exactly "
        "1/base (some libraries do that); by the definition here it turns a little faster.": (
            base ** (-i / (d // 2 - 1))
        ),
        "These are powers of e, not of the base: `exp` needs the logarithm of the base in its "
        "argument.": torch.exp(-2 * i / d),
        "A decimal logarithm stands where `exp` needs the natural one.": (
            torch.exp(-2 * i / d * math.log10(base))
        ),
        "All pairs turn at the frequency of the first one.": torch.ones_like(i),
    }


def _mistakes(n: int, d: int, base: float) -> Iterator[Mistake]:
    """Yield single mistakes, then two at a time."""
    p = torch.arange(n, dtype=torch.float64)
    i = torch.arange(d // 2, dtype=torch.float64)
    right = positions.sinusoidal_encoding(torch.arange(n), d, base)

    same_start: dict[str, Callable[[Tensor], Tensor]] = {"": lambda p: p}
    same_frequencies = {"": base ** (-2 * i / d)}
    same_layout: dict[str, Callable[[Tensor], Tensor]] = {
        "": lambda a: _interleave(a.sin(), a.cos())
    }
    wrong_frequencies = _wrong_frequencies(d, base)

    def every(
        starts: Mapping[str, Callable[[Tensor], Tensor]],
        frequencies: Mapping[str, Tensor],
        layouts: Mapping[str, Callable[[Tensor], Tensor]],
    ) -> Iterator[Mistake]:
        for (m1, start), (m2, w), (m3, layout) in product(
            starts.items(), frequencies.items(), layouts.items()
        ):
            message = "\n".join(filter(None, (m3, m2, m1)))
            yield Mistake(message, partial(_build, start(p), w, layout))

    if n > 1:
        yield Mistake("The table is transposed: one row for each position.", lambda: right.T)
    yield Mistake(
        f"The table has a dimension of length 1 in front; its shape should be ({n}, {d}).",
        lambda: right[None],
    )
    for factor, message in (
        (1.0, "Each column has a frequency of its own"),
        (2.0, "Each column has a frequency of its own, and the exponents go up to 2"),
    ):
        yield Mistake(
            f"{message}: columns 2i and 2i + 1, a sine and its cosine, share a frequency, and i "
            "counts pairs.",
            partial(_one_frequency_per_column, p, d, base, factor),
        )
    yield from every(same_start, wrong_frequencies, same_layout)
    yield from every(STARTS, same_frequencies, same_layout)
    yield from every(same_start, same_frequencies, LAYOUTS)
    yield from every(same_start, wrong_frequencies, LAYOUTS)
    yield from every(STARTS, wrong_frequencies, same_layout)
    yield from every(STARTS, same_frequencies, LAYOUTS)


def _build(p: Tensor, frequencies: Tensor, layout: Callable[[Tensor], Tensor]) -> Tensor:
    return layout(p[:, None] * frequencies)


def _one_frequency_per_column(p: Tensor, d: int, base: float, factor: float) -> Tensor:
    angles = p[:, None] * base ** (-factor * torch.arange(d, dtype=torch.float64) / d)
    return torch.where(torch.arange(d) % 2 == 0, angles.sin(), angles.cos())


def _imprecise(got: Tensor, n: int, d: int, base: float) -> Iterator[Mistake]:
    right = positions.sinusoidal_encoding(torch.arange(n), d, base)
    yield Mistake(
        "Near positions are right and far ones are not: the positions, or the angles, have too few "
        "digits. float16 holds every whole number only up to 2,048, bfloat16 up to 256. Make them "
        "float32 or float64 before anything else.",
        lambda: got if _right_only_at_first(got, right) else None,
    )
    yield Mistake(
        "Right to two or three digits only: rounded, or computed in float16 or bfloat16. Use "
        "float32 or float64.",
        lambda: got if torch.allclose(got.double().cpu(), right.double(), 0, 2e-2) else None,
    )


def _right_only_at_first(got: Tensor, right: Tensor) -> bool:
    off = (got.double().cpu() - right.double()).abs().amax(dim=1)
    return len(right) == FAR and bool(off[:200].max() < 2e-2)
