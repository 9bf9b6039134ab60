"""What holds of every drive of nuScenes: its car moves to where it looks, and on the ground around it lies road.

A drive is judged as a whole, key frames together. Poses, measured on 35 generated drives of 4 key frames:

| poses | forward | problem |
|---|---|---|
| as recorded | 1.00 | 0 of 35 |
| in reverse order | -1.00 | 32, all but the 3 slow ones |
| in another order | -0.14 | 35 |
| inverted (world to car) | -0.95 to 0.90 | 34 |
| quaternions x, y, z, w | -0.99 to 1.00 | 35, with `nuscenes_car.check_ego`, which asks whether the car is upright |
| quaternions conjugated; none, the car looking along x | -0.97 to 0.99; -1.00 to 1.00 | 27; 30 |

and labels, as shares of the points (see `ground_counts`) of each drive:

| labels | flat | road | in the air | problem |
|---|---|---|---|---|
| as recorded | 0.89 to 0.99 | 0.55 to 0.88 | 0.000 | 0 of 35 |
| already classes | 0.00 | 0.00 | | 35 |
| category ids one too high | 0.82 to 0.98 | 0.00 to 0.01 | 0.000 to 0.891 | 35 |
| two or three too high | 0.55 to 0.90 | 0.00 | 0.000 to 1.000 | 35 |
| one too low | 0.09 to 0.44 | 0.00 to 0.21 | 0.000 | 35 |
| by any other number, around 32 | 0.00 to 0.40 | 0.00 to 0.32 | 0.000 to 0.987 | 35 |
| in reverse order | 0.33 to 0.61 | 0.23 to 0.46 | 0.099 to 0.384 | 35 |
| late by one row | 0.79 to 0.97 | 0.47 to 0.83 | 0.000 to 0.074 | 11 of 70 |

Ids taken modulo 25 leave the road as it is, and make persons of houses. Of the points of people, cycles, cones and
barriers within 25 m none is above 3 m in 4 generated drives, nor of the 352 in such boxes of a real key frame; of ids
modulo 25 or 16 10 to 40 % are.

No real labels of the ground were at hand: the limits keep far from the generated ones, for streets differ.
"""

from collections.abc import Sequence

import numpy as np

from geoguide.datasets.formats.nuscenes_records import time_of
from geoguide.datasets.formats.nuscenes_tables import LIDAR, Tables
from geoguide.labels import load_label_set
from geoguide.scene import Scene

NAMES = load_label_set("nuscenes16").names
ROAD = NAMES.index("drivable surface")
GROUND = [NAMES.index(name) for name in ("drivable surface", "other flat", "sidewalk", "terrain")]
LOW = [NAMES.index(name) for name in ("barrier", "bicycle", "motorcycle", "person", "traffic cone")]
NEAR, AROUND = 4.0, 15.0  # metres from the car's origin, beyond its own body; farther roads rise and fall
LEVEL, ABOVE = 0.3, 1.0  # metres: the ground is level with the car's origin within, and no road around lies above
FAR, HIGH = 25.0, 3.0  # metres from the car, where streets do not rise much; no low thing is so high
JUDGED = 1000  # points of the ground, or of low things; a real key frame has 13,000, a generated one 4,000 and more
LEAST_FLAT, LEAST_ROAD, MOST_ABOVE, MOST_HIGH = 0.5, 0.1, 0.05, 0.05  # shares; see the table
FAST = 3.0  # metres per second: nobody drives a whole street backwards so fast
FASTEST = 50.0  # metres per second, 180 km/h; the car drives in towns
FORWARD = 0.9  # of the table; a car in a bend looks along its way within a few degrees


