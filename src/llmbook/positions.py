"""Positions: the sinusoidal encoding and the rotary embedding (RoPE).

>>> sinusoidal_encoding(torch.arange(2), d_model=4)[0].tolist()  # sin 0, cos 0, sin 0, cos 0
[0.0, 1.0, 0.0, 1.0]
"""

import torch
from jaxtyping import Float
from torch import Tensor


def pair_frequencies(
    d: int, base: float = 10_000.0, *, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "pairs"]:
    """Return base^(-2i/d) for i = 0 … d/2 - 1, in radians per position.

    Both the sinusoidal encoding (Vaswani et al., 2017, section 3.5) and the rotary embedding (Su
    et al., 2021, section 3.2.2) turn pair i of the d components at this rate.

    Raises
    ------
    ValueError
        If `d` is not a positive even number or `base` is not positive.
    """
    if d < 2 or d % 2:
        raise ValueError(f"d must be a positive even number, got {d}")
    if not base > 0:
        raise ValueError(f"base must be positive, got {base}")
    return float(base) ** (-torch.arange(0, d, 2, dtype=dtype) / d)


def sinusoidal_encoding(
    positions: Tensor,
    d_model: int,
    base: float = 10_000.0,
    *,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n d_model"]:
    """Return sin and cos of position times frequency, interleaved: (n,) → (n, d_model).

    Component 2i is the sine and component 2i + 1 the cosine of pair i (Vaswani et al., 2017,
    section 3.5). The angles are computed in float64, so that far positions lose no digits.
    """
    if positions.ndim != 1:
        raise ValueError(f"positions must have shape (n,), got {tuple(positions.shape)}")
    cos, sin = rotation(positions, pair_frequencies(d_model, base), dtype=dtype)
    return torch.stack([sin, cos], dim=-1).flatten(-2)


def rotation(
    positions: Tensor, frequencies: Float[Tensor, "pairs"], *, dtype: torch.dtype = torch.float32
) -> tuple[Float[Tensor, "n pairs"], Float[Tensor, "n pairs"]]:
    """Return cosine and sine of m · frequencies[i] for every position m and pair i.

    The angles are computed in float64, so that far positions lose no digits.
    """
    # Apple's GPUs have no float64.
    device = "cpu" if positions.device.type == "mps" else positions.device
    angles = positions.to(device).double()[:, None] * frequencies.to(device).double()
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    return cos.to(positions.device), sin.to(positions.device)


def turn(
    x: Float[Tensor, "*batch n d"],
    cos: Float[Tensor, "n pairs"],
    sin: Float[Tensor, "n pairs"],
    *,
    interleaved: bool = False,
) -> Float[Tensor, "*batch n d"]:
    """Turn every pair of each vector by the angle whose cosine and sine are given; see `rotate`."""
    first, second = (x[..., 0::2], x[..., 1::2]) if interleaved else x.chunk(2, dim=-1)
    turned = [first * cos - second * sin, first * sin + second * cos]
    return torch.stack(turned, dim=-1).flatten(-2) if interleaved else torch.cat(turned, dim=-1)


def rotate(
    x: Float[Tensor, "*batch n d"],
    positions: Tensor,
    frequencies: Float[Tensor, "pairs"],
    *,
    interleaved: bool = False,
) -> Float[Tensor, "*batch n d"]:
    """Turn pair i of the vector at position m by the angle m · frequencies[i] (RoPE).

    Su et al. (2021), equation 15. A pair is (x[i], x[i + d/2]), the half-split convention of
    GPT-NeoX and Hugging Face's Llama, or (x[2i], x[2i + 1]) if `interleaved`, that of the paper.
    The angles are computed in float64, the rotation in the type of `x`.

    Raises
    ------
    ValueError
        If `positions` is not (n,) or there are not d/2 frequencies.
    """
    n, d = x.shape[-2:]
    if positions.shape != (n,):
        raise ValueError(f"positions must have shape ({n},), got {tuple(positions.shape)}")
    if frequencies.shape[0] * 2 != d:
        raise ValueError(f"frequencies must be d/2 = {d / 2:g}, got {frequencies.shape[0]} of them")
    cos, sin = (part.to(x) for part in rotation(positions, frequencies, dtype=x.dtype))
    return turn(x, cos, sin, interleaved=interleaved)
