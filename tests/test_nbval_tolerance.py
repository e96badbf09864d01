"""The pytest plugin that compares stored notebooks with what they give now."""

import base64
import copy
import doctest
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat import v4

import nbval_tolerance
from nbval_tolerance import (
    ATOL,
    CURRENT_ENV_KERNEL_NAME,
    RTOL,
    Kernel,
    Tolerance,
    compare_json,
    compare_line,
    compare_outputs,
    compare_text,
    decode_array,
    read_tolerance,
    split_numbers,
)

TOOLS = Path(nbval_tolerance.__file__).parent
PLOTLY = "application/vnd.plotly.v1+json"
DEFAULT = Tolerance()
TIMING = Tolerance(timing=True)


def agree(stored: str, new: str, tolerance: Tolerance = DEFAULT) -> bool:
    """Whether two lines agree, which must not depend on which of them is stored."""
    there = compare_line(stored, new, tolerance) is None
    assert (compare_line(new, stored, tolerance) is None) == there
    return there


def test_the_examples_in_the_docstrings_hold():
    result = doctest.testmod(nbval_tolerance)
    assert result.attempted >= 2
    assert result.failed == 0


# Lines


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("loss 1.2345678", "loss 1.2345679"),
        ("loss 1234.56789012", "loss 1234.56812345"),  # 2e-7, far more than the last digit
        ("loss 0.124", "loss 0.123"),  # 0.1234999 and 0.1235001
        ("off by 1.2e-16", "off by 0.9e-16"),
        ("off by 1.2e-16", "off by -9.9e-17"),
        ("[ 0.0000, 1.0000]", "[-0.0000, 1.0000]"),
        ("+0.000", "-0.000"),
        ("−0.50", "-0.50"),  # both minus signs are signs
        ("9.99e-06 s", "1.00e-05 s"),
        ("  9.999 bits", " 10.000 bits"),
        ("1,234,567.8 FLOP/s", "1,234,568.1 FLOP/s"),
        ("[1.e-05 2.e+00]", "[1.e-05 2.e+00]"),
        ("0.3", "0.30000000000000004"),
        ("0.0", "1.2246467991473532e-16"),
        ("<td>0.12345678</td>", "<td>0.12345679</td>"),
        (r"$1.234 \times 10^{-5}$", r"$1.235 \times 10^{-5}$"),
        ("nan inf -inf", "nan inf -inf"),
    ],
)
def test_drift_within_the_tolerance_passes(stored, new):
    assert agree(stored, new)


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("loss 0.12345", "cost 0.12345"),
        ("loss 1.23456789", "loss 1.23457123"),  # 2.7e-6
        ("loss 0.123", "loss 0.125"),
        ("loss 0.5", "loss 0.50"),
        ("loss 0.5", "loss 5.0e-01"),
        ("loss +0.5", "loss 0.5"),
        ("loss 0.5", "loss -0.5"),
        ("loss 0.5", "loss nan"),
        ("loss inf", "loss -inf"),
        ("loss 0.5", "loss 0.5 0.5"),
        ("loss  0.5", "loss 0.5"),
        ("off by 1.2e-10", "off by 0.9e-10"),
        ("3 heads", "4 heads"),
        ("3 heads", "3.0 heads"),
        ("1000000 parameters", "1000001 parameters"),
        ("1,000,000 parameters", "1,000,001 parameters"),
        ("The answer is 3.", "The answer is 4."),
        ("[1. 2.]", "[1. 3.]"),
        ("torch.float32", "torch.float64"),
        ("model v2.5", "model v2.6"),
        ("torch 2.13.0", "torch 2.14.0"),
        ("#0000e1", "#0000e2"),
        ("00e12fab", "00e13fab"),
        ("2023-10-05", "2023-10-06"),
        ("0.0e+1000000", "1.0e+1000000"),
        ("<td>1.5</td>", "<th>1.5</th>"),
    ],
)
def test_what_differs_fails(stored, new):
    assert not agree(stored, new)


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("d_k = 64, float32", ["64"]),
        ("1.5 -2.5 3-4 (x)-5", ["1.5", "-2.5", "3", "4", "5"]),
        ("12.5ms, 3.4GB and 50%", ["12.5", "3.4", "50"]),
        ("1,234.5 1,2345", ["1,234.5", "1", "2345"]),
        ("1e-05 1e5 2.E+3", ["1e-05", "1", "2.E+3"]),
        ("0x7f3a 1_000", ["0", "1"]),
        ("v1.5 1.2.3 #1f77b4 x2", []),
    ],
)
def test_numbers_are_told_from_text(line, numbers):
    texts, found = split_numbers(line)
    assert found == numbers
    assert "".join(a + b for a, b in zip(texts, [*found, ""], strict=True)) == line


