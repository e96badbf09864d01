"""What every check is built from: results, the guarded session, comparison and diagnosis.

A check opens a :class:`Session`, runs named tests in it and returns ``session.result()``. Inside a
test, the learner's code is called through :meth:`Session.call`, which copies the inputs, limits the
time, catches exceptions and printed output, and recognizes "not attempted"; a test fails by raising
:class:`Failure`, usually through :func:`expect_close`, which names the mistake when it knows it.
"""

import ast
import contextlib
import copy
import ctypes
import dis
import html
import inspect
import io
import itertools
import math
import os
import random
import re
import signal
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

Status = Literal["passed", "failed", "not attempted"]
SYMBOLS: dict[Status, str] = {"passed": "✓", "failed": "✗", "not attempted": "○"}
COLORS: dict[Status, str] = {"passed": "#2e8b57", "failed": "#d1495b", "not attempted": "#8a8f98"}

_PACKAGE = str(Path(__file__).parents[1]) + os.sep

TIME_LIMIT = 5.0
"""Seconds that the learner's code may take in one check, all tests together."""


# --- Results ------------------------------------------------------------------------------------


class CheckFailedError(AssertionError):
    """Raised in strict mode by a check that is not passed."""


class Failure(Exception):  # noqa: N818 - a verdict on the answer, not an error of the program
    """A test failed; the message tells the learner what is wrong."""


class _NotAttempted(Exception):  # noqa: N818
    """The learner's code is still the placeholder."""


@dataclass(frozen=True)
class Outcome:
    """Verdict of one test: its name, its status and, when it failed, what is wrong."""

    name: str
    status: Status
    message: str = ""


@dataclass(frozen=True)
class Result:
    """Verdict of a check. Displays itself as text and as HTML; ``.passed`` tells."""

    exercise: str
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """Failed if a test failed; passed if all passed; else not (wholly) attempted."""
        statuses = {outcome.status for outcome in self.outcomes}
        if "failed" in statuses:
            return "failed"
        return "passed" if statuses == {"passed"} else "not attempted"

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return self.status == "passed"

    @property
    def messages(self) -> str:
        """What is wrong, all failed tests together; empty if none failed."""
        return "\n".join(o.message for o in self.outcomes if o.status == "failed")

    @property
    def headline(self) -> str:
        """One line: symbol, exercise, verdict."""
        total = len(self.outcomes)
        done = sum(outcome.status == "passed" for outcome in self.outcomes)
        failed = sum(outcome.status == "failed" for outcome in self.outcomes)
        if self.status == "passed":
            verdict = f"passed ({total} of {total} tests)"
        elif self.status == "failed":
            verdict = f"{failed} of {total} test{'s' * (total != 1)} failed"
        elif done:
            verdict = f"right so far ({done} of {total} tests passed, the others not attempted)"
        else:
            verdict = "not attempted"
        return f"{SYMBOLS[self.status]} {self.exercise}: {verdict}"

    def _told(self) -> Iterator[tuple[Outcome, str]]:
        """Outcomes with what to tell of each; no message is told twice."""
        told: dict[str, str] = {}  # message → the first test that it was told of
        last = ""
        for outcome in self.outcomes:
            message = outcome.message
            if not message or message not in told:
                yield outcome, message
            elif message == last:
                yield outcome, "The same as above."
            else:
                yield outcome, f"The same as for “{told[message]}”."
            told.setdefault(message, outcome.name)
            last = message or last

    def __repr__(self) -> str:
        lines = [self.headline]
        # An untouched answer needs no list of all that it has not done yet.
        if self.status != "not attempted" or any(o.status == "passed" for o in self.outcomes):
            for outcome, message in self._told():
                lines.append(f"  {SYMBOLS[outcome.status]} {outcome.name}")
                lines += [f"      {line}" for line in message.splitlines()]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        # Jupyter has no style sheet of ours, so the little style there is stands inline; text keeps
        # the theme's color, and only the border is colored, so that it reads in light and dark.
        kind = self.status.replace(" ", "-")
        parts = [
            f'<div class="llmbook-check llmbook-check-{kind}" role="status" '
            f'style="border-left: 4px solid {COLORS[self.status]}; padding: 0.4em 0.8em;">'
            f"<strong>{html.escape(self.headline)}</strong>"
        ]
        if self.status != "not attempted" or any(o.status == "passed" for o in self.outcomes):
            parts.append('<ul style="list-style: none; margin: 0.3em 0 0; padding: 0;">')
            for outcome, message in self._told():
                parts.append(
                    f"<li>{SYMBOLS[outcome.status]} "
                    f'<span class="llmbook-check-status" style="position: absolute; '
                    f'clip-path: inset(50%);">{outcome.status}: </span>{_to_html(outcome.name)}'
                )
                if message:
                    parts.append(
                        '<div style="margin: 0 0 0.4em 1.4em; white-space: pre-wrap;">'
                        f"{_to_html(message)}</div>"
                    )
                parts.append("</li>")
            parts.append("</ul>")
        parts += [f"<div>note: {_to_html(note)}</div>" for note in self.notes]
        return "".join([*parts, "</div>"])


