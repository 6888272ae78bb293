"""The interface of an arm, and the comparison of a program's run with those of its peers."""

from __future__ import annotations

import dataclasses
import json
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from .libraries import LINNET, Library

Program = dict[str, Any]


class Event(NamedTuple):
    """A value that a program shows.

    Attributes:
      label: what the value is, without numbers that differ from program to program.
      value: nested dicts, lists and tuples of arrays and of Python's own values.
      tolerance: the allowed difference, relative to the largest number; default: 0.
      fault: whether it is a fault regardless of the peers.
    """

    label: str
    value: Any
    tolerance: float = 0
    fault: bool = False


ABSTAINS = "abstains"  # the value of a peer's event that allows any value of Linnet's


class Refused(NamedTuple):
    """An exception that ended a run."""

    error: Exception

    @property
    def text(self) -> str:
        first, *_ = str(self.error).strip().splitlines() or [""]
        return f"{type(self.error).__name__}: {first[:200]}"


class Arm(Protocol):
    """Makes programs of one kind, and runs them.

    Attributes:
      name: the name in commands and counts.
      lenient: whether Linnet may compute something for which its peers raise an error.
      follows: whether a peer that disagreed continues from Linnet's state, and so still counts.
    """

    name: str
    lenient: bool
    follows: bool

    def generate(self, random: random.Random) -> Program:
        """A random program, made of JSON's types."""

    def peers(self, program: Program) -> Sequence[Library]:
        """The peers, in the order in which findings name them."""

    def run(self, program: Program, library: Library) -> Iterator[Event]:
        """Runs a program, and yields its events; an exception ends the run."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """A program for which Linnet agrees with none of its peers.

    Attributes:
      arm, program: the program that shows it.
      label: the label of the event.
      kind: `refuses`, `accepts` or `differs`.
      detail: the value of each library.
    """

    arm: str
    program: Program
    label: str
    kind: str
    detail: str

    @property
    def fault(self) -> tuple[str, ...]:
        """A key shared by all programs with the same fault, regardless of their parts."""
        error = self.detail.split(":")[0] if self.kind == "refuses" else ""
        return self.arm, self.label, self.kind, error

    @property
    def parts(self) -> frozenset[str]:
        """The parts that the program consists of."""
        return frozenset(_parts(self.program))

    def is_like(self, smaller: Finding) -> bool:
        """Whether this contains all that a smaller finding with the same fault needs."""
        return self.fault == smaller.fault and self.parts >= smaller.parts

    @property
    def text(self) -> str:
        return f"{self.label} {self.kind}: {self.detail}"

    @property
    def replay(self) -> str:
        return f"{self.arm}:{json.dumps(self.program, separators=(',', ':'))}"


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("do"), str):
            yield value["do"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _parts(part)


class Result(NamedTuple):
    """The result of a program: a finding or None, and whether an error ended it early."""

    finding: Finding | None
    refused: bool = False


def check(arm: Arm, program: Program) -> Result:
    """Runs a program on all libraries, event by event."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _check(arm, program)


def _check(arm: Arm, program: Program) -> Result:
    # Each library gets a copy, so that none can change another's.
    text = json.dumps(program)
    ours = _events(arm, json.loads(text), LINNET)
    live = {peer: _events(arm, json.loads(text), peer) for peer in arm.peers(program)}
    label = "start"
    while True:
        mine = next(ours)
        theirs = {peer: next(events) for peer, events in live.items()}
        if isinstance(mine, Event):
            label = mine.label
            if mine.fault:
                return Result(Finding(arm.name, program, label, "differs", str(mine.value)))
        said = {
            peer: disagreement(mine, event)
            for peer, event in theirs.items()
            if not (isinstance(event, Event) and event.value is ABSTAINS)
        }
        if said and all(said.values()):
            if isinstance(mine, Refused):
                computing = _computing({p: [theirs[p], *live[p]] for p in said})
                if not computing:
                    return Result(None, refused=True)
                event = theirs[computing[0]]
                label = event.label if isinstance(event, Event) else "end"
                text = f"{mine.text} ({', '.join(p.name for p in computing)} computes)"
                return Result(Finding(arm.name, program, label, "refuses", text))
            refused = all(isinstance(theirs[p], Refused) for p in said)
            if refused and arm.lenient and not _leak(mine):
                return Result(None, refused=True)
            text = "; ".join(f"{p.name}: {t}" for p, t in said.items())
            kind = "accepts" if refused and not _leak(mine) else "differs"
            return Result(Finding(arm.name, program, label, kind, text))
        if not isinstance(mine, Event):
            return Result(None, refused=isinstance(mine, Refused))
        if not arm.follows:
            live = {peer: events for peer, events in live.items() if not said.get(peer)}


