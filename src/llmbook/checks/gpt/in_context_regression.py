"""Check of exercise 13.8, in-context learning of linear regression."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    expect_shape,
    show_value,
    to_tensor,
)

D, NOISE, N = 4, 0.5, 16  # of the questions in numbers


def in_context_regression(
    predict_by_ridge: Callable[..., Tensor] | None = None,
    ridge_for: Callable[[int, float], float] | None = None,
    *,
    what_changes: str | None = None,
    without_examples: float | None = None,
    least_squares_16: float | None = None,
    finite_from: float | None = None,
) -> Result:
    """Check the yardsticks of in-context linear regression. Any subset may be passed.

    Parameters
    ----------
    predict_by_ridge
        ``predict_by_ridge(x, y, ridge)``: x (..., n, d), y (..., n), ridge a number above 0;
        returns (..., n). Entry i is the prediction of ``y[..., i]`` by ridge regression, without an
        intercept, on the examples before it: those with a smaller index, of the same prompt. The
        penalty is ``ridge`` times the squared length of the weights, added to the *sum* of squared
        errors.
    ridge_for
        ``ridge_for(d, noise)``: the ridge with the smallest mean squared error, if the d weights
        of a task are drawn from the normal distribution of mean 0 and variance 1 / d, and the
        errors of the answers from that of mean 0 and standard deviation ``noise``.
    what_changes
        While a model learns in context, what changes? "weights", "activations", "both" or
        "neither".
    without_examples
        The least mean squared error that is possible without any example; d = 4, noise 0.5, and
        the error counts against the noisy answer.
    least_squares_16
        The mean squared error of ordinary least squares on 16 examples, in the same setting.
    finite_from
        The smallest number of examples above d = 4 for which that mean is finite.
    """
    session = Session("in_context_regression", predict_by_ridge)
    session.choice(
        "(a) what changes",
        what_changes,
        "activations",
        {
            "weights": "That is fine-tuning. Here the examples are nothing but input: who would "
            "update the weights, and by which gradient?",
            "both": "The same weights serve the next prompt, with another task, right afterwards. "
            "Is anything left in them of this one?",
            "neither": "If nothing differed between two prompts, neither would the predictions.",
        },
    )
    _check_ridge(session, predict_by_ridge)
    _check_best_ridge(session, ridge_for)
    _check_errors(session, without_examples, least_squares_16, finite_from)
    return session.result()


# --- (b): ridge regression on what came before ----------------------------------------------------


def _fit(x: Tensor, y: Tensor, ridge: float, rows: Callable[[int], slice]) -> Tensor:
    """Predict every x[i] from the examples `rows(i)`: least squares, the penalty as more rows."""
    n, d = x.shape[-2:]
    if x.ndim > 2:
        return torch.stack([_fit(*prompt, ridge, rows) for prompt in zip(x, y, strict=True)])
    x, y = x.double(), y.double()
    out = []
    for i in range(n):
        seen = rows(i)
        a = torch.cat([x[seen], math.sqrt(ridge) * torch.eye(d, dtype=x.dtype)])
        b = torch.cat([y[seen], torch.zeros(d, dtype=x.dtype)])
        out.append(x[i] @ (torch.linalg.pinv(a) @ b))
    return torch.stack(out)


def _before(i: int) -> slice:
    return slice(0, i)


def _mistakes(x: Tensor, y: Tensor, ridge: float) -> list[Mistake]:
    def per_example(of: Callable[[int], float]) -> Tensor:
        """The predictions when the ridge depends on the number of examples."""
        rows = [_fit(x, y, of(i), _before)[..., i] for i in range(x.shape[-2])]
        return torch.stack(rows, dim=-1)

    def pooled() -> Tensor:
        """All prompts together, as if they had one task."""
        out = torch.zeros(y.shape, dtype=torch.double)
        for i in range(x.shape[-2]):
            seen = x[..., :i, :].reshape(-1, x.shape[-1]), y[..., :i].reshape(-1)
            for at in range(len(x)):
                asked = torch.cat([seen[0], x[at, i : i + 1]]), torch.cat([seen[1], y[at, :1]])
                out[at, i] = _fit(*asked, ridge, _before)[-1]
        return out

    def centered() -> Tensor:
        """With an intercept that is not penalized."""
        flat_x, flat_y = x.double().flatten(0, -3), y.double().flatten(0, -2)
        out = torch.zeros(flat_y.shape, dtype=torch.double)
        for row, (xs, ys) in enumerate(zip(flat_x, flat_y, strict=True)):
            for i in range(1, len(ys)):
                middle, level = xs[:i].mean(dim=0), ys[:i].mean()
                asked = torch.cat([xs[:i] - middle, xs[i : i + 1] - middle])
                answers = torch.cat([ys[:i] - level, ys[:1]])
                out[row, i] = level + _fit(asked, answers, ridge, _before)[-1]
        return out.view(y.shape)

    right = _fit(x, y, ridge, _before)
    identity = torch.eye(x.shape[-1], dtype=torch.double)
    return [
        Mistake(
            "Each prediction has seen the answer that it predicts: the fit includes the example "
            "itself.",
            lambda: _fit(x, y, ridge, lambda i: slice(0, i + 1)),
        ),
        Mistake(
            "One fit on all examples of the prompt is used for every prediction: it has seen the "
            "answers, and those that come later.",
            lambda: _fit(x, y, ridge, lambda i: slice(None)),
        ),
        Mistake(
            "All but the example itself are used: those that come later are not known yet.",
            lambda: torch.stack(
                [
                    _fit(
                        torch.cat([x[..., :i, :], x[..., i + 1 :, :], x[..., i : i + 1, :]], -2),
                        torch.cat([y[..., :i], y[..., i + 1 :], y[..., i : i + 1]], -1),
                        ridge,
                        _before,
                    )[..., -1]
                    for i in range(x.shape[-2])
                ],
                dim=-1,
            ),
        ),
        Mistake(
            "The last example before the query is left out: entry i has i examples before it.",
            lambda: _fit(x, y, ridge, lambda i: slice(0, max(i - 1, 0))),
        ),
        Mistake(
            "The ridge makes no difference: this is ordinary least squares.",
            lambda: _fit(x, y, 0.0, _before),
        ),
        Mistake(
            "The penalty grows with the number of examples: it belongs to the sum of the squared "
            "errors, not to their mean.",
            lambda: per_example(lambda i: ridge * max(i, 1)),
        ),
        Mistake(
            "The penalty grows with the length of the whole prompt: it belongs to the sum of the "
            "squared errors, not to their mean.",
            lambda: _fit(x, y, ridge * x.shape[-2], _before),
        ),
        Mistake(
            "The ridge is squared: it is used as it is.", lambda: _fit(x, y, ridge**2, _before)
        ),
        Mistake(
            "It is the root of the ridge that is used; use the ridge itself.",
            lambda: _fit(x, y, math.sqrt(ridge), _before),
        ),
        Mistake(
            "The ridge has the wrong sign: it makes the weights larger, not smaller.",
            lambda: _solve(x, y, -ridge * identity),
        ),
        Mistake(
            "The ridge is added to every entry of the matrix; it belongs on the diagonal.",
            lambda: _solve(x, y, torch.full_like(identity, ridge)),
        ),
        Mistake("The ridge counts twice.", lambda: _solve(x, y, 2 * ridge * identity)),
        Mistake("The ridge counts half.", lambda: _solve(x, y, ridge / 2 * identity)),
        Mistake(
            "The sum of `x xᵀ` includes the example itself, that of `x y` does not.",
            lambda: _solve(x, y, ridge * identity, grams=1),
        ),
        Mistake(
            "The sum of `x y` includes the example itself, that of `x xᵀ` does not.",
            lambda: _solve(x, y, ridge * identity, moments=1),
        ),
        Mistake(
            "All prompts of the batch share one fit, but each of them is a task of its own.", pooled
        ),
        Mistake(
            "The fit has an intercept: the tasks have none.",
            centered,
        ),
        Mistake(
            "The fit has an intercept: the tasks have none.",
            lambda: _fit(torch.cat([x, torch.ones_like(x[..., :1])], dim=-1), y, ridge, _before),
        ),
        Mistake(
            "The sums run over the prompts of the batch; they should run over the examples of one "
            "prompt.",
            lambda: _solve(x.transpose(0, -2), y.transpose(0, -1), ridge * identity).transpose(
                0, -1
            ),
        ),
        Mistake(
            "The weights are applied to the input before: entry i is for input i.",
            lambda: _solve(x, y, ridge * identity, query=-1),
        ),
        Mistake(
            "The weights are applied to the input before: entry i is for input i.",
            lambda: torch.cat([right[..., :1], right[..., :-1]], dim=-1),
        ),
        Mistake("These are the errors of the predictions, not the predictions.", lambda: right - y),
        Mistake("These are the errors of the predictions, not the predictions.", lambda: y - right),
    ]


def _solve(
    x: Tensor, y: Tensor, penalty: Tensor, grams: int = 0, moments: int = 0, query: int = 0
) -> Tensor:
    """By normal equations with any penalty; the two sums run on for so many examples too many."""
    x, y = x.double(), y.double()
    out = []
    for i in range(x.shape[-2]):
        a, b, c = x[..., : i + grams, :], x[..., : i + moments, :], y[..., : i + moments, None]
        w = torch.linalg.pinv(a.mT @ a + penalty) @ (b.mT @ c)
        out.append((x[..., max(i + query, 0), :] * w[..., 0]).sum(dim=-1))
    return torch.stack(out, dim=-1)


def _check_ridge(session: Session, predict: Any) -> None:
    def compare(x: Tensor, y: Tensor, ridge: float) -> None:
        got = session.call(predict, x, y, ridge)
        expected = _fit(x, y, ridge, _before)
        tensor = to_tensor(got)
        if tensor.shape == (*expected.shape, 1):
            raise Failure(
                f"The shape is {tuple(tensor.shape)}; it should be {tuple(expected.shape)}, "
                "without a last dimension of 1."
            )
        if tensor.shape == x.shape:
            raise Failure(
                "That has the shape of the inputs, like weights: one vector for each of them. "
                "The question asks for one prediction for each."
            )
        if x.shape[-2] > 1 and tensor.shape == expected[..., -1].shape:
            raise Failure(
                "That is one prediction a prompt; the question asks for one for every input, each "
                "from the examples before it."
            )
        expect_shape(tensor, expected.shape, {"x": x, "y": y, "ridge": ridge})
        expect_close(
            tensor,
            expected,
            inputs={"x": x, "y": y, "ridge": ridge},
            mistakes=_mistakes(x, y, ridge),
            properties={
                "without an example the weights are 0, and so is the prediction": lambda out: bool(
                    out[..., 0].abs().max() < 1e-6
                )
            },
            rtol=1e-3,
            atol=1e-4,
        )

    @session.test("(b) three examples in one dimension")
    def _() -> None:
        compare(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[2.0, 3.0, 7.0]]), 0.6)

    @session.test("(b) two prompts in three dimensions")
    def _() -> None:
        compare(torch.randn(2, 6, 3), torch.randn(2, 6), 0.7)

    @session.test("(b) other shapes: one prompt, one input, two batch dimensions, float64")
    def _() -> None:
        compare(torch.randn(5, 2), torch.randn(5), 3.0)
        compare(torch.randn(3, 1, 4), torch.randn(3, 1), 0.3)
        x = torch.randn(2, 2, 4, 3, dtype=torch.double).mT
        compare(x, torch.randn(2, 2, 3, dtype=torch.double), 0.4)

    @session.test("(b) no prediction depends on its answer or a later one")
    def _() -> None:
        x, y = torch.randn(1, 6, 2), torch.randn(1, 6)
        later = y.clone()
        later[:, 3:] += 10
        first, second = (to_tensor(session.call(predict, x, given, 0.5)) for given in (y, later))
        expect_shape(first, y.shape)
        expect_shape(second, y.shape)
        if not torch.allclose(first[:, :4], second[:, :4], atol=1e-4):
            raise Failure(
                "Other answers from index 3 on change predictions up to index 3, which are to be "
                "made before these answers are known."
            )


def _check_best_ridge(session: Session, ridge_for: Any) -> None:
    @session.test("(b) the best ridge")
    def _() -> None:
        wrong: dict[str, Callable[[int, float], float]] = {
            "This is the variance of the noise. It would be right for weights of variance 1.": (
                lambda d, s: s**2
            ),
            "The noise enters by its standard deviation; it is variances that are compared.": (
                lambda d, s: s * d
            ),
            "This has the variance of the weights in the numerator: should large weights be "
            "penalized more, or less, if large weights are common?": lambda d, s: s**2 / d,
            "This is the inverse: should one trust the examples more, or less, when they are "
            "noisier?": lambda d, s: 1 / (d * s**2),
            "The weights enter by their standard deviation; it is variances that are compared.": (
                lambda d, s: s**2 * math.sqrt(d)
            ),
            "Standard deviations are compared here; compare variances.": (
                lambda d, s: s * math.sqrt(d)
            ),
            "This is half of it: is the factor 1/2 in front of both terms, or of one?": (
                lambda d, s: d * s**2 / 2
            ),
            "This is twice as much: is the factor 1/2 in front of both terms, or of one?": (
                lambda d, s: 2 * d * s**2
            ),
        }
        for d, noise in ((6, 0.3), (3, 2.0), (10, 0.7), (1, 0.2)):
            value = to_tensor(session.call(ridge_for, d, noise), "the output of `ridge_for`")
            if value.numel() != 1 or value.is_complex():
                raise Failure(f"`ridge_for` should return one number; got {show_value(value)}.")
            given = float(value)
            if math.isclose(given, d * noise**2, rel_tol=1e-4):
                continue
            for message, other in wrong.items():
                if math.isclose(given, other(d, noise), rel_tol=1e-4):
                    raise Failure(message)
            raise Failure(
                f"For d = {d} and noise {noise} the value {given:g} is not right. What does the "
                "logarithm of the posterior density of the weights look like?"
            )


# --- (c): errors that can be computed in the head -------------------------------------------------


def _check_errors(
    session: Session, without_examples: Any, least_squares_16: Any, finite_from: Any
) -> None:
    variance = NOISE**2
    session.number(
        "(c) error without examples",
        without_examples,
        1 + variance,
        mistakes={
            "That is the error against the answer without its noise; the error counts against "
            "the noisy one.": 1.0,
            "That is the noise alone: nothing is known of the task yet.": variance,
            "The noise enters by its variance, not by its standard deviation.": 1 + NOISE,
            "That is for weights of variance 1: a weight has the variance 1 / d.": D + variance,
            "That is for weights of variance 1, and without the noise.": float(D),
            "That is the root of the mean squared error.": math.sqrt(1 + variance),
            "Something is counted twice: the best guess without an example is 0.": 2 + variance,
        },
    )
    free = N - D - 1
    session.number(
        "(c) least squares from 16 examples",
        least_squares_16,
        variance * (1 + D / free),
        mistakes={
            "That is the error of the estimate alone: the noise of the new answer comes on "
            "top.": variance * D / free,
            "That is the error at inputs that were examples. At a new input it is larger: the mean "
            "of an inverse is not the inverse of the mean.": variance * (1 + D / N),
            "One degree of freedom is missing: look up the mean of an inverse Wishart "
            "matrix.": variance * (1 + D / (N - D)),
            "The factor d is missing: the mean is that of a trace.": variance * (1 + 1 / free),
            "That is the training error, at the examples themselves.": variance * (1 - D / N),
            "That is the noise alone; the weights are not known exactly.": variance,
            "The noise enters by its variance, not by its standard deviation.": NOISE
            * (1 + D / free),
            "That is the root of the mean squared error.": math.sqrt(variance * (1 + D / free)),
        },
        rtol=4e-3,
    )
    session.number(
        "(c) finite from so many examples on",
        finite_from,
        D + 2,
        rtol=0,
        mistakes={
            "With as many examples as weights there is a solution, but its mean squared error is "
            "not finite.": D,
            "With one more than weights the matrix to invert is still too often close to "
            "singular.": D + 1,
            "It is finite earlier than that.": D + 3,
            "It is finite earlier: twice as many examples as weights are not needed.": 2 * D,
        },
    )
