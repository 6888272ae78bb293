"""Options of config.json that change what a model computes: examples honor them, or raise an error.

The expected numbers are in `data/decoders.npz` (see test_other_decoders.py); these are the options
that raise an error, and tensors that a file has or lacks.
"""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optax", reason="the examples need it")

from comparing import identical, near
from drawn_weights import drawn
from linnet import nnx
from linnet.errors import ArgumentError
from linnet.weights import load

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CHECKPOINTS = EXAMPLES / "checkpoints"
DATA = Path(__file__).parent / "data"
pytestmark = pytest.mark.usefixtures("examples")


def example(name):
    return importlib.import_module(name)


def config_of(name):
    """The configuration of a checkpoint, or of a family in data/."""
    path = CHECKPOINTS / name / "config.json"
    if path.exists():
        return json.loads(path.read_text("utf-8"))
    for kind in ("decoders", "encoders", "images"):
        with np.load(DATA / f"{kind}.npz") as file:
            if f"{name}.config" in file:
                return json.loads(str(file[f"{name}.config"]))
    raise KeyError(name)


def build(name, config, tensors=None):
    module = example(name)
    if hasattr(module, "filled"):
        return module.filled(config, tensors or {})
    return module.load_model(example("llama").Checkpoint(config, tensors or ONE))


