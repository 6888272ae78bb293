"""Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762), as a module.

    output = out(attention(query(x_q), key(x_k), value(x_v)))

The module has four projections around `functional.dot_product_attention`, and a cache of keys and
values for decoding.

B batch (any number of dimensions), Q queries, K keys, C features of an input, H heads, G query
heads that share a key head, D depth of a head.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp

from linnet.initializers import Initializer
from linnet.initializers.defaults import default_bias_init, default_kernel_init
from linnet.layers_attention import functional
from linnet.layers_attention._torch import ATTENTION
from linnet.layers_attention.functional import CacheOptions, Rotary
from linnet.layers_attention.functional._attention_fn import call_attention_fn
from linnet.layers_attention.functional._checks import Implementation, check_implementation
from linnet.layers_attention.functional._heads import (
    check_new_tokens,
    heads_of,
    three_inputs,
)
from linnet.layers_attention.functional._limits import Window, window_of
from linnet.layers_attention.functional._placed import (
    nan_past_the_end,
    only_while_decoding,
    rotated,
)
from linnet.layers_attention.functional.position_bias import DistanceBias
from linnet.layers_linear.linen import DenseGeneral
from linnet.layers_norm.linen import LayerNorm
from linnet.module_core.errors import ArgumentError
from linnet.module_core.layers import (
    Array,
    DotGeneral,
    DTypeLike,
    EinsumOp,
    OutSharding,
    PrecisionLike,
    check_rate,
    integer,
)
from linnet.module_core.linen import Module, Variable, compact, merge_param, with_partitioning

from .dot_product import dot_product_attention


class MultiHeadDotProductAttention(Module):
    """Attention with several heads, each with its own projections.

    With `decode=True`, `init` with an input of the maximum length creates a cache in the collection
    "cache". Each `apply` with `mutable=["cache"]` then takes the next token or tokens (such as a
    prompt), which attend to themselves and all earlier ones. Going past the cache's end is an
    error; in a traced program, where the position is unknown, the output is NaN from there on.

    Args:
      num_heads: H; must divide `qkv_features`.
      dtype: the computation dtype; None for the common type of inputs and parameters.
      param_dtype: dtype of the parameters.
      qkv_features: H·D, features of all query heads together; None for the features of `inputs_q`.
      out_features: features of the output; None for the features of `inputs_q`.
      broadcast_dropout: all batch entries and heads drop the same weights.
      dropout_rate: the probability that a weight is dropped, within [0, 1].
      deterministic: disables dropout; with a rate, set it either here or in the call.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernels.
      out_kernel_init: initializer of the last projection's kernel; None for `kernel_init`.
      bias_init: initializer of the biases.
      out_bias_init: initializer of the last projection's bias; None for `bias_init`.
      use_bias: the projections add a bias.
      attention_fn: replaces `dot_product_attention`: a function of query, key and value that also
        gets the other arguments that its signature names. With `num_kv_heads`, key and value have
        that number of heads.
      decode: keeps a cache of keys and values.
      normalize_qk: normalizes queries and keys (arXiv:2302.05442), with `LayerNorm` without a bias,
        or with a normalization of your own: a function that makes it from a name, such as
        `functools.partial(RMSNorm, epsilon=1e-6)`.
      force_fp32_for_softmax: computes the softmax in float32 and doesn't cast it back.
      qkv_dot_general, out_dot_general: replace `jax.lax.dot_general` in the projections.
      qkv_dot_general_cls, out_dot_general_cls: factories for these, called with the layer; take
        precedence over them.
      qk_attn_weights_einsum_cls: makes the einsum of queries and keys.
      attn_weights_value_einsum_cls: makes the einsum of weights and values; set both or neither.
      implementation: "exact", "chunked", "cudnn" or "auto": see
        `functional.dot_product_attention`.
      num_kv_heads: H/G, heads of keys and values, each of which serves G heads of queries
        (arXiv:2305.13245); None for `num_heads`.
      rotary: rotary positions of queries and keys, after their normalization; None for none.
      window: how many positions a query sees to the left and to the right, each including its own:
        a number, a pair (in which None sets no limit), or None. While decoding, a query sees the
        last positions.
      scale: the factor of the products of queries and keys; None for 1/√D.
      soft_cap: c, bounds the scaled products: c · tanh(x / c).
      use_sinks: each head has a learned logit, a sink, that takes part in the softmax and has no
        value.
      sinks_init: initializer of the sinks.
      use_out_bias: the last projection adds a bias; None for `use_bias`.
      cache_options: dtype, axes and form of the cache.

    >>> import jax, jax.numpy as jnp
    >>> layer = MultiHeadDotProductAttention(num_heads=4, qkv_features=32)
    >>> x = jnp.ones((2, 6, 12))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> layer.apply(variables, x, is_causal=True).shape
    (2, 6, 12)
    """

    __torch_layout__ = ATTENTION

    num_heads: int
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32
    qkv_features: int | None = None
    out_features: int | None = None
    broadcast_dropout: bool = True
    dropout_rate: float = 0.0
    deterministic: bool | None = None
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    out_kernel_init: Initializer | None = None
    bias_init: Initializer = default_bias_init
    out_bias_init: Initializer | None = None
    use_bias: bool = True
    attention_fn: Callable[..., Array] = dot_product_attention
    decode: bool = False
    normalize_qk: bool | Callable[..., Callable[[Array], Array]] = False
    force_fp32_for_softmax: bool = False
    qkv_dot_general: DotGeneral | None = None
    out_dot_general: DotGeneral | None = None
    qkv_dot_general_cls: Callable[[], DotGeneral] | None = None
    out_dot_general_cls: Callable[[], DotGeneral] | None = None
    qk_attn_weights_einsum_cls: Callable[[], EinsumOp] | None = None
    attn_weights_value_einsum_cls: Callable[[], EinsumOp] | None = None
    implementation: Implementation = dataclasses.field(default="auto", kw_only=True)
    num_kv_heads: int | None = dataclasses.field(default=None, kw_only=True)
    rotary: Rotary | None = dataclasses.field(default=None, kw_only=True)
    window: Window = dataclasses.field(default=None, kw_only=True)
    scale: float | None = dataclasses.field(default=None, kw_only=True)
    soft_cap: float | None = dataclasses.field(default=None, kw_only=True)
    use_sinks: bool = dataclasses.field(default=False, kw_only=True)
    sinks_init: Initializer = dataclasses.field(default=default_bias_init, kw_only=True)
    use_out_bias: bool | None = dataclasses.field(default=None, kw_only=True)
    cache_options: CacheOptions = dataclasses.field(default=CacheOptions(), kw_only=True)

    @compact
    def __call__(
        self,
        inputs_q: Array,
        inputs_k: Array | None = None,
        inputs_v: Array | None = None,
        *,
        inputs_kv: Array | None = None,
        mask: Array | None = None,
        deterministic: bool | None = None,
        dropout_rng: Array | None = None,
        sow_weights: bool = False,
        is_causal: bool = False,
        bias: Array | DistanceBias | None = None,
        segment_ids: Array | None = None,
        key_segment_ids: Array | None = None,
        positions: Array | None = None,
        lengths: Array | None = None,
        out_sharding: OutSharding | None = None,
        qkv_sharding: OutSharding | None = None,
    ) -> Array:
        """Projects the inputs, attends, and projects the result.

        Args:
          inputs_q: [*B, Q, C].
          inputs_k: [*B, K, C]; None for `inputs_q`.
          inputs_v: [*B, K, C]; None for `inputs_k`.
          inputs_kv: deprecated; sets both `inputs_k` and `inputs_v`.
          mask: broadcasts to [*B, H, Q, K]; attention is forbidden where it is zero. A fully masked
            query gets the mean of all values, or zeros if there are sinks. While
            decoding, K is the cache's length.
          deterministic: disables dropout; required if the constructor didn't get it.
          dropout_rng: the random key for dropout; None draws one from the stream "dropout".
          sow_weights: sows the weights before dropout as "attention_weights" in "intermediates".
          is_causal: query i sees only the keys up to i; faster than a causal mask.
          bias: broadcasts to [*B, H, Q, K], or a function of distances; added to the logits.
          segment_ids: integers that broadcast to [*B, Q]; a query sees the keys of its own segment.
          key_segment_ids: the same for the keys, [*B, K]; None for `segment_ids`.
          positions: broadcasts to [*B, Q], for rotary positions; None for 0, 1, …, or, while
            decoding, those that follow the cached ones. Keys of other inputs are at 0, 1, ….
          lengths: while decoding with a cache per row, how many of the Q new positions of each row
            are tokens; the others are padding after them, and their outputs are arbitrary.
          out_sharding, qkv_sharding: shardings of the output, and of queries, keys and values, on a
            mesh with explicit axes.

        Returns:
          [*B, Q, out_features].
        """
        itself = inputs_k is None and inputs_kv is None
        inputs_q, inputs_k, inputs_v = _inputs(inputs_q, inputs_k, inputs_v, inputs_kv)
        query, key, value = self._projected(inputs_q, inputs_k, inputs_v, qkv_sharding)
        offset: int | Array = 0
        overflowed = key_positions = cache = None
        if self.decode:
            caching = self.has_variable("cache", "cached_key")
            cache = self._cache(key, value)
        if cache is None or not caching:
            only_while_decoding(lengths)
            query, key = rotated(self.rotary, query, key, positions, None, room=None, itself=itself)
        else:
            check_new_tokens(query, key)
            query, key = rotated(
                self.rotary, query, key, positions, cache.filled, room=cache.room, itself=True
            )
            new = cache.extend(key, value, lengths)
            key, value, offset = new.key, new.value, new.query_offset
            key_positions, overflowed = new.key_positions, new.overflowed
            is_causal = True
        rate = check_rate(self.dropout_rate, "dropout_rate")
        if rate > 0.0:
            deterministic = merge_param("deterministic", self.deterministic, deterministic)
            if not deterministic and dropout_rng is None:
                dropout_rng = self.make_rng("dropout")
        make_logits, make_values = (
            self.qk_attn_weights_einsum_cls,
            self.attn_weights_value_einsum_cls,
        )
        y = call_attention_fn(
            self.attention_fn,
            query,
            key,
            value,
            {
                "mask": mask,
                "dropout_rng": dropout_rng,
                "dropout_rate": rate,
                "broadcast_dropout": self.broadcast_dropout,
                "deterministic": True if rate == 0.0 else deterministic,
                "dtype": self.dtype,
                "precision": self.precision,
                "force_fp32_for_softmax": self.force_fp32_for_softmax,
                "qk_attn_weights_einsum": None if make_logits is None else make_logits(),
                "attn_weights_value_einsum": None if make_values is None else make_values(),
                "bias": bias,
                "scale": self.scale,
                "soft_cap": self.soft_cap,
                "sinks": self._sinks(query.shape[-2]),
            },
            module=self if sow_weights else None,
            implementation=check_implementation(self.implementation),
            is_causal=is_causal,
            query_offset=offset,
            key_positions=key_positions,
            window=self.window,
            segment_ids=segment_ids,
            key_segment_ids=key_segment_ids,
        )  # [*B, Q, H, D]
        y = DenseGeneral(
            features=integer(self.out_features or inputs_q.shape[-1], "out_features"),
            axis=(-2, -1),
            kernel_init=self.out_kernel_init or self.kernel_init,
            bias_init=self.out_bias_init or self.bias_init,
            use_bias=self.use_bias if self.use_out_bias is None else self.use_out_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=self.precision,
            dot_general=self.out_dot_general,
            dot_general_cls=self.out_dot_general_cls,
            name="out",
        )(y, **_if_given(out_sharding))  # [*B, Q, C]
        return nan_past_the_end(y, overflowed)

    def _sinks(self, heads: int) -> Array | None:
        """The sinks' logits, [H], or None."""
        if not self.use_sinks:
            return None
        sinks: Array = self.param("sinks", self.sinks_init, (heads,), self.param_dtype)
        return sinks

    def _projected(
        self, inputs_q: Array, inputs_k: Array, inputs_v: Array, sharding: OutSharding | None
    ) -> tuple[Array, Array, Array]:
        """Queries [*B, Q, H, D], keys and values [*B, K, H/G, D]."""
        heads, key_heads, depth = heads_of(
            self.num_heads, self.num_kv_heads, self.qkv_features, inputs_q.shape[-1]
        )
        project = partial(
            DenseGeneral,
            axis=-1,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            use_bias=self.use_bias,
            precision=self.precision,
            dot_general=self.qkv_dot_general,
            dot_general_cls=self.qkv_dot_general_cls,
        )
        laid_out = _if_given(sharding)
        query = project(features=(heads, depth), name="query")(inputs_q, **laid_out)
        key = project(features=(key_heads, depth), name="key")(inputs_k, **laid_out)
        value = project(features=(key_heads, depth), name="value")(inputs_v, **laid_out)
        if self.normalize_qk:
            normalize: Callable[..., Callable[[Array], Array]] = partial(
                LayerNorm, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype
            )
            if callable(self.normalize_qk):
                normalize = self.normalize_qk
            query = normalize(name="query_ln")(query)
            key = normalize(name="key_ln")(key)
        return query, key, value

    def _cache(self, key: Array, value: Array) -> _LayerCache:
        """Declares the cache's variables."""
        options = self.cache_options
        left, _ = window_of(self.window)
        zeros: Callable[..., Any] = jnp.zeros
        if options.axes is not None:
            zeros = with_partitioning(zeros, options.axes)

        def variable(name: str, x: Array) -> Variable[Array]:
            shape = (*x.shape[:-3], options.capacity(x.shape[-3], left), *x.shape[-2:])
            return self.variable("cache", name, zeros, shape, options.dtype or x.dtype)

        rows = key.shape[:-3] if options.per_row else ()
        return _LayerCache(
            variable("cached_key", key),
            variable("cached_value", value),
            self.variable("cache", "cache_index", jnp.zeros, rows, jnp.int32),
            options.ring,
        )


