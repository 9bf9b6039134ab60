"""Rendered images of the training worlds, with the name of every pixel; kept on disk, never of a benchmark's world."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoguide.errors import NUMPY_DAMAGES, pass_on_shortage
from geoguide.frozen import config_hash
from geoguide.paths import data_root, replacing
from geoguide.pretraining.images.config import GapConfig, WorldsConfig
from geoguide.pretraining.images.gap import (
    PLAIN,
    SHELL,
    Look,
    Named,
    Surfaces,
    new_colors,
    photograph,
    repaint,
    specimens,
)
from geoguide.pretraining.images.names import names_of
from geoguide.pretraining.rooms import Identity
from geoguide.scene import VOID
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.car import IMAGE_SIZE, mount_sensors
from geoguide.worlds.casting import NO_OBJECT, RayCaster, pixel_rays
from geoguide.worlds.interior import FurnishedRoom
from geoguide.worlds.palette import Color
from geoguide.worlds.rooms import make as rooms
from geoguide.worlds.rooms.scan import camera_path
from geoguide.worlds.rooms.world import ROOM_TYPES, generate_room
from geoguide.worlds.streets import make as streets
from geoguide.worlds.streets.contents import STREETS
from geoguide.worlds.streets.scan import StreetCaster
from geoguide.worlds.streets.world import Street, StreetObject, generate_street

SPLITS = ("train", "val")
CATALOGUE = 40  # training worlds in which specimens are looked for
GENERATORS = {"rooms": rooms.GENERATOR, "streets": streets.GENERATOR}
HALF_DRIVE = 0.75  # seconds before and after the middle of a drive, as in mini-nuScenes
Paint = dict[str, list[Color]]


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one world.

    Attributes:
        color: uint8 [N, H, W, 3].
        name: Row of `names.names_of`, uint8 [N, H, W]; 255 for none.
        object: Number of the thing, int16 [N, H, W]; -1 for none.
    """

    color: np.ndarray
    name: np.ndarray
    object: np.ndarray

    def every(self, step: int) -> "Images":
        """Take some of the images.

        Args:
            step: One of so many, the first among them.

        Returns:
            These.
        """
        return Images(self.color[::step], self.name[::step], self.object[::step])


def identities(config: WorldsConfig, split: str) -> list[Identity]:
    """The worlds of a split.

    Args:
        config: How many.
        split: "train" or "val" (held out).

    Returns:
        (seed, split, number) of each.
    """
    count = config.train if split == "train" else config.held_out
    return [(config.seed, split, number) for number in range(count)]


def load_images(config: WorldsConfig, split: str, *, gap: bool = True, progress: bool = True) -> list[Images]:
    """Read the images of a split's worlds, rendered where they are missing; those of another generator are not read.

    Args:
        config: The worlds.
        split: "train" or "val".
        gap: False for worlds as the benchmark's: all things in all colours, in the benchmark's light.
        progress: Whether a progress bar is shown.

    Returns:
        The images of each world, in order.
    """
    folder = data_root() / f"images-{config.kind}-{config_hash(config)}-{GENERATORS[config.kind]}"
    paint: Paint | None = None
    result = []
    for world in tqdm(identities(config, split), f"{config.kind} {split}", disable=not progress):
        path = folder / f"{split}{'' if gap else '-plain'}-{world[2]:04d}.npz"
        images = _read(path)
        if images is None:
            paint = paint if paint is not None or not gap else catalogue(config)
            images = render_world(world, config, paint if gap else None)
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, color=images.color, name=images.name, object=images.object)
        result.append(images)
    return result


