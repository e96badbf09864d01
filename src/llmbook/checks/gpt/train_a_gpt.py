"""Check of exercise 35.05, a minimal GPT and its loss."""

import itertools
import math
from collections.abc import Callable
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
    expect_shape,
    is_placeholder,
    to_tensor,
)
from llmbook.data.stories import entropy

VOCAB, CONTEXT, WIDTH, HEADS = 23, 11, 16, 4  # no size of a block equals one of the first two
BATCH = 3
STORY_VOCAB, STORY_CONTEXT, STORY_WIDTH = 800, 64, 64
SEEN = 1e-4
"""How far a logit has to move to count as moved; the weights are drawn to move them by about 1."""
STEPS, SYMBOLS = 100, 6
HUGE = 1e4
"""Factor of the embeddings at which nothing counts that a block with a norm adds."""
TIME_LIMIT = 15.0
"""Seconds for the learner's code: it is called some 150 times, maybe on a busy machine."""
PAIRS = 2.7
"""Nats per token; the best guess from the last token alone gets 2.78 on openings of stories."""


def train_a_gpt(
    build: Callable[..., nn.Module] | None = None,
    loss: Callable[..., Tensor] | None = None,
    *,
    uniform_loss: float | None = None,
    held_out_loss: float | None = None,
    held_out_perplexity: float | None = None,
    floor_perplexity: float | None = None,
    random_windows: str | None = None,
) -> Result:
    """Check a small GPT and its next-token loss; pass any subset of the answers.

    Not tested: the scale of the attention scores, and whether attention and MLP work one after the
    other or side by side.

    Parameters
    ----------
    build
        (a) The model's class, or a function that makes one, called with the names ``vocab_size``,
        ``context_length``, ``d_model``, ``n_layers`` and ``n_heads``. The model maps token ids
        (B, T), T from 1 to ``context_length``, to logits (B, T, ``vocab_size``).
    loss
        (b) ``loss(model, windows)``: token ids (B, n + 1), n up to the model's context, to a
        scalar, in nats per predicted token.
    uniform_loss
        (a) Loss, in nats per token, of a model that gives all 800 tokens the same probability.
    held_out_loss, held_out_perplexity
        (c) What your own model reaches on held-out stories; the loss in nats per token.
    floor_perplexity
        (d) Perplexity per token at the entropy of the stories.
    random_windows
        (d) "above", "at" or "below".
    """
    session = Session("train_a_gpt", build, limit=TIME_LIMIT)
    _check_model(session, build)
    _check_loss(session, loss, build)
    _check_numbers(
        session, uniform_loss, held_out_loss, held_out_perplexity, floor_perplexity, random_windows
    )
    return session.result()


# --- (a) The model --------------------------------------------------------------------------------


