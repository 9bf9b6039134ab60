"""ScanNet v2 in its official layout, the real scans and the generated rooms alike (paper, Datasets).

    <root>/scans/<scene>/<scene>_vh_clean_2.ply, <scene>_vh_clean_2.labels.ply               mesh, NYU40 labels
    <root>/scans/<scene>/<scene>.aggregation.json, <scene>_vh_clean_2.0.010000.segs.json     objects, made of segments
    <root>/scans/<scene>/<scene>.sens, or color/N.jpg, depth/N.png, pose/N.txt, intrinsic/   frames
    <root>/scans/<scene>/label-filt/N.png, instance-filt/N.png                               labels of the frames

Everything but the mesh may be absent.
"""

import functools
import warnings
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.cameras import Size, at_size, common_camera, frames_as_read, read_pose
from geoguide.datasets.formats.files import (
    by_number,
    integers,
    listed,
    need_file,
    need_folder,
    provenance_of,
    read_json,
)
from geoguide.datasets.formats.ply import checked_colors, checked_points, read_ply, vertex_columns, vertex_normals
from geoguide.datasets.formats.sens import SensFile, SensView
from geoguide.datasets.splits import load_split
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.labels import LabelSet, load_category_table, load_label_set
from geoguide.scene import NO_INSTANCE, Scene, View

SEGMENTS = "_vh_clean_2.0.010000.segs.json"
COLOR_SUFFIXES = (".jpg", ".jpeg")  # of extracted frames
DEPTH_SCALE = 1000.0  # of extracted depth images: millimetres
NYU40 = 40  # the last id of labels.ply; scene0270_00, scene0270_02 and scene0384_00 as published hold 50 or 149
KIND = {"objectId": int, "label": str, "segments": list}  # fields of an annotated object


def list_scenes(root: str | Path, split: str) -> tuple[Path, ...]:
    """List the scenes of a split.

    The list is the data's own (see `own_list`) where that is there, else the official one (see `splits`).

    Args:
        root: The data root; the scenes lie in scans/ or (official test scans) scans_test/.
        split: Name of the split.

    Returns:
        The scenes' folders, in the list's order.

    Raises:
        DataError: A listed scene is missing, or the list is empty.
        ConfigError: There is no list of the split.
    """
    root = need_folder(root, "data root")
    folders = find_scenes(root, split)
    missing = [name for name, folder in folders.items() if folder is None]
    if missing:
        own = own_list(root, split)
        hint = "" if own.is_file() else f" (by the official list, {own.name} is not there)"
        lacking = f"{len(missing)} of {len(folders)} {split} scenes are missing"
        raise DataError(f"{root}: {lacking}, first scans/{missing[0]}{hint}")
    return tuple(folder for folder in folders.values() if folder is not None)


def find_scenes(root: Path, split: str) -> dict[str, Path | None]:
    """Find what there is of a split.

    Args:
        root: The data root.
        split: Name of the split.

    Returns:
        Name of a scene -> its folder, or None where that is missing, in the list's order (see `list_scenes`).

    Raises:
        DataError: The list is empty.
        ConfigError: There is no list of the split.
    """
    own = own_list(root, split)
    names = own.read_text().split() if own.is_file() else load_split("scannet", split)
    if not names:
        raise DataError(f"{own}: lists no scene")
    homes = [root / folder for folder in ("scans", "scans_test") if (root / folder).is_dir()]
    return {name: next((home / name for home in homes if (home / name).is_dir()), None) for name in names}


def own_list(root: Path, split: str) -> Path:
    """Say where the data's own list of a split would lie.

    Args:
        root: The data root.
        split: Name of the split.

    Returns:
        `scannetv2_{split}.txt` in the root, whether it is there or not.
    """
    return root / f"scannetv2_{split}.txt"


