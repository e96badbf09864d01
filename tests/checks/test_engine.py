"""The engine of the checks: verdicts, guards, comparison, diagnosis, display."""

import html.parser
import random
import re
import signal
import sys
import threading
import time
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import sympy
import torch

import llmbook.check
from llmbook.checks.engine import (
    CheckFailedError,
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    expect_shape,
    isolated,
    strict,
    time_limit,
)
from llmbook.figures import show

X = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


class Doubling(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def check_double(answer: object, limit: float = 5.0, x: torch.Tensor = X) -> Result:
    session = Session("double", answer, limit)

    @session.test("doubles a matrix")
    def _() -> None:
        expect_close(
            session.call(answer, x),
            2 * x,
            inputs={"x": x},
            mistakes=[
                Mistake("Squares instead of doubling.", lambda: x**2),
                Mistake("Never reached: impossible on this input.", lambda: x @ torch.ones(5)),
            ],
            properties={
                "the output sums to twice the input": lambda y: bool(y.sum() == 2 * x.sum())
            },
        )

    @session.test("keeps an empty vector")
    def _() -> None:
        expect_shape(session.call(answer, torch.empty(0)), (0,))

    return session.result()


def check_size(size: object = None, limit: float = 5.0, **options: object) -> Result:
    session = Session("size", limit=limit)
    session.number("size", size, 2621.44, unit="MB", **options)
    return session.result()


# --- right answers, untouched answers ---


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: x + x,
        lambda x: x.mul_(2),
        lambda x: (2 * x).double(),
        lambda x: (2 * x).numpy(),
        lambda x: (2 * x.flip(0)).flip(0),
        Doubling(),
    ],
)
def test_right_answers_pass(answer):
    result = check_double(answer)
    assert result.passed
    assert result.status == "passed"
    assert result.headline == "✓ double: passed (2 of 2 tests)"


@pytest.mark.parametrize("answer", [None, ..., lambda x: None, lambda x: ...])
def test_untouched_answer_is_a_state_of_its_own(answer):
    result = check_double(answer)
    assert result.status == "not attempted"
    assert not result.passed
    assert repr(result) == "○ double: not attempted"


def placeholder(x):
    """Double a matrix."""
    print(x.shape)
    ...  # your code


def forgotten_return(x):
    y = x[..., :] + x  # noqa: F841


def printed_instead(x):
    print(x + x)


class ForgottenReturn(torch.nn.Module):
    def forward(self, x):
        y = 2 * x  # noqa: F841


def test_code_around_a_placeholder_is_still_not_attempted():
    assert check_double(placeholder).status == "not attempted"


@pytest.mark.parametrize("answer", [forgotten_return, printed_instead, ForgottenReturn()])
def test_a_forgotten_return_is_told(answer):
    result = check_double(answer)
    assert result.status == "failed"
    assert "is a `return` missing?" in result.messages


def test_a_forgotten_return_is_told_without_a_source():
    space = {}
    exec("def answer(x):\n    y = 2 * x\ndef empty(x):\n    pass", space)
    assert "is a `return` missing?" in check_double(space["answer"]).messages
    assert check_double(space["empty"]).status == "not attempted"


def test_a_wrong_scalar_is_not_described_by_its_shape():
    session = Session("scalar")

    @session.test("scalar")
    def _() -> None:
        expect_close(2.0, torch.tensor(1.0))

    message = session.result().messages
    assert "The value is not right." in message
    assert "shape" not in message


def test_nested_lists_count_as_a_tensor():
    session = Session("weights")

    @session.test("weights")
    def _() -> None:
        expect_close([[0.5, 0.5]], torch.tensor([[0.5, 0.5]]))

    assert session.result().passed


# --- wrong answers ---


def test_a_known_mistake_is_named_and_nothing_else_is_said():
    result = check_double(lambda x: x * x)
    assert result.status == "failed"
    assert result.messages == "Squares instead of doubling."


