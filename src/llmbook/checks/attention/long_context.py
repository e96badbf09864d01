"""Check of exercise 11.25, longer contexts."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from llmbook.checks.engine import Failure, Mistake, Result, Session, expect_close, to_tensor
from llmbook.positions import pair_frequencies


def long_context(
    *,
    scaled_frequencies: Callable[..., Any] | None = None,
    unfinished_pairs: Any = None,
    receptive_field: Callable[..., Any] | None = None,
    layers_needed: Any = None,
    merge: Callable[..., Any] | None = None,
    ring_bytes: Callable[..., Any] | None = None,
    tensor_parallel_bytes: Callable[..., Any] | None = None,
    smallest_block: Callable[..., Any] | None = None,
) -> Result:
    """Check rotary frequencies, the reach of windows, and ring attention; pass any subset.

    Parameters
    ----------
    scaled_frequencies
        (a) ``scaled_frequencies(d, base, factor, method)``: `d` is the width of a head, at least 4,
        `factor` ≥ 1 how many times as long the texts get, `method` ``"interpolation"`` or
        ``"ntk"``. Returns d / 2 frequencies in radians per position, fastest first: tensor, array
        or list.
    unfinished_pairs
        (a) For d = 128, base 10,000 and 4,096 positions: a count of pairs.
    receptive_field
        (b) ``receptive_field(layers, window)``: a number of positions, the own one included;
        `window` includes the own position too.
    layers_needed
        (b) For windows of 4,096 and a text of 131,072 tokens: a count of layers.
    merge
        (c) ``merge(o1, lse1, o2, lse2)``: outputs (..., n, d_v) and log-sum-exps (..., n) of the
        same queries over two disjoint sets of keys, 0 and −∞ for a query that sees nothing.
        Returns output and log-sum-exp over both.
    ring_bytes
        (c) ``ring_bytes(S, P, d_kv, b)``: bytes that one device sends in the forward pass of one
        layer, for S tokens on P devices, keys and values `d_kv` wide each, b bytes a number.
    tensor_parallel_bytes
        (c) ``tensor_parallel_bytes(S, P, d, b)``: the same for tensor parallelism, in a model `d`
        wide.
    smallest_block
        (c) ``smallest_block(d, d_kv, b, flops, bandwidth)``: positive whole number of tokens, `d`
        the width of the model; operations per second, and bytes per second in one direction.
    """
    session = Session("long_context")
    _frequencies(session, scaled_frequencies)
    session.number(
        "(a) unfinished pairs",
        unfinished_pairs,
        18,
        rtol=0,
        mistakes={
            "Those are the pairs that do complete a turn.": 46,
            "That counts components: each pair has two.": 36,
            "Those are the components that belong to finished pairs.": 92,
            "A full turn is 2π radians, not 1.": 6,
            "That is for half a turn.": 14,
            "Off by one: check the pairs on either side of the border one by one.": 17,
            "Off by one: check the pairs on either side of the border one by one. ": 19,
            "That is the number of the last pair that completes a turn; count those after it.": 45,
            "Do your frequencies go down to about 1 / 10,000? Pair i is as fast as component 2i of "
            "d says.": 0,
        },
    )
    _field(session, receptive_field)
    session.number(
        "(b) layers needed",
        layers_needed,
        33,
        rtol=0,
        mistakes={
            "Almost: how far *back* does one layer reach, when the own position counts as one of "
            "the W? Count how far the first layers get.": 32,
            "One layer reaches all if attention is full; here each looks back by a window only.": 1,
            "One too many: the last token starts at itself, and has one position less to go.": 34,
            "Too few: the last layer's output reaches further back with every layer below it, but "
            "not by the whole W.": 31,
            "There are only whole layers.": 131071 / 4095,
            "There are only whole layers. ": 131072 / 4095,
        },
    )
    _merging(session, merge)
    _ring(session, ring_bytes)
    _tensor_parallel(session, tensor_parallel_bytes)
    _block(session, smallest_block)
    return session.result()


# --- (a) frequencies ------------------------------------------------------------------------------


def _frequencies(session: Session, function: Any) -> None:
    for method in ("interpolation", "ntk"):
        for d, base, factor in [(8, 10_000.0, 4.0), (64, 500_000.0, 2.5), (4, 100.0, 8)]:

            @session.test(f'(a) "{method}", d = {d}, base {base:g}, factor {factor:g}')
            def _(
                d: int = d, base: float = base, factor: float = factor, method: str = method
            ) -> None:
                _compare_frequencies(session, function, d, base, factor, method)

    @session.test("(a) factor 1 changes nothing")
    def _() -> None:
        for method in ("interpolation", "ntk"):
            _compare_frequencies(session, function, 16, 10_000.0, 1.0, method)


def _compare_frequencies(
    session: Session, function: Any, d: int, base: float, factor: float, method: str
) -> None:
    got = to_tensor(session.call(function, d, base, factor, method))
    plain = pair_frequencies(d, base)

    def with_base(new: float) -> Tensor:
        return pair_frequencies(d, new)

    if got.dtype in (torch.float16, torch.bfloat16):
        raise Failure(
            f"The frequencies come as {str(got.dtype).removeprefix('torch.')}, which has too few "
            "digits for angles at far positions. Compute them in float32 or float64."
        )
    interpolated, ntk = plain / factor, with_base(base * factor ** (d / (d - 2)))
    expected = interpolated if method == "interpolation" else ntk
    if factor == 1:
        expected = plain
    if got.shape == (d,) and d > 2:
        halves = (got[: d // 2], got[::2])
        if any(torch.allclose(half.double(), expected, rtol=1e-3) for half in halves):
            raise Failure("The frequencies are right, but each stands there twice: d / 2 will do.")
    if got.ndim == 0:
        raise Failure("That is one number; return the d / 2 frequencies, not the new base.")
    mistakes = [
        Mistake(
            "Those are wavelengths or their like: a frequency is in radians per position, and "
            "falls from 1.",
            lambda: 1 / expected,
        ),
        Mistake("Those are periods, in positions per turn.", lambda: 2 * math.pi / expected),
        Mistake("Those are turns per position; take radians.", lambda: expected / (2 * math.pi)),
        Mistake("The order is reversed: the fastest pair comes first.", lambda: expected.flip(0)),
        Mistake(
            "The exponent is half of what it should be: pair i has the frequency of component 2i.",
            lambda: expected.sqrt() if factor == 1 else plain.sqrt() / factor,
        ),
        Mistake(
            "The pairs count from 0: the first of them turns at the full speed.",
            lambda: expected * expected[1] / expected[0],
        ),
    ]
    if factor != 1:
        mistakes += _known_mistakes(plain, with_base, d, base, factor, method)
    expect_close(
        got,
        expected,
        inputs={"d": d, "base": base, "factor": factor, "method": method},
        mistakes=mistakes,
        properties={
            "all frequencies are positive and fall from pair to pair": lambda out: bool(
                (out > 0).all() and (out.diff() < 0).all()
            ),
            "the slowest pair is exactly `factor` times as slow as before": lambda out: bool(
                torch.isclose(out[-1].double(), interpolated[-1], rtol=1e-4)
            ),
        }
        | (
            {
                "the fastest pair is as fast as before": lambda out: bool(
                    torch.isclose(out[0].double(), plain[0], rtol=1e-4)
                )
            }
            if method == "ntk"
            else {}
        ),
        atol=0,
    )


def _known_mistakes(
    plain: Tensor,
    with_base: Callable[[float], Tensor],
    d: int,
    base: float,
    factor: float,
    method: str,
) -> list[Mistake]:
    power = d / (d - 2)
    usual = 10_000.0
    mistakes = [Mistake("The frequencies are unchanged; `factor` has no effect.", lambda: plain)]
    if base != usual:
        mistakes.append(
            Mistake(
                "`base` has no effect: it comes as an argument, and need not be the usual one.",
                lambda: (
                    with_base(usual) / factor
                    if method == "interpolation"
                    else with_base(usual * factor**power)
                ),
            )
        )
    if method == "interpolation":
        return [
            *mistakes,
            Mistake(
                "The frequencies rise from pair to pair: look at the sign of the exponent.",
                lambda: 1 / (plain * factor),
            ),
            Mistake(
                "The frequencies are multiplied, which makes the angles grow: the positions should "
                "run more slowly.",
                lambda: plain * factor,
            ),
            Mistake(
                "That divides twice: scale either the positions or the frequencies, not both.",
                lambda: plain / factor**2,
            ),
            Mistake(
                'That is what `"ntk"` should return: interpolation slows all pairs alike.',
                lambda: with_base(base * factor**power),
            ),
            Mistake(
                "That changes the base: interpolation slows all pairs alike.",
                lambda: with_base(base * factor),
            ),
            Mistake(
                "That divides the base, which makes all pairs but the first faster.",
                lambda: with_base(base / factor),
            ),
        ]
    return [
        *mistakes,
        Mistake(
            "That scales the base by the factor itself. The slowest pair is then slowed by less "
            "than the factor: its exponent is not quite 1.",
            lambda: with_base(base * factor),
        ),
        Mistake(
            "The exponent of the factor is upside down.",
            lambda: with_base(base * factor ** (1 / power)),
        ),
        Mistake(
            "The base gets smaller, so that the pairs get faster: the slowest should get slower.",
            lambda: with_base(base / factor**power),
        ),
        Mistake(
            "The base gets smaller, so that the pairs get faster: the slowest should get slower.",
            lambda: with_base(base / factor),
        ),
        Mistake(
            'That is what `"interpolation"` should return: NTK-aware scaling leaves the fastest '
            "pair as it is.",
            lambda: plain / factor,
        ),
        Mistake(
            "That does both: the base is changed *and* the frequencies are divided. The slowest "
            "pair is slowed twice.",
            lambda: with_base(base * factor**power) / factor,
        ),
        Mistake(
            "The base is raised, but the frequencies are also multiplied by the factor.",
            lambda: with_base(base * factor**power) * factor,
        ),
        Mistake(
            "The frequencies are multiplied, which makes the angles grow.", lambda: plain * factor
        ),
        Mistake(
            "That takes the slowest pair for i = d − 1; i counts pairs.",
            lambda: with_base(base * factor ** (d / (2 * (d - 1)))),
        ),
        Mistake(
            "In the exponent, i of the slowest pair and the number of pairs are mixed up.",
            lambda: with_base(base * factor ** (d / (d - 1))),
        ),
        Mistake(
            "The base is scaled by the square of the factor.", lambda: with_base(base * factor**2)
        ),
    ]


# --- (b) receptive field --------------------------------------------------------------------------


def _field(session: Session, function: Any) -> None:
    for layers, window in [(1, 4), (2, 3), (5, 1), (3, 8), (32, 4096)]:

        @session.test(f"(b) {layers} layer{'s' * (layers > 1)}, window {window:,}")
        def _(layers: int = layers, window: int = window) -> None:
            _compare_field(session, function, layers, window)


def _compare_field(session: Session, function: Any, layers: int, window: int) -> None:
    got = to_tensor(session.call(function, layers, window))
    if got.numel() != 1:
        raise Failure(f"Return one number; got shape {tuple(got.shape)}.")
    # Step by step: the earliest position that the position 0 depends on.
    earliest = 0
    for _ in range(layers):
        earliest -= window - 1
    expected = torch.tensor(float(1 - earliest), dtype=torch.float64)

    wrong = {
        "The windows of two layers share a position: the token that one layer ends on is the one "
        "that the next starts from.": layers * window,
        "That is right if the window does not count the position itself; here it does.": (
            layers * window + 1
        ),
        "That is how far back the earliest position lies; count the own position too.": (
            layers * (window - 1)
        ),
        "The number of layers has no effect.": window,
        "Windows add up from layer to layer; they do not multiply.": (
            min(float(window) ** layers, 1e300)
        ),
        "One layer is missing: the first layer already looks back.": (
            (layers - 1) * (window - 1) + 1
        ),
        "One layer too many.": (layers + 1) * (window - 1) + 1,
        "That looks ahead as well as back; the attention is causal.": 2 * layers * (window - 1) + 1,
        "Each layer adds more than one position to the reach.": window + layers - 1,
        "The two arguments are interchanged: `layers` comes first.": window * (layers - 1) + 1,
    }
    values = list(wrong.values())
    expect_close(
        got.reshape(()),
        expected,
        inputs={"layers": layers, "window": window},
        mistakes=[
            Mistake(message, torch.tensor(float(number), dtype=torch.float64).clone)
            for message, number in wrong.items()
            if values.count(number) == 1  # where two mistakes agree, another test tells them apart
        ],
        rtol=1e-9,
        atol=0,
    )


# --- (c) ring attention ---------------------------------------------------------------------------


def _merging(session: Session, merge: Any) -> None:
    def compare(n: int, *batch: int, shift: float = 0.0, dtype: Any = torch.float32) -> None:
        parts, expected = _split_attention(n, *batch, shift=shift, dtype=dtype)
        _compare_merged(session, merge, parts, expected)

    @session.test("(c) merge, two queries")
    def _() -> None:
        compare(2)

    @session.test("(c) merge, batches, heads and a single query")
    def _() -> None:
        compare(5, 2, 3)
        compare(1, 4)

    @session.test("(c) merge, float64, not contiguous")
    def _() -> None:
        (o1, lse1, o2, lse2), expected = _split_attention(4, 3, dtype=torch.float64)
        columns = o1.mT.contiguous().mT, lse1.mT.contiguous().mT
        _compare_merged(session, merge, (*columns, o2, lse2), expected)

    @session.test("(c) merge, scores around 1,000 and −1,000")
    def _() -> None:
        for shift in (1000.0, -1000.0):
            parts, expected = _split_attention(2, shift=shift)
            got = _pair(session.call(merge, *parts), *expected)
            if not all(tensor.isfinite().all() for tensor in got):
                raise Failure(
                    f"With log-sum-exps around {shift:g}, the result is not finite: "
                    f"`exp` of them {'overflows' if shift > 0 else 'is 0, and 0/0 NaN'}. Only "
                    "their differences matter; write it so that `exp` sees nothing else."
                )
            _compare_merged(session, merge, parts, expected)

    @session.test("(c) merge, a part in which a query sees nothing")
    def _() -> None:
        for empty in (0, 1):
            parts, _ = _split_attention(3)
            filled = 1 - empty
            parts[2 * empty][1], parts[2 * empty + 1][1] = 0.0, -math.inf
            expected = _joined(*parts)
            expected[0][1], expected[1][1] = parts[2 * filled][1], parts[2 * filled + 1][1]
            got = _pair(session.call(merge, *parts), *expected)
            if got[0].isnan().any() or got[1].isnan().any():
                raise Failure(
                    "A query that sees nothing in one part (log-sum-exp −∞) comes out as NaN; it "
                    "has seen the other part."
                )
            _compare_merged(session, merge, parts, expected)

    @session.test("(c) merge, a query that sees nothing in either part")
    def _() -> None:
        parts, _ = _split_attention(3)
        for out, lse in (parts[:2], parts[2:]):
            out[1], lse[1] = 0.0, -math.inf
        expected = _joined(*parts)
        expected[0][1], expected[1][1] = 0.0, -math.inf
        got = _pair(session.call(merge, *parts), *expected)
        if got[0].isnan().any() or got[1].isnan().any():
            raise Failure(
                "A query that sees nothing in either part (both log-sum-exps −∞) comes out as NaN: "
                "−∞ − (−∞) and 0/0 are. It has seen nothing, as the statement defines it."
            )
        if got[1].isfinite().all():
            raise Failure(
                "A query that sees nothing in either part gets a finite log-sum-exp; no number, "
                "however large, stands for −∞ when the next part is merged."
            )
        _compare_merged(session, merge, parts, expected)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores.softmax(dim=-1) @ v, scores.logsumexp(dim=-1)


def _split_attention(
    n: int, *batch: int, shift: float = 0.0, dtype: torch.dtype = torch.float32
) -> tuple[list[Tensor], list[Tensor]]:
    """Attention to 2 and to 3 keys, all scores moved by `shift`, and attention to all 5."""
    q, k, v = (torch.randn(*batch, m, 4, dtype=torch.float64) for m in (n, 5, 5))
    v = v[..., :2] + 0.5
    parts = [*_attend(q, k[..., :2, :], v[..., :2, :]), *_attend(q, k[..., 2:, :], v[..., 2:, :])]
    expected = [*_attend(q, k, v)]
    for lse in (parts[1], parts[3], expected[1]):
        lse += shift
    return [part.to(dtype) for part in parts], [whole.to(dtype) for whole in expected]


def _joined(o1: Tensor, lse1: Tensor, o2: Tensor, lse2: Tensor) -> list[Tensor]:
    """Two parts as one softmax over two entries; NaN where both are empty."""
    weights = torch.stack((lse1, lse2), dim=-1).softmax(dim=-1)[..., None, :]
    out = (weights @ torch.stack((o1, o2), dim=-2)).squeeze(-2)
    return [out, torch.stack((lse1, lse2)).logsumexp(dim=0)]


def _pair(got: Any, out: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    """Take what `merge` returned as output and log-sum-exp of the given shapes, or fail."""
    if isinstance(got, Tensor) or not isinstance(got, tuple | list) or len(got) != 2:
        raise Failure("`merge` should return two tensors: the output and its log-sum-exp.")
    first, second = to_tensor(got[0], "the output"), to_tensor(got[1], "the log-sum-exp")
    if first.shape == lse.shape and second.shape == out.shape != lse.shape:
        raise Failure("`merge` returns the log-sum-exp first; the output comes first.")
    for what, tensor, shape in (("output", first, out.shape), ("log-sum-exp", second, lse.shape)):
        if tensor.shape != shape:
            raise Failure(
                f"The merged {what} has shape {tuple(tensor.shape)}; those of the parts have "
                f"{tuple(shape)}, and so should it."
            )
    return first, second


def _compare_merged(
    session: Session,
    merge: Any,
    parts: Sequence[Tensor],
    expected: Sequence[Tensor],
) -> None:
    out, lse = _pair(session.call(merge, *parts), *expected)
    o1, lse1, o2, lse2 = parts
    inputs = dict(zip(("o1", "lse1", "o2", "lse2"), parts, strict=True))
    e1, e2 = (torch.exp(part)[..., None] for part in (lse1, lse2))
    r1, r2 = (torch.exp(part - lse1.maximum(lse2))[..., None] for part in (lse1, lse2))
    l1, l2 = lse1[..., None], lse2[..., None]
    p1, p2 = torch.exp2(l1), torch.exp2(l2)
    wrong_outputs = [
        (
            "The two outputs are averaged; the part with the larger scores counts more.",
            (o1 + o2) / 2,
        ),
        ("The two outputs are added; each is normalized already, so they need weights.", o1 + o2),
        ("The weights are swapped.", (r2 * o1 + r1 * o2) / (r1 + r2)),
        (
            "The log-sum-exps themselves serve as weights; a part's weight is the sum of its "
            "exponentials.",
            (l1 * o1 + l2 * o2) / (l1 + l2),
        ),
        (
            "The weights do not add up to 1: divide by the sum of the exponentials of both.",
            e1 * o1 + e2 * o2,
        ),
        (
            "The weights do not add up to 1: after taking out the larger log-sum-exp, divide by "
            "the sum of both terms.",
            r1 * o1 + r2 * o2,
        ),
        (
            "That only rescales the first output, as if the second were not normalized yet; both "
            "are.",
            (r1 * o1 + o2) / (r1 + r2),
        ),
        ("The second part is missing from the output.", o1),
        ("The first part is missing from the output.", o2),
        (
            "That takes the output with the larger log-sum-exp; the other one has its share.",
            torch.where(l1 > l2, o1, o2),
        ),
        (
            "The output is divided once more: the parts are averages already, not sums.",
            (o1 + o2) / (e1 + e2),
        ),
        (
            "Those are powers of 2; the exponentials are those of e.",
            (p1 * o1 + p2 * o2) / (p1 + p2),
        ),
    ]
    if o1.shape[-2] == o1.shape[-1]:  # else the shapes do not fit, and PyTorch says so
        w1, w2 = (part / (r1 + r2) for part in (r1, r2))
        wrong_outputs.append(
            (
                "Each query has one weight for all its components; yours run along the components, "
                "as if the queries stood there.",
                w1.mT * o1 + w2.mT * o2,
            )
        )
    wrong_sums = [
        ("The log-sum-exp is not updated: that is the first part's.", lse1),
        ("The log-sum-exp is that of the second part only.", lse2),
        ("The log-sum-exps are added; add the sums that they are logarithms of.", lse1 + lse2),
        ("The log-sum-exps are averaged.", (lse1 + lse2) / 2),
        (
            "That is the larger of the two log-sum-exps; the other part adds to it.",
            lse1.maximum(lse2),
        ),
        ("You return the sum of the exponentials; its logarithm is missing.", (e1 + e2)[..., 0]),
        (
            "The larger log-sum-exp, once taken out of the exponentials, has to be added again.",
            torch.log(r1 + r2)[..., 0],
        ),
        ("That is a logarithm to base 2.", torch.log2(e1 + e2)[..., 0]),
        ("Those are powers of 2, and a logarithm to base 2.", torch.log2(p1 + p2)[..., 0]),
        ("That is the logarithm of a sum of logarithms.", torch.log(lse1 + lse2)),
    ]
    expect_close(
        out,
        expected[0],
        inputs=inputs,
        mistakes=[Mistake(text, wrong.clone) for text, wrong in wrong_outputs],
        properties={
            "each entry lies between those of the two parts": lambda got: bool(
                ((got >= o1.minimum(o2) - 1e-4) & (got <= o1.maximum(o2) + 1e-4)).all()
            )
        },
    )
    expect_close(
        lse,
        expected[1],
        inputs=inputs,
        mistakes=[Mistake(text, wrong.clone) for text, wrong in wrong_sums],
        properties={
            "the log-sum-exp over more keys is no smaller": lambda got: bool(
                (got >= lse1.maximum(lse2) - 1e-4).all()
            )
        },
    )


def _ring(session: Session, function: Any) -> None:
    @session.test("(c) ring: bytes sent")
    def _() -> None:
        for S, P, d_kv, b in [(42, 7, 5, 8), (24, 3, 16, 2), (131_072, 8, 1024, 2)]:
            block = S / P * d_kv * b
            sends = P - 1
            _compare_bytes(
                session,
                function,
                (S, P, d_kv, b),
                2 * sends * block,
                [
                    ("Keys and values both travel; you count one of them.", sends * block),
                    (
                        "One send too many: a device's own block is there from the start, so how "
                        "many are still to come?",
                        2 * P * block,
                    ),
                    ("That is one send; the blocks go all the way around.", 2 * block),
                    (
                        "That is what all devices send together, or each send counted at the whole "
                        "length of the text; a device sends blocks of one segment.",
                        2 * sends * block * P,
                    ),
                    (
                        "Every send is counted at the whole length of the text; a device sends "
                        "blocks of one segment.",
                        2 * P * block * P,
                    ),
                    ("Those are numbers, not bytes.", 2 * sends * block / b),
                    ("Those are bits, not bytes.", 2 * sends * block * 8),
                    (
                        "That is double: it counts what comes in as well, or an all-reduce, which "
                        "goes around twice; keys and values are passed on and not added up.",
                        4 * sends * block,
                    ),
                    (
                        "That goes backward too; count the forward pass.",
                        6 * sends * block,
                    ),
                    (
                        "The queries stay where they are: only keys and values travel.",
                        3 * sends * block,
                    ),
                    (
                        "One send too few: the block of the neighbor on the other side has to get "
                        "here, too.",
                        2 * (P - 2) * block,
                    ),
                ],
            )

    @session.test("(c) ring: a single device")
    def _() -> None:
        _alone(session, function)


def _tensor_parallel(session: Session, function: Any) -> None:
    @session.test("(c) tensor parallel: bytes sent")
    def _() -> None:
        for S, P, d, b in [(42, 7, 5, 8), (24, 3, 16, 2), (131_072, 8, 4096, 2)]:
            whole = S * d * b
            share = (P - 1) / P
            _compare_bytes(
                session,
                function,
                (S, P, d, b),
                4 * share * whole,
                [
                    (
                        "Half of it is missing. A layer has two sums to complete, one after the "
                        "attention and one after the MLP, and each all-reduce goes around twice: "
                        "to gather the sum and to hand it out.",
                        2 * share * whole,
                    ),
                    (
                        "That is a quarter: count the all-reduces of a layer, and how often the "
                        "data go around in each.",
                        share * whole,
                    ),
                    (
                        "An all-reduce does not send just the size of its tensor: hint 2 says how "
                        "much it is.",
                        2 * whole,
                    ),
                    ("That is the size of one activation tensor, not what is sent.", whole),
                    (
                        "Nearly: in each round of the ring, how many of its P parts does a device "
                        "send?",
                        4 * whole,
                    ),
                    (
                        "That is what all devices send together, or the whole tensor sent at every "
                        "step; a ring all-reduce sends one of P parts at a step.",
                        4 * (P - 1) * whole,
                    ),
                    (
                        "That sends the whole tensor to every other device; a ring all-reduce "
                        "sends one of P parts at a step.",
                        2 * (P - 1) * whole,
                    ),
                    (
                        "That sends the whole tensor to every other device, once; a ring "
                        "all-reduce sends one of P parts at a step, twice around.",
                        (P - 1) * whole,
                    ),
                    (
                        "The activations are counted for S / P tokens; in tensor parallelism every "
                        "device has all tokens.",
                        4 * share * whole / P,
                    ),
                    ("Those are numbers, not bytes.", 4 * share * whole / b),
                    ("Those are bits, not bytes.", 32 * share * whole),
                    (
                        "That is double: does it go backward too, or count what comes in?",
                        8 * share * whole,
                    ),
                    (
                        "That counts an all-reduce for each of queries, keys and values, or one "
                        "too many: where does a device hold only a part of a sum?",
                        6 * share * whole,
                    ),
                ],
            )

    @session.test("(c) tensor parallel: a single device")
    def _() -> None:
        _alone(session, function)


def _block(session: Session, function: Any) -> None:
    @session.test("(c) smallest block")
    def _() -> None:
        _compare_block(session, function, 96, 20, 4, 1e12, 3e9)
        _compare_block(session, function, 4096, 1024, 2, 989e12, 450e9)
        _compare_block(session, function, 4096, 4096, 2, 312e12, 11e9)

    @session.test("(c) smallest block: exactly at the border")
    def _() -> None:
        # Powers of two, so that no order of the operations rounds anything.
        _compare_block(session, function, 64, 64, 2, 2.0**40, 2.0**27)

    @session.test("(c) smallest block: a link so fast that one token is enough")
    def _() -> None:
        got = _one_number(session.call(function, 64, 64, 2, 1e9, 1e12))
        if got != 1:
            raise Failure(f"Got {got:g}; the smallest number of tokens in a block is 1.")


def _compare_block(
    session: Session, function: Any, d: int, d_kv: int, b: int, flops: float, bandwidth: float
) -> None:
    exact = 2 * d_kv * b / bandwidth / (4 * d / flops)
    got = _one_number(session.call(function, d, d_kv, b, flops, bandwidth))
    if got == math.ceil(exact):
        return
    if exact - 1 < got < math.ceil(exact):
        raise Failure(
            "That is the border itself, or it is rounded down or to the nearest: there the "
            "computation is still a little too short. Return the first whole number "
            "beyond."
        )
    wrong = [
        (
            0.5,
            "Half of it: keys and values both travel, each number takes `b` bytes, and the "
            "bandwidth given is already that of one direction.",
        ),
        (
            2.0,
            "Double: there are two matrix products (scores and weighted sums), a "
            "multiply–add counts as two operations, and nothing is masked.",
        ),
        (
            4.0,
            "Four times: there are two matrix products (scores and weighted sums), and a "
            "multiply–add counts as two operations.",
        ),
        (8.0, "Bits and bytes are mixed up: the bandwidth is in bytes per second."),
        (1 / 8, "Bits and bytes are mixed up: the bandwidth is in bytes per second."),
        (1 / b, "The bytes per number are missing."),
        (
            d / d_kv,
            "Keys and values are counted as wide as the queries; with grouped queries, "
            "`d_kv` is smaller.",
        ),
        ((d / d_kv) ** 2, "`d` and `d_kv` are interchanged."),
        (
            1 + d / (2 * d_kv),
            "The queries are counted as sent; they stay where they are.",
        ),
        (
            2 * d / (b * d_kv),
            "That is right for 2 bytes a number and keys as wide as the queries; here `b` and "
            "`d_kv` count as well.",
        ),
        (
            d,
            "The width of the queries does not enter the work: every score and every sum "
            "takes a product for each of the `d` numbers.",
        ),
    ]
    for factor, message in wrong:
        if factor != 1 and math.floor(factor * exact) <= got <= math.ceil(factor * exact):
            raise Failure(message)
    if got <= 1:
        raise Failure(
            "A single token does not hide it here: is the ratio of computation and "
            "bandwidth upside down?"
        )
    if math.isclose(got, math.ceil(exact) + 1):
        raise Failure(
            "One too many: a block smaller by one token takes at least as long as its transfer."
        )
    raise Failure(
        f"{got:g} is not right, and not a mistake known here. Write down the seconds to "
        "compute a block and those to send one, both as functions of c."
    )


def _compare_bytes(
    session: Session,
    function: Any,
    arguments: tuple[int, int, int, int],
    expected: float,
    mistakes: Sequence[tuple[str, float]],
) -> None:
    got = _one_number(session.call(function, *arguments))
    if math.isclose(got, expected, rel_tol=1e-6):
        return
    for message, wrong in mistakes:
        if math.isclose(got, wrong, rel_tol=1e-6):
            raise Failure(message)
    raise Failure(
        f"{got:g} bytes for {arguments} is too {'much' if got > expected else 'little'}, and not a "
        "mistake known here.\nDraw the ring for three devices and write at each arrow what "
        "travels there."
    )


def _alone(session: Session, function: Any) -> None:
    got = _one_number(session.call(function, 64, 1, 8, 2))
    if got != 0:
        raise Failure(f"A single device has nobody to send to, but you count {got:g} bytes.")


def _one_number(got: Any) -> float:
    value = to_tensor(got)
    if value.numel() != 1 or value.is_complex():
        raise Failure(f"Return one number; got shape {tuple(value.shape)}.")
    return float(value)
