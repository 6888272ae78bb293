"""A ResNet or RegNet from a Hugging Face checkpoint: loaded, checked, and adapted to new images.

    python docs/examples/resnet.py [CHECKPOINT]

CHECKPOINT is a folder with config.json and model.safetensors, of a network with basic blocks (such
as ResNet-18) or bottlenecks (ResNet-50), or a RegNet X or Y, whose convolutions are grouped. If
it is omitted, a tiny ResNet with random weights is used.
The running statistics of its BatchNorm layers are loaded, too, and are used in evaluation.

The program then replaces the last layer, and trains it alone to classify images by the direction of
their stripes; the rest is frozen, including its statistics. If CHECKPOINT has an
expected.npz, outputs are compared with PyTorch's. The program needs linnet and optax.

Shapes: B batch, H height, W width, C channels: last here, first in PyTorch.
"""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from configs import ACTIVATIONS, Config
from program import read_options, show_progress, stop_on_ctrl_c
from reports import expected_of, print_difference

from linnet import nnx
from linnet.weights import from_torch, load, to_torch

NAMES = {  # PyTorch's names, and ours
    **dict.fromkeys(("resnet.embedder.embedder", "regnet.embedder.embedder"), "stem"),
    "resnet.encoder.stages.{i}.layers": "stages/{i}",
    "regnet.encoder.stages.{i}.layers": "stages/{i}",
    ".layer": "layers",
    ".convolution": "conv",
    ".normalization": "norm",
    ".attention.0": "reduce",
    ".attention.2": "expand",
    "classifier.1": "head",
}

# The model ---------------------------------------------------------------------------------------


