"""Check of exercise 13.19, scaled dot-product attention."""

import ast
import functools
import inspect
import math
import textwrap
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    expect_shape,
    show_value,
    to_tensor,
)

MAX_LINES = 9

# The small inputs that a message can show in full; n, m, d_k and d_v all differ.
Q = [[1.0, 0.0, 2.0, -1.0], [0.5, 1.0, -1.0, 0.0]]
K = [[1.0, 0.5, 0.0, 0.0], [0.0, 1.0, 1.0, -0.5], [-1.0, 0.0, 0.5, 1.0]]
V = [[1.0, 0.0, 2.0, 0.0, -1.0], [0.0, 3.0, 1.0, 0.5, 0.0], [2.0, 1.0, 0.0, -1.0, 4.0]]


def scaled_dot_product_attention(attention: Callable[..., Any]) -> Result:
    """Check an implementation of scaled dot-product attention.

    Parameters
    ----------
    attention
        ``attention(q, k, v, mask=None)`` with

        - ``q`` of shape (..., n, d_k), ``k`` of shape (..., m, d_k), ``v`` of shape (..., m, d_v),
          floating-point tensors of one dtype, with any number of batch dimensions in front;
        - ``mask`` of a shape that broadcasts to (..., n, m): boolean, True where the query may
          attend to the key; or floating-point, to be added to the scaled scores.

        It returns the output of shape (..., n, d_v), in the dtype of the inputs, and nothing else.
        For a query that may attend to no key at all, any defensible output is accepted.

    Returns
    -------
    Result
        Includes the count of logical lines: every statement counts, the ``def`` line too; the
        docstring, comments and blank lines do not.
    """
    session = Session("scaled_dot_product_attention", attention)
    q, k, v = torch.tensor(Q), torch.tensor(K), torch.tensor(V)

    def output(hint: str, *inputs: Tensor) -> Any:
        """Call the learner's function; to an error it raises, add what usually causes it."""
        try:
            got = session.call(attention, *inputs)
        except Failure as failure:
            raised = str(failure).startswith("Your code raised")
            if not raised or "raised NameError" in str(failure):  # of which no hint here speaks
                raise
            if not _takes(attention, inputs):
                hint = (
                    "It should take `(q, k, v, mask=None)`: the mask comes as the fourth argument, "
                    "or not at all."
                )
            elif inputs[0].ndim > 2 and "a batch" not in right:
                hint = batch_hint  # it fails on batches without masks, too
            raise Failure(f"{failure}\n{hint}") from None
        if isinstance(got, tuple | list) and any(isinstance(part, Tensor) for part in got):
            raise Failure(
                f"Your function returns {len(got)} things in a {type(got).__name__}; "
                "return the output alone, not the weights with it."
            )
        return got

    def compare(hint: str, *inputs: Tensor) -> None:
        names = ("q", "k", "v", "mask")
        expect_close(
            output(hint, *inputs),
            _reference(*inputs),
            inputs=dict(zip(names, inputs, strict=False)),
            mistakes=_mistakes(*inputs),
            properties=_properties(inputs[2]),
        )

    flat_hint = (
        "There is no batch dimension here: count dimensions from the end (`-1`, `-2`), which works "
        "with any number of them. The weights have one row for each query, one column for each key."
    )
    batch_hint = (
        "The inputs have batch dimensions in front. Exchange only the last two dimensions of `k`: "
        "`.T`, `.t()` and dimensions counted from the front do something else here."
    )
    right: list[str] = []

    @session.test("two queries, three keys")
    def _() -> None:
        compare(flat_hint, q, k, v)
        right.append("three keys")

    @session.test("as many keys as queries")
    def _() -> None:
        compare(flat_hint, torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 2))
        right.append("as many keys as queries")

    if len(right) < 2:  # everything else would only repeat what is said above
        session.note("batches, masks and awkward inputs are tested once these two are right")
        return session.result()

    @session.test("a batch")
    def _() -> None:
        compare(batch_hint, torch.randn(3, 5, 2), torch.randn(3, 7, 2), torch.randn(3, 7, 4))
        right.append("a batch")

    @session.test("a batch of several heads")
    def _() -> None:
        q, k, v = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 5, 6), torch.randn(2, 3, 5, 7)
        compare(batch_hint, q, k, v)

    boolean_hint = (
        "Here the mask is boolean. Ask `mask is not None`, never `if mask:`, and look at "
        "`mask.dtype` to tell the two kinds of mask apart."
    )

    @session.test("boolean mask")
    def _() -> None:
        compare(boolean_hint, q, k, v, torch.tensor([[True, False, True], [True, True, False]]))
        right.append("boolean mask")

    @session.test("boolean mask that hides the padding of a batch")
    def _() -> None:
        q, k, v = torch.randn(2, 3, 4, 2), torch.randn(2, 3, 5, 2), torch.randn(2, 3, 5, 7)
        lengths = torch.tensor([5, 3])
        mask = (torch.arange(5) < lengths[:, None])[:, None, None, :]
        compare(f"{boolean_hint} It broadcasts to (..., n, m).", q, k, v, mask)

    additive_hint = (
        "Here the mask is floating-point, to be added to the scaled scores; some entries are −∞. "
        "Look at `mask.dtype` to tell the two kinds of mask apart."
    )

    @session.test("additive mask")
    def _() -> None:
        mask = torch.tensor([[0.0, -0.5, 1.5], [-1.0, 0.0, -math.inf]])
        compare(additive_hint, q, k, v, mask)

    @session.test("float64")
    def _() -> None:
        q, k, v = (torch.randn(size, dtype=torch.float64) for size in ((3, 5), (4, 5), (4, 2)))
        mask = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 1, 0]], dtype=torch.bool)
        for inputs in ((q, k, v), (q, k, v, mask), (q, k, v, torch.randn(3, 4).double())):
            compare("Here q, k and v are float64.", *inputs)
            got = to_tensor(output("Here q, k and v are float64.", *inputs))
            if got.dtype != torch.float64:
                raise Failure(f"q, k and v are `torch.float64`, but the output is `{got.dtype}`.")
            if not torch.allclose(got, _reference(*inputs), 1e-9, 1e-11):
                raise Failure(
                    "With float64 inputs the output is right to about 7 digits only: "
                    "something inside is computed in float32."
                )

    @session.test("inputs that are not contiguous")
    def _() -> None:
        # Heads split off by a transpose, as in multi-head attention; v transposed and strided.
        q = torch.randn(2, 4, 3, 5).transpose(1, 2)
        k = torch.randn(2, 6, 3, 5).transpose(1, 2)
        v = torch.randn(2, 3, 7, 12)[..., ::2].mT
        compare("q, k and v are not contiguous here: `.view` may fail on them.", q, k, v)

    @session.test("one query, one key")
    def _() -> None:
        hint = "All lengths are 1 here: do not `squeeze`."
        compare(hint, torch.randn(1, 1, 1), torch.randn(1, 1, 1), torch.randn(1, 1, 3))
        compare(hint, torch.randn(1, 3), torch.randn(4, 3), torch.randn(4, 1))

    @session.test("large scores")
    def _() -> None:
        v = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 1.0]])
        q, k = torch.tensor([[20.0], [-20.0]]), torch.tensor([[10.0], [10.05], [20.0]])
        compare("The scores are as large as ±400 here.", q, k, v)
        # The blocked key has by far the largest score of the first query.
        mask = torch.tensor([[True, True, False], [True, False, True]])
        compare(boolean_hint, q, k, v, mask)

    @session.test("a query with no key to attend to")
    def _() -> None:
        q, k, v = torch.randn(3, 4), torch.randn(5, 4), torch.randn(5, 2)
        mask = torch.ones(3, 5, dtype=torch.bool)
        mask[1] = False
        mask[2, 3:] = False
        hint = "The second query may attend to no key here."
        got = to_tensor(output(hint, q, k, v, mask))
        expected = _reference(q, k, v, mask)
        expect_shape(got, expected.shape)
        rest = [0, 2]
        if got[rest].isnan().any() and "boolean mask" in right:
            raise Failure(
                "The second query may attend to no key, and its NaN spreads to the others."
            )
        expect_close(got[rest], expected[rest], mistakes=_mistakes(q[rest], k, v, mask[rest]))
        given = _convention(got[1], q[1:2], k, v)
        session.note(f"for a query with every key blocked, your code returns {given}")

    @session.test("built from basic operations")
    def _() -> None:
        with _FusedCalls() as fused:
            output("", q, k, v)
        if fused.seen:
            raise Failure(
                "Your function calls PyTorch's own attention. Here you are to write it yourself: "
                "with matrix products, a softmax and a mask."
            )

    lines = logical_lines(attention)
    if lines is None:
        session.note("the source of your function is not available, so its lines were not counted")
        return session.result()

    @session.test("fewer than ten logical lines")
    def _() -> None:
        if lines > MAX_LINES:
            raise Failure(
                f"Your function has {lines} logical lines, the `def` line included; "
                f"at most {MAX_LINES} are asked for. Comments and docstrings do not count."
            )

    return session.result()


