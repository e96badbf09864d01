"""Serve _build/html and rebuild it whenever a page, the package or the settings are saved."""

import argparse
import functools
import http.server
import subprocess
import threading
from pathlib import Path

import watchfiles

ROOT = Path(__file__).resolve().parent.parent
WATCHED = ["book", "src", "_config.yml", "_toc.yml"]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files that the browser must not keep: they change as one writes."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the terminal for the messages of the build."""


def build() -> None:
    """Run `make book`; a failure is shown by make itself and does not end the server."""
    subprocess.run(["make", "book"], cwd=ROOT, check=False)


def main() -> None:
    """Build, serve, and build again on every change until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    build()
    handler = functools.partial(Handler, directory=str(ROOT / "_build" / "html"))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        parser.exit(1, f"Cannot serve on port {port} ({error.strerror}); choose one with --port.\n")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://localhost:{port} (Ctrl-C ends it; reload the page after a rebuild)", flush=True)
    for _ in watchfiles.watch(*(ROOT / name for name in WATCHED), raise_interrupt=False):
        build()


if __name__ == "__main__":
    main()
