"""Every public function says what it takes and what it gives."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import geoguide

MODULES = [
    info.name for info in pkgutil.walk_packages(geoguide.__path__, "geoguide.") if info.name.split(".")[-1][0] != "_"
]


def public_functions(module: ModuleType) -> Iterator[tuple[str, object]]:
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            methods = {key: getattr(part, "__func__", part) for key, part in vars(value).items() if key[0] != "_"}
            yield from ((f"{name}.{key}", part) for key, part in methods.items() if inspect.isfunction(part))


@pytest.mark.parametrize("name", MODULES)
def test_arguments_and_result_are_described(name: str) -> None:
    """By sections of their own; a method that only overrides may point to the one that it overrides."""
    for function_name, function in public_functions(importlib.import_module(name)):
        doc, signature = inspect.getdoc(function), inspect.signature(function)
        if "(see `" in doc or "as in `" in doc:
            continue
        if any(parameter not in ("self", "cls") for parameter in signature.parameters):
            assert "Args:" in doc, f"{name}.{function_name} does not describe its arguments"
        if signature.return_annotation not in (None, "None", inspect.Signature.empty):
            assert "Returns:" in doc or "Yields:" in doc, f"{name}.{function_name} does not describe what it returns"
