"""The check of exercise 13.1: right numbers pass in any format, known mistakes are named."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from llmbook import check

# Derived here by counting, not by the check's logarithms.
BITS = next(bits for bits in range(1000) if 2**bits >= 26**30)
LONGEST = max(length for length in range(1000) if 26**length <= 2 ** (64 * 16))
SHARE = Fraction(2**131, 26**30)

RIGHT = {
    "bits_needed": [BITS, float(BITS), np.int64(BITS), torch.tensor(BITS)],
    "longest": [LONGEST, float(LONGEST), np.array(LONGEST)],
    "share_exact": [SHARE, float(SHARE), 9.7e-4, 0.00097, 2**-10],
    "updates_copy": [30, 30.0],
    "updates_reverse": [59, np.float32(59)],
    "updates_attention": [0, 0.0, torch.tensor(0)],
    "memory_32": [2048, torch.tensor(2048.0)],
}


def test_the_updates_are_what_a_simulation_counts():
    """Follow the first letter: a set of (letter, updates passed) travels through the states."""
    length = 30
    state, said = {}, {}
    for letter in range(length):  # the encoder: one update reads one letter
        state = {old: passed + 1 for old, passed in state.items()} | {letter: 0}
    for step in range(length):  # the decoder: one update before each letter it says
        state = {old: passed + 1 for old, passed in state.items()}
        said[step] = state
    assert said[0][0] == RIGHT["updates_copy"][0]
    assert said[length - 1][0] == RIGHT["updates_reverse"][0]


@pytest.mark.parametrize(("name", "given"), [(n, g) for n, gs in RIGHT.items() for g in gs])
def test_right_answers_pass_in_any_format(name, given):
    result = check.fixed_state_bottleneck(**{name: given})
    assert [outcome.status for outcome in result.outcomes].count("passed") == 1
    assert not result.messages


def test_everything_right_passes():
    answers = {name: values[0] for name, values in RIGHT.items()}
    assert check.fixed_state_bottleneck(**answers).passed


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("bits_needed", 150, "round up letter by letter"),
        ("bits_needed", 141, "fraction of a bit too little"),
        ("bits_needed", 141.013, "fraction of a bit too little"),
        ("bits_needed", 780, "one-hot code"),
        ("bits_needed", 240, "a byte per letter"),
        ("bits_needed", 98, "natural"),
        ("bits_needed", 97.743, "natural, and not rounded"),
        ("bits_needed", 43, "decimal"),
        ("bits_needed", 42.449, "decimal, and not rounded"),
        ("bits_needed", 120, "tell 16 apart"),
        ("bits_needed", 5, "enough for one letter"),
        ("bits_needed", 30, "only two letters"),
        ("bits_needed", 128, "swapped"),
        ("bits_needed", 26**30, "number of strings"),
        ("longest", 218, "One letter too long"),
        ("longest", 217.85, "whole number of letters"),
        ("longest", 204, "every letter a whole number of bits"),
        ("longest", 204.8, "length is not a whole number"),
        ("longest", 39, "size of the alphabet"),
        ("longest", 128, "a byte per letter"),
        ("longest", 435, "32 bits"),
        ("longest", 13, "single bit per number"),
        ("longest", 3, "one of the 64 numbers"),
        ("longest", 27, "2 bytes"),
        ("longest", 64, "One letter per number"),
        ("longest", 314, "natural"),
        ("longest", 1024, "number of bits of the state"),
        ("longest", 149, "significand"),
        ("share_exact", 2.0**-11, "You rounded the bits"),
        ("share_exact", 131 / 141.01, "share of the *bits*"),
        ("share_exact", 131 / 150, "every letter rounded up"),
        ("share_exact", 1 - 2**-10, "the share that must fail"),
        ("share_exact", 1 / 10, "*each* missing bit"),
        ("share_exact", 0.097, "in percent"),
        ("share_exact", 10 / 141, "bits that is missing"),
        ("share_exact", 26.0**-30, "blind guess"),
        ("share_exact", 2.0**-131, "one over the number of states"),
        ("share_exact", 1, "as many patterns"),
        ("share_exact", 0, "not zero"),
        ("updates_copy", 31, "do not count the update that reads"),
        ("updates_copy", 29, "encoder's updates only"),
        ("updates_copy", 59, "when the string is reversed"),
        ("updates_copy", 60, "whole encoder and the whole decoder"),
        ("updates_copy", 1, "only after the whole string"),
        ("updates_copy", 0, "has to travel there"),
        ("updates_reverse", 60, "do not count the update that reads"),
        ("updates_reverse", 58, "also the first time"),
        ("updates_reverse", 31, "length plus one"),
        ("updates_reverse", 0, "has to travel there"),
        ("updates_reverse", 30, "the way in a copy"),
        ("updates_reverse", 29, "encoder's updates only"),
        ("updates_reverse", 1, "*last* letter"),
        ("updates_attention", 30, "reads the encoder state of that letter directly"),
        ("updates_attention", 29, "way to the last encoder state"),
        ("updates_attention", 1, "no update of a state"),
        ("memory_32", 64, "one encoder state"),
        ("memory_32", 32, "number of states"),
        ("memory_32", 96, "You add"),
        ("memory_32", 4096, "weight matrix"),
        ("memory_32", 4096, "looked at once"),
        ("memory_32", 2112, "one state too many"),
        ("memory_32", 32768, "in bits"),
        ("memory_32", 1024, "pairs of letters"),
    ],
)
def test_wrong_answers_are_diagnosed(name, given, message):
    result = check.fixed_state_bottleneck(**{name: given})
    assert result.status == "failed"
    assert message in result.messages


@pytest.mark.parametrize("placeholder", [None, ...])
def test_an_untouched_cell_is_not_attempted(placeholder):
    result = check.fixed_state_bottleneck(**dict.fromkeys(RIGHT, placeholder))
    assert result.status == "not attempted"
    assert not result.messages


@pytest.mark.parametrize("rubbish", ["many", [1, 2], float("nan"), math.inf, -3, object()])
def test_rubbish_fails_without_an_exception(rubbish):
    result = check.fixed_state_bottleneck(**dict.fromkeys(RIGHT, rubbish))
    assert {outcome.status for outcome in result.outcomes} == {"failed"}
    assert "broke" not in result.messages


def test_the_answer_is_not_leaked():
    messages = check.fixed_state_bottleneck(**dict.fromkeys(RIGHT, 7777)).messages
    assert messages.count("not a mistake known here") == len(RIGHT)
    for answer in (BITS, LONGEST, 30, 59, 2048, "0.00097", "0.00096"):
        assert str(answer) not in messages
