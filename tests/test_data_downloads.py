"""Real corpora: where they are looked for, that they are checked, and what is said when not."""

import hashlib
import io
import os
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmbook.data import downloads, imdb_reviews, load, tiny_shakespeare
from llmbook.data.downloads import SOURCES, cache_folder

TEXT = "To be, or not to be: that is the question – ".encode() * 4000
FILE = "tinyshakespeare.txt"


class Server:
    """A server on this computer that sends one answer to all; `asked` counts the requests."""

    def __init__(self):
        self.body, self.status, self.length, self.asked = TEXT, 200, None, 0
        parent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                parent.asked += 1
                self.send_response(parent.status)
                self.send_header("Content-Length", str(parent.length or len(parent.body)))
                self.end_headers()
                self.wfile.write(parent.body)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/input.txt"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LLMBOOK_DATA", raising=False)
    return tmp_path / "cache" / "llmbook"


@pytest.fixture
def source(server, cache, monkeypatch):
    """Tiny Shakespeare, as if it were TEXT and came from the server."""
    sha256 = hashlib.sha256(TEXT).hexdigest()
    source = replace(SOURCES["tiny_shakespeare"], url=server.url, sha256=sha256)
    monkeypatch.setitem(SOURCES, "tiny_shakespeare", source)
    return source


def put(folder: Path, content: bytes = TEXT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(content)
    return folder / FILE


# --- where ---


def test_the_named_folder_comes_first(source, server, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMBOOK_DATA", str(tmp_path / "mine"))
    path = put(tmp_path / "mine")
    put(cache, b"never looked at")
    assert load("tiny_shakespeare") == path
    assert tiny_shakespeare() == TEXT.decode()
    assert server.asked == 0


def test_the_cache_comes_next(source, server, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMBOOK_DATA", str(tmp_path))
    path = put(cache)
    assert load("tiny_shakespeare") == path
    assert server.asked == 0


def test_the_network_comes_last_and_only_once(source, server, cache):
    assert tiny_shakespeare() == TEXT.decode()
    assert [path.name for path in cache.iterdir()] == [FILE]
    assert (cache / FILE).read_bytes() == TEXT
    assert tiny_shakespeare() == TEXT.decode()
    assert server.asked == 1


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x/cache"}, "/x/cache/llmbook"),
        ("linux", {"XDG_CACHE_HOME": ""}, "/home/ann/.cache/llmbook"),
        ("darwin", {}, "/home/ann/.cache/llmbook"),
        ("win32", {"LOCALAPPDATA": "/ann/local"}, "/ann/local/llmbook"),
        ("win32", {"XDG_CACHE_HOME": "/x"}, "/home/ann/AppData/Local/llmbook"),
    ],
)
def test_the_cache_is_where_the_system_has_it(platform, variables, expected, monkeypatch):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(downloads.sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))
    assert cache_folder() == Path(expected)


def test_the_progress_bar_counts_the_bytes_and_leaves_no_trace(source, monkeypatch):
    bars = []

    class Bar(downloads.tqdm):
        def __init__(self, *args, **arguments):
            bars.append(self)
            super().__init__(*args, **{**arguments, "file": io.StringIO(), "disable": False})

    monkeypatch.setattr(downloads, "tqdm", Bar)
    load("tiny_shakespeare")
    (bar,) = bars
    assert bar.n == bar.total == len(TEXT)
    assert not bar.leave


# --- what goes wrong ---


