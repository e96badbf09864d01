"""check.perplexity: right answers of several shapes pass, known mistakes are named."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch
import torch.nn.functional as F

from llmbook import check

PPL_A = (0.8 * 0.6 * 0.9 * 0.7) ** -0.25
NUMBERS = {
    "a": PPL_A,
    "b": 2,
    "perfect": 1,
    "uniform": 32_000,
    "typical_probability": 0.08,
    "bits_per_token": math.log2(12.5),
    "longest_float32": 41,
    "longest_float64": 295,
    "bits_per_byte_a": 300 * math.log2(20) / 1200,
    "bits_per_byte_b": 500 * math.log2(8) / 1200,
}


def with_log_softmax(logits, targets):
    return (-logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).mean()).exp()


def with_cross_entropy(logits, targets):
    return math.exp(F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)))


def in_bits(logits, targets):
    logits = logits.double()
    nats = logits.logsumexp(-1) - logits.gather(-1, targets[..., None])[..., 0]
    return 2 ** (nats / math.log(2)).mean()


def in_numpy(logits, targets):
    rows = logits.numpy().reshape(-1, logits.shape[-1]).astype(np.float64)
    total = 0.0
    for row, target in zip(rows, targets.numpy().ravel(), strict=True):
        shifted = row - row.max()
        total += np.log(np.exp(shifted).sum()) - shifted[target]
    return np.array([np.exp(total / len(rows))])


def as_a_distribution(logits, targets):
    logs = torch.distributions.Categorical(logits=logits).log_prob(targets)
    return torch.exp(-torch.mean(logs)).view(1, 1)


@pytest.mark.parametrize(
    "answer", [with_log_softmax, with_cross_entropy, in_bits, in_numpy, as_a_distribution]
)
def test_right_answers_pass(answer):
    result = check.perplexity(answer, **NUMBERS)
    assert result.passed, result
    assert result.notes == ()


@pytest.mark.parametrize(
    "numbers",
    [
        {"a": 1.35, "b": 2.0, "perfect": 1.0, "uniform": 32e3, "typical_probability": 2 / 25},
        {"a": torch.tensor(1.3485), "bits_per_token": 3.64, "bits_per_byte_a": 1.08},
        {"a": sympy.root(sympy.Rational(625, 189), 4), "b": Fraction(2), "perfect": np.int64(1)},
        {"longest_float32": 40, "longest_float64": 294, "bits_per_byte_b": 1.25},
        {"longest_float32": 42.0, "longest_float64": np.float32(296)},
    ],
)
def test_other_forms_of_the_numbers_pass(numbers):
    result = check.perplexity(with_log_softmax, **(NUMBERS | numbers))
    assert result.passed, result


# --- Mistakes ------------------------------------------------------------------------------------


def losses(logits, targets):
    return -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]


def probabilities(logits, targets):
    return logits.softmax(-1).gather(-1, targets[..., None])[..., 0]


def product(logits, targets):
    p = probabilities(logits, targets)
    return p.prod() ** (-1 / p.numel())


MISTAKES = [
    ("product of all probabilities is too small", product),
    ("softmax rounds it to zero", lambda x, t: (-probabilities(x, t).log().mean()).exp()),
    (
        "It overflows",
        lambda x, t: (x.exp().sum(-1).log() - x.gather(-1, t[..., None])[..., 0]).mean().exp(),
    ),
    ("its exponential is missing", lambda x, t: losses(x, t).mean()),
    ("mean in bits", lambda x, t: losses(x, t).mean() / math.log(2)),
    ("sign is lost", lambda x, t: (-losses(x, t).mean()).exp()),
    ("nats are in the exponent of 2", lambda x, t: 2 ** losses(x, t).mean()),
    ("bits are in the exponent of e", lambda x, t: (losses(x, t).mean() / math.log(2)).exp()),
    ("summed, not averaged", lambda x, t: losses(x, t).sum().exp()),
    ("divided by the number of texts", lambda x, t: (losses(x, t).sum() / len(x)).exp()),
    ("all entries of the vocabulary", lambda x, t: (losses(x, t).sum() / x.numel()).exp()),
    ("mean of 1/p", lambda x, t: losses(x, t).exp().mean()),
    ("1 over the mean probability", lambda x, t: 1 / probabilities(x, t).mean()),
    (
        "softmax runs over the tokens",
        lambda x, t: (-x.log_softmax(-2).gather(-1, t[..., None]).mean()).exp(),
    ),
    (
        "softmax runs over the tokens or the texts",
        lambda x, t: (-x.log_softmax(0).gather(-1, t[..., None]).mean()).exp(),
    ),
    ("taken for log-probabilities", lambda x, t: (-x.gather(-1, t[..., None]).mean()).exp()),
    ("softmax is taken twice", lambda x, t: with_cross_entropy(x.softmax(-1), t)),
    (
        "does not look at the targets",
        lambda x, t: torch.distributions.Categorical(logits=x).entropy().mean().exp(),
    ),
    ("The largest probability", lambda x, t: (-x.log_softmax(-1).amax(-1).mean()).exp()),
    (
        "one place later",
        lambda x, t: with_cross_entropy(x.flatten(0, -2)[:-1], t.flatten()[1:]),
    ),
    ("mean of the perplexities of the texts", lambda x, t: losses(x, t).mean(-1).exp().mean()),
    ("one perplexity for each text", lambda x, t: losses(x, t).mean(-1).exp()),
    ("one value for each token", lambda x, t: losses(x, t).exp()),
    ("one loss for each token", losses),
    ("Only the last text", lambda x, t: losses(x, t).reshape(-1, t.shape[-1])[-1].mean().exp()),
    ("Only the first text", lambda x, t: losses(x, t).reshape(-1, t.shape[-1])[0].mean().exp()),
    ("clamped", lambda x, t: (-(probabilities(x, t) + 1e-9).log().mean()).exp()),
    ("clamped", lambda x, t: (-probabilities(x, t).clamp_min(1e-12).log().mean()).exp()),
    ("too few digits", lambda x, t: round(float(with_log_softmax(x, t)), 2)),
    ("raised", lambda x, t: F.cross_entropy(x, t).exp()),
]


@pytest.mark.parametrize(("named", "answer"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistakes_are_named(named, answer):
    result = check.perplexity(answer)
    assert result.status == "failed"
    assert named in result.messages
    assert "itself broke" not in result.messages


@pytest.mark.parametrize(
    ("named", "answer"),
    [
        ("summed, not averaged", lambda x, t: losses(x, t).sum().exp()),
        ("summed, not averaged", lambda x, t: 1 / probabilities(x, t).prod()),
        ("mean of 1/p", lambda x, t: losses(x, t).exp().mean()),
        ("mean of 1/p", lambda x, t: (1 / probabilities(x, t)).mean()),
        ("logarithm of a negative", lambda x, t: (-x.log().gather(-1, t[..., None]).mean()).exp()),
        (
            "does not look at the targets",
            lambda x, t: torch.distributions.Categorical(logits=x).entropy().mean().exp(),
        ),
        (
            "does not look at the targets",
            lambda x, t: (
                -(x.softmax(-1) * x.softmax(-1).clamp_min(1e-45).log()).sum(-1).mean()
            ).exp(),
        ),
        (
            "softmax runs over the tokens",
            lambda x, t: (-x.log_softmax(0).gather(-1, t[..., None]).mean()).exp(),
        ),
    ],
)
def test_a_mistake_has_one_name_on_all_inputs(named, answer):
    result = check.perplexity(answer)
    failed = {outcome.message for outcome in result.outcomes if outcome.status == "failed"}
    assert len(failed) == 1, result
    assert named in result.messages


def test_a_softmax_that_rounds_to_zero_is_named_when_the_result_is_nan():
    """0 · log 0 is NaN, too, and no logarithm of a negative number."""

    def entropy(logits, targets):
        p = logits.softmax(-1)
        return (-(p * p.log()).sum(-1).mean()).exp()

    result = check.perplexity(entropy)
    assert "does not look at the targets" in result.messages
    assert "negative" not in result.messages


NATS_A = math.log(PPL_A)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"a": NATS_A}, "exponential is missing"),
        ({"a": NATS_A / math.log(2)}, "mean in bits"),
        ({"a": math.exp(NATS_A / math.log(2))}, "bits are in the exponent of e"),
        ({"a": 2**NATS_A}, "nats are in the exponent of 2"),
        ({"a": 1 / 0.3024}, "summed, not averaged"),
        ({"a": 0.3024}, "product of the probabilities"),
        ({"a": 0.7416}, "geometric mean"),
        ({"a": 4 / 3}, "arithmetic mean of the probabilities; the mean"),
        ({"a": 1.3641}, "arithmetic mean of 1/p"),
        ({"a": 0.75}, "That is the arithmetic mean of the probabilities"),
        ({"a": 0.8295}, "p ln p"),
        ({"a": 1.8185}, "square root"),
        ({"a": math.exp(NATS_A / math.log(10))}, "base 10"),
        ({"a": math.exp(0.8295)}, "weights each logarithm"),
        ({"b": 16}, "root"),
        ({"b": 0.0625}, "the product"),
        ({"b": 0.5}, "geometric mean"),
        ({"b": 0.693}, "exponential is missing"),
        ({"b": 1}, "in bits"),
        ({"b": 4}, "does not matter"),
        ({"b": math.e}, "exponent of e"),
        ({"b": 1.617}, "exponent of 2"),
        ({"perfect": 0}, "cross-entropy"),
        ({"perfect": 2}, "one choice"),
        ({"uniform": 10.37}, "in nats"),
        ({"uniform": 14.97}, "in bits"),
        ({"uniform": 1 / 32_000}, "1 over it"),
        ({"uniform": 32_768}, "a thousand"),
        ({"typical_probability": 12.5}, "question is about a probability"),
        ({"typical_probability": 2.526}, "nats"),
        ({"typical_probability": math.exp(-12.5)}, "no exponent here"),
        ({"typical_probability": 2**-12.5}, "no exponent of 2"),
        ({"typical_probability": 1 / 32_000}, "exercise before"),
        ({"typical_probability": 8}, "percentage"),
        ({"bits_per_token": 2.526}, "nats"),
        ({"bits_per_token": 1.097}, "base 10"),
        ({"bits_per_token": 12.5}, "number of choices"),
        ({"bits_per_token": -3.644}, "wrong sign"),
        ({"bits_per_token": 3.6}, "Close, but not to three digits"),
        ({"longest_float32": 34}, "all of its digits"),
        ({"longest_float32": 149}, "number of halvings"),
        ({"longest_float32": 59}, "same base"),
        ({"longest_float32": 136}, "one of 10"),
        ({"longest_float32": 12}, "*factor*"),
        ({"longest_float32": 6}, "digits of one number"),
        ({"longest_float64": 280}, "all of its digits"),
        ({"longest_float64": 1074}, "number of halvings"),
        ({"longest_float64": 425}, "same base"),
        ({"bits_per_byte_a": 0.749}, "nats per byte"),
        ({"bits_per_byte_a": 4.322}, "bits per token"),
        ({"bits_per_byte_a": 1296.6}, "whole text"),
        ({"bits_per_byte_a": 5.0}, "take the logarithm"),
        ({"bits_per_byte_a": 0.0036}, "has many tokens"),
        ({"bits_per_byte_a": 17.288}, "mixed up"),
        ({"bits_per_byte_a": 2**1.0805}, "perplexity per byte"),
        ({"bits_per_byte_a": 0.1351}, "share of the 8 bits"),
        ({"bits_per_byte_b": 0.8664}, "nats per byte"),
        ({"bits_per_byte_b": 3}, "bits per token"),
    ],
)
def test_wrong_numbers_are_named(answer, named):
    result = check.perplexity(**answer)
    assert result.status == "failed"
    assert named in result.messages


# --- No answer, no sense, no leak -----------------------------------------------------------------


def placeholder(logits, targets): ...


@pytest.mark.parametrize("answer", [None, ..., placeholder])
def test_an_untouched_answer_is_not_attempted(answer):
    result = check.perplexity(answer, a=None, uniform=...)
    assert result.status == "not attempted"


@pytest.mark.parametrize(
    "answer",
    [
        3,
        "text",
        [1],
        lambda: 1,
        lambda x, t: "text",
        lambda x, t: {},
        lambda x, t: x,
        lambda x, t: torch.ones(2, 2),
        lambda x, t: math.nan,
        lambda x, t: 1j,
        lambda x, t: 1 / 0,
        lambda x, t: math.inf,
        lambda x, t: [[1], [2, 3]],
        lambda x, t: 0,
    ],
)
def test_rubbish_fails_without_an_exception(answer):
    result = check.perplexity(answer)
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("name", list(NUMBERS))
@pytest.mark.parametrize("rubbish", ["2", [2, 3], {}, math.nan, 3 + 0j, object(), math.inf])
def test_rubbish_numbers_fail_without_an_exception(name, rubbish):
    assert check.perplexity(**{name: rubbish}).status == "failed"


def test_no_message_shows_the_answer():
    messages = check.perplexity(
        lambda x, t: torch.tensor(0.123), **dict.fromkeys(NUMBERS, 0.4321)
    ).messages
    assert "not right" in messages
    for answer in ("1.34", "1.35", "32000", "32,000", "0.08", "3.64", "41", "295", "1.08", "1.25"):
        assert answer not in messages
