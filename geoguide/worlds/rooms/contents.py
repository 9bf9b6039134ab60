"""What stands in a bedroom, a kitchen and so on: each recipe furnishes one room type, class frequencies as in ScanNet.

Rooms hold what belongs together (nightstands beside beds, chairs around tables, a sink in a counter, cabinets above it)
and leave the rare classes to their rooms: toilet, bathtub and shower curtain only in bathrooms.
"""

from functools import partial

from geoguide.worlds.placement import Furnisher
from geoguide.worlds.things import bathroom as bath
from geoguide.worlds.things import clutter, groups, seating, storage, surfaces, wall_things


def bedroom(f: Furnisher) -> None:
    bed = f.against_wall(seating.bed, front=0.4, must=True, corner=0.15)
    for side in (-1, 1):
        if f.chance(0.65):
            stand = f.beside(bed, groups.nightstand if f.chance(0.75) else groups.end_table, side)
            f.on_top(stand, (clutter.lamp, clutter.lamp, clutter.book_pile, clutter.cup), int(f.rng.integers(0, 3)))
    if f.chance(0.12):
        f.against_wall(partial(seating.bed, width=0.95), front=0.3)
    for make, share in ((groups.wardrobe, 0.5), (groups.dresser, 0.45), (storage.cabinet, 0.6)):
        if f.chance(share):
            f.on_top(f.against_wall(make, front=0.5), clutter.SHELF, int(f.rng.integers(0, 4)))
    if f.chance(0.5):
        groups.desk_place(f)
    for make, share in (
        (storage.bookshelf, 0.35),
        (seating.armchair, 0.2),
        (storage.tv_stand, 0.15),
        (groups.floor_lamp, 0.2),
    ):
        if f.chance(share):
            f.on_top(f.against_wall(make, front=0.3), clutter.SHELF, 2)
    if f.chance(0.25):
        f.facing(bed, groups.one_of(f, seating.bench, seating.ottoman), 0.05)
    if f.chance(0.3):
        f.on_wall(wall_things.mirror)
    groups.walls(f, 3)
    if f.chance(0.3):
        f.against_wall(seating.four_leg_chair)
    f.scatter((*clutter.FLOOR, groups.bag, clutter.laundry_basket), int(f.rng.integers(1, 5)))


def living_room(f: Furnisher) -> None:
    sofa = f.against_wall(seating.couch, front=0.9, must=True)
    if f.chance(0.75):
        make = groups.coffee_table
        if f.chance(0.25):
            make = partial(surfaces.oval_table, category="coffee table", width=0.85, depth=0.85, height=0.42)
        low = f.facing(sofa, make, f.rng.uniform(0.35, 0.5))
        f.on_top(low, clutter.TABLE, int(f.rng.integers(1, 4)))
    for side in (-1, 1):
        if f.chance(0.35):
            f.on_top(f.beside(sofa, groups.end_table, side), (clutter.lamp, clutter.plant, clutter.book_pile), 1)
    if f.chance(0.35):
        f.against_wall(seating.couch, front=0.3)
    for _ in range(int(f.rng.integers(0, 3))):
        f.against_wall(seating.armchair, front=0.3)
    if f.chance(0.7):
        f.against_wall(storage.tv_stand, front=0.6)
    for make, share in (
        (storage.bookshelf, 0.6),
        (storage.cabinet, 0.65),
        (groups.floor_lamp, 0.4),
        (seating.ottoman, 0.3),
    ):
        if f.chance(share):
            f.on_top(f.against_wall(make, front=0.3), clutter.SHELF, int(f.rng.integers(1, 4)))
    if f.chance(0.6):
        groups.dining(f, (2, 6))
    if f.chance(0.3):
        f.against_wall(groups.floor_plant)
    if f.chance(0.2):
        f.on_wall(storage.wall_shelf)
    groups.walls(f, 4)
    f.scatter(clutter.FLOOR, int(f.rng.integers(0, 4)))


def kitchen(f: Furnisher) -> None:
    groups.kitchen_line(f, f.rng.uniform(1.3, 2.3))
    if f.chance(0.75):
        groups.dining(f, (2, 5))
    for make, share in (
        (storage.cabinet, 0.4),
        (storage.washing_machine, 0.2),
        (clutter.bin_, 0.7),
        (groups.recycling, 0.25),
    ):
        if f.chance(share):
            f.on_top(f.against_wall(make, front=0.2), clutter.KITCHEN, int(f.rng.integers(0, 3)))
    if f.chance(0.25):
        f.on_wall(storage.wall_shelf)
    groups.walls(f, 2, 0.25)
    f.scatter((groups.big_box, groups.bag, seating.stool, clutter.plant), int(f.rng.integers(0, 3)))


