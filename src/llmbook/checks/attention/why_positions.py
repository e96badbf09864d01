"""Check of exercise 13.6, why a Transformer needs positions."""

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmbook.attention import causal_mask, standard_attention
from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    is_placeholder,
    show_value,
    to_tensor,
)

SEES_PLACES = "Something in this computation does depend on places: "
SEES_NONE = "Nothing in this computation depends on places: "
PREDICTIONS = {  # name: (is the vector the same for both texts?, why the other answer is wrong)
    "full_mean": (
        True,
        SEES_NONE + "without a mask, moving the tokens moves the vectors along and changes none of "
        "them, and a mean does not mind the order of its terms.",
    ),
    "full_period": (
        True,
        SEES_NONE + "the period averages over all tokens, whatever their order, in every layer.",
    ),
    "added_mean": (
        False,
        SEES_PLACES + "a word that moves gets another vector added to it, so other vectors go in.",
    ),
    "causal_start": (
        True,
        "Which tokens does the causal mask let the start token see, in one layer or in two?",
    ),
    "causal_period_1": (
        True,
        "The period comes last and sees all tokens, and in a single layer it sees them as they "
        "came in, before they have looked around. Are these other ones in the second text?",
    ),
    "causal_mean_1": (
        False,
        SEES_PLACES + "with the mask, a word in the middle sees what stands before it, and that "
        "changes when words are swapped. The mean takes in the words in the middle.",
    ),
    "causal_period_2": (
        False,
        SEES_PLACES + "the second layer reads words that have looked back in the first one, and "
        "what they saw there depends on what stands before them.",
    ),
}
START = 0
TEXT = [START, 5, 2, 5, 7, 3]
SHUFFLED = [START, 7, 5, 3, 2, 5]


def why_positions(
    twins: Any = None,
    full_mean: Any = None,
    full_period: Any = None,
    added_mean: Any = None,
    causal_start: Any = None,
    causal_period_1: Any = None,
    causal_mean_1: Any = None,
    causal_period_2: Any = None,
    blind_accuracy: Any = None,
    token_qkv: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]] | None = None,
    position_of: Callable[[Tensor], Tensor] | None = None,
) -> Result:
    """Check what a Transformer without positions can and cannot tell apart; pass any subset.

    Parameters
    ----------
    twins
        (b) Two strings: the same words in another order. Case and punctuation are ignored.
    full_mean, full_period, added_mean, causal_start, causal_period_1, causal_mean_1, causal_period_2
        (c) True if the vector is the same for both texts whatever the weights are, else False.
    blind_accuracy
        (d) Share of right answers, between 0 and 1.
    token_qkv
        (e) Function of integers (n,), the first of them 0, that returns q (n, d_k), k (n, d_k) and
        v (n, d_v), each row made from its own token alone.
    position_of
        (e) Function of what the causal head put out, (n, d_v), that returns the positions (n,),
        counted from 0, each read off its own row alone.
    """  # noqa: E501 - the names belong together
    session = Session("why_positions")

    @session.test("twins")
    def _() -> None:
        given = twins
        if isinstance(twins, tuple | list) and twins and all(map(is_placeholder, twins)):
            given = None
        _expect_twins(session.call(lambda: given))
        session.note("whether the two texts mean different things, only a reader can tell")

    given = (
        full_mean,
        full_period,
        added_mean,
        causal_start,
        causal_period_1,
        causal_mean_1,
        causal_period_2,
    )
    for (name, (same, why)), answer in zip(PREDICTIONS.items(), given, strict=True):
        session.choice(name, answer, same, {not same: why})
    session.number(
        "blind_accuracy",
        blind_accuracy,
        0.5,
        rtol=0,
        atol=1e-6,
        mistakes={
            "It cannot be right on all: two texts that look the same to it get the same answer, "
            "and they want opposite ones.": 1.0,
            "It cannot be wrong on all: two texts that look the same to it get the same answer, "
            "and one of them wants just that.": 0.0,
            "That would be a guess among four; there are two answers.": 0.25,
            "That is close. Is it measured, or read off a few trained models? Give the exact "
            "share: think of one pair of order twins.": _if_measured(blind_accuracy),
        },
    )
    _test_meter(session, token_qkv, position_of)
    return session.result()


