"""The check of exercise 15.16: any valid context and head pass, known mistakes are named."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmbook import check

# --- (a) The trace --------------------------------------------------------------------------------

TEXT = ["the", "pip", "of", "the", "quince", "is", "hard", ",", "so", "keep", "your", "pip"]
PREVIOUS = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
INDUCTION = [[], [], [], [1], [], [], [], [], [], [], [], [2]]
CONTEXTS = {
    "words": (TEXT, PREVIOUS, INDUCTION, "of"),
    "a string": (" ".join(TEXT), tuple(PREVIOUS), INDUCTION, "of"),
    "letters": (
        "abcdefghijka",
        np.array([None, *range(11)]),
        [None] * 11 + [1],
        "b",
    ),
    "numbers": (
        torch.tensor([7, 5, 1, 2, 3, 4, 6, 8, 9, 10, 5, 7]),
        [[], *([t] for t in range(11))],
        [None] * 10 + [{2}, (1,)],
        torch.tensor(5),
    ),
    "the same follower twice": (
        ["A", "B", "x", "A", "B", "y", "z", "u", "v", "w", "q", "A"],
        PREVIOUS,
        {3: [1], 4: 2, 11: np.array([4, 1])},
        "B",
    ),
    "the same token twice in a row": (
        ["x", "y", "z", "u", "v", "w", "q", "r", "s", "t", "A", "A"],
        PREVIOUS,
        [()] * 11 + [11],
        "A",
    ),
}


def trace(context=TEXT, previous_token=PREVIOUS, induction=INDUCTION, prediction="of"):
    return check.induction_heads(context, previous_token, induction, prediction)


def statuses(result):
    return {outcome.name: outcome.status for outcome in result.outcomes}


@pytest.mark.parametrize("name", CONTEXTS)
def test_any_valid_context_and_its_trace_pass(name):
    result = trace(*CONTEXTS[name])
    assert list(statuses(result).values())[:4] == ["passed"] * 4, result
    assert not result.messages


def test_parts_of_the_trace_may_be_missing():
    result = check.induction_heads(context=TEXT, prediction="of")
    assert statuses(result)["context"] == statuses(result)["prediction"] == "passed"
    assert statuses(result)["trace of the induction head"] == "not attempted"
    alone = check.induction_heads(prediction="of")
    assert alone.status == "not attempted"


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (TEXT[:-1], "has 11 tokens"),
        ([*TEXT[:-1], "apple"], "does not occur earlier"),
        (["Pip,", *TEXT[4:-1], "a", "b", "c", "pip"], "looks alike"),
        ("A B x A C y z u v w q A", "2 different tokens"),
        (5, "list of 12 tokens"),
        ([None] * 12, "still a placeholder"),
        ([["a"]] * 12, "one word"),
    ],
)
def test_contexts_that_do_not_serve_are_explained(context, message):
    assert message in trace(context).messages


@pytest.mark.parametrize(
    ("previous", "message"),
    [
        (list(range(12)), "at itself"),
        ([*range(1, 12), 11], "ahead"),
        ([max(t - 2, 0) for t in range(12)], "two tokens back"),
        ([0] * 12, "From position 2"),
        ([0, 0, [0, 1], *PREVIOUS[3:]], "does not look at 2 positions"),
        (10, "one entry for each"),
        (PREVIOUS[1:], "has 11 entries"),
        ([3, *PREVIOUS[1:]], "nothing but itself"),
        ([0, "a", *PREVIOUS[2:]], "should be a position"),
        ([0, 0.5, *PREVIOUS[2:]], "should be a position"),
        ([-1, *PREVIOUS[1:]], "go from 0 to 11"),
        (INDUCTION, "From position 1"),
    ],
)
def test_mistakes_in_the_first_trace_are_named(previous, message):
    assert message in trace(previous_token=previous).messages


def changed(**entries):
    return [entries.get(f"t{t}", found) for t, found in enumerate(INDUCTION)]


@pytest.mark.parametrize(
    ("induction", "message"),
    [
        (changed(t3=[0], t11=[1]), "the earlier A itself"),
        (changed(t3=[2], t11=[3]), "counted from 1"),
        (PREVIOUS, "trace of the previous-token head"),
        (changed(t5=[0]), "leave the list empty"),
        (changed(t5=[0, 1]), "At position 5 it does not fire"),
        (changed(t3=[]), "At position 3 it fires too"),
        (changed(t3=[5]), "looks ahead"),
        (changed(t11=[2, 8]), "Which note does position 8 keep"),
        (2, "one entry for each"),
        ([2], "has 1 entries"),
    ],
)
def test_mistakes_in_the_second_trace_are_named(induction, message):
    assert message in trace(induction=induction).messages


def test_all_matches_are_asked_for():
    context, previous, _, prediction = CONTEXTS["the same follower twice"]
    result = trace(context, previous, {3: 1, 4: 2, 11: 4}, prediction)
    assert "more matches" in result.messages


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        ("pip", "the last token itself"),
        (2, "give the token there"),
        ("the", "one place too far"),
        ("quince", "another token of the context"),
        ("Of", "not in the context"),
        ({}, "not in the context"),
    ],
)
def test_wrong_predictions_are_explained(prediction, message):
    assert message in trace(prediction=prediction).messages


# --- (b) The weights ------------------------------------------------------------------------------


def places(V, P):
    return slice(0, V), slice(V, V + P), slice(V + P, 2 * V + P), slice(2 * V + P, 3 * V + P)


def head(
    V,
    P,
    *,
    match=60.0,
    rest=30.0,
    gain=30.0,
    query="token",
    key="note",
    value="token",
    out="prediction",
    silent=True,
):
    """A head in blocks of V components; its options make the mistakes."""
    where = dict(zip(("token", "position", "note", "prediction"), places(V, P), strict=True))
    D = 3 * V + P
    w_q, w_k, w_v, w_o = (torch.zeros(shape) for shape in [(D, V), (D, V), (D, V), (V, D)])
    w_q[where[query]] = torch.eye(V)
    w_k[where[key]] = match * torch.eye(V)
    w_k[V] = rest
    w_v[where[value]] = torch.eye(V)
    w_v[where[value].start] *= not silent
    w_o[:, where[out]] = gain * torch.eye(V)
    return w_q, w_k, w_v, w_o


def with_bias_component(V, P):
    """One more component of the keys for the place to rest; float64; scores shared by roots."""
    _, _, note, prediction = places(V, P)
    D = 3 * V + P
    w_q, w_k = np.zeros((D, V + 1)), np.zeros((D, V + 1))
    for a in range(V):
        w_q[a, a] = w_k[note.start + a, a] = math.sqrt(200)
        w_q[a, V] = 10.0
    w_k[0, V] = 10.0  # found by the start token, not by its position
    w_v, w_o = np.zeros((D, V - 1)), np.zeros((V - 1, D))
    for a in range(1, V):
        w_v[a, a - 1] = 5
        w_o[a - 1, prediction.start + a] = 8
    return [w_q, w_k, w_v, w_o]


def whole_stream(V, P):
    """All matrices D wide, in one big product each; the head's dimension kept in front."""
    token, position, note, prediction = places(V, P)
    D = 3 * V + P
    w_q, w_k, w_v, w_o = (torch.zeros(1, D, D) for _ in range(4))
    w_q[0, token, note] = torch.eye(V) * 500
    w_k[0] = torch.eye(D)
    w_k[0, position.start, note] = 0.5
    w_v[0] = torch.eye(D) * 100
    w_v[0, 0] = 0
    w_o[0, token, prediction] = torch.eye(V)
    return w_q, w_k, w_v, w_o


