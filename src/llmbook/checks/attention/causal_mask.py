"""Check of exercise 11.2, the causal mask entry by entry."""

import math
from functools import partial
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
    is_placeholder,
    to_tensor,
)

LENGTH = 5
HIDES = -30.0
"""An additive entry up to this hides a position here: e^-30 is far below rounding in float32."""


def causal_mask(
    mask: Any = None,
    weights: Any = None,
    attended: Any = None,
    fewest: Any = None,
    most: Any = None,
    at_index_700: Any = None,
    sees_all: Any = None,
) -> Result:
    """Check the causal mask, its weights and counts; pass any subset of the answers by name.

    Parameters
    ----------
    mask
        The 5 x 5 mask, row = the token that attends, column = the token attended to: either what
        is added to the scores, or booleans (True for "may attend" or for "masked out").
    weights
        The 5 x 5 attention weights, same rows and columns; fractions or decimals.
    attended
        Five counts: how many positions the first, second, ... token may attend to.
    fewest, most
        Smallest and largest of the five counts.
    at_index_700
        How many positions the token at index 700, counted from 0, may attend to, out of 1,024.
    sees_all
        "first", "middle" or "last": the one position whose output can depend on the whole text.
    """
    session = Session("causal_mask")

    @session.test("mask")
    def _() -> None:
        _check_mask(session, session.call(lambda: mask))

    @session.test("weights")
    def _() -> None:
        _check_weights(_matrix(session.call(lambda: weights), "weights"))

    @session.test("attended")
    def _() -> None:
        _check_attended(session.call(lambda: attended))

    session.number(
        "fewest",
        fewest,
        1,
        rtol=0,
        mistakes={
            "A token may attend to itself: no row of the mask is empty.": 0,
            "That is the largest count.": LENGTH,
        },
    )
    session.number(
        "most",
        most,
        LENGTH,
        rtol=0,
        mistakes={
            "The last token may attend to itself too.": LENGTH - 1,
            "That is the smallest count.": 1,
            "That is the number of pairs in the whole mask, not the count of one token.": 15,
            "That is the number of entries of the mask, hidden ones included.": LENGTH**2,
        },
    )
    session.number(
        "at_index_700",
        at_index_700,
        701,
        rtol=0,
        mistakes={
            "That is right for positions numbered from 1. Numbered from 0, how many tokens stand "
            "before index 700, and is the token itself among those it may see?": 700,
            "These are the tokens after it, which the mask hides.": 323,
            "These are the tokens after it and itself; the mask hides the later ones.": 324,
            "Nothing is masked in this count.": 1024,
            "One too many: is the token itself counted twice?": 702,
            "That is 700 − 1: two too few. Index 700, counted from 0, is not the 700th token, and "
            "the token itself counts too.": 699,
        },
    )
    session.choice(
        "sees_all",
        sees_all,
        "last",
        {
            "first": "The first position sees nothing but itself, however many layers there are.",
            "middle": "What stands after the middle never reaches it.",
        },
    )
    return session.result()


def _matrix(value: Any, name: str) -> Tensor:
    _refuse_gaps_and_texts(value, name)
    matrix = to_tensor(value, f"`{name}`")
    if matrix.is_complex():
        raise Failure(f"`{name}` should hold real numbers.")
    expect_shape(matrix, (LENGTH, LENGTH))
    return matrix.double().cpu()


def _refuse_gaps_and_texts(value: Any, name: str) -> None:
    """Fail if entries of nested lists are placeholders or texts, and name them."""
    if isinstance(value, Tensor):
        return
    try:
        entries = np.array(value, dtype=object).ravel().tolist()
    except (TypeError, ValueError, RuntimeError):  # ragged: named later
        return
    if len(entries) == 1 and entries[0] is value:  # no list at all
        return
    for entry in entries:
        if is_placeholder(entry):
            raise Failure(f"An entry of `{name}` is `{entry}`: every entry must be a number.")
        if isinstance(entry, str):
            raise Failure(
                f"The entries of `{name}` are texts ({entry!r:.20}), not numbers: leave the quotes "
                'out, and write −∞ as `float("-inf")`.'
            )


# --- (a) mask -------------------------------------------------------------------------------------


