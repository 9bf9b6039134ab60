"""Do the depth images of a scene show the scene's own points, under the poses, intrinsics and depth unit as read?

`depth_agreement` compares frames with one another; frames of another scene, or all in another convention, may agree.
A scanned scene holds something that does not follow from its poses: its points. Of those that project into a view at
depth z, where the view reads d,

    agree: |d - z| <= 0.05 d        seen through: d > 1.1 z        (nearer readings: something stands before the point)

Both are pooled over a few views. Measured on 2 real ScanNet scans (60 frames each), 63 generated rooms and 9 generated
regions, and on six of these harmed (`agree` as a share of the points in view; `share` is agree / (agree + through)):

| | agree | share | refused |
|---|---|---|---|
| as recorded | 0.43 to 0.98 | 0.89 to 1.00 | 0 of 74 |
| depth unit wrong by 2 or 4 | 0.00 to 0.03 | 0.00 to 0.03, or no verdict | 24 of 24 |
| world-to-camera; other camera axes | 0.00 to 0.11 | 0.00 to 0.53, or nothing in view | 12 of 12 |
| poses late by one frame, shuffled | 0.04 to 0.28 | 0.16 to 0.56 | 12 of 12 |
| the points of another scene | 0.04 to 0.24 | 0.46 to 0.98 | 4 of 4 |
| poses moved by 1 m | 0.11 to 0.51 | 0.30 to 0.83 | 4 of 6 |
| poses moved by 0.3 m | 0.20 to 0.66 | 0.61 to 0.92 | 1 of 6 |

Intrinsics that are off by some percent agree within 5 % still. So it is asked how many of the points in view lie
within 1 % of the depth, with the intrinsics as read and multiplied by `SCALES`. Measured on the 2 real scans, 2 of the
generated rooms and 2 regions:

| intrinsics | as read | best other | refused |
|---|---|---|---|
| as recorded | 0.28 to 0.86 | 0.13 to 0.32 | 0 of 6 |
| focal lengths, or all, times or by 1.1 | 0.06 to 0.33 | 0.28 to 0.86 | 18 of 18 |
| the same by 1.2; 1.3 and 1.4 | 0.03 to 0.17 | 0.21 to 0.85 | 36 of 36 |
| focal lengths times 1.07; one of the two times 1.2 | 0.13 to 0.47 | 0.14 to 0.67 | 1 of 12 |
| right, depth longer by 1, 2 or 4 % | 0.01 to 0.51 | 0.07 to 0.33 | 4 of 18 |
| right, poses that scatter by 3 or 10 cm | 0.08 to 0.45 | 0.08 to 0.22 | 1 of 12 |
"""

from collections.abc import Sequence

import numpy as np

from geoguide.errors import DataError
from geoguide.ops.arrays import spread
from geoguide.scene import View

VIEWS, POINTS = 8, 20000  # of a scene that are looked at, evenly spread: at most so many depth images are read
AGREE, THROUGH = 0.05, 1.1  # as in `frame_pairs`, of which these are the measured limits too
NEAREST = 0.1  # metres before a camera, where nothing is judged
FEWEST = 4  # views; of fewer nothing is said
JUDGED = 100  # points in view, of all views together; small hand-made scenes have fewer, the scans above 7,000
HARDLY = 0.001  # share of the points that are in view, of all pairs of point and view; scans above 0.04
CLOSE = 0.01  # of the depth; at the border of an image 5 % of focal length move what is seen by 2 % of the width
SCALES = 1.05 ** np.array([*range(-7, -1), *range(2, 8)])  # 0.71 to 1.41; nearer ones agree as half-wrong poses do
TIMES, SURELY = 2.0, 0.2  # see the second table
FEW = 5000  # points that other intrinsics are tried on
LEAST, WRONG = 0.15, 0.7  # of agree and share; a third of the least right value, and midway to the worst wrong ones


def check_surface(points: np.ndarray, views: Sequence[View], where: str) -> None:
    """Refuse views whose depth images do not show a scene's points.

    Args:
        points: The scene's points [P, 3], metres, of its own scan: not a cloud made of these depth images.
        views: Its views, taken among the points; those with pose and depth image are used.
        where: The file of the points or poses, for the message.

    Raises:
        DataError: Most of them do not, or a depth image is broken.
    """
    usable = [view for view in views if view.has_pose and view.pixel_files[1] is not None]
    if len(usable) < FEWEST or len(points) < JUDGED:
        return
    few = points[spread(len(points), POINTS)].astype(np.float64)  # [n, 3]
    chosen = [usable[number] for number in spread(len(usable), VIEWS)]
    depths = [view.depth() for view in chosen]  # [H, W] each, 0 where there is no reading
    counts = np.array([_seen(few, view, depth) for view, depth in zip(chosen, depths, strict=True)])  # [V, 4]
    read, inside, agree, through = counts.sum(axis=0)
    if not read:
        raise DataError(f"{where}: expected depth images, found no reading in any of {len(chosen)} that were looked at")
    if inside < HARDLY * len(few) * len(chosen):
        found = f"{len(chosen)} views were looked at, and hardly any of the points lies in any of them"
        raise DataError(f"{where}: {found}; {_HINT}")
    if inside < JUDGED:
        return
    _check_camera(few[spread(len(few), FEW)], chosen, depths, where)
    if agree < LEAST * inside or agree < WRONG * (agree + through):
        found = f"{agree / inside:.0%} lie where its depth says (usual: 43 % and more)"
        found += f", {through / inside:.0%} are seen through (usual: 2 %)"
        raise DataError(f"{where}: depth images do not show the points: of those in view {found}; {_HINT}")


