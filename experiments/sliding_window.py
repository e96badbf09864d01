"""Exercise 11.25 (b): the loss of small models against the width of their sliding window.

The models of ``context_extension``, trained with windows and evaluated at the last position of
4,096 texts of 64 tokens; beside them the best predictors that see the last so many tokens only.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from page_code import definitions

page = definitions(
    "attention/efficient-attention",
    "chain_model",
    "gradient_by_distance",
    "losses_by_position",
    "sample_chains",
    "train_on_chains",
    "chain_length",
    "window_losses",
)

SHAPES = [(2, 2), (2, 4), (2, 8), (2, 16), (2, 32), (2, 64), (4, 8)]
RUNS: dict[str, dict[str, int]] = {
    f"{layers} layers, window {window}, seed {seed}": {
        "layers": layers,
        "window": window,
        "seed": seed,
        "steps": 1500,
    }
    for layers, window in SHAPES
    for seed in range(3)
} | {f"best of {reach} tokens": {"reach": reach} for reach in (3, 5, 7, 9, 15, 17, 29, 31, 33)}
REPLAY = 1
TEXTS, PART = 4096, 64


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield training losses and what the trained model does, or the losses of a best predictor."""
    # The same texts in every run.
    tokens = page.sample_chains(TEXTS, page.chain_length + 1, np.random.default_rng(1000))
    if "reach" in config:
        rng = np.random.default_rng(0)
        for part in tokens.split(PART):
            yield {"loss": float(page.window_losses(part, config["reach"], rng).mean())}
        return
    model = page.chain_model(config["seed"], config["layers"], config["window"])
    for loss in page.train_on_chains(model, config["steps"], page.chain_length, config["seed"]):
        yield {"loss": loss}
    yield {"last loss": page.losses_by_position(model, tokens)[:, -1].mean().item()}
    yield {"gradient": page.gradient_by_distance(model, tokens[:256]).mean(dim=0).tolist()}
