"""The examples compute PyTorch's results from checkpoints in docs/examples/checkpoints."""

import importlib
import json
import re
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("optax", reason="the examples need it")


from comparing import identical, near
from drawn_weights import drawn
from linnet import nnx
from linnet.weights import load, to_torch

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
CHECKPOINTS = FOLDER / "checkpoints"
pytestmark = pytest.mark.usefixtures("examples")


def example(name):
    return importlib.import_module(name)


def expected_of(name):
    with np.load(CHECKPOINTS / name / "expected.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_decoder(name):
    llama, expected = example("llama"), expected_of(name)
    of = llama.Checkpoint.read(CHECKPOINTS / name)
    model = llama.load_model(of)
    prompts = expected["in.input_ids"]
    near(llama.logits(model, prompts), expected["out.logits"], 1e-4, 1e-4)
    generated = expected["out.generated"][:, prompts.shape[1] :]
    np.testing.assert_array_equal(llama.write(model, list(prompts), 12), generated)
    # Rows of different lengths: the second one gets the same result as on its own.
    uneven = llama.write(model, [prompts[0], prompts[1, :5]], 4)
    np.testing.assert_array_equal(uneven[0], generated[0, :4])
    np.testing.assert_array_equal(uneven[1:], llama.write(model, [prompts[1, :5]], 4))


def test_adapters_alone_learn_and_are_saved(tmp_path, monkeypatch, capsys):
    llama = example("llama")
    options = ["--tiny", "--steps", "12", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["llama.py", str(CHECKPOINTS / "llama"), *options])
    assert llama.main() == 0
    printed = capsys.readouterr().out
    assert "16 of 39 tensors changed" in printed
    first, last = (float(word) for word in printed.splitlines()[-1].split() if "." in word)
    assert last < first
    before, after = load(CHECKPOINTS / "llama"), load(tmp_path / "llama_tuned")
    assert list(after) == list(before)
    for name in before:
        same = np.asarray(before[name]).tobytes() == np.asarray(after[name]).tobytes()
        assert same == ("_proj" not in name or ".mlp." in name), name
    config = (tmp_path / "llama_tuned" / "config.json").read_text("utf-8")
    assert config == (CHECKPOINTS / "llama" / "config.json").read_text("utf-8")


def test_half_precision():
    """Parameters and cache are bfloat16, adapters float32 until they are merged."""
    llama = example("llama")
    config, tensors = llama.Checkpoint.read(CHECKPOINTS / "gemma3")
    half = {name: np.asarray(x).astype(jnp.bfloat16) for name, x in tensors.items()}
    of = llama.Checkpoint(config, half)
    model = llama.load_model(of, rank=2)
    kernel = model.layers.block_0.attention.query.base_module.kernel
    before = np.asarray(kernel[...])
    llama.fine_tune(model, np.arange(80) % 96, 2, 0)
    np.testing.assert_array_equal(kernel[...], before)
    model.layers.block_0.attention.query.merge()
    assert kernel.dtype == jnp.bfloat16
    assert not np.array_equal(kernel[...], before)
    written = llama.write(llama.load_model(of), [np.arange(12), np.arange(5)], 2)
    assert written.shape == (2, 2)


def run(name, monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *options])
    assert example(name).main() == 0


def test_bert(monkeypatch, capsys, tmp_path):
    bert, expected = example("bert"), expected_of("bert")
    model = bert.load_model(CHECKPOINTS / "bert")
    names = "input_ids", "attention_mask", "token_type_ids"
    hidden, pooled = bert.features(model, *[expected[f"in.{name}"] for name in names])
    near(pooled, expected["out.pooler_output"], 1e-4, 1e-4)
    real = expected["in.attention_mask"][..., None]
    near(hidden * real, expected["out.last_hidden_state"] * real, 1e-4, 1e-4)
    run("bert", monkeypatch, "--out", str(tmp_path))
    assert "55 of 55 tensors as they were" in capsys.readouterr().out


def test_resnet(monkeypatch, capsys, tmp_path):
    resnet, expected = example("resnet"), expected_of("resnet")
    model = resnet.load_model(CHECKPOINTS / "resnet")
    images = np.moveaxis(expected["in.pixel_values"], 1, -1)
    near(model(jnp.asarray(images)), expected["out.logits"], 1e-4, 1e-4)
    run("resnet", monkeypatch, "--tiny", "--steps", "3", "--out", str(tmp_path))
    assert "116 of 116 tensors are as they were" in capsys.readouterr().out


def test_a_resnet_of_basic_blocks():
    resnet = example("resnet")
    config = json.loads((CHECKPOINTS / "resnet" / "config.json").read_text("utf-8"))
    config |= {"layer_type": "basic", "depths": [1, 2], "hidden_sizes": [16, 32]}
    known = example("configs").Config(config, "resnet.py")
    model = nnx.eval_shape(lambda: resnet.ResNet(known, rngs=nnx.Rngs(0)))
    assert [len(block.layers) for stage in model.stages for block in stage] == [2, 2, 2]
    shape = jnp.zeros((1, 32, 32, 3))
    assert nnx.eval_shape(lambda m: m(shape), model).shape == (1, 5)


