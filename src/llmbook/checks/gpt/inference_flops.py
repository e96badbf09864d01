"""Check of exercise 13.29, two operations per parameter and token."""

import math
from typing import Any

from llmbook.checks.engine import Failure, Result, Session
from llmbook.counting import LLAMA2_7B, Shape, forward_flops, parameters


def inference_flops(
    token_flops: Any = None,
    *,
    crossover: Any = None,
    middle_ratio: Any = None,
    first_ratio: Any = None,
) -> Result:
    """Check the operations that one more token takes; pass any subset.

    A multiply-add counts as two floating-point operations, and only matrix products count.

    Parameters
    ----------
    token_flops
        (b) Called as ``token_flops(n_layers, d_model, d_ff, vocab_size, context)``; returns the
        pair ``(weights, attention)``: the operations of products with weight matrices, and those of
        queries with keys and of attention weights with values, for one new token that attends to
        ``context`` tokens, itself included, all earlier keys and values being cached. Multi-head
        attention whose heads are ``d_model`` wide together, an MLP of two matrices, and an output
        matrix that gives the logits of the new token.
    crossover
        (c) The context, in tokens, from which attention takes more operations than the weights of
        Llama 2 7B.
    middle_ratio, first_ratio
        (d) Operations of the backward pass divided by those of the forward pass, for a linear layer
        whose input needs a gradient, and for one whose input needs none.
    """
    # An answer may count with FlopCounterMode, whose first use imports a good deal.
    session = Session("inference_flops", token_flops, limit=15)

    def same(*sizes: int) -> None:
        _compare(session.call(token_flops, *sizes), *sizes)

    @session.test("(b) one layer, the first token of a text")
    def _() -> None:
        same(1, 4, 10, 7, 1)

    @session.test("(b) three layers, eleven tokens")
    def _() -> None:
        same(3, 6, 26, 17, 11)

    @session.test("(b) a narrow MLP and a long context")
    def _() -> None:
        same(5, 12, 7, 31, 4096)

    @session.test("(b) a real size: 12 layers, 768 wide, 50,257 tokens, context 1,024")
    def _() -> None:
        same(12, 768, 3072, 50257, 1024)

    _crossover(session, crossover)
    session.number(
        "(d) backward over forward, input needs a gradient",
        middle_ratio,
        2,
        rtol=0.01,
        mistakes={
            "That is the gradient of the weights alone, or of the input alone; the layer must "
            "return one and keep the other.": 1,
            "That is the whole training step over the forward pass; take the backward pass "
            "alone.": 3,
            "That is forward over backward.": 0.5,
            "With the weights frozen or an input that needs no gradient, a product is saved (or "
            "the counter saw no backward pass at all). Set `requires_grad` on both.": 0,
        },
    )
    session.number(
        "(d) backward over forward, input needs no gradient",
        first_ratio,
        1,
        rtol=0.01,
        mistakes={
            "That is with the gradient of the input, which nobody asks for here, or the whole "
            "training step; take the backward pass alone.": 2,
            "That counts three products in the backward pass; which gradients does it need?": 3,
            "The weights still need their gradient.": 0,
        },
    )
    return session.result()


def _crossover(session: Session, crossover: Any) -> None:
    count = parameters(LLAMA2_7B)
    used = count["total"] - count["embedding"] - count["norms"]
    per_key = 2 * LLAMA2_7B.n_layers * LLAMA2_7B.d_model  # multiply-adds
    right = used / per_key
    session.number(
        "(c) context at which attention takes over",
        crossover,
        right,
        rtol=2.5e-3,
        mistakes={
            "That is one product with the keys alone, or multiply-adds compared with operations: "
            "count both sides in the same unit, and the weighted sum of the values too.": 2 * right,
            "Half as long: one side is counted in multiply-adds, the other in operations, or the "
            "context of an average token of a text is taken instead of the last one's.": right / 2,
            "That includes the embedding table, which is looked up and not multiplied with.": (
                count["total"] / per_key
            ),
            "That leaves out the output matrix: it does take part in a product.": (
                (used - count["head"]) / per_key
            ),
            "That is 6 d_model, which takes 12 d_model² weights a layer and no output matrix; "
            "count the weights of this model.": 6 * LLAMA2_7B.d_model,
            "That counts two matrices in the MLP; this one has three.": (
                used - LLAMA2_7B.n_layers * LLAMA2_7B.d_model * LLAMA2_7B.d_ff
            )
            / per_key,
            "That compares all layers' weights with the attention of one layer.": (
                right * LLAMA2_7B.n_layers
            ),
            "That compares the weights with the attention of one head; a layer has 32.": (
                right * LLAMA2_7B.n_heads
            ),
            "That compares one layer's weights with the attention of all layers.": (
                right / LLAMA2_7B.n_layers
            ),
        },
    )