def random_basis(V, P):
    """The same head in another basis of the keys and of the values."""
    w_q, w_k, w_v, w_o = (w.double() for w in head(V, P, match=100.0, rest=50.0))
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(V, V, generator=generator, dtype=torch.float64))[0]
    return {"w_q": w_q @ turn, "w_k": w_k @ turn, "w_v": w_v @ turn, "w_o": turn.T @ w_o}


def nested_lists(V, P):
    return [w.tolist() for w in head(V, P)]


HEADS = [head, with_bias_component, whole_stream, random_basis, nested_lists]


def head_statuses(function):
    result = check.induction_heads(induction_head=function)
    return result, [outcome.status for outcome in result.outcomes[1:7]]


@pytest.mark.parametrize("function", HEADS)
def test_any_right_head_passes(function):
    result, found = head_statuses(function)
    assert found == ["passed"] * 6, result


def transposed(V, P):
    w_q, *others = head(V, P)
    return w_q.T, *others


def silent_nowhere(V, P):
    return head(V, P, silent=False)


def one_size(V, P):
    return head(6, 8)


def one_matrix(V, P):
    return head(V, P)[0]


def infinite(V, P):
    return head(V, P, match=math.inf)


def overflowing(V, P):
    w_q, *others = head(V, P)
    return (w_q.double() * 1e200, *(w.double() * 1e200 for w in others))


