"""Makers of chairs, armchairs, couches, stools, benches and beds: several styles a class, every size drawn anew.

`rng` is the source of every size and colour; each maker returns a new piece in the frame of `shapes`, metres.
"""

import numpy as np

from geoguide.worlds.palette import BLACK, FABRIC, GREY, METAL, VIVID, WHITE, WOOD, Color, darker, pick_color
from geoguide.worlds.shapes import Piece, document_makers


def legs(p: Piece, x0: float, y0: float, x1: float, y1: float, height: float, thick: float, color: Color) -> None:
    """Add four square legs inside the rectangle x0 y0 x1 y1.

    Args:
        p: The piece to add to.
        x0: Left side of the rectangle, metres.
        y0: Its back.
        x1: Its right side.
        y1: Its front.
        height: Of the legs, metres.
        thick: Edge of a leg's section, metres.
        color: Of the legs.
    """
    for x in (x0, x1 - thick):
        for y in (y0, y1 - thick):
            p.box((x, y, 0), (x + thick, y + thick, height), color)


def four_leg_chair(rng: np.random.Generator) -> Piece:
    """A chair on four legs: its back a panel, or posts with rails; sometimes with arms."""
    p, u = Piece(rng), rng.uniform
    w, d, seat, top = u(0.42, 0.5), u(0.42, 0.52), u(0.43, 0.48), u(0.8, 1.02)
    frame = pick_color(rng, WOOD, BLACK, GREY, WHITE)
    soft = pick_color(rng, FABRIC, VIVID) if rng.random() < 0.5 else frame
    p.start("chair", soft)
    legs(p, -w / 2, 0.02, w / 2, d, seat - 0.04, 0.045, frame)
    p.occupy((-w / 2, 0, 0), (w / 2, d, seat))
    p.box((-w / 2, 0, seat - 0.04), (w / 2, d, seat + 0.02))
    lean, style = u(0.0, 0.07), rng.integers(3)
    if style == 0:  # one solid panel
        p.slab((-w / 2, 0.0, w / 2, 0.045), (-w / 2, -lean, w / 2, 0.045 - lean), seat + 0.02, top)
    else:  # two posts with rails, or with one wide rail
        for x in (-w / 2, w / 2 - 0.045):
            p.slab((x, 0, x + 0.045, 0.045), (x, -lean, x + 0.045, 0.045 - lean), seat + 0.02, top, frame)
        for low, high in ((0.75, 1.0),) if style == 1 else ((0.3, 0.5), (0.75, 1.0)):
            z0, z1 = seat + low * (top - seat), seat + high * (top - seat)
            y = -lean * (low + high) / 2
            p.box((-w / 2 + 0.045, y, z0), (w / 2 - 0.045, y + 0.04, z1))
    if rng.random() < 0.2:
        for x in (-w / 2, w / 2 - 0.045):
            p.box((x, 0.04, seat + 0.18), (x + 0.045, d * 0.85, seat + 0.225), frame)
            p.box((x, d * 0.75, seat + 0.02), (x + 0.045, d * 0.85, seat + 0.18), frame)
    return p


def office_chair(rng: np.random.Generator) -> Piece:
    """An office chair: star base on castors, column, padded seat and back."""
    p, u = Piece(rng), rng.uniform
    w, d, seat, top = u(0.46, 0.54), u(0.46, 0.52), u(0.44, 0.53), u(0.88, 1.15)
    base = pick_color(rng, BLACK, METAL, WHITE)
    p.start("office chair", pick_color(rng, FABRIC, BLACK, GREY))
    center, spin = d / 2, u(0, 1)
    for k in range(5):
        angle = spin + 2 * np.pi * k / 5
        end = (0.26 * np.cos(angle), center + 0.26 * np.sin(angle), 0.055)
        p.beam((0, center, 0.1), end, 0.05, base)
        p.cylinder((end[0], end[1], 0), 0.03, 0.05, darker(base))
    p.cylinder((0, center, 0.08), 0.035, seat - 0.14, base)
    p.occupy((-w / 2, 0, 0), (w / 2, d, seat))
    p.cushion((-w / 2, 0, seat - 0.06), (w / 2, d, seat + 0.03))
    lean, start = u(0.02, 0.1), seat + u(0.02, 0.16)
    p.slab((-0.05, -0.03, 0.05, 0.02), (-0.05, -0.05, 0.05, 0.0), seat - 0.05, start + 0.1, base)
    half = w / 2 * u(0.8, 0.95)
    p.slab((-half, -0.01, half, 0.05), (-half * 0.9, -lean, half * 0.9, 0.05 - lean), start, top)
    if rng.random() < 0.6:
        for x in (-w / 2 - 0.04, w / 2 - 0.01):
            p.box((x, 0.12, seat + 0.17), (x + 0.05, d * 0.8, seat + 0.22), base)
            p.box((x, d * 0.4, seat - 0.03), (x + 0.05, d * 0.5, seat + 0.17), base)
    return p


