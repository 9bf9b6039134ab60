"""Windows, doors and what hangs before them: pieces that sit in a hole of a wall, and how they get there.

The pieces lie in the frame of `shapes`, metres: x along the wall from the middle of the hole, y < 0 inside the wall, z
above the floor. Widths and heights are those of the hole.
"""

from itertools import pairwise

import numpy as np

from geoguide.worlds.layout import PlacedInRoom
from geoguide.worlds.palette import BLACK, FABRIC, GLASS, GREY, METAL, VIVID, WHITE, WOOD, darker, pick_color
from geoguide.worlds.placement import Furnisher
from geoguide.worlds.shapes import Box, Piece

REVEAL = 0.1  # metres from the wall's surface to the back of an opening


def window(rng: np.random.Generator, width: float, z0: float, z1: float) -> Piece:
    """Build a window: frame, mullions, panes and a sill; the panes are drawn and scanned as if they were opaque.

    Args:
        rng: Source of its style and colours.
        width: Width of the hole.
        z0: Height of its lower edge.
        z1: Height of its upper edge.

    Returns:
        The window, with some space before it kept clear.
    """
    p = Piece(rng)
    frame = pick_color(rng, WHITE, WOOD, GREY)
    p.start("window", frame)
    back, thick = -REVEAL, 0.05
    front = back + rng.uniform(0.04, 0.07)
    for x in (-width / 2, width / 2 - thick):
        p.box((x, back, z0), (x + thick, front, z1))
    columns, rows = max(1, round(width / rng.uniform(0.5, 0.8))), int(rng.integers(1, 3))
    for k in range(1, columns):
        x = -width / 2 + k * width / columns
        p.box((x - 0.025, back, z0), (x + 0.025, front, z1))
    for k in range(rows + 1):
        z = z0 + k * (z1 - z0) / rows
        p.box((-width / 2, back, max(z0, z - 0.03)), (width / 2, front, min(z1, z + 0.03)))
    p.box((-width / 2, back - 0.02, z0), (width / 2, back + 0.02, z1), pick_color(rng, GLASS))
    if rng.random() < 0.6:
        p.box((-width / 2 - 0.05, -0.02, z0 - 0.04), (width / 2 + 0.05, 0.06, z0), frame)
    p.occupy((-width / 2 - 0.05, back, z0 - 0.04), (width / 2 + 0.05, 0.04, z1 + 0.02))
    p.keep_clear((-width / 2, 0.02, z0 + 0.1), (width / 2, 0.3, z1))
    return p


def doorframe(rng: np.random.Generator, width: float, height: float) -> Piece:
    """Build the trim around a door's hole.

    Args:
        rng: Source of its colour.
        width: Width of the hole.
        height: Its height.

    Returns:
        The trim; the space that the leaf swings through and the way in are kept clear.
    """
    p = Piece(rng).start("doorframe", pick_color(rng, WHITE, WOOD, GREY))
    t, out = 0.07, 0.04
    for x in (-width / 2 - t, width / 2):
        p.box((x, 0.0, 0), (x + t, out, height))
    p.box((-width / 2 - t, 0.0, height), (width / 2 + t, out, height + t))
    p.occupy((-width / 2, -REVEAL, 0), (width / 2, 0.02, height))
    p.keep_clear((-width / 2 - 0.08, 0.05, 0), (width / 2 + 0.08, 0.9, 2.0))
    return p


def door(rng: np.random.Generator, width: float, height: float) -> Piece:
    """Build a door's leaf, hinged at x = 0 and reaching to x = width, its face at y = 0.

    Args:
        rng: Source of its style and colours.
        width: Its width.
        height: Its height.

    Returns:
        The leaf, with its handle.
    """
    p = Piece(rng)
    color = pick_color(rng, WHITE, WOOD, WOOD, GREY)
    p.start("door", color)
    p.box((0, -0.05, 0.01), (width, 0, height))
    style = rng.integers(3)
    if style < 2:  # raised fields
        rows = 2 if style == 0 else 3
        for k in range(rows):
            z = 0.15 + k * (height - 0.2) / rows
            p.box((0.12, 0, z), (width - 0.12, 0.015, z + (height - 0.2) / rows - 0.1), darker(color, 0.94))
    metal = pick_color(rng, METAL, BLACK)
    p.box((width - 0.13, 0, 0.98), (width - 0.09, 0.06, 1.06), metal)
    p.box((width - 0.22, 0.03, 1.0), (width - 0.09, 0.07, 1.04), metal)
    return p


