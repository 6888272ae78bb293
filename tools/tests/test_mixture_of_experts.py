"""docs/examples/mixture_of_experts.py: what it computes, and that it learns."""

import importlib
import re
import sys

import pytest

pytest.importorskip("optax", reason="the example needs it")


def test_the_experts(examples, monkeypatch, capsys, tmp_path):
    program = importlib.import_module("mixture_of_experts")
    monkeypatch.setattr(sys, "argv", ["mixture_of_experts.py", "--tiny", "--out", str(tmp_path)])
    assert program.main() == 0
    printed = capsys.readouterr().out
    assert re.search(r"loop over tokens and experts gives, within \d[.]\de-0[6-9]", printed)
    errors = [float(x) for x in re.findall(r"mixture error (\d[.]\d+)", printed)]
    assert errors[-1] < errors[0]
    seen = [line.split()[1:] for line in printed.splitlines() if re.match(r" +\d  ", line)]
    assert len(seen) == 8
    assert all(abs(sum(map(int, row)) - 200) < 5 for row in seen)  # two experts for each token
