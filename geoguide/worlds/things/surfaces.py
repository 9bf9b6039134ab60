"""Makers of tables, desks and counters: like tops on different legs; size, place and neighbours tell the class.

`rng` is the source of every size and colour; each maker returns a new piece in the frame of `shapes`, metres.
"""

import numpy as np

from geoguide.worlds.palette import BLACK, GREY, METAL, WHITE, WOOD, Color, pick_color
from geoguide.worlds.shapes import Piece, Rectangle, document_makers, ring
from geoguide.worlds.things.seating import legs
from geoguide.worlds.things.storage import fronts


def _under_top(p: Piece, w: float, d: float, h: float, color: Color) -> None:
    """Add four legs, two side panels or pedestals under a top whose underside is at h."""
    style = p.rng.choice(3, p=[0.55, 0.25, 0.2])
    if style == 0:
        legs(p, -w / 2 + 0.02, 0.02, w / 2 - 0.02, d - 0.02, h, p.rng.uniform(0.045, 0.08), color)
    elif style == 1:
        for x in (-w / 2 + 0.08, w / 2 - 0.13):
            p.box((x, 0.06, 0), (x + 0.05, d - 0.06, h), color)
    else:
        count = 1 if w < 1.3 else 2
        for k in range(count):
            x = 0.0 if count == 1 else (k - 0.5) * w * 0.6
            p.box((x - 0.25, d / 2 - 0.3 * d, 0), (x + 0.25, d / 2 + 0.3 * d, 0.05), color)
            p.box((x - 0.06, d / 2 - 0.06, 0.05), (x + 0.06, d / 2 + 0.06, h), color)


def rectangular_table(rng: np.random.Generator, category: str, width: float, depth: float, height: float) -> Piece:
    """A rectangular table of about the given size in metres."""
    p, u = Piece(rng), rng.uniform
    w, d, h = width * u(0.9, 1.1), depth * u(0.9, 1.1), height * u(0.97, 1.03)
    top = pick_color(rng, WOOD, WOOD, WHITE, GREY)
    p.start(category, top)
    _under_top(p, w, d, h - 0.05, top if rng.random() < 0.6 else pick_color(rng, BLACK, METAL, WHITE))
    p.box((-w / 2, 0, h - 0.05), (w / 2, d, h))
    if category == "coffee table" and rng.random() < 0.4:
        p.box((-w / 2 + 0.1, 0.1, 0.14), (w / 2 - 0.1, d - 0.1, 0.18))
    p.support(-w / 2 + 0.05, 0.05, w / 2 - 0.05, d - 0.05, h)
    return p


def oval_table(rng: np.random.Generator, category: str, width: float, depth: float, height: float) -> Piece:
    """A table of about the given size with a round or oval top, on a pedestal or four legs."""
    p, u = Piece(rng), rng.uniform
    rx, h = width / 2 * u(0.92, 1.08), height * u(0.97, 1.03)
    ry = rx if width == depth else depth / 2 * u(0.92, 1.08)
    top = pick_color(rng, WOOD, WHITE, GREY)
    under = top if rng.random() < 0.5 else pick_color(rng, BLACK, METAL)
    p.start(category, top)
    if rx == ry and rng.random() < 0.6:
        p.loft(
            [ring((0, ry, z), r) for z, r in ((0, 0.55 * rx), (0.04, 0.5 * rx), (0.06, 0.05), (h - 0.05, 0.06))], under
        )
    else:
        legs(p, -0.62 * rx, ry * 0.4, 0.62 * rx, ry * 1.6, h - 0.05, 0.06, under)
    count = 28
    p.loft([ring((0, ry, z), rx, ry, count=count) for z in (h - 0.05, h)])
    p.boxes.pop()  # crossed boxes that approximate the round top take the place of its bounding box
    for sx, sy in ((1.0, 0.35), (0.94, 0.6), (0.8, 0.8), (0.6, 0.94), (0.35, 1.0)):
        p.occupy((-rx * sx, ry - ry * sy, h - 0.05), (rx * sx, ry + ry * sy, h))
    p.support(-0.6 * rx, 0.4 * ry, 0.6 * rx, 1.6 * ry, h)
    return p


def desk(rng: np.random.Generator) -> Piece:
    """A writing table against a wall: plain, with a drawer pedestal, with side panels, or with a hutch above."""
    p, u = Piece(rng), rng.uniform
    w, d, h = u(1.1, 1.7), u(0.58, 0.78), u(0.71, 0.77)
    color = pick_color(rng, WOOD, WOOD, WHITE, GREY)
    under = color if rng.random() < 0.6 else pick_color(rng, BLACK, METAL, WHITE)
    p.start("desk", color)
    if rng.random() < 0.45:
        side = 1 if rng.random() < 0.5 else -1
        x0, x1 = sorted((side * w / 2, side * (w / 2 - 0.42)))
        p.box((x0, 0.02, 0), (x1, d - 0.03, h - 0.05), under)
        fronts(p, x0, x1, d - 0.03, 0.06, h - 0.07, 1, 3, under)
        x = -w / 2 if side > 0 else w / 2 - 0.05
        p.box((x, 0.02, 0), (x + 0.05, d - 0.03, h - 0.05), under)
    else:
        _under_top(p, w, d, h - 0.05, under)
    p.box((-w / 2, 0, h - 0.05), (w / 2, d, h))
    if rng.random() < 0.15:  # hutch
        for x in (-w / 2, w / 2 - 0.04):
            p.box((x, 0, h), (x + 0.04, 0.28, h + 0.55))
        p.box((-w / 2, 0, h + 0.55), (w / 2, 0.28, h + 0.6))
        p.support(-w / 2 + 0.03, 0.02, w / 2 - 0.03, 0.26, h + 0.6)
    p.support(-w / 2 + 0.05, 0.04, w / 2 - 0.05, d - 0.05, h)
    return p


