"""Check of exercise 13.4, the width of a head."""

import math
from typing import Any

import torch
from torch import Tensor

from llmbook.checks.engine import Failure, Result, Session, is_placeholder, to_tensor

TOKENS = 100
WIDTH = 2
WANTED = 0.99 - 5e-4  # in three decimals, 0.99


def head_dimension(
    d_k: Any = None,
    d_k_64: Any = None,
    max_rank: Any = None,
    error: Any = None,
    q: Any = None,
    k: Any = None,
    cost: Any = None,
) -> Result:
    """Check the width of a head and what a narrow one can do; pass any subset.

    Parameters
    ----------
    d_k
        (a) Width of a head for d_model = 512 and h = 8.
    d_k_64
        (b) Width of a head for d_model = 512 and h = 64.
    max_rank
        (b) Largest possible rank of one head's 1,024 × 1,024 score matrix for h = 64.
    error
        (c) Relative error, in the Frobenius norm, of the best approximation of the 100 × 100
        identity by a score matrix of that rank: a fraction, three significant digits.
    q, k
        (d) Queries and keys, each of shape (100, 2), a row a token; tensors, arrays or lists.
    cost
        (e) ``"a"``, ``"b"``, ``"c"`` or ``"d"``.
    """
    session = Session("head_dimension")
    session.number(
        "(a) d_k for 8 heads",
        d_k,
        64,
        rtol=0,
        mistakes={
            "8 is the number of heads; how wide is each of them?": 8,
            "That multiplies d_model by the number of heads; the heads share d_model.": 512 * 8,
            "That gives every head the whole width; the heads share d_model.": 512,
            "That is the width of all of Q, K and V together, for one head.": 3 * 64,
        },
    )
    session.number(
        "(b) d_k for 64 heads",
        d_k_64,
        8,
        rtol=0,
        mistakes={
            "That is the number of heads (and d_k for 8 of them); the width shared is still 512.": (
                64
            ),
            "That divides the width of one of the 8 old heads; the width shared is still 512.": 1,
            "That multiplies d_model by the number of heads; the heads share d_model.": 512 * 64,
            "That gives every head the whole width; the heads share d_model.": 512,
        },
    )
    session.number(
        "(b) largest rank of the scores",
        max_rank,
        8,
        rtol=0,
        mistakes={
            "That is the size of the score matrix; which shapes does it come from as a "
            "product?": 1024,
            "That is d_model. Q and K of one head have been projected to fewer columns.": 512,
            "That is the number of heads, or the bound for 8 heads; take one head of 64.": 64,
            "The ranks of the factors do not add up: a product has no more rank than its lesser "
            "factor.": 16,
            "One less would hold after centering; the score matrix itself may have one more.": 7,
        },
    )
    _error_of_the_identity(session, error)

    @session.test("(d) 100 tokens attend to themselves with d_k = 2")
    def _() -> None:
        _attends_to_itself(session, q, k)

    session.choice(
        "(e) what a narrow head costs",
        cost,
        "b",
        {
            "a": "Part (d) shows otherwise: two dimensions were enough for weights of 0.99. What "
            "did they need instead?",
            "c": "Ranks would add up if the scores of the heads were added, but each head takes "
            "its own softmax first, over its own scores.",
            "d": "The layer has as many parameters as before: eight times as many heads, each with "
            "an eighth of the width. The next exercise counts them.",
        },
    )
    return session.result()


def _error_of_the_identity(session: Session, error: Any) -> None:
    def missed(n: int, rank: int) -> float:
        return math.sqrt((n - rank) / n)

    left = 1 - 8 / TOKENS
    session.number(
        "(c) error of the best approximation",
        error,
        missed(TOKENS, 8),
        rtol=1e-3,  # several of the mistakes are near 1
        mistakes={
            "That is the squared error: the Frobenius norm takes a square root.": left,
            "That is what the approximation keeps, not what it misses.": math.sqrt(1 - left),
            "That is the share (squared) that the approximation keeps, not what it misses.": 1
            - left,
            "That is the absolute error; divide by the norm of the identity.": math.sqrt(
                TOKENS - 8
            ),
            "That is the squared absolute error: how many singular values are lost. Take the root "
            "and divide by the norm of the identity.": TOKENS - 8,
            "That is the error in the spectral norm; the Frobenius norm sums over all lost "
            "singular values.": 1,
            "An error of 0 would need a score matrix of full rank.": 0,
            "That subtracts the norms; it is the squares that add up.": 1 - math.sqrt(1 - left),
            "That is for the 1,024 tokens of (b); here there are fewer.": missed(1024, 8),
            "That takes d_model for the number of tokens; the identity has a row and a column a "
            "token.": missed(512, 8),
            "That takes the number of heads for the number of tokens.": missed(64, 8),
            "That is for the two dimensions of (d); the head of (c) has the width of (b).": (
                missed(TOKENS, 2)
            ),
            "That is for a head as wide as with 8 heads; here the layer has 64.": (
                missed(TOKENS, 64)
            ),
        },
    )


