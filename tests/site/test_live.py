"""Live cells in a real browser, on a real Jupyter server; a stand-in speaks as Binder does.

The site's own pages may not connect anywhere; what leaves them goes through a frame, to the server
that the reader has named.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from built import ROOT, SITE

import live

PAGE = "attention/self-attention.html"
EXERCISE = "#fixed-state-bottleneck"
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
START = 90_000  # milliseconds: a kernel that imports PyTorch, on a busy machine

WRONG = """\
bits_needed = 30
longest = None
share_exact = None
updates_copy = None
updates_reverse = None
updates_attention = None
memory_32 = None
"""
RIGHT = """\
bits_needed = 142
longest = 217
share_exact = 2 ** (131 - 30 * 4.700439718141092)
updates_copy = 30
updates_reverse = 59
updates_attention = 0
memory_32 = 2048
"""

# Nothing lies above the middle of an element, and nothing cuts it off.
IN_SIGHT = """
(element) => {
  const { left, top, width, height } = element.getBoundingClientRect();
  return element.contains(document.elementFromPoint(left + width / 2, top + height / 2));
}
"""
AXE_RUN = """
async () => {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
  const live = { include: [".live-bar", ".live-tools", ".live-editor", ".live-output",
    ".article-header-buttons"].map((selector) => [selector]) };
  const { violations } = await axe.run(live, { runOnly: tags, resultTypes: ["violations"] });
  return violations.flatMap(({ id, nodes }) => nodes.map((node) =>
    `${id}: ${node.html.slice(0, 200)} (${node.failureSummary.slice(0, 300)})`));
}
"""


@dataclass
class Jupyter:
    """A Jupyter server that the site's pages may use."""

    address: str
    token: str

    def kernels(self) -> int:
        request = urllib.request.Request(
            f"{self.address}api/kernels", headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return len(json.load(answer))


@pytest.fixture(scope="module")
def jupyter(site: str) -> Iterator[Jupyter]:
    port, token = live.free_port(), secrets.token_urlsafe(16)
    process = live.start_jupyter(port, token, urlsplit(site).port or 80)
    try:
        live.wait_for(process, port)
        yield Jupyter(f"http://127.0.0.1:{port}/", token)
    finally:
        live.end(process)


@dataclass
class Reader:
    """A reader's tab, and what was seen of it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    @property
    def bar(self) -> Any:
        return self.page.locator(".live-bar")

    def says(self, text: str, state: str, timeout: float = START) -> None:
        """Wait until the bar is in a state and says a text."""
        self.page.wait_for_function(
            "([text, state]) => { const bar = document.querySelector('.live-bar');"
            " return bar?.dataset.state === state"
            " && bar.querySelector('[role=status]').textContent.includes(text); }",
            arg=[text, state],
            timeout=timeout,
        )

    def connect(self, address: str, token: str = "") -> None:
        """Name a Jupyter server in the bar and start."""
        self.bar.get_by_label("a Jupyter server").check()
        self.bar.get_by_label("Address").fill(address)
        self.bar.get_by_label("Token").fill(token)
        self.bar.get_by_role("button", name="Start").click()

    def cell(self, number: int = 0) -> Any:
        """Return a cell of the exercise: its your-turn cell, its check, and so on."""
        return self.page.locator(f"{EXERCISE} .live-cell").nth(number)

    def write(self, cell: Any, code: str) -> None:
        """Put code in the place of what is in a cell's editor."""
        cell.scroll_into_view_if_needed()  # editors come when their cell is near the screen
        cell.get_by_role("textbox").focus()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(code)

    def run(self, cell: Any, code: str) -> Any:
        """Run code in a cell; return the place of its outputs."""
        self.write(cell, code)
        cell.get_by_role("button", name="Run", exact=True).click()
        self.page.wait_for_function(
            "(cell) => /^\\[\\d+\\]/.test(cell.querySelector('.live-count').textContent)",
            arg=cell.element_handle(),
            timeout=START,
        )
        self.says("", "ready")
        return cell.locator(".live-output")


def _open(browser: Any, address: str, **options: Any) -> Reader:
    # What a service worker fetches, no test can hold back.
    options = {"viewport": {"width": 1280, "height": 900}, "service_workers": "block"} | options
    context = browser.new_context(**options)
    page = context.new_page()
    reader = Reader(page)
    page.on("request", lambda r: reader.requests.append(r.url))

    def hear(message: Any) -> None:
        if message.type != "log" and "blocked by Playwright" not in message.text:
            reader.console.append(f"{message.type}: {message.text}")

    page.on("console", hear)
    page.on("pageerror", lambda e: reader.console.append(str(e)))
    page.goto(address)
    return reader


@pytest.fixture
def reader(browser: Any, site: str) -> Iterator[Reader]:
    """Return a tab on the page; nothing is live yet."""
    reader = _open(browser, site + PAGE)
    yield reader
    reader.page.context.close()


@pytest.fixture(scope="module")
def connected(browser: Any, site: str, jupyter: Jupyter) -> Iterator[Reader]:
    """Return a tab whose cells run on the server."""
    reader = _open(browser, site + PAGE)
    reader.page.locator(f"{EXERCISE} .tag_your-turn .live-button").first.click()
    reader.connect(f"{jupyter.address}lab?token={jupyter.token}")  # as copied from a terminal
    reader.says("Ready: Python on 127.0.0.1", "ready")
    yield reader
    reader.page.context.close()


# -- Before it is asked for -----------------------------------------------------------------------


def test_nothing_is_loaded_before_the_button_is_pressed(reader: Reader) -> None:
    reader.page.wait_for_timeout(300)
    assert reader.page.locator(".article-header-buttons .live-button").is_visible()
    assert reader.page.locator(".tag_your-turn > .live-button").count() > 3
    assert not [url for url in reader.requests if re.search(r"/live[.-]", url)]
    assert not reader.page.locator("iframe, .live-bar").count()


def test_page_without_code_has_no_button(browser: Any, site: str) -> None:
    reader = _open(browser, site + "bibliography.html")
    reader.page.wait_for_timeout(200)
    assert reader.page.locator(".article-header-buttons").count()
    assert not reader.page.locator(".live-button").count()
    reader.page.context.close()


def test_pressing_the_button_asks_nobody_else(reader: Reader, site: str) -> None:
    reader.page.locator(".article-header-buttons .live-button").click()
    reader.says("can be edited", "idle", timeout=10_000)
    assert reader.bar.get_by_label("Binder").is_checked()
    reader.page.wait_for_timeout(300)
    assert not [url for url in reader.requests if not url.startswith((site, "data:"))]
    assert not reader.console


def test_code_of_a_solution_that_comes_later_is_live_too(reader: Reader) -> None:
    page = reader.page
    waiting = "document.querySelectorAll('details.solution a[data-solution]').length"
    page.evaluate("document.querySelector('.article-header-buttons .live-button').click()")
    reader.says("can be edited", "idle", timeout=10_000)
    assert page.evaluate(waiting) > 0
    page.evaluate("window.llmbook.solutions()")
    page.wait_for_function(f"() => {waiting} === 0")
    code = page.locator(".bd-article .cell:has(> .cell_input pre)")
    inside = page.locator("details.solution .live-cell")
    assert inside.count() > 0
    assert page.locator(".bd-article .live-cell").count() == code.count()
    assert page.locator(".live-cell > .cell_input > .live-tools").count() == code.count()


# -- A real server --------------------------------------------------------------------------------


def test_answer_is_judged_wrong_and_right(connected: Reader) -> None:
    turn, check = connected.cell(0), connected.cell(1)
    assert "tag_your-turn" in turn.get_attribute("class")
    for code, status, verdict_told in [
        (WRONG, "failed", "✗ fixed_state_bottleneck: 1 of 7 tests failed"),
        (RIGHT, "passed", "✓ fixed_state_bottleneck: passed (7 of 7 tests)"),
    ]:
        connected.write(turn, code)
        turn.get_by_role("button", name="Run and check").click()
        verdict = check.locator(f".live-output .llmbook-check-{status}")
        verdict.wait_for(timeout=START)
        assert verdict_told in verdict.inner_text()
        connected.says(verdict_told, "ready")  # told aloud as well
        assert check.locator(".llmbook-check:visible").count() == 1  # the build's is gone


def test_no_verdict_stands_under_an_answer_that_did_not_run(connected: Reader) -> None:
    turn, check = connected.cell(0), connected.cell(1)
    connected.write(turn, RIGHT)
    turn.get_by_role("button", name="Run and check").click()
    check.locator(".live-output .llmbook-check-passed").wait_for(timeout=START)
    connected.write(turn, "bits_needed = (")
    turn.get_by_role("button", name="Run and check").click()
    turn.locator(".traceback", has_text="SyntaxError").wait_for(timeout=START)
    connected.says("SyntaxError", "ready")
    assert not check.locator(".llmbook-check:visible").count()


def test_cell_that_was_changed_counts_as_not_run(connected: Reader) -> None:
    turn = connected.cell(0)
    connected.run(turn, "print(1)")
    connected.write(turn, "print(2)")
    assert turn.locator(".live-count").inner_text() == "changed since it ran"
    connected.run(turn, "print(3)")


def test_only_the_frame_talks_and_only_to_the_server(
    connected: Reader, site: str, jupyter: Jupyter
) -> None:
    own = (site, jupyter.address, "data:", "blob:")
    assert [url for url in connected.requests if url.startswith(jupyter.address)]
    assert not [url for url in connected.requests if not url.startswith(own)]
    refused = connected.page.evaluate(
        "address => fetch(address + 'api').then(() => false, () => true)", jupyter.address
    )
    assert refused  # by the page's own policy
    assert any("Content Security Policy" in line for line in connected.console)
    connected.console[:] = [
        line for line in connected.console if "Content Security Policy" not in line
    ]


def test_keys_run_cells_and_leave_the_editor(connected: Reader) -> None:
    page, turn, check = connected.page, connected.cell(0), connected.cell(1)
    connected.write(turn, "if True:\nprint('by', 'keyboard')")
    page.keyboard.press("Home")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Enter")
    turn.locator(".live-output", has_text="by keyboard").wait_for(timeout=START)
    assert check.get_by_role("textbox").evaluate("e => e === document.activeElement")
    turn.get_by_role("textbox").focus()
    page.keyboard.press("Escape")
    page.wait_for_timeout(2500)  # a reader may take their time
    page.keyboard.press("Tab")
    assert turn.get_by_role("button", name="Run and check").evaluate(
        "e => e === document.activeElement"
    )
    help_id = turn.get_by_role("textbox").get_attribute("aria-describedby")
    assert "Escape" in (page.locator(f"#{help_id}").text_content() or "")


def test_names_are_completed(connected: Reader) -> None:
    page, turn = connected.page, connected.cell(0)
    connected.run(turn, "from llmbook import check")
    connected.write(turn, "check.fixed_st")
    page.keyboard.press("Control+Space")
    option = page.locator(".cm-tooltip-autocomplete li", has_text="fixed_state_bottleneck")
    option.wait_for(timeout=20_000)
    assert option.evaluate(IN_SIGHT)
    page.wait_for_timeout(200)  # what is typed as the list opens does not choose from it
    page.keyboard.press("Tab")
    assert "check.fixed_state_bottleneck" in turn.get_by_role("textbox").inner_text()


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("import sys; print('out'); print('err', file=sys.stderr)", "pre:has-text('out')"),
        ("print('50 %', end='\\r'); print('100 %')", "pre:text-is('100 %')"),
        ("1 / 0", ".traceback:has-text('ZeroDivisionError') .live-color-1"),
        ("from IPython.display import HTML; HTML('<b class=mine>bold</b>')", "b.mine"),
        (
            "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()",
            "img[src^='data:image/png']",
        ),
        (
            "import matplotlib.pyplot as plt\nfrom llmbook.figures import show\n"
            "f, a = plt.subplots(); a.plot([1, 2]); a.set(xlabel='x', ylabel='y')\n"
            "show(f, alt='A rising line.')",
            "svg[role=img][aria-label='A rising line.']",
        ),
        (
            "import plotly.graph_objects as go\nfrom llmbook.figures import show\n"
            "f = go.Figure(go.Bar(x=['a'], y=[1])).update_layout(\n"
            "  xaxis_title='x', yaxis_title='y')\nshow(f, alt='One bar.')",
            ".plotly-plot[aria-label='One bar.'] svg.main-svg",
        ),
        ("'a text'", "pre:has-text('a text')"),
        ("'y' * 300_000", "pre:has-text('[the rest is not shown]')"),
        ("input('How many? ')", ".live-note:has-text('cannot ask for input')"),
    ],
    ids=["text", "return", "error", "html", "png", "svg", "plotly", "value", "long", "input"],
)
def test_outputs_are_shown(connected: Reader, code: str, shown: str) -> None:
    outputs = connected.run(connected.cell(0), code)
    outputs.locator(shown).first.wait_for(timeout=20_000)


