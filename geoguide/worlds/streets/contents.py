"""What stands in a street of mini-nuScenes: one recipe for each kind of street, and how it is followed.

These are the things that nuScenes annotates (traffic, parked vehicles, people, cycles, barriers, road works), and the
lamps, signs and trees along the kerb.
"""

from dataclasses import dataclass

import numpy as np

from geoguide.worlds.shapes import Piece, PieceMaker
from geoguide.worlds.site import HALF_LENGTH, HALF_TIME, SIDEWALK_HEIGHT, PlacedInStreet, Site, centred
from geoguide.worlds.things import small_things, surroundings, vehicles

LANE, PARKING = 3.6, 2.8  # metres: width of a lane, and of the strip where vehicles park
VEHICLES: dict[str, PieceMaker] = {
    "car": vehicles.car,
    "truck": vehicles.truck,
    "bus": vehicles.bus,
    "trailer": vehicles.trailer,
    "construction": vehicles.construction_vehicle,
}
MIX = (0.913, 0.055, 0.014, 0.014, 0.004)  # share of each of VEHICLES, moving or parked
EGO_CLEAR = 7.0  # metres that traffic keeps to the middle of the car


@dataclass(frozen=True)
class Recipe:
    """What a kind of street holds.

    Attributes:
        lanes: Fewest and most lanes in each direction.
        median: Chance of a traffic island along the middle.
        fronts: Shares of buildings, lawns and lots beyond the sidewalk.
        traffic: Mean of the random space between vehicles of a lane, metres.
        parked: Share of the kerb with parked vehicles.
        people: Expected number of people or small groups.
        cycles: Expected number of bicycles, and of motorcycles.
        works: Chance of road works.
        crossing: Chance of a side road.
        must: Things that stand within sight of the car.
    """

    lanes: tuple[int, int]
    median: float
    fronts: tuple[float, float, float]
    traffic: float
    parked: float
    people: float
    cycles: float
    works: float
    crossing: float
    must: tuple[str, ...]


STREETS: dict[str, Recipe] = {
    "avenue": Recipe((2, 2), 0.8, (0.42, 0.53, 0.05), 45, 0.25, 8, 1.2, 0.1, 0.3, ("bus", "motorcycle", "barrier")),
    "crossing": Recipe((1, 2), 0.3, (0.45, 0.45, 0.1), 40, 0.2, 11, 1.5, 0.1, 1.0, ("bicycle", "truck", "island")),
    "works": Recipe((1, 2), 0.1, (0.3, 0.55, 0.15), 55, 0.15, 4, 0.5, 1.0, 0.1, ("truck", "barrier", "trailer")),
    "depot": Recipe((1, 2), 0.0, (0.15, 0.4, 0.45), 60, 0.15, 3, 0.5, 0.25, 0.2, ("trailer", "truck", "island")),
    "residential": Recipe((1, 1), 0.0, (0.25, 0.7, 0.05), 70, 0.3, 5, 1.0, 0.1, 0.3, ("bicycle", "motorcycle")),
}


@dataclass(frozen=True)
class Profile:
    """A street's cross-section, metres.

    Attributes:
        lanes: Lanes in each direction.
        island: Half the width of the island along the middle, 0 for none.
        road: Half the width of the road.
        sidewalks: Widths of the right and the left sidewalk.
    """

    lanes: int
    island: float
    road: float
    sidewalks: tuple[float, float]

    def lane(self, number: int) -> float:
        """Where a lane lies.

        Args:
            number: 0 is the lane next to the middle of the street.

        Returns:
            Distance of the lane's middle from the street's, metres.
        """
        return self.island + LANE * (number + 0.5)


def draw_profile(recipe: Recipe, rng: np.random.Generator) -> Profile:
    """Draw the cross-section of a street.

    Args:
        recipe: What kind of street it is.
        rng: Source of the numbers and widths.

    Returns:
        The cross-section.
    """
    lanes = int(rng.integers(recipe.lanes[0], recipe.lanes[1] + 1))
    island = float(rng.uniform(0.5, 1.2)) if rng.random() < recipe.median else 0.0
    first, second = rng.uniform(1.6, 3.0, 2)
    return Profile(lanes, island, island + LANE * lanes + PARKING, (float(first), float(second)))


