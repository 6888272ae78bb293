r"""A transformer language model, trained by any number of processes, resumed by any other number.

On one machine, with all of its devices:

    python docs/examples/distributed_lm.py

Two processes on one machine, in two terminals, each with two devices that the CPU provides:

    export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=2
    python docs/examples/distributed_lm.py --model-parallel 2 --join 127.0.0.1:8476 2 0
    python docs/examples/distributed_lm.py --model-parallel 2 --join 127.0.0.1:8476 2 1

If a launcher starts the processes (SLURM, Open MPI, TPU pods; Kubernetes with jax[k8s]), pass
--launched: they find each other. This SLURM job goes back into the queue when it is preempted or
runs out of time:

    #!/bin/bash
    #SBATCH --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --time=8:00:00
    #SBATCH --requeue --signal=TERM@120
    srun python distributed_lm.py --launched --model-parallel 8 --out /shared/run \
        --layers 32 --width 4096 --heads 32 --context 4096 --batch 256 --accumulate 2 --steps 100000
    if [ $? -eq 143 ]; then scontrol requeue $SLURM_JOB_ID; fi

Rules for paths split parameters and moments over all devices (FSDP x tensor parallelism). Each
process reads its own part of a batch. Every --save-every steps, and when a process gets SIGTERM,
all processes write a checkpoint, each its own part; the same command resumes from it. With the same
devices, the losses are then the same bit for bit; with a different number of processes or devices,
they are equal up to rounding, since sums over devices are added in a different order. The text is
that of Python's `help()`, or the file given by --text. The program needs linnet, optax and
orbax-checkpoint.

Shapes: K parts of a batch, B batch, T time (bytes), W width, H heads, D features of a head, V 256.
"""

import argparse
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from linnet import nnx, sharding

BYTES = 256
RULES = [  # path of an array, and the axes of the mesh that each of its own axes is split over
    ("embed/embedding$", P("model", "data")),  # [V, W]
    ("(query|key|value)/kernel$", P(None, "data", "model")),  # [layers, W, H, D]
    ("out/kernel$", P(None, "model", None, "data")),  # [layers, H, D, W]
    ("(gate|up)/kernel$", P(None, "data", "model")),  # [layers, W, 4W]
    ("down/kernel$", P(None, "model", "data")),  # [layers, 4W, W]
    ("head/kernel$", P("data", "model")),  # [W, V]
    (..., P()),
]
STOPPED = 128 + signal.SIGTERM  # the exit status, by the convention of shells


@dataclass(frozen=True)
class Settings:
    """The settings of a run, which neither depend on its devices nor change when it is resumed."""

    layers: int = 4
    heads: int = 4
    width: int = 128
    context: int = 128
    batch: int = 32
    accumulate: int = 2
    steps: int = 600
    seed: int = 0
    dtype: str = "bfloat16"


TINY = Settings(layers=2, heads=4, width=16, context=32, batch=16, steps=20)


# The model --------------------------------------------------------------------------------------


