"""Makers of small things on tops or on the floor; most are void in the 20-class benchmark, as in ScanNet.

`rng` is the source of every size and colour; each maker returns a new piece in the frame of `shapes`, metres. A
`category` is the raw name of the object.
"""

import numpy as np

from geoguide.worlds.palette import BLACK, FABRIC, GREY, LEAF, METAL, VIVID, WHITE, WOOD, Color, darker, pick_color
from geoguide.worlds.shapes import Piece, PieceMaker, document_makers, ring


def _turned(
    p: Piece, y: float, profile: list[tuple[float, float]], color: Color | None = None, count: int = 12
) -> None:
    """Add a solid of revolution about (0, y) from its (z, radius) profile."""
    p.loft([ring((0, y, z), r, count=count) for z, r in profile], color)


def monitor(rng: np.random.Generator) -> Piece:
    """A computer's screen on its foot."""
    p, w = Piece(rng).start("monitor", pick_color(rng, BLACK, GREY)), rng.uniform(0.45, 0.65)
    h = 0.6 * w
    p.box((-0.13, 0, 0), (0.13, 0.2, 0.02))
    p.box((-0.03, 0.06, 0.02), (0.03, 0.1, 0.15))
    p.slab((-w / 2, 0.09, w / 2, 0.14), (-w / 2, 0.07, w / 2, 0.12), 0.1, 0.1 + h)
    return p


def keyboard(rng: np.random.Generator) -> Piece:
    """A keyboard."""
    p = Piece(rng).start("keyboard", pick_color(rng, BLACK, WHITE))
    p.box((-0.22, 0, 0), (0.22, 0.15, 0.03))
    return p


def laptop(rng: np.random.Generator) -> Piece:
    """An open laptop."""
    p = Piece(rng).start("laptop", pick_color(rng, METAL, BLACK))
    p.box((-0.17, 0.05, 0), (0.17, 0.29, 0.025))
    p.slab((-0.17, 0.03, 0.17, 0.06), (-0.17, -0.05, 0.17, -0.02), 0.02, 0.25, BLACK[0])
    return p


def book_pile(rng: np.random.Generator) -> Piece:
    """A few books lying on one another, each a little askew."""
    p = Piece(rng).start("book", pick_color(rng, VIVID))
    z = 0.0
    for _ in range(int(rng.integers(1, 5))):
        w, d, t = rng.uniform(0.14, 0.2), rng.uniform(0.2, 0.27), rng.uniform(0.02, 0.05)
        x = rng.uniform(-0.02, 0.02)
        p.box((x - w / 2, 0, z), (x + w / 2, d, z + t), pick_color(rng, VIVID, WOOD))
        z += t
    return p


def upright_books(rng: np.random.Generator) -> Piece:
    """Some books that stand side by side."""
    p = Piece(rng).start("books", pick_color(rng, VIVID))
    x = -0.15
    while x < 0.12:
        t = rng.uniform(0.03, 0.06)
        p.box((x, 0, 0), (x + t, 0.16, rng.uniform(0.19, 0.27)), pick_color(rng, VIVID, WOOD))
        x += t
    return p


def bottle(rng: np.random.Generator) -> Piece:
    """A bottle with a neck."""
    p, r, h = Piece(rng), rng.uniform(0.035, 0.05), rng.uniform(0.2, 0.32)
    p.start("bottle", pick_color(rng, VIVID, LEAF, WHITE))
    _turned(p, r, [(0, r), (0.6 * h, r), (0.75 * h, 0.5 * r), (h, 0.45 * r)])
    return p


def cup(rng: np.random.Generator) -> Piece:
    """A hollow cup."""
    p, r, h = Piece(rng), rng.uniform(0.04, 0.05), rng.uniform(0.08, 0.12)
    p.start("cup", pick_color(rng, WHITE, VIVID))
    _turned(p, r, [(0, 0.8 * r), (h, r), (h, 0.75 * r), (0.3 * h, 0.6 * r)])
    return p


def bowl(rng: np.random.Generator) -> Piece:
    """A hollow bowl."""
    p, r = Piece(rng), rng.uniform(0.09, 0.15)
    p.start("bowl", pick_color(rng, WHITE, VIVID, WOOD))
    _turned(p, r, [(0, 0.5 * r), (0.09, r), (0.09, 0.85 * r), (0.04, 0.5 * r)], count=16)
    return p


