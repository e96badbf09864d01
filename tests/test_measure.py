"""The meters on code whose memory and exponent are known."""

import time

import pytest
import torch

from llmbook.measure import loglog_slope, median_seconds, peak_bytes


def two_at_a_time():
    a = torch.empty(1000)
    b = a.clone()
    del a
    return b.clone()


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda: None, 0),
        (lambda: torch.empty(1000), 4000),
        (two_at_a_time, 8000),
        (lambda: [torch.empty(1000, dtype=torch.float64) for _ in range(3)], 24000),
    ],
)
def test_peak_of_known_sizes(run, expected):
    # The CPU allocator may round a size up.
    assert expected <= peak_bytes(run) <= expected + 256


def test_what_was_there_before_is_not_counted():
    kept = torch.empty(10_000)
    assert peak_bytes(lambda: kept.add_(1)) < 1000


def test_peak_of_another_device_is_refused():
    with pytest.raises(ValueError, match="device must be the CPU or a CUDA device, got mps"):
        peak_bytes(lambda: None, device="mps")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_on_cuda():
    expected = 4 * 2**20
    assert peak_bytes(lambda: torch.empty(2**20, device="cuda"), "cuda") == expected


def test_median_seconds_warms_up_and_takes_the_median():
    pauses = iter([0.2, 0.0, 0.05, 0.2])
    assert 0.04 < median_seconds(lambda: time.sleep(next(pauses)), repeats=3) < 0.15
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        median_seconds(lambda: None, repeats=0)


def test_slope_of_a_power_law():
    assert loglog_slope([1, 2, 4, 8], [3 * x**1.5 for x in (1, 2, 4, 8)]) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1], [1], "two or more numbers"),
        ([1, 2], [1, 2, 3], "two or more numbers"),
        ([1, 2], [0, 1], "must be positive"),
    ],
)
def test_what_has_no_slope_is_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        loglog_slope(x, y)
