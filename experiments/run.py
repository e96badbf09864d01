"""Run an experiment and record it.

    make experiment NAME=context_extension

An experiment is a module beside this one with

- ``RUNS``: name of each run → its configuration, plain values only, the seed among them;
- ``run(config)``: yields one dictionary of numbers (or lists of numbers) after another, the same
  every time;
- ``REPLAY``: how many of the first dictionaries of each run the tests compute again.

A finished run is kept in ``_build/experiments``: after an interruption the next call goes on with
the first unfinished run. When all are finished, the record is written to ``src/llmbook/records``.
"""

import argparse
import datetime
import hashlib
import importlib
import json
import math
import os
import platform
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "src" / "llmbook" / "records"
KEPT = ROOT / "_build" / "experiments"
DIGITS = 8  # significant digits of a recorded number; float32 has seven


def load(name: str) -> ModuleType:
    """Import the experiment and make sure that it defines what it has to."""
    if not (Path(__file__).parent / f"{name}.py").is_file() or name == "run":
        raise SystemExit(f"NAME must be one of {', '.join(names())}; got {name!r}")
    module = importlib.import_module(name)
    for needed in ("RUNS", "run", "REPLAY"):
        if not hasattr(module, needed):
            raise SystemExit(f"experiments/{name}.py does not define {needed}")
    return module


def names() -> list[str]:
    """Return the names of all experiments."""
    here = Path(__file__)
    return sorted(path.stem for path in here.parent.glob("*.py") if path != here)


def rounded(value: Any) -> Any:
    """Round the numbers of a result to what is recorded; anything but finite numbers is refused."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a result must be made of finite numbers, got {value}")
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, int):
        return value
    raise ValueError(f"a result must be made of numbers and lists of them, got {value!r}")


def write(path: Path, content: Any, indent: int | None = None) -> None:
    """Write JSON beside the file and rename: an interruption leaves no half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + f".{os.getpid()}")
    beside.write_text(json.dumps(content, indent=indent) + "\n", "utf-8")
    beside.replace(path)


def source(module: ModuleType) -> str:
    """Return the code of an experiment: its module, and what it takes from pages."""
    assert module.__file__ is not None
    pages = [v.source for v in vars(module).values() if isinstance(v, SimpleNamespace)]
    return "\n".join([Path(module.__file__).read_text("utf-8"), *pages])


def digest(config: Any, code: str) -> str:
    """Return a digest of what the results of a run depend on: its configuration and the code."""
    return hashlib.sha256(json.dumps([config, code], sort_keys=True).encode()).hexdigest()[:16]


def hardware() -> str:
    """Name the processor and, if there is one, the GPU."""
    import torch

    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [
            line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        processor = models[0].partition(":")[2].strip() if models else processor
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}, one thread{gpu}"


def record(name: str, kept: Path = KEPT, records: Path = RECORDS) -> Path:
    """Do the runs of an experiment that are not yet done, and return the path of its record."""
    import numpy
    import torch
    from tqdm import tqdm

    torch.set_num_threads(1)
    module = load(name)
    code = source(module)
    runs = {}
    for key, config in module.RUNS.items():
        path = kept / name / f"{digest([key, config], code)}.json"
        if not path.is_file():
            start = time.perf_counter()
            results = [rounded(result) for result in tqdm(module.run(config), desc=key)]
            seconds = round(time.perf_counter() - start, 1)
            write(path, {"config": config, "seconds": seconds, "results": results})
        runs[key] = json.loads(path.read_text("utf-8"))
    content = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
        "hardware": hardware(),
        "runs": runs,
    }
    path = records / f"{name}.json"
    write(path, content)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run an experiment and record it.")
    parser.add_argument("name", help=", ".join(names()))
    print(record(parser.parse_args().name).relative_to(ROOT))
    sys.exit(0)
