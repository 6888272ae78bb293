"""Calls by notes: attributes and items on the way to a call are noted, and followed by the call."""

from .calling import Caller
from .calling import DelayedAccessor as DelayedAccessor
from .calling import GetAttr as GetAttr
from .calling import GetItem as GetItem

ApplyCaller = CallableProxy = Caller