def test_markup_of_an_output_runs_no_script(connected: Reader) -> None:
    markup = "<img src=x: onerror=\\'window.ran = 1\\'><script>window.ran = 1</script>"
    connected.run(
        connected.cell(0), f"from IPython.display import HTML; HTML('{markup}<i id=mark>here</i>')"
    )
    connected.page.locator(".live-output #mark").wait_for()
    connected.page.wait_for_timeout(200)
    assert connected.page.evaluate("window.ran") is None
    connected.console.clear()  # the policy says what it has refused


def test_endless_cell_is_interrupted(connected: Reader) -> None:
    turn = connected.cell(0)
    connected.write(turn, "while True: pass")
    turn.get_by_role("button", name="Run", exact=True).click()
    connected.says("Running", "running")
    connected.bar.get_by_role("button", name="Interrupt").click()
    turn.locator(".live-output .traceback", has_text="KeyboardInterrupt").wait_for(timeout=START)
    connected.says("", "ready")


def test_missing_name_leads_to_the_cells_above(connected: Reader) -> None:
    connected.bar.get_by_role("button", name="Restart").click()
    connected.says("started anew", "ready")
    turn = connected.cell(0)
    outputs = connected.run(turn, "print(torch.arange(3).sum())")
    outputs.locator(".traceback", has_text="NameError").wait_for()
    outputs.get_by_role("button", name="Run all above").click()
    turn.locator(".live-output", has_text="tensor(3)").wait_for(timeout=START)
    connected.says("", "ready")