def _check_model(session: Session, build: Any) -> None:
    works = False

    def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
        return _logits(session, model, tokens)

    def made(**sizes: int) -> nn.Module:
        return _stirred(_make(session, build, **sizes))

    @session.test("logits for every token")
    def _() -> None:
        nonlocal works
        model = _make(session, build)
        for length in (CONTEXT, 5, 1):
            try:
                logits_of(model, _tokens(BATCH, length))
            except Failure as failure:
                raise Failure(str(failure) + _about_length(str(failure), length)) from None
        works = True

    if not works:  # the other tests would repeat what this one said
        return

    @session.test("logits, not probabilities")
    def _() -> None:
        logits = logits_of(made(), _tokens(BATCH, CONTEXT))
        _expect_finite(logits)
        if (logits >= 0).all():
            sums = [logits.sum(dim=dim) for dim in range(3)]
            if any(torch.allclose(total, torch.ones_like(total), atol=1e-3) for total in sums):
                raise Failure(
                    "These are probabilities: a softmax has been applied. The model returns logits;"
                    " the loss takes the softmax."
                )
            raise Failure(
                "No logit is negative: is there an activation function after the last linear map?"
            )

    @session.test("causal")
    def _() -> None:
        for n_layers in (1, 2):
            _expect_causal(_influence(session, made(n_layers=n_layers)))

    @session.test("sees all earlier tokens")
    def _() -> None:
        _expect_past(_influence(session, made(n_layers=1)))
        _expect_itself(session, made(n_layers=1))

    @session.test("knows the order of the tokens")
    def _() -> None:
        model, tokens = made(n_layers=1), _tokens(1, CONTEXT)
        turned = torch.cat([tokens[:, :-1].flip(dims=(1,)), tokens[:, -1:]], dim=1)
        if _same(logits_of(model, turned)[:, -1], logits_of(model, tokens)[:, -1]):
            raise Failure(
                "In a model of one block, the last logits stay the same when the earlier tokens "
                "change their order: no positions get into the model, or the same one for all."
            )

    @session.test("texts of a batch do not mix")
    def _() -> None:
        model, tokens = made(), _tokens(BATCH, CONTEXT)
        other = tokens.clone()
        other[1:] = (other[1:] + 1) % VOCAB
        before = logits_of(model, tokens)[0]
        if not _same(before, logits_of(model, other)[0]):
            raise Failure(
                "The logits of one text change with the other texts of the batch: something mixes "
                "the wrong dimension. (`nn.MultiheadAttention` takes the batch as its second "
                "dimension unless `batch_first=True`; position embeddings belong to dimension 1.)"
            )
        if not _same(before, logits_of(model, tokens[:1])[0]):
            raise Failure(
                "The logits of a text are others when it is alone than in a batch of three."
            )

    @session.test("blocks: `n_layers` of them, and all registered")
    def _() -> None:
        sizes = [_size(_make(session, build, n_layers=n)) for n in (1, 2)]
        if sizes[0] == sizes[1]:
            raise Failure(
                "With `n_layers=2` the model has as many parameters as with 1. Is `n_layers` used, "
                "is it the same block twice, or are the blocks in a plain list, where PyTorch (and "
                "so the optimizer) does not find them? That is what `nn.ModuleList` is for."
            )
        models = [made(n_heads=n) for n in (1, HEADS)]
        shapes = [[p.shape for p in model.parameters()] for model in models]
        if shapes[0] == shapes[1]:
            one, many = (logits_of(model, _tokens(BATCH, CONTEXT)) for model in models)
            if _same(one, many):
                raise Failure(
                    f"One head and {HEADS} heads give the same logits with the same weights: "
                    "`n_heads` makes no difference."
                )

    @session.test("residual connections")
    def _() -> None:
        for n_layers in (1, 2):
            model = made(n_layers=n_layers)
            with torch.no_grad():
                for p in _inner(model):
                    p.zero_()
            logits = logits_of(model, torch.arange(VOCAB)[:, None])
            if _same(logits, logits[:1].expand_as(logits)):
                raise Failure(
                    "With all matrices of the blocks at zero, the logits no longer depend on the "
                    "token: a block replaces `x` where it should add to it. Both of its parts "
                    "have a residual connection."
                )

    @session.test("norms")
    def _() -> None:
        _expect_norms(session, made())

    @session.test("activation function")
    def _() -> None:
        _expect_activation(session, _make(session, build, n_layers=1))

    @session.test("every parameter gets a gradient")
    def _() -> None:
        model, tokens = made(), _tokens(4, CONTEXT)
        _backward(logits_of(model, tokens), tokens.roll(-1, dims=1))
        missing = [
            name
            for name, p in model.named_parameters()
            if p.requires_grad and (p.grad is None or (p.ndim > 1 and not p.grad.any()))
        ]
        if missing:
            some = ", ".join(f"`{name}`" for name in missing[:3])
            raise Failure(
                f"{len(missing)} of {len(list(model.parameters()))} parameters get no gradient: "
                f"{some}{' …' * (len(missing) > 3)}. Are they used in `forward`, and is nothing "
                "cut off by `detach`, `no_grad` or an `argmax`?"
            )

    @session.test("starts close to uniform")
    def _() -> None:
        sizes = {"vocab_size": STORY_VOCAB, "context_length": STORY_CONTEXT}
        model = _make(session, build, **sizes, d_model=STORY_WIDTH)
        tokens = torch.randint(STORY_VOCAB, (4, STORY_CONTEXT + 1))
        logits = _logits(session, model, tokens[:, :-1], STORY_VOCAB)
        _expect_finite(logits)
        start = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        above = start.item() - math.log(STORY_VOCAB)
        if above > 1:
            raise Failure(
                f"With the sizes of the exercise, the untrained loss is {above:.1f} nats above "
                "that of equal probabilities: the model starts with strong opinions, because "
                "weights are too large. `nn.Embedding` draws with a standard deviation of 1, which "
                "as an output matrix is far too much."
            )

    @session.test("learns that two tokens take turns")
    def _() -> None:
        _expect_learning(session, build)


