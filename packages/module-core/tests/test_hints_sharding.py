"""Every hint of `linnet.sharding`, followed to the letter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

import hints
from hints import Remedy
from linnet.module_core import sharding

from .linen_programs import hints_of

MESH = AbstractMesh((4, 2), ("data", "model"))
W = jax.ShapeDtypeStruct((8, 4), "float32")
P = PartitionSpec


def laid_out(rules, tree=None, mesh=MESH, **options):
    return sharding.named_shardings({"w": W} if tree is None else tree, rules, mesh, **options)


def on_an_abstract_mesh(*, set_it):
    mesh = Mesh(np.array(jax.devices()[:1]), ("x",))
    rows = {"w": NamedSharding(mesh.abstract_mesh, P("x"))}
    if not set_it:
        return sharding.place({"w": np.ones(2)}, rows)
    if not hasattr(jax, "set_mesh"):  # jax 0.6 doesn't show which mesh is set
        return None
    with jax.set_mesh(mesh):
        return sharding.place({"w": np.ones(2)}, rows)


REMEDIES = [
    Remedy(
        'Make one: jax.make_mesh((4, 2), ("data", "model")).',
        lambda: laid_out([("w", P())], mesh=(4, 2)),
        lambda: laid_out([("w", P())]),
    ),
    Remedy(
        "End with a rule for the rest: (..., PartitionSpec()).",
        lambda: laid_out([]),
        lambda: laid_out([(..., PartitionSpec())]),
    ),
    Remedy(
        "Leave out rules that match no array, or pass all_used=False.",
        lambda: laid_out([("w", P()), ("v", P())]),
        lambda: [laid_out([("w", P())]), laid_out([("w", P()), ("v", P())], all_used=False)],
    ),
    Remedy(
        "Give a spec at most one entry for each axis of the array.",
        lambda: laid_out([("w", P("data", None, None))]),
        lambda: laid_out([("w", P("data", None))]),
    ),
    Remedy(
        "The mesh has the axes {}.",
        lambda: laid_out([("w", P("dat"))]),
        lambda: laid_out([("w", P("data"))]),
        ("('data', 'model')",),
    ),
    Remedy(
        "Choose sizes that are multiples of the parts, or None for such an axis in an earlier "
        "rule.",
        lambda: laid_out([(..., P("data"))], {"w": jax.ShapeDtypeStruct((6,), "float32")}),
        lambda: [
            laid_out([(..., P("data"))], {"w": jax.ShapeDtypeStruct((8,), "float32")}),
            laid_out(
                [("w", P(None)), (..., P("data"))], {"w": jax.ShapeDtypeStruct((6,), "float32")}
            ),
        ],
    ),
    Remedy(
        'Write for example ("kernel$", PartitionSpec("data", "model")).',
        lambda: laid_out(["w"]),
        lambda: laid_out([("w$", PartitionSpec("data", "model"))]),
    ),
    Remedy(
        "Escape literal characters such as ( and [: re.escape.",
        lambda: laid_out([("w(", P())], {"w(": W}),
        lambda: laid_out([(r"w\(", P())], {"w(": W}),
    ),
    Remedy(
        "Make them from the same tree: named_shardings(tree, rules, mesh).",
        lambda: sharding.byte_report({"w": W}, laid_out([(..., P())], {"v": W})),
        lambda: sharding.byte_report({"w": W}, laid_out([(..., P())])),
    ),
    Remedy(
        "Choose a size that the devices divide, or leave the axis unsplit.",
        lambda: sharding.byte_report({"w": jnp.ones(6)}, {"w": NamedSharding(MESH, P("data"))}),
        lambda: [
            sharding.byte_report({"w": jnp.ones(8)}, {"w": NamedSharding(MESH, P("data"))}),
            sharding.byte_report({"w": jnp.ones(6)}, {"w": NamedSharding(MESH, P(None))}),
        ],
    ),
    Remedy(
        "Pass a target with the same paths, for example the one that was saved.",
        lambda: sharding.place({"w": np.ones(2)}, {"v": np.ones(2)}),
        lambda: sharding.place({"w": np.ones(2)}, {"w": np.ones(2)}),
    ),
    Remedy(
        "Load within jax.set_mesh(mesh), with a mesh of devices that has these axes.",
        lambda: on_an_abstract_mesh(set_it=False),
        lambda: on_an_abstract_mesh(set_it=True),
    ),
]
# Tested in groups of processes: tools/processes/partly_here.py.
EXPLAINED = [
    "Gather it in all processes: jax.experimental.multihost_utils.process_allgather(tree,"
    " tiled=True); or save it with orbax, where each process writes its part.",
    "jax.experimental.multihost_utils.broadcast_one_to_all(value).",
    "Do all of them build the same model, from the same configuration?",
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda r: r.words[:40])
def test_a_remedy_works(remedy):
    hints.try_remedy(remedy)


def test_every_hint_has_a_remedy():
    found = hints_of("sharding")
    assert hints.untried(found, REMEDIES, EXPLAINED) == []
    assert hints.unknown(found, [*(remedy.words for remedy in REMEDIES), *EXPLAINED]) == []
