"""The differences between two versions: what breaks for users of the old one, and what is new.

griffe compares functions: arguments that were removed or moved, became required, or changed their
kind or default. This module adds what griffe omits: names that can no longer be imported from a
place, base classes that users may test for, constants, and the length of named tuples.

An addition is a break in the opposite direction, so one comparison finds both.

The comparison covers neither behavior nor annotations. A reviewer checks these and records the
result in the changelog's section `Breaking`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import griffe

from .constructors import is_named_tuple
from .surface import Offered, Surface, Tree

_KINDS = griffe.BreakageKind

# Every class has these, or only Python calls them, so removing a definition breaks nothing.
_NOT_OFFERED = {*dir(object), "__init_subclass__", "__post_init__", "__slots__", "__match_args__"}
_BASES_WITHOUT_MEANING = {"object", "typing.Generic", "typing.Protocol", "abc.ABC"}


@dataclass(frozen=True, order=True)
class Difference:
    """One difference.

    Attributes:
      name: the dotted name, with an argument in parentheses, `linnet.struct.field(pytree_node)`.
      what: the change.
      place: file and line; in the old version if the name was removed.
      gone: whether the name was removed.
    """

    name: str
    what: str
    place: str
    gone: bool = False


def breaks(old: Surface, new: Surface) -> list[Difference]:
    """Everything that `old` offers its users and `new` does not."""
    found: dict[tuple[str, str], Difference] = {}
    compared: set[tuple[str, str]] = set()
    gone: list[str] = []
    # The shortest name first: if one thing has several names, the shortest is reported.
    for name in sorted(old.offered, key=lambda n: (n.count("."), n)):
        before, after = old.offered[name], new.find(name, anywhere=name in old.used)
        if after is None and before is not None:
            if not any(name.startswith(f"{outer}.") for outer in gone):
                found[name, "gone"] = Difference(name, "is gone", old.tree.place(before), gone=True)
            gone.append(name)
            continue
        if not isinstance(before, griffe.Object) or not isinstance(after, griffe.Object):
            continue  # in another library, or known only at run time
        if (pair := (before.path, after.path)) not in compared:
            compared.add(pair)
            for difference in _compared(name, before, after, old.tree, new.tree):
                found.setdefault((difference.name, difference.what), difference)
    return sorted(found.values())


def additions(old: Surface, new: Surface) -> list[Difference]:
    """Everything that `new` offers its users and `old` did not."""
    return [Difference(d.name, "is new", d.place) for d in breaks(new, old) if d.gone]


def _compared(
    name: str, old: griffe.Object, new: griffe.Object, before: Tree, after: Tree
) -> Iterator[Difference]:
    if old.kind is not new.kind:
        what = f"was a {old.kind.value}, is a {new.kind.value}"
        yield Difference(name, what, after.place(new))
    elif isinstance(old, griffe.Class) and isinstance(new, griffe.Class):
        yield from _classes(name, old, new, before, after)
    elif isinstance(old, griffe.Function) and isinstance(new, griffe.Function):
        yield from _functions(name, old, new, before, after)
    elif isinstance(old, griffe.Attribute) and isinstance(new, griffe.Attribute):
        yield from _values(name, old, new, after)


def _functions(
    name: str, old: griffe.Function, new: griffe.Function, before: Tree, after: Tree
) -> Iterator[Difference]:
    for breakage in griffe.find_breaking_changes(_alone(old), _alone(new)):
        say = _SAID.get(breakage.kind)
        argument = breakage.old_value if breakage.old_value is not None else breakage.new_value
        if say is None or not isinstance(argument, griffe.Parameter):
            continue  # a return annotation
        gone = breakage.kind is _KINDS.PARAMETER_REMOVED
        place = _place(old, argument, before) if gone else _place(new, argument, after)
        yield Difference(f"{name}({argument.name})", say(breakage), place, gone)
    if "async" in old.labels ^ new.labels:
        what = "must be awaited" if "async" in new.labels else "can no longer be awaited"
        yield Difference(name, what, after.place(new))


def _classes(
    name: str, old: griffe.Class, new: griffe.Class, before: Tree, after: Tree
) -> Iterator[Difference]:
    now = _ancestors(new, after)
    for base in sorted(_ancestors(old, before) - now):
        yield Difference(name, f"is no longer a {base}", after.place(new))
    made, makes = _constructor(old), _constructor(new)
    yield from _functions(name, made, makes, before, after)
    if is_named_tuple(old) and is_named_tuple(new):
        lengths = len(made.parameters) - 1, len(makes.parameters) - 1
        if lengths[0] < lengths[1]:
            what = "had {} fields, has {}: unpacking fails".format(*lengths)
            yield Difference(name, what, after.place(new))
    fields = {p.name for p in made.parameters}
    members, members_now = old.all_members, new.all_members
    for short, member in members.items():
        own = short.startswith("__") and short not in _NOT_OFFERED
        if (short.startswith("_") and not own) or (member.is_alias and not member.inherited):
            continue
        if short not in members_now:
            if short not in fields:  # already reported as an argument
                yield Difference(f"{name}.{short}", "is gone", before.place(member), gone=True)
            continue
        was, is_now = _target(member), _target(members_now[short])
        if was is not None and is_now is not None and short not in fields:
            yield from _compared(f"{name}.{short}", was, is_now, before, after)


def _values(
    name: str, old: griffe.Attribute, new: griffe.Attribute, after: Tree
) -> Iterator[Difference]:
    try:
        was, is_now = ast.literal_eval(str(old.value)), ast.literal_eval(str(new.value))
    except (ValueError, SyntaxError):
        return  # an expression; a different spelling need not be a different value
    if was != is_now:
        yield Difference(name, f"was {was!r}, is {is_now!r}", after.place(new))


def _ancestors(cls: griffe.Class, tree: Tree) -> set[str]:
    """The names of all public base classes, here or in another library."""
    found: set[str] = set()
    for base in cls.bases:
        path = str(getattr(base, "canonical_path", base))
        known = next((r for r in cls.resolved_bases if _leads_to(path, r, cls)), None)
        if isinstance(known, griffe.Class):
            if known.path in tree.public_classes:
                found.add(known.name)
            found |= _ancestors(known, tree)
        elif path not in _BASES_WITHOUT_MEANING:
            found.add(path.rpartition(".")[2])
    return found


def _leads_to(path: str, base: griffe.Object, cls: griffe.Class) -> bool:
    try:
        found = cls.modules_collection.get_member(path)
        return (found.final_target if found.is_alias else found) is base
    except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
        return False


def _constructor(cls: griffe.Class) -> griffe.Function:
    found = _target(cls.all_members.get("__init__"))
    if isinstance(found, griffe.Function):
        return found
    own = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    return griffe.Function(
        "__init__", parameters=griffe.Parameters(own), lineno=cls.lineno, parent=cls
    )


def _place(function: griffe.Function, argument: griffe.Parameter, tree: Tree) -> str:
    """The place of an argument; in a generated constructor, the place of the field."""
    owner = function.parent
    if function.name != "__init__" or not isinstance(owner, griffe.Class):
        return tree.place(function)
    field = _target(owner.all_members.get(argument.name))
    return tree.place(field if isinstance(field, griffe.Attribute) else function)


def _target(member: Offered) -> griffe.Object | None:
    if isinstance(member, griffe.Alias):
        try:
            target = member.final_target
        except (griffe.AliasResolutionError, griffe.CyclicAliasError):
            return None
        return target if isinstance(target, griffe.Object) else None
    return member


def _alone(function: griffe.Function) -> griffe.Module:
    """A module that contains only one function, public whatever its name."""
    # A copy, so that the function in the tree does not change.
    copy = griffe.Function(
        function.name, parameters=function.parameters, returns=None, lineno=function.lineno
    )
    copy.public = True
    module = griffe.Module("alone")
    module.set_member("function", copy)
    return module


def _default(parameter: griffe.Parameter) -> str:
    return str(parameter.default)


def _kind(parameter: griffe.Parameter) -> str:
    return parameter.kind.value if parameter.kind else "undecided"


_SAID: dict[griffe.BreakageKind, Callable[[griffe.Breakage], str]] = {
    _KINDS.PARAMETER_REMOVED: lambda b: "is gone",
    _KINDS.PARAMETER_MOVED: lambda b: "has a different position",
    _KINDS.PARAMETER_CHANGED_KIND: lambda b: f"was {_kind(b.old_value)}, is {_kind(b.new_value)}",
    _KINDS.PARAMETER_CHANGED_DEFAULT: lambda b: (
        f"default was {_default(b.old_value)}, is {_default(b.new_value)}"
    ),
    _KINDS.PARAMETER_CHANGED_REQUIRED: lambda b: "was optional, is required",
    _KINDS.PARAMETER_ADDED_REQUIRED: lambda b: "is new and required",
}
