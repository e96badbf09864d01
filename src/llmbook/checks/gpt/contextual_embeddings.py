"""Check of exercise 35.14, one word in several senses."""

import itertools
import math
from collections.abc import Callable, Sequence
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
    to_tensor,
)
from llmbook.checks.scalars import expect_scalar

WordIds = list[list[int | None]]


def contextual_embeddings(
    word_vectors: Callable[..., Any] | None = None,
    within_between: Callable[..., Any] | None = None,
    sense_accuracy: Callable[..., Any] | None = None,
    *,
    differ_at_0: Any = None,
) -> Result:
    """Check the vectors of a word in context, and what they tell of its sense; pass any subset.

    Parameters
    ----------
    word_vectors
        Called as ``word_vectors(hidden_states, word_ids, which)``. `hidden_states` is a tuple with
        one tensor of shape (batch, tokens, width) for each layer, the embeddings first; `word_ids`
        has for each text the word number of each token, ``None`` for special tokens and padding;
        `which` is the number of the wanted word in each text. Returns (layers + 1, batch, width).
    within_between
        Called as ``within_between(vectors, senses)`` with a tensor of shape (n, width) and a list
        of n strings. Returns two numbers: the mean cosine similarity of pairs of one sense, and of
        pairs of different senses.
    sense_accuracy
        Called as ``sense_accuracy(vectors, senses)`` with the same. Returns the share, between 0
        and 1, of vectors whose nearest other vector by cosine has their own sense.
    differ_at_0
        ``"a"``, ``"b"``, ``"c"`` or ``"d"``.
    """
    session = Session("contextual_embeddings")
    _word_vectors(session, word_vectors)
    _within_between(session, within_between)
    _sense_accuracy(session, sense_accuracy)
    session.choice(
        "(d) why the vectors differ before the first layer",
        differ_at_0,
        "b",
        {
            "a": "No layer has run yet, so no token has seen another one: take two texts in which "
            "the word stands at the same place, and compare.",
            "c": "Dropout is off in evaluation: run the same text twice, and compare.",
            "d": "They differ by far more than rounding: print the cosine similarities.",
        },
    )
    return session.result()


# --- (a) The vector of a word ---------------------------------------------------------------------


def _word_vectors(session: Session, function: Any) -> None:
    def compare(lengths: Sequence[Sequence[int]], which: list[int], dtype: torch.dtype) -> None:
        """`lengths`: for each text, the number of tokens of each of its words."""
        n_tokens = 2 + max(map(sum, lengths))
        ids: WordIds = []
        for words in lengths:
            inner = [word for word, n in enumerate(words) for _ in range(n)]
            ids.append([None, *inner, None] + [None] * (n_tokens - 2 - len(inner)))
        # Odd sizes: no two axes have the same length.
        states = torch.randn(4, len(ids), n_tokens, 5, dtype=dtype) + torch.arange(5, dtype=dtype)
        got = session.call(function, tuple(states), ids, which)
        _expect_vectors(_stacked(got), states, ids, which)

    @session.test("(a) a word of one token")
    def _() -> None:
        compare([[1, 1, 1, 1]], [2], torch.float32)

    @session.test("(a) a word of three tokens is their mean")
    def _() -> None:
        compare([[1, 2, 3, 1, 2]], [2], torch.float32)

    @session.test("(a) several texts of different lengths, other words in pieces before")
    def _() -> None:
        compare([[3, 1, 2], [1, 1, 1, 4, 1, 1], [2, 2, 1, 1]], [2, 3, 0], torch.float32)

    @session.test("(a) the first word, the last word, double precision")
    def _() -> None:
        compare([[2, 1, 1], [1, 3, 2]], [0, 2], torch.float64)


def _stacked(got: Any) -> Tensor:
    """Take one tensor, or a list of equal ones for the layers."""
    if not (isinstance(got, list | tuple) and any(isinstance(x, Tensor) for x in got)):
        return to_tensor(got)
    layers = [to_tensor(x, "each entry of your output") for x in got]
    if len({layer.shape for layer in layers}) > 1:
        raise Failure("The entries of your output have different shapes; return one tensor.")
    return torch.stack(layers)