def _make(session: Session, build: Any, **sizes: int) -> nn.Module:
    """Build a model, always with the same random numbers, in evaluation mode."""
    if isinstance(build, nn.Module):
        raise Failure("Pass the class itself, not an instance: the check makes its own.")
    given = {
        "vocab_size": VOCAB,
        "context_length": CONTEXT,
        "d_model": WIDTH,
        "n_layers": 2,
        "n_heads": HEADS,
    }
    torch.default_generator.manual_seed(0)
    model = session.call(build, **{**given, **sizes})
    if not isinstance(model, nn.Module):
        raise Failure(
            f"What you passed should make an `nn.Module`; it made a `{type(model).__name__}`."
        )
    return model.eval()


def _tokens(batch: int, length: int) -> Tensor:
    """Rows of different tokens, the same in every call."""
    generator = torch.Generator().manual_seed(5)
    rows = [torch.randperm(VOCAB, generator=generator)[:length] for _ in range(batch)]
    return torch.stack(rows)


def _logits(session: Session, model: nn.Module, tokens: Tensor, vocab: int = VOCAB) -> Tensor:
    got = session.call(model, tokens)
    if isinstance(got, tuple | list):
        raise Failure(f"The model returns a {type(got).__name__}; return the logits alone.")
    if isinstance(got, dict):
        raise Failure("The model returns a dictionary; return the logits alone.")
    if not isinstance(got, Tensor):
        raise Failure(f"The model should return a tensor; it returned a `{type(got).__name__}`.")
    batch, length = tokens.shape
    known = {
        (batch, vocab): "These are the logits of one position per text. Every position makes a "
        "prediction: that is what training learns from.",
        (batch, vocab, length): "The last two dimensions are exchanged: the vocabulary comes last.",
        (batch * length, vocab): "The texts are flattened into one dimension; keep (B, T, V).",
        (length, batch, vocab): "Batch and positions are exchanged: the batch comes first.",
        (batch, length): "This is one number per position; return a logit for each token of "
        "the vocabulary.",
    }
    shape = tuple(got.shape)
    if shape != (batch, length, vocab) and shape in known:
        raise Failure(known[shape])
    if shape == (batch, length, WIDTH):
        raise Failure(
            "The last dimension is `d_model`: the linear map to the vocabulary is missing."
        )
    expect_shape(got, (batch, length, vocab))
    if not got.is_floating_point():
        raise Failure("Logits are real numbers; these are whole numbers.")
    return got


def _about_length(message: str, length: int) -> str:
    """Say which length it was, if the code broke."""
    if "raised" not in message:
        return ""
    if "attn_mask" in message and "MultiheadAttention" not in message:
        return (
            "\n(`nn.MultiheadAttention` takes the batch as its second dimension unless "
            "`batch_first=True`; a mask for it is T × T.)"
        )
    if length < CONTEXT:
        return (
            f"\nTexts of {CONTEXT} tokens, the whole context, went well; this one has {length}. "
            "Positions and mask have to be cut to the length of the text."
        )
    return ""


def _expect_finite(logits: Tensor) -> None:
    if not logits.isfinite().all():
        first = logits[:, 0].isfinite().all()
        raise Failure(
            "The logits hold NaN or infinity"
            + (
                "."
                if first
                else " at the first position: does the mask leave it nothing to attend to? A token "
                "attends to itself, too."
            )
        )


