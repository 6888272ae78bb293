"""Models written once and built twice: `build(flax.linen)` and `build(linnet.linen)`.

Each entry of the result is a case: a function that makes the model, its inputs, and the random
streams of its calls. The cases cover all that determines a parameter's value: the name of a module,
the stream of a key, and the number of earlier draws from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and its call.

    Attributes:
      make: makes the module.
      args: arguments of the method.
      init_streams, apply_streams: names of the random streams for `init` and `apply`.
      mutable: the argument of `apply`.
      kwargs: keyword arguments of `init` and `apply`, among them `method`.
    """

    make: Callable[[], Any]
    args: tuple[Any, ...] = (jnp.ones((2, 3)),)
    init_streams: tuple[str, ...] = ("params",)
    apply_streams: tuple[str, ...] = ()
    mutable: Any = False
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)


def build(nn):
    """The cases, with modules from the namespace `nn`."""
    normal = nn.initializers.normal()

    class Compact(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Dense(4)(x))
            x = nn.Dense(5, name="named")(x)
            x = nn.Dense(4)(x)
            scale = self.param("scale", normal, (4,))
            x = x * scale
            return nn.Dense(2, name="Dense_7")(x) + nn.Dense(2)(x)

    class Setup(nn.Module):
        width: int = 4

        def setup(self):
            self.first = nn.Dense(self.width)
            self.offset = self.param("offset", normal, (self.width,))
            self.other = nn.Dense(self.width, name="renamed")

        def __call__(self, x):
            return self.other(self.first(x)) + self.offset

    class Containers(nn.Module):
        def setup(self):
            self.listed = [nn.Dense(3) for _ in range(3)]
            self.nested = [[nn.Dense(3), nn.Dense(3)], (nn.Dense(3),)]
            self.table = {"b": nn.Dense(3), "a": {"z": nn.Dense(3)}, 1: nn.Dense(3)}

        def __call__(self, x):
            for layer in self.listed:
                x = layer(x)
            x = self.nested[0][1](self.nested[1][0](self.nested[0][0](x)))
            return self.table["b"](self.table["a"]["z"](self.table[1](x)))

    class Field(nn.Module):
        sub: Any
        many: Sequence[Any] = ()
        options: Any = None

        @nn.compact
        def __call__(self, x):
            x = self.sub(x)
            for layer in self.many:
                x = layer(x)
            if self.options:
                x = self.options["q"](x)
            return nn.Dense(2)(x)

    class SharedInside(nn.Module):
        def setup(self):
            self.a = nn.Dense(3)
            self.b = self.a
            self.both = [self.a, nn.Dense(3)]

        def __call__(self, x):
            return self.both[1](self.both[0](self.b(self.a(x))))

    class TwoFields(nn.Module):
        left: Any
        right: Any

        def __call__(self, x):
            return self.left(x) + self.right(x)

    class Outer(nn.Module):
        shared: Any

        def setup(self):
            self.p = TwoFields(self.shared, nn.Dense(3))
            self.q = TwoFields(nn.Dense(3), self.shared)

        def __call__(self, x):
            return self.p(x) + self.q(x)

    class Block(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x):
            h = nn.Dense(self.features)(x)
            return x + nn.Dense(x.shape[-1])(nn.gelu(h))

    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x):
            for _ in range(3):
                x = Block(5)(x)
            block = Block(2, name="again")
            return block(block(x))

    class Passed(nn.Module):
        @nn.compact
        def __call__(self, x):
            inner = nn.Dense(3)
            x = nn.Sequential([nn.Dense(3), nn.relu, inner])(x)
            return nn.Sequential([lambda y: nn.Dense(2)(y), nn.Dense(1, parent=None)])(inner(x))

    class Streams(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = self.param("w", normal, (3, 3))
            noise = jax.random.normal(self.make_rng("noise"), (3,))
            fallback = jax.random.normal(self.make_rng("other"), (3,))
            again = jax.random.normal(self.make_rng("noise"), (3,))
            v = self.param("v", normal, (3,))
            return x @ w + noise + fallback + again + v + self._helper()

        def _helper(self):
            return jax.random.uniform(self.make_rng(), (3,))

    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x):
            drop = nn.Dropout(0.5, deterministic=False)
            x = drop(nn.Dense(8)(x))
            x = drop(x)
            x = nn.Dropout(0.3, deterministic=False, broadcast_dims=(0,))(nn.Dense(8)(x))
            return nn.Dropout(0.2, deterministic=False, rng_collection="noise")(x)

    class Methods(nn.Module):
        @nn.compact
        def encode(self, x):
            return nn.Dense(3)(x)

        @nn.compact
        def decode(self, x):
            return nn.Dense(3)(x)

        def __call__(self, x):
            return self.decode(self.encode(x))

    class NameScope(nn.Module):
        @nn.compact_name_scope
        def up(self, x):
            return nn.Dense(3)(nn.Dense(2)(x))

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(self.up(self.up(x)))

    class LowRank(nn.Module):
        base: Any

        def setup(self):
            nn.share_scope(self, self.base)

        @nn.compact
        def __call__(self, x):
            a = self.param("A", normal, (x.shape[-1], 1))
            b = self.param("B", normal, (1, 4))
            return self.base(x) + x @ a @ b

    class Counter(nn.Module):
        @nn.compact
        def __call__(self, x):
            initialized = self.has_variable("stats", "mean")
            mean = self.variable("stats", "mean", lambda s: jnp.zeros(s), x.shape[1:])
            count = self.variable("counts", "n", lambda: jnp.zeros((), jnp.int32))
            if initialized:
                mean.value = 0.9 * mean.value + 0.1 * x.mean(0)
                count.value = count.value + 1
            x = nn.Dense(3)(x - mean.value)
            self.sow("intermediates", "h", x)
            return self.perturb("delta", x)

    class OuterCounter(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Counter()(Counter(name="named")(x))

    class Collide(nn.Module):
        def setup(self):
            self.ab = Leaf()
            self.a = Branch()

        def __call__(self, x):
            return self.ab(x) + self.a(x)

    class Leaf(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("w", normal, (3,)) + Weight(name="c")(x)

    class Branch(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Weight(name="bc")(x)

    class Weight(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("w", normal, (3,))

    class Inherits(Compact):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(super().__call__(x))

    class Mixed(nn.Module):
        def setup(self):
            self.pre = nn.Dense(3)

        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(self.pre(x))

    class ManyDraws(nn.Module):
        @nn.compact
        def __call__(self, x):
            keys = [self.make_rng("noise") for _ in range(257)]
            return jnp.stack([jax.random.normal(keys[i], (2,)) for i in (0, 254, 255, 256)])

    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
            x = nn.avg_pool(nn.Conv(8, (3, 3), padding="CIRCULAR")(x), (2, 2), (2, 2))
            x = x.reshape(x.shape[0], -1)
            x = nn.DenseGeneral((2, 3))(x)
            x = nn.DenseGeneral(4, axis=(-2, -1))(x)
            x = nn.PReLU()(x)
            return nn.Einsum((4, 2, 3), "bi,ijk->bjk")(x)

    class Tokens(nn.Module):
        @nn.compact
        def __call__(self, ids):
            embed = nn.Embed(11, 6)
            x = embed(ids)
            x = nn.ConvTranspose(6, (3,), strides=(2,))(x)
            x = nn.ConvLocal(6, (2,))(x)
            return embed.attend(x)

    apply_all = ("params", "noise", "dropout")
    return {
        "compact": Case(Compact),
        "setup": Case(Setup),
        "containers": Case(Containers),
        "field": Case(lambda: Field(nn.Dense(3, name="dropped"))),
        "fields": Case(
            lambda: Field(
                nn.Dense(3), [nn.Dense(4), nn.relu, nn.Dense(3)], {"q": nn.Dense(2), "r": 3}
            )
        ),
        "shared_inside": Case(SharedInside),
        "shared_field": Case(lambda: Outer(nn.Dense(3))),
        "deep": Case(Deep),
        "passed": Case(Passed),
        "sequential": Case(
            lambda: nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(3), lambda x: nn.Dense(2)(x)])
        ),
        "streams": Case(Streams, init_streams=apply_all, apply_streams=apply_all),
        "streams_fallback": Case(Streams, init_streams=("params",), apply_streams=("params",)),
        "noisy": Case(Noisy, init_streams=apply_all, apply_streams=apply_all),
        "methods": Case(Methods),
        "one_method": Case(Methods, kwargs={"method": "encode"}),
        "name_scope": Case(NameScope),
        "share_scope": Case(lambda: LowRank(nn.Dense(4))),
        "counter": Case(OuterCounter, mutable=["stats", "counts", "intermediates"]),
        "counter_all": Case(OuterCounter, mutable=True),
        "capture": Case(Deep, mutable=["intermediates"], kwargs={"capture_intermediates": True}),
        "collide": Case(Collide),
        "inherits": Case(Inherits),
        "mixed": Case(Mixed),
        "many_draws": Case(ManyDraws, init_streams=apply_all, apply_streams=("noise",)),
        "images": Case(Encoder, args=(jnp.linspace(-1, 1, 2 * 8 * 8 * 2).reshape(2, 8, 8, 2),)),
        "tokens": Case(Tokens, args=(jnp.array([[1, 5, 2, 10]]),)),
    }