def unequal_widths(V, P):
    w_q, w_k, w_v, w_o = head(V, P)
    return w_q[:, 1:], w_k, w_v, w_o


def unequal_values(V, P):
    w_q, w_k, w_v, w_o = head(V, P)
    return w_q, w_k, w_v[:, 1:], w_o


def earliest_match(V, P):
    w_q, w_k, w_v, w_o = head(V, P)
    w_q[:V, 0] = 1.0
    w_k[V + 1 : V + P, 0] = -torch.arange(1.0, P)
    w_k[V + P, 0] = 0
    w_k[V, 0] = -100.0
    return w_q, w_k, w_v, w_o


def previous_token(V, P):
    """The weights of the other head."""
    w_q, w_k, w_v, w_o = head(V, P)
    w_q, w_k = torch.zeros(3 * V + P, P), torch.zeros(3 * V + P, P)
    w_q[V : V + P] = 60 * torch.eye(P).roll(-1, dims=1)
    w_k[V : V + P] = torch.eye(P)
    return w_q, w_k, w_v, w_o


def out_of_step(V, P):
    w_q, w_k, w_v, w_o = head(V, P)
    return w_q, w_k, w_v, w_o.roll(1, dims=0)


def rests_on_a_note(V, P):
    """The key of the place to rest is read from the note of the start token."""
    w_q, w_k, w_v, w_o = head(V, P, rest=0)
    w_k[V + P] += 30.0
    return w_q, w_k, w_v, w_o