class Block(nnx.Module):
    """Causal attention, then a gated feed-forward layer; both are residual."""

    def __init__(self, settings: Settings, batch: NamedSharding, *, rngs: nnx.Rngs) -> None:
        width = settings.width
        options: dict[str, Any] = {"dtype": settings.dtype, "rngs": rngs}
        self.batch = batch
        self.attention_norm = nnx.RMSNorm(width, **options)
        self.attention = nnx.MultiHeadAttention(
            settings.heads, width, use_bias=False, rotary=nnx.Rotary(), decode=False, **options
        )
        self.mlp_norm = nnx.RMSNorm(width, **options)
        self.mlp = nnx.GLU(width, 4 * width, **options)
        self.dropout = nnx.Dropout(0.05, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        # Features are split along the batch only, so XLA gathers a layer's parameters where they
        # are needed, instead of moving the features to the devices that hold parts of them.
        x = jax.lax.with_sharding_constraint(x, self.batch)  # [B, T, W]
        x = x + self.dropout(self.attention(self.attention_norm(x), is_causal=True))
        x = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return jax.lax.with_sharding_constraint(x, self.batch)


class Transformer(nnx.Module):
    """Predicts each next byte. Parameters are float32; products are computed in `dtype`."""

    def __init__(self, settings: Settings, mesh: Mesh, *, rngs: nnx.Rngs) -> None:
        width = settings.width
        options: dict[str, Any] = {"dtype": settings.dtype, "rngs": rngs}
        self.batch = NamedSharding(mesh, P("data"))
        self.embed = nnx.Embed(BYTES, width, **options)
        # One layer is compiled, and applied in a loop. Its backward pass recomputes it.
        self.blocks = nnx.Repeat(
            Block, settings.layers, settings, self.batch, rngs=rngs, remat="nothing"
        )
        self.norm = nnx.RMSNorm(width, **options)
        self.head = nnx.Linear(width, BYTES, use_bias=False, **options)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Logits [B, T, V] for `tokens` [B, T]."""
        x = jax.lax.with_sharding_constraint(self.embed(tokens), self.batch)
        return self.head(self.norm(self.blocks(x)))


def make(settings: Settings, mesh: Mesh) -> tuple[Transformer, nnx.Optimizer]:
    """A new model and its optimizer, the same in all processes."""
    model = Transformer(settings, mesh, rngs=nnx.Rngs(settings.seed))
    steps = settings.steps
    rate = optax.warmup_cosine_decay_schedule(0.0, 3e-3, min(100, steps // 10), steps, 3e-4)
    adam = optax.adamw(rate, b2=0.95, weight_decay=0.1)
    clipped = optax.chain(optax.clip_by_global_norm(1.0), adam)
    return model, nnx.Optimizer(model, clipped, wrt=nnx.Param)


# Training ---------------------------------------------------------------------------------------


def loss_fn(model: Transformer, tokens: jax.Array) -> jax.Array:
    """Bits per byte of `tokens` [B, T + 1], except for the first byte of each row."""
    logits = model(tokens[:, :-1]).astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
    return losses.mean() / np.log(2)


def train_step(model: Transformer, optimizer: nnx.Optimizer, tokens: jax.Array) -> jax.Array:
    """One step, in place: the gradients of the K parts of `tokens` [K, B, T + 1] are averaged."""

    def add(carry: Any, part: jax.Array) -> Any:
        model, total = carry
        loss, grads = nnx.value_and_grad(loss_fn)(model, part)
        return (model, jax.tree.map(jnp.add, total, nnx.pure(grads))), loss

    zeros = jax.tree.map(jnp.zeros_like, nnx.pure(nnx.state(model, nnx.Param)))
    scan = nnx.scan(add, in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
    (_, total), losses = scan((model, zeros), tokens)
    optimizer.update(model, jax.tree.map(lambda g: g / len(tokens), total))
    return losses.mean()


def passages(text: np.ndarray, starts: np.ndarray, length: int, layout: NamedSharding) -> jax.Array:
    """Passages of the text as one array [*starts, length] over all processes.

    Each process cuts out those that its devices hold. A data loader does the same if it can be
    asked for a part of a batch; if it only gives a process its own examples, use
    `jax.make_array_from_process_local_data(layout, examples)` instead.
    """

    def cut(index: Any) -> np.ndarray:
        *rows, columns = index
        offsets = np.arange(length)[columns]
        return text[starts[tuple(rows)][..., None] + offsets].astype(np.int32)

    return jax.make_array_from_callback((*starts.shape, length), layout, cut)


def batch_at(text: np.ndarray, settings: Settings, step: int, mesh: Mesh) -> jax.Array:
    """The batch of a step, [K, B / K, T + 1], which depends only on the number of the step."""
    rng = np.random.default_rng((settings.seed, step))
    starts = rng.integers(0, len(text) - settings.context, settings.batch)
    parts = starts.reshape(settings.accumulate, -1)
    return passages(text, parts, settings.context + 1, NamedSharding(mesh, P(None, "data")))


def evaluate(model: Transformer, text: np.ndarray, settings: Settings, mesh: Mesh) -> float:
    """Bits per byte of the text, without dropout; an incomplete batch at its end is left out."""
    reader = nnx.view(model, deterministic=True)
    loss = nnx.jit(loss_fn)
    starts = np.arange(0, len(text) - settings.context, settings.context)
    whole = len(starts) // settings.batch * settings.batch
    layout = NamedSharding(mesh, P("data"))
    losses = [
        # Read one by one: on CPUs, many programs in flight at once may wait for each other.
        float(loss(reader, passages(text, part, settings.context + 1, layout)))
        for part in starts[:whole].reshape(-1, settings.batch)
    ]
    return float(np.mean(losses))


# Checkpoints ------------------------------------------------------------------------------------


class Checkpoints:
    """The state that a resumed run needs: parameters, moments, random keys and the step number.

    Each process writes and reads the parts that its devices hold, whichever process wrote them.
    """

    def __init__(self, folder: Path) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=2)
        self.manager = ocp.CheckpointManager(folder, options=options)

    def save(self, step: int, trained: Any) -> None:
        """Saves the state of modules; the files are written while training continues."""
        self.manager.save(step, args=ocp.args.StandardSave(nnx.state(trained)))

    def restore(self, step: int, shapes: Any, layouts: Any) -> Any:
        """The modules of that step, laid out for the current devices."""

        def laid_out(x: Any, layout: NamedSharding) -> jax.ShapeDtypeStruct:
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
                x = jax.eval_shape(jax.random.key_data, x)  # orbax makes keys out of them
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout)

        graphdef, expected = nnx.split(shapes)
        target = jax.tree.map(laid_out, expected, nnx.state(layouts))
        restored = self.manager.restore(step, args=ocp.args.StandardRestore(target))
        return nnx.merge(graphdef, restored)


class Termination:
    """SIGTERM, which clusters send some time before they reclaim a machine.

    If one process gets it, all have to save after the same step. So in each step, all processes
    compute together whether one of them has received it. The answer is read in the next step:
    nothing waits for the step that is being computed.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.here = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.here.set())
        self.each = NamedSharding(mesh, P(mesh.axis_names))
        self.any = jax.jit(jnp.any, out_shardings=NamedSharding(mesh, P()))
        self.asked: jax.Array | None = None

    def reached(self) -> bool:
        """Whether to stop after this step, the same in all processes, which all have to call it."""
        shape = (jax.device_count(),)
        flags = jax.make_array_from_callback(
            shape, self.each, lambda _: np.array([self.here.is_set()])
        )
        before, self.asked = self.asked, self.any(flags)
        return before is not None and bool(before)