def _compare(
    got: Any, n_layers: int, d_model: int, d_ff: int, vocab_size: int, context: int
) -> None:
    call = f"token_flops({n_layers}, {d_model}, {d_ff}, {vocab_size}, {context})"
    weights, attention = _pair(got, call)
    shape = Shape(n_layers, d_model, 1, 1, d_ff, vocab_size, gated=False)
    # The new token's share of a whole text, in which each token sees itself and those before it.
    count = forward_flops(shape, context, causal=True)
    if context > 1:
        before = forward_flops(shape, context - 1, causal=True)
        count = {kind: count[kind] - before[kind] for kind in count}
    right_attention = count["scores"]
    right_weights = count["total"] - right_attention

    def near(value: float, target: float) -> bool:
        return math.isclose(value, target, rel_tol=1e-9, abs_tol=1e-3)

    if near(weights, right_weights) and near(attention, right_attention):
        return
    if near(weights, right_attention) and near(attention, right_weights):
        raise Failure("The two numbers are right, but in the wrong order: weights come first.")
    if near(2 * weights, right_weights) and near(2 * attention, right_attention):
        raise Failure("You count multiply-adds; each is two operations.")
    if near(attention, right_attention) and near(weights, right_weights + right_attention):
        raise Failure("The first number is the total; attention belongs into the second alone.")
    if not near(weights, right_weights):
        for message, wrong in _wrong_weights(count, shape, context).items():
            if near(weights, wrong):
                raise Failure(message)
        raise Failure(
            f"`{call}`: the weights take {weights:,.10g} operations in your count, which is too "
            f"{'many' if weights > right_weights else 'few'}.\n"
            "Write down every matrix that the new token is multiplied with, and its entries."
        )
    for message, wrong in _wrong_attention(right_attention, n_layers, d_model, context).items():
        if near(attention, wrong):
            raise Failure(message)
    raise Failure(
        f"`{call}`: the weights are right; attention takes {attention:,.10g} operations in your "
        f"count, which is too {'many' if attention > right_attention else 'few'}.\n"
        "How many numbers has a key, over all heads? With how many keys is the query multiplied?"
    )


def _wrong_weights(count: dict[str, int], shape: Shape, context: int) -> dict[str, float]:
    d, layers = shape.d_model, shape.n_layers
    right = count["total"] - count["scores"]
    blocks, head = count["projections"] + count["mlp"], count["head"]
    return {
        "The weights are counted as multiply-adds; each is two operations.": right / 2,
        "The output matrix is missing: the logits are a product, too.": blocks,
        "The embedding table is counted as well as the output matrix; looking a row up takes no "
        "product.": right + head,
        "The weights are used once for every token of the context; the earlier tokens have been "
        "through them, and their keys and values are cached.": right * context,
        "One layer is counted; there are `n_layers`.": blocks / layers + head,
        "The output matrix is counted in every layer; it comes once, at the end.": (
            blocks + layers * head
        ),
        "The output projection of attention is missing: there are four matrices, for queries, "
        "keys, values and the joined heads.": right - 2 * layers * d * d,
        "Attention has four matrices (queries, keys, values, output); yours has one.": (
            right - 6 * layers * d * d
        ),
        "The projections of attention are missing.": right - count["projections"],
        "The MLP is missing.": right - count["mlp"],
        "The MLP has two matrices, up and down; one is counted.": right - count["mlp"] / 2,
        "Three matrices are counted in the MLP, as in a gated one; this one has two.": (
            right + count["mlp"] / 2
        ),
        "`d_ff` has no effect: the MLP need not be four times as wide as the model.": (
            24 * layers * d * d + head
        ),
        "That is the backward pass too: training takes three times the forward pass.": 3 * right,
        "Biases or normalizations are counted, too; only matrix products count.": (
            right + layers * (5 * d + shape.d_ff)
        ),
    }


def _wrong_attention(right: int, n_layers: int, d_model: int, context: int) -> dict[str, float]:
    return {
        "Attention comes out half as large: is each multiply-add two operations, and is the "
        "weighted sum of the values counted beside the products with the keys?": right / 2,
        "Attention comes out a quarter as large: each multiply-add is two operations, and the "
        "weighted sum of the values counts, too.": right / 4,
        "Attention grows with the square of the context in your count: that is all tokens of a "
        "text. The new token has one query.": right * context,
        "That is all tokens of a text, each with those before it. The new token has one query.": (
            right * (context + 1) / 2
        ),
        "That is the mean over the tokens of a text; the new one sees the whole context.": (
            right * (context + 1) / 2 / context
        ),
        "The new token attends to itself, too: `context` includes it.": (
            right * (context - 1) / context
        ),
        "`context` includes the new token already.": right * (context + 1) / context,
        "Attention is counted in one layer; there are `n_layers`.": right / n_layers,
        "The products are counted as if keys were `d_model` wide twice over: the heads divide "
        "`d_model` among them.": right * d_model,
        "The width of the keys has no effect in your count.": right / d_model,
        "Attention is counted as if a text had no context but the new token.": right / context,
    }


def _pair(got: Any, call: str) -> tuple[float, float]:
    wanted = f"`{call}` should return the pair (weights, attention)"
    if isinstance(got, str | bytes | dict | set):
        raise Failure(f"{wanted}; it returned {got!r:.60}.")
    try:
        values = [float(value) for value in got]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise Failure(f"{wanted}; it returned {got!r:.60} ({type(got).__name__}).") from None
    if len(values) != 2 or not all(map(math.isfinite, values)):
        raise Failure(f"{wanted}; it returned {got!r:.60}.")
    return values[0], values[1]