def logical_lines(function: Any) -> int | None:
    """Count the statements of a function, its ``def`` line included and docstrings left out.

    Of a module, the ``forward`` method is counted; a lambda is one line. None if there is no
    source to count.
    """
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, nn.Module):
        function = type(function).forward
    elif not inspect.isroutine(function) and callable(function):
        function = type(function).__call__
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    if getattr(function, "__name__", "") == "<lambda>":
        return 1
    return sum(
        isinstance(node, ast.stmt)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in ast.walk(tree)
    )


class _FusedCalls(TorchFunctionMode):
    """Notices calls of the functions that would do the whole exercise."""

    seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (F.scaled_dot_product_attention, F.multi_head_attention_forward):
            self.seen = True
        return func(*args, **(kwargs or {}))


def _takes(attention: Any, inputs: tuple[Tensor, ...]) -> bool:
    """Tell whether the function takes so many arguments, as far as its signature tells."""
    function = attention.forward if isinstance(attention, nn.Module) else attention
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # it has none, as some functions written in C
        return True
    try:
        signature.bind(*inputs)
    except TypeError:
        return False
    return True


def _reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _properties(v: Tensor) -> dict[str, Callable[[Tensor], bool]]:
    low, high = v.amin(-2, keepdim=True), v.amax(-2, keepdim=True)
    return {
        "each output lies between the smallest and the largest value of its column of v": (
            lambda out: bool(((out >= low - 1e-4) & (out <= high + 1e-4)).all())
        )
    }


