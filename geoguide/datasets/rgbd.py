"""A folder of posed RGB-D frames as a scene: the cloud is reconstructed from the depth, the frames become its views.

Two layouts are read: `frame-N.color.jpg`, `frame-N.depth.png`, `frame-N.pose.txt` with one `camera-intrinsics.txt`
(7-Scenes and similar recordings), and ScanNet's extracted `color/N.jpg`, `depth/N.png`, `pose/N.txt`,
`intrinsic/intrinsic_depth.txt`. Colour images may be jpg or png, depth images png or npy.
"""

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from geoguide.datasets.color_agreement import frame_colors
from geoguide.datasets.depth_agreement import check_depth
from geoguide.datasets.foreign_recordings import foreign_layout
from geoguide.datasets.formats.cameras import MisfitError, common_camera, frames_as_read, read_pose
from geoguide.datasets.formats.files import listed, near_folders, need_file, need_folder
from geoguide.datasets.formats.frame_files import frame_key, of_frame
from geoguide.datasets.frame_pairs import read_recording
from geoguide.datasets.frame_steps import step_doubts
from geoguide.datasets.reconstruct import reconstruct
from geoguide.datasets.units import METRES, check_unit
from geoguide.datasets.upright import AXES, up_as_read
from geoguide.errors import DataError, InputError
from geoguide.image_files import is_deep, is_float_image, map_npy, read_color, read_deep, white_of
from geoguide.ops.arrays import spread
from geoguide.ops.origin import far_offset
from geoguide.ops.strays import distances, named_rows, stray_rows
from geoguide.scene import Scene, View, hold_images

COLOR_SUFFIXES = (".jpg", ".jpeg", ".png")
DEPTH_SUFFIXES = (".png", ".npy")
HEIGHTS = (0.3, 3.0)  # metres above the ground, at which people, and robots, hold cameras
MAX_DEPTH = 5.0  # metres; depth cameras' readings beyond are poor
HELD = 1 << 28  # bytes of depth images that are held, of the first frames: the checks, bounds and fusion look at each
WHITE_FRAMES = 8  # images that tell what is white; a single one may be dark
SMALL, BLANK = 0.5, 8  # share of the usual size of a colour image's file; levels of 255 that noise may span
TOPS, SIDEWAYS = 0.5, 0.5  # length of the mean of the directions of the images' tops; cosine of 60 degrees
# Times the length of the mean of the images' upward directions, beyond which that of their sideward ones says that they
# were held on their side: 0.2 to 0.95 of five rooms, hence 1.05 to 5 of the same held so; 1.6 where a camera only nods.
PORTRAIT, COMMON = 2.0, 0.5
# Share of the level surfaces in sight that face up, below which the camera may have hung upside down: 0.93 of a
# kitchen, 0.07 of the same so; ceilings alone look like it too, so it is said and nothing is turned.
FACING_UP, LEVEL, ENOUGH = 0.2, 0.95, 0.05  # the z of a level surface's normal; of all points, so many are level
UP_CONES = (40.0, 20.0, 10.0, 5.0)  # degrees: horizontal surfaces are looked for in narrowing cones


