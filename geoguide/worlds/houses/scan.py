"""Scanning a house as Matterport's tripod does: panoramas of three tilted cameras, each turned all around."""

from dataclasses import dataclass, field

import numpy as np

from geoguide.errors import ConfigError
from geoguide.worlds.camera import Frame, SensorConfig, look, pose_errors, render, smooth_noise
from geoguide.worlds.casting import RayCaster
from geoguide.worlds.houses.world import MAX_REGIONS, House
from geoguide.worlds.interior import Room
from geoguide.worlds.sight import sight

PITCHES = (32.0, 0.0, -32.0)  # degrees of cameras 0, 1, 2: up, level, down


MORE = 2  # places added to a room while an object is less in sight than it could be, up to ENOUGH


ENOUGH = 0.3  # of its sampled surface: what one image sees of an edge is not reconstructed


@dataclass(frozen=True)
class HouseConfig:
    """What the bytes of a house depend on, beside its number: seed, regions, mesh voxel [m], tripod and sensor.

    `sensor.frames` is the number of images of one panorama, a multiple of three: the official 18 are three tilts times
    six turns. The focal length is the official one for images of this width.
    """

    seed: int = 0
    regions: int = MAX_REGIONS
    voxel: float = 0.05
    panoramas: int = 2  # per region, and up to `MORE` where an object is out of sight of these
    sensor: SensorConfig = field(
        default_factory=lambda: SensorConfig(
            frames=18, image_size=(128, 160), focal=134.56, height_range=(1.4, 1.6), rotation_error=0.15
        )
    )

    def __post_init__(self) -> None:
        if self.sensor.frames < 3 or self.sensor.frames % len(PITCHES) or self.panoramas < 1:
            raise ConfigError(
                f"houses: need panoramas >= 1 and sensor.frames a multiple of {len(PITCHES)}, found {self.panoramas} "
                f"and {self.sensor.frames}"
            )


@dataclass(frozen=True, eq=False)
class Shot:
    """One image of a house: the region it was taken in, which panorama of that region, camera (tilt) and turn."""

    region: int
    panorama: int
    camera: int
    turn: int
    frame: Frame

    def name(self, kind: str) -> str:
        """Official file stem; kind is "i" (colour) or "d" (depth)."""
        return f"region{self.region}pano{self.panorama}_{kind}{self.camera}_{self.turn}"


def scan_house(house: House, seed: int, config: HouseConfig) -> list[Shot]:
    """All images, region by region; the same house, seed and config give the same images."""
    rng = np.random.default_rng(seed)
    caster = RayCaster(house.vertices, house.faces)
    shots: list[Shot] = []
    for region, (room, offset) in enumerate(zip(house.rooms, house.offsets, strict=True)):
        for panorama, place in enumerate(_places(room, config.panoramas, rng)):
            height = min(rng.uniform(*config.sensor.height_range), room.size[2] - 0.3)
            eye = np.array([*place, height]) + offset
            shots += _panorama(house, caster, region, panorama, eye, config.sensor, rng)
    return shots


def _places(room: Room, count: int, rng: np.random.Generator) -> np.ndarray:
    """Tripod positions [count or up to MORE more, 2] of the room's frame, each the one that sees most not seen yet.

    An object counts by the root of its share of sampled surface points that are in sight, so that a small thing behind
    a sofa is worth much; places beyond `count` are for what is still out of sight alone.
    """
    cells, sees, share = sight(room, rng)
    seen, chosen = np.zeros(len(share), dtype=bool), []  # [T]
    enough = np.minimum((sees @ share).max(axis=0), ENOUGH)  # [O] of each object, as far as any place sees it
    while len(chosen) < count + MORE:
        lacking = seen @ share < enough  # [O]
        if len(chosen) >= count and not lacking.any():
            break
        gained = (sees | seen) @ share  # [N, O]
        worth = np.sqrt(gained) if len(chosen) < count else np.minimum(gained, enough) * lacking
        chosen.append(int(worth.sum(axis=1).argmax()))
        seen |= sees[chosen[-1]]
    return cells[chosen]


def _panorama(
    house: House,
    caster: RayCaster,
    region: int,
    panorama: int,
    eye: np.ndarray,
    sensor: SensorConfig,
    rng: np.random.Generator,
) -> list[Shot]:
    turns, start = sensor.frames // len(PITCHES), rng.uniform(0, 2 * np.pi)
    slots = [(camera, turn) for camera in range(len(PITCHES)) for turn in range(turns)]
    poses = np.stack([look(eye, start - 2 * np.pi * t / turns, np.deg2rad(PITCHES[c])) for c, t in slots])
    recorded = poses @ pose_errors(len(poses), sensor, rng)
    gains = 1.0 + sensor.exposure_drift * smooth_noise(len(poses), 1, rng)[:, 0]
    return [
        Shot(region, panorama, *slot, render(house, caster, pose, record, gain, sensor, rng))
        for slot, pose, record, gain in zip(slots, poses, recorded, gains, strict=True)
    ]
