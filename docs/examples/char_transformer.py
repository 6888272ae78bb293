"""A small transformer learns to write Python's reference manual, one character at a time.

    python docs/examples/char_transformer.py

The text is the one behind Python's `help()`, in the standard library: 370,000 characters. The last
twentieth of it is held out, and the final figure is how many bits per character the model needs for
that part, next to what a good compressor needs. Then the model continues from three words, with a
cache of keys and values: the words go in at once, and each further character costs one step of
length 1. The program needs linnet, optax and matplotlib.

Shapes: B batch, T time (characters), W width, V characters of the vocabulary.
"""

import signal

if __name__ == "__main__":  # from the first import on, Ctrl-C ends the program without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import lzma
import math
import sys
import time
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.style
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from program import BLUE, GRAY, ORANGE, read_options, replacing, show_progress, stop_on_ctrl_c, tidy

import linnet.linen as nn
from linnet import struct

Variables = dict[str, Any]
PROMPT = "The for statement"
FULL: dict[str, Any] = {"layers": 4, "heads": 4, "width": 128, "context": 128}
TINY: dict[str, Any] = {"layers": 1, "heads": 2, "width": 16, "context": 64}


# The model --------------------------------------------------------------------------------------


class Block(nn.Module):
    """Causal attention, then two dense layers; each adds to its input."""

    heads: int
    dropout: float
    decode: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = nn.LayerNorm()(x)  # [B, T, W]
        y = nn.MultiHeadAttention(self.heads, decode=self.decode)(y, is_causal=True)
        x = x + nn.Dropout(self.dropout, deterministic=not train)(y)
        y = nn.LayerNorm()(x)
        y = nn.gelu(nn.Dense(4 * x.shape[-1])(y))  # [B, T, 4W]
        y = nn.Dense(x.shape[-1])(y)  # [B, T, W]
        return x + nn.Dropout(self.dropout, deterministic=not train)(y)


class Transformer(nn.Module):
    """Predicts each next character from at most `context` before it.

    With `decode`, the keys and values of earlier calls are kept in the collection "cache".
    """

    vocabulary: int
    layers: int
    heads: int
    width: int
    context: int
    dropout: float = 0.05
    decode: bool = False

    @nn.compact
    def __call__(
        self, tokens: jax.Array, first: int | jax.Array = 0, train: bool = False
    ) -> jax.Array:
        """Logits [B, T, V] for `tokens` [B, T] at the positions `first`, `first` + 1 and so on."""
        embed = nn.Embed(self.vocabulary, self.width, name="characters")
        positions = first + jnp.arange(tokens.shape[1])  # [T]
        x = embed(tokens) * self.width**0.5 + waves(positions, self.width)  # [B, T, W]
        for _ in range(self.layers):
            x = Block(self.heads, self.dropout, self.decode)(x, train)  # [B, T, W]
        return embed.attend(nn.LayerNorm()(x))  # [B, T, V], by the same table as the input


