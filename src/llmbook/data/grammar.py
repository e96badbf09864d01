"""Probabilistic grammars with memory: text to sample whose entropy is known exactly.

A grammar maps names of rules to their alternatives. An alternative is a string of words and slots:

- ``{rule}`` is replaced by one of that rule's alternatives; ``{rule*0.7}`` by none, one, two …
  of them, going on with probability 0.7 each time;
- ``<x=class>`` draws an item of a class of words and remembers it as ``x``; ``<x=class-y>`` one
  that is not what ``y`` is;
- ``<x>`` repeats what is remembered, ``<x.her>`` another form of it, as the class lists them;
  ``<x.her=class>`` draws an item and shows that form.

All alternatives of a rule have the same probability, unless they start with a weight: ``3: …``.
The items of a class have Zipf's frequencies, the i-th in proportion to 1 / (i + 1).

>>> grammar = Grammar(
...     {"story": ["<who=name> has <pet=animal> . <who.She> likes <pet.the> ."]},
...     {
...         "name": [{"": "Ann", "She": "She"}, {"": "Tom", "She": "He"}],
...         "animal": [{"": "a cat", "the": "the cat"}, {"": "an owl", "the": "the owl"}],
...     },
... )
>>> text, log_probability = next(grammar.stories("story", seed=0))
>>> text
'Tom has an owl. He likes the owl.'
>>> math.isclose(log_probability, 2 * math.log(1 / 3))  # twice the rarer of two words
True
>>> round(grammar.entropy("story").nats, 4)  # two draws with probabilities 2/3 and 1/3
1.273
"""

import math
import random
import re
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

_PUNCTUATION = frozenset(".,!?;:")
_SLOT = re.compile(r"(<[^<>]*>|\{[^{}]*\})")
_DRAW = re.compile(r"<(\w+)(?:\.(\w+))?=(\w+)(?:-(\w+))?>")
_FORM = re.compile(r"<(\w+)(?:\.(\w+))?>")
_CALL = re.compile(r"\{(\w+)(?:\*(0?\.\d+))?\}")
_WEIGHT = re.compile(r"(\d+(?:\.\d+)?): ")


@dataclass(frozen=True)
class Entropy:
    """Exact mean entropy and length of a story; a token is a word or a sign of punctuation."""

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


Part = str | Draw | Form | Call


class Rule:
    """Alternatives of a rule, as they are sampled and as they are parsed."""

    def __init__(self, weights: Sequence[float], alternatives: Sequence[Sequence[Part]]) -> None:
        self.p = [weight / sum(weights) for weight in weights]
        self.logs = [math.log(p) for p in self.p]
        self.cumulative = list(accumulate(self.p))[:-1]
        self.alternatives = alternatives
        # Parsing goes token by token.
        self.token_parts = [
            [
                token
                for part in alternative
                for token in (tokenize(part) if isinstance(part, str) else [part])
            ]
            for alternative in alternatives
        ]


class Item:
    """Word of a class: its forms, as text and as tokens, and its probability."""

    def __init__(self, forms: Mapping[str, str], p: float) -> None:
        self.forms = forms
        self.tokens = {form: tokenize(words) for form, words in forms.items()}
        self.p, self.log_p = p, math.log(p)


class Kind:
    """Class of words with Zipf's frequencies."""

    def __init__(self, forms: Sequence[Mapping[str, str]]) -> None:
        weights = [1 / rank for rank in range(1, len(forms) + 1)]
        p = [weight / math.fsum(weights) for weight in weights]
        self.items = [Item(f, q) for f, q in zip(forms, p, strict=True)]
        self.cumulative = list(accumulate(p))[:-1]


