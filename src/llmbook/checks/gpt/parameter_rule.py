"""Check of exercise 13.12, the rule of thumb for the number of parameters."""

import re
from typing import Any

from llmbook.checks.engine import Result, Session
from llmbook.checks.scalars import other_scales
from llmbook.counting import GPT2_MEDIUM, parameters

LAYERS, WIDTH, VOCABULARY = 24, 1024, 50_000


def parameter_rule(
    mlp_share: Any = None,
    rule: Any = None,
    embedding_percent: Any = None,
    exact: Any = None,
    error_percent: Any = None,
    gpt2_small: Any = None,
    llama2_7b: Any = None,
    llama3_8b: Any = None,
    gemma_2b: Any = None,
) -> Result:
    """Check the rule of thumb 12 L d² + 2 V d and its error; pass any subset.

    Parameters
    ----------
    mlp_share
        (a) Share of a block's weights that is in its MLP, as a fraction.
    rule
        (b) The rule for L = 24, d = 1,024, V = 50,000: a number of parameters.
    embedding_percent
        (b) Share of embedding and head in it, in percent.
    exact
        (c) The number of parameters of GPT-2 medium, to the last digit.
    error_percent
        (c) Error of the rule, with GPT-2's own V, in percent of the exact count; positive if the
        rule is too large.
    gpt2_small, llama2_7b, llama3_8b, gemma_2b
        (d) ``"high"``, ``"low"`` or ``"close"`` (within 2%), each.
    """
    session = Session("parameter_rule")
    session.number(
        "(a) share of the MLP",
        mlp_share,
        2 / 3,
        rtol=6e-3,  # 0.67, too
        mistakes={
            "That is the share of attention.": 1 / 3,
            "That is the MLP in units of attention, not of the whole block.": 2,
            "One half would be an MLP of one matrix that widens, or two that do not: count the "
            "weights of both of its matrices.": 1 / 2,
            "That leaves the output matrix of attention out.": 8 / 11,
            "That counts three matrices in the MLP; the rule knows two.": 3 / 4,
        },
    )
    blocks = 12 * LAYERS * WIDTH**2
    table = VOCABULARY * WIDTH
    session.number(
        "(b) the rule",
        rule,
        blocks + 2 * table,
        rtol=1e-3,
        mistakes={
            "That counts one matrix of V rows; the rule counts two.": blocks + table,
            "That has the blocks only; where do tokens come in and logits go out?": blocks,
            "That has embedding and head only.": 2 * table,
            "The 12 is there, the number of layers is not.": blocks / LAYERS + 2 * table,
            "In the first term, d is squared: `d**2` (`^` is no power in Python).": 12
            * LAYERS
            * WIDTH
            + 2 * table,
            "That squares 12 L, too: only d is squared.": 12**2 * LAYERS**2 * WIDTH**2 + 2 * table,
            "That takes 2 V d for every layer; embedding and head are there once.": blocks
            + 2 * LAYERS * table,
            "That is with GPT-2's own vocabulary; (b) gives a round one.": blocks
            + 2 * GPT2_MEDIUM.vocab_size * WIDTH,
            "That takes d = 1,000; it is 1,024.": 12 * LAYERS * 1e6 + 2 * VOCABULARY * 1e3,
        }
        | other_scales(blocks + 2 * table),
    )
    share = 200 * table / (blocks + 2 * table)
    session.number(
        "(b) share of embedding and head",
        embedding_percent,
        share,
        mistakes={
            "That is the share of the blocks.": 100 - share,
            "That is in percent of the blocks, not of the whole.": 200 * table / blocks,
            "That is one of the two matrices; both are asked for.": share / 2,
            "That leaves one of the two matrices out of both parts.": 100
            * table
            / (blocks + table),
        },
    )
    _gpt2_medium(session, exact, error_percent)
    _directions(session, gpt2_small, llama2_7b, llama3_8b, gemma_2b)
    return session.result()


