"""Check of exercise 35.14, one word in several senses."""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
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

AXES = "The axes are in another order: they should be (layers + 1, batch, width)."


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
        compare([[2, 2, 1, 1]], [2], torch.float32)

    @session.test("(a) a word of three tokens is their mean")
    def _() -> None:
        compare([[1, 2, 3, 1, 2]], [2], torch.float32)

    @session.test("(a) several texts of different lengths, other words in pieces before")
    def _() -> None:
        compare([[3, 1, 2, 1], [1, 1, 1, 4, 1, 1], [2, 2, 1, 1]], [2, 3, 0], torch.float32)

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

    def mean(share: Callable[[list[int | None], int], list[int]], least: int = 0) -> Tensor:
        """Mean over the tokens of `share`; that of none is NaN, or 0 if `least` is 1."""
        table = weights(share)
        n = table.sum(1, keepdim=True).clamp(min=least)
        return torch.einsum("bt,lbtd->lbd", table / n, states)

    def tokens(words: list[int | None], wanted: int) -> list[int]:
        return [i for i, word in enumerate(words) if word == wanted]

    def inner(words: list[int | None]) -> list[int]:
        return [i for i, word in enumerate(words) if word is not None]

    def truthy(words: list[int | None], wanted: int) -> list[int]:
        return [i for i, word in enumerate(words) if word and word == wanted]

    dropped = "Word 0 has got lost: 0 counts as false, as `None` does. Compare with `None` by `is`."
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
            "You average over all tokens of the text; the question asks for one word.",
            lambda: mean(lambda words, wanted: list(range(len(words)))),
        ),
        Mistake(
            "You average over all words of the text; the question asks for one of them.",
            lambda: mean(lambda words, wanted: inner(words)),
        ),
        Mistake(
            "You take the word after the wanted one: words are counted from 0.",
            lambda: mean(lambda words, wanted: tokens(words, wanted + 1)),
        ),
        Mistake(
            "You take the word before the wanted one: words are counted from 0.",
            lambda: mean(lambda words, wanted: tokens(words, wanted - 1)),
        ),
        Mistake(dropped, lambda: mean(truthy)),
        Mistake(dropped, lambda: mean(truthy, least=1)),
        Mistake(
            "Special tokens and padding count as word 0 here; `None` is no word.",
            lambda: mean(
                lambda words, wanted: [i for i, word in enumerate(words) if (word or 0) == wanted]
            ),
        ),
        Mistake(
            "Each text has its own wanted word; you use the first entry of `which` for all.",
            lambda: mean(lambda words, wanted: tokens(words, which[0])),
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
            "That is the last layer alone; return all of them, with the embeddings first.",
            lambda: expected[-1],
        ),
        Mistake(
            "You average over the layers; return the vectors of all of them.",
            lambda: expected.mean(0),
        ),
        Mistake(
            "You make the vectors 1 long; the question asks for the plain mean.",
            lambda: F.normalize(expected, dim=-1),
        ),
        Mistake(
            "That leaves the embeddings out; they are the first of the hidden states.",
            lambda: expected[1:],
        ),
        Mistake(AXES, lambda: expected.transpose(0, 1) if states.shape[1] != 1 else None),
    ]
    if got.ndim == 3 and got.shape == expected.transpose(0, 1).shape != expected.shape:
        raise Failure(AXES)
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


def _common_guesses(
    vectors: Tensor, pairs: list[tuple[int, int]], n: int, n_pairs: int
) -> dict[str, float]:
    """What is wrong → the mean over `pairs` one gets that way, within senses or between them."""
    x = vectors.double()
    right, products = _mean_similarity(x, pairs), _mean_similarity(x, pairs, _dot)
    return {
        "these are products of vectors whose lengths differ; divide by both lengths.": products,
        "you divide all vectors by the same number, the norm of the whole matrix; each has a "
        "length of its own.": products / float(x.norm()) ** 2,
        "you divide along the wrong axis: each vector is a row, and becomes 1 long.": (
            _mean_similarity(F.normalize(x, dim=0), pairs, _dot)
        ),
        "you subtract the mean of all vectors first; the question asks for the vectors as they "
        "are.": _mean_similarity(x - x.mean(0), pairs),
        "that is a distance; the question asks for the cosine of the angle.": (
            _mean_similarity(x, pairs, _distance)
        ),
        "that is one minus the cosine similarity, a distance.": 1 - right,
        "you add the similarities up; the question asks for their mean.": right * len(pairs),
        "you add the similarities of all ordered pairs up; the question asks for their mean.": (
            2 * right * len(pairs)
        ),
        "you divide by the number of all entries of the table, with zeros where the mask is "
        "false; divide by the number of pairs that count.": 2 * right * len(pairs) / n**2,
        "you divide by the number of all pairs, of one sense or not.": (
            right * len(pairs) / n_pairs
        ),
    }


