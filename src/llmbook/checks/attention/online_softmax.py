"""Check of exercise 13.10, the online softmax."""

import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from llmbook.checks.engine import Failure, Mistake, Result, Session, expect_close, to_tensor

SCORES = (0.0, math.log(2), math.log(4), 0.0)  # two blocks of two
VALUES = (4.0, 1.0, 3.0, 9.0)


def online_softmax(
    attention: Any = None,
    *,
    factor: Any = None,
    sum_after: Any = None,
    accumulator_after: Any = None,
    output: Any = None,
    state_size: Any = None,
    backward_size: Any = None,
    exact: Any = None,
) -> Result:
    """Check attention by an online softmax, and what it has to keep; pass any subset.

    Parameters
    ----------
    attention
        ``attention(q, k, v, block_size, key_mask=None)`` with

        - ``q`` of shape (..., n, d_k), ``k`` of shape (..., m, d_k), ``v`` of shape (..., m, d_v),
          floating-point tensors of one dtype;
        - ``block_size``, at least 1, the number of keys that are looked at together; the last block
          has the rest;
        - ``key_mask`` of shape (m,), boolean, False for keys that no query may see; one is seen.

        It returns the output of shape (..., n, d_v), never holds an n × m matrix, and keeps nothing
        of a block but the state.
    factor, sum_after, accumulator_after, output
        (a) For the four scores in two blocks: the factor by which sum and accumulator of the first
        block are multiplied when the second comes; both after it; the output.
    state_size
        (c) How many numbers the state holds per query, for values 64 wide.
    backward_size
        (d) The fewest numbers per query, besides q, k, v and the output, from which any block of
        weights can be computed again without looking at other blocks.
    exact
        (e) ``"a"``, ``"b"``, ``"c"`` or ``"d"``.
    """
    session = Session("online_softmax", attention)
    _by_hand(session, factor, sum_after, accumulator_after, output)
    _function(session, attention)
    session.number(
        "(c) numbers of the state",
        state_size,
        64 + 2,
        rtol=0,
        mistakes={
            "The accumulator is not everything that the next block needs.": 64,
            "The state (m, ℓ, o) of the exercise has one number more. (Normalized outputs with the "
            "logarithm of the sum would do with this many, at a division in every block.)": 65,
            "The accumulator is as wide as a value.": 3,
            "The weights or scores of past blocks are not kept; that is the point.": 64 + 64,
            "One too many: the correction factor is computed anew at each block, from what is "
            "kept.": 64 + 3,
            "The query itself is an input, not part of the state.": 64 + 64 + 2,
        },
    )
    session.number(
        "(d) numbers kept for the backward pass",
        backward_size,
        1,
        rtol=0,
        mistakes={
            "Two suffice, but they can be merged: both only shift or scale the weights of a whole "
            "row.": 2,
            "With no number at all, the normalization of a row takes another pass over all of its "
            "blocks.": 0,
            "The accumulator ends up in the output, which is kept anyway. What else does a single "
            "weight need?": 64 + 2,
            "The accumulator ends up in the output, which is kept anyway.": 64,
        },
    )
    session.choice(
        "(e) what exact means",
        exact,
        "b",
        {
            "a": "Floating-point sums depend on their order: compare some outputs bit by bit.",
            "c": "Nothing is left out at any block size. Try one block against many, in float64.",
            "d": "The correction takes care of that: let the largest score come last and compare.",
        },
    )
    return session.result()


