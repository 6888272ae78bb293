"""Whole models, written once and built twice: `build(flax.linen)` and `build(linnet.linen)`.

They are models that people write: a language model, a model of padded texts, a ResNet, a U-Net, a
translator, a tagger of sequences of different lengths, a token generator with a cache, and the
discriminator of a GAN. All are tiny.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

rng = np.random.default_rng(5)


def tokens(*shape, below=11):
    """Random tokens; 0, which means padding, doesn't occur."""
    return jnp.asarray(rng.integers(1, below, shape), jnp.int32)


def normal(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


# The same inputs for both libraries.
WORDS = tokens(3, 6)
PADDED = WORDS.at[1, 4:].set(0).at[2, 2:].set(0)
SOURCE, TARGET = tokens(2, 5), tokens(2, 4)
IMAGES = normal(4, 8, 8, 3)
LENGTHS = jnp.array([6, 3, 1])
TIMES = jnp.array([0.1, 0.4, 0.6, 0.9])


@dataclasses.dataclass(frozen=True)
class Model:
    """A model and its calls.

    Attributes:
      make: makes the module.
      inputs: arguments of `__call__`.
      mutable: collections that a call in training changes.
      streams: random streams of a call in training, besides those of `init`.
      rounded: whether Linnet computes the output differently (recurrence, with the products of all
        time steps in one), so that it is compared with a tolerance. Parameters never are.
      modes: keyword arguments of a call in training, and of one in evaluation.
    """

    make: Callable[[], Any]
    inputs: tuple[Any, ...]
    mutable: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    rounded: bool = False
    modes: tuple[dict[str, Any], dict[str, Any]] = ({"train": True}, {"train": False})


def build(nn):
    """The models, with modules from the namespace `nn`."""
    return {
        "language model, pre-norm": Model(
            language_model(nn), (WORDS,), ("intermediates",), ("dropout",)
        ),
        "text model, post-norm": Model(text_model(nn), (PADDED,), ("intermediates",), ("dropout",)),
        "ResNet": Model(resnet(nn), (IMAGES,), ("batch_stats",)),
        "U-Net": Model(unet(nn), (IMAGES, TIMES), (), ("dropout",)),
        "translator": Model(translator(nn), (SOURCE, TARGET), (), ("dropout",)),
        "tagger": Model(tagger(nn), (PADDED, LENGTHS), (), ("dropout",), rounded=True),
        "decoder with cache": Model(decoder(nn), (WORDS,), modes=({}, {})),
        "discriminator": Model(discriminator(nn), (IMAGES,), ("batch_stats",)),
    }


def language_model(nn):
    """A pre-norm transformer (compact style); the embedding is also the last layer."""

    class Mlp(nn.Module):
        hidden: int
        dropout: float

        @nn.compact
        def __call__(self, x, deterministic):
            y = nn.gelu(nn.Dense(self.hidden)(x))
            y = nn.Dense(x.shape[-1], kernel_init=nn.initializers.normal(0.02))(y)
            return nn.Dropout(self.dropout, deterministic=deterministic)(y)

    class Block(nn.Module):
        heads: int
        dropout: float = 0.2

        @nn.compact
        def __call__(self, x, mask, deterministic):
            y = nn.LayerNorm()(x)
            y = nn.MultiHeadDotProductAttention(
                num_heads=self.heads, dropout_rate=self.dropout, deterministic=deterministic
            )(y, y, mask=mask)
            x = x + nn.Dropout(self.dropout)(y, deterministic=deterministic)
            x = x + Mlp(4 * x.shape[-1], self.dropout)(nn.LayerNorm()(x), deterministic)
            self.sow("intermediates", "norm", jnp.linalg.norm(x))
            return x

    class LanguageModel(nn.Module):
        vocabulary: int = 11
        features: int = 8
        layers: int = 2

        @nn.compact
        def __call__(self, tokens, train):
            embed = nn.Embed(
                self.vocabulary, self.features, embedding_init=nn.initializers.normal()
            )
            positions = self.param(
                "positions", nn.initializers.normal(0.02), (tokens.shape[-1], self.features)
            )
            x = embed(tokens) + positions
            x = nn.Dropout(0.1, deterministic=not train)(x)
            mask = nn.make_causal_mask(tokens)
            for _ in range(self.layers):
                x = Block(heads=2)(x, mask, not train)
            return embed.attend(nn.LayerNorm(name="last")(x))

    return LanguageModel


def text_model(nn):
    """A post-norm transformer (setup style) that predicts its input, padded texts."""

    class Layer(nn.Module):
        features: int
        heads: int

        def setup(self):
            self.attention = nn.MultiHeadAttention(
                self.heads, dropout_rate=0.1, broadcast_dropout=False, normalize_qk=True
            )
            self.norms = [nn.LayerNorm(epsilon=1e-5), nn.LayerNorm(epsilon=1e-5)]
            self.mlp = nn.Sequential(
                [nn.Dense(2 * self.features), nn.relu, nn.Dense(self.features)]
            )
            self.dropout = nn.Dropout(0.1)

        def __call__(self, x, mask, train):
            y = self.attention(x, mask=mask, deterministic=not train, sow_weights=True)
            x = self.norms[0](x + self.dropout(y, deterministic=not train))
            y = self.dropout(self.mlp(x), deterministic=not train)
            return self.norms[1](x + y)

    class TextModel(nn.Module):
        features: int = 8

        def setup(self):
            self.embed = nn.Embed(11, self.features)
            self.layers = [Layer(self.features, 4) for _ in range(2)]
            self.bias = self.param("bias", nn.initializers.zeros, (11,))

        def __call__(self, tokens, train):
            mask = nn.make_attention_mask(tokens > 0, tokens > 0)
            x = self.embed(tokens) * jnp.sqrt(self.features)
            for layer in self.layers:
                x = layer(x, mask, train)
            return self.embed.attend(x) + self.bias

    return TextModel


def resnet(nn):
    """A ResNet with batch statistics, whose layers are partially applied."""

    class Block(nn.Module):
        filters: int
        conv: Any
        norm: Any
        strides: tuple[int, int] = (1, 1)

        @nn.compact
        def __call__(self, x):
            y = self.conv(self.filters, (3, 3), self.strides)(x)
            y = nn.relu(self.norm()(y))
            y = self.conv(self.filters, (3, 3))(y)
            y = self.norm(scale_init=nn.initializers.constant(0.5))(y)
            if x.shape != y.shape:
                x = self.conv(self.filters, (1, 1), self.strides, name="conv_proj")(x)
                x = self.norm(name="norm_proj")(x)
            return nn.relu(x + y)

    class ResNet(nn.Module):
        sizes: tuple[int, ...] = (1, 2)
        filters: int = 4

        @nn.compact
        def __call__(self, x, train):
            conv = functools.partial(nn.Conv, use_bias=False)
            norm = functools.partial(
                nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5
            )
            x = conv(self.filters, (3, 3), padding=[(1, 1), (1, 1)], name="conv_init")(x)
            x = nn.relu(norm(name="bn_init")(x))
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
            for i, blocks in enumerate(self.sizes):
                for j in range(blocks):
                    strides = (2, 2) if i > 0 and j == 0 else (1, 1)
                    x = Block(self.filters * 2**i, conv, norm, strides)(x)
            return nn.Dense(5)(jnp.mean(x, axis=(1, 2)))

    return ResNet


def unet(nn):
    """A U-Net conditioned on a time, as in diffusion models."""

    class Block(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x, t, train):
            y = nn.Conv(self.features, (3, 3))(nn.swish(nn.GroupNorm(num_groups=2)(x)))
            y = y + nn.Dense(self.features)(nn.swish(t))[:, None, None]
            y = nn.swish(nn.GroupNorm(num_groups=None, group_size=2)(y))
            y = nn.Dropout(0.1, deterministic=not train, broadcast_dims=(1, 2))(y)
            y = nn.Conv(self.features, (3, 3))(y)
            if x.shape[-1] != self.features:
                x = nn.Conv(self.features, (1, 1))(x)
            return x + y

    class UNet(nn.Module):
        widths: tuple[int, ...] = (4, 4)

        @nn.compact
        def __call__(self, x, t, train):
            angles = t[:, None] * jnp.array([1.0, 4.0, 16.0])
            t = nn.Dense(8)(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1))
            x = start = nn.Conv(self.widths[0], (3, 3), kernel_dilation=1)(x)
            skips = []
            for width in self.widths:
                x = Block(width)(x, t, train)
                skips.append(x)
                x = nn.avg_pool(x, (2, 2), strides=(2, 2))
            x = Block(self.widths[-1], name="middle")(x, t, train)
            for width in reversed(self.widths):
                x = nn.ConvTranspose(width, (2, 2), strides=(2, 2))(x)
                x = Block(width)(jnp.concatenate([x, skips.pop()], -1), t, train)
            return nn.Conv(3, (3, 3), padding="CIRCULAR")(x + start)

    return UNet


