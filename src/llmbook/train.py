"""One training loop, for every model of the book.

>>> from llmbook.gpt import GPT, GPTConfig
>>> tokens = torch.arange(1000) % 7
>>> model = GPT(GPTConfig(vocab_size=7, n_layers=1, d_model=16))
>>> batch_at = random_windows(tokens[:900], batch_size=8, context_length=16, seed=0)
>>> held_out = held_out_windows(tokens[900:], batch_size=8, context_length=16)
>>> config = TrainConfig(steps=100, learning_rate=1e-2, eval_every=50)
>>> [record["step"] for record in train(model, batch_at, config, validation=held_out)][-1]
100

The model trains where it is: ``model.to(pick_device())`` moves it. The same script runs on several
devices under ``torchrun --nproc-per-node 8 script.py``.
"""

import atexit
import dataclasses
import math
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm import tqdm

# Tensors whose first dimension counts the examples, such as (inputs, targets).
Batch = tuple[Tensor, ...]
Loss = Callable[..., Tensor]
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainConfig:
    """How to train: steps, optimizer, schedule, and what happens every so many steps.

    The learning rate rises linearly over `warmup_steps`, then falls along half a cosine to
    `final_fraction` of its peak `learning_rate` at the last step (Loshchilov and Hutter, 2017; 1
    keeps it constant). AdamW decays matrices by `weight_decay` (`optimizer`). Gradients are scaled
    down to a global norm of at most `clip` (`math.inf`: never). `seed` is that of dropout.

    `log_every`, `eval_every` and `checkpoint_every` count steps; 0 evaluates and saves after the
    last step only. `precision` "auto" computes in bfloat16 on CUDA devices made for it, and in
    float32 elsewhere; weights and optimizer stay as they are. `compile` uses ``torch.compile``.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    final_fraction: float = 0.1
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    log_every: int = 1
    eval_every: int = 0
    checkpoint_every: int = 0
    precision: str = "auto"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 1, "log_every": 1, "eval_every": 0, "checkpoint_every": 0}
        for name, bound in {**least, "weight_decay": 0, "seed": 0}.items():
            if not getattr(self, name) >= bound:
                raise ValueError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(
                f"warmup_steps must be from 0 to steps = {self.steps}, got {self.warmup_steps}"
            )
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(f"final_fraction must be from 0 to 1, got {self.final_fraction}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {self.betas}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {self.precision!r}")


def next_token_loss(
    model: nn.Module, inputs: Int[Tensor, "batch n"], targets: Int[Tensor, "batch n"]
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of `model`'s logits (batch, n, vocab), in nats per target.

    Targets of −100 do not count (masked language models).
    """
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def train(
    model: nn.Module,
    batch_at: Callable[[int], Batch],
    config: TrainConfig,
    *,
    loss: Loss = next_token_loss,
    validation: Sequence[Batch] = (),
    checkpoint: Path | str | None = None,
) -> Iterator[dict[str, float]]:
    """Train `model` in place and yield a record of every logged step.

    Nothing happens until the records are asked for: ``list(train(...))``, or a ``for`` loop, in
    whose body the model is the one of that step and free to be looked at.

    Parameters
    ----------
    batch_at : function
        Step (1, 2, …, `config.steps`) → its batch, always the same one: `random_windows`, or your
        own. PyTorch's global generator, if it draws from that, is seeded with (seed, step).
    loss : function
        ``loss(model, *batch)`` → the mean loss of the batch, a scalar.
    validation : sequence of batches
        Held-out batches, the same at every evaluation.
    checkpoint : path
        File to save to. If it exists, training goes on after the step it was saved at, and ends
        with the same parameters, bit for bit, as without the interruption.

    Yields
    ------
    dict
        ``step``, the number of updates so far; ``loss`` of the step's batch and ``gradient_norm``
        (before clipping), both from before the update; ``learning_rate``; after every evaluation
        also ``validation_loss``.

    Raises
    ------
    ValueError
        If `checkpoint` is of another configuration or model, or processes cannot share a batch
        equally.

    Notes
    -----
    Under ``torchrun`` every process takes an equal part of each batch, and the gradients are
    averaged. That is the gradient of the whole batch if `loss` weighs all its examples equally.
    """
    parameters = _trainable(model)
    device = parameters[0].device
    rank, n_ranks = _processes(device)
    autocast = _autocast(config, device)
    adamw = optimizer(model, config)
    path = None if checkpoint is None else Path(checkpoint)
    done = _resume(path, model, adamw, config) if path and path.exists() else 0
    if n_ranks > 1:
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.detach(), src=0)
    if config.compile:
        loss = torch.compile(loss)

    quiet: dict[str, Any] = {"disable": True} if rank else {}  # else as TQDM_DISABLE says
    steps = range(done + 1, config.steps + 1)
    bar = tqdm(steps, initial=done, total=config.steps, leave=False, **quiet)
    for step in bar:
        model.train()
        adamw.zero_grad()  # here, not after the update: a caller may look at the gradients
        # All that is random is a function of seed and step, whatever the caller draws in between.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            _seed(device, config.seed, step)
            batch = _share(batch_at(step), rank, n_ranks, device)
            _seed(device, config.seed, step, rank)
            with autocast:
                value = loss(model, *batch)
        value.backward()  # type: ignore[no-untyped-call]
        value = value.detach()
        if n_ranks > 1:
            value = _average(parameters, value, n_ranks)
        norm = nn.utils.clip_grad_norm_(parameters, config.clip)
        rate = learning_rate(config, step)
        for group in adamw.param_groups:
            group["lr"] = rate
        adamw.step()

        record: dict[str, float] = {}
        if validation and _due(config, step, config.eval_every):
            with autocast:
                record["validation_loss"] = evaluate(model, validation, loss=loss)
        if path and rank == 0 and _due(config, step, config.checkpoint_every):
            _save(path, model, adamw, config, step)
        if record or _due(config, step, config.log_every):
            # Only now does the processor wait for the device.
            now = {"step": step, "loss": value.item(), "gradient_norm": norm.item()}
            bar.set_postfix_str(f"loss {now['loss']:.3f}", refresh=False)
            yield {**now, "learning_rate": rate, **record}


