"""llmbook.gpt: what each option of the model must make true of its outputs."""

import math

import pytest
import torch
import torch.nn.functional as F

from llmbook.gpt import GPT, POSITIONS, GPTConfig, Sight
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
