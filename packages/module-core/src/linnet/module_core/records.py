"""Small classes that are compared and printed by their fields, as dataclasses are.

`dataclasses.dataclass` writes the source of a class's methods and compiles it, which takes 0.3 ms
for each frozen class whenever the package is imported. A class that derives from `Fields` inherits
these methods and defines its own constructor. It is a dataclass for `dataclasses.fields` and
`dataclasses.replace`.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NoReturn


class Fields:
    """An object that equals another of its class if their fields are equal.

    >>> class Point(Fields):
    ...     x: int
    ...     def __init__(self, x: int) -> None:
    ...         self.x = x
    >>> Point(1), Point(1) == Point(1)
    (Point(x=1), True)
    """

    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__qualname__}({fields})"


class Record(Fields):
    """An immutable and hashable `Fields`. Its constructor sets fields with `vars(self).update`.

    >>> class Point(Record):
    ...     x: int
    ...     def __init__(self, x: int) -> None:
    ...         vars(self).update(x=x)
    >>> len({Point(1), Point(1), Point(2)})
    2
    """

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