def test_t5(monkeypatch, capsys, tmp_path):
    t5, expected = example("t5"), expected_of("t5")
    model, _ = t5.load_model(CHECKPOINTS / "t5")
    inputs = expected["in.input_ids"], expected["in.decoder_input_ids"]
    near(t5.logits(model, *inputs), expected["out.logits"], 1e-4, 1e-4)
    run("t5", monkeypatch, "--out", str(tmp_path))
    printed = capsys.readouterr().out
    assert "the second row is the same without the cache" in printed
    assert "51 of 51 tensors as they were" in printed


def test_gpt2(monkeypatch, capsys, tmp_path):
    gpt2, expected = example("gpt2"), expected_of("gpt2")
    model, prompts = gpt2.load_model(CHECKPOINTS / "gpt2"), expected["in.input_ids"]
    near(gpt2.logits(model, prompts), expected["out.logits"], 1e-4, 1e-4)
    generated = expected["out.generated"][:, prompts.shape[1] :]
    np.testing.assert_array_equal(gpt2.write(model, prompts, 12), generated)
    run("gpt2", monkeypatch, "--out", str(tmp_path))
    assert "40 of 40 tensors as they were" in capsys.readouterr().out


def test_whisper(monkeypatch, capsys, tmp_path):
    whisper, expected = example("whisper"), expected_of("whisper")
    model, _ = whisper.load_model(CHECKPOINTS / "whisper")
    sound, tokens = expected["in.input_features"].swapaxes(1, 2), expected["in.decoder_input_ids"]
    near(whisper.logits(model, sound, tokens), expected["out.logits"], 1e-4, 1e-4)
    after = whisper.write(model, sound, tokens, 3)
    np.testing.assert_array_equal(after[:, 0], expected["out.logits"][:, -1].argmax(-1))
    longer = np.concatenate([tokens, after[:, :2]], axis=1)
    last = whisper.logits(model, sound, longer)[:, -1]
    np.testing.assert_array_equal(after[:, 2], last.argmax(-1))
    run("whisper", monkeypatch, "--out", str(tmp_path))
    printed = capsys.readouterr().out
    assert "the same without the cache" in printed
    assert "113 of 113 tensors as they were" in printed


def test_vit(monkeypatch, capsys, tmp_path):
    vit, expected = example("vit"), expected_of("vit")
    model, _ = vit.load_model(CHECKPOINTS / "vit")
    for size, name in (("pixel_values", "logits"), ("larger", "larger")):
        images = np.moveaxis(expected[f"in.{size}"], 1, -1)
        near(vit.logits(model, images), expected[f"out.{name}"], 1e-4, 1e-4)
    run("vit", monkeypatch, "--out", str(tmp_path))
    assert "56 of 56 tensors as they were" in capsys.readouterr().out


def test_convnext(monkeypatch, capsys, tmp_path):
    run("convnext", monkeypatch, "--out", str(tmp_path))
    printed = capsys.readouterr().out
    assert re.search(r"differ by \d\.\de-0[6-9] from", printed), printed
    assert "61 of 61 tensors as they were" in printed


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("clip", 78),
        ("swin", 62),
        ("bart", 92),
        ("wav2vec2", 49),
        ("deberta", 42),
        ("modernbert", 29),
    ],
)
def test_programs_that_compare(name, tensors, monkeypatch, capsys, tmp_path):
    run(name, monkeypatch, "--out", str(tmp_path))
    printed = capsys.readouterr().out
    assert re.search(r"differ by \d\.\de-0[5-9] from", printed), printed
    assert f"{tensors} of {tensors} tensors as they were" in printed


def test_bart_with_a_cache():
    bart, expected = example("bart"), expected_of("bart")
    model, config = bart.load_model(CHECKPOINTS / "bart")
    texts, start = expected["in.input_ids"], config["decoder_start_token_id"]
    written = bart.write(model, list(texts), start, 12)
    np.testing.assert_array_equal(written, expected["out.generated"][:, 1:])
    uneven = bart.write(model, [texts[0], texts[1, :5]], start, 3)
    np.testing.assert_array_equal(uneven[0], written[0, :3])
    np.testing.assert_array_equal(uneven[1:], bart.write(model, [texts[1, :5]], start, 3))


@pytest.fixture(scope="module")
def encoders():
    """The results of transformers 5.24 with the weights that `drawn` returns."""
    with np.load(Path(__file__).parent / "data" / "encoders.npz") as file:
        return dict(file)


def parts_of(data, name):
    """The configuration, and the tensors; variances are positive."""
    config, shapes = (json.loads(str(data[f"{name}.{part}"])) for part in ("config", "shapes"))
    tensors = drawn(shapes)
    variances = {k: np.abs(v) + 0.5 for k, v in tensors.items() if k.endswith("running_var")}
    return config, tensors | variances