ONE = {"lm_head.weight": np.zeros((2, 2), np.float32)}  # whose dtype is that of the model
# The program, the model, options that it does not compute, and the text of the error.
UNKNOWN = [
    ("llama", "llama", {"model_type": "cohere"}, "model_type = 'cohere'"),
    ("llama", "llama", {"hidden_act": "softplus"}, "hidden_act = 'softplus'"),
    ("llama", "llama", {"quantization_config": {"bits": 4}}, "quantization_config = "),
    ("llama", "gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("llama", "gemma3", {"layer_types": ["chunked_attention"] * 6}, "'chunked_attention'"),
    ("gpt2", "gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    ("gpt2", "gpt2", {"scale_attn_weights": False}, "scale_attn_weights = False"),
    ("bert", "bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
    ("bert", "bert", {"is_decoder": True}, "is_decoder = True"),
    ("bert", "albert", {"num_hidden_groups": 2}, "num_hidden_groups = 2"),
    ("bart", "marian", {"share_encoder_decoder_embeddings": False}, "share_encoder_decoder"),
    ("decoders", "bloom", {"apply_residual_connection_post_layernorm": True}, "post_layernorm"),
    ("decoders", "gpt_neox", {"rope_parameters": {"rope_type": "yarns"}}, "'yarns'"),
    ("deepseek", "deepseek", {"rope_parameters": {"rope_type": "dynamic"}}, "depend on the number"),
    ("sparse_decoders", "qwen2_moe", {"mlp_only_layers": [0]}, r"mlp_only_layers = \[0\]"),
    ("sparse_decoders", "qwen2_moe", {"decoder_sparse_step": 2}, "decoder_sparse_step = 2"),
    ("deepseek", "deepseek_v2", {"norm_topk_prob": True}, "norm_topk_prob = True"),
    ("whisper", "whisper", {"scale_embedding": True}, "scale_embedding = True"),
    ("sparse_decoders", "olmoe", {"clip_qkv": 8.0}, "clip_qkv = 8.0"),
    ("vit", "dinov2", {"use_swiglu_ffn": True}, "use_swiglu_ffn = True"),
    ("vit", "deit", {"pooler_act": "relu"}, "pooler_act = 'relu'"),
    ("swin", "swin", {"use_absolute_embeddings": True}, "use_absolute_embeddings = True"),
    ("resnet", "resnet", {"layer_type": "preact"}, "layer_type = 'preact'"),
    ("t5", "t5", {"model_type": "umt5"}, "model_type = 'umt5'"),
    ("wav2vec2", "wav2vec2", {"add_adapter": True}, "add_adapter = True"),
    ("deberta", "deberta", {"conv_kernel_size": 3}, "conv_kernel_size = 3"),
    ("modernbert", "modernbert", {"classifier_pooling": "max"}, "classifier_pooling = 'max'"),
    ("resnet", "regnet", {"layer_type": "z"}, "layer_type = 'z'"),
]


@pytest.mark.parametrize(("name", "model", "options", "match"), UNKNOWN)
def test_errors(name, model, options, match):
    with pytest.raises((ValueError, ArgumentError), match=match):
        build(name, config_of(model) | options)


def test_options_that_nothing_knows():
    configs = example("configs")
    config = configs.Config({"model_type": "a", "novel_scale": 2.0, "novel": False}, "a.py", ["a"])
    with pytest.warns(UserWarning, match=r"a.py ignores .* novel_scale = 2.0"):
        config.check()
    config.get("novel_scale")
    config.check()
    with pytest.raises(KeyError, match="no 'width', which a.py needs"):
        config["width"]


def test_embeddings_of_t5():
    """A file may have the shared embedding under three names, and as a head that is scaled."""
    t5 = example("t5")
    config = config_of("t5") | {"tie_word_embeddings": True, "scale_decoder_outputs": True}
    file = dict(load(CHECKPOINTS / "t5"))
    tensors = {k: np.asarray(x) for k, x in file.items() if k != "lm_head.weight"}
    shared = tensors["shared.weight"]
    tied = t5.filled(config, tensors)
    inputs = np.array([[3, 5, 7]]), np.array([[0, 4]])
    expected = t5.logits(tied, *inputs)
    copies = {f"{part}.weight": shared for part in ("lm_head", "encoder.embed_tokens")}
    near(t5.logits(t5.filled(config, tensors | copies), *inputs), expected, 1e-6, 1e-6)
    del tensors["shared.weight"]
    other = t5.filled(config, tensors | {"decoder.embed_tokens.weight": shared})
    identical(np.asarray(other.shared.embedding[...]), shared)
    wrong = {"shared.weight": shared, "encoder.embed_tokens.weight": shared + 1}
    with pytest.raises(ArgumentError, match=r"no place for encoder\.embed_tokens\.weight"):
        t5.filled(config, tensors | wrong)


def test_parts_that_are_turned_off():
    config = example("configs").Config({"attention_bias": False}, "llama.py")
    config.check(["model.layers.0.self_attn.q_proj.weight"])
    with pytest.raises(ValueError, match=r"attention_bias = False, and .* has a\.q_proj\.bias"):
        config.check(["a.q_proj.bias"])


def test_buckets_of_deberta():
    """The last bucket needs a distance beyond the middle, once a text has such distances."""
    bucket = example("deberta").bucket
    for farthest in (1, 2, 3):
        with pytest.raises(ValueError, match=f"max_relative_positions .* than 3, got {farthest}"):
            bucket(np.arange(-5, 6), 4, farthest)
        np.testing.assert_array_equal(bucket(np.arange(-2, 3), 4, farthest), range(-2, 3))
    np.testing.assert_array_equal(bucket(np.arange(-9, 10, 3), 8, 9), [-8, -6, -3, 0, 3, 6, 8])


def test_falcon_in_parallel():
    """Attention in parallel with the MLP shares its normalization."""
    config = config_of("falcon_rw")
    with np.load(DATA / "decoders.npz") as file:
        tensors = drawn(json.loads(str(file["falcon_rw.shapes"])))
    with pytest.raises(ValueError, match="parallel_attn = True, and .* post_attention_layernorm"):
        build("decoders", config | {"parallel_attn": True}, tensors)


def test_two_classes():
    """Files leave out the default names of two classes."""
    config = config_of("vit")
    del config["id2label"]
    assert example("configs").Config(config, "vit.py").classes == 2


def test_positions_of_roberta():
    """Padding at the beginning shifts the positions of what follows."""
    bert = example("bert")
    with np.load(DATA / "encoders.npz") as file:
        config, shapes = (json.loads(str(file[f"roberta.{x}"])) for x in ("config", "shapes"))
    draw = np.random.default_rng(0)
    tensors = {k: draw.normal(0, 0.4, s).astype(np.float32) for k, s in sorted(shapes.items())}
    model = bert.filled(config, tensors)
    padding = config["pad_token_id"]
    text = np.array([[5, 7, 9]])
    padded = np.concatenate([np.full((1, 2), padding), text], axis=1)
    run = nnx.jit(lambda model, *x: model(*x).hidden)
    near(run(model, padded, padded != padding)[:, 2:], run(model, text, text > 0), 1e-5, 1e-5)