def load_scene(
    folder: str | Path, *, labels: str = "scannet20", frame_skip: int = 1, image_size: Size | None = None
) -> Scene:
    """Read one scan (paper, Datasets).

    Frames are those extracted to color/, depth/ and pose/, or else those of the `.sens` recording. What a scan lacks
    (labels of test scans, all frames) is None or empty. NYU40 ids above 40, and names that the category table does not
    hold, become void, with one warning. The axis alignment of `sceneXXXX_XX.txt` is not applied: points and poses are
    in the unaligned coordinates of the files.

    Args:
        folder: The scan's folder, `scans/sceneXXXX_XX`.
        labels: Label set that NYU40 ids are mapped to, or "scannet200", for which the objects' raw names are looked up
            in the official `scannetv2-labels.combined.tsv` beside `scans/`.
        frame_skip: Every n-th frame becomes a view (the paper's peers take every 20th).
        image_size: (H, W) of the views, by default the depth images' own.

    Returns:
        The scene, named as the folder.

    Raises:
        DataError: The mesh is missing, or a file that is there is broken.
        ConfigError: `labels` names no label set, or one that ScanNet has no ids for.
        InputError: `frame_skip` is below 1.
    """
    folder = need_folder(folder, "scene folder")
    if frame_skip < 1:
        raise InputError(f"frame_skip must be at least 1, found {frame_skip}")
    path = folder / f"{folder.name}_vh_clean_2.ply"
    records, faces = read_ply(path)
    points = checked_points(records, path)
    if faces is None:
        raise DataError(f"{path}: element 'face' is missing")
    views = _load_views(folder, frame_skip, image_size)
    return Scene(
        name=folder.name,
        points=points,
        colors=checked_colors(records, path),
        normals=vertex_normals(points, faces),
        faces=faces,
        labels=_load_labels(folder, len(points), labels),
        instances=_load_instances(folder, len(points)),
        views=views,
        provenance=provenance_of(folder),
        as_read=frames_as_read(views),
    )


def load_annotation_superpoints(folder: str | Path) -> np.ndarray:
    """Read the official over-segmentation that the annotators worked with (`…0.010000.segs.json`).

    Args:
        folder: The scan's folder.

    Returns:
        Superpoint of each vertex, int64 [P], ids 0..S-1.

    Raises:
        DataError: The file is missing or broken.
    """
    folder = need_folder(folder, "scene folder")
    return np.unique(_segment_ids(folder), return_inverse=True)[1].reshape(-1).astype(np.int64)


def _segment_ids(folder: Path) -> np.ndarray:
    """Raw segment id of each vertex, int64 [P]."""
    path = folder / f"{folder.name}{SEGMENTS}"
    ids = integers(read_json(path, ("segIndices",))["segIndices"], path, "field 'segIndices'")
    if ids.ndim != 1:
        raise DataError(f"{path}: field 'segIndices' must be [P], found {list(ids.shape)}")
    return ids


def _load_labels(folder: Path, count: int, label_set: str) -> np.ndarray | None:
    """Class ids int64 [P], by `labels.ply` or by the objects' raw names; None when the scan has no annotation."""
    mapping = load_label_set(label_set)
    if mapping.raw == "scannet_id":
        return _load_fine_labels(folder, count, mapping)
    if mapping.raw != "nyu40":
        raise ConfigError(f"label set {label_set!r} is defined by {mapping.raw}, which ScanNet does not have")
    path = folder / f"{folder.name}_vh_clean_2.labels.ply"
    if not path.exists():
        return None
    records, _ = read_ply(path)
    raw = vertex_columns(records, ("label",), path)
    if raw is None or raw.dtype.kind not in "iu":
        raise DataError(f"{path}: integer vertex property 'label' is missing")
    if len(raw) != count:
        raise DataError(f"{path}: holds {len(raw)} vertices, the mesh has {count}")
    outside = raw[(raw < 0) | (raw > NYU40)]
    if outside.size:
        where, found = f"{path}: label of {outside.size} points", ", ".join(map(str, np.unique(outside)))
        warnings.warn(f"{where} is not in 0..{NYU40} and read as void: {found}", stacklevel=3)
    return mapping.from_raw(raw[:, 0])  # [P]


