"""The fuzzer finds a planted fault, minimizes it, and prints a line that reproduces it."""

import json
import random

import jax
import pytest

from parity.fuzz import cli, program, shrink
from parity.fuzz.libraries import LINNET


@pytest.fixture(autouse=True)
def options_of_jax():
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()


@pytest.fixture
def forgetful_list(monkeypatch):
    """A planted fault: inserting into a list of three or more items drops the first one."""
    kept = LINNET.nnx.List.insert

    def insert(self, index, value):
        kept(self, index, value)
        if len(self) > 3:
            del self[0]

    monkeypatch.setattr(LINNET.nnx.List, "insert", insert)


def test_a_planted_fault_is_found_and_made_small(forgetful_list, capsys):
    assert cli.main(["--seed", "3", "--arm", "containers", "--programs", "150"]) == 1
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if "content after insert" in line)
    assert line.startswith("list: ")
    replay = said.splitlines()[said.splitlines().index(line) + 1].split("'")[1]
    small = json.loads(replay.partition(":")[2])
    assert len(small["start"]) + len(small["steps"]) <= 4
    assert cli.main(["--replay", replay]) == 1


def test_the_line_shows_nothing_without_the_fault(capsys):
    line = 'containers:{"of":"list","start":[0,0,0],"steps":[{"do":"insert","n":[0,2]}]}'
    assert cli.main(["--replay", line]) == 0
    assert "no finding" in capsys.readouterr().out


@pytest.mark.parametrize("name", cli.ARMS)
def test_programs_are_data_and_depend_on_the_seed_alone(name):
    arm = cli.ARMS[name]
    for number in range(20):
        made = [arm.generate(random.Random(f"{seed}:{number}")) for seed in (1, 1, 2)]
        assert made[0] == made[1] == json.loads(json.dumps(made[0]))
    assert any(
        arm.generate(random.Random(f"1:{n}")) != arm.generate(random.Random(f"2:{n}"))
        for n in range(20)
    )


def test_values_that_are_not_the_same():
    one = jax.numpy.ones(2)
    for a, b in [
        (one, 2 * one),
        (one, one.astype("bfloat16")),
        (one, [1.0, 1.0]),
        ([1, 2], [1, 3]),
        ([1], (1,)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (1, True),
        (None, 0),
    ]:
        assert program.difference(a, b)
        assert not program.difference(a, a)
    assert program.difference(one, one * (1 + 1e-6))
    assert not program.difference(one, one * (1 + 1e-6), 1e-5)


def test_what_is_smaller_keeps_the_fault():
    start = {"steps": [{"do": "a", "n": 9}, {"do": "b"}, {"do": "a", "n": 5}], "keep": True}

    def shows(program):
        return any(s.get("do") == "a" and s.get("n", 0) > 3 for s in program.get("steps", ()))

    found = shrink.minimize(start, shows)
    assert found == {"steps": [{"do": "a", "n": 4}]}


def test_a_known_difference_is_not_a_finding():
    finding = program.Finding("containers", {}, "frozen: delete", "differs", "flax: …")
    assert "del d[key]" in cli.known(finding)
    assert not cli.known(program.Finding("layers", {}, "frozen: delete", "differs", "flax: …"))
