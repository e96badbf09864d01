"""Check of exercise 35.01, the number of parameters of GPT-2."""

from dataclasses import replace
from typing import Any

from llmbook.checks.engine import Result, Session
from llmbook.checks.scalars import other_scales
from llmbook.counting import GPT2_SMALL, GPT2_XL, parameters

COUNT = parameters(GPT2_SMALL)
D, LAYERS = GPT2_SMALL.d_model, GPT2_SMALL.n_layers
TABLE = COUNT["embedding"]


def gpt2_parameters(
    rule: Any = None,
    error_percent: Any = None,
    positions: Any = None,
    biases: Any = None,
    norms: Any = None,
    exact: Any = None,
    xl_exact: Any = None,
    xl_error_percent: Any = None,
    old_vocabulary: Any = None,
) -> Result:
    """Check the parameters of GPT-2; pass any subset.

    Parameters
    ----------
    rule
        (a) 12 L d² + V d for GPT-2 small: a number of parameters.
    error_percent
        (b) Error of (a) in percent of the exact count; negative if the rule is too small.
    positions, biases, norms
        (b) Parameters of the position embedding, of the biases of all linear layers, and of all
        LayerNorms: exact numbers.
    exact
        (b) All parameters of GPT-2 small, to the last digit.
    xl_exact, xl_error_percent
        (c) All parameters of GPT-2 XL, to the last digit, and the error of the rule there.
    old_vocabulary
        (d) Size of the vocabulary with which the paper's counts come out, to within 250.
    """
    session = Session("gpt2_parameters")
    blocks = 12 * LAYERS * D**2
    right = blocks + TABLE
    session.number(
        "(a) the rule",
        rule,
        right,
        rtol=1e-3,
        mistakes={
            "That counts the table of token vectors twice; the head is tied to it.": right + TABLE,
            "That has the blocks only; the table of token vectors is missing.": blocks,
            "There is one 12 too few: the rule has one, and L is another.": 12 * D**2 + TABLE,
            "In the first term, d is squared: `d**2` (`^` is no power in Python).": 12 * LAYERS * D
            + TABLE,
            "That is the exact count; (a) asks for the rule.": COUNT["total"],
            "That is the embedding and hardly anything else. The blocks are missing; or is it `^`, "
            "which is no power in Python? `d**2` is.": TABLE,
        }
        | other_scales(right),
    )
    _small(session, error_percent, positions, biases, norms, exact)
    _largest(session, xl_exact, xl_error_percent)
    session.number(
        "(d) the vocabulary of the paper's counts",
        old_vocabulary,
        40_640,
        rtol=0,
        atol=250,
        mistakes={
            "That is how many tokens are missing; how many were there, then?": 9_600,
            "That is GPT-2's own vocabulary, with which the released counts come out.": 50_257,
            "You added what is missing: the paper's counts are lower.": 59_850,
            "That is what is missing, in parameters; how many rows of width d is it?": 7_440_000,
        },
    )
    return session.result()


