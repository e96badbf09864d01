"""Check of exercise 13.27, the score that depends on the relative position alone."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmbook.checks.engine import Failure, Mistake, Result, Session, to_tensor
from llmbook.checks.scalars import expect_scalar

IMPRECISE = (
    "This is near the right value, but with too few digits. Do not round, compute in float32 or "
    "better, and do not turn both vectors at large positions: only the offset is known, and (c) is "
    "about what large angles cost."
)


def rope_relative_position(
    relative_score: Callable[..., Any] | None = None,
    first_missing: Any = None,
    spacing: Any = None,
    angle_error: Any = None,
) -> Result:
    """Check a rotary score computed from the offset alone, and three figures on rounding.

    Parameters
    ----------
    relative_score
        (b) ``relative_score(q, k, offset, frequencies)`` with

        - ``q`` and ``k`` of shape (d,), floating-point tensors of one dtype, d even; a pair is two
          components that stand next to each other, (x[0], x[1]), (x[2], x[3]), …;
        - ``offset``, an integer of either sign: the position of the key minus that of the query;
        - ``frequencies`` of shape (d/2,), in radians per position, of the dtype of q and k.

        It returns one number, the dot product of the turned query and the turned key, not scaled.
    first_missing
        (c) The smallest position that bfloat16 cannot hold.
    spacing
        (c) How far apart the bfloat16 numbers around 100,000 are.
    angle_error
        (c) Half the distance between neighboring float32 numbers at an angle of 75,000 radians, in
        radians.
    """
    session = Session("rope_relative_position")

    def compare(q: Tensor, k: Tensor, offset: int, frequencies: Tensor) -> Tensor:
        got = to_tensor(session.call(relative_score, q, k, offset, frequencies))
        if got.shape == q.shape and got.numel() > 1:
            raise Failure(
                f"The score of one query and one key is one number; the shape is {tuple(got.shape)}"
                ". Is a sum missing?"
            )
        inputs = {"q": q, "k": k, "offset": offset, "frequencies": frequencies}
        expect_scalar(
            got,
            float(_score(q, k, offset, frequencies)),
            inputs=inputs,
            mistakes=[
                *_mistakes(q, k, offset, frequencies),
                Mistake(IMPRECISE, lambda: _if_near(got, q, k, offset, frequencies)),
            ],
            rtol=1e-4,
            atol=1e-4,
        )
        return got

    q = torch.tensor([1.0, 2.0, 0.5, -1.0])
    k = torch.tensor([3.0, -1.0, 2.0, 1.5])
    frequencies = torch.tensor([1.0, 0.1])
    right: list[str] = []

    @session.test("one pair, one position further on")
    def _() -> None:
        compare(q[:2], k[:2], 1, frequencies[:1])

    @session.test("two pairs of different frequencies")
    def _() -> None:
        compare(q, k, 3, frequencies)
        right.append("two pairs")

    @session.test("offset 0")
    def _() -> None:
        compare(q, k, 0, frequencies)

    @session.test("a key before the query")
    def _() -> None:
        compare(q, k, -2, frequencies)

    if right:

        @session.test("64 components, up to 400 positions apart")
        def _() -> None:
            q, k = torch.randn(2, 64, dtype=torch.float64)
            frequencies = torch.logspace(0, -4, 32, dtype=torch.float64)
            for offset in (1, -17, 400):
                got = compare(q, k, offset, frequencies)
                if abs(float(got) - float(_score(q, k, offset, frequencies))) > 1e-9:
                    session.note(
                        "with float64 inputs your score is right to about 7 digits: something "
                        "inside is computed in float32"
                    )

    session.number(
        "first_missing",
        first_missing,
        257,
        rtol=0,
        mistakes={
            "That is a power of two, which every binary format holds as long as the exponent "
            "reaches that far. What comes after it?": 256,
            "That one still has its own number in bfloat16: besides the stored bits of the "
            "significand there is the leading one, which is not stored.": 129,
            "That still is a power of two, and the bits suffice for it.": 128,
            "That one bfloat16 does hold; a smaller one is missing already.": 258,
            "That one is missing, but it is not the first: a bit too many is counted.": 513,
            "That one needs all the bits there are, but it fits.": 255,
            "That is the answer for float16, which has more bits in its significand and fewer in "
            "its exponent.": 2049,
            "That is too large for float16; but a number can be missing long before a format "
            "overflows.": 65505,
            "That is the answer for float32.": 2**24 + 1,
        },
    )
    session.number(
        "spacing",
        spacing,
        512,
        rtol=0,
        mistakes={
            "That is the largest error of rounding there, half the distance.": 256,
            "Twice too much: which power of two lies just below 100,000?": 1024,
            "That is the number of steps from one power of two to the next. How long is one?": 128,
            "That is the distance in float16, if it reached that far.": 64,
            "That is the distance in float32, or in bfloat16 just above 1. Near 100,000 the second "
            "is to be multiplied by a power of two.": 2.0**-7,
        },
    )
    session.number(
        "angle_error",
        angle_error,
        2.0**-8,
        rtol=3e-2,
        unit="rad",
        mistakes={
            "That is the whole distance; half of it is the most that rounding can change.": 2.0**-7,
            "That is a bound, 2⁻²⁴ of the angle itself. The distance between neighboring numbers "
            "stays the same from one power of two to the next.": 75_000 * 2.0**-24,
            "That is 2⁻²³ of the angle. The distance between neighboring numbers stays the same "
            "from one power of two to the next, and half of it is asked for.": 75_000 * 2.0**-23,
            "That is half the distance at the next power of two above 75,000; numbers follow the "
            "one below.": 2.0**-6,
            "Half of the half: is 65,536 the power of two below 75,000, and 23 the number of "
            "stored bits?": 2.0**-9,
            "That is half the distance in bfloat16.": 256.0,
            "That is half the distance in float64.": 2.0**-37,
        },
    )
    return session.result()


def _complex(x: Tensor) -> Tensor:
    """One complex number a pair of neighboring components."""
    return torch.view_as_complex(x.double().reshape(-1, 2).contiguous())


def _turn(position: float, frequencies: Tensor) -> Tensor:
    return torch.exp(1j * position * frequencies.double())


def _score(q: Tensor, k: Tensor, offset: float, frequencies: Tensor) -> Tensor:
    return (_complex(q).conj() * _complex(k) * _turn(offset, frequencies)).sum().real


def _if_near(got: Tensor, q: Tensor, k: Tensor, offset: int, frequencies: Tensor) -> Tensor:
    """Return `got` if it is off by no more than rounded angles or two decimals explain."""
    if abs(float(got) - float(_score(q, k, offset, frequencies))) < 4e-3 * float(
        q.double().norm() * k.double().norm()
    ):
        return got
    raise Failure("not near")


def _mistakes(q: Tensor, k: Tensor, offset: int, frequencies: Tensor) -> list[Mistake]:
    d = len(q)
    halves = torch.arange(d).view(2, -1).T.flatten()  # 0, d/2, 1, d/2 + 1, …
    products = _complex(q).conj() * _complex(k)
    turn = _turn(offset, frequencies)

    def score(offset: float = offset, frequencies: Tensor = frequencies) -> Callable[[], Tensor]:
        return lambda: _score(q, k, offset, frequencies)

    wrong_sign = (
        "The offset has the wrong sign: it is the position of the key minus that of the query, so "
        "it turns the key forward or the query back."
        if offset > 0
        else "The offset is negative here, and its sign is lost (an absolute value?) or reversed."
    )
    one_sign = (
        "Both cross terms have the same sign: the angle of one vector is subtracted from that of "
        "the other, so they have opposite signs."
    )
    overwritten = (
        "The second component is computed from the first one after that has been turned: keep the "
        "old value until both are computed."
    )
    return [
        Mistake(wrong_sign, score(-offset)),
        Mistake(
            "The score does not depend on the offset: if both vectors are turned by the same "
            "angle, or none is, the dot product stays as it is.",
            score(0),
        ),
        Mistake(
            "Components i and i + d/2 are paired; here a pair is two neighbors, (x[0], x[1]), "
            "(x[2], x[3]), …",
            lambda: _score(q[halves], k[halves], offset, frequencies),
        ),
        Mistake(
            "The cross terms are missing: a turn mixes the two components of a pair, so q₀k₁ and "
            "q₁k₀ take part in the score as well.",
            lambda: (products.real * turn.real).sum(),
        ),
        Mistake(
            "Only cross terms are left: the products q₀k₀ and q₁k₁ are missing.",
            lambda: -(products.imag * turn.imag).sum(),
        ),
        Mistake(
            "With complex numbers, one of the two has to be conjugated: this is wrong even at "
            "offset 0, where nothing turns.",
            lambda: (_complex(q) * _complex(k) * turn).sum().real,
        ),
        Mistake(
            "With complex numbers, one of the two has to be conjugated: this is wrong even at "
            "offset 0, where nothing turns.",
            lambda: (_complex(q) * _complex(k) * turn.conj()).sum().real,
        ),
        Mistake(overwritten, lambda: _overwritten(q, k, turn)),
        Mistake(overwritten, lambda: _overwritten(k, q, turn.conj())),
        Mistake(one_sign, lambda: _one_sign(q, k, turn, 1.0)),
        Mistake(one_sign, lambda: _one_sign(q, k, turn, -1.0)),
        Mistake(
            "All pairs are turned at the first frequency; each has its own.",
            score(frequencies=frequencies[:1].expand(d // 2)),
        ),
        Mistake("The frequencies are not used.", score(frequencies=torch.ones(d // 2))),
        Mistake(
            "The frequencies that are handed over are not used: powers of 10,000 stand in their "
            "place.",
            score(frequencies=torch.logspace(0, 2 / d - 1, d // 2, base=1e4, dtype=torch.float64)),
        ),
        Mistake("The frequencies are in reverse order.", score(frequencies=frequencies.flip(0))),
        Mistake(
            "Both vectors are turned by the whole offset, in opposite directions; the offset is "
            "the sum of the two turns.",
            score(2 * offset),
        ),
        Mistake("The angle is taken in degrees; it is in radians.", score(math.radians(offset))),
        Mistake(
            "The score is divided by √d here. In attention it will be, but the dot product itself "
            "is asked for.",
            lambda: _score(q, k, offset, frequencies) / math.sqrt(d),
        ),
        Mistake("The offset is off by one.", score(offset + 1)),
        Mistake("The offset is off by one.", score(offset - 1)),
    ]


def _overwritten(still: Tensor, turned: Tensor, turn: Tensor) -> Tensor:
    """The score if the second component is turned with the new first one."""
    z = _complex(turned)
    first = (z * turn).real
    second = first * turn.imag + z.imag * turn.real
    return (_complex(still).real * first + _complex(still).imag * second).sum()


def _one_sign(q: Tensor, k: Tensor, turn: Tensor, sign: float) -> Tensor:
    cross = (_complex(q) * _complex(k)).imag  # q₀k₁ + q₁k₀
    score = (_complex(q).conj() * _complex(k)).real * turn.real + sign * cross * turn.imag
    return score.sum()
