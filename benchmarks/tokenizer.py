"""Byte-level BPE beside Hugging Face's tokenizers and beside plain Python: time, as ratios.

    python benchmarks/tokenizer.py

All are trained on the same texts with the same settings, and have to learn the same merges. The
stories have few different words, the sources of Python's standard library many. Plain Python comes
in two forms, both taking all counts anew at each merge: over all words of the texts, as a textbook
writes it, and over the different words with their counts.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import regex
from tokenizers import Tokenizer as Peer
from tokenizers import models, pre_tokenizers, trainers

from llmbook.data.stories import stories
from llmbook.measure import median_seconds
from llmbook.tokenizer import BYTES, GPT2_PATTERN, Tokenizer, train

GOAL = 20  # how many times as fast as plain Python training has to be
Pair = tuple[int, int]


def corpora(n_characters: int) -> dict[str, list[str]]:
    """Return texts of about so many characters: stories, and lines of the standard library."""
    library = Path(os.__file__).parent
    sources = (path.read_text(errors="replace") for path in sorted(library.glob("*.py")))
    lines = (line for source in sources for line in source.splitlines(keepends=True))
    return {
        "stories": list(_up_to(stories(seed=0), n_characters)),
        "library": list(_up_to(lines, n_characters)),
    }


def _up_to(texts: Iterable[str], n_characters: int) -> Iterator[str]:
    total = 0
    for text in texts:
        if total >= n_characters:
            return
        total += len(text)
        yield text


# --- Plain Python --------------------------------------------------------------------------------


def plain_merge(ids: Sequence[int], pair: Pair, new: int) -> list[int]:
    """Replace a pair from left to right."""
    merged, i = [], 0
    while i < len(ids):
        if i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def plain_train(texts: Sequence[str], n_merges: int, distinct: bool) -> tuple[Pair, ...]:
    """Count all pairs, merge the most frequent one, and start again."""
    cut = [word for text in texts for word in regex.findall(GPT2_PATTERN, text)]
    frequency = Counter(cut) if distinct else None
    words = [[BYTES.index(byte) for byte in word.encode()] for word in frequency or cut]
    times = list(frequency.values()) if frequency else [1] * len(words)
    merges = []
    for new in range(256, 256 + n_merges):
        counts: Counter[Pair] = Counter()
        for ids, n in zip(words, times, strict=True):
            for pair in pairwise(ids):
                counts[pair] += n
        top = max(counts.values())
        best = min(pair for pair, count in counts.items() if count == top)
        merges.append(best)
        words = [plain_merge(ids, best, new) for ids in words]
    return tuple(merges)


def plain_encode(text: str, ranks: dict[Pair, int]) -> list[int]:
    """Apply the merges to each word, the one learned first at first."""
    encoded = []
    for word in regex.findall(GPT2_PATTERN, text):
        ids = [BYTES.index(byte) for byte in word.encode()]
        while known := [pair for pair in pairwise(ids) if pair in ranks]:
            pair = min(known, key=ranks.__getitem__)
            ids = plain_merge(ids, pair, ranks[pair])
        encoded += ids
    return encoded


# --- The peer ------------------------------------------------------------------------------------


def peer_train(texts: Sequence[str], vocab_size: int) -> Peer:
    """Train byte-level BPE of Hugging Face's tokenizers."""
    peer = Peer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False
    )
    peer.train_from_iterator(texts, trainer)
    return peer


def peer_merges(peer: Peer) -> tuple[Pair, ...]:
    """Return its merges as pairs of ids, in order."""
    model = json.loads(peer.to_str())["model"]
    return tuple((model["vocab"][left], model["vocab"][right]) for left, right in model["merges"])


def set_threads(one: bool) -> None:
    """Let tokenizers use one thread, or as many as it likes; it asks before each parallel step."""
    if one:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    else:
        os.environ.pop("TOKENIZERS_PARALLELISM", None)


# --- Tables --------------------------------------------------------------------------------------


