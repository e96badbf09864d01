"""The corpus: what it says it is, of the entropy it says it has."""

import hashlib
import math
import re
import statistics
import time
from itertools import islice, product

import pytest
import torch

from llmbook.data.grammar import Call, Draw, Grammar
from llmbook.data.stories import CLASSES, RULES, corpus, entropy, grammar, stories, words
from llmbook.data.vocabulary import tokenize

SMALL = {
    "story": ["{first} {more*0.25} <a.the> .", "2: <a=kind> <b=kind-a> ."],
    "first": ["<a=kind> and <b=kind-a> ,"],
    "more": ["more <a> ,", "still more ,"],
}
KINDS = {"kind": [{"": w, "the": f"the {w}"} for w in ("ant", "big bee", "cat")]}


def sample(count, seed=0):
    return list(islice(grammar().stories(seed), count))


def stories_of(count, seed=0):
    return list(islice(stories(seed), count))


@pytest.fixture(scope="module")
def many():
    """Twenty thousand stories with the logs of their probabilities."""
    return sample(20_000)


def standard_error(values):
    return statistics.stdev(values) / math.sqrt(len(values))


# --- grammars ---


def test_probabilities_of_all_short_stories_by_hand():
    small = Grammar(SMALL, KINDS)
    names = ["ant", "big bee", "cat"]
    p = dict(zip(names, (20 / 47, 15 / 47, 12 / 47), strict=True))  # 1/3, 1/4 and 1/5
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
                log_p = sum(small.token_log_probabilities(text + "\n"))
                assert math.exp(log_p) == pytest.approx(probability)
                assert small.derivations(text) == 1
            total += sum(expected.values())
    assert total == pytest.approx(2 / 3 + 1 / 3 * (3 / 4 + 3 / 4 * 1 / 8))


def test_entropy_of_a_small_grammar_by_enumeration():
    quoted = '3: "<a=kind>," <a.the>!'
    flat = Grammar({"story": ["<a=kind> likes <b=kind-a> and <c=kind-b> .", quoted]}, KINDS)
    p = {text: math.exp(log_p) for text, log_p in islice(flat.stories(seed=0), 3000)}
    assert math.fsum(p.values()) == pytest.approx(1)
    exact = flat.entropy()
    assert exact.nats == pytest.approx(-math.fsum(q * math.log(q) for q in p.values()))
    assert exact.tokens == pytest.approx(
        math.fsum(q * (len(tokenize(t)) + 1) for t, q in p.items())
    )
    assert exact.characters == pytest.approx(math.fsum(q * (len(t) + 1) for t, q in p.items()))


def test_ambiguity_is_counted_and_its_probabilities_are_added():
    twice = Grammar({"story": ["a {b}", "a b", "2: c"], "b": ["b"]}, {})
    assert twice.derivations("a b") == 2
    assert twice.derivations("c") == 1
    log_p = twice.token_log_probabilities("a b\nc\na")
    assert [math.exp(x) for x in log_p] == pytest.approx([1 / 2, 1, 1, 1 / 2, 1, 1 / 2])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"s": ["{nothing}"]}, "there is no rule 'nothing'"),
        ({"s": ["<a=nothing>"]}, "draws from no class 'nothing'"),
        ({"s": ["<a>"]}, "'s' needs 'a', which may not be drawn"),
        ({"s": ["<a=kind> <a.her>"]}, "has no form 'her'"),
        ({"s": ["<a=kind> <b=kind-c>"]}, "'s' needs 'c', which may not be drawn"),
        ({"s": ["<a=other> <b=kind-a>"]}, "excludes 'a', which is no 'kind'"),
        ({"s": ["<a=other> <b=other-a>"]}, "'other' has too few items"),
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
        Grammar(rules, KINDS | {"other": [{"": "x"}]}, start="s")


# --- the entropy of the stories ---


def test_every_story_is_derived_in_one_way_only():
    for text, log_p in sample(500):
        assert grammar().derivations(text) == 1
        tokens = grammar().token_log_probabilities(text + "\n")
        assert len(tokens) == len(tokenize(text)) + 1
        assert math.fsum(tokens) == pytest.approx(log_p)


def test_the_entropy_is_the_mean_of_what_the_generator_says(many):
    for exact, values in [
        (entropy().nats, [-log_p for _, log_p in many]),
        (entropy().characters, [len(text) + 1 for text, _ in many]),
        (entropy().tokens, [len(tokenize(text)) + 1 for text, _ in many]),
    ]:
        error = standard_error(values)
        assert abs(statistics.mean(values) - exact) < 4 * error
        assert error < 0.004 * exact


