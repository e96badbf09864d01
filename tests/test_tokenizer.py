"""llmbook.tokenizer against Hugging Face's tokenizers and against BPE written as it is defined."""

import json
from collections import Counter
from itertools import pairwise

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Peer
from tokenizers import models, pre_tokenizers, trainers

from llmbook.tokenizer import BYTES, GPT2_PATTERN, Tokenizer, train

CORPUS = (
    """\
The cat sat on the mat; the other cats sat on the other mats. "Don't," she'd said, "they'll see
us  and we've  only 42 (forty-two) mats!"\tNaïve façade – 模型 模型 и модели 🙂🙂 aaaaaaa
"""
    * 3
)


def peer_trained(corpus: str, vocab_size: int) -> Peer:
    peer = Peer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    peer.train_from_iterator([corpus], trainer)
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


@given(st.text(st.sampled_from("abc "), max_size=80))
def test_every_merge_is_of_a_most_frequent_pair(corpus):
    words = Counter(
        tuple(bytes([byte]) for byte in word.encode())
        for word in regex.findall(GPT2_PATTERN, corpus)
    )
    tokenizer = train(corpus, 276)
    for left, right in tokenizer.merges:
        pair = tokenizer.token(left), tokenizer.token(right)
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, times in words.items():
            for neighbors in pairwise(word):
                pairs[neighbors] += times
        # A merge in a word of equal signs may leave a pair over that is counted one too many.
        assert pairs[pair] == max(pairs.values()) or len(set(pair[0] + pair[1])) == 1
        merged: Counter[tuple[bytes, ...]] = Counter()
        for word, times in words.items():
            new: list[bytes] = []
            parts = iter(range(len(word)))
            for i in parts:
                if word[i : i + 2] == pair:
                    new.append(pair[0] + pair[1])
                    next(parts)
                else:
                    new.append(word[i])
            merged[tuple(new)] += times
        words = merged


@given(st.text())
def test_any_text_survives_the_round_trip(text):
    tokenizer = train(CORPUS, 320)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.binary())
def test_any_bytes_survive_the_round_trip(data):
    tokenizer = train(CORPUS, 320)
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


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
