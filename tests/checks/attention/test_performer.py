import functools
import math
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmbook import check

COUNTS = {
    "multiply_adds": lambda n, r, d: 4 * n * r * d,
    "break_even": 4096,
    "features_needed": math.expm1(16) * 100,
}


# --- Numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "numbers",
    [
        COUNTS,
        {"multiply_adds": lambda n, r, d: n * r * (2 * d + 2 * (d + 1))},  # with denominators
        {"multiply_adds": lambda n, r, d: torch.tensor(2 * (n * d * r) + 2 * (n * r * d))},
        {"multiply_adds": lambda n, r, d: np.float64(4.0) * n * r * d},
        {"break_even": 4096.0},
        {"break_even": torch.tensor(4064)},  # denominators counted: 2n²d / (4d + 2) / n
        {"features_needed": 8.89e8},
        {"features_needed": round(math.exp(16) / 0.1**2)},
    ],
)
def test_right_numbers_pass(numbers):
    result = check.performer(**numbers)
    assert not result.messages, result
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"multiply_adds": lambda n, r, d: 2 * n * r * d + n * n * (r + d)}, "grows with n²"),
        ({"multiply_adds": lambda n, r, d: 2 * n * n * d}, "count of exact attention"),
        ({"multiply_adds": lambda n, r, d: 2 * n * r * d}, "counts two products only"),
        ({"multiply_adds": lambda n, r, d: 3 * n * r * d}, "counts three products"),
        ({"multiply_adds": lambda n, r, d: n * r * d}, "order of growth"),
        ({"multiply_adds": lambda n, r, d: 8 * n * r * d}, "twice as many"),
        ({"multiply_adds": lambda n, r, d: 4 * n * r * d * d}, "Write down the shapes"),
        ({"multiply_adds": lambda n, r, d: "O(n)"}, "should return a number"),
        ({"multiply_adds": 17}, "Pass a function"),
        ({"break_even": 8192}, "compute the features"),
        ({"break_even": 2048}, "one of the two matrix products"),
        ({"break_even": 5461}, "but not both"),
        ({"break_even": "many"}, "plain number"),
        ({"features_needed": math.expm1(16) / 0.1}, "relative *variance*"),
        ({"features_needed": math.expm1(16)}, "of 100 %"),
        ({"features_needed": math.expm1(8) / 0.01}, "one of the two vectors"),
        ({"features_needed": math.expm1(2) / 0.01}, "divided by √d each"),
        ({"features_needed": math.expm1(4) / 0.01}, "not squared"),
        ({"features_needed": math.exp(32) / 0.01}, "twice too large"),
        ({"features_needed": math.exp(128) / 0.01}, "before the scaling"),
    ],
)
def test_wrong_numbers_are_named(numbers, message):
    result = check.performer(**numbers)
    assert result.status == "failed"
    assert message in result.messages, result
    assert "4096" not in result.messages
    assert "8.88" not in result.messages


# --- Projections ----------------------------------------------------------------------------------