def box(rng: np.random.Generator, low: float = 0.12, high: float = 0.35) -> Piece:
    """A plain box; width and depth lie between `low` and `high`.

    Args:
        rng: Draws its sizes and colours.
        low: The least width and depth, metres.
        high: The largest, metres.

    Returns:
        A new piece, in its own frame.
    """
    p, u = Piece(rng).start("box", pick_color(rng, WOOD, WHITE, VIVID)), rng.uniform
    w, d, h = u(low, high), u(low, high), u(low * 0.6, high * 0.8)
    p.box((-w / 2, 0, 0), (w / 2, d, h))
    return p


def plant(rng: np.random.Generator, size: float = 1.0) -> Piece:
    """A plant with pot, stem and leaves.

    Args:
        rng: Draws its sizes and colours.
        size: 1 stands on a table, 2 to 4 on the floor.

    Returns:
        A new piece, in its own frame.
    """
    p, u = Piece(rng), rng.uniform
    r, h = 0.08 * size**0.6, 0.13 * size**0.6
    p.start("plant", pick_color(rng, LEAF))
    _turned(p, r, [(0, 0.7 * r), (h, r)], pick_color(rng, WOOD, WHITE, GREY, VIVID))
    _turned(p, r, [(h, 0.022), (h + 0.24 * size, 0.022)], WOOD[2])
    for _ in range(int(rng.integers(5, 11))):
        angle, reach, lift = u(0, 2 * np.pi), u(0.3, 1.2) * r, h + u(0.04, 0.26) * size
        x, y, s = reach * np.cos(angle), r + reach * np.sin(angle), u(0.5, 1.0) * r + 0.03
        levels = ((0.0, 0.3), (0.35, 1.0), (0.7, 0.8), (1.0, 0.2))
        p.loft([ring((x, y, lift + t * 1.2 * s), s * k, count=8) for t, k in levels], pick_color(rng, LEAF))
    return p


def lamp(rng: np.random.Generator, category: str = "lamp", height: float = 0.45) -> Piece:
    """A lamp of about the given height, a table lamp or (above 1 m) a floor lamp: foot, stem and shade.

    Args:
        rng: Draws its sizes and colours.
        category: Its category, one of the benchmark's names.
        height: About its height, metres; above 1 it is a floor lamp.

    Returns:
        A new piece, in its own frame.
    """
    p, u = Piece(rng), rng.uniform
    h, r = height * u(0.85, 1.15), u(0.11, 0.2)
    p.start(category, pick_color(rng, WHITE, FABRIC))
    stem = pick_color(rng, METAL, BLACK, WOOD, WHITE)
    _turned(p, r, [(0, 0.1), (0.03, 0.09), (0.04, 0.022), (h - 0.15, 0.022)], stem)
    _turned(p, r, [(h - 0.22, r), (h, r * u(0.55, 0.9))], count=16)
    return p


def desk_lamp(rng: np.random.Generator) -> Piece:
    """A desk lamp: foot, two arms and a shade."""
    p, color = Piece(rng), pick_color(rng, BLACK, METAL, VIVID, WHITE)
    p.start("desk lamp", color)
    _turned(p, 0.09, [(0, 0.09), (0.03, 0.08)])
    p.beam((0, 0.09, 0.03), (0, 0.02, 0.3), 0.04)
    p.beam((0, 0.02, 0.3), (0, 0.2, 0.45), 0.04)
    _turned(p, 0.22, [(0.36, 0.08), (0.46, 0.04)])
    return p


def bin_(rng: np.random.Generator, category: str = "trash can") -> Piece:
    """A bin, round or square, that widens upwards and is open."""
    p, r, h = Piece(rng), rng.uniform(0.12, 0.19), rng.uniform(0.28, 0.6)
    color = pick_color(rng, GREY, BLACK, METAL, WHITE) if category == "trash can" else pick_color(rng, VIVID)
    p.start(category, color)
    power = 2.0 if rng.random() < 0.6 else 8.0
    rings = [(0, 0.8, 0.8), (h, 1.0, 1.0), (h, 0.82, 0.82), (0.3 * h, 0.7, 0.7)]
    p.loft([ring((0, r, z), r * a, r * b, power=power, count=16) for z, a, b in rings])
    return p


