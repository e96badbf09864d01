"""Texts to train on: stories and reviews made here, and real corpora, downloaded once."""

from llmbook.data.downloads import imdb_reviews, load, tiny_shakespeare
from llmbook.data.reviews import generated_reviews
from llmbook.data.stories import Corpus, corpus
from llmbook.data.vocabulary import Vocabulary, characters

__all__ = [
    "Corpus",
    "Vocabulary",
    "characters",
    "corpus",
    "generated_reviews",
    "imdb_reviews",
    "load",
    "tiny_shakespeare",
]
