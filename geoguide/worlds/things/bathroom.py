"""Makers of bathroom things: toilet, bathtub with shower curtain, and sinks that stand or hang alone.

`rng` is the source of every size and colour; each maker returns a new piece in the frame of `shapes`, metres. The space
before the piece that a person needs is kept clear.
"""

import numpy as np

from geoguide.worlds.palette import FABRIC, METAL, VIVID, WHITE, pick_color
from geoguide.worlds.shapes import Piece, document_makers, ring


def toilet(rng: np.random.Generator) -> Piece:
    """Cistern, bowl and lid; the lid is up in a third of them."""
    p, u = Piece(rng), rng.uniform
    p.start("toilet", pick_color(rng, WHITE))
    w, seat, tank = u(0.18, 0.21), u(0.38, 0.43), u(0.36, 0.46)
    low = 0.0 if rng.random() < 0.2 else seat - 0.06
    p.box((-tank / 2, 0, low), (tank / 2, 0.18, u(0.72, 0.84)))
    p.box((-0.1, 0.02, 0), (0.1, 0.3, seat - 0.04))
    y, long = 0.43, u(0.25, 0.28)
    profile = ((0, 0.11, 0.6), (0.12, 0.1, 0.55), (0.26, 0.15, 0.85), (seat, w, 1.0))
    rings = [ring((0, y, z), r, long * s, count=20) for z, r, s in profile]
    if rng.random() < 0.35:  # open: a hollow bowl, the lid against the cistern
        rings += [ring((0, y, seat), w - 0.05, long - 0.05, count=20), ring((0, y, seat - 0.14), 0.07, 0.1, count=20)]
        p.loft(rings)
        p.slab((-w, 0.19, w, 0.24), (-w * 0.8, 0.18, w * 0.8, 0.22), seat, seat + 0.38)
    else:
        p.loft(rings)
        p.loft([ring((0, y, z), w + 0.01, long + 0.01, power=2.3, count=20) for z in (seat, seat + 0.04)])
    p.keep_clear((-0.3, 0.72, 0), (0.3, 1.1, 1.8))
    return p


def bathtub(rng: np.random.Generator, curtain: float = 0.75) -> Piece:
    """A tub along a wall, at a chance with a shower curtain drawn over a part of its length.

    Args:
        rng: Source of its size, colour and curtain.
        curtain: The chance of a curtain, in 0..1.

    Returns:
        A new piece, in its own frame.
    """
    p, u = Piece(rng), rng.uniform
    w, d, h = u(1.45, 1.75), u(0.68, 0.8), u(0.45, 0.58)
    p.start("bathtub", pick_color(rng, WHITE))
    p.basin((-w / 2, 0, 0), (w / 2, d, h), u(0.06, 0.1), h - u(0.1, 0.16), u(3, 7))
    if rng.random() < curtain:
        color = pick_color(rng, WHITE, FABRIC, VIVID)
        p.start("shower curtain", color)
        width = u(0.35, 0.9) * w
        x0 = -w / 2 if rng.random() < 0.5 else w / 2 - width
        p.sheet(x0, x0 + width, u(0.15, 0.4), 1.96, d + 0.07, width * u(4, 6), u(0.02, 0.035))
        p.box((-w / 2, d + 0.05, 1.96), (w / 2, d + 0.09, 2.0), METAL[0])
        for x in (-w / 2, w / 2 - 0.04):  # the rod hangs from the wall
            p.box((x, 0, 1.96), (x + 0.04, d + 0.05, 2.0), METAL[0])
    p.keep_clear((-w / 2, d, 0), (w / 2, d + 0.35, 1.8))
    return p


def free_sink(rng: np.random.Generator) -> Piece:
    """A wash basin on a pedestal or hung on the wall, with its tap."""
    p, u = Piece(rng), rng.uniform
    w, d, h = u(0.45, 0.62), u(0.4, 0.5), u(0.78, 0.88)
    p.start("sink", pick_color(rng, WHITE))
    p.basin((-w / 2, 0, h - 0.16), (w / 2, d, h), 0.05, 0.12, u(2, 4))
    if rng.random() < 0.6:
        p.loft([ring((0, d / 2 - 0.03, z), r) for z, r in ((0, 0.13), (0.05, 0.09), (h - 0.2, 0.08), (h - 0.16, 0.14))])
    else:
        p.beam((0, 0.03, 0.35), (0, 0.12, h - 0.16), 0.06, METAL[0])
    p.beam((0, 0.04, h), (0, 0.04, h + 0.12), 0.04, METAL[0])
    p.beam((0, 0.04, h + 0.12), (0, 0.16, h + 0.1), 0.04, METAL[0])
    p.occupy((-w / 2, 0, 0), (w / 2, d, h))
    p.keep_clear((-w / 2, d, 0), (w / 2, d + 0.4, 1.8))
    return p


document_makers(__name__)
