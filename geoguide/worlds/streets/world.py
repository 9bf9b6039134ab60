"""The world of mini-nuScenes: `generate_street(seed, kind)` draws one furnished street with its traffic.

A street is ground with sidewalks, islands and what lines it (buildings, lawns, lots), and what nuScenes annotates in it
(`contents`): traffic, parked vehicles, people and so on, each object a mesh of its own, so that it can move.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geoguide.errors import InputError
from geoguide.worlds.palette import Color
from geoguide.worlds.shapes import ObjectParts, Rectangle
from geoguide.worlds.site import GROUND_DEPTH, HALF_LENGTH, SIDEWALK_HEIGHT, PlacedInStreet, Site
from geoguide.worlds.streets.contents import STREETS, Profile, Recipe, add_traffic, draw_profile
from geoguide.worlds.things import ground, surroundings
from geoguide.worlds.things.categories import THINGS


@dataclass(frozen=True, eq=False)
class Mesh:
    """Coloured triangles.

    Attributes:
        vertices: float64 [N, 3] metres.
        faces: int64 [F, 3], rows of `vertices`.
        color: uint8 [F, 3].
    """

    vertices: np.ndarray
    faces: np.ndarray
    color: np.ndarray


@dataclass(frozen=True, eq=False)
class StreetObject:
    """One object of a street.

    Attributes:
        category: Its official category.
        color: Its base colour.
        mesh: Its surface, in its own frame (x forward, z up).
        start: Origin of that frame at time 0, float64 [3] metres.
        yaw: Its heading, radians.
        speed: Its speed along the heading, metres per second.
        size: (width, length, height) in metres of the upright box that nuScenes annotates, whose centre lies over the
            origin; None for what has no box (ground, buildings, plants).
        attribute: Its official attribute, "" for none.
    """

    category: str
    color: Color
    mesh: Mesh
    start: np.ndarray
    yaw: float
    speed: float
    size: tuple[float, float, float] | None
    attribute: str

    def pose(self, time: float) -> np.ndarray:
        """Where the object is at a time.

        Args:
            time: Seconds.

        Returns:
            Object to street, float64 [4, 4].
        """
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        pose = np.eye(4)
        pose[:2, :2] = [[cos, -sin], [sin, cos]]
        pose[:3, 3] = self.start + self.speed * time * np.array([cos, sin, 0.0])
        return pose


@dataclass(frozen=True, eq=False)
class Street:
    """A street: x along it, y to the left, z up, metres; the car passes x = 0 at time 0.

    Attributes:
        seed: What it was drawn from.
        kind: What kind of street it is, one of `STREETS`.
        objects: All its O objects, the ground among them.
        lane: y of the car's lane.
        speed: The car's speed, metres per second.
        sway: How the car sways, float64 [4]: amplitude in metres, phase, pitch and roll in radians.
        origin: Street to global frame, float64 [4, 4]; the two lie some kilometres apart, as on a city's map.
    """

    seed: int
    kind: str
    objects: tuple[StreetObject, ...]
    lane: float
    speed: float
    sway: np.ndarray
    origin: np.ndarray

    def ego_pose(self, time: float) -> np.ndarray:
        """Where the car is at a time: it sways in its lane, pitches and rolls.

        Args:
            time: Seconds.

        Returns:
            The car's frame (rear axle, on the ground) to the street, float64 [4, 4].
        """
        amplitude, phase, pitch, roll = self.sway
        angle = 0.8 * time + phase
        x, y = self.speed * time, self.lane + amplitude * np.sin(angle)
        yaw = np.arctan2(0.8 * amplitude * np.cos(angle), self.speed)
        pose = np.eye(4)
        pose[:3, :3] = _turn(2, yaw) @ _turn(1, pitch * np.sin(2 * angle)) @ _turn(0, roll * np.cos(1.6 * angle))
        pose[:3, 3] = x, y, 0.0
        return pose


def generate_street(seed: int, kind: str) -> Street:
    """Draw a furnished street that depends on nothing but the arguments.

    Args:
        seed: Any integer >= 0.
        kind: One of `STREETS`.

    Returns:
        The street.

    Raises:
        InputError: Other arguments.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed must be an integer >= 0, found {seed!r}")
    if kind not in STREETS:
        raise InputError(f"kind must be one of {', '.join(STREETS)}, found {kind!r}")
    rng = np.random.default_rng([int(seed), 1 + list(STREETS).index(kind)])
    recipe, site = STREETS[kind], Site(rng)
    profile = draw_profile(recipe, rng)
    gaps = _build_ground(site, recipe, profile)
    lane, speed = add_traffic(site, recipe, profile, gaps)
    origin = np.eye(4)
    origin[:3, :3] = _turn(2, rng.uniform(-np.pi, np.pi))
    origin[:2, 3] = rng.uniform(400, 2000, 2)
    sway = np.array([rng.uniform(0.02, 0.2), rng.uniform(0, 6), np.deg2rad(0.4), np.deg2rad(0.3)])
    objects = tuple(_object(placed, item) for placed in site.placed for item in placed.piece.items)
    return Street(int(seed), kind, objects, lane, speed, sway, origin)