def armchair(rng: np.random.Generator) -> Piece:
    """A small upholstered seat, shaped like a short couch; ScanNet counts it among the chairs."""
    p, u = Piece(rng), rng.uniform
    p.start("armchair", pick_color(rng, FABRIC, BLACK, WOOD))
    _upholstered(p, u(0.7, 0.9), u(0.7, 0.85), u(0.4, 0.45), u(0.75, 0.95), u(0.1, 0.18), 1)
    return p


def couch(rng: np.random.Generator) -> Piece:
    """Two or three seats, sometimes with a chaise (L), sometimes with loose pillows."""
    p, u = Piece(rng), rng.uniform
    seats = int(rng.integers(2, 4))
    w, d, arm = seats * u(0.6, 0.72) + 0.35, u(0.8, 0.95), u(0.12, 0.22)
    seat, top = u(0.38, 0.45), u(0.7, 0.92)
    p.start("couch", pick_color(rng, FABRIC, FABRIC, BLACK, WHITE))
    _upholstered(p, w, d, seat, top, arm, seats)
    if rng.random() < 0.3:
        side = 1 if rng.random() < 0.5 else -1
        x0, x1 = sorted((side * (w / 2), side * (w / 2 - 0.75)))
        p.box((x0, d, 0), (x1, d + 0.65, seat - 0.1))
        p.cushion((x0, d - 0.02, seat - 0.1), (x1, d + 0.65, seat))
    for k in range(int(rng.integers(0, 3))):
        x = (w / 2 - arm - 0.25) * (-1 if k else 1)
        _leaning_pillow(p, x, 0.2, seat)
    return p


def _upholstered(p: Piece, w: float, d: float, seat: float, top: float, arm: float, seats: int) -> None:
    """Add base, back, arms and cushions of a couch or an armchair with so many seats."""
    back, arm_top = p.rng.uniform(0.16, 0.24), seat + p.rng.uniform(0.12, 0.22)
    p.box((-w / 2, 0, 0), (w / 2, d, seat - 0.13))
    p.slab((-w / 2, 0, w / 2, back), (-w / 2, -0.02, w / 2, back * 0.7), seat - 0.13, top)
    for x in (-w / 2, w / 2 - arm):
        p.box((x, back, seat - 0.13), (x + arm, d, arm_top))
    width = (w - 2 * arm) / seats
    shade = darker(p.items[-1].color, p.rng.uniform(0.85, 1.1))
    for k in range(seats):
        x = -w / 2 + arm + k * width
        p.cushion((x, back - 0.01, seat - 0.13), (x + width, d + 0.01, seat), shade)
        p.cushion((x + 0.01, back * 0.7, seat), (x + width - 0.01, back + 0.12, top - 0.06), shade)


def _leaning_pillow(p: Piece, x: float, y: float, z: float) -> None:
    """Add a pillow, an object of its own, that leans back at (x, y, z)."""
    color = pick_color(p.rng, FABRIC, VIVID, WHITE)
    p.start("pillow", color)
    h, half = p.rng.uniform(0.3, 0.4), p.rng.uniform(0.18, 0.24)
    p.slab((x - half, y + 0.14, x + half, y + 0.28), (x - half * 0.9, y + 0.06, x + half * 0.9, y + 0.14), z, z + h)


