"""Check of exercise 11.26, the reversal curse."""

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

Fact = tuple[str, str, str]


def reversal_curse(
    forward_gradient: Callable[..., Tensor] | None = None,
    invert: Callable[..., Tensor] | None = None,
    both_orders: Callable[..., Sequence[str]] | None = None,
) -> Result:
    """Check what a fact in one direction trains, and two ways to get at the other direction.

    Parameters
    ----------
    forward_gradient
        (a) ``forward_gradient(logits, first, second)``: a table of logits (words, words), row =
        the word before, column = the word that follows, and the numbers of two words. Returns the
        gradient, of the shape of the table, of the cross-entropy loss at ``second``, in nats, that
        the text "first second" gives.
    invert
        (b) ``invert(forward, prior)``: forward (names, answers), natural logarithms of the
        probability of each answer given the name; prior (names,), logarithms of the probability of
        each name. Returns (answers, names), logarithms of the probability of each name given the
        answer.
    both_orders
        (c) ``both_orders(facts, inverse)``: a list of facts, each (subject, relation, object) of
        strings, and a dictionary from a relation to its inverse. Returns a list of sentences
        ``"subject relation object."``, with every fact once as it is and once from its object's
        side, in any order; a sentence that would come twice, once.
    """
    session = Session("reversal_curse", forward_gradient)
    _check_gradient(session, forward_gradient)
    _check_invert(session, invert)
    _check_both_orders(session, both_orders)
    return session.result()


# --- (a) ------------------------------------------------------------------------------------------


def _check_gradient(session: Session, forward_gradient: Any) -> None:
    def compare(logits: Tensor, first: int, second: int) -> None:
        def loss_gradient(row: int, column: int, axis: int = 1) -> Tensor:
            table = logits.detach().clone().requires_grad_()
            chosen = table if axis == 1 else table.T
            loss = F.cross_entropy(chosen[row : row + 1], torch.tensor([column]))
            (gradient,) = torch.autograd.grad(loss, table)
            return gradient

        right = loss_gradient(first, second)
        got = to_tensor(session.call(forward_gradient, logits, first, second))
        reverse = loss_gradient(second, first)
        only_right = torch.zeros_like(right)
        only_right[first, second] = right[first, second]
        probabilities = torch.zeros_like(right)
        probabilities[first] = logits[first].softmax(dim=0)
        target = probabilities - right  # the one-hot row
        expect_close(
            got,
            right,
            inputs={"logits": logits, "first": first, "second": second},
            mistakes=[
                Mistake(
                    "That is the gradient of the text in reverse: row and column are swapped.",
                    lambda: reverse,
                ),
                Mistake(
                    "That trains both directions; the text has one only, and only what follows is "
                    "predicted.",
                    lambda: right + reverse,
                ),
                Mistake(
                    "The sign is wrong: that is the gradient of the log-probability, and the loss "
                    "is minus that.",
                    lambda: -right,
                ),
                Mistake(
                    "The words that did not follow get a gradient, too: the softmax lowers them.",
                    lambda: only_right,
                ),
                Mistake(
                    "Those are the probabilities; the word that follows is missing.",
                    lambda: probabilities,
                ),
                Mistake(
                    "It is transposed: rows are the words before, columns the words that follow.",
                    lambda: right.T,
                ),
                Mistake(
                    "That is in bits; the loss is in nats.",
                    lambda: right / math.log(2),
                ),
                Mistake(
                    "The table is read with rows and columns swapped: the words that may follow "
                    "`first` stand in its row.",
                    lambda: loss_gradient(first, second, axis=0),
                ),
                Mistake(
                    "Something is averaged over the words, but the text has one loss: `second`'s.",
                    lambda: right / len(right),
                ),
                Mistake(
                    "That is the table after a step of gradient descent; the question asks for the "
                    "gradient.",
                    lambda: logits - right,
                ),
                Mistake("That is where the word is; where is the softmax?", lambda: -target),
                Mistake("That is where the word is; where is the softmax?", lambda: target),
                Mistake(
                    "The softmax runs down a column: it belongs to the words that may follow, "
                    "which stand in a row.",
                    lambda: loss_gradient(second, first, axis=0),
                ),
                Mistake(
                    "The softmax runs over the whole table, and so rows that have nothing to do "
                    "with this text get a gradient. Each row is a distribution of its own.",
                    lambda: (
                        logits.flatten().softmax(dim=0).view_as(logits) - target.to(logits.dtype)
                    ),
                ),
                Mistake(
                    "Every row gets a gradient, but the text says something about what follows "
                    "one word only.",
                    lambda: logits.softmax(dim=1) - target,
                ),
            ],
            properties={
                "the entries sum to 0, as those of any gradient of a softmax": lambda out: bool(
                    out.double().sum().abs() < 1e-4
                ),
                "only the row of the word before has a gradient": lambda out: bool(
                    out.double().abs().sum(dim=1).count_nonzero() <= 1
                ),
            },
        )

    @session.test("(a) gradient, three words")
    def _() -> None:
        compare(torch.tensor([[0.0, 1.0, 2.0], [0.5, -1.0, 0.0], [3.0, 0.0, 1.0]]), 0, 1)

    @session.test("(a) gradient, seven words, float64")
    def _() -> None:
        compare(torch.randn(7, 7, dtype=torch.double), 5, 2)
        compare(torch.randn(7, 7, dtype=torch.double), 3, 3)


