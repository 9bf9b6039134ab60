"""What stands in a room of mini-ScanNet: one recipe for each room type, class frequencies as in ScanNet.

Rooms hold what belongs together (nightstands beside beds, chairs around tables, a sink in a counter, cabinets above it)
and leave the rare classes to their rooms: toilet, bathtub and shower curtain only in bathrooms.
"""

from collections.abc import Callable, Sequence
from functools import partial

from geoguide.worlds.placement import Furnisher, required
from geoguide.worlds.rooms.furnisher import RoomFurnisher
from geoguide.worlds.shapes import PieceMaker
from geoguide.worlds.things import bathroom as bath
from geoguide.worlds.things import clutter, groups, seating, storage, surfaces, wall_things


def _along_walls(
    f: Furnisher,
    chances: Sequence[tuple[PieceMaker, float]],
    front: float = 0.0,
    things: Sequence[PieceMaker] = (),
    count: tuple[int, int] | None = None,
) -> None:
    """Put each of some pieces against a wall at its chance, `front` metres free before it.

    count: how many of `things` are put on each piece, from the first number up to below the second; None: none.
    """
    for make, chance in chances:
        if f.chance(chance):
            placed = f.against_wall(make, front=front)
            if count:
                f.on_top(placed, things, int(f.rng.integers(*count)))


def bedroom(f: Furnisher) -> None:
    """Furnish a bedroom: a bed with nightstands, wardrobes and dressers, often a desk.

    Args:
        f: The room's furnisher.

    Raises:
        NoSpaceError: There is no place for the bed.
    """
    bed = required(f.against_wall(seating.bed, front=0.4, corner=0.15))
    for side in (-1, 1):
        if f.chance(0.65):
            stand = f.beside(bed, groups.nightstand if f.chance(0.75) else groups.end_table, side)
            f.on_top(stand, (clutter.lamp, clutter.lamp, clutter.book_pile, clutter.cup), int(f.rng.integers(0, 3)))
    if f.chance(0.12):
        f.against_wall(partial(seating.bed, width=0.95), front=0.3)
    large = ((groups.wardrobe, 0.5), (groups.dresser, 0.45), (storage.cabinet, 0.6))
    _along_walls(f, large, 0.5, clutter.SHELF_THINGS, (0, 4))
    if f.chance(0.5):
        groups.desk_place(f)
    small = ((storage.bookshelf, 0.35), (seating.armchair, 0.2), (storage.tv_stand, 0.15), (groups.floor_lamp, 0.2))
    _along_walls(f, small, 0.3, clutter.SHELF_THINGS, (2, 3))
    if f.chance(0.25):
        f.facing(bed, f.one_of((seating.bench, seating.ottoman)), 0.05)
    if f.chance(0.3):
        f.on_wall(wall_things.mirror)
    groups.walls(f, 3)
    _along_walls(f, ((seating.four_leg_chair, 0.3),))
    f.scatter((*clutter.FLOOR_THINGS, groups.bag, clutter.laundry_basket), int(f.rng.integers(1, 5)))


def living_room(f: RoomFurnisher) -> None:
    """Furnish a living room: a couch with a low table, more seats, shelves, often a television and a dining table.

    Args:
        f: The room's furnisher.

    Raises:
        NoSpaceError: There is no place for the couch.
    """
    sofa = required(f.against_wall(seating.couch, front=0.9))
    if f.chance(0.75):
        make = groups.coffee_table
        if f.chance(0.25):
            make = partial(surfaces.oval_table, category="coffee table", width=0.85, depth=0.85, height=0.42)
        low = f.facing(sofa, make, f.rng.uniform(0.35, 0.5))
        f.on_top(low, clutter.TABLE_THINGS, int(f.rng.integers(1, 4)))
    for side in (-1, 1):
        if f.chance(0.35):
            f.on_top(f.beside(sofa, groups.end_table, side), (clutter.lamp, clutter.plant, clutter.book_pile), 1)
    _along_walls(f, ((seating.couch, f.often(0.35)),), 0.3)
    for _ in range(int(f.rng.integers(0, 3))):
        f.against_wall(seating.armchair, front=0.3)
    _along_walls(f, ((storage.tv_stand, 0.7),), 0.6)
    shelves = ((storage.bookshelf, f.often(0.6)), (storage.cabinet, 0.65))
    others = (*shelves, (groups.floor_lamp, 0.4), (seating.ottoman, 0.3))
    _along_walls(f, others, 0.3, clutter.SHELF_THINGS, (1, 4))
    if f.chance(0.6):
        groups.dining(f, (2, 6))
    _along_walls(f, ((groups.floor_plant, 0.3),))
    if f.chance(0.2):
        f.on_wall(storage.wall_shelf)
    groups.walls(f, 4)
    f.scatter(clutter.FLOOR_THINGS, int(f.rng.integers(0, 4)))


