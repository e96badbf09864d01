"""The check of exercise 13.21 takes any table and names each known mistake."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmbook import check


class Table(nn.Module):
    """A right answer; each wrong one below changes one piece of it."""

    def __init__(self, context_length, d_model):
        super().__init__()
        self.rows = nn.Parameter(0.02 * torch.randn(context_length, d_model))

    def forward(self, x):
        if x.shape[1] > len(self.rows):
            raise ValueError(f"the text has {x.shape[1]} tokens, the table {len(self.rows)} rows")
        return self.combine(x, self.rows)

    def combine(self, x, rows):
        return x + rows[: x.shape[1]]


# --- Right answers, structurally different --------------------------------------------------------


class WithEmbedding(nn.Module):
    def __init__(self, context_length, d_model):
        super().__init__()
        self.table = nn.Embedding(context_length, d_model)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, x):
        n = x.shape[1]
        if n > self.table.num_embeddings:
            raise ValueError(f"{n} tokens, but {self.table.num_embeddings} positions")
        return x + self.table(torch.arange(n, device=x.device))


class WithBatchDimension(Table):
    def __init__(self, context_length, d_model):
        super().__init__(context_length, d_model)
        self.rows = nn.Parameter(0.02 * torch.randn(1, context_length, d_model))

    def forward(self, x):
        B, n, d = x.shape
        if n > self.rows.size(1):
            raise ValueError("too long")
        return x + self.rows[:, :n, :].expand(B, n, d)


class InALoop(Table):
    def combine(self, x, rows):
        return torch.stack([x[:, t] + rows[t] for t in range(x.shape[1])], dim=1)


class ByOneHot(Table):
    def combine(self, x, rows):
        return x + F.one_hot(torch.arange(x.shape[1]), len(rows)).to(rows) @ rows


class InPlace(Table):
    def combine(self, x, rows):
        x = x.clone()
        x += rows[: x.shape[1]]
        return x


def made_by_a_function(length, width):
    return WithEmbedding(length, width)


RIGHT = [Table, WithEmbedding, WithBatchDimension, InALoop, ByOneHot, InPlace, made_by_a_function]


@pytest.mark.parametrize("answer", RIGHT)
def test_right_modules_pass(answer):
    result = check.learned_positions(
        answer,
        table_parameters=1024 * 768,
        trained_rows=64,
        untrained_factor=(1 - 1e-4) ** 5000,
    )
    assert result.passed, result
    assert not result.notes


@pytest.mark.parametrize(
    "answers",
    [
        {"table_parameters": 786_432.0, "trained_rows": torch.tensor(64)},
        {"untrained_factor": 0.6065},
        {"untrained_factor": math.exp(-0.5)},
        {"untrained_factor": 0.607, "trained_rows": 64.0},
    ],
)
def test_right_numbers_pass_alone(answers):
    result = check.learned_positions(**answers)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(answers)


# --- Wrong answers --------------------------------------------------------------------------------


def combining(function):
    return type("Wrong", (Table,), {"combine": lambda self, x, rows: function(x, rows)})


def n(x):
    return x.shape[1]


WRONG = {
    "handed back without positions": lambda x, rows: x + 0 * rows.sum(),
    "Only the positions come out: they are": lambda x, rows: rows[: n(x)].expand_as(x),
    "Only the positions come out, without the batch": lambda x, rows: rows[: n(x)],
    "multiplied": lambda x, rows: x * rows[: n(x)],
    "subtracted": lambda x, rows: x - rows[: n(x)],
    "counted from 1": lambda x, rows: x + rows[1 : n(x) + 1],
    "the last rows of the table": lambda x, rows: x + rows[-n(x) :],
    "reversed order": lambda x, rows: x + rows[: n(x)].flip(0),
    "All tokens get the same row: each": lambda x, rows: x + rows[0],
    "that of the last position": lambda x, rows: x + rows[n(x) - 1],
    "that of the length of the text": lambda x, rows: x + rows[n(x)],
    "place in the batch": lambda x, rows: x + rows[: len(x), None],
    "added twice": lambda x, rows: x + 2 * rows[: n(x)],
    "averaged": lambda x, rows: (x + rows[: n(x)]) / 2,
    "tokens are scaled by √d": lambda x, rows: math.sqrt(x.shape[-1]) * x + rows[: n(x)],
    "positions are scaled by √d": lambda x, rows: x + math.sqrt(x.shape[-1]) * rows[: n(x)],
    "further features": lambda x, rows: torch.cat([x, rows[: n(x)].expand_as(x)], dim=-1),
    "The whole table is joined": lambda x, rows: torch.cat([rows.expand(len(x), -1, -1), x], 1),
    "does not reach the table": lambda x, rows: x + rows.detach()[: n(x)] + 0 * x,
    "does not reach the tokens": lambda x, rows: x.detach() + rows[: n(x)],
    "No gradient comes through": lambda x, rows: (x + rows[: n(x)]).detach(),
    "Texts may be shorter": lambda x, rows: x + rows,
    "whole numbers: the positions": lambda x, rows: x + F.embedding(x, rows),
    "the output is `torch.float32`": lambda x, rows: (x + rows[: n(x)]).float(),
    "should be a tensor": lambda x, rows: "text",
}


@pytest.mark.parametrize("message", WRONG)
def test_each_known_mistake_is_named(message):
    result = check.learned_positions(combining(WRONG[message]))
    assert result.status == "failed"
    assert message in result.messages


def starting(draw, **options):
    class Wrong(Table):
        def __init__(self, context_length, d_model):
            super().__init__(context_length, d_model)
            self.rows = nn.Parameter(draw(context_length, d_model), **options)

    return Wrong


class NotRegistered(nn.Module):
    def __init__(self, context_length, d_model):
        super().__init__()
        self.rows = 0.02 * torch.randn(context_length, d_model)

    def forward(self, x):
        return x + self.rows[: x.shape[1]].to(x)


class Scaled(Table):
    def __init__(self, context_length, d_model):
        super().__init__(context_length, d_model)
        self.scale = nn.Parameter(torch.ones(1))


class Refusing(WithEmbedding):
    """Beyond the table, whatever a subclass does."""

    def forward(self, x):
        return x + self.table(self.positions(x))


class Clamped(Refusing):
    def positions(self, x):
        return torch.arange(x.shape[1]).clamp(max=self.table.num_embeddings - 1)


class Wrapped(Refusing):
    def positions(self, x):
        return torch.arange(x.shape[1]) % self.table.num_embeddings


class OutOfRange(Refusing):
    def positions(self, x):
        return torch.arange(x.shape[1])


class Asserted(Refusing):
    def positions(self, x):
        assert x.shape[1] <= self.table.num_embeddings
        return torch.arange(x.shape[1])


class StrictlyShorter(Table):
    def forward(self, x):
        if x.shape[1] >= len(self.rows):
            raise ValueError("too long")
        return x + self.rows[: x.shape[1]]


class ForPadding(WithEmbedding):
    def __init__(self, context_length, d_model):
        super().__init__(context_length, d_model)
        self.table.padding_idx = 0


class Truncated(Table):
    def forward(self, x):
        x = x[:, : len(self.rows)]
        return x + self.rows[: x.shape[1]]


class OneRowForAll(Table):
    """A table of one row is spread over a longer text without anybody noticing."""

    def forward(self, x):
        if 1 < len(self.rows) < x.shape[1]:
            raise ValueError("too long")
        return x + self.rows[: x.shape[1]]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (starting(torch.randn), "standard deviation of 1"),
        (starting(torch.zeros), "all numbers of the table are the same".capitalize()),
        (starting(torch.rand), "At the start the table has mean 0.5"),
        (starting(lambda n, d: 0.1 * torch.randn(n, d)), "standard deviation 0.1"),
        (starting(lambda n, d: math.sqrt(0.02) * torch.randn(n, d)), "neither the variance"),
        (starting(lambda n, d: 0.02**2 * torch.randn(n, d)), "nor the root of it"),
        (starting(lambda n, d: 0.02 * torch.randn(d, n)), "(transposed: positions are rows)"),
        (starting(lambda n, d: 0.02 * torch.randn(1, d, n)), "(transposed: positions are rows)"),
        (starting(lambda n, d: 0.02 * torch.randn(n, 1)), "one row for each position"),
        (starting(lambda n, d: torch.randn(n, d), requires_grad=False), "require gradients"),
        (NotRegistered, "nothing that an optimizer could train"),
        (Scaled, "the module also has `scale`"),
        (Table(4, 3), "Pass the class itself"),
        (Clamped, "no error, but an output (shape (2, 5, 6))"),
        (Wrapped, "no error, but an output (shape (2, 5, 6))"),
        (Truncated, "no error, but an output (shape (2, 4, 6))"),
        (OneRowForAll, "a table of 1 row: no error"),
        (OutOfRange, "it stops with `IndexError`"),
        (Asserted, "it stops with `AssertionError`"),
        (StrictlyShorter, "exactly as long as the table is allowed"),
        (ForPadding, "Row 0 gets no gradient"),
    ],
)
def test_each_mistake_of_the_table_is_named(answer, message):
    result = check.learned_positions(answer)
    assert result.status == "failed"
    assert message in result.messages


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"table_parameters": 50257 * 768}, "token of the vocabulary"),
        ({"table_parameters": 12 * 1024 * 768}, "12 layers"),
        ({"table_parameters": 768}, "numbers in one row"),
        ({"table_parameters": 1024}, "number of rows"),
        ({"table_parameters": 1024**2}, "as wide as the context"),
        ({"table_parameters": 768**2}, "every component"),
        ({"trained_rows": 256}, "Not every row"),
        ({"trained_rows": 1024}, "share the rows"),
        ({"trained_rows": 63}, "last token of a window"),
        ({"trained_rows": 65}, "never read"),
        ({"trained_rows": 192}, "never get one"),
        ({"untrained_factor": 1}, "second part"),
        ({"untrained_factor": 0.3}, "not a mistake known"),
        ({"untrained_factor": 0.9}, "in all 5,000 steps"),
        ({"untrained_factor": 1 - 5000 * 1e-4}, "but of what is left"),
        ({"untrained_factor": 1.649}, "has grown"),
        ({"untrained_factor": 0.02 * math.exp(-0.5)}, "asked is the fraction"),
        ({"untrained_factor": 0.759}, "the learning rate is constant"),
        ({"untrained_factor": 0.61}, "not to three digits"),
        ({"untrained_factor": 0.9999}, "second part"),
        ({"untrained_factor": 0}, "does not vanish"),
        ({"untrained_factor": 1 - (1 - 1e-4) ** 5000}, "what a row has lost"),
        ({"untrained_factor": (1 - 1e-3) ** 5000}, "learning rate alone"),
        ({"untrained_factor": 0.9**5000}, "multiplies the decay"),
        ({"untrained_factor": "a half"}, "plain number"),
    ],
)
def test_each_wrong_number_is_named(answers, message):
    result = check.learned_positions(**answers)
    assert result.status == "failed"
    assert message in result.messages
    assert not any(right in result.messages for right in ("786", "0.606", "0.607"))


def test_gradients_of_wrong_outputs_are_not_compared():
    result = check.learned_positions(combining(lambda x, rows: x + rows[1 : n(x) + 1]))
    assert "Gradients are compared once the outputs are right" in result.messages
    assert "The gradient" not in result.messages


def test_the_placeholder_is_not_attempted():
    class Placeholder(nn.Module):
        def __init__(self, context_length, d_model):
            super().__init__()
            ...  # your code

        def forward(self, x): ...  # your code

    assert check.learned_positions(Placeholder).status == "not attempted"
    assert check.learned_positions().status == "not attempted"


def test_a_table_without_a_forward_is_not_attempted():
    class Half(Table):
        def forward(self, x): ...

    result = check.learned_positions(Half)
    assert result.status != "failed", result


@pytest.mark.parametrize("answer", [3, "text", torch.ones(3), lambda n, d: 3, nn.Linear, dict])
def test_rubbish_fails_without_an_exception(answer):
    assert check.learned_positions(answer).status == "failed"
