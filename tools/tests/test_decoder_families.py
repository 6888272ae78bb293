"""docs/examples/llama.py against decoders in NumPy: loops over heads and tokens, in float64.

The loops are written from the papers and the names in configuration files, are independent of the
layers, and agree with PyTorch where its results are known.
"""

import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optax", reason="the example needs it")

from comparing import near
from linnet import nnx
from linnet.weights import load

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
CHECKPOINTS = FOLDER / "checkpoints"


@pytest.fixture(scope="module")
def llama(examples):
    return importlib.import_module("llama")


def softmax(x):
    x = np.exp(x - x.max())
    return x / x.sum()


ACTIVATIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu_pytorch_tanh": lambda x: (
        0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
}


class Numbers:
    """The options of a configuration, under names that all families share."""

    def __init__(self, config):
        get = config.get
        self.gemma = config["model_type"].startswith("gemma")
        self.heads = config["num_attention_heads"]
        self.keys = get("num_key_value_heads", self.heads)
        self.depth = get("head_dim") or config["hidden_size"] // self.heads
        self.scale = get("attention_multiplier", get("query_pre_attn_scalar", self.depth) ** -0.5)
        self.cap, self.final_cap = get("attn_logit_softcapping"), get("final_logit_softcapping")
        self.act = ACTIVATIONS[get("hidden_activation") or config["hidden_act"]]
        self.residual, self.divisor = get("residual_multiplier", 1), get("logits_scaling", 1)
        factor = math.sqrt(config["hidden_size"]) if self.gemma else 1
        self.embed = get("embedding_multiplier", factor)
        self.epsilon = config["rms_norm_eps"]
        types, self.turned = get("layer_types"), get("partial_rotary_factor", 1.0)
        rope = get("rope_parameters") or {}
        self.bases = [
            rope[types[i]]["rope_theta"] if rope else config["rope_theta"]
            for i in range(config["num_hidden_layers"])
        ]
        window = get("sliding_window") if get("use_sliding_window", True) else None
        self.windows = [
            window if types is None or types[i] == "sliding_attention" else None
            for i in range(config["num_hidden_layers"])
        ]


