"""Tokens and their numbers: nothing is lost on the way there and back."""

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbook.data import Vocabulary, characters
from llmbook.data.stories import stories, words
from llmbook.data.vocabulary import join, size, tokenize


def test_words_are_put_together_as_they_were_taken_apart():
    for text in islice(stories(0), 300):
        assert join(tokenize(text)) == text
        assert words().decode(words().encode(text)) == text


def test_a_stream_is_put_together_as_it_was_taken_apart():
    stream = "\n" + "".join(f"{text}\n" for text in islice(stories(1), 300))
    assert words().decode(words().encode(stream)) == stream


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Ann, too.", ["Ann", ",", "too", "."]),
        ('"No!" said Ann. "Why?"', ['"', "No", "!", '"', "said", "Ann", ".", '"', "Why", "?", '"']),
        ("One.\nTwo.\n", ["One", ".", "\n", "Two", ".", "\n"]),
        ("\nOne", ["\n", "One"]),
        ("", []),
    ],
)
def test_tokens_by_hand(text, tokens):
    assert tokenize(text) == tokens
    assert join(tokens) == text


def test_the_characters_of_tokens_add_up():
    """`size` counts a space before every word, and so one too many for the first."""
    for text in islice(stories(2), 300):
        assert size(tokenize(text)) == (len(tokenize(text)), len(text) + 1)


@given(st.text())
def test_any_text_survives_the_numbers_of_its_characters(text):
    vocabulary = characters(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == torch.long
    assert len(ids) == len(text)
    assert vocabulary.decode(ids) == text
    assert len(vocabulary) == len(set(text))
    assert list(vocabulary.symbols) == sorted(vocabulary.symbols)


@pytest.mark.parametrize("ids", [[0, 1], (0, 1), torch.tensor([0, 1]), torch.tensor([0, 1]).int()])
def test_numbers_of_any_kind_are_decoded(ids):
    assert characters("ab").decode(ids) == "ab"


def test_the_words_of_the_stories_begin_with_the_newline():
    """So does every sorted vocabulary with one; pages may take it for the separator."""
    assert words().symbols[0] == "\n"
    assert words().ids["\n"] == 0


def test_an_unknown_symbol_is_said():
    with pytest.raises(ValueError, match="the 2 symbols of the vocabulary; 'c' is none of them"):
        characters("ab").encode("abc")


@pytest.mark.parametrize("ids", [[0, 2], [-1]])
def test_an_unknown_number_is_said(ids):
    with pytest.raises(ValueError, match=f"ids must be from 0 to 1, not {ids[-1]}"):
        characters("ab").decode(ids)


def test_a_symbol_twice_is_refused():
    with pytest.raises(ValueError, match="symbols must differ: 'a' is there 2 times"):
        Vocabulary(("a", "b", "a"), list, "".join)
