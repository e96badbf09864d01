"""Check of exercise 13.20, causal self-attention on the fused kernel."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    expect_shape,
    to_tensor,
)

Weights = Mapping[str, Tensor]


def fused_causal_attention(attention_class: Callable[..., nn.Module] | None = None) -> Result:
    """Check causal self-attention on the fused kernel: outputs, gradients, dropout.

    Time and memory are for you to compare; their figures depend on the machine.

    Parameters
    ----------
    attention_class
        The class (or a function that makes instances), called as
        ``attention_class(d_model, n_heads, dropout=p)``. Instances hold the same parameters as the
        class in the statement (``qkv.weight``, ``qkv.bias``, ``proj.weight``, ``proj.bias``), map
        (B, T, d_model) to (B, T, d_model), and call ``F.scaled_dot_product_attention``.
    """
    session = Session("fused_causal_attention", attention_class)

    @session.test("loads the weights of the given class")
    def _() -> None:
        module = _build(session, 12, 3)
        _forward(session, module, torch.randn(1, 2, 12))

    @session.test("one text of three tokens, one head")
    def _() -> None:
        _compare(session, torch.randn(1, 3, 4), n_heads=1)

    @session.test("two texts, three heads")
    def _() -> None:
        _compare(session, torch.randn(2, 5, 12), n_heads=3)

    @session.test("a single token")
    def _() -> None:
        _compare(session, torch.randn(3, 1, 12), n_heads=3)

    @session.test("more heads than tokens, input not contiguous")
    def _() -> None:
        _compare(session, torch.randn(16, 3, 2).permute(2, 1, 0), n_heads=8)

    @session.test("float64")
    def _() -> None:
        _compare(session, torch.randn(2, 7, 12, dtype=torch.float64), n_heads=2)

    @session.test("gradients of the input and of all parameters")
    def _() -> None:
        _compare_gradients(session)

    @session.test("calls scaled_dot_product_attention")
    def _() -> None:
        x = torch.randn(2, 5, 12)
        got, calls = _forward(session, _build(session, 12, 3).eval(), x)
        if not calls:
            raise Failure(
                "`F.scaled_dot_product_attention` is never called: this is still an "
                "implementation by hand."
            )
        explicit = any(call.get("attn_mask") is not None for call in calls)
        if explicit and _close(got, _attend(x, _weights(12), 3)):
            session.note(
                "an explicit mask is right; `is_causal=True` spares you building it and lets the "
                "kernel skip what is masked"
            )

    @session.test("no dropout in evaluation mode")
    def _() -> None:
        x = torch.randn(2, 6, 12)
        plain, _ = _forward(session, _build(session, 12, 3, dropout=0.0).eval(), x)
        got, _ = _forward(session, _build(session, 12, 3, dropout=0.5).eval(), x)
        if not _close(got, plain):
            raise Failure(
                "In evaluation mode, the output with `dropout=0.5` differs from that with "
                "`dropout=0`: dropout must be off."
            )

    @session.test("dropout of the weights in training mode")
    def _() -> None:
        _check_dropout(session)

    return session.result()


# --- Running the learner's module -----------------------------------------------------------------


class _Calls(TorchFunctionMode):
    """Records the arguments of each call of scaled_dot_product_attention, however imported."""

    NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if "scaled_dot_product_attention" in getattr(func, "__name__", ""):
            self.calls.append(dict(zip(self.NAMES, args, strict=False)) | (kwargs or {}))
        return func(*args, **(kwargs or {}))


def _build(
    session: Session, d_model: int, n_heads: int, dropout: float = 0.0, dtype: Any = None
) -> nn.Module:
    """Make an instance holding weights drawn here, under the names of the statement's class."""
    if isinstance(session.answer, nn.Module):
        raise Failure("Pass the class itself, not an instance: the check makes its own.")
    module = session.call(session.answer, d_model, n_heads, dropout=dropout)
    if not isinstance(module, nn.Module):
        raise Failure(f"Calling what you passed should make a module; it made {module!r:.60}.")
    weights = _weights(d_model)
    theirs = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    ours = {name: tuple(value.shape) for name, value in weights.items()}
    missing, extra = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    if missing or extra:
        raise Failure(
            "The weights of the class in the statement cannot be loaded: "
            + "; ".join(
                f"{what} {', '.join(f'`{name}`' for name in names)}"
                for what, names in (("missing", missing), ("unexpected", extra))
                if names
            )
            + ". Keep `__init__` as it is and change `forward` only."
        )
    for name, shape in ours.items():
        if theirs[name] != shape:
            raise Failure(f"`{name}` has shape {theirs[name]}; it should be {shape}.")
    module.load_state_dict(weights)
    return module.to(dtype)


