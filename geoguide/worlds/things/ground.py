"""Makers of a street's ground: asphalt, pavements and lawns.

`rng` is the source of every height and colour, a rectangle is x0 y0 x1 y1; each maker returns a new piece in the frame
of the street: x along it, y to the left, z up, metres.
"""

import numpy as np

from geoguide.worlds.palette import pick_color
from geoguide.worlds.shapes import Piece, Rectangle, document_makers, grid_quads, shaded, triangles
from geoguide.worlds.site import GROUND_DEPTH, HALF_LENGTH
from geoguide.worlds.things.categories import ASPHALT, GRASS, PAVING

ROAD, FLAT_OTHER, SIDEWALK, TERRAIN = "flat.driveable_surface", "flat.other", "flat.sidewalk", "flat.terrain"
LAWN_CELL = 2.0  # metres: edge of a quad
SKIRT = 0.3  # metres that the edge of a lawn goes down, so that no ray passes below it


def lawn(rng: np.random.Generator, rectangle: Rectangle, base: float, slope: float) -> Piece:
    """Uneven ground over a rectangle, `base` high at its edge towards the street and rising by `slope` from there.

    Args:
        rng: Draws the unevenness and the colour.
        rectangle: x0 y0 x1 y1, metres.
        base: Height of the edge towards the street, metres.
        slope: Metres up per metre away from there.

    Returns:
        A new piece, in its own frame.
    """
    x0, y0, x1, y1 = rectangle
    near = min((y0, y1), key=abs)
    xs, ys = (np.linspace(a, b, max(2, int((b - a) / LAWN_CELL) + 1)) for a, b in ((x0, x1), (y0, y1)))
    z = base + slope * np.abs(ys - near)[None, :] + rng.normal(0, 0.03, (len(xs), len(ys)))  # [X, Y]
    z = np.pad(z, 1, constant_values=-SKIRT)  # [X + 2, Y + 2]
    piece = Piece(rng).start(TERRAIN, pick_color(rng, GRASS))
    _add_grid(piece, np.pad(xs, 1, mode="edge"), np.pad(ys, 1, mode="edge"), z, 0.06)
    piece.occupy((x0, y0, 0), (x1, y1, base))
    return piece


def road(rng: np.random.Generator) -> Piece:
    """The plane below everything: whatever is not built upon can be driven on."""
    piece = Piece(rng).start(ROAD, pick_color(rng, ASPHALT))
    xs, ys = np.arange(-HALF_LENGTH - 10, HALF_LENGTH + 11, 4.0), np.arange(-GROUND_DEPTH, GROUND_DEPTH + 1, 4.0)
    _add_grid(piece, xs, ys, rng.normal(0, 0.008, (len(xs), len(ys))), 0.04)
    piece.occupy((-1, -1, 0), (1, 1, 0))
    return piece


def pavement(rng: np.random.Generator, category: str, rectangle: Rectangle, height: float) -> Piece:
    """A paved area with a kerb: a sidewalk or an island.

    Args:
        rng: Draws the colour.
        category: Its category, one of the benchmark's names.
        rectangle: x0 y0 x1 y1, metres.
        height: Of the kerb above the road, metres.

    Returns:
        A new piece, in its own frame.
    """
    x0, y0, x1, y1 = rectangle
    piece = Piece(rng, 3.0).start(category, pick_color(rng, PAVING))
    piece.box((x0, y0, -0.3), (x1, y1, height))
    return piece


def _add_grid(piece: Piece, xs: np.ndarray, ys: np.ndarray, z: np.ndarray, spread: float) -> None:
    """Add the surface of heights z [X, Y] over lines xs [X] and ys [Y], its quads' brightness varied by `spread`."""
    grid = np.stack([*np.meshgrid(xs, ys, indexing="ij"), z], axis=-1)  # [X, Y, 3]
    quads = grid_quads(len(xs) - 1, len(ys) - 1)
    colors = np.repeat(shaded(piece.rng, piece.items[0].color, len(quads), spread), 2, axis=0)
    piece.items[0].add(grid.reshape(-1, 3), triangles(quads), colors)


document_makers(__name__)
