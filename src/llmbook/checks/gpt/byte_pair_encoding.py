"""Check of exercise 11.4, byte-pair encoding."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from llmbook.checks.engine import Failure, Result, Session, is_placeholder

CORPUS = "aaabdaaabac"

Pair = tuple[str, str]
Tokens = Sequence[str]


def byte_pair_encoding(
    bpe_step: Any = None,
    *,
    merges: Any = None,
    merges_with_special: Any = None,
    trace: Any = None,
    tokens_of_unseen: Any = None,
    words_recovered: Any = None,
) -> Result:
    """Check one merge of byte-pair encoding, a trace by hand and four numbers; pass any subset.

    Parameters
    ----------
    bpe_step
        (d) ``bpe_step(tokens)`` takes a list of strings and returns ``(pair, merged)``: a most
        frequent pair of neighbors as a tuple ``(left, right)`` and the list in which it has been
        replaced, from left to right, by the token ``left + right``. Without any pair it returns
        ``(None, tokens)``.
    merges, merges_with_special
        (a) How many merges lead to the target, without and with one special token.
    trace
        (b) The corpus after the first, second and third merge. Each is a list of tokens or a string
        with spaces between them, such as ``"a b a c"``; new names for new tokens, such as Z, will
        do. Any way to break ties is right.
    tokens_of_unseen
        (c) Into how many tokens the two characters are turned.
    words_recovered
        (c) How many of the words can be read off the tokens.
    """
    session = Session("byte_pair_encoding", bpe_step)
    session.number(
        "(a) merges",
        merges,
        1000 - 256,
        rtol=0,
        mistakes={
            "That is the size of the vocabulary. Its first tokens need no merge.": 1000,
            "One too few: the first merge makes token number 256, counted from 0.": 743,
            "One too many: ids 0 to 255 are there before the first merge.": 745,
            "A byte has 256 values, 0 included.": 1000 - 255,
            "The base vocabulary is that of ASCII; a byte has twice as many values.": 1000 - 128,
            "That is the size of the base vocabulary.": 256,
            "A merge adds one token; it does not double the vocabulary.": 2,
            "The tokens are added, not multiplied.": 1000 / 256,
        },
    )
    session.number(
        "(a) merges with a special token",
        merges_with_special,
        1000 - 256 - 1,
        rtol=0,
        mistakes={
            "The special token takes one of the places, and no merge makes it.": 744,
            "The special token does not need a merge, it takes the place of one.": 745,
            "That counts places; those of the bytes are filled already.": 999,
        },
    )
    _trace(session, trace)
    session.number(
        "(c) tokens of unseen characters",
        tokens_of_unseen,
        6,
        rtol=0,
        mistakes={
            "The base vocabulary holds bytes, not characters.": 2,
            "That is one of the two characters.": 3,
            "No merge can have made one token of what the training text did not hold.": 1,
            "Nothing is dropped: the bytes are in the vocabulary.": 0,
            "A byte is one token: its digits are not split further.": 12,
        },
    )
    session.number(
        "(c) words recovered",
        words_recovered,
        12 - 3,
        rtol=0,
        mistakes={
            "The sign for unknown words is the same for all of them: it does not say which.": 12,
            "These are the ones that are lost.": 3,
            "A word that is listed can be read off, whatever stands beside it.": 0,
            "The vocabulary is not the text.": 999,
        },
    )
    for name, tokens in SEQUENCES.items():
        _step(session, bpe_step, name, tokens.split())
    return session.result()


# --- (d) one merge --------------------------------------------------------------------------------

SEQUENCES = {
    "(d) one pair stands out": "x y z x y z x y v y x",
    "(d) the pair is at the end": "wx y z x y v x y",
    "(d) the corpus of (b)": " ".join(CORPUS),
    "(d) tokens of several letters": "ab c x y a bc x y ab c x y a bc x y ab c a bc",
    "(d) five equal tokens": "a a a a a",
    "(d) a pair that is a token already": "th t h e t h a th e t h",
    "(d) two tokens": "b a",
    "(d) one token": "a",
    "(d) no token": "",
    "(d) 300 tokens": " ".join(
        random.Random(0).choices(["a", "b", "ab", "ba", "c"], [6, 4, 1, 1, 1], k=300)
    ),
}


def _step(session: Session, function: Any, name: str, tokens: list[str]) -> None:
    @session.test(name)
    def _() -> None:
        given = f"\nInput: tokens = {tokens}" if len(tokens) <= 20 else ""
        got = session.call(function, tokens)
        try:
            pair, merged = _unpack(got, len(tokens) > 1)
            if len(tokens) > 1:
                _expect_frequent(tokens, pair)
                _expect_merged(tokens, pair, merged)
            elif pair is not None or merged != tokens:
                raise Failure(
                    "There is no pair of neighbors here: return `None` and the list as it is."
                )
        except Failure as failure:
            raise Failure(f"{failure}{given}") from None


def _unpack(got: Any, some_pair: bool) -> tuple[Any, list[str]]:
    """Take apart what the learner's function returned."""
    if isinstance(got, dict) or not isinstance(got, Sequence) or isinstance(got, str):
        raise Failure(
            f"Return the pair and the new list, `(pair, merged)`; got a {type(got).__name__}."
        )
    if len(got) != 2:
        raise Failure(f"Return two things, `(pair, merged)`; got {len(got)}.")
    pair, merged = got
    if isinstance(pair, list) and isinstance(merged, tuple) and len(merged) == 2 != len(pair):
        raise Failure("Pair and list are swapped: return the pair first.")
    if isinstance(merged, str):
        raise Failure("The second thing should be a list of tokens; it is one string.")
    try:
        merged = list(merged)
    except TypeError:
        raise Failure(f"The second thing should be a list of tokens; got {merged!r:.60}.") from None
    if not all(isinstance(token, str) for token in merged):
        odd = next(token for token in merged if not isinstance(token, str))
        if isinstance(odd, tuple | list):
            raise Failure("The new token should be one string, `left + right`; it is a tuple.")
        raise Failure(f"Tokens should be strings; one is {odd!r:.60}.")
    if not some_pair:
        return pair, merged
    if isinstance(pair, str):
        raise Failure(
            "The pair is one string: which two tokens were joined cannot be read off it. Return "
            "`(left, right)`."
        )
    if is_placeholder(pair):
        raise Failure("The pair is None, though there are neighbors to merge.")
    if isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], tuple | list):
        raise Failure("The pair holds more than the two tokens: leave its count out.")
    if (
        not isinstance(pair, tuple | list)
        or len(pair) != 2
        or not all(isinstance(part, str) for part in pair)
    ):
        raise Failure(f"The pair should be two tokens, `(left, right)`; got {pair!r:.60}.")
    return tuple(pair), merged