def test_missing_name_of_the_answer_leads_to_the_answer(connected: Reader) -> None:
    turn, check = connected.cell(0), connected.cell(1)
    connected.run(turn, "bits_needed = 1; del bits_needed")
    connected.write(turn, "bits = 142")
    turn.get_by_role("button", name="Run and check").click()
    outputs = check.locator(".live-output")
    outputs.get_by_text("Your answer is to define bits_needed").wait_for(timeout=START)
    assert not outputs.get_by_role("button").count()  # running all above would not help
    connected.says("NameError", "ready")


def test_long_message_of_an_error_does_not_fill_the_bar(connected: Reader) -> None:
    connected.run(connected.cell(0), "raise ValueError('word ' * 1000)")
    assert len(connected.bar.get_by_role("status").inner_text()) < 300


def test_reset_brings_back_code_and_output(connected: Reader) -> None:
    turn = connected.cell(0)
    connected.run(turn, "print('mine')")
    turn.get_by_role("button", name="Reset").click()
    assert "bits_needed = None" in turn.get_by_role("textbox").inner_text()
    assert not turn.locator(".live-output").count()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_live_cells_are_accessible(connected: Reader, theme: str) -> None:
    page = connected.page
    connected.run(connected.cell(0), "print(1)\n1 / 0")
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    page.wait_for_timeout(200)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert not page.evaluate(AXE_RUN)
    small = page.evaluate(
        "[...document.querySelectorAll('.live-bar button, .live-tools button, .live-button')]"
        ".filter(e => e.offsetParent && e.getBoundingClientRect().height < 24).length"
    )
    assert not small


