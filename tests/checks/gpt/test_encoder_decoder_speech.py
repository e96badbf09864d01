"""The check of exercise 15.23 takes any right answer and names each known mistake."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch

from llmbook import check

# --- Right answers --------------------------------------------------------------------------------


def matrix(rows, inputs, outputs):
    """Operations of a matrix product."""
    return 2 * rows * inputs * outputs


def with_encoder_product_by_product(encoder_layers, decoder_layers, d_model, n_tokens, n_frames):
    d, n = d_model, n_frames
    audio = text = 0
    for _ in range(encoder_layers):
        audio += 4 * matrix(n, d, d) + 2 * matrix(n, d, n) + 2 * matrix(n, d, 4 * d)
    for _ in range(decoder_layers):
        audio += 2 * matrix(n, d, d)
        for seen in range(1, n_tokens + 1):
            text += 6 * matrix(1, d, d) + 2 * matrix(1, d, 4 * d)
            text += 2 * matrix(1, d, seen) + 2 * matrix(1, d, n)
    return audio, text


def with_encoder_closed(encoder_layers, decoder_layers, d_model, n_tokens, n_frames):
    d, n, t = sp.Integer(d_model), n_frames, n_tokens
    audio = encoder_layers * (24 * n * d**2 + 4 * n**2 * d) + 4 * decoder_layers * n * d**2
    text = decoder_layers * (28 * t * d**2 + 2 * t * (t + 1) * d + 4 * t * n * d)
    return {"audio": audio, "text": text}


def with_encoder_in_numpy(encoder_layers, decoder_layers, d_model, n_tokens, n_frames):
    d = float(d_model)
    frames = np.array([24 * d**2 + 4 * n_frames * d] * n_frames).sum() * encoder_layers
    cross = decoder_layers * n_frames * 4 * d**2
    seen = np.arange(1, n_tokens + 1) + n_frames
    text = (28 * d**2 + 4 * d * seen).sum() * decoder_layers
    return np.array([frames + cross, text])


def alone_product_by_product(layers, d_model, n_tokens, n_frames):
    d, n = d_model, n_frames
    audio = layers * (4 * matrix(n, d, d) + 2 * matrix(n, d, n) + 2 * matrix(n, d, 4 * d))
    text = 0
    for seen in range(n + 1, n + n_tokens + 1):
        text += layers * (4 * matrix(1, d, d) + 2 * matrix(1, d, 4 * d) + 2 * matrix(1, d, seen))
    return [audio, text]


def alone_closed(layers, d_model, n_tokens, n_frames):
    d, n, t = d_model, n_frames, n_tokens
    pairs = Fraction(t * (2 * n + t + 1), 2)
    return layers * d * n * (24 * d + 4 * n), layers * (24 * t * d**2 + 4 * d * pairs)


def alone_in_torch(layers, d_model, n_tokens, n_frames):
    text = sum(24 * d_model**2 + 4 * d_model * (n_frames + t + 1) for t in range(n_tokens))
    return torch.tensor(
        [layers * n_frames * (24 * d_model**2 + 4 * n_frames * d_model), layers * text],
        dtype=torch.float64,
    )


def delay_closed(chunk, run, agree):
    step = max(chunk, run)
    return step * (agree - 0.5) + run


def delay_by_simulation(chunk, run, agree):
    """Exact up to the grid: words at the middles of 1,000 equal parts of a step."""
    starts, moment = [0.0], 0.0
    for _ in range(agree + 1):
        moment = max(moment + chunk, moment + run)
        starts.append(moment)
    words = (np.arange(1000) + 0.5) / 1000 * starts[1]
    return np.mean(starts[agree] + run - words)


def delay_in_torch(chunk, run, agree):
    times = torch.tensor([chunk, run], dtype=torch.float64)
    return times.max() / 2 + times[1] + (agree - 1) * times.max()


RIGHT = {
    "equal_layers": 75,
    "flops_ratio": 2.057,
    "cache_mb": 262.144,
    "cache_only_mb": 614.4,
    "step_ms": 0.5561,
    "reencoding": 60,
    "why_again": "b",
}


@pytest.mark.parametrize(
    "functions",
    [
        (with_encoder_product_by_product, alone_product_by_product, delay_closed),
        (with_encoder_closed, alone_closed, delay_by_simulation),
        (with_encoder_in_numpy, alone_in_torch, delay_in_torch),
    ],
)
def test_right_answers_pass(functions):
    result = check.encoder_decoder_speech(*functions, **RIGHT)
    assert result.passed, result
    assert len(result.outcomes) == 18


@pytest.mark.parametrize(
    "numbers",
    [
        {"equal_layers": 74 + Fraction(2, 3), "flops_ratio": 2.048, "cache_only_mb": 611.67},
        {"equal_layers": torch.tensor(75), "flops_ratio": np.float32(2.06)},
        {"cache_mb": 262, "cache_only_mb": sp.Rational(6144, 10)},
        {"step_ms": 0.556, "reencoding": 60.0},
        {"step_ms": 0.56, "cache_mb": 260, "cache_only_mb": 610},
        {"why_again": " (B) "},
    ],
)
def test_other_formats_pass(numbers):
    result = check.encoder_decoder_speech(**numbers)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == len(numbers)


# --- Wrong operations -----------------------------------------------------------------------------


def wrong_with(change):
    """The right answer, changed: `change(parts, e, l, d, t, n)` returns audio, text."""

    def function(encoder_layers, decoder_layers, d_model, n_tokens, n_frames):
        e, layers, d, t, n = encoder_layers, decoder_layers, d_model, n_tokens, n_frames
        parts = {
            "weights": 24 * e * n * d**2,
            "scores": 4 * e * n**2 * d,
            "cross_kv": 4 * layers * n * d**2,
            "own": 24 * layers * t * d**2,
            "own_scores": 2 * layers * t * (t + 1) * d,
            "cross": 4 * layers * t * d**2,
            "cross_scores": 4 * layers * t * n * d,
        }
        audio = parts["weights"] + parts["scores"] + parts["cross_kv"]
        text = sum(parts[k] for k in ("own", "own_scores", "cross", "cross_scores"))
        return change(parts, audio, text, e, layers, d, t, n)

    return function


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p, a, x, *s: (a / 2, x), "Audio: a multiply–add"),
        (lambda p, a, x, *s: (a, x / 2), "Text: a multiply–add"),
        (lambda p, a, x, *s: (x, a), "swapped"),
        (lambda p, a, x, *s: (a - p["cross_kv"], x), "keys and values of cross-attention are miss"),
        (lambda p, a, x, *s: (a - p["cross_kv"] / 2, x), "keys *and* values"),
        (lambda p, a, x, e, n_l, *s: (a - p["cross_kv"] * (1 - 1 / n_l), x), "one decoder layer"),
        (lambda p, a, x, *s: (a - p["scores"], x), "Audio: the scores and the weighted sums"),
        (lambda p, a, x, *s: (a - p["scores"] / 2, x), "scores *and* weighted sums"),
        (
            lambda p, a, x, e, n_l, d, t, n: (a - 2 * e * n * (n - 1) * d, x),
            "no causal mask: each frame",
        ),
        (
            lambda p, a, x, e, n_l, d, t, n: (a - 2 * e * n * (n - 1) * d - p["cross_kv"], x),
            "and the keys and values",
        ),
        (lambda p, a, x, *s: (a - p["weights"] * 2 / 3, x), "Audio: the MLP is missing"),
        (lambda p, a, x, *s: (a - p["weights"] / 3, x), "Audio: the MLP has two matrices"),
        (lambda p, a, x, *s: (a + p["weights"] / 3, x), "not three"),
        (lambda p, a, x, *s: (a - p["weights"] / 12, x), "attention has four matrices"),
        (
            lambda p, a, x, e, n_l, d, t, n: (
                n_l * (24 * n * d**2 + 4 * n**2 * d) + 4 * e * n * d**2,
                x,
            ),
            "swapped",
        ),
        (lambda p, a, x, *s: (a + x, x), "that includes the text"),
        (lambda p, a, x, e, n_l, d, t, n: (a * t, x), "the encoder runs once"),
        (
            lambda p, a, x, e, n_l, d, t, n: (a + (t - 1) * p["cross_kv"], x),
            "Audio: the keys and values of cross-attention are counted again",
        ),
        (lambda p, a, x, *s: (a, x - p["cross"] - p["cross_scores"]), "cross-attention is missing"),
        (lambda p, a, x, *s: (a, x - p["cross_scores"]), "the scores of cross-attention are"),
        (lambda p, a, x, *s: (a, x - p["cross_scores"] / 2), "weighted sums of cross-attention"),
        (lambda p, a, x, *s: (a, x - p["cross"]), "for the queries and the output are missing"),
        (lambda p, a, x, *s: (a, x - p["cross"] / 2), "one for the output"),
        (lambda p, a, x, *s: (a, x + p["cross"]), "all four matrices of cross-attention"),
        (lambda p, a, x, *s: (a, x + p["cross_kv"]), "they belong to the audio"),
        (
            lambda p, a, x, e, n_l, d, t, n: (a, x + p["cross_kv"] * t),
            "Text: the keys and values of cross-attention are counted again",
        ),
        (lambda p, a, x, e, n_l, d, t, n: (a, x + 2 * n_l * t * (t - 1) * d), "all pairs"),
        (lambda p, a, x, e, n_l, d, t, n: (a, x - 4 * n_l * t * d), "to itself, too"),
        (lambda p, a, x, *s: (a, x - p["own_scores"]), "scores of self-attention"),
        (
            lambda p, a, x, e, n_l, d, t, n: (
                a,
                sum(
                    n_l * (28 * k * d**2 + 2 * k * (k + 1) * d + 4 * k * n * d)
                    for k in range(1, t + 1)
                ),
            ),
            "compute all tokens again",
        ),
        (
            lambda p, a, x, e, n_l, d, t, n: (
                a,
                sum(n_l * (28 * k * d**2 + 4 * k**2 * d + 4 * k * n * d) for k in range(1, t + 1)),
            ),
            "Without a mask, at that",
        ),
        (lambda p, a, x, e, n_l, d, t, n: (a, x - 2 * n_l * t * d), "half of the square"),
        (
            lambda p, a, x, *s: (a, x - p["own_scores"] - p["cross_scores"]),
            "Text: the scores and the weighted sums are missing",
        ),
        (lambda p, a, x, *s: (a, x - p["own"] / 3), "Text: the MLP has two matrices"),
        (
            lambda p, a, x, e, n_l, d, t, n: (a + 4 * e * n * d**2, x),
            "Audio: the encoder has no cross-attention",
        ),
        (
            lambda p, a, x, e, n_l, d, t, n: (a - p["cross_kv"] + 4 * e * n * d**2, x),
            "belong to the layers of the decoder",
        ),
        (lambda p, a, x, e, n_l, d, t, n: (a, x / t), "that is one token"),
        (lambda p, a, x, *s: (a, x - p["own"] * 2 / 3), "Text: the MLP is missing"),
        (lambda p, a, x, *s: (a, a + x), "that includes the audio"),
        (lambda p, a, x, e, n_l, *s: (a, x * e / n_l), "not that of the encoder"),
        (lambda p, a, x, *s: (a * 1.01, x), "too many"),
        (lambda p, a, x, *s: (a, x * 0.99), "too few"),
        (lambda p, a, x, *s: a + x, "two numbers"),
        (lambda p, a, x, *s: (a, math.inf), "finite"),
        (lambda p, a, x, *s: (a, "many"), "A number is expected"),
        (lambda p, a, x, *s: (a, 1j), "One real number"),
        (lambda p, a, x, *s: p["nope"], "raised KeyError"),
    ],
)
def test_wrong_operations_with_an_encoder_are_named(change, named):
    result = check.encoder_decoder_speech(wrong_with(change))
    assert result.status == "failed"
    assert named in result.messages
    assert "itself broke" not in result.messages


def wrong_alone(change):
    def function(layers, d_model, n_tokens, n_frames):
        d, t, n = d_model, n_tokens, n_frames
        parts = {
            "weights": 24 * layers * n * d**2,
            "scores": 4 * layers * n**2 * d,
            "own": 24 * layers * t * d**2,
            "own_scores": 2 * layers * t * (t + 1) * d,
            "to_frames": 4 * layers * t * n * d,
        }
        audio = parts["weights"] + parts["scores"]
        text = parts["own"] + parts["own_scores"] + parts["to_frames"]
        return change(parts, audio, text, layers, d, t, n)

    return function


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p, a, x, *s: (a / 2, x), "Audio: a multiply–add"),
        (lambda p, a, x, *s: (a, x / 2), "Text: a multiply–add"),
        (lambda p, a, x, *s: (x, a), "swapped"),
        (lambda p, a, x, *s: (a - p["scores"], x), "Audio: the scores and the weighted sums"),
        (lambda p, a, x, *s: (a - p["scores"] / 2, x), "Audio: scores *and* weighted"),
        (lambda p, a, x, n_l, d, t, n: (a - 2 * n_l * n * (n - 1) * d, x), "without a mask among"),
        (lambda p, a, x, *s: (a - p["weights"] * 2 / 3, x), "Audio: the MLP is missing"),
        (lambda p, a, x, *s: (a + p["weights"] / 3, x), "not three"),
        (lambda p, a, x, n_l, d, t, n: (a + 4 * n_l * n * d**2, x), "Audio: there is no cross"),
        (lambda p, a, x, *s: (a + x, x), "that includes the text"),
        (lambda p, a, x, n_l, d, t, n: (a * t, x), "counted once for each text token"),
        (lambda p, a, x, *s: (a, x - p["to_frames"]), "to all frames, too"),
        (
            lambda p, a, x, *s: (a, x - (p["to_frames"] + p["own_scores"]) / 2),
            "Text: scores *and* weighted",
        ),
        (lambda p, a, x, *s: (a, x + p["own"] / 6), "Text: there is no cross"),
        (lambda p, a, x, n_l, d, t, n: (a, x + 2 * n_l * t * (t - 1) * d), "all pairs"),
        (lambda p, a, x, n_l, d, t, n: (a, x - 4 * n_l * t * d), "to itself, too"),
        (lambda p, a, x, *s: (a, x - p["own_scores"]), "not to the frames alone"),
        (lambda p, a, x, n_l, d, t, n: (a, x / t), "that is one token"),
        (lambda p, a, x, *s: (a, x - p["own"] * 2 / 3), "Text: the MLP is missing"),
        (lambda p, a, x, *s: (a, a + x), "that includes the audio"),
        (
            lambda p, a, x, n_l, d, t, n: (
                a,
                sum(n_l * (24 * k * d**2 + 4 * k**2 * d) for k in range(n + 1, n + t + 1)),
            ),
            "go through the layers again",
        ),
        (lambda p, a, x, n_l, d, t, n: (a, x - 2 * n_l * t * d), "half of the square"),
        (
            lambda p, a, x, n_l, d, t, n: (
                a,
                n_l * (24 * t * d**2 + 4 * ((n + t) ** 2 - n**2) * d),
            ),
            "frames do not attend to the tokens",
        ),
        (
            lambda p, a, x, n_l, d, t, n: (a, n_l * (24 * (t + n) * d**2 + 4 * (n + t) ** 2 * d)),
            "in one pass, without a mask",
        ),
        (
            lambda p, a, x, n_l, d, t, n: (
                a,
                sum(
                    n_l * (24 * k * d**2 + 2 * k * (k + 1) * d + 4 * k * n * d)
                    for k in range(1, t + 1)
                ),
            ),
            "compute all tokens again",
        ),
        (
            lambda p, a, x, n_l, d, t, n: (
                a,
                sum(n_l * (24 * k * d**2 + 4 * k**2 * d + 4 * k * n * d) for k in range(1, t + 1)),
            ),
            "Without a mask, at that",
        ),
        (
            lambda p, a, x, *s: (a, x - p["own_scores"] - p["to_frames"]),
            "Text: the scores and the weighted sums are missing",
        ),
        (lambda p, a, x, *s: (a, x - p["own"] / 3), "Text: the MLP has two matrices"),
        (lambda p, a, x, *s: (a, x + 1e9), "too many"),
        (lambda p, a, x, *s: None, "two numbers"),
    ],
)
def test_wrong_operations_of_one_stack_are_named(change, named):
    result = check.encoder_decoder_speech(decoder_only_flops=wrong_alone(change))
    assert "itself broke" not in result.messages
    if named == "two numbers":  # None may be an untouched placeholder
        assert not result.passed
        return
    assert result.status == "failed"
    assert named in result.messages


def whole(chunk, run):
    """The step if runs start at the ends of chunks only."""
    return math.ceil(run / chunk) * chunk


DELAYS = [
    (lambda c, r, k: c / 2 + r + (k - 1) * c, "keeps the next one waiting"),
    (lambda c, r, k: max(c, r) * k + r, "worst case"),
    (lambda c, r, k: r + (k - 1) * max(c, r), "best case"),
    (lambda c, r, k: max(c, r) * (k - 0.5), "run itself takes time"),
    (lambda c, r, k: max(c, r) * (k + 0.5) + r, "the first one included"),
    (lambda c, r, k: max(c, r) / 2 + r, "`agree` has no effect"),
    (lambda c, r, k: max(c, r) * (k - 0.5) + k * r, "on top"),
    (lambda c, r, k: max(c, r) / 2 + k * r, "a whole chunk if it is longer"),
    (lambda c, r, k: k * (max(c, r) / 2 + r), "Only the first run is waited for"),
    (lambda c, r, k: (c + r) * (k - 0.5) + r, "side by side"),
    (lambda c, r, k: min(c, r) * (k - 0.5) + r, "you take the faster"),
    (lambda c, r, k: c / 2 + r + (k - 1) * max(c, r), "The word, too, waits"),
    (lambda c, r, k: whole(c, r) * (k - 0.5) + r, "does not wait for the end of a chunk"),
    (lambda c, r, k: 1000 * delay_closed(c, r, k), "in milliseconds"),
]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        *DELAYS,
        (lambda c, r, k: 10.0, "too long"),
        (lambda c, r, k: 0.0, "too short"),
        (lambda c, r, k: "soon", "A number is expected"),
        (lambda c, r, k: [1, 2], "One real number"),
    ],
)
def test_wrong_delays_are_named(wrong, named):
    result = check.encoder_decoder_speech(mean_delay=wrong)
    assert result.status == "failed"
    assert named in result.messages
    assert "itself broke" not in result.messages


@pytest.mark.parametrize(("wrong", "named"), DELAYS)
def test_no_wrong_delay_gets_a_false_name(wrong, named):
    outcomes = check.encoder_decoder_speech(mean_delay=wrong).outcomes
    names = [name for _, name in DELAYS if name != named]
    if named in ("you take the faster", "The word, too, waits"):
        names.remove("keeps the next one waiting")  # as true, where runs are longer than chunks
    for message in (o.message for o in outcomes if o.status == "failed"):
        assert not any(name in message for name in names)


# --- Wrong numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({"equal_layers": 64}, "more weights than a layer without"),
        ({"equal_layers": 32}, "alone"),
        ({"equal_layers": 74}, "rounded down"),
        ({"equal_layers": 69.33}, "four matrices, as its self-attention"),
        ({"equal_layers": 85.33}, "both halves"),
        ({"equal_layers": 96}, "the MLP is there once"),
        ({"flops_ratio": 0.486}, "over the decoder-only"),
        ({"flops_ratio": 1.755}, "64 layers"),
        ({"flops_ratio": 1.057}, "how many times as much"),
        ({"cache_mb": 131.07}, "keys or values alone"),
        ({"cache_mb": 524.3}, "2 bytes"),
        ({"cache_mb": 8.192}, "one layer"),
        ({"cache_mb": 245.76}, "those of the text are missing"),
        ({"cache_mb": 16.384}, "those of the frames are missing"),
        ({"cache_mb": 319.16}, "448 tokens"),
        ({"cache_mb": 507.9}, "halves the 3,000 frames"),
        ({"cache_mb": 3.84}, "output of the encoder"),
        ({"cache_mb": 250}, "prefixes are mixed up"),
        ({"cache_mb": 0.262}, "unit prefix"),
        ({"cache_only_mb": 262.1}, "for 32 layers"),
        ({"cache_only_mb": 524.3}, "64 layers"),
        ({"cache_only_mb": 576}, "those of the text are missing"),
        ({"cache_only_mb": 307.2}, "keys or values alone"),
        ({"cache_only_mb": 8.192}, "one layer"),
        ({"step_ms": 0.6187}, "make keys and values of the frames are not read"),
        ({"step_ms": 0.5164}, "makes logits of the last state"),
        ({"step_ms": 0.579}, "matrix that makes logits is missing"),
        ({"step_ms": 0.4778}, "cache is read in each step"),
        ({"step_ms": 0.5404}, "cache is read in each step, too, and"),
        ({"step_ms": 0.9317}, "The encoder has done its work"),
        ({"step_ms": 0.9943}, "The encoder, and the weights"),
        ({"step_ms": 1.1122}, "4 bytes"),
        ({"step_ms": 55.61}, "all 100 tokens"),
        ({"step_ms": 0.0005561}, "in seconds"),
        ({"step_ms": 556.1}, "in microseconds"),
        ({"step_ms": 0.5957}, "counted twice"),
        ({"step_ms": 0.4935}, "matrix for the queries and one for the output"),
        ({"step_ms": 0.4828}, "keys and values of the frames are in the cache"),
        ({"step_ms": 0.4201}, "What cross-attention uses in a step"),
        ({"reencoding": 30}, "chunk of one second"),
        ({"reencoding": 15}, "two runs a second"),
        ({"reencoding": 2}, "runs there are in a second"),
        ({"reencoding": 1}, "Nothing is kept"),
        ({"reencoding": 25}, "frames a chunk has"),
        ({"why_again": "a"}, "Cross-attention reads"),
        ({"why_again": "c"}, "positions of the text"),
        ({"why_again": "d"}, "about the audio"),
        ({"why_again": "e"}, "Choose one of"),
    ],
)
def test_wrong_numbers_are_named(answer, named):
    result = check.encoder_decoder_speech(**answer)
    assert result.status == "failed"
    assert named in result.messages


# --- No answer, no sense, no leak -----------------------------------------------------------------


def untouched(*args): ...  # your code: return audio, text


@pytest.mark.parametrize("answer", [{}, dict.fromkeys(RIGHT)])
def test_not_attempted(answer):
    assert check.encoder_decoder_speech(**answer).status == "not attempted"
    result = check.encoder_decoder_speech(untouched, untouched, untouched, **answer)
    assert result.status == "not attempted"


@pytest.mark.parametrize("name", [name for name in RIGHT if name != "why_again"])
@pytest.mark.parametrize("rubbish", ["64", [64], {}, math.nan, 3 + 0j, object(), math.inf])
def test_rubbish_fails_without_an_exception(name, rubbish):
    assert check.encoder_decoder_speech(**{name: rubbish}).status == "failed"


@pytest.mark.parametrize("rubbish", [3, "bytes", [], torch.ones(2), lambda: 1, lambda *a: object()])
def test_rubbish_functions_fail_without_an_exception(rubbish):
    result = check.encoder_decoder_speech(rubbish, rubbish, rubbish, why_again=rubbish)
    assert result.status == "failed"
    assert "itself broke" not in result.messages


def test_the_answer_is_not_leaked():
    wrong = dict.fromkeys(RIGHT, 3.7)
    messages = check.encoder_decoder_speech(
        lambda *a: (1, 2), lambda *a: (1, 2), lambda *a: 0.1, **wrong
    ).messages
    for right in ("75", "74", "2.05", "262", "614", "0.556", "60"):
        assert right not in messages
