"""Check of exercise 15.27, what grouped-query attention saves."""

import math
from dataclasses import replace
from typing import Any

from llmbook.checks.engine import Result, Session
from llmbook.checks.scalars import other_scales, whole_number
from llmbook.counting import H100, LLAMA2_70B, kv_cache_bytes, parameters, weight_bytes

GROUPED = LLAMA2_70B
FULL = replace(GROUPED, n_kv_heads=GROUPED.n_heads)
CONTEXT, DEVICES = 4096, 4


def grouped_query_savings(
    per_layer: Any = None,
    saved: Any = None,
    attention_percent: Any = None,
    model_percent: Any = None,
    cache_full_gb: Any = None,
    cache_grouped_gb: Any = None,
    texts_full: Any = None,
    texts_grouped: Any = None,
) -> Result:
    """Check what 8 key-value heads save against 64; pass any subset. 1 GB is 10⁹ bytes.

    Parameters
    ----------
    per_layer, saved
        (a) Parameters saved in one layer, and in all 80.
    attention_percent
        (b) Saving in percent of the attention block with 64 key-value heads.
    model_percent
        (c) Saving in percent of the whole model with 64 key-value heads.
    cache_full_gb, cache_grouped_gb
        (d) GB of keys and values of one text of 4,096 tokens, with 64 and with 8 key-value heads.
    texts_full, texts_grouped
        (e) How many such texts fit beside the weights on four 80-GB GPUs, with 64 and with 8.
    """
    session = Session("grouped_query_savings")
    d, layers = GROUPED.d_model, GROUPED.n_layers
    one = 2 * d * (d - GROUPED.d_kv)
    mistakes = {
        "That is the saving in one of the two; keys and values both shrink.": one / 2,
        "That counts queries and output too, but they keep their 64 heads.": 2 * one,
        "That counts the queries too, but they keep their 64 heads.": 1.5 * one,
        "That is what is left of keys and values, not what is saved.": 2 * d * GROUPED.d_kv,
        "That is what keys and values had before, not what is saved.": 2 * d * d,
        "That is what is left of the block, not what is saved.": 2 * d * d + 2 * d * GROUPED.d_kv,
        "That is the width of a head where the number of features is meant: each projection reads "
        "all 8,192.": one / GROUPED.n_heads,
    }
    session.number(
        "(a) saved in one layer",
        per_layer,
        one,
        mistakes=mistakes
        | {"That is all layers; the question asks for one.": one * layers}
        | other_scales(one),
    )
    session.number(
        "(a) saved in all layers",
        saved,
        layers * one,
        mistakes={message: layers * wrong for message, wrong in mistakes.items()}
        | {"That is one layer; the model has 80.": one}
        | other_scales(layers * one),
    )
    _percentages(session, attention_percent, model_percent)
    _cache(session, cache_full_gb, cache_grouped_gb)
    _texts(session, texts_full, texts_grouped)
    return session.result()


def _percentages(session: Session, attention_percent: Any, model_percent: Any) -> None:
    full, grouped = parameters(FULL), parameters(GROUPED)
    saved = full["total"] - grouped["total"]
    share = 100 * saved / full["attention"]
    session.number(
        "(b) percent of the attention block",
        attention_percent,
        share,
        mistakes={
            "That is in percent of what is left; take it in percent of the block with 64.": 100
            * saved
            / grouped["attention"],
            "That is in percent of keys and values alone; the block has queries and output, "
            "too.": 200 * share / 100,
            "That is what is left of keys and values.": 100 * GROUPED.d_kv / GROUPED.d_model,
            "That is what is left of the block, not what is saved.": 100 - share,
            "That leaves the output projection out of the block.": share * 4 / 3,
            "That is in percent of the whole model.": 100 * saved / full["total"],
            "That is the source's figure, in percent of 70 billion; take it of the attention "
            "block.": 100 * saved / 70e9,
            "That is one of the two; keys and values both shrink.": share / 2,
            "That is a fraction; give the answer in percent.": share / 100,
        },
    )
    whole = 100 * saved / full["total"]
    session.number(
        "(c) percent of the whole model",
        model_percent,
        whole,
        rtol=4e-3,
        mistakes={
            "That is in percent of the model that has saved already; take it in percent of "
            "the model with 64.": 100 * saved / grouped["total"],
            "That is in percent of 70 billion, a round number; count the model with 64.": 100
            * saved
            / 70e9,
            "That is in percent of the attention blocks.": share,
            "That is one of the two; keys and values both shrink.": whole / 2,
            "That is in percent of a model by the rule of thumb; count the one described.": 100
            * saved
            / (12 * FULL.n_layers * FULL.d_model**2 + 2 * FULL.vocab_size * FULL.d_model),
            "That is in percent of a model whose gated MLP has two matrices; it has three.": 100
            * saved
            / (full["total"] - full["mlp"] / 3),
            "That is a fraction; give the answer in percent.": whole / 100,
        },
    )


