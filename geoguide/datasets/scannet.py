"""ScanNet v2 in its official layout, the real scans and the generated rooms alike (paper, Datasets).

    <root>/scans/<scene>/<scene>_vh_clean_2.ply, <scene>_vh_clean_2.labels.ply               mesh, NYU40 labels
    <root>/scans/<scene>/<scene>.aggregation.json, <scene>_vh_clean_2.0.010000.segs.json     objects, made of segments
    <root>/scans/<scene>/<scene>.sens, or color/N.jpg, depth/N.png, pose/N.txt, intrinsic/   frames
    <root>/scans/<scene>/label-filt/N.png, instance-filt/N.png                               labels of the frames

Everything but the mesh may be absent.
"""

import functools
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.cameras import Size, at_size, common_camera, frames_as_read, read_pose
from geoguide.datasets.formats.files import by_number, listed, need_file, need_folder, provenance_of, read_json
from geoguide.datasets.formats.frame_files import frame_key, of_frame
from geoguide.datasets.formats.mesh_order import check_coherent_objects, check_small_faces
from geoguide.datasets.formats.ply import checked_colors, checked_points, read_ply, vertex_columns
from geoguide.datasets.formats.segments import JUDGED, check_agree, need_fields, read_objects, read_segments
from geoguide.datasets.formats.sens import SensFile, SensView
from geoguide.datasets.normals import seen_normals
from geoguide.datasets.points import load_points
from geoguide.datasets.splits import USUAL, check_lists_apart, load_split
from geoguide.datasets.surface_agreement import check_surface
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.labels import CATEGORY_TABLE, CategoryTable, LabelSet, load_category_table, load_label_set
from geoguide.scene import NO_INSTANCE, Scene, View, void_as_read
from geoguide.text_files import read_names
from geoguide.welding import finder

BY_NAME = "or name the scenes, --train, --val and --test"
SCORED = "val"  # the labels of the test scans are withheld
SEGMENTS = "_vh_clean_2.0.010000.segs.json"
COLOR_SUFFIXES = (".jpg", ".jpeg", ".png")  # of extracted frames; the official tools write jpg
DEPTH_SCALE = 1000.0  # of extracted depth images: millimetres
FRAMES = 100  # of a recording, that the colours of a user's scan are checked by
NYU40 = 40  # the last id of labels.ply; scene0270_00, scene0270_02 and scene0384_00 as published hold 50 or 149
NAMED_ALIKE = 0.5  # share of vertices that have the id of their object's name: all, in 2 real scans and 63 rooms
# Ids taken modulo 20, or counted on from a class's position, leave walls and floors as they are: what tells is a class
# of which hardly a vertex has its own id, but another one that names a thing.
MANY, HARDLY, UNNAMED = 200, 0.1, (0, 38, 39, 40)  # vertices of a class; share of them; no thing, or any
LARGEST_ID = 2**31 - 1  # of an object; the images of instances hold 16 bits
# labels.ply repeats the mesh's vertices: 2 real scans and 3 generated rooms pass. Of a generated room's reversed
# copy 85 % differ by more than this from one vertex to the next.
SAME_STEP, OTHER_ORDER = 1e-3, 0.01  # metres; share of the vertices
Objects = tuple[list[dict], np.ndarray]  # the annotated objects; position among them of each vertex, [P], -1 for none


def list_scenes(root: str | Path, split: str) -> tuple[Path, ...]:
    """List the scenes of a split.

    The list is the data's own (see `own_list`) where that is there, else the official one (see `splits`).

    Args:
        root: The data root; the scenes lie in scans/ or (official test scans) scans_test/.
        split: Name of the split.

    Returns:
        The scenes' folders, in the list's order.

    Raises:
        DataError: A listed scene is missing, the list is empty, or a scene of the data's own list of `SCORED` is in
            another one too.
        ConfigError: There is no list of the split.
    """
    root = need_folder(root, "data root")
    lists = {own_list(root, each): _listed(root, each) for each in USUAL if own_list(root, each).is_file()}
    check_lists_apart(lists, own_list(root, SCORED))
    folders = find_scenes(root, split)
    missing = [name for name, folder in folders.items() if folder is None]
    if missing:
        own = own_list(root, split)
        hint = "" if own.is_file() else f" (by the official list, {own.name} is not there; {BY_NAME})"
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
    names = _listed(root, split)
    if not names:
        raise DataError(f"{own_list(root, split)}: lists no scene")
    homes = _homes(root)
    return {name: next((home / name for home in homes if os.path.isdir(home / name)), None) for name in names}


