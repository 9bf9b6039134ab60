"""Makers of a street's small things: two-wheelers, people, cones and barriers.

`rng` is the source of every size and colour; each maker returns a new piece with x forward (a barrier's length lies
along y), y left, z up, metres.
"""

import numpy as np

from geoguide.worlds.palette import METAL, VIVID, Color, darker, pick_color
from geoguide.worlds.shapes import Piece, document_makers, ring
from geoguide.worlds.things.categories import CLOTHES, CONCRETE, PAINT, PLASTIC, SKIN, TYRE, WARNING
from geoguide.worlds.things.vehicles import wheel


def _rider(p: Piece, seat: float, reach: float) -> None:
    """Add a rider on a seat of that height, hands `reach` ahead; nuScenes annotates both as one vehicle."""
    top, legs = pick_color(p.rng, CLOTHES, PAINT), pick_color(p.rng, CLOTHES)
    p.loft([ring((x, 0, z), a, 0.2) for x, z, a in ((-0.1, seat, 0.14), (0.05, seat + 0.5, 0.14))], top)
    p.loft(
        [ring((0.1, 0, seat + z), r) for z, r in ((0.53, 0.08), (0.65, 0.12), (0.78, 0.07))],
        pick_color(p.rng, SKIN, PAINT),
    )
    for side in (-1, 1):
        p.beam((0.05, side * 0.2, seat + 0.45), (reach, side * 0.25, seat + 0.15), 0.09, top)
        p.beam((-0.1, side * 0.12, seat), (0.25, side * 0.14, 0.3), 0.13, legs)


def bicycle(rng: np.random.Generator, rider: bool) -> Piece:
    """A bicycle, with or without its rider."""
    p, u = Piece(rng), rng.uniform
    color, radius = pick_color(rng, VIVID, METAL), u(0.31, 0.36)
    p.start("vehicle.bicycle", color)
    for x in (-0.52, 0.52):
        wheel(p, x, 0, radius, 0.05)
    seat = u(0.85, 1.0)
    for a, b in (
        ((-0.52, 0, radius), (-0.05, 0, 0.3)),
        ((-0.05, 0, 0.3), (-0.2, 0, seat)),
        ((-0.18, 0, 0.75), (0.38, 0, 0.85)),
        ((-0.05, 0, 0.3), (0.38, 0, 0.8)),
        ((0.52, 0, radius), (0.36, 0, 1.05)),
        ((0.36, -0.27, 1.05), (0.36, 0.27, 1.05)),
    ):
        p.beam(a, b, 0.05)
    p.box((-0.32, -0.08, seat), (-0.06, 0.08, seat + 0.06), TYRE)
    if rider:
        _rider(p, seat, 0.36)
    return p


def motorcycle(rng: np.random.Generator, rider: bool) -> Piece:
    """A motorcycle or a scooter: a bicycle's outline, filled with solid parts."""
    p, u = Piece(rng), rng.uniform
    color, half = pick_color(rng, PAINT), u(0.62, 0.75)
    p.start("vehicle.motorcycle", color)
    for x in (-half, half):
        wheel(p, x, 0, 0.3, 0.15)
    p.cushion((-0.75 * half, -0.17, 0.3), (0.5 * half, 0.17, 0.75))
    p.cushion((-0.95 * half, -0.14, 0.7), (0.05, 0.14, 0.85), TYRE)
    p.beam((half, 0, 0.3), (0.55 * half, 0, 1.05), 0.1)
    p.beam((0.55 * half, -0.35, 1.05), (0.55 * half, 0.35, 1.05), 0.06, TYRE)
    if rng.random() < 0.4:
        p.slab((0.6 * half, -0.2, 0.75 * half, 0.2), (0.4 * half, -0.18, 0.5 * half, 0.18), 0.6, 1.3)
    if rider:
        _rider(p, 0.8, 0.55 * half)
    return p


