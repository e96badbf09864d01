"""Check of exercise 13.16, the rotation that RoPE applies to one pair."""

import cmath
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    expect_shape,
    is_placeholder,
    to_tensor,
)

QUERY = (2.0, 1.0)
POSITION = 3

CLOCKWISE = (
    "The turn is clockwise: positive angles turn counterclockwise, from the first axis to the "
    "second. Does the minus sign stand with the right sine, and is the vector a column that the "
    "matrix stands to the left of?"
)


def rope_rotation(
    rotation_matrix: Callable[[int], Any] | None = None,
    rotated: Any = None,
    position: Any = None,
    rows: str | None = None,
    nearest: Any = None,
) -> Result:
    """Check the rotation of one pair of components, at frequency 1 radian per position.

    Pass any of them; numbers exact or rounded to two decimals or more.

    Parameters
    ----------
    rotation_matrix
        (a) ``rotation_matrix(m)`` takes a position (an integer of either sign) and returns the
        2 × 2 matrix that turns a column vector: nested lists, an array, a tensor or a SymPy matrix.
    rotated
        (b) The query (2, 1) after its turn at position 3, two numbers.
    position
        (c) The position whose rotation does what the two rotations do together.
    rows
        (d) The letter of the expression that turns queries in rows.
    nearest
        (e) The position from 1 to 100 at which the pair is nearest to not being turned.
    """
    session = Session("rope_rotation")

    def matrix_at(m: int) -> Tensor:
        # A placeholder would pass as a function that returns nothing.
        return to_tensor(session.call(rotation_matrix, m), "the matrix")

    @session.test("rotation_matrix")
    def _() -> None:
        for m in (POSITION, 1, 0, 7, -2, 50):
            got = matrix_at(m)
            expect_shape(got, (2, 2), {"m": m})
            expect_close(
                got,
                _matrix(m),
                inputs={"m": m},
                mistakes=_matrix_mistakes(m),
                properties={
                    "both columns have length 1": lambda out: bool(
                        torch.allclose(out.double().norm(dim=0), torch.ones(2).double(), atol=0.01)
                    ),
                    "the columns are at right angles": lambda out: (
                        abs(float(out[:, 0] @ out[:, 1])) < 0.01
                    ),
                    "the determinant is 1": lambda out: abs(float(out.double().det()) - 1) < 0.01,
                },
                rtol=0,
                atol=5e-3 if m == POSITION else 1e-3,
            )

    @session.test("rotated")
    def _() -> None:
        got = to_tensor(session.call(lambda: rotated), "`rotated`").flatten()
        if got.is_complex() and got.numel() == 1:  # the pair as one complex number
            got = torch.view_as_real(got.resolve_conj()).flatten()
        query = torch.tensor(QUERY).double()

        def own() -> Tensor:
            matrix = matrix_at(POSITION).double()
            if torch.allclose(matrix, _matrix(POSITION), atol=5e-3):
                raise Failure("the learner's matrix is right, so it explains nothing")
            return matrix @ query

        def coarse() -> Tensor:
            if torch.allclose(got.double(), _matrix(POSITION) @ query, rtol=0, atol=0.051):
                return got
            raise Failure("not even near")

        def times_query(matrix: Callable[[], Tensor]) -> Callable[[], Tensor]:
            return lambda: matrix() @ query

        mistakes = [
            Mistake(
                "The two components are exchanged.", lambda: (_matrix(POSITION) @ query).flip(0)
            ),
            *(
                Mistake(message, times_query(matrix))
                for message, matrix in _matrix_mistakes(POSITION)
            ),
            Mistake(
                "Both signs are reversed: the query points the opposite way.",
                lambda: -_matrix(POSITION) @ query,
            ),
            Mistake("Nearly: give each number to two decimals or more.", coarse),
        ]
        if not is_placeholder(rotation_matrix):
            follows = "This follows from your `rotation_matrix`, and the mistake is there."
            mistakes.insert(0, Mistake(follows, own))
        expect_close(
            got,
            _matrix(POSITION) @ query,
            mistakes=mistakes,
            properties={
                "a turn leaves the length as it is": lambda out: (
                    abs(float(out.double().norm() / query.norm()) - 1) < 0.01
                )
            },
            rtol=0,
            atol=6e-3,
        )

    session.number(
        "position",
        position,
        -4,
        rtol=0,
        mistakes={
            "The size is right, the sign is not: which of the two turns is undone?": 4,
            "Both turns are counted forward; the second one is an inverse.": 10,
            "Angles add up when rotations follow each other; they do not multiply.": 21,
            "This is the second rotation alone.": -7,
            "This would be the position of two inverses.": -10,
        },
    )
    session.choice(
        "rows",
        rows,
        "b",
        {
            "a": "(a) turns each row clockwise: a row q becomes qR, and as a column that is Rᵀq.",
            "c": "(c) does not fit: the matrix is 2 × 2 and Q has n rows. (With n = 2 it would mix "
            "the two queries.)",
            "d": "(d) does not fit: the matrix is 2 × 2 and Q has n rows. (With n = 2 it would mix "
            "the two queries.)",
        },
    )
    session.number(
        "nearest",
        nearest,
        44,
        rtol=0,
        mistakes={
            "Position 0 is left out: the search begins at 1.": 0,
            "There the pair is turned by almost half a turn, and points the opposite way.": 22,
            "That is the end of the first turn, but a later one ends nearer to a whole number.": 6,
            "This is a number of turns; the position is asked for.": 7,
            "Nearer than any before, but there is a nearer one beyond.": 19,
            "Nearer than all before, but there is a nearer one beyond.": 25,
            "Is the angle in degrees? It is one radian per position.": 360,
            "That is nearer indeed, but the search ends at 100.": 710,
            "That is a whole turn, but positions are whole numbers.": 2 * math.pi,
        }
        | {
            f"Position {m} leaves the pair {abs(math.remainder(m, 2 * math.pi)):.2f} rad away from "
            "where it began; another one comes nearer.": m
            for m in range(1, 101)
            if m != 44
        },
    )
    return session.result()


