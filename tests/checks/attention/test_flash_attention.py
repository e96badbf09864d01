import gc
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmbook import check
from llmbook.checks.engine import CheckFailedError, strict

INF = math.inf


# --- A right answer in replaceable pieces ---------------------------------------------------------


def slices(length, size):
    return [slice(i, min(i + size, length)) for i in range(0, length, size)]


def scale(q, k, v, block_q, block_k):
    return q.shape[-1] ** -0.5


def skipped(rows, cols, n, m, block_q, block_k):
    return cols.start > rows.stop - 1 + m - n


def seen(rows, cols, n, m):
    """(queries, keys) of a block, True where the query may look."""
    return torch.arange(cols.start, cols.stop) <= places(rows)[:, None] + m - n


def places(part):
    return torch.arange(part.start, part.stop)


def lowest(x):
    return torch.finfo(x.dtype).min


def update(state, s, v):
    """Take in a block of scores; the state is (maximum, sum, accumulator)."""
    top, total, acc = state
    new = torch.maximum(top, s.amax(-1, keepdim=True))
    p, shrink = (s - new).exp(), (top - new).exp()
    return new, total * shrink + p.sum(-1, keepdim=True), acc * shrink + p @ v


def finish(state):
    top, total, acc = state
    return acc / total.clamp(min=1), (top + total.log())[..., 0]


def forward(**pieces):
    """Build a forward pass; each test breaks one piece of it."""
    use = SimpleNamespace(
        slices_q=slices,
        slices_k=slices,
        scale=scale,
        skipped=skipped,
        seen=seen,
        update=update,
        finish=finish,
        start=lowest,
        empty=lambda out: out.new_zeros(out.shape),
        whole=lambda rows, cols, n, m: False,
    )
    vars(use).update(pieces)

    def learner(q, k, v, causal, block_q, block_k):
        n, m = q.shape[-2], k.shape[-2]
        out = use.empty(q.new_empty(*q.shape[:-1], v.shape[-1]))
        lse = q.new_empty(q.shape[:-1])
        for rows in use.slices_q(n, block_q):
            acc = torch.zeros_like(out[..., rows, :])
            top = torch.full_like(acc[..., :1], use.start(q))
            state = top, torch.zeros_like(top), acc
            for cols in use.slices_k(m, block_k):
                if causal and use.skipped(rows, cols, n, m, block_q, block_k):
                    continue
                s = q[..., rows, :] @ k[..., cols, :].mT * use.scale(q, k, v, block_q, block_k)
                if causal and not use.whole(rows, cols, n, m):
                    s = s.masked_fill(~use.seen(rows, cols, n, m), -INF)
                state = use.update(state, s, v[..., cols, :])
            out[..., rows, :], lse[..., rows] = use.finish(state)
        return out, lse

    return learner


def backward(**pieces):
    """Build a backward pass; each test breaks one piece of it."""
    use = SimpleNamespace(
        slices_q=slices,
        slices_k=slices,
        scale=scale,
        skipped=skipped,
        seen=seen,
        weights=lambda s, lse: (s - lse).exp(),
        lse=lambda lse: lse.clamp(min=lowest(lse))[..., None],
        delta=lambda out, d_out: (out * d_out).sum(-1, keepdim=True),
        block_delta=lambda p, dp, delta: delta,
        ds=lambda p, dp, delta: p * (dp - delta),
        dq=lambda ds, k: ds @ k,
        dk=lambda ds, q: ds.mT @ q,
        dv=lambda p, d_out: p.mT @ d_out,
        dq_scale=None,
        dk_scale=None,
        add_q=torch.add,
        add_k=torch.add,
        add_v=torch.add,
        returned=lambda *gradients: gradients,
    )
    vars(use).update(pieces)

    def learner(q, k, v, out, lse, d_out, causal, block_q, block_k):
        n, m = q.shape[-2], k.shape[-2]
        c = use.scale(q, k, v, block_q, block_k)
        dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        delta, lse = use.delta(out, d_out), use.lse(lse)
        for cols in use.slices_k(m, block_k):
            for rows in use.slices_q(n, block_q):
                if causal and use.skipped(rows, cols, n, m, block_q, block_k):
                    continue
                s = q[..., rows, :] @ k[..., cols, :].mT * c
                if causal:
                    s = s.masked_fill(~use.seen(rows, cols, n, m), -INF)
                g = d_out[..., rows, :]
                p = use.weights(s, lse[..., rows, :] if lse.ndim == q.ndim else lse[..., rows])
                dp = g @ v[..., cols, :].mT
                d = delta[..., rows, :] if delta.ndim == q.ndim else delta[..., rows]
                ds = use.ds(p, dp, use.block_delta(p, dp, d))
                cq = c if use.dq_scale is None else use.dq_scale(c)
                ck = c if use.dk_scale is None else use.dk_scale(c)
                dq[..., rows, :] = use.add_q(dq[..., rows, :], use.dq(ds, k[..., cols, :]) * cq)
                dk[..., cols, :] = use.add_k(dk[..., cols, :], use.dk(ds, q[..., rows, :]) * ck)
                dv[..., cols, :] = use.add_v(dv[..., cols, :], use.dv(p, g))
        return use.returned(dq, dk, dv)

    return learner


def function(run_forward=None, run_backward=None, nones=3, save=None):
    """Build an autograd.Function."""
    run_forward, run_backward = run_forward or forward(), run_backward or backward()

    class Flash(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v, causal, block_q, block_k):
            out, lse = run_forward(q, k, v, causal, block_q, block_k)
            ctx.save_for_backward(q, k, v, out, lse)
            ctx.options = causal, block_q, block_k
            if save is not None:
                ctx.more = save(q, k)
            return out

        @staticmethod
        def backward(ctx, d_out):
            return *run_backward(*ctx.saved_tensors, d_out, *ctx.options), *[None] * nones

    return Flash


# --- Right answers --------------------------------------------------------------------------------


