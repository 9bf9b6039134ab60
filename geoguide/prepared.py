"""`PreparedScene`: what training and scoring read of a scene, memory-mapped."""

from dataclasses import dataclass

import numpy as np
import torch

from geoguide.datasets.formats.fused_features import StreamedFeatures
from geoguide.datasets.sources import SceneSource
from geoguide.errors import InputError
from geoguide.instances.masks import InstanceMasks
from geoguide.method.batch import Batch
from geoguide.ops.groups import Groups
from geoguide.ops.indexed import IndexedRows
from geoguide.scene import Scene


@dataclass(frozen=True, eq=False)
class PreparedScene:
    """One scene's inputs, memory-mapped: opening it reads nothing.

    Attributes:
        name: Of the scene.
        source: "mini" or "real".
        fingerprint: Of its content, twelve hex digits.
        points: float32 [P, 3], metres, z up.
        colors: float32 [P, 3] in [0, 1].
        labels: int64 [P], 255 void; or None.
        instances: int64 [P], -1 none; or None.
        geometry: F_3d^G, float16 [P, C1].
        lifted: F_2d, float16 [P, C], zero where unseen; or fused features that stay on disk.
        seen_by: int32 [P], the frames that see each point; None with fused features, which say themselves who is seen.
        superpoints: int64 [P], ids from 0.
        masks: Class-agnostic instance masks.
        frames: How many the scene has, and how many of them are skipped because their pose is lost.
        origin: Where it was read from; None for a scene made in memory.
    """

    name: str
    source: str
    fingerprint: str
    points: np.ndarray
    colors: np.ndarray
    labels: np.ndarray | None
    instances: np.ndarray | None
    geometry: np.ndarray | IndexedRows
    lifted: np.ndarray | StreamedFeatures
    seen_by: np.ndarray | None
    superpoints: np.ndarray
    masks: InstanceMasks
    frames: tuple[int, int] = (0, 0)
    origin: SceneSource | None = None

    def __len__(self) -> int:
        """P."""
        return len(self.points)

    @property
    def feature_width(self) -> int:
        """C."""
        return self.lifted.width if isinstance(self.lifted, StreamedFeatures) else self.lifted.shape[1]

    @property
    def geometry_width(self) -> int:
        """C1."""
        return self.geometry.shape[1]

    @property
    def seen(self) -> np.ndarray:
        """Bool [P]: has a 2D feature."""
        return self.lifted.seen() if isinstance(self.lifted, StreamedFeatures) else np.asarray(self.seen_by) > 0

    def features(self, chosen: np.ndarray, draw: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The 2D features of some points.

        Args:
            chosen: int64 [p], point ids.
            draw: Which of several files of fused features is read (see `StreamedFeatures.rows`).

        Returns:
            F_2d float16 [p, C] (0 where unseen), and which are seen, bool [p].
        """
        if isinstance(self.lifted, StreamedFeatures):
            return self.lifted.rows(chosen, draw)
        return self.lifted[chosen], self.seen_by[chosen] > 0

    def batch(self, chosen: np.ndarray, device: torch.device, draw: int = 0) -> Batch:
        """Some points as a training batch; superpoints and masks are renumbered.

        Args:
            chosen: int64 [p], ascending point ids.
            device: Where the batch is put.
            draw: As in `features`.

        Returns:
            The batch; O(P + mask entries) integers and O(p (C + C1)) floats, whatever the scene's size.
        """
        names, superpoints = np.unique(self.superpoints[chosen], return_inverse=True)
        lifted, seen = self.features(chosen, draw)
        return Batch(
            points=_float(self.points[chosen], device),
            geometry=_float(self.geometry[chosen], device),
            lifted=_float(lifted, device),
            seen=torch.from_numpy(seen).to(device),
            superpoints=Groups.partition(torch.from_numpy(superpoints), len(names)).to(device),
            masks=self.masks.groups(chosen).to(device),
        )

    def load(self, label_set: str | None = None) -> Scene:
        """The scene itself, read from its files.

        Args:
            label_set: Another label set than its own for the labels; None for its own.

        Returns:
            The scene.

        Raises:
            InputError: It was made in memory: there are no files to read.
        """
        if self.origin is None:
            raise InputError(f"scene {self.name}: was made in memory, so it cannot be read again with other labels")
        return self.origin.load(label_set)


def _float(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device).float()
