"""Check of exercise 13.9, the memory of the score matrix."""

import math
from typing import Any

from llmbook.checks.engine import Failure, Result, Session

HEADS, LAYERS = 32, 32  # Llama 3 8B: Grattafiori et al. (2024), table 3
KV_HEADS, HEAD_DIM = 8, 128


def quadratic_memory(
    score_matrix_bytes: Any = None,
    *,
    layer_gb: Any = None,
    longest_n: Any = None,
    kept_gb: Any = None,
    equals_cache: Any = None,
    alive_forward: Any = None,
    alive_training: Any = None,
    limit: Any = None,
) -> Result:
    """Check what the n × n matrices of naive attention cost; pass any subset.

    The numbers are for Llama 3 8B (32 layers, 32 query heads, 8 key and value heads, heads 128
    wide), one text, 2 bytes a number; 1 GB is 10⁹ bytes.

    Parameters
    ----------
    score_matrix_bytes
        Called as ``score_matrix_bytes(n, n_heads=..., batch=..., bytes_per_number=...)``, each
        keyword left out where it has its default (1, 1 and 2). Returns the bytes of the score
        matrices of one layer.
    layer_gb
        GB of the score matrices of one layer for 131,072 tokens.
    longest_n
        The most tokens for which scores and weights of one layer fit into 80 GB together.
    kept_gb
        GB that training on 8,192 tokens keeps of scores and weights, all layers together, because
        the backward pass needs it.
    equals_cache
        The length, in tokens, at which the score matrices of one layer are as large as the cache of
        keys and values of all layers.
    alive_forward, alive_training
        How many n × n matrices ``llmbook.attention.standard_attention`` holds per head at its peak:
        in a forward pass without gradients, and in a forward and backward pass.
    limit
        ``"a"``, ``"b"``, ``"c"`` or ``"d"``.
    """
    session = Session("quadratic_memory", score_matrix_bytes)

    def same(n: int, **options: int) -> None:
        try:
            got = session.call(score_matrix_bytes, n, **options)
        except Failure as failure:
            if "unexpected keyword" not in str(failure):
                raise
            raise Failure(
                f"{failure}\nThe parameters are called `n_heads`, `batch` and `bytes_per_number`, "
                "as in the exercise, and are passed by name."
            ) from None
        arguments = ", ".join([str(n), *(f"{name}={value}" for name, value in options.items())])
        try:
            value = math.nan if isinstance(got, str | bytes | bool) else float(got)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise Failure(
                f"`score_matrix_bytes({arguments})` should return one finite number; it returned "
                f"{got!r:.60} ({type(got).__name__})."
            )
        _compare(value, n, arguments, **options)

    @session.test("(b) bytes for one head and one text")
    def _() -> None:
        same(7)
        same(1)

    @session.test("(b) several heads")
    def _() -> None:
        same(11, n_heads=3)

    @session.test("(b) several texts")
    def _() -> None:
        same(11, batch=5)
        same(13, n_heads=3, batch=5)

    @session.test("(b) numbers of 4 bytes, and of 1")
    def _() -> None:
        same(11, bytes_per_number=4)
        same(13, n_heads=3, bytes_per_number=1)

    @session.test("(b) a million tokens")
    def _() -> None:
        same(1_000_003, n_heads=12, batch=3)

    _numbers(session, layer_gb, longest_n, kept_gb, equals_cache)
    session.number(
        "(d) n × n matrices alive, forward",
        alive_forward,
        2,
        rtol=0,
        atol=0.2,
        mistakes={
            "One is not enough: while a matrix is computed from another of its size, both are "
            "there. Measure at larger n, or look at how the peak changes with n.": 1,
            "At small n, what is linear in n counts too: measure at larger n.": 2.4,
            "That is with the backward pass; here no gradients are asked for.": 3,
            "You divided the peak by n², which leaves bytes; how many bytes has a number?": 8,
            "You divided by 2 bytes a number; `torch.randn` makes numbers of 4 bytes.": 4,
        }
        | _unexplained(alive_forward),
    )
    session.number(
        "(d) n × n matrices alive, training",
        alive_training,
        3,
        rtol=0,
        atol=0.2,
        mistakes={
            "That is the forward pass alone. The peak comes later: what does the backward pass "
            "hold beside the weights?": 2,
            "That is what is kept between forward and backward; the question is about the peak, "
            "which is in the backward pass.": 1,
            "At small n, what is linear in n counts too: measure at larger n.": 3.4,
            "At small n, gradients of the inputs, linear in n, count too: measure at larger n.": 4,
            "You divided the peak by n², which leaves bytes; how many bytes has a number?": 12,
            "You divided by 2 bytes a number; `torch.randn` makes numbers of 4 bytes.": 6,
        }
        | _unexplained(alive_training),
    )
    session.choice(
        "(e) what limits a kernel without n × n matrices",
        limit,
        "b",
        {
            "a": "This kernel holds no n × n matrix, at no length.",
            "c": "The weights are 8 billion numbers of 2 bytes, whatever the length: do the sum.",
            "d": "It does take long, but first do the sum of what has to be in memory at the end "
            "of the text.",
        },
    )
    return session.result()


