"""Check of exercise 35.10, a mixture of experts that sends each token to one of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    expect_shape,
    show_value,
    to_tensor,
)


def mixture_of_experts(
    route: Callable[..., Any] | None = None,
    balance_loss: Callable[..., Tensor] | None = None,
    kept: Callable[..., Tensor] | None = None,
    layer_class: Callable[..., nn.Module] | None = None,
    *,
    total_parameters: float | None = None,
    active_parameters: float | None = None,
    dropped_share: float | None = None,
    factor_without_drops: float | None = None,
) -> Result:
    """Check routing, balancing loss, capacity, the layer made of them, and four numbers.

    The trained models are for you to compare.

    Parameters
    ----------
    route
        (a) ``route(logits)``: (tokens, experts) → two tensors of shape (tokens,), the number of the
        chosen expert and its gate, in this order.
    balance_loss
        (b) ``balance_loss(logits)``: (tokens, experts) → a scalar, without any weight.
    kept
        (c) ``kept(expert, n_experts, capacity_factor)``: chosen experts (tokens,) → a mask of the
        same shape, True for tokens that their expert takes.
    layer_class
        (d) The class (or a function that makes instances), called as
        ``layer_class(d_model, d_ff, n_experts, capacity_factor=None)``. Instances hold ``router``
        and ``experts``, map (..., d_model) to the same shape, and set ``balance`` and ``dropped``.
    total_parameters, active_parameters
        (e) Parameters of one layer, and those that take part in the output for one token.
    dropped_share
        (e) Dropped tokens as a fraction of all tokens, from 0 to 1.
    factor_without_drops
        (e) The smallest multiple of 0.25 that, as a capacity factor, drops no token of that batch.
    """
    session = Session("mixture_of_experts")
    _check_route(session, route)
    _check_balance(session, balance_loss)
    _check_kept(session, kept)
    _check_layer(session, layer_class)
    session.number(
        "parameters of the layer",
        total_parameters,
        132_608,
        rtol=1e-6,
        mistakes={
            "The router has weights, too.": 132_352,
            "The experts have biases, too: one for each unit, and one for each output.": 131_328,
            "The router has weights, and the experts have biases, too.": 131_072,
            "These are the parameters of one expert.": 33_088,
            "The router has no bias.": 132_612,
            "These are the parameters that take part for one token; count all.": 33_344,
        },
    )
    session.number(
        "parameters active for one token",
        active_parameters,
        33_344,
        rtol=1e-6,
        mistakes={
            "The router takes part for every token.": 33_088,
            # One expert and one row of the router, or a quarter of everything.
            "All of the router takes part, not a quarter: the softmax needs every logit.": 33_152,
            "The experts have biases, too: one for each unit, and one for each output.": 33_024,
            "The router takes part for every token, and the experts have biases.": 32_768,
            "A token sees one expert, not all of them: these are all the parameters.": 132_608,
            "The router has no bias.": 33_348,
        },
    )
    session.number(
        "share of dropped tokens",
        dropped_share,
        0.1875,
        rtol=1e-3,
        mistakes={
            "That is the share at capacity factor 1.": 0.25,
            "That is the share that is kept.": 0.8125,
            "That is a share of the fullest expert's tokens; take it of all tokens.": 0.375,
            "That is the number of dropped tokens; it should be their share of all tokens.": 96,
            "All experts together have room enough, but the room that one leaves empty is of no "
            "use to the tokens of another.": 0,
        },
    )
    session.number(
        "capacity factor without drops",
        factor_without_drops,
        2,
        rtol=1e-6,
        mistakes={
            "There the fullest expert still drops tokens: it has less room than was chosen.": 1.75,
            "That is as far as rounding up helps; but it is no multiple of 0.25.": 255 / 128,
            "That is as far as rounding up helps; but give a multiple of 0.25.": 1.9922,
            "At that factor no token could be dropped even if all chose the same expert; this "
            "batch needs less.": 4,
            "That is the capacity; give the factor that leads to it.": 256,
            "That is the share of the tokens that chose the fullest expert: how many times an "
            "equal share is it?": 0.5,
        },
    )
    return session.result()


# --- (a) Routing ----------------------------------------------------------------------------------


def _check_route(session: Session, route: Any) -> None:
    @session.test("routing: three tokens, two experts")
    def _() -> None:
        _compare_route(session, route, torch.tensor([[1.0, 3.0], [0.5, -1.0], [2.0, 2.5]]))

    @session.test("routing: seven tokens, four experts")
    def _() -> None:
        _compare_route(session, route, torch.randn(7, 4))

    @session.test("routing: as many tokens as experts")
    def _() -> None:
        _compare_route(session, route, torch.randn(4, 4))

    @session.test("routing: one token; float64, not contiguous; large logits")
    def _() -> None:
        _compare_route(session, route, torch.tensor([[0.3, -0.2, 0.9]]))
        _compare_route(session, route, torch.randn(3, 6, dtype=torch.float64).T)
        _compare_route(session, route, torch.tensor([[500.0, 499.0, 0.0], [-900.0, -950.0, -901]]))

    @session.test("routing: the gradient of the gate")
    def _() -> None:
        logits = torch.randn(5, 3, requires_grad=True)
        _, gate = _route(session, route, logits)
        p = logits.detach().double().softmax(-1)
        chosen = p.argmax(-1)
        if to_tensor(gate).shape != chosen.shape:
            raise Failure("The gradient is compared once the outputs are right.")
        upstream = torch.arange(1.0, 6)
        # The derivative of a softmax's output p_c with respect to logit j: p_c (δ_cj − p_j).
        one_hot = torch.eye(3).double()[chosen]
        top = p.gather(-1, chosen[:, None])
        right = upstream[:, None] * top * (one_hot - p)
        got = _gradient(gate, logits, upstream, "the gate", "the logits")
        expect_close(got, right, inputs={"logits": logits.detach()})


def _route(session: Session, route: Any, logits: Tensor) -> tuple[Any, Any]:
    got = session.call(route, logits)
    if isinstance(got, Tensor | dict) or not hasattr(got, "__len__") or len(got) != 2:
        raise Failure("Return two tensors, `expert, gate`.")
    expert, gate = got
    return expert, gate


def _compare_route(session: Session, route: Any, logits: Tensor) -> None:
    expert, gate = (to_tensor(part) for part in _route(session, route, logits))
    given = {"logits": logits}
    double = logits.double()
    p = double.softmax(-1)
    right_gate, chosen = p.max(-1)
    if gate.is_floating_point() and gate.isnan().any() and logits.abs().max() > 80:
        raise Failure(
            f"A gate is NaN for logits up to {logits.abs().max():g}, where `exp` overflows: use "
            "PyTorch's softmax, or subtract a token's largest logit first."
        )
    if (
        expert.shape == chosen.shape
        and torch.equal(gate.double(), chosen.double())
        and not torch.equal(expert.double(), chosen.double())
    ):
        raise Failure("The two results are in the wrong order: first the expert, then the gate.")
    if tuple(expert.shape) == (len(logits), 1) or tuple(gate.shape) == (len(logits), 1):
        raise Failure(
            f"The shapes are {tuple(expert.shape)} and {tuple(gate.shape)}; there is one number a "
            f"token, ({len(logits)},): a dimension of size 1 is left over."
        )
    if expert.shape == logits.shape and expert.shape != chosen.shape:
        raise Failure(
            "For each token, return the number of its expert, not one entry for each expert."
        )
    expect_close(
        expert,
        chosen,
        inputs=given,
        mistakes=[
            Mistake("The tokens go to the least probable expert.", lambda: p.argmin(-1)),
            Mistake(
                "For each expert, a token is chosen; for each token, choose an expert.",
                lambda: p.argmax(0),
            ),
            Mistake("The experts are counted from 0.", lambda: chosen + 1),
        ],
    )
    expect_close(
        gate,
        right_gate,
        inputs=given,
        mistakes=[
            *_gate_mistakes(double, chosen),
            Mistake(
                "The gate holds the probabilities of all experts; return that of the chosen one.",
                lambda: p,
            ),
        ],
        properties={
            "a gate is a probability": lambda g: bool(((g >= 0) & (g <= 1)).all()),
            "the largest of n probabilities is at least 1/n": lambda g: bool(
                (g >= 1 / logits.shape[-1] - 1e-6).all()
            ),
        },
    )
    if expert.is_floating_point():
        raise Failure(f"`expert` is `{expert.dtype}`; numbers of experts are integers.")


def _gate_mistakes(logits: Tensor, chosen: Tensor) -> list[Mistake]:
    def pick(values: Tensor) -> Tensor:
        return values.gather(-1, chosen[:, None])[:, 0]

    return [
        Mistake(
            "The gate is the logit itself; take its probability, by a softmax.",
            lambda: pick(logits),
        ),
        Mistake(
            "The softmax runs over the tokens; it runs over the experts.",
            lambda: pick(logits.softmax(0)),
        ),
        Mistake(
            "The softmax runs over tokens and experts together; it runs over the experts.",
            lambda: pick(logits.flatten().softmax(0).view_as(logits)),
        ),
        Mistake(
            "Every gate is 1: the probability was divided by itself, or the softmax taken of the "
            "chosen logit alone. The router would get no gradient from the output.",
            lambda: torch.ones_like(pick(logits)),
        ),
        Mistake(
            "The gate is a sigmoid of the logit; the experts compete in a softmax.",
            lambda: pick(logits.sigmoid()),
        ),
        Mistake(
            "The gate is the logarithm of the probability.", lambda: pick(logits.log_softmax(-1))
        ),
    ]


def _constant(values: Mapping[str, Any], before: str = "") -> list[Mistake]:
    """Make mistakes of what is wrong → what one gets that way."""
    return [Mistake(before + text, partial(to_tensor, value)) for text, value in values.items()]


def _expect_named(
    got: Any, right: Tensor, mistakes: Sequence[Mistake], named: list[str], **options: Any
) -> None:
    """Compare; where several mistakes fit, name the one of earlier tests, which ``named`` holds."""
    first = sorted(mistakes, key=lambda mistake: mistake.message not in named)
    try:
        expect_close(got, right, mistakes=first, **options)
    except Failure as failure:
        named += [m.message for m in mistakes if m.message == str(failure)][:1]
        raise


def _gradient(output: Any, wanted: Tensor, upstream: Tensor, what: str, of: str) -> Tensor:
    """Differentiate the learner's output; fail in words where no gradient comes through."""
    if not isinstance(output, Tensor) or not output.requires_grad:
        raise Failure(
            f"No gradient comes through {what}: is something detached, under `no_grad`, or turned "
            "into a plain number or an array, which has none?"
        )
    upstream = upstream.to(output).reshape(output.shape)
    (got,) = torch.autograd.grad(output, wanted, upstream, allow_unused=True)
    if got is None:
        raise Failure(f"The gradient of {what} does not reach {of}.")
    return got