def _frequent(tokens: Tokens) -> dict[str, set[Pair]]:
    """The most frequent pairs under both ways to count what overlaps."""
    every = Counter(pairwise(tokens))
    symbols, text = _as_symbols(tokens)
    apart = {(a, b): text.count(symbols[a] + symbols[b]) for a, b in every}
    return {
        way: {pair for pair, count in counts.items() if count == max(counts.values())}
        for way, counts in (("every", every), ("apart", apart))
        if counts
    }


def _as_symbols(tokens: Tokens) -> tuple[dict[str, str], str]:
    """Give each token one sign, so that Python's own string methods see tokens, not letters."""
    symbols = {token: chr(0xE000 + i) for i, token in enumerate(dict.fromkeys(tokens))}
    return symbols, "".join(symbols[token] for token in tokens)


def _replaced(tokens: Tokens, pair: Pair, count: int = -1) -> list[str]:
    """The tokens after a merge: str.replace goes from left to right, without overlaps."""
    symbols, text = _as_symbols(tokens)
    back = {symbol: token for token, symbol in symbols.items()}
    new = chr(0xE000 + len(symbols))
    both = symbols.get(pair[0], "?") + symbols.get(pair[1], "?")
    return [back.get(symbol, pair[0] + pair[1]) for symbol in text.replace(both, new, count)]


