"""A stateful GPT learns to write Python's reference manual, is saved, and resumes training.

    python docs/examples/nnx_char_gpt.py

The text is the one of char_transformer.py, in characters. In `linnet.nnx` the model holds its
parameters, its random streams and, while it generates, its caches of keys and values: the prompt is
read in one call, and each character after it takes one step of length 1. Orbax saves all that
training needs; another process resumes training, and its next losses are identical to the last bit,
Dropout included. The model stays in the folder, where nnx_lora.py finds it. The final figure is the
number of bits that the model needs per held-out character. The program needs linnet, optax,
matplotlib and orbax-checkpoint.

Shapes: B batch, T time (characters), W width, V characters of the vocabulary.
"""

import signal

if __name__ == "__main__":  # from the first import on, Ctrl-C ends the program without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import json
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.style
import numpy as np
import optax
import orbax.checkpoint as ocp
from char_transformer import Point, Text, bits, compressed_bits, draw_text, load_text, windows
from matplotlib.figure import Figure
from program import BLUE, GRAY, ORANGE, read_options, replacing, show_progress, stop_on_ctrl_c, tidy

from linnet import nnx

Dense = nnx.Linear | nnx.LoRA  # nnx_lora.py replaces some layers with nnx.LoRA
PROMPT = "The for statement"


class Settings(NamedTuple):
    """The settings of the model and its training; the same in every process that resumes."""

    vocabulary: int
    layers: int
    heads: int
    width: int
    context: int
    batch: int
    steps: int
    seed: int


# The model --------------------------------------------------------------------------------------


