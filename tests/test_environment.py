"""The environments: the Makefile's, and the one that Binder builds from environment.yml."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import nbformat
import pytest
import websocket
import yaml

import environment

ROOT = Path(__file__).resolve().parent.parent
BINDER = yaml.safe_load((ROOT / "environment.yml").read_text())


def pins(name: str) -> dict[str, set[str]]:
    """Read `name==version ; marker` lines; a name may have a version for each range of Pythons."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if match := re.match(r"([\w.\-\[\]]+)==([^\s;]+)", line):
            found.setdefault(match[1].lower(), set()).add(match[2])
    return found


# --- pins ---


def test_lock_files_hold_exact_versions_and_no_addresses():
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if line.strip()]
        assert lines
        for line in lines:
            assert re.fullmatch(r"[\w.\-\[\]]+==[\w.+!]+( ; .+)?", line), line
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert "http" not in json.dumps(
        [entry.get("resolved", "") for entry in lock["packages"].values()]
    )
    versions = json.loads((ROOT / "package.json").read_text())
    for version in {**versions["dependencies"], **versions["devDependencies"]}.values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_the_learners_pins_are_among_the_maintainers():
    learner, maintainer = pins("requirements.txt"), pins("requirements-dev.txt")
    assert learner
    assert {name: maintainer.get(name) for name in learner} == learner
    assert "jupyter-book" not in learner


def test_binder_lists_what_the_pins_say():
    conda = [item for item in BINDER["dependencies"] if isinstance(item, str)]
    (pip,) = [item["pip"] for item in BINDER["dependencies"] if isinstance(item, dict)]
    assert pip == ["-r requirements.txt", "-e ."]
    listed = dict(item.split("=") for item in conda if "=" in item)
    assert {listed.pop("pytorch-cpu")} == pins("requirements.txt")["torch"]
    python = listed.pop("python")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (setup,) = [
        step["with"]
        for step in workflow["jobs"]["test"]["steps"]
        if "setup-python" in step.get("uses", "")
    ]
    assert setup["python-version"] == python
    assert listed == {}, "an entry of environment.yml that no test compares with the pins"
    assert BINDER["channels"][0] == "conda-forge"


def test_the_repository_stands_in_one_place():
    url = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["repository-code"] == url


# --- the Makefile's environment ---


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """A copy of what the set-up reads, with its commands recorded instead of run."""
    for name in ("requirements-dev.txt", "pyproject.toml", "package.json", "package-lock.json"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "VENV", tmp_path / ".venv")
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(environment, "call", lambda *command: calls.append(command) or True)
    (tmp_path / ".venv").mkdir()
    (tmp_path / "node_modules").mkdir()
    return calls


def test_a_finished_environment_is_left_alone(setup):
    environment.python_packages()
    environment.node_packages()
    assert len(setup) == 5  # venv, pins, package, check; npm
    environment.python_packages()
    environment.node_packages()
    assert len(setup) == 5


def test_an_interrupted_setup_starts_over(setup, monkeypatch):
    def interrupted(*command: object) -> bool:
        if "--requirement" in command:
            raise KeyboardInterrupt
        return True

    with monkeypatch.context() as patch:
        patch.setattr(environment, "call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            environment.python_packages()
    environment.python_packages()
    assert "--clear" in setup[0]


def test_changed_pins_are_installed_into_the_environment_that_is_there(setup):
    environment.python_packages()
    setup.clear()
    with (environment.ROOT / "requirements-dev.txt").open("a") as file:
        file.write("another==1.0\n")
    environment.python_packages()
    assert setup
    assert not any("--clear" in command for command in setup)
    assert any("--requirement" in command for command in setup)


def test_a_failed_installation_is_told_and_leaves_no_stamp(setup, monkeypatch):
    monkeypatch.setattr(environment, "call", lambda *command: "--requirement" not in command)
    with pytest.raises(SystemExit, match="Is there a network"):
        environment.python_packages()
    assert not (environment.VENV / ".finished").exists()
    monkeypatch.setattr(environment, "call", lambda *command: False)
    with pytest.raises(SystemExit, match="package-lock"):
        environment.node_packages()


def test_an_old_python_and_a_missing_node_are_told(setup, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(environment.sys, "version_info", (3, 9, 1))
        with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer"):
            environment.python_packages()
    monkeypatch.setattr(environment.shutil, "which", lambda *_, **__: None)
    with pytest.raises(SystemExit, match=r"Node\.js"):
        environment.node_packages()


@pytest.mark.parametrize("ci", ["", "true"])
def test_a_missing_browser_is_a_skip_for_a_person_and_a_failure_in_ci(
    setup, monkeypatch, capsys, ci
):
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(environment, "call", lambda *_: False)
    if ci:
        with pytest.raises(SystemExit, match="No Chromium"):
            environment.browser()
    else:
        environment.browser()
        assert "will be skipped" in capsys.readouterr().out


def test_make_alone_lists_the_targets():
    done = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True)
    for target in ("book", "serve", "notebooks", "test", "lint", "bench", "clean"):
        assert f"make {target} " in done.stdout


# --- what Binder and a learner install ---


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A new environment with the learner's pins and the package as a wheel; its bin folder."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True
    )
    (wheel,) = folder.glob("llmbook-*.whl")
    target = ["--python", folder / "venv" / "bin" / "python", "install"]
    subprocess.run([*pip, *target, "-r", ROOT / "requirements.txt"], check=True)
    subprocess.run([*pip, *target, "--no-index", wheel], check=True)
    return folder / "venv" / "bin"


