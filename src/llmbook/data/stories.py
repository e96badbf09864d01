"""Small stories of people, animals and lost things: a corpus whose entropy is known exactly.

Every story draws its people, its place, its animal and its thing once and comes back to them many
sentences later, so that whoever reads on without remembering pays for it.

>>> text = next(stories(seed=2))
>>> text[: text.index(".") + 1]
'One rainy summer, a stubborn teacher named Inga crept to the village of Oakridge.'
>>> round(entropy().nats_per_token, 2), round(entropy().nats_per_character, 2)
(1.16, 0.25)
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

from jaxtyping import Int
from torch import Tensor

from llmbook.data.grammar import Entropy, Grammar
from llmbook.data.lexicon import CLASSES
from llmbook.data.vocabulary import Vocabulary, join, tokenize


def _either(*texts: str) -> list[str]:
    """Return each text twice: with the hero as A and the friend as B, and the reverse."""
    return [
        re.sub(r"(?<=[<_])A\b", a, re.sub(r"(?<=[<_])B\b", b, text))
        for text in texts
        for a, b in (("hero", "friend"), ("friend", "hero"))
    ]


# A variable that nothing comes back to has the name of its class.
RULES = {
    "story": ["{opening} {pet} {friend} {scene*0.5} {loss} {scene*0.4} {search*0.4} {ending}"],
    # --- Who, where and with whom ---
    "opening": [
        "<hero=name> was {a_person} <home.in=place> the <home> of <=town>.",
        "<home.In=place> the <home> of <=town> {there} {a_person} {named} <hero=name>.",
        "<hero=name>, {a_person}, <=lived> {beside} <home.in=place> the <home> of <=town>.",
        "{when}, {a_person} {named} <hero=name> <=moved> to the <home=place> of <=town>.",
    ],
    "there": ["there lived", "there was"],
    "a_person": ["3: <.a=trait> <=job>", "<.a=job>"],
    "beside": ["{near}", "alone", "with <=elder>"],
    "pet": [
        "<hero.He> <=kept> {a_pet} {named} <=petname>.",
        "<hero.His> <=trait> companion was <=petname>, {a_pet}.",
        "<hero.He> owned {an_object}, {an_object2} and {a_pet} {named} <=petname>.",
        "<=petname>, {a_pet}, <=moved> {path} with <hero.him>.",
    ],
    "a_pet": ["3: <.a=coat> <pet=animal>", "<pet.a=animal>"],
    "friend": [
        "<hero.His> <=role> <friend=name-hero> <=spoke> {subject}.",
        "<friend=name-hero>, <hero.his> <=trait> <=role>, <=lived> {beside}.",
        "Every <=time> <hero.his> <=role> <friend=name-hero> <=gave> <hero.him> {goods}.",
        "{when}, <hero.he> <=loud> with <hero.his> <=role> <friend=name-hero>.",
    ],
    "goods": ["<=number> <=wares>", "some <=fresh> <=wares>", "{an_object}"],
    # --- Scenes: A is the hero or the friend, B the other ---
    "scene": [
        "{walk}",
        "{meal}",
        "{present}",
        "{talk}",
        "{trade}",
        "{night}",
        "{weather}",
        "{mood}",
    ],
    "walk": _either(
        "{when}, {the_A} <=moved> {path} with {the_B} {maybe_how}.",
        "{The_A} and {the_pet} <=moved> {path}. {The_B} followed <A.him> <=how>.",
        "{The_A} <=moved> {path} <=how>, and {the_pet} <pet.cried> behind <A.him>.",
    ),
    "meal": _either(
        "{when}, {the_A} <=cooked> <=food> with <food2=food-food>. {verdict}",
        "{The_B} <=gave> {the_A} <=taste> <=food> and {goods}. {verdict}",
    ),
    "verdict": [
        "It was <taste2=taste>, and {the_pet} <=ate> the rest of the <food>.",
        "The <food> was <taste2=taste>, and {the_pet} <=loud> {maybe_how}.",
        "{The_pet} <=ate> the <food> <=how> and was <=feeling>.",
    ],
    "present": _either(
        "{The_A} <=gave> {the_B} <.a=look> <gift=object>. <B.He> <=left> the <gift> <=hide>.",
        "{when}, {the_A} <=made> <gift.a=object> for <=elder>. "
        "But the <gift> was <=look>, and <elder.he> <=loud> {maybe_how}.",
    ),
    "talk": _either(
        '"{question}" <=asked> {the_A} {when_low}. "{answer}" <=said> <B>.',
        '"<=elder> is <=feeling>," <=said> {the_A}. "{answer}" <said2=said> <B>.',
    ),
    "question": [
        "Do you like my <=look> <=object>?",
        "Where did <petname> put the <=object>?",
        "Shall we go to the <=spot> on <=weekday>?",
        "Why are you so <=feeling>?",
        "Have you seen <=far>?",
        "Who <=made> my <=food>?",
    ],
    "answer": [
        "Ask <elder2=elder>,",
        "I <=moved> {path},",
        "Not before <meal2=meal>,",
        "I dreamed of {subject},",
        "I want <number2=number> <wares2=wares>,",
        "Never tell the <pet>,",
    ],
    "trade": _either(
        "{when}, {the_A} sold <=elder> <=number> <=wares> for {an_object}.",
        "{The_A} <=toiled> for <=elder> until <=weekday> and <=won> <count=number> "
        "<=wares>. {The_B} <=took> one of the <count>.",
    ),
    "night": _either(
        "{The_A} dreamed of <=far>, {an_object} and {subject}.",
        "{A_critter} {near} <=woke> {the_A}. {The_pet} <pet.cried>, "
        "and the <critter> <=moved> {path}.",
    ),
    "weather": [
        "There was <=weather> over <town> for <days=number> days. {inside}",
        "{when}, <=weather> <=came> {near}. {inside}",
    ],
    "inside": [
        "{The_hero} <=loud> <=hide> with {the_pet}.",
        "{The_friend} <=made> {an_object} <=how>.",
        "The whole <home> was <=feeling> and <feeling2=feeling-feeling>.",
    ],
    "mood": _either(
        "{The_A} was <=feeling>, because <=elder> had <=made> {an_object}.",
        "{The_A} felt <=feeling> {when_low}, but <B> was <feeling2=feeling-feeling>.",
    ),
    # --- The thing ---
    "loss": [
        "<hero> <=loved> <hero.his> <=color> <=thing> {more}. {theft}",
        "{when}, <=elder> <=gave> the <job> <hero.his> <=color> <=thing>. {theft}",
        "{when}, {the_hero} <=won> <hero.his> <=color> <=thing> {near}. {theft}",
    ],
    "more": ["above all", "more than {subject}", "more than {goods}"],
    "theft": [
        "{when}, <.a=thief> <=took> <thing.them> and <=left> <thing.them> <where=hide>.",
        "<.A=thief> <=moved> {path}, <=took> <thing.them> <=how> and "
        "<=left> <thing.them> <where=hide>.",
        "But <.a=thief> from the <=spot> <=left> <thing.them> <where=hide>.",
    ],
    "search": [
        "<=elder> had seen the <thief> {near} {when_low} with {an_object}.",
        '"Where <thing.is> my <color> <thing>?" asked {the_hero}. "{answer}" <=said> <friend>.',
        "{The_friend} <=looked> <where2=hide-where>, but found only {goods} and {an_object}.",
        "{The_hero} promised <friend> {goods} or <=number> <=wares> for the <thing>.",
    ],
    "ending": [
        "{when}, {the_pet} <=moved> {path} and <=spotted> the <thing> <where> {next_to}. {moral}",
        "{when}, {the_friend} <=looked> <where>, and there <thing.it> <thing.was> {next_to}. "
        "{moral}",
        "{when}, the <thief> was <=feeling> and <=gave> <hero> the <thing> {for_it}. {moral}",
    ],
    "next_to": ["", "next to {goods}"],
    "for_it": ["", "for {goods}"],
    "moral": [
        "<hero> thanked <petname> with <=taste> <=food>, and {the_friend} <=loud> {maybe_how}.",
        "From then on {the_friend} called <hero> the <nick=trait> <job> with the <color> <thing>.",
        "If <hero> still <=works> {near} in <town>, so does <petname> the <pet>.",
        "{The_friend} never <=spoke> {subject} or the <thief> again.",
        "{when}, {the_hero} and {the_friend} <=loud> {near}, and <petname> <pet.cried>.",
    ],
    # --- Phrases ---
    "when": [
        "4: One <=sky> <=time>",
        "3: On <=weekday>",
        "2: After <=meal>",
        "2: <days.N=number> days later",
        "The next <=time>",
        "Soon",
    ],
    "when_low": ["on <=weekday>", "after <=meal>", "one <=sky> <=time>"],
    "maybe_how": ["", "<=how>"],
    "path": ["<=along> the {spot}", "<=along> the {spot} to the <spot2=spot-spot>"],
    "near": ["<=at> the {spot}"],
    "spot": ["<=spot>", "<=view> <=spot>"],
    "an_object": ["<.a=object>", "<.a=look> <=object>"],
    "A_critter": ["<.A=critter>", "<.A=coat> <=critter>"],
    "an_object2": ["<object2.a=object-object>", "<.a=look> <object2=object-object>"],
    "subject": ["<=topic>", "<=far>", "<=elder>"],
    "named": ["called", "named"],
    # --- Those who are known by now, by their names or otherwise ---
    "the_hero": ["2: <hero>", "the <job>"],
    "The_hero": ["2: <hero>", "The <job>"],
    "the_friend": ["2: <friend>", "the <role>"],
    "The_friend": ["2: <friend>", "<hero.His> <role>"],
    "the_pet": ["<petname>", "the <pet>"],
    "The_pet": ["<petname>", "The <pet>"],
}


@cache
def grammar() -> Grammar:
    """Return the grammar of the stories."""
    return Grammar(RULES, CLASSES)


def stories(seed: int | str) -> Iterator[str]:
    """Yield stories without end, the same for the same seed."""
    for text, _ in grammar().stories(seed):
        yield text


@cache
def entropy() -> Entropy:
    """Return the exact entropy and mean length of a story."""
    return grammar().entropy()


@cache
def words() -> Vocabulary:
    """Return the vocabulary of the stories: every word and sign, and the newline that ends one."""
    return Vocabulary(tuple(grammar().tokens()), tokenize, join)


@dataclass(frozen=True)
class Corpus:
    """Stories as numbers, in three parts that have no story in common.

    Attributes
    ----------
    vocabulary
        Words and signs; ``vocabulary.decode`` turns numbers back to text.
    train, validation, test
        Each a stream: a newline, and then stories that end with a newline.
    floor
        For each part by name, the mean loss in nats per token (all but the first are predicted) of
        the grammar itself on that very part. It tends to ``entropy().nats_per_token``. No model has
        a smaller expected loss; one that cannot see back to the start of a story cannot reach it.
    """

    vocabulary: Vocabulary
    train: Int[Tensor, " n_train"]
    validation: Int[Tensor, " n_validation"]
    test: Int[Tensor, " n_test"]
    floor: dict[str, float]


def corpus(train: int = 10_000, validation: int = 500, test: int = 500, seed: int = 0) -> Corpus:
    r"""Return so many stories for training, validation and test.

    Every part has a random stream of its own, so that the size of one does not change another. Two
    stories are the same with a probability below 1e-30, so that no story is in two parts, without
    any being left out.

    Raises
    ------
    ValueError
        If a part would be without a story.

    Examples
    --------
    >>> data = corpus(train=100, validation=10, test=10)
    >>> data.vocabulary.decode(data.validation[:10])
    '\nOtto was a quiet potter in the province of'
    """
    sizes = {"train": train, "validation": validation, "test": test}
    for part, size in sizes.items():
        if size < 1:
            raise ValueError(f"{part} must be at least 1 story, not {size}")
    streams, floor = {}, {}
    for part, size in sizes.items():
        texts, log_p = zip(*islice(grammar().stories(f"{seed} {part}"), size), strict=True)
        streams[part] = words().encode("\n" + "".join(f"{text}\n" for text in texts))
        floor[part] = -math.fsum(log_p) / (len(streams[part]) - 1)
    return Corpus(words(), **streams, floor=floor)
