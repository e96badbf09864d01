"""Check of exercise 13.32, attention in linear time by random features."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch._dynamo  # takes a second, and a dispatch mode would load it within the check
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from llmbook.checks.engine import (
    Failure,
    Mistake,
    Result,
    Session,
    expect_close,
    expect_shape,
    show_value,
    to_tensor,
)


def performer(
    attention: Callable[..., Tensor] | None = None,
    features: Callable[..., Tensor] | None = None,
    multiply_adds: Callable[[int, int, int], float] | None = None,
    break_even: float | None = None,
    features_needed: float | None = None,
) -> Result:
    """Check attention by positive orthogonal random features. Any subset may be passed.

    Parameters
    ----------
    attention
        ``attention(q, k, v, projection, causal=False)``: q (..., n, d), k (..., m, d),
        v (..., m, d_v), projection (r, d); returns (..., n, d_v). Linear in n and m; no overflow
        or underflow while q and k, after the scaling, are no longer than 15.
    features
        ``features(r, d, generator)``: the projection, a tensor (r, d), drawn from a
        ``torch.Generator``.
    multiply_adds
        ``multiply_adds(n, r, d)``: the number of multiply-adds of the four matrix products, not
        causal, values of width d.
    break_even
        The number of features r at which that number is the one of exact attention, n = 8,192.
    features_needed
        The number of features r of part (b).
    """
    session = Session("performer", attention)
    _check_counts(session, multiply_adds, break_even, features_needed)
    _check_features(session, features)
    _check_attention(session, attention)
    return session.result()


# --- (a) and (b): numbers -------------------------------------------------------------------------


def _check_counts(
    session: Session, multiply_adds: Any, break_even: Any, features_needed: Any
) -> None:
    @session.test("(a) number of multiply-adds")
    def _() -> None:
        rates: dict[str, Callable[[int, int, int], float]] = {
            "This grows with n²: it counts a matrix of n × n weights. In which order would you "
            "multiply the three matrices?": lambda n, r, d: 2 * n * r * d + n * n * (r + d),
            "This is the count of exact attention, which has no r.": lambda n, r, d: 2 * n * n * d,
            "This counts two products only. Computing the features takes matrix products too.": (
                lambda n, r, d: 2 * n * r * d
            ),
            "This counts three products: queries and keys both need features.": (
                lambda n, r, d: 3 * n * r * d
            ),
            "This is the order of growth, or one product; the question is how many there are in "
            "all.": lambda n, r, d: n * r * d,
            "This is twice as many: a multiplication and the addition that goes with it count as "
            "one here.": lambda n, r, d: 8 * n * r * d,
        }
        for sizes in ((100, 7, 3), (64, 16, 5), (1000, 20, 8)):
            n, r, d = sizes
            value = _number(session.call(multiply_adds, n, r, d))
            # Whoever counts the denominators as well adds n r for each of their two steps.
            if any(math.isclose(value, 4 * n * r * d + extra * n * r) for extra in (0, 1, 2)):
                continue
            for message, wrong in rates.items():
                if math.isclose(value, wrong(*sizes)):
                    raise Failure(message)
            raise Failure(
                f"For n = {n}, r = {r}, d = {d} the number {value:g} is not right. Write down the "
                "shapes of the two factors of each matrix product."
            )

    session.number(
        "(a) break-even",
        break_even,
        4096,
        rtol=0.01,
        mistakes={
            "This leaves out the products that compute the features of queries and keys.": 8192,
            "This counts one of the two matrix products of exact attention only, or takes half of "
            "them, as if exact attention were causal.": 2048,
            "This counts the features of queries or those of keys, but not both.": 8192 * 2 / 3,
            "This counts two operations for each multiply-add on one side only.": 1024,
        },
    )
    session.number(
        "(b) features for a relative standard deviation of 10 %",
        features_needed,
        math.expm1(16) / 0.01,
        rtol=0.01,
        mistakes={
            "This is the number for a relative *variance* of 10 %; the standard deviation is its "
            "square root.": math.expm1(16) / 0.1,
            "This is the number for a relative standard deviation of 100 %.": math.expm1(16),
            "The exponent is that of one of the two vectors only.": math.expm1(8) / 0.01,
            "The lengths are those of q and k before the scaling: the features see them divided "
            "by the fourth root of d.": math.expm1(128) / 0.01,
            "q and k are divided by √d each; their product would be divided by d.": (
                math.expm1(2) / 0.01
            ),
            "Something is not squared in the exponent: the variance of w·x is the *square* of the "
            "length of x.": math.expm1(4) / 0.01,
            "The exponent is twice too large: the square of the mean has to be divided out of the "
            "mean square.": math.expm1(32) / 0.01,
        },
    )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise Failure(
            f"`multiply_adds` should return a number; it returned {value!r:.60}."
        ) from None


# --- (c): the projection --------------------------------------------------------------------------


def _check_features(session: Session, features: Any) -> None:
    def draw(r: int, d: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        got = to_tensor(session.call(features, r, d, generator), "what `orthogonal_features` gives")
        expect_shape(got, (r, d), {"r": r, "d": d})
        if not got.double().isfinite().all():
            raise Failure("Some entries are infinite or NaN.")
        return got.double()

    def directions(r: int, d: int, seed: int) -> Tensor:
        return F.normalize(draw(r, d, seed), dim=-1)

    @functools.cache
    def many() -> Tensor:
        """Draw 1,000 blocks of four rows, for the statistics."""
        return draw(4000, 4, 2)

    @session.test("(c) shape, also where r is no multiple of d")
    def _() -> None:
        for r, d in ((4, 4), (10, 4), (3, 5), (1, 1), (6, 1)):
            draw(r, d, 0)

    @session.test("(c) rows of a block are orthogonal")
    def _() -> None:
        for r, d in ((4, 4), (10, 4), (3, 5), (64, 16)):
            rows = directions(r, d, 1)
            for start in range(0, r, d):
                block = rows[start : start + d]
                cosines = block @ block.T - torch.eye(len(block), dtype=block.dtype)
                if cosines.abs().max() < 1e-3:
                    continue
                columns = F.normalize(draw(r, d, 1), dim=0)
                if r > d and (columns.T @ columns - torch.eye(d).double()).abs().max() < 1e-3:
                    raise Failure(
                        "The *columns* of the matrix are orthogonal. The rows should be, in blocks "
                        "of d, because more than d rows cannot all be."
                    )
                raise Failure(
                    f"For r = {r}, d = {d}, rows {start} to {start + len(block) - 1} are not "
                    f"orthogonal: two of them have a cosine of {cosines.abs().max():.2f}. "
                    "Independent normal rows are orthogonal on average only."
                )

    @session.test("(c) blocks are independent")
    def _() -> None:
        blocks = F.normalize(many(), dim=-1).view(-1, 4, 4)
        cosines = blocks[:-1] @ blocks[1:].mT
        if (cosines[0] - cosines[0].round()).abs().max() < 1e-3:
            raise Failure(
                "All blocks have the same directions: draw a new orthogonal matrix for each block."
            )
        # The mean of 15,984 products of two coordinates; their standard deviation is 1/4.
        if (blocks[:-1] * blocks[1:]).mean((0,)).abs().max() > 0.06:
            raise Failure("Blocks that follow each other are correlated.")

    @session.test("(c) lengths of the rows")
    def _() -> None:
        d = 4
        squares = many().square().sum(-1)
        mean, variance = squares.mean(), squares.var()
        if variance < 1e-6:
            if abs(mean - d) < 1e-3:
                raise Failure(
                    "All rows have the length √d. That is right on average, but a row of "
                    "independent normal entries has a random length, and with equal ones the "
                    "estimate of the kernel is biased."
                )
            raise Failure(
                f"All rows have the length {mean.sqrt():.3g}: the rows of an orthogonal matrix are "
                "unit vectors, and a row of independent normal entries is longer than that, and "
                "of random length."
            )
        blocks = squares.view(-1, d)
        if torch.allclose(blocks, blocks.mean(-1, keepdim=True), 1e-4):
            raise Failure("All rows of a block have the same length; draw one for each row.")
        # Five standard errors of each, for 4,000 squares of four normal variables.
        if abs(mean - d) > 0.25 or abs(variance - 2 * d) > 1.5:
            raise Failure(
                "The lengths have the wrong distribution: for d = 4, the squared lengths of 4,000 "
                f"rows have mean {mean:.2f} and standard deviation {variance.sqrt():.2f}, which no "
                "sum of squares of four standard normal variables has."
            )

    @session.test("(c) each row by itself is normally distributed")
    def _() -> None:
        d = 4
        rows = many()
        unit = F.normalize(rows, dim=-1).view(-1, d, d)
        mean = unit.mean(0)  # standard error 1/2 / √1000 = 0.016
        if mean.abs().max() > 0.08:
            row, column = divmod(int(mean.abs().argmax()), d)
            raise Failure(
                f"The directions are not uniform: coordinate {column} of row {row} of a block is "
                f"{'negative' if mean[row, column] < 0 else 'positive'} too often (the directions "
                f"have a mean of {mean[row, column]:.2f} there, over 1,000 blocks). An algorithm "
                "for Q R fixes the signs of Q by a rule of its own; look at the signs of the "
                "diagonal of R."
            )
        covariance = rows.T @ rows / len(rows)
        probes = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], [-0.6, 0, 0.8, 0]]).double()
        kernel = (rows @ probes.T - 0.5).exp().mean(0)  # should be 1; standard error 0.02
        if (covariance - torch.eye(d)).abs().max() > 0.12 or (kernel - 1).abs().max() > 0.1:
            raise Failure(
                "The rows are not distributed like rows of independent standard normal entries: "
                f"over 4,000 rows the covariance of their entries is {show_value(covariance)}."
            )

    @session.test("(c) all random numbers come from the generator")
    def _() -> None:
        torch.manual_seed(0)
        first = draw(6, 4, 5)
        torch.manual_seed(1)
        again, other = draw(6, 4, 5), draw(6, 4, 6)
        if not torch.equal(first, again):
            raise Failure(
                "Two calls with generators of the same seed give different results: pass "
                "`generator=generator` to every function that draws random numbers."
            )
        if torch.equal(first, other):
            raise Failure("Generators of different seeds give the same result.")


# --- (d): attention -------------------------------------------------------------------------------


def _check_attention(session: Session, attention: Any) -> None:
    def compare(q: Tensor, k: Tensor, v: Tensor, w: Tensor, causal: bool = False) -> None:
        got = to_tensor(_attend(session, attention, q, k, v, w, causal))
        inputs = {"q": q, "k": k, "v": v, "projection": w, "causal": causal}
        expected = _reference(q, k, v, w, causal).to(v.dtype)
        if v.dtype == torch.float64 and got.shape == expected.shape:
            off = (got.double() - expected).abs().max()
            if 1e-9 < off < 1e-5:
                raise Failure(
                    "For float64 inputs the result is right to float32 precision only: something "
                    "is converted on the way, or a small constant is added."
                )
        low, high = v.amin(-2, keepdim=True), v.amax(-2, keepdim=True)
        expect_close(
            got,
            expected,
            inputs=inputs,
            mistakes=_mistakes(q, k, v, w, causal),
            properties={
                "each output lies between the smallest and the largest value of its column of v": (
                    lambda out: bool(((out >= low - 1e-3) & (out <= high + 1e-3)).all())
                ),
                **(
                    {
                        "the first output is the first value, as there is nothing else to see": (
                            lambda out: torch.allclose(
                                out[..., 0, :].to(v), v[..., 0, :], 1e-3, 1e-3
                            )
                        )
                    }
                    if causal
                    else {}
                ),
            },
            rtol=1e-3,
            atol=1e-4,
        )

    @session.test("(d) two queries, three keys, two features")
    def _() -> None:
        q = torch.tensor([[1.0, 0.0, -0.5, 0.0], [0.0, 1.0, 0.0, 1.5]])
        k = torch.tensor([[1.0, 1.0, 0.0, 0.0], [-1.0, 0.5, 0.0, 2.0], [0.0, 0.0, 1.0, -0.5]])
        v = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
        w = torch.tensor([[1.0, 0.5, -0.5, 1.0], [-0.5, 1.0, 1.0, 0.0]])
        compare(q, k, v, w)

    @session.test("(d) more of everything")
    def _() -> None:
        compare(torch.randn(7, 9), torch.randn(11, 9), torch.randn(11, 5), torch.randn(20, 9))

    @session.test("(d) causal: four tokens")
    def _() -> None:
        q, k = torch.randn(2, 4, 5)
        compare(q, k, torch.randn(4, 3), torch.randn(6, 5), causal=True)

    @session.test("(d) causal: 333 tokens")
    def _() -> None:
        q, k = torch.randn(2, 333, 5)
        compare(q, k, torch.randn(333, 3), torch.randn(6, 5), causal=True)

    @session.test("(d) batch dimensions, not contiguous")
    def _() -> None:
        q = torch.randn(2, 6, 3, 5).transpose(1, 2)
        k = torch.randn(2, 6, 3, 5).transpose(1, 2)
        v = torch.randn(2, 3, 4, 6).mT
        for causal in (False, True):
            compare(q, k, v, torch.randn(5, 7).T, causal)
        # One set of keys and values may serve several heads of queries.
        compare(torch.randn(4, 2, 5), torch.randn(4, 6, 5), torch.randn(4, 6, 1), torch.randn(3, 5))

    @session.test("(d) one token, one feature")
    def _() -> None:
        for causal in (False, True):
            q, k = torch.randn(2, 1, 3)
            compare(q, k, torch.randn(1, 2), torch.randn(1, 3), causal)
        compare(torch.randn(3, 2), torch.randn(4, 2), torch.randn(4, 1), torch.randn(1, 2))

    @session.test("(d) float64")
    def _() -> None:
        q, k = torch.randn(2, 40, 5, dtype=torch.float64)
        v, w = torch.randn(40, 3).double(), torch.randn(6, 5).double()
        for causal in (False, True):
            compare(q, k, v, w, causal)

    @session.test("(d) large norms: |q| = |k| = 15 after scaling")
    def _() -> None:
        q, k = F.normalize(torch.randn(2, 32, 4), dim=-1) * 15 * 4**0.25
        k = k * torch.linspace(0.97, 1, 32)[:, None]
        v, w = torch.randn(32, 3), torch.randn(16, 4)
        for causal in (False, True):
            got = to_tensor(_attend(session, attention, q, k, v, w, causal))
            if not got.isfinite().all():
                raise Failure(
                    f"{int((~got.isfinite()).sum())} of {got.numel()} outputs are infinite or NaN. "
                    "The features overflow, or all vanish and leave 0/0: subtract suitable maxima "
                    "from the exponents before exponentiating."
                )
            compare(q, k, v, w, causal)

    @session.test("(d) gradients of q, k and v")
    def _() -> None:
        w, upstream = torch.randn(6, 4).double(), torch.randn(9, 3).double()
        for causal in (False, True):
            q, k = torch.randn(2, 9, 4, dtype=torch.float64).unbind()
            v = torch.randn(9, 3, dtype=torch.float64)
            leaves = [x.clone().requires_grad_() for x in (q, k, v)]
            q, k, v = leaves
            out = _attend(session, attention, q, k, v, w, causal)
            if not isinstance(out, Tensor) or not out.requires_grad:
                raise Failure(
                    "No gradient flows: the output does not depend on q, k and v for autograd "
                    "(`detach`, `no_grad`, `.data`, or a detour through NumPy)."
                )
            expect_shape(out, v.shape)
            expected = torch.autograd.grad(
                (_reference(q, k, v, w, causal) * upstream).sum(), leaves
            )
            try:
                got = torch.autograd.grad((out * upstream).sum(), leaves, allow_unused=True)
            except RuntimeError as error:
                raise Failure(
                    f"The backward pass fails: {str(error)[:200]}\nIs a tensor changed in place "
                    "that the backward pass still needs?"
                ) from None
            for name, ours, theirs in zip("qkv", expected, got, strict=True):
                if theirs is None or not torch.allclose(theirs, ours, 1e-4, 1e-6):
                    raise Failure(
                        f"The gradient of `{name}` is not right ({'causal' if causal else 'full'} "
                        "form). Is part of the computation detached from the graph, or changed in "
                        "place?"
                    )

    @session.test("(d) time and memory are linear in n")
    def _() -> None:
        for causal in (False, True):
            _expect_linear(session, attention, causal)


def _attend(session: Session, attention: Any, q: Any, k: Any, v: Any, w: Any, causal: bool) -> Any:
    return session.call(attention, q, k, v, w, **({"causal": True} if causal else {}))


class _Work(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what operations do, and keeps the size of the largest tensor that one makes."""

    work = 0
    largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.work += tensor.numel()
                # Not numel: an expanded view holds one number many times.
                held = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.largest = max(self.largest, held)
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.work += count(*args, **(kwargs or {}), out_val=out)
        return out


