"""Multi-view lifting: which pixel sees which point, and the mean 2D feature of every point (paper, Preliminary).

The rule is the one of OpenScene's mapper, decided in float64:

    p = inverse(cam_to_world) @ (x, y, z, 1)        u = p_x fx / p_z + cx        v = p_y fy / p_z + cy
    col = round(u), row = round(v), halves to even; accepted where border <= col < W - border, likewise for row;
    visible where p_z > 0 and, with a depth image d, d > 0 and |d - p_z| <= depth_tolerance * d.

The nuScenes devkit's rule accepts p_z > 1 m, 1 < u < W - 1 and 1 < v < H - 1 instead, before rounding. LiDAR scenes
have no depth images; `splat_depth` makes one from the cloud itself, so that near surfaces hide what lies behind them.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from geoguide.errors import InputError
from geoguide.frozen import check_fields, unless
from geoguide.ops import arrays
from geoguide.ops.arrays import Array, ArrayT, as_config_error, coordinates, host, number, whole
from geoguide.ops.cameras import camera_fault, pose_fault
from geoguide.ops.pixel_rows import PixelRows
from geoguide.ops.projection import Camera, add_visible, project_points
from geoguide.ops.splat import splat_points
from geoguide.scene import Scene, View, is_lost

RULES = ("openscene", "devkit")
SPLAT = "splat"  # value of `use_depth`: depth from the points
SPLAT_RADIUS = 0.1  # metres
SPLAT_PIXELS = 24
_BORDER = 10  # pixels


@dataclass(frozen=True)
class LiftingConfig:
    """From pixels to points; values as OpenScene uses them on ScanNet, except the border. See `project` and `fuse`.

    Raises:
        ConfigError: A number is out of range, or an unknown word.
    """

    depth_tolerance: float = 0.25  # OpenScene on ScanNet; not stated in the paper
    border: int = 2  # OpenScene cuts 10 of 320 pixels; mini frames are 160 wide and have no lens border
    occlusion: Literal["depth", "splat", "none"] = field(default="depth", metadata=unless("occlusion", "depth"))
    """Against the depth images; against a z-buffer of the points (LiDAR); or not at all (OpenScene on nuScenes)."""

    def __post_init__(self) -> None:
        check_fields(self, "lifting")
        with as_config_error("lifting"):
            number("depth_tolerance", self.depth_tolerance)
            whole("border", self.border, 0)


@dataclass(frozen=True, eq=False)
class Projection(Generic[ArrayT]):
    """Which pixel of one view sees each point; numpy arrays or tensors, as the points were.

    Attributes:
        row: int64 [P], 0 where unseen.
        col: int64 [P], 0 where unseen.
        visible: bool [P].
    """

    row: ArrayT
    col: ArrayT
    visible: ArrayT


class PixelFeatures(NamedTuple):
    """The feature map of a view whose pixels do not all count alike.

    Attributes:
        features: [H, W, C]; what stands where the weight is 0 is not read.
        weight: [H, W], finite and at least 0: how much each pixel counts in a point's mean; 0 where the 2D model has no
            answer, and such a pixel sees no point.
    """

    features: Any
    weight: Any


PixelMap = Array | PixelFeatures | PixelRows  # what a 2D model says of a view, [H, W, C]


class Fusion(NamedTuple, Generic[ArrayT]):
    """What lifting gives every point; numpy arrays or tensors, as the points were.

    Attributes:
        mean: float32 [P, C], the mean 2D feature, 0 where unseen.
        count: int64 [P], the number of views that see each point.
    """

    mean: ArrayT
    count: ArrayT


def project(
    points: ArrayT,
    intrinsics: Array,
    cam_to_world: Array,
    image_size: tuple[int, int],
    *,
    depth: Array | None = None,
    depth_tolerance: float = 0.25,
    border: int = _BORDER,
    rule: str = "openscene",
) -> Projection[ArrayT]:
    """Find each point's pixel and whether the view sees it (OpenScene's PointCloudToImageMapper).

    Any real dtype is taken, and everything is decided in float64. Time and memory are O(P).

    Args:
        points: [P, 3] metres.
        intrinsics: [3, 3] pixels, for images of `image_size`, without skew (see `ops.cameras.SKEW`).
        cam_to_world: [4, 4] metres, OpenCV axes; truly inverted, since real poses are not exactly orthonormal
            (see `ops.cameras.RIGID`).
        image_size: (H, W).
        depth: [H, W] metres, where 0, negative, nan and inf mean no reading (such pixels see nothing); None for no
            occlusion test.
        depth_tolerance: Share of the measured depth by which a point's may differ: 0.25 ScanNet, 0.02 Matterport3D.
        border: Pixels at the image's edge that see nothing: 10, or 5 on nuScenes.
        rule: Which points are inside the image: "openscene" (`border`) or "devkit" (nuScenes' own, which has its border
            fixed). The depth is tested after either.

    Returns:
        Row, column and visibility of each point: numpy arrays for numpy points, tensors on their device for a tensor.

    Raises:
        InputError: A wrong shape; nan or inf in points, intrinsics or pose; intrinsics that are not in pixels, or a
            pose that is no rigid motion (see `ops.cameras`); an unknown rule.

    Example:
        A camera at the origin looks along z. The second point projects onto the same pixel as the first, but the depth
        image says that a surface hides it; the third lies behind the camera.

        >>> import numpy as np
        >>> intrinsics = np.array([[10.0, 0, 4], [0, 10, 4], [0, 0, 1]])
        >>> points = np.array([[0.2, 0, 2], [0.4, 0, 4], [0, 0, -1]])
        >>> seen = project(points, intrinsics, np.eye(4), (9, 9), depth=np.full((9, 9), 2.0), border=0)
        >>> seen.row.tolist(), seen.col.tolist(), seen.visible.tolist()
        ([4, 0, 0], [5, 0, 0], [True, False, False])
    """
    cloud = _points(points)
    camera = _camera(intrinsics, cam_to_world, image_size)
    limits = _limits(depth_tolerance, border, rule)
    parts = project_points(cloud, camera, _depth(depth, camera.image_size, cloud), *limits)
    return Projection(*(_like(points, part) for part in parts))


def splat_depth(
    points: ArrayT,
    intrinsics: Array,
    cam_to_world: Array,
    image_size: tuple[int, int],
    *,
    radius: float = SPLAT_RADIUS,
    max_pixels: int = SPLAT_PIXELS,
) -> ArrayT:
    """Make the depth image that a cloud itself gives a camera, for scenes without depth images (our own rule).

    Each point covers a square of `radius` metres to either side at its depth z, that is floor(radius * max(fx, fy) / z)
    pixels but no more than `max_pixels`; a pixel keeps the nearest depth. So a near surface is closed and hides what
    lies behind it, while far points cover their own pixel only. Given to `project` as depth, a point is visible where
    its depth is at most (1 + depth_tolerance) times the buffer's. On flat ground h below the camera a splat's upper
    edge covers ground h / (h - radius) times as far, so take depth_tolerance >= radius / (h - radius), 0.1 for a car's
    cameras, or ground hides itself. Time is O(P max_pixels^2) at worst.

    Args:
        points: [P, 3] metres.
        intrinsics: [3, 3] pixels, as in `project`.
        cam_to_world: [4, 4] metres, as in `project`.
        image_size: (H, W).
        radius: Metres that a point covers to either side.
        max_pixels: Pixels that a point covers to either side, at most.

    Returns:
        float64 [H, W] metres, 0 where no point falls; numpy or a tensor, as the points are.

    Raises:
        InputError: As in `project`; `radius` or `max_pixels` negative.
    """
    cloud = _points(points)
    camera = _camera(intrinsics, cam_to_world, image_size)
    return _like(points, splat_points(cloud, camera, number("radius", radius), whole("max_pixels", max_pixels, 0)))


def fuse(
    points: ArrayT,
    views: Iterable[View],
    features: Iterable[PixelMap] | Callable[[View], PixelMap],
    *,
    depth_tolerance: float = 0.25,
    border: int = _BORDER,
    use_depth: bool | str = True,
    rule: str = "openscene",
    progress: bool = False,
) -> Fusion[ArrayT]:
    """Average, for every point, the 2D features of the pixels that see it (paper, Preliminary; OpenScene's fusion).

    The mean is summed in float32, and unweighted unless maps come with weights (`PixelFeatures`; beside them a map
    without weights counts 1 everywhere). Labels never decide which points get features. A view whose pose holds
    nan or inf is skipped (its feature map is taken from the iterable and dropped; a function is not asked for it), and
    one warning at the end names all of them. Memory is O(P C) for the sum plus one view's map and its visible rows.

    Args:
        points: [P, 3] metres.
        views: K of `geoguide.scene.View`, or anything with its name, intrinsics, cam_to_world, image_size and depth().
        features: One [H, W, C] array or tensor per view, of the view's image_size, `PixelFeatures`, or `PixelRows`,
            which are made of the pixels alone that see a point; from any iterable (a generator keeps one map in memory
            at a time), or a function of the view.
        depth_tolerance: As in `project`.
        border: As in `project`.
        use_depth: True tests occlusion with each view's depth image, "splat" with `splat_depth` of the points (for
            LiDAR; take depth_tolerance 0.1), False not at all.
        rule: As in `project`.
        progress: Whether to show a progress bar.

    Returns:
        Mean feature and number of views of each point: numpy for numpy points, tensors on their device for a tensor.

    Raises:
        InputError: The numbers of views and feature maps differ, a map, weight or depth image has another size, C
            changes, a weight is negative or not finite, a feature that a point gets is not finite, or no view sees any
            point, or none by a pixel with a weight; and as in `project`.

    Example:
        >>> import numpy as np
        >>> from geoguide.scene import View
        >>> intrinsics = np.array([[10.0, 0, 4], [0, 10, 4], [0, 0, 1]])
        >>> views = [View(name, intrinsics, np.eye(4), (9, 9)) for name in ("first", "second")]
        >>> maps = (np.full((9, 9, 1), value) for value in (1.0, 2.0))
        >>> lifted = fuse(np.array([[0.0, 0, 2], [0, 0, -1]]), views, maps, use_depth=False, border=0)
        >>> lifted.mean.tolist(), lifted.count.tolist()
        ([[1.5], [0.0]], [2, 0])
    """
    cloud, views = _points(points), tuple(views)
    limits = _limits(depth_tolerance, border, rule, use_depth)
    if len(cloud) == 0 or not views:
        raise InputError(f"{'points' if len(cloud) == 0 else 'views'} is empty: nothing to fuse")
    sums, skipped = _Sums(cloud), []
    bar = tqdm(views, desc="lifting", disable=not progress)
    for view, lost, feature in _pairs(bar, len(views), features):
        if lost:
            skipped.append(str(view.name))
            continue
        try:
            camera = _camera(view.intrinsics, view.cam_to_world, view.image_size)
            depth = _view_depth(view, camera, cloud, use_depth)
            feature, weight = _unpacked(feature, camera.image_size)
            sums.check(feature, weight)
        except InputError as error:
            raise InputError(f"view {view.name}: {error}") from None
        sums.add(feature, weight, *project_points(cloud, camera, depth, *limits))
    if skipped:
        names = ", ".join(skipped)
        warnings.warn(f"{len(skipped)} of {len(views)} views skipped, pose holds nan or inf: {names}", stacklevel=2)
    if not bool(sums.count.any()):
        if sums.unanswered:
            raise InputError(f"every pixel that sees a point has weight 0, in all of {len(views)} views: no answer")
        raise InputError(f"no point is visible in any of {len(views)} views: check pose, intrinsics, depth and units")
    bad = sums.broken()
    if bad:
        raise InputError(f"feature maps must be finite; pixels that see {bad} of {len(cloud)} points are not")
    return Fusion(_like(points, sums.mean()), _like(points, sums.count))


class _Sums:
    """The running sums of a fusion; from the first map with weights on, their own sum is one more channel."""

    def __init__(self, cloud: Array) -> None:
        self.cloud, self.total = cloud, None
        self.weighted, self.unanswered = False, False
        self.count: Any = _zeros(cloud, (len(cloud),), np.int64)

    def check(self, feature: Array | PixelRows, weight: np.ndarray | None) -> None:
        """Whether a map is as wide as the maps before it; the first one decides."""
        if self.total is None:
            self.weighted = weight is not None
            self.total = _zeros(self.cloud, (len(self.cloud), feature.shape[2] + self.weighted), np.float32)
        width = self.total.shape[1] - self.weighted
        if feature.shape[2] != width:
            raise InputError(f"feature map has {feature.shape[2]} channels, the views before had {width}")

    def add(self, feature: Array | PixelRows, weight: np.ndarray | None, row: Array, col: Array, visible: Any) -> None:
        if weight is not None and not self.weighted:  # so far every pixel counted 1
            self.weighted, mass = True, self.count[:, None]
            so_far = mass.float() if isinstance(mass, Tensor) else mass.astype(np.float32)
            join = torch.cat if isinstance(mass, Tensor) else np.concatenate
            self.total = cast(Any, join)([self.total, so_far], 1)
        if self.weighted:
            weight = np.ones(feature.shape[:2], np.float32) if weight is None else weight
            feature = feature.whole() if isinstance(feature, PixelRows) else feature
            feature, counts = _times(cast(Array, feature), weight), weight > 0
            self.unanswered = self.unanswered or bool(visible.any())
            visible = (
                visible & (torch.from_numpy(counts).to(row.device) if isinstance(row, Tensor) else counts)[row, col]
            )
        add_visible(cast(Any, self.total), self.count, feature, row, col, visible)

    def broken(self) -> int:
        """How many points have a sum that holds nan or inf."""
        total: Any = self.total
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(float(total.sum())):  # fast; where the sum alone overflows, every number is looked at
                return 0
        finite = total.isfinite() if isinstance(total, Tensor) else np.isfinite(total)
        return int((~finite).any(1).sum())

    def mean(self) -> Array:
        total: Any = self.total
        if self.weighted:
            return total[:, :-1] / (total[:, -1:] + (total[:, -1:] == 0))
        divisor = self.count[:, None].clip(1)  # as float32: the same bits, and no pass in float64
        total /= divisor.float() if isinstance(divisor, Tensor) else divisor.astype(np.float32)
        return total


def lift(
    scene: Scene, features: Iterable[PixelMap] | Callable[[View], PixelMap], config: LiftingConfig
) -> Fusion[np.ndarray]:
    """Lift a scene's 2D features to its points by the config's rule (paper, Preliminary).

    Args:
        scene: P points and K views.
        features: One map per view, in order, or a function of the view, as in `fuse`.
        config: How occlusion is decided, and the border.

    Returns:
        Mean feature float32 [P, C] and number of views int64 [P] of every point.

    Raises:
        InputError: As in `fuse`; the message names the scene.
    """
    depth = {"depth": True, "splat": SPLAT, "none": False}[config.occlusion]
    rule: dict[str, Any] = {"border": config.border, "depth_tolerance": config.depth_tolerance}
    try:
        return fuse(scene.points, scene.views, features, use_depth=depth, **rule)
    except InputError as error:
        if error.names_scene:
            raise
        raise InputError(f"scene {scene.name}: {error}") from error.__cause__


def _pairs(views: Iterable[View], expected: int, features: Any) -> Iterator[tuple[View, bool, Any]]:
    """Each view, whether its pose is lost, and its feature map; the numbers of views and maps must agree."""
    end: Any = object()
    stream = iter(()) if callable(features) else iter(features)
    for index, view in enumerate(views):
        lost = is_lost(host("cam_to_world", view.cam_to_world))
        if callable(features):
            feature = None if lost else features(view)
        elif (feature := next(stream, end)) is end:
            raise InputError(f"features ended after {index} maps, expected one for each of {expected} views")
        yield view, lost, feature
    if next(stream, end) is not end:
        raise InputError(f"features holds more maps than the {expected} views")


def _points(points: Array) -> Array:
    """[P, 3]: a tensor on an accelerator stays there, as float64; all else a contiguous numpy array, float32 or 64."""
    if not isinstance(points, Tensor) or points.device.type == "cpu":
        return coordinates("points", points, keep_single=True)
    if points.dim() != 2 or points.shape[1] != 3:
        raise InputError(f"points must be [P, 3], found {list(points.shape)}")
    if not bool(points.isfinite().all()):
        raise InputError("points holds nan or inf")
    return points.detach().double()


def _camera(intrinsics: Array, cam_to_world: Array, image_size: Sequence[int]) -> Camera:
    k, pose = host("intrinsics", intrinsics), host("cam_to_world", cam_to_world)
    for name, value, shape in (("intrinsics", k, (3, 3)), ("cam_to_world", pose, (4, 4))):
        if value.shape != shape:
            raise InputError(f"{name} must be {list(shape)}, found {list(value.shape)}")
        if not np.isfinite(value).all():
            raise InputError(f"{name} holds nan or inf")
    k, pose = k.astype(np.float64), pose.astype(np.float64)
    size = arrays.image_size(image_size)
    try:
        world_to_cam = np.linalg.inv(pose)[:3]
    except np.linalg.LinAlgError:
        raise InputError("cam_to_world is singular: it has no inverse") from None
    fault = camera_fault(k) or pose_fault(pose)  # such cameras would put features on wrong pixels without a word
    if fault is not None:
        raise InputError(fault)
    return Camera(world_to_cam, (float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])), size)


def _limits(depth_tolerance: float, border: int, rule: str, use_depth: bool | str = True) -> tuple[float, int, bool]:
    """What `project_points` takes after the depth image; checks `use_depth` too."""
    if use_depth not in (True, False, SPLAT):
        raise InputError(f"use_depth must be True, False or {SPLAT!r}, found {use_depth!r}")
    if rule not in RULES:
        raise InputError(f"rule must be one of {', '.join(RULES)}, found {rule!r}")
    if rule == "devkit" and border != _BORDER:
        raise InputError(f"border belongs to rule 'openscene'; rule 'devkit' has its own, found border {border!r}")
    return number("depth_tolerance", depth_tolerance), whole("border", border, 0), rule == "devkit"


def _view_depth(view: View, camera: Camera, points: Array, use_depth: bool | str) -> Array | None:
    """The depth [H, W] that decides occlusion in this view, None for no test."""
    if use_depth == SPLAT:
        return splat_points(points, camera, SPLAT_RADIUS, SPLAT_PIXELS)
    if not use_depth:
        return None
    depth = view.depth() if callable(view.depth) else view.depth
    if depth is None:
        raise InputError("has no depth image, and use_depth is True")
    return _depth(depth, camera.image_size, points)


def _depth(depth: Array | None, image_size: tuple[int, int], points: Array) -> Array | None:
    if depth is None:
        return None
    if isinstance(points, Tensor):
        depth = torch.as_tensor(depth).detach().to(points.device)
    else:
        depth = host("depth", depth)
        depth = np.ascontiguousarray(depth, dtype=np.float32 if depth.dtype == np.float32 else np.float64)
    if tuple(depth.shape) != image_size:
        raise InputError(f"depth must be of image_size {list(image_size)}, found {list(depth.shape)}")
    return depth


def _unpacked(feature: Any, image_size: tuple[int, int]) -> tuple[Array | PixelRows, np.ndarray | None]:
    """The map [H, W, C] and its weights float32 [H, W], both checked."""
    weight = None
    if not isinstance(feature, PixelRows):
        feature, weight = feature if isinstance(feature, PixelFeatures) else (feature, None)
        feature = feature.detach() if isinstance(feature, Tensor) else host("feature map", feature)
    if len(feature.shape) != 3 or tuple(feature.shape[:2]) != image_size or feature.shape[2] == 0:
        raise InputError(f"feature map must be [{image_size[0]}, {image_size[1]}, C], found {list(feature.shape)}")
    if weight is None:
        return feature, None
    weight = host("weight", weight, "fiub")
    if weight.shape != image_size:
        found = f"{weight.dtype} {list(weight.shape)}"
        raise InputError(f"weight must be numbers [{image_size[0]}, {image_size[1]}], found {found}")
    if not (np.isfinite(weight).all() and (weight >= 0).all()):
        bad = int((~(np.isfinite(weight) & (weight >= 0))).sum())
        raise InputError(f"weight must be finite and at least 0, found {bad} pixels that are not")
    return feature, weight.astype(np.float32)


def _times(feature: Array, weight: np.ndarray) -> Array:
    """float32 [H, W, C + 1]: the features times their weight, and the weight; zeros where it is 0."""
    if isinstance(feature, Tensor):
        mass = torch.from_numpy(weight).to(feature.device)[..., None]
        return torch.where(mass > 0, torch.cat([feature.float() * mass, mass], dim=-1), 0)
    mass = weight[..., None]
    product = np.concatenate([np.asarray(feature, np.float32) * mass, mass], axis=-1)
    return np.where(mass > 0, product, np.float32(0))


def _zeros(like: Array, shape: tuple[int, ...], dtype: type) -> Array:
    zeros = np.zeros(shape, dtype)
    return torch.from_numpy(zeros).to(like.device) if isinstance(like, Tensor) else zeros


def _like(kind: ArrayT, value: Array) -> ArrayT:
    """`value` as what `kind` is; a tensor is on its device already."""
    return cast(Any, torch.from_numpy(value) if isinstance(kind, Tensor) and isinstance(value, np.ndarray) else value)