def orthogonal(r, d, generator, fix=True, lengths="chi", fresh=True):
    """Blocks by QR, with what goes wrong."""
    rows, block = [], None
    for _ in range(-(-r // d)):
        if block is None or fresh:
            block, upper = torch.linalg.qr(torch.randn(d, d, generator=generator))
            if fix:
                block = block * upper.diagonal().sign()
        rows.append(block.T)
    directions = torch.cat(rows)[:r]
    size = {
        "chi": lambda: torch.randn(r, d, generator=generator).norm(dim=1, keepdim=True),
        "unit": lambda: torch.ones(r, 1),
        "√d": lambda: torch.full((r, 1), d**0.5),
        "normal": lambda: d**0.5 * torch.randn(r, 1, generator=generator),
        "one a block": lambda: (
            torch.randn(math.ceil(r / d), d, generator=generator)
            .norm(dim=1)
            .repeat_interleave(d)[:r, None]
        ),
        "chi squared": lambda: torch.randn(r, d, generator=generator).square().sum(1, keepdim=True),
    }[lengths]()
    return size * directions


def gram_schmidt(r, d, generator):
    rows = []
    for i in range(r):
        row = torch.randn(d, generator=generator, dtype=torch.float64)
        length = row.norm()
        for other in rows[i - i % d : i]:
            row = row - (row @ other) / (other @ other) * other
        rows.append(row / row.norm() * length)
    return torch.stack(rows)


def polar(r, d, generator):
    gaussian = torch.randn(math.ceil(r / d), d, d, generator=generator)
    left, _, right = torch.linalg.svd(gaussian)
    return (gaussian.norm(dim=-1, keepdim=True) * (left @ right)).flatten(0, 1)[:r]


def initialized(r, d, generator):
    blocks = [
        nn.init.orthogonal_(torch.empty(d, d), generator=generator) for _ in range(-(-r // d))
    ]
    lengths = torch.randn(r, d, generator=generator).square().sum(1).sqrt()
    return (
        torch.diag(lengths) @ torch.cat(blocks)[:r]
        if r < 1000
        else lengths[:, None] * (torch.cat(blocks)[:r])
    )


def random_signs(r, d, generator):
    signs = torch.randint(2, (r, 1), generator=generator) * 2 - 1
    return signs * orthogonal(r, d, generator, fix=False)


@pytest.mark.parametrize(
    "features",
    [orthogonal, gram_schmidt, polar, initialized, random_signs],
    ids=lambda f: f.__name__,
)
def test_right_projections_pass(features):
    result = check.performer(features=features)
    assert not result.messages, result
    assert sum(o.status == "passed" for o in result.outcomes) == 6


def columns(r, d, generator):
    gaussian = torch.randn(r, d, generator=generator)
    if r <= d:
        return orthogonal(r, d, generator)
    return torch.linalg.qr(gaussian).Q * r**0.5


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (functools.partial(orthogonal, fix=False), "signs of Q"),
        (functools.partial(orthogonal, lengths="√d"), "length √d"),
        (functools.partial(orthogonal, lengths="unit"), "unit vectors"),
        (functools.partial(orthogonal, lengths="one a block"), "draw one for each row"),
        (functools.partial(orthogonal, lengths="normal"), "wrong distribution"),
        (functools.partial(orthogonal, lengths="chi squared"), "wrong distribution"),
        (functools.partial(orthogonal, fresh=False), "same directions"),
        (lambda r, d, generator: torch.randn(r, d, generator=generator), "on average only"),
        (columns, "*columns*"),
        (lambda r, d, generator: orthogonal(r, d, generator).T, "The shape is (4, 10)"),
        (lambda r, d, generator: orthogonal(-(-r // d) * d, d, generator), "The shape is (12, 4)"),
        (lambda r, d, generator: orthogonal(r, d, None), "generator=generator"),
        (lambda r, d, generator: orthogonal(r, d, torch.Generator()), "different seeds"),
        (lambda r, d, generator: math.nan * orthogonal(r, d, generator), "NaN"),
        (lambda r, d, generator: "rows", "should be a tensor"),
        (
            lambda r, d, generator: gram_schmidt(r, d, generator).abs(),
            "not orthogonal",
        ),
    ],
)
def test_wrong_projections_are_named(features, message):
    result = check.performer(features=features)
    assert result.status == "failed"
    assert message in result.messages, result


# --- Right attention ------------------------------------------------------------------------------


def exponents(x, w, power=-0.25, norm=0.5):
    x = x * x.shape[-1] ** power
    return x @ w.T - norm * x.square().sum(-1, keepdim=True)


def stable(log_q, log_k):
    return (
        (log_q - log_q.amax(-1, keepdim=True)).exp(),
        (log_k - log_k.amax((-2, -1), keepdim=True)).exp(),
    )


def finish(phi_q, phi_k, v, causal):
    """Chunks of 50, the remainder included."""
    v = torch.cat([v, torch.ones_like(v[..., :1])], -1)
    if not causal:
        out = phi_q @ (phi_k.mT @ v)
    else:
        total, rows = 0, []
        for q, k, u in zip(*(x.split(50, -2) for x in (phi_q, phi_k, v)), strict=True):
            inside = (q @ k.mT).tril() @ u
            rows.append(inside if isinstance(total, int) else inside + q @ total)
            total = total + k.mT @ u
        out = torch.cat(rows, -2)
    return out[..., :-1] / out[..., -1:]


def chunked(q, k, v, projection, causal=False):
    return finish(*stable(exponents(q, projection), exponents(k, projection)), v, causal)


def cumsum(q, k, v, projection, causal=False):
    """All prefix sums at once, and no e^(-|q|²/2)."""
    phi_q, phi_k = stable(exponents(q, projection, norm=0), exponents(k, projection))
    sums = torch.einsum("...nr,...na->...nra", phi_k, v)
    total = phi_k
    if causal:
        sums, total = sums.cumsum(-3), total.cumsum(-2)
        numerators = torch.einsum("...nr,...nra->...na", phi_q, sums)
    else:
        numerators = torch.einsum("...nr,...ra->...na", phi_q, sums.sum(-3))
        total = total.sum(-2, keepdim=True)
    return numerators / (phi_q * total).sum(-1, keepdim=True)


def token_by_token(q, k, v, projection, causal=False):
    """A recurrence, as when a text is generated; double precision inside."""
    dtype = v.dtype
    phi_q, phi_k = stable(*(exponents(x.double(), projection.double()) for x in (q, k)))
    v = v.double()
    if not causal:
        return finish(phi_q, phi_k, v, False).to(dtype)
    state = phi_k.new_zeros(*phi_k.shape[:-2], phi_k.shape[-1], v.shape[-1])
    total, rows = torch.zeros_like(phi_k[..., 0, :]), []
    for i in range(v.shape[-2]):
        state = state + phi_k[..., i, :, None] * v[..., i, None, :]
        total = total + phi_k[..., i, :]
        row = (phi_q[..., i, None, :] @ state)[..., 0, :]
        rows.append(row / (phi_q[..., i, :] * total).sum(-1, keepdim=True))
    return torch.stack(rows, -2).to(dtype)


class Module(nn.Module):
    """No maxima, but double precision; 1/√r kept; one reshaped batch of chunks."""

    def forward(self, q, k, v, projection, causal=False):
        w, r = projection.double(), len(projection)
        phi_q, phi_k = (exponents(x.double(), w).exp() / r**0.5 for x in (q, k))
        out = finish(phi_q, phi_k, v.double(), False)
        if causal:
            n, size = q.shape[-2], 64
            extra = -n % size
            phi_q, phi_k, u = (F.pad(x, (0, 0, 0, extra)) for x in (phi_q, phi_k, v.double()))
            u = torch.cat([u, torch.ones_like(u[..., :1])], -1)
            phi_q, phi_k, u = (x.unflatten(-2, (-1, size)) for x in (phi_q, phi_k, u))
            sums = phi_k.mT @ u
            before = sums.cumsum(-3) - sums
            sums = phi_q @ before + (phi_q @ phi_k.mT).tril() @ u
            sums = sums.flatten(-3, -2)[..., :n, :]
            out = sums[..., :-1] / sums[..., -1:]
        return out.to(v.dtype)


RIGHT = {
    "chunks": chunked,
    "all prefix sums": cumsum,
    "token by token": token_by_token,
    "module": Module(),
}


@pytest.mark.parametrize("attention", RIGHT.values(), ids=RIGHT)
def test_right_attention_passes(attention):
    started = time.process_time()
    result = check.performer(attention)
    assert time.process_time() - started < 5
    assert not result.messages, result
    assert sum(o.status == "passed" for o in result.outcomes) == 10
    held = any("all n prefix sums" in note for note in result.notes)
    assert held == (attention is cumsum)


def test_everything_together():
    assert check.performer(chunked, orthogonal, **COUNTS).passed


# --- Wrong attention ------------------------------------------------------------------------------


def variant(power_q=-0.25, power_k=-0.25, norm=0.5, shift=None, then=finish):
    def attention(q, k, v, projection, causal=False):
        log_q = exponents(q, projection, power_q)
        log_k = exponents(k, projection, power_k, norm)
        phi_q, phi_k = stable(log_q, log_k) if shift is None else shift(log_q, log_k)
        return then(phi_q, phi_k, v, causal)

    return attention


def shifted_by(dim_q, dim_k):
    return lambda a, b: (
        (a - a.amax(dim_q, keepdim=True)).exp(),
        (b - b.amax(dim_k, keepdim=True)).exp(),
    )


def plus(constant):
    def shift(a, b):
        a, b = stable(a, b)
        return a + constant, b + constant

    return shift


def causal_as(form):
    """The right full form; a wrong causal one, given numerators and denominators by pair."""

    def then(phi_q, phi_k, v, causal):
        if not causal:
            return finish(phi_q, phi_k, v, False)
        kernel = phi_q @ phi_k.mT
        top, bottom = form(kernel)
        return top @ v / bottom.sum(-1, keepdim=True)

    return variant(then=then)


def quadratic(phi_q, phi_k, v, causal):
    kernel = phi_q @ phi_k.mT
    kernel = kernel.tril() if causal else kernel
    return kernel @ v / kernel.sum(-1, keepdim=True)


def row_by_row(phi_q, phi_k, v, causal):
    if causal:
        return finish(phi_q, phi_k, v, True)
    rows = []
    for i in range(phi_q.shape[-2]):
        weights = phi_q[..., i : i + 1, :] @ phi_k.mT
        rows.append(weights @ v / weights.sum(-1, keepdim=True))
    return torch.cat(rows, -2)


def growing_prefixes(phi_q, phi_k, v, causal):
    if not causal:
        return finish(phi_q, phi_k, v, False)
    rows = []
    for i in range(phi_q.shape[-2]):
        weights = phi_q[..., i : i + 1, :] @ phi_k[..., : i + 1, :].mT
        rows.append(weights @ v[..., : i + 1, :] / weights.sum(-1, keepdim=True))
    return torch.cat(rows, -2)


def trigonometric(q, k, v, projection, causal=False):
    def phi(x):
        x = x * x.shape[-1] ** -0.25
        angle = x @ projection.T
        return (x.square().sum(-1, keepdim=True) / 2).exp() * torch.cat(
            [angle.sin(), angle.cos()], -1
        )

    return finish(phi(q), phi(k), v, causal)


def by_features(phi):
    return lambda q, k, v, projection, causal=False: finish(
        phi(q, projection), phi(k, projection), v, causal
    )


def in_place(q, k, v, projection, causal=False):
    phi_q, phi_k = stable(exponents(q, projection), exponents(k, projection))
    v = torch.cat([v, torch.ones_like(v[..., :1])], -1)
    if not causal:
        out = phi_q @ (phi_k.mT @ v)
    else:
        state = torch.zeros_like(phi_k.mT @ v)
        rows = []
        for a, b, u in zip(*(x.split(4, -2) for x in (phi_q, phi_k, v)), strict=True):
            rows.append((a @ b.mT).tril() @ u + a @ state)
            state += b.mT @ u
        out = torch.cat(rows, -2)
    return out[..., :-1] / out[..., -1:]


def unstable(q, k, v, projection, causal=False):
    return finish(exponents(q, projection).exp(), exponents(k, projection).exp(), v, causal)


def unnormalized(shift):
    def then(phi_q, phi_k, v, causal):
        kernel = phi_q @ phi_k.mT
        return (kernel.tril() if causal else kernel) @ v

    return variant(shift=shift, then=then)


def plain(a, b):
    return a.exp(), b.exp()


def root_r(a, b):
    return a.exp() / a.shape[-1] ** 0.5, b.exp() / b.shape[-1] ** 0.5


MISTAKES = {
    "no scale": (variant(0, 0), "The scale is missing"),
    "only q scaled": (variant(power_k=0), "Only q is scaled"),
    "only k scaled": (variant(power_q=0), "Only k is scaled"),
    "scaled twice": (variant(-0.5, -0.5), "√d *each*"),
    "all on q": (variant(-0.5, 0), "share it evenly"),
    "all on k": (variant(0, -0.5), "share it evenly"),
    "wrong sign of the power": (variant(0.25, 0.25), "power is negative"),
    "no norm of k": (variant(norm=0), "factor of a key's length is missing"),
    "no norm, no scale": (variant(0, 0, norm=0), "factor of a key's length is missing"),
    "whole norm": (variant(norm=1), "should be half of it"),
    "norm added": (variant(norm=-0.5), "should be subtracted"),
    "norm averaged": (
        by_features(
            lambda x, w: exponents(x, w, norm=0.5 / x.shape[-1]).exp(),
        ),
        "averaged over the coordinates",
    ),
    "length not squared": (
        by_features(
            lambda x, w: (
                exponents(x, w, norm=0) - (x * x.shape[-1] ** -0.25).norm(dim=-1, keepdim=True) / 2
            ).exp()
        ),
        "half of its square",
    ),
    "norm before scaling": (
        by_features(
            lambda x, w: (exponents(x, w, norm=0) - x.square().sum(-1, keepdim=True) / 2).exp()
        ),
        "before it is scaled",
    ),
    "shift per key": (variant(shift=shifted_by(-1, -1)), "Each key's largest exponent"),
    "shift per feature of k": (variant(shift=shifted_by(-1, -2)), "among the keys"),
    "shift per feature of q": (variant(shift=shifted_by(-2, (-2, -1))), "among the queries"),
    "features sum to 1": (
        by_features(lambda x, w: exponents(x, w).softmax(-1)),
        "normalized to sum 1",
    ),
    "no normalizer": (unnormalized(plain), "not divided by their denominator"),
    "no normalizer, 1/r": (unnormalized(root_r), "not divided by their denominator"),
    "no normalizer, stable": (unnormalized(stable), "not divided by their denominator"),
    "constant added": (variant(shift=plus(1e-4)), "A constant is added"),
    "small constant added": (variant(shift=plus(1e-6)), "A constant is added"),
    "trigonometric": (trigonometric, "sines and cosines"),
    "cosines": (
        by_features(
            lambda x, w: (
                (x * x.shape[-1] ** -0.25 @ w.T).cos()
                * ((x * x.shape[-1] ** -0.25).square().sum(-1, keepdim=True) / 2).exp()
            )
        ),
        "The features are cosines",
    ),
    "relu": (by_features(lambda x, w: (x @ w.T).relu() + 1e-3), "rectified projections"),
    "elu": (by_features(lambda x, w: F.elu(x) + 1), "`elu(x) + 1`"),
    "projection scaled": (
        lambda q, k, v, w, causal=False: chunked(q, k, v, w / w.shape[-1] ** 0.5, causal),
        "projection is divided by √d",
    ),
    "exact": (
        lambda q, k, v, w, causal=False: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
        "This is exact attention",
    ),
    "mean": (
        lambda q, k, v, w, causal=False: v.mean(-2, keepdim=True).expand(
            *q.shape[:-1], v.shape[-1]
        ),
        "mean of the values",
    ),
    "unstable": (unstable, "subtract suitable maxima"),
    "causal ignored": (
        lambda q, k, v, w, causal=False: chunked(q, k, v, w),
        "`causal` has no effect",
    ),
    "own key missing": (
        causal_as(lambda kernel: (kernel.tril(-1), kernel.tril(-1))),
        "leave out the token's own key",
    ),
    "suffixes": (
        causal_as(lambda kernel: (kernel.triu(), kernel.triu())),
        "after instead of what comes before",
    ),
    "denominators of all keys": (
        causal_as(lambda kernel: (kernel.tril(), kernel)),
        "denominators run over all keys",
    ),
    "numerators of all keys": (
        causal_as(lambda kernel: (kernel, kernel.tril())),
        "numerators run over all keys",
    ),
    "denominators without own key": (
        causal_as(lambda kernel: (kernel.tril(), kernel.tril(-1))),
        "the denominators do not",
    ),
    "n × n matrix": (variant(then=quadratic), "n × n matrix is there after all"),
    "row by row": (variant(then=row_by_row), "times the work"),
    "growing prefixes": (variant(then=growing_prefixes), "times the work"),
    "detached": (
        lambda q, k, v, w, causal=False: chunked(q.detach(), k.detach(), v.detach(), w, causal),
        "No gradient flows",
    ),
    "partly detached": (
        lambda q, k, v, w, causal=False: chunked(q, k.detach(), v, w, causal),
        "gradient of `k`",
    ),
    "in place": (in_place, "changed in place"),
    "float32 inside": (
        lambda q, k, v, w, causal=False: chunked(
            q.float(), k.float(), v.float(), w.float(), causal
        ).to(v),
        "float32 precision only",
    ),
    "projection transposed": (
        lambda q, k, v, w, causal=False: chunked(q, k, v, w.T, causal),
        "Your code raised RuntimeError",
    ),
    "no causal argument": (
        lambda q, k, v, w: chunked(q, k, v, w),
        "unexpected keyword argument 'causal'",
    ),
    "returns text": (lambda q, k, v, w, causal=False: "done", "should be a tensor"),
    "returns nothing": (lambda q, k, v, w, causal=False: print(q @ w.T), None),
    "not a function": (3, "Pass a function"),
}


@pytest.mark.parametrize(("attention", "message"), MISTAKES.values(), ids=MISTAKES)
def test_wrong_attention_is_named(attention, message):
    result = check.performer(attention)
    if message is None:
        assert not result.passed
        return
    assert result.status == "failed"
    assert message in result.messages, result
    assert "check itself broke" not in result.messages


# --- Untouched ------------------------------------------------------------------------------------


def placeholder(q, k, v, projection, causal=False): ...


def test_untouched_is_not_attempted():
    result = check.performer(
        attention=placeholder,
        features=lambda r, d, generator: ...,
        multiply_adds=lambda n, r, d: ...,
        break_even=...,
        features_needed=...,
    )
    assert result.status == "not attempted"
    assert check.performer().status == "not attempted"


def test_random_state_is_left_alone():
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    check.performer(chunked, orthogonal, **COUNTS)
    assert torch.equal(torch.randn(2), expected)
