"""The check of exercise 13.24 takes any right answer and names each known mistake."""

import math
import statistics

import numpy as np
import pytest
import torch
from scipy import stats

from llmbook import check

# --- Right answers --------------------------------------------------------------------------------


def pool_by_mask(states, padding):
    real = ~padding[..., None]
    return states.masked_fill(~real, 0).sum(1) / real.sum(1).clamp(min=1)


def pool_by_loops(states, padding):
    out = torch.zeros(len(states), states.shape[2], dtype=states.dtype)
    for i in range(len(states)):
        words = [states[i, j] for j in range(states.shape[1]) if not padding[i, j]]
        if words:
            out[i] = sum(words) / len(words)
    return out


def pool_by_weights(states, padding):
    """Weights of the words, as a matrix product."""
    weights = (~padding).to(states.dtype)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    states = torch.where(padding[..., None], torch.zeros_like(states), states)
    return torch.einsum("bn,bnd->bd", weights, states)


def pool_by_numpy(states, padding):
    return np.array(
        [
            np.nan_to_num(row[~hidden].numpy()).sum(0) / max(1, int((~hidden).sum()))
            for row, hidden in zip(states, padding, strict=True)
        ]
    )


def wilson(correct, n, z=1.96):
    share = correct / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return middle - half, middle + half


def wilson_of_scipy(correct, n):
    found = stats.binomtest(correct, n).proportion_ci(method="wilson")
    return torch.tensor([found.low, found.high])


def wilson_by_bisection(correct, n):
    share, ends = correct / n, []
    for edge in (0.0, 1.0):
        inside, outside = share, edge
        for _ in range(60):
            p = (inside + outside) / 2
            if abs(share - p) > 1.96 * math.sqrt(p * (1 - p) / n):
                outside = p
            else:
                inside = p
        ends.append(inside)
    return np.array(ends)


def gain_by_statistics(with_it, without):
    gains = [a - b for a, b in zip(with_it, without, strict=True)]
    mean = statistics.mean(gains)
    half = stats.t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / math.sqrt(len(gains))
    return mean, mean - half, mean + half


def gain_by_torch(with_it, without):
    gains = torch.tensor(with_it).double() - torch.tensor(without).double()
    error = gains.std() / len(gains) ** 0.5
    t = {2: 4.303, 3: 3.182, 4: 2.776}[len(gains) - 1]  # from a table
    return gains.mean() + error * torch.tensor([0, -t, t])


def gain_of_scipy(with_it, without):
    found = stats.ttest_rel(with_it, without)
    ends = found.confidence_interval(0.95)
    return [np.mean(with_it) - np.mean(without), ends.low, ends.high]


@pytest.mark.parametrize("pool", [pool_by_mask, pool_by_loops, pool_by_weights, pool_by_numpy])
def test_right_pooling_passes(pool):
    result = check.masked_pretraining(pool)
    assert result.messages == ""
    assert [o.status for o in result.outcomes].count("passed") == 5


@pytest.mark.parametrize("interval", [wilson, wilson_of_scipy, wilson_by_bisection])
def test_right_intervals_pass(interval):
    result = check.masked_pretraining(accuracy_interval=interval)
    assert result.messages == ""
    assert [o.status for o in result.outcomes].count("passed") == 3


def gain_by_interval_of_scipy(with_it, without):
    gains = np.subtract(with_it, without)
    ends = stats.t.interval(0.95, len(gains) - 1, gains.mean(), stats.sem(gains))
    return gains.mean(), *ends


@pytest.mark.parametrize(
    "interval", [gain_by_statistics, gain_by_torch, gain_of_scipy, gain_by_interval_of_scipy]
)
def test_right_gains_pass(interval):
    result = check.masked_pretraining(gain_interval=interval)
    assert result.messages == ""
    assert [o.status for o in result.outcomes].count("passed") == 3


@pytest.mark.parametrize("given", ["b", "(B)", " b."])
def test_everything_right_passes(given):
    result = check.masked_pretraining(
        pool_by_mask, wilson, gain_by_statistics, without_agreement=given
    )
    assert result.passed


# --- Wrong answers --------------------------------------------------------------------------------


