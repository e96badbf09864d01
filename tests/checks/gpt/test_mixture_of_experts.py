"""The check of exercise 35.10 takes any mixture of experts and names each known mistake."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import SwitchTransformersConfig
from transformers.models.switch_transformers.modeling_switch_transformers import (
    SwitchTransformersTop1Router,
    load_balancing_loss_func,
)

from llmbook import check
from llmbook.gpt import Experts, GPTConfig

NUMBERS = {
    "total_parameters": 132_608,
    "active_parameters": 33_344,
    "dropped_share": 0.1875,
    "factor_without_drops": 2,
}

# --- Right answers, structurally different --------------------------------------------------------


def route(logits):
    gate, expert = logits.softmax(-1).max(-1)
    return expert, gate


def route_by_topk(logits):
    values, indices = torch.topk(logits, 1)
    return [indices.squeeze(-1), (values - logits.logsumexp(-1, keepdim=True)).exp().squeeze(-1)]


def route_by_gather(logits):
    expert = logits.argmax(dim=1).to(torch.int32)
    shifted = (logits - logits.amax(1, keepdim=True)).exp()
    p = shifted / shifted.sum(1, keepdim=True)
    return expert, p[torch.arange(len(p)), expert.long()]


def balance(logits):
    p, n = logits.softmax(-1), logits.shape[-1]
    return n * (F.one_hot(p.argmax(-1), n).to(p.dtype).mean(0) * p.mean(0)).sum()


def balance_by_loop(logits):
    p, n = F.softmax(logits, dim=1), logits.size(1)
    chosen = logits.argmax(1)
    return n * sum((chosen == i).float().mean() * p[:, i].mean() for i in range(n))


def balance_by_bincount(logits):
    tokens, n = logits.shape
    counts = torch.bincount(logits.argmax(-1), minlength=n).to(logits)
    return torch.einsum("i,ti->", counts, logits.softmax(-1))[None] * n / tokens**2


def kept(expert, n_experts, capacity_factor):
    capacity = math.ceil(capacity_factor * len(expert) / n_experts)
    one_hot = F.one_hot(expert, n_experts)
    return (one_hot.cumsum(0) * one_hot).sum(-1) <= capacity


def kept_by_loop(expert, n_experts, capacity_factor):
    capacity = -int(-capacity_factor * expert.numel() // n_experts)
    room, mask = [capacity] * n_experts, []
    for i in expert.tolist():
        mask.append(int(room[i] > 0))
        room[i] -= 1
    return mask


def kept_by_sorting(expert, n_experts, capacity_factor):
    capacity = math.ceil(capacity_factor * len(expert) / n_experts)
    order = torch.argsort(expert, stable=True)
    starts = torch.searchsorted(expert[order], expert[order])
    mask = np.zeros(len(expert), dtype=bool)
    mask[order.numpy()] = (torch.arange(len(expert)) - starts < capacity).numpy()
    return mask


class Layer(nn.Module):
    """A right answer; each wrong one below changes one piece of it."""

    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__()
        self.router = nn.Linear(d_model, n_experts, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model))
            for _ in range(n_experts)
        )
        self.factor = capacity_factor

    def forward(self, x):
        tokens = x.flatten(0, -2)
        logits = self.router(tokens)
        expert, gate = route(logits)
        mask = torch.ones_like(expert, dtype=torch.bool)
        if self.factor is not None:
            mask = torch.as_tensor(self.keep(expert, x, gate)).bool()
        self.account(logits, mask)
        outputs = torch.stack([self.run(e, tokens, gate) for e in self.experts], dim=1)
        own = outputs[torch.arange(len(tokens)), expert]
        return self.combine(tokens, own, gate[:, None], mask[:, None], logits, outputs).view_as(x)

    def keep(self, expert, x, gate):
        return kept(expert, len(self.experts), self.factor)

    def account(self, logits, mask):
        self.balance = balance(logits)
        self.dropped = 1 - mask.double().mean()

    def run(self, expert, tokens, gate):
        return expert(tokens)

    def combine(self, tokens, own, gate, mask, logits, outputs):
        return own * gate * mask


class ByDispatch(Layer):
    """As in Mesh-TensorFlow: a tensor says which token takes which place of which expert."""

    def forward(self, x):
        tokens, n = x.reshape(-1, x.shape[-1]), len(self.experts)
        logits = self.router(tokens)
        p = logits.softmax(-1)
        one_hot = F.one_hot(p.argmax(-1), n)
        factor = n if self.factor is None else self.factor
        capacity = math.ceil(factor * len(tokens) / n)
        place = (one_hot.cumsum(0) - 1) * one_hot
        dispatch = F.one_hot(place, max(capacity, len(tokens)))[..., :capacity] * one_hot[..., None]
        buffers = torch.einsum("tic,td->icd", dispatch.to(x), tokens)
        results = torch.stack([e(b) for e, b in zip(self.experts, buffers, strict=True)])
        self.balance = balance_by_bincount(logits)
        self.dropped = (1 - dispatch.sum() / len(tokens)).item()
        return torch.einsum("tic,ti,icd->td", dispatch.to(x), p, results).reshape(x.shape)


class ByIndex(Layer):
    def forward(self, x):
        tokens = x.flatten(0, -2)
        logits = self.router(tokens)
        expert, gate = route(logits)
        self.balance = balance_by_loop(logits)
        out, lost = torch.zeros_like(tokens), 0
        for i, network in enumerate(self.experts):
            mine = (expert == i).nonzero()[:, 0]
            if self.factor is not None:
                capacity = math.ceil(self.factor * len(tokens) / len(self.experts))
                lost += max(len(mine) - capacity, 0)
                mine = mine[:capacity]
            out[mine] = gate[mine].unsqueeze(1) * network(tokens[mine])
        self.dropped = torch.tensor(lost / len(tokens))
        return out.view(x.shape)


class Gelu(nn.Module):
    def __init__(self, d_model, d_ff):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(d_model, d_ff))
        self.w2 = nn.Parameter(torch.randn(d_ff, d_model))
        self.b1 = nn.Parameter(torch.zeros(d_ff))
        self.b2 = nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        return F.gelu(x @ self.w1 + self.b1, approximate="tanh") @ self.w2 + self.b2


class TokenByToken(Layer):
    """Experts of another kind, and one token after the other."""

    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff, n_experts, capacity_factor)
        self.experts = nn.ModuleList([Gelu(d_model, d_ff) for _ in range(n_experts)])

    def forward(self, x):
        tokens = x.reshape(-1, x.size(-1))
        logits = tokens @ self.router.weight.T
        expert, gate = route_by_topk(logits)
        self.account(logits, torch.ones(len(tokens)))
        places = [True] * len(tokens)
        if self.factor is not None:
            places = kept_by_loop(expert, len(self.experts), self.factor)
            self.dropped = 1 - sum(places) / len(places)
        rows = [
            gate[t] * self.experts[expert[t]](tokens[t]) if places[t] else 0 * tokens[t]
            for t in range(len(tokens))
        ]
        return torch.stack(rows).reshape(x.shape)


def by_package(d_model, d_ff, n_experts, capacity_factor=None):
    """The package's layer drops no token; where a capacity is asked for, another one."""
    if capacity_factor is not None:
        return Layer(d_model, d_ff, n_experts, capacity_factor)
    layer = Experts(GPTConfig(2, n_heads=1, d_model=d_model, d_ff=d_ff, n_experts=n_experts,
                              positions="none"))  # fmt: skip
    layer.dropped = 0.0
    return layer