def test_the_tolerance_is_the_sum_that_the_docstring_states():
    """At 1000 with six decimals: 1e-3 for rtol and 1e-6 for rounding."""
    assert agree("1000.000000", "1000.001000")
    assert not agree("1000.000000", "1000.001003")
    assert agree("1000.000000", "1000.900000", Tolerance(rtol=1e-3))
    assert agree("1.19e-07", "2.38e-07", Tolerance(atol=1e-6))
    assert not agree("1.19e-07", "2.38e-07")


def test_a_fault_says_by_how_much():
    fault = compare_line("loss 0.123", "loss 0.127", DEFAULT)
    assert fault is not None
    assert "0.123 became 0.127, off by 0.004, allowed 0.00100" in fault
    assert "rtol 1e-06, atol 1e-13 and 0.001 for rounding" in fault
    assert "integer 3 became 4" in (compare_line("3", "4", DEFAULT) or "")


@pytest.mark.parametrize(
    ("stored", "new", "same"),
    [
        ("took 9.87 s", "took 12.3 s", True),
        ("took 9.87 s", "took 12 s", True),
        ("took 9.87 s", "took 1.2e-05 s", True),
        ("    9.87 |   1,024.00", "   10.02 |     999.10", True),
        ("took 9.87 s", "took 9.87 ms", False),
        ("took 9.87 s", "lasted 9.87 s", False),
        ("took 9.87 s", "took nan s", False),
        ("took 9.87 s", "took s", False),
        ("float32: 9.87 s", "float64: 9.87 s", False),
    ],
)
def test_timings_are_compared_in_form_only(stored, new, same):
    assert agree(stored, new, TIMING) is same


def test_a_difference_shows_place_and_both_lines():
    (difference,) = compare_text("a\nb 0.5\n", "a\nb 0.7\n", DEFAULT, "stdout")
    assert str(difference).startswith("stdout, line 2: 0.5 became 0.7, off by 0.2")
    assert str(difference).endswith("  stored: b 0.5\n  new:    b 0.7")


@pytest.mark.parametrize(("stored", "new"), [("a\nb", "a"), ("a", "a\nb"), ("a\n", "a")])
def test_another_number_of_lines_fails(stored, new):
    assert [d.where for d in compare_text(stored, new, DEFAULT, "stdout")] == ["stdout, line 2"]


_texts = st.lists(
    st.one_of(
        st.text(max_size=5),
        st.sampled_from([" ", "  ", "-", "+", ",", ".", "e-", "nan", "inf", "x", "_", "#", "\n"]),
        st.integers().map(str),
        st.floats().map(repr),
        st.floats(-1e9, 1e9).map("{:,.3f}".format),
        st.floats().map("{:+.2e}".format),
    ),
    max_size=12,
).map("".join)


@given(_texts, st.sampled_from([DEFAULT, TIMING]))
def test_any_text_agrees_with_itself(text, tolerance):
    assert list(compare_text(text, text, tolerance, "stdout")) == []
    for line in text.split("\n"):
        # Lines that are not equal, so that no short cut is taken.
        assert agree(f"{line} 0.25", f"{line} 0.26", tolerance)
        assert not agree(f"{line} 0.25 a", f"{line} 0.25 b", tolerance)


@given(_texts, _texts)
def test_the_comparison_is_symmetric(stored, new):
    for a, b in zip(stored.split("\n"), new.split("\n"), strict=False):
        for tolerance in (DEFAULT, TIMING):
            there, back = compare_line(a, b, tolerance), compare_line(b, a, tolerance)
            assert (there is None) == (back is None)


@given(
    st.floats(1e-9, 1e9),
    st.floats(-1e-7, 1e-7),
    st.sampled_from(["{:.1f}", "{:.3f}", "{:24.6f}", "{:+.4f}", "{:.2e}", "{:+.9e}", "{:.15e}"]),
    st.sampled_from([1, -1]),
)
def test_what_is_printed_of_close_values_agrees(value, drift, form, sign):
    assert agree(form.format(sign * value), form.format(sign * value * (1 + drift)))


