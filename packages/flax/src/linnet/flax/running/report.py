"""The report of `--report` when a program ends: the names of Flax it used, and where time went.

Names are recorded by the modules themselves: while a report is made, each module of the tree has a
class whose attribute access records the name, if the access comes from outside Linnet.

Times are exclusive: an interval inside another one counts once, for the innermost kind. jax itself
says when it has traced, lowered or compiled something (`jax.monitoring`). The rest are spans around
the calls that a program makes: `init` of a linen module and the construction of an nnx module,
`apply`, and transformed functions of nnx. A call that happens while jax traces is part of tracing.
"""

from __future__ import annotations

import atexit
import functools
import sys
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any, ClassVar, NamedTuple

from linnet.flax.running import missing

KINDS = {
    "init": "init: variables of linen modules, construction of nnx modules",
    "trace": "tracing: running Python to record a program for XLA",
    "lower": "lowering: from what was traced to XLA's input",
    "compile": "compiling: by XLA, or reading its cache",
    "dispatch": "dispatch: calls to apply and to nnx's transforms, until they return",
}
EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}


class Interval(NamedTuple):
    """An interval of time: when it began, its kind, and its seconds without those inside it."""

    start: float
    kind: str
    seconds: float
    reported_by_jax: bool


class Clock(threading.local):
    """Adds up exclusive times, in each thread.

    >>> clock = Clock()
    >>> clock.event("trace", 0.0, 2.0)  # inside the next one
    >>> clock.event("trace", -1.0, 3.0)
    >>> clock.span("init", -2.0, 7.0)
    >>> clock.totals["trace"], clock.totals["init"]
    (4.0, 5.0)
    >>> clock.span("dispatch", 10.0, 11.0)  # inside a trace
    >>> clock.event("trace", 9.0, 12.0)
    >>> clock.totals["trace"], clock.totals["dispatch"], clock.calls["dispatch"]
    (7.0, 0.0, 0)
    """

    totals: ClassVar[defaultdict[str, float]] = defaultdict(float)
    calls: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        # Finished intervals; the oldest are dropped, as they are rarely part of an open one.
        self.past: deque[Interval] = deque(maxlen=10_000)
        # The kinds of the calls that are running: a module within a module isn't another call.
        self.open: set[str] = set()

    def event(self, kind: str, start: float, end: float) -> None:
        """Counts what jax reports, which includes everything that happened during that time."""
        inside = 0.0
        while self.past and self.past[-1].start >= start:
            interval = self.past.pop()
            if interval.reported_by_jax:
                inside += interval.seconds
            else:
                self.totals[interval.kind] -= interval.seconds
                self.calls[interval.kind] -= 1
        self._count(kind, end - start - inside)
        self.past.append(Interval(start, kind, end - start, True))

    def span(self, kind: str, start: float, end: float) -> None:
        """Counts a call, without the intervals that were counted during it."""
        inside = 0.0
        for interval in reversed(self.past):
            if interval.start < start:
                break
            inside += interval.seconds
        self._count(kind, end - start - inside)
        self.past.append(Interval(start, kind, end - start - inside, False))

    def _count(self, kind: str, seconds: float) -> None:
        self.totals[kind] += seconds
        self.calls[kind] += 1


clock = Clock()
names: Counter[str] = Counter()
_began = time.perf_counter()


def begin(watching: list[Callable[[str, ModuleType], None]]) -> None:
    """Records from here on, and prints the report when the process ends."""
    if watch not in watching:
        watching.append(watch)
        atexit.register(lambda: print(text(), file=sys.stderr))


def watch(name: str, module: ModuleType) -> None:
    """Records which names a program uses from a module that it imports as `name`."""
    vars(module)["linnet_recorded_as"] = name
    module.__class__ = Recorded
    timed = {"flax.linen": _time_linen, "flax.nnx": _time_nnx}.get(name)
    if timed is not None:
        _listen_to_jax()
        timed(module)


