"""nuScenes in its official layout, a key frame at a time: LiDAR, six cameras, lidarseg labels (paper, Datasets).

`read_tables` reads a version's json tables once; `list_scenes` and `list_samples` name what they hold; `load_sample`
reads one key frame. The points are in the coordinates of the ego vehicle at the LiDAR's time (metres, x forward, y
left, z up): the global coordinates are kilometres wide, too wide for float32, and their z is up as the car's is but for
the car's own tilt.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.datasets.formats import nuscenes_tables
from geoguide.datasets.formats.cameras import (
    Size,
    at_size,
    check_camera,
    check_fits,
    checked_pose,
    frames_as_read,
    read_image_size,
)
from geoguide.datasets.formats.files import need_file, need_folder, read_json
from geoguide.datasets.formats.nuscenes_labels import UNKNOWN
from geoguide.datasets.formats.nuscenes_lidar import COLUMNS, read_lidar
from geoguide.datasets.formats.nuscenes_records import need_fields, numbers
from geoguide.datasets.formats.nuscenes_tables import CAMERAS, LIDAR, Tables, list_samples, read_tables
from geoguide.datasets.normals import swept_normals
from geoguide.datasets.nuscenes_car import check_ego, check_lidar, check_mount, warn_gaps
from geoguide.datasets.points import grey_colors
from geoguide.datasets.splits import SPLITS, load_split
from geoguide.datasets.units import need_metres
from geoguide.errors import DataError, InputError
from geoguide.scene import Scene, View, void_as_read

__all__ = ["CAMERAS", "list_samples", "list_scenes", "load_key_frame", "load_sample", "read_tables"]

CALIBRATION = "calibration.json"  # marks a folder of one key frame


def list_scenes(tables: Tables, split: str | None = None) -> tuple[str, ...]:
    """List the scenes of a split.

    The official splits are train, val, test, mini_train and mini_val. A `splits.json` beside the tables, which the
    devkit knows as custom splits, adds splits; in generated data it decides what the official names mean.

    Args:
        tables: The tables, of `read_tables`.
        split: Name of the split; None: all scenes of the tables.

    Returns:
        Names of the scenes, sorted, or in the order of `splits.json`.

    Raises:
        InputError: There is no such split.
        DataError: The split is empty, or a scene of it is not in the tables.
    """
    if split is None:
        return tuple(sorted(tables.scenes))
    official = {name: load_split("nuscenes", name) for name in SPLITS["nuscenes"]}
    splits = {**official, **tables.splits} if tables.provenance == "mini" else {**tables.splits, **official}
    if split not in splits:
        raise InputError(f"split must be one of {', '.join(splits)}, found {split!r}")
    if not splits[split]:
        raise DataError(f"{tables.path('splits')}: field {split}: expected at least one scene, found an empty split")
    names = splits[split]
    missing = [name for name in names if name not in tables.scenes]
    if missing:
        expected = f"the {len(names)} scenes of split {split!r}"
        found = f"{len(names) - len(missing)}, first missing {missing[0]}"
        raise DataError(f"{tables.path('scene')}: field name: expected {expected}, found {found}")
    return names


def load_sample(tables: Tables, sample: str, *, image_size: Size | None = None) -> Scene:
    """Read one key frame of the official layout (paper, Datasets).

    A view's pose is the devkit's chain, camera -> ego (camera's time) -> global -> ego (LiDAR's time), so projecting
    with it equals the devkit's projection from the LiDAR. Views are named by channel and have no depth image: lift with
    `fuse(..., use_depth=False)`, or "splat". A camera whose pose holds nan has a view with that pose, which `fuse`
    skips with one warning. Views of generated data have label, instance and depth images too, which serve the simulated
    teacher alone: lift them as real ones.

    Args:
        tables: The tables, of `read_tables`.
        sample: Token of the sample.
        image_size: (H, W) of the views, by default the images' own, 900 x 1600; OpenScene lifts at (450, 800).

    Returns:
        The scene, named `<scene>_<token>`. Its colours are a constant grey; intensity is 0..255; labels are classes of
        "nuscenes16" (255 where ignored), None where lidarseg is not installed or withheld. Normals are estimated and
        look to the LiDAR; generated data have none.

    Raises:
        DataError: Something is missing or broken; the message names file, field, what was expected and what was found.
    """
    frames, lidar = _frames(tables, sample)
    points, intensity, ego_to_global, lidar_to_ego = _sweep(tables, sample, lidar)
    views = tuple(_view(tables, channel, frames[channel], ego_to_global, image_size) for channel in CAMERAS)
    for view in views:
        check_mount(view, f"{tables.path('sample_data')}: record {frames[view.name]['token']}")
    warn_gaps({view.name: view for view in views}, f"{tables.path('calibrated_sensor')}: {tables.scene_of(sample)}")
    labels = _read_labels(tables, lidar["token"], len(points))
    # The records of generated streets were computed without normals: every stage estimates its own there.
    normals, said = (None, ()) if tables.provenance == "mini" else swept_normals(points, lidar_to_ego[:3, 3])
    return Scene(
        name=f"{tables.scene_of(sample)}_{sample}",
        points=points,
        colors=grey_colors(len(points)),
        normals=normals,
        labels=labels,
        views=views,
        provenance=tables.provenance,
        intensity=intensity,
        as_read=(*said, *void_as_read(labels), *frames_as_read(views)),
    )


def load_sweep(tables: Tables, sample: str) -> np.ndarray:
    """Read the points of one key frame of the official layout; neither labels nor images are opened.

    Args:
        tables: The tables, of `read_tables`.
        sample: Token of the sample.

    Returns:
        float32 [P, 3] metres, as `load_sample` has them: z up, from where the car stands.

    Raises:
        DataError: As `load_sample`.
    """
    return _sweep(tables, sample, _frames(tables, sample)[1])[0]


def _frames(tables: Tables, sample: str) -> tuple[dict[str, dict], dict]:
    """The records of a key frame's sensors by channel, and that of the LiDAR."""
    if sample not in tables.samples:
        raise DataError(f"{tables.path('sample')}: field token: expected {sample!r}, found none of that token")
    frames = tables.frames.get(sample, {})
    missing = [channel for channel in (LIDAR, *CAMERAS) if channel not in frames]
    if missing:
        expected = f"a key frame of {LIDAR} and {len(CAMERAS)} cameras"
        where = f"{tables.path('sample_data')}: sample {sample}"
        raise DataError(f"{where}: expected {expected}, found none of {', '.join(missing)}")
    return frames, frames[LIDAR]