def add_traffic(site: Site, recipe: Recipe, profile: Profile, gaps: list[tuple[float, float]]) -> tuple[float, float]:
    """Place everything that has an annotated box, and what stands along the kerb.

    Args:
        site: The street, with its ground; it is changed.
        recipe: What kind of street it is.
        profile: Its cross-section.
        gaps: (x0, x1) of the side roads, metres.

    Returns:
        y of the car's lane in metres and the car's speed in metres per second; it drives along x through x = 0.
    """
    rng = site.rng
    lane = int(rng.integers(profile.lanes))
    ego = -profile.lane(lane), float(rng.uniform(2.5, 8.0))
    reach = ego[1] * HALF_TIME + EGO_CLEAR
    site.taken.append((-reach, ego[0] - 1.3, reach, ego[0] + 1.3))
    if rng.random() < recipe.works:
        _works(site, profile)
    for name in recipe.must:
        _required(site, profile, name)
    for side in (-1, 1):
        _parked(site, recipe, profile, side, gaps)
    for side in (-1, 1):
        for number in range(profile.lanes):
            own = side < 0 and number == lane
            _lane(site, recipe, side * profile.lane(number), -side, ego[1] if own else None)
    _cycles(site, recipe, profile)
    _people(site, recipe, profile, gaps)
    _kerb(site, profile)
    return ego


def _state(speed: float) -> str:
    """The official attribute of a vehicle in traffic."""
    return "vehicle.moving" if speed else "vehicle.stopped"


def _vehicle(rng: np.random.Generator) -> Piece:
    """One of VEHICLES, drawn by MIX."""
    return centred(VEHICLES[str(rng.choice(list(VEHICLES), p=MIX))](rng))


def _lane(site: Site, recipe: Recipe, y: float, direction: int, ego_speed: float | None) -> None:
    """Place the vehicles of one lane, all at one speed so that they never meet.

    direction: 1 for vehicles that drive along x, else -1; ego_speed: speed of the car, given in its own lane.
    """
    rng = site.rng
    stands = rng.random() < 0.25
    speed = ego_speed if ego_speed is not None else 0.0 if stands else float(rng.uniform(3, 10))
    yaw, x = (0.0 if direction > 0 else np.pi), -HALF_LENGTH + rng.uniform(8, 20)
    while x < HALF_LENGTH - 10:
        cycle = rng.random() < 0.04 and speed > 0
        piece = centred(small_things.motorcycle(rng, True)) if cycle else _vehicle(rng)
        half = (piece.extent()[1] - piece.extent()[0])[0] / 2
        x += half
        item = PlacedInStreet(piece, (x, y, 0), yaw + rng.normal(0, 0.015), speed, _state(speed))
        if cycle:
            item = PlacedInStreet(piece, (x, y + rng.uniform(-0.5, 0.5), 0), yaw, speed, "cycle.with_rider")
        clear = ego_speed is None or abs(x) > half + EGO_CLEAR
        low, high = sorted((y - 1.2, y + 1.2))
        travel = speed * HALF_TIME
        if clear and (ego_speed is not None or site.free((x - half - travel, low, x + half + travel, high))):
            site.placed.append(item)  # its ground is not taken yet: the whole lane is, once all vehicles stand
        x += half + 3 + rng.exponential(recipe.traffic if not stands else 0.5 * recipe.traffic)
    site.taken.append((-HALF_LENGTH, y - 1.3, HALF_LENGTH, y + 1.3))


