"""ScanNet v2 in its official layout, read from disk: the real scans and the mini rooms alike (paper, Datasets)."""

from pathlib import Path

import numpy as np

from geoguide.datasets.reading import (
    MINI_STAMP,
    checked_points,
    need_file,
    need_folder,
    read_image_size,
    read_intrinsics,
    read_json,
    read_matrix,
    read_ply,
    resize_intrinsics,
    vertex_columns,
    vertex_normals,
)
from geoguide.errors import DataError, InputError
from geoguide.labels import load_label_set
from geoguide.scene import NO_INSTANCE, Scene, View, unit_colors

SEGMENTS = "_vh_clean_2.0.010000.segs.json"


def list_scenes(root: str | Path, split: str) -> tuple[Path, ...]:
    """Scene folders of `scannetv2_{split}.txt`, in its order, in `scans/` or (official test scans) `scans_test/`.

    Raises `DataError` when the list or any listed scene is missing.
    """
    root = need_folder(root, "data root")
    listing = need_file(root / f"scannetv2_{split}.txt", f"list of {split} scenes")
    names = listing.read_text().split()
    if not names:
        raise DataError(f"{listing}: lists no scene")
    homes = [root / folder for folder in ("scans", "scans_test") if (root / folder).is_dir()]
    found = {name: next((home / name for home in homes if (home / name).is_dir()), None) for name in names}
    missing = [name for name, folder in found.items() if folder is None]
    if missing:
        raise DataError(f"{root}: {len(missing)} of {len(names)} {split} scenes are missing, first scans/{missing[0]}")
    return tuple(folder for folder in found.values() if folder is not None)


def load_scene(
    folder: str | Path,
    *,
    labels: str = "scannet20",
    frame_skip: int = 1,
    image_size: tuple[int, int] | None = None,
    source: str | None = None,
) -> Scene:
    """Read `scans/sceneXXXX_XX` as it is on disk.

    labels: label set that NYU40 ids are mapped to. frame_skip: every n-th frame becomes a view (the paper's peers take
    every 20th). image_size: (H, W) of the views, the depth images' own size by default. source: "mini" or "real", by
    default "mini" for generated scenes. What a scan lacks (labels of test scans, frames never extracted) is None or
    empty; a file that is there but broken raises `DataError`. The axis alignment of `sceneXXXX_XX.txt` is not applied:
    poses are in the unaligned frame.
    """
    folder = need_folder(folder, "scene folder")
    if frame_skip < 1:
        raise InputError(f"frame_skip must be at least 1, found {frame_skip}")
    path = folder / f"{folder.name}_vh_clean_2.ply"
    records, faces = read_ply(path)
    points = checked_points(records, path)
    if faces is None:
        raise DataError(f"{path}: element 'face' is missing")
    rgb = vertex_columns(records, ("red", "green", "blue"), path)
    if rgb is None:
        raise DataError(f"{path}: vertex properties red, green, blue are missing")
    if source is None:
        source = "mini" if (folder / MINI_STAMP).is_file() else "real"
    return Scene(
        name=folder.name,
        points=points,
        colors=unit_colors(rgb),
        normals=vertex_normals(points, faces),
        faces=faces,
        labels=_load_labels(folder, len(points), labels),
        instances=_load_instances(folder, len(points)),
        views=_load_views(folder, frame_skip, image_size),
        source=source,
    )


def load_annotation_superpoints(folder: str | Path) -> np.ndarray:
    """int64 [P], ids 0..S-1: the official over-segmentation the annotators worked with (`…0.010000.segs.json`)."""
    folder = need_folder(folder, "scene folder")
    return np.unique(_segment_ids(folder), return_inverse=True)[1].reshape(-1).astype(np.int64)


def _segment_ids(folder: Path) -> np.ndarray:
    """Raw segment id of each vertex, int64 [P]."""
    path = folder / f"{folder.name}{SEGMENTS}"
    try:
        ids = np.asarray(read_json(path, ("segIndices",))["segIndices"], dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: field 'segIndices' must be a list of integers ({error})") from None
    if ids.ndim != 1:
        raise DataError(f"{path}: field 'segIndices' must be [P], found {list(ids.shape)}")
    return ids


def _load_labels(folder: Path, count: int, label_set: str) -> np.ndarray | None:
    """Class ids int64 [P] from the `label` property of `labels.ply`, None when the scan has none."""
    mapping = load_label_set(label_set)
    path = folder / f"{folder.name}_vh_clean_2.labels.ply"
    if not path.exists():
        return None
    records, _ = read_ply(path)
    raw = vertex_columns(records, ("label",), path)
    if raw is None or raw.dtype.kind not in "iu":
        raise DataError(f"{path}: integer vertex property 'label' is missing")
    if len(raw) != count:
        raise DataError(f"{path}: holds {len(raw)} vertices, the mesh has {count}")
    return mapping.from_raw(raw[:, 0])


def _load_instances(folder: Path, count: int) -> np.ndarray | None:
    """objectId int64 [P] of each vertex's segment, -1 where not annotated; None when the scan has no annotation."""
    path = folder / f"{folder.name}.aggregation.json"
    if not path.exists():
        return None
    groups = read_json(path, ("segGroups",))["segGroups"]
    segments = _segment_ids(folder)
    if len(segments) != count:
        raise DataError(
            f"{folder / (folder.name + SEGMENTS)}: field 'segIndices' holds {len(segments)} values, "
            f"the mesh has {count}"
        )
    unique, inverse = np.unique(segments, return_inverse=True)
    owner = np.full(len(unique), NO_INSTANCE, dtype=np.int64)  # [S]
    try:
        for group in groups:
            owner[np.isin(unique, np.asarray(group["segments"], dtype=np.int64))] = int(group["objectId"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: each of 'segGroups' needs objectId and segments ({error!r})") from None
    return owner[inverse.reshape(-1)]


def _load_views(folder: Path, frame_skip: int, new_size: tuple[int, int] | None) -> tuple[View, ...]:
    """Views of every `frame_skip`-th extracted frame, in frame order; empty when no frames were extracted."""
    if not (folder / "color").is_dir():
        return ()
    paths = [path for path in (folder / "color").glob("*.jpg") if not path.name.startswith(".")]
    odd = next((path for path in paths if not path.stem.isdigit()), None)
    if odd is not None:
        raise DataError(f"{odd}: frame files are named by number, as 120.jpg")
    paths = sorted(paths, key=lambda path: int(path.stem))[::frame_skip]
    if not paths:
        return ()
    first_depth = need_file(folder / "depth" / f"{paths[0].stem}.png", "depth image")
    size = read_image_size(first_depth)
    intrinsics = read_intrinsics(folder / "intrinsic" / "intrinsic_depth.txt")
    if new_size is not None:
        intrinsics, size = resize_intrinsics(intrinsics, size, new_size), tuple(new_size)
    return tuple(_load_view(folder, path, intrinsics, size) for path in paths)


def _load_view(folder: Path, color: Path, intrinsics: np.ndarray, size: tuple[int, int]) -> View:
    label, instance = (folder / kind / f"{color.stem}.png" for kind in ("label-filt", "instance-filt"))
    return View(
        name=color.stem,
        intrinsics=intrinsics,
        cam_to_world=read_matrix(folder / "pose" / f"{color.stem}.txt", ((4, 4),), "pose"),
        image_size=size,
        color_path=color,
        depth_path=need_file(folder / "depth" / f"{color.stem}.png", "depth image"),
        label_path=label if label.is_file() else None,
        instance_path=instance if instance.is_file() else None,
    )