def normalized_as_it_goes(q, k, v, causal, block_q, block_k):
    """As in the first FlashAttention: keys outside, the output always divided."""
    n, m = q.shape[-2], k.shape[-2]
    out = q.new_zeros(*q.shape[:-1], v.shape[-1])
    top, total = q.new_full(q.shape[:-1], -INF), q.new_zeros(q.shape[:-1])
    for k0 in range(0, m, block_k):
        kj, vj = k[..., k0 : k0 + block_k, :], v[..., k0 : k0 + block_k, :]
        for q0 in range(0, n, block_q):
            rows = slice(q0, min(q0 + block_q, n))
            if causal and rows.stop - 1 + m - n < k0:
                continue
            s = torch.einsum("...id,...jd->...ij", q[..., rows, :], kj) / math.sqrt(q.shape[-1])
            if causal:
                i = torch.arange(rows.start, rows.stop).view(-1, 1) + (m - n)
                s = torch.where(torch.arange(k0, k0 + kj.shape[-2]) > i, -INF, s)
            new = torch.maximum(top[..., rows], s.max(-1).values)
            safe = torch.where(new == -INF, torch.zeros_like(new), new)
            p = torch.exp(s - safe[..., None])
            old = torch.exp(top[..., rows] - safe) * total[..., rows]
            both = old + p.sum(-1)
            one = torch.where(both == 0, torch.ones_like(both), both)
            out[..., rows, :] = (old[..., None] * out[..., rows, :] + p @ vj) / one[..., None]
            top[..., rows], total[..., rows] = new, both
    return [out, top + total.log()]


def merged_by_log_sum_exp(q, k, v, causal, block_q, block_k):
    """Softmax of each block, merged with the weights that the log-sum-exps give."""
    q_blocks, outs, lses = q.split(block_q, -2), [], []
    n, m = q.shape[-2], k.shape[-2]
    i0 = m - n
    for q_block in q_blocks:
        out = q.new_zeros(*q_block.shape[:-1], v.shape[-1])
        lse = q.new_full(q_block.shape[:-1], -INF)
        i = torch.arange(i0, i0 + q_block.shape[-2])
        j0 = 0
        for k_block, v_block in zip(k.split(block_k, -2), v.split(block_k, -2), strict=True):
            if causal and j0 > i[-1]:
                break
            s = q_block @ k_block.transpose(-1, -2) * q.shape[-1] ** -0.5
            j = torch.arange(j0, j0 + k_block.shape[-2])
            if causal:
                s = s + torch.where(j[None] <= i[:, None], 0.0, -INF)
            both = torch.logaddexp(lse, s.logsumexp(-1))
            safe = both.clamp_min(torch.finfo(q.dtype).min)
            out = out * (lse - safe).exp()[..., None] + (s - safe[..., None]).exp() @ v_block
            lse = both
            j0 += k_block.shape[-2]
        outs.append(out)
        lses.append(lse)
        i0 += q_block.shape[-2]
    return torch.cat(outs, -2), torch.cat(lses, -1)


def in_base_two(q, k, v, causal, block_q, block_k):
    """Powers of 2 inside, and q scaled once; keys padded, the padding masked."""
    n, m = q.shape[-2], k.shape[-2]
    pad = -m % block_k
    k, v = F.pad(k, (0, 0, 0, pad)), F.pad(v, (0, 0, 0, pad))
    q = q * (math.log2(math.e) / q.shape[-1] ** 0.5)
    out, lse = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype), torch.zeros_like(q[..., 0])
    for a in range(0, n, block_q):
        b = min(a + block_q, n)
        top, total, acc = -1e30, 0.0, 0.0
        end = max(0, min(m + pad, b + m - n)) if causal else m + pad
        for c in range(0, end, block_k):
            s = q[..., a:b, :] @ k[..., c : c + block_k, :].mT
            j = torch.arange(c, c + block_k)
            i = torch.arange(a, b)[:, None]
            s[..., (j >= m) | (causal & (j - i > m - n))] = -INF
            new = s.amax(-1, keepdim=True).clamp(min=-1e30)
            new = new.maximum(torch.as_tensor(top, dtype=q.dtype))
            p, shrink = torch.exp2(s - new), torch.exp2(top - new)
            total, acc = (
                total * shrink + p.sum(-1, True),
                acc * shrink + p @ v[..., c : c + block_k, :],
            )
            top = new
        if end == 0:
            out[..., a:b, :], lse[..., a:b] = 0.0, -INF
            continue
        out[..., a:b, :] = torch.where(total > 0, acc / total, 0.0)
        lse[..., a:b] = ((top + total.log2()) * math.log(2))[..., 0]
    return out, lse


def with_numpy(q, k, v, causal, block_q, block_k):
    return tuple(x.numpy() for x in forward()(q, k, v, causal, block_q, block_k))


def in_numpy(q, k, v, causal, block_q, block_k):
    """Without PyTorch's products, so that none can be counted."""
    q, k, v = (x.numpy() for x in (q, k, v))
    n, m = q.shape[-2], k.shape[-2]
    out = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
    lse = np.full(q.shape[:-1], -INF, q.dtype)
    for rows in slices(n, block_q):
        for cols in slices(m, block_k):
            s = q[..., rows, :] @ k[..., cols, :].swapaxes(-1, -2) / math.sqrt(q.shape[-1])
            if causal:
                s = np.where(seen(rows, cols, n, m).numpy(), s, -INF)
            with np.errstate(divide="ignore"):
                top = np.maximum(s.max(-1, keepdims=True), -1e30)
                new = top[..., 0] + np.log(np.exp(s - top).sum(-1))
            both = np.logaddexp(lse[..., rows], new)
            safe = np.maximum(both, -1e30)
            out[..., rows, :] *= np.exp(lse[..., rows] - safe)[..., None]
            out[..., rows, :] += np.exp(s - safe[..., None]) @ v[..., cols, :]
            lse[..., rows] = both
    return out, lse


def head_by_head(q, k, v, causal, block_q, block_k):
    if q.ndim == 2:
        return forward()(q, k, v, causal, block_q, block_k)
    parts = [head_by_head(*x, causal, block_q, block_k) for x in zip(q, k, v, strict=True)]
    return tuple(torch.stack(x) for x in zip(*parts, strict=True))


def in_float64_inside(q, k, v, causal, block_q, block_k):
    out, lse = forward()(q.double(), k.double(), v.double(), causal, block_q, block_k)
    return out.to(q.dtype), lse.to(q.dtype)


