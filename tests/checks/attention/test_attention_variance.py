"""The check of exercise 13.3: right formulas pass in any dress, known mistakes are named."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch

from llmbook import check


def by_definition(d_k, var_q, var_k, mean_q, mean_k):
    """E[q²k²] - E[qk]² for one product, times d_k."""
    return d_k * ((var_q + mean_q**2) * (var_k + mean_k**2) - mean_q**2 * mean_k**2)


def by_terms(d_k, var_q, var_k, mean_q, mean_k):
    total = 0.0
    for _ in range(d_k):
        total += var_q * var_k + var_q * mean_k**2 + var_k * mean_q**2
    return total


def by_standard_deviations(d_k, var_q, var_k, mean_q, mean_k):
    ones = torch.ones(d_k)
    both = ones * math.sqrt(var_q) * math.sqrt(var_k)
    left, right = ones * math.sqrt(var_q) * mean_k, ones * math.sqrt(var_k) * mean_q
    return (both @ both + left @ left + right @ right)[None]


def by_sympy(d_k, *moments):
    return d_k * sum(map(sympy.nsimplify, terms(*moments)))


def terms(var_q, var_k, mean_q, mean_k):
    return var_q * var_k, var_q * mean_k**2, var_k * mean_q**2


def by_fractions(d_k, *moments):
    return Fraction(d_k) * sum(terms(*map(Fraction, moments)))


@pytest.mark.parametrize(
    "answer", [by_definition, by_terms, by_standard_deviations, by_sympy, by_fractions]
)
def test_right_formulas_pass(answer):
    result = check.attention_variance(answer)
    assert not result.messages
    assert result.headline.endswith("(7 of 15 tests passed, the others not attempted)")


def by_trace(mean_q, cov_q, mean_k, cov_k):
    return torch.trace(cov_q @ cov_k) + mean_q @ cov_k @ mean_q + mean_k @ cov_q @ mean_k


def by_second_moments(mean_q, cov_q, mean_k, cov_k):
    second_q = cov_q + torch.outer(mean_q, mean_q)
    second_k = cov_k + torch.outer(mean_k, mean_k)
    return torch.einsum("ij,ij->", second_q, second_k) - (mean_q @ mean_k) ** 2


def by_loops(mean_q, cov_q, mean_k, cov_k):
    total = 0.0
    for i in range(len(mean_q)):
        for j in range(len(mean_q)):
            total += cov_q[i, j] * cov_k[i, j]
            total += mean_q[i] * mean_q[j] * cov_k[i, j] + mean_k[i] * mean_k[j] * cov_q[i, j]
    return float(total)


def by_numpy(*moments):
    mean_q, cov_q, mean_k, cov_k = (moment.numpy().astype(np.float32) for moment in moments)
    column_q, column_k = mean_q[:, None], mean_k[:, None]
    return np.sum(cov_q * cov_k) + column_q.T @ cov_k @ column_q + column_k.T @ cov_q @ column_k


@pytest.mark.parametrize("answer", [by_trace, by_second_moments, by_loops, by_numpy])
def test_right_matrix_formulas_pass(answer):
    result = check.attention_variance(by_definition, answer)
    assert not result.messages
    assert result.headline.endswith("(13 of 15 tests passed, the others not attempted)")


def test_everything_right_passes():
    result = check.attention_variance(
        by_terms,
        by_trace,
        uncorrelated_is_enough=np.bool_(False),
        one_white_side_is_enough=True,
    )
    assert result.passed


WRONG = {
    "square of d_k": (lambda d, vq, vk, mq, mk: d**2 * vq * vk, "one and the same number"),
    "standard deviation": (
        lambda d, vq, vk, mq, mk: math.sqrt(by_definition(d, vq, vk, mq, mk)),
        "standard deviation of the score",
    ),
    "root of d_k": (lambda d, vq, vk, mq, mk: math.sqrt(d), "standard deviation"),
    "no d_k": (lambda d, vq, vk, mq, mk: vq * vk, "variance of one product"),
    "scaled score": (lambda *m: by_definition(*m) / m[0], "variance of one product"),
    "unit variance only": (lambda d, vq, vk, mq, mk: d, "holds for unit variance only"),
    "variances added": (lambda d, vq, vk, mq, mk: d * (vq + vk), "variances are added"),
    "variances squared": (lambda d, vq, vk, mq, mk: d * (vq * vk) ** 2, "do not square them"),
    "roots of variances": (
        lambda d, vq, vk, mq, mk: d * math.sqrt(vq * vk),
        "take no square root",
    ),
    "no means": (lambda d, vq, vk, mq, mk: d * vq * vk, "The means have no effect"),
    "means crossed": (
        lambda d, vq, vk, mq, mk: d * (vq * vk + vq * mq**2 + vk * mk**2),
        "paired with the wrong variances",
    ),
    "means not squared": (
        lambda d, vq, vk, mq, mk: d * (vq * vk + vq * mk + vk * mq),
        "enter unsquared",
    ),
    "second moment of the score": (
        lambda d, vq, vk, mq, mk: by_definition(d, vq, vk, mq, mk) + (d * mq * mk) ** 2,
        "That is E[(q·k)²]",
    ),
    "second moment of a product": (
        lambda d, vq, vk, mq, mk: d * (vq + mq**2) * (vk + mk**2),
        "d_k times E[q²k²]",
    ),
    "square of the whole mean": (
        lambda d, vq, vk, mq, mk: d * (vq + mq**2) * (vk + mk**2) - (d * mq * mk) ** 2,
        "subtract it product by product",
    ),
    "only the mean of k": (lambda d, vq, vk, mq, mk: d * vq * (vk + mk**2), "`mean_q` has no"),
    "only the mean of q": (lambda d, vq, vk, mq, mk: d * vk * (vq + mq**2), "`mean_k` has no"),
    "terms with a mean only": (
        lambda d, vq, vk, mq, mk: d * (vq * mk**2 + vk * mq**2),
        "product of the two fluctuations is missing",
    ),
    "d_k on one term": (
        lambda d, vq, vk, mq, mk: d * vq * vk + vq * mk**2 + vk * mq**2,
        "multiplies only a part",
    ),
}


@pytest.mark.parametrize(("answer", "message"), WRONG.values(), ids=WRONG)
def test_mistakes_are_named(answer, message):
    result = check.attention_variance(answer)
    assert result.status == "failed"
    assert message in result.messages


def test_unsquared_means_are_not_taken_for_none():
    answer, _ = WRONG["means not squared"]
    assert "have no effect" not in check.attention_variance(answer).messages


WRONG_MATRICES = {
    "standard deviation": (lambda *m: by_trace(*m).sqrt(), "standard deviation of the score"),
    "scaled score": (lambda *m: by_trace(*m) / len(m[0]), "variance of one product"),
    "second moment": (lambda *m: by_trace(*m) + (m[0] @ m[2]) ** 2, "That is E[(q·k)²]"),
    "no means": (lambda mq, cq, mk, ck: (cq * ck).sum(), "The means have no effect"),
    "means crossed": (
        lambda mq, cq, mk, ck: (cq * ck).sum() + mq @ cq @ mq + mk @ ck @ mk,
        "paired with the wrong variances",
    ),
    "correlations ignored": (
        lambda mq, cq, mk, ck: by_trace(mq, cq.diag().diag(), mk, ck.diag().diag()),
        "correlations do not",
    ),
    "correlations ignored in the product": (
        lambda mq, cq, mk, ck: cq.diag() @ ck.diag() + mq @ ck @ mq + mk @ cq @ mk,
        "correlations do not",
    ),
    "correlations ignored beside the means": (
        lambda mq, cq, mk, ck: (cq * ck).sum() + cq.diag() @ mk**2 + ck.diag() @ mq**2,
        "correlations do not",
    ),
    "variances only": (lambda mq, cq, mk, ck: cq.diag() @ ck.diag(), "correlations do not"),
    "only the mean of q": (
        lambda mq, cq, mk, ck: (cq * ck).sum() + mq @ ck @ mq,
        "`mean_k` has no effect",
    ),
    "only the mean of k": (
        lambda mq, cq, mk, ck: (cq * ck).sum() + mk @ cq @ mk,
        "`mean_q` has no effect",
    ),
    "product of traces": (
        lambda mq, cq, mk, ck: cq.trace() * ck.trace() + mq @ ck @ mq + mk @ cq @ mk,
        "traces are multiplied",
    ),
    "product of traces, no means": (
        lambda mq, cq, mk, ck: cq.trace() * ck.trace(),
        "traces are multiplied",
    ),
    "all entries": (
        lambda mq, cq, mk, ck: (cq @ ck).sum() + mq @ ck @ mq + mk @ cq @ mk,
        "all entries of the matrix product",
    ),
    "all entries, no means": (lambda mq, cq, mk, ck: (cq @ ck).sum(), "all entries of the matrix"),
    "covariances added": (lambda mq, cq, mk, ck: (cq + ck).trace(), "covariances are added"),
    "terms with a mean only": (
        lambda mq, cq, mk, ck: mq @ ck @ mq + mk @ cq @ mk,
        "product of the two fluctuations is missing",
    ),
}


@pytest.mark.parametrize(("answer", "message"), WRONG_MATRICES.values(), ids=WRONG_MATRICES)
def test_mistakes_with_matrices_are_named(answer, message):
    result = check.attention_variance(by_terms, answer)
    assert result.status == "failed"
    assert message in result.messages


def test_only_the_mean_that_is_missing_is_blamed():
    messages = check.attention_variance(
        lambda d, vq, vk, mq, mk: d * vq * (vk + mk**2),
        lambda mq, cq, mk, ck: (cq * ck).sum() + mk @ cq @ mk,
    ).messages
    assert messages.count("`mean_q` has no effect") == 6
    assert "`mean_k` has" not in messages
    assert "The means have" not in messages


def test_the_number_of_components_is_no_standard_deviation():
    messages = check.attention_variance(lambda d, *moments: d).messages
    assert "holds for unit variance only" in messages
    assert "standard deviation" not in messages


def in_half_precision(*moments):
    return by_trace(*(moment.bfloat16() for moment in moments))


@pytest.mark.parametrize(
    "answers",
    [
        (by_terms, in_half_precision),
        (by_terms, lambda *moments: float(f"{by_trace(*moments):.3g}")),
        (lambda *moments: float(f"{by_terms(*moments) * 1.001:.3g}"), by_trace),
    ],
)
def test_low_precision_is_named(answers):
    result = check.attention_variance(*answers)
    assert result.status == "failed"
    failed = [outcome.message for outcome in result.outcomes if outcome.status == "failed"]
    assert all("too few digits" in message and "float32 or better" in message for message in failed)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({"uncorrelated_is_enough": True}, "share a random sign"),
        ({"one_white_side_is_enough": False}, "How many of the two have to vanish?"),
    ],
)
def test_wrong_claims_are_answered(claim, message):
    assert message in check.attention_variance(**claim).messages


@pytest.mark.parametrize("placeholder", [None, ..., lambda *moments: ..., lambda *moments: None])
def test_an_untouched_cell_is_not_attempted(placeholder):
    result = check.attention_variance(placeholder, placeholder)
    assert result.status == "not attempted"
    assert not result.messages


@pytest.mark.parametrize(
    "rubbish", [5, "five", lambda: 0, lambda *m: "five", lambda *m: [1, 2], lambda *m: 1j]
)
def test_rubbish_fails_without_an_exception(rubbish):
    result = check.attention_variance(
        rubbish, rubbish, uncorrelated_is_enough="maybe", one_white_side_is_enough=[0]
    )
    assert {outcome.status for outcome in result.outcomes} == {"failed"}
    assert "broke" not in result.messages


def test_the_answer_is_not_leaked():
    answers = {f"{by_terms(7, 3.0, 2.25, 0.0, 1.5):g}", f"{by_terms(6, 3.0, 0.25, 0.0, 0.0):g}"}
    messages = check.attention_variance(lambda *m: -1.0, lambda *m: -1.0).messages
    assert "Violated: a variance is not negative" in messages
    assert not any(answer in messages for answer in answers)
    assert "trace(" not in messages