def _weights(d_model: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(20)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "qkv.weight": 1.5 * draw(3 * d_model, d_model) / math.sqrt(d_model),
        "qkv.bias": draw(3 * d_model),
        "proj.weight": draw(d_model, d_model) / math.sqrt(d_model),
        "proj.bias": draw(d_model),
    }


def _forward(session: Session, module: nn.Module, x: Tensor) -> tuple[Tensor, list[dict[str, Any]]]:
    """Return the output, and the calls of scaled_dot_product_attention that were made for it."""
    recorder = _Calls()
    try:
        with recorder:
            got = session.call(module, x)
    except Failure as failure:
        _refuse_wrong_arguments(module, recorder.calls)
        if "view size is not compatible" in str(failure):
            raise Failure(
                f"{failure}\nAfter `transpose` the entries do not lie in memory in the order that "
                "`view` needs: use `reshape`, or `contiguous` before `view`."
            ) from None
        raise
    _refuse_wrong_arguments(module, recorder.calls)
    if not isinstance(got, Tensor):
        raise Failure(
            f"`forward` should return a tensor; it returns a value of type `{type(got).__name__}`."
        )
    return got, recorder.calls


def _refuse_wrong_arguments(module: nn.Module, calls: Sequence[Mapping[str, Any]]) -> None:
    if any(call.get("attn_mask") is not None and call.get("is_causal") for call in calls):
        raise Failure(
            "Both `attn_mask` and `is_causal=True` are given. Some kernels of PyTorch take the two "
            "together and others refuse them (with dropout, for one): give one of them."
        )
    if not module.training and any(call.get("dropout_p") for call in calls):
        raise Failure(
            "Dropout is active in evaluation mode: `scaled_dot_product_attention` is a function "
            "and knows nothing of `train()` and `eval()`, so `dropout_p` must be 0 unless "
            "`self.training`."
        )


def _close(got: Tensor, expected: Tensor) -> bool:
    return got.shape == expected.shape and torch.allclose(
        got.detach().double(), expected.detach().double(), rtol=1e-4, atol=1e-5
    )


# --- Forward --------------------------------------------------------------------------------------


def _attend(
    x: Tensor,
    weights: Weights,
    n_heads: int,
    *,
    order: Sequence[int] = (0, 1, 2),
    interleaved: bool = False,
    split: str = "heads",
    mask: str = "causal",
    scale: float | None = None,
    merge: str = "heads",
    project: bool = True,
) -> Tensor:
    """Causal attention with explicit weights, and what comes out when a step of it goes wrong."""
    batch, length, width = x.shape
    qkv = x @ weights["qkv.weight"].to(x).T + weights["qkv.bias"].to(x)
    parts = list(qkv.chunk(3, dim=-1))
    if interleaved:
        chunks = qkv.view(batch, length, n_heads, 3, -1)
        parts = [chunks[:, :, :, i].flatten(2) for i in range(3)]
    shapes = {
        "heads": lambda part: part.reshape(batch, length, n_heads, -1).transpose(1, 2),
        "view": lambda part: part.reshape(batch, n_heads, length, -1),
        "time": lambda part: part.reshape(batch, length, n_heads, -1),
        "none": lambda part: part,
    }
    q, k, v = (shapes[split](parts[i]) for i in order)
    scores = torch.einsum("...td,...sd->...ts", q, k)
    scores = scores * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    ones = torch.ones_like(scores)
    if mask == "added":
        scores = scores + ones.tril()
    else:
        allowed = {
            "causal": ones.tril(),
            "all": ones,
            "transposed": ones.triu(),
            "strict": ones.tril(-1),
            "inverted": ones.triu(1),
        }[mask.split()[0]]
        scores = scores.masked_fill(allowed == 0, -math.inf)
    attention = scores.softmax(dim=-1)
    if mask.endswith("zeros"):  # what PyTorch makes of a row without any allowed position
        attention = attention.nan_to_num(0.0)
    out = torch.einsum("...ts,...sd->...td", attention, v)
    if merge == "heads" and out.ndim == 4:
        out = out.transpose(1, 2)
    out = out.reshape(batch, length, width)
    if project:
        out = out @ weights["proj.weight"].to(x).T + weights["proj.bias"].to(x)
    return out