def _mistakes(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> list[Mistake]:
    """List what people get wrong, most likely first, with the output that it leads to."""
    d_k, scores = q.shape[-1], q @ k.mT / math.sqrt(q.shape[-1])
    bias: Tensor | float = 0.0
    if mask is not None:
        boolean = mask.dtype == torch.bool
        bias = torch.where(mask, 0.0, -math.inf) if boolean else mask

    def scaled(scale: float) -> Callable[[], Tensor]:
        return lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)

    def softmax_over(dim: int) -> Callable[[], Tensor]:
        return lambda: (scores + bias).softmax(dim).nan_to_num() @ v

    weights = (scores + bias).softmax(-1)
    # A mistake that has to do with the mask comes first where there is one.
    mistakes = _mask_mistakes(q, k, v, mask) if mask is not None else []
    mistakes += [
        Mistake("The scores are not divided by √d_k.", scaled(1.0)),
        Mistake("The scores are divided by d_k; its square root is meant.", scaled(1 / d_k)),
        Mistake(
            "The scores are multiplied by √d_k; they should be divided by it.",
            scaled(math.sqrt(d_k)),
        ),
        Mistake("The scores are multiplied by d_k.", scaled(float(d_k))),
        *(
            Mistake(f"The scores are divided by {wrong}.", scaled(size**-0.5))
            for wrong, size in (
                ("√n, n the number of queries", q.shape[-2]),
                ("√m, m the number of keys", k.shape[-2]),
                ("√d_v, d_v the width of the values", v.shape[-1]),
            )
        ),
    ]
    if q.ndim == 4:
        mistakes.append(
            Mistake(
                "The scores are divided by √(h·d_k), the width of all heads together; each head "
                "has scores of its own.",
                scaled((q.shape[1] * d_k) ** -0.5),
            )
        )
    mistakes += [
        Mistake(
            f"The scores are divided by the square root of dimension {dim} of the input, which is "
            "a batch dimension here: count dimensions from the end.",
            scaled(q.shape[dim] ** -0.5),
        )
        for dim in range(q.ndim - 2)
    ]
    mistakes += [
        Mistake(
            "The softmax runs over the wrong axis: for each key, the weights of all queries sum "
            "to 1. For each query, the weights of all keys should.",
            softmax_over(-2),
        ),
        *(
            Mistake(
                f"The softmax runs over dimension {dim}, which is a batch dimension here: count "
                "dimensions from the end.",
                softmax_over(dim),
            )
            for dim in range(q.ndim - 2)
        ),
        Mistake(
            "Queries and keys have changed places: row i of the scores should hold the scores of "
            "query i.",
            lambda: (scores.mT + bias).softmax(-1) @ v,
        ),
        Mistake("The weights are transposed before they meet the values.", lambda: weights.mT @ v),
        Mistake("There is no softmax: these are scores times values.", lambda: (scores + bias) @ v),
        Mistake(
            "The exponentials are not normalized: the weights of a query should sum to 1.",
            lambda: (scores + bias).exp() @ v,
        ),
        Mistake(
            "The scores are normalized without being exponentiated first.",
            lambda: scores / scores.sum(-1, keepdim=True) @ v,
        ),
        Mistake(
            "The weights come from a sigmoid of each score; they should come from a softmax over "
            "all keys.",
            lambda: (scores + bias).sigmoid() @ v,
        ),
        Mistake(
            "The scale is applied after the softmax; it belongs to the scores.",
            lambda: (scores * math.sqrt(d_k) + bias).softmax(-1) / math.sqrt(d_k) @ v,
        ),
        Mistake("These are the weights; multiply them by the values.", lambda: weights),
        Mistake(
            "These are the scores; the softmax and the values are missing.", lambda: scores + bias
        ),
        Mistake(
            "exp overflows or underflows on large scores: subtract the largest score of each row "
            "first, or use PyTorch's softmax, which does.",
            lambda: (scores + bias).exp() / (scores + bias).exp().sum(-1, keepdim=True) @ v,
        ),
        Mistake(
            "Dimensions of length 1 have disappeared: the output keeps the batch dimensions and n.",
            lambda: (weights @ v).squeeze(),
        ),
    ]
    return mistakes