def _parked(site: Site, recipe: Recipe, profile: Profile, side: int, gaps: list[tuple[float, float]]) -> None:
    """Place vehicles at one kerb, none before a side road."""
    rng, x = site.rng, -HALF_LENGTH + 10
    while x < HALF_LENGTH - 10:
        piece = _vehicle(rng)
        half = (piece.extent()[1] - piece.extent()[0])[0] / 2
        x += half + rng.uniform(0.5, 2.0)
        crossing = any(low - half - 2 < x < high + half + 2 for low, high in gaps)
        if rng.random() < recipe.parked and not crossing:
            yaw = (0.0 if side < 0 else np.pi) + rng.normal(0, 0.02)
            y = side * (profile.road - PARKING / 2 + rng.uniform(0, 0.2))
            site.put(PlacedInStreet(piece, (x, y, 0), yaw, 0.0, "vehicle.parked"))
        x += half


def _required(site: Site, profile: Profile, name: str) -> None:
    """Place one thing of a kind that a recipe promises, near the car, wherever it first fits."""
    rng = site.rng
    if name == "island":  # already placed, with the ground
        return
    for attempt in range(60):
        reach = 30 + attempt / 2
        x, side = rng.uniform(9, reach) * rng.choice([-1, 1]), rng.choice([-1, 1])
        y, yaw, z = side * (profile.road - PARKING / 2), 0.0 if side < 0 else np.pi, 0.0
        if name == "barrier":
            if _barriers(site, x, side * (profile.road - 0.6), int(rng.integers(4, 10))):
                return
            continue
        if name in ("bicycle", "motorcycle"):
            rider = bool(rng.random() < 0.5)
            piece, attribute = getattr(small_things, name)(rng, rider), f"cycle.with{'' if rider else 'out'}_rider"
            if not rider and name == "bicycle":
                y, z = side * (profile.road + 0.6), SIDEWALK_HEIGHT
        else:
            piece, attribute = VEHICLES[name](rng), "vehicle.parked"
        if site.put(PlacedInStreet(centred(piece), (x, y, z), yaw, 0.0, attribute)):
            return


def _cycles(site: Site, recipe: Recipe, profile: Profile) -> None:
    """Place bicycles at the edge of the lanes or leaning on the sidewalk; motorcycles parked between cars."""
    rng = site.rng
    for kind in ("bicycle", "motorcycle"):
        for _ in range(int(rng.poisson(recipe.cycles))):
            side, x, rides = rng.choice([-1, 1]), rng.uniform(-35, 35), rng.random() < 0.5
            yaw, speed = (0.0 if side < 0 else np.pi), float(rng.uniform(2, 5)) if rides else 0.0
            y, z = side * (profile.island + LANE * profile.lanes + 0.2), 0.0
            if not rides and kind == "bicycle":
                y, z, yaw = side * (profile.road + rng.uniform(0.4, 1.4)), SIDEWALK_HEIGHT, rng.normal(0, 0.2)
            elif not rides:
                y, yaw = side * (profile.road - 1.1), rng.uniform(0, 6)
            piece = centred(getattr(small_things, kind)(rng, bool(rides)))
            site.put(
                PlacedInStreet(piece, (x, y, z), yaw, speed, "cycle.with_rider" if rides else "cycle.without_rider")
            )


def _people(site: Site, recipe: Recipe, profile: Profile, gaps: list[tuple[float, float]]) -> None:
    """Place people on the sidewalks, some in groups, and crossing a side road's mouth."""
    rng = site.rng
    for _ in range(int(rng.poisson(recipe.people))):
        side = int(rng.choice([-1, 1]))
        width = profile.sidewalks[0 if side < 0 else 1]
        x, y, z = rng.uniform(-40, 40), side * (profile.road + rng.uniform(0.4, width - 0.4)), SIDEWALK_HEIGHT
        if any(low < x < high for low, high in gaps):
            z = 0.0
        speed = float(rng.uniform(0.7, 1.6)) if rng.random() < 0.65 else 0.0
        yaw = float(rng.choice([0, np.pi])) if speed else float(rng.uniform(0, 6))
        for k in range(1 + int(rng.random() < 0.25)):
            attribute = "pedestrian.moving" if speed else "pedestrian.standing"
            piece = centred(small_things.person(rng))
            site.put(PlacedInStreet(piece, (x + 0.7 * k, y + 0.2 * k, z), yaw, speed, attribute), margin=0.05)


