"""Check of exercise 11.1, parameters and memory of a model part by part."""

from typing import Any

from llmbook.checks.engine import Result, Session
from llmbook.checks.scalars import other_scales
from llmbook.counting import Shape, parameters, training_state_bytes, weight_bytes

SHAPE = Shape(24, 2048, 16, 16, 5504, 32_000, tied=True)
COUNT = parameters(SHAPE)
D, LAYERS, TOTAL = SHAPE.d_model, SHAPE.n_layers, COUNT["total"]
GROUP = 32  # weights that share a scale


def model_budget(
    embedding: Any = None,
    attention: Any = None,
    mlp: Any = None,
    final_norm: Any = None,
    total: Any = None,
    fp16_gb: Any = None,
    int4_gb: Any = None,
    grouped_int4_gb: Any = None,
    bytes_mixed: Any = None,
    bytes_fp32: Any = None,
    bytes_fp32_gradients: Any = None,
    bytes_all_16: Any = None,
    training_gb: Any = None,
    fits_24_gb: Any = None,
) -> Result:
    """Check the budget of the model; pass any subset. 1 GB is 10⁹ bytes.

    Parameters
    ----------
    embedding, attention, mlp, final_norm, total
        (a) Parameters of the token embedding, of attention in one layer, of the MLP in one layer,
        of the last RMSNorm, and of the whole model: exact numbers.
    fp16_gb, int4_gb
        (b) GB of the weights at 16 and at 4 bits each.
    grouped_int4_gb
        (b) GB with 4-bit weights in the matrices of the blocks, one fp16 scale for every 32 of
        them, and all the rest in fp16.
    bytes_mixed, bytes_fp32, bytes_fp32_gradients, bytes_all_16
        (c) Bytes per parameter in the accountings (i) to (iv).
    training_gb
        (c) GB of the model's whole state in accounting (i).
    fits_24_gb
        (c) Whether that fits on a GPU of 24 GB, activations not counted: True or False.
    """
    session = Session("model_budget")
    _parameters(session, embedding, attention, mlp, final_norm, total)
    _weights(session, fp16_gb, int4_gb, grouped_int4_gb)
    _training(session, bytes_mixed, bytes_fp32, bytes_fp32_gradients, bytes_all_16, training_gb)
    session.choice(
        "(c) fits on a GPU of 24 GB",
        fits_24_gb,
        True,
        {False: "Compare the state of (i) with 24 GB; activations do not count here."},
    )
    return session.result()