def _by_hand(session: Session, factor: Any, total: Any, accumulator: Any, output: Any) -> None:
    weights = [math.exp(s) for s in SCORES]  # 1, 2, 4, 1
    exact = sum(w * v for w, v in zip(weights, VALUES, strict=True)) / sum(weights)
    peak = max(weights)
    l1, o1 = 1.5, 3.0  # after the first block
    l2, o2 = 1.25, 5.25  # the second block by itself
    session.number(
        "(a) correction factor",
        factor,
        0.5,
        mistakes={
            "That is the inverse: what is kept was measured against a smaller maximum, so it has "
            "to get smaller.": 2,
            "That is the exponent, or a difference of maxima; take its exponential.": math.log(2),
            "That is the exponent; take its exponential.": -math.log(2),
            "A factor of 1 leaves everything as it is, but the maximum has changed.": 1,
            "That takes the first block as measured against 0; it was measured against its own "
            "maximum.": 0.25,
            "That takes the first block as measured against 0, and the inverse.": 4,
        },
    )
    zero = (
        "The first block is taken as measured against 0; it was measured against its own maximum."
    )
    session.number(
        "(a) sum after both blocks",
        total,
        sum(weights) / peak,
        mistakes={
            zero: l1 / 4 + l2,
            "The sum of the first block is not corrected.": l1 + l2,
            "The sum of the first block is multiplied by the inverse of the factor.": 2 * l1 + l2,
            "That is the sum of the exponentials without a maximum subtracted.": sum(weights),
            "The factor goes with what is kept, not with the new block.": l1 + l2 / 2,
            "The factor goes with what is kept only; the new block is measured against the new "
            "maximum already.": (l1 + l2) / 2,
            "That is the second block alone.": l2,
            "That is the first block alone.": l1,
            "That is the first block alone, corrected.": l1 / 2,
            "Each weight should get smaller with its distance from the maximum; here the sign of "
            "the exponent is wrong.": sum(peak / w for w in weights),
        },
    )
    session.number(
        "(a) accumulator after both blocks",
        accumulator,
        exact * sum(weights) / peak,
        mistakes={
            zero: o1 / 4 + o2,
            "The accumulator of the first block is not corrected.": o1 + o2,
            "The accumulator of the first block is multiplied by the inverse of the factor.": 2 * o1
            + o2,
            "That is without a maximum subtracted.": exact * sum(weights),
            "That is divided by the sum already; the accumulator is divided once, at the end.": (
                exact
            ),
            "The factor goes with what is kept, not with the new block.": o1 + o2 / 2,
            "The factor goes with what is kept only; the new block is measured against the new "
            "maximum already.": (o1 + o2) / 2,
            "That is the second block alone.": o2,
            "That is the first block alone.": o1,
        },
    )
    session.number(
        "(a) output",
        output,
        exact,
        mistakes={
            "The accumulator has to be divided by the sum.": exact * sum(weights) / peak,
            "That is the sum over all keys without the division.": exact * sum(weights),
            "The accumulator is to be divided by the sum, not multiplied.": exact
            * (sum(weights) / peak) ** 2,
            "That is divided by the sum twice.": exact / (sum(weights) / peak),
            "Accumulator and sum are both left uncorrected.": (o1 + o2) / (l1 + l2),
            "Accumulator and sum are multiplied by the inverse of the factor.": (2 * o1 + o2)
            / (2 * l1 + l2),
            zero: (o1 / 4 + o2) / (l1 / 4 + l2),
            "The accumulator is left uncorrected; the sum is not.": (o1 + o2) / (l1 / 2 + l2),
            "The sum is left uncorrected; the accumulator is not.": (o1 / 2 + o2) / (l1 + l2),
            "That is the mean of the averages of both blocks, but one block has more weight.": (
                o1 / l1 + o2 / l2
            )
            / 2,
            "The averages of both blocks cannot be added.": o1 / l1 + o2 / l2,
            "That is the average over the second block alone.": o2 / l2,
            "That is the average over the first block alone.": o1 / l1,
            "That is the plain mean of the values, without weights.": sum(VALUES) / 4,
            "That weighs by the scores themselves; take their exponentials.": sum(
                s * v for s, v in zip(SCORES, VALUES, strict=True)
            )
            / sum(SCORES),
        },
    )


