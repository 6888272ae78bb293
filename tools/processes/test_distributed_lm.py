"""docs/examples/distributed_lm.py as its users run it: in 1, 2 and 4 processes, killed, preempted.

All runs must have the losses of an uninterrupted run in one process. The program joins its group of
processes by itself, from three arguments or from the variables that SLURM's `srun` sets.
"""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from processes import groups

PROGRAM = str(Path(__file__).parents[2] / "docs" / "examples" / "distributed_lm.py")
STEPS, EVERY = 40, 4
OPTIONS = [
    *("--tiny", "--dtype", "float32", "--steps", str(STEPS)),
    *("--save-every", str(EVERY), "--show-every", "1"),
]
JOIN = ["--join", "{coordinator}", "{count}", "{index}"]


def options_for(folder, model_parallel):
    return [PROGRAM, *OPTIONS, "--out", str(folder), "--model-parallel", str(model_parallel)]


def losses(printed):
    """The loss of each step, as text: if the texts are equal, so are the numbers."""
    return dict(re.findall(rf"^step +(\d+)/{STEPS}  (\d\.\d+) bits$", printed, re.M))


def near(found, expected):
    assert found
    for step, loss in found.items():
        np.testing.assert_allclose(float(loss), float(expected[step]), rtol=1e-4, err_msg=step)


def wait_for(condition, group, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert all(p.poll() is None for p in group.processes), group.printed()
        assert time.monotonic() < end, group.printed()
        time.sleep(0.002)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """An uninterrupted run in one process: its folder and its output."""
    folder = tmp_path_factory.mktemp("alone")
    printed = groups.run(1, *options_for(folder, 2), devices=4, joins=True)
    assert len(losses(printed)) == STEPS
    return folder, printed


def test_resumed_bit_for_bit(alone):
    folder, printed = alone
    shutil.rmtree(folder / "checkpoints" / str(STEPS))  # as if it had been stopped before
    again = groups.run(1, *options_for(folder, 2), devices=4, joins=True)
    found, expected = losses(again), losses(printed)
    assert found == {str(i): expected[str(i)] for i in range(STEPS - EVERY + 1, STEPS + 1)}
    assert re.findall("^held out.*", again, re.M) == re.findall("^held out.*", printed, re.M)


def test_killed_preempted_and_resumed_by_others(alone, tmp_path):
    expected = losses(alone[1])
    checkpoints = tmp_path / "checkpoints"

    # Two processes that share each layer. One of them is killed, which ends both.
    with groups.started(2, *options_for(tmp_path, 4), *JOIN, joins=True) as group:
        wait_for((checkpoints / str(2 * EVERY)).exists, group)
        group.processes[1].kill()
        time.sleep(0.5)
        killed = losses(group.printed_by(0))
    near(killed, expected)
    assert len(killed) < STEPS

    # Four processes, started as SLURM does. One of them gets SIGTERM before the first step, when
    # orbax's `reached_preemption` would miss it.
    variables = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "{count}",
        "SLURM_PROCID": "{index}",
        "SLURM_LOCALID": "{index}",
    }
    options = [*options_for(tmp_path, 2), "--launched"]
    with groups.started(4, *options, joins=True, environment=variables) as group:
        wait_for(lambda: "resumed" in group.printed_by(0), group)
        group.processes[2].send_signal(signal.SIGTERM)
        for process in group.processes:
            assert process.wait(300) == 128 + signal.SIGTERM, group.printed()
        printed = group.printed_by(0)
    preempted = losses(printed)
    near(preempted, expected)
    assert int(min(preempted, key=int)) % EVERY == 1  # after a checkpoint
    last = max(map(int, preempted))
    assert f"stopped    by SIGTERM after step {last}" in printed

    printed = groups.run(1, *options_for(tmp_path, 1), joins=True)
    assert f"resumed    after step {last}" in printed
    near(losses(printed), expected)
    assert set(killed) | set(preempted) | set(losses(printed)) == set(expected)