# --- (b) ------------------------------------------------------------------------------------------


def _check_invert(session: Session, invert: Any) -> None:
    def compare(forward: Tensor, prior: Tensor) -> None:
        f, p = forward.detach().double(), prior.detach().double()
        joint = (f + p[:, None]).T
        right = joint.exp() / joint.exp().sum(dim=1, keepdim=True)
        uniform = f.T.exp() / f.T.exp().sum(dim=1, keepdim=True)
        known = [
            Mistake(
                "It is transposed: there is a row for each answer, a column for each name.",
                lambda: right.log().T,
            ),
            Mistake(
                "The prior makes no difference: a name that is common is more probable to begin "
                "with.",
                lambda: uniform.log(),
            ),
            Mistake(
                "These are logarithms of the probability of name *and* answer: the probabilities "
                "of all names for one answer do not sum to 1.",
                lambda: joint,
            ),
            # Normalized over the answers, the prior cancels.
            Mistake(
                "That is what came in, with rows and columns swapped: the probabilities sum to 1 "
                "over the answers. The question asks for probabilities of names.",
                lambda: f.T,
            ),
            Mistake(
                "They sum to 1 over the answers; they are probabilities of names.",
                lambda: (uniform / uniform.sum(dim=0, keepdim=True)).log(),
            ),
            Mistake(
                "The sum over the names, by which it is divided, leaves out the prior.",
                lambda: joint - f.T.logsumexp(dim=1, keepdim=True),
            ),
            Mistake(
                "The exponential of `prior` is added; logarithms are to be added to logarithms.",
                lambda: (f + p.exp()[:, None]).T.log_softmax(dim=1),
            ),
            Mistake(
                "These are probabilities; the question asks for their logarithms.", lambda: right
            ),
            Mistake(
                "The logarithms of two probabilities are to be added, not multiplied.",
                lambda: (f * p[:, None]).T.log_softmax(dim=1),
            ),
            Mistake("The prior is added twice.", lambda: (f + 2 * p[:, None]).T.log_softmax(dim=1)),
            Mistake(
                "`reshape` and `view` do not exchange rows and columns; `.T` does.",
                lambda: joint.T.reshape(joint.shape).log_softmax(dim=1),
            ),
            Mistake(
                "`reshape` and `view` do not exchange rows and columns; `.T` does.",
                lambda: (f.reshape(joint.shape) + p).log_softmax(dim=1),
            ),
            Mistake(
                "The prior is taken off; a name that is common is more probable, not less.",
                lambda: (f - p[:, None]).T.log_softmax(dim=1),
            ),
            Mistake(
                "A logarithm with base 2 or 10; the question asks for natural ones.",
                lambda: right.log2(),
            ),
            Mistake(
                "A logarithm with base 2 or 10; the question asks for natural ones.",
                lambda: right.log10(),
            ),
        ]
        expect_close(
            session.call(invert, forward, prior),
            right.log(),
            inputs={"forward": forward, "prior": prior},
            mistakes=known,
            properties={
                "the probabilities of all names, given one answer, sum to 1": lambda out: bool(
                    torch.allclose(out.double().exp().sum(dim=1), torch.ones(len(out)).double())
                )
            },
        )

    @session.test("(b) two names, three answers")
    def _() -> None:
        forward = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]).log()
        compare(forward, torch.tensor([0.8, 0.2]).log())

    @session.test("(b) more names")
    def _() -> None:
        compare(torch.randn(5, 4).log_softmax(dim=1), torch.randn(5).log_softmax(dim=0))

    @session.test("(b) probabilities too small for a float")
    def _() -> None:
        forward = torch.tensor([[-800.0, -2.0], [-801.0, -0.1]])
        prior = torch.tensor([0.5, 0.5]).log()
        got = to_tensor(session.call(invert, forward, prior))
        if not got.double().isfinite().all():
            raise Failure(
                "With log-probabilities of −800 the output is not finite: the exponential is 0. "
                "Stay with logarithms until the end."
            )
        compare_to = (forward + prior[:, None]).T.double()
        largest = compare_to.max(dim=1, keepdim=True).values
        total = (compare_to - largest).exp().sum(dim=1, keepdim=True).log() + largest
        expect_close(got, compare_to - total, inputs={"forward": forward, "prior": prior})


