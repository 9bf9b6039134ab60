"""Do the colour images of a recording show the colours that its points have?

Only where the points have colours of their own (a published mesh): a cloud fused from the same images agrees with them
whatever they are. The median difference of the points' colours and the pixels that see them, over that of unrelated
ones, measured on two rooms of ScanNet with 8 frames each:

| images | scene0000_00 | scene0113_00 |
|---|---|---|
| right | 0.29 | 0.29 |
| mirrored left to right | 0.91 | 0.86 |
| upside down | 0.79 | 0.95 |
| of the fifth frame after | 1.02 | 0.78 |
| of the next frame | 0.88 | 0.49 (not seen) |
| red and blue exchanged | 0.49 | 0.38 (seen by the difference after exchanging them back: 0.55, 0.75 of it) |
"""

from collections.abc import Callable

import numpy as np

from geoguide.scene import Scene, View

FRAMES = 8  # images that are read
WRONG = 0.65  # share of the difference of unrelated colours; see the table
BETTER = 0.8  # of the difference, what another reading leaves where it is the right one
FEWEST = 500  # pairs of a point and a pixel
CLOSE = 0.05  # of the depth, as in `depth_agreement`
COLORLESS = 0.02  # standard deviation of colours, below which they tell nothing
READINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored left to right": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "turned by 180 degrees": lambda image: image[::-1, ::-1],
    "with red and blue exchanged": lambda image: image[..., ::-1],
}


def color_doubts(scene: Scene) -> tuple[str, ...]:
    """Say where a scene's colour images do not show its points; at most `FRAMES` images are read.

    Args:
        scene: Points with colours of their own, and views with depth.

    Returns:
        A sentence, or none where the images fit or nothing can be told.

    Raises:
        DataError: An image is broken.
    """
    usable = [view for view in scene.views if view.has_pose and None not in view.pixel_files[:2]]
    if not usable or scene.colors.std(axis=0).max() < COLORLESS:
        return ()
    views = [usable[number] for number in np.unique(np.linspace(0, len(usable) - 1, FRAMES).astype(int))]
    seen = [(view.color(), *_seen(scene.points, view)) for view in views]
    own = 255 * np.concatenate([scene.colors[row] for _, row, _ in seen])  # [n, 3]
    if len(own) < FEWEST:
        return ()

    def difference(read: Callable[[np.ndarray], np.ndarray], other: np.ndarray | slice = np.s_[:]) -> float:
        shown = np.concatenate([read(image)[pixel[:, 1], pixel[:, 0]] for image, _, pixel in seen])
        return float(np.median(np.abs(own - shown[other])))

    unrelated = difference(np.asarray, np.random.default_rng(0).permutation(len(own)))
    found = difference(np.asarray)
    if not unrelated:
        return ()
    others = {name: difference(read) for name, read in READINGS.items()}
    best = min(others, key=lambda name: others[name])
    differ = f"colour images differ from the points' colours by {found / unrelated:.2f} of what unrelated ones do"
    if others[best] < BETTER * found:
        return (f"{differ} (usual: 0.3), but by {others[best] / unrelated:.2f} when {best}: are they stored so?",)
    fault = f"{differ} (usual: 0.3): are they mirrored, or of other frames?"
    return (fault,) if found > WRONG * unrelated else ()


def _seen(points: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Which points a view sees, by its depth image, int64 [n], and at which pixels (column, row), int64 [n, 2]."""
    depth, world_to_cam = view.depth(), np.linalg.inv(view.cam_to_world)
    local = points @ world_to_cam[:3, :3].T + world_to_cam[:3, 3]  # [P, 3]
    row = np.flatnonzero(local[:, 2] > 0.1)
    local = local[row]
    pixel = np.rint((local @ view.intrinsics.T)[:, :2] / local[:, 2:]).astype(np.int64)
    inside = ((pixel >= 0) & (pixel < depth.shape[::-1])).all(axis=1)
    row, pixel, z = row[inside], pixel[inside], local[inside, 2]
    reading = depth[pixel[:, 1], pixel[:, 0]]
    near = (reading > 0) & (np.abs(reading - z) < CLOSE * reading)
    return row[near], pixel[near]
