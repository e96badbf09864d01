"""Texts to train on: stories of known entropy, made here, and real corpora, downloaded once."""

from llmbook.data.downloads import imdb_reviews, load, tiny_shakespeare
from llmbook.data.stories import Corpus, corpus
from llmbook.data.vocabulary import Vocabulary, characters

__all__ = [
    "Corpus",
    "Vocabulary",
    "characters",
    "corpus",
    "imdb_reviews",
    "load",
    "tiny_shakespeare",
]
