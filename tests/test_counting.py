"""llmbook.counting against real models without storage, and against PyTorch's FLOP counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from llmbook import counting
from llmbook.counting import (
    A100,
    GEMMA_2B,
    GPT2_LARGE,
    GPT2_MEDIUM,
    GPT2_SMALL,
    GPT2_XL,
    H100,
    LLAMA2_7B,
    LLAMA2_13B,
    LLAMA2_70B,
    LLAMA3_8B,
    LLAMA_65B,
    MISTRAL_7B,
    Shape,
)

TINY_GPT2 = Shape(
    *(3, 32, 4, 4, 96, 50), n_positions=16, gated=False, bias=True, rms=False, tied=True
)
TINY_LLAMA = Shape(2, 48, 6, 2, 80, 64)


def real_model(shape: Shape, device: str = "meta") -> torch.nn.Module:
    if shape.rms:
        config = LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.d_model,
            intermediate_size=shape.d_ff,
            num_hidden_layers=shape.n_layers,
            num_attention_heads=shape.n_heads,
            num_key_value_heads=shape.n_kv_heads,
            tie_word_embeddings=shape.tied,
            attn_implementation="eager",
        )
        kind = LlamaForCausalLM
    else:
        config = GPT2Config(
            vocab_size=shape.vocab_size,
            n_positions=shape.n_positions,
            n_embd=shape.d_model,
            n_layer=shape.n_layers,
            n_head=shape.n_heads,
            n_inner=shape.d_ff,
            attn_implementation="eager",
        )
        kind = GPT2LMHeadModel
    with torch.device(device):
        return kind(config).eval()


@pytest.mark.parametrize(
    ("shape", "known"),
    [
        (GPT2_SMALL, 124_439_808),
        (GPT2_MEDIUM, 354_823_168),
        (GPT2_LARGE, 774_030_080),
        (GPT2_XL, 1_557_611_200),
        (LLAMA_65B, 65_285_660_672),
        (LLAMA2_7B, 6_738_415_616),
        (LLAMA2_13B, 13_015_864_320),
        (LLAMA2_70B, 68_976_648_192),
        (MISTRAL_7B, 7_241_732_096),
        (LLAMA3_8B, 8_030_261_248),
        (GEMMA_2B, 2_506_172_416),
        (TINY_GPT2, None),
        (TINY_LLAMA, None),
    ],
)
def test_parameters_are_exactly_those_of_the_real_model(shape, known):
    model = real_model(shape)
    counted = sum(p.numel() for p in model.parameters())
    assert counting.parameters(shape)["total"] == counted
    assert known in (None, counted)


def test_parameters_by_kind():
    count = counting.parameters(LLAMA3_8B)
    sizes = dict.fromkeys(count, 0)
    kinds = {"embed": "embedding", "self_attn": "attention", "mlp": "mlp", "norm": "norms"}
    for name, weight in real_model(LLAMA3_8B).named_parameters():
        kind = next((kind for part, kind in kinds.items() if part in name), "head")
        sizes[kind] += weight.numel()
        sizes["total"] += weight.numel()
    assert sizes == count


@pytest.mark.parametrize("shape", [GPT2_SMALL, TINY_GPT2, TINY_LLAMA])
def test_forward_operations_are_exactly_those_that_pytorch_counts(shape):
    n = 12
    model = real_model(shape, "cpu")
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, n, dtype=torch.long), use_cache=False)
    assert counting.forward_flops(shape, n)["total"] == counter.get_total_flops()


def test_causal_pairs_are_about_half():
    full = counting.forward_flops(TINY_LLAMA, 10)["scores"]
    assert counting.forward_flops(TINY_LLAMA, 10, causal=True)["scores"] == full * 55 // 100


def test_the_rule_of_six_is_three_forward_passes_without_scores():
    forward = counting.forward_flops(LLAMA2_7B, 100)
    weights = counting.parameters(LLAMA2_7B)["total"] - counting.parameters(LLAMA2_7B)["norms"]
    weights -= counting.parameters(LLAMA2_7B)["embedding"]
    assert counting.training_flops(weights, 100) == 3 * (forward["total"] - forward["scores"])


def test_times_and_memory_by_hand():
    # 7e9 parameters on 1e12 tokens at half of an A100's peak: 4.2e22 / 1.56e14 s.
    assert counting.device_hours(4.2e22, A100, 0.5) == pytest.approx(4.2e22 / 156e12 / 3600)
    assert counting.weight_bytes(7e9) == 14e9
    assert counting.weight_bytes(7e9, bits=4) == 3.5e9
    assert counting.training_state_bytes(1e9) == 16e9
    # Two (K and V) × 32 layers × 4096 numbers × 2 bytes.
    assert counting.kv_cache_bytes(LLAMA2_7B, 1) == 524_288
    assert counting.kv_cache_bytes(LLAMA2_7B, 10, batch=3, bytes_per_number=1) == 524_288 * 15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Shape(0, 8, 2, 2, 8, 8), "n_layers must be at least 1, got 0"),
        (lambda: Shape(1, 9, 2, 2, 8, 8), "d_model must be a multiple of n_heads = 2, got 9"),
        (lambda: Shape(1, 8, 4, 3, 8, 8), "n_heads must be a multiple of n_kv_heads = 3, got 4"),
        (lambda: Shape(1, 8, 2, 2, 8, 8, n_positions=-1), "n_positions must not be negative"),
        (lambda: counting.forward_flops(TINY_LLAMA, 0), "n_tokens must be at least 1, got 0"),
        (lambda: counting.training_flops(0, 1), "n_parameters must be positive, got 0"),
        (lambda: counting.device_hours(1e9, H100, 1.2), "utilization must be at most 1, got 1.2"),
        (lambda: counting.device_hours(1e9, H100, -1), "utilization must be positive, got -1"),
        (lambda: counting.weight_bytes(1e9, bits=0), "bits must be positive, got 0"),
        (lambda: counting.kv_cache_bytes(TINY_LLAMA, 1, batch=0), "batch must be positive, got 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
