"""Families of furniture, fixtures and figures, and the table of all families.

Every family adds to `p`, a piece whose object is begun, and draws within width w, depth d and height h metres, in the
frame of `shapes`: x centred, y from the back (0) to the front, z from 0. Sizes and colours come from `p.rng`.
"""

import numpy as np

from geoguide.worlds.palette import BLACK, FABRIC, GREY, LEAF, METAL, VIVID, WHITE, WOOD, darker, pick_color
from geoguide.worlds.shapes import Piece, document_makers, ring
from geoguide.worlds.things.seating import legs
from geoguide.worlds.things.solids import SOLIDS, Program, turned
from geoguide.worlds.things.storage import book_row, carcass, fronts

MARGIN = 0.03  # metres kept free along the edges of tops that carry things


def top(p: Piece, w: float, d: float, z: float) -> None:
    """Declare the whole top w x d at height z as able to carry things.

    Args:
        p: The piece to add to.
        w: Width of the top, metres.
        d: Its depth.
        z: Its height.
    """
    p.support(-w / 2 + MARGIN, MARGIN, w / 2 - MARGIN, d - MARGIN, z)


def draw_table(p: Piece, w: float, d: float, h: float) -> None:
    """A top on four legs, two side panels or a pedestal."""
    style, under = p.rng.integers(4), pick_color(p.rng, WOOD, BLACK, WHITE, METAL)
    under = under if p.rng.random() < 0.4 else p.items[-1].color
    if style < 2:
        legs(p, -w / 2 + 0.01, 0.01, w / 2 - 0.01, d - 0.01, h - 0.05, p.rng.uniform(0.045, 0.08), under)
    elif style == 2:
        for x in (-w / 2 + 0.03, w / 2 - 0.08):
            p.box((x, 0.03, 0), (x + 0.05, d - 0.03, h - 0.05), under)
    else:
        p.box((-0.3 * w, 0.2 * d, 0), (0.3 * w, 0.8 * d, 0.05), under)
        p.box((-0.12 * w, 0.38 * d, 0.05), (0.12 * w, 0.62 * d, h - 0.05), under)
    p.box((-w / 2, 0, h - 0.05), (w / 2, d, h))
    if p.rng.random() < 0.25:
        p.box((-w / 2 + 0.08, 0.06, 0.14), (w / 2 - 0.08, d - 0.06, 0.18), under)
    top(p, w, d, h)


def draw_stool(p: Piece, w: float, d: float, h: float) -> None:
    """A round seat on four splayed legs."""
    for sx in (-1, 1):
        for y in (0.08 * d, 0.92 * d):
            p.beam((sx * 0.42 * w, y, 0.01), (sx * 0.25 * w, 0.5 * d + 0.5 * (y - 0.5 * d), h - 0.04), 0.045)
    p.loft([ring((0, d / 2, z), w / 2, d / 2) for z in (h - 0.05, h)], pick_color(p.rng, FABRIC, WOOD, BLACK))
    p.occupy((-w / 2, 0, 0), (w / 2, d, h))


def draw_chair(p: Piece, w: float, d: float, h: float) -> None:
    """Four legs or a pedestal, a seat and a back of one or several boards."""
    u, frame = p.rng.uniform, pick_color(p.rng, WOOD, BLACK, METAL, WHITE)
    seat = u(0.42, 0.48)
    if p.rng.random() < 0.75:
        legs(p, -w / 2, 0.0, w / 2, d, seat - 0.04, 0.045, frame)
    else:
        p.box((-0.4 * w, 0.1 * d, 0), (0.4 * w, 0.9 * d, 0.05), frame)
        p.box((-0.04, d / 2 - 0.04, 0.05), (0.04, d / 2 + 0.04, seat - 0.04), frame)
    p.box((-w / 2, 0, seat - 0.05), (w / 2, d, seat))
    for low, high in (((0.0, 1.0),), ((0.5, 1.0),), ((0.3, 0.5), (0.75, 1.0)))[p.rng.integers(3)]:
        p.box((-w / 2, 0.0, seat + low * (h - seat)), (w / 2, 0.045, seat + high * (h - seat)))
    for x in (-w / 2, w / 2 - 0.045):
        p.box((x, 0.0, seat), (x + 0.045, 0.045, h), frame)
    p.occupy((-w / 2, 0, 0), (w / 2, d, seat))