class Unit(nnx.Module):
    """A convolution without a bias, its normalization, and optionally an activation."""

    def __init__(
        self,
        into: int,
        out: int,
        size: int,
        stride: int = 1,
        act: Any = None,
        groups: int = 1,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        options: dict[str, Any] = {"padding": size // 2, "use_bias": False, "rngs": rngs}
        options["feature_group_count"] = groups
        self.conv = nnx.Conv(into, out, (size, size), strides=stride, **options)
        self.norm = nnx.BatchNorm(out, epsilon=1e-5, momentum=0.9, rngs=rngs)
        self.act = act

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, into] to [B, H / stride, W / stride, out]."""
        x = self.norm(self.conv(x))
        return x if self.act is None else self.act(x)


class SqueezeExcite(nnx.Module):
    """A factor for each channel, from the means of all channels (arXiv:1709.01507)."""

    def __init__(self, channels: int, inner: int, *, rngs: nnx.Rngs) -> None:
        self.reduce = nnx.Conv(channels, inner, (1, 1), rngs=rngs)
        self.expand = nnx.Conv(inner, channels, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C], as given."""
        means = x.mean((1, 2), keepdims=True)
        return x * nnx.sigmoid(self.expand(nnx.relu(self.reduce(means))))


class Block(nnx.Module):
    """Two convolutions, or three with fewer channels within, added to the identity."""

    def __init__(self, config: Config, into: int, out: int, stride: int, *, rngs: nnx.Rngs) -> None:
        self.act = config.one_of("hidden_act", ACTIVATIONS)
        unit = partial(Unit, rngs=rngs)
        grouped = config["model_type"] == "regnet"  # all channels within, in groups
        kinds = ["x", "y"] if grouped else ["bottleneck", "basic"]
        kind = config.one_of("layer_type", kinds)
        if grouped:
            groups = max(1, out // config["groups_width"])
            units: list[Any] = [unit(into, out, 1, act=self.act)]
            units.append(unit(out, out, 3, stride, self.act, groups))
            units += [SqueezeExcite(out, round(into / 4), rngs=rngs)] if kind == "y" else []
            self.layers: nnx.List[Any] = nnx.List([*units, unit(out, out, 1)])
        elif kind == "bottleneck":
            inner = out // 4
            early = config.get("downsample_in_bottleneck", False)  # as in the paper, not in PyTorch
            first, second = (stride, 1) if early else (1, stride)
            self.layers = nnx.List(
                [
                    unit(into, inner, 1, first, nnx.relu),
                    unit(inner, inner, 3, second, nnx.relu),
                    unit(inner, out, 1),
                ]
            )
        else:
            self.layers = nnx.List([unit(into, out, 3, stride, nnx.relu), unit(out, out, 3)])
        changes = into != out or stride > 1
        self.shortcut = unit(into, out, 1, stride) if changes else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, into] to [B, H / stride, W / stride, out]."""
        y = x
        for unit in self.layers:
            y = unit(y)
        return self.act(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """Classifies images: a ResNet (arXiv:1512.03385) or RegNet (arXiv:2003.13678)."""

    def __init__(self, config: Config, *, rngs: nnx.Rngs) -> None:
        into = config["embedding_size"]
        act = config.one_of("hidden_act", ACTIVATIONS)
        self.pools = config["model_type"] == "resnet"
        size = 7 if self.pools else 3
        self.stem = Unit(config["num_channels"], into, size, 2, act, rngs=rngs)
        self.stages: nnx.List[Any] = nnx.List()
        halves = config.get("downsample_in_first_stage", not self.pools)
        for depth, out in zip(config["depths"], config["hidden_sizes"], strict=True):
            block = partial(Block, config, out=out, rngs=rngs)
            blocks = [block(into=into, stride=2 if halves else 1)]
            blocks += [block(into=out, stride=1) for _ in range(depth - 1)]
            self.stages.append(nnx.List(blocks))
            into, halves = out, True
        self.head = nnx.Linear(into, config.classes, rngs=rngs)

    def features(self, images: jax.Array) -> jax.Array:
        """The features [B, C] of images [B, H, W, C]."""
        x = self.stem(images)
        if self.pools:
            x = nnx.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return x.mean((1, 2))

    def __call__(self, images: jax.Array) -> jax.Array:
        """The logits [B, classes] of images [B, H, W, C]."""
        return self.head(self.features(images))


def load_model(folder: Path) -> ResNet:
    """The model in a folder, in evaluation mode: it uses the running statistics."""
    return filled(json.loads((folder / "config.json").read_text("utf-8")), load(folder))


def filled(config: Mapping[str, Any], tensors: Mapping[str, Any]) -> ResNet:
    """The model with these values, in evaluation mode."""
    known = Config(config, "resnet.py", ["resnet", "regnet"])
    model = nnx.eval_shape(lambda: ResNet(known, rngs=nnx.Rngs(0)))
    known.check()
    model.eval()
    return from_torch(model, tensors, rename=NAMES)


# Another task ------------------------------------------------------------------------------------


def striped(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [B, 32, 32, 3] with stripes in one of four directions, and the directions [B]."""
    direction = rng.integers(0, 4, count)
    angle, phase = direction * np.pi / 4, rng.uniform(0, 2 * np.pi, count)
    y, x = np.mgrid[:32, :32]
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    image = np.sin(along + phase[:, None, None])[..., None] + rng.normal(0, 0.5, (count, 32, 32, 3))
    return image.astype(np.float32), direction


@nnx.jit
def train_step(
    model: ResNet, optimizer: nnx.Optimizer, images: np.ndarray, labels: np.ndarray
) -> jax.Array:
    """One gradient step for the head, in place; returns the loss."""

    def loss_fn(model: ResNet) -> jax.Array:
        logits = model(jnp.asarray(images))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    of_head = nnx.DiffState(0, nnx.PathContains("head"))
    loss, grads = nnx.value_and_grad(loss_fn, argnums=of_head)(model)
    optimizer.update(model, grads)
    return loss


def main() -> int:
    """Loads, checks and trains the model; returns the exit status, 130 after Ctrl-C."""
    options = read_options(__doc__.partition("\n")[0], steps=200, checkpoint="resnet")
    folder = options.checkpoint
    model = load_model(folder)
    count, kept = (
        sum(x.size for x in jax.tree.leaves(nnx.state(model, kind)))
        for kind in (nnx.Param, nnx.BatchStat)
    )
    print(f"loaded     {folder.name}, {count:,} parameters and {kept:,} running statistics")
    if torch := expected_of(folder):
        images = np.moveaxis(torch["in.pixel_values"], 1, -1)
        print_difference(model(jnp.asarray(images)), torch["out.logits"])

    tensors = load(folder)
    rngs, rng = nnx.Rngs(options.seed), np.random.default_rng(options.seed)
    old_head, model.head = model.head, nnx.Linear(model.head.in_features, 4, rngs=rngs)
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.PathContains("head"))
    steps = options.steps or (20 if options.tiny else 200)
    test_images, test_labels = striped(rng, 200)
    done = 0
    with stop_on_ctrl_c() as stop:
        while done < steps and not stop.is_set():
            loss = float(train_step(model, optimizer, *striped(rng, 32)))
            done += 1
            show_progress(done, steps, f"loss {loss:.4f}", keep=done % max(1, steps // 20) == 0)
    right = int((nnx.jit(lambda m, x: m(x))(model, test_images).argmax(-1) == test_labels).sum())
    model.head = old_head
    back = to_torch(model, like=tensors, rename=NAMES)
    same = sum(x.tobytes() == np.asarray(tensors[name]).tobytes() for name, x in back.items())
    print(f"frozen     {same} of {len(tensors)} tensors are as they were, with the old head")
    print(f"accuracy   {right / 200:.4f}: {right} of 200 new images, one in four by chance")
    return 130 if done < steps else 0


if __name__ == "__main__":
    sys.exit(main())
