"""Superpoints as the parts that masks are proposed of: what each is like, and how each pair lies. No class names."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from geoguide.instances.geometry import InstanceConfig
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.regions import Regions, merged, room_planes
from geoguide.ops.weld import Finder

MEASURES = 19  # of a part, before the frozen features
RELATIONS = 20  # of a pair of parts
REACH = 3.0  # metres beyond which distances are alike
_MARGIN = 1e-3  # m^2 added to areas before their logarithm


@dataclass(frozen=True, eq=False)
class Parts:
    """S superpoints, measured. Lengths are metres; heights are above the floor; nothing depends on a turn about z.

    Attributes:
        regions: Sizes, areas, centres, boxes, mean normals and contacts.
        spread: float64 [S, 3], standard deviations along the axes of the points, ascending.
        straight: float64 [S], length of the mean of the unit normals: 1 where a part is flat.
        colors: float64 [S, 3] in [0, 1], means.
        color_spread: float64 [S], mean of the channels' standard deviations.
        shell: int64 [S], which plane of the room's shell a part belongs to, -1 none (see `room_planes`).
        floor: Height of the floor.
        features: float32 [S, C1], means of the frozen features.
    """

    regions: Regions
    spread: np.ndarray
    straight: np.ndarray
    colors: np.ndarray
    color_spread: np.ndarray
    shell: np.ndarray
    floor: float
    features: np.ndarray

    def __len__(self) -> int:
        return self.regions.count

    @classmethod
    def measure(
        cls,
        points: np.ndarray,
        normals: np.ndarray,
        colors: np.ndarray,
        superpoints: np.ndarray,
        features: np.ndarray,
        find: Finder,
    ) -> "Parts":
        """Measure the superpoints of a scene.

        Args:
            points: float [P, 3] metres, z up.
            normals: float [P, 3], unit length; nan counts as 0.
            colors: float [P, 3] in [0, 1].
            superpoints: integer [P], any ids.
            features: float [P, C1], frozen features.
            find: How equal positions are found: they count once.

        Returns:
            S parts, in the order of the superpoints' ids.
        """
        points, colors = points.astype(np.float64), colors.astype(np.float64)
        normals = np.nan_to_num(normals.astype(np.float64))
        index = np.unique(superpoints, return_inverse=True)[1]
        weld = find(points)
        if weld is not None:
            weld = weld.apart(index)
            points, normals, colors = weld.mean(points), weld.directions(normals), weld.mean(colors)
            features, index = features[weld.first], index[weld.first]
        regions = Regions.measure(points, normals, index, InstanceConfig().reach)
        member = InstanceMasks.from_labels(index).sparse()  # [S, P]
        share = sparse.diags(1 / regions.sizes) @ member.astype(np.float64)  # [S, P]
        offset = points - regions.centers[index]
        moments = share @ (offset[:, :, None] * offset[:, None]).reshape(-1, 9)  # [S, 9]
        spread = np.sqrt(np.maximum(np.linalg.eigvalsh(moments.reshape(-1, 3, 3)), 0))
        mean = share @ colors
        variance = np.maximum(share @ colors**2 - mean**2, 0)
        return cls(
            regions,
            spread,
            np.linalg.norm(share @ normals, axis=1),
            mean,
            np.sqrt(variance).mean(axis=1),
            room_planes(points, regions),
            float(np.percentile(points[:, 2], 1)),
            np.asarray(share.astype(np.float32) @ np.asarray(features, np.float32)),
        )

    def take(self, chosen: np.ndarray) -> "Parts":
        """Some of the parts.

        Args:
            chosen: int64 [s], ascending, different.

        Returns:
            s parts; contacts with others are left out, and `regions.index` has -1 for points of others.
        """
        old, place = self.regions, np.full(len(self) + 1, -1)
        place[chosen] = np.arange(len(chosen))
        first, second, rough = old.contacts
        kept = (place[first] >= 0) & (place[second] >= 0)
        contacts = place[first[kept]], place[second[kept]], rough[kept]
        names = ("sizes", "areas", "centers", "normals", "low", "high")
        regions = Regions(place[old.index], *(getattr(old, name)[chosen] for name in names), contacts)
        own = (self.spread, self.straight, self.colors, self.color_spread, self.shell)
        return Parts(regions, *(values[chosen] for values in own), self.floor, self.features[chosen])

    def measures(self, scale: float = 1.0) -> Tensor:
        """What each part is like, of about unit range by fixed constants, with the frozen features behind.

        Args:
            scale: Factor of all lengths (augmentation).

        Returns:
            float32 [S, MEASURES + C1].
        """
        r = self.regions
        center, low, high = (scale * (z[:, 2] - self.floor) for z in (r.centers, r.low, r.high))
        extent = scale * (r.high - r.low)
        own = [
            np.log(r.areas * scale**2 + _MARGIN) / 2 + 1,
            r.normals[:, 2],
            np.abs(r.normals[:, 2]),
            self.straight,
            center - 1,
            low - 1,
            high - 1,
            2 * center / max(high.max(), 0.5) - 1,
            np.minimum(3 * scale * self.spread, 3),
            np.minimum(np.linalg.norm(extent[:, :2], axis=1), REACH) - 0.7,
            np.minimum(extent[:, 2], REACH) - 0.5,
            4 * (self.colors - 0.5),
            10 * self.color_spread - 1,
            2.0 * (self.shell == 0) - 1,
            2.0 * (self.shell > 0) - 1,
        ]
        return torch.from_numpy(np.column_stack([*own, self.features]).astype(np.float32))

    def relations(self, scale: float = 1.0) -> Tensor:
        """How each pair of parts lies: distances, contact, coplanarity, likeness. O(S^2) time and memory.

        Args:
            scale: Factor of all lengths (augmentation).

        Returns:
            float32 [S, S, RELATIONS]: of the part of the second axis, seen from that of the first.
        """
        r = self.regions
        step = scale * (r.centers[None] - r.centers[:, None])  # [S, S, 3]
        level = np.linalg.norm(step[..., :2], axis=2)
        apart = np.maximum(np.maximum(r.low[None] - r.high[:, None], r.low[:, None] - r.high[None]), 0)
        gap = scale * np.linalg.norm(apart, axis=2)  # between the boxes
        touching, smooth = self._contacts()
        plane = (self.shell[:, None] == self.shell[None]) & (self.shell[:, None] >= 0)
        ahead = np.einsum("ijk,ik->ij", step, r.normals)  # metres off the plane of the first
        behind = np.einsum("ijk,jk->ij", step, r.normals)
        tone = np.linalg.norm(self.colors[:, None] - self.colors[None], axis=2)
        area = np.log(r.areas * scale**2 + _MARGIN)
        beside = np.minimum(r.high[:, None, 2], r.high[None, :, 2]) - np.maximum(r.low[:, None, 2], r.low[None, :, 2])
        columns = [
            np.exp(-level / 0.2),
            np.exp(-level / 0.6),
            np.minimum(level, REACH) - 1,
            np.clip(step[..., 2], -2, 2),
            np.exp(-gap / 0.05),
            np.exp(-gap / 0.25),
            np.minimum(gap, 2) - 0.5,
            touching,
            smooth,
            2 * self._joined() - 1,
            plane,
            r.normals @ r.normals.T,
            2 * np.clip(ahead, -1, 1),
            2 * np.clip(behind, -1, 1),
            np.exp(-np.abs(ahead) / 0.05),
            np.exp(-np.abs(behind) / 0.05),
            np.exp(-tone / 0.1),
            np.exp(-tone / 0.3),
            (area[None] - area[:, None]) / 3,
            np.clip(scale * beside, -1, 1),
        ]
        found = np.empty((len(self), len(self), RELATIONS), np.float32)
        for number, column in enumerate(columns):
            found[..., number] = column
        return torch.from_numpy(found)

    def _contacts(self) -> tuple[np.ndarray, np.ndarray]:
        """Which pairs touch, and how smoothly: float32 [S, S] each, 0 where they do not."""
        first, second, rough = self.regions.contacts
        touching, smooth = np.zeros((2, len(self), len(self)), np.float32)
        touching[first, second] = touching[second, first] = 1
        smooth[first, second] = smooth[second, first] = 1 - rough
        return touching, smooth

    def _joined(self) -> np.ndarray:
        """At which share of the tolerances `geometry` has a pair in one group: float32 [S, S]."""
        free, tolerances = self.shell < 0, InstanceConfig().tolerances
        joined = np.zeros((len(self), len(self)), np.float32)
        for tolerance in tolerances:
            group = merged(self.regions, free, tolerance)
            joined += group[:, None] == group[None]
        return joined / len(tolerances)
