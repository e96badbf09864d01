"""Probabilistic grammars with memory: text to sample whose entropy is known exactly.

A grammar maps names of rules to their alternatives. An alternative is a text with slots:

- ``{rule}`` is replaced by one of that rule's alternatives; ``{rule*0.7}`` by none, one, two …
  of them, going on with probability 0.7 each time;
- ``<x=class>`` draws an item of a class of words and remembers it as ``x``, ``<=class>`` under the
  name of the class; ``<x=class-y>`` draws one that is not what ``y`` is;
- ``<x>`` repeats what is remembered, ``<x.her>`` another form of it, as the class lists them;
  ``<x.her=class>`` draws an item and shows that form.

All alternatives of a rule have the same probability, unless they start with a weight: ``3: …``.
The items of a class have the frequencies of Zipf and Mandelbrot, the i-th in proportion to
1 / (i + 2).

>>> grammar = Grammar(
...     {"story": ["<who=name> has <pet=animal>. <who.She> likes <pet.the>."]},
...     {
...         "name": [{"": "Ann", "She": "She"}, {"": "Tom", "She": "He"}],
...         "animal": [{"": "a cat", "the": "the cat"}, {"": "an owl", "the": "the owl"}],
...     },
... )
>>> text, log_probability = next(grammar.stories(seed=1))
>>> text
'Tom has an owl. He likes the owl.'
>>> math.isclose(log_probability, 2 * math.log(3 / 7))  # twice the rarer of two words
True
>>> round(grammar.entropy().nats, 4)  # two draws with probabilities 4/7 and 3/7
1.3658
"""

import math
import random
import re
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from llmbook.data.vocabulary import join, size, tokenize

_SLOT = re.compile(r"(<[^<>]*>|\{[^{}]*\})")
_DRAW = re.compile(r"<(\w*)(?:\.(\w+))?=(\w+)(?:-(\w+))?>")
_FORM = re.compile(r"<(\w+)(?:\.(\w+))?>")
_CALL = re.compile(r"\{(\w+)(?:\*(0?\.\d+))?\}")
_WEIGHT = re.compile(r"(\d+(?:\.\d+)?): ")

Tokens = tuple[str, ...]


@dataclass(frozen=True)
class Entropy:
    """Exact mean entropy and length of a story, the newline that ends it included.

    Stories are drawn independently, so that in the endless stream of stories and newlines the
    nats per token tend to the ratio of the means (the theorem of renewal and reward).
    """

    nats: float
    tokens: float
    characters: float

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def nats_per_character(self) -> float:
        return self.nats / self.characters


@dataclass(frozen=True)
class Draw:
    """Slot that draws an item of `kind` for `variable`, other than that of `unlike`."""

    variable: str
    form: str
    kind: str
    unlike: str | None


@dataclass(frozen=True)
class Form:
    """Slot that repeats a remembered item in one of its forms."""

    variable: str
    form: str


@dataclass(frozen=True)
class Call:
    """Slot for a rule, repeated with probability `again` if it is positive."""

    rule: str
    again: float


Part = Tokens | Draw | Form | Call


class Rule:
    """Alternatives of a rule and their probabilities."""

    def __init__(self, weights: Sequence[float], alternatives: Sequence[Sequence[Part]]) -> None:
        self.p = [weight / math.fsum(weights) for weight in weights]
        self.log_p = [math.log(p) for p in self.p]
        self.cumulative = list(accumulate(self.p))[:-1]
        self.alternatives = alternatives


@dataclass(frozen=True, eq=False)
class Item:
    """Word of a class: the tokens of its forms, and its probability."""

    forms: Mapping[str, Tokens]
    p: float
    log_p: float


class Kind:
    """Class of words, the frequent ones first."""

    def __init__(self, items: Sequence[Mapping[str, str]]) -> None:
        weights = [1 / (rank + 2) for rank in range(1, len(items) + 1)]
        self.p = np.array(weights) / math.fsum(weights)
        self.cumulative = list(accumulate(self.p.tolist()))[:-1]
        self.items = [
            Item({name: tuple(tokenize(text)) for name, text in forms.items()}, p, math.log(p))
            for forms, p in zip(items, self.p.tolist(), strict=True)
        ]