def test_live_cells_fit_a_phone(connected: Reader) -> None:
    page = connected.page
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_work_outlives_a_reload_and_the_next_page_starts_at_once(
    connected: Reader, site: str
) -> None:
    page = connected.page
    connected.console.clear()  # the library told of the kernels that were restarted
    connected.write(connected.cell(0), "kept = 42")
    page.wait_for_timeout(500)
    page.reload()
    page.locator(".article-header-buttons .live-button").click()
    connected.says("Ready", "ready")
    assert "kept = 42" in connected.cell(0).get_by_role("textbox").inner_text()
    assert not connected.console


def test_stop_ends_the_kernel(connected: Reader, jupyter: Jupyter) -> None:
    connected.says("Ready", "ready")
    assert jupyter.kernels() >= 1
    before = jupyter.kernels()
    connected.bar.get_by_role("button", name="Stop").click()
    connected.says("Stopped", "idle")
    for _ in range(50):
        if jupyter.kernels() < before:
            return
        time.sleep(0.1)
    pytest.fail("the kernel is still there")


# -- What goes wrong ------------------------------------------------------------------------------


@pytest.fixture
def asked(reader: Reader) -> Reader:
    """Return a tab whose bar is open."""
    reader.page.locator(".article-header-buttons .live-button").click()
    reader.says("can be edited", "idle", timeout=10_000)
    return reader