def bathroom(f: Furnisher) -> None:
    if f.chance(0.7):
        f.against_wall(bath.bathtub, must=True, corner=0.8)
    f.against_wall(bath.toilet, must=True, corner=0.0)
    if f.chance(0.6):
        vanity = partial(
            surfaces.counter_run,
            width=f.rng.uniform(0.65, 1.3),
            names=("bathroom vanity", "bathroom counter"),
            sink=True,
        )
        basin = f.against_wall(vanity, front=0.5, must=True)
        f.on_top(basin, clutter.BATH, int(f.rng.integers(1, 4)))
    else:
        basin = f.against_wall(bath.free_sink, must=True)
    if f.chance(0.8):
        f.attach(basin, wall_things.mirror, 0, -0.008, jitter=0.0, twist=0.0)
    cupboard = partial(storage.cabinet, category="bathroom cabinet")
    for make, share in (
        (storage.washing_machine, 0.25),
        (cupboard, 0.3),
        (clutter.bin_, 0.7),
        (clutter.laundry_basket, 0.3),
    ):
        if f.chance(share):
            f.on_top(f.against_wall(make), clutter.BATH, int(f.rng.integers(0, 3)))
    for _ in range(int(f.rng.integers(1, 4))):
        f.on_wall(wall_things.towel)
    groups.walls(f, 1, 0.3)
    f.scatter((clutter.toilet_paper, clutter.shoes, clutter.bin_), int(f.rng.integers(0, 3)))


def office(f: Furnisher) -> None:
    groups.desk_place(f, must=True)
    for _ in range(int(f.rng.integers(0, 3))):
        groups.desk_place(f)
    makers = (
        (groups.file_cabinet, 0.6),
        (storage.bookshelf, 0.65),
        (storage.cabinet, 0.65),
        (groups.file_cabinet, 0.3),
        (storage.mini_fridge, 0.1),
    )
    for make, share in makers:
        if f.chance(share):
            f.on_top(f.against_wall(make, front=0.4), (*clutter.SHELF, clutter.printer), int(f.rng.integers(1, 4)))
    if f.chance(0.35):
        groups.dining(f, (2, 5))
    if f.chance(0.6):
        f.on_wall(wall_things.whiteboard)
    for make, share in ((clutter.bin_, 0.8), (groups.recycling, 0.3), (seating.couch, 0.12), (groups.floor_plant, 0.3)):
        if f.chance(share):
            f.against_wall(make)
    groups.walls(f, 3)
    f.scatter((*clutter.FLOOR, groups.big_box, seating.four_leg_chair, seating.office_chair), int(f.rng.integers(1, 5)))


def meeting_room(f: Furnisher) -> None:
    count = int(f.rng.integers(4, 11))
    if f.chance(0.25):
        size = f.rng.uniform(1.2, 1.5)
        round_, make = True, partial(surfaces.oval_table, category="table", width=size, depth=size, height=0.74)
    else:
        round_ = False
        make = partial(surfaces.table, category="table", width=f.rng.uniform(1.5, 2.5), depth=1.0, height=0.74)
    table = f.free(make, margin=0.45, must=True, middle=True)
    f.around(table, groups.one_of(f, seating.office_chair, seating.four_leg_chair), count, round_=round_)
    f.on_top(
        table,
        (clutter.laptop, clutter.cup, clutter.bottle, clutter.book_pile, clutter.telephone),
        int(f.rng.integers(1, 5)),
    )
    if f.chance(0.75):
        f.on_wall(wall_things.whiteboard)
    if f.chance(0.5):
        f.on_wall(wall_things.wall_television)
    run = partial(surfaces.counter_run, width=f.rng.uniform(0.9, 1.6), names=("cabinet", "counter"), sink=False)
    for make, share in (
        (storage.cabinet, 0.6),
        (run, 0.2),
        (storage.mini_fridge, 0.1),
        (clutter.bin_, 0.7),
        (groups.recycling, 0.4),
    ):
        if f.chance(share):
            f.on_top(f.against_wall(make), clutter.KITCHEN, int(f.rng.integers(0, 3)))
    for make, share in (
        (seating.office_chair, 0.4),
        (seating.four_leg_chair, 0.4),
        (groups.floor_plant, 0.3),
        (storage.bookshelf, 0.2),
    ):
        if f.chance(share):
            f.against_wall(make)
    groups.walls(f, 2)
    f.scatter((clutter.backpack, groups.big_box, groups.bag), int(f.rng.integers(0, 3)))


def studio(f: Furnisher) -> None:
    """A hotel room or studio flat: sleeping, working and a little cooking in one room."""
    bed = f.against_wall(seating.bed, front=0.4, must=True)
    stand = f.beside(bed, groups.nightstand, int(f.rng.choice([-1, 1])))
    f.on_top(stand, (clutter.lamp, clutter.telephone), 1)
    if f.chance(0.4):
        groups.kitchen_line(f, f.rng.uniform(1.0, 1.4))
    else:
        f.on_top(f.against_wall(storage.mini_fridge, front=0.4), (clutter.coffee_maker, clutter.microwave), 1)
    groups.desk_place(f)
    for make, share in (
        (storage.tv_stand, 0.5),
        (seating.armchair, 0.6),
        (groups.wardrobe, 0.5),
        (seating.couch, 0.25),
        (groups.floor_lamp, 0.4),
    ):
        if f.chance(share):
            f.against_wall(make, front=0.2)
    if f.chance(0.4):
        groups.dining(f, (1, 3))
    groups.walls(f, 3)
    f.scatter((clutter.suitcase, groups.bag, clutter.shoes, clutter.bin_), int(f.rng.integers(1, 4)))


RECIPES = {
    "bedroom": bedroom, "living room": living_room, "kitchen": kitchen, "bathroom": bathroom, "office": office,
    "meeting room": meeting_room, "studio": studio,
}  # fmt: skip


def curtain_share(room_type: str) -> float:
    """How often a window has curtains."""
    return {"bedroom": 0.85, "living room": 0.75, "studio": 0.85}.get(room_type, 0.25)