# One way to have derived a text so far: its log probability, the parts to come as a linked list
# (part, (part, … None)), and what is remembered.
_Todo = tuple[Part, "_Todo"] | None
_State = tuple[float, _Todo, dict[str, Item]]


class Grammar:
    """A grammar and the classes of words that it draws from; see the module's docstring.

    Raises
    ------
    ValueError
        If a slot names a rule, class, form or variable that does not exist, a variable is drawn
        from two classes or may come back before it was drawn, or a rule calls itself (the lengths
        would have no simple form).
    """

    def __init__(
        self,
        rules: Mapping[str, Sequence[str]],
        classes: Mapping[str, Sequence[Mapping[str, str]]],
        start: str = "story",
    ) -> None:
        self.classes = {kind: Kind(items) for kind, items in classes.items()}
        self.rules = {name: _parse_rule(name, texts) for name, texts in rules.items()}
        self.start = Call(start, 0.0)
        self._draws: dict[str, Draw] = {}  # how each variable is drawn
        self._check(start, frozenset(), ())

    def stories(self, seed: int | str) -> Iterator[tuple[str, float]]:
        """Yield stories without end, each with the log of its probability, in nats."""
        rng = random.Random(seed).random
        while True:
            tokens: list[str] = []
            log_probability = self._sample(self.start, rng, {}, tokens)
            yield join(tokens), log_probability

    def tokens(self) -> list[str]:
        """Return every token that a story can have, and the newline that ends it, in order."""
        found = {"\n"}
        for part in (part for rule in self.rules.values() for a in rule.alternatives for part in a):
            if isinstance(part, Draw | Form):
                for item in self._kind(part.variable).items:
                    found.update(item.forms[part.form])
            elif isinstance(part, tuple):
                found.update(part)
        return sorted(found)

    def entropy(self) -> Entropy:
        """Return the exact mean of nats, tokens and characters of a story, its newline included.

        The nats are the entropy of the derivation, which is that of the text if no text has two
        derivations. Means add up over the parts of a story, because no choice of a rule depends on
        what is remembered.
        """
        nats, tokens, characters = self._mean(self.start).tolist()
        return Entropy(nats, tokens + 1, characters)  # a newline more, the first word's space less

    def token_log_probabilities(self, text: str) -> list[float]:
        r"""Return log P(token | all before it), in nats, for every token of a stream of stories.

        The text begins with a story, every story in it ends with a newline, which is a token as
        well, and the last one may be cut off anywhere. No predictor that sees only the text can
        have a smaller expected loss: all derivations that agree with the text so far are followed,
        and their probabilities added up.

        Raises
        ------
        ValueError
            If no story of the grammar goes on like that.

        Examples
        --------
        >>> coin = Grammar({"story": ["3: heads", "tails {more*0.5}"], "more": ["again"]}, {})
        >>> [round(math.exp(x), 3) for x in coin.token_log_probabilities("tails again\nheads\n")]
        [0.25, 0.5, 0.5, 0.75, 1.0]
        """
        result = []
        states: list[_State] = [(0.0, (self.start, None), {})]
        tokens = tokenize(text)
        for number, token in enumerate(tokens):
            states = [after for state in states for after in self._after(state, token)]
            if not states:
                before = join(tokens[max(0, number - 5) : number])
                raise ValueError(f"text is no story of the grammar: {token!r} after {before!r}")
            largest = max(log_p for log_p, _, _ in states)
            total = largest + math.log(sum(math.exp(log_p - largest) for log_p, _, _ in states))
            result.append(total)
            states = [(log_p - total, todo, memory) for log_p, todo, memory in states]
        return result

    def derivations(self, story: str) -> int:
        """Return in how many ways the grammar derives the story: 0 if it is none of its."""
        states: list[_State] = [(0.0, (self.start, None), {})]
        for token in [*tokenize(story), "\n"]:
            states = [after for state in states for after in self._after(state, token)]
        return len(states)

    def _sample(
        self, call: Call, rng: Callable[[], float], memory: dict[str, Item], tokens: list[str]
    ) -> float:
        """Append the tokens of one round of a rule; return the log of their probability."""
        rule = self.rules[call.rule]
        i = bisect(rule.cumulative, rng())
        log_p = rule.log_p[i]
        for part in rule.alternatives[i]:
            if isinstance(part, tuple):
                tokens += part
            elif isinstance(part, Form):
                tokens += memory[part.variable].forms[part.form]
            elif isinstance(part, Draw):
                kind = self.classes[part.kind]
                other = memory[part.unlike] if part.unlike else None
                item = kind.items[bisect(kind.cumulative, rng())]
                while item is other:  # drawing again is drawing from the others
                    item = kind.items[bisect(kind.cumulative, rng())]
                memory[part.variable] = item
                tokens += item.forms[part.form]
                log_p += item.log_p - (math.log1p(-other.p) if other else 0.0)
            elif part.again:
                while rng() < part.again:
                    log_p += math.log(part.again) + self._sample(part, rng, memory, tokens)
                log_p += math.log1p(-part.again)
            else:
                log_p += self._sample(part, rng, memory, tokens)
        return log_p

    def _after(self, state: _State, token: str) -> Iterator[_State]:
        """Yield every way to go on from a state by exactly this token."""
        log_p, todo, memory = state
        if todo is None:
            if token == "\n":
                yield log_p, (self.start, None), {}
            return
        part, rest = todo
        if isinstance(part, Form):
            part = memory[part.variable].forms[part.form]
        if isinstance(part, tuple):
            if part[0] == token:
                yield log_p, (part[1:], rest) if part[1:] else rest, memory
        elif isinstance(part, Draw):
            other = memory[part.unlike] if part.unlike else None
            scale = math.log1p(-other.p) if other else 0.0
            for item in self.classes[part.kind].items:
                words = item.forms[part.form]
                if words[0] == token and item is not other:
                    todo = (words[1:], rest) if words[1:] else rest
                    yield log_p + item.log_p - scale, todo, memory | {part.variable: item}
        else:
            if part.again:
                yield from self._after((log_p + math.log1p(-part.again), rest, memory), token)
                log_p, rest = log_p + math.log(part.again), todo
            rule = self.rules[part.rule]
            for log_choice, alternative in zip(rule.log_p, rule.alternatives, strict=True):
                todo = rest
                for piece in reversed(alternative):
                    todo = (piece, todo)
                yield from self._after((log_p + log_choice, todo, memory), token)

    def _mean(self, part: Part) -> NDArray[np.float64]:
        """Return the mean nats, tokens and characters of a part."""
        if isinstance(part, tuple):
            return np.array([0.0, *size(part)])
        if isinstance(part, Draw | Form):
            nats = self._nats(part) if isinstance(part, Draw) else 0.0
            items = self._kind(part.variable).items
            sizes = np.array([size(item.forms[part.form]) for item in items])
            return np.array([nats, *(self._marginal(part.variable) @ sizes)])
        rule, once = self.rules[part.rule], np.zeros(3)
        for p, log_p, alternative in zip(rule.p, rule.log_p, rule.alternatives, strict=True):
            once += p * sum(map(self._mean, alternative), start=np.array([-log_p, 0.0, 0.0]))
        if not part.again:
            return once
        again, stop = part.again, 1 - part.again  # a geometric number of rounds
        rounds = (-again * math.log(again) - stop * math.log(stop)) / stop
        return np.array([rounds, 0.0, 0.0]) + again / stop * once

    def _kind(self, variable: str) -> Kind:
        return self.classes[self._draws[variable].kind]

    def _marginal(self, variable: str) -> NDArray[np.float64]:
        """Return the probabilities of the items that a variable can be."""
        draw, p = self._draws[variable], self._kind(variable).p
        if draw.unlike is None:
            return p
        others = self._marginal(draw.unlike) / (1 - p)
        marginal: NDArray[np.float64] = p * (others.sum() - others)
        return marginal

    def _nats(self, draw: Draw) -> float:
        """Return the mean entropy of a draw, given what it must not be."""
        p = self.classes[draw.kind].p
        whole = -(p * np.log(p)).sum()
        if draw.unlike is None:
            return float(whole)
        # Without item r, the others have p / (1 - r): (H + r log r) / (1 - r) + log(1 - r).
        rest = (whole + p * np.log(p)) / (1 - p) + np.log1p(-p)
        return float(self._marginal(draw.unlike) @ rest)

    def _check(self, name: str, drawn: frozenset[str], above: Tokens) -> frozenset[str]:
        """Return what is remembered after a rule for certain, given what is before it."""
        if name not in self.rules:
            raise ValueError(f"rules: there is no rule {name!r}; there are {', '.join(self.rules)}")
        if name in above:
            raise ValueError(f"rules: {name!r} calls itself")
        ends = []
        for alternative in self.rules[name].alternatives:
            now = drawn
            for part in alternative:
                if isinstance(part, Call):
                    after = self._check(part.rule, now, (*above, name))
                    now = now if part.again else after
                elif isinstance(part, Draw | Form):
                    self._check_slot(name, part, now)
                    now |= {part.variable}
            ends.append(now)
        return frozenset.intersection(*ends)

    def _check_slot(self, name: str, slot: Draw | Form, drawn: frozenset[str]) -> None:
        needed = slot.unlike if isinstance(slot, Draw) else slot.variable
        if needed is not None and needed not in drawn:
            raise ValueError(f"rules: {name!r} needs {needed!r}, which may not be drawn by then")
        if isinstance(slot, Draw):
            first = self._draws.setdefault(slot.variable, slot)
            if slot.kind not in self.classes:
                raise ValueError(f"rules: {name!r} draws from no class {slot.kind!r}")
            if (first.kind, first.unlike) != (slot.kind, slot.unlike):
                raise ValueError(f"rules: {slot.variable!r} is drawn in two ways: {name!r}")
            if needed is not None and self._draws[needed].kind != slot.kind:
                raise ValueError(f"rules: {name!r} excludes {needed!r}, which is no {slot.kind!r}")
            if len(self.classes[slot.kind].items) < (2 if needed else 1):
                raise ValueError(f"classes: {slot.kind!r} has too few items for {name!r}")
        for item in self._kind(slot.variable).items:
            if not item.forms.get(slot.form):
                raise ValueError(
                    f"classes: an item of {self._draws[slot.variable].kind!r} has no form "
                    f"{slot.form!r}, which {name!r} asks for: {dict(item.forms)}"
                )


def _parse_rule(name: str, texts: Sequence[str]) -> Rule:
    weights, alternatives = [], []
    for text in texts:
        weight = _WEIGHT.match(text)
        weights.append(float(weight[1]) if weight else 1.0)
        alternatives.append(list(_parts(name, text[weight.end() :] if weight else text)))
    if not weights or min(weights) <= 0:
        raise ValueError(f"rules: {name!r} needs alternatives, all of positive weight")
    return Rule(weights, alternatives)


def _parts(name: str, text: str) -> Iterator[Part]:
    for piece in _SLOT.split(text):
        if draw := _DRAW.fullmatch(piece):
            yield Draw(draw[1] or draw[3], draw[2] or "", draw[3], draw[4])
        elif form := _FORM.fullmatch(piece):
            yield Form(form[1], form[2] or "")
        elif call := _CALL.fullmatch(piece):
            yield Call(call[1], float(call[2] or 0))
        elif set(piece) & set("<>{}"):
            raise ValueError(f"rules: {name!r} has a slot that cannot be read: {piece.strip()}")
        elif piece.strip():
            yield tuple(tokenize(piece))
