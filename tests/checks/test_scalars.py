"""What a check says of a number that is right but for its last digits."""

import math

import pytest
import torch

from llmbook.checks.engine import Session
from llmbook.checks.scalars import rounded


@pytest.mark.parametrize("given", [3.4, 3.3, torch.tensor(3.41), "3.4", None, [1], 4, math.nan, 3j])
def test_only_close_numbers_are_rounded(given):
    close = isinstance(given, float | torch.Tensor) and abs(float(given) - 3.36) < 0.1
    assert bool(rounded(given, 3.36)) == close


def test_the_message_comes_after_the_known_mistakes():
    session = Session("digits")
    for given in (3.36, 3.4, 3.44):
        session.number(
            "days", given, 3.36, mistakes={"named": 3.44, **rounded(given, 3.36, within=0.03)}
        )
    right, close, named = session.result().outcomes
    assert right.status == "passed"
    assert "three digits" in close.message
    assert "3.36" not in close.message
    assert named.message == "named"