def all_scenes(root: Path) -> dict[Path, str]:
    """Find every scene that lies there, in a list or not.

    Args:
        root: The data root.

    Returns:
        A scene's folder -> the split that lists it ("train" where none does), sorted by name.

    Raises:
        DataError: A list is no text.
    """
    split_of = {name: split for split in USUAL for name in _listed(root, split)}
    folders = {path.name: path for home in reversed(_homes(root)) for path in home.iterdir() if path.is_dir()}
    return {folders[name]: split_of.get(name, USUAL[0]) for name in sorted(folders)}


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
        frame_skip: Every n-th frame of the recording becomes a view (the paper's peers take every 20th), by the
            numbers of extracted frames: where every 20th was extracted, 20 takes them all.
        image_size: (H, W) of the views, by default the depth images' own.

    Returns:
        The scene, named as the folder.

    Raises:
        DataError: The mesh is missing, a file that is there is broken, or the depth images do not show the mesh (see
            `surface_agreement`).
        ConfigError: `labels` names no label set, or one that ScanNet has no ids for.
        InputError: `frame_skip` is below 1.
    """
    folder = need_folder(folder, "scene folder")
    if frame_skip < 1:
        raise InputError(f"frame_skip must be at least 1, found {frame_skip}")
    path = _mesh(folder)
    records, faces = read_ply(path)
    points = checked_points(records, path)
    if faces is None:
        raise DataError(f"{path}: element 'face' is missing")
    check_small_faces(points, faces, path)
    provenance = provenance_of(folder)
    raw, objects = _load_raw(folder, points), _load_objects(folder, len(points))
    if raw is not None and objects is not None:
        check_agree(objects[1], raw, _aggregation(folder), _labels_file(folder))
        check_named(*objects, raw, _labels_file(folder))
    if objects is not None:
        check_coherent_objects(objects[1], faces, "vertices", _aggregation(folder), _segments(folder))
    views = _load_views(folder, frame_skip, image_size)
    check_surface(points, views, str(folder))
    normals, faces, said = seen_normals(points, faces, views, finder(provenance))
    found = _labels(folder, raw, objects, load_label_set(labels))
    instances = None if objects is None else _instances(*objects)
    return Scene(
        name=folder.name,
        points=points,
        colors=checked_colors(records, path),
        normals=normals,
        faces=faces,
        labels=found,
        instances=instances,
        views=views,
        provenance=provenance,
        as_read=(*said, *void_as_read(found, instances), *frames_as_read(views)),
    )


def is_scannet(folder: Path) -> bool:
    """Whether a folder is that of one scan, with the official mesh in it.

    Args:
        folder: Any path.

    Returns:
        True where `<scene>/<scene>_vh_clean_2.ply` is there.
    """
    return os.path.isfile(_mesh(folder))  # False also for a name that is too long, unlike the method of Path


def load_scan(folder: str | Path) -> Scene:
    """Read the official mesh of one scan, whether or not it has faces, and some of its frames; no annotation.

    Args:
        folder: The scan's folder.

    Returns:
        The scene, its points the mesh's vertices in the file's order; `FRAMES` of its frames at most, evenly spread.

    Raises:
        DataError: As `load_points`; a file of the frames is broken, or the depth images do not show the mesh.
    """
    folder = need_folder(folder, "scene folder")
    scene, views = load_points(_mesh(folder)), _load_views(folder, 1, None)
    views = views[:: max(1, -(-len(views) // FRAMES))]
    check_surface(scene.points, views, str(folder))
    told = (
        f"a ScanNet scene: the vertices of its official mesh {_mesh(folder).name} are taken, nothing is reconstructed"
    )
    said = (told, *scene.as_read, *frames_as_read(views))
    return replace(scene, name=folder.name, views=views, provenance=provenance_of(folder), as_read=said)


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
    return np.unique(read_segments(_segments(folder)), return_inverse=True)[1].reshape(-1).astype(np.int64)


def unknown_names(folder: str | Path, table: CategoryTable) -> tuple[str, ...]:
    """Find the names of annotated objects that a table of categories does not hold.

    Args:
        folder: The scan's folder.
        table: The table.

    Returns:
        The names, sorted, each on one line; none where the scan has no annotation.

    Raises:
        DataError: The annotation is broken.
    """
    path = _aggregation(Path(folder))
    if not path.exists():
        return ()
    names = {one.get("label") for one in read_json(path, {"segGroups": list})["segGroups"] if isinstance(one, dict)}
    unknown = (name for name in names if isinstance(name, str) and name.strip() not in table.ids)
    return tuple(sorted(" ".join(name.split()) for name in unknown))


def _listed(root: Path, split: str) -> tuple[str, ...]:
    """The names of a split, by the data's own list or the official one."""
    own = own_list(root, split)
    return read_names(own, "split list") if own.is_file() else load_split("scannet", split)


def _homes(root: Path) -> list[Path]:
    """The folders that scenes lie in."""
    return [root / folder for folder in ("scans", "scans_test") if (root / folder).is_dir()]


def _mesh(folder: Path) -> Path:
    return folder / f"{Path(os.path.abspath(folder)).name}_vh_clean_2.ply"  # also where the folder is given as "."


def _aggregation(folder: Path) -> Path:
    return folder / f"{folder.name}.aggregation.json"


def _segments(folder: Path) -> Path:
    return folder / f"{folder.name}{SEGMENTS}"


def _labels_file(folder: Path) -> Path:
    return folder / f"{folder.name}_vh_clean_2.labels.ply"


def _load_raw(folder: Path, points: np.ndarray) -> np.ndarray | None:
    """NYU40 id of each of the points [P, 3] as `labels.ply` holds it, integers [P]; None when the scan has none."""
    path = _labels_file(folder)
    if not path.exists():
        return None
    records, _ = read_ply(path)
    raw = vertex_columns(records, ("label",), path)
    if raw is None:
        raise DataError(f"{path}: integer vertex property 'label' is missing")
    if raw.dtype.kind not in "iu":
        raise DataError(f"{path}: vertex property 'label' must be of integers, found {raw.dtype}")
    if len(raw) != len(points):
        raise DataError(f"{path}: holds {len(raw)} vertices, the mesh has {len(points)}")
    _check_order(vertex_columns(records, ("x", "y", "z"), path), points, path)
    return raw[:, 0]


def _check_order(found: np.ndarray | None, points: np.ndarray, path: Path) -> None:
    """Check that a labelled copy [P, 3] of the mesh's points [P, 3] has them in the mesh's order; it may be moved."""
    if found is None:
        return
    with np.errstate(all="ignore"):  # of coordinates that are damaged: they are far from the mesh's
        steps = [np.linalg.norm(np.diff(each.astype(np.float64), axis=0), axis=1) for each in (found, points)]
        other = ~(np.abs(steps[0] - steps[1]) <= SAME_STEP)  # [P - 1]
    if other.sum() > OTHER_ORDER * len(points):
        where = f"{int(other.sum())} of {len(points)} vertices lie elsewhere than in the mesh"
        raise DataError(f"{path}: {where}: in another order, or of another mesh?")


def check_named(groups: list[dict], owner: np.ndarray, raw: np.ndarray, path: Path) -> None:
    """Check that labels are NYU40 ids: those of the names of the vertices' objects.

    Args:
        groups: The objects as in their file.
        owner: Object of each vertex, int64 [P], -1 for none.
        raw: Label of each vertex as stored, integers [P].
        path: The file of labels, for the message.

    Raises:
        DataError: Of at least `JUDGED` vertices in objects of usual names fewer than `NAMED_ALIKE` have their id, or
            hardly any of two classes or more have theirs. Of one class, which may be meant so, a warning tells.
    """
    table = load_category_table()
    ids = [table.ids.get(name.strip(), 0) if isinstance(name := group.get("label"), str) else 0 for group in groups]
    expected = table.nyu40(np.array([*ids, 0]))[owner]  # [P]; the last is for owner -1
    known = expected > 0
    share = (expected == raw)[known].mean() if known.sum() >= JUDGED else 1.0
    if share < NAMED_ALIKE:
        found = f"only {share:.0%} of the vertices have the NYU40 id of their object's name"
        raise DataError(f"{path}: label: {found}: ids of other classes, or counted from another number?")
    moved = _moved(expected, raw)
    if moved:
        found = ", ".join(f"{other} on objects whose names have {one}" for one, other in moved.items())
        told = f"{path}: label: expected NYU40 ids, found {found}"
        if len(moved) > 1:
            raise DataError(f"{told}: ids of other classes, or modulo some number?")
        warnings.warn(told, stacklevel=3)


def _moved(expected: np.ndarray, raw: np.ndarray) -> dict[int, int]:
    """NYU40 ids that hardly any vertex of their objects has -> the id that most of these have instead.

    Args:
        expected: NYU40 id of each vertex by its object's name, int64 [P], 0 for none.
        raw: Label of each vertex as stored, integers [P]. Those that name no thing say nothing.
    """
    judged = (expected > 0) & ~np.isin(raw, UNNAMED)
    moved = {}
    for one in np.unique(expected[judged]).tolist():
        found, count = np.unique(raw[judged & (expected == one)], return_counts=True)
        if count.sum() >= MANY and count[found == one].sum() < HARDLY * count.sum():
            moved[one] = int(found[np.argmax(count)])
    return moved


def _labels(folder: Path, raw: np.ndarray | None, objects: Objects | None, mapping: LabelSet) -> np.ndarray | None:
    """Class ids int64 [P], by `labels.ply` or by the objects' raw names; None when the scan has no annotation.

    `labels.ply` holds the coarse NYU40 ids only, so the names of ScanNet200 are looked up.
    """
    if mapping.raw == "scannet_id":
        return None if objects is None else _fine_labels(folder, *objects, mapping)
    if mapping.raw != "nyu40":
        raise ConfigError(f"label set {mapping.name!r} is defined by {mapping.raw}, which ScanNet does not have")
    if raw is None:
        return None
    outside = raw[(raw < 0) | (raw > NYU40)]
    if outside.size:
        where, ids = f"{_labels_file(folder)}: label of {outside.size} points", map(str, np.unique(outside))
        warnings.warn(f"{where} is not in 0..{NYU40} and read as void: {', '.join(ids)}", stacklevel=3)
    return mapping.from_raw(raw)  # [P]


def _fine_labels(folder: Path, groups: list[dict], owner: np.ndarray, mapping: LabelSet) -> np.ndarray:
    """Class ids int64 [P] of ScanNet200, by the objects' names."""
    need_fields(groups, {"label": str, "segments": list}, _aggregation(folder))
    path = folder.parents[1] / CATEGORY_TABLE.name
    table = load_category_table(path)
    _check_ids(table, mapping, path)
    unknown, where = unknown_names(folder, table), f"{_aggregation(folder)}: label of objects"
    # The last is for owner -1.
    raw = np.array([table.ids.get(group["label"].strip(), 0) for group in groups] + [0], dtype=np.int64)[owner]  # [P]
    inside = owner >= 0
    if unknown and inside.sum() >= JUDGED and np.mean(raw[inside] == 0) > 1 - NAMED_ALIKE:
        found = f"{len(unknown)} names are not in {path.name}, first {unknown[0]!r}, and most points are of these"
        raise DataError(f"{where}: {found}: names or table of another dataset, or in other letters?")
    if unknown:
        warnings.warn(f"{where} is not in the category table and read as void: {', '.join(unknown)}", stacklevel=4)
    return mapping.from_raw(raw)


def _check_ids(table: CategoryTable, mapping: LabelSet, path: Path) -> None:
    """Refuse a table by which most classes of ScanNet200 have another id than theirs."""
    named = [(name, raw) for name, raw in zip(mapping.names, mapping.raw_ids, strict=True) if name in table.ids]
    wrong = [name for name, raw in named if table.ids[name] != raw]
    if 2 * len(wrong) > len(named):
        found = f"{len(wrong)} of {len(named)} categories called as a class have another id than that class"
        hint = "are rows or cells moved, or ids counted anew?"
        raise DataError(f"{path}: column id: {found}, first {wrong[0]!r} with {table.ids[wrong[0]]}: {hint}")


def _instances(groups: list[dict], owner: np.ndarray) -> np.ndarray:
    """Object of each vertex, by its objectId, int64 [P], -1 for none."""
    return np.array([group["objectId"] for group in groups] + [NO_INSTANCE], dtype=np.int64)[owner]


def _load_objects(folder: Path, count: int) -> Objects | None:
    """The annotated objects in `aggregation.json`, and the object of each vertex; None when there is no annotation."""
    path = _aggregation(folder)
    if not path.exists():
        return None
    kinds = {"objectId": int, "segments": list}
    groups, owner = read_objects(_segments(folder), path, count, "vertices", kinds, folder.name)
    times = Counter(group["objectId"] for group in groups)
    wrong = next((number for number in times if not 0 <= number <= LARGEST_ID), None)
    if wrong is not None:
        raise DataError(f"{path}: objectId must be 0..{LARGEST_ID}, found {wrong}")
    twice = [str(number) for number, count in times.items() if count > 1]
    if twice:
        warnings.warn(f"{path}: objects that share an objectId become one: {', '.join(twice)}", stacklevel=3)
    return groups, owner


def _load_views(folder: Path, frame_skip: int, new_size: Size | None) -> tuple[View, ...]:
    """Views of every `frame_skip`-th frame, in order: extracted ones, else of the `.sens` recording, else none."""
    recording = folder / f"{folder.name}.sens"
    extracted = by_number(listed(folder / "color", suffixes=COLOR_SUFFIXES))
    if extracted or not recording.exists():
        _warn_of_missing_colors(folder, extracted)
    paths = _every_nth(extracted, frame_skip)
    if not paths:
        others = listed(folder / "color")
        if others:
            expected = f"expected images N{', N'.join(COLOR_SUFFIXES)}"
            raise DataError(f"{folder / 'color'}: {expected}, found {len(others)} other files, first {others[0].name}")
        return _load_recording(folder, recording, frame_skip, new_size) if recording.exists() else ()
    frames = [(color, need_file(of_frame(folder / "depth" / f"{color.stem}.png"), "depth image")) for color in paths]
    intrinsics, size = common_camera(frames, folder / "intrinsic" / "intrinsic_depth.txt", new_size)
    poses = (read_pose(of_frame(folder / "pose" / f"{color.stem}.txt")) for color in paths)
    view = functools.partial(View, intrinsics=intrinsics, image_size=size, depth_scale=DEPTH_SCALE)
    return tuple(
        view(
            color.stem, cam_to_world=pose, color_path=color, depth_path=depth, **_annotation_images(folder, color.stem)
        )
        for (color, depth), pose in zip(frames, poses, strict=True)
    )


def _every_nth(paths: Sequence[Path], step: int) -> list[Path]:
    """Every n-th frame of the recording, by the frames' numbers: who extracted every n-th alone has them all."""
    chosen: list[Path] = []
    for path in paths:
        if not chosen or int(path.stem) - int(chosen[-1].stem) >= step:
            chosen.append(path)
    return chosen


def _warn_of_missing_colors(folder: Path, colors: Sequence[Path]) -> None:
    """Say which frames have depth and no colour: what is listed is the colour images, and they would go unnoticed."""
    depths, frames = listed(folder / "depth", suffixes=(".png",)), {frame_key(path.stem) for path in colors}
    lost = [path for path in depths if frame_key(path.stem) not in frames]
    if lost:
        what = f"of {len(lost)} of {len(depths)} depth images (first {lost[0].name}); these frames are left out"
        warnings.warn(f"{folder / 'color'}: no {', '.join(COLOR_SUFFIXES)} {what}", stacklevel=4)


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
    paths = {f"{kind}_path": of_frame(folder / f"{kind}-filt" / f"{stem}.png") for kind in ("label", "instance")}
    return {field: path for field, path in paths.items() if path.is_file()}
