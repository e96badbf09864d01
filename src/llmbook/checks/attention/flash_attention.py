"""Check of exercise 35.15, FlashAttention-2 in pure PyTorch."""

import contextlib
import gc
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    show_value,
    to_tensor,
)

Options = tuple[bool, int, int]  # causal, block_q, block_k
GRADIENTS = ("dq", "dk", "dv")


def flash_attention(forward: Any = None, backward: Any = None, attention: Any = None) -> Result:
    """Check FlashAttention-2 in blocks: forward, backward, and both as one differentiable function.

    ``q`` is (..., n, d), ``k`` (..., m, d) and ``v`` (..., m, d_v), floating-point tensors of one
    dtype with any number of dimensions in front; ``causal`` is a bool, ``block_q`` and ``block_k``
    are integers, at least 1. All arguments are passed by position.

    Parameters
    ----------
    forward
        (a) ``flash_forward(q, k, v, causal, block_q, block_k)``, which returns the output
        (..., n, d_v) and the log-sum-exp of each query's scaled scores (..., n), in natural
        logarithms.
    backward
        (b) ``flash_backward(q, k, v, out, lse, d_out, causal, block_q, block_k)``, which returns
        ``(dq, dk, dv)``. Not needed if ``attention`` is passed.
    attention
        (c) ``flash_attention(q, k, v, causal, block_q, block_k)``, which returns the output and
        which autograd can differentiate: what ``apply`` of an ``autograd.Function`` is.

    Causal masks are aligned at the end: query i (from 0) may look at key j if j <= i + m - n. A
    query that may look at no key has output zero, log-sum-exp minus infinity and gradient zero.
    Time and memory are for you to compare; here the sizes of the tensors that your code makes and
    its matrix products are counted. Which loop is the outer one is not tested, nor which of the two
    sizes cuts the queries.
    """
    session = Session("flash_attention", (forward, backward, attention))
    if isinstance(attention, type) and issubclass(attention, torch.autograd.Function):
        attention = attention.apply
    _forward(session, forward)
    if _attempted(backward, 9) or not _attempted(attention, 6):
        _backward(session, backward)
    _autograd(session, attention)
    return session.result()


def _attempted(answer: Any, arguments: int) -> bool:
    """Tell whether an answer is more than the placeholder of the your-turn cell."""
    one = torch.ones(1, 1)
    inputs = (one, one, one, one, one[0], one)[: arguments - 3]
    probe, attempted = Session("probe", limit=1.0), []

    @probe.test("one query, one key")
    def _() -> None:
        with contextlib.suppress(Failure):  # an answer that fails is an answer
            probe.call(answer, *inputs, False, 1, 1)
        attempted.append(True)

    return bool(attempted)


# --- What is right --------------------------------------------------------------------------------


def _allowed(n: int, m: int, causal: bool) -> Tensor:
    """Return the (n, m) mask, True where a query may look; the last query sees every key."""
    return torch.ones(n, m, dtype=torch.bool).tril(m - n if causal else m)


def _scores(q: Tensor, k: Tensor, allowed: Tensor, scale: float | None = None) -> Tensor:
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    return (q @ k.mT * scale).masked_fill(~allowed, -math.inf)


def _exp_minus(scores: Tensor, reference: Tensor) -> Tensor:
    """Return e^(scores − reference), and 0 where the score is −∞, whatever the reference."""
    return (scores - reference).exp().where(scores > -math.inf, 0.0)


