"""Check of exercise 15.5, days on a cluster."""

import dataclasses
import math
from typing import Any

from llmbook.checks.engine import Failure, Result, Session
from llmbook.checks.scalars import whole_number
from llmbook.counting import A100, H100, device_hours
from llmbook.counting import training_flops as rule

N, D, GPUS, MFU = 70e9, 1.4e12, 4096, 0.5
PEAK = 989e12
WEEK = {"n_parameters": N, "n_tokens": D, "peak": PEAK, "mfu": 0.38, "effective": 0.9}
LLAMA_65B, LLAMA_GPUS, TOKENS_PER_SECOND = (
    65.3e9,
    2048,
    380,
)  # Touvron et al. (2023), LLaMA: section 2.4


def training_time(
    training_days: Any = None,
    *,
    flop: Any = None,
    hours: Any = None,
    days: Any = None,
    gpus_for_a_week: Any = None,
    llama_mfu: Any = None,
    llama_days: Any = None,
) -> Result:
    """Check the time of a training run on a cluster; pass any subset.

    The run is 70 billion parameters on 1.4 trillion tokens, on 4,096 GPUs of 989 TFLOP/s at 50%.

    Parameters
    ----------
    training_days
        (b) Called as ``training_days(n_parameters, n_tokens, n_gpus, peak, mfu)`` or with a further
        ``effective=...`` (default 1): ``peak`` in FLOP/s of one GPU, ``mfu`` and ``effective`` (the
        share of the elapsed time in which the run makes progress) between 0 and 1. Returns days.
    flop
        (a) Floating-point operations of the run, by the rule of thumb.
    hours, days
        (a) Wall-clock time of the run, in hours and in days.
    gpus_for_a_week
        (c) The fewest such GPUs that finish within 7 days at an MFU of 38%, making progress in 90%
        of the time.
    llama_mfu
        (d) Model FLOPs utilization of the run of LLaMA-65B, a fraction between 0 and 1.
    llama_days
        (d) Days of that run.
    """
    session = Session("training_time", training_days)
    _run(session, flop, hours, days)

    def same(*arguments: float, **options: float) -> None:
        _compare(session.call(training_days, *arguments, **options), *arguments, **options)

    @session.test("(b) one GPU at its peak")
    def _() -> None:
        same(1e9, 2e10, 1, 312e12, 1.0)

    @session.test("(b) 96 GPUs at 35%")
    def _() -> None:
        same(3e9, 7e10, 96, 312e12, 0.35)

    @session.test("(b) with interruptions")
    def _() -> None:
        same(8e9, 15e12, 2048, 989e12, 0.42, effective=0.85)

    @session.test("(b) the run of (a)")
    def _() -> None:
        same(N, D, GPUS, PEAK, MFU)

    _week(session, gpus_for_a_week)
    per_second = rule(LLAMA_65B, TOKENS_PER_SECOND)
    share = per_second / A100.flops
    session.number(
        "(d) utilization of LLaMA-65B",
        llama_mfu,
        share,
        rtol=1e-2,
        mistakes={
            "The ratio is upside down: a GPU does less than its peak.": 1 / share,
            "That is an H100; these GPUs are A100s of 312 TFLOP/s.": share * A100.flops / PEAK,
            "That takes 70 billion parameters; this model has 65.3.": share * N / LLAMA_65B,
            "That is the forward pass alone; training goes backward, too.": share / 3,
            "Half as much: are 624 TFLOP/s taken, which need structured sparsity? Or is a "
            "multiply-add counted once?": share / 2,
            "Parameters times tokens: how many operations does each pair take?": share / 6,
            "The rate is that of one GPU: do not divide it by 2,048.": share / 2048,
            "The rate is that of one GPU: do not multiply it by 2,048.": share * 2048,
            "That is the time lost, not the share used.": 1 - share,
        },
    )
    seconds = D / TOKENS_PER_SECOND  # of one GPU; this run has as many tokens as that of (a)
    right = seconds / LLAMA_GPUS / 86400
    session.number(
        "(d) days of LLaMA-65B",
        llama_days,
        right,
        mistakes={
            "That is hours; a day has 24.": right * 24,
            "That is seconds; a day has 86,400.": right * 86400,
            "That is one GPU; 2,048 share the work.": right * LLAMA_GPUS,
            "That is 4,096 GPUs; this run has 2,048.": right / 2,
            "That is the run at the GPUs' peak.": right * share,
            "The 380 tokens per second are reached already: there is no utilization to divide by, "
            "or to take off.": right / share,
            "That takes 70 billion parameters; this model has 65.3.": right * N / LLAMA_65B,
        },
    )
    return session.result()


