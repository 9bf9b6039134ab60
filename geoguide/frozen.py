"""Frozen dataclasses as configs: to JSON types and back, copies with nested changes, and a hash that names them.

A field's metadata may hold "hash": False where the field does not change a result (such as where files lie), or a
function of the config that says whether the field is hashed.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from geoguide.errors import ConfigError


def check_fields(config: Any, where: str, **choices: tuple[str, ...]) -> None:
    """Take the values of a config as what its fields' types say, and refuse others; for its `__post_init__`.

    numpy's numbers become Python's, whole ones such as 1e4 integers, lists tuples and paths text, where the field asks
    for these: else one experiment had two names, or a record was written that nobody can read.

    Args:
        config: A frozen dataclass; its fields are set where they hold a value in another form.
        where: What an error calls the config, such as "usd".
        choices: The values of further fields, by field name; those of `Literal` fields are known.

    Raises:
        ConfigError: A value of another type, nan or inf, or one that is not among those of its field.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Train:
        ...     steps: int = 100
        ...     model: Literal["adapter", "openscene"] = "adapter"
        ...     def __post_init__(self) -> None:
        ...         check_fields(self, "train")
        >>> Train(steps=1e4)
        Train(steps=10000, model='adapter')
        >>> Train(model="pointnet")
        Traceback (most recent call last):
        geoguide.errors.ConfigError: train.model must be one of adapter, openscene, found 'pointnet'
    """
    values = vars(config)
    for name, (hint, plain, *_) in _fields(type(config)).items():
        value = values[name]
        if type(value) is int and float in plain and int not in _parts(hint)[1]:
            value = values[name] = float(value)
        if type(value) not in plain and not _fits(hint, value):
            value = values[name] = _in_form(hint, value)
            if not _fits(hint, value):
                raise _refusal(hint, value, f"{where}.{name}")
        if not _is_finite(value):
            raise ConfigError(f"{where}.{name} must be finite, found {value}")
    for name, allowed in choices.items():
        if values[name] not in allowed:
            raise ConfigError(f"{where}.{name} must be one of {', '.join(allowed)}, found {values[name]!r}")


def _in_form(hint: Any, value: Any) -> Any:
    """A value in the form that a type hint asks for, where it is one in another form; else as it is."""
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:  # not imported for this alone
        value = value.item()
    if _fits(hint, value):
        return value
    origin, kinds = _parts(hint)
    if origin in (typing.Union, types.UnionType):
        found = (_in_form(kind, value) for kind in kinds)
        return next((other for other in found if _fits(hint, other)), value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if origin is tuple and isinstance(value, tuple | list):
        each = itertools.repeat(kinds[0]) if kinds[-1] is Ellipsis else kinds
        return tuple(map(_in_form, each, value)) if kinds[-1] is Ellipsis or len(kinds) == len(value) else value
    return value


def _is_finite(value: Any) -> bool:
    """Whether a number is finite, or every one of a tuple; of no number nothing is said."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, tuple) or all(map(_is_finite, value))


def unless(name: str, default: Any) -> dict[str, Any]:
    """Metadata of a config field that was added later, so that configs which leave it at its default keep their hash.

    Args:
        name: The field's own name.
        default: The field's own default.

    Returns:
        What `dataclasses.field` takes as `metadata`.
    """
    return {"hash": lambda config: getattr(config, name) != default}


def replaced(config: Any, changes: Mapping[str, Any]) -> Any:
    """Copy a config with some fields changed, which may be fields of configs within it.

    All changes of a part are made at once: what goes together, such as a source and its folder, needs no order.

    Args:
        config: A frozen dataclass.
        changes: New values by the names of fields from the outermost in, such as "objective.usd.weight".

    Returns:
        The copy; parts that no path crosses are shared.

    Raises:
        ConfigError: A name of a path is no field, or a part refuses its values.
    """
    return _replaced(config, {tuple(path.split(".")): value for path, value in changes.items()}, ())