def _function(session: Session, attention: Any) -> None:
    right: list[str] = []

    def compare(
        inputs: tuple[Tensor, Tensor, Tensor],
        block_size: int,
        key_mask: Tensor | None = None,
        *,
        hint: str = "",
        not_finite: str = "",
        tolerance: float = 1e-4,
    ) -> Tensor:
        """Compare one call; `hint` explains an error, `not_finite` an output with NaN or ∞."""
        # Leave out the mask where there is none: its default is part of the answer.
        options = {} if key_mask is None else {"key_mask": key_mask}
        try:
            got = session.call(attention, *inputs, block_size, **options)
        except Failure as failure:
            raised = str(failure).startswith("Your code raised")
            raise Failure(f"{failure}\n{hint}" if raised and hint else str(failure)) from None
        if isinstance(got, tuple | list) and any(isinstance(part, Tensor) for part in got):
            raise Failure(
                f"Your function returns {len(got)} things in a {type(got).__name__}; return the "
                "output alone, not the state with it."
            )
        q, k, v = inputs
        mask = None if key_mask is None else key_mask.expand(q.shape[-2], -1)
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        output = to_tensor(got)
        if not_finite and output.shape == expected.shape and not bool(output.isfinite().all()):
            raise Failure(not_finite)
        low, high = v.amin(-2, keepdim=True), v.amax(-2, keepdim=True)
        expect_close(
            output,
            expected,
            inputs={"q": q, "k": k, "v": v, "block_size": block_size} | options,
            mistakes=[*_mistakes(q, k, v, block_size, key_mask), _rough(output, expected)],
            properties={
                "each output lies between the smallest and the largest value of its column of v": (
                    lambda out: bool(((out >= low - 1e-4) & (out <= high + 1e-4)).all())
                )
            },
            rtol=tolerance,
            atol=tolerance / 10,
        )
        return output

    two = (
        torch.tensor([[2.0, 0.0], [0.5, 2.0]]),
        torch.tensor([[0.0, 1.0], [1.0, 0.5], [2.0, 0.0], [-1.0, 1.0]]),
        torch.tensor([[4.0, 0.0, 1.0], [1.0, 2.0, 0.0], [3.0, -1.0, 0.5], [9.0, 1.0, 2.0]]),
    )

    def first(name: str, block_size: int) -> None:
        @session.test(name)
        def _() -> None:
            try:
                compare(two, block_size, not_finite=_FROM_THE_START)
            except Failure:
                session.note("the harder cases are tested once the first two are right")
                raise
            right.append(name)

    first("(b) one block holds all keys", 4)
    first("(b) two blocks", 2)
    if len(right) < 2:  # the others would only repeat what is said above
        return

    @session.test("(b) the largest score comes first")
    def _() -> None:
        q, k, v = two
        compare((q, k.flip(0)[1:], v.flip(0)[1:]), 1)
        compare((q[:1], k[[2, 1, 0, 3, 1]], v[[2, 1, 0, 3, 1]]), 2)

    @session.test("(b) the last block is shorter, or the only one")
    def _() -> None:
        q, k, v = torch.randn(5, 3), torch.randn(23, 3), torch.randn(23, 2)
        compare((q, k, v), 4)
        compare((q, k, v), 22)
        compare((q, k, v), 100)

    @session.test("(b) blocks of one key; one query, one key")
    def _() -> None:
        compare((torch.randn(3, 2), torch.randn(7, 2), torch.randn(7, 4)), 1)
        compare((torch.randn(1, 1), torch.randn(1, 1), torch.randn(1, 3)), 1)

    @session.test("(b) batches of heads, not contiguous")
    def _() -> None:
        hint = (
            "There are batch dimensions in front, and the tensors are not contiguous: count "
            "dimensions from the end, and avoid `.T` and `.view`."
        )
        q, k = torch.randn(2, 4, 3, 5).transpose(1, 2), torch.randn(2, 7, 3, 5).transpose(1, 2)
        compare((q, k, torch.randn(2, 3, 6, 14)[..., ::2].mT), 3, hint=hint)

    @session.test("(b) float64")
    def _() -> None:
        inputs = tuple(torch.randn(size, dtype=torch.float64) for size in ((3, 5), (9, 5), (9, 2)))
        q, k, v = inputs
        got = compare((q, k, v), 4)
        if got.dtype != torch.float64:
            raise Failure(f"q, k and v are `torch.float64`, but the output is `{got.dtype}`.")
        if not torch.allclose(got, F.scaled_dot_product_attention(q, k, v), 1e-9, 1e-11):
            raise Failure(
                "With float64 inputs the output is right to about 7 digits only: something inside "
                "is computed in float32. Does the state have the dtype of the inputs?"
            )

    _extremes(session, compare)
    _masks(session, compare)

    @session.test("(b) no n × m matrix, no larger blocks, no state of past blocks")
    def _() -> None:
        n, m, block = 32, 320, 8  # with values 9 wide, the states of all blocks exceed n × m
        q, k, v = torch.randn(n, 2), torch.randn(m, 2), torch.randn(m, 9)
        with _Watch(q, k, v, block) as watch:
            session.call(attention, q, k, v, block)
        if watch.found:
            raise Failure(f"With {n} queries, {m} keys and blocks of {block}, {watch.found}")
        if watch.scored > 1.5 * n * m:
            session.note(
                f"your code computes the scores {watch.scored / (n * m):.1f} times; with the "
                "state, one look at each key is enough"
            )


