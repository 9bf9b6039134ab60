"""Makers of boxes with fronts: cabinets, refrigerators, wardrobes, dressers, shelves. Classes share shapes.

`rng` is the source of every size and colour; each maker returns a new piece in the frame of `shapes`, metres. Functions
that take a piece `p` add a part to its last object.
"""

from itertools import pairwise

import numpy as np

from geoguide.worlds.palette import BLACK, GREY, METAL, VIVID, WHITE, WOOD, Color, darker, pick_color
from geoguide.worlds.shapes import Piece, document_makers, ring


def fronts(
    p: Piece, x0: float, x1: float, y: float, z0: float, z1: float, columns: int, rows: int, color: Color
) -> None:
    """Add a grid of doors or drawers, x0..x1 by z0..z1, that stand 2 cm out of the plane y, each with a handle.

    Args:
        p: The piece to add to.
        x0: Left end of the grid, metres.
        x1: Its right end.
        y: The plane that it stands out of.
        z0: Its lower end.
        z1: Its upper end.
        columns: Fronts side by side.
        rows: Fronts above each other.
        color: Of the fronts.
    """
    w, h, gap = (x1 - x0) / columns, (z1 - z0) / rows, 0.012
    handle = darker(color, 0.45) if p.rng.random() < 0.5 else METAL[0]
    face = color if p.rng.random() < 0.7 else darker(color, 1.1)
    for i in range(columns):
        for j in range(rows):
            a, c = x0 + i * w + gap, z0 + j * h + gap
            b, e = x0 + (i + 1) * w - gap, z0 + (j + 1) * h - gap
            p.box((a, y, c), (b, y + 0.02, e), face)
            if h > w:  # a door: upright handle on the side of its neighbour
                x, z = (b - 0.07 if i % 2 == 0 else a + 0.03), (c + e) / 2
                p.box((x, y + 0.02, z - 0.08), (x + 0.04, y + 0.05, z + 0.08), handle)
            else:
                x, z = (a + b) / 2, c + 0.7 * (e - c)
                p.box((x - 0.07, y + 0.02, z - 0.02), (x + 0.07, y + 0.05, z + 0.02), handle)


def carcass(p: Piece, w: float, d: float, h: float, columns: int, rows: int, color: Color) -> None:
    """Add a closed box with a grid of fronts; its top carries clutter when it can be reached.

    Args:
        p: The piece to add to.
        w: Its width, metres.
        d: Its depth, metres.
        h: Its height, metres.
        columns: Fronts side by side.
        rows: Fronts above each other.
        color: Its colour.
    """
    foot = p.rng.choice([0.0, 0.05, 0.09])
    if foot:
        p.box((-w / 2 + 0.03, 0.03, 0), (w / 2 - 0.03, d - 0.06, foot), darker(color))
    p.box((-w / 2, 0, foot), (w / 2, d - 0.02, h))
    fronts(p, -w / 2, w / 2, d - 0.02, foot + 0.02, h - 0.03, columns, rows, color)
    if h < 1.5:
        p.support(-w / 2 + 0.03, 0.03, w / 2 - 0.03, d - 0.04, h)


def cabinet(rng: np.random.Generator, category: str = "cabinet") -> Piece:
    """Low, high or office cabinets; the same shapes serve as dressers and wardrobes."""
    p, u = Piece(rng), rng.uniform
    color = pick_color(rng, WOOD, WHITE, GREY, METAL)
    p.start(category, color)
    style = rng.integers(3)
    if style == 0:
        carcass(p, u(0.8, 1.4), u(0.38, 0.5), u(0.7, 0.95), int(rng.integers(2, 4)), 1, color)
    elif style == 1:
        carcass(p, u(0.6, 1.1), u(0.38, 0.55), u(1.5, 2.0), 2, int(rng.integers(1, 3)), color)
    else:
        carcass(p, u(0.5, 1.0), u(0.4, 0.5), u(0.75, 1.2), int(rng.integers(1, 3)), int(rng.integers(2, 4)), color)
    return p


