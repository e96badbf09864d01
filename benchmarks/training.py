"""Training speed of llmbook.gpt: beside Hugging Face's GPT-2, and as a share of a card's peak.

    python benchmarks/training.py
    python benchmarks/training.py --device cuda [--batch 32] [--eager] [--peak 1e15]

On the CPU, one thread: tokens/s of `llmbook.gpt` and of `GPT2LMHeadModel` of the same size, without
dropout, in the same loop on the same batches, a few steps of each in turn. Hugging Face's model is
measured as it comes, and with an activation function that PyTorch computes in one kernel.

With ``--device cuda`` (or ``--utilization``): the model FLOPs utilization (Chowdhery et al., 2022,
appendix B) of a model, GPT-2 small unless told, in bfloat16 with ``torch.compile``.
"""

import argparse
import dataclasses
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from llmbook.counting import A100, GPT2_SMALL, H100, H200, Shape, forward_flops, parameters
from llmbook.gpt import GPT, GPTConfig
from llmbook.train import TrainConfig, random_windows, train

SIZES = {(4, 128, 64): 10, (4, 256, 128): 3}  # layers, width, context → steps of a round
BATCH, HEADS, VOCABULARY, ROUNDS = 16, 4, 65, 9
# Part of a card's name → its data sheet, of the SXM form; others, such as PCIe, need --peak.
PEAKS = {"H200": H200, "H100": H100, "A100": A100}


def gpt2_shape(layers: int, width: int, heads: int, context: int, vocabulary: int) -> Shape:
    """Return the shape of a GPT-2 of this size."""
    return dataclasses.replace(
        GPT2_SMALL,
        n_layers=layers,
        d_model=width,
        n_heads=heads,
        n_kv_heads=heads,
        d_ff=4 * width,
        n_positions=context,
        vocab_size=vocabulary,
    )


def ours(shape: Shape) -> GPT:
    """Return the model of `llmbook.gpt` that is GPT-2 in this shape."""
    return GPT(
        GPTConfig(
            *(shape.vocab_size, shape.n_layers, shape.n_heads, shape.d_model, shape.n_positions),
            positions="learned",
            feed_forward="gelu_tanh",
            tied=True,
        )
    )


def hugging_face(shape: Shape, activation: str) -> GPT2LMHeadModel:
    """Return Hugging Face's model of this shape, without dropout."""
    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.n_positions,
        n_embd=shape.d_model,
        n_layer=shape.n_layers,
        n_head=shape.n_heads,
        activation_function=activation,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    return GPT2LMHeadModel(config)


def loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss from the logits of either kind of model."""
    logits = model(inputs)
    logits = getattr(logits, "logits", logits)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def compare(layers: int, width: int, context: int, steps: int) -> None:
    """Print tokens/s of each model, of their loop, and the ratios."""
    shape = gpt2_shape(layers, width, HEADS, context, VOCABULARY)
    models = {
        "llmbook.gpt": ours(shape),
        "GPT2LMHeadModel": hugging_face(shape, "gelu_new"),
        "the same, one-kernel GELU": hugging_face(shape, "gelu_pytorch_tanh"),
    }
    expected = parameters(shape)["total"]
    for name, model in models.items():
        count = sum(parameter.numel() for parameter in model.parameters())
        assert count == expected, f"{name} has {count:,} parameters, not {expected:,}"

    text = torch.randint(VOCABULARY, (100_000,), generator=torch.Generator().manual_seed(0))
    batch_at = random_windows(text, BATCH, context)
    config = TrainConfig(steps=(ROUNDS + 1) * steps, log_every=steps)
    runs = {
        name: train(model.train(), batch_at, config, loss=loss) for name, model in models.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    passes: list[float] = []
    for turn in range(ROUNDS + 1):  # the first warms up
        for name, run in runs.items():
            start = time.process_time()  # of the one thread, whatever else the machine does
            next(run)
            seconds[name].append(time.process_time() - start)
        start = time.process_time()
        for step in range(turn * steps, (turn + 1) * steps):
            models["llmbook.gpt"].zero_grad()
            loss(models["llmbook.gpt"], *batch_at(step + 1)).backward()
        passes.append(time.process_time() - start)

    print(f"\n{layers} layers, width {width}, context {context}, batch {BATCH}: ", end="")
    print(f"{expected:,} parameters, {ROUNDS} rounds of {steps} steps")
    print(f"{'':<28} tokens/s  llmbook.gpt is … times as fast (quartiles)")
    mine = seconds["llmbook.gpt"][1:]
    for name, all_rounds in seconds.items():
        rounds = all_rounds[1:]
        rate = steps * BATCH * context / statistics.median(rounds)
        ratios = [theirs / own for theirs, own in zip(rounds, mine, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:<28} {rate:8,.0f}  {middle:.2f} ({low:.2f} to {high:.2f})")
    share = statistics.median(p / own for p, own in zip(passes[1:], mine, strict=True))
    print(f"forward and backward pass alone take {share:.1%} of the time of llmbook.gpt")


def utilization(
    shape: Shape, batch: int, steps: int, device: str, peak: float, compiled: bool
) -> None:
    """Print the share of the peak that training a model of this shape reaches."""
    torch.manual_seed(0)
    model = ours(shape).to(device)
    text = torch.randint(shape.vocab_size, (50 * shape.n_positions,), device=device)
    config = TrainConfig(steps=4 * steps, log_every=steps, precision="bfloat16", compile=compiled)
    run = train(model, random_windows(text, batch, shape.n_positions), config)
    next(run)  # compiles
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        next(run)  # reads the loss, and so waits for the device
        seconds.append((time.perf_counter() - start) / steps)
    second = statistics.median(seconds)
    tokens = batch * shape.n_positions
    print(
        f"{parameters(shape)['total']:,} parameters, {batch} × {shape.n_positions} tokens a step, "
        f"bfloat16, {'compiled' if compiled else 'not compiled'}: {1e3 * second:,.1f} ms a step "
        f"({1e3 * min(seconds):,.1f} to {1e3 * max(seconds):,.1f}), {tokens / second:,.0f} tokens/s"
    )
    for causal, counted in ((False, "all scores of attention"), (True, "only the causal ones")):
        # A backward pass is two products for each one of the forward pass.
        flops = 3 * batch * forward_flops(shape, shape.n_positions, causal=causal)["total"]
        print(
            f"model FLOPs utilization, counting {counted}: {flops / second / peak:.1%} of the peak "
            f"of {peak / 1e12:,.1f} TFLOP/s"
        )
    if device == "cuda":
        print(f"peak memory: {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


def main() -> None:
    """Print the comparison or the utilization."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--utilization", action="store_true", help="measure it on the CPU, too")
    parser.add_argument("--peak", type=float, help="FLOP/s of the device, dense, 16 bit")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--steps", type=int, default=20, help="of each of three measurements")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768, help="a multiple of 64, that of a head")
    parser.add_argument("--context", type=int, default=1024)
    # GPT-2's 50,257, filled up to a multiple of 128: odd widths are slow on a GPU.
    parser.add_argument("--vocabulary", type=int, default=50304)
    options = parser.parse_args()
    for name in ("steps", "batch", "layers", "context", "vocabulary"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}")
    if options.width < 64 or options.width % 64:
        parser.error(f"--width must be a multiple of 64, got {options.width}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no CUDA device")
    torch.set_num_threads(1)  # on the CPU: small products, and a busy core would stall the other
    on_cuda = options.device == "cuda"
    where = torch.cuda.get_device_name() if on_cuda else "one thread"
    print(f"training on {options.device} ({where}), PyTorch {torch.__version__}")
    if not on_cuda and not options.utilization:
        for (layers, width, context), steps in SIZES.items():
            compare(layers, width, context, steps)
        return
    peak = options.peak or next((card.flops for part, card in PEAKS.items() if part in where), None)
    if peak is None:
        parser.error(f"--peak: the peak of {where!r} is not known here")
    shape = gpt2_shape(
        options.layers, options.width, options.width // 64, options.context, options.vocabulary
    )
    utilization(shape, options.batch, options.steps, options.device, peak, not options.eager)


if __name__ == "__main__":
    main()