Compare = Callable[..., Tensor]
_ABOVE = "see the test above that fails in the same way."
_FROM_THE_START = (
    "The output is NaN or infinite from the first block on. Before it, the maximum is −∞ (or very "
    "low): does an exponent become +∞ then? A correction factor the wrong way up does that."
)


def _extremes(session: Session, compare: Compare) -> None:
    v = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 1.0], [-1.0, 5.0]])
    right: list[str] = []

    def extreme(name: str, queries: list[float], keys: list[float], message: str) -> None:
        @session.test(f"(b) {name}")
        def _() -> None:
            q, k = torch.tensor(queries)[:, None], torch.tensor(keys)[:, None]
            compare((q, k, v), 2, not_finite=message)
            right.append(name)

    extreme(
        "large scores",
        [20.0],
        [45.0, 45.05, 50.0, 50.05],
        "Scores of about 1,000 give NaN or infinity: exp overflows. Is the largest score so far "
        "subtracted before every exponential?",
    )
    extreme(
        "a block with far smaller scores than the one before",
        [20.0],
        [20.0, 20.05, -20.0, -20.05],
        "The second block has far smaller scores than the first, and the output is NaN or "
        "infinite. Is the maximum that of *all* keys so far, not of the newest block?",
    )
    extreme(
        "very negative scores",
        [-20.0],
        [45.0, 45.05, 50.0, 50.05],
        "Scores of about −1,000 give NaN: every exponential has become 0. Is the maximum "
        "subtracted, and does it start below any score? (At 0, it stays there.)",
    )
    extreme(
        "queries whose scores differ widely",
        [20.0, -20.0],
        [20.0, 20.05, 25.0, 25.05],
        "One query has scores of 400 and more, the other of −400 and less, and the output is NaN: "
        + ("has each query a maximum of its own?" if len(right) == 3 else _ABOVE),
    )


def _masks(session: Session, compare: Compare) -> None:
    torch.manual_seed(1)
    q, k, v = torch.randn(2, 3), torch.randn(7, 3), torch.randn(7, 2)
    hint = "Here `key_mask` is given: a boolean tensor of shape (m,), True for keys to be seen."
    nan = (
        "A block {where} has hidden keys only, and the output is NaN: look at what is subtracted "
        "from −∞ while no key has been seen in it."
    )

    def hidden(*keys: int) -> Tensor:
        mask = torch.ones(7, dtype=torch.bool)
        mask[list(keys)] = False
        return mask

    @session.test("(b) hidden keys")
    def _() -> None:
        compare((q, k, v), 3, hidden(1, 5), hint=hint)
        compare((q, k, v), 100, hidden(0, 6), hint=hint)

    @session.test("(b) a later block is hidden as a whole")
    def _() -> None:
        where = nan.format(where="that is not the first")
        compare((q, k, v), 2, hidden(1, 2, 3, 6), hint=hint, not_finite=where)

    @session.test("(b) the first blocks are hidden as a whole")
    def _() -> None:
        where = nan.format(where="at the beginning")
        compare((q, k, v), 2, hidden(0, 1, 2, 3, 5), hint=hint, not_finite=where)
        compare((q, -20 * k.abs(), v), 3, hidden(0, 1, 2), hint=hint, not_finite=where)

    @session.test("(b) hidden keys with far larger or smaller scores")
    def _() -> None:
        large = (
            "A hidden key has a score 1,000 above all others, and the output is NaN or infinite: "
        )
        large += "is the maximum that of the keys that are *seen*?"
        one, keys = torch.tensor([[20.0]]), torch.tensor([[0.5], [50.0], [0.45], [0.4], [50.0]])
        values = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 1.0], [-1.0, 5.0], [7.0, 7.0]])
        mask = torch.tensor([True, False, True, True, False])
        compare((one, keys, values), 2, mask, hint=hint, not_finite=large)
        # Scores of about −20,000, which differ by whole numbers; in base 2 they are rounded.
        low = torch.tensor([[160.0], [1.0], [160.0078125], [160.015625], [2.0]])
        compare((torch.tensor([[-128.0]]), low, values), 2, mask, hint=hint, tolerance=1e-2)


