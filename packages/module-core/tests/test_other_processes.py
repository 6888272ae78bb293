"""What importing loads, and what one process pickles for another; all in one new process."""

import pickle

from fixtures import run_afresh
from linnet.module_core import nnx

NOTHING_HEAVY = """
import linnet.module_core.linen, sys
heavy = {"rich", "optax", "msgpack", "treescope", "flax", "orbax"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""

NNX_WITHOUT_LINEN = """
import sys
from linnet.module_core import nnx
assert not [m for m in sys.modules if "linen" in m], [m for m in sys.modules if "linen" in m]
assert nnx.bridge.__name__ == "linnet.module_core.nnx.bridge"
"""

STRUCTURE = """
import pathlib, pickle
from linnet.module_core import nnx
graphdef = nnx.graphdef(nnx.Dict(w=nnx.Param(1.0, unit="m")))
pathlib.Path({path!r}).write_bytes(pickle.dumps(graphdef))
"""


def test_imports_and_a_structure_of_another_process(tmp_path):
    path = tmp_path / "graphdef"
    run_afresh(
        NOTHING_HEAVY, NNX_WITHOUT_LINEN, STRUCTURE.format(path=str(path)), PYTHONHASHSEED="1"
    )
    there = pickle.loads(path.read_bytes())
    here = nnx.graphdef(nnx.Dict(w=nnx.Param(1.0, unit="m")))
    assert there == here
    assert hash(there) == hash(here)