# --- (b) The balancing loss -----------------------------------------------------------------------


def _check_balance(session: Session, balance_loss: Any) -> None:
    named: list[str] = []  # mistakes so far: where several fit, the same one again

    def compare(logits: Tensor) -> None:
        _compare_balance(session.call(balance_loss, logits), logits, named=named)

    @session.test("balancing loss: three tokens, two experts")
    def _() -> None:
        compare(torch.tensor([[1.0, 3.0], [0.5, -1.0], [2.0, 2.5]]))

    @session.test("balancing loss: nine tokens, four experts")
    def _() -> None:
        compare(torch.randn(9, 4) + torch.tensor([1.0, 0.0, 0.5, -1.0]))

    @session.test("balancing loss: as many tokens as experts; one token; float64, not contiguous")
    def _() -> None:
        wide = torch.randn(3, 8, dtype=torch.float64).T
        for logits in (torch.randn(4, 4), torch.tensor([[0.3, -0.2, 0.9]]), wide):
            compare(logits)

    @session.test("balancing loss: equal shares, and one expert that gets everything")
    def _() -> None:
        equal = 20 * torch.eye(4).repeat(3, 1)
        collapsed = torch.tensor([0.0, 30.0, 0.0, 0.0]).repeat(6, 1)
        for logits in (equal, collapsed):
            compare(logits)

    @session.test("balancing loss: its gradient")
    def _() -> None:
        logits = torch.randn(6, 3) + torch.tensor([1.0, 0.0, -1.0])
        logits.requires_grad_()
        got = session.call(balance_loss, logits)
        p = logits.detach().double().softmax(-1)
        share = _shares(p)
        value = to_tensor(got)
        if value.numel() != 1 or not math.isclose(value, 3 * share.dot(p.mean(0)), rel_tol=1e-4):
            raise Failure("The gradient is compared once the value is right.")
        got = _gradient(got, logits, torch.tensor(1.0), "the loss", "the logits")
        # d/dz_tj of n Σ f_i P_i with f fixed: (n / tokens) p_tj (f_j − Σ_i f_i p_ti).
        right = 3 / 6 * p * (share - (p @ share)[:, None])
        expect_close(got, right, inputs={"logits": logits.detach()}, atol=1e-6)


