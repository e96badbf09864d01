"""The check of exercise 13.22 takes any RMSNorm and SwiGLU and names each known mistake."""

import copy
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from llmbook import check
from llmbook.gpt import GPT

# --- Right answers, structurally different --------------------------------------------------------


class Norm(nn.Module):
    """A right answer; each wrong one below changes one piece of it."""

    def __init__(self, d_model, eps=1e-5):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x):
        return self.normalize(x.float(), self.gain.float(), self.eps).to(x.dtype)

    def normalize(self, x, gain, eps):
        return x * (x.pow(2).mean(-1, keepdim=True) + eps).rsqrt() * gain


class ByTorch(nn.RMSNorm):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps=eps)


class ByLlama(LlamaRMSNorm):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps=eps)


class ByLength(Norm):
    def normalize(self, x, gain, eps):
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return gain * x / torch.sqrt(length**2 / x.shape[-1] + eps)


class ByEinsum(Norm):
    def forward(self, x):
        y = x.double()
        squares = torch.einsum("...d,...d->...", y, y)[..., None] / x.shape[-1]
        return (y / (squares + self.eps).sqrt() * self.gain).type_as(x)


class ByMaskedSquares(Norm):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        self.gain = nn.Parameter(torch.ones(1, 1, d_model))

    def forward(self, x):
        y = super().forward(x)
        return y.reshape(x.shape)


NORMS = [Norm, ByTorch, ByLlama, ByLength, ByEinsum, ByMaskedSquares]


class Layer(nn.Module):
    """A right answer; each wrong one below changes one piece of it."""

    def __init__(self, d_model, d_ff, bias=False):
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=bias)
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x):
        return self.combine(self.gate(x), self.up(x), self.down, x)

    def combine(self, g, u, down, x):
        return down(F.silu(g) * u)


class BySigmoid(Layer):
    def forward(self, x):
        g = self.gate(x)
        return self.down(g * torch.sigmoid(g) * self.up(x))


class ByMatrices(Layer):
    def forward(self, x):
        layers = (self.gate, self.up, self.down)
        (g, g0), (u, u0), (d, d0) = ((m.weight, 0 if m.bias is None else m.bias) for m in layers)
        a = x @ g.T + g0
        return (a / (1 + torch.exp(-a)) * (x @ u.T + u0)) @ d.T + d0


class ByModules(Layer):
    def __init__(self, d_model, d_ff, bias=False):
        super().__init__(d_model, d_ff, bias)
        self.activation = nn.SiLU()

    def forward(self, x):
        return self.down(self.activation(self.gate(x)).mul_(self.up(x)))


class ByTorchSwiGLU(Layer):
    """Both inner matrices in one product."""

    def forward(self, x):
        weight = torch.cat([self.gate.weight, self.up.weight])
        bias = None if self.gate.bias is None else torch.cat([self.gate.bias, self.up.bias])
        g, u = F.linear(x, weight, bias).chunk(2, dim=-1)
        return self.down(F.silu(g) * u)


LAYERS = [Layer, BySigmoid, ByMatrices, ByModules, ByTorchSwiGLU]


def modernizer(norm, layer):
    def modernize(model):
        d = model.config.d_model
        for block in model.blocks:
            block.norm1, block.norm2 = norm(d), norm(d)
            block.mlp = layer(d, round(8 * d / 3), bias=True)
        model.norm = norm(d)
        return model

    return modernize