def translator(nn):
    """Encoder and decoder; the decoder's layers are scanned and rematerialized."""

    class Layer(nn.Module):
        features: int
        train: bool

        @nn.compact
        def __call__(self, x, encoded, mask):
            options = {"num_heads": 2, "dropout_rate": 0.1, "deterministic": not self.train}
            drop = nn.Dropout(0.1, deterministic=not self.train)
            y = nn.LayerNorm()(x)
            x = x + drop(nn.MultiHeadDotProductAttention(**options)(y, mask=mask))
            y = nn.LayerNorm()(x)
            x = x + drop(nn.MultiHeadDotProductAttention(**options)(y, encoded))
            y = nn.Dense(2 * self.features)(nn.LayerNorm()(x))
            return x + drop(nn.Dense(self.features)(nn.silu(y))), jnp.mean(x)

    class Encoder(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x, train):
            x = nn.Dense(self.features)(nn.RMSNorm()(x))
            return nn.Dropout(0.2, deterministic=not train)(nn.relu(x))

    class Translator(nn.Module):
        features: int = 8
        layers: int = 3

        @nn.compact
        def __call__(self, source, target, train):
            embed = nn.Embed(11, self.features, name="shared")
            encoder = nn.remat(Encoder, static_argnums=(2,))
            encoded = encoder(self.features, name="encoder")(embed(source), train)
            layers = nn.scan(
                nn.remat(Layer, prevent_cse=False),
                variable_axes={"params": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=nn.broadcast,
                length=self.layers,
                metadata_params={nn.PARTITION_NAME: "layers"},
            )(self.features, train, name="layers")
            y, means = layers(embed(target), encoded, nn.make_causal_mask(target))
            return embed.attend(nn.LayerNorm()(y)) + means.sum()

    return Translator


def tagger(nn):
    """A bidirectional network over sequences of different lengths."""

    class Tagger(nn.Module):
        features: int = 4

        @nn.compact
        def __call__(self, tokens, lengths, train):
            x = nn.Embed(11, self.features)(tokens)
            x = nn.Dropout(0.2, deterministic=not train)(x)
            x = nn.Bidirectional(
                nn.RNN(nn.LSTMCell(self.features)), nn.RNN(nn.GRUCell(self.features))
            )(x, seq_lengths=lengths)
            x = nn.Bidirectional(
                nn.RNN(nn.OptimizedLSTMCell(self.features)),
                nn.RNN(nn.OptimizedLSTMCell(self.features)),
                merge_fn=lambda a, b: a + b,
            )(x, seq_lengths=lengths)
            carry, y = nn.RNN(nn.GRUCell(self.features), return_carry=True)(x, seq_lengths=lengths)
            return nn.Dense(7)(y) + nn.Dense(7)(carry)[:, None]

    return Tagger


def decoder(nn):
    """A transformer that generates one token at a time with `generate=True`."""

    class Decoder(nn.Module):
        generate: bool = False
        features: int = 8

        @nn.compact
        def __call__(self, tokens):
            embed = nn.Embed(11, self.features)
            x = embed(tokens)
            index = 0
            if self.generate:
                started = self.has_variable("cache", "position")
                position = self.variable("cache", "position", lambda: jnp.zeros((), jnp.int32))
                index = position.value
                if started:
                    position.value = index + tokens.shape[-1]
            positions = self.param("positions", nn.initializers.normal(), (6, self.features))
            length = tokens.shape[-1]
            x = x + jax.lax.dynamic_slice_in_dim(positions, index, length)
            mask = None if self.generate else nn.make_causal_mask(tokens)
            for i in range(2):
                y = nn.LayerNorm(name=f"norm_{i}")(x)
                attention = nn.MultiHeadAttention(2, decode=self.generate, name=f"attention_{i}")
                x = x + attention(y, mask=mask)
                x = x + nn.Dense(self.features)(nn.tanh(nn.Dense(16)(x)))
            return embed.attend(x)

    return Decoder


def discriminator(nn):
    """The discriminator of a GAN, with spectral normalization in its layers."""

    class Discriminator(nn.Module):
        features: int = 4

        @nn.compact
        def __call__(self, x, train):
            for i in range(2):
                conv = nn.Conv(self.features * 2**i, (4, 4), strides=(2, 2))
                x = nn.SpectralNorm(conv)(x, update_stats=train)
                x = nn.leaky_relu(x, 0.2)
            x = x.reshape(x.shape[0], -1)
            return nn.SpectralNorm(nn.Dense(1), n_steps=2, name="score")(x, update_stats=train)

    return Discriminator
