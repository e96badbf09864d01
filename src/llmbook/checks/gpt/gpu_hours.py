"""Check of exercise 35.02, a training run in GPU-hours."""

from typing import Any

from llmbook.checks.engine import Result, Session
from llmbook.counting import A100, device_hours
from llmbook.counting import training_flops as rule

N, D = 7e9, 1e12
LLAMA_7B, LLAMA_7B_HOURS = 6.74e9, 82_432  # Touvron et al. (2023), LLaMA: tables 2 and 15


def gpu_hours(
    *,
    flop: Any = None,
    hours_at_peak: Any = None,
    hours_at_40: Any = None,
    days_on_256: Any = None,
    llama_mfu: Any = None,
    fewer: Any = None,
) -> Result:
    """Check a training run in GPU-hours; pass any subset.

    The run is 7 billion parameters on 1 trillion tokens, on A100 GPUs of 312 TFLOP/s.

    Parameters
    ----------
    flop
        (a) Floating-point operations of the run, by the rule of thumb.
    hours_at_peak
        (b) GPU-hours if the GPUs ran at their peak all the time.
    hours_at_40
        (c) GPU-hours at a model FLOPs utilization of 40%.
    days_on_256
        (c) Days that this takes on 256 GPUs.
    llama_mfu
        (d) Model FLOPs utilization of the run of LLaMA-7B, a fraction between 0 and 1.
    fewer
        (e) ``"a"``, ``"b"``, ``"c"`` or ``"d"``.
    """
    session = Session("gpu_hours")
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
            "That takes 20 tokens per parameter; this model sees 1 trillion.": rule(N, 20 * N),
        },
    )
    peak = device_hours(right, A100, 1)
    session.number(
        "(b) GPU-hours at the peak",
        hours_at_peak,
        peak,
        mistakes=_hours(peak),
    )
    at_40 = device_hours(right, A100, 0.4)
    session.number(
        "(c) GPU-hours at 40%",
        hours_at_40,
        at_40,
        mistakes={
            "You multiplied by the utilization: a GPU that works at less than its peak takes "
            "longer, not shorter.": peak * 0.4,
            "That is at the peak of (b).": peak,
            "You divided by 40; as a share, 40% is 0.40.": peak / 40,
            "That adds 40% to the time; at 40% of the rate, how much longer does it take?": (
                peak * 1.4
            ),
            "That adds 60% to the time; at 40% of the rate, how much longer does it take?": (
                peak * 1.6
            ),
            "That is at 60%: the GPUs reach 40% of their peak.": peak / 0.6,
            **_hours(at_40),
        },
    )
    days = at_40 / 256 / 24
    session.number(
        "(c) days on 256 GPUs",
        days_on_256,
        days,
        mistakes={
            "That is hours; a day has 24.": days * 24,
            "That is at the peak; the GPUs reach 40% of it.": days * 0.4,
            "You multiplied by the utilization: a GPU that works at less than its peak takes "
            "longer, not shorter.": days * 0.16,
            "That is one GPU; 256 share the work.": days * 256,
            "That divides by 24 twice.": days / 24,
            "That divides by 1,024; there are 256 GPUs.": days / 4,
            "That divides by 8; there are 256 GPUs.": days * 32,
        },
    )
    _llama(session, llama_mfu)
    session.choice(
        "(e) what makes the GPU-hours fewer",
        fewer,
        "c",
        {
            "a": "Twice the GPUs take half the hours each: the product stays, at best. More often "
            "it grows, since more GPUs have more to tell each other.",
            "b": "At the same utilization a larger batch has the same operations to do: the same "
            "parameters and tokens.",
            "d": "Recomputation executes more operations: it saves memory, and time only where "
            "the memory it saves is put to use.",
        },
    )
    return session.result()


def _hours(right: float) -> dict[str, float]:
    return {
        "That is seconds; an hour has 3,600.": right * 3600,
        "That is minutes; an hour has 60.": right * 60,
        "That is days; give hours.": right / 24,
        "That divides by 3,600 twice, or by 60 four times.": right / 3600,
        "624 TFLOP/s hold for matrices with a zero in every second place (structured sparsity); "
        "the dense peak is 312.": right / 2,
        "Only a sixth of the operations: each parameter takes more than one per token.": right / 6,
        "Only a third of the operations: training goes backward, too.": right / 3,
        "19.5 TFLOP/s is the rate of 32-bit arithmetic without Tensor Cores; the exercise gives "
        "312.": right * 312 / 19.5,
        "156 TFLOP/s is the rate of TF32; the exercise gives 312.": right * 2,
        "989 TFLOP/s is an H100; the exercise is about the A100.": right * 312 / 989,
        "A factor of 1,000 too much: a teraflop is 10¹² operations, a billion 10⁹.": right * 1e3,
        "A factor of 1,000 too little: a teraflop is 10¹² operations, a billion 10⁹.": right / 1e3,
    }


def _llama(session: Session, llama_mfu: Any) -> None:
    peak = device_hours(rule(LLAMA_7B, D), A100, 1)
    right = peak / LLAMA_7B_HOURS
    session.number(
        "(d) utilization of LLaMA-7B",
        llama_mfu,
        right,
        rtol=1e-2,
        mistakes={
            "The ratio is upside down: no run takes less time than at the peak.": 1 / right,
            "That takes 7 billion parameters; this model has 6.74.": right * N / LLAMA_7B,
            "That is the forward pass alone; training goes backward, too.": right / 3,
            "Half as much: are 624 TFLOP/s taken, which need structured sparsity? Or is a "
            "multiply-add counted once?": right / 2,
            "That is the time lost, not the share used.": 1 - right,
            "That is parameters times tokens over what the GPUs could do: how many operations "
            "does each pair take?": right / 6,
            "Off by 40%: the hours at the peak belong above, not those of (c).": right / 0.4,
            "Off by 40%, and with 7 billion parameters: the hours at the peak belong above, not "
            "those of (c).": right / 0.4 * N / LLAMA_7B,
            "That counts the operations twice: the 6 has the factor 2 in it.": 2 * right,
            "Off by a factor of 3,600: hours or seconds?": right / 3600,
            "Off by a factor of 3,600: seconds or hours?": right * 3600,
        },
    )
