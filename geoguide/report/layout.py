"""The package as rooms and floors, read from its own imports: what the book's page on the layout shows."""

import ast
import graphlib
from dataclasses import dataclass
from pathlib import Path

import grimp


@dataclass(frozen=True)
class Room:
    """A module or a folder of the package.

    Attributes:
        name: Without the package's name.
        floor: 1 for the ground; each room stands above all that it imports.
        lines: Of all its files.
        purpose: First line of its docstring.
        imports: Names of the rooms that it imports.
    """

    name: str
    floor: int
    lines: int
    purpose: str
    imports: tuple[str, ...]


def read_house(package: Path) -> tuple[list[Room], tuple[str, ...]]:
    """Parse the imports of every file, those inside functions and under TYPE_CHECKING too.

    Args:
        package: Folder of an importable package.

    Returns:
        Its rooms from the ground up, and the names of those that import each other in a loop; where there is one, all
        rooms stand on floor 0.
    """
    graph = grimp.build_graph(package.name, cache_dir=None)
    imports: dict[str, set[str]] = {}
    for room in graph.find_children(package.name) - {f"{package.name}.__main__"}:  # the door is no room
        graph.squash_module(room)  # what its modules import, and what imports them, is now the room's
        found = graph.find_modules_directly_imported_by(room) - {package.name, room}
        imports[room.split(".")[1]] = {module.split(".")[1] for module in found}
    circle: tuple[str, ...] = ()
    try:
        order = tuple(graphlib.TopologicalSorter(imports).static_order())
    except graphlib.CycleError as error:
        order, circle = tuple(sorted(imports)), tuple(error.args[1])
    floors: dict[str, int] = {}
    for name in order:
        floors[name] = 0 if circle else 1 + max((floors[other] for other in imports[name]), default=0)
    rooms = [_room(package, name, floors[name], tuple(sorted(imports[name]))) for name in order]
    return sorted(rooms, key=lambda room: (room.floor, room.name)), circle


def _room(package: Path, name: str, floor: int, imports: tuple[str, ...]) -> Room:
    folder = package / name
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    face = folder / "__init__.py" if folder.is_dir() else files[0]
    told = ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))) or ""
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    return Room(name, floor, lines, told.split("\n\n")[0].replace("\n", " "), imports)
