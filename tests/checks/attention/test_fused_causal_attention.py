import importlib
import math
from pathlib import Path

import jupytext
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import scaled_dot_product_attention as sdpa

from llmbook import check


class Base(nn.Module):
    """Parameters as in the statement, and the steps that subclasses get wrong."""

    def __init__(self, d_model, n_heads, dropout=0.0):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.proj = nn.Linear(d_model, d_model)

    def split(self, part):
        B, T, _ = part.shape
        return part.view(B, T, self.n_heads, -1).transpose(1, 2)

    def parts(self, x):
        return self.qkv(x).chunk(3, dim=-1)

    def attend(self, q, k, v):
        p = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)

    def merge(self, out):
        return out.transpose(1, 2).flatten(2)

    def forward(self, x):
        q, k, v = map(self.split, self.parts(x))
        return self.proj(self.merge(self.attend(q, k, v)))


def variant(**methods):
    return type("Variant", (Base,), methods)


# --- Right answers --------------------------------------------------------------------------------


def explicit_mask(self, q, k, v):
    T = q.shape[-2]
    mask = torch.ones(T, T, dtype=torch.bool).tril()
    return sdpa(q, k, v, mask, self.dropout * self.training)


def additive_mask(self, q, k, v):
    mask = torch.full((q.shape[-2],) * 2, -math.inf).triu(1).to(q)
    p = self.dropout if self.training else 0
    return torch.ops.aten.scaled_dot_product_attention(q, k, v, mask, p)


def head_by_head(self, x):
    outs = []
    width = x.shape[-1] // self.n_heads
    for q, k, v in zip(*(part.split(width, -1) for part in self.parts(x)), strict=True):
        outs.append(self.attend(q, k, v))
    return self.proj(torch.cat(outs, -1))


def five_dimensions(self, x):
    B, T, C = x.shape
    qkv = self.qkv(x).view(B, T, 3, self.n_heads, C // self.n_heads).permute(2, 0, 3, 1, 4)
    out = self.attend(*qkv)
    return F.linear(
        torch.einsum("bhtd->bthd", out).reshape(B, T, C), self.proj.weight, self.proj.bias
    )


def own_scale(self, q, k, v):
    p = self.dropout if self.training else 0.0
    q = q / math.sqrt(q.shape[-1])
    return torch._C._nn.scaled_dot_product_attention(q, k, v, None, p, True, scale=1.0)


RIGHT = {
    "is_causal": Base,
    "factory": lambda *args, **kwargs: Base(*args, **kwargs),
    "explicit boolean mask, imported by name": variant(attend=explicit_mask),
    "additive mask, through torch.ops": variant(attend=additive_mask),
    "head by head": variant(forward=head_by_head),
    "five dimensions and einsum": variant(forward=five_dimensions),
    "own scale": variant(attend=own_scale),
}


@pytest.mark.parametrize("answer", RIGHT.values(), ids=RIGHT)
def test_right_answers_pass(answer):
    result = check.fused_causal_attention(answer)
    assert result.passed, result
    assert any("explicit mask" in note for note in result.notes) == (
        answer in (RIGHT["explicit boolean mask, imported by name"],)
        or answer is RIGHT["additive mask, through torch.ops"]
    )


# --- Mistakes -------------------------------------------------------------------------------------


def with_kernel(**kwargs):
    def attend(self, q, k, v):
        p = self.dropout if self.training else 0.0
        return sdpa(q, k, v, **({"dropout_p": p, "is_causal": True} | kwargs))

    return variant(attend=attend)


def with_mask(make):
    def attend(self, q, k, v):
        p = self.dropout if self.training else 0.0
        T = q.shape[-2]
        return sdpa(q, k, v, attn_mask=make(torch.ones(T, T)), dropout_p=p)

    return variant(attend=attend)


def by_hand(self, q, k, v):
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)
    return F.dropout(scores.softmax(-1), self.dropout, self.training) @ v


def ordered(*order):
    return variant(parts=lambda self, x: [self.qkv(x).chunk(3, -1)[i] for i in order])


def interleaved(self, x):
    B, T, _ = x.shape
    return [part.flatten(2) for part in self.qkv(x).view(B, T, self.n_heads, -1).chunk(3, -1)]


def split_by_view(self, part):
    return part.reshape(len(part), self.n_heads, part.shape[1], -1)


def split_only(self, part):
    return part.view(*part.shape[:2], self.n_heads, -1)


