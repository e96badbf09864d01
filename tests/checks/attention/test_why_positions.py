"""The check of exercise 13.6 passes what is right and names what is wrong."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from llmbook import check

PAIR = ("not only children may enter", "only children may not enter")
RIGHT = {
    "twins": PAIR,
    "full_mean": True,
    "full_period": True,
    "added_mean": False,
    "causal_start": True,
    "causal_period_1": True,
    "causal_mean_1": False,
    "causal_period_2": False,
    "blind_accuracy": 0.5,
}
PREDICTIONS = [name for name in RIGHT if name not in ("twins", "blind_accuracy")]


def marker(tokens):
    flat = torch.zeros(len(tokens), 1)
    return flat, flat, (tokens == 0).float()[:, None]


def share(output):
    return 1 / output[:, 0] - 1


def only(**answers):
    """Check some answers; return the outcomes that were attempted."""
    result = check.why_positions(**answers)
    return result, [o for o in result.outcomes if o.status != "not attempted"]


def test_everything_right_passes():
    result = check.why_positions(**RIGHT, token_qkv=marker, position_of=share)
    assert result.passed, result
    assert len(result.outcomes) == 13
    assert any("only a reader can tell" in note for note in result.notes)


# --- (b) twins ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "twins",
    [
        PAIR,
        list(PAIR),
        ("Anna told Ben, of course.", "Of course Ben told Anna!"),
        ("He didn't say she lied", "She didn't say he lied"),
        ("Je l'ai vue hier; elle part.", "Elle part hier, je l'ai vue"),
        ("猫 追 狗", "狗 追 猫"),
        ("the the dog", "the dog the"),
    ],
)
def test_twins_pass_whatever_their_case_and_punctuation(twins):
    result, attempted = only(twins=twins)
    assert [o.status for o in attempted] == ["passed"], result


@pytest.mark.parametrize(
    ("named", "twins"),
    [
        ("same order", ("dogs bite", "dogs bite")),
        ("same order", ("Dogs bite.", "dogs, bite")),
        ("in the first: bites; in the second: bitten", ("dog bites man", "man bitten dog")),
        ("in the first: the; in the second: none", ("the dog bit the man", "the man bit dog")),
        ("example of the statement", ("The dog bit the man.", "The man bit the dog.")),
        ("example of the statement", ("the man bit the dog", "the dog bit the man")),
        ("has no words", ("", "dog")),
        ("pair of strings", "the dog bit the man"),
        ("pair of strings", ("dog", "man", "bit")),
        ("pair of strings", (["dog", "bit"], ["bit", "dog"])),
        ("pair of strings", 7),
    ],
)
def test_mistakes_in_twins_are_named(named, twins):
    result, attempted = only(twins=twins)
    assert [o.status for o in attempted] == ["failed"]
    assert named in result.messages


# --- (c) predictions and (d) accuracy -------------------------------------------------------------


@pytest.mark.parametrize("name", PREDICTIONS)
def test_a_prediction_is_tested_alone(name):
    _, right = only(**{name: np.bool_(RIGHT[name])})
    assert [(o.name, o.status) for o in right] == [(name, "passed")]
    result, wrong = only(**{name: not RIGHT[name]})
    assert [(o.name, o.status) for o in wrong] == [(name, "failed")]
    assert len(result.messages) > 50


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("full_mean", "does not mind the order"),
        ("full_period", "averages over all tokens"),
        ("added_mean", "another vector added"),
        ("causal_start", "let the start token see"),
        ("causal_period_1", "before they have looked around"),
        ("causal_mean_1", "a word in the middle sees"),
        ("causal_period_2", "have looked back in the first"),
    ],
)
def test_a_wrong_prediction_is_told_why(name, named):
    assert named in check.why_positions(**{name: not RIGHT[name]}).messages


@pytest.mark.parametrize("value", [0.5, 1 / 2, Fraction(1, 2), torch.tensor(0.5), np.float32(0.5)])
def test_accuracy_passes_in_any_form(value):
    assert [o.status for o in only(blind_accuracy=value)[1]] == ["passed"]


@pytest.mark.parametrize(
    ("named", "value"),
    [
        ("right on all", 1),
        ("wrong on all", 0),
        ("two answers", 0.25),
        ("percentage", 50),
        ("Give the exact share", 0.51),
        ("not right", 0.7),
    ],
)
def test_mistakes_in_the_accuracy_are_named(named, value):
    assert named in check.why_positions(blind_accuracy=value).messages


# --- (e) the meter --------------------------------------------------------------------------------


def strong_start(tokens):
    """The start token scores higher than the others."""
    start = (tokens == 0).double()
    return torch.ones(len(tokens), 1).double(), 2 * start[:, None], start[:, None]


def others_marked(tokens):
    words = (tokens != 0).float()
    return torch.zeros(len(tokens), 4), torch.zeros(len(tokens), 4), words[:, None]


def two_columns(tokens):
    """Integers; the second column says whether a word stands there."""
    n, start = len(tokens), tokens == 0
    return torch.zeros(n, 3).int(), torch.ones(n, 3).int(), torch.stack([start, ~start], -1).int()


def looped(tokens):
    rows = [([0.0], [0.0], [5.0 if token == 0 else 1.0]) for token in tokens.tolist()]
    return tuple([row[i] for row in rows] for i in range(3))


def scores_by_word(tokens):
    """Scores that depend on the words, but only through the query: the weights stay equal."""
    q = tokens.float()[:, None]
    return q, torch.ones_like(q), (tokens == 0).float()[:, None]


E2 = float(torch.tensor(2.0).exp())
METERS = {
    "equal scores": (marker, share),
    "as a column": (marker, lambda o: 1 / o - 1),
    "rounded to integers": (marker, lambda o: (1 / o[:, 0] - 1).round().long()),
    "NumPy": (
        lambda t: tuple(x.numpy() for x in marker(t)),
        lambda o: 1 / o.numpy()[:, 0] - 1,
    ),
    "a list": (marker, lambda o: [1 / x - 1 for x in o[:, 0].tolist()]),
    "start scores higher": (strong_start, lambda o: E2 * (1 / o[:, 0] - 1)),
    "others marked": (others_marked, lambda o: o[:, 0] / (1 - o[:, 0])),
    "two columns": (two_columns, lambda o: o[:, 1] / o[:, 0]),
    "start 5, others 1, lists": (looped, lambda o: 4 / (o[:, 0] - 1) - 1),
    "scores by query": (scores_by_word, share),
    "stacked": (lambda t: torch.stack(marker(t)), share),
}


@pytest.mark.parametrize(("qkv", "read"), METERS.values(), ids=METERS)
def test_any_meter_passes(qkv, read):
    result, attempted = only(token_qkv=qkv, position_of=read)
    assert [o.status for o in attempted] == ["passed"] * 4, result


def with_places(tokens):
    q, k, _ = marker(tokens)
    return q, k, torch.arange(len(tokens)).float()[:, None]


def with_prefix(tokens):
    q, k, v = marker(tokens)
    return q, k, v.cumsum(0) / torch.arange(1, len(tokens) + 1)[:, None]


def with_length(tokens):
    q, k, v = marker(tokens)
    return q, k, v / len(tokens)


def with_noise(tokens):
    q, k, v = marker(tokens)
    return torch.rand_like(q), k, v


def unmarked(tokens):
    q, k, v = marker(tokens)
    return q, k, torch.ones_like(v)


def saturated(tokens):
    q, _, v = marker(tokens)
    return q + 1, 1000 * v, v


def by_words(tokens):
    x = tokens.float()[:, None]
    return x, x, marker(tokens)[2]


def ids_as_values(tokens):
    q, k, _ = marker(tokens)
    return q, k, tokens.float()[:, None]


def only_last_word(tokens):
    q, k, v = marker(tokens)
    return q, k, v + (tokens == 49).float()[:, None]


QKV_MISTAKES = [
    ("for token 5 is", with_places, share),
    ("from its own token alone", with_prefix, share),
    ("from its own token alone", with_length, share),
    ("a random number", with_noise, share),
    ("the same at every place", unmarked, share),
    ("the same at every place", saturated, share),
    ("depend on which words", by_words, share),
    ("depend on which words", ids_as_values, share),
    ("three matrices", lambda t: marker(t)[:2], share),
    ("three matrices", lambda t: marker(t)[0], share),
    ("two dimensions; its shape is (6,)", lambda t: tuple(x[:, 0] for x in marker(t)), share),
    ("one row for each", lambda t: tuple(x[1:] for x in marker(t)), share),
    (
        "same width",
        lambda t: (torch.zeros(len(t), 2), *marker(t)[1:]),
        share,
    ),
    ("The mask is added by the check", lambda t: tuple(x.log() for x in marker(t)), share),
]
READ_MISTAKES = [
    ("counted from 1", lambda o: 1 / o[:, 0]),
    ("one too small", lambda o: 1 / o[:, 0] - 2),
    ("Turn it into a position", lambda o: o[:, 0]),
    ("it counts its rows", lambda o: torch.arange(len(o))),
    ("it looks at other rows", lambda o: (o[:, 0] / o[0, 0]) ** -1 - 1),
    ("it looks at other rows", lambda o: len(o) - 1 / o[:, 0]),
    ("wrong sign", lambda o: 1 - 1 / o[:, 0]),
    ("cut down to 2?", lambda o: (1 / o[:, 0] - 1 - 1e-6).int().clamp(min=0)),
    ("one number a row", lambda o: 1 / o[0, 0] - 1),
    ("one number a row", lambda o: o.expand(-1, 2)),
    ("entries are not", lambda o: 2 / o[:, 0] - 2),
]


@pytest.mark.parametrize(("named", "qkv", "read"), QKV_MISTAKES)
def test_mistakes_in_q_k_v_are_named(named, qkv, read):
    result = check.why_positions(token_qkv=qkv, position_of=read)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize(("named", "read"), READ_MISTAKES)
def test_mistakes_in_reading_are_named(named, read):
    result = check.why_positions(token_qkv=marker, position_of=read)
    assert result.status == "failed"
    assert named in result.messages


def test_a_short_text_does_not_look_cut_down():
    def ids_averaged(tokens):
        flat = torch.zeros(len(tokens), 1)
        return flat, flat, tokens.float()[:, None]

    messages = check.why_positions(
        token_qkv=ids_averaged, position_of=lambda output: output[:, 0].round()
    ).messages
    assert "Tokens: [0, 1]" in messages
    assert "cut down" not in messages


def test_a_meter_that_fails_on_longer_texts_only_is_caught():
    result = check.why_positions(token_qkv=only_last_word, position_of=share)
    assert [o.name for o in result.outcomes if o.status == "failed"] == ["other texts and lengths"]


def test_positions_wait_for_rows_made_from_single_tokens():
    result = check.why_positions(token_qkv=with_places, position_of=share)
    assert len(result.outcomes) == 10
    assert any("once q, k and v" in note for note in result.notes)


def test_rows_alone_are_right_so_far():
    result, attempted = only(token_qkv=marker)
    assert [o.status for o in attempted] == ["passed"]
    assert result.status == "not attempted"


# --- No answer, no sense, no leak -----------------------------------------------------------------


def untouched_qkv(tokens):
    """Integers (n,) -> q, k, v."""
    ...  # your code


def untouched_position(output):
    """Output (n, d_v) -> positions (n,)."""
    ...  # your code


@pytest.mark.parametrize("nothing", [None, ...])
def test_an_untouched_answer_is_not_attempted(nothing):
    result = check.why_positions(
        **dict.fromkeys(RIGHT, nothing), token_qkv=untouched_qkv, position_of=untouched_position
    )
    assert result.status == "not attempted"
    assert result.notes == ()
    assert check.why_positions().status == "not attempted"
    assert check.why_positions(twins=(nothing, nothing)).status == "not attempted"


@pytest.mark.parametrize("value", ["x", object(), {}, [[1], [2, 3]], 7, float("nan"), []])
@pytest.mark.parametrize("name", [*RIGHT, "token_qkv", "position_of"])
def test_rubbish_fails_without_an_exception(name, value):
    parts = RIGHT | {"token_qkv": marker, "position_of": share} | {name: value}
    result = check.why_positions(**parts)
    assert result.status == "failed"
    assert "The check itself broke" not in result.messages


@pytest.mark.parametrize(
    "rubbish", [None, "x", 3, [], [[1], [2, 3]], (1, 2, 3), ("a", "b", "c"), torch.zeros(6)]
)
def test_functions_that_return_rubbish_fail_without_an_exception(rubbish):
    for parts in (
        {"token_qkv": lambda t: rubbish, "position_of": share},
        {"token_qkv": marker, "position_of": lambda o: rubbish},
    ):
        result = check.why_positions(**parts)
        assert result.status == ("failed" if rubbish is not None else "not attempted")
        assert "The check itself broke" not in result.messages


def test_the_construction_is_not_given_away():
    for _, qkv, read in QKV_MISTAKES:
        assert "1 / " not in check.why_positions(token_qkv=qkv, position_of=read).messages
    messages = check.why_positions(blind_accuracy=0.7).messages
    assert "0.5" not in messages
    assert "half" not in messages
