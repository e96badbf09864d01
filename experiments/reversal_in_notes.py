"""Exercise 11.26 (b) and (c): what a model remembers of a clinic, and what it reads in a note.

It learns to look up facts in notes, from either side. Then it is fine-tuned on the facts of a
clinic, of which none, half or all are there in both orders.
"""

import copy
from collections.abc import Iterator
from typing import Any

from page_code import definitions

page = definitions(
    "gpt/in-context-learning",
    "N_PATIENTS",
    "clinic_answers",
    "clinic_facts",
    "clinic_model",
    "learn_clinic",
)

RUNS: dict[str, dict[str, int]] = {
    f"seed {seed}": {"seed": seed, "steps": 3000, "further": 300} for seed in range(3)
}
REPLAY = 3


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield losses, and the answers of the model after each of the three fine-tunings."""
    reader = page.clinic_model(config["seed"])
    for record in page.learn_clinic(reader, config["seed"], config["steps"]):
        yield {"step": record["step"], "loss": record["loss"]}
    for n_both in (0, page.N_PATIENTS // 2, page.N_PATIENTS):
        model = copy.deepcopy(reader)
        facts = page.clinic_facts(n_both)
        for record in page.learn_clinic(model, 100 + config["seed"], config["further"], facts):
            yield {"further": record["step"], "n_both": n_both, "loss": record["loss"]}
        yield {"n_both": n_both, **page.clinic_answers(model)}
