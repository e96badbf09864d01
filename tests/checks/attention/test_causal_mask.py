import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch

from llmbook import check

LOWER = torch.ones(5, 5).tril().bool()
EYE = torch.eye(5).bool()
INF = math.inf


def additive(hidden, value=-INF):
    return torch.zeros(5, 5).masked_fill(hidden, value)


WEIGHTS = LOWER / torch.arange(1, 6)[:, None]
RIGHT = {
    "mask": additive(~LOWER),
    "weights": WEIGHTS,
    "attended": [1, 2, 3, 4, 5],
    "fewest": 1,
    "most": 5,
    "at_index_700": 701,
    "sees_all": "last",
}


def only(**answers):
    """Check some answers; return their one outcome and the notes."""
    result = check.causal_mask(**answers)
    attempted = [o for o in result.outcomes if o.status != "not attempted"]
    assert [o.name for o in attempted] == list(answers)
    return attempted[0], result.notes


def test_everything_right_passes():
    assert check.causal_mask(**RIGHT).passed


# --- Formats --------------------------------------------------------------------------------------

MASKS = {
    "-inf": (RIGHT["mask"], ""),
    "-inf, float64, NumPy": (RIGHT["mask"].double().numpy(), ""),
    "nested lists": (RIGHT["mask"].tolist(), ""),
    "SymPy": (sympy.Matrix(5, 5, lambda t, s: -sympy.oo if s > t else 0), ""),
    "non-contiguous": (additive(~LOWER).T.contiguous().T, ""),
    "-1e9": (additive(~LOWER, -1e9), ""),
    "smallest float16": (additive(~LOWER).half().clamp(min=torch.finfo(torch.float16).min), ""),
    "integers": ((~LOWER).int() * -(10**6), ""),
    "-100": (additive(~LOWER, -100.0), "safer"),
    "-30": (additive(~LOWER, -30.0), "safer"),
    "-1000": (additive(~LOWER, -1000), "safer"),
    "True = may attend": (LOWER, "True for “may attend”"),
    "True = masked out": (~LOWER, "True for “masked out”"),
    "booleans, lists": (LOWER.tolist(), "True for “may attend”"),
    "booleans, NumPy": ((~LOWER).numpy(), "True for “masked out”"),
}


@pytest.mark.parametrize(("mask", "note"), MASKS.values(), ids=MASKS)
def test_masks_in_any_format_pass(mask, note):
    outcome, notes = only(mask=mask)
    assert outcome.status == "passed", outcome.message
    assert note in " ".join(notes)
    assert bool(note) == bool(notes)


@pytest.mark.parametrize(
    "weights",
    [
        WEIGHTS,
        WEIGHTS.double().numpy(),
        WEIGHTS.tolist(),
        [[Fraction(int(s <= t), t + 1) for s in range(5)] for t in range(5)],
        sympy.Matrix(5, 5, lambda t, s: sympy.Rational(1, t + 1) if s <= t else 0),
        (WEIGHTS * 100).round() / 100,
        (torch.ones(5, 5) + additive(~LOWER, -1e9)).softmax(-1),
    ],
)
def test_weights_in_any_format_pass(weights):
    outcome, _ = only(weights=weights)
    assert outcome.status == "passed", outcome.message


@pytest.mark.parametrize("counts", [(1, 2, 3, 4, 5), np.arange(1, 6), LOWER.sum(1)])
def test_counts_in_any_format_pass(counts):
    assert only(attended=counts)[0].status == "passed"


# --- Mistakes -------------------------------------------------------------------------------------

WRONG_MASKS = {
    "transposed": (additive(~LOWER.T), "transposed: the upper triangle is allowed"),
    "strictly lower": (additive(~LOWER | EYE), "diagonal is hidden too"),
    "strictly upper allowed": (additive((~LOWER | EYE).T), "transposed, and the diagonal"),
    "diagonal only": (additive(EYE), "Only the diagonal"),
    "large negative, transposed": (additive(~LOWER.T, -1e9), "transposed"),
    "zeros and ones": (LOWER.float(), "zeros and ones as numbers"),
    "ones and zeros": ((~LOWER).int(), "zeros and ones as numbers"),
    "nothing hidden": (torch.zeros(5, 5), "adding 0 hides nothing"),
    "-1": (additive(~LOWER, -1), "too small in size"),
    "-10": (additive(~LOWER, -10.0), "e^(-10)"),
    "+inf": (additive(~LOWER, INF), "Look at the sign"),
    "+1e9": (additive(~LOWER, 1e9), "Look at the sign"),
    "NaN": (LOWER.float() * -INF, "NaN"),
    "scores added": (torch.ones(5, 5) + additive(~LOWER), "allowed ones are not 0"),
    "one row wrong": (additive(~LOWER).index_fill(0, torch.tensor([2]), 0), "in row 3"),
    "boolean, transposed": (LOWER.T, "transposed"),
    "boolean, strictly lower": (LOWER & ~EYE, "diagonal is wrong"),
    "boolean, all": (torch.ones(5, 5).bool(), "Neither with True"),
    "None for 0": ([[None] * 5] * 5, "is `None`: every entry must be a number"),
    "dots": ([[..., *row[1:]] for row in RIGHT["mask"].tolist()], "every entry must be a number"),
    "texts": ([["0", "-inf"]], "leave the quotes out"),
    "texts, NumPy": (np.full((5, 5), "-inf"), "leave the quotes out"),
    "4 x 4": (additive(~LOWER)[:4, :4], "shape is (4, 4)"),
    "text": ("causal", "should be a tensor"),
    "ragged": ([[0], [0, 0]], "rows of equal length"),
    "a number": (3, "shape is ()"),
    "an object": (object(), "should be a tensor"),
    "complex": (torch.zeros(5, 5, dtype=torch.complex64), "real numbers"),
}