def with_reference_cycles(q, k, v, causal, block_q, block_k):
    """Leaves tensors behind that only the garbage collector can free."""

    def litter():
        waste = [torch.zeros(500) for _ in range(8)]
        waste.append(waste)

    for _ in range(2):
        litter()
    return forward()(q, k, v, causal, block_q, block_k)


RIGHT_FORWARD = {
    "FlashAttention-2": forward(),
    "FlashAttention, keys outside": normalized_as_it_goes,
    "merged by log-sum-exp": merged_by_log_sum_exp,
    "base 2, padded": in_base_two,
    "NumPy arrays": with_numpy,
    "head by head": head_by_head,
    "float64 inside": in_float64_inside,
    "with garbage": with_reference_cycles,
    "skipped with one block to spare": forward(
        skipped=lambda rows, cols, n, m, bq, bk: cols.start > rows.stop - 1 + m - n + bk
    ),
    "NumPy alone": in_numpy,
}


@pytest.mark.parametrize("answer", RIGHT_FORWARD.values(), ids=RIGHT_FORWARD)
def test_right_forward_passes(answer):
    result = check.flash_attention(forward=answer)
    assert {o.status for o in result.outcomes if o.name.startswith("(a)")} == {"passed"}, result
    assert result.status == "not attempted"
    assert len([o for o in result.outcomes if o.status == "passed"]) == 11


def queries_outside(q, k, v, out, lse, d_out, causal, block_q, block_k):
    """The loops the other way around, the scale in q, dq gathered in a list."""
    n, m = q.shape[-2], k.shape[-2]
    c = 1 / math.sqrt(q.shape[-1])
    scaled = q * c
    delta = torch.linalg.vecdot(d_out, out)[..., None]
    dk, dv, dqs = torch.zeros_like(k), torch.zeros_like(v), []
    for a in range(0, n, block_q):
        qi, gi = scaled[..., a : a + block_q, :], d_out[..., a : a + block_q, :]
        dqi = torch.zeros_like(qi)
        i = torch.arange(a, a + qi.shape[-2])[:, None]
        for b in range(0, m, block_k):
            if causal and b > a + qi.shape[-2] - 1 + m - n:
                break
            kj, vj = k[..., b : b + block_k, :], v[..., b : b + block_k, :]
            p = torch.exp(qi @ kj.mT - lse[..., a : a + block_q, None])
            if causal:
                p = torch.where(i + m - n >= torch.arange(b, b + kj.shape[-2]), p, 0.0)
            ds = p * (gi @ vj.mT - delta[..., a : a + block_q, :])
            dv[..., b : b + block_k, :] += p.mT @ gi
            dk[..., b : b + block_k, :] += ds.mT @ qi
            dqi += ds @ kj
        dqs.append(dqi * c)
    return [torch.cat(dqs, -2), dk, dv]


def by_autograd_of_blocks(q, k, v, out, lse, d_out, causal, block_q, block_k):
    """Differentiate each block by autograd, with L as a constant and D put in by hand."""
    n, m = q.shape[-2], k.shape[-2]
    gradients = [torch.zeros_like(x) for x in (q, k, v)]
    delta = (d_out * out).sum(-1, keepdim=True)
    for rows in slices(n, block_q):
        for cols in slices(m, block_k):
            if causal and skipped(rows, cols, n, m, block_q, block_k):
                continue
            parts = q[..., rows, :], k[..., cols, :], v[..., cols, :]
            with torch.enable_grad():
                qi, kj, vj = (x.detach().requires_grad_() for x in parts)
                s = qi @ kj.mT / math.sqrt(q.shape[-1])
                if causal:
                    s = s.masked_fill(~seen(rows, cols, n, m), -INF)
                p = (s - lse[..., rows, None].clamp(min=-1e30)).exp()
                g = d_out[..., rows, :]
                loss = (p @ vj * g).sum() - (p * delta[..., rows, :]).sum()
                pieces = torch.autograd.grad(loss, (qi, kj, vj))
            for total, part, piece in zip(gradients, (rows, cols, cols), pieces, strict=True):
                total[..., part, :] += piece
    return tuple(gradients)


def through_numpy(*arguments):
    return tuple(x.numpy() for x in backward()(*arguments))


RIGHT_BACKWARD = {
    "FlashAttention-2": backward(),
    "queries outside": queries_outside,
    "autograd of blocks": by_autograd_of_blocks,
    "NumPy arrays": through_numpy,
    "D from the weights of whole rows": backward(
        delta=lambda out, d_out: torch.einsum("...d,...d->...", out, d_out).unsqueeze(-1)
    ),
}


@pytest.mark.parametrize("answer", RIGHT_BACKWARD.values(), ids=RIGHT_BACKWARD)
def test_right_backward_passes(answer):
    result = check.flash_attention(backward=answer)
    assert {o.status for o in result.outcomes if o.name.startswith("(b)")} == {"passed"}, result


class AsModule(nn.Module):
    def forward(self, q, k, v, causal, block_q, block_k):
        return function().apply(q, k, v, causal, block_q, block_k)


class WithSetup(torch.autograd.Function):
    """Forward without a context, in the newer style; the log-sum-exp is an output."""

    @staticmethod
    def forward(q, k, v, causal, block_q, block_k):
        return normalized_as_it_goes(q, k, v, causal, block_q, block_k)[0]

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])
        ctx.options = inputs[3:]

    @staticmethod
    def backward(ctx, d_out):
        out, lse = normalized_as_it_goes(*ctx.saved_tensors, *ctx.options)
        return *queries_outside(*ctx.saved_tensors, out, lse, d_out, *ctx.options), None, None, None


RIGHT_ATTENTION = {
    "apply": function().apply,
    "the class itself": function(),
    "a module": AsModule(),
    "setup_context, all computed again": WithSetup.apply,
    "another order": function(normalized_as_it_goes, queries_outside).apply,
    "a function around it": lambda q, k, v, c, a, b: function().apply(q, k, v, c, a, b),
}


@pytest.mark.parametrize("answer", RIGHT_ATTENTION.values(), ids=RIGHT_ATTENTION)
def test_right_attention_passes(answer):
    result = check.flash_attention(forward(), attention=answer)
    assert result.passed, result
    assert not any(o.name.startswith("(b)") for o in result.outcomes)


def test_all_three_pass():
    result = check.flash_attention(forward(), backward(), function().apply)
    assert result.passed, result
    assert len(result.outcomes) == 23


