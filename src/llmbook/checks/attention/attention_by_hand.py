"""Check of exercise 13.11, attention by hand."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmbook.checks.engine import (
    Mistake,
    Result,
    Session,
    expect_close,
    is_placeholder,
    to_tensor,
)

# Queries, keys and values of the two parts of the exercise.
A = ([[1, 0], [0, 1]], [[1, 0], [0, 1]], [[1, 0], [0, 1]])
B = ([[1, 0], [0, 2]], [[1, 0], [0, 1], [1, 1]], [[1, 0], [2, 1], [0, 3]])


def attention_by_hand(
    scores: Any = None,
    scaled: Any = None,
    exponentials: Any = None,
    row_sums: Any = None,
    weights: Any = None,
    output: Any = None,
    weights_b: Any = None,
    output_b: Any = None,
) -> Result:
    """Check the steps of scaled dot-product attention, computed by hand.

    Pass any of them, each as nested lists, an array, a tensor or a SymPy matrix, exact or rounded
    to two decimals or more.

    Parameters
    ----------
    scores
        (a) Dot product of each query (row) with each key (column), 2 × 2.
    scaled
        (a) The scores after scaling, 2 × 2.
    exponentials
        (a) The exponential of each scaled score, 2 × 2.
    row_sums
        (a) The sum of each row of the exponentials, 2 numbers.
    weights
        (a) The attention weights, 2 × 2.
    output
        (a) The output, 2 × 2.
    weights_b
        (b) The attention weights, 2 queries × 3 keys.
    output_b
        (b) The output, 2 × 2.
    """
    session = Session("attention_by_hand")
    answers = {
        "scores": scores,
        "scaled": scaled,
        "exponentials": exponentials,
        "row_sums": row_sums,
        "weights": weights,
        "output": output,
        "weights_b": weights_b,
        "output_b": output_b,
    }
    right: set[str] = set()
    for name in answers:
        _test(session, name, answers, right)

    given = {name for name, answer in answers.items() if not is_placeholder(answer)}
    if given & {"weights", "output"} and not given & {"weights_b", "output_b"}:
        session.note(
            "in (a) a softmax over columns gives the same weights as one over rows; only (b) "
            "can tell which of the two you took"
        )
    return session.result()


def _test(session: Session, name: str, answers: dict[str, Any], right: set[str]) -> None:
    """Test one step against attention as it is, and against attention with one mistake.

    ``right`` holds the names of the steps that have passed, and gains this one if it does.
    """
    step = name.removesuffix("_b")
    q, k, v = (torch.tensor(matrix).double() for matrix in (A if step == name else B))

    @session.test(name)
    def _() -> None:
        given = to_tensor(session.call(lambda: answers[name]), f"`{name}`")
        if step == "row_sums":  # as a row, a column, or one number for both
            given = given.flatten().expand(len(q)) if given.numel() == 1 else given.flatten()
        # Weights rounded to two decimals are off by up to 0.005, and the values multiply that.
        amplified = v.abs().max().item() if step == "output" else 1.0
        expect_close(
            given,
            _steps(q, k, v)[step],
            mistakes=_mistakes(q, k, v, name, answers, right),
            properties={"each row sums to 1": _rows_sum_to_1} if step == "weights" else None,
            rtol=5e-3,
            atol=6e-3 * amplified,
        )
        right.add(name)


def _rows_sum_to_1(weights: Tensor) -> bool:
    return bool(((weights.sum(-1) - 1).abs() < 0.02).all())


def _steps(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float | None = None,
    exp: Callable[[Tensor], Tensor] = torch.exp,
    over: tuple[int, ...] = (-1,),
    normalized: bool = True,
) -> dict[str, Tensor]:
    """Compute every step of attention, right by default or with the mistake asked for."""
    scores = q @ k.T
    scaled = scores * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    exponentials = exp(scaled)
    sums = exponentials.sum(over, keepdim=True)
    weights = exponentials / sums if normalized else exponentials
    return {
        "scores": scores,
        "scaled": scaled,
        "exponentials": exponentials,
        "row_sums": exponentials.sum(-1),
        "weights": weights,
        "output": weights @ v,
    }


def _mistakes(
    q: Tensor, k: Tensor, v: Tensor, name: str, answers: dict[str, Any], passed: set[str]
) -> list[Mistake]:
    step = name.removesuffix("_b")

    def chain(**mistake: Any) -> Callable[[], Tensor]:
        return lambda: _steps(q, k, v, **mistake)[step]

    right = _steps(q, k, v)
    d_k, m = q.shape[-1], k.shape[-2]
    mistakes = [
        Mistake("The scores have not been divided by √d_k.", chain(scale=1.0)),
        Mistake(
            "The scores have been divided by d_k; its square root is meant.", chain(scale=1 / d_k)
        ),
        Mistake(
            "The scores have been multiplied by √d_k; they should be divided by it.",
            chain(scale=math.sqrt(d_k)),
        ),
        Mistake("The scores have been divided by √m, m the number of keys.", chain(scale=m**-0.5)),
        Mistake(
            "A score of 0 has lost its weight: is its exponential really 0?",
            chain(exp=lambda x: torch.where(x == 0, 0.0, x.exp())),
        ),
        Mistake("The exponential is still missing.", chain(exp=lambda x: x)),
        Mistake(
            "The softmax runs over the columns: the weights of all queries for one key sum to 1. "
            "It should run over the keys, for each query.",
            chain(over=(-2,)),
        ),
        Mistake(
            "The exponentials have been divided by the sum of the whole matrix: each row should "
            "sum to 1 by itself.",
            chain(over=(-2, -1)),
        ),
        Mistake("The exponentials have not been normalized.", chain(normalized=False)),
        Mistake("The rows or the columns are in reverse order.", lambda: right[step].flip(-1)),
    ]
    if step == "exponentials":
        mistakes.append(Mistake("These are already the weights.", lambda: right["weights"]))
    if step == "row_sums":
        mistakes.append(
            Mistake(
                "This is the sum of the whole matrix; one sum for each row is asked for.",
                lambda: right["exponentials"].sum().expand(len(q)),
            )
        )
    if step == "output":
        mistakes.append(
            Mistake(
                "The weights have averaged the keys; they should average the values.",
                lambda: right["weights"] @ k,
            )
        )
    follows: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
        "scaled": ("scores", lambda x: x / math.sqrt(d_k)),
        "exponentials": ("scaled", torch.exp),
        "row_sums": ("exponentials", lambda x: x.sum(-1)),
        "weights": ("exponentials", lambda x: x / x.sum(-1, keepdim=True)),
        "output": ("weights", lambda x: x @ v),
    }
    if step in follows:  # right arithmetic on what came before: say where to look
        before, then = follows[step]
        before += name.removeprefix(step)
        why = (
            "which passed, but rounding has added up. Keep more digits in between."
            if before in passed
            else "and the mistake is there."
        )
        mistakes.append(
            Mistake(
                f"This follows from your `{before}`, {why}",
                lambda: then(to_tensor(answers[before]).double()),
            )
        )
    return mistakes