def _expect_linear(session: Session, attention: Any, causal: bool) -> None:
    form = "causal form" if causal else "form without a mask"
    r, d, d_v, lengths = 16, 4, 16, (1024, 2048)
    work = []
    for n in lengths:
        q, k = torch.randn(2, n, d)
        v, w = torch.randn(n, d_v), torch.randn(r, d)
        with _Work() as counter:  # type: ignore[no-untyped-call]
            _attend(session, attention, q, k, v, w, causal)
        if counter.largest > 0.75 * n * n:
            raise Failure(
                f"The {form} makes a tensor of {counter.largest:,} numbers for n = {n:,} tokens, "
                f"r = {r} features and d = {d}: the n × n matrix is there after all. "
                + (
                    "Go through the tokens in chunks and carry along what is before."
                    if causal
                    else "In which order are the three matrices multiplied?"
                )
            )
        work.append(counter.work)
        if causal and counter.largest >= n * r * d_v:
            session.note(
                "your causal form holds all n prefix sums at once, n·r·d_v numbers: linear in n, "
                "but chunks need far less"
            )
    if work[1] > 2**1.6 * work[0]:
        raise Failure(
            f"From {lengths[0]:,} to {lengths[1]:,} tokens, the {form} does "
            f"{work[1] / work[0]:.1f} times the work: it goes through all keys, or all earlier "
            "ones, for each query."
        )