def _stirred(model: nn.Module) -> nn.Module:
    """Give all matrices random entries of a size that makes every effect visible.

    As they are initialized, some would be small or even zero.
    """
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad and p.is_floating_point():
                noise = torch.randn(p.shape, generator=generator).to(p)
                if p.ndim > 1:
                    p.copy_(noise / math.sqrt(p.shape[-1]))
                else:
                    p.add_(0.1 * noise)
    return model


def _inner(model: nn.Module) -> list[nn.Parameter]:
    """Return the matrices of the blocks: no side is the vocabulary or the context."""
    return [
        p
        for p in model.parameters()
        if p.requires_grad and p.ndim > 1 and not {VOCAB, CONTEXT} & set(p.shape)
    ]


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _same(a: Tensor, b: Tensor) -> bool:
    return bool(((a - b).abs() < SEEN).all())


def _influence(session: Session, model: nn.Module) -> Tensor:
    """Return [t, s]: whether the logits at t move when the token at s changes."""
    tokens = _tokens(2, CONTEXT)
    before = _logits(session, model, tokens)
    _expect_finite(before)
    moved = []
    for s in range(CONTEXT):
        other = tokens.clone()
        other[:, s] = (other[:, s] + 1) % VOCAB
        change = (_logits(session, model, other) - before).abs().amax(dim=(0, 2))
        moved.append(change > SEEN)
    return torch.stack(moved, dim=1)


def _expect_causal(influence: Tensor) -> None:
    later = influence.triu(1)
    if not later.any():
        return
    if not influence.tril(-1).any():
        raise Failure(
            "The mask is the wrong way around: positions see later tokens, and no earlier ones."
        )
    if not influence.triu(2).any():
        raise Failure(
            "Each position sees the next token, the one that it has to predict: the mask is off by "
            "one."
        )
    if not later[1:].any():
        raise Failure(
            "The first position sees later tokens, the others do not: its row of the mask hides "
            "everything, the token itself included, and the softmax then spreads over all."
        )
    t, s = later.nonzero()[0].tolist()
    raise Failure(
        f"The model sees the future: the logits at position {t} change when token {s} does "
        "(counted from 0). Is the mask missing, applied only after the softmax, or the softmax "
        "taken over the queries?"
    )


def _expect_past(influence: Tensor) -> None:
    earlier = influence.tril(-1)
    expected = torch.ones_like(influence).tril(-1)
    if not earlier.any():
        raise Failure(
            "No position sees an earlier token. Is the attention used in `forward`? And does it "
            "run over the tokens: are they in the last dimension but one of q, k and v?"
        )
    if not torch.equal(earlier, expected):
        t, s = (expected & ~earlier).nonzero()[0].tolist()
        raise Failure(
            f"In a model of one block, the logits at position {t} do not depend on token {s} "
            "(counted from 0): every position attends to all tokens up to itself."
        )


def _expect_itself(session: Session, model: nn.Module) -> None:
    """Fail if a position does not attend to its own token.

    The residual connection shows it the token anyhow. But a text of one token gives gradients to
    values and output matrix if attention sees the token, and to none of the attention if not. (To
    queries and keys it gives none in any case.) So count the rows of matrices that get a gradient
    from long texts only.
    """
    got = []
    for length in (CONTEXT, 1):
        model.zero_grad()
        tokens = torch.stack([torch.arange(VOCAB).roll(i) for i in range(length)], dim=1)
        _backward(_logits(session, model, tokens), (tokens + 1) % VOCAB)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in _inner(model)]
        rows = [gradient.flatten(1).abs().amax(dim=1) > 1e-7 for gradient in gradients]
        got.append(torch.cat(rows) if rows else torch.zeros(0, dtype=torch.bool))
    if int((got[0] & ~got[1]).sum()) > 3.5 * WIDTH:  # two matrices: 2 · WIDTH; all four: 4 · WIDTH
        raise Failure(
            "The attention of a text of one token does nothing: the mask hides a position's own "
            "token. A position attends to all tokens up to itself, itself included."
        )


