"""Check of exercise 13.15, the sinusoidal encoding by hand."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    is_placeholder,
    to_tensor,
)
from llmbook.positions import sinusoidal_encoding

D_MODEL = 4
FREQUENCIES = (1.0, 0.01)  # radians per position, of pair 0 and pair 1
ASKED = ((0, 0), (0, 1), (1, 0), (1, 1))
TOLERANCE = 5e-3
"""Two decimals are enough."""

DEGREES = "These are sines and cosines of degrees; the angles are in radians."
SWAPPED_FUNCTIONS = "Sine and cosine have changed places: the even components are sines."
FROM_ONE = "The positions are counted from 1 here; the first one is 0."


def sinusoidal_by_hand(
    pe_0_0: Any = None,
    pe_0_1: Any = None,
    pe_1_0: Any = None,
    pe_1_1: Any = None,
    table: Any = None,
    halves: Any = None,
    pairs: Any = None,
    swapped: Any = None,
) -> Result:
    """Check the sinusoidal encoding of width 4, to two decimals or more; pass any subset.

    Parameters
    ----------
    pe_0_0, pe_0_1, pe_1_0, pe_1_1
        (a) PE(position, component), both counted from 0, angles in radians.
    table
        (b) The components of positions 0, 1 and 2: 3 × 4, one row a position.
    halves
        (c) The values of PE(0, 0), PE(0, 1), PE(1, 0), PE(1, 1), in this order, if all sines come
        before all cosines: 4 numbers.
    pairs
        (c) The same if the second number counts pairs: 4 pairs of a sine and a cosine, 4 × 2.
    swapped
        (c) The same if the first number is the component and the second the position: 4 numbers.
    """
    session = Session("sinusoidal_by_hand")
    right = sinusoidal_encoding(torch.arange(3), D_MODEL).double()
    for (position, component), given in zip(ASKED, (pe_0_0, pe_0_1, pe_1_0, pe_1_1), strict=True):
        session.number(
            f"pe_{position}_{component}",
            given,
            right[position, component].item(),
            rtol=1e-3,
            atol=TOLERANCE,
            mistakes=_slips(position, component),
        )

    def test(name: str, given: Any, expected: Tensor, mistakes: list[Mistake]) -> None:
        @session.test(name)
        def _() -> None:
            missing = [is_placeholder(entry) for entry in _entries(given)]
            if any(missing) and not all(missing):
                raise Failure(
                    f"{sum(missing)} of the {len(missing)} entries are not filled in yet."
                )
            untouched = missing and all(missing)
            values = to_tensor(session.call(lambda: None if untouched else given), f"`{name}`")
            if name != "table" and values.numel() == expected.numel():
                values = values.reshape(expected.shape)  # four numbers may come as two rows of two
            expect_close(values, expected, mistakes=mistakes, rtol=0, atol=TOLERANCE)

    test("table", table, right, _table_mistakes(right))
    by_halves = right[:, [0, 2, 1, 3]]
    two_by_two = right.view(3, 2, 2)  # position, pair, sine or cosine
    plain = _asked(right)
    test(
        "halves",
        halves,
        _asked(by_halves),
        [
            Mistake(
                "This is the reading of (a), with sine and cosine side by side. In halves, where "
                "does the cosine of pair 0 stand?",
                lambda: plain,
            ),
            Mistake(
                "The cosines come first here; the sines should.",
                lambda: _asked(right[:, [1, 3, 0, 2]]),
            ),
            Mistake(
                "The slower pair has the frequency that the paper's code gives it, 1/10000. Only "
                "the order of the components is to change: the frequencies are those of (a).",
                lambda: _asked(_encode((1.0, 1e-4))[:, [0, 2, 1, 3]]),
            ),
            Mistake(
                "Is this the whole row of one position? The first two entries of the rows of "
                "positions 0 and 1 are asked for.",
                lambda: by_halves[1],
            ),
            Mistake(
                "The two numbers in the brackets have changed places.",
                lambda: by_halves[[0, 1, 0, 1], [0, 0, 1, 1]],
            ),
            Mistake(DEGREES, lambda: _asked(_encode(FREQUENCIES, degrees=True)[:, [0, 2, 1, 3]])),
            Mistake(FROM_ONE, lambda: _asked(by_halves[1:])),
            Mistake(
                "The second number 1 gives a cosine here. How many sines come before the first "
                "cosine?",
                lambda: by_halves[[0, 0, 1, 1], [0, 3, 0, 3]],
            ),
        ],
    )
    test(
        "pairs",
        pairs,
        two_by_two[[0, 0, 1, 1], [0, 1, 0, 1]],
        [
            Mistake(
                "Each pair of values is in the wrong order: the sine comes first.",
                lambda: two_by_two[[0, 0, 1, 1], [0, 1, 0, 1]].flip(-1),
            ),
            Mistake(
                "All four hold pair 0: with the second number 1, pair 1 is meant, which turns more "
                "slowly.",
                lambda: two_by_two[[0, 0, 1, 1], [0, 0, 0, 0]],
            ),
            Mistake(
                "The two numbers in the brackets have changed places: the first is the position.",
                lambda: two_by_two[[0, 1, 0, 1], [0, 0, 1, 1]],
            ),
            Mistake(
                "These are four values. In this reading each symbol stands for two, a sine and a "
                "cosine.",
                lambda: plain,
            ),
            Mistake(
                "These are four values. In this reading each symbol stands for two, a sine and a "
                "cosine.",
                lambda: _asked(by_halves),
            ),
            Mistake(
                "Pair 1 turns too slowly: its exponent is 2i/d with i = 1 and d = 4.",
                lambda: _encode((1.0, 1e-4)).view(3, 2, 2)[[0, 0, 1, 1], [0, 1, 0, 1]],
            ),
            Mistake(
                "Pair 1 turns too fast: its exponent is 2i/d with i = 1 and d = 4, not i/d.",
                lambda: _encode((1.0, 0.1)).view(3, 2, 2)[[0, 0, 1, 1], [0, 1, 0, 1]],
            ),
            Mistake(
                DEGREES,
                lambda: _encode(FREQUENCIES, degrees=True).view(3, 2, 2)[
                    [0, 0, 1, 1], [0, 1, 0, 1]
                ],
            ),
            Mistake(FROM_ONE, lambda: two_by_two[[1, 1, 2, 2], [0, 1, 0, 1]]),
            Mistake(
                "Each sine stands twice; the second value of a pair is the cosine.",
                lambda: two_by_two[[0, 0, 1, 1], [0, 1, 0, 1]][:, [0, 0]],
            ),
        ],
    )
    test(
        "swapped",
        swapped,
        right[[0, 1, 0, 1], [0, 0, 1, 1]],
        [
            Mistake(
                "This is the reading of (a), position first. Here the component comes first.",
                lambda: plain,
            ),
            Mistake(
                SWAPPED_FUNCTIONS,
                lambda: _encode(FREQUENCIES, torch.cos, torch.sin)[[0, 1, 0, 1], [0, 0, 1, 1]],
            ),
            Mistake(
                DEGREES,
                lambda: _encode(FREQUENCIES, degrees=True)[[0, 1, 0, 1], [0, 0, 1, 1]],
            ),
            Mistake(FROM_ONE, lambda: right[[1, 2, 1, 2], [0, 0, 1, 1]]),
            Mistake(
                "Two readings at once: component first, and sines before cosines. Here only "
                "the two numbers change places.",
                lambda: by_halves[[0, 1, 0, 1], [0, 0, 1, 1]],
            ),
        ],
    )
    return session.result()


def _entries(given: Any) -> list[Any]:
    """What nested lists hold, in one list."""
    if not isinstance(given, list | tuple):
        return [given]
    return [entry for part in given for entry in _entries(part)]


def _asked(encoding: Tensor) -> Tensor:
    """The four values of (a), of an encoding with one row a position."""
    return encoding[[0, 0, 1, 1], [0, 1, 0, 1]]


def _encode(
    frequencies: tuple[float, float],
    first: Callable[[Tensor], Tensor] = torch.sin,
    second: Callable[[Tensor], Tensor] = torch.cos,
    degrees: bool = False,
) -> Tensor:
    """Encode positions 0 to 2 in two pairs, possibly with a mistake."""
    angles = torch.arange(3)[:, None] * torch.tensor(frequencies).double()
    if degrees:
        angles = angles * math.pi / 180
    return torch.stack([first(angles), second(angles)], dim=-1).flatten(1)


def _slips(position: int, component: int) -> dict[str, float]:
    """What can be wrong with one value of (a) → what one gets that way."""
    angle = float(position)  # of pair 0, whose frequency is 1
    brackets = "the first number in the brackets is the position, the second the component."
    if (position, component) == (0, 0):
        return {SWAPPED_FUNCTIONS: math.cos(0), FROM_ONE: math.sin(1)}
    if (position, component) == (0, 1):
        return {
            "Component 1 is a cosine: sine and cosine of a pair stand side by side.": math.sin(0),
            f"This is PE(1, 0): {brackets}": math.sin(1),
            FROM_ONE: math.cos(1),
        }
    if (position, component) == (1, 0):
        return {
            SWAPPED_FUNCTIONS: math.cos(angle),
            DEGREES: math.sin(math.radians(angle)),
            f"1 is the angle (take its sine), or PE(0, 1): {brackets}": angle,
            "Component 0 belongs to pair 0; this is the sine of pair 1.": math.sin(0.01),
            FROM_ONE: math.sin(angle + 1),
        }
    return {
        "Component 1 is a cosine: sine and cosine of a pair stand side by side.": math.sin(angle),
        "Nearly 1 is the cosine of a small angle. Either your calculator works in degrees (radians "
        "are meant), or you took another frequency: component 1 belongs to pair 0, i = 0, as "
        "component 0 does.": math.cos(0.01),
        "Component 1 is a cosine, and it belongs to pair 0; this is the sine of pair 1.": (
            math.sin(0.01)
        ),
        FROM_ONE: math.cos(angle + 1),
    }


def _table_mistakes(right: Tensor) -> list[Mistake]:
    by_component = torch.arange(3)[:, None] * 10_000.0 ** (-torch.arange(4).double() / 2)
    odd_exponents = torch.arange(3)[:, None] * 10_000.0 ** (-torch.arange(4).double() / 4)

    def alternate(angles: Tensor) -> Tensor:
        return torch.where(torch.arange(4) % 2 == 0, angles.sin(), angles.cos())

    return [
        Mistake(DEGREES, lambda: _encode(FREQUENCIES, degrees=True)),
        Mistake(SWAPPED_FUNCTIONS, lambda: _encode(FREQUENCIES, torch.cos, torch.sin)),
        Mistake(
            "All sines come before all cosines here. In the formula sine and cosine of a pair "
            "stand side by side: components 2i and 2i + 1.",
            lambda: right[:, [0, 2, 1, 3]],
        ),
        Mistake("The table is transposed: one row a position.", lambda: right.T),
        Mistake(FROM_ONE, lambda: sinusoidal_encoding(torch.arange(1, 4), D_MODEL).double()),
        Mistake(
            "The exponent is 2i/d with i the number of the *pair*, the same for its sine and its "
            "cosine; you took i for the component.",
            lambda: alternate(by_component),
        ),
        Mistake(
            "The two components of a pair have the same angle: the exponent is 2i/d for both, also "
            "for the odd component 2i + 1.",
            lambda: alternate(odd_exponents),
        ),
        Mistake(
            "Pair 1 turns too fast: the exponent is 2i/d, not i/d, and the base 10000, not 100.",
            lambda: _encode((1.0, 0.1)),
        ),
        Mistake(
            "Pair 1 turns too slowly: its frequency is that of the paper's code (or of an exponent "
            "2i over d/2). In the formula the exponent is 2i/d.",
            lambda: _encode((1.0, 1e-4)),
        ),
        Mistake(
            "Both pairs turn at the same rate: the factor 10000^(2i/d) is missing in pair 1.",
            lambda: _encode((1.0, 1.0)),
        ),
        Mistake(
            "Without its base, 10000, the factor is just 2i/d: pair 1 comes out wrong.",
            lambda: _encode((1.0, 2.0)),
        ),
        *(
            Mistake(f"The base is 10000; you took {base}.", lambda b=base: _encode((1.0, b**-0.5)))  # type: ignore[misc]
            for base in (10, 1000, 100_000)
        ),
        Mistake(
            "The position is divided by 10000^(2i/d); you multiplied, so that pair 1 turns faster.",
            lambda: _encode((1.0, 100.0)),
        ),
        Mistake("The sign of the sines is wrong.", lambda: right * torch.tensor([-1, 1, -1, 1])),
        Mistake("All components are sines here.", lambda: _encode(FREQUENCIES, second=torch.sin)),
        Mistake("All components are cosines here.", lambda: _encode(FREQUENCIES, torch.cos)),
        Mistake(
            "The pairs are in reverse order: pair 0, the fast one, comes first.",
            lambda: right[:, [2, 3, 0, 1]],
        ),
        Mistake(
            "These are the angles; take sine and cosine of them.",
            lambda: torch.arange(3)[:, None] * torch.tensor([1, 1, 0.01, 0.01]).double(),
        ),
    ]
