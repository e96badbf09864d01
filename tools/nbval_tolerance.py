"""A pytest plugin: nbval that compares text exactly and the numbers in it within a tolerance.

::

    pytest -p nbval_tolerance --nbval notebooks

**Numbers.** Outputs are cut into text and numbers. Text has to agree exactly, and so have integers.
Two numbers with a fractional part or an exponent agree when they are printed in the same form
(decimals, exponent, leading plus sign) and differ by no more than

    ``rtol`` × the larger magnitude + ``atol`` + one unit of the last printed digit.

- ``rtol`` is `RTOL` unless the cell says otherwise.
- ``atol`` is `ATOL`, some hundred times the spacing of float64 at 1 (2.2e-16): what a sum of
  ordinary length leaves of an exact zero. Without it ``0.9e-16`` and ``1.2e-16`` would differ by a
  third. Residues of float32 are far larger, and so are numbers that mean something: a cell that
  prints such residues states its own ``atol``.
- The unit is needed because values on either side of a rounding boundary print differently however
  close they are. Where one of the two has `FULL_PRECISION` digits or more, both are printed in
  full, and how many digits that takes is chance, not form.

A number is not part of a word (``float32``, ``v2.5``, a hash, a color) nor of a dotted sequence (a
version, an address); ``nan`` and ``inf`` are words. In an aligned column the spaces before a number
may make up for its width.

**Cells** say what they need in their metadata: ``llmbook: {rtol: 1e-3, why: "trains a network"}``.
An ``rtol`` above `LOOSEST_RTOL`, or an ``atol`` above `ATOL`, needs the reason ``why``. In a cell
tagged ``timing`` any number agrees with any other, and only the form is compared.

**Outputs.** JSON, such as a Plotly figure, is compared number by number, arrays decoded. Images are
left out, since the notebooks do not hold them; everything else in the same output is compared. A
missing or additional output fails, and so does a cell that was never executed: nbval alone would
pass it.

**Kernels** talk through Unix sockets in a directory of their own. Over TCP a kernel's five ports
are chosen, released, and bound by the kernel half a second later; when two start together, one can
take a port chosen for the other, which then dies ("Address already in use"), and its client may
wait for ever.
"""

import base64
import itertools
import math
import os
import re
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jupyter_client.manager import KernelManager
from nbval.cover import setup_coverage
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager, RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile

RTOL = 1e-6
ATOL = 1e-13
LOOSEST_RTOL = 1e-4
FULL_PRECISION = 15  # significant digits; the repr of a float64 mostly has 16 or 17
SHOWN = 5  # differences reported for a cell

