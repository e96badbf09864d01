"""Small stories of people, places and lost things: a corpus whose entropy is known exactly.

Every story draws its people, its place and its thing once and comes back to them many sentences
later, so that whoever reads on without remembering pays for it.

>>> text = next(stories(seed=4))
>>> text[:text.index(".") + 1]
'Mara was a kind baker in a village.'
"""

from collections.abc import Iterator
from functools import cache

from llmbook.data.grammar import Entropy, Grammar


def _people(names: str, he: str, him: str, his: str) -> list[dict[str, str]]:
    return [
        {"": name, "He": he.title(), "he": he, "him": him, "his": his, "His": his.title()}
        for name in names.split()
    ]


def _alternate(*lists: list[dict[str, str]]) -> list[dict[str, str]]:
    return [item for items in zip(*lists, strict=True) for item in items]


def _nouns(words: str) -> list[dict[str, str]]:
    """Return nouns, one a line or separated by commas, with their indefinite article."""
    return [
        {"": noun, "a": f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"} for noun in _words(words)
    ]


def _plain(words: str) -> list[dict[str, str]]:
    return [{"": word} for word in _words(words)]


def _words(words: str) -> list[str]:
    return [" ".join(word.split()) for word in words.split(",")]


CLASSES = {
    "name": _alternate(
        _people(
            "Mara Lena Ada Noor Inga Yuki Tess Olga Rosa Vera Zoe Ruth Hana Ida Cleo Wanda",
            *("she", "her", "her"),
        ),
        _people(
            "Ben Omar Tomas Leo Ravi Jonas Felix Hugo Emil Kofi Ivan Sam Otto Niko Paul Rolf",
            *("he", "him", "his"),
        ),
    ),
    "place": _nouns(
        "village, harbor, valley, town, forest, island, farm, castle, market, desert, mill, camp,"
        "abbey, canyon, fishing port, lighthouse, oasis, mountain pass"
    ),
    "job": _nouns(
        "baker, sailor, teacher, gardener, miller, painter, doctor, tailor, hunter, farmer, singer,"
        "potter, carpenter, judge, shepherd, cook, engineer, weaver, actor, beekeeper"
    ),
    "animal": _nouns(
        "dog, cat, horse, goat, parrot, donkey, owl, rabbit, hen, fox, pig, turtle, mouse, crow,"
        "squirrel, eagle, pony, otter"
    ),
    "thing": _nouns(
        "key, ring, book, lamp, coin, map, violin, letter, clock, umbrella, hat, mirror, compass,"
        "bell, anchor, flute, basket, crown, lantern, drum, kite, necklace, telescope, axe"
    ),
    "color": _nouns(
        "red, blue, green, old, golden, black, white, silver, gray, orange, tiny, yellow"
    ),
    "trait": _nouns(
        "young, kind, clever, poor, brave, quiet, proud, honest, lazy, cheerful, stubborn, shy,"
        "famous, patient, anxious, gentle"
    ),
    "box": _nouns(
        "chest, cellar, drawer, sack, barrel, oven, attic, cupboard, well, tent, boat, tower"
    ),
    "food": _plain(
        "bread, soup, cheese, apples, fish, rice, honey, cake, beans, nuts, plums, noodles, eggs,"
        "pears, olives, corn"
    ),
    "weather": _plain("rain, snow, wind, fog, thunder, frost, hail, heat"),
    "time": _plain(
        "morning, evening, night, winter, summer, spring, autumn, Monday, Sunday, afternoon, day"
    ),
    "feeling": _plain(
        "happy, tired, sad, afraid, angry, hungry, surprised, calm, lonely, curious, worried,"
        "grateful, nervous, glad"
    ),
    "loud": _plain(
        "sang, laughed, cried, whistled, shouted, snored, coughed, danced, whispered, prayed"
    ),
    "moved": _plain(
        "walked, ran, hurried, climbed, rode, sailed, crept, wandered, marched, crawled"
    ),
    "where": _plain(
        "to the river, up the hill, across the bridge, through the gate, along the shore,"
        "over the fence, into the woods, down the road, past the church, around the lake"
    ),
    "how": _plain(
        "slowly, quickly, carefully, secretly, gladly, silently, bravely, at once, without a word,"
        "with great care"
    ),
    "kin": _plain(
        "mother, father, sister, brother, uncle, aunt, cousin, neighbor, grandmother, teacher"
    ),
    "number": _plain("two, three, four, five, six, seven, ten, twelve, twenty, a hundred"),
}

# A person is called by name at the start of a sentence, so that the first word tells who acts.
RULES = {
    "story": ["{opening} {pet} {friend} {scene*0.6} {loss} {scene*0.6} {search*0.5} {ending}"],
    "opening": [
        "3: <hero=name> was <trait.a=trait> <job=job> in <home.a=place> .",
        "2: In <home.a=place> there lived <trait.a=trait> <job=job> named <hero=name> .",
        "Once there was <trait.a=trait> <job=job> . "
        "Everybody in the <home=place> called <hero.him=name> <hero> .",
    ],
    "pet": [
        "<hero.He> had <pet.a=animal> .",
        "<hero.His> best companion was <pet.a=animal> .",
    ],
    "friend": [
        "Every <visit=time> <hero.his> friend <friend=name-hero> came to the <home> .",
        "<friend=name-hero> , the <kin=kin> of the <job> , lived next door .",
    ],
    "scene": [
        "3: {weather}",
        "3: {meal}",
        "3: {trip}",
        "2: {gift}",
        "2: {work}",
        "2: {feeling}",
        "{noise}",
        "{stranger}",
    ],
    "weather": [
        "One <when=time> there was <weather=weather> over the <home> .",
        "The <weather=weather> lasted for <days=number> days . The <pet> stayed inside .",
    ],
    "meal": [
        "<hero> ate <food=food> with <friend> .",
        "<friend> cooked <food=food> , and <hero> gave some of the <food> to the <pet> .",
        "The <pet> stole the <food=food> of <hero> . <hero.He> was <mood=feeling> .",
    ],
    "trip": [
        "<hero> <moved=moved> <where=where> , and the <pet> <moved2=moved> behind <hero.him> .",
        "On <day.a=trait> day <friend> <moved=moved> <where=where> <how=how> .",
        "The <pet> <moved=moved> <where=where> . <friend> <moved2=moved> <where> as well .",
    ],
    "gift": [
        "<friend> gave <hero> <present.a=thing> . <hero> put the <present> into the <box=box> .",
        "<hero> bought <count=number> <wares=food> for <friend> , who was <mood=feeling> .",
    ],
    "work": [
        "<hero> worked for <days=number> days . "
        "<friend> asked whether <job.a> was ever <mood=feeling> .",
        "A <kin2=kin> of <friend> wanted to become <job.a> , too .",
    ],
    "feeling": [
        "<hero> was <mood=feeling> , but <friend> was <mood2=feeling-mood> .",
        "<friend> felt <mood=feeling> that <when=time> , and <friend.he> <loud=loud> <how=how> .",
    ],
    "noise": [
        "At night the <pet> could not sleep , because <friend> <loud=loud> .",
        "<hero> <loud=loud> , and the <pet> looked <mood=feeling> .",
    ],
    "stranger": [
        "A stranger came to the <home> and asked for the <job> . <hero> <loud=loud> <how=how> .",
    ],
    "loss": [
        "Now <hero> had <color.a=color> <thing=thing> . One <when=time> it was gone .",
        "It was the <when=time> when <hero> lost <hero.his> <color=color> <thing=thing> .",
    ],
    "search": [
        "<hero> looked for the <thing> in the <place2=box> . It was not there .",
        "<friend> <moved=moved> <where=where> and looked for the <color> <thing> .",
        "Nobody in the <home> had seen <thing.a> .",
    ],
    "ending": [
        "At last the <pet> found the <thing> in the <found=box> . {moral}",
        "Then <friend> brought the <color> <thing> back to <hero> . {moral}",
        "In the end <thing.a> was all that the <job> of the <home> had lost . {moral}",
    ],
    "moral": [
        "<hero> thanked <friend> , and the <pet> got some <food=food> .",
        "And if <hero> still lives in the <home> , so does the <pet> .",
        "From then on <friend> called <hero> the <job> with the <thing> .",
    ],
}


@cache
def grammar() -> Grammar:
    """Return the grammar of the stories."""
    return Grammar(RULES, CLASSES)


def stories(seed: int) -> Iterator[str]:
    """Yield stories without end, the same for the same seed."""
    for text, _ in grammar().stories("story", seed):
        yield text


@cache
def entropy() -> Entropy:
    """Return the exact entropy and mean length of a story."""
    return grammar().entropy("story")