def evaluate(model: nn.Module, batches: Sequence[Batch], *, loss: Loss = next_token_loss) -> float:
    """Return the mean of `loss` over all examples, with the model in evaluation mode.

    Under ``torchrun`` the processes take turns at the batches and share the result.
    """
    if not batches:
        raise ValueError("batches must hold at least one batch, got none")
    device = next(model.parameters()).device
    rank, n_ranks = _processes(device)
    was_training = model.training
    model.eval()
    total = torch.zeros((), device=device)
    with torch.no_grad():
        for batch in batches[rank::n_ranks]:
            total += loss(model, *(tensor.to(device) for tensor in batch)) * len(batch[0])
    model.train(was_training)
    if n_ranks > 1:
        dist.all_reduce(total)
    return total.item() / sum(len(batch[0]) for batch in batches)


def random_windows(
    tokens: Int[Tensor, "n_tokens"], batch_size: int, context_length: int, seed: int = 0
) -> Callable[[int], Batch]:
    """Return the function from a step to its batch: windows at random places of a text.

    A batch is inputs and targets, both (batch_size, context_length); the targets are the inputs'
    next tokens. It depends on seed and step alone.

    Raises
    ------
    ValueError
        If `tokens` are too few for one window, or a size or the seed is out of range.
    """
    _check_windows(tokens, batch_size, context_length)
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    offsets = torch.arange(context_length + 1)

    def batch_at(step: int) -> Batch:
        random = np.random.default_rng((seed, step))
        starts = torch.from_numpy(random.integers(len(tokens) - context_length, size=batch_size))
        windows = tokens[(starts[:, None] + offsets).to(tokens.device)].long()
        return windows[:, :-1], windows[:, 1:]

    return batch_at


