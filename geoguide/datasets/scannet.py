"""ScanNet v2 in its official layout, read from disk: the real scans and the mini rooms alike (paper, Datasets)."""

import warnings
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.cameras import (
    check_fits,
    check_frame,
    read_image_size,
    read_intrinsics,
    resize_intrinsics,
)
from geoguide.datasets.formats.files import MINI_STAMP, integers, need_file, need_folder, read_json, read_matrix
from geoguide.datasets.formats.ply import checked_colors, checked_points, read_ply, vertex_columns, vertex_normals
from geoguide.datasets.formats.sens import SensFile, SensView
from geoguide.datasets.splits import load_split
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.labels import LabelSet, load_category_table, load_label_set
from geoguide.scene import NO_INSTANCE, Scene, View

SEGMENTS = "_vh_clean_2.0.010000.segs.json"


NYU40 = 40  # the last id of labels.ply; scene0270_00, scene0270_02 and scene0384_00 as published hold 50 or 149


KIND = {"objectId": int, "label": str, "segments": list}  # fields of an annotated object


def list_scenes(root: str | Path, split: str) -> tuple[Path, ...]:
    """Scene folders of a split in its list's order, in `scans/` or (official test scans) `scans_test/`.

    The list is `root/scannetv2_{split}.txt` where that is there, else the official one (see `splits`). Raises
    `DataError` when any listed scene is missing or the list is empty, `ConfigError` for a split without a list.
    """
    root = need_folder(root, "data root")
    found = find_scenes(root, split)
    missing = [name for name, folder in found.items() if folder is None]
    if missing:
        own = _own_list(root, split)
        hint = "" if own.is_file() else f" (by the official list, {own.name} is not there)"
        raise DataError(
            f"{root}: {len(missing)} of {len(found)} {split} scenes are missing, first scans/{missing[0]}{hint}"
        )
    return tuple(folder for folder in found.values() if folder is not None)


def find_scenes(root: Path, split: str) -> dict[str, Path | None]:
    """The folder of each scene of a split (see `list_scenes`), None where it is missing."""
    own = _own_list(root, split)
    names = own.read_text().split() if own.is_file() else load_split("scannet", split)
    if not names:
        raise DataError(f"{own}: lists no scene")
    homes = [root / folder for folder in ("scans", "scans_test") if (root / folder).is_dir()]
    return {name: next((home / name for home in homes if (home / name).is_dir()), None) for name in names}


def _own_list(root: Path, split: str) -> Path:
    return root / f"scannetv2_{split}.txt"