def test_an_unknown_mistake_shows_input_output_and_violated_property():
    message = check_double(lambda x: 3 * x).messages
    assert "Violated: the output sums to twice the input." in message
    assert "Input: x = [[1.0, 2.0], [3.0, 4.0]]" in message
    assert "Your output: [[3.0, 6.0], [9.0, 12.0]]" in message
    assert "8.0" not in message, "the right output must not be shown"


def test_wrong_shape_is_said_with_both_shapes():
    assert "The shape is (4,); it should be (2, 2)." in check_double(lambda x: x.flatten()).messages


def test_nan_is_pointed_out():
    assert "NaN (4 of 4 entries)" in check_double(lambda x: x * float("nan")).messages


def test_large_inputs_are_shown_by_shape():
    x = torch.arange(100.0).reshape(10, 10) + 5
    assert "x = tensor of shape (10, 10), float32" in check_double(lambda x: 3 * x, x=x).messages


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (3, "this is an int (3)"),
        ("text", "this is a str ('text')"),
        (lambda x: "text", "should be a tensor; it is a str ('text')"),
        (lambda x: {"a": 1}, "should be a tensor; it is a dict"),
        (lambda x: [[1], [2, 3]], "numbers in rows of equal length; it is a list"),
        (lambda x: [["a", "b"]], "numbers in rows of equal length; it is a list"),
        (lambda x: object(), "should be a tensor"),
        (lambda x: 2j * x, "holds complex numbers"),
        (lambda x: x / y, "NameError: name 'y' is not defined"),  # noqa: F821
        (lambda: 0, "TypeError"),
        (lambda x: sys.exit(3), "SystemExit: 3"),
        (lambda x: x @ torch.ones(7), "It was called with ([[1.0, 2.0], [3.0, 4.0]])."),
    ],
)
def test_rubbish_fails_with_a_message_and_without_an_exception(answer, told):
    result = check_double(answer)
    assert result.status == "failed"
    assert told in result.messages


def test_recursion_without_end_fails():
    def forever(x):
        return forever(x)

    assert "RecursionError" in check_double(forever).messages


def test_an_exception_points_at_the_learners_line():
    def broken(x):
        z = x.sum()
        return z.no_such_method()

    message = check_double(broken).messages
    assert "AttributeError" in message
    assert "`return z.no_such_method()`" in message


def test_an_exception_never_points_at_a_line_of_the_package():
    def pass_on(*args):
        return llmbook.check.multi_head_parameters.no_such_check(*args)

    message = check_double(pass_on).messages
    assert "`return llmbook.check.multi_head_parameters.no_such_check(*args)`" in message
    # The learner's code calls into the package, and nothing of the learner's is on the way.
    message = check_double(partial(show, alt="a matrix")).messages
    assert "Your code raised" in message
    assert "in line" not in message


def test_a_long_message_of_an_exception_is_cut():
    def talkative(x):
        raise RuntimeError("first line\n" + "and so on\n" * 100)

    message = check_double(talkative).outcomes[0].message
    assert "RuntimeError: first line and so on" in message
    assert len(message) < 600
    session = Session("faulty")

    @session.test("breaks")
    def _() -> None:
        talkative(X)

    assert len(session.result().messages) < 400


def test_a_sparse_tensor_is_a_tensor():
    assert check_double(lambda x: (2 * x).to_sparse()).outcomes[0].status == "passed"


def test_a_fault_of_the_check_itself_is_said_and_does_not_raise():
    session = Session("faulty", answer=lambda: 1)

    @session.test("breaks")
    def _() -> None:
        raise KeyError("oops")

    result = session.result()
    assert result.status == "failed"
    assert "The check itself broke" in result.messages


# --- guards ---


def swallow_everything(x):
    while True:
        try:  # noqa: SIM105
            time.sleep(0.001)
        except:  # noqa: E722 - the very thing learners write
            pass


def spin(x):
    while True:
        pass


def sleep(x):
    time.sleep(60)