@pytest.mark.parametrize("answer", [route, route_by_topk, route_by_gather])
def test_right_routing_passes(answer):
    result = check.mixture_of_experts(answer)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == 5
    assert not result.notes


@pytest.mark.parametrize("answer", [balance, balance_by_loop, balance_by_bincount])
def test_right_losses_pass(answer):
    result = check.mixture_of_experts(balance_loss=answer)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == 5


@pytest.mark.parametrize("answer", [kept, kept_by_loop, kept_by_sorting])
def test_right_masks_pass(answer):
    result = check.mixture_of_experts(kept=answer)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == 10


@pytest.mark.parametrize("layer", [Layer, ByDispatch, ByIndex, TokenByToken, by_package])
def test_right_layers_pass(layer):
    result = check.mixture_of_experts(layer_class=layer)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == 7
    assert not result.notes


class Rectified(Layer):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff, n_experts, capacity_factor)
        for expert in self.experts:
            expert[1] = nn.ReLU()


class WithoutBiases(Layer):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff, n_experts, capacity_factor)
        for expert in self.experts:
            expert[0] = nn.Linear(d_model, d_ff, bias=False)


@pytest.mark.parametrize(("layer", "note"), [(Rectified, "a ReLU"), (WithoutBiases, "biases")])
def test_other_experts_pass_with_a_note(layer, note):
    result = check.mixture_of_experts(layer_class=layer)
    assert result.status != "failed", result
    assert [note in text for text in result.notes] == [True]


