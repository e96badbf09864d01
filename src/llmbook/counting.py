"""Parameters, floating-point operations, memory and time of a Transformer, from its shape.

>>> count = parameters(GPT2_SMALL)
>>> count["total"], count["attention"], count["mlp"]
(124439808, 28348416, 56669184)
>>> kv_cache_bytes(LLAMA2_70B, n_tokens=1)  # eight key-value heads in 80 layers, 16-bit numbers
327680

A multiply–add counts as two operations. Only matrix products are counted: all else (softmax,
normalization, activation functions) is a few operations per number.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Shape:
    """Shape of a decoder-only Transformer.

    `n_positions` is the number of learned position vectors (0: none); `gated` gives the MLP three
    matrices instead of two (SwiGLU); `bias` puts biases into all linear layers but the head;
    `rms` normalizes without a bias.
    """

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_ff: int
    vocab_size: int
    n_positions: int = 0
    gated: bool = True
    bias: bool = False
    rms: bool = True
    tied: bool = False

    def __post_init__(self) -> None:
        for name in ("n_layers", "d_model", "n_heads", "n_kv_heads", "d_ff", "vocab_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model must be a multiple of n_heads = {self.n_heads}, got {self.d_model}"
            )
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads must be a multiple of n_kv_heads = {self.n_kv_heads}, got {self.n_heads}"
            )
        if self.n_positions < 0:
            raise ValueError(f"n_positions must not be negative, got {self.n_positions}")

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads

    @property
    def d_kv(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.n_kv_heads * self.d_head


# Radford et al. (2019), table 2, as released (124 M and so on; the paper's own counts are lower).
GPT2_SMALL = Shape(
    *(12, 768, 12, 12, 3072, 50257), n_positions=1024, gated=False, bias=True, rms=False, tied=True
)
GPT2_MEDIUM = replace(GPT2_SMALL, n_layers=24, d_model=1024, n_heads=16, n_kv_heads=16, d_ff=4096)
GPT2_LARGE = replace(GPT2_SMALL, n_layers=36, d_model=1280, n_heads=20, n_kv_heads=20, d_ff=5120)
GPT2_XL = replace(GPT2_SMALL, n_layers=48, d_model=1600, n_heads=25, n_kv_heads=25, d_ff=6400)
# Touvron et al. (2023a), table 2 and the released configuration.
LLAMA_65B = Shape(80, 8192, 64, 64, 22016, 32000)
# Touvron et al. (2023b), section 2.2 and the released configurations.
LLAMA2_7B = Shape(32, 4096, 32, 32, 11008, 32000)
LLAMA2_13B = Shape(40, 5120, 40, 40, 13824, 32000)
LLAMA2_70B = Shape(80, 8192, 64, 8, 28672, 32000)
# Jiang et al. (2023), table 1.
MISTRAL_7B = Shape(32, 4096, 32, 8, 14336, 32000)
# Grattafiori et al. (2024), table 3.
LLAMA3_8B = Shape(32, 4096, 32, 8, 14336, 128256)
# Gemma Team (2024), table 1, which counts both matrices that read the input: 2 × 16,384.
GEMMA_2B = Shape(18, 2048, 8, 1, 16384, 256000, tied=True)


@dataclass(frozen=True)
class Accelerator:
    """Peak rates of one device: dense 16-bit operations/s, memory in bytes, memory bytes/s."""

    flops: float
    memory: float
    bandwidth: float


# NVIDIA's data sheets: A100 (2021), H100 and H200 SXM (2024); dense figures, without sparsity.
A100 = Accelerator(flops=312e12, memory=80e9, bandwidth=2.039e12)
H100 = Accelerator(flops=989.4e12, memory=80e9, bandwidth=3.35e12)
H200 = Accelerator(flops=989.4e12, memory=141e9, bandwidth=4.8e12)


def parameters(shape: Shape) -> dict[str, int]:
    """Return the number of parameters by kind, and in total; of tied matrices, one counts.

    Exact for GPT-2 (Radford et al., 2019) and Llama (Touvron et al., 2023).
    """
    d, d_kv, bias = shape.d_model, shape.d_kv, int(shape.bias)
    attention = 2 * d * d + 2 * d * d_kv + bias * (2 * d + 2 * d_kv)
    matrices = 3 if shape.gated else 2
    mlp = matrices * d * shape.d_ff + bias * ((matrices - 1) * shape.d_ff + d)
    norm = d if shape.rms else 2 * d
    count = {
        "embedding": shape.vocab_size * d,
        "positions": shape.n_positions * d,
        "attention": shape.n_layers * attention,
        "mlp": shape.n_layers * mlp,
        "norms": (2 * shape.n_layers + 1) * norm,
        "head": 0 if shape.tied else shape.vocab_size * d,
    }
    return {**count, "total": sum(count.values())}


def forward_flops(shape: Shape, n_tokens: int, *, causal: bool = False) -> dict[str, int]:
    """Return the operations of a forward pass over one text of `n_tokens`, by kind and in total.

    Two per weight and token, and for the scores and the weighted sum two products of n × n × d_head
    a head each (Kaplan et al., 2020, table 1). Standard attention computes the scores of masked
    pairs, too; with `causal` only those of allowed pairs count.

    Raises
    ------
    ValueError
        If `n_tokens` is less than 1.
    """
    if n_tokens < 1:
        raise ValueError(f"n_tokens must be at least 1, got {n_tokens}")
    d = shape.d_model
    pairs = n_tokens * (n_tokens + 1) // 2 if causal else n_tokens**2
    count = {
        "projections": 2 * n_tokens * shape.n_layers * (2 * d * d + 2 * d * shape.d_kv),
        "scores": 4 * pairs * shape.n_layers * d,
        "mlp": 2 * n_tokens * shape.n_layers * (3 if shape.gated else 2) * d * shape.d_ff,
        "head": 2 * n_tokens * d * shape.vocab_size,
    }
    return {**count, "total": sum(count.values())}


def training_flops(n_parameters: float, n_tokens: float) -> float:
    """Return 6 N D: two operations per weight and token forward, four backward.

    Kaplan et al. (2020), section 2.1. The rule leaves out the scores of attention;
    three times `forward_flops` has them.
    """
    _require_positive(n_parameters=n_parameters, n_tokens=n_tokens)
    return 6 * n_parameters * n_tokens


def device_hours(flops: float, device: Accelerator, utilization: float) -> float:
    """Return the hours that one device takes, at a share `utilization` of its peak (MFU).

    Chowdhery et al. (2022), appendix B.

    Raises
    ------
    ValueError
        If `flops` is not positive or `utilization` not in (0, 1].
    """
    _require_positive(flops=flops, utilization=utilization)
    if utilization > 1:
        raise ValueError(f"utilization must be at most 1, got {utilization}")
    return flops / (device.flops * utilization) / 3600


def weight_bytes(n_parameters: float, bits: float = 16) -> float:
    """Return the bytes of the weights at `bits` per weight."""
    _require_positive(n_parameters=n_parameters, bits=bits)
    return n_parameters * bits / 8


# Micikevicius et al. (2018) and Rajbhandari et al. (2020), section 3.1: what Adam keeps per
# parameter in mixed precision, in bytes.
MIXED_PRECISION_ADAM = {
    "weights (16 bit)": 2,
    "gradients (16 bit)": 2,
    "master weights (32 bit)": 4,
    "first moment (32 bit)": 4,
    "second moment (32 bit)": 4,
}


def training_state_bytes(n_parameters: float) -> float:
    """Return the bytes of weights, gradients and optimizer with Adam in mixed precision: 16 each.

    Rajbhandari et al. (2020), section 3.1. Activations come on top.
    """
    _require_positive(n_parameters=n_parameters)
    return n_parameters * sum(MIXED_PRECISION_ADAM.values())


def kv_cache_bytes(
    shape: Shape, n_tokens: int, *, batch: int = 1, bytes_per_number: float = 2
) -> float:
    """Return the bytes of the keys and values of `batch` texts of `n_tokens` in all layers.

    Pope et al. (2022), section 2.1; with fewer key-value heads than query heads, Ainslie et al.
    (2023).
    """
    _require_positive(n_tokens=n_tokens, batch=batch, bytes_per_number=bytes_per_number)
    return 2 * shape.n_layers * shape.d_kv * n_tokens * batch * bytes_per_number


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
