"""Meters: peak memory and time of a piece of code, and the exponent of a power law."""

import os
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

# The profiler's own log lines would land in the notebook.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def peak_bytes(run: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Return the most memory, in bytes, that tensors made during `run` held at one time.

    What exists before is not counted. On the CPU every allocation and release is read from
    PyTorch's profiler and added up in the order of time; on CUDA the allocator keeps the count.

    Raises
    ------
    ValueError
        If `device` is neither the CPU nor a CUDA device.
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        raise ValueError(f"device must be the CPU or a CUDA device, got {device}")
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    assert profiled.profiler is not None
    results = profiled.profiler.kineto_results
    events = [event for event in results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(changes, dtype=np.int64).max(initial=0))


def median_seconds(
    run: Callable[[], object], repeats: int = 3, device: torch.device | str = "cpu"
) -> float:
    """Return the median wall-clock seconds of `run` over `repeats` calls, after one to warm up.

    Raises
    ------
    ValueError
        If `repeats` is less than 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    on_cuda = torch.device(device).type == "cuda"

    def once() -> float:
        if on_cuda:
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if on_cuda:
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(repeats))


def loglog_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the least-squares slope of log y on log x: the exponent p of y ∝ x^p.

    Raises
    ------
    ValueError
        If there are fewer than two points, the lengths differ, or a value is not positive.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if xs.shape != ys.shape or xs.ndim != 1 or len(xs) < 2:
        raise ValueError(
            f"x and y must be two or more numbers each, got shapes {xs.shape}, {ys.shape}"
        )
    if not (np.all(xs > 0) and np.all(ys > 0)):
        raise ValueError("x and y must be positive")
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])