def _load_fine_labels(folder: Path, count: int, mapping: LabelSet) -> np.ndarray | None:
    """Class ids int64 [P] of ScanNet200: `labels.ply` holds the coarse NYU40 ids only, so names are looked up."""
    objects = _load_groups(folder, count, ("label", "segments"))
    if objects is None:
        return None
    groups, owner = objects
    table = load_category_table(folder.parents[1] / "scannetv2-labels.combined.tsv")
    unknown = sorted({group["label"] for group in groups} - set(table.ids))
    if unknown:
        where = f"{folder / folder.name}.aggregation.json: label of objects"
        warnings.warn(f"{where} is not in the category table and read as void: {', '.join(unknown)}", stacklevel=4)
    # The last is for owner -1.
    raw = np.array([table.ids.get(group["label"], 0) for group in groups] + [0], dtype=np.int64)
    return mapping.from_raw(raw[owner])


def _load_instances(folder: Path, count: int) -> np.ndarray | None:
    """Object of each vertex, by its objectId, int64 [P], -1 for none; None when the scan has no annotation."""
    objects = _load_groups(folder, count, ("objectId", "segments"))
    if objects is None:
        return None
    groups, owner = objects
    return np.array([group["objectId"] for group in groups] + [NO_INSTANCE], dtype=np.int64)[owner]


def _load_groups(folder: Path, count: int, fields: tuple[str, ...]) -> tuple[list[dict], np.ndarray] | None:
    """The annotated objects in `aggregation.json`, each with `fields`, and the object of each vertex, by its position.

    The latter is int64 [P], -1 for none. None when the scan has no annotation.
    """
    path = folder / f"{folder.name}.aggregation.json"
    if not path.exists():
        return None
    groups = read_json(path, ("segGroups",))["segGroups"]
    segments = _segment_ids(folder)
    if len(segments) != count:
        where = folder / f"{folder.name}{SEGMENTS}"
        raise DataError(f"{where}: field 'segIndices' holds {len(segments)} values, the mesh has {count}")
    unique, inverse = np.unique(segments, return_inverse=True)  # [S], [P]
    owner = np.full(len(unique), -1, dtype=np.int64)  # [S]
    for number, group in enumerate(groups):
        for field in fields:
            if not isinstance(group, dict) or not isinstance(group.get(field), KIND[field]):
                needs = f"each of 'segGroups' needs {' and '.join(fields)}"
                raise DataError(f"{path}: {needs}, entry {number} has no {field}")
        owner[np.isin(unique, integers(group["segments"], path, f"segments of entry {number}"))] = number
    return groups, owner[inverse.reshape(-1)]


def _load_views(folder: Path, frame_skip: int, new_size: Size | None) -> tuple[View, ...]:
    """Views of every `frame_skip`-th frame, in order: extracted ones, else of the `.sens` recording, else none."""
    recording = folder / f"{folder.name}.sens"
    paths = by_number(listed(folder / "color", suffixes=COLOR_SUFFIXES))[::frame_skip]
    if not paths:
        return _load_recording(folder, recording, frame_skip, new_size) if recording.exists() else ()
    frames = [(color, need_file(folder / "depth" / f"{color.stem}.png", "depth image")) for color in paths]
    intrinsics, size = common_camera(frames, folder / "intrinsic" / "intrinsic_depth.txt", new_size)
    poses = (read_pose(folder / "pose" / f"{color.stem}.txt") for color in paths)
    return tuple(
        View(color.stem, intrinsics, pose, size, color, depth, DEPTH_SCALE, **_annotation_images(folder, color.stem))
        for (color, depth), pose in zip(frames, poses, strict=True)
    )


def _load_recording(folder: Path, path: Path, frame_skip: int, new_size: Size | None) -> tuple[SensView, ...]:
    """Views of every `frame_skip`-th frame of a `.sens` file; only its index is read here."""
    recording = SensFile(path)
    intrinsics, size = at_size(recording.intrinsics, recording.image_size, new_size)
    view = functools.partial(
        SensView, intrinsics=intrinsics, image_size=size, depth_scale=recording.depth_scale, recording=recording
    )
    return tuple(
        view(str(frame), cam_to_world=recording.poses[frame], frame=frame, **_annotation_images(folder, str(frame)))
        for frame in range(0, len(recording), frame_skip)
    )


def _annotation_images(folder: Path, stem: str) -> dict[str, Path]:
    """The official label and instance image of a frame, by field of `View`; none that was not extracted."""
    paths = {f"{kind}_path": folder / f"{kind}-filt" / f"{stem}.png" for kind in ("label", "instance")}
    return {field: path for field, path in paths.items() if path.is_file()}
