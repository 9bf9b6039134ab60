"""Matterport3D in its official layout: one `Scene` per region of a house, with the house's images taken inside it.

    <house>/region_segmentations/region<N>.{ply, fsegs.json, semseg.json}
    <house>/undistorted_camera_parameters/<house>.conf, undistorted_color_images/, undistorted_depth_images/

Faces carry categories (the `index` column of the official category_mapping.tsv), vertices do not: a vertex takes the
class that most of its faces have, void counting as a class; ties go to void, then to the lower class id (OpenScene's
rule). Cameras are in `formats.matterport_cameras`, the mapping in `matterport_categories`. The .house files, which also
hold regions and objects, are not needed.
"""

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.cameras import Size, at_size, read_image_size, warn_lost
from geoguide.datasets.formats.files import is_junk, listed, need_file, need_folder, provenance_of
from geoguide.datasets.formats.frame_files import of_frame
from geoguide.datasets.formats.matterport_cameras import (
    DEPTH_SCALE,
    Camera,
    check_upright,
    read_cameras,
    region_views,
    to_opencv,
)
from geoguide.datasets.formats.mesh_order import check_coherent_objects, check_small_faces
from geoguide.datasets.formats.ply import checked_colors, checked_points, read_ply_triangles
from geoguide.datasets.formats.segments import check_agree, read_objects
from geoguide.datasets.matterport_categories import CategoryMapping, load_category_mapping
from geoguide.datasets.normals import seen_normals
from geoguide.datasets.splits import USUAL, check_lists_apart, load_split
from geoguide.datasets.surface_agreement import check_surface, views_inside
from geoguide.datasets.units import need_metres
from geoguide.errors import DataError
from geoguide.labels import load_label_set
from geoguide.scene import NO_INSTANCE, VOID, Scene, View, void_as_read
from geoguide.text_files import read_names
from geoguide.welding import finder

CATEGORY_FIELDS = ("category_id", "face_category")  # in the files, and in the official documentation
REGIONS, CAMERAS, COLOR = "region_segmentations", "undistorted_camera_parameters", "undistorted_color_images"
MAPPING = "category_mapping.tsv"
SCORED = "test"
_REGION_FILE = re.compile(r"region0*(\d+)\.(?:ply|\w+\.json)", re.IGNORECASE)
# Share of the faces in objects whose category has the raw name of their object: all of them in generated houses; with a
# table whose lines are moved by one, or are in another order, 0 to 7 % (those by chance).
NAMED_ALIKE = 0.5
MANY, HARDLY = 200, 0.1  # faces of a name; share of them that have a category so called, or of the same nyuClass
Objects = tuple[np.ndarray, list[str]]  # the object of each face, int64 [F], -1 for none; each object's raw category
LABEL_IMAGES, INSTANCE_IMAGES = "label_images", "instance_images"  # beside generated houses only


def list_houses(root: str | Path, split: str) -> tuple[Path, ...]:
    """List the houses of a split.

    The list is the data's own (see `own_list`) where there is one, else the official one (see `splits`).

    Args:
        root: The data root; the houses lie in v1/scans/ or scans/ below it, or in it.
        split: Name of the split.

    Returns:
        The houses' folders, in the list's order.

    Raises:
        DataError: A listed house is missing, the list is empty, or a house of the data's own list of `SCORED` is in
            another one too.
        ConfigError: There is no list of the split.
    """
    root = need_folder(root, "data root")
    lists = {path: _listed(root, each) for each in USUAL if (path := own_list(root, each))}
    check_lists_apart(lists, own_list(root, SCORED) or root)
    own, names = own_list(root, split), _listed(root, split)
    if not names:
        raise DataError(f"{own}: lists no house")
    home = scans_folder(root)
    missing = [house for house in names if not os.path.isdir(home / house)]  # False for a name that is too long
    if missing:
        hint = "" if own else f" (by the official list, scenes_{split}.txt is not there)"
        raise DataError(f"{home}: {len(missing)} of {len(names)} {split} houses are missing, first {missing[0]}{hint}")
    return tuple(home / house for house in names)


def all_houses(root: str | Path) -> dict[Path, str]:
    """Find every house that lies there with its regions, in a list or not.

    Args:
        root: The data root.

    Returns:
        A house's folder -> the split that lists it ("train" where none does), sorted by name.

    Raises:
        DataError: A list is no text.
    """
    root = need_folder(root, "data root")
    split_of = {name: split for split in USUAL for name in _listed(root, split)}
    return {house: split_of.get(house.name, USUAL[0]) for house in house_folders(root) if (house / REGIONS).is_dir()}


