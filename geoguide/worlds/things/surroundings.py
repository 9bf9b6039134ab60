"""Makers of what lines a street: buildings, walls, poles, trees and bushes.

`rng` is the source of every size and colour; each maker returns a new piece with x along the street, y away from it, z
up, metres.
"""

import numpy as np

from geoguide.worlds.palette import GREY, METAL, VIVID, Color, darker, pick_color
from geoguide.worlds.shapes import Piece, document_makers, ring
from geoguide.worlds.things.categories import BARK, CONCRETE, CROWN, DARK_GLASS, FACADE, GRASS, PLASTIC
from geoguide.worlds.things.small_things import barrier_shape

MANMADE, VEGETATION = "static.manmade", "static.vegetation"


def building(rng: np.random.Generator, width: float, depth: float) -> Piece:
    """A house whose front lies at y = 0: windows, ledges, sometimes an awning and balconies."""
    p, u, color = Piece(rng, 3.0), rng.uniform, pick_color(rng, FACADE)
    floors = int(rng.integers(1, 6))
    h = 3.1 * floors + u(0.4, 1.5)
    p.start(MANMADE, color)
    p.box((-width / 2, 0, 0), (width / 2, depth, h))
    p.box((-width / 2 - 0.15, -0.15, h - 0.4), (width / 2 + 0.15, 0.1, h), darker(color, 0.85))
    glass, bay = pick_color(rng, DARK_GLASS), u(2.2, 3.5)
    xs = np.arange(-width / 2 + bay / 2, width / 2 - 0.8, bay)
    balcony = rng.random() < 0.3
    for floor in range(floors):
        for x in xs:
            p.box((x - 0.55, -0.04, 3.1 * floor + 0.9), (x + 0.55, 0.02, 3.1 * floor + 2.3), glass)
            if balcony and floor and rng.random() < 0.6:
                p.box((x - 0.9, -1.0, 3.1 * floor), (x + 0.9, 0, 3.1 * floor + 1.0), darker(color, 1.1))
    if rng.random() < 0.35:
        p.slab(
            (-width / 3, -0.1, width / 3, 0.05), (-width / 3, -1.5, width / 3, 0.05), 2.6, 3.0, pick_color(rng, VIVID)
        )
    return p


def wall(rng: np.random.Generator, length: float) -> Piece:
    """A garden wall, a fence, or a low concrete profile shaped like a road barrier."""
    p, u, style = Piece(rng, 1.5), rng.uniform, int(rng.choice(3, p=[0.45, 0.2, 0.35]))
    color = pick_color(rng, CONCRETE, FACADE)
    p.start(MANMADE, color)
    if style == 0:
        p.box((-length / 2, -0.12, 0), (length / 2, 0.12, u(0.8, 2.2)))
        return p
    if style == 1:
        height = u(1.0, 1.8)
        for x in np.arange(-length / 2, length / 2, 1.5):
            p.box((x, -0.05, 0), (x + 0.1, 0.05, height))
        for z in (0.3, 0.6, 0.9):
            p.box((-length / 2, -0.03, z * height), (length / 2, 0.03, z * height + 0.12))
        return p
    profile = Piece(rng, 1.5).start(MANMADE, color)
    barrier_shape(profile, length, u(0.75, 1.1), int(rng.integers(2)), pick_color(rng, CONCRETE, CONCRETE, PLASTIC))
    return _along_x(profile)


def _along_x(piece: Piece) -> Piece:
    """Turn a piece so that what lay along y lies along x."""
    for item in piece.items:
        item.vertices = [points[:, [1, 0, 2]] * [1, -1, 1] for points in item.vertices]
    return piece


def pole(rng: np.random.Generator) -> Piece:
    """A street lamp, a traffic light, a sign or a bollard."""
    p, u, style = Piece(rng, 2.0), rng.uniform, int(rng.choice(4, p=[0.4, 0.15, 0.25, 0.2]))
    p.start(MANMADE, pick_color(rng, METAL, GREY))
    if style == 3:
        p.cylinder((0, 0, 0), u(0.06, 0.12), u(0.7, 1.1))
        return p
    h = (u(5.5, 8.0), u(3.2, 4.0), u(2.2, 3.0))[style]
    p.cylinder((0, 0, 0), (0.11, 0.08, 0.05)[style], h, top=(0.06, 0.06, 0.05)[style])
    if style == 0:
        p.beam((0, 0, h), (0, -u(1.0, 2.0), h + 0.3), 0.1)
    elif style == 1:
        p.box((-0.15, -0.25, h - 0.9), (0.15, 0.0, h), (45, 45, 48))
    else:
        p.box((-0.3, -0.08, h - 0.6), (0.3, -0.04, h), pick_color(rng, VIVID))
    return p