def person(rng: np.random.Generator) -> Piece:
    """An adult, a child or a worker, in mid-step."""
    p, u, kind = Piece(rng), rng.uniform, int(rng.choice(3, p=[0.8, 0.1, 0.1]))
    h = u(1.05, 1.35) if kind == 1 else u(1.55, 1.9)
    top, legs = pick_color(rng, WARNING) if kind == 2 else pick_color(rng, CLOTHES, PAINT), pick_color(rng, CLOTHES)
    p.start("human.pedestrian." + ("adult", "child", "construction_worker")[kind], top)
    s, step = h / 1.75, u(0.0, 0.3)
    for side in (-1, 1):
        p.beam((0, side * 0.1 * s, 0.85 * s), (side * step * s, side * 0.1 * s, 0), 0.15 * s, legs)
        p.beam((0, side * 0.23 * s, 1.4 * s), (-side * step * s, side * 0.28 * s, 0.8 * s), 0.1 * s, top)
    levels = ((0.8, 0.13, 0.18), (1.1, 0.12, 0.17), (1.42, 0.13, 0.22), (1.5, 0.06, 0.08))
    p.loft([ring((0, 0, z * s), a * s, b * s) for z, a, b in levels], top)
    p.loft([ring((0, 0, z * s), r * s) for z, r in ((1.5, 0.07), (1.62, 0.1), (1.75, 0.06))], pick_color(rng, SKIN))
    return p


def traffic_cone(rng: np.random.Generator) -> Piece:
    """A cone on its foot, or a slim delineator post (which a grey bollard resembles)."""
    p, u, color = Piece(rng), rng.uniform, pick_color(rng, WARNING)
    h = u(0.5, 0.95)
    p.start("movable_object.trafficcone", color)
    p.box((-0.19, -0.19, 0), (0.19, 0.19, 0.05), darker(color) if rng.random() < 0.5 else TYRE)
    if rng.random() < 0.75:
        p.cylinder((0, 0, 0.05), 0.15, h, top=0.03)
        p.cylinder((0, 0, 0.5 * h), 0.11, 0.14 * h, (235, 233, 228), top=0.09)
    else:
        p.cylinder((0, 0, 0.05), 0.055, h + 0.2)
    return p


def barrier_shape(p: Piece, length: float, height: float, style: int, color: Color) -> None:
    """Add a concrete profile (0), a hollow box (1) or boards on legs (2), along y; low walls and fences share these.

    Args:
        p: The piece to add to.
        length: Its length, metres.
        height: Its height, metres.
        style: 0, 1 or 2, as above.
        color: Its colour.
    """
    half = length / 2
    if style == 0:
        p.slab((-0.3, -half, 0.3, half), (-0.14, -half, 0.14, half), 0, 0.4 * height, color)
        p.slab((-0.14, -half, 0.14, half), (-0.09, -half, 0.09, half), 0.4 * height, height, color)
    elif style == 1:
        p.slab((-0.25, -half, 0.25, half), (-0.18, -half, 0.18, half), 0, height, color)
    else:
        for y in (-half + 0.1, half - 0.1):
            p.box((-0.25, y - 0.05, 0), (0.25, y + 0.05, 0.06), TYRE)
            p.box((-0.04, y - 0.04, 0.06), (0.04, y + 0.04, height), color)
        for z in (0.35, 0.8):
            p.box((-0.05, -half, z * height), (0.05, half, (z + 0.2) * height), color)


def barrier(rng: np.random.Generator) -> Piece:
    """A movable barrier."""
    p, style = Piece(rng, 1.0), int(rng.integers(3))
    color = pick_color(rng, CONCRETE) if style == 0 else pick_color(rng, PLASTIC, CONCRETE)
    p.start("movable_object.barrier", color)
    barrier_shape(p, rng.uniform(1.7, 2.6), rng.uniform(0.8, 1.1), style, color)
    return p


document_makers(__name__)
