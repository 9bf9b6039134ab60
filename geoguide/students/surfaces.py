"""What a network reads of a scene beside its prepared stages: its different positions, with normals."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from geoguide.errors import InputError
from geoguide.prepared import PreparedScene
from geoguide.scene import Scene
from geoguide.superpoints import scene_normals
from geoguide.welding import welded

KEPT = 256  # scenes: 200 MB of rooms of 38,000 points, at 20 bytes a point for normals and numbers


@dataclass(frozen=True, eq=False)
class Surface:
    """The W different positions of a scene's P points (see `welding`).

    Attributes:
        points: float32 [W, 3], metres, z up.
        colors: float32 [W, 3] in [0, 1].
        normals: float32 [W, 3], unit length.
        position: int64 [P], the position of each point.
        first: int64 [W], the first point at each position.
    """

    points: np.ndarray
    colors: np.ndarray
    normals: np.ndarray
    position: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, scene: Scene) -> "Surface":
        """The surface of a scene.

        Args:
            scene: P points with colours; normals are estimated where it has none.

        Returns:
            The surface, as the frozen backbone reads it.
        """
        reduced, weld = welded(scene)
        everyone = np.arange(len(scene))
        position, first = (everyone, everyone) if weld is None else (weld.index, weld.first)
        return cls(reduced.points, reduced.colors, scene_normals(reduced), position, first)


class Surfaces:
    """Surfaces of prepared scenes. Their files are read once for the normals, of the last `KEPT` scenes."""

    def __init__(self) -> None:
        self._read: OrderedDict[str, Surface] = OrderedDict()

    def of(self, scene: PreparedScene) -> Surface:
        """The surface of a prepared scene.

        Args:
            scene: The prepared scene.

        Returns:
            Its surface.

        Raises:
            InputError: The scene was made in memory, so its normals cannot be read again; or some of its points alone
                were prepared, among which a network of voxels sees holes.
        """
        found = self._read.get(scene.fingerprint)
        if found is None:
            found = Surface.of(scene.load())
            if len(found.position) != len(scene):
                expected = f"scene {scene.name}: a network that reads the scene needs all {len(found.position)} points"
                raise InputError(f"{expected}, found {len(scene)} prepared")
            if len(found.first) == len(found.position):  # of most scenes all arrays but the normals are mapped files
                found = Surface(*scene.cloud, found.normals, found.position, found.first)
            self._read[scene.fingerprint] = found
            if len(self._read) > KEPT:
                self._read.popitem(last=False)
        return found