def _sweep(tables: Tables, sample: str, lidar: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points float32 [P, 3] in the car's frame and intensity [P]; ego to global and LiDAR to ego, [4, 4] each."""
    points, intensity = read_lidar(tables.root / lidar["filename"])
    ego_to_global = tables.pose("ego_pose", lidar["ego_pose_token"])
    lidar_to_ego = tables.pose("calibrated_sensor", lidar["calibrated_sensor_token"])
    if not np.isfinite([ego_to_global, lidar_to_ego]).all():
        where = f"{tables.path('ego_pose')}: sample {sample}"
        raise DataError(f"{where}: expected a finite pose of {LIDAR}, found nan or inf")
    need_metres(points, tables.root / lidar["filename"])
    check_ego(ego_to_global, f"{tables.path('ego_pose')}: record {lidar['ego_pose_token']}")
    check_lidar(lidar_to_ego, f"{tables.path('calibrated_sensor')}: record {lidar['calibrated_sensor_token']}")
    points = points.astype(np.float64) @ lidar_to_ego[:3, :3].T + lidar_to_ego[:3, 3]  # [P, 3]
    return points.astype(np.float32), intensity, ego_to_global, lidar_to_ego


def load_key_frame(folder: str | Path, *, image_size: Size | None = None) -> Scene:
    """Read one key frame from a folder of its own, without the tables of the dataset.

    Its `calibration.json` holds lidar {file, columns (5 names), dtype "float32"} and cameras {channel: {file,
    intrinsics [3, 3], lidar_to_camera [4, 4], width, height}}; the LiDAR file and the images that it names lie beside
    it.

    Args:
        folder: The folder.
        image_size: (H, W) of the views, by default the images' own.

    Returns:
        The scene, named as the folder. Points stay in the LiDAR's coordinates (x right, y forward, z up), poses are the
        inverses of lidar_to_camera, and there are no labels. All else is as `load_sample` makes it.

    Raises:
        DataError: Something is missing or broken; the message names file, field, what was expected and what was found.
    """
    folder = need_folder(folder, "key frame folder")
    path = folder / CALIBRATION
    calibration = read_json(path, ("lidar", "cameras"))
    lidar, cameras = calibration["lidar"], calibration["cameras"]
    need_fields(lidar, ("file", "columns", "dtype"), f"{path}: field lidar.")
    columns, dtype = lidar["columns"], lidar["dtype"]
    if not isinstance(columns, list) or len(columns) != COLUMNS or dtype != "float32":
        raise DataError(f"{path}: field lidar: expected {COLUMNS} columns of float32, found {columns} of {dtype}")
    if not isinstance(cameras, dict) or not cameras:
        raise DataError(f"{path}: field cameras: expected at least one camera, found {cameras!r}")
    points, intensity = read_lidar(folder / lidar["file"])
    views = []
    for channel, camera in cameras.items():
        where = f"{path}: field cameras.{channel}"
        need_fields(camera, ("file", "intrinsics", "lidar_to_camera", "width", "height"), f"{where}.")
        pose = _square(camera["lidar_to_camera"], 4, f"{where}.lidar_to_camera")
        pose = checked_pose(pose, f"{where}.lidar_to_camera")
        pose = np.linalg.inv(pose) if np.isfinite(pose).all() else np.full((4, 4), np.nan)  # nan: a lost pose
        intrinsics = _intrinsics(camera["intrinsics"], f"{where}.intrinsics")
        view = View(channel, intrinsics, pose, (camera["height"], camera["width"]))
        views.append(_with_image(view, folder / camera["file"], (path, path), image_size))
    warn_gaps({view.name: view for view in views}, str(path))
    normals, said = swept_normals(points, np.zeros(3))
    return Scene(
        folder.name,
        points,
        grey_colors(len(points)),
        normals,
        views=tuple(views),
        intensity=intensity,
        as_read=said + frames_as_read(views) + _upside_down(views),
    )


def _upside_down(views: list[View]) -> tuple[str, ...]:
    """A sentence where the cameras would hang upside down in the LiDAR's world, as other conventions have it."""
    downs = [view.cam_to_world[2, 1] for view in views if view.has_pose]  # z of the images' way down; -1 when upright
    if not downs or np.mean(downs) < 0:
        return ()
    hint = (
        "is lidar_to_camera given as camera to LiDAR, or are the camera's axes other than x right, y down, z forward?"
    )
    return (f"cameras look upside down: {hint}",)


def _read_labels(tables: Tables, token: str, count: int) -> np.ndarray | None:
    """Class ids int64 [P] of the points of the LiDAR key frame `token`, None without lidarseg."""
    if tables.label_files is None:
        return None
    if token not in tables.label_files:
        raise DataError(f"{tables.path('lidarseg')}: field sample_data_token: expected {token!r}, found none")
    path = need_file(tables.root / tables.label_files[token], "lidarseg labels")
    raw = np.fromfile(path, dtype=np.uint8)
    if len(raw) != count:
        expected = f"{count} labels of one byte, one for each point"
        raise DataError(f"{path}: expected {expected}, found {len(raw)}: truncated?")
    labels = tables.class_of[raw]  # [P]
    if (labels == UNKNOWN).any():
        known = np.flatnonzero(tables.class_of != UNKNOWN)
        point = int(np.argmax(labels == UNKNOWN))
        indices = f"{len(known)} indices of {tables.path('category').name} ({known[0]}..{known[-1]})"
        raise DataError(f"{path}: label of point {point}: expected one of the {indices}, found {raw[point]}")
    return labels


def _view(tables: Tables, channel: str, record: dict, ego_to_global: np.ndarray, new_size: Size | None) -> View:
    """The view of one camera; `ego_to_global` [4, 4] is the pose of the ego vehicle at the LiDAR's time."""
    calibration = tables.calibrations[record["calibrated_sensor_token"]]
    path = tables.path("calibrated_sensor")
    where = f"{path}: record {calibration['token']}: field camera_intrinsic"
    intrinsics = _intrinsics(calibration["camera_intrinsic"], where)
    camera_to_ego = tables.pose("calibrated_sensor", calibration["token"])
    pose = np.linalg.inv(ego_to_global) @ tables.pose("ego_pose", record["ego_pose_token"]) @ camera_to_ego
    file, view = tables.root / record["filename"], View(channel, intrinsics, pose, (record["height"], record["width"]))
    view = _with_image(view, file, (tables.path("sample_data"), path), new_size)
    if tables.provenance != "mini":
        return view
    home = tables.root / nuscenes_tables.MINI_HOME / tables.scene_of(record["sample_token"])
    paths = {f"{kind}_path": home / kind / f"{file.stem}.png" for kind in nuscenes_tables.MINI_IMAGES}
    return replace(view, **paths, depth_scale=nuscenes_tables.MINI_DEPTH_SCALE)


def _intrinsics(value: Any, where: str) -> np.ndarray:
    """A json value as a camera matrix float64 [3, 3], checked; `where` names file and field for the message."""
    matrix = _square(value, 3, where)
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise DataError(f"{where}: expected finite values and positive focal lengths, found {matrix.tolist()}")
    return check_camera(matrix, where)


def _square(value: Any, size: int, where: str) -> np.ndarray:
    """A json value as a matrix float64 [size, size]; `where` names file and field for the message."""
    matrix = numbers(value)
    if matrix is None or matrix.shape != (size, size):
        found = "no numbers" if matrix is None else list(matrix.shape)
        raise DataError(f"{where}: expected [{size}, {size}], found {found}")
    return matrix


def _with_image(view: View, file: Path, stated_in: tuple[Path, Path], new_size: Size | None) -> View:
    """The view with its image file; `stated_in`: the files that state its size and, for that size, its intrinsics."""
    size = view.image_size
    real_size = read_image_size(need_file(file, f"image of {view.name}"))
    if real_size != size:
        expected = f"{size[1]} x {size[0]} pixels as {stated_in[0].name} says (fields width, height)"
        raise DataError(f"{file}: expected {expected}, found {real_size[1]} x {real_size[0]}")
    check_fits(view.intrinsics, size, file, stated_in[1])
    intrinsics, size = at_size(view.intrinsics, size, new_size)
    return replace(view, intrinsics=intrinsics, image_size=size, color_path=file)
