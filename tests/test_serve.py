"""`make serve` with a make that builds nothing: it builds on each save and ends without a word."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATIENCE = 30  # seconds
Start = Callable[[str], "subprocess.Popen[str]"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends a signal as a terminal does")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def builds(tmp_path: Path) -> Path:
    """Return the file in which each build leaves a line."""
    return tmp_path / "builds"


@pytest.fixture
def start(tmp_path: Path, builds: Path) -> Iterator[Start]:
    """Return what starts the server in a project of its own, in the place of a terminal."""
    for name in "book", "site", "src", "tools", "bin", "_build/site":
        (tmp_path / name).mkdir(parents=True)
    for name in "_config.yml", "_toc.yml", "_build/site/index.html":
        (tmp_path / name).write_text("as it was")
    shutil.copy(ROOT / "tools/serve.py", tmp_path / "tools")
    started = []
    # A shell that starts the tests in the background has them ignore it, and all that they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(make: str) -> "subprocess.Popen[str]":
        script = tmp_path / "bin/make"
        script.write_text(f"#!/bin/sh\necho built >> {builds}\n{make}\n")
        script.chmod(0o755)
        process = subprocess.Popen(
            [sys.executable, tmp_path / "tools/serve.py", "--port", str(free_port())],
            env=os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    signal.signal(signal.SIGINT, before)
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def interrupt(process: "subprocess.Popen[str]") -> str:
    """Press Ctrl-C, which reaches all that runs in a terminal; return what was still said."""
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return said


def test_it_builds_serves_and_builds_again_on_a_save(
    tmp_path: Path, builds: Path, start: Start
) -> None:
    process = start("exit 0")
    assert process.stdout is not None
    line = process.stdout.readline()
    address = line.split()[0]
    with urllib.request.urlopen(address) as answer:
        assert answer.read() == b"as it was"
    time.sleep(0.5)  # until it watches
    (tmp_path / "book/page.md").write_text("saved")
    wait_for(lambda: builds.read_text().count("built") == 2)
    assert interrupt(process) == ""


def test_it_can_be_ended_while_it_builds(builds: Path, start: Start) -> None:
    process = start("sleep 60")
    wait_for(builds.exists)
    assert interrupt(process) == ""
