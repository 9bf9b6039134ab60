"""Do things that stand still stand still, when the poses of a drive of nuScenes move one sweep to the next?

What stands above the ground near the car (mostly walls, poles, trees) is found again in the next key frame: moved by
the poses, its points lie a little beside that one's points, however the two sweeps fall. Moved otherwise (not at all,
back instead of ahead, along the car by up to 8 m either way) they lie farther off, unless the poses, or the axes of the
LiDAR, are not those of the recording. Measured on 35 generated drives of 4 key frames, medians in metres:

| recording | by its poses | best otherwise | ratio | difference | told |
|---|---|---|---|---|---|
| as recorded | 0.08 to 0.20 | 0.07 to 0.35 | 0.40 to 1.24 | -0.17 to 0.02 | 0 of 35 |
| sweeps turned by 180; 90; -90 degrees | 0.13 to 3.59 | 0.07 to 1.50 | 1.44 to 33 | 0.05 to 2.75 | 31; 33; 34 |
| sweeps turned by 30 degrees | 0.63 to 1.79 | 0.07 to 1.08 | 1.08 to 15 | 0.08 to 1.30 | 27 |
| poses inverted | 1.84 to 9.90 | 0.07 to 0.35 | 8.47 to 87 | 1.67 to 9.74 | 35 |
| poses in reverse order | 0.13 to 2.62 | 0.07 to 0.26 | 1.93 to 22 | 0.06 to 2.50 | 31 |
| quaternions conjugated; none | 0.21 to 3.10 | 0.07 to 0.35 | 0.92 to 30 | -0.02 to 2.92 | 34; 34 |
| one pose for the whole drive | 0.07 to 1.49 | 0.07 to 0.35 | 1.00 to 9.11 | 0.00 to 1.32 | 24 |

No two real sweeps were at hand. Where much moves, or nothing stands, every motion is as good as another, and nothing is
said: both limits must be passed.
"""

from dataclasses import dataclass, field

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.ops.neighbors import nearest_points
from geoguide.scene import Scene

NEAR, AROUND = 4.0, 40.0  # metres from the car in the plan, beyond its own body
LOW, HIGH = 0.5, 5.0  # metres above the ground
ASKED = 1000  # points of a sweep that are looked for in the next one
FEWEST = 200  # of them, and of the next one's; of fewer nothing is said
ALONG = np.outer(np.arange(-8.0, 9.0), [1, 0, 0])  # metres [17, 3]; half a second at 58 km/h
WORSE, FARTHER = 1.5, 0.2  # ratio and difference in metres of the table


@dataclass
class Standing:
    """What the key frames of one drive say, added one by one in their order.

    Attributes:
        medians: For each pair of key frames that follow one another the median distance [m] by the poses, and the least
            by another motion.
        last: Pose [4, 4], car to world, and points [n, 3] of the key frame added last.
    """

    medians: list[tuple[float, float]] = field(default_factory=list)
    last: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, scene: Scene, ego_to_global: np.ndarray) -> None:
        """Add a key frame. O(P log P) for its P points.

        Args:
            scene: The key frame, of `load_sample`.
            ego_to_global: Pose of its car, [4, 4], finite.
        """
        distance, height = np.linalg.norm(scene.points[:, :2], axis=1), scene.points[:, 2]
        chosen = (distance > NEAR) & (distance < AROUND) & (height > LOW) & (height < HIGH)
        points = scene.points[chosen].astype(np.float64)  # [n, 3]
        before, self.last = self.last, (ego_to_global, points[:: max(1, len(points) // ASKED)])
        if before is None or min(len(points), len(before[1])) < FEWEST:
            return
        step = np.linalg.inv(ego_to_global) @ before[0]  # [4, 4], the car then to the car now
        turned, standing = before[1] @ step[:3, :3].T, before[1]  # [m, 3]
        moved = [turned + step[:3, 3], turned - step[:3, 3], *(standing + shift for shift in ALONG)]
        found = nearest_points(KDTree(points), np.concatenate(moved), 1)[0].reshape(len(moved), -1)
        by_pose, *otherwise = np.median(found, axis=1).tolist()
        self.medians.append((by_pose, min(otherwise)))

    def doubts(self) -> tuple[str, ...]:
        """Say where the drive's sweeps do not fall together.

        Returns:
            A sentence, or none where they do or nothing can be told.
        """
        if not self.medians:
            return ()
        by_pose, otherwise = np.mean(self.medians, axis=0).tolist()
        if by_pose <= WORSE * otherwise or by_pose <= otherwise + FARTHER:
            return ()
        found = (
            f"what stands still is {by_pose:.2f} m from itself in the next key frame, and {otherwise:.2f} m if the car"
        )
        hint = "are poses, calibration and axes of the LiDAR those of this drive?"
        return (f"{found} is taken to move otherwise than its poses say (usual: 0.1 m): {hint}",)
