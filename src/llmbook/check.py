"""All checks of the book, by name: ``check.scaled_dot_product_attention(my_function)``.

Tab completion lists them; ``help(check.<name>)`` says what to pass. A check is imported when it is
first used, so that the number of exercises costs nothing at import.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from llmbook import checks
from llmbook.checks.engine import CheckFailedError, Result, strict

__all__ = ["CheckFailedError", "Result", "strict"]


@cache
def _modules() -> dict[str, str]:
    """Name of each check → the module that holds it, found in the packages of llmbook.checks."""
    return {
        module.name: f"{checks.__name__}.{part.name}.{module.name}"
        for part in iter_modules(checks.__path__)
        if part.ispkg
        for module in iter_modules([f"{checks.__path__[0]}/{part.name}"])
    }


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in _modules():
        from difflib import get_close_matches

        near = get_close_matches(name, _modules(), n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; see dir(check) for all of them"
        raise AttributeError(f"there is no check named {name!r}{hint}")
    function: Callable[..., Any] = getattr(import_module(_modules()[name]), name)
    globals()[name] = function
    return function


def __dir__() -> list[str]:
    return sorted([*__all__, *_modules()])