def _cache(session: Session, cache_full_gb: Any, cache_grouped_gb: Any) -> None:
    for name, given, shape in (
        ("64", cache_full_gb, FULL),
        ("8", cache_grouped_gb, GROUPED),
    ):
        size = kv_cache_bytes(shape, CONTEXT) / 1e9
        mistakes = {
            "That is keys or values; the cache holds both.": size / 2,
            "That is one byte a number; 16 bits are two.": size / 2,
            "That is four bytes a number; 16 bits are two.": 2 * size,
            "That is one layer; each of the 80 has its own keys and values.": size / shape.n_layers,
            "That is one token; the text has 4,096.": size / CONTEXT,
            "That counts the heads without their width of 128.": size / shape.d_head,
            f"That is one key-value head; there are {name}.": size / shape.n_kv_heads,
            "That is for a text of 4,000 tokens; it has 4,096.": size * 4000 / CONTEXT,
        }
        other = kv_cache_bytes(FULL if shape is GROUPED else GROUPED, CONTEXT) / 1e9
        mistakes[f"That is not the cache for {name} key-value heads: which of the two is it?"] = (
            other
        )
        session.number(
            f"(d) cache with {name} key-value heads", given, size, unit="GB", mistakes=mistakes
        )


def _texts(session: Session, texts_full: Any, texts_grouped: Any) -> None:
    memory = DEVICES * H100.memory
    fits = {}
    for shape in (FULL, GROUPED):
        weights = weight_bytes(parameters(shape)["total"])
        fits[shape] = (memory - weights) / kv_cache_bytes(shape, CONTEXT)
    for name, given, shape in (
        ("64", texts_full, FULL),
        ("8", texts_grouped, GROUPED),
    ):
        cache = kv_cache_bytes(shape, CONTEXT)
        weights = weight_bytes(parameters(shape)["total"])
        mistakes = {
            "The weights need room, too.": math.floor(memory / cache),
            "That is with one GPU's memory; there are four.": math.floor(
                max(memory / DEVICES - weights, 0) / cache
            ),
            "That is with 8-bit weights; they have 16 bits here.": math.floor(
                (memory - weights / 2) / cache
            ),
            "That is with 32-bit weights.": math.floor(max(memory - 2 * weights, 0) / cache),
            "That is with 80 GiB; a GPU has 80 GB of 10⁹ bytes here.": math.floor(
                (DEVICES * 80 * 2**30 - weights) / cache
            ),
        }
        if shape is FULL:
            mistakes |= {
                "One too many. Did you round up? Or take too few weights: with 64 key-value heads "
                "the model has more than Llama 2 70B.": math.ceil(fits[FULL]),
            }
        else:
            mistakes |= {
                "That is rounded up; the last one does not fit.": math.ceil(fits[GROUPED]),
                "That is for 70 billion weights, a round number; take the count of (c).": (
                    math.floor((memory - 140e9) / cache)
                ),
                "The weights are those of the model with 64 key-value heads; with 8 it has "
                "fewer.": math.floor((memory - weight_bytes(parameters(FULL)["total"])) / cache),
                "Eight times as many is for equal weights; here the weights shrink, too.": 8
                * math.floor(fits[FULL]),
            }
        whole_number(
            session,
            f"(e) texts with {name} key-value heads",
            given,
            math.floor(fits[shape]),
            rounding=math.floor,
            not_whole="Texts come whole: how many fit?",
            mistakes=mistakes,
        )