@pytest.mark.endless
@pytest.mark.parametrize("answer", [spin, sleep, swallow_everything])
def test_endless_code_is_stopped(answer):
    start = time.perf_counter()
    result = check_double(answer, limit=0.3)
    assert time.perf_counter() - start < 2
    assert "had not finished after 0.3 s" in result.outcomes[0].message
    assert "time for this check is used up" in result.outcomes[1].message


@pytest.mark.endless
def test_endless_code_is_stopped_off_the_main_thread():
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(check_double(spin, limit=0.3)))
    thread.start()
    thread.join(timeout=10)
    assert results, "the thread is still running"
    assert "had not finished" in results[0].messages


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="POSIX timers")
def test_time_limit_gives_back_the_timer_and_handler_it_found():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with time_limit(5):
            time.sleep(0.01)
        assert not rung
        time.sleep(0.4)
        assert rung == [1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_random_states_and_defaults_are_left_as_they_were():
    def meddle(x):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        torch.rand(3)
        torch.set_default_dtype(torch.float64)
        return 2 * x

    def draw():
        return random.random(), np.random.rand(), float(torch.rand(1))

    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    expected = draw()
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    assert check_double(meddle).passed
    assert draw() == expected
    assert torch.get_default_dtype() == torch.float32


def test_a_check_draws_the_same_numbers_every_time():
    with isolated():
        first = torch.rand(3), np.random.rand(3), random.random()
    torch.rand(5)
    with isolated():
        second = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert first[2] == second[2]


def test_gradients_work_inside_a_check_even_under_no_grad():
    session = Session("gradient", lambda x: (x * x).sum())

    @session.test("gradient")
    def _() -> None:
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        session.call(session.answer, x).backward()
        expect_close(x.grad, torch.tensor([2.0, 4.0]))

    with torch.no_grad():
        result = session.result()
    assert result.passed


def test_inputs_are_copied_with_their_layout_and_mutation_is_remarked():
    x = torch.arange(6.0).reshape(2, 3).T
    seen = []

    def mutate(y):
        seen.append(y.stride())
        return y.mul_(2)

    result = check_double(mutate, x=x)
    assert result.passed
    assert seen[0] == x.stride()
    assert torch.equal(x, torch.arange(6.0).reshape(2, 3).T)
    assert any("changes its inputs in place" in note for note in result.notes)


def test_expanded_inputs_can_be_copied():
    assert check_double(lambda x: 2 * x, x=torch.tensor([[1.0, 2.0]]).expand(3, 2)).passed


def test_printing_is_caught_and_remarked(capsys):
    def chatty(x):
        print("shape", tuple(x.shape))
        print("noise", file=sys.stderr)
        return 2 * x

    result = check_double(chatty)
    captured = capsys.readouterr()
    assert result.passed
    assert captured.out == captured.err == ""
    assert "printed while it was checked; it began with: `shape (2, 2)`" in result.notes[0]
    assert "wrote an error or a warning" in result.notes[1]


# --- numbers and choices ---


@pytest.mark.parametrize(
    "value",
    [
        2621.44,
        2621,
        2620,
        2.62e3,
        Fraction(65536, 25),
        np.float32(2621.44),
        np.array(2621.44),
        torch.tensor(2621.44),
        sympy.Rational(65536, 25),
    ],
)
def test_a_right_number_passes_however_written(value):
    assert check_size(value).passed


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (2500.0, "Decimal and binary prefixes are mixed up: give the answer in MB."),
        (2.62144, "the unit prefix does not: give the answer in MB."),
        (2621440, "the unit prefix does not"),
        (2621.44 * 8, "bits or bytes"),
        (2621.44 / 8, "bits or bytes"),
        (-2621.44, "the sign is not"),
        (262144, "100 times too large: did a percentage"),
        (26.2144, "100 times too small: did a percentage"),
        (1310.72, "K and V are both stored."),
        (17, "17 MB is not right"),
        (float("nan"), "finite number"),
        (float("inf"), "finite number"),
        (0, "0 MB is not right"),
        ("2621 MB", "without its unit"),
        (True, "plain number"),
        (1 + 2j, "plain number"),
        ([1, 2], "Pass one number"),
        (torch.ones(2), "Pass one number"),
        (sympy.Symbol("x"), "Pass one number"),
    ],
)
def test_a_wrong_number_is_diagnosed(value, told):
    result = check_size(value, mistakes={"K and V are both stored.": 1310.72})
    assert result.status == "failed"
    assert told in result.messages
    assert "2621.4" not in result.messages.replace(str(value), "")