def _unexplained(measured: Any) -> dict[str, float]:
    """What to say of a measured count that no mistake explains; nothing of what is no number."""
    try:
        value = float(measured)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return {}
    return {
        f"{value:.4g} matrices are not what is measured at large n. Make q, k and v before you "
        "measure, in float32; divide the peak by the heads and by the bytes of one n × n matrix; "
        "and let n grow until the quotient settles.": value
    }


def _compare(
    value: float,
    n: int,
    arguments: str,
    n_heads: int = 1,
    batch: int = 1,
    bytes_per_number: int = 2,
) -> None:
    h, b, size = n_heads, batch, bytes_per_number

    def near(target: float) -> bool:
        return math.isclose(value, target, rel_tol=1e-6)

    right = float(n) * n * h * b * size
    if near(right):
        return
    mistakes = {
        "`bytes_per_number` has no effect.": n * n * h * b * 2,
        "That grows linearly with n. How many pairs of a query and a key are there?": n
        * h
        * b
        * size,
        "That is half as much. Are the bytes of each number counted, and all scores, also those "
        "that a causal mask would throw away?": right / 2,
        "That is how many numbers there are; give the answer in bytes.": right / size,
        "The number of heads has no effect: each head has a score matrix of its own.": right / h,
        "The batch size has no effect: each text has score matrices of its own.": right / b,
        "Neither the number of heads nor the batch size has an effect.": right / h / b,
        "That is twice as much. Is each number counted with 4 bytes, or are the weights counted "
        "beside the scores?": right * 2,
        "That is in bits; give the answer in bytes.": right * 8,
        "That is the triangle under the diagonal, with it; naive attention computes every score.": (
            right * (n + 1) / (2 * n)
        ),
        "That is the triangle under the diagonal, without it; naive attention computes every "
        "score.": right * (n - 1) / (2 * n),
        "The heads do not divide the n tokens among them: each has all n² pairs.": right / h / h,
        "You square the number of heads: tokens of one head do not meet those of another.": right
        * h,
        "You square the batch size: the tokens of one text do not meet those of another.": right
        * b,
        "Batch and heads are multiplied, not added: each text has its matrices in each head.": (
            n * n * (h + b) * size
        ),
        "That grows with the cube of n.": right * n,
        "That also multiplies by the number of layers (32), or by the heads of Llama; the function "
        "asks for one layer with `n_heads` heads.": right * 32,
        "That also multiplies by the width of a head, 128. A score is one number: the width has "
        "been summed over.": right * 128,
    }
    for message, wrong in mistakes.items():
        if near(wrong):
            raise Failure(message)
    # `^` binds less than `*`: what stands before and after n^2 in the product matters
    before = (1, h, b, h * b, h * b * size)
    if near((n ^ 2) * h * b * size) or any(near(p * n ^ 2 * (h * b * size // p)) for p in before):
        raise Failure("In Python, `^` is the bitwise exclusive or; a power is written `**`.")
    for power in (1, 2, 3, 4):
        if near(right / 1000**power) or near(right / 1024**power):
            raise Failure("The digits fit, but give the answer in bytes, without a prefix.")
    if value < 0:
        raise Failure("The number is negative: did an integer overflow? Python's own do not.")
    raise Failure(
        f"`score_matrix_bytes({arguments})` returned {value:,.10g}, which is too "
        f"{'much' if value > right else 'little'}.\n"
        "How many scores does one head have, for one text? Then count heads, texts and bytes."
    )


def _numbers(
    session: Session, layer_gb: Any, longest_n: Any, kept_gb: Any, equals_cache: Any
) -> None:
    n = 131_072
    layer = n * n * HEADS * 2 / 1e9
    session.number(
        "(c) scores of one layer",
        layer_gb,
        layer,
        unit="GB",
        mistakes={
            "That is one head; the layer has 32.": layer / HEADS,
            "The scores belong to the query heads; you count the key and value heads.": layer
            * KV_HEADS
            / HEADS,
            "That is twice as much: 4 bytes a number instead of 2, or the weights beside the "
            "scores.": 2 * layer,
            "That is half as much. A number has 2 bytes, and naive attention computes the masked "
            "half of the scores too.": layer / 2,
            "That is all 32 layers; the question asks for one.": layer * LAYERS,
            "That grows linearly with n: each token has a score with *every* token.": layer / n,
            "That is for 128,000 tokens; here K is 1,024, and the text has 131,072 tokens.": (
                128_000**2 * HEADS * 2 / 1e9
            ),
            "That is the scores times the width of a head. A score is one number: the width has "
            "been summed over.": layer * HEAD_DIM,
        },
    )
    both = 2 * HEADS * 2  # bytes for one pair of tokens, scores and weights

    def about(length: float) -> float:
        return math.floor(length) + 0.5  # takes the length rounded down, or up

    session.number(
        "(c) longest text whose scores and weights fit",
        longest_n,
        math.isqrt(int(80e9) // both) - 0.5,  # or one less, but not one more
        rtol=0,
        atol=0.5,
        mistakes={
            "At that length they take a little more than 80 GB.": math.isqrt(int(80e9) // both) + 1,
            "That has room for one of the two matrices only; scores and weights are there "
            "together.": about(math.sqrt(80e9 / (both / 2))),
            "That is for one head; the layer has 32.": about(math.sqrt(80e9 / (both / HEADS))),
            "That is for one head and one of the two matrices; the layer has 32 heads.": about(
                math.sqrt(80e9 / 2)
            ),
            "The scores belong to the query heads; you count the key and value heads.": about(
                math.sqrt(80e9 / (both * KV_HEADS / HEADS))
            ),
            "That is for numbers of 4 bytes; bfloat16 has 2.": about(math.sqrt(80e9 / (2 * both))),
            "That is for the matrices of all layers; a forward pass holds one layer's at a "
            "time.": about(math.sqrt(80e9 / (both * LAYERS))),
            "That is 80 GiB; it should be 80 GB, 80 · 10⁹ bytes.": about(
                math.sqrt(80 * 2**30 / both)
            ),
            "That is n²: take the square root.": about(80e9 / both),
            "You count one byte a number; bfloat16 has 2.": about(math.sqrt(80e9 / (both / 4))),
        },
    )
    kept = LAYERS * HEADS * 8192**2 * 2 / 1e9
    session.number(
        "(c) kept for the backward pass",
        kept_gb,
        kept,
        unit="GB",
        mistakes={
            "That is one layer, or one head of each layer: training keeps those of all 32 heads in "
            "all 32 layers.": kept / LAYERS,
            "That is one head of one layer: training keeps those of all 32 heads in all 32 "
            "layers.": kept / LAYERS / HEADS,
            "That is twice as much. Either you count 4 bytes a number, or both scores and weights: "
            "which of the two does the derivative of a softmax need?": 2 * kept,
            "Three matrices are alive at the peak of one layer's backward pass; kept from forward "
            "to backward are fewer.": 3 * kept,
            "That is half as much: naive attention computes (and keeps) the masked half too, and a "
            "number has 2 bytes.": kept / 2,
            "The weights belong to the query heads; you count the key and value heads.": kept
            * KV_HEADS
            / HEADS,
            "That is for 8,000 tokens; the text has 8,192.": kept * (8000 / 8192) ** 2,
        },
    )
    cache = LAYERS * 2 * KV_HEADS * HEAD_DIM * 2  # bytes a token
    scores = HEADS * 2  # bytes a pair
    session.number(
        "(c) score matrices of a layer as large as the cache",
        equals_cache,
        cache // scores,
        rtol=0,
        atol=1,
        mistakes={
            "You compare one layer with one layer (or all with all). The cache of all layers stays "
            "in memory; scores are there one layer at a time.": cache / LAYERS / scores,
            "That is half as long. Either the cache holds keys or values only, or the scores are "
            "counted twice: as 4 bytes a number, or with the weights beside them.": cache
            / 2
            / scores,
            "The heads are mixed up: scores belong to the 32 query heads, the cache to the 8 key "
            "and value heads.": cache * HEADS / KV_HEADS / scores,
            "That is for the scores of one head, or for keys 4,096 wide in each head; a layer has "
            "32 heads, each 128 wide.": cache * HEADS / scores,
            "The scores are counted for one head, and the cache for 32; a layer has scores of 32 "
            "heads, and a cache of 8.": cache * HEADS * HEADS / KV_HEADS / scores,
            "That is the square of the length.": (cache // scores) ** 2,
        },
    )
