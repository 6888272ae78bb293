"""Argument checks, types and helpers that the layers of all packages share.

`checks` defines what a layer accepts as an array, a size, a rate or an axis, and the error messages
for anything else. `types` has the names for annotations of signatures. Neither imports a style of
modules, so that `functional` can use both; `layers.nnx` has the base class and helpers of nnx
layers.
"""

from __future__ import annotations

from .checks import as_array as as_array
from .checks import axes_in_range as axes_in_range
from .checks import axes_of as axes_of
from .checks import check_rate as check_rate
from .checks import fraction as fraction
from .checks import inexact as inexact
from .checks import integer as integer
from .checks import integers as integers
from .checks import not_negative as not_negative
from .checks import same_shape as same_shape
from .checks import shape_of as shape_of
from .checks import vector_features as vector_features
from .types import NO_METADATA as NO_METADATA
from .types import Activation as Activation
from .types import Array as Array
from .types import Axes as Axes
from .types import AxisIndexGroups as AxisIndexGroups
from .types import AxisName as AxisName
from .types import ConvGeneralDilated as ConvGeneralDilated
from .types import DotGeneral as DotGeneral
from .types import DTypeLike as DTypeLike
from .types import EinsumOp as EinsumOp
from .types import Metadata as Metadata
from .types import OutSharding as OutSharding
from .types import PaddingLike as PaddingLike
from .types import PrecisionLike as PrecisionLike
from .types import PromoteDtype as PromoteDtype
from .types import Shape as Shape
from .types import Sizes as Sizes
