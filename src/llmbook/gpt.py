"""A GPT that reads in one sitting: tokens in, logits out.

>>> model = GPT(GPTConfig(vocab_size=10, n_layers=1, d_model=16))
>>> model(torch.tensor([[1, 2, 3]])).shape
torch.Size([1, 3, 10])

One configuration covers GPT-2 (learned positions, LayerNorm, GELU), Llama (rotary positions,
RMSNorm, SwiGLU, grouped queries), Mixtral (experts) and what lies between.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.attention import causal_mask
from llmbook.positions import pair_frequencies, rotation, sinusoidal_encoding, turn

POSITIONS = ("none", "learned", "sinusoidal", "rotary")
NORMS = ("layer", "rms")
FEED_FORWARDS = ("gelu", "gelu_tanh", "swiglu")


@dataclass(frozen=True)
class GPTConfig:
    """Shape of a model.

    `positions`, `norm` and `feed_forward` are one of `POSITIONS`, `NORMS`, `FEED_FORWARDS`;
    `context_length` bounds the input only if positions are learned. With fewer `n_kv_heads` than
    `n_heads`, queries share keys and values (None: as many; 1: multi-query). `d_ff` is the width of
    the feed-forward layer (None: 4 · d_model, or 8/3 · d_model for SwiGLU, whose third matrix makes
    that as many weights). With `n_experts` each token takes the `experts_per_token` feed-forward
    layers that a router chooses. `post_norm` normalizes after each addition, as the first
    Transformer did, instead of before each layer. `tied` uses the embedding as output matrix, too.
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
    n_kv_heads: int | None = None
    d_ff: int | None = None
    norm: str = "layer"
    norm_epsilon: float = 1e-5
    post_norm: bool = False
    feed_forward: str = "gelu"
    n_experts: int | None = None
    experts_per_token: int = 1
    bias: bool = True
    tied: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("vocab_size", "n_layers", "n_heads", "d_model", "context_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("n_kv_heads", "d_ff", "n_experts"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {getattr(self, name)}")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model must be a multiple of n_heads = {self.n_heads}, got {self.d_model}"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(
                f"n_heads must be a multiple of n_kv_heads = {self.kv_heads}, got {self.n_heads}"
            )
        choices = {"positions": POSITIONS, "norm": NORMS, "feed_forward": FEED_FORWARDS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        if self.positions == "rotary" and self.d_head % 2:
            raise ValueError(
                f"d_model / n_heads must be even for rotary positions, got {self.d_head}"
            )
        if self.window is not None and not self.causal:
            raise ValueError("window needs causal=True")
        if not 1 <= self.experts_per_token <= (self.n_experts or 1):
            raise ValueError(
                f"experts_per_token must be from 1 to n_experts = {self.n_experts}, "
                f"got {self.experts_per_token}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads

    @property
    def kv_heads(self) -> int:
        """Number of key-value heads."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def ff_width(self) -> int:
        """Width of the feed-forward layer, or of one expert."""
        if self.d_ff is not None:
            return self.d_ff
        return round(8 * self.d_model / 3) if self.feed_forward == "swiglu" else 4 * self.d_model


class KVCache:
    """Keys and values of all layers for the first `length` tokens of `batch_size` texts.

    Give it to the model with the tokens that follow, under ``torch.no_grad()``; to forget what came
    after some position, set `length` back. Its memory, for `capacity` tokens, is taken at once.
    """

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int,
        capacity: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = (config.n_layers, batch_size, config.kv_heads, capacity, config.d_head)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty_like(self.keys)
        self.length = 0

    @property
    def capacity(self) -> int:
        return self.keys.shape[-2]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store one layer's k and v (batch, kv_heads, n, d_head); return all of that layer."""
        end = self.length + k.shape[-2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


class Sight(NamedTuple):
    """What the attention of all layers has in common in one pass."""

    causal: bool = True  # the usual triangle, which the kernel knows by itself
    mask: Tensor | None = None  # (n, m), True where a position may look: any other limit
    rotation: tuple[Tensor, Tensor] | None = None  # cosines and sines, (n, d_head / 2) each
    scale: float | None = None  # factor of the scores (None: 1 / √d_head)
    cache: KVCache | None = None


class Attention(nn.Module):
    """Multi-head, grouped-query or multi-query self-attention (Ainslie et al., 2023)."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.dropout = layer, config.dropout
        self.d_head, self.n_heads, self.n_kv_heads = config.d_head, config.n_heads, config.kv_heads
        n_qkv_heads = config.n_heads + 2 * config.kv_heads
        self.qkv = nn.Linear(config.d_model, n_qkv_heads * config.d_head, bias=config.bias)
        self.out = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(
        self, x: Float[Tensor, "batch n d_model"], sight: Sight
    ) -> Float[Tensor, "batch n d_model"]:
        qkv = self.qkv(x).unflatten(-1, (-1, self.d_head)).transpose(1, 2)  # (batch, heads, n, d)
        q, k, v = qkv.split([self.n_heads, self.n_kv_heads, self.n_kv_heads], dim=1)
        if sight.rotation is not None:
            q, k = turn(q, *sight.rotation), turn(k, *sight.rotation)
        if sight.cache is not None:
            k, v = sight.cache.extend(self.layer, k, v)
        attended = F.scaled_dot_product_attention(
            *(q, k, v),
            attn_mask=sight.mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=sight.causal,
            scale=sight.scale,
            enable_gqa=self.n_kv_heads < self.n_heads,
        )
        return self.out(attended.transpose(1, 2).flatten(-2))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """GELU between two matrices, or SwiGLU: a third one gates (Shazeer, 2020, equation 6)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.kind, d, d_ff = config.feed_forward, config.d_model, config.ff_width
        self.up = nn.Linear(d, d_ff, bias=config.bias)
        if self.kind == "swiglu":
            self.gate = nn.Linear(d, d_ff, bias=config.bias)
        self.down = nn.Linear(d_ff, d, bias=config.bias)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        if self.kind == "swiglu":
            hidden = F.silu(self.gate(x)) * self.up(x)
        else:
            hidden = F.gelu(self.up(x), approximate="tanh" if self.kind == "gelu_tanh" else "none")
        return self.down(hidden)  # type: ignore[no-any-return]


class Experts(nn.Module):
    """Feed-forward layers of which a router chooses some for every token.

    One expert a token is weighted with its probability (Switch: Fedus et al., 2022, equation 2), of
    several the probabilities are made to sum to 1 (Mixtral: Jiang et al., 2024, section 2.1). No
    token is dropped. `balance` is the load-balancing loss of the last pass, 1 for equal shares
    (Fedus et al., 2022, equation 4, without its factor α).
    """

    balance: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        assert config.n_experts is not None
        self.n_chosen = config.experts_per_token
        self.router = nn.Linear(config.d_model, config.n_experts, bias=False)
        self.experts = nn.ModuleList(FeedForward(config) for _ in range(config.n_experts))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        tokens = x.flatten(0, -2)
        probabilities = self.router(tokens).float().softmax(dim=-1)  # (tokens, experts)
        weights, chosen = probabilities.topk(self.n_chosen)
        if self.n_chosen > 1:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        out = torch.zeros_like(tokens)
        for i, expert in enumerate(self.experts):
            token, place = (chosen == i).nonzero(as_tuple=True)
            weight = weights[token, place, None].to(tokens.dtype)
            out = out.index_add(0, token, weight * expert(tokens[token]))
        share = F.one_hot(chosen, len(self.experts)).float().mean(dim=(0, 1))  # of all choices
        self.balance = len(self.experts) * (share * probabilities.mean(dim=0)).sum()
        return out.view_as(x)


class Block(nn.Module):
    """Transformer block: attention, then a feed-forward layer or experts, each added to x."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.post_norm = config.post_norm
        self.norm1, self.norm2 = _norm(config), _norm(config)
        self.attention = Attention(config, layer)
        self.mlp = FeedForward(config) if config.n_experts is None else Experts(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "batch n d_model"], sight: Sight
    ) -> Float[Tensor, "batch n d_model"]:
        if self.post_norm:
            x = self.norm1(x + self.dropout(self.attention(x, sight)))
            return self.norm2(x + self.dropout(self.mlp(x)))  # type: ignore[no-any-return]
        x = x + self.dropout(self.attention(self.norm1(x), sight))
        return x + self.dropout(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


def _norm(config: GPTConfig) -> nn.Module:
    if config.norm == "rms":
        return nn.RMSNorm(config.d_model, eps=config.norm_epsilon)
    return nn.LayerNorm(config.d_model, eps=config.norm_epsilon, bias=config.bias)


class GPT(nn.Module):
    """Decoder-only Transformer (Radford et al., 2019); with ``causal=False``, an encoder."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        if config.positions == "learned":
            self.places = nn.Embedding(config.context_length, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        # With post-norm the last block has normalized already.
        self.norm = nn.Identity() if config.post_norm else _norm(config)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tied:
            self.head.weight = self.tokens.weight
        # GPT-2's start: small weights, smaller still where a layer adds to the residual stream.
        for name, weight in self.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.n_layers))
            elif weight.ndim == 2:
                nn.init.normal_(weight, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(
        self,
        tokens: Int[Tensor, "batch n"],
        *,
        cache: KVCache | None = None,
        frequencies: Float[Tensor, "pairs"] | None = None,
        temperature: float = 1.0,
    ) -> Float[Tensor, "batch n vocab_size"]:
        """Return the logits at every position; see `transform` for the options."""
        x = self.features(tokens, cache=cache, frequencies=frequencies, temperature=temperature)
        return self.head(x)  # type: ignore[no-any-return]

    def features(
        self,
        tokens: Int[Tensor, "batch n"],
        *,
        cache: KVCache | None = None,
        frequencies: Float[Tensor, "pairs"] | None = None,
        temperature: float = 1.0,
    ) -> Float[Tensor, "batch n d_model"]:
        """Return the last layer's normalized state at every position; see `transform`."""
        return self.transform(
            self.tokens(tokens), cache=cache, frequencies=frequencies, temperature=temperature
        )

    def transform(
        self,
        x: Float[Tensor, "batch n d_model"],
        *,
        cache: KVCache | None = None,
        frequencies: Float[Tensor, "pairs"] | None = None,
        temperature: float = 1.0,
    ) -> Float[Tensor, "batch n d_model"]:
        """Add positions to embedded inputs and send them through all blocks.

        With a `cache`, x continues the text in it, which grows. `frequencies` (d_head / 2, radians
        per position) takes the place of a rotary model's own, and `temperature` divides the
        attention scores: what context extension changes.

        Raises
        ------
        ValueError
            If the text is longer than learned positions or the cache reach, a cache is given to a
            model that is not causal, or frequencies to one that is not rotary.
        """
        x, sight = self._place(x, cache, frequencies, temperature)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, sight)
        if cache is not None:
            cache.length += x.shape[1]
        return self.norm(x)  # type: ignore[no-any-return]

    def _place(
        self, x: Tensor, cache: KVCache | None, frequencies: Tensor | None, temperature: float
    ) -> tuple[Tensor, Sight]:
        """Add what belongs to each position, and work out what all layers need to know."""
        config, n = self.config, x.shape[1]
        start = 0 if cache is None else cache.length
        end = start + n
        if cache is not None and not config.causal:
            raise ValueError("cache needs a causal model")
        if cache is not None and end > cache.capacity:
            raise ValueError(f"the text is {end} tokens long, cache has room for {cache.capacity}")
        places = torch.arange(start, end, device=x.device)
        turns = None
        if config.positions == "learned":
            if end > config.context_length:
                raise ValueError(
                    f"tokens are {end} long, context_length is {config.context_length}"
                )
            x = x + self.places(places)
        elif config.positions == "sinusoidal":
            x = x + sinusoidal_encoding(places, config.d_model).to(x)
        if config.positions == "rotary":
            if frequencies is None:
                frequencies = pair_frequencies(config.d_head, config.rotary_base)
            if len(frequencies) != config.d_head // 2:
                raise ValueError(
                    f"frequencies must be {config.d_head // 2}, one a pair, got {len(frequencies)}"
                )
            turns = rotation(places, frequencies, dtype=x.dtype)
        elif frequencies is not None:
            raise ValueError(f"frequencies need rotary positions, not {config.positions!r}")
        triangle = config.causal and config.window is None and start == 0
        mask = None
        if config.causal and not triangle and (n > 1 or config.window is not None):
            mask = causal_mask(n, end, window=config.window, device=x.device)
        scale = 1 / (temperature * math.sqrt(config.d_head))
        return x, Sight(triangle, mask, turns, scale, cache)


def generate(
    model: GPT,
    tokens: Int[Tensor, "batch n"],
    n_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "batch longer"]:
    """Continue each text by `n_tokens` sampled tokens; `temperature` 0 takes the most probable.

    `top_k` leaves only that many tokens to choose from. The model sees the last `context_length`
    tokens at most; up to there keys and values are cached.

    Raises
    ------
    ValueError
        If `n_tokens` or `temperature` is negative or `top_k` is less than 1.
    """
    if n_tokens < 0:
        raise ValueError(f"n_tokens must not be negative, got {n_tokens}")
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    config, training = model.config, model.training
    weight = model.tokens.weight
    cache = KVCache(
        *(config, tokens.shape[0], config.context_length), device=weight.device, dtype=weight.dtype
    )
    model.eval()
    with torch.no_grad():
        for _ in range(n_tokens):
            if tokens.shape[1] <= config.context_length:
                logits = model(tokens[:, cache.length :], cache=cache)[:, -1]
            else:  # every token has moved by one place, and all keys with it
                logits = model(tokens[:, -config.context_length :])[:, -1]
            if top_k is not None:
                least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
                logits = logits.masked_fill(logits < least, -torch.inf)
            if temperature == 0:
                new = logits.argmax(dim=-1, keepdim=True)
            else:
                chances = (logits / temperature).softmax(dim=-1)
                new = torch.multinomial(chances, 1, generator=generator)
            tokens = torch.cat([tokens, new], dim=1)
    model.train(training)
    return tokens