@given(st.integers(1, 1000), st.integers(1, 1000), st.sampled_from([-1, 1]))
def test_the_repr_of_neighboring_values_agrees(numerator, denominator, direction):
    value = numerator / denominator
    assert agree(repr(value), repr(float(np.nextafter(value, direction * np.inf))))


@given(st.floats(1e-6, 1e9), st.floats(1e-5, 1e-1))
def test_what_is_printed_of_distant_values_differs(value, drift):
    assert not agree(f"{value:.12e}", f"{value * (1 + drift):.12e}")


@given(st.integers(), st.integers())
def test_integers_are_compared_exactly(stored, new):
    assert agree(f"n = {stored}", f"n = {new}") is (stored == new)


# JSON


def typed(array: Any, dtype: str) -> dict[str, Any]:
    """Encode a NumPy array as Plotly 6 and later do."""
    array = np.asarray(array, dtype)
    encoded = {"dtype": dtype, "bdata": base64.b64encode(array.tobytes()).decode()}
    if array.ndim > 1:
        encoded["shape"] = ", ".join(map(str, array.shape))
    return encoded


FIGURE = {
    "data": [
        {"type": "scatter", "name": "loss", "x": typed([1, 2, 3], "i1"), "y": [0.5, None, 0.25]},
        {"type": "heatmap", "z": typed([[0.1, 0.2], [0.3, np.nan]], "f8")},
    ],
    "layout": {"title": {"text": "Loss 0.25 nats"}, "showlegend": True},
}


def changed(path: list[Any], value: Any) -> Any:
    """`FIGURE` with one value replaced."""
    figure = copy.deepcopy(FIGURE)
    inner: Any = figure
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return figure


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["data", 0, "y"], [0.5000001, None, 0.25]),
        (["data", 1, "z"], typed([[0.1, 0.20000001], [0.3, np.nan]], "f8")),
        (["data", 0, "x"], [1, 2, 3]),  # how an array is encoded is not what it shows
        (["layout", "title", "text"], "Loss 0.26 nats"),
    ],
)
def test_a_drifted_figure_passes(path, value):
    assert list(compare_json(FIGURE, changed(path, value), DEFAULT, "figure")) == []


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (["data", 0, "y"], [0.5, None, 0.2501], "figure.data[0].y[2]"),
        (["data", 0, "y"], [0.5, 0.3, 0.25], "figure.data[0].y[1]"),
        (["data", 0, "y"], typed([0.5, np.nan, 0.25], "f8"), "figure.data[0].y[1]"),
        (["data", 0, "y"], [0.5, None], "figure.data[0].y"),
        (["data", 0, "x"], typed([1, 2, 4], "i1"), "figure.data[0].x[2]"),
        (["data", 0, "name"], "cost", "figure.data[0].name, line 1"),
        (["data", 0, "mode"], "lines", "figure.data[0].mode"),
        (["data", 1, "z"], typed([[0.1, 0.2], [0.4, np.nan]], "f8"), "figure.data[1].z[1][0]"),
        (["data", 1, "z"], typed([[0.1, 0.2], [0.3, 0.4]], "f8"), "figure.data[1].z[1][1]"),
        (["data", 1, "z"], typed([0.1, 0.2, 0.3, np.nan], "f8"), "figure.data[1].z"),
        (["layout", "showlegend"], False, "figure.layout.showlegend"),
        (["layout", "showlegend"], 1, "figure.layout.showlegend"),
        (["layout"], {}, "figure.layout.title"),
    ],
)
def test_a_changed_figure_fails_with_its_path(path, value, where):
    for stored, new in [(FIGURE, changed(path, value)), (changed(path, value), FIGURE)]:
        assert where in [d.where for d in compare_json(stored, new, DEFAULT, "figure")]


def test_a_timing_figure_is_compared_in_structure():
    slower = changed(["data", 1, "z"], typed([[3.1, 0.7], [12.0, np.nan]], "f8"))
    shorter = changed(["data", 0, "x"], typed([1, 2], "i1"))
    renamed = changed(["data", 0, "name"], "cost")
    assert list(compare_json(FIGURE, slower, TIMING, "figure")) == []
    assert list(compare_json(FIGURE, shorter, TIMING, "figure"))
    assert list(compare_json(FIGURE, renamed, TIMING, "figure"))


