"""llmbook.positions against values by hand and against rotations written as complex numbers."""

import math

import pytest
import torch
from transformers.models.gpt_neox.modeling_gpt_neox import apply_rotary_pos_emb

from llmbook.positions import pair_frequencies, rotate, sinusoidal_encoding


def test_frequencies_by_hand():
    assert pair_frequencies(4).tolist() == pytest.approx([1, 0.01])
    assert pair_frequencies(6, base=8).tolist() == pytest.approx([1, 1 / 2, 1 / 4])


def test_sinusoidal_encoding_by_hand():
    encoding = sinusoidal_encoding(torch.tensor([0, 3]), d_model=4)
    assert encoding[0].tolist() == [0, 1, 0, 1]
    expected = [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)]
    assert encoding[1].tolist() == pytest.approx(expected, abs=1e-7)


def test_far_positions_lose_no_digits():
    encoding = sinusoidal_encoding(torch.tensor([1_000_001]), d_model=2)
    assert encoding[0].tolist() == pytest.approx([math.sin(1_000_001), math.cos(1_000_001)])


def test_interleaved_rotation_is_multiplication_by_a_complex_number():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    positions, frequencies = torch.tensor([0, 1, 7, 100, 3]), pair_frequencies(8)
    turns = torch.polar(torch.ones(5, 4, dtype=torch.float64), positions[:, None] * frequencies)
    expected = torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turns)
    torch.testing.assert_close(
        rotate(x, positions, frequencies, interleaved=True), expected.flatten(-2)
    )


def test_half_split_rotation_agrees_with_hugging_face():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 3, 5, 8)
    positions, frequencies = torch.arange(5), pair_frequencies(8)
    angles = (positions[:, None] * frequencies).repeat(1, 2)[None].float()
    expected = apply_rotary_pos_emb(q, k, angles.cos(), angles.sin())
    for x, turned in zip((q, k), expected, strict=True):
        torch.testing.assert_close(rotate(x, positions, frequencies), turned)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pair_frequencies(5), "d must be a positive even number, got 5"),
        (lambda: pair_frequencies(4, base=-1.0), "base must be positive, got -1"),
        (lambda: sinusoidal_encoding(torch.zeros(2, 2), 4), r"positions must have shape \(n,\)"),
        (
            lambda: rotate(torch.zeros(3, 4), torch.arange(2), pair_frequencies(4)),
            r"positions must have shape \(3,\)",
        ),
        (
            lambda: rotate(torch.zeros(3, 4), torch.arange(3), pair_frequencies(8)),
            "frequencies must be d/2 = 2, got 4",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