def _expect_frequent(tokens: Tokens, pair: Pair) -> None:
    counts = Counter(pairwise(tokens))
    if any(pair in best for best in _frequent(tokens).values()):
        return
    if pair not in counts:
        if pair[::-1] in counts:
            raise Failure(f"`{pair}` is in reverse order: the left one comes first.")
        if not set(pair) <= set(tokens):
            raise Failure(f"`{pair}` are not both tokens of the list.")
        if "".join(pair) in "".join(tokens):
            raise Failure(
                f"`{pair}` are no neighbors anywhere: their letters are, as parts of other tokens."
            )
        raise Failure(f"`{pair}` do not stand side by side anywhere: count neighbors only.")
    spelled: Counter[str] = Counter()
    for (left, right), count in counts.items():
        spelled[left + right] += count
    if spelled["".join(pair)] == max(spelled.values()):
        raise Failure(
            f"`{pair}` is not the most frequent pair. Other pairs that spell the same letters have "
            "been counted with it: are the two joined before they are counted?"
        )
    rarest, last = counts[pair] == min(counts.values()), pair == max(counts)
    if rarest and last:
        raise Failure(
            f"`{pair}` is one of the rarest pairs, and the last in the alphabet: take the one with "
            "the largest count."
        )
    if last:
        raise Failure(f"`{pair}` is the last in the alphabet: is it the count that is compared?")
    if rarest:
        raise Failure(f"`{pair}` is one of the rarest pairs: take the most frequent one.")
    disjoint = Counter(zip(tokens[::2], tokens[1::2], strict=False))
    if disjoint[pair] == max(disjoint.values()):
        raise Failure(
            f"`{pair}` is not the most frequent pair. Are only every second pair of neighbors "
            "counted? A token has a neighbor on either side."
        )
    raise Failure(f"`{pair}` occurs {counts[pair]} times; another pair occurs more often.")


def _mistakes(tokens: Tokens, pair: Pair) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    left, right = pair
    new = left + right
    done = _replaced(tokens, pair)
    yield "The list is unchanged: the pair has not been merged.", lambda: list(tokens)
    yield (
        "Only the first occurrence has been merged; all of them should be.",
        lambda: _replaced(tokens, pair, 1),
    )
    yield (
        "Where occurrences overlap, the merge starts from the right; it should go from left to "
        "right.",
        lambda: (
            _replaced(list(tokens)[::-1], (right, left))[::-1] if left == right else list(tokens)
        ),
    )
    places = [i for i, neighbors in enumerate(pairwise(tokens)) if neighbors == pair]
    yield (
        "A token has been used twice: after a merge, go on behind both of its tokens.",
        lambda: _each_place(tokens, places, new),
    )
    yield (
        "The right one of the two is still there after the new token: step over both.",
        lambda: [x for t in done for x in ((t, right) if t == new else (t,))],
    )
    yield (
        "The left one of the two is still there before the new token.",
        lambda: [x for t in done for x in ((left, t) if t == new else (t,))],
    )
    yield "The last token is lost.", lambda: done[:-1]
    yield (
        "The last token is lost: when the loop ends before it, it still has to be added.",
        lambda: done[:-1] if places and places[-1] < len(tokens) - 2 else done,
    )
    yield "The last token is there twice.", lambda: [*done, tokens[-1]]
    yield (
        "The occurrences have been removed instead of replaced.",
        lambda: [t for t in _marked(tokens, pair) if t is not None],
    )
    yield (
        "Only the new tokens are left; the others belong to the text, too.",
        lambda: [new for t in _marked(tokens, pair) if t is None],
    )
    yield (
        "The two tokens of the pair are joined in reverse order.",
        lambda: [right + left if t is None else t for t in _marked(tokens, pair)],
    )
    yield (
        "The new token has a space in it: join the two without anything between them.",
        lambda: [f"{left} {right}" if t is None else t for t in _marked(tokens, pair)],
    )
    yield (
        "The pair has been merged in reverse order as well (right before left).",
        lambda: _replaced(done, (right, left)),
    )
    yield (
        "The list has been cut into letters; other tokens of it are longer.",
        lambda: list("".join(done)),
    )
    yield (
        "Letters of the joined text have been replaced, across the borders of tokens. Compare "
        "whole tokens.",
        lambda: re.findall(f"{re.escape(new)}|.", "".join(tokens)),
    )
    yield (
        "In the joined text, the pair has been replaced inside longer tokens, too, that end or "
        "begin with the same letters. Compare whole tokens.",
        lambda: " ".join(tokens).replace(f"{left} {right}", new).split(" "),
    )


