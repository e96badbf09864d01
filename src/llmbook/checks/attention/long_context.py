"""Check of exercise 11.25, longer contexts."""

import math
from collections.abc import Callable
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
) -> Result:
    """Check rotary frequencies for longer texts and the reach of windows; pass any subset.

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
            "There are only whole layers.": 131071 / 4095,
            "There are only whole layers. ": 131072 / 4095,
        },
    )
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
    mistakes = [Mistake("The frequencies are unchanged; `factor` has no effect.", lambda: plain)]
    if method == "interpolation":
        return [
            *mistakes,
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

    def value(number: float) -> Callable[[], Tensor]:
        return lambda: torch.tensor(float(number), dtype=torch.float64)

    expect_close(
        got.reshape(()),
        expected,
        inputs={"layers": layers, "window": window},
        mistakes=[
            Mistake(
                "The windows of two layers share a position: the token that one layer ends on is "
                "the one that the next starts from.",
                value(layers * window),
            ),
            Mistake(
                "That is right if the window does not count the position itself; here it does.",
                value(layers * window + 1),
            ),
            Mistake(
                "That is how far back the earliest position lies; count the own position too.",
                value(layers * (window - 1)),
            ),
            Mistake("The number of layers has no effect.", value(window)),
            Mistake(
                "Windows add up from layer to layer; they do not multiply.",
                value(min(float(window) ** layers, 1e300)),
            ),
            Mistake(
                "One layer is missing: the first layer already looks back.",
                value((layers - 1) * (window - 1) + 1),
            ),
            Mistake("One layer too many.", value((layers + 1) * (window - 1) + 1)),
            Mistake(
                "That looks ahead as well as back; the attention is causal.",
                value(2 * layers * (window - 1) + 1),
            ),
            Mistake(
                "Each layer adds more than one position to the reach.", value(window + layers - 1)
            ),
        ],
        rtol=1e-9,
        atol=0,
    )