def draw_sofa(p: Piece, w: float, d: float, h: float) -> None:
    """A base with back, arms and a cushion for each seat."""
    u, seat, arm, back = p.rng.uniform, p.rng.uniform(0.38, 0.44), p.rng.uniform(0.12, 0.2), 0.2
    p.box((-w / 2, 0, 0), (w / 2, d, seat - 0.12))
    p.box((-w / 2, 0, seat - 0.12), (w / 2, back, h))
    for x in (-w / 2, w / 2 - arm):
        p.box((x, back, seat - 0.12), (x + arm, d, seat + 0.18))
    shade, seats = darker(p.items[-1].color, u(0.85, 1.1)), max(1, round(w / 0.75))
    width = (w - 2 * arm) / seats
    for k in range(seats):
        x = -w / 2 + arm + k * width
        p.cushion((x, back, seat - 0.12), (x + width, d, seat), shade)
    p.support(-w / 2 + arm, back, w / 2 - arm, d - 0.02, seat)


def draw_bed(p: Piece, w: float, d: float, h: float) -> None:
    """Base, mattress, blanket and a headboard of height h at the back."""
    low, high = p.rng.uniform(0.2, 0.32), p.rng.uniform(0.46, 0.56)
    p.box((-w / 2, 0, 0), (w / 2, d, low))
    p.box((-w / 2, 0, low), (w / 2, 0.06, h))
    p.box((-w / 2 + 0.02, 0.06, low), (w / 2 - 0.02, d, high), pick_color(p.rng, WHITE))
    fold = p.rng.uniform(0.5, 0.8)
    p.box((-w / 2, fold, low + 0.03), (w / 2, d + 0.02, high + 0.03), pick_color(p.rng, FABRIC, WHITE, VIVID))
    p.support(-w / 2 + 0.05, 0.08, w / 2 - 0.05, fold, high)
    p.support(-w / 2 + 0.05, fold, w / 2 - 0.05, d - 0.05, high + 0.03)


def draw_carcass(p: Piece, w: float, d: float, h: float) -> None:
    """A closed box with a grid of doors or drawers."""
    columns, rows = max(1, round(w / p.rng.uniform(0.4, 0.6))), max(1, round(h / p.rng.uniform(0.3, 0.9)))
    carcass(p, w, d, h, columns, rows, p.items[-1].color)


def draw_counter(p: Piece, w: float, d: float, h: float) -> None:
    """Fronts under a top of another colour that stands out a little."""
    color = p.items[-1].color
    p.box((-w / 2, 0, 0), (w / 2, d - 0.05, h - 0.05))
    fronts(p, -w / 2, w / 2, d - 0.05, 0.08, h - 0.07, max(1, round(w / 0.5)), int(p.rng.integers(1, 3)), color)
    p.box((-w / 2, 0, h - 0.05), (w / 2, d, h), pick_color(p.rng, GREY, WOOD, BLACK, WHITE))
    top(p, w, d, h)


