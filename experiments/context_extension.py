"""Exercise 11.25 (a): rotary frequencies for texts longer than those trained on.

A small model learns Markov chains in context at 64 tokens and then reads 512, with its frequencies
as they are or changed, and after a little training at the new length. Losses are in nats above
those of the best predictor, averaged over 128 texts and 16 positions each.
"""

import copy
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from page_code import definitions

page = definitions(
    "attention/efficient-attention",
    "chain_model",
    "counting_losses",
    "extended_frequencies",
    "chain_width",
    "losses_by_position",
    "run_layers",
    "sample_chains",
    "chain_base",
    "small_extensions",
    "train_on_chains",
    "chain_length",
    "weight_on_previous",
)

RUNS = {
    f"seed {seed}": {"seed": seed, "steps": 2000, "factor": 8, "tuning_steps": 100}
    for seed in range(3)
}
REPLAY = 3
TEXTS, BIN = 128, 16


def binned(by_position: Tensor) -> list[float]:
    """Average over texts, and over every BIN positions."""
    return by_position.reshape(-1, by_position.shape[-1] // BIN, BIN).mean(dim=(0, 2)).tolist()


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the training losses, then one curve over positions after another."""
    seed, factor = config["seed"], config["factor"]
    model = page.chain_model(seed)
    for loss in page.train_on_chains(model, config["steps"], page.chain_length, seed):
        yield {"loss": loss}

    # The same texts in every run.
    length = factor * page.chain_length
    tokens = page.sample_chains(TEXTS, length + 1, np.random.default_rng(1000))
    floor = page.counting_losses(tokens)
    yield {"floor": binned(floor)}

    def excess(run_model: Any, **changes: Any) -> list[float]:
        return binned(page.losses_by_position(run_model, tokens, **changes) - floor)

    ways = page.small_extensions(factor)
    for name, changes in ways.items():
        yield {name: excess(model, **changes)}
    for other in (2, 4, 16):
        ntk = page.extended_frequencies(page.chain_width, page.chain_base, other, "ntk")
        yield {f"ntk {other}": excess(model, frequencies=ntk)}
    for changed in ("interpolation", "by parts"):
        for pair in ((changed, "none"), ("none", changed)):  # layer 1, layer 2
            own = [ways[name]["frequencies"] for name in pair]
            by_layer = functools.partial(page.run_layers, model, frequencies=own)
            yield {" / ".join(pair): excess(by_layer)}
    for name in ("none", "interpolation", "ntk", "yarn"):
        weights = page.weight_on_previous(model, tokens[:, :-1], **ways[name])
        yield {f"previous {name}": binned(weights)}
    for name in ("none", "interpolation", "ntk"):
        frequencies = ways[name]["frequencies"]
        tuned = copy.deepcopy(model)
        for _ in page.train_on_chains(
            tuned, config["tuning_steps"], length, seed + 100, frequencies, batch=4, rate=1e-3
        ):
            pass
        yield {f"tuned {name}": excess(tuned, frequencies=frequencies)}