def _computing(rest: dict[Library, list[Event | Refused | None]]) -> list[Library]:
    """Peers that run a program to its end for which Linnet raises an error.

    The eager run alone does not count, since a transform may be unable to do the same.
    """
    eager = [events for peer, events in rest.items() if peer.eager]
    return [
        peer
        for peer, events in rest.items()
        if not peer.eager
        and not any(isinstance(event, Refused) for event in events)
        and not any(
            disagreement(mine, other)
            for others in eager
            for mine, other in zip(events, others, strict=False)
            if not (isinstance(other, Event) and other.value is ABSTAINS)
        )
    ]


def _events(arm: Arm, program: Program, library: Library) -> Iterator[Event | Refused | None]:
    """The events of a run, then the exception that ended it, or None."""
    try:
        for event in arm.run(program, library):
            if library is not LINNET and _leak(event):
                raise RuntimeError("a tracer, outside its trace")
            yield event
    except RecursionError as error:
        yield Refused(RuntimeError(str(error)))
    except Exception as error:
        yield Refused(error)
    yield None


def _leak(event: Event | Refused | None) -> bool:
    """Whether an event shows a tracer that outlived its trace."""
    if not isinstance(event, Event):
        return False
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(event.value))


def disagreement(mine: Event | Refused | None, other: Event | Refused | None) -> str:
    """The first difference between two events, on one line; empty if they agree."""
    if isinstance(mine, Refused) or isinstance(other, Refused):
        if isinstance(mine, Refused) and isinstance(other, Refused):
            return ""
        return other.text if isinstance(other, Refused) else "computes"
    if mine is None or other is None:
        return "" if mine is other else "has a different number of events"
    if mine.label != other.label:
        return f"is at {other.label}"
    return difference(mine.value, other.value, mine.tolerance)


def difference(a: Any, b: Any, tolerance: float = 0, where: str = "") -> str:
    """The first place where two values differ, and the values of `a` and `b` there."""
    if isinstance(a, jax.core.Tracer):
        return f"{where}: a tracer, outside its trace"
    if isinstance(a, (jax.Array, np.ndarray, np.generic)):
        if not isinstance(b, (jax.Array, np.ndarray, np.generic)) or isinstance(b, jax.core.Tracer):
            return f"{where}: {_short(a)} and {_short(b)}"
        return _array_difference(a, b, tolerance, where)
    if type(a) is not type(b):
        return f"{where}: {_short(a)} and {_short(b)}"
    if isinstance(a, Mapping):
        if list(map(repr, a)) != list(map(repr, b)):
            return f"{where}: keys {list(a)} and {list(b)}"
        pairs = [(f"{where}/{key}", a[key], b[key]) for key in a]
    elif isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return f"{where}: {len(a)} items and {len(b)}: {_short(a)} and {_short(b)}"
        pairs = [(f"{where}/{i}", x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    else:
        same = a == b or (a != a and b != b)
        return "" if same else f"{where}: {_short(a)} and {_short(b)}"
    return next((text for w, x, y in pairs if (text := difference(x, y, tolerance, w))), "")


def _array_difference(a: Any, b: Any, tolerance: float, where: str) -> str:
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{where}: {_kind(a)} and {_kind(b)}"
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind in "OSU":
        return "" if a.tolist() == b.tolist() else f"{where}: {_short(a)} and {_short(b)}"
    if a.tobytes() == b.tobytes():
        return ""
    wide = np.complex128 if jnp.issubdtype(a.dtype, jnp.complexfloating) else np.float64
    x, y = a.astype(wide), b.astype(wide)
    if tolerance and jnp.issubdtype(a.dtype, jnp.inexact):
        tolerance = max(tolerance, 4 * float(jnp.finfo(a.dtype).eps))
    with np.errstate(all="ignore"):
        scale = np.nan_to_num(np.abs(y[np.isfinite(y)])).max(initial=1.0)
        if np.allclose(x, y, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
            return ""
        off = np.nanmax(np.abs(x - y), initial=0.0)
    return f"{where}: values are off by {off:.3g}: {_short(a)} and {_short(b)}"


def _kind(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _short(value: Any) -> str:
    shown = isinstance(value, (jax.Array, np.ndarray)) and not isinstance(value, jax.core.Tracer)
    if shown and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = f"{_kind(value)} {np.asarray(value).ravel()[:3].tolist()}"
    text = " ".join(str(value).split())
    return text if len(text) < 120 else f"{text[:117]}..."