def _mistakes(x: Tensor, weights: Weights, n_heads: int) -> list[Mistake]:
    head_width = x.shape[-1] // n_heads

    def wrong(message: str, **steps: Any) -> Mistake:
        return Mistake(message, lambda: _attend(x, weights, n_heads, **steps))

    future = "Tokens attend to later tokens: "
    empty_rows = [
        wrong(message, mask=f"{mask}{filled}")
        for mask, message in {
            "strict": "The diagonal is masked: a token may attend to itself, and the first one "
            "has nothing else.",
            "inverted": "The boolean mask is inverted: in `scaled_dot_product_attention`, True "
            "means that a position takes part (in `masked_fill`, it is the other way round).",
        }.items()
        for filled in ("", " zeros")
    ]
    over_heads = (
        "Attention runs over the heads instead of over the tokens: the last two dimensions of "
        "what `scaled_dot_product_attention` gets must be tokens and features, so "
        "`transpose(1, 2)` is missing after the split into heads."
    )
    reordered = [
        wrong(
            "The three parts of `qkv` are taken in the wrong order: the first third of the "
            "features is q, the second k, the last v.",
            order=order,
        )
        for order in permutations(range(3))
        if order != (0, 1, 2)
    ]
    return [
        wrong(future + "the causal mask is missing (`is_causal`).", mask="all"),
        wrong(future + "the mask is transposed.", mask="transposed"),
        wrong(
            future + "a mask of numbers is added to the scores, so zeros and ones hide nothing; "
            "pass booleans, or −∞ where attention is not allowed.",
            mask="added",
        ),
        *empty_rows,
        wrong(
            "The scale is applied twice: `scaled_dot_product_attention` divides by √d itself, so "
            "pass q and k as they are.",
            scale=1 / head_width,
        ),
        wrong("The scores are not divided by √d.", scale=1.0),
        wrong(
            "The scores are divided by the square root of `d_model`; d is the width of one head.",
            scale=1 / math.sqrt(x.shape[-1]),
        ),
        *(wrong(over_heads, split="time", merge=merge) for merge in ("none", "heads")),
        *(
            wrong(
                "The split into heads mixes tokens: `view(B, h, T, d)` cuts the features of a "
                "token in the wrong places. Split the last dimension first, then "
                "`transpose(1, 2)`.",
                split="view",
                merge=merge,
            )
            for merge in ("none", "heads")
        ),
        wrong(
            "The heads are joined in the wrong order: the output of the kernel has shape "
            "(B, h, T, d), and `transpose(1, 2)` is missing before it is reshaped to "
            "(B, T, d_model).",
            merge="none",
        ),
        wrong("The heads are not split: this is one head of full width.", split="none"),
        wrong("The output projection `proj` is missing.", project=False),
        wrong(
            "The output projection `proj` is missing, and so is the causal mask.",
            project=False,
            mask="all",
        ),
        *reordered,
        wrong(
            "q, k and v are cut out of each head's features; in the class of the statement, `qkv` "
            "holds all of q first, then all of k, then all of v.",
            interleaved=True,
        ),
    ]


def _compare(session: Session, x: Tensor, n_heads: int) -> None:
    d_model = x.shape[-1]
    module = _build(session, d_model, n_heads, dtype=x.dtype).eval()
    got, _ = _forward(session, module, x)
    got = to_tensor(got)
    weights = _weights(d_model)
    double = x.double()
    expected = _attend(double, weights, n_heads)
    exact = x.dtype == torch.float64
    if exact and got.shape == expected.shape:
        off = (got.double() - expected).abs().max()
        if 1e-9 < off < 1e-5:
            raise Failure(
                "For a float64 input the result is right to float32 precision only: something is "
                "converted on the way."
            )
    expect_close(
        got,
        expected,
        inputs={"x": x, "n_heads": n_heads},
        mistakes=_mistakes(double, weights, n_heads),
        properties={
            "the output at the first token depends on the first token only": lambda out: (
                torch.allclose(
                    out[:, :1].double(),
                    _attend(double[:, :1], weights, n_heads),
                    rtol=1e-4,
                    atol=1e-4,
                )
            )
        },
        rtol=1e-4,
        atol=2e-5,
    )


