"""Check of exercise 13.26, the linear map that moves sinusoidal encodings."""

import math
from collections.abc import Callable, Iterator
from functools import partial
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
    to_tensor,
)
from llmbook.positions import pair_frequencies

POSITIONS = torch.tensor([0, 1, 2, 3, 7, 20, 100, 1000, 5000, -4])
"""Where the map must hold: near, far, and before the start."""


def sinusoidal_shift(
    shift_matrix: Callable[..., Any] | None = None,
    fit_shift: Callable[..., Any] | None = None,
    *,
    offset: float | None = None,
    rows_needed: float | None = None,
    random_table: bool | None = None,
) -> Result:
    """Check the matrix that moves sinusoidal encodings by k positions, and its recovery from data.

    Parameters
    ----------
    shift_matrix
        ``shift_matrix(k, d_model, base=10_000)`` returns the (d_model, d_model) matrix M with
        PE(p + k) = M PE(p) for every position p. Encodings are columns here, with sines and cosines
        interleaved (sine of pair i in component 2i, its cosine in 2i + 1); ``k`` is a whole number
        of either sign, ``d_model`` is even, and ``base`` is passed by name.
    fit_shift
        ``fit_shift(before, after)`` takes two (n, d) tables whose rows belong together, n >= d, the
        columns of ``before`` linearly independent, and returns the (d, d) matrix M that makes the
        sum of squares of ``after[j] - M @ before[j]`` smallest.
    offset
        The whole number k for which the product in (c) is M_k.
    rows_needed
        From how many rows M_k is determined at d_model = 64, in exact arithmetic, if ``before``
        holds the encodings of consecutive positions and nothing is assumed about M_k but that it is
        a matrix.
    random_table
        True or False: whether one matrix moves all of 1,000 random vectors of width 64 on by one.
    """
    session = Session("sinusoidal_shift", shift_matrix)
    right: list[str] = []

    @session.test("k = 1, width 2")
    def _() -> None:
        _compare(session, shift_matrix, 1, 2)
        right.append("one pair")

    @session.test("k = 3, width 6")
    def _() -> None:
        _compare(session, shift_matrix, 3, 6)
        right.append("three pairs")

    if len(right) == 2:

        @session.test("k = -2: backward")
        def _() -> None:
            _compare(session, shift_matrix, -2, 6)

        @session.test("k = 0")
        def _() -> None:
            _compare(session, shift_matrix, 0, 4)

        @session.test("base 500")
        def _() -> None:
            _compare(session, shift_matrix, 5, 4, base=500)

        @session.test("k = 1,000, width 64")
        def _() -> None:
            _compare(session, shift_matrix, 1000, 64)

    else:  # everything else would only repeat what is said above
        session.note("other offsets, widths and bases are tested once the first two are right")

    @session.test("fit: exact data")
    def _() -> None:
        before = torch.randn(9, 4, dtype=torch.float64)
        _compare_fit(session, fit_shift, before, before @ torch.randn(4, 4).double())

    @session.test("fit: as many rows as columns")
    def _() -> None:
        before = torch.randn(4, 4, dtype=torch.float64) + 3 * torch.eye(4)
        _compare_fit(session, fit_shift, before, before @ torch.randn(4, 4).double())

    @session.test("fit: noisy data, float32")
    def _() -> None:
        before = torch.randn(40, 3)
        after = before @ torch.randn(3, 3) + 0.5 * torch.randn(40, 3)
        _compare_fit(session, fit_shift, before, after)

    session.number(
        "offset",
        offset,
        9,
        rtol=0,
        mistakes={
            "You added all three. What does the transpose do to the direction of the move?": 15,
            "The size is right, the direction is not.": -9,
            "Offsets are not multiplied: moving by 7 and then by 5 is moving by how much?": 105,
            "The transpose belongs to the last factor alone.": -15,
            "The transpose belongs to the last factor, not to the first.": 1,
            "The transpose belongs to the last factor, not to the middle one.": 5,
            "The transpose belongs to the last factor alone: only one of the three goes back.": -1,
        },
    )
    session.number(
        "rows_needed",
        rows_needed,
        64,
        rtol=0,
        mistakes={
            "That many rows span that many directions; the matrix acts on twice as many. Each "
            "pair has two components.": 32,
            "One row is enough if you know that the matrix is made of rotations. Here nothing "
            "is assumed: what does M do to all directions that one encoding does not span?": 1,
            "Two rows span a plane; what does M do to all other directions?": 2,
            "That is the number of unknowns, but each row of the table gives one equation for each "
            "row of the matrix.": 64 * 64,
            "For k = 1 that is how many positions `before` and `after` hold together. The question "
            "is about the rows of `before`; if you meant those, it is one too many.": 65,
            "That is one too few: one direction is still missing.": 63,
        },
    )
    session.choice(
        "random_table",
        random_table,
        False,
        {
            True: "Some 64 of the vectors span the space, and what the matrix does to them fixes "
            "it. Nothing is left to choose for the others."
        },
    )
    return session.result()