def _mistakes(
    q: Tensor, k: Tensor, v: Tensor, block_size: int, key_mask: Tensor | None
) -> list[Mistake]:
    """List what people get wrong, as the weights that each key has in the end.

    A key that came in block b is measured against some reference, and its weight then multiplied
    at every later block. So each mistake is a formula for the final weights: `running` is the
    largest score up to the own block, `own` that of the own block, `last` that of all.
    """
    q, k, v = q.double(), k.double(), v.double()
    m, d = k.shape[-2:]
    bias = 0.0 if key_mask is None else torch.where(key_mask, 0.0, -math.inf)
    plain = q @ k.mT / math.sqrt(d)
    scores = plain + bias
    block = torch.arange(m) // block_size
    maxima = torch.stack([part.amax(-1) for part in torch.split(scores, block_size, -1)], -1)
    own, running = maxima[..., block], maxima.cummax(-1).values[..., block]
    last = maxima.amax(-1, keepdim=True)
    right, kept = (scores - last).exp(), (scores - running).exp()
    swollen = kept * (last - running).exp()
    sums = torch.stack(
        [
            (scores[..., : (b + 1) * block_size] - maxima[..., : b + 1].amax(-1, keepdim=True))
            .exp()
            .sum(-1)
            for b in range(maxima.shape[-1])
        ],
        -1,
    )
    final = sums[..., -1:]
    later = sums.flip(-1).cumprod(-1).flip(-1)[..., block]  # product of the sums from its block on

    def average(top: Tensor, bottom: Tensor | None = None) -> Callable[[], Tensor]:
        return lambda: top @ v / (top if bottom is None else bottom).sum(-1, keepdim=True)

    def softmax(scores: Tensor, *keys: slice) -> Callable[[], Tensor]:
        part = keys[0] if keys else slice(None)
        return lambda: scores[..., part].softmax(-1) @ v[..., part, :]

    def blocks() -> Tensor:
        pairs = zip(
            torch.split(scores, block_size, -1), torch.split(v, block_size, -2), strict=True
        )
        return torch.stack([s.softmax(-1) @ values for s, values in pairs])

    whole = m // block_size * block_size
    padding = -m % block_size
    zero = last.clamp(min=0)
    place = torch.arange(m) % block_size
    shared = 1.0 + ((place == 0) & (torch.arange(m) > 0))  # in two blocks: the first key of each
    from_zero = (scores - zero).exp()
    mistakes = [
        *_mask_mistakes(v, plain, right, block_size, key_mask),
        Mistake("The scores are not divided by √d_k.", softmax(scores * math.sqrt(d))),
        Mistake("The scores are divided by d_k; its root is meant.", softmax(scores / d**0.5)),
        Mistake("The scores are multiplied by √d_k instead of divided.", softmax(scores * d)),
        Mistake(
            "The scores are divided by the root of the width of `v`; the width of `k` is meant.",
            softmax(scores * math.sqrt(d / v.shape[-1])),
        ),
        *(
            Mistake(
                "Keys after a query's own position get no weight. No causal mask is asked for: a "
                "query sees all keys (but those that `key_mask` hides).",
                softmax(scores.masked_fill(~seen, -math.inf)),
            )
            for shift in {0, m - q.shape[-2]}
            for seen in [torch.ones(q.shape[-2], m, dtype=torch.bool).tril(shift)]
        ),
        Mistake(
            "The division by the sum is missing: at the end, the accumulator is divided once.",
            lambda: right @ v,
        ),
        Mistake(
            "Only the last block counts: its result replaces what came before instead of joining "
            "it.",
            softmax(scores, slice(int(block[-1]) * block_size, m)),
        ),
        Mistake(
            f"The last {m - whole} of {m} keys are missing: the last block is shorter than the "
            "others, and it counts too.",
            softmax(scores, slice(0, whole)),
        ),
        Mistake("Only the first block counts.", softmax(scores, slice(0, block_size))),
        Mistake(
            "The last key of each full block is missing: a slice ends *before* its second index.",
            softmax(scores.masked_fill(place == block_size - 1, -math.inf)),
        ),
        Mistake(
            "The first key of each block but the first counts twice: the slices overlap.",
            average(right * shared),
        ),
        Mistake(
            "The last block seems to be padded with zeros: those are keys with a score of 0, not "
            "of −∞.",
            lambda: from_zero @ v / (from_zero.sum(-1, keepdim=True) + padding * (-zero).exp()),
        ),
        Mistake(
            "Nothing is rescaled: when the maximum rises, both the accumulator and the sum still "
            "are measured against the old one.",
            average(kept),
        ),
        Mistake(
            "The accumulator is not rescaled when the maximum rises (the sum is).",
            average(kept, right),
        ),
        Mistake(
            "The sum is not rescaled when the maximum rises (the accumulator is).",
            average(right, kept),
        ),
        Mistake(
            "Accumulator and sum are multiplied by the inverse of the factor: what was measured "
            "against a smaller maximum has to get smaller.",
            average(swollen),
        ),
        Mistake(
            "The accumulator is multiplied by the inverse of the factor: what was measured against "
            "a smaller maximum has to get smaller.",
            average(swollen, right),
        ),
        Mistake(
            "The sum is multiplied by the inverse of the factor: what was measured against a "
            "smaller maximum has to get smaller.",
            average(right, swollen),
        ),
        Mistake(
            "Each block is measured against its own maximum, and they are added without being "
            "brought to a common one.",
            average((scores - own).exp()),
        ),
        Mistake(
            "What is kept is rescaled to the running maximum, but the new block is measured "
            "against its own: take the same maximum for both.",
            average((scores - own).exp() * (running - last).exp()),
        ),
        Mistake(
            "The accumulator is divided by the sum in every block, and the next block takes it for "
            "one that is not: divide once, at the end (or undo the division first).",
            lambda: (right / later) @ v,
        ),
        Mistake(
            "The accumulator is divided by the sum in every block and once more at the end.",
            lambda: (right / later / final) @ v,
        ),
        Mistake(
            "Each block is divided by the sum at that moment, and that is never corrected: divide "
            "once, at the end.",
            lambda: (right / sums[..., block]) @ v,
        ),
        Mistake(
            "The outputs of the blocks are averaged, but a block with larger scores should have "
            "more weight.",
            lambda: blocks().mean(0),
        ),
        Mistake(
            "The outputs of the blocks are added: each is an average already, so their sum is too "
            "large.",
            lambda: blocks().sum(0),
        ),
        Mistake(
            "The sum does not start at 0: there is the weight of one score too many in it.",
            lambda: from_zero @ v / (from_zero.sum(-1, keepdim=True) + (-zero).exp()),
        ),
        Mistake(
            "The sum does not start at 0: there is a 1 too much in it.",
            lambda: right @ v / (right.sum(-1, keepdim=True) + 1),
        ),
        Mistake("These are scores times values: there is no softmax.", lambda: scores @ v),
        Mistake(
            "The exponentials are not normalized, and no maximum is subtracted.",
            lambda: scores.exp() @ v,
        ),
    ]
    return mistakes