def rests_on_itself(V, P):
    w_q, w_k, w_v, w_o = head(V, P, rest=0)
    wider_q, wider_k = F.pad(w_q, (0, P)), F.pad(w_k, (0, P))
    wider_q[V : V + P, V:] = wider_k[V : V + P, V:] = math.sqrt(30) * torch.eye(P)
    return wider_q, wider_k, w_v, w_o


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda V, P: head(V, P, key="token"), "finds the earlier A itself"),
        (lambda V, P: head(V, P, query="note", key="token"), "swapped"),
        (lambda V, P: head(V, P, query="note"), "Note is compared with note"),
        (lambda V, P: head(V, P, match=0, rest=0), "do not tell a match"),
        (lambda V, P: head(V, P, match=12, rest=6), "not sharp enough"),
        (lambda V, P: head(V, P, match=1, rest=0), "not sharp enough"),
        (lambda V, P: head(V, P, rest=90), "takes all the weight"),
        (lambda V, P: head(V, P, rest=60), "scores as high as"),
        (lambda V, P: head(V, P, rest=0), "spreads over all"),
        (lambda V, P: head(V, P, rest=5), "but not enough"),
        (rests_on_itself, "attends to itself"),
        (rests_on_a_note, "both keep the start token"),
        (lambda V, P: head(V, P, match=-60), "takes all the weight"),
        (previous_token, "puts most weight on position"),
        (earliest_match, "not in equal shares"),
        (lambda V, P: head(V, P, value="note"), "predicts A"),
        (lambda V, P: head(V, P, out="token"), "subspace of the token"),
        (lambda V, P: head(V, P, out="note"), "subspace of the note"),
        (lambda V, P: head(V, P, gain=0), "adds nothing"),
        (lambda V, P: head(V, P, gain=-30), "wrong sign"),
        (lambda V, P: head(V, P, gain=1), "too close together"),
        (lambda V, P: head(V, P, gain=16), "not likely enough"),
        (out_of_step, "in step"),
        (silent_nowhere, "copies the start token"),
        (transposed, "Is it transposed?"),
        (one_size, "it needs D"),
        (one_matrix, "Return four matrices"),
        (infinite, "not finite"),
        (overflowing, "overflow"),
        (unequal_widths, "no dot product"),
        (unequal_values, "W_O takes"),
        (lambda V, P: 3, "Return four matrices"),
        (lambda V, P: ["a"] * 4, "should be"),
        (lambda V, P: (None, *head(V, P)[1:]), "still a placeholder"),
        (lambda V, P: [torch.zeros(3)] * 4, "should be a matrix"),
        (lambda V, P: head(V, P, match=21, rest=18.5), "not sharp enough"),
    ],
)
def test_mistakes_in_the_weights_are_named(function, message):
    result, found = head_statuses(function)
    assert "failed" in found
    assert message in result.messages, result
    assert "The check itself broke" not in result.messages


def test_a_head_that_is_right_for_short_contexts_only_is_told_so():
    result, found = head_statuses(lambda V, P: head(V, P, match=32, rest=16))
    assert found[:5] == ["passed"] * 5
    assert "random contexts of 64" in result.messages


# --- (c) The scores -------------------------------------------------------------------------------


def previous_by_diagonal(patterns):
    return patterns.diagonal(-1, dim1=2, dim2=3).mean(dim=(0, 2))


def previous_by_loop(patterns):
    B, H, T, _ = patterns.shape
    scores = []
    for h in range(H):
        weights = [float(patterns[b, h, t, t - 1]) for b in range(B) for t in range(1, T)]
        scores.append(sum(weights) / len(weights))
    return scores


def previous_by_mask(patterns):
    T = patterns.shape[-1]
    mask = torch.eye(T).roll(-1, dims=1).tril()
    return torch.einsum("bhts,ts->h", patterns, mask.to(patterns)) / (len(patterns) * (T - 1))


def induction_by_mask(patterns, tokens):
    notes = F.pad(tokens[:, :-1], (1, 0), value=-1)
    targets = (tokens[:, :, None] == notes[:, None]).tril()
    weights = (patterns * targets[:, None]).sum(-1)
    return (weights.sum(dim=(0, 2)) / targets.any(-1).sum()).float()


def induction_by_loop(patterns, tokens):
    B, H, T, _ = patterns.shape
    per_head = []
    for h in range(H):
        sums = []
        for b in range(B):
            for t in range(T):
                found = [s for s in range(1, t + 1) if tokens[b, s - 1] == tokens[b, t]]
                if found:
                    sums.append(sum(float(patterns[b, h, t, s]) for s in found))
        per_head.append(np.mean(sums))
    return np.array(per_head)


def induction_by_shift(patterns, tokens):
    same = tokens[:, :, None] == tokens[:, None, :-1]
    same = same & torch.ones_like(same).tril(-1)
    on_target = (patterns[..., 1:] * same[:, None]).sum(-1)
    fires = same.any(-1)[:, None].expand_as(on_target)
    return torch.stack([on_target[:, h][fires[:, h]].mean() for h in range(patterns.shape[1])])


PREVIOUS_SCORES = [previous_by_diagonal, previous_by_loop, previous_by_mask]
INDUCTION_SCORES = [induction_by_mask, induction_by_loop, induction_by_shift]


@pytest.mark.parametrize("function", PREVIOUS_SCORES)
def test_any_right_previous_token_score_passes(function):
    result = check.induction_heads(previous_token_score=function)
    assert statuses(result)["previous-token score"] == "passed", result


