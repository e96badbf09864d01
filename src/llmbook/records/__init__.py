"""Recorded results of the runs that are too long for a page.

`load_record` reads what ``make experiment NAME=…`` wrote into this folder: the numbers, and where
they come from (configuration, versions, hardware, wall time).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Run:
    """One run of an experiment: its configuration, wall-clock seconds and recorded results."""

    config: dict[str, Any]
    seconds: float
    results: list[dict[str, Any]]


@dataclass(frozen=True)
class Record:
    """All runs of an experiment, by name, with the date, versions and hardware of the recording."""

    date: str
    versions: dict[str, str]
    hardware: str
    runs: dict[str, Run]


def load_record(name: str) -> Record:
    """Return the record of the experiment ``experiments/<name>.py``.

    Raises
    ------
    ValueError
        If there is no record of that name.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.json"))) or "none"
        raise ValueError(f"name must be a recorded experiment ({known}), got {name!r}")
    content = json.loads(path.read_text("utf-8"))
    content["runs"] = {key: Run(**run) for key, run in content["runs"].items()}
    return Record(**content)