def kitchen(f: Furnisher) -> None:
    """Furnish a kitchen: a counter with sink and cabinets, refrigerator and stove, often a dining table.

    Args:
        f: The room's furnisher.

    Raises:
        NoSpaceError: There is no place for the counter.
    """
    groups.kitchen_line(f, f.rng.uniform(1.3, 2.3))
    if f.chance(0.75):
        groups.dining(f, (2, 5))
    others = ((storage.cabinet, 0.4), (storage.washing_machine, 0.2), (clutter.bin_, 0.7), (groups.recycling, 0.25))
    _along_walls(f, others, 0.2, clutter.KITCHEN_THINGS, (0, 3))
    if f.chance(0.25):
        f.on_wall(storage.wall_shelf)
    groups.walls(f, 2, 0.25)
    f.scatter((groups.big_box, groups.bag, seating.stool, clutter.plant), int(f.rng.integers(0, 3)))


def bathroom(f: RoomFurnisher) -> None:
    """Furnish a bathroom: a toilet, a sink with a mirror, usually a bathtub, towels.

    Args:
        f: The room's furnisher.

    Raises:
        NoSpaceError: There is no place for the bathtub, the toilet or the sink.
    """
    if f.chance(f.often(0.7)):
        required(f.against_wall(partial(bath.bathtub, curtain=f.often(0.75)), corner=0.8))
    required(f.against_wall(bath.toilet, corner=0.0))
    if f.chance(0.6):
        names = ("bathroom vanity", "bathroom counter")
        vanity = partial(surfaces.counter_run, width=f.rng.uniform(0.65, 1.3), names=names, sink=True)
        basin = required(f.against_wall(vanity, front=0.5))
        f.on_top(basin, clutter.BATH_THINGS, int(f.rng.integers(1, 4)))
    else:
        basin = required(f.against_wall(bath.free_sink))
    if f.chance(0.8):
        f.attach(basin, wall_things.mirror, 0, -0.008, jitter=0.0, twist=0.0)
    cupboard = partial(storage.cabinet, category="bathroom cabinet")
    others = ((storage.washing_machine, 0.25), (cupboard, 0.3), (clutter.bin_, 0.7), (clutter.laundry_basket, 0.3))
    _along_walls(f, others, 0.0, clutter.BATH_THINGS, (0, 3))
    for _ in range(int(f.rng.integers(1, 4))):
        f.on_wall(wall_things.towel)
    groups.walls(f, 1, 0.3)
    f.scatter((clutter.toilet_paper, clutter.shoes, clutter.bin_), int(f.rng.integers(0, 3)))


def office(f: Furnisher) -> None:
    """Furnish an office: desks with their chairs, file cabinets, shelves, usually a whiteboard.

    Args:
        f: The room's furnisher.

    Raises:
        NoSpaceError: There is no place for the first desk.
    """
    required(groups.desk_place(f))
    for _ in range(int(f.rng.integers(0, 3))):
        groups.desk_place(f)
    cabinets = ((groups.file_cabinet, 0.6), (storage.bookshelf, 0.65), (storage.cabinet, 0.65))
    cabinets = (*cabinets, (groups.file_cabinet, 0.3), (storage.mini_fridge, 0.1))
    _along_walls(f, cabinets, 0.4, (*clutter.SHELF_THINGS, clutter.printer), (1, 4))
    if f.chance(0.35):
        groups.dining(f, (2, 5))
    if f.chance(0.6):
        f.on_wall(wall_things.whiteboard)
    others = ((clutter.bin_, 0.8), (groups.recycling, 0.3), (seating.couch, 0.12), (groups.floor_plant, 0.3))
    _along_walls(f, others)
    groups.walls(f, 3)
    f.scatter(
        (*clutter.FLOOR_THINGS, groups.big_box, seating.four_leg_chair, seating.office_chair), int(f.rng.integers(1, 5))
    )