def _reference(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Return output and log-sum-exp, computed with PyTorch's own functions on whole matrices."""
    scores = _scores(q, k, _allowed(q.shape[-2], k.shape[-2], causal))
    return scores.softmax(-1).nan_to_num(0.0) @ v, scores.logsumexp(-1)


def _reference_gradients(
    inputs: Sequence[Tensor], d_out: Tensor, causal: bool
) -> tuple[Tensor, ...]:
    """Return dq, dk, dv as autograd finds them, queries without a key left out."""
    q, k, v = (x.detach().clone().requires_grad_() for x in inputs)
    allowed = _allowed(q.shape[-2], k.shape[-2], causal)
    seeing = allowed.any(-1)
    out = F.scaled_dot_product_attention(q[..., seeing, :], k, v, attn_mask=allowed[seeing])
    return torch.autograd.grad(out, (q, k, v), d_out[..., seeing, :])


@contextlib.contextmanager
def _noting(session: Session, text: str) -> Iterator[None]:
    """Add a note if what is done in the block fails."""
    try:
        yield
    except Failure:
        session.note(text)
        raise


def _test_if(condition: bool, session: Session, name: str) -> Callable[[Callable[[], None]], None]:
    """Return the decorator that runs a test of the session, or one that drops it."""
    return session.test(name) if condition else lambda body: None


# --- Forward --------------------------------------------------------------------------------------

BOTH = (
    "Return two things, the output and the log-sum-exp: `return out, lse`. The backward pass needs "
    "the second."
)


def _run_forward(
    session: Session, forward: Any, inputs: Sequence[Tensor], options: Options, hint: str = ""
) -> tuple[Tensor, Tensor]:
    """Call the learner's forward pass; return both results as tensors."""
    got = _with_hint(session, hint, forward, *inputs, *options)
    if isinstance(got, Tensor) or not isinstance(got, tuple | list):
        raise Failure(BOTH)
    if len(got) != 2:
        raise Failure(f"Your function returns {len(got)} things. {BOTH}")
    out, lse = to_tensor(got[0], "the output"), to_tensor(got[1], "the log-sum-exp")
    if lse.shape == (*inputs[0].shape[:-1], inputs[2].shape[-1]) and out.shape == lse.shape[:-1]:
        raise Failure("The two results are in the other order: `return out, lse`.")
    return out, lse


_CAUSES = {  # what an error message contains → what usually leads to it
    "positional argument": "All arguments are passed by position, in the order of the statement.",
    "incorrect number of gradients": "`backward` has to return one thing for each argument of "
    "`forward`: None for those that are no tensors.",
    "invalid gradient": "Return the gradients in the order of the arguments: dq, dk, dv.",
    "shapes cannot be multiplied": "The rows of a block of S, P, dP and dS belong to queries, the "
    "columns to keys: which factor has to be transposed?",
    "to have non-zero size": "A block is empty: do the loops end where the queries, and where the "
    "keys, end?",
    "must match the size of tensor": "Has what you keep for each query (maximum, sum, log-sum-exp, "
    "D) a last dimension of size 1, so that it meets the *rows* of a block? Are the last blocks "
    "allowed to be shorter?",
}


def _with_hint(session: Session, hint: str, function: Any, *args: Any) -> Any:
    """Call the learner's function; to an error it raises, add what usually causes it."""
    try:
        return session.call(function, *args)
    except Failure as failure:
        text = str(failure)
        if not text.startswith("Your code raised"):
            raise
        text = text.removesuffix("\nIt was called with ().")  # the backward pass of autograd
        for symptom, cause in _CAUSES.items():
            hint = cause if symptom in text else hint
        raise Failure(f"{text}\n{hint}" if hint else text) from None


def _forward(session: Session, forward: Any) -> None:
    right: list[str] = []

    def compare(inputs: Sequence[Tensor], options: Options, hint: str = "") -> Tensor:
        out, _ = _run_forward(session, forward, inputs, options, hint)
        _expect_output(out, inputs, options)
        return out

    def first(name: str, body: Callable[[], Any]) -> None:
        @session.test(name)
        def _() -> None:
            with _noting(
                session, "the harder cases of (a) are tested once the first two are right"
            ):
                body()
            right.append(name)

    def several_blocks() -> None:
        q, k, v = _rising(_draw((4, 7), (6, 7), (6, 5)))  # no two sizes are the same
        compare((q, k, v), (False, 2, 3))
        compare((q, k.flip(-2), v), (False, 1, 2))

    first("(a) two queries, three keys, one block", lambda: compare(_small(), (False, 2, 3)))
    first("(a) several blocks", several_blocks)
    if len(right) < 2:  # everything else would only repeat what is said above
        return

    @session.test("(a) blocks that divide nothing")
    def _() -> None:
        hint = "Here the last blocks are shorter than `block_q` and `block_k`."
        compare(_rising(_draw((7, 4), (14, 4), (14, 3))), (False, 3, 4), hint)
        compare(_draw((5, 4), (3, 4), (3, 1)), (False, 4, 100), hint)
        compare(_draw((3, 4), (5, 4), (5, 6)), (False, 100, 1), hint)
        compare(_draw((1, 1), (1, 1), (1, 1)), (False, 1, 1), "All lengths are 1: do not squeeze.")

    @session.test("(a) causal")
    def _() -> None:
        with _noting(session, "other causal cases of (a) are tested once the first is right"):
            compare(_draw((8, 4), (8, 4), (8, 3)), (True, 4, 4))
            compare(_rising(_draw((9, 4), (9, 4), (9, 3))), (True, 4, 3))
            compare(_draw((9, 4), (9, 4), (9, 3)), (True, 2, 5))
        right.append("causal")

    causal = "causal" in right  # or the same mistake would come back under other names
    either = (False, True) if causal else (False,)

    @_test_if(causal, session, "(a) causal, more keys than queries")
    def _() -> None:
        compare(_draw((5, 4), (12, 4), (12, 3)), (True, 2, 3))
        compare(_draw((6, 4), (9, 4), (9, 3)), (True, 4, 4))

    @_test_if(causal, session, "(a) causal, more queries than keys")
    def _() -> None:
        for n, m, block_q, block_k in ((7, 4, 2, 2), (9, 4, 2, 3), (8, 5, 8, 8)):
            inputs = _draw((n, 4), (m, 4), (m, 3))
            out, lse = _run_forward(session, forward, inputs, (True, block_q, block_k))
            blind = n - m
            if out[..., :blind, :].isnan().any():
                raise Failure(
                    f"With {n} queries and {m} keys, the first {blind} queries may look at no key. "
                    "Their output holds NaN (0/0, or −∞ − (−∞)); it should be zero."
                )
            compare(inputs, (True, block_q, block_k))
            if lse.shape == (n,) and not bool((lse[:blind] < -1e30).all()):
                raise Failure(
                    "The log-sum-exp of a query that may look at no key is the logarithm of an "
                    f"empty sum, −∞; yours is {show_value(lse[:blind])}."
                )

    @session.test("(a) batches of heads, not contiguous, float64")
    def _() -> None:
        hint = "There are dimensions in front: count dimensions from the end."
        q, k, v = _draw((2, 5, 3, 4), (2, 7, 3, 4), (2, 3, 5, 14), dtype=torch.float64)
        inputs = q.transpose(1, 2), k.transpose(1, 2), v[..., ::2].mT
        for causal in either:
            out = compare(inputs, (causal, 2, 3), hint)
            expected, _ = _reference(*inputs, causal)
            _expect_double(out, expected, "q, k and v are", "the output")

    @session.test("(a) large scores")
    def _() -> None:
        v = _draw((6, 2))[0]
        rising = torch.tensor([-40.0, -20.0, 0.0, 10.0, 20.0, 20.5])[:, None]
        q = torch.tensor([[20.0], [-20.0], [0.0]])
        for block_k in (1, 2, 4):
            inputs = (q, rising, v)
            out, _ = _run_forward(session, forward, inputs, (False, 2, block_k))
            if not out.isfinite().all():
                raise Failure(
                    "With scores as large as ±800 the output is NaN or infinite: exp overflows. "
                    "Every exponent has to be 0 or less. Is the maximum subtracted that of *all* "
                    "keys so far, and not that of the newest block?"
                )
            compare(inputs, (False, 2, block_k))

    @session.test("(a) log-sum-exp")
    def _() -> None:
        for causal, (n, m), blocks in (
            (False, (4, 6), (2, 3)),
            (False, (5, 7), (2, 3)),
            (True, (5, 8), (2, 3)),
            (False, (3, 1), (2, 2)),
        ):
            if causal not in either:
                continue
            q, k, v = _rising(_draw((2, n, 4), (2, m, 4), (2, m, 3)))
            _, lse = _run_forward(session, forward, (q, k, v), (causal, *blocks))
            _expect_lse(lse, q, k, (causal, *blocks))
        q, k, v = (20 * x for x in _draw((3, 4), (6, 4), (6, 2)))
        _, lse = _run_forward(session, forward, (q, k, v), (False, 2, 2))
        _expect_lse(lse, q, k, (False, 2, 2))

    @session.test("(a) blocks of scores in memory, not the matrix")
    def _() -> None:
        for causal in (False, True):
            inputs = _draw((N, WIDTH), (M, WIDTH), (M, WIDTH))
            with _watched(causal):
                session.call(forward, *inputs, causal, *BLOCKS)

    @_test_if(causal, session, "(a) blocks above the diagonal are skipped")
    def _() -> None:
        _expect_skipping(lambda *options: session.call(forward, *_square(), *options))


def _small() -> tuple[Tensor, Tensor, Tensor]:
    """Inputs that a message can show in full; n, m, d and d_v all differ."""
    q = torch.tensor([[1.0, 0.0, 2.0, -1.0, 0.5], [0.5, -1.0, 0.0, 1.0, 0.0]])
    k = torch.tensor(
        [[1.0, 0.5, 0.0, 1.0, -1.0], [0.0, 1.0, 1.0, 0.0, 0.5], [-1.0, 0.0, 0.5, 2.0, 0.0]]
    )
    v = torch.tensor([[4.0, 1.0, 0.0, 2.0], [0.0, 2.0, 1.0, -1.0], [1.0, -1.0, 3.0, 0.5]])
    return q, k, v


def _rising(inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Make scores that grow from key to key for some queries and fall for others."""
    q, k, v = (x.clone() for x in inputs)
    q[..., 0] = torch.linspace(-2, 3, q.shape[-2], dtype=q.dtype)
    k[..., 0] = torch.linspace(-1, 4, k.shape[-2], dtype=k.dtype)
    return q, k, v


def _draw(*shapes: Sequence[int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    return tuple(torch.randn(shape, dtype=dtype) for shape in shapes)


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(
        a.double(), b.double(), rtol=1e-4, atol=1e-5, equal_nan=True
    )


def _named(names: Iterable[str], tensors: Iterable[Tensor], options: Options) -> dict[str, Any]:
    named = dict(zip(names, tensors, strict=True))
    return named | dict(zip(("causal", "block_q", "block_k"), options, strict=True))


def _between(v: Tensor) -> dict[str, Callable[[Tensor], bool]]:
    # A query without a key has output 0.
    low, high = v.amin(-2, keepdim=True).clamp(max=0), v.amax(-2, keepdim=True).clamp(min=0)
    return {
        "no output is larger than the largest value of its column of v, or smaller than the "
        "smallest": lambda out: bool(((out >= low - 1e-4) & (out <= high + 1e-4)).all())
    }


def _expect_output(out: Tensor, inputs: Sequence[Tensor], options: Options) -> None:
    q, k, v = inputs
    causal, block_q, _ = options
    expected, _ = _reference(q, k, v, causal)
    if out.shape == expected.shape and not bool(out.isfinite().all()):
        raise Failure(
            f"The output holds NaN or infinity ({int((~out.isfinite()).sum())} of {out.numel()} "
            "entries). Before the first block the maximum is −∞ or very low: does an exponent "
            "become +∞, or −∞ − (−∞), then? Is the factor that rescales the old sums upside "
            "down? Is memory read that was never written?"
        )
    n, full = q.shape[-2], q.shape[-2] // block_q * block_q
    of_shorter = Mistake(
        "Only the last block of queries is wrong, the one with fewer than `block_q` rows: there "
        f"are {n} queries, and they are taken {block_q} at a time.",
        lambda: torch.cat([expected[..., :full, :], out[..., full:, :]], -2),
    )
    both_shorter = Mistake(
        "The last blocks, which are shorter than `block_q` and `block_k`, are left out: those of "
        "queries and of keys.",
        lambda: torch.cat(
            [_of_whole_blocks(inputs, options)[..., :full, :], out[..., full:, :]], -2
        ),
    )
    mistakes = _forward_mistakes(q, k, v, *options)
    expect_close(
        out,
        expected,
        inputs=_named(("q", "k", "v"), inputs, options),
        mistakes=[*mistakes, of_shorter, both_shorter] if 0 < full < n else mistakes,
        properties=_between(v),
    )


def _of_whole_blocks(inputs: Sequence[Tensor], options: Options) -> Tensor:
    """Return the output if the last block of keys, when it is shorter, is left out."""
    q, k, v = inputs
    n, m, (causal, _, block_k) = q.shape[-2], k.shape[-2], options
    whole = _allowed(n, m, causal) & (torch.arange(m) < m // block_k * block_k)
    return _scores(q, k, whole).softmax(-1).nan_to_num(0.0) @ v


def _expect_double(got: Tensor, expected: Tensor, given: str, what: str) -> None:
    if got.dtype != torch.float64:
        raise Failure(f"{given} `torch.float64`, but {what} is `{got.dtype}`.")
    if not torch.allclose(got, expected, 1e-9, 1e-10):
        raise Failure(
            f"With float64 inputs {what} is right to about 7 digits only: something inside is "
            "computed in float32. Do the running sums and buffers have the dtype of the inputs?"
        )


class _Blocks:
    """The scores of whole matrices, and the maxima that a walk over their blocks of keys meets."""

    def __init__(self, scores: Tensor, block_k: int) -> None:
        self.scores = scores
        self.parts = torch.split(scores, block_k, -1)
        maxima = torch.stack([part.amax(-1) for part in self.parts], -1)
        running = maxima.cummax(-1).values
        of_key = torch.arange(scores.shape[-1]) // block_k
        self.own, self.running = maxima[..., of_key], running[..., of_key]
        self.last = running[..., -1:]
        self.fresh = _exp_minus(scores, self.running)  # as they are when their block is seen
        self.weights = _exp_minus(scores, self.last)
        sums = [
            _exp_minus(torch.cat(self.parts[: i + 1], -1), running[..., i : i + 1]).sum(-1)
            for i in range(len(self.parts))
        ]
        self.totals = torch.stack(sums, -1)  # of the keys so far, after each block
        # Every total after which the accumulator would be divided by it, for each key.
        divisors = self.totals.clamp(min=1).flip(-1).cumprod(-1).flip(-1)
        self.divisors = divisors[..., of_key]


def _forward_mistakes(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, block_q: int, block_k: int
) -> list[Mistake]:
    """List what people get wrong, most likely first, with the output that it leads to."""
    n, m, d = q.shape[-2], k.shape[-2], q.shape[-1]
    allowed = _allowed(n, m, causal)
    walk = _Blocks(_scores(q, k, allowed), block_k)

    def attend(allowed: Tensor, scale: float | None = None) -> Callable[[], Tensor]:
        return lambda: _scores(q, k, allowed, scale).softmax(-1).nan_to_num(0.0) @ v

    def average(weights: Tensor, total: Tensor) -> Callable[[], Tensor]:
        total = total.sum(-1, keepdim=True)
        return lambda: (weights @ v / total).nan_to_num(0.0)

    masks = [
        Mistake(message, attend(wrong))
        for message, wrong in _wrong_masks(n, m, causal, block_q, block_k)
    ]
    everything = torch.ones(n, m, dtype=torch.bool)
    met = _met(n, m, block_q, block_k) if causal else everything
    very_low = [_low_mask(q, k, allowed, where) @ v for where in (met, everything)]
    upside_down = walk.fresh * _exp_minus(walk.last, walk.running)
    own = _exp_minus(walk.scores, walk.own)
    padding = -m % block_k
    return [
        *(
            Mistake(
                "Queries that may look at no key get an average of values: a masked score has to "
                "be −∞, not only very low.",
                lambda out=out: out,  # type: ignore[misc]
            )
            for out in very_low
        ),
        *masks,
        Mistake(
            "The accumulator is not rescaled: when a block brings a larger maximum, what was "
            "accumulated before it was measured against a smaller one. (The sum is right.)",
            average(walk.fresh, walk.weights),
        ),
        Mistake(
            "The sum of the exponentials is not rescaled when a block brings a larger maximum. "
            "(The accumulator is.)",
            average(walk.weights, walk.fresh),
        ),
        Mistake(
            "Neither the accumulator nor the sum is rescaled when a block brings a larger maximum.",
            average(walk.fresh, walk.fresh),
        ),
        Mistake(
            "The exponentials of each block are measured against the maximum of that block alone, "
            "and added to others that are measured against the maximum of all blocks so far.",
            average(
                own * _exp_minus(walk.running, walk.last), own * _exp_minus(walk.running, walk.last)
            ),
        ),
        Mistake(
            "Each block is measured against its own maximum, and nothing is rescaled.",
            average(own, own),
        ),
        *(
            Mistake(
                "The accumulator is rescaled by the wrong factor: it is upside down. The old terms "
                "have to get *smaller* when the maximum rises.",
                average(upside_down, total),
            )
            for total in (upside_down, walk.weights)
        ),
        Mistake(
            "The accumulator is divided by the sum after every block, and goes on as if it had "
            "not been. FlashAttention-2 divides once, after the last block.",
            lambda: (walk.weights / walk.divisors) @ v,
        ),
        Mistake("The accumulator is never divided by the sum.", lambda: walk.weights @ v),
        Mistake(
            "The softmax of each block is taken by itself and the results are added. The blocks of "
            "a row share one denominator.",
            lambda: _block_softmax(walk) @ v,
        ),
        Mistake(
            "The softmax of each block is taken by itself and the results are averaged. Blocks "
            "with large scores have to count more.",
            lambda: _block_softmax(walk) @ v / len(walk.parts),
        ),
        Mistake(
            "This is the result of the last block of keys alone: each block overwrites the one "
            "before.",
            attend(allowed & (torch.arange(m) >= (m - 1) // block_k * block_k)),
        ),
        Mistake("The scores are not divided by √d.", attend(allowed, 1.0)),
        Mistake("The scores are divided by d; its square root is meant.", attend(allowed, 1 / d)),
        Mistake("The scores are multiplied by √d.", attend(allowed, math.sqrt(d))),
        *(
            Mistake(f"The scores are divided by {wrong}.", attend(allowed, size**-0.5))
            for wrong, size in (
                ("√n, n the number of queries", n),
                ("√m, m the number of keys", m),
                ("the square root of `block_q`", block_q),
                ("the square root of `block_k`", block_k),
                ("√d_v, d_v the width of the values", v.shape[-1]),
            )
        ),
        *(Mistake(FIRST_KEYS, attend(allowed & first)) for first in _first_keys(n, m, block_k)),
        Mistake(
            "The last block of keys, the one with fewer than `block_k` keys, is left out.",
            lambda: _of_whole_blocks((q, k, v), (causal, block_q, block_k)),
        ),
        Mistake(
            "The last block of keys is filled up with zeros, and those count as keys with score 0: "
            "e⁰ is 1. Mask them.",
            lambda: (
                torch.cat([walk.scores, torch.zeros_like(walk.scores[..., :padding])], -1)
                .softmax(-1)[..., :m]
                .nan_to_num(0.0)
                @ v
            ),
        ),
    ]


FIRST_KEYS = "The loop over blocks of keys goes as far as there are *queries*, not keys."


def _first_keys(n: int, m: int, block_k: int) -> list[Tensor]:
    """Return which keys are met by a loop up to n, the last block cut off at n or not."""
    return [torch.arange(m) < end for end in (n, -(-n // block_k) * block_k) if end < m]


def _block_softmax(walk: _Blocks) -> Tensor:
    return torch.cat([part.softmax(-1).nan_to_num(0.0) for part in walk.parts], -1)


def _met(n: int, m: int, block_q: int, block_k: int) -> Tensor:
    """Return the (n, m) mask of the blocks that a causal pass must not skip."""
    last_i = (torch.arange(n)[:, None] // block_q * block_q + block_q - 1).clamp(max=n - 1)
    return torch.arange(m) // block_k * block_k <= last_i + m - n


def _low_mask(q: Tensor, k: Tensor, allowed: Tensor, met: Tensor) -> Tensor:
    """Return the weights if masked scores are very low, and only blocks that are met count."""
    low = _scores(q, k, met).masked_fill(met & ~allowed, -1e9)
    return low.softmax(-1).nan_to_num(0.0)


def _wrong_masks(
    n: int, m: int, causal: bool, block_q: int, block_k: int
) -> list[tuple[str, Tensor]]:
    """List the masks that people apply by mistake, as (message, mask)."""
    everything = torch.ones(n, m, dtype=torch.bool)
    if not causal:
        return [
            ("The causal mask is applied although `causal` is False.", _allowed(n, m, True)),
            ("The causal mask is applied although `causal` is False.", everything.tril()),
        ]
    offset = m - n
    i, j = torch.arange(n)[:, None] + offset, torch.arange(m)
    first_i = torch.arange(n)[:, None] // block_q * block_q  # of the block that i lies in
    last_i = (first_i + block_q - 1).clamp(max=n - 1)
    first_j = j // block_k * block_k
    last_j = (first_j + block_k - 1).clamp(max=m - 1)
    local = j - first_j <= torch.arange(n)[:, None] - first_i
    seen, whole = _met(n, m, block_q, block_k), last_j <= first_i + offset
    top_left = j <= torch.arange(n)[:, None]
    numbers = j // block_k <= torch.arange(n)[:, None] // block_q
    wrong = [
        ("`causal` has no effect.", everything),
        (
            "A block of keys that begins with the last key that its block of queries may see is "
            "skipped: the comparison that skips blocks is off by one.",
            (first_j < last_i + offset) & (j <= i),
        ),
        (
            "Blocks above the diagonal are skipped, but those that the diagonal crosses are not "
            "masked: queries see later keys of their own block.",
            seen,
        ),
        (
            "Blocks that the diagonal crosses are skipped altogether; they have keys that some of "
            "their queries may see.",
            whole,
        ),
        (
            "Places inside a block are compared, not places in the text: add where the block of "
            "queries and the block of keys begin.",
            seen & (whole | local),
        ),
        (
            "Places inside a block are compared, not places in the text: add where the block of "
            "queries and the block of keys begin.",
            seen & local,
        ),
        (
            "Blocks are skipped by comparing the *numbers* of the blocks; that tells nothing when "
            "`block_q` and `block_k` differ, or n and m.",
            numbers & (j <= i),
        ),
        ("The diagonal is masked: a query may look at its own place.", j < i),
        ("The mask is transposed: queries see their own place and *later* keys.", j >= i),
        (
            "Queries see one key too many: the one after their own place.",
            j <= i + 1,
        ),
    ]
    if offset:
        wrong += [
            (
                "The causal mask is aligned at the beginning (query i sees keys up to i). With "
                "n ≠ m it is to be aligned at the end: the *last* query sees every key.",
                top_left,
            ),
            (
                "The offset of the causal mask has the wrong sign: it is m − n, not n − m.",
                j <= torch.arange(n)[:, None] - offset,
            ),
        ]
    return wrong


def _expect_lse(lse: Tensor, q: Tensor, k: Tensor, options: Options) -> None:
    causal, _, block_k = options
    n, m, d = q.shape[-2], k.shape[-2], q.shape[-1]
    walk = _Blocks(_scores(q, k, _allowed(n, m, causal)), block_k)
    expected = walk.scores.logsumexp(-1)
    if lse.shape == (*expected.shape, 1):
        raise Failure(
            f"The log-sum-exp has shape {tuple(lse.shape)}; it should be {tuple(expected.shape)}, "
            "one number for each query: drop the last dimension (`squeeze(-1)`)."
        )
    top, total = walk.last[..., 0], walk.weights.sum(-1)
    of_last = _exp_minus(walk.parts[-1], walk.last).sum(-1)

    def wrong(message: str, value: Tensor) -> Mistake:
        return Mistake(f"The output is right, but the log-sum-exp is not. {message}", lambda: value)

    expect_close(
        lse,
        expected,
        inputs=_named(("q", "k"), (q, k), options),
        mistakes=[
            wrong("This is the logarithm of the sum; the maximum has to be added.", total.log()),
            wrong("This is the maximum; the logarithm of the sum is missing.", top),
            wrong(
                "This is in base 2. The statement asks for natural logarithms.",
                expected / math.log(2),
            ),
            wrong("The logarithm of the sum is taken in base 2.", top + total.log2()),
            wrong("This is the sum of the exponentials, without a logarithm.", total),
            wrong("The sum is added without taking its logarithm.", top + total),
            wrong("The maximum is subtracted; it has to be added.", total.log() - top),
            wrong("The sign is wrong.", -expected),
            wrong("This is the exponential of it.", expected.exp()),
            wrong(
                "Only the last block of keys has entered the sum.",
                top + of_last.log(),
            ),
            wrong(
                "The sum was not rescaled when the maximum rose.",
                top + walk.fresh.sum(-1).log(),
            ),
            wrong(
                "The scores in it are not divided by √d.",
                _scores(q, k, _allowed(n, m, causal), 1.0).logsumexp(-1),
            ),
            wrong("It is divided by √d a second time.", expected / math.sqrt(d)),
        ],
    )


# --- Backward -------------------------------------------------------------------------------------


def _backward(session: Session, backward: Any) -> None:
    right: list[str] = []

    def compare(inputs: Sequence[Tensor], d_out: Tensor, options: Options, hint: str = "") -> Any:
        q, k, v = inputs
        out, lse = _reference(q, k, v, options[0])
        got = _with_hint(session, hint, backward, q, k, v, out, lse, d_out, *options)
        return _compare_gradients(got, inputs, d_out, options)

    def first(name: str, body: Callable[[], Any]) -> None:
        @session.test(name)
        def _() -> None:
            with _noting(
                session, "the harder cases of (b) are tested once the first two are right"
            ):
                body()
            right.append(name)

    def several_blocks() -> None:
        compare(_draw((4, 3), (6, 3), (6, 2)), _draw((4, 2))[0], (False, 2, 3))
        compare(_draw((6, 3), (6, 3), (6, 2)), _draw((6, 2))[0], (False, 3, 3))

    d_out = torch.tensor([[1.0, 0.5, 0.0, -1.0], [0.0, -2.0, 1.0, 0.5]])
    first("(b) two queries, three keys, one block", lambda: compare(_small(), d_out, (False, 2, 3)))
    first("(b) several blocks", several_blocks)
    if len(right) < 2:
        return

    @session.test("(b) blocks that divide nothing")
    def _() -> None:
        hint = "Here the last blocks are shorter than `block_q` and `block_k`."
        for (n, m), blocks in {(7, 14): (3, 4), (5, 3): (4, 100), (1, 1): (1, 1)}.items():
            inputs = _draw((n, 4), (m, 4), (m, 3))
            compare(inputs, _draw((n, 3))[0], (False, *blocks), hint)

    @session.test("(b) causal")
    def _() -> None:
        with _noting(session, "other causal cases of (b) are tested once the first is right"):
            for (n, m), blocks in {(8, 8): (4, 4), (9, 9): (4, 3), (5, 12): (2, 3)}.items():
                inputs = _draw((n, 4), (m, 4), (m, 3))
                compare(inputs, _draw((n, 3))[0], (True, *blocks))
        right.append("causal")

    either = (False, True) if "causal" in right else (False,)

    @_test_if("causal" in right, session, "(b) causal, more queries than keys")
    def _() -> None:
        for n, m, block_q, block_k in ((7, 4, 2, 2), (9, 4, 2, 3), (8, 5, 8, 8)):
            compare(_draw((n, 4), (m, 4), (m, 3)), _draw((n, 3))[0], (True, block_q, block_k))

    @session.test("(b) batches of heads, not contiguous, float64")
    def _() -> None:
        hint = "There are dimensions in front: count dimensions from the end."
        q, k, v = _draw((2, 5, 3, 4), (2, 7, 3, 4), (2, 3, 5, 14), dtype=torch.float64)
        inputs = q.transpose(1, 2), k.transpose(1, 2), v[..., ::2].mT
        d_out = _draw((2, 5, 3, 5), dtype=torch.float64)[0].transpose(1, 2)
        for causal in either:
            got = compare(inputs, d_out, (causal, 2, 3), hint)
            expected = _reference_gradients(inputs, d_out, causal)
            for name, one, other in zip(GRADIENTS, got, expected, strict=True):
                _expect_double(one, other, "All inputs are", f"`{name}`")

    @session.test("(b) blocks of scores in memory, not the matrix")
    def _() -> None:
        for causal in (False, True):
            q, k, v = _draw((N, WIDTH), (M, WIDTH), (M, WIDTH))
            out, lse = _reference(q, k, v, causal)
            d_out = torch.ones_like(out)
            with _watched(causal):
                session.call(backward, q, k, v, out, lse, d_out, causal, *BLOCKS)

    def run(*options: Any) -> None:
        q, k, v = _square()
        out, lse = _reference(q, k, v, options[0])
        session.call(backward, q, k, v, out, lse, torch.ones_like(out), *options)

    @_test_if("causal" in right, session, "(b) blocks above the diagonal are skipped")
    def _() -> None:
        _expect_skipping(run)


def _compare_gradients(
    got: Any, inputs: Sequence[Tensor], d_out: Tensor, options: Options
) -> tuple[Tensor, ...]:
    """Compare dq, dk, dv with those of PyTorch; dv first, which needs the least to be right."""
    if not isinstance(got, tuple | list) or len(got) != 3:
        what = f"{len(got)} things" if isinstance(got, tuple | list) else "one thing"
        raise Failure(f"Return the three gradients, `(dq, dk, dv)`; your function returns {what}.")
    if any(gradient is None for gradient in got):
        missing = [name for name, x in zip(GRADIENTS, got, strict=True) if x is None]
        raise Failure(f"`{missing[0]}` is None.")
    tensors = tuple(to_tensor(x, name) for name, x in zip(GRADIENTS, got, strict=True))
    expected = _reference_gradients(inputs, d_out, options[0])
    if all(map(_close, tensors, expected)):
        return tensors
    for order in ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        if all(_close(tensors[i], expected[j]) for i, j in enumerate(order)):
            raise Failure("The gradients are right, but not in the order `(dq, dk, dv)`.")
    if not all(bool(x.isfinite().all()) for x in tensors):
        blind = inputs[0].shape[-2] - inputs[1].shape[-2] if options[0] else 0
        reason = (
            f"The first {blind} queries may look at no key here: their log-sum-exp is −∞, and "
            "−∞ − (−∞) is NaN; and a masked score that is very low, but not −∞, is far above it. "
            "Their gradient is zero, and they add nothing to `dk` and `dv`."
            if blind > 0
            else "Is memory read that was never written, or an exponent taken that is not 0 or "
            "less? A weight is at most 1."
        )
        raise Failure(f"The gradients hold NaN or infinity. {reason}")
    q, k, v = inputs
    triples = _wrong_gradients(q, k, v, d_out, options)
    given = _named(("q", "k", "v", "d_out"), (*inputs, d_out), options)
    for which in (2, 0, 1):
        try:
            expect_close(
                tensors[which],
                expected[which],
                inputs=given,
                mistakes=[
                    Mistake(message, lambda x=triple[which]: x)  # type: ignore[misc]
                    for message, triple in triples
                ],
            )
        except Failure as failure:
            raise Failure(f"`{GRADIENTS[which]}` is not right. {failure}") from None
    return tensors


Triple = tuple[Tensor, Tensor, Tensor]


def _wrong_gradients(
    q: Tensor, k: Tensor, v: Tensor, d_out: Tensor, options: Options
) -> list[tuple[str, Triple]]:
    """List what people get wrong, most likely first, with the gradients that it leads to."""
    causal, block_q, block_k = options
    n, m, d = q.shape[-2], k.shape[-2], q.shape[-1]
    scale = 1 / math.sqrt(d)
    allowed = _allowed(n, m, causal)
    scores = _scores(q, k, allowed)
    out, lse = _reference(q, k, v, causal)
    weights = _exp_minus(scores, lse[..., None])
    d_weights = d_out @ v.mT
    delta = (d_out * out).sum(-1, keepdim=True)
    d_scores = weights * (d_weights - delta)

    def triple(
        p: Tensor = weights, ds: Tensor = d_scores, dq: float = scale, dk: float = scale
    ) -> Triple:
        return ds @ k * dq, ds.mT @ q * dk, p.mT @ d_out

    def from_weights(p: Tensor) -> Triple:
        return triple(p, p * (d_weights - delta))

    def from_delta(delta: Tensor) -> Triple:
        return triple(ds=weights * (d_weights - delta))

    wrong = [
        (f"In the recomputed weights: {message[0].lower()}{message[1:]}", from_weights(masked))
        for message, mask in _wrong_masks(n, m, causal, block_q, block_k)
        for masked in [_exp_minus(_scores(q, k, mask), lse[..., None])]
    ]
    unscaled = _exp_minus(_scores(q, k, allowed, 1.0), lse[..., None])
    alone = _block_softmax(_Blocks(scores, block_k))
    by_block = [
        part.sum(-1, keepdim=True).expand_as(part)
        for part in torch.split(weights * d_weights, block_k, -1)
    ]
    wrong += [
        (
            "The recomputed scores are not divided by √d, while the log-sum-exp belongs to scores "
            "that are.",
            from_weights(unscaled),
        ),
        (
            "The weights are recomputed without the log-sum-exp, so they are not normalized.",
            from_weights(scores.exp()),
        ),
        (
            "The weights are recomputed as a softmax of each block by itself. The log-sum-exp "
            "normalizes over the whole row.",
            from_weights(alone),
        ),
        (
            "The log-sum-exp is added to the scores; it has to be subtracted.",
            from_weights((scores + lse[..., None]).exp()),
        ),
        (
            "The term D (the row sums of dO ∘ O) is missing: it comes from the softmax, whose "
            "weights sum to 1.",
            triple(ds=weights * d_weights),
        ),
        ("The term D is added; it has to be subtracted.", from_delta(-delta)),
        (
            "D is summed over the keys of the block only. It is one number for the whole row: "
            "the row sum of dO ∘ O.",
            from_delta(torch.cat(by_block, -1)),
        ),
        ("D is the row sum of dO here; O is missing in it.", from_delta(d_out.sum(-1, True))),
        ("D is the row sum of O here; dO is missing in it.", from_delta(out.sum(-1, True))),
        ("D is the row sum of O ∘ O here.", from_delta((out * out).sum(-1, True))),
        ("D is the row sum of dO ∘ dO here.", from_delta((d_out * d_out).sum(-1, True))),
        (
            "D is the row *mean* of dO ∘ O here; it is the sum.",
            from_delta((d_out * out).mean(-1, True)),
        ),
        ("The derivative of the softmax is missing: dP is used as dS.", triple(ds=d_weights)),
        (
            "The factor P is missing in dS.",
            triple(ds=(d_weights - delta).masked_fill(~allowed, 0.0)),
        ),
        ("The sign is wrong.", (-triple()[0], -triple()[1], -triple()[2])),
        ("The factor 1/√d is missing.", triple(dq=1.0, dk=1.0)),
        ("The factor 1/√d is applied twice.", triple(dq=scale**2, dk=scale**2)),
        (
            "O takes the place of dO in the gradient of the values.",
            (*triple()[:2], weights.mT @ out),
        ),
        (
            "The factor 1/√d does not belong into the gradient of the values.",
            (*triple()[:2], weights.mT @ d_out * scale),
        ),
    ]
    wrong += _wrong_sums(q, k, d_out, weights, d_scores * scale, options)
    return wrong


def _wrong_sums(
    q: Tensor, k: Tensor, d_out: Tensor, p: Tensor, ds: Tensor, options: Options
) -> list[tuple[str, Triple]]:
    """List the gradients that come of wrong sums over blocks, `p` and `ds` being right."""
    causal, block_q, block_k = options
    n, m = p.shape[-2:]
    row_block, col_block = torch.arange(n)[:, None] // block_q, torch.arange(m) // block_k
    seen = _allowed(n, m, causal)
    # The last block of keys that each query meets (a block is met as a whole); and reversed.
    last_col = torch.stack([col_block.where(s, -1) for s in seen]).amax(-1, keepdim=True)
    last_col = torch.stack([last_col[row_block == b].amax() for b in row_block[:, 0]])[:, None]
    last_row = row_block.where(seen, -1).amax(0)
    last_row = torch.stack([last_row[col_block == b].amax() for b in col_block])
    final_rows, final_cols = row_block == last_row, col_block == last_col
    whole_rows = torch.arange(n)[:, None] < n // block_q * block_q
    whole_cols = torch.arange(m) < m // block_k * block_k

    def summed_over(keep: Tensor) -> Triple:
        return (ds * keep) @ k, (ds * keep).mT @ q, (p * keep).mT @ d_out

    overwritten = "It is overwritten by each block of {}: add to what came before."
    return [
        (overwritten.format("queries"), summed_over(final_rows)),
        (overwritten.format("keys"), summed_over(final_cols)),
        *((FIRST_KEYS, summed_over(first)) for first in _first_keys(n, m, block_k)),
        ("The last, shorter block of queries is left out.", summed_over(whole_rows)),
        ("The last, shorter block of keys is left out.", summed_over(whole_cols)),
        ("The last, shorter blocks are left out.", summed_over(whole_rows & whole_cols)),
    ]


# --- Both as one differentiable function ----------------------------------------------------------


def _autograd(session: Session, attention: Any) -> None:
    right: list[str] = []

    def run(
        inputs: Sequence[Tensor], options: Options, wanted: Sequence[bool] = (True,) * 3
    ) -> tuple[Any, list[Tensor]]:
        leaves = [
            x.detach().clone().requires_grad_(want) for x, want in zip(inputs, wanted, strict=True)
        ]
        return session.call(attention, *leaves, *options), leaves

    def compare(
        inputs: Sequence[Tensor], options: Options, wanted: Sequence[bool] = (True,) * 3
    ) -> Any:
        out, leaves = run(inputs, options, wanted)
        if isinstance(out, tuple | list):
            raise Failure(
                f"Your function returns {len(out)} things; return the output alone, so that it can "
                "take the place of any other attention."
            )
        _expect_output(to_tensor(out), inputs, options)
        if not isinstance(out, Tensor) or not out.requires_grad:
            raise Failure(
                "No gradient flows through the output (`requires_grad` is False). Pass what "
                "`YourFunction.apply` does, not its `forward`."
            )
        d_out = torch.randn_like(out)
        asked = [leaf for leaf, want in zip(leaves, wanted, strict=True) if want]

        def differentiate() -> Any:
            return torch.autograd.grad(out, asked, d_out, allow_unused=True)

        got = _with_hint(session, "This was in the backward pass.", differentiate)
        if any(gradient is None for gradient in got):
            raise Failure("One of the inputs gets no gradient at all: is a None in its place?")
        if all(wanted):
            return _compare_gradients(got, inputs, d_out, options)
        expected = _reference_gradients(inputs, d_out, options[0])
        chosen = [x for x, want in zip(expected, wanted, strict=True) if want]
        for gradient, one in zip(got, chosen, strict=True):
            expect_close(gradient, one, inputs=_named(("q", "k", "v"), inputs, options))
        return got

    @session.test("(c) one block, and several")
    def _() -> None:
        with _noting(session, "the harder cases of (c) are tested once the first is right"):
            compare(_small(), (False, 2, 3))
            compare(_rising(_draw((4, 3), (6, 3), (6, 2))), (False, 2, 3))
            compare(_draw((6, 3), (6, 3), (6, 2)), (True, 3, 3))
        right.append("basics")

    if not right:
        return

    @session.test("(c) any lengths, causal or not, batches, float64")
    def _() -> None:
        for n, m in ((7, 14), (9, 4), (1, 5)):
            for causal in (False, True):
                shapes = (2, 3, n, 4), (2, 3, m, 4), (2, 3, m, 5)
                inputs = _draw(*shapes, dtype=torch.float64)
                got = compare(inputs, (causal, 4, 3))
                for name, gradient in zip(GRADIENTS, got, strict=True):
                    if gradient.dtype != torch.float64:
                        raise Failure(f"All inputs are float64; `{name}` is `{gradient.dtype}`.")

    @session.test("(c) gradients of some inputs only")
    def _() -> None:
        for wanted in ((True, False, False), (False, True, True)):
            compare(_draw((5, 4), (7, 4), (7, 3)), (True, 2, 3), wanted)

    @session.test("(c) memory of order n, from forward to backward")
    def _() -> None:
        for causal in (False, True):
            with _watched(causal) as meter:
                inputs = _draw((N, WIDTH), (M, WIDTH), (M, WIDTH))
                out, leaves = run(inputs, (causal, *BLOCKS))
                kept = meter.alive(at_most=PAIRS // 2)
                if kept > PAIRS // 2:
                    raise Failure(
                        f"With {N} queries and {M} keys, {kept:,} numbers are kept from the "
                        f"forward pass for the backward pass; the matrix of scores has {PAIRS:,}. "
                        "Keep q, k, v, the output and the log-sum-exp, and compute the rest again."
                    )
            d_out = torch.ones_like(out)
            with _watched(causal):
                _with_hint(session, "", partial(torch.autograd.grad, out, leaves, d_out))


# --- Memory ---------------------------------------------------------------------------------------


# Lengths at which a matrix of scores is far larger than anything else.
N, M, WIDTH, BLOCKS = 96, 80, 2, (16, 8)
PAIRS, STRIP = N * M, min(N * BLOCKS[1], M * BLOCKS[0])


SIDE, BLOCK = 64, 8


def _square() -> tuple[Tensor, ...]:
    """Return as many queries as keys, in many blocks."""
    return _draw(*3 * [(SIDE, WIDTH)])


def _expect_skipping(run: Callable[..., Any]) -> None:
    """Fail unless a causal run has fewer products than one in which every query sees every key."""
    per_side, done = SIDE // BLOCK, []
    for causal in (False, True):
        with _Products() as products:  # type: ignore[no-untyped-call]
            run(causal, BLOCK, BLOCK)
        done.append(products.multiplications)
    needed = (per_side + 1) / (2 * per_side)  # blocks on and below the diagonal
    if done[0] and done[1] > done[0] * (1 + needed) / 2:  # no products at all: not by PyTorch
        raise Failure(
            f"With {SIDE} queries and keys and blocks of {BLOCK} × {BLOCK}, your matrix products "
            f"take {done[1]:,} multiplications with `causal`, and {done[0]:,} without: blocks that "
            "no query may see are computed and then masked. Skip them, before their scores are "
            "computed."
        )


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the multiplications in products of matrices."""

    multiplications = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as below

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        first = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}.get(func.overloadpacket.__name__)
        if first is not None:
            self.multiplications += args[first].numel() * args[first + 1].shape[-1]
        return out


class _Calls(TorchFunctionMode):
    """Notices PyTorch's own attention."""

    seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen |= func in (F.scaled_dot_product_attention, F.multi_head_attention_forward)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _watched(causal: bool) -> Iterator["_Meter"]:
    """Watch what the block makes, and fail if it is more than the exercise allows."""
    calls, meter = _Calls(), _Meter(causal)
    gc.freeze()  # what a notebook already holds is not walked again with every collection
    try:
        with calls, meter:
            yield meter
        meter.judge()
    except Failure:
        if not calls.seen:
            raise
    finally:
        gc.unfreeze()
    if calls.seen:
        raise Failure(
            "Your function calls PyTorch's own attention. Here you are to write it yourself, "
            "block by block."
        )


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches the memory behind every tensor that PyTorch makes in the block, forward or backward.

    Storages are counted, not tensors, so that views cost nothing, however large they look.
    """

    def __init__(self, causal: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._given = f"{M} keys, causal={causal}"
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self._peak = 0
        self._numbers = 0  # of the largest
        self._shape: tuple[int, ...] = ()
        self._is_mask = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip the compiler, PyTorch would import it, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.layout is torch.strided:
                self._see(leaf)
        return out

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._storages:
            return
        numbers = storage.nbytes() // tensor.element_size()
        self._storages[storage._cdata] = (
            StorageWeakRef(storage),  # type: ignore[no-untyped-call]
            numbers,
        )
        if numbers > self._numbers:
            self._numbers, self._shape = numbers, tuple(tensor.shape)
            self._is_mask = tensor.dtype == torch.bool
        if self._peak < PAIRS:
            self._peak = max(self._peak, self.alive(at_most=PAIRS - 1))

    def _count(self) -> int:
        self._storages = {
            key: (ref, numbers)
            for key, (ref, numbers) in self._storages.items()
            if not ref.expired()  # type: ignore[no-untyped-call]
        }
        return sum(numbers for _, numbers in self._storages.values())

    def alive(self, at_most: int) -> int:
        """Return how many numbers are in memory now; if too many, without what is garbage."""
        if self._count() > at_most:
            gc.collect()  # cycles among Python objects may hold tensors that nobody can use
        return self._count()

    def judge(self) -> None:
        """Fail if more scores were in memory than the exercise allows."""
        where = (
            f"With {N} queries, {self._given} and blocks of {BLOCKS[0]} × {BLOCKS[1]}, your code "
        )
        made = f"{where}makes a tensor of shape {self._shape}: "
        if self._numbers >= PAIRS and self._is_mask:
            raise Failure(
                f"{made}a mask for every pair of query and key, which is a matrix as large as the "
                "scores. Mask each block by itself."
            )
        if self._numbers >= PAIRS:
            raise Failure(
                f"{made}a number for every pair of query and key, the very matrix that "
                "FlashAttention avoids."
            )
        if self._peak >= PAIRS:
            raise Failure(
                f"{where}holds {self._peak:,} numbers at one time, as many as the whole matrix of "
                "scores has: the blocks are kept when they are no longer needed."
            )
        if self._numbers >= STRIP:
            raise Failure(
                f"{made}more than one block. Let both loops run, over blocks of queries *and* "
                "blocks of keys, and drop a block of scores before the next one is made."
            )
