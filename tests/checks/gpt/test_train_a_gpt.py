"""The check of exercise 35.05 takes GPTs of many styles and names each known mistake."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmbook import check
from llmbook.data import corpus
from llmbook.data.stories import entropy
from llmbook.gpt import GPT, GPTConfig
from llmbook.train import TrainConfig, random_windows, train
from page_code import definitions

# --- Right models, structurally different ---------------------------------------------------------


class ByHand(nn.Module):
    """All in one class, attention by hand with a mask of −∞; the mistakes below change a part."""

    def __init__(self, vocab_size, context_length, d_model, n_layers, n_heads):
        super().__init__()
        self.heads, d = n_heads, d_model
        self.embed = nn.Embedding(vocab_size, d)
        self.place = nn.Parameter(0.02 * torch.randn(1, context_length, d))
        self.blocks = nn.ModuleList(nn.ModuleDict(self.parts(d)) for _ in range(n_layers))
        self.last, self.head = nn.LayerNorm(d), nn.Linear(d, vocab_size)
        nn.init.normal_(self.embed.weight, std=0.02)

    def parts(self, d):
        linear = {name: nn.Linear(d, d) for name in ("q", "k", "v", "o")}
        norms = {"norm1": nn.LayerNorm(d), "norm2": nn.LayerNorm(d)}
        return {**linear, **norms, "mlp": self.mlp(d)}

    def mlp(self, d):
        return nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def split(self, x):
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def join(self, x):
        return x.transpose(1, 2).flatten(-2)

    def mask(self, n):
        return torch.ones(n, n, dtype=torch.bool).tril()

    def weights(self, scores):
        n = scores.shape[-1]
        return scores.masked_fill(~self.mask(n), -math.inf).softmax(dim=-1)

    def attend(self, block, x):
        q, k, v = (self.split(block[name](x)) for name in "qkv")
        weights = self.weights(q @ k.mT / q.shape[-1] ** 0.5)
        return block["o"](self.join(weights @ v))

    def block(self, block, x):
        x = x + self.attend(block, block["norm1"](x))
        return x + block["mlp"](block["norm2"](x))

    def start(self, tokens):
        return self.embed(tokens) + self.place[:, : tokens.shape[1]]

    def end(self, x):
        return self.head(self.last(x))

    def forward(self, tokens):
        x = self.start(tokens)
        for block in self.blocks:
            x = self.block(block, x)
        return self.end(x)


class Fused(ByHand):
    def attend(self, block, x):
        q, k, v = (self.split(block[name](x)) for name in "qkv")
        return block["o"](self.join(F.scaled_dot_product_attention(q, k, v, is_causal=True)))


class MultiheadBlock(nn.Module):
    def __init__(self, d, n_heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attention = nn.MultiheadAttention(d, n_heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Linear(2 * d, d))

    def forward(self, x):
        n = x.shape[1]
        later = torch.ones(n, n, dtype=torch.bool).triu(1)
        y = self.norm1(x)
        x = x + self.attention(y, y, y, attn_mask=later, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Multihead(nn.Module):
    """PyTorch's attention layer, dropout, and an output matrix tied to the embedding."""

    def __init__(self, vocab_size, context_length, d_model, n_layers, n_heads):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab_size, d_model), nn.Embedding(1024, d_model)
        self.drop = nn.Dropout(0.05)
        self.blocks = nn.Sequential(*(MultiheadBlock(d_model, n_heads) for _ in range(n_layers)))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab_size, bias=False)
        self.head.weight = self.wte.weight
        nn.init.normal_(self.wte.weight, std=0.02)
        nn.init.normal_(self.wpe.weight, std=0.02)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.size(1), device=tokens.device))
        return self.head(self.norm(self.blocks(self.drop(x))))


