"""`make links` on a book of one page whose links lead to a server of the test's own."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
SETTINGS = {k: v for k, v in CONFIG["sphinx"]["config"].items() if k.startswith("linkcheck_")}


class Host(BaseHTTPRequestHandler):
    """Answers as hosts do, by the path that is asked for."""

    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        self.asked[self.path] += 1
        # A link is asked for twice in a try: first for its head, then for all of it.
        tired = self.path == "/tired" and self.asked[self.path] <= 2
        moved = self.path == "/moved"
        self.send_response(302 if moved else 404 if self.path == "/gone" or tired else 200)
        if moved:
            self.send_header("Location", "/there")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b'<h2 id="part">Part</h2>')

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    Host.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def follow(book: Path, *links: str) -> tuple[int, dict[str, str]]:
    """Return the exit status, and what became of each link."""
    book.joinpath("index.md").write_text(
        "# Links\n\n" + "\n".join(f"- <{link}>" for link in links), encoding="utf-8"
    )
    book.joinpath("_toc.yml").write_text("{format: jb-book, root: index}", encoding="utf-8")
    book.joinpath("_config.yml").write_text(
        yaml.safe_dump({"title": "Links", "sphinx": {"config": SETTINGS}}), encoding="utf-8"
    )
    program = Path(sys.executable).with_name("jupyter-book")
    done = subprocess.run(
        [program, "build", book, "--builder", "custom", "--custom-builder", "linkcheck"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    report = book / "_build" / "linkcheck" / "output.json"
    assert report.is_file(), done.stdout + done.stderr
    lines = report.read_text(encoding="utf-8").splitlines()
    return done.returncode, {e["uri"]: e["status"] for e in map(json.loads, lines)}


def test_links_that_lead_somewhere_pass(tmp_path: Path, host: str) -> None:
    own = CONFIG["repository"]["url"]
    status, found = follow(
        tmp_path, f"{host}/there#part", f"{host}/moved", f"{host}/tired", f"{own}/issues"
    )
    assert found == {
        f"{host}/there#part": "working",
        f"{host}/moved": "redirected",
        f"{host}/tired": "working",  # at the second try
        f"{own}/issues": "ignored",
    }
    assert Host.asked["/tired"] > 2
    assert status == 0


def test_dead_links_fail(tmp_path: Path, host: str) -> None:
    status, found = follow(tmp_path, f"{host}/there", f"{host}/gone", f"{host}/there#nowhere")
    assert found == {
        f"{host}/there": "working",
        f"{host}/gone": "broken",
        f"{host}/there#nowhere": "broken",
    }
    assert status != 0


def test_the_target_checks_the_book_itself() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nlinks:")[1].split("\n\n")[0]
    assert "jupyter-book build book --config $(CURDIR)/_config.yml" in recipe
    assert "--builder custom --custom-builder linkcheck" in recipe