def _parameters(
    session: Session, embedding: Any, attention: Any, mlp: Any, final_norm: Any, total: Any
) -> None:
    table, d_ff = COUNT["embedding"], SHAPE.d_ff
    one_attention, one_mlp = 4 * D * D, 3 * D * d_ff
    session.number(
        "(a) token embedding",
        embedding,
        table,
        rtol=0,
        mistakes={
            "The head is tied to the embedding: one matrix, counted once.": 2 * table,
            "That is the number of vectors; each has d numbers.": SHAPE.vocab_size,
        }
        | other_scales(table),
    )
    session.number(
        "(a) attention, one layer",
        attention,
        one_attention,
        rtol=0,
        mistakes={
            "The output projection is missing: queries, keys and values are three of four.": 3
            * D
            * D,
            "That is one of the four projections.": D * D,
            "That is one head: there are 16, and each has its share of the four matrices.": (
                one_attention // SHAPE.n_heads
            ),
            "That gives each head the full width d; the heads share it.": one_attention
            * SHAPE.n_heads,
            "That gives each head the full width d for queries, keys and values; the heads share "
            "it.": 3 * D * D * SHAPE.n_heads + D * D,
            "That is all layers; the question asks for one.": LAYERS * one_attention,
            "There are no biases here.": one_attention + 4 * D,
        }
        | other_scales(one_attention),
    )
    session.number(
        "(a) MLP, one layer",
        mlp,
        one_mlp,
        rtol=0,
        mistakes={
            "A gated MLP (SwiGLU) has three matrices; you count two.": 2 * D * d_ff,
            "That is one of the three matrices.": D * d_ff,
            "That is an MLP of two matrices and width 4 d; here d_ff is given.": 8 * D * D,
            "That has three matrices of width 4 d; here d_ff is given.": 12 * D * D,
            "That is all layers; the question asks for one.": LAYERS * one_mlp,
            "There are no biases here.": one_mlp + 2 * d_ff + D,
        }
        | other_scales(one_mlp),
    )
    session.number(
        "(a) last norm",
        final_norm,
        D,
        rtol=0,
        mistakes={
            "RMSNorm has a scale and no shift (LayerNorm has both).": 2 * D,
            "That is all norms of the model; the question asks for the last one.": COUNT["norms"],
            "It has one scale for each of the d features.": 1,
        },
    )
    session.number(
        "(a) the whole model",
        total,
        TOTAL,
        rtol=1e-10,
        mistakes={
            "The head is tied to the embedding: one matrix, counted once.": TOTAL + table,
            "The token embedding is missing.": TOTAL - table,
            "Only the last norm is counted; each layer has two of its own.": TOTAL - 2 * LAYERS * D,
            "Each layer has two norms; you count one.": TOTAL - LAYERS * D,
            "The normalizations are missing.": TOTAL - COUNT["norms"],
            "The last norm is missing.": TOTAL - D,
            "RMSNorm has a scale and no shift (LayerNorm has both).": TOTAL + COUNT["norms"],
            "A gated MLP (SwiGLU) has three matrices; you count two.": TOTAL - LAYERS * D * d_ff,
            "A gated MLP has three matrices; you count two. And each layer has two norms.": TOTAL
            - LAYERS * D * d_ff
            - 2 * LAYERS * D,
            "That has one layer; the model has 24.": TOTAL
            - (LAYERS - 1) * (one_attention + one_mlp + 2 * D),
            "The output projections of attention are missing.": TOTAL - LAYERS * D * D,
            "That is the rule of thumb; an exact count is asked for.": 12 * LAYERS * D * D + table,
        }
        | other_scales(TOTAL),
    )


def _weights(session: Session, fp16_gb: Any, int4_gb: Any, grouped_int4_gb: Any) -> None:
    half, quarter = weight_bytes(TOTAL, 16) / 1e9, weight_bytes(TOTAL, 4) / 1e9
    table = COUNT["embedding"]
    tied = "The head is tied to the embedding: one matrix, stored once."
    untied = (TOTAL + table) / TOTAL
    session.number(
        "(b) fp16",
        fp16_gb,
        half,
        unit="GB",
        mistakes={
            "That is 32 bits a weight.": 2 * half,
            "That is one byte a weight; 16 bits are more.": half / 2,
            "That is in gigabits; a byte has 8 bits.": 8 * half,
            tied: untied * half,
        },
    )
    session.number(
        "(b) INT4",
        int4_gb,
        quarter,
        unit="GB",
        mistakes={
            "That is 4 bytes a weight, or gigabits; INT4 has 4 bits, and a byte has 8.": 8
            * quarter,
            "That is 8 bits a weight.": 2 * quarter,
            "That is 2 bits a weight: a quarter of 16 is 4.": quarter / 2,
            tied: untied * quarter,
        },
    )
    packed = COUNT["attention"] + COUNT["mlp"]
    rest = TOTAL - packed
    grouped = (packed * (4 + 16 / GROUP) / 8 + rest * 2) / 1e9
    session.number(
        "(b) INT4 with scales",
        grouped_int4_gb,
        grouped,
        unit="GB",
        rtol=2e-3,
        mistakes={
            "The scales are missing.": (packed / 2 + rest * 2) / 1e9,
            "Embedding and norms stay in fp16; you count them with 4 bits, and scales.": TOTAL
            * (4 + 16 / GROUP)
            / 8
            / 1e9,
            "Embedding and norms stay in fp16; you count them with 4 bits.": (
                packed * (4 + 16 / GROUP) / 8 + rest / 2
            )
            / 1e9,
            "Embedding and norms are missing; they stay in fp16.": packed
            * (4 + 16 / GROUP)
            / 8
            / 1e9,
            "A scale has 16 bits, not 16 bytes.": (packed * (4 + 128 / GROUP) / 8 + rest * 2) / 1e9,
            "A scale has 16 bits; you count 8.": (packed * (4 + 8 / GROUP) / 8 + rest * 2) / 1e9,
            "A scale has 16 bits; you count 32.": (packed * (4 + 32 / GROUP) / 8 + rest * 2) / 1e9,
            "There is one scale for 32 weights, not for each.": (packed * 20 / 8 + rest * 2) / 1e9,
        },
    )


