"""The parts of the site that run inside mkdocs and griffe; `nox -s docs` runs these tests."""

import logging
import re
from pathlib import Path

import pytest

pytest.importorskip("griffe", reason="only the group docs installs it")
pytest.importorskip("mkdocs", reason="only the group docs installs it")

import griffe
from mkdocs.exceptions import PluginError

import workspace
from website import docstrings as site_docstrings
from website import hooks as site_hooks
from website import searching

SOURCE = '''
from linnet.module_core.linen import Module
from linnet.layers_norm import functional


class Layer(Module):
    """A layer; see `functional.layer_norm` and `Module.apply`.

    Args:
      size, count: how many there are,
        of each.
      rate: [*batch, `*n`, *features], a *part* of 1:
        - zero
        - or one

    Raises:
      ShapeError: `size` is wrong.

    >>> Layer(3)  # doctest: +SKIP
    Layer(size=3)
    """

    size: int
    count: int = 2
    rate: float = 0.5

    def helper(self): ...
'''


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    """All packages, and one for these tests."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "linnet" / "example").mkdir(parents=True)
    (folder / "linnet" / "example" / "__init__.py").write_text(SOURCE, encoding="utf-8")
    paths = [folder, *(package.source for package in workspace.packages())]
    extension = site_docstrings.Linnet()
    found = griffe.GriffeLoader(
        search_paths=paths, extensions=griffe.load_extensions(extension), allow_inspection=False
    )
    found.load("linnet", try_relative_path=False)
    found.resolve_aliases(implicit=False, external=False)
    return found


def test_fields_of_a_module_are_its_arguments(loader):
    layer = loader.modules_collection["linnet.example.Layer"]
    found = [(p.name, str(p.annotation), str(p.default)) for p in layer.parameters]
    assert found[1:4] == [("size", "int", "None"), ("count", "int", "2"), ("rate", "float", "0.5")]
    assert [name for name, *_ in found] == ["self", "size", "count", "rate", "parent", "name"]


def test_fields_are_inherited(loader):
    norm = loader.modules_collection["linnet.layers_norm.linen.layer.LayerNorm"]
    assert [p.name for p in norm.parameters][1:4] == ["epsilon", "dtype", "param_dtype"]
    own = loader.modules_collection["linnet.module_core.linen.module.Module"]
    assert "parameters" not in [p.name for p in own.parameters]


def test_docstrings_are_made_for_markdown(loader):
    layer = loader.modules_collection["linnet.example.Layer"]
    lines = layer.docstring.value.splitlines()
    home = "linnet.layers_norm.functional.layer.layer_norm"
    apply = "linnet.module_core.linen.module.Module.apply"
    assert f"[`functional.layer_norm`][{home}]" in lines[0]
    assert f"[`Module.apply`][{apply}]" in lines[0]
    assert lines.count("    of each.") == 2
    assert "  size: how many there are," in lines
    assert "  count: how many there are," in lines
    assert r"  rate: [\*batch, `*n`, \*features], a *part* of 1:" in lines
    assert lines[-4:] == ["```pycon", ">>> Layer(3)", "Layer(size=3)", "```"]
    sections = {str(s.kind.value): s for s in layer.docstring.parse("google")}
    assert [p.name for p in sections["parameters"].value] == ["size", "count", "rate"]
    (error,) = sections["raises"].value
    assert error.annotation.canonical_path == "linnet.module_core.errors.ShapeError"


def test_a_path_that_leads_nowhere_is_a_warning(loader, caplog):
    layer = loader.modules_collection["linnet.example.Layer"]
    with caplog.at_level(logging.WARNING):
        assert site_docstrings.linked("See `functional.nothing`.", layer) == (
            "See `functional.nothing`."
        )
    assert "`functional.nothing` in its docstring names nothing" in caplog.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[s](../../packages/struct)", "[s](../api/packages/struct.md)"),
        ("[s](../../packages/module-core/README.md)", "[s](../api/packages/module_core.md)"),
        ("[s](../../packages/struct/CHANGELOG.md)", "[s](../changelogs.md)"),
        ("[s](../examples/quickstart.py)", "[s](../examples/quickstart.md)"),
        ("[s](../examples/program.py)", "s"),
        ("[`s`](../../tools/workspace.py)", "`s`"),
        ("[s](../../README.md)", "[s](../index.md)"),
        ("[s](keras.md#one)", "[s](keras.md#one)"),
        ("[s](https://docs.jax.dev)", "[s](https://docs.jax.dev)"),
        ("`[s](../../tools)`\n```\n[s](../../tools/workspace.py)\n```", None),
    ],
)
def test_links_out_of_the_documents(text, expected):
    found = site_hooks._turned(text, "guides/x.md", "docs/guides")
    if expected is None:
        assert "[s](../../tools/workspace.py)" in found
    else:
        assert found == expected


@pytest.mark.parametrize("folder", ["tools", "packages/struct"])
def test_a_link_to_a_file_that_is_not_there_is_an_error(folder):
    with pytest.raises(PluginError, match="nothing.py, which doesn't exist"):
        site_hooks._turned(f"[s](../../{folder}/nothing.py)", "guides/x.md", "docs/guides")


def test_folders_in_the_navigation_include_what_is_in_them():
    nav = [{"Guides": ["guides/b.md", "guides/"]}]
    known = ["guides/a.md", "guides/b.md", "guides/c.md", "design/d.md"]
    assert site_hooks._completed(nav, known, {"guides/b.md"}) == [
        {"Guides": ["guides/b.md", "guides/a.md", "guides/c.md"]}
    ]


def test_every_written_page_is_in_the_navigation():
    text = (workspace.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in site_hooks._written():
        folder = Path(page).parent.as_posix()
        assert page in text or f"- {folder}/\n" in text or folder.startswith("examples"), page


# Terms that users search for, and the page that should come first for each.
SEARCHES = {
    "nn.Module": "api/linen/module/",
    "nnx.Module": "api/nnx/module/",
    "nnx.Linear": "api/nnx/linear/",
    "nn.Dense": "api/linen/linear/",
    "nn.BatchNorm": "api/linen/normalization/",
    "nnx.MultiHeadAttention": "api/nnx/attention/",
    "nn.scan": "api/linen/transforms/",
    "nnx.jit": "api/nnx/transforms/",
    "nnx.split": "api/nnx/state/",
    "nnx.Rngs": "api/nnx/randomness/",
    "nnx.Optimizer": "api/nnx/training/",
    "nn.relu": "api/linen/activations/",
    "nnx.bridge.ToNNX": "api/nnx/bridge/",
    "BatchNorm": "api/linen/normalization/",
    "eval_shape": "api/nnx/module/",
    "freeze parameters": "guides/fine_tuning/",
    "LoRA": "guides/fine_tuning/",
    "mixed precision": "guides/training_recipes/",
    "gradient accumulation": "guides/training_recipes/",
    "early stopping": "guides/logging/",
    "FSDP": "guides/sharding/",
    "hugging face": "guides/torch_weights/",
    "checkpoint": "guides/checkpoints/",
    "keras": "guides/keras/",
    "install": "installing/",
    "recompilation": "guides/debugging/",
}


@pytest.mark.parametrize("query", SEARCHES)
def test_a_search_finds_first_what_answers_it(query):
    assert searching.pages(query)[:1] == [SEARCHES[query]], searching.pages(query)[:5]


# Questions of users in public threads, as search terms, and the guide that answers them. The
# frequently asked questions lead there, too.
QUESTIONS = {
    "freeze layers": "fine_tuning",
    "freeze entries array": "fine_tuning",
    "weight decay bias": "from_pytorch",
    "rename parameters": "surgery",
    "new head": "fine_tuning",
    "freeze batch norm": "fine_tuning",
    "unfreeze": "fine_tuning",
    "which parameters changed": "fine_tuning",
    "learning rate print": "faq",
    "class weights": "from_pytorch",
    "confusion matrix": "training_recipes",
    "augmentation": "training_recipes",
    "gradient norm": "logging",
    "restore best": "logging",
    "resume training": "training_recipes",
    "model summary": "faq",
    "gradient accumulation": "training_recipes",
    "EMA": "training_recipes",
    "GAN": "training_recipes",
    "L-BFGS": "training_recipes",
    "batch normalization": "state",
    "batch of single examples": "transforms",
    "per-example gradients": "transforms",
    "ensemble": "transforms",
    "scan layers": "transforms",
    "hypernetwork": "transforms",
    "hessian": "transforms",
    "MAML": "transforms",
    "while loop": "transforms",
    "dropout key": "randomness",
    "reproduce run": "randomness",
    "rename layer": "faq",
    "intermediate activations": "faq",
    "capture_intermediates": "state",
    "sow": "state",
    "perturb": "state",
    "share parameters": "custom_layers",
    "tie embedding": "custom_layers",
    "initializer": "custom_layers",
    "WeightNorm": "faq",
    "pytorch weights": "torch_weights",
    "pytorch outputs": "faq",
    "pretrained models": "faq",
    "pickle": "faq",
    "orbax restore": "checkpoints",
    "ONNX": "exporting",
    "TensorFlow": "exporting",
    "StableHLO": "exporting",
    "compile again": "debugging",
    "slower plain jax": "faq",
    "NaN": "debugging",
    "GPU memory": "faq",
    "data loader": "from_pytorch",
    "several GPUs": "faq",
    "clip_by_global_norm": "training_recipes",
    "recompile": "debugging",
    "stochastic depth": "repeated_layers",
    "drop path": "repeated_layers",
    "label smoothing": "from_pytorch",
    "attention maps": "attention",
    "seq2seq": "seq2seq",
    "greedy decoding": "seq2seq",
    "beam search": "seq2seq",
    "teacher forcing": "seq2seq",
    "scheduled sampling": "seq2seq",
    "different lengths": "recurrent",
    "mixing linen": "mixing_styles",
    "prune": "surgery",
    "replace layers": "surgery",
    "unit test model": "testing",
    "tensorboard": "logging",
    "early stopping": "logging",
    "from keras": "from_keras",
    "restore random keys": "randomness",
    "compiles twice": "debugging",
    "layer output": "state",
    "pmap": "sharding",
    "key already used": "randomness",
    "batch norm inference": "state",
    "model.eval()": "training_recipes",
    "model.fit": "from_keras",
    "nn.ModuleList": "from_pytorch",
    "learning rate scheduler": "training_recipes",
    "DistributedDataParallel": "sharding",
    "NCHW": "from_pytorch",
    "OOM": "debugging",
    "hidden state": "recurrent",
    "positional encoding": "attention",
    "random seed": "randomness",
    "print inside jit": "debugging",
    "shape mismatch": "debugging",
    "vision transformer": "faq",
    "python 3.10": "faq",
    "UnexpectedTracerError": "debugging",
    "ConcretizationTypeError": "transforms",
    "number of parameters": "testing",
    "register_forward_hook": "state",
    "rendezvous": "sharding",
}


@pytest.mark.parametrize("query", QUESTIONS)
def test_a_search_finds_the_answer_to_a_question(query):
    first = searching.pages(query)[:4]
    assert {f"guides/{QUESTIONS[query]}/", "guides/faq/"} & set(first), first


# The section that a search finds first for terms that users of several libraries ask about in
# public threads.
SECTIONS = {
    "validation split": "guides/training_recipes/#validation-split",
    "cross validation": "guides/training_recipes/#validation-split",
    "learning curve": "guides/logging/#learning-curves",
    "greedy decoding": "guides/seq2seq/#greedy-decoding",
    "top-k sampling": "guides/seq2seq/#sampling-with-a-temperature-and-top-k",
    "unfreeze": "guides/fine_tuning/#unfreeze",
    "precompile": "guides/faq/#how-do-i-precompile-a-function",
    "preallocate": "guides/faq/#why-does-jax-preallocate-most-of-the-gpus-memory",
    "clear caches": "guides/faq/#how-do-i-clear-the-caches-of-compiled-functions",
    "weight tying": "guides/faq/#how-does-weight-tying-work",
    "warmup": "guides/faq/#how-do-i-use-a-learning-rate-scheduler-such-as-cosine-with-warmup",
    "straight-through": "guides/faq/#how-do-i-use-a-straight-through-estimator",
    "quantization": "guides/faq/#how-do-i-quantize-a-model",
    "multiple inputs": "guides/faq/#how-do-i-write-a-model-with-multiple-inputs-or-outputs",
    "actor critic": "guides/faq/#how-do-i-write-an-actor-critic-model",
    "L2 regularization": "guides/faq/#how-do-i-add-l2-or-l1-regularization",
    "gradient checkpointing": "guides/faq/#how-do-i-use-gradient-checkpointing",
    "pipeline parallelism": "guides/faq/#is-there-model-parallelism-or-pipeline-parallelism",
    "TPU": "guides/faq/#how-do-i-run-on-a-gpu-or-tpu",
}


@pytest.mark.parametrize("query", SECTIONS)
def test_a_search_finds_first_the_section_that_answers_it(query):
    assert searching.sections(query)[:1] == [SECTIONS[query]], searching.sections(query)[:4]


LOADED = re.compile(
    r'<(?:script|img|source|iframe|link)\b[^>]* (?:src|href)="((?:https?:)?//[^"]+)"'
)


def test_no_page_loads_anything_from_another_host():
    assert LOADED.findall('<script async src="//example.org/x.js">') == ["//example.org/x.js"]
    pages = sorted((workspace.ROOT / "site").rglob("*.html"))
    assert pages, "`nox -s docs` builds the site first"
    for page in pages:
        assert LOADED.findall(page.read_text(encoding="utf-8")) == [], page
