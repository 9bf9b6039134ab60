"""Families of solid things: turned, boxed, flat and hung. One family serves many names.

Every family adds to `p`, a piece whose object is begun, and draws within width w, depth d and height h metres, in the
frame of `shapes`: x centred, y from the back (0) to the front, z from 0. Sizes and colours come from `p.rng`. Parts are
4 cm thick or more where the mesh must keep them.
"""

from collections.abc import Callable

import numpy as np

from geoguide.worlds.palette import BLACK, FABRIC, GLASS, GREY, METAL, VIVID, WHITE, WOOD, Color, darker, pick_color
from geoguide.worlds.shapes import Piece, document_makers, ring

Program = Callable[[Piece, float, float, float], None]


def turned(
    p: Piece,
    w: float,
    d: float,
    profile: list[tuple[float, float]],
    color: Color | None = None,
    power: float = 2.0,
) -> None:
    """Add a solid of revolution over the ellipse w x d from its (z, share of the radius) profile.

    Args:
        p: The piece to add to.
        w: Width of the ellipse, metres.
        d: Its depth, metres.
        profile: Rising z, metres, each with the share of the radius there.
        color: None continues in the piece's colour.
        power: As of `shapes.ring`.
    """
    p.loft([ring((0, d / 2, z), s * w / 2, s * d / 2, power=power, count=16) for z, s in profile], color)


def draw_block(p: Piece, w: float, d: float, h: float) -> None:
    """A plain box, or with a lid or a face of another shade."""
    p.box((-w / 2, 0, 0), (w / 2, d, h))
    if p.rng.random() < 0.5:
        p.box((-0.3 * w, d, 0.25 * h), (0.3 * w, d + 0.01, 0.75 * h), darker(p.items[-1].color, 0.7))


def draw_appliance(p: Piece, w: float, d: float, h: float) -> None:
    """A box with a door or window in its face, a handle or a round port, and a panel of switches."""
    color, style = p.items[-1].color, p.rng.integers(3)
    p.box((-w / 2, 0, 0), (w / 2, d - 0.04, h))
    p.box((-w / 2 + 0.01, d - 0.04, 0.06 * h), (w / 2 - 0.01, d, 0.97 * h))
    if style == 0:
        p.box((-0.4 * w, d, 0.15 * h), (0.25 * w, d + 0.01, 0.75 * h), darker(color, 0.5))
    elif style == 1:
        r = 0.35 * min(w, h)
        rings = [ring((0, 0, z), r * s) for z, s in ((0, 1.0), (0.03, 0.9))]
        p.loft([np.stack([a[:, 0], d + a[:, 2], 0.45 * h - a[:, 1]], axis=1) for a in rings], darker(color, 0.5))
    if h > 0.3:
        p.box((-0.4 * w, d, 0.84 * h), (0.4 * w, d + 0.03, 0.89 * h), darker(color, 0.75))
    if h < 1.5:
        p.support(-w / 2 + 0.02, 0.02, w / 2 - 0.02, d - 0.06, h)


def draw_rod(p: Piece, w: float, d: float, h: float) -> None:
    """An upright cylinder, sometimes with a foot and a head, sometimes square."""
    power = 2.0 if p.rng.random() < 0.75 else 10.0
    if h > 1.5 and w > 0.2:  # columns
        s = p.rng.uniform(0.7, 0.95)
        profile = [(0, 1.0), (0.12, 1.0), (0.13, s), (h - 0.13, s), (h - 0.12, 1.0), (h, 1.0)]
        turned(p, w, d, profile, power=power)
    else:
        turned(p, w, d, [(0, 1.0), (h, p.rng.uniform(0.9, 1.0))], power=power)


def draw_vessel(p: Piece, w: float, d: float, h: float) -> None:
    """A vessel that is open at the top, round or square, straight or widening."""
    foot, power = p.rng.uniform(0.55, 0.95), 2.0 if p.rng.random() < 0.75 else 8.0
    rim, bottom = max(0.6, 1 - 0.08 / w), 0.3 * h
    turned(p, w, d, [(0, foot), (h, 1.0), (h, rim), (bottom, rim * foot)], power=power)
    if p.rng.random() < 0.25:  # handles
        for x in (-w / 2 - 0.03, w / 2 - 0.01):
            p.box((x, d / 2 - 0.05, 0.65 * h), (x + 0.04, d / 2 + 0.05, 0.8 * h))


def draw_bottle(p: Piece, w: float, d: float, h: float) -> None:
    """A body with shoulders and a neck, and a cap of another colour."""
    neck, shoulder = p.rng.uniform(0.4, 0.55), p.rng.uniform(0.55, 0.75)
    turned(p, w, d, [(0, 0.9), (0.04, 1.0), (shoulder * h, 1.0), ((shoulder + 0.12) * h, neck), (0.9 * h, neck)])
    turned(p, w, d, [(0.9 * h, neck + 0.1), (h, neck + 0.1)], pick_color(p.rng, BLACK, WHITE, VIVID))