def real(padding):
    return ~padding[..., None]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda s, p: s.mean(1), "padding counts"),
        (lambda s, p: s.masked_fill(~real(p), 0).sum(1) / s.shape[1], "divided by the length"),
        (lambda s, p: pool_by_mask(s, ~p), "mean over the padding"),
        (lambda s, p: s.masked_fill(~real(p), 0).sum(1), "sum over the words"),
        (lambda s, p: s.masked_fill(~real(p), 0).sum(1) / (~p).sum(), "over the whole batch"),
        (lambda s, p: s[~p].mean(0), "pooled together"),
        (lambda s, p: s.masked_fill(~real(p), 0).sum(1) / (real(p).sum(1) + 1), "one more than"),
        (
            lambda s, p: (
                s.masked_fill(~real(p), 0).sum(1)
                / real(p).expand_as(s).sum((1, 2)).clamp(min=1)[:, None]
            ),
            "number of entries",
        ),
        (lambda s, p: s.masked_fill(~real(p), -math.inf).amax(1), "largest value"),
        (lambda s, p: s[:, 0], "first token"),
        (lambda s, p: s[:, -1], "last token"),
        (lambda s, p: s.mean(2), "over the features"),
        (lambda s, p: s.masked_fill(~real(p), 0).sum(1) / real(p).sum(1), "which is 0/0"),
        (lambda s, p: (s * real(p)).sum(1) / real(p).sum(1).clamp(min=1), "0 · NaN"),
        (lambda s, p: pool_by_mask(s, p) + 1, "Violated: each feature lies"),
        (lambda s, p: "x", "should be a tensor"),
        (lambda s, p: s.nope, "raised AttributeError"),
    ],
)
def test_wrong_pooling_is_named(wrong, named):
    result = check.masked_pretraining(wrong)
    assert result.status == "failed"
    assert named in result.messages


def around(middle, half):
    return middle - half, middle + half


def wald(correct, n):
    share = correct / n
    return around(share, 1.96 * math.sqrt(share * (1 - share) / n))


def agresti_coull(correct, n):
    share = (correct + 1.96**2 / 2) / (n + 1.96**2)
    return around(share, 1.96 * math.sqrt(share * (1 - share) / (n + 1.96**2)))


def half_undivided(correct, n):
    low, high = wilson(correct, n)
    return around((low + high) / 2, (high - low) / 2 * (1 + 1.96**2 / n))


def clopper_pearson(correct, n):
    found = stats.binomtest(correct, n).proportion_ci(method="exact")
    return found.low, found.high