def draw_shelf(p: Piece, w: float, d: float, h: float) -> None:
    """Open boards between two sides that carry things, some of them books that belong to it."""
    color = p.items[-1].color
    for x in (-w / 2, w / 2 - 0.04):
        p.box((x, 0, 0), (x + 0.04, d, h))
    p.box((-w / 2 + 0.04, 0, 0), (w / 2 - 0.04, 0.03, h), darker(color, 0.85))
    levels = np.linspace(0.05, h - 0.02, max(2, round(h / 0.42)) + 1)
    for number, z in enumerate(levels):
        p.box((-w / 2 + 0.04, 0.03, z - 0.02), (w / 2 - 0.04, d, z + 0.02))
        above = levels[number + 1] - z if number + 1 < len(levels) else 1.0
        if p.rng.random() < 0.35 and above < 1.0:
            book_row(p, -w / 2 + 0.05, w / 2 - 0.05, 0.04, z + 0.02, min(d - 0.06, 0.22), above - 0.07)
        elif z < 1.6:
            p.support(-w / 2 + 0.05, 0.04, w / 2 - 0.05, d - 0.01, z + 0.02)


def draw_sink(p: Piece, w: float, d: float, h: float) -> None:
    """A wash basin on a pedestal."""
    p.basin((-w / 2, 0, h - 0.17), (w / 2, d, h), 0.05, 0.12, p.rng.uniform(2, 4))
    p.loft([ring((0, d / 2, z), r) for z, r in ((0, 0.13), (0.05, 0.09), (h - 0.22, 0.08), (h - 0.17, 0.14))])
    p.occupy((-w / 2, 0, 0), (w / 2, d, h))
    p.support(-w / 2, 0.0, w / 2, 0.2, h)


def draw_basin(p: Piece, w: float, d: float, h: float) -> None:
    """A hollow block, as a bathtub is."""
    p.basin((-w / 2, 0, 0), (w / 2, d, h), 0.07, h - 0.14, p.rng.uniform(3, 7))


def draw_toilet(p: Piece, w: float, d: float, h: float) -> None:
    """Cistern, bowl and closed lid."""
    seat = p.rng.uniform(0.38, 0.43)
    p.box((-w / 2, 0, seat - 0.05), (w / 2, 0.18, h))
    y, long = d - 0.27, 0.27
    levels = ((0, 0.1, 0.6), (0.12, 0.1, 0.55), (0.26, 0.15, 0.85), (seat, 0.2, 1.0), (seat + 0.05, 0.2, 1.0))
    p.loft([ring((0, y, z), r, long * s, count=20) for z, r, s in levels])
    p.box((-0.09, 0.02, 0), (0.09, 0.3, seat - 0.05))
    top(p, w, 0.18 + MARGIN, h)


def draw_lamp(p: Piece, w: float, d: float, h: float) -> None:
    """Foot, stem and a shade."""
    turned(p, w, d, [(0, 0.5), (0.04, 0.45), (0.05, 0.15), (0.65 * h, 0.15)], pick_color(p.rng, METAL, BLACK, WOOD))
    turned(p, w, d, [(0.55 * h, 1.0), (h, p.rng.uniform(0.5, 0.9))])


def draw_plant(p: Piece, w: float, d: float, h: float) -> None:
    """Pot, stem and leaves."""
    u, pot = p.rng.uniform, 0.25 * h
    turned(p, 0.6 * w, 0.6 * d, [(0, 0.7), (pot, 1.0)], pick_color(p.rng, WOOD, WHITE, GREY, VIVID))
    p.beam((0, 0.3 * d, pot), (0, 0.5 * d, 0.8 * h), 0.04, WOOD[2])
    for _ in range(int(p.rng.integers(6, 11))):
        r, angle, z = u(0.15, 0.25) * w, u(0, 2 * np.pi), u(0.35, 0.8) * h
        x, y = 0.25 * w * np.cos(angle), d / 2 + 0.25 * d * np.sin(angle)
        levels = ((0.0, 0.4), (0.35, 1.0), (0.7, 0.8), (1.0, 0.3))
        p.loft([ring((x, y, z + t * 0.2 * h), r * s, count=8) for t, s in levels], pick_color(p.rng, LEAF))


def draw_faucet(p: Piece, w: float, d: float, h: float) -> None:
    """A pipe that rises and bends forward."""
    p.beam((0, 0.03, 0), (0, 0.03, h - 0.02), 0.05)
    p.beam((0, 0.02, h - 0.02), (0, d - 0.03, h - 0.02), 0.05)
    turned_head = [(h - 0.12, 1.0), (h, 0.7)]
    p.loft([ring((0, d - 0.04, z), s * w / 3) for z, s in turned_head])


