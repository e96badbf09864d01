"""Exercises 13.21 and 13.22: one small GPT with other positions, norms and feed-forward layers.

Characters of Tiny Shakespeare, 5,000 steps each, three seeds; the loss is that on held-out text. At
the end also by position, in texts four times as long as those of the training.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmbook.data import characters, tiny_shakespeare
from llmbook.gpt import GPT, GPTConfig
from llmbook.train import TrainConfig, held_out_windows, random_windows, train

BASELINE = {"positions": "sinusoidal", "norm": "layer", "feed_forward": "gelu"}
VARIANTS = {
    "sinusoidal, LayerNorm, GELU": {},
    "learned positions": {"positions": "learned"},
    "RMSNorm": {"norm": "rms"},
    "SwiGLU": {"feed_forward": "swiglu"},
    "RMSNorm and SwiGLU": {"norm": "rms", "feed_forward": "swiglu"},
}
RUNS: dict[str, dict[str, Any]] = {
    f"{name}, seed {seed}": {
        "model": {"n_layers": 4, "n_heads": 4, "d_model": 64, "context_length": 64}
        | BASELINE
        | changes,
        "training": {"steps": 5000, "learning_rate": 1e-3, "warmup_steps": 100},
        "batch_size": 16,
        "seed": seed,
    }
    for seed in range(3)
    for name, changes in VARIANTS.items()
}
REPLAY = 1
FIRST, EVERY, EVALUATE = 5, 50, 250  # steps; the first is early, for the tests to compute again
HELD_OUT = 16  # batches of 64 windows
LONG, TEXTS, BIN = 256, 256, 8


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the loss every 50 steps, held out every 250, and at last by position."""
    tokens, held_out, vocab_size = plays()
    torch.manual_seed(config["seed"])
    model = GPT(GPTConfig(vocab_size=vocab_size, **config["model"]))
    yield from learning_curve(model, tokens, held_out, config)
    length = model.config.context_length
    texts = held_out.unfold(0, LONG + 1, LONG)[:TEXTS]
    yield {f"in texts of {length}": by_position(model, texts[:, : length + 1])}
    yield {f"in texts of {LONG}": by_position(lengthened(model, LONG), texts)}


def plays() -> tuple[Tensor, Tensor, int]:
    """Return the characters to train on, the held-out tenth, and how many different ones."""
    text = tiny_shakespeare()
    vocabulary = characters(text)
    tokens = vocabulary.encode(text)
    split = len(tokens) * 9 // 10
    return tokens[:split], tokens[split:], len(vocabulary)


def learning_curve(
    model: nn.Module, tokens: Tensor, held_out: Tensor, config: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Train the model and yield its losses."""
    length = config["model"]["context_length"]
    records = train(
        model,
        random_windows(tokens, config["batch_size"], length, config["seed"]),
        TrainConfig(**config["training"], log_every=FIRST, eval_every=EVALUATE),
        validation=held_out_windows(held_out, 64, length)[:HELD_OUT],
    )
    for record in records:
        if record["step"] == FIRST or record["step"] % EVERY == 0:
            kept = ("step", "loss", "validation_loss")
            yield {name: record[name] for name in kept if name in record}


@torch.no_grad()
def by_position(model: nn.Module, texts: Tensor) -> list[float]:
    """Return the mean loss in every bin of 8 positions; texts are (texts, positions + 1)."""
    model.eval()
    losses = torch.zeros(texts.shape[1] - 1, dtype=torch.float64)
    for part in texts.split(32):
        logits = model(part[:, :-1]).mT  # (texts, vocabulary, positions)
        losses += F.cross_entropy(logits, part[:, 1:], reduction="none").double().sum(dim=0)
    means: list[float] = (losses / len(texts)).view(-1, BIN).mean(dim=1).tolist()
    return means


def lengthened(model: GPT, length: int) -> GPT:
    """Return the model; learned positions go on with untrained ones, as drawn at the start."""
    if model.config.positions != "learned":
        return model
    torch.manual_seed(0)
    longer = GPT(GPTConfig(**{**vars(model.config), "context_length": length}))
    weights = model.state_dict()
    trained = weights.pop("places.weight")
    longer.load_state_dict(weights, strict=False)
    with torch.no_grad():
        longer.places.weight[: len(trained)] = trained
    return longer
