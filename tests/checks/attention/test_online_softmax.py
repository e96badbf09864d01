"""The check of exercise 13.10 passes every right way to write it and names each known mistake."""

import functools
import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch
import torch.nn.functional as F
from torch import nn

from llmbook import check

INF = math.inf


# --- Right answers, structurally different --------------------------------------------------------


def with_accumulator(q, k, v, block_size, key_mask=None):
    """Sum and accumulator against the running maximum, divided at the end."""
    m = q.new_full((*q.shape[:-1], 1), -INF)
    total, out = torch.zeros_like(m), q.new_zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, k.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = q @ k[..., block, :].mT / q.shape[-1] ** 0.5
        if key_mask is not None:
            scores = scores.masked_fill(~key_mask[block], -INF)
        new = torch.maximum(m, scores.amax(-1, keepdim=True))
        safe = new.clamp(min=-1e30)
        factor, p = (m - safe).exp(), (scores - safe).exp()
        total, out, m = (
            total * factor + p.sum(-1, keepdim=True),
            out * factor + p @ v[..., block, :],
            new,
        )
    return out / total


def with_averages(q, k, v, block_size, key_mask=None):
    """Normalized averages of blocks, merged by their log-sum-exps, with einsum."""
    out, lse = None, None
    for start, keys in enumerate(torch.split(k, block_size, dim=-2)):
        values = torch.split(v, block_size, dim=-2)[start]
        scores = torch.einsum("...id,...jd->...ij", q, keys).div(math.sqrt(k.size(-1)))
        if key_mask is not None:
            hidden = ~torch.split(key_mask, block_size)[start]
            scores = scores.masked_fill(hidden, torch.finfo(q.dtype).min / 4)
        own = scores.logsumexp(-1, keepdim=True)
        average = torch.einsum("...ij,...jd->...id", scores.softmax(-1), values)
        if out is None:
            out, lse = average, own
        else:
            share = torch.sigmoid(own - lse)
            out, lse = torch.lerp(out, average, share), torch.logaddexp(lse, own)
    return out


def key_by_key(q, k, v, block_size, key_mask=None):
    """In place, with a finite start; hidden keys are left out before the block is looked at."""
    if key_mask is not None:
        k, v = k[..., key_mask, :], v[..., key_mask, :]
    m = torch.full(q.shape[:-1], -1e30, dtype=q.dtype)
    state = torch.zeros(*q.shape[:-1], v.shape[-1] + 1, dtype=q.dtype)
    ones = torch.ones(*v.shape[:-1], 1, dtype=v.dtype)
    values = torch.cat([v, ones], dim=-1)  # the sum is the accumulator of ones
    for start in range(0, k.shape[-2], block_size):
        for i in range(start, min(start + block_size, k.shape[-2])):
            score = (q * k[..., i : i + 1, :]).sum(-1) / math.sqrt(q.shape[-1])
            new = torch.maximum(m, score)
            state *= (m - new).exp()[..., None]
            state += (score - new).exp()[..., None] * values[..., i : i + 1, :]
            m = new
    return state[..., :-1] / state[..., -1:]