def by_walking(model):
    """On a copy, wherever a LayerNorm is found."""
    model = copy.deepcopy(model)
    d = model.config.d_model
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.LayerNorm):
                setattr(parent, name, Norm(d))
            elif name == "mlp":
                parent.mlp = Layer(d, (8 * d + 1) // 3, True)
    return model


@pytest.mark.parametrize("norm", NORMS)
def test_right_norms_pass(norm):
    result = check.rmsnorm_swiglu(norm_class=norm)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == 8


@pytest.mark.parametrize("layer", LAYERS)
def test_right_layers_pass(layer):
    result = check.rmsnorm_swiglu(feed_forward_class=layer)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == 5
    assert not result.notes


@pytest.mark.parametrize("modernize", [modernizer(Norm, Layer), by_walking])
def test_a_whole_answer_passes(modernize):
    result = check.rmsnorm_swiglu(Norm, Layer, modernize, swiglu_width=171, llama_width=11008.0)
    assert result.passed, result


@pytest.mark.parametrize("modernize", [modernizer(Norm, Layer), by_walking])
def test_a_right_model_passes_alone(modernize):
    result = check.rmsnorm_swiglu(modernize=modernize)
    assert result.status != "failed", result
    assert not result.notes


def test_an_own_norm_may_be_that_of_pytorch_underneath():
    result = check.rmsnorm_swiglu(ByTorch, Layer, modernizer(ByTorch, Layer))
    assert result.status != "failed", result


def started_as_gpt(model):
    """All weights drawn as those of a GPT at the start, not only those of the new layers."""
    modernizer(Norm, Layer)(model)
    for name, p in model.named_parameters():
        if p.ndim == 2:
            nn.init.normal_(p, std=0.02 / (6**0.5 if "down" in name else 1))
    return model


def newly_built(model):
    return modernizer(Norm, Layer)(GPT(model.config))


@pytest.mark.parametrize("modernize", [started_as_gpt, newly_built])
def test_other_weights_drawn_again_are_noted_not_failed(modernize):
    result = check.rmsnorm_swiglu(Norm, Layer, modernize, swiglu_width=171, llama_width=11008)
    assert result.passed, result
    assert any("`tokens.weight` has other numbers" in note for note in result.notes)


def test_the_reference_is_that_of_hugging_face():
    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=6, intermediate_size=16, num_attention_heads=2)
    theirs, ours, x = LlamaMLP(config), Layer(6, 16), torch.randn(2, 3, 6)
    weights = {name.replace("_proj", ""): p for name, p in theirs.state_dict().items()}
    ours.load_state_dict(weights)
    torch.testing.assert_close(ours(x), theirs(x))


def test_exchanged_names_are_noted_not_failed():
    class Exchanged(Layer):
        def combine(self, g, u, down, x):
            return down(F.silu(u) * g)

    result = check.rmsnorm_swiglu(feed_forward_class=Exchanged)
    assert result.status != "failed", result
    assert any("matter of names" in note for note in result.notes)


# --- Wrong norms ----------------------------------------------------------------------------------


def mean_square(x, *dims):
    return x.pow(2).mean(dims or (-1,), keepdim=True)


def centered(x):
    return x - x.mean(-1, keepdim=True)