def house_folders(root: Path) -> tuple[Path, ...]:
    """List the folders that lie where houses do, without what file managers leave behind.

    Args:
        root: The data root.

    Returns:
        The folders, sorted by name; one need not hold a house.
    """
    return tuple(sorted(path for path in scans_folder(root).glob("*/") if not is_junk(path.name)))


def own_list(root: Path, split: str) -> Path | None:
    """Find the list of a split's houses that lies with the data.

    Args:
        root: The data root.
        split: Name of the split.

    Returns:
        `scenes_{split}.txt` in the root or its tasks/benchmark/, None where there is no such file.
    """
    places = (root / f"scenes_{split}.txt", root / "tasks" / "benchmark" / f"scenes_{split}.txt")
    return next((place for place in places if place.is_file()), None)


def _listed(root: Path, split: str) -> tuple[str, ...]:
    """The houses of a split, by the data's own list or the official one."""
    own = own_list(root, split)
    return read_names(own, "split list") if own else load_split("matterport3d", split)


def scans_folder(root: Path) -> Path:
    """Find the folder that the houses lie in.

    Args:
        root: The data root.

    Returns:
        v1/scans/ or scans/ below the root, or else the root.
    """
    return next((place for place in (root / "v1" / "scans", root / "scans") if place.is_dir()), root)


def find_mapping(root: Path) -> Path | None:
    """Find the category mapping.

    Args:
        root: The data root, the folder of the houses, or one house.

    Returns:
        `category_mapping.tsv` in the folder, its metadata/ or up to three folders above; None where there is none.
    """
    places = [folder / part for folder in (root, *root.parents[:3]) for part in (MAPPING, f"metadata/{MAPPING}")]
    return next((place for place in places if place.is_file()), None)


def list_regions(house: str | Path) -> tuple[int, ...]:
    """List the regions of a house.

    Args:
        house: The house's folder.

    Returns:
        Numbers of the regions, ascending.

    Raises:
        DataError: There is none, or the mesh of one is missing where another file of it is there.
    """
    folder = need_folder(Path(house) / REGIONS, "region segmentations")
    matches = [(path, _REGION_FILE.fullmatch(path.name)) for path in listed(folder)]
    numbers = sorted({int(match[1]) for _, match in matches if match})
    if not numbers:
        raise DataError(f"{folder}: holds no region<N>.ply")
    names = {path.name for path, match in matches if match}
    lost = next((number for number in numbers if f"region{number}.ply" not in names), None)
    if lost is not None:  # a region of which the mesh is missing, or its name is spelled in another way
        there = next(path.name for path, match in matches if match and int(match[1]) == lost)
        raise DataError(f"{folder / f'region{lost}.ply'}: ply file not found, {there} is there")
    return tuple(numbers)


def load_region(
    house: str | Path,
    region: int,
    *,
    mapping: str | Path | None,
    labels: str = "matterport21",
    split: str = "train",
    image_size: Size | None = None,
    origin: str = "bottom-left",
) -> Scene:
    """Read one region of a house, with the images taken inside it (paper, Datasets).

    Images that were not downloaded leave the scene without views. Generated houses have `provenance` "mini", and label
    and instance images.

    Args:
        house: The house's folder.
        region: Number of the region.
        mapping: The official category_mapping.tsv, None to read no labels.
        labels: Label set: matterport21 (by its NYU40 ids) or matterport40, 80, 160 (by its nyuClass).
        split: Official split of the house: in "test" a region without cameras inside takes the 100 nearest (OpenScene's
            rule).
        image_size: (H, W) of the views, by default the images' own, 1024 x 1280.
        origin: Origin of the images that the cameras' file counts from, see `formats.matterport_cameras`.

    Returns:
        The scene, named `<house>_region<N>`; z is up.

    Raises:
        DataError: Something is missing or broken; the message names file, field, expected and found.
        ConfigError: `labels` names no label set, or one that Matterport3D has no ids for.
        InputError: `origin` is unknown.
    """
    house = need_folder(house, "house folder")
    path = house / REGIONS / f"region{region}.ply"
    records, faces, face_records = read_ply_triangles(path)
    points = checked_points(records, path)
    need_metres(points, path)
    check_small_faces(points, faces, path)
    objects, classes = _face_objects(path, len(faces)), None  # classes: [F]
    if objects is not None:
        check_coherent_objects(objects[0], faces, "faces", *_object_files(path)[::-1])
    if mapping is not None:
        classes = _face_classes(face_records, objects, load_category_mapping(Path(mapping)), labels, path)
    views, unseen = _load_views(house, points, split, image_size, origin)
    normals, surface, said = seen_normals(points, faces, views, finder(provenance_of(house)))
    found = None if classes is None else majority(faces, classes, len(points), VOID)
    instances = None if objects is None else majority(faces, objects[0], len(points), NO_INSTANCE)
    return Scene(
        name=f"{house.name}_region{region}",
        points=points,
        colors=checked_colors(records, path),
        normals=normals,
        faces=surface,
        labels=found,
        instances=instances,
        views=views,
        provenance=provenance_of(house),
        as_read=(*said, *void_as_read(found, instances), *unseen),
    )


