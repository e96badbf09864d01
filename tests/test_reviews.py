"""Generated reviews: balanced, reproducible, of one opinion, and in the form of the real ones."""

import hashlib
import io
import itertools
import tarfile
from dataclasses import replace

import pytest

from llmbook.data import generated_reviews, imdb_reviews
from llmbook.data.downloads import SOURCES
from llmbook.data.reviews import grammar, opinion_words, reviews
from llmbook.data.vocabulary import tokenize
from page_code import definitions


def test_labels_take_turns_and_parts_differ():
    data = generated_reviews(train=40, test=30, unlabeled=50, seed=3)
    assert data.train.labels == [0, 1] * 20
    assert data.test.labels == [0, 1] * 15
    assert [len(texts) for texts in (data.train.texts, data.test.texts, data.unlabeled)] == [
        40,
        30,
        50,
    ]
    parts = [set(data.train.texts), set(data.test.texts), set(data.unlabeled)]
    assert len(set.union(*parts)) == 120


def test_the_seed_decides_and_more_reviews_begin_with_the_same():
    few, more = generated_reviews(8, 8, 8, seed=1), generated_reviews(20, 20, 20, seed=1)
    assert few.train.texts == more.train.texts[:8]
    assert few.unlabeled == more.unlabeled[:8]
    assert generated_reviews(8, 8, 8, seed=2).train.texts != few.train.texts


def test_nothing_is_a_number_of_reviews_but_less_is_not():
    data = generated_reviews(0, 0, 0)
    assert (data.train.texts, data.train.labels, data.unlabeled) == ([], [], [])
    for part in ("train", "test", "unlabeled"):
        with pytest.raises(ValueError, match=f"{part} must not be negative, got -1"):
            generated_reviews(**{part: -1})


def test_each_review_belongs_to_the_verdict_of_its_label_only():
    for text, label in itertools.islice(reviews("grammars"), 300):
        assert grammar(bool(label)).derivations(text) == 1
        assert grammar(not label).derivations(text) == 0


def test_opinions_agree_once_negation_and_contrast_are_understood():
    """A reading by hand of every opinion comes to the label."""
    sides = dict(zip(("praise", "blame"), map(set, opinion_words()), strict=True))
    kinds = dict.fromkeys(("plain", "negated", "mixed"), 0)
    for text, label in itertools.islice(reviews("opinions"), 300):
        for sentence in text.lower().split("."):
            words = tokenize(sentence)
            found = [
                (i, w in sides["praise"])
                for i, w in enumerate(words)
                if w in set.union(*sides.values())
            ]
            if not found:
                continue
            turns = [i for i, word in enumerate(words) if word in ("but", "yet")]
            if turns:
                kinds["mixed"] += 1
                assert {good for i, good in found if i > turns[0]} == {bool(label)}
                assert {good for i, good in found if i < turns[0]} == {not label}
            else:
                negated = "not" in words or "never" in words
                kinds["negated" if negated else "plain"] += 1
                assert {good for _, good in found} == {bool(label) != negated}
    n = sum(kinds.values())
    assert n > 1000
    for kind, share in {"plain": 0.6, "negated": 0.2, "mixed": 0.2}.items():
        assert abs(kinds[kind] / n - share) < 0.05


def test_opinion_words_are_single_words_in_pairs():
    praise, blame = opinion_words()
    assert len(praise) == len(blame) == len({*praise, *blame}) / 2
    assert all(tokenize(word) == [word] for word in (*praise, *blame))


def test_the_page_compares_on_real_reviews_just_the_same(tmp_path, monkeypatch):
    """A small archive of the form of the real one goes through the code of the page."""
    data = generated_reviews(train=24, test=16, unlabeled=60)
    path = tmp_path / SOURCES["imdb_reviews"].file
    with tarfile.open(path, "w:gz") as archive:

        def add(split, kind, number, text):
            content = text.replace(". ", ".<br /><br />").encode()
            entry = tarfile.TarInfo(f"aclImdb/{split}/{kind}/{number}_7.txt")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

        for split, part in (("train", data.train), ("test", data.test)):
            for i, (text, label) in enumerate(zip(part.texts, part.labels, strict=True)):
                add(split, "pos" if label else "neg", i // 2, text)
        for i, text in enumerate(data.unlabeled):
            add("train", "unsup", i, text)
    source = replace(SOURCES["imdb_reviews"], sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(SOURCES, "imdb_reviews", source)
    monkeypatch.setenv("LLMBOOK_DATA", str(tmp_path))

    page = definitions("gpt/architectures", "compare_starts")
    real = imdb_reviews()
    assert real.train.labels == data.train.labels
    assert "<br />" in real.unlabeled[0]
    found = page.compare_starts(real, 20, length=40, steps=60, finetune_steps=20, seed=0)
    assert set(found) == {"words counted", "from scratch", "pre-trained"}
    assert all(0 <= correct <= 16 for correct in found.values())
    # The same texts without their line breaks give the same words, and so the same results.
    assert found == page.compare_starts(data, 20, length=40, steps=60, finetune_steps=20, seed=0)
