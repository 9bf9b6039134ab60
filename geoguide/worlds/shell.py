"""The shell of a room: walls with their openings, floor and ceiling, as single-sided surfaces that face the room."""

from itertools import pairwise

import numpy as np

from geoguide.worlds.layout import RoomLayout, Wall
from geoguide.worlds.openings import REVEAL
from geoguide.worlds.palette import FABRIC, GREY, WALL, WHITE, WOOD, Color, darker, pick_color
from geoguide.worlds.shapes import ObjectParts, Rectangle, grid_quads, shaded, triangles

CELL = 0.25  # metres, about the edge of a quad


def _lines(length: float, breaks: list[float], cell: float = CELL) -> np.ndarray:
    """Grid coordinates from 0 to `length` that include the breaks and leave no cell wider than `cell`."""
    marks = np.unique(np.clip([0.0, *breaks, length], 0, length))
    return np.concatenate(
        [np.linspace(a, b, max(1, int(np.ceil((b - a) / cell))) + 1)[:-1] for a, b in pairwise(marks)] + [marks[-1:]]
    )


def _grid(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [N, 2], quads [Q, 4] and quad centres [Q, 2] of the grid of lines u and v."""
    vertices = np.stack(np.meshgrid(u, v, indexing="ij"), axis=-1).reshape(-1, 2)
    quads = grid_quads(len(u) - 1, len(v) - 1)
    return vertices, quads, vertices[quads].mean(axis=1)


def wall_item(rng: np.random.Generator, wall: Wall, height: float, color: Color, tiled: float) -> ObjectParts:
    """Build one wall with holes for its openings and their reveals.

    Args:
        rng: Source of its shades.
        wall: Where it stands, and its openings.
        height: Its height, metres.
        color: Its colour.
        tiled: Height up to which it is tiled in two shades, metres; 0: not at all.

    Returns:
        The object "wall".
    """
    item = ObjectParts("wall", color)
    s = _lines(wall.length, [x for o in wall.openings for x in o[:2]])
    z = _lines(height, [x for o in wall.openings for x in o[2:]] + [tiled])
    vertices, quads, center = _grid(s, z)  # [N, 2], [Q, 4], [Q, 2]
    hole = np.zeros(len(quads), bool)  # [Q]
    for s0, s1, z0, z1 in wall.openings:
        hole |= (center[:, 0] > s0) & (center[:, 0] < s1) & (center[:, 1] > z0) & (center[:, 1] < z1)
    quads, center = quads[~hole][:, ::-1], center[~hole]
    colors = shaded(rng, color, len(quads), 0.012).astype(np.float64)  # [Q, 3]
    checker = (np.floor(center[:, 0] / CELL) + np.floor(center[:, 1] / CELL)) % 2  # [Q]
    colors = np.where((center[:, 1] < tiled)[:, None], colors * (0.9 + 0.07 * checker[:, None]), colors)
    points = np.column_stack([wall.start + vertices[:, :1] * wall.along, vertices[:, 1]])  # [N, 3]
    item.add(points, triangles(quads), np.repeat(colors.astype(np.uint8), 2, axis=0))
    for opening in wall.openings:
        _reveal(rng, item, wall, opening)
    return item


def _reveal(rng: np.random.Generator, item: ObjectParts, wall: Wall, opening: Rectangle) -> None:
    """Add the four faces between the wall's surface and the back of an opening."""
    s0, s1, z0, z1 = opening
    outline = [(s0, z0), (s1, z0), (s1, z1), (s0, z1)]
    points = np.array([[*wall.at(s, out), z] for s, z in outline for out in (0.0, -REVEAL)])  # [8, 3]
    quads = np.array([[2 * k, (2 * k + 2) % 8, (2 * k + 3) % 8, 2 * k + 1] for k in range(4)])  # [4, 4]
    item.add(points, triangles(quads), np.repeat(shaded(rng, item.color, 4), 2, axis=0))


def floor_item(rng: np.random.Generator, layout: RoomLayout, kind: str) -> ObjectParts:
    """Build the floor over a room's outline.

    Args:
        rng: Source of its colours.
        layout: The room.
        kind: "wood" (planks), "tile" or "carpet".

    Returns:
        The object "floor".
    """
    color = {
        "wood": pick_color(rng, WOOD),
        "tile": pick_color(rng, WHITE, GREY, WALL),
        "carpet": pick_color(rng, FABRIC, GREY),
    }[kind]
    item = ObjectParts("floor", color)
    points, quads, center = _plan(layout, 0.15 if kind == "wood" else CELL)  # [N, 3], [Q, 4], [Q, 2]
    colors = shaded(rng, color, len(quads)).astype(np.float64)
    if kind == "wood":
        plank = np.unique(center[:, 1].round(3), return_inverse=True)[1]  # [Q] plank of each quad
        colors *= rng.normal(1, 0.06, plank.max() + 1)[plank][:, None]
    elif kind == "tile":
        colors *= 0.9 + 0.08 * ((np.floor(center[:, :1] / CELL) + np.floor(center[:, 1:2] / CELL)) % 2)
    item.add(points, triangles(quads), np.repeat(np.clip(colors, 0, 255).astype(np.uint8), 2, axis=0))
    return item


def ceiling_item(rng: np.random.Generator, layout: RoomLayout) -> ObjectParts:
    """Build the ceiling over a room's outline.

    Args:
        rng: Source of its colours.
        layout: The room.

    Returns:
        The object "ceiling".
    """
    item = ObjectParts("ceiling", pick_color(rng, WHITE))
    points, quads, _ = _plan(layout, CELL)
    colors = np.repeat(shaded(rng, item.color, len(quads)), 2, axis=0)  # [2 Q, 3]
    item.add(points + np.array([0, 0, layout.size[2]]), triangles(quads[:, ::-1]), colors)
    return item


def _plan(layout: RoomLayout, cell: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid over the outline: points [N, 3] at z = 0, quads [Q, 4] facing up, their centres [Q, 2]."""
    x = _lines(layout.size[0], [n[k] for n in layout.notches for k in (0, 2)])
    y = _lines(layout.size[1], [n[k] for n in layout.notches for k in (1, 3)], cell)
    vertices, quads, center = _grid(x, y)
    keep = np.ones(len(quads), bool)  # [Q]
    for x0, y0, x1, y1 in layout.notches:
        keep &= ~((center[:, 0] > x0) & (center[:, 0] < x1) & (center[:, 1] > y0) & (center[:, 1] < y1))
    return np.column_stack([vertices, np.zeros(len(vertices))]), quads[keep], center[keep]


def shell_items(rng: np.random.Generator, layout: RoomLayout, floor: str, tiled: float) -> list[ObjectParts]:
    """Build the shell of a room of mini-ScanNet.

    Args:
        rng: Source of its colours.
        layout: The room.
        floor: Kind of floor, see `floor_item`.
        tiled: Height up to which the walls are tiled, metres.

    Returns:
        Floor, walls (one of them sometimes in another colour) and, rarely, the ceiling, as in ScanNet's scans.
    """
    color = pick_color(rng, WALL)
    accent = int(rng.integers(len(layout.walls))) if rng.random() < 0.2 else -1
    other = darker(pick_color(rng, WALL, FABRIC), 0.9)
    items = [floor_item(rng, layout, floor)]
    for index, wall in enumerate(layout.walls):
        items.append(wall_item(rng, wall, layout.size[2], other if index == accent else color, tiled))
    if rng.random() < 0.15:
        items.append(ceiling_item(rng, layout))
    return items


def floor_kind(rng: np.random.Generator, room_type: str) -> str:
    """Draw what the floor of a room is made of.

    Args:
        rng: Source of the choice.
        room_type: "bathroom" for example.

    Returns:
        "wood", "tile" or "carpet".
    """
    kinds = {
        "bathroom": ["tile"],
        "kitchen": ["tile", "wood"],
        "meeting room": ["carpet"],
        "office": ["carpet", "wood"],
    }
    return str(rng.choice(kinds.get(room_type, ["wood", "carpet"])))