def _if_measured(given: Any) -> float:
    """Return a share within 0.1 of the right one, which a finite test could give; else NaN."""
    try:
        share = float(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return math.nan
    return share if abs(share - 0.5) < 0.1 else math.nan


# --- (b) twins ------------------------------------------------------------------------------------


def _expect_twins(twins: Any) -> None:
    if (
        not isinstance(twins, tuple | list)
        or len(twins) != 2
        or not all(isinstance(text, str) for text in twins)
    ):
        raise Failure(f"`twins` should be a pair of strings; it is {twins!r:.80}.")
    first, second = (re.findall(r"\w+(?:['’-]\w+)*", text.lower()) for text in twins)
    if not first or not second:
        raise Failure("A text of `twins` has no words.")
    if {" ".join(first), " ".join(second)} == {"the dog bit the man", "the man bit the dog"}:
        raise Failure("That is the example of the statement: find a pair of your own.")
    if first == second:
        raise Failure("Both texts have the same words in the same order.")
    rests = Counter(first) - Counter(second), Counter(second) - Counter(first)
    if any(rests):
        only = (", ".join(sorted(rest.elements())) or "none" for rest in rests)
        raise Failure(
            "The texts do not hold the same words, each as often. Left over in the first: "
            f"{next(only)}; in the second: {next(only)}. To the model, other forms of a word are "
            "other words."
        )


# --- (e) positions out of the mask ----------------------------------------------------------------


def _test_meter(session: Session, token_qkv: Any, position_of: Any) -> None:
    def rows(tokens: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        return _qkv(session.call(token_qkv, torch.tensor(tokens)), len(tokens))

    def head(tokens: list[int]) -> Tensor:
        q, k, v = rows(tokens)
        return standard_attention(q, k, v, causal_mask(len(tokens)))

    def read(output: Tensor) -> Tensor:
        places = to_tensor(session.call(position_of, output), "what `position_of` returns")
        if places.numel() != len(output):
            raise Failure(
                f"`position_of` should return one number a row, of shape ({len(output)},); its "
                f"shape is {tuple(places.shape)} for an output of shape {tuple(output.shape)}."
            )
        return places.double().flatten()

    passed: list[bool] = []

    @session.test("q, k and v are made from single tokens")
    def _() -> None:
        _expect_tokenwise(rows)
        passed.append(True)

    if not passed:  # the rest would be measured on what is not allowed, or not there
        if not is_placeholder(token_qkv):
            session.note("positions are tested once q, k and v are made from single tokens")
        return

    @session.test("each position is read off its own row")
    def _() -> None:
        output = head(TEXT)
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        places, moved = read(output), read(output[order])
        alone = torch.cat([read(row[None]) for row in output])
        for got, right in ((moved, places[order]), (alone, places)):
            if not torch.allclose(got, right, rtol=1e-3, atol=0.05, equal_nan=True):
                counts = torch.equal(moved.diff(), places.diff()) and bool(
                    (moved.diff() == 1).all()
                )
                raise Failure(
                    "`position_of` gives a row another position when the rows stand in another "
                    f"order, or alone: it {'counts its rows' if counts else 'looks at other rows'} "
                    "instead of reading each by itself."
                )

    def expect_positions(text: list[int]) -> None:
        output = head(text)
        places = read(output)
        hint = ""
        if not torch.allclose(head(TEXT), head(SHUFFLED), atol=1e-6):
            hint = (
                "\nIn two texts of the same length, the head puts out different numbers at the "
                "same place: do your scores or values depend on which words stand there?"
            )
        _expect_positions(places, output, text, hint)

    @session.test("positions of a text")
    def _() -> None:
        expect_positions(TEXT)

    @session.test("other texts and lengths")
    def _() -> None:
        for text in ([START], [START, 1], [START, 4, 4, 4, 4], SHUFFLED):
            expect_positions(text)
        expect_positions([START, *torch.randint(1, 50, (199,)).tolist()])


def _qkv(given: Any, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Take q, k and v as float64; Failure if they do not fit together."""
    if isinstance(given, Tensor) and given.ndim == 3 and len(given) == 3:
        given = tuple(given)
    if not isinstance(given, tuple | list) or len(given) != 3:
        raise Failure(f"`token_qkv` should return three matrices, q, k, v; it returned {_a(given)}")
    q, k, v = (
        to_tensor(matrix, f"`{name}`").double() for name, matrix in zip("qkv", given, strict=True)
    )
    for name, matrix in (("q", q), ("k", k), ("v", v)):
        if matrix.ndim != 2 or len(matrix) != n:
            raise Failure(
                f"`{name}` should have one row for each of the {n} tokens, in two dimensions; its "
                f"shape is {tuple(matrix.shape)}."
            )
        if not matrix.isfinite().all():
            raise Failure(
                f"`{name}` holds NaN or ∞. The mask is added by the check: q, k and v are numbers."
            )
    if q.shape != k.shape:
        raise Failure(
            f"`q` and `k` should have the same width, for their dot products; their shapes are "
            f"{tuple(q.shape)} and {tuple(k.shape)}."
        )
    return q, k, v


def _a(value: Any) -> str:
    return f"{type(value).__name__}: {show_value(value)}."


def _expect_tokenwise(rows: Callable[[list[int]], tuple[Tensor, Tensor, Tensor]]) -> None:
    """Fail if the row of a token depends on its place or on the other tokens."""
    texts = [TEXT, SHUFFLED, [START, 5], [START, 3, 2], [START, 9, 5, 7, 2, 3, 8, 5]]
    known: dict[tuple[str, int], tuple[Tensor, list[int], int]] = {}
    for text in texts:
        for name, matrix in zip("qkv", rows(text), strict=True):
            for place, (token, row) in enumerate(zip(text, matrix, strict=True)):
                before, other, there = known.setdefault((name, token), (row, text, place))
                if row.shape != before.shape or not torch.allclose(row, before, atol=1e-6):
                    raise Failure(
                        f"The row of `{name}` for token {token} is {show_value(before)} at place "
                        f"{there} of {other} and {show_value(row)} at place {place} of {text}. "
                        "Make each row from its own token alone, without its place, the other "
                        "tokens or a random number: the mask is to be the only thing that knows "
                        "places."
                    )


def _expect_positions(places: Tensor, output: Tensor, text: list[int], hint: str) -> None:
    n = len(text)
    right = torch.arange(n).double()
    flat = output[:, 0]
    given = f"\nTokens: {text if n <= 8 else f'{text[:4]} … ({n} of them)'}"
    if n > 1 and torch.allclose(output, output[:1].expand_as(output), atol=1e-9):
        raise Failure(
            "The head puts out the same at every place, so there is no position in it to read. An "
            "average says something about its length only if the values are not all alike and no "
            f"single score takes all the weight.{given}"
        )
    mistakes = [
        Mistake("These positions are counted from 1; count from 0.", lambda: right + 1),
        Mistake("These positions are counted from −1: one too small.", lambda: right - 1),
        Mistake(
            "This is what the head put out, a share that falls along the text. Turn it into a "
            "position.",
            lambda: flat,
        ),
        Mistake("The positions are counted from the end.", lambda: n - 1 - right),
        Mistake("The positions have the wrong sign.", lambda: -right),
    ]
    off = right - places
    # In a short text, that could be chance.
    if n >= len(TEXT) and ((off == 0) | (off == 1)).all() and (off == 1).any() and (off == 0).any():
        raise Failure(
            "Some positions are one too small: is a number such as 2.9999999 cut down to 2? "
            f"Round to the nearest integer, or do not round.{given}"
        )
    try:
        expect_close(places, right, mistakes=mistakes if n > 1 else mistakes[:2], atol=0.05)
    except Failure as failure:
        raise Failure(f"{failure}{hint}{given}") from None
