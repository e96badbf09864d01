"""Check of exercise 13.5, all losses from one pass."""

import functools
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
    to_tensor,
)

VOCAB = 7


class _PrefixModel(nn.Module):
    """Logits at t from a weighted sum over a window of positions; records how it is called.

    The weight of position s for position t is ``mix[t, s]``: lower triangular is causal, and every
    entry above the diagonal is a leak. The logits depend on the position of a token, not only on
    which tokens there are. `extra` adds to the logits what it makes of the tokens.
    """

    def __init__(
        self,
        mix: Tensor,
        noise: float = 0.0,
        extra: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.embed = nn.Parameter(torch.randn(VOCAB, 5, generator=generator))
        self.unembed = nn.Parameter(torch.randn(5, VOCAB, generator=generator))
        self.mix = mix
        self.noise = noise
        self.extra = extra
        self.calls: list[tuple[int, ...]] = []

    def forward(self, tokens: Tensor) -> Tensor:
        self.calls.append(tuple(tokens.shape))
        length = tokens.shape[1]
        mixed = self.mix[:length, :length].to(self.embed.dtype) @ self.embed[tokens]
        logits = mixed.tanh() @ self.unembed
        # Rounding: two calls of a float32 model need not agree to the last bit.
        rounding: Tensor = logits * self.noise * (-1) ** len(self.calls)
        logits = logits + rounding
        return logits if self.extra is None else self.extra(logits, tokens)


def _causal_mix(length: int) -> Tensor:
    lags = torch.arange(length)[:, None] - torch.arange(length)
    return torch.where(lags >= 0, 1.0 / (1 + lags.clamp(min=0)), 0.0)


def _expected_losses(model: nn.Module, tokens: Tensor) -> Tensor:
    """One pass per prefix, probability by probability: what the one pass must reproduce."""
    columns = []
    for t in range(1, tokens.shape[1]):
        logits = model(tokens[:, :t])[:, -1].double()
        chosen = logits.gather(1, tokens[:, t : t + 1])[:, 0]
        columns.append(logits.logsumexp(dim=1) - chosen)
    return torch.stack(columns, dim=1).detach()


def one_pass_training(
    all_losses: Callable[..., Any] | None = None, is_causal: Callable[..., Any] | None = None
) -> Result:
    """Check all losses from one pass, and a test for causal models; pass either or both.

    Parameters
    ----------
    all_losses
        ``all_losses(model, tokens)``: `model` maps integer tokens (B, T) to logits (B, T, V).
        Returns the next-token losses in nats, one for every row and every token after the first,
        as a tensor (B, T - 1) that gradients flow through, from one call of `model`.
    is_causal
        ``is_causal(model, tokens)``: returns True if no logit of `model` depends on a later token,
        False if one does; differences below 1e-5 are rounding. May call `model` as often as needed.
    """
    session = Session("one_pass_training")
    _check_losses(session, all_losses)
    _check_tester(session, is_causal)
    return session.result()


# --- (b) all_losses -------------------------------------------------------------------------------


def _check_losses(session: Session, all_losses: Any) -> None:
    @session.test("all_losses: two texts of four tokens")
    def _() -> None:
        _compare_losses(session, all_losses, torch.tensor([[2, 0, 5, 3], [1, 4, 4, 6]]))

    @session.test("all_losses: a single text")
    def _() -> None:
        _compare_losses(session, all_losses, torch.randint(VOCAB, (1, 6)))

    @session.test("all_losses: as many tokens as there are classes, float64")
    def _() -> None:
        _compare_losses(session, all_losses, torch.randint(VOCAB, (2, VOCAB)), torch.float64)

    @session.test("all_losses: texts of two tokens")
    def _() -> None:
        _compare_losses(session, all_losses, torch.randint(VOCAB, (4, 2)))

    @session.test("all_losses: one call of the model")
    def _() -> None:
        model = _PrefixModel(_causal_mix(6))
        session.call(all_losses, model, torch.randint(VOCAB, (2, 6)))
        if not model.calls:
            raise Failure("The model that was passed is never called.")
        if len(model.calls) > 1:
            raise Failure(
                f"The model is called {len(model.calls)} times for one batch of texts of 6 tokens, "
                f"first with tokens of shapes {model.calls[0]} and {model.calls[1]}. "
                "The logits of one call hold the predictions of all positions."
            )

    @session.test("all_losses: gradients reach the model")
    def _() -> None:
        model = _PrefixModel(_causal_mix(6))
        losses = session.call(all_losses, model, torch.randint(VOCAB, (2, 6)))
        if not isinstance(losses, Tensor) or not losses.requires_grad:
            raise Failure(
                "No gradient flows through what you return, so it cannot train the model: "
                "no `detach`, `item`, `no_grad` or NumPy on the way, and a tensor at the end."
            )


def _compare_losses(
    session: Session, all_losses: Any, tokens: Tensor, dtype: torch.dtype = torch.float32
) -> None:
    length = tokens.shape[1]
    model = _PrefixModel(_causal_mix(length)).to(dtype)
    expected = _expected_losses(model, tokens)
    got = session.call(all_losses, model, tokens)
    shape = tuple(expected.shape)

    logits = model(tokens).detach()
    log_p = logits.log_softmax(dim=-1)

    def losses(log_probs: Tensor, predicting: slice, targets: Tensor) -> Tensor:
        return -log_probs[:, predicting].gather(-1, targets[:, :, None])[..., 0]

    now, rest, everything = slice(None, -1), slice(1, None), slice(None)
    nothing_to_predict = (
        "The last position has no next token, so there is no loss for it: "
        f"{length} tokens give {length - 1} losses."
    )
    already_read = (
        "Position t is scored on token t, which it has already read, not on the token after it."
    )
    mistakes = [
        Mistake(
            already_read,
            lambda: losses(log_p, now, tokens[:, :-1]),
        ),
        Mistake(
            already_read,
            lambda: losses(log_p, rest, tokens[:, 1:]),
        ),
        Mistake(
            "Position t is scored on token t, which it has already read; and there are "
            f"{length} losses, one too many.",
            lambda: losses(log_p, everything, tokens),
        ),
        Mistake(
            "Position t is scored on the token before it: the shift goes the wrong way.",
            lambda: losses(log_p, rest, tokens[:, :-1]),
        ),
        Mistake(nothing_to_predict, lambda: losses(log_p, everything, tokens.roll(-1, 1))),
        Mistake(
            nothing_to_predict,
            lambda: losses(log_p, everything, F.pad(tokens[:, 1:], (0, 1))),
        ),
        Mistake(
            "You return the mean over all positions; the exercise asks for every single loss, in "
            f"shape {shape}.",
            lambda: expected.mean(),
        ),
        Mistake(
            f"You return the sum of the losses; the exercise asks for every one, in shape {shape}.",
            lambda: expected.sum(),
        ),
        *_reductions(expected),
        Mistake(
            f"The values are right, but the shape is (T - 1, B) instead of (B, T - 1) = {shape}.",
            lambda: expected.T,
        ),
        Mistake(
            "The softmax is applied twice: `cross_entropy` takes logits and has a (log-)softmax of "
            "its own.",
            lambda: losses(log_p.exp().log_softmax(dim=-1), now, tokens[:, 1:]),
        ),
        Mistake(
            "The logits are reshaped where they have to be transposed: `cross_entropy` wants the "
            "classes in dimension 1, and `reshape` or `view` to (B, V, T - 1) mixes positions with "
            "classes.",
            lambda: F.cross_entropy(
                logits[:, :-1].reshape(len(tokens), VOCAB, -1), tokens[:, 1:], reduction="none"
            ),
        ),
        Mistake(
            "The softmax runs over the positions; the probabilities of the classes, in the last "
            "dimension, must sum to 1.",
            lambda: losses(logits[:, :-1].log_softmax(dim=1), everything, tokens[:, 1:]),
        ),
        Mistake(
            "The softmax runs over the positions; the probabilities of the classes, in the last "
            "dimension, must sum to 1.",
            lambda: losses(logits.log_softmax(dim=1), now, tokens[:, 1:]),
        ),
        Mistake(
            "These are log-probabilities: a loss is the negative of one.",
            lambda: -expected,
        ),
        Mistake(
            "These are probabilities; the loss is the negative logarithm of one.",
            lambda: (-expected).exp(),
        ),
        Mistake(
            "The logits are taken for log-probabilities: a log-softmax is missing "
            "(`nll_loss` has none of its own, `cross_entropy` has).",
            lambda: losses(logits, now, tokens[:, 1:]),
        ),
        Mistake("These are bits; give the losses in nats.", lambda: expected / math.log(2)),
    ]
    expect_close(
        got,
        expected,
        inputs={"tokens": tokens},
        mistakes=mistakes,
        properties={"every loss is positive": lambda out: bool((out > 0).all())},
    )


def _reductions(expected: Tensor) -> list[Mistake]:
    """Losses flattened or summed up over one dimension, where these can be told apart."""
    shape = tuple(expected.shape)
    if 1 in shape:  # a mean over one row is that row, flat: only the shape can be named
        return []
    return [
        Mistake(
            f"The values are right; put them in shape (B, T - 1) = {shape}.",
            lambda: expected.flatten(),
        ),
        *(
            Mistake(
                f"You return the {name} {over}; the exercise asks for shape {shape}.",
                functools.partial(reduce, expected, dim=dim),
            )
            for name, reduce in (("mean", torch.mean), ("sum", torch.sum))
            for dim, over in ((1, "of each row"), (0, "over the rows"))
        ),
    ]


# --- (c) is_causal --------------------------------------------------------------------------------


def _leaks(length: int) -> dict[str, tuple[Tensor, str]]:
    """Leaky models by name, as mixing weights, with what a tester that misses them overlooks."""
    causal = _causal_mix(length)

    def leak(*pairs: tuple[int, int], weight: float = 0.5) -> Tensor:
        mix = causal.clone()
        for t, s in pairs:
            mix[t, s] = weight
        return mix

    half = length // 2
    prefix = causal.clone()
    prefix[:half, :half] = 0.7 * torch.rand(half, half).add(0.5)
    everything = 0.5 + torch.rand(length, length)
    return {
        "no mask": (everything, "Is the model called with changed tokens at all?"),
        "each position sees the next one": (
            leak(*((t, t + 1) for t in range(length - 1))),
            "Compare the logits at all positions before the changed one.",
        ),
        "only the first position sees the last": (
            leak((0, length - 1)),
            "Change the last token too, and compare all positions before it, the first included.",
        ),
        "a prefix without mask, causal after it": (
            prefix,
            "A leak among the early tokens does not show when only a late token changes: "
            "change each position in turn.",
        ),
        "one leak in the middle": (
            leak((half - 1, half + 1)),
            "A leak can sit between any two positions: change each position in turn and compare "
            "all positions before it.",
        ),
        "position t sees position t + 2 only": (
            leak(*((t, t + 2) for t in range(length - 2))),
            "A leak need not come from the neighbor: compare all positions before the changed one.",
        ),
    }


WEAK = 8e-5
"""By how much the weakest leak moves a logit, whatever the other token: not yet rounding."""

FAVORITE = 2
"""The token that a one-sided leak waits for; the texts hold it where the leak looks."""


def _weak_leak(logits: Tensor, tokens: Tensor) -> Tensor:
    """Position 2 sees the token at 3, which moves the logit of its own number by WEAK."""
    seen = F.pad(F.one_hot(tokens[:, 3:4], VOCAB), (0, 0, 2, tokens.shape[1]))
    return logits + WEAK * seen[:, : tokens.shape[1]]


def _one_sided_leak(logits: Tensor, tokens: Tensor, sign: int) -> Tensor:
    """Position 2 sees whether there is a token at 3, and moves one way if it is another one."""
    if tokens.shape[1] <= 3:
        return logits
    amount = 1.0 + (tokens[:, 3] != FAVORITE)
    return logits + 0.1 * sign * F.pad(amount[:, None, None], (0, 0, 2, tokens.shape[1] - 3))


def _check_tester(session: Session, is_causal: Any) -> None:
    length = 8

    def verdict(model: _PrefixModel, tokens: Tensor, right: bool, why: str) -> None:
        """Fail with `why` unless the learner's verdict on `model` is `right`."""
        causal, overwritten = _ask(session, is_causal, model, tokens)
        if causal != right:
            raise Failure(
                "The verdict is wrong, and you change `tokens` itself: each comparison also meets "
                "the changes made before it. `clone` it, and write into the copy."
                if overwritten
                else why
            )
        if overwritten:
            session.note("your tester changes `tokens` itself; a caller would be surprised")

    def text(rows: int = 4) -> Tensor:
        return torch.randint(VOCAB, (rows, length))

    @session.test("is_causal: finds causal models causal")
    def _() -> None:
        for rows in (1, 2):
            verdict(
                _PrefixModel(_causal_mix(length)),
                text(rows),
                True,
                "A causal model is called leaky. A change at position s may move the logits at "
                "s itself and after it: leave these out of the comparison.",
            )

    @session.test("is_causal: takes rounding for rounding")
    def _() -> None:
        verdict(
            _PrefixModel(_causal_mix(length), noise=1e-7),
            text(),
            True,
            "A causal model is called leaky whose logits differ from call to call in the last "
            "bit only: compare with the tolerance that the exercise names, not exactly.",
        )

    @session.test("is_causal: finds a model causal that ignores the context")
    def _() -> None:
        verdict(
            _PrefixModel(torch.eye(length)),
            text(),
            True,
            "A model in which each position sees itself only is called leaky; it reads no "
            "later token, so it is causal.",
        )

    for name, (mix, advice) in _leaks(length).items():

        @session.test(f"is_causal: finds the leak: {name}")
        def _(name: str = name, mix: Tensor = mix, advice: str = advice) -> None:
            verdict(_PrefixModel(mix), text(), False, f"The leak ({name}) is not found. {advice}")

    @session.test("is_causal: finds the leak: a weak leak")
    def _() -> None:
        verdict(
            _PrefixModel(_causal_mix(length), extra=_weak_leak),
            text(),
            False,
            "A weak leak is not found. It moves logits by more than the 1e-5 that the exercise "
            "calls rounding: is your tolerance wider?",
        )

    for direction, sign in (("lowers", -1), ("raises", 1)):

        @session.test(f"is_causal: finds the leak: every change {direction} the logits")
        def _(direction: str = direction, sign: int = sign) -> None:
            tokens = text()
            tokens[:, 3] = FAVORITE
            verdict(
                _PrefixModel(
                    _causal_mix(length), extra=functools.partial(_one_sided_leak, sign=sign)
                ),
                tokens,
                False,
                f"A leak through which every change {direction} the logits is not found: a "
                "difference of either sign counts, so compare its absolute value.",
            )

    for token in (0, VOCAB - 1):

        @session.test(f"is_causal: finds the leak: in a text of token {token} only")
        def _(token: int = token) -> None:
            verdict(
                _PrefixModel(_leaks(length)["no mask"][0]),
                torch.full((2, length), token),
                False,
                f"A model without mask is called causal on a text in which every token is {token}. "
                "Is what you put in its place another token, whatever stood there before?",
            )


def _ask(
    session: Session, is_causal: Any, model: _PrefixModel, tokens: Tensor
) -> tuple[bool, bool]:
    """Return the learner's verdict, and whether it was reached by overwriting the text."""
    if not callable(is_causal):
        return _to_bool(session.call(is_causal, model, tokens)), False
    overwritten = False

    @functools.wraps(is_causal)
    def guarded(model: _PrefixModel, tokens: Tensor) -> Any:
        nonlocal overwritten
        own = tokens.clone()
        verdict = is_causal(model, own)
        overwritten = not torch.equal(own, tokens)
        return verdict

    return _to_bool(session.call(guarded, model, tokens)), overwritten


def _to_bool(got: Any) -> bool:
    if isinstance(got, str):
        raise Failure(f"Return True or False; got the text {got!r:.40}.")
    value = to_tensor(got, "what `is_causal` returns")
    if value.numel() != 1:
        raise Failure(
            f"Return one True or False; got {value.numel()} values, shape {tuple(value.shape)}."
        )
    return bool(value)
