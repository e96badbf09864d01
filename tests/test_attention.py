"""llmbook.attention against PyTorch's kernel and against masks written out."""

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError

from llmbook.attention import causal_mask, standard_attention


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_standard_attention_agrees_with_pytorch(batch, masked):
    torch.manual_seed(0)
    q, k = (torch.randn(*batch, n, 6, dtype=torch.float64) for n in (4, 7))
    v = torch.randn(*batch, 7, 5, dtype=torch.float64)
    mask = causal_mask(4, 7) if masked else None
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(standard_attention(q, k, v, mask), expected)
    torch.testing.assert_close(
        standard_attention(q, k, v, mask, scale=0.3),
        F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3),
    )


def test_shapes_are_checked():
    with pytest.raises(TypeCheckError):
        standard_attention(torch.randn(4, 6), torch.randn(7, 5), torch.randn(7, 5))


def test_causal_mask_written_out():
    assert causal_mask(3).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    # The queries are the last two of four positions.
    assert causal_mask(2, 4).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    # A window of two: the position itself and the one before.
    assert causal_mask(4, window=2).int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]
    assert torch.equal(causal_mask(4, window=1), torch.eye(4, dtype=torch.bool))
    assert torch.equal(causal_mask(4, window=9), causal_mask(4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"n": 3, "m": 2}, "m must be at least n = 3"),
        ({"n": 3, "window": 0}, "window must be at least 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        causal_mask(**arguments)