def _turn(axis: int, angle: float) -> np.ndarray:
    """Rotation [3, 3] by `angle` [rad] about one of the axes."""
    matrix, (a, b) = np.eye(3), [(1, 2), (2, 0), (0, 1)][axis]
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def _object(placed: PlacedInStreet, item: ObjectParts) -> StreetObject:
    """One object of a placed piece; a thing's box is that around its mesh."""
    mesh = Mesh(np.concatenate(item.vertices), np.concatenate(item.faces).astype(np.int64), np.concatenate(item.colors))
    size = None
    if item.category.startswith(THINGS):
        length, width, height = (float(side) for side in np.ptp(mesh.vertices, axis=0))
        size = width, length, height
    start = np.array(placed.xyz, dtype=np.float64)
    return StreetObject(
        item.category, item.color, mesh, start, float(placed.yaw), float(placed.speed), size, placed.attribute or ""
    )


def _build_ground(site: Site, recipe: Recipe, profile: Profile) -> list[tuple[float, float]]:
    """Place road, sidewalks, islands and fronts; returns the gaps (x0, x1) that side roads cut."""
    rng = site.rng
    site.placed.append(PlacedInStreet(ground.road(rng), (0, 0, 0)))
    gaps = []
    if rng.random() < recipe.crossing:
        middle, half = rng.uniform(12, 26) * rng.choice([-1, 1]), rng.uniform(4, 7)
        gaps = [(middle - half, middle + half)]
    for x0, x1 in _spans(gaps) if profile.island else ():
        _island(site, (x0 + 2, -profile.island, x1 - 2, profile.island))
    if "island" in recipe.must:  # a refuge at the kerb
        x = rng.uniform(5, 14) * rng.choice([-1, 1])
        y = (profile.road - 1.6) * rng.choice([-1, 1])
        _island(site, (x - 5, y - 1.0, x + 5, y + 1.0))
    for side, width in zip((-1, 1), profile.sidewalks, strict=True):
        y0, y1 = sorted((side * profile.road, side * (profile.road + width)))
        for x0, x1 in _spans(gaps):
            sidewalk = ground.pavement(rng, ground.SIDEWALK, (x0, y0, x1, y1), SIDEWALK_HEIGHT)
            site.placed.append(PlacedInStreet(sidewalk, (0, 0, 0)))
            _fronts(site, recipe, side, profile.road + width, (x0, x1))
    return gaps


