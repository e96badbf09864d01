"""The check of exercise 13.11 passes what is right and names what is wrong."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch

from llmbook import check

# Independent of the check: the entries written out, as one finds them on paper.
ROOT = 1 / sympy.sqrt(2)
E = sympy.exp(ROOT)
EXACT = {
    "scores": sympy.eye(2),
    "scaled": sympy.eye(2) * ROOT,
    "exponentials": sympy.Matrix([[E, 1], [1, E]]),
    "row_sums": sympy.Matrix([1 + E, 1 + E]),
    "weights": sympy.Matrix([[E, 1], [1, E]]) / (1 + E),
    "output": sympy.Matrix([[E, 1], [1, E]]) / (1 + E),
}
E2 = sympy.exp(sympy.sqrt(2))
WEIGHTS_B = sympy.Matrix(
    [
        [E / (2 * E + 1), 1 / (2 * E + 1), E / (2 * E + 1)],
        [1 / (2 * E2 + 1), E2 / (2 * E2 + 1), E2 / (2 * E2 + 1)],
    ]
)
EXACT |= {
    "weights_b": WEIGHTS_B,
    "output_b": WEIGHTS_B * sympy.Matrix([[1, 0], [2, 1], [0, 3]]),
}
DECIMAL = {name: np.array(matrix.evalf(), dtype=float) for name, matrix in EXACT.items()}


@pytest.mark.parametrize(
    "form",
    [
        lambda x: EXACT[x],
        lambda x: EXACT[x].tolist(),
        lambda x: DECIMAL[x],
        lambda x: DECIMAL[x].round(2).tolist(),
        lambda x: DECIMAL[x].round(3).tolist(),
        lambda x: torch.tensor(DECIMAL[x], dtype=torch.float32),
        lambda x: torch.tensor(DECIMAL[x], requires_grad=True),
        lambda x: [[Fraction(float(e)).limit_denominator(500) for e in row] for row in DECIMAL[x]],
        lambda x: tuple(map(tuple, DECIMAL[x])),
    ],
)
def test_right_answers_pass_in_any_form(form):
    result = check.attention_by_hand(**{name: form(name) for name in EXACT})
    assert result.passed, result
    assert len(result.outcomes) == 8
    assert result.notes == ()


@pytest.mark.parametrize(
    "row_sums", [[3.03, 3.03], [[3.03], [3.03]], [[3.03, 3.03]], 3.03, 1 + E, torch.tensor(3.0281)]
)
def test_row_sums_may_be_a_row_a_column_or_one_number(row_sums):
    assert "✓ row_sums" in repr(check.attention_by_hand(row_sums=row_sums))


@pytest.mark.parametrize("name", EXACT)
def test_any_subset_is_tested_alone(name):
    result = check.attention_by_hand(**{name: EXACT[name]})
    statuses = {outcome.name: outcome.status for outcome in result.outcomes}
    assert statuses.pop(name) == "passed"
    assert set(statuses.values()) == {"not attempted"}


def test_rounding_every_step_to_two_decimals_passes():
    e = round(math.exp(0.71), 2)
    w = [round(e / (2 * e + 1), 2), round(1 / (2 * e + 1), 2)]
    e2 = round(math.exp(1.41), 2)
    u = [round(1 / (2 * e2 + 1), 2), round(e2 / (2 * e2 + 1), 2)]
    weights_b = [[w[0], w[1], w[0]], [u[0], u[1], u[1]]]
    output_b = (np.array(weights_b) @ [[1, 0], [2, 1], [0, 3]]).round(2)
    result = check.attention_by_hand(
        exponentials=[[e, 1], [1, e]], weights_b=weights_b, output_b=output_b
    )
    assert result.messages == ""


def test_that_a_is_symmetric_is_said_while_b_is_missing():
    result = check.attention_by_hand(weights=EXACT["weights"])
    assert any("only (b)" in note for note in result.notes)
    assert check.attention_by_hand(scores=EXACT["scores"]).notes == ()


# --- Wrong answers --------------------------------------------------------------------------------

QB, KB, VB = (
    np.array(m) for m in ([[1, 0], [0, 2]], [[1, 0], [0, 1], [1, 1]], [[1, 0], [2, 1], [0, 3]])
)


def softmax(x, axis=1):
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def wrong(scale, axis=1):
    """Give every step with this factor on the scores and a softmax over this axis."""
    x, y = np.eye(2) * scale, QB @ KB.T * scale
    return {
        "scaled": x,
        "exponentials": np.exp(x),
        "row_sums": np.exp(x).sum(1),
        "weights": softmax(x, axis),
        "output": softmax(x, axis),
        "weights_b": softmax(y, axis),
        "output_b": softmax(y, axis) @ VB,
    }


SCALES = {
    "not been divided by √d_k": 1,
    "divided by d_k; its square root": 1 / 2,
    "multiplied by √d_k": math.sqrt(2),
    "divided by √m": 1 / math.sqrt(3),
}
MISTAKES = [
    (named, name, value)
    for named, scale in SCALES.items()
    for name, value in wrong(scale).items()
    if not (named == "divided by √m" and not name.endswith("_b"))
]
R = 1 / math.sqrt(2)
MISTAKES += [
    ("runs over the columns", "weights_b", wrong(R, 0)["weights_b"]),
    ("runs over the columns", "output_b", wrong(R, 0)["output_b"]),
    ("sum of the whole matrix", "weights", DECIMAL["weights"] / 2),
    ("sum of the whole matrix", "output", DECIMAL["output"] / 2),
    ("sum of the whole matrix", "weights_b", softmax(QB @ KB.T * R, (0, 1))),
    ("not been normalized", "weights", DECIMAL["exponentials"]),
    ("not been normalized", "output", DECIMAL["exponentials"]),
    ("not been normalized", "weights_b", np.exp(QB @ KB.T * R)),
    ("lost its weight", "exponentials", np.diag([math.exp(R)] * 2)),
    ("lost its weight", "row_sums", [math.exp(R)] * 2),
    ("lost its weight", "weights", np.eye(2)),
    ("lost its weight", "output", np.eye(2)),
    ("lost its weight", "weights_b", [[0.5, 0, 0.5], [0, 0.5, 0.5]]),
    ("exponential is still missing", "exponentials", np.eye(2) * R),
    ("reverse order", "weights", DECIMAL["weights"][::-1]),
    ("reverse order", "weights_b", DECIMAL["weights_b"][:, ::-1]),
    ("already the weights", "exponentials", DECIMAL["weights"]),
    ("sum of the whole matrix", "row_sums", 2 * DECIMAL["row_sums"]),
    ("averaged the keys", "output_b", DECIMAL["weights_b"] @ KB),
    ("each row sums to 1", "weights", [[0.9, 0.3], [0.3, 0.9]]),
    ("each row sums to 1", "weights_b", [[0.9, 0.3, 0.2], [0.1, 0.5, 0.4]]),
    ("it should be (2, 3)", "weights_b", DECIMAL["weights_b"].T),
    ("it should be (2, 2)", "weights", [0.67, 0.33]),
]


@pytest.mark.parametrize(("named", "name", "value"), MISTAKES)
def test_mistakes_are_named(named, name, value):
    result = check.attention_by_hand(**{name: value})
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize(
    ("before", "value", "after", "following"),
    [
        ("scores", [[1, 2], [0, 1]], "scaled", np.array([[1, 2], [0, 1]]) * R),
        ("scaled", [[0.3, 0], [0, 0.3]], "exponentials", np.exp([[0.3, 0], [0, 0.3]])),
        ("exponentials", [[3, 1], [1, 4]], "row_sums", [4, 5]),
        ("exponentials", [[3, 1], [1, 4]], "weights", [[0.75, 0.25], [0.2, 0.8]]),
        ("weights_b", [[0.5, 0.2, 0.3], [0.1, 0.2, 0.7]], "output_b", [[0.9, 1.1], [0.5, 2.3]]),
    ],
)
def test_what_follows_from_a_wrong_step_is_said_to_follow(before, value, after, following):
    result = check.attention_by_hand(**{before: value, after: following})
    message = next(outcome.message for outcome in result.outcomes if outcome.name == after)
    assert f"follows from your `{before}`, and the mistake is there" in message


@pytest.mark.parametrize(
    ("before", "value", "after", "following"),
    [
        ("scaled", [[0.7, 0], [0, 0.7]], "exponentials", [[2.01, 1], [1, 2.01]]),
        ("exponentials", [[2.02, 1], [1, 2.02]], "weights", [[0.66, 0.33], [0.33, 0.66]]),
    ],
)
def test_rounding_that_adds_up_is_not_called_a_mistake_of_the_step_before(
    before, value, after, following
):
    result = check.attention_by_hand(**{before: value, after: following})
    outcomes = {outcome.name: outcome for outcome in result.outcomes}
    assert outcomes[before].status == "passed"
    assert "Keep more digits in between" in outcomes[after].message
    assert "the mistake is there" not in result.messages


# --- No answer, no sense, no leak -----------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, ...])
def test_an_untouched_answer_is_not_attempted(nothing):
    result = check.attention_by_hand(**dict.fromkeys(EXACT, nothing))
    assert result.status == "not attempted"
    assert result.notes == ()


@pytest.mark.parametrize(
    "value",
    ["0.67", object(), {}, [[1], [2, 3]], [[sympy.Symbol("x")]], 7, True, float("nan"), [[1j]]],
)
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_rubbish_fails_without_an_exception(name, value):
    assert check.attention_by_hand(**{name: value}).status == "failed"


@pytest.mark.parametrize("name", [name for name in EXACT if name not in ("scores", "scaled")])
def test_no_message_shows_the_right_entries(name):
    value = np.full_like(DECIMAL[name], 0.123)
    messages = check.attention_by_hand(**{name: value}).messages
    assert messages
    for entry in DECIMAL[name].flatten():
        assert entry in (0, 1) or f"{entry:.2f}" not in messages