def _check_mask(session: Session, given: Any) -> None:
    boolean = _is_boolean(given)
    matrix = _matrix(given, "mask")
    if matrix.isnan().any():
        raise Failure("The mask holds NaN: −∞ times 0 is NaN, so do not multiply a 0/1 mask by −∞.")
    lower = torch.ones(LENGTH, LENGTH).tril().bool()
    eye = torch.eye(LENGTH).bool()
    if boolean:
        _check_boolean_mask(session, matrix.bool(), lower)
        return
    if (matrix == math.inf).any() or (matrix > 100).any():
        raise Failure(
            "The mask is added to the scores: +∞ or a large positive number would take all the "
            "weight instead of none. Look at the sign."
        )
    if torch.equal(matrix, lower.double()) or torch.equal(matrix, (~lower).double()):
        raise Failure(
            "These are zeros and ones as numbers. M is added to the scores, and adding 0 or 1 "
            "hides nothing: masked entries need a value whose exponential is zero. "
            "(A mask of booleans would be fine.)"
        )
    if not matrix.any():
        raise Failure("Every entry is 0, and adding 0 hides nothing: no position is masked.")
    hidden = matrix <= HIDES
    negative = matrix < 0
    if not hidden.any() and negative.any():
        raise Failure(
            f"The masked entries are too small in size: e^({matrix.min():.4g}) is "
            f"{math.exp(matrix.min()):.2g}, so later positions still get a share. It must vanish "
            "beside any score."
        )
    _diagnose_pattern(hidden, ~lower, eye)
    if (matrix[lower] != 0).any():
        raise Failure(
            "The right entries are hidden, but the allowed ones are not 0. Give M alone, "
            "without the scores: where attention is allowed, it must change nothing."
        )
    if (matrix[~lower] > -1e4).any():
        session.note(
            "the masked entries are large enough here; with large scores −10⁴ or less is safer"
        )


def _is_boolean(given: Any) -> bool:
    if isinstance(given, Tensor):
        return given.dtype == torch.bool
    try:
        flat = np.asarray(given, dtype=object).ravel()
    except ValueError:
        return False
    return flat.size > 0 and all(isinstance(entry, bool | np.bool_) for entry in flat)


def _check_boolean_mask(session: Session, given: Tensor, lower: Tensor) -> None:
    if torch.equal(given, lower):
        session.note("read as a boolean mask with True for “may attend”")
        return
    if torch.equal(given, ~lower):
        session.note("read as a boolean mask with True for “masked out”")
        return
    if torch.equal(given, lower.T) or torch.equal(given, ~lower.T):
        # With and without the diagonal, both conventions: four masks, two of them transposed.
        raise Failure(
            "Either the mask is transposed (row = the token that attends, column = the token "
            "attended to) or the diagonal is wrong: a token may attend to itself and to earlier "
            "ones. Read with True for “may attend” or for “masked out”, it is not the causal mask."
        )
    raise Failure(
        "Neither with True for “may attend” nor with True for “masked out” is this the causal "
        "mask: look at one row at a time, and ask which columns its token may see."
    )


def _diagnose_pattern(hidden: Tensor, right: Tensor, eye: Tensor) -> None:
    """Name the wrong pattern of hidden entries; `right` is the strict upper triangle."""
    if torch.equal(hidden, right):
        return
    if torch.equal(hidden, right.T):
        raise Failure(
            "The mask is transposed: the upper triangle is allowed and the lower one hidden, so "
            "that tokens see the future and not the past. Row = the token that attends."
        )
    if torch.equal(hidden, right | eye):
        raise Failure(
            "The diagonal is hidden too (a strictly lower triangle is left): a token may attend to "
            "itself, and the first one has nothing else."
        )
    if torch.equal(hidden, (right | eye).T):
        raise Failure("The mask is transposed, and the diagonal is hidden too.")
    if torch.equal(hidden, eye):
        raise Failure("Only the diagonal is hidden; the future is what must not be seen.")
    rows = (hidden != right).any(dim=1).nonzero().flatten() + 1
    raise Failure(
        "The hidden entries are not the right ones, in row "
        f"{', '.join(str(int(row)) for row in rows)} (counted from 1)."
    )


