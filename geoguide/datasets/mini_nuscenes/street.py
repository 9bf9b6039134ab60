"""Deterministic streets, the world behind mini-nuScenes: `generate_street(seed, kind) -> Street`."""

from dataclasses import dataclass

import numpy as np

from geoguide.datasets.mini.palette import Color
from geoguide.datasets.mini.shapes import Item
from geoguide.datasets.mini_nuscenes.categories import THINGS
from geoguide.datasets.mini_nuscenes.ground import build_ground
from geoguide.datasets.mini_nuscenes.recipes import STREETS, draw_profile
from geoguide.datasets.mini_nuscenes.site import Placed, Site
from geoguide.datasets.mini_nuscenes.traffic import add_traffic
from geoguide.errors import InputError

__all__ = ["STREETS", "Mesh", "Street", "StreetObject", "generate_street"]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Coloured triangles: vertices float64 [V, 3] metres, faces int64 [F, 3], color uint8 [F, 3]."""

    vertices: np.ndarray
    faces: np.ndarray
    color: np.ndarray


@dataclass(frozen=True, eq=False)
class StreetObject:
    """One object: its official category, its mesh, and where it is.

    The mesh lies in the object's own frame (x forward, z up); start [3] is that frame's origin at time 0, yaw its
    heading [rad], speed [m/s] along the heading. size: (width, length, height) of the upright box that nuScenes
    annotates, whose centre lies over the origin; None for what has no box (ground, buildings, plants). attribute: its
    official attribute, "" for none.
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
        """Object to street [4, 4] at a time in seconds."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        pose = np.eye(4)
        pose[:2, :2] = [[cos, -sin], [sin, cos]]
        pose[:3, 3] = self.start + self.speed * time * np.array([cos, sin, 0.0])
        return pose


@dataclass(frozen=True, eq=False)
class Street:
    """A street: x along it, y to the left, z up, metres; the car passes x = 0 at time 0.

    `origin` [4, 4] maps the street to the global frame, some kilometres off, as a city's map is.
    """

    seed: int
    kind: str
    objects: tuple[StreetObject, ...]
    lane: float
    speed: float
    sway: np.ndarray
    origin: np.ndarray

    def ego_pose(self, time: float) -> np.ndarray:
        """The car's frame (rear axle, on the ground) to the street [4, 4]: it sways in its lane, pitches and rolls."""
        amplitude, phase, pitch, roll = self.sway
        angle = 0.8 * time + phase
        x, y = self.speed * time, self.lane + amplitude * np.sin(angle)
        yaw = np.arctan2(0.8 * amplitude * np.cos(angle), self.speed)
        pose = np.eye(4)
        pose[:3, :3] = _turn(2, yaw) @ _turn(1, pitch * np.sin(2 * angle)) @ _turn(0, roll * np.cos(1.6 * angle))
        pose[:3, 3] = x, y, 0.0
        return pose


def _turn(axis: int, angle: float) -> np.ndarray:
    """Rotation [3, 3] by `angle` [rad] about one of the axes."""
    matrix, (a, b) = np.eye(3), [(1, 2), (2, 0), (0, 1)][axis]
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def generate_street(seed: int, kind: str) -> Street:
    """A furnished street that depends on nothing but its arguments.

    seed: any integer >= 0; kind: one of `STREETS`. Raises `InputError` for other arguments.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed must be an integer >= 0, found {seed!r}")
    if kind not in STREETS:
        raise InputError(f"kind must be one of {', '.join(STREETS)}, found {kind!r}")
    rng = np.random.default_rng([int(seed), 1 + list(STREETS).index(kind)])
    recipe, site = STREETS[kind], Site(rng)
    profile = draw_profile(recipe, rng)
    gaps = build_ground(site, recipe, profile)
    lane, speed = add_traffic(site, recipe, profile, gaps)
    origin = np.eye(4)
    origin[:3, :3] = _turn(2, rng.uniform(-np.pi, np.pi))
    origin[:2, 3] = rng.uniform(400, 2000, 2)
    sway = np.array([rng.uniform(0.02, 0.2), rng.uniform(0, 6), np.deg2rad(0.4), np.deg2rad(0.3)])
    objects = tuple(_object(placed, item) for placed in site.placed for item in placed.piece.items)
    return Street(int(seed), kind, objects, lane, speed, sway, origin)


def _object(placed: Placed, item: Item) -> StreetObject:
    mesh = Mesh(np.concatenate(item.vertices), np.concatenate(item.faces).astype(np.int64), np.concatenate(item.colors))
    size = None
    if item.category.startswith(THINGS):
        length, width, height = (float(side) for side in np.ptp(mesh.vertices, axis=0))
        size = width, length, height
    start = np.array(placed.xyz, dtype=np.float64)
    return StreetObject(
        item.category, item.color, mesh, start, float(placed.yaw), float(placed.speed), size, placed.attribute or ""
    )