def test_no_server(asked: Reader) -> None:
    address = f"http://127.0.0.1:{live.free_port()}/"
    asked.connect(address)
    asked.says(f"No server answers at {address}", "failed", timeout=20_000)
    assert asked.bar.get_by_role("button", name="Start").is_visible()


def test_wrong_token_and_another_try(asked: Reader, jupyter: Jupyter) -> None:
    asked.connect(jupyter.address, "wrong")
    asked.says("refuses the token", "failed", timeout=20_000)
    asked.connect(jupyter.address, jupyter.token)
    asked.says("Ready", "ready")


def test_address_may_lack_its_beginning(asked: Reader, jupyter: Jupyter) -> None:
    asked.connect(jupyter.address.removeprefix("http://"), jupyter.token)
    asked.says("Ready", "ready")


def test_address_with_a_path_too_much(asked: Reader, jupyter: Jupyter) -> None:
    asked.connect(f"{jupyter.address}some/path?token={jupyter.token}")
    asked.says(f"but there is one at {jupyter.address}", "failed", timeout=20_000)


def test_server_that_does_not_let_the_site_in(asked: Reader, site: str) -> None:
    port = live.free_port()
    process = live.start_jupyter(port, "token", 1)
    try:
        live.wait_for(process, port)
        asked.connect(f"http://127.0.0.1:{port}/", "token")
        asked.says(f"--ServerApp.allow_origin={site.rstrip('/')}", "failed", timeout=20_000)
    finally:
        live.end(process)


def test_not_a_jupyter_server(asked: Reader, site: str) -> None:
    asked.connect(site)
    asked.says("not a Jupyter server", "failed", timeout=20_000)


def test_offline(asked: Reader) -> None:
    asked.page.context.set_offline(True)
    asked.bar.get_by_role("button", name="Start").click()
    asked.says("You are offline", "failed", timeout=20_000)


# -- Binder ---------------------------------------------------------------------------------------


@dataclass
class Binder:
    """Speaks the events of BinderHub's API for builds."""

    events: list[dict[str, str]]
    paths: list[str] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def binder() -> Iterator[Binder]:
    stub = Binder([])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stub.paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()
            for event in stub.events:
                self.wfile.write(f":keepalive\n\ndata: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
                time.sleep(0.3)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield stub
    server.shutdown()


def _use(reader: Reader, binder: Binder) -> None:
    """Point the page's launch button, from which live cells know Binder, to the stand-in."""
    reader.page.evaluate(
        "address => { const link = document.querySelector("
        "\".dropdown-launch-buttons a[href*='/v2/gh/']\");"
        " link.href = link.href.replace('https://mybinder.org', address); }",
        binder.address,
    )
    reader.page.locator(".article-header-buttons .live-button").click()
    reader.says("can be edited", "idle", timeout=10_000)


def test_binder_builds_the_repository_and_hands_over_its_server(
    reader: Reader, binder: Binder, jupyter: Jupyter
) -> None:
    binder.events = [
        {"phase": "waiting", "message": "Waiting for build to start..."},
        {"phase": "building", "message": "Step 1/40"},
        {"phase": "launching", "message": "Launching server..."},
        {"phase": "ready", "message": "", "url": jupyter.address, "token": jupyter.token},
    ]
    _use(reader, binder)
    reader.page.evaluate(
        "() => { window.said = []; const state = document.querySelector('.live-state');"
        " new MutationObserver(() => said.push(state.textContent))"
        ".observe(state, { childList: true, characterData: true, subtree: true }); }"
    )
    reader.bar.get_by_role("button", name="Start").click()
    reader.says("Ready", "ready")
    said = reader.page.evaluate("said")
    for phase in ("waiting for a machine", "building the environment", "starting the server"):
        assert any(phase in text for text in said), (phase, said)
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]
    repository = urlsplit(config["url"]).path
    assert binder.paths == [f"/build/gh{repository}/{config['branch']}"]
    # As on Binder itself: the package is there.
    outputs = reader.run(reader.cell(0), "from llmbook import check; print(check)")
    assert "llmbook" in outputs.inner_text()
    assert not reader.console
    # The next page goes on with the same machine.
    reader.page.reload()
    reader.page.locator(".article-header-buttons .live-button").click()
    reader.says("Ready", "ready")
    assert len(binder.paths) == 1