def load_scene(
    folder: str | Path,
    *,
    labels: str = "scannet20",
    frame_skip: int = 1,
    image_size: tuple[int, int] | None = None,
    source: str | None = None,
) -> Scene:
    """Read `scans/sceneXXXX_XX` as it is on disk.

    labels: label set that NYU40 ids are mapped to, or "scannet200", for which the objects' raw names are looked up in
    the official `scannetv2-labels.combined.tsv` beside `scans/`. frame_skip: every n-th frame becomes a view (the
    paper's peers take every 20th). image_size: (H, W) of the views, the depth images' own size by default. source:
    "mini" or "real", by default "mini" for generated scenes. Frames are those extracted to color/, depth/ and
    pose/, or else those of `sceneXXXX_XX.sens`. What a scan lacks (labels of test scans, all frames) is None or empty;
    a file that is there but broken raises `DataError`. Labels that the mapping does not know become void, with one
    warning. The axis alignment of `sceneXXXX_XX.txt` is not applied: poses are in the unaligned frame.
    """
    folder = need_folder(folder, "scene folder")
    if frame_skip < 1:
        raise InputError(f"frame_skip must be at least 1, found {frame_skip}")
    path = folder / f"{folder.name}_vh_clean_2.ply"
    records, faces = read_ply(path)
    points = checked_points(records, path)
    if faces is None:
        raise DataError(f"{path}: element 'face' is missing")
    if source is None:
        source = "mini" if (folder / MINI_STAMP).is_file() else "real"
    return Scene(
        name=folder.name,
        points=points,
        colors=checked_colors(records, path),
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
    ids = integers(read_json(path, ("segIndices",))["segIndices"], path, "field 'segIndices'")
    if ids.ndim != 1:
        raise DataError(f"{path}: field 'segIndices' must be [P], found {list(ids.shape)}")
    return ids


def _load_labels(folder: Path, count: int, label_set: str) -> np.ndarray | None:
    """Class ids int64 [P], None when the scan has no annotation: of `labels.ply`, or of the objects' raw names."""
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
        warnings.warn(
            f"{path}: label of {outside.size} points is not in 0..{NYU40} and read as void: "
            f"{', '.join(map(str, np.unique(outside)))}",
            stacklevel=3,
        )
    return mapping.from_raw(raw[:, 0])


def _load_fine_labels(folder: Path, count: int, mapping: LabelSet) -> np.ndarray | None:
    """Class ids int64 [P] of ScanNet200: `labels.ply` holds the coarse NYU40 ids only, so names are looked up."""
    found = _load_groups(folder, count, ("label", "segments"))
    if found is None:
        return None
    groups, owner = found
    table = load_category_table(folder.parents[1] / "scannetv2-labels.combined.tsv")
    unknown = sorted({group["label"] for group in groups} - set(table.ids))
    if unknown:
        path = folder / f"{folder.name}.aggregation.json"
        warnings.warn(
            f"{path}: label of objects is not in the category table and read as void: {', '.join(unknown)}",
            stacklevel=4,
        )
    raw = np.array([table.ids.get(group["label"], 0) for group in groups] + [0], dtype=np.int64)
    return mapping.from_raw(raw[owner])


def _load_instances(folder: Path, count: int) -> np.ndarray | None:
    """objectId int64 [P] of each vertex's segment, -1 where not annotated; None when the scan has no annotation."""
    found = _load_groups(folder, count, ("objectId", "segments"))
    if found is None:
        return None
    groups, owner = found
    return np.array([group["objectId"] for group in groups] + [NO_INSTANCE], dtype=np.int64)[owner]


def _load_groups(folder: Path, count: int, fields: tuple[str, ...]) -> tuple[list[dict], np.ndarray] | None:
    """The annotated objects of `aggregation.json`, and the object of each vertex int64 [P], -1 for none."""
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
    owner = np.full(len(unique), -1, dtype=np.int64)  # [S]
    for number, group in enumerate(groups):
        wrong = [
            field for field in fields if not isinstance(group, dict) or not isinstance(group.get(field), KIND[field])
        ]
        if wrong:
            raise DataError(
                f"{path}: each of 'segGroups' needs {' and '.join(fields)}, entry {number} has no {wrong[0]}"
            )
        owner[np.isin(unique, integers(group["segments"], path, f"segments of entry {number}"))] = number
    return groups, owner[inverse.reshape(-1)]


def _load_views(folder: Path, frame_skip: int, new_size: tuple[int, int] | None) -> tuple[View, ...]:
    """Views of every `frame_skip`-th frame, in order: extracted ones, else of the `.sens` recording, else none."""
    recording = folder / f"{folder.name}.sens"
    paths = [path for path in (folder / "color").glob("*.jpg") if not path.name.startswith(".")]
    odd = next((path for path in paths if not path.stem.isdigit()), None)
    if odd is not None:
        raise DataError(f"{odd}: frame files are named by number, as 120.jpg")
    paths = sorted(paths, key=lambda path: int(path.stem))[::frame_skip]
    if not paths:
        return _load_recording(folder, recording, frame_skip, new_size) if recording.exists() else ()
    first_depth = need_file(folder / "depth" / f"{paths[0].stem}.png", "depth image")
    size = read_image_size(first_depth)
    path = folder / "intrinsic" / "intrinsic_depth.txt"
    intrinsics = read_intrinsics(path)
    check_fits(intrinsics, size, first_depth, path)
    for color in paths:
        check_frame(color, need_file(folder / "depth" / f"{color.stem}.png", "depth image"), size, path)
    if new_size is not None:
        intrinsics, size = resize_intrinsics(intrinsics, size, new_size), tuple(new_size)
    return tuple(_load_view(folder, path, intrinsics, size) for path in paths)


def _load_recording(
    folder: Path, path: Path, frame_skip: int, new_size: tuple[int, int] | None
) -> tuple[SensView, ...]:
    """Views of every `frame_skip`-th frame of a `.sens` file; only its index is read here."""
    recording = SensFile(path)
    intrinsics, size = recording.intrinsics, recording.image_size
    if new_size is not None:
        intrinsics, size = resize_intrinsics(intrinsics, size, new_size), tuple(new_size)
    return tuple(
        SensView(
            name=str(frame),
            intrinsics=intrinsics,
            cam_to_world=recording.poses[frame],
            image_size=size,
            depth_scale=recording.depth_scale,
            **_annotation_paths(folder, str(frame)),
            recording=recording,
            frame=frame,
        )
        for frame in range(0, len(recording), frame_skip)
    )


def _annotation_paths(folder: Path, stem: str) -> dict[str, Path | None]:
    """The official 2D label and instance images of a frame, None where they were not extracted."""
    paths = {kind: folder / f"{kind}-filt" / f"{stem}.png" for kind in ("label", "instance")}
    return {f"{kind}_path": path if path.is_file() else None for kind, path in paths.items()}


def _load_view(folder: Path, color: Path, intrinsics: np.ndarray, size: tuple[int, int]) -> View:
    return View(
        name=color.stem,
        intrinsics=intrinsics,
        cam_to_world=read_matrix(folder / "pose" / f"{color.stem}.txt", ((4, 4),), "pose"),
        image_size=size,
        color_path=color,
        depth_path=folder / "depth" / f"{color.stem}.png",
        **_annotation_paths(folder, color.stem),
    )
