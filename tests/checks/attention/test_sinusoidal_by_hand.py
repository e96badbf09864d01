"""The check of exercise 13.15 passes what is right and names what is wrong."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch

from llmbook import check

# Independent of the check: the entries written out, as one finds them on paper.
S1, C1, S2, C2 = sympy.sin(1), sympy.cos(1), sympy.sin(2), sympy.cos(2)
T1, U1 = sympy.sin(sympy.Rational(1, 100)), sympy.cos(sympy.Rational(1, 100))
T2, U2 = sympy.sin(sympy.Rational(1, 50)), sympy.cos(sympy.Rational(1, 50))
EXACT = {
    "pe_0_0": sympy.Integer(0),
    "pe_0_1": sympy.Integer(1),
    "pe_1_0": S1,
    "pe_1_1": C1,
    "table": [[0, 1, 0, 1], [S1, C1, T1, U1], [S2, C2, T2, U2]],
    "halves": [0, 0, S1, T1],
    "pairs": [[0, 1], [0, 1], [S1, C1], [T1, U1]],
    "swapped": [0, S1, 1, C1],
}
DECIMAL = {name: np.array(value, dtype=float) for name, value in EXACT.items()}
TABLE = DECIMAL["table"]


def only(**answers):
    """Check some answers; return the result and the statuses of those attempted."""
    result = check.sinusoidal_by_hand(**answers)
    return result, [o.status for o in result.outcomes if o.status != "not attempted"]


@pytest.mark.parametrize(
    "form",
    [
        lambda x: EXACT[x],
        lambda x: DECIMAL[x],
        lambda x: DECIMAL[x].tolist(),
        lambda x: DECIMAL[x].round(2).tolist(),
        lambda x: DECIMAL[x].round(3).tolist(),
        lambda x: torch.tensor(DECIMAL[x], dtype=torch.float32),
        lambda x: torch.tensor(DECIMAL[x]).half(),
        lambda x: torch.tensor(DECIMAL[x], requires_grad=True),
        lambda x: sympy.Matrix(EXACT[x]) if x in ("table", "pairs") else EXACT[x],
        lambda x: np.vectorize(lambda v: Fraction(v).limit_denominator(1000))(DECIMAL[x]).tolist(),
    ],
)
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
def test_right_answers_pass_in_any_form(form):
    result = check.sinusoidal_by_hand(**{name: form(name) for name in EXACT})
    assert result.passed, result
    assert len(result.outcomes) == 8


@pytest.mark.parametrize("name", EXACT)
def test_any_subset_is_tested_alone(name):
    assert only(**{name: EXACT[name]})[1] == ["passed"]


@pytest.mark.parametrize(
    ("name", "shape"), [("halves", (2, 2)), ("swapped", (2, 2)), ("pairs", (8,)), ("pairs", (2, 4))]
)
def test_lists_may_be_grouped_by_position(name, shape):
    assert only(**{name: DECIMAL[name].reshape(shape)})[1] == ["passed"]


# --- Wrong answers --------------------------------------------------------------------------------

POSITION, PAIR, COMPONENT = np.arange(3)[:, None], np.arange(2), np.arange(4)
EVEN = COMPONENT % 2 == 0
ASKED = ([0, 0, 1, 1], [0, 1, 0, 1])
ASKED_SWAPPED = ([0, 1, 0, 1], [0, 0, 1, 1])
HALVES = [0, 2, 1, 3]


def encode(frequencies, first=np.sin, second=np.cos, start=0):
    angles = (POSITION + start) * np.asarray(frequencies)
    return np.stack([first(angles), second(angles)], -1).reshape(3, 4)


def by_component(angles):
    return np.where(EVEN, np.sin(angles), np.cos(angles))


DEGREES = encode(np.radians([1, 0.01]))
FROM_ONE = encode([1, 0.01], start=1)
COSINE_FIRST = encode([1, 0.01], np.cos, np.sin)
SLOW = encode([1, 1e-4])
IN_PAIRS = TABLE.reshape(3, 2, 2)
MISTAKES = [
    # (a)
    ("even components are sines", "pe_0_0", 1),
    ("counted from 1", "pe_0_0", math.sin(1)),
    ("Component 1 is a cosine", "pe_0_1", 0),
    ("This is PE(1, 0)", "pe_0_1", math.sin(1)),
    ("counted from 1", "pe_0_1", math.cos(1)),
    ("even components are sines", "pe_1_0", math.cos(1)),
    ("of degrees", "pe_1_0", math.sin(math.radians(1))),
    ("of degrees", "pe_1_0", 0.0175),
    ("1 is the angle", "pe_1_0", 1),
    ("sine of pair 1", "pe_1_0", 0.01),
    ("counted from 1", "pe_1_0", math.sin(2)),
    ("Component 1 is a cosine", "pe_1_1", math.sin(1)),
    ("works in degrees", "pe_1_1", math.cos(math.radians(1))),
    ("took another frequency", "pe_1_1", math.cos(10_000**-0.25)),
    ("took another frequency", "pe_1_1", math.cos(10_000**-0.5)),
    ("sine of pair 1", "pe_1_1", math.sin(0.01)),
    ("counted from 1", "pe_1_1", math.cos(2)),
    ("sign is not", "pe_1_1", -math.cos(1)),
    ("not a mistake known", "pe_1_1", 0.7),
    # (b)
    ("of degrees", "table", DEGREES),
    ("of degrees", "table", DEGREES.round(3)),
    ("even components are sines", "table", COSINE_FIRST),
    ("before all cosines", "table", TABLE[:, HALVES]),
    ("transposed", "table", TABLE.T),
    ("counted from 1", "table", FROM_ONE),
    ("number of the *pair*", "table", by_component(POSITION * 10_000.0 ** (-COMPONENT / 2))),
    ("also for the odd", "table", by_component(POSITION * 10_000.0 ** (-COMPONENT / 4))),
    ("2i/d, not i/d", "table", encode(10_000.0 ** (-PAIR / 4))),
    ("too slowly", "table", SLOW),
    ("too slowly", "table", encode(10_000.0 ** (-2 * PAIR / 2))),
    ("at the same rate", "table", encode([1, 1])),
    ("Without its base", "table", encode([1, 2])),
    ("base is 10000; you took 1000.", "table", encode(1000.0 ** (-PAIR / 2))),
    ("base 10000, not 100", "table", encode(100.0 ** (-PAIR / 2))),
    ("base is 10000; you took 10.", "table", encode(10.0 ** (-PAIR / 2))),
    ("you multiplied", "table", encode([1, 100])),
    ("sign of the sines", "table", TABLE * [-1, 1, -1, 1]),
    ("All components are sines", "table", encode([1, 0.01], second=np.sin)),
    ("All components are cosines", "table", encode([1, 0.01], np.cos)),
    ("reverse order", "table", TABLE[:, [2, 3, 0, 1]]),
    ("These are the angles", "table", POSITION * np.array([1, 1, 0.01, 0.01])),
    ("shape is (2, 4)", "table", TABLE[:2]),
    ("entries are not", "table", TABLE + 1),
    # (c)
    ("reading of (a)", "halves", TABLE[ASKED]),
    ("cosines come first", "halves", TABLE[:, [1, 3, 0, 2]][ASKED]),
    ("paper's code", "halves", SLOW[:, HALVES][ASKED]),
    ("whole row", "halves", TABLE[1, HALVES]),
    ("have changed places", "halves", TABLE[:, HALVES][ASKED_SWAPPED]),
    ("of degrees", "halves", DEGREES[:, HALVES][ASKED]),
    ("counted from 1", "halves", FROM_ONE[:, HALVES][ASKED]),
    ("gives a cosine here", "halves", [0, 1, 0.84, 1]),
    ("2 of the 4 entries are not filled in", "halves", [0, None, 0.84, ...]),
    ("1 of the 8 entries are not filled in", "pairs", [[0, 1], [0, 1], [0.84, None], [0.01, 1]]),
    ("sine comes first", "pairs", IN_PAIRS[ASKED][:, ::-1]),
    ("All four hold pair 0", "pairs", IN_PAIRS[[0, 0, 1, 1], [0, 0, 0, 0]]),
    ("have changed places", "pairs", IN_PAIRS[ASKED_SWAPPED]),
    ("stands for two", "pairs", TABLE[ASKED]),
    ("stands for two", "pairs", TABLE[:, HALVES][ASKED]),
    ("too slowly", "pairs", SLOW.reshape(3, 2, 2)[ASKED]),
    ("too fast", "pairs", encode([1, 0.1]).reshape(3, 2, 2)[ASKED]),
    ("of degrees", "pairs", DEGREES.reshape(3, 2, 2)[ASKED]),
    ("counted from 1", "pairs", FROM_ONE.reshape(3, 2, 2)[ASKED]),
    ("Each sine stands twice", "pairs", IN_PAIRS[ASKED][:, [0, 0]]),
    ("reading of (a)", "swapped", TABLE[ASKED]),
    ("even components are sines", "swapped", COSINE_FIRST[ASKED_SWAPPED]),
    ("of degrees", "swapped", DEGREES[ASKED_SWAPPED]),
    ("counted from 1", "swapped", FROM_ONE[ASKED_SWAPPED]),
    ("Two readings at once", "swapped", TABLE[:, HALVES][ASKED_SWAPPED]),
    ("entries are not", "swapped", [3, 3, 3, 3]),
]


@pytest.mark.parametrize(
    ("named", "name", "value"), MISTAKES, ids=[f"{m[1]}: {m[0]}" for m in MISTAKES]
)
def test_mistakes_are_named(named, name, value):
    result, statuses = only(**{name: value})
    assert statuses == ["failed"]
    assert named in result.messages


# --- No answer, no sense, no leak -----------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, ...])
def test_an_untouched_answer_is_not_attempted(nothing):
    assert check.sinusoidal_by_hand().status == "not attempted"
    assert check.sinusoidal_by_hand(**dict.fromkeys(EXACT, nothing)).status == "not attempted"


@pytest.mark.parametrize("nothing", [None, ...])
def test_a_list_of_placeholders_is_not_attempted(nothing):
    lists = {"table": [[nothing] * 4] * 3, "halves": [nothing] * 4, "pairs": [(nothing, nothing)]}
    assert check.sinusoidal_by_hand(**lists).status == "not attempted"


@pytest.mark.parametrize("value", ["x", object(), {}, [[1], [2, 3]], 7, float("nan"), [[1j]], []])
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_rubbish_fails_without_an_exception(name, value):
    result, statuses = only(**{name: value})
    assert statuses == ["failed"]
    assert "The check itself broke" not in result.messages


@pytest.mark.parametrize(("named", "name", "value"), MISTAKES)
def test_no_message_shows_the_right_values(named, name, value):
    messages = only(**{name: value})[0].messages
    given = {f"{abs(x):.3f}"[1:] for x in np.ravel(value) if x not in (None, ...)}
    for right in np.unique(DECIMAL[name].round(3)):
        digits = f"{abs(right):.3f}"[1:]
        assert right in (0, 1) or digits in given or digits not in messages
