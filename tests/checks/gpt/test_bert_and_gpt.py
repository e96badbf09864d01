"""check.bert_and_gpt: right ways to mask pass, known mistakes are named."""

import itertools

import numpy as np
import pytest
import torch

from llmbook import check

NUMBERS = {"predicted": 150, "masked": 120, "kept": 15, "gap_passes": 30_522}


def with_masks(tokens, vocab_size, mask_id, special, generator):
    """Three independent draws for each token."""
    special = torch.tensor(special)

    def chance(p):
        return torch.rand(tokens.shape, generator=generator) < p

    chosen = chance(0.15) & ~torch.isin(tokens, special)
    hidden = chosen & chance(0.8)
    swapped = chosen & ~hidden & chance(0.5)
    ordinary = torch.arange(vocab_size)
    ordinary = ordinary[~torch.isin(ordinary, special)]
    words = ordinary[torch.randint(len(ordinary), tokens.shape, generator=generator)]
    inputs = torch.where(hidden, mask_id, torch.where(swapped, words, tokens))
    return inputs, tokens.masked_fill(~chosen, -100)


def with_loops(tokens, vocab_size, mask_id, special, generator):
    """One draw decides all; a random word is never the one that stood there."""
    draws = iter(torch.rand(2 * tokens.numel(), generator=generator).tolist())

    def draw():
        return next(draws)

    inputs, targets = tokens.tolist(), torch.full_like(tokens, -100).tolist()
    ordinary = [i for i in range(vocab_size) if i not in special]
    for row, column in itertools.product(range(len(inputs)), range(len(inputs[0]))):
        word, u = inputs[row][column], draw()
        if word in special or u >= 0.15:
            continue
        targets[row][column] = word
        if u < 0.12:
            inputs[row][column] = mask_id
        elif u < 0.135:
            others = [i for i in ordinary if i != word]
            inputs[row][column] = others[int(draw() * len(others))]
    return inputs, targets


def whole_numbers(tokens, vocab_size, mask_id, special, generator):
    """A whole number of tokens in each text, as BERT did; cut up into three lists."""
    inputs, targets = tokens.clone(), torch.full_like(tokens, -100)
    ordinary = torch.tensor(sorted(set(range(vocab_size)) - set(special)))
    for row in range(len(tokens)):
        places = torch.tensor([i for i, t in enumerate(tokens[row].tolist()) if t not in special])
        if not len(places):
            continue
        order = places[torch.randperm(len(places), generator=generator)]
        chosen = order[: round(0.15 * len(places))]
        targets[row, chosen] = tokens[row, chosen]
        kinds = torch.rand(len(chosen), generator=generator)
        inputs[row, chosen[kinds < 0.8]] = mask_id
        swapped = chosen[kinds >= 0.9]
        drawn = torch.randint(len(ordinary), (len(swapped),), generator=generator)
        inputs[row, swapped] = ordinary[drawn]
    return [inputs, targets]


def in_numpy(tokens, vocab_size, mask_id, special, generator):
    """NumPy, seeded from the generator, with rejection of special tokens."""
    seed = int(torch.randint(2**31, (), generator=generator))
    rng = np.random.default_rng(seed)
    given = tokens.numpy()
    kind = rng.choice(4, size=given.shape, p=[0.85, 0.12, 0.015, 0.015])
    kind[np.isin(given, special)] = 0
    words = rng.integers(vocab_size, size=given.shape)
    while (bad := np.isin(words, special)).any():
        words[bad] = rng.integers(vocab_size, size=bad.sum())
    inputs = np.select([kind == 1, kind == 2], [mask_id, words], given)
    return inputs.astype(np.int32), np.where(kind > 0, given, -100)


@pytest.mark.parametrize("answer", [with_masks, with_loops, whole_numbers, in_numpy])
def test_right_answers_pass(answer):
    result = check.bert_and_gpt(answer, **NUMBERS)
    assert result.passed, result
    assert len(result.outcomes) == 11
    assert result.notes == ()


@pytest.mark.parametrize("numbers", [{"predicted": "150"}, {"kept": 15.0}, {"masked": 120.4}])
def test_formats_of_numbers(numbers):
    result = check.bert_and_gpt(**numbers)
    expected = "failed" if "predicted" in numbers else "not attempted"
    assert result.status == expected


