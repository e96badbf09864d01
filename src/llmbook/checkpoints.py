"""GPT-2, GPT, Llama, Mistral and Mixtral of Hugging Face, as a `llmbook.gpt.GPT`.

The weights are copied, so that the logits agree up to rounding. What a checkpoint asks for and the
`GPT` cannot do (scaled rotary frequencies, other activation functions, …) is an error.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmbook.gpt import GPT, GPTConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


def from_huggingface(model: "PreTrainedModel | str") -> GPT:
    """Return the same model as a `GPT`, with copies of the weights.

    Parameters
    ----------
    model
        A causal language model of `transformers` of type gpt2, openai-gpt, llama, mistral or
        mixtral, or the name or folder of one, which is loaded in float32.

    Raises
    ------
    ValueError
        If the model is of another type, or asks for what a `GPT` cannot do.
    """
    if isinstance(model, str):
        from transformers import AutoModelForCausalLM  # takes seconds to import

        model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    kind = model.config.model_type
    if kind not in _READERS:
        raise ValueError(f"model must be of type {', '.join(_READERS)}, got {kind}")
    config, weights = _READERS[kind](model.config, model.state_dict())
    with torch.device("meta"):  # weights that are to be replaced need no start
        gpt = GPT(config)
    # A checkpoint lists tied matrices under one name or under both.
    own = {name for name, _ in gpt.named_parameters(remove_duplicate=False)}
    if config.tied:
        weights["head.weight"] = weights["tokens.weight"]
    if own != weights.keys():
        raise ValueError(f"model has other weights than its type: {sorted(own ^ weights.keys())}")
    gpt.load_state_dict({name: weight.clone() for name, weight in weights.items()}, assign=True)
    if config.tied:
        gpt.head.weight = gpt.tokens.weight
    return gpt.train(model.training)


def _require(config: Any, **expected: Any) -> None:
    for name, value in expected.items():
        if getattr(config, name, value) != value:
            raise ValueError(f"model must have {name} = {value!r}, got {getattr(config, name)!r}")


def _rename(weights: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """Return the weights whose name holds a key of `names`, with that part replaced, in order."""
    renamed = {}
    for name, weight in weights.items():
        new = name
        for old, part in names.items():
            new = new.replace(old, part)
        renamed[new] = weight
    return renamed


def _read_gpt2(config: Any, weights: dict[str, Tensor]) -> tuple[GPTConfig, dict[str, Tensor]]:
    """Radford et al. (2018, 2019): GPT normalizes after each addition, GPT-2 before."""
    post_norm = config.model_type == "openai-gpt"
    activation = config.afn if post_norm else config.activation_function
    # What the first GPT calls "gelu" is the tanh approximation.
    activations = {"gelu": "gelu_tanh"} if post_norm else _ACTIVATIONS
    if activation not in activations:
        raise ValueError(f"model must have an activation of {[*activations]}, got {activation!r}")
    _require(config, scale_attn_weights=True, add_cross_attention=False)
    _require(config, scale_attn_by_inverse_layer_idx=False)
    if not config.resid_pdrop == config.embd_pdrop == config.attn_pdrop:
        raise ValueError("model must have one rate for resid_pdrop, embd_pdrop and attn_pdrop")
    result = GPTConfig(
        vocab_size=config.vocab_size,
        n_layers=config.n_layer,
        n_heads=config.n_head,
        d_model=config.n_embd,
        d_ff=getattr(config, "n_inner", None),
        context_length=config.n_positions,
        positions="learned",
        norm_epsilon=config.layer_norm_epsilon,
        post_norm=post_norm,
        feed_forward=activations[activation],
        tied=config.tie_word_embeddings,
        dropout=config.resid_pdrop,
    )
    names = {
        **{"transformer.": "", "lm_head.": "head.", "wte.": "tokens.", "tokens_embed.": "tokens."},
        **{"wpe.": "places.", "positions_embed.": "places.", "ln_f.": "norm.", "h.": "blocks."},
        **{"ln_1.": "norm1.", "ln_2.": "norm2.", "attn.c_attn.": "attention.qkv."},
        **{"attn.c_proj.": "attention.out.", "mlp.c_fc.": "mlp.up.", "mlp.c_proj.": "mlp.down."},
    }
    renamed = _rename(weights, names)
    for name, weight in renamed.items():
        # GPT-2's layers, though not its embeddings, store (in, out) where nn.Linear has (out, in).
        if name.startswith("blocks.") and weight.ndim == 2:
            renamed[name] = weight.T
    return result, renamed


def _read_llama(config: Any, weights: dict[str, Tensor]) -> tuple[GPTConfig, dict[str, Tensor]]:
    """Touvron et al. (2023); Mistral and Mixtral (Jiang et al., 2023, 2024) add to it."""
    _require(config, hidden_act="silu", attention_bias=False, mlp_bias=False)
    _require(config, attention_dropout=0.0)
    if config.head_dim is not None:
        _require(config, head_dim=config.hidden_size // config.num_attention_heads)
    rope = config.rope_parameters
    if rope["rope_type"] != "default":
        raise ValueError(f"model must have rope_type = 'default', got {rope['rope_type']!r}")
    result = GPTConfig(
        vocab_size=config.vocab_size,
        n_layers=config.num_hidden_layers,
        n_heads=config.num_attention_heads,
        n_kv_heads=config.num_key_value_heads,
        d_model=config.hidden_size,
        d_ff=config.intermediate_size,
        context_length=config.max_position_embeddings,
        positions="rotary",
        rotary_base=rope["rope_theta"],
        window=getattr(config, "sliding_window", None),
        norm="rms",
        norm_epsilon=config.rms_norm_eps,
        feed_forward="swiglu",
        n_experts=getattr(config, "num_local_experts", None),
        experts_per_token=getattr(config, "num_experts_per_tok", 1),
        bias=False,
        tied=config.tie_word_embeddings,
    )
    names = {
        **{"model.": "", "lm_head.": "head.", "embed_tokens.": "tokens.", "layers.": "blocks."},
        **{"input_layernorm.": "norm1.", "post_attention_layernorm.": "norm2."},
        **{"self_attn.": "attention.", "o_proj.": "out.", "mlp.gate.": "mlp.router."},
        **{"gate_proj.": "gate.", "up_proj.": "up.", "down_proj.": "down."},
    }
    renamed = _rename(weights, names)
    for i in range(result.n_layers):
        attention, mlp = f"blocks.{i}.attention", f"blocks.{i}.mlp"
        projections = [renamed.pop(f"{attention}.{part}_proj.weight") for part in "qkv"]
        renamed[f"{attention}.qkv.weight"] = torch.cat(projections)
        if result.n_experts is not None:
            both = renamed.pop(f"{mlp}.experts.gate_up_proj")  # (experts, 2 d_ff, d_model)
            down = renamed.pop(f"{mlp}.experts.down_proj")
            for expert in range(result.n_experts):
                gate, up = both[expert].chunk(2)
                parts = {"gate": gate, "up": up, "down": down[expert]}
                for name, weight in parts.items():
                    renamed[f"{mlp}.experts.{expert}.{name}.weight"] = weight
    return result, renamed


_READERS = {
    "gpt2": _read_gpt2,
    "openai-gpt": _read_gpt2,
    "llama": _read_llama,
    "mistral": _read_llama,
    "mixtral": _read_llama,
}
