"""Representations that objects define themselves."""

from linnet.module_core.nnx.reprlib import Attr as Attr
from linnet.module_core.nnx.reprlib import MappingReprMixin as MappingReprMixin
from linnet.module_core.nnx.reprlib import Object as Object
from linnet.module_core.nnx.reprlib import PrettyMapping as PrettyMapping
from linnet.module_core.nnx.reprlib import PrettySequence as PrettySequence
from linnet.module_core.nnx.reprlib import Representable as Representable
from linnet.module_core.nnx.reprlib import SequenceReprMixin as SequenceReprMixin
from linnet.module_core.nnx.reprlib import get_repr as get_repr