WRONG_NORMS = {
    "that is LayerNorm": lambda x, g, e: F.layer_norm(x, x.shape[-1:], g, eps=e),
    "root mean square of the uncentered": lambda x, g, e: (
        centered(x) / (mean_square(x) + e).sqrt() * g
    ),
    "standard deviation": lambda x, g, e: x / (x.var(-1, keepdim=True) + e).sqrt() * g,
    "divided by its standard deviation": lambda x, g, e: (
        x / (mean_square(centered(x)) + e).sqrt() * g
    ),
    "The square root is missing": lambda x, g, e: x / (mean_square(x) + e) * g,
    "multiplied by its root mean square": lambda x, g, e: x * (mean_square(x) + e).sqrt() * g,
    "summed, not averaged": lambda x, g, e: x / (x.pow(2).sum(-1, keepdim=True) + e).sqrt() * g,
    "wrong power of the width": lambda x, g, e: x / (mean_square(x) / x.shape[-1] + e).sqrt() * g,
    "taken first, and then squared": lambda x, g, e: (
        x / (x.mean(-1, keepdim=True) ** 2 + e).sqrt() * g
    ),
    "absolute values": lambda x, g, e: x / (x.abs().mean(-1, keepdim=True) + e) * g,
    "outside the root": lambda x, g, e: x / (mean_square(x).sqrt() + e) * g,
    "Epsilon is missing": lambda x, g, e: x / mean_square(x).sqrt() * g,
    "Epsilon is squared": lambda x, g, e: x / (mean_square(x) + e**2).sqrt() * g,
    "fixed value": lambda x, g, e: x / (mean_square(x) + 1e-6).sqrt() * g,
    "over the tokens": lambda x, g, e: x / (mean_square(x, -2) + e).sqrt() * g,
    "tokens and components together": lambda x, g, e: x / (mean_square(x, -2, -1) + e).sqrt() * g,
    "over the batch": lambda x, g, e: x / (mean_square(x, 0) + e).sqrt() * g,
    "over everything": lambda x, g, e: x / (x.pow(2).mean() + e).sqrt() * g,
    "has lost its dimension": lambda x, g, e: x / (x.pow(2).mean(-1) + e).sqrt() * g,
    "keep its last dimension": lambda x, g, e: x / (x.pow(2).mean(-1) + e).sqrt() * g,
    "The gain is missing.": lambda x, g, e: x / (mean_square(x) + e).sqrt(),
    "The gain is added": lambda x, g, e: x / (mean_square(x) + e).sqrt() + g,
    "1 + gain": lambda x, g, e: x / (mean_square(x) + e).sqrt() * (1 + g),
    "The gain divides": lambda x, g, e: x / (mean_square(x) + e).sqrt() / g,
    "And the gain is not used": lambda x, g, e: F.layer_norm(x, x.shape[-1:], eps=e),
    "as they are, not normalized": lambda x, g, e: x * g,
    "does not reach the gain": lambda x, g, e: x / (mean_square(x) + e).sqrt() * g.detach(),
    "gradient of the inputs is not right": lambda x, g, e: (
        x / (mean_square(x) + e).sqrt().detach() * g
    ),
    "should be a tensor": lambda x, g, e: None if x is None else _Text(),
}


class _Text(str):
    def to(self, dtype):
        return self


@pytest.mark.parametrize("message", WRONG_NORMS)
def test_each_wrong_norm_is_named(message):
    function = WRONG_NORMS[message]
    wrong = type("Wrong", (Norm,), {"normalize": lambda self, x, g, e: function(x, g, e)})
    result = check.rmsnorm_swiglu(norm_class=wrong)
    assert result.status == "failed"
    assert message in result.messages


class InHalf(Norm):
    def forward(self, x):
        return self.normalize(x, self.gain, self.eps)


class AlwaysInHalf(Norm):
    def forward(self, x):
        return self.normalize(x.half(), self.gain.half(), self.eps).to(x.dtype)


class RandomGain(Norm):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        nn.init.normal_(self.gain)


class GainOfThreeDimensions(Norm):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        self.gain = nn.Parameter(torch.ones(1, 1, d_model))


class AlwaysFloat(Norm):
    def forward(self, x):
        return super().forward(x).float()


class WithBias(Norm):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        self.bias = nn.Parameter(torch.zeros(d_model))


class ScalarGain(Norm):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        self.gain = nn.Parameter(torch.ones(1))


class PlainGain(Norm):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        del self.gain
        self.gain = torch.ones(d_model)


class ZeroGain(Norm):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        nn.init.zeros_(self.gain)


