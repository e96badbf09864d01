"""Serve the built site with a Jupyter server beside it, on which its live cells run.

Both listen on this machine only. The Jupyter server wants a token, and lets no site but this one
use it; the pages get both handed by this program, so that *Live* starts at once.
"""

import argparse
import functools
import html
import http.client
import http.server
import importlib.util
import io
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import serve

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "site"
HOSTS = ("localhost", "127.0.0.1")
PATIENCE = 60  # seconds for the Jupyter server to answer


class Handler(serve.Preview):
    """Serves the site, and tells its pages where their Jupyter server is."""

    jupyter = ""  # its address, with the token

    def do_GET(self) -> None:  # noqa: N802
        if self._is_for_us():
            super().do_GET()

    def do_HEAD(self) -> None:  # noqa: N802
        if self._is_for_us():
            super().do_HEAD()

    def _is_for_us(self) -> bool:
        """Refuse what asks under another name: a foreign site's name can be pointed at us."""
        if self.headers.get("Host", "").rsplit(":", 1)[0] in HOSTS:
            return True
        self.send_error(421, "This is the book on localhost")
        return False

    def _page(self) -> Path | None:
        """Return the page that is asked for."""
        path = Path(self.translate_path(self.path))
        if path.is_dir() and self.path.partition("?")[0].endswith("/"):
            path /= "index.html"
        return path if path.suffix == ".html" and path.is_file() else None

    def lifetime(self) -> str:
        """Have no page kept: it has the token of this run."""
        return "no-store" if self._page() else super().lifetime()

    def send_head(self) -> BinaryIO | None:
        """Write the Jupyter server's address into each page."""
        path = self._page()
        if path is None:
            return super().send_head()
        meta = f'<meta name="live-server" content="{html.escape(self.jupyter)}">'
        page = path.read_text(encoding="utf-8").replace("</head>", f"{meta}</head>", 1).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        return io.BytesIO(page)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def start_jupyter(port: int, token: str, origin_port: int) -> subprocess.Popen[bytes]:
    """Start a Jupyter server that pages on `origin_port` of this machine may use."""
    command = [
        sys.executable,
        "-m",
        "jupyter_server",
        "--no-browser",
        "--log-level=WARN",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={ROOT / 'notebooks'}",
        f"--ServerApp.allow_origin_pat=http://(localhost|127\\.0\\.0\\.1):{origin_port}",
        "--ServerApp.jpserver_extensions={'jupyterlab': False}",  # kernels are all that is wanted
        # A page that was closed leaves its kernel behind when the browser has no time to end it.
        "--MappingKernelManager.cull_idle_timeout=1800",
        "--MappingKernelManager.cull_interval=300",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in a container
    # In the environment, not in the command: that can be read by everybody on the machine.
    environment = {**os.environ, "JUPYTER_TOKEN": token}
    # In a session of its own: Ctrl-C is for us, who end it.
    return subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True)


def wait_for(jupyter: subprocess.Popen[bytes], port: int, patience: float = PATIENCE) -> None:
    """Return once the server answers.

    Raises
    ------
    RuntimeError
        If it ends, or does not answer in time.
    """
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if jupyter.poll() is not None:
            raise RuntimeError(f"the Jupyter server ended with status {jupyter.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/api")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise RuntimeError(f"the Jupyter server did not answer within {patience:.0f} seconds")


def end(jupyter: subprocess.Popen[bytes]) -> None:
    """End the server; it ends its kernels."""
    jupyter.terminate()
    try:
        jupyter.wait(15)
    except subprocess.TimeoutExpired:
        jupyter.kill()
        jupyter.wait()


def main() -> None:
    """Start both, say where the book is, and end both on Ctrl-C, or with the terminal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="of the book; 0 for any free one")
    parser.add_argument("--jupyter-port", type=int, default=0, help="0, the default, for any")
    parser.add_argument("--site", type=Path, default=SITE, help="the built site")
    arguments = parser.parse_args()
    if not (arguments.site / "index.html").is_file():
        parser.exit(1, f"There is no site in {arguments.site}: run `make book` first.\n")
    if importlib.util.find_spec("jupyter_server") is None:
        parser.exit(1, "jupyter_server is not installed: run `make environment` first.\n")
    jupyter_port = arguments.jupyter_port or free_port()
    token = secrets.token_urlsafe(24)
    Handler.jupyter = f"http://127.0.0.1:{jupyter_port}/?token={token}"
    try:
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", arguments.port), functools.partial(Handler, directory=str(arguments.site))
        )
    except OSError as error:
        parser.exit(
            1,
            f"Cannot serve on port {arguments.port} ({error.strerror}); choose one with --port.\n",
        )

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):  # the second one when the terminal is closed
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    jupyter = start_jupyter(jupyter_port, token, server.server_port)
    status = 0
    try:
        wait_for(jupyter, jupyter_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://localhost:{server.server_port} (Ctrl-C ends it)", flush=True)
        status = jupyter.wait()
        print(f"The Jupyter server ended with status {status}.", file=sys.stderr)
        status = status or 1
    except RuntimeError as error:
        print(f"It did not start: {error}.", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        pass
    finally:
        end(jupyter)
        server.server_close()
    sys.exit(status)


if __name__ == "__main__":
    main()
