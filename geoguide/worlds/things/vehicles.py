"""Makers of vehicles. Trucks, buses and trailers are much the same box.

`rng` is the source of every size and colour; each maker returns a new piece with x forward, y left, z up, metres.
"""

import numpy as np

from geoguide.worlds.palette import Color, darker, pick_color
from geoguide.worlds.shapes import Piece, document_makers, ring
from geoguide.worlds.things.categories import CARGO, DARK_GLASS, PAINT, TYRE, WARNING

VEHICLE_EDGE = 1.2  # metres: sides of vehicles are divided to this


def wheel(p: Piece, x: float, y: float, radius: float, width: float) -> None:
    """Add a wheel that stands on the ground at (x, y), its axle along y.

    Args:
        p: The piece to add to.
        x: Where it stands.
        y: The middle of its axle, metres.
        radius: Its radius, metres.
        width: Of the tyre, metres.
    """
    disc = ring((0, 0, 0), radius, count=12)[:, [0, 2, 1]] + np.array([x, y, radius])  # in a plane of constant y
    side = np.array([0.0, width / 2, 0.0])
    p.loft([disc - side, disc + side], TYRE)


def wheels(p: Piece, xs: tuple[float, ...], half_width: float, radius: float, width: float = 0.25) -> None:
    """Add pairs of wheels at the given x, their outer faces `half_width` to either side.

    Args:
        p: The piece to add to.
        xs: Where the pairs stand, metres.
        half_width: From the middle to an outer face, metres.
        radius: Of a wheel, metres.
        width: Of a tyre, metres.
    """
    for x in xs:
        for side in (-1, 1):
            wheel(p, x, side * (half_width - width / 2), radius, width)


def car(rng: np.random.Generator) -> Piece:
    """A saloon, an estate, a van or a pick-up."""
    p, u, style = Piece(rng, VEHICLE_EDGE), rng.uniform, int(rng.choice(4, p=[0.4, 0.35, 0.17, 0.08]))
    length, w = u(3.9, 4.9), u(1.72, 1.95)
    h = (u(1.4, 1.5), u(1.5, 1.75), u(1.85, 2.15), u(1.75, 1.85))[style]
    waist, color = (0.58 if style != 2 else 0.5) * h, pick_color(rng, PAINT)
    p.start("vehicle.car", color)
    levels = ((0.22, 0.95), (0.45, 1.0), (waist, 0.96))
    p.loft([ring((0, 0, z), s * length / 2, s * w / 2, power=6, count=20) for z, s in levels])
    front, back = ((0.24, 0.36), (0.24, 0.46), (0.34, 0.48), (0.2, 0.06))[style]
    slope = (0.5, 0.35, 0.25, 0.3)[style]
    bottom = (-back * length, -0.46 * w, front * length, 0.46 * w)
    top = (-back * length + slope * (0.9 if style == 0 else 0.3), -0.4 * w, front * length - slope, 0.4 * w)
    p.slab(bottom, top, waist, h - 0.06, pick_color(rng, DARK_GLASS))
    p.slab(top, top, h - 0.06, h, color)
    wheels(p, (-0.3 * length, 0.31 * length), w / 2, u(0.3, 0.36), 0.22)
    return p


def _cab(p: Piece, x0: float, length: float, width: float, height: float, color: Color) -> None:
    """Add a lorry's cab that begins at x0, with its windscreen."""
    p.slab(
        (x0, -width / 2, x0 + length, width / 2), (x0, -width / 2, x0 + length * 0.93, width / 2), 0.5, height, color
    )
    glass = pick_color(p.rng, DARK_GLASS)
    p.box((x0 + 0.9 * length, -0.42 * width, 0.55 * height), (x0 + length + 0.02, 0.42 * width, 0.85 * height), glass)


def truck(rng: np.random.Generator) -> Piece:
    """A lorry: a box, a tarpaulin or a flat bed behind the cab; the box may be as high as a bus."""
    p, u = Piece(rng, VEHICLE_EDGE), rng.uniform
    length, w, h = u(5.6, 9.5), u(2.2, 2.55), u(2.6, 3.5)
    cab, color = u(1.6, 2.1), pick_color(rng, PAINT)
    p.start("vehicle.truck", color)
    _cab(p, length / 2 - cab, cab, w * 0.95, min(h, u(2.3, 2.9)), color)
    cargo = color if rng.random() < 0.4 else pick_color(rng, CARGO)
    rear = (-length / 2, -w / 2), (length / 2 - cab - 0.15, w / 2)
    if rng.random() < 0.75:
        p.box((*rear[0], 0.85), (*rear[1], h), cargo)
    else:
        p.box((*rear[0], 0.85), (*rear[1], u(1.2, 1.7)), cargo)
    p.box((-length / 2, -0.4, 0.55), (length / 2 - 0.3, 0.4, 0.85), TYRE)
    wheels(p, (-0.36 * length, -0.22 * length, length / 2 - 0.6 * cab), w / 2, 0.48, 0.3)
    return p