def simple_box(category: str, size: tuple[float, float, float], *palettes: tuple[Color, ...]) -> PieceMaker:
    """A maker of boxes of about `size` with a darker face: printers, microwaves, telephones, suitcases and so on.

    Args:
        category: The category of what it makes.
        size: About the width, depth and height, metres.
        *palettes: The palettes that a colour is picked from.

    Returns:
        The maker.
    """

    def make(rng: np.random.Generator) -> Piece:
        """A box with a darker face."""
        p = Piece(rng)
        w, d, h = (s * rng.uniform(0.88, 1.12) for s in size)
        color = pick_color(rng, *palettes)
        p.start(category, color)
        p.box((-w / 2, 0, 0), (w / 2, d, h))
        p.box((-0.42 * w, d, 0.12 * h), (0.25 * w, d + 0.01, 0.85 * h), darker(color, 0.6))
        return p

    return make


def backpack(rng: np.random.Generator, category: str = "backpack") -> Piece:
    """A backpack with its pocket, or a bag."""
    p, color = Piece(rng), pick_color(rng, FABRIC, BLACK, VIVID)
    p.start(category, color)
    w, d, h = rng.uniform(0.28, 0.36), rng.uniform(0.16, 0.24), rng.uniform(0.36, 0.5)
    levels = ((0.0, 0.9), (0.2, 1.0), (0.7, 0.95), (1.0, 0.55))
    p.loft([ring((0, d / 2, t * h), w / 2 * s, d / 2 * s, power=4, count=16) for t, s in levels])
    p.box((-w * 0.35, d * 0.9, 0.05), (w * 0.35, d + 0.06, h * 0.45), darker(color, 0.85))
    return p


def shoes(rng: np.random.Generator) -> Piece:
    """A pair of shoes."""
    p = Piece(rng).start("shoes", pick_color(rng, BLACK, FABRIC, WHITE))
    for x in (-0.07, 0.07):
        p.loft([ring((x, 0.14, z), 0.05, y, power=3) for z, y in ((0, 0.14), (0.05, 0.14))])
        p.loft([ring((x, 0.07, z), 0.045, y, power=3) for z, y in ((0.05, 0.07), (0.1, 0.06))])
    return p


def toilet_paper(rng: np.random.Generator) -> Piece:
    """A roll of toilet paper."""
    p = Piece(rng).start("toilet paper", pick_color(rng, WHITE))
    p.cylinder((0, 0.06, 0), 0.06, 0.11)
    return p


printer = simple_box("printer", (0.42, 0.36, 0.25), WHITE, GREY, BLACK)
microwave = simple_box("microwave", (0.48, 0.34, 0.27), WHITE, METAL, BLACK)
coffee_maker = simple_box("coffee maker", (0.2, 0.24, 0.33), BLACK, METAL, VIVID)
computer_tower = simple_box("computer tower", (0.19, 0.42, 0.42), BLACK, GREY)
telephone = simple_box("telephone", (0.18, 0.2, 0.07), BLACK, GREY)
suitcase = simple_box("suitcase", (0.42, 0.24, 0.62), BLACK, FABRIC, VIVID)
soap_dispenser = simple_box("soap dispenser", (0.07, 0.07, 0.16), WHITE, VIVID)
laundry_basket = simple_box("laundry basket", (0.42, 0.34, 0.55), WHITE, WOOD, FABRIC)
DESK_THINGS: tuple[PieceMaker, ...] = (
    monitor,
    keyboard,
    laptop,
    book_pile,
    upright_books,
    cup,
    bottle,
    desk_lamp,
    telephone,
    box,
    printer,
    plant,
)
TABLE_THINGS: tuple[PieceMaker, ...] = (cup, bowl, bottle, plant, book_pile, box, laptop)
KITCHEN_THINGS: tuple[PieceMaker, ...] = (microwave, coffee_maker, bottle, cup, bowl, box, plant)
SHELF_THINGS: tuple[PieceMaker, ...] = (upright_books, book_pile, box, plant, lamp, bottle)
BATH_THINGS: tuple[PieceMaker, ...] = (soap_dispenser, bottle, cup, toilet_paper)
FLOOR_THINGS: tuple[PieceMaker, ...] = (bin_, backpack, box, shoes, suitcase, plant)


document_makers(__name__)
