"""Low-rank adapters teach the GPT from nnx_char_gpt.py to write Python instead of its manual.

    python docs/examples/nnx_char_gpt.py
    python docs/examples/nnx_lora.py

Each dense layer gets a low-rank adapter (LoRA, arXiv:2106.09685): an `nnx.LoRA` around the existing
layer. With `nnx.DiffState(0, nnx.LoRAParam)`, gradients are computed for the adapters only; with
`wrt=nnx.LoRAParam`, the optimizer changes only these. The program checks that the model's own
parameters stay the same, bit for bit. The new text is the source of the standard library's decimal
arithmetic, 229,000 characters. The final figures are the bits per held-out character of both texts,
before and after. If nnx_char_gpt.py has not saved a model, its training is done first.

Shapes: B batch, T time (characters), W width, V characters of the vocabulary.
"""

import signal

if __name__ == "__main__":  # from the first import on, Ctrl-C ends the program without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import _pydecimal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import matplotlib.style
import numpy as np
import optax
from char_transformer import Text, draw_text, load_text, windows
from matplotlib.figure import Figure
from nnx_char_gpt import (
    GPT,
    Dense,
    Settings,
    batch_at,
    checkpoint_of,
    load,
    loss_fn,
    make,
    save,
    settings_of,
    surprise,
    train,
    write,
)
from program import BLUE, ORANGE, read_options, replacing, show_progress, stop_on_ctrl_c, tidy

from linnet import nnx

PROMPT = "    def __"
BASE = nnx.All(nnx.Param, nnx.Not(nnx.LoRAParam))  # an adapter's parameters are Params as well


# The adapters -----------------------------------------------------------------------------------


def add_adapters(model: GPT, rank: int, rngs: nnx.Rngs) -> None:
    """Puts an adapter around each dense layer. Untrained adapters add nothing."""

    def around(layer: Dense) -> nnx.LoRA:
        return nnx.LoRA(layer.in_features, rank, layer.out_features, base_module=layer, rngs=rngs)

    for block in model.blocks:
        block.up, block.down = around(block.up), around(block.down)
    model.logits = around(model.logits)


def values(model: GPT, which: Any) -> dict[tuple[Any, ...], np.ndarray]:
    """The variables that a filter selects, as a dictionary from path to value."""
    found = nnx.to_flat_state(nnx.state(model, which))
    return {path: np.asarray(variable.value) for path, variable in found}


# The texts --------------------------------------------------------------------------------------


def load_code(manual: Text) -> Text:
    """The new text in the manual's characters; every twentieth piece is held out.

    The end of the text consists of tables and patterns, which would not be representative.
    """
    source = Path(_pydecimal.__file__).read_text("utf-8")
    number = {c: i for i, c in enumerate(manual.characters)}
    tokens = np.array([number[c] for c in source if c in number], np.int32)
    held_out = np.arange(len(tokens)) // 2000 % 20 == 10
    return Text(manual.characters, tokens[~held_out], tokens[held_out])


# Training ---------------------------------------------------------------------------------------


@nnx.jit
def adapter_step(model: GPT, optimizer: nnx.Optimizer, batch: np.ndarray) -> jax.Array:
    """One gradient step for the adapters; returns the bits per character."""
    of_adapters = nnx.DiffState(0, nnx.LoRAParam)
    loss, grads = nnx.value_and_grad(loss_fn, argnums=of_adapters)(model, batch)
    optimizer.update(model, grads)
    return loss


class Point(NamedTuple):
    """A point on the learning curves, in bits per held-out character."""

    step: int
    train: float
    code: float
    manual: float


