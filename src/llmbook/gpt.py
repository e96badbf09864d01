"""A small GPT that reads in one sitting: tokens in, logits out.

>>> model = GPT(GPTConfig(vocab_size=10, n_layers=1, d_model=16))
>>> model(torch.tensor([[1, 2, 3]])).shape
torch.Size([1, 3, 10])
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.attention import causal_mask
from llmbook.positions import pair_frequencies, rotate, sinusoidal_encoding

POSITIONS = ("none", "learned", "sinusoidal", "rotary")


@dataclass(frozen=True)
class GPTConfig:
    """Shape of a model.

    `positions` is one of `POSITIONS`; `context_length` bounds the input only if they are learned.
    `causal=False` lets every position see every other (an encoder); `window` limits attention to
    that many positions, the own one included.
    """

    vocab_size: int
    n_layers: int = 2
    n_heads: int = 2
    d_model: int = 64
    context_length: int = 128
    positions: str = "rotary"
    rotary_base: float = 10_000.0
    causal: bool = True
    window: int | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "n_layers", "n_heads", "d_model", "context_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model must be a multiple of n_heads = {self.n_heads}, got {self.d_model}"
            )
        if self.positions not in POSITIONS:
            raise ValueError(f"positions must be one of {POSITIONS}, got {self.positions!r}")
        if self.positions == "rotary" and (self.d_model // self.n_heads) % 2:
            raise ValueError(
                "d_model / n_heads must be even for rotary positions, got "
                f"{self.d_model // self.n_heads}"
            )
        if self.window is not None and not self.causal:
            raise ValueError("window needs causal=True")


class Attention(nn.Module):
    """Multi-head self-attention; q and k are turned if the model is rotary."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model)
        self.out = nn.Linear(config.d_model, config.d_model)

    def forward(
        self,
        x: Float[Tensor, "batch n d_model"],
        mask: Tensor | None,
        frequencies: Tensor | None,
        temperature: float,
    ) -> Float[Tensor, "batch n d_model"]:
        q, k, v = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (batch, heads, n, d_head)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        if frequencies is not None:
            places = torch.arange(x.shape[1], device=x.device)
            q, k = rotate(q, places, frequencies), rotate(k, places, frequencies)
        scale = 1 / (temperature * math.sqrt(q.shape[-1]))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        return self.out(attended.transpose(1, 2).flatten(-2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm Transformer block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        d = config.d_model
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attention = Attention(config)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(
        self,
        x: Float[Tensor, "batch n d_model"],
        mask: Tensor | None,
        frequencies: Tensor | None,
        temperature: float,
    ) -> Float[Tensor, "batch n d_model"]:
        x = x + self.attention(self.norm1(x), mask, frequencies, temperature)
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class GPT(nn.Module):
    """Decoder-only Transformer (Radford et al., 2019); with ``causal=False``, an encoder."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        if config.positions == "learned":
            self.places = nn.Embedding(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        # GPT-2's start: small weights, smaller still where a layer adds to the residual stream.
        for name, weight in self.named_parameters():
            if name.endswith(("out.weight", "mlp.2.weight")):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.n_layers))
            elif weight.ndim == 2:
                nn.init.normal_(weight, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def features(
        self,
        tokens: Int[Tensor, "batch n"],
        *,
        frequencies: Float[Tensor, "pairs"] | None = None,
        temperature: float = 1.0,
    ) -> Float[Tensor, "batch n d_model"]:
        """Return the last layer's normalized state at every position.

        `frequencies` (d_head / 2, radians per position) takes the place of a rotary model's own,
        and `temperature` divides the attention scores: what context extension changes.

        Raises
        ------
        ValueError
            If the input is longer than learned positions reach, or frequencies are given to a model
            that is not rotary.
        """
        config, n = self.config, tokens.shape[1]
        x = self.tokens(tokens)
        places = torch.arange(n, device=tokens.device)
        if config.positions == "learned":
            if n > config.context_length:
                raise ValueError(f"tokens are {n} long, context_length is {config.context_length}")
            x = x + self.places(places)
        elif config.positions == "sinusoidal":
            x = x + sinusoidal_encoding(places, config.d_model).to(x)
        if config.positions == "rotary":
            if frequencies is None:
                frequencies = pair_frequencies(config.d_model // config.n_heads, config.rotary_base)
        elif frequencies is not None:
            raise ValueError(f"frequencies need rotary positions, not {config.positions!r}")
        mask = causal_mask(n, window=config.window, device=tokens.device) if config.causal else None
        for block in self.blocks:
            x = block(x, mask, frequencies, temperature)
        return self.norm(x)  # type: ignore[no-any-return]

    def forward(
        self,
        tokens: Int[Tensor, "batch n"],
        *,
        frequencies: Float[Tensor, "pairs"] | None = None,
        temperature: float = 1.0,
    ) -> Float[Tensor, "batch n vocab_size"]:
        """Return the logits at every position; see `features` for the options."""
        x = self.features(tokens, frequencies=frequencies, temperature=temperature)
        return self.head(x)  # type: ignore[no-any-return]