# --- Wrong ways to mask ---------------------------------------------------------------------------


def variant(
    rate=0.15,
    shares=(0.8, 0.1),
    leave=True,
    low=None,
    same_word=False,
    special_words=False,
    one_row=False,
    one_column=False,
):
    """A way to mask that is right but for what the arguments change."""

    def answer(tokens, vocab_size, mask_id, special, generator):
        shape = list(tokens.shape)
        draw_shape = [1 if one_row else shape[0], 1 if one_column else shape[1]]
        chosen = (torch.rand(draw_shape, generator=generator) < rate).expand(shape)
        if leave:
            chosen = chosen & ~torch.isin(tokens, torch.tensor(special))
        u = torch.rand(shape, generator=generator)
        ordinary = torch.tensor([i for i in range(vocab_size) if special_words or i not in special])
        ordinary = ordinary[: len(ordinary) if low is None else low]
        size = (1, 1) if same_word else shape
        words = ordinary[torch.randint(len(ordinary), size, generator=generator)].expand(shape)
        masked, random = shares
        inputs = torch.where(chosen & (u < masked), mask_id, tokens)
        inputs = torch.where(chosen & (u >= masked) & (u < masked + random), words, inputs)
        return inputs, tokens.masked_fill(~chosen, -100)

    return answer


def and_then(change):
    """A right answer, changed afterwards."""

    def answer(tokens, vocab_size, mask_id, special, generator):
        return change(tokens, *with_masks(tokens, vocab_size, mask_id, special, generator))

    return answer


def in_place(tokens, vocab_size, mask_id, special, generator):
    inputs, targets = with_masks(tokens, vocab_size, mask_id, special, generator)
    tokens.copy_(inputs)
    return tokens, targets


def targets_too_late(tokens, vocab_size, mask_id, special, generator):
    inputs, targets = with_masks(tokens, vocab_size, mask_id, special, generator)
    return inputs, torch.where(targets == -100, -100, inputs)


def where_masked(tokens, vocab_size, mask_id, special, generator):
    """Targets wherever [MASK] stands in the inputs, also where it stood before."""
    inputs, _ = with_masks(tokens, vocab_size, mask_id, special, generator)
    return inputs, torch.where(inputs == mask_id, tokens, -100)


def only_special(tokens, vocab_size, mask_id, special, generator):
    """A right answer for texts of nothing but special tokens."""
    return tokens.clone(), torch.where(torch.isin(tokens, torch.tensor(special)), tokens, -100)


def own_seed(tokens, vocab_size, mask_id, special, generator):
    return with_masks(tokens, vocab_size, mask_id, special, torch.Generator().manual_seed(0))


def global_chance(tokens, vocab_size, mask_id, special, generator):
    return with_masks(tokens, vocab_size, mask_id, special, None)


def masks_overwritten(tokens, vocab_size, mask_id, special, generator):
    inputs, targets = variant(shares=(0.8, 0.0))(tokens, vocab_size, mask_id, special, generator)
    again = (targets != -100) & (torch.rand(tokens.shape, generator=generator) < 0.1)
    ordinary = torch.tensor([i for i in range(vocab_size) if i not in special])
    words = ordinary[torch.randint(len(ordinary), tokens.shape, generator=generator)]
    return torch.where(again, words, inputs), targets


def shifted_words(tokens, vocab_size, mask_id, special, generator):
    """Random words that follow from those that they replace."""
    inputs, targets = with_masks(tokens, vocab_size, mask_id, special, generator)
    swapped = (targets != -100) & (inputs != mask_id) & (inputs != tokens)
    ordinary = [i for i in range(vocab_size) if i not in special]
    following = torch.arange(vocab_size)
    following[ordinary] = torch.tensor([*ordinary[1:], ordinary[0]])
    return torch.where(swapped, following[tokens], inputs), targets


def unequal_words(tokens, vocab_size, mask_id, special, generator):
    """Random words with the frequencies of a steep curve."""
    inputs, targets = with_masks(tokens, vocab_size, mask_id, special, generator)
    ordinary = torch.tensor([i for i in range(vocab_size) if i not in special])
    u = torch.rand(tokens.shape, generator=generator)
    words = ordinary[(len(ordinary) * u**3).long()]
    swapped = (targets != -100) & (inputs != mask_id) & (inputs != tokens)
    return torch.where(swapped, words, inputs), targets