def views_inside(views: Sequence[View], points: np.ndarray) -> tuple[View, ...]:
    """Choose the views that stand among a scene's points: from outside, walls may hide all of them.

    Args:
        views: The views.
        points: [P, 3], metres.

    Returns:
        Those whose camera stands inside the points' bounding box.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    return tuple(
        view for view in views if ((view.cam_to_world[:3, 3] - low) * (high - view.cam_to_world[:3, 3]) > 0).all()
    )


def readings_at(
    points: np.ndarray, view: View, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Project a scene's points into a view, and read its depth there.

    Args:
        points: [P, 3], metres.
        view: The view.
        depth: Its depth image [H, W], metres, 0 where there is no reading.

    Returns:
        Of the n points that project on a reading: their rows int64 [n]; their pixels (column, row) int64 [n, 2]; the
        reading and the point's own depth, float64 [n] metres.
    """
    local = (points.astype(np.float64) - view.cam_to_world[:3, 3]) @ view.cam_to_world[:3, :3]  # [P, 3]
    row = np.flatnonzero(local[:, 2] > NEAREST)
    local = local[row]
    pixel = np.rint((local @ view.intrinsics.T)[:, :2] / local[:, 2:]).clip(-1, 1 << 30).astype(np.int64)  # [n, 2]
    inside = ((pixel >= 0) & (pixel < depth.shape[::-1])).all(axis=1)
    row, pixel, z = row[inside], pixel[inside], local[inside, 2]
    reading = depth[pixel[:, 1], pixel[:, 0]].astype(np.float64)
    read = reading > 0
    return row[read], pixel[read], reading[read], z[read]


_HINT = (
    "expected images and points of one scene, camera-to-world poses in metres with camera axes x right, y down, z "
    "forward, in the order of the frames, and the dataset's unit of depth"
)


def _check_camera(points: np.ndarray, views: Sequence[View], depths: Sequence[np.ndarray], where: str) -> None:
    """Refuse intrinsics where others, larger or smaller by one factor, fit points [n, 3] and depths far better."""
    ways = ("focal lengths", "intrinsics")
    fits = [_fits(points, view, depth) for view, depth in zip(views, depths, strict=True)]
    counts = np.sum(fits, axis=0)  # [2, 1 + S, 2]
    share = np.where(counts[..., 0] < JUDGED, 0, counts[..., 1] / np.maximum(counts[..., 0], 1))  # [2, 1 + S]
    way, best = np.unravel_index(share.argmax(), share.shape)
    if share[way, best] >= max(SURELY, TIMES * share[0, 0]):
        found = f"{share[0, 0]:.0%} of the points lie where the depth images say within {CLOSE:.0%}"
        other = f"{share[way, best]:.0%} with {ways[way]} times {SCALES[best - 1]:.2f}"
        raise DataError(f"{where}: {found}, {other}: are the intrinsics those of another camera or image size?")


def _fits(points: np.ndarray, view: View, depth: np.ndarray) -> np.ndarray:
    """By the intrinsics as they are, and as scaled: points [n, 3] that project on a reading, and lie close to it.

    Returns:
        int64 [2, 1 + S, 2]: focal lengths alone scaled, then the principal point with them.
    """
    local = (points - view.cam_to_world[:3, 3]) @ view.cam_to_world[:3, :3]  # [n, 3]
    local = local[local[:, 2] > NEAREST]
    factor = np.append(1.0, SCALES)[:, None, None]  # [1 + S, 1, 1]
    ahead = factor * (local[:, :2] / local[:, 2:]) * view.intrinsics[[0, 1], [0, 1]]  # [1 + S, n, 2] pixels
    centre = view.intrinsics[:2, 2]
    pixel = np.stack([ahead + centre, ahead + factor * (centre + 0.5) - 0.5])  # [2, 1 + S, n, 2]
    pixel = np.rint(pixel).clip(-1, 1 << 30).astype(np.int64)
    inside = ((pixel >= 0) & (pixel < depth.shape[::-1])).all(axis=-1)  # [2, 1 + S, n]
    reading = np.where(inside, depth[tuple(np.where(inside, pixel[..., axis], 0) for axis in (1, 0))], 0)
    close = np.abs(reading - local[:, 2]) <= CLOSE * reading
    return np.stack([(reading > 0).sum(axis=-1), close.sum(axis=-1)], axis=-1)


def _seen(points: np.ndarray, view: View, depth: np.ndarray) -> tuple[int, int, int, int]:
    """Readings of a view; points [n, 3] that project on one, those that agree with it, and that are seen through."""
    _, _, reading, z = readings_at(points, view, depth)
    agree, through = np.abs(reading - z) <= AGREE * reading, reading > THROUGH * z
    return int((depth > 0).sum()), len(reading), int(agree.sum()), int(through.sum())