@pytest.mark.parametrize("function", INDUCTION_SCORES)
def test_any_right_induction_score_passes(function):
    result = check.induction_heads(induction_score=function)
    assert statuses(result)["induction score"] == "passed", result


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda p: p.diagonal(0, 2, 3).mean(dim=(0, 2)), "on itself"),
        (lambda p: p.diagonal(1, 2, 3).mean(dim=(0, 2)), "just after"),
        (lambda p: p.diagonal(-2, 2, 3).mean(dim=(0, 2)), "two positions back"),
        (
            lambda p: p.diagonal(-1, 2, 3).sum(dim=2).mean(dim=0) / p.shape[-1],
            "position 0 has none",
        ),
        (lambda p: p.diagonal(-1, 2, 3).sum(dim=2).mean(dim=0), "positions are added"),
        (lambda p: p.diagonal(-1, 2, 3).mean(dim=2).sum(dim=0), "texts are added"),
        (lambda p: p.diagonal(-1, 2, 3).mean(dim=2), "average over the texts"),
        (lambda p: p.diagonal(-1, 2, 3).mean(), "heads are averaged"),
        (
            lambda p: (
                (p.argmax(-1)[..., 1:] == torch.arange(p.shape[-1] - 1)).double().mean((0, 2))
            ),
            "share of rows",
        ),
        (
            lambda p: (p.diagonal(-1, 2, 3).sum(-1) + p[:, :, 0, 0]).mean(0) / p.shape[-1],
            "with its weight on itself",
        ),
        (lambda p: p.diagonal(-1, 2, 3).amax((0, 2)), "largest weight on a position just before"),
        (lambda p: "high", "should be"),
        (lambda p: p.no_such_thing, "raised AttributeError"),
    ],
)
def test_mistakes_in_the_previous_token_score_are_named(function, message):
    result = check.induction_heads(previous_token_score=function)
    assert message in result.messages, result
    assert statuses(result)["previous-token score"] == "failed"


def score_with(targets_of, everywhere=False, share=False):
    def score(patterns, tokens):
        targets = targets_of(tokens)
        on_target = (patterns * targets[:, None]).sum(-1)
        if share:
            on_target = on_target / targets.sum(-1).clamp(min=1)[:, None]
        fires = targets.any(-1) | everywhere
        return on_target.transpose(0, 1)[:, fires].mean(-1)

    return score


def notes_of(tokens):
    return F.pad(tokens[:, :-1], (1, 0), value=-1)


def right_targets(tokens):
    return (tokens[:, :, None] == notes_of(tokens)[:, None]).tril()


def latest(tokens):
    targets = right_targets(tokens)
    last = targets.shape[-1] - 1 - targets.flip(-1).int().argmax(-1)
    return F.one_hot(last, targets.shape[-1]).bool() & targets


def earliest(tokens):
    targets = right_targets(tokens)
    return F.one_hot(targets.int().argmax(-1), targets.shape[-1]).bool() & targets


def last_row(tokens):
    targets = right_targets(tokens)
    targets[:, :-1] = False
    return targets


def on_targets(patterns, tokens):
    """Weights (B, H, T, T) on the right targets, zero elsewhere."""
    return patterns * right_targets(tokens)[:, None]


def largest_match(patterns, tokens):
    fires = right_targets(tokens).any(-1)
    return on_targets(patterns, tokens).amax(-1).transpose(0, 1)[:, fires].mean(-1)


def per_match(patterns, tokens):
    return on_targets(patterns, tokens).sum((0, 2, 3)) / right_targets(tokens).sum()


def filled(value):
    """Notes whose first place holds a token."""

    def targets(tokens):
        notes = tokens[:, :1] if value is None else torch.full_like(tokens[:, :1], value)
        notes = torch.cat([notes, tokens[:, :-1]], dim=1)
        return (tokens[:, :, None] == notes[:, None]).tril()

    return targets


