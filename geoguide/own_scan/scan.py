"""`geoguide segment`: label a scan, an RGB-D folder or a LiDAR key frame with any words; writes a ply and a summary."""

import colorsys
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.backbones.parts import HALO
from geoguide.datasets import pointcept
from geoguide.datasets.depth_agreement import depth_agreement
from geoguide.datasets.nuscenes import CALIBRATION, load_key_frame
from geoguide.datasets.points import load_points, stated_unit
from geoguide.datasets.scannet import is_scannet, load_scan
from geoguide.datasets.units import extent_as_read
from geoguide.errors import DataError, InputError
from geoguide.lifting import SPLAT, Fusion, LiftingConfig, fuse
from geoguide.model import GeoGuideModel
from geoguide.scene import Scene
from geoguide.teachers.color import ColorTeacher
from geoguide.text.encoder import spelling
from geoguide.welding import with_said, with_weld_said

DEPTH_TOLERANCE = 0.05  # share by which a point's depth in an image may differ from the measured one
_WORD = re.compile(r'\s*(?:"(?P<quoted>[^"]*)"\s*|(?P<plain>[^,]*))(?:(?P<comma>,)|\Z)')
# Commas that are none: other marks, those of Chinese and Japanese, and the line ends of a file that a shell put here.
_OTHER = re.compile("[;|\uff0c\u3001\uff1b\t\n\r]")
# Around a whole list: of JSON or Python, or quotes that a shell left there.
_AROUND = re.compile(
    r"\s*(?:\[[^\[\]]*\]|\{[^{}]*\}|'.*'|\u2018.*\u2019|[\u201c\u201d\u201e].*[\u201c\u201d]|\xab.*\xbb)\s*", re.DOTALL
)
_FILE = re.compile(r"\.(txt|csv|tsv|json|ya?ml)\Z", re.IGNORECASE)  # of words, which are not read from one
SPREAD = 10_368_889  # the golden angle of all 2^24 colours: its multiples lie apart, and being odd it meets each


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan as it was opened.

    Attributes:
        scene: The scan; a mesh keeps its faces.
        colored: bool [P], which points a camera gave their colour; None where the scan has colours of its own.
    """

    scene: Scene
    colored: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What was found in a scan.

    Attributes:
        scene: The scan.
        labels: The words.
        ids: int64 [P], the best word of each point.
        scores: float32 [P], its cosine.
        summary: What is written beside the ply, as JSON types.
        superpoints: int64 [P], where they were asked for.
        instances: int64 [P], the best mask that holds each point, -1 for none; where masks were asked for.
    """

    scene: Scene
    labels: tuple[str, ...]
    ids: np.ndarray
    scores: np.ndarray
    summary: dict[str, Any]
    superpoints: np.ndarray | None = None
    instances: np.ndarray | None = None


def parse_labels(text: str) -> tuple[str, ...]:
    """Split the words of the command line.

    Args:
        text: Words separated by commas: 'chair, whiteboard'; one that holds a comma itself in double quotes.

    Returns:
        The words, in order.

    Raises:
        InputError: An empty word, one that is no text, or one that is named twice: case and spaces do not matter to
            the text encoder (what else does not, `GeoGuideModel.check_labels` finds).
    """
    try:  # in a locale without UTF-8 Python carries its bytes as surrogates
        text = text.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        raise InputError(f"--labels: expected UTF-8 text, found {text!r}") from None
    names = _words(text.removeprefix("\ufeff"))  # which a file's text begins with where a shell put it here
    if not all(any(not letter.isspace() and letter.isprintable() for letter in name) for name in names):
        raise InputError(f"--labels: expected words separated by commas, found {text!r}")
    if _AROUND.fullmatch(text):
        found = f"without {text.strip()[0]} around them, found {text!r:.200}"
        raise InputError(f"--labels: expected words separated by commas, {found}")
    if len(names) == 1 and '"' not in text:
        file = os.path.isfile(names[0]) or _FILE.search(names[0])
        if file or _OTHER.search(names[0]):
            found = f"{'a file' if file else 'one word'}, {text!r:.200} (in double quotes it is taken as a word)"
            raise InputError(f"--labels: expected words separated by commas, found {found}")
    first: dict[str, str] = {}
    for name in names:
        key = spelling(name)
        if key in first:
            other = first[key]
            named = "is named twice" if other == name else f"and {name!r} are the same to the text encoder"
            raise InputError(f"--labels: {other!r} {named}")
        first[key] = name
    return names