def cpu_seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor time of one call, and what it returned."""
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def row(task: str, seconds: dict[str, float]) -> None:
    """Print the seconds of llmbook and of each of the others, and how many times these are."""
    ours = seconds["llmbook"]
    others = "".join(
        f"{s:10.3f} ({s / ours:7.1f}x)" for name, s in seconds.items() if name != "llmbook"
    )
    print(f"{task:<26}{ours:8.3f}{others}")


def header(title: str, others: Sequence[str]) -> None:
    """Print the names of the columns."""
    columns = "".join(f"{name:>20}" for name in others)
    print(f"\n{title}\n{'':<26}{'llmbook':>8}{columns}")


def against_peer(name: str, texts: list[str], vocab_size: int) -> None:
    """Time training and encoding against tokenizers, after both have been found to agree."""
    ours, peer = train(texts, vocab_size), peer_train(texts, vocab_size)
    assert peer_merges(peer) == ours.merges, f"{name}: the merges differ"
    ids = [ours.encode(text) for text in texts]
    assert [encoding.ids for encoding in peer.encode_batch(texts)] == ids, f"{name}: ids differ"

    def fresh() -> Tokenizer:
        return Tokenizer(ours.merges)  # that remembers no words

    training = {"llmbook": median_seconds(lambda: train(texts, vocab_size))}
    one_by_one = {"llmbook": median_seconds(lambda: [*map(fresh().encode, texts)])}
    batch = dict(one_by_one)
    for threads, one in (("one thread", True), ("default", False)):
        set_threads(one)
        training[threads] = median_seconds(lambda: peer_train(texts, vocab_size))
        one_by_one[threads] = median_seconds(lambda: [*map(peer.encode, texts)])
        batch[threads] = median_seconds(lambda: peer.encode_batch_fast(texts))
    tokens = f"{ours.vocab_size:,}"
    row(f"{name}, {tokens}: train", training)
    row(f"{name}, {tokens}: encode", one_by_one)
    row(f"{name}, {tokens}: batch", batch)


def against_plain(name: str, texts: list[str], vocab_size: int) -> float:
    """Time training and encoding against plain Python; return the ratio of training.

    All of it is Python on one thread, so processor time tells, which a busy machine leaves alone.
    """
    repeats = [cpu_seconds(lambda: train(texts, vocab_size)) for _ in range(3)]
    training, ours = {"llmbook": min(seconds for seconds, _ in repeats)}, repeats[0][1]
    for form, distinct in (("all words", False), ("different words", True)):
        training[form], merges = cpu_seconds(
            lambda d=distinct: plain_train(texts, len(ours.merges), d)
        )
        assert merges == ours.merges, f"{name}: the merges differ from those of plain Python"
    ranks = {pair: 256 + i for i, pair in enumerate(ours.merges)}
    encoding: dict[str, float] = {}
    encoding["llmbook"], ids = cpu_seconds(lambda: [*map(Tokenizer(ours.merges).encode, texts)])
    encoding["all words"], plain_ids = cpu_seconds(lambda: [plain_encode(t, ranks) for t in texts])
    assert ids == plain_ids, f"{name}: the ids differ from those of plain Python"
    row(f"{name}, {ours.vocab_size:,}: train", training)
    row(f"{name}, {ours.vocab_size:,}: encode", encoding)
    return training["all words"] / training["llmbook"]


def main() -> None:
    """Print both tables; fail if training is not as far ahead of plain Python as it has to be."""
    large, small = corpora(1_000_000), corpora(50_000)
    header(
        "wall-clock seconds against tokenizers (times llmbook)", ["one thread", "default threads"]
    )
    against_peer("stories", large["stories"], 1000)
    against_peer("library", large["library"], 1000)
    against_peer("library", large["library"], 8000)
    header(
        "processor seconds against plain Python (times llmbook)", ["all words", "different words"]
    )
    ratios = [against_plain(name, texts, 1000) for name, texts in small.items()]
    if min(ratios) < GOAL:
        sys.exit(f"training is {min(ratios):.1f} times as fast as plain Python, not {GOAL}")


if __name__ == "__main__":
    main()
