"""Every public attribute of every class of Flax, and whether Linnet's class of that name has it.

Methods also have the parameters of Flax's methods, by name. Attributes that are left out have a
reason in differences.toml (`attributes`), under the class that defines them in Flax; a reason that
no longer applies fails the test. Attributes of two kinds are on instances instead: the scope of a
linen module, and samplers of streams (test_nnx_streams.py).
"""

import dataclasses
import importlib
import inspect
import pkgutil

import flax
import jax

import differences

PARTS = sorted(
    module.name
    for module in pkgutil.walk_packages(flax.__path__, "flax.")
    if not module.name.startswith(("flax.testing", "flax.metrics"))
)
SAMPLERS = {*dir(jax.random), *dir(jax.nn.initializers)}
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def classes():
    """Pairs of a Flax class and Linnet's class of that name, each once."""
    pairs = {}
    for name in PARTS:
        theirs = importlib.import_module(name)
        try:
            ours = importlib.import_module(f"linnet.{name}")
        except ModuleNotFoundError:
            continue  # test_flax_tree.py
        for attribute, cls in vars(theirs).items():
            if attribute.startswith("_") or not isinstance(cls, type):
                continue
            found = getattr(ours, attribute, None)
            if cls.__module__.startswith("flax.") and isinstance(found, type):
                pairs.setdefault(cls, found)
    return pairs


def attributes(cls):
    """Public attributes that neither the metaclass nor a class outside Flax defines."""
    fields = {"scope"}
    if dataclasses.is_dataclass(cls):
        fields |= {field.name for field in dataclasses.fields(cls)}
    for name in dir(cls):
        home = next((base for base in cls.__mro__ if name in vars(base)), None)
        if name.startswith("_") or name in fields or home is None:
            continue
        if home.__module__.startswith("flax."):
            yield name, home


def parameters(function):
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None


def lacking(theirs, ours):
    """Names of parameters that a method of Flax has and Linnet's doesn't."""
    wanted, there = parameters(theirs), parameters(ours)
    if wanted is None or there is None or any(p.kind in VARIADIC for p in there.values()):
        return set()
    return {n for n, p in wanted.items() if p.kind not in VARIADIC} - there.keys()


def test_attributes_of_classes():
    found = set()
    for theirs, ours in classes().items():
        for name, home in attributes(theirs):
            where = f"{home.__module__}.{home.__qualname__}".removeprefix("flax.")
            if not hasattr(ours, name):
                if not (name in SAMPLERS and "rnglib" in where):
                    found.add((where, name))
            elif callable(getattr(theirs, name)):
                missing = lacking(getattr(theirs, name), getattr(ours, name))
                found |= {(where, f"{name}({parameter}=)") for parameter in missing}
    listed = differences.listed("attributes")
    reasons = {(group.where, name) for group in listed for name in group.names}
    assert found - reasons == set(), "missing, without a reason"
    assert reasons - found == set(), "listed as left out, but present, or not in Flax"
