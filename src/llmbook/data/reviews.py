"""Short movie reviews with labels, from a grammar: sentiment that counting words does not tell.

All opinions in a review come to the same verdict, but not all by plain praise or blame: "not bad at
all" is praise, and in "the plot was dull, but the acting saved it" the second half decides. Most
words of praise and blame are rare, so that a few labels do not show them all; what they mean can be
learned without a label, because the opinions of a review agree.

>>> reviews = generated_reviews(train=2, test=2, unlabeled=1)
>>> reviews.train.texts[1], reviews.train.labels
"""

from collections.abc import Iterator
from functools import cache
from itertools import islice

from llmbook.data.downloads import MovieReviews, Reviews
from llmbook.data.grammar import Grammar
from llmbook.data.vocabulary import Vocabulary, join, tokenize

# Both verdicts share the rules: `mine` are words for the verdict of the review, `other` against it.
RULES = {
    "full": ["{review} <=advice>"],
    "review": ["{opinion} {opinion} {opinion}", "{intro} {opinion} {opinion}"],
    "intro": [
        "I saw this <=genre> <=day> with <=friend>.",
        "<.My=friend> took me to this <=genre> <=day>.",
        "It is a <=length> <=genre> about <=hero> <=place>.",
        "In this <=genre>, <=hero> and <hero2=hero-hero> meet <=place>.",
    ],
    "opinion": ["6: {plain}", "2: {negated}", "2: {mixed}"],
    "plain": [
        "2: <part.The=part> <part.was> {very} <=mine>.",
        "2: <part.The=part> <part.was> <=mine> and <mine2=mine-mine>.",
        "2: <part.The=part> <part.was> <=mine>, and <part2.the=part-part> <part2.was> {very} "
        "<mine2=mine-mine>.",
        "I <=loved> <part.the=part>.",
        "<.My=friend> <=loved> it, and so did I.",
    ],
    "negated": [
        "2: <part.The=part> <part.was> not <=other> at all.",
        "<part.The=part> <part.was> anything but <=other>.",
        "I would not call <part.the=part> <=other> or <other2=other-other>.",
        "<.My=friend> <=hated> it, but I did not.",
    ],
    "mixed": [
        "2: <part.The=part> <part.was> <=other>, but <part2.the=part-part> <=saved> it.",
        "<part.The=part> <part.was> <=other>, but <part2.the=part-part> <part2.was> <=mine>.",
        "Although <part.the=part> <part.was> {very} <=other>, <part2.the=part-part> "
        "<part2.was> <=mine>.",
        "I <=hated> <part.the=part>, but <part2.the=part-part> <part2.was> {very} <=mine>.",
    ],
    "very": ["really", "quite", "truly", "so"],
}


def _words(text: str) -> list[dict[str, str]]:
    return [{"": " ".join(phrase.split())} for phrase in text.split(",")]


# What differs between the verdicts: words of praise, and as many of blame.
PRAISE = {
    "mine": _words(
        "good, great, wonderful, excellent, funny, charming, brilliant, clever, moving, lovely,"
        "superb, delightful, gripping, witty, fresh, touching, beautiful, thrilling, tender,"
        "honest, splendid, graceful, fascinating, engaging, masterful, inspired, elegant,"
        "absorbing, bold, magical, vivid, haunting, heartfelt, hilarious, stunning, subtle,"
        "exciting, imaginative, sincere, enchanting, terrific, marvelous, dazzling,"
        "captivating, lively, satisfying, memorable, admirable"
    ),
    "loved": _words("loved, enjoyed, liked, admired, praised"),
    "saved": _words("saved, rescued, redeemed, lifted"),
    "advice": _words("Five stars., Do not miss it., Go and see it., A must."),
}
BLAME = {
    "mine": _words(
        "bad, boring, terrible, dull, awful, predictable, weak, silly, slow, stupid, tedious,"
        "flat, clumsy, poor, lifeless, annoying, shallow, messy, wooden, pointless,"
        "forgettable, horrible, bland, ridiculous, dreadful, painful, tiresome, confusing,"
        "stale, cheap, lazy, dreary, hollow, embarrassing, sloppy, ugly, irritating,"
        "unbearable, contrived, muddled, absurd, pretentious, laughable, disappointing,"
        "incoherent, trite, mediocre, miserable"
    ),
    "loved": _words("hated, disliked, regretted, despised, endured"),
    "saved": _words("spoiled, ruined, wrecked, sank"),
    "advice": _words("One star., A waste of time., Stay at home., Avoid it."),
}


def _parts(singular: str, plural: str) -> Iterator[dict[str, str]]:
    """Yield parts of a film, one and many in turns, and the verb that agrees."""
    for one, many in zip(_words(singular), _words(plural), strict=True):
        for word, was in ((one[""], "was"), (many[""], "were")):
            yield {"the": f"the {word}", "The": f"The {word}", "was": was}


def _friends(text: str) -> Iterator[dict[str, str]]:
    for word in _words(text):
        yield {"": f"my {word['']}", "My": f"My {word['']}"}


SHARED = {
    "part": list(
        _parts(
            "acting, plot, music, ending, dialogue, story, camera work, cast, script, direction,"
            "lighting, humor",
            "actors, jokes, characters, costumes, songs, scenes, effects, performances, stunts,"
            "twists, dances, villains",
        )
    ),
    "friend": list(
        _friends("sister, brother, neighbor, mother, cousin, boss, teacher, roommate, aunt, uncle")
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
    "place": _words(
        "in Paris, on a ship, in the desert, at a school, in space, in a small town,"
        "during the war, on an island, in a castle, by the sea"
    ),
}


@cache
def grammar(positive: bool) -> Grammar:
    """Return the grammar of the reviews with that verdict."""
    own, against = (PRAISE, BLAME) if positive else (BLAME, PRAISE)
    return Grammar(
        RULES, SHARED | own | {"other": against["mine"], "hated": against["loved"]}, start="full"
    )


def reviews(seed: int | str) -> Iterator[tuple[str, int]]:
    """Yield reviews without end, negative (0) and positive (1) in turns, each with its label."""
    streams = [grammar(bool(label)).stories(f"{seed} {label}") for label in (0, 1)]
    while True:
        for label, stream in enumerate(streams):
            yield next(stream)[0], label


@cache
def words() -> Vocabulary:
    """Return the vocabulary of the reviews, with the newline that is in no review."""
    return Vocabulary(
        tuple(sorted({*grammar(True).tokens(), *grammar(False).tokens()})), tokenize, join
    )


def generated_reviews(
    train: int = 1000, test: int = 1000, unlabeled: int = 20_000, seed: int = 0
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
