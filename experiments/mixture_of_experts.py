"""Exercise 35.10: four experts against dense models of equal active and of equal total parameters.

Characters of the stories, with the balancing loss and without, with a capacity and without. The
learning rate is chosen for each model on the validation part; the rest is measured on the test
part.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

from llmbook.train import evaluate, held_out_windows
from page_code import definitions

page = definitions(
    "gpt/architectures", "small_gpt", "story_characters", "switch_layers", "train_small"
)

MODELS: dict[str, dict[str, Any]] = {
    "dense, equal active": {"d_ff": 64, "weight": 0.0, "rate": 2e-2},
    "dense, equal total": {"d_ff": 256, "weight": 0.0, "rate": 2e-2},
    "experts": {"d_ff": 64, "n_experts": 4, "weight": 0.01, "rate": 1e-2},
}
EXPERTS = MODELS["experts"]
VARIANTS: dict[str, dict[str, Any]] = {
    "experts, no loss": EXPERTS | {"weight": 0.0},
    # As many operations as the experts take, with a schedule that ends there.
    "dense, equal total, equal work": MODELS["dense, equal total"] | {"steps": 294},
    "experts, no loss, large router": EXPERTS | {"weight": 0.0, "router_std": 1.0},
    "experts, large router": EXPERTS | {"router_std": 1.0},
    "experts, capacity 1": EXPERTS | {"capacity_factor": 1.0},
    "experts, no loss, capacity 1": EXPERTS | {"weight": 0.0, "capacity_factor": 1.0},
}
RATES = (5e-3, 1e-2, 2e-2, 4e-2)
RUNS: dict[str, dict[str, Any]] = (
    {
        f"{name}, rate {rate:g}": model | {"rate": rate, "seed": 0}
        for rate in RATES
        for name, model in MODELS.items()
        if rate != model["rate"]
    }
    | {
        f"{name}, seed {seed}": model | {"seed": seed}
        for seed in range(6)
        for name, model in MODELS.items()
    }
    | {
        f"{name}, seed {seed}": variant | {"seed": seed}
        for name, variant in VARIANTS.items()
        for seed in range(3)
    }
)
STEPS = 500
REPLAY = 1
FIRST, EVERY = 5, 25  # steps; the first is early, for the tests to compute again
FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
PLACES = 12  # in a word; the last is for all later ones


@cache
def data() -> tuple[Any, Tensor, Tensor, Tensor]:
    """Vocabulary, and the parts to train on, to choose the learning rate by, and to judge by."""
    return page.story_characters()


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield means over 25 steps; at last the test loss, and what the experts are used for."""
    vocabulary, tokens, validation, test = data()
    of_model = ("d_ff", "n_experts", "capacity_factor", "router_std", "seed")
    model = page.small_gpt(len(vocabulary), **{k: config[k] for k in of_model if k in config})
    records = page.train_small(
        *(
            model,
            tokens,
            config.get("steps", STEPS),
            config["rate"],
            config["weight"],
            config["seed"],
        ),
        held_out_windows(validation, 64, 64)[:4],
    )
    seen: list[dict[str, Any]] = []
    for record in records:
        seen.append(record)
        if record["step"] == FIRST or record["step"] % EVERY == 0:
            # The first result is for other processors to repeat, where a token that is torn
            # between two experts may choose the other one: the loss hardly sees it, the load does.
            names = ("loss",) if record["step"] == FIRST else ("loss", "load", "dropped")
            means = {name: mean(seen, name) for name in names}
            kept = ("step", "validation_loss")
            yield {name: record[name] for name in kept if name in record} | {
                name: value for name, value in means.items() if value != []
            }
            seen = []
    batches = held_out_windows(test, 64, 64)[:8]
    layers = page.switch_layers(model)
    yield {"test_loss": evaluate(model, batches)}
    for factor in FACTORS if layers else ():
        dropped = []
        for layer in layers:
            layer.capacity_factor = factor
        losses = []
        for batch in batches:
            losses.append(evaluate(model, [batch]))
            dropped.append([layer.dropped.item() for layer in layers])
        yield {
            "factor": factor,
            "loss_at_factor": sum(losses) / len(losses),
            "dropped_at_factor": torch.tensor(dropped).mean(0).tolist(),
        }
    if layers:
        yield choices(model, batches, vocabulary)


def mean(records: list[dict[str, Any]], name: str) -> Any:
    """Average a number, or a list of them, over the steps."""
    return torch.tensor([record[name] for record in records]).mean(0).tolist()


@torch.no_grad()
def choices(model: Any, batches: list[tuple[Tensor, ...]], vocabulary: Any) -> dict[str, Any]:
    """Count how often each expert of each layer was chosen, by what the token is."""
    layers, space = page.switch_layers(model), vocabulary.ids[" "]
    sizes = {"character": len(vocabulary), "next": len(vocabulary), "place": PLACES}
    counts = {
        name: torch.zeros(len(layers), len(layers[0].experts), size, dtype=torch.long)
        for name, size in sizes.items()
    }
    for layer in layers:
        layer.capacity_factor = None
    for inputs, targets in batches:
        model.eval()(inputs)
        kinds = {"character": inputs, "next": targets, "place": places(inputs, space)}
        for name, kind in kinds.items():
            known = kind.flatten() >= 0
            for table, layer in zip(counts[name], layers, strict=True):
                pairs = (layer.expert[known], kind.flatten()[known])
                table.index_put_(pairs, torch.tensor(1), accumulate=True)
    return {name: table.tolist() for name, table in counts.items()}


def places(inputs: Tensor, space: int) -> Tensor:
    """Return for each character how many stand between it and the last space; before, −1."""
    at = torch.arange(inputs.shape[1]).expand_as(inputs)
    last = torch.where(inputs == space, at, -1).cummax(dim=1).values
    return torch.where(last < 0, -1, (at - last).clamp(max=PLACES - 1))
