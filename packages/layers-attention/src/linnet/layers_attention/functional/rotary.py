"""Rotary positions (Su et al. 2021, arXiv:2104.09864), and their scalings for longer texts.

Each pair of features (a, b) is a point in the plane. At position p, the pair with frequency ω is
turned by the angle p·ω:

    (a, b) → (a cos pω - b sin pω,  b cos pω + a sin pω)        ω_i = base^(-2i / R),  i < R / 2

so the product of a query and a key depends on the distance between their positions. The first R of
the D features of a head are turned; the others pass through. Pairs are feature i and i + R/2
("halves", as in GPT-NeoX and Llama), or neighbors 2i and 2i + 1 ("interleaved", as in the paper and
in GPT-J).

A scaling changes the frequencies of a model that was trained on `original_length` positions:

    linear (Chen et al. 2023, arXiv:2306.15595)      ω / factor
    NTK-aware (Peng et al. 2023, arXiv:2309.00071, §3.1)  base · factor^(R / (R - 2))
    Llama 3 (arXiv:2407.21783)                       low frequencies / factor, with a ramp
    YaRN (arXiv:2309.00071, §3.4)                    the same by a ramp over features, and a
                                                     temperature of the logits
    LongRoPE (Ding et al. 2024, arXiv:2402.13753)    each frequency / a factor of its own

B batch (any number of dimensions), T time, H heads, D depth of a head, R rotated features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax

from linnet.module_core.errors import ArgumentError, ArgumentTypeError, ShapeError, counted
from linnet.module_core.layers import Array, as_array, inexact, integer
from linnet.module_core.layout import gathered, like

Frequencies: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


def rotary(
    x: Array,
    positions: Array | None = None,
    *,
    base: float = 10_000.0,
    fraction: float = 1.0,
    interleaved: bool = False,
    scaling: Scaling | None = None,
) -> Array:
    """Turns the features of queries or keys by angles proportional to their positions.

    Angles, sines and the rotation are computed in float32, or in the type of `x` if it is wider:
    in bfloat16, positions beyond 256 would coincide.

    Args:
      x: [*B, T, H, D], queries or keys.
      positions: integers or floats that broadcast to [*B, T]; None for 0, 1, …, T - 1.
      base: determines the frequencies; a larger one turns more slowly.
      fraction: the part of the D features that is rotated, within (0, 1].
      interleaved: pairs are neighbors; otherwise a feature of the first half and one of the second.
      scaling: for texts longer than those in training; see `Rotary`.

    Returns:
      [*B, T, H, D], in the type of `x`.

    Raises:
      ArgumentError: the number of rotated features is odd or zero, or `base` or `fraction` is
        outside its range.
      ShapeError: `x` has fewer than three dimensions, or the positions don't fit it.
      ArgumentTypeError: an argument is not of the type given above.

    >>> import jax.numpy as jnp
    >>> x = jnp.ones((3, 1, 2))  # three positions, one head, one pair
    >>> with jnp.printoptions(precision=2, suppress=True):
    ...     print(rotary(x)[:, 0])
    [[ 1.    1.  ]
     [-0.3   1.38]
     [-1.33  0.49]]
    """
    return Rotary(base, fraction, interleaved, scaling)(x, positions)


@dataclass(frozen=True)
class LinearScaling:
    """All frequencies divided by a factor (Chen et al. 2023, arXiv:2306.15595).

    Attributes:
      factor: how many times longer the texts may be.

    >>> Rotary(scaling=LinearScaling(2.0)).frequencies(4)
    array([0.5  , 0.005])
    """

    factor: float

    def __post_init__(self) -> None:
        _positive(self.factor, "factor")

    def scaled(self, frequencies: Frequencies, base: float, rotated: int) -> Frequencies:
        """The scaled frequencies: [R / 2]."""
        return frequencies / self.factor

    @property
    def amplitude(self) -> float:
        """The factor of sines and cosines."""
        return 1.0


@dataclass(frozen=True)
class NTKScaling:
    """A larger base: the lowest frequency is divided by the factor; the highest is unchanged.

    Peng et al. 2023, arXiv:2309.00071, section 3.1.

    Attributes:
      factor: how many times longer the texts may be.

    >>> Rotary(scaling=NTKScaling(2.0)).frequencies(4)
    array([1.   , 0.005])
    """

    factor: float

    def __post_init__(self) -> None:
        _positive(self.factor, "factor")

    def scaled(self, frequencies: Frequencies, base: float, rotated: int) -> Frequencies:
        """The scaled frequencies: [R / 2]."""
        if rotated == 2:
            return frequencies  # a single frequency, the highest
        larger = base * float(self.factor ** (rotated / (rotated - 2)))
        return _frequencies(larger, rotated)

    @property
    def amplitude(self) -> float:
        """The factor of sines and cosines."""
        return 1.0


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3.1's scaling (arXiv:2407.21783): low frequencies are divided; high ones are not.

    A frequency that makes fewer than `low_frequency_factor` turns in `original_length` positions is
    divided by `factor`, one with more than `high_frequency_factor` turns is unchanged, and in
    between, the two are mixed. The attributes are, in this order, `factor`, `low_freq_factor`,
    `high_freq_factor` and `original_max_position_embeddings` of the models' configuration files.

    >>> Rotary(500_000.0, scaling=Llama3Scaling(8.0)).frequencies(128)[[0, -1]]
    array([1.00000000e+00, 3.06892599e-07])
    """

    factor: float
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_length: int = 8192

    def __post_init__(self) -> None:
        _positive(self.factor, "factor")
        _positive(self.low_frequency_factor, "low_frequency_factor")
        integer(self.original_length, "original_length", least=1)
        if not self.high_frequency_factor > self.low_frequency_factor:
            raise ArgumentError(
                f"high_frequency_factor={self.high_frequency_factor} must be larger than "
                f"low_frequency_factor={self.low_frequency_factor}."
            )

    def scaled(self, frequencies: Frequencies, base: float, rotated: int) -> Frequencies:
        """The scaled frequencies: [R / 2]."""
        turns = self.original_length * frequencies / (2 * math.pi)
        low, high = self.low_frequency_factor, self.high_frequency_factor
        kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
        scaled: Frequencies = frequencies * (kept + (1.0 - kept) / self.factor)
        return scaled

    @property
    def amplitude(self) -> float:
        """The factor of sines and cosines."""
        return 1.0


