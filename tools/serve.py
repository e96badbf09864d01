"""Serve _build/site as a host should, and rebuild it whenever a source of it is saved.

Pages go out compressed (Brotli where the package brotli is there, gzip otherwise), files named by
their content may be kept for ever, and all others are asked for again.
"""

import argparse
import contextlib
import functools
import gzip
import http.server
import io
import re
import subprocess
import threading
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

import watchfiles

try:
    import brotli
except ModuleNotFoundError:
    brotli = None

ROOT = Path(__file__).resolve().parent.parent
WATCHED = ["book", "site", "src", "_config.yml", "_toc.yml"]
COMPRESSED = re.compile(r"text/|application/(?:javascript|json|manifest\+json|xml)|image/svg\+xml")
NAMED_BY_CONTENT = re.compile(r"^/assets/|[./][0-9a-f]{10,}\.(?!html$)\w+$")
ROOT_ON_HOST = re.compile(r'data-root="([^"]*)"')  # where the site lies on its host, in 404.html
# In the place of the site's service worker: a book that is being written is not kept for offline
# reading, and what was kept under this address is dropped.
NO_WORKER = b"""\
addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => {
  event.waitUntil(Promise.all([caches.delete("llmbook"), registration.unregister()]));
});
"""


@functools.lru_cache(maxsize=256)
def compressed(path: str, changed: float, encoding: str) -> bytes:
    """Return a file's contents, compressed; `changed` is its time of change."""
    data = Path(path).read_bytes()
    if encoding == "br":
        return brotli.compress(data, quality=9)
    return gzip.compress(data, 6, mtime=0)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the site as a well-configured host does."""

    protocol_version = "HTTP/1.1"
    extensions_map = {  # noqa: RUF012 (as in the class above)
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".ipynb": "application/json",
        ".js": "text/javascript",
        ".webmanifest": "application/manifest+json",
        ".woff2": "font/woff2",
    }

    def guess_type(self, path: str) -> str:  # type: ignore[override]
        """Name the type of a file, with the letters that all of the site's texts are in."""
        kind = super().guess_type(path)
        return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind

    def send_head(self) -> BinaryIO | None:
        """Answer with a compressed file where that pays and the browser accepts it."""
        file = Path(self.translate_path(self.path))
        encoding = self.accepted()
        # Folders, errors and what the browser has already are the library's.
        if (
            encoding is None
            or not file.is_file()
            or "If-Modified-Since" in self.headers
            or not COMPRESSED.match(self.guess_type(str(file)))
        ):
            return super().send_head()
        changed = file.stat().st_mtime
        data = compressed(str(file), changed, encoding)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", self.guess_type(str(file)))
        self.send_header("Content-Encoding", encoding)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", self.date_time_string(int(changed)))
        self.end_headers()
        return io.BytesIO(data)

    def accepted(self) -> str | None:
        """Return the encoding to use."""
        header = self.headers.get("Accept-Encoding", "").replace(" ", "")
        offers = (offer.partition(";q=") for offer in header.split(","))
        wanted = {name for name, _, quality in offers if not re.fullmatch(r"0(\.0*)?", quality)}
        if brotli is not None and "br" in wanted:
            return "br"
        return "gzip" if "gzip" in wanted else None

    def lifetime(self) -> str:
        """Return how long the file may be kept, as Cache-Control says it."""
        path = self.path.partition("?")[0]
        return (
            "public, max-age=31536000, immutable" if NAMED_BY_CONTENT.search(path) else "no-cache"
        )

    def end_headers(self) -> None:
        """Add what every answer says."""
        self.send_header("Cache-Control", self.lifetime())
        self.send_header("Vary", "Accept-Encoding")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Show the site's own page where there is none, as hosts do."""
        page = Path(self.directory, "404.html")
        if code != HTTPStatus.NOT_FOUND or not page.is_file():
            return super().send_error(code, message, explain)
        text = page.read_text("utf-8")
        if root := ROOT_ON_HOST.search(text):
            text = text.replace(f'="{root[1]}', '="/')
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Keep the terminal for the messages of the build."""


class Preview(Handler):
    """Serves a site that changes: readers see what is there now."""

    def send_head(self) -> BinaryIO | None:
        """Answer for the service worker with one that ends itself."""
        if self.path.partition("?")[0] != "/service-worker.js":
            return super().send_head()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/javascript")
        self.send_header("Content-Length", str(len(NO_WORKER)))
        self.end_headers()
        return io.BytesIO(NO_WORKER)


def build() -> None:
    """Run `make book`; a failure is shown by make itself and does not end the server."""
    subprocess.run(["make", "book"], cwd=ROOT, check=False)


def main() -> None:
    """Build, serve, and build again on every change until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    build()
    handler = functools.partial(Preview, directory=str(ROOT / "_build" / "site"))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        parser.exit(1, f"Cannot serve on port {port} ({error.strerror}); choose one with --port.\n")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://localhost:{port} (Ctrl-C ends it; reload the page after a rebuild)", flush=True)
    for _ in watchfiles.watch(*(ROOT / name for name in WATCHED)):
        build()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # which ends a build as well
        main()
