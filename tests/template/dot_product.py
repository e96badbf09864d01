"""Check of the exercise dot-product; belongs into ``src/llmbook/checks/<part>/``."""

from collections.abc import Callable

import torch
from torch import Tensor

from llmbook.checks.engine import Mistake, Result, Session, expect_close


def dot_product(answer: Callable[[Tensor, Tensor], Tensor]) -> Result:
    """Check a function that computes the dot product of two vectors.

    Parameters
    ----------
    answer
        Function of two tensors of shape ``(n,)`` that returns a scalar tensor.
    """
    session = Session("dot_product", answer)

    def agrees_with_torch(a: Tensor, b: Tensor) -> None:
        expect_close(
            session.call(answer, a, b),
            torch.dot(a, b),
            inputs={"a": a, "b": b},
            mistakes=[
                Mistake("You have the products of the entries: add them up.", lambda: a * b),
                Mistake(
                    "That is every entry times every other, the outer product: multiply only "
                    "entries that stand in the same place.",
                    lambda: torch.outer(a, b),
                ),
                Mistake("Entries are multiplied, not added.", lambda: (a + b).sum()),
            ],
        )

    @session.test("three entries")
    def _() -> None:
        agrees_with_torch(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, -5.0, 6.0]))

    @session.test("one entry, double precision")
    def _() -> None:
        agrees_with_torch(*torch.tensor([[2.0], [0.5]], dtype=torch.float64))

    return session.result()