def plain_environment(clean: Path) -> dict[str, str]:
    """The variables of a shell in which only the clean environment is active."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL", "JUPYTER"))
    }
    return {**kept, "PATH": f"{clean}{os.pathsep}{os.environ['PATH']}", "TQDM_DISABLE": "1"}


def test_the_package_installs_into_a_clean_environment(clean, tmp_path):
    answer = "((q @ k.mT / q.shape[-1] ** 0.5 + mask_bias(mask)).softmax(-1)) @ v"
    code = (
        "import llmbook.figures, torch; from llmbook import check\n"
        "def mask_bias(mask):\n"
        "    if mask is None: return 0.0\n"
        "    return torch.where(mask, 0.0, -torch.inf) if mask.dtype == torch.bool else mask\n"
        "def answer(q, k, v, mask=None):\n"
        f"    return {answer}\n"
        "print(check.scaled_dot_product_attention(answer).passed)\n"
        "print(llmbook.__file__)"
    )
    done = subprocess.run(
        [clean / "python", "-c", code],
        cwd=tmp_path,
        env=plain_environment(clean),
        capture_output=True,
        text=True,
        check=True,
    )
    passed, file = done.stdout.split()
    assert passed == "True"
    assert str(clean.parent) in file, "the package came from the source tree, not from the wheel"


@pytest.fixture(scope="module")
def server(clean, tmp_path_factory):
    """A real Jupyter server of the clean environment, on the repository: its address and token."""
    token, log = uuid.uuid4().hex, tmp_path_factory.mktemp("server") / "log"
    runtime = tmp_path_factory.mktemp("runtime")
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(clean / "jupyter", "lab", "--no-browser", "--allow-root", "--port=0"),
                *(f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={ROOT}"),
            ],
            env={**plain_environment(clean), "JUPYTER_RUNTIME_DIR": str(runtime)},
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    try:
        for _ in range(300):
            if found := list(runtime.glob("jpserver-*.json")):
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        else:
            pytest.fail(f"the server did not start:\n{log.read_text()}")
        yield json.loads(found[0].read_text())["url"], token
    finally:
        process.terminate()
        process.wait(timeout=30)


def api(server, path: str, body: object = None) -> dict:
    url, token = server
    request = urllib.request.Request(
        f"{url}api/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
    )
    for attempt in range(50):  # the address is written a moment before the server listens
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except ConnectionRefusedError:
            time.sleep(0.2)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError) or attempt == 49:
                raise
            time.sleep(0.2)
    raise AssertionError("the server does not listen")


def execute(channel: websocket.WebSocket, code: str) -> list[dict]:
    """Run a cell over the kernel's channel and return its outputs."""
    message_id = uuid.uuid4().hex
    channel.send(
        json.dumps(
            {
                "channel": "shell",
                "header": {"msg_id": message_id, "msg_type": "execute_request", "version": "5.3"},
                "parent_header": {},
                "metadata": {},
                "content": {"code": code, "silent": False, "stop_on_error": True},
            }
        )
    )
    outputs = []
    while True:
        message = json.loads(channel.recv())
        if message["parent_header"].get("msg_id") != message_id:
            continue
        if message["msg_type"] in ("stream", "execute_result", "display_data", "error"):
            outputs.append({"type": message["msg_type"], **message["content"]})
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return outputs


def test_a_jupyter_server_opens_and_runs_a_generated_notebook(server):
    path = "notebooks/attention/self-attention.ipynb"
    notebook = nbformat.from_dict(api(server, f"contents/{path}")["content"])
    assert notebook.metadata.kernelspec.name == "python3"
    session = api(
        server,
        "sessions",
        {"path": path, "type": "notebook", "name": path, "kernel": {"name": "python3"}},
    )
    url, token = server
    channel = websocket.create_connection(
        f"ws{url.removeprefix('http')}api/kernels/{session['kernel']['id']}/channels",
        header={"Authorization": f"token {token}"},
        timeout=120,
    )
    verdicts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            outputs = execute(channel, cell.source)
            errors = [output for output in outputs if output["type"] == "error"]
            assert not errors, "\n".join(errors[0]["traceback"])
            verdicts += [
                output["data"]["text/plain"].splitlines()[0]
                for output in outputs
                if "check." in cell.source and "data" in output
            ]
    channel.close()
    assert any(verdict.startswith("✓") for verdict in verdicts)
    assert any("not attempted" in verdict for verdict in verdicts)
    assert not any(verdict.startswith("✗") for verdict in verdicts)
