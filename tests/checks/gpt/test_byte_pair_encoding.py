"""check.byte_pair_encoding: right answers of several shapes pass, known mistakes are named."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from llmbook import check

NUMBERS = {
    "merges": 744,
    "merges_with_special": 743,
    "tokens_of_unseen": 6,
    "words_recovered": 9,
}
TRACE = ["aa a b d aa a b a c", "aa ab d aa ab a c", "aaab d aaab a c"]


def step(tokens, choose=lambda counts: max(counts, key=counts.get), merge=None):
    """A right answer, of which the mistakes below change one part."""
    counts = Counter(pairwise(tokens))
    if not counts:
        return None, tokens
    pair = choose(counts)
    return pair, (merge or merged)(tokens, pair)


def merged(tokens, pair, new=None, skip=2):
    out, i = [], 0
    while i < len(tokens):
        if tuple(tokens[i : i + 2]) == pair:
            out.append(pair[0] + pair[1] if new is None else new)
            i += skip
        else:
            out.append(tokens[i])
            i += 1
    return out


# --- Right answers -------------------------------------------------------------------------------


def with_zip_and_a_list(tokens):
    counts = {}
    for left, right in pairwise(tokens):
        counts[left, right] = counts.get((left, right), 0) + 1
    if len(tokens) < 2:
        return [None, list(tokens)]
    pair = sorted(counts, key=lambda p: (-counts[p], p))[0]
    out = []
    waiting = None
    for token in tokens:
        if waiting == pair[0] and token == pair[1]:
            out.append(waiting + token)
            waiting = None
        else:
            if waiting is not None:
                out.append(waiting)
            waiting = token
    if waiting is not None:
        out.append(waiting)
    return [list(pair), tuple(out)]


def in_place(tokens):
    if len(tokens) < 2:
        return None, tokens
    counts = Counter(pairwise(tokens))
    top = max(counts.values())
    pair = max(p for p in counts if counts[p] == top)
    i = 0
    while i < len(tokens) - 1:
        if (tokens[i], tokens[i + 1]) == pair:
            tokens[i : i + 2] = ["".join(pair)]
        i += 1
    return pair, tokens


def without_overlaps(tokens):
    """Counts only pairs that do not overlap, and returns an array."""
    sign = {token: chr(0x4E00 + i) for i, token in enumerate(sorted(set(tokens)))}
    token = {v: k for k, v in sign.items()}
    text = "".join(sign[t] for t in tokens)
    pairs = {text[i : i + 2] for i in range(len(text) - 1)}
    if not pairs:
        return None, tokens
    best = max(sorted(pairs), key=text.count)
    left, right = (token[s] for s in best)
    token["#"] = left + right
    return (left, right), np.array([token[s] for s in text.replace(best, "#")])


@pytest.mark.parametrize("answer", [step, with_zip_and_a_list, in_place, without_overlaps])
def test_right_answers_pass(answer):
    result = check.byte_pair_encoding(answer, trace=TRACE, **NUMBERS)
    assert result.passed, result


@pytest.mark.parametrize(
    ("trace", "note"),
    [
        (TRACE, "smallest ids"),
        (["aa a b d aa a b a c", "aaa b d aaa b a c", "aaab d aaab a c"], "first met"),
        (["ZabdZabac", "ZYdZYac", "XdXac"], "smallest ids"),
        (["Z a b d Z a b a c", "Y b d Y b a c", "X d X a c"], "first met"),
        ([list("ZabdZabac"), ("Z", "ab", "d", "Z", "ab", "a", "c"), list("XdXac")], "smallest"),
        ([s.replace(" ", " | ") for s in TRACE], "smallest ids"),
        ([s.replace(" ", ", ") for s in TRACE], "smallest ids"),
        ([str(s.split()) for s in TRACE], "smallest ids"),
        ([" ".join(f"[{t}]" if t[1:] else t for t in s.split()) for s in TRACE], "smallest ids"),
        (["".join(f"({t})" if t[1:] else t for t in s.split()) for s in TRACE], "smallest ids"),
        ([f"[{s}]" for s in TRACE], "smallest ids"),
        (["[ZabdZabac]", "(ZYdZYac)", "XdXac"], "smallest ids"),
        (["aaabdaaabac", *TRACE], "smallest ids"),
        ([s.encode() for s in TRACE], "smallest ids"),
        (dict(enumerate(TRACE)), "smallest ids"),
        ([[t.encode() for t in s.split()] for s in TRACE], "smallest ids"),
        (
            [
                [256, 97, 98, 100, 256, 97, 98, 97, 99],
                [257, 98, 100, 257, 98, 97, 99],
                [258, 100, 258, 97, 99],
            ],
            "first met",
        ),
        (
            ["a a ab d a a ab a c", "aa ab d aa ab a c", "aaab d aaab a c"],
            "counts only pairs that do not overlap",
        ),
        (
            ["a a ab d a a ab a c", "a aab d a aab a c", "aaab d aaab a c"],
            "counts only pairs that do not overlap",
        ),
    ],
)
def test_every_defensible_trace_passes_and_its_choice_is_named(trace, note):
    result = check.byte_pair_encoding(step, trace=trace, **NUMBERS)
    assert result.passed, result
    assert note in result.notes[0]


# --- Mistakes ------------------------------------------------------------------------------------


def choosing(choose):
    return lambda tokens: step(tokens, choose=choose)


def merging(merge):
    return lambda tokens: step(tokens, merge=merge)


def joined_counts(tokens):
    counts = Counter(a + b for a, b in pairwise(tokens))
    if not counts:
        return None, tokens
    new = max(counts, key=counts.get)
    pair = next(p for p in list(pairwise(tokens))[::-1] if "".join(p) == new)
    return pair, merged(tokens, pair)


def every_second(tokens):
    if len(tokens) < 2:
        return None, tokens
    counts = Counter(zip(tokens[::2], tokens[1::2], strict=False))
    pair = max(counts, key=lambda p: (counts[p], p))
    return pair, merged(tokens, pair)


def from_the_right(tokens, pair):
    return merged(tokens[::-1], pair[::-1], pair[0] + pair[1])[::-1]


def overlapping(tokens, pair):
    starts = {i for i, p in enumerate(pairwise(tokens)) if p == pair}
    return [
        "".join(pair) if i in starts else token
        for i, token in enumerate(tokens)
        if i in starts or i - 1 not in starts
    ]


def range_based(tokens, pair):
    out, skip = [], False
    for left, right in pairwise(tokens):
        if skip:
            skip = False
        elif (left, right) == pair:
            out.append(left + right)
            skip = True
        else:
            out.append(left)
    return out


def first_only(tokens, pair):
    i = list(pairwise(tokens)).index(pair)
    return [*tokens[:i], "".join(pair), *tokens[i + 2 :]]


def replaced_in_the_text(tokens, pair):
    return " ".join(tokens).replace(" ".join(pair), "".join(pair)).split(" ")


def kept_left(tokens, pair):
    out = []
    for token in merged(tokens, pair, "#"):
        out += [pair[0], "".join(pair)] if token == "#" else [token]
    return out


MISTAKES = [
    ("rarest pairs", choosing(lambda c: min(c, key=c.get))),
    ("rarest pairs", choosing(lambda c: c.most_common()[-1][0])),
    ("last in the alphabet", choosing(max)),
    ("in reverse order: the left", lambda t: _reversed_pair(t)),
    ("spell the same letters", joined_counts),
    ("every second pair", every_second),
    ("Only the first occurrence", merging(first_only)),
    ("starts from the right", merging(from_the_right)),
    ("used twice", merging(overlapping)),
    ("step over both", merging(lambda t, p: merged(t, p, skip=1))),
    ("left one of the two is still there", merging(kept_left)),
    ("last token is lost", merging(range_based)),
    ("last token is lost", merging(lambda t, p: merged(t, p)[:-1])),
    ("last token is there twice", merging(lambda t, p: [*merged(t, p), t[-1]])),
    ("removed instead of replaced", merging(lambda t, p: [x for x in merged(t, p, "") if x])),
    ("Only the new tokens", merging(lambda t, p: ["".join(p)] * merged(t, p, "#").count("#"))),
    ("joined in reverse order", merging(lambda t, p: merged(t, p, p[1] + p[0]))),
    ("has a space in it", merging(lambda t, p: merged(t, p, " ".join(p)))),
    ("it is a tuple", merging(lambda t, p: merged(t, p, p))),
    ("inside longer tokens", merging(replaced_in_the_text)),
    ("across the borders", merging(lambda t, p: re.findall("".join(p) + "|.", "".join(t)))),
    ("cut into letters", merging(lambda t, p: list("".join(merged(t, p))))),
    ("The list is unchanged", merging(lambda t, p: list(t))),
    ("in reverse order as well", merging(lambda t, p: merged(merged(t, p), p[::-1]))),
    ("it is one string", merging(lambda t, p: " ".join(merged(t, p)))),
    ("Return two things", lambda t: (*step(t), 3)),
    ("Return the pair and the new list", lambda t: {"pair": step(t)[0]}),
    ("Return the pair and the new list", lambda t: "ab"),
    ("leave its count out", lambda t: ((step(t)[0], 4), step(t)[1])),
    ("cannot be read off it", lambda t: ("".join(step(t)[0] or ()), step(t)[1])),
    ("swapped", lambda t: step(t)[::-1]),
    ("The pair is None", lambda t: (None, step(t)[1])),
    ("return `None` and the list as it is", lambda t: step(t) if len(t) > 1 else (("a", "a"), t)),
    ("return `None` and the list as it is", lambda t: step(t) if len(t) > 1 else (None, [])),
    ("raised", lambda t: step(t) if t else max([])),
    ("not both tokens", lambda t: (("q", "z"), step(t)[1])),
    ("side by side", choosing(lambda c: (next(iter(c))[0],) * 2)),
    ("another pair occurs more often", choosing(lambda c: c.most_common()[len(c) // 2][0])),
    ("Tokens should be strings", merging(lambda t, p: merged(t, p, 256))),
    ("More has been merged", lambda t: (step(t)[0], step(step(t)[1])[1])),
]


def _reversed_pair(tokens):
    pair, after = step(tokens)
    return (pair and pair[::-1]), after


@pytest.mark.parametrize(("named", "answer"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistakes_are_named(named, answer):
    result = check.byte_pair_encoding(answer)
    assert result.status == "failed"
    assert named in result.messages
    assert "itself broke" not in result.messages


@pytest.mark.parametrize(
    ("said", "not_said", "choose"),
    [
        ("rarest", "alphabet: is it", lambda c: min(c, key=c.get)),
        ("rarest", "alphabet: is it", lambda c: c.most_common()[-1][0]),
        ("alphabet", "rarest pairs: take", max),
    ],
)
def test_the_rarest_and_the_last_pair_are_told_apart(said, not_said, choose):
    result = check.byte_pair_encoding(choosing(choose))
    (first,) = (o.message for o in result.outcomes if o.name == "(d) one pair stands out")
    assert said in first
    assert not_said not in result.messages


def test_a_replacement_in_the_joined_text_is_named_where_the_tokens_are_shown():
    result = check.byte_pair_encoding(merging(replaced_in_the_text))
    assert "Input: tokens = ['wx', 'y'" in result.messages
    assert "More has been merged" not in result.messages


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"merges": 1000}, "size of the vocabulary"),
        ({"merges": 743}, "One too few"),
        ({"merges": 745}, "One too many"),
        ({"merges": 872}, "ASCII"),
        ({"merges": 256}, "base vocabulary"),
        ({"merges": 2}, "does not double"),
        ({"merges": 3.90625}, "not multiplied"),
        ({"merges_with_special": 744}, "takes one of the places"),
        ({"merges_with_special": 745}, "does not need a merge"),
        ({"merges_with_special": 999}, "filled already"),
        ({"tokens_of_unseen": 2}, "not characters"),
        ({"tokens_of_unseen": 3}, "one of the two"),
        ({"tokens_of_unseen": 1}, "No merge can have"),
        ({"tokens_of_unseen": 0}, "Nothing is dropped"),
        ({"tokens_of_unseen": 12}, "digits"),
        ({"words_recovered": 12}, "same for all"),
        ({"words_recovered": 3}, "are lost"),
        ({"words_recovered": 0}, "whatever stands beside"),
        ({"words_recovered": 999}, "not the text"),
        ({"trace": [TRACE[0], TRACE[2], TRACE[2]]}, "two merges at once"),
        ({"trace": [TRACE[0], TRACE[0], None]}, "Nothing has been merged"),
        ({"trace": ["a aa b d a aa b a c", None, None]}, "starts from the right"),
        ({"trace": ["aa a b d a a a b a c", None, None]}, "Only the first occurrence"),
        ({"trace": ["aa aa b d aa aa b a c", None, None]}, "used twice"),
        ({"trace": ["a a a bd a a a b a c", None, None]}, "was not the most frequent"),
        ({"trace": ["aa b d aa b a c", None, None]}, "do not spell the corpus"),
        ({"trace": ["ZbdYac", None, None]}, "both new"),
        ({"trace": [*TRACE, TRACE[2]]}, "Pass three states"),
        ({"trace": "aa a b d aa a b a c"}, "Pass three states"),
        ({"trace": [None, TRACE[1], None]}, "missing or cannot be read"),
        ({"trace": [TRACE[0], TRACE[0].replace("aa a", "a a a", 1), None]}, "does not split"),
        (
            {"trace": ["a a a bd a a a b a c", "aa a bd aa a b a c", None]},
            "follows from your state before it",
        ),
        ({"trace": ["aaa b d aaa b a c", None, None]}, "two merges at once"),
    ],
)
def test_wrong_numbers_and_traces_are_named(answer, named):
    result = check.byte_pair_encoding(**answer)
    assert result.status == "failed"
    assert named in result.messages


# --- No answer, no sense, no leak -----------------------------------------------------------------


def placeholder(tokens): ...


@pytest.mark.parametrize("trace", [None, ..., [None, None, None]])
@pytest.mark.parametrize("answer", [None, ..., placeholder])
def test_an_untouched_answer_is_not_attempted(answer, trace):
    result = check.byte_pair_encoding(answer, trace=trace, merges=None)
    assert result.status == "not attempted"
    assert result.notes == ()


@pytest.mark.parametrize(
    "answer",
    [
        3,
        "text",
        [1],
        lambda: 1,
        lambda t: 3,
        lambda t: (1, 2),
        lambda t: (("a",), [None]),
        lambda t: [],
        lambda t: (t, t),
        lambda t: ((1, 2), t),
        lambda t: (("a", "b"), t * 1000),
    ],
)
def test_rubbish_fails_without_an_exception(answer):
    result = check.byte_pair_encoding(answer)
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize(
    "trace",
    [
        3,
        "",
        [],
        {},
        [3, 3, 3],
        ["", "", ""],
        [[None], [3.5], [[]]],
        [b"\xff", "", 0],
        object(),
        ["a" * 10000, "", ""],
        [list("abc"), {}, set()],
    ],
)
def test_rubbish_traces_are_no_exception(trace):
    result = check.byte_pair_encoding(trace=trace)
    assert not result.passed
    assert "itself broke" not in result.messages


def test_no_message_shows_the_answer():
    wrong = check.byte_pair_encoding(
        lambda t: (tuple(t[-2:]) if len(t) > 1 else None, list(t)),
        trace=["a aa b d a aa b a c", "aa a b d aa a b a c", "abcd"],
        **{name: value + 100 for name, value in NUMBERS.items()},
    )
    assert wrong.status == "failed"
    for answer in ("744", "743", *TRACE, "'aa', 'a'"):
        assert answer not in wrong.messages
    assert not wrong.notes