def _words(text: str) -> tuple[str, ...]:
    """The words between commas, without spaces around them, and without the quotes around a whole word."""
    words = []
    for found in _WORD.finditer(text):
        words.append((found["plain"] if found["quoted"] is None else found["quoted"]).strip())
        if not found["comma"]:
            break
    return tuple(words)


def open_scan(
    path: Path,
    columns: int | None = None,
    voxel: float = 0.03,
    *,
    unit: str | None = None,
    up: str | None = None,
    depth_scale: float | None = None,
    max_depth: float | None = None,
) -> Scan:
    """Open a scan.

    Args:
        path: A file of points, as `load_points` reads it; the folder of a ScanNet scene, whose official mesh is read;
            the folder of a scene as Pointcept preprocesses it; another folder of colour, depth and pose, which is
            reconstructed; or a folder with calibration.json, one LiDAR key frame (see `nuscenes.load_key_frame`): its
            colours are lifted from the cameras, and points that no camera sees stay grey.
        columns: Float32 columns of a .bin file; None to infer them.
        voxel: Metres, of a reconstruction.
        unit: Of a file's coordinates, or of an RGB-D folder's poses, as in `load_points`.
        up: Which direction points up there, likewise; None: z, and for an RGB-D folder as in `load_rgbd`.
        depth_scale: Units of an RGB-D folder's depth images per metre; None: as in `load_rgbd`.
        max_depth: Metres beyond which its depth is not used, likewise.

    Returns:
        The scan.

    Raises:
        DataError: It is not there, or broken.
        InputError: `unit` or `up` is unknown, or given for a key frame or a ScanNet scene; `depth_scale` or
            `max_depth` is given for something else than an RGB-D folder, or is not positive.
    """
    if not os.path.exists(path):  # False also for a name that is too long, unlike the method of Path
        raise DataError(f"{path}: no such file or folder")
    key_frame, official = (path / CALIBRATION).is_file(), is_scannet(path)
    for option, value in (("--depth-scale", depth_scale), ("--max-depth", max_depth)):
        if value is not None and (key_frame or official or pointcept.is_scene(path) or not path.is_dir()):
            mesh = ", whose official mesh is labelled" if official else ""
            raise InputError(f"{option} is for folders of depth images, found {path}{mesh}")
    for option, value in (("--unit", unit), ("--up", up)):
        if value is not None and (key_frame or official):
            kind = "ScanNet scene, which is in metres, z up:" if official else "key frame"
            raise InputError(f"{option} is for a file of points or the poses of depth images, found the {kind} {path}")
    if key_frame:
        scene = with_weld_said(load_key_frame(path))
        lifted, count = lift_colors(scene)
        colored = np.asarray(count) > 0
        return Scan(replace(scene, colors=np.where(colored[:, None], lifted, scene.colors)), colored)
    if official:
        scene = load_scan(path)
    elif pointcept.is_scene(path):
        scene = pointcept.load_scene(path, unit=unit, up=up or "z")
    elif path.is_dir():
        from geoguide.datasets.rgbd import MAX_DEPTH, load_rgbd  # meshes are made by packages that are slow to import

        far = MAX_DEPTH if max_depth is None else max_depth
        scene = load_rgbd(path, voxel=voxel, depth_scale=depth_scale, max_depth=far, unit=unit or "m", up=up or "auto")
    else:
        scene = load_points(path, columns=columns, unit=unit, up=up or "z")
        unit = unit or stated_unit(path)
    told = with_weld_said(scene)
    return Scan(with_said(told, extent_as_read(told.points, unit)))