def merged_states(q, k, v, block_size, key_mask=None):
    """The states of all blocks by themselves, merged at the end from back to front."""
    k = k / math.sqrt(q.shape[-1])
    states = []
    for start in range(0, k.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = q @ k[..., block, :].mT
        if key_mask is not None:
            scores = torch.where(key_mask[block], scores, -1e9)
        m = scores.max(-1, keepdim=True).values
        p = torch.exp(scores - m)
        states.append((m, p.sum(-1, keepdim=True), p @ v[..., block, :]))
    m, total, out = states.pop()
    for other_m, other_total, other_out in states[::-1]:
        new = torch.maximum(m, other_m)
        a, b = (m - new).exp(), (other_m - new).exp()
        m, total, out = new, a * total + b * other_total, a * out + b * other_out
    return out / total


def by_broadcasting(q, k, v, block_size, key_mask=None):
    """Without a matrix product, in base 2, in blocks of one key fewer where there are several."""
    if block_size > 1:
        block_size -= 1
    m = q.new_full(q.shape[:-1], -INF)
    total, out = torch.zeros_like(m), 0
    for start in range(0, k.shape[-2], block_size):
        keys, values = k[..., start : start + block_size, :], v[..., start : start + block_size, :]
        scores = (q[..., None, :] * keys[..., None, :, :]).sum(-1) / math.sqrt(q.shape[-1])
        scores = scores * math.log2(math.e)
        if key_mask is not None:
            scores = scores.where(key_mask[start : start + block_size], -INF)
        new = torch.maximum(m, scores.amax(-1))
        safe = new.nan_to_num(neginf=0.0)
        factor, p = torch.exp2(m - safe), torch.exp2(scores - safe[..., None])
        product = p[..., None] * values[..., None, :, :]
        total, out = total * factor + p.sum(-1), out * factor[..., None] + product.sum(-2)
        m = new
    return out / total[..., None]


def queries_in_blocks(q, k, v, block_size, key_mask=None):
    rows = [
        with_accumulator(part, k, v, block_size, key_mask)
        for part in torch.split(q, block_size, dim=-2)
    ]
    return torch.cat(rows, dim=-2)


def in_numpy(q, k, v, block_size, key_mask=None):
    return with_accumulator(q, k, v, block_size, key_mask).numpy()


class AsModule(nn.Module):
    def forward(self, q, k, v, block_size, key_mask=None):
        return with_accumulator(q, k, v, block_size, key_mask)


@pytest.mark.parametrize(
    "answer",
    [
        with_accumulator,
        with_averages,
        key_by_key,
        by_broadcasting,
        queries_in_blocks,
        in_numpy,
        AsModule(),
        functools.partial(with_accumulator),
        lambda *args, **kwargs: with_accumulator(*args, **kwargs),
    ],
)
def test_right_answers_pass(answer):
    outcomes = [o for o in check.online_softmax(answer).outcomes if o.name.startswith("(b)")]
    assert len(outcomes) == 16
    assert all(outcome.status == "passed" for outcome in outcomes), outcomes


NUMBERS = {
    "factor": 0.5,
    "sum_after": 2,
    "accumulator_after": 6.75,
    "output": 3.375,
    "state_size": 66,
    "backward_size": 1,
    "exact": "b",
}


def test_everything_right_passes():
    result = check.online_softmax(with_accumulator, **NUMBERS)
    assert result.passed, result


@pytest.mark.parametrize(
    "numbers",
    [
        {"factor": Fraction(1, 2), "sum_after": np.float32(2)},
        {"factor": sp.exp(sp.log(2) - sp.log(4)), "output": sp.Rational(27, 8)},
        {"accumulator_after": torch.tensor(6.75), "output": 3.38},
        {"state_size": 66.0, "backward_size": np.int64(1), "exact": "(B)"},
    ],
)
def test_other_formats_pass(numbers):
    result = check.online_softmax(**numbers)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


# --- Wrong answers --------------------------------------------------------------------------------


def online(
    *,
    scale=lambda d: d**-0.5,
    first=-INF,
    first_sum=0.0,
    top=lambda m, scores: torch.maximum(m, scores.amax(-1, keepdim=True)),
    new_top=lambda top, scores: top,
    factors=lambda old, new: ((old - new).exp(),) * 2,
    safe=lambda m: m.masked_fill(m == -INF, 0),
    mask=lambda scores, seen: scores.masked_fill(~seen, -INF),
    mask_p=lambda p, seen: p,
    mask_block=lambda key_mask, block: key_mask[block],
    each=lambda out, total: out,
    last=lambda out, total: out / total,
    starts=lambda m, size: range(0, m, size),
    pad=False,
    more=0,
    cast=lambda x: x,
):
    """Build a right implementation; each test breaks one piece of it."""

    def learner(q, k, v, block_size, key_mask=None):
        m = q.new_full((*q.shape[:-1], 1), first)
        total, out = torch.full_like(m, first_sum), q.new_zeros(*q.shape[:-1], v.shape[-1])
        if pad and key_mask is None:
            extra = -k.shape[-2] % block_size
            k, v = F.pad(k, (0, 0, 0, extra)), F.pad(v, (0, 0, 0, extra))
        for start in starts(k.shape[-2], block_size):
            block = slice(start, start + block_size + more)
            scores = cast(q @ k[..., block, :].mT * scale(q.shape[-1]))
            if key_mask is not None:
                seen = mask_block(key_mask, block)
                scores = mask(scores, seen)
            new = top(m, scores)
            for_total, for_out = factors(m, safe(new))
            p = (scores - safe(new_top(new, scores))).exp()
            p_out = p if key_mask is None else mask_p(p, seen)
            total = for_total * total + p.sum(-1, keepdim=True)
            out = each(for_out * out + p_out @ v[..., block, :], total)
            m = new
        return last(out, total)

    return learner


def newest(m, scores):
    return scores.amax(-1, keepdim=True)


def one(old, new):
    return torch.ones_like(old)


def right_factor(old, new):
    return (old - new).exp()


def inverse(old, new):
    return (new - old).exp().nan_to_num(posinf=0.0)  # the first block by hand


def blocks(q, k, v, size):
    pairs = zip(torch.split(k, size, -2), torch.split(v, size, -2), strict=True)
    return torch.stack([F.scaled_dot_product_attention(q, *pair) for pair in pairs])


def all_at_once(q, k, v, block_size, key_mask=None):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if key_mask is not None:
        scores = scores.masked_fill(~key_mask, -INF)
    return scores.softmax(-1) @ v


def row_by_row(q, k, v, block_size, key_mask=None):
    rows = [all_at_once(q[..., i : i + 1, :], k, v, 1, key_mask) for i in range(q.shape[-2])]
    return torch.cat(rows, -2)


def fused(q, k, v, block_size, key_mask=None):
    mask = None if key_mask is None else key_mask.expand(q.shape[-2], -1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def in_float32(q, k, v, *rest, **mask):
    return with_accumulator(q.float(), k.float(), v.float(), *rest, **mask)


def one_maximum_for_all(m, scores):
    return torch.maximum(m, scores.amax()).max().expand_as(m)


def by_value_width(q, k, v, *rest, **mask):
    return with_accumulator(q * (q.shape[-1] / v.shape[-1]) ** 0.5, k, v, *rest, **mask)


def causal(q, k, v, block_size, key_mask=None):
    seen = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def with_blocks(size):
    return lambda q, k, v, b, *o, **m: with_accumulator(q, k, v, size(k.shape[-2], b), *o, **m)


def masked_afterwards(q, k, v, block_size, key_mask=None):
    m = q.new_full((*q.shape[:-1], 1), -INF)
    total, out = torch.zeros_like(m), q.new_zeros(*q.shape[:-1], v.shape[-1])
    for start in range(0, k.shape[-2], block_size):
        block = slice(start, start + block_size)
        scores = q @ k[..., block, :].mT / q.shape[-1] ** 0.5
        new = torch.maximum(m, scores.amax(-1, keepdim=True))  # also of hidden keys
        p = (scores - new).exp() * (1 if key_mask is None else key_mask[block])
        factor, m = (m - new).exp(), new
        total, out = factor * total + p.sum(-1, keepdim=True), factor * out + p @ v[..., block, :]
    return out / total


def stacked_states(q, k, v, block_size, key_mask=None):
    out = q.new_empty(-(-k.shape[-2] // block_size), *q.shape[:-1], v.shape[-1])
    lse = out.new_empty(*out.shape[:-1], 1)
    for i, keys in enumerate(torch.split(k, block_size, -2)):
        values = torch.split(v, block_size, -2)[i]
        scores = q @ keys.mT / q.shape[-1] ** 0.5
        if key_mask is not None:
            scores = scores.masked_fill(~torch.split(key_mask, block_size)[i], -1e30)
        lse[i], out[i] = scores.logsumexp(-1, keepdim=True), scores.softmax(-1) @ values
    return (lse.softmax(0) * out).sum(0)


def zeros_for_nan(q, k, v, block_size, key_mask=None):
    return online(safe=lambda m: m)(q, k, v, block_size, key_mask).nan_to_num()


MISTAKES = [
    ("not divided by √d_k", online(scale=lambda d: 1)),
    ("multiplied by √d_k", online(scale=lambda d: d**0.5)),
    ("root of the width of `v`", by_value_width),
    ("No causal mask is asked for", causal),
    ("slices overlap", online(more=1)),
    ("The last key of each full block", online(more=-1)),
    ("half precision", online(cast=lambda x: x.bfloat16().to(x.dtype))),
    ("half precision", lambda *a, **o: with_accumulator(*a, **o).bfloat16()),
    ("divided by d_k; its root", online(scale=lambda d: 1 / d)),
    ("division by the sum is missing", online(last=lambda o, t: o)),
    ("Nothing is rescaled", online(factors=lambda a, b: (one(a, b), one(a, b)))),
    (
        "accumulator is not rescaled",
        online(factors=lambda a, b: (right_factor(a, b), one(a, b))),
    ),
    ("sum is not rescaled", online(factors=lambda a, b: (one(a, b), right_factor(a, b)))),
    (
        "Accumulator and sum are multiplied by the inverse",
        online(factors=lambda a, b: (inverse(a, b), inverse(a, b))),
    ),
    (
        "The accumulator is multiplied by the inverse",
        online(factors=lambda a, b: (right_factor(a, b), inverse(a, b))),
    ),
    (
        "The sum is multiplied by the inverse",
        online(factors=lambda a, b: (inverse(a, b), right_factor(a, b))),
    ),
    ("from the first block on", online(factors=lambda a, b: ((b - a).exp(),) * 2)),
    ("from the first block on", online(first=-1e9, factors=lambda a, b: ((b - a).exp(),) * 2)),
    (
        "without being brought to a common one",
        online(
            top=lambda m, s: s.amax(-1, keepdim=True), factors=lambda a, b: (one(a, b), one(a, b))
        ),
    ),
    (
        "the new block is measured against its own",
        online(new_top=lambda top, s: s.amax(-1, keepdim=True)),
    ),
    ("not of the newest block", online(top=lambda m, s: s.amax(-1, keepdim=True))),
    (
        "divided by the sum in every block, and the next",
        online(each=lambda o, t: o / t, last=lambda o, t: o),
    ),
    ("every block and once more", online(each=lambda o, t: o / t)),
    ("outputs of the blocks are averaged", lambda q, k, v, b, **o: blocks(q, k, v, b).mean(0)),
    ("outputs of the blocks are added", lambda q, k, v, b, **o: blocks(q, k, v, b).sum(0)),
    ("Only the last block counts", lambda q, k, v, b, **o: blocks(q, k, v, b)[-1]),
    ("Only the first block counts", lambda q, k, v, b, **o: blocks(q, k, v, b)[0]),
    ("the last block is shorter", online(starts=lambda m, b: range(0, m - b + 1, b))),
    ("padded with zeros", online(pad=True)),
    ("one score too many", online(first=0.0, first_sum=1.0)),
    ("a 1 too much", online(last=lambda o, t: o / (t + 1))),
    (
        "there is no softmax",
        lambda q, k, v, b, **o: q @ k.mT / q.shape[-1] ** 0.5 @ v,
    ),
    (
        "no maximum is subtracted",
        lambda q, k, v, b, **o: (q @ k.mT / q.shape[-1] ** 0.5).exp() @ v,
    ),
    ("exp overflows", online(top=lambda m, s: torch.zeros_like(m))),
    ("does it start below any score", online(first=0.0)),
    ("a maximum of its own", online(top=one_maximum_for_all)),
    ("fails in the same way", online(first=0.0)),
    ("returns 2 things in a tuple", online(last=lambda o, t: (o / t, t))),
    (
        "count dimensions from the end",
        lambda q, k, v, b, **o: with_accumulator(q, k.view(-1, k.shape[-1]), v, b, **o),
    ),
    ("the output is `torch.float32`", in_float32),
    ("computed in float32", lambda *a, **o: in_float32(*a, **o).to(a[0].dtype)),
    # hidden keys
    ("`key_mask` has no effect", online(mask=lambda s, seen: s)),
    ("read inverted", online(mask=lambda s, seen: s.masked_fill(seen, -INF))),
    ("first entries of `key_mask`", online(mask_block=lambda m, b: m[: len(m[b])])),
    ("a score of 0", online(mask=lambda s, seen: s * seen)),
    ("a nudge, not a wall", online(mask=lambda s, seen: s + seen)),
    (
        "left out of the accumulator, but not",
        online(mask=lambda s, seen: s, mask_p=lambda p, seen: p * seen),
    ),
    ("A block at the beginning has hidden keys only", online(safe=lambda m: m)),
    (
        "that is not the first has hidden keys only",
        online(top=lambda m, s: s.amax(-1, keepdim=True), safe=lambda m: m),
    ),
    ("Here `key_mask` is given", lambda q, k, v, block_size: with_accumulator(q, k, v, block_size)),
    ("before a block of hidden keys only is lost", online(top=newest)),
    ("output is 0, as if no key", zeros_for_nan),
    ("Only −∞ is below every score", online(mask=lambda s, seen: s.masked_fill(~seen, -1e4))),
    (
        "keys that are *seen*",
        masked_afterwards,
    ),
    # no matrix
    ("as many as all scores together", all_at_once),
    ("takes all 320 scores of a query at once", row_by_row),
    ("takes 160 scores of each query", with_blocks(lambda m, b: -(-m // 2))),
    ("takes 16 scores of each query", with_blocks(lambda m, b: 2 * b)),
    ("takes 40 scores of each query", with_blocks(lambda m, b: -(-m // b))),
    ("takes 319 scores of each query", with_blocks(lambda m, b: max(m - 1, 1))),
    ("Keep one state", merged_states),
    ("`new_empty` makes a tensor", stacked_states),
    ("calls PyTorch's own attention", fused),
]


@pytest.mark.filterwarnings("ignore:The use of `x.T`")
@pytest.mark.parametrize(("named", "answer"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistakes_are_named(named, answer):
    result = check.online_softmax(answer)
    assert result.status == "failed"
    assert named in result.messages
    assert "itself broke" not in result.messages


def test_the_unbroken_builder_passes():
    """Otherwise the mistakes above would prove little."""
    assert "failed" not in {o.status for o in check.online_softmax(online()).outcomes}


def test_a_second_look_at_the_keys_is_noted():
    def two_passes(q, k, v, block_size, key_mask=None):
        def scores(block):
            s = q @ k[..., block, :].mT / q.shape[-1] ** 0.5
            return s if key_mask is None else s.masked_fill(~key_mask[block], -INF)

        starts = range(0, k.shape[-2], block_size)
        blocks = [slice(start, start + block_size) for start in starts]
        top = functools.reduce(torch.maximum, (scores(b).amax(-1, keepdim=True) for b in blocks))
        total, out = 0, 0
        for block in blocks:
            p = (scores(block) - top).exp()
            total, out = total + p.sum(-1, keepdim=True), out + p @ v[..., block, :]
        return out / total

    result = check.online_softmax(two_passes)
    assert result.status != "failed"
    assert any("computes the scores 2.0 times" in note for note in result.notes)
    assert not check.online_softmax(with_accumulator).notes


def test_views_that_look_large_are_no_matrices():
    """A key expanded over all queries takes no memory."""

    def answer(q, k, v, block_size, key_mask=None):
        q.unsqueeze(-2).expand(*q.shape[:-1], k.shape[-2], q.shape[-1])
        return with_accumulator(q, k, v, block_size, key_mask)

    assert "failed" not in {o.status for o in check.online_softmax(answer).outcomes}


def test_the_first_two_tests_come_first():
    result = check.online_softmax(online(scale=lambda d: 1))
    assert [o.name for o in result.outcomes if o.name.startswith("(b)")] == [
        "(b) one block holds all keys",
        "(b) two blocks",
    ]
    assert any("harder cases" in note for note in result.notes)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"factor": 2}, "inverse"),
        ({"factor": -math.log(2)}, "exponent"),
        ({"factor": math.log(2)}, "exponential"),
        ({"factor": 1}, "leaves everything"),
        ({"factor": 0.25}, "against its own"),
        ({"factor": 4}, "against 0, and the inverse"),
        ({"sum_after": 1.625}, "as measured against 0"),
        ({"accumulator_after": 6}, "as measured against 0"),
        ({"output": 3.6923}, "as measured against 0"),
        ({"output": 2.647}, "inverse of the factor"),
        ({"output": 13.5}, "not multiplied"),
        ({"output": 1.6875}, "twice"),
        ({"sum_after": 2.75}, "not corrected"),
        ({"sum_after": 4.25}, "inverse"),
        ({"sum_after": 8}, "without a maximum"),
        ({"sum_after": 2.125}, "with what is kept, not"),
        ({"sum_after": 1.375}, "with what is kept only"),
        ({"sum_after": 1.25}, "second block alone"),
        ({"sum_after": 1.5}, "first block alone."),
        ({"sum_after": 0.75}, "first block alone, corrected"),
        ({"sum_after": 11}, "sign of the exponent"),
        ({"accumulator_after": 8.25}, "not corrected"),
        ({"accumulator_after": 11.25}, "inverse"),
        ({"accumulator_after": 27}, "without a maximum"),
        ({"accumulator_after": 3.375}, "divided by the sum already"),
        ({"accumulator_after": 5.625}, "with what is kept, not"),
        ({"accumulator_after": 4.125}, "with what is kept only"),
        ({"accumulator_after": 5.25}, "second block alone"),
        ({"accumulator_after": 3}, "first block alone"),
        ({"output": 6.75}, "has to be divided"),
        ({"output": 27}, "without the division"),
        ({"output": 3.0}, "both left uncorrected"),
        ({"output": 4.125}, "accumulator is left"),
        ({"output": 2.4545}, "sum is left"),
        ({"output": 3.1}, "mean of the averages"),
        ({"output": 6.2}, "cannot be added"),
        ({"output": 4.2}, "second block alone"),
        ({"output": 2.0}, "first block alone"),
        ({"output": 4.25}, "plain mean"),
        ({"output": 2.333}, "scores themselves"),
        ({"state_size": 64}, "not everything"),
        ({"state_size": 65}, "one number more"),
        ({"state_size": 3}, "as wide as a value"),
        ({"state_size": 67}, "One too many"),
        ({"state_size": 128}, "past blocks are not kept"),
        ({"state_size": 130}, "is an input"),
        ({"backward_size": 2}, "can be merged"),
        ({"backward_size": 0}, "another pass"),
        ({"backward_size": 66}, "ends up in the output"),
        ({"backward_size": 64}, "ends up in the output"),
        ({"exact": "a"}, "depend on their order"),
        ({"exact": "c"}, "Nothing is left out"),
        ({"exact": "d"}, "come last"),
        ({"exact": "e"}, "Choose one of"),
    ],
)
def test_wrong_numbers_are_named(answer, named):
    result = check.online_softmax(**answer)
    assert result.status == "failed"
    assert named in result.messages


# --- No answer, no sense, no leak -----------------------------------------------------------------


def placeholder(q, k, v, block_size, key_mask=None): ...


@pytest.mark.parametrize("answer", [None, ..., placeholder])
def test_an_untouched_answer_is_not_attempted(answer):
    result = check.online_softmax(answer, factor=None, exact=...)
    assert result.status == "not attempted"
    assert result.notes == ()


def test_numbers_alone_are_right_so_far():
    result = check.online_softmax(placeholder, **NUMBERS)
    assert result.status == "not attempted"
    assert "right so far" in result.headline
    assert result.notes == ()


@pytest.mark.parametrize(
    "answer",
    [
        3,
        "attention",
        [1, 2],
        torch.ones(2, 2),
        lambda: 1,
        lambda *a: "text",
        lambda *a: {},
        lambda *a: [[1], [2, 3]],
        lambda *a: torch.tensor(1.0),
        lambda *a: torch.ones(5),
        lambda *a: torch.full((2, 3), math.nan),
        lambda *a: torch.ones(2, 3, dtype=torch.complex64),
        lambda *a: torch.ones(2, 3, dtype=torch.int64),
        lambda *a: 1 / 0,
    ],
)
def test_rubbish_fails_without_an_exception(answer):
    result = check.online_softmax(answer)
    assert result.status == "failed"
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "exact"])
@pytest.mark.parametrize("rubbish", ["2", [2], {}, math.nan, 3 + 0j, object(), INF])
def test_rubbish_numbers_fail_without_an_exception(name, rubbish):
    assert check.online_softmax(**{name: rubbish}).status == "failed"


def test_no_message_shows_the_right_output():
    seen = []

    def learner(q, k, v, block_size, key_mask=None):
        seen.append(fused(q, k, v, block_size, key_mask))
        return torch.zeros(*q.shape[:-1], v.shape[-1])

    messages = check.online_softmax(learner, **dict.fromkeys(NUMBERS, 0.123)).messages
    assert "entries are not" in messages
    right = {f"{abs(x):.3f}" for out in seen for x in out.flatten().tolist() if abs(x) > 1e-3}
    assert not any(number in messages for number in {*right, "6.75", "3.375", "66", "0.5 "})
