"""Speed of the story generator and of what is made from it, beside words drawn at random.

    python benchmarks/corpus.py

Words at random, each as probable as any other, are about the least that Python can do for a word:
the ratio is the price of grammar, memory and exact probabilities.
"""

import random
import time
from collections.abc import Callable
from itertools import islice

from llmbook.data.stories import entropy, grammar, stories, words

CHARACTERS = 10_000_000
COUNT = round(CHARACTERS / entropy().characters)
SYMBOLS = words().symbols


def stream() -> str:
    """Stories of about so many characters, each with its newline."""
    return "".join(f"{story}\n" for story in islice(stories(0), COUNT))


def words_at_random() -> str:
    """As many characters, up to chance, of words drawn one by one."""
    choice = random.Random(0).choice
    count = round(CHARACTERS / (sum(map(len, SYMBOLS)) / len(SYMBOLS) + 1))
    return " ".join(choice(SYMBOLS) for _ in range(count))


def main() -> None:
    """Print characters a second of processor time, of every step; all of it runs on one thread."""
    text = stream()
    start = "".join(f"{story}\n" for story in islice(stories(0), COUNT // 20))
    steps: dict[str, tuple[int, Callable[[], object]]] = {
        "words at random": (len(words_at_random()), words_at_random),
        "stories": (len(text), stream),
        "numbers of their words": (len(text), lambda: words().encode(text)),
        "exact log-probabilities": (len(start), lambda: grammar().token_log_probabilities(start)),
    }
    print(f"{'step':<26} {'characters':>11} {'CPU s':>8} {'characters/s':>13} {'ratio':>6}")
    base = 0.0
    for name, (characters, run) in steps.items():
        began = time.process_time()
        run()
        seconds = time.process_time() - began
        rate = characters / seconds
        base = base or rate
        print(f"{name:<26} {characters:>11,} {seconds:>8.2f} {rate:>13,.0f} {rate / base:>6.2f}")


if __name__ == "__main__":
    main()