def test_strict_mode_raises_only_for_what_is_wrong():
    with strict():
        assert check.flash_attention(forward(), None, function().apply).passed
        with pytest.raises(CheckFailedError, match="never divided"):
            check.flash_attention(forward(finish=lambda state: (state[2], state[0][..., 0])))


# --- Wrong forward passes -------------------------------------------------------------------------


def update_with(*, p=None, total=None, acc=None, top=None):
    """An update in which one of the lines is another."""

    def wrong(state, s, v):
        old, old_total, old_acc = state
        new = torch.maximum(old, s.amax(-1, keepdim=True))
        names = SimpleNamespace(old=old, new=new, s=s, v=v, shrink=(old - new).exp())
        names.p = (s - new).exp() if p is None else p(names)
        names.sum = names.p.sum(-1, keepdim=True)
        next_total = (
            old_total * names.shrink + names.sum if total is None else total(old_total, names)
        )
        names.total = next_total
        next_acc = old_acc * names.shrink + names.p @ v if acc is None else acc(old_acc, names)
        return (new if top is None else top(names)), next_total, next_acc

    return wrong


def inverse(x):
    """1/shrink, and 1 before the first block."""
    return (x.new - x.old.where(x.old > -1e30, x.new)).exp()


def own_maximum_everywhere(state, s, v):
    top, total, acc = state
    new = s.amax(-1, keepdim=True)
    p, shrink = (s - new).exp(), (top - new).exp()
    return new, total * shrink + p.sum(-1, keepdim=True), acc * shrink + p @ v


def softmax_of_blocks(state, s, v):
    top, total, acc = state
    return top, total + 1, acc + s.softmax(-1).nan_to_num(0.0) @ v


def whole_blocks(length, size):
    return [slice(i, i + size) for i in range(0, length - size + 1, size)]


def padded_with_zeros(q, k, v, causal, block_q, block_k):
    pad = -k.shape[-2] % block_k
    if causal:
        return forward()(q, k, v, causal, block_q, block_k)
    k, v = F.pad(k, (0, 0, 0, pad)), F.pad(v, (0, 0, 0, pad))
    return forward()(q, k, v, causal, block_q, block_k)


def local(rows, cols, n, m):
    return torch.arange(cols.stop - cols.start) <= torch.arange(rows.stop - rows.start)[:, None]


def below(rows, cols, n, m):
    """The block lies below the diagonal as a whole."""
    return cols.stop - 1 <= rows.start + m - n


def naive(q, k, v, causal, block_q, block_k):
    n, m = q.shape[-2], k.shape[-2]
    s = q @ k.mT / q.shape[-1] ** 0.5
    if causal:
        s = s.masked_fill(~torch.ones(n, m, dtype=torch.bool).tril(m - n), -INF)
    return s.softmax(-1).nan_to_num(0.0) @ v, s.logsumexp(-1)


def with_sdpa(q, k, v, causal, block_q, block_k):
    out, lse = forward()(q, k, v, causal, block_q, block_k)
    return (F.scaled_dot_product_attention(q, k, v) if not causal else out), lse


def whole_mask(rows, cols, n, m):
    return torch.ones(n, m, dtype=torch.bool).tril(m - n)[rows, cols]


def mask_always(q, k, v, causal, block_q, block_k):
    torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool)
    return forward()(q, k, v, causal, block_q, block_k)


def strips(q, k, v, causal, block_q, block_k):
    return forward()(q, k, v, causal, block_q, max(k.shape[-2], 1))


def hoarder(q, k, v, causal, block_q, block_k):
    kept = []

    def keep(state, s, v):
        kept.append(s.clone())
        return update(state, s, v)

    return forward(update=keep)(q, k, v, causal, block_q, block_k)


def float32_inside(q, k, v, causal, block_q, block_k):
    out, lse = forward()(q.float(), k.float(), v.float(), causal, block_q, block_k)
    return out.to(q.dtype), lse.to(q.dtype)


def with_lse(change):
    def learner(*arguments):
        out, lse = forward()(*arguments)
        return out, change(lse)

    return learner


def lse_of(read):
    return forward(finish=lambda state: (finish(state)[0], read(*state)[..., 0]))


def with_whole_mask_if_causal(q, k, v, causal, block_q, block_k):
    if causal:
        torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool)
    return forward()(q, k, v, causal, block_q, block_k)


def naive_if_causal(*arguments):
    return naive(*arguments) if arguments[3] else forward()(*arguments)