@pytest.mark.parametrize(
    "numbers",
    [
        NUMBERS,
        {name: np.float64(value) for name, value in NUMBERS.items()},
        {name: torch.tensor(value) for name, value in NUMBERS.items()},
        NUMBERS | {"dropped_share": Fraction(3, 16), "factor_without_drops": 2.0},
    ],
)
def test_a_whole_answer_passes(numbers):
    result = check.mixture_of_experts(route, balance, kept, Layer, **numbers)
    assert result.passed, result


def test_the_answers_that_pass_are_those_of_hugging_face():
    torch.manual_seed(0)
    config = SwitchTransformersConfig(
        hidden_size=6, num_experts=4, expert_capacity=3, router_jitter_noise=0.0
    )
    router, x = SwitchTransformersTop1Router(config).eval(), torch.randn(1, 11, 6)
    mask, gates, logits = router(x)
    logits = logits[0]
    expert, gate = route(logits)
    torch.testing.assert_close(gates.reshape(-1), gate)
    assert torch.equal(mask.reshape(11, 4).bool().any(-1), kept(expert, 4, 3 * 4 / 11))
    theirs = load_balancing_loss_func(logits.softmax(-1)[None], expert[None])
    torch.testing.assert_close(balance(logits), theirs)


# --- Wrong routing --------------------------------------------------------------------------------


def top(logits, scores):
    expert = logits.argmax(-1)
    return expert, scores.gather(-1, expert[:, None])[:, 0]


WRONG_ROUTES = {
    "The gate is the logit itself": lambda z: top(z, z),
    "The softmax runs over the tokens": lambda z: top(z, z.softmax(0)),
    "tokens and experts together": lambda z: top(z, z.flatten().softmax(0).view_as(z)),
    "Every gate is 1": lambda z: top(z, torch.ones_like(z)),
    "a sigmoid of the logit": lambda z: top(z, z.sigmoid()),
    "logarithm of the probability": lambda z: top(z, z.log_softmax(-1)),
    "least probable": lambda z: (z.argmin(-1), z.softmax(-1).amin(-1)),
    "For each expert, a token is chosen": lambda z: (z.argmax(0), z.softmax(-1).amax(0)),
    "counted from 0": lambda z: (z.argmax(-1) + 1, z.softmax(-1).amax(-1)),
    "the wrong order": lambda z: z.softmax(-1).max(-1),
    "a dimension of size 1 is left over": lambda z: z.softmax(-1).topk(1)[::-1],
    "not one entry for each expert": lambda z: (F.one_hot(z.argmax(-1), z.shape[1]), z),
    "return that of the chosen one": lambda z: (z.argmax(-1), z.softmax(-1)),
    "Return two tensors": lambda z: z.softmax(-1).amax(-1),
    "numbers of experts are integers": lambda z: (z.argmax(-1).double(), z.softmax(-1).amax(-1)),
    "No gradient comes through the gate": lambda z: (z.argmax(-1), z.detach().softmax(-1).amax(-1)),
    "where `exp` overflows": lambda z: top(z, z.exp() / z.exp().sum(-1, keepdim=True)),
}


