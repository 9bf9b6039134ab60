"""Frozen dataclasses as configs: to JSON types and back, copies with nested changes, a hash as name."""

import dataclasses
import hashlib
import json
import typing
from typing import Any

from geoguide.errors import ConfigError


def unless(name: str, default: Any) -> dict[str, Any]:
    """Metadata of a field that joined later: configs that leave it at its default keep their hash."""
    return {"hash": lambda config: getattr(config, name) != default}


def replaced(config: Any, path: list[str], value: Any, full: str) -> Any:
    if not dataclasses.is_dataclass(config) or path[0] not in {f.name for f in dataclasses.fields(config)}:
        raise ConfigError(f"{full.replace('__', '.')}: no such field ({path[0]!r} in {type(config).__name__})")
    inner = value if len(path) == 1 else replaced(getattr(config, path[0]), path[1:], value, full)
    return dataclasses.replace(config, **{path[0]: inner})


def to_dict(config: Any, *, hashed_only: bool = False) -> dict[str, Any]:
    """A dataclass as plain JSON types; with `hashed_only` without the fields that do not change a result."""
    result = {}
    for f in dataclasses.fields(config):
        hashed = f.metadata.get("hash", True)  # or a function of the config: a part that only some experiments read
        if hashed_only and not (hashed(config) if callable(hashed) else hashed):
            continue
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            value = to_dict(value, hashed_only=hashed_only)
        result[f.name] = list(value) if isinstance(value, tuple) else value
    return result


def from_dict(kind: type, values: dict[str, Any], where: str = "config") -> Any:
    """The inverse of `to_dict`; an unknown field is a `ConfigError` that names it."""
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ConfigError(f"{where}.{unknown[0]}: unknown field of {kind.__name__}")
    arguments = {}
    for name, value in values.items():
        hint = _dataclass(hints[name])
        if hint is not None and value is not None:
            value = from_dict(hint, value, f"{where}.{name}")
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    return kind(**arguments)


def _dataclass(hint: Any) -> type | None:
    """The dataclass that a type hint names, alone or as an option beside None."""
    return next((h for h in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(h)), None)


def config_hash(config: Any) -> str:
    """Ten hex digits that name a config (any of the dataclasses above)."""
    text = json.dumps(to_dict(config, hashed_only=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
