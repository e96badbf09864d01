"""The catalogue: what it refuses, and that pages, checks and tests agree with the real one."""

import csv
import re
from pathlib import Path

import jupytext
import pytest
import yaml
from myst_nb.core.read import read_myst_markdown_notebook

import catalogue
from llmbook import check, checks

ROOT = Path(__file__).parents[1]
CATALOGUE = catalogue.load(ROOT / "book/exercises.yml")
LISTED = ROOT.parent / "shared/exercises.tsv"

ENTRY = {
    "source": "13.2",
    "page": "part/page",
    "kind": "theory",
    "stars": 2,
    "minutes": 10,
    "needs": [],
}


def written(tmp_path, entries):
    path = tmp_path / "exercises.yml"
    path.write_text(entries if isinstance(entries, str) else yaml.safe_dump(entries))
    return path


# -- Validation -----------------------------------------------------------------------------------


def test_loads_in_order_of_the_file(tmp_path):
    text = yaml.safe_dump(
        {"b": ENTRY, "a": ENTRY | {"source": "35.03", "needs": ["b"]}}, sort_keys=False
    )
    exercises = catalogue.load(written(tmp_path, text))
    assert list(exercises) == ["b", "a"]
    assert exercises["a"] == catalogue.Exercise("a", "35.03", "part/page", "theory", 2, 10, ("b",))
    assert dict(catalogue.by_page(exercises)) == {"part/page": list(exercises.values())}


def test_pages_where_an_exercise_stood_before_may_be_named(tmp_path):
    entries = {"a": ENTRY | {"was": ["part/old", "gone/older"]}}
    assert catalogue.load(written(tmp_path, entries))["a"].was == ("part/old", "gone/older")


def test_sources_sort_by_number(tmp_path):
    sources = {"a": "13.11", "b": "13.2", "c": "2.9"}
    entries = {label: ENTRY | {"source": source} for label, source in sources.items()}
    exercises = catalogue.load(written(tmp_path, entries))
    ordered = sorted(exercises.values(), key=lambda exercise: exercise.source_key)
    assert [exercise.label for exercise in ordered] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", 13.2),
        ("source", "13"),
        ("source", "13.02"),
        ("source", "35.3"),
        ("source", "13.2\n"),
        ("page", "page"),
        ("page", "part/page.md"),
        ("page", None),
        ("kind", "Theory"),
        ("kind", ["theory"]),
        ("stars", 0),
        ("stars", 5),
        ("stars", True),
        ("stars", "2"),
        ("stars", 2.0),
        ("minutes", 0),
        ("minutes", -5),
        ("minutes", "10"),
        ("needs", "other"),
        ("needs", None),
        ("needs", [1]),
        ("needs", ["unknown"]),
        ("needs", ["other", "other"]),
        ("was", "part/other"),
        ("was", None),
        ("was", [1]),
        ("was", ["other"]),
        ("was", ["part/other.md"]),
        ("was", ["part/other", "part/other"]),
        ("was", ["part/page"]),
    ],
)
def test_bad_value_is_named_with_what_was_expected(tmp_path, field, value):
    entries = {"other": ENTRY | {"source": "1.1"}, "entry": ENTRY | {field: value}}
    with pytest.raises(ValueError, match="expected") as error:
        catalogue.load(written(tmp_path, entries))
    named = value[0] if value == ["unknown"] else value
    for part in ("exercises.yml", "entry", field, repr(named)):
        assert part in str(error.value)


@pytest.mark.parametrize("field", ENTRY)
def test_missing_field_is_named(tmp_path, field):
    entry = {name: value for name, value in ENTRY.items() if name != field}
    with pytest.raises(ValueError, match=f"entry: field '{field}' is missing"):
        catalogue.load(written(tmp_path, {"entry": entry}))


def test_unknown_field_is_named(tmp_path):
    with pytest.raises(ValueError, match="entry: unknown field 'title', expected source, page"):
        catalogue.load(written(tmp_path, {"entry": ENTRY | {"title": "Typed twice"}}))


@pytest.mark.parametrize("label", ["Upper", "under_score", "-dash", "two--dashes", "1st", 7])
def test_bad_label_is_named(tmp_path, label):
    with pytest.raises(ValueError, match=f"label {label!r}: expected lower-case"):
        catalogue.load(written(tmp_path, {label: ENTRY}))


def test_duplicate_label_is_named(tmp_path):
    text = yaml.safe_dump({"entry": ENTRY}) * 2
    with pytest.raises(ValueError, match="'entry' is given twice"):
        catalogue.load(written(tmp_path, text))


def test_duplicate_source_names_both_entries(tmp_path):
    with pytest.raises(ValueError, match=r"second: source is '13\.2', which first has already"):
        catalogue.load(written(tmp_path, {"first": ENTRY, "second": ENTRY}))


def test_cycle_of_needs_is_shown(tmp_path):
    needs = {"a": ["b"], "b": ["c"], "c": ["b"]}
    entries = {
        label: ENTRY | {"source": f"1.{number}", "needs": needs[label]}
        for number, label in enumerate(needs, start=1)
    }
    with pytest.raises(ValueError, match="needs is a cycle, b -> c -> b"):
        catalogue.load(written(tmp_path, entries))