# --- Backward -------------------------------------------------------------------------------------


def _compare_gradients(session: Session) -> None:
    x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(2, 5, 12, dtype=torch.float64)
    weights = {name: w.double().requires_grad_() for name, w in _weights(12).items()}
    expected_out = _attend(x, weights, 3)
    expected = torch.autograd.grad(expected_out, [x, *weights.values()], upstream)

    module = _build(session, 12, 3, dtype=torch.float64)
    got, _ = _forward(session, module, x)
    expect_shape(got, expected_out.shape)
    if not _close(got, expected_out):
        raise Failure(
            "Not compared: the outputs are not right yet in training mode, here with `dropout=0`."
        )
    parameters = dict(module.named_parameters())
    if not got.requires_grad:
        raise Failure("No gradient flows through `forward`: is there a `detach` or `no_grad`?")
    grads = torch.autograd.grad(
        got, [x, *(parameters[name] for name in weights)], upstream.to(got), allow_unused=True
    )
    for name, grad, right in zip(["the input", *weights], grads, expected, strict=True):
        if grad is None:
            raise Failure(
                f"No gradient reaches {name}, although the outputs are right: is there a `detach` "
                "on the way?"
            )
        try:
            expect_close(grad, right, rtol=1e-6, atol=1e-8)
        except Failure:
            raise Failure(
                f"The outputs are right, but the gradient of {name} is not: is a part of the "
                "computation detached?"
            ) from None


# --- Dropout --------------------------------------------------------------------------------------


def _check_dropout(session: Session) -> None:
    """With one token, each head's only weight is 1: dropout makes it 0 or 1/(1 - p)."""
    p, batch, n_heads, width = 0.25, 100, 3, 12
    module = _build(session, width, n_heads, dropout=p).train()
    module.load_state_dict(
        _weights(width) | {"proj.weight": torch.eye(width), "proj.bias": torch.zeros(width)}
    )
    # The values are all ones, so that the output shows the weights themselves.
    state = module.state_dict()
    state["qkv.weight"][2 * width :] = 0.0
    state["qkv.bias"][2 * width :] = 1.0
    got, _ = _forward(session, module, torch.randn(batch, 1, width))
    expect_shape(got, (batch, 1, width))
    # With dropout another kernel may run, and return its output in another memory layout.
    _forward(session, module, torch.randn(2, 5, width))
    factors = to_tensor(got).double().reshape(batch, n_heads, -1)
    if torch.allclose(factors, torch.ones_like(factors), atol=1e-4):
        raise Failure(
            "No dropout in training mode: the probability given to the class never reaches "
            "`dropout_p`, or the condition on `self.training` is the wrong way round."
        )
    dropped = factors.abs() < 1e-4
    kept = factors[~dropped]
    if kept.numel() == 0:
        raise Failure(
            f"With `dropout={p}`, all attention weights are dropped in training mode: `dropout_p` "
            "is the probability of dropping one, not a switch."
        )
    if (kept - kept[0]).abs().max() > 1e-4:
        raise Failure(
            "In training mode the weights are not simply dropped or kept and scaled up: is dropout "
            "applied more than once, or are q, k, v not what they should be?"
        )
    if (dropped != dropped[..., :1]).any():
        raise Failure(
            "Dropout hits single features of the output; in the class of the statement it acts on "
            "the attention weights. With a single token, as in this test, a head has one weight, "
            "so that its features are dropped or kept together."
        )
    share = float(dropped.double().mean())
    if abs(share - p) > 0.12 or not math.isclose(float(kept[0]), 1 / (1 - p), rel_tol=1e-3):
        raise Failure(
            f"With `dropout={p}`, {share:.0%} of the attention weights are dropped and the others "
            f"multiplied by {float(kept[0]):.3g}: is `dropout_p` the probability of dropping?"
        )
