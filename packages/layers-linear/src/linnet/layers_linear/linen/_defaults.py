"""Defaults that the layers' fields share, and linen's form of `promote_dtype`."""

from __future__ import annotations

from linnet.module_core.dtypes import promote_dtype as promote_dtype

from .._defaults import Array as Array
from .._defaults import ConvGeneralDilated as ConvGeneralDilated
from .._defaults import DotGeneral as DotGeneral
from .._defaults import DTypeLike as DTypeLike
from .._defaults import Initializer as Initializer
from .._defaults import PaddingLike as PaddingLike
from .._defaults import PrecisionLike as PrecisionLike
from .._defaults import PromoteDtype as PromoteDtype
from .._defaults import Shape as Shape
from .._defaults import default_bias_init as default_bias_init
from .._defaults import default_embed_init as default_embed_init
from .._defaults import default_kernel_init as default_kernel_init
from .._defaults import integer as integer
from .._defaults import integers as integers
from .._defaults import shape_of as shape_of
from .._defaults import vector_features as vector_features
