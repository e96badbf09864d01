"""Check of exercise 13.30, the parameters of multi-head attention."""

import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from llmbook.checks.engine import Failure, Result, Session


def multi_head_parameters(parameters: Callable[..., Any]) -> Result:
    """Check a function that counts the parameters of one multi-head self-attention layer.

    Parameters
    ----------
    parameters
        Called as ``parameters(d, h)``, ``parameters(d, h, bias=True)`` or
        ``parameters(d, h, bias=..., kv_heads=g)``; returns a whole number.

        ``d`` is the width of the layer's input and output, ``h`` the number of query heads, all
        heads are ``d / h`` wide, ``bias`` (default False) says whether each linear map has a bias,
        and ``kv_heads`` (default None: as many as ``h``) is the number of key and value heads. It
        raises ValueError if ``h`` does not divide ``d`` or ``kv_heads`` does not divide ``h``.
    """
    session = Session("multi_head_parameters", parameters)

    def same(d: int, h: int, bias: bool = False, kv_heads: int | None = None) -> None:
        # Leave out what has its default: the defaults are part of the answer.
        options: dict[str, Any] = {"bias": True} if bias else {}
        if kv_heads is not None:
            options["kv_heads"] = kv_heads
        got = session.call(parameters, d, h, **options)
        arguments = ", ".join([str(d), str(h), *(f"{k}={v}" for k, v in options.items())])
        value = _whole_number(got, arguments)
        right = _count(d, h, bias, kv_heads)
        if value == right:
            return
        for wrong, message in _mistakes(d, h, bias, kv_heads or h):
            if value == wrong:
                raise Failure(message)
        raise Failure(
            f"`parameters({arguments})` returned {value}, which is too "
            f"{'many' if value > right else 'few'}.\n"
            "Write down the shape of each matrix (and bias) of this small layer and count entries."
        )

    @session.test("seven heads")
    def _() -> None:
        same(42, 7)

    @session.test("the same width in six heads")
    def _() -> None:
        same(42, 6)

    @session.test("one head, and heads of width 1")
    def _() -> None:
        same(14, 1)
        same(12, 12)

    @session.test("with biases")
    def _() -> None:
        same(42, 7, bias=True)
        same(14, 1, bias=True)

    @session.test("grouped keys: 8 query heads share 2 key and value heads")
    def _() -> None:
        same(40, 8, kv_heads=2)
        same(40, 8, kv_heads=8)

    @session.test("a single key and value head")
    def _() -> None:
        same(24, 6, kv_heads=1)

    @session.test("grouped keys with biases")
    def _() -> None:
        same(40, 8, bias=True, kv_heads=2)

    @session.test("a real size: 768 wide, 12 heads, 4 key and value heads, with biases")
    def _() -> None:
        same(768, 12, bias=True, kv_heads=4)

    @session.test("refuses heads that do not fit")
    def _() -> None:
        _must_refuse(session, parameters, "10 wide, 3 heads: a head has no whole width", 10, 3)
        _must_refuse(
            session,
            parameters,
            "6 query heads cannot share 4 key and value heads evenly",
            24,
            6,
            kv_heads=4,
        )

    return session.result()