@pytest.mark.parametrize("place", ["named folder", "cache"])
def test_a_wrong_file_is_named_and_left_alone(place, source, server, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMBOOK_DATA", str(tmp_path))
    path = put(tmp_path if place == "named folder" else cache, b"To be, or")
    with pytest.raises(ValueError, match="is not the file of 'tiny_shakespeare'") as error:
        tiny_shakespeare()
    assert str(path) in str(error.value)
    assert source.sha256 in str(error.value)
    assert hashlib.sha256(b"To be, or").hexdigest() in str(error.value)
    assert path.read_bytes() == b"To be, or"
    assert server.asked == 0


@pytest.mark.parametrize("trouble", ["other text", "cut off", "not found", "no server", "no disk"])
def test_a_failed_download_says_what_to_put_where(trouble, source, server, cache, monkeypatch):
    if trouble == "other text":
        server.body = TEXT + b"."
    elif trouble == "cut off":
        server.body, server.length = TEXT[:-100], len(TEXT)
    elif trouble == "not found":
        server.status = 404
    elif trouble == "no server":
        gone = replace(source, url="http://127.0.0.1:9/input.txt")
        monkeypatch.setitem(SOURCES, "tiny_shakespeare", gone)
    else:
        cache.parent.mkdir()
        cache.write_text("a file where the folder should be")
    with pytest.raises(OSError, match="cannot be downloaded") as error:
        tiny_shakespeare()
    message = str(error.value)
    for part in (SOURCES["tiny_shakespeare"].url, source.sha256, str(cache / FILE), "LLMBOOK_DATA"):
        assert part in message
    if trouble != "no disk":
        assert list(cache.iterdir()) == []


def test_no_half_a_file_is_left_when_the_reader_stops(source, cache, monkeypatch):
    def stop(self, count):
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads.tqdm, "update", stop)
    with pytest.raises(KeyboardInterrupt):
        load("tiny_shakespeare")
    assert list(cache.iterdir()) == []


def test_a_named_folder_that_is_none_is_said(cache, monkeypatch):
    monkeypatch.setenv("LLMBOOK_DATA", "/no/such/folder")
    with pytest.raises(ValueError, match="LLMBOOK_DATA must name a folder, not '/no/such/folder'"):
        tiny_shakespeare()


def test_an_unknown_name_is_said():
    with pytest.raises(ValueError, match="one of tiny_shakespeare, imdb_reviews, not 'tiny'"):
        load("tiny")


# --- what is in them ---


@pytest.mark.skipif(
    not (Path(os.environ.get("LLMBOOK_DATA", "/nowhere")) / FILE).exists(),
    reason="the real file is not in the folder LLMBOOK_DATA",
)
def test_the_real_text():
    text = tiny_shakespeare()
    assert len(text) == 1_115_394
    assert len(set(text)) == 65
    assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.")


REVIEWS = {
    "aclImdb/README": "not a review",
    "aclImdb/train/urls_pos.txt": "not a review",
    "aclImdb/train/pos/0_9.txt": "Splendid, naïve and brief.<br />Ten stars.",
    "aclImdb/train/pos/10_8.txt": "I laughed.",
    "aclImdb/train/pos/2_7.txt": "Well made.",
    "aclImdb/train/neg/0_3.txt": "I slept.",
    "aclImdb/train/neg/2_1.txt": "Dreadful.",
    "aclImdb/train/neg/10_2.txt": "No.",
    "aclImdb/train/unsup/1_0.txt": "There is a dog in it.",
    "aclImdb/train/unsup/0_0.txt": "It was long.",
    "aclImdb/test/neg/0_2.txt": "Do not go.",
    "aclImdb/test/pos/0_10.txt": "Go!",
}


def test_movie_reviews_from_a_small_archive(cache, monkeypatch):
    cache.mkdir(parents=True)
    path = cache / "aclImdb_v1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("aclImdb/train/pos/"))
        for name, text in REVIEWS.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    source = replace(SOURCES["imdb_reviews"], sha256=sha256, url="http://127.0.0.1:9/")
    monkeypatch.setitem(SOURCES, "imdb_reviews", source)
    reviews = imdb_reviews()
    assert reviews.train.texts == [
        *("I slept.", REVIEWS["aclImdb/train/pos/0_9.txt"], "Dreadful.", "Well made."),
        *("No.", "I laughed."),
    ]
    assert reviews.train.labels == [0, 1, 0, 1, 0, 1]
    assert (reviews.test.texts, reviews.test.labels) == (["Do not go.", "Go!"], [0, 1])
    assert reviews.unlabeled == ["It was long.", "There is a dog in it."]


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_table_is_well_formed(name):
    source = SOURCES[name]
    assert len(bytes.fromhex(source.sha256)) == 32
    assert source.url.startswith("https://")
    assert "/" not in source.file
    assert source.license
