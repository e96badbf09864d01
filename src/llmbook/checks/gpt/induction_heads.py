"""Check of exercise 15.16, an induction head by hand and its scores."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    is_placeholder,
    to_tensor,
)

LENGTH = 12
SHARP = 1e-6
"""How much of the weight, and of the probability, may be elsewhere."""
EVEN = 1e-2
"""How far the logits of a resting head may lie apart."""


def induction_heads(
    context: Any = None,
    previous_token: Any = None,
    induction: Any = None,
    prediction: Any = None,
    induction_head: Any = None,
    previous_token_score: Any = None,
    induction_score: Any = None,
) -> Result:
    """Check the trace, the weights and the scores; pass any subset of the answers by name.

    Parameters
    ----------
    context
        12 tokens: a list of words, letters or numbers, or a string with spaces between words.
    previous_token
        12 positions, counted from 0: where the previous-token head looks from each.
    induction
        12 lists of positions: where the induction head looks from each; empty where it does not
        fire.
    prediction
        The token predicted at the last position.
    induction_head
        Function of V and P that returns W_Q, W_K (D, d_k), W_V (D, d_v) and W_O (d_v, D), with
        D = 3V + P.
    previous_token_score
        Function: patterns (B, H, T, T) → scores (H,).
    induction_score
        Function: patterns (B, H, T, T) and tokens (B, T) → scores (H,).
    """
    session = Session("induction_heads")
    if not all(map(is_placeholder, (context, previous_token, induction, prediction))):
        _check_trace(session, context, previous_token, induction, prediction)
    else:
        session.test("context and trace")(lambda: session.call(lambda: None))
    _check_head(session, induction_head)
    _check_scores(session, previous_token_score, induction_score)
    return session.result()


# --- (a) The trace --------------------------------------------------------------------------------


def _check_trace(
    session: Session, context: Any, previous_token: Any, induction: Any, prediction: Any
) -> None:
    tokens: list[Any] = []

    @session.test("context")
    def _() -> None:
        tokens.extend(_tokens(session.call(lambda: context)))
        _check_context(tokens)

    def traced(value: Any) -> Any:
        if not tokens:  # there is nothing that a trace could be compared with
            return session.call(lambda: None)
        return session.call(lambda: value)

    @session.test("trace of the previous-token head")
    def _() -> None:
        _check_previous(_entries(traced(previous_token), "previous_token", len(tokens)))

    @session.test("trace of the induction head")
    def _() -> None:
        _check_induction(_entries(traced(induction), "induction", len(tokens)), tokens)

    @session.test("prediction")
    def _() -> None:
        _check_prediction(_plain(traced(prediction)), tokens)


def _plain(token: Any) -> Any:
    """Take numbers out of NumPy's and PyTorch's scalars, and spaces off the ends of words."""
    if isinstance(token, np.generic | np.ndarray | Tensor) and token.ndim == 0:
        token = token.item()
    return token.strip() if isinstance(token, str) else token


def _tokens(context: Any) -> list[Any]:
    if isinstance(context, str):
        context = context.split() if " " in context.strip() else list(context.strip())
    if not isinstance(context, list | tuple | np.ndarray | Tensor):
        raise Failure("`context` should be a list of 12 tokens, such as words.")
    tokens = [_plain(token) for token in context]
    if any(is_placeholder(token) for token in tokens):
        raise Failure("A token of `context` is still a placeholder.")
    if any(isinstance(token, list | tuple | set | dict | np.ndarray | Tensor) for token in tokens):
        raise Failure("Each token of `context` should be one word, letter or number.")
    return tokens


def _matches(tokens: Sequence[Any]) -> list[set[int]]:
    """For each t, the positions s ≤ t before which the token at t stands."""
    return [
        {s for s in range(1, t + 1) if tokens[s - 1] == token} for t, token in enumerate(tokens)
    ]


def _check_context(tokens: list[Any]) -> None:
    if len(tokens) != LENGTH:
        raise Failure(f"The context has {len(tokens)} tokens; it should have {LENGTH}.")
    found = _matches(tokens)[-1]
    if not found:
        near = [str(t).lower().strip(".,;:!?") for t in tokens]
        hint = ""
        if near[-1] in near[:-1]:
            hint = (
                " An earlier one looks alike but is another token: upper and lower case and "
                "punctuation count."
            )
        raise Failure(
            f"The last token, {tokens[-1]!r}, does not occur earlier: there is no pattern to "
            f"complete, and the head does not fire there.{hint}"
        )
    followers = {tokens[s] for s in found}
    if len(followers) > 1:
        raise Failure(
            f"Before, {tokens[-1]!r} was followed by {len(followers)} different tokens. The head "
            "attends to all of them, so its prediction is not one specific token."
        )


def _entries(value: Any, name: str, length: int) -> list[set[int]]:
    """Read a trace: per position a set of positions, from an int, a list, None or nothing."""
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        value = [value.get(t) for t in range(length)]
    if not isinstance(value, list | tuple):
        raise Failure(
            f"`{name}` should be a list with one entry for each of the {length} positions, not "
            "for the last one alone."
        )
    if len(value) != length:
        raise Failure(
            f"`{name}` has {len(value)} entries; it needs one for each of the {length} positions."
        )
    entries = []
    for t, given in enumerate(value):
        given = _plain(given)
        if is_placeholder(given):
            given = []
        if isinstance(given, Tensor | np.ndarray):
            given = given.tolist()
        items = given if isinstance(given, list | tuple | set | frozenset | range) else [given]
        try:
            places = {int(s) for s in items if float(s) == int(s)}
        except (TypeError, ValueError):
            places = set()
        if len(places) != len(set(items)):
            raise Failure(
                f"Entry {t} of `{name}` is {given!r:.60}; it should be a position (a whole "
                "number), or a list of positions."
            )
        if any(not 0 <= s < length for s in places):
            raise Failure(
                f"Entry {t} of `{name}` is {given!r:.60}; positions go from 0 to {length - 1}."
            )
        entries.append(places)
    return entries


def _check_previous(entries: list[set[int]]) -> None:
    rest = list(enumerate(entries))[1:]
    if all(s == {t} for t, s in rest):
        raise Failure(
            "From t, this looks at t: at itself. (Or are the positions counted from 1? Here they "
            "are counted from 0.)"
        )
    if any(place > t for t, s in rest for place in s):
        raise Failure(
            "It looks ahead here, at later tokens, which the causal mask hides. Entry t is the "
            "position that t looks at, not the position that looks at t."
        )
    if all(s == {max(t - 2, 0)} for t, s in rest):
        raise Failure("It looks two tokens back; the previous token is one back.")
    for t, s in rest:
        if s != {t - 1}:
            said = f"position {min(s)}" if len(s) == 1 else f"{len(s)} positions"
            raise Failure(
                f"From position {t} it does not look at {said}, but at the token just before, "
                "whatever the tokens are."
            )
    if entries[0] - {0}:
        raise Failure("Position 0 sees nothing but itself.")


def _check_induction(entries: list[set[int]], tokens: list[Any]) -> None:
    right = _matches(tokens)
    if entries == right:
        return
    firing = [t for t, s in enumerate(right) if s]
    if firing and all(entries[t] == {s - 1 for s in right[t]} for t in firing):
        raise Failure(
            "Where it fires, these are the positions of the earlier A itself. Its note is not A: "
            "which position keeps the note A?"
        )
    if firing and all(entries[t] == {s + 1 for s in right[t]} for t in firing):
        raise Failure(
            "Where it fires, these positions are one too far to the right: are they counted from "
            "1? Here they are counted from 0."
        )
    if all(entries[t] == {max(t - 1, 0)} for t in range(1, len(tokens))):
        raise Failure("This is the trace of the previous-token head, not of the induction head.")
    for t, (given, expected) in enumerate(zip(entries, right, strict=True)):
        token = tokens[t]
        if given == expected:
            continue
        if any(s > t for s in given):
            raise Failure(f"From position {t} it looks ahead; the causal mask hides what is later.")
        if given and not expected:
            alone = (
                " To rest somewhere is not to fire: leave the list empty."
                if len(given) == 1
                else ""
            )
            raise Failure(
                f"At position {t} it does not fire: no position up to {t} keeps the note "
                f"{token!r}.{alone}"
            )
        if expected and not given:
            raise Failure(
                f"At position {t} it fires too: {token!r} stood there before, and some position "
                "keeps it as its note."
            )
        if given < expected:
            raise Failure(
                f"At position {t} there are more matches than this: all positions with the note "
                f"{token!r} count, in equal shares."
            )
        wrong = min(given - expected)
        raise Failure(
            f"At position {t} the head looks for the note {token!r}. Which note does position "
            f"{wrong} keep?"
        )


def _check_prediction(given: Any, tokens: list[Any]) -> None:
    found = sorted(_matches(tokens)[-1])
    if not found:
        raise Failure("In this context the head does not fire at the last position.")
    followers = [tokens[s] for s in found]
    if any(follower != followers[0] for follower in followers):
        raise Failure("In this context there is no one specific prediction.")
    if given in followers:
        return
    if given == tokens[-1]:
        raise Failure(
            "That is A, the last token itself. The head copies the token at the position that it "
            "attends to."
        )
    if given in found:
        raise Failure("That is the position that it attends to; give the token there.")
    if any(s + 1 < len(tokens) and given == tokens[s + 1] for s in found):
        raise Failure("That token stands one place too far to the right.")
    if given not in tokens:
        raise Failure(
            f"{given!r:.60} is not in the context. The head copies a token, exactly as it stands."
        )
    raise Failure("It is another token of the context: follow the trace of the induction head.")


# --- (b) The weights ------------------------------------------------------------------------------


def _check_head(session: Session, induction_head: Any) -> None:
    def weights(V: int, P: int) -> tuple[Tensor, ...]:
        return _weights(session.call(induction_head, V, P), V, P)

    def pattern(tokens: list[int], V: int, P: int) -> tuple[Tensor, Tensor, Tensor]:
        ids = torch.tensor([tokens])
        w_q, w_k, *_ = weights(V, P)
        return ids, _attention(_stream(ids, V, P), w_q, w_k), _target(ids)

    @session.test("a match gets the weight")
    def _() -> None:
        tokens = [0, 3, 1, 4, 2, 3]
        _check_firing(*pattern(tokens, V=6, P=8), f"tokens {tokens}, V = 6, P = 8")

    @session.test("several matches share the weight")
    def _() -> None:
        tokens = [0, 2, 5, 1, 2, 4, 4, 2]
        _check_firing(*pattern(tokens, V=7, P=11), f"tokens {tokens}, V = 7, P = 11")

    @session.test("rests on the start token without a match")
    def _() -> None:
        tokens = [0, 5, 2, 4, 1, 3]
        _check_resting(*pattern(tokens, V=6, P=8), f"tokens {tokens}, V = 6, P = 8")

    @session.test("predicts what it attends to")
    def _() -> None:
        tokens, V, P = torch.tensor([[0, 3, 1, 4, 2, 3]]), 6, 8
        _check_copy(tokens, weights(V, P), V, P)

    @session.test("is silent at rest")
    def _() -> None:
        tokens, V, P = torch.tensor([[0, 5, 2, 4, 1, 3]]), 6, 8
        added = _added(tokens, _target(tokens), weights(V, P), V, P)
        logits = _prediction(added, V)[0]
        apart = logits.max(dim=-1).values - logits.min(dim=-1).values
        if (apart > EVEN).any():
            start = bool((logits[-1].argmax() == 0) or (logits[-1].argmin() == 0))
            raise Failure(
                "Attending to the start token alone, the head changes the logits"
                + (": it copies the start token. Which row of W_V does that?" if start else ".")
                + f"\nThe logits lie {float(apart.max()):.3g} apart; they should be equal."
            )

    @session.test("long contexts, many tokens")
    def _() -> None:
        V, P = 40, 64
        generator = torch.Generator().manual_seed(0)
        tokens = F.pad(torch.randint(1, V, (8, P - 1), generator=generator), (1, 0))
        matrices = weights(V, P)
        attention = _attention(_stream(tokens, V, P), *matrices[:2])
        target = _target(tokens)
        where = f"8 random contexts of {P} tokens, V = {V}, P = {P}"
        _check_firing(tokens, attention, target, where)
        _check_resting(tokens, attention, target, where)
        probabilities = _prediction(_added(tokens, attention, matrices, V, P), V).softmax(dim=-1)
        # Where all matches are followed by one token, the weight of that token is 1.
        followers = target @ F.one_hot(tokens, V).double()
        one = (followers.max(dim=-1).values > 1 - 1e-9) & (followers.argmax(dim=-1) > 0)
        likely = (probabilities * followers).sum(dim=-1)[one]
        if (likely < 1 - SHARP).any():
            raise Failure(
                "The right token is not likely enough where it has to win against "
                f"{V - 1} others: its probability is as small as {float(likely.min()):.7f}."
            )


def _weights(value: Any, V: int, P: int) -> tuple[Tensor, ...]:
    D = 3 * V + P
    names = ("W_Q", "W_K", "W_V", "W_O")
    if isinstance(value, dict):
        value = tuple(value.values())
    if not isinstance(value, tuple | list) or len(value) != 4:
        raise Failure("Return four matrices: W_Q, W_K, W_V and W_O.")
    matrices = []
    for name, given in zip(names, value, strict=True):
        if is_placeholder(given):
            raise Failure(f"{name} is still a placeholder.")
        matrix = to_tensor(given, name)
        if matrix.ndim == 3 and matrix.shape[0] == 1:  # one head, its dimension kept
            matrix = matrix[0]
        if matrix.ndim != 2:
            raise Failure(f"{name} has the shape {tuple(matrix.shape)}; it should be a matrix.")
        rows, columns = matrix.shape
        where = f"(V = {V}, P = {P}, D = 3V + P = {D})"
        if name != "W_O" and rows != D:
            side = " Is it transposed?" if columns == D else ""
            raise Failure(f"{name} has {rows} rows; it needs D, one per component {where}.{side}")
        if name == "W_O" and columns != D:
            side = " Is it transposed?" if rows == D else ""
            raise Failure(f"{name} has {columns} columns; it needs D {where}.{side}")
        if matrix.is_complex() or not torch.isfinite(matrix.double()).all():
            raise Failure(
                f"{name} holds numbers that are not finite: 0 · ∞ is NaN. Large is enough."
            )
        matrices.append(matrix.double().cpu())
    w_q, w_k, w_v, w_o = matrices
    if w_q.shape != w_k.shape:
        raise Failure(
            f"Queries have {w_q.shape[1]} components and keys {w_k.shape[1]}: no dot product."
        )
    if w_v.shape[1] != w_o.shape[0]:
        raise Failure(f"W_V gives {w_v.shape[1]} components, W_O takes {w_o.shape[0]}.")
    return w_q, w_k, w_v, w_o


def _stream(tokens: Tensor, V: int, P: int) -> Tensor:
    """Return the stream after the previous-token head, as the statement says: (B, T, D)."""
    B, T = tokens.shape
    notes = torch.cat([tokens[:, :1], tokens[:, :-1]], dim=1)
    parts = [
        F.one_hot(tokens, V),
        torch.eye(P, dtype=torch.long)[:T].expand(B, T, P),
        F.one_hot(notes, V),
        torch.zeros(B, T, V),
    ]
    return torch.cat([part.double() for part in parts], dim=-1)


def _attention(x: Tensor, w_q: Tensor, w_k: Tensor) -> Tensor:
    later = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
    scores = (x @ w_q @ (x @ w_k).mT).masked_fill(later, -torch.inf)
    attention = scores.softmax(dim=-1)
    if not torch.isfinite(attention).all():
        raise Failure("The attention weights are NaN: the scores overflow. Large is enough.")
    return attention


def _shares(allowed: Tensor) -> Tensor:
    """Turn booleans (B, T, T) into equal shares over the causal True entries of each row."""
    kept = allowed.tril().double()
    return kept / kept.sum(dim=-1, keepdim=True).clamp(min=1)


def _target(tokens: Tensor) -> Tensor:
    """Return the weights asked for: equal shares of the matches, or all on position 0."""
    match = tokens[:, :, None] == F.pad(tokens[:, :-1], (1, 0), value=-1)[:, None]
    shares = _shares(match)
    shares[..., 0] += 1 - shares.sum(dim=-1)
    return shares


def _check_firing(tokens: Tensor, attention: Tensor, target: Tensor, where: str) -> None:
    """Fail if the rows in which the head has to fire are not as asked."""
    fires = (target[..., 0] == 0) & (tokens > 0)
    if (attention - target)[fires].abs().max() <= SHARP:
        return
    notes = torch.cat([tokens[:, :1], tokens[:, :-1]], dim=1)
    others: list[tuple[str, Tensor]] = [
        (
            "The head finds the earlier A itself, and its own position: token is compared with "
            "token. What should the keys be read from?",
            tokens[:, :, None] == tokens[:, None],
        ),
        (
            "Queries and keys are swapped: the head looks for positions whose *token* is its "
            "*note*.",
            notes[:, :, None] == tokens[:, None],
        ),
        (
            "Note is compared with note: what should the queries be read from?",
            notes[:, :, None] == notes[:, None],
        ),
        (
            "The weights are the same for all positions: the scores do not tell a match from "
            "the rest.",
            torch.ones_like(target).bool(),
        ),
    ]
    given = attention[fires]
    for message, allowed in others:
        if torch.allclose(given, _shares(allowed)[fires], atol=0.02):
            raise Failure(f"{message}\nInput: {where}.")
    on_match = (given * (target[fires] > 0)).sum(dim=-1)
    on_start = given[:, 0]
    if on_start.max() > 0.999:
        raise Failure(
            "The start token takes all the weight although there is a match: the place to rest "
            f"must score less than a match.\nInput: {where}."
        )
    if ((on_match + on_start > 1 - SHARP) & (on_start > 0.1)).any():
        raise Failure(
            "A match shares its weight with the start token: the place to rest scores as high as "
            f"a match.\nInput: {where}."
        )
    if on_match.min() > 1 - SHARP:
        raise Failure(
            "The weight is on the matches, but not in equal shares: each match should score the "
            f"same.\nInput: {where}."
        )
    best = target[fires].gather(1, given.argmax(dim=-1, keepdim=True))
    if (best > 0).all():
        raise Failure(
            "The largest weight is at the right place, but it is not sharp enough: in some row "
            f"{float(1 - on_match.min()):.2g} of the weight is elsewhere. The scores of a match "
            f"and of the rest must lie further apart.\nInput: {where}."
        )
    row = int((best[:, 0] == 0).nonzero()[0])
    text, place = (int(i) for i in fires.nonzero()[row])
    raise Failure(
        f"Position {place} should attend to the positions whose note is its token, but puts most "
        f"weight on position {int(given[row].argmax())}.\nInput: {where}"
        + (f"; tokens {tokens[text, : place + 1].tolist()}." if tokens.shape[1] <= 12 else ".")
    )


def _check_resting(tokens: Tensor, attention: Tensor, target: Tensor, where: str) -> None:
    """Fail if the rows in which nothing matches do not rest on position 0."""
    rests = target[..., 0] == 1
    rests[:, 0] = False  # which sees nothing but itself
    on_start = attention[..., 0][rests]
    if not len(on_start) or on_start.min() >= 1 - SHARP:
        return
    given = attention[rests]
    if torch.allclose(given, _shares(torch.ones_like(target).bool())[rests], atol=0.02):
        raise Failure(
            "Where nothing matches, all scores are equal, and the weight spreads over all "
            f"positions. It should rest on the start token.\nInput: {where}."
        )
    notes = torch.cat([tokens[:, :1], tokens[:, :-1]], dim=1)
    if torch.allclose(given, _shares((notes == 0)[:, None].expand_as(target))[rests], atol=0.02):
        raise Failure(
            "Where nothing matches, positions 0 and 1 share the weight: both keep the start token "
            "as their note. Make the key of the place to rest from something that position 0 has "
            f"alone.\nInput: {where}."
        )
    itself = attention.diagonal(dim1=1, dim2=2)[rests]
    if itself.min() > 0.5:
        raise Failure(
            f"Where nothing matches, it attends to itself, not to the start token.\nInput: {where}."
        )
    if (given.argmax(dim=-1) == 0).all():
        raise Failure(
            "Where nothing matches, the start token gets the largest weight, but not enough: "
            f"as little as {float(on_start.min()):.7f}.\nInput: {where}."
        )
    raise Failure(
        "Where nothing matches, the start token does not get the largest weight everywhere."
        f"\nInput: {where}."
    )


def _added(
    tokens: Tensor, attention: Tensor, weights: tuple[Tensor, ...], V: int, P: int
) -> Tensor:
    return attention @ _stream(tokens, V, P) @ weights[2] @ weights[3]


def _prediction(added: Tensor, V: int) -> Tensor:
    return added[..., added.shape[-1] - V :]


def _check_copy(tokens: Tensor, weights: tuple[Tensor, ...], V: int, P: int) -> None:
    """Check the values on a context … A B … A, with the weights that the head should have."""
    added = _added(tokens, _target(tokens), weights, V, P)[0, -1]
    logits = _prediction(added, V)
    a, b = int(tokens[0, 1]), int(tokens[0, 2])
    if logits.abs().max() < 1e-9:
        ends = {"token": V, "position": V + P, "note": 2 * V + P}
        start = 0
        for name, end in ends.items():
            if added[start:end].abs().max() > 1e-9:
                raise Failure(
                    f"W_O writes into the subspace of the {name}; the prediction stays zero."
                )
            start = end
        raise Failure("The head adds nothing to the stream where it fires: look at W_V and W_O.")
    best = int(logits.argmax())
    text = f"\nInput: tokens {tokens[0].tolist()}, V = {V}, P = {P}."
    if best == a and logits[a] > logits[b]:
        raise Failure(
            "It predicts A, the token that is there already: W_V reads the note of the position "
            f"that it attends to, not the token.{text}"
        )
    if logits[b] < min(logits[:b].min(), logits[b + 1 :].min()):
        raise Failure(f"It makes the right token the least likely one: a wrong sign?{text}")
    if best != b:
        raise Failure(
            f"Attending to the right position, it predicts token {best}, which does not stand "
            f"there: are W_V and W_O in step?{text}"
        )
    likely = float(logits.softmax(dim=-1)[b])
    if likely < 1 - SHARP:
        raise Failure(
            f"The right token is the likeliest, but its probability is only {likely:.7f}: the "
            f"logits lie too close together.{text}"
        )


# --- (c) The scores -------------------------------------------------------------------------------


def _patterns(B: int, H: int, T: int, *, double: bool = False) -> Tensor:
    scores = torch.randn(B, H, T, T, dtype=torch.float64)
    later = torch.ones(T, T).triu(1).bool()
    patterns = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
    return patterns if double else patterns.float()


def _check_scores(session: Session, previous_token_score: Any, induction_score: Any) -> None:
    @session.test("previous-token score")
    def _() -> None:
        for B, H, T in [(1, 1, 3), (3, 2, 6), (2, 3, 2)]:
            p = _patterns(B, H, T, double=T == 6)
            got = session.call(previous_token_score, p)
            steps = [p[:, :, t, t - 1] for t in range(1, T)]
            right = torch.stack(steps).double().mean(dim=(0, 1))
            expect_close(
                got,
                right,
                inputs={"patterns": p},
                mistakes=_previous_mistakes(p, right),
            )

    @session.test("induction score")
    def _() -> None:
        texts = [
            torch.tensor([[0, 1, 2, 1, 3], [0, 2, 3, 1, 2]]),
            torch.tensor(
                [[0, 1, 2, 1, 3, 1, 2, 1], [0, 4, 4, 2, 3, 1, 5, 4], [0, 1, 2, 3, 1, 2, 3, 1]]
            ),
            torch.tensor([[3, 1, 2, 4, 2, 3, 3, 1], [1, 2, 5, 4, 6, 7, 1, 5]]).repeat(2, 1),
        ]
        for H, tokens in enumerate(texts, start=1):
            p = _patterns(len(tokens), H, tokens.shape[1], double=H == 2)
            got = session.call(induction_score, p, tokens)
            expect_close(
                got,
                _pooled(p, [_matches(text) for text in tokens.tolist()]),
                inputs={"patterns": p, "tokens": tokens},
                mistakes=_induction_mistakes(p, tokens),
            )


def _previous_mistakes(p: Tensor, right: Tensor) -> list[Mistake]:
    T = p.shape[-1]

    def diagonal(offset: int) -> Callable[[], Tensor]:
        return lambda: p.diagonal(offset, 2, 3).mean(dim=(0, 2))

    return [
        Mistake("That is the weight of each position on itself: the main diagonal.", diagonal(0)),
        Mistake(
            "That is the weight on the position just after, which the mask makes zero: the row "
            "attends, the column is attended to.",
            diagonal(1),
        ),
        Mistake("That is the weight two positions back.", diagonal(-2)),
        Mistake(
            "That is the share of rows whose largest weight is on the position just before. The "
            "score is the mean of the weights themselves.",
            lambda: (p[:, :, 1:].argmax(dim=-1) == torch.arange(T - 1)).double().mean(dim=(0, 2)),
        ),
        Mistake(
            "Position 0 has been counted, with its weight on itself: it has no position before it.",
            lambda: (right * (T - 1) + p[:, :, 0, 0].double().mean(dim=0)) / T,
        ),
        Mistake(
            "That is the largest weight on a position just before; the score is a mean.",
            lambda: p.diagonal(-1, 2, 3).amax(dim=(0, 2)),
        ),
        Mistake(
            "The sum is divided by all positions, but position 0 has none before it.",
            lambda: right * (T - 1) / T,
        ),
        Mistake(
            "The texts are added, not averaged: a score is a mean weight.",
            lambda: right * len(p),
        ),
        Mistake(
            "The positions are added, not averaged: a score is a mean weight.",
            lambda: right * (T - 1),
        ),
        Mistake(
            "This is one number per text and head: average over the texts, too.",
            lambda: p.diagonal(-1, 2, 3).mean(dim=2),
        ),
        Mistake("The heads are averaged: give one number per head.", lambda: right.mean()),
    ]


def _pooled(p: Tensor, targets: list[list[set[int]]]) -> Tensor:
    """Sum the weights on the targets of each text and position, average where there are any."""
    sums = [
        p[b, :, t, sorted(found)].double().sum(dim=-1)
        for b, text in enumerate(targets)
        for t, found in enumerate(text)
        if found
    ]
    return torch.stack(sums).mean(dim=0)


def _induction_mistakes(p: Tensor, tokens: Tensor) -> list[Mistake]:
    texts = tokens.tolist()
    right = [_matches(text) for text in texts]
    T = tokens.shape[1]

    def changed(change: Callable[..., set[int]]) -> Callable[[], Tensor]:
        targets = [
            [change(t, found, text) for t, found in enumerate(_matches(text))] for text in texts
        ]
        return lambda: _pooled(p, targets)

    def everywhere() -> Tensor:
        return _pooled(p, right) * pairs / tokens.numel()

    def per_text() -> Tensor:
        return torch.stack(
            [_pooled(p[b : b + 1], [text]) for b, text in enumerate(right) if any(text)]
        ).mean(dim=0)

    def mean_of_matches() -> Tensor:
        return torch.stack(
            [
                p[b, :, t, sorted(found)].double().mean(dim=-1)
                for b, text in enumerate(right)
                for t, found in enumerate(text)
                if found
            ]
        ).mean(dim=0)

    def largest() -> Tensor:
        return torch.stack(
            [
                p[b, :, t, sorted(found)].double().amax(dim=-1)
                for b, text in enumerate(right)
                for t, found in enumerate(text)
                if found
            ]
        ).mean(dim=0)

    pairs = sum(bool(found) for text in right for found in text)
    matches = sum(len(found) for text in right for found in text)

    def later_matches_count() -> Tensor:
        """Average also over positions whose only matches come later and weigh nothing."""
        fires = sum(text[t] in text[: T - 1] for text in texts for t in range(T))
        return _pooled(p, right) * pairs / fires

    return [
        Mistake(
            "That is the weight on the earlier occurrences themselves. An induction head attends "
            "one place further to the right.",
            changed(lambda t, found, text: {s - 1 for s in found}),
        ),
        *(
            Mistake(
                "That is the weight on all positions with the same token, its own included: "
                "compare the token at t with the *note* of s.",
                changed(
                    lambda t, found, text, always=always: (
                        {s - 1 for s in found} | {t} if found or always else set()
                    )
                ),
            )
            for always in (False, True)
        ),
        Mistake("Positions at which the head would not fire are averaged in as zeros.", everywhere),
        Mistake(
            "Positions whose token occurs only later count here as well: look at s up to t only.",
            later_matches_count,
        ),
        Mistake(
            "Each text is averaged first, then the texts. Texts in which the head fires more often "
            "should count more: average over all pairs at once.",
            per_text,
        ),
        Mistake(
            "The weights of several matches are averaged; they should be summed.", mean_of_matches
        ),
        Mistake(
            "The sum is divided by the number of matches. Divide by the number of pairs of text "
            "and position at which the head fires: there, all matches count together.",
            lambda: _pooled(p, right) * pairs / matches,
        ),
        Mistake(
            "The weights are summed over texts and positions; the score is their mean over all "
            "pairs at which the head fires.",
            lambda: _pooled(p, right) * pairs,
        ),
        Mistake(
            "Of several matches only the largest weight counts; all of them should be summed.",
            largest,
        ),
        Mistake(
            "Only the latest match counts here; an induction head attends to all of them.",
            changed(lambda t, found, text: {max(found)} if found else set()),
        ),
        Mistake(
            "Only the earliest match counts here; an induction head attends to all of them.",
            changed(lambda t, found, text: {min(found)} if found else set()),
        ),
        Mistake(
            "A position can match itself: if a token stands twice in a row, the second one keeps "
            "its own token as its note (s ≤ t, not s < t).",
            changed(lambda t, found, text: found - {t}),
        ),
        Mistake(
            "Position 0 has got the last token of the text as its note: a roll wraps around. It "
            "keeps no note.",
            changed(lambda t, found, text: found | ({0} if text[-1] == text[t] else set())),
        ),
        Mistake(
            "Position 0 has a note here, the start token or whatever the first place was filled "
            "with. It keeps no note: fill with something that is no token.",
            changed(lambda t, found, text: found | ({0} if text[t] == text[0] else set())),
        ),
        Mistake(
            "The notes are taken from the right neighbor: position s keeps the token that stands "
            "just *before* it.",
            changed(
                lambda t, found, text: {
                    s for s in range(min(t + 1, T - 1)) if text[s + 1] == text[t]
                }
            ),
        ),
        Mistake(
            "The patterns are read the wrong way: the row attends, the column is attended to.",
            lambda: _pooled(p.mT, right),
        ),
        Mistake(
            "Only the last position of each text is looked at.",
            changed(lambda t, found, text: found if t == T - 1 else set()),
        ),
        Mistake(
            "The heads are averaged: give one number per head.", lambda: _pooled(p, right).mean()
        ),
    ]