def in_pairs(tokens, vocab_size, mask_id, special, generator):
    """Chosen two by two."""
    starts = torch.rand(tokens.shape, generator=generator) < 0.078
    chosen = starts | starts.roll(1, dims=1)
    chosen &= ~torch.isin(tokens, torch.tensor(special))
    return torch.where(chosen, mask_id, tokens), tokens.masked_fill(~chosen, -100)


def first_half(tokens, vocab_size, mask_id, special, generator):
    chosen = torch.rand(tokens.shape, generator=generator) < 0.3
    chosen[:, tokens.shape[1] // 2 :] = False
    chosen &= ~torch.isin(tokens, torch.tensor(special))
    return torch.where(chosen, mask_id, tokens), tokens.masked_fill(~chosen, -100)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (variant(rate=0.85), "swapped"),
        (variant(rate=0.12), "fits [MASK] alone"),
        (variant(rate=0.4), "ordinary tokens have a target; compare"),
        (variant(rate=1.0), "choose some of them only"),
        (variant(rate=0.0), "no target at all"),
        (variant(leave=False), "of the special tokens are chosen"),
        (variant(leave=False), "nothing but special tokens has targets"),
        (variant(one_row=True), "at the same places"),
        (variant(one_column=True), "chosen as a whole"),
        (variant(shares=(1.0, 0.0)), "some of them should become random words"),
        (variant(shares=(0.8, 0.2)), "none are left as they are"),
        (variant(shares=(0.9, 0.1)), "none are left as they are"),
        (variant(shares=(0.8, 0.0)), "none become a random word"),
        (variant(shares=(0.8, 0.02)), "10% of random words are taken from the 20%"),
        (variant(shares=(0.8, 0.18)), "10% that are kept are taken from the 20%"),
        (variant(shares=(0.1, 0.8)), "random words and [MASK] are swapped"),
        (variant(shares=(0.1, 0.1)), "[MASK] and kept are swapped"),
        (variant(shares=(0.12, 0.015)), "shares are those of all tokens"),
        (variant(shares=(0.5, 0.25)), "compare that with the shares"),
        (masks_overwritten, "where [MASK] stood already"),
        (variant(special_words=True), "random words are special tokens"),
        (variant(same_word=True), "same one"),
        (variant(low=-3), "never come up"),
        (variant(low=-1), "such as 8"),
        (shifted_words, "follow from the tokens"),
        (unequal_words, "not equally probable"),
        (in_pairs, "far more often than by chance"),
        (first_half, "two halves"),
        (and_then(lambda t, x, y: (x, t)), "All tokens are targets"),
        (and_then(lambda t, x, y: (x, y.masked_fill(y == -100, 0))), "Most targets are 0"),
        (and_then(lambda t, x, y: (x, y.masked_fill(y == -100, -1))), "Most targets are −1"),
        (targets_too_late, "*after* the masking"),
        (and_then(lambda t, x, y: (x, torch.where(y == -100, t, -100))), "reversed"),
        (and_then(lambda t, x, y: (x, torch.where(y == -100, y, t.roll(1, 1)))), "own place"),
        (
            and_then(lambda t, x, y: (x, torch.where((y != -100) & (x == t), -100, y))),
            "fits the tokens that change",
        ),
        (
            and_then(lambda t, x, y: (x, torch.where((y != -100) & (x == t), -100, y))),
            "none are left as they are. Those have to be predicted, too",
        ),
        (where_masked, "Only [MASK] has targets"),
        (only_special, "No ordinary token has a target"),
        (and_then(lambda t, x, y: (y, x)), "The results are swapped"),
        (
            and_then(lambda t, x, y: (x, torch.where((y != -100) & (x != 2), -100, y))),
            "Only [MASK] has targets",
        ),
        (
            and_then(lambda t, x, y: (x + 5 * (y == -100), y)),
            "100% of the tokens without a target are changed",
        ),
        (
            and_then(lambda t, x, y: (torch.where((y != -100) & (x != t) & (x != 2), 60, x), y)),
            "ids outside",
        ),
        (in_place, "changed in place"),
        (own_seed, "Generators in different states"),
        (global_chance, "draw all random numbers from `generator`"),
        (and_then(lambda t, x, y: x), "two tensors"),
        (and_then(lambda t, x, y: (x, y, t)), "two tensors"),
        (and_then(lambda t, x, y: (x[:, :-1], y)), "The shape of `inputs`"),
        (and_then(lambda t, x, y: (x, y[y != -100])), "The shape of `targets`"),
        (and_then(lambda t, x, y: (x.float(), y)), "must be integers"),
        (and_then(lambda t, x, y: (x, y != -100)), "must be integers"),
        (and_then(lambda t, x, y: ("x", y)), "should be a tensor"),
        (lambda *args: args[0].nope, "raised AttributeError"),
    ],
)
def test_wrong_ways_are_named(wrong, named):
    result = check.bert_and_gpt(wrong)
    assert result.status == "failed"
    assert named in result.messages, result
    assert "itself broke" not in result.messages


