"""The check of exercise 13.26 takes any right map and fit, and names each known mistake."""

import math
import re

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check


def run(*functions, **answers):
    return check.sinusoidal_shift(*functions, **answers)


def outcomes(result, part):
    return [o for o in result.outcomes if o.name.startswith("fit") == (part == "fit")]


# --- Right answers, structurally different --------------------------------------------------------


def frequencies(d, base):
    return [base ** (-2 * i / d) for i in range(d // 2)]


def in_blocks(k, d_model, base=10_000):
    angles = k * torch.tensor(frequencies(d_model, base))
    cos, sin = angles.cos(), angles.sin()
    return torch.block_diag(
        *torch.stack([cos, sin, -sin, cos], dim=-1).view(-1, 2, 2)  # one block for each pair
    )


def entry_by_entry(k, d_model, base=10_000):
    m = [[0.0] * d_model for _ in range(d_model)]
    for i, w in enumerate(frequencies(d_model, base)):
        m[2 * i][2 * i] = m[2 * i + 1][2 * i + 1] = math.cos(k * w)
        m[2 * i][2 * i + 1] = math.sin(k * w)
        m[2 * i + 1][2 * i] = -math.sin(k * w)
    return m


def by_matrix_exponential(k, d_model, base=10_000):
    generator = torch.zeros(d_model, d_model, dtype=torch.float64)
    for i, w in enumerate(frequencies(d_model, base)):
        generator[2 * i, 2 * i + 1], generator[2 * i + 1, 2 * i] = w, -w
    return torch.matrix_exp(k * generator)


def encode(p, d, base=10_000):
    angles = np.outer(p, frequencies(d, base))
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(p), d)


def fitted_to_far_apart_positions(k, d_model, base=10_000):
    p = np.random.default_rng(0).integers(0, 30 * base, size=4 * d_model)
    return np.linalg.lstsq(encode(p, d_model, base), encode(p + k, d_model, base))[0].T


def exact(k, d_model, base=10_000):
    blocks = (
        sp.Matrix([[sp.cos(k * w), sp.sin(k * w)], [-sp.sin(k * w), sp.cos(k * w)]])
        for w in frequencies(d_model, base)
    )
    return sp.diag(*blocks)


def by_lstsq(before, after):
    return torch.linalg.lstsq(before, after).solution.T


def by_normal_equations(before, after):
    return torch.linalg.solve(before.T @ before, before.T @ after).T


def by_pseudoinverse_in_numpy(before, after):
    return after.numpy().T @ np.linalg.pinv(before.numpy().T)


def by_rows(before, after):
    return torch.stack([torch.linalg.pinv(before) @ column for column in after.T])


@pytest.mark.parametrize(
    "matrix",
    [in_blocks, entry_by_entry, by_matrix_exponential, fitted_to_far_apart_positions, exact],
)
def test_right_maps_pass(matrix):
    result = run(matrix)
    assert not result.messages
    assert [o.status for o in result.outcomes].count("passed") == 6


@pytest.mark.parametrize("fit", [by_lstsq, by_normal_equations, by_pseudoinverse_in_numpy, by_rows])
def test_right_fits_pass(fit):
    result = run(None, fit)
    assert not result.messages
    assert [o.status for o in result.outcomes].count("passed") == 3


ANSWERS = {
    "offset": [9, 9.0, torch.tensor(9)],
    "rows_needed": [64, np.int64(64)],
    "random_table": [False, np.bool_(False)],
}


@pytest.mark.parametrize(("name", "given"), [(n, g) for n, gs in ANSWERS.items() for g in gs])
def test_right_answers_pass_in_any_format(name, given):
    result = run(**{name: given})
    assert [outcome.status for outcome in result.outcomes].count("passed") == 1
    assert not result.messages


def test_everything_right_passes():
    values = {name: values[0] for name, values in ANSWERS.items()}
    assert run(in_blocks, by_lstsq, **values).passed


def test_the_offset_of_the_product():
    seven, five, three = (by_matrix_exponential(k, 6) for k in (7, 5, 3))
    assert torch.allclose(seven @ five @ three.T, by_matrix_exponential(9, 6))


@pytest.mark.parametrize("d", [4, 16])
def test_as_many_consecutive_positions_as_components_span_everything(d):
    # The determinant is far below what float64 resolves: 1e-128 at d = 16.
    with mpmath.workdps(200):
        w = [mpmath.mpf(10_000) ** (-mpmath.mpf(2 * i) / d) for i in range(d // 2)]
        table = [[f(p * x) for x in w for f in (mpmath.sin, mpmath.cos)] for p in range(d)]
        assert abs(mpmath.det(mpmath.matrix(table))) > mpmath.mpf(10) ** -140


# --- Wrong maps -----------------------------------------------------------------------------------


def halves(matrix):
    def learner(k, d_model, base=10_000):
        order = torch.arange(d_model).view(-1, 2).T.flatten()
        return matrix(k, d_model, base)[order][:, order]

    return learner


def with_frequencies(of):
    """Rotations at other frequencies: of(i, d, base)."""

    def learner(k, d_model, base=10_000):
        m = torch.zeros(d_model, d_model, dtype=torch.float64)
        for i in range(d_model // 2):
            c, s = math.cos(k * of(i, d_model, base)), math.sin(k * of(i, d_model, base))
            m[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor([[c, s], [-s, c]])
        return m

    return learner


def with_blocks(of):
    """Blocks of(c, s) for the right frequencies."""

    def learner(k, d_model, base=10_000):
        blocks = (of(math.cos(k * w), math.sin(k * w)) for w in frequencies(d_model, base))
        return torch.block_diag(*map(torch.tensor, blocks))

    return learner


def from_one_position(k, d_model, base=10_000):
    start, end = (torch.tensor(encode(np.array([p]), d_model, base)[0]) for p in (0, k))
    return torch.outer(end, start) / (d_model / 2)


def fitted_to_near_positions(k, d_model, base=10_000):
    p = np.arange(3)
    return np.linalg.lstsq(encode(p, d_model, base), encode(p + k, d_model, base))[0].T


def only_the_first_pair(k, d_model, base=10_000):
    m = torch.eye(d_model)
    m[:2, :2] = in_blocks(k, d_model, base)[:2, :2]
    return m


def wrong_pairs(i, d, b):
    return b ** (-i / max(d // 2 - 1, 1))


BACKWARD = "moves the encoding by −k"
MISTAKES = [
    (BACKWARD, lambda k, d, base=1e4: in_blocks(k, d, base).T),
    (BACKWARD, lambda k, d, base=1e4: in_blocks(-k, d, base)),
    (BACKWARD, with_blocks(lambda c, s: [[c, -s], [s, c]])),
    ("all sines first", halves(in_blocks)),
    ("Besides, it moves by −k", halves(lambda k, d, base: in_blocks(-k, d, base))),
    ("is a reflection", with_blocks(lambda c, s: [[c, s], [s, -c]])),
    ("is a reflection", with_blocks(lambda c, s: [[c, -s], [-s, -c]])),
    ("have the same sign", with_blocks(lambda c, s: [[c, s], [s, c]])),
    ("have the same sign", with_blocks(lambda c, s: [[c, -s], [-s, c]])),
    ("changed places", with_blocks(lambda c, s: [[s, c], [c, s]])),
    ("changed places", with_blocks(lambda c, s: [[s, c], [-c, s]])),
    ("changed places", with_blocks(lambda c, s: [[s, -c], [c, s]])),
    ("changed places", with_blocks(lambda c, s: [[s, c], [c, -s]])),
    ("changed places", with_blocks(lambda c, s: [[-s, c], [c, s]])),
    ("k has no effect", lambda k, d, base=1e4: in_blocks(1, d, base)),
    ("is the identity", lambda k, d, base=1e4: torch.eye(d)),
    ("built from one pair of encodings", from_one_position),
    ("or fitted, from some of them", fitted_to_near_positions),
    ("taken for degrees", with_frequencies(lambda i, d, b: math.radians(b ** (-2 * i / d)))),
    ("multiplied by 2π", with_frequencies(lambda i, d, b: 2 * math.pi * b ** (-2 * i / d))),
    ("Pairs are counted from 1", with_frequencies(lambda i, d, b: b ** (-2 * (i + 1) / d))),
    ("frequency of the first pair", with_frequencies(lambda i, d, b: 1.0)),
    ("wrong order", with_frequencies(lambda i, d, b: b ** (-2 * (d // 2 - 1 - i) / d))),
    ("half of what it should be", with_frequencies(lambda i, d, b: b ** (-i / d))),
    ("counted twice", with_frequencies(lambda i, d, b: b ** (-4 * i / d))),
    ("sign of the exponent", with_frequencies(lambda i, d, b: b ** (2 * i / d))),
    ("one pair too few", with_frequencies(wrong_pairs)),
    ("`base` has no effect", with_frequencies(lambda i, d, b: 1e4 ** (-2 * i / d))),
    ("Only the first pair", only_the_first_pair),
    ("two or three digits", lambda k, d, base=1e4: (in_blocks(k, d, base) * 99).round() / 99),
    ("shape", lambda k, d, base=1e4: in_blocks(k, d, base)[:2]),
    ("differs from PE(p + k) at p = 0", lambda k, d, base=1e4: 2 * in_blocks(k, d, base)),
    ("keeps lengths and angles", lambda k, d, base=1e4: 2 * in_blocks(k, d, base)),
    ("holds NaN", lambda k, d, base=1e4: torch.full((d, d), math.nan)),
    ("complex", lambda k, d, base=1e4: in_blocks(k, d, base) * 1j),
    ("is a `return` missing", lambda k, d, base=1e4: in_blocks(k, d, base).zero_() and None),
    ("raised TypeError", lambda k, d: in_blocks(k, d)),
]


def square(x, y):
    return x[: x.shape[1]], y[: x.shape[1]]


def centered(x, y):
    ones = torch.ones(len(x), 1).to(x)
    return torch.linalg.lstsq(torch.cat([x, ones], dim=1), y, driver="gelsd").solution[:-1].T


def in_two_by_two_blocks(x, y):
    pairs = zip(x.split(2, dim=1), y.split(2, dim=1), strict=True)
    return torch.block_diag(*(by_lstsq(*pair) for pair in pairs))


def procrustes(x, y):
    u, _, vh = torch.linalg.svd(y.T @ x)
    return u @ vh


def combined(k, d_model, base=10_000):
    return with_frequencies(lambda i, d, b: b ** (-i / d))(-k, d_model, base)


@pytest.mark.parametrize(("named", "matrix"), MISTAKES[:-2] + MISTAKES[-1:])
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_mistakes_in_the_map_are_named(named, matrix):
    result = run(matrix)
    assert result.status == "failed"
    assert named in result.messages


def test_two_mistakes_at_once_are_both_named():
    messages = run(combined).messages
    assert "half of what it should be" in messages
    assert BACKWARD in messages


@pytest.mark.parametrize(
    ("named", "fit"),
    [
        ("This is the transpose", lambda x, y: torch.linalg.lstsq(x, y).solution),
        ("takes `after` to `before`: the direction", lambda x, y: by_lstsq(y, x)),
        ("reversed", lambda x, y: by_lstsq(y, x)),
        ("and it is transposed", lambda x, y: torch.linalg.lstsq(y, x).solution),
        ("Only the first d rows are used: ", lambda x, y: by_lstsq(*square(x, y))),
        ("Only the first d rows are used, and", lambda x, y: torch.linalg.solve(*square(x, y))),
        ("are not divided by those", lambda x, y: y.T @ x),
        ("divided by the number of rows", lambda x, y: y.T @ x / len(x)),
        ("were transposed", lambda x, y: torch.linalg.lstsq(x.T, y.T).solution),
        ("were transposed", lambda x, y: torch.linalg.lstsq(x.T, y.T).solution.T),
        ("constant is fitted along", centered),
        ("Outside 2 × 2 blocks", in_two_by_two_blocks),
        ("This matrix is orthogonal", procrustes),
        ("tuple of 4 things", lambda x, y: tuple(torch.linalg.lstsq(x, y))),
        ("raised", lambda x, y: torch.linalg.solve(x, y)),
        ("entries are not", lambda x, y: torch.zeros(x.shape[1], x.shape[1])),
    ],
)  # fmt: skip
def test_mistakes_in_the_fit_are_named(named, fit):
    result = run(None, fit)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize(
    ("name", "given", "named"),
    [
        ("offset", 15, "You added all three"),
        ("offset", -9, "direction is not"),
        ("offset", 105, "not multiplied"),
        ("offset", 5, "not to the middle one"),
        ("offset", 1, "not to the first"),
        ("offset", -15, "last factor alone"),
        ("offset", -1, "only one of the three goes back"),
        ("rows_needed", 32, "two components"),
        ("rows_needed", 1, "nothing is assumed"),
        ("rows_needed", 2, "span a plane"),
        ("rows_needed", 4096, "one equation for each row"),
        ("rows_needed", 65, "about the rows of `before`"),
        ("rows_needed", 63, "one too few"),
        ("random_table", True, "Nothing is left to choose"),
        ("random_table", "no", "Choose one of"),
    ],
)
def test_wrong_answers_are_diagnosed(name, given, named):
    result = run(**{name: given})
    assert result.status == "failed"
    assert named in result.messages


# --- No answer, no sense, no leak -----------------------------------------------------------------


def matrix_placeholder(k, d_model, base=10_000): ...  # your code


def fit_placeholder(before, after): ...  # your code


@pytest.mark.parametrize(
    "nothing", [(), (None, None), (..., ...), (matrix_placeholder, fit_placeholder)]
)
def test_an_untouched_answer_is_not_attempted(nothing):
    result = run(*nothing, **dict.fromkeys(ANSWERS))
    assert result.status == "not attempted"
    assert not result.notes


@pytest.mark.parametrize(
    "rubbish", [3, "matrix", torch.eye(2), lambda: 0, lambda *a, **k: "x", lambda *a, **k: [1, [2]]]
)
def test_rubbish_fails_without_an_exception(rubbish):
    result = run(rubbish, rubbish, offset="nine", rows_needed=[64], random_table=torch.zeros(2))
    assert {outcome.status for outcome in result.outcomes} == {"failed"}
    assert "broke" not in result.messages


def test_the_answer_is_not_leaked():
    messages = run(
        lambda k, d, base=1e4: torch.full((d, d), 0.123),
        lambda x, y: torch.full((x.shape[1], x.shape[1]), 0.123),
        offset=1000, rows_needed=1000,
    ).messages  # fmt: skip
    assert messages.count("not a mistake known here") == 2
    for answer in ("0.8415", "0.5403", "sin(", "cos("):
        assert answer not in messages
    for answer in ("9", "64"):
        assert not re.search(rf"\b{answer}\b", run(offset=1000, rows_needed=1000).messages)
