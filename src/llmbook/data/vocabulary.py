r"""Tokens and their numbers: the words of the stories, or the characters of any text.

>>> vocabulary = characters("to be or not to be")
>>> vocabulary.symbols
(' ', 'b', 'e', 'n', 'o', 'r', 't')
>>> vocabulary.encode("not be")
tensor([3, 4, 6, 0, 1, 2])
>>> vocabulary.decode([3, 4, 6, 0, 1, 2])
'not be'
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

# A token is a word, a sign of punctuation, or the end of a story. Signs
# stand close to what is before them, an opening quotation mark to what comes after it.
SIGNS = frozenset('.,!?;:"\n')
_TOKEN = re.compile(r'[.,!?;:"\n]|[^\s.,!?;:"]+')
_QUOTED = re.compile(r'" ([^"\n]*) "')


def tokenize(text: str) -> list[str]:
    r"""Split stories into words, signs of punctuation and ends; `join` puts them together again.

    >>> tokenize('"Is it her?" asked Tom.\n')
    ['"', 'Is', 'it', 'her', '?', '"', 'asked', 'Tom', '.', '\n']
    """
    return _TOKEN.findall(text)


def join(tokens: Iterable[str]) -> str:
    r"""Join the tokens of stories to their text.

    >>> join(['"', 'Is', 'it', 'her', '?', '"', 'asked', 'Tom', '.', '\n'])
    '"Is it her?" asked Tom.\n'
    """
    text = " ".join(tokens).replace("\n ", "\n")
    for sign in ".,!?;:\n":
        text = text.replace(f" {sign}", sign)
    return _QUOTED.sub(r'"\1"', text)


def size(tokens: Sequence[str]) -> tuple[int, int]:
    """Return the number of tokens and of characters, with the spaces before words included.

    An opening quotation mark has a space before it, but takes that of the word after it.
    """
    return len(tokens), sum(len(token) + (token not in SIGNS) for token in tokens)


@dataclass(frozen=True)
class Vocabulary:
    """All symbols that a text can have; a symbol's number is its place.

    Attributes
    ----------
    symbols
        In order, each once.
    split, join
        Take a text apart into symbols, and put it together again.

    Raises
    ------
    ValueError
        If a symbol is there twice.
    """

    symbols: tuple[str, ...]
    split: Callable[[str], Sequence[str]]
    join: Callable[[Iterable[str]], str]

    def __post_init__(self) -> None:
        for symbol, count in Counter(self.symbols).items():
            if count > 1:
                raise ValueError(f"symbols must differ: {symbol!r} is there {count} times")

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Number of each symbol."""
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    def encode(self, text: str) -> Int[Tensor, " n"]:
        """Return the numbers of the symbols of a text.

        Raises
        ------
        ValueError
            If the text has a symbol that is not in the vocabulary.
        """
        try:
            return torch.tensor([self.ids[symbol] for symbol in self.split(text)], dtype=torch.long)
        except KeyError as error:
            raise ValueError(
                f"text must be made of the {len(self)} symbols of the vocabulary; "
                f"{error.args[0]!r} is none of them"
            ) from None

    def decode(self, ids: Int[Tensor, " n"] | Sequence[int]) -> str:
        """Return the text of numbers, the inverse of `encode`.

        Raises
        ------
        ValueError
            If a number is not in the vocabulary.
        """
        numbers = torch.as_tensor(ids).tolist()
        if wrong := [i for i in numbers if not 0 <= i < len(self)]:
            raise ValueError(f"ids must be from 0 to {len(self) - 1}, not {wrong[0]}")
        return self.join(self.symbols[i] for i in numbers)


def characters(text: str) -> Vocabulary:
    """Return the vocabulary of the characters of a text, in the order of Unicode."""
    return Vocabulary(tuple(sorted(set(text))), list, "".join)