def _all_mistakes(tokens: Tokens) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """The mistakes of merging any pair, the most frequent ones first."""
    for pair, _ in Counter(pairwise(tokens)).most_common():
        yield from _mistakes(tokens, pair)


def _marked(tokens: Tokens, pair: Pair) -> list[str | None]:
    """The tokens after a merge, with None for the new ones."""
    symbols, text = _as_symbols(tokens)
    back = {symbol: token for token, symbol in symbols.items()}
    return [back.get(s) for s in text.replace(symbols[pair[0]] + symbols[pair[1]], "\0")]


def _each_place(tokens: Tokens, places: list[int], new: str) -> list[str]:
    used = {i + 1 for i in places} - set(places)
    return [new if i in places else t for i, t in enumerate(tokens) if i not in used]


def _expect_merged(tokens: Tokens, pair: Pair, merged: list[str]) -> None:
    if merged == _replaced(tokens, pair):
        return
    for message, wrong in _mistakes(tokens, pair):
        if merged == wrong():
            raise Failure(message)
    if len(merged) == len(tokens) - 1 and set(pair) <= set(merged):
        raise Failure("Not all occurrences of the pair have been merged.")
    if "".join(merged) != "".join(tokens):
        raise Failure(
            f"The new list spells another text, {len(''.join(merged))} letters instead of "
            f"{len(''.join(tokens))} or other ones: a merge must not change the text."
        )
    if len(merged) < len(_replaced(tokens, pair)):
        raise Failure("More has been merged than this pair: one merge is one pair.")
    raise Failure(f"`{pair}` has not been merged everywhere, from left to right.")


# --- (b) the trace --------------------------------------------------------------------------------


def _trace(session: Session, trace: Any) -> None:
    """Judge every state from the one before it, as the learner wrote it."""
    states: list[Any]
    if is_placeholder(trace):
        states = [None] * 3
    elif isinstance(trace, dict):
        states = list(trace.values())
    else:
        states = list(trace) if isinstance(trace, Sequence) else [trace]
    if len(states) == 4 and states[0] in (CORPUS, list(CORPUS)):
        states = states[1:]  # it begins with the corpus itself
    names: dict[str, str] = {}
    before: list[str] | None = list(CORPUS)
    sound = True
    choices: list[str] = []
    for number in (1, 2, 3):
        state = states[number - 1] if number <= len(states) else None
        previous, was_sound = before, sound
        before = None
        sound = False

        @session.test(f"(b) after merge {number}")
        def _(state: Any = state, previous: Any = previous, was_sound: bool = was_sound) -> None:
            nonlocal before, sound
            if isinstance(trace, str) or len(states) > 3:
                raise Failure("Pass three states, one after each merge.")
            given = session.call(lambda: state)
            if previous is None:
                raise Failure("The state before this one is missing or cannot be read.")
            before = _read(given, previous, names)
            choices.append(_expect_state(previous, before))
            if not was_sound:
                raise Failure("This follows from your state before it, and the mistake is there.")
            sound = True

    if len(choices) == 3 and sound:
        session.note(" ".join(choice for choice in choices if choice))


