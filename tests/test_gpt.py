"""llmbook.gpt: what each option of the model must make true of its outputs."""

import math

import pytest
import torch
import torch.nn.functional as F

from llmbook.counting import Shape, kv_cache_bytes
from llmbook.gpt import GPT, POSITIONS, Experts, GPTConfig, KVCache, Sight, generate
from llmbook.positions import pair_frequencies, rotation


def model(**options):
    torch.manual_seed(0)
    gpt = GPT(GPTConfig(vocab_size=11, d_model=16, **options)).double()
    for weight in gpt.parameters():  # large enough that attention is far from uniform
        torch.nn.init.normal_(weight, std=0.5)
    return gpt


TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def reach(gpt):
    """Return where the features at a row depend on the token of a column."""
    embedded = []
    gpt.tokens.register_forward_hook(
        lambda *args: embedded.append(args[-1].detach().requires_grad_()) or embedded[-1]
    )
    features = gpt.features(TOKENS)[0]
    # Not the sum: the last normalization makes that constant.
    rows = [torch.autograd.grad(f[0], embedded[0], retain_graph=True)[0] for f in features]
    return torch.stack([row[0].norm(dim=-1) > 0 for row in rows])


@pytest.mark.parametrize("positions", POSITIONS)
def test_causal_or_not(positions):
    n = TOKENS.shape[1]
    full = torch.ones(n, n, dtype=torch.bool)
    assert torch.equal(reach(model(positions=positions)), full.tril())
    assert torch.equal(reach(model(positions=positions, causal=False)), full)


@pytest.mark.parametrize(("n_layers", "window"), [(1, 1), (1, 3), (2, 3), (3, 2)])
def test_layers_of_windows_reach_as_far_as_they_should(n_layers, window):
    n = TOKENS.shape[1]
    distance = torch.arange(n)[:, None] - torch.arange(n)
    expected = (distance >= 0) & (distance <= n_layers * (window - 1))
    assert torch.equal(reach(model(n_layers=n_layers, window=window)), expected)


def test_only_a_model_without_positions_and_mask_is_blind_to_order():
    order = torch.tensor([5, 2, 7, 0, 1, 3, 6, 4])
    for positions in POSITIONS:
        gpt = model(positions=positions, causal=False)
        same = torch.allclose(gpt(TOKENS[:, order]), gpt(TOKENS)[:, order], rtol=1e-10)
        assert same == (positions == "none")


def test_rotary_scores_do_not_see_a_common_shift():
    gpt = model(n_layers=1)
    alone = gpt(TOKENS[:, 3:])
    # Hiding the first three tokens from a longer text leaves a text that starts at position 3.
    mask = torch.ones(8, 8, dtype=torch.bool).tril()
    mask[:, :3] = torch.eye(8, dtype=torch.bool)[:, :3]
    turns = rotation(torch.arange(8), pair_frequencies(8), dtype=torch.float64)
    block = gpt.blocks[0](gpt.tokens(TOKENS), Sight(causal=False, mask=mask, rotation=turns))
    torch.testing.assert_close(gpt.head(gpt.norm(block))[:, 3:], alone)


def test_frequencies_and_temperature_take_the_place_of_the_models_own():
    gpt = model()
    torch.testing.assert_close(gpt(TOKENS, frequencies=pair_frequencies(8)), gpt(TOKENS))
    other = model(rotary_base=50.0)
    torch.testing.assert_close(gpt(TOKENS, frequencies=pair_frequencies(8, 50.0)), other(TOKENS))
    assert not torch.allclose(other(TOKENS), gpt(TOKENS))
    # Infinitely hot: every token attends to all before it alike, wherever they stand.
    hot = gpt(TOKENS, temperature=1e12)
    torch.testing.assert_close(hot, other(TOKENS, temperature=1e12))


def test_the_start_is_close_to_a_uniform_prediction():
    torch.manual_seed(0)
    gpt = GPT(GPTConfig(vocab_size=50))
    tokens = torch.randint(50, (8, 64))
    loss = F.cross_entropy(gpt(tokens).flatten(0, 1), tokens.flatten())
    assert loss.item() == pytest.approx(math.log(50), abs=0.05)