@pytest.mark.parametrize("message", WRONG_ROUTES)
def test_each_wrong_routing_is_named(message):
    result = check.mixture_of_experts(WRONG_ROUTES[message])
    assert result.status == "failed"
    assert message in result.messages


def test_a_gate_without_gradient_fails_for_that_alone():
    def in_numpy(logits):
        expert, gate = route(logits.detach())
        return expert.numpy(), gate.numpy()

    result = check.mixture_of_experts(in_numpy)
    assert result.messages.count("\n") == 0
    assert "No gradient comes through the gate" in result.messages


# --- Wrong losses ---------------------------------------------------------------------------------


def parts(z):
    p, n = z.softmax(-1), z.shape[-1]
    one_hot = F.one_hot(z.argmax(-1), n).to(p.dtype)
    return p, n, one_hot, one_hot.mean(0), p.mean(0)


def conditional(z):
    p, n, one_hot, f, _ = parts(z)
    return n * f.dot((p * one_hot).sum(0) / one_hot.sum(0).clamp(min=1))


def of(function):
    return lambda z: function(*parts(z))


WRONG_LOSSES = {
    "The factor n, the number of experts, is missing": of(lambda p, n, h, f, P: f.dot(P)),
    "divided by n; it is multiplied": of(lambda p, n, h, f, P: f.dot(P) / n),
    "The factor n stands there twice": of(lambda p, n, h, f, P: n * n * f.dot(P)),
    "f is taken from the probabilities": of(lambda p, n, h, f, P: n * P.dot(P)),
    "P is taken from the counts": of(lambda p, n, h, f, P: n * f.dot(f)),
    "P is the mean over the tokens that chose": conditional,
    "only for the expert it chose": of(lambda p, n, h, f, P: n * f.dot((p * h).mean(0))),
    "f and P are sums": of(lambda p, n, h, f, P: n * h.sum(0).dot(p.sum(0))),
    "One of f and P is a sum": of(lambda p, n, h, f, P: n * h.sum(0).dot(P)),
    "The softmax runs over the tokens": lambda z: (
        z.shape[-1] * parts(z)[3].dot(z.softmax(0).mean(0))
    ),
    "P is the mean of the logits": lambda z: z.shape[-1] * parts(z)[3].dot(z.mean(0)),
    "the softmax of the mean logits": lambda z: (
        z.shape[-1] * parts(z)[3].dot(z.mean(0).softmax(-1))
    ),
    "The weight of the loss is in it already": lambda z: 0.01 * balance(z),
    "1 is subtracted": lambda z: balance(z) - 1,
    "squared coefficient of variation": of(
        lambda p, n, h, f, P: P.var(unbiased=False) / P.mean() ** 2
    ),
    "The sign is reversed": lambda z: -balance(z),
    "one for each expert": of(lambda p, n, h, f, P: n * f * P),
    "No gradient comes through the loss": lambda z: balance(z.detach()),
    "multiplied with the number of tokens": of(lambda p, n, h, f, P: len(p) * f.dot(P)),
}


@pytest.mark.parametrize("message", WRONG_LOSSES)
def test_each_wrong_loss_is_named(message):
    result = check.mixture_of_experts(balance_loss=WRONG_LOSSES[message])
    assert result.status == "failed"
    assert message in result.messages


def test_a_loss_that_is_a_plain_number_fails_for_its_gradient_alone():
    result = check.mixture_of_experts(balance_loss=lambda z: balance(z).item())
    assert result.messages.count("\n") == 0
    assert "No gradient comes through the loss" in result.messages