# --- (a) weights ----------------------------------------------------------------------------------


def _check_weights(weights: Tensor) -> None:
    ones = torch.ones(LENGTH, LENGTH, dtype=torch.float64)
    lower, strictly = ones.tril(), ones.tril(-1)
    full = ones / LENGTH

    def softmax_of(allowed: Tensor, hidden_at: float = -math.inf, dim: int = 1) -> Tensor:
        return torch.where(allowed > 0, ones, hidden_at).softmax(dim=dim)

    share = "Later positions still get a share of the weight: "
    mistakes = [
        Mistake("Nothing is masked: these are the weights without M.", lambda: full),
        Mistake(
            "The rows are not normalized again: the weights are masked after the softmax. Mask the "
            "scores before it, so that each row sums to 1.",
            lambda: full * lower,
        ),
        Mistake("These are zeros and ones, no weights yet: each row must sum to 1.", lambda: lower),
        Mistake(
            "These are exponentials that are not yet divided by the sum of their row.",
            lambda: lower * math.e,
        ),
        Mistake(
            "The mask is transposed: tokens attend to the future here. Row = the token that "
            "attends.",
            lambda: softmax_of(ones.triu()),
        ),
        Mistake(
            "The weights are transposed: row = the token that attends, so rows sum to 1, not "
            "columns.",
            lambda: softmax_of(lower).T,
        ),
        Mistake(
            "The softmax runs down the columns; each row must sum to 1.",
            lambda: softmax_of(lower, dim=0),
        ),
        Mistake(
            share + "masked scores of 0 beside allowed scores of 1 (or −1 beside 0) have not "
            "vanished after the exponential, because e^0 is 1.",
            lambda: softmax_of(lower, hidden_at=0.0),
        ),
        Mistake(
            share + "masked scores of −1 have not vanished after the exponential.",
            lambda: softmax_of(lower, hidden_at=-1.0),
        ),
    ]
    # Without its diagonal, the first row is empty; what comes of it depends on the mask's values.
    hidden_diagonal = softmax_of(strictly)[1:]
    for first in (full[0] * math.nan, full[0], full[0] * 0, torch.eye(LENGTH).double()[0]):
        variant = torch.cat([first[None], hidden_diagonal])
        mistakes.append(
            Mistake(
                "The diagonal is hidden: a token may attend to itself.",
                partial(Tensor.clone, variant),
            )
        )
    expected = torch.tril(ones / torch.arange(1, LENGTH + 1)[:, None])
    expect_close(
        weights,
        expected,
        mistakes=mistakes,
        properties={
            "each row sums to 1": lambda w: bool(((w.sum(dim=1) - 1).abs() < 0.03).all()),
            "no weight on a later position": lambda w: bool((w.triu(1).abs() < 1e-3).all()),
            "equal scores give equal weights": lambda w: all(
                float(w[t, : t + 1].max() - w[t, : t + 1].min()) < 0.02 for t in range(LENGTH)
            ),
        },
        rtol=0,
        atol=5.1e-3,  # two decimals are enough
    )


# --- (b) counts -----------------------------------------------------------------------------------


def _check_attended(given: Any) -> None:
    _refuse_gaps_and_texts(given, "attended")
    counts = to_tensor(given, "`attended`").double()
    expect_shape(counts, (LENGTH,))
    n = torch.arange(LENGTH, dtype=torch.float64)
    mistakes = [
        Mistake(
            "Each count is one too small: a token may attend to itself as well as to those before "
            "it (or you wrote the index counted from 0).",
            lambda: n,
        ),
        Mistake("Each count is one too large.", lambda: n + 2),
        Mistake(
            "These are the counts of a token that attends to itself and to what comes after it: "
            "the mask is read the wrong way round.",
            lambda: LENGTH - n,
        ),
        Mistake(
            "These are the counts of the hidden positions, not of the visible ones.",
            lambda: LENGTH - 1 - n,
        ),
        Mistake("Nothing is masked in these counts.", lambda: torch.full_like(n, LENGTH)),
    ]
    expect_close(counts, n + 1, mistakes=mistakes, rtol=0, atol=1e-6)