_dtypes = st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])


@given(_dtypes, st.lists(st.integers(0, 127), max_size=6), st.booleans())
def test_arrays_are_decoded(dtype, values, two_dimensional):
    array = np.asarray([values, values] if two_dimensional else values, dtype)
    assert decode_array(typed(array, dtype)) == array.tolist()


def test_clamped_bytes_are_decoded():
    assert decode_array(typed([0, 255], "u1") | {"dtype": "u1c"}) == [0, 255]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(_json, st.sampled_from([DEFAULT, TIMING]))
def test_any_json_agrees_with_itself(value, tolerance):
    assert list(compare_json(value, copy.deepcopy(value), tolerance, "json")) == []


# Outputs


def stream(text: str, name: str = "stdout") -> Any:
    return v4.new_output("stream", text=text, name=name)


def display(**data: Any) -> Any:
    return v4.new_output("display_data", {k.replace("_", "/"): v for k, v in data.items()})


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ([stream("a\nb\n")], [stream("a\n"), stream("b\n")]),
        ([stream("a\n"), stream("w", "stderr")], [stream("w", "stderr"), stream("a\n")]),
        ([display(text_plain="alt")], [display(text_plain="alt", image_png="AAAA")]),
        ([display(text_plain="alt")], [display(**{"text_plain": "alt", "image_svg+xml": "<svg>"})]),
        ([], [display(image_jpeg="AAAA")]),
    ],
)
def test_images_and_chunks_make_no_difference(stored, new):
    assert list(compare_outputs(stored, new, DEFAULT)) == []
    assert list(compare_outputs(new, stored, DEFAULT)) == []


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ([stream("a")], []),
        ([stream("a")], [stream("a", "stderr")]),
        ([display(text_plain="alt")], [display(image_png="AAAA")]),
        ([display(text_plain="alt")], [display(text_plain="alt"), display(text_plain="alt")]),
        ([display(text_plain="a", text_html="<b>a</b>")], [display(text_plain="a")]),
        ([display(text_latex="$1.5$")], [display(text_latex="$1.7$")]),
        ([display(text_html="<b>1.5</b>")], [display(text_html="<b>1.7</b>")]),
        ([display(**{"application_geo+json": [1]})], [display(**{"application_geo+json": [2]})]),
    ],
)
def test_other_outputs_fail(stored, new):
    assert len(list(compare_outputs(stored, new, DEFAULT))) >= 1
    assert len(list(compare_outputs(new, stored, DEFAULT))) >= 1


# Metadata


@pytest.mark.parametrize(
    ("metadata", "tolerance"),
    [
        ({}, Tolerance(RTOL, ATOL)),
        ({"tags": ["timing"]}, Tolerance(timing=True)),
        ({"llmbook": {"rtol": 1e-4}}, Tolerance(1e-4)),
        ({"llmbook": {"rtol": "1e-5"}}, Tolerance(1e-5)),  # what YAML makes of 1e-5
        ({"llmbook": {"rtol": 1e-2, "why": "trains"}}, Tolerance(1e-2)),
        ({"llmbook": {"atol": 1e-6, "why": "float32 residue"}}, Tolerance(atol=1e-6)),
    ],
)
def test_a_cell_states_its_tolerance(metadata, tolerance):
    assert read_tolerance(metadata) == tolerance


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rtol": 2e-4}, "llmbook.rtol: 0.0002 is looser than 0.0001"),
        ({"rtol": 2e-4, "why": " "}, "llmbook.rtol: 0.0002 is looser than 0.0001"),
        ({"rtol": 2e-4, "why": 3}, "llmbook.why: got 3"),
        ({"atol": 1e-6}, "llmbook.atol: 1e-06 is looser than 1e-13"),
        ({"rtoll": 1e-4}, r"unknown \['rtoll'\]"),
        ({"rtol": -1e-4}, "llmbook.rtol: got -0.0001"),
        ({"rtol": "much"}, "llmbook.rtol: got 'much'"),
        ({"rtol": True}, "llmbook.rtol: got True"),
        ({"rtol": None}, "llmbook.rtol: got None"),
        ({"rtol": float("nan")}, "llmbook.rtol: got nan"),
        ({"rtol": 1}, "llmbook.rtol: got 1"),
        ([1e-4], "llmbook: got"),
    ],
)
def test_bad_metadata_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        read_tolerance({"llmbook": settings})