def stool(rng: np.random.Generator) -> Piece:
    """A round seat on four splayed legs."""
    p, r, h = Piece(rng), rng.uniform(0.16, 0.2), rng.uniform(0.42, 0.68)
    frame = pick_color(rng, WOOD, BLACK, METAL)
    p.start("stool", frame)
    for k in range(4):
        a = np.pi / 4 + k * np.pi / 2
        c, s = np.cos(a), np.sin(a)
        p.beam((r * 1.05 * c, r + r * 1.05 * s, 0.01), (0.6 * r * c, r + 0.6 * r * s, h - 0.03), 0.045)
    p.occupy((-r, 0, 0), (r, 2 * r, h))
    p.cylinder((0, r, h - 0.04), r, 0.05, pick_color(rng, FABRIC, WOOD))
    return p


def ottoman(rng: np.random.Generator) -> Piece:
    """A low upholstered block."""
    p, u = Piece(rng), rng.uniform
    w, d, h = u(0.45, 0.75), u(0.4, 0.55), u(0.35, 0.45)
    p.start("ottoman", pick_color(rng, FABRIC, BLACK))
    p.box((-w / 2, 0, 0), (w / 2, d, h - 0.1))
    p.cushion((-w / 2, 0, h - 0.1), (w / 2, d, h))
    return p


def bench(rng: np.random.Generator) -> Piece:
    """A board on four legs."""
    p, u = Piece(rng), rng.uniform
    w, d, h = u(0.9, 1.4), u(0.32, 0.42), u(0.42, 0.48)
    color = pick_color(rng, WOOD, GREY, FABRIC)
    p.start("bench", color)
    legs(p, -w / 2, 0, w / 2, d, h - 0.05, 0.06, darker(color))
    p.box((-w / 2, 0, h - 0.06), (w / 2, d, h))
    return p


def bed(rng: np.random.Generator, width: float | None = None) -> Piece:
    """A bed, its head at the back: base, mattress, blanket, pillows, often a headboard.

    Args:
        rng: Draws its sizes and colours.
        width: Metres; None draws a usual one.

    Returns:
        A new piece, in its own frame.
    """
    p, u = Piece(rng), rng.uniform
    w = width or float(rng.choice([0.95, 1.25, 1.5, 1.7])) + u(-0.05, 0.05)
    d, low, top = u(1.95, 2.1), u(0.18, 0.34), u(0.46, 0.6)
    frame = pick_color(rng, WOOD, WHITE, BLACK, FABRIC)
    p.start("bed", pick_color(rng, FABRIC, WHITE))
    if rng.random() < 0.5:
        legs(p, -w / 2, 0.02, w / 2, d, low - 0.1, 0.07, frame)
        p.occupy((-w / 2, 0, 0), (w / 2, d, low))
        p.box((-w / 2, 0, low - 0.1), (w / 2, d, low), frame)
    else:
        p.box((-w / 2, 0, 0), (w / 2, d, low), frame)
    if rng.random() < 0.7:
        p.box((-w / 2 - 0.02, 0, 0), (w / 2 + 0.02, 0.06, u(0.8, 1.2)), frame)
    half = w / 2 - 0.02
    p.box((-half, 0.06, low), (half, d, top), pick_color(rng, WHITE))
    fold = u(0.45, 0.75)  # the blanket starts here and hangs over both sides
    p.box((-half - 0.03, fold, low + 0.03), (half + 0.03, d + 0.03, top + 0.04))
    count = 1 if w < 1.2 else int(rng.integers(2, 5))
    linen = pick_color(rng, WHITE, FABRIC)
    for k in range(count):
        x = 0.0 if count == 1 else (k % 2 - 0.5) * w * 0.5
        y = 0.1 if k < 2 else 0.16
        z = top if k < 2 else top + 0.11
        p.start("pillow", linen if k < 2 else pick_color(rng, FABRIC, VIVID))
        p.cushion((x - 0.28, y, z), (x + 0.28, y + 0.33 - 0.04 * (k > 1), z + 0.12))
    return p


document_makers(__name__)
