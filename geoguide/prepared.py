"""`PreparedScene`: one scene with the results of all frozen stages, memory-mapped, for training and scoring."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geoguide.datasets.formats.fused_features import StreamedFeatures
from geoguide.datasets.sources import SceneSource
from geoguide.errors import InputError
from geoguide.instances.masks import InstanceMasks
from geoguide.method.batch import Batch, ExactMeans, FrozenMeans, Origin
from geoguide.ops.devices import put
from geoguide.ops.groups import Groups
from geoguide.ops.indexed import IndexedRows
from geoguide.scene import Scene


@dataclass(frozen=True, eq=False)
class SceneMeans:
    """Means of the frozen features over all points of each of S superpoints and M masks of a scene.

    Attributes:
        geometry: F_3d^G, float32 [S + M, C1], superpoints first.
        lifted: F_2d over the seen points, float32 [S + M, C]; 0 where none is.
        seen: The number of seen points, int64 [S + M].
        masks: M.
    """

    geometry: np.ndarray
    lifted: np.ndarray
    seen: np.ndarray
    masks: int

    @functools.cached_property
    def centre(self) -> np.ndarray:
        """Mean F_2d over all seen points of the scene, float32 [C]."""
        first = len(self.seen) - self.masks
        seen = self.seen[:first].astype(np.float64)  # [S]
        return (seen @ self.lifted[:first] / max(seen.sum(), 1)).astype(np.float32)

    def of(self, superpoints: np.ndarray, masks: np.ndarray, device: torch.device) -> ExactMeans:
        """The means of some regions, as a batch takes them.

        Args:
            superpoints: int64 [s], their numbers.
            masks: int64 [m], their numbers.
            device: Where the means are put.

        Returns:
            The means of s superpoints and m masks.
        """
        first = len(self.seen) - self.masks
        some = [
            FrozenMeans(*(_float(part[chosen], device) for part in (self.geometry, self.lifted, self.seen)))
            for chosen in (superpoints, first + masks)
        ]
        return ExactMeans(*some, centre=_float(self.centre, device))


@dataclass(frozen=True, eq=False)
class WholeCloud:
    """All N points of a scene of which only P kept their features.

    Attributes:
        points: float32 [N, 3], metres.
        colors: float32 [N, 3] in [0, 1].
        kept: int64 [P], which points were kept, ascending.
    """

    points: np.ndarray
    colors: np.ndarray
    kept: np.ndarray


@dataclass(frozen=True, eq=False)
class PreparedScene:
    """The inputs of training and scoring for one scene; its arrays are memory-mapped, so opening it reads none of them.

    A training scene of which only some points were kept (`pooling.kept_points`) is made of these P points: superpoints
    and masks have the numbers that they have in the whole scene, and may hold none of them. Its own arrays are then
    rows of the whole scene's mapped ones.

    Attributes:
        name: Name of the scene.
        provenance: "mini" (generated) or "real".
        fingerprint: Twelve hex digits that name its content.
        points: float32 [P, 3], metres, z up.
        colors: float32 [P, 3] in [0, 1].
        labels: int64 [P], 255 void; None without annotation.
        instances: int64 [P], -1 for no instance; None without annotation.
        geometry: F_3d^G, float16 [P, C1].
        lifted: F_2d, float16 [P, C], zero where unseen; or fused features that are read from disk when needed; None
            where nothing gives the scene 2D features: it can be scored by a student, and teaches none.
        seen_by: int32 [P], the number of frames that see each point; None with fused features, whose files say which
            points are seen, and without 2D features.
        superpoints: int64 [P], ids from 0.
        masks: Class-agnostic instance masks.
        frames: How many frames the scene has, and how many of them are skipped because their pose is lost.
        source: Where the scene was read from; None for a scene made in memory.
        means: Exact means over all points of each region, those that were not kept too, for its batches; None where a
            batch takes them over its own points.
        whole: All points, where only some were kept; None where these are all.
        words: The class that each point is painted with, integer [P], -1 for none; None where nothing was painted.
        made_by: Ten hex digits that name by what settings, networks and files the features, superpoints and masks were
            made; empty where that is not known.
    """

    name: str
    provenance: str
    fingerprint: str
    points: np.ndarray | IndexedRows
    colors: np.ndarray | IndexedRows
    labels: np.ndarray | IndexedRows | None
    instances: np.ndarray | IndexedRows | None
    geometry: np.ndarray | IndexedRows
    lifted: np.ndarray | StreamedFeatures | None
    seen_by: np.ndarray | None
    superpoints: np.ndarray | IndexedRows
    masks: InstanceMasks
    frames: tuple[int, int] = (0, 0)
    source: SceneSource | None = None
    means: SceneMeans | None = None
    whole: WholeCloud | None = None
    words: np.ndarray | None = None
    made_by: str = ""

    def __len__(self) -> int:
        """P."""
        return len(self.points)

    @property
    def feature_width(self) -> int:
        """C; `InputError` without 2D features."""
        lifted = self._need_lifted()
        return lifted.width if isinstance(lifted, StreamedFeatures) else lifted.shape[1]

    @property
    def geometry_width(self) -> int:
        """C1."""
        return self.geometry.shape[1]

    @property
    def seen(self) -> np.ndarray:
        """Which points have a 2D feature, bool [P]."""
        if self.lifted is None:
            return np.zeros(len(self), bool)
        return self.lifted.seen() if isinstance(self.lifted, StreamedFeatures) else np.asarray(self.seen_by) > 0

    def features(self, chosen: np.ndarray, draw: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Read the 2D features of some points.

        Args:
            chosen: int64 [p], point ids.
            draw: Which of several files of fused features is read (see `StreamedFeatures.rows`).

        Returns:
            F_2d, float16 [p, C], 0 where unseen; and which of the points are seen, bool [p].

        Raises:
            InputError: The scene has no 2D features.
        """
        lifted = self._need_lifted()
        if isinstance(lifted, StreamedFeatures):
            return lifted.rows(chosen, draw)
        return lifted[chosen], np.asarray(self.seen_by)[chosen] > 0

    @property
    def cloud(self) -> tuple[np.ndarray, np.ndarray]:
        """Points and colours of the whole scene, [N, 3] each, those too that were not kept: what a network reads."""
        if self.whole is not None:
            return self.whole.points, self.whole.colors
        return np.asarray(self.points), np.asarray(self.colors)  # themselves, where all points are kept

    def cloud_features(self, chosen: np.ndarray, draw: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Read the 2D features of some points of `cloud`.

        Args:
            chosen: int64 [p], positions in `cloud`.
            draw: As in `features`.

        Returns:
            As `features`; points that were not kept are not seen.

        Raises:
            InputError: The scene has no 2D features.
        """
        if self.whole is None:
            return self.features(chosen, draw)
        place = self.kept_at(chosen)
        lifted, seen = self.features(np.maximum(place, 0), draw)
        known = place >= 0
        return np.where(known[:, None], lifted, 0), seen & known

    def kept_at(self, chosen: np.ndarray) -> np.ndarray:
        """Find points of `cloud` among those that were kept.

        Args:
            chosen: int64 [p], positions in `cloud`.

        Returns:
            int64 [p], point ids; -1 for a point that was not kept.
        """
        if self.whole is None:
            return chosen
        kept = self.whole.kept
        place = np.minimum(np.searchsorted(kept, chosen), len(kept) - 1)  # [p]
        return np.where(kept[place] == chosen, place, -1)

    def batch(self, chosen: np.ndarray, device: torch.device, draw: int = 0) -> Batch:
        """Make a training batch of some points.

        Args:
            chosen: int64 [p], ascending point ids.
            device: Where the batch is put.
            draw: As in `features`.

        Returns:
            A batch of p points. Superpoints and masks that hold none of them are left out, the others renumbered from
            0. Costs O(P + mask entries) integers, and O(p (C + C1)) floats whatever the scene's size.

        Raises:
            InputError: The scene has no 2D features.
        """
        names, superpoints = np.unique(self.superpoints[chosen], return_inverse=True)
        masks, present = self.masks.among(chosen)
        lifted, seen = self.features(chosen, draw)
        return Batch(
            points=_float(self.points[chosen], device),
            geometry=_float(self.geometry[chosen], device),
            lifted=_float(lifted, device),
            seen=put(torch.from_numpy(seen), device),
            superpoints=Groups.partition(torch.from_numpy(superpoints), len(names)).to(device),
            masks=masks.to(device),
            exact=None if self.means is None else self.means.of(names, present, device),
            words=None if self.words is None else _whole_numbers(self.words[chosen], device),
            origins=(Origin(self.fingerprint, chosen),),
        )

    def load(self, label_set: str | None = None) -> Scene:
        """Read the scene itself from its files.

        Args:
            label_set: Name of another label set for the labels; None for that of the config.

        Returns:
            The scene, with faces, normals and views.

        Raises:
            InputError: The scene was made in memory, so there are no files to read.
            DataError: A file is missing or damaged.
        """
        if self.source is None:
            raise InputError(f"scene {self.name}: was made in memory, so it cannot be read again")
        return self.source.load(label_set)

    def _need_lifted(self) -> np.ndarray | StreamedFeatures:
        if self.lifted is None:
            raise InputError(f"scene {self.name}: has no 2D features")
        return self.lifted


class ChosenScenes(Sequence[PreparedScene]):
    """Some of several scenes, opened when asked for.

    Args:
        scenes: All of them.
        positions: Which.
    """

    def __init__(self, scenes: Sequence[PreparedScene], positions: Sequence[int]) -> None:
        self._scenes, self._positions = scenes, tuple(positions)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, number: int) -> PreparedScene:  # ty: ignore[incompatible-method-override]  # no slices
        return self._scenes[self._positions[number]]


def _float(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return put(torch.from_numpy(np.ascontiguousarray(array)), device).float()


def _whole_numbers(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return put(torch.from_numpy(np.asarray(array, np.int64)), device)