@pytest.mark.parametrize("message", ["with the number of tokens", "One of f and P is a sum"])
def test_a_mistake_that_others_look_like_keeps_its_name(message):
    (wrong,) = (wrong for name, wrong in WRONG_LOSSES.items() if message in name)
    messages = check.mixture_of_experts(balance_loss=wrong).messages
    assert message in messages
    assert "The factor n" not in messages
    assert "The gradient is compared once" in messages


def test_a_layer_that_rounds_down_is_not_called_inverted():
    class RoundsDown(Layer):
        def keep(self, expert, x, gate):
            return WRONG_MASKS["is rounded down; it is rounded up"](
                expert, len(self.experts), self.factor
            )

    messages = check.mixture_of_experts(layer_class=RoundsDown).messages
    assert "rounded down" in messages
    assert "inverted" not in messages


def test_a_loss_with_an_unknown_mistake_is_refused():
    result = check.mixture_of_experts(balance_loss=lambda z: balance(z) ** 2)
    assert result.status == "failed"
    assert "not right" in result.messages


# --- Wrong masks ----------------------------------------------------------------------------------


def with_capacity(capacity):
    def answer(expert, n_experts, factor):
        one_hot = F.one_hot(expert, n_experts)
        return (one_hot.cumsum(0) * one_hot).sum(-1) <= capacity(expert, n_experts, factor)

    return answer