def _replaced(config: Any, changes: dict[tuple[str, ...], Any], above: tuple[str, ...]) -> Any:
    values: dict[str, Any] = {}
    within: dict[str, dict[tuple[str, ...], Any]] = {}
    for (name, *rest), value in changes.items():
        if not dataclasses.is_dataclass(config) or name not in _hashed(type(config)):
            raise ConfigError(f"{'.'.join([*above, name, *rest])}: no such field ({name!r} in {type(config).__name__})")
        if rest:
            within.setdefault(name, {})[tuple(rest)] = value
        else:
            values[name] = value
    for name, parts in within.items():
        values[name] = _replaced(values.get(name, getattr(config, name)), parts, (*above, name))
    return dataclasses.replace(config, **values)


def to_dict(config: Any, *, hashed_only: bool = False) -> dict[str, Any]:
    """Turn a config into plain JSON types.

    Args:
        config: A dataclass of numbers, strings, tuples and further dataclasses.
        hashed_only: Leave out the fields that do not change a result (see the top of this file).

    Returns:
        Values by field name; dataclasses become dictionaries, tuples become lists.

    Example:
        >>> from dataclasses import dataclass, field
        >>> @dataclass(frozen=True)
        ... class Train:
        ...     steps: int = 100
        ...     widths: tuple[int, ...] = (64, 32)
        ...     folder: str = field(default="runs", metadata={"hash": False})
        >>> to_dict(Train(steps=5))
        {'steps': 5, 'widths': [64, 32], 'folder': 'runs'}
        >>> to_dict(Train(steps=5), hashed_only=True)
        {'steps': 5, 'widths': [64, 32]}
    """
    result = {}
    for name, hashed in _hashed(type(config)).items():
        if hashed_only and not (hashed(config) if callable(hashed) else hashed):
            continue
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            value = to_dict(value, hashed_only=hashed_only)
        result[name] = list(value) if isinstance(value, tuple) else value
    return result


@functools.cache
def _hashed(kind: Any) -> dict[str, Any]:
    """Of a dataclass's fields whether each is hashed, or a function of the config that says so."""
    return {f.name: f.metadata.get("hash", True) for f in dataclasses.fields(kind)}


