"""The check of exercise 35.11 takes both conventions and names each known mistake."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from transformers import GPTNeoXConfig, LlamaConfig
from transformers.models.gpt_neox import modeling_gpt_neox
from transformers.models.llama import modeling_llama

from llmbook import check
from llmbook.positions import pair_frequencies, rotate

# --- Right answers, structurally different --------------------------------------------------------


def half_split(x, positions, base=10000.0):
    d = x.shape[-1]
    angles = positions[:, None] * base ** (-torch.arange(0, d, 2) / d)
    cos, sin = angles.cos(), angles.sin()
    first, second = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1).to(x.dtype)


def full_width(x, positions, base=10000.0):
    """Cosines and sines repeated to width d, float32 angles, everything else in x's type."""
    d = x.shape[-1]
    inverse = 1.0 / base ** (torch.arange(0, d, 2, dtype=torch.float) / d)
    angles = torch.outer(positions.float(), inverse).repeat(1, 2)
    turned = torch.cat([-x[..., d // 2 :], x[..., : d // 2]], -1)
    return x * angles.cos().to(x.dtype) + turned * angles.sin().to(x.dtype)


def interleaved(x, positions, base=10000.0):
    return rotate(x, positions, pair_frequencies(x.shape[-1], base), interleaved=True)


def complex_numbers(x, positions, base=10000.0):
    """As in the code released with Llama."""
    d = x.shape[-1]
    angles = torch.outer(positions.double(), base ** (-torch.arange(0, d, 2).double() / d))
    turns = torch.polar(torch.ones_like(angles), angles)
    z = torch.view_as_complex(x.double().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(z * turns).flatten(-2).type_as(x)


def complex_float32(x, positions, base=10000.0):
    """The same in float32, which copies nothing that is not contiguous."""
    d = x.shape[-1]
    angles = torch.outer(positions.float(), 1.0 / base ** (torch.arange(0, d, 2).float() / d))
    z = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    turned = z * torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(turned).flatten(-2).type_as(x)


def matrices(x, positions, base=10000.0):
    """A block-diagonal matrix for each position."""
    d = x.shape[-1]
    generator = torch.zeros(d, d, dtype=torch.float64)
    for i in range(d // 2):
        generator[2 * i + 1, 2 * i] = base ** (-2 * i / d)
        generator[2 * i, 2 * i + 1] = -generator[2 * i + 1, 2 * i]
    turns = torch.linalg.matrix_exp(positions.double()[:, None, None] * generator)
    return torch.einsum("nij,...nj->...ni", turns, x.double()).to(x.dtype)


def in_loops(x, positions, base=10000.0):
    d = x.shape[-1]
    out = x.clone()
    for row, m in enumerate(positions.tolist()):
        for i in range(d // 2):
            a = m / base ** (2 * i / d)
            first, second = x[..., row, i].clone(), x[..., row, i + d // 2].clone()
            out[..., row, i] = first * math.cos(a) - second * math.sin(a)
            out[..., row, i + d // 2] = first * math.sin(a) + second * math.cos(a)
    return out


def llama(x, positions, base=10000.0):
    parameters = {"rope_type": "default", "rope_theta": base}
    config = LlamaConfig(head_dim=x.shape[-1], rope_parameters=parameters)
    cos, sin = modeling_llama.LlamaRotaryEmbedding(config)(x, positions[None])
    batch = x.reshape(-1, 1, *x.shape[-2:])
    return modeling_llama.apply_rotary_pos_emb(batch, batch, cos, sin)[0].reshape(x.shape)


def gpt_neox(x, positions, base=10000.0):
    parameters = {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": 1.0}
    config = GPTNeoXConfig(
        hidden_size=x.shape[-1], num_attention_heads=1, rope_parameters=parameters
    )
    cos, sin = modeling_gpt_neox.GPTNeoXRotaryEmbedding(config)(x, positions[None])
    batch = x.reshape(-1, 1, *x.shape[-2:])
    return modeling_gpt_neox.apply_rotary_pos_emb(batch, batch, cos, sin)[0].reshape(x.shape)


HALVES = [half_split, full_width, in_loops, llama, gpt_neox]
NEIGHBORS = [interleaved, complex_numbers, complex_float32, matrices]


def attention_with(turn):
    def attention(q, k, v, positions, base=10000.0):
        return F.scaled_dot_product_attention(turn(q, positions, base), turn(k, positions, base), v)

    return attention


@pytest.mark.parametrize("answer", HALVES + NEIGHBORS)
def test_both_conventions_pass_and_are_told(answer):
    result = check.rotary_embedding(answer, attention_with(answer), "CDE")
    assert result.passed, result
    convention = "half-split" if answer in HALVES else "interleaved"
    assert any(convention in note for note in result.notes)
    assert len([note for note in result.notes if "your pairs" in note]) == 1


def test_float32_angles_are_noted_not_failed():
    notes = check.rotary_embedding(full_width).notes
    assert any("computed in float32" in note for note in notes)
    assert not any("float32" in note for note in check.rotary_embedding(interleaved).notes)


def by_hand(q, k, v, positions, base=10000.0):
    q, k = interleaved(q, positions, base), interleaved(k, positions, base)
    weights = torch.exp(torch.einsum("...qd,...kd->...qk", q, k) / q.shape[-1] ** 0.5)
    return weights / weights.sum(-1, keepdim=True) @ v


def by_relative_turns(q, k, v, positions, base=10000.0):
    """Each score from the difference of the positions alone."""
    scores = torch.stack(
        [
            (q[..., [i], :] * half_split(k, positions - m, base)).sum(-1)
            for i, m in enumerate(positions)
        ],
        dim=-2,
    )
    return (scores / q.shape[-1] ** 0.5).softmax(-1) @ v


@pytest.mark.parametrize("answer", [by_hand, by_relative_turns])
def test_right_attention_passes_alone(answer):
    result = check.rotary_embedding(rotary_attention=answer)
    assert result.status != "failed", result
    assert sum(o.status == "passed" for o in result.outcomes) == 5


def test_attention_may_use_the_other_convention():
    result = check.rotary_embedding(half_split, by_hand)
    assert result.status != "failed", result


@pytest.mark.parametrize(
    "caught", ["CDE", "e, d, c", ["C", "D", "E"], {"c", "d", "e"}, ("(C)", "(D)", "(E)"), "C D E"]
)
def test_right_letters_pass(caught):
    result = check.rotary_embedding(caught=caught)
    assert [o.status for o in result.outcomes][-1] == "passed"


# --- Wrong answers --------------------------------------------------------------------------------


def builder(
    split="halves",
    join=None,
    frequencies=lambda i, d, base: base ** (-2 * i / d),
    positions=lambda m, x: m[:, None],
    signs=(-1, 1),
    angle_type=torch.float64,
    angles=lambda a, x: a,
    cos=torch.cos,
    sin=torch.sin,
    dtype=None,
):
    """A right implementation by default; each test breaks one piece of it."""
    join = join or split

    def learner(x, m, base=10000.0):
        d = x.shape[-1]
        w = frequencies(torch.arange(d // 2, dtype=torch.float64), d, base).to(angle_type)
        a = angles(positions(m.to(angle_type), x) * w, x)
        c, s = cos(a).to(x.dtype), sin(a).to(x.dtype)
        first, second = x.chunk(2, -1) if split == "halves" else (x[..., 0::2], x[..., 1::2])
        turned = first * c + signs[0] * second * s, second * c + signs[1] * first * s
        out = torch.cat(turned, -1) if join == "halves" else torch.stack(turned, -1).flatten(-2)
        return out.to(dtype or x.dtype)

    return learner


def repeated(split, layout):
    """Cosines and sines of full width, laid out for one convention, pairs for another."""

    def learner(x, m, base=10000.0):
        d = x.shape[-1]
        a = m[:, None] * pair_frequencies(d, base)
        a = a.repeat(1, 2) if layout == "halves" else a.repeat_interleave(2, -1)
        if split == "halves":
            quarter = torch.cat([-x[..., d // 2 :], x[..., : d // 2]], -1)
        else:
            quarter = torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
        return (x * a.cos() + quarter * a.sin()).to(x.dtype)

    return learner


def overwritten(x, m, base=10000.0):
    x = x.clone()
    first, second = x.chunk(2, -1)
    a = m[:, None] * pair_frequencies(x.shape[-1], base)
    x[..., : x.shape[-1] // 2] = first * a.cos() - second * a.sin()
    x[..., x.shape[-1] // 2 :] = first * a.sin() + second * a.cos()
    return x


def rounded_frequencies(x, m, base=10000.0):
    """What becomes of a table of frequencies that is cast along with the model."""
    return rotate(x, m, pair_frequencies(x.shape[-1], base).to(x.dtype).double())


def added(x, m, base=10000.0):
    a = m[:, None] * pair_frequencies(x.shape[-1], base)
    return (x + torch.stack([a.sin(), a.cos()], -1).flatten(-2)).to(x.dtype)


@pytest.mark.parametrize("split", ["halves", "neighbors"])
def test_the_unbroken_builders_pass(split):
    """Otherwise the mistakes below would prove little."""
    for answer in (builder(split), repeated(split, split)):
        assert check.rotary_embedding(answer).status != "failed"


TO_BREAK = [
    ({"signs": (1, -1)}, "clockwise"),
    ({"signs": (1, 1)}, "same sign"),
    ({"signs": (-1, -1)}, "same sign"),
    ({"positions": lambda m, x: m[:, None] + 1}, "one position later"),
    ({"positions": lambda m, x: m[:, None] - 1}, "one position earlier"),
    ({"positions": lambda m, x: torch.arange(x.shape[-2])[:, None]}, "counted 0, 1, 2"),
    ({"frequencies": lambda i, d, base: torch.ones_like(i)}, "the base is missing"),
    ({"frequencies": lambda i, d, base: base + 0 * i}, "the base is not raised"),
    ({"frequencies": lambda i, d, base: 1 / base + 0 * i}, "the base is not raised"),
    ({"frequencies": lambda i, d, base: 1 / (base * 2 * i / d)}, "instead of being raised"),
    ({"frequencies": lambda i, d, base: base * 2 * i / d}, "instead of being raised"),
    ({"frequencies": lambda i, d, base: base ** (-i / d)}, "half of what it should be"),
    ({"frequencies": lambda i, d, base: base ** (-4 * i / d)}, "twice what it should be"),
    ({"frequencies": lambda i, d, base: base ** (-2 * i)}, "not divided by d"),
    ({"frequencies": lambda i, d, base: base**-i}, "not divided by d"),
    ({"frequencies": lambda i, d, base: base ** (2 * i / d)}, "lost its sign"),
    ({"frequencies": lambda i, d, base: base ** (-2 * (i + 1) / d)}, "starts at 1"),
    ({"frequencies": lambda i, d, base: base ** (-2 * i / d).flip(0)}, "reverse order"),
    ({"frequencies": lambda i, d, base: base ** (-i / max(d // 2 - 1, 1))}, "1/base"),
    ({"frequencies": lambda i, d, base: 1e4 ** (-2 * i / d)}, "10,000 stands in its place"),
    ({"angles": lambda a, x: torch.deg2rad(a)}, "degrees"),
    ({"angles": lambda a, x: 2 * math.pi * a}, "full turns"),
    ({"angles": lambda a, x: a.mT if a.shape[0] == a.shape[1] else a}, "transposed"),
    ({"angles": lambda a, x: a.to(x.dtype)}, "are computed in bfloat16"),
    ({"positions": lambda m, x: m.to(x.dtype)[:, None]}, "positions are held"),
    ({"angles": lambda a, x: a.half()}, "are computed in float16"),
    ({"angle_type": torch.float16}, "are computed in float16"),
    ({"angle_type": torch.bfloat16}, "are computed in bfloat16"),
    ({"cos": torch.sin, "sin": torch.cos}, "exchanged"),
    ({"sin": torch.zeros_like}, "only multiplied by the cosines"),
    ({"sin": torch.zeros_like, "cos": torch.ones_like}, "nothing is turned"),
    ({"dtype": torch.float32}, "what comes back is `torch.float32`"),
    ({"dtype": torch.float64}, "what comes back is `torch.float64`"),
    (
        {"positions": lambda m, x: m.view(-1, *(1,) * (x.ndim - 1))},
        "along the batch",
    ),
    (
        {"positions": lambda m, x: m[:, None] if x.ndim < 3 else m[:, None, None]},
        "along the wrong axis",
    ),
]


@pytest.mark.parametrize("split", ["halves", "neighbors"])
@pytest.mark.parametrize(("piece", "named"), TO_BREAK)
def test_wrong_rotations_are_named(piece, named, split):
    result = check.rotary_embedding(builder(split, **piece))
    assert result.status == "failed"
    assert named in result.messages, result
    assert "itself broke" not in result.messages


@pytest.mark.parametrize("split", ["halves", "neighbors"])
@pytest.mark.parametrize(
    ("frequencies", "named"),
    [
        (lambda i, d, base: base ** (2 * i / d), "lost its sign"),
        (lambda i, d, base: base + 0 * i, "the base is not raised"),
        (lambda i, d, base: base * 2 * i / d, "instead of being raised"),
    ],
)
def test_wrong_frequencies_are_named_though_float32_rounds_their_angles(frequencies, named, split):
    answer = builder(split, frequencies=frequencies, angle_type=torch.float32)
    assert named in check.rotary_embedding(answer).messages


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (repeated("halves", "neighbors"), "laid out for neighbors"),
        (repeated("neighbors", "halves"), "laid out for halves"),
        (builder("halves", join="neighbors"), "put back as neighbors"),
        (builder("neighbors", join="halves"), "put back as two halves"),
        (overwritten, "a slice is a view"),
        (lambda x, m, base=1e4: half_split(x, m, base).round(decimals=2), "too few digits"),
        (rounded_frequencies, "frequencies are computed in bfloat16"),
        (added, "Rotary embeddings multiply"),
        (lambda x, m, base=1e4: half_split(x.detach(), m, base), "No gradient"),
        (lambda x, m, base=1e4: (half_split(x, m, base), m), "things came back"),
        (lambda x, m: half_split(x, m), "keyword argument"),
        (lambda x, m, base=1e4: half_split(x, m, base).double(), "what comes back is"),
        (
            lambda x, m, base=1e4: (half_split if x.ndim == 2 else interleaved)(x, m, base),
            "in the other convention",
        ),
        (lambda x, m, base=1e4: half_split(2 * x, m, base), "the length of each token"),
        (
            lambda x, m, base=1e4: half_split(x.view(-1, x.shape[-2], x.shape[-1])[0], m, base),
            "it should be (2, 3, 5, 8)",
        ),
    ],
)
def test_other_wrong_rotations_are_named(answer, named):
    result = check.rotary_embedding(answer)
    assert result.status == "failed"
    assert named in result.messages, result
    assert "itself broke" not in result.messages


def attention(
    on_q=1.0,
    on_k=1.0,
    on_v=0.0,
    on_out=0.0,
    turn=half_split,
    turn_k=None,
    positions=None,
    **options,
):
    """Attention with each part turned by a multiple of its angle."""

    def learner(q, k, v, m, base=10000.0):
        m = m if positions is None else positions(m)

        def by(x, times, turn=turn):
            return turn(x, times * m, base) if times else x

        out = F.scaled_dot_product_attention(
            by(q, on_q), by(k, on_k, turn_k or turn), by(v, on_v), **options
        )
        return by(out, on_out)

    return learner


def over_queries(q, k, v, m, base=10000.0):
    q, k = half_split(q, m, base), half_split(k, m, base)
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2) @ v


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (attention(on_v=1), "values are rotated too"),
        (attention(on_v=1, turn=interleaved), "values are rotated too"),
        (attention(on_k=0), "Only the queries"),
        (attention(on_q=0), "Only the keys"),
        (attention(on_k=-1), "opposite directions"),
        (attention(on_q=-1, turn=interleaved), "opposite directions"),
        (lambda q, k, v, m, base=1e4: attention()(q, k, v, m), "not handed on"),
        (
            lambda q, k, v, m, base=1e4: attention(turn=interleaved)(q, k, v, m),
            "not handed on",
        ),
        (lambda q, k, v, m: attention()(q, k, v, m), "keyword argument"),
        (attention(on_q=0, on_k=0), "Nothing is rotated"),
        (attention(on_q=0, on_k=0, on_v=1), "Only the values"),
        (attention(on_out=1), "output is rotated"),
        (attention(on_q=2, on_k=2), "applied twice"),
        (attention(scale=1.0), "not divided by √d"),
        (attention(is_causal=True), "causal mask"),
        (over_queries, "over the queries"),
        (lambda q, k, v, m: attention()(k, q, v, m), "exchanged"),
        (attention(positions=lambda m: torch.arange(len(m))), "counted 0, 1, 2"),
        (attention(turn_k=interleaved), "different conventions"),
        (lambda q, k, v, m: (attention()(q, k, v, m), q), "things came back"),
        (lambda q, k, v, m: attention()(q, k, v, m).float(), "the output is `torch.float32`"),
        (lambda q, k, v, m: attention()(q, k, v, m)[:2], "it should be (3, 4)"),
        (lambda q, k, v, m: 0 * q + 9, "lies between"),
        (
            lambda q, k, v, m: attention()(q, k, v, m) + (m.min() > 500),
            "depend on differences",
        ),
    ],
)
@pytest.mark.parametrize("with_rotary", [True, False])
def test_wrong_attention_is_named(answer, named, with_rotary):
    result = check.rotary_embedding(half_split if with_rotary else None, answer)
    assert result.status == "failed"
    assert named in result.messages, result
    assert "itself broke" not in result.messages


def test_attention_inherits_a_base_that_its_rotation_ignores():
    def fixed(x, positions, base=10000.0):
        return half_split(x, positions)

    result = check.rotary_embedding(fixed, attention(turn=fixed))
    messages = {o.name: o.message for o in result.outcomes}
    assert "10,000 stands in its place" in messages["another base"]
    assert "follows from your `apply_rotary`" in messages["attention with another base"]


def test_attention_inherits_the_mistake_of_its_rotation():
    slow = builder(frequencies=lambda i, d, base: base ** (-i / d))
    result = check.rotary_embedding(slow, attention(turn=slow))
    assert "follows from your `apply_rotary`" in result.messages


def test_positions_off_by_one_do_not_show_in_the_attention():
    late = builder(positions=lambda m, x: m[:, None] + 1)
    result = check.rotary_embedding(late, attention(turn=late))
    statuses = {o.name: o.status for o in result.outcomes}
    assert statuses["attention over positions 5, 9 and 100"] == "passed"
    assert "one position later" in result.messages


@pytest.mark.parametrize(
    ("caught", "named"),
    [
        ("ACDE", "Look at A again"),
        ("BCDE", "Look at B again"),
        ("DE", "Look at C again"),
        ("CE", "Look at D again"),
        ("CD", "Look at E again"),
        ("CDEF", "Look at F again"),
        ([], "Look at C again"),
        ("CDEG", "The wrong versions are"),
        (7, "Pass letters"),
    ],
)
def test_wrong_letters_are_named(caught, named):
    result = check.rotary_embedding(caught=caught)
    assert result.status == "failed"
    assert named in result.messages


# --- The claims of part (c) -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turn_q", "turn_k", "is_caught"),
    [
        (builder(positions=lambda m, x: m[:, None] + 1),) * 2 + (False,),
        (builder(frequencies=lambda i, d, base: torch.ones_like(i)),) * 2 + (False,),
        (builder(), builder(signs=(1, -1)), True),
        (builder(), lambda x, m: x, True),
        (repeated("halves", "neighbors"),) * 2 + (True,),
    ],
)
def test_what_a_shift_of_all_positions_catches(turn_q, turn_k, is_caught):
    q, k = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    m = torch.arange(5)
    here, there = (turn_q(q, m + s) @ turn_k(k, m + s).mT for s in (0, 1000))
    assert ((here - there).abs().max() > 1e-3) == is_caught


# --- No answer, no sense, no leak -----------------------------------------------------------------


def untouched(x, positions, base=10000.0): ...  # your code


@pytest.mark.parametrize(
    "answer",
    [{}, {"apply_rotary": untouched}, {"rotary_attention": lambda *a: None, "caught": ...}],
)
def test_an_untouched_answer_is_not_attempted(answer):
    result = check.rotary_embedding(**answer)
    assert result.status == "not attempted"
    assert result.notes == ()


@pytest.mark.parametrize(
    "answer",
    [
        3,
        "rotary",
        torch.ones(2, 2),
        lambda: 1,
        lambda *a, **b: "text",
        lambda *a, **b: [[1], [2, 3]],
        lambda *a, **b: torch.tensor(1.0),
        lambda x, *a, **b: x.to(torch.complex64),
        lambda *a, **b: 1 / 0,
    ],
)
def test_rubbish_fails_without_an_exception(answer):
    for result in (
        check.rotary_embedding(answer),
        check.rotary_embedding(rotary_attention=answer),
        check.rotary_embedding(answer, answer, answer),
    ):
        assert result.status == "failed"
        assert "itself broke" not in result.messages


def test_no_message_shows_the_right_output():
    seen = []

    def learner(x, positions, base=10000.0):
        seen.append(half_split(x, positions, base))
        return 0.3 * x

    messages = check.rotary_embedding(learner).messages
    assert "entries are not" in messages
    right = {f"{abs(v):.3f}" for out in seen for v in out.flatten().tolist() if abs(v) > 0.01}
    assert right.isdisjoint(re.findall(r"\d+\.\d{3}", messages))