def held_out_windows(
    tokens: Int[Tensor, "n_tokens"], batch_size: int, context_length: int
) -> list[Batch]:
    """Cut a text into batches of consecutive windows, so that each token is predicted once.

    What is too short for a window is left out at the end; the last batch may be smaller.

    Raises
    ------
    ValueError
        If `tokens` are too few for one window, or a size is out of range.
    """
    _check_windows(tokens, batch_size, context_length)
    windows = tokens.long().unfold(0, context_length + 1, context_length)
    return [(part[:, :-1], part[:, 1:]) for part in torch.split(windows, batch_size)]


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of update number `step`, counted from 1."""
    if step <= config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    progress = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return config.learning_rate * (config.final_fraction + (1 - config.final_fraction) * cosine)


def optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter, 2019) that decays matrices only.

    A bias, or the gain of a normalization, has no norm worth keeping small: one number a feature
    does not overfit, and pulling a gain to zero would switch its feature off. Embeddings decay with
    the matrices: a token's row is one of the output layer where they are tied, and untied it is the
    input's linear layer, written as a look-up.
    """
    parameters = _trainable(model)
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = parameters[0].device.type in ("cpu", "cuda", "mps")  # one kernel for all parameters
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=fused)


def pick_device() -> torch.device:
    """Return this process's CUDA device if there is one, else Apple's (MPS), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("model must have parameters that require gradients, got none")
    return parameters


def _due(config: TrainConfig, step: int, every: int) -> bool:
    return step == config.steps or (every > 0 and step % every == 0)


def _seed(device: torch.device, *numbers: int) -> None:
    # Hashed, as PyTorch's generator looks at 32 bits only.
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    # ``torch.manual_seed`` seeds all devices, but takes 40 times as long.
    (torch.default_generator if device.type == "cpu" else torch).manual_seed(seed)


def _autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    made_for_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    enabled = config.precision == "bfloat16" or (config.precision == "auto" and made_for_it)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _check_windows(tokens: Tensor, batch_size: int, context_length: int) -> None:
    for name, value in (("batch_size", batch_size), ("context_length", context_length)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if tokens.ndim != 1 or len(tokens) <= context_length:
        raise ValueError(
            f"tokens must be one row of more than context_length = {context_length}, got shape "
            f"{tuple(tokens.shape)}"
        )


# Several processes.


def _processes(device: torch.device) -> tuple[int, int]:
    """Return this process's rank and the number of processes; first join those of torchrun."""
    if not dist.is_available():
        return 0, 1
    if dist.is_torchelastic_launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _share(batch: Batch, rank: int, n_ranks: int, device: torch.device) -> Batch:
    """Return this process's part of a batch, on its device."""
    size = len(batch[0])
    if size % n_ranks:
        raise ValueError(f"batch_at must give a multiple of {n_ranks} examples, got {size}")
    return tuple(part.chunk(n_ranks)[rank].to(device, non_blocking=True) for part in batch)


def _average(parameters: list[nn.Parameter], loss: Tensor, n_ranks: int) -> Tensor:
    """Average gradients and loss over the processes, in one message; return the loss."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss.view(1)])
    dist.all_reduce(flat)
    sizes = [*(parameter.numel() for parameter in parameters), 1]
    *averages, mean_loss = torch.split_with_sizes(flat / n_ranks, sizes)
    for parameter, average in zip(parameters, averages, strict=True):
        parameter.grad = average.view_as(parameter)
    return mean_loss[0]


# Checkpoints.


def _save(
    path: Path, model: nn.Module, adamw: torch.optim.Optimizer, config: TrainConfig, step: int
) -> None:
    """Write beside the file and rename: an interruption leaves the last whole checkpoint."""
    content = {
        "step": step,  # stands for the random state as well: see `_seed`
        "config": dataclasses.asdict(config),
        "shape": _shape(model),
        "model": model.state_dict(),
        "optimizer": adamw.state_dict(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    torch.save(content, beside)
    beside.replace(path)


def _resume(path: Path, model: nn.Module, adamw: torch.optim.Optimizer, config: TrainConfig) -> int:
    """Load a checkpoint into model and optimizer, and return its step."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        then, now = saved["config"] | saved["shape"], dataclasses.asdict(config) | _shape(model)
    except (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError) as error:
        raise ValueError(f"checkpoint must be a file that train wrote, got {path}") from error
    different = [
        f"{name} was {then.get(name)} and is {now.get(name)}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    if different:
        raise ValueError(f"checkpoint {path} is of another run: {'; '.join(different)}")
    model.load_state_dict(saved["model"])
    adamw.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def _shape(model: nn.Module) -> dict[str, Any]:
    """Return what tells one model from another: its configuration if any, and its tensors."""
    tensors = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return {"model": str(getattr(model, "config", type(model).__name__)), **tensors}