def _expect_norms(session: Session, model: nn.Module) -> None:
    """Fail unless every block adds to x what it makes of a normalized x, and a last norm follows.

    Then what the blocks add is lost in x if the embeddings are huge. All matrices with a side of
    vocabulary or context grow, so the output matrix does, too, and with it the logits.
    """
    tokens, inner = torch.arange(VOCAB)[None, :CONTEXT], _inner(model)
    outer = [p for p in model.parameters() if p.ndim > 1 and {VOCAB, CONTEXT} & set(p.shape)]

    def logits_times(factor: float, matrices: list[nn.Parameter]) -> Tensor:
        with torch.no_grad():
            for p in matrices:
                p.mul_(factor)
            return _logits(session, model, tokens).detach().double()

    whole = logits_times(HUGE, outer)
    bare = logits_times(0.0, inner)
    if not ((whole - bare).abs() < 0.02 * bare.std()).all():
        raise Failure(
            "With huge embeddings, what a block adds to `x` should not count: it is made from a "
            "normalized `x`. Here it counts. Is a norm missing, before the attention or before the "
            "MLP, or is the sum normalized, as in `norm(x + …)`?"
        )
    if logits_times(2.0, outer).std() > 3 * bare.std():
        raise Failure(
            "The logits grow with what leaves the last block: the norm before the linear map to "
            "the vocabulary is missing."
        )


def _expect_activation(session: Session, model: nn.Module) -> None:
    """Fail if the MLP is linear: −2 in front of it and −1/2 behind cancel in no other."""
    ones = [bool((p == 1).all()) for p in model.parameters()]  # the gains of norms
    with torch.no_grad():
        for p, gain in zip(_stirred(model).parameters(), ones, strict=True):
            if p.ndim == 1:
                p.fill_(float(gain))
    tokens = _tokens(BATCH, CONTEXT)
    before = _logits(session, model, tokens)
    wide = [p for p in _inner(model) if p.ndim == 2 and max(p.shape) > min(p.shape) == WIDTH]
    pairs = [(a, b) for a, b in itertools.combinations(wide, 2) if a.shape == b.shape[::-1]]
    linear = []
    for a, b in pairs:
        with torch.no_grad():
            a.mul_(-2)
            b.mul_(-0.5)
            linear.append(_same(_logits(session, model, tokens), before))
            a.mul_(-0.5)
            b.mul_(-2)
    if pairs and all(linear):
        raise Failure(
            "The MLP is a linear map: there is no activation function between its two matrices."
        )


def _backward(logits: Tensor, targets: Tensor) -> None:
    if not logits.requires_grad:
        raise Failure(
            "No gradient can flow through the logits: look for `no_grad`, `detach` or `.data`."
        )
    F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()  # type: ignore[no-untyped-call]


def _expect_learning(session: Session, build: Any) -> None:
    """Fail unless the model learns texts a b a b a b …, of two tokens that take turns.

    The next token is the last but one. Whoever sees the last one alone has to guess.
    """
    model = _make(session, build, d_model=2 * WIDTH).train()
    pairs = [(a, b) for a in range(SYMBOLS) for b in range(SYMBOLS) if a != b]
    texts = torch.tensor(pairs).repeat(1, CONTEXT)[:, : CONTEXT + 1]
    parameters = [p for p in model.parameters() if p.requires_grad]
    mean = [torch.zeros_like(p) for p in parameters]
    square = [torch.zeros_like(p) for p in parameters]
    losses = []
    for step in range(1, STEPS + 1):
        logits = _logits(session, model, texts[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), texts[:, 1:].flatten())
        losses.append(loss.item())
        if losses[-1] < 0.9 * math.log(SYMBOLS - 1):
            return
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():  # Adam; PyTorch's own takes more than a second to load
            for p, m, v, g in zip(parameters, mean, square, gradients, strict=True):
                if g is not None:
                    m.lerp_(g, 0.1)
                    v.lerp_(g * g, 0.05)
                    scale = math.sqrt(1 - 0.95**step) / (1 - 0.9**step)
                    p.sub_(1e-2 * scale * m / (v.sqrt() + 1e-8))
    raise Failure(
        f"On texts like 3 5 3 5 3 5, {STEPS} steps of Adam took the loss from {losses[0]:.2f} "
        f"to {losses[-1]:.2f} nats: that is no better than to guess from the last token alone. "
        "If the other tests pass, look at the scale of the scores, at the size of the weights "
        "at the start (an output matrix that is zero, or tied to a small embedding, learns "
        "slowly), and at dropout, if there is any (PyTorch asks for the share to drop)."
    )