def draw_arms(p: Piece, w: float, d: float, h: float) -> None:
    """A foot, a stem and arms around it that end in a head each."""
    middle, count, lift = d / 2, int(p.rng.integers(3, 7)), p.rng.uniform(0.0, 0.3) * h
    p.cylinder((0, middle, 0), 0.28 * w, 0.05)
    p.cylinder((0, middle, 0.04), 0.025, h - 0.04)
    for angle in 2 * np.pi * (np.arange(count) + p.rng.random()) / count:
        x, y = 0.42 * w * np.cos(angle), 0.42 * d * np.sin(angle)
        p.beam((0, middle, 0.55 * h), (x, middle + y, 0.55 * h + lift), 0.045)
        p.loft(
            [ring((x, middle + y, 0.55 * h + lift + z), 0.04) for z in (0.0, 0.14 * h)], pick_color(p.rng, WHITE, METAL)
        )
    p.occupy((-w / 2, 0, 0), (w / 2, d, h))


def draw_figure(p: Piece, w: float, d: float, h: float) -> None:
    """Something with a body, a head and limbs, upright or seated: people, dolls, sculptures."""
    rng, legs_high = p.rng, p.rng.uniform(0.2, 0.5) * h
    body, thick = 0.8 * h - legs_high, max(0.04, 0.22 * w)
    for x in (-0.3 * w, 0.3 * w - thick):
        p.box((x, 0.25 * d, 0), (x + thick, 0.75 * d, legs_high), pick_color(rng, FABRIC, BLACK, VIVID))
    levels = ((0.0, 0.6), (0.6, 0.75), (1.0, 0.4))
    p.loft([ring((0, d / 2, legs_high + t * body), s * w / 2, s * d / 2) for t, s in levels])
    for x in (-w / 2, w / 2 - 0.8 * thick):
        p.box((x, 0.35 * d, legs_high + 0.2 * body), (x + 0.8 * thick, 0.65 * d, legs_high + 0.85 * body))
    head = [(0.8 * h, 0.3), (0.86 * h, 0.45), (0.95 * h, 0.45), (h, 0.2)]
    turned(p, w, d, head, pick_color(rng, WOOD, FABRIC, WHITE))
    p.occupy((-w / 2, 0, 0), (w / 2, d, h))


def draw_railing(p: Piece, w: float, d: float, h: float) -> None:
    """Posts under a handrail."""
    count, d = max(3, round(w / 0.2)), max(d, 0.06)
    for k in range(count):
        x = -w / 2 + k * (w - 0.05) / (count - 1)
        p.box((x, d / 2 - 0.025, 0), (x + 0.05, d / 2 + 0.025, h - 0.06))
    p.box((-w / 2, 0, h - 0.06), (w / 2, d, h))
    p.occupy((-w / 2, 0, 0), (w / 2, d, h))


def draw_ladder(p: Piece, w: float, d: float, h: float) -> None:
    """Two rails with rungs."""
    for x in (-w / 2, w / 2 - 0.05):
        p.box((x, 0, 0), (x + 0.05, d, h))
    for z in np.arange(0.25, h - 0.1, 0.28):
        p.box((-w / 2, 0.01, z), (w / 2, d - 0.01, z + 0.05))


def draw_stairs(p: Piece, w: float, d: float, h: float) -> None:
    """Solid steps that rise towards the wall."""
    count = max(3, round(h / 0.19))
    for k in range(count):
        p.box((-w / 2, 0, k * h / count), (w / 2, d * (1 - k / count), (k + 1) * h / count))