def test_binder_says_why_it_failed(reader: Reader, binder: Binder) -> None:
    binder.events = [{"phase": "failed", "message": "Too many users of this repository"}]
    _use(reader, binder)
    reader.bar.get_by_role("button", name="Start").click()
    reader.says("Too many users of this repository", "failed", timeout=20_000)


def test_binder_breaks_off(reader: Reader, binder: Binder) -> None:
    binder.events = [{"phase": "waiting", "message": ""}]
    _use(reader, binder)
    reader.bar.get_by_role("button", name="Start").click()
    reader.says("broke off. Try again, or run the code on", "failed", timeout=20_000)
    assert len(binder.paths) == 1  # no build is asked for again without the reader


def test_starting_can_be_stopped(reader: Reader, binder: Binder) -> None:
    binder.events = [{"phase": "building", "message": ""}] * 50
    _use(reader, binder)
    reader.bar.get_by_role("button", name="Start").click()
    reader.says("building", "starting", timeout=20_000)
    reader.bar.get_by_role("button", name="Stop").click()
    reader.says("Stopped", "idle", timeout=20_000)


def test_stop_is_heard_while_the_frame_is_on_its_way(
    asked: Reader, jupyter: Jupyter, browser: Any
) -> None:
    held: list[Any] = []
    asked.page.route(re.compile(r"/live\.[0-9a-f]+\.html"), lambda route: held.append(route))
    before = jupyter.kernels()
    asked.connect(jupyter.address, jupyter.token)
    asked.says("Starting", "starting")
    asked.bar.get_by_role("button", name="Stop").click()
    asked.says("Stopped", "idle")
    asked.page.wait_for_timeout(200)
    assert held
    held[0].continue_()
    asked.page.wait_for_timeout(2000)
    asked.says("Stopped", "idle")
    assert jupyter.kernels() == before


# -- What the reader wrote ------------------------------------------------------------------------


def test_answer_of_one_tab_is_not_lost_to_another(reader: Reader) -> None:
    other = reader.page.context.new_page()
    other.goto(reader.page.url)
    for page in (other, reader.page):
        page.locator(f"{EXERCISE} .tag_your-turn .live-button").first.click()
        page.locator(f"{EXERCISE} .live-cell .live-editor").first.wait_for()
    reader.write(reader.cell(0), "mine = 1")
    reader.page.wait_for_timeout(500)
    other.close(run_before_unload=True)
    kept = reader.page.evaluate("JSON.stringify(localStorage)")
    assert "mine = 1" in kept
    reader.page.reload()
    # Until they are live again, the page shows the book's code; the button tells of the reader's.
    mine = reader.page.get_by_role("button", name="Live, with your code")
    assert mine.count() == 1
    assert reader.page.locator(EXERCISE).get_by_role("button", name="with your code").is_visible()
    reader.page.locator(".article-header-buttons .live-button").click()
    reader.cell(0).scroll_into_view_if_needed()
    assert reader.cell(0).get_by_role("textbox").inner_text() == "mine = 1"