# Notebooks, with real kernels


@dataclass
class Case:
    """A cell, what its notebook stores, and what nbval should find wrong (None: nothing)."""

    source: str
    outputs: list[Any] = field(default_factory=list)
    wrong: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    executed: bool = True


def result(**data: Any) -> Any:
    data = {k.replace("_", "/"): v for k, v in data.items()}
    return v4.new_output("execute_result", data, execution_count=1)


def publish(data: dict[str, Any]) -> str:
    return f"from IPython.display import display\ndisplay({data!r}, raw=True)"


DRIFTED = changed(["data", 1, "z"], typed([[0.1, 0.20000001], [0.3, np.nan]], "f8"))
MOVED = changed(["data", 1, "z"], typed([[0.1, 0.20001], [0.3, np.nan]], "f8"))

CASES = {
    "same": Case("print('loss', 0.123)", [stream("loss 0.123\n")]),
    "word": Case("print('loss', 0.123)", [stream("cost 0.123\n")], "the text differs"),
    "number": Case(
        "print('loss', 0.127)",
        [stream("loss 0.123\n")],
        "stdout, line 1: 0.123 became 0.127",
    ),
    "drift": Case("1.23456789", [result(text_plain="1.23456700")]),
    "integer": Case("print(12, 'heads')", [stream("13 heads\n")], "integer 13 became 12"),
    "own": Case(
        "print(1.2345)",
        [stream("1.2300\n")],
        metadata={"llmbook": {"rtol": "1e-2", "why": "trains a network"}},
    ),
    "timing": Case(
        "print('took', 3.5, 's')", [stream("took 12 s\n")], metadata={"tags": ["timing"]}
    ),
    "timed words": Case(
        "print('took', 3.5, 's')",
        [stream("took 3.5 ms\n")],
        "the text differs",
        metadata={"tags": ["timing"]},
    ),
    "vanished": Case("pass", [stream("loss 0.123\n")], "stdout: missing output"),
    "empty": Case("pass"),
    "additional": Case("print('new')", [], "stdout: additional output"),
    "figure": Case(
        publish({"image/png": "AAAA", "text/plain": "Loss falls to 0.1251"}),
        [display(text_plain="Loss falls to 0.1250")],
    ),
    "vanished figure": Case(
        "pass", [display(text_plain="Loss falls")], "text/plain: missing output"
    ),
    "plotly": Case(publish({PLOTLY: DRIFTED}), [v4.new_output("display_data", {PLOTLY: FIGURE})]),
    "plotly moved": Case(
        publish({PLOTLY: MOVED}),
        [v4.new_output("display_data", {PLOTLY: FIGURE})],
        f"{PLOTLY}.data[1].z[0][1]: off by 1e-05, allowed 2e-07",
    ),
    "html": Case(
        publish({"text/html": "<td>0.125</td>"}),
        [display(text_html="<td>0.128</td>")],
        "0.128 became 0.125",
    ),
    "chunks": Case(
        "import sys\nfor i in range(3):\n    print(i)\n    sys.stdout.flush()",
        [stream("0\n"), stream("1\n"), stream("2\n")],
    ),
    "stderr": Case(
        "import sys\nprint('careful', file=sys.stderr)",
        [stream("beware\n", "stderr")],
        "stderr, line 1: the text differs",
    ),
    "never executed": Case("x = 1", [], "never executed in the stored notebook", executed=False),
    "blank": Case("", executed=False),
    "no progress": Case(
        "from tqdm import tqdm\nfor _ in tqdm(range(3)):\n    pass\nprint('done')",
        [stream("done\n")],
    ),
    "still alive": Case("x + 1", [result(text_plain="2")]),
}


def notebook(path: Path, cases: list[Case]) -> Path:
    book = v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    )
    for case in cases:
        count = 1 if case.executed else None
        book.cells.append(
            v4.new_code_cell(
                case.source, outputs=case.outputs, metadata=case.metadata, execution_count=count
            )
        )
    nbformat.write(book, path)
    return path