def waves(positions: jax.Array, width: int) -> jax.Array:
    """Positions [T] as sines and cosines [T, W] of many wavelengths (arXiv:1706.03762, 3.5)."""
    frequencies = 10_000 ** -jnp.linspace(0, 1, width // 2, endpoint=False)  # [W / 2]
    angles = positions[:, None] * frequencies  # [T, W / 2]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


# The text ---------------------------------------------------------------------------------------


class Text(NamedTuple):
    """Training and held-out text, as numbers; `characters` converts them back."""

    characters: str
    train: np.ndarray
    held_out: np.ndarray

    def encode(self, text: str) -> np.ndarray:
        return np.array([self.characters.index(c) for c in text], np.int32)

    def decode(self, tokens: np.ndarray) -> str:
        return "".join(self.characters[token] for token in tokens)


def load_text() -> Text:
    """The manual without repetitions: chapters quote each other, which would give answers away."""
    paragraphs = dict.fromkeys("\n\n".join(topics.values()).split("\n\n"))
    text = "\n\n".join(paragraphs)
    characters = "".join(sorted(set(text)))
    number = {c: i for i, c in enumerate(characters)}
    tokens = np.array([number[c] for c in text], np.int32)
    split = text.index("\n\n", len(text) * 19 // 20) + 2  # where a paragraph begins
    return Text(characters, tokens[:split], tokens[split:])


def batch_of(tokens: np.ndarray, size: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Random passages, [size, length]."""
    starts = rng.integers(0, len(tokens) - length + 1, size)
    return tokens[starts[:, None] + np.arange(length)]


def windows(tokens: np.ndarray, length: int) -> np.ndarray:
    """A text as passages [N, length], each beginning with the last character of the one before.

    So each character except the first is predicted once, and the last few, which don't fill a
    passage, are not predicted.
    """
    count = (len(tokens) - 1) // (length - 1)
    return tokens[np.arange(count)[:, None] * (length - 1) + np.arange(length)]


def compressed_bits(text: Text) -> float:
    """Bits per held-out character for LZMA, which is given the training text first."""
    sizes = [
        len(lzma.compress(text.decode(tokens).encode(), preset=9 | lzma.PRESET_EXTREME))
        for tokens in (text.train, np.concatenate([text.train, text.held_out]))
    ]
    return 8 * (sizes[1] - sizes[0]) / len(text.held_out)


# Training ---------------------------------------------------------------------------------------


class TrainState(struct.PyTreeNode):
    """The state that a step changes, and the model and optimizer, which are constant."""

    params: Variables
    opt_state: optax.OptState
    model: Transformer = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)


def bits(logits: jax.Array, tokens: jax.Array | np.ndarray) -> jax.Array:
    """-log₂ of the probability given to each character of `tokens`, in the shape of `tokens`."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens) / math.log(2)


@jax.jit
def train_step(
    state: TrainState, batch: np.ndarray, key: jax.Array
) -> tuple[TrainState, jax.Array]:
    """One gradient step; returns the new state and the bits per character."""

    def loss_fn(params: Variables) -> jax.Array:
        logits = state.model.apply(
            {"params": params}, batch[:, :-1], train=True, rngs={"dropout": key}
        )
        return bits(logits, batch[:, 1:]).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    updates, opt_state = state.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state.replace(params=params, opt_state=opt_state), loss


@partial(jax.jit, static_argnums=0)
def surprise(model: Transformer, params: Variables, passages: np.ndarray) -> jax.Array:
    """Bits for each character of `passages` [B, T] except the first: [B, T - 1]."""
    return bits(model.apply({"params": params}, passages[:, :-1]), passages[:, 1:])


class Point(NamedTuple):
    """A point of the learning curve, in bits per character."""

    step: int
    train: float
    held_out: float


def train(
    model: Transformer, text: Text, steps: int, batch: int, seed: int
) -> tuple[Variables, list[Point]]:
    """Trains for `steps`, or until Ctrl-C; returns the parameters and the learning curve."""
    rng = np.random.default_rng(seed)
    init_key, dropout_key = jax.random.split(jax.random.key(seed))
    length = model.context + 1
    held_out = windows(text.held_out, length)
    params = model.init(init_key, held_out[:1, :-1])["params"]
    rate = optax.warmup_cosine_decay_schedule(0.0, 3e-3, min(100, steps // 10), steps)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(rate, b2=0.99, weight_decay=0.1)
    )
    state = TrainState(params, optimizer.init(params), model, optimizer)
    curve: list[Point] = []
    recent: list[float] = []
    with stop_on_ctrl_c() as stop:
        for step in range(1, steps + 1):
            key = jax.random.fold_in(dropout_key, step)
            state, loss = train_step(state, batch_of(text.train, batch, length, rng), key)
            recent.append(float(loss))
            ends = step % max(1, steps // 20) == 0 or step == steps or stop.is_set()
            if ends:
                held = float(surprise(model, state.params, held_out).mean())
                curve.append(Point(step, float(np.mean(recent)), held))
                recent.clear()
            if curve:
                progress = f"{curve[-1].train:.3f} bits  held out {curve[-1].held_out:.3f}"
                show_progress(step, steps, progress, keep=ends)
            if stop.is_set():
                break
    return state.params, curve


# Writing ----------------------------------------------------------------------------------------


def generate(
    model: Transformer,
    params: Variables,
    prompts: np.ndarray,
    key: jax.Array,
    temperature: float = 0.7,
) -> np.ndarray:
    """Continues each of `prompts` [B, T] until the context is full, in one compiled loop."""
    model = model.clone(decode=True)
    count, length = prompts.shape
    room = jnp.zeros((count, model.context), jnp.int32)  # the cache is as long as what `init` sees
    shapes = jax.eval_shape(model.init, key, room)["cache"]
    cache = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def next_logits(
        cache: Variables, tokens: jax.Array, first: int | jax.Array
    ) -> tuple[Variables, jax.Array]:
        """The cache with `tokens` [B, T], and the logits [B, V] of what follows them."""
        logits, updated = model.apply(
            {"params": params, "cache": cache}, tokens, first, mutable=["cache"]
        )
        return updated["cache"], logits[:, -1] / temperature

    def step(carry: Any, position: jax.Array) -> tuple[Any, jax.Array]:
        cache, logits = carry
        token = jax.random.categorical(jax.random.fold_in(key, position), logits)  # [B]
        return next_logits(cache, token[:, None], position), token

    @jax.jit
    def write() -> jax.Array:
        start = next_logits(cache, jnp.asarray(prompts), 0)
        _, tokens = jax.lax.scan(step, start, jnp.arange(length, model.context))  # [T, B]
        return tokens.T

    return np.asarray(write())


def cache_error(model: Transformer, params: Variables, tokens: np.ndarray) -> float:
    """The largest difference between logits with a cache, piece by piece, and without one."""
    expected = model.apply({"params": params}, tokens[None])
    model = model.clone(decode=True)
    cache = model.init(jax.random.key(0), tokens[None])["cache"]
    pieces, first = [], 0
    for length in (len(tokens) - 3, 1, 2):
        piece = tokens[None, first : first + length]
        logits, updated = model.apply(
            {"params": params, "cache": cache}, piece, first, mutable=["cache"]
        )
        cache, first = updated["cache"], first + length
        pieces.append(logits)
    return float(jnp.abs(jnp.concatenate(pieces, axis=1) - expected).max())


# The picture ------------------------------------------------------------------------------------


def draw(
    path: Path,
    curve: list[Point],
    compressed: float,
    passage: tuple[str, np.ndarray],
    written: list[str],
) -> None:
    """The learning curve, a held-out passage shaded by surprise, and generated text."""
    with matplotlib.style.context("default"):
        # A `Figure` without pyplot opens no window and needs no display.
        figure = Figure(figsize=(11, 7.5), dpi=150, layout="constrained")
        ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(4, 5))
        axes = left.subplots()
        steps = [point.step for point in curve]
        axes.plot(
            steps,
            [p.train for p in curve],
            "o-",
            color=ORANGE,
            ms=3,
            label="training, with Dropout",
        )
        axes.plot(steps, [p.held_out for p in curve], "o-", color=BLUE, ms=3, label="held out")
        axes.axhline(compressed, color=GRAY, ls="--", lw=1, label="LZMA, held out")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        tidy(axes, "Bits per character", "step")
        axes.legend(frameon=False)
        above, below = right.subplots(2, 1)
        draw_text(above, "Held-out text, the darker the more surprising", *passage)
        draw_text(below, f"Written by the model, four times after “{PROMPT}”", "\n\n".join(written))
        with replacing(path) as part:
            figure.savefig(part, bbox_inches="tight", pad_inches=0.2)


def draw_text(axes: Axes, title: str, text: str, shades: np.ndarray | None = None) -> None:
    """Monospaced text, each character on a shade of orange for its bits."""
    columns, rows = 74, 15
    grid = np.zeros((rows, columns))
    row = column = 0
    for i, character in enumerate(text):
        if character == "\n" or column == columns:
            row, column = row + 1, 0
        if row == rows:
            break
        if character != "\n":
            grid[row, column] = 0.0 if shades is None else shades[i]
            axes.text(column, row, character, family="monospace", size=7, ha="center", va="center")
            column += 1
    axes.imshow(grid, LinearSegmentedColormap.from_list("", ["white", ORANGE]), vmin=0, vmax=8)
    axes.set_aspect("auto")
    axes.set_title(title, loc="left", weight="bold")
    axes.set_axis_off()


# The program ------------------------------------------------------------------------------------


def main() -> int:
    """Trains and evaluates a model; returns the exit status, 130 after Ctrl-C, as in shells."""
    options = read_options(__doc__.partition("\n")[0], steps=1500)
    text = load_text()
    model = Transformer(len(text.characters), **(TINY if options.tiny else FULL))
    steps, batch = (options.steps or 20, 4) if options.tiny else (options.steps or 1500, 16)
    example = jnp.zeros((1, model.context), jnp.int32)
    print(model.tabulate(jax.random.key(0), example, depth=1))
    print(
        f"{len(text.train):,} characters to learn from, {len(text.held_out):,} held out, "
        f"{len(text.characters)} different ones"
    )

    start = time.perf_counter()
    params, curve = train(model, text, steps, batch, options.seed)
    print(f"Trained for {time.perf_counter() - start:.0f} s, compilation included.")
    if stopped := curve[-1].step < steps:
        print(f"Stopped after step {curve[-1].step} of {steps}, writing partial results.")

    passages = windows(text.held_out, model.context + 1)
    print(f"With the cache, logits differ by {cache_error(model, params, passages[0, :-1]):.1e}.")
    start = time.perf_counter()
    prompts = np.stack([text.encode(PROMPT)] * 4)
    tokens = generate(model, params, prompts, jax.random.key(options.seed))
    written = [PROMPT + text.decode(row) for row in tokens]
    seconds = time.perf_counter() - start
    print(f"Wrote {tokens.size} characters in {seconds:.1f} s, compilation included:\n")
    print("\n\n".join(written), end="\n\n")

    compressed = compressed_bits(text)
    passage = np.concatenate(passages[:8, 1:])
    shades = np.concatenate(np.asarray(surprise(model, params, passages[:8])))
    picture = options.out / "char_transformer.png"
    draw(picture, curve, compressed, (text.decode(passage), shades), written)
    print(f"picture    {picture}")
    print(f"held out   {curve[-1].held_out:.3f} bits per character, LZMA {compressed:.3f}")
    return 130 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