WRONG_MASKS = {
    "Nothing is dropped": lambda e, n, c: torch.ones(len(e)),
    "One token too many fits": with_capacity(lambda e, n, c: math.ceil(c * len(e) / n) + 1),
    "is rounded down; it is rounded up": with_capacity(lambda e, n, c: int(c * len(e) / n)),
    "to the nearest": with_capacity(lambda e, n, c: round(c * len(e) / n)),
    "One token too few fits": with_capacity(lambda e, n, c: math.ceil(c * len(e) / n) - 1),
    "factor is not used": with_capacity(lambda e, n, c: math.ceil(len(e) / n)),
    "An equal share is rounded up before": with_capacity(
        lambda e, n, c: math.ceil(c * math.ceil(len(e) / n))
    ),
    "An equal share is rounded up, and not what": with_capacity(
        lambda e, n, c: c * math.ceil(len(e) / n)
    ),
    "the tokens of all others are dropped": lambda e, n, c: (
        F.one_hot(e, n).cumsum(0) <= math.ceil(c * len(e) / n)
    ).all(-1),
    "An equal share is rounded down before": with_capacity(
        lambda e, n, c: math.ceil(c * (len(e) // n))
    ),
    "not divided by the number": with_capacity(lambda e, n, c: c * len(e)),
    "Only experts that somebody chose": with_capacity(
        lambda e, n, c: math.ceil(c * len(e) / len(e.unique()))
    ),
    "the largest number in `expert`": with_capacity(
        lambda e, n, c: math.ceil(c * len(e) / (e.max() + 1))
    ),
    "inverted": lambda e, n, c: ~kept(e, n, c),
    "The last tokens of a full expert": lambda e, n, c: kept(e.flip(0), n, c).flip(0),
    "drops all of its tokens": lambda e, n, c: (
        torch.bincount(e, minlength=n)[e] <= math.ceil(c * len(e) / n)
    ),
    "share one capacity": lambda e, n, c: torch.arange(len(e)) < math.ceil(c * len(e) / n),
    "not the numbers of the tokens": lambda e, n, c: kept(e, n, c).nonzero()[:, 0],
    "return one entry for each token": lambda e, n, c: F.one_hot(e, n) * kept(e, n, c)[:, None],
}


@pytest.mark.parametrize("message", WRONG_MASKS)
def test_each_wrong_mask_is_named(message):
    result = check.mixture_of_experts(kept=WRONG_MASKS[message])
    assert result.status == "failed"
    assert message in result.messages


def test_a_mask_with_an_unknown_mistake_is_refused():
    def shuffled(expert, n, factor):
        order = torch.randperm(len(expert), generator=torch.Generator().manual_seed(1))
        mask = torch.empty(len(expert), dtype=torch.bool)
        mask[order] = kept(expert[order], n, factor)
        return mask

    result = check.mixture_of_experts(kept=shuffled)
    assert result.status == "failed"
    assert "entries are not right" in result.messages


# --- Wrong layers ---------------------------------------------------------------------------------


def changed(**methods):
    return type("Wrong", (Layer,), methods)


def combining(function):
    return changed(combine=lambda self, *args: function(*args))


def keeping(function):
    return changed(keep=lambda self, *args: function(self, *args))


def accounting(function):
    def account(self, logits, mask):
        Layer.account(self, logits, mask)
        function(self, logits, mask)

    return changed(account=account)


def second(tokens, own, gate, mask, logits, outputs):
    values, indices = logits.softmax(-1).topk(2)
    other = outputs[torch.arange(len(tokens)), indices[:, 1]]
    return torch.where(mask, own * gate, other * values[:, 1:])


def most_probable(self, expert, x, gate):
    order = gate.argsort(descending=True)
    mask = torch.empty(len(expert), dtype=torch.bool)
    mask[order] = kept(expert[order], len(self.experts), self.factor)
    return mask


def text_by_text(self, expert, x, gate):
    rows = expert.view(-1, x.shape[-2])
    return torch.cat([kept(row, len(self.experts), self.factor) for row in rows])


def after_dropping(self, logits, mask):
    _, n, one_hot, _, mean = parts(logits)
    self.balance = n * (one_hot * mask[:, None]).mean(0).dot(mean)


def detached_balance(self, logits, mask):
    self.balance = self.balance.detach()


def no_balance(self, logits, mask):
    del self.balance


def weighted_balance(self, logits, mask):
    self.balance = 0.01 * self.balance


def n_dropped(self, logits, mask):
    self.dropped = int((~mask).sum())


def share_kept(self, logits, mask):
    self.dropped = mask.double().mean()


class FirstBalance(Layer):
    def account(self, logits, mask):
        if not hasattr(self, "balance"):
            super().account(logits, mask)


def of_kept_tokens(self, logits, mask):
    self.balance = balance(logits[mask])


class Adding(Layer):
    def account(self, logits, mask):
        before = getattr(self, "balance", 0.0)
        super().account(logits, mask)
        self.balance = self.balance + before


class ReturnsBoth(Layer):
    def forward(self, x):
        return super().forward(x), self.balance


class AlwaysLimited(Layer):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff, n_experts, capacity_factor or 1.0)


def column_by_column(self, expert, x, gate):
    if x.ndim != 3:
        return kept(expert, len(self.experts), self.factor)
    columns = expert.view(x.shape[:-1]).T
    mask = kept(columns.flatten(), len(self.experts), self.factor)
    return mask.view(columns.shape).T.flatten()


def top_two(tokens, own, gate, mask, logits, outputs, scaled=False):
    p, experts = logits.softmax(-1).topk(2)
    if scaled:
        p = p / p.sum(-1, keepdim=True)
    chosen = outputs[torch.arange(len(tokens))[:, None], experts]
    return (p[..., None] * chosen).sum(1) * mask


class InOrder(Layer):
    def forward(self, x):
        out = super().forward(x).flatten(0, -2)
        chosen = self.router(x.flatten(0, -2)).argmax(-1)
        return out[chosen.argsort(stable=True)].view_as(x)


class Flat(Layer):
    def forward(self, x):
        return super().forward(x).flatten(0, -2)[None]


class Always32(Layer):
    def forward(self, x):
        return super().forward(x).float()


class RouterBias(Layer):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff, n_experts, capacity_factor)
        self.router = nn.Linear(d_model, n_experts)


class RouterTurned(Layer):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff, n_experts, capacity_factor)
        self.router = nn.Linear(n_experts, d_model, bias=False)


