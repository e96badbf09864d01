"""The corpus: what it says it is, of the entropy it says it has."""

import hashlib
import math
import statistics
from itertools import islice, product

import pytest

from llmbook.data.grammar import Grammar, join, tokenize
from llmbook.data.stories import entropy, grammar, stories

SMALL = {
    "story": ["{first} {more*0.25} <a.the> .", "2: <a=kind> <b=kind-a> ."],
    "first": ["<a=kind> and <b=kind-a> ,"],
    "more": ["more <a> ,", "still more ,"],
}
KINDS = {"kind": [{"": w, "the": f"the {w}"} for w in ("ant", "big bee", "cat")]}


def sample(count, seed=0):
    return list(islice(grammar().stories("story", seed), count))


def test_probabilities_of_all_short_stories_by_hand():
    small = Grammar(SMALL, KINDS)
    names = ["ant", "big bee", "cat"]
    p = dict(zip(names, (6 / 11, 3 / 11, 2 / 11), strict=True))
    total = 0.0
    for a, b in product(names, names):
        if a != b:
            pair = p[a] * p[b] / (1 - p[a])
            expected = {
                f"{a} {b}.": 2 / 3 * pair,
                f"{a} and {b}, the {a}.": 1 / 3 * pair * 3 / 4,
                f"{a} and {b}, more {a}, the {a}.": 1 / 3 * pair * 1 / 4 * 1 / 2 * 3 / 4,
            }
            for text, probability in expected.items():
                log_p = sum(small.token_log_probabilities("story", text))
                assert math.exp(log_p) == pytest.approx(probability)
                assert small.derivations("story", text) == 1
            total += sum(expected.values())
    assert total == pytest.approx(2 / 3 + 1 / 3 * (3 / 4 + 3 / 4 * 1 / 8))


def test_entropy_of_a_small_grammar_by_enumeration():
    flat = Grammar({"story": ["<a=kind> likes <b=kind-a> .", "3: <a=kind> , <a.the> !"]}, KINDS)
    texts = {}
    for text, log_p in islice(flat.stories("story", seed=0), 3000):
        texts[text] = log_p
    assert math.fsum(math.exp(log_p) for log_p in texts.values()) == pytest.approx(1)
    exact = flat.entropy("story")
    p = {text: math.exp(log_p) for text, log_p in texts.items()}
    assert exact.nats == pytest.approx(-math.fsum(p[t] * math.log(p[t]) for t in p))
    assert exact.tokens == pytest.approx(math.fsum(p[t] * (len(tokenize(t)) + 1) for t in p))
    assert exact.characters == pytest.approx(math.fsum(p[t] * (len(t) + 1) for t in p))


def test_every_story_is_derived_in_one_way_only():
    for text, log_p in sample(400):
        assert grammar().derivations("story", text) == 1
        tokens = grammar().token_log_probabilities("story", text)
        assert len(tokens) == len(tokenize(text)) + 1
        assert math.fsum(tokens) == pytest.approx(log_p)


def test_the_entropy_is_the_mean_of_what_the_generator_says():
    drawn = sample(20_000, seed=1)
    for exact, values in [
        (entropy().nats, [-log_p for _, log_p in drawn]),
        (entropy().characters, [len(text) + 1 for text, _ in drawn]),
        (entropy().tokens, [len(tokenize(text)) + 1 for text, _ in drawn]),
    ]:
        error = statistics.stdev(values) / math.sqrt(len(values))
        assert abs(statistics.mean(values) - exact) < 4 * error
        assert error < 0.01 * exact


def test_what_is_remembered_costs_nothing():
    """Names, places and things that come back are certain to a reader who has not forgotten."""
    story = (
        "Mara was a kind baker in a village. She had a dog. Ben, the mother of the baker, lived "
        "next door. It was the morning when Mara lost her red key. At last the dog found the key "
        "in the oven. And if Mara still lives in the village, so does the dog."
    )
    words = tokenize(story)
    costs = dict(enumerate(grammar().token_log_probabilities("story", story)))
    for start, back in [("found", "key"), ("if", "Mara"), ("lives", "village"), ("so", "dog")]:
        place = words.index(back, words.index(start))
        assert costs[place] == pytest.approx(0, abs=1e-12), back
    for new in ("kind", "baker", "village", "dog", "Ben", "mother", "morning", "red", "key"):
        assert costs[words.index(new)] < -0.5, new


def test_size_of_the_vocabulary():
    assert len({word for text, _ in sample(4000) for word in tokenize(text)}) > 300


def test_the_same_seed_gives_the_same_stories_on_any_machine():
    text = "\n".join(islice(stories(0), 1000))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "87ccdf422127c0ec"


def test_seeds_have_no_story_in_common():
    drawn = [set(islice(stories(seed), 5000)) for seed in (0, 1, 2)]
    assert not drawn[0] & drawn[1]
    assert not drawn[0] & drawn[2]
    assert not drawn[1] & drawn[2]


def test_words_are_put_together_as_they_were_taken_apart():
    for text, _ in sample(50):
        assert join(tokenize(text)) == text


@pytest.mark.parametrize(
    "text", ["", "Once", "Mara was a dragon.", sample(1)[0][0] + " The end.", sample(1)[0][0][:-1]]
)
def test_what_is_no_story_is_refused(text):
    assert grammar().derivations("story", text) == 0
    with pytest.raises(ValueError, match="text is no story of the grammar"):
        grammar().token_log_probabilities("story", text)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"s": ["{nothing}"]}, "there is no rule 'nothing'"),
        ({"s": ["<a=nothing>"]}, "draws from no class 'nothing'"),
        ({"s": ["<a>"]}, "repeats 'a', never drawn"),
        ({"s": ["<a=kind> <a.her>"]}, "has no form 'her'"),
        ({"s": ["<a=kind> <b=kind-c>"]}, "excludes 'c', which is not drawn"),
        ({"s": ["<a=kind>", "<a=other>"]}, "'a' is drawn in two ways"),
        ({"s": ["{s}"]}, "'s' calls itself"),
        ({"s": ["<a=kind"]}, "a slot that cannot be read"),
        ({"s": []}, "needs alternatives"),
        ({"s": ["0: x", "y"]}, "of positive weight"),
        ({"s": ["{t*0.5} <a>"], "t": ["<a=kind>"]}, "'s' needs 'a', which may not be drawn"),
        ({"s": ["<a> {t}"], "t": ["<a=kind>"]}, "'s' needs 'a', which may not be drawn"),
        ({"s": ["{t} <a>"], "t": ["<a=kind>", "x"]}, "'s' needs 'a', which may not be drawn"),
        ({"t": ["x"]}, "there is no rule 's'"),
    ],
)
def test_a_broken_grammar_is_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        Grammar(rules, KINDS | {"other": [{"": "x"}]}).entropy("s")
