"""What the search knows of a page, and what it answers."""

import json
import subprocess
from pathlib import Path

import pytest
from docutils import nodes, utils
from docutils.frontend import get_default_settings
from docutils.parsers.rst import Parser
from sphinx import addnodes
from sphinx_design.shared import create_component
from sphinx_exercise.nodes import exercise_node

import search_index
from formulas import node_program
from search_index import HINT, REST, SECTION, SOLUTION, STATEMENT, Entry, Page

ROOT = Path(__file__).resolve().parents[1]


def paragraph(*parts: str | nodes.Node) -> nodes.paragraph:
    children = [nodes.Text(part) if isinstance(part, str) else part for part in parts]
    return nodes.paragraph("", "", *children)


def code(text: str, element: str = "cell_code_source") -> nodes.container:
    cell = nodes.container(nb_element="cell_code")
    cell += nodes.container("", nodes.literal_block(text, text), nb_element=element)
    return cell


def dropdown(title: str, *body: nodes.Node, **more: str) -> nodes.container:
    rubric = nodes.rubric("", title)
    if "label" in more:
        rubric["ids"] = [more["label"]]
    box = create_component("dropdown", opened=False, has_title=True, children=[rubric, *body])
    for name, value in more.items():
        box[name] = value
    return box


def link(target: str, kind: str = "ref") -> addnodes.pending_xref:
    return addnodes.pending_xref(
        "",
        nodes.inline("", target),
        refdomain="std",
        reftype=kind,
        reftarget=target,
        refexplicit=False,
        refdoc="part/page",
    )


@pytest.fixture
def doctree() -> nodes.document:
    """Return a page with one exercise and another section."""
    document = utils.new_document("page.md", get_default_settings(Parser))
    exercise = exercise_node("", label="first-exercise")
    exercise += nodes.title("", "Exercise 13.19")
    exercise += nodes.paragraph("", "badge", classes=["exercise-badges"])
    exercise += paragraph("Divide by ", nodes.math("", r"\sqrt{d_k}"), ".")
    section = nodes.section(
        "",
        nodes.title("", "", nodes.Text("Scores over "), nodes.math("", r"\sqrt{d_k}")),
        exercise,
        dropdown("Hint 1", paragraph("Think of the variance.")),
        dropdown("Hint 2", paragraph("And of ", link("other-exercise"), ".")),
        code("answer_here = F.softmax(x_row, dim=-1)"),
        dropdown(
            "Solution to Exercise 13.19",
            paragraph("It is the bottleneck."),
            code("import torch.nn.functional as F\nmasked_twice = F.relu(x.masked_fill(m, 0))"),
            code("printed_output = 1", "cell_code_output"),
            target_label="first-exercise",
            label="first-exercise-solution",
        ),
        paragraph("Look deeper."),
        ids=["first-exercise", "scores"],
    )
    other = nodes.section("", nodes.title("", "Background"), paragraph("See ", link("home", "doc")))
    other["ids"] = ["background"]
    page = nodes.section("", nodes.title("", "A page"), paragraph("Its lead."), ids=["a-page"])
    page += [section, other]
    document += page
    return document


def test_entries_are_the_parts_of_an_exercise_and_the_other_sections(
    doctree: nodes.document,
) -> None:
    search_index.anchor_hints(doctree)
    assert list(search_index.entries_of(doctree)) == [
        Entry(SECTION, "", "A page", "Its lead.", ""),
        Entry(
            STATEMENT, "first-exercise", "Scores over √d_k", "Divide by √d_k.",
            "answer_here F.softmax x_row",
        ),
        Entry(HINT + 1, "first-exercise-hint-1", "", "Think of the variance.", ""),
        Entry(HINT + 2, "first-exercise-hint-2", "", "And of \0other-exercise\0.", ""),
        Entry(
            SOLUTION, "first-exercise-solution", "", "It is the bottleneck.",
            "torch.nn.functional masked_twice F.relu masked_fill",
        ),
        Entry(REST, "first-exercise", "", "Look deeper.", ""),
        Entry(SECTION, "background", "Background", "See \0/part/home\0", ""),
    ]  # fmt: skip


def test_hint_gets_an_anchor_that_its_dropdown_takes_over(doctree: nodes.document) -> None:
    search_index.anchor_hints(doctree)
    hints = [box[0]["ids"] for box in doctree.findall(search_index.is_hint)]
    assert hints == [["first-exercise-hint-1"], ["first-exercise-hint-2"]]


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (r"\operatorname{softmax}(QK^\top / \sqrt{d_k})", "softmax(QKᵀ / √d_k)"),
        (r"\frac{QK^\top}{\sqrt{d_k}}", "QKᵀ/√d_k"),
        (r"d_{\text{model}}", "d_model"),
        (r"h_{i-1}", "h_(i-1)"),
        (r"\mathbf{W}_Q \in \mathbb{R}^{d \times d_k}", "W_Q ∈ R^(d × d_k)"),
        (r"\{1, \dots, n\}", "{1, …, n}"),
        (r"\left( \alpha \le 2 \right)", "(α ≤ 2)"),
        (r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}", "1 0 0 1"),
    ],
)
def test_formula_reads_as_one_would_type_it(latex: str, plain: str) -> None:
    assert search_index.plain_formula(latex) == plain


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from llmbook.gpt import GPT, Config", "llmbook.gpt.GPT llmbook.gpt.Config"),
        ("import torch\ny = torch.nn.functional.softmax(x)", "torch torch.nn.functional.softmax"),
        ("def attend(q, key_mask=None): return q", "attend key_mask"),
        ("class MyGPT(nn.Module): pass", "MyGPT Module"),
        ("total = len(rows); print(total)", ""),
        ("import matplotlib.pyplot as plt\nplt.subplots()", ""),
        ("%timeit d_model", ""),
        ("this is no Python", ""),
    ],
)
def test_names_are_those_one_may_look_for(source: str, names: str) -> None:
    imported = search_index._imported([source])
    assert search_index.names_in([code(source)], imported) == names


