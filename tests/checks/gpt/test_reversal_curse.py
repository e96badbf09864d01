"""The check of exercise 11.26: right answers pass, known mistakes are named."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmbook import check


def statuses(result):
    return [outcome.status for outcome in result.outcomes]


# --- (a) the gradient -----------------------------------------------------------------------------


def by_hand(logits, first, second):
    gradient = torch.zeros_like(logits)
    gradient[first] = logits[first].softmax(0)
    gradient[first, second] -= 1
    return gradient


def by_autograd(logits, first, second):
    table = logits.clone().requires_grad_()
    (-table[first].log_softmax(0)[second]).backward()
    return table.grad


def by_one_hot(logits, first, second):
    words = len(logits)
    row, column = (F.one_hot(torch.tensor(w), words).to(logits.dtype) for w in (first, second))
    return torch.outer(row, F.softmax(logits[first], dim=0) - column)


def by_numpy(logits, first, second):
    table = logits.double().numpy()
    out = np.zeros_like(table)
    e = np.exp(table[first] - table[first].max())
    out[first] = e / e.sum() - np.eye(len(table))[second]
    return out


@pytest.mark.parametrize(
    "answer",
    [by_hand, by_autograd, by_one_hot, by_numpy, lambda *a: by_hand(*a).tolist()],
)
def test_right_gradients_pass(answer):
    result = check.reversal_curse(answer)
    assert statuses(result).count("passed") == 2
    assert not result.messages


def softmax_everywhere(logits, first, second):
    gradient = logits.flatten().softmax(0).view_as(logits).clone()
    gradient[first, second] -= 1
    return gradient


def every_row(logits, first, second):
    gradient = logits.softmax(1)
    gradient[first, second] -= 1
    return gradient


def down_a_column(logits, first, second):
    gradient = torch.zeros_like(logits)
    gradient[:, second] = logits[:, second].softmax(0)
    gradient[first, second] -= 1
    return gradient


def one_entry(logits, first, second):
    gradient = torch.zeros_like(logits)
    gradient[first, second] = by_hand(logits, first, second)[first, second]
    return gradient


def probabilities(logits, first, second):
    gradient = torch.zeros_like(logits)
    gradient[first] = logits[first].softmax(0)
    return gradient


def no_softmax(logits, first, second):
    gradient = torch.zeros_like(logits)
    gradient[first, second] = -1
    return gradient


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda t, a, b: by_hand(t, b, a), "text in reverse"),
        (lambda t, a, b: by_hand(t, a, b) + by_hand(t, b, a), "trains both directions"),
        (lambda t, a, b: -by_hand(t, a, b), "sign is wrong"),
        (lambda t, a, b: by_hand(t, a, b).T, "transposed"),
        (lambda t, a, b: by_hand(t, a, b) / len(t), "averaged over the words"),
        (lambda t, a, b: t - by_hand(t, a, b), "after a step"),
        (lambda t, a, b: by_hand(t, a, b) / math.log(2), "in bits"),
        (lambda t, a, b: by_hand(t.T, a, b).T, "rows and columns swapped"),
        (one_entry, "words that did not follow"),
        (probabilities, "the word that follows is missing"),
        (no_softmax, "where is the softmax"),
        (down_a_column, "runs down a column"),
        (softmax_everywhere, "runs over the whole table"),
        (every_row, "Every row gets a gradient"),
        (lambda t, a, b: by_hand(t, a, b)[a], "The shape is"),
        (lambda t, a, b: t, "only the row of the word before"),
        (lambda t, a, b: t @ a, "Your code raised"),
    ],
)
def test_wrong_gradients_are_diagnosed(answer, message):
    result = check.reversal_curse(answer)
    assert result.status == "failed"
    assert message in result.messages


# --- (b) Bayes ------------------------------------------------------------------------------------


def by_logsumexp(forward, prior):
    joint = (forward + prior[:, None]).T
    return joint - joint.logsumexp(1, keepdim=True)


def by_log_softmax(forward, prior):
    return (forward.T + prior).log_softmax(-1)


def by_loop(forward, prior):
    rows = []
    for answer in range(forward.shape[1]):
        joint = forward[:, answer] + prior
        top = joint.max()
        rows.append(joint - top - (joint - top).exp().sum().log())
    return torch.stack(rows)


def with_numpy(forward, prior):
    joint = (forward.double().numpy() + prior.double().numpy()[:, None]).T
    return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


@pytest.mark.parametrize("answer", [by_logsumexp, by_log_softmax, by_loop, with_numpy])
def test_right_inversions_pass(answer):
    result = check.reversal_curse(invert=answer)
    assert statuses(result).count("passed") == 3
    assert not result.messages


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda f, p: by_logsumexp(f, p).T, "transposed"),
        (lambda f, p: by_logsumexp(f, 0 * p), "prior makes no difference"),
        (lambda f, p: (f + p[:, None]).T, "name *and* answer"),
        (lambda f, p: (f + p[:, None]).T.log_softmax(0), "That is what came in"),
        (
            lambda f, p: by_logsumexp(f, 0 * p).log_softmax(0),
            "sum to 1 over the answers; they are",
        ),
        (lambda f, p: (f + p[:, None]).T - f.T.logsumexp(1, True), "leaves out the prior"),
        (lambda f, p: by_logsumexp(f, p.exp()), "The exponential of `prior`"),
        (lambda f, p: by_logsumexp(f, p).exp(), "asks for their logarithms"),
        (lambda f, p: (f * p[:, None]).T.log_softmax(1), "added, not multiplied"),
        (lambda f, p: by_logsumexp(f, -p), "taken off"),
        (lambda f, p: by_logsumexp(f, 2 * p), "added twice"),
        (lambda f, p: (f + p[:, None]).reshape(f.T.shape).log_softmax(1), "`reshape` and `view`"),
        (lambda f, p: (f.reshape(f.T.shape) + p).log_softmax(1), "`reshape` and `view`"),
        (lambda f, p: f.T, "That is what came in"),
        (lambda f, p: by_logsumexp(f, p) / math.log(2), "base 2 or 10"),
        (lambda f, p: by_logsumexp(f, p) / math.log(10), "base 2 or 10"),
        (lambda f, p: ((f + p[:, None]).exp() / (f + p[:, None]).exp().sum(0)).T.log(), "−800"),
        (lambda f, p: f + p, "Your code raised"),
    ],
)
def test_wrong_inversions_are_diagnosed(answer, message):
    result = check.reversal_curse(invert=answer)
    assert result.status == "failed"
    assert message in result.messages


# --- (c) both orders ------------------------------------------------------------------------------


def with_a_dict(facts, inverse):
    found = {}
    for s, r, o in facts:
        found[f"{s} {r} {o}."] = found[f"{o} {inverse[r]} {s}."] = True
    return list(found)


def with_a_set(facts, inverse):
    triples = {(s, r, o) for s, r, o in facts} | {(o, inverse[r], s) for s, r, o in facts}
    return sorted(" ".join(triple) + "." for triple in triples)


def with_a_list(facts, inverse):
    out = []
    for s, r, o in [*facts, *((o, inverse[r], s) for s, r, o in facts)]:
        if (text := f"{s} {r} {o}.") not in out:
            out.append(text)
    return tuple(out)


@pytest.mark.parametrize(
    "answer", [with_a_dict, with_a_set, with_a_list, lambda f, i: set(with_a_set(f, i))]
)
def test_right_augmentations_pass(answer):
    result = check.reversal_curse(both_orders=answer)
    assert statuses(result).count("passed") == 3
    assert not result.messages


def forward(facts):
    return [f"{s} {r} {o}." for s, r, o in facts]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda f, i: forward(f), "none in the other order"),
        (lambda f, i: [f"{o} {i[r]} {s}." for s, r, o in f], "A fact is missing as it was given"),
        (lambda f, i: forward(f) + [f"{o} {r} {s}." for s, r, o in f], "does not follow from"),
        (lambda f, i: forward(f) + [f"{s} {i[r]} {o}." for s, r, o in f], "not changed places"),
        (
            lambda f, i: (
                forward(f) + [" ".join(f"{s} {r} {o}".split()[::-1]) + "." for s, r, o in f]
            ),
            "words in reverse",
        ),
        (lambda f, i: forward(f) + [f"{o} {i[r]} {s}." for s, r, o in f], "comes twice"),
        (lambda f, i: [s.rstrip(".") for s in with_a_dict(f, i)], "period"),
        (lambda f, i: [s + "\n" for s in with_a_dict(f, i)], "period"),
        (lambda f, i: [s[:-1] + " ." for s in with_a_dict(f, i)], "right after the last word"),
        (lambda f, i: [s.lower() for s in with_a_dict(f, i)], "with capitals"),
        (lambda f, i: with_a_dict(f, i)[:-1], "sentences are missing"),
        (lambda f, i: [*with_a_dict(f, i), "Ada takes Ben."], "`Ada takes Ben.`"),
        (
            lambda f, i: forward(f) + [f"{o} is {r} by {s}." for s, r, o in f],
            "`Ben is shares a room with by Ada.`",
        ),
        (lambda f, i: " ".join(with_a_dict(f, i)), "list of sentences"),
        (lambda f, i: f, "each a string"),
        (lambda f, i: i["x"], "Your code raised"),
    ],
)
def test_wrong_augmentations_are_diagnosed(answer, message):
    result = check.reversal_curse(both_orders=answer)
    assert result.status == "failed"
    assert message in result.messages


# --- All together ---------------------------------------------------------------------------------


def test_everything_right_passes():
    assert check.reversal_curse(by_hand, by_logsumexp, with_a_dict).passed


def test_placeholders_are_not_attempted():
    def forward_gradient(logits, first, second): ...  # your code

    def invert(forward, prior): ...  # your code

    def both_orders(facts, inverse): ...  # your code

    result = check.reversal_curse(forward_gradient, invert, both_orders)
    assert result.status == "not attempted"
    assert not result.messages


@pytest.mark.parametrize("rubbish", ["many", [1, "a"], 3.5, {"a": 1}, object()])
def test_rubbish_fails_without_an_exception(rubbish):
    for answer in (rubbish, lambda *arguments: rubbish):
        result = check.reversal_curse(answer, answer, answer)
        assert set(statuses(result)) == {"failed"}
        assert "broke" not in result.messages


def test_the_answer_is_not_leaked():
    result = check.reversal_curse(
        lambda t, a, b: torch.full_like(t, 7.0),
        lambda f, p: torch.full_like(f.T, 7.0),
        lambda f, i: forward(f),
    )
    assert result.status == "failed"
    for leak in ("softmax(", "logsumexp", "is taken by Ada.", "−0.755", "-0.755", "0.0900"):
        assert leak not in result.messages