def right_neighbors(tokens):
    notes = F.pad(tokens[:, 1:], (0, 1), value=-1)
    return (tokens[:, :, None] == notes[:, None]).tril()


def per_text(patterns, tokens):
    return torch.stack(
        [
            score_with(right_targets)(patterns[b : b + 1], tokens[b : b + 1])
            for b in range(len(tokens))
        ]
    ).mean(dim=0)


def same_token(tokens):
    return tokens[:, :, None] == tokens[:, None]


def same_causal(tokens):
    return same_token(tokens).tril()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (score_with(lambda t: same_token(t).tril(-1)), "earlier occurrences themselves"),
        (
            lambda p, t: (
                (p * same_token(t)[:, None])
                .sum(-1)
                .transpose(0, 1)[:, right_targets(t).any(-1)]
                .mean(-1)
            ),
            "its own included",
        ),
        (score_with(same_causal), "its own included"),
        (score_with(right_targets, everywhere=True), "averaged in as zeros"),
        (
            score_with(lambda t: t[:, :, None] == notes_of(t)[:, None]),
            "occurs only later",
        ),
        (per_text, "Each text is averaged first"),
        (score_with(right_targets, share=True), "should be summed"),
        (score_with(latest), "latest match"),
        (score_with(earliest), "earliest match"),
        (score_with(lambda t: right_targets(t).tril(-1)), "A position can match itself"),
        (
            score_with(lambda t: (t[:, :, None] == t.roll(1, 1)[:, None]).tril()),
            "wraps around",
        ),
        (score_with(last_row), "last position of each text"),
        (largest_match, "only the largest weight"),
        (per_match, "number of matches"),
        (lambda p, t: on_targets(p, t).sum((0, 2, 3)), "summed over texts and positions"),
        (score_with(filled(0)), "Position 0 has a note here"),
        (score_with(filled(None)), "Position 0 has a note here"),
        (score_with(right_neighbors), "right neighbor"),
        (lambda p, t: score_with(right_targets)(p.mT, t), "the row attends"),
        (lambda p, t: score_with(right_targets)(p, t).mean(), "heads are averaged"),
        (lambda p, t: [["a"]], "should be"),
        (lambda p: 0, "raised TypeError"),
    ],
)
def test_mistakes_in_the_induction_score_are_named(function, message):
    result = check.induction_heads(induction_score=function)
    assert message in result.messages, result
    assert statuses(result)["induction score"] == "failed"


# --- All together ---------------------------------------------------------------------------------


def placeholder(*arguments): ...  # your code


def test_untouched_answers_are_not_attempted():
    result = check.induction_heads(
        context=None,
        previous_token=None,
        induction=None,
        prediction=None,
        induction_head=placeholder,
        previous_token_score=placeholder,
        induction_score=placeholder,
    )
    assert result.status == "not attempted"
    assert check.induction_heads().status == "not attempted"


def test_everything_right_passes():
    assert check.induction_heads(
        *CONTEXTS["words"], head, PREVIOUS_SCORES[0], INDUCTION_SCORES[0]
    ).passed


@pytest.mark.parametrize("rubbish", [3.5, "text", [], {}, object(), torch.zeros(0)])
def test_rubbish_fails_without_an_exception(rubbish):
    result = check.induction_heads(rubbish, rubbish, rubbish, rubbish, rubbish, rubbish, rubbish)
    assert result.status == "failed"
    assert "The check itself broke" not in result.messages, result


def test_messages_do_not_tell_the_answer():
    wrong = [
        trace(prediction="quince"),
        trace(induction=changed(t11=[])),
        check.induction_heads(induction_head=lambda V, P: head(V, P, match=1, rest=0)),
        check.induction_heads(induction_score=lambda p, t: p.mean(dim=(0, 2, 3))),
    ]
    assert "'of'" not in wrong[0].messages
    assert "2" not in wrong[1].messages.split("position 11")[1]
    for leak in ("ln", "log", "tril", "beta"):
        assert all(leak not in result.messages for result in wrong)