def kiosk(rng: np.random.Generator) -> Piece:
    """A shelter, a box of switches, or a bench: small things that are fixed to the ground."""
    p, u, style, color = Piece(rng, 1.5), rng.uniform, int(rng.integers(3)), pick_color(rng, GREY, METAL, FACADE)
    p.start(MANMADE, color)
    if style == 0:
        w = u(2.5, 4.0)
        p.box((-w / 2, 0.9, 0.1), (w / 2, 1.0, 2.4), pick_color(rng, DARK_GLASS))
        p.box((-w / 2, -0.4, 2.35), (w / 2, 1.1, 2.5))
        for x in (-w / 2, w / 2 - 0.1):
            p.box((x, -0.3, 0), (x + 0.1, -0.2, 2.4))
    elif style == 1:
        p.box((-u(0.3, 0.9), 0, 0), (u(0.3, 0.9), 0.5, u(1.0, 1.7)))
    else:
        p.box((-0.9, 0, 0.38), (0.9, 0.45, 0.46))
        p.box((-0.9, 0.42, 0.46), (0.9, 0.5, 0.9))
        for x in (-0.8, 0.7):
            p.box((x, 0.05, 0), (x + 0.1, 0.4, 0.38))
    return p


def blob(p: Piece, center: tuple[float, float, float], radius: float, height: float, color: Color) -> None:
    """Add a lump of leaves: an ellipsoid whose surface is rough by about a tenth of its size.

    Args:
        p: The piece to add to.
        center: Its middle (x, y, z), metres.
        radius: Its radius, metres.
        height: Its height, metres.
        color: Its colour.
    """
    levels = np.array([-1.0, -0.8, -0.4, 0.0, 0.4, 0.75, 1.0])
    rings = []
    for level in levels:
        size = max(0.12, np.sqrt(max(0.0, 1 - level * level)))
        points = ring((0, 0, 0), radius * size, count=12) * p.rng.normal(1, 0.12, (12, 1))  # [12, 3]
        points[:, 2] = 0.5 * height * level + p.rng.normal(0, 0.05 * height, 12)
        rings.append(points + np.array(center))
    p.loft(rings, color)


def tree(rng: np.random.Generator) -> Piece:
    """A trunk below some lumps of leaves, or a conifer."""
    p, u = Piece(rng, 1.5), rng.uniform
    h, color = u(3.5, 9.0), pick_color(rng, CROWN)
    p.start(VEGETATION, color)
    trunk = u(0.22, 0.4) * h
    p.cylinder((0, 0, 0), u(0.1, 0.1 + 0.025 * h), trunk + 0.4, pick_color(rng, BARK), top=0.09)
    if rng.random() < 0.2:
        for k in range(4):
            z = trunk * 0.6 + k * (h - trunk * 0.6) / 4
            p.cylinder((0, 0, z), u(0.9, 1.1) * (1.5 - 0.33 * k), (h - trunk) / 3, top=0.1)
        return p
    size = u(0.22, 0.3) * h
    for _ in range(int(rng.integers(3, 7))):
        x, y = rng.normal(0, 0.45 * size, 2)
        blob(
            p,
            (x, y, u(trunk + 0.5 * size, h - 0.5 * size)),
            u(0.6, 1.0) * size,
            u(1.0, 1.6) * size,
            darker(color, u(0.85, 1.15)),
        )
    return p


def bush(rng: np.random.Generator, length: float) -> Piece:
    """Bushes in a row, or a clipped hedge: a wall of leaves."""
    p, u, color = Piece(rng, 0.6), rng.uniform, pick_color(rng, CROWN, GRASS)
    p.start(VEGETATION, color)
    if length > 2 and rng.random() < 0.6:
        h, d = u(0.8, 1.9), u(0.5, 0.9)
        p.box((-length / 2, -d / 2, 0), (length / 2, d / 2, h))
        rough = p.items[-1].vertices[-1]
        rough += rng.normal(0, 0.05, rough.shape)
        return p
    for x in np.arange(-length / 2 + 0.5, length / 2, 0.9):
        h = u(0.6, 1.5)
        blob(p, (x, u(-0.2, 0.2), 0.4 * h), u(0.45, 0.8), h, darker(color, u(0.85, 1.15)))
    return p


document_makers(__name__)