def load_rgbd(
    folder: str | Path,
    *,
    voxel: float = 0.03,
    frame_skip: int = 1,
    up: str = "auto",
    max_depth: float = MAX_DEPTH,
    depth_scale: float | None = None,
    unit: str = "m",
    image_size: tuple[int, int] | None = None,
) -> Scene:
    """Reconstruct a folder of RGB-D frames into a scene with these frames as views, z up.

    Frames without a finite pose stay among the views (`has_pose` False) and are not fused. Frames whose depth
    contradicts their poses are refused (see `depth_agreement`), and so are colour images that are not of their frames
    (see `color_agreement`). Poses far from the origin are moved to it in float64; `Scene.file_points` has the points in
    the recording's own world and unit then.

    Args:
        folder: The folder, in one of the two layouts.
        voxel: Edge of a voxel in metres, as in `reconstruct`.
        frame_skip: Every n-th frame is taken.
        up: Which direction of the recording's world points up: "x", "y", "z", "-x", "-y", "-z", or "auto" for
            `estimate_up`. Mesh and poses are turned together by the smallest rotation that brings it to +z; nothing is
            moved.
        max_depth: Depth beyond this, in metres, is not used, as in `reconstruct`.
        depth_scale: Units of the depth images per metre; None: 1000 for integers, 1 for floats.
        unit: Of the poses' translations: "m", "cm", "mm", "km", "ft" or "in".
        image_size: (H, W) of the views, by default the depth images' own.

    Returns:
        The scene, named as the folder.

    Raises:
        DataError: The folder is missing or holds no frames, a file is broken, or poses, intrinsics and depth contradict
            one another.
        InputError: An argument is out of range, the cameras have no common up direction, or nothing can be
            reconstructed.
    """
    folder = need_folder(folder, "RGB-D folder")
    if up != "auto" and up not in AXES:
        raise InputError(f"up must be 'auto' or one of {', '.join(AXES)}, found {up!r}")
    check_unit(unit)
    views, doubt = _read_views(folder, frame_skip, depth_scale, image_size)
    _check_strays(views, METRES[unit], folder)
    views, grey = _with_white(views)
    views, shift = _placed(views, METRES[unit])
    held = hold_images(views, HELD // (4 * int(np.prod(views[0].image_size))))
    as_read = _without_color(folder) + grey + frames_as_read(views) + _check_frames(held, folder, max_depth, doubt)
    try:
        vertices, faces, colors, normals = reconstruct(held, voxel=voxel, max_depth=max_depth)
    except InputError as error:
        raise DataError(f"{folder}: {error}") from None
    turn = rotation_to_z(estimate_up(views, normals) if up == "auto" else AXES[up])  # [3, 3]
    views = tuple(_turned(view, turn) for view in views)
    points = (vertices.astype(np.float64) @ turn.T).astype(np.float32)
    moved = unit != "m" or shift.any()
    turned_normals = normals.astype(np.float64) @ turn.T
    if up == "auto":  # cameras that look at one wall know better than its shape
        said = _held_as_read(views) + _hung_as_read(turned_normals, turn)
    else:
        said = _up_as_given(views, turn, up) + up_as_read(points, up)
    return Scene(
        name=folder.name,
        points=points,
        colors=colors,
        normals=turned_normals.astype(np.float32),
        faces=faces,
        views=views,
        as_read=as_read + _placed_as_read(unit, shift) + said + _height_as_read(points, views),
        file_points=(vertices.astype(np.float64) + shift) / METRES[unit] if moved else None,
    )


def load_views(
    folder: str | Path,
    *,
    frame_skip: int = 1,
    depth_scale: float | None = None,
    image_size: tuple[int, int] | None = None,
) -> tuple[View, ...]:
    """List the frames of a folder in either layout as views, in frame order; pixels stay on disk.

    Args:
        folder: The folder.
        frame_skip: Every n-th frame is taken.
        depth_scale: Units of the depth images per metre; None: 1000 for integers, 1 for floats.
        image_size: (H, W) of the views, by default the depth images' own.

    Returns:
        The views.

    Raises:
        DataError: The folder is missing or holds no frames, or a file is broken.
        InputError: `frame_skip` or `depth_scale` is not positive.
    """
    views, doubt = _read_views(need_folder(folder, "RGB-D folder"), frame_skip, depth_scale, image_size)
    if doubt is not None:
        raise doubt
    return views


def _read_views(
    folder: Path, frame_skip: int, depth_scale: float | None, image_size: tuple[int, int] | None
) -> tuple[tuple[View, ...], DataError | None]:
    """The views, and what speaks against the intrinsics by their principal point alone, if anything does."""
    if frame_skip < 1 or (depth_scale is not None and not depth_scale > 0):
        raise InputError(f"frame_skip and depth_scale must be positive, found {frame_skip} and {depth_scale}")
    listing, camera = list_frames(folder)
    if not camera.is_file():
        raise DataError(f"{camera}: intrinsics not found{foreign_layout(folder)}")
    frames = [(name, color, depth_file(depth), pose) for name, color, depth, pose in listing][::frame_skip]
    doubt, files = None, [frame[1:3] for frame in frames]
    try:
        intrinsics, size = common_camera(files, camera, image_size)
    except MisfitError as error:
        doubt = error
        try:
            intrinsics, size = common_camera(files, camera, image_size, off_centre=True)
        except DataError:
            raise doubt from None  # the other images do not fit either
    views = (
        View(name, intrinsics, read_pose(of_frame(pose)), size, color, depth, depth_scale or _usual_scale(depth))
        for name, color, depth, pose in frames
    )
    return tuple(views), doubt


def _check_frames(views: tuple[View, ...], folder: Path, max_depth: float, doubt: DataError | None) -> tuple[str, ...]:
    """What is unusual of the frames' depth; `DataError` where depth, poses and colours are not of one another."""
    recording = read_recording(views)
    fill = recording.fill
    if fill is not None and fill.depth <= max_depth:
        stored = f"{fill.depth:.6g} m, stored as {fill.depth * views[0].depth_scale:.6g}"
        found = f"{100 * fill.share:.0f} % of the depth readings are one and the same, {stored}"
        hint = "write 0 where there is none, or give --max-depth (max_depth) below it"
        where = f"in {fill.frames} of {len(recording.frames)} frames looked at"
        raise DataError(f"{folder}: {found}, {where}: a mark for no reading would become a wall; {hint}")
    said = check_depth(views, str(folder), max_depth, doubt, recording)
    doubts, beside = frame_colors(recording)
    if doubts:
        raise DataError(f"{folder}: {doubts[0]}")
    return _blank_colors(views) + _repeated_colors(views) + said + step_doubts(recording) + beside


def _blank_colors(views: tuple[View, ...]) -> tuple[str, ...]:
    """A sentence where colour images show one colour only; files much smaller than the others' are looked at."""
    paths = [view.color_path for view in views if view.color_path is not None]
    sizes = [path.stat().st_size for path in paths]
    small = [path for path, size in zip(paths, sizes, strict=True) if size < SMALL * np.median(sizes)]
    blank = [path for path in small if np.ptp(read_color(path), axis=(0, 1)).max() <= BLANK]
    if not blank:
        return ()
    first = ", ".join(path.name for path in blank[:3]) + (", ..." if len(blank) > 3 else "")
    return (f"{len(blank)} of {len(views)} colour images show one colour only, and give it to what they see: {first}",)


def _repeated_colors(views: tuple[View, ...]) -> tuple[str, ...]:
    """A sentence where frames have the colour image of another frame; only files of one size are compared."""
    paths = [view.color_path for view in views if view.color_path is not None]
    sizes = Counter(path.stat().st_size for path in paths)
    alike = [path for path in paths if sizes[path.stat().st_size] > 1]
    again = len(alike) - len({hashlib.sha256(path.read_bytes()).digest() for path in alike})
    return (f"{again} of {len(views)} colour images are copies of another frame's: did the camera stop?",) * (again > 0)


def _usual_scale(depth: Path) -> float:
    """Units a metre of a depth file, by its type; a recording may hold both."""
    floats = map_npy(depth).dtype.kind == "f" if depth.suffix.lower() == ".npy" else is_float_image(depth)
    return 1.0 if floats else 1000.0


def _with_white(views: tuple[View, ...]) -> tuple[tuple[View, ...], tuple[str, ...]]:
    """The views with one white for all colour images of 16 bits, by a few of them; and a sentence."""
    deep = [view.color_path for view in views if view.color_path is not None and is_deep(view.color_path)]
    if not deep:
        return views, ()
    chosen = [deep[number] for number in spread(len(deep), WHITE_FRAMES)]
    white = max(white_of(read_deep(path)) for path in chosen)
    said = f"{len(deep)} colour images hold 16 bits: read as 0 (black) to {white} (white) by their range"
    return tuple(dataclasses.replace(view, color_white=white) for view in views), (said,)


def _check_strays(views: tuple[View, ...], metres: float, folder: Path) -> None:
    """`DataError` for cameras that stand far from all others, by name: nothing can be reconstructed around them."""
    posed = [view for view in views if view.has_pose]
    eyes = np.array([view.cam_to_world[:3, 3] for view in posed]).reshape(-1, 3)  # [K, 3]
    rows = stray_rows(eyes * metres)
    if len(rows):
        far = distances(eyes * metres)[rows[0]]
        named = named_rows(rows, eyes, lambda row: f"frame {posed[row].name}")
        raise DataError(f"{folder}: the pose of {named} lies {far:.4g} m from the others: leave such frames out")


def _placed(views: tuple[View, ...], metres: float) -> tuple[tuple[View, ...], np.ndarray]:
    """The views with translations in metres, near the origin, and the shift [3], metres, that leads back."""
    eyes = np.array([view.cam_to_world[:3, 3] * metres for view in views if view.has_pose])  # [K, 3]
    shift = far_offset(eyes) if len(eyes) else np.zeros(3)
    if metres == 1 and not shift.any():
        return views, shift
    poses = [view.cam_to_world.copy() for view in views]
    for pose in poses:
        pose[:3, 3] = pose[:3, 3] * metres - shift  # a lost pose stays lost
    return tuple(dataclasses.replace(view, cam_to_world=pose) for view, pose in zip(views, poses, strict=True)), shift


def _placed_as_read(unit: str, shift: np.ndarray) -> tuple[str, ...]:
    """Sentences on where and in which unit the recording's world is."""
    sentences = []
    if unit != "m":
        sentences.append(f"poses are read in {unit}, as asked for")
    if shift.any():
        place = ", ".join(f"{value:.0f}" for value in shift)
        sentences.append(f"poses lie far from the origin: ({place}) m is subtracted from them")
    if sentences:
        sentences.append("points are written in the recording's own world and unit, not turned upright")
    return tuple(sentences)


def _height_as_read(points: np.ndarray, views: tuple[View, ...]) -> tuple[str, ...]:
    """A sentence where the cameras stand unusually high or low over the points [P, 3], z up: is it another unit?"""
    eyes = np.array([view.cam_to_world[2, 3] for view in views if view.has_pose])  # [K]
    height = float(np.median(eyes) - np.percentile(points[:, 2], 1))
    if HEIGHTS[0] <= height <= HEIGHTS[1]:
        return ()
    extent = " x ".join(f"{length:.1f}" for length in np.ptp(points, axis=0))
    usual = f"usual: {HEIGHTS[0]} to {HEIGHTS[1]} m"
    hint = "if that is wrong, give --depth-scale and --unit"
    return (f"cameras stand {height:.2f} m above the ground ({usual}) of a scene of {extent} m; {hint}",)


def estimate_up(views: tuple[View, ...], normals: np.ndarray) -> np.ndarray:
    """Estimate which way is up, against gravity.

    Starts from the cameras' mean up direction (people hold cameras upright), or where they have far more in common
    sideways, from that: the images are in portrait, and of its two ends the one that the cameras look away from is up.
    Then, in ever narrower cones around the estimate, averages the normals that point up or down within the cone:
    floors, tables, seats.

    Args:
        views: Views, of which those with a pose are used.
        normals: Unit normals of the surfaces [P, 3], in the same world.

    Returns:
        Unit vector, float64 [3].

    Raises:
        InputError: The cameras' directions cancel out.
    """
    side, down, ahead = _mean_axes(views)
    up = -down if not _in_portrait(views) else side if side @ ahead < 0 else -side
    if np.linalg.norm(up) < 0.2:
        raise InputError("up='auto': the cameras have no common up direction; give up='z' or another axis")
    up /= np.linalg.norm(up)
    for cone in UP_CONES:
        along = normals.astype(np.float64) @ up  # [P]
        near = np.abs(along) > np.cos(np.deg2rad(cone))  # [P]
        if not near.any():
            break  # no horizontal surface in sight: what the wider cone gave stands
        up = (normals[near] * np.sign(along[near])[:, None]).mean(axis=0, dtype=np.float64)
        up /= np.linalg.norm(up)
    return up


def _mean_axes(views: tuple[View, ...]) -> np.ndarray:
    """Mean directions in the world of the cameras' axes x, y and z, the rows of [3, 3]."""
    return np.mean([view.cam_to_world[:3, :3].T for view in views if view.has_pose], axis=0)


def _in_portrait(views: tuple[View, ...]) -> bool:
    """Whether most images were held on their side."""
    side, down, _ = np.linalg.norm(_mean_axes(views), axis=1)
    return bool(side > COMMON and side > PORTRAIT * down)


def _held_as_read(views: tuple[View, ...]) -> tuple[str, ...]:
    said = "the images were held on their side (portrait): up is along their rows; if that is wrong, give --up"
    return (said,) * _in_portrait(views)


def _hung_as_read(normals: np.ndarray, turn: np.ndarray) -> tuple[str, ...]:
    """What level surfaces, which are seen from the side that they face, say of `up='auto'`; `normals` as turned."""
    above, below = (normals[:, 2] > LEVEL).mean(), (normals[:, 2] < -LEVEL).mean()
    if above + below < ENOUGH or above >= FACING_UP * (above + below):
        return ()
    other = max(AXES, key=lambda name: float(AXES[name] @ -turn[2]))
    said = "level surfaces are seen from below: a ceiling, or the camera hung upside down"
    return (f"{said}; if the latter, give --up {other}",)


def _up_as_given(views: tuple[View, ...], turn: np.ndarray, up: str) -> tuple[str, ...]:
    """A sentence where the images' tops point elsewhere than to the direction given, which `turn` [3, 3] made z."""
    top = -_mean_axes(views)[1]  # [3], z up
    length = np.linalg.norm(top)
    if length < TOPS or top[2] >= SIDEWAYS * length or _in_portrait(views):
        return ()
    nearest = max(AXES, key=lambda name: AXES[name] @ turn.T @ top)
    return (f"{up} is taken as up, but the images' tops point to {nearest}: were the cameras held so? See --up",)


def rotation_to_z(direction: np.ndarray) -> np.ndarray:
    """Compute the smallest rotation that takes a direction to +z.

    Args:
        direction: Unit vector [3].

    Returns:
        The rotation, float64 [3, 3]; half a turn about x for -z.

    Example:
        >>> rotation_to_z(np.array([0.0, 1.0, 0.0])).round(6).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]
    """
    axis = np.cross(direction, (0.0, 0.0, 1.0))
    sine = np.linalg.norm(axis)
    if sine < 1e-12:
        return np.eye(3) if direction[2] > 0 else np.diag([1.0, -1.0, -1.0])
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, direction[2])).as_matrix()