def label_image_classes(mapping: str | Path, labels: str) -> Callable[[np.ndarray], np.ndarray]:
    """Make the function that turns the label images of generated houses into the classes of a label set.

    Args:
        mapping: The category_mapping.tsv by whose index the label images are written.
        labels: Label set.

    Returns:
        A function of a label image int64 [H, W], which returns class ids int64 [H, W] as in `Scene.labels`, 255 for
        void and for index 0. It raises `DataError` for an index that the mapping does not have.

    Raises:
        DataError: The mapping is missing or broken.
        ConfigError: `labels` names no label set, or one that Matterport3D has no ids for.
    """
    table = load_category_mapping(Path(mapping)).classes(load_label_set(labels))

    def classes(image: np.ndarray) -> np.ndarray:
        outside = image[(image < 0) | (image >= len(table))]
        if outside.size:
            raise DataError(f"{mapping}: ends at {len(table) - 1}, a label image holds {outside[0]}")
        return table[image]

    return classes


def majority(faces: np.ndarray, values: np.ndarray, count: int, nothing: int) -> np.ndarray:
    """Give each vertex the value that most of its faces have (OpenScene's rule).

    `nothing` counts as any other value and wins ties; else the lower value wins.

    Args:
        faces: Vertices of each face [F, 3].
        values: Value of each face, int64 [F].
        count: Number of vertices, P.
        nothing: The value that stands for none, which vertices without faces get.

    Returns:
        Value of each vertex, int64 [P].

    Example:
        >>> faces = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4]])
        >>> majority(faces, np.array([5, 5, 7]), count=6, nothing=255).tolist()
        [5, 5, 5, 5, 7, 255]
    """
    names, value = np.unique(np.append(values, nothing), return_inverse=True)  # [N], [F + 1]
    order = np.argsort(names != nothing, kind="stable")  # `nothing` first, the others ascending
    rank = np.argsort(order)[value.reshape(-1)[:-1]]  # [F]
    pair, votes = np.unique(faces * len(names) + rank[:, None], return_counts=True)  # a vertex with a value
    vertex, rank = np.divmod(pair, len(names))
    best = np.lexsort((rank, -votes, vertex))  # by vertex, the most votes first, then the lowest rank
    vertex, rank = vertex[best], rank[best]
    first = np.append(True, vertex[1:] != vertex[:-1])[: len(vertex)]
    result = np.full(count, nothing, dtype=np.int64)  # [P]
    result[vertex[first]] = names[order[rank[first]]]
    return result


def _object_files(ply: Path) -> tuple[Path, Path]:
    """The files of a region's segments and objects."""
    return ply.with_suffix(".fsegs.json"), ply.with_suffix(".semseg.json")


def _face_objects(ply: Path, count: int) -> Objects | None:
    """Objects from region<N>.fsegs.json and .semseg.json; None when the region has neither."""
    fsegs, path = _object_files(ply)
    if not fsegs.exists() and not path.exists():
        return None
    groups, owner = read_objects(fsegs, path, count, "faces", {"label": str, "segments": list})
    return owner, [group["label"] for group in groups]


def _face_classes(
    records: np.ndarray, objects: Objects | None, categories: CategoryMapping, label_set: str, path: Path
) -> np.ndarray:
    """Class id int64 [F] of each face: by the category index in the ply, or without that by its object's raw name."""
    table = categories.classes(load_label_set(label_set))
    field = next((field for field in CATEGORY_FIELDS if field in (records.dtype.names or ())), None)
    if field is not None:
        index = np.asarray(records[field])
        if index.dtype.kind not in "iu":
            raise DataError(f"{path}: face property {field} must be integers, found {index.dtype}")
        if objects is not None:
            check_agree(objects[0], index, path.with_suffix(".semseg.json"), path)
        index = np.where(index == -1, 0, index).astype(np.int64)
        outside = index[(index < 0) | (index >= len(table))]
        if outside.size:
            end = f"{categories.path.name} ends at {len(table) - 1}"
            raise DataError(f"{path}: face property {field} holds {outside[0]}, {end}")
        if objects is not None:
            _check_names(objects, index, categories, path)
        return table[index]
    if objects is None:
        raise DataError(f"{path}: no face property {CATEGORY_FIELDS[0]}, and no fsegs.json and semseg.json beside it")
    ids, names = objects
    names = [name.strip() for name in names]
    index_of = dict(zip(categories.raw, categories.index.tolist(), strict=True))
    unknown = next((name for name in names if name not in index_of), None)
    if unknown is not None:
        raise DataError(f"{path.with_suffix('.semseg.json')}: label {unknown!r} is not in {categories.path.name}")
    of_object = np.array([table[index_of[name]] for name in names] + [VOID], dtype=np.int64)  # the last for id -1
    return of_object[ids]