def _read(state: Any, before: list[str], names: dict[str, str]) -> list[str]:
    """Take a state as tokens that spell the corpus; learn the learner's names for new tokens."""
    if isinstance(state, bytes):
        state = state.decode("utf-8", errors="replace")
    if isinstance(state, str):
        parts = _cut(state)
    elif isinstance(state, Sequence):
        parts = [_token(part) for part in state]
    else:
        raise Failure(
            f"A state is a list of tokens or a string with spaces between them; got {state!r:.60}."
        )
    unknown = [p for p in dict.fromkeys(parts) if p not in names and not set(p) <= set(CORPUS)]
    if len(unknown) > 1:
        raise Failure(
            f"`{unknown[0]}` and `{unknown[1]}` are both new here: a merge makes one new token."
        )
    meanings: list[dict[str, str]] = [{}]
    if unknown:
        substrings = {
            CORPUS[i:j] for i in range(len(CORPUS)) for j in range(i + 2, len(CORPUS) + 1)
        }
        meanings = [{unknown[0]: text} for text in sorted(substrings, key=lambda s: (len(s), s))]
    for meaning in meanings:
        tokens = [(names | meaning).get(part, part) for part in parts]
        if "".join(tokens) == CORPUS:
            names.update(meaning)
            return tokens
    for message, wrong in _all_mistakes(before):
        if parts == wrong():
            raise Failure(message)
    raise Failure(
        f"The tokens `{' '.join(parts):.60}` do not spell the corpus `{CORPUS}`: a merge must not "
        "lose, add or swap letters."
    )


def _cut(state: str) -> list[str]:
    """Cut a string into tokens: at its separators, else into letters and [groups] of letters."""
    state = re.sub(r"^[\[(]([^\[\]()]*)[\])]$", r"\1", state.strip())  # brackets of a list
    cut = [part.strip("'\"`[]()") for part in re.split(r"[\s|,·+\-]+", state)]
    if len(parts := [part for part in cut if part]) > 1:
        return parts
    groups = re.findall(r"[\[(]([^\[\]()]+)[\])]|([^\[\]()'\"`\s|,·+\-])", state)
    return [group or letter for group, letter in groups]


def _token(part: Any) -> str:
    if isinstance(part, bytes):
        return part.decode("utf-8", errors="replace")
    if isinstance(part, int) and not isinstance(part, bool):  # an id
        return chr(part) if part < 256 else f"#{part}"
    if isinstance(part, tuple) and all(isinstance(p, str) for p in part):
        return "".join(part)
    if not isinstance(part, str):
        raise Failure(f"A token should be a string; got {part!r:.40}.")
    return part


def _expect_state(before: list[str], after: list[str]) -> str:
    """Fail unless ``after`` is one merge away from ``before``; say which tie was broken how."""
    if after == before:
        raise Failure("Nothing has been merged since the state before.")
    for pair in dict.fromkeys(pairwise(before)):
        if after == _replaced(before, pair):
            return _judge(before, pair)
    for message, wrong in _all_mistakes(before):
        if after == wrong():
            raise Failure(message)
    for pair in dict.fromkeys(pairwise(before)):
        middle = _replaced(before, pair)
        for second in dict.fromkeys(pairwise(middle)):
            if after == _replaced(middle, second):
                raise Failure("These are two merges at once: write down the state between them.")
    if len(after) > len(before):
        raise Failure("There are more tokens than before: a merge joins, it does not split.")
    raise Failure(
        "This is not one merge away from the state before: one pair of tokens, joined wherever it "
        "stands, from left to right."
    )


def _judge(before: list[str], pair: Pair) -> str:
    frequent = _frequent(before)
    joined = "+".join(pair)
    if not any(pair in best for best in frequent.values()):
        raise Failure(f"`{joined}` was not the most frequent pair in the state before.")
    best = frequent["every"] if pair in frequent["every"] else frequent["apart"]
    others = ", ".join(f"`{'+'.join(other)}`" for other in sorted(best - {pair}))
    if pair not in frequent["every"]:
        return (
            f"taking `{joined}` first counts only pairs that do not overlap; it ties with {others}."
        )
    if not others:
        return ""
    rules = []
    if pair == max(best):
        rules.append("the last in the alphabet")
    if pair == next(p for p in pairwise(before) if p in best):
        rules.append("the first met in the text")
    if pair == min(best, key=lambda p: [(len(token), token) for token in p]):
        rules.append("the smallest ids")
    return f"`{joined}` ties with {others}; you took {' and '.join(rules)}."