def _mask_mistakes(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> list[Mistake]:
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    plain = scores.softmax(-1)

    def attend(biased: Tensor) -> Tensor:
        return biased.softmax(-1) @ v

    if mask.dtype == torch.bool:
        cut = plain * mask
        return [
            Mistake("The mask has no effect.", lambda: attend(scores)),
            Mistake(
                "The boolean mask is read inverted: True means that the query *may* "
                "attend to the key (in `nn.MultiheadAttention` True blocks it).",
                lambda: attend(scores.masked_fill(mask, -math.inf)),
            ),
            Mistake(
                "The boolean mask is added to the scores as 0 and 1: that is a nudge, not a wall.",
                lambda: attend(scores + mask.to(scores.dtype)),
            ),
            Mistake(
                "The masked scores are set to 0 (or close to it), a score like any other: "
                "exp(0) = 1. They should get a weight of 0.",
                lambda: attend(scores * mask),
            ),
            Mistake(
                "The mask is applied after the softmax, so that the weights of a query no longer "
                "sum to 1.",
                lambda: cut @ v,
            ),
            Mistake(
                "The mask is applied after the softmax and the weights are normalized again. On "
                "paper that is the same; but here the blocked key had nearly all the weight, and "
                "0/0 or rounding is left of the rest. Mask the scores.",
                lambda: cut / cut.sum(-1, keepdim=True) @ v,
            ),
            Mistake(
                "Everything is NaN, as it comes from multiplying 0 by ∞, say in "
                "`(1 - mask) * -inf`: choose with `masked_fill` or `torch.where` instead.",
                lambda: torch.full_like(plain @ v, math.nan),
            ),
        ]
    added = plain + mask
    return [
        Mistake("The mask has no effect.", lambda: attend(scores)),
        Mistake(
            "The mask is added after the softmax; it belongs to the scores.", lambda: added @ v
        ),
        Mistake(
            "The mask is added after the softmax and the weights are normalized again; it belongs "
            "to the scores.",
            lambda: added / added.sum(-1, keepdim=True) @ v,
        ),
        Mistake(
            "The softmax is taken twice: before the mask is added and after.",
            lambda: attend(added),
        ),
        Mistake(
            "The mask is divided by √d_k together with the scores: add it after the scaling.",
            lambda: attend(scores + mask / math.sqrt(q.shape[-1])),
        ),
        Mistake(
            "Of the additive mask only the −∞ count: the finite entries are to be added too.",
            lambda: attend(scores.masked_fill(mask.isneginf(), -math.inf)),
        ),
        Mistake(
            "The additive mask is read as a boolean one: every nonzero entry opens a key.",
            lambda: attend(scores.masked_fill(mask == 0, -math.inf)),
        ),
        Mistake(
            "The additive mask is read as a boolean one: every nonzero entry blocks a key.",
            lambda: attend(scores.masked_fill(mask != 0, -math.inf)),
        ),
        Mistake("The mask is subtracted from the scores.", lambda: attend(scores - mask)),
        Mistake("The mask is multiplied with the scores.", lambda: attend(scores * mask)),
    ]


def _convention(row: Tensor, q: Tensor, k: Tensor, v: Tensor) -> str:
    """Name what was returned for a query without keys; Failure if nothing speaks for it."""
    row = row.double().cpu()
    if row.isnan().all():
        return "NaN: the softmax over nothing is 0/0"
    known = {
        "zeros: it attends to nothing": torch.zeros_like(row),
        "the mean of all values: each blocked key counts the same": v.double().mean(0),
        "what it would see without a mask: the large negative number cancels": (
            F.scaled_dot_product_attention(q, k, v)[0].double()
        ),
    }
    for name, value in known.items():
        if torch.allclose(row, value, rtol=1e-2, atol=1e-3):
            return name
    raise Failure(
        "For the second query every key is blocked. Several outputs can be defended there; yours "
        f"fits none that is known here: {show_value(row)}."
    )
