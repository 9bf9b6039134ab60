"""nuScenes' 32 lidarseg categories in their official order, and the colours of what stands in a mini street.

The palettes overlap on purpose, as in the rooms: a grey box may be a wall, a barrier or a sidewalk, a white one a
truck, a bus or a trailer, and some shades of grass, paving and asphalt are alike.
"""

from geoguide.worlds.palette import BLACK, GREY, METAL, VIVID, WHITE, Color

CATEGORIES = (  # position = the index of category.json and the value in lidarseg files
    *("noise", "animal", "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker"),
    *("human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.stroller"),
    *("human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris"),
    *("movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack"),
    *("vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction"),
    *("vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer"),
    *("vehicle.truck", "flat.driveable_surface", "flat.other", "flat.sidewalk", "flat.terrain", "static.manmade"),
    *("static.other", "static.vegetation", "vehicle.ego"),
)
NOISE = 0  # category of echoes that are no surface, and of image pixels without an object
THINGS = ("human.", "vehicle.", "movable_object.")  # how the names of categories begin that have annotated boxes

PAINT: tuple[Color, ...] = (*WHITE, *GREY, *BLACK, *METAL, *VIVID)
CARGO: tuple[Color, ...] = (
    *WHITE, *WHITE, (70, 90, 120), (150, 60, 50), (60, 110, 80), (190, 160, 60), (140, 142, 146),
)  # fmt: skip
WARNING: tuple[Color, ...] = ((230, 120, 35), (225, 170, 40), (215, 95, 40))
CONCRETE: tuple[Color, ...] = ((165, 162, 155), (145, 143, 138), (185, 180, 170), (125, 123, 120))
PLASTIC: tuple[Color, ...] = ((210, 75, 50), (230, 225, 220), (230, 130, 40))
FACADE: tuple[Color, ...] = (
    (170, 110, 85), (200, 190, 170), (150, 145, 140), (215, 205, 190), (120, 95, 80), (185, 175, 160), (95, 100, 110),
)  # fmt: skip
CLOTHES: tuple[Color, ...] = (
    (45, 50, 70), (60, 58, 58), (120, 40, 45), (150, 145, 140), (70, 95, 70), (200, 195, 190), (90, 75, 60),
)  # fmt: skip
SKIN: tuple[Color, ...] = ((200, 160, 135), (150, 110, 85), (95, 70, 55))
CROWN: tuple[Color, ...] = ((70, 100, 50), (90, 115, 60), (55, 80, 45), (120, 110, 60), (80, 90, 65))
BARK: tuple[Color, ...] = ((95, 80, 65), (75, 65, 55), (120, 105, 90))
ASPHALT: tuple[Color, ...] = ((88, 88, 90), (105, 104, 102), (75, 76, 80))
PAVING: tuple[Color, ...] = ((150, 146, 140), (165, 158, 148), (125, 122, 120), (150, 120, 105))
GRASS: tuple[Color, ...] = ((95, 115, 65), (120, 115, 75), (135, 115, 85), (80, 100, 60))
DARK_GLASS: tuple[Color, ...] = ((55, 65, 75), (85, 100, 115), (40, 45, 50))
TYRE: Color = (35, 35, 36)
