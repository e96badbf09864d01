"""Byte-level byte-pair encoding (BPE): training, encoding and decoding.

>>> tokenizer = train("low low low lower lowest", vocab_size=259)
>>> tokenizer.merges  # "l" + "o", then "lo" + "w", then " " + "low"
((75, 78), (256, 86), (220, 257))
>>> [tokenizer.token(i) for i in tokenizer.encode("lower low")]
[b'low', b'e', b'r', b' low']
>>> tokenizer.decode(tokenizer.encode("naïve 模型"))
'naïve 模型'

The tokens are those of GPT-2 (Radford et al., 2019, section 2.2): a text is cut into words by a
pattern, every word starts as its UTF-8 bytes, and pairs are merged in the order in which they were
learned (Sennrich et al., 2016, algorithm 1). Merges and their order are those of Hugging Face's
``tokenizers`` with the same corpus and settings; only signs that one of the two has no Unicode
category for, because they were added to the standard of late, may be cut in other places.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import regex  # type: ignore[import-untyped]

# Contractions, words, numbers and other signs with the space before them, and space itself.
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# GPT-2 numbers the bytes in this order: first those whose Latin-1 sign can be seen.
_VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTES = bytes([*_VISIBLE, *sorted(set(range(256)) - set(_VISIBLE))])

Pair = tuple[int, int]


@dataclass(frozen=True)
class Tokenizer:
    """A trained tokenizer: ids 0 to 255 are the bytes in `BYTES`, id 256 + i is merge i."""

    merges: tuple[Pair, ...]
    pattern: str = GPT2_PATTERN

    def __post_init__(self) -> None:
        for i, pair in enumerate(self.merges):
            if not all(0 <= part < 256 + i for part in pair):
                raise ValueError(f"merges must join ids that exist: number {i} joins {pair}")

    @property
    def vocab_size(self) -> int:
        return 256 + len(self.merges)

    @cached_property
    def _tokens(self) -> list[bytes]:
        tokens = [BYTES[i : i + 1] for i in range(256)]
        for left, right in self.merges:
            tokens.append(tokens[left] + tokens[right])
        return tokens

    @cached_property
    def _ranks(self) -> dict[Pair, int]:
        return {pair: 256 + i for i, pair in reversed(list(enumerate(self.merges)))}

    @cached_property
    def _words(self) -> dict[str, list[int]]:
        return {}  # words met so far: most of a text are words that it has had before

    def token(self, i: int) -> bytes:
        """Return the bytes of token `i`."""
        if not 0 <= i < self.vocab_size:
            raise ValueError(f"i must be a token id below {self.vocab_size}, got {i}")
        return self._tokens[i]

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text.

        Raises
        ------
        ValueError
            If the text holds half of a surrogate pair, which has no UTF-8 bytes.
        """
        ids: list[int] = []
        words, known = regex.findall(self.pattern, text), self._words
        for word in words:
            found = known.get(word)
            if found is None:
                found = self.encode_bytes(_utf8(word))
                if len(known) < 1_000_000:  # a bound, for streams of text without end
                    known[word] = found
            ids += found
        return ids

    def encode_bytes(self, word: bytes) -> list[int]:
        """Return the token ids of bytes that are merged as one word, whatever they are.

        The merge learned first comes first, and of its places the leftmost. Merged tokens are taken
        out of a linked list, so that a word of n bytes takes time of order n log n.
        """
        ids, ranks, end = _byte_ids(word), self._ranks, len(word)
        before, after = list(range(-1, end - 1)), list(range(1, end + 1))
        queue = [(ranks[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in ranks]
        heapq.heapify(queue)
        while queue:
            new, i = heapq.heappop(queue)
            j = after[i]
            if j == end or ranks.get((ids[i], ids[j])) != new:
                continue  # an entry from before a merge
            ids[i], ids[j], after[i] = new, -1, after[j]
            if after[i] < end:
                before[after[i]] = i
            for left, right in ((before[i], i), (i, after[i])):
                if left >= 0 and right < end:
                    rank = ranks.get((ids[left], ids[right]))
                    if rank is not None:
                        heapq.heappush(queue, (rank, left))
        return [i for i in ids if i >= 0]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes that the tokens stand for."""
        return b"".join(self.token(i) for i in ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text that the tokens stand for, with � for bytes that are not UTF-8."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")


def train(text: str | Iterable[str], vocab_size: int, pattern: str = GPT2_PATTERN) -> Tokenizer:
    """Learn merges until the vocabulary, the 256 bytes included, has `vocab_size` tokens.

    The most frequent pair of neighbors is merged; of several, the one with the smallest ids. A
    corpus that runs out of pairs gives fewer tokens. The counts are kept up to date instead of
    being taken anew, and only words that hold the pair are touched.

    Raises
    ------
    ValueError
        If `vocab_size` is below 256.
    """
    if vocab_size < 256:
        raise ValueError(f"vocab_size must be at least 256, the bytes, got {vocab_size}")
    texts = [text] if isinstance(text, str) else text
    frequency = Counter(word for part in texts for word in regex.findall(pattern, part))
    words = [_byte_ids(_utf8(word)) for word in frequency]
    times = list(frequency.values())
    counts: dict[Pair, int] = defaultdict(int)
    holders: dict[Pair, set[int]] = defaultdict(set)  # words in which a pair may occur
    for number, word in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += times[number]
            holders[pair].add(number)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)
    merges: list[Pair] = []
    while queue and 256 + len(merges) < vocab_size:
        count, best = heapq.heappop(queue)
        if -count != counts[best]:  # an entry from before a merge
            if counts[best] > 0:
                heapq.heappush(queue, (-counts[best], best))
            continue
        new = 256 + len(merges)
        merges.append(best)
        changed: set[Pair] = set()
        for number in holders.pop(best):
            words[number], changes = _merge(words[number], best, new)
            for pair, change in changes:
                counts[pair] += change * times[number]
                if change > 0:
                    holders[pair].add(number)
                    changed.add(pair)
        counts[best] = 0
        for pair in changed:
            if counts[pair] > 0:
                heapq.heappush(queue, (-counts[pair], pair))
    return Tokenizer(tuple(merges), pattern)


def _utf8(word: str) -> bytes:
    try:
        return word.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"text must be valid Unicode: {error}") from None


_BYTE_IDS = bytes(BYTES.index(byte) for byte in range(256))


def _byte_ids(word: bytes) -> list[int]:
    return list(word.translate(_BYTE_IDS))


def _merge(ids: Sequence[int], pair: Pair, new: int) -> tuple[list[int], list[tuple[Pair, int]]]:
    """Replace the pair from left to right; also return by how much which pairs' counts change."""
    left, right = pair
    merged: list[int] = []
    changes: list[tuple[Pair, int]] = []
    i, n = 0, len(ids)
    while i < n:
        if ids[i] == left and i + 1 < n and ids[i + 1] == right:
            if merged:
                changes += [((merged[-1], left), -1), ((merged[-1], new), 1)]
            if i + 2 < n:
                changes += [((right, ids[i + 2]), -1), ((new, ids[i + 2]), 1)]
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged, changes
