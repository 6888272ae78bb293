"""What a notebook shows: folded trees of modules, states and variables, with shapes and layouts."""

import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from linnet.module_core import linen, nnx
from linnet.module_core.notebook import as_html


class Dense(linen.Module):
    features: int
    use_bias: bool = True

    def __call__(self, x):
        return x


class Layer(nnx.Module):
    def __init__(self, features=3, *, kernel_init=jnp.ones, note="<plain>"):
        self.features = features
        self.kernel_init = kernel_init
        self.note = note
        self.kernel = nnx.Param(kernel_init((features, 2)), unit="volt")
        self.rngs = nnx.Rngs(0)


def text_of(html):
    return re.sub(r"<[^>]+>", "|", html).replace("||", "|")


def test_modules_leave_out_what_is_at_its_default():
    assert repr(Layer()).splitlines()[1:3] == [
        "  kernel=Param( # 6 (24 B)",
        "    value=Array([[1., 1.],",
    ]
    shown = repr(Layer(4, note="own"))
    assert "  features=4,\n" in shown
    assert "  note='own',\n" in shown
    assert "kernel_init" not in shown
    assert repr(Dense(3)) == "Dense(\n    # attributes\n    features = 3\n)"
    assert repr(Dense(3, use_bias=False)).endswith("    use_bias = False\n)")


def test_default_of_another_type_or_an_array_is_shown():
    class Odd(nnx.Pytree):
        def __init__(self, flag=1, array=np.ones(2)):  # noqa: B008
            self.flag = flag
            self.array = array

    assert "flag=True" in repr(Odd(True))
    assert "array=" in repr(Odd(array=np.ones(2)))
    assert "flag" not in repr(Odd())


@pytest.mark.parametrize("of", [lambda layer: layer, nnx.state])
def test_trees_are_folded_and_have_shapes(of):
    html = of(Layer())._repr_html_()
    assert html.count("<details open>") == 1
    assert html.count("<details>") >= 2
    text = text_of(html)
    assert "kernel|: Param float32[3, 2] 24 B" in text
    assert "unit|: &#x27;volt&#x27;" in text
    assert "features" not in text


def test_markup_in_values_is_text():
    html = Layer(note="<b>bold</b>")._repr_html_()
    assert "&lt;b&gt;bold" in html
    assert "<b>bold" not in html


def test_linen_modules_variables_and_boxes():
    assert "features|: 3" in text_of(Dense(3)._repr_html_())
    box = linen.Partitioned(jnp.ones((2, 3)), ("embed", None))
    text = text_of(as_html({"params": {"kernel": box, "rest": [jnp.ones(2, jnp.bfloat16)]}}))
    assert "params|: dict |2 arrays, 8 numbers, 28 B|" in text
    assert "kernel|: Partitioned((&#x27;embed&#x27;, None)) float32[2, 3] 24 B" in text
    assert "0|: bfloat16[2] 4 B" in text


def test_layouts_and_what_has_no_values():
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    layout = NamedSharding(mesh, PartitionSpec("data", None))
    placed = jax.device_put(jnp.ones((2, 2)), layout)
    assert "float32[2, 2] 16 B P(&#x27;data&#x27;, None) on 1 device" in as_html([placed])
    assert "int8[5] 5 B" in as_html(jax.ShapeDtypeStruct((5,), jnp.int8))
    abstract = jax.sharding.AbstractMesh((16,), ("data",))
    shape = jax.ShapeDtypeStruct(
        (32,), jnp.int8, sharding=NamedSharding(abstract, PartitionSpec("data"))
    )
    assert "on 16 devices" in as_html(shape)
    seen = []
    jax.make_jaxpr(lambda x: seen.append(as_html(nnx.Param(x))))(1.0)
    assert "traced" in seen[0]


def test_a_circle_and_a_crowd_come_to_an_end():
    circle = nnx.Dict()
    circle.own = nnx.data(circle)
    assert "own|: Dict(...)" in text_of(as_html(circle))
    assert "and 100 more" in as_html(list(range(300)))


def test_display_without_treescope_shows_a_tree(monkeypatch):
    shown = []
    notebook = types.ModuleType("IPython")
    notebook.get_ipython = object
    notebook.display = types.SimpleNamespace(display=shown.append, HTML=lambda text: text)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "treescope", None)
    nnx.display({"a": 1})
    (html,) = shown
    assert "<b>a</b>: 1" in html
