"""Real corpora: found on this computer or downloaded once, and always checked.

>>> SOURCES["tiny_shakespeare"].file
'tinyshakespeare.txt'

A file is looked for in the folder that the environment variable ``LLMBOOK_DATA`` names, then in
the user's cache; else it is downloaded into the cache. It is used only if its SHA-256 is right.
"""

import hashlib
import os
import re
import sys
import tarfile
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm


@dataclass(frozen=True)
class Source:
    """A file of a corpus: its name here, where it comes from, and what may be done with it."""

    file: str
    url: str
    sha256: str
    license: str


SOURCES = {
    # The plays in one file, as Karpathy gathered them for char-rnn (2015).
    "tiny_shakespeare": Source(
        "tinyshakespeare.txt",
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        "public domain",
    ),
    # Maas et al., 2011, Learning word vectors for sentiment analysis. The SHA-256 is the one that
    # TensorFlow Datasets checks.
    "imdb_reviews": Source(
        "aclImdb_v1.tar.gz",
        "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
        "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
        "none stated; the authors ask to cite Maas et al., 2011",
    ),
}


@dataclass(frozen=True)
class Reviews:
    """Texts with their labels: 1 for a positive review, 0 for a negative one."""

    texts: list[str]
    labels: list[int]


@dataclass(frozen=True)
class MovieReviews:
    """The three parts of the IMDB reviews."""

    train: Reviews
    test: Reviews
    unlabeled: list[str]


def tiny_shakespeare() -> str:
    """Return 1.1 million characters of Shakespeare's plays; errors are those of `load`."""
    return load("tiny_shakespeare").read_text(encoding="utf-8")


def imdb_reviews() -> MovieReviews:
    """Return 25,000 movie reviews to train on, as many to test on, and 50,000 without a label.

    Texts are as they were published, with their ``<br />``. Positive and negative reviews take
    turns, by their numbers, so that every part of a split is balanced. Errors are those of `load`.
    """
    member = re.compile(r"aclImdb/(train|test)/(neg|pos|unsup)/(\d+)_\d+\.txt")
    found: dict[str, list[tuple[int, int, str]]] = {"train": [], "test": [], "unsup": []}
    with tarfile.open(load("imdb_reviews")) as archive:
        for entry in tqdm(archive, desc="Reading the reviews", unit=" files", leave=False):
            if (name := member.fullmatch(entry.name)) and (file := archive.extractfile(entry)):
                split = "unsup" if name[2] == "unsup" else name[1]
                text = file.read().decode("utf-8")
                found[split].append((int(name[3]), int(name[2] == "pos"), text))
    reviews = {split: sorted(items) for split, items in found.items()}
    train, test = (
        Reviews([text for *_, text in reviews[split]], [label for _, label, _ in reviews[split]])
        for split in ("train", "test")
    )
    return MovieReviews(train, test, [text for *_, text in reviews["unsup"]])


def load(name: str) -> Path:
    """Return the path of the checked file of a corpus in `SOURCES`.

    Raises
    ------
    ValueError
        If the name is unknown, ``LLMBOOK_DATA`` names no folder, or a file has a wrong SHA-256; a
        file found here is never changed or removed.
    OSError
        If the file is not here and cannot be downloaded; the message says what to put where.
    """
    if name not in SOURCES:
        raise ValueError(f"name must be one of {', '.join(SOURCES)}, not {name!r}")
    source, cache = SOURCES[name], cache_folder()
    folders = [cache]
    if named := os.environ.get("LLMBOOK_DATA"):
        folders.insert(0, Path(named).expanduser())
        if not folders[0].is_dir():
            raise ValueError(f"LLMBOOK_DATA must name a folder, not {named!r}")
    for path in (folder / source.file for folder in folders):
        if path.is_file():
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 != source.sha256:
                raise ValueError(
                    f"{path} is not the file of {name!r}: its SHA-256 is {sha256}, not "
                    f"{source.sha256}. Remove it, and it is downloaded anew."
                )
            return path
    path = cache / source.file
    try:
        _download(source, path)
    except (OSError, HTTPException) as error:
        raise OSError(
            f"{source.url} cannot be downloaded to {path}: {error!r}. Get the file elsewhere "
            f"(SHA-256 {source.sha256}) and put it at {path}, or as {source.file} into a folder "
            f"that the environment variable LLMBOOK_DATA names."
        ) from error
    return path


def cache_folder() -> Path:
    """Return the folder for downloads; it may not exist yet."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "llmbook"


def _download(source: Source, path: Path) -> None:
    """Download beside the path, check, and rename: no half a file ever has the path's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(source.url, timeout=30) as answer, beside.open("wb") as file:
            size = int(answer.headers.get("Content-Length", 0)) or None
            with tqdm(desc=source.file, total=size, unit="B", unit_scale=True, leave=False) as bar:
                while chunk := answer.read(1 << 16):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
        if digest.hexdigest() != source.sha256:
            raise OSError(f"what came has the SHA-256 {digest.hexdigest()}")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
