"""The check of exercise 13.19 passes what is right and names what is wrong."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmbook import check

INF = math.inf


# --- Right answers, structurally different --------------------------------------------------------


def with_softmax(q, k, v, mask=None):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, -INF)
        scores = scores + mask
    return scores.softmax(-1) @ v


def with_einsum_in_place(q, k, v, mask=None):
    scores = torch.einsum("...qd,...kd->...qk", q / math.sqrt(k.size(-1)), k)
    if mask is not None and mask.dtype is torch.bool:
        scores.masked_fill_(mask.logical_not(), torch.finfo(q.dtype).min)
    elif mask is not None:
        scores += mask
    return torch.einsum("...qk,...kd->...qd", F.softmax(scores, dim=-1), v)


def with_exponentials(q, k, v, mask=None):
    """Own softmax, zeros for a query without keys."""
    scores = torch.matmul(q, k.transpose(-1, -2)).div(q.size(-1) ** 0.5)
    bias = 0 if mask is None else torch.where(mask, 0, -INF) if mask.dtype == torch.bool else mask
    scores = scores + bias
    peak = scores.amax(-1, keepdim=True).nan_to_num(neginf=0)
    weights = torch.exp(scores - peak)
    return weights @ v / weights.sum(-1, keepdim=True).clamp_min(1e-30)


def with_loops(q, k, v, mask=None):
    """One query and one key at a time; a mask of zeros stands for none."""
    if mask is None:
        mask = torch.zeros(q.shape[-2], k.shape[-2], dtype=q.dtype)
    if q.ndim > 2:
        mask = mask.expand(*q.shape[:-1], k.shape[-2])
        return torch.stack([with_loops(*item) for item in zip(q, k, v, mask, strict=True)])
    return torch.stack([one_query(*row, k, v) for row in zip(q, mask, strict=True)])


def one_query(query, mask, k, v):
    scores = [(query * key).sum() / math.sqrt(len(query)) for key in k]
    if mask.dtype == torch.bool:
        mask = [0.0 if may else -1e9 for may in mask]
    biased = torch.stack([score + bias for score, bias in zip(scores, mask, strict=True)])
    return sum(weight * value for weight, value in zip(biased.softmax(0), v, strict=True))


def with_numpy(q, k, v, mask=None):
    return with_softmax(q, k, v, mask).numpy()


class AsModule(nn.Module):
    def forward(self, q, k, v, mask=None):
        return with_softmax(q, k, v, mask)


class Callable:
    def __call__(self, q, k, v, mask=None):
        return with_softmax(q, k, v, mask)


@pytest.mark.parametrize(
    "answer",
    [
        with_softmax,
        with_einsum_in_place,
        with_exponentials,
        with_loops,
        with_numpy,
        AsModule(),
        Callable(),
        functools.partial(with_softmax),
        lambda q, k, v, mask=None: with_softmax(q, k, v, mask),
    ],
)
def test_right_answers_pass(answer):
    result = check.scaled_dot_product_attention(answer)
    assert result.passed, result


@pytest.mark.parametrize(
    ("answer", "convention"),
    [
        (with_softmax, "NaN"),
        (with_exponentials, "zeros"),
        (with_einsum_in_place, "the mean of all values"),
    ],
)
def test_the_convention_for_a_query_without_keys_is_named(answer, convention):
    (note,) = check.scaled_dot_product_attention(answer).notes
    assert f"returns {convention}" in note


# --- Wrong answers --------------------------------------------------------------------------------


def attention(
    *,
    scale=lambda q, k, v: q.shape[-1] ** -0.5,
    boolean=lambda s, mask: s.masked_fill(~mask, -INF),
    additive=lambda s, mask: s + mask,
    softmax=lambda s: s.softmax(-1),
    boolean_after=lambda w, mask: w,
    additive_after=lambda w, mask: w,
    last=lambda w, v: w @ v,
    key_t=lambda k: k.mT,
):
    """Build a right implementation; each test breaks one piece of it."""

    def learner(q, k, v, mask=None):
        scores = q @ key_t(k) * scale(q, k, v)
        if mask is None:
            return last(softmax(scores), v)
        boolean_mask = mask.dtype == torch.bool
        weights = softmax((boolean if boolean_mask else additive)(scores, mask))
        return last((boolean_after if boolean_mask else additive_after)(weights, mask), v)

    return learner


def renormalize(w):
    return w / w.sum(-1, keepdim=True)


def swapped(q, k, v, mask=None):
    return with_softmax(k, q, v, mask)


def naive_exponentials(s):
    return s.exp() / s.exp().sum(-1, keepdim=True)


def in_float32(q, k, v, mask=None):
    mask = mask.float() if mask is not None and mask.is_floating_point() else mask
    return with_softmax(q.float(), k.float(), v.float(), mask)


MISTAKES = [
    ("not divided by √d_k", attention(scale=lambda q, k, v: 1)),
    ("divided by d_k; its square root", attention(scale=lambda q, k, v: 1 / q.shape[-1])),
    ("multiplied by √d_k", attention(scale=lambda q, k, v: q.shape[-1] ** 0.5)),
    ("multiplied by d_k", attention(scale=lambda q, k, v: q.shape[-1])),
    ("divided by √n", attention(scale=lambda q, k, v: q.shape[-2] ** -0.5)),
    ("divided by √m", attention(scale=lambda q, k, v: k.shape[-2] ** -0.5)),
    ("divided by √d_v", attention(scale=lambda q, k, v: v.shape[-1] ** -0.5)),
    (
        "width of all heads together",
        attention(scale=lambda q, k, v: (q.shape[-1] * (q.shape[1] if q.ndim == 4 else 1)) ** -0.5),
    ),
    ("dimension 1 of the input", attention(scale=lambda q, k, v: q.shape[1] ** -0.5)),
    ("softmax runs over the wrong axis", attention(softmax=lambda s: s.softmax(-2))),
    ("softmax runs over the wrong axis", attention(softmax=lambda s: s.softmax(0))),
    ("softmax runs over dimension 1", attention(softmax=lambda s: s.softmax(1))),
    ("changed places", swapped),
    ("weights are transposed", attention(last=lambda w, v: w.mT @ v)),
    ("no softmax", attention(softmax=lambda s: s)),
    ("not normalized", attention(softmax=torch.exp)),
    ("without being exponentiated", attention(softmax=renormalize)),
    ("sigmoid", attention(softmax=torch.sigmoid)),
    (
        "scale is applied after",
        attention(scale=lambda q, k, v: 1, last=lambda w, v: w / 2 @ v),
    ),
    ("These are the weights", attention(last=lambda w, v: w)),
    ("These are the scores", attention(softmax=lambda s: s, last=lambda w, v: w)),
    ("2 things in a tuple", attention(last=lambda w, v: (w @ v, w))),
    ("Exchange only the last two", attention(key_t=lambda k: k.T)),
    ("Exchange only the last two", attention(key_t=lambda k: k.transpose(0, 1))),
    ("overflows", attention(softmax=naive_exponentials)),
    ("length 1 have disappeared", attention(last=lambda w, v: (w @ v).squeeze())),
    ("calls PyTorch's own attention", lambda *a: F.scaled_dot_product_attention(*a)),
    ("the output is `torch.float32`", in_float32),
    ("computed in float32", lambda *a: in_float32(*a).to(a[0].dtype)),
    # boolean masks
    ("The mask has no effect", attention(boolean=lambda s, m: s)),
    ("is read inverted", attention(boolean=lambda s, m: s.masked_fill(m, -INF))),
    ("a nudge, not a wall", attention(boolean=lambda s, m: s + m)),
    ("set to 0", attention(boolean=lambda s, m: s.masked_fill(~m, 0))),
    ("set to 0", attention(boolean=lambda s, m: s.masked_fill(~m, 1e-9))),
    (
        "no longer sum to 1",
        attention(boolean=lambda s, m: s, boolean_after=lambda w, m: w * m),
    ),
    (
        "On paper that is the same",
        attention(boolean=lambda s, m: s, boolean_after=lambda w, m: renormalize(w * m)),
    ),
    ("multiplying 0 by ∞", attention(boolean=lambda s, m: s + (1 - m.float()) * -INF)),
    ("never `if mask:`", lambda q, k, v, mask=None: with_softmax(q, k, v, mask if mask else None)),
    # additive masks
    ("The mask has no effect", attention(additive=lambda s, m: s)),
    (
        "added after the softmax; it",
        attention(additive=lambda s, m: s, additive_after=lambda w, m: w + m),
    ),
    (
        "added after the softmax and the weights are normalized",
        attention(additive=lambda s, m: s, additive_after=lambda w, m: renormalize(w + m)),
    ),
    (
        "softmax is taken twice",
        attention(additive=lambda s, m: s, additive_after=lambda w, m: (w + m).softmax(-1)),
    ),
    (
        "divided by √d_k together",
        lambda q, k, v, mask=None: attention(additive=lambda s, m: s + m / q.shape[-1] ** 0.5)(
            q, k, v, mask
        ),
    ),
    ("only the −∞ count", attention(additive=lambda s, m: s.masked_fill(m == -INF, -INF))),
    ("every nonzero entry opens", attention(additive=lambda s, m: s.masked_fill(m == 0, -INF))),
    ("every nonzero entry blocks", attention(additive=lambda s, m: s.masked_fill(m != 0, -INF))),
    ("subtracted from the scores", attention(additive=lambda s, m: s - m)),
    ("multiplied with the scores", attention(additive=lambda s, m: s * m)),
    ("There is no batch dimension", lambda q, k, v, mask=None: torch.bmm(q, k.mT) @ v),
    ("There is no batch dimension", attention(key_t=lambda k: k.transpose(1, 2))),
    ("look at `mask.dtype`", attention(additive=lambda s, m: s.masked_fill(~m, -INF))),
    # a query without keys
    (
        "NaN spreads",
        attention(last=lambda w, v: (w + 0 * w.sum()) @ v),
    ),
    (
        "fits none that is known",
        attention(boolean_after=lambda w, m: torch.where(m.any(-1, keepdim=True), w, 1.0)),
    ),
]


@pytest.mark.filterwarnings("ignore:The use of `x.T`")
@pytest.mark.parametrize(("named", "answer"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistakes_are_named(named, answer):
    result = check.scaled_dot_product_attention(answer)
    assert result.status == "failed"
    assert named in result.messages


def test_an_inverted_mask_is_not_taken_for_nan_that_spreads():
    """Inverted, a row with every key open becomes the one with every key blocked."""
    answer = attention(boolean=lambda s, m: s.masked_fill(m, -INF))
    messages = check.scaled_dot_product_attention(answer).messages.splitlines()
    assert len(messages) == 5
    assert all("is read inverted" in message for message in messages)


class WithoutMask(nn.Module):
    def forward(self, q, k, v):
        return with_softmax(q, k, v)


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (lambda q, k, v: with_softmax(q, k, v), 6),
        (WithoutMask(), 6),
        (lambda q, k, v, mask: with_softmax(q, k, v, mask), 2),
    ],
)
def test_a_parameter_that_is_missing_is_blamed_on_the_signature(answer, failed):
    """And on nothing else: not on how the mask is used, nor on the dimensions."""
    messages = check.scaled_dot_product_attention(answer).messages
    assert messages.count("It should take `(q, k, v, mask=None)`") == failed
    assert "mask.dtype" not in messages
    assert "dimension" not in messages


@pytest.mark.filterwarnings("ignore:The use of `x.T`")
def test_what_fails_on_every_batch_is_not_blamed_on_masks_or_strides():
    messages = check.scaled_dot_product_attention(attention(key_t=lambda k: k.T)).messages
    assert messages.count("Exchange only the last two") == 4
    assert "`.view` may fail" not in messages
    assert "never `if mask:`" not in messages


def with_view(q, k, v, mask=None):
    flat = [x.view(-1, *x.shape[-2:]) for x in (q, k, v)]
    out = flat[0] @ flat[1].mT / q.shape[-1] ** 0.5
    out = out.view(*q.shape[:-1], k.shape[-2])
    if mask is not None:
        out = out.masked_fill(~mask, -INF) if mask.dtype == torch.bool else out + mask
    return out.softmax(-1) @ v


def test_view_is_blamed_where_only_the_strides_are_special():
    result = check.scaled_dot_product_attention(with_view)
    (failed,) = [outcome for outcome in result.outcomes if outcome.status == "failed"]
    assert failed.name == "inputs that are not contiguous"
    assert "`.view` may fail" in failed.message


def test_missing_import_is_not_blamed_on_dimensions():
    def answer(q, k, v, mask=None):
        return (q @ k.mT / not_imported.sqrt(q.shape[-1])).softmax(-1) @ v  # noqa: F821

    message = check.scaled_dot_product_attention(answer).messages
    assert "NameError: name 'not_imported' is not defined" in message
    assert "dimension" not in message


def test_the_unbroken_builder_passes():
    """Otherwise the mistakes above would prove little."""
    assert check.scaled_dot_product_attention(attention()).passed


def test_a_function_right_without_a_mask_has_the_rest_to_do():
    def learner(q, k, v, mask=None):
        if mask is None:
            return with_softmax(q, k, v)

    result = check.scaled_dot_product_attention(learner)
    assert "is a `return` missing?" in result.messages
    statuses = {outcome.name: outcome.status for outcome in result.outcomes}
    assert statuses["a batch"] == "passed"
    assert statuses["boolean mask"] == statuses["additive mask"] == "failed"


# --- Logical lines --------------------------------------------------------------------------------


def nine_lines(q, k, v, mask=None):
    """Nine statements.

    This is not counted, nor are the comments.
    """
    # one statement over several lines
    scores = (
        q @ k.mT
    ) / q.shape[-1] ** 0.5  # fmt: skip
    if mask is None:
        mask = torch.zeros_like(scores)
    if mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, -INF)
    scores = scores + mask
    weights = scores.softmax(-1)
    return weights @ v


def ten_lines(q, k, v, mask=None):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if mask is None: mask = torch.zeros_like(scores)  # fmt: skip # noqa: E701
    if mask.dtype == torch.bool: mask = torch.where(mask, 0.0, -INF)  # fmt: skip # noqa: E701
    scores = scores + mask
    weights = scores.softmax(-1); out = weights @ v; return out  # fmt: skip # noqa: E702


def test_nine_logical_lines_pass():
    assert check.scaled_dot_product_attention(nine_lines).passed


def test_statements_are_counted_not_lines_of_the_file():
    result = check.scaled_dot_product_attention(ten_lines)
    (failed,) = [outcome for outcome in result.outcomes if outcome.status == "failed"]
    assert failed.name == "fewer than ten logical lines"
    assert "has 10 logical lines" in failed.message


def test_source_that_is_not_available_is_noted_not_failed():
    namespace = {"right": with_softmax}
    exec("def f(q, k, v, mask=None): return right(q, k, v, mask)", namespace)
    result = check.scaled_dot_product_attention(namespace["f"])
    assert result.passed
    assert any("not available" in note for note in result.notes)


# --- No answer, no sense, no leak -----------------------------------------------------------------


def placeholder(q, k, v, mask=None): ...


@pytest.mark.parametrize("answer", [None, ..., placeholder, lambda q, k, v, mask=None: None])
def test_an_untouched_answer_is_not_attempted(answer):
    result = check.scaled_dot_product_attention(answer)
    assert result.status == "not attempted"
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
        lambda *a: torch.ones(2, 5, dtype=torch.complex64),
        lambda *a: 1 / 0,
    ],
)
def test_rubbish_fails_without_an_exception(answer):
    assert check.scaled_dot_product_attention(answer).status == "failed"


def test_no_message_shows_the_right_output():
    q, k, v = torch.eye(2, 4), torch.eye(3, 4), torch.eye(3, 5)
    seen = []

    def learner(*inputs):
        seen.append(F.scaled_dot_product_attention(*inputs[:3]))
        return torch.zeros(*inputs[0].shape[:-1], inputs[2].shape[-1])

    assert learner(q, k, v).shape == (2, 5)
    messages = check.scaled_dot_product_attention(learner).messages
    assert "entries are not" in messages
    right = {f"{abs(x):.3f}" for out in seen for x in out.flatten().tolist() if abs(x) > 1e-3}
    assert not any(number in messages for number in right)