def _attends_to_itself(session: Session, q: Any, k: Any) -> None:
    missing = [name for value, name in ((q, "q"), (k, "k")) if is_placeholder(value)]
    if len(missing) == 1:
        raise Failure(f"`{missing[0]}` is still to come: pass `q` and `k` together.")
    # Nothing of the learner's runs here; the call only turns placeholders into "not attempted".
    session.call(lambda: None if missing else True)
    queries, keys = (_points(value, name) for value, name in ((q, "q"), (k, "k")))
    scores = queries @ keys.T / math.sqrt(WIDTH)
    if not bool(scores.isfinite().all()):
        raise Failure("The scores overflow, even in float64: take shorter queries and keys.")
    weights = scores.softmax(-1)
    own = weights.diagonal()
    if bool((own >= WANTED).all()):
        return
    worst = int(own.argmin())
    seen = f"The smallest weight of a token on itself is {float(own.min()):.4f} (token {worst})."
    if bool((weights - weights.mean(0)).abs().max() < 1e-6):
        raise Failure(f"Every token attends in the same way. {seen}")
    gaps = torch.cdist(keys, keys) + torch.diag(torch.full((TOKENS,), math.inf))
    if float(gaps.min()) <= 1e-6 * float(keys.norm(dim=1).max()):
        i, j = divmod(int(gaps.argmin()), TOKENS)
        raise Failure(
            f"Keys {i} and {j} are the same point, so that no query can tell them apart. {seen}\n"
            "Does a range include both of its ends, which mean the same direction?"
        )
    first = weights.argmax(-1)
    hits = first == torch.arange(TOKENS)
    if bool(hits.all()):
        raise Failure(
            f"Every token attends most to itself, but not enough. {seen}\n"
            "Which one number sharpens all rows without changing their order?"
        )
    if bool((scores.argmin(-1) == torch.arange(TOKENS)).all()):
        raise Failure(f"Every token attends least to itself: a sign is wrong. {seen}")
    lengths = keys.norm(dim=1)
    favored = int(first[~hits].mode().values)
    if float(lengths.min()) < 0.99 * float(lengths.max()) and int(hits.sum()) <= TOKENS // 2:
        raise Failure(
            f"{int((~hits).sum())} of {TOKENS} tokens attend most to another, often to token "
            f"{favored}: keys differ in length, and a long key gets a high score from every query "
            "on its side.\nWhich keys would not have that advantage?"
        )
    raise Failure(
        f"{int((~hits).sum())} of {TOKENS} tokens attend most to another token. {seen}\n"
        "A score is a dot product: arrange points so that each has its largest one with itself."
    )


def _points(value: Any, name: str) -> Tensor:
    points = to_tensor(value, f"`{name}`")
    if points.shape == (WIDTH, TOKENS):
        raise Failure(f"`{name}` is transposed: a row a token, so of shape ({TOKENS}, {WIDTH}).")
    if points.shape != (TOKENS, WIDTH):
        raise Failure(
            f"`{name}` has shape {tuple(points.shape)}; it should be ({TOKENS}, {WIDTH}): "
            f"{TOKENS} tokens, d_k = {WIDTH}."
        )
    if points.is_complex():
        raise Failure(f"`{name}` holds complex numbers; take real and imaginary part as columns.")
    points = points.double().cpu()
    if not bool(points.isfinite().all()):
        raise Failure(f"`{name}` holds infinite numbers or NaN.")
    return points