# --- (b) The loss ---------------------------------------------------------------------------------


class _Table(nn.Module):
    """Model for the tests of the loss: logits from the token and the position."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(11)
        self.tokens = nn.Parameter(2 * torch.randn(vocab, vocab, generator=generator))
        self.places = torch.randn(40, vocab, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.tokens[tokens] + self.places[: tokens.shape[1]]


def _check_loss(session: Session, loss: Any, build: Any) -> None:
    def compare(vocab: int, windows: Tensor) -> None:
        model = _Table(vocab)
        got = session.call(loss, model, windows)
        logits = model(windows).detach()  # (B, n + 1, V): the last position has no target
        expected = _nats(logits[:, :-1], windows[:, 1:]).mean()
        if isinstance(got, float):
            raise Failure("The loss is a plain float: gradients cannot flow through it.")
        value = to_tensor(got, "the loss")
        _expect_one_number(value, windows, logits)
        expect_close(
            value.reshape(()),
            expected,
            inputs={"windows": windows},
            mistakes=_loss_mistakes(model, windows),
            properties={"a loss is positive": lambda out: bool(out > 0)},
        )
        if not got.requires_grad:
            raise Failure(
                "The value is right, but no gradient can flow through it: look for `no_grad`, "
                "`detach` or `item`."
            )

    @session.test("loss: three windows of five tokens")
    def _() -> None:
        compare(7, torch.tensor([[0, 3, 1, 1, 6], [2, 5, 5, 0, 4], [6, 2, 3, 4, 1]]))

    @session.test("loss: a window of two tokens, and long ones")
    def _() -> None:
        compare(7, torch.tensor([[3, 5]]))
        compare(50, torch.randint(50, (4, 31)))

    @session.test("loss and model together")
    def _() -> None:
        if is_placeholder(build):
            session.call(None)
        windows = _tokens(BATCH, CONTEXT + 1)
        model = _make(session, build)
        _logits(session, model, windows[:, :-1])
        try:
            got = to_tensor(session.call(loss, model, windows), "the loss")
        except Failure as failure:
            if "raised" not in str(failure):
                raise
            raise Failure(
                f"{failure}\nA window of `context_length` + 1 tokens has as many inputs as the "
                "model can take: the last token is a target only."
            ) from None
        expected = _nats(session.call(model, windows[:, :-1]).detach(), windows[:, 1:]).mean()
        expect_close(got.reshape(-1).float(), expected.reshape(-1).float())


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return −log p of each target: (B, n)."""
    return -logits.log_softmax(dim=-1).gather(-1, targets[..., None])[..., 0]


def _expect_one_number(value: Tensor, windows: Tensor, logits: Tensor) -> None:
    batch, length = windows.shape
    if value.numel() == 1:
        return
    known = {
        (batch, length - 1): "one loss per predicted token",
        (batch * (length - 1),): "one loss per predicted token",
        (batch,): "one loss per window",
        (length - 1,): "one loss per position",
    }
    what = known.get(tuple(value.shape), f"a tensor of shape {tuple(value.shape)}")
    raise Failure(f"This is {what}; the question asks for one number, the mean over all of them.")


