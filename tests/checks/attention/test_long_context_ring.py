"""Part (c) of the check of exercise 11.25: right answers pass, each known mistake is named."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

INF = math.inf


# --- merge ----------------------------------------------------------------------------------------


def by_logaddexp(o1, lse1, o2, lse2):
    lse = torch.logaddexp(lse1, lse2)
    seen = lse.masked_fill(lse == -INF, 0.0)
    w1, w2 = ((part - seen).exp().unsqueeze(-1) for part in (lse1, lse2))
    return w1 * o1 + w2 * o2, lse


def by_sigmoid(o1, lse1, o2, lse2):
    share = torch.sigmoid(lse1 - lse2).nan_to_num(0.5)[..., None]
    out = torch.lerp(o2, o1, share)
    return [
        out,
        lse1.maximum(lse2) - torch.nn.functional.logsigmoid((lse1 - lse2).abs()).nan_to_num(),
    ]


def by_running_maximum(o1, lse1, o2, lse2):
    top = torch.maximum(lse1, lse2).clamp(min=torch.finfo(lse1.dtype).min)
    e1, e2 = torch.exp(lse1 - top), torch.exp(lse2 - top)
    total = e1 + e2
    out = (e1[..., None] * o1 + e2[..., None] * o2) / total.clamp(min=1e-30)[..., None]
    return out, top + torch.log(total)


def by_softmax_in_numpy(o1, lse1, o2, lse2):
    o1, lse1, o2, lse2 = (part.double().numpy() for part in (o1, lse1, o2, lse2))
    with np.errstate(all="ignore"):
        lse = np.logaddexp(lse1, lse2)
        w1 = np.where(lse1 == -INF, 0.0, np.exp(lse1 - lse))
        w2 = np.where(lse2 == -INF, 0.0, np.exp(lse2 - lse))
    return np.moveaxis(np.moveaxis(o1, -1, 0) * w1, 0, -1) + w2[..., None] * o2, lse


def in_place(o1, lse1, o2, lse2):
    out, lse = by_logaddexp(o1, lse1, o2, lse2)
    return o1.copy_(out), lse1.copy_(lse)


@pytest.mark.parametrize(
    "merge", [by_logaddexp, by_sigmoid, by_running_maximum, by_softmax_in_numpy, in_place]
)
def test_right_merges_pass(merge):
    result = check.long_context(merge=merge)
    assert outcomes(result, "(c) merge") == {"passed"}, result
    assert result.status == "not attempted"  # the other parts


def outcomes(result, prefix):
    statuses = {o.status for o in result.outcomes if o.name.startswith(prefix)}
    others = {o.status for o in result.outcomes if not o.name.startswith(prefix)}
    assert others == {"not attempted"}
    return statuses


def weighted(weigh, total=torch.logaddexp):
    def merge(o1, lse1, o2, lse2):
        w1, w2 = weigh(lse1[..., None], lse2[..., None])
        return w1 * o1 + w2 * o2, total(lse1, lse2)

    return merge


def right_output(total):
    return lambda o1, l1, o2, l2: (by_logaddexp(o1, l1, o2, l2)[0], total(l1, l2))


def naive(o1, l1, o2, l2):
    e1, e2 = l1.exp(), l2.exp()
    out = (e1[..., None] * o1 + e2[..., None] * o2) / (e1 + e2)[..., None]
    return out, torch.log(e1 + e2)


def without_both_empty(o1, l1, o2, l2):
    lse = torch.logaddexp(l1, l2)
    return (l1 - lse).exp()[..., None] * o1 + (l2 - lse).exp()[..., None] * o2, lse


def without_empty(o1, l1, o2, l2):
    return torch.lerp(o2, o1, torch.sigmoid(l1 - l2)[..., None]), l2 + torch.log1p((l1 - l2).exp())


def relative(l1, l2):
    top = l1.maximum(l2)
    return (l1 - top).exp(), (l2 - top).exp()


MERGE_MISTAKES = {
    "average": (weighted(lambda a, b: (0.5, 0.5)), "averaged"),
    "sum": (weighted(lambda a, b: (1, 1)), "normalized already"),
    "swapped": (weighted(lambda a, b: ((b - a).sigmoid(), (a - b).sigmoid())), "swapped"),
    "logs as weights": (weighted(lambda a, b: (a / (a + b), b / (a + b))), "serve as weights"),
    "not divided": (weighted(lambda a, b: (a.exp(), b.exp())), "divide by the sum of the"),
    "relative, not divided": (weighted(relative), "after taking out the larger"),
    "only the first": (weighted(lambda a, b: (1, 0)), "second part is missing"),
    "only the second": (weighted(lambda a, b: (0, 1)), "first part is missing"),
    "the larger": (
        weighted(lambda a, b: ((a > b).float(), (a <= b).float())),
        "has its share",
    ),
    "divided again": (
        weighted(lambda a, b: (1 / (a.exp() + b.exp()),) * 2),
        "averages already",
    ),
    "lse not updated": (right_output(lambda a, b: a), "not updated"),
    "lse of the second": (right_output(lambda a, b: b), "second part only"),
    "lse added": (right_output(torch.add), "add the sums"),
    "lse averaged": (right_output(lambda a, b: (a + b) / 2), "log-sum-exps are averaged"),
    "lse maximum": (right_output(torch.maximum), "the other part adds to it"),
    "no logarithm": (right_output(lambda a, b: a.exp() + b.exp()), "logarithm is missing"),
    "maximum lost": (
        right_output(lambda a, b: sum(relative(a, b)).log()),
        "has to be added again",
    ),
    "base 2": (right_output(lambda a, b: torch.log2(a.exp() + b.exp())), "base 2"),
    "weights along the components": (
        lambda o1, a, o2, b: (
            (torch.sigmoid(a - b) * o1 + torch.sigmoid(b - a) * o2)
            if o1.shape[-2:] == (2, 2)
            else by_logaddexp(o1, a, o2, b)[0],
            torch.logaddexp(a, b),
        ),
        "one weight for all its components",
    ),
    "powers of 2": (
        lambda o1, a, o2, b: weighted(
            lambda x, y: (1 / (1 + 2 ** (y - x)), 1 / (1 + 2 ** (x - y)))
        )(o1, a, o2, b),
        "powers of 2; the",
    ),
    "powers and logarithm of 2": (right_output(torch.logaddexp2), "a logarithm to base 2"),
    "finite for nothing": (
        right_output(lambda a, b: torch.logaddexp(a, b).clamp(min=-1e9)),
        "gets a finite log-sum-exp",
    ),
    "overflow": (naive, "With log-sum-exps around 1000, the result is not finite"),
    "underflow": (
        lambda o1, l1, o2, l2: (naive if l1.max() < 50 else by_logaddexp)(o1, l1, o2, l2),
        "With log-sum-exps around -1000",
    ),
    "an empty part": (without_empty, "it has seen the other part"),
    "both empty": (without_both_empty, "sees nothing in either part"),
    "one tensor": (lambda *parts: by_logaddexp(*parts)[0], "two tensors"),
    "reversed": (lambda *parts: by_logaddexp(*parts)[::-1], "the output comes first"),
    "kept dimension": (
        lambda o1, l1, o2, l2: (
            by_logaddexp(o1, l1, o2, l2)[0],
            torch.logaddexp(l1, l2)[..., None],
        ),
        "log-sum-exp has shape",
    ),
}


@pytest.mark.parametrize(("merge", "named"), MERGE_MISTAKES.values(), ids=MERGE_MISTAKES)
def test_mistakes_of_merging_are_named(merge, named):
    result = check.long_context(merge=merge)
    assert outcomes(result, "(c) merge") >= {"failed"}
    assert named in next(o.message for o in result.outcomes if o.status == "failed")


def test_unknown_mistakes_are_described():
    result = check.long_context(merge=weighted(lambda a, b: (1.3, 0.2)))
    assert "lies between those of the two parts" in result.messages
    result = check.long_context(merge=right_output(lambda a, b: a.minimum(b) - 1))
    assert "over more keys is no smaller" in result.messages


@pytest.mark.parametrize("rubbish", [3, "merge", lambda *parts: "x", lambda *parts: ("a", "b")])
def test_rubbish_fails_without_an_exception(rubbish):
    for name in ("merge", "ring_bytes", "tensor_parallel_bytes", "smallest_block"):
        result = check.long_context(**{name: rubbish})
        assert result.status == "failed", name
        assert "The check itself broke" not in result.messages


# --- Bytes ----------------------------------------------------------------------------------------


def simulated_ring(S, P, d_kv, b):
    """Count what leaves device 0 while blocks go around."""
    sent = 0
    holds = list(range(P))
    while holds[0] != 1 % P:
        sent += 2 * len(range(0, S, P)) * d_kv * b
        holds = [holds[r - 1] for r in range(P)]
    return sent


RIGHT_RINGS = {
    "formula": lambda S, P, d_kv, b: 2 * (P - 1) / P * S * d_kv * b,
    "whole numbers": lambda S, P, d_kv, b: (P - 1) * (S // P) * 2 * d_kv * b,
    "simulated": simulated_ring,
    "fraction": lambda S, P, d_kv, b: Fraction(2 * S * d_kv * b * (P - 1), P),
    "tensor": lambda S, P, d_kv, b: torch.tensor([S // P * d_kv * b * 2 * (P - 1)]),
    "sympy": lambda S, P, d_kv, b: sp.Rational(P - 1, P) * 2 * S * d_kv * b,
}


@pytest.mark.parametrize("ring_bytes", RIGHT_RINGS.values(), ids=RIGHT_RINGS)
def test_right_ring_bytes_pass(ring_bytes):
    result = check.long_context(ring_bytes=ring_bytes)
    assert outcomes(result, "(c) ring") == {"passed"}, result


def all_reduces_by_the_step(S, P, d, b):
    sent = 0
    for _ in ("attention", "MLP"):
        for _ in ("reduce-scatter", "all-gather"):
            for _ in range(P - 1):
                sent += S * d * b / P
    return sent


RIGHT_TENSOR_PARALLEL = {
    "formula": lambda S, P, d, b: 4 * (P - 1) * S * d * b / P,
    "by the step": all_reduces_by_the_step,
    "numpy": lambda S, P, d, b: np.float64(2) * 2 * (1 - np.float64(1) / P) * S * d * b,
}


@pytest.mark.parametrize(
    "tensor_parallel_bytes", RIGHT_TENSOR_PARALLEL.values(), ids=RIGHT_TENSOR_PARALLEL
)
def test_right_tensor_parallel_bytes_pass(tensor_parallel_bytes):
    result = check.long_context(tensor_parallel_bytes=tensor_parallel_bytes)
    assert outcomes(result, "(c) tensor parallel") == {"passed"}, result


RING_MISTAKES = {
    "keys only": (lambda S, P, w, b: (P - 1) * S / P * w * b, "you count one of them"),
    "P sends": (lambda S, P, w, b: 2 * S * w * b, "One send too many"),
    "one send": (lambda S, P, w, b: 2 * S / P * w * b, "That is one send"),
    "whole text": (lambda S, P, w, b: 2 * (P - 1) * S * w * b, "blocks of one segment"),
    "P whole texts": (lambda S, P, w, b: 2 * P * S * w * b, "blocks of one segment"),
    "numbers": (lambda S, P, w, b: 2 * (P - 1) * S / P * w, "not bytes"),
    "bits": (lambda S, P, w, b: 16 * (P - 1) * S / P * w * b, "bits"),
    "received too": (lambda S, P, w, b: 4 * (P - 1) * S / P * w * b, "comes in as well"),
    "training": (lambda S, P, w, b: 6 * (P - 1) * S / P * w * b, "goes backward too"),
    "queries too": (lambda S, P, w, b: 3 * (P - 1) * S / P * w * b, "queries stay"),
    "P - 2": (lambda S, P, w, b: 2 * (P - 2) * S / P * w * b, "One send too few"),
}


@pytest.mark.parametrize(("ring_bytes", "named"), RING_MISTAKES.values(), ids=RING_MISTAKES)
def test_mistakes_of_the_ring_are_named(ring_bytes, named):
    result = check.long_context(ring_bytes=ring_bytes)
    assert outcomes(result, "(c) ring") >= {"failed"}
    assert named in next(o.message for o in result.outcomes if o.status == "failed")


TENSOR_PARALLEL_MISTAKES = {
    "one all-reduce": (lambda S, P, d, b: 2 * (P - 1) / P * S * d * b, "two sums to complete"),
    "one, once around": (lambda S, P, d, b: (P - 1) / P * S * d * b, "That is a quarter"),
    "size of two tensors": (lambda S, P, d, b: 2 * S * d * b, "just the size of its tensor"),
    "size of a tensor": (lambda S, P, d, b: S * d * b, "size of one activation tensor"),
    "P steps": (lambda S, P, d, b: 4 * S * d * b, "how many of its P parts"),
    "whole tensors": (lambda S, P, d, b: 4 * (P - 1) * S * d * b, "one of P parts at a step"),
    "to all others": (lambda S, P, d, b: 2 * (P - 1) * S * d * b, "every other device;"),
    "to all, once": (lambda S, P, d, b: (P - 1) * S * d * b, "every other device, once"),
    "segments": (lambda S, P, d, b: 4 * (P - 1) / P * S / P * d * b, "has all tokens"),
    "numbers": (lambda S, P, d, b: 4 * (P - 1) / P * S * d, "not bytes"),
    "bits": (lambda S, P, d, b: 32 * (P - 1) / P * S * d * b, "bits"),
    "training": (lambda S, P, d, b: 8 * (P - 1) / P * S * d * b, "go backward too"),
    "three": (lambda S, P, d, b: 6 * (P - 1) / P * S * d * b, "part of a sum"),
}


@pytest.mark.parametrize(
    ("tensor_parallel_bytes", "named"),
    TENSOR_PARALLEL_MISTAKES.values(),
    ids=TENSOR_PARALLEL_MISTAKES,
)
def test_mistakes_of_tensor_parallelism_are_named(tensor_parallel_bytes, named):
    result = check.long_context(tensor_parallel_bytes=tensor_parallel_bytes)
    assert outcomes(result, "(c) tensor parallel") >= {"failed"}
    assert named in next(o.message for o in result.outcomes if o.status == "failed")


@pytest.mark.parametrize("name", ["ring_bytes", "tensor_parallel_bytes"])
def test_a_single_device_sends_nothing(name):
    right = {**RIGHT_RINGS, **RIGHT_TENSOR_PARALLEL}
    formula = RIGHT_RINGS["formula"] if name == "ring_bytes" else right["by the step"]
    result = check.long_context(**{name: lambda S, P, w, b: formula(S, P, w, b) or 5.0})
    failed = [o for o in result.outcomes if o.status == "failed"]
    assert [o.name.endswith("a single device") for o in failed] == [True]
    assert "nobody to send to" in failed[0].message


# --- The block that hides the transfer ------------------------------------------------------------


def by_search(d, d_kv, b, flops, bandwidth):
    def hides(c):
        return 4 * c * c * d / flops >= 2 * c * d_kv * b / bandwidth

    high = 1
    while not hides(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if hides(middle) else (middle, high)
    return high


def by_formula(d, d_kv, b, flops, bandwidth):
    return math.ceil(b * d_kv * flops / (2 * d * bandwidth))


def by_sympy(d, d_kv, b, flops, bandwidth):
    c = sp.Symbol("c", positive=True)
    (border,) = sp.solve(
        sp.Eq(4 * c**2 * d / sp.Integer(int(flops)), 2 * c * d_kv * b / sp.Integer(int(bandwidth))),
        c,
    )
    return sp.ceiling(border)


def as_float_tensor(*arguments):
    return torch.tensor(float(by_formula(*arguments)))


@pytest.mark.parametrize("smallest_block", [by_search, by_formula, by_sympy, as_float_tensor])
def test_right_blocks_pass(smallest_block):
    result = check.long_context(smallest_block=smallest_block)
    assert outcomes(result, "(c) smallest block") == {"passed"}, result


def border(d, d_kv, b, flops, bandwidth):
    return b * d_kv * flops / (2 * d * bandwidth)


BLOCK_MISTAKES = {
    "not rounded": (border, "border itself"),
    "rounded down": (lambda *a: math.floor(border(*a)), "rounded down"),
    "keys only": (lambda *a: math.ceil(border(*a) / 2), "keys and values both travel"),
    "both directions": (lambda *a: border(*a) / 2, "one direction"),
    "one operation": (lambda *a: math.ceil(2 * border(*a)), "counts as two operations"),
    "a quarter of the work": (lambda *a: 4 * border(*a), "Four times"),
    "bits": (lambda *a: math.ceil(8 * border(*a)), "Bits and bytes"),
    "bandwidth in bits": (lambda *a: math.ceil(border(*a) / 8), "Bits and bytes"),
    "numbers": (lambda d, w, b, f, r: math.ceil(border(d, w, 1, f, r)), "bytes per number"),
    "not grouped": (lambda d, w, b, f, r: math.ceil(b * f / (2 * r)), "`d_kv` is smaller"),
    "interchanged": (lambda d, w, b, f, r: math.ceil(border(w, d, b, f, r)), "interchanged"),
    "no width": (lambda d, w, b, f, r: math.ceil(border(1, w, b, f, r)), "does not enter the work"),
    "upside down": (lambda d, w, b, f, r: math.ceil(border(d, w, b, r, f)), "upside down"),
    "queries too": (
        lambda d, w, b, f, r: math.ceil(border(d, w + d / 2, b, f, r)),
        "counted as sent",
    ),
    "the paper's own": (lambda d, w, b, f, r: math.ceil(f / r), "2 bytes a number"),
    "one more": (lambda *a: math.ceil(border(*a)) + 1, "One too many"),
    "longer instead of as long": (lambda *a: math.floor(border(*a)) + 1, "One too many"),
    "zero": (lambda *a: 0, "upside down"),
    "unknown": (lambda *a: 3 * border(*a), "not a mistake known here"),
    "not a number": (lambda *a: math.nan, "not a mistake known here"),
    "a list": (lambda *a: [1, 2], "Return one number"),
}


@pytest.mark.parametrize(("smallest_block", "named"), BLOCK_MISTAKES.values(), ids=BLOCK_MISTAKES)
def test_mistakes_of_the_block_are_named(smallest_block, named):
    result = check.long_context(smallest_block=smallest_block)
    assert outcomes(result, "(c) smallest block") >= {"failed"}
    assert named in next(o.message for o in result.outcomes if o.status == "failed")


# --- All of it ------------------------------------------------------------------------------------


def untouched(*arguments): ...  # your code


def test_untouched_functions_are_not_attempted():
    names = ("merge", "ring_bytes", "tensor_parallel_bytes", "smallest_block")
    result = check.long_context(**dict.fromkeys(names, untouched))
    assert result.status == "not attempted"
    assert result.messages == ""


def test_no_message_gives_the_numbers_away():
    messages = "\n".join(
        check.long_context(**{name: function}).messages
        for name, mistakes in [
            ("ring_bytes", RING_MISTAKES),
            ("tensor_parallel_bytes", TENSOR_PARALLEL_MISTAKES),
            ("smallest_block", BLOCK_MISTAKES),
        ]
        for function, _ in mistakes.values()
    )
    arguments = [
        (96, 20, 4, 1e12, 3e9),
        (4096, 1024, 2, 989e12, 450e9),
        (64, 64, 2, 2.0**40, 2.0**27),
    ]
    answers = [by_formula(*a) for a in arguments] + [
        round(RIGHT_RINGS["formula"](131_072, 8, 1024, 2)),
        round(RIGHT_TENSOR_PARALLEL["formula"](131_072, 8, 4096, 2)),
    ]
    for answer in answers:
        for text in (f"{answer}", f"{answer:,}", f"{answer:g}"):
            assert text not in messages
