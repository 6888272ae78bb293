"""Reads the config.json of a Hugging Face model, and notices options that a program doesn't honor.

A program that ignored an option would load the model and compute something else without an error.
So each option belongs to one of four groups:

- those that the program reads and honors;
- those that the programs support for one value only (`ONLY`): any other value raises an error;
- those without an effect on outputs (`HARMLESS`): options for training, generation and files;
- the rest, which no program supports: unless they are off, they cause a warning.

The programs for pretrained models import this file. It also has the activation functions by the
names that configurations give them.
"""

import fnmatch
import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp

from linnet import nnx

EXACT_GELU = partial(nnx.gelu, approximate=False)
ACTIVATIONS: dict[str, Any] = {
    "gelu": EXACT_GELU,
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate"), nnx.gelu),
    "quick_gelu": lambda x: x * nnx.sigmoid(1.702 * x),
    "relu": nnx.relu,
    "relu2": lambda x: jnp.square(nnx.relu(x)),
    **dict.fromkeys(("silu", "swish"), nnx.silu),
    "tanh": jnp.tanh,
}

# Options whose other values would need different arithmetic, and the value that is computed here.
ONLY: dict[str, Any] = {
    "adapter_attn_dim": None,
    "add_adapter": False,
    "add_cross_attention": False,
    "apply_residual_connection_post_layernorm": False,
    "attn_type": "multihead_attention",
    "conv_kernel_size": 0,
    "conv_pos_batch_norm": False,
    "decoder_sparse_step": 1,
    "embedding_fraction": 1.0,
    "inner_group_num": 1,
    "mlp_only_layers": [],
    "mlp_type": "default",
    "moe_layer_freq": 1,
    "norm_type": ("layer_norm", "layernorm", "low_precision_layernorm"),
    "num_hidden_groups": 1,
    "pooler_act": "tanh",
    "position_embedding_type": ("absolute", "learned", "rope", "rope_gptj"),
    "prefix_lm": False,
    "relative_attention": True,
    "quantization_config": None,
    "rotary": True,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "share_encoder_decoder_embeddings": True,
    "use_absolute_embeddings": False,
    "use_bidirectional_attention": False,
    "use_swiglu_ffn": False,
    "vision_use_head": True,
}
# Parts that an option turns off, and tensors that a file then can't have.
OFF = {
    "attention_bias": ("q_proj.bias", "qkv_proj.bias", "query_key_value.bias"),
    "mlp_bias": ("up_proj.bias", "gate_up_proj.bias"),
    **dict.fromkeys(("use_qkv_bias", "qkv_bias"), ("q_proj.bias",)),
    **dict.fromkeys(("bias", "use_bias"), ("q_proj.bias", "query_key_value.bias", "fc.bias")),
    "enable_bias": ("q_proj.bias", "fc1.bias"),
    "use_qk_norm": ("q_norm.weight",),
    "qk_layernorm": ("q_layernorm.weight", "q_layernorm.norms.0.weight"),
    "layer_norm_elementwise_affine": ("self_attn_layer_norm.weight",),
}
HARMLESS = (
    # The names of tensors show whether these parts exist.
    *("*_bias", "bias", "no_bias", "use_qk_norm", "qk_layernorm", "qk_ln", "tie_*", "is_gated_act"),
    *("layer_norm_elementwise_affine", "use_mask_token", "num_ln_in_parallel_attn"),
    *("add_bias_logits", "normalize_before", "normalize_embedding", "add_final_layer_norm"),
    # `rotary_from_config` reads these; in models without rotary positions, they only set a limit.
    *("rope_*", "rotary_*", "partial_rotary_factor", "*max_position_embeddings", "max_seq_len*"),
    *("n_positions", "n_ctx", "seq_length", "max_sequence_length"),
    # Training.
    *("*dropout*", "*_pdrop", "*layerdrop*", "drop_path*", "init*", "*_init_value", "init_*"),
    *("mask_time_*", "mask_feature_*", "apply_spec_augment", "*aux_*", "router_*"),
    *("gradient_checkpointing", "seq_aux", "output_router_logits", "num_nextn_predict_layers"),
    *("ctc_*", "diversity_loss_weight", "contrastive_*", "num_negatives", "classifier_proj_size"),
    "num_ctc_classes",
    *("*codevector*", "tdnn_*", "xvector_*", "adapter_kernel_size", "adapter_stride"),
    *("num_adapter_layers", "output_hidden_size"),
    # Rounding, and how the work is divided.
    *("pretraining_tp", "slow_but_exact", "*_fp32", "reorder_and_upcast_attn", "*_fusion"),
    *("chunk_size_*", "*attn_impl*", "ep_size", "attn_uses_sequence_id", "offset_alibi"),
    *("skip_bias_add*", "use_flash*", "fused_*", "use_memory_efficient*"),
    *("deterministic_flash_attn", "reference_compile", "repad_logits_*", "sparse_pred*"),
    # Inputs, outputs and generated texts.
    *("*_token_id", "*token_ids", "*id2label", "*label2id", "*num_labels", "_num_labels"),
    *("output_*", "return_dict*", "use_cache", "prefix", "*suppress_tokens", "begin_suppress*"),
    *("*max_length", "min_*length", "num_beam*", "num_return_*", "length_penalty", "top_*"),
    *("early_stopping", "no_repeat_*", "*repetition_penalty", "diversity_penalty", "do_sample"),
    *("temperature", "typical_p", "bad_words_ids", "encoder_no_repeat*", "force_bos_*"),
    *("summary_*", "problem_type", "task_specific_params", "finetuning_task", "*forced_decoder*"),
    *("out_features", "out_indices", "stage_names", "apply_layernorm", "reshape_hidden_states"),
    *("encoder_stride", "median_filter_width", "use_weighted_layer_sum", "static_position_*"),
    *(
        "is_encoder_decoder",
        "is_decoder",
        "cross_attention_hidden_size",
        "sinusoidal_pos_embds",
        "vocab_size",
    ),
    *("pad_index", "eos_index", "bos_index", "unk_index", "extra_pos_embeddings", "save_step"),
    *("add_fpn", "auxiliary_*", "pool_scales", "semantic_loss_*", "use_auxiliary_head"),
    *("learned_pos_emb", "cache_implementation", "use_gated_activation", "use_parallel_*"),
    *("use_embedding_sharing", "layer_switch", "order_of_interleaved_layers"),
    # Files and programs.
    *("_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "torchscript"),
    *("transformers_version", "tokenizer_class", "*model_type", "_commit_hash", "use_bfloat16"),
    *("pruned_heads", "tf_legacy_loss", "sep_token*", "*_config_dict", "processor_class"),
    # Options in old configurations of BERT and ALBERT, which PyTorch's models never read.
    *("pooler_fc_size", "pooler_num_*", "pooler_size_*", "pooler_type", "directionality"),
    *("down_scale_factor", "gap_size", "net_structure_type", "num_memory_blocks", "layers_to_keep"),
)


class Config(dict[str, Any]):
    """A configuration that records which options were read.

    Args:
      values: what `json.load` returned.
      program: the name of the program, for messages.
      families: the values of "model_type" whose models the program computes; None for any.
      spellings: maps our names of options to the alternative names that they may have in `values`.

    Raises:
      ValueError: the model is of another type, or an option has a value that isn't computed.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        program: str,
        families: Iterable[str] | None = None,
        spellings: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        super().__init__(values)
        self.read: set[str] = set()
        self.program = program
        for name, others in (spellings or {}).items():
            found = [values[n] for n in (name, *others) if values.get(n) is not None]
            for n in others:
                self.pop(n, None)
            if found:
                self.update({name: found[0]})
        if families is not None:
            self.one_of("model_type", list(families))
        for name in ONLY.keys() & self.keys():
            value, only = super().__getitem__(name), ONLY[name]
            only = only if isinstance(only, tuple) else (only,)
            if value is not None and value not in only:
                raise ValueError(
                    f"config.json has {name} = {value!r}, and {program} computes"
                    f" {' or '.join(map(repr, only))} only."
                )

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        if name not in self:
            message = f"config.json has no {name!r}, which {self.program} needs."
            raise KeyError(message)
        return super().__getitem__(name)

    def get(self, name: str, otherwise: Any = None) -> Any:
        """The value of an option, or `otherwise` if there is none."""
        self.read.add(name)
        return super().get(name, otherwise)

    def one_of(self, name: str, known: Any, otherwise: Any = None) -> Any:
        """The value of an option, which must be in `known`; if that is a dict, the value's entry.

        Raises:
          ValueError: the option has a different value.
        """
        value = self.get(name, otherwise)
        if value not in list(known):
            raise ValueError(
                f"config.json has {name} = {value!r}, which {self.program} doesn't compute."
                f" Known: {', '.join(map(repr, known))}."
            )
        return known[value] if isinstance(known, Mapping) else value

    def knows(self, *names: str) -> None:
        """Marks options as known: other options imply them, or the program doesn't need them."""
        self.read.update(names)

    def part(self, name: str) -> "Config":
        """A nested configuration, such as that of a text model."""
        found = Config(self[name], self.program)
        super().__setitem__(name, found)
        return found

    @property
    def classes(self) -> int:
        """How many classes a head has; files leave out the names of two."""
        return len(self.get("id2label") or range(self.get("num_labels", 2)))

    def check(self, tensors: Iterable[str] = ()) -> None:
        """Warns of options that weren't read and aren't known to be harmless.

        Args:
          tensors: the names of the checkpoint's tensors.

        Raises:
          ValueError: there are tensors of a part that an option turns off.
        """
        for option in OFF.keys() & self.keys():
            ends = () if super().__getitem__(option) else OFF[option]
            if found := [name for name in tensors if name.endswith(ends)]:
                raise ValueError(
                    f"config.json has {option} = False, and the checkpoint has {found[0]}. Which is"
                    " right? PyTorch ignores such tensors: set the option, or leave them out."
                )
        unknown = []
        for name, value in self.items():
            if isinstance(value, Config):
                value.check()
            elif not value or name in self.read | ONLY.keys():
                continue
            elif not any(fnmatch.fnmatchcase(name, pattern) for pattern in HARMLESS):
                unknown.append(f"{name} = {value!r}")
        if unknown:
            warnings.warn(
                f"{self.program} ignores these options of config.json: {', '.join(unknown)}."
                " Compare outputs with PyTorch's if they change the arithmetic.",
                stacklevel=2,
            )
