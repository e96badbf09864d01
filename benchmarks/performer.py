"""Performer beside exact attention: time, peak memory and error against the length.

    python benchmarks/performer.py [--device cuda]

One head of width 64, 256 orthogonal features, forward only. Performer is the one of the page on
efficient attention. Exact attention is PyTorch's fused kernel and the standard form, which holds
the matrix of scores and is left out where that is larger than 1 GB. Queries and keys are normal,
their scores with a standard deviation of 0.1: flat attention, or Performer's error would be larger
still. Errors are relative to that of a uniform average over the keys that a query sees: 1 is no
better than that.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from llmbook.attention import causal_mask, standard_attention
from llmbook.measure import loglog_slope, median_seconds, peak_bytes
from page_code import definitions

PAGE = definitions("attention/efficient-attention", "performer", "draw_projection")
LENGTHS = (1024, 2048, 4096, 8192, 16384)
WIDTH, FEATURES, SCORE_STD = 64, 256, 0.1


def forms(
    causal: bool, projection: Tensor
) -> dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    """Return the three ways to attend, by name."""

    def standard(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = causal_mask(q.shape[-2], device=q.device) if causal else None
        return standard_attention(q, k, v, mask)

    return {
        "fused": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
        "standard": standard,
        "Performer": lambda q, k, v: PAGE.performer(q, k, v, projection, causal),
    }


def uniform_average(v: Tensor, causal: bool) -> Tensor:
    """Give every query the mean of the values it sees."""
    if not causal:
        return v.mean(dim=-2, keepdim=True).expand_as(v)
    seen = torch.arange(1, v.shape[-2] + 1, device=v.device)
    return v.cumsum(dim=-2) / seen[:, None]


def measure(n: int, causal: bool, device: str) -> dict[str, tuple[float, float, float]]:
    """Return milliseconds, peak megabytes and relative error of each form at one length."""
    generator = torch.Generator().manual_seed(n)
    q, k, v = torch.randn(3, 1, 1, n, WIDTH, generator=generator).to(device)
    q, k = q * SCORE_STD**0.5, k * SCORE_STD**0.5
    projection = PAGE.draw_projection(FEATURES, WIDTH, generator).to(device)
    measured = {}
    exact = None
    for name, form in forms(causal, projection).items():
        if name == "standard" and 4 * n**2 > 1e9:
            continue
        out = form(q, k, v)
        exact = out if exact is None else exact  # the fused kernel comes first
        error = (out - exact).norm() / (uniform_average(v, causal) - exact).norm()
        # Sub-second runs are repeated; the slowest ones are measured once, after the run above.
        seconds = median_seconds(lambda form=form: form(q, k, v), 3 if n < 8192 else 1, device)
        peak = peak_bytes(lambda form=form: form(q, k, v), device)
        measured[name] = 1e3 * seconds, peak / 1e6, error.item()
    return measured


def report(causal: bool, device: str) -> None:
    """Print one table, and the exponents of time and memory."""
    print(f"\n{'causal' if causal else 'not causal'}, r = {FEATURES}, d = {WIDTH}")
    print("               time (ms)             Performer /", end="")
    print("        peak memory (MB)         Performer /")
    print("     n    fused standard Performer  fused standard", end="")
    print("    fused standard Performer  fused standard   error")
    table = {n: measure(n, causal, device) for n in LENGTHS}
    for n, measured in table.items():
        ms, mb = ({name: m[i] for name, m in measured.items()} for i in (0, 1))
        print(f"{n:6,}" + _columns(ms) + _columns(mb) + f"{measured['Performer'][2]:8.2f}")
    for i, what in enumerate(("time", "peak memory")):
        slopes = []
        for name in ("fused", "standard", "Performer"):
            lengths = [n for n in LENGTHS[1:] if name in table[n]]
            slope = loglog_slope(lengths, [table[n][name][i] for n in lengths])
            slopes.append(f"{name} {slope:.2f}")
        print(f"exponent of the {what} from n = {LENGTHS[1]:,} on: {', '.join(slopes)}")


def _columns(values: dict[str, float]) -> str:
    ours = values["Performer"]
    ratios = {name: ours / value for name, value in values.items()}
    return "".join(
        f"{table[name]:{width}.{digits}f}" if name in table else "–".rjust(width)
        for table, name, width, digits in (
            (values, "fused", 9, 1),
            (values, "standard", 9, 1),
            (values, "Performer", 10, 1),
            (ratios, "fused", 7, 2),
            (ratios, "standard", 9, 2),
        )
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    device = parser.parse_args().device
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no CUDA device")
    torch.set_num_threads(1)  # on the CPU: small products, and a busy core would stall the other
    where = torch.cuda.get_device_name() if device == "cuda" else "one thread"
    print(f"Performer and exact attention on {device} ({where}), float32, forward")
    with torch.no_grad():
        for causal in (False, True):
            report(causal, device)


if __name__ == "__main__":
    main()
