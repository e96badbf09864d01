"""Check of exercise 35.11, rotary position embeddings from scratch."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    expect_shape,
    is_placeholder,
    to_tensor,
)
from llmbook.checks.scalars import TOO_FEW_DIGITS

HALVES, NEIGHBORS = "halves", "neighbors"
NAMES = {
    HALVES: "half-split: (x[i], x[i + d/2]), as in GPT-NeoX and Hugging Face's Llama",
    NEIGHBORS: "interleaved: (x[2i], x[2i + 1]), as in the paper and the code released with Llama",
}


def rotary_embedding(
    apply_rotary: Callable[..., Any] | None = None,
    rotary_attention: Callable[..., Any] | None = None,
    caught: Iterable[str] | None = None,
) -> Result:
    """Check rotary position embeddings, and attention that uses them.

    Both conventions are right: a pair may be (x[2i], x[2i + 1]) or (x[i], x[i + d/2]). The check
    says which one it sees.

    Parameters
    ----------
    apply_rotary
        (a) ``apply_rotary(x, positions, base=10000.0)`` with ``x`` of shape (..., n, d), any number
        of batch dimensions in front, d even, floating-point; and ``positions`` of shape (n,), any
        whole numbers. Returns ``x`` with its pairs turned, of the same shape and dtype, and lets
        gradients through.
    rotary_attention
        (b) ``rotary_attention(q, k, v, positions, base=10000.0)`` with ``q``, ``k`` and ``v`` of
        shape (..., n, d) and ``positions`` of shape (n,), those of queries and keys alike. Returns
        the output of scaled dot-product attention without a mask, (..., n, d).
    caught
        (c) The letters of the wrong versions that the test catches, such as ``"AB"``.
    """
    session = Session("rotary_embedding")
    convention = _check_apply_rotary(session, apply_rotary)
    _check_attention(session, apply_rotary, rotary_attention)
    _check_caught(session, caught)
    if convention in NAMES:
        session.note(f"your pairs are {NAMES[convention]}")
    return session.result()


# --- (a) -----------------------------------------------------------------------------------------


def _check_apply_rotary(session: Session, apply_rotary: Any) -> str:
    """Return the convention that the function follows, or "" if it could not be told."""
    seen: list[str] = []

    def compare(
        x: Tensor,
        positions: Tensor,
        hint: str = "",
        base: float | None = None,
        rtol: float = 1e-4,
        atol: float = 1e-4,
    ) -> Tensor:
        options = {} if base is None else {"base": base}
        got = _returned(session, apply_rotary, (x, positions), options, hint, "the turned `x`")
        base = base or 1e4
        angles = _angles(x, positions, base)
        for pairing in seen or NAMES:
            if _close(got, _turn(x, angles, pairing), rtol, atol):
                if not seen:
                    seen.append(pairing)
                return got
        expect_close(
            got,
            _turn(x, angles, (seen or [HALVES])[0]),
            inputs={"x": x, "positions": positions} | options,
            mistakes=[
                *_mistakes(got, x, positions, base, seen or list(NAMES)),
                Mistake(TOO_FEW_DIGITS, lambda: _if_near(got, x, angles, seen or list(NAMES))),
            ],
            properties={
                "a turn leaves the length of each token as it is": lambda out: bool(
                    torch.allclose(
                        out.double().norm(dim=-1), x.double().norm(dim=-1), rtol=1e-2, atol=1e-2
                    )
                )
            },
            rtol=rtol,
            atol=atol,
        )
        return got

    @session.test("two tokens of width 6, at positions 3 and 5")
    def _() -> None:
        x = torch.tensor([[1.0, 2.0, 3.0, 5.0, -1.0, 0.5], [-1.0, 0.5, 2.0, -4.0, 3.0, 1.0]])
        compare(x, torch.tensor([3, 5]), "The angles should have shape (n, d/2), here (2, 3).")

    if not seen:
        if not is_placeholder(apply_rotary):
            session.note("batches and other types are tested once these two tokens are right")
        return ""

    @session.test("positions 0 to 4")
    def _() -> None:
        compare(torch.randn(5, 6), torch.arange(5))

    @session.test("positions 5, 9 and 100")
    def _() -> None:
        hint = "`positions` is given: take the angles from it, not from the length of `x`."
        compare(torch.randn(3, 6), torch.tensor([5, 9, 100]), hint)

    axis_hint = (
        "`x` has batch dimensions in front: the tokens are the last dimension but one, so the "
        "angles have shape (n, d/2), which broadcasts from the right."
    )

    @session.test("a batch of several heads")
    def _() -> None:
        compare(torch.randn(2, 3, 5, 8), torch.arange(5), axis_hint)

    @session.test("as many heads as tokens")
    def _() -> None:
        compare(torch.randn(4, 4, 4, 6), torch.arange(4) + 1, axis_hint)

    @session.test("another base")
    def _() -> None:
        for base in (300.0, 500_000.0):
            hint = "`base` comes as a keyword argument; it is 10,000 unless given."
            compare(torch.randn(3, 8), torch.tensor([1, 2, 30]), hint, base=base)

    @session.test("width 2, one token, not contiguous")
    def _() -> None:
        compare(torch.randn(3, 2), torch.arange(3), "The width is 2 here: one pair.")
        compare(torch.randn(2, 1, 4), torch.tensor([7]), "There is one token here.")
        # Heads split off by a transpose, as in multi-head attention.
        x = torch.randn(2, 5, 3, 8).transpose(1, 2)
        compare(x, torch.arange(5), "`x` is not contiguous here: its heads come from a transpose.")

    @session.test("float64, and gradients")
    def _() -> None:
        x, positions = torch.randn(3, 8, dtype=torch.float64), torch.tensor([5, 9, 100])
        got = compare(x, positions, "`x` is float64 here.")
        _expect_dtype(got, torch.float64)
        exact = _turn(x, _angles(x, positions, 1e4), seen[0])
        if not torch.allclose(got, exact, rtol=1e-9, atol=1e-9):
            session.note(
                "your angles are computed in float32, which is what most libraries do; the larger "
                "the position, the fewer digits of a turned float64 `x` are right"
            )
        leaf = torch.randn(3, 8, requires_grad=True)
        out = session.call(apply_rotary, leaf, positions)
        if not (isinstance(out, Tensor) and out.requires_grad):
            raise Failure(
                "No gradient flows through your function: is there a `detach`, a `no_grad` or a "
                "conversion to NumPy on the way?"
            )
        upstream = torch.randn(3, 8)
        (grad,) = torch.autograd.grad(out, leaf, upstream)
        angles = _angles(upstream, positions, 1e4)
        expect_close(grad, _turn(upstream, -angles, seen[0]), rtol=1e-3, atol=1e-3)

    @session.test("bfloat16 and float16, at positions around 3,000")
    def _() -> None:
        positions = torch.tensor([3001, 3007, 3010])
        for dtype, atol in ((torch.bfloat16, 0.06), (torch.float16, 0.01)):
            x = torch.randn(3, 64).clamp(-2, 2).to(dtype)
            try:
                got = compare(x, positions, f"`x` is `{dtype}` here.", rtol=0.0, atol=atol)
            except Failure as failure:
                if not str(failure).startswith("The shape"):
                    raise
                ask = f"`x` is `{dtype}` here. In which type are your angles computed?"
                raise Failure(f"{failure}\n{ask}") from None
            _expect_dtype(got, dtype)

    return seen[0]


def _if_near(got: Tensor, x: Tensor, angles: Tensor, pairings: Sequence[str]) -> Tensor:
    """Return `got` if it is right to about two digits; of half precision no more is wanted."""
    if x.dtype not in (torch.float16, torch.bfloat16) and any(
        _close(got, _turn(x, angles, p), 0, 0.01 * float(x.abs().max())) for p in pairings
    ):
        return got
    raise Failure("not near")


def _expect_dtype(got: Tensor, dtype: torch.dtype) -> None:
    if got.dtype != dtype:
        raise Failure(
            f"`x` is `{dtype}`, but what comes back is `{got.dtype}`: it would no longer fit "
            "the other tensors of the model. Compute the angles in the type you like, and return "
            "the type of `x`."
        )


# --- (b) -----------------------------------------------------------------------------------------


def _check_attention(session: Session, apply_rotary: Any, rotary_attention: Any) -> None:
    def compare(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        positions: Tensor,
        hint: str = "",
        base: float | None = None,
    ) -> Tensor:
        options = {} if base is None else {"base": base}
        got = _returned(
            session, rotary_attention, (q, k, v, positions), options, hint, "the output"
        )
        base = base or 1e4
        angles = _angles(q, positions, base)

        def rotated(on_q: str, on_k: str, angles: Tensor = angles) -> Tensor:
            return _attend(_turn(q, angles, on_q), _turn(k, angles, on_k), v)

        if any(_close(got, rotated(p, p), 1e-4, 1e-4) for p in NAMES):
            return got
        counted = _angles(q, torch.arange(len(positions)), base)
        usual = _angles(q, positions, 1e4)
        not_passed_on = (
            "`base` is not handed on to the rotation: 10,000 stands in its place. Pass it on, or "
            "use it if you compute the angles here."
        )
        unused = "The given positions are not used: the tokens are counted 0, 1, 2, … instead."
        mixed = "The queries and the keys are paired in different conventions."
        mistakes = [
            *_attention_mistakes(q, k, v, angles, HALVES),
            *_attention_mistakes(q, k, v, angles, NEIGHBORS),
            Mistake(unused, lambda: rotated(HALVES, HALVES, counted)),
            Mistake(unused, lambda: rotated(NEIGHBORS, NEIGHBORS, counted)),
            Mistake(not_passed_on, lambda: rotated(HALVES, HALVES, usual)),
            Mistake(not_passed_on, lambda: rotated(NEIGHBORS, NEIGHBORS, usual)),
            Mistake(mixed, lambda: rotated(HALVES, NEIGHBORS)),
            Mistake(mixed, lambda: rotated(NEIGHBORS, HALVES)),
        ]
        if not is_placeholder(apply_rotary):

            def own(x: Tensor) -> Tensor:
                turned = to_tensor(session.call(apply_rotary, x, positions, **options))
                if turned.is_complex():
                    raise Failure("no rotation that attention could use")
                return turned

            follows = (
                "The attention around it is right: this follows from your `apply_rotary`, and the "
                "mistake is there."
            )
            mistakes.insert(0, Mistake(follows, lambda: _attend(own(q), own(k), v)))
        expect_close(
            got,
            rotated(HALVES, HALVES),
            inputs={"q": q, "k": k, "v": v, "positions": positions} | options,
            mistakes=mistakes,
            properties={
                "each output lies between the smallest and the largest value": lambda out: bool(
                    (out <= v.amax(-2, keepdim=True) + 1e-3).all()
                    and (out >= v.amin(-2, keepdim=True) - 1e-3).all()
                )
            },
            rtol=1e-4,
            atol=1e-4,
        )
        return got

    right: list[str] = []

    @session.test("attention over positions 5, 9 and 100")
    def _() -> None:
        q, k, v = torch.randn(3, 3, 4)
        compare(q, k, v, torch.tensor([5, 9, 100]))
        right.append("three tokens")

    if not right:
        return

    @session.test("attention in a batch of several heads")
    def _() -> None:
        q, k, v = torch.randn(3, 2, 4, 5, 6)
        compare(q, k, v, torch.arange(5), "q, k and v have four dimensions here.")

    @session.test("attention with another base")
    def _() -> None:
        q, k, v = torch.randn(3, 4, 8)
        hint = "`base` comes as a keyword argument; it is 10,000 unless given."
        compare(q, k, v, torch.tensor([1, 2, 30, 7]), hint, base=300.0)

    @session.test("attention with all positions moved by 1,000")
    def _() -> None:
        q, k, v = torch.randn(3, 5, 8)
        positions = torch.tensor([0, 1, 2, 7, 30])
        here = compare(q, k, v, positions)
        there = to_tensor(session.call(rotary_attention, q, k, v, positions + 1000))
        expect_shape(there, here.shape)
        if not torch.allclose(here.double(), there.double(), atol=5e-3):
            raise Failure(
                "The output changes when all positions move by the same amount. The scores should "
                "depend on differences of positions only."
            )

    @session.test("attention in float64")
    def _() -> None:
        q, k, v = torch.randn(3, 4, 6, dtype=torch.float64)
        got = compare(q, k, v, torch.tensor([3, 1, 4, 15]))
        if got.dtype != torch.float64:
            raise Failure(f"q, k and v are `torch.float64`, but the output is `{got.dtype}`.")


def _attend(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    return F.scaled_dot_product_attention(q.double(), k.double(), v.double(), **options)


def _attention_mistakes(
    q: Tensor, k: Tensor, v: Tensor, angles: Tensor, pairing: str
) -> list[Mistake]:
    def turn(x: Tensor, times: float = 1.0) -> Tensor:
        return _turn(x, times * angles, pairing)

    def over_queries() -> Tensor:
        scores = turn(q).double() @ turn(k).double().mT / math.sqrt(q.shape[-1])
        return scores.softmax(-2) @ v.double()

    rotates_values = (
        "The values are rotated too. Only queries and keys are: positions are to act on who "
        "attends to whom, not on what is passed on."
    )
    opposite = (
        "Queries and keys are turned in opposite directions, so the scores depend on the sum of "
        "the two positions, not on their difference."
    )
    return [
        Mistake(rotates_values, lambda: _attend(turn(q), turn(k), turn(v))),
        Mistake(
            "Only the queries are rotated; the keys have positions as well.",
            lambda: _attend(turn(q), k, v),
        ),
        Mistake(
            "Only the keys are rotated; the queries have positions as well.",
            lambda: _attend(q, turn(k), v),
        ),
        Mistake(opposite, lambda: _attend(turn(q), turn(k, -1), v)),
        Mistake(opposite, lambda: _attend(turn(q, -1), turn(k), v)),
        Mistake(
            "Nothing is rotated: the order of the tokens makes no difference here.",
            lambda: _attend(q, k, v),
        ),
        Mistake(
            "Only the values are rotated; it should be the queries and the keys.",
            lambda: _attend(q, k, turn(v)),
        ),
        Mistake(
            "The output is rotated. Rotate queries and keys before the scores are computed, and "
            "nothing after.",
            lambda: turn(_attend(turn(q), turn(k), v)),
        ),
        Mistake(
            "The scores are not divided by √d.", lambda: _attend(turn(q), turn(k), v, scale=1.0)
        ),
        Mistake(
            "There is a causal mask; here every token attends to every token.",
            lambda: _attend(turn(q), turn(k), v, is_causal=True),
        ),
        Mistake(
            "The softmax runs over the queries; for each query, the weights of all keys should sum "
            "to 1.",
            over_queries,
        ),
        Mistake("Queries and keys are exchanged.", lambda: _attend(turn(k), turn(q), v)),
        Mistake(
            "The rotation is applied twice, as if every position were twice as large.",
            lambda: _attend(turn(q, 2), turn(k, 2), v),
        ),
    ]


# --- (c) -----------------------------------------------------------------------------------------

QUESTIONS = {
    "A": "with all positions one larger, what happens to their differences?",
    "B": "does the proof of the property ask for particular frequencies?",
    "C": "write down the angle between the turned query and the turned key, for one pair.",
    "D": "write down the angle between the turned query and the key, for one pair.",
    "E": "is what happens to a pair still a rotation, when its two rows use different angles?",
    "F": "which of q, k and v does a score depend on?",
}


def _check_caught(session: Session, caught: Any) -> None:
    @session.test("caught")
    def _() -> None:
        given = session.call(lambda: caught)
        try:
            letters = {letter.upper() for item in given for letter in str(item) if letter.isalnum()}
        except TypeError:
            raise Failure(f"Pass letters, such as `'AB'`; got {given!r:.60}.") from None
        if unknown := sorted(letters - set(QUESTIONS)):
            raise Failure(f"The wrong versions are A to F; got {', '.join(unknown)[:40]}.")
        for letter in sorted(letters ^ set("CDE")):
            raise Failure(f"Look at {letter} again: {QUESTIONS[letter]}")


# --- Rotations, right and wrong ------------------------------------------------------------------


def _returned(
    session: Session,
    function: Callable[..., Tensor],
    arguments: tuple[Tensor, ...],
    options: dict[str, float],
    hint: str,
    what: str,
) -> Tensor:
    """Call the learner's function and return its one tensor.

    Code that raises is told `hint` besides; `what` names the tensor that should come back alone.
    """
    try:
        got = session.call(function, *arguments, **options)
    except Failure as failure:
        if hint and str(failure).startswith("Your code raised"):
            raise Failure(f"{failure}\n{hint}") from None
        raise
    if isinstance(got, tuple | list) and any(isinstance(part, Tensor) for part in got):
        raise Failure(f"Return {what} alone; {len(got)} things came back.")
    return to_tensor(got)


def _angles(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Angles (n, d/2) in radians, in float64."""
    d = x.shape[-1]
    return positions.double()[:, None] * torch.logspace(
        0, 2 / d - 1, d // 2, base=base, dtype=torch.float64
    )