class RouterNamed(Layer):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff, n_experts, capacity_factor)
        self.gate = self.router
        del self.router


class PlainList(Layer):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff, n_experts, capacity_factor)
        experts = list(self.experts)
        del self.experts
        self.experts = experts


class OneForAll(Layer):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff, n_experts, capacity_factor)
        self.experts = nn.ModuleList([self.experts[0]] * n_experts)


class AlwaysFour(Layer):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff, n_experts, capacity_factor)
        self.experts.append(self.experts[0])


class DividedWidth(Layer):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff // n_experts, n_experts, capacity_factor)


class Linear(Layer):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__(d_model, d_ff, n_experts, capacity_factor)
        for expert in self.experts:
            expert[1] = nn.Identity()


WRONG_LAYERS = [
    (combining(lambda t, own, g, m, z, o: own * m), "not multiplied with the gate"),
    (combining(lambda t, own, g, m, z, o: own * g * m + t), "that is the block's business"),
    (combining(lambda t, own, g, m, z, o: torch.where(m, own * g, t)), "comes out as it went in"),
    (combining(lambda t, own, g, m, z, o: torch.where(m, own * g, own)), "only without the gate"),
    (combining(second), "goes to its second expert"),
    (
        combining(lambda t, own, g, m, z, o: torch.einsum("ti,tid->td", z.softmax(-1), o)),
        "All experts take part",
    ),
    (
        combining(lambda t, own, g, m, z, o: own * m * top(z, z.softmax(0))[1][:, None]),
        "In the layer: The softmax runs over the tokens",
    ),
    (
        combining(lambda t, own, g, m, z, o: own * m * top(z, z)[1][:, None]),
        "In the layer: The gate is the logit itself",
    ),
    (
        combining(
            lambda t, own, g, m, z, o: (
                o[torch.arange(len(t)), z.argmin(-1)] * z.softmax(-1).amin(-1)[:, None] * m
            )
        ),
        "least probable expert",
    ),
    (changed(run=lambda self, e, t, g: e(t * g) / g[:, None]), "The input of the expert"),
    (combining(lambda t, own, g, m, z, o: own * g), "In the layer: Nothing is dropped"),
    (keeping(text_by_text), "for each text alone"),
    (keeping(most_probable), "with the largest gates"),
    (
        keeping(lambda self, e, x, g: kept(e.flip(0), len(self.experts), self.factor).flip(0)),
        "In the layer: The last tokens",
    ),
    (
        keeping(lambda self, e, x, g: ~kept(e, len(self.experts), self.factor)),
        "In the layer: The mask is inverted",
    ),
    (
        keeping(
            lambda self, e, x, g: with_capacity(lambda e, n, c: int(c * len(e) / n))(
                e, len(self.experts), self.factor
            )
        ),
        "In the layer: The capacity is rounded down",
    ),
    (accounting(after_dropping), "counts what is left after dropping"),
    (accounting(of_kept_tokens), "counts what is left after dropping"),
    (Adding, "`balance` adds up"),
    (ReturnsBoth, "Return the output alone"),
    (AlwaysLimited, "With `capacity_factor=None` no token is dropped"),
    (keeping(column_by_column), "column by column"),
    (combining(top_two), "goes to two experts"),
    (combining(lambda *args: top_two(*args, scaled=True)), "goes to two experts"),
    (accounting(detached_balance), "No gradient comes through `balance`"),
    (accounting(no_balance), "no attribute `balance`"),
    (accounting(weighted_balance), "`balance`: The weight of the loss"),
    (accounting(n_dropped), "the number of dropped tokens; it"),
    (accounting(share_kept), "the share of tokens that are kept"),
    (FirstBalance, "`balance`: "),
    (combining(lambda t, own, g, m, z, o: own * g.detach() * m), "does not reach `router.weight`"),
    (InOrder, "in the order of the experts"),
    (Flat, "The shape is"),
    (Always32, "the output is `torch.float32`"),
    (RouterBias, "The router has a bias"),
    (RouterTurned, "`router.weight` has shape"),
    (RouterNamed, "The layer holds its router as `router`"),
    (PlainList, "an `nn.ModuleList`"),
    (OneForAll, "share their weights"),
    (AlwaysFour, "there are 5 experts"),
    (DividedWidth, "An expert has"),
    (Linear, "An expert is linear"),
    (Layer(4, 8, 2), "Pass the class itself"),
]


