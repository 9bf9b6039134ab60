"""Matterport3D in its official layout: one `Scene` per region of a house, with the house's images taken inside it.

    <house>/region_segmentations/region<N>.{ply, fsegs.json, semseg.json}
    <house>/undistorted_camera_parameters/<house>.conf, undistorted_color_images/, undistorted_depth_images/

Faces carry categories (the `index` column of the official category_mapping.tsv), vertices do not: a vertex takes the
class that most of its faces have, void counting as a class; ties go to void, then to the lower class id (OpenScene's
rule). Cameras are in `matterport_cameras`. The .house files, which also hold regions and objects, are not needed.
"""

import csv
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.cameras import read_image_size, resize_intrinsics, warn_lost
from geoguide.datasets.formats.files import MINI_STAMP, integers, need_file, need_folder, read_json
from geoguide.datasets.formats.matterport_cameras import DEPTH_SCALE, Camera, read_cameras, region_views, to_opencv
from geoguide.datasets.formats.ply import checked_colors, checked_points, read_ply_triangles, vertex_normals
from geoguide.datasets.splits import load_split
from geoguide.errors import ConfigError, DataError
from geoguide.labels import LabelSet, load_label_set
from geoguide.scene import NO_INSTANCE, VOID, Scene, View

CATEGORY_FIELDS = ("category_id", "face_category")  # in the files, and in the official documentation


REGIONS = "region_segmentations"


MAPPING = "category_mapping.tsv"


LABEL_IMAGES, INSTANCE_IMAGES = "label_images", "instance_images"  # beside generated houses only


def list_houses(root: str | Path, split: str) -> tuple[Path, ...]:
    """House folders of a split in its list's order, in `root/v1/scans`, `root/scans` or `root`.

    The list is `scenes_{split}.txt` in `root` or its tasks/benchmark/ where that is there, else the official one (see
    `splits`). Raises `DataError` when a listed house is missing or the list is empty, `ConfigError` for a split without
    a list.
    """
    root = need_folder(root, "data root")
    name = f"scenes_{split}.txt"
    places = (root / name, root / "tasks" / "benchmark" / name)
    own = next((place for place in places if place.is_file()), None)
    names = own.read_text().split() if own else load_split("matterport3d", split)
    if not names:
        raise DataError(f"{own}: lists no house")
    home = scans_folder(root)
    missing = [house for house in names if not (home / house).is_dir()]
    if missing:
        hint = "" if own else f" (by the official list, {name} is not there)"
        raise DataError(f"{home}: {len(missing)} of {len(names)} {split} houses are missing, first {missing[0]}{hint}")
    return tuple(home / house for house in names)


def scans_folder(root: Path) -> Path:
    """Where the houses lie below `root`."""
    return next((place for place in (root / "v1" / "scans", root / "scans") if place.is_dir()), root)


def find_mapping(root: Path) -> Path | None:
    """The category mapping in `root`, its metadata/, or (for one house, or a scans folder) in a folder above."""
    places = [folder / part for folder in (root, *root.parents[:3]) for part in (MAPPING, f"metadata/{MAPPING}")]
    return next((place for place in places if place.is_file()), None)


def list_regions(house: str | Path) -> tuple[int, ...]:
    """Numbers of the regions of a house, ascending; `DataError` when there is none."""
    folder = need_folder(Path(house) / REGIONS, "region segmentations")
    found = (re.fullmatch(r"region(\d+)\.ply", path.name) for path in folder.glob("*.ply"))
    numbers = tuple(sorted(int(match[1]) for match in found if match))
    if not numbers:
        raise DataError(f"{folder}: holds no region<N>.ply")
    return numbers


def load_region(
    house: str | Path,
    region: int,
    *,
    mapping: str | Path | None,
    labels: str = "matterport21",
    split: str = "train",
    image_size: tuple[int, int] | None = None,
    origin: str = "bottom-left",
) -> Scene:
    """Read region number `region` of the folder of a house; z is up.

    mapping: the official category_mapping.tsv, None to read no labels. labels: matterport21 (through its NYU40 ids) or
    matterport40, 80, 160 (through its nyuClass). split: in "test" a region without cameras inside takes the 100
    nearest (OpenScene's rule). image_size: (H, W) of the views, by default the images' own, 1024 x 1280. origin: see
    `matterport_cameras`. Images that were not downloaded leave the scene without views. Generated houses have `source`
    "mini", and label and instance images. Raises `DataError` naming file, field, expected and found.
    """
    house = need_folder(house, "house folder")
    path = house / REGIONS / f"region{region}.ply"
    records, faces, face_records = read_ply_triangles(path)
    points = checked_points(records, path)
    objects, classes = _face_objects(path, len(faces)), None
    if mapping is not None:
        classes = _face_classes(face_records, objects, load_category_mapping(Path(mapping)), labels, path)
    return Scene(
        name=f"{house.name}_region{region}",
        points=points,
        colors=checked_colors(records, path),
        normals=vertex_normals(points, faces),
        faces=faces,
        labels=None if classes is None else majority(faces, classes, len(points), VOID),
        instances=None if objects is None else majority(faces, objects.ids, len(points), NO_INSTANCE),
        views=_load_views(house, points, split, image_size, origin),
        source="mini" if (house / MINI_STAMP).is_file() else "real",
    )