def _within_guesses(vectors: Tensor, senses: list[str]) -> dict[str, float]:
    same, other = _pairs(senses)
    n, right = len(senses), _mean_similarity(vectors, same)
    ordered = 2 * len(same) * right
    per_sense = [
        _mean_similarity(vectors, pairs)
        for sense in dict.fromkeys(senses)
        if (pairs := [pair for pair in same if senses[pair[0]] == sense])
    ]
    return {
        "each vector is compared with itself, too, which adds a 1 that says nothing.": (
            (ordered + n) / (2 * len(same) + n)
        ),
        "each vector is compared with itself, too, and you divide by the number of all entries of "
        "the table; divide by the number of pairs that count.": (ordered + n) / n**2,
        "you average each sense first, then over the senses. The question asks for the mean over "
        "all pairs, so that a sense with more pairs counts for more.": (
            sum(per_sense) / len(per_sense)
        ),
    } | _common_guesses(vectors, same, n, len(same) + len(other))


def _between_guesses(vectors: Tensor, senses: list[str]) -> dict[str, float]:
    same, other = _pairs(senses)
    n, everything = len(senses), _mean_similarity(vectors, same + other)
    return {
        "that is the mean over all pairs, those of one sense too.": everything,
        "that is the mean over all pairs, those of one sense and each vector with itself too.": (
            (n * (n - 1) * everything + n) / n**2
        ),
    } | _common_guesses(vectors, other, n, len(same) + len(other))


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
        inputs = {"vectors": vectors, "senses": senses}
        same, other = _pairs(senses)
        rights = _mean_similarity(vectors, same), _mean_similarity(vectors, other)

        def near(value: Any, target: float) -> bool:
            return math.isclose(_number(value), target, abs_tol=1e-4)

        if near(within, rights[1]) and near(between, rights[0]):
            raise Failure("The two are swapped: within senses first, then between them.")
        for part, value, right, guesses in (
            ("Within", within, rights[0], _within_guesses(vectors, senses)),
            ("Between", between, rights[1], _between_guesses(vectors, senses)),
        ):
            expect_scalar(
                value,
                right,
                inputs=inputs,
                mistakes=[
                    Mistake(f"{part} senses: {message}", partial(torch.tensor, wrong))
                    for message, wrong in guesses.items()
                ],
            )

    @session.test("(b) three vectors, two senses")
    def _() -> None:
        compare(torch.tensor([[3.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), ["a", "a", "b"])

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


NO_MINUS_INFINITY = (
    "A 0 on the diagonal, or as the best value to start from, beats similarities that are "
    "negative; it should be lower than any similarity."
)


def _accuracy_guesses(vectors: Tensor, senses: list[str]) -> list[tuple[str, float]]:
    """What is wrong, and the share one gets that way."""
    x = vectors.double()
    n = len(senses)
    names = sorted(set(senses))
    cosine = F.cosine_similarity(x[:, None], x[None], dim=-1)
    nobody = torch.eye(n, dtype=torch.bool)
    same = torch.tensor([[a == b for b in senses] for a in senses])

    def hits(table: Tensor, hidden: Tensor = nobody, k: int = 1) -> float:
        """Share of rows whose k-th largest entry, `hidden` ones left out, is of their sense."""
        order = table.masked_fill(hidden, -math.inf).argsort(dim=1, descending=True, stable=True)
        chosen = order[:, k - 1 : k]
        return float(same.gather(1, chosen).double().mean())

    def by_center(leave_out: bool) -> float:
        right = 0
        for i, sense in enumerate(senses):
            groups = {
                s: [j for j in range(n) if senses[j] == s and not (leave_out and j == i)]
                for s in names
            }
            center = {s: x[group].mean(0) for s, group in groups.items() if group}
            nearest = max(center, key=lambda s: float(F.cosine_similarity(x[i], center[s], dim=0)))
            right += nearest == sense
        return right / n

    positive = (cosine.masked_fill(nobody, -math.inf).amax(1) > 0).double()
    chosen = cosine.masked_fill(nobody, -math.inf).argmax(1, keepdim=True)
    hit = same.gather(1, chosen)[:, 0].double()
    centered = x - x.mean(0)
    right = float(hit.mean())
    return [
        ("The nearest vector of each is the vector itself; leave it out.", 1.0),
        (NO_MINUS_INFINITY, float((positive * hit + 1 - positive).mean())),
        (NO_MINUS_INFINITY, float((positive * hit).mean())),
        (NO_MINUS_INFINITY, float((positive * hit + (1 - positive) * same[0]).mean())),
        (
            "You take the vector with the largest product. A long vector has large products "
            "with all: divide by the lengths.",
            hits(x @ x.T),
        ),
        (
            "You take the vector at the smallest distance; the question asks for the one with the "
            "largest cosine similarity, whatever the lengths.",
            hits(-torch.cdist(x, x)),
        ),
        (
            "You subtract the mean of all vectors first; the question asks for the vectors as "
            "they are.",
            hits(F.cosine_similarity(centered[:, None], centered[None], dim=-1)),
        ),
        ("You take the *least* similar vector.", hits(-cosine)),
        (
            "You compare with the centers of the senses, each vector in its own.",
            by_center(leave_out=False),
        ),
        (
            "You compare with the centers of the senses; the question asks for the nearest single "
            "vector.",
            by_center(leave_out=True),
        ),
        (
            "You take the second-nearest of the other vectors: is each one left out twice?",
            hits(cosine, k=2),
        ),
        (
            "You compare each vector with those before it only; all others count.",
            hits(cosine, torch.ones(n, n).triu().bool()),
        ),
        (
            "You compare each vector with those after it only; all others count.",
            hits(cosine, torch.ones(n, n).tril().bool()),
        ),
        (
            "You leave out every vector that is almost equal; leave out the vector itself only, by "
            "its number.",
            hits(cosine, nobody | (cosine > 0.9999)),
        ),
        ("That is the number of hits; the question asks for their share.", right * n),
        ("That is a percentage; the question asks for a share between 0 and 1.", right * 100),
        ("That is the share of misses; the question asks for that of hits.", 1 - right),
    ]


def _sense_accuracy(session: Session, function: Any) -> None:
    def compare(vectors: Tensor, senses: list[str]) -> None:
        got = session.call(function, vectors, senses)
        n, value = len(senses), _number(got)
        cosine = F.normalize(vectors.double(), dim=1)
        table = (cosine @ cosine.T).fill_diagonal_(-math.inf)
        nearest = table.argmax(1).tolist()
        right = sum(senses[i] == senses[j] for i, j in enumerate(nearest)) / n
        if not math.isclose(value, right, abs_tol=1e-4):
            # With so few values a share can have, two mistakes may agree: then name neither.
            fits = {
                message
                for message, wrong in _accuracy_guesses(vectors, senses)
                if math.isclose(value, wrong, abs_tol=1e-4)
            }
            if len(fits) == 1:
                raise Failure(fits.pop())
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

    # The vectors are chosen so that the usual mistakes give different shares.
    @session.test("(c) six vectors by hand")
    def _() -> None:
        vectors = torch.tensor(
            [[-1.0, 2.5], [5.5, 2.5], [-2.0, 1.5], [0.0, 1.0], [2.0, 2.5], [-1.5, 5.0]]
        )
        compare(vectors, list("abaccc"))

    @session.test("(c) three senses, mixed, lengths that differ")
    def _() -> None:
        torch.manual_seed(1294)
        compare(*_clouds((7, 6, 8), width=5))

    @session.test("(c) vectors that are similar to no other")
    def _() -> None:
        # Seven about one center, and two with negative similarities to all others.
        torch.manual_seed(3919)
        vectors = 0.5 * torch.randn(9, 4)
        vectors[:, 0] += torch.tensor([2.0] * 7 + [-1.0] * 2)
        vectors[-2:, 1] += torch.tensor([2.0, -2.0])
        compare(vectors, list("abacbcabc"))

    @session.test("(c) two vectors that are almost equal")
    def _() -> None:
        torch.manual_seed(8119)
        vectors, senses = _clouds((6, 5, 6), width=4)
        twin = vectors[:1] + 1e-3 * vectors[:1].flip(1)
        compare(torch.cat([vectors, twin]), [*senses, senses[0]])

    @session.test("(c) double precision")
    def _() -> None:
        torch.manual_seed(146)
        vectors, senses = _clouds((9, 8, 10), width=5)
        compare(vectors.double(), senses)