def meeting_room(f: Furnisher) -> None:
    """Furnish a meeting room: one large table with many chairs, usually a whiteboard.

    Args:
        f: The room's furnisher.

    Raises:
        NoSpaceError: There is no place for the table.
    """
    count = int(f.rng.integers(4, 11))
    if f.chance(0.25):
        size = f.rng.uniform(1.2, 1.5)
        round_, make = True, partial(surfaces.oval_table, category="table", width=size, depth=size, height=0.74)
    else:
        round_ = False
        make = partial(
            surfaces.rectangular_table, category="table", width=f.rng.uniform(1.5, 2.5), depth=1.0, height=0.74
        )
    table = required(f.free(make, margin=0.45, middle=True))
    f.around(table, f.one_of((seating.office_chair, seating.four_leg_chair)), count, round_=round_)
    things = (clutter.laptop, clutter.cup, clutter.bottle, clutter.book_pile, clutter.telephone)
    f.on_top(table, things, int(f.rng.integers(1, 5)))
    if f.chance(0.75):
        f.on_wall(wall_things.whiteboard)
    if f.chance(0.5):
        f.on_wall(wall_things.wall_television)
    run = partial(surfaces.counter_run, width=f.rng.uniform(0.9, 1.6), names=("cabinet", "counter"), sink=False)
    others = ((storage.cabinet, 0.6), (run, 0.2), (storage.mini_fridge, 0.1), (clutter.bin_, 0.7))
    _along_walls(f, (*others, (groups.recycling, 0.4)), 0.0, clutter.KITCHEN_THINGS, (0, 3))
    seats = ((seating.office_chair, 0.4), (seating.four_leg_chair, 0.4))
    _along_walls(f, (*seats, (groups.floor_plant, 0.3), (storage.bookshelf, 0.2)))
    groups.walls(f, 2)
    f.scatter((clutter.backpack, groups.big_box, groups.bag), int(f.rng.integers(0, 3)))


def studio(f: Furnisher) -> None:
    """Furnish a hotel room or studio flat: sleeping, working and a little cooking in one room.

    Args:
        f: The room's furnisher.

    Raises:
        NoSpaceError: There is no place for the bed, or none for the counter where there is to be one.
    """
    bed = required(f.against_wall(seating.bed, front=0.4))
    stand = f.beside(bed, groups.nightstand, int(f.rng.choice([-1, 1])))
    f.on_top(stand, (clutter.lamp, clutter.telephone), 1)
    if f.chance(0.4):
        groups.kitchen_line(f, f.rng.uniform(1.0, 1.4))
    else:
        f.on_top(f.against_wall(storage.mini_fridge, front=0.4), (clutter.coffee_maker, clutter.microwave), 1)
    groups.desk_place(f)
    others = ((storage.tv_stand, 0.5), (seating.armchair, 0.6), (groups.wardrobe, 0.5), (seating.couch, 0.25))
    _along_walls(f, (*others, (groups.floor_lamp, 0.4)), 0.2)
    if f.chance(0.4):
        groups.dining(f, (1, 3))
    groups.walls(f, 3)
    f.scatter((clutter.suitcase, groups.bag, clutter.shoes, clutter.bin_), int(f.rng.integers(1, 4)))


RECIPES: dict[str, Callable[[RoomFurnisher], None]] = {
    "bedroom": bedroom, "living room": living_room, "kitchen": kitchen, "bathroom": bathroom, "office": office,
    "meeting room": meeting_room, "studio": studio,
}  # fmt: skip


def curtain_share(room_type: str) -> float:
    """How often a window has curtains.

    Args:
        room_type: One of `RECIPES`.

    Returns:
        A chance, 0 to 1.
    """
    return {"bedroom": 0.85, "living room": 0.75, "studio": 0.85}.get(room_type, 0.25)
