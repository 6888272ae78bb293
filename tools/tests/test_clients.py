"""tools/clients: what the programs' headers say, what is compared, and the table it writes."""

import sys

import numpy as np
import pytest

import workspace

sys.path.insert(0, str(workspace.ROOT / "tools" / "clients"))

import outcomes
import programs_of
import table

PROGRAMS = programs_of.programs()


def outcome_of(flax, linnet, tests=None, program=PROGRAMS[0]):
    seconds = {"seconds": np.array(1.0)}
    results = {"flax": flax | seconds, "linnet": linnet | seconds}
    return outcomes.compare(program, "1.0", results, tests or {"flax": {}, "linnet": {}})


def test_every_program_has_a_head_and_pins():
    assert len(PROGRAMS) >= 9
    for program in PROGRAMS:
        assert any(need.startswith("flax==") for need in program.needs), program.name
        assert any(need.startswith(f"{program.distribution}==") for need in program.needs)


def test_a_head_that_pins_nothing_raises_an_error(tmp_path):
    path = tmp_path / "loose.py"
    path.write_text(PROGRAMS[0].path.read_text("utf-8").replace("==", ">="), "utf-8")
    with pytest.raises(ValueError, match="pin .* with =="):
        programs_of.read(path)


def test_a_difference_of_one_bit_is_found():
    one = {"x": np.array([1.0, 2.0])}
    assert outcome_of(one, {"x": np.array([1.0, 2.0])}).verdict == "bit for bit"
    assert not outcome_of(one, {"x": np.nextafter(one["x"], 3)}).equal
    assert not outcome_of(one, {}).equal
    assert not outcome_of(one, {"x": np.array([1.0, 2.0], np.float32)}).equal


def test_tests_that_end_differently_are_found():
    ended = {"flax": {"a": "passed", "b": "skipped"}, "linnet": {"a": "failure", "b": "skipped"}}
    (detail,) = outcome_of({}, {}, ended).details
    assert detail == "test a: passed on Flax, failure on Linnet"


def test_rows_replace_those_of_the_same_program_alone():
    page = table.PAGE.read_text("utf-8")
    names = {program.name for program in PROGRAMS}
    assert set(table.ROW.findall(page)) <= names
    once = table.updated(page, [outcome_of({}, {})])
    assert once == table.updated(once, [outcome_of({}, {})])
    others = [row for row in page.splitlines() if PROGRAMS[0].name not in row]
    assert [row for row in once.splitlines() if PROGRAMS[0].name not in row] == others