def _barriers(site: Site, x: float, y: float, count: int) -> bool:
    """Place a row of barriers along the street from x on; says whether all of it fitted."""
    rng, row, place = site.rng, [], x
    style = rng.integers(2**32)
    for _ in range(count):
        piece = centred(small_things.barrier(np.random.default_rng(style)))  # same seed: a row's barriers are alike
        length = (piece.extent()[1] - piece.extent()[0])[1]
        row.append(PlacedInStreet(piece, (place + length / 2, y, 0), np.pi / 2 + rng.normal(0, 0.04), 0.0, ""))
        place += length + rng.uniform(0.05, 0.6)
    if not all(site.free(site.footprint(item, 0.0)) for item in row):
        return False
    return all([site.put(item, margin=0.0, check=False) for item in row])


def _works(site: Site, profile: Profile) -> None:
    """Place road works at the kerb: a machine or two behind barriers, cones before and after."""
    rng = site.rng
    for _ in range(12):
        side, x = int(rng.choice([-1, 1])), rng.uniform(9, 18) * rng.choice([-1.8, 1])
        if _machine(site, profile, side, x + 4):
            break
    else:
        return
    if rng.random() < 0.5:
        _machine(site, profile, side, x + 13)
    inner = side * (profile.road - PARKING)
    _barriers(site, x, inner + side * 0.1, int(rng.integers(5, 8)))
    for step in range(int(rng.integers(5, 11))):
        away = -1.2 * step - 1 if step % 2 else 14 + 1.2 * step
        place = x + away, inner + side * rng.uniform(0.2, 0.5), 0.0
        cone = centred(small_things.traffic_cone(rng))
        site.put(PlacedInStreet(cone, place, rng.uniform(0, 6), 0.0, ""), margin=0)
    low, high = sorted((inner, side * profile.road))
    site.taken.append((x, low, x + 14, high))


def _machine(site: Site, profile: Profile, side: int, x: float) -> bool:
    """Place a construction vehicle just behind the line of barriers, partly on the sidewalk; says whether it fitted."""
    piece = centred(vehicles.construction_vehicle(site.rng))
    half = (piece.extent()[1] - piece.extent()[0])[1] / 2
    y = side * (profile.road - PARKING + 0.55 + half)
    yaw = site.rng.choice([0, np.pi])
    return site.put(PlacedInStreet(piece, (x, y, 0.0), yaw, 0.0, "vehicle.stopped"), margin=0)


def _kerb(site: Site, profile: Profile) -> None:
    """Place lamps, signs, shelters, trees, single cones and more barriers along both sidewalks."""
    rng = site.rng
    for side, width in zip((-1, 1), profile.sidewalks, strict=True):
        tree_row = rng.random() < 0.45
        for x in np.arange(-60, 60, rng.uniform(8, 14)) + rng.uniform(0, 8):
            kind = rng.random()
            y, yaw = side * (profile.road + 0.5), 0.0 if side > 0 else np.pi
            if kind < 0.55:
                piece = surroundings.tree(rng) if tree_row else surroundings.pole(rng)
            elif kind < 0.85:
                piece = surroundings.pole(rng)
            else:
                piece, y = surroundings.kiosk(rng), side * (profile.road + width - 0.9)
            z = SIDEWALK_HEIGHT
            if kind < 0.55 and tree_row:  # its trunk takes the ground, not its crown
                small = (x - 0.3, y - 0.3, x + 0.3, y + 0.3)
                if site.free(small):
                    site.placed.append(PlacedInStreet(piece, (x, y, z), rng.uniform(0, 6)))
                    site.taken.append(small)
                continue
            site.put(PlacedInStreet(piece, (x, y, z), yaw), margin=0)
        if rng.random() < 0.45:
            _barriers(site, rng.uniform(-30, 20), side * (profile.road - 0.5), int(rng.integers(3, 11)))
        for _ in range(int(rng.poisson(0.8))):
            place = rng.uniform(-30, 30), side * (profile.road - rng.uniform(0.3, 2.0)), 0.0
            site.put(PlacedInStreet(centred(small_things.traffic_cone(rng)), place, 0.0, 0.0, ""), margin=0)