def label_image_classes(mapping: str | Path, labels: str) -> Callable[[np.ndarray], np.ndarray]:
    """What turns the label images of generated houses (int64 [H, W], index of `mapping`) into classes of a label set.

    Class ids int64 [H, W] as in `Scene.labels`, 255 for void and for index 0; `DataError` for indices it does not have.
    """
    table = load_category_mapping(Path(mapping)).classes(load_label_set(labels))

    def classes(image: np.ndarray) -> np.ndarray:
        outside = image[(image < 0) | (image >= len(table))]
        if outside.size:
            raise DataError(f"{mapping}: ends at {len(table) - 1}, a label image holds {outside[0]}")
        return table[image]

    return classes


def majority(faces: np.ndarray, values: np.ndarray, count: int, nothing: int) -> np.ndarray:
    """The value int64 [count] that most faces at each vertex have: faces [F, 3], values int64 [F].

    Vertices without faces get `nothing`, which counts as any other value and wins ties; else the lower value wins.
    """
    names, value = np.unique(np.append(values, nothing), return_inverse=True)
    order = np.argsort(names != nothing, kind="stable")  # `nothing` first, the others ascending
    rank = np.argsort(order)[value.reshape(-1)[:-1]]  # [F]
    pair, votes = np.unique(faces * len(names) + rank[:, None], return_counts=True)
    vertex, rank = np.divmod(pair, len(names))
    best = np.lexsort((rank, -votes, vertex))
    vertex, rank = vertex[best], rank[best]
    first = np.append(True, vertex[1:] != vertex[:-1])[: len(vertex)]
    result = np.full(count, nothing, dtype=np.int64)
    result[vertex[first]] = names[order[rank[first]]]
    return result


@dataclass(frozen=True, eq=False)
class CategoryMapping:
    """The official table: for each index (1, 2, ...) its raw category, NYU40 id (0 for none) and nyuClass."""

    path: Path
    index: np.ndarray
    raw: tuple[str, ...]
    nyu40: np.ndarray
    nyu_class: tuple[str, ...]

    def classes(self, labels: LabelSet) -> np.ndarray:
        """Class id int64 [max index + 1] of each index, 255 for void; index 0 and gaps are void."""
        if labels.raw == "nyu40":
            found = labels.from_raw(self.nyu40)
        elif labels.raw == "nyu_class":
            found = labels.from_raw_names(self.nyu_class)
            first = list(dict.fromkeys(name for name in self.nyu_class if name not in ("", "void", "unknown")))
            expected = labels.raw_names[: len(first)]
            if tuple(first[: len(labels)]) != expected:
                raise DataError(
                    f"{self.path}: the first {len(expected)} classes of column nyuClass are not those of {labels.name}"
                )
        else:
            raise ConfigError(f"label set {labels.name!r} is defined by {labels.raw}, which Matterport3D does not have")
        table = np.full(int(self.index.max()) + 1, VOID, dtype=np.int64)
        table[self.index] = found
        return table


@functools.lru_cache(maxsize=4)
def load_category_mapping(path: Path) -> CategoryMapping:
    """Read the official category_mapping.tsv (columns index, raw_category, nyu40id, nyuClass are used)."""
    with need_file(path, "category mapping").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    index, nyu40 = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    for number, row in enumerate(rows):
        try:
            index[number], nyu40[number] = int(row["index"]), int(row["nyu40id"] or 0)
            row["raw_category"], row["nyuClass"].strip()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            fields = "index, raw_category, nyu40id, nyuClass"
            raise DataError(f"{path}: line {number + 2}: need {fields} ({error!r})") from None
    if not rows or index.min() < 0:
        raise DataError(f"{path}: holds no category, or a negative index")
    return CategoryMapping(
        path, index, tuple(row["raw_category"] for row in rows), nyu40, tuple(row["nyuClass"].strip() for row in rows)
    )


@dataclass(frozen=True, eq=False)
class _Objects:
    """The annotated object of each face: ids int64 [F], -1 for none, and the raw category of each id."""

    ids: np.ndarray
    names: dict[int, str]
    path: Path


