"""Exercise 13.21, why the sinusoids fall behind and fail in long texts; what a table comes to.

Runs of `gpt_variants` again: with sinusoids as small as learned positions are at the start (root
mean square 0.02); one with learned positions, whose table is looked at in the end; and one with
full sinusoids, of which some are then held at the last trained position.
"""

import math
from collections.abc import Iterator
from typing import Any

import gpt_variants
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmbook.gpt import GPT, GPTConfig
from llmbook.positions import pair_frequencies, sinusoidal_encoding
from page_code import definitions

page = definitions("gpt/minimal-gpt", "SinusoidalPositions", "WithPositions")

RUNS: dict[str, dict[str, Any]] = {
    f"small sinusoids, seed {seed}": {
        **gpt_variants.RUNS[f"sinusoidal, LayerNorm, GELU, seed {seed}"],
        "factor": 0.02 * math.sqrt(2),
    }
    for seed in range(3)
}
RUNS["learned positions, seed 0"] = gpt_variants.RUNS["learned positions, seed 0"]
RUNS["held sinusoids, seed 0"] = {
    **gpt_variants.RUNS["sinusoidal, LayerNorm, GELU, seed 0"],
    "factor": 1.0,
}
REPLAY = 1


def run(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the losses as `gpt_variants` does; at last the cosine of each pair of rows."""
    tokens, held_out, vocab_size = gpt_variants.plays()
    model = build(config, vocab_size)
    yield from gpt_variants.learning_curve(model, tokens, held_out, config)
    length = config["model"]["context_length"]
    long = gpt_variants.LONG
    texts = held_out.unfold(0, long + 1, long)[: gpt_variants.TEXTS]
    yield {f"in texts of {length}": gpt_variants.by_position(model, texts[:, : length + 1])}
    if isinstance(model, GPT):
        rows = F.normalize(model.places.weight.detach(), dim=1)
        # Two decimals are more than a picture shows.
        yield {"similarity": [[round(x, 2) for x in row] for row in (rows @ rows.T).tolist()]}
    else:
        yield {f"in texts of {long}": gpt_variants.by_position(model, texts)}
        if config["factor"] == 1:
            for which in ("slow", "fast"):
                model.positions = HeldSinusoids(length, which)
                name = f"in texts of {long}, {which} sinusoids held"
                yield {name: gpt_variants.by_position(model, texts)}
    for name, table in model.named_parameters():
        if name.endswith(("tokens.weight", "places.weight")):
            yield {f"root mean square of {name}": table.detach().square().mean().sqrt().item()}


class HeldSinusoids(nn.Module):
    """Sinusoids of which some stay, from `length` on, what they are at the position before.

    Slow are those that do not complete a turn within `length` positions, fast the others.
    """

    def __init__(self, length: int, which: str) -> None:
        super().__init__()
        self.length, self.which = length, which

    def forward(self, x: Tensor) -> Tensor:
        n, d_model = x.shape[1:]
        slow = self.length * pair_frequencies(d_model) < 2 * math.pi
        held = (slow if self.which == "slow" else ~slow).repeat_interleave(2)
        places = torch.arange(n)
        encoding = torch.where(
            held,
            sinusoidal_encoding(places.clamp(max=self.length - 1), d_model),
            sinusoidal_encoding(places, d_model),
        )
        return x + encoding.to(x)


def build(config: dict[str, Any], vocab_size: int) -> nn.Module:
    """Return the model at the start; the weights of one seed are those of `gpt_variants`."""
    torch.manual_seed(config["seed"])
    shape = config["model"]
    if "factor" not in config:
        return GPT(GPTConfig(vocab_size=vocab_size, **shape))
    gpt = GPT(GPTConfig(vocab_size=vocab_size, **{**shape, "positions": "none"}))
    return page.WithPositions(gpt, page.SinusoidalPositions(config["factor"]))