@pytest.mark.parametrize(("mask", "message"), WRONG_MASKS.values(), ids=WRONG_MASKS)
def test_wrong_masks_are_named(mask, message):
    outcome, _ = only(mask=mask)
    assert outcome.status == "failed"
    assert message in outcome.message


def softmax(scores, dim=1):
    return scores.softmax(dim)


SCORES = torch.ones(5, 5)
WRONG_WEIGHTS = {
    "mask forgotten": (softmax(SCORES), "Nothing is masked"),
    "not renormalized": (softmax(SCORES) * LOWER, "masked after the softmax"),
    "zeros and ones": (LOWER, "no weights yet"),
    "exponentials": (SCORES.exp() * LOWER, "not yet divided"),
    "transposed mask": (softmax(SCORES + additive(~LOWER.T)), "mask is transposed"),
    "transposed weights": (WEIGHTS.T, "weights are transposed"),
    "columns": (softmax(SCORES + additive(~LOWER), 0), "down the columns"),
    "zeros for -inf": (softmax(SCORES * LOWER), "e^0 is 1"),
    "-1 for -inf": (softmax(SCORES + additive(~LOWER, -1.0)), "e^0 is 1"),
    "-2 for 0, zeros for ...": (softmax(SCORES + additive(~LOWER, -2.0)), "masked scores of −1"),
    "strictly lower, NaN": (softmax(SCORES + additive(~LOWER | EYE)), "diagonal is hidden"),
    "strictly lower, zeros": (
        softmax(SCORES + additive(~LOWER | EYE)).nan_to_num(),
        "diagonal is hidden",
    ),
    "strictly lower, -1e9": (softmax(SCORES + additive(~LOWER | EYE, -1e9)), "diagonal is hidden"),
    "rows off": (WEIGHTS * 0.8, "each row sums to 1"),
    "5 x 1": (WEIGHTS[:, :1], "shape is (5, 1)"),
    "text": ("1/t", "should be a tensor"),
    "texts": ([["1", "0", "0", "0", "0"]] * 5, "leave the quotes out"),
    "gap": ([*WEIGHTS[:4].tolist(), [None] * 5], "every entry must be a number"),
}


@pytest.mark.parametrize(("weights", "message"), WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS)
def test_wrong_weights_are_named(weights, message):
    outcome, _ = only(weights=weights)
    assert outcome.status == "failed"
    assert message in outcome.message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"attended": [0, 1, 2, 3, 4]}, "one too small"),
        ({"attended": [2, 3, 4, 5, 6]}, "one too large"),
        ({"attended": [5, 4, 3, 2, 1]}, "wrong way round"),
        ({"attended": [4, 3, 2, 1, 0]}, "hidden positions"),
        ({"attended": [5] * 5}, "Nothing is masked"),
        ({"attended": 5}, "shape is ()"),
        ({"attended": [1, 2, 3, None, 5]}, "every entry must be a number"),
        ({"attended": "all"}, "should be a tensor"),
        ({"fewest": 0}, "may attend to itself"),
        ({"fewest": 5}, "the largest count"),
        ({"most": 4}, "last token may attend to itself"),
        ({"most": 1}, "the smallest count"),
        ({"most": 15}, "pairs in the whole mask"),
        ({"most": 25}, "entries of the mask"),
        ({"most": "T"}, "plain number"),
        ({"at_index_700": 700}, "numbered from 1"),
        ({"at_index_700": 699}, "700 − 1"),
        ({"at_index_700": 702}, "One too many"),
        ({"at_index_700": 323}, "tokens after it"),
        ({"at_index_700": 324}, "tokens after it and itself"),
        ({"at_index_700": 1024}, "Nothing is masked"),
        ({"sees_all": "first"}, "nothing but itself"),
        ({"sees_all": "middle"}, "after the middle"),
        ({"sees_all": 5}, "Choose one of"),
    ],
)
def test_wrong_counts_are_named(answer, message):
    outcome, _ = only(**answer)
    assert outcome.status == "failed"
    assert message in outcome.message


# --- The rest -------------------------------------------------------------------------------------


def test_untouched_is_not_attempted():
    assert check.causal_mask().status == "not attempted"
    assert check.causal_mask(**dict.fromkeys(RIGHT, ...)).status == "not attempted"


def test_no_message_gives_the_weights_away():
    messages = check.causal_mask(weights=WEIGHTS * 0.8, attended=[9, 9, 9, 9, 9]).messages
    for secret in ("0.3333", "1/3", "[1, 2, 3"):
        assert secret not in messages