@pytest.mark.parametrize("unit", ["token", "character"])
def test_the_stream_has_the_entropy_per_token_and_per_character_that_it_should(unit, many):
    """The loss over the whole stream, newlines counted: a ratio, with its delta-method error."""
    nats = [-log_p for _, log_p in many]
    stream = "".join(f"{text}\n" for text, _ in many)
    lengths = [len(text if unit == "character" else tokenize(text)) + 1 for text, _ in many]
    assert sum(lengths) == len(stream if unit == "character" else tokenize(stream))
    exact = getattr(entropy(), f"nats_per_{unit}")
    residuals = [n - exact * length for n, length in zip(nats, lengths, strict=True)]
    error = standard_error(residuals) / statistics.mean(lengths)
    assert abs(sum(nats) / sum(lengths) - exact) < 4 * error
    assert error < 0.001 * exact


def test_the_stories_are_rich():
    assert entropy().nats_per_token > 1
    assert len({word for text, _ in sample(4000) for word in tokenize(text)}) > 700
    assert len(words()) < 1000


def test_a_stream_costs_what_its_stories_cost():
    drawn = sample(3)
    stream = "".join(f"{text}\n" for text, _ in drawn)
    tokens = grammar().token_log_probabilities(stream)
    assert len(tokens) == len(words().encode(stream))
    assert math.fsum(tokens) == pytest.approx(math.fsum(log_p for _, log_p in drawn))
    assert grammar().token_log_probabilities(stream[:100].rsplit(" ", 1)[0]) == pytest.approx(
        tokens[: len(tokenize(stream[:100].rsplit(" ", 1)[0]))]
    )


@pytest.mark.parametrize("text", ["", "Once", "Mara was a dragon.", sample(1)[0][0] + " The end."])
def test_what_is_no_story_is_refused(text):
    assert grammar().derivations(text) == 0
    with pytest.raises(ValueError, match="text is no story of the grammar"):
        grammar().token_log_probabilities(text + "\n")


# --- what they say ---

STORY = (
    "Mara was a kind baker in the village of Elmford. She had a fat dog called Pepper. Every night "
    "her cousin Ben gave her some fresh apples. {scene}Mara loved her red boots above all. But a "
    "magpie from the river left them in an old shoe. {search}After work, Pepper ran past the mill "
    "and found the boots in an old shoe. From then on Ben called Mara the wise baker with the red "
    "boots."
)
SCENE = "One rainy day, Ben walked through the forest with the baker. "
SEARCH = "Mrs Bell had seen the magpie at the gate on Sunday with a drum. "


@pytest.mark.parametrize(
    "filled", [{"scene": "", "search": ""}, {"scene": SCENE, "search": SEARCH}]
)
def test_what_is_remembered_costs_nothing(filled):
    """Names, places and things that come back are certain to a reader who has not forgotten."""
    story = STORY.format(**filled)
    tokens = tokenize(story)
    costs = grammar().token_log_probabilities(story)
    first, again = tokens.index, lambda word: len(tokens) - 1 - tokens[::-1].index(word)
    for new in ("Mara", "kind", "baker", "Elmford", "dog", "Pepper", "Ben", "red", "boots"):
        assert costs[first(new)] < -1, new
    for back in ("old", "shoe", "Mara", "baker", "red", "boots"):
        assert again(back) > first(back) + 10
        assert costs[again(back)] == pytest.approx(0, abs=1e-12), back
    assert costs[first("them")] == pytest.approx(0, abs=1e-12)
    assert costs[first("her")] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("She had", "He had"),
        ("her cousin", "his cousin"),
        ("left them", "left it"),
        ("an old shoe", "a old shoe"),
        ("in the village", "on the village"),
        ("found the boots in an old shoe", "found the boots in the well"),
        ("found the boots", "found the key"),
        ("called Mara the", "called Ben the"),
        ("the wise baker", "the wise miller"),
        ("with the red boots", "with the blue boots"),
    ],
)
def test_what_does_not_agree_is_impossible(right, wrong):
    story = STORY.format(scene=SCENE, search=SEARCH)
    assert grammar().derivations(story) == 1
    assert right in story
    assert grammar().derivations(story.replace(right, wrong)) == 0


def test_articles_go_by_the_sound():
    stream = " ".join(stories_of(4000))
    for article, word in set(re.findall(r"\b([Aa]n?) (\w+)", stream)):
        vowel = word == "honest" or (word[0] in "aeiou" and word != "useless")
        assert article.lower() == ("an" if vowel else "a"), word