# --- The matrix -----------------------------------------------------------------------------------


def _encode(positions: Tensor, frequencies: Tensor) -> Tensor:
    """Encodings in columns, (d, n)."""
    angles = frequencies[:, None] * positions
    return torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1)


def _compare(session: Session, shift_matrix: Any, k: int, d: int, base: float = 10_000.0) -> None:
    options = {} if base == 10_000 else {"base": base}
    matrix = to_tensor(session.call(shift_matrix, k, d, **options))
    expect_shape(matrix, (d, d), {"k": k, "d_model": d})
    if matrix.is_complex():
        raise Failure("The matrix holds complex numbers; real ones are expected.")
    matrix = matrix.double().cpu()
    frequencies = pair_frequencies(d, base)
    moved = matrix @ _encode(POSITIONS.double(), frequencies)
    expected = _encode(POSITIONS.double() + k, frequencies)
    off = (moved - expected).abs().nan_to_num(math.inf)
    if off.max() <= 1e-3:
        return
    for message, wrong in _wrong_matrices(k, d, base):
        if torch.allclose(matrix, wrong, rtol=0, atol=1e-3):
            raise Failure(message)
    if off.max() <= 3e-2:
        raise Failure(
            "Right to two or three digits only: rounded, or computed in float16 or bfloat16. Use "
            "float32 or float64."
        )
    raise Failure(_describe(matrix, off, k, d, base))


def _describe(matrix: Tensor, off: Tensor, k: int, d: int, base: float) -> str:
    """Say where the map fails and which properties it lacks; nothing of how to build it."""
    given = f"k = {k}, d_model = {d}, base = {base:g}"
    if matrix.isnan().any():
        return f"The matrix holds NaN.\nInput: {given}"
    holds = off.amax(dim=0) <= 1e-3
    first = int((~holds).nonzero()[0])
    component = int((off[:, first] > 1e-3).nonzero()[0])
    p = int(POSITIONS[first])
    lines = [
        f"M PE(p) differs from PE(p + k) at p = {p}, first in component {component} "
        f"({'cosine' if component % 2 else 'sine'} of pair {component // 2})."
    ]
    if holds.any():
        where = ", ".join(str(int(p)) for p in POSITIONS[holds])
        lines.append(
            f"At p = {where} it is right. One map must do for all positions: is yours built, or "
            "fitted, from some of them?"
        )
    if not torch.allclose(matrix @ matrix.T, torch.eye(d).double(), rtol=0, atol=1e-2):
        lines.append(
            "Violated: M keeps lengths and angles, as all encodings have the same length and "
            "their dot products depend on the distance only."
        )
    return "\n".join([*lines, f"Input: {given}"])


def _pair_map(k: float, frequency: Tensor) -> Tensor:
    """The 2 x 2 map of one pair, found from encodings: what takes columns at p to p + k."""
    p = torch.tensor([0.0, 1.0], dtype=torch.float64) / frequency  # a radian apart
    before = _encode(p, frequency[None])
    after = _encode(p + k, frequency[None])
    found: Tensor = torch.linalg.solve(before, after, left=False)
    return found


def _rearranged(flip: bool, signs: Tensor, block: Tensor) -> Tensor:
    return (block.flip(1) if flip else block) * signs


