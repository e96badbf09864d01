"""Exercise 35.05: the page's minimal GPT, trained 17 times as long, and on 50 stories only.

Also with biases that start as PyTorch draws them. Model, loop and measures are those of the page.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from llmbook.data import Corpus, corpus
from llmbook.data.stories import grammar
from page_code import definitions

page = definitions(
    "gpt/minimal-gpt",
    "GPT_SHAPE",
    "MinimalGPT",
    "TOKEN_KINDS",
    "anywhere",
    "continue_texts",
    "story_starts",
    "token_kinds",
    "token_losses",
    "train_minimal_gpt",
    "windows_at",
)

KINDS: dict[str, dict[str, Any]] = {
    "5,000 steps": {"stories": 20_000, "steps": 5000},
    "300 steps": {"stories": 2500, "steps": 300},
    "300 steps, random biases": {"stories": 2500, "steps": 300, "random biases": True},
    "50 stories": {"stories": 50, "steps": 600},
}
RUNS: dict[str, dict[str, Any]] = {
    f"{kind}, seed {seed}": config | {"seed": seed}
    for kind, config in KINDS.items()
    for seed in range(3)
}
REPLAY = 1
FIRST, EVERY, EVALUATE = 5, 25, 250  # steps; the first is early, for the tests to compute again
HELD_OUT, CURVE = 400, 128  # stories, and how many of them for the curve
SAMPLES = 100


@cache
def stories(n: int) -> Corpus:
    """Return the page's corpus with n stories to train on; the held-out ones are the same."""
    return corpus(train=n, validation=HELD_OUT, test=1)


def _possible(opening: str) -> bool:
    """Return whether the grammar can tell a story that begins like that."""
    try:
        return bool(grammar().token_log_probabilities(opening))
    except ValueError:
        return False


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the loss every 25 steps, held out every 250; at last where and at what it stands."""
    data = stories(config["stories"])
    context, newline = page.GPT_SHAPE["context_length"], data.vocabulary.ids["\n"]
    torch.manual_seed(config["seed"])
    model = page.MinimalGPT(len(data.vocabulary), **page.GPT_SHAPE)
    if config.get("random biases"):
        for layer in model.modules():
            if isinstance(layer, nn.Linear) and layer.bias is not None:
                nn.init.uniform_(layer.bias, -(layer.in_features**-0.5), layer.in_features**-0.5)
    starts = page.story_starts(data.validation, newline, context)
    openings = page.windows_at(data.validation, starts, context)
    batch_at = page.anywhere(data.train, context, seed=config["seed"])
    losses = []
    for step, loss in page.train_minimal_gpt(model, batch_at, config["steps"]):
        losses.append(loss)
        if step == FIRST or step % EVERY == 0:
            result: dict[str, Any] = {"step": step, "loss": float(np.mean(losses[-EVERY:]))}
            if step in (FIRST, config["steps"]) or step % EVALUATE == 0:
                held_out = page.token_losses(model, openings[:CURVE])
                result["held-out loss"] = held_out.mean().item()
            yield result

    places = np.random.default_rng(0).integers(len(data.validation) - context, size=HELD_OUT)
    middles = page.windows_at(data.validation, torch.from_numpy(places), context)
    kinds = page.token_kinds(data.validation, data.vocabulary.symbols)
    opening_losses = page.token_losses(model, openings)
    opening_kinds = page.windows_at(kinds, starts, context)[:, 1:]
    draws = np.random.default_rng(config["seed"]).random((SAMPLES, context - 1))
    sampled = page.continue_texts(model, torch.full((SAMPLES, 1), newline), draws)
    possible = [_possible(data.vocabulary.decode(text[1:])) for text in sampled]
    trained_on = page.windows_at(
        data.train, page.story_starts(data.train, newline, context)[:HELD_OUT], context
    )
    yield {
        "openings": opening_losses.mean(dim=0).tolist(),
        "anywhere": page.token_losses(model, middles).mean(dim=0).tolist(),
        "by kind": [
            opening_losses[opening_kinds == kind].mean().item()
            for kind in range(len(page.TOKEN_KINDS))
        ],
        "trained on": page.token_losses(model, trained_on).mean().item(),
        "possible": float(np.mean(possible)),
    }
