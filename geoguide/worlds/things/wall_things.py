"""Makers of flat things on walls (picture, poster, whiteboard, mirror, towel, television) and of radiators.

`rng` is the source of every size and colour; each maker returns a new piece in the frame of `shapes`, metres, its z
above the floor of the room.
"""

import numpy as np

from geoguide.worlds.palette import BLACK, FABRIC, GLASS, GREY, METAL, VIVID, WHITE, WOOD, Color, darker, pick_color
from geoguide.worlds.shapes import Piece, document_makers


def _frame(p: Piece, w: float, z0: float, z1: float, depth: float, thick: float, color: Color) -> None:
    """Add a frame of width w from z0 to z1, of bars `thick` wide."""
    for x in (-w / 2, w / 2 - thick):
        p.box((x, 0, z0), (x + thick, depth, z1), color)
    for z in (z0, z1 - thick):
        p.box((-w / 2 + thick, 0, z), (w / 2 - thick, depth, z + thick), color)


def picture(rng: np.random.Generator) -> Piece:
    """A framed canvas, or a bare poster; the image is a few blocks of colour."""
    p, u = Piece(rng), rng.uniform
    w, h = u(0.3, 1.0), u(0.3, 0.8)
    z = u(1.35, 1.75)
    z0, z1 = z - h / 2, z + h / 2
    poster = rng.random() < 0.15
    ground = pick_color(rng, FABRIC, VIVID, WHITE, GLASS, BLACK)
    p.start("poster" if poster else "picture", ground)
    thick = 0.0 if poster else u(0.03, 0.06)
    depth = 0.02 if poster else u(0.03, 0.05)
    p.box((-w / 2 + thick, 0, z0 + thick), (w / 2 - thick, depth - 0.01, z1 - thick))
    for _ in range(int(rng.integers(1, 5))):
        x, y = u(-0.5, 0.1) * (w - 2 * thick), z0 + thick + u(0, 0.6) * (h - 2 * thick)
        wide, high = u(0.15, 0.4) * (w - 2 * thick), u(0.15, 0.4) * (h - 2 * thick)
        p.box((x, depth - 0.01, y), (x + wide, depth - 0.005, y + high), pick_color(rng, FABRIC, VIVID, GLASS))
    if not poster:
        _frame(p, w, z0, z1, depth, thick, pick_color(rng, WOOD, BLACK, WHITE, METAL))
    return p


def whiteboard(rng: np.random.Generator) -> Piece:
    """A framed whiteboard with its tray and some writing."""
    p, u = Piece(rng), rng.uniform
    w, z0, z1 = u(1.0, 2.2), u(0.85, 0.95), u(1.85, 2.05)
    p.start("whiteboard", pick_color(rng, WHITE))
    p.box((-w / 2 + 0.03, 0, z0 + 0.03), (w / 2 - 0.03, 0.03, z1 - 0.03))
    color = pick_color(rng, METAL, WOOD)
    _frame(p, w, z0, z1, 0.04, 0.03, color)
    p.box((-0.3, 0.04, z0), (0.3, 0.11, z0 + 0.03), color)
    for _ in range(int(rng.integers(0, 4))):
        x, z = u(-0.4, 0.3) * w, u(z0 + 0.15, z1 - 0.3)
        p.box((x, 0.03, z), (x + u(0.1, 0.4), 0.035, z + 0.04), pick_color(rng, VIVID))
    p.keep_clear((-w / 2, 0.12, z0), (w / 2, 0.4, z1))
    return p


def mirror(rng: np.random.Generator) -> Piece:
    """A mirror, scanned as a plain grey board: no reflections."""
    p, u = Piece(rng), rng.uniform
    w, z0, z1 = u(0.4, 1.0), u(1.05, 1.2), u(1.75, 2.0)
    p.start("mirror", pick_color(rng, GLASS))
    p.box((-w / 2, 0, z0), (w / 2, 0.03, z1))
    return p


def towel(rng: np.random.Generator) -> Piece:
    """A hanging towel."""
    p, u = Piece(rng), rng.uniform
    w, z1 = u(0.3, 0.5), u(1.1, 1.5)
    p.start("towel", pick_color(rng, FABRIC, WHITE, VIVID))
    p.sheet(-w / 2, w / 2, z1 - u(0.4, 0.7), z1, 0.035, 2, 0.01)
    return p


def wall_television(rng: np.random.Generator) -> Piece:
    """A television on its holder."""
    p, u = Piece(rng), rng.uniform
    w, z = u(0.9, 1.4), u(1.1, 1.3)
    p.start("tv", pick_color(rng, BLACK))
    p.box((-0.15, 0, z + 0.2), (0.15, 0.06, z + 0.4))
    p.box((-w / 2, 0.05, z), (w / 2, 0.1, z + 0.57 * w))
    p.occupy((-w / 2, 0, z), (w / 2, 0.1, z + 0.57 * w))
    p.keep_clear((-w / 2, 0.1, z), (w / 2, 0.3, z + 0.57 * w))
    return p


def radiator(rng: np.random.Generator, width: float) -> Piece:
    """A radiator of the given width: upright ribs on a board, close to the wall and off the floor."""
    p, u = Piece(rng), rng.uniform
    z0, z1, d = 0.1, u(0.5, 0.7), u(0.1, 0.14)
    color = pick_color(rng, WHITE, WHITE, GREY)
    p.start("radiator", color)
    p.box((-width / 2, 0.02, z0), (width / 2, d - 0.03, z1))
    count = max(3, int(width / 0.1))
    for k in range(count):
        x = -width / 2 + (k + 0.5) * width / count
        p.box((x - 0.03, d - 0.03, z0), (x + 0.03, d, z1), darker(color, 0.97))
    for x in (-width / 2 + 0.05, width / 2 - 0.1):
        p.box((x, 0.03, 0), (x + 0.05, 0.08, z0))
    return p


document_makers(__name__)
