"""The type checker of tests/conftest.py."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype


def check_types(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check the arguments and the result of every call; an int will do for a float."""
    return beartype(function, conf=BeartypeConf(is_pep484_tower=True))