def _loss_mistakes(model: nn.Module, windows: Tensor) -> list[Mistake]:
    """What one gets; `logits` are those of all n + 1 tokens."""
    logits = model(windows).detach()
    n, (batch, _, vocab) = windows.shape[1] - 1, logits.shape
    nats = _nats(logits[:, :-1], windows[:, 1:])
    wrong_order = logits[:, :-1].transpose(1, 2).reshape(-1, vocab)
    not_shifted = (
        "The targets are not shifted: this is the loss of predicting the token that stands at the "
        "position itself, which the model has just read."
    )
    backward = (
        "The targets are shifted in the wrong direction: this is the loss of predicting the "
        "token before."
    )
    inputs_only = (
        "A prediction is left out: a window of n + 1 tokens has n tokens with one before them."
    )
    mistakes: list[tuple[str, Callable[[], Tensor]]] = [
        (not_shifted, lambda: _nats(logits[:, :-1], windows[:, :-1]).mean()),
        (not_shifted, lambda: _nats(logits, windows).mean()),
        (not_shifted, lambda: _nats(logits[:, 1:], windows[:, 1:]).mean()),
        (backward, lambda: _nats(logits[:, 1:], windows[:, :-1]).mean()),
        (backward, lambda: _nats(model(windows[:, 1:]).detach(), windows[:, :-1]).mean()),
        (
            "The targets are shifted by two: input and target are shifted already, and then once "
            "more.",
            lambda: _nats(logits[:, : n - 1], windows[:, 2:]).mean(),
        ),
        (
            "The last position is trained to predict the first token, which `roll` brings around. "
            "It has no target.",
            lambda: _nats(logits, windows.roll(-1, dims=1)).mean(),
        ),
        (
            "The last position is trained to predict the first token, which `roll` brings around. "
            "It has no target.",
            lambda: _nats(logits[:, :-1], windows[:, :-1].roll(-1, dims=1)).mean(),
        ),
        ("The losses are added up; the question asks for the mean.", nats.sum),
        (
            "The losses are added up over the positions and averaged over the windows. The mean "
            "over all predictions does not grow with the length of the windows.",
            lambda: nats.sum(dim=1).mean(),
        ),
        (
            "The losses are added up over the windows and averaged over the positions. The mean "
            "over all predictions does not grow with the batch.",
            lambda: nats.sum(dim=0).mean(),
        ),
        (
            "The sum is divided by B·(n + 1): the first token of a window is not predicted.",
            lambda: nats.sum() / windows.numel(),
        ),
        ("This is the mean of log p: the minus sign is missing.", lambda: -nats.mean()),
        ("This is the perplexity, not yet its logarithm, the loss.", lambda: nats.mean().exp()),
        ("This is in bits; the question asks for nats.", lambda: nats.mean() / math.log(2)),
        (
            "The softmax is taken twice: `cross_entropy` takes logits and applies its own.",
            lambda: _nats(logits[:, :-1].softmax(dim=-1), windows[:, 1:]).mean(),
        ),
        (
            "The probabilities are averaged before the logarithm; average the logarithms.",
            lambda: -(-nats).exp().mean().log(),
        ),
        (
            "This is the mean of 1 − p, or of −p, without a logarithm.",
            lambda: 1 - (-nats).exp().mean(),
        ),
        (
            "This is the mean of 1 − p, or of −p, without a logarithm.",
            lambda: -(-nats).exp().mean(),
        ),
        (
            "Only the last token of each window counts here; all predictions should.",
            lambda: nats[:, -1].mean(),
        ),
        (inputs_only, lambda: nats[:, :-1].mean()),
        (inputs_only, lambda: nats[:, 1:].mean()),
        (
            "Logits and targets are flattened in different orders: flatten both from (B, n), "
            "positions of one text one after the other.",
            lambda: _nats(wrong_order, windows[:, 1:].reshape(-1)).mean(),
        ),
        (
            "Logits and targets are flattened in different orders: flatten both from (B, n), "
            "positions of one text one after the other.",
            lambda: _nats(logits[:, :-1].reshape(-1, vocab), windows[:, 1:].T.reshape(-1)).mean(),
        ),
        (
            "The vocabulary is brought to dimension 1 by `reshape` or `view`, which mixes numbers "
            "of different positions; `transpose` or `.mT` exchanges dimensions.",
            lambda: F.cross_entropy(
                logits[:, :-1].reshape(batch, vocab, n), windows[:, 1:], reduction="mean"
            ),
        ),
    ]
    return [Mistake(message, output) for message, output in mistakes]


