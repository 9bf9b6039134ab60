"""The world of mini-ScanNet: `generate_room(seed, room_type)` draws one furnished room.

A room is an outline with a door and windows, the furniture of its type (`contents`) and its shell, as one mesh.
"""

import numpy as np
from scipy import ndimage

from geoguide.errors import InputError
from geoguide.worlds.interior import FurnishedRoom, floor_grid, free_floor, join
from geoguide.worlds.layout import RoomLayout
from geoguide.worlds.openings import put_door, put_window
from geoguide.worlds.placement import NoSpaceError
from geoguide.worlds.rooms.contents import RECIPES, curtain_share
from geoguide.worlds.rooms.furnisher import RoomFurnisher
from geoguide.worlds.rooms.recipe import ROOM_TYPES, RoomRecipe
from geoguide.worlds.shapes import Rectangle
from geoguide.worlds.shell import floor_kind, shell_items

# Share of each type when none is asked for, about as ScanNet's scene types are spread.
TYPE_SHARES = (0.22, 0.18, 0.13, 0.14, 0.16, 0.1, 0.07)
CAMERA_AREA = 1.2  # square metres: a room whose largest connected free floor is smaller is drawn again
ROOM_ATTEMPTS = 60  # rooms drawn at most


def generate_room(seed: int, room_type: str | None = None, recipe: RoomRecipe | None = None) -> FurnishedRoom:
    """Draw a furnished room that depends on nothing but the arguments.

    When an essential piece (the bed of a bedroom, for example) finds no place, or the furniture leaves no space for a
    camera, the room is drawn again from the same seed.

    Args:
        seed: Any integer >= 0.
        room_type: One of `ROOM_TYPES`, or None to draw one by `TYPE_SHARES`.
        recipe: How it is furnished; None for the small edition's recipe.

    Returns:
        The room.

    Raises:
        InputError: Other arguments, or no room with space for a camera in `ROOM_ATTEMPTS` attempts.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed must be an integer >= 0, found {seed!r}")
    if room_type is None:
        room_type = str(np.random.default_rng([int(seed), 0]).choice(ROOM_TYPES, p=TYPE_SHARES))
    if room_type not in ROOM_TYPES:
        raise InputError(f"room_type must be one of {', '.join(ROOM_TYPES)}, found {room_type!r}")
    for attempt in range(ROOM_ATTEMPTS):
        rng = np.random.default_rng([int(seed), 1 + ROOM_TYPES.index(room_type), attempt])
        try:
            layout = _furnish(rng, room_type, recipe or RoomRecipe())
        except NoSpaceError:
            continue
        if _camera_area(layout) >= CAMERA_AREA:
            return _assemble(rng, int(seed), room_type, layout)
    raise InputError(f"seed {seed}: no {room_type} with space for a camera in {ROOM_ATTEMPTS} attempts")


def _furnish(rng: np.random.Generator, room_type: str, recipe: RoomRecipe) -> RoomLayout:
    """An outline with door, windows and furniture."""
    if room_type == "bathroom":
        size = (rng.uniform(2.4, 3.6), rng.uniform(2.2, 3.0), rng.uniform(2.4, 2.7))
    else:
        size = (rng.uniform(3.5, 6.0), rng.uniform(3.1, 5.0), rng.uniform(2.4, 2.8))
    layout = RoomLayout(size, _notches(rng, size))
    furnisher = RoomFurnisher(layout, rng, recipe)
    put_door(furnisher)
    if room_type == "bathroom":
        if rng.random() < 0.6:
            put_window(furnisher, rng.uniform(1.2, 1.4), rng.uniform(1.9, 2.1), small=True)
    else:
        for _ in range(int(rng.integers(1, 3))):
            low, high = rng.uniform(0.75, 1.05), rng.uniform(1.95, 2.2)
            put_window(furnisher, low, high, curtain=curtain_share(room_type))
    RECIPES[room_type](furnisher)
    return layout


def _notches(rng: np.random.Generator, size: tuple[float, float, float]) -> list[Rectangle]:
    """None, one corner cut out (an L), or two on the same side (an alcove between them)."""
    x, y, _ = size
    kind = rng.choice(3, p=[0.65, 0.25, 0.1]) if min(x, y) > 3.0 else 0
    if kind == 0:
        return []
    a, b = rng.uniform(0.2, 0.38) * x, rng.uniform(0.15, 0.35) * y
    corner = (0.0, 0.0, a, b)
    if kind == 1:
        flip_x, flip_y = rng.random(2) < 0.5
        x0, x1 = (x - a, x) if flip_x else (0.0, a)
        y0, y1 = (y - b, y) if flip_y else (0.0, b)
        return [(x0, y0, x1, y1)]
    return [corner, (x - rng.uniform(0.15, 0.35) * x, 0.0, x, b)]


def _camera_area(layout: RoomLayout) -> float:
    """Area in square metres of the largest connected free part of the floor, on a 10 cm grid."""
    step = 0.1
    nx, ny = (int(np.ceil(s / step)) for s in layout.size[:2])
    free = free_floor(floor_grid((nx, ny), step), layout.solid, layout.size)  # [nx * ny]
    parts, count = ndimage.label(free.reshape(nx, ny))
    return float(np.bincount(parts.ravel())[1:].max() * step**2) if count else 0.0


def _assemble(rng: np.random.Generator, seed: int, room_type: str, layout: RoomLayout) -> FurnishedRoom:
    """The room of a layout: its shell and pieces as one mesh."""
    tiled = rng.choice([1.25, 2.0]) if room_type == "bathroom" else 0.0
    shell = shell_items(rng, layout, floor_kind(rng, room_type), float(tiled))
    return join(seed, room_type, layout, shell, layout.solid)
