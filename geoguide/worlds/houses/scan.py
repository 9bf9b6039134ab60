"""The scan of mini-Matterport3D: `scan_house(house, seed, ...)` takes panoramas from a tripod in every room.

As Matterport's tripod does, a panorama is taken by three tilted RGB-D cameras, each turned all around.
"""

from dataclasses import dataclass

import numpy as np

from geoguide.worlds.camera import Frame, SensorConfig, look, pose_errors, render, smooth_noise
from geoguide.worlds.casting import RayCaster
from geoguide.worlds.holes import Holes
from geoguide.worlds.houses.world import FurnishedHouse
from geoguide.worlds.interior import FurnishedRoom
from geoguide.worlds.sight import sight

PITCHES = (32.0, 0.0, -32.0)  # degrees of cameras 0, 1, 2: up, level, down
MORE = 2  # more places in a room at most, as long as other places would show more of some object
ENOUGH = 0.3  # share of an object's surface that must be in sight: a sliver seen once is not reconstructed


@dataclass(frozen=True, eq=False)
class Shot:
    """One image of a house.

    Attributes:
        region: Number of the room it was taken in.
        panorama: Which panorama of that room.
        camera: Which camera, and so which of `PITCHES`.
        turn: Which turn of the camera.
        frame: The image.
    """

    region: int
    panorama: int
    camera: int
    turn: int
    frame: Frame

    def name(self, kind: str) -> str:
        """The official file name, without its ending.

        Args:
            kind: "i" (colour) or "d" (depth).

        Returns:
            "region0pano0_i1_2" for example.
        """
        return f"region{self.region}pano{self.panorama}_{kind}{self.camera}_{self.turn}"


def scan_house(house: FurnishedHouse, seed: int, sensor: SensorConfig, panoramas: int) -> list[Shot]:
    """Scan a house from a tripod; the same arguments give the same images.

    Args:
        house: The house.
        seed: Source of the places and of all faults.
        sensor: The cameras; `sensor.frames` is the number of images of one panorama.
        panoramas: Panoramas of each room; up to `MORE` more where these do not see every object.

    Returns:
        All images, room by room.
    """
    rng = np.random.default_rng(seed)
    caster = RayCaster(house.vertices, house.faces)
    holes = Holes.of_scan(sensor.holes, seed)
    shots: list[Shot] = []
    for region, (room, offset) in enumerate(zip(house.rooms, house.offsets, strict=True)):
        for panorama, place in enumerate(_places(room, panoramas, rng)):
            height = min(rng.uniform(*sensor.height_range), room.size[2] - 0.3)
            eye = np.array([*place, height]) + offset  # [3]
            shots += _panorama(house, caster, region, panorama, eye, sensor, rng, holes)
    return shots


def _places(room: FurnishedRoom, count: int, rng: np.random.Generator) -> np.ndarray:
    """Tripod positions [count to count + MORE, 2] in the room's frame, each chosen for what it adds to those before it.

    An object counts by the square root of the share of its surface points in sight, so that the first sight of a small
    thing behind a sofa is worth much. Places beyond `count` serve only objects of which too little is in sight yet.
    """
    cells, sees, share = sight(room, rng)  # [N, 2], [N, T], [T, O]
    seen, chosen = np.zeros(len(share), dtype=bool), []  # [T]
    enough = np.minimum((sees @ share).max(axis=0), ENOUGH)  # [O] of each object, as far as any place sees it
    while len(chosen) < count + MORE:
        lacking = seen @ share < enough  # [O]
        if len(chosen) >= count and not lacking.any():
            break
        gained = (sees | seen) @ share  # [N, O]
        worth = np.sqrt(gained) if len(chosen) < count else np.minimum(gained, enough) * lacking  # [N, O]
        chosen.append(int(worth.sum(axis=1).argmax()))
        seen |= sees[chosen[-1]]
    return cells[chosen]


def _panorama(
    house: FurnishedHouse,
    caster: RayCaster,
    region: int,
    panorama: int,
    eye: np.ndarray,
    sensor: SensorConfig,
    rng: np.random.Generator,
    holes: Holes | None,
) -> list[Shot]:
    """The images of one panorama, taken at `eye` [3] of the house's frame."""
    turns, start = sensor.frames // len(PITCHES), rng.uniform(0, 2 * np.pi)
    slots = [(camera, turn) for camera in range(len(PITCHES)) for turn in range(turns)]
    poses = np.stack([look(eye, start - 2 * np.pi * t / turns, np.deg2rad(PITCHES[c])) for c, t in slots])  # [K, 4, 4]
    recorded = poses @ pose_errors(len(poses), sensor, rng)
    gains = 1.0 + sensor.exposure_drift * smooth_noise(len(poses), 1, rng)[:, 0]  # [K]
    return [
        Shot(region, panorama, *slot, render(house, caster, pose, record, gain, sensor, rng, holes))
        for slot, pose, record, gain in zip(slots, poses, recorded, gains, strict=True)
    ]
