"""The gap between training worlds and benchmarks: other colours, textures, lights and cameras (`GapConfig`)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.ndimage import gaussian_filter

from geoguide.pretraining.images.config import GapConfig
from geoguide.worlds.camera import LAMP
from geoguide.worlds.palette import Color

SHELL = ("wall", "floor", "ceiling", "flat.driveable_surface", "flat.sidewalk", "flat.terrain")  # not things
OWN = 20.0  # 8-bit steps from a shade of a thing's base colour within which a face is of that colour: shades vary by 5
# The rooms of the benchmark: no stripes, one lamp, white light, and the faults of `worlds.camera.SensorConfig`.
PLAIN = GapConfig(
    faithful=0.0, texture=0.0, ambient=(0.5, 0.5), tint=0.0, brightness=1.0, exposure=0.08, noise=(4.0, 4.0),
    blur=(0.0, 0.0),
)  # fmt: skip
SKY = np.array([205.0, 215, 225])


class Named(Protocol):
    """What has a category and a base colour: `RoomObject`, `StreetObject`."""

    @property
    def category(self) -> str:
        """Its raw category."""
        ...

    @property
    def color(self) -> Color:
        """Its base colour."""
        ...


@dataclass(frozen=True)
class Surfaces:
    """What R rays meet.

    Attributes:
        object: int64 [R], -1 for none.
        point: float [R, 3] metres.
        color: uint8 [R, 3].
        normal: float [R, 3], unit length.
        ray: float [R, 3], unit length.
    """

    object: np.ndarray
    point: np.ndarray
    color: np.ndarray
    normal: np.ndarray
    ray: np.ndarray


def specimens(worlds: Iterable[Sequence[Named]], count: int) -> dict[str, list[Color]]:
    """The colours of the first few things of each name.

    Args:
        worlds: The things of each world.
        count: How many of each name.

    Returns:
        By category; fewer where fewer were met.
    """
    found: dict[str, list[Color]] = {}
    for things in worlds:
        for thing in things:
            colors = found.setdefault(thing.category, [])
            if len(colors) < count and thing.color not in colors:
                colors.append(thing.color)
    return found


def new_colors(
    things: Sequence[Named], colors: Mapping[str, Sequence[Color]], gap: GapConfig, rng: np.random.Generator
) -> list[Color]:
    """Draw what colour each thing of a world wears; walls, floors and ground keep theirs.

    Args:
        things: The things.
        colors: Of the specimens.
        gap: How many wear these.
        rng: Source of the draws, three a thing.

    Returns:
        A colour for each thing.
    """
    chance, choice = rng.random((2, len(things)))
    result = []
    for number, thing in enumerate(things):
        own = () if thing.category in SHELL else colors.get(thing.category, ())
        wears = own and chance[number] < gap.faithful
        result.append(own[int(choice[number] * len(own))] if wears else thing.color)
    return result


def repaint(faces: np.ndarray, base: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Change the colour of faces that are a shade of their thing's base colour; handles, legs and the like stay.

    Args:
        faces: uint8 [F, 3].
        base: The base colour of each face's thing, [F, 3].
        new: The colour it is to have, [F, 3].

    Returns:
        uint8 [F, 3].
    """
    shade = faces.mean(axis=1, keepdims=True) / np.maximum(base.mean(axis=1, keepdims=True), 1)  # [F, 1]
    own = np.abs(faces - shade * base).max(axis=1) < OWN
    painted = np.where(own[:, None], np.clip(shade * new, 0, 255), faces)
    return np.rint(painted).astype(np.uint8)


@dataclass(frozen=True)
class Look:
    """The light and the textures of one world.

    Attributes:
        lamp: Where light comes from, unit [3].
        ambient: Share of light without direction.
        tint: Factor on each channel, [3].
        waves: Wave vectors of each thing's stripes, float [O, 3], 1/m.
        depth: Deviation of brightness of the stripes, [O].
    """

    lamp: np.ndarray
    ambient: float
    tint: np.ndarray
    waves: np.ndarray
    depth: np.ndarray

    @classmethod
    def draw(cls, count: int, gap: GapConfig, rng: np.random.Generator) -> "Look":
        """Draw a world's look.

        Args:
            count: O, the number of things.
            gap: How far it may go; `PLAIN` for the benchmark's look.
            rng: Source of the draws.

        Returns:
            The look.
        """
        lamp = LAMP if gap is PLAIN else rng.normal(size=3) * [1, 1, 0.5] + [0, 0, 1]
        waves = rng.normal(size=(count, 3)) * rng.uniform(1, 12, (count, 1))  # a stripe every 5 to 50 cm or so
        depth = gap.texture * np.abs(rng.normal(size=count))
        tint = 1 + gap.tint * rng.normal(size=3)
        return cls(lamp / np.linalg.norm(lamp), rng.uniform(*gap.ambient), tint, waves, depth)


def photograph(
    seen: Surfaces, size: tuple[int, int], look: Look, gap: GapConfig, rng: np.random.Generator
) -> np.ndarray:
    """Make an image of what its rays meet.

    Args:
        seen: What H W rays meet.
        size: (H, W).
        look: The world's look.
        gap: Faults of the camera.
        rng: Source of these.

    Returns:
        uint8 [H, W, 3].
    """
    wave = np.sin((seen.point * look.waves[seen.object]).sum(axis=1) * 2 * np.pi)
    facing = np.abs((seen.normal * seen.ray).sum(axis=1))
    light = look.ambient + (1 - look.ambient) * (0.6 * np.abs(seen.normal @ look.lamp) + 0.4 * facing)  # [R]
    factor = light * (1 + look.depth[seen.object] * wave) * (gap.brightness + gap.exposure * rng.normal())
    color = np.where((seen.object >= 0)[:, None], seen.color * factor[:, None], SKY) * look.tint
    image = gaussian_filter(color.reshape(*size, 3), (*[rng.uniform(*gap.blur)] * 2, 0))
    image += rng.normal(0, rng.uniform(*gap.noise), image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