def _expect_vectors(got: Tensor, states: Tensor, ids: WordIds, which: list[int]) -> None:
    def weights(share: Callable[[list[int | None], int], list[int]]) -> Tensor:
        """(batch, tokens), one where `share` puts a token."""
        table = torch.zeros(states.shape[1:3], dtype=states.dtype)
        for text, (words, wanted) in enumerate(zip(ids, which, strict=True)):
            table[text, share(words, wanted)] = 1
        return table

    def mean(share: Callable[[list[int | None], int], list[int]]) -> Tensor:
        table = weights(share)
        return torch.einsum("bt,lbtd->lbd", table / table.sum(1, keepdim=True), states)

    def tokens(words: list[int | None], wanted: int) -> list[int]:
        return [i for i, word in enumerate(words) if word == wanted]

    def inner(words: list[int | None]) -> list[int]:
        return [i for i, word in enumerate(words) if word is not None]

    expected = mean(tokens)
    pieces = weights(tokens).sum(1)[:, None]
    mistakes = [
        Mistake(
            "You take the first token of the word only; average over all of its tokens.",
            lambda: mean(lambda words, wanted: tokens(words, wanted)[:1]),
        ),
        Mistake(
            "You take the last token of the word only; average over all of its tokens.",
            lambda: mean(lambda words, wanted: tokens(words, wanted)[-1:]),
        ),
        Mistake("You add the tokens of the word up; average them.", lambda: expected * pieces),
        Mistake(
            "You divide by the number of all tokens of the text, not by those of the word.",
            lambda: expected * pieces / states.shape[2],
        ),
        Mistake(
            "You use the number of the word as the number of a token. Special tokens come before "
            "it, and other words may have several tokens: `word_ids` says which token is whose.",
            lambda: mean(lambda words, wanted: [wanted]),
        ),
        Mistake(
            "You use the number of the word, plus one, as the number of a token. That jumps over "
            "the special token at the start, but other words may have several tokens: `word_ids` "
            "says which token is whose.",
            lambda: mean(lambda words, wanted: [wanted + 1]),
        ),
        Mistake(
            "You average over all tokens of the text; asked is one word.",
            lambda: mean(lambda words, wanted: list(range(len(words)))),
        ),
        Mistake(
            "You average over all words of the text; asked is one of them.",
            lambda: mean(lambda words, wanted: inner(words)),
        ),
        Mistake(
            "You take one token too early: is the special token at the start dropped from "
            "`word_ids`, and not from the states?",
            lambda: mean(lambda words, wanted: [i - 1 for i in tokens(words, wanted)]),
        ),
        Mistake(
            "You take the largest value over the tokens of the word in each component; average "
            "them.",
            lambda: torch.stack(
                [
                    states[:, text, tokens(words, wanted)].amax(1)
                    for text, (words, wanted) in enumerate(zip(ids, which, strict=True))
                ],
                dim=1,
            ),
        ),
        Mistake(
            "Each text has its own `word_ids`; you use those of the first text for all.",
            lambda: torch.stack(
                [
                    states[:, text, tokens(ids[0], wanted)].mean(1)
                    for text, wanted in enumerate(which)
                ],
                dim=1,
            ),
        ),
        Mistake(
            "That is the last layer alone; asked are all, with the embeddings first.",
            lambda: expected[-1],
        ),
        Mistake(
            "That leaves the embeddings out; they are the first of the hidden states.",
            lambda: expected[1:],
        ),
        Mistake(
            "The axes are in another order: asked is (layers + 1, batch, width).",
            lambda: expected.transpose(0, 1) if states.shape[1] != 1 else None,
        ),
    ]
    if got.ndim == 3 and got.shape == expected.transpose(0, 1).shape != expected.shape:
        raise Failure("The axes are in another order: asked is (layers + 1, batch, width).")
    if got.ndim == 4:
        raise Failure(
            f"The shape is {tuple(got.shape)}: the axis of the tokens is still there. The tokens "
            "of the word become one vector."
        )
    expect_close(
        got,
        expected,
        inputs={"hidden_states": states, "word_ids": ids, "which": which},
        mistakes=mistakes,
    )


# --- (b) Similarity within and between senses -----------------------------------------------------


def _number(value: Any) -> float:
    tensor = to_tensor(value, "your number")
    if tensor.numel() != 1 or tensor.is_complex():
        raise Failure(f"One real number is expected; got a tensor of shape {tuple(tensor.shape)}.")
    return float(tensor)


def _clouds(n: Sequence[int], width: int) -> tuple[Tensor, list[str]]:
    """Return vectors around one center per sense, of very different lengths, in mixed order."""
    senses = [name for name, count in zip("abc", n, strict=False) for _ in range(count)]
    order = torch.randperm(len(senses)).tolist()
    senses = [senses[i] for i in order]
    centers = {name: torch.randn(width) + 1 for name in "abc"}
    vectors = torch.stack([centers[sense] for sense in senses]) + torch.randn(len(senses), width)
    return vectors * torch.rand(len(senses), 1).mul(3).exp(), senses


