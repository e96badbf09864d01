"""FlashAttention-2 in pure PyTorch beside the fused kernel and the standard form.

    python benchmarks/flash_attention.py [--device cuda] [--block 512]

Time and peak memory of the tiled attention that the page on efficient attention builds, with the
same of ``F.scaled_dot_product_attention`` and of the standard form, which holds the matrix of
scores. One head of width 64 in float32, forward alone and with the backward pass, causal and not.
On the CPU everything runs on one thread. The inputs are not counted as memory.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from llmbook.attention import causal_mask, standard_attention
from llmbook.measure import loglog_slope, median_seconds, peak_bytes
from page_code import definitions

PAGE = definitions("attention/efficient-attention", "tiled_attention", "available_bytes")
LENGTHS = (1024, 2048, 4096, 8192, 16384)
WIDTH = 64
NAMES = ("fused", "standard", "tiled")

Form = Callable[[Tensor, Tensor, Tensor], Tensor]


def forms(causal: bool, block: int) -> dict[str, Form]:
    """Return the three ways to attend, by name."""

    def standard(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = causal_mask(q.shape[-2], device=q.device) if causal else None
        return standard_attention(q, k, v, mask)

    return {
        "fused": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
        "standard": standard,
        "tiled": lambda q, k, v: PAGE.tiled_attention(q, k, v, causal, block, block),
    }


def step(form: Form, inputs: list[Tensor], d_out: Tensor | None) -> None:
    """Run forward, and backward if there is a gradient of the output."""
    out = form(*inputs)
    if d_out is not None:
        torch.autograd.grad(out, inputs, d_out)


def measure(run: Callable[[], object], n: int, device: str) -> tuple[float, float]:
    """Return milliseconds and peak megabytes of `run`."""
    if n <= 4096 or device == "cuda":
        return 1e3 * median_seconds(run, 3, device), peak_bytes(run, device) / 1e6
    seconds = []

    def timed() -> None:  # seconds long: once is enough, and the meter costs little beside it
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)

    peak = peak_bytes(timed, device)
    return 1e3 * seconds[0], peak / 1e6


def fits(n: int, device: str) -> bool:
    """Tell whether the standard form has the memory that it needs, with something to spare."""
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else PAGE.available_bytes()
    return 5 * 4 * n**2 < free


def report(causal: bool, backward: bool, block: int, device: str) -> None:
    """Print one table, and the exponents of time and memory."""
    what = "forward and backward" if backward else "forward"
    print(f"\n{what}, {'causal' if causal else 'not causal'}")
    print("                 time (ms)           tiled /                peak (MB)          tiled /")
    print("     n    fused standard    tiled  fused standard    fused standard    tiled", end="")
    print("  fused standard")
    table: dict[int, dict[str, tuple[float, float]]] = {}
    for n in LENGTHS:
        generator = torch.Generator().manual_seed(n)
        *qkv, d_out = torch.randn(4, 1, 1, n, WIDTH, generator=generator).to(device)
        inputs = [x.requires_grad_(backward) for x in qkv]
        table[n] = {}
        for name, form in forms(causal, block).items():
            if name == "standard" and not fits(n, device):
                continue
            run = partial(step, form, inputs, d_out if backward else None)
            table[n][name] = measure(run, n, device)
        print(f"{n:6,}" + _columns(table[n], 0) + _columns(table[n], 1), flush=True)
    for which, quantity in enumerate(("time", "peak memory")):
        slopes = []
        for name in NAMES:
            lengths = [n for n in LENGTHS[2:] if name in table[n]]
            if len(lengths) > 1:
                slope = loglog_slope(lengths, [table[n][name][which] for n in lengths])
                slopes.append(f"{name} {slope:.2f}")
        print(f"exponent of the {quantity} from n = {LENGTHS[2]:,} on: {', '.join(slopes)}")


def _columns(row: dict[str, tuple[float, float]], which: int) -> str:
    ours = row["tiled"][which]
    values = [f"{row[name][which]:.1f}" if name in row else "–" for name in NAMES]
    ratios = [f"{ours / row[name][which]:.3g}" if name in row else "–" for name in NAMES[:2]]
    return "".join(text.rjust(9) for text in values) + ratios[0].rjust(7) + ratios[1].rjust(9)


def main() -> None:
    """Print the four tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--block", type=int, default=512, help="queries, and keys, of a block")
    options = parser.parse_args()
    if options.block < 1:
        parser.error(f"--block must be at least 1, got {options.block}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no CUDA device")
    torch.set_num_threads(1)  # on the CPU: small products, and a busy core would stall the other
    where = torch.cuda.get_device_name() if options.device == "cuda" else "one thread"
    print(
        f"tiled, fused and standard attention on {options.device} ({where}), float32, d = {WIDTH}, "
        f"blocks of {options.block} × {options.block}, PyTorch {torch.__version__}"
    )
    for backward in (False, True):
        for causal in (False, True):
            report(causal, backward, options.block, options.device)


if __name__ == "__main__":
    main()
