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
    counts = np.array([_seen(few, view) for view in chosen])  # [V, 4]
    read, inside, agree, through = counts.sum(axis=0)
    if not read:
        raise DataError(f"{where}: expected depth images, found no reading in any of {len(chosen)} that were looked at")
    if inside < HARDLY * len(few) * len(chosen):
        found = f"{len(chosen)} views were looked at, and hardly any of the points lies in any of them"
        raise DataError(f"{where}: {found}; {_HINT}")
    if inside < JUDGED:
        return
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


def _seen(points: np.ndarray, view: View) -> tuple[int, int, int, int]:
    """Readings of a view; points [n, 3] that project on one, those that agree with it, and that are seen through."""
    depth = view.depth()  # [H, W], 0 where there is no reading
    _, _, reading, z = readings_at(points, view, depth)
    agree, through = np.abs(reading - z) <= AGREE * reading, reading > THROUGH * z
    return int((depth > 0).sum()), len(reading), int(agree.sum()), int(through.sum())