@pytest.mark.parametrize("text", ["", "- a", "a: b", "a: [", "[a]: b", "a:\n"])
def test_no_catalogue_at_all(tmp_path, text):
    with pytest.raises(ValueError, match=r"exercises\.yml"):
        catalogue.load(written(tmp_path, text))


# -- The real catalogue against pages, checks and tests -------------------------------------------


def steps(page: Path) -> dict[str, str]:
    """Map each exercise of a page to its steps, told from the Markdown alone.

    E statement, H hint, Y your turn, C check, ( and ) around the solution; the check is counted
    only if it is the exercise's own.
    """
    found: dict[str, str] = {}
    label = ""
    markers = re.compile(
        r"^(?P<section>## )|^```+\{exercise-start\}\n:label: (?P<label>\S+)"
        r"|^:::+\{dropdown\} (?P<hint>Hint)|^```+\{solution-start\} (?P<solution>\S+)"
        r"|^(?P<end>```+\{solution-end\})",
        re.MULTILINE,
    )
    for cell in read_myst_markdown_notebook(page.read_text("utf-8")).cells:
        if cell.cell_type == "code":
            if label and "your-turn" in cell.metadata.get("tags", []):
                found[label] += "Y"
            elif label and f"check.{catalogue.check_name(label)}(" in cell.source:
                found[label] += "C"
            continue
        for marker in markers.finditer(cell.source):
            if marker["section"]:
                label = ""
            elif marker["label"]:
                label = marker["label"]
                found[label] = "E"
            elif label:
                assert marker["solution"] in (None, label), f"{page}: solution in a strange section"
                found[label] += "H" if marker["hint"] else "(" if marker["solution"] else ")"
    return found


PAGES = {
    path.relative_to(ROOT / "book").with_suffix("").as_posix(): steps(path)
    for path in sorted((ROOT / "book").rglob("*.md"))
}


@pytest.mark.parametrize("label", CATALOGUE)
def test_entry_has_a_complete_exercise_on_its_page(label):
    page = CATALOGUE[label].page
    assert label in PAGES.get(page, {}), f"no exercise {label} on book/{page}.md"
    assert re.fullmatch(r"EH{1,3}(Y+C+)+\(C+\)", PAGES[page][label])


@pytest.mark.parametrize("label", CATALOGUE)
def test_entry_has_a_documented_check_with_tests(label):
    name = catalogue.check_name(label)
    function = getattr(check, name)
    assert callable(function)
    assert function.__doc__
    package, part, module = function.__module__.rsplit(".", 2)
    assert (package, module) == ("llmbook.checks", name)
    assert part == CATALOGUE[label].page.partition("/")[0].replace("-", "_")
    assert (ROOT / f"tests/checks/{part}/test_{name}.py").is_file()


def test_exercises_of_pages_are_in_the_catalogue_in_the_order_of_the_page():
    listed = {page: [e.label for e in entries] for page, entries in catalogue.by_page(CATALOGUE)}
    assert {page: list(found) for page, found in PAGES.items() if found} == listed


@pytest.mark.parametrize("page", [page for page, found in PAGES.items() if found])
def test_the_site_and_the_notebook_have_the_same_code_cells(page):
    """What follows a directive that is never closed is no code to the site."""
    path = ROOT / f"book/{page}.md"
    site = read_myst_markdown_notebook(path.read_text("utf-8")).cells
    notebook = jupytext.read(path).cells
    code = [[c.source for c in cells if c.cell_type == "code"] for cells in (site, notebook)]
    assert code[0] == code[1]


def test_no_page_holds_a_tab():
    """A tab is what becomes of the start of a TeX command, such as text, in a Python string."""
    for page in (ROOT / "book").rglob("*.md"):
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            assert "\t" not in line, f"{page.name}, line {number}: {line}"


def test_checks_are_in_the_catalogue():
    modules = Path(checks.__path__[0]).glob("*/*.py")
    names = {path.stem for path in modules if not path.stem.startswith("_")}
    assert names <= {catalogue.check_name(label) for label in CATALOGUE}


def test_tests_of_checks_have_a_check():
    tested = {path.stem.removeprefix("test_") for path in ROOT.glob("tests/checks/*/test_*.py")}
    checks = [catalogue.check_name(label) for label in CATALOGUE]
    # A part of a large check may have a file of its own: test_long_context_ring.py.
    assert all(any(f"{name}_".startswith(f"{check}_") for check in checks) for name in tested)


@pytest.mark.skipif(not LISTED.exists(), reason="the list of exercises is not beside the checkout")
def test_sources_and_pages_agree_with_the_list():
    with LISTED.open(encoding="utf-8") as file:
        listed = {row["source"]: row["page"] for row in csv.DictReader(file, delimiter="\t")}
    assert {e.source: e.page for e in CATALOGUE.values()}.items() <= listed.items()
