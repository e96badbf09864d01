"""Exercise 13.8: a small Transformer that learns linear regression from the examples in its input.

What is recorded beside the training loss are mean squared differences from ridge regression, which
cannot be beaten on these tasks, so that they are errors above the least possible one.
"""

from collections.abc import Iterator
from typing import Any

import torch

from page_code import definitions

page = definitions(
    "gpt/in-context-learning",
    "RIDGE_GRID",
    "SHIFTS",
    "distance_to_ridge",
    "regression_training",
    "shifted_prompts",
    "shifted_ridge",
)

RUNS: dict[str, dict[str, int]] = {
    f"seed {seed}": {"seed": seed, "steps": 8000} for seed in range(3)
}
REPLAY = 2


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the loss of every 25th step, the distance from ridge at every 500th, and the tests."""
    model, records = page.regression_training(config["seed"], config["steps"])
    usual = "as in training"
    x, y = page.shifted_prompts(usual, 1024)
    for record in records:
        yield {"step": record["step"], "loss": record["loss"]}
        if record["step"] % 500 == 0:
            with torch.no_grad():
                distance = page.distance_to_ridge(model(x, y), x, y, page.shifted_ridge(usual))
            yield {"step": record["step"], "excess": distance.tolist()}
    for name in page.SHIFTS:
        x, y = page.shifted_prompts(name)
        with torch.no_grad():
            predicted = model(x, y)
        distance = page.distance_to_ridge(predicted, x, y, page.shifted_ridge(name))
        yield {name: distance.tolist()}
        if name == usual or "noise" in name:
            grid = [page.distance_to_ridge(predicted, x, y, ridge) for ridge in page.RIDGE_GRID]
            yield {f"{name}, by ridge": torch.stack(grid).tolist()}