# --- Right and wrong outputs ----------------------------------------------------------------------


def _log_features(x: Tensor, w: Tensor, power: float = -0.25, norm: float = 0.5) -> Tensor:
    x = x * x.shape[-1] ** power
    return torch.einsum("...na,ra->...nr", x, w.to(x)) - norm * (x * x).sum(-1, keepdim=True)


def _mask(log_kernel: Tensor, kind: str) -> Tensor:
    ones = torch.ones(log_kernel.shape[-2:], dtype=torch.bool)
    allowed = {
        "full": ones,
        "causal": ones.tril(),
        "strict": ones.tril(-1),
        "transposed": ones.triu(),
    }[kind]
    return log_kernel.masked_fill(~allowed, -math.inf)


def _log_kernel(log_q: Tensor, log_k: Tensor) -> Tensor:
    """Logarithm of the kernel matrix, from the definition: a sum over features of each pair."""
    return (log_q.unsqueeze(-2) + log_k.unsqueeze(-3)).logsumexp(-1)


def _reference(q: Tensor, k: Tensor, v: Tensor, w: Tensor, causal: bool) -> Tensor:
    q, k, v, w = (x.double() for x in (q, k, v, w))
    log_kernel = _log_kernel(_log_features(q, w), _log_features(k, w))
    return _mask(log_kernel, "causal" if causal else "full").softmax(-1) @ v