@pytest.mark.parametrize(
    "wrong",
    [
        and_then(lambda t, x, y: (x, y.masked_fill(y == -100, 0))),
        and_then(lambda t, x, y: (x, y.masked_fill(y == -100, -1))),
        and_then(lambda t, x, y: (x, t)),
        and_then(lambda t, x, y: (y, x)),
        where_masked,
    ],
)
def test_wrong_targets_are_told_once(wrong):
    result = check.bert_and_gpt(wrong)
    assert len({o.message for o in result.outcomes if o.status == "failed"}) == 1, result


def test_shares_of_special_tokens_are_not_counted_twice():
    outcomes = {o.name: o.status for o in check.bert_and_gpt(variant(leave=False)).outcomes}
    assert outcomes["(b) what becomes of the chosen tokens"] == "passed"


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ({"predicted": 0.15}, "How many of 1,000"),
        ({"predicted": 15}, "in percent"),
        ({"masked": 0.12}, "How many of 1,000"),
        ({"masked": 12}, "in percent"),
        ({"kept": 0.015}, "How many of 1,000"),
        ({"kept": 1.5}, "in percent"),
        ({"gap_passes": 30_517}, "special ones"),
        ({"gap_passes": 30_521}, "One token of the vocabulary is left out"),
        ({"gap_passes": 30_523}, "not exact"),
        ({"predicted": 120}, "number of [MASK] tokens"),
        ({"predicted": 135}, "tokens that change"),
        ({"predicted": 1000}, "what GPT predicts"),
        ({"predicted": 850}, "not chosen"),
        ({"predicted": 77}, "not a mistake known"),
        ({"masked": 150}, "not all of them become [MASK]"),
        ({"masked": 800}, "share of all tokens"),
        ({"masked": 135}, "some of them become random"),
        ({"kept": 100}, "share of all tokens"),
        ({"kept": 850}, "nothing has to be predicted"),
        ({"kept": 865}, "have to be predicted"),
        ({"kept": 30}, "random words as well"),
        ({"gap_passes": 1}, "once the word has been put in"),
    ],
)
def test_wrong_numbers_are_named(numbers, named):
    result = check.bert_and_gpt(**numbers)
    assert result.status == "failed"
    assert named in result.messages


# --- No answer, no sense, no leak -----------------------------------------------------------------


def untouched(tokens, vocab_size, mask_id, special, generator): ...  # your code


@pytest.mark.parametrize("arguments", [(), (untouched,), (None,), (...,)])
def test_not_attempted(arguments):
    assert check.bert_and_gpt(*arguments).status == "not attempted"


def test_a_forgotten_return_is_named():
    def forgets(tokens, vocab_size, mask_id, special, generator):
        with_masks(tokens, vocab_size, mask_id, special, generator)

    assert "`return` missing" in check.bert_and_gpt(forgets).messages


@pytest.mark.parametrize("rubbish", [3, "bytes", [], torch.ones(2), lambda: 1, lambda *x: object()])
def test_rubbish_fails_without_an_exception(rubbish):
    for name in ("mask_tokens", *NUMBERS):
        result = check.bert_and_gpt(**{name: rubbish})
        assert result.status == "failed"
        assert "itself broke" not in result.messages


def test_the_answer_is_not_leaked():
    messages = check.bert_and_gpt(
        variant(rate=0.4, shares=(0.5, 0.25)), predicted=77, masked=78, kept=79, gap_passes=80
    ).messages
    for answer in ("15%", "80%", "150", "120", "30522", "30,522"):
        assert answer not in messages
