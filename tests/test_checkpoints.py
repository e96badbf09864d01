"""llmbook.gpt against Hugging Face's models, every option, with random weights."""

import pytest
import torch
import transformers
from transformers.models.switch_transformers import modeling_switch_transformers as switch

from llmbook.checkpoints import from_huggingface
from llmbook.gpt import GPT, Experts, GPTConfig

GPT2 = {"vocab_size": 50, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 24}
GPT2 |= {"bos_token_id": 0, "eos_token_id": 0}
LLAMA = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
LLAMA |= {"num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 64}


def randomized(model):
    """Large weights, other in every vector, so that nothing is close to its start."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        scale = 0.2 if parameter.ndim > 1 else 0.5
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=scale)
    return model.eval()


def gpt2(**options):
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**GPT2, **options}))


def first_gpt(**options):
    config = {**{k: v for k, v in GPT2.items() if "token" not in k}, **options}
    return transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**config))


def llama(**options):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**LLAMA, **options}))


def mistral(**options):
    return transformers.MistralForCausalLM(transformers.MistralConfig(**{**LLAMA, **options}))


def mixtral(**options):
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**{**LLAMA, **options}))


MODELS = {
    "GPT-2": (gpt2, {}),
    "GPT-2, exact GELU, untied, narrow": (
        gpt2,
        {"activation_function": "gelu", "tie_word_embeddings": False, "n_inner": 40},
    ),
    "GPT (post-norm)": (first_gpt, {}),
    "Llama": (llama, {}),
    "Llama, tied": (llama, {"tie_word_embeddings": True}),
    "Llama, grouped queries": (llama, {"num_key_value_heads": 2}),
    "Llama, one key-value head": (llama, {"num_key_value_heads": 1}),
    "Llama, other base": (
        llama,
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}, "rms_norm_eps": 0.1},
    ),
    "Mistral, window": (mistral, {"sliding_window": 5, "num_key_value_heads": 2}),
    "Mixtral, two experts": (mixtral, {"num_local_experts": 4}),
    "Mixtral, three experts": (mixtral, {"num_local_experts": 6, "num_experts_per_tok": 3}),
}
TOKENS = torch.randint(50, (3, 20), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("build", "options"), MODELS.values(), ids=MODELS.keys())
@torch.no_grad()
def test_logits_agree(build, options):
    theirs = randomized(build(**options))
    expected = theirs(TOKENS).logits
    assert expected.std() > 0.5  # else a tolerance would mean nothing
    ours = from_huggingface(theirs)
    torch.testing.assert_close(ours(TOKENS), expected, rtol=1e-5, atol=1e-5)
    n_theirs = sum(p.numel() for p in theirs.parameters())
    assert sum(p.numel() for p in ours.parameters()) == n_theirs


def test_the_weights_are_copies():
    theirs = gpt2()
    ours = from_huggingface(theirs)
    torch.nn.init.zeros_(ours.tokens.weight)
    assert theirs.transformer.wte.weight.abs().sum() > 0
    assert ours.head.weight is ours.tokens.weight
    assert from_huggingface(theirs.eval()).training is False


def test_a_folder_is_loaded(tmp_path):
    theirs = randomized(llama())
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        ours = from_huggingface(str(tmp_path))(TOKENS)
        torch.testing.assert_close(ours, theirs(TOKENS).logits, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_encoder_agrees_with_bert():
    """Post-norm without a mask; BERT's embeddings have a norm of their own, so they are given."""
    theirs = randomized(
        transformers.BertModel(
            transformers.BertConfig(
                vocab_size=50,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=64,
            )
        )
    )
    config = GPTConfig(
        *(50, 2, 4, 32),
        d_ff=64,
        positions="none",
        causal=False,
        post_norm=True,
        norm_epsilon=theirs.config.layer_norm_eps,
    )
    ours = GPT(config)
    for block, layer in zip(ours.blocks, theirs.encoder.layer, strict=True):
        attention = layer.attention
        parts = [getattr(attention.self, part) for part in ("query", "key", "value")]
        block.attention.qkv.weight.set_(torch.cat([part.weight for part in parts]))
        block.attention.qkv.bias.set_(torch.cat([part.bias for part in parts]))
        block.attention.out.load_state_dict(attention.output.dense.state_dict())
        block.norm1.load_state_dict(attention.output.LayerNorm.state_dict())
        block.mlp.up.load_state_dict(layer.intermediate.dense.state_dict())
        block.mlp.down.load_state_dict(layer.output.dense.state_dict())
        block.norm2.load_state_dict(layer.output.LayerNorm.state_dict())
    expected = theirs(TOKENS).last_hidden_state
    got = ours.transform(theirs.embeddings(TOKENS))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_sinusoidal_positions_agree_with_marian():
    """Marian (post-norm, tied) puts all sines before all cosines: another order of the width."""
    theirs = randomized(
        transformers.MarianForCausalLM(
            transformers.MarianConfig(
                vocab_size=50,
                d_model=32,
                decoder_layers=2,
                decoder_attention_heads=4,
                decoder_ffn_dim=64,
                max_position_embeddings=24,
                activation_function="gelu",
                is_decoder=True,
                is_encoder_decoder=False,
                decoder_start_token_id=0,
                pad_token_id=0,
            )
        )
    )
    decoder = theirs.model.decoder
    torch.nn.init.zeros_(decoder.embed_positions.weight)
    decoder.embed_positions.weight.set_(decoder.embed_positions.create_weight())
    order = torch.arange(32).view(2, 16).T.flatten()  # ours[i] = theirs[order[i]]
    config = GPTConfig(
        *(50, 2, 4, 32, 24), positions="sinusoidal", d_ff=64, post_norm=True, tied=True
    )
    ours = GPT(config)
    ours.tokens.weight.set_(decoder.embed_tokens.weight[:, order])
    for block, layer in zip(ours.blocks, decoder.layers, strict=True):
        attention = layer.self_attn
        parts = [getattr(attention, f"{part}_proj") for part in "qkv"]
        block.attention.qkv.weight.set_(torch.cat([part.weight[:, order] for part in parts]))
        block.attention.qkv.bias.set_(torch.cat([part.bias for part in parts]))
        block.attention.out.weight.set_(attention.out_proj.weight[order])
        block.attention.out.bias.set_(attention.out_proj.bias[order])
        block.mlp.up.weight.set_(layer.fc1.weight[:, order])
        block.mlp.up.bias.set_(layer.fc1.bias)
        block.mlp.down.weight.set_(layer.fc2.weight[order])
        block.mlp.down.bias.set_(layer.fc2.bias[order])
        for norm, other in (
            (block.norm1, layer.self_attn_layer_norm),
            (block.norm2, layer.final_layer_norm),
        ):
            norm.weight.set_(other.weight[order])
            norm.bias.set_(other.bias[order])
    ours.head.weight = ours.tokens.weight
    expected = theirs(TOKENS).logits
    torch.testing.assert_close(ours(TOKENS), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_one_expert_a_token_agrees_with_switch():
    """Weight of the expert and balancing loss of Fedus et al. (2022), in their own layer."""
    config = transformers.SwitchTransformersConfig(
        d_model=32, d_ff=64, num_experts=4, expert_capacity=1000, dense_act_fn="gelu"
    )
    config.dropout_rate = 0.0
    theirs = randomized(switch.SwitchTransformersSparseMLP(config))
    ours = Experts(GPTConfig(50, 1, 4, 32, d_ff=64, n_experts=4, bias=False))
    ours.router.load_state_dict(theirs.router.classifier.state_dict())
    for expert, other in zip(ours.experts, theirs.experts.values(), strict=True):
        expert.up.load_state_dict(other.wi.state_dict())
        expert.down.load_state_dict(other.wo.state_dict())
    x = torch.randn(3, 20, 32)
    expected = theirs(x)
    expected = expected[0] if isinstance(expected, tuple) else expected
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)
    probabilities = ours.router(x).flatten(0, 1).softmax(dim=-1)[None]  # theirs is by text
    balance = switch.load_balancing_loss_func(probabilities, probabilities.argmax(dim=-1))
    torch.testing.assert_close(ours.balance, torch.as_tensor(balance))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: transformers.BloomForCausalLM(
                transformers.BloomConfig(vocab_size=9, hidden_size=8, n_layer=1, n_head=2)
            ),
            "model must be of type gpt2, openai-gpt, llama, mistral, mixtral, got bloom",
        ),
        (
            lambda: gpt2(activation_function="relu"),
            "model must have an activation of .* got 'relu'",
        ),
        (lambda: gpt2(attn_pdrop=0.3), "model must have one rate for resid_pdrop"),
        (
            lambda: gpt2(scale_attn_by_inverse_layer_idx=True),
            "model must have scale_attn_by_inverse_layer_idx = False, got True",
        ),
        (lambda: llama(hidden_act="gelu"), "model must have hidden_act = 'silu', got 'gelu'"),
        (lambda: llama(attention_bias=True), "model must have attention_bias = False, got True"),
        (lambda: llama(head_dim=16), "model must have head_dim = 8, got 16"),
        (
            lambda: llama(
                rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
            ),
            "model must have rope_type = 'default', got 'linear'",
        ),
    ],
)
def test_what_a_gpt_cannot_do_is_an_error(build, message):
    with pytest.raises(ValueError, match=message):
        from_huggingface(build())
