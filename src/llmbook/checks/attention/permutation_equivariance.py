"""Check of exercise 13.2, the permutation equivariance of self-attention."""

from collections.abc import Callable
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
    expect_shape,
    is_placeholder,
    show_value,
    to_tensor,
)


def permutation_equivariance(
    x: Any = None,
    permutation: Any = None,
    output: Any = None,
    permuted_output: Any = None,
    positions: Any = None,
    violation: Any = None,
) -> Result:
    """Check an example that shows how self-attention treats the order of its input.

    Self-attention here has Q = K = V = its input. You choose the example; the check recomputes it.

    Parameters
    ----------
    x
        (a) The input, 3 × 3 (any n × d with at least two rows is taken).
    permutation
        (a) The new order of the rows, counted from 0: the reordered input is ``x[permutation]``,
        so that ``[2, 0, 1]`` puts the last row first. Or the permutation matrix P of ``P @ x``.
    output
        (a) Self-attention of ``x``, of the same shape.
    permuted_output
        (a) Self-attention of the reordered input, of the same shape.
    positions
        (c) What is added to the input before self-attention: row i belongs to position i, whatever
        stands there. Of the same shape as ``x``.
    violation
        (c) With positions: the largest absolute difference between the output for the reordered
        input and the reordered output for the input, over all entries.
    """
    session = Session("permutation_equivariance")

    def take(name: str, value: Any) -> Tensor:
        return to_tensor(session.call(lambda: value), f"`{name}`")

    def compare(given: Tensor, rows: Tensor, others: list[Mistake]) -> None:
        expect_close(
            given,
            _attend(rows),
            mistakes=others + _mistakes(rows),
            properties={
                "each output lies between the smallest and the largest value of its column": (
                    lambda out: bool(
                        (out >= rows.amin(0) - 1e-3).all() and (out <= rows.amax(0) + 1e-3).all()
                    )
                )
            },
            rtol=1e-3,
            atol=1e-3 * rows.abs().max().item(),  # three digits will do, whatever the units
        )

    example: list[tuple[Tensor, Tensor]] = []

    @session.test("an example that can show something")
    def _() -> None:
        used = not all(map(is_placeholder, (output, permuted_output, positions, violation)))
        for name, value in (("x", x), ("permutation", permutation)):
            if is_placeholder(value) and used:
                raise Failure(f"Pass `{name}` too: the check recomputes your example from it.")
            take(name, value)
        rows = _input(take("x", x))
        order = _indices(take("permutation", permutation), len(rows))
        _expect_telling(rows, order)
        example.append((rows, order))

    if not example:  # everything else would be measured against a wrong example
        session.note("the rest is tested once the example can show something")
        return session.result()
    rows, order = example[0]

    @session.test("output")
    def _() -> None:
        compare(take("output", output), rows, [])

    @session.test("permuted_output")
    def _() -> None:
        given = take("permuted_output", permuted_output)
        compare(given, rows[order], _reorderings(rows, order))

    found: list[tuple[float, dict[str, float], float]] = []

    @session.test("positions")
    def _() -> None:
        if is_placeholder(positions) and not is_placeholder(violation):
            raise Failure("Pass `positions` too: the check recomputes the violation from them.")
        given = take("positions", positions)
        expect_shape(given, rows.shape)
        added, size = given.double().cpu(), rows.abs().max().item()
        if not added.isfinite().all():
            raise Failure("`positions` holds NaN or ∞.")
        if torch.equal(added[order], added):
            raise Failure(
                "The positions of the rows that change places are equal: a token gets the same "
                "wherever it stands. Give each position a row of its own."
            )
        expected, wrong = _violation(rows, order, added)
        if expected < 1e-3 * size:
            raise Failure("These positions change next to nothing: make their entries larger.")
        found.append((expected, wrong, 1e-5 * size))

    if found or is_placeholder(violation):
        expected, wrong, atol = found[0] if found else (1.0, {}, 0.0)
        session.number("violation", violation, expected, atol=atol, mistakes=wrong)
    return session.result()


def _input(x: Tensor) -> Tensor:
    if x.ndim != 2 or len(x) < 2:
        raise Failure(f"`x` should be a 3 × 3 matrix; its shape is {tuple(x.shape)}.")
    x = x.double().cpu()
    if not x.isfinite().all():
        raise Failure("`x` holds NaN or ∞.")
    return x


def _indices(permutation: Tensor, n: int) -> Tensor:
    """Take row numbers or a permutation matrix as row numbers."""
    given = permutation.cpu()
    if given.shape == (n, n):
        given = given.double()
        if ((given == 0) | (given == 1)).all() and (given.sum(0) == 1).all():
            given = given.argmax(1)
    if given.shape == (n,) and given.sort().values.tolist() == list(range(1, n + 1)):
        raise Failure("Count the rows of `permutation` from 0, as PyTorch does.")
    if given.shape != (n,) or given.sort().values.tolist() != list(range(n)):
        raise Failure(
            f"`permutation` should hold each of the row numbers 0 to {n - 1} once; "
            f"it is {show_value(permutation)}."
        )
    return given.long()