class FrozenGain(Norm):
    def __init__(self, d_model, eps=1e-5):
        super().__init__(d_model, eps)
        self.gain.requires_grad_(False)


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        (InHalf, "In float16 the squares overflow"),
        (AlwaysInHalf, "computed in half precision"),
        (AlwaysFloat, "the output is `torch.float32`"),
        (RandomGain, "The gain does not start at 1"),
        (GainOfThreeDimensions, "The gain has shape (1, 1, 4)"),
        (WithBias, "a gain and nothing else"),
        (ScalarGain, "one number for each of the"),
        (PlainGain, "The gain is missing: the module has no parameter"),
        (ZeroGain, "the gain has to start at 1"),
        (FrozenGain, "does not require gradients"),
        (Norm(4), "Pass the class itself"),
    ],
)
def test_each_mistake_around_a_norm_is_named(norm, message):
    result = check.rmsnorm_swiglu(norm_class=norm)
    assert result.status == "failed"
    assert message in result.messages


@pytest.mark.parametrize("message", ["The square root is missing", "over the batch"])
def test_gradients_of_wrong_outputs_are_not_compared(message):
    function = WRONG_NORMS[message]
    wrong = type("Wrong", (Norm,), {"normalize": lambda self, x, g, e: function(x, g, e)})
    result = check.rmsnorm_swiglu(norm_class=wrong)
    assert "Gradients are compared once the outputs are right" in result.messages
    assert "The gradient of" not in result.messages


# --- Wrong feed-forward layers --------------------------------------------------------------------

WRONG_LAYERS = {
    "which makes a GLU": lambda g, u, down, x: down(g.sigmoid() * u),
    "GELU, which makes a GEGLU": lambda g, u, down, x: down(F.gelu(g) * u),
    "in its tanh form": lambda g, u, down, x: down(F.gelu(g, approximate="tanh") * u),
    "ReLU, which makes a ReGLU": lambda g, u, down, x: down(g * F.relu(u)),
    "a tanh": lambda g, u, down, x: down(g.tanh() * u),
    "a softmax": lambda g, u, down, x: down(g.softmax(-1) * u),
    "1.702": lambda g, u, down, x: down(g * (1.702 * g).sigmoid() * u),
    "Nothing is activated": lambda g, u, down, x: down(g * u),
    "on the product": lambda g, u, down, x: down(F.silu(g * u)),
    "on both factors": lambda g, u, down, x: down(F.silu(g) * F.silu(u)),
    "The two are added": lambda g, u, down, x: down(F.silu(g) + u),
    "there is no gate": lambda g, u, down, x: down(F.silu(u)),
    "used for both factors": lambda g, u, down, x: down(F.silu(g) * g),
    "a GELU layer that leaves": lambda g, u, down, x: down(F.gelu(u)),
    "The way back": lambda g, u, down, x: F.silu(g) * u,
    "once more, after the last matrix": lambda g, u, down, x: F.silu(down(F.silu(g) * u)),
    "SiLU acts after the last matrix": lambda g, u, down, x: F.silu(down(g * u)),
    "that is the block's business": lambda g, u, down, x: x + down(F.silu(g) * u),
    "The bias of the last layer": lambda g, u, down, x: F.linear(F.silu(g) * u, down.weight),
    "`torch.float32`": lambda g, u, down, x: down(F.silu(g) * u).float(),
    "does not reach `gate.weight`": lambda g, u, down, x: down(F.silu(g.detach()) * u),
    "gradient of the inputs is not right": lambda g, u, down, x: (
        down(F.silu(g) * u) + (x - x.detach()).sum()
    ),
}


@pytest.mark.parametrize("message", WRONG_LAYERS)
def test_each_wrong_layer_is_named(message):
    function = WRONG_LAYERS[message]
    wrong = type("Wrong", (Layer,), {"combine": lambda self, *parts: function(*parts)})
    result = check.rmsnorm_swiglu(feed_forward_class=wrong)
    assert result.status == "failed"
    assert message in result.messages


class WithoutBiases(Layer):
    def forward(self, x):
        g, u = F.linear(x, self.gate.weight), F.linear(x, self.up.weight)
        return F.linear(F.silu(g) * u, self.down.weight)


class AlwaysBiases(Layer):
    def __init__(self, d_model, d_ff, bias=False):
        super().__init__(d_model, d_ff, bias=True)


