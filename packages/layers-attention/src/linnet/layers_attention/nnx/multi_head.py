"""Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762), as a module.

    output = out(attention(query(x_q), key(x_k), value(x_v)))

The module has four projections around `dot_product_attention`, and a cache of keys and values for
decoding.

B batch (any number of dimensions), Q queries, K keys, C features of an input, H heads, G query
heads that share a key head, D depth of a head, L capacity of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

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
from linnet.layers_attention.functional._limits import Window, scale_of, soft_cap_of, window_of
from linnet.layers_attention.functional._placed import (
    nan_past_the_end,
    only_while_decoding,
    rotated,
)
from linnet.layers_attention.functional.cache import PLAIN_CACHE
from linnet.layers_attention.functional.position_bias import DistanceBias
from linnet.layers_linear.nnx import LinearGeneral
from linnet.layers_norm.nnx import LayerNorm
from linnet.module_core.errors import ArgumentError, ShapeError
from linnet.module_core.layers import (
    NO_METADATA,
    Array,
    DotGeneral,
    DTypeLike,
    Metadata,
    OutSharding,
    PrecisionLike,
    Shape,
    check_rate,
    integer,
)
from linnet.module_core.layers.nnx import (
    Layer,
    dropout_key,
    new_param,
    promote_dtype,
    value_of,
)
from linnet.module_core.nnx import Cache, Param, Rngs, RngStream, first_from

from .dot_product import dot_product_attention

# The options that are passed to an attention function with `**kwargs`.
_KEYWORDS = frozenset(
    {
        "mask",
        "dropout_rng",
        "dropout_rate",
        "broadcast_dropout",
        "deterministic",
        "dtype",
        "precision",
        "module",
        "is_causal",
    }
)


class MultiHeadAttention(Layer):
    """Attention with several heads, each with its own projections.

    With `decode=True` and after `init_cache`, each call takes the next token or tokens (such as a
    prompt), which attend to themselves and all earlier ones. Going past the cache's end is an
    error; in a traced program, where the position is unknown, the output is NaN from there on.

    Args:
      num_heads: H; must divide `qkv_features`.
      in_features: C, features of `inputs_q`.
      qkv_features: H·D, features of all query heads together; None for `in_features`.
      out_features: features of the output; None for `in_features`.
      num_kv_heads: H/G, heads of keys and values, each of which is shared by G heads of queries
        (arXiv:2305.13245); None for `num_heads`.
      in_kv_features: features of `inputs_k` and `inputs_v`, one number or two; None for
        `in_features`.
      dtype: the computation dtype; None for the common type of inputs and parameters.
      param_dtype: dtype of the parameters.
      broadcast_dropout: all batch entries and heads drop the same weights.
      dropout_rate: the probability that a weight is dropped, within [0, 1].
      deterministic: disables dropout; None if each call specifies it. Unused without a rate.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernels.
      out_kernel_init: initializer of the last projection's kernel; None for `kernel_init`.
      bias_init: initializer of the biases.
      out_bias_init: initializer of the last projection's bias; None for `bias_init`.
      use_bias: the projections add a bias.
      attention_fn: replaces `dot_product_attention`: a function of query, key and value that also
        gets the other arguments that its signature names. With `num_kv_heads`, key and value have
        that number of heads.
      decode: keeps a cache of keys and values; None if each call specifies it.
      normalize_qk: normalizes queries and keys (arXiv:2302.05442), with `LayerNorm` without a bias,
        or with a normalization of your own: a function that makes it from D and `rngs`, such as
        `functools.partial(RMSNorm, epsilon=1e-6)`.
      qkv_promote_dtype, out_promote_dtype, ln_promote_dtype: cast the tuples of input and
        parameters in the projections, the last projection, and the normalizations.
      qkv_dot_general, out_dot_general: replace `jax.lax.dot_general` in the projections.
      qkv_dot_general_cls, out_dot_general_cls: factories for these, called with the layer; take
        precedence over them.
      rngs: draws the parameters: query, key, value, their normalizations, out; and with a rate, the
        layer's own stream, from 'dropout'.
      keep_rngs: stores a stream for dropout; otherwise each call needs `rngs`.
      kernel_metadata, bias_metadata: metadata of the parameters of query, key and value.
      out_kernel_metadata, out_bias_metadata: metadata of the last projection's parameters.
      query_ln_scale_metadata, key_ln_scale_metadata: metadata of the normalizations' scales.
      implementation: "exact", "chunked", "cudnn" or "auto": see `dot_product_attention`.
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
      sinks_metadata: metadata of the sinks.

    Attributes:
      query, key, value, out: `LinearGeneral`s with kernels [C, H, D], [C, H/G, D] twice, and
        [H, D, out_features].
      query_ln, key_ln: `LayerNorm`s with scales [D], or what `normalize_qk` makes, or None.
      sinks: `Param` of shape [H], or None.
      rngs: an `RngStream`, or None.
      cached_key, cached_value, cache_index: `Cache`s, after `init_cache`.

    >>> import jax.numpy as jnp
    >>> from linnet.module_core.nnx import Rngs
    >>> layer = MultiHeadAttention(
    ...     num_heads=4, in_features=12, rngs=Rngs(0), decode=False
    ... )
    >>> x = jnp.ones((2, 6, 12))
    >>> layer(x, is_causal=True).shape
    (2, 6, 12)
    >>> layer.init_cache((2, 10, 12))
    >>> y = layer(x, decode=True)  # a prompt of six tokens
    >>> y = layer(x[:, :1], decode=True)
    >>> layer.cache_index[...]
    Array(7, dtype=int32)
    """

    __torch_layout__ = ATTENTION

    @classmethod
    def _beyond_flax(cls, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        absent = dict.fromkeys(("rotary", "scale", "sinks", "soft_cap", "window"))
        return {**absent, "implementation": "auto", "cache_options": PLAIN_CACHE}

    def __init__(
        self,
        num_heads: int,
        in_features: int,
        qkv_features: int | None = None,
        out_features: int | None = None,
        num_kv_heads: int | None = None,
        in_kv_features: int | tuple[int, int] | None = None,
        *,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        broadcast_dropout: bool = True,
        dropout_rate: float = 0.0,
        deterministic: bool | None = None,
        precision: PrecisionLike = None,
        kernel_init: Initializer = default_kernel_init,
        out_kernel_init: Initializer | None = None,
        bias_init: Initializer = default_bias_init,
        out_bias_init: Initializer | None = None,
        use_bias: bool = True,
        attention_fn: Callable[..., Array] = dot_product_attention,
        decode: bool | None = None,
        normalize_qk: bool | Callable[..., Callable[[Array], Array]] = False,
        qkv_promote_dtype: Callable[..., Any] = promote_dtype,
        out_promote_dtype: Callable[..., Any] = promote_dtype,
        ln_promote_dtype: Callable[..., Any] = promote_dtype,
        qkv_dot_general: DotGeneral | None = None,
        out_dot_general: DotGeneral | None = None,
        qkv_dot_general_cls: Callable[[], DotGeneral] | None = None,
        out_dot_general_cls: Callable[[], DotGeneral] | None = None,
        rngs: Rngs,
        keep_rngs: bool = True,
        kernel_metadata: Metadata = NO_METADATA,
        out_kernel_metadata: Metadata = NO_METADATA,
        bias_metadata: Metadata = NO_METADATA,
        out_bias_metadata: Metadata = NO_METADATA,
        query_ln_scale_metadata: Metadata = NO_METADATA,
        key_ln_scale_metadata: Metadata = NO_METADATA,
        implementation: Implementation = "auto",
        rotary: Rotary | None = None,
        window: Window = None,
        scale: float | None = None,
        soft_cap: float | None = None,
        use_sinks: bool = False,
        sinks_init: Initializer = default_bias_init,
        use_out_bias: bool | None = None,
        cache_options: CacheOptions = PLAIN_CACHE,
        sinks_metadata: Metadata = NO_METADATA,
    ) -> None:
        integer(in_features, "in_features", least=1)
        heads = heads_of(num_heads, num_kv_heads, qkv_features, in_features)
        self.num_heads = num_heads
        self.in_features = in_features
        self.qkv_features = qkv_features or in_features
        self.out_features = integer(out_features or in_features, "out_features")
        self.in_kv_features: int | tuple[int, int] = in_features
        of_key = of_value = in_features
        if isinstance(in_kv_features, tuple) and len(in_kv_features) == 2:
            of_key, of_value = (integer(n, "in_kv_features", least=1) for n in in_kv_features)
            self.in_kv_features = (of_key, of_value)
        elif in_kv_features:
            of_key = of_value = self.in_kv_features = integer(in_kv_features, "in_kv_features")
        self.num_kv_heads = heads.keys
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.broadcast_dropout = broadcast_dropout
        self.dropout_rate = check_rate(dropout_rate, "dropout_rate")
        self.deterministic = deterministic
        self.precision = precision
        self.use_bias = use_bias
        self.attention_fn = attention_fn
        self.decode = decode
        self.normalize_qk = normalize_qk
        self.qkv_promote_dtype = qkv_promote_dtype
        self.out_promote_dtype = out_promote_dtype
        self.ln_promote_dtype = ln_promote_dtype
        self.qkv_dot_general = qkv_dot_general
        self.out_dot_general = out_dot_general
        self.qkv_dot_general_cls = qkv_dot_general_cls
        self.out_dot_general_cls = out_dot_general_cls
        self.head_dim = heads.depth
        self.implementation = check_implementation(implementation)
        left, _ = window_of(window)
        cache_options.capacity(1, left)
        if rotary is not None:
            rotary.features(heads.depth)
        self.rotary = rotary
        self.window = window
        self.scale = scale_of(scale)
        self.soft_cap = soft_cap_of(soft_cap)
        self.cache_options = cache_options

        linear = partial(
            LinearGeneral,
            dtype=dtype,
            param_dtype=param_dtype,
            use_bias=use_bias,
            precision=precision,
            rngs=rngs,
        )
        project = partial(
            linear,
            kernel_init=kernel_init,
            bias_init=bias_init,
            promote_dtype=qkv_promote_dtype,
            dot_general=qkv_dot_general,
            dot_general_cls=qkv_dot_general_cls,
            kernel_metadata=kernel_metadata,
            bias_metadata=bias_metadata,
        )
        self.query = project(in_features, (heads.queries, heads.depth))
        self.key = project(of_key, (heads.keys, heads.depth))
        self.value = project(of_value, (heads.keys, heads.depth))
        self.query_ln: Any = None
        self.key_ln: Any = None
        if callable(normalize_qk):
            self.query_ln = normalize_qk(heads.depth, rngs=rngs)
            self.key_ln = normalize_qk(heads.depth, rngs=rngs)
        elif normalize_qk:
            norm = partial(
                LayerNorm,
                heads.depth,
                use_bias=False,
                dtype=dtype,
                param_dtype=param_dtype,
                promote_dtype=ln_promote_dtype,
                rngs=rngs,
            )
            self.query_ln = norm(scale_metadata=query_ln_scale_metadata)
            self.key_ln = norm(scale_metadata=key_ln_scale_metadata)
        self.out = linear(
            (heads.queries, heads.depth),
            self.out_features,
            axis=(-2, -1),
            kernel_init=out_kernel_init or kernel_init,
            bias_init=out_bias_init or bias_init,
            use_bias=use_bias if use_out_bias is None else use_out_bias,
            promote_dtype=out_promote_dtype,
            dot_general=out_dot_general,
            dot_general_cls=out_dot_general_cls,
            kernel_metadata=out_kernel_metadata,
            bias_metadata=out_bias_metadata,
        )
        self.sinks: Param[Array] | None = None
        if use_sinks:
            self.sinks = new_param(
                self, sinks_init, (heads.queries,), param_dtype, rngs, sinks_metadata
            )
        self.rngs: RngStream | None = None
        if self.dropout_rate > 0.0 and keep_rngs:
            self.rngs = rngs.dropout.fork()
        self.cached_key: Cache[Array] | None = None
        self.cached_value: Cache[Array] | None = None
        self.cache_index: Cache[Array] | None = None

    def __call__(
        self,
        inputs_q: Array,
        inputs_k: Array | None = None,
        inputs_v: Array | None = None,
        *,
        mask: Array | None = None,
        deterministic: bool | None = None,
        rngs: Rngs | RngStream | Array | None = None,
        sow_weights: bool = False,
        decode: bool | None = None,
        is_causal: bool = False,
        out_sharding: OutSharding | None = None,
        qkv_sharding: OutSharding | None = None,
        bias: Array | DistanceBias | None = None,
        segment_ids: Array | None = None,
        key_segment_ids: Array | None = None,
        positions: Array | None = None,
        lengths: Array | None = None,
    ) -> Array:
        """Projects the inputs, attends, and projects the result.

        Args:
          inputs_q: [*B, Q, in_features].
          inputs_k: [*B, K, in_kv_features, or the first of two]; None for `inputs_q`.
          inputs_v: [*B, K, in_kv_features, or the second of two]; None for `inputs_k`.
          mask: broadcasts to [*B, H, Q, K]; attention is forbidden where it is zero. A fully masked
            query gets the mean of all values, or zeros if there are sinks. While
            decoding, K is the cache's length.
          deterministic: disables dropout; takes precedence over the layer's setting.
          rngs: streams, of which 'dropout' is used, or one stream, or a key; takes precedence over
            the layer's own stream.
          sow_weights: sows the weights before dropout as `Intermediate` "attention_weights".
          decode: appends the keys and values to the cache, and attends to the cache; takes
            precedence over the layer's setting.
          is_causal: query i sees only the keys up to i; faster than a causal mask.
          out_sharding, qkv_sharding: shardings of the output, and of queries, keys and values, on a
            mesh with explicit axes.
          bias: broadcasts to [*B, H, Q, K], or a function of distances; added to the logits.
          segment_ids: integers that broadcast to [*B, Q]; a query sees the keys of its own segment.
          key_segment_ids: the same for the keys, [*B, K]; None for `segment_ids`.
          positions: broadcasts to [*B, Q], for rotary positions; None for 0, 1, …, or, while
            decoding, those that follow the cached ones. Keys of other inputs are at 0, 1, ….
          lengths: while decoding with a cache per row, how many of the Q new positions of each row
            are tokens; the others are padding after them, and their outputs are arbitrary.

        Returns:
          [*B, Q, out_features].

        Raises:
          ArgumentError: neither layer nor call specifies whether to decode, or, with a rate,
            whether to drop; or the cache is missing or full.
        """
        itself = inputs_k is None
        inputs_q, inputs_k, inputs_v = three_inputs(inputs_q, inputs_k, inputs_v)
        query = self.query(inputs_q, out_sharding=qkv_sharding)  # [*B, Q, H, D]
        key = self.key(inputs_k, out_sharding=qkv_sharding)  # [*B, K, H/G, D]
        value = self.value(inputs_v, out_sharding=qkv_sharding)  # [*B, K, H/G, D]
        if self.query_ln is not None and self.key_ln is not None:
            query, key = self.query_ln(query), self.key_ln(key)
        offset: int | Array = 0
        overflowed = key_positions = None
        if first_from(
            decode,
            self.decode,
            error_msg=_undecided("decode", "model.set_attributes(decode=False)"),
        ):
            check_new_tokens(query, key)
            before, ring = self._cache(), self.cache_options.ring
            room = None if ring else before.key.shape[-3]
            query, key = rotated(
                self.rotary, query, key, positions, before.filled, room=room, itself=True
            )
            new = functional.extend_cache(before, key, value, lengths=lengths, ring=ring)
            self._store(new.cache)
            key, value, offset = new.key, new.value, new.query_offset
            key_positions, overflowed = new.key_positions, new.overflowed
            is_causal = True
        else:
            only_while_decoding(lengths)
            query, key = rotated(self.rotary, query, key, positions, None, room=None, itself=itself)
        dropout_rng = None
        if self.dropout_rate > 0.0:
            deterministic = first_from(
                deterministic,
                self.deterministic,
                error_msg=_undecided("deterministic", "model.train() or model.eval()"),
            )
            if not deterministic:
                dropout_rng = dropout_key(self.rngs if rngs is None else rngs, self)
        else:
            deterministic = True
        y = call_attention_fn(
            self.attention_fn,
            query,
            key,
            value,
            {
                "mask": mask,
                "dropout_rng": dropout_rng,
                "dropout_rate": self.dropout_rate,
                "broadcast_dropout": self.broadcast_dropout,
                "deterministic": deterministic,
                "dtype": self.dtype,
                "precision": self.precision,
                "bias": bias,
                "scale": self.scale,
                "soft_cap": self.soft_cap,
                "sinks": None if self.sinks is None else value_of(self.sinks),
            },
            module=self if sow_weights else None,
            implementation=self.implementation,
            is_causal=is_causal,
            query_offset=offset,
            key_positions=key_positions,
            window=self.window,
            segment_ids=segment_ids,
            key_segment_ids=key_segment_ids,
            any_keyword=_KEYWORDS,
        )  # [*B, Q, H, D]
        y = self.out(y, out_sharding=out_sharding)  # [*B, Q, C]
        return nan_past_the_end(y, overflowed)

    def _cache(self) -> functional.Cache:
        """The cache's arrays."""
        cached_key, cached_value, index = self.cached_key, self.cached_value, self.cache_index
        if cached_key is None or cached_value is None or index is None:
            raise ArgumentError(
                "Autoregressive cache not initialized: decode is True, but there is no cache.",
                hint="Call init_cache((*batch, maximum length, features)) before the first token.",
            )
        return functional.Cache(cached_key.get_value(), cached_value.get_value(), index.get_value())

    def _store(self, cache: functional.Cache) -> None:
        variables = (self.cached_key, self.cached_value, self.cache_index)
        for variable, new in zip(variables, cache, strict=True):
            assert variable is not None
            variable.set_value(new)

    def init_cache(self, input_shape: Shape, dtype: DTypeLike = jnp.float32) -> None:
        """Makes an empty cache, for decoding.

        Args:
          input_shape: (*B, L, in_features), the shape of an input of the maximum length.
          dtype: dtype of keys and values in the cache; that of `cache_options` takes precedence.

        Raises:
          ShapeError: there are fewer than two dimensions.
        """
        if len(input_shape) < 2:
            raise ShapeError(
                f"input_shape={tuple(input_shape)} must have at least 2 dimensions, (*batch,"
                " length, features)."
            )
        options = self.cache_options
        left, _ = window_of(self.window)
        length = options.capacity(input_shape[-2], left)
        shape = (*input_shape[:-2], length, self.num_kv_heads, self.head_dim)
        dtype = dtype if options.dtype is None else options.dtype
        empty = functional.init_cache(shape, shape, dtype, dtype, per_row=options.per_row)
        axes = NO_METADATA if options.axes is None else {"out_sharding": options.axes}
        self.cached_key, self.cached_value = Cache(empty.key, **axes), Cache(empty.value, **axes)
        self.cache_index = Cache(empty.filled)

    def set_view(
        self,
        deterministic: bool | None = None,
        decode: bool | None = None,
        batch_size: int | Shape | None = None,
        max_length: int | None = None,
    ) -> None:
        """Sets the given attributes; `nnx.view` calls this method on the copy that it makes.

        Args:
          deterministic, decode: see the constructor.
          batch_size, max_length: the size of the cache; unless a cache of this size exists, an
            empty one is created.

        Raises:
          ArgumentError: one of the cache's sizes is given without the other.
        """
        if deterministic is not None:
            self.deterministic = deterministic
        if decode is not None:
            self.decode = decode
        if batch_size is None and max_length is None:
            return
        if batch_size is None or max_length is None:
            raise ArgumentError(
                f"A cache needs both batch_size and max_length, got batch_size={batch_size!r} "
                f"and max_length={max_length!r}."
            )
        batch = (batch_size,) if isinstance(batch_size, int) else tuple(batch_size)
        cached = self.cached_key
        left, _ = window_of(self.window)
        length = self.cache_options.capacity(max_length, left)
        if cached is None or cached.shape[:-2] != (*batch, length):
            dtype = jnp.float32 if cached is None else cached.dtype
            self.init_cache((*batch, max_length, self.in_features), dtype)


def _undecided(name: str, remedy: str) -> str:
    return (
        f"{name} is None in both the layer and its call. Pass {name}=True or False to the "
        f"constructor or here, or set it for the whole model: {remedy}."
    )