def _small(
    session: Session, error_percent: Any, positions: Any, biases: Any, norms: Any, exact: Any
) -> None:
    total = COUNT["total"]
    own_biases = LAYERS * 9 * D
    rule = 12 * LAYERS * D**2 + TABLE
    error = 100 * (rule / total - 1)
    session.number(
        "(b) error of the rule",
        error_percent,
        error,
        rtol=0,
        atol=0.006,
        mistakes={
            "The size is right, the sign is not: is the rule too large or too small?": -error,
            "That is the error against the rounded 124 million; take the exact count.": 100
            * (rule / 124e6 - 1),
            "That is the error of 12 L d² + 2 V d; the head is tied.": 100
            * ((rule + TABLE) / total - 1),
            "That is the error of the blocks alone.": 100 * ((rule - TABLE) / total - 1),
            "That is a fraction; give the answer in percent.": error / 100,
            "That is the rule in percent of the exact count; subtract the 100.": 100 + error,
        },
    )
    context = GPT2_SMALL.n_positions
    session.number(
        "(b) positions",
        positions,
        COUNT["positions"],
        rtol=0,
        mistakes={
            "That is the number of positions; each has a vector of width d.": context,
            "That is the table of token vectors.": TABLE,
            "The positions are added once, before the first block, not in each.": (
                LAYERS * COUNT["positions"]
            ),
            "GPT-2 has learned positions, unlike sinusoidal ones, which have no parameters.": 0,
            "That is a table of 512 positions, as in GPT-1; GPT-2 has twice as many.": 512 * D,
            "A position vector is as wide as the model, not as wide as a head.": context
            * GPT2_SMALL.d_head,
        },
    )
    session.number(
        "(b) biases",
        biases,
        own_biases,
        rtol=0,
        mistakes={
            "The biases of attention alone: the two matrices of the MLP have some, too.": (
                LAYERS * 4 * D
            ),
            "The biases of the MLP alone: the four projections of attention have some, too.": (
                LAYERS * 5 * D
            ),
            "That is one layer.": 9 * D,
            "The first matrix of the MLP has d_ff outputs, and as many biases.": LAYERS * 6 * D,
            "A bias has as many entries as the matrix has outputs; the last one has d.": (
                LAYERS * 12 * D
            ),
            "The output projection of attention has a bias, too.": LAYERS * 8 * D,
            "The head has no bias.": own_biases + GPT2_SMALL.vocab_size,
            "The shifts of the LayerNorms are among them; count those with the norms.": (
                own_biases + COUNT["norms"] // 2
            ),
            "The parameters of the LayerNorms are among them; count those by themselves.": (
                own_biases + COUNT["norms"]
            ),
            "One bias vector a head? Together the heads have one of d entries.": LAYERS
            * (3 * D * GPT2_SMALL.n_heads + 6 * D),
        },
    )
    session.number(
        "(b) LayerNorms",
        norms,
        COUNT["norms"],
        rtol=0,
        mistakes={
            "A LayerNorm has a scale and a shift; you count one of the two.": COUNT["norms"] // 2,
            "The last LayerNorm, after all blocks, is missing.": COUNT["norms"] - 2 * D,
            "Each block has two LayerNorms; you count one.": (LAYERS + 1) * 2 * D,
            "That is one LayerNorm a block, or one vector for each of two: a block has two, each "
            "with a scale and a shift, and one more comes after all blocks.": LAYERS * 2 * D,
            "Each LayerNorm has parameters of its own; you count one of them.": 2 * D,
            "That counts numbers of LayerNorms; each has vectors of width d.": 2 * LAYERS + 1,
        },
    )
    missing = {
        "positions": COUNT["positions"],
        "biases": own_biases,
        "normalizations": COUNT["norms"],
    }
    session.number(
        "(b) GPT-2 small, exactly",
        exact,
        total,
        rtol=1e-10,
        mistakes={f"The {name} are missing.": total - size for name, size in missing.items()}
        | {f"Only the {name} are added to the rule.": rule + size for name, size in missing.items()}
        | {
            "The head is counted beside the embedding; tied, they are one matrix. (Summing over "
            "`state_dict()` does that, summing over `parameters()` does not.)": total + TABLE,
            "That is the rule; an exact count is asked for.": rule,
            "The causal masks are counted, which the published checkpoint stores beside the "
            "weights; a mask is not a parameter.": total + LAYERS * context**2,
            "The last LayerNorm, after all blocks, is missing.": total - 2 * D,
            "A LayerNorm has a scale and a shift; you count one of the two.": total
            - COUNT["norms"] // 2,
            "Each block has two LayerNorms, and queries, keys and values have a bias each: you "
            "count one norm, or one bias for all three.": total - LAYERS * 2 * D,
            "The first matrix of the MLP has d_ff outputs, and as many biases.": total
            - LAYERS * 3 * D,
            "The biases of the MLP are missing.": total - LAYERS * 5 * D,
            "The biases of attention are missing.": total - LAYERS * 4 * D,
            "The head has no bias.": total + GPT2_SMALL.vocab_size,
            "The table of token vectors is missing.": total - TABLE,
            "That is the paper's figure; its counts are known to be too low.": 117e6,
        }
        | other_scales(total),
    )


def _largest(session: Session, xl_exact: Any, xl_error_percent: Any) -> None:
    count = parameters(GPT2_XL)
    total, table = count["total"], count["embedding"]
    rule = 12 * GPT2_XL.n_layers * GPT2_XL.d_model**2 + table
    weights = parameters(replace(GPT2_XL, bias=False))["total"]
    session.number(
        "(c) GPT-2 XL, exactly",
        xl_exact,
        total,
        rtol=1e-10,
        mistakes={
            "The head is counted beside the embedding; tied, they are one matrix.": total + table,
            "The positions are missing.": total - count["positions"],
            "The biases are missing.": weights,
            "The normalizations are missing.": total - count["norms"],
            "That is the rule; an exact count is asked for.": rule,
            "The last LayerNorm, after all blocks, is missing.": total - 2 * GPT2_XL.d_model,
            "Each block has two LayerNorms, and queries, keys and values have a bias each: you "
            "count one norm, or one bias for all three.": total
            - GPT2_XL.n_layers * 2 * GPT2_XL.d_model,
            "The first matrix of the MLP has d_ff outputs, and as many biases.": total
            - GPT2_XL.n_layers * 3 * GPT2_XL.d_model,
            "That is the paper's figure; its counts are known to be too low.": 1542e6,
        }
        | other_scales(total),
    )
    error = 100 * (rule / total - 1)
    session.number(
        "(c) error of the rule",
        xl_error_percent,
        error,
        rtol=0,
        atol=0.006,
        mistakes={
            "The size is right, the sign is not: is the rule too large or too small?": -error,
            "That is the error of 12 L d² + 2 V d; the head is tied.": 100
            * ((rule + table) / total - 1),
            "That is the error of the blocks alone.": 100 * ((rule - table) / total - 1),
            "That is the error for GPT-2 small.": 100
            * ((12 * LAYERS * D**2 + TABLE) / COUNT["total"] - 1),
            "That is the rule in percent of the exact count; subtract the 100.": 100 + error,
            "That is a fraction; give the answer in percent.": error / 100,
        },
    )