def test_answer_outlives_a_correction_of_the_book(reader: Reader) -> None:
    place = f"{EXERCISE.removeprefix('#')}/turn/0"
    kept = {place: {"source": "the code of an earlier edition", "code": "mine = 1"}}
    reader.page.evaluate(
        "kept => localStorage.setItem(`llmbook-live:${location.pathname}`, kept)", json.dumps(kept)
    )
    reader.page.locator(".article-header-buttons .live-button").click()
    cell = reader.cell(0)
    cell.scroll_into_view_if_needed()
    assert cell.get_by_role("textbox").inner_text() == "mine = 1"
    note = cell.get_by_text("has changed since you wrote this")
    assert note.is_visible()
    cell.get_by_role("button", name="Reset").click()
    assert note.is_hidden()
    assert "mine" not in cell.get_by_role("textbox").inner_text()


def test_what_was_asked_for_runs_once_python_is_there(asked: Reader, jupyter: Jupyter) -> None:
    asked.write(asked.cell(0), "print('here', 6 * 7)")
    asked.cell(0).get_by_role("button", name="Run", exact=True).click()
    asked.connect(jupyter.address, jupyter.token)
    asked.cell(0).locator(".live-output").get_by_text("here 42").wait_for(timeout=START)


def test_way_out_of_an_editor_is_told_to_who_is_in_one(asked: Reader) -> None:
    keys = asked.page.get_by_text("Escape and then Tab leaves the editor")
    assert keys.is_hidden()
    asked.write(asked.cell(0), "1")
    assert keys.is_visible()
    described = asked.cell(0).get_by_role("textbox").get_attribute("aria-describedby")
    assert keys.get_attribute("id") == described


def test_button_says_what_it_could_not_do_and_tries_again(reader: Reader) -> None:
    context = reader.page.context.browser.new_context(service_workers="block")
    page = context.new_page()
    page.route(re.compile(r"/live\.[0-9a-f]+\.js"), lambda route: route.abort())
    page.goto(reader.page.url)
    button = page.locator(".article-header-buttons .live-button")
    button.click()
    page.get_by_role("button", name="Live: could not be loaded").wait_for()
    page.unroute(re.compile(r"/live\.[0-9a-f]+\.js"))
    button.click()
    page.locator(".live-bar").wait_for()
    assert button.inner_text() == "Live"
    context.close()


# -- make live ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP], ids=["ended", "terminal closed"])
def test_make_live_serves_both_and_ends_both(
    browser: Any, tmp_path: Path, how: signal.Signals
) -> None:
    command = [sys.executable, str(ROOT / "tools" / "live.py"), "--port", "0", "--site", str(SITE)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    try:
        assert process.stdout
        line = process.stdout.readline()
        address = re.match(r"http://localhost:\d+", line)
        assert address, (line, (tmp_path / "errors").read_text())
        reader = _open(browser, f"{address[0]}/{PAGE}")
        server = reader.page.locator("meta[name=live-server]").get_attribute("content")
        assert server
        # One press is enough: the page knows its server, and none of an earlier time.
        reader.page.evaluate(
            "sessionStorage.setItem('llmbook-live', JSON.stringify({ choice: { where: 'server',"
            " address: 'http://127.0.0.1:9/', token: 'old' } }))"
        )
        reader.page.locator(".article-header-buttons .live-button").click()
        reader.says("Ready: Python on 127.0.0.1", "ready")
        assert not reader.console
        reader.page.context.close()
        # Nothing with the token in it is kept, by the browser or by the site's worker.
        with urllib.request.urlopen(f"{address[0]}/{PAGE}", timeout=10) as answer:
            assert answer.headers.get_all("Cache-Control") == ["no-store"]
        with urllib.request.urlopen(f"{address[0]}/service-worker.js", timeout=10) as answer:
            assert b"unregister" in answer.read()
        # A foreign name that points at this machine learns nothing of the token.
        request = urllib.request.Request(f"{address[0]}/{PAGE}", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 421
        process.send_signal(how)
        assert process.wait(30) == 0
        for gone in (address[0], server):
            with pytest.raises(urllib.error.URLError):
                urllib.request.urlopen(gone, timeout=5)
    finally:
        process.kill()
        process.wait()


def test_make_live_says_what_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "live.py"), "--site", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "make book" in ended.stderr