def test_number_agrees():
    plural = {item[""]: item["is"] == "are" for item in CLASSES["thing"]}
    found = re.findall(r"Where (is|are) my \w+ (\w+)\?", " ".join(stories_of(4000)))
    assert {verb for verb, _ in found} == {"is", "are"}
    assert all((verb == "are") == plural[thing] for verb, thing in found)


@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_no_word_is_in_a_class_twice(kind):
    assert len({item[""] for item in CLASSES[kind]}) == len(CLASSES[kind])


def test_every_word_rule_and_class_is_used(many):
    """Nothing in the lexicon or the rules is dead, or too rare to be met in a corpus."""
    used = {token for text, _ in many for token in tokenize(text)}
    assert used | {"\n"} == set(words().symbols)
    called = {"story"} | {
        name for texts in RULES.values() for t in texts for name in re.findall(r"\{(\w+)", t)
    }
    drawn = {kind for texts in RULES.values() for t in texts for kind in re.findall(r"=(\w+)", t)}
    assert called == set(RULES)
    assert drawn == set(CLASSES)


def test_the_same_seed_gives_the_same_stories_on_any_machine():
    text = "\n".join(stories_of(1000))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "0d69c1190d6f30ba"


def test_a_million_characters_take_less_than_two_seconds():
    start = time.process_time()
    characters = sum(len(text) + 1 for text in stories_of(1600))
    assert characters > 1_000_000 * 0.95
    assert time.process_time() - start < 2


# --- the corpus ---


def equal_pair(grammar, part):
    """Return a bound of the probability that two draws of a part are the same."""
    if isinstance(part, Call):
        rule = grammar.rules[part.rule]
        once = math.fsum(
            p**2 * math.prod(equal_pair(grammar, piece) for piece in alternative)
            for p, alternative in zip(rule.p, rule.alternatives, strict=True)
        )
        return (1 - part.again) ** 2 / (1 - part.again**2 * once) if part.again else once
    if isinstance(part, Draw):
        p = grammar.classes[part.kind].p
        if part.unlike is None:
            return (p**2).sum()
        return max(((p**2).sum() - q**2) / (1 - q) ** 2 for q in p)
    return 1.0


def test_two_stories_are_practically_never_the_same():
    flat = Grammar({"story": ["<a=kind> likes <b=kind> .", '3: "<a=kind>," <a.the>!']}, KINDS)
    exact = math.fsum({t: math.exp(2 * x) for t, x in islice(flat.stories(0), 999)}.values())
    assert equal_pair(flat, flat.start) == pytest.approx(exact)
    assert equal_pair(grammar(), grammar().start) < 1e-30  # a million stories: 1e12 pairs


def test_no_story_is_in_two_parts_or_twice_in_one():
    data = corpus(train=1500, validation=300, test=300)
    parts = [data.train, data.validation, data.test]
    texts = [data.vocabulary.decode(part).strip("\n").split("\n") for part in parts]
    assert [len(part) for part in texts] == [1500, 300, 300]
    assert len(set().union(*texts)) == 2100


def test_the_parts_are_streams_that_begin_and_end_with_a_newline():
    data = corpus(train=20, validation=2, test=3, seed=5)
    newline = data.vocabulary.ids["\n"]
    for part, size in [(data.train, 20), (data.validation, 2), (data.test, 3)]:
        assert part.dtype == torch.long
        assert part[0] == part[-1] == newline
        assert (part == newline).sum() == size + 1
        assert torch.equal(data.vocabulary.encode(data.vocabulary.decode(part)), part)


def test_the_size_of_one_part_does_not_change_another():
    small, large = corpus(train=5, validation=5, test=5), corpus(train=9, validation=5, test=7)
    assert torch.equal(small.validation, large.validation)
    for a, b in [(small.train, large.train), (small.test, large.test)]:
        assert torch.equal(a, b[: len(a)])
    assert not torch.equal(small.train, corpus(train=5, validation=5, test=5, seed=1).train)


def test_the_floor_is_the_loss_of_the_grammar_on_the_part():
    data = corpus(train=5, validation=4, test=3)
    for part in ("train", "validation", "test"):
        text = data.vocabulary.decode(getattr(data, part)[1:])
        costs = grammar().token_log_probabilities(text)
        assert data.floor[part] == pytest.approx(-statistics.mean(costs))


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_an_empty_part_is_refused(part):
    with pytest.raises(ValueError, match=f"{part} must be at least 1 story, not 0"):
        corpus(**{part: 0})