def run_nbval(directory: Path, *options: str, strict: bool = True) -> tuple[str, ET.Element]:
    """Run nbval with the plugin on the notebooks in a directory: its output and its report."""
    command = [sys.executable, "-m", "pytest", "-p", "nbval_tolerance", *options]
    command += ["--nbval"] if strict else []
    command += ["--nbval-current-env", "--color=no", "-p", "no:cacheprovider"]
    command += ["--rootdir=.", "-c", os.devnull, "--junitxml=report.xml", "."]
    paths = os.pathsep.join([str(TOOLS), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode in (0, 1, 2), run.stdout + run.stderr
    return run.stdout, ET.parse(directory / "report.xml").getroot()


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """Run all cases in one notebook and kernel; None for those that pass, else the failure."""
    directory = tmp_path_factory.mktemp("cases")
    notebook(directory / "cases.ipynb", list(CASES.values()))
    output, report = run_nbval(directory)
    found = {}
    for name, case in zip(CASES, report.iter("testcase"), strict=True):
        failure = case.find("failure")
        found[name] = None if failure is None else failure.text
    assert f"{sum(text is not None for text in found.values())} failed" in output
    return found


@pytest.mark.parametrize("name", CASES)
def test_cells(verdicts, name):
    verdict, wrong = verdicts[name], CASES[name].wrong
    if wrong is None:
        assert verdict is None
    else:
        assert verdict is not None
        assert wrong in verdict


def test_a_failure_names_notebook_and_cell_and_shows_both_lines(verdicts):
    cell = list(CASES).index("number")
    assert (
        f"cases.ipynb, Cell {cell}, stdout, line 1: 0.123 became 0.127, off by 0.004, "
        "allowed 0.00100"
    ) in verdicts["number"]
    assert "  stored: loss 0.123\n  new:    loss 0.127\n" in verdicts["number"]


def test_bad_metadata_stop_the_notebook_and_name_the_cells(tmp_path):
    bad = [{}, {"llmbook": {"rtol": 1e-2}}, {"llmbook": {"tol": 1e-5}}]
    notebook(tmp_path / "bad.ipynb", [Case("1", metadata=metadata) for metadata in bad])
    output, _ = run_nbval(tmp_path)
    assert "bad.ipynb, Cell 1: metadata llmbook.rtol: 0.01 is looser than 0.0001" in output
    assert "bad.ipynb, Cell 2: metadata llmbook: unknown ['tol']" in output
    assert "1 error" in output


def test_sanitizing_expressions_still_work(tmp_path):
    notebook(tmp_path / "a.ipynb", [Case("print('run 7f3a')", [stream("run 01bc\n")])])
    (tmp_path / "expressions").write_text("regex: run \\w+\nreplace: run\n")
    _, report = run_nbval(tmp_path, "--nbval-sanitize-with=expressions")
    assert [case.find("failure") for case in report.iter("testcase")] == [None]


def test_lax_runs_leave_unmarked_cells_alone(tmp_path):
    cases = [Case("print(1)", [stream("2\n")]), Case("x = 1", executed=False)]
    notebook(tmp_path / "a.ipynb", cases)
    _, report = run_nbval(tmp_path, "--nbval-lax", strict=False)
    assert [case.find("failure") for case in report.iter("testcase")] == [None, None]


# Kernels


def start(kernel_name: str, directory: Path) -> Kernel:
    return Kernel(kernel_name, cwd=str(directory), startup_timeout=60)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Unix sockets to speak of")
def test_a_kernel_takes_no_port_and_leaves_nothing_behind(tmp_path):
    kernel = start(CURRENT_ENV_KERNEL_NAME, tmp_path)
    try:
        assert kernel.km.transport == "ipc"
        sockets = [path for path in kernel.directory.iterdir() if path.is_socket()]
        assert len(sockets) == 5
        assert all(len(os.fsencode(path)) < 100 for path in sockets)  # macOS allows 103 bytes
    finally:
        kernel.stop()
    assert not kernel.directory.exists()
    assert not kernel.is_alive()
    kernel.stop()  # a second time does no harm


def test_a_kernel_that_dies_says_why(tmp_path, monkeypatch):
    spec = tmp_path / "kernels" / "broken"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-c", "raise SystemExit('no such module')", "{connection_file}"]
    spec.joinpath("kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "Broken", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"(?s)'broken': Kernel died.*no such module"):
        start("broken", tmp_path)