def _mask_mistakes(
    v: Tensor, plain: Tensor, right: Tensor, block_size: int, key_mask: Tensor | None
) -> list[Mistake]:
    if key_mask is None:
        return []
    m = len(key_mask)
    block = torch.arange(m) // block_size
    blank = [not part.any() for part in torch.split(key_mask, block_size)]
    cuts = [b for b in range(len(blank)) if blank[b] and not all(blank[b:])]
    after = key_mask & (block > (cuts[-1] if cuts else -1))
    seen = (plain - plain.amax(-1, keepdim=True)).exp()

    def masked(mask: Tensor) -> Callable[[], Tensor]:
        return lambda: plain.masked_fill(~mask, -math.inf).softmax(-1) @ v

    return [
        Mistake("`key_mask` has no effect.", lambda: plain.softmax(-1) @ v),
        Mistake(
            "What came before a block of hidden keys only is lost. Is the maximum that of *all* "
            "keys so far, not of the newest block?",
            masked(after),
        ),
        Mistake(
            "The output is 0, as if no key were seen: what is left of the state after a block of "
            "hidden keys only?",
            lambda: torch.zeros_like(right @ v),
        ),
        Mistake(
            "Hidden keys get all the weight: what they have for a score is above all others here. "
            "Only −∞ is below every score.",
            lambda: (
                plain.masked_fill(key_mask, -math.inf).masked_fill(~key_mask, 0).softmax(-1) @ v
            ),
        ),
        Mistake("`key_mask` is read inverted: True means that a key is seen.", masked(~key_mask)),
        Mistake(
            "Every block uses the first entries of `key_mask`: cut it like the keys.",
            masked(key_mask[torch.arange(m) % block_size]),
        ),
        Mistake(
            "Hidden keys get a score of 0, a score like any other: exp(0) = 1.",
            lambda: (plain * key_mask).softmax(-1) @ v,
        ),
        Mistake(
            "`key_mask` is added to the scores as 0 and 1: that is a nudge, not a wall.",
            lambda: (plain + key_mask).softmax(-1) @ v,
        ),
        Mistake(
            "Hidden keys are left out of the accumulator, but not of the sum.",
            lambda: seen * key_mask @ v / seen.sum(-1, keepdim=True),
        ),
        Mistake(
            "Hidden keys are left out of the sum, but not of the accumulator.",
            lambda: seen @ v / (seen * key_mask).sum(-1, keepdim=True),
        ),
    ]


