"""The faults of the simulated teacher as plain array functions (paper, the errors of 2D distillation)."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geoguide.scene import Scene, View

ToClass = Callable[[np.ndarray], np.ndarray]  # turns a label image int64 [H, W] into class ids, 255 void
ALIKE = (  # classes that look or are shaped alike; names that a label set lacks are ignored
    ("table", "desk", "counter"),
    ("cabinet", "refrigerator", "otherfurniture", "bookshelf", "counter"),
    ("picture", "window", "door"),
    ("sofa", "chair", "bed"),
    ("curtain", "shower curtain", "window"),
    ("wall", "door", "cabinet", "window"),
    ("toilet", "sink", "bathtub"),
    ("floor", "table", "counter"),
    ("truck", "bus", "trailer", "construction vehicle", "car"),
    ("bicycle", "motorcycle", "person"),
    ("barrier", "manmade", "traffic cone"),
    ("drivable surface", "other flat", "sidewalk", "terrain"),
    ("vegetation", "terrain"),
)


# What fills most of a scene is seldom taken for something else as a whole.
STEADY = {"wall": 0.3, "floor": 0.2, "manmade": 0.3, "drivable surface": 0.2}
# What stands before a wall is taken for it: of a class the ease, by class. The first five make up nearly half of the
# errors of three real networks on a real room; the others stand or hang there as well, and are half as easy.
BACKGROUND = {
    "wall": {
        **dict.fromkeys(("cabinet", "table", "curtain", "refrigerator", "desk"), 1.0),
        **dict.fromkeys(("door", "window", "bookshelf", "picture", "counter", "shower curtain", "otherfurniture"), 0.5),
    }
}
TEXT_TEMPERATURE = 0.12  # cosines of class names lie between 0.35 and 0.9
ALIKE_BONUS = 0.3  # what membership of one group adds to a cosine
PART = 1.0  # metres: edge of the cubes that cut an object into parts; below it, superpoint means repair too much
VOXEL = 0.1  # metres: the grain in which a surface's seen share is counted
SIDE_STEP = 40  # an image is sampled about 40 times along its width for that
SHADOW_REACH = 5.0  # pixels of a 160-pixel-wide image at full severity


@dataclass(frozen=True, eq=False)
class Survey:
    """What the K views of a scene show of its O objects.

    Attributes:
        keys: int64 [O], sorted codes of the objects (see `object_image`).
        classes: int64 [O], 255 void.
        areas: float64 [O], m^2 that any view sees.
        shares: float64 [K, O], the part of that area that each view sees.
        centers: float64 [O, 3] metres.
        images: Of each view int32 [H, W], the number of the object at every pixel, 0..O-1.
    """

    keys: np.ndarray
    classes: np.ndarray
    areas: np.ndarray
    shares: np.ndarray
    centers: np.ndarray
    images: tuple[np.ndarray, ...]


def alike_table(text: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """What each class is taken for, and how easily.

    Softmax over the text cosines plus a bonus for classes of one ALIKE group.

    Args:
        text: float [C, D], the classes' embeddings, of unit length.
        names: C class names.

    Returns:
        float64 [C, C], the chance of each other class, rows that sum to 1 with a zero diagonal; and float64 [C] in
        [0, 1], how easily each class is confused at all.
    """
    if len(names) == 1:
        return np.zeros((1, 1)), np.zeros(1)
    member = np.array([[name in group for group in ALIKE] for name in names], dtype=np.float64)  # [C, G]
    bonus = ALIKE_BONUS * (member @ member.T > 0)
    score = (text @ text.T + bonus) / TEXT_TEMPERATURE  # [C, C]
    np.fill_diagonal(score, -np.inf)
    table = np.exp(score - score.max(axis=1, keepdims=True))
    table /= table.sum(axis=1, keepdims=True)
    ease = np.where(member.any(axis=1), 1.0, 0.5)
    return table, np.array([STEADY.get(name, value) for name, value in zip(names, ease, strict=True)])


def background_table(names: tuple[str, ...]) -> tuple[np.ndarray, int]:
    """How easily each class falls to the background, and the class that this is.

    Args:
        names: C class names.

    Returns:
        float64 [C] in [0, 1], 0 for all where the names hold no background; and the background's class.
    """
    found = next((name for name in BACKGROUND if name in names), None)
    if found is None:
        return np.zeros(len(names)), 0
    return np.array([BACKGROUND[found].get(name, 0.0) for name in names]), names.index(found)


def object_image(view: View, to_class: ToClass) -> np.ndarray:
    """The object at every pixel, as a code: instance id * 256 + class (255 void).

    Args:
        view: A view with label and instance images.
        to_class: Turns a label image int64 [H, W] into class ids.

    Returns:
        int64 [H, W].

    Raises:
        DataError: The view lacks an image.
    """
    return view.instances() * 256 + to_class(view.labels())


def survey(scene: Scene, to_class: ToClass) -> Survey:
    """Look once at every view: which objects there are, how large, and how much of each every view sees.

    Surfaces are counted in 10 cm voxels over all posed views. A view without a pose counts as seeing everything.

    Args:
        scene: A scene whose K views have label, instance and depth images.
        to_class: Turns a label image int64 [H, W] into class ids.

    Returns:
        The objects, and what each view sees of them.

    Raises:
        DataError: A view lacks an image.
    """
    found = [different(object_image(view, to_class)) for view in scene.views]
    cells = [_seen_cells(view, codes, image) for view, (codes, image) in zip(scene.views, found, strict=True)]
    view_of = np.repeat(np.arange(len(cells)), [len(codes) for codes, _, _ in cells])  # of each sample
    codes, voxels, points = (np.concatenate(part) for part in zip(*cells, strict=True))
    keys, code = np.unique(codes, return_inverse=True)
    images = tuple(np.searchsorted(keys, codes).astype(np.int32)[image] for codes, image in found)
    placed = voxels >= 0  # not: views without a pose, pixels without depth
    view_of, points = view_of[placed], points[placed]
    surfaces, surface = np.unique(code[placed] << 45 | voxels[placed], return_inverse=True)
    owner = surfaces >> 45
    total = np.bincount(owner, minlength=len(keys))
    seen = np.unique(view_of * len(surfaces) + surface)  # (view, surface) pairs
    pairs = seen // len(surfaces) * len(keys) + owner[seen % len(surfaces)] if len(surfaces) else seen
    shares = np.bincount(pairs, minlength=len(cells) * len(keys)).reshape(len(cells), -1) / np.maximum(total, 1)
    shares[[not view.has_pose for view in scene.views]] = 1.0
    size = np.maximum(np.bincount(code[placed], minlength=len(keys)), 1)
    center = [np.bincount(code[placed], weights=axis, minlength=len(keys)) / size for axis in points.T]
    return Survey(keys, keys % 256, total * VOXEL**2, shares, np.stack(center, axis=1), images)


def different(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the different values of an image: `np.unique` with its inverse, for few values several times faster.

    Args:
        image: int [H, W].

    Returns:
        The n different values, ascending; and int64 [H, W], the number of each pixel's among them.
    """
    values = np.unique(image)
    return values, np.searchsorted(values, image)