def _mistakes(q: Tensor, k: Tensor, v: Tensor, w: Tensor, causal: bool) -> list[Mistake]:
    """List what people get wrong, with the output that it leads to."""
    q, k, v, w = (x.double() for x in (q, k, v, w))
    d, r = w.shape[-1], w.shape[0]
    kind = "causal" if causal else "full"
    log_q, log_k = _log_features(q, w), _log_features(k, w)

    def attend(log_q: Tensor = log_q, log_k: Tensor = log_k, kind: str = kind) -> Tensor:
        return _mask(_log_kernel(log_q, log_k), kind).softmax(-1) @ v

    def scaled(power_q: float, power_k: float) -> Callable[[], Tensor]:
        return lambda: attend(_log_features(q, w, power_q), _log_features(k, w, power_k))

    def weighed(kernel: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def output() -> Tensor:
            weights = kernel().masked_fill(
                _mask(torch.zeros(q.shape[-2], k.shape[-2]), kind) < 0, 0
            )
            return weights @ v / weights.sum(-1, keepdim=True)

        return output

    def shifted(constant: float = 0.0) -> tuple[Tensor, Tensor]:
        phi_q = (log_q - log_q.amax(-1, keepdim=True)).exp() + constant
        phi_k = (log_k - log_k.amax((-2, -1), keepdim=True)).exp() + constant
        return phi_q, phi_k

    def unnormalized(stable: bool, factor: float) -> Callable[[], Tensor]:
        def output() -> Tensor:
            phi_q, phi_k = shifted() if stable else (log_q.exp(), log_k.exp())
            kernel = phi_q @ phi_k.mT * factor
            return (kernel.tril() if causal else kernel) @ v

        return output

    def trigonometric() -> Tensor:
        a, b = (x * d**-0.25 for x in (q, k))
        angle = (a.unsqueeze(-2) - b.unsqueeze(-3)) @ w.T
        growth = (b * b).sum(-1).unsqueeze(-2) / 2
        kernel: Tensor = angle.cos().mean(-1) * (growth - growth.amax(-1, keepdim=True)).exp()
        return kernel

    def phase_free_cosine() -> Tensor:
        a, b = (x * d**-0.25 for x in (q, k))
        growth = (b * b).sum(-1, keepdim=True) / 2
        kernel: Tensor = (a @ w.T).cos() @ ((b @ w.T).cos() * growth.exp()).mT
        return kernel

    def rectified(constant: float, power: float) -> Callable[[], Tensor]:
        return lambda: (
            ((q * d**power @ w.T).relu() + constant) @ ((k * d**power @ w.T).relu() + constant).mT
        )

    no_normalizer = (
        "The outputs are not divided by their denominator, the sum of the kernel over the keys: "
        "the weights of a query should sum to 1."
    )
    per_key = (
        "Each key's largest exponent is subtracted from its own features only. Such a shift "
        "multiplies the weight of each key by a number of its own and does not cancel; all keys "
        "must share one."
    )
    fixed = [
        Mistake(
            "The scale is missing: q and k should be multiplied by d to the power -1/4 each.",
            scaled(0, 0),
        ),
        Mistake("Only q is scaled; k needs the same factor.", scaled(-0.25, 0)),
        Mistake("Only k is scaled; q needs the same factor.", scaled(0, -0.25)),
        Mistake(
            "q and k are divided by √d *each*, so that their product is divided by d.",
            scaled(-0.5, -0.5),
        ),
        *(
            Mistake(
                "The whole factor 1/√d is given to one of the two. The kernel is the same on "
                "average, but the features differ: share it evenly between q and k.",
                scaled(*powers),
            )
            for powers in ((-0.5, 0), (0, -0.5))
        ),
        Mistake(
            "q and k are multiplied by d to the power +1/4; the power is negative.",
            scaled(0.25, 0.25),
        ),
        *(
            Mistake(
                "The factor of a key's length is missing: the half of the squared length is to be "
                "subtracted in the exponent. (For queries alone it would cancel.)",
                lambda power=power: attend(  # type: ignore[misc]
                    _log_features(q, w, power), _log_features(k, w, power, norm=0)
                ),
            )
            for power in (-0.25, 0)
        ),
        Mistake(
            "The whole squared length is subtracted in the exponent; it should be half of it.",
            lambda: attend(log_k=_log_features(k, w, norm=1.0)),
        ),
        Mistake(
            "The squared length is added in the exponent; it should be subtracted.",
            lambda: attend(log_k=_log_features(k, w, norm=-0.5)),
        ),
        Mistake(
            "In the exponent, half of the length is subtracted; it should be half of its square.",
            lambda: attend(
                log_k=_log_features(k, w, norm=0) - (k * d**-0.25).norm(dim=-1, keepdim=True) / 2
            ),
        ),
        Mistake(
            "The squared length in the exponent is that of the key before it is scaled.",
            lambda: attend(log_k=_log_features(k, w, norm=0) - (k * k).sum(-1, keepdim=True) / 2),
        ),
        Mistake(
            "The squared length is averaged over the coordinates; it should be their sum.",
            lambda: attend(log_k=_log_features(k, w, norm=0.5 / d)),
        ),
        Mistake(per_key, lambda: attend(log_k=log_k - log_k.amax(-1, keepdim=True))),
        Mistake(
            "The features of each key are normalized to sum 1. Such a factor of a single key does "
            "not cancel.",
            lambda: attend(log_k=log_k.log_softmax(-1)),
        ),
        Mistake(
            "For each feature, the largest exponent among the keys is subtracted. Then features "
            "count differently, and nothing on the side of the queries makes up for it; all "
            "features and keys must share one maximum.",
            lambda: attend(log_k=log_k - log_k.amax(-2, keepdim=True)),
        ),
        Mistake(
            "For each feature, the largest exponent among the queries is subtracted, and nothing "
            "on the side of the keys makes up for it; subtract one maximum for each query.",
            lambda: attend(log_q=log_q - log_q.amax(-2, keepdim=True)),
        ),
        *(
            Mistake(no_normalizer, unnormalized(stable, factor))
            for stable in (False, True)
            for factor in (1.0, 1 / r)
        ),
        *(
            Mistake(
                "A constant is added to the features. It prevents 0/0, but it also mixes plain "
                "averaging into the weights, the more the larger the norms.",
                weighed(lambda c=c: shifted(c)[0] @ shifted(c)[1].mT),  # type: ignore[misc]
            )
            for c in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
        ),
        Mistake(
            "These are trigonometric features, sines and cosines. They estimate the same kernel, "
            "but may be negative; the exercise asks for exponentials.",
            weighed(trigonometric),
        ),
        Mistake(
            "The features are cosines; the exercise asks for exponentials.",
            weighed(phase_free_cosine),
        ),
        *(
            Mistake(
                "The features are rectified projections. They make attention linear as well, but "
                "they do not estimate the softmax kernel.",
                weighed(rectified(constant, power)),
            )
            for constant in (0.0, 1e-3)
            for power in (0, -0.25)
        ),
        Mistake(
            "The features are `elu(x) + 1`, without the projection. They make attention linear as "
            "well, but they do not estimate the softmax kernel.",
            weighed(lambda: (F.elu(q) + 1) @ (F.elu(k) + 1).mT),
        ),
        Mistake(
            "The projection is divided by √d; its rows are used as they are.",
            lambda: attend(_log_features(q, w / d**0.5), _log_features(k, w / d**0.5)),
        ),
        Mistake(
            "This is exact attention; the projection is not used.",
            lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
        ),
        Mistake(
            "The features do not depend on the projection: each output is the mean of the values.",
            weighed(lambda: torch.ones(*q.shape[:-1], k.shape[-2], dtype=q.dtype)),
        ),
    ]
    return (_causal_mistakes(attend, log_q, log_k, v) if causal else []) + fixed


def _causal_mistakes(
    attend: Callable[..., Tensor], log_q: Tensor, log_k: Tensor, v: Tensor
) -> list[Mistake]:
    kernel = _log_kernel(log_q, log_k).exp()

    def divided(numerator: Tensor, denominator: Tensor) -> Tensor:
        return numerator @ v / denominator.sum(-1, keepdim=True)

    def own_missing(fill: float | None) -> Callable[[], Tensor]:
        def output() -> Tensor:
            out = divided(kernel.tril(-1), kernel.tril(-1))
            return out if fill is None else out.nan_to_num(fill)

        return output

    return [
        Mistake(
            "`causal` has no effect: every token sees all keys, later ones included.",
            lambda: attend(kind="full"),
        ),
        *(
            Mistake(
                "The prefix sums leave out the token's own key: a token may attend to itself, and "
                "the first one has nothing else.",
                own_missing(fill),
            )
            for fill in (None, 0.0)
        ),
        Mistake(
            "The sums run over what comes after instead of what comes before.",
            lambda: attend(kind="transposed"),
        ),
        Mistake(
            "The numerators are prefix sums, but the denominators run over all keys.",
            lambda: divided(kernel.tril(), kernel),
        ),
        Mistake(
            "The denominators are prefix sums, but the numerators run over all keys: later tokens "
            "leak in.",
            lambda: divided(kernel, kernel.tril()),
        ),
        Mistake(
            "The numerators include the token's own key, the denominators do not.",
            lambda: divided(kernel.tril(), kernel.tril(-1)),
        ),
    ]