@pytest.mark.parametrize(("layer", "message"), WRONG_LAYERS, ids=[m for _, m in WRONG_LAYERS])
def test_each_wrong_layer_is_named(layer, message):
    result = check.mixture_of_experts(layer_class=layer)
    assert result.status == "failed"
    assert message in result.messages
    assert "itself broke" not in result.messages


# --- Wrong numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("total_parameters", 4 * 33_088, "The router has weights"),
        ("total_parameters", 4 * 2 * 64 * 256 + 256, "The experts have biases"),
        ("total_parameters", 4 * 2 * 64 * 256, "and the experts have biases"),
        ("total_parameters", 33_088, "of one expert"),
        ("total_parameters", 132_608 + 4, "The router has no bias"),
        ("total_parameters", 33_344, "count all"),
        ("active_parameters", 33_088, "The router takes part for every token"),
        ("active_parameters", 33_088 + 64, "All of the router takes part"),
        ("active_parameters", 132_608 / 4, "All of the router takes part"),
        ("active_parameters", 2 * 64 * 256 + 256, "The experts have biases"),
        ("active_parameters", 2 * 64 * 256, "and the experts have biases"),
        ("active_parameters", 132_608, "one expert, not all"),
        ("active_parameters", 33_344 + 4, "The router has no bias"),
        ("dropped_share", 128 / 512, "at capacity factor 1"),
        ("dropped_share", 416 / 512, "that is kept"),
        ("dropped_share", 96 / 256, "of the fullest expert's tokens"),
        ("dropped_share", 96, "number of dropped tokens"),
        ("dropped_share", 0, "of no use"),
        ("dropped_share", 18.75, "percentage"),
        ("factor_without_drops", 1.75, "still drops tokens"),
        ("factor_without_drops", 1.9921875, "no multiple of 0.25"),
        ("factor_without_drops", 1.9922, "give a multiple of 0.25"),
        ("factor_without_drops", 4, "this batch needs less"),
        ("factor_without_drops", 256, "That is the capacity"),
        ("factor_without_drops", 0.5, "how many times an equal share"),
    ],
)
def test_each_wrong_number_is_named(name, value, message):
    result = check.mixture_of_experts(**{name: value})
    assert result.status == "failed"
    assert message in result.messages
    for right in ("132608", "33344", "0.1875"):
        assert right not in re.sub(r"got .*", "", result.messages).replace(",", "")


# --- Not attempted, and rubbish -------------------------------------------------------------------


class Empty(nn.Module):
    def __init__(self, d_model, d_ff, n_experts, capacity_factor=None):
        super().__init__()
        ...  # your code

    def forward(self, x): ...  # your code


def test_the_placeholders_are_not_attempted():
    def empty_route(logits): ...  # your code

    def empty_balance(logits): ...  # your code

    def empty_kept(expert, n_experts, capacity_factor): ...  # your code

    result = check.mixture_of_experts(empty_route, empty_balance, empty_kept, Empty)
    assert result.status == "not attempted", result
    assert check.mixture_of_experts().status == "not attempted"


@pytest.mark.parametrize("answer", [3, "text", torch.ones(3), lambda *args, **kwargs: 3, dict])
@pytest.mark.parametrize("name", ["route", "balance_loss", "kept", "layer_class"])
def test_rubbish_fails_without_an_exception(name, answer):
    result = check.mixture_of_experts(**{name: answer})
    assert result.status == "failed"
    assert "The check itself broke" not in result.messages