def _read(path: Path) -> Images | None:
    """The images in a file; None where there is none that is whole: it is then made again."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return Images(held["color"], held["name"], held["object"])
    except NUMPY_DAMAGES as error:
        pass_on_shortage(error, path)
        return None


def catalogue(config: WorldsConfig) -> Paint:
    """The specimens' colours by category.

    Args:
        config: The worlds.

    Returns:
        The first colours met in the first training worlds.
    """
    worlds = identities(config, "train")[:CATALOGUE]
    return specimens((_generate(world, config.kind).objects for world in worlds), config.gap.specimens)


def render_world(world: Identity, config: WorldsConfig, paint: Paint | None) -> Images:
    """Render the images of one world.

    Args:
        world: Which.
        config: Its kind, gap and camera.
        paint: Colours of the specimens; None for a world without the gap, unseen things included.

    Returns:
        The images.
    """
    made = _generate(world, config.kind)
    rng = np.random.default_rng([world[0], SPLITS.index(world[1]), world[2], 1])
    colors = None if paint is None else new_colors(made.objects, paint, config.gap, rng)
    names = names_of(config.kind)
    rows = _rows(made, config.kind)
    kept = np.array([paint is None or row == VOID or names[row].seen for row in rows[:-1]])
    return _render(made, rows, colors, kept, config.gap if paint is not None else PLAIN, config, rng)


def render_thing(world: Identity, config: WorldsConfig, number: int) -> Images:
    """Render images of a bare room, or a bare street, with one thing in it, in its own colours and a new light.

    Args:
        world: Which.
        config: Its kind, gap and camera.
        number: Of the thing among the world's.

    Returns:
        The images.
    """
    made = _generate(world, config.kind)
    rng = np.random.default_rng([world[0], SPLITS.index(world[1]), world[2], 2, number])
    kept = np.array([thing.category in SHELL for thing in made.objects])
    kept[number] = True
    return _render(made, _rows(made, config.kind), None, kept, config.gap, config, rng)


def things(world: Identity, kind: str) -> tuple[Named, ...]:
    """What stands in a world.

    Args:
        world: Which.
        kind: "rooms" or "streets".

    Returns:
        Its things, in order.
    """
    return _generate(world, kind).objects


def _rows(made: FurnishedRoom | Street, kind: str) -> np.ndarray:
    """Row of `names_of` of each thing, uint8 [O + 1]; 255 for none, and at the end."""
    raw = {name.raw: number for number, name in enumerate(names_of(kind))}
    return np.array([raw.get(thing.category, VOID) for thing in made.objects] + [VOID], np.uint8)


def _render(
    made: FurnishedRoom | Street,
    rows: np.ndarray,
    colors: list[Color] | None,
    kept: np.ndarray,
    gap: GapConfig,
    config: WorldsConfig,
    rng: np.random.Generator,
) -> Images:
    look = Look.draw(len(made.objects), gap, rng)
    color, objects = [], []
    if isinstance(made, FurnishedRoom):
        views = _room_views(made, colors, kept, config, rng)
    else:
        views = _street_views(made, colors, kept, config, rng)
    for surfaces in views:
        color.append(photograph(surfaces, config.image_size, look, gap, rng))
        objects.append(surfaces.object.reshape(config.image_size).astype(np.int16))
    stacked = np.stack(objects)
    return Images(np.stack(color), rows[stacked], stacked)


def _generate(world: Identity, kind: str) -> FurnishedRoom | Street:
    """The world, as `Job.seeds` of the benchmarks draws it."""
    seed, split, number = world
    drawn = int(np.random.SeedSequence([seed, SPLITS.index(split), number]).generate_state(1)[0])
    if kind == "rooms":
        return generate_room(drawn, ROOM_TYPES[number % len(ROOM_TYPES)])
    return generate_street(drawn, list(STREETS)[number % len(STREETS)])


def _room_views(
    room: FurnishedRoom, colors: list[Color] | None, kept: np.ndarray, config: WorldsConfig, rng: np.random.Generator
) -> Iterator[Surfaces]:
    """What the rays of each image of a room meet."""
    sensor = replace(SensorConfig(), frames=config.views, image_size=config.image_size)
    sensor = replace(sensor, focal=sensor.focal * config.image_size[1] / SensorConfig().image_size[1])
    rows = kept[room.face_object]
    face_object, face_color = room.face_object[rows], room.face_color[rows]
    if colors is not None:
        base = np.array([thing.color for thing in room.objects])
        face_color = repaint(face_color, base[face_object], np.array(colors)[face_object])
    caster = RayCaster(room.vertices, room.faces[rows])
    rays = pixel_rays(sensor.intrinsics, config.image_size).reshape(-1, 3)
    shown = replace(room, faces=room.faces[rows], face_color=face_color, face_object=face_object)
    for pose in camera_path(shown, caster, sensor, rng):
        turned = rays @ pose[:3, :3].T
        face, depth = caster.cast(np.broadcast_to(pose[:3, 3], turned.shape), turned)
        hit = face >= 0
        point = pose[:3, 3] + np.where(hit, depth, 0)[:, None] * turned
        unit = turned / np.linalg.norm(turned, axis=1, keepdims=True)
        found = np.where(hit, face_object[face], NO_OBJECT)
        yield Surfaces(found, point, face_color[face], caster.face_normals[face], unit)


def _street_views(
    street: Street, colors: list[Color] | None, kept: np.ndarray, config: WorldsConfig, rng: np.random.Generator
) -> Iterator[Surfaces]:
    """What the rays of each image of a street meet: the cameras in turn, at times spread over the drive."""
    numbers = np.flatnonzero(kept)
    stand = [street.objects[number] for number in numbers]
    if colors is not None:
        stand = [_repainted(thing, colors[number]) for thing, number in zip(stand, numbers, strict=True)]
    shown = replace(street, objects=tuple(stand))
    caster = StreetCaster(shown)
    cameras = list(mount_sensors(rng)[1].values())
    for number, time in enumerate(np.linspace(-HALF_DRIVE, HALF_DRIVE, config.views)):
        camera = cameras[number % len(cameras)]
        pose = shown.ego_pose(time) @ camera.to_ego
        scale = IMAGE_SIZE[1] / config.image_size[1]
        rays = pixel_rays(camera.intrinsics, config.image_size, scale).reshape(-1, 3) @ pose[:3, :3].T
        hits = caster.cast(pose[:3, 3], rays, time)
        far = np.where(np.isfinite(hits.distance), hits.distance, 0)[:, None]
        found = np.where(hits.object >= 0, numbers[hits.object], NO_OBJECT)
        unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
        yield Surfaces(found, pose[:3, 3] + far * rays, hits.color, hits.normal, unit)


def _repainted(thing: StreetObject, color: Color) -> StreetObject:
    base, new = (np.broadcast_to(np.array(value), thing.mesh.color.shape) for value in (thing.color, color))
    return replace(thing, mesh=replace(thing.mesh, color=repaint(thing.mesh.color, base, new)))