def box_with_fronts(
    rng: np.random.Generator,
    category: str,
    width: tuple[float, float],
    depth: tuple[float, float],
    height: tuple[float, float],
    grid: tuple[int, int],
) -> Piece:
    """A carcass of a category whose size ranges (metres) and grid of (columns, rows) are given.

    Args:
        rng: Draws its sizes and colours.
        category: Its category, one of the benchmark's names.
        width: The least and the largest width, metres.
        depth: The least and the largest depth.
        height: The least and the largest height.
        grid: Columns and rows of fronts.

    Returns:
        A new piece, in its own frame.
    """
    p, u = Piece(rng), rng.uniform
    color = (
        pick_color(rng, WHITE, METAL, GREY) if category == "file cabinet" else pick_color(rng, WOOD, WOOD, WHITE, BLACK)
    )
    p.start(category, color)
    carcass(p, u(*width), u(*depth), u(*height), *grid, color)
    return p


def refrigerator(rng: np.random.Generator) -> Piece:
    """A refrigerator with two doors."""
    p, u = Piece(rng), rng.uniform
    w, d, h = u(0.6, 0.85), u(0.6, 0.75), u(1.5, 1.85)
    color = pick_color(rng, WHITE, WHITE, METAL, BLACK)
    p.start("refrigerator", color)
    p.box((-w / 2, 0, 0), (w / 2, d - 0.06, h))
    split = h * (u(0.25, 0.4) if rng.random() < 0.5 else u(0.62, 0.72))
    side = 1 if rng.random() < 0.5 else -1
    for z0, z1 in ((0.07, split - 0.01), (split + 0.01, h - 0.01)):
        p.box((-w / 2, d - 0.06, z0), (w / 2, d, z1))
        x, z = side * (w / 2 - 0.07), z0 + (0.6 if z1 > h / 2 and z0 < h / 2 else 0.35) * (z1 - z0)
        p.box((x - 0.02, d, z - 0.14), (x + 0.02, d + 0.045, z + 0.14), darker(color, 0.8))
    return p


def mini_fridge(rng: np.random.Generator) -> Piece:
    """A low refrigerator with one door and a top that carries things."""
    p, u = Piece(rng), rng.uniform
    w, d, h = u(0.46, 0.56), u(0.46, 0.56), u(0.7, 0.88)
    color = pick_color(rng, WHITE, METAL, BLACK)
    p.start("mini fridge", color)
    p.box((-w / 2, 0, 0), (w / 2, d - 0.05, h))
    p.box((-w / 2, d - 0.05, 0.05), (w / 2, d, h - 0.01))
    p.box((w / 2 - 0.08, d, h * 0.6), (w / 2 - 0.04, d + 0.04, h * 0.85), darker(color, 0.8))
    p.support(-w / 2 + 0.03, 0.03, w / 2 - 0.03, d - 0.03, h)
    return p


def washing_machine(rng: np.random.Generator) -> Piece:
    """A washing machine: a box with a round door."""
    p = Piece(rng)
    w, d, h = rng.uniform(0.58, 0.62), rng.uniform(0.55, 0.62), rng.uniform(0.83, 0.88)
    color = pick_color(rng, WHITE, METAL)
    p.start("washing machine", color)
    p.box((-w / 2, 0, 0), (w / 2, d, h))
    drum = [ring((0, 0, z), r) for z, r in ((0, 0.2), (0.04, 0.18))]
    p.loft([np.stack([r[:, 0], d + r[:, 2], 0.45 - r[:, 1]], axis=1) for r in drum], darker(color, 0.5))
    p.box((-w / 2 + 0.03, d, h - 0.14), (w / 2 - 0.03, d + 0.02, h - 0.03), darker(color, 0.8))
    p.support(-w / 2 + 0.03, 0.03, w / 2 - 0.03, d - 0.03, h)
    return p


def bookshelf(rng: np.random.Generator) -> Piece:
    """An open carcass with rows of books; half the time these are a separate object (void), as annotators vary."""
    p, u = Piece(rng), rng.uniform
    w, d, h = u(0.7, 1.2), u(0.26, 0.36), u(1.1, 2.0)
    color = pick_color(rng, WOOD, WOOD, WHITE, BLACK)
    p.start("bookshelf", color)
    for x in (-w / 2, w / 2 - 0.04):
        p.box((x, 0, 0), (x + 0.04, d, h))
    p.box((-w / 2 + 0.04, 0, 0), (w / 2 - 0.04, 0.03, h), darker(color, 0.85))
    levels = np.linspace(0.06, h - 0.02, max(3, round(h / 0.36)) + 1)
    for z in levels:
        p.box((-w / 2 + 0.04, 0.03, z - 0.02), (w / 2 - 0.04, d, z + 0.02))
    own = rng.random() < 0.5
    if own:
        p.start("books", pick_color(rng, VIVID))
    placed = False
    for z, above in pairwise(levels):
        if rng.random() < 0.8 or not placed:
            book_row(p, -w / 2 + 0.05, w / 2 - 0.05, 0.04, z + 0.02, min(d - 0.06, 0.22), above - z - 0.07)
            placed = True
    p.occupy((-w / 2, 0, 0), (w / 2, d, h))
    if h < 1.4:
        p.support(-w / 2 + 0.03, 0.03, w / 2 - 0.03, d - 0.03, h)
    return p