class NeverBiases(Layer):
    def __init__(self, d_model, d_ff, bias=False):
        super().__init__(d_model, d_ff, bias=False)


class TwoMatrices(Layer):
    def __init__(self, d_model, d_ff, bias=False):
        super().__init__(d_model, d_ff, bias)
        del self.gate

    def forward(self, x):
        u = self.up(x)
        return self.down(F.silu(u) * u)


class OtherNames(nn.Module):
    def __init__(self, d_model, d_ff, bias=False):
        super().__init__()
        self.w1 = nn.Linear(d_model, d_ff, bias=bias)
        self.w2 = nn.Linear(d_ff, d_model, bias=bias)
        self.w3 = nn.Linear(d_model, d_ff, bias=bias)


class OwnWidth(Layer):
    def __init__(self, d_model, d_ff, bias=False):
        super().__init__(d_model, 2 * d_ff // 3, bias)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (WithoutBiases, "The biases are not used"),
        (AlwaysBiases, "that nobody asked for"),
        (NeverBiases, "lacks `gate.bias`"),
        (TwoMatrices, "a third one, the gate"),
        (OtherNames, "as attributes `gate`, `up` and `down`"),
        (OwnWidth, "it should be (3, 2)"),
        (Layer(4, 8), "Pass the class itself"),
    ],
)
def test_each_mistake_around_a_layer_is_named(layer, message):
    result = check.rmsnorm_swiglu(feed_forward_class=layer)
    assert result.status == "failed"
    assert message in result.messages


# --- Wrong models and numbers ---------------------------------------------------------------------


def final_norm_forgotten(model):
    norm = model.norm
    modernizer(Norm, Layer)(model).norm = norm
    return model


def second_norm_forgotten(model):
    norms = [block.norm2 for block in model.blocks]
    for block, norm in zip(modernizer(Norm, Layer)(model).blocks, norms, strict=True):
        block.norm2 = norm
    return model


def layers_forgotten(model):
    layers = [block.mlp for block in model.blocks]
    for block, layer in zip(modernizer(Norm, Layer)(model).blocks, layers, strict=True):
        block.mlp = layer
    return model


def one_norm_for_all(model):
    norm = Norm(model.config.d_model)
    return modernizer(lambda d: norm, Layer)(model)


def one_layer_for_all(model):
    d = model.config.d_model
    layer = Layer(d, round(8 * d / 3), bias=True)
    return modernizer(Norm, lambda d, d_ff, bias: layer)(model)


def with_options(model):
    return GPT(replace(model.config, norm="rms", feed_forward="swiglu"))


def wide(model):
    return modernizer(Norm, lambda d, d_ff, bias: Layer(d, 4 * d, bias))(model)


def of_width(units):
    return modernizer(Norm, lambda d, d_ff, bias: Layer(d, units(d), bias))


def without_biases(model):
    return modernizer(Norm, lambda d, d_ff, bias: Layer(d, d_ff))(model)


def another_attention(model):
    for block in modernizer(Norm, Layer)(model).blocks:
        block.attention = nn.Identity()
    return model


