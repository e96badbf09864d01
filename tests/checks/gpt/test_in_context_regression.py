"""The check of exercise 13.8: right yardsticks pass, known mistakes are named."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch
from sklearn.linear_model import Ridge

from llmbook import check

D, NOISE, N = 4, 0.5, 16
RIGHT = {
    "what_changes": ["activations", " Activations "],
    "without_examples": [1.25, np.float32(1.25), torch.tensor(1.25), sympy.Rational(5, 4)],
    "least_squares_16": [Fraction(15, 44), 0.341, 0.3409, 0.34],
    "finite_from": [6, 6.0, torch.tensor(6)],
}


# --- Right answers --------------------------------------------------------------------------------


def by_cumulative_sums(x, y, ridge):
    products = x[..., :, None] * x[..., None, :]
    gram = products.cumsum(-3) - products + ridge * torch.eye(x.shape[-1], dtype=x.dtype)
    moments = x * y[..., None]
    w = torch.linalg.solve(gram, moments.cumsum(-2) - moments)
    return (w * x).sum(-1)


def by_a_loop(x, y, ridge):
    out = torch.zeros(y.shape, dtype=y.dtype)
    for i in range(1, x.shape[-2]):
        a, b = x[..., :i, :], y[..., :i, None]
        w = torch.inverse(a.mT @ a + ridge * torch.eye(x.shape[-1], dtype=x.dtype)) @ (a.mT @ b)
        out[..., i] = (x[..., i, :] * w[..., 0]).sum(-1)
    return out


def by_kernel(x, y, ridge):
    """The dual form: as many equations as examples."""
    rows = [torch.zeros_like(y[..., 0])]
    for i in range(1, x.shape[-2]):
        a, b = x[..., :i, :], y[..., :i, None]
        alpha = torch.linalg.solve(a @ a.mT + ridge * torch.eye(i, dtype=x.dtype), b)
        rows.append((x[..., i : i + 1, :] @ a.mT @ alpha)[..., 0, 0])
    return torch.stack(rows, dim=-1)


def by_recursive_least_squares(x, y, ridge):
    """Sherman and Morrison: the inverse is updated with every example."""
    inverse = torch.eye(x.shape[-1], dtype=x.dtype).expand(*x.shape[:-2], -1, -1) / ridge
    w, out = torch.zeros_like(x[..., 0, :]), []
    for i in range(x.shape[-2]):
        v = x[..., i, :]
        out.append((w * v).sum(-1))
        u = (inverse @ v[..., None])[..., 0]
        gain = u / (1 + (u * v).sum(-1, keepdim=True))
        w = w + gain * (y[..., i] - out[-1])[..., None]
        inverse = inverse - gain[..., :, None] * u[..., None, :]
    return torch.stack(out, dim=-1)


def by_scikit_learn(x, y, ridge):
    out = np.zeros(y.shape)
    for place in np.ndindex(*y.shape[:-1]):
        xs, ys = x[place].numpy(), y[place].numpy()
        for i in range(1, len(ys)):
            fitted = Ridge(alpha=ridge, fit_intercept=False).fit(xs[:i], ys[:i])
            out[(*place, i)] = fitted.predict(xs[i : i + 1])[0]
    return out


@pytest.mark.parametrize(
    "predict",
    [
        by_cumulative_sums,
        by_a_loop,
        by_kernel,
        by_recursive_least_squares,
        by_scikit_learn,
        lambda x, y, ridge: by_a_loop(x, y, ridge).tolist(),
        lambda x, y, ridge: by_kernel(x.double(), y.double(), ridge),
    ],
)
def test_right_predictors_pass(predict):
    result = check.in_context_regression(predict)
    assert [o.status for o in result.outcomes if o.name.startswith("(b)")].count("passed") == 4
    assert not result.messages


@pytest.mark.parametrize(
    "best",
    [
        lambda d, noise: d * noise**2,
        lambda d, noise: noise**2 / (1 / d),
        lambda d, noise: torch.tensor(noise).square() * d,
        lambda d, noise: np.float64(noise) ** 2 * d,
        lambda d, noise: sympy.Float(noise) ** 2 * d,
    ],
)
def test_right_ridges_pass(best):
    result = check.in_context_regression(ridge_for=best)
    assert [o.status for o in result.outcomes].count("passed") == 1
    assert not result.messages


@pytest.mark.parametrize(("name", "given"), [(n, g) for n, gs in RIGHT.items() for g in gs])
def test_right_answers_pass_in_any_format(name, given):
    result = check.in_context_regression(**{name: given})
    assert [outcome.status for outcome in result.outcomes].count("passed") == 1
    assert not result.messages


def test_everything_right_passes():
    answers = {name: values[0] for name, values in RIGHT.items()}
    assert check.in_context_regression(by_a_loop, lambda d, s: d * s * s, **answers).passed


def test_the_numbers_are_what_a_simulation_gives():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_000, N + 1, D))
    w = rng.standard_normal((20_000, D, 1)) / math.sqrt(D)
    y = (x @ w)[..., 0] + NOISE * rng.standard_normal((20_000, N + 1))
    assert np.mean(y[:, -1] ** 2) == pytest.approx(float(RIGHT["without_examples"][0]), rel=0.03)
    found = np.linalg.pinv(x[:, :N]) @ y[:, :N, None]
    errors = (x[:, N:] @ found)[:, 0, 0] - y[:, N]
    assert np.mean(errors**2) == pytest.approx(float(RIGHT["least_squares_16"][0]), rel=0.03)


# --- Mistakes -------------------------------------------------------------------------------------


def fit(x, y, ridge, rows, shift=0):
    """Loop over the inputs with the examples `rows(i)`."""
    out = []
    for i in range(x.shape[-2]):
        a, b = x[..., rows(i), :], y[..., rows(i), None]
        gram = a.mT @ a + ridge * torch.eye(x.shape[-1], dtype=x.dtype)
        w = torch.linalg.pinv(gram) @ (a.mT @ b)
        out.append((x[..., max(i + shift, 0), :] * w[..., 0]).sum(-1))
    return torch.stack(out, dim=-1)


def before(i):
    return slice(0, i)


def one_task_for_all(x, y, ridge):
    out = torch.zeros_like(y)
    for i in range(1, x.shape[-2]):
        a, b = x[..., :i, :].reshape(-1, x.shape[-1]), y[..., :i].reshape(-1)
        w = torch.linalg.solve(a.T @ a + ridge * torch.eye(x.shape[-1], dtype=x.dtype), a.T @ b)
        out[..., i] = x[..., i, :] @ w
    return out


def with_intercept(x, y, ridge):
    out = np.zeros(y.shape)
    for place in np.ndindex(*y.shape[:-1]):
        xs, ys = x[place].numpy(), y[place].numpy()
        for i in range(1, len(ys)):
            fitted = Ridge(alpha=ridge).fit(xs[:i], ys[:i])
            out[(*place, i)] = fitted.predict(xs[i : i + 1])[0]
    return out


def mean_loss(x, y, ridge):
    rows = [fit(x, y, ridge * max(i, 1), before)[..., i] for i in range(x.shape[-2])]
    return torch.stack(rows, dim=-1)


def all_others(x, y, ridge):
    def rows(i):
        return [j for j in range(x.shape[-2]) if j != i]

    return fit(x, y, ridge, rows)


def sums(x, y, ridge, diagonal=True, grams=0, moments=0):
    """By running sums, some of which include the example itself."""
    products, answers = x[..., :, None] * x[..., None, :], x * y[..., None]
    gram = products.cumsum(dim=-3) - (1 - grams) * products
    moment = answers.cumsum(dim=-2) - (1 - moments) * answers
    d = x.shape[-1]
    penalty = ridge * torch.eye(d) if diagonal else torch.full((d, d), ridge) + 1e-6 * torch.eye(d)
    return (torch.linalg.solve(gram + penalty.to(x.dtype), moment) * x).sum(dim=-1)


def with_column_of_ones(x, y, ridge):
    return by_a_loop(torch.cat([x, torch.ones_like(x[..., :1])], dim=-1), y, ridge)


def over_the_batch(x, y, ridge):
    products, answers = x[..., :, None] * x[..., None, :], x * y[..., None]
    gram, moment = products.cumsum(dim=0) - products, answers.cumsum(dim=0) - answers
    w = torch.linalg.solve(gram + ridge * torch.eye(x.shape[-1], dtype=x.dtype), moment)
    return (w * x).sum(dim=-1)


def shifted(x, y, ridge):
    right = by_a_loop(x, y, ridge)
    return torch.cat([right[..., :1], right[..., :-1]], dim=-1)


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda x, y, r: fit(x, y, r, lambda i: slice(0, i + 1)), "includes the example itself"),
        (lambda x, y, r: fit(x, y, r, lambda i: slice(None)), "One fit on all examples"),
        (all_others, "those that come later are not known yet"),
        (lambda x, y, r: fit(x, y, r, lambda i: slice(0, max(i - 1, 0))), "is left out"),
        (lambda x, y, r: fit(x, y, 0.0, before), "ordinary least squares"),
        (mean_loss, "grows with the number of examples"),
        (lambda x, y, r: fit(x, y, r * x.shape[-2], before), "length of the whole prompt"),
        (lambda x, y, r: fit(x, y, r**2, before), "The ridge is squared"),
        (lambda x, y, r: fit(x, y, math.sqrt(r), before), "root of the ridge"),
        (lambda x, y, r: fit(x, y, -r, before), "wrong sign"),
        (lambda x, y, r: fit(x, y, 2 * r, before), "counts twice"),
        (lambda x, y, r: fit(x, y, r / 2, before), "counts half"),
        (lambda x, y, r: sums(x, y, r, diagonal=False), "on the diagonal"),
        (lambda x, y, r: sums(x, y, r, grams=1), "The sum of `x xᵀ` includes"),
        (lambda x, y, r: sums(x, y, r, moments=1), "The sum of `x y` includes"),
        (lambda x, y, r: x, "like weights"),
        (one_task_for_all, "share one fit"),
        (with_intercept, "has an intercept"),
        (with_column_of_ones, "has an intercept"),
        (over_the_batch, "run over the prompts"),
        (shifted, "the input before"),
        (lambda x, y, r: fit(x, y, r, before, shift=-1), "the input before"),
        (lambda x, y, r: by_a_loop(x, y, r) - y, "errors of the predictions"),
        (lambda x, y, r: y - by_a_loop(x, y, r), "errors of the predictions"),
        (lambda x, y, r: by_a_loop(x, y, r)[..., None], "without a last dimension of 1"),
        (lambda x, y, r: by_a_loop(x, y, r)[..., -1], "one prediction a prompt"),
        (lambda x, y, r: by_a_loop(x, y, r) + 1.0, "without an example the weights are 0"),
        (lambda x, y, r: y, "change predictions"),
        (lambda x, y, r: x @ y, "Your code raised"),
    ],
)
def test_wrong_predictors_are_diagnosed(predict, message):
    result = check.in_context_regression(predict)
    assert result.status == "failed"
    assert message in result.messages


@pytest.mark.parametrize(
    ("best", "message"),
    [
        (lambda d, s: s**2, "variance of the noise"),
        (lambda d, s: s * d, "enters by its standard deviation"),
        (lambda d, s: s**2 / d, "in the numerator"),
        (lambda d, s: 1 / (d * s**2), "the inverse"),
        (lambda d, s: s**2 * math.sqrt(d), "weights enter by their standard deviation"),
        (lambda d, s: s * math.sqrt(d), "Standard deviations are compared"),
        (lambda d, s: d * s**2 / 2, "half of it"),
        (lambda d, s: 2 * d * s**2, "twice as much"),
        (lambda d, s: 1.0, "posterior density"),
        (lambda d, s: [1.0, 2.0], "should return one number"),
    ],
)
def test_wrong_ridges_are_diagnosed(best, message):
    result = check.in_context_regression(ridge_for=best)
    assert result.status == "failed"
    assert message in result.messages


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("what_changes", "weights", "fine-tuning"),
        ("what_changes", "both", "The same weights serve"),
        ("what_changes", "neither", "differed between two prompts"),
        ("what_changes", "tokens", "Choose one of"),
        ("without_examples", 1, "without its noise"),
        ("without_examples", 0.25, "the noise alone"),
        ("without_examples", 1.5, "by its variance"),
        ("without_examples", 4.25, "a weight has the variance"),
        ("without_examples", 4, "without the noise"),
        ("without_examples", 1.118, "root of the mean"),
        ("without_examples", 2.25, "counted twice"),
        ("least_squares_16", 0.0909, "error of the estimate alone"),
        ("least_squares_16", 0.3125, "inputs that were examples"),
        ("least_squares_16", 1 / 3, "degree of freedom"),
        ("least_squares_16", 0.2727, "factor d is missing"),
        ("least_squares_16", 0.1875, "training error"),
        ("least_squares_16", 0.25, "noise alone"),
        ("least_squares_16", 0.6818, "by its variance"),
        ("least_squares_16", 0.5839, "root of the mean"),
        ("finite_from", 4, "as many examples as weights"),
        ("finite_from", 5, "one more than weights"),
        ("finite_from", 7, "finite earlier than that"),
        ("finite_from", 8, "twice as many"),
    ],
)
def test_wrong_answers_are_diagnosed(name, given, message):
    result = check.in_context_regression(**{name: given})
    assert result.status == "failed"
    assert message in result.messages


def test_placeholders_are_not_attempted():
    def predict_by_ridge(x, y, ridge): ...  # your code

    def ridge_for(d, noise): ...  # your code

    result = check.in_context_regression(predict_by_ridge, ridge_for, **dict.fromkeys(RIGHT))
    assert result.status == "not attempted"
    assert not result.messages


@pytest.mark.parametrize("rubbish", ["many", [1, "a"], float("nan"), -3, object()])
def test_rubbish_fails_without_an_exception(rubbish):
    result = check.in_context_regression(rubbish, rubbish, **dict.fromkeys(RIGHT, rubbish))
    assert {outcome.status for outcome in result.outcomes} == {"failed"}
    assert "broke" not in result.messages
    given = check.in_context_regression(lambda *a: rubbish, lambda *a: rubbish)
    assert given.status == "failed"
    assert "broke" not in given.messages


def test_the_answer_is_not_leaked():
    names = [name for name in RIGHT if name != "what_changes"]
    result = check.in_context_regression(
        lambda x, y, ridge: torch.full(y.shape, 7.0),
        lambda d, noise: 7.0,
        **dict.fromkeys(names, 7777),
    )
    for answer in ("1.25", "0.34", "15/44", "d * noise", "noise²"):
        assert answer not in result.messages
