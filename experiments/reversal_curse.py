"""Exercise 11.26: facts learned in one direction, and which texts make the other one known, too.

A share of the facts is trained in both orders, with and without an output matrix of its own; and
models that know all facts in one direction are trained further on texts in the other.
"""

from collections.abc import Iterator
from typing import Any

from page_code import definitions

page = definitions(
    "gpt/in-context-learning",
    "N_FACTS",
    "NAMES",
    "TITLES",
    "asked",
    "fact_model",
    "fact_texts",
    "learn_texts",
)

STEPS = 800
FORWARD_STEPS = 300  # of the models that are trained further
FURTHER = ("reverse only", "both orders", "both orders of half")
RUNS: dict[str, dict[str, Any]] = {
    f"{'tied' if tied else 'untied'}, share {share}, seed {seed}": {
        "tied": tied,
        "share": share,
        "seed": seed,
        "steps": STEPS,
    }
    for tied in (False, True)
    for share in (0.0, 0.5, 0.9)
    for seed in range(3)
} | {
    f"further on {texts}, seed {seed}": {"further": FURTHER.index(texts), "seed": seed}
    for texts in FURTHER
    for seed in range(3)
}
REPLAY = 2


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield training losses, and what the model says when it is asked in either direction."""
    if "further" in config:
        yield from further(config)
        return
    model = page.fact_model(config["seed"], config["tied"])
    texts = page.fact_texts(config["share"])
    for record in page.learn_texts(model, texts, config["steps"]):
        yield {"step": record["step"], "loss": record["loss"]}
    yield from answers(model, round(config["share"] * page.N_FACTS))


def answers(model: Any, both: int) -> Iterator[dict[str, Any]]:
    """Yield the answers forward, in reverse for the first `both` facts, and for the others."""
    yield {"forward " + k: v for k, v in page.asked(model, page.NAMES, page.TITLES).items()}
    for group, facts in {"both": slice(0, both), "one": slice(both, None)}.items():
        given, right = page.TITLES[facts], page.NAMES[facts]
        if len(given):
            yield {f"{group} {k}": v for k, v in page.asked(model, given, right).items()}


def further(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Train on the facts in one direction, then on other texts; yield the answers in between."""
    n = page.N_FACTS
    texts = [
        page.fact_texts(1.0)[n:],
        page.fact_texts(1.0),
        page.fact_texts(0.5),
    ][config["further"]]
    both = n // 2 if config["further"] == 2 else n
    model = page.fact_model(config["seed"])
    for record in page.learn_texts(model, page.fact_texts(0.0), FORWARD_STEPS):
        yield {"step": record["step"], "loss": record["loss"]}
    for record in page.learn_texts(model, texts, 150):
        yield {"step": FORWARD_STEPS + record["step"], "loss": record["loss"]}
        yield from answers(model, both)