def merge_by_view(self, out):
    return out.reshape(len(out), out.shape[2], -1)


def merge_after_split_only(self, out):
    return out.flatten(2)


def transposed_view(self, out):
    return out.transpose(1, 2).view(len(out), out.shape[2], -1)


def dropout_on_output(self, x):
    q, k, v = map(self.split, self.parts(x))
    return self.proj(
        F.dropout(self.merge(sdpa(q, k, v, is_causal=True)), self.dropout, self.training)
    )


def keep_probability(self, q, k, v):
    return sdpa(q, k, v, dropout_p=1 - self.dropout if self.training else 0.0, is_causal=True)


def both(self, q, k, v):
    mask = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool).tril()
    return sdpa(q, k, v, attn_mask=mask, is_causal=True)


FULL_WIDTH = "square root of `d_model`"
MISTAKES = {
    "is_causal forgotten": (with_kernel(is_causal=False), "causal mask is missing"),
    "both mask and is_causal": (variant(attend=both), "Both `attn_mask` and `is_causal=True`"),
    "mask transposed": (with_mask(lambda ones: ones.bool().triu()), "mask is transposed"),
    "mask inverted": (with_mask(lambda ones: ones.bool().triu(1)), "boolean mask is inverted"),
    "diagonal masked": (with_mask(lambda ones: ones.bool().tril(-1)), "diagonal is masked"),
    "zeros and ones added": (with_mask(torch.tril), "zeros and ones hide nothing"),
    "over the heads": (
        variant(split=split_only, merge=merge_after_split_only),
        "over the heads instead of over the tokens",
    ),
    "over the heads, transposed after": (
        variant(
            split=split_only,
            merge=lambda self, out: out.transpose(1, 2).reshape(out.shape[0], out.shape[1], -1),
        ),
        "over the heads instead of over the tokens",
    ),
    "view instead of transpose": (
        variant(split=split_by_view),
        "split into heads mixes tokens",
    ),
    "view in and out": (
        variant(split=split_by_view, merge=merge_by_view),
        "split into heads mixes tokens",
    ),
    "not transposed back": (variant(merge=merge_by_view), "joined in the wrong order"),
    "view after transpose": (variant(merge=transposed_view), "`contiguous` before `view`"),
    "one head": (
        variant(split=lambda self, part: part, merge=lambda self, out: out),
        "one head of full width",
    ),
    "no projection": (
        variant(forward=lambda self, x: self.merge(self.attend(*map(self.split, self.parts(x))))),
        "projection `proj` is missing",
    ),
    "no projection, no mask": (
        variant(
            forward=lambda self, x: self.merge(sdpa(*map(self.split, self.parts(x)))),
        ),
        "and so is the causal mask",
    ),
    "scale twice": (
        variant(attend=lambda self, q, k, v: Base.attend(self, q / q.shape[-1] ** 0.5, k, v)),
        "scale is applied twice",
    ),
    "no scale": (with_kernel(scale=1.0), "not divided by √d"),
    "scale of the model": (
        variant(
            attend=lambda self, q, k, v: sdpa(
                q, k, v, is_causal=True, scale=self.proj.in_features**-0.5
            )
        ),
        FULL_WIDTH,
    ),
    "order k q v": (ordered(1, 0, 2), "wrong order"),
    "order v k q": (ordered(2, 1, 0), "wrong order"),
    "order q v k": (ordered(0, 2, 1), "wrong order"),
    "order k v q": (ordered(1, 2, 0), "wrong order"),
    "order v q k": (ordered(2, 0, 1), "wrong order"),
    "interleaved": (variant(parts=interleaved), "cut out of each head's features"),
    "by hand": (variant(attend=by_hand), "never called"),
    "dropout in evaluation": (
        variant(attend=lambda self, q, k, v: sdpa(q, k, v, None, self.dropout, True)),
        "must be 0 unless `self.training`",
    ),
    "dropout in evaluation, on the output": (
        variant(merge=lambda self, out: F.dropout(Base.merge(self, out), self.dropout)),
        "dropout must be off",
    ),
    "no dropout": (with_kernel(dropout_p=0.0), "No dropout in training mode"),
    "dropout on the output": (variant(forward=dropout_on_output), "single features of the output"),
    "keep probability": (variant(attend=keep_probability), "probability of dropping"),
    "detached values": (
        variant(attend=lambda self, q, k, v: Base.attend(self, q, k, v.detach())),
        "gradient of the input is not",
    ),
    "no gradient": (variant(forward=torch.no_grad()(Base.forward)), "No gradient flows"),
    "float32 inside": (
        variant(
            attend=lambda self, q, k, v: Base.attend(self, q.float(), k.float(), v.float()).to(q)
        ),
        "float32 precision only",
    ),
    "keep probability, always": (
        variant(attend=lambda self, q, k, v: sdpa(q, k, v, None, 1 - self.dropout, True)),
        "must be 0 unless `self.training`",
    ),
    "a switch for a probability": (
        variant(attend=lambda self, q, k, v: sdpa(q, k, v, None, float(self.training), True)),
        "not a switch",
    ),
    "tuple": (
        variant(forward=lambda self, x: (Base.forward(self, x), None)),
        "it returns a value of type `tuple`",
    ),
    "other names": (
        type(
            "Other",
            (Base,),
            {
                "__init__": lambda self, d, h, dropout=0.0: (
                    Base.__init__(self, d, h, dropout),
                    setattr(self, "out", self.proj),
                    delattr(self, "proj"),
                )[0]
            },
        ),
        "missing `proj.bias`, `proj.weight`; unexpected `out.bias`, `out.weight`",
    ),
    "other shape": (
        type(
            "Other",
            (Base,),
            {
                "__init__": lambda self, d, h, dropout=0.0: (
                    Base.__init__(self, d, h, dropout),
                    setattr(self, "proj", nn.Linear(d, 2 * d)),
                )[0]
            },
        ),
        "`proj.weight` has shape (24, 12)",
    ),
    "instance": (Base(12, 3), "not an instance"),
}