class Grammar:
    """A grammar and the classes of words that it draws from; see the module's docstring.

    Raises
    ------
    ValueError
        If a slot names a rule, class, form or variable that does not exist, a variable is drawn
        from two classes, or a rule calls itself (the lengths would have no simple form).
    """

    def __init__(
        self,
        rules: Mapping[str, Sequence[str]],
        classes: Mapping[str, Sequence[Mapping[str, str]]],
    ) -> None:
        self.classes = {kind: Kind(items) for kind, items in classes.items()}
        self.rules = {name: _parse_rule(name, texts) for name, texts in rules.items()}
        self._starts: set[str] = set()  # rules known to be fit to begin with
        self._check()

    def stories(self, start: str, seed: int) -> Iterator[tuple[str, float]]:
        """Yield stories without end, each with the log of its probability, in nats."""
        self._require_start(start)
        rng = random.Random(seed).random
        while True:
            words: list[str] = []
            log_probability = self._sample(start, rng, {}, words)
            yield join(words), log_probability

    def token_log_probabilities(self, start: str, text: str) -> list[float]:
        """Return log P(token | all before it in the story), in nats, the final newline's as well.

        No predictor that sees only the text can have a smaller expected loss: all derivations that
        agree with the text so far are followed, and their probabilities added up. The sum is the
        log of the story's probability.

        Raises
        ------
        ValueError
            If the text is not a story of the grammar.
        """
        self._require_start(start)
        states = [_State(0.0, (Call(start, 0.0), None), {})]
        total, result = 0.0, []
        tokens = [*tokenize(text), "\n"]
        for number, token in enumerate(tokens):
            states = [after for state in states for after in self._after(state, token)]
            if not states:
                before = join(tokens[max(0, number - 5) : number])
                raise ValueError(f"text is no story of the grammar: {token!r} after {before!r}")
            largest = max(state.log_p for state in states)
            new = largest + math.log(sum(math.exp(state.log_p - largest) for state in states))
            result.append(new - total)
            total = new
        return result

    def derivations(self, start: str, text: str) -> int:
        """Return in how many ways the grammar derives the text: 0 if it is no story of its."""
        self._require_start(start)
        states = [_State(0.0, (Call(start, 0.0), None), {})]
        for token in [*tokenize(text), "\n"]:
            states = [after for state in states for after in self._after(state, token)]
        return len(states)

    def entropy(self, start: str) -> Entropy:
        """Return the exact mean of nats, tokens and characters of a story, its newline included.

        The nats are the entropy of the derivation, which is that of the text if no text has two
        derivations. Means add up over the parts of a story, because no choice of a rule depends on
        what is remembered.
        """
        self._require_start(start)
        nats, tokens, characters = self._mean(start)
        return Entropy(nats, tokens + 1, characters)  # the first word has no space before it

    # --- Sampling -----------------------------------------------------------------------------

    def _sample(
        self, name: str, rng: Callable[[], float], memory: dict[str, Item], words: list[str]
    ) -> float:
        rule = self.rules[name]
        i = bisect(rule.cumulative, rng()) if len(rule.alternatives) > 1 else 0
        log_probability = rule.logs[i]
        for part in rule.alternatives[i]:
            if isinstance(part, str):
                words.append(part)
            elif isinstance(part, Form):
                words.append(memory[part.variable].forms[part.form])
            elif isinstance(part, Draw):
                other = memory[part.unlike] if part.unlike else None
                kind = self.classes[part.kind]
                item = kind.items[bisect(kind.cumulative, rng())]
                while item is other:  # drawing again is drawing from the others
                    item = kind.items[bisect(kind.cumulative, rng())]
                memory[part.variable] = item
                words.append(item.forms[part.form])
                log_probability += item.log_p - (math.log1p(-other.p) if other else 0.0)
            elif part.again:
                while rng() < part.again:
                    log_probability += math.log(part.again)
                    log_probability += self._sample(part.rule, rng, memory, words)
                log_probability += math.log1p(-part.again)
            else:
                log_probability += self._sample(part.rule, rng, memory, words)
        return log_probability

    # --- Prediction ---------------------------------------------------------------------------

    def _after(self, state: "_State", token: str) -> Iterator["_State"]:
        """Yield every way to go on from a state by exactly this token."""
        if state.todo is None:
            if token == "\n":
                yield _State(state.log_p, ("\n", None), state.memory)
            return
        part, rest = state.todo
        log_p, memory = state.log_p, state.memory
        if isinstance(part, str):
            if part == token:
                yield _State(log_p, rest, memory)
            return
        if isinstance(part, Form):
            tokens = memory[part.variable].tokens[part.form]
            yield from self._after(_State(log_p, _push(tokens, rest), memory), token)
            return
        if isinstance(part, Draw):
            other = memory[part.unlike] if part.unlike else None
            scale = math.log1p(-other.p) if other else 0.0
            for item in self.classes[part.kind].items:
                tokens = item.tokens[part.form]
                if tokens[0] == token and item is not other:
                    todo = _push(tokens[1:], rest)
                    yield _State(log_p + item.log_p - scale, todo, memory | {part.variable: item})
            return
        if part.again:
            yield from self._after(_State(log_p + math.log1p(-part.again), rest, memory), token)
            log_p, rest = log_p + math.log(part.again), (part, rest)
        rule = self.rules[part.rule]
        for log_choice, alternative in zip(rule.logs, rule.token_parts, strict=True):
            todo = _push(alternative, rest)
            yield from self._after(_State(log_p + log_choice, todo, memory), token)

    # --- Means --------------------------------------------------------------------------------

    def _mean(self, name: str) -> tuple[float, float, float]:
        """Return the mean nats, tokens and characters of a rule."""
        rule = self.rules[name]
        total = [0.0, 0.0, 0.0]
        for p, log_p, alternative in zip(rule.p, rule.logs, rule.alternatives, strict=True):
            parts = [self._part_mean(part) for part in alternative]
            for i, sums in enumerate(zip((-log_p, 0.0, 0.0), *parts, strict=True)):
                total[i] += p * sum(sums)
        return total[0], total[1], total[2]

    def _part_mean(self, part: Part) -> tuple[float, float, float]:
        if isinstance(part, str):
            return (0.0, *_size(part))
        if isinstance(part, Call):
            nats, tokens, characters = self._mean(part.rule)
            if not part.again:
                return nats, tokens, characters
            a = part.again
            times = a / (1 - a)  # the mean of a geometric number of rounds
            choice = (-a * math.log(a) - (1 - a) * math.log(1 - a)) / (1 - a)
            return choice + times * nats, times * tokens, times * characters
        draw = self._draws[part.variable]
        sizes = [_size(item.forms[part.form]) for item in self.classes[draw.kind].items]
        marginal = self._marginal(draw)
        tokens, characters = (
            math.fsum(p * size[i] for p, size in zip(marginal, sizes, strict=True)) for i in (0, 1)
        )
        return (self._draw_nats(part) if isinstance(part, Draw) else 0.0), tokens, characters

    def _marginal(self, draw: Draw) -> list[float]:
        """Return the probabilities of the items that a variable can be."""
        p = [item.p for item in self.classes[draw.kind].items]
        if draw.unlike is None:
            return p
        others = self._marginal(self._draws[draw.unlike])
        rest = math.fsum(q / (1 - r) for q, r in zip(others, p, strict=True))
        return [r * (rest - q / (1 - r)) for q, r in zip(others, p, strict=True)]

    def _draw_nats(self, draw: Draw) -> float:
        p = [item.p for item in self.classes[draw.kind].items]
        whole = -math.fsum(q * math.log(q) for q in p)
        if draw.unlike is None:
            return whole
        others = self._marginal(self._draws[draw.unlike])
        # Without item r, the others have p / (1 - r): (H + r log r) / (1 - r) + log(1 - r).
        return math.fsum(
            q * ((whole + r * math.log(r)) / (1 - r) + math.log1p(-r))
            for q, r in zip(others, p, strict=True)
        )

    # --- Checks -------------------------------------------------------------------------------

    @cached_property
    def _draws(self) -> dict[str, Draw]:
        draws: dict[str, Draw] = {}
        for name, rule in self.rules.items():
            for part in (part for alternative in rule.alternatives for part in alternative):
                if isinstance(part, Draw):
                    first = draws.setdefault(part.variable, part)
                    if (first.kind, first.unlike) != (part.kind, part.unlike):
                        raise ValueError(f"rules: {part.variable!r} is drawn in two ways: {name!r}")
        return draws

    def _check(self) -> None:
        for name, rule in self.rules.items():
            for part in (part for alternative in rule.alternatives for part in alternative):
                if isinstance(part, Call):
                    self._require_rule(part.rule)
                elif isinstance(part, Draw):
                    if part.kind not in self.classes:
                        raise ValueError(f"rules: {name!r} draws from no class {part.kind!r}")
                    if part.unlike is not None and (
                        part.unlike not in self._draws or self._draws[part.unlike].kind != part.kind
                    ):
                        raise ValueError(
                            f"rules: {name!r} excludes {part.unlike!r}, which is not drawn from "
                            f"{part.kind!r}"
                        )
                if isinstance(part, Draw | Form):
                    draw = self._draws.get(part.variable)
                    if draw is None:
                        raise ValueError(f"rules: {name!r} repeats {part.variable!r}, never drawn")
                    for item in self.classes[draw.kind].items:
                        if part.form not in item.forms:
                            raise ValueError(
                                f"classes: {item.forms['']!r} has no form {part.form!r}, which "
                                f"{name!r} asks for"
                            )
        for name in self.rules:
            self._require_no_cycle(name, ())

    def _require_no_cycle(self, name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ValueError(f"rules: {name!r} calls itself")
        for alternative in self.rules[name].alternatives:
            for part in alternative:
                if isinstance(part, Call):
                    self._require_no_cycle(part.rule, (*above, name))

    def _require_start(self, name: str) -> None:
        """Make sure that a story can begin with this rule: nothing comes back before it came."""
        if name not in self._starts:
            self._require_rule(name)
            self._drawn_after(name, frozenset())
            self._starts.add(name)

    def _drawn_after(self, name: str, drawn: frozenset[str]) -> frozenset[str]:
        """Return what is remembered after a rule for certain, given what is before it."""
        ends = []
        for alternative in self.rules[name].alternatives:
            now = drawn
            for part in alternative:
                if isinstance(part, Call):
                    after = self._drawn_after(part.rule, now)
                    now = now if part.again else after
                    continue
                needed = None
                if isinstance(part, Form):
                    needed = part.variable
                elif isinstance(part, Draw):
                    needed = part.unlike
                if needed is not None and needed not in now:
                    raise ValueError(f"rules: {name!r} needs {needed!r}, which may not be drawn")
                if isinstance(part, Draw):
                    now |= {part.variable}
            ends.append(now)
        return frozenset.intersection(*ends)

    def _require_rule(self, name: str) -> None:
        if name not in self.rules:
            raise ValueError(f"rules: there is no rule {name!r}; there are {', '.join(self.rules)}")


@dataclass(frozen=True)
class _State:
    """One way to have derived a text so far: its log probability, what is to come, the memory."""

    log_p: float
    todo: Any  # (part, (part, … None)), a linked list
    memory: dict[str, Item]


def _push(parts: Sequence[Part], rest: Any) -> Any:
    for part in reversed(parts):
        rest = (part, rest)
    return rest


def tokenize(text: str) -> list[str]:
    """Split a story into words and signs of punctuation; `join` puts it together again."""
    return re.findall(r"[^\s.,!?;:]+|[.,!?;:]", text)


def join(words: Sequence[str]) -> str:
    """Join words by spaces, with none before a sign of punctuation."""
    return re.sub(r" ([.,!?;:])", r"\1", " ".join(words))


def _size(words: str) -> tuple[int, int]:
    """Return the tokens of words within a story and their characters, the space before included."""
    tokens = tokenize(words)
    return len(tokens), sum(len(token) + (token not in _PUNCTUATION) for token in tokens)


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
            yield Draw(draw[1], draw[2] or "", draw[3], draw[4])
        elif form := _FORM.fullmatch(piece):
            yield Form(form[1], form[2] or "")
        elif call := _CALL.fullmatch(piece):
            yield Call(call[1], float(call[2] or 0))
        elif set(piece) & set("<>{}"):
            raise ValueError(f"rules: {name!r} has a slot that cannot be read: {piece.strip()}")
        elif piece.strip():
            yield " ".join(piece.split())
