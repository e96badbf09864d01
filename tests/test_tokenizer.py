"""llmbook.tokenizer against Hugging Face's tokenizers and against BPE written as it is defined."""

import json
import random
from collections import Counter
from itertools import islice, pairwise

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Peer
from tokenizers import models, pre_tokenizers, trainers

from llmbook.data.stories import stories
from llmbook.tokenizer import BYTES, GPT2_PATTERN, Tokenizer, train

CORPUS = (
    """\
The cat sat on the mat; the other cats sat on the other mats. "Don't," she'd said, "they'll see
us  and we've  only 42 (forty-two) mats!"\tNaïve façade – 模型 模型 и модели 🙂🙂 aaaaaaa
"""
    * 3
)


TRAINED = train(CORPUS, 320)

# Python knows fewer characters than regex and tokenizers do, and of these they agree on the class.
ASSIGNED = st.characters(exclude_categories=["Cs", "Cn"])


def peer_trained(corpus: str | list[str], vocab_size: int) -> Peer:
    peer = Peer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    peer.train_from_iterator([corpus] if isinstance(corpus, str) else corpus, trainer)
    return peer


def peer_merges(peer: Peer) -> list[tuple[int, int]]:
    model = json.loads(peer.to_str())["model"]
    return [(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]]


def test_merges_and_ids_are_those_of_hugging_face():
    peer = peer_trained(CORPUS, 340)
    tokenizer = train(CORPUS, 340)
    assert list(tokenizer.merges) == peer_merges(peer)
    for text in (CORPUS, "unseen words, żółć, 123456789   \n\n", ""):
        assert tokenizer.encode(text) == peer.encode(text).ids


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("ab c模'1\n"), max_size=60), st.integers(0, 30))
def test_ties_and_repeats_are_merged_as_hugging_face_does(corpus, n_merges):
    tokenizer = train(corpus, 256 + n_merges)
    peer = peer_trained(corpus, 256 + n_merges)
    assert list(tokenizer.merges) == peer_merges(peer)
    assert tokenizer.encode(corpus) == peer.encode(corpus).ids


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(ASSIGNED, max_size=30), max_size=5), st.text(ASSIGNED), st.integers(0, 40))
def test_any_corpus_gives_the_merges_and_ids_of_hugging_face(corpus, text, n_merges):
    tokenizer = train(corpus, 256 + n_merges)
    peer = peer_trained(corpus, 256 + n_merges)
    assert list(tokenizer.merges) == peer_merges(peer)
    assert tokenizer.encode(text) == peer.encode(text).ids


def test_merges_of_the_stories_are_those_of_hugging_face():
    corpus = list(islice(stories(seed=1), 300))
    tokenizer, peer = train(corpus, 1000), peer_trained(corpus, 1000)
    assert tokenizer.vocab_size == 1000
    assert list(tokenizer.merges) == peer_merges(peer)
    for text in islice(stories(seed=2), 20):
        assert tokenizer.encode(text) == peer.encode(text).ids


@pytest.mark.parametrize("letters", ["ab", "acgt", "aaaab", "模型和"])
def test_a_long_word_is_merged_as_hugging_face_does(letters):
    corpus = "".join(random.Random(0).choices(letters, k=5000))
    tokenizer, peer = train(corpus, 400), peer_trained(corpus, 400)
    assert list(tokenizer.merges) == peer_merges(peer)
    assert tokenizer.encode(corpus) == peer.encode(corpus).ids


@settings(deadline=None)
@given(st.text(st.sampled_from("abc "), max_size=80))
def test_every_merge_is_of_the_most_frequent_pair_with_the_smallest_ids(corpus):
    words = Counter(
        tuple(BYTES.index(byte) for byte in word.encode())
        for word in regex.findall(GPT2_PATTERN, corpus)
    )
    for number, pair in enumerate(train(corpus, 276).merges):
        pairs: Counter[tuple[int, int]] = Counter()
        for word, times in words.items():
            for neighbors in pairwise(word):
                pairs[neighbors] += times
        assert pair == min(pairs, key=lambda each: (-pairs[each], each))
        merged: Counter[tuple[int, ...]] = Counter()
        for word, times in words.items():
            new: list[int] = []
            places = iter(range(len(word)))
            for i in places:
                new.append(256 + number if word[i : i + 2] == pair else word[i])
                if word[i : i + 2] == pair:
                    next(places)
            merged[tuple(new)] += times
        words = merged


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_text_survives_the_round_trip(corpus, text):
    for tokenizer in (TRAINED, train([corpus, text], 320)):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(deadline=None)
@given(st.text(), st.binary(), st.integers(1, 50))
def test_any_bytes_survive_the_round_trip(corpus, data, times):
    for tokenizer in (TRAINED, train(corpus, 320)):
        assert tokenizer.decode_bytes(tokenizer.encode_bytes(data * times)) == data * times


def test_the_tokens_of_bytes_are_all_256():
    assert sorted(BYTES) == list(range(256))
    tokenizer = Tokenizer(())
    assert tokenizer.decode_bytes(range(256)) == BYTES
    assert tokenizer.encode("é!") == [BYTES.index(byte) for byte in "é!".encode()]


def test_a_corpus_may_come_in_parts_and_may_run_out_of_pairs():
    assert train(["ab ab", " ab"], 300) == train("ab ab ab", 300)
    assert train("ab", 300).vocab_size == 257
    assert train("", 300).merges == ()


def test_part_of_a_character_is_shown_as_such():
    tokenizer = Tokenizer(())
    assert tokenizer.decode(tokenizer.encode("模")[:2]) == "�"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train("a", 255), "vocab_size must be at least 256, the bytes, got 255"),
        (lambda: Tokenizer(((0, 1), (257, 3))), "number 1 joins"),
        (lambda: Tokenizer(()).token(256), "i must be a token id below 256, got 256"),
        (lambda: Tokenizer(()).decode([-1]), "i must be a token id below 256, got -1"),
        (lambda: Tokenizer(()).encode("\ud800"), "text must be valid Unicode"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
