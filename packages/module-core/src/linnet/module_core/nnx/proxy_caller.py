"""Calls by notes: attributes and items on the way to a call are noted, and followed by the call."""

from .structure.calling import Caller
from .structure.calling import DelayedAccessor as DelayedAccessor
from .structure.calling import GetAttr as GetAttr
from .structure.calling import GetItem as GetItem

ApplyCaller = CallableProxy = Caller