def add_curtains(p: Piece, width: float, z0: float, z1: float) -> None:
    """Hang one or two wavy panels, each on its rod, over a part of a window.

    Args:
        p: The window.
        width: Width of its hole.
        z0: Height that the panels reach down to.
        z1: Height that they hang from.
    """
    rng = p.rng
    color, y, reach = pick_color(rng, FABRIC, FABRIC, WHITE, VIVID), rng.uniform(0.13, 0.16), width / 2 + 0.22
    for k in range(int(rng.integers(1, 3))):
        side, part = (1 if k else -1), width * rng.uniform(0.2, 0.5) + 0.2
        x0, x1 = sorted((side * reach, side * (reach - part)))
        p.start("curtain", color)
        p.sheet(x0, x1, z0, z1, y, part * rng.uniform(5, 8), rng.uniform(0.02, 0.04))
        p.occupy((x0, 0, max(z0, 0.9)), (x1, y, z1))  # nothing hangs behind it; a radiator may stand there
        p.box((x0, y - 0.02, z1), (x1, y + 0.02, z1 + 0.04), METAL[0])
        p.box(((x0 + x1) / 2 - 0.02, 0, z1), ((x0 + x1) / 2 + 0.02, y - 0.02, z1 + 0.04), METAL[0])


def add_blinds(p: Piece, width: float, z0: float, z1: float) -> None:
    """Put slats before a window.

    Args:
        p: The window.
        width: Width of its hole.
        z0: Height that they are let down to.
        z1: Height that they hang from.
    """
    p.start("blinds", pick_color(p.rng, WHITE, GREY, FABRIC))
    p.box((-width / 2 - 0.03, 0, z1), (width / 2 + 0.03, 0.07, z1 + 0.05))
    edges = np.linspace(z0, z1, max(2, int((z1 - z0) / 0.06)) + 1)
    for low, high in pairwise(edges):
        p.slab((-width / 2, 0.02, width / 2, 0.04), (-width / 2, 0.045, width / 2, 0.065), low, high)


def put_door(f: Furnisher) -> None:
    """Make a hole in a wall of a room and put a door into it; in a third of the rooms it stands open into the room.

    Args:
        f: The room's furnisher.
    """
    width, height = f.rng.uniform(0.78, 0.92), f.rng.uniform(1.98, 2.1)
    walls = [w for w in f.layout.walls if w.length > width + 0.5]
    wall = walls[int(f.rng.integers(len(walls)))]
    ends = (0.2 + width / 2, wall.length - 0.2 - width / 2)
    s = float(f.rng.choice(ends) if f.chance(0.6) else f.rng.uniform(*ends))
    wall.openings.append((s - width / 2, s + width / 2, 0.0, height))
    leaf, hinge = door(f.rng, width - 0.02, height - 0.02), wall.at(s - width / 2 + 0.01, 0.0)
    open_yaw = wall.yaw + f.rng.uniform(1.1, 1.6)
    if f.chance(0.35) and f.layout.fits(leaf, hinge + 0.06 * wall.inward, open_yaw, 0.0):
        f.layout.put(leaf, hinge + 0.06 * wall.inward, open_yaw)
    else:
        f.layout.put(leaf, hinge - 0.03 * wall.inward, wall.yaw)
    f.layout.put(doorframe(f.rng, width, height), wall.at(s), wall.yaw)


def put_window(
    f: Furnisher, low: float, high: float, *, small: bool = False, curtain: float = 0.0
) -> PlacedInRoom | None:
    """Make a hole in a wall of a room and put a window into it.

    Args:
        f: The room's furnisher.
        low: Height of its lower edge.
        high: Height of its upper edge.
        small: Whether it is narrow.
        curtain: Chance of curtains; without them there are sometimes blinds.

    Returns:
        The window, or None where it found no place.
    """
    width = f.rng.uniform(0.5, 0.8) if small else f.rng.uniform(0.9, 2.0)
    for _ in range(10):
        wall = f.random_wall()
        if wall.length < width + 1.0:
            continue
        s = f.rng.uniform(width / 2 + 0.4, wall.length - width / 2 - 0.4)
        if any(s - width / 2 - 0.4 < o[1] and o[0] < s + width / 2 + 0.4 for o in wall.openings):
            continue
        piece = window(f.rng, width, low, high)
        if f.chance(curtain):
            add_curtains(piece, width, 0.05 if f.chance(0.6) else low - 0.1, high + 0.06)
        elif f.chance(0.12):
            add_blinds(piece, width, f.rng.uniform(low, (low + high) / 2), high)
        boxes = [b for b in piece.boxes if b[4] > 0.06]
        if boxes and not _empty(f, boxes, wall.at(s), wall.yaw):
            continue
        wall.openings.append((s - width / 2, s + width / 2, low, high))
        return f.layout.put(piece, wall.at(s), wall.yaw)
    return None


def _empty(f: Furnisher, boxes: list[Box], xy: np.ndarray, yaw: float) -> bool:
    """Whether boxes, given in a piece's frame, are free at a place xy [2] of the room."""
    probe = Piece(f.rng)
    probe.boxes = boxes
    return f.layout.fits(probe, xy + 0.001, yaw, 0.0)
