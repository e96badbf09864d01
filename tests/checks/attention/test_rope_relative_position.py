"""The check of exercise 13.27 takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from llmbook import check
from llmbook.positions import rotate


def expanded(q, k, offset, frequencies):
    q0, q1, k0, k1 = q[0::2], q[1::2], k[0::2], k[1::2]
    cos, sin = torch.cos(offset * frequencies), torch.sin(offset * frequencies)
    return ((q0 * k0 + q1 * k1) * cos + (q1 * k0 - q0 * k1) * sin).sum()


def block_matrix(q, k, offset, frequencies):
    blocks = [
        torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=q.dtype)
        for a in (offset * frequencies).tolist()
    ]
    return q[None] @ torch.block_diag(*blocks) @ k[:, None]  # of shape (1, 1)


def complex_numbers(q, k, offset, frequencies):
    q, k = (x.double().numpy().view(complex) for x in (q, k))
    return np.vdot(q, k * np.exp(1j * offset * frequencies.double().numpy())).real


def in_loops(q, k, offset, frequencies):
    score = 0.0
    for i, w in enumerate(frequencies.tolist()):
        a = math.atan2(k[2 * i + 1], k[2 * i]) - math.atan2(q[2 * i + 1], q[2 * i])
        lengths = math.hypot(*q[2 * i : 2 * i + 2]) * math.hypot(*k[2 * i : 2 * i + 2])
        score += lengths * math.cos(a + offset * w)
    return score


def two_positions(q, k, offset, frequencies):
    """The query turned back and the key left alone, by the package's function."""
    position = torch.tensor([-offset])
    return rotate(q[None], position, frequencies, interleaved=True)[0] @ k


RIGHT = [expanded, block_matrix, complex_numbers, in_loops, two_positions]


@pytest.mark.parametrize("answer", RIGHT)
def test_right_functions_pass(answer):
    result = check.rope_relative_position(answer)
    assert result.status != "failed", result
    assert {o.status for o in result.outcomes[:5]} == {"passed"}


def test_float32_inside_is_noted_not_failed():
    def narrow(q, k, offset, frequencies):
        return expanded(q.float(), k.float(), offset, frequencies.float())

    result = check.rope_relative_position(narrow)
    assert result.status != "failed", result
    assert "computed in float32" in result.notes[0]
    assert not check.rope_relative_position(expanded).notes


@pytest.mark.parametrize(
    "numbers",
    [
        {"first_missing": 257, "spacing": 512, "angle_error": 1 / 256},
        {"first_missing": 257.0, "spacing": torch.tensor(512), "angle_error": 0.0039},
        {"first_missing": np.int64(257), "angle_error": Fraction(1, 256)},
        {"angle_error": 0.004},
    ],
)
def test_right_numbers_pass(numbers):
    result = check.rope_relative_position(**numbers)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


def score(turn_k=1.0, turn_q=0.0, cross=1.0, straight=1.0, frequencies=lambda w: w, pairs=None):
    """Build a score; the tests break a piece of it."""

    def learner(q, k, offset, w):
        if pairs == "halves":
            q, k = (x.view(2, -1).T.flatten() for x in (q, k))
        angle = (turn_k - turn_q) * offset * frequencies(w)
        q0, q1, k0, k1 = q[0::2], q[1::2], k[0::2], k[1::2]
        kept = straight * (q0 * k0 + q1 * k1) * torch.cos(angle)
        return (kept + cross * (q1 * k0 - q0 * k1) * torch.sin(angle)).sum()

    return learner


def same_sign(sign):
    def learner(q, k, offset, w):
        q0, q1, k0, k1 = q[0::2], q[1::2], k[0::2], k[1::2]
        cos, sin = torch.cos(offset * w), torch.sin(offset * w)
        return ((q0 * k0 + q1 * k1) * cos + sign * (q0 * k1 + q1 * k0) * sin).sum()

    return learner


def not_summed(q, k, offset, w):
    angle = (offset * w).repeat_interleave(2)
    return q * k * torch.cos(angle)


def conjugate_forgotten(sign):
    def learner(q, k, offset, w):
        q, k = (torch.view_as_complex(x.view(-1, 2)) for x in (q, k))
        return (q * k * torch.polar(torch.ones_like(w), sign * offset * w)).real.sum()

    return learner


def overwritten(turns_key):
    def learner(q, k, offset, w):
        still, turned = (q, k.clone()) if turns_key else (k, q.clone())
        cos, sin = torch.cos(offset * w), torch.sin(offset * w) * (1 if turns_key else -1)
        turned[0::2] = turned[0::2] * cos - turned[1::2] * sin
        turned[1::2] = turned[0::2] * sin + turned[1::2] * cos
        return still @ turned

    return learner