# --- (c) ------------------------------------------------------------------------------------------


def _plain(sentence: str) -> str:
    """Return the words alone, in lower case."""
    return " ".join(sentence.lower().replace(".", " ").split())


def _check_both_orders(session: Session, both_orders: Any) -> None:
    def compare(facts: list[Fact], inverse: dict[str, str], wanted: set[str]) -> None:
        got = session.call(both_orders, facts, inverse)
        if isinstance(got, str) or not isinstance(got, list | tuple | set | frozenset):
            raise Failure("`both_orders` should return a list of sentences.")
        sentences = [s for s in got if isinstance(s, str)]
        if len(sentences) != len(got):
            raise Failure("`both_orders` should return a list of sentences, each a string.")
        if wanted == set(sentences):
            if len(sentences) > len(wanted):
                twice = next(s for s in sentences if sentences.count(s) > 1)
                raise Failure(f"A sentence comes twice: `{twice}`")
            return
        given = set(sentences)
        if {_plain(s) for s in given} == {_plain(s) for s in wanted}:
            raise Failure(
                "The words are right. Write each sentence with single spaces, with capitals where "
                "the facts have them, and with a period right after the last word and nothing "
                "after it."
            )
        forward = {f"{s} {r} {o}." for s, r, o in facts}
        if not forward <= given:
            raise Failure(
                f"A fact is missing as it was given: `{min(forward - given)}` Augmentation adds; "
                "a model that is trained without the fact forgets it."
            )
        if given == forward:
            raise Failure("Only the facts as they were given are there, none in the other order.")
        for subject, relation, other in facts:
            if f"{other} {relation} {subject}." in given - wanted:
                raise Failure(
                    f"`{other} {relation} {subject}.` does not follow from "
                    f"`{subject} {relation} {other}.` From the other side, the relation has "
                    "another name."
                )
            if f"{subject} {inverse[relation]} {other}." in given - wanted:
                raise Failure(
                    f"`{subject} {inverse[relation]} {other}.` says the opposite of "
                    f"`{subject} {relation} {other}.`: the relation is inverted, but the names "
                    "have not changed places."
                )
            backward = " ".join(f"{subject} {relation} {other}".split()[::-1]) + "."
            if backward in given - wanted:
                raise Failure(
                    f"`{backward}` is the sentence with its words in reverse; the question asks "
                    "for one that starts with the object and says the same."
                )
        if more := given - wanted:
            raise Failure(f"This sentence does not follow from the facts: `{min(more)}`")
        raise Failure(
            f"{len(wanted - given)} of {len(wanted)} sentences are missing. Facts given: {facts}"
        )

    clinic = {
        "takes": "is taken by",
        "is taken by": "takes",
        "is the mother of": "is a child of",
        "shares a room with": "shares a room with",
    }

    @session.test("(c) two facts, two relations")
    def _() -> None:
        compare(
            [("Ada", "takes", "lisinopril"), ("Elena", "is the mother of", "Valentina")],
            clinic,
            {
                "Ada takes lisinopril.",
                "lisinopril is taken by Ada.",
                "Elena is the mother of Valentina.",
                "Valentina is a child of Elena.",
            },
        )

    @session.test("(c) a relation that is its own inverse")
    def _() -> None:
        compare(
            [("Ada", "shares a room with", "Ben")],
            clinic,
            {"Ada shares a room with Ben.", "Ben shares a room with Ada."},
        )

    @session.test("(c) a fact that is there in both orders already")
    def _() -> None:
        compare(
            [
                ("Ada", "takes", "warfarin"),
                ("warfarin", "is taken by", "Ada"),
                ("Ben", "takes", "warfarin"),
            ],
            clinic,
            {
                "Ada takes warfarin.",
                "warfarin is taken by Ada.",
                "Ben takes warfarin.",
                "warfarin is taken by Ben.",
            },
        )
