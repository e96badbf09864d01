"""Check of exercise 13.21, learned positions in place of sinusoidal ones."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    to_tensor,
)
from llmbook.train import TrainConfig, learning_rate


def learned_positions(
    positions_class: Callable[..., nn.Module] | None = None,
    *,
    table_parameters: float | None = None,
    trained_rows: float | None = None,
    untrained_factor: float | None = None,
) -> Result:
    """Check learned positions, and what is asked about the size and the use of their table.

    The two trained models are for you to compare.

    Parameters
    ----------
    positions_class
        (a) The class (or a function that makes instances), called as
        ``positions_class(context_length, d_model)``. Instances map embedded tokens of shape
        (batch, n, d_model), n at most ``context_length``, to the same shape.
    table_parameters
        (b) Number of parameters that the table of GPT-2 small has.
    trained_rows
        (c) How many of the 256 rows get a gradient.
    untrained_factor
        (c) Size of a row without a gradient, after training, as a fraction of its size before.
    """
    session = Session("learned_positions")
    _check_class(session, positions_class)
    session.number(
        "parameters of GPT-2 small's table",
        table_parameters,
        1024 * 768,
        rtol=0,
        mistakes={
            "That is a row for every token of the vocabulary; a position has a row, too, but there "
            "are fewer of them.": 50257 * 768,
            "Positions are added once, to the embedded tokens, not in each of the 12 layers.": (
                12 * 1024 * 768
            ),
            "That is the number of numbers in one row.": 768,
            "That is the number of rows; each row is as wide as the model.": 1024,
            "That is a row as wide as the context is long.": 1024 * 1024,
            "That is a row for every component of the model, not for every position.": 768 * 768,
        },
    )
    session.number(
        "rows with a gradient",
        trained_rows,
        64,
        rtol=0,
        mistakes={
            "Not every row is ever looked up: the windows are 64 tokens long, and wherever in the "
            "text a window was cut out, its first token stands at position 0.": 256,
            "Every text of the batch has the same positions; the 16 texts share the rows.": 64 * 16,
            "The last token of a window has a position of its own, and a prediction after it.": 63,
            "The target after the last token is never read: it needs no position.": 65,
            "Those are the rows that never get one.": 256 - 64,
        },
    )
    scheduled = TrainConfig(steps=5000, learning_rate=1e-3, warmup_steps=100)
    session.number(
        "what is left of a row without a gradient",
        untrained_factor,
        (1 - 1e-3 * 0.1) ** 5000,
        rtol=2e-3,
        mistakes={
            "That is what is left after no step, or after one. `AdamW` has a second part that does "
            "not look at the gradient, in every one of the 5,000 steps.": 1.0,
            "`AdamW` multiplies the decay by the learning rate, and in all 5,000 steps.": 0.9,
            "`AdamW` multiplies the decay by the learning rate.": 0.9**5000,
            "The row gets smaller, but it does not vanish.": 0.0,
            "That is what a row has lost; what is left?": 1 - (1 - 1e-4) ** 5000,
            "The learning rate alone does not shrink a row: multiply it by the decay.": (
                (1 - 1e-3) ** 5000
            ),
            "A step does not subtract a share of the size at the start, but of what is left.": (
                1 - 5000 * 1e-4
            ),
            "Decay makes a row smaller; this one has grown.": math.exp(0.5),
            "That is a size, of a row that starts at 0.02; asked is the fraction that is left.": (
                0.02 * (1 - 1e-4) ** 5000
            ),
            "That is what the schedule of the trainings below leaves; here the learning rate is "
            "constant.": math.prod(
                1 - 0.1 * learning_rate(scheduled, step) for step in range(1, 5001)
            ),
        },
    )
    return session.result()


# --- (a) ------------------------------------------------------------------------------------------


def _check_class(session: Session, positions_class: Any) -> None:
    @session.test("three tokens, a table of five rows")
    def _() -> None:
        _compare(session, positions_class, torch.randn(1, 3, 4), context_length=5)

    @session.test("a batch of texts")
    def _() -> None:
        _compare(session, positions_class, torch.randn(2, 5, 3), context_length=9)

    @session.test("as many texts as tokens, and as many as the table has rows")
    def _() -> None:
        _compare(session, positions_class, torch.randn(4, 4, 6), context_length=4)

    @session.test("a single token")
    def _() -> None:
        _compare(session, positions_class, torch.randn(3, 1, 4), context_length=6)

    @session.test("float64, not contiguous")
    def _() -> None:
        x = torch.randn(6, 5, 2, dtype=torch.float64).transpose(0, 2)
        _compare(session, positions_class, x, context_length=8)

    @session.test("gradients of the inputs and of the table")
    def _() -> None:
        _compare_gradients(session, positions_class)

    @session.test("small random numbers at the start")
    def _() -> None:
        _check_start(session, positions_class)

    @session.test("a text longer than the table")
    def _() -> None:
        _check_refusal(session, positions_class)


def _build(
    session: Session, positions_class: Any, context_length: int, d_model: int, like: Tensor
) -> tuple[nn.Module, nn.Parameter]:
    """Make an instance; return it with its table."""
    if isinstance(positions_class, nn.Module):
        raise Failure("Pass the class itself, not an instance: the check makes its own.")
    module = session.call(positions_class, context_length, d_model)
    if not isinstance(module, nn.Module):
        raise Failure(
            f"Calling what you passed should make a module; it made a `{type(module).__name__}`."
        )
    module = module.to(like.dtype)
    parameters = dict(module.named_parameters())
    if not parameters:
        session.call(module, like)  # "not attempted", if it is the placeholder
        raise Failure(
            "The module has no parameters, so there is nothing that an optimizer could train: make "
            "the table an `nn.Embedding` or an `nn.Parameter`, in `__init__`."
        )
    tables = [
        name
        for name, p in parameters.items()
        if [n for n in p.shape if n > 1] == [n for n in (context_length, d_model) if n > 1]
    ]
    if not tables:
        found = ", ".join(f"`{name}` {tuple(p.shape)}" for name, p in parameters.items())
        if any(p.shape[-2:] == (d_model, context_length) for p in parameters.values()):
            found += " (transposed: positions are rows)"
        raise Failure(
            f"Called with context_length = {context_length} and d_model = {d_model}, the module "
            f"has the parameters {found}. Expected is one row for each position, as wide as the "
            "model."
        )
    if len(parameters) > 1:
        extra = ", ".join(f"`{name}`" for name in parameters if name != tables[0])
        raise Failure(f"The table is all there is to learn; the module also has {extra}.")
    table = parameters[tables[0]]
    if not table.requires_grad:
        raise Failure("The table does not require gradients: it would stay as it was drawn.")
    return module, table


def _fill(table: nn.Parameter) -> Tensor:
    """Put known numbers into the table, all different; return them as (rows, d_model), float64."""
    with torch.no_grad():
        table.copy_(torch.randn(table.shape, generator=torch.Generator().manual_seed(21)))
    return table.detach().double().reshape(-1, table.shape[-1])


def _prepare(
    session: Session, positions_class: Any, x: Tensor, context_length: int
) -> tuple[nn.Module, nn.Parameter, Tensor]:
    module, table = _build(session, positions_class, context_length, x.shape[-1], x)
    return module.eval(), table, _fill(table)


def _mistakes(x: Tensor, rows: Tensor) -> list[Mistake]:
    n, d = x.shape[-2:]
    return [
        Mistake("The input is handed back without positions.", lambda: x),
        Mistake(
            "Only the positions come out: they are to be added to `x`, which holds the tokens.",
            lambda: rows[:n].expand_as(x),
        ),
        Mistake(
            "Only the positions come out, without the batch: they are to be added to `x`.",
            lambda: rows[:n],
        ),
        Mistake("Positions are multiplied by the tokens, not added.", lambda: x * rows[:n]),
        Mistake("Positions are subtracted.", lambda: x - rows[:n]),
        Mistake(
            "Positions are counted from 1; the first token gets row 0.", lambda: x + rows[1 : n + 1]
        ),
        Mistake(
            "The text gets the last rows of the table; it starts at position 0.",
            lambda: x + rows[len(rows) - n :],
        ),
        Mistake("The rows are in reversed order.", lambda: x + rows[:n].flip(0)),
        Mistake("All tokens get the same row: each position has its own.", lambda: x + rows[0]),
        Mistake(
            "All tokens get the same row, that of the last position: look up every position from 0 "
            "to n − 1.",
            lambda: x + rows[n - 1],
        ),
        Mistake(
            "All tokens get the same row, that of the length of the text: look up every position "
            "from 0 to n − 1.",
            lambda: x + rows[n],
        ),
        Mistake(
            "The row depends on the place in the batch instead of the place in the text: the "
            "tokens are dimension 1, the batch is dimension 0.",
            lambda: x + rows[: len(x), None],
        ),
        Mistake("Positions are added twice.", lambda: x + 2 * rows[:n]),
        Mistake(
            "Tokens and positions are averaged; they should be added.", lambda: (x + rows[:n]) / 2
        ),
        Mistake(
            "The tokens are scaled by √d before the positions are added; nothing here asks for "
            "that.",
            lambda: math.sqrt(d) * x + rows[:n],
        ),
        Mistake("The positions are scaled by √d.", lambda: x + math.sqrt(d) * rows[:n]),
        Mistake(
            "Positions are joined to the tokens as further features; add them, so that the width "
            "stays d_model.",
            lambda: torch.cat([x, rows[:n].expand_as(x)], dim=-1),
        ),
        Mistake(
            "The whole table is joined to the text.",
            lambda: torch.cat([rows.expand(len(x), -1, -1), x], dim=1),
        ),
    ]


def _compare(session: Session, positions_class: Any, x: Tensor, context_length: int) -> None:
    module, _, rows = _prepare(session, positions_class, x, context_length)
    try:
        got = session.call(module, x)
    except Failure as failure:
        full = x.shape[1] == context_length
        raise Failure(str(failure) + _explain(str(failure), full)) from None
    double = x.double()
    got = to_tensor(got)
    expect_close(
        got,
        double + rows[: x.shape[1]],
        inputs={"x": x, "context_length": context_length},
        mistakes=_mistakes(double, rows),
        properties={
            "every text of the batch gets the same positions": lambda out: torch.allclose(
                out.double() - double, (out.double() - double)[:1], atol=1e-5
            )
        },
    )
    if got.dtype != x.dtype:
        raise Failure(f"For a `{x.dtype}` input and table the output is `{got.dtype}`.")


def _explain(failure: str, full: bool) -> str:
    if full and "ValueError" in failure:
        return "\nA text exactly as long as the table is allowed."
    if "Expected tensor for argument #1 'indices'" in failure:
        return (
            "\nA table is looked up with whole numbers: the positions, not `x`, which holds "
            "embedded tokens."
        )
    if "must match the size" in failure:
        return (
            "\nAre as many rows taken from the table as `x` has tokens? Texts may be shorter than "
            "the table is long."
        )
    return ""


def _compare_gradients(session: Session, positions_class: Any) -> None:
    x = torch.randn(3, 4, 5, requires_grad=True)
    upstream = torch.randn(3, 4, 5)
    module, table, rows = _prepare(session, positions_class, x.detach(), context_length=7)
    got = session.call(module, x)
    right = (x.detach().double() + rows[:4]).float()
    if not (
        isinstance(got, Tensor)
        and got.shape == right.shape
        and torch.allclose(got.float(), right, rtol=1e-4, atol=1e-5)
    ):
        raise Failure("Gradients are compared once the outputs are right.")
    if not got.requires_grad:
        raise Failure("No gradient comes through: is something detached, or under `no_grad`?")
    by_x, by_table = torch.autograd.grad(got, [x, table], upstream, allow_unused=True)
    if by_table is None:
        raise Failure(
            "The gradient does not reach the table: `.detach()`, `.data` or a copy of the numbers "
            "cuts it off, and the table would stay as it was drawn."
        )
    if by_x is None:
        raise Failure("The gradient does not reach the tokens.")
    expected = torch.zeros(7, 5)
    expected[:4] = upstream.sum(dim=0)
    by_rows = by_table.to_dense().reshape(7, 5)
    if not by_rows[0].any():
        raise Failure("Row 0 gets no gradient: is it taken for padding (`padding_idx`)?")
    if not torch.allclose(by_rows, expected, atol=1e-5):
        raise Failure("The gradient of the table is not the sum over the texts of the batch.")
    expect_close(by_x, upstream)


def _check_start(session: Session, positions_class: Any) -> None:
    x = torch.zeros(1, 1, 64)
    module, table = _build(session, positions_class, 128, 64, x)
    session.call(module, x)  # "not attempted", if it is the placeholder
    std, mean = table.detach().std().item(), table.detach().mean().item()
    if std == 0:
        raise Failure(
            "All numbers of the table are the same at the start; draw them as the exercise says."
        )
    if 0.9 < std < 1.1:
        raise Failure(
            "The table starts with a standard deviation of 1, which is what `nn.Embedding` and "
            "`torch.randn` draw: fifty times that of the embedded tokens, which would drown in it."
        )
    if 0.9 < std / math.sqrt(0.02) < 1.1 or 0.9 < std / 0.02**2 < 1.1:
        raise Failure(
            f"The table starts with a standard deviation of {std:.2g}: 0.02 is the standard "
            "deviation itself, neither the variance nor the root of it."
        )
    if not 0.018 < std < 0.022 or abs(mean) > 0.002:
        raise Failure(
            f"At the start the table has mean {mean:.3f} and standard deviation {std:.3f}; the "
            "exercise asks for others."
        )


def _check_refusal(session: Session, positions_class: Any) -> None:
    for context_length, n in ((4, 5), (1, 3)):
        x = torch.randn(2, n, 6)
        module, _ = _build(session, positions_class, context_length, 6, x)
        try:
            session.call(module, x[:, :1])  # "not attempted", if it is the placeholder
        except Failure as failure:
            raise Failure(str(failure) + _explain(str(failure), context_length == 1)) from None

        def attempt(text: Tensor, module: nn.Module = module) -> str:
            try:
                got = module(text)
            except Exception as error:
                return type(error).__name__
            return f"shape {tuple(got.shape)}" if isinstance(got, Tensor) else "no error"

        happened = session.call(attempt, x)
        if happened == "ValueError":
            continue
        case = f"{n} tokens, a table of {context_length} row{'s' * (context_length > 1)}: "
        if happened.startswith(("shape", "no error")):
            raise Failure(
                case + f"no error, but an output ({happened}). Some tokens got a row that is not "
                "theirs, or were dropped, and nobody will notice: raise a `ValueError`."
            )
        raise Failure(
            case + f"it stops with `{happened}`. Compare the two lengths first, and raise a "
            "`ValueError` that names them."
        )