def _matrix(m: float) -> Tensor:
    """Columns: where the turn takes 1 and i, as complex numbers."""
    one, i = cmath.exp(1j * m), 1j * cmath.exp(1j * m)
    return torch.tensor([[one.real, i.real], [one.imag, i.imag]], dtype=torch.float64)


def _matrix_mistakes(m: int) -> list[Mistake]:
    cos, sin = math.cos(m), math.sin(m)

    def wrong(message: str, rows: list[list[float]]) -> Mistake:
        return Mistake(message, lambda: torch.tensor(rows, dtype=torch.float64))

    def turned(message: str, angle: float) -> Mistake:
        return Mistake(message, lambda: _matrix(angle))

    exchanged = "Sine and cosine are exchanged: at angle 0, nothing may change."
    reflection = (
        "This is a reflection: its determinant is −1, so it turns over what it should only turn."
    )
    return [
        turned(CLOCKWISE, -m),
        turned("The angle is taken in degrees; it is in radians.", math.radians(m)),
        turned("Off by one: positions count from 0, so the angle at position m is m.", m + 1),
        turned("Off by one: positions count from 0, so the angle at position m is m.", m - 1),
        turned(
            "Nothing is turned, or next to nothing: the pair turns by one radian per position, not "
            "by a full turn and not by one ten-thousandth.",
            0.0,
        ),
        turned("The matrix does not depend on the position.", 1.0),
        wrong(
            "The minus sign is missing: the columns are not at right angles.",
            [[cos, sin], [sin, cos]],
        ),
        wrong(
            "There is a minus sign too many: the columns are not at right angles.",
            [[cos, -sin], [-sin, cos]],
        ),
        wrong(reflection, [[cos, sin], [sin, -cos]]),
        wrong(reflection, [[-cos, sin], [sin, cos]]),
        wrong(exchanged, [[sin, -cos], [cos, sin]]),
        wrong(exchanged, [[sin, cos], [-cos, sin]]),
        wrong(exchanged, [[sin, cos], [cos, -sin]]),
    ]