def _expect_telling(x: Tensor, order: Tensor) -> None:
    """Fail if the outputs look the same whether they move with the input or not."""
    if torch.equal(order, torch.arange(len(x))):
        raise Failure(
            "This permutation leaves every row where it is, so that any function would pass. "
            "Move at least two rows."
        )
    if torch.equal(x[order], x):
        raise Failure(
            "The rows that change places are equal, so that any function would pass. "
            "Give `x` different rows."
        )
    y = _attend(x)
    if not torch.allclose(y[order], y, rtol=0, atol=5e-3 * x.abs().max().item()):
        return
    nearly_equal = (
        "The outputs of the rows that change places are nearly equal, so that one cannot see "
        "whether they move. "
    )
    weights = (x @ x.T / x.shape[-1] ** 0.5).softmax(-1)[order != torch.arange(len(x))]
    if weights.amax(-1).min() > 0.9:
        raise Failure(
            nearly_equal + "The softmax gives nearly all weight of these rows to the same token: "
            "take smaller entries, or rows that point in different directions, some entries "
            "negative."
        )
    raise Failure(
        nearly_equal + "The softmax gives these rows nearly the same weights: take rows that lie "
        "further apart and point in different directions, with entries of both signs, about 1 in "
        "size."
    )


def _attend(q: Tensor, k: Tensor | None = None, v: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(q, q if k is None else k, q if v is None else v)


def _mistakes(x: Tensor) -> list[Mistake]:
    """List what can be wrong with the attention itself."""
    d_k = x.shape[-1]
    scores = x @ x.T / d_k**0.5

    def scaled(scale: float) -> Callable[[], Tensor]:
        return lambda: F.scaled_dot_product_attention(x, x, x, scale=scale)

    return [
        Mistake("The scores are not divided by √d_k (d_k is the width of `x`).", scaled(1.0)),
        Mistake("The scores are divided by d_k; its square root is meant.", scaled(1 / d_k)),
        Mistake(
            "The softmax runs over the columns; it should run over the keys, for each query.",
            lambda: scores.softmax(0) @ x,
        ),
        Mistake("The softmax is missing.", lambda: scores @ x),
        Mistake("These are the weights; multiply them by the values.", lambda: scores.softmax(-1)),
        Mistake("These are the scores; the softmax and the values are missing.", lambda: scores),
    ]


def _reorderings(x: Tensor, order: Tensor) -> list[Mistake]:
    """List what can be wrong with the reordering, the attention being right."""
    y, moved = _attend(x), x[order]
    return [
        Mistake(
            "This is the same as `output`. Either the input was not reordered, or its keys and "
            "values were and its queries were not: a query does see the same whatever the order "
            "of the keys. In self-attention the queries are reordered too.",
            lambda: y,
        ),
        Mistake(
            "The rows were moved by the inverse permutation: row i of the reordered input is row "
            "`permutation[i]` of `x`.",
            lambda: y[order.argsort()],
        ),
        Mistake(
            "The columns were reordered, which are the features; the rows are the tokens.",
            lambda: _attend(x[:, order]),
        ),
        Mistake(
            "The columns were reordered with the rows; the rows alone are the tokens.",
            lambda: _attend(moved[:, order]),
        ),
        Mistake(
            "Only the keys were reordered: each value lost its key.", lambda: _attend(x, moved, x)
        ),
        Mistake(
            "Only the values were reordered: each value lost its key.", lambda: _attend(x, x, moved)
        ),
        Mistake(
            "Queries and keys were reordered, the values were not.",
            lambda: _attend(moved, moved, x),
        ),
        Mistake(
            "Queries and values were reordered, the keys were not.",
            lambda: _attend(moved, x, moved),
        ),
    ]


def _violation(x: Tensor, order: Tensor, added: Tensor) -> tuple[float, dict[str, float]]:
    """Return the largest violation of equivariance, and what one gets by known mistakes."""
    straight, moved = _attend(x + added), _attend(x[order] + added)
    inverse = order.argsort()
    off = moved - straight[order]
    largest = off.abs().max().item()
    return largest, {
        "There is no violation only because the positions moved with the rows. Reorder `x` first "
        "and add the positions then: they belong to the places.": 0.0,
        "The outputs are compared without reordering one of them: that difference is not 0 even "
        "without positions.": (moved - straight).abs().max().item(),
        "One of the two outputs has been computed without positions.": (
            (moved - _attend(x)[order]).abs().max().item()
        ),
        "The two outputs are matched by the inverse permutation.": (
            (moved - straight[inverse]).abs().max().item()
        ),
        "The rows were moved by the inverse permutation: row i of the reordered input is row "
        "`permutation[i]` of `x`.": (
            (_attend(x[inverse] + added) - straight[inverse]).abs().max().item()
        ),
        "This is the mean absolute difference; the largest is asked for.": off.abs().mean().item(),
        "This is the sum of the absolute differences; the largest is asked for.": (
            off.abs().sum().item()
        ),
        "This is the norm of the difference; its largest absolute entry is asked for.": (
            off.norm().item()
        ),
        "This is the mean squared difference; the largest absolute one is asked for.": (
            off.square().mean().item()
        ),
        "This is the largest difference by sign; take absolute values first.": off.max().item(),
    }