def _slab_with_hole(p: Piece, w: float, d: float, z0: float, z1: float, hole: Rectangle) -> None:
    """Add a board w x d from z0 to z1 with a rectangular hole."""
    x0, y0, x1, y1 = hole
    p.box((-w / 2, 0, z0), (x0, d, z1))
    p.box((x1, 0, z0), (w / 2, d, z1))
    p.box((x0, 0, z0), (x1, y0, z1))
    p.box((x0, y1, z0), (x1, d, z1))


def counter_run(rng: np.random.Generator, width: float, *, names: tuple[str, str], sink: bool) -> Piece:
    """Base cabinets under a counter top, with or without a sink; `names` are the (cabinet, counter) categories.

    Args:
        rng: Draws its sizes and colours.
        width: Its width, metres.
        names: The categories of the cabinets and of the counter.
        sink: Whether a sink is let into the counter.

    Returns:
        A new piece, in its own frame.
    """
    p, u = Piece(rng), rng.uniform
    d, h = u(0.55, 0.64), u(0.82, 0.93)
    body = pick_color(rng, WOOD, WHITE, GREY)
    p.start(names[0], body)
    for low, high in (  # open at the top, where the sink hangs in
        ((-width / 2, 0, 0.08), (-width / 2 + 0.04, d - 0.05, h - 0.04)),
        ((width / 2 - 0.04, 0, 0.08), (width / 2, d - 0.05, h - 0.04)),
        ((-width / 2 + 0.04, d - 0.09, 0.08), (width / 2 - 0.04, d - 0.05, h - 0.04)),
        ((-width / 2, 0, 0), (width / 2, d - 0.09, 0.08)),
    ):
        p.box(low, high)
    fronts(p, -width / 2, width / 2, d - 0.05, 0.1, h - 0.06, max(1, round(width / 0.5)), int(rng.integers(1, 3)), body)
    p.start(names[1], pick_color(rng, GREY, WHITE, WOOD, BLACK))
    if not sink:
        p.box((-width / 2, 0, h - 0.04), (width / 2, d, h))
        p.support(-width / 2 + 0.04, 0.04, width / 2 - 0.04, d - 0.05, h)
        return p
    sw, sd = min(u(0.42, 0.6), width - 0.2), min(u(0.36, 0.42), d - 0.17)
    x = u(-1, 1) * max(0, width / 2 - sw / 2 - 0.12)
    hole = (x - sw / 2, 0.06, x + sw / 2, 0.06 + sd)
    _slab_with_hole(p, width, d, h - 0.04, h, hole)
    for x0, x1 in ((-width / 2, hole[0]), (hole[2], width / 2)):
        if x1 - x0 > 0.3:
            p.support(x0 + 0.04, 0.04, x1 - 0.04, d - 0.05, h)
    p.start("sink", pick_color(rng, METAL, WHITE))
    p.basin((hole[0], hole[1], h - 0.2), (hole[2], hole[3], h + 0.015), 0.03, 0.17, u(3, 10))
    p.beam((x, hole[1] + 0.01, h), (x, hole[1] + 0.01, h + 0.22), 0.04, METAL[0])
    p.beam((x, hole[1] + 0.01, h + 0.22), (x, hole[1] + 0.16, h + 0.18), 0.04, METAL[0])
    return p


def stove(rng: np.random.Generator) -> Piece:
    """A cooker: an oven door below four plates, as high as a counter."""
    p, u = Piece(rng), rng.uniform
    w, d, h = u(0.55, 0.65), u(0.56, 0.63), u(0.84, 0.92)
    color = pick_color(rng, WHITE, METAL, BLACK)
    p.start("stove", color)
    p.box((-w / 2, 0, 0), (w / 2, d - 0.04, h))
    p.box((-w / 2 + 0.03, d - 0.04, 0.2), (w / 2 - 0.03, d, h - 0.15), BLACK[1])
    p.box((-w / 2 + 0.06, d, h - 0.22), (w / 2 - 0.06, d + 0.04, h - 0.18), METAL[0])
    for x in (-w / 4, w / 4):
        for y in (0.3 * d, 0.68 * d):
            p.cylinder((x, y, h), 0.09, 0.015, BLACK[0])
    p.occupy((-w / 2, 0, h), (w / 2, d, h + 0.3))
    return p


def range_hood(rng: np.random.Generator) -> Piece:
    """A hood with its duct, at its height above the floor."""
    p = Piece(rng)
    w, z = rng.uniform(0.5, 0.6), rng.uniform(1.5, 1.6)
    p.start("range hood", pick_color(rng, METAL, WHITE, BLACK))
    p.slab((-w / 2, 0, w / 2, 0.45), (-0.15, 0, 0.15, 0.25), z, z + 0.25)
    p.box((-0.13, 0, z + 0.25), (0.13, 0.22, 2.3))
    return p


document_makers(__name__)