def segment_scan(
    scan: Scan,
    model: GeoGuideModel,
    labels: tuple[str, ...],
    *,
    masks: bool = False,
    tile: float | None = None,
    halo: float = HALO,
    progress: bool = False,
) -> Segmentation:
    """Label every point of a scan, prepared by the same stages as training scenes.

    Args:
        scan: What `open_scan` returns.
        model: A trained model.
        labels: The words.
        masks: Whether to find superpoints and instance masks too; of the whole scan, also where it is cut into tiles.
        tile: As in `GeoGuideModel.encode`.
        halo: Likewise.
        progress: Likewise.

    Returns:
        Labels and summary. RGB-D adds the lifting check on the frames' colours; a LiDAR with cameras the share of
        points that a camera sees.
    """
    scene = scan.scene
    tiles = model.tiles(scene, tile, halo)
    ids, scores = model.segment_tiles(scene, tiles, labels=list(labels), progress=progress)
    counts, totals = (np.bincount(ids, weights, len(labels)).tolist() for weights in (None, scores))
    summary: dict[str, Any] = {
        "scan": scene.name,
        "points": len(scene),
        "model": model.trained_on,
        "backbone": model.backbone.name,
        "prompt": model.prompt,
        "as_read": list(scene.as_read),
        "tiles": None if tiles is None else {"edge": tile, "halo": tiles.halo},
        "labels": {
            name: {
                "points": count,
                "share": round(count / len(ids), 4),
                "mean_cosine": round(total / count, 4) if count else None,
            }
            for name, count, total in zip(labels, counts, totals, strict=True)
        },
    }
    superpoints = instances = None
    if masks:
        from geoguide.pipeline.config import ExperimentConfig  # slow to import
        from geoguide.pipeline.stages import Stages

        stages = Stages(scene, ExperimentConfig())
        superpoints, instances = stages.superpoints, stages.masks.best_of_points()
        summary |= {"superpoints": int(superpoints.max() + 1), "instance_masks": len(stages.masks)}
    if scan.colored is not None:
        summary["seen_share"] = round(float(scan.colored.mean()), 4)
    elif scene.views:
        summary["lifting_check"] = color_check(scene)
    return Segmentation(scene, labels, ids, scores, summary, superpoints, instances)


def lifting_of(scan: Scan) -> LiftingConfig:
    """How a scan's images are lifted.

    Args:
        scan: As `open_scan` returns it.

    Returns:
        OpenScene's rule by depth images; for a LiDAR's cameras, which have none, the points themselves occlude.
    """
    return LiftingConfig() if scan.colored is None else LiftingConfig(0.1, occlusion=SPLAT)


def lift_colors(scene: Scene) -> Fusion:
    """Lift the colours of a LiDAR's cameras to its points.

    There are no depth images, so the points' own nearness decides which are hidden (`lifting.splat_depth`).

    Args:
        scene: P points, metres, and the cameras' images.

    Returns:
        Mean colours float32 [P, 3] in [0, 1], 0 where unseen, and how many cameras see each point, int64 [P].
    """
    colors = ColorTeacher().features(scene)
    return fuse(scene.points, scene.views, colors, use_depth=SPLAT, depth_tolerance=0.1, rule="devkit")