def from_dict(kind: type, values: dict[str, Any], where: str = "config") -> Any:
    """Build a config from plain values, the inverse of `to_dict`.

    Args:
        kind: The dataclass to build.
        values: Values by field name; fields that are missing take their defaults.
        where: What an error calls the config.

    Returns:
        An instance of `kind`.

    Raises:
        ConfigError: A field is unknown or missing, a value is not of its field's type, or `kind` refuses it.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Train:
        ...     steps: int = 100
        ...     widths: tuple[int, ...] = (64, 32)
        >>> from_dict(Train, {"steps": "many"})
        Traceback (most recent call last):
        geoguide.errors.ConfigError: config.steps must be int, found 'many'
        >>> from_dict(Train, {"widths": [16]})
        Train(steps=100, widths=(16,))
        >>> from_dict(Train, {"step": 5})
        Traceback (most recent call last):
        geoguide.errors.ConfigError: config.step: unknown field of Train
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must hold values by name, found {values!r:.60}")
    fields = _fields(kind)
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"{where}.{unknown[0]}: unknown field of {kind.__name__}")
    arguments = {}
    for name, value in values.items():
        f = fields[name]
        if f.inner is not None and value is not None:
            value = from_dict(f.inner, value, f"{where}.{name}")
        elif isinstance(value, list) and not f.is_list:
            value = tuple(value)
        arguments[name] = value
    check_types(kind, arguments, where)
    return kind(**arguments)


class _Field(NamedTuple):
    """What the type hint of a dataclass's field says, found out once: a book reads hundreds of records.

    Attributes:
        hint: The type hint.
        plain: Types of which every value is of the hint's type, without a look at the value.
        inner: The dataclass that the hint names, alone or as one of several alternatives (such as None); else None.
        is_list: Whether the hint names a list, alone or as an alternative.
        required: Whether the field has no default.
    """

    hint: Any
    plain: frozenset[type]
    inner: Any
    is_list: bool
    required: bool


@functools.cache
def _fields(kind: Any) -> dict[str, _Field]:
    """The fields of a dataclass by name."""
    hints, found, missing = typing.get_type_hints(kind), {}, dataclasses.MISSING
    for f in dataclasses.fields(kind):
        hint = hints[f.name]
        parts = (hint, *typing.get_args(hint))
        inner = next((part for part in parts if dataclasses.is_dataclass(part)), None)
        is_list = any(list in (part, typing.get_origin(part)) for part in parts)
        required = f.default is missing and f.default_factory is missing
        found[f.name] = _Field(hint, _plain(hint), inner, is_list, required)
    return found


def check_types(kind: Any, values: dict[str, Any], where: str) -> None:
    """Refuse values that a dataclass would take as they are, whatever their type.

    Args:
        kind: The dataclass, a type.
        values: Values by name of its fields; those of other names are not looked at.
        where: What an error calls the whole, such as "config".

    Raises:
        ConfigError: A field without default has no value, or a value is not of its field's type.
    """
    for name, (hint, plain, _, _, required) in _fields(kind).items():
        if name not in values and required:
            raise ConfigError(f"{where}.{name} is missing")
        if name in values and type(values[name]) not in plain and not _fits(hint, values[name]):
            raise _refusal(hint, values[name], f"{where}.{name}")


def _refusal(hint: Any, value: Any, where: str) -> ConfigError:
    origin, allowed = _parts(hint)
    entries = value if origin in (dict, Mapping) and isinstance(value, dict) else {}
    for name, entry in entries.items():  # of hundreds of scenes the one that is wrong is named
        if not _fits(allowed[1], entry):
            return _refusal(allowed[1], entry, f"{where}.{name}")
    expected = f"one of {', '.join(map(str, allowed))}" if origin is Literal else _name(hint)
    return ConfigError(f"{where} must be {expected}, found {value!r:.60}")


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


@functools.cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """What a type hint is made of: `dict[str, int]` of dict, and (str, int)."""
    return typing.get_origin(hint), typing.get_args(hint)


@functools.cache
def _plain(hint: Any) -> frozenset[type]:
    """See `_Field.plain`."""
    origin, kinds = _parts(hint)
    if origin in (typing.Union, types.UnionType):
        return frozenset().union(*map(_plain, kinds))
    if hint is float:
        return frozenset({int, float})
    return frozenset({hint}) if origin is None and isinstance(hint, type) else frozenset()


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is of a type hint's type; an int is a float, true and false are no numbers.

    A sequence is a list and a mapping a dict: so the hint is of values from JSON that nobody is to change.
    """
    if type(value) in _plain(hint):
        return True
    origin, kinds = _parts(hint)
    if origin is Literal:
        return value in kinds
    if origin in (typing.Union, types.UnionType):
        return any(_fits(kind, value) for kind in kinds)
    if origin is tuple and kinds[-1] is not Ellipsis:
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, kinds, value))
    if origin in (tuple, list, Sequence):
        return isinstance(value, list if origin is Sequence else origin) and _all_fit(kinds[0], value)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and _all_fit(kinds[0], value) and _all_fit(kinds[1], value.values())
    if hint is Any:
        return True
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, hint)


def _all_fit(hint: Any, values: Iterable[Any]) -> bool:
    """Whether every value is of a type hint's type; of thousands of numbers only the types are collected."""
    return hint is Any or _plain(hint).issuperset(map(type, values)) or all(_fits(hint, value) for value in values)


def config_hash(config: Any) -> str:
    """Name a config by ten hexadecimal digits: the start of the SHA-256 of its hashed fields as JSON.

    Args:
        config: A dataclass, as `to_dict` takes it.

    Returns:
        The digits; configs that differ in fields without a hash alone have the same.

    Example:
        >>> from dataclasses import dataclass, field
        >>> @dataclass(frozen=True)
        ... class Train:
        ...     steps: int = 100
        ...     folder: str = field(default="runs", metadata={"hash": False})
        >>> config_hash(Train())
        '3e55f85773'
        >>> config_hash(Train(folder="elsewhere")) == config_hash(Train())
        True
    """
    text = json.dumps(to_dict(config, hashed_only=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