def shifted_wald(correct, n):
    share, middle = correct / n, (correct + 1.96**2 / 2) / (n + 1.96**2)
    return around(middle, 1.96 * math.sqrt(share * (1 - share) / n))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (wald, "interval of Wald"),
        (lambda k, n: np.clip(wald(k, n), 0, 1), "cut off at 0 and 1"),
        (agresti_coull, "Agresti and Coull"),
        (shifted_wald, "normal approximation around"),
        (lambda k, n: wilson(k, n)[::-1], "swapped"),
        (lambda k, n: [100 * end for end in wilson(k, n)], "percentages"),
        (lambda k, n: [n * end for end in wilson(k, n)], "numbers of reviews"),
        (lambda k, n: wilson(k, n, z=1.645), "of 90%"),
        (lambda k, n: wilson(k, n, z=1), "one standard error"),
        (lambda k, n: wilson(k, n, z=2), "rounded to 2"),
        (half_undivided, "half width misses"),
        (lambda k, n: [end * (1 + 1.96**2 / n) for end in wilson(k, n)], "too large by the same"),
        (clopper_pearson, "Clopper and Pearson"),
        (lambda k, n: (sum(wilson(k, n)) / 2, (wilson(k, n)[1] - wilson(k, n)[0]) / 2), "half wid"),
        (lambda k, n: (k / n, wald(k, n)[1] - k / n), "one half width"),
        (lambda k, n: (0.3, 0.4), "share that was observed lies inside"),
        (lambda k, n: wilson(k, n)[0], "two numbers"),
        (lambda k, n: "wide", "should be a tensor"),
        (lambda k, n: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_wrong_intervals_are_named(wrong, named):
    result = check.masked_pretraining(accuracy_interval=wrong)
    assert result.status == "failed"
    assert named in result.messages


def gain(quantile, deviation=statistics.stdev, shrink=math.sqrt):
    """Variants of the interval, by what is put in for its parts."""

    def interval(with_it, without):
        gains = [a - b for a, b in zip(with_it, without, strict=True)]
        mean, n = statistics.mean(gains), len(gains)
        return mean, *around(mean, quantile(n) * deviation(gains) / shrink(n))

    return interval


def t(level, less=1):
    return lambda n: float(stats.t.ppf(level, n - less))


def unpaired(with_it, without):
    found = stats.ttest_ind(with_it, without).confidence_interval(0.95)
    return np.mean(with_it) - np.mean(without), found.low, found.high


def unpaired_normal(with_it, without):
    mean = np.mean(with_it) - np.mean(without)
    variance = (np.var(with_it, ddof=1) + np.var(without, ddof=1)) / len(with_it)
    return mean, *around(mean, 1.96 * variance**0.5)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (gain(lambda n: 1.96), "normal distribution. The spread"),
        (gain(t(0.975), statistics.pstdev), "divided by n − 1"),
        (gain(lambda n: 1.96, statistics.pstdev), "divided by n, and the quantile"),
        (gain(t(0.975), shrink=lambda n: 1), "single further run"),
        (gain(t(0.975), shrink=lambda n: n), "another power"),
        (gain(lambda n: 1), "one standard error"),
        (gain(lambda n: 1, shrink=lambda n: 1), "one standard deviation"),
        (unpaired, "They are pairs"),
        (unpaired_normal, "They are pairs"),
        (gain(t(0.975, less=0)), "t with n degrees"),
        (gain(t(0.975, less=2)), "n − 2 degrees"),
        (gain(t(0.95)), "of 90%"),
        (lambda a, b: gain_by_statistics(b, a), "The sign is wrong"),
        (lambda a, b: torch.tensor(gain_by_statistics(a, b))[[0, 2, 1]], "swapped"),
        (lambda a, b: torch.tensor(gain_by_statistics(a, b))[[1, 0, 2]], "return it first"),
        (lambda a, b: [100 * x for x in gain_by_statistics(a, b)], "percentage points"),
        (lambda a, b: (0.5, 0.4, 0.6), "is the mean of the differences"),
        (lambda a, b: gain_by_statistics(a, b)[1:], "three numbers"),
        (lambda a, b: a - b, "raised TypeError"),
        (lambda a, b: {"gain": 1}, "should be"),
    ],
)
def test_wrong_gains_are_named(wrong, named):
    result = check.masked_pretraining(gain_interval=wrong)
    assert result.status == "failed"
    assert named in result.messages


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean_pool": lambda s, p: s.masked_fill(~real(p), 0).sum(1) / s.shape[1]},
        {"mean_pool": lambda s, p: s.masked_fill(~real(p), 0).sum(1) / (~p).sum()},
        {"accuracy_interval": half_undivided},
        {"accuracy_interval": shifted_wald},
        {"accuracy_interval": agresti_coull},
        {"gain_interval": unpaired},
        {"gain_interval": gain(t(0.975), statistics.pstdev)},
        {"gain_interval": gain(t(0.975, less=0))},
    ],
)
def test_inputs_tell_one_mistake_from_another(wrong):
    """Every test that such an answer fails gives the same reason."""
    failed = {o.message for o in check.masked_pretraining(**wrong).outcomes if o.message}
    reasons = {message.translate(dict.fromkeys(map(ord, "0123456789"))) for message in failed}
    assert len(reasons) == 1


@pytest.mark.parametrize(("given", "named"), [("a", "Grammar"), ("c", "nothing wrong")])
def test_wrong_choices_are_answered(given, named):
    result = check.masked_pretraining(without_agreement=given)
    assert result.status == "failed"
    assert named in result.messages


# --- Nothing, and rubbish -------------------------------------------------------------------------


def placeholder(*args): ...  # your code


@pytest.mark.parametrize("arguments", [(), (None, None, None), (placeholder,) * 3])
def test_untouched_is_not_attempted(arguments):
    result = check.masked_pretraining(*arguments, without_agreement=None)
    assert result.status == "not attempted"
    assert result.messages == ""


@pytest.mark.parametrize("rubbish", [3, "pool", [1.0], lambda: None, lambda *args: object()])
def test_rubbish_fails_without_an_exception(rubbish):
    result = check.masked_pretraining(rubbish, rubbish, rubbish, without_agreement=object())
    assert result.status == "failed"
    assert len([o for o in result.outcomes if o.status == "failed"]) == len(result.outcomes)


def test_no_answer_is_told():
    result = check.masked_pretraining(
        lambda s, p: s.mean(1), lambda k, n: (0, 1), lambda a, b: (0, 0, 0), without_agreement="a"
    )
    assert result.status == "failed"
    for ends in (wilson(9, 10), gain_by_statistics([0.81, 0.78, 0.86], [0.62, 0.66, 0.7])):
        for value in ends:
            assert f"{value:.3f}" not in result.messages
    assert "`b`" not in result.messages
