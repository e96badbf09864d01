"""Comparison of a single number that the learner's function returns."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from llmbook.checks.engine import Mistake, expect_close, to_tensor

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
