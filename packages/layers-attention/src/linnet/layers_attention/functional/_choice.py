"""Chooses the implementation for an attention call.

"auto" means "exact" for short sequences, so that their results stay the same to the last bit, and
"chunked" for long ones. On a CPU, chunked attention takes 0.4 to 0.9 of the time of exact attention
from 512 tokens on, whatever the number of heads and batch entries, and 0.2 to 0.3 at 4096; below
512 it may be slower. On an NVIDIA GPU, cuDNN's kernel replaces "chunked" where it suits the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax.numpy as jnp

from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import Array

from . import chunked, exact, fused
from ._call import Call
from ._checks import check_implementation

# Number of logits per head, Q·K, from which "auto" computes block by block.
MANY_LOGITS = 512 * 512


_recording: ContextVar[list[str] | None] = ContextVar("recording", default=None)


@contextmanager
def record_implementations() -> Iterator[list[str]]:
    """Records which implementation each attention within the context uses.

    The list grows with every call that is traced or runs eagerly: "exact", "chunked", "cudnn", or
    "xla" for `jax.nn.dot_product_attention` without a kernel. A compiled function that was traced
    before is not traced again, and records nothing.

    >>> import jax, jax.numpy as jnp
    >>> from linnet.layers_attention import functional
    >>> x = jax.ShapeDtypeStruct((1024, 2, 8), jnp.float32)
    >>> with record_implementations() as used:
    ...     y = jax.eval_shape(functional.dot_product_attention, x, x, x)
    >>> used
    ['chunked']
    """
    used: list[str] = []
    token = _recording.set(used)
    try:
        yield used
    finally:
        _recording.reset(token)


def record(name: str) -> None:
    """Notes that an implementation is used, if someone records it."""
    used = _recording.get()
    if used is not None:
        used.append(name)


_FUNCTIONS: dict[str, Callable[[Call], Array]] = {
    "exact": exact.attend,
    "chunked": chunked.attend,
    "cudnn": fused.attend,
}


def attend(call: Call, name: str) -> Array:
    """The result of the implementation that `implementation_for` chooses, which is recorded."""
    chosen = implementation_for(call, name)
    record(chosen)
    return _FUNCTIONS[chosen](call)


def implementation_for(call: Call, name: str) -> str:
    """The implementation that computes `call`: "exact", "chunked" or "cudnn".

    Args:
      call: the arguments of the attention.
      name: "exact": all logits at once, with the rounding of Flax.
        "chunked": block by block, in memory that is linear in the length, with a custom backward
        pass; no forward-mode differentiation.
        "cudnn": the kernel of NVIDIA's library, for half precision.
        "auto": "exact" below 512² logits per head (512 queries and 512 keys), or if nothing else
        supports the options; above, "cudnn" on an NVIDIA GPU where it needs no array of [Q, K]
        (half precision, causality or a causal window, no mask, bias or dropout), else "chunked".

    Raises:
      ArgumentError: the name is unknown, or that implementation doesn't support the options.
    """
    name = check_implementation(name)
    if name == "exact":
        return "exact"
    obstacle = _obstacle(call)
    if name == "auto":
        if obstacle or _is_short(call):
            return "exact"
        return "cudnn" if fused.suits(call, fused.compute_capability()) else "chunked"
    if obstacle:
        raise ArgumentError(
            f"implementation={name!r} cannot {obstacle}.", hint="implementation='exact' can."
        )
    if name == "cudnn":
        return "cudnn"
    sizes = call.sizes
    # Without logits, the blocks would have size zero.
    return "chunked" if sizes.queries and sizes.keys else "exact"


def _is_short(call: Call) -> bool:
    sizes = call.sizes
    if not (isinstance(sizes.queries, int) and isinstance(sizes.keys, int)):
        return True  # a symbolic length, in a program that is exported
    return sizes.queries * sizes.keys < MANY_LOGITS


def _obstacle(call: Call) -> str | None:
    """The reason why a call needs exact attention, or None."""
    if call.on_weights is not None:
        return "return the weights, which it never holds all at once"
    if call.products.overridden:
        return "use a custom einsum or dot_general"
    if jnp.issubdtype(call.query.dtype, jnp.complexfloating):
        return f"compute in {call.query.dtype}"
    if call.dropout is not None and call.dropout.rate == 1.0:
        return "drop every weight"
    if not all(isinstance(n, int) for n in (call.sizes.queries, call.sizes.keys)):
        return "handle lengths that aren't known before the program runs"
    return None