def draw_urn(p: Piece, w: float, d: float, h: float) -> None:
    """A foot, a belly and a lip; sometimes with a spout and a handle, or a lid."""
    belly, u = p.rng.uniform(0.4, 0.65), p.rng.uniform
    turned(p, w, d, [(0, 0.5), (0.08 * h, 0.45), (belly * h, 1.0), (0.85 * h, u(0.45, 0.7)), (h, u(0.5, 0.85))])
    if p.rng.random() < 0.4:
        p.beam((0.4 * w, d / 2, 0.45 * h), (0.5 * w + 0.06, d / 2, 0.8 * h), 0.04)
        p.beam((-0.4 * w, d / 2, 0.5 * h), (-0.5 * w - 0.04, d / 2, 0.7 * h), 0.04)


def draw_stem(p: Piece, w: float, d: float, h: float) -> None:
    """A foot, a thin stem and a small head: candlesticks and brushes."""
    head = p.rng.uniform(0.4, 0.7)
    turned(p, w, d, [(0, 1.0), (0.04, 0.9), (0.06, 0.4), (0.75 * h, 0.4), (0.78 * h, head), (h, head)])


def draw_shade(p: Piece, w: float, d: float, h: float) -> None:
    """A hollow cone; with a brim it is a hat."""
    top = p.rng.uniform(0.45, 0.75)
    if p.rng.random() < 0.4:
        turned(p, w, d, [(0, 1.0), (0.04, 1.0)])
    turned(p, w, d, [(0, 0.95), (h, top)])


def draw_ball(p: Piece, w: float, d: float, h: float) -> None:
    """A ball or an egg."""
    t = np.linspace(-1, 1, 9)
    turned(p, w, d, [(h / 2 * (1 + z), float(np.sqrt(max(1 - z * z, 0.02)))) for z in np.sin(np.pi / 2 * t)])


def draw_disc(p: Piece, w: float, d: float, h: float) -> None:
    """A round flat thing on a wall."""
    for scale, y0, y1, color in ((1.0, 0.0, d, None), (0.8, d, d + 0.01, pick_color(p.rng, WHITE, VIVID, WOOD))):
        rings = [ring((0, 0, y), scale * w / 2, scale * h / 2, count=20) for y in (y0, y1)]
        p.loft([np.stack([a[:, 0], a[:, 2], h / 2 - a[:, 1]], axis=1) for a in rings], color)


def draw_panel(p: Piece, w: float, d: float, h: float) -> None:
    """A flat board, usually framed, sometimes with a few blocks of colour on it."""
    color, rng = p.items[-1].color, p.rng
    p.box((-w / 2, 0, 0), (w / 2, d - 0.02, h))
    if rng.random() < 0.7:
        t, frame = 0.04, pick_color(rng, WOOD, BLACK, WHITE, METAL)
        for x in (-w / 2, w / 2 - t):
            p.box((x, 0, 0), (x + t, d, h), frame)
        for z in (0.0, h - t):
            p.box((-w / 2 + t, 0, z), (w / 2 - t, d, z + t), frame)
    for _ in range(int(rng.integers(0, 4))):
        x, z = rng.uniform(-0.4, 0.1) * w, rng.uniform(0.1, 0.6) * h
        high = (x + rng.uniform(0.1, 0.3) * w, d - 0.015, z + rng.uniform(0.1, 0.3) * h)
        p.box((x, d - 0.02, z), high, pick_color(rng, FABRIC, VIVID, GLASS) if rng.random() < 0.7 else darker(color))
    p.occupy((-w / 2, 0, 0), (w / 2, d, h))


def draw_frame(p: Piece, w: float, d: float, h: float) -> None:
    """A small board that leans on its own stand."""
    p.slab((-w / 2, d - 0.04, w / 2, d), (-w / 2, 0, w / 2, 0.04), 0, h)
    p.slab(
        (-0.3 * w, d, 0.3 * w, d + 0.01), (-0.3 * w, 0.04, 0.3 * w, 0.05), 0.2 * h, 0.8 * h, pick_color(p.rng, VIVID)
    )
    p.box((-0.04, 0, 0), (0.04, d - 0.02, 0.4 * h))


def draw_ribs(p: Piece, w: float, d: float, h: float) -> None:
    """Parallel slats or ribs on a board, upright or level."""
    color, upright = p.items[-1].color, p.rng.random() < 0.5
    p.box((-w / 2, 0, 0), (w / 2, d - 0.025, h))
    length = w if upright else h
    count = max(3, int(length / 0.11))
    for k in range(count):
        a, b = (k + 0.15) * length / count, (k + 0.75) * length / count
        low, high = ((a - w / 2, 0.0), (b - w / 2, h)) if upright else ((-w / 2, a), (w / 2, b))
        p.box((low[0], d - 0.025, low[1]), (high[0], d, high[1]), darker(color, 0.93))


def draw_bar(p: Piece, w: float, d: float, h: float) -> None:
    """A level rod on two holders."""
    p.box((-w / 2, d - h, 0), (w / 2, d, h))
    for x in (-w / 2, w / 2 - 0.05):
        p.box((x, 0, 0), (x + 0.05, d, h), pick_color(p.rng, METAL, WHITE))