def _shares(scores: Tensor) -> Tensor:
    """Return the fraction of tokens whose largest score is each expert's."""
    n = scores.shape[-1]
    return torch.bincount(scores.argmax(-1), minlength=n).to(scores) / len(scores)


def _compare_balance(
    got: Any,
    logits: Tensor,
    what: str = "",
    more: Sequence[Mistake] = (),
    named: list[str] | None = None,
) -> None:
    got, double = to_tensor(got), logits.double()
    n, p = logits.shape[-1], double.softmax(-1)
    share, mean = _shares(double), p.mean(0)
    right = n * share.dot(mean)
    if got.numel() == n > 1:
        raise Failure(f"{what}The loss is one number; this has one for each expert.")
    if got.numel() == 1:
        got = got.reshape(())
    only_chosen = p * torch.eye(n).double()[p.argmax(-1)]
    by_token = double.softmax(0)
    values = {
        "The factor n, the number of experts, is missing: the loss is 1/n at equal shares, and "
        "the more experts, the weaker it pulls.": right / n,
        "The loss is divided by n; it is multiplied with n.": right / n**2,
        "The factor n stands there twice.": right * n,
        "The sum is multiplied with the number of tokens; n is the number of experts.": (
            right / n * len(logits)
        ),
        "f is taken from the probabilities; it counts the tokens that choose each expert.": (
            n * mean.dot(mean)
        ),
        "P is taken from the counts; it is the mean probability. A count has no gradient.": (
            n * share.dot(share)
        ),
        "P is the mean over the tokens that chose the expert; it runs over all tokens.": (
            n * share.dot(only_chosen.sum(0) / (only_chosen > 0).sum(0).clamp(min=1))
        ),
        "P counts a token's probability only for the expert it chose; it is the mean of all "
        "tokens' probabilities.": n * share.dot(only_chosen.mean(0)),
        "f and P are sums over the tokens; both are means.": right * len(logits) ** 2,
        "One of f and P is a sum over the tokens; both are means.": right * len(logits),
        "The softmax runs over the tokens; it runs over the experts.": (
            n * share.dot(by_token.mean(0))
        ),
        "P is the mean of the logits; take the softmax first.": n * share.dot(double.mean(0)),
        "P is the softmax of the mean logits; it is the mean of the softmax.": (
            n * share.dot(double.mean(0).softmax(-1))
        ),
        "The weight of the loss is in it already; return it without.": right / 100,
        "1 is subtracted: it is the value at equal shares, and it stays in.": right - 1,
        "That is the squared coefficient of variation of the probabilities, an older balancing "
        "loss.": n * mean.dot(mean) - 1,
        "The sign is reversed.": -right,
    }
    named = [] if named is None else named
    mistakes = [*more, *_constant(values, what)]
    try:
        _expect_named(got, right, mistakes, named, inputs={"logits": logits}, atol=1e-6)
    except Failure as failure:
        raise Failure(str(failure) if str(failure) in named else what + str(failure)) from None


