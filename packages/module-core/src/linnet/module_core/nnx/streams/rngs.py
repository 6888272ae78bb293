"""`Rngs`: named streams of random keys, as part of a module's state.

A stream is a key and a count. Each draw is `fold_in(key, count)`, and increments the count. Both
are variables, so streams pass through `split`, `jit` and every transform like any other state, and
a growing count never causes a new trace.

Outside a trace, a draw is a single compiled program for the key and the count; inside a trace, it
is the same two equations.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import jax
import jax.numpy as jnp

from ...draws import current, is_staged
from ...errors import ArgumentError, did_you_mean
from ..filters import Filter, to_predicate
from ..nodes import edits
from ..nodes.pytree import Pytree
from ..variable.variable import set_raw_value
from ..variable.variable_types import RngCount, RngKey

Array = jax.Array
P = ParamSpec("P")
R = TypeVar("R", covariant=True)


@functools.partial(jax.jit, inline=True)
def _draw(key: Array, count: Array) -> tuple[Array, Array]:
    return jax.random.fold_in(key, count), count + 1


def as_key(value: object) -> Array:
    """Converts a seed or key to a typed key.

    Raises:
      ArgumentError: the value is neither.
    """
    if type(value) is int:
        return jax.random.key(value)
    if isinstance(value, jax.Array):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return value
        if value.dtype == jnp.uint32:
            wrapped: Array = jax.random.wrap_key_data(value)
            return wrapped
    raise ArgumentError(
        f"Invalid rng value: {value!r}, expected an int, a key from jax.random.key, or the uint32"
        " data of one.",
        hint="Write nnx.Rngs(0), or nnx.Rngs(params=0, dropout=1).",
    )


if TYPE_CHECKING:

    class _Keyless(Protocol[P, R]):
        """A function of `jax.random` as a method, without the key argument."""

        def __get__(self, stream: object, owner: type | None = None, /) -> Callable[P, R]: ...

    def _sampler(draw: Callable[Concatenate[Any, P], R]) -> _Keyless[P, R]: ...
    def _initializer(make: Callable[P, object]) -> _Keyless[P, Callable[..., Array]]: ...


class _Samplers:
    """Provides every sampler of `jax.random` and every initializer: `stream.normal(shape)`."""

    @abc.abstractmethod
    def __call__(self) -> Array:
        """The next key."""

    if TYPE_CHECKING:
        # For type checkers and editors; at run time, `_sampler_names` finds these.
        ball = _sampler(jax.random.ball)
        bernoulli = _sampler(jax.random.bernoulli)
        beta = _sampler(jax.random.beta)
        bits = _sampler(jax.random.bits)
        categorical = _sampler(jax.random.categorical)
        cauchy = _sampler(jax.random.cauchy)
        chisquare = _sampler(jax.random.chisquare)
        choice = _sampler(jax.random.choice)
        dirichlet = _sampler(jax.random.dirichlet)
        exponential = _sampler(jax.random.exponential)
        gamma = _sampler(jax.random.gamma)
        gumbel = _sampler(jax.random.gumbel)
        laplace = _sampler(jax.random.laplace)
        logistic = _sampler(jax.random.logistic)
        multivariate_normal = _sampler(jax.random.multivariate_normal)
        normal = _sampler(jax.random.normal)
        orthogonal = _sampler(jax.random.orthogonal)
        permutation = _sampler(jax.random.permutation)
        poisson = _sampler(jax.random.poisson)
        rademacher = _sampler(jax.random.rademacher)
        randint = _sampler(jax.random.randint)
        truncated_normal = _sampler(jax.random.truncated_normal)
        uniform = _sampler(jax.random.uniform)
        delta_orthogonal = _initializer(jax.nn.initializers.delta_orthogonal)
        glorot_normal = _initializer(jax.nn.initializers.glorot_normal)
        glorot_uniform = _initializer(jax.nn.initializers.glorot_uniform)
        he_normal = _initializer(jax.nn.initializers.he_normal)
        he_uniform = _initializer(jax.nn.initializers.he_uniform)
        kaiming_normal = _initializer(jax.nn.initializers.kaiming_normal)
        kaiming_uniform = _initializer(jax.nn.initializers.kaiming_uniform)
        lecun_normal = _initializer(jax.nn.initializers.lecun_normal)
        lecun_uniform = _initializer(jax.nn.initializers.lecun_uniform)
        variance_scaling = _initializer(jax.nn.initializers.variance_scaling)
        xavier_normal = _initializer(jax.nn.initializers.xavier_normal)
        xavier_uniform = _initializer(jax.nn.initializers.xavier_uniform)

    def __getattr__(self, name: str) -> Any:
        if name in _sampler_names():
            sampler = getattr(jax.random, name)
            return lambda *args, **kwargs: sampler(self(), *args, **kwargs)
        if name in _INITIALIZERS:
            make = getattr(jax.nn.initializers, name)

            def keyless(*args: object, **kwargs: object) -> Callable[..., Array]:
                init = make(*args, **kwargs)
                return lambda *a, **k: init(self(), *a, **k)

            return keyless
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


_INITIALIZERS = frozenset(
    [
        "delta_orthogonal",
        "glorot_normal",
        "glorot_uniform",
        "he_normal",
        "he_uniform",
        "kaiming_normal",
        "kaiming_uniform",
        "lecun_normal",
        "lecun_uniform",
        "variance_scaling",
        "xavier_normal",
        "xavier_uniform",
    ]
)
_NOT_SAMPLERS = frozenset(
    [
        "PRNGKey",
        "key",
        "key_data",
        "key_impl",
        "clone",
        "fold_in",
        "split",
        "wrap_key_data",
        "random_gamma_p",
    ]
)


@functools.cache
def _sampler_names() -> frozenset[str]:
    return frozenset(
        n for n in dir(jax.random) if not n.startswith("_") and callable(getattr(jax.random, n))
    ).difference(_NOT_SAMPLERS)


class RngStream(_Samplers, Pytree):
    """A stream of random keys: `stream()` returns `fold_in(key, count)` and increments the count.

    Args:
      key: a seed (int), a typed key, or the uint32 data of one.
      tag: the stream's name, which filters select by.
    """

    tag: str
    key: RngKey[Array]
    count: RngCount[Array]

    def __init__(self, key: object, *, tag: str) -> None:
        if isinstance(key, RngStream):
            key = key.key.raw_value
        key = as_key(key)
        self.tag = tag
        self.key = RngKey(key, tag=tag)
        self.count = RngCount(jnp.zeros(key.shape, jnp.uint32), tag=tag)

    def __call__(self) -> Array:
        count = self.count
        # Checked first: the draw itself would fail with a leaked tracer, or repeat the same key.
        edits.check_trace(count._nnx_stamp, count._nnx_description)
        try:
            root = self.key.get_value()
            key, after = _draw(root, count.raw_value)
        except ValueError as error:
            raise self._split_error() or error from error
        recorder = current()
        if recorder is not None and is_staged(key):
            recorder.derived(key, root, count.raw_value)
        if len(count._metadata) == 1 and not type(count)._has_hooks:
            set_raw_value(count, after)  # the trace level is already checked
        else:
            count.set_value(after)
        return key  # type: ignore[no-any-return]

    def _split_error(self) -> ArgumentError | None:
        """The error for a draw from a split stream, or None if the stream isn't split."""
        shape = jnp.shape(self.key.raw_value)
        if shape == ():
            return None
        return ArgumentError(
            f"The stream {self.tag!r} is split: it holds an array of keys of shape {shape}, one "
            "for each step of a transform.",
            hint=(
                "Draw within nnx.vmap or nnx.scan, with the axis of the keys in in_axes, for "
                "example nnx.vmap(lambda layer, x: layer(x))(layers, xs). A stream that "
                "nnx.split_rngs split in place has a single key again after "
                "nnx.restore_rngs(backups)."
            ),
        )

    def last(self) -> Array:
        """The last key that was drawn, again."""
        key: Array = jax.random.fold_in(self.key.get_value(), self.count.get_value() - 1)
        return key

    def _with(self, key: Array) -> RngStream:
        return type(self)(key, tag=self.tag)

    def fork(self, *, split: int | tuple[int, ...] | None = None) -> RngStream:
        """A new stream that starts from the next key of this one, split into several by `split`."""
        key = self()
        return self._with(key if split is None else jax.random.split(key, split))

    def split(self, k: int | tuple[int, ...]) -> RngStream:
        """A new stream whose key is an array of `k` keys, split from the next key of this one."""
        return self._with(jax.random.split(self(), k))

    def broadcast(self, k: int | tuple[int, ...]) -> RngStream:
        """A new stream whose key is an array of `k` copies of the next key of this one."""
        shape = (k,) if isinstance(k, int) else tuple(k)
        return self._with(jnp.broadcast_to(self(), shape))