def _pairs(x: Tensor, pairing: str) -> Tensor:
    """Complex numbers (..., d/2), one a pair."""
    x = x.double()
    parts = x.chunk(2, dim=-1) if pairing == HALVES else (x[..., 0::2], x[..., 1::2])
    return torch.complex(*(part.contiguous() for part in parts))


def _components(z: Tensor, pairing: str) -> Tensor:
    if pairing == HALVES:
        return torch.cat([z.real, z.imag], dim=-1)
    return torch.view_as_real(z.resolve_conj()).flatten(-2)


def _turn(x: Tensor, angles: Tensor, pairing: str, out: str | None = None) -> Tensor:
    """Turn each pair by its angle, as a product of complex numbers (Su et al., 2021, eq. 12)."""
    return _components(_pairs(x, pairing) * torch.exp(1j * angles), out or pairing)


def _close(got: Tensor, expected: Tensor, rtol: float, atol: float) -> bool:
    return (
        got.shape == expected.shape
        and not got.is_complex()
        and torch.allclose(got.double(), expected, rtol, atol)
    )


def _mistakes(
    got: Tensor, x: Tensor, positions: Tensor, base: float, pairings: list[str]
) -> list[Mistake]:
    n, d = x.shape[-2:]
    i = torch.arange(d // 2, dtype=torch.float64)
    angles = _angles(x, positions, base)
    m = positions.double()[:, None]
    exponent = "The frequencies are not right: "
    ask = "Compare the exponent with that of the statement; d is the width of `x`."
    # What is wrong → the angles one gets that way.
    wrong_angles: list[tuple[str, Callable[[], Tensor]]] = [
        ("The turn is clockwise; it should be counterclockwise.", lambda: -angles),
        (
            "Off by one: the tokens are turned as if they stood one position later. Positions "
            "count from 0. (The scores do not show this: they depend on differences.)",
            lambda: _angles(x, positions + 1, base),
        ),
        (
            "Off by one: the tokens are turned as if they stood one position earlier. (The scores "
            "do not show this: they depend on differences.)",
            lambda: _angles(x, positions - 1, base),
        ),
        (
            "The given positions are not used: the tokens are counted 0, 1, 2, … instead.",
            lambda: _angles(x, torch.arange(n), base),
        ),
        (
            f"{exponent}every pair turns at 1 radian per position, so the base is missing. {ask}",
            lambda: m + 0 * i,
        ),
        (
            f"{exponent}the base is not raised to a power, so all pairs turn alike. {ask}",
            lambda: m * base + 0 * i,
        ),
        (
            f"{exponent}the base is not raised to a power, so all pairs turn alike. {ask}",
            lambda: m / base + 0 * i,
        ),
        (
            f"{exponent}the base is divided by, or multiplied with, 2i/d instead of being raised "
            f"to it. {ask}",
            lambda: m * base * 2 * i / d,
        ),
        (
            f"{exponent}the base is divided by, or multiplied with, 2i/d instead of being raised "
            f"to it. {ask}",
            lambda: m / (base * 2 * i / d),
        ),
        (
            f"{exponent}the exponent is i/d, half of what it should be. {ask}",
            lambda: m * base ** (-i / d),
        ),
        (
            f"{exponent}the exponent is 4i/d, twice what it should be. {ask}",
            lambda: m * base ** (-4 * i / d),
        ),
        (f"{exponent}the exponent is not divided by d. {ask}", lambda: m * base ** (-2 * i)),
        (f"{exponent}the exponent is not divided by d. {ask}", lambda: m * base**-i),
        (
            f"{exponent}the exponent has lost its sign, so they grow with i. {ask}",
            lambda: m * base ** (2 * i / d),
        ),
        (f"{exponent}i starts at 1 instead of 0. {ask}", lambda: m * base ** (-2 * (i + 1) / d)),
        (f"{exponent}they are in reverse order. {ask}", lambda: angles.flip(-1)),
        (
            f"{exponent}the last one is 1/base, so d/2 − 1 has been taken for d/2. {ask}",
            lambda: m * base ** (-i / max(d // 2 - 1, 1)),
        ),
        (
            "`base` is not used: 10,000 stands in its place.",
            lambda: _angles(x, positions, 1e4),
        ),
        ("The angle is taken in degrees; it is in radians.", lambda: torch.deg2rad(angles)),
        ("The angle is taken in full turns; it is in radians.", lambda: 2 * math.pi * angles),
    ]
    if n == d // 2:
        wrong_angles.append(
            (
                "The angles are transposed: they should have shape (n, d/2), a row for each token.",
                lambda: angles.mT,
            )
        )
    if x.ndim > 2:
        heads = x.shape[-3]
        wrong_axis = (
            "The positions run along the wrong axis: all tokens of a head are turned alike, and "
            "the heads differ. The tokens are the last dimension but one."
        )
        if heads == n:
            wrong_angles.append((wrong_axis, lambda: angles[:, None, :]))
        wrong_angles.append((wrong_axis, lambda: _angles(x, torch.arange(heads), base)[:, None]))
        if x.shape[0] == n:
            wrong_angles.append(
                (
                    "The positions run along the batch: all tokens of a text are turned alike. "
                    "The tokens are the last dimension but one.",
                    lambda: angles.view(n, *(1,) * (x.ndim - 2), d // 2),
                )
            )

    def turned_by(wrong: Callable[[], Tensor], pairing: str) -> Callable[[], Tensor]:
        def turned() -> Tensor:
            angles = wrong()
            expected = _turn(x, angles, pairing)
            # Wrong angles are often large, and float32 ones then visibly rounded.
            rounding = min(float(angles.abs().max()) * 2.0**-22, 0.02) * float(x.abs().max())
            return got if _close(got, expected, 1e-4, 1e-4 + rounding) else expected

        return turned

    def added(first: Tensor, second: Tensor, pairing: str) -> Callable[[], Tensor]:
        return lambda: x.double() + _components(torch.complex(first, second), pairing)

    def in_half(dtype: torch.dtype, rounded: str, pairing: str) -> Callable[[], Tensor]:
        def low(value: Tensor, name: str) -> Tensor:
            return value.to(dtype).double() if name in rounded else value

        def turned() -> Tensor:
            frequencies = low(_angles(x, torch.ones(1), base), "frequencies")
            turn = low(low(m, "positions") * frequencies, "angles")
            turn = torch.complex(turn.cos().to(dtype).double(), turn.sin().to(dtype).double())
            return _components(_pairs(x, pairing) * turn, pairing)

        return turned

    too_coarse = (
        "The {what} in {type}, which cannot tell large positions apart, let alone their "
        "angles. Compute frequencies, angles, cosines and sines in float32 or float64, and convert "
        "to the type of `x` afterward."
    )
    mistakes = [
        Mistake(
            too_coarse.format(what=what, type=str(dtype).removeprefix("torch.")),
            in_half(dtype, rounded, p),
        )
        for what, rounded in (
            ("angles are computed", "positions, frequencies, angles"),
            ("angles are computed", "angles"),
            ("positions are held", "positions"),
            ("frequencies are computed", "frequencies"),
        )
        for dtype in (torch.float16, torch.bfloat16)
        for p in pairings
    ]
    mistakes += [
        Mistake(message, turned_by(wrong, p)) for message, wrong in wrong_angles for p in pairings
    ]
    for p in pairings:
        mistakes += _pairing_mistakes(x, angles, p)
    mistakes += [
        Mistake("This is `x` as it was: nothing is turned.", lambda: x),
        *(
            Mistake(
                "Sines and cosines are added to `x`, as in a sinusoidal encoding. Rotary "
                "embeddings multiply: they turn each pair.",
                added(first, second, p),
            )
            for p in NAMES
            for first, second in ((angles.sin(), angles.cos()), (angles.cos(), angles.sin()))
        ),
    ]
    if len(pairings) == 1:
        (other,) = set(NAMES) - set(pairings)
        mistakes.append(
            Mistake(
                "Here your function pairs the components in the other convention than for two "
                "tokens: one of the two must be meant for all shapes.",
                lambda: _turn(x, angles, other),
            )
        )
    return mistakes


def _pairing_mistakes(x: Tensor, angles: Tensor, pairing: str) -> list[Mistake]:
    """What goes wrong between the pairs of `x` and the layout of cosines and sines."""
    (other,) = set(NAMES) - {pairing}
    z, turn = _pairs(x, pairing), torch.exp(1j * angles)
    cos, sin = turn.real, turn.imag

    def full(part: Tensor, layout: str) -> Tensor:
        """Each value twice, (n, d/2) → (n, d), where the two components of a pair stand."""
        return _components(torch.complex(part, part), layout)

    quarter = _components(1j * z, pairing)  # each pair turned by a right angle
    x = x.double()
    layouts = {
        HALVES: "The pairing of cosines and components does not fit: `x` is split in halves, so "
        "pair i is (x[i], x[i + d/2]), but the cosines and sines are laid out for neighbors "
        "(c0, c0, c1, c1, …).",
        NEIGHBORS: "The pairing of cosines and components does not fit: the pairs of `x` are "
        "neighbors, (x[2i], x[2i + 1]), but the cosines and sines are laid out for halves "
        "(c0, c1, …, c0, c1, …).",
    }
    order = {
        HALVES: "The pairs are taken from the two halves of `x`, but put back as neighbors: at "
        "position 0, where nothing turns, this would shuffle the components.",
        NEIGHBORS: "The pairs are taken as neighbors, but put back as two halves: at position 0, "
        "where nothing turns, this would shuffle the components.",
    }
    one_sign = (
        "Both sine terms have the same sign, so this is no rotation: lengths change. One of the "
        "two components of a pair gets a minus sign."
    )
    return [
        Mistake(layouts[pairing], lambda: x * full(cos, other) + quarter * full(sin, other)),
        Mistake(order[pairing], lambda: _turn(x, angles, pairing, out=other)),
        Mistake(
            one_sign,
            lambda: x * full(cos, pairing) + _swapped(x, pairing) * full(sin, pairing),
        ),
        Mistake(
            one_sign,
            lambda: x * full(cos, pairing) - _swapped(x, pairing) * full(sin, pairing),
        ),
        Mistake(
            "Cosine and sine are exchanged: at angle 0, nothing may change.",
            lambda: x * full(sin, pairing) + quarter * full(cos, pairing),
        ),
        Mistake(
            "The components are only multiplied by the cosines; a rotation also mixes in the other "
            "component of the pair, times the sine.",
            lambda: x * full(cos, pairing),
        ),
        Mistake(
            "The second component is computed from the first one after that has been turned: keep "
            "the old value until both are computed (a slice is a view, not a copy).",
            lambda: _components(
                torch.complex(
                    z.real * cos - z.imag * sin,
                    (z.real * cos - z.imag * sin) * sin + z.imag * cos,
                ),
                pairing,
            ),
        ),
    ]


def _swapped(x: Tensor, pairing: str) -> Tensor:
    """The two components of each pair exchanged."""
    z = _pairs(x, pairing)
    return _components(torch.complex(z.imag, z.real), pairing)