# The program ------------------------------------------------------------------------------------


def read_options() -> tuple[argparse.Namespace, Settings]:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    processes = parser.add_mutually_exclusive_group()
    processes.add_argument(
        "--join",
        nargs=3,
        metavar=("HOST:PORT", "COUNT", "INDEX"),
        help="address of process 0, the number of processes, and which one this is",
    )
    processes.add_argument("--launched", action="store_true", help="a launcher started all")
    add = parser.add_argument
    add("--model-parallel", type=int, default=1, metavar="N", help="devices that share a layer")
    out = Path(__file__).parent / "out" / "distributed_lm"
    add("--out", type=Path, default=out, metavar="DIR", help="a folder that all processes see")
    add("--text", type=Path, metavar="FILE", help="what to learn (default: Python's manual)")
    add("--save-every", type=int, default=100, metavar="N", help="steps between checkpoints")
    add("--show-every", type=int, metavar="N", help="steps between lines of progress")
    add("--tiny", action="store_true", help="a model that learns little, in a few seconds")
    for name, value in vars(Settings()).items():
        add(f"--{name}", type=type(value), help=f"default: {value}")
    options = parser.parse_args()
    given = {name: getattr(options, name) for name in vars(Settings())}
    start = vars(TINY if options.tiny else Settings())
    settings = Settings(**{k: start[k] if v is None else v for k, v in given.items()})
    if settings.batch % settings.accumulate:
        parser.error(f"--accumulate {settings.accumulate} does not divide --batch {settings.batch}")
    return options, settings


