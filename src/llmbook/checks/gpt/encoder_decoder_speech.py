"""Check of exercise 15.23, encoder-decoder against decoder-only for speech."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from llmbook.checks.engine import Failure, Result, Session, to_tensor
from llmbook.counting import H100, Shape, forward_flops

# Whisper large-v3: Radford et al. (2022), table 1, and the released configuration.
LAYERS, WIDTH, VOCABULARY = 32, 1280, 51866
FRAMES, TOKENS = 1500, 100
EQUAL_LAYERS = 75


def encoder_decoder_speech(
    encoder_decoder_flops: Callable[..., Any] | None = None,
    decoder_only_flops: Callable[..., Any] | None = None,
    mean_delay: Callable[..., Any] | None = None,
    *,
    equal_layers: Any = None,
    flops_ratio: Any = None,
    cache_mb: Any = None,
    cache_only_mb: Any = None,
    step_ms: Any = None,
    reencoding: Any = None,
    why_again: Any = None,
) -> Result:
    """Check the calculator of a speech recognizer; pass any subset.

    A multiply–add is two operations; only matrix products in the Transformer layers count (no
    convolutions, no vocabulary). The numbers are for Whisper large-v3, 30 s of audio, 100 tokens of
    text and 2 bytes per number; 1 MB is 10⁶ bytes.

    Parameters
    ----------
    encoder_decoder_flops
        Called as ``encoder_decoder_flops(encoder_layers, decoder_layers, d_model, n_tokens,
        n_frames)``. Returns two numbers: the operations done once per audio, and those for all
        `n_tokens` text tokens together.
    decoder_only_flops
        Called as ``decoder_only_flops(layers, d_model, n_tokens, n_frames)``. Returns the same two.
    mean_delay
        Called as ``mean_delay(chunk, run, agree)``, seconds, seconds and a whole number. Returns
        seconds.
    equal_layers
        Layers of the decoder-only model with as many weights in its layers as large-v3.
    flops_ratio
        Operations of that model over those of large-v3, audio and text together.
    cache_mb, cache_only_mb
        MB of keys and values at the end of the text, large-v3 and that model.
    step_ms
        Milliseconds that an H100 needs at least to read what the last token's step of large-v3
        needs.
    reencoding
        How many times each frame passes the encoder, with a window of 30 s and a chunk of 0.5 s.
    why_again
        ``"a"``, ``"b"``, ``"c"`` or ``"d"``.
    """
    session = Session("encoder_decoder_speech")
    _encoder_decoder(session, encoder_decoder_flops)
    _decoder_only(session, decoder_only_flops)
    _mean_delay(session, mean_delay)
    _numbers(session, equal_layers, flops_ratio, cache_mb, cache_only_mb, step_ms, reencoding)
    session.choice(
        "(e) why the whole window is encoded again",
        why_again,
        "b",
        {
            "a": "Cross-attention reads what the encoder has made; it changes nothing there, and "
            "it would be glad of a few more states.",
            "c": "The positions of the text have nothing to do with the audio; those of the audio "
            "are fixed, and do not change as more comes in.",
            "d": "That makes text slow to come, but the question is about the audio.",
        },
    )
    return session.result()


# --- (b) Operations -------------------------------------------------------------------------------


def _stack(layers: int, d_model: int, n: int, *, causal: bool = False) -> dict[str, int]:
    """Return the operations of a plain Transformer over n positions, by kind, without a head."""
    shape = Shape(layers, d_model, 1, 1, 4 * d_model, vocab_size=1, gated=False)
    flops = forward_flops(shape, n, causal=causal)
    return {name: flops[name] for name in ("projections", "scores", "mlp")}


def _total(*parts: Mapping[str, int]) -> int:
    return sum(sum(part.values()) for part in parts)


def _two_numbers(got: Any) -> tuple[float, float]:
    if isinstance(got, dict) and len(got) == 2:
        got = tuple(got.values())
    try:
        audio, text = got
    except (TypeError, ValueError):
        raise Failure(
            "Return two numbers, the operations for the audio and those for the text; got "
            f"{type(got).__name__}."
        ) from None
    return _number(audio), _number(text)


def _number(value: Any) -> float:
    if isinstance(value, str | bytes | bool):
        raise Failure(f"A number is expected; got {value!r:.60}.")
    tensor = to_tensor(value, "your number")
    if tensor.numel() != 1 or tensor.is_complex():
        raise Failure(f"One real number is expected; got a tensor of shape {tuple(tensor.shape)}.")
    number = float(tensor)
    if not math.isfinite(number):
        raise Failure(f"A finite number is expected; got {number}.")
    return number


def _near(a: float, b: float, rtol: float = 1e-6) -> bool:
    return math.isclose(a, b, rel_tol=rtol)


def _judge(part: str, value: float, right: float, mistakes: Mapping[str, float], call: str) -> None:
    if _near(value, right):
        return
    for message, wrong in mistakes.items():
        if not _near(right, wrong) and _near(value, wrong):
            raise Failure(f"{part}: {message}")
    direction = "too many" if value > right else "too few"
    raise Failure(
        f"{part}: `{call}` gives {value:.6g} operations, which is {direction}. Go through a layer "
        "product by product: which matrices, how many times, for how many positions?"
    )


HALF_SQUARE = (
    "half of the square counts only half of the pairs of a token with itself; count them exactly."
)
NO_CACHE = (
    "the keys of earlier tokens are in the cache; you compute all tokens again for each new one."
)


def _encoder_decoder(session: Session, function: Any) -> None:
    def compare(encoder: int, decoder: int, d: int, n_tokens: int, n_frames: int) -> None:
        arguments = (encoder, decoder, d, n_tokens, n_frames)
        audio, text = _two_numbers(session.call(function, *arguments))
        frames, own = _stack(encoder, d, n_frames), _stack(decoder, d, n_tokens, causal=True)
        cross_kv = 4 * decoder * n_frames * d**2
        cross_qo = 4 * decoder * n_tokens * d**2
        cross_scores = 4 * decoder * n_tokens * n_frames * d
        right_audio = _total(frames) + cross_kv
        right_text = _total(own) + cross_qo + cross_scores
        if not _near(audio, text) and _near(audio, right_text) and _near(text, right_audio):
            raise Failure("The two are swapped: first the audio, then the text.")
        call = f"encoder_decoder_flops({', '.join(map(str, arguments))})"
        swapped = _total(_stack(decoder, d, n_frames)) + 4 * encoder * n_frames * d**2
        _judge(
            "Audio",
            audio,
            right_audio,
            {
                "a multiply–add counts as two operations.": right_audio / 2,
                "the keys and values of cross-attention are missing. Each decoder layer computes "
                "its own from the encoder's output, once.": right_audio - cross_kv,
                "each decoder layer has keys *and* values of its own.": right_audio - cross_kv / 2,
                "the keys and values of cross-attention are counted for one decoder layer; each "
                "has its own.": right_audio - cross_kv * (1 - 1 / decoder),
                "the scores and the weighted sums are missing; they grow with the square of the "
                "number of frames.": right_audio - frames["scores"],
                "scores *and* weighted sums are matrix products.": right_audio
                - frames["scores"] / 2,
                "the encoder has no causal mask: each frame attends to all of them.": _total(
                    _stack(encoder, d, n_frames, causal=True)
                )
                + cross_kv,
                "the encoder has no causal mask: each frame attends to all of them; and the keys "
                "and values of cross-attention are missing.": _total(
                    _stack(encoder, d, n_frames, causal=True)
                ),
                "the MLP is missing.": right_audio - frames["mlp"],
                "the MLP has two matrices.": right_audio - frames["mlp"] / 2,
                "the MLP is four times as wide as the model, and has two matrices, not three.": (
                    right_audio + frames["mlp"] / 2
                ),
                "attention has four matrices: of queries, keys, values, and the output's.": (
                    right_audio - frames["projections"] / 4
                ),
                "the encoder has no cross-attention.": right_audio + 4 * encoder * n_frames * d**2,
                "keys and values of cross-attention belong to the layers of the decoder; you take "
                "the number of the encoder's.": _total(frames) + 4 * encoder * n_frames * d**2,
                "the layers of the encoder and of the decoder are swapped.": swapped,
                "that includes the text.": right_audio + right_text,
                "the audio is counted once for each text token; the encoder runs once.": right_audio
                * n_tokens,
                "the keys and values of cross-attention are counted again for each token; they do "
                "not depend on the text.": _total(frames) + cross_kv * n_tokens,
            },
            call,
        )
        full = _total(_stack(decoder, d, n_tokens))
        again = sum(_total(_stack(decoder, d, t, causal=True)) for t in range(1, n_tokens + 1))
        again_full = sum(_total(_stack(decoder, d, t)) for t in range(1, n_tokens + 1))
        cross_again = (cross_qo + cross_scores) * (n_tokens + 1) // 2
        _judge(
            "Text",
            text,
            right_text,
            {
                "a multiply–add counts as two operations.": right_text / 2,
                "cross-attention is missing: two more matrices in each layer, and the scores with "
                "all frames.": right_text - cross_qo - cross_scores,
                "the scores of cross-attention are missing: each token attends to all frames.": (
                    right_text - cross_scores
                ),
                "scores *and* weighted sums of cross-attention are matrix products.": right_text
                - cross_scores / 2,
                "the two matrices of cross-attention for the queries and the output are missing.": (
                    right_text - cross_qo
                ),
                "cross-attention has a matrix for the queries and one for the output.": right_text
                - cross_qo / 2,
                "you count all four matrices of cross-attention for each token. Keys and values "
                "come from the audio, and are computed once.": right_text + cross_qo,
                "the keys and values of cross-attention are counted here; they belong to the "
                "audio.": right_text + cross_kv,
                "the keys and values of cross-attention are counted again for each token; they do "
                "not depend on the text.": right_text + cross_kv * n_tokens,
                "each token attends to those before it and to itself; you count all pairs.": (
                    right_text - _total(own) + full
                ),
                "a token attends to itself, too.": right_text - 4 * decoder * n_tokens * d,
                HALF_SQUARE: right_text - 2 * decoder * n_tokens * d,
                "the scores of self-attention are missing.": right_text - own["scores"],
                "the scores and the weighted sums are missing.": right_text
                - own["scores"]
                - cross_scores,
                NO_CACHE: again + cross_again,
                f"{NO_CACHE} (Without a mask, at that.)": again_full + cross_again,
                "that is one token; the question asks for all of them together.": right_text
                / n_tokens,
                "the MLP is missing.": right_text - own["mlp"],
                "the MLP has two matrices.": right_text - own["mlp"] / 2,
                "that includes the audio.": right_audio + right_text,
                "the number of layers of the decoder counts here, not that of the encoder.": (
                    right_text / decoder * encoder
                ),
            },
            call,
        )

    @session.test("(b) encoder-decoder: one layer each, one token")
    def _() -> None:
        compare(1, 1, 10, 1, 7)

    @session.test("(b) encoder-decoder: several tokens")
    def _() -> None:
        compare(1, 1, 12, 5, 9)

    @session.test("(b) encoder-decoder: several layers")
    def _() -> None:
        compare(3, 2, 8, 6, 11)

    @session.test("(b) encoder-decoder: the sizes of Whisper tiny and turbo")
    def _() -> None:
        compare(4, 4, 384, 27, FRAMES)
        compare(32, 4, 1280, 448, FRAMES)


def _decoder_only(session: Session, function: Any) -> None:
    def compare(layers: int, d: int, n_tokens: int, n_frames: int) -> None:
        arguments = (layers, d, n_tokens, n_frames)
        audio, text = _two_numbers(session.call(function, *arguments))
        frames, own = _stack(layers, d, n_frames), _stack(layers, d, n_tokens, causal=True)
        full = _stack(layers, d, n_tokens)
        again, again_full = (
            sum(_total(_stack(layers, d, t, causal=causal)) for t in range(1, n_tokens + 1))
            for causal in (True, False)
        )
        to_frames = 4 * layers * n_tokens * n_frames * d
        right_audio, right_text = _total(frames), _total(own) + to_frames
        if not _near(audio, text) and _near(audio, right_text) and _near(text, right_audio):
            raise Failure("The two are swapped: first the audio, then the text.")
        call = f"decoder_only_flops({', '.join(map(str, arguments))})"
        _judge(
            "Audio",
            audio,
            right_audio,
            {
                "a multiply–add counts as two operations.": right_audio / 2,
                "the scores and the weighted sums are missing; they grow with the square of the "
                "number of frames.": right_audio - frames["scores"],
                "scores *and* weighted sums are matrix products.": right_audio
                - frames["scores"] / 2,
                "the frames are a prefix without a mask among themselves: each attends to all of "
                "them.": _total(_stack(layers, d, n_frames, causal=True)),
                "the MLP is missing.": right_audio - frames["mlp"],
                "the MLP is four times as wide as the model, and has two matrices, not three.": (
                    right_audio + frames["mlp"] / 2
                ),
                "there is no cross-attention in a decoder-only model.": right_audio
                + 4 * layers * n_frames * d**2,
                "that includes the text.": right_audio + right_text,
                "the frames are counted once for each text token; their keys and values are in "
                "the cache.": right_audio * n_tokens,
            },
            call,
        )
        _judge(
            "Text",
            text,
            right_text,
            {
                "a multiply–add counts as two operations.": right_text / 2,
                "each token attends to all frames, too.": right_text - to_frames,
                "scores *and* weighted sums are matrix products.": right_text
                - to_frames / 2
                - own["scores"] / 2,
                "there is no cross-attention in a decoder-only model: frames and text are one "
                "sequence for the same four matrices.": right_text + 4 * layers * n_tokens * d**2,
                "each token attends to those before it and to itself; you count all pairs.": (
                    right_text - _total(own) + _total(full)
                ),
                "a token attends to itself, too.": right_text - 4 * layers * n_tokens * d,
                HALF_SQUARE: right_text - 2 * layers * n_tokens * d,
                "the tokens attend to the frames, but the frames do not attend to the tokens.": (
                    right_text - own["scores"] + full["scores"] + to_frames
                ),
                "the scores and the weighted sums are missing.": right_text
                - own["scores"]
                - to_frames,
                NO_CACHE: again + to_frames * (n_tokens + 1) // 2,
                f"{NO_CACHE} (Without a mask, at that.)": again_full
                + to_frames * (n_tokens + 1) // 2,
                "that is frames and tokens in one pass, without a mask; the question asks for "
                "the tokens alone.": _total(_stack(layers, d, n_frames + n_tokens)),
                "the MLP has two matrices.": right_text - own["mlp"] / 2,
                "each token attends to the earlier tokens and itself, too, not to the frames "
                "alone.": right_text - own["scores"],
                "that is one token; the question asks for all of them together.": right_text
                / n_tokens,
                "the MLP is missing.": right_text - own["mlp"],
                "that includes the audio.": right_audio + right_text,
                "the frames go through the layers again for each token; their keys and values are "
                "in the cache.": sum(
                    _total(_stack(layers, d, n_frames + t)) for t in range(1, n_tokens + 1)
                ),
            },
            call,
        )

    @session.test("(b) decoder-only: one layer, one token")
    def _() -> None:
        compare(1, 10, 1, 7)

    @session.test("(b) decoder-only: several layers and tokens")
    def _() -> None:
        compare(3, 8, 6, 11)

    @session.test("(b) decoder-only: the width of Whisper small")
    def _() -> None:
        compare(28, 768, 100, FRAMES)


# --- (d) Delay ------------------------------------------------------------------------------------


def _mean_delay(session: Session, function: Any) -> None:
    def compare(chunk: float, run: float, agree: int) -> None:
        value = _number(session.call(function, chunk, run, agree))
        step = max(chunk, run)
        whole = math.ceil(run / chunk) * chunk  # starts at the ends of chunks only
        right = step / 2 + run + (agree - 1) * step
        if _near(value, right, 1e-4):
            return
        for message, wrong in {
            "A run that takes longer than a chunk keeps the next one waiting: the runs are then "
            "further apart than `chunk`.": chunk / 2 + run + (agree - 1) * chunk,
            "That is the worst case, a word that ends just after a run has started. Words end at "
            "any moment, and the question asks for the mean.": step + run + (agree - 1) * step,
            "That is the best case, a word that ends just before a run starts. Words end at any "
            "moment, and the question asks for the mean.": run + (agree - 1) * step,
            "The run itself takes time, too.": step / 2 + (agree - 1) * step,
            "`agree` runs in a row have to show the word, the first one included.": step / 2
            + run
            + agree * step,
            "`agree` has no effect: the word is shown when the last of so many runs is done.": (
                step / 2 + run
            ),
            "The runs that have to agree start one step apart, and you add the time of each run "
            "on top.": step / 2 + agree * run + (agree - 1) * step,
            "Only the first run is waited for from the end of the word on; the runs after it start "
            "one step apart.": agree * (step / 2 + run),
            "The next run starts when the chunk is there *and* the last run is done; the two times "
            "pass side by side.": (chunk + run) / 2 + run + (agree - 1) * (chunk + run),
            "The runs start at the rate of the slower of the two, new audio and runs; you take the "
            "faster.": min(chunk, run) / 2 + run + (agree - 1) * min(chunk, run),
            "The word, too, waits for the next start, and the starts may be further apart than "
            "`chunk`.": chunk / 2 + run + (agree - 1) * step,
            "A run that is late starts as soon as the last one is done, and does not wait for the "
            "end of a chunk.": whole / 2 + run + (agree - 1) * whole,
            "That is in milliseconds; the question asks for seconds.": 1000 * right,
            "That is for runs that wait for nothing but each other; between the starts of two "
            "lies a whole chunk if it is longer than a run.": step / 2 + agree * run,
        }.items():
            if not _near(right, wrong, 1e-4) and _near(value, wrong, 1e-4):
                raise Failure(message)
        raise Failure(
            f"`mean_delay({chunk}, {run}, {agree})` gives {value:.4g} s, which is "
            f"{'too long' if value > right else 'too short'}. Draw a time line with the starts and "
            "the ends of the runs, and put a word on it."
        )

    @session.test("(d) mean delay, one run is enough")
    def _() -> None:
        compare(1.0, 0.3, 1)

    @session.test("(d) mean delay, two runs have to agree")
    def _() -> None:
        compare(2.0, 0.7, 2)

    @session.test("(d) mean delay, three runs have to agree")
    def _() -> None:
        compare(0.5, 0.15, 3)

    @session.test("(d) mean delay, runs longer than a chunk")
    def _() -> None:
        compare(0.5, 1.7, 4)
        compare(0.5, 1.25, 1)


# --- (c), (d) Numbers -----------------------------------------------------------------------------


def _numbers(
    session: Session,
    equal_layers: Any,
    flops_ratio: Any,
    cache_mb: Any,
    cache_only_mb: Any,
    step_ms: Any,
    reencoding: Any,
) -> None:
    d = WIDTH
    session.number(
        "(c) layers of equal weight",
        equal_layers,
        EQUAL_LAYERS - 0.25,  # takes 74⅔, and 75
        rtol=0,
        atol=0.26,
        mistakes={
            "A decoder layer of Whisper has more weights than a layer without cross-attention.": 64,
            "That is the encoder, or the decoder, alone.": 32,
            "That is rounded down; the question asks for the nearest whole number.": 74,
            "The cross-attention of a layer has four matrices, as its self-attention has: count "
            "the weights of its keys and values, too.": 32 + 32 * 14 / 12,
            "That gives both halves of Whisper cross-attention.": 2 * 32 * 16 / 12,
            "Cross-attention adds four matrices of width × width; the MLP is there once.": (
                32 + 32 * 24 / 12
            ),
        },
    )
    text_scores = TOKENS * FRAMES + TOKENS * (TOKENS + 1) // 2
    cross = LAYERS * 4 * FRAMES * d**2
    audio = _total(_stack(LAYERS, d, FRAMES)) + cross
    text = _total(_stack(LAYERS, d, TOKENS, causal=True)) + LAYERS * (
        4 * TOKENS * d**2 + 4 * TOKENS * FRAMES * d
    )

    def alone(layers: float) -> tuple[float, float]:
        per_layer = _total(_stack(1, d, FRAMES)), 24 * TOKENS * d**2 + 4 * text_scores * d
        return layers * per_layer[0], layers * per_layer[1]

    both = audio + text
    ratio = sum(alone(EQUAL_LAYERS)) / both
    session.number(
        "(c) operations, decoder-only over encoder-decoder",
        flops_ratio,
        ratio,
        rtol=7e-3,  # 74⅔ layers or 75
        mistakes={
            "That is the encoder-decoder over the decoder-only model.": 1 / ratio,
            "That is for 64 layers, which have fewer weights.": sum(alone(64)) / both,
            "That is by how much it is more; the question asks how many times as much.": ratio - 1,
        },
    )
    per_position = 2 * d * 2
    cache = LAYERS * (FRAMES + TOKENS) * per_position / 1e6
    caches = {
        "That is keys or values alone; the cache holds both.": 0.5,
        "Each number has 2 bytes.": 2.0,
        "That is one layer.": 1 / LAYERS,
        "The cache holds the keys and values of the frames alone; those of the text are missing.": (
            FRAMES / (FRAMES + TOKENS)
        ),
        "The cache holds the keys and values of the text alone; those of the frames are missing.": (
            TOKENS / (FRAMES + TOKENS)
        ),
        "That is for a text of 448 tokens, the most there can be; here it has 100.": (
            (FRAMES + 448) / (FRAMES + TOKENS)
        ),
        "The second convolution halves the 3,000 frames of the spectrogram.": (
            (2 * FRAMES + TOKENS) / (FRAMES + TOKENS)
        ),
    }
    session.number(
        "(c) cache of large-v3",
        cache_mb,
        cache,
        atol=5e-3 * cache,  # with the default rtol: takes two digits
        unit="MB",
        mistakes={message: cache * factor for message, factor in caches.items()}
        | {
            "That counts the layers of the encoder, too. They have no cache: all frames go through "
            "at once.": 2 * cache,
            "That is the output of the encoder. What a step reads are the keys and values that "
            "each decoder layer made of it.": FRAMES * d * 2 / 1e6,
        },
    )
    only = EQUAL_LAYERS * (FRAMES + TOKENS) * per_position / 1e6
    session.number(
        "(c) cache of the decoder-only model",
        cache_only_mb,
        only,
        rtol=7e-3,
        atol=3e-3 * only,  # 74⅔ layers or 75, to two digits
        unit="MB",
        mistakes={
            message: only * factor
            for message, factor in caches.items()
            if message != "That is one layer."
        }
        | {
            "That is one layer.": only / EQUAL_LAYERS,
            "That is for 32 layers; all layers of a decoder-only model hold a cache.": cache,
            "That is for 64 layers, which have fewer weights.": only * 64 / EQUAL_LAYERS,
        },
    )
    weights = 2 * (14 * d**2 * LAYERS + d * VOCABULARY)
    step = (weights + cache * 1e6) / H100.bandwidth * 1e3

    def in_ms(size: float) -> float:
        return size / H100.bandwidth * 1e3

    cross_kv_weights = 2 * 2 * d**2 * LAYERS
    frames_cache = cache * 1e6 * FRAMES / (FRAMES + TOKENS)
    session.number(
        "(c) a step of large-v3",
        step_ms,
        step,
        rtol=1e-2,  # takes two digits; so no unit, whose prefixes differ by little more
        mistakes={
            "The matrix to the vocabulary is counted twice: as a table of embeddings, a step reads "
            "one row of it.": step + in_ms(2 * d * VOCABULARY),
            "Cross-attention has a matrix for the queries and one for the output, too; a step "
            "reads them.": step - in_ms(cross_kv_weights),
            "The keys and values of the frames are in the cache, too; a step reads them.": step
            - in_ms(frames_cache),
            "What cross-attention uses in a step is missing: two matrices in each layer, and the "
            "cached keys and values of the frames.": step - in_ms(frames_cache + cross_kv_weights),
            "That is in seconds; the question asks for milliseconds.": step / 1e3,
            "That is in microseconds; the question asks for milliseconds.": step * 1e3,
            "The weights that make keys and values of the frames are not read: they have done "
            "their work before the first token.": step + in_ms(cross_kv_weights),
            "The matrix that makes logits of the last state is read in each step, too.": step
            - in_ms(2 * d * VOCABULARY),
            "The matrix that makes logits is missing, and the weights that make keys and values "
            "of the frames are not read in a step.": step
            + in_ms(cross_kv_weights - 2 * d * VOCABULARY),
            "The cache is read in each step, too.": in_ms(weights),
            "The cache is read in each step, too, and the weights that make keys and values of the "
            "frames are not.": in_ms(weights + cross_kv_weights),
            "The encoder has done its work before the first token; its weights are not read.": (
                step + in_ms(2 * 12 * d**2 * LAYERS)
            ),
            "The encoder, and the weights that make keys and values of the frames, have done their "
            "work before the first token; they are not read.": step
            + in_ms(2 * 12 * d**2 * LAYERS + cross_kv_weights),
            "That is 4 bytes per number.": 2 * step,
            "That is 1 byte per number.": step / 2,
            "That is for all 100 tokens; the question asks for one step.": 100 * step,
        },
    )
    session.number(
        "(d) passes of a frame through the encoder",
        reencoding,
        60,
        rtol=0,
        atol=0.51,
        mistakes={
            "That is for a chunk of one second.": 30,
            "Chunks of half a second make two runs a second, not half a run.": 15,
            "That is how many frames there are in the window.": FRAMES,
            "That is how many frames a chunk has; how often is each of them encoded?": 25,
            "That is how many runs there are in a second; how long does a frame stay in the "
            "window?": 2,
            "Nothing is kept between the runs: every frame passes in each run for which it is in "
            "the window.": 1,
        },
    )
