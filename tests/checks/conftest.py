"""Every check that a test calls, with whatever answer, has to reply within a second.

The processor time of the calling thread is measured: waiting for a turn does not count, nor does
collecting the garbage of the thousands of tests before. A core that two tests share still runs each
of them at little more than half its speed, and the first check of a process also loads parts of
PyTorch; so the limit here is twice what a learner should wait.
"""

import gc
import time
from collections.abc import Iterator

import pytest

from llmbook.checks.engine import Session

LIMIT = 2.0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "endless: the answer never ends, so the check may use its time limit"
    )


@pytest.fixture(autouse=True)
def replies_within_a_second(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    gc.freeze()
    durations: list[tuple[str, float]] = []
    start, finish = Session.__init__, Session.result

    def timed_start(self: Session, *args: object, **kwargs: object) -> None:
        self.started = time.thread_time()
        start(self, *args, **kwargs)

    def timed_finish(self: Session) -> object:
        durations.append((self.exercise, time.thread_time() - self.started))
        return finish(self)

    monkeypatch.setattr(Session, "__init__", timed_start)
    monkeypatch.setattr(Session, "result", timed_finish)
    yield
    gc.unfreeze()
    if request.node.get_closest_marker("endless") is None:
        slow = [f"{name}: {seconds:.2f} s" for name, seconds in durations if seconds > LIMIT]
        assert not slow, f"a check took longer than {LIMIT:g} s: {slow}"