def _spans(gaps: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The parts of the street's length outside the gaps."""
    start = -HALF_LENGTH
    for low, high in [*sorted(gaps), (HALF_LENGTH, HALF_LENGTH)]:
        if low > start:
            yield start, low
        start = max(start, high)


def _island(site: Site, rectangle: Rectangle) -> None:
    """Place a traffic island: as high as a sidewalk and paved alike, with a sign, a bush or a tree on it."""
    rng, (x0, y0, x1, y1) = site.rng, rectangle
    if x1 - x0 < 2:
        return
    height = rng.uniform(0.1, 0.18)
    site.placed.append(PlacedInStreet(ground.pavement(rng, ground.FLAT_OTHER, rectangle, height), (0, 0, 0)))
    for x in np.arange(x0 + 2, x1 - 2, 9.0):
        if rng.random() < 0.5:
            piece = surroundings.pole(rng) if rng.random() < 0.5 else surroundings.bush(rng, 1.5)
            site.put(PlacedInStreet(piece, (x + rng.uniform(-2, 2), (y0 + y1) / 2, height)), margin=0)
    site.taken.append(rectangle)


def _fronts(site: Site, recipe: Recipe, side: int, edge: float, span: tuple[float, float]) -> None:
    """Place what begins at `edge` metres beside the middle of the street, plot by plot."""
    rng, x = site.rng, span[0]
    while x < span[1] - 1:
        end = x + rng.uniform(12, 26)
        end = span[1] if end > span[1] - 9 else end
        kind = rng.choice(3, p=recipe.fronts)
        (_building, _lawn, _lot)[kind](site, side, edge, (x, end))
        x = end


def _facing(side: int) -> float:
    """Heading that turns a piece's y axis away from the street."""
    return 0.0 if side > 0 else np.pi


def _plot(site: Site, side: int, edge: float, span: tuple[float, float], slope: float) -> None:
    """Place the ground of a plot, from `edge` metres beside the middle of the street on."""
    y0, y1 = sorted((side * edge, side * GROUND_DEPTH))
    piece = ground.lawn(site.rng, (span[0], y0, span[1], y1), site.rng.uniform(0.08, 0.2), slope)
    site.placed.append(PlacedInStreet(piece, (0, 0, 0)))


def _building(site: Site, side: int, edge: float, span: tuple[float, float]) -> None:
    """Place a plot with a building near the sidewalk, sometimes behind a hedge."""
    rng, (x0, x1) = site.rng, span
    setback = rng.choice([0.1, rng.uniform(2, 8)])
    _plot(site, side, edge, span, 0.0)
    width = (x1 - x0) * rng.uniform(0.8, 1.0)
    piece = surroundings.building(rng, width, rng.uniform(8, 14))
    site.put(PlacedInStreet(piece, ((x0 + x1) / 2, side * (edge + setback), 0), _facing(side)), check=False)
    if setback > 1.5 and rng.random() < 0.6:
        shrub = surroundings.bush(rng, 0.6 * width)
        site.put(PlacedInStreet(shrub, ((x0 + x1) / 2, side * (edge + 0.7), 0.1)), margin=0)


def _lawn(site: Site, side: int, edge: float, span: tuple[float, float]) -> None:
    """Place a plot with trees and bushes, sometimes behind a wall or a hedge."""
    rng, (x0, x1) = site.rng, span
    slope = rng.uniform(-0.005, 0.05)
    _plot(site, side, edge, span, slope)
    if rng.random() < 0.5:
        length = (x1 - x0) * rng.uniform(0.5, 0.95)
        piece = surroundings.wall(rng, length) if rng.random() < 0.5 else surroundings.bush(rng, length)
        site.put(PlacedInStreet(piece, ((x0 + x1) / 2, side * (edge + 0.8), 0.05)), margin=0)
    for _ in range(int(rng.poisson(0.5 * (x1 - x0)))):
        x, away = rng.uniform(x0 + 1, x1 - 1), rng.uniform(1.5, 18)
        piece = surroundings.tree(rng) if rng.random() < 0.65 else surroundings.bush(rng, rng.uniform(1, 4))
        site.put(PlacedInStreet(piece, (x, side * (edge + away), slope * away), rng.uniform(0, 6)), margin=-0.8)


def _lot(site: Site, side: int, edge: float, span: tuple[float, float]) -> None:
    """Place a plot that can be driven on, with a building at its back."""
    rng, (x0, x1) = site.rng, span
    back = edge + rng.uniform(16, 24)
    _plot(site, side, back, span, 0.02)
    middle = (x0 + x1) / 2
    house = surroundings.building(rng, x1 - x0 - 1, 12)
    site.put(PlacedInStreet(house, (middle, side * (back + 1), 0), _facing(side)), check=False)
    if rng.random() < 0.6:
        site.put(PlacedInStreet(surroundings.wall(rng, (x1 - x0) * 0.6), (middle, side * (edge + 0.4), 0)), margin=0)
    if rng.random() < 0.6:
        y0, y1 = sorted((side * (edge + 1.5), side * (edge + rng.uniform(3, 4.5))))
        _island(site, (x0 + 1, y0, x1 - 1, y1))