def color_check(scene: Scene) -> dict[str, float | None]:
    """Lift the frames' own colours and compare them with the cloud's: a lifting check that needs no labels.

    Colours of a cloud that was made from the same poses agree whatever the poses are: what speaks for those is the
    agreement of the frames' depth (see `datasets.depth_agreement`).

    Args:
        scene: Points with colours, and frames with depth.

    Returns:
        How many frames there are, the share of points seen, and the median absolute difference over seen points and
        channels, in 0..255, beside that of unrelated points; and on how many pairs of overlapping frames which share of
        the depth agrees (0.97 and more is usual), or null where no frames overlap.
    """
    agreement = depth_agreement(scene.views)
    scene = scene.with_poses()  # the reader named the others
    lifted, count = fuse(scene.points, scene.views, ColorTeacher().features(scene), depth_tolerance=DEPTH_TOLERANCE)
    seen = np.asarray(count) > 0
    difference = np.abs(np.asarray(lifted)[seen] - scene.colors[seen])
    shuffled = np.abs(np.asarray(lifted)[seen][::-1] - scene.colors[seen])
    return {
        "frames": len(scene.views),
        "seen_share": round(float(seen.mean()), 4),
        "median_abs_difference_255": round(255 * float(np.median(difference)), 3),
        "median_abs_difference_of_unrelated_points_255": round(255 * float(np.median(shuffled)), 3),
        "depth_pairs": agreement.pairs,
        "depth_agreement": round(agreement.share, 4) if agreement.known else None,
    }


def report_lines(result: Segmentation) -> list[str]:
    """Put a result's summary into words, as the command prints it.

    Args:
        result: What `segment_scan` returns.

    Returns:
        How the scan was read, where anything had to be decided; the share of each label; and the lifting check or the
        share of points that a camera sees, where there are cameras.
    """
    summary = result.summary
    lines = ["as read:", *(f"  {said}" for said in summary["as_read"])] if summary["as_read"] else []
    if summary["tiles"] is not None:
        lines.append(f"labelled in tiles, each with {summary['tiles']['halo']:g} m around it")
    for name, row in summary["labels"].items():
        name = name.replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{name:<24} {100 * row['share']:5.1f} %  {row['points']:>8} points")
    if "superpoints" in summary:
        lines.append(f"{summary['superpoints']} superpoints, {summary['instance_masks']} instance masks")
    if "lifting_check" in summary:
        lines += _check_in_words(summary["lifting_check"])
    if "seen_share" in summary:
        lines.append(f"{100 * summary['seen_share']:.1f} % of the points are seen by a camera, the others are grey")
    return lines


def _check_in_words(check: dict[str, Any]) -> list[str]:
    """The lifting check, for a reader."""
    found, other = check["median_abs_difference_255"], check["median_abs_difference_of_unrelated_points_255"]
    lines = [f"{check['frames']} images see {100 * check['seen_share']:.1f} % of the points; "
             f"lifted, their colours differ from the cloud's by {found:g} of 255 in the median, "
             f"those of unrelated points by {other:g}"]  # fmt: skip
    if check["depth_agreement"] is None:
        return [*lines, "no two images overlap, so their depth says nothing about the poses"]
    share, pairs = 100 * check["depth_agreement"], check["depth_pairs"]
    return [*lines, f"where two images overlap ({pairs} pairs), {share:.1f} % of their depth agrees (97 % is usual)"]


def palette(count: int) -> np.ndarray:
    """Choose well separated colours: golden-angle hues at alternating lightness, and where one comes again, any other.

    Args:
        count: How many.

    Returns:
        uint8 [count, 3], no two the same unless there are more than colours.
    """
    hues = (np.arange(count) * 0.61803398875) % 1.0
    rgb = [colorsys.hls_to_rgb(h, 0.45 + 0.2 * (i % 2), 0.75) for i, h in enumerate(hues)]
    colors = (255 * np.array(rgb).reshape(count, 3)).astype(np.uint8)
    codes = colors.astype(np.int64) @ (1 << 16, 1 << 8, 1)  # [count]
    known, first = np.unique(codes, return_index=True)
    again = np.setdiff1d(np.arange(count), first)
    others = np.arange(count) * SPREAD % (1 << 24)  # all different; at least as many as come again are free
    free = np.resize(others[~np.isin(others, known)], len(again))
    colors[again] = np.stack([free >> 16, free >> 8 & 255, free & 255], axis=-1)
    return colors