@pytest.mark.parametrize(("wrong", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(wrong, message):
    result = check.fused_causal_attention(wrong)
    assert message in result.messages, result
    assert "check itself broke" not in result.messages


@pytest.mark.parametrize("name", ["keep probability", "a switch for a probability"])
def test_wrong_probabilities_are_not_blamed_on_the_mask(name):
    result = check.fused_causal_attention(MISTAKES[name][0])
    assert "diagonal" not in result.messages
    assert "dropout must be off" not in result.messages


@pytest.mark.parametrize("name", ["mask transposed", "mask inverted", "zeros and ones added"])
def test_a_wrong_mask_is_not_called_right(name):
    result = check.fused_causal_attention(MISTAKES[name][0])
    assert not any("explicit mask is right" in note for note in result.notes)


def test_the_first_failing_forward_names_the_mistake():
    """Not only some later test: the first of the comparisons that can tell."""
    result = check.fused_causal_attention(MISTAKES["is_causal forgotten"][0])
    first = next(o for o in result.outcomes if o.status == "failed")
    assert "one head" in first.name
    assert "causal mask is missing" in first.message


# --- The rest -------------------------------------------------------------------------------------


def test_untouched_is_not_attempted():
    placeholder = variant(forward=lambda self, x: ...)
    for answer in (None, ..., placeholder):
        assert check.fused_causal_attention(answer).status == "not attempted"


def test_the_template_of_the_page_is_not_attempted(tmp_path, monkeypatch):
    """As a reader runs it: from source that can be read back, with the given class above it."""
    page = Path(__file__).parents[3] / "book/attention/multi-head.md"
    cells = [cell["source"] for cell in jupytext.read(page)["cells"]]
    (given,) = (cell for cell in cells if "class CausalSelfAttention(" in cell)
    (template,) = (cell for cell in cells if "class MyFusedAttention(" in cell)
    (tmp_path / "fused_template.py").write_text(f"import torch\n{given}\n\n{template}\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("fused_template")
    result = check.fused_causal_attention(module.MyFusedAttention)
    assert result.status == "not attempted", result
    assert check.fused_causal_attention(module.CausalSelfAttention).messages.count("\n") == 0


@pytest.mark.parametrize("rubbish", [3, "text", lambda *a, **k: 7, lambda: None, int, nn.Identity])
def test_rubbish_fails_and_does_not_raise(rubbish):
    result = check.fused_causal_attention(rubbish)
    assert {o.status for o in result.outcomes} == {"failed"}
    assert "check itself broke" not in result.messages


def test_no_message_gives_the_call_away():
    messages = check.fused_causal_attention(variant(merge=lambda self, out: out * 0)).messages
    assert "is_causal=True" not in messages
