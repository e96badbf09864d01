"""Check of exercise 13.7, BERT and GPT."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmbook.checks.engine import Failure, Result, Session, to_tensor

VOCABULARY, MASK, SPECIAL = 40, 2, (0, 2, 17)
FEW = 9  # so few words that each comes up many times
ORDINARY = (1, 3, 4, 5, 6, 7, 8)  # those of the few
BERT_VOCABULARY = 30_522  # bert-base-uncased


def bert_and_gpt(
    mask_tokens: Callable[..., Any] | None = None,
    *,
    predicted: Any = None,
    masked: Any = None,
    kept: Any = None,
    gap_passes: Any = None,
) -> Result:
    """Check BERT's way to hide tokens, and what it costs and gives; pass any subset.

    Parameters
    ----------
    mask_tokens
        Called as ``mask_tokens(tokens, vocab_size, mask_id, special, generator)``: integer tokens
        of shape (batch, n), the number of ids, the id of [MASK], a list of the ids of special
        tokens (that of [MASK] among them), and a ``torch.Generator``. Returns inputs and targets,
        both integer and of shape (batch, n), with targets of −100 where nothing is to be predicted.
    predicted, masked, kept
        Mean numbers of 1,000 ordinary tokens: those that BERT has to predict; those that are
        [MASK] in its input; those that it has to predict though the input shows them as they are.
    gap_passes
        Texts that GPT has to run through for one gap, if each of the 30,522 tokens of BERT's
        vocabulary is to be scored by the likelihood of the whole text.
    """
    session = Session("bert_and_gpt")
    _mask_tokens(session, mask_tokens)
    session.number(
        "(c) predicted",
        predicted,
        150,
        mistakes={
            "That is the number of [MASK] tokens; BERT has to predict the other chosen tokens, "
            "too.": 120,
            "That is the number of tokens that change; those that are chosen and kept have to be "
            "predicted, too.": 135,
            "That is what GPT predicts; BERT predicts the chosen tokens only.": 1000,
            "That is the number of tokens that are not chosen.": 850,
        }
        | _shares(150),
    )
    session.number(
        "(c) masked",
        masked,
        120,
        mistakes={
            "All chosen tokens have to be predicted, but not all of them become [MASK].": 150,
            "That is a share of all tokens; it is one of the chosen ones.": 800,
            "That is the number of tokens that change; some of them become random words.": 135,
        }
        | _shares(120),
    )
    session.number(
        "(c) kept",
        kept,
        15,
        mistakes={
            "That is a share of all tokens; it is one of the chosen ones.": 100,
            "The tokens that are not chosen are shown as they are, but nothing has to be predicted "
            "there.": 850,
            "Count only the tokens that have to be predicted.": 865,
            "That counts the random words as well; they are not shown as they are.": 30,
        }
        | _shares(15),
    )
    session.number(
        "(d) gap_passes",
        gap_passes,
        BERT_VOCABULARY,
        rtol=0,
        mistakes={
            "Here each token of the vocabulary is put into the gap, the special ones as well.": (
                BERT_VOCABULARY - 5
            ),
            "One token of the vocabulary is left out; here each is put into the gap, also [MASK] "
            "and the word that stood there.": BERT_VOCABULARY - 1,
            "One text gives the probability of each word in view of what stands on its left. What "
            "comes after it can count only once the word has been put in.": 1,
        },
    )
    return session.result()


def _shares(count: float) -> dict[str, float]:
    """Return what is wrong with a share in the place of a number of 1,000 → that share."""
    return {
        "That is the share of all tokens. How many of 1,000 are that?": count / 1000,
        "That is the share of all tokens in percent. How many of 1,000 are that?": count / 10,
    }


def _mask_tokens(session: Session, function: Any) -> None:
    changed: list[bool] = []

    @functools.wraps(function if callable(function) else lambda: None)
    def watched(tokens: Tensor, *args: Any) -> Any:
        before = tokens.clone()
        got = function(tokens, *args)
        changed.append(not torch.equal(tokens, before))
        return got

    def call(tokens: Tensor, seed: int = 0, vocab_size: int = VOCABULARY) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        special = [i for i in SPECIAL if i < vocab_size]
        got = session.call(
            watched if callable(function) else function,
            *(tokens, vocab_size, MASK, special, generator),
        )
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise Failure(f"Return two tensors, inputs and targets; got {type(got).__name__}.")
        inputs = to_tensor(got[0], "inputs").cpu()
        targets = to_tensor(got[1], "targets").cpu()
        for name, tensor in (("inputs", inputs), ("targets", targets)):
            if tensor.shape != tokens.shape:
                raise Failure(
                    f"The shape of `{name}` is {tuple(tensor.shape)}; it should be that of "
                    f"`tokens`, {tuple(tokens.shape)}."
                )
            if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
                raise Failure(f"`{name}` are ids and must be integers; they are {tensor.dtype}.")
        return inputs, targets

    # Drawn inside the tests, where the random state is fixed. Few special tokens, as in a text.
    def text(batch: int, n: int, vocab_size: int = VOCABULARY) -> Tensor:
        weights = torch.ones(vocab_size)
        weights[[i for i in SPECIAL if i < vocab_size]] = 0.5
        return torch.multinomial(weights, batch * n, replacement=True).view(batch, n)

    @functools.cache
    def large() -> tuple[Tensor, Tensor, Tensor]:
        """Tokens enough to tell the shares apart, with their inputs and targets."""
        tokens = text(100, 180)
        return tokens, *call(tokens)

    wrong_targets: list[Failure] = []

    def after_targets() -> None:
        """Where the targets are wrong, what follows from them is not judged."""
        if wrong_targets:
            raise wrong_targets[0]

    @session.test("(b) targets hold the original tokens, or −100")
    def _() -> None:
        tokens = text(3, 60)
        try:
            _expect_targets(tokens, *call(tokens))
            _expect_targets(*large())
        except Failure as failure:
            wrong_targets.append(failure)
            raise

    @session.test("(b) special tokens are left alone")
    def _() -> None:
        after_targets()
        tokens = torch.tensor(SPECIAL)[torch.randint(len(SPECIAL), (30, 40))]
        inputs, targets = call(tokens)
        if (targets != -100).any():
            raise Failure("A text of nothing but special tokens has targets: never choose them.")
        if not torch.equal(inputs, tokens):
            raise Failure(
                "A text of nothing but special tokens is changed: leave them as they are."
            )

    @session.test("(b) which tokens are chosen")
    def _() -> None:
        after_targets()
        tokens, _, targets = large()
        _expect_choice(tokens, targets)

    @session.test("(b) what becomes of the chosen tokens")
    def _() -> None:
        after_targets()
        _expect_shares(*large())

    @session.test("(b) random words")
    def _() -> None:
        after_targets()
        tokens = text(80, 100, FEW)
        _expect_random_words(tokens, *call(tokens, vocab_size=FEW))

    @session.test("(b) chance comes from the generator")
    def _() -> None:
        tokens = text(20, 50)
        first, again, other = call(tokens, 1), call(tokens, 1), call(tokens, 2)
        if not all(map(torch.equal, first, again)):
            raise Failure(
                "Two generators in the same state give different results: draw all random numbers "
                "from `generator` (`torch.rand`, `torch.randint` and others take it by that name)."
            )
        after_targets()
        if torch.equal(first[1], other[1]):
            raise Failure(
                "Generators in different states choose the same tokens: is there a seed inside, or "
                "a second generator? The choice must be new each time."
            )

    @session.test("(b) `tokens` stay as they are")
    def _() -> None:
        tokens = text(20, 50)
        changed.clear()
        call(tokens)
        if any(changed):
            raise Failure(
                "`tokens` are changed in place: the next epoch would start from a damaged text. "
                "Work on a copy."
            )


def _expect_targets(tokens: Tensor, inputs: Tensor, targets: Tensor) -> None:
    chosen = targets != -100
    if chosen.all():
        if (inputs == -100).any():
            raise Failure("The results are swapped: first the inputs, then the targets.")
        if torch.equal(targets, tokens):
            raise Failure("All tokens are targets; put −100 where nothing is to be predicted.")
        for value, name in ((0, "0"), (-1, "−1"), (MASK, "the id of [MASK]")):
            if (targets == value).float().mean() > 0.5:
                raise Failure(f"Most targets are {name}; −100 is what the loss leaves out.")
    if not chosen.any():
        raise Failure("There is no target at all.")
    differs = chosen & (targets != tokens)
    if differs.any():
        if torch.equal(targets[chosen], inputs[chosen]):
            raise Failure(
                "The targets are the tokens *after* the masking, [MASK] among them. They should be "
                "what stood there before: are `tokens` changed before the targets are copied?"
            )
        row, column = differs.nonzero()[0].tolist()
        raise Failure(
            "A target must be the token that stood at its own place. At row "
            f"{row}, column {column}, there was {int(tokens[row, column])}, and the target is "
            f"{int(targets[row, column])}."
        )
    touched = ~chosen & (inputs != tokens)
    if touched.any():
        if not (chosen & (inputs != MASK)).any():
            raise Failure(
                "Only [MASK] has targets. Tokens that become a random word or are kept have to be "
                "predicted, too."
            )
        if (chosen & (inputs != tokens)).any():
            raise Failure(
                f"{100 * _rate(inputs != tokens, ~chosen):.0f}% of the tokens without a target are "
                "changed in `inputs`: what is not chosen stays as it is."
            )
        raise Failure(
            "The tokens that are changed have no target, and those that stay have one: reversed."
        )


def _rate(hits: Tensor, among: Tensor) -> float:
    return float((hits & among).sum() / among.sum())


def _near(rate: float, expected: float, n: float, slack: float = 0.0) -> bool:
    """Whether a rate over n draws is within five standard errors: 1 in 2 million fails by bad luck.

    The 0.002 are for those who choose a whole number of tokens in each text, as BERT did.
    """
    error = math.sqrt(max(expected * (1 - expected), 1e-4) / n)
    return abs(rate - expected) < 5 * error + slack


def _expect_choice(tokens: Tensor, targets: Tensor) -> None:
    chosen = targets != -100
    special = torch.isin(tokens, torch.tensor(SPECIAL))
    if (chosen & special).any():
        raise Failure(
            f"{100 * _rate(chosen, special):.0f}% of the special tokens are chosen; leave them out."
        )
    among = ~special
    by_column = (chosen & among).sum(dim=0) / among.sum(dim=0)
    by_row = (chosen & among).sum(dim=1) / among.sum(dim=1)
    first, second = by_column.chunk(2)
    if first.std() > 0.1:
        raise Failure(
            "All texts of the batch have their targets at the same places: draw one random number "
            "for each token, of the shape of `tokens`."
        )
    if by_row.std() > 0.1:
        raise Failure(
            "Some texts are chosen as a whole, others not at all: draw one random number for each "
            "token, of the shape of `tokens`."
        )
    if abs(first.mean() - second.mean()) > 0.02:
        raise Failure("The two halves of a text have different shares of targets.")
    rate, n = _rate(chosen, among), float(among.sum())
    both = (chosen[:, :-1] & chosen[:, 1:])[among[:, :-1] & among[:, 1:]].float().mean()
    if both > 2 * rate**2:
        raise Failure("Neighbors are chosen together far more often than by chance.")
    shown = f"{100 * rate:.1f}% of the ordinary tokens have a target"
    if not _near(rate, 0.15, n, slack=0.002):
        known = {
            0.85: "the rest and the chosen ones are swapped.",
            0.12: "that fits [MASK] alone. The tokens that become random words or are kept have to "
            "be predicted, too.",
            0.135: "that fits the tokens that change. Those that are kept have to be predicted, "
            "too.",
            1.0: "choose some of them only.",
        }
        value = min(known, key=lambda share: abs(share - rate))
        if _near(rate, value, n, slack=0.004):
            raise Failure(f"{shown}: {known[value]}")
        raise Failure(f"{shown}; compare that with the share in the statement.")


def _expect_shares(tokens: Tensor, inputs: Tensor, targets: Tensor) -> None:
    # Of special tokens, a [MASK] would count as masked and as unchanged.
    chosen = (targets != -100) & ~torch.isin(tokens, torch.tensor(SPECIAL))
    if not chosen.any():
        raise Failure("No ordinary token has a target.")
    n = float(chosen.sum())
    masked = _rate(inputs == MASK, chosen)
    # A random word may be the one that was there.
    same = _rate(inputs == tokens, chosen)
    other = 1 - masked - same
    shown = (
        f"Of the tokens with a target, {100 * masked:.1f}% are [MASK], {100 * other:.1f}% another "
        f"token and {100 * same:.1f}% unchanged"
    )

    def fits(share_masked: float, share_random: float) -> bool:
        alike = 1 / (VOCABULARY - len(SPECIAL))
        return all(
            _near(got, want, n, slack=0.004 + share_random * alike)
            for got, want in (
                (masked, share_masked),
                (other, share_random),
                (same, 1 - share_masked - share_random),
            )
        )

    if fits(0.8, 0.1):
        return
    known = {
        (1.0, 0.0): "some of them should become random words or stay as they are.",
        (0.8, 0.2): "none are left as they are, except by chance.",
        (0.889, 0.111): "none are left as they are. Those have to be predicted, too.",
        (0.8, 0.0): "none become a random word.",
        (0.9, 0.1): "none are left as they are, except by chance.",
        (
            0.8,
            0.02,
        ): "the 10% of random words are taken from the 20% that the masks leave. They are "
        "10% of all chosen tokens: which share of the rest is that?",
        (0.8, 0.18): "the 10% that are kept are taken from the 20% that the masks leave. They are "
        "10% of all chosen tokens: which share of the rest is that?",
        (
            0.72,
            0.1,
        ): "random words are put where [MASK] stood already. The three cases exclude each other.",
        (0.1, 0.8): "random words and [MASK] are swapped.",
        (0.1, 0.1): "[MASK] and kept are swapped.",
        (0.12, 0.015): "the shares are those of all tokens, and were applied to the chosen ones.",
    }
    for shares, why in known.items():
        if fits(*shares):
            raise Failure(f"{shown}: {why}")
    raise Failure(f"{shown}; compare that with the shares in the statement.")


def _expect_random_words(tokens: Tensor, inputs: Tensor, targets: Tensor) -> None:
    swapped = (targets != -100) & (inputs != tokens) & (inputs != MASK)
    words = inputs[swapped]
    if len(words) < 40:
        raise Failure(
            f"Only {len(words)} of {int((targets != -100).sum())} tokens with a target became "
            "another word."
        )
    if (words < 0).any() or (words >= FEW).any():
        raise Failure(f"There are ids outside of 0 to {FEW - 1}; `vocab_size` is {FEW}.")
    if torch.isin(words, torch.tensor(SPECIAL)).any():
        raise Failure("Some of the random words are special tokens; draw from the ordinary ones.")
    counts = torch.bincount(words, minlength=FEW)[list(ORDINARY)]
    if (counts > 0).sum() == 1:
        raise Failure("All random words are the same one: draw one for each token.")
    if (counts == 0).any():
        missing = [word for word, n in zip(ORDINARY, counts.tolist(), strict=True) if n == 0]
        raise Failure(
            f"{len(missing)} of {len(ORDINARY)} ordinary tokens never come up as a random word, "
            f"such as {missing[-1]}."
        )
    mean = counts.float().mean()
    if ((counts - mean).square().sum() / mean) > len(ORDINARY) + 12 * math.sqrt(len(ORDINARY)):
        raise Failure(
            "The random words are not equally probable; the most frequent one comes up "
            f"{int(counts.max())} times, the rarest {int(counts.min())} times."
        )
    before = tokens[swapped]
    shift = (words - before) % FEW
    if torch.bincount(shift).max() > 0.5 * len(shift):
        raise Failure("The random words follow from the tokens that they replace.")
