"""Check of exercise 13.13, the compute of a training run."""

from typing import Any

from llmbook.checks.engine import Result, Session
from llmbook.counting import LLAMA2_13B, forward_flops, parameters
from llmbook.counting import training_flops as rule

N, D = 13e9, 2e12
CONTEXT = 4096
PF_DAY = 1e15 * 86400


def training_flops(
    *,
    flop: Any = None,
    pf_days: Any = None,
    exact: Any = None,
    shortfall: Any = None,
    recomputed: Any = None,
    mfu: Any = None,
) -> Result:
    """Check the compute of a training run; pass any subset.

    Parameters
    ----------
    flop
        (a) Floating-point operations by the rule of thumb, for 13 billion parameters and 2 trillion
        tokens.
    pf_days
        (b) The same in petaflop/s-days.
    exact
        (c) Floating-point operations counted from the shape of Llama 2 13B, in texts of 4,096
        tokens.
    shortfall
        (c) By how many percent of the exact count the rule falls short of it; a positive number.
    recomputed
        (d) Floating-point operations executed by the rule if the whole forward pass is computed a
        second time.
    mfu
        (d) Model FLOPs utilization (a fraction) of that run if its GPUs execute operations at half
        of their peak rate.
    """
    session = Session("training_flops")
    right = rule(N, D)
    session.number("(a) rule of thumb (FLOP)", flop, right, mistakes=_of_the_rule(right))
    days = right / PF_DAY
    session.number(
        "(b) petaflop/s-days",
        pf_days,
        days,
        mistakes={
            "That is petaflop/s-hours: a day has 24 of them.": days * 24,
            "That is petaflop/s-seconds: a day has 86,400 of them.": days * 86400,
            "That divides by the hours of a day; count its seconds.": right / 1e15 / 24,
            "That takes a teraflop/s (10¹²) for a petaflop/s (10¹⁵).": days * 1e3,
            "That takes an exaflop/s (10¹⁸) for a petaflop/s (10¹⁵).": days / 1e3,
            "That is the exact count of (c) in petaflop/s-days; take the rule.": (
                _exact()["total"] / PF_DAY
            ),
            "That is the forward pass alone.": days / 3,
        },
    )
    _of_the_shape(session, right, exact, shortfall)
    session.number(
        "(d) with recomputation (FLOP)",
        recomputed,
        right * 4 / 3,
        mistakes={
            "That is without recomputation.": right,
            "That is the training step twice; only the forward pass runs a second time.": 2 * right,
            "That counts the second forward pass as much as a backward pass.": right * 5 / 3,
            "Half a forward pass too little or too much: a forward pass is a third of a training "
            "step.": right * 7 / 6,
            "That is the second forward pass alone.": right / 3,
            "That is 10 operations per parameter and token; forward, forward again and backward "
            "make fewer.": right * 10 / 6,
            "That repeats the forward pass on top of the exact count; take the rule.": (
                _exact()["total"] * 4 / 3
            ),
        },
    )
    session.number(
        "(d) model FLOPs utilization",
        mfu,
        0.375,
        mistakes={
            "That is the hardware's utilization: it counts the repeated forward pass, too. The "
            "model's does not.": 0.5,
            "The ratio is upside down: what the model needs is less than what is executed.": 2 / 3,
            "The repeated forward pass is a quarter of what is executed, not half; useful are the "
            "backward pass and the first forward pass.": 0.25,
            "That is the share of the executed operations that the model needs; the GPUs run at "
            "half of their peak besides.": 0.75,
            "That takes the repeated forward pass off twice.": 0.28125,
            "That is the share of the forward passes.": 1 / 6,
        },
    )
    return session.result()


def _of_the_rule(right: float) -> dict[str, float]:
    return {
        "That is the forward pass alone, as at inference; training goes backward, too.": right / 3,
        "That is the backward pass alone.": right * 2 / 3,
        "Half as much: a multiply-add is two operations.": right / 2,
        "Twice as much: the 6 counts a multiply-add as two operations already.": 2 * right,
        "That is parameters times tokens: how many operations does each pair take?": right / 6,
        "That is with the forward pass computed twice, which is part (d).": right * 4 / 3,
        "That is the exact count of part (c), or near it; take the rule of thumb.": (
            _exact()["total"]
        ),
        "That is the exact count of part (c) without the scores; take the rule of thumb.": (
            _exact()["total"] - _exact()["scores"]
        ),
        "A factor of 1,000 too much: a billion is 10⁹, a trillion 10¹².": right * 1e3,
        "A factor of 1,000 too little: a billion is 10⁹, a trillion 10¹².": right / 1e3,
        "A factor of a million too little: a billion is 10⁹, a trillion 10¹².": right / 1e6,
        "A factor of a million too much: a billion is 10⁹, a trillion 10¹².": right * 1e6,
        "That is one training step per token without the tokens: multiply by 2 trillion.": (
            right / D
        ),
        "That takes 20 tokens per parameter; this model sees 2 trillion.": right / D * 20 * N,
    }