def draw_arch(p: Piece, w: float, d: float, h: float) -> None:
    """Two pillars, a mantel and a dark hollow between them."""
    side, over = 0.22 * w, 0.7 * h
    p.box((-w / 2 + side, 0, 0), (w / 2 - side, 0.1, over), pick_color(p.rng, BLACK))
    for x in (-w / 2, w / 2 - side):
        p.box((x, 0, 0), (x + side, d, over))
    p.box((-w / 2, 0, over), (w / 2, d, h))
    top(p, w, d, h)


def draw_hood(p: Piece, w: float, d: float, h: float) -> None:
    """A tapering hood under its duct."""
    p.slab((-w / 2, 0, w / 2, d), (-0.3 * w, 0, 0.3 * w, 0.5 * d), 0, 0.5 * h)
    p.box((-0.3 * w, 0, 0.5 * h), (0.3 * w, 0.5 * d, h))


def draw_piano(p: Piece, w: float, d: float, h: float) -> None:
    """An upright: case, keyboard ledge and its two supports."""
    p.box((-w / 2, 0, 0), (w / 2, 0.6 * d, h))
    p.box((-w / 2, 0.6 * d, 0.6), (w / 2, d, 0.72))
    p.box((-0.46 * w, 0.65 * d, 0.72), (0.46 * w, 0.95 * d, 0.735), WHITE[2])
    for x in (-w / 2, w / 2 - 0.08):
        p.box((x, 0.6 * d, 0), (x + 0.08, d, 0.6))
    top(p, w, 0.6 * d, h)


def draw_machine(p: Piece, w: float, d: float, h: float) -> None:
    """A base to stand on, two posts and a console."""
    p.box((-w / 2, 0, 0), (w / 2, d, 0.16), pick_color(p.rng, BLACK, GREY))
    for x in (-w / 2, w / 2 - 0.07):
        p.beam((x + 0.035, 0.2, 0.16), (x + 0.035, 0.1, h - 0.1), 0.06)
        p.box((x, 0.1, 0.7 * h), (x + 0.06, 0.5 * d, 0.7 * h + 0.05))
    p.slab((-w / 2, 0.06, w / 2, 0.2), (-w / 2, 0.0, w / 2, 0.1), h - 0.25, h)


def draw_guitar(p: Piece, w: float, d: float, h: float) -> None:
    """A body of two bulges and a neck, leaning on the wall."""
    for z, r in ((0.2 * h, 0.5), (0.4 * h, 0.38)):
        rings = [ring((0, 0, y), r * w, 0.2 * h, count=18) for y in (d - 0.12, d - 0.02)]
        p.loft([np.stack([a[:, 0], a[:, 2], z - a[:, 1]], axis=1) for a in rings])
    p.beam((0, d - 0.08, 0.5 * h), (0, 0.03, h), 0.05, WOOD[2])


def draw_car(p: Piece, w: float, d: float, h: float) -> None:
    """Body, cabin and four wheels."""
    p.box((-w / 2, 0, 0.2), (w / 2, d, 0.55 * h))
    p.slab((-0.46 * w, 0.1 * d, 0.46 * w, 0.72 * d), (-0.4 * w, 0.18 * d, 0.4 * w, 0.6 * d), 0.55 * h, h)
    for x in (-w / 2, w / 2 - 0.14):
        for y in (0.2 * d, 0.8 * d):
            p.box((x, y - 0.22, 0), (x + 0.14, y + 0.22, 0.44), BLACK[0])


FAMILIES: dict[str, Program] = SOLIDS | {
    program.__name__.removeprefix("draw_"): program
    for program in (
        draw_table, draw_stool, draw_chair, draw_sofa, draw_bed, draw_carcass, draw_counter, draw_shelf, draw_sink,
        draw_basin, draw_toilet, draw_lamp, draw_plant, draw_faucet, draw_arms, draw_figure, draw_railing, draw_ladder,
        draw_stairs, draw_arch, draw_hood, draw_piano, draw_machine, draw_guitar, draw_car,
    )
}  # fmt: skip


document_makers(__name__)