def logits(config, tensors, tokens):
    """Logits [T, V] for tokens [T]."""
    n = Numbers(config)
    t = {name: np.asarray(value, np.float64) for name, value in tensors.items()}

    def norm(x, name):
        scale = t[f"{name}.weight"] + (1 if n.gemma else 0)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + n.epsilon) * scale

    def linear(x, name):
        return x @ t[f"{name}.weight"].T + t.get(f"{name}.bias", 0)

    def rotated(x, base):  # [T, H, D]
        y, half = x.copy(), int(n.depth * n.turned) // 2
        for p in range(len(x)):
            for i in range(half):
                angle = p * base ** (-i / half)
                a, b = x[p, :, i], x[p, :, i + half]
                y[p, :, i] = a * math.cos(angle) - b * math.sin(angle)
                y[p, :, i + half] = b * math.cos(angle) + a * math.sin(angle)
        return y

    def attention(x, at, window, base):
        sizes = [n.heads * n.depth, n.keys * n.depth, n.keys * n.depth]
        if f"{at}.qkv_proj.weight" in t:
            parts = np.split(linear(x, f"{at}.qkv_proj"), np.cumsum(sizes)[:-1], axis=-1)
        else:
            parts = [linear(x, f"{at}.{part}_proj") for part in "qkv"]
        q, k, v = (part.reshape(len(x), -1, n.depth) for part in parts)
        if f"{at}.q_norm.weight" in t:
            q, k = norm(q, f"{at}.q_norm"), norm(k, f"{at}.k_norm")
        q, k = rotated(q, base), rotated(k, base)
        y = np.zeros_like(q)
        for h in range(n.heads):
            for i in range(len(x)):
                first = 0 if window is None else max(0, i + 1 - window)
                products = k[first : i + 1, h * n.keys // n.heads] @ q[i, h] * n.scale
                products = n.cap * np.tanh(products / n.cap) if n.cap else products
                y[i, h] = softmax(products) @ v[first : i + 1, h * n.keys // n.heads]
        return linear(y.reshape(len(x), -1), f"{at}.o_proj")

    def mlp(x, at):
        if f"{at}.gate_up_proj.weight" in t:
            gate, up = np.split(linear(x, f"{at}.gate_up_proj"), 2, axis=-1)
        else:
            gate, up = linear(x, f"{at}.gate_proj"), linear(x, f"{at}.up_proj")
        return linear(n.act(gate) * up, f"{at}.down_proj")

    x = t["model.embed_tokens.weight"][tokens] * n.embed
    for i, (window, base) in enumerate(zip(n.windows, n.bases, strict=True)):
        at = f"model.layers.{i}"
        around = f"{at}.pre_feedforward_layernorm.weight" in t
        y = attention(norm(x, f"{at}.input_layernorm"), f"{at}.self_attn", window, base)
        y = norm(y, f"{at}.post_attention_layernorm") if around else y
        x = x + n.residual * y
        before = "pre_feedforward" if around else "post_attention"
        y = mlp(norm(x, f"{at}.{before}_layernorm"), f"{at}.mlp")
        y = norm(y, f"{at}.post_feedforward_layernorm") if around else y
        x = x + n.residual * y
    head = t.get("lm_head.weight", t["model.embed_tokens.weight"])
    y = norm(x, "model.norm") @ head.T / n.divisor
    return n.final_cap * np.tanh(y / n.final_cap) if n.final_cap else y


BASE = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 64,
}
ALTERNATING = ["sliding_attention", "full_attention"]
FAMILIES = {
    "mistral": {"sliding_window": 3},
    "qwen2": {"sliding_window": 3, "use_sliding_window": False, "bias": "qkv", "tied": True},
    "qwen3": {"head_dim": 8, "qk_norm": True},
    "gemma": {"hidden_act": "gelu_pytorch_tanh", "num_key_value_heads": 1, "tied": True},
    "gemma2": {
        "hidden_activation": "gelu_pytorch_tanh",
        "layer_types": ALTERNATING,
        "sliding_window": 3,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "query_pre_attn_scalar": 7,
        "tied": True,
        "around": True,
    },
    "phi3": {"fused": True, "sliding_window": None, "partial_rotary_factor": 0.5},
    "granite": {
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.4,
        "residual_multiplier": 0.3,
        "logits_scaling": 2.0,
        "bias": "qkvo",
        "mlp_bias": True,
    },
}


def tensors_of(config, bias="", tied=False, qk_norm=False, around=False, fused=False):
    """Random tensors with the names that a family uses."""
    width, hidden = config["hidden_size"], config["intermediate_size"]
    depth = config.get("head_dim") or width // config["num_attention_heads"]
    q, kv = (config[f"num_{n}_heads"] * depth for n in ("attention", "key_value"))
    words, norms = config["vocab_size"], ["input_layernorm", "post_attention_layernorm"]
    norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if around else []
    mlp_bias = config.get("mlp_bias", False)
    shapes = {"model.embed_tokens.weight": (words, width), "model.norm.weight": (width,)}
    shapes |= {} if tied else {"lm_head.weight": (words, width)}
    for i in range(config["num_hidden_layers"]):
        at, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
        shapes |= {f"model.layers.{i}.{norm}.weight": (width,) for norm in norms}
        outs = {"q": q, "k": kv, "v": kv, "o": width}
        ups = {"gate": hidden, "up": hidden, "down": width}
        if fused:
            outs, ups = {"qkv": q + 2 * kv, "o": width}, {"gate_up": 2 * hidden, "down": width}
        for part, size in outs.items():
            shapes[f"{at}.{part}_proj.weight"] = (size, q if part == "o" else width)
            shapes |= {f"{at}.{part}_proj.bias": (size,)} if part in bias else {}
        for part, size in ups.items():
            shapes[f"{mlp}.{part}_proj.weight"] = (size, hidden if part == "down" else width)
            shapes |= {f"{mlp}.{part}_proj.bias": (size,)} if mlp_bias else {}
        shapes |= {f"{at}.{part}_norm.weight": (depth,) for part in ("q", "k") if qk_norm}
    draw = np.random.default_rng(0)
    return {
        name: draw.normal(0.5 if len(shape) == 1 else 0, 0.4, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name, llama):
    """The logits equal those of loops in NumPy, which agree with PyTorch's results (see below)."""
    parts = {"bias", "tied", "qk_norm", "around", "fused"}
    config = BASE | {"model_type": name} | FAMILIES[name]
    made = {key: config.pop(key) for key in parts & config.keys()}
    of = llama.Checkpoint(config, tensors_of(config, **made))
    model = llama.load_model(of)
    prompts = np.random.default_rng(1).integers(0, 32, (2, 7))
    ours = nnx.jit(lambda model, x: model(x))(model, prompts)
    expected = np.stack([logits(config, of.tensors, row) for row in prompts])
    near(ours, expected, 1e-4, 1e-4 * float(np.abs(expected).max()))
    written = llama.write(model, list(prompts), 2)
    np.testing.assert_array_equal(written[:, 0], expected[:, -1].argmax(-1))
    longer = np.concatenate([prompts, written[:, :1]], axis=1)
    after = [logits(config, of.tensors, row)[-1].argmax() for row in longer]
    np.testing.assert_array_equal(written[:, 1], after)


def test_the_loops_are_right():
    """The loops reproduce PyTorch's logits for Gemma 3."""
    config = json.loads((CHECKPOINTS / "gemma3" / "config.json").read_text("utf-8"))
    with np.load(CHECKPOINTS / "gemma3" / "expected.npz") as file:
        tokens, expected = file["in.input_ids"][0], file["out.logits"][0]
    near(logits(config, load(CHECKPOINTS / "gemma3"), tokens), expected, 1e-4, 1e-4)