def to_the_number_of_queries(cut):
    """Blocks of keys up to n instead of m, the last one cut off at n or not."""

    def learner(q, k, v, causal, block_q, block_k):
        n, m = q.shape[-2], k.shape[-2]
        end = n if cut else -(-n // block_k) * block_k

        def keys(length, size):
            return [slice(i, min(i + size, end, m)) for i in range(0, min(n, m), size)]

        return forward(slices_k=keys)(q, k, v, causal, block_q, block_k)

    return learner


def empty_blocks(q, k, v, causal, block_q, block_k):
    n = q.shape[-2]
    keys = [slice(i, i + block_k) for i in range(0, max(n, k.shape[-2]) + block_k, block_k)]
    return forward(slices_k=lambda *a: keys)(q, k, v, causal, block_q, block_k)


def very_low_mask(**pieces):
    """Masked scores are -1e9."""

    def take(state, s, v):
        return update(state, s.clamp(min=-1e9), v)

    return forward(update=take, **pieces)


FORWARD_MISTAKES = {
    "accumulator not rescaled": (
        forward(update=update_with(acc=lambda acc, x: acc + x.p @ x.v)),
        "The accumulator is not rescaled",
    ),
    "sum not rescaled": (
        forward(update=update_with(total=lambda total, x: total + x.sum)),
        "The sum of the exponentials is not rescaled",
    ),
    "neither rescaled": (
        forward(
            update=update_with(
                total=lambda total, x: total + x.sum, acc=lambda acc, x: acc + x.p @ x.v
            )
        ),
        "Neither the accumulator nor the sum is rescaled",
    ),
    "maximum of the block in p": (
        forward(update=update_with(p=lambda x: (x.s - x.s.amax(-1, keepdim=True)).exp())),
        "against the maximum of that block alone",
    ),
    "own maximum, nothing rescaled": (
        forward(
            update=update_with(
                p=lambda x: (x.s - x.s.amax(-1, keepdim=True)).exp(),
                total=lambda total, x: total + x.sum,
                acc=lambda acc, x: acc + x.p @ x.v,
            )
        ),
        "Each block is measured against its own maximum",
    ),
    "maximum of the newest block": (
        forward(update=own_maximum_everywhere),
        "that of *all* keys so far, and not that of the newest block",
    ),
    "no maximum": (
        forward(
            update=update_with(
                p=lambda x: x.s.exp(),
                total=lambda total, x: total + x.sum,
                acc=lambda acc, x: acc + x.p @ x.v,
            ),
            finish=lambda state: (state[2] / state[1], state[1].log()[..., 0]),
        ),
        "exp overflows",
    ),
    "factor upside down": (
        forward(
            update=update_with(
                acc=lambda acc, x: acc * inverse(x) + x.p @ x.v,
                total=lambda total, x: total * inverse(x) + x.sum,
            )
        ),
        "it is upside down",
    ),
    "factor upside down in the accumulator": (
        forward(update=update_with(acc=lambda acc, x: acc * inverse(x) + x.p @ x.v)),
        "it is upside down",
    ),
    "divided in every block": (
        forward(
            update=update_with(acc=lambda acc, x: (acc * x.shrink + x.p @ x.v) / x.total),
            finish=lambda state: (state[2], (state[0] + state[1].log())[..., 0]),
        ),
        "divided by the sum after every block",
    ),
    "never divided": (
        forward(finish=lambda state: (state[2], finish(state)[1])),
        "never divided by the sum",
    ),
    "softmax of each block, added": (
        forward(update=softmax_of_blocks, finish=lambda s: (s[2], s[0][..., 0])),
        "by itself and the results are added",
    ),
    "softmax of each block, averaged": (
        forward(update=softmax_of_blocks, finish=lambda s: (s[2] / s[1], s[0][..., 0])),
        "by itself and the results are averaged",
    ),
    "overwritten": (
        forward(
            update=update_with(
                total=lambda total, x: x.sum, acc=lambda acc, x: x.p @ x.v, top=lambda x: x.old
            ),
        ),
        "last block of keys alone",
    ),
    "no scale": (forward(scale=lambda *a: 1.0), "not divided by √d"),
    "scale 1/d": (forward(scale=lambda q, *a: 1 / q.shape[-1]), "its square root is meant"),
    "times √d": (forward(scale=lambda q, *a: q.shape[-1] ** 0.5), "multiplied by √d"),
    "scale of n": (forward(scale=lambda q, *a: q.shape[-2] ** -0.5), "divided by √n"),
    "scale of block_k": (
        forward(scale=lambda q, k, v, a, b: b**-0.5),
        "divided by the square root of `block_k`",
    ),
    "start at minus infinity": (forward(start=lambda q: -INF), "queries may look at no key"),
    "last keys dropped": (forward(slices_k=whole_blocks), "with fewer than `block_k` keys"),
    "last queries dropped": (forward(slices_q=whole_blocks), "with fewer than `block_q` rows"),
    "last queries never written": (
        forward(slices_q=whole_blocks, empty=lambda out: out.fill_(math.nan)),
        "Is memory read that was never written?",
    ),
    "keys padded with zeros": (padded_with_zeros, "filled up with zeros"),
    "no mask": (
        forward(skipped=lambda *a: False, seen=lambda *a: torch.tensor(True)),
        "`causal` has no effect",
    ),
    "crossing blocks not masked": (
        forward(seen=lambda *a: torch.tensor(True)),
        "that the diagonal crosses are not masked",
    ),
    "crossing blocks skipped": (
        forward(skipped=lambda rows, cols, n, m, *a: cols.stop - 1 > rows.start + m - n),
        "skipped altogether",
    ),
    "places in the block": (
        forward(seen=local, whole=below),
        "Places inside a block are compared",
    ),
    "places in the block, every block": (forward(seen=local), "Places inside a block are compared"),
    "numbers of blocks": (
        forward(skipped=lambda r, c, n, m, bq, bk: c.start // bk > r.start // bq),
        "comparing the *numbers* of the blocks",
    ),
    "aligned at the beginning": (
        forward(
            skipped=lambda rows, cols, *a: cols.start > rows.stop - 1,
            seen=lambda rows, cols, n, m: places(cols) <= places(rows)[:, None],
        ),
        "aligned at the beginning",
    ),
    "offset of the wrong sign": (
        forward(
            skipped=lambda *a: False,
            seen=lambda rows, cols, n, m: places(cols) <= places(rows)[:, None] - (m - n),
        ),
        "wrong sign: it is m − n",
    ),
    "diagonal masked": (
        forward(
            skipped=lambda *a: False,
            seen=lambda rows, cols, n, m: places(cols) < places(rows)[:, None] + m - n,
        ),
        "The diagonal is masked",
    ),
    "one key too many": (
        forward(
            skipped=lambda *a: False,
            seen=lambda rows, cols, n, m: places(cols) <= places(rows)[:, None] + m - n + 1,
        ),
        "one key too many",
    ),
    "mask transposed": (
        forward(
            skipped=lambda *a: False,
            seen=lambda rows, cols, n, m: places(cols) >= places(rows)[:, None] + m - n,
        ),
        "The mask is transposed",
    ),
    "always causal": (
        lambda q, k, v, causal, a, b: forward()(q, k, v, True, a, b),
        "although `causal` is False",
    ),
    "lse without the maximum": (
        lse_of(lambda top, total, acc: total.log()),
        "the maximum has to be added",
    ),
    "lse is the maximum": (lse_of(lambda top, total, acc: top), "the logarithm of the sum is miss"),
    "lse is the sum": (lse_of(lambda top, total, acc: total), "without a logarithm"),
    "sum without logarithm": (
        lse_of(lambda top, total, acc: top + total),
        "without taking its logarithm",
    ),
    "lse in base 2": (with_lse(lambda lse: lse / math.log(2)), "This is in base 2"),
    "logarithm in base 2": (
        lse_of(lambda top, total, acc: top + total.log2()),
        "logarithm of the sum is taken in base 2",
    ),
    "maximum subtracted": (
        lse_of(lambda top, total, acc: total.log() - top),
        "The maximum is subtracted",
    ),
    "lse negative": (with_lse(lambda lse: -lse.clamp(min=-100)), "The sign is wrong"),
    "lse exponentiated": (with_lse(torch.exp), "This is the exponential of it"),
    "lse with another dimension": (with_lse(lambda lse: lse[..., None]), "drop the last dimension"),
    "lse 0 without keys": (
        with_lse(lambda lse: lse.where(lse.isfinite(), 0.0)),
        "logarithm of an empty sum",
    ),
    "output alone": (lambda *a: forward()(*a)[0], "Return two things"),
    "three things": (lambda *a: (*forward()(*a), None), "Your function returns 3 things"),
    "the naive form": (naive, "the very matrix that FlashAttention avoids"),
    "the naive form if causal": (naive_if_causal, "causal=True and blocks of 16 × 8, your code"),
    "a whole mask if causal": (with_whole_mask_if_causal, "a mask for every pair"),
    "no block is skipped": (
        forward(skipped=lambda *a: False),
        "Skip them, before their scores are computed",
    ),
    "skipping is off by one": (
        forward(skipped=lambda rows, cols, n, m, *a: cols.start >= rows.stop - 1 + m - n),
        "the comparison that skips blocks is off by one",
    ),
    "masked scores are low": (very_low_mask(), "has to be −∞, not only very low"),
    "masked scores are low, no block skipped": (
        very_low_mask(skipped=lambda *a: False),
        "has to be −∞, not only very low",
    ),
    "last queries and keys dropped": (
        forward(slices_q=whole_blocks, slices_k=whole_blocks),
        "those of queries and of keys",
    ),
    "keys up to n": (to_the_number_of_queries(True), "as far as there are *queries*"),
    "blocks of keys up to n": (to_the_number_of_queries(False), "as far as there are *queries*"),
    "an empty block": (empty_blocks, "A block is empty"),
    "factor upside down from the lowest number": (
        forward(update=update_with(acc=lambda acc, x: acc * (x.new - x.old).exp() + x.p @ x.v)),
        "rescales the old sums upside down?",
    ),
    "scale of d_v": (forward(scale=lambda q, k, v, *a: v.shape[-1] ** -0.5), "divided by √d_v"),
    "lse first": (lambda *a: forward()(*a)[::-1], "in the other order"),
    "PyTorch's attention": (with_sdpa, "calls PyTorch's own attention"),
    "a whole mask": (mask_always, "a mask for every pair"),
    "strips": (strips, "Let both loops run"),
    "all blocks kept": (hoarder, "the blocks are kept when they are no longer needed"),
    "float32 inside": (float32_inside, "right to about 7 digits only"),
    "float32 out": (
        lambda q, k, v, *a: forward()(q.float(), k.float(), v.float(), *a),
        "the output is `torch.float32`",
    ),
    "five arguments": (lambda q, k, v, causal, block: None, "passed by position"),
}


@pytest.mark.parametrize(("answer", "named"), FORWARD_MISTAKES.values(), ids=FORWARD_MISTAKES)
def test_mistakes_of_the_forward_pass_are_named(answer, named):
    result = check.flash_attention(forward=answer)
    assert result.status == "failed"
    assert named in result.messages, result
    assert "check itself broke" not in result.messages


def test_the_unbroken_builders_pass():
    """Otherwise the mistakes would prove little."""
    answer = forward(update=update_with())
    assert check.flash_attention(answer, backward(), function().apply).passed


ONE_DIAGNOSIS = ["places in the block", "skipping is off by one", "scale of d_v", "diagonal masked"]


@pytest.mark.parametrize("name", ONE_DIAGNOSIS)
def test_a_mistake_gets_one_name(name):
    answer, named = FORWARD_MISTAKES[name]
    failed = [o for o in check.flash_attention(answer).outcomes if o.status == "failed"]
    assert failed
    assert all(named in o.message for o in failed), [o.message for o in failed]


@pytest.mark.parametrize("name", ["no scale", "accumulator not rescaled", "naive"])
def test_a_mistake_is_named_in_the_first_test_that_can_tell(name):
    answer = {"naive": naive}.get(name) or FORWARD_MISTAKES[name][0]
    result = check.flash_attention(forward=answer)
    first = next(o for o in result.outcomes if o.status == "failed")
    expected = {"no scale": "one block", "accumulator not rescaled": "several", "naive": "memory"}
    assert expected[name] in first.name


# --- Wrong backward passes ------------------------------------------------------------------------


def replace(old, new):
    return new


BACKWARD_MISTAKES = {
    "no D": (backward(ds=lambda p, dp, delta: p * dp), "The term D"),
    "D added": (backward(ds=lambda p, dp, delta: p * (dp + delta)), "The term D is added"),
    "D of the block": (
        backward(block_delta=lambda p, dp, delta: (p * dp).sum(-1, keepdim=True)),
        "over the keys of the block only",
    ),
    "D without O": (
        backward(delta=lambda out, d_out: d_out.sum(-1, keepdim=True)),
        "O is missing in it",
    ),
    "D without dO": (
        backward(delta=lambda out, d_out: out.sum(-1, keepdim=True)),
        "dO is missing in it",
    ),
    "D of dO twice": (
        backward(delta=lambda out, d_out: d_out.square().sum(-1, keepdim=True)),
        "row sum of dO ∘ dO",
    ),
    "D of O twice": (
        backward(delta=lambda out, d_out: out.square().sum(-1, keepdim=True)),
        "row sum of O ∘ O",
    ),
    "D is a mean": (
        backward(delta=lambda out, d_out: (out * d_out).mean(-1, keepdim=True)),
        "it is the sum",
    ),
    "D along the columns": (
        backward(delta=lambda out, d_out: (out * d_out).sum(-1)),
        "meets the *rows* of a block",
    ),
    "lse along the columns": (
        backward(lse=lambda lse: lse),
        "meets the *rows* of a block",
    ),
    "no derivative of the softmax": (backward(ds=lambda p, dp, delta: dp), "dP is used as dS"),
    "P missing in dS": (backward(ds=lambda p, dp, delta: dp - delta), "The factor P is missing"),
    "no scale": (
        backward(dq_scale=lambda c: 1.0, dk_scale=lambda c: 1.0),
        "The factor 1/√d is missing",
    ),
    "no scale in dq": (
        backward(dq_scale=lambda c: 1.0),
        "`dq` is not right. The factor 1/√d is missing",
    ),
    "no scale in dk": (
        backward(dk_scale=lambda c: 1.0),
        "`dk` is not right. The factor 1/√d is missing",
    ),
    "scale twice": (
        backward(dq_scale=lambda c: c * c, dk_scale=lambda c: c * c),
        "The factor 1/√d is applied twice",
    ),
    "scores not scaled": (
        backward(scale=lambda *a: 1.0),
        "The recomputed scores are not divided by √d",
    ),
    "scale in dv": (
        backward(dv=lambda p, g: p.mT @ g / math.sqrt(3)),
        "does not belong into the gradient of the values",
    ),
    "weights without lse": (
        backward(weights=lambda s, lse: s.exp()),
        "without the log-sum-exp",
    ),
    "lse added": (backward(weights=lambda s, lse: (s + lse).exp()), "log-sum-exp is added"),
    "softmax of the block": (
        backward(weights=lambda s, lse: s.softmax(-1).nan_to_num(0.0)),
        "softmax of each block by itself",
    ),
    "dk overwritten": (backward(add_k=replace), "`dk` is not right. It is overwritten by each"),
    "dv overwritten": (backward(add_v=replace), "`dv` is not right. It is overwritten by each"),
    "dq overwritten": (backward(add_q=replace), "`dq` is not right. It is overwritten by each"),
    "dS transposed for dq": (
        backward(dq=lambda ds, k: ds.mT @ k),
        "which factor has to be transposed?",
    ),
    "dS not transposed for dk": (
        backward(dk=lambda ds, q: ds @ q),
        "which factor has to be transposed?",
    ),
    "P not transposed": (backward(dv=lambda p, g: p @ g), "which factor has to be transposed?"),
    "no mask": (
        backward(skipped=lambda *a: False, seen=lambda *a: torch.tensor(True)),
        "In the recomputed weights: `causal` has no effect",
    ),
    "crossing blocks not masked": (
        backward(seen=lambda *a: torch.tensor(True)),
        "In the recomputed weights: blocks above the diagonal are skipped",
    ),
    "aligned at the beginning": (
        backward(
            skipped=lambda rows, cols, *a: cols.start > rows.stop - 1,
            seen=lambda rows, cols, n, m: places(cols) <= places(rows)[:, None],
        ),
        "aligned at the beginning",
    ),
    "last keys dropped": (
        backward(slices_k=whole_blocks),
        "The last, shorter block of keys is left out",
    ),
    "last queries dropped": (
        backward(slices_q=whole_blocks),
        "The last, shorter block of queries is left out",
    ),
    "keys up to n": (
        backward(slices_k=lambda length, size: slices(min(length, 7), size)),
        "as far as there are *queries*",
    ),
    "skipping is off by one": (
        backward(skipped=lambda rows, cols, n, m, *a: cols.start >= rows.stop - 1 + m - n),
        "the comparison that skips blocks is off by one",
    ),
    "no block is skipped": (
        backward(skipped=lambda *a: False),
        "Skip them, before their scores are computed",
    ),
    "sign": (backward(returned=lambda dq, dk, dv: (-dq, -dk, dv)), "`dq` is not right. The sign"),
    "masked scores are low": (
        backward(weights=lambda s, lse: (s.clamp(min=-1e9) - lse).exp()),
        "very low, but not −∞",
    ),
    "the whole matrix if causal": (
        lambda q, k, v, out, lse, g, c, a, b: backward()(
            q, k, v, out, lse, g, c, *((q.shape[-2], k.shape[-2]) if c else (a, b))
        ),
        "causal=True and blocks of 16 × 8, your code",
    ),
    "both dropped": (
        backward(slices_q=whole_blocks, slices_k=whole_blocks),
        "The last, shorter block",
    ),
    "NaN without keys": (
        backward(lse=lambda lse: lse[..., None]),
        "−∞ − (−∞) is NaN",
    ),
    "another order": (
        backward(returned=lambda dq, dk, dv: (dv, dk, dq)),
        "not in the order `(dq, dk, dv)`",
    ),
    "two of them": (backward(returned=lambda dq, dk, dv: (dq, dk)), "your function returns 2"),
    "a None": (backward(returned=lambda dq, dk, dv: (dq, None, dv)), "`dk` is None"),
    "the whole matrix": (
        lambda q, k, v, out, lse, g, c, a, b: backward()(
            q, k, v, out, lse, g, c, q.shape[-2], k.shape[-2]
        ),
        "the very matrix that FlashAttention avoids",
    ),
    "strips of queries": (
        lambda q, k, v, out, lse, g, c, a, b: backward()(q, k, v, out, lse, g, c, q.shape[-2], b),
        "Let both loops run",
    ),
}


@pytest.mark.parametrize(("answer", "named"), BACKWARD_MISTAKES.values(), ids=BACKWARD_MISTAKES)
def test_mistakes_of_the_backward_pass_are_named(answer, named):
    result = check.flash_attention(backward=answer)
    assert result.status == "failed"
    assert named in result.messages, result
    assert "check itself broke" not in result.messages


# --- Wrong differentiable functions ---------------------------------------------------------------


def by_autograd(q, k, v, causal, block_q, block_k):
    """Tiled, but differentiated by autograd, which keeps every block."""
    outs = []
    for rows in slices(q.shape[-2], block_q):
        top = torch.full_like(q[..., rows, :1], lowest(q))
        state = top, torch.zeros_like(top), torch.zeros_like(v[..., :1, :])
        for cols in slices(k.shape[-2], block_k):
            s = q[..., rows, :] @ k[..., cols, :].mT * q.shape[-1] ** -0.5
            if causal:
                s = s.masked_fill(~seen(rows, cols, q.shape[-2], k.shape[-2]), -INF)
            state = update(state, s, v[..., cols, :])
        outs.append(finish(state)[0])
    return torch.cat(outs, -2)


def weights_of(q, k):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)


def blocks_of(q, k):
    return [weights_of(q[..., i : i + 16, :], k).clone() for i in range(0, q.shape[-2], 16)]


def recomputed_as_a_whole(q, k, v, out, lse, d_out, causal, block_q, block_k):
    return backward()(q, k, v, out, lse, d_out, causal, q.shape[-2], k.shape[-2])


ATTENTION_MISTAKES = {
    "autograd keeps the blocks": (by_autograd, "numbers are kept from the forward pass"),
    "weights saved": (function(save=weights_of).apply, "numbers are kept from the forward pass"),
    "weights saved in blocks": (
        function(save=blocks_of).apply,
        "numbers are kept from the forward pass",
    ),
    "backward with the whole matrix": (
        function(run_backward=recomputed_as_a_whole).apply,
        "the very matrix that FlashAttention avoids",
    ),
    "forward with the whole matrix": (
        function(run_forward=naive).apply,
        "the very matrix that FlashAttention avoids",
    ),
    "the whole matrix if causal": (
        function(run_forward=naive_if_causal).apply,
        "the very matrix that FlashAttention avoids",
    ),
    "weights saved if causal": (
        lambda *a: function(save=weights_of if a[3] else None).apply(*a),
        "numbers are kept from the forward pass",
    ),
    "too few gradients": (function(nones=0).apply, "None for those that are no tensors"),
    "wrong forward": (
        function(run_forward=forward(scale=lambda *a: 1.0)).apply,
        "not divided by √d",
    ),
    "wrong backward": (
        function(run_backward=backward(ds=lambda p, dp, delta: p * dp)).apply,
        "The term D",
    ),
    "gradients exchanged": (
        function(run_backward=backward(returned=lambda dq, dk, dv: (dq, dv, dk))).apply,
        "in the order of the arguments",
    ),
    "output and lse": (lambda *a: forward()(*a), "return the output alone"),
    "no gradient": (torch.no_grad()(lambda *a: forward()(*a)[0]), "No gradient flows"),
    "forward of the function": (lambda *a: function().forward(None, *a), "Your code raised"),
    "q detached": (
        lambda q, k, v, *a: function().apply(q.detach(), k, v, *a),
        "gets no gradient at all",
    ),
    "None for a gradient": (
        function(run_backward=backward(returned=lambda dq, dk, dv: (dq, None, dv))).apply,
        "gets no gradient at all",
    ),
    "PyTorch's attention": (
        lambda q, k, v, causal, *a: (
            function().apply(q, k, v, True, *a)
            if causal
            else F.scaled_dot_product_attention(q, k, v)
        ),
        "calls PyTorch's own attention",
    ),
}


@pytest.mark.parametrize(("answer", "named"), ATTENTION_MISTAKES.values(), ids=ATTENTION_MISTAKES)
def test_mistakes_of_the_function_are_named(answer, named):
    result = check.flash_attention(attention=answer)
    assert result.status == "failed"
    assert named in result.messages, result
    assert "check itself broke" not in result.messages
    assert "called with ()" not in result.messages


# --- No answer, no sense, no leak -----------------------------------------------------------------


def untouched_forward(q, k, v, causal, block_q, block_k): ...


def untouched_backward(q, k, v, out, lse, d_out, causal, block_q, block_k): ...


def test_an_untouched_answer_is_not_attempted():
    for answers in ((), (untouched_forward, untouched_backward, None), (..., ..., ...)):
        result = check.flash_attention(*answers)
        assert result.status == "not attempted"
        assert result.notes == ()
        assert {o.name[:3] for o in result.outcomes} == {"(a)", "(b)", "(c)"}


def test_parts_can_be_done_one_after_the_other():
    result = check.flash_attention(forward(), untouched_backward, None)
    assert result.status == "not attempted"
    assert "right so far (11 of 14" in result.headline
    result = check.flash_attention(forward(), untouched_backward, function().apply)
    assert result.passed, result
    result = check.flash_attention(forward(), backward(), None)
    assert "right so far" in result.headline


@pytest.mark.parametrize(
    "rubbish",
    [
        3,
        "flash",
        torch.ones(2, 2),
        lambda: 1,
        lambda *a: "text",
        lambda *a: (None, None),
        lambda *a: ("a", "b"),
        lambda *a: (1, 2),
        lambda *a: (a[0], a[0], a[0]),
        lambda *a: torch.ones(2, 5, dtype=torch.complex64),
        lambda *a: {},
        lambda *a: 1 / 0,
    ],
)
def test_rubbish_fails_without_an_exception(rubbish):
    result = check.flash_attention(rubbish, rubbish, rubbish)
    assert result.status == "failed"
    assert "passed" not in {o.status for o in result.outcomes}
    assert "check itself broke" not in result.messages


def as_shown(tensors):
    return {f"{abs(x):.4f}" for t in tensors for x in t.flatten().tolist()}


@pytest.mark.parametrize("part", ["forward", "backward"])
def test_no_message_shows_the_right_numbers(part):
    right, given = [], []

    def sevens(*arguments):
        q, k, v = arguments[:3]
        given.extend(x for x in arguments if isinstance(x, torch.Tensor))
        if part == "forward":
            right.extend(naive(*arguments))
            return torch.full((*q.shape[:-1], v.shape[-1]), 7.0), torch.zeros(q.shape[:-1])
        right.extend(backward()(*arguments))
        return [torch.full_like(x, 7.0) for x in (q, k, v)]

    messages = check.flash_attention(**{part: sevens}).messages
    assert "entries are not" in messages
    numbers = as_shown(right) - as_shown(given) - {"0.0000", "1.0000"}
    assert len(numbers) > 10
    shown = {f"{float(x):.4f}" for x in re.findall(r"\d+\.\d+", messages)}
    assert not numbers & shown


def test_inputs_are_not_changed_and_random_numbers_neither():
    state = torch.get_rng_state()
    result = check.flash_attention(forward(), backward(), function().apply)
    assert torch.equal(state, torch.get_rng_state())
    assert not any("in place" in note for note in result.notes)


def test_what_a_notebook_already_holds_is_not_walked_again():
    left_alone = []

    def note(phase, info):
        if phase == "start" and info["generation"] == 2:
            left_alone.append(gc.get_freeze_count())

    gc.callbacks.append(note)
    try:
        check.flash_attention(with_reference_cycles)
    finally:
        gc.callbacks.remove(note)
    assert left_alone
    assert min(left_alone) > 10_000
    assert gc.get_freeze_count() == 0


def test_numpy_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    check.flash_attention(forward())
    assert (np.random.get_state()[1] == before).all()