@pytest.mark.parametrize(
    ("value", "expected", "options", "told"),
    [
        (66.7, 2 / 3, {}, "a percentage where a fraction"),
        (0.253, 25.3, {}, "a fraction where a percentage"),
        (0.81, 0.8137, {"unit": "GB", "rtol": 2e-3}, "not to three digits"),
        (2.6, 2.56, {"unit": "GB"}, "not to three digits"),  # rounded: no prefix is mixed up
        (2.5, 2.56, {"unit": "GB"}, "not to three digits"),
        (0.6, 0.64, {"unit": "GB"}, "not to three digits"),
        (21, 20.48, {"unit": "GB"}, "not to three digits"),
        (2.384, 2.56, {"unit": "GB"}, "prefixes are mixed up"),
        (2.4, 2.56, {"unit": "GB"}, "prefixes are mixed up"),
        (2.56, 2.384, {"unit": "GiB"}, "prefixes are mixed up"),
        (2.5, 2.384, {"unit": "GiB"}, "not a mistake known"),
        (2.75, 2.56, {"unit": "GB"}, "not a mistake known"),  # 1.024³ times too large
        (14, 14.12, {"rtol": 0, "atol": 0.06}, "not to three digits"),
        (-0.7, -0.73, {"rtol": 0, "atol": 0.006}, "not to two digits"),
        (0.9, 0.55, {"rtol": 0.06}, "not a mistake known"),
        (0.6, 0.55, {"rtol": 0.06}, "not to two digits"),
        (1.1e8, 1.0512e8, {"rtol": 1e-3}, "not to four digits"),
        (124e6, 124_439_808, {"rtol": 0}, "not exact. If you rounded, pass all digits"),
        (12, 16, {"rtol": 0}, "not a mistake known"),
    ],
)
def test_close_numbers_are_told_how_many_digits_are_wanted(value, expected, options, told):
    session = Session("digits")
    session.number("value", value, expected, **options)
    result = session.result()
    assert told in result.messages
    assert str(expected) not in result.messages


def test_a_rounded_right_answer_is_no_mistake_that_lies_nearby():
    session = Session("digits")
    for value in (14, 13.97, 14.03):
        session.number("value", value, 14.12, rtol=0, atol=0.06, mistakes={"named": 13.97})
    session.number("value", 170, 171, rtol=0, mistakes={"named": 170})
    close, *others = session.result().outcomes
    assert "three digits" in close.message
    assert [other.message for other in others] == ["named"] * 3


def test_a_repeated_message_is_told_once():
    session = Session("twice")
    for name in ("first", "second"):
        session.number(name, 1, 2, mistakes={"Only a half.": 1})
    result = session.result()
    assert result.messages == "Only a half.\nOnly a half."
    for text in (repr(result), result._repr_html_()):
        assert text.count("Only a half.") == text.count("The same as above.") == 1


def test_repeated_message_after_another_one_names_its_first_test():
    session = Session("one")
    told = [("first", "Only a half."), ("second", "Too much."), ("third", "Only a half.")]
    for name, message in told:

        @session.test(name)
        def _(message=message):
            raise Failure(message)

    assert "The same as for “first”." in repr(session.result())


@pytest.mark.parametrize("given", [17, "17"])
def test_units_are_spoken_of_only_where_there_is_one(given):
    session = Session("ratio")
    session.number("ratio", given, 2.5)
    message = session.result().messages
    assert message
    assert "unit" not in message