# Words, colors and dotted sequences come first: the digits in them are text. An exponent needs its
# sign, as every Python format writes it, lest chunks of hashes such as 12e5 become numbers.
_TOKEN = re.compile(
    r"""
    \#\w+ | [^\W\d]\w*(?:\.\d+)* | \d+(?:\.\d+){2,}
    | (?P<number>
        (?:(?<![\w)\]])[-+\u2212])?
        (?:\d{1,3}(?:,\d{3})+(?!\d) | \d+)
        (?:\.\d+ | \.(?=e[-+]\d{1,3}(?!\d)))?
        (?:e[-+]\d{1,3}(?!\d))?
      )
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Tolerance:
    """How far numbers may be apart; with ``timing`` they may be anything.

    Attributes
    ----------
    rtol
        Relative to the larger of two magnitudes.
    atol
        Absolute, in the unit of the numbers.
    timing
        Compare the form only.
    """

    rtol: float = RTOL
    atol: float = ATOL
    timing: bool = False

    def __str__(self) -> str:
        return f"rtol {self.rtol:g}, atol {self.atol:g}"


@dataclass(frozen=True)
class Difference:
    """One place where a stored and a new output disagree."""

    where: str
    stored: str
    new: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}\n  stored: {self.stored}\n  new:    {self.new}"


@dataclass(frozen=True)
class Number:
    """A number as printed: its value, one unit of its last digit, and its form."""

    value: Decimal
    unit: Decimal
    decimals: int
    exponent: bool
    full: bool  # printed with all the digits that a float64 has

    @property
    def is_integer(self) -> bool:
        return not self.decimals and not self.exponent


def parse_number(text: str) -> Number:
    """Read a number that `_TOKEN` found.

    Examples
    --------
    >>> parse_number("-1.50e-03").unit
    Decimal('0.00001')
    """
    value = Decimal(text.replace(",", "").replace("\u2212", "-"))
    mantissa, exponent, _ = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    digits = re.sub(r"\D", "", mantissa).lstrip("0")
    return Number(
        value=value,
        unit=Decimal((0, (1,), int(value.as_tuple().exponent))),
        decimals=decimals,
        exponent=bool(exponent),
        full=decimals > 0 and len(digits) >= FULL_PRECISION,
    )


def split_numbers(line: str) -> tuple[list[str], list[str]]:
    """Cut a line into its numbers and the text around them (one piece more than numbers).

    Examples
    --------
    >>> split_numbers("float32: 0.5 of 12")
    (['float32: ', ' of ', ''], ['0.5', '12'])
    """
    texts, numbers, end = [], [], 0
    for match in _TOKEN.finditer(line):
        if match["number"]:
            texts.append(line[end : match.start()])
            numbers.append(match["number"])
            end = match.end()
    return [*texts, line[end:]], numbers


def compare_printed(stored: str, new: str, tolerance: Tolerance) -> str | None:
    """Say what is wrong with one printed number against another, or None."""
    if stored == new:
        return None
    a, b = parse_number(stored), parse_number(new)
    if a.is_integer and b.is_integer:
        return None if a.value == b.value else f"integer {stored} became {new}"
    # A leading plus is form, but what rounds to zero may have either sign.
    signs = {stored[0], new[0]}
    same_sign = "+" not in signs or len(signs) == 1 or not signs.isdisjoint("-\u2212")
    same_form = (
        not a.is_integer
        and not b.is_integer
        and (a.full or b.full or (a.decimals, a.exponent) == (b.decimals, b.exponent))
        and same_sign
    )
    if not same_form:
        return f"{stored} and {new} are printed in different forms"
    larger = max(abs(a.value), abs(b.value))
    unit = min(a.unit, b.unit)
    allowed = Decimal(tolerance.rtol) * larger + Decimal(tolerance.atol) + unit
    off = abs(a.value - b.value)
    if off <= allowed:
        return None
    return (
        f"{stored} became {new}, off by {off:.3g}, "
        f"allowed {allowed:.3g} ({tolerance} and {unit:g} for rounding)"
    )


def compare_line(stored: str, new: str, tolerance: Tolerance) -> str | None:
    """Say where two lines disagree, or None."""
    if stored == new:
        return None
    texts, numbers = split_numbers(stored)
    new_texts, new_numbers = split_numbers(new)
    if tolerance.timing:
        # Columns shift with the width of a timing, so spaces beside a number are not compared.
        texts, new_texts = ([text.strip(" ") for text in side] for side in (texts, new_texts))
        return None if texts == new_texts else "the text differs"
    if len(numbers) != len(new_numbers) or texts[-1] != new_texts[-1]:
        return "the text differs"
    pairs = list(zip(texts, new_texts, numbers, new_numbers, strict=False))
    for text, new_text, number, new_number in pairs:
        aligned = len(text + number) == len(new_text + new_number)
        if text != new_text and not (aligned and text.rstrip(" ") == new_text.rstrip(" ")):
            return "the text differs"
    faults = (compare_printed(number, new_number, tolerance) for *_, number, new_number in pairs)
    return next((fault for fault in faults if fault), None)


def compare_text(stored: str, new: str, tolerance: Tolerance, where: str) -> Iterator[Difference]:
    """Yield the lines of two texts that disagree."""
    if stored == new:
        return
    lines = itertools.zip_longest(stored.split("\n"), new.split("\n"))
    for number, (line, new_line) in enumerate(lines, start=1):
        place = f"{where}, line {number}"
        if line is None:
            yield Difference(place, "(no such line)", new_line, "additional line")
        elif new_line is None:
            yield Difference(place, line, "(no such line)", "missing line")
        elif why := compare_line(line, new_line, tolerance):
            yield Difference(place, line, new_line, why)


def decode_array(value: Any) -> Any:
    """Turn Plotly's encoding of an array, ``{dtype, bdata, shape}``, into nested lists.

    Anything else is returned as it is. ``shape`` is a string such as ``"2, 3"``; without it the
    array has one dimension. The numbers are little-endian, and ``u1c`` are bytes as well.
    """
    if not (isinstance(value, dict) and {"dtype", "bdata"} <= value.keys()):
        return value
    dtype = np.dtype("u1" if value["dtype"] == "u1c" else value["dtype"]).newbyteorder("<")
    array = np.frombuffer(base64.b64decode(value["bdata"]), dtype)
    shape = str(value.get("shape", array.size)).strip("[]()").split(",")
    return array.reshape([int(size) for size in shape]).tolist()


def compare_json(stored: Any, new: Any, tolerance: Tolerance, where: str) -> Iterator[Difference]:
    """Yield the places where two JSON values disagree, each with its path."""
    stored, new = decode_array(stored), decode_array(new)
    if isinstance(stored, dict) and isinstance(new, dict):
        for key in {**stored, **new}:
            path = f"{where}.{key}"
            if key not in new:
                yield Difference(path, _short(stored[key]), "(nothing)", "missing")
            elif key not in stored:
                yield Difference(path, "(nothing)", _short(new[key]), "additional")
            else:
                yield from compare_json(stored[key], new[key], tolerance, path)
    elif isinstance(stored, list) and isinstance(new, list):
        if len(stored) != len(new):
            why = f"{len(stored)} elements became {len(new)}"
            yield Difference(where, _short(stored), _short(new), why)
            return
        for index, (element, new_element) in enumerate(zip(stored, new, strict=True)):
            yield from compare_json(element, new_element, tolerance, f"{where}[{index}]")
    elif isinstance(stored, str) and isinstance(new, str):
        yield from compare_text(stored, new, tolerance, where)
    elif _is_number(stored) and _is_number(new):
        if apart := compare_values(stored, new, tolerance):
            yield Difference(where, repr(stored), repr(new), apart)
    elif type(stored) is not type(new) or stored != new:
        yield Difference(where, _short(stored), _short(new), "the values differ")


def compare_values(stored: float, new: float, tolerance: Tolerance) -> str | None:
    """Say by how much two numbers of a JSON value are apart, or None: integers exactly."""
    if stored == new:
        return None
    if isinstance(stored, int) and isinstance(new, int):
        return None if tolerance.timing else "the integers differ"
    if not (math.isfinite(stored) and math.isfinite(new)):
        return None if math.isnan(stored) and math.isnan(new) else "the values differ"
    if tolerance.timing:
        return None
    off = abs(stored - new)
    allowed = tolerance.rtol * max(abs(stored), abs(new)) + tolerance.atol
    return None if off <= allowed else f"off by {off:.3g}, allowed {allowed:.3g} ({tolerance})"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def gather(outputs: list[Any]) -> dict[str, list[Any]]:
    """Group what a cell put out by kind: stream name, MIME type, or ``error``.

    The order of outputs of one kind is kept. That of different kinds is not, as in nbval: two
    streams reach the notebook in no certain order.
    """
    kinds: dict[str, list[Any]] = defaultdict(list)
    for output in outputs:
        if output["output_type"] == "stream":
            kinds[output["name"]].append(output["text"])
        elif output["output_type"] == "error":
            kinds["error"].append(f"{output['ename']}: {output['evalue']}")
        else:
            for mime, value in output["data"].items():
                # The identifiers of widgets are random.
                if not mime.startswith(("image/", "application/vnd.jupyter.widget-view")):
                    kinds[mime].append(value)
    # However many chunks a stream came in, it is one text.
    return {
        kind: ["".join(values)] if kind in ("stdout", "stderr") else values
        for kind, values in kinds.items()
    }


def compare_outputs(
    stored: list[Any], new: list[Any], tolerance: Tolerance
) -> Iterator[Difference]:
    """Yield the differences between the stored and the new outputs of a cell."""
    before, after = gather(stored), gather(new)
    for kind in sorted(before.keys() | after.keys()):
        values, new_values = before.get(kind, []), after.get(kind, [])
        for index, (value, new_value) in enumerate(itertools.zip_longest(values, new_values)):
            where = kind if max(len(values), len(new_values)) == 1 else f"{kind} {index + 1}"
            if index >= len(new_values):
                yield Difference(where, _short(value), "(no such output)", "missing output")
            elif index >= len(values):
                yield Difference(where, "(no such output)", _short(new_value), "additional output")
            elif isinstance(value, str) and isinstance(new_value, str):
                yield from compare_text(value, new_value, tolerance, where)
            else:
                yield from compare_json(value, new_value, tolerance, where)


def read_tolerance(metadata: dict[str, Any]) -> Tolerance:
    """Read what a cell's metadata say about its tolerance.

    Raises
    ------
    ValueError
        For an unknown key, a tolerance that is none, or a loose one without a reason.
    """
    settings = metadata.get("llmbook", {})
    if not isinstance(settings, dict):
        raise ValueError(f"metadata llmbook: got {settings!r}, expected a mapping")
    if unknown := settings.keys() - {"rtol", "atol", "why"}:
        raise ValueError(f"metadata llmbook: unknown {sorted(unknown)}, expected rtol, atol or why")
    values = {}
    for name, default in (("rtol", RTOL), ("atol", ATOL)):
        value = settings.get(name, default)
        # YAML takes 1e-4, without a decimal point, for a string.
        try:
            values[name] = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            values[name] = math.nan
        if not 0 <= values[name] < 1:
            raise ValueError(f"metadata llmbook.{name}: got {value!r}, expected a number in [0, 1)")
    why = settings.get("why", "")
    if not isinstance(why, str):
        raise ValueError(f"metadata llmbook.why: got {why!r}, expected a text")
    for name, limit in (("rtol", LOOSEST_RTOL), ("atol", ATOL)):
        if values[name] > limit and not why.strip():
            raise ValueError(
                f"metadata llmbook.{name}: {values[name]:g} is looser than {limit:g}; "
                "say why beside it"
            )
    return Tolerance(**values, timing="timing" in metadata.get("tags", []))


class Kernel(RunningKernel):
    """nbval's kernel, over Unix sockets where there are any, with its stderr kept for errors."""

    def __init__(self, kernel_name: str, cwd: str, startup_timeout: float) -> None:
        # Not the usual directory for temporary files, which may be too long for a socket's path.
        root = "/tmp" if Path("/tmp").is_dir() else None
        self.directory = Path(tempfile.mkdtemp(prefix="nbval-", dir=root))
        self.km = KernelManager(
            kernel_name=kernel_name, kernel_spec_manager=NbvalKernelspecManager()
        )
        if sys.platform != "win32":
            self.km.transport = "ipc"
            self.km.ip = str(self.directory / "kernel")
        errors = self.directory / "stderr"
        try:
            with errors.open("wb") as stderr:
                # A progress bar writes what no two runs agree on.
                environment = {**os.environ, "TQDM_DISABLE": "1"}
                self.km.start_kernel(cwd=cwd, stderr=stderr, env=environment)
            self.kc = self.km.client()
            self.kc.start_channels()
            self.kc.wait_for_ready(timeout=startup_timeout)
            self._ensure_iopub_up()
        except Exception as error:
            tail = errors.read_text(errors="replace")[-2000:]
            self.stop()
            raise RuntimeError(f"kernel {kernel_name!r}: {error}\n{tail}") from error

    def stop(self) -> None:
        if not hasattr(self, "km"):
            return
        if hasattr(self, "kc"):
            self.kc.stop_channels()
        if self.km.has_kernel:
            self.km.shutdown_kernel(now=True)
        del self.km  # nbval takes a kernel without a manager for a stopped one
        shutil.rmtree(self.directory, ignore_errors=True)


class ToleranceCell(IPyNbCell):
    """A code cell whose numbers are compared within its tolerance."""

    tolerance: Tolerance

    def runtest(self) -> None:
        super().runtest()
        never_executed = self.cell.execution_count is None and self.cell.source.strip()
        if never_executed and not self.config.option.nbval_lax:
            self.raise_cell_error(
                f"{self.parent.nodeid}: never executed in the stored notebook, which is incomplete"
            )

    def compare_outputs(self, test: Any, ref: Any, skip_compare: Any = None) -> bool:
        stored, new = self.sanitize_outputs(ref), self.sanitize_outputs(test)
        differences = list(compare_outputs(stored, new, self.tolerance))
        self.comparison_traceback = [
            f"{self.parent.nodeid}, {self.name}, {difference}" for difference in differences[:SHOWN]
        ]
        if len(differences) > SHOWN:
            self.comparison_traceback.append(f"… and {len(differences) - SHOWN} more differences")
        return not differences


class ToleranceFile(IPyNbFile):
    """A notebook whose cells are `ToleranceCell`."""

    def setup(self) -> None:
        option = self.config.option
        if option.nbval_current_env:
            name = CURRENT_ENV_KERNEL_NAME
        else:
            stored = self.nb.metadata.get("kernelspec", {}).get("name", "python")
            name = option.nbval_kernel_name or stored
        self.kernel = Kernel(name, str(self.path.parent), option.nbval_kernel_startup_timeout)
        self.setup_sanitize_files()
        if getattr(option, "cov_source", None):
            setup_coverage(self.config, self.kernel, str(self.path))

    def teardown(self) -> None:
        super().teardown()
        if self.kernel is not None:
            self.kernel.stop()  # nbval leaves what a dead kernel has left behind

    def collect(self) -> list[ToleranceCell]:
        cells, faults = [], []
        for plain in super().collect():
            cell = ToleranceCell.from_parent(
                self,
                name=plain.name,
                cell_num=plain.cell_num,
                cell=plain.cell,
                options=plain.options,
            )
            cells.append(cell)
            try:
                cell.tolerance = read_tolerance(plain.cell.metadata)
            except ValueError as error:
                faults.append(f"{self.nodeid}, {plain.name}: {error}")
        if faults:
            raise self.CollectError("\n".join(faults))
        return cells


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Any:
    """Put `ToleranceFile` where nbval collected a notebook."""
    collectors = yield
    return [
        ToleranceFile.from_parent(parent, path=file_path) if type(found) is IPyNbFile else found
        for found in collectors
    ]
