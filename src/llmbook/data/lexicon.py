"""The words of the stories, by classes, in the forms that agree with one another."""

import re
from collections.abc import Mapping

Forms = Mapping[str, str]


def _split(words: str) -> list[str]:
    return [" ".join(word.split()) for word in words.split(",")]


def _plain(words: str) -> list[Forms]:
    return [{"": word} for word in _split(words)]


def _with_article(words: str) -> list[Forms]:
    """Return words and their indefinite article, as it goes by the sound that they begin with."""
    vowel = re.compile("[aeio]|u(?!s)|hon")
    articles = (("an " if vowel.match(word) else "a ") + word for word in _split(words))
    return [
        {"": phrase.split(" ", 1)[1], "a": phrase, "A": phrase.capitalize()} for phrase in articles
    ]


def _people(shes: str, hes: str) -> list[Forms]:
    """Return people and their pronouns, women and men in turns."""
    return [
        {"": name, "he": he, "He": he.title(), "him": him, "his": his, "His": his.title()}
        for pair in zip(_split(shes), _split(hes), strict=True)
        for name, he, him, his in zip(
            pair, ("she", "he"), ("her", "him"), ("her", "his"), strict=True
        )
    ]


def _things(singular: str, plural: str) -> list[Forms]:
    """Return things and the words that agree with their number, one and many in turns."""
    return [
        {"": thing, "was": was, "is": is_, "it": it, "It": it.title(), "them": them}
        for pair in zip(_split(singular), _split(plural), strict=True)
        for thing, was, is_, it, them in zip(
            pair, ("was", "were"), ("is", "are"), ("it", "they"), ("it", "them"), strict=True
        )
    ]


def _places(inside: str, on: str) -> list[Forms]:
    """Return places with the preposition that they take, of the two kinds in turns."""
    return [
        {"": place, "in": word, "In": word.title()}
        for pair in zip(_split(inside), _split(on), strict=True)
        for place, word in zip(pair, ("in", "on"), strict=True)
    ]


def _animals(words: str) -> list[Forms]:
    """Return animals with their voices, given in pairs."""
    animals, voices = zip(*(pair.split() for pair in _split(words)), strict=True)
    forms = _with_article(",".join(animals))
    return [{**animal, "cried": cried} for animal, cried in zip(forms, voices, strict=True)]


