"""The check of exercise 13.2 passes what is right and names what is wrong."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import sympy
import torch

from llmbook import check

X = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0], [2.0, 1.0, 0.0]])
E = torch.tensor([[0.9, -0.4, 0.2], [0.8, 0.5, 0.1], [0.0, 1.0, 0.0]])
P = [2, 0, 1]


def attend(q, k=None, v=None):
    k, v = q if k is None else k, q if v is None else v
    return (q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v


def answer(x=X, p=P, e=E, /, **replaced):
    """Give a right answer, with some of its parts replaced."""
    p = list(p)
    with_positions = attend(x[p] + e) - attend(x + e)[p]
    return {
        "x": x,
        "permutation": p,
        "output": attend(x),
        "permuted_output": attend(x[p]),
        "positions": e,
        "violation": with_positions.abs().max(),
    } | replaced


def run(**parts):
    return check.permutation_equivariance(**parts)


# --- Right answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [p for p in permutations(range(3)) if p != (0, 1, 2)])
@pytest.mark.parametrize(
    "x",
    [X, X.double(), 1000 * X, torch.randn(3, 3, generator=torch.Generator().manual_seed(1))],
)
def test_every_permutation_passes(x, p):
    result = run(**answer(x, p, E.to(x.dtype) * x.abs().max()))
    assert result.passed, result
    assert len(result.outcomes) == 5


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.double().round(decimals=3),
        lambda x: [[round(float(e), 3) for e in row] for row in x],
        lambda x: sympy.Matrix(x.tolist()),
        lambda x: [[Fraction(e).limit_denominator(10**4) for e in row] for row in x.tolist()],
        lambda x: x.clone().requires_grad_(),
    ],
)
def test_right_answers_pass_in_any_form(form):
    parts = answer()
    for name in ("x", "output", "permuted_output", "positions"):
        parts[name] = form(parts[name])
    assert run(**parts).passed, run(**parts)


@pytest.mark.parametrize(
    "permutation",
    [
        (2, 0, 1),
        torch.tensor(P),
        np.array(P),
        torch.eye(3)[P],
        [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
        torch.eye(3, dtype=torch.bool)[P],
        [2.0, 0.0, 1.0],
    ],
)
def test_the_permutation_may_be_row_numbers_or_a_matrix(permutation):
    assert run(**answer(permutation=permutation)).passed


def test_integers_and_other_sizes_pass():
    x = torch.tensor([[1, 0], [0, 2], [3, 1], [1, 1]])
    e = torch.arange(8.0).reshape(4, 2)
    parts = answer(x.float(), (3, 1, 0, 2), e)
    assert run(**parts | {"x": x}).passed


def test_part_a_alone_is_right_so_far():
    result = run(**answer(positions=None, violation=None))
    assert result.status == "not attempted"
    assert [outcome.status for outcome in result.outcomes] == ["passed"] * 3 + ["not attempted"] * 2


def test_a_violation_still_to_be_computed_is_not_attempted():
    assert run(**answer(violation=...)).outcomes[-1].status == "not attempted"


# --- Wrong answers --------------------------------------------------------------------------------

M = X[P]
INVERSE = [1, 2, 0]
MOVED, STRAIGHT = attend(M + E), attend(X + E)
OFF = MOVED - STRAIGHT[P]
INVERTED = (attend(X[INVERSE] + E) - STRAIGHT[INVERSE]).abs().max()
COUNT = torch.arange(9.0).reshape(3, 3)
S = X @ X.T
MISTAKES = [
    # the example
    ("leaves every row where it is", answer(X, (0, 1, 2))),
    ("change places are equal, so that any", answer(torch.ones(3, 3))),
    ("change places are equal, so that any", answer(X[[0, 0, 1]], (1, 0, 2))),
    ("nearly the same weights", answer(1 + 1e-4 * X)),
    ("nearly the same weights", answer(1e-3 * X)),
    ("nearly all weight", answer(COUNT)),
    ("nearly all weight", answer(10 * COUNT)),
    ("nearly all weight", answer(COUNT + 1, (1, 0, 2))),
    ("from 0", answer(permutation=[3, 1, 2])),
    ("once", answer(permutation=[0, 0, 1])),
    ("once", answer(permutation=[0, 1])),
    ("once", answer(permutation=torch.ones(3, 3))),
    ("should be a 3 × 3 matrix", answer(x=[1, 2, 3])),
    ("NaN or ∞", answer(x=X / 0)),
    ("Pass `x` too", answer(x=None)),
    ("Pass `permutation` too", answer(permutation=None)),
    # attention
    ("not divided by √d_k", answer(output=S.softmax(-1) @ X)),
    ("divided by d_k; its", answer(output=(S / 3).softmax(-1) @ X)),
    ("over the columns", answer(output=(S / 3**0.5).softmax(0) @ X)),
    ("softmax is missing", answer(output=S / 3**0.5 @ X)),
    ("These are the weights", answer(output=(S / 3**0.5).softmax(-1))),
    ("These are the scores", answer(output=S / 3**0.5)),
    ("not divided by √d_k", answer(permuted_output=(M @ M.T).softmax(-1) @ M)),
    ("smallest and the largest", answer(output=X + 5)),
    ("The shape is (2, 3)", answer(output=attend(X)[:2])),
    # reordering
    ("the same as `output`", answer(permuted_output=attend(X))),
    ("the same as `output`", answer(permuted_output=attend(X, M, M))),
    ("inverse permutation", answer(permuted_output=attend(X[INVERSE]))),
    ("The columns were reordered, which", answer(permuted_output=attend(X[:, P]))),
    ("reordered with the rows", answer(permuted_output=attend(M[:, P]))),
    ("Only the keys", answer(permuted_output=attend(X, M, X))),
    ("Only the values", answer(permuted_output=attend(X, X, M))),
    ("the values were not", answer(permuted_output=attend(M, M, X))),
    ("the keys were not", answer(permuted_output=attend(M, X, M))),
    # positions
    ("Pass `positions` too", answer(positions=None)),
    ("wherever it stands", answer(positions=torch.ones(3, 3))),
    ("next to nothing", answer(positions=1e-6 * E)),
    ("The shape is (3,)", answer(positions=[0, 1, 2])),
    ("moved with the rows", answer(violation=0)),
    ("moved with the rows", answer(violation=1.2e-7)),
    ("without reordering one", answer(violation=(MOVED - STRAIGHT).abs().max())),
    ("without positions", answer(violation=(MOVED - attend(X)[P]).abs().max())),
    ("moved by the inverse permutation", answer(violation=INVERTED)),
    ("matched by the inverse", answer(violation=(MOVED - STRAIGHT[INVERSE]).abs().max())),
    ("mean absolute", answer(violation=OFF.abs().mean())),
    ("sum of the absolute", answer(violation=OFF.abs().sum())),
    ("norm of the difference", answer(violation=OFF.norm())),
    ("mean squared", answer(violation=OFF.square().mean())),
    ("by sign", answer(violation=OFF.max())),
    ("not a mistake known", answer(violation=7.7)),
]


@pytest.mark.parametrize(("named", "parts"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistakes_are_named(named, parts):
    result = run(**parts)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize("x", [0.3 * COUNT, COUNT - 4, COUNT * torch.eye(3), COUNT * (-1) ** COUNT])
def test_what_is_advised_against_saturation_helps(x):
    assert run(**answer(x)).passed


@pytest.mark.parametrize(
    "parts",
    [
        answer(permutation=[0, 0, 1]),
        answer(permutation=[0, 1, 2]),
        answer(permutation=None),
        answer(x=torch.ones(3, 3)),
        answer(COUNT),
    ],
)
def test_an_example_of_no_use_is_said_once(parts):
    result = run(**parts)
    assert len(result.outcomes) == 1
    assert len(result.notes) == 1
    assert "the rest is tested once" in result.notes[0]


def test_an_answer_for_the_inverse_permutation_is_named_in_both_places():
    parts = answer() | {"permutation": INVERSE}
    failed = [outcome for outcome in run(**parts).outcomes if outcome.status == "failed"]
    assert [outcome.name for outcome in failed] == ["permuted_output", "violation"]
    assert all("moved by the inverse permutation" in outcome.message for outcome in failed)


def test_the_mistakes_are_tested_on_an_example_that_tells_them_apart():
    assert run(**answer()).passed
    assert OFF.max() < OFF.abs().max()


# --- No answer, no sense, no leak -----------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, ...])
def test_an_untouched_answer_is_not_attempted(nothing):
    assert run(**dict.fromkeys(answer(), nothing)).status == "not attempted"
    assert run().status == "not attempted"
    assert run(x=X).status == "not attempted"


@pytest.mark.parametrize("value", ["x", object(), {}, [[1], [2, 3]], 7, float("nan"), [[1j]], []])
@pytest.mark.parametrize("name", answer())
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_rubbish_fails_without_an_exception(name, value):
    result = run(**answer(**{name: value}))
    assert result.status == "failed"
    assert "The check itself broke" not in result.messages


@pytest.mark.parametrize(("name", "wrong"), [("output", 9.87), ("permuted_output", 9.87)])
def test_no_message_shows_the_right_entries(name, wrong):
    parts = answer()
    right = parts[name].flatten().tolist()
    parts[name] = torch.full((3, 3), wrong)
    messages = run(**parts).messages
    assert messages
    assert not any(f"{entry:.2f}" in messages for entry in right)


def test_the_violation_is_not_given_away():
    right = float(answer()["violation"])
    messages = run(**answer(violation=7.7)).messages
    assert f"{right:.2f}" not in messages