def _pairs(senses: list[str]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    same: list[tuple[int, int]] = []
    other: list[tuple[int, int]] = []
    for i, j in itertools.combinations(range(len(senses)), 2):
        (same if senses[i] == senses[j] else other).append((i, j))
    return same, other


def _mean_similarity(
    vectors: Tensor,
    pairs: Sequence[tuple[int, int]],
    similarity: Callable[..., Tensor] = F.cosine_similarity,
) -> float:
    x = vectors.double()
    return sum(float(similarity(x[i], x[j], dim=0)) for i, j in pairs) / len(pairs)


def _dot(x: Tensor, y: Tensor, dim: int) -> Tensor:
    return (x * y).sum(dim)


def _distance(x: Tensor, y: Tensor, dim: int) -> Tensor:
    return (x - y).square().sum(dim).sqrt()


def _within_between(session: Session, function: Any) -> None:
    def compare(vectors: Tensor, senses: list[str]) -> None:
        got = session.call(function, vectors, senses)
        if isinstance(got, dict) and len(got) == 2:
            got = tuple(got.values())
        try:
            within, between = got
        except (TypeError, ValueError):
            raise Failure(
                "Return two numbers, the similarity within senses and the one between them; got "
                f"{type(got).__name__}."
            ) from None
        same, other = _pairs(senses)
        n = len(senses)
        right = [_mean_similarity(vectors, pairs) for pairs in (same, other)]
        # All ordered pairs of one sense, each vector with itself among them.
        selves = (2 * len(same) * right[0] + n) / (2 * len(same) + n)
        per_sense = [
            _mean_similarity(vectors, pairs)
            for sense in dict.fromkeys(senses)
            if (pairs := [pair for pair in same if senses[pair[0]] == sense])
        ]
        everything = _mean_similarity(vectors, same + other)
        with_selves = (n * (n - 1) * everything + n) / n**2
        inputs = {"vectors": vectors, "senses": senses}

        def near(value: Any, target: float) -> bool:
            return math.isclose(_number(value), target, abs_tol=1e-4)

        if near(within, right[1]) and near(between, right[0]):
            raise Failure("The two are swapped: within senses first, then between them.")
        expect_scalar(
            within,
            right[0],
            inputs=inputs,
            mistakes=[
                Mistake(
                    "Within senses: each vector is compared with itself, too, which adds a 1 "
                    "that says nothing.",
                    lambda: torch.tensor(selves),
                ),
                Mistake(
                    "Within senses: these are products of vectors whose lengths differ; divide by "
                    "both lengths.",
                    lambda: torch.tensor(_mean_similarity(vectors, same, _dot)),
                ),
                Mistake(
                    "Within senses: that is a distance; asked is the cosine of the angle.",
                    lambda: torch.tensor(_mean_similarity(vectors, same, _distance)),
                ),
                Mistake(
                    "Within senses: that is one minus the cosine similarity, a distance.",
                    lambda: torch.tensor(1 - right[0]),
                ),
                Mistake(
                    "Within senses: you average each sense first, then over the senses. Asked is "
                    "the mean over all pairs, so that a sense with more pairs counts for more.",
                    lambda: torch.tensor(sum(per_sense) / len(per_sense)),
                ),
                Mistake(
                    "Within senses: you add the similarities up; asked is their mean.",
                    lambda: torch.tensor(right[0] * len(same)),
                ),
                Mistake(
                    "Within senses: you add the similarities of all ordered pairs up; asked is "
                    "their mean.",
                    lambda: torch.tensor(2 * right[0] * len(same)),
                ),
                Mistake(
                    "Within senses: you divide by the number of all pairs, of one sense or not.",
                    lambda: torch.tensor(right[0] * len(same) / (len(same) + len(other))),
                ),
            ],
        )
        expect_scalar(
            between,
            right[1],
            inputs=inputs,
            mistakes=[
                Mistake(
                    "Between senses: that is the mean over all pairs, those of one sense too.",
                    lambda: torch.tensor(everything),
                ),
                Mistake(
                    "Between senses: that is the mean over all pairs, those of one sense and each "
                    "vector with itself too.",
                    lambda: torch.tensor(with_selves),
                ),
                Mistake(
                    "Between senses: these are products of vectors whose lengths differ; divide "
                    "by both lengths.",
                    lambda: torch.tensor(_mean_similarity(vectors, other, _dot)),
                ),
                Mistake(
                    "Between senses: you add the similarities up; asked is their mean.",
                    lambda: torch.tensor(right[1] * len(other)),
                ),
                Mistake(
                    "Between senses: you divide by the number of all pairs, of one sense or not.",
                    lambda: torch.tensor(right[1] * len(other) / (len(same) + len(other))),
                ),
            ],
        )

    @session.test("(b) three vectors, two senses")
    def _() -> None:
        compare(torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0]]), ["a", "a", "b"])

    @session.test("(b) three senses of different size, mixed")
    def _() -> None:
        compare(*_clouds((3, 4, 6), width=7))

    @session.test("(b) a sense that occurs once")
    def _() -> None:
        compare(*_clouds((1, 3, 2), width=4))

    @session.test("(b) double precision")
    def _() -> None:
        vectors, senses = _clouds((4, 3, 3), width=6)
        compare(vectors.double(), senses)