def test_counts_can_be_asked_exactly():
    session = Session("count")
    session.number("exact", 100, 100, rtol=0)
    session.number("off by one", 101, 100, rtol=0)
    result = session.result()
    assert [outcome.status for outcome in result.outcomes] == ["passed", "failed"]


def test_a_subset_of_the_numbers_may_be_given():
    session = Session("both")
    session.number("a", 1.0, 1.0)
    session.number("b", None, 2.0)
    result = session.result()
    assert result.status == "not attempted"
    assert result.headline == "○ both: right so far (1 of 2 tests passed, the others not attempted)"


@pytest.mark.parametrize(
    ("value", "status", "told"),
    [
        ("b", "passed", ""),
        (" B ", "passed", ""),
        ("(b)", "passed", ""),
        ("B)", "passed", ""),
        ("b.", "passed", ""),
        ("(a)", "failed", "because a is wrong"),
        ("()", "failed", "Choose one of"),
        ("a", "failed", "because a is wrong"),
        ("z", "failed", "Choose one of 'a', 'b'; got 'z'."),
        (["b"], "failed", "Choose one of"),
        (None, "not attempted", ""),
    ],
)
def test_choices(value, status, told):
    session = Session("choice")
    session.choice("letter", value, "b", {"a": "because a is wrong"})
    result = session.result()
    assert result.status == status
    assert told in result.messages


def test_a_truth_value_is_not_taken_for_a_number():
    session = Session("choice")
    session.choice("true", np.bool_(True), True, {False: "no"})
    session.choice("tensor", torch.tensor(True), True, {False: "no"})
    session.choice("one", 1, True, {False: "no"})
    statuses = [outcome.status for outcome in session.result().outcomes]
    assert statuses == ["passed", "passed", "failed"]


# --- strict mode, display ---


def test_strict_mode_raises_unless_passed(monkeypatch):
    with strict():
        assert check_double(lambda x: 2 * x).passed
        with pytest.raises(CheckFailedError, match="Squares instead of doubling"):
            check_double(lambda x: x * x)
        with pytest.raises(CheckFailedError, match="not attempted"):
            check_double(None)
    assert not check_double(None).passed
    monkeypatch.setenv("LLMBOOK_STRICT", "1")
    with pytest.raises(CheckFailedError):
        check_double(None)


def test_a_check_without_a_test_is_an_error():
    with pytest.raises(RuntimeError, match="has run no test"):
        Session("empty").result()


class Balance(html.parser.HTMLParser):
    """Collects the text and verifies that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("answer", [None, lambda x: 2 * x, lambda x: 3 * x, lambda x: x < 1, 3])
def test_html_says_what_the_text_says(answer):
    result = check_double(answer)
    page = Balance()
    page.feed(result._repr_html_())
    assert page.open == []
    for line in repr(result).splitlines():
        words = line.strip().lstrip("✓✗○ ").replace("`", "")
        assert words in page.text


def test_html_escapes_what_the_learner_wrote():
    markup = check_double(lambda x: "<script>alert(1)</script>")._repr_html_()
    assert "<script>" not in markup
    assert "&lt;script&gt;" in markup


def test_html_carries_no_address_and_no_id_that_changes():
    assert not re.search(r"https?:|id=|0x[0-9a-f]+", check_double(lambda x: 3 * x)._repr_html_())


# --- the front ---


def test_the_front_lists_every_check_and_says_what_is_near():
    names = [name for name in dir(llmbook.check) if name not in llmbook.check.__all__]
    assert "scaled_dot_product_attention" in names
    for name in names:
        function = getattr(llmbook.check, name)
        assert callable(function)
        assert function.__name__ == name
        assert (function.__doc__ or "").strip()
    with pytest.raises(AttributeError, match="did you mean scaled_dot_product_attention"):
        llmbook.check.scaled_dot_product_atention  # noqa: B018


def test_tests_run_on_one_thread_and_give_the_others_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        session = Session("exercise")
        seen = []
        session.test("threads")(lambda: seen.append(torch.get_num_threads()))
        assert session.result().passed
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
