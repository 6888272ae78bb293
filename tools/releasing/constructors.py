"""Generated constructors: those of all forms of dataclasses in this project.

griffe knows the constructor of a `dataclasses.dataclass`. It does not know that the annotated
attributes of a linen module are arguments, so it would miss a field that is removed or moved. Under
PEP 681, classes of this kind have a base or a decorator that is marked `dataclass_transform`. This
module reads the same mark, so it needs no list of such classes. Named tuples are included, since
their fields are arguments as well, and so are constructors that a class inherits from a private
base.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import griffe

_KINDS = griffe.ParameterKind
_SELF = griffe.Parameter("self", kind=_KINDS.positional_or_keyword)


def add_constructors(tree: griffe.Module) -> None:
    """Gives each class without an `__init__` one made of its fields, or that of a private base."""
    # The parameters of a named tuple depend on no other class. Everything is read before changes.
    made = [(cls, _constructor(cls)) for cls in _classes(tree) if "__init__" not in cls.members]
    for cls, constructor in made:
        if constructor is not None:
            cls.set_member("__init__", constructor)


def is_named_tuple(cls: griffe.Class) -> bool:
    """Whether a class is also a tuple, so that the number of its fields matters."""
    return any(_path(base) in ("typing.NamedTuple", "NamedTuple") for base in cls.bases)


def _classes(module: griffe.Module) -> Iterator[griffe.Class]:
    for member in module.members.values():
        if isinstance(member, griffe.Class):
            yield member
        elif isinstance(member, griffe.Module):
            yield from _classes(member)


def _constructor(cls: griffe.Class) -> griffe.Function | None:
    line = [cls, *cls.mro()]
    if not _has_fields(cls):
        return _inherited(cls)
    fields: dict[str, griffe.Parameter] = {}
    for base in reversed(line):  # a redeclared field keeps its position
        if _has_fields(base):
            fields |= {field.name: field for field in _fields(base)}
    ordered = sorted(fields.values(), key=lambda f: f.kind is _KINDS.keyword_only)
    return _init(cls, [_SELF, *ordered])


def _inherited(cls: griffe.Class) -> griffe.Function | None:
    base = next((base for base in cls.mro() if "__init__" in base.members), None)
    if base is None or not base.name.startswith("_"):
        return None
    written = base.members["__init__"]
    return _init(cls, written.parameters) if isinstance(written, griffe.Function) else None


def _init(cls: griffe.Class, parameters: Iterable[griffe.Parameter]) -> griffe.Function:
    return griffe.Function(
        "__init__",
        parameters=griffe.Parameters(*parameters),
        lineno=cls.lineno,
        endlineno=cls.endlineno,
        parent=cls,
    )


def _has_fields(cls: griffe.Class) -> bool:
    if is_named_tuple(cls) or _is_decorated(cls):
        return True
    return any(_is_marked(base) for base in cls.mro())


def _is_decorated(cls: griffe.Class) -> bool:
    """Whether the class has a decorator that makes dataclasses."""
    for decorator in cls.decorators:
        if decorator.callable_path == "dataclasses.dataclass":
            return True
        try:
            function = cls.modules_collection.get_member(decorator.callable_path)
            function = function.final_target if function.is_alias else function
        except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
            continue
        if _is_marked(function):
            return True
    return False


def _is_marked(thing: griffe.Object) -> bool:
    decorators = getattr(thing, "decorators", [])
    return any(d.callable_path.endswith("dataclass_transform") for d in decorators)


def _fields(cls: griffe.Class) -> Iterator[griffe.Parameter]:
    by_keyword = str(cls.keywords.get("kw_only")) == "True" or any(
        str(_arguments(decorator.value).get("kw_only")) == "True" for decorator in cls.decorators
    )
    methods = [m for m in cls.members.values() if isinstance(m, griffe.Function)]
    for member in cls.members.values():
        if not isinstance(member, griffe.Attribute) or member.annotation is None:
            continue
        if "property" in member.labels or "instance-attribute" not in member.labels:
            continue  # griffe's label of a ClassVar
        if any((m.lineno or 0) <= (member.lineno or 0) <= (m.endlineno or 0) for m in methods):
            continue  # annotated in an assignment inside a method
        if _path(member.annotation) == "dataclasses.KW_ONLY":
            by_keyword = True
            continue
        options = _arguments(member.value) if _is_specifier(member.value) else {}
        if str(options.get("init")) == "False":
            continue
        if options or _is_specifier(member.value):
            default = options.get("default", options.get("default_factory"))
        else:
            default = member.value
        own = by_keyword if "kw_only" not in options else str(options["kw_only"]) == "True"
        yield griffe.Parameter(
            member.name,
            annotation=member.annotation,
            kind=_KINDS.keyword_only if own else _KINDS.positional_or_keyword,
            default=default,
        )


def _is_specifier(value: object) -> bool:
    """Whether a field's value is a call to `dataclasses.field`, or to a function around it."""
    return isinstance(value, griffe.ExprCall) and _path(value.function).endswith("field")


def _arguments(call: object) -> dict[str, Any]:
    if not isinstance(call, griffe.ExprCall):
        return {}
    return {a.name: a.value for a in call.arguments if isinstance(a, griffe.ExprKeyword)}


def _path(expression: object) -> str:
    return str(getattr(expression, "canonical_path", expression))