# --- (c) Capacity ---------------------------------------------------------------------------------


CASES: dict[str, tuple[list[int], int, float]] = {
    "six tokens, two experts": ([0, 1, 0, 0, 0, 1], 2, 1.0),
    "nine tokens, four experts": ([2, 0, 2, 2, 0, 2, 2, 1, 2], 4, 1.5),
    "seven tokens, four experts": ([3, 3, 1, 3, 3, 0, 3], 4, 1.5),
    "eight tokens, four experts": ([1, 1, 0, 1, 1, 2, 1, 3], 4, 1.25),
    "experts that nobody chose": ([0, 3, 3, 0, 3, 3, 3, 3], 4, 1.0),
    "the last experts unused": ([1, 0, 1, 1, 0, 1, 1, 0], 4, 1.0),
    "less room than an equal share": ([1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1], 2, 0.25),
    "room for all": ([0, 0, 0, 0], 4, 4.0),
    "one token": ([3], 4, 1.0),
}


def _check_kept(session: Session, kept: Any) -> None:
    drawn = torch.tensor([0.5, 0.3, 0.15, 0.05]).multinomial(
        300, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    for name, case in (CASES | {"300 tokens, four experts": (drawn.tolist(), 4, 1.25)}).items():

        @session.test(f"capacity: {name}")
        def _(case: tuple[list[int], int, float] = case) -> None:
            _compare_kept(session, kept, case)


def _keep(expert: list[int], capacity: float) -> list[bool]:
    """Hand out places in the order of the tokens."""
    taken: dict[int, int] = {}
    mask = []
    for chosen in expert:
        taken[chosen] = taken.get(chosen, 0) + 1
        mask.append(taken[chosen] <= capacity)
    return mask


def _capacity(n_tokens: int, n_experts: int, factor: float) -> int:
    return math.ceil(factor * n_tokens / n_experts)


def _kept_mistakes(expert: list[int], n: int, factor: float) -> dict[str, list[bool]]:
    """What is wrong → the mask one gets that way."""
    tokens, right = len(expert), _capacity(len(expert), n, factor)
    exact = factor * tokens / n
    counts = [expert.count(i) for i in range(n)]
    used = len(set(expert))
    capacities = {
        "Nothing is dropped.": math.inf,
        "One token too many fits: the place of a token is counted from 0 here, and from 1 there.": (
            right + 1
        ),
        "The capacity is rounded down; it is rounded up.": math.floor(exact),
        "The capacity is rounded to the nearest whole number; it is rounded up.": round(exact),
        "One token too few fits.": right - 1,
        "The capacity factor is not used.": math.ceil(tokens / n),
        "An equal share is rounded up before it is multiplied with the factor; round once, at the "
        "end.": math.ceil(factor * math.ceil(tokens / n)),
        "An equal share is rounded up, and not what the factor makes of it; round up once, at the "
        "end.": factor * math.ceil(tokens / n),
        "An equal share is rounded down before it is multiplied with the factor; round once, at "
        "the end.": math.ceil(factor * (tokens // n)),
        "The capacity is not divided by the number of experts.": factor * tokens,
        "Only experts that somebody chose are counted; use `n_experts`.": math.ceil(
            factor * tokens / used
        ),
        "The number of experts is taken from the largest number in `expert`; use `n_experts`.": (
            math.ceil(factor * tokens / (max(expert) + 1))
        ),
    }
    correct = _keep(expert, right)
    first_drop = correct.index(False) if False in correct else tokens
    return {
        "The mask is inverted: True is for tokens that are kept.": [not k for k in correct],
        "The last tokens of a full expert are kept; keep the first.": _keep(expert[::-1], right)[
            ::-1
        ],
        "An expert that is too full drops all of its tokens; it drops those beyond its capacity.": [
            counts[i] <= right for i in expert
        ],
        "The experts share one capacity: the first tokens are kept, whichever expert they chose; "
        "each expert has a capacity of its own.": [i < right for i in range(tokens)],
        **{text: _keep(expert, capacity) for text, capacity in capacities.items()},
        "Once an expert is too full, the tokens of all others are dropped as well.": [
            i < first_drop for i in range(tokens)
        ],
    }


def _mask(session: Session, kept: Any, case: tuple[list[int], int, float]) -> list[bool]:
    """Return the learner's mask, as plain truth values."""
    expert, n, factor = case
    got = to_tensor(session.call(kept, torch.tensor(expert), n, factor), "the mask")
    if got.ndim != 1:
        raise Failure(
            f"The shape is {tuple(got.shape)}; return one entry for each token, ({len(expert)},)."
        )
    if len(got) != len(expert) or not ((got == 0) | (got == 1)).all():
        raise Failure(
            "Return a mask with True or False for each token, not the numbers of the tokens."
        )
    return [bool(k) for k in got.tolist()]


def _compare_kept(session: Session, kept: Any, case: tuple[list[int], int, float]) -> None:
    answer = _mask(session, kept, case)
    expert, n, factor = case
    right = _keep(expert, _capacity(len(expert), n, factor))
    if answer == right:
        return
    given = (
        f"Input: expert = {show_value(torch.tensor(expert))}, n_experts = {n}, "
        f"capacity_factor = {factor}"
    )
    # One case alone fits several mistakes: name the one that explains the answers to all cases.
    cases = [case, *CASES.values()]
    answers = [_mask(session, kept, c) for c in cases]
    for text in _kept_mistakes(*case):
        if answers == [_kept_mistakes(*c)[text] for c in cases]:
            raise Failure(f"{text}\n{given}")
    wrong = [
        i for i, (ours, theirs) in enumerate(zip(right, answer, strict=True)) if ours != theirs
    ]
    raise Failure(
        f"{len(wrong)} of {len(expert)} entries are not right, first that of token {wrong[0]}.\n"
        f"{given}\nYour output: {show_value(torch.tensor(answer))}"
    )


# --- (d) The layer --------------------------------------------------------------------------------


def _check_layer(session: Session, layer_class: Any) -> None:
    compare = partial(_compare_layer, session, layer_class, [])

    @session.test("layer: its parts")
    def _() -> None:
        layer, x = _make(session, layer_class, 6, 10, 4), torch.randn(5, 6)
        for expert in layer.experts:
            size = sum(p.numel() for p in expert.parameters())
            if not 2 * 6 * 10 <= size <= 2 * 6 * 10 + 6 + 10:
                raise Failure(
                    f"An expert has {size} parameters. A matrix to d_ff and one back, for "
                    f"d_model = 6 and d_ff = 10, are 120, and their biases 16 more."
                )
            if size < 2 * 6 * 10 + 6 + 10:
                session.note("your experts lack some of the biases that (d) asks for")
            plus, minus, zero = (session.call(expert, factor * x) for factor in (1.0, -1.0, 0.0))
            if torch.allclose(plus + minus, 2 * zero, rtol=1e-3, atol=1e-4):
                raise Failure("An expert is linear: is the activation missing?")
            if _has_kinks(partial(session.call, expert.double())):
                session.note("your experts have a ReLU or the like; (d) asks for a GELU")

    @session.test("layer: six tokens, three experts, no limit")
    def _() -> None:
        compare(torch.randn(6, 4), 3)

    @session.test("layer: a batch of texts, no limit")
    def _() -> None:
        compare(torch.randn(2, 5, 6), 4)

    @session.test("layer: a batch of texts, with a capacity")
    def _() -> None:
        compare(torch.randn(3, 7, 6), 4, 1.0)

    @session.test("layer: one token; float64, not contiguous; more dimensions")
    def _() -> None:
        compare(torch.randn(1, 1, 6), 4, 1.0)
        wide = torch.randn(6, 9, 2, dtype=torch.float64).transpose(0, 2)
        compare(wide, 4, 0.75)
        compare(torch.randn(2, 3, 4, 5), 2, 1.25)

    @session.test("layer: `balance` and `dropped` of the last pass")
    def _() -> None:
        layer = _make(session, layer_class, 6, 8, 4, 1.0)
        before = 0.0
        for x in (torch.randn(2, 4, 6), torch.randn(3, 7, 6) + 0.5):
            session.call(layer, x)
            _compare_attributes(layer, x, before)
            before = float(to_tensor(layer.balance))

    @session.test("layer: gradients of the router")
    def _() -> None:
        x = torch.randn(3, 7, 6)
        layer = _make(session, layer_class, 6, 8, 4, 1.0)
        weight = layer.router.weight
        got = session.call(layer, x)
        again = weight.detach().double().requires_grad_()
        right = _parts(layer, x.double(), 1.0, again)["output"]
        if not (
            isinstance(got, Tensor)
            and got.shape == x.shape
            and torch.allclose(got.double(), right, rtol=1e-3, atol=1e-4)
        ):
            raise Failure("Gradients are compared once the outputs are right.")
        upstream = torch.randn(x.shape)
        ours = _gradient(got, weight, upstream, "the output", "`router.weight`")
        (theirs,) = torch.autograd.grad(right, again, upstream.double())
        expect_close(ours, theirs, rtol=1e-3)

        layer = _make(session, layer_class, 6, 8, 4, 1.0)
        weight = layer.router.weight
        session.call(layer, x)
        _gradient(
            getattr(layer, "balance", None),
            weight,
            torch.tensor(1.0),
            "`balance`",
            "`router.weight`",
        )


def _make(
    session: Session, maker: Any, d: int, d_ff: int, n: int, factor: float | None = None
) -> Any:
    """Make an instance, look at its parts, and put known random numbers into them."""
    if isinstance(maker, nn.Module):
        raise Failure("Pass the class itself, not an instance: the check makes its own.")
    options = {} if factor is None else {"capacity_factor": factor}
    layer = session.call(maker, d, d_ff, n, **options)
    if not isinstance(layer, nn.Module):
        raise Failure(
            f"Calling what you passed should make a module; it made a `{type(layer).__name__}`."
        )
    if not list(layer.children()) and not list(layer.parameters()):
        session.call(layer, torch.randn(2, d))  # "not attempted", if it is the placeholder
    router, experts = getattr(layer, "router", None), getattr(layer, "experts", None)
    if not isinstance(router, nn.Linear):
        raise Failure("The layer holds its router as `router`, an `nn.Linear`.")
    if tuple(router.weight.shape) != (n, d):
        raise Failure(
            f"With d_model = {d} and n_experts = {n}, `router.weight` has shape "
            f"{tuple(router.weight.shape)}; it should be {(n, d)}."
        )
    if router.bias is not None:
        raise Failure("The router has a bias; it should have none.")
    if not isinstance(experts, nn.ModuleList):
        raise Failure(
            "The layer holds its experts as `experts`, an `nn.ModuleList`; in a plain list, their "
            "parameters would be neither found nor trained."
        )
    if len(experts) != n:
        raise Failure(f"With n_experts = {n} there are {len(experts)} experts.")
    if len({id(p) for expert in experts for p in expert.parameters()}) != sum(
        len(list(expert.parameters())) for expert in experts
    ):
        raise Failure("The experts share their weights: make a new one for each place.")
    generator = torch.Generator().manual_seed(3510)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer.eval()


def _has_kinks(function: Callable[[Tensor], Tensor]) -> bool:
    """Whether a function of six numbers is straight on most of a line, between kinks."""
    line = torch.linspace(-1, 1, 101, dtype=torch.float64)[:, None] * torch.randn(6).double()
    bend = function(line).detach().diff(n=2, dim=0).abs().amax(dim=-1)
    return bool((bend < 1e-9 * bend.max()).double().mean() > 0.5)


def _parts(layer: Any, x: Tensor, factor: float | None, weight: Tensor) -> dict[str, Tensor]:
    """Work out what the layer should give, expert by expert, on all tokens."""
    tokens = x.reshape(-1, x.shape[-1])
    logits = tokens @ weight.T
    p = logits.softmax(-1)
    gate, chosen = p.max(-1)
    with torch.no_grad():
        dtype = layer.router.weight.dtype
        outputs = torch.stack([expert(tokens.to(dtype)).double() for expert in layer.experts])
    own = outputs[chosen, torch.arange(len(tokens))]
    keep = torch.ones(len(tokens), dtype=torch.bool)
    if factor is not None:
        capacity = _capacity(len(tokens), len(weight), factor)
        keep = torch.tensor(_keep(chosen.tolist(), capacity))
    output = torch.where(keep[:, None], gate[:, None] * own, 0.0).reshape(x.shape)
    return {
        "tokens": tokens, "logits": logits, "p": p, "gate": gate, "chosen": chosen,
        "outputs": outputs, "own": own, "keep": keep, "output": output,
    }  # fmt: skip


def _compare_layer(
    session: Session,
    layer_class: Any,
    named: list[str],
    x: Tensor,
    n: int,
    factor: float | None = None,
) -> None:
    layer = _make(session, layer_class, x.shape[-1], 8, n, factor).to(x.dtype)
    got = session.call(layer, x)
    if isinstance(got, tuple | list | dict):
        raise Failure("Return the output alone; `balance` and `dropped` are attributes.")
    got = to_tensor(got)
    parts = _parts(layer, x.double(), factor, layer.router.weight.detach().double())
    expect_shape(got, x.shape)
    _expect_named(
        got,
        parts["output"],
        _layer_mistakes(layer, x.double(), parts, factor),
        named,
        inputs={"x": x, "n_experts": n, "capacity_factor": factor},
        rtol=1e-3,
        atol=1e-4,
    )
    if got.dtype != x.dtype:
        raise Failure(
            f"For a `{x.dtype}` input the output is `{got.dtype}`; it should be the same."
        )


def _layer_mistakes(
    layer: Any, x: Tensor, parts: Mapping[str, Tensor], factor: float | None
) -> list[Mistake]:
    tokens, p, chosen = parts["tokens"], parts["p"], parts["chosen"]
    gate, own, keep = parts["gate"][:, None], parts["own"], parts["keep"][:, None]
    outputs, right, n = parts["outputs"], parts["output"], parts["p"].shape[-1]
    everyone = torch.arange(len(tokens))

    def shaped(values: Tensor) -> Tensor:
        return values.reshape(x.shape)

    def masked(mask: Any) -> Tensor:
        return shaped(torch.as_tensor(mask)[:, None] * gate * own)

    def runner_up() -> Tensor:
        second = p.topk(2).indices[:, 1]
        weight = p.gather(-1, second[:, None])
        return shaped(torch.where(keep, gate * own, weight * outputs[second, everyone]))

    def gated_input() -> Tensor:
        dtype = layer.router.weight.dtype
        results = [e((gate * tokens).to(dtype)).double() for e in layer.experts]
        return shaped(keep * torch.stack(results)[chosen, everyone])

    def by_probability() -> Tensor:
        order = parts["gate"].argsort(descending=True)
        capacity = _capacity(len(tokens), n, factor or n)
        mask = torch.empty(len(tokens), dtype=torch.bool)
        mask[order] = torch.tensor(_keep(chosen[order].tolist(), capacity))
        return masked(mask)

    def text_by_text() -> Tensor:
        rows = chosen.reshape(x.shape[:-1]).reshape(-1, x.shape[-2]).tolist()
        capacity = _capacity(x.shape[-2], n, factor or n)
        return masked([k for row in rows for k in _keep(row, capacity)])

    def column_by_column() -> Tensor:
        order = everyone.view(x.shape[:-1])
        order = order.permute(*reversed(range(order.ndim))).flatten()
        mask = torch.empty(len(tokens), dtype=torch.bool)
        capacity = _capacity(len(tokens), n, factor or n)
        mask[order] = torch.tensor(_keep(chosen[order].tolist(), capacity))
        return masked(mask)

    def top_two(*, scaled: bool) -> Tensor:
        weights, experts = p.topk(2)
        if scaled:
            weights = weights / weights.sum(-1, keepdim=True)
        return shaped(torch.einsum("tk,tkd->td", weights, outputs[experts, everyone[:, None]]))

    def expert_by_expert() -> Tensor:
        return shaped((keep * gate * own)[chosen.argsort(stable=True)])

    mistakes = [
        Mistake(
            "The expert's output is not multiplied with the gate, so that the router gets no "
            "gradient from it.",
            lambda: shaped(keep * own),
        ),
        Mistake(
            "The input of the expert is multiplied with the gate; its output should be.",
            gated_input,
        ),
        Mistake(
            "All experts take part, each with its probability; only the chosen one should.",
            lambda: shaped(torch.einsum("ti,itd->td", p, outputs)),
        ),
        *_constant(
            {
                m.message: shaped(keep * m.output()[:, None] * own)
                for m in _gate_mistakes(parts["logits"], chosen)
            },
            "In the layer: ",
        ),
        Mistake(
            "The tokens go to the least probable expert.",
            lambda: shaped(
                p.min(-1).values[:, None] * outputs[p.argmin(-1), everyone]
                * (keep if factor is None else 1)
            ),
        ),
        Mistake(
            "The input is added to the output: that is the block's business, not the layer's.",
            lambda: right + x,
        ),
        Mistake(
            "The outputs stand in the order of the experts: put each back in its token's place.",
            expert_by_expert,
        ),
    ]  # fmt: skip
    if factor is None:
        return [
            *mistakes,
            *(
                Mistake(
                    "Each token goes to two experts; here it goes to one.",
                    partial(top_two, scaled=scaled),
                )
                for scaled in (False, True)
            ),
            *(
                Mistake(
                    "With `capacity_factor=None` no token is dropped; here some are.",
                    partial(masked, _keep(chosen.tolist(), _capacity(len(tokens), n, limit))),
                )
                for limit in (1.0, 1.25, 1.5)
            ),
        ]
    return [
        *mistakes,
        Mistake(
            "A dropped token comes out as it went in; its output is 0. The block adds the input "
            "by itself, and would have it twice.",
            lambda: shaped(torch.where(keep, gate * own, tokens)),
        ),
        Mistake("A dropped token goes to its second expert; its output is 0.", runner_up),
        Mistake(
            "A dropped token keeps its expert's output, only without the gate.",
            lambda: shaped(torch.where(keep, gate * own, own)),
        ),
        Mistake(
            "A full expert keeps the tokens with the largest gates; keep the first ones. (That "
            "would let a later token push out an earlier one.)",
            by_probability,
        ),
        Mistake(
            "Places are handed out column by column; the tokens lie in x row by row.",
            column_by_column,
        ),
        Mistake(
            "The capacity is worked out for each text alone; it is that of all tokens of the call.",
            text_by_text,
        ),
        *_constant(
            {
                text: masked(mask)
                for text, mask in _kept_mistakes(chosen.tolist(), n, factor).items()
            },
            "In the layer: ",
        ),
    ]


def _compare_attributes(layer: Any, x: Tensor, before: float) -> None:
    """Compare `balance` and `dropped`; `before` is the `balance` of the pass before."""
    parts = _parts(layer, x.double(), 1.0, layer.router.weight.detach().double())
    logits, keep = parts["logits"], parts["keep"]
    for name in ("balance", "dropped"):
        if not hasattr(layer, name):
            raise Failure(f"After a pass, the layer has no attribute `{name}`.")
    p, n = logits.softmax(-1), logits.shape[-1]
    processed = torch.bincount(parts["chosen"][keep], minlength=n).double()
    without_dropped = (processed / len(keep), p), (processed / processed.sum(), p)
    added = before + n * _shares(logits).dot(p.mean(0))
    _compare_balance(
        layer.balance,
        logits,
        "`balance`: ",
        [
            *_constant({"`balance` adds up over the passes; it is that of the last one.": added}),
            *(
                mistake
                for counts, seen in (*without_dropped, (processed / processed.sum(), p[keep]))
                for mistake in _constant(
                    {
                        "`balance` counts what is left after dropping, and cannot see how full an "
                        "expert was; count the router's choices.": n * counts.dot(seen.mean(0))
                    }
                )
            ),
        ],
    )
    dropped = (~keep).double().mean()
    got = to_tensor(layer.dropped, "`dropped`")
    mistakes = {
        "`dropped` is the number of dropped tokens; it should be their share.": dropped * len(keep),
        "`dropped` is the share of tokens that are kept.": 1 - dropped,
        "`dropped` is the number of tokens that are kept.": (1 - dropped) * len(keep),
        "`dropped` is a percentage; it should be a fraction.": 100 * dropped,
    }
    expect_close(
        got.reshape(()) if got.numel() == 1 else got,
        dropped,
        mistakes=_constant(mistakes),
    )