def _gpt2_medium(session: Session, exact: Any, error_percent: Any) -> None:
    count = parameters(GPT2_MEDIUM)
    total, d, layers = count["total"], GPT2_MEDIUM.d_model, GPT2_MEDIUM.n_layers
    biases = layers * 9 * d
    table = GPT2_MEDIUM.vocab_size * d
    rule = 12 * layers * d * d + 2 * table
    session.number(
        "(c) GPT-2 medium, exactly",
        exact,
        total,
        rtol=1e-10,
        mistakes={
            "The head is counted beside the embedding; tied, they are one matrix.": total + table,
            "The positions are missing.": total - count["positions"],
            "The normalizations are missing.": total - count["norms"],
            "The biases of the linear layers are missing.": total - biases,
            "Biases and normalizations are missing.": total - biases - count["norms"],
            "Positions and biases are missing.": total - count["positions"] - biases,
            "That is embedding and weight matrices of the blocks only: positions, biases and "
            "normalizations have parameters too.": rule - table,
            "That is the rule of thumb; an exact count is asked for.": rule,
            "The last normalization, after all blocks, is missing.": total - 2 * d,
            "A LayerNorm has a shift beside its scale.": total - count["norms"] / 2,
            "Each block has two LayerNorms, and queries, keys and values have a bias each: you "
            "count one norm, or one bias for all three.": total - layers * 2 * d,
            "The biases of the MLP are missing.": total - layers * 5 * d,
            "The biases of attention are missing.": total - layers * 4 * d,
            "The bias of the MLP has d_ff entries after the first matrix, not d.": (
                total - layers * 3 * d
            ),
            "The head has no bias.": total + GPT2_MEDIUM.vocab_size,
            "The embedding is missing; tied, it counts once, but once it counts.": total - table,
            "That is with the vocabulary of (b); GPT-2 has 50,257 tokens.": (
                total - (GPT2_MEDIUM.vocab_size - VOCABULARY) * d
            ),
        }
        | other_scales(total),
    )
    error = 100 * (rule / total - 1)
    session.number(
        "(c) error of the rule",
        error_percent,
        error,
        rtol=0,
        atol=0.06,
        mistakes={
            "The size is right, the sign is not: is the rule too large or too small?": -error,
            "That is in percent of the rule; take it in percent of the exact count.": 100
            * (1 - total / rule),
            "That is with the vocabulary of (b); the rule should get GPT-2's own here.": 100
            * ((12 * layers * d * d + 2 * VOCABULARY * d) / total - 1),
            "That is the error when rule and model have equally many matrices of V rows; here the "
            "rule has two and the model one.": 100 * ((rule - table) / total - 1),
            "That is the rule in percent of the exact count; subtract the 100.": 100 + error,
            "That is a fraction; give the answer in percent.": error / 100,
        },
    )


def _direction(given: Any) -> Any:
    """Return the one option that a text such as "too high" names; anything else as it is."""
    if not isinstance(given, str):
        return given
    words = set(re.findall("[a-z]+", given.lower().replace("within", "close")))
    named = words & {"high", "low", "close"}
    return named.pop() if len(named) == 1 else given


def _directions(
    session: Session, gpt2_small: Any, llama2_7b: Any, llama3_8b: Any, gemma_2b: Any
) -> None:
    session.choice(
        "(d) GPT-2 small",
        _direction(gpt2_small),
        "high",
        {
            "low": "The blocks are as the rule assumes. How often does the rule count the "
            "embedding, and how often does the model have it?",
            "close": "The vocabulary is as large as in GPT-2 medium, the blocks are much smaller: "
            "so what the rule gets wrong weighs more here.",
        },
    )
    session.choice(
        "(d) Llama 2 7B",
        _direction(llama2_7b),
        "close",
        {
            "high": "The head is untied, so 2 V d is right. What does the gated MLP have in units "
            "of d²? Three matrices, but how wide?",
            "low": "Three matrices are more than two, but these are narrower than 4 d: do the sum.",
        },
    )
    session.choice(
        "(d) Llama 3 8B",
        _direction(llama3_8b),
        "low",
        {
            "high": "Grouped keys take weights away, but the gated MLP adds more: what do both "
            "have in units of d²?",
            "close": "What do attention and MLP have in units of d², together? It is not 12.",
        },
    )
    session.choice(
        "(d) Gemma 2B",
        _direction(gemma_2b),
        "low",
        {
            "high": "The tied head makes the rule too large, yes. But look at the MLP: three "
            "matrices, and how wide?",
            "close": "Two errors of opposite sign do not always cancel. What does the MLP have in "
            "units of d²?",
        },
    )
