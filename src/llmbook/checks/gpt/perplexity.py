"""Check of exercise 11.3, perplexity."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmbook.checks.engine import Failure, Mistake, Result, Session, to_tensor
from llmbook.checks.scalars import expect_scalar

A = (0.8, 0.6, 0.9, 0.7)
GIVEN = 12.5
TEXT_BYTES = 1200
MODELS = {"a": (300, 20.0), "b": (500, 8.0)}  # tokens, perplexity


def perplexity(
    sequence_perplexity: Any = None,
    *,
    a: Any = None,
    b: Any = None,
    perfect: Any = None,
    uniform: Any = None,
    typical_probability: Any = None,
    bits_per_token: Any = None,
    longest_float32: Any = None,
    longest_float64: Any = None,
    bits_per_byte_a: Any = None,
    bits_per_byte_b: Any = None,
) -> Result:
    """Check perplexities, what they mean, and a function that computes them; pass any subset.

    Parameters
    ----------
    sequence_perplexity
        (e) ``sequence_perplexity(logits, targets)`` with float logits of shape (..., vocab) and
        integer targets of shape (...). It returns one number: the perplexity of all tokens
        together.
    a, b, perfect, uniform
        (a) to (c) The perplexities asked for.
    typical_probability
        (d) The average of the probabilities that a perplexity of 12.5 fixes, between 0 and 1.
    bits_per_token
        (d) What a perplexity of 12.5 is in bits per token.
    longest_float32, longest_float64
        (e) The largest number of tokens whose product of probabilities is not zero; one more or
        less will do.
    bits_per_byte_a, bits_per_byte_b
        (f) Bits per byte of the two models.
    """
    session = Session("perplexity", sequence_perplexity)
    _numbers(session, a, b, perfect, uniform)
    _meaning(session, typical_probability, bits_per_token)
    _length(session, "float32", longest_float32, 126, 149, 128, 24)
    _length(session, "float64", longest_float64, 1022, 1074, 1024, 53)
    for model, given in (("a", bits_per_byte_a), ("b", bits_per_byte_b)):
        _bits_per_byte(session, model, given)
    _function(session, sequence_perplexity)
    return session.result()


# --- Numbers --------------------------------------------------------------------------------------


def _numbers(session: Session, a: Any, b: Any, perfect: Any, uniform: Any) -> None:
    logs = [math.log(p) for p in A]
    nats = -sum(logs) / 4
    session.number(
        "(a) four probabilities",
        a,
        math.exp(nats),
        rtol=2e-3,
        mistakes={
            "That is the mean of the negative logarithms; its exponential is missing.": nats,
            "That is the mean in bits; it has to go into the exponent of 2.": nats / math.log(2),
            "The bits are in the exponent of e: take 2 with bits, or e with nats.": math.exp(
                nats / math.log(2)
            ),
            "The nats are in the exponent of 2: take e with nats, or 2 with bits.": 2**nats,
            "The logarithms are summed, not averaged: that is 1 over the whole product.": math.exp(
                4 * nats
            ),
            "That is the product of the probabilities.": math.exp(-4 * nats),
            "That is the geometric mean of the probabilities; perplexity is 1 over it.": math.exp(
                -nats
            ),
            "That is 1 over the arithmetic mean of the probabilities; the mean is one of "
            "logarithms.": 4 / sum(A),
            "That is the arithmetic mean of 1/p; the mean is one of logarithms.": sum(
                1 / p for p in A
            )
            / 4,
            "That is the arithmetic mean of the probabilities.": sum(A) / 4,
            "That is the entropy-like sum of −p ln p; each token counts once, not p times.": -sum(
                p * math.log(p) for p in A
            ),
            "That weights each logarithm by its probability; each token counts once.": math.exp(
                -sum(p * math.log(p) for p in A)
            ),
            "Logarithms to base 10 are in the exponent of e.": math.exp(nats / math.log(10)),
            "The square root is taken; there are four tokens.": math.exp(2 * nats),
        },
    )
    session.number(
        "(b) four times 0.5",
        b,
        2.0,
        rtol=2e-3,
        mistakes={
            "That is 1 over the whole product; take its root, one for each token.": 16.0,
            "That is the product.": 1 / 16,
            "That is the geometric mean of the probabilities; perplexity is 1 over it.": 0.5,
            "That is the mean of the negative logarithms; its exponential is missing.": math.log(2),
            "That is in bits; perplexity is 2 to this power.": 1.0,
            "The number of tokens does not matter if all have the same probability.": 4.0,
            "The bits are in the exponent of e: take 2 with bits, or e with nats.": math.e,
            "The nats are in the exponent of 2: take e with nats, or 2 with bits.": 2
            ** math.log(2),
        },
    )
    session.number(
        "(c) perfect model",
        perfect,
        1.0,
        rtol=1e-6,
        mistakes={
            "That is its cross-entropy; perplexity is an exponential.": 0.0,
            "Certainty about every token leaves one choice, not none and not two.": 2.0,
        },
    )
    session.number(
        "(c) uniform model",
        uniform,
        32_000,
        rtol=2e-3,
        mistakes={
            "That is its cross-entropy in nats.": math.log(32_000),
            "That is its cross-entropy in bits.": math.log2(32_000),
            "That is the probability of one token; perplexity is 1 over it.": 1 / 32_000,
            "K stands for a thousand here, not for 1,024.": 32_768,
        },
    )


def _meaning(session: Session, typical: Any, bits: Any) -> None:
    session.number(
        "(d) typical probability",
        typical,
        1 / GIVEN,
        mistakes={
            "That is the perplexity; the question is about a probability.": GIVEN,
            "That is a number of nats or its like, not a probability.": math.log(GIVEN),
            "The perplexity is no exponent here: which probability, put in all places, gives it?": (
                math.exp(-GIVEN)
            ),
            "The perplexity is no exponent of 2: which probability, put in all places, gives it?": 2
            ** -GIVEN,
            "That is 1 over the vocabulary of the exercise before.": 1 / 32_000,
        },
    )
    session.number(
        "(d) bits per token",
        bits,
        math.log2(GIVEN),
        mistakes={
            "These are nats; a bit is a factor of 2.": math.log(GIVEN),
            "That is the logarithm to base 10.": math.log10(GIVEN),
            "That is the perplexity, a number of choices; bits are its logarithm.": GIVEN,
            "That is the logarithm with the wrong sign.": -math.log2(GIVEN),
        },
    )


def _length(
    session: Session,
    dtype: str,
    given: Any,
    normal: int,
    smallest: int,
    largest: int,
    digits: int,
) -> None:
    """Test for how many tokens the product lasts; the numbers are exponents of 2."""
    per_token = math.log2(GIVEN)
    expected = math.floor((smallest + 1) / per_token)
    session.number(
        f"(e) longest product in {dtype}",
        given,
        expected,
        rtol=0,
        atol=1,
        mistakes={
            "Up to there the product keeps all of its digits. Smaller numbers still exist, with "
            "fewer digits; when is it zero?": normal // per_token,
            "That is where 1/product would become infinite; the product itself lasts longer.": (
                largest // per_token
            ),
            "That is the number of halvings; a token of this model takes more than one.": smallest,
            "That is the number of halvings; a token of this model takes more than one. ": smallest
            + 1,
            "The exponent is one of 2: the logarithm of 12.5 has to be to the same base.": (
                smallest // math.log(GIVEN)
            ),
            "The exponent is one of 2; here it was taken for one of 10.": smallest
            // math.log10(GIVEN),
            "That is where the digits of one number end, not its exponent.": digits // per_token,
            "The exponent is divided by 12.5: a token takes a *factor* of 12.5.": smallest // GIVEN,
        },
    )


def _bits_per_byte(session: Session, model: str, given: Any) -> None:
    tokens, ppl = MODELS[model]
    bits = tokens * math.log2(ppl)
    session.number(
        f"(f) bits per byte of model {model.upper()}",
        given,
        bits / TEXT_BYTES,
        unit="bits per byte",
        mistakes={
            "These are nats per byte.": tokens * math.log(ppl) / TEXT_BYTES,
            "These are bits per token; a token has several bytes.": math.log2(ppl),
            "These are the bits of the whole text.": bits,
            "These are perplexities per byte; take the logarithm before dividing.": ppl
            * tokens
            / TEXT_BYTES,
            "The bits per token are divided by the number of bytes; the text has many tokens.": (
                math.log2(ppl) / TEXT_BYTES
            ),
            "Bytes per token and tokens per byte are mixed up.": math.log2(ppl)
            * TEXT_BYTES
            / tokens,
            "That is the perplexity per byte; take its logarithm to base 2.": 2
            ** (bits / TEXT_BYTES),
            "That is the share of the 8 bits of a byte.": bits / TEXT_BYTES / 8,
        },
    )


# --- The function ---------------------------------------------------------------------------------


def _logits(shape: tuple[int, ...], vocab: int, seed: int, spread: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(*shape, vocab, generator=generator)


def _targets(shape: tuple[int, ...], vocab: int, seed: int) -> Tensor:
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(seed))


def _cases() -> dict[str, tuple[Tensor, Tensor]]:
    """Inputs, the small and readable ones first."""
    by_hand = torch.tensor([[p, (1 - p) * 0.75, (1 - p) * 0.25] for p in A]).log() + 0.5
    uneven = _logits((3, 7), 11, seed=4) * torch.tensor([0.1, 1.0, 3.0])[:, None, None]
    gap = torch.tensor([[-150.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    large = _logits((6,), 5, seed=5) + torch.tensor([1e4, -1e4, 300.0, 0.0, 90.0, -90.0])[:, None]
    return {
        "(e) the tokens of (a)": (by_hand, torch.tensor([0, 0, 0, 0])),
        "(e) one token": (_logits((1,), 6, seed=1), torch.tensor([4])),
        "(e) as many tokens as entries": (_logits((5,), 5, seed=2), _targets((5,), 5, seed=3)),
        "(e) a batch of texts": (uneven, _targets((3, 7), 11, seed=6)),
        "(e) a long text": (_logits((3_000,), 50, seed=7), _targets((3_000,), 50, seed=8)),
        "(e) an improbable token": (gap, torch.tensor([0, 1, 0, 0])),
        "(e) large logits": (large, _targets((6,), 5, seed=9)),
        "(e) in float64": (_logits((2, 9), 7, seed=10).double(), _targets((2, 9), 7, seed=11)),
        "(e) not contiguous": (
            _logits((4,), 12, seed=12).mT.mT[:, ::2],
            _targets((4,), 6, seed=14),
        ),
    }


def _function(session: Session, function: Any) -> None:
    told: list[str] = []
    for name, (logits, targets) in _cases().items():
        _case(session, function, name, logits, targets, told)


def _case(
    session: Session,
    function: Any,
    name: str,
    logits: Tensor,
    targets: Tensor,
    told: list[str],
) -> None:
    """Test one input; ``told`` collects what was said of earlier ones."""

    @session.test(name)
    def _() -> None:
        got = to_tensor(session.call(function, logits, targets), "the perplexity")
        flat, ids = logits.double().flatten(0, -2), targets.flatten()
        nats = F.cross_entropy(flat, ids, reduction="none")
        mean, mistakes = nats.mean(), _mistakes(logits, targets, nats)
        try:
            if got.numel() == 1 and not math.isfinite(float(got.real.reshape(()))):
                raise Failure(_not_finite(got, logits, targets, mistakes, told))
            expect_scalar(
                got,
                mean.exp().item(),
                inputs={"logits": logits, "targets": targets},
                mistakes=mistakes,
                properties={"a perplexity is at least 1": lambda x: bool((x >= 1 - 1e-6).all())},
                rtol=5e-4,
            )
        except Failure as failure:
            told.append(str(failure))
            raise


NEGATIVE = (
    "The logarithm of a negative number is NaN: logits may be negative. They are no probabilities "
    "before a softmax."
)


def _not_finite(
    got: Tensor, logits: Tensor, targets: Tensor, mistakes: list[Mistake], told: list[str]
) -> str:
    """Say where infinity or NaN comes from, by finding out which step loses the number."""
    for mistake in mistakes:  # one that showed on an earlier input and overflows on this one
        if mistake.message in told and not mistake.output().to(logits.dtype).isfinite().all():
            return mistake.message
    what = f"The perplexity is {float(got.real.reshape(())):g}."
    chosen = logits.softmax(-1).gather(-1, targets[..., None])
    negative = bool(got.isnan().all() and logits.gather(-1, targets[..., None]).min() < 0)
    if negative and (NEGATIVE in told or (chosen.min() > 0 and logits.exp().isfinite().all())):
        return NEGATIVE
    if not logits.exp().isfinite().all():
        return f"{what} Some logits are large: is exp taken of them as they are? It overflows."
    if (chosen == 0).any():
        return (
            f"{what} A probability is so small that the softmax rounds it to zero, and its "
            "logarithm is infinite. Compute the logarithm without going through the probability."
        )
    if chosen.prod() == 0:
        return (
            f"{what} The product of all probabilities is too small for a floating-point number; "
            "their logarithms can be added."
        )
    return what


def _mistakes(logits: Tensor, targets: Tensor, nats: Tensor) -> list[Mistake]:
    mean, n, vocab = nats.mean(), nats.numel(), logits.shape[-1]
    flat, ids = logits.double().flatten(0, -2), targets.flatten()
    p = (-nats).exp()
    log_p = flat.log_softmax(-1)

    def wrong_axis(axis: int) -> Callable[[], Tensor]:
        logs = logits.double().log_softmax(axis).flatten(0, -2)
        return lambda: (-logs.gather(-1, ids[:, None]).mean()).exp()

    def of(values: Tensor) -> Callable[[], Tensor]:
        return lambda: values

    mistakes = [
        Mistake(
            "That is the mean of the negative logarithms; its exponential is missing.", of(mean)
        ),
        Mistake(
            "That is the mean in bits; it has to go into the exponent of 2.",
            of(mean / math.log(2)),
        ),
        Mistake("The sign is lost: that is 1 over the perplexity.", of((-mean).exp())),
        Mistake(
            "The nats are in the exponent of 2: take e with nats, or 2 with bits.", of(2**mean)
        ),
        Mistake(
            "The bits are in the exponent of e: take 2 with bits, or e with nats.",
            of((mean / math.log(2)).exp()),
        ),
        Mistake(
            "The logarithms are summed, not averaged: that grows with the length of the text.",
            of(nats.sum().exp()),
        ),
        Mistake(
            "The sum is divided by the number of texts; the mean is over tokens.",
            of((nats.sum() / len(logits)).exp()),
        ),
        Mistake(
            "The mean is taken over all entries of the vocabulary, not over the tokens of the "
            "text.",
            of((nats.sum() / (n * vocab)).exp()),
        ),
        Mistake(
            "That is the mean of 1/p over the tokens; the mean is one of logarithms.",
            of((1 / p).mean()),
        ),
        Mistake(
            "That is 1 over the mean probability; the mean is one of logarithms.", of(1 / p.mean())
        ),
        *(
            Mistake(
                "The softmax runs over the tokens or the texts; it should run over the vocabulary, "
                "the last axis.",
                wrong_axis(axis),
            )
            for axis in (-2, 0)
        ),
        Mistake(
            "The logits are taken for log-probabilities: they have to be normalized first.",
            of((-flat.gather(-1, ids[:, None]).mean()).exp()),
        ),
        Mistake(
            "The softmax is taken twice: `cross_entropy` expects logits, not probabilities.",
            of(F.cross_entropy(flat.softmax(-1), ids).exp()),
        ),
        Mistake(
            "That is the entropy of the predictions; it does not look at the targets.",
            of((-(log_p.exp() * log_p).sum(-1).mean()).exp()),
        ),
        Mistake(
            "The largest probability of each place is taken, not that of the target.",
            of((-log_p.amax(-1).mean()).exp()),
        ),
        Mistake(
            "Each logit is compared with the target one place later: logits and targets are given "
            "in step.",
            of(F.cross_entropy(flat[:-1], ids[1:]).exp() if n > 1 else mean),
        ),
    ]
    if logits.ndim > 2:
        per_text = nats.view(targets.shape).mean(-1).exp()
        mistakes += [
            Mistake(
                "That is the mean of the perplexities of the texts. Average the logarithms of all "
                "tokens first.",
                of(per_text.mean()),
            ),
            Mistake(
                "There is one perplexity for each text; give one number for all tokens together.",
                of(per_text),
            ),
            Mistake(
                "There is one value for each token; give one number for all together.",
                of(nats.view(targets.shape).exp()),
            ),
            Mistake("Only the last text has been counted.", of(per_text[-1])),
            Mistake("Only the first text has been counted.", of(per_text[0])),
        ]
    else:
        mistakes.append(
            Mistake(
                "There is one value for each token; give one number for all together.",
                of(nats.exp()),
            )
        )
    mistakes.append(
        Mistake("There is one loss for each token: average them.", of(nats.view(targets.shape)))
    )
    for epsilon in (1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-16, 1e-20, 1e-30):
        for clipped in (p.clamp(min=epsilon), p + epsilon):
            mistakes.append(
                Mistake(
                    "A probability has been clamped or had something small added to it, and an "
                    "improbable token looks less improbable than it is. Compute the logarithm "
                    "without going through the probability.",
                    of((-clipped.log().mean()).exp()),
                )
            )
    return mistakes