def book_row(p: Piece, x0: float, x1: float, y: float, z: float, depth: float, room: float) -> None:
    """Add upright books from x0 towards x1 on a shelf at (y, z) with `room` metres of height above it.

    Args:
        p: The piece to add to.
        x0: Where the row begins, metres.
        x1: Where the shelf ends.
        y: The back of the books.
        z: The shelf's height.
        depth: The shelf's depth.
        room: The height above the shelf.
    """
    x, end = x0, x0 + (x1 - x0) * p.rng.uniform(0.5, 1.0)
    while x < end - 0.06:
        thick, height = p.rng.uniform(0.03, 0.06), room * p.rng.uniform(0.7, 0.98)
        color = pick_color(p.rng, VIVID, WOOD, GREY)
        p.box((x, y, z), (x + thick, y + depth * p.rng.uniform(0.8, 1.0), z + height), color)
        x += thick


def wall_shelf(rng: np.random.Generator) -> Piece:
    """One or two boards on a wall, at their height above the floor."""
    p, u = Piece(rng), rng.uniform
    w, d, z = u(0.6, 1.2), u(0.2, 0.28), u(1.3, 1.5)
    p.start("shelf", pick_color(rng, WOOD, WHITE))
    for k in range(int(rng.integers(1, 3))):
        p.box((-w / 2, 0, z + 0.35 * k), (w / 2, d, z + 0.35 * k + 0.04))
        p.support(-w / 2 + 0.03, 0.02, w / 2 - 0.03, d - 0.02, z + 0.35 * k + 0.04)
    return p


def wall_cabinets(rng: np.random.Generator, width: float) -> Piece:
    """Kitchen cabinets that hang above a counter.

    Args:
        rng: Draws its sizes and colours.
        width: Its width, metres.

    Returns:
        A new piece, in its own frame.
    """
    p, u = Piece(rng), rng.uniform
    d, z0, z1 = u(0.3, 0.36), u(1.38, 1.5), u(2.0, 2.2)
    color = pick_color(rng, WOOD, WHITE, GREY)
    p.start("kitchen cabinet", color)
    p.box((-width / 2, 0, z0), (width / 2, d - 0.02, z1))
    fronts(p, -width / 2, width / 2, d - 0.02, z0 + 0.01, z1 - 0.01, max(1, round(width / 0.45)), 1, color)
    return p


def tv_stand(rng: np.random.Generator) -> Piece:
    """A low board with a television on it."""
    p, u = Piece(rng), rng.uniform
    w, d, h = u(1.1, 1.7), u(0.36, 0.46), u(0.42, 0.6)
    color = pick_color(rng, WOOD, BLACK, WHITE)
    p.start("tv stand", color)
    carcass(p, w, d, h, int(rng.integers(2, 4)), 1, color)
    p.supports.clear()
    if rng.random() < 0.85:
        television(p, u(0.85, min(1.3, w)), 0.12, h)
    return p


def television(p: Piece, width: float, y: float, z: float) -> None:
    """Add a television, an object of its own, whose screen stands at depth y on a top at height z.

    Args:
        p: The piece to add to.
        width: Its width, metres.
        y: Depth of the screen, metres.
        z: Height of what it stands on, metres.
    """
    height = 0.58 * width
    p.start("tv", pick_color(p.rng, BLACK))
    p.box((-0.2, y - 0.06, z), (0.2, y + 0.14, z + 0.02))
    p.box((-0.05, y, z + 0.02), (0.05, y + 0.04, z + 0.1))
    p.box((-width / 2, y, z + 0.08), (width / 2, y + 0.05, z + 0.08 + height))


document_makers(__name__)