def _turned(view: View, turn: np.ndarray) -> View:
    """The view in a world turned by `turn` [3, 3]; a lost pose stays as it is."""
    if not view.has_pose:
        return view
    motion = np.eye(4)
    motion[:3, :3] = turn
    return dataclasses.replace(view, cam_to_world=motion @ view.cam_to_world)


class FrameFiles(NamedTuple):
    """Where the files of one frame lie.

    Attributes:
        name: Its name in the recording.
        color: The colour image, which is there.
        depth: The path of the depth image without its suffix (see `depth_file`).
        pose: The pose file.
    """

    name: str
    color: Path
    depth: Path
    pose: Path


def is_rgbd(folder: Path) -> bool:
    """Tell whether a folder has one of the two layouts, by its names alone.

    Args:
        folder: Any folder.

    Returns:
        Whether it holds colour images of frames, and depth images or poses or intrinsics beside them.
    """
    flat = listed(folder, "*.color.*", COLOR_SUFFIXES)
    if flat:
        beside = ("*.depth.*", "*.pose.txt", "camera-intrinsics.txt")
        return any(listed(folder, pattern) for pattern in beside)
    return (folder / "color").is_dir() and any((folder / name).is_dir() for name in ("depth", "pose"))


def list_frames(folder: Path) -> tuple[list[FrameFiles], Path]:
    """List the frames of a recording by their colour images.

    Args:
        folder: The folder, in either layout.

    Returns:
        The frames, in frame order, and the intrinsics file. Of their files only the colour images need be there.

    Raises:
        DataError: There is no frame, two of one name, or both layouts.
    """
    flat = listed(folder, "*.color.*", COLOR_SUFFIXES)
    if flat and (folder / "color").is_dir():
        raise DataError(f"{folder}: mixed layouts, holds both {flat[0].name} and color/")
    colors = flat or listed(folder / "color", suffixes=COLOR_SUFFIXES)
    if not colors:
        hint = near_folders(folder, is_rgbd) or foreign_layout(folder)
        raise DataError(f"{folder}: no RGB-D frames (frame-N.color.jpg files, or a color/ folder with images){hint}")
    stems = [path.stem.removesuffix(".color") for path in colors]
    twice = next(
        (path for path, before, stem in zip(colors[1:], stems, stems[1:], strict=False) if before == stem), None
    )
    if twice is not None:
        raise DataError(f"{twice}: a second colour image of the same frame")
    if flat:
        places = [(folder / f"{stem}.depth", folder / f"{stem}.pose.txt") for stem in stems]
        camera = folder / "camera-intrinsics.txt"
    else:
        places = [(folder / "depth" / stem, folder / "pose" / f"{stem}.txt") for stem in stems]
        camera = folder / "intrinsic" / "intrinsic_depth.txt"
    found = zip(stems, colors, places, strict=True)
    return [FrameFiles(stem, color, depth, pose) for stem, color, (depth, pose) in found], camera


def _without_color(folder: Path) -> tuple[str, ...]:
    """A sentence where depth images have no colour image beside them: they are no frames."""
    depths = listed(folder, "*.depth.*", DEPTH_SUFFIXES) or listed(folder / "depth", suffixes=DEPTH_SUFFIXES)
    frames = {frame_key(frame.name) for frame in list_frames(folder)[0]}
    alone = [name for path in depths if frame_key(name := path.stem.removesuffix(".depth")) not in frames]
    first = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
    return (f"{len(alone)} depth images have no colour image and are left out: {first}",) if alone else ()


def depth_file(place: Path) -> Path:
    """Find the depth image of a frame, png or npy.

    Args:
        place: Its path without the suffix.

    Returns:
        The file.

    Raises:
        DataError: There is none, or one of each kind.
    """
    array, image = (of_frame(place.with_name(place.name + suffix)) for suffix in (".npy", ".png"))
    if array.is_file() and image.is_file():
        raise DataError(f"{array}: a second depth image of the same frame, beside {image.name}")
    return array if array.is_file() else need_file(image, "depth image")