def _wrong_matrices(k: int, d: int, base: float) -> Iterator[tuple[str, Tensor]]:
    """Yield known mistakes, what to say first, and the matrix that one gets that way."""
    i = torch.arange(d // 2, dtype=torch.float64)
    frequencies = base ** (-2 * i / d)

    def blocks(
        k: float = k,
        w: Tensor = frequencies,
        of: Callable[[Tensor], Tensor] = Tensor.clone,
    ) -> Tensor:
        matrix: Tensor = torch.block_diag(*(of(_pair_map(k, f)) for f in w))  # type: ignore[no-untyped-call]
        return matrix

    def halves(matrix: Tensor) -> Tensor:
        order = torch.arange(d).view(-1, 2).T.flatten()
        return matrix[order][:, order]

    backward = (
        "M moves the encoding by −k, not by k. Three slips lead there: the two signs of the sines "
        "are exchanged, M is transposed (as if encodings were rows, PE(p) M), or the cosine was "
        "taken for the first component of a pair."
    )
    for_halves = (
        "This moves a table that has all sines first and then all cosines. Here they are "
        "interleaved: pair i sits in components 2i and 2i + 1, so M has 2 × 2 blocks on its "
        "diagonal."
    )
    yield backward, blocks(-k)
    yield for_halves, halves(blocks())
    yield f"{for_halves}\nBesides, it moves by −k, not by k.", halves(blocks(-k))
    reflection = "A block is a reflection, not a rotation: its two sines need opposite signs."
    same_sign = "The two sines of a block have the same sign; they need opposite ones."
    changed = (
        "Sines and cosines have changed places in the blocks: for k = 0, M must change nothing."
    )
    for message, flip, signs in (
        (reflection, False, [[1, 1], [-1, -1]]),
        (reflection, False, [[1, -1], [1, -1]]),
        (same_sign, False, [[1, 1], [-1, 1]]),
        (same_sign, False, [[1, -1], [1, 1]]),
        (changed, True, [[1, 1], [1, 1]]),
        (changed, True, [[1, 1], [1, -1]]),
        (changed, True, [[1, 1], [-1, -1]]),
        (changed, True, [[1, -1], [1, -1]]),
        (changed, True, [[-1, 1], [1, -1]]),
    ):
        yield message, blocks(of=partial(_rearranged, flip, torch.tensor(signs)))
    if k != 1:
        yield "The offset k has no effect: this is the map for k = 1.", blocks(1)
    yield "M changes nothing: it is the identity.", torch.eye(d, dtype=torch.float64)
    start = torch.zeros(1, dtype=torch.float64)
    outer = _encode(start + k, frequencies) @ _encode(start, frequencies).T / (d / 2)
    yield (
        "This matrix is built from one pair of encodings, PE(k) and PE(0). It takes the one to the "
        "other, but no other position to its place: M must not depend on p.",
        outer,
    )
    wrong_frequencies = {
        "The angles are taken for degrees: the frequencies are in radians per position.": (
            frequencies * math.pi / 180
        ),
        "The angles are multiplied by 2π: the frequencies are in radians per position, not in "
        "turns.": frequencies * 2 * math.pi,
        "Pairs are counted from 1: the first pair should turn by 1 radian per position.": (
            base ** (-2 * (i + 1) / d)
        ),
    }
    if d > 2:
        wrong_frequencies |= {
            "All blocks turn at the frequency of the first pair.": torch.ones_like(i),
            "The frequencies come in the wrong order: the first pair is the fastest.": (
                frequencies.flip(0)
            ),
            "The exponent of the frequencies is half of what it should be: i counts pairs, not "
            "components.": base ** (-i / d),
            "The 2 of the exponent is counted twice: `arange(0, d_model, 2)` holds 2i already.": (
                base ** (-4 * i / d)
            ),
            "The sign of the exponent is reversed: later pairs turn slower, not faster.": (
                base ** (2 * i / d)
            ),
            "The exponent is divided by one pair too few, so that the last pair turns at exactly "
            "1/base.": base ** (-i / (d // 2 - 1)),
        }
        if base != 10_000:
            wrong_frequencies[
                "The argument `base` has no effect: the map is that of base 10,000."
            ] = 10_000.0 ** (-2 * i / d)
        only_first = torch.eye(d, dtype=torch.float64)
        only_first[:2, :2] = _pair_map(k, frequencies[0])
        yield "Only the first pair is moved.", only_first
    for message, wrong in wrong_frequencies.items():
        yield message, blocks(w=wrong)
        yield f"{message}\n{backward}", blocks(-k, wrong)
        yield f"{message}\n{for_halves}", halves(blocks(w=wrong))


# --- The fit --------------------------------------------------------------------------------------


def _compare_fit(session: Session, fit_shift: Any, before: Tensor, after: Tensor) -> None:
    got = session.call(fit_shift, before, after)
    if isinstance(got, tuple) and len(got) > 1:
        raise Failure(
            f"Return the matrix alone; this is a tuple of {len(got)} things. (`lstsq` returns the "
            "solution together with residuals, rank and singular values.)"
        )
    d = before.shape[1]
    wide_before, wide_after = before.double(), after.double()

    def solution(x: Tensor, y: Tensor) -> Tensor:
        fitted: Tensor = torch.linalg.lstsq(x, y).solution
        return fitted

    right = solution(wide_before, wide_after).T
    transposed = torch.linalg.pinv(wide_before.T) @ wide_after.T
    centered = [x - x.mean(dim=0) for x in (wide_before, wide_after)]
    expect_close(
        got,
        right,
        inputs={"before": before, "after": after},
        mistakes=[
            Mistake(
                "This is the transpose: it moves rows, `before @ M`. `lstsq` solves for a matrix "
                "that stands on the right of the rows; here M stands on the left of columns.",
                partial(Tensor.clone, right.T),
            ),
            Mistake(
                "This matrix takes `after` to `before`: the direction is reversed.",
                lambda: solution(wide_after, wide_before).T,
            ),
            Mistake(
                "This matrix takes `after` to `before`, and it is transposed.",
                lambda: solution(wide_after, wide_before),
            ),
            Mistake(
                "Only the first d rows are used: with noise, all of them should count.",
                lambda: torch.linalg.solve(wide_before[:d], wide_after[:d]).T,
            ),
            Mistake(
                "Only the first d rows are used, and the matrix is transposed.",
                lambda: torch.linalg.solve(wide_before[:d], wide_after[:d]),
            ),
            Mistake(
                "The products of the two tables are not divided by those of `before` with itself.",
                lambda: wide_after.T @ wide_before,
            ),
            Mistake(
                "The products of the two tables are divided by the number of rows; that would be "
                "right only if the columns of `before` were orthonormal.",
                lambda: wide_after.T @ wide_before / len(before),
            ),
            *(
                Mistake(
                    "This matrix combines the rows of `before` with each other, not its columns: "
                    "the tables that went into the fit were transposed.",
                    partial(Tensor.clone, found),
                )
                for found in (transposed, transposed.T)
            ),
            Mistake(
                "The means of the tables are subtracted first, or a constant is fitted along. "
                "Find a matrix alone.",
                lambda: (torch.linalg.pinv(centered[0]) @ centered[1]).T,
            ),
            Mistake(
                "Outside 2 × 2 blocks on its diagonal this matrix is zero. The best one is not, "
                "for these tables: nothing may be assumed about it.",
                lambda: got if _is_in_blocks(got) else None,
            ),
            Mistake(
                "This matrix is orthogonal, and the best one is not, for these tables: nothing may "
                "be assumed about it.",
                lambda: got if _is_orthogonal(got) else None,
            ),
        ],
        rtol=1e-3,
        atol=1e-4,
    )


def _is_orthogonal(matrix: Any) -> bool:
    m = to_tensor(matrix).double().cpu()
    return torch.allclose(m @ m.T, torch.eye(len(m)).double(), rtol=0, atol=1e-3)


def _is_in_blocks(matrix: Any) -> bool:
    m = to_tensor(matrix).double().cpu()
    pair = torch.arange(len(m)) // 2
    outside = pair[:, None] != pair
    return bool(outside.any() and m.any() and (m[outside] == 0).all())