def frozen(model):
    modernizer(Norm, Layer)(model).norm.gain.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("modernize", "message"),
    [
        (final_norm_forgotten, "`norm (the last one)` is PyTorch's `LayerNorm`"),
        (second_norm_forgotten, "`blocks[0].norm2` is PyTorch's `LayerNorm`"),
        (layers_forgotten, "`blocks[0].mlp` is the given model's `FeedForward`"),
        (modernizer(nn.RMSNorm, Layer), "`blocks[0].norm1` is PyTorch's `RMSNorm`"),
        (modernizer(ByLlama, Layer), "`blocks[0].norm1` is a `ByLlama`"),
        (one_norm_for_all, "one and the same module"),
        (one_layer_for_all, "one and the same module"),
        (with_options, "should be one of your own"),
        (wide, "as wide as the GELU layer was"),
        (of_width(lambda d: int(8 * d / 3)), "26 units for d_model = 10. One unit more or less"),
        (of_width(lambda d: -(-8 * d // 3)), "38 units for d_model = 14. One unit more or less"),
        (of_width(lambda d: 171), "the width for d_model = 64"),
        (of_width(lambda d: 3 * d), "30 units for d_model = 10. Is that the width of (c)"),
        (without_biases, "`blocks[0].mlp.gate` has no bias"),
        (another_attention, "`blocks.0.attention.qkv.weight` is missing"),
        (frozen, "there is no gradient for `norm.gain`"),
        (lambda model: [model], "Return a `GPT`"),
    ],
)
def test_each_wrong_model_is_named(modernize, message):
    result = check.rmsnorm_swiglu(Norm, Layer, modernize)
    assert result.status == "failed"
    assert message in result.messages


def test_layers_of_other_names_are_named():
    modernize = modernizer(Norm, lambda d, d_ff, bias: OtherNames(d, d_ff, bias))
    result = check.rmsnorm_swiglu(modernize=modernize)
    assert result.status == "failed"
    assert "`blocks[0].mlp` has no `nn.Linear` called `gate`" in result.messages


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"swiglu_width": 256}, "half as many weights again"),
        ({"swiglu_width": 170}, "one unit more"),
        ({"swiglu_width": 64 * 8 / 3}, "whole number of units"),
        ({"swiglu_width": 64 * 4 / 3}, "how many matrices"),
        ({"swiglu_width": 128}, "by a quarter"),
        ({"swiglu_width": 192}, "by an eighth"),
        ({"swiglu_width": 172}, "Hardware may like a multiple of 4"),
        ({"swiglu_width": 168}, "168 is not the whole number that comes closest. (Hardware"),
        ({"swiglu_width": 176}, "that was not the question"),
        ({"swiglu_width": 173}, "173 is not the whole number that comes closest"),
        ({"llama_width": 11264}, "one multiple of 256 too many"),
        ({"llama_width": 22016}, "gate and up together"),
        ({"llama_width": 4096 * 8 / 3}, "not yet a multiple"),
        ({"llama_width": 10923}, "no multiple of 256"),
        ({"llama_width": 10922}, "no multiple of 256"),
        ({"llama_width": 10752}, "the one above"),
        ({"llama_width": 16384}, "GELU layer"),
        ({"llama_width": "11008 units"}, "plain number"),
    ],
)
def test_each_wrong_number_is_named(answers, message):
    result = check.rmsnorm_swiglu(**answers)
    assert result.status == "failed"
    assert message in result.messages
    own_words = re.sub(r"got '.*'", "", result.messages)
    assert "171" not in own_words
    assert "11008" not in own_words.replace(",", "")


# --- Not attempted, and rubbish -------------------------------------------------------------------


def test_the_placeholders_are_not_attempted():
    class EmptyNorm(nn.Module):
        def __init__(self, d_model, eps=1e-5):
            super().__init__()
            ...  # your code

        def forward(self, x): ...  # your code

    class EmptyLayer(nn.Module):
        def __init__(self, d_model, d_ff, bias=False):
            super().__init__()
            ...  # your code

        def forward(self, x): ...  # your code

    def modernize(model): ...  # your code

    assert check.rmsnorm_swiglu(EmptyNorm, EmptyLayer, modernize).status == "not attempted"
    assert check.rmsnorm_swiglu().status == "not attempted"


@pytest.mark.parametrize("answer", [3, "text", torch.ones(3), lambda *args, **kwargs: 3, dict])
@pytest.mark.parametrize("name", ["norm_class", "feed_forward_class", "modernize"])
def test_rubbish_fails_without_an_exception(name, answer):
    assert check.rmsnorm_swiglu(**{name: answer}).status == "failed"