def _to_html(text: str) -> str:
    """Escape a message and turn its `code` into elements."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(text, quote=False))


_strict: ContextVar[bool] = ContextVar("strict", default=False)


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Make every check in the block raise CheckFailedError unless it is passed.

    For graders and tests; setting the environment variable ``LLMBOOK_STRICT=1`` does the same for
    a whole process.
    """
    token = _strict.set(True)
    try:
        yield
    finally:
        _strict.reset(token)


# --- Guards: time, random state, output ----------------------------------------------------------


class _TimeUp(BaseException):
    """Out of time. Not an Exception, so that the learner's own `except Exception` lets it pass."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise _TimeUp inside the block after ``seconds``, again and again until the block is left.

    The interval timer of POSIX interrupts even a sleep, and code that swallows every exception;
    elsewhere, and off the main thread, a watchdog plants the exception, which arrives at the next
    bytecode and which a bare `except:` in a loop can swallow.
    """
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        yield from _limit_by_signal(seconds)
    else:
        yield from _limit_by_watchdog(seconds)


def _limit_by_signal(seconds: float) -> Iterator[None]:
    alarms = itertools.count()

    def ring(signum: int, frame: FrameType | None) -> None:
        # A bare `except:` in a loop swallows what is raised inside its `try`. So each further alarm
        # raises one traced line later than the one before, until it hits a line outside the `try`.
        lines = next(alarms)
        if lines == 0:
            raise _TimeUp

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal lines
            lines -= event == "line"
            if lines <= 0:
                raise _TimeUp
            return trace

        while frame is not None and frame.f_code.co_filename != __file__:
            frame.f_trace = trace
            frame = frame.f_back
        sys.settrace(trace)

    start = time.monotonic()
    tracer = sys.gettrace()
    handler = signal.signal(signal.SIGALRM, ring)
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        sys.settrace(tracer)
        if remaining:  # somebody else's timer, such as a test runner's: give it back
            left = max(remaining - (time.monotonic() - start), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


def _limit_by_watchdog(seconds: float) -> Iterator[None]:
    thread = ctypes.c_ulong(threading.get_ident())
    plant = ctypes.pythonapi.PyThreadState_SetAsyncExc
    done, lock = threading.Event(), threading.Lock()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            with lock:
                if not done.is_set():
                    plant(thread, ctypes.py_object(_TimeUp))
            wait = 0.05

    watchdog = threading.Thread(target=watch, daemon=True)
    watchdog.start()
    try:
        yield
    finally:
        with lock:
            done.set()
            plant(thread, None)  # take back what was planted but has not arrived
        watchdog.join()


@contextlib.contextmanager
def isolated(seed: int = 0) -> Iterator[None]:
    """Run the block on fixed seeds and one thread, and put back all states and defaults.

    A check works on small tensors: on a busy machine, threads that wait for each other would cost
    ten times the work.
    """
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if cuda else ()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            random.seed(seed)
            np.random.seed(seed)
            torch.default_generator.manual_seed(seed)
            torch.set_default_dtype(torch.float32)
            torch.set_num_threads(1)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def is_placeholder(value: object) -> bool:
    """Whether ``value`` is what an untouched your-turn cell holds: ``None`` or ``...``."""
    return value is None or value is ...


def _is_untouched(function: Any) -> bool:
    """Whether a function that returned None still is the placeholder of a your-turn cell.

    It is if its body holds a ``...`` to be replaced, or does nothing at all. Without a source to
    read, the compiled code tells the second.
    """
    if isinstance(function, torch.nn.Module):
        function = type(function).forward
    function = inspect.unwrap(function)
    if getattr(function, "__name__", "") == "<lambda>":
        return True  # which has no return to forget
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        code = getattr(function, "__code__", None)
        return code is not None and not any(
            step.opname.startswith(("CALL", "LOAD_FAST", "LOAD_GLOBAL", "STORE", "BINARY"))
            for step in dis.get_instructions(code)
        )
    statements = [node for node in ast.walk(definition) if isinstance(node, ast.stmt)][1:]
    values = [getattr(statement, "value", None) for statement in statements]
    return any(isinstance(value, ast.Constant) and value.value is ... for value in values) or all(
        isinstance(statement, ast.Pass | ast.Expr | ast.Return)
        and (value is None or isinstance(value, ast.Constant))
        for statement, value in zip(statements, values, strict=True)
    )


# --- A session -----------------------------------------------------------------------------------


class Session:
    """One run of one check: collects the outcomes of its tests.

    Parameters
    ----------
    exercise
        Name of the check, as the result shows it.
    answer
        What the learner passed. A placeholder makes every test "not attempted".
    limit
        Seconds that the learner's code may take, all tests together.

    Examples
    --------
    >>> session = Session("double", answer=lambda x: x + x)
    >>> @session.test("doubles a number")
    ... def _():
    ...     got = session.call(session.answer, torch.tensor(3.0))
    ...     expect_close(got, torch.tensor(6.0))
    >>> session.result().passed
    True
    """

    def __init__(self, exercise: str, answer: Any = ..., limit: float = TIME_LIMIT) -> None:
        self.exercise = exercise
        self.answer = answer
        self._left = limit
        self._limit = limit
        self._outcomes: list[Outcome] = []
        self._notes: list[str] = []

    def test(self, name: str) -> Callable[[Callable[[], None]], None]:
        """Decorator: run the function now as the test ``name``; it fails by raising Failure.

        An exception of any other kind is a fault of the check itself; it is shown as a failed test
        which says so, because a check never raises in a notebook.
        """

        def run(body: Callable[[], None]) -> None:
            if self._left <= 0:
                self._add(name, "failed", "Not run: the time for this check is used up.")
                return
            try:
                with isolated():
                    body()
            except _NotAttempted:
                self._add(name, "not attempted")
            except Failure as failure:
                self._add(name, "failed", str(failure))
            except Exception as error:
                self._add(
                    name,
                    "failed",
                    f"The check itself broke on what it was given: {_say(error)}",
                )
            else:
                self._add(name, "passed")

        return run

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the learner's code on copies of the arguments and return what it returns.

        Raises
        ------
        Failure
            If it is not callable, raises, or runs out of time.
        """
        if is_placeholder(function):
            raise _NotAttempted
        if not callable(function):
            raise Failure(f"Pass a function or a module; this is {_kind(function)}.")
        given = (_copy(args), _copy(kwargs))
        printed, warned = io.StringIO(), io.StringIO()
        start = time.monotonic()
        try:
            with (
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(warned),
                time_limit(self._left),
            ):
                got = function(*given[0], **given[1])
        except _TimeUp:
            self._left = 0.0
            raise Failure(
                f"Your code was stopped: it had not finished after {self._limit:g} s.\n"
                "Is there a loop that never ends, or one far longer than needed?"
            ) from None
        except (Exception, SystemExit) as error:
            raise Failure(_describe_exception(error, function, args, kwargs)) from None
        finally:
            self._left -= time.monotonic() - start
            for stream, what in ((printed, "printed"), (warned, "wrote an error or a warning")):
                if text := stream.getvalue().strip():
                    first = text.splitlines()[0][:100]
                    self.note(f"your code {what} while it was checked; it began with: `{first}`")
        if got is None and not _is_untouched(function):
            raise Failure("Your function returned nothing: is a `return` missing?")
        if is_placeholder(got):
            raise _NotAttempted
        if not _same(given, (args, kwargs)):
            self.note(
                "your code changes its inputs in place; the verdict does not depend on it, "
                "but a caller would be surprised"
            )
        return got

    def number(
        self,
        name: str,
        given: Any,
        expected: float,
        *,
        rtol: float = 5e-3,
        atol: float = 0.0,
        unit: str = "",
        mistakes: Mapping[str, float] | None = None,
    ) -> None:
        """Test one number of the answer.

        Parameters
        ----------
        given
            What the learner passed: anything that converts to a float (int, float, Fraction, NumPy,
            PyTorch or SymPy number); a placeholder is "not attempted".
        expected
            The right value, in ``unit``.
        rtol, atol
            Accepted if ``|given - expected| <= atol + rtol * |expected|``. The default takes three
            significant digits, however rounded; use 0 for counts. An answer that is right but for
            its last digits is told how many are wanted.
        unit
            Unit that the answer should have; turns on the diagnosis of prefixes (MB for MiB, ...).
        mistakes
            What is wrong → the value one gets that way.
        """

        @self.test(name)
        def _() -> None:
            if is_placeholder(given):
                raise _NotAttempted
            value = _to_float(given, unit)

            def near(target: float) -> bool:
                return math.isclose(value, target, rel_tol=0, abs_tol=atol + rtol * abs(target))

            if near(expected):
                return
            close = _say_close(expected, atol + rtol * abs(expected))
            rounded = _is_rounded(value, expected, 2)
            for message, wrong in (mistakes or {}).items():
                # What the right answer rounds to may lie near what a mistake gives.
                if math.isclose(value, wrong, rel_tol=1e-6) if rounded else near(wrong):
                    raise Failure(message)
            if rounded:
                raise Failure(close)
            if diagnosis := _diagnose_number(value, expected, max(rtol, 1e-9), unit):
                raise Failure(diagnosis)
            if _is_close(value, expected):
                raise Failure(close)
            raise Failure(
                f"{value:g}{' ' * bool(unit)}{unit} is not right, and not a mistake known here."
                f"\nGo through the hints{', and check each factor with its unit' * bool(unit)}."
            )

    def choice(self, name: str, given: Any, expected: Any, wrong: Mapping[Any, str]) -> None:
        """Test a choice among named options (a letter, True or False, a word).

        Parameters
        ----------
        given
            What the learner chose; text is compared without regard to case and outer spaces, a
            single letter also without the punctuation around it.
        expected
            The right option.
        wrong
            Each wrong option → why it is wrong.
        """

        @self.test(name)
        def _() -> None:
            if is_placeholder(given):
                raise _NotAttempted

            def plain(option: Any) -> Any:
                if isinstance(option, str):
                    letter = option.strip(" ()[].,:;").lower()  # "(b)", "b)" and "b." mean b
                    return letter if len(letter) == 1 else option.strip().lower()
                if isinstance(option, np.bool_) or (
                    isinstance(option, Tensor) and option.dtype == torch.bool and option.ndim == 0
                ):
                    return bool(option)
                return option

            reasons = {(type(plain(o)), plain(o)): why for o, why in wrong.items()}
            try:
                key = (type(plain(given)), plain(given))
                if key == (type(plain(expected)), plain(expected)):
                    return
                reason = reasons.get(key)
            except TypeError:  # not hashable: no option at all
                reason = None
            options = sorted(map(repr, [expected, *wrong]))
            raise Failure(reason or f"Choose one of {', '.join(options)}; got {given!r:.60}.")

    def note(self, text: str) -> None:
        """Add a remark that does not change the verdict; the same remark is shown once."""
        if text not in self._notes:
            self._notes.append(text)

    def result(self) -> Result:
        """Close the session; in strict mode, raise CheckFailedError unless everything passed."""
        if not self._outcomes:
            raise RuntimeError(f"check {self.exercise} has run no test")
        if all(outcome.status == "not attempted" for outcome in self._outcomes):
            self._notes.clear()
        result = Result(self.exercise, tuple(self._outcomes), tuple(self._notes))
        if (_strict.get() or os.environ.get("LLMBOOK_STRICT") == "1") and not result.passed:
            raise CheckFailedError(repr(result))
        return result

    def _add(self, name: str, status: Status, message: str = "") -> None:
        self._outcomes.append(Outcome(name, status, message))


# --- Comparison and diagnosis --------------------------------------------------------------------


class Mistake(NamedTuple):
    """A mistake people really make: what to tell them, and what one gets that way."""

    message: str
    output: Callable[[], Any]


def to_tensor(value: Any, what: str = "your output") -> Tensor:
    """Take a tensor, an array, a SymPy matrix or nested lists of numbers as a tensor; or fail."""
    if isinstance(value, Tensor):
        return value.detach() if value.layout is torch.strided else value.detach().to_dense()
    try:
        array = np.array(value, order="C")  # a flipped array has strides that PyTorch refuses
        # Exact numbers, such as Fractions and SymPy's, arrive as objects.
        return torch.as_tensor(array.astype(float) if array.dtype == object else array)
    except (TypeError, ValueError, RuntimeError):
        what = what[0].upper() + what[1:]
        if isinstance(value, list | tuple):
            raise Failure(
                f"{what} should be numbers in rows of equal length; it is {_kind(value)}."
            ) from None
        raise Failure(f"{what} should be a tensor; it is {_kind(value)}.") from None


def expect_shape(
    got: Tensor, shape: Sequence[int], inputs: Mapping[str, Any] | None = None
) -> None:
    """Fail unless ``got`` has ``shape``."""
    if tuple(got.shape) != tuple(shape):
        raise Failure(
            f"The shape is {tuple(got.shape)}; it should be {tuple(shape)}.{_given(inputs)}"
        )


def expect_close(
    got: Any,
    expected: Tensor,
    *,
    inputs: Mapping[str, Any] | None = None,
    mistakes: Sequence[Mistake] = (),
    properties: Mapping[str, Callable[[Tensor], bool]] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """Fail unless ``got`` equals ``expected``, and say as well as possible why it does not.

    Parameters
    ----------
    got
        The learner's output: a tensor of any dtype and layout, an array or nested lists.
    expected
        The right output, from an independent reference.
    inputs
        What the learner's code was given, by name; shown in full when small, else by shape.
    mistakes
        Known mistakes; the first whose output equals ``got`` is named.
    properties
        What any right output has ("each row sums to 1") → test of it; the violated ones are named
        when no known mistake fits.
    rtol, atol
        Entries agree if ``|got - expected| <= atol + rtol * |expected|``.
    """
    tensor = to_tensor(got)
    if _close(tensor, expected, rtol, atol):
        return
    for mistake in mistakes:
        try:
            wrong = to_tensor(mistake.output())
        except Exception:  # a wrong variant may be impossible on this input: not the mistake
            continue
        if _close(tensor, wrong, rtol, atol):
            raise Failure(mistake.message)
    expect_shape(tensor, expected.shape, inputs)
    if tensor.is_complex() and not expected.is_complex():
        raise Failure("The output holds complex numbers; real ones are expected.")
    raise Failure(_describe_difference(tensor, expected, inputs, properties or {}, rtol, atol))


def _close(a: Tensor, b: Tensor, rtol: float, atol: float) -> bool:
    if a.shape != b.shape or a.is_complex() != b.is_complex():
        return False
    return torch.allclose(a.double().cpu(), b.double().cpu(), rtol, atol, equal_nan=True)


def _describe_difference(
    got: Tensor,
    expected: Tensor,
    inputs: Mapping[str, Any] | None,
    properties: Mapping[str, Callable[[Tensor], bool]],
    rtol: float,
    atol: float,
) -> str:
    lines = []
    if got.is_floating_point() and got.isnan().any() and not expected.isnan().any():
        lines.append(
            f"The output holds NaN ({int(got.isnan().sum())} of {got.numel()} entries): look for "
            "0/0, ∞ − ∞, or a softmax over nothing but −∞."
        )
    for text, holds in properties.items():
        with contextlib.suppress(Exception):
            if not holds(got):
                lines.append(f"Violated: {text}.")
    off = ~torch.isclose(
        got.double().cpu(), expected.double().cpu(), rtol=rtol, atol=atol, equal_nan=True
    )
    if got.ndim == 0:
        lines.append(f"The value is not right.{_given(inputs)}")
    else:
        lines.append(
            f"The shape {tuple(got.shape)} is right, but {int(off.sum())} of {got.numel()} entries "
            f"are not, first at index {tuple(off.nonzero()[0].tolist())}.{_given(inputs)}"
        )
    lines.append(f"Your output: {show_value(got)}")
    return "\n".join(lines)


def _given(inputs: Mapping[str, Any] | None) -> str:
    if not inputs:
        return ""
    return "\nInput: " + ", ".join(f"{name} = {show_value(v)}" for name, v in inputs.items())


def show_value(value: Any) -> str:
    """Write a value in one line: small tensors entry by entry, large ones by shape and dtype."""
    if isinstance(value, Tensor):
        if value.numel() <= 16:
            rounded = value.detach().cpu()
            if rounded.is_floating_point():
                rounded = (rounded.double() * 1e4).round() / 1e4
            return str(rounded.tolist())
        return f"tensor of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
    return f"{value!r:.80}"


def _describe_exception(
    error: BaseException, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str:
    text = f"Your code raised {_say(error)}"
    # The last frame outside this package and installed ones is the learner's own line.
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_PACKAGE) and "site-packages" not in frame.filename
    ]
    if frames and frames[-1].line:
        text += f"\nin line {frames[-1].lineno} of its cell or file: `{frames[-1].line}`"
    shown = [show_value(value) for value in args]
    shown += [f"{name}={show_value(value)}" for name, value in kwargs.items()]
    return text + f"\nIt was called with ({', '.join(shown)})."


def _say(error: BaseException) -> str:
    """Name an exception and what it says, in one line of at most some 300 characters."""
    message = " ".join(str(error).split()) or "(no message)"
    return f"{type(error).__name__}: {message[:300]}{' …' * (len(message) > 300)}"


_PERCENT = "did a percentage take the place of a fraction on the way, or the reverse?"


def _diagnose_number(value: float, expected: float, rtol: float, unit: str) -> str:
    """Name the generic mistakes: sign, bits for bytes, percent, unit prefixes."""
    if math.isnan(value) or math.isinf(value):
        return f"Expected a finite number, got {value}."
    if value == 0 or expected == 0:
        return ""

    def is_ratio(target: float) -> bool:
        return math.isclose(value / expected, target, rel_tol=2 * rtol)

    if is_ratio(-1):
        return "The size is right, the sign is not."
    if is_ratio(100):
        return "100 times too large: " + (
            "is it a percentage where a fraction is asked for?" if abs(expected) <= 1 else _PERCENT
        )
    if is_ratio(0.01):
        return "100 times too small: " + (
            "is it a fraction where a percentage is asked for?"
            if abs(expected) <= 100 and not unit
            else _PERCENT
        )
    if not unit:
        return ""
    if power := " kMGT".find(unit[0]) if re.match("[kMGT]i?B", unit) else 0:
        # Give the answer in GB, and 2.56 GB = 2.38 GiB: the same bytes, counted in the other unit.
        other = expected * 1.024 ** (power if unit[1] == "i" else -power)
        rounded = _is_rounded(value, other, 2) and not _is_rounded(value, expected, 1)
        if rounded or math.isclose(value, other, rel_tol=3e-3):
            return f"Decimal and binary prefixes are mixed up: give the answer in {unit}."
    for power in (1, 2, 3, 4):
        if any(is_ratio(base ** (sign * power)) for base in (1000, 1024) for sign in (1, -1)):
            return f"The digits fit, but the unit prefix does not: give the answer in {unit}."
    if is_ratio(8) or is_ratio(1 / 8):
        return f"Off by a factor of 8: bits or bytes? Give the answer in {unit}."
    return ""


def _is_rounded(value: float, expected: float, digits: int) -> bool:
    """Whether ``value`` is ``expected`` rounded to so few significant digits."""
    return math.isclose(value, float(f"{expected:.{digits}g}"), rel_tol=1e-6)


def _is_close(value: float, expected: float) -> bool:
    """Whether ``value`` is off by 3 % at most, or rounded to one digit and off by 20 % at most."""
    within = 0.2 if _is_rounded(value, expected, 1) else 0.03
    return math.isclose(value, expected, rel_tol=0, abs_tol=within * abs(expected))


def _say_close(expected: float, tolerance: float) -> str:
    """What to say of an answer that is right but for its last digits."""
    if tolerance < 1e-4 * abs(expected):
        return (
            "Close, but not exact. If you rounded, pass all digits; if not, something small is "
            "missing or counted twice."
        )
    # As many significant digits as it takes for rounding to stay within the tolerance.
    digits = 1.0
    if expected:
        digits += math.floor(math.log10(abs(expected))) - math.log10(2 * tolerance)
    count = ("one", "two", "three", "four", "five")[max(1, math.ceil(digits)) - 1]
    return (
        f"Close, but not to {count} digit{'s' * (count != 'one')}: was something rounded on the "
        f"way, or is something small missing? Carry all digits and round at the end, to {count}."
    )


def _to_float(given: Any, unit: str) -> float:
    if isinstance(given, bool | str | bytes | complex):
        without_unit = ", without its unit" * bool(unit)
        raise Failure(f"Pass a plain number{without_unit}; got {given!r:.60}.")
    try:
        return float(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise Failure(f"Pass one number; got {_kind(given)}.") from None


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name} ({value!r:.60})"


def _copy(value: Any) -> Any:
    """Copy tensors with their strides, and containers of them; the rest by deepcopy.

    A tensor that requires grad is passed as it is: the test differentiates with respect to it.
    """
    if isinstance(value, Tensor):
        if value.requires_grad or 0 in value.stride():
            return value if value.requires_grad else value.clone()
        return torch.empty_strided(
            value.size(), value.stride(), dtype=value.dtype, device=value.device
        ).copy_(value)
    if isinstance(value, tuple | list):
        return type(value)(_copy(item) for item in value)
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, torch.nn.Module) or callable(value):
        return value
    return copy.deepcopy(value)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a is b or (a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num()))
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return True