CLASSES: dict[str, list[Forms]] = {
    "name": _people(
        "Mara, Lena, Ada, Noor, Inga, Yuki, Tess, Olga, Rosa, Vera, Zoe, Ruth, Hana, Ida",
        "Ben, Omar, Tomas, Leo, Ravi, Jonas, Felix, Hugo, Emil, Kofi, Ivan, Sam, Otto, Niko",
    ),
    "elder": _people(
        "Mrs Finch, Mrs Bell, Mrs Stone, Mrs Novak, Mrs Lund, Mrs Fox",
        "Mr Holt, Mr Gray, Mr Okoro, Mr Berg, Mr Silva, Mr Marsh",
    ),
    "town": _plain(
        "Elmford, Greywater, Millbrook, Oakridge, Saltby, Thornton, Ashdale, Redcliff, Larkhill,"
        "Foxhollow, Winterby, Brightwell, Northgate, Eastmere"
    ),
    "place": _places(
        "village, town, valley, camp, province, desert, forest",
        "island, farm, coast, hill, border, plateau, peninsula",
    ),
    "job": _with_article(
        "baker, sailor, teacher, gardener, miller, painter, doctor, tailor, hunter, farmer, singer,"
        "potter, carpenter, judge, shepherd, engineer, weaver, actor, beekeeper, astronomer, cook,"
        "clockmaker, editor, juggler"
    ),
    "role": _plain(
        "neighbor, cousin, friend, rival, helper, landlord, classmate, partner, apprentice, pupil,"
        "tenant, dentist"
    ),
    "trait": _with_article(
        "young, kind, clever, poor, brave, quiet, proud, lazy, cheerful, stubborn, shy,"
        "famous, patient, anxious, gentle, rich, honest, odd, generous, unusual, wise, impatient"
    ),
    "feeling": _plain(
        "happy, tired, sad, afraid, angry, hungry, surprised, calm, lonely, curious, worried,"
        "grateful, nervous, glad, bored, jealous, amused, ashamed, hopeful, sleepy"
    ),
    "animal": _animals(
        "dog barked, cat meowed, horse neighed, goat bleated, parrot squawked, donkey brayed,"
        "owl hooted, hen clucked, pig grunted, mouse squeaked, crow cawed, goose honked,"
        "duck quacked, frog croaked, pony whinnied, snake hissed, pigeon cooed, cow mooed"
    ),
    "petname": _plain(
        "Pepper, Biscuit, Shadow, Duchess, Button, Pickle, Rascal, Thunder, Marble, Ginger, Comet,"
        "Captain, Muffin, Waffles"
    ),
    "coat": _with_article(
        "fat, tame, clumsy, spotted, brown, old, tiny, lame, noisy, playful, elegant, dusty, thin,"
        "orange, greedy, ugly, fearless, enormous"
    ),
    "critter": _with_article(
        "butterfly, beetle, squirrel, hedgehog, bat, lizard, spider, swan, ant, otter, rabbit,"
        "deer, eagle, moth, snail"
    ),
    "thing": _things(
        "key, ring, lamp, compass, violin, crown, umbrella, necklace, map, flute, clock, telescope",
        "boots, coins, gloves, spectacles, earrings, skates, dice, letters, pearls, slippers,"
        "scissors, medals",
    ),
    "color": _plain(
        "red, silver, blue, old, golden, green, lucky, black, precious, white, wooden, purple,"
        "striped, magic, secret, yellow"
    ),
    "object": _with_article(
        "book, hat, basket, mirror, drum, bell, kite, blanket, lantern, anchor, bottle, chair,"
        "whistle, knife, scarf, axe, candle, pillow, ladder, teapot, apron, vase, puppet, hammer,"
        "oar, saddle, wheel, guitar, coat, envelope"
    ),
    "look": _with_article(
        "small, heavy, rusty, broken, beautiful, plain, new, expensive, dirty, strange, cheap,"
        "large, antique, shiny, empty, useless, round, handmade, soft, painted, ordinary, crooked"
    ),
    "hide": _plain(
        "under the bed, in the cellar, behind the oven, in a barrel, under the stairs,"
        "in the attic, in a drawer, behind the clock tower, in the well, under a stone,"
        "in an old shoe, in the cupboard, behind a curtain, in a hollow tree, on the roof,"
        "in the pantry, among the potatoes, under a carpet"
    ),
    "thief": _with_article(
        "magpie, stranger, monkey, pirate, raven, ghost, burglar, witch, peddler, giant, goblin,"
        "elf, clown, wolf"
    ),
    "food": _plain(
        "bread, soup, cheese, fish, rice, honey, cake, porridge, stew, bacon, salad, pudding, corn,"
        "jam, pasta, cabbage, butter, ham, chocolate, garlic"
    ),
    "taste": _plain("salty, sweet, bitter, delicious, cold, burnt, awful, spicy, dry, perfect"),
    "wares": _plain(
        "apples, eggs, candles, ribbons, plums, stamps, nails, buttons, roses, onions, bricks,"
        "pencils, pears, ropes, nuts, lemons"
    ),
    "fresh": _plain("fresh, cheap, frozen, old, rotten, fine, colorful, stolen, rare, tiny"),
    "number": [
        {"": word, "N": word.title()}
        for word in _split("two, three, four, five, six, seven, ten, twelve, twenty, fifty")
    ],
    "weather": _plain(
        "rain, snow, fog, wind, thunder, frost, hail, heat, sunshine, mist, lightning, darkness"
    ),
    "sky": _plain(
        "rainy, cold, foggy, warm, windy, stormy, sunny, quiet, gray, icy, moonlit, lovely, gloomy"
    ),
    "time": _plain("morning, evening, afternoon, night, day, winter, summer, autumn, spring"),
    "weekday": _plain("Sunday, Monday, Friday, Saturday, Tuesday, Thursday, Wednesday"),
    "meal": _plain("breakfast, lunch, work, dinner, school, supper, church, tea"),
    "along": _plain("past, across, through, around, behind, toward, over, along, up to"),
    "at": _plain("near, behind, at, beside, inside, outside, opposite, above"),
    "spot": _plain(
        "river, bridge, church, hill, garden, gate, forest, school, wall, station, lake, barn,"
        "mill, orchard, castle, field, ruins, pond, bakery, museum, library, quarry, tower, inn"
    ),
    "view": _plain(
        "narrow, frozen, old, muddy, empty, green, dark, crowded, steep, haunted, abandoned, sunny,"
        "flooded, little"
    ),
    "moved": _plain(
        "walked, ran, hurried, climbed, rode, crept, wandered, marched, crawled, hopped, limped,"
        "strolled, danced, rolled, rushed, jumped"
    ),
    "how": _plain(
        "slowly, quickly, carefully, secretly, gladly, silently, bravely, at once, without a word,"
        "with great care, in a hurry, on tiptoe, backward, barefoot, in the dark, with a sigh"
    ),
    "loud": _plain(
        "sang, laughed, cried, whistled, shouted, snored, coughed, whispered, prayed, yawned,"
        "giggled, sneezed, hummed, wept"
    ),
    "made": _plain(
        "painted, repaired, built, bought, carved, polished, invented, sold, found, lost, measured,"
        "dropped, wrapped, cleaned"
    ),
    "won": _plain("won, found, bought, chose, earned, kept, received"),
    "gave": _plain("gave, brought, sent, lent, offered, showed, sold, threw"),
    "cooked": _plain("cooked, baked, fried, boiled, chopped, burned, mixed, served"),
    "kept": _plain("had, kept, fed, raised, adopted, owned, trained, loved"),
    "works": _plain("lives, works, sleeps, sings, dances, studies"),
    "lived": _plain("lived, worked, slept, waited, rested, studied, drank tea"),
    "spoke": _plain(
        "talked about, dreamed of, wrote about, sang of, complained about, lied about, laughed at,"
        "was afraid of"
    ),
    "ate": _plain("ate, stole, smelled, refused, spilled, licked, buried, ignored"),
    "toiled": _plain("worked, cooked, cleaned, danced, gardened, prayed, drove, painted"),
    "came": _plain("came, rolled, crept, drifted, spread, appeared, vanished"),
    "took": _plain("stole, took, snatched, borrowed, grabbed, found, seized, noticed"),
    "left": _plain("left, hid, dropped, lost, buried, forgot, kept"),
    "looked": _plain("looked, searched, dug, peeped, felt, checked"),
    "topic": _plain(
        "the weather, old times, money, music, politics, the harvest, dreams, love,"
        "chess, taxes, the stars, poetry, football, the past, ghosts"
    ),
    "far": _plain(
        "the sea, the capital, the desert, the moon, the mountains, a volcano, the opera, Paris,"
        "the north, the jungle, the circus, a palace"
    ),
    "asked": _plain("asked, wondered, demanded, begged, groaned"),
    "spotted": _plain("found, noticed, discovered, smelled, uncovered"),
    "woke": _plain("woke, startled, bit, followed, frightened, amused, watched"),
    "loved": _plain("loved, treasured, praised, guarded, polished, admired"),
    "said": _plain("said, answered, whispered, cried, replied, muttered, sighed, shouted, laughed"),
}