# --- (c) The nearest neighbor ---------------------------------------------------------------------


def _sense_accuracy(session: Session, function: Any) -> None:
    def compare(vectors: Tensor, senses: list[str]) -> None:
        got = session.call(function, vectors, senses)
        n, x = len(senses), vectors.double()

        def hits(similarity: Callable[..., Tensor], k: int = 1, sign: int = 1) -> float:
            right = 0
            for i in range(n):
                others = sorted(
                    (j for j in range(n) if j != i),
                    key=lambda j: -sign * float(similarity(x[i], x[j], dim=0)),
                )
                right += senses[others[k - 1]] == senses[i]
            return right / n

        def by_center() -> float:
            centers = {s: x[[j for j in range(n) if senses[j] == s]].mean(0) for s in set(senses)}
            best = [
                max(centers, key=lambda s: float(F.cosine_similarity(x[i], centers[s], dim=0)))
                for i in range(n)
            ]
            return sum(a == b for a, b in zip(best, senses, strict=True)) / n

        right = hits(F.cosine_similarity)
        value = _number(got)
        mistakes: list[tuple[str, Callable[[], float]]] = [
            ("The nearest vector of each is the vector itself; leave it out.", lambda: 1.0),
            (
                "That is the number of hits; asked is their share.",
                lambda: right * n,
            ),
            ("That is a percentage; asked is a share between 0 and 1.", lambda: right * 100),
            ("That is the share of misses; asked is that of hits.", lambda: 1 - right),
            (
                "You take the vector with the largest product. A long vector has large products "
                "with all: divide by the lengths.",
                lambda: hits(_dot),
            ),
            (
                "You take the vector at the smallest distance; asked is the one with the largest "
                "cosine similarity, whatever the lengths.",
                lambda: hits(_distance, sign=-1),
            ),
            (
                "You take the *least* similar vector.",
                lambda: hits(F.cosine_similarity, sign=-1),
            ),
            ("You compare with the centers of the senses, each vector in its own.", by_center),
            (
                "You take the second-nearest of the other vectors: is each one left out twice?",
                lambda: hits(F.cosine_similarity, k=2),
            ),
        ]
        for message, wrong in mistakes:
            target = wrong()
            if not math.isclose(right, target, abs_tol=1e-4) and math.isclose(
                value, target, abs_tol=1e-4
            ):
                raise Failure(message)
        expect_scalar(
            got,
            right,
            inputs={"vectors": vectors, "senses": senses},
            properties={
                "the answer is a share, between 0 and 1": lambda out: 0 <= float(out) <= 1,
                "the answer is a whole number of hits over the number of vectors": (
                    lambda out: math.isclose(float(out) * n, round(float(out) * n), abs_tol=1e-3)
                ),
            },
        )

    @session.test("(c) five vectors by hand")
    def _() -> None:
        # Angles 0, 10, 30, 36, 100 degrees, lengths 1, 5, 1, 2, 1.
        angles = torch.tensor([0.0, 10.0, 30.0, 36.0, 100.0]).deg2rad()
        lengths = torch.tensor([1.0, 5.0, 1.0, 2.0, 1.0])
        vectors = lengths[:, None] * torch.stack([angles.cos(), angles.sin()], dim=1)
        compare(vectors, ["a", "a", "b", "b", "a"])

    @session.test("(c) three senses, mixed, lengths that differ")
    def _() -> None:
        compare(*_clouds((7, 6, 8), width=5))

    @session.test("(c) similarities that are all negative")
    def _() -> None:
        # Three vectors at about 120 degrees from each other.
        angles = torch.tensor([0.0, 110.0, 240.0]).deg2rad()
        compare(torch.stack([angles.cos(), angles.sin()], dim=1), ["a", "a", "b"])

    @session.test("(c) two vectors that are equal")
    def _() -> None:
        vectors = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [-1.0, 1.0]])
        compare(vectors, ["a", "b", "a", "b"])

    @session.test("(c) double precision")
    def _() -> None:
        vectors, senses = _clouds((5, 9, 6), width=4)
        compare(vectors.double(), senses)
