"""Exercise 13.31: pre-norm and post-norm, with warm-up of the learning rate and without.

Deep and narrow GPTs on the book's stories, at four learning rates, three seeds each.
"""

from collections.abc import Iterator
from typing import Any

import torch

from llmbook.data import corpus
from llmbook.train import TrainConfig, held_out_windows, random_windows, train
from page_code import definitions

page = definitions("gpt/minimal-gpt", "deep_gpt")

RUNS: dict[str, dict[str, Any]] = {
    f"{'post' if post_norm else 'pre'}-norm, rate {rate:g}, warm-up {warm_up}, seed {seed}": {
        "post_norm": post_norm,
        "learning_rate": rate,
        "warmup_steps": warm_up,
        "seed": seed,
        "n_layers": 8,
        "steps": 600,
    }
    for post_norm in (False, True)
    for rate in (5e-4, 1e-3, 2e-3, 4e-3)
    for warm_up in (0, 200)
    for seed in range(3)
}
REPLAY = 1
FIRST, EVERY = 3, 50  # steps; the first is early, for the tests to compute again


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the losses every 50 steps, at last the held-out one and that of word frequencies."""
    data = corpus(train=1500, validation=50, test=5)
    model = page.deep_gpt(
        config["post_norm"], config["n_layers"], config["seed"], vocab_size=len(data.vocabulary)
    )
    length = model.config.context_length
    training = TrainConfig(
        steps=config["steps"],
        learning_rate=config["learning_rate"],
        warmup_steps=config["warmup_steps"],
        final_fraction=1.0,
        weight_decay=0.0,
        betas=(0.9, 0.999),
        clip=1e9,
        log_every=1,
    )
    held_out = held_out_windows(data.validation, 32, length)
    counts = torch.bincount(data.train, minlength=len(data.vocabulary)).double()
    unigram = -(counts.clamp(min=1) / counts.sum()).log()[torch.cat([t for _, t in held_out])]
    batches = random_windows(data.train, 8, length, config["seed"])
    for record in train(model, batches, training, validation=held_out):
        if record["step"] == FIRST or record["step"] % EVERY == 0:
            kept = ("step", "loss", "gradient_norm", "validation_loss")
            result = {name: record[name] for name in kept if name in record}
            if "validation_loss" in record:
                result["unigram_loss"] = unigram.mean().item()
            yield result