class Rngs(_Samplers, Pytree):
    """Named streams of random keys.

    Args:
      default: a seed, key or stream for the stream 'default', which replaces every stream that is
        not given; or a mapping of names to these.
      **rngs: seeds, keys or streams by name.

    `rngs.dropout()` draws from the stream 'dropout', or from 'default' if it doesn't exist;
    `rngs()` draws from 'default'.

    >>> rngs = Rngs(0, dropout=1)
    >>> key = rngs.params()  # no such stream: from 'default'
    >>> list(rngs)
    ['dropout', 'default']
    >>> rngs.normal((2,)).shape
    (2,)
    """

    def __init__(self, default: object = None, **rngs: object) -> None:
        if isinstance(default, Mapping):
            rngs = {**default, **rngs}
        elif isinstance(default, Rngs):
            rngs = {**dict(default.items()), **rngs}
        elif default is not None:
            rngs["default"] = default
        for name, value in rngs.items():
            setattr(self, name, RngStream(value, tag=name))

    def _stream(self, name: str, error: type[Exception]) -> RngStream:
        streams = self.__dict__
        found = streams.get(name, streams.get("default"))
        if found is None:
            raise error(
                f"No RngStream named {name!r} found in Rngs. {did_you_mean(name, streams)} A "
                "stream named 'default' (nnx.Rngs(0)) replaces every missing stream."
            )
        return found  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> RngStream:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in _sampler_names() or name in _INITIALIZERS:
            return _Samplers.__getattr__(self, name)  # type: ignore[no-any-return]
        return self._stream(name, AttributeError)

    def __getitem__(self, name: str) -> RngStream:
        return self._stream(name, KeyError)

    def __call__(self) -> Array:
        return self._stream("default", AttributeError)()

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def items(self) -> Iterator[tuple[str, RngStream]]:
        """Pairs of names and streams."""
        return iter(list(self.__dict__.items()))

    def _map(self, spec: object, make: Callable[[RngStream, Any], RngStream]) -> Rngs:
        predicates = (
            [(to_predicate(f), k) for f, k in spec.items()]
            if isinstance(spec, Mapping)
            else [(to_predicate(True), spec)]
        )
        new: dict[str, RngStream] = {}
        for name, stream in self.items():
            for predicate, k in predicates:
                if predicate((name,), stream):
                    new[name] = stream if k is None else make(stream, k)
                    break
            else:
                new[name] = stream
        return Rngs(new)

    def fork(
        self,
        /,
        *,
        split: Mapping[Filter, int | tuple[int, ...]] | int | tuple[int, ...] | None = None,
    ) -> Rngs:
        """New streams that start from the next keys of these."""
        if split is not None:
            return self.split(split)
        return Rngs({name: stream.fork() for name, stream in self.items()})

    def split(self, k: Mapping[Filter, int | tuple[int, ...]] | int | tuple[int, ...]) -> Rngs:
        """New streams whose keys are arrays of keys, split from the next keys of these.

        Args:
          k: number of keys (or shape of the array), for all streams or by filter; other streams
            keep their key.
        """
        return self._map(k, RngStream.split)

    def broadcast(self, k: object) -> Rngs:
        """New streams whose keys are arrays of one repeated key; see `split` for `k`."""
        return self._map(k, RngStream.broadcast)

    def __hash__(self) -> int:
        return object.__hash__(self)