def far_away(q, k, offset, w):
    """Both vectors turned in float32, at large positions."""
    m = torch.tensor([100_003.0])
    turned = [
        torch.view_as_complex(x.float().view(-1, 2))
        * torch.polar(torch.ones(len(w)), p * w.float())
        for x, p in ((q, m), (k, m + offset))
    ]
    return (turned[0].conj() * turned[1]).real.sum()


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (score(turn_k=-1), "wrong sign"),
        (conjugate_forgotten(1), "conjugated"),
        (conjugate_forgotten(-1), "conjugated"),
        (overwritten(True), "after that has been turned"),
        (overwritten(False), "after that has been turned"),
        (score(frequencies=lambda w: 1e4 ** (-torch.arange(len(w)) / len(w))), "handed over"),
        (far_away, "large positions"),
        (score(turn_k=0, turn_q=1), "wrong sign"),
        (score(turn_k=1, turn_q=1), "does not depend on the offset"),
        (lambda q, k, offset, w: q @ k, "does not depend on the offset"),
        (score(pairs="halves"), "two neighbors"),
        (score(cross=0), "cross terms are missing"),
        (score(straight=0), "Only cross terms"),
        (same_sign(1), "opposite signs"),
        (same_sign(-1), "opposite signs"),
        (score(frequencies=lambda w: w[:1]), "first frequency"),
        (score(frequencies=torch.ones_like), "first frequency"),
        (score(frequencies=lambda w: w.flip(0)), "reverse order"),
        (score(turn_k=1, turn_q=-1), "in opposite directions"),
        (score(frequencies=torch.deg2rad), "degrees"),
        (lambda q, k, o, w: expanded(q, k, abs(o), w), "sign is lost"),
        (lambda q, k, o, w: expanded(q, k, o, w) / len(q) ** 0.5, "divided by √d"),
        (lambda q, k, o, w: expanded(q, k, o + 1, w), "off by one"),
        (lambda q, k, o, w: expanded(q, k, o - 1, w), "off by one"),
        (not_summed, "Is a sum missing"),
        (lambda q, k, o, w: round(float(expanded(q, k, o, w)), 2), "too few digits"),
        (lambda q, k, o, w: torch.complex(expanded(q, k, o, w), q[0]), "complex"),
        (lambda q, k, o, w: 7.0, "not right"),
    ],
)
def test_wrong_functions_are_named(answer, named):
    result = check.rope_relative_position(answer)
    assert result.status == "failed"
    assert named in result.messages
    assert "itself broke" not in result.messages


def test_the_unbroken_builder_passes():
    """Otherwise the mistakes above would prove little."""
    assert check.rope_relative_position(score()).status != "failed"


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"first_missing": 256}, "power of two, which"),
        ({"first_missing": 255}, "it fits"),
        ({"first_missing": 129}, "leading one"),
        ({"first_missing": 128}, "still is a power of two"),
        ({"first_missing": 258}, "does hold"),
        ({"first_missing": 513}, "a bit too many"),
        ({"first_missing": 2049}, "float16"),
        ({"first_missing": 65505}, "overflows"),
        ({"first_missing": 2**24 + 1}, "float32"),
        ({"spacing": 256}, "largest error"),
        ({"spacing": 1024}, "Twice too much"),
        ({"spacing": 128}, "number of steps"),
        ({"spacing": 64}, "float16"),
        ({"spacing": 0.0078125}, "just above 1"),
        ({"angle_error": 0.0078125}, "whole distance"),
        ({"angle_error": 0.00447}, "a bound"),
        ({"angle_error": 0.00894}, "2⁻²³ of the angle"),
        ({"angle_error": 0.015625}, "next power of two"),
        ({"angle_error": 0.00195}, "Half of the half"),
        ({"angle_error": 256}, "bfloat16"),
        ({"angle_error": 7.3e-12}, "float64"),
        ({"angle_error": 1.0}, "not a mistake known here"),
    ],
)
def test_wrong_numbers_are_named(answer, named):
    result = check.rope_relative_position(**answer)
    assert result.status == "failed"
    assert named in result.messages


def untouched(q, k, offset, frequencies): ...  # your code


@pytest.mark.parametrize("answer", [{}, {"relative_score": untouched}, {"spacing": ...}])
def test_not_attempted(answer):
    result = check.rope_relative_position(**answer)
    assert result.status == "not attempted"
    assert result.notes == ()


@pytest.mark.parametrize("rubbish", ["text", [], {}, object(), torch.ones(2, 2), lambda: 0])
def test_rubbish_fails_without_an_exception(rubbish):
    for name in ("relative_score", "first_missing", "spacing", "angle_error"):
        result = check.rope_relative_position(**{name: rubbish})
        assert result.status == "failed"
        assert "itself broke" not in result.messages
    result = check.rope_relative_position(lambda *a: rubbish)
    assert result.status == "failed"
    assert "itself broke" not in result.messages


def test_the_answer_is_not_leaked():
    messages = check.rope_relative_position(lambda *a: 99.0, 99, 99, 99).messages
    q, k = torch.tensor([1.0, 2.0, 0.5, -1.0]), torch.tensor([3.0, -1.0, 2.0, 1.5])
    right = [f"{expanded(q, k, o, torch.tensor([1.0, 0.1])):.3f}" for o in (3, -2)]
    for answer in ("257", "512", "0.0039", "cos", *right):
        assert answer not in messages
