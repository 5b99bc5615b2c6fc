"""Dataclasses that are JSON objects: each field has a type, a unit and a description, and keys nobody knows are kept.

What a JSON object says by leaving a key out is kept apart from null: a field that is not passed is left out again when
the object is written, one that is passed as None is written as null. Both are None to whoever reads the attribute.
"""

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

Json = dict[str, Any]

_ABSENT: Any = object()
"""The default of a field, which becomes None."""


def log_field(description: str, *, unit: str = "", key: str = "", required: bool = False) -> Any:
    """A field of a JsonTable. `key` is its JSON name where it differs; one that is `required` is never None."""
    metadata = {"description": description, "unit": unit, "key": key}
    return field(metadata=metadata) if required else field(default=_ABSENT, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class JsonTable:
    """A JSON object; its fields are declared by `log_field`."""

    extra: Json = field(default_factory=dict)
    """Keys that the schema does not know, as they were read."""

    def __post_init__(self) -> None:
        absent = {spec.name for spec in log_fields(type(self)) if getattr(self, spec.name) is _ABSENT}
        for name in absent:
            object.__setattr__(self, name, None)
        object.__setattr__(self, "_absent", absent)

    @classmethod
    def from_json(cls, content: Json) -> Self:
        """The object that `content` is. Raises TypeError for a value of another type than its field's."""
        hints, values, extra = type_hints(cls), {}, dict(content)
        for spec in log_fields(cls):
            key = key_of(spec)
            if key in extra:
                values[spec.name] = _typed(hints[spec.name], extra.pop(key), key)
            elif spec.default is MISSING:
                raise TypeError(f"{key} is missing")
        return cls(**values, extra=extra)

    def to_json(self) -> Json:
        """The JSON object: the fields that were given, in the schema's order, then the keys it does not know."""
        return {key_of(spec): _plain(getattr(self, spec.name)) for spec in self._given()} | self.extra

    def replaced(self, **changes: Any) -> Self:
        """The same with some fields replaced. Raises TypeError for a name that is no field."""
        return type(self)(**{**self.fields(), "extra": self.extra, **changes})

    def fields(self) -> Json:
        """The values of the fields that were given, by name."""
        return {spec.name: getattr(self, spec.name) for spec in self._given()}

    def _given(self) -> list[Field[Any]]:
        absent: set[str] = self.__dict__["_absent"]
        return [spec for spec in log_fields(type(self)) if spec.name not in absent]


# Needed for each line of each log.
_SPECS: dict[type, tuple[Field[Any], ...]] = {}
_HINTS: dict[type, Mapping[str, Any]] = {}


def log_fields(table: type[JsonTable]) -> tuple[Field[Any], ...]:
    """The declared fields of a table, in the order in which they are written."""
    if table not in _SPECS:
        _SPECS[table] = tuple(spec for spec in fields(table) if "description" in spec.metadata)
    return _SPECS[table]


def type_hints(table: type[JsonTable]) -> Mapping[str, Any]:
    """The types of a table's fields by name."""
    if table not in _HINTS:
        _HINTS[table] = get_type_hints(table)
    return _HINTS[table]


def key_of(spec: Field[Any]) -> str:
    """The JSON key of a field."""
    return spec.metadata["key"] or spec.name


def _typed(kind: Any, value: Any, key: str) -> Any:
    """`value` as the type says. Raises TypeError where it is another one."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (other,) = (arm for arm in inner if arm is not types.NoneType)
        return None if value is None else _typed(other, value, key)
    if kind is Any:
        return value
    if origin is list and isinstance(value, list):
        return [_typed(inner[0], one, key) for one in value]
    if origin is dict and isinstance(value, dict):
        return {name: _typed(inner[1], one, key) for name, one in value.items()}
    if isinstance(kind, type) and issubclass(kind, JsonTable) and isinstance(value, dict):
        return kind.from_json(value)
    # JSON knows one kind of number, and Python takes truths for numbers.
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    wanted = (int, float) if kind is float else kind
    if origin is None and isinstance(value, wanted) and (kind is bool or not isinstance(value, bool)):
        return value
    raise TypeError(f"{key} is {value!r}, which is no {kind}")


def _plain(value: Any) -> Any:
    if isinstance(value, JsonTable):
        return value.to_json()
    return [_plain(one) for one in value] if isinstance(value, list) else value
