"""Exercise 13.7: BERT and GPT of the same size, on the same stories, filling gaps and going on.

The gaps are also given to the grammar of the stories itself, which knows the best answers. GPT
fills them from the left, and by the likelihood of the whole text for the words that are not
negligible from the left. All are asked for the last word of each text as well: there BERT sees
what GPT sees.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmbook.data.stories import grammar, words
from llmbook.gpt import generate
from page_code import definitions

page = definitions(
    "gpt/architectures",
    "continue_with_masks",
    "gap_by_text",
    "gap_from_both",
    "gap_from_left",
    "gap_of_grammar",
    "opening_model",
    "story_gaps",
    "story_openings",
    "train_on_openings",
    "words_followed",
)

MODELS: dict[str, dict[str, Any]] = {
    "GPT": {"objective": "GPT", "steps": 800},
    "GPT, 15%": {"objective": "GPT, 15%", "steps": 800},
    "BERT": {"objective": "BERT", "steps": 800},
    "BERT, longer": {"objective": "BERT", "steps": 1600},
    "BERT, longer, cut": {"objective": "BERT, cut", "steps": 1600},
}
WAYS = ("one by one", "from the left", "all at once")
RUNS: dict[str, dict[str, Any]] = {
    f"{name}, seed {seed}": model | {"seed": seed}
    for seed in range(3)
    for name, model in MODELS.items()
} | {"grammar": {"at a time": 2}}
REPLAY = 1
STORIES, GAPS, LEAST = 10_000, 256, 1e-5
PROMPT = 12  # tokens
FIRST, EVERY = 5, 25  # steps; the first is early, for the tests to compute again


@cache
def data() -> tuple[Tensor, Tensor, Tensor]:
    """Openings to train on, others with a gap, and the places of the gaps."""
    return page.story_openings(STORIES, "train"), *page.story_gaps(GAPS)


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield losses while training, then answers; or what the grammar knows of the gaps."""
    train_texts, texts, places = data()
    if "at a time" in config:
        for rows in torch.arange(GAPS).split(config["at a time"]):
            pairs = [page.gap_of_grammar(texts[row].tolist(), int(places[row])) for row in rows]
            left, both = (torch.stack(log_p) for log_p in zip(*pairs, strict=True))
            true = texts[rows, places[rows]]
            last = [
                -grammar().token_log_probabilities(words().decode(text[1:]))[-1]
                for text in texts[rows].tolist()
            ]
            yield answers("left", left, true) | answers("both", both, true) | {"last nats": last}
        return
    objective, seed = config["objective"], config["seed"]
    true = texts[torch.arange(GAPS), places]
    bert = objective.startswith("BERT")
    model = page.opening_model(not bert, seed)
    fill = page.gap_from_both if bert else page.gap_from_left
    records = page.train_on_openings(model, train_texts, objective, config["steps"], seed)
    losses = []
    for record in records:
        losses.append(record["loss"])
        if record["step"] == FIRST or record["step"] % EVERY == 0:
            nats = F.nll_loss(fill(model, texts, places), true).item()
            loss = sum(losses) / len(losses)
            yield {"step": record["step"], "loss": loss, "gap nats": nats}
            losses = []
    yield answers("gap", fill(model, texts, places), true)
    ends = torch.full_like(places, texts.shape[1] - 1)
    yield answers("last", fill(model, texts, ends), texts[:, -1])
    if objective == "GPT":
        log_p = [
            page.gap_by_text(model, text, place, LEAST)
            for text, place in zip(texts, places.tolist(), strict=True)
        ]
        yield answers("text", torch.stack(log_p), true)
        yield {"candidates": [int((one > -torch.inf).sum()) for one in log_p]}
    if objective == "GPT, 15%":
        return
    prompts, length = texts[:, :PROMPT], texts.shape[1]
    for way in WAYS if bert else ("next word",):
        generator = torch.Generator().manual_seed(seed)
        if bert:
            longer = page.continue_with_masks(model, prompts, length - PROMPT, way, generator)
        else:
            longer = generate(model, prompts, length - PROMPT, generator=generator)
        followed = [page.words_followed(text, PROMPT) for text in longer.tolist()]
        yield {f"followed, {way}": followed, f"text, {way}": longer[0].tolist()}


def answers(name: str, log_p: Tensor, true: Tensor) -> dict[str, list[float]]:
    """Return the most probable word for each gap, and the nats that the true one costs."""
    nats = -log_p.gather(-1, true[:, None])[:, 0]
    # Where the true word is no candidate, count it with the least probability of one.
    nats = nats.clamp(max=-math.log(LEAST))
    return {f"{name} words": log_p.argmax(-1).tolist(), f"{name} nats": nats.tolist()}