def _check_names(objects: Objects, index: np.ndarray, categories: CategoryMapping, path: Path) -> None:
    """Check that the faces' categories [F] are called as their objects are: else the table is not the one meant."""
    owner, names = objects
    inside = (owner >= 0) & (index > 0)
    if not inside.any():
        return
    name_of = dict(zip(categories.index.tolist(), categories.raw, strict=True))
    pair, count = np.unique(np.stack([owner[inside], index[inside]]), axis=1, return_counts=True)  # [2, n], [n]
    class_of = dict(zip(categories.raw, categories.nyu_class, strict=True))
    judged, called, alike = Counter[str](), Counter[str](), Counter[str]()  # faces of objects of a name
    for (thing, category), faces in zip(pair.T.tolist(), count.tolist(), strict=True):
        name, other = names[thing].strip(), name_of.get(category, "")
        if name in class_of:
            judged[name] += faces
            called[name] += faces * (other == name)
            alike[name] += faces * (other == name or class_of[name] == class_of.get(other))
    if called.total() < NAMED_ALIKE * judged.total():
        found = f"only {called.total() / judged.total():.0%} of the faces have the category that"
        found += f" {categories.path.name} calls as their object"
        raise DataError(f"{path}: {found}: was it made with another table?")
    moved = [name for name, faces in judged.items() if faces >= MANY and alike[name] < HARDLY * faces]
    if len(moved) > 1:  # walls and floors, most of the faces, have small numbers
        found = f"faces of {len(moved)} kinds of objects, first {moved[0]!r}, have other categories than these"
        raise DataError(f"{path}: {found} by {categories.path.name}: indices modulo some number, or of another table?")


def _load_views(
    house: Path, points: np.ndarray, split: str, new_size: Size | None, origin: str
) -> tuple[tuple[View, ...], tuple[str, ...]]:
    """The region's views, chosen by `region_views`, and a sentence where there are none.

    Empty when no images were downloaded.
    """
    conf = house / CAMERAS / f"{house.name}.conf"
    if not (house / COLOR).is_dir():
        found = f"{COLOR} is not there, {CAMERAS} is: no images"
        return (), (found,) * conf.parent.is_dir()
    cameras = read_cameras(conf)
    poses = np.stack([camera.cam_to_world for camera in cameras])  # [K, 4, 4]
    warn_lost(poses, (Path(camera.color).stem for camera in cameras), conf)
    check_upright(poses, str(conf))
    chosen = region_views(poses[:, :3, 3], points, split)
    views = tuple(_load_view(house, conf, cameras[number], new_size, origin) for number in chosen)
    check_surface(points, views_inside(views, points), str(conf))
    said = f"none of the {len(cameras)} cameras of the house stands inside the region: no images"
    return views, (said,) * (not views)


def _load_view(house: Path, conf: Path, camera: Camera, new_size: Size | None, origin: str) -> View:
    """One image of the house, its two files checked to be of one size that the intrinsics can belong to."""
    color = need_file(of_frame(house / COLOR / camera.color), "image")
    depth = need_file(of_frame(house / "undistorted_depth_images" / camera.depth), "depth image")
    size, depth_size = read_image_size(color), read_image_size(depth)
    if depth_size != size:
        raise DataError(f"{depth}: must be {list(size)} (H, W) as its colour image, found {list(depth_size)}")
    intrinsics = to_opencv(camera.intrinsics, size, color, conf, origin)
    intrinsics, size = at_size(intrinsics, size, new_size)
    images = _truth_images(house, color.stem)
    return View(color.stem, intrinsics, camera.cam_to_world, size, color, depth, DEPTH_SCALE, **images)  # ty: ignore[invalid-argument-type]


def _truth_images(house: Path, stem: str) -> dict[str, Path]:
    """Label and instance image of a view, by field of `View`; none for real houses."""
    if provenance_of(house) == "real":
        return {}
    folders = {"label_path": LABEL_IMAGES, "instance_path": INSTANCE_IMAGES}
    return {field: need_file(of_frame(house / folder / f"{stem}.png"), "image") for field, folder in folders.items()}
