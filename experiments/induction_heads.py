"""Exercise 15.16 (d): small attention-only models trained on texts that repeat themselves.

Two layers and one, texts of many periods and of a single one, and the initialization of GPT-2;
losses and head scores during training, and at the end what each model does on other texts.
"""

from collections.abc import Iterator
from typing import Any

import torch

from page_code import definitions

page = definitions(
    "gpt/in-context-learning",
    "losses_and_scores",
    "probe_model",
    "repeated_texts",
    "train_on_repeats",
)

KINDS: dict[str, dict[str, Any]] = {
    "two layers": {"n_layers": 2, "periods": [8, 16], "std": 32**-0.5, "steps": 1500},
    "one layer": {"n_layers": 1, "periods": [8, 16], "std": 32**-0.5, "steps": 3000},
    "two layers, one period": {"n_layers": 2, "periods": [12, 12], "std": 32**-0.5, "steps": 1500},
    "one layer, one period": {"n_layers": 1, "periods": [12, 12], "std": 32**-0.5, "steps": 1500},
    "two layers, std 0.02": {"n_layers": 2, "periods": [8, 16], "std": 0.02, "steps": 3000},
}
RUNS: dict[str, dict[str, Any]] = {
    f"{kind}, seed {seed}": config | {"seed": seed}
    for kind, config in KINDS.items()
    for seed in range(3)
}
REPLAY = 2


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield losses and scores, every 25 steps at first, then every 250; at last, the probes."""
    # The same texts for all seeds of a kind.
    held_out = page.repeated_texts(200, config["periods"], torch.Generator().manual_seed(99))
    for step, model in page.train_on_repeats(**config):
        if step % (25 if step < 750 else 250) == 0:
            yield {"step": step, **page.losses_and_scores(model, *held_out)}
    yield page.probe_model(model)
