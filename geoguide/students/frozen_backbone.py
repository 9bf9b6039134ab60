"""The paper's student: an MLP adapter on the features of a frozen 3D backbone (paper, Overview)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from geoguide.backbones import BackboneConfig, open_backbone
from geoguide.method.batch import Batch
from geoguide.ops.indexed import IndexedRows
from geoguide.prepared import PreparedScene
from geoguide.students.adapter import Adapter, AdapterConfig
from geoguide.students.statistics import geometry_statistics, mean_lifted, start_at_mean
from geoguide.students.student import Motion, Student, moved_scenes, scene_of_turn


class FrozenBackboneStudent(Student[Adapter]):
    """A frozen backbone with an adapter, of which the adapter alone is trained (paper, Overview).

    Args:
        adapter: The MLP.
        config: Its shape.
        backbone: The frozen backbone whose features the adapter reads. Prepared scenes hold these features already;
            the backbone itself runs for moved scenes only.
        points_per_step: The number of random points of a scene in a training batch; None for all points.
        batches: Whether random `points` are drawn or random `superpoints`, with all their points.
    """

    name = "adapter"
    frozen = True
    names_backbone = True
    has_regions = True

    def __init__(
        self,
        adapter: Adapter,
        config: AdapterConfig,
        backbone: BackboneConfig,
        points_per_step: int | None = None,
        batches: str = "points",
    ) -> None:
        self.network, self.config, self.backbone = adapter, config, backbone
        self.points_per_step, self.batches = points_per_step, batches

    @classmethod
    def untrained(
        cls,
        scenes: Sequence[PreparedScene],
        config: AdapterConfig,
        backbone: BackboneConfig,
        points_per_step: int,
        batches: str = "points",
    ) -> "FrozenBackboneStudent":
        """Make a student with a new adapter, whose output starts at the mean 2D feature of the training scenes.

        Args:
            scenes: The training scenes: their widths, and the statistics that the adapter starts from.
            config: Shape of the adapter.
            backbone: The frozen backbone that the scenes were prepared with.
            points_per_step: Random points of a scene in a training batch.
            batches: points or superpoints, as above.

        Returns:
            The student on the CPU; its weights come from torch's global random state.
        """
        adapter = Adapter(scenes[0].geometry_width, scenes[0].feature_width, config)
        adapter.standardise(*geometry_statistics(scenes))
        start_at_mean(adapter.last, mean_lifted(scenes))
        return cls(adapter, config, backbone, points_per_step, batches)

    def draw(self, scenes: Sequence[PreparedScene], step: int, seed: int, device: torch.device) -> Batch:
        """Random points of the scene whose turn it is; arguments as in `Student.draw`."""
        return self.sample(scene_of_turn(scenes, step, seed), [seed, 2, step], device)

    def sample(self, scene: PreparedScene, seed: list[int], device: torch.device) -> Batch:
        """Make a batch of `points_per_step` random points of a scene (all when it has no more), or of superpoints.

        Args:
            scene: The prepared scene.
            seed: Decides the points; its last number also decides which file of fused features is read.
            device: Where the batch is put.

        Returns:
            The batch, its points in the scene's order.
        """
        count = len(scene) if self.points_per_step is None else self.points_per_step
        chosen = np.arange(len(scene))
        if len(scene) > count and self.batches == "superpoints":
            chosen = whole_superpoints(np.asarray(scene.superpoints), count, np.random.default_rng(seed))
        elif len(scene) > count:
            chosen = np.random.default_rng(seed).choice(len(scene), count, replace=False, shuffle=False)
        return scene.batch(np.sort(chosen), device, draw=seed[-1])

    def forward(self, batch: Batch) -> Tensor:
        """F_3d^sem [P, C] of the batch, from its frozen features (see `Student.forward`)."""
        return self.network(batch.geometry)

    def features(self, scene: PreparedScene, chosen: np.ndarray | None = None) -> Tensor:
        """F_3d^sem [p, C], from the frozen features that the scene holds (see `Student.features`)."""
        geometry = scene.geometry
        if chosen is None and isinstance(geometry, IndexedRows):  # each different row once: a fifth of the work
            index = torch.from_numpy(np.array(geometry.index)).to(self.device)
            return self.network.whole(torch.from_numpy(np.array(geometry.rows)))[index]
        return self.network.whole(torch.from_numpy(np.array(geometry) if chosen is None else geometry[chosen]))

    def moved(self, scene: PreparedScene, motions: Sequence[Motion]) -> Iterator[Tensor]:
        """F_3d^sem [P, C] for each motion; the scene's files are read again for its normals (see `Student.moved`)."""
        for moved in moved_scenes(scene, motions):
            yield self.network.whole(torch.from_numpy(open_backbone(self.backbone, self.device).encode(moved)))

    def saved_adapter(self) -> Adapter:
        """Return the part that a saved model holds (paper, Total).

        Returns:
            The adapter; W's MLP and IMR's linear layer belong to the objective and are discarded.
        """
        return self.network


def whole_superpoints(superpoints: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw superpoints one after another until they hold enough points.

    Every superpoint is as likely as any other, so a point is about as likely to be drawn as any other, whatever the
    size of its superpoint; neighbours come together.

    Args:
        superpoints: int64 [P], the superpoint of each point.
        count: How many points are enough; the last superpoint may go beyond.
        rng: Decides which.

    Returns:
        int64 [p], all points of the drawn superpoints, ascending; all P where there are not enough.

    Example:
        >>> import numpy as np
        >>> whole_superpoints(np.array([0, 0, 0, 7, 7, 0]), 1, np.random.default_rng(0)).tolist()
        [0, 1, 2, 5]
    """
    sizes = np.bincount(superpoints)
    order = rng.permutation(np.flatnonzero(sizes))
    enough = int(np.searchsorted(np.cumsum(sizes[order]), count)) + 1
    drawn = np.zeros(len(sizes), bool)
    drawn[order[:enough]] = True
    return np.flatnonzero(drawn[superpoints])