def _training(
    session: Session,
    bytes_mixed: Any,
    bytes_fp32: Any,
    bytes_fp32_gradients: Any,
    bytes_all_16: Any,
    training_gb: Any,
) -> None:
    session.number(
        "(c) (i) bytes per parameter, mixed precision",
        bytes_mixed,
        16,
        rtol=0,
        mistakes={
            "Four bytes are missing: is the 32-bit copy of the weights there, are both moments, in "
            "32 bits each, and do weights and gradients come on top?": 12,
            "The gradients are missing, or the weights that the model computes with.": 14,
            "That is the two moments only.": 8,
            "That is weights and gradients; what does the optimizer keep?": 4,
            "That is accounting (iii), with gradients in 32 bits.": 18,
            "That is with both a 16-bit and a 32-bit gradient.": 20,
            "That is in bits; give the answer in bytes.": 128,
            "One of the moments, and the 32-bit copy or the gradients, are missing.": 10,
        },
    )
    session.number(
        "(c) (ii) bytes per parameter, all in 32 bits",
        bytes_fp32,
        16,
        rtol=0,
        mistakes={
            "That is weights and gradients, or the two moments; add them.": 8,
            "Weights, gradients and one moment: Adam keeps two.": 12,
            "There is no 16-bit copy here, and no second copy of the weights.": 18,
            "There is one copy of the weights here: they are in 32 bits already.": 20,
            "That is the weights alone.": 4,
        },
    )
    session.number(
        "(c) (iii) bytes per parameter, gradients in 32 bits",
        bytes_fp32_gradients,
        18,
        rtol=0,
        mistakes={
            "That is with gradients in 16 bits, as in (i).": 16,
            "The 16-bit gradient is not kept beside the 32-bit one here.": 20,
            "Four bytes are missing: is the 32-bit copy of the weights there, and are both "
            "moments?": 14,
        },
    )
    session.number(
        "(c) (iv) bytes per parameter, all in 16 bits",
        bytes_all_16,
        8,
        rtol=0,
        mistakes={
            "That has the moments, or a copy of the weights, in 32 bits; here all is in 16.": 12,
            "Weights, gradients and one moment: Adam keeps two.": 6,
            "That is weights and gradients; what does the optimizer keep?": 4,
            "That is accounting (i) or (ii).": 16,
        },
    )
    state = training_state_bytes(TOTAL) / 1e9
    session.number(
        "(c) state of the whole model",
        training_gb,
        state,
        unit="GB",
        mistakes={
            "That is 12 bytes a parameter: a copy of the weights, or a moment, is missing.": state
            * 12
            / 16,
            "That is 18 bytes a parameter; (i) keeps gradients in 16 bits.": state * 18 / 16,
            "That is 20 bytes a parameter; (i) has no gradient in 32 bits.": state * 20 / 16,
            "That is 8 bytes a parameter: half of the state is missing.": state / 2,
            "That is 14 bytes a parameter: the gradients are missing.": state * 14 / 16,
            "That is the weights alone, in 16 bits.": state / 8,
            "The head is tied to the embedding: one matrix, counted once.": state
            * (TOTAL + COUNT["embedding"])
            / TOTAL,
        },
    )
