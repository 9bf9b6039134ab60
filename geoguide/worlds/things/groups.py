"""Makers of furniture with their usual sizes (metres), and groups of furniture that several room types share.

`f` is the furnisher of the room that a group is put into; a group returns its main piece, None where that found no
place.
"""

from functools import partial

from geoguide.worlds.layout import PlacedInRoom
from geoguide.worlds.placement import Furnisher, required
from geoguide.worlds.things import clutter, seating, storage, surfaces, wall_things

dresser = partial(
    storage.box_with_fronts, category="dresser", width=(0.8, 1.4), depth=(0.42, 0.5), height=(0.75, 1.1), grid=(2, 3),
)  # fmt: skip
nightstand = partial(
    storage.box_with_fronts, category="nightstand", width=(0.38, 0.52), depth=(0.36, 0.44), height=(0.45, 0.62),
    grid=(1, 2),
)  # fmt: skip
wardrobe = partial(
    storage.box_with_fronts, category="wardrobe closet", width=(0.9, 1.7), depth=(0.52, 0.62), height=(1.85, 2.2),
    grid=(3, 1),
)  # fmt: skip
file_cabinet = partial(
    storage.box_with_fronts, category="file cabinet", width=(0.4, 0.5), depth=(0.5, 0.62), height=(0.65, 1.35),
    grid=(1, 3),
)  # fmt: skip
end_table = partial(surfaces.rectangular_table, category="end table", width=0.5, depth=0.5, height=0.52)
coffee_table = partial(surfaces.rectangular_table, category="coffee table", width=1.05, depth=0.55, height=0.42)
floor_lamp = partial(clutter.lamp, height=1.55)
floor_plant = partial(clutter.plant, size=3.0)
recycling = partial(clutter.bin_, category="recycling bin")
bag = partial(clutter.backpack, category="bag")
big_box = partial(clutter.box, low=0.25, high=0.5)


def walls(f: Furnisher, pictures: int, radiator: float = 0.4) -> None:
    """Hang up to `pictures` pictures on the walls and, with the chance `radiator`, a radiator.

    Args:
        f: The room, and what is in it so far.
        pictures: The most pictures.
        radiator: The chance of a radiator, in 0..1.
    """
    for _ in range(int(f.rng.integers(0, pictures + 1))):
        f.on_wall(wall_things.picture)
    if f.chance(radiator):
        f.on_wall(partial(wall_things.radiator, width=f.rng.uniform(0.6, 1.3)))


def desk_place(f: Furnisher) -> PlacedInRoom | None:
    """Put up a desk with its chair, and usually a computer and more on it.

    Args:
        f: The room, and what is in it so far.

    Returns:
        The desk where it stands, or None: no place was found.
    """
    desk = f.against_wall(surfaces.desk, front=0.65)
    if desk is None:
        return None
    _, high = desk.piece.extent()
    chair = seating.office_chair if f.chance(0.65) else seating.four_leg_chair
    f.facing(desk, chair, -f.rng.uniform(0.0, 0.2), f.rng.uniform(-0.15, 0.15))
    x0, _, x1, y1, z = desk.piece.supports[-1]
    x = (x0 + x1) / 2 + f.rng.uniform(-0.15, 0.15)
    if f.chance(0.6):
        f.set_on(desk, clutter.monitor(f.rng), x, 0.06, z)
        f.set_on(desk, clutter.keyboard(f.rng), x, 0.33, z)
    elif f.chance(0.5):
        f.set_on(desk, clutter.laptop(f.rng), x, y1 - 0.35, z)
    f.on_top(desk, clutter.DESK_THINGS, int(f.rng.integers(1, 5)))
    if f.chance(0.3):
        side = (high[0] - 0.25) * f.rng.choice([-1, 1])
        f.attach(desk, clutter.computer_tower, side, 0.08, jitter=0.03, twist=0.05)
    return desk


def dining(f: Furnisher, chairs: tuple[int, int]) -> PlacedInRoom | None:
    """Put up a table with chairs around it, from `chairs[0]` to below `chairs[1]` of them.

    Args:
        f: The room, and what is in it so far.
        chairs: The fewest chairs, and one more than the most.

    Returns:
        The table where it stands, or None: no place was found.
    """
    round_ = f.chance(0.3)
    if round_:
        size = f.rng.uniform(0.9, 1.2)
        name = str(f.rng.choice(["round table", "table"]))
        make = partial(surfaces.oval_table, category=name, width=size, depth=size, height=0.74)
    else:
        name = str(f.rng.choice(["table", "dining table"]))
        make = partial(surfaces.rectangular_table, category=name, width=f.rng.uniform(0.9, 1.7), depth=0.8, height=0.74)
    table = f.free(make, margin=0.4)
    if table:
        seat = f.one_of((seating.four_leg_chair, seating.four_leg_chair, seating.stool))
        f.around(table, seat, int(f.rng.integers(*chairs)), round_=round_)
        f.on_top(table, clutter.TABLE_THINGS, int(f.rng.integers(0, 4)))
    return table


def kitchen_line(f: Furnisher, width: float) -> PlacedInRoom:
    """Put up a counter with a sink, cabinets above it, and beside it the refrigerator, the stove and more counter.

    Args:
        f: The room, and what is in it so far.
        width: Of the counter, metres.

    Returns:
        The counter where it stands.

    Raises:
        NoSpaceError: The counter finds no place.
    """
    run = partial(surfaces.counter_run, names=("kitchen cabinet", "kitchen counter"))
    line = required(f.against_wall(partial(run, width=width, sink=True), front=0.7, corner=0.3))
    f.on_top(line, clutter.KITCHEN_THINGS, int(f.rng.integers(2, 6)))
    sides = [-1, 1] if f.chance(0.5) else [1, -1]
    stove = f.beside(line, surfaces.stove, sides[0], gap=0.01) if f.chance(0.7) else None
    fridge = f.beside(line, storage.refrigerator, sides[1], gap=0.03) if f.chance(0.85) else None
    if fridge is None and f.chance(0.9):
        f.against_wall(storage.refrigerator, front=0.5)
    if f.chance(0.8):
        f.attach(line, partial(storage.wall_cabinets, width=width), 0, 0, jitter=0.0, twist=0.0)
    if stove is not None:
        f.attach(stove, surfaces.range_hood, 0, 0, jitter=0.0, twist=0.0)
    if f.chance(0.5):
        more = f.against_wall(partial(run, width=f.rng.uniform(0.6, 1.4), sink=False), front=0.6)
        f.on_top(more, clutter.KITCHEN_THINGS, int(f.rng.integers(1, 4)))
    return line