def made(example, data, name):
    return example.filled(*parts_of(data, name))


@pytest.mark.parametrize("name", ["roberta", "distilbert", "electra", "albert", "mpnet"])
def test_other_encoders(name, encoders):
    bert = example("bert")
    is_real = encoders[f"{name}.in.attention_mask"]
    model = made(bert, encoders, name)
    hidden, pooled = bert.features(model, encoders[f"{name}.in.input_ids"], is_real)
    expected, real = encoders[f"{name}.out.last_hidden_state"], is_real[..., None]
    near(hidden * real, expected * real, 1e-4, 1e-4)
    if model.pooler is not None:
        near(pooled, encoders[f"{name}.out.pooler_output"], 1e-4, 1e-4)


OTHERS = [("modernbert_cls", "modernbert"), ("deberta1", "deberta"), ("wavlm", "wav2vec2")]


@pytest.mark.parametrize(("name", "program"), OTHERS)
def test_other_logits(name, program, encoders):
    """Means of texts and biases everywhere; one matrix per head; distances weighted by gates."""
    module = example(program)
    config, tensors = parts_of(encoders, name)
    model = module.filled(config, tensors)
    keys = ("input_values",) if name == "wavlm" else ("input_ids", "attention_mask")
    inputs = [encoders[f"{name}.in.{key}"] for key in keys]
    got = nnx.jit(lambda model, *x: model(*x))(model, *inputs)
    near(got, encoders[f"{name}.out.logits"], 1e-4, 1e-4)
    names = module.names_of(config) if hasattr(module, "names_of") else module.NAMES
    ignored = getattr(module, "IGNORED", ())
    identical(to_torch(model, like=tensors, rename=names, ignore=ignored), tensors)


def test_modernbert_of_old_files():
    """Old configurations have two bases and no list of layers, but describe the same model."""
    modernbert, folder = example("modernbert"), CHECKPOINTS / "modernbert"
    config, tensors = json.loads((folder / "config.json").read_text("utf-8")), load(folder)
    old = {k: v for k, v in config.items() if k not in ("layer_types", "rope_parameters")}
    old |= {"global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0}
    kinds = [
        modernbert.kinds_of(example("configs").Config(c, "modernbert.py")) for c in (config, old)
    ]
    assert kinds[0] == kinds[1]
    for options, match in (
        ({"num_hidden_layers": 3}, "4 layer_types for 3 layers"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings = False"),
        ({"layer_types": ["chunked_attention"] * 4}, "'chunked_attention'"),
    ):
        with pytest.raises(ValueError, match=match):
            modernbert.filled(config | options, tensors)


@pytest.mark.parametrize("name", ["mbart", "marian"])
def test_other_translators(name, encoders):
    model = made(example("bart"), encoders, name)
    inputs = [encoders[f"{name}.in.{key}"] for key in ("input_ids", "decoder_input_ids")]
    logits = nnx.jit(lambda model, *x: model(*x))(model, *inputs)
    near(logits, encoders[f"{name}.out.logits"], 1e-4, 1e-4)


def test_siglip(encoders):
    clip = example("clip")
    images, texts = (encoders[f"siglip.in.{key}"] for key in ("pixel_values", "input_ids"))
    model = made(clip, encoders, "siglip")
    logits = clip.logits(model, np.moveaxis(images, 1, -1), texts)
    near(logits, encoders["siglip.out.logits_per_image"], 1e-4, 1e-4)


@pytest.mark.parametrize("name", ["deit", "dinov2", "beit", "convnextv2", "regnet"])
def test_other_images(name):
    """The weights are `drawn`; the expected logits are those of transformers 5.24."""
    with np.load(Path(__file__).parent / "data" / "images.npz") as file:
        data = dict(file)
    programs = {"convnextv2": "convnext", "regnet": "resnet"}
    model = made(example(programs.get(name, "vit")), data, name)
    first = "regnet.images" if name == "regnet" else "images"
    cases = [(first, "logits")] + [("larger", "larger")] * (name == "dinov2")
    for images, logits in cases:
        got = nnx.jit(lambda model, x: model(x))(model, np.moveaxis(data[images], 1, -1))
        near(got, data[f"{name}.{logits}"], 1e-4, 1e-4)


@pytest.mark.parametrize(
    ("name", "tensors"), [("decoders", 52), ("sparse_decoders", 41), ("deepseek", 91)]
)
def test_programs_of_other_decoders(name, tensors, monkeypatch, capsys, tmp_path):
    run(name, monkeypatch, "--out", str(tmp_path))
    printed = capsys.readouterr().out
    assert f"{tensors} of {tensors} tensors as they were" in printed
    rows = [re.findall(r"\d+", line)[-12:] for line in printed.splitlines()[2:6]]
    assert rows[:2] == rows[2:]