@pytest.mark.parametrize("positions", POSITIONS)
def test_it_learns(positions):
    torch.manual_seed(0)
    gpt = GPT(GPTConfig(vocab_size=11, d_model=32, positions=positions))
    optimizer = torch.optim.AdamW(gpt.parameters(), lr=3e-3)
    for _ in range(60):
        loss = F.cross_entropy(gpt(TOKENS[:, :-1])[0], TOKENS[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_layers": 0}, "n_layers must be at least 1, got 0"),
        ({"d_model": 10, "n_heads": 4}, "d_model must be a multiple of n_heads = 4, got 10"),
        ({"d_model": 6, "n_heads": 2}, "must be even for rotary positions, got 3"),
        ({"positions": "alibi"}, "positions must be one of"),
        ({"window": 0}, "window must be at least 1"),
        ({"window": 2, "causal": False}, "window needs causal=True"),
        ({"n_heads": 4, "n_kv_heads": 3}, "n_heads must be a multiple of n_kv_heads = 3, got 4"),
        ({"n_kv_heads": 0}, "n_kv_heads must be at least 1 or None, got 0"),
        ({"d_ff": 0}, "d_ff must be at least 1 or None, got 0"),
        ({"norm": "batch"}, "norm must be one of"),
        ({"feed_forward": "relu"}, "feed_forward must be one of"),
        ({"experts_per_token": 2}, "experts_per_token must be from 1 to n_experts = None, got 2"),
        ({"n_experts": 2, "experts_per_token": 3}, "must be from 1 to n_experts = 2, got 3"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_bad_configurations_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        GPT(GPTConfig(vocab_size=11, **options))(TOKENS)


def test_bad_inputs_are_named():
    with pytest.raises(ValueError, match="tokens are 8 long, context_length is 4"):
        GPT(GPTConfig(vocab_size=11, positions="learned", context_length=4))(TOKENS)
    with pytest.raises(ValueError, match="frequencies need rotary positions, not 'none'"):
        GPT(GPTConfig(vocab_size=11, positions="none"))(TOKENS, frequencies=pair_frequencies(32))
    with pytest.raises(ValueError, match="frequencies must be 16, one a pair, got 8"):
        GPT(GPTConfig(vocab_size=11))(TOKENS, frequencies=pair_frequencies(16))
    encoder = GPTConfig(vocab_size=11, causal=False)
    with pytest.raises(ValueError, match="cache needs a causal model"):
        GPT(encoder)(TOKENS, cache=KVCache(encoder, 1, 8))
    with pytest.raises(ValueError, match="the text is 8 tokens long, cache has room for 7"):
        GPT(GPTConfig(vocab_size=11))(TOKENS, cache=KVCache(GPTConfig(vocab_size=11), 1, 7))


@pytest.mark.parametrize(
    "options",
    [
        *({"positions": positions} for positions in POSITIONS),
        {"window": 3},
        {"n_heads": 4, "n_kv_heads": 2},
        {"n_kv_heads": 1, "post_norm": True},
        {"norm": "rms", "feed_forward": "swiglu", "n_experts": 3, "bias": False},
    ],
)
@torch.no_grad()
def test_a_cache_changes_nothing(options):
    gpt = model(**options)
    expected = gpt(TOKENS)
    cache = KVCache(gpt.config, 1, 12, dtype=torch.float64)
    pieces = [gpt(piece, cache=cache) for piece in TOKENS.split([3, 1, 2, 1, 1], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), expected)
    cache.length = 5  # forget three tokens and read them again
    torch.testing.assert_close(gpt(TOKENS[:, 5:], cache=cache), expected[:, 5:])


def test_a_cache_holds_what_the_formula_says():
    config = GPTConfig(vocab_size=11, n_layers=3, n_heads=8, n_kv_heads=2, d_model=64)
    cache = KVCache(config, batch_size=5, capacity=7)
    shape = Shape(3, 64, 8, 2, config.ff_width, 11)
    expected = kv_cache_bytes(shape, 7, batch=5, bytes_per_number=4)
    assert cache.keys.nbytes + cache.values.nbytes == expected


@pytest.mark.parametrize("n_tokens", [1, 4, 9])  # within the context, and far beyond it
def test_greedy_generation_is_the_argmax_of_a_full_pass(n_tokens):
    gpt = model(context_length=8, positions="learned")
    texts = torch.tensor([[3, 1, 4], [1, 5, 9]])
    got = generate(gpt, texts, n_tokens, temperature=0)
    for _ in range(n_tokens):
        texts = torch.cat([texts, gpt(texts[:, -8:])[:, -1:].argmax(dim=-1)], dim=1)
    assert torch.equal(got, texts)


def test_samples_have_the_probabilities_of_the_model():
    gpt = model()
    chances = gpt(TOKENS)[0, -1].softmax(dim=-1)
    generator = torch.Generator().manual_seed(0)
    n = 20_000
    for top_k, expected in (
        (None, chances),
        (3, chances * (chances >= chances.topk(3).values[-1])),
    ):
        new = generate(gpt, TOKENS.expand(n, -1), 1, top_k=top_k, generator=generator)[:, -1]
        expected = expected / expected.sum()
        share = torch.bincount(new, minlength=11) / n
        assert ((share - expected).abs() <= 4 * (expected * (1 - expected) / n).sqrt()).all()
    cold = generate(gpt, TOKENS.expand(100, -1), 1, temperature=1e-3, generator=generator)[:, -1]
    assert (cold == chances.argmax()).all()


def test_generation_leaves_the_model_as_it_was():
    gpt = model(dropout=0.5).train()
    generator = torch.Generator().manual_seed(0)
    first = generate(gpt, TOKENS, 5, temperature=0, generator=generator)
    assert gpt.training
    assert torch.equal(first, generate(gpt, TOKENS, 5, temperature=0))  # dropout is off
    assert torch.equal(generate(gpt, TOKENS, 0), TOKENS)
    for options, message in (
        ({"n_tokens": -1}, "n_tokens must not be negative, got -1"),
        ({"n_tokens": 1, "temperature": -1.0}, "temperature must not be negative, got -1.0"),
        ({"n_tokens": 1, "top_k": 0}, "top_k must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            generate(gpt, TOKENS, **options)


def test_dropout_only_while_training():
    gpt = model(dropout=0.3)
    torch.testing.assert_close(gpt.eval()(TOKENS), model()(TOKENS))
    gpt.train()
    assert not torch.allclose(gpt(TOKENS), gpt(TOKENS))


@pytest.mark.parametrize("n_chosen", [1, 2])
def test_every_token_goes_to_the_experts_that_its_router_prefers(n_chosen):
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=11, d_model=16, n_experts=4, experts_per_token=n_chosen)
    experts = Experts(config).double()
    x = torch.randn(4, 8, 16, dtype=torch.float64)
    got = experts(x)
    loads = torch.zeros(4)
    for i in range(4):
        for j in range(8):
            chances = experts.router(x[i, j]).softmax(dim=-1)
            order = chances.argsort(descending=True)[:n_chosen].tolist()
            total = 1.0 if n_chosen == 1 else chances[order].sum()
            expected = sum(chances[e] / total * experts.experts[e](x[i, j]) for e in order)
            torch.testing.assert_close(got[i, j], expected, rtol=1e-6, atol=1e-7)
            loads[order] += 1
    assert (loads > 0).all()  # the test has seen all experts at work
    experts.balance.backward()
    assert experts.router.weight.grad.abs().sum() > 0


def test_experts_that_nobody_asks_get_no_gradient_and_the_rest_do():
    experts = Experts(GPTConfig(vocab_size=11, d_model=16, n_experts=3))
    torch.nn.init.zeros_(experts.router.weight)
    with torch.no_grad():
        experts.router.weight[1] = 1.0
    experts(torch.ones(2, 3, 16)).sum().backward()
    grads = [expert.down.weight.grad for expert in experts.experts]
    assert [g is None or not g.any() for g in grads] == [True, False, True]
    assert experts.router.weight.grad.any()  # through the probability that weights the expert
    assert experts.balance.item() == pytest.approx(3.0, rel=1e-3)  # all tokens to one of three