class Block(nnx.Module):
    """Causal attention, then two dense layers; each adds to its input."""

    def __init__(self, heads: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.dense_norm = nnx.LayerNorm(width, rngs=rngs)
        self.up: Dense = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down: Dense = nnx.Linear(4 * width, width, rngs=rngs)
        self.dropout = nnx.Dropout(0.05, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.dropout(self.attention(self.norm(x), is_causal=True))  # [B, T, W]
        y = nnx.gelu(self.up(self.dense_norm(x)))  # [B, T, 4W]
        return x + self.dropout(self.down(y))


class GPT(nnx.Module):
    """Predicts each next character from at most `context` before it."""

    def __init__(
        self, vocabulary: int, layers: int, heads: int, width: int, context: int, *, rngs: nnx.Rngs
    ) -> None:
        self.context = context
        self.characters = nnx.Embed(vocabulary, width, rngs=rngs)
        self.positions = nnx.Embed(context, width, rngs=rngs)
        self.blocks = [Block(heads, width, rngs=rngs) for _ in range(layers)]
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.logits: Dense = nnx.Linear(width, vocabulary, rngs=rngs)

    def __call__(self, tokens: jax.Array | np.ndarray) -> jax.Array:
        """Logits [B, T, V] for `tokens` [B, T], which follow earlier ones if there is a cache."""
        read = self.blocks[0].attention.cache_index  # how many tokens so far, with a cache
        first = 0 if read is None else read.value
        positions = first + jnp.arange(tokens.shape[1])  # [T]
        x = self.characters(jnp.asarray(tokens)) + self.positions(positions)  # [B, T, W]
        for block in self.blocks:
            x = block(x)
        return self.logits(self.norm(x))

    def with_cache(self, batch: int) -> "GPT":
        """A model that shares the parameters, keeps what it has read, and drops nothing."""
        writer = nnx.view(self, decode=True, deterministic=True)
        for block in writer.blocks:
            attention = block.attention
            attention.init_cache((batch, self.context, attention.in_features))
        return writer


# Training ---------------------------------------------------------------------------------------


def make(settings: Settings) -> tuple[GPT, nnx.Optimizer]:
    """A new model and its optimizer, before the first step."""
    model = GPT(*settings[:5], rngs=nnx.Rngs(settings.seed))
    steps = settings.steps
    # Not down to 0, so that a resumed run still learns.
    rate = optax.warmup_cosine_decay_schedule(0.0, 3e-3, min(100, steps // 10), steps, 1e-4)
    adam = optax.adamw(rate, b2=0.99, weight_decay=0.1)
    clipped = optax.chain(optax.clip_by_global_norm(1.0), adam)
    return model, nnx.Optimizer(model, clipped, wrt=nnx.Param)


def batch_at(tokens: np.ndarray, settings: Settings, step: int) -> np.ndarray:
    """The passages of one step, [B, T + 1]; the step's number decides which, in any process."""
    rng = np.random.default_rng((settings.seed, step))
    starts = rng.integers(0, len(tokens) - settings.context, settings.batch)
    return tokens[starts[:, None] + np.arange(settings.context + 1)]


def loss_fn(model: GPT, batch: np.ndarray) -> jax.Array:
    """Bits per character, except for the first of each passage."""
    return bits(model(batch[:, :-1]), batch[:, 1:]).mean()


@nnx.jit
def train_step(model: GPT, optimizer: nnx.Optimizer, batch: np.ndarray) -> jax.Array:
    """One gradient step, in place; returns the bits per character."""
    loss, grads = nnx.value_and_grad(loss_fn)(model, batch)
    optimizer.update(model, grads)
    return loss


@nnx.jit
def surprise(model: GPT, passages: np.ndarray) -> jax.Array:
    """Bits for each character of `passages` [B, T] except the first: [B, T - 1]."""
    return bits(model(passages[:, :-1]), passages[:, 1:])


def train(model: GPT, optimizer: nnx.Optimizer, text: Text, settings: Settings) -> list[Point]:
    """Trains until the last step, or until Ctrl-C; returns the learning curve."""
    held_out = windows(text.held_out, settings.context + 1)
    reader = nnx.view(model, deterministic=True)  # the same parameters, without Dropout
    steps = settings.steps
    curve: list[Point] = []
    recent: list[float] = []
    with stop_on_ctrl_c() as stop:
        for step in range(1, steps + 1):
            loss = train_step(model, optimizer, batch_at(text.train, settings, step))
            recent.append(float(loss))
            ends = step % max(1, steps // 20) == 0 or step == steps or stop.is_set()
            if ends:
                held = float(surprise(reader, held_out).mean())
                curve.append(Point(step, float(np.mean(recent)), held))
                recent.clear()
            if curve:
                progress = f"{curve[-1].train:.3f} bits  held out {curve[-1].held_out:.3f}"
                show_progress(step, steps, progress, keep=ends)
            if stop.is_set():
                break
    return curve


# The checkpoint ---------------------------------------------------------------------------------


def save(folder: Path, model: GPT, optimizer: nnx.Optimizer, settings: Settings) -> None:
    """Saves what training needs to resume, and replaces the previous checkpoint."""
    shutil.rmtree(folder, ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "state", nnx.state((model, optimizer)))
    (folder / "settings.json").write_text(json.dumps(settings._asdict()), "utf-8")


def load(folder: Path) -> tuple[GPT, nnx.Optimizer, Settings]:
    """The saved values in the structure that `make` would return; nothing is drawn."""
    settings = Settings(**json.loads((folder / "settings.json").read_text("utf-8")))
    graphdef, expected = nnx.split(nnx.eval_shape(lambda: make(settings)))
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(folder / "state", expected)
    model, optimizer = nnx.merge(graphdef, restored)
    return model, optimizer, settings


def next_losses(
    model: GPT, optimizer: nnx.Optimizer, text: Text, settings: Settings
) -> list[float]:
    """Trains for three more steps; returns their losses."""
    done = int(optimizer.step.value)
    return [
        float(train_step(model, optimizer, batch_at(text.train, settings, done + i)))
        for i in (1, 2, 3)
    ]


RESUMING = """
import json, sys
from pathlib import Path
from nnx_char_gpt import load, load_text, next_losses
model, optimizer, settings = load(Path(sys.argv[1]))
print(json.dumps(next_losses(model, optimizer, load_text(), settings)))
"""


def losses_elsewhere(folder: Path) -> list[float]:
    """The losses of a new process that gets nothing but the checkpoint."""
    result = subprocess.run(
        [sys.executable, "-c", RESUMING, str(folder)],
        check=True,
        cwd=Path(__file__).resolve().parent,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    losses: list[float] = json.loads(result.stdout)
    return losses


# Writing ----------------------------------------------------------------------------------------


@nnx.jit
def read_and_choose(
    writer: GPT, tokens: jax.Array | np.ndarray, rngs: nnx.Rngs, temperature: float
) -> jax.Array:
    """Reads `tokens` [B, T], and draws the next token of each row, [B, 1]."""
    logits = writer(tokens)[:, -1] / temperature  # [B, V]
    return rngs.categorical(logits)[:, None]


def write(model: GPT, prompts: np.ndarray, seed: int, temperature: float = 0.7) -> np.ndarray:
    """Continues each of `prompts` [B, T] until the context is full."""
    count, length = prompts.shape
    writer, rngs = model.with_cache(count), nnx.Rngs(seed)
    tokens = read_and_choose(writer, jnp.asarray(prompts), rngs, temperature)
    written = [tokens]
    for _ in range(length, model.context):
        tokens = read_and_choose(writer, tokens, rngs, temperature)
        written.append(tokens)
    return np.concatenate(written, axis=1)


@nnx.jit
def read(model: GPT, tokens: np.ndarray) -> jax.Array:
    """The logits; a cache changes in place."""
    return model(tokens)


def cache_error(model: GPT, tokens: np.ndarray) -> float:
    """The largest difference between logits with a cache, piece by piece, and without one."""
    expected = read(nnx.view(model, deterministic=True), tokens[None])
    writer = model.with_cache(1)
    ends = [0, len(tokens) - 2, len(tokens) - 1, len(tokens)]
    pieces = [read(writer, tokens[None, a:b]) for a, b in pairwise(ends)]
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
        for field, color, label in (
            ("train", ORANGE, "training, with Dropout"),
            ("held_out", BLUE, "held out"),
        ):
            values = [getattr(point, field) for point in curve]
            axes.plot(steps, values, "o-", ms=3, color=color, label=label)
        axes.axhline(compressed, color=GRAY, ls="--", lw=1, label="LZMA, held out")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        tidy(axes, "Bits per character", "step")
        axes.legend(frameon=False)
        above, below = right.subplots(2, 1)
        draw_text(above, "Held-out text, the darker the more surprising", *passage)
        title = f"Written with the cache, three times after “{PROMPT}”"
        draw_text(below, title, "\n\n".join(written))
        with replacing(path) as part:
            figure.savefig(part, bbox_inches="tight", pad_inches=0.2)


# The program ------------------------------------------------------------------------------------


def settings_of(tiny: bool, vocabulary: int, seed: int, steps: int | None = None) -> Settings:
    """The sizes of the full model, or of the tiny one."""
    if tiny:
        return Settings(vocabulary, 1, 2, 16, 64, batch=4, steps=steps or 20, seed=seed)
    return Settings(vocabulary, 3, 4, 128, 128, batch=16, steps=steps or 1000, seed=seed)


def checkpoint_of(options: Any) -> Path:
    """The folder in which the model is kept."""
    folder: Path = options.out / ("nnx_char_gpt_tiny" if options.tiny else "nnx_char_gpt")
    return folder


def main() -> int:
    """Trains or resumes, and generates; returns the exit status, 130 after Ctrl-C, as in shells."""
    options = read_options(__doc__.partition("\n")[0], steps=1000)
    text = load_text()
    settings = settings_of(options.tiny, len(text.characters), options.seed, options.steps)
    model, optimizer = make(settings)
    print(nnx.tabulate(model, jnp.zeros((1, settings.context), jnp.int32), depth=2))
    print(
        f"{len(text.train):,} characters to learn from, {len(text.held_out):,} held out, "
        f"{len(text.characters)} different ones"
    )

    start = time.perf_counter()
    curve = train(model, optimizer, text, settings)
    print(f"Trained for {time.perf_counter() - start:.0f} s, compilation included.")
    if stopped := curve[-1].step < settings.steps:
        print(f"Stopped after step {curve[-1].step} of {settings.steps}, writing partial results.")

    passages = windows(text.held_out, settings.context + 1)
    print(f"With the cache, logits differ by {cache_error(model, passages[0, :-1]):.1e}.")
    start = time.perf_counter()
    tokens = write(model, np.stack([text.encode(PROMPT)] * 3), settings.seed)
    written = [PROMPT + text.decode(row) for row in tokens]
    seconds = time.perf_counter() - start
    print(f"Wrote {tokens.size} characters in {seconds:.1f} s, compilation included:\n")
    print("\n\n".join(written), end="\n\n")

    compressed = compressed_bits(text)
    passage = np.concatenate(passages[:8, 1:])
    shades = np.concatenate(np.asarray(surprise(nnx.view(model, deterministic=True), passages[:8])))
    picture = options.out / "nnx_char_gpt.png"
    draw(picture, curve, compressed, (text.decode(passage), shades), written)

    checkpoint = checkpoint_of(options)
    save(checkpoint, model, optimizer, settings)
    here = next_losses(model, optimizer, text, settings)
    elsewhere = losses_elsewhere(checkpoint)
    assert here == elsewhere, f"losses when resumed {elsewhere}, and when continued here {here}"
    print(f"saved      {checkpoint}")
    print(f"next here  {' '.join(f'{loss:.9f}' for loss in here)}, the losses of three more steps")
    print(f"resumed    {' '.join(f'{loss:.9f}' for loss in elsewhere)}, in a new process: the same")
    print(f"picture    {picture}")
    print(f"held out   {curve[-1].held_out:.3f} bits per character, LZMA {compressed:.3f}")
    return 130 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