class Recorded(ModuleType):
    """A module that records which of its names a program uses."""

    def __getattribute__(self, name: str) -> object:
        value = super().__getattribute__(name)
        if not name.startswith("__") and not isinstance(value, ModuleType):
            frame = sys._getframe(1)
            if not _is_internal(frame):
                names[f"{vars(self)['linnet_recorded_as']}.{name}"] += 1
        return value


def _is_internal(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__"))
    return module.startswith(("linnet.", "importlib"))


@functools.cache
def _listen_to_jax() -> None:
    import jax.monitoring

    def heard(event: str, duration_secs: float, **_: object) -> None:
        kind = EVENTS.get(event)
        if kind is not None:
            now = time.perf_counter()
            clock.event(kind, now - duration_secs, now)

    jax.monitoring.register_event_duration_secs_listener(heard)


@functools.cache
def _time_linen(linen: Any) -> None:
    for name in ("init", "init_with_output", "lazy_init"):
        _time(linen.Module, name, "init")
    _time(linen.Module, "apply", "dispatch")


@functools.cache
def _time_nnx(nnx: Any) -> None:
    from linnet.module_core.nnx.transforms.calling import Transformed

    _time_constructors(nnx.Module)
    pending = [type(nnx.jit_partial(len)), *Transformed.__subclasses__()]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if "__call__" in vars(kind):
            _time(kind, "__call__", "dispatch")


def _time_constructors(base: Any) -> None:
    prepare = base.__init_subclass__.__func__

    def prepare_and_time(cls: type, /, **options: object) -> None:
        prepare(cls, **options)
        if "__init__" in vars(cls):
            _time(cls, "__init__", "init")

    pending = base.__subclasses__()
    base.__init_subclass__ = classmethod(prepare_and_time)
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if "__init__" in vars(cls):
            _time(cls, "__init__", "init")


def _time(owner: type, name: str, kind: str) -> None:
    call = getattr(owner, name)

    @functools.wraps(call)
    def timed(*args: object, **kwargs: object) -> object:
        from linnet.module_core.tracebacks import strip

        outermost = kind not in clock.open
        clock.open.add(kind)
        start = time.perf_counter()
        try:
            return call(*args, **kwargs)
        except Exception as error:
            strip(error)
            raise
        finally:
            if outermost:
                clock.open.remove(kind)
                clock.span(kind, start, time.perf_counter())

    setattr(owner, name, timed)


def text() -> str:
    """The report."""
    from linnet.flax.__about__ import __version__
    from linnet.flax.running.remedies import remedy

    lines = [f"linnet.flax {__version__}: the names of Flax that this program used", ""]
    by_module: dict[str, list[str]] = {}
    for name in sorted(names):
        module, _, last = name.rpartition(".")
        by_module.setdefault(module, []).append(last)
    width = max(map(len, by_module), default=0)
    for module in sorted(by_module):
        lines += _wrapped(f"  {module:<{width}}  ", by_module[module])
    if not by_module:
        lines.append("  nothing")
    lines += ["", "missing in Linnet", ""]
    lines += [f"  {name}: {remedy(name)}" for name in sorted(missing.used)] or ["  nothing"]
    total = time.perf_counter() - _began
    lines += ["", f"{'seconds':>9}{'calls':>9}", ""]
    for kind, meaning in KINDS.items():
        lines.append(f"{clock.totals[kind]:9.3f}{clock.calls[kind]:9}  {meaning}")
    rest = total - sum(clock.totals.values())
    lines.append(f"{rest:9.3f}{'':9}  the rest: imports, data, waiting for results")
    return "\n".join(["", *lines])


def _wrapped(start: str, words: list[str]) -> list[str]:
    import textwrap

    return textwrap.wrap(
        ", ".join(words), 100, initial_indent=start, subsequent_indent=" " * len(start)
    )
