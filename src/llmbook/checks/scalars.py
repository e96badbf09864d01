"""Single numbers: what a learner's function returns, and counts in other scales."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from llmbook.checks.engine import Mistake, Session, expect_close, to_tensor

TOO_FEW_DIGITS = (
    "This agrees with the right value to two or three digits only: too few digits. Do not round or "
    "approximate, and compute in float32 or better (float16 and bfloat16 carry three digits)."
)


def expect_scalar(
    got: Any,
    expected: float,
    *,
    inputs: Mapping[str, Any] | None = None,
    mistakes: Sequence[Mistake] = (),
    properties: Mapping[str, Callable[[Tensor], bool]] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """Fail unless ``got`` is the number ``expected``; else like ``expect_close``.

    The number may come in any wrapping, such as a tensor of shape (1, 1). When no known mistake
    fits and it is off by 1 % at most, the message blames its precision.
    """
    tensor = to_tensor(got)
    number = tensor.reshape(()) if tensor.numel() == 1 else tensor
    right = torch.tensor(expected, dtype=torch.float64)

    def rounded() -> Tensor:
        return number if math.isclose(float(number), expected, rel_tol=1e-2) else right

    expect_close(
        number,
        right,
        inputs=inputs,
        mistakes=[*mistakes, Mistake(TOO_FEW_DIGITS, rounded)],
        properties=properties,
        rtol=rtol,
        atol=atol,
    )


def other_scales(count: float) -> dict[str, float]:
    """What to say of a count given in thousands, millions or billions → the number one passes."""
    return {
        f"The digits fit; but pass the number itself, not in {name}.": count / size
        for name, size in (("thousands", 1e3), ("millions", 1e6), ("billions", 1e9))
    }


def whole_number(
    session: Session,
    name: str,
    given: Any,
    right: int,
    *,
    rounding: Callable[[float], int],
    not_whole: str,
    mistakes: Mapping[str, float],
) -> None:
    """Test a count that has to be rounded up or down, by ``rounding``, at the end.

    An answer that is no whole number is told ``not_whole`` if rounding mends it. If not, it is
    rounded and then diagnosed, so that the learner hears of the mistake behind it.
    """
    try:
        value = math.nan if isinstance(given, bool | str | bytes | complex) else float(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        value = math.nan
    if math.isfinite(value) and value != int(value):
        given, mistakes = (
            (value, {not_whole: value}) if rounding(value) == right else (rounding(value), mistakes)
        )
    session.number(name, given, right, rtol=0, mistakes=mistakes)