@dataclass(frozen=True)
class YaRNScaling:
    """YaRN (Peng et al. 2023, arXiv:2309.00071).

    With i(n) the index of the frequency that makes n turns in `original_length` positions,
    frequencies up to i(`beta_fast`) are unchanged, those from i(`beta_slow`) on are divided by
    `factor`, and in between, the two are mixed in shares that are linear in the index, as in the
    models that use YaRN.

    Attributes:
      factor: how many times longer the texts may be.
      original_length: number of positions of the texts in training.
      beta_fast, beta_slow: the numbers of turns between which the two are mixed.
      attention_factor: the factor of sines and cosines, the root of the logits' temperature; None
        for the paper's 0.1 ln(factor) + 1.
      truncate: the indices are rounded outward to integers.

    >>> yarn = YaRNScaling(4.0, original_length=64)
    >>> Rotary(scaling=yarn).frequencies(8)
    array([1.00e+00, 6.25e-02, 2.50e-03, 2.50e-04])
    >>> round(yarn.amplitude, 4)
    1.1386
    """

    factor: float
    original_length: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        _positive(self.factor, "factor")
        integer(self.original_length, "original_length", least=1)
        _positive(self.beta_slow, "beta_slow")
        if not self.beta_fast >= self.beta_slow:
            raise ArgumentError(
                f"beta_fast={self.beta_fast} must be at least beta_slow={self.beta_slow}."
            )
        if self.attention_factor is not None:
            _positive(self.attention_factor, "attention_factor")

    def scaled(self, frequencies: Frequencies, base: float, rotated: int) -> Frequencies:
        """The scaled frequencies: [R / 2]."""

        def index(turns: float) -> float:
            return (
                rotated
                * math.log(self.original_length / (turns * 2 * math.pi))
                / (2 * math.log(base))
            )

        first, last = index(self.beta_fast), index(self.beta_slow)
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, rotated - 1)
        width = max(last - first, 1e-3)
        divided = np.clip((np.arange(rotated // 2) - first) / width, 0.0, 1.0)
        scaled: Frequencies = frequencies * (1.0 - divided + divided / self.factor)
        return scaled

    @property
    def amplitude(self) -> float:
        """The factor of sines and cosines."""
        if self.attention_factor is not None:
            return float(self.attention_factor)
        return 0.1 * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0


@dataclass(frozen=True)
class LongRoPEScaling:
    """LongRoPE (Ding et al. 2024, arXiv:2402.13753): a factor for each frequency.

    Models have one list of factors for texts up to the length in training and another for
    longer ones. A text keeps its list: cached keys were turned with it.

    Attributes:
      factors: what each of the R / 2 frequencies is divided by.
      attention_factor: the factor of sines and cosines, the root of the logits' temperature.

    >>> Rotary(scaling=LongRoPEScaling((1.0, 4.0))).frequencies(4)
    array([1.    , 0.0025])
    """

    factors: tuple[float, ...]
    attention_factor: float = 1.0

    def __post_init__(self) -> None:
        for i, factor in enumerate(self.factors):
            _positive(factor, f"factors[{i}]")
        object.__setattr__(self, "factors", tuple(map(float, self.factors)))
        _positive(self.attention_factor, "attention_factor")

    def scaled(self, frequencies: Frequencies, base: float, rotated: int) -> Frequencies:
        """The scaled frequencies: [R / 2].

        Raises:
          ArgumentError: the number of factors isn't R / 2.
        """
        if len(self.factors) != rotated // 2:
            raise ArgumentError(
                f"LongRoPEScaling has {counted(len(self.factors), 'factor')}, expected"
                f" {rotated // 2}: one for each pair of the {rotated} rotated features."
            )
        scaled: Frequencies = frequencies / np.asarray(self.factors)
        return scaled

    @property
    def amplitude(self) -> float:
        """The factor of sines and cosines."""
        return float(self.attention_factor)


Scaling: TypeAlias = LinearScaling | NTKScaling | Llama3Scaling | YaRNScaling | LongRoPEScaling


@dataclass(frozen=True)
class Rotary:
    """The options of rotary positions, as an argument of a layer: `rotary=Rotary(base=500_000.0)`.

    Attributes:
      base: determines the frequencies; a larger one turns more slowly.
      fraction: the part of the features of a head that is rotated, within (0, 1].
      interleaved: pairs are neighbors; otherwise a feature of the first half and one of the second.
      scaling: for texts longer than those in training: `LinearScaling`, `NTKScaling`,
        `Llama3Scaling`, `YaRNScaling` or `LongRoPEScaling`; None for no scaling.

    Raises:
      ArgumentError: `base` or `fraction` is outside its range.
      ArgumentTypeError: `scaling` is something else.

    >>> Rotary(fraction=0.5).frequencies(8)
    array([1.  , 0.01])
    """

    base: float = 10_000.0
    fraction: float = 1.0
    interleaved: bool = False
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        if not _positive(self.base, "base") > 1:
            raise ArgumentError(f"base={self.base} must be larger than 1, such as 10,000.")
        if not _positive(self.fraction, "fraction") <= 1:
            raise ArgumentError(
                f"fraction={self.fraction} must be within (0, 1].",
                hint="It is the part of a head's features that is rotated; 1.0 rotates all.",
            )
        if not (self.scaling is None or isinstance(self.scaling, Scaling)):
            raise ArgumentTypeError(
                "scaling must be a LinearScaling, NTKScaling, Llama3Scaling, YaRNScaling or "
                f"LongRoPEScaling, got {self.scaling!r}."
            )

    def features(self, depth: int) -> int:
        """R, how many features of a head with `depth` features are rotated.

        Raises:
          ArgumentError: the number is odd or zero.
        """
        rotated = int(depth * self.fraction)
        if rotated % 2 or not rotated:
            raise ArgumentError(
                f"Rotary positions turn pairs of features, but {rotated} of the "
                f"{counted(depth, 'feature')} of a head {'is' if rotated == 1 else 'are'} rotated.",
                hint="Use heads with an even number of features, or another fraction.",
            )
        return rotated

    def frequencies(self, depth: int) -> Frequencies:
        """ω of each pair, in radians per position: [R / 2]."""
        rotated = self.features(depth)
        frequencies = _frequencies(self.base, rotated)
        if self.scaling is None:
            return frequencies
        return self.scaling.scaled(frequencies, self.base, rotated)

    def __call__(self, x: Array, positions: Array | None = None) -> Array:
        """The rotated features; see `rotary`.

        Args:
          x: [*B, T, H, D].
          positions: broadcasts to [*B, T]; None for 0, 1, …, T - 1.
        """
        x = as_array(x, "x")
        inexact(x, "x", "be rotated")
        if x.ndim < 3:
            raise ShapeError(
                f"x must have at least 3 dimensions, (*batch, length, heads, depth), got {x.shape}."
            )
        depth = x.shape[-1]
        frequencies = self.frequencies(depth)
        if positions is None:
            positions = lax.iota(jnp.int32, x.shape[-3])
        positions = checked_positions(positions, x.shape[:-2])
        wide = jnp.promote_types(x.dtype, jnp.float32)
        angles = lax.expand_dims(positions, (positions.ndim, positions.ndim + 1)).astype(wide)
        angles = angles * jnp.asarray(frequencies, wide)  # [*B, T, 1, R/2]
        amplitude = 1.0 if self.scaling is None else self.scaling.amplitude
        cosines, sines = jnp.cos(angles) * amplitude, jnp.sin(angles) * amplitude
        return like(self._turned(gathered(x, -1), cosines, sines, 2 * len(frequencies)), x)

    def _turned(self, x: Array, cosines: Array, sines: Array, rotated: int) -> Array:
        wide, rest = cosines.dtype, x[..., rotated:]
        turned = x[..., :rotated].astype(wide)
        half = rotated // 2
        if self.interleaved:
            pairs = lax.reshape(turned, (*turned.shape[:-1], half, 2))
            a, b = pairs[..., 0], pairs[..., 1]
        else:
            a, b = turned[..., :half], turned[..., half:]
        cosines, sines = like(cosines, a), like(sines, a)
        first, second = a * cosines - b * sines, b * cosines + a * sines
        if self.interleaved:
            turned = lax.reshape(jnp.stack([first, second], -1), turned.shape)
        else:
            turned = jnp.concatenate([first, second], -1)
        return jnp.concatenate([turned.astype(x.dtype), rest], -1)


def checked_positions(positions: object, shape: tuple[int, ...]) -> Array:
    """The positions as an array; checks that they broadcast to `shape`, which is (*B, T).

    Raises:
      ShapeError: they don't.
      ArgumentTypeError: they aren't an array of real numbers.
    """
    array = as_array(positions, "positions")
    if array.dtype == bool or jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ArgumentTypeError(f"positions must be integers or floats, got {array.dtype}.")
    fits = zip(array.shape[::-1], shape[::-1], strict=False)
    if array.ndim > len(shape) or not all(a in (1, b) for a, b in fits):
        raise ShapeError(
            f"positions has shape {array.shape}, which doesn't broadcast to (*batch, length) = "
            f"{shape}.",
            hint="Each token of each batch entry has one position.",
        )
    return array


def _frequencies(base: float, rotated: int) -> Frequencies:
    exponents = np.arange(0, rotated, 2, dtype=np.float64) / rotated
    result: Frequencies = np.float64(base) ** -exponents
    return result


def _positive(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentTypeError(f"{name} must be a number, got {value!r}.")
    if not 0 < value < math.inf:
        raise ArgumentError(f"{name}={value} must be larger than 0 and finite.")
    return float(value)