def _run(session: Session, flop: Any, hours: Any, days: Any) -> None:
    right = rule(N, D)
    session.number(
        "(a) rule of thumb (FLOP)",
        flop,
        right,
        mistakes={
            "That is the forward pass alone, as at inference; training goes backward, too.": (
                right / 3
            ),
            "Half as much: a multiply-add is two operations.": right / 2,
            "Twice as much: the 6 counts a multiply-add as two operations already.": 2 * right,
            "That is parameters times tokens: how many operations does each pair take?": right / 6,
            "That is with the forward pass computed twice; nothing says so here.": right * 4 / 3,
            "A factor of 1,000 too much: a billion is 10⁹, a trillion 10¹².": right * 1e3,
            "A factor of 1,000 too little: a billion is 10⁹, a trillion 10¹².": right / 1e3,
        },
    )
    # The data sheet's 989.4 TFLOP/s passes for 989, the source's rounded 2.0e18 FLOP/s does not.
    exact = device_hours(right, dataclasses.replace(H100, flops=PEAK), MFU) / GPUS
    for name, given, value in (("hours", hours, exact), ("days", days, exact / 24)):
        other = {"hours": ("days", 1 / 24), "days": ("hours", 24)}[name]
        session.number(
            f"(a) wall-clock time ({name})",
            given,
            value,
            rtol=4e-3,
            mistakes={
                f"That is {other[0]}; give {name}.": value * other[1],
                "That is seconds.": exact * 3600,
                "That is minutes.": exact * 60,
                "Half the time: the cluster reaches 50% of its peak, and the peak is the dense one "
                "(1,979 TFLOP/s hold for matrices with zeros in half of their places).": (
                    value * MFU
                ),
                "You multiplied by the utilization: GPUs that work at less than their peak take "
                "longer, not shorter.": value * MFU**2,
                "312 TFLOP/s is an A100; these are H100s.": value * 989 / 312,
                "That is one GPU; 4,096 share the work.": value * GPUS,
                "That is 4,000 GPUs; there are 4,096.": value * 4096 / 4000,
                "Your operations are those of the forward pass alone.": value / 3,
                "Your operations are parameters times tokens: how many does each pair take?": (
                    value / 6
                ),
            },
        )


def _week(session: Session, given: Any) -> None:
    def least(days: float = 7, mfu: float = 0.38, effective: float = 0.9, factor: int = 6) -> int:
        device = dataclasses.replace(H100, flops=PEAK)
        flop = rule(N, D) * factor / 6
        return math.ceil(device_hours(flop, device, mfu) / effective / (24 * days))

    right = least()
    whole_number(
        session,
        "(c) GPUs for a week",
        given,
        right,
        rounding=math.ceil,
        not_whole="GPUs come whole: how many are enough?",
        mistakes={
            "With one GPU less than needed the run takes a little longer than 7 days: round "
            "up.": right - 1,
            "That is one GPU more than needed.": right + 1,
            "You keep the 50% of (a); here it is 38%.": least(mfu=0.5),
            "The interruptions are missing: progress is made in 90% of the time.": (
                least(effective=1)
            ),
            "You multiplied by the 90%: lost time calls for more GPUs, not fewer.": (
                math.ceil(least(effective=1) * 0.9)
            ),
            "That is at the peak; the GPUs reach 38% of it.": least(mfu=1),
            "You multiplied by the utilization; GPUs that work at less than their peak must be "
            "more.": math.ceil(least(mfu=1) * 0.38),
            "You keep the rates of (a): here it is 38%, and progress in 90% of the time.": (
                least(mfu=0.5, effective=1)
            ),
            "You multiplied by 38% and by 90%; both call for more GPUs, not fewer.": (
                math.ceil(least(mfu=1, effective=1) * 0.38 * 0.9)
            ),
            "That is at the peak all the time; the GPUs reach 38% of it, in 90% of the time.": (
                least(mfu=1, effective=1)
            ),
            "That is the forward pass alone; training goes backward, too.": least(factor=2),
            "That is for one day; the run may take 7.": least(days=1),
            "That is for 5 days; the run may take 7.": least(days=5),
        },
    )


def _compare(
    got: Any,
    n_parameters: float,
    n_tokens: float,
    n_gpus: float,
    peak: float,
    mfu: float,
    effective: float = 1.0,
) -> None:
    arguments = ", ".join(f"{value:g}" for value in (n_parameters, n_tokens, n_gpus, peak, mfu))
    call = f"training_days({arguments}{f', effective={effective:g}' if effective != 1 else ''})"
    try:
        value = math.nan if isinstance(got, bool | str | bytes | complex) else float(got)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise Failure(
            f"`{call}` should return one finite number; it returned {got!r:.60} "
            f"({type(got).__name__})."
        )
    right = rule(n_parameters, n_tokens) / (n_gpus * peak * mfu * effective) / 86400

    def near(target: float) -> bool:
        return math.isclose(value, target, rel_tol=1e-6)

    if near(right):
        return
    mistakes = {
        "The result is in seconds; give days.": right * 86400,
        "The result is in hours; give days.": right * 24,
        "The result is in minutes; give days.": right * 1440,
        "The utilization has no effect.": right * mfu,
        "You multiply by the utilization; GPUs that work at less than their peak take longer.": (
            right * mfu**2
        ),
        "`effective` has no effect.": right * effective,
        "You multiply by `effective`; time without progress makes the run longer.": (
            right * effective**2
        ),
        "The number of GPUs has no effect.": right * n_gpus,
        "You multiply by the number of GPUs; they share the work.": right * n_gpus**2,
        "That is the forward pass alone; training goes backward, too.": right / 3,
        "Half as much: a multiply-add is two operations, or `peak` is doubled as for sparsity.": (
            right / 2
        ),
        "Parameters times tokens: how many operations does each pair take?": right / 6,
        "That computes the forward pass twice; nothing says so here.": right * 4 / 3,
        "`mfu` arrives as a share, such as 0.35, not as a percentage.": right * 100,
        "`peak` arrives in FLOP/s, not in TFLOP/s.": right / 1e12,
        "The peak of an H100 is built in; use `peak`.": right * peak / PEAK,
        "The 4,096 GPUs are built in; use `n_gpus`.": right * n_gpus / GPUS,
        "The 50% are built in; use `mfu`.": right * mfu / MFU,
    }
    for message, wrong in mistakes.items():
        if near(wrong):
            raise Failure(message)
    if any(value == round(right, digits) for digits in range(4)):
        raise Failure("The result is rounded; return it with all its digits.")
    raise Failure(
        f"`{call}` returned {value:,.6g}, which is too {'long' if value > right else 'short'}.\n"
        "Operations of the run; operations that the cluster does in a second; seconds of a day."
    )