def _count(d: int, h: int, bias: bool, kv_heads: int | None) -> int:
    """Count the entries of a real layer; the meta device allocates nothing."""
    layer: nn.Module
    if kv_heads is None:
        layer = nn.MultiheadAttention(d, h, bias=bias, device="meta")
    else:
        widths = [h * (d // h), kv_heads * (d // h), kv_heads * (d // h)]
        layer = nn.ModuleList([nn.Linear(d, w, bias, device="meta") for w in widths])
        layer.append(nn.Linear(h * (d // h), d, bias, device="meta"))
    return sum(parameter.numel() for parameter in layer.parameters())


def _mistakes(d: int, h: int, bias: bool, g: int) -> list[tuple[int, str]]:
    """List the counts that mistakes give for this very layer, and what to tell about each."""
    w = d // h
    weights = 2 * d * d + 2 * d * g * w
    wrong_biases = _wrong_biases(d, h, g) if bias else _unasked_biases(d, h, g)
    found = [(weights + wrong, message) for wrong, message in wrong_biases]
    # Wrong weights come with right biases, or with wrong ones of their own.
    group = h // g
    own = [2 * d + 2 * g * w, d + 2 * g * w, d + 3 * g * w, 4 * g * w, 3 * d + g * w, 4 * d, 3 * d]
    own += [2 * d + 2 * group * w, 2 * d + 2 * d * g, d + 3 * d * h, 4 * d * h, 0]
    for wrong, message in _wrong_weights(d, h, g):
        if wrong != weights:
            found += [(wrong + biases, message) for biases in (own if bias else [0])]
    return found


def _wrong_biases(d: int, h: int, g: int) -> list[tuple[int, str]]:
    w = d // h
    shrink = "those of keys and values shrink with `kv_heads` too."
    wrong = [
        (0, "The biases are missing from your count."),
        (
            d + 2 * g * w,
            "You count the biases of queries, keys and values; the output projection has one too.",
        ),
        (
            d,
            "You count one bias of `d` entries; queries, keys, values and the output projection "
            "have one each.",
        ),
        (
            d + 2 * g * w + h * d,
            "The bias of the output projection is counted once per head; it is added once, after "
            "the heads are joined.",
        ),
        (
            3 * w + d,
            "The biases of queries, keys and values are counted for one head only.",
        ),
        (
            4 * h,
            "A bias is counted as one number per head; it has one entry per output of its linear "
            "map.",
        ),
        (
            4,
            "A bias is counted as one number per matrix; it has one entry per output of its "
            "linear map.",
        ),
        (
            4 * d * h,
            "The biases are counted at the full width `d` in every head; a head has only its own "
            "`d / h` entries.",
        ),
    ]
    if g != h:
        wrong += [
            (4 * d, f"The weights fit, but the biases do not: {shrink}"),
            (3 * d, f"The weights fit, but the biases do not: one is missing, and {shrink}"),
        ]
    return wrong


def _unasked_biases(d: int, h: int, g: int) -> list[tuple[int, str]]:
    grouped = 2 * g * (d // h)
    message = "Biases are counted although `bias` is False by default."
    return [(n, message) for n in (4 * d, 3 * d, 2 * d + grouped, d + grouped)]


def _wrong_weights(d: int, h: int, g: int) -> list[tuple[int, str]]:
    w = d // h
    keys = d * g * w
    weights = 2 * d * d + 2 * keys
    more = (
        "`kv_heads` shrinks more than keys and values: every query head still has a projection of "
        "its own, and so does its result."
    )
    if g == h:
        grouped = []
    elif g == 1:  # groups of one would give this count as well, and so would one key d wide
        unchanged = (
            "`kv_heads=1` leaves your count at that of a layer without sharing. It is the number "
            "of key and value heads, all `d / h` wide: one of them needs smaller matrices."
        )
        grouped = [(4 * d * d, unchanged)]
    else:
        unchanged = (
            "`kv_heads` makes no difference in your count: fewer key and value heads need smaller "
            "matrices for keys and values."
        )
        grouped = [(4 * d * d, unchanged)]
    if g != h:
        grouped += [
            (3 * keys + d * d, more),
            (4 * keys, more),
            (
                3 * d * d + keys,
                "`kv_heads` shrinks only one of the two: keys and values are both shared.",
            ),
            (
                2 * d * d + 2 * d * (h // g) * w,
                "`kv_heads` is taken for the number of query heads in a group; it is the number "
                "of key and value heads.",
            ),
        ]
    return [
        *grouped,
        (
            weights - d * d,
            "The output projection is missing: what the heads return is joined and multiplied by "
            "one more matrix.",
        ),
        *(
            (
                count,
                "Every head is counted at the full width `d`: the heads divide the width among "
                "them.",
            )
            for count in (4 * d * d * h, 2 * d * d * h + 2 * d * d * g)
        ),
        (
            3 * d * d * h + d * d,
            "Queries, keys and values are counted at the full width `d` in every head: the heads "
            "divide the width among them.",
        ),
        (
            2 * d * d + 2 * d * d * g,
            "Keys and values are counted at the full width `d` in every head: like the queries, "
            "they are `d / h` wide.",
        ),
        (
            3 * d * d + d * d * h,
            "The output projection is counted once per head at its full size: a head meets only "
            "its own rows of it.",
        ),
        (
            4 * d * w,
            "That is one head's share, or `h` heads with matrices `d / h` by `d / h`: each of the "
            "`h` heads reads the whole input, `d` wide.",
        ),
        (
            3 * d * w,
            "That is one head's queries, keys and values only: there are `h` heads, and a matrix "
            "that joins them.",
        ),
        (
            3 * d * d + d * w,
            "The output projection is counted for one head only: it takes the joined results of "
            "all heads.",
        ),
        (
            3 * d * w + d * d,
            "Queries, keys and values are counted for one head only, or as `d / h` by `d / h`: "
            "each of the `h` heads reads the whole input, `d` wide.",
        ),
        (d * d, "That is one of the four matrices: queries, keys, values and the output."),
        (2 * d * d, "That is two of the four matrices: queries, keys, values and the output."),
        (
            12 * d * d,
            "That is a whole transformer block; its feed-forward part is not asked for.",
        ),
    ]


def _whole_number(got: Any, arguments: str) -> int:
    try:
        value = int(got)
        whole = not isinstance(got, bool | str | bytes) and bool(value == got)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        whole = False
    if not whole:
        raise Failure(
            f"`parameters({arguments})` should return a whole number; "
            f"it returned {got!r:.60} ({type(got).__name__})."
        )
    return value


def _must_refuse(session: Session, parameters: Any, why: str, *sizes: int, **options: int) -> None:
    refused = object()

    @functools.wraps(parameters)  # for the engine, it is the learner's function
    def attempt(*sizes: int, **options: int) -> Any:
        try:
            return parameters(*sizes, **options)
        except (ValueError, AssertionError):  # an assert says the same
            return refused

    # What cannot be called, or is a placeholder, goes the engine's way.
    got = session.call(attempt if callable(parameters) else parameters, *sizes, **options)
    if got is not refused:
        arguments = ", ".join([*map(str, sizes), *(f"{k}={v}" for k, v in options.items())])
        raise Failure(
            f"`parameters({arguments})` returned {got!r:.60}; it should raise ValueError ({why})."
        )