def draw_mat(p: Piece, w: float, d: float, h: float) -> None:
    """A thin slab with a border or a pattern: rugs, trays, keyboards, paper."""
    p.box((-w / 2, 0, 0), (w / 2, d, h))
    if p.rng.random() < 0.6:
        inner = darker(p.items[-1].color, p.rng.uniform(0.7, 1.2))
        p.box((-0.42 * w, 0.08 * d, h), (0.42 * w, 0.92 * d, h + 0.004), inner)


def draw_stack(p: Piece, w: float, d: float, h: float) -> None:
    """Slabs on one another, each a little askew and of its own colour."""
    count = max(1, round(h / 0.04))
    for k in range(count):
        x, s = p.rng.uniform(-0.02, 0.02), p.rng.uniform(0.85, 1.0)
        p.box(
            (x - s * w / 2, 0, k * h / count),
            (x + s * w / 2, s * d, (k + 1) * h / count),
            pick_color(p.rng, VIVID, WOOD),
        )


def draw_cushion(p: Piece, w: float, d: float, h: float) -> None:
    """A soft rounded block, on a base when it is high."""
    base = 0.6 * h if h > 0.2 else 0.0
    if base:
        p.box((-0.97 * w / 2, 0.02, 0), (0.97 * w / 2, d - 0.02, base))
    p.cushion((-w / 2, 0, base), (w / 2, d, h))


def draw_bag(p: Piece, w: float, d: float, h: float) -> None:
    """A sack that narrows upwards, with a pocket or two handles."""
    body = h if p.rng.random() < 0.5 else 0.7 * h
    levels = ((0.0, 0.9), (0.2, 1.0), (0.7, 0.95), (1.0, 0.6))
    p.loft([ring((0, d / 2, t * body), w / 2 * s, d / 2 * s, power=4, count=16) for t, s in levels])
    if body < h:
        for x in (-0.3 * w, 0.3 * w - 0.04):
            p.box((x, d / 2 - 0.02, body - 0.03), (x + 0.04, d / 2 + 0.02, h))
        p.box((-0.3 * w, d / 2 - 0.02, h - 0.04), (0.3 * w, d / 2 + 0.02, h))
    else:
        p.box((-0.35 * w, 0.9 * d, 0.05), (0.35 * w, d + 0.04, 0.45 * h), darker(p.items[-1].color, 0.85))


def draw_pan(p: Piece, w: float, d: float, h: float) -> None:
    """A flat vessel with a handle."""
    turned(p, w, d, [(0, 0.85), (h, 1.0), (h, 0.85), (0.03, 0.75)])
    p.box(
        (w / 2 - 0.02, d / 2 - 0.025, 0.6 * h), (w / 2 + 0.18, d / 2 + 0.025, 0.6 * h + 0.04), pick_color(p.rng, BLACK)
    )


def draw_screen(p: Piece, w: float, d: float, h: float) -> None:
    """A board on a foot."""
    p.box((-0.3 * w, 0, 0), (0.3 * w, d, 0.03), pick_color(p.rng, METAL, GREY))
    p.box((-0.03, d / 2 - 0.03, 0.03), (0.03, d / 2 + 0.01, 0.3 * h))
    p.box((-w / 2, d / 2 - 0.01, 0.2 * h), (w / 2, d / 2 + 0.04, h))


def draw_laptop(p: Piece, w: float, d: float, h: float) -> None:
    """An open laptop."""
    p.box((-w / 2, 0.05, 0), (w / 2, d, 0.03))
    p.slab((-w / 2, 0.03, w / 2, 0.07), (-w / 2, -0.05, w / 2, -0.01), 0.02, h, BLACK[0])


def draw_cloth(p: Piece, w: float, d: float, h: float) -> None:
    """Hanging cloth in folds, sometimes under a rod or on a hook."""
    top = h - 0.05
    p.sheet(-w / 2, w / 2, 0, top, d / 2, max(1.0, w * p.rng.uniform(3, 8)), max(0.01, d / 2 - 0.025))
    p.box((-w / 2, d / 2 - 0.02, top), (w / 2, d / 2 + 0.02, h), pick_color(p.rng, METAL, WOOD))
    for x in (-w / 2, w / 2 - 0.04):
        p.box((x, 0, top), (x + 0.04, d / 2, h), METAL[0])
    p.occupy((-w / 2, 0, 0), (w / 2, d, h))


def draw_pillow(p: Piece, w: float, d: float, h: float) -> None:
    """A pillow."""
    p.cushion((-w / 2, 0, 0), (w / 2, d, h))


SOLIDS: dict[str, Program] = {
    program.__name__.removeprefix("draw_"): program
    for program in (
        draw_block, draw_appliance, draw_rod, draw_vessel, draw_bottle, draw_urn, draw_stem, draw_shade, draw_ball,
        draw_disc, draw_panel, draw_frame, draw_ribs, draw_bar, draw_mat, draw_stack, draw_cushion, draw_bag, draw_pan,
        draw_screen, draw_laptop, draw_cloth, draw_pillow,
    )
}  # fmt: skip


document_makers(__name__)