def fine_tune(model: GPT, code: Text, manual: Text, settings: Settings, steps: int) -> list[Point]:
    """Trains the adapters for `steps` steps, or until Ctrl-C; the curve starts before training."""
    rate = optax.cosine_onecycle_schedule(steps, 1e-2)
    optimizer = nnx.Optimizer(model, optax.adam(rate, b2=0.99), wrt=nnx.LoRAParam)
    reader = nnx.view(model, deterministic=True)  # the same parameters, without Dropout
    passages = [windows(text.held_out, settings.context + 1) for text in (code, manual)]
    measured = [float(surprise(reader, held_out).mean()) for held_out in passages]
    curve = [Point(0, measured[0], *measured)]
    recent: list[float] = []
    with stop_on_ctrl_c() as stop:
        for step in range(1, steps + 1):
            recent.append(
                float(adapter_step(model, optimizer, batch_at(code.train, settings, step)))
            )
            ends = step % max(1, steps // 20) == 0 or step == steps or stop.is_set()
            if ends:
                measured = [float(surprise(reader, held_out).mean()) for held_out in passages]
                curve.append(Point(step, float(np.mean(recent)), *measured))
                recent.clear()
            if len(curve) > 1:
                last = curve[-1]
                text = f"{last.train:.3f} bits  held out {last.code:.3f}, manual {last.manual:.3f}"
                show_progress(step, steps, text, keep=ends)
            if stop.is_set():
                break
    return curve


# The picture ------------------------------------------------------------------------------------


def draw(path: Path, curve: list[Point], before: list[str], after: list[str]) -> None:
    """The learning curves of both texts, and text generated before and after."""
    with matplotlib.style.context("default"):
        # A `Figure` without pyplot opens no window and needs no display.
        figure = Figure(figsize=(11, 7.5), dpi=150, layout="constrained")
        ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(4, 5))
        axes = left.subplots()
        steps = [point.step for point in curve]
        for field, color, label in (
            ("code", ORANGE, "decimal arithmetic, which is learned"),
            ("manual", BLUE, "the manual, which is not seen again"),
        ):
            values = [getattr(point, field) for point in curve]
            axes.plot(steps, values, "o-", ms=3, color=color, label=label)
            axes.annotate(
                f"{values[-1]:.2f}",
                (steps[-1], values[-1]),
                (6, 0),
                textcoords="offset points",
                va="center",
                color=color,
            )
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        tidy(axes, "Bits per held-out character", "step of the adapters")
        axes.legend(frameon=False, loc="lower right")
        above, below = right.subplots(2, 1)
        draw_text(above, f"Before: written after “{PROMPT.strip()}”", "\n\n".join(before))
        draw_text(below, "After, with the adapters", "\n\n".join(after))
        with replacing(path) as part:
            figure.savefig(part, bbox_inches="tight", pad_inches=0.2)


# The program ------------------------------------------------------------------------------------


def base_model(folder: Path, wanted: Settings, manual: Text) -> tuple[GPT, Settings]:
    """The model that nnx_char_gpt.py saved in the folder, or a newly trained one."""
    if (folder / "settings.json").exists():
        model, _, settings = load(folder)
        if settings[:5] == wanted[:5]:  # of the same sizes
            return model, settings
    print(f"No such model in {folder}: training one as nnx_char_gpt.py does.")
    model, optimizer = make(wanted)
    curve = train(model, optimizer, manual, wanted)
    if curve[-1].step < wanted.steps:
        sys.exit(130)
    save(folder, model, optimizer, wanted)
    return model, wanted


def main() -> int:
    """Adapts, measures, writes; returns the exit status, 130 after Ctrl-C, as in shells."""
    options = read_options(__doc__.partition("\n")[0], steps=400)
    manual = load_text()
    code = load_code(manual)
    wanted = settings_of(options.tiny, len(manual.characters), options.seed)
    model, settings = base_model(checkpoint_of(options), wanted, manual)
    before = values(model, BASE)

    prompts = np.stack([code.encode(PROMPT)] * 3)

    def written() -> list[str]:
        return [PROMPT + code.decode(row) for row in write(model, prompts, options.seed)]

    wrote_before = written()
    add_adapters(model, 2 if options.tiny else 8, nnx.Rngs(options.seed))
    adapters = values(model, nnx.LoRAParam)
    small, large = (sum(x.size for x in some.values()) for some in (adapters, before))
    print(f"{len(adapters)} adapter parameters, {small:,} numbers; the model has {large:,}")
    print(f"{len(code.train):,} characters to learn from, {len(code.held_out):,} held out")

    start = time.perf_counter()
    steps = options.steps or (20 if options.tiny else 400)
    curve = fine_tune(model, code, manual, settings, steps)
    print(f"Trained for {time.perf_counter() - start:.0f} s, compilation included.")
    if stopped := curve[-1].step < steps:
        print(f"Stopped after step {curve[-1].step} of {steps}, writing partial results.")

    wrote_after = written()
    print("\n\n".join(wrote_after), end="\n\n")

    # An adapted layer is now the `base_module` of its adapter.
    after = {
        tuple(part for part in path if part != "base_module"): x
        for path, x in values(model, BASE).items()
    }
    assert before.keys() == after.keys()
    moved = [path for path, x in before.items() if not np.array_equal(x, after[path])]
    assert not moved, f"moved: {moved}"
    learned = values(model, nnx.LoRAParam)
    changed = sum(not np.array_equal(x, learned[path]) for path, x in adapters.items())
    print(f"Changed: {len(moved)} of the model's {len(before)} parameters, ", end="")
    print(f"{changed} of the adapters' {len(adapters)}.")

    picture = options.out / "nnx_lora.png"
    draw(picture, curve, wrote_before, wrote_after)
    first, last = curve[0], curve[-1]
    print(f"picture    {picture}")
    print(
        f"bits       decimal arithmetic {first.code:.3f} before, {last.code:.3f} after; "
        f"manual {first.manual:.3f} before, {last.manual:.3f} after"
    )
    return 130 if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
