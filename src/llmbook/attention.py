"""Attention as its formula says it, and the masks that go with it.

For exercises in which attention is a means or the yardstick. The exercises that teach it write it
out on their page.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def standard_attention(
    q: Float[Tensor, "*batch n d_k"],
    k: Float[Tensor, "*batch m d_k"],
    v: Float[Tensor, "*batch m d_v"],
    mask: Bool[Tensor, "*#batch n m"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "*batch n d_v"]:
    """Return softmax(q kᵀ · scale) v, with the matrix of scores held in memory.

    Vaswani et al. (2017), equation 1. `mask` is True where a query may look (every row needs one
    True); `scale` is 1/√d_k unless given.
    """
    scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(dim=-1) @ v


def causal_mask(
    n: int,
    m: int | None = None,
    *,
    window: int | None = None,
    device: torch.device | str | None = None,
) -> Bool[Tensor, "n m"]:
    """Return the (n, m) mask that is True where a query may look: at itself and at what is before.

    With `m` keys (n of them unless given) the queries are the last n positions, as when a text is
    continued. `window` limits each query to that many positions, its own included (Mistral's
    sliding window: Jiang et al., 2023, section 2).

    Raises
    ------
    ValueError
        If n < 1, m < n, or window < 1.
    """
    m = n if m is None else m
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if m < n:
        raise ValueError(f"m must be at least n = {n}, or queries would come before all keys: {m}")
    if window is not None and window < 1:
        raise ValueError(f"window must be at least 1 (the position itself), got {window}")
    query = torch.arange(m - n, m, device=device)[:, None]
    key = torch.arange(m, device=device)
    allowed = key <= query
    return allowed if window is None else allowed & (key > query - window)