def ground_counts(scene: Scene, place: np.ndarray | None = None) -> np.ndarray:
    """Count what a key frame's labels say of the ground around the car.

    Args:
        scene: A key frame.
        place: The place [3] on the ground that its car stands on; None for the origin, as `load_sample` has it.

    Returns:
        int64 [6], of the points 4 to 15 m from the car: how many are level with the ground; how many of these are
        labelled as any class of the ground; how many of these as drivable surface; and how many points above 1 m are
        labelled as drivable surface. Then, of points up to 25 m away, how many are labelled as things no higher than a
        man, and how many of these are above 3 m. Zeros without labels.
    """
    if scene.labels is None:
        return np.zeros(6, dtype=np.int64)
    points = scene.points if place is None else scene.points - place
    distance, height = np.linalg.norm(points[:, :2], axis=1), points[:, 2]
    around = (distance > NEAR) & (distance < AROUND)
    level, road = around & (np.abs(height) < LEVEL), scene.labels == ROAD
    low = np.isin(scene.labels, LOW) & (distance < FAR)
    kinds = (level, level & np.isin(scene.labels, GROUND), level & road, around & road & (height > ABOVE))
    kinds += (low, low & (height > HIGH))
    return np.array([np.count_nonzero(kind) for kind in kinds], dtype=np.int64)


def label_doubts(counts: np.ndarray) -> tuple[str, ...]:
    """Say where a drive's labels are not of its points.

    Args:
        counts: int64 [6], the sum of its key frames' `ground_counts`.

    Returns:
        A sentence, or none where the labels can be right or nothing can be told.
    """
    level, flat, road, above, low, high = counts.tolist()
    hint = "are the labels of another order of categories or points, ids too high or low by some, or already classes?"
    if level < JUDGED:
        return ()
    if flat < LEAST_FLAT * level:
        return (f"of the ground around the car {flat / level:.0%} is labelled as ground (usual: 90 %): {hint}",)
    if road < LEAST_ROAD * level:
        return (f"of the ground around the car {road / level:.0%} is drivable surface (usual: 60 %): {hint}",)
    if above > MOST_ABOVE * (road + above):
        share = above / (road + above)
        return (f"{share:.0%} of the drivable surface around the car lies in the air (usual: none): {hint}",)
    if low >= JUDGED and high > MOST_HIGH * low:
        found = f"{high / low:.0%} of people, cycles, cones and barriers around the car is above {HIGH:g} m"
        return (f"{found} (usual: none): are ids modulo some number, or void as a class?",)
    return ()


def motion_doubts(tables: Tables, samples: Sequence[str]) -> tuple[str, ...]:
    """Say where a car does not move as its poses say that it stands.

    Args:
        tables: The tables.
        samples: Tokens of a drive's samples, of `list_samples`.

    Returns:
        A sentence, or none where the poses can be right or the car is too slow to tell.

    Raises:
        DataError: A pose is missing or broken.
    """
    frames = [tables.frames[sample][LIDAR] for sample in samples if LIDAR in tables.frames.get(sample, {})]
    frames = [frame for frame in frames if time_of(frame) is not None]
    poses = np.array([tables.pose("ego_pose", frame["ego_pose_token"]) for frame in frames]).reshape(-1, 4, 4)
    known = np.isfinite(poses).all(axis=(1, 2))
    poses = poses[known]  # [K, 4, 4]
    times = np.array([time_of(frame) for frame in frames], dtype=np.float64)[known] / 1e6  # s [K]
    step = np.diff(poses[:, :3, 3], axis=0)  # [K - 1, 3] metres
    length, ahead = np.linalg.norm(step, axis=1), poses[:-1, :3, 0] + poses[1:, :3, 0]
    speed = length / np.maximum(np.diff(times), 1e-6)
    if (speed > FASTEST).any():
        worst = int(np.argmax(speed))
        found = f"the car is {length[worst]:.0f} m away {np.diff(times)[worst]:.1f} s later"
        return (f"{found}: are the poses inverted, of another drive, in another order or unit?",)
    fast = speed > FAST
    cosine = (step * ahead)[fast].sum(axis=1) / np.maximum(np.linalg.norm(ahead[fast], axis=1), 1e-9)  # times length
    if not fast.any() or cosine.sum() >= FORWARD * length[fast].sum():
        return ()
    found = f"the car drives forward by {cosine.sum() / length[fast].sum():.2f} of its way (usual: 1.00)"
    return (f"{found}: are the poses inverted, in another order, or their quaternions not w, x, y, z?",)
