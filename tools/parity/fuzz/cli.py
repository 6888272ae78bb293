"""The command line: runs programs until the time is up, and prints findings and counts."""

from __future__ import annotations

import argparse
import collections
import gc
import json
import random
import re
import resource
import time
from collections.abc import Sequence

import jax

import differences

from . import containers, graphs, layers, nests, shrink, stored
from .program import Arm, Finding, check

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        layers.Layers(),
        graphs.Graphs(),
        nests.Nests(),
        containers.Containers(),
        stored.Stored(),
    )
}
# Seconds after which compiled programs are dropped; otherwise memory would grow without bound.
CLEAR_AFTER = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status is 1 if there are findings."""
    options = parser().parse_args(arguments)
    # Most of the time is compilation of programs that run once, on a few numbers.
    jax.config.update("jax_disable_most_optimizations", True)
    if options.replay:
        return replay(options.replay)
    arms = [ARMS[name] for name in options.arm or ARMS]
    return fuzz(arms, options.seconds, options.seed, options.programs)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line's options."""
    made = argparse.ArgumentParser(prog="nox -s fuzz --", description=__doc__)
    made.add_argument("--seconds", type=float, default=60, help="how long (default: 60)")
    made.add_argument("--seed", type=int, default=0, help="which programs (default: 0)")
    made.add_argument("--programs", type=int, help="at most that many of each arm")
    made.add_argument("--arm", action="append", choices=ARMS, help="that one alone; repeatable")
    made.add_argument("--replay", metavar="ARM:JSON", help="run one program, as it was printed")
    return made


def replay(line: str) -> int:
    """Runs one program."""
    name, _, text = line.partition(":")
    result = check(ARMS[name], json.loads(text))
    if result.finding is None:
        print("refused by all" if result.refused else "no finding")
        return 0
    reason = known(result.finding)
    print(result.finding.text, f"\nknown: {reason}" if reason else "")
    return 0 if reason else 1


def fuzz(arms: Sequence[Arm], seconds: float, seed: int, programs: int | None = None) -> int:
    """Runs programs of the arms in turn; each arm gets the same time."""
    started = time.monotonic()
    spent: dict[str, float] = dict.fromkeys((arm.name for arm in arms), 0.0)
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    found: list[Finding] = []
    cleared = started
    while time.monotonic() - started < seconds:
        waiting = [a for a in arms if programs is None or counts[a.name, "programs"] < programs]
        if not waiting:
            break
        arm = min(waiting, key=lambda a: spent[a.name])
        begun = time.monotonic()
        number = counts[arm.name, "programs"]
        counts[arm.name, "programs"] += 1
        program = arm.generate(random.Random(f"{seed}:{arm.name}:{number}"))
        result = check(arm, program)
        counts[arm.name, "refused"] += result.refused
        if result.finding is not None:
            if known(result.finding):
                counts[arm.name, "known"] += 1
            else:
                counts[arm.name, "findings"] += 1
                if not any(result.finding.is_like(smaller) for smaller in found):
                    found.append(small := minimized(arm, result.finding))
                    print(f"{small.text}\n  --replay '{shell(small.replay)}'", flush=True)
        spent[arm.name] += time.monotonic() - begun
        if time.monotonic() - cleared > CLEAR_AFTER:
            cleared = time.monotonic()
            jax.clear_caches()
            gc.collect()
    for arm in arms:
        numbers = ", ".join(
            f"{counts[arm.name, what]} {what}"
            for what in ("programs", "refused", "known", "findings")
        )
        print(f"{arm.name}: {numbers} in {spent[arm.name]:.0f} s")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    count = f"{len(found)} different finding{'s' * (len(found) != 1)}"
    print(f"seed {seed}: {count}, at most {memory:.2f} GiB of memory")
    return 1 if found else 0


def minimized(arm: Arm, finding: Finding) -> Finding:
    """The same finding for a smaller program."""

    def again(program: dict[str, object]) -> Finding | None:
        other = check(arm, program).finding
        same = other is not None and other.fault == finding.fault and not known(other)
        return other if same else None

    small = shrink.minimize(finding.program, lambda program: again(program) is not None)
    return again(small) or finding


def known(finding: Finding) -> str:
    """The sentence of differences.toml that covers a finding, or an empty one."""
    for behavior in differences.behaviors():
        for entry in behavior.fuzz:
            arm, _, pattern = entry.partition(": ")
            if arm == finding.arm and re.search(pattern, finding.text):
                return behavior.text
    return ""


def shell(text: str) -> str:
    """The text, escaped for single quotes in a shell."""
    return text.replace("'", "'\\''")