def _seen_cells(view: View, codes: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes [n] of sampled pixels, their 10 cm world voxels packed in 45 bits (-1 unknown), positions [n, 3] metres.

    Every one of the objects, whose codes [O'] `image` [H, W] gives the numbers of, is sampled at least once.
    """
    height, width = image.shape
    step = max(1, width // SIDE_STEP)
    first = np.empty(len(codes), np.int64)
    first[image.reshape(-1)[::-1]] = np.arange(image.size)[::-1]  # what is written last stays: the first pixel
    rows, cols = np.mgrid[0:height:step, 0:width:step].reshape(2, -1)  # [n] each
    rows, cols = np.r_[rows, first // width], np.r_[cols, first % width]
    depth = view.depth()[rows, cols].astype(np.float64)
    points = np.zeros((len(rows), 3))
    voxels = np.full(len(rows), -1)
    if view.has_pose:
        rays = np.stack([cols, rows, np.ones(len(rows))], axis=1) @ np.linalg.inv(view.intrinsics).T
        points = (rays * depth[:, None]) @ view.cam_to_world[:3, :3].T + view.cam_to_world[:3, 3]
        cell = np.floor(points / VOXEL).astype(np.int64) & 0x7FFF
        voxels = np.where(depth > 0, cell[:, 0] << 30 | cell[:, 1] << 15 | cell[:, 2], -1)
    return codes[image[rows, cols]], voxels, points


def part_image(view: View) -> np.ndarray:
    """The part of the scene at every pixel: cubes of `PART` metres, which lie in the world and not in the image.

    Args:
        view: A view with a depth image.

    Returns:
        int64 [H, W], codes >= 0 of cubes; -1 where there is no depth or no pose.

    Raises:
        DataError: The view lacks its depth image.
    """
    depth = view.depth().astype(np.float64)
    if not view.has_pose:
        return np.full(depth.shape, -1)
    rows, cols = np.indices(depth.shape)
    rays = np.stack([cols, rows, np.ones_like(cols)], axis=-1) @ np.linalg.inv(view.intrinsics).T
    points = (rays * depth[..., None]) @ view.cam_to_world[:3, :3].T + view.cam_to_world[:3, 3]
    cube = np.floor(points / PART).astype(np.int64) & 0xFFFF  # [H, W, 3]
    return np.where(depth > 0, cube[..., 0] << 32 | cube[..., 1] << 16 | cube[..., 2], -1)


def hashed(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random number for every code, the same wherever the code comes up, whatever other codes there are.

    Args:
        codes: int64 [n].
        rng: Where the key comes from; generators in the same state give the same numbers.

    Returns:
        float64 [n] in [0, 1), by the finaliser of SplitMix64 (Steele et al. 2014).
    """
    key = rng.integers(0, 1 << 63, dtype=np.uint64)
    mixed = codes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) / float(1 << 53)


def shadow(objects: np.ndarray, depth: np.ndarray, severity: float, side: int) -> np.ndarray:
    """Give objects occlusion shadows: at depth edges the nearer object spills over to one side.

    Args:
        objects: int [H, W], the object at every pixel.
        depth: [H, W] metres, 0 where there is no reading.
        severity: In [0, 1], how far; at 1 it is `SHADOW_REACH`.
        side: 1 to the right, -1 to the left.

    Returns:
        int [H, W], a copy.
    """
    reach = round(severity * SHADOW_REACH * objects.shape[1] / 160)
    far = np.where(depth > 0, depth, np.inf)
    result, nearest = objects.copy(), far.copy()
    for shift in range(1, min(reach, objects.shape[1] - 1) + 1):
        here, beside = (np.s_[:, shift:], np.s_[:, :-shift]) if side > 0 else (np.s_[:, :-shift], np.s_[:, shift:])
        closer = far[beside] < np.minimum(0.9 * far[here] - 0.05, nearest[here])
        result[here] = np.where(closer, objects[beside], result[here])
        nearest[here] = np.where(closer, far[beside], nearest[here])
    return result


def bleed(mixture: np.ndarray, severity: float, patch: int) -> np.ndarray:
    """Blend every pixel's mixture of objects with the mean of the patches around it.

    Args:
        mixture: float32 [H, W, O], each pixel's shares of the objects, which sum to 1.
        severity: In [0, 1], the share of the patch means.
        patch: Edge of a patch, pixels.

    Returns:
        float32 [H, W, O]; the shares still sum to 1. Patch means are enlarged bilinearly.
    """
    if severity == 0:
        return mixture
    pool_rows, grow_rows = _patches(mixture.shape[0], patch)
    pool_cols, grow_cols = _patches(mixture.shape[1], patch)
    return (1 - severity) * mixture + severity * _both(grow_rows, grow_cols, _both(pool_rows, pool_cols, mixture))


def coarse_noise(rng: np.random.Generator, size: tuple[int, int], width: int, patch: int) -> np.ndarray:
    """Make smooth noise: one standard normal draw for each patch, bilinearly enlarged.

    Args:
        rng: Where the draws come from.
        size: (H, W).
        width: Channels.
        patch: Edge of a patch, pixels.

    Returns:
        float32 [H, W, width].
    """
    grow_rows, grow_cols = _patches(size[0], patch)[1], _patches(size[1], patch)[1]
    grid = rng.standard_normal((grow_rows.shape[1], grow_cols.shape[1], width), dtype=np.float32)
    return _both(grow_rows, grow_cols, grid)


def _both(rows: np.ndarray, cols: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Apply a row operator [h, H] and a column operator [w, W] to an image [H, W, D] -> [h, w, D]."""
    return np.matmul(cols, np.tensordot(rows, image, axes=1))


@functools.lru_cache(maxsize=8)
def _patches(length: int, patch: int) -> tuple[np.ndarray, np.ndarray]:
    """Operators of one axis: patch mean [n, length] and bilinear enlargement [length, n], float32; rows sum to 1.

    Every view of a recording asks for the same.
    """
    index = np.arange(length) // patch
    count = index[-1] + 1
    pool = (index == np.arange(count)[:, None]).astype(np.float32)
    pool /= pool.sum(axis=1, keepdims=True)
    middle = pool @ np.arange(length)
    grow = np.stack([np.interp(np.arange(length), middle, row) for row in np.eye(count)], axis=1)
    return pool, grow.astype(np.float32)
