"""Check of exercise 13.22, RMSNorm and SwiGLU in the place of LayerNorm and the GELU layer."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    to_tensor,
)
from llmbook.gpt import GPT, FeedForward, GPTConfig


def rmsnorm_swiglu(
    norm_class: Callable[..., nn.Module] | None = None,
    feed_forward_class: Callable[..., nn.Module] | None = None,
    modernize: Callable[..., nn.Module] | None = None,
    *,
    swiglu_width: float | None = None,
    llama_width: float | None = None,
) -> Result:
    """Check RMSNorm, SwiGLU, a GPT made of them, and the width that keeps the weights as many.

    The trained models are for you to compare.

    Parameters
    ----------
    norm_class
        (a) The class (or a function that makes instances), called as
        ``norm_class(d_model, eps=1e-5)``. Instances map (..., d_model) to the same shape and dtype.
    feed_forward_class
        (b) The class, called as ``feed_forward_class(d_model, d_ff, bias=False)``. Instances hold
        three ``nn.Linear`` layers, ``gate``, ``up`` and ``down``, and map (..., d_model) to the
        same shape.
    modernize
        (d) ``modernize(model)``: takes a ``llmbook.gpt.GPT`` with LayerNorm and GELU and returns
        one, the same or another, with your modules in their places.
    swiglu_width
        (c) Units of the SwiGLU layer for d_model = 64, a whole number.
    llama_width
        (c) The same for d_model = 4096, after Llama's rounding.
    """
    session = Session("rmsnorm_swiglu")
    _check_norm(session, norm_class)
    _check_feed_forward(session, feed_forward_class)
    session.number(
        "width for d_model = 64",
        swiglu_width,
        171,
        rtol=1e-3,
        mistakes={
            "That is the width of the GELU layer. A third matrix of this width makes half as many "
            "weights again.": 256,
            "That comes close; one unit more comes closer.": 170,
            "A layer has a whole number of units.": 512 / 3,
            "The number of weights is the same for 3 matrices and for 2, not for 3 and for 1: how "
            "many matrices does the GELU layer have?": 256 / 3,
            "At that width the layer is smaller than the GELU layer by a quarter.": 128,
            "At that width the layer is larger than the GELU layer by an eighth.": 192,
        }
        | {
            f"{units} is not the whole number that comes closest."
            + " (Hardware may like a multiple of 4; that was not the question.)"
            * (units % 4 == 0): units
            for units in range(160, 184)
            if units not in (170, 171)
        },
    )
    session.number(
        "width of Llama 2 7B",
        llama_width,
        11008,
        rtol=1e-5,
        mistakes={
            "That is not yet a multiple of 256.": 8 * 4096 / 3,
            "That is rounded to a whole number, but it is no multiple of 256.": 10923,
            "That is rounded to a whole number, but it is no multiple of 256. ": 10922,
            "That is the multiple of 256 below; Llama takes the one above.": 10752,
            "That is the width of a GELU layer.": 16384,
            "That is one multiple of 256 too many.": 11264,
            "That is the width of gate and up together; each of them is half as wide.": 22016,
        },
    )
    _check_modernize(session, modernize, norm_class, feed_forward_class)
    return session.result()


def _make(session: Session, maker: Any, *args: Any, **kwargs: Any) -> nn.Module:
    if isinstance(maker, nn.Module):
        raise Failure("Pass the class itself, not an instance: the check makes its own.")
    module = session.call(maker, *args, **kwargs)
    if not isinstance(module, nn.Module):
        raise Failure(
            f"Calling what you passed should make a module; it made a `{type(module).__name__}`."
        )
    return module


def _listed(parameters: dict[str, nn.Parameter]) -> str:
    return ", ".join(f"`{name}` {tuple(p.shape)}" for name, p in parameters.items())


def _draw(parameters: list[nn.Parameter]) -> list[Tensor]:
    """Put known random numbers into the parameters; return them in float64."""
    generator = torch.Generator().manual_seed(22)
    with torch.no_grad():
        for p in parameters:
            p.copy_(torch.randn(p.shape, generator=generator))
    return [p.detach().double() for p in parameters]


# --- (a) RMSNorm ----------------------------------------------------------------------------------


def _check_norm(session: Session, norm_class: Any) -> None:
    @session.test("RMSNorm: two tokens of width 4")
    def _() -> None:
        _compare_norm(session, norm_class, torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.5, -1.0, 2, 0]]))

    @session.test("RMSNorm: a batch of texts")
    def _() -> None:
        _compare_norm(session, norm_class, 3 * torch.randn(2, 5, 6) + 1)

    @session.test("RMSNorm: as many tokens as components")
    def _() -> None:
        _compare_norm(session, norm_class, torch.randn(4, 4, 4) * torch.arange(1.0, 5)[:, None])

    @session.test("RMSNorm: a large epsilon, and a token of zeros")
    def _() -> None:
        x = torch.tensor([[0.3, -0.1, 0.2], [0.0, 0.0, 0.0]])
        _compare_norm(session, norm_class, x, eps=0.5)
        _compare_norm(session, norm_class, 1e-3 * x)

    @session.test("RMSNorm: float64, not contiguous")
    def _() -> None:
        x = torch.randn(6, 5, 2, dtype=torch.float64).transpose(0, 2)
        _compare_norm(session, norm_class, x)

    @session.test("RMSNorm: half precision")
    def _() -> None:
        for dtype in (torch.float16, torch.bfloat16):
            x = (300 * torch.randn(3, 8)).to(dtype)
            _compare_norm(session, norm_class, x, rtol=2e-2, atol=2e-2)

    @session.test("RMSNorm: gradients of the inputs and of the gain")
    def _() -> None:
        x = torch.randn(3, 5, requires_grad=True)
        module, gain, drawn = _norm(session, norm_class, x.detach(), 1e-5)
        got = session.call(module, x)
        if not isinstance(got, Tensor):
            raise Failure("Gradients are compared once the outputs are right.")
        right_x = x.detach().double().requires_grad_()
        right_gain = drawn.clone().requires_grad_()
        right = F.rms_norm(right_x, (5,), right_gain, 1e-5)
        if not _close(got, right.detach()):
            raise Failure("Gradients are compared once the outputs are right.")
        _compare_gradients(got, {"the inputs": x, "the gain": gain}, right, [right_x, right_gain])

    @session.test("RMSNorm: a gain of 1 at the start")
    def _() -> None:
        x = torch.randn(2, 6)
        module = _make(session, norm_class, 6)
        got = to_tensor(session.call(module, x))
        if got.shape == x.shape and not got.any():
            raise Failure("At the start all outputs are 0: the gain has to start at 1.")
        right = F.rms_norm(x, (6,), eps=1e-5)
        mistakes = [
            Mistake("The gain does not start at 1.", partial(torch.mul, right, gain.detach()))
            for gain in module.parameters()
        ]
        expect_close(got, right, inputs={"x": x}, mistakes=mistakes)


def _norm(
    session: Session, norm_class: Any, like: Tensor, eps: float | None
) -> tuple[nn.Module, nn.Parameter, Tensor]:
    """Make an instance with a random gain; return it with its gain."""
    d = like.shape[-1]
    module = _make(session, norm_class, d, **({} if eps is None else {"eps": eps})).to(like.dtype)
    parameters = dict(module.named_parameters())
    if not parameters:
        session.call(module, like)  # "not attempted", if it is the placeholder
        raise Failure(
            "The gain is missing: the module has no parameter. (A tensor that is no `nn.Parameter` "
            "is not trained.)"
        )
    if len(parameters) > 1:
        raise Failure(f"RMSNorm has a gain and nothing else, no bias; found {_listed(parameters)}.")
    (gain,) = parameters.values()
    if gain.numel() != d or gain.shape[-1] != d:
        raise Failure(
            f"The gain has one number for each of the {d} components; found {_listed(parameters)}."
        )
    if not gain.requires_grad:
        raise Failure("The gain does not require gradients: it would stay 1.")
    (drawn,) = _draw([gain])
    return module.eval(), gain, drawn.flatten()


def _compare_norm(
    session: Session,
    norm_class: Any,
    x: Tensor,
    eps: float | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    module, parameter, gain = _norm(session, norm_class, x, eps)
    try:
        got = session.call(module, x)
    except Failure as failure:
        shapes = "must match the size" in str(failure)
        hint = "\nDoes the mean keep its last dimension, so that it divides token by token?"
        raise Failure(str(failure) + hint * shapes) from None
    got = to_tensor(got)
    if got.dtype != x.dtype and got.shape == x.shape:
        raise Failure(
            f"For a `{x.dtype}` input the output is `{got.dtype}`; it should be the same."
        )
    if got.ndim > x.ndim and parameter.ndim > 1:
        raise Failure(
            f"The gain has shape {tuple(parameter.shape)}, which gives the output more dimensions "
            f"than the input has. With shape ({len(gain)},) it fits inputs of any shape."
        )
    double, eps = x.double(), 1e-5 if eps is None else eps
    right = F.rms_norm(double, x.shape[-1:], gain, eps)
    mistakes = _norm_mistakes(double, gain, eps, x.dtype)
    if x.dtype in (torch.float32, torch.float64) and _close(got, right, tolerance=5e-3):
        message = (
            f"For a `{x.dtype}` input the output has about three right digits: is something "
            "computed in half precision?"
        )
        mistakes.append(Mistake(message, lambda: got))
    expect_close(
        got,
        right,
        inputs={"x": x, "gain": gain.float(), "eps": eps},
        mistakes=mistakes,
        properties={
            "the direction of each token is kept, up to the gain": lambda out: torch.allclose(
                F.normalize(out.double() / gain, dim=-1), F.normalize(double, dim=-1), atol=1e-3
            )
        },
        rtol=rtol,
        atol=atol,
    )


def _norm_mistakes(x: Tensor, gain: Tensor, eps: float, dtype: torch.dtype) -> list[Mistake]:
    d = x.shape[-1]
    squares = x.square().mean(dim=-1, keepdim=True)
    root = (squares + eps).sqrt()
    centered = x - x.mean(dim=-1, keepdim=True)
    variance = centered.square().mean(dim=-1, keepdim=True)

    def wrong(message: str, output: Callable[[], Tensor]) -> list[Mistake]:
        """The mistake alone, and together with a gain that is not used."""
        return [
            Mistake(message, lambda: output() * gain),
            Mistake(message + " And the gain is not used.", output),
        ]

    def over(*dims: int) -> Callable[[], Tensor]:
        return lambda: x / (x.square().mean(dim=dims, keepdim=True) + eps).sqrt()

    mistakes: list[Mistake] = []
    if dtype == torch.float16:
        message = (
            "In float16 the squares overflow: 300² is beyond the largest number, and dividing by "
            "infinity leaves zeros. Compute in float32 and convert the result."
        )
        mistakes += [
            Mistake(message, lambda: torch.zeros_like(x)),
            Mistake(message, lambda: x / (x.half().square().mean(-1, keepdim=True)).sqrt() * gain),
        ]
    mistakes += [
        Mistake("The gain is missing.", lambda: x / root),
        Mistake("The gain is added; it should multiply.", lambda: x / root + gain),
        Mistake(
            "The gain is applied as 1 + gain, as in Gemma, where it starts at 0; here it starts at "
            "1 and is used as it is.",
            lambda: x / root * (1 + gain),
        ),
        Mistake("The gain divides; it should multiply.", lambda: x / root / gain),
        *wrong("The tokens come out as they are, not normalized.", lambda: x),
        *wrong(
            "The mean is subtracted: that is LayerNorm. RMSNorm does not center.",
            lambda: centered / (variance + eps).sqrt(),
        ),
        *wrong(
            "The mean is subtracted before dividing by the root mean square of the uncentered "
            "numbers. RMSNorm does not center at all.",
            lambda: centered / root,
        ),
        *wrong(
            "The token is divided by its standard deviation, which is measured from the mean; the "
            "root mean square is measured from 0.",
            lambda: x / (variance + eps).sqrt(),
        ),
        *wrong(
            "The token is divided by its standard deviation, which is measured from the mean; the "
            "root mean square is measured from 0.",
            lambda: x / (x.var(dim=-1, keepdim=True) + eps).sqrt(),
        ),
        *wrong("The square root is missing.", lambda: x / (squares + eps)),
        *wrong(
            "The token is multiplied by its root mean square instead of divided.",
            lambda: x * root,
        ),
        *wrong(
            "The squares are summed, not averaged: the output has length 1 instead of a root mean "
            "square of 1.",
            lambda: x / (x.square().sum(dim=-1, keepdim=True) + eps).sqrt(),
        ),
        *wrong(
            "The squares are summed, and the sum is divided by the wrong power of the width.",
            lambda: x / (x.square().sum(dim=-1, keepdim=True) / d**2 + eps).sqrt(),
        ),
        *wrong(
            "The mean is taken first, and then squared; the squares are taken first.",
            lambda: x / (x.mean(dim=-1, keepdim=True) ** 2 + eps).sqrt(),
        ),
        *wrong(
            "The mean is taken of the absolute values; take that of the squares.",
            lambda: x / (x.abs().mean(dim=-1, keepdim=True) + eps),
        ),
        *wrong("Epsilon stands outside the root.", lambda: x / (squares.sqrt() + eps)),
        *wrong(
            "Epsilon is missing, so that a token of zeros is divided by zero.",
            lambda: x / squares.sqrt(),
        ),
        *wrong(
            "Epsilon is squared: it is added to the mean square as it is.",
            lambda: x / (squares + eps**2).sqrt(),
        ),
        *(
            Mistake(
                "Epsilon is not the one that was given: the module uses a fixed value.",
                partial(lambda fixed: x / (squares + fixed).sqrt() * gain, fixed),
            )
            for fixed in (1e-5, 1e-6, 1e-8, 1e-12, torch.finfo(dtype).eps)
        ),
        *wrong(
            "The mean runs over the tokens; each token is normalized by itself, over its "
            "components.",
            over(-2),
        ),
        *wrong(
            "The mean runs over tokens and components together; each token is normalized by "
            "itself.",
            over(-2, -1),
        ),
        *wrong(
            "The mean runs over the batch; each token is normalized by itself, over its "
            "components.",
            over(0),
        ),
        *wrong(
            "The mean runs over everything, the batch too; each token is normalized by itself.",
            over(*range(x.ndim)),
        ),
        *wrong(
            "The mean has lost its dimension (`keepdim`), so that the root of token j divides "
            "component j.",
            lambda: x / root.squeeze(-1),
        ),
    ]
    return mistakes


def _compare_gradients(
    got: Tensor, wanted: dict[str, Tensor], right: Tensor, right_wanted: list[Tensor]
) -> None:
    """Compare the gradients of a random combination of the outputs."""
    upstream = torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
    if not got.requires_grad:
        raise Failure("No gradient comes through: is something detached, or under `no_grad`?")
    ours = torch.autograd.grad(got, list(wanted.values()), upstream.to(got), allow_unused=True)
    theirs = torch.autograd.grad(right, right_wanted, upstream.to(right))
    unreached = [name for name, gradient in zip(wanted, ours, strict=True) if gradient is None]
    if unreached:
        raise Failure(f"The gradient does not reach {unreached[0]}.")
    for name, one, other in zip(wanted, ours, theirs, strict=True):
        if not torch.allclose(one.double().reshape(other.shape), other, rtol=1e-3, atol=1e-4):
            raise Failure(
                f"The gradient of {name} is not right: is a part of the computation detached, or "
                "done on plain numbers?"
            )


# --- (b) SwiGLU -----------------------------------------------------------------------------------

Layer = tuple[Tensor, Tensor | None]  # weight (outputs, inputs), bias (outputs,)


def _check_feed_forward(session: Session, feed_forward_class: Any) -> None:
    @session.test("SwiGLU: one token of width 2, three units")
    def _() -> None:
        _compare_feed_forward(session, feed_forward_class, torch.tensor([[0.5, -1.0]]), 3)

    @session.test("SwiGLU: a batch of texts")
    def _() -> None:
        _compare_feed_forward(session, feed_forward_class, torch.randn(2, 5, 6), 16)

    @session.test("SwiGLU: with biases")
    def _() -> None:
        _compare_feed_forward(session, feed_forward_class, torch.randn(4, 3), 8, bias=True)

    @session.test("SwiGLU: float64, not contiguous")
    def _() -> None:
        x = torch.randn(6, 5, 2, dtype=torch.float64).transpose(0, 2)
        _compare_feed_forward(session, feed_forward_class, x, 4)

    @session.test("SwiGLU: gradients of the inputs and of all matrices")
    def _() -> None:
        x = torch.randn(4, 3, requires_grad=True)
        module, layers = _feed_forward(session, feed_forward_class, x.detach(), 7, bias=False)
        got = session.call(module, x)
        right_x = x.detach().double().requires_grad_()
        weights = [weight.requires_grad_() for weight, _ in layers]
        right = next((r for r in _swiglu(right_x, *layers) if _close(got, r.detach())), None)
        if right is None:
            raise Failure("Gradients are compared once the outputs are right.")
        names = ("gate", "up", "down")
        wanted = {"the inputs": x} | {
            f"`{name}.weight`": module.get_parameter(f"{name}.weight") for name in names
        }
        _compare_gradients(got, wanted, right, [right_x, *weights])


def _feed_forward(
    session: Session, feed_forward_class: Any, like: Tensor, d_ff: int, bias: bool
) -> tuple[nn.Module, tuple[Layer, Layer, Layer]]:
    """Make an instance with random weights; return it with those of gate, up and down."""
    d = like.shape[-1]
    options = {"bias": True} if bias else {}
    module = _make(session, feed_forward_class, d, d_ff, **options).to(like.dtype).eval()
    found = dict(module.named_parameters())
    if not found:
        session.call(module, like)  # "not attempted", if it is the placeholder
    shapes = {"gate": (d_ff, d), "up": (d_ff, d), "down": (d, d_ff)}
    expected: dict[str, tuple[int, ...]] = {f"{n}.weight": shape for n, shape in shapes.items()}
    if bias:
        expected |= {f"{name}.bias": shape[:1] for name, shape in shapes.items()}
    extra = [f"`{name}`" for name in found if name not in expected]
    missing = [f"`{name}`" for name in expected if name not in found]
    case = f"Called with d_model = {d}, d_ff = {d_ff}" + ", bias = True" * bias
    if missing == ["`gate.weight`"] or missing == ["`gate.weight`", "`gate.bias`"]:
        raise Failure(f"{case}, the module has two matrices. SwiGLU has a third one, the gate.")
    if extra and not missing and all("bias" in name for name in extra):
        raise Failure(f"{case}, the module has biases ({', '.join(extra)}) that nobody asked for.")
    if missing or extra:
        lists = {"lacks": missing, "has, but should not,": extra}
        raise Failure(
            f"{case}, the module "
            + " and ".join(f"{what} {', '.join(names)}" for what, names in lists.items() if names)
            + ". Its layers are three `nn.Linear`, as attributes `gate`, `up` and `down`."
        )
    for name, shape in expected.items():
        if tuple(found[name].shape) != shape:
            raise Failure(
                f"{case}, `{name}` has shape {tuple(found[name].shape)}; it should be {shape}."
            )
    drawn = dict(zip(found, _draw(list(found.values())), strict=True))
    gate, up, down = ((drawn[f"{name}.weight"], drawn.get(f"{name}.bias")) for name in shapes)
    return module, (gate, up, down)


def _swiglu(x: Tensor, gate: Layer, up: Layer, down: Layer) -> list[Tensor]:
    """Return the output with SiLU on the gate, and that with gate and up in exchanged roles."""
    g, u = F.linear(x, *gate), F.linear(x, *up)
    return [F.linear(F.silu(g) * u, *down), F.linear(F.silu(u) * g, *down)]


def _close(got: Any, right: Tensor, tolerance: float = 1e-4) -> bool:
    got = to_tensor(got)
    return got.shape == right.shape and torch.allclose(
        got.double(), right, rtol=tolerance, atol=tolerance
    )


def _compare_feed_forward(
    session: Session, feed_forward_class: Any, x: Tensor, d_ff: int, bias: bool = False
) -> None:
    module, (gate, up, down) = _feed_forward(session, feed_forward_class, x, d_ff, bias)
    got = to_tensor(session.call(module, x))
    double = x.double()
    right, exchanged = _swiglu(double, gate, up, down)
    if _close(got, exchanged):
        session.note(
            "SiLU acts on `up`, and `gate` is what is gated: with weights of your own that is only "
            "a matter of names, but trained weights from elsewhere would be read wrong"
        )
        return
    given: dict[str, Any] = {"x": x, "d_ff": d_ff, "bias": bias}
    mistakes = [
        *_feed_forward_mistakes(double, gate, up, down),
        *_feed_forward_mistakes(double, up, gate, down),
    ]
    expect_close(got, right, inputs=given, mistakes=mistakes, atol=1e-4)
    if got.dtype != x.dtype:
        raise Failure(
            f"For a `{x.dtype}` input the output is `{got.dtype}`; it should be the same."
        )


def _feed_forward_mistakes(x: Tensor, gate: Layer, up: Layer, down: Layer) -> list[Mistake]:
    g, u = F.linear(x, *gate), F.linear(x, *up)
    hidden = {
        "The gate is a sigmoid, which makes a GLU; SwiGLU's is SiLU (Swish).": g.sigmoid() * u,
        "The gate is GELU, which makes a GEGLU; SwiGLU's is SiLU (Swish).": F.gelu(g) * u,
        "The gate is GELU (in its tanh form), which makes a GEGLU; SwiGLU's is SiLU (Swish).": (
            F.gelu(g, approximate="tanh") * u
        ),
        "The gate is ReLU, which makes a ReGLU; SwiGLU's is SiLU (Swish).": F.relu(g) * u,
        "The gate is a tanh; SwiGLU's is SiLU (Swish).": g.tanh() * u,
        "The gate is a softmax; SwiGLU's is SiLU (Swish), unit by unit.": g.softmax(-1) * u,
        "The gate is a sigmoid of 1.702 times its input, times the input: an approximation of "
        "GELU. SiLU has no such factor.": g * (1.702 * g).sigmoid() * u,
        "Nothing is activated: SiLU is missing.": g * u,
        "SiLU acts on the product; it acts on one of the two factors.": F.silu(g * u),
        "SiLU acts on both factors; it acts on one of them.": F.silu(g) * F.silu(u),
        "The two are added; one gates the other by multiplying it.": F.silu(g) + u,
        "One of the two inner matrices is not used: there is no gate.": F.silu(g),
        "One of the two inner matrices is used for both factors.": F.silu(g) * g,
        "This is a GELU layer that leaves one of the matrices unused.": F.gelu(g),
    }
    mistakes = [Mistake(message, partial(F.linear, h, *down)) for message, h in hidden.items()]
    right = F.silu(g) * u
    return [
        *mistakes,
        Mistake("The way back to the width of the model is missing.", lambda: right),
        Mistake(
            "The result is activated once more, after the last matrix.",
            lambda: F.silu(F.linear(right, *down)),
        ),
        Mistake(
            "SiLU acts after the last matrix; it belongs to one of the inner ones.",
            lambda: F.silu(F.linear(g * u, *down)),
        ),
        Mistake(
            "The input is added to the output: that is the block's business, not the layer's.",
            lambda: x + F.linear(right, *down),
        ),
        Mistake(
            "The biases are not used.",
            lambda: F.linear(F.silu(F.linear(x, gate[0])) * F.linear(x, up[0]), down[0]),
        ),
        Mistake("The bias of the last layer is not used.", lambda: F.linear(right, down[0])),
    ]


# --- (d) The model --------------------------------------------------------------------------------


def _check_modernize(
    session: Session, modernize: Any, norm_class: Any, feed_forward_class: Any
) -> None:
    # 8/3 of these widths is rounded up for the one, down for the other.
    @session.test("a GPT with RMSNorm and SwiGLU, of width 10")
    def _() -> None:
        _compare_model(session, modernize, norm_class, feed_forward_class, d_model=10)

    @session.test("a GPT with RMSNorm and SwiGLU, of width 14")
    def _() -> None:
        _compare_model(session, modernize, norm_class, feed_forward_class, d_model=14)


def _compare_model(
    session: Session, modernize: Any, norm_class: Any, feed_forward_class: Any, d_model: int
) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=11, n_layers=3, n_heads=1, d_model=d_model, context_length=8))
    before = {name: p.detach().clone() for name, p in _others(model).items()}
    changed = session.call(modernize, model)
    if not isinstance(changed, GPT):
        raise Failure(
            f"Return a `GPT`, the given one or another; this is a `{type(changed).__name__}`."
        )
    after = _others(changed)
    for name in before | after:
        if name not in after or name not in before or after[name].shape != before[name].shape:
            raise Failure(
                f"Only norms and feed-forward layers change; `{name}` is missing, new or of "
                "another shape."
            )
    _check_places(changed, norm_class, feed_forward_class)
    for i, block in enumerate(changed.blocks):
        _check_layer(f"blocks[{i}].mlp", block.get_submodule("mlp"), d_model)
    tokens = torch.randint(11, (2, 8))
    logits = session.call(changed, tokens)
    if tuple(logits.shape) != (2, 8, 11) or not logits.isfinite().all():
        raise Failure("The changed model does not put out finite logits of shape (2, 8, 11).")
    F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()  # type: ignore[no-untyped-call]
    idle = [name for name, p in changed.named_parameters() if p.grad is None]
    if idle:
        raise Failure(f"After a backward pass there is no gradient for `{idle[0]}`.")
    drawn = [name for name, p in after.items() if not torch.equal(p, before[name])]
    if drawn:
        session.note(
            f"`{drawn[0]}` has other numbers than in the given model: that is harmless before "
            "training, but a trained model would have to learn them again"
        )


def _others(model: GPT) -> dict[str, nn.Parameter]:
    """The parameters outside norms and feed-forward layers."""
    replaced = {"norm", "norm1", "norm2", "mlp"}
    return {n: p for n, p in model.named_parameters() if not replaced & set(n.split("."))}


def _check_places(model: GPT, norm_class: Any, feed_forward_class: Any) -> None:
    norms = {
        f"blocks[{i}].{name}": getattr(block, name)
        for i, block in enumerate(model.blocks)
        for name in ("norm1", "norm2")
    } | {"norm (the last one)": model.norm}
    layers = {f"blocks[{i}].mlp": block.mlp for i, block in enumerate(model.blocks)}
    for places, mine, old in (
        (norms, norm_class, (nn.LayerNorm, nn.RMSNorm)),
        (layers, feed_forward_class, (FeedForward,)),
    ):
        for name, module in places.items():
            kind = type(module)
            own = issubclass(kind, mine) if isinstance(mine, type) else kind not in old
            if not own:
                source = {"torch": "PyTorch's ", "llmbook": "the given model's "}
                whose = source.get(kind.__module__.split(".")[0], "a ")
                raise Failure(
                    f"`{name}` is {whose}`{kind.__name__}`; it should be one of your own modules."
                )
        first: dict[int, str] = {}
        for name, module in places.items():
            if id(module) in first:
                raise Failure(
                    f"`{first[id(module)]}` and `{name}` are one and the same module: they would "
                    "share their weights. Make a new one for each place."
                )
            first[id(module)] = name


def _check_layer(name: str, layer: nn.Module, d_model: int) -> None:
    """Check that the three matrices have the width of (c), and biases."""
    for part in ("gate", "up", "down"):
        linear = getattr(layer, part, None)
        if not isinstance(linear, nn.Linear):
            raise Failure(f"`{name}` has no `nn.Linear` called `{part}`, as (b) asks for.")
        if linear.bias is None:
            raise Failure(
                f"`{name}.{part}` has no bias; the other layers of the given model have them."
            )
    width, exact = layer.get_parameter("up.weight").shape[0], 8 * d_model / 3
    if width == round(exact):
        return
    case = f"`{name}` has {width} units for d_model = {d_model}. "
    if width == 4 * d_model:
        raise Failure(
            case + "It is as wide as the GELU layer was, so that it has half as many weights again."
        )
    if width in (math.floor(exact), math.ceil(exact)):
        raise Failure(case + "One unit more or less comes closer: floor and ceiling do not round.")
    if width == 171:
        raise Failure(case + "That is the width for d_model = 64; go by the model's own.")
    raise Failure(case + "Is that the width of (c), for the model's own d_model?")
