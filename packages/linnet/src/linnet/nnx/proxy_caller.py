"""Proxies that record attribute and item accesses, and apply them with a call."""

from linnet.module_core.nnx.proxy_caller import ApplyCaller as ApplyCaller
from linnet.module_core.nnx.proxy_caller import CallableProxy as CallableProxy
from linnet.module_core.nnx.proxy_caller import DelayedAccessor as DelayedAccessor
from linnet.module_core.nnx.proxy_caller import GetAttr as GetAttr
from linnet.module_core.nnx.proxy_caller import GetItem as GetItem