def _face_objects(ply: Path, count: int) -> _Objects | None:
    """Objects from region<N>.fsegs.json and .semseg.json; None when the region has neither."""
    segments_path, path = (ply.with_suffix(f".{kind}.json") for kind in ("fsegs", "semseg"))
    if not segments_path.exists() and not path.exists():
        return None
    segments = integers(read_json(segments_path, ("segIndices",))["segIndices"], segments_path, "field 'segIndices'")
    if segments.shape != (count,):
        raise DataError(
            f"{segments_path}: field 'segIndices' must hold one of {count} faces each, found {segments.shape}"
        )
    unique, inverse = np.unique(segments, return_inverse=True)
    owner, names = np.full(len(unique), NO_INSTANCE, dtype=np.int64), {}
    for number, group in enumerate(read_json(path, ("segGroups",))["segGroups"]):
        try:
            owner[np.isin(unique, integers(group["segments"], path, f"segments of entry {number}"))] = number
            names[number] = str(group["label"])
        except (KeyError, TypeError) as error:
            raise DataError(f"{path}: each of 'segGroups' needs label and segments ({error!r})") from None
    return _Objects(owner[inverse.reshape(-1)], names, path)


def _face_classes(
    records: np.ndarray, objects: _Objects | None, categories: CategoryMapping, label_set: str, path: Path
) -> np.ndarray:
    """Class id int64 [F] of each face: by the ply's category index, or where it has none by its object's raw name."""
    table = categories.classes(load_label_set(label_set))
    field = next((field for field in CATEGORY_FIELDS if field in (records.dtype.names or ())), None)
    if field is not None:
        index = np.asarray(records[field])
        if index.dtype.kind not in "iu":
            raise DataError(f"{path}: face property {field} must be integers, found {index.dtype}")
        index = np.where(index == -1, 0, index).astype(np.int64)
        outside = index[(index < 0) | (index >= len(table))]
        if outside.size:
            raise DataError(
                f"{path}: face property {field} holds {outside[0]}, {categories.path.name} ends at {len(table) - 1}"
            )
        return table[index]
    if objects is None:
        raise DataError(f"{path}: no face property {CATEGORY_FIELDS[0]}, and no fsegs.json and semseg.json beside it")
    index_of = dict(zip(categories.raw, categories.index.tolist(), strict=True))
    unknown = next((name for name in objects.names.values() if name not in index_of), None)
    if unknown is not None:
        raise DataError(f"{objects.path}: label {unknown!r} is not in {categories.path.name}")
    of_object = np.array([table[index_of[name]] for name in objects.names.values()] + [VOID], dtype=np.int64)
    return of_object[objects.ids]


def _load_views(
    house: Path, points: np.ndarray, split: str, new_size: tuple[int, int] | None, origin: str
) -> tuple[View, ...]:
    """Views whose camera stands inside the region's bounding box; empty when no images were downloaded."""
    if not (house / "undistorted_color_images").is_dir():
        return ()
    conf = house / "undistorted_camera_parameters" / f"{house.name}.conf"
    cameras = read_cameras(conf)
    poses = np.stack([camera.cam_to_world for camera in cameras])
    warn_lost(poses, (Path(camera.color).stem for camera in cameras), conf)
    chosen = region_views(poses[:, :3, 3], points, split)
    return tuple(_load_view(house, conf, cameras[number], new_size, origin) for number in chosen)


def _load_view(house: Path, conf: Path, camera: Camera, new_size: tuple[int, int] | None, origin: str) -> View:
    color = need_file(house / "undistorted_color_images" / camera.color, "image")
    depth = need_file(house / "undistorted_depth_images" / camera.depth, "depth image")
    size = read_image_size(color)
    if read_image_size(depth) != size:
        raise DataError(
            f"{depth}: must be {list(size)} (H, W) as its colour image, found {list(read_image_size(depth))}"
        )
    intrinsics = to_opencv(camera.intrinsics, size, color, conf, origin)
    if new_size is not None:
        intrinsics, size = resize_intrinsics(intrinsics, size, new_size), tuple(new_size)
    return View(
        name=color.stem,
        intrinsics=intrinsics,
        cam_to_world=camera.cam_to_world,
        image_size=size,
        color_path=color,
        depth_path=depth,
        depth_scale=DEPTH_SCALE,
        **_truth_images(house, color.stem),
    )


def _truth_images(house: Path, stem: str) -> dict[str, Path]:
    """Label and instance image of a view: real houses have none."""
    if not (house / MINI_STAMP).is_file():
        return {}
    folders = {"label_path": LABEL_IMAGES, "instance_path": INSTANCE_IMAGES}
    return {field: need_file(house / folder / f"{stem}.png", "image") for field, folder in folders.items()}