def bus(rng: np.random.Generator) -> Piece:
    """A bus: one long box with a band of windows, low floor."""
    p, u = Piece(rng, VEHICLE_EDGE), rng.uniform
    length, w, h = u(8.5, 12.5), u(2.45, 2.6), u(2.9, 3.4)
    bendy = length > 11.8
    p.start("vehicle.bus.bendy" if bendy else "vehicle.bus.rigid", pick_color(rng, CARGO, PAINT))
    low, high = u(1.1, 1.3), u(2.2, 2.5)
    p.loft([ring((0, 0, z), length / 2, w / 2, power=16, count=36) for z in (0.3, low)])
    p.loft(
        [ring((0, 0, z), length / 2 - 0.01, w / 2 - 0.01, power=16, count=36) for z in (low, high)],
        pick_color(rng, DARK_GLASS),
    )
    p.loft(
        [
            ring((0, 0, z), length / 2 - s, w / 2 - s, power=16, count=36)
            for z, s in ((high, 0), (h - 0.1, 0), (h, 0.12))
        ]
    )
    for x in np.arange(-length / 2 + 1.2, length / 2 - 0.5, 1.4):  # pillars between the windows
        p.box((x, -w / 2, low), (x + 0.12, w / 2, high))
    wheels(p, (-0.27 * length, 0.3 * length), w / 2, 0.48, 0.3)
    return p


def trailer(rng: np.random.Generator) -> Piece:
    """A trailer: a truck's box on its wheels, with legs and a drawbar where the cab would be."""
    p, u = Piece(rng, VEHICLE_EDGE), rng.uniform
    length, w, h = u(6.5, 12.5), u(2.3, 2.55), u(2.7, 3.8)
    p.start("vehicle.trailer", pick_color(rng, CARGO))
    if rng.random() < 0.75:
        p.box((-length / 2, -w / 2, 1.0), (length / 2, w / 2, h))
    else:  # a flat bed with a shorter container
        p.box((-length / 2, -w / 2, 0.9), (length / 2, w / 2, 1.15), darker(p.items[-1].color))
        p.box((-length / 2 + 0.3, -w / 2 + 0.05, 1.15), (-length / 2 + u(0.5, 0.8) * length, w / 2 - 0.05, h))
    p.box((-length / 2, -0.45, 0.7), (length / 2 - 0.3, 0.45, 1.0), TYRE)
    for side in (-1, 1):
        p.box(
            (0.25 * length, side * 0.7 * w / 2 - 0.06, 0), (0.25 * length + 0.12, side * 0.7 * w / 2 + 0.06, 1.0), TYRE
        )
    p.beam((length / 2 - 0.3, 0, 0.8), (length / 2 + 0.9, 0, 0.6), 0.14, TYRE)
    wheels(p, (-0.36 * length, -0.26 * length), w / 2, 0.48, 0.3)
    return p


def construction_vehicle(rng: np.random.Generator) -> Piece:
    """An excavator with its arm, or a tipper that looks much like a truck."""
    p, u = Piece(rng, VEHICLE_EDGE), rng.uniform
    color = pick_color(rng, WARNING) if rng.random() < 0.8 else pick_color(rng, CARGO)
    p.start("vehicle.construction", color)
    if rng.random() < 0.35:
        length, w, h = u(6.0, 8.0), u(2.4, 2.6), u(2.6, 3.3)
        _cab(p, length / 2 - 1.8, 1.8, w * 0.95, u(2.5, 2.9), color)
        p.slab(
            (-length / 2 + 0.4, -0.3 * w, length / 2 - 2, 0.3 * w),
            (-length / 2, -w / 2, length / 2 - 1.9, w / 2),
            0.9,
            h,
            darker(color),
        )
        p.box((-length / 2, -0.4, 0.55), (length / 2 - 0.3, 0.4, 0.9), TYRE)
        wheels(p, (-0.36 * length, -0.2 * length, length / 2 - 1.1), w / 2, 0.5, 0.35)
        return p
    w = u(2.3, 2.8)
    for side in (-1, 1):
        p.box((-1.7, side * w / 2 - 0.28, 0), (1.7, side * w / 2 + 0.28, 0.85), TYRE)
    p.box((-1.9, -w / 2, 0.9), (1.2, w / 2, 1.8))
    p.slab((-0.2, 0.05, 1.3, w / 2), (-0.1, 0.1, 1.0, w / 2 - 0.05), 1.8, u(2.7, 3.0), pick_color(rng, DARK_GLASS))
    elbow, tip = (u(2.8, 3.4), -0.35, u(3.0, 4.0)), (u(4.2, 5.0), -0.35, u(1.6, 2.6))
    p.beam((0.9, -0.35, 1.4), elbow, 0.45)
    p.beam(elbow, tip, 0.35)
    p.beam(tip, (tip[0] - 0.5, -0.35, max(0.35, tip[2] - 1.3)), 0.6, darker(color))
    return p


document_makers(__name__)
