"""`geoguide segment`: label a scan, an RGB-D folder or a LiDAR key frame with any words; writes a ply and a summary."""

import colorsys
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from plyfile import PlyData, PlyElement

from geoguide.datasets.nuscenes import CALIBRATION, load_key_frame
from geoguide.datasets.points import load_points
from geoguide.datasets.rgbd import load_rgbd
from geoguide.errors import DataError, InputError
from geoguide.instances.geometry import InstanceConfig, segment_instances
from geoguide.lifting import SPLAT, Fusion, fuse
from geoguide.model import GeoGuideModel
from geoguide.paths import replacing
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, estimate_normals, scene_superpoints
from geoguide.teachers.color import ColorTeacher


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labels of one scan: ids int64 [P] into `labels`, cosine float32 [P], and what was found on the way."""

    scene: Scene
    labels: tuple[str, ...]
    ids: np.ndarray
    scores: np.ndarray
    summary: dict[str, Any]


def parse_labels(text: str) -> tuple[str, ...]:
    """'chair, whiteboard' -> ('chair', 'whiteboard'); empty or repeated words are an `InputError`."""
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise InputError(f"--labels: expected words separated by commas, found {text!r}")
    if len(set(names)) != len(names):
        raise InputError(f"--labels: {next(n for n in names if names.count(n) > 1)!r} is named twice")
    return names


def open_scan(path: Path, columns: int | None = None, voxel: float = 0.03) -> Scene:
    """A ply, npz or bin file, or a folder: colour, depth and pose (reconstructed at `voxel` metres), or one key frame.

    A folder with calibration.json is a LiDAR key frame (see `nuscenes.load_key_frame`): its colours are lifted from the
    cameras, and points that no camera sees stay grey.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if (path / CALIBRATION).is_file():
        scene = load_key_frame(path)
        lifted, count = lift_colors(scene)
        return replace(scene, colors=np.where(count[:, None] > 0, lifted, scene.colors))
    return load_rgbd(path, voxel=voxel) if path.is_dir() else load_points(path, columns=columns)


def segment_scan(scene: Scene, model: GeoGuideModel, labels: tuple[str, ...]) -> Segmentation:
    """Label every point, and find superpoints and instance masks.

    RGB-D adds the lifting check on the frames' colours; a LiDAR with cameras the share of points that a camera sees.
    """
    ids, scores = model.segment(scene.points, scene.colors, scene.normals, labels=list(labels))
    superpoints = scene_superpoints(scene, SuperpointConfig())
    normals = scene.normals if scene.normals is not None else estimate_normals(scene.points)
    masks = segment_instances(scene.points, normals, superpoints, InstanceConfig())
    summary = {
        "scan": scene.name,
        "points": len(scene),
        "model": model.origin,
        "backbone": model.backbone.name,
        "prompt": model.prompt,
        "labels": {
            name: {
                "points": int((ids == i).sum()),
                "share": round(float((ids == i).mean()), 4),
                "mean_cosine": round(float(scores[ids == i].mean()), 4) if (ids == i).any() else None,
            }
            for i, name in enumerate(labels)
        },
        "superpoints": int(superpoints.max() + 1),
        "instance_masks": len(masks),
    }
    if scene.views and scene.views[0].pixel_files[1] is not None:  # depth images
        summary["lifting_check"] = color_check(scene)
    elif scene.views:
        summary["seen_share"] = round(float((lift_colors(scene).count > 0).mean()), 4)
    return Segmentation(scene, labels, ids, scores, summary)


def lift_colors(scene: Scene) -> Fusion:
    """What a LiDAR's cameras see: mean colour float32 [P, 3] in [0, 1], 0 where unseen, and count int64 [P] of cameras.

    There are no depth images, so the points' own nearness decides which are hidden (`lifting.splat_depth`).
    """
    colors = ColorTeacher().features(scene)
    return fuse(scene.points, scene.views, colors, use_depth=SPLAT, depth_tolerance=0.1, rule="devkit")


def color_check(scene: Scene) -> dict[str, float]:
    """Lift the frames' own colours and compare them with the cloud's: a lifting check that needs no labels.

    Median absolute difference over seen points and channels, in 0..255; large values mean wrong poses or intrinsics.
    """
    lifted, count = fuse(scene.points, scene.views, ColorTeacher().features(scene), depth_tolerance=0.05)
    seen = np.asarray(count) > 0
    difference = np.abs(np.asarray(lifted)[seen] - scene.colors[seen])
    shuffled = np.abs(np.asarray(lifted)[seen][::-1] - scene.colors[seen])
    return {
        "frames": len(scene.views),
        "seen_share": round(float(seen.mean()), 4),
        "median_abs_difference_255": round(255 * float(np.median(difference)), 3),
        "median_abs_difference_of_unrelated_points_255": round(255 * float(np.median(shuffled)), 3),
    }


def palette(count: int) -> np.ndarray:
    """`count` well separated colours, uint8 [count, 3]: golden-angle hues at alternating lightness."""
    hues = (np.arange(count) * 0.61803398875) % 1.0
    rgb = [colorsys.hls_to_rgb(h, 0.45 + 0.2 * (i % 2), 0.75) for i, h in enumerate(hues)]
    return (255 * np.array(rgb).reshape(count, 3)).astype(np.uint8)


def write_labelled_ply(path: Path, result: Segmentation) -> Path:
    """Binary ply: x y z, red green blue (the label's colour), label (int), score (cosine); words in the comments."""
    colors = palette(len(result.labels))[result.ids]
    vertex = np.empty(
        len(result.ids),
        [
            ("x", "f4"),
            ("y", "f4"),
            ("z", "f4"),
            ("red", "u1"),
            ("green", "u1"),
            ("blue", "u1"),
            ("label", "i4"),
            ("score", "f4"),
        ],
    )
    for column, name in enumerate("xyz"):
        vertex[name] = result.scene.points[:, column]
    for column, name in enumerate(("red", "green", "blue")):
        vertex[name] = colors[:, column]
    vertex["label"], vertex["score"] = result.ids, result.scores
    comments = [f"label {i} {name}" for i, name in enumerate(result.labels)]
    with replacing(path) as temporary:
        PlyData([PlyElement.describe(vertex, "vertex")], comments=comments).write(str(temporary))
    return path


def write_summary(path: Path, result: Segmentation) -> Path:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(result.summary, indent=1) + "\n")
    return path
