"""Check of exercise 13.1, the bottleneck of a fixed encoder state."""

import math

from llmbook.checks.engine import Result, Session

LETTERS = 26  # of the alphabet in all questions


def fixed_state_bottleneck(
    *,
    bits_needed: float | None = None,
    longest: float | None = None,
    share_exact: float | None = None,
    updates_copy: float | None = None,
    updates_reverse: float | None = None,
    updates_attention: float | None = None,
    memory_32: float | None = None,
) -> Result:
    """Check what a fixed state can hold, and how far information travels through it.

    Strings are drawn uniformly from an alphabet of 26 letters.

    Parameters
    ----------
    bits_needed
        The smallest whole number of bits in which a state can tell all strings of 30 letters apart.
    longest
        The length of the longest strings that can all be told apart by a state of 64 numbers in
        float16, if every one of its bit patterns may be used.
    share_exact
        A state of 131 bits, strings of 30 letters: the largest share of all strings, between 0 and
        1, that any decoder can give back without a mistake. Two digits suffice.
    updates_copy
        A string of 30 letters is copied by an encoder and a decoder of the kind in the statement.
        How many updates of a state does the first letter's information pass, from the encoder state
        that has just read the letter to the decoder state that says it? The update that reads it
        does not count.
    updates_reverse
        The same for the first letter when the string is to be given back in reverse.
    updates_attention
        The same for the first letter when it is copied by a decoder that attends to all encoder
        states.
    memory_32
        How many numbers the decoder can look at, when it attends to the encoder states of a string
        of 32 letters, each of 64 numbers; its own state not counted.
    """
    session = Session("fixed_state_bottleneck")
    exact_bits = 30 * math.log2(LETTERS)
    whole_bits = math.ceil(exact_bits)
    session.number(
        "bits for 30 letters",
        bits_needed,
        whole_bits,
        rtol=0,
        atol=0.02,
        mistakes={
            "You round up letter by letter; the string as a whole wastes less. How many strings "
            "are there?": 30 * math.ceil(math.log2(LETTERS)),
            "That is a fraction of a bit too little; give the next whole number.": exact_bits,
            "That is one bit per possible letter and position (a one-hot code); a code may be "
            "much shorter.": 30 * LETTERS,
            "That is a byte per letter, but a byte could tell 256 letters apart.": 30 * 8,
            "That logarithm is natural: it gives nats, not bits.": math.ceil(
                30 * math.log(LETTERS)
            ),
            "That logarithm is natural, and not rounded.": 30 * math.log(LETTERS),
            "That logarithm is decimal: it gives decimal digits, not bits.": math.ceil(
                30 * math.log10(LETTERS)
            ),
            "That logarithm is decimal, and not rounded.": 30 * math.log10(LETTERS),
            "Four bits per letter are too few: they tell 16 apart, not 26.": 30 * 4,
            "That is enough for one letter; the string has 30.": math.ceil(math.log2(LETTERS)),
            "One bit per letter tells only two letters apart.": 30,
            "Alphabet and length are swapped: you count strings of 26 letters from an alphabet of "
            "30.": math.ceil(LETTERS * math.log2(30)),
            "That is the number of strings. How many bits number them all?": float(LETTERS**30),
        },
    )
    state_bits = 64 * 16
    letter_bits = math.log2(LETTERS)
    session.number(
        "longest string for 64 numbers in float16",
        longest,
        math.floor(state_bits / letter_bits),
        rtol=0,
        atol=0.02,
        mistakes={
            "One letter too long: the last one does not fit wholly.": math.ceil(
                state_bits / letter_bits
            ),
            "Give a whole number of letters.": state_bits / letter_bits,
            "You give every letter a whole number of bits; the string as a whole wastes "
            "less.": state_bits // 5,
            "You give every letter a whole number of bits, which wastes some, and the length is "
            "not a whole number.": state_bits / 5,
            "You divide by the size of the alphabet; how many bits does one letter "
            "carry?": state_bits // LETTERS,
            "That is a byte per letter, but a byte could tell 256 letters apart.": state_bits // 8,
            "That is for numbers of 32 bits; float16 has half of them.": math.floor(
                2 * state_bits / letter_bits
            ),
            "That is for a single bit per number: how many bits has a float16?": math.floor(
                64 / letter_bits
            ),
            "That is what one of the 64 numbers can hold.": math.floor(16 / letter_bits),
            "float16 has 16 bits, that is 2 bytes; you counted 2 bits.": math.floor(
                128 / letter_bits
            ),
            "One letter per number: a number with 16 bits can hold more than one letter.": 64,
            "That logarithm is natural: it gives nats, not bits.": math.floor(
                state_bits / math.log(LETTERS)
            ),
            "That is the number of bits of the state; how many letters fit into them?": state_bits,
            "You count the bits of the significand only; count all bit patterns.": math.floor(
                64 * 11 / letter_bits
            ),
        },
    )
    missing = exact_bits - 131
    session.number(
        "share of strings given back exactly",
        share_exact,
        2.0**-missing,
        rtol=4e-2,
        mistakes={
            "You rounded the bits of the string up first. Count states and strings as they "
            "are.": 2.0 ** (131 - whole_bits),
            "That is the share of the *bits* that the state holds. Count strings: each state "
            "leads to one answer, so how many strings can be answered right?": 131 / exact_bits,
            "That is a share of *bits*, every letter rounded up to whole ones. Count strings: "
            "each state leads to one answer.": 131 / 150,
            "That is nearly all. It would be all if the state had as many patterns as there are "
            "strings; or did you give the share that must fail?": 1.0,
            # These two lie within the tolerance of each other: one message has to serve both.
            "Either that is in percent, while a share between 0 and 1 is asked for; or it is one "
            "over the number of missing bits, but *each* missing bit costs a factor.": (
                (100 * 2.0**-missing + 1 / missing) / 2
            ),
            "That is the share of the bits that is missing. Count strings: how many states are "
            "there, and how many strings?": missing / exact_bits,
            "That is the chance that a blind guess is right; the state tells the decoder much "
            "more.": 2.0**-exact_bits,
            "That is one over the number of states.": 2.0**-131,
            "It is not zero: every state can stand for one string.": 0.0,
        },
    )
    recurrent = {
        "That is the string's length plus one: do not count the update that reads the letter, "
        "only those after it.": 31,
        "You count the encoder's updates only; the decoder's belong to the way as well.": 29,
    }
    session.number(
        "updates from reading to copying the first letter",
        updates_copy,
        30,
        rtol=0,
        mistakes={
            **recurrent,
            "That is the way of the first letter when the string is reversed.": 59,
            "That is the way through the whole encoder and the whole decoder; the first letter "
            "is said first.": 60,
            "The first letter is said first, but only after the whole string has been read.": 1,
            "Nothing but the last encoder state is handed to the decoder: the information has to "
            "travel there.": 0,
        },
    )
    session.number(
        "updates from reading to saying the first letter in reverse",
        updates_reverse,
        59,
        rtol=0,
        mistakes={
            "That is the whole encoder and the whole decoder: do not count the update that reads "
            "the letter.": 60,
            "The decoder updates before it says anything, also the first time.": 58,
            "That is the way in a copy. In reverse, the first letter is said last.": 30,
            "That is the string's length plus one; in reverse, the first letter is said last.": 31,
            "You count the encoder's updates only; the decoder's belong to the way as well.": 29,
            "That is the way of the *last* letter, which is said first.": 1,
            "Nothing but the last encoder state is handed to the decoder: the information has to "
            "travel there.": 0,
        },
    )
    session.number(
        "updates from reading to copying the first letter, with attention",
        updates_attention,
        0,
        rtol=0,
        mistakes={
            "That is the way through the states. The attending decoder reads the encoder state of "
            "that letter directly.": 30,
            "That is the way to the last encoder state. The attending decoder reads the encoder "
            "state of that letter directly.": 29,
            "The weighted sum that attention forms is no update of a state.": 1,
        },
    )
    session.number(
        "numbers that attention can look at",
        memory_32,
        32 * 64,
        rtol=0,
        mistakes={
            "That is one encoder state; the decoder may look at those of all letters.": 64,
            "That is the number of states; each of them holds several numbers.": 32,
            "You add the length and the width.": 32 + 64,
            "That is the number of pairs of letters; how many numbers does each state hold?": 32
            * 32,
            # Two ways lead to this number.
            "That is the size of a weight matrix, which does not depend on the string; or you "
            "count each state twice, as key and as value, but it is looked at once.": 64 * 64,
            "You count one state too many: the question is about the letters only.": 33 * 64,
            "That is in bits; the question is how many numbers.": 32 * 64 * 16,
        },
    )
    return session.result()
