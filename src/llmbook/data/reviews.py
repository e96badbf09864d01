"""Short movie reviews with labels, from a grammar: sentiment that counting words does not tell.

All opinions in a review come to the same verdict, but not all by plain praise or blame: "acting not
bad" is praise, and of "plot dull, but acting superb" the second half counts. Words of praise and
blame differ tenfold in frequency, so that a few labels do not show them all; which of them belong
together can be learned without a label, because the opinions of a review agree.

>>> reviews = generated_reviews(train=2, test=2, unlabeled=1)
>>> reviews.train.labels
[0, 1]
>>> reviews.train.texts[0].split(". ")[:2]
['Script poor and weak', 'Music excellent, yet I endured it']
"""

from collections.abc import Iterator
from functools import cache
from itertools import islice

from llmbook.data.downloads import MovieReviews, Reviews
from llmbook.data.grammar import Grammar

# Both verdicts share the rules: `mine` are words for the verdict of the review, `other` against it.
RULES = {
    "review": [
        "2: {opinion} {opinion} {opinion} {opinion}",
        "{intro} {opinion} {opinion} {opinion}",
    ],
    "intro": [
        "Saw this <=genre> <=day>.",
        "A <=length> <=genre> about <=hero>.",
    ],
    "opinion": ["6: {plain}", "2: {negated}", "2: {mixed}"],
    "plain": [
        "2: <part.The=part> <=mine> and <mine2=mine-mine>.",
        "2: <part.The=part> <=mine>, <part2=part-part> <mine2=mine-mine>.",
        "<part.The=part> <=very> <=mine>.",
        "<loved.The=loved> the <=mine> <=part>.",
    ],
    "negated": [
        "<part.The=part> not <=other>.",
        "<part.The=part> never <=other> or <other2=other-other>.",
    ],
    "mixed": [
        "<part.The=part> <=other>, but <part2=part-part> <=mine>.",
        "<part.The=part> <=other>, yet I <=loved> it.",
    ],
}


def _words(text: str) -> list[dict[str, str]]:
    """Return words with two forms: as they are, and (``The``) at the start of a sentence."""
    phrases = [" ".join(phrase.split()) for phrase in text.split(",")]
    return [{"": phrase, "The": phrase.capitalize()} for phrase in phrases]


# What differs between the verdicts: words of praise, and as many of blame.
PRAISE = {
    "mine": _words(
        "good, great, wonderful, excellent, funny, charming, brilliant, clever, moving, lovely,"
        "superb, delightful, gripping, witty, fresh, touching, beautiful, thrilling, tender,"
        "honest, splendid, graceful, fascinating, engaging, masterful, inspired, elegant,"
        "absorbing, bold, magical, vivid, haunting"
    ),
    "loved": _words("loved, enjoyed, liked, admired, praised"),
}
BLAME = {
    "mine": _words(
        "bad, boring, terrible, dull, awful, predictable, weak, silly, slow, stupid, tedious,"
        "flat, clumsy, poor, lifeless, annoying, shallow, messy, wooden, pointless,"
        "forgettable, horrible, bland, ridiculous, dreadful, painful, tiresome, confusing,"
        "stale, cheap, lazy, dreary"
    ),
    "loved": _words("hated, disliked, regretted, despised, endured"),
}
SHARED = {
    "very": _words("really, quite, truly, so"),
    "part": _words(
        "acting, actors, plot, jokes, music, characters, ending, costumes, dialogue, songs, story,"
        "scenes, camera work, effects, cast, performances, script, stunts, direction, twists,"
        "lighting, dances, humor, villains"
    ),
    "genre": _words(
        "film, movie, comedy, thriller, drama, western, romance, musical, sequel, remake, cartoon"
    ),
    "day": _words(
        "yesterday, last night, on Monday, on Friday, at a festival, on a plane, last week,"
        "in a full theater, at home"
    ),
    "length": _words("short, long, new, recent, French, British, low-budget, three-hour"),
    "hero": _words(
        "a detective, a nurse, two brothers, a painter, a spy, a widow, a farmer, a robot, a king,"
        "a boxer, an orphan, a thief, a pilot, a dancer"
    ),
}


@cache
def grammar(positive: bool) -> Grammar:
    """Return the grammar of the reviews with that verdict."""
    own, against = (PRAISE, BLAME) if positive else (BLAME, PRAISE)
    return Grammar(RULES, SHARED | own | {"other": against["mine"]}, start="review")


def opinion_words() -> tuple[list[str], list[str]]:
    """Return the words of praise and those of blame; each is as frequent as its counterpart."""
    praise, blame = (
        [word[""] for kind in ("mine", "loved") for word in words[kind]]
        for words in (PRAISE, BLAME)
    )
    return praise, blame


def reviews(seed: int | str) -> Iterator[tuple[str, int]]:
    """Yield reviews without end, negative (0) and positive (1) in turns, each with its label."""
    streams = [grammar(bool(label)).stories(f"{seed} {label}") for label in (0, 1)]
    while True:
        for label, stream in enumerate(streams):
            yield next(stream)[0], label


def generated_reviews(
    train: int = 1000, test: int = 1000, unlabeled: int = 10_000, seed: int = 0
) -> MovieReviews:
    """Return reviews in the form of `imdb_reviews`; every part has a random stream of its own.

    Raises
    ------
    ValueError
        If a number of reviews is negative.
    """
    for part, size in {"train": train, "test": test, "unlabeled": unlabeled}.items():
        if size < 0:
            raise ValueError(f"{part} must not be negative, got {size}")

    def draw(part: str, size: int) -> Reviews:
        drawn = list(islice(reviews(f"{seed} {part}"), size))
        return Reviews([text for text, _ in drawn], [label for _, label in drawn])

    return MovieReviews(
        draw("train", train), draw("test", test), draw("unlabeled", unlabeled).texts
    )
