"""Tests of several processes: each starts a group, which runs the tests in other files.

There are only a few groups, since starting one takes as long as its tests.
"""

import time
from pathlib import Path

import jax
import pytest

from processes import groups, saving_forever

HERE = Path(__file__).parent
# The version of orbax for jax 0.6 can fail or hang when checkpoints_at_scale.md saves.
PAGES = ["processes", "checkpoints_at_scale"][: 1 if jax.__version_info__ < (0, 7) else 2]
GUIDES = [
    HERE.with_name("tests") / f"test_docs_blocks.py::test_page[docs/guides/{name}.md]"
    for name in PAGES
]
TOGETHER = [HERE / "computing_together.py", HERE / "partly_here.py"]


def is_being_saved(steps):
    """Whether some checkpoints are complete and another is being written."""
    names = [path.name for path in steps.iterdir()] if steps.exists() else []
    whole = [int(name) for name in names if name.isdigit()]
    return max(whole, default=-1) >= saving_forever.ENOUGH and len(whole) < len(names)


def kill_while_saving(folder, seconds=120):
    """Trains and saves in two processes, one of which is killed in the middle of a save."""
    program = str(HERE / "saving_forever.py")
    with groups.started(2, program, str(folder)) as group:
        end = time.monotonic() + seconds
        while not is_being_saved(folder / "steps"):
            assert all(p.poll() is None for p in group.processes), group.printed()
            assert time.monotonic() < end, group.printed()
            time.sleep(0.002)
        group.processes[1].kill()
        # The other one fails, or waits: it cannot complete the checkpoint alone.
        time.sleep(0.5)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """The checkpoints of two processes."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHECKPOINTS", str(folder))
        groups.passed(2, HERE / "saving.py", *TOGETHER, *GUIDES)
        kill_while_saving(folder)
        yield folder


def test_two_processes(checkpoints):
    assert {path.name for path in checkpoints.iterdir()} >= {"linen", "nnx", "steps"}


def test_four_processes(checkpoints):
    groups.passed(4, HERE / "restoring.py", *TOGETHER)


def test_one_process_of_four_devices(checkpoints):
    groups.passed(1, HERE / "restoring.py", devices=4)