class _LayerCache(NamedTuple):
    """The cache's variables, and whether it is a ring."""

    key: Variable[Array]
    value: Variable[Array]
    cursor: Variable[Array]
    ring: bool

    @property
    def filled(self) -> Array:
        """The number of positions so far, a scalar or [*B]."""
        return self.cursor.value

    @property
    def room(self) -> int | None:
        """The number of positions that fit; None for a ring, which has no end."""
        return None if self.ring else self.key.value.shape[-3]

    def extend(self, key: Array, value: Array, lengths: Array | None) -> functional.Extended:
        """Appends new positions, and returns what they attend to."""
        before = functional.Cache(self.key.value, self.value.value, self.cursor.value)
        new = functional.extend_cache(before, key, value, lengths=lengths, ring=self.ring)
        self.key.value, self.value.value, self.cursor.value = new.cache
        return new


class MultiHeadAttention(MultiHeadDotProductAttention):
    """`MultiHeadDotProductAttention` under a shorter name, which also appears in parameter paths.

    >>> import jax, jax.numpy as jnp
    >>> layer = MultiHeadAttention(num_heads=4, num_kv_heads=2, qkv_features=32)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 6, 12)))
    >>> variables["params"]["key"]["kernel"].shape
    (12, 2, 8)
    """


def _if_given(sharding: OutSharding | None) -> dict[str, OutSharding]:
    """The keyword argument of a projection, which interceptors and tables would see as None."""
    return {} if sharding is None else {"out_sharding": sharding}


def _inputs(
    inputs_q: Array, inputs_k: Array | None, inputs_v: Array | None, inputs_kv: Array | None
) -> tuple[Array, Array, Array]:
    """The inputs of queries, keys and values as arrays, with defaults for those not given.

    Raises:
      ArgumentError: `inputs_v` was given without `inputs_k`, or `inputs_kv` with one of them.
    """
    if inputs_kv is not None:
        if inputs_k is not None or inputs_v is not None:
            raise ArgumentError(
                "Keys and values were passed twice, as `inputs_kv` and as `inputs_k` or "
                "`inputs_v`.",
                hint="inputs_kv is deprecated: pass inputs_k, and inputs_v if it differs.",
            )
        warnings.warn(
            "`inputs_kv` is deprecated: pass inputs_k, and inputs_v if it differs.",
            DeprecationWarning,
            stacklevel=4,
        )
        inputs_k = inputs_v = inputs_kv
    return three_inputs(inputs_q, inputs_k, inputs_v)