def _rough(output: Tensor, expected: Tensor) -> Mistake:
    """An output that is right to two digits only."""

    def if_near() -> Tensor:
        real = output.double() if not output.is_complex() else torch.full_like(expected, math.nan)
        near = torch.isclose(real, expected.double(), rtol=2e-2, atol=2e-2)
        return real.where(near, -math.inf)

    return Mistake(
        "The output is right to about two digits only: something is computed in half precision. "
        "Does the state have the dtype of the inputs?",
        if_near,
    )


_EXPONENTIALS = {"exp", "exp_", "exp2", "expm1", "softmax", "log_softmax", "logsumexp", "__rpow__"}
_PRODUCTS = {"matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "einsum", "linear"}


class _Watch(TorchFunctionMode):
    """Notices n × m numbers, in one tensor or in all, and the exponentials of too many scores.

    `found` says what was found, or is empty; `scored` counts the scores that matrix products made
    (for sizes that tell them from other products).
    """

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, block_size: int) -> None:
        super().__init__()
        self.n, self.m, self.block_size = len(q), len(k), block_size
        self.widest = max(block_size, v.shape[-1]) + 2  # a factor may be as wide as the state
        self.found, self.scored = "", 0
        # Views of the inputs cost nothing, and copies of them are allowed.
        self.spare = {x.numel() for x in (q, k, v)} | {v.numel() + len(v)}
        self.made: list[tuple[int, int, weakref.ref[Tensor]]] = []  # storage, numbers, tensor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.found:
            return result
        name = getattr(func, "__name__", "a function")
        if func in (F.scaled_dot_product_attention, F.multi_head_attention_forward):
            self.found = (
                "your function calls PyTorch's own attention. Here you are to write it yourself."
            )
        for x in _strided(args):
            self._look(name, x)
        for x in _strided([result]):
            self._look(name, x, made=True)
            self._add_up(x)
            if name in _PRODUCTS and self.block_size in x.shape:
                self.scored += x.numel()
        return result

    def _look(self, name: str, x: Tensor, made: bool = False) -> None:
        if self.found:
            return
        numbers, exponential = _stored(x), name in _EXPONENTIALS
        scores = exponential or (made and name in _PRODUCTS and self.n in x.shape)
        if numbers >= self.n * self.m:
            self.found = (
                f"`{name}` makes a tensor of {numbers:,} numbers, as many as all scores together "
                "(or more). Go through the keys block by block."
            )
        elif exponential and self.m in x.shape:
            self.found = (
                f"`{name}` takes all {self.m} scores of a query at once: that needs no n × m "
                "matrix, but whole rows. Look at one block of keys at a time."
            )
        elif scores and x.numel() > self.n * self.widest:
            self.found = (
                f"`{name}` takes {x.numel() / self.n:.0f} scores of each query at once. "
                "`block_size` is the number of keys in a block, not that of blocks."
            )

    def _add_up(self, x: Tensor) -> None:
        """Count what is alive of the tensors that were made; one number a query is not worth it."""
        if self.found or (numbers := _stored(x)) < self.n or numbers in self.spare:
            return
        self.made = [entry for entry in self.made if entry[2]() is not None]
        self.made.append((x.untyped_storage().data_ptr(), numbers, weakref.ref(x)))
        alive = sum({at: size for at, size, _ in self.made}.values())
        if alive >= self.n * self.m:
            self.found = (
                f"your code holds {alive:,} numbers at a time, as many as all scores together (or "
                "more). Keep one state and let it absorb a block; nothing else of a block is kept "
                "when the next one comes."
            )


def _stored(x: Tensor) -> int:
    return x.untyped_storage().nbytes() // x.element_size()  # a view costs nothing


def _strided(values: Any) -> Iterator[Tensor]:
    """The tensors with a storage among `values`, also in lists and tuples there."""
    for x in values:
        if isinstance(x, Tensor):
            if x.layout is torch.strided:
                yield x
        elif isinstance(x, list | tuple):
            yield from _strided(x)