def _exact() -> dict[str, float]:
    count = forward_flops(LLAMA2_13B, CONTEXT)
    return {kind: 3 * flop / CONTEXT * D for kind, flop in count.items()}


def _of_the_shape(session: Session, thumb: float, exact: Any, shortfall: Any) -> None:
    count = _exact()
    right = count["total"]
    total = parameters(LLAMA2_13B)["total"]
    session.number(
        "(c) exact count (FLOP)",
        exact,
        right,
        rtol=3e-3,
        mistakes={
            "That is the forward pass alone; training takes three times as much.": right / 3,
            "That is the backward pass alone; the forward pass comes on top.": right * 2 / 3,
            "That is with the forward pass computed twice, which is part (d).": right * 4 / 3,
            "The scores and weighted sums of attention are missing.": right - count["scores"],
            "Half of the attention is missing: count all pairs of tokens, also the masked ones, "
            "and both products (with the keys and with the values).": right - count["scores"] / 2,
            "A quarter of the attention is counted: count all pairs, both products, and a "
            "multiply-add as two operations.": right - count["scores"] * 3 / 4,
            "The embedding table (or the norms) is counted, but looking a row up takes no "
            "product; or N = 13 billion is taken instead of the shape.": (
                6 * total * D + count["scores"]
            ),
            "That takes N = 13 billion and adds the attention; count the weights that take part "
            "in products.": 6 * N * D + count["scores"],
            "The output matrix is missing: the logits are a product, too.": right - count["head"],
            "Attention is counted forward only; its products have a backward pass as well.": (
                right - count["scores"] * 2 / 3
            ),
            "The MLP has three matrices; two are counted.": right - count["mlp"] / 3,
            "Twice as much attention as there is: it has two products, of two operations per "
            "multiply-add.": right + count["scores"],
            "That is the rule of thumb, which counts every parameter and no attention.": thumb,
            "Half as much: a multiply-add is two operations.": right / 2,
            "That is one text of 4,096 tokens; the run has 2 trillion.": right / D * CONTEXT,
            "That is one token; the run has 2 trillion.": right / D,
            "A factor of 4,096 too much: is attention's cost of a whole text multiplied by every "
            "token, instead of every text?": right * CONTEXT,
            "The attention of a whole text is charged to every token: divide it by 4,096.": (
                right + (CONTEXT - 1) * count["scores"]
            ),
            "The attention is left without its 4,096 tokens: each token has that many keys.": (
                right - count["scores"] * (1 - 1 / CONTEXT)
            ),
        },
    )
    percent = 100 * (right - thumb) / right
    causal = right - count["scores"] / 2
    bare = right - count["scores"]
    session.number(
        "(c) error of the rule (percent)",
        shortfall,
        percent,
        rtol=0.015,
        mistakes={
            "That is in percent of the rule; take it in percent of the exact count.": (
                100 * (right - thumb) / thumb
            ),
            "That counts the unmasked half of attention only; the exact count has all pairs.": (
                100 * (causal - thumb) / causal
            ),
            "That counts half of attention, in percent of the rule.": 100
            * (causal - thumb)
            / thumb,
            "That leaves attention out, which is most of what the rule misses.": (
                100 * (bare - thumb) / bare
            ),
            "Without attention the rule counts too much, not too little; attention is most of "
            "what it misses.": 100 * (thumb - bare) / bare,
            "That is the share of attention; the rule also counts parameters that take part in no "
            "product.": 100 * count["scores"] / right,
            "That is the rule in percent of the exact count; give what is missing.": (
                100 * thumb / right
            ),
            "That is the exact count in percent of the rule; give what is missing.": (
                100 * right / thumb
            ),
        },
    )
