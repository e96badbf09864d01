"""Experiments are resumable, refuse what is not a number, and their records can be reproduced."""

import importlib
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import run as runner
import torch

from llmbook import records

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENT = """\
RUNS = {"first": {"seed": 1}, "second": {"seed": 2}}
REPLAY = 2


def run(config):
    with open(LOG, "a") as log:
        log.write(f"{config['seed']}\\n")
    for step in range(3):
        yield {"step": step, "loss": config["seed"] / 3, "by position": [0.1, 1 / (step + FIRST)]}
"""


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Make an experiment of that name loadable; return a function that records it."""
    log = tmp_path / "log"

    def record(first=1):
        code = EXPERIMENT.replace("LOG", repr(str(log))).replace("FIRST", str(first))
        path = tmp_path / "sample.py"
        path.write_text(code)
        spec = importlib.util.spec_from_file_location("sample", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(runner, "load", lambda name: module)
        log.write_text("")
        threads = torch.get_num_threads()
        try:
            written = runner.record("sample", kept=tmp_path / "kept", records=tmp_path / "records")
        finally:
            torch.set_num_threads(threads)
        return written, log.read_text().split()

    return record


def test_a_record_holds_results_and_where_they_come_from(experiment, monkeypatch):
    path, started = experiment()
    assert started == ["1", "2"]
    monkeypatch.setattr(records, "FOLDER", path.parent)
    record = records.load_record("sample")
    assert record.runs["second"].config == {"seed": 2}
    assert record.runs["second"].results[1] == {
        "step": 1,
        "loss": 0.66666667,
        "by position": [0.1, 0.5],
    }
    assert record.versions["torch"] == torch.__version__
    assert record.hardware
    assert record.runs["first"].seconds >= 0


def test_finished_runs_are_kept_after_an_interruption(experiment):
    with pytest.raises(ZeroDivisionError):
        experiment(first=0)
    path, started = experiment()
    assert started == ["1", "2"]  # other code: nothing is kept
    path.unlink()
    assert experiment()[1] == []
    assert path.is_file()
    next((path.parent.parent / "kept" / "sample").glob("*.json")).unlink()
    assert len(experiment()[1]) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "text", None, {"a": [None]}])
def test_only_finite_numbers_are_recorded(value):
    with pytest.raises(ValueError, match="a result must be made of"):
        runner.rounded({"loss": value})


def test_an_unknown_experiment_is_named():
    done = subprocess.run(
        [sys.executable, "experiments/run.py", "nothing"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "NAME must be one of" in done.stderr


def test_an_unknown_record_is_named():
    with pytest.raises(ValueError, match="name must be a recorded experiment"):
        records.load_record("nothing")


def test_every_experiment_has_a_record_and_every_record_an_experiment():
    assert [path.stem for path in sorted(records.FOLDER.glob("*.json"))] == runner.names()


def test_every_record_is_shown_on_a_page():
    pages = "\n".join(path.read_text("utf-8") for path in (ROOT / "book").rglob("*.md"))
    assert set(re.findall(r'load_record\("(\w+)"\)', pages)) == set(runner.names())


@pytest.mark.parametrize("name", runner.names())
def test_the_first_steps_of_every_run_come_out_as_recorded(name):
    module = runner.load(name)
    record = records.load_record(name)
    assert {key: run.config for key, run in record.runs.items()} == json.loads(
        json.dumps(module.RUNS)
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for key, recorded in record.runs.items():
            results = list(itertools.islice(module.run(recorded.config), module.REPLAY))
            assert len(results) == module.REPLAY > 0
            for got, expected in zip(results, recorded.results, strict=False):
                assert got.keys() == expected.keys(), key
                for quantity, value in expected.items():
                    again = np.array(got[quantity], dtype=float)
                    assert again == pytest.approx(np.array(value), rel=1e-4), (key, quantity)
    finally:
        torch.set_num_threads(threads)