def join(options: argparse.Namespace) -> None:
    """Connects the processes, before anything is computed."""
    if not (options.join or options.launched):
        return
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if options.launched:
        jax.distributed.initialize()
    else:
        address, count, index = options.join
        jax.distributed.initialize(address, int(count), int(index))


def mesh_of(model_parallel: int, settings: Settings) -> Mesh:
    """All devices of all processes, in rows that share a layer."""
    count = jax.device_count()
    data = count // model_parallel
    if count % model_parallel or settings.batch // settings.accumulate % data:
        sys.exit(
            f"{count} devices: --model-parallel {model_parallel} must divide them, and the "
            "quotient must divide --batch / --accumulate, "
            f"{settings.batch // settings.accumulate}"
        )
    kinds = (jax.sharding.AxisType.Auto,) * 2  # XLA decides how the rest is laid out
    return jax.make_mesh((data, model_parallel), ("data", "model"), axis_types=kinds)


def read_text(file: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """The bytes to train on, and the last twentieth of the text, which is held out."""
    text = file.read_bytes() if file else "\n\n".join(topics.values()).encode()
    tokens = np.frombuffer(text, np.uint8)
    split = len(tokens) * 19 // 20
    return tokens[:split], tokens[split:]


def main() -> int:
    """Trains, or resumes training; returns the exit status."""
    options, settings = read_options()
    join(options)
    first = jax.process_index() == 0
    say = partial(print, flush=True) if first else lambda *_: None
    mesh = mesh_of(options.model_parallel, settings)
    text, held_out = read_text(options.text)

    # Nothing is allocated yet: rules that don't fit, or too large a model, are noticed here.
    new = partial(make, settings, mesh)
    shapes = nnx.eval_shape(new)
    layouts = sharding.named_shardings(shapes, RULES, mesh)
    report = sharding.byte_report(shapes, layouts)
    count = sum(x.size for x in jax.tree.leaves(nnx.state(shapes[0], nnx.Param)))
    say(f"mesh       {dict(mesh.shape)} in {jax.process_count()} processes")
    say(f"model      {count:,} parameters; with moments {report.per_device:,} bytes per device")

    termination = Termination(mesh)
    checkpoints = Checkpoints(options.out.resolve() / "checkpoints")
    done = checkpoints.manager.latest_step() or 0
    if done:
        model, optimizer = checkpoints.restore(done, shapes, layouts)
        say(f"resumed    after step {done}")
    else:
        model, optimizer = nnx.jit(new, out_shardings=layouts)()
    sharding.check_replicated((model, optimizer))

    # The shardings of the arguments also apply to the variables that the step changes.
    step_fn = nnx.jit(train_step, in_shardings=(*layouts, None), donate_argnums=(0, 1))
    show_every = options.show_every or max(1, settings.steps // 20)
    start, stopped = time.perf_counter(), False
    for step in range(done + 1, settings.steps + 1):
        loss = step_fn(model, optimizer, batch_at(text, settings, step, mesh))
        if step % show_every == 0 or step == settings.steps:
            say(f"step {step:{len(str(settings.steps))}}/{settings.steps}  {loss:.7f} bits")
        stopped = termination.reached()
        if stopped or step % options.save_every == 0 or step == settings.steps:
            checkpoints.save(step, (model, optimizer))
        if stopped:
            say(f"stopped    by SIGTERM after step {step}; the same command continues from here")
            break
    seconds = time.perf_counter() - start
    if not stopped:
        say(f"trained    for {seconds:.0f} s, compilation included")
        bits = evaluate(model, held_out, settings, mesh)
        say(f"held out   {bits:.4f} bits per byte")
    checkpoints.manager.close()  # once everything has been written
    return STOPPED if stopped else 0


if __name__ == "__main__":
    sys.exit(main())