# -- A small book, and what is found in it ---------------------------------------------------------

PAGES = {
    "attention": Page(
        "Attention",
        [
            Entry(SECTION, "", "Attention", "Queries look up keys; d_k is their width.", ""),
            Entry(
                STATEMENT, "softmax-saturation", "Without the scale", "Divide by √d_k, why?",
                "check.softmax_saturation",
            ),
            Entry(HINT + 1, "softmax-saturation-hint-1", "", "Compare \0other\0: Nyström.", ""),
            Entry(
                SOLUTION, "softmax-saturation-solution", "", "The gradient is tiny.",
                "F.softmax F.logsumexp",
            ),
            Entry(REST, "softmax-saturation", "", "Read on with \0/gpt\0.", ""),
        ],
    ),
    "gpt": Page(
        "A small GPT",
        [
            Entry(STATEMENT, "other", "Self-attention", "Write llmbook.gpt.GPT.", "n_heads"),
            Entry(SOLUTION, "other-solution", "", "Perplexity, as in 13.28. gradient", ""),
        ],
    ),
}  # fmt: skip
SOURCES = {"softmax-saturation": "13.28", "other": "35.03"}


def test_scripts_hold_the_index_with_the_titles_of_what_links_lead_to() -> None:
    scripts = search_index.index_scripts(PAGES, SOURCES)
    data = {}
    for file, text in scripts.items():
        variable, _, value = text.partition("=")
        data[file] = variable, json.loads(value.removesuffix(";\n"))
    variable, first = data["search-index.js"]
    assert variable == "window.llmbookSearchIndex"
    assert [page[:2] for page in first] == [["attention", "Attention"], ["gpt", "A small GPT"]]
    assert first[0][2][1:] == [
        [
            STATEMENT, "softmax-saturation", "Without the scale", "Divide by √d_k, why?",
            "check.softmax_saturation", "13.28",
        ],
        [HINT + 1, "softmax-saturation-hint-1", "", "Compare Self-attention: Nyström."],
    ]  # fmt: skip
    variable, second = data["search-solutions.js"]
    assert variable == "window.llmbookSearchSolutions"
    assert second[0][2][1] == [REST, "softmax-saturation", "", "Read on with A small GPT."]


FIND = """
const { Finder, snippet, places } = await import(process.argv[1]);
const { scripts, queries } = JSON.parse(process.argv[2]);
globalThis.window = {};
for (const script of scripts) eval(script);
const finder = new Finder();
await finder.add(window.llmbookSearchIndex);
await finder.add(window.llmbookSearchSolutions);
console.log(JSON.stringify(queries.map((query) => finder.find(query).map((hit) =>
  [`${hit.entry.page}#${hit.entry.anchor}`, snippet(hit).map(([t, m]) => m ? `[${t}]` : t).join("")]
))));
"""


def find(*queries: str) -> list[list[list[str]]]:
    scripts = list(search_index.index_scripts(PAGES, SOURCES).values())
    finder = ROOT / "site/scripts/finder.js"
    job = json.dumps({"scripts": scripts, "queries": queries})
    done = subprocess.run(
        [node_program(), "--input-type=module", "-e", FIND, finder.as_uri(), job],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[list[list[str]]] = json.loads(done.stdout)
    return answers


EXPECTED = {
    "13.28": "attention#softmax-saturation",
    "exercise 13.28": "attention#softmax-saturation",
    "35.03": "gpt#other",
    "35.3": "gpt#other",
    "without the scale": "attention#softmax-saturation",
    "scale": "attention#softmax-saturation",
    "attention": "attention#",
    "Self attention": "gpt#other",
    "d_k": "attention#softmax-saturation",
    "F.softmax": "attention#softmax-saturation-solution",
    "softmax_saturation": "attention#softmax-saturation",
    "torch.special.logsumexp": "attention#softmax-saturation-solution",
    "llmbook.gpt": "gpt#other",
    "GPT": "gpt#other",
    "n_heads": "gpt#other",
    "heads": "gpt#other",
    "nystrom": "attention#softmax-saturation-hint-1",
    "NYSTRÖM": "attention#softmax-saturation-hint-1",
    "nyst": "attention#softmax-saturation-hint-1",
    "perplexty": "gpt#other-solution",
    "scale gradient": "attention#softmax-saturation-solution",
}


def test_first_answers() -> None:
    answers = find(*EXPECTED)
    assert {q: hits[0][0] for q, hits in zip(EXPECTED, answers, strict=True) if hits} == EXPECTED


def test_answers_that_only_the_title_of_the_exercise_gives_are_left_out() -> None:
    [hits] = find("without scale")
    assert [place for place, _ in hits] == ["attention#softmax-saturation"]


def test_a_number_is_found_as_a_whole_and_by_its_beginning_only() -> None:
    whole, beginning, other, none = find("13.28", "13.2", "28", "")
    assert [place for place, _ in whole] == ["attention#softmax-saturation", "gpt#other-solution"]
    assert beginning[0][0] == "attention#softmax-saturation"
    assert other == none == []


def test_snippets_mark_what_was_found() -> None:
    text, names = find("divide d_k", "softmax_saturation")
    assert text[0][1] == "[Divide] by √[d_k], why?"
    assert names[0][1] == "In the code: check.[softmax_saturation]"
