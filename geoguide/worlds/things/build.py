"""`build_entry`: one object of any name, made from its row of the vocabulary."""

import numpy as np

from geoguide.worlds.palette import pick_color
from geoguide.worlds.shapes import Piece
from geoguide.worlds.things.fixtures import FAMILIES
from geoguide.worlds.things.vocabulary import Entry


def build_entry(entry: Entry, rng: np.random.Generator, ceiling: float) -> Piece:
    """Build one object of a name, its sizes and colour drawn anew.

    Things on walls come at the height they hang at, things on ceilings turned over where their shape has a foot.

    Args:
        entry: The name's row of the vocabulary.
        rng: Source of its sizes and colour.
        ceiling: Height of the room, metres.

    Returns:
        A piece of one object.
    """
    p = Piece(rng).start(entry.name, pick_color(rng, *entry.colors))
    w, d, h = (float(rng.uniform(*size)) for size in (entry.width, entry.depth, entry.height))
    h = min(h, ceiling - 0.02) if entry.place in ("back", "floor", "free") else h
    FAMILIES[entry.family](p, w, d, h)
    if entry.place == "ceiling":
        if entry.family == "arms":
            _turn_over(p, h)
        _lift(p, ceiling - h - 0.005)
        p.supports.clear()
    elif entry.place == "wall":
        _lift(p, min(float(rng.uniform(*entry.bottom)), ceiling - h - 0.02))
        p.supports.clear()
    return p


def _lift(p: Piece, z: float) -> None:
    """Move everything up by z metres."""
    for item in p.items:
        item.vertices = [vertices + np.array([0.0, 0.0, z]) for vertices in item.vertices]
    p.boxes = [(*box[:2], box[2] + z, *box[3:5], box[5] + z) for box in p.boxes]


def _turn_over(p: Piece, h: float) -> None:
    """Mirror the heights 0..h, and the faces with them so that they still face outwards."""
    for item in p.items:
        item.vertices = [vertices * np.array([1.0, 1.0, -1.0]) + np.array([0, 0, h]) for vertices in item.vertices]
        item.faces = [faces[:, ::-1] for faces in item.faces]
    p.boxes = [(*box[:2], h - box[5], *box[3:5], h - box[2]) for box in p.boxes]