# --- (c) and (d) Numbers --------------------------------------------------------------------------


def _check_numbers(
    session: Session,
    uniform_loss: Any,
    held_out_loss: Any,
    held_out_perplexity: Any,
    floor_perplexity: Any,
    random_windows: Any,
) -> None:
    floor = entropy().nats_per_token
    session.number(
        "(a) loss of equal probabilities",
        uniform_loss,
        math.log(STORY_VOCAB),
        mistakes={
            "That is in bits; the question asks for nats.": math.log2(STORY_VOCAB),
            "That is the perplexity of such a model; the question asks for its loss.": float(
                STORY_VOCAB
            ),
            "That is the probability of each token.": 1 / STORY_VOCAB,
            "That is a decimal logarithm; nats come from the natural one.": math.log10(STORY_VOCAB),
            "That is the logarithm of the width or of the context.": math.log(STORY_WIDTH),
        },
    )

    @session.test("(c) held-out loss of your model")
    def _() -> None:
        if is_placeholder(held_out_loss):
            session.call(None)
        value = _one_number(held_out_loss)
        if value < floor - 0.1:
            raise Failure(
                f"{value:g} nats per token is below the floor by more than chance allows. Is it "
                "held-out text? Does the model see the token that it predicts, or is the mean "
                "taken over more than the predictions?"
            )
        if value > 6:
            raise Failure(
                f"{value:g} nats per token is hardly better than equal probabilities: the model "
                "has not learned. (Or is it a sum, or a perplexity?)"
            )
        if value > PAIRS:
            raise Failure(
                f"{value:g} nats per token is hardly better than a table of which word follows "
                "which. Train longer, or with a larger learning rate: hint 3 has a recipe. (Or is "
                "it in bits, or a perplexity?)"
            )

    if is_placeholder(held_out_loss) or is_placeholder(held_out_perplexity):
        session.test("(c) its perplexity")(lambda: session.call(None))
    elif (loss := _loss_in_reach(held_out_loss)) is None:

        @session.test("(c) its perplexity")
        def _() -> None:
            raise Failure("It is compared with the loss given, and that one is not right.")

    else:
        session.number(
            "(c) its perplexity",
            held_out_perplexity,
            math.exp(loss),
            rtol=2e-2,
            mistakes={
                "That is the loss again.": loss,
                "That is 2 to the power of the loss: with nats, the base is e. If your loss is in "
                "bits, turn it into nats.": 2.0**loss,
            },
        )
    session.number(
        "(d) perplexity at the entropy",
        floor_perplexity,
        math.exp(floor),
        rtol=1e-2,
        mistakes={
            "That is the entropy; the question asks for the perplexity.": floor,
            "That is 2 to the power of an entropy in nats: with nats, the base is e.": 2**floor,
            "That is the entropy in bits; the question asks for the perplexity.": floor
            / math.log(2),
            "That is the perplexity per character; the tokens are words.": math.exp(
                entropy().nats_per_character
            ),
        },
    )
    session.choice(
        "(d) windows at random places",
        random_windows,
        "above",
        {
            "at": "The floor is the loss of a reader who has read the story from its beginning. "
            "What does this reader know that a window from the middle does not show?",
            "below": "No model has a smaller expected loss than the grammar that wrote the text, "
            "whatever it sees.",
        },
    )


def _loss_in_reach(value: Any) -> float | None:
    """Return the loss, unless it is no number, or one without a finite perplexity."""
    try:
        loss = _one_number(value)
    except Failure:
        return None
    return loss if abs(loss) < 50 else None


def _one_number(value: Any) -> float:
    try:
        number = float("nan") if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise Failure(f"Pass the mean loss as one number; got {value!r:.60}.")
    return number
