"""The check of exercise 35.14 takes any right answer and names each known mistake."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmbook import check

# --- Right answers --------------------------------------------------------------------------------


def by_mask(hidden_states, word_ids, which):
    chosen = torch.tensor(
        [[w == k for w in words] for words, k in zip(word_ids, which, strict=True)]
    )
    states = torch.stack(hidden_states)
    share = (chosen / chosen.sum(1, keepdim=True)).to(states.dtype)
    return (share[None, :, :, None] * states).sum(2)


def by_loops(hidden_states, word_ids, which):
    out = []
    for layer in hidden_states:
        rows = []
        for text, wanted in enumerate(which):
            at = [i for i, word in enumerate(word_ids[text]) if word == wanted]
            rows.append(layer[text, at].mean(0))
        out.append(torch.stack(rows))
    return out


def by_span(hidden_states, word_ids, which):
    """Tokens of a word stand together, so first and count are enough."""
    rows = []
    for text, wanted in enumerate(which):
        first, n = word_ids[text].index(wanted), word_ids[text].count(wanted)
        rows.append([layer[text, first : first + n].sum(0).tolist() for layer in hidden_states])
        rows[-1] = (np.array(rows[-1]) / n).tolist()
    return np.array(rows).transpose(1, 0, 2)


def similar_by_matrix(vectors, senses):
    unit = F.normalize(vectors, dim=-1)
    table = unit @ unit.T
    same = torch.tensor([[a == b for b in senses] for a in senses])
    off = ~torch.eye(len(senses), dtype=torch.bool)
    return table[same & off].mean(), table[~same].mean()


def similar_by_loops(vectors, senses):
    totals = {True: [], False: []}
    for i in range(len(senses)):
        for j in range(i):
            value = F.cosine_similarity(vectors[i], vectors[j], dim=0).item()
            totals[senses[i] == senses[j]].append(value)
    return [sum(values) / len(values) for values in (totals[True], totals[False])]


def similar_by_sums(vectors, senses):
    """The sum over pairs from the square of the sum."""
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).double().numpy()
    labels = np.array(senses)
    n_same, same = 0, 0.0
    for sense in set(senses):
        group = unit[labels == sense]
        n_same += len(group) * (len(group) - 1)
        same += (group.sum(0) ** 2).sum() - len(group)
    n = len(unit)
    everything = (unit.sum(0) ** 2).sum() - n
    return np.array([same / n_same, (everything - same) / (n * (n - 1) - n_same)])


def nearest_by_matrix(vectors, senses):
    unit = F.normalize(vectors, dim=-1)
    nearest = (unit @ unit.T).fill_diagonal_(-math.inf).argmax(1)
    return sum(senses[i] == senses[j] for i, j in enumerate(nearest.tolist())) / len(senses)


def nearest_by_loops(vectors, senses):
    hits = []
    for i, mine in enumerate(senses):
        others = [j for j in range(len(senses)) if j != i]
        scores = F.cosine_similarity(vectors[others], vectors[i : i + 1])
        hits.append(senses[others[int(scores.argmax())]] == mine)
    return torch.tensor(hits).double().mean()


def nearest_by_distance_of_unit_vectors(vectors, senses):
    unit = vectors.double() / vectors.double().norm(dim=1, keepdim=True)
    distance = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
    second = distance.fill_diagonal_(9).argmin(1)
    labels = np.array(senses)
    return np.mean(labels[second.numpy()] == labels)


@pytest.mark.parametrize("word_vectors", [by_mask, by_loops, by_span])
@pytest.mark.parametrize(
    ("within_between", "sense_accuracy"),
    [
        (similar_by_matrix, nearest_by_matrix),
        (similar_by_loops, nearest_by_loops),
        (similar_by_sums, nearest_by_distance_of_unit_vectors),
    ],
)
def test_right_answers_pass(word_vectors, within_between, sense_accuracy):
    result = check.contextual_embeddings(
        word_vectors, within_between, sense_accuracy, differ_at_0="b"
    )
    assert result.passed, result
    assert len(result.outcomes) == 14


def test_a_dictionary_of_the_two_similarities_passes():
    def named(vectors, senses):
        return dict(zip(("within", "between"), similar_by_loops(vectors, senses), strict=True))

    result = check.contextual_embeddings(within_between=named)
    assert sum(o.status == "passed" for o in result.outcomes) == 4, result


@pytest.mark.parametrize("choice", ["b", " (B) ", "B."])
def test_choices_pass(choice):
    assert check.contextual_embeddings(differ_at_0=choice).status != "failed"


# --- Wrong vectors --------------------------------------------------------------------------------


def tokens_of(words, wanted):
    return [i for i, word in enumerate(words) if word == wanted]


def vectors_of(hidden_states, word_ids, which, pick=tokens_of, reduce=lambda x: x.mean(1)):
    states = torch.stack(hidden_states)
    rows = [
        reduce(states[:, text, pick(word_ids[text], wanted)]) for text, wanted in enumerate(which)
    ]
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda h, w, k: vectors_of(h, w, k, reduce=lambda x: x[:, 0]), "first token of the word"),
        (lambda h, w, k: vectors_of(h, w, k, reduce=lambda x: x[:, -1]), "last token of the word"),
        (lambda h, w, k: vectors_of(h, w, k, reduce=lambda x: x.sum(1)), "average them"),
        (lambda h, w, k: vectors_of(h, w, k, reduce=lambda x: x.amax(1)), "largest value"),
        (
            lambda h, w, k: vectors_of(h, w, k, reduce=lambda x: x.sum(1) / h[0].shape[1]),
            "number of all tokens",
        ),
        (lambda h, w, k: vectors_of(h, w, k, lambda w, k: [k]), "number of a token. Special"),
        (lambda h, w, k: vectors_of(h, w, k, lambda w, k: [k + 1]), "plus one"),
        (lambda h, w, k: vectors_of(h, w, k, lambda w, k: range(len(w))), "all tokens of the text"),
        (
            lambda h, w, k: vectors_of(
                h, w, k, lambda w, k: [i for i, word in enumerate(w) if word is not None]
            ),
            "all words of the text",
        ),
        (
            lambda h, w, k: vectors_of(h, w, k, lambda w, k: [i - 1 for i in tokens_of(w, k)]),
            "one token too early",
        ),
        (lambda h, w, k: vectors_of(h, w, k, lambda w, k: tokens_of(w, k + 1)), "word after the"),
        (lambda h, w, k: vectors_of(h, w, k, lambda w, k: tokens_of(w, k - 1)), "word before the"),
        (
            lambda h, w, k: vectors_of(
                h, w, k, lambda w, k: [i for i, word in enumerate(w) if word and word == k]
            ),
            "Word 0 has got lost",
        ),
        (
            lambda h, w, k: by_mask(
                h, [[word or -1 for word in words] for words in w], k
            ).nan_to_num(),
            "Word 0 has got lost",
        ),
        (
            lambda h, w, k: by_mask(h, [[word or 0 for word in words] for words in w], k),
            "`None` is no word",
        ),
        (lambda h, w, k: vectors_of(h, w, [k[0]] * len(k)), "the first entry of `which`"),
        (lambda h, w, k: vectors_of(h, [w[0]] * len(w), k), "those of the first text"),
        (lambda h, w, k: vectors_of(h, w, k)[-1], "last layer alone"),
        (lambda h, w, k: vectors_of(h, w, k).mean(0), "average over the layers"),
        (lambda h, w, k: F.normalize(vectors_of(h, w, k), dim=-1), "make the vectors 1 long"),
        (lambda h, w, k: vectors_of(h, w, k)[1:], "leaves the embeddings out"),
        (lambda h, w, k: vectors_of(h, w, k).transpose(0, 1), "another order"),
        (
            lambda h, w, k: vectors_of(h, w, k, reduce=lambda x: x[:, :1]),
            "axis of the tokens is still there",
        ),
        (lambda h, w, k: vectors_of(h, w, k) + 1, "entries are not"),
        (lambda h, w, k: h[0].nope, "raised AttributeError"),
        (lambda h, w, k: [h[0][0], h[1]], "different shapes"),
        (lambda h, w, k: "vectors", "should be a tensor"),
    ],
)
def test_wrong_vectors_are_named(wrong, named):
    result = check.contextual_embeddings(wrong)
    assert result.status == "failed"
    assert named in result.messages
    assert "itself broke" not in result.messages


@pytest.mark.parametrize(
    ("pick", "named"),
    [
        (lambda w, k: tokens_of(w, k + 1), "word after the wanted"),
        (lambda w, k: tokens_of(w, k - 1), "word before the wanted"),
        (lambda w, k: [k], "number of a token. Special"),
        (lambda w, k: [k + 1], "plus one"),
        (lambda w, k: [i - 1 for i in tokens_of(w, k)], "one token too early"),
    ],
)
def test_the_first_message_names_the_wrong_token(pick, named):
    result = check.contextual_embeddings(lambda h, w, k: vectors_of(h, w, k, pick))
    assert named in result.outcomes[0].message


# --- Wrong similarities ---------------------------------------------------------------------------


def table_and_masks(vectors, senses, similarity=None):
    unit = F.normalize(vectors, dim=-1)
    table = unit @ unit.T if similarity is None else similarity(vectors)
    same = torch.tensor([[a == b for b in senses] for a in senses])
    return table, same, ~torch.eye(len(senses), dtype=torch.bool)


def with_itself(vectors, senses):
    table, same, _ = table_and_masks(vectors, senses)
    return table[same].mean(), table[~same].mean()


def products(vectors, senses):
    table, same, off = table_and_masks(vectors, senses, lambda x: x @ x.T)
    return table[same & off].mean(), table[~same].mean()


def distances(vectors, senses):
    table, same, off = table_and_masks(vectors, senses, lambda x: torch.cdist(x, x))
    return table[same & off].mean(), table[~same].mean()


def sums(vectors, senses):
    table, same, off = table_and_masks(vectors, senses)
    return table[same & off].sum(), table[~same].mean()


def sums_of_pairs(vectors, senses):
    table, same, off = table_and_masks(vectors, senses)
    return table[same & off].sum() / 2, table[~same].sum() / 2


def over_all_pairs(vectors, senses):
    table, same, off = table_and_masks(vectors, senses)
    return table[same & off].sum() / off.sum(), table[~same].mean()


def sense_by_sense(vectors, senses):
    table, same, off = table_and_masks(vectors, senses)
    means = []
    for sense in sorted(set(senses)):
        mine = torch.tensor([s == sense for s in senses])
        if mine.sum() > 1:
            means.append(table[mine[:, None] & mine & off].mean())
    return torch.stack(means).mean(), table[~same].mean()


def against_everything(vectors, senses):
    table, same, off = table_and_masks(vectors, senses)
    return table[same & off].mean(), table[off].mean()


def between_products(vectors, senses):
    within, _ = similar_by_matrix(vectors, senses)
    return within, products(vectors, senses)[1]


def over_all_entries(vectors, senses):
    table, same, off = table_and_masks(vectors, senses)
    return (table * (same & off)).mean(), (table * ~same).mean()


def over_all_entries_with_itself(vectors, senses):
    table, same, _ = table_and_masks(vectors, senses)
    return (table * same).mean(), table[~same].mean()


def right_within(wrong):
    """The wrong similarity between senses, with the right one within."""
    return lambda x, s: (similar_by_matrix(x, s)[0], wrong(x, s)[1])


def centered(x, s):
    return similar_by_matrix(x - x.mean(0), s)


def one_norm(x, s):
    return products(x / x.norm(), s)


def wrong_axis(x, s):
    return products(F.normalize(x, dim=0), s)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (over_all_entries, "Within senses: you divide by the number of all entries"),
        (over_all_entries_with_itself, "compared with itself, too, and you divide"),
        (centered, "Within senses: you subtract the mean"),
        (one_norm, "Within senses: you divide all vectors by the same number"),
        (wrong_axis, "Within senses: you divide along the wrong axis"),
        (right_within(over_all_entries), "Between senses: you divide by the number of all entries"),
        (right_within(centered), "Between senses: you subtract the mean"),
        (right_within(one_norm), "Between senses: you divide all vectors by the same number"),
        (right_within(wrong_axis), "Between senses: you divide along the wrong axis"),
        (with_itself, "compared with itself"),
        (products, "products of vectors"),
        (distances, "that is a distance"),
        (lambda x, s: [1 - value for value in similar_by_matrix(x, s)], "one minus"),
        (sums, "all ordered pairs up"),
        (sums_of_pairs, "you add the similarities up"),
        (over_all_pairs, "number of all pairs"),
        (sense_by_sense, "each sense first"),
        (against_everything, "Between senses: that is the mean over all pairs"),
        (
            lambda x, s: (similar_by_matrix(x, s)[0], table_and_masks(x, s)[0].mean()),
            "each vector with itself too",
        ),
        (between_products, "Between senses: these are products"),
        (lambda x, s: similar_by_matrix(x, s)[::-1], "swapped"),
        (
            lambda x, s: (
                similar_by_matrix(x, s)[0],
                table_and_masks(x, s)[0][~table_and_masks(x, s)[1]].sum() / 2,
            ),
            "Between senses: you add",
        ),
        (lambda x, s: (0.3, 0.1), "is not right"),
        (lambda x, s: similar_by_matrix(x, s)[0], "two numbers"),
        (lambda x, s: (1j, 1j), "One real number"),
        (lambda x, s: "ab", "should be a tensor"),
        (lambda x, s: (x, x), "One real number"),
    ],
)
def test_wrong_similarities_are_named(wrong, named):
    result = check.contextual_embeddings(within_between=wrong)
    assert result.status == "failed"
    assert named in result.messages
    assert "itself broke" not in result.messages


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (with_itself, "compared with itself, too, which"),
        (products, "products of vectors"),
        (over_all_entries, "all entries of the table"),
        (centered, "subtract the mean"),
        (one_norm, "the same number"),
        (wrong_axis, "wrong axis"),
    ],
)
def test_no_wrong_similarity_gets_a_false_name(wrong, named):
    outcomes = check.contextual_embeddings(within_between=wrong).outcomes
    failed = [o.message for o in outcomes if o.status == "failed"]
    assert len(failed) >= 3
    assert all(named in message for message in failed), failed


# --- Wrong neighbors ------------------------------------------------------------------------------


def nearest(vectors, senses, scores):
    chosen = scores(vectors).fill_diagonal_(-math.inf).argmax(1)
    return sum(senses[i] == senses[j] for i, j in enumerate(chosen.tolist())) / len(senses)


def cosines(x):
    return F.normalize(x, dim=-1) @ F.normalize(x, dim=-1).T


def itself(vectors, senses):
    chosen = cosines(vectors).argmax(1)
    return sum(senses[i] == senses[j] for i, j in enumerate(chosen.tolist())) / len(senses)


def zero_diagonal(vectors, senses):
    chosen = cosines(vectors).fill_diagonal_(0).argmax(1)
    return sum(senses[i] == senses[j] for i, j in enumerate(chosen.tolist())) / len(senses)


def second(vectors, senses):
    table = cosines(vectors).fill_diagonal_(-math.inf)
    chosen = table.topk(2).indices[:, 1]
    return sum(senses[i] == senses[j] for i, j in enumerate(chosen.tolist())) / len(senses)


def by_center(vectors, senses):
    names = sorted(set(senses))
    centers = torch.stack(
        [vectors[[i for i, s in enumerate(senses) if s == name]].mean(0) for name in names]
    )
    chosen = (F.normalize(vectors, dim=-1) @ F.normalize(centers, dim=-1).T).argmax(1)
    return sum(names[j] == s for j, s in zip(chosen.tolist(), senses, strict=True)) / len(senses)


def by_other_center(vectors, senses):
    """The center of its own sense without the vector itself."""
    right = 0
    for i, sense in enumerate(senses):
        groups = {
            s: [j for j, other in enumerate(senses) if other == s and j != i] for s in set(senses)
        }
        scores = {
            s: float(F.cosine_similarity(vectors[i], vectors[group].mean(0), dim=0))
            for s, group in groups.items()
            if group
        }
        right += max(scores, key=scores.get) == sense
    return right / len(senses)


def best_from_zero(vectors, senses, no_best=None):
    """A loop whose best similarity starts from 0."""
    table, right = cosines(vectors), 0
    for i, mine in enumerate(senses):
        best, best_j = 0.0, no_best
        for j in range(len(senses)):
            if j != i and table[i, j] > best:
                best, best_j = table[i, j], j
        right += best_j is not None and senses[best_j] == mine
    return right / len(senses)


def only(part):
    """The nearest of the vectors before, or after, each one; the first of all if there is none."""

    def function(vectors, senses):
        table = cosines(vectors)
        chosen = torch.where(part(torch.ones_like(table)) > 0, table, -math.inf).argmax(1)
        return sum(senses[i] == senses[j] for i, j in enumerate(chosen.tolist())) / len(senses)

    return function


def not_equal(vectors, senses):
    table = cosines(vectors)
    chosen = table.masked_fill(table > 0.9999, -math.inf).argmax(1)
    return sum(senses[i] == senses[j] for i, j in enumerate(chosen.tolist())) / len(senses)


USUAL = [
    (itself, "the vector itself"),
    (lambda x, s: nearest(x, s, lambda x: x @ x.T), "largest product"),
    (lambda x, s: nearest(x, s, lambda x: -torch.cdist(x, x)), "smallest distance"),
    (lambda x, s: 1 - nearest_by_matrix(x, s), "share of misses"),
]
RARE = [
    (lambda x, s: nearest_by_matrix(x - x.mean(0), s), "subtract the mean"),
    (lambda x, s: nearest(x, s, lambda x: -cosines(x)), "*least* similar"),
    (by_center, "centers of the senses, each"),
    (by_other_center, "nearest single vector"),
    (second, "second-nearest"),
    (only(lambda x: x.tril(-1)), "before it only"),
    (only(lambda x: x.triu(1)), "after it only"),
]
NEGATIVE = [
    (zero_diagonal, "A 0 on the diagonal"),
    (best_from_zero, "best value to start from"),
    (lambda x, s: best_from_zero(x, s, no_best=0), "best value to start from"),
]
ALMOST_EQUAL = [(not_equal, "almost equal")]
NAMES = [named for _, named in USUAL + RARE + NEGATIVE + ALMOST_EQUAL]


@pytest.mark.parametrize(("wrong", "named"), USUAL + RARE + NEGATIVE + ALMOST_EQUAL)
def test_no_wrong_neighbor_gets_a_false_name(wrong, named):
    outcomes = check.contextual_embeddings(sense_accuracy=wrong).outcomes
    said = {o.name: o.message for o in outcomes if o.status == "failed"}
    assert any(named in message for message in said.values())
    others = [name for name in NAMES if name not in named]
    for message in said.values():
        assert named in message or not any(name in message for name in others), said


@pytest.mark.parametrize(("wrong", "named"), USUAL)
def test_the_first_message_names_the_usual_mistakes(wrong, named):
    outcomes = check.contextual_embeddings(sense_accuracy=wrong).outcomes
    first = next(o for o in outcomes if o.name.startswith("(c)"))
    assert named in first.message


@pytest.mark.parametrize(
    ("cases", "failed"),
    [
        (USUAL + RARE, ["(c) three senses, mixed, lengths that differ", "(c) double precision"]),
        (NEGATIVE, ["(c) vectors that are similar to no other"]),
        (ALMOST_EQUAL, ["(c) two vectors that are almost equal"]),
    ],
)
def test_mistakes_are_named_where_they_show(cases, failed):
    for wrong, named in cases:
        outcomes = check.contextual_embeddings(sense_accuracy=wrong).outcomes
        said = {o.name: o.message for o in outcomes if o.status == "failed"}
        assert all(named in said[name] for name in failed), said


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda x, s: nearest_by_matrix(x, s) * len(s), "number of hits"),
        (lambda x, s: nearest_by_matrix(x, s) * 100, "percentage"),
        (lambda x, s: 0.123, "whole number of hits"),
        (lambda x, s: 7.7, "between 0 and 1"),
        (lambda x, s: 1j, "One real number"),
        (lambda x, s: [0.5, 0.5], "One real number"),
    ],
)
def test_wrong_neighbors_are_named(wrong, named):
    result = check.contextual_embeddings(sense_accuracy=wrong)
    assert result.status == "failed"
    assert named in result.messages
    assert "itself broke" not in result.messages


@pytest.mark.parametrize(
    ("choice", "named"),
    [("a", "No layer has run"), ("c", "Dropout"), ("d", "rounding"), ("e", "Choose one of")],
)
def test_wrong_choices_are_explained(choice, named):
    assert named in check.contextual_embeddings(differ_at_0=choice).messages


# --- No answer, no sense, no leak -----------------------------------------------------------------


def untouched(*args): ...  # your code


@pytest.mark.parametrize("arguments", [(), (untouched, untouched, untouched), (None, ..., None)])
def test_not_attempted(arguments):
    assert check.contextual_embeddings(*arguments).status == "not attempted"


@pytest.mark.parametrize("rubbish", [3, "bytes", [], torch.ones(2), lambda: 1, lambda *x: object()])
def test_rubbish_fails_without_an_exception(rubbish):
    for name in ("word_vectors", "within_between", "sense_accuracy", "differ_at_0"):
        result = check.contextual_embeddings(**{name: rubbish})
        assert result.status == "failed"
        assert "itself broke" not in result.messages


def test_the_answer_is_not_leaked():
    """Of three vectors the similarities are 0.7071 and 0.6980; of six, two find their sense."""
    messages = check.contextual_embeddings(
        lambda h, w, k: vectors_of(h, w, k) * 1.7, lambda x, s: (0.31, 0.17), lambda x, s: 0.123
    ).messages
    said = "\n".join(line for line in messages.splitlines() if not line.startswith("Input"))
    assert "0.33" not in said
    assert "0.707" not in said
    assert "0.698" not in said