class Encoder(nn.Module):
    """PyTorch's encoder with a causal mask."""

    def __init__(self, vocab_size, context_length, d_model, n_layers, n_heads, norm_first=True):
        super().__init__()
        self.embed, self.place = (nn.Embedding(n, d_model) for n in (vocab_size, context_length))
        layer = nn.TransformerEncoderLayer(
            d_model, n_heads, 4 * d_model, 0.0, "gelu", batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(
            layer, n_layers, nn.LayerNorm(d_model), enable_nested_tensor=False
        )
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, tokens):
        n = tokens.shape[1]
        x = self.embed(tokens) + self.place.weight[:n]
        mask = nn.Transformer.generate_square_subsequent_mask(n)
        return self.head(self.encoder(x, mask=mask, is_causal=True))


def post_norm(**sizes):
    return Encoder(**sizes, norm_first=False)


class AsGPT2(ByHand):
    """Tied matrices, all with a standard deviation of 0.02, biases at zero, and dropout."""

    dropout = 0.0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.head = nn.Linear(self.head.in_features, self.head.out_features, bias=False)
        self.head.weight = self.embed.weight
        for name, p in self.named_parameters():
            if p.ndim > 1:
                nn.init.normal_(p, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def attend(self, block, x):
        return F.dropout(super().attend(block, x), self.dropout, self.training)


class AsGPT2WithDropout(AsGPT2):
    dropout = 0.1


class ZeroHead(ByHand):
    """All tokens equally likely at the start."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


class ZeroHeadSmallBlocks(ZeroHead):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for p in self.blocks.parameters():
            if p.ndim > 1:
                nn.init.normal_(p, std=0.02)


class Tanh(ByHand):
    def mlp(self, d):
        return nn.Sequential(nn.Linear(d, 4 * d), nn.Tanh(), nn.Linear(4 * d, d))


class ByHeads(ByHand):
    """Small matrices of its own for each head."""

    def parts(self, d):
        heads, small = self.heads, d // self.heads
        maps = {n: nn.ModuleList(nn.Linear(d, small) for _ in range(heads)) for n in "qkv"}
        back = nn.ModuleList(nn.Linear(small, d) for _ in range(heads))
        norms = {"norm1": nn.LayerNorm(d), "norm2": nn.LayerNorm(d)}
        return {**maps, **norms, "o": back, "mlp": self.mlp(d)}

    def attend(self, block, x):
        out = 0
        for q, k, v, o in zip(*(block[name] for name in "qkvo"), strict=True):
            scores = q(x) @ k(x).mT / q.out_features**0.5
            out = out + o(self.weights(scores) @ v(x))
        return out


class Loops(ByHand):
    """One query after the other, without a mask, and log-probabilities for logits."""

    def attend(self, block, x):
        q, k, v = (self.split(block[name](x)) for name in "qkv")
        rows = []
        for t in range(x.shape[1]):
            scores = torch.einsum("bhd,bhsd->bhs", q[:, :, t], k[:, :, : t + 1])
            weights = (scores / q.shape[-1] ** 0.5).softmax(-1)
            rows.append(torch.einsum("bhs,bhsd->bhd", weights, v[:, :, : t + 1]).flatten(1))
        return block["o"](torch.stack(rows, dim=1))

    def end(self, x):
        return super().end(x).log_softmax(dim=-1)


class ZeroStart(ByHand):
    """Matrices that add to the residual stream start at zero, and a sinusoidal encoding."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for block in self.blocks:
            nn.init.zeros_(block["o"].weight)
            nn.init.zeros_(block["mlp"][2].weight)
        n, d = self.place.shape[1:]
        angles = torch.arange(n)[:, None] * 100 ** (-torch.arange(0, d, 2) / d)
        del self.place
        self.register_buffer("place", torch.cat([angles.sin(), angles.cos()], -1)[None])


class Frozen(ByHand):
    """Positions that are not trained, in float64 matrices, and parallel attention and MLP."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.place.requires_grad_(False)
        self.double()

    def block(self, block, x):
        return x + self.attend(block, block["norm1"](x)) + block["mlp"](block["norm2"](x))


def package(**config):
    def build(vocab_size, context_length, d_model, n_layers, n_heads):
        sizes = (vocab_size, n_layers, n_heads, d_model, context_length)
        return GPT(GPTConfig(*sizes, **config))

    return build


RIGHT = {
    "by hand": ByHand,
    "fused": Fused,
    "nn.MultiheadAttention, tied": Multihead,
    "nn.TransformerEncoder": Encoder,
    "as GPT-2, tied": AsGPT2,
    "as GPT-2, tied, dropout": AsGPT2WithDropout,
    "zero head": ZeroHead,
    "zero head, small blocks": ZeroHeadSmallBlocks,
    "tanh": Tanh,
    "matrices of each head": ByHeads,
    "loops, log-probabilities": Loops,
    "zero start, sinusoidal": ZeroStart,
    "frozen positions, float64, parallel": Frozen,
    "the package's, learned": package(positions="learned"),
    "the package's, Llama": package(norm="rms", feed_forward="swiglu", n_kv_heads=1, bias=False),
    "the package's, tied": package(norm="rms", feed_forward="swiglu", tied=True),
}


# --- Right losses ---------------------------------------------------------------------------------


def with_cross_entropy(model, windows):
    logits = model(windows[:, :-1])
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), windows[:, 1:].reshape(-1))


def transposed(model, windows):
    return F.cross_entropy(model(windows[:, :-1]).mT, windows[:, 1:])


def from_logs(model, windows):
    logs = model(windows[:, :-1]).double().log_softmax(-1)
    return -logs.gather(-1, windows[:, 1:, None]).mean()[None]


def in_loops(model, windows):
    logits = model(windows[:, :-1])
    total = 0
    for b in range(windows.shape[0]):
        for t in range(windows.shape[1] - 1):
            total = total + logits[b, t].logsumexp(0) - logits[b, t, windows[b, t + 1]]
    return total / (windows.shape[0] * (windows.shape[1] - 1))


LOSSES = [with_cross_entropy, transposed, from_logs, in_loops]


@pytest.mark.parametrize("style", RIGHT)
def test_models_of_every_style_pass(style):
    result = check.train_a_gpt(RIGHT[style])
    assert not result.messages, result
    assert sum(outcome.status == "passed" for outcome in result.outcomes) == 13


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_every_style_pass(loss):
    result = check.train_a_gpt(ByHand, loss)
    assert not result.messages, result
    assert sum(outcome.status == "passed" for outcome in result.outcomes) == 16


FLOOR = entropy().nats_per_token
NUMBERS = {
    "uniform_loss": math.log(800),
    "held_out_loss": 1.81,
    "held_out_perplexity": math.exp(1.81),
    "floor_perplexity": math.exp(FLOOR),
    "random_windows": "above",
}


def test_everything_together_passes():
    result = check.train_a_gpt(ByHand, with_cross_entropy, **NUMBERS)
    assert result.passed, result


@pytest.mark.parametrize(
    "numbers",
    [
        {"uniform_loss": 6.68, "held_out_loss": "1.81"} | {"held_out_loss": np.float32(2.05)},
        {"held_out_loss": torch.tensor(1.2), "held_out_perplexity": torch.tensor(3.32)},
        {"floor_perplexity": 3.18, "random_windows": "Above"},
        {"floor_perplexity": np.exp(1.16), "held_out_loss": [1.9][0], "held_out_perplexity": 6.7},
    ],
)
def test_numbers_of_every_format_pass(numbers):
    assert not check.train_a_gpt(**numbers).messages


# --- Wrong models ---------------------------------------------------------------------------------


class NoMask(ByHand):
    def mask(self, n):
        return torch.ones(n, n, dtype=torch.bool)


class MaskShifted(ByHand):
    def mask(self, n):
        return torch.ones(n, n, dtype=torch.bool).tril(1)


class MaskReversed(ByHand):
    def mask(self, n):
        return torch.ones(n, n, dtype=torch.bool).triu()


class MaskHidesItself(ByHand):
    def mask(self, n):
        return torch.ones(n, n, dtype=torch.bool).tril(-1)


class MaskHidesItselfFinite(MaskHidesItself):
    def weights(self, scores):
        return scores.masked_fill(~self.mask(scores.shape[-1]), -1e9).softmax(dim=-1)


class MaskHidesItselfZero(MaskHidesItself):
    def weights(self, scores):
        return super().weights(scores).nan_to_num(0.0)


class MaskAfterSoftmax(ByHand):
    def weights(self, scores):
        return scores.softmax(dim=-1) * self.mask(scores.shape[-1])


class SoftmaxOverQueries(ByHand):
    def weights(self, scores):
        return scores.masked_fill(~self.mask(scores.shape[-1]), -math.inf).softmax(dim=-2)


class SecondBlockUnmasked(ByHand):
    def attend(self, block, x):
        self.open = block is not self.blocks[0]
        return super().attend(block, x)

    def mask(self, n):
        return torch.ones(n, n, dtype=torch.bool) if self.open else super().mask(n)


class Window(ByHand):
    def mask(self, n):
        return super().mask(n).triu(-3)


class HeadsMixed(ByHand):
    """Attention among the heads of each token."""

    def attend(self, block, x):
        q, k, v = (block[name](x).unflatten(-1, (self.heads, -1)) for name in "qkv")
        return block["o"](F.scaled_dot_product_attention(q, k, v).flatten(-2))


class NoAttention(ByHand):
    def block(self, block, x):
        return x + block["mlp"](block["norm2"](x))


class NoPositions(ByHand):
    def start(self, tokens):
        return self.embed(tokens)


class OnePositionForAll(ByHand):
    def start(self, tokens):
        return self.embed(tokens) + self.place[:, :1]


class BatchMixed(ByHand):
    def attend(self, block, x):
        return super().attend(block, x) + x.mean(dim=0)


class PositionsAlongTheBatch(ByHand):
    def start(self, tokens):
        return self.embed(tokens) + self.place[0, : len(tokens), None]


class BatchNorm(ByHand):
    def end(self, x):
        return super().end((x - x.mean(dim=0)) / (x.std(dim=0, correction=0) + 1))


class BatchSecond(Multihead):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for block in self.blocks:
            block.attention.batch_first = False


class Probabilities(ByHand):
    def end(self, x):
        return super().end(x).softmax(dim=-1)


class ProbabilitiesOverPositions(ByHand):
    def end(self, x):
        return super().end(x).softmax(dim=1)


class PositiveLogits(ByHand):
    def end(self, x):
        return super().end(x).relu()


class PlainList(ByHand):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        blocks = list(self.blocks)
        del self.blocks
        self.blocks = blocks


class TwiceTheSame(ByHand):
    def __init__(self, vocab_size, context_length, d_model, n_layers, n_heads):
        super().__init__(vocab_size, context_length, d_model, 1, n_heads)
        self.blocks = nn.ModuleList([self.blocks[0]] * n_layers)


class OneHead(ByHand):
    def split(self, x):
        return x[:, None]


class NoResidual(ByHand):
    def block(self, block, x):
        return block["mlp"](block["norm2"](self.attend(block, block["norm1"](x))))


class NoResidualOfAttention(ByHand):
    def block(self, block, x):
        x = self.attend(block, block["norm1"](x))
        return x + block["mlp"](block["norm2"](x))


class NoResidualOfMLP(ByHand):
    def block(self, block, x):
        x = x + self.attend(block, block["norm1"](x))
        return block["mlp"](block["norm2"](x))


class NormAfterSum(ByHand):
    def block(self, block, x):
        x = block["norm1"](x + self.attend(block, x))
        return block["norm2"](x + block["mlp"](x))


class NoFirstNorm(ByHand):
    def block(self, block, x):
        x = x + self.attend(block, x)
        return x + block["mlp"](block["norm2"](x))


class NoSecondNorm(ByHand):
    def block(self, block, x):
        x = x + self.attend(block, block["norm1"](x))
        return x + block["mlp"](x)


class NormedStream(ByHand):
    """x itself is replaced by its norm."""

    def block(self, block, x):
        x = block["norm1"](x)
        x = x + self.attend(block, x)
        return x + block["mlp"](block["norm2"](x))


class NoLastNorm(ByHand):
    def end(self, x):
        return self.head(x)


class NoActivation(ByHand):
    def mlp(self, d):
        return nn.Sequential(nn.Linear(d, 4 * d), nn.Linear(4 * d, d))


class Detached(ByHand):
    def attend(self, block, x):
        return super().attend(block, x).detach()


class NoGradient(ByHand):
    def forward(self, tokens):
        with torch.no_grad():
            return super().forward(tokens)


class Unused(ByHand):
    def block(self, block, x):
        x = x + self.attend(block, block["norm1"](x))
        return x + block["mlp"](block["norm1"](x))


class TiedTooLarge(ByHand):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        nn.init.normal_(self.embed.weight)
        self.head.weight = self.embed.weight


class LastOnly(ByHand):
    def end(self, x):
        return super().end(x[:, -1])


class VocabularyBeforePositions(ByHand):
    def end(self, x):
        return super().end(x).mT


class Flattened(ByHand):
    def end(self, x):
        return super().end(x).flatten(0, 1)


class NoHead(ByHand):
    def end(self, x):
        return self.last(x)


class BatchFirstLost(ByHand):
    def end(self, x):
        return super().end(x).transpose(0, 1)


class TokensOut(ByHand):
    def end(self, x):
        return super().end(x).argmax(dim=-1)


class WithLoss(ByHand):
    def forward(self, tokens, targets=None):
        return super().forward(tokens), None


class InDictionary(ByHand):
    def forward(self, tokens):
        return {"logits": super().forward(tokens)}


class WholeContextOnly(ByHand):
    def start(self, tokens):
        return self.embed(tokens) + self.place


class FixedMask(ByHand):
    def __init__(self, vocab_size, context_length, *args, **kwargs):
        super().__init__(vocab_size, context_length, *args, **kwargs)
        self.context = context_length

    def mask(self, n):
        return torch.ones(self.context, self.context, dtype=torch.bool).tril()


WRONG = {
    NoMask: "sees the future",
    MaskShifted: "off by one",
    MaskReversed: "wrong way around",
    MaskHidesItself: "NaN or infinity at the first position",
    MaskHidesItselfFinite: "The first position sees later tokens",
    MaskHidesItselfZero: "hides a position's own token",
    MaskAfterSoftmax: "applied only after the softmax",
    SoftmaxOverQueries: "taken over the queries",
    SecondBlockUnmasked: "sees the future",
    Window: "every position attends to all tokens up to itself",
    HeadsMixed: "last dimension but one of q, k and v",
    NoAttention: "Is the attention used in `forward`",
    NoPositions: "no positions get into the model",
    OnePositionForAll: "the same one for all",
    BatchMixed: "change with the other texts of the batch",
    PositionsAlongTheBatch: "no positions get into the model",
    BatchNorm: "change with the other texts of the batch",
    BatchSecond: "`batch_first=True`",
    Probabilities: "a softmax has been applied",
    ProbabilitiesOverPositions: "a softmax has been applied",
    PositiveLogits: "No logit is negative",
    PlainList: "`nn.ModuleList`",
    TwiceTheSame: "the same block twice",
    OneHead: "`n_heads` makes no difference",
    NoResidual: "replaces `x`",
    NoResidualOfAttention: "replaces `x`",
    NoResidualOfMLP: "replaces `x`",
    NormAfterSum: "is the sum normalized",
    post_norm: "is the sum normalized",
    NoFirstNorm: "Is a norm missing, before the attention",
    NoSecondNorm: "before the MLP",
    NormedStream: "is the sum normalized",
    NoLastNorm: "the norm before the linear map",
    NoActivation: "no activation function between",
    Detached: "get no gradient: `blocks.0.q.weight`",
    NoGradient: "No gradient can flow through the logits",
    Unused: "`blocks.0.norm2.weight`",
    TiedTooLarge: "weights are too large",
    LastOnly: "the logits of one position per text",
    VocabularyBeforePositions: "the vocabulary comes last",
    Flattened: "keep (B, T, V)",
    NoHead: "the linear map to the vocabulary is missing",
    BatchFirstLost: "the batch comes first",
    TokensOut: "one number per position",
    WithLoss: "returns a tuple",
    InDictionary: "returns a dictionary",
    WholeContextOnly: "cut to the length of the text",
    FixedMask: "cut to the length of the text",
}


@pytest.mark.parametrize("model", WRONG, ids=lambda model: model.__name__)
def test_mistakes_of_the_model_are_named(model):
    result = check.train_a_gpt(model, with_cross_entropy)
    assert result.status == "failed"
    assert WRONG[model] in result.messages, result


class KeepsATenth(ByHand):
    """Dropout of 0.9, where 0.9 was meant to be kept."""

    def block(self, block, x):
        return F.dropout(super().block(block, x), 0.9, self.training)


class Scaled(ByHand):
    def end(self, x):
        return 2e-3 * super().end(x)


@pytest.mark.parametrize("model", [KeepsATenth, Scaled])
def test_a_model_that_does_not_learn_is_noticed(model):
    result = check.train_a_gpt(model)
    failed = {o.name for o in result.outcomes if o.status == "failed"}
    assert failed == {"learns that two tokens take turns"}, result
    assert "guess from the last token alone" in result.messages


# --- Wrong losses ---------------------------------------------------------------------------------


def parts(model, windows):
    return model(windows[:, :-1]), windows[:, 1:]


def nats(model, windows):
    logits, targets = parts(model, windows)
    return F.cross_entropy(logits.mT, targets, reduction="none")


def everything(model, windows):
    """Logits of all tokens of a window, the last one included."""
    return model(windows), windows


def entropies(logits, targets):
    return F.cross_entropy(logits.mT, targets)


WRONG_LOSSES = {
    "not shifted": (lambda m, w: entropies(m(w[:, :-1]), w[:, :-1]), "not shifted"),
    "not shifted, all": (lambda m, w: entropies(m(w), w), "not shifted"),
    "backward": (lambda m, w: entropies(m(w)[:, 1:], w[:, :-1]), "wrong direction"),
    "backward inputs": (lambda m, w: entropies(m(w[:, 1:]), w[:, :-1]), "wrong direction"),
    "by two": (lambda m, w: entropies(m(w[:, :-1])[:, :-1], w[:, 2:]), "shifted by two"),
    "rolled": (lambda m, w: entropies(m(w), w.roll(-1, 1)), "which `roll` brings around"),
    "rolled inputs": (
        lambda m, w: entropies(m(w[:, :-1]), w[:, :-1].roll(-1, 1)),
        "which `roll` brings around",
    ),
    "summed": (lambda m, w: nats(m, w).sum(), "asks for the mean"),
    "summed per text": (lambda m, w: nats(m, w).sum(1).mean(), "averaged over the windows"),
    "summed per position": (lambda m, w: nats(m, w).sum(0).mean(), "averaged over the positions"),
    "divided by all": (lambda m, w: nats(m, w).sum() / w.numel(), "divided by B·(n + 1)"),
    "negative": (lambda m, w: -nats(m, w).mean(), "minus sign is missing"),
    "perplexity": (lambda m, w: nats(m, w).mean().exp(), "This is the perplexity"),
    "bits": (lambda m, w: nats(m, w).mean() / math.log(2), "in bits"),
    "softmax twice": (
        lambda m, w: entropies(m(w[:, :-1]).softmax(-1), w[:, 1:]),
        "softmax is taken twice",
    ),
    "mean probability": (
        lambda m, w: -(-nats(m, w)).exp().mean().log(),
        "averaged before the logarithm",
    ),
    "no logarithm": (lambda m, w: 1 - (-nats(m, w)).exp().mean(), "without a logarithm"),
    "no logarithm, negative": (lambda m, w: -(-nats(m, w)).exp().mean(), "without a logarithm"),
    "last only": (lambda m, w: nats(m, w)[:, -1].mean(), "Only the last token"),
    "one left out": (lambda m, w: nats(m, w)[:, :-1].mean(), "A prediction is left out"),
    "first left out": (lambda m, w: nats(m, w)[:, 1:].mean(), "A prediction is left out"),
    "order": (
        lambda m, w: F.cross_entropy(m(w[:, :-1]).flatten(0, 1), w[:, 1:].T.flatten()),
        "flattened in different orders",
    ),
    "view": (
        lambda m, w: entropies(m(w[:, :-1]).reshape(len(w), -1, w.shape[1] - 1).mT, w[:, 1:]),
        "by `reshape` or `view`",
    ),
    "not reduced": (nats, "one loss per predicted token"),
    "flat": (lambda m, w: nats(m, w).flatten(), "one loss per predicted token"),
    "per window": (lambda m, w: nats(m, w).mean(1), "one loss per window"),
    "per position": (lambda m, w: nats(m, w).mean(0), "one loss per position"),
    "a float": (lambda m, w: nats(m, w).mean().item(), "plain float"),
    "detached": (lambda m, w: nats(m, w).mean().detach(), "no gradient can flow"),
    "all of the window": (
        lambda m, w: entropies(m(w)[:, :-1], w[:, 1:]),
        "the last token is a target only",
    ),
}


@pytest.mark.parametrize("name", WRONG_LOSSES)
def test_mistakes_of_the_loss_are_named(name):
    loss, message = WRONG_LOSSES[name]
    result = check.train_a_gpt(ByHand, loss)
    assert result.status == "failed"
    assert message in result.messages, result


# --- Wrong numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"uniform_loss": math.log2(800)}, "in bits"),
        ({"uniform_loss": 800}, "the perplexity of such a model"),
        ({"uniform_loss": 1 / 800}, "the probability of each token"),
        ({"uniform_loss": math.log10(800)}, "decimal logarithm"),
        ({"uniform_loss": math.log(64)}, "of the width or of the context"),
        ({"held_out_loss": 0.8}, "below the floor by more than chance"),
        ({"held_out_loss": 6.7}, "has not learned"),
        ({"held_out_loss": 5.98}, "or a perplexity"),
        ({"held_out_loss": 3.1}, "a table of which word follows which"),
        ({"held_out_loss": "low"}, "one number"),
        ({"held_out_loss": math.nan}, "one number"),
        ({"held_out_loss": [1.8, 1.7]}, "one number"),
        ({"held_out_loss": 1.8, "held_out_perplexity": 1.8}, "the loss again"),
        ({"held_out_loss": 1.8, "held_out_perplexity": 2**1.8}, "loss is in bits"),
        ({"held_out_loss": 1e9, "held_out_perplexity": 6.0}, "not right"),
        ({"held_out_loss": "low", "held_out_perplexity": 6.0}, "not right"),
        ({"floor_perplexity": FLOOR}, "asks for the perplexity"),
        ({"floor_perplexity": 2**FLOOR}, "the base is e"),
        ({"floor_perplexity": FLOOR / math.log(2)}, "entropy in bits"),
        ({"floor_perplexity": math.exp(entropy().nats_per_character)}, "per character"),
        ({"random_windows": "at"}, "from its beginning"),
        ({"random_windows": "below"}, "smaller expected loss"),
        ({"random_windows": 3}, "Choose one of"),
    ],
)
def test_mistakes_of_the_numbers_are_named(numbers, message):
    result = check.train_a_gpt(**numbers)
    assert result.status == "failed"
    assert message in result.messages, result


# --- Placeholders, rubbish, secrets ---------------------------------------------------------------


class Untouched(torch.nn.Module):
    def __init__(self, vocab_size, context_length, d_model, n_layers, n_heads):
        super().__init__()
        ...  # your code

    def forward(self, tokens): ...  # your code


def untouched_loss(model, windows): ...  # your code


@pytest.mark.parametrize("build", [None, ..., Untouched])
@pytest.mark.parametrize("loss", [None, untouched_loss])
def test_placeholders_are_not_attempted(build, loss):
    result = check.train_a_gpt(build, loss)
    assert {outcome.status for outcome in result.outcomes} == {"not attempted"}


def test_a_loss_alone_can_be_checked():
    result = check.train_a_gpt(loss=with_cross_entropy)
    assert not result.messages
    assert sum(outcome.status == "passed" for outcome in result.outcomes) == 2


@pytest.mark.parametrize(
    "build",
    [
        3,
        "GPT",
        lambda **sizes: 3,
        lambda **sizes: None,
        lambda vocab_size: ByHand(vocab_size, 11, 16, 2, 4),
        lambda **sizes: nn.Linear(2, 2),
        lambda **sizes: nn.Embedding(23, 5),
        ByHand(23, 11, 16, 2, 4),
        type("Words", (nn.Module,), {"__init__": lambda s, **k: None, "forward": len}),
    ],
)
def test_rubbish_for_a_model_fails_and_does_not_raise(build):
    assert check.train_a_gpt(build, with_cross_entropy).status in ("failed", "not attempted")
    if build != RIGHT:
        assert not check.train_a_gpt(build).passed


@pytest.mark.parametrize("loss", [3, "loss", lambda m, w: "low", lambda m, w: None, lambda: 0, len])
def test_rubbish_for_a_loss_fails_and_does_not_raise(loss):
    result = check.train_a_gpt(ByHand, loss)
    assert not any(o.name.startswith("loss") and o.status == "passed" for o in result.outcomes)


def test_no_message_holds_an_answer():
    wrong = {"uniform_loss": 5.0, "held_out_loss": 2.0, "held_out_perplexity": 9.0}
    result = check.train_a_gpt(TiedTooLarge, **wrong, floor_perplexity=2.0, random_windows="at")
    text = repr(result)
    for secret in (math.log(800), math.exp(2.0), math.exp(FLOOR)):
        assert f"{secret:.2f}" not in text
    assert "above" not in result.messages.split("with the sizes")[0].lower().replace(
        "nats above", ""
    )


# --- What the page says of the package ------------------------------------------------------------


def test_model_and_loop_of_the_page_take_the_steps_of_the_package():
    page = definitions(
        "gpt/minimal-gpt", "GPT_SHAPE", "MinimalGPT", "anywhere", "train_minimal_gpt"
    )
    text = corpus(train=100, validation=1, test=1).train
    context = page.GPT_SHAPE["context_length"]
    torch.manual_seed(0)
    written_out = page.MinimalGPT(800, **page.GPT_SHAPE)
    package = GPT(GPTConfig(800, positions="learned", **page.GPT_SHAPE))
    with torch.no_grad():
        for theirs, ours in zip(package.parameters(), written_out.parameters(), strict=True):
            assert theirs.shape == ours.shape
            theirs.copy_(ours)
    config = TrainConfig(steps=5, learning_rate=1e-2, warmup_steps=2)
    theirs = list(train(package, random_windows(text, 16, context), config))
    ours = list(page.train_minimal_gpt(written_out, page.anywhere(text, context), 5, warmup=2))
    assert [step for step, _ in ours] == [record["step"] for record in theirs]
    assert [loss for _, loss in ours] == pytest.approx([r["loss"] for r in theirs], rel=1e-5)
    assert ours[-1][1] < ours[0][1] - 0.3
